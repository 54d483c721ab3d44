//! The top level of an event's JSON, borrowed from the body.

use std::{borrow::Cow, fmt, str};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{EventError, EventErrorKind, Timestamp};
use crate::byte_order_mark::without_mark;

#[derive(Clone, Copy)]
pub(crate) enum Field {
    Event,
    JobId,
    FileStatus,
    DocumentType,
    Timestamp,
    Error,
}

impl Field {
    const COUNT: usize = Self::Error as usize + 1;

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "event" => Self::Event,
            "jobId" => Self::JobId,
            "fileStatus" => Self::FileStatus,
            "documentType" => Self::DocumentType,
            "timestamp" => Self::Timestamp,
            "error" => Self::Error,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::JobId => "jobId",
            Self::FileStatus => "fileStatus",
            Self::DocumentType => "documentType",
            Self::Timestamp => "timestamp",
            Self::Error => "error",
        }
    }

    fn wrong(self, kind: EventErrorKind) -> EventError {
        EventError::in_field(kind, self.name())
    }
}

/// The values of the known fields. Which of them matter depends on the event's name, which may come last. So a value of the
/// wrong type is an error only when it is used.
#[derive(Default)]
pub(crate) struct Fields<'a> {
    known: [Option<Value<'a>>; Field::COUNT],
    repeated: Option<Field>,
}

impl<'a> Fields<'a> {
    /// Reads the whole text, so that the result comes from valid JSON.
    pub(crate) fn read(json: &'a str) -> Result<Self, EventError> {
        let mut fields = Self::default();
        match fields.fill::<false>(json) {
            Ok(()) => Ok(fields),
            Err(error) => Self::read_leniently(json).map_err(|_| error),
        }
    }

    /// JSON has numbers that no type holds, and lone surrogates. They are an error only in a field that is used.
    #[cold]
    fn read_leniently(json: &'a str) -> Result<Self, EventError> {
        let mut fields = Self::default();
        fields.fill::<true>(json)?;
        Ok(fields)
    }

    fn fill<const LENIENT: bool>(&mut self, json: &'a str) -> Result<(), EventError> {
        let mut json = serde_json::Deserializer::from_str(json);
        json.deserialize_map(Fill::<LENIENT>(self)).map_err(EventError::not_json)?;
        json.end().map_err(EventError::not_json)
    }

    /// If a known field is repeated, readers disagree about its value. Unknown fields do not matter.
    pub(crate) fn refuse_repeated(&self) -> Result<(), EventError> {
        match self.repeated {
            Some(field) => Err(field.wrong(EventErrorKind::RepeatedField)),
            None => Ok(()),
        }
    }

    /// Takes a field that must exist and be a string.
    pub(crate) fn take_text(&mut self, field: Field) -> Result<Cow<'a, str>, EventError> {
        let text = match self.known[field as usize].take() {
            Some(Value::Text(text)) => Some(text),
            Some(Value::Unread(raw)) => match field {
                // Not lossy, because then two different jobs could read the same.
                Field::JobId => serde_json::from_str::<String>(raw.get()).ok().map(Cow::from),
                _ => serde_json::from_str(raw.get()).ok().map(|Lossy(text)| text),
            },
            Some(Value::NoText) => None,
            None => return Err(field.wrong(EventErrorKind::MissingField)),
        };
        text.ok_or_else(|| field.wrong(EventErrorKind::WrongType))
    }

    pub(crate) fn take_timestamp(&mut self) -> Result<Timestamp, EventError> {
        let text = self.take_text(Field::Timestamp)?;
        text.parse().map_err(|_| Field::Timestamp.wrong(EventErrorKind::InvalidTimestamp))
    }
}

/// The JSON as text. JSON must be UTF-8.
pub(crate) fn text(json: &[u8]) -> Result<&str, EventError> {
    str::from_utf8(without_mark(json)).map_err(|_| EventError::new(EventErrorKind::NotUtf8))
}

/// Reads the fields. If it is lenient, it reads no value before that is used.
struct Fill<'f, 'a, const LENIENT: bool>(&'f mut Fields<'a>);

impl<'de, const LENIENT: bool> Visitor<'de> for Fill<'_, 'de, LENIENT> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        loop {
            let name = match LENIENT {
                true => map.next_key::<&RawValue>()?.map(Name::of_raw),
                false => map.next_key()?,
            };
            match name {
                Some(Name(Some(field))) => {
                    let value = match field {
                        Field::Error => Value::Unread(map.next_value()?),
                        _ if LENIENT => Value::Unread(map.next_value()?),
                        _ => map.next_value()?,
                    };
                    if self.0.known[field as usize].replace(value).is_some() {
                        self.0.repeated = Some(field);
                        self.0.known[field as usize] = Some(Value::NoText);
                    }
                }
                Some(Name(None)) => _ = map.next_value::<IgnoredAny>()?,
                None => return Ok(()),
            }
        }
    }
}

/// The name of a field, if it is known.
struct Name(Option<Field>);

impl Name {
    /// A name that is not valid Unicode is not known.
    fn of_raw(raw: &RawValue) -> Self {
        Self(serde_json::from_str::<String>(raw.get()).ok().and_then(|name| Field::named(&name)))
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Name(Field::named(name)))
    }
}

enum Value<'a> {
    Text(Cow<'a, str>),
    /// Free text. It is read only when it is used, and then as [`Lossy`].
    Unread(&'a RawValue),
    NoText,
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Value::Text(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Value::Text(text.to_owned().into()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::NoText)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Value::NoText)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Value::NoText)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Value::NoText)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Value::NoText)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::NoText)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::NoText)
    }
}

/// A string with U+FFFD instead of lone surrogates, which no `str` can hold. JavaScript leaves lone surrogates if it cuts a
/// string inside a character.
pub(crate) struct Lossy<'a>(pub(crate) Cow<'a, str>);

impl<'de> Deserialize<'de> for Lossy<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(LossyVisitor)
    }
}

struct LossyVisitor;

impl<'de> Visitor<'de> for LossyVisitor {
    type Value = Lossy<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_bytes<E>(self, text: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Lossy(String::from_utf8_lossy(text)))
    }

    fn visit_bytes<E>(self, text: &[u8]) -> Result<Self::Value, E> {
        Ok(Lossy(Cow::Owned(String::from_utf8_lossy(text).into_owned())))
    }
}
