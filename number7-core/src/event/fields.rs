//! The top level of an event's JSON, borrowed from the body.

use std::{borrow::Cow, fmt, str};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::{EventError, EventErrorKind, Timestamp};

/// How many unknown fields an event may have before their names are listed on the heap.
const UNKNOWN_INLINE: usize = 8;

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

/// The values of the known fields. The event's name decides which of them matter, and it may come
/// last. So a value of a wrong type is an error only when it is asked for.
pub(crate) struct Fields<'a>([Option<Value<'a>>; Field::COUNT]);

impl<'a> Fields<'a> {
    /// Reads the whole text, so that what is returned comes from valid JSON.
    pub(crate) fn read(json: &'a [u8]) -> Result<Self, EventError> {
        let json = str::from_utf8(json).map_err(|_| EventError::new(EventErrorKind::NotUtf8))?;
        let mut json = serde_json::Deserializer::from_str(json);
        let mut members = Members::default();
        json.deserialize_map(&mut members).map_err(EventError::not_json)?;
        json.end().map_err(EventError::not_json)?;
        members.refuse_repeated()?;
        Ok(Self(members.known))
    }

    /// Takes a field that has to be there and to be a text.
    pub(crate) fn take_text(&mut self, field: Field) -> Result<Cow<'a, str>, EventError> {
        let text = match self.0[field as usize].take() {
            Some(Value::Text(text)) => Some(text),
            Some(Value::Unread(raw)) => {
                serde_json::from_str(raw.get()).ok().map(|Lossy(text)| text)
            }
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

/// A JSON object as it is written, before repeated names are judged.
#[derive(Default)]
struct Members<'a> {
    known: [Option<Value<'a>>; Field::COUNT],
    repeated: Option<Field>,
    unknown: SmallVec<[Cow<'a, str>; UNKNOWN_INLINE]>,
}

impl Members<'_> {
    fn refuse_repeated(&mut self) -> Result<(), EventError> {
        if let Some(field) = self.repeated {
            return Err(field.wrong(EventErrorKind::RepeatedField));
        }
        self.unknown.sort_unstable();
        match self.unknown.windows(2).any(|pair| pair[0] == pair[1]) {
            true => Err(EventError::new(EventErrorKind::RepeatedField)),
            false => Ok(()),
        }
    }
}

impl<'de> Visitor<'de> for &mut Members<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key()? {
            match name {
                Name::Known(field) => {
                    let value = match field {
                        Field::Error => Value::Unread(map.next_value()?),
                        _ => map.next_value()?,
                    };
                    if self.known[field as usize].replace(value).is_some() {
                        self.repeated = Some(field);
                    }
                }
                Name::Unknown(name) => {
                    self.unknown.push(name);
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// The name of a field, told apart without an allocation.
enum Name<'a> {
    Known(Field),
    Unknown(Cow<'a, str>),
}

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Field::named(name).map_or_else(|| Name::Unknown(name.into()), Name::Known))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Field::named(name).map_or_else(|| Name::Unknown(name.to_owned().into()), Name::Known))
    }
}

enum Value<'a> {
    Text(Cow<'a, str>),
    /// Free text, which is read only if it is asked for, and then as [`Lossy`].
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

/// A string with U+FFFD in place of lone surrogates, which no `str` can hold. JavaScript leaves
/// lone surrogates if it cuts a string inside a character.
pub(super) struct Lossy<'a>(pub(super) Cow<'a, str>);

impl<'de> Deserialize<'de> for Lossy<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(LossyVisitor)
    }
}

struct LossyVisitor;

impl<'de> Visitor<'de> for LossyVisitor {
    type Value = Lossy<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_bytes<E>(self, text: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Lossy(String::from_utf8_lossy(text)))
    }

    fn visit_bytes<E>(self, text: &[u8]) -> Result<Self::Value, E> {
        Ok(Lossy(Cow::Owned(String::from_utf8_lossy(text).into_owned())))
    }
}
