use std::{fmt, time::SystemTime};

use crate::StoredEvent;

/// An event whose last attempt failed. It stays until it is
/// [put back to work](crate::Inbox::requeue).
#[derive(Clone)]
pub struct DeadLetter {
    pub(crate) key: String,
    pub(crate) stored: StoredEvent,
    pub(crate) attempts: u32,
    pub(crate) error: String,
    pub(crate) since: SystemTime,
}

impl DeadLetter {
    /// What to call [`Inbox::requeue`](crate::Inbox::requeue) with.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The event.
    #[must_use]
    pub fn stored(&self) -> &StoredEvent {
        &self.stored
    }

    /// How often it was tried.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// What the last attempt failed with: the handler's error and its sources, or its panic.
    #[must_use]
    pub fn error(&self) -> &str {
        &self.error
    }

    /// When the last attempt failed, to the second.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.since
    }
}

impl fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("key", &self.key)
            .field("attempts", &self.attempts)
            .field("error", &self.error)
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}
