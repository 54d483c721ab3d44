use super::{Text, Value};

/// How deep JSON may be nested. An event is flat.
const DEEPEST: usize = 8;

/// How many values JSON may have. An event has six.
const MOST_VALUES: usize = 200;

/// Why JSON was not read.
pub(super) enum Unread {
    NoJson,
    /// It has so many values that each step would take long.
    TooMuch,
}

/// Reads JSON as it is written. It accepts a little more than JSON, such as Python's `NaN`.
pub(super) fn read(json: &str) -> Result<Value<'_>, Unread> {
    let mut reader = Reader { json, values: 0 };
    let value = reader.value(0);
    reader.skip_white_space();
    match value {
        Some(value) if reader.json.is_empty() => Ok(value),
        _ if reader.values > MOST_VALUES => Err(Unread::TooMuch),
        _ => Err(Unread::NoJson),
    }
}

/// The rest of the text, and the number of values so far.
struct Reader<'a> {
    json: &'a str,
    values: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Option<Value<'a>> {
        self.values += 1;
        if depth > DEEPEST || self.values > MOST_VALUES {
            return None;
        }
        self.skip_white_space();
        match self.json.as_bytes().first()? {
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
                let word = self.split(self.json.find(is_over).unwrap_or(self.json.len()));
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
        let json = self.json;
        self.take(b'"')?;
        let mut is_escaped = false;
        let end = self.json.bytes().position(|byte| {
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
        self.json = self.json.trim_ascii_start();
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.json = self.json.strip_prefix(char::from(byte))?;
        Some(())
    }

    fn split(&mut self, at: usize) -> &'a str {
        let (before, after) = self.json.split_at(at);
        self.json = after;
        before
    }
}
