use super::{
    Text, Value,
    forms::{Escapes, Layout},
};

pub(super) fn write(value: &Value<'_>, layout: &Layout, escapes: &Escapes) -> String {
    let mut writer = Writer { out: String::new(), layout, escapes };
    writer.value(value, 0);
    writer.out
}

struct Writer<'a> {
    out: String,
    layout: &'a Layout,
    escapes: &'a Escapes,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value<'_>, depth: usize) {
        match value {
            Value::Word(word) => self.out.push_str(word),
            Value::Text(text) => self.text(text),
            Value::List(values) if self.layout.flat_lists => {
                self.out.push_str("[ ");
                for (number, value) in values.iter().enumerate() {
                    self.out.push_str(if number > 0 { ", " } else { "" });
                    self.value(value, depth);
                }
                self.out.push_str(if values.is_empty() { "]" } else { " ]" });
            }
            Value::List(values) => {
                self.items('[', ']', depth, values, |writer, value| writer.value(value, depth + 1));
            }
            Value::Map(members) => {
                self.items('{', '}', depth, members, |writer, (name, value)| {
                    writer.text(name);
                    writer.out.push_str(writer.layout.colon);
                    writer.value(value, depth + 1);
                });
            }
        }
    }

    fn items<T>(
        &mut self,
        open: char,
        close: char,
        depth: usize,
        items: &[T],
        write: impl Fn(&mut Self, &T),
    ) {
        self.out.push(open);
        for (number, item) in items.iter().enumerate() {
            self.out.push_str(if number > 0 { self.layout.comma } else { "" });
            self.new_line(depth + 1);
            write(self, item);
        }
        match items {
            // As Jackson does it.
            [] if self.layout.flat_lists => self.out.push(' '),
            [] => {}
            _ => self.new_line(depth),
        }
        self.out.push(close);
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = self.layout.indent {
            self.out.push_str(self.layout.line);
            (0..depth).for_each(|_| self.out.push_str(indent));
        }
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
        match c {
            '\\' => self.out.push_str(r"\\"),
            '\n' => self.out.push_str(r"\n"),
            '\r' => self.out.push_str(r"\r"),
            '\t' => self.out.push_str(r"\t"),
            '\u{8}' => self.out.push_str(r"\b"),
            '\u{c}' => self.out.push_str(r"\f"),
            '"' if !is_escaped => self.out.push_str("\\\""),
            '/' if self.escapes.slash => self.out.push_str(r"\/"),
            c if is_escaped || c < ' ' => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    self.escape(*unit);
                }
            }
            c => self.out.push(c),
        }
    }

    /// Formatting would take ten times as long.
    fn escape(&mut self, unit: u16) {
        let digits = if self.escapes.upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
        self.out.push_str("\\u");
        for shift in [12, 8, 4, 0] {
            self.out.push(char::from(digits[usize::from(unit >> shift & 0xf)]));
        }
    }
}
