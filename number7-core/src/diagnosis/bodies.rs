//! Texts that may have been signed in the place of the body that arrived.

use std::{borrow::Cow, str};

use base64::prelude::{BASE64_STANDARD, Engine};

use super::{DiagnosisKind as Kind, from_base64, json, search::Search};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What a sender signs that has no body yet, or takes it for a text when it is none.
const PLACEHOLDERS: [&str; 6] = ["", "{}", "null", "undefined", "[object Object]", "None"];

/// Tries them all, the simplest first.
pub(super) fn try_all(search: &mut Search<'_>, body: &[u8]) {
    ends(search, body);
    lines(search, body);
    encodings(search, body);
    wrappers(search, body);
    if let Ok(text) = str::from_utf8(without_mark(body)) {
        json::rewritings(text, |form, json| {
            if !search.is_spent() {
                search.text(json, Kind::Reserialized, || Some(Cow::Owned(form.to_owned())));
            }
        });
    }
    for placeholder in PLACEHOLDERS {
        search.text(placeholder.as_bytes(), Kind::SignedNothing, || None);
    }
}

fn ends(search: &mut Search<'_>, body: &[u8]) {
    let trimmed = body.trim_ascii_end();
    let one_less = body.strip_suffix(b"\n").map(|body| body.strip_suffix(b"\r").unwrap_or(body));
    for shorter in one_less.into_iter().chain([trimmed, body.trim_ascii()]) {
        search.text(shorter, Kind::FinalNewlineAdded, || None);
    }
    for end in ["\n", "\r\n"] {
        let longer = [body, end.as_bytes()].concat();
        search.text(&longer, Kind::FinalNewlineLost, || None);
    }
    search.text(without_mark(body), Kind::ByteOrderMark, || None);
    search.text(&[BYTE_ORDER_MARK, body].concat(), Kind::ByteOrderMark, || None);
}

fn lines(search: &mut Search<'_>, body: &[u8]) {
    let Some(text) = text(body).filter(|text| text.contains('\n')) else { return };
    let unix = text.replace("\r\n", "\n");
    let windows = unix.replace('\n', "\r\n");
    for lines in [unix.clone(), windows.clone(), unix + "\n", windows + "\r\n"] {
        search.text(lines.as_bytes(), Kind::LineEndings, || None);
    }
}

/// Latin-1 has the first 256 characters of Unicode as its bytes.
fn encodings(search: &mut Search<'_>, body: &[u8]) {
    if body.is_ascii() {
        return;
    }
    let from_latin1: String = body.iter().copied().map(char::from).collect();
    search.text(from_latin1.as_bytes(), Kind::TextEncoding, || None);
    let byte = |c: char| u8::try_from(c).ok();
    if let Some(latin1) =
        text(body).and_then(|text| text.chars().map(byte).collect::<Option<Vec<_>>>())
    {
        search.text(&latin1, Kind::TextEncoding, || None);
    }
}

/// Bodies in another wrapping: a form, base64, a JSON text.
fn wrappers(search: &mut Search<'_>, body: &[u8]) {
    if let Some(inner) = from_base64(body.trim_ascii()) {
        search.text(&inner, Kind::Base64Body, || None);
    }
    let base64 = BASE64_STANDARD.encode(body);
    search.text(base64.as_bytes(), Kind::Base64Body, || None);
    let Some(text) = text(body) else { return };

    if let Ok(inner) = serde_json::from_str::<String>(text) {
        search.text(inner.as_bytes(), Kind::JsonInText, || None);
    }
    let twice = serde_json::Value::from(text).to_string();
    search.text(twice.as_bytes(), Kind::JsonInText, || None);

    let encoded: String = form_urlencoded::byte_serialize(body).collect();
    search.text(encoded.as_bytes(), Kind::FormEncoded, || None);
    if let Some(pairs) = json::pairs(text) {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        search.text(form.as_bytes(), Kind::FormEncoded, || None);
        return;
    }
    let pairs: Vec<_> = form_urlencoded::parse(body).collect();
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
    search.text(object.as_bytes(), Kind::FormEncoded, || None);
}

fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body)
}

fn text(body: &[u8]) -> Option<&str> {
    str::from_utf8(body).ok()
}
