//! Strings that may have been signed instead of the body that arrived.

use std::{borrow::Cow, str};

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};

use super::{
    DiagnosisKind as Kind, json,
    pace::{EACH, Pace},
    percent::{STYLES, encode},
    search::Search,
};
use crate::{
    byte_order_mark::{BYTE_ORDER_MARK, without_mark},
    from_base64::from_base64,
};

/// How many fields a form may have. An event has six.
const MOST_PAIRS: usize = 1_000;

/// How many bytes are hashed in the time that it takes to look for something at a byte, and to replace it.
const REPLACED: usize = 2;

/// How many bytes are encoded in base64 at once: a multiple of three, so that pieces need no padding between them.
const ENCODED_AT_ONCE: usize = 3 * 2048;

/// How many bytes are decoded from base64 at once. It takes longer than to encode it.
const DECODED_AT_ONCE: usize = 2048;

/// What a sender signs before it has a body, or if it makes a string of an object.
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
pub(super) async fn try_simple(search: &mut Search<'_>, body: &[u8]) {
    ends(search, body).await;
    lines(search, body).await;
    encodings(search, body).await;
}

/// Tries what programs make of a body, and of each other's JSON.
pub(super) async fn try_others(search: &mut Search<'_>, body: &[u8]) {
    for placeholder in PLACEHOLDERS {
        search.text(placeholder.as_bytes(), Kind::SignedNothing).await;
    }
    search.stage();
    base64(search, body).await;
    let Some(text) = text(without_mark(body)).filter(|text| !text.trim_ascii().is_empty()) else {
        return;
    };
    for end in ["}", "\"}"] {
        search.text(&[text, end].concat().into_bytes(), Kind::CutOff).await;
    }
    search.stage();
    json::try_rewritings(search, text, Kind::Reserialized).await;
    search.stage();
    json_in_text(search, text).await;
    search.stage();
    forms(search, text).await;
    search.stage();
    odd_json(search, text).await;
}

/// What is almost JSON.
async fn odd_json(search: &mut Search<'_>, text: &str) {
    // PHP has one kind of empty array.
    for [from, to] in [["{}", "[]"], ["[]", "{}"]] {
        if text.contains(from) {
            search.pace.spend(text.len()).await;
            let other = text.replace(from, to);
            json::try_rewritings(search, &other, Kind::Reserialized).await;
        }
    }
    // The str() of a Python dict.
    if text.starts_with("{'") {
        let json = text.replace('\'', "\"");
        json::try_rewritings(search, &json, Kind::Reserialized).await;
        let words = [("None", "null"), ("True", "true"), ("False", "false")];
        let json = words.iter().fold(json, |json, (from, to)| json.replace(from, to));
        search.pace.spend(text.len()).await;
        json::try_rewritings(search, &json, Kind::Reserialized).await;
    }
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
    let to_unix = |c: char, out: &mut Vec<u8>| {
        if c == '\n' && out.last() == Some(&b'\r') {
            out.pop();
        }
        push(c, out);
    };
    let to_windows = |c: char, out: &mut Vec<u8>| {
        if c == '\n' && out.last() != Some(&b'\r') {
            out.push(b'\r');
        }
        push(c, out);
    };
    let unix = search.pace.rewrite(text.chars(), to_unix).await;
    let windows = search.pace.rewrite(text.chars(), to_windows).await;
    for lines in [&unix, &windows] {
        search.text(lines, Kind::LineEndings).await;
    }
    for (lines, end) in [(unix, &b"\n"[..]), (windows, b"\r\n")] {
        search.text(&[&*lines, end].concat(), Kind::LineEndings).await;
    }
}

