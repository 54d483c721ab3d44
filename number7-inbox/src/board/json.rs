//! JSON that is easy to read.

/// The deepest indentation of lines: otherwise a document of nothing but brackets would become a thousand times as long.
const DEEPEST: usize = 16;

/// The same JSON, with a line for each value. Only white space is changed: numbers, escapes, and duplicate keys
/// stay as they are.
pub(super) fn indented(json: &str) -> String {
    let (mut text, mut depth, mut in_string, mut is_escaped) =
        (String::new(), 0_usize, false, false);
    for char in json.chars() {
        if in_string {
            text.push(char);
            in_string = char != '"' || is_escaped;
            is_escaped = char == '\\' && !is_escaped;
            continue;
        }
        match char {
            '{' | '[' => {
                depth += 1;
                text.push(char);
                new_line(&mut text, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                let end = text.trim_end().len();
                match text[..end].ends_with(['{', '[']) {
                    true => text.truncate(end),
                    false => new_line(&mut text, depth),
                }
                text.push(char);
            }
            ',' => {
                text.push(char);
                new_line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            ' ' | '\t' | '\r' | '\n' => {}
            _ => {
                in_string = char == '"';
                text.push(char);
            }
        }
    }
    text
}

fn new_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n("  ", depth.min(DEEPEST)));
}
