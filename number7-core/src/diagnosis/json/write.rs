use std::pin::Pin;

use super::{
    Text, Value,
    forms::{Escapes, Layout},
};
use crate::diagnosis::pace::{EACH, Pace};

/// How long a rewriting may become: an indented body is longer than the one that arrived.
const LONGEST: usize = 256 * 1024;

/// How many characters are written at once, and how many bytes are hashed in the time of one.
const AT_ONCE: usize = 512;
const CHARACTER: usize = 10;

/// A part of a value on its way to be written. It is boxed because values nest.
type Written<'f, T> = Pin<Box<dyn Future<Output = Option<T>> + Send + Sync + 'f>>;

/// `None` if it would be too long.
pub(super) async fn write(
    pace: &mut Pace,
    value: &Value<'_>,
    layout: &Layout,
    escapes: &Escapes,
) -> Option<String> {
    let mut writer = Writer { out: String::new(), layout, escapes, pace };
    writer.value(value, 0).await?;
    writer.pace.spend(EACH).await;
    Some(writer.out)
}

struct Writer<'a> {
    out: String,
    layout: &'a Layout,
    escapes: &'a Escapes,
    pace: &'a mut Pace,
}

impl Writer<'_> {
    async fn value(&mut self, value: &Value<'_>, depth: usize) -> Option<()> {
        match value {
            Value::Word(word) => self.out.push_str(word),
            Value::Text(text) => self.text(text).await?,
            Value::List(values) => self.list(values, depth).await?,
            Value::Map(members) => self.map(members, depth).await?,
        }
        (self.out.len() < LONGEST).then_some(())
    }

    fn list<'f>(&'f mut self, values: &'f [Value<'_>], depth: usize) -> Written<'f, ()> {
        let indent = self.layout.indent.filter(|_| !self.layout.flat_lists);
        let inner = depth + usize::from(!self.layout.flat_lists);
        Box::pin(async move {
            self.out.push('[');
            for (number, value) in values.iter().enumerate() {
                self.before_item(number, depth, indent);
                self.value(value, inner).await?;
            }
            self.close(']', values.is_empty(), depth, indent);
            Some(())
        })
    }

    fn map<'f>(
        &'f mut self,
        members: &'f [(Text<'_>, Value<'_>)],
        depth: usize,
    ) -> Written<'f, ()> {
        let indent = self.layout.indent;
        Box::pin(async move {
            self.out.push('{');
            for (number, (name, value)) in members.iter().enumerate() {
                self.before_item(number, depth, indent);
                self.text(name).await?;
                self.out.push_str(self.layout.colon);
                self.value(value, depth + 1).await?;
            }
            self.close('}', members.is_empty(), depth, indent);
            Some(())
        })
    }

    fn before_item(&mut self, number: usize, depth: usize, indent: Option<&str>) {
        if number > 0 {
            self.out.push_str(self.layout.comma);
        }
        match indent {
            Some(indent) => self.new_line(depth + 1, indent),
            None if number == 0 => self.out.push_str(self.layout.padding),
            // Jackson writes a list on one line, with a space behind its commas.
            None if self.layout.indent.is_some() => self.out.push(' '),
            None => {}
        }
    }

    fn close(&mut self, close: char, is_empty: bool, depth: usize, indent: Option<&str>) {
        match indent {
            Some(indent) if !is_empty => self.new_line(depth, indent),
            _ => self.out.push_str(self.layout.padding),
        }
        self.out.push(close);
    }

    fn new_line(&mut self, depth: usize, indent: &str) {
        self.out.push_str(self.layout.line);
        (0..depth).for_each(|_| self.out.push_str(indent));
    }

    async fn text(&mut self, text: &Text<'_>) -> Option<()> {
        self.out.push('"');
        match self.escapes.needs {
            None => self.out.push_str(text.raw),
            Some(needs) => {
                for (number, c) in text.decoded.chars().enumerate() {
                    self.character(c, needs(c));
                    if number % AT_ONCE == AT_ONCE - 1 {
                        self.pace.spend(CHARACTER * AT_ONCE).await;
                        (self.out.len() < LONGEST).then_some(())?;
                    }
                }
                self.pace.spend(CHARACTER * (text.decoded.len() % AT_ONCE)).await;
            }
        }
        self.out.push('"');
        Some(())
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
                    self.out.push_str("\\u");
                    push_hex(&mut self.out, &unit.to_be_bytes(), upper(c));
                }
            }
            c => self.out.push(c),
        }
    }
}

/// The `str()` of the Python value. `None` if it would be too long.
pub(super) fn python<'f>(pace: &'f mut Pace, value: &'f Value<'_>) -> Written<'f, String> {
    Box::pin(async move {
        let text = match value {
            Value::Word("true") => "True".into(),
            Value::Word("false") => "False".into(),
            Value::Word("null") => "None".into(),
            Value::Word(number) => (*number).to_owned(),
            Value::Text(text) => python_text(pace, &text.decoded).await,
            Value::List(values) => {
                let mut items = Vec::with_capacity(values.len());
                for value in values {
                    items.push(python(pace, value).await?);
                }
                format!("[{}]", items.join(", "))
            }
            Value::Map(members) => {
                let mut items = Vec::with_capacity(members.len());
                for (name, value) in members {
                    let name = python_text(pace, &name.decoded).await;
                    items.push(format!("{name}: {}", python(pace, value).await?));
                }
                format!("{{{}}}", items.join(", "))
            }
        };
        pace.spend(text.len()).await;
        (text.len() < LONGEST).then_some(text)
    })
}

async fn python_text(pace: &mut Pace, text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for (number, c) in text.chars().enumerate() {
        match c {
            '\\' => out.push_str(r"\\"),
            '\n' => out.push_str(r"\n"),
            '\r' => out.push_str(r"\r"),
            '\t' => out.push_str(r"\t"),
            c if c == quote => out.extend(['\\', c]),
            c if c.is_ascii_control() => {
                out.push_str("\\x");
                push_hex(&mut out, &[c as u8], false);
            }
            c => out.push(c),
        }
        if number % AT_ONCE == AT_ONCE - 1 {
            pace.spend(CHARACTER * AT_ONCE).await;
        }
    }
    out.push(quote);
    out
}

/// Formatting would take ten times as long.
fn push_hex(out: &mut String, bytes: &[u8], is_upper: bool) {
    let digits = if is_upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    for byte in bytes {
        out.extend([byte >> 4, byte & 0xf].map(|digit| char::from(digits[usize::from(digit)])));
    }
}