/// Latin-1 has the first 256 characters of Unicode as its bytes. Windows-1252 has others instead
/// of its control characters.
async fn encodings(search: &mut Search<'_>, body: &[u8]) {
    for unit in [u16::from_le_bytes, u16::from_be_bytes] {
        if let Some(text) = from_utf16(&mut search.pace, body, unit).await {
            search.text(&text, Kind::TextEncoding).await;
        }
    }
    if let Some(text) = text(body) {
        let little = |c: char, out: &mut Vec<u8>| {
            out.extend(c.encode_utf16(&mut [0; 2]).iter().flat_map(|unit| unit.to_le_bytes()));
        };
        let little = search.pace.rewrite(text.chars(), little).await;
        search.text(&little, Kind::TextEncoding).await;
        search.text(&[b"\xff\xfe", &*little].concat(), Kind::TextEncoding).await;
    }
    if body.is_ascii() {
        return;
    }
    for decode in [char::from, windows] {
        let characters = body.iter().copied().map(decode);
        let decoded = search.pace.rewrite(characters, push).await;
        search.text(&decoded, Kind::TextEncoding).await;
    }
    let Some(text) = text(body) else { return };
    for encode in [|c| u8::try_from(c).ok(), to_windows] {
        let encode = |c, out: &mut Vec<u8>| out.push(encode(c).unwrap_or(b'?'));
        let lossy = search.pace.rewrite(text.chars(), encode).await;
        search.text(&lossy, Kind::TextEncoding).await;
    }
    for replacement in [&b"?"[..], b""] {
        let write = |c: char, out: &mut Vec<u8>| match c.is_ascii() {
            true => push(c, out),
            false => out.extend_from_slice(replacement),
        };
        let ascii = search.pace.rewrite(text.chars(), write).await;
        search.text(&ascii, Kind::TextEncoding).await;
    }
    // Node's `latin1` keeps the lower half of what does not fit.
    let halves = |c: char, out: &mut Vec<u8>| {
        out.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| unit.to_le_bytes()[0]));
    };
    let halves = search.pace.rewrite(text.chars(), halves).await;
    search.text(&halves, Kind::TextEncoding).await;
}

fn push(c: char, out: &mut Vec<u8>) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// As UTF-8, without a byte order mark. `None` if it is not UTF-16, or not an event.
async fn from_utf16(pace: &mut Pace, body: &[u8], unit: fn([u8; 2]) -> u16) -> Option<Vec<u8>> {
    let decoded = || {
        let units = body.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        char::decode_utf16(units).map(Result::ok).skip_while(|c| *c == Some('\u{feff}'))
    };
    // Most bodies show by their first characters that they are not.
    let mut passed = 0;
    let first = decoded().inspect(|_| passed += 1).find(|c| !c.is_some_and(char::is_whitespace));
    pace.spend(EACH + 2 * REPLACED * passed).await;
    if first != Some(Some('{')) {
        return None;
    }
    let mut is_valid = true;
    let characters = decoded().map_while(|c| {
        is_valid = c.is_some();
        c
    });
    let text = pace.rewrite(characters, push).await;
    is_valid.then_some(text)
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
    if c.is_ascii() {
        return u8::try_from(c).ok();
    }
    match WINDOWS.iter().zip(0x80..).find(|(known, _)| **known == c) {
        Some((_, byte)) => Some(byte),
        None => u8::try_from(c).ok(),
    }
}

async fn base64(search: &mut Search<'_>, body: &[u8]) {
    let bare = body.trim_ascii();
    let unquoted = bare.strip_prefix(b"\"").and_then(|bare| bare.strip_suffix(b"\""));
    let marker = b";base64,";
    let data = (0..bare.len()).find_map(|at| bare[at..].strip_prefix(marker));
    search.pace.spend(REPLACED * body.len()).await;
    for text in [Some(bare), unquoted, data].into_iter().flatten() {
        let inner = decode_base64(&mut search.pace, text).await;
        if !inner.is_empty() {
            search.text(&inner, Kind::Base64Body).await;
        }
    }
    let mut encoded = String::new();
    for piece in body.chunks(ENCODED_AT_ONCE) {
        BASE64_STANDARD.encode_string(piece, &mut encoded);
        search.pace.spend(REPLACED * piece.len()).await;
    }
    for width in [encoded.len().max(1), 76, 64] {
        let mut lines = Vec::with_capacity(encoded.len() + encoded.len() / width + 1);
        for line in encoded.as_bytes().chunks(width) {
            if !lines.is_empty() {
                lines.push(b'\n');
            }
            lines.extend_from_slice(line);
            search.pace.spend(line.len()).await;
        }
        search.text(&lines, Kind::Base64Body).await;
        search.text(&[&*lines, b"\n"].concat(), Kind::Base64Body).await;
    }
    let mut encoded = String::new();
    for piece in body.chunks(ENCODED_AT_ONCE) {
        BASE64_URL_SAFE_NO_PAD.encode_string(piece, &mut encoded);
        search.pace.spend(REPLACED * piece.len()).await;
    }
    search.text(encoded.as_bytes(), Kind::Base64Body).await;
}

