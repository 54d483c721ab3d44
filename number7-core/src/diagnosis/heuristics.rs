//! Heuristics: causes that a request suggests, but no HMAC can prove.

use std::str;

use super::{Diagnosis, DiagnosisKind as Kind, from_base64::from_base64, json};
use crate::{Signature, byte_order_mark::without_mark};

/// The cause that a malformed header suggests.
pub(super) fn header(value: &[u8]) -> Option<Diagnosis> {
    let likely = |kind| Some(Diagnosis::likely(kind));
    let value = value.trim_ascii_end();
    // Python's str() of bytes.
    let value = value.strip_prefix(b"b").filter(|rest| rest.starts_with(b"'")).unwrap_or(value);
    let is_quote = |byte: &u8| b"\"'`".contains(byte);
    if value.first().is_some_and(|byte| b"[{".contains(byte))
        || value.iter().any(|byte| b",;".contains(byte))
    {
        return likely(Kind::SignatureList);
    }
    let words: Vec<_> =
        value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    if words.iter().filter(|word| is_signature(word)).count() > 1 {
        return likely(Kind::SignatureList);
    }
    let dense = words.concat();
    if is_signature(&dense) || words.first().is_some_and(|word| is_signature(word)) {
        return likely(Kind::SignatureWhiteSpace);
    }
    let naked: Vec<u8> = value.iter().copied().filter(|byte| !is_quote(byte)).collect();
    let naked = decoded(&naked);
    // A name in front of the digits, or of base64, which may itself end with `=`.
    let padding = naked.iter().rev().take_while(|byte| **byte == b'=').count();
    let starts = naked[..naked.len() - padding].iter().rposition(|byte| b"=: ".contains(byte));
    let behind = starts.map(|at| &naked[at + 1..]);
    let behind = behind.or_else(|| naked.strip_prefix(b"0x")).or_else(|| naked.strip_prefix(b"0X"));
    let is_prefixed = behind.is_some();
    let naked = behind.unwrap_or(&naked);
    if let Some(hash) = other_hash(naked) {
        return Some(Diagnosis::likely(Kind::SignatureOtherHash).with_detail(hash));
    }
    match is_prefixed {
        true if is_signature(naked) || is_base64(naked) => likely(Kind::SignaturePrefix),
        false if is_base64(naked) => likely(Kind::SignatureBase64),
        false if is_signature(naked) => likely(Kind::SignatureQuoted),
        _ => None,
    }
}

fn is_signature(text: &[u8]) -> bool {
    Signature::parse(text).is_ok()
}

/// Percent-decodes, because base64 in queries may be encoded.
fn decoded(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    text.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=").into_bytes()
}

/// Recognized by the number of its hex digits, or of its base64 digits.
fn other_hash(text: &[u8]) -> Option<&'static str> {
    let is_hex = text.iter().all(u8::is_ascii_hexdigit);
    let bytes = match is_hex {
        true => text.len() / 2,
        false if is_dense_base64(text) => from_base64(text)?.len(),
        false => return None,
    };
    match (bytes, text.len() % 2, is_hex) {
        (16, 0, true) => Some("MD5"),
        (20, 0, _) => Some("SHA-1"),
        (28, 0, true) => Some("SHA-224"),
        (48, 0, _) => Some("SHA-384"),
        (64, 0, _) => Some("SHA-512"),
        _ => None,
    }
}

/// Base64 of an HMAC-SHA256, or of its hex digits.
fn is_base64(text: &[u8]) -> bool {
    let hash = is_dense_base64(text).then(|| from_base64(text)).flatten();
    hash.is_some_and(|hash| hash.len() == 32 || is_signature(&hash))
}

fn is_dense_base64(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte))
}

/// The cause that a body suggests if no known secret signed it.
pub(super) fn body(body: &[u8], is_encoded: bool) -> Option<Diagnosis> {
    let body = without_mark(body);
    // The usual beginning, 78 9c, is not UTF-8.
    let is_zlib = matches!(body, [b'x', 0x01 | b'^' | 0xda, ..]);
    let is_utf16 =
        matches!(body, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'{', 0, ..] | [0, b'{', ..]);
    let kind = match (body.trim_ascii(), str::from_utf8(body)) {
        ([], _) => Kind::EmptyBody,
        _ if is_zlib => Kind::Compressed,
        _ if is_utf16 => Kind::TextEncoding,
        ([b'{', ..], Err(error)) if error.error_len().is_none() => Kind::CutOff,
        ([b'{', ..], Err(_)) => Kind::TextEncoding,
        // For example gzip: its second byte cannot follow the first one in UTF-8.
        (_, Err(_)) => Kind::Compressed,
        ([b'{', ..], _) if is_encoded => Kind::Decompressed,
        ([b'{', ..], Ok(text)) if text.contains('\u{fffd}') => Kind::TextEncoding,
        ([b'{', ..], Ok(text)) if is_open(text) && !json::is_whole(text) => Kind::CutOff,
        (_, Ok(text)) if is_form(text.trim_ascii()) => Kind::FormEncoded,
        _ => return None,
    };
    Some(Diagnosis::likely(kind))
}

/// Whether more braces are opened than closed, or the text does not end with a brace.
fn is_open(text: &str) -> bool {
    text.matches('{').count() > text.matches('}').count() || !text.trim_ascii_end().ends_with('}')
}

/// Whether it has the fields of a form.
fn is_form(text: &str) -> bool {
    let is_form = |byte: u8| byte.is_ascii_alphanumeric() || b"%+-._~*&=".contains(&byte);
    let is_field = |field: &str| {
        field.split_once('=').is_some_and(|(_, value)| !value.trim_matches('=').is_empty())
    };
    text.bytes().all(is_form) && text.split('&').all(is_field)
}
