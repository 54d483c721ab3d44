//! JSON as other programs would have written it.

use std::{borrow::Cow, collections::HashSet, fmt::Write};

/// How deep JSON may be nested. An event is flat.
const DEEPEST: usize = 32;

/// How long a rewriting may become: an indented body is longer than the one that arrived.
const LONGEST: usize = 256 * 1024;

/// In which order the vendor's published payload has its fields.
const PUBLISHED: [&str; 6] = ["event", "jobId", "fileStatus", "documentType", "timestamp", "error"];

/// A value as it is written, but for the white space.
#[derive(Clone)]
enum Value<'a> {
    /// A number, `true`, `false` or `null`.
    Word(&'a str),
    Text(Text<'a>),
    List(Vec<Self>),
    Map(Vec<(Text<'a>, Self)>),
}

#[derive(Clone)]
struct Text<'a> {
    /// With its escapes, between the quotes.
    raw: &'a str,
    decoded: Cow<'a, str>,
}

/// Gives `each` the JSON in all forms in which it may have been signed, and says which form it is.
pub(super) fn rewritings(json: &str, mut each: impl FnMut(&str, &[u8])) {
    let Some(value) = read(json) else { return };
    let mut tried = HashSet::new();
    for (order, ordered) in orders(&value) {
        for escapes in &ESCAPES {
            // What is the same in this layout is the same in all.
            let Some(compact) = write(&ordered, &LAYOUTS[0], escapes) else { continue };
            if !tried.insert(compact) {
                continue;
            }
            for layout in &LAYOUTS {
                let Some(mut written) = write(&ordered, layout, escapes) else { continue };
                let form = [layout.name, order, escapes.name].join("");
                each(&form, written.as_bytes());
                written.push('\n');
                each(&form, written.as_bytes());
            }
        }
    }
}

/// A flat object of texts, such as an event is.
pub(super) fn pairs(json: &str) -> Option<Vec<(String, String)>> {
    let Value::Map(members) = read(json)? else { return None };
    let pair = |(name, value): (Text<'_>, Value<'_>)| match value {
        Value::Text(text) => Some((name.decoded.into(), text.decoded.into())),
        Value::Word(word) => Some((name.decoded.into(), word.into())),
        Value::List(_) | Value::Map(_) => None,
    };
    members.into_iter().map(pair).collect()
}

fn orders<'a>(value: &Value<'a>) -> [(&'static str, Value<'a>); 3] {
    let mut published = value.clone();
    if let Value::Map(members) = &mut published {
        let rank = |name: &str| PUBLISHED.iter().position(|field| *field == name);
        members.sort_by_key(|(name, _)| rank(&name.decoded).unwrap_or(PUBLISHED.len()));
    }
    let mut sorted = value.clone();
    sort(&mut sorted);
    [
        ("", value.clone()),
        (", with its fields in the published order", published),
        (", with its fields sorted by name", sorted),
    ]
}

fn sort(value: &mut Value<'_>) {
    match value {
        Value::Word(_) | Value::Text(_) => {}
        Value::List(values) => values.iter_mut().for_each(sort),
        Value::Map(members) => {
            members.sort_by(|(one, _), (other, _)| one.decoded.cmp(&other.decoded));
            members.iter_mut().for_each(|(_, value)| sort(value));
        }
    }
}

/// The white space of a serializer.
struct Layout {
    name: &'static str,
    /// Of each level, where each value has a line of its own.
    indent: Option<&'static str>,
    comma: &'static str,
    colon: &'static str,
}

const LAYOUTS: [Layout; 6] = [
    Layout {
        name: "what was signed is compact, as JavaScript's JSON.stringify writes it",
        indent: None,
        comma: ",",
        colon: ":",
    },
    Layout {
        name: "what was signed has \", \" and \": \", as Python's json.dumps writes it",
        indent: None,
        comma: ", ",
        colon: ": ",
    },
    Layout {
        name: "what was signed is indented by 2",
        indent: Some("  "),
        comma: ",",
        colon: ": ",
    },
    Layout {
        name: "what was signed is indented by 4",
        indent: Some("    "),
        comma: ",",
        colon: ": ",
    },
    Layout {
        name: "what was signed is indented by tabs",
        indent: Some("\t"),
        comma: ",",
        colon: ": ",
    },
    Layout {
        name: "what was signed is indented by 2, as Java's Jackson writes it",
        indent: Some("  "),
        comma: ",",
        colon: " : ",
    },
];

/// Which characters a serializer escapes although it need not.
struct Escapes {
    name: &'static str,
    /// `None` leaves each text as it arrived.
    needs: Option<fn(char) -> bool>,
    /// A slash gets a backslash.
    slash: bool,
    /// The digits of `\u00e9` are upper case, and a quote is `\u0022`.
    upper: bool,
}

const ESCAPES: [Escapes; 8] = [
    Escapes { name: "", needs: None, slash: false, upper: false },
    Escapes {
        name: ", with nothing escaped that need not be",
        needs: Some(|_| false),
        slash: false,
        upper: false,
    },
    Escapes {
        name: ", with non-ASCII escaped, as Python does",
        needs: Some(|c| !(' '..='~').contains(&c)),
        slash: false,
        upper: false,
    },
    Escapes {
        name: ", with / and non-ASCII escaped, as PHP does",
        needs: Some(|c| !c.is_ascii()),
        slash: true,
        upper: false,
    },
    Escapes {
        name: ", with / escaped",
        needs: Some(|c| matches!(c, '\u{2028}' | '\u{2029}')),
        slash: true,
        upper: false,
    },
    Escapes {
        name: ", with <, > and & escaped, as Go does",
        needs: Some(|c| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}')),
        slash: false,
        upper: false,
    },
    Escapes {
        name: ", with <, >, &, = and ' escaped, as Java's Gson does",
        needs: Some(|c| matches!(c, '<' | '>' | '&' | '=' | '\'' | '\u{2028}' | '\u{2029}')),
        slash: false,
        upper: false,
    },
    Escapes {
        name: ", with non-ASCII and HTML escaped, as .NET does",
        needs: Some(|c| !(' '..='~').contains(&c) || "<>&'\"+`".contains(c)),
        slash: false,
        upper: true,
    },
];

/// `None` if it would be too long.
fn write(value: &Value<'_>, layout: &Layout, escapes: &Escapes) -> Option<String> {
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
                self.items('[', ']', values, depth, |writer, value| {
                    writer.value(value, depth + 1)
                })?;
            }
            Value::Map(members) => {
                self.items('{', '}', members, depth, |writer, (name, value)| {
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
        open: char,
        close: char,
        items: &[T],
        depth: usize,
        mut each: impl FnMut(&mut Self, &T) -> Option<()>,
    ) -> Option<()> {
        self.out.push(open);
        for (number, item) in items.iter().enumerate() {
            if number > 0 {
                self.out.push_str(self.layout.comma);
            }
            self.line(depth + 1);
            each(self, item)?;
        }
        if !items.is_empty() {
            self.line(depth);
        }
        self.out.push(close);
        Some(())
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = self.layout.indent {
            self.out.push('\n');
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
                    _ = match self.escapes.upper {
                        true => write!(self.out, "\\u{unit:04X}"),
                        false => write!(self.out, "\\u{unit:04x}"),
                    };
                }
            }
            c => self.out.push(c),
        }
    }
}