/// As [`from_base64`] does, a piece at a time.
async fn decode_base64(pace: &mut Pace, text: &[u8]) -> Vec<u8> {
    // What follows the padding is ignored.
    let text = text.split(|byte| *byte == b'=').next().unwrap_or_default();
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
    let (mut digits, mut decoded) = (Vec::new(), Vec::new());
    for piece in text.chunks(DECODED_AT_ONCE) {
        digits.extend(piece.iter().copied().filter(is_digit));
        // Four digits are three bytes.
        let rest = digits.split_off(digits.len() - digits.len() % 4);
        decoded.extend(from_base64(&digits).unwrap_or_default());
        digits = rest;
        pace.spend(8 * REPLACED * piece.len()).await;
    }
    decoded.extend(from_base64(&digits).unwrap_or_default());
    decoded
}

async fn json_in_text(search: &mut Search<'_>, text: &str) {
    let mut inner = Cow::from(text);
    for _ in 0..3 {
        let Ok(next) = serde_json::from_str::<String>(&inner) else { break };
        search.text(next.as_bytes(), Kind::JsonInText).await;
        json::try_rewritings(search, &next, Kind::JsonInText).await;
        inner = next.into();
    }
    json::try_quotings(search, text, Kind::JsonInText).await;
}

async fn forms(search: &mut Search<'_>, text: &str) {
    for style in &STYLES {
        if search.is_spent() {
            return search.cut_short();
        }
        let encoded = encode(&mut search.pace, text, style).await;
        search.text(&encoded, Kind::FormEncoded).await;
        search.text(&[&*encoded, b"="].concat(), Kind::FormEncoded).await;
        for name in ["payload=", "data=", "body=", "json="] {
            search.text(&[name.as_bytes(), &encoded].concat(), Kind::FormEncoded).await;
        }
    }
    let Some(pairs) = json::pairs(text) else { return from_form(search, text).await };
    search.pace.spend(REPLACED * text.len()).await;
    let mut sorted = pairs.clone();
    sorted.sort_unstable();
    for pairs in [&pairs, &sorted] {
        for style in &STYLES {
            if search.is_spent() {
                return search.cut_short();
            }
            let mut form = Vec::new();
            for (name, value) in pairs {
                if !form.is_empty() {
                    form.push(b'&');
                }
                form.extend(encode(&mut search.pace, name, style).await);
                form.push(b'=');
                form.extend(encode(&mut search.pace, value, style).await);
                search.pace.spend(EACH).await;
            }
            search.text(&form, Kind::FormEncoded).await;
        }
    }
    // A form parser took the JSON for a field's name, and passed its result on. Or a queue put it
    // into a field of its own.
    if let [(name, value)] = &*pairs {
        search.text(name.as_bytes(), Kind::FormEncoded).await;
        search.text(value.as_bytes(), Kind::JsonInText).await;
    }
}

async fn from_form(search: &mut Search<'_>, text: &str) {
    for part in parts(text) {
        search.text(part.as_bytes(), Kind::FormEncoded).await;
    }
    let pairs = form_urlencoded::parse(text.as_bytes()).take(MOST_PAIRS + 1).collect::<Vec<_>>();
    search.pace.spend(REPLACED * text.len()).await;
    if pairs.len() > MOST_PAIRS {
        return search.cut_short();
    }
    let mut object = String::from("{");
    for (name, value) in &pairs {
        // One field that is the JSON, or a JSON that was taken for the name of a field.
        let whole = if value.is_empty() { name } else { value };
        search.text(whole.as_bytes(), Kind::FormEncoded).await;
    }
    for (name, value) in &pairs {
        let [name, value] = [name, value].map(|text| serde_json::Value::from(&**text).to_string());
        object += &format!("{}{name}:{value}", if object.len() > 1 { "," } else { "" });
        search.pace.spend(EACH + REPLACED * value.len()).await;
    }
    json::try_rewritings(search, &(object + "}"), Kind::FormEncoded).await;
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
