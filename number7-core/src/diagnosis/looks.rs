//! What a request looks like: causes that no HMAC can prove.

use super::{Diagnosis, DiagnosisKind as Kind, from_base64};
use crate::Signature;

/// What a header that is no signature looks like.
pub(crate) fn header(value: &[u8]) -> Option<Diagnosis> {
    let likely = |kind| Some(Diagnosis::likely(kind));
    let is_digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_hexdigit);
    if value.contains(&b',') || value.contains(&b';') {
        return likely(Kind::SignatureList);
    }
    if value.len() > 2 && value.first() == value.last() && b"\"'`".contains(&value[0]) {
        return likely(Kind::SignatureQuoted);
    }
    let dense: Vec<u8> = value.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if Signature::parse(&dense).is_ok() {
        return likely(Kind::SignatureWhiteSpace);
    }
    let hash = match is_digits(value).then_some(value.len()) {
        Some(32) => Some("MD5"),
        Some(40) => Some("SHA-1"),
        Some(56) => Some("SHA-224"),
        Some(96) => Some("SHA-384"),
        Some(128) => Some("SHA-512"),
        _ => None,
    };
    if let Some(hash) = hash {
        return Some(Diagnosis::likely(Kind::SignatureOtherHash).with_detail(hash));
    }
    // A name in front of the digits, or of base64, which may end with `=` itself.
    let padding = value.iter().rev().take_while(|byte| **byte == b'=').count();
    let starts = value[..value.len() - padding].iter().rposition(|byte| b"=: ".contains(byte));
    let behind = starts.map(|at| &value[at + 1..]);
    let behind = behind.or_else(|| value.strip_prefix(b"0x")).or_else(|| value.strip_prefix(b"0X"));
    if behind.is_some_and(|behind| Signature::parse(behind).is_ok() || is_base64(behind)) {
        return likely(Kind::SignaturePrefix);
    }
    if is_base64(value) {
        return likely(Kind::SignatureBase64);
    }
    None
}

/// Base64 of a hash, or of its hex digits.
fn is_base64(value: &[u8]) -> bool {
    let hash = from_base64(value);
    hash.is_some_and(|hash| hash.len() == 32 || Signature::parse(&hash).is_ok())
}

/// What a body looks like that no known secret signed.
pub(super) fn body(body: &[u8], is_encoded: bool) -> Option<Diagnosis> {
    let is_gzip = body.starts_with(b"\x1f\x8b");
    let is_zlib = matches!(body, [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..]);
    let kind = match body.trim_ascii() {
        [] => Kind::EmptyBody,
        _ if is_gzip || is_zlib => Kind::Compressed,
        [b'{', ..] if is_encoded => Kind::Decompressed,
        [b'{', .., b'}'] => return None,
        [b'{', ..] => Kind::CutOff,
        text if is_form(text) => Kind::FormEncoded,
        _ => return None,
    };
    Some(Diagnosis::likely(kind))
}

/// Whether it has the fields of a form.
fn is_form(text: &[u8]) -> bool {
    let is_form = |byte: &u8| byte.is_ascii_alphanumeric() || b"%+-._~*&=".contains(byte);
    text.contains(&b'=') && text.iter().all(is_form)
}
