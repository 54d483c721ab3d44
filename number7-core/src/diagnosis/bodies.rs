//! Strings that may have been signed instead of the body that arrived.

use std::str;

use super::{DiagnosisKind as Kind, search::Search};
use crate::byte_order_mark::{BYTE_ORDER_MARK, without_mark};

/// What a sender signs before it has a body, or if it converts an object to a string.
const PLACEHOLDERS: [&str; 10] = [
    "",
    "{}",
    "[]",
    "\"\"",
    "\n",
    "null",
    "undefined",
    "None",
    "[object Object]",
    "[object Promise]",
];

pub(super) async fn try_placeholders(search: &mut Search<'_>) {
    for placeholder in PLACEHOLDERS {
        search.text(placeholder.as_bytes(), Kind::SignedNothing).await;
    }
}

/// Tries changes that need no parsing.
pub(super) async fn try_simple(search: &mut Search<'_>, body: &[u8]) {
    ends(search, body).await;
    lines(search, body).await;
    encodings(search, body).await;
}

async fn ends(search: &mut Search<'_>, body: &[u8]) {
    let one_less = body.strip_suffix(b"\n").map(|body| body.strip_suffix(b"\r").unwrap_or(body));
    for shorter in one_less.into_iter().chain([body.trim_ascii_end()]) {
        search.text(shorter, Kind::FinalNewlineAdded).await;
    }
    for end in ["\n", "\r\n", "\n\n"] {
        search.text(&[body, end.as_bytes()].concat(), Kind::FinalNewlineLost).await;
    }
    for inner in [body.trim_ascii(), body.trim_ascii_start()] {
        search.text(inner, Kind::OuterWhiteSpace).await;
    }
    let bare = without_mark(body);
    for end in [&b""[..], b"\n", b"\r\n"] {
        search.text(&[BYTE_ORDER_MARK, body, end].concat(), Kind::ByteOrderMark).await;
        search.text(&[bare, end].concat(), Kind::ByteOrderMark).await;
    }
    search.text(bare.trim_ascii_end(), Kind::ByteOrderMark).await;
}

async fn lines(search: &mut Search<'_>, body: &[u8]) {
    let Some(text) = text(body).filter(|text| text.contains('\n')) else { return };
    let unix = text.replace("\r\n", "\n");
    let windows = unix.replace('\n', "\r\n");
    search.pace.spend(2 * body.len()).await;
    for (lines, end) in [(unix, "\n"), (windows, "\r\n")] {
        search.text(lines.as_bytes(), Kind::LineEndings).await;
        search.text((lines + end).as_bytes(), Kind::LineEndings).await;
    }
}

/// UTF-8 that was read as another encoding, or converted to it.
async fn encodings(search: &mut Search<'_>, body: &[u8]) {
    let mut texts: Vec<Vec<u8>> = Vec::new();
    for unit in [u16::from_le_bytes, u16::from_be_bytes] {
        texts.extend(from_utf16(body, unit).map(String::into_bytes));
    }
    if let Some(text) = text(body) {
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        texts.push([b"\xff\xfe", &*little].concat());
        texts.push(little);
    }
    search.pace.spend(4 * body.len()).await;
    if !body.is_ascii() {
        for decode in [char::from, windows] {
            texts.push(body.iter().copied().map(decode).collect::<String>().into_bytes());
        }
        for encode in [|c| u8::try_from(c).ok(), to_windows] {
            let encoded = text(body).and_then(|text| text.chars().map(encode).collect());
            texts.extend(encoded);
        }
        search.pace.spend(8 * body.len()).await;
    }
    for text in texts {
        search.text(&text, Kind::TextEncoding).await;
    }
}

/// `None` if the body is not UTF-16, or not an event.
fn from_utf16(body: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let units = body.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    let text: String = char::decode_utf16(units).collect::<Result<_, _>>().ok()?;
    let text = text.trim_start_matches('\u{feff}');
    text.trim_start().starts_with('{').then(|| text.into())
}

/// The characters of Windows-1252 from 0x80 on. They differ from those of Latin-1, which are the first 256 of Unicode.
const WINDOWS: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

fn windows(byte: u8) -> char {
    match byte {
        0x80..0xa0 => WINDOWS[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

fn to_windows(c: char) -> Option<u8> {
    if c.is_ascii() {
        return u8::try_from(c).ok();
    }
    match WINDOWS.iter().zip(0x80..).find(|(known, _)| **known == c) {
        Some((_, byte)) => Some(byte),
        None => u8::try_from(c).ok(),
    }
}

fn text(body: &[u8]) -> Option<&str> {
    str::from_utf8(body).ok()
}
