//! Texts that may have been signed in the place of the body that arrived.

use std::{borrow::Cow, str};

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};

use super::{DiagnosisKind as Kind, json, percent, search::Search};
use crate::{
    byte_order_mark::{BYTE_ORDER_MARK, without_mark},
    from_base64::from_base64,
};

/// What a sender signs before it has a body, or if it makes a text of an object.
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

/// Tries what happens to a body that nobody parses.
pub(super) fn try_simple(search: &mut Search<'_>, body: &[u8]) {
    ends(search, body);
    lines(search, body);
    encodings(search, body);
}

/// Tries what programs make of a body, and of each other's JSON.
pub(super) fn try_others(search: &mut Search<'_>, body: &[u8]) {
    for placeholder in PLACEHOLDERS {
        search.text(placeholder.as_bytes(), Kind::SignedNothing, || None);
    }
    search.stage();
    base64(search, body);
    let Some(text) = text(without_mark(body)).filter(|text| !text.trim_ascii().is_empty()) else {
        return;
    };
    for end in ["}", "\"}"] {
        search.text(&[text, end].concat().into_bytes(), Kind::CutOff, || None);
    }
    search.stage();
    rewritings(search, text, Kind::Reserialized);
    search.stage();
    json_in_text(search, text);
    search.stage();
    forms(search, text);
    search.stage();
    odd_json(search, text);
}

/// What is almost JSON.
fn odd_json(search: &mut Search<'_>, text: &str) {
    // PHP has one kind of empty array.
    for [from, to] in [["{}", "[]"], ["[]", "{}"]] {
        if text.contains(from) {
            rewritings(search, &text.replace(from, to), Kind::Reserialized);
        }
    }
    // The str() of a Python dict.
    if text.starts_with("{'") {
        let json = text.replace('\'', "\"");
        rewritings(search, &json, Kind::Reserialized);
        let words = [("None", "null"), ("True", "true"), ("False", "false")];
        let json = words.iter().fold(json, |json, (from, to)| json.replace(from, to));
        rewritings(search, &json, Kind::Reserialized);
    }
}

fn rewritings(search: &mut Search<'_>, json: &str, kind: Kind) {
    if search.is_spent() {
        return;
    }
    json::rewritings(json, |form, json| {
        search.text(json, kind, || Some(Cow::Owned(form.to_owned())));
        !search.is_spent()
    });
}

fn ends(search: &mut Search<'_>, body: &[u8]) {
    let one_less = body.strip_suffix(b"\n").map(|body| body.strip_suffix(b"\r").unwrap_or(body));
    for shorter in one_less.into_iter().chain([body.trim_ascii_end()]) {
        search.text(shorter, Kind::FinalNewlineAdded, || None);
    }
    for end in ["\n", "\r\n", "\n\n"] {
        search.text(&[body, end.as_bytes()].concat(), Kind::FinalNewlineLost, || None);
    }
    for inner in [body.trim_ascii(), body.trim_ascii_start()] {
        search.text(inner, Kind::OuterWhiteSpace, || None);
    }
    let bare = without_mark(body);
    for end in [&b""[..], b"\n", b"\r\n"] {
        search.text(&[BYTE_ORDER_MARK, body, end].concat(), Kind::ByteOrderMark, || None);
        search.text(&[bare, end].concat(), Kind::ByteOrderMark, || None);
    }
    search.text(bare.trim_ascii_end(), Kind::ByteOrderMark, || None);
}

fn lines(search: &mut Search<'_>, body: &[u8]) {
    let Some(text) = text(body).filter(|text| text.contains('\n')) else { return };
    let unix = text.replace("\r\n", "\n");
    let windows = unix.replace('\n', "\r\n");
    for lines in [unix.clone(), windows.clone(), unix + "\n", windows + "\r\n"] {
        search.text(lines.as_bytes(), Kind::LineEndings, || None);
    }
}

/// Latin-1 has the first 256 characters of Unicode as its bytes. Windows-1252 has others in the place
/// of its control characters.
fn encodings(search: &mut Search<'_>, body: &[u8]) {
    let units = [u16::from_le_bytes, u16::from_be_bytes];
    for text in units.into_iter().filter_map(|unit| from_utf16(body, unit)) {
        search.text(text.as_bytes(), Kind::TextEncoding, || None);
    }
    if let Some(text) = text(body) {
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        search.text(&little, Kind::TextEncoding, || None);
        search.text(&[b"\xff\xfe", &*little].concat(), Kind::TextEncoding, || None);
    }
    if body.is_ascii() {
        return;
    }
    let decoded_by = |decode: fn(u8) -> char| body.iter().copied().map(decode).collect::<String>();
    for decoded in [decoded_by(char::from), decoded_by(windows)] {
        search.text(decoded.as_bytes(), Kind::TextEncoding, || None);
    }
    let Some(text) = text(body) else { return };
    let latin1 = |c: char| u8::try_from(c).ok();
    let encoded_by =
        |encode: &dyn Fn(char) -> Option<u8>| text.chars().map(encode).collect::<Vec<_>>();
    for encoded in [encoded_by(&latin1), encoded_by(&to_windows)] {
        let lossy: Vec<u8> = encoded.iter().map(|byte| byte.unwrap_or(b'?')).collect();
        search.text(&lossy, Kind::TextEncoding, || None);
    }
    let ascii = |replacement: &str| -> String {
        let character = |c: char| if c.is_ascii() { c.to_string() } else { replacement.into() };
        text.chars().map(character).collect()
    };
    search.text(ascii("?").as_bytes(), Kind::TextEncoding, || None);
    search.text(ascii("").as_bytes(), Kind::TextEncoding, || None);
    // Node's `latin1` keeps the lower half of what does not fit.
    let halves: Vec<u8> = text.encode_utf16().map(|unit| unit.to_le_bytes()[0]).collect();
    search.text(&halves, Kind::TextEncoding, || None);
}

