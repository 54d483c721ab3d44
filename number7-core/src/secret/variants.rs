//! The keys that a sender uses by mistake, made of the right one.

use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE, Engine};
use zeroize::Zeroizing;

use crate::{DiagnosisKind, diagnosis::from_base64};

type Key = Zeroizing<Vec<u8>>;

/// Each key, and the mistake that makes it.
pub(super) fn variants(secret: &[u8]) -> Vec<(DiagnosisKind, Key)> {
    let between = |before: &[u8], after: &[u8]| Zeroizing::new([before, secret, after].concat());
    let around = |text: &[u8]| between(text, text);
    let behind = |text: &[u8]| between(b"", text);
    let mut keys = vec![
        (DiagnosisKind::SecretNewline, behind(b"\n")),
        (DiagnosisKind::SecretNewline, behind(b"\r\n")),
        (DiagnosisKind::SecretNewline, behind(br"\n")),
        (DiagnosisKind::SecretWhiteSpace, behind(b" ")),
        (DiagnosisKind::SecretWhiteSpace, between(b" ", b"")),
        (DiagnosisKind::SecretWhiteSpace, around(b" ")),
        (DiagnosisKind::SecretWhiteSpace, behind(b"\t")),
        (DiagnosisKind::SecretQuoted, around(b"\"")),
        (DiagnosisKind::SecretQuoted, around(b"'")),
        (DiagnosisKind::SecretQuoted, around(b"`")),
    ];
    let mut push = |kind, key: Option<Vec<u8>>| keys.extend(key.map(|key| (kind, key.into())));
    push(DiagnosisKind::SecretUnquoted, unquoted(secret));
    push(DiagnosisKind::SecretDecoded, from_hex(secret));
    push(DiagnosisKind::SecretDecoded, from_base64(secret));
    push(DiagnosisKind::SecretEncoded, Some(hex(secret, b"0123456789abcdef")));
    push(DiagnosisKind::SecretEncoded, Some(hex(secret, b"0123456789ABCDEF")));
    push(DiagnosisKind::SecretEncoded, Some(BASE64_STANDARD.encode(secret).into()));
    push(DiagnosisKind::SecretEncoded, Some(BASE64_URL_SAFE.encode(secret).into()));
    push(DiagnosisKind::SecretEncoded, Some(BASE64_STANDARD_NO_PAD.encode(secret).into()));
    keys
}

fn unquoted(secret: &[u8]) -> Option<Vec<u8>> {
    let (first, rest) = secret.split_first()?;
    let (last, inner) = rest.split_last()?;
    (first == last && b"\"'`".contains(first)).then(|| inner.to_vec())
}

fn from_hex(secret: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = secret.chunks(2).map(|pair| match *pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    });
    pairs.collect()
}

fn hex(secret: &[u8], digits: &[u8; 16]) -> Vec<u8> {
    let digits = |byte: &u8| [digits[usize::from(byte >> 4)], digits[usize::from(byte & 0xf)]];
    secret.iter().flat_map(digits).collect()
}
