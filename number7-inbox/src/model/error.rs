use std::{error::Error, fmt};

/// Any error: what a handler can return.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// An error of an inbox.
///
/// Its text says everything once: what failed, and the store's own message. So it has no [source](Error::source). It says
/// nothing about the event.
pub struct InboxError {
    kind: InboxErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl InboxError {
    pub(crate) fn new(
        kind: InboxErrorKind,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { kind, source: Some(source.into()) }
    }

    /// An error about a file, or about a server.
    #[cfg(any(feature = "sqlite", feature = "redis"))]
    pub(crate) fn at(self, place: impl fmt::Display) -> Self {
        match self.source {
            Some(source) => Self::new(self.kind, format!("{place}: {source}")),
            None => self,
        }
    }

    /// A copy for another caller. A source cannot be cloned, so the copy has its text.
    #[cfg(any(feature = "sqlite", feature = "redis"))]
    pub(crate) fn copy(&self) -> Self {
        let source = self.source.as_ref().map(|source| source.to_string().into());
        Self { kind: self.kind, source }
    }

    /// The kind of this error.
    #[must_use]
    pub fn kind(&self) -> InboxErrorKind {
        self.kind
    }
}

impl From<InboxErrorKind> for InboxError {
    fn from(kind: InboxErrorKind) -> Self {
        Self { kind, source: None }
    }
}

impl fmt::Display for InboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (InboxErrorKind::Invalid, Some(source)) = (self.kind, &self.source) {
            return source.fmt(f);
        }
        f.write_str(match self.kind {
            InboxErrorKind::Unreachable => "the store cannot be reached",
            InboxErrorKind::TooSlow => "the store did not answer in time",
            InboxErrorKind::Busy => "the store is locked by another writer",
            InboxErrorKind::Full => "the store is full",
            InboxErrorKind::ReadOnly => "the store is read-only",
            InboxErrorKind::Unstorable => "the store will never take this",
            InboxErrorKind::LeaseLost => "the lease of this attempt was lost",
            InboxErrorKind::Refused => "the store refused",
            InboxErrorKind::Schema => "the inbox has no tables that this version can use",
            InboxErrorKind::Invalid => "this was not valid",
        })?;
        match &self.source {
            Some(source) => write!(f, ": {}", with_causes(&**source)),
            None => Ok(()),
        }
    }
}

/// [`Debug`](fmt::Debug) prints the same as [`Display`](fmt::Display), because `main` prints a returned
/// error with [`Debug`](fmt::Debug).
impl fmt::Debug for InboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for InboxError {}

/// The text of an error and those of its causes. Many errors include the text of their cause: it is not repeated.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}

/// The kinds of [`InboxError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InboxErrorKind {
    /// The store is down, is starting, or the connection to it broke off.
    Unreachable,
    /// The store did not answer within [`STORE_TIMEOUT`](crate::STORE_TIMEOUT).
    TooSlow,
    /// SQLite: another writer took too long. PostgreSQL: a statement collided with others again and again.
    Busy,
    /// The disk is full, or Redis is at its `maxmemory`.
    Full,
    /// The file or the server is read-only: permissions, a standby, a replica.
    ReadOnly,
    /// A rule in the store forbids what was to be written: a constraint or a trigger that somebody added to its
    /// tables. It will fail each time.
    Unstorable,
    /// From [`finish_in`](crate::AcceptedEvent::finish_in): this attempt no longer holds the event.
    LeaseLost,
    /// The tables are missing, or are of an older or newer version than this one needs. The text says which, and what to do.
    Schema,
    /// The call was invalid: a cursor of another list, a URL of an unknown store, a job without an id, the name of an inbox.
    /// The text says which. The store is not at fault.
    Invalid,
    /// Any other answer of the store, such as missing rights. The text has it.
    Refused,
}
