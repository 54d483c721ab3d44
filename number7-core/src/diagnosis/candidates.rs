//! The keys that a sender may use by mistake, derived from the right one.
//!
//! They are as secret as the right one: their memory is overwritten before it is freed, and is never moved to grow.

use base64::prelude::{
    BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD, Engine,
};
use zeroize::Zeroizing;

use super::{DiagnosisKind as Kind, Text, from_base64::from_base64};

type Key = Zeroizing<Vec<u8>>;

/// What may be copied with a secret, in front of it and behind it.
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
pub(super) fn candidates(Text(secret): &Text) -> Vec<(Kind, Key)> {
    let secret: &[u8] = secret;
    let around = |(kind, before, behind): (Kind, &str, &str)| {
        (kind, joined(&[before.as_bytes(), secret, behind.as_bytes()]))
    };
    let mut keys: Vec<(Kind, Key)> = AROUND.map(around).into();
    let mut push = |kind, key: Option<Key>| keys.extend(key.map(|key| (kind, key)));
    push(Kind::SecretUnquoted, unquoted(secret));
    let bare = secret.strip_prefix(b"whsec_").unwrap_or(secret);
    for text in [secret, bare] {
        push(Kind::SecretDecoded, from_hex(text));
        push(Kind::SecretDecoded, from_base64(text).map(Key::new));
    }
    push(Kind::SecretEncoded, Some(hex(secret, b"0123456789abcdef")));
    push(Kind::SecretEncoded, Some(hex(secret, b"0123456789ABCDEF")));
    for (engine, end) in [
        (&BASE64_STANDARD, ""),
        (&BASE64_STANDARD, "\n"),
        (&BASE64_STANDARD_NO_PAD, ""),
        (&BASE64_URL_SAFE, ""),
        (&BASE64_URL_SAFE_NO_PAD, ""),
    ] {
        let encoded = Zeroizing::new(engine.encode(secret));
        push(Kind::SecretEncoded, Some(joined(&[encoded.as_bytes(), end.as_bytes()])));
    }
    keys
}

/// Allocates once.
fn joined(parts: &[&[u8]]) -> Key {
    Key::new(parts.concat())
}

fn unquoted(secret: &[u8]) -> Option<Key> {
    let (first, rest) = secret.split_first()?;
    let (last, inner) = rest.split_last()?;
    (first == last && b"\"'`".contains(first)).then(|| joined(&[inner]))
}

/// The fewest bytes of a key that is decoded from a part of the secret. A shorter one could be guessed.
const SHORTEST: usize = 8;

/// As lenient as Node: up to the first character that is not a digit. Dashes, as in a UUID, are skipped.
fn from_hex(secret: &[u8]) -> Option<Key> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut digits = with_room_for(secret.len());
    digits.extend(secret.iter().copied().filter(|byte| *byte != b'-'));
    let mut bytes = with_room_for(digits.len() / 2);
    let pairs = digits.chunks_exact(2);
    bytes.extend(pairs.map_while(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)));
    (bytes.len() >= SHORTEST || bytes.len() * 2 == digits.len()).then_some(bytes)
}

fn hex(secret: &[u8], digits: &[u8; 16]) -> Key {
    let mut hex = with_room_for(2 * secret.len());
    let digits = |byte: &u8| [digits[usize::from(byte >> 4)], digits[usize::from(byte & 0xf)]];
    hex.extend(secret.iter().flat_map(digits));
    hex
}

/// Memory that grows would leave a copy behind.
fn with_room_for(bytes: usize) -> Key {
    Key::new(Vec::with_capacity(bytes))
}
