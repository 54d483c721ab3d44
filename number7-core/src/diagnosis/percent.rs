//! How programs write a text into a form or a query.

use std::fmt::Write;

/// The browsers' and Node's `URLSearchParams`, Python's `urlencode`, PHP's `urlencode`,
/// JavaScript's `encodeURIComponent`, Python's `quote`, PHP's `rawurlencode`, and nothing.
pub(super) const STYLES: [fn(&str) -> String; 7] = [
    |text| encode(text, "*-._", "+"),
    |text| encode(text, "_.-~", "+"),
    |text| encode(text, "_.-", "+"),
    |text| encode(text, "-_.!~*'()", "%20"),
    |text| encode(text, "_.-~/", "%20"),
    |text| encode(text, "_.-~", "%20"),
    str::to_owned,
];

fn encode(text: &str, kept: &str, space: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let c = char::from(byte);
        match c {
            ' ' => out.push_str(space),
            c if c.is_ascii_alphanumeric() || kept.contains(c) => out.push(c),
            _ => _ = write!(out, "%{byte:02X}"),
        }
    }
    out
}
