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

/// A pause, as the store has it. Times are milliseconds since the epoch.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
#[cfg_attr(any(feature = "sqlite", feature = "postgres"), derive(sqlx::FromRow))]
pub(crate) struct PausedRow {
    pub(crate) paused_by: String,
    pub(crate) why: String,
    pub(crate) since: i64,
    pub(crate) until: Option<i64>,
}

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
impl From<PausedRow> for Paused {
    fn from(PausedRow { paused_by, why, since, until }: PausedRow) -> Self {
        let time = |millis: i64| {
            SystemTime::UNIX_EPOCH + Duration::from_millis(millis.try_into().unwrap_or_default())
        };
        Self { by: paused_by, why, since: time(since), until: until.map(time) }
    }
}