/// Without a byte order mark. `None` if it is not UTF-16, or no event.
fn from_utf16(body: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let units: Vec<_> = body.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
    let text = String::from_utf16(&units).ok()?;
    let text = text.trim_start_matches('\u{feff}');
    text.trim_start().starts_with('{').then(|| text.to_owned())
}

/// The characters of Windows-1252 from 0x80 on, where they are not those of Latin-1.
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
    match WINDOWS.iter().zip(0x80..).find(|(known, _)| **known == c) {
        Some((_, byte)) => Some(byte),
        None => u8::try_from(c).ok(),
    }
}

fn base64(search: &mut Search<'_>, body: &[u8]) {
    let bare = body.trim_ascii();
    let unquoted = bare.strip_prefix(b"\"").and_then(|bare| bare.strip_suffix(b"\""));
    let marker = b";base64,";
    let data = bare.windows(marker.len()).position(|window| window == marker);
    let data = data.map(|at| &bare[at + marker.len()..]);
    for text in [Some(bare), unquoted, data].into_iter().flatten() {
        if let Some(inner) = from_base64(text) {
            search.text(&inner, Kind::Base64Body, || None);
        }
    }
    let encoded = BASE64_STANDARD.encode(body);
    for width in [encoded.len().max(1), 76, 64] {
        let lines: Vec<&[u8]> = encoded.as_bytes().chunks(width).collect();
        let lines = lines.join(&b'\n');
        search.text(&lines, Kind::Base64Body, || None);
        search.text(&[&*lines, b"\n"].concat(), Kind::Base64Body, || None);
    }
    search.text(BASE64_URL_SAFE_NO_PAD.encode(body).as_bytes(), Kind::Base64Body, || None);
}

fn json_in_text(search: &mut Search<'_>, text: &str) {
    let mut inner = Cow::from(text);
    for _ in 0..3 {
        let Ok(next) = serde_json::from_str::<String>(&inner) else { break };
        search.text(next.as_bytes(), Kind::JsonInText, || None);
        rewritings(search, &next, Kind::JsonInText);
        inner = next.into();
    }
    for quoted in json::quotings(text) {
        search.text(quoted.as_bytes(), Kind::JsonInText, || None);
    }
}

fn forms(search: &mut Search<'_>, text: &str) {
    let mut form = |form: &str| search.text(form.as_bytes(), Kind::FormEncoded, || None);
    for encode in percent::STYLES {
        let encoded = encode(text);
        form(&encoded);
        form(&format!("{encoded}="));
        for name in ["payload", "data", "body", "json"] {
            form(&format!("{name}={encoded}"));
        }
    }
    let Some(pairs) = json::pairs(text) else { return from_form(search, text) };
    let mut sorted = pairs.clone();
    sorted.sort_unstable();
    for pairs in [&pairs, &sorted] {
        for encode in percent::STYLES {
            let pair =
                |(name, value): &(String, String)| format!("{}={}", encode(name), encode(value));
            form(&pairs.iter().map(pair).collect::<Vec<_>>().join("&"));
        }
    }
    // A form parser took the JSON for a field's name, and passed its result on. Or a queue put it
    // into a field of its own.
    if let [(name, value)] = &*pairs {
        form(name);
        search.text(value.as_bytes(), Kind::JsonInText, || None);
    }
}

fn from_form(search: &mut Search<'_>, text: &str) {
    for part in parts(text) {
        search.text(part.as_bytes(), Kind::FormEncoded, || None);
    }
    let pairs: Vec<_> = form_urlencoded::parse(text.as_bytes()).collect();
    for (name, value) in &pairs {
        // One field that is the JSON, or a JSON that was taken for the name of a field.
        let whole = if value.is_empty() { name } else { value };
        search.text(whole.as_bytes(), Kind::FormEncoded, || None);
    }
    let fields = pairs.iter().map(|(name, value)| {
        let [name, value] = [name, value].map(|text| serde_json::Value::from(&**text).to_string());
        format!("{name}:{value}")
    });
    let object = format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
    rewritings(search, &object, Kind::FormEncoded);
}

/// The contents of the parts of a multipart form.
fn parts(text: &str) -> Vec<&str> {
    let Some(boundary) = text.lines().next().filter(|line| line.starts_with("--")) else {
        return Vec::new();
    };
    let mut contents = Vec::new();
    for part in text.split(boundary) {
        if let Some((_, content)) = part.split_once("\r\n\r\n") {
            contents.push(content.strip_suffix("\r\n").unwrap_or(content));
        }
    }
    contents
}

fn text(body: &[u8]) -> Option<&str> {
    str::from_utf8(body).ok()
}
