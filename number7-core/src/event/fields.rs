//! The top level of an event's JSON, borrowed from the body.

use std::{borrow::Cow, fmt, str};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
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
    /// As the vendor spells them, in the order of the variants.
    const NAMES: [&str; 6] = ["event", "jobId", "fileStatus", "documentType", "timestamp", "error"];

    fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// The values of the known fields, not looked into: which of them matter is for the event's name to
/// say, and that may come last.
pub(crate) struct Fields<'a>([Option<&'a RawValue>; Field::NAMES.len()]);

impl<'a> Fields<'a> {
    /// Reads the whole text, so that what is returned comes from valid JSON.
    pub(crate) fn read(json: &'a [u8]) -> Result<Self, EventError> {
        let json = str::from_utf8(json).map_err(|_| EventErrorKind::NotUtf8)?;
        let mut json = serde_json::Deserializer::from_str(json);
        let members = json.deserialize_map(MembersVisitor).map_err(EventError::not_json)?;
        json.end().map_err(EventError::not_json)?;
        members.into_fields()
    }

    /// A field that has to be there and to be a text.
    pub(crate) fn text(&self, field: Field) -> Result<Cow<'a, str>, EventError> {
        let wrong = |kind| EventError::in_field(kind, field.name());
        let raw = self.0[field as usize].ok_or_else(|| wrong(EventErrorKind::MissingField))?.get();
        match raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) {
            Some(text) if !text.contains('\\') => Ok(Cow::Borrowed(text)),
            _ => serde_json::from_str(raw)
                .map(Cow::Owned)
                .map_err(|_| wrong(EventErrorKind::WrongType)),
        }
    }

    pub(crate) fn timestamp(&self) -> Result<Timestamp, EventError> {
        self.text(Field::Timestamp)?.parse().map_err(|_| {
            EventError::in_field(EventErrorKind::InvalidTimestamp, Field::Timestamp.name())
        })
    }
}

/// A JSON object as it is written, before repeated names are judged.
#[derive(Default)]
struct Members<'a> {
    known: [Option<&'a RawValue>; Field::NAMES.len()],
    repeated: Option<&'static str>,
    unknown: SmallVec<[Cow<'a, str>; UNKNOWN_INLINE]>,
}

impl<'a> Members<'a> {
    fn into_fields(mut self) -> Result<Fields<'a>, EventError> {
        if let Some(name) = self.repeated {
            return Err(EventError::in_field(EventErrorKind::RepeatedField, name));
        }
        self.unknown.sort_unstable();
        if self.unknown.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(EventErrorKind::RepeatedField.into());
        }
        Ok(Fields(self.known))
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Members::default();
        while let Some(name) = map.next_key()? {
            match name {
                Name::Known(at) => {
                    if members.known[at].replace(map.next_value()?).is_some() {
                        members.repeated = Some(Field::NAMES[at]);
                    }
                }
                Name::Unknown(name) => {
                    members.unknown.push(name);
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(members)
    }
}

/// The name of a field, told apart without an allocation.
enum Name<'a> {
    /// Its place in [`Field::NAMES`].
    Known(usize),
    Unknown(Cow<'a, str>),
}

impl<'a> Name<'a> {
    fn new(name: impl Into<Cow<'a, str>> + AsRef<str>) -> Self {
        match Field::NAMES.iter().position(|known| *known == name.as_ref()) {
            Some(at) => Self::Known(at),
            None => Self::Unknown(name.into()),
        }
    }
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
        Ok(Name::new(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Name::new(name.to_owned()))
    }
}
