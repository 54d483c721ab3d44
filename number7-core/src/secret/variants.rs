//! The keys that a sender uses by mistake, made of the right one.

use base64::prelude::{
    BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD, Engine,
};
use zeroize::Zeroizing;

use crate::{DiagnosisKind as Kind, from_base64::from_base64};

type Key = Zeroizing<Vec<u8>>;

/// What is copied with a secret, in front of it and behind it.
const AROUND: [(Kind, &str, &str); 26] = [
    (Kind::SecretNewline, "", "\n"),
    (Kind::SecretNewline, "", "\r\n"),
    (Kind::SecretNewline, "", "\r"),
    (Kind::SecretNewline, "", "\\n"),
    (Kind::SecretNewline, "", "\n\n"),
    (Kind::SecretNewline, "\n", ""),
    (Kind::SecretNewline, "\n", "\n"),
    (Kind::SecretWhiteSpace, "", " "),
    (Kind::SecretWhiteSpace, " ", ""),
    (Kind::SecretWhiteSpace, " ", " "),
    (Kind::SecretWhiteSpace, " ", "\n"),
    (Kind::SecretWhiteSpace, "", "  "),
    (Kind::SecretWhiteSpace, "", "\t"),
    (Kind::SecretWhiteSpace, "\t", ""),
    (Kind::SecretWhiteSpace, "", "\u{a0}"),
    (Kind::SecretWhiteSpace, "", "\u{200b}"),
    (Kind::SecretWhiteSpace, "\u{feff}", ""),
    (Kind::SecretWhiteSpace, "", "\0"),
    (Kind::SecretAssignment, "WEBHOOK_SECRET=", ""),
    (Kind::SecretAssignment, "export WEBHOOK_SECRET=", ""),
    (Kind::SecretQuoted, "\"", "\""),
    (Kind::SecretQuoted, "'", "'"),
    (Kind::SecretQuoted, "`", "`"),
    (Kind::SecretQuoted, "“", "”"),
    (Kind::SecretQuoted, "\"", "\"\n"),
    (Kind::SecretQuoted, "<", ">"),
];

/// Each key, and the mistake that makes it.
pub(super) fn variants(secret: &[u8]) -> Vec<(Kind, Key)> {
    let around = |(kind, before, behind): (Kind, &str, &str)| {
        (kind, [before.as_bytes(), secret, behind.as_bytes()].concat().into())
    };
    let mut keys: Vec<(Kind, Key)> = AROUND.map(around).into();
    let mut push = |kind, key: Option<Vec<u8>>| keys.extend(key.map(|key| (kind, key.into())));
    push(Kind::SecretUnquoted, unquoted(secret));
    let bare = secret.strip_prefix(b"whsec_").unwrap_or(secret);
    for text in [secret, bare] {
        push(Kind::SecretDecoded, from_hex(text));
        push(Kind::SecretDecoded, from_base64(text));
    }
    push(Kind::SecretEncoded, Some(hex(secret, b"0123456789abcdef")));
    push(Kind::SecretEncoded, Some(hex(secret, b"0123456789ABCDEF")));
    let encoded = [
        BASE64_STANDARD.encode(secret),
        BASE64_STANDARD.encode(secret) + "\n",
        BASE64_STANDARD_NO_PAD.encode(secret),
        BASE64_URL_SAFE.encode(secret),
        BASE64_URL_SAFE_NO_PAD.encode(secret),
    ];
    encoded.into_iter().for_each(|key| push(Kind::SecretEncoded, Some(key.into())));
    keys
}

fn unquoted(secret: &[u8]) -> Option<Vec<u8>> {
    let (first, rest) = secret.split_first()?;
    let (last, inner) = rest.split_last()?;
    (first == last && b"\"'`".contains(first)).then(|| inner.to_vec())
}

/// The fewest bytes that a key decoded from a part of the secret may have. Anybody could guess a
/// shorter one.
const SHORTEST: usize = 8;

/// As leniently as Node does it: up to the first that is no digit. Dashes, as in a UUID, are passed
/// over.
fn from_hex(secret: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits: Vec<_> = secret.iter().copied().filter(|byte| *byte != b'-').collect();
    let pairs =
        digits.chunks_exact(2).map_while(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?));
    let bytes: Vec<_> = pairs.collect();
    (bytes.len() >= SHORTEST || bytes.len() * 2 == digits.len()).then_some(bytes)
}

fn hex(secret: &[u8], digits: &[u8; 16]) -> Vec<u8> {
    let digits = |byte: &u8| [digits[usize::from(byte >> 4)], digits[usize::from(byte & 0xf)]];
    secret.iter().flat_map(digits).collect()
}
