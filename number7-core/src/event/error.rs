use std::{error::Error, fmt};

/// Why an authentic body is not an [`Event`](crate::Event).
///
/// Its text names the field, but never quotes its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventError {
    kind: EventErrorKind,
    field: Option<&'static str>,
    /// The line and column in the JSON, from 1.
    place: Option<(usize, usize)>,
}

impl EventError {
    pub(crate) fn new(kind: EventErrorKind) -> Self {
        Self { kind, field: None, place: None }
    }

    pub(crate) fn in_field(kind: EventErrorKind, field: &'static str) -> Self {
        Self { field: Some(field), ..Self::new(kind) }
    }

    pub(crate) fn not_json(error: serde_json::Error) -> Self {
        let kind = match error.is_data() {
            true => EventErrorKind::NotAnObject,
            false => EventErrorKind::NotJson,
        };
        Self { place: Some((error.line(), error.column())), ..Self::new(kind) }
    }

    /// The kind of this error.
    #[must_use]
    pub fn kind(&self) -> EventErrorKind {
        self.kind
    }

    /// The faulty field, by the vendor's name. `None` if no known field is at fault.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        self.field
    }
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = self.field {
            write!(f, "field `{field}` ")?;
        }
        f.write_str(match self.kind {
            EventErrorKind::NotUtf8 => "the body is not UTF-8",
            EventErrorKind::NotJson => "the body is not JSON",
            EventErrorKind::NotAnObject => "the body is not a JSON object",
            EventErrorKind::MissingField => "is missing",
            EventErrorKind::RepeatedField => "is given more than once",
            EventErrorKind::WrongType => "is not a string",
            EventErrorKind::EmptyField => "is empty",
            EventErrorKind::InvalidTimestamp => "is not an RFC 3339 timestamp",
        })?;
        match self.place {
            Some((line, column)) => write!(f, ", at line {line} column {column}"),
            None => Ok(()),
        }
    }
}

impl Error for EventError {}

/// The kinds of [`EventError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventErrorKind {
    /// The body is not UTF-8, as JSON has to be.
    NotUtf8,
    /// The body is not JSON, or more than one JSON value.
    NotJson,
    /// The body is JSON, but not an object.
    NotAnObject,
    /// A field that the event must have is missing.
    MissingField,
    /// A field that this version knows is given more than once.
    RepeatedField,
    /// A field is not a string.
    WrongType,
    /// A field of the idempotency key is an empty string.
    EmptyField,
    /// The `timestamp` is a string, but not a date and time of RFC 3339.
    InvalidTimestamp,
}
