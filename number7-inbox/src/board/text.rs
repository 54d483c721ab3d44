//! Strings of strangers, times and numbers, as pages show them.

use std::time::{Duration, SystemTime};

use maud::{Markup, html};

/// A string of a stranger. Characters that are invisible, or that change the order of others, are replaced by their names.
pub(super) fn visible(text: &str) -> Markup {
    html! { bdi { (marked(text)) } }
}

/// Bytes of a stranger: [`visible`], with bytes that are not UTF-8 in hexadecimal.
pub(super) fn visible_bytes(bytes: &[u8]) -> Markup {
    html! {
        bdi {
            @for chunk in bytes.utf8_chunks() {
                (marked(chunk.valid()))
                @for byte in chunk.invalid() { span.hidden { (format!("{byte:02X}")) } }
            }
        }
    }
}

fn marked(text: &str) -> Markup {
    html! {
        @for piece in text.split_inclusive(is_hidden) {
            @let (plain, hidden) = cut(piece);
            (plain)
            @if let Some(hidden) = hidden { span.hidden { (code_point(hidden)) } }
        }
    }
}

/// The same without markup, for a title.
pub(super) fn readable(text: &str) -> String {
    let piece = |piece| {
        let (plain, hidden) = cut(piece);
        hidden.map_or_else(|| plain.to_owned(), |hidden| format!("{plain}[{}]", code_point(hidden)))
    };
    text.split_inclusive(is_hidden).map(piece).collect()
}

/// A piece without the hidden character at its end.
fn cut(piece: &str) -> (&str, Option<char>) {
    let hidden = piece.chars().next_back().filter(|char| is_hidden(*char));
    (&piece[..piece.len() - hidden.map_or(0, char::len_utf8)], hidden)
}

fn code_point(char: char) -> String {
    format!("U+{:04X}", u32::from(char))
}

/// Control characters except line ends and tabs, and what Unicode calls format characters or ignorable, such as
/// right-to-left marks and zero-width spaces.
fn is_hidden(char: char) -> bool {
    (char.is_control() && char != '\n' && char != '\t')
        || matches!(char, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// The beginning of a string, with at most `most` bytes.
pub(super) fn beginning(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// A time relative to another: `3m 5s ago`, with the exact time as a tooltip.
pub(super) fn relative(time: SystemTime, now: SystemTime) -> Markup {
    let exact = exact(time);
    let text = match now.duration_since(time) {
        Ok(ago) => format!("{} ago", length(ago)),
        // Rounded up, so that the last second does not show as 0.
        Err(to_come) => format!("in {}", length(to_come.duration() + Duration::from_millis(999))),
    };
    html! { time datetime=(exact) title=(exact) { (text) } }
}

/// The same with the exact time beside it.
pub(super) fn at(time: SystemTime, now: SystemTime) -> Markup {
    html! { (relative(time, now)) " " span.faint { "(" (exact(time)) ")" } }
}

/// The two largest units: `3d 4h`, `12m 5s`, `0s`.
pub(super) fn length(length: Duration) -> String {
    let seconds = length.as_secs();
    let units = [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "m")];
    let all = units.into_iter().chain([(seconds % 60, "s")]);
    let parts = all.skip_while(|(number, unit)| *number == 0 && *unit != "s").take(2);
    parts.map(|(number, unit)| format!("{number}{unit}")).collect::<Vec<_>>().join(" ")
}

/// Such as `2026-11-30T08:00:00Z`.
fn exact(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| String::new(), |time| format!("{time:.0}"))
}

/// With commas: `1,000,000`.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