fn read(json: &str) -> Option<Value<'_>> {
    let mut reader = Reader(json);
    let value = reader.value(0)?;
    reader.skip_white_space();
    reader.0.is_empty().then_some(value)
}

/// What is left to read.
struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Option<Value<'a>> {
        if depth > DEEPEST {
            return None;
        }
        self.skip_white_space();
        match self.0.as_bytes().first()? {
            b'"' => Some(Value::Text(self.text()?)),
            b'[' => self.items(b']', |reader| reader.value(depth + 1)).map(Value::List),
            b'{' => {
                let member = |reader: &mut Self| {
                    reader.skip_white_space();
                    let name = reader.text()?;
                    reader.skip_white_space();
                    reader.take(b':')?;
                    Some((name, reader.value(depth + 1)?))
                };
                self.items(b'}', member).map(Value::Map)
            }
            _ => {
                let is_over = |c: char| c.is_ascii_whitespace() || ",]}".contains(c);
                let word = self.split(self.0.find(is_over).unwrap_or(self.0.len()));
                (!word.is_empty()).then_some(Value::Word(word))
            }
        }
    }

    fn items<T>(
        &mut self,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.split(1);
        let mut items = Vec::new();
        loop {
            self.skip_white_space();
            if self.take(close).is_some() {
                return Some(items);
            }
            if !items.is_empty() {
                self.take(b',')?;
            }
            items.push(item(self)?);
            self.skip_white_space();
        }
    }

    fn text(&mut self) -> Option<Text<'a>> {
        let json = self.0;
        self.take(b'"')?;
        let mut is_escaped = false;
        let end = self.0.bytes().position(|byte| {
            let ends = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            ends
        })?;
        let raw = self.split(end);
        self.take(b'"')?;
        let decoded = match raw.contains('\\') {
            true => serde_json::from_str::<String>(&json[..end + 2]).ok()?.into(),
            false => raw.into(),
        };
        Some(Text { raw, decoded })
    }

    fn skip_white_space(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(char::from(byte))?;
        Some(())
    }

    fn split(&mut self, at: usize) -> &'a str {
        let (before, after) = self.0.split_at(at);
        self.0 = after;
        before
    }
}
