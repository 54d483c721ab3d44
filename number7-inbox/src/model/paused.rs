//! That nobody works on an inbox.

use std::time::{Duration, SystemTime};

/// An inbox that is paused: what [`Inbox::paused`](crate::Inbox::paused) returns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Paused {
    /// Who has paused it.
    pub by: String,
    /// And why. It may be empty.
    pub why: String,
    /// Since when, by the store's clock.
    pub since: SystemTime,
    /// When the pause ends by itself. `None` if it has to be [resumed](crate::Inbox::resume).
    pub until: Option<SystemTime>,
}

/// A pause that begins now.
#[derive(Clone, Debug)]
pub(crate) struct NewPause {
    pub(crate) by: String,
    pub(crate) why: String,
    pub(crate) length: Option<Duration>,
}
