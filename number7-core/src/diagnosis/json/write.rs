use std::fmt::Write;

use super::{
    Text, Value,
    forms::{Escapes, Layout},
};

/// How long a rewriting may become: an indented body is longer than the one that arrived.
const LONGEST: usize = 256 * 1024;

/// `None` if it would be too long.
pub(super) fn write(value: &Value<'_>, layout: &Layout, escapes: &Escapes) -> Option<String> {
    let mut writer = Writer { out: String::new(), layout, escapes };
    writer.value(value, 0)?;
    Some(writer.out)
}

struct Writer<'a> {
    out: String,
    layout: &'a Layout,
    escapes: &'a Escapes,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value<'_>, depth: usize) -> Option<()> {
        match value {
            Value::Word(word) => self.out.push_str(word),
            Value::Text(text) => self.text(text),
            Value::List(values) => {
                let indent = self.layout.indent.filter(|_| !self.layout.flat_lists);
                let inner = depth + usize::from(!self.layout.flat_lists);
                self.items(['[', ']'], values, depth, indent, |writer, value| {
                    writer.value(value, inner)
                })?;
            }
            Value::Map(members) => {
                let indent = self.layout.indent;
                self.items(['{', '}'], members, depth, indent, |writer, (name, value)| {
                    writer.text(name);
                    writer.out.push_str(writer.layout.colon);
                    writer.value(value, depth + 1)
                })?;
            }
        }
        (self.out.len() < LONGEST).then_some(())
    }

    fn items<T>(
        &mut self,
        [open, close]: [char; 2],
        items: &[T],
        depth: usize,
        indent: Option<&str>,
        mut each: impl FnMut(&mut Self, &T) -> Option<()>,
    ) -> Option<()> {
        let Layout { line, comma, padding, .. } = self.layout;
        let new_line = |out: &mut String, depth| {
            out.push_str(line);
            (0..depth).for_each(|_| out.push_str(indent.unwrap_or_default()));
        };
        self.out.push(open);
        for (number, item) in items.iter().enumerate() {
            if number > 0 {
                self.out.push_str(comma);
            }
            match indent {
                Some(_) => new_line(&mut self.out, depth + 1),
                None if number == 0 => self.out.push_str(padding),
                // Jackson writes a list on one line, with a space behind its commas.
                None if self.layout.indent.is_some() => self.out.push(' '),
                None => {}
            }
            each(self, item)?;
        }
        match indent {
            Some(_) if !items.is_empty() => new_line(&mut self.out, depth),
            _ => self.out.push_str(padding),
        }
        self.out.push(close);
        Some(())
    }

    fn text(&mut self, text: &Text<'_>) {
        self.out.push('"');
        match self.escapes.needs {
            None => self.out.push_str(text.raw),
            Some(needs) => text.decoded.chars().for_each(|c| self.character(c, needs(c))),
        }
        self.out.push('"');
    }

    fn character(&mut self, c: char, is_escaped: bool) {
        let Escapes { slash, upper, short, .. } = *self.escapes;
        match c {
            '\\' => self.out.push_str(r"\\"),
            '\n' => self.out.push_str(r"\n"),
            '\r' => self.out.push_str(r"\r"),
            '\t' => self.out.push_str(r"\t"),
            '\u{8}' if short => self.out.push_str(r"\b"),
            '\u{c}' if short => self.out.push_str(r"\f"),
            '"' if !is_escaped => self.out.push_str("\\\""),
            '/' if slash => self.out.push_str(r"\/"),
            c if is_escaped || c < ' ' => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    _ = match upper(c) {
                        true => write!(self.out, "\\u{unit:04X}"),
                        false => write!(self.out, "\\u{unit:04x}"),
                    };
                }
            }
            c => self.out.push(c),
        }
    }
}

/// The `str()` of the Python value.
pub(super) fn python(value: &Value<'_>) -> Option<String> {
    let text = match value {
        Value::Word("true") => "True".into(),
        Value::Word("false") => "False".into(),
        Value::Word("null") => "None".into(),
        Value::Word(number) => (*number).to_owned(),
        Value::Text(text) => python_text(&text.decoded),
        Value::List(values) => {
            let values: Option<Vec<_>> = values.iter().map(python).collect();
            format!("[{}]", values?.join(", "))
        }
        Value::Map(members) => {
            let member = |(name, value): &(Text<'_>, Value<'_>)| {
                Some(format!("{}: {}", python_text(&name.decoded), python(value)?))
            };
            let members: Option<Vec<_>> = members.iter().map(member).collect();
            format!("{{{}}}", members?.join(", "))
        }
    };
    (text.len() < LONGEST).then_some(text)
}

fn python_text(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str(r"\\"),
            '\n' => out.push_str(r"\n"),
            '\r' => out.push_str(r"\r"),
            '\t' => out.push_str(r"\t"),
            c if c == quote => out.extend(['\\', c]),
            c if c.is_ascii_control() => _ = write!(out, "\\x{:02x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}
