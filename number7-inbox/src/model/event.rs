use bytes::Bytes;
use number7_core::{Event, EventError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// An event in the store: the signed JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredEvent(Bytes);

impl StoredEvent {
    pub(crate) fn new(json: Vec<u8>) -> Self {
        Self(json.into())
    }

    /// The JSON object that was signed, or that was fetched.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        &self.0
    }

    /// Types the event.
    ///
    /// # Errors
    ///
    /// The event lacks a field that this version needs, or has one that it cannot read; see
    /// [`Event::from_json`].
    pub fn event(&self) -> Result<Event, EventError> {
        Event::from_json(&self.0)
    }
}

/// Not shown: it is the sender's data.
impl std::fmt::Debug for StoredEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredEvent").field("bytes", &self.0.len()).finish_non_exhaustive()
    }
}

/// To JSON, as the object itself, without a byte order mark.
impl Serialize for StoredEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json = self.0.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.0);
        let json: &RawValue = serde_json::from_slice(json).map_err(serde::ser::Error::custom)?;
        json.serialize(serializer)
    }
}

/// From JSON, as it was signed except for white space around the object.
impl<'de> Deserialize<'de> for StoredEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self::new(json.get().as_bytes().to_vec()))
    }
}

/// How an event came into the inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// The vendor delivered it, and its signature was verified.
    Signed,
    /// A worker [fetched](crate::Worker::reconcile) it, because it was never delivered. Nobody signed it: trust it as much as
    /// the connection that it was fetched by.
    Fetched,
}

impl Origin {
    /// `signed` or `fetched`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Signed => "signed",
            Self::Fetched => "fetched",
        }
    }

    /// From a store, which has nothing for a signed event.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
    pub(crate) fn read(name: Option<&str>) -> Self {
        match name {
            Some("fetched") => Self::Fetched,
            _ => Self::Signed,
        }
    }
}
