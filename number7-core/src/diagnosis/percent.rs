//! How programs write a string into a form or a query.

use super::pace::Pace;

/// Which characters a program leaves as they are, beside letters and digits, and what it makes of a space.
pub(super) struct Style {
    kept: &'static [u8],
    space: &'static [u8],
}

/// The browsers' and Node's `URLSearchParams`, Python's `urlencode`, PHP's `urlencode`,
/// JavaScript's `encodeURIComponent`, Python's `quote`, PHP's `rawurlencode`, and nothing.
pub(super) const STYLES: [Option<Style>; 7] = [
    Some(Style { kept: b"*-._", space: b"+" }),
    Some(Style { kept: b"_.-~", space: b"+" }),
    Some(Style { kept: b"_.-", space: b"+" }),
    Some(Style { kept: b"-_.!~*'()", space: b"%20" }),
    Some(Style { kept: b"_.-~/", space: b"%20" }),
    Some(Style { kept: b"_.-~", space: b"%20" }),
    None,
];

/// The text as a program of that style writes it.
pub(super) async fn encode(pace: &mut Pace, text: &str, style: &Option<Style>) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let Some(Style { kept, space }) = style else { return text.into() };
    let bytes = text.bytes().map(char::from);
    pace.rewrite(bytes, |byte, out| match u8::try_from(byte).unwrap_or_default() {
        b' ' => out.extend_from_slice(space),
        byte if byte.is_ascii_alphanumeric() || kept.contains(&byte) => out.push(byte),
        byte => {
            let [high, low] = [byte >> 4, byte & 0xf].map(|digit| DIGITS[usize::from(digit)]);
            out.extend_from_slice(&[b'%', high, low]);
        }
    })
    .await
}
