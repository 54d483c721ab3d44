//! What SQLite and PostgreSQL have in common: the form of rows, and what sqlx says.

use std::time::Duration;

use number7_core::Acceptance;
use sqlx::migrate::MigrateError;

use super::{Claim, End};
use crate::{InboxError, InboxErrorKind, StoredEvent};

/// A claimed row: id, attempts, idempotency key, JSON.
pub(super) type Row = (String, i64, Option<String>, Vec<u8>);

pub(super) fn claim((task, attempt, key, json): Row, is_suspect: bool) -> Claim {
    Claim {
        task,
        attempt: attempt.try_into().unwrap_or(u32::MAX),
        key: key.unwrap_or_default(),
        stored: StoredEvent::new(json),
        is_suspect,
    }
}

/// The result of an attempt in the form that apalis gives it.
pub(super) fn result(end: &End) -> String {
    match end.outcome.error() {
        None => r#"{"Ok":null}"#.into(),
        Some(error) => serde_json::json!({ "Err": error }).to_string(),
    }
}

/// What an insert that a known key turns into nothing has done.
pub(super) fn acceptance(is_new: bool) -> Acceptance {
    if is_new { Acceptance::New } else { Acceptance::Duplicate }
}

pub(super) fn seconds(retention: Duration) -> i64 {
    /// More than any store remembers, and no more than all of them can count.
    const CENTURY: i64 = 100 * 365 * 24 * 60 * 60;
    retention.as_secs().try_into().unwrap_or(CENTURY).min(CENTURY)
}

/// A number of rows. No store has as many as do not fit.
pub(super) fn rows(number: usize) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// What sqlx says, sorted.
impl From<sqlx::Error> for InboxError {
    fn from(error: sqlx::Error) -> Self {
        use InboxErrorKind as Kind;
        let kind = match &error {
            sqlx::Error::Io(_) | sqlx::Error::PoolClosed | sqlx::Error::Tls(_) => Kind::Unreachable,
            sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed | sqlx::Error::PoolTimedOut => {
                Kind::Unreachable
            }
            sqlx::Error::Database(error) => error.code().map_or(Kind::Refused, |code| sort(&code)),
            _ => Kind::Refused,
        };
        Self::new(kind, error)
    }
}

impl From<MigrateError> for InboxError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            other => Self::new(InboxErrorKind::Refused, other),
        }
    }
}

/// PostgreSQL has five characters, of which the first two are a class; SQLite a number whose lowest
/// byte is the primary code.
fn sort(code: &str) -> InboxErrorKind {
    use InboxErrorKind as Kind;
    if code.len() == 5 {
        return match code {
            // Not enough disk; a transaction that reads only; shutting down, crashed, starting.
            "53100" => Kind::Full,
            "25006" => Kind::ReadOnly,
            // The limit that is set for each statement.
            "57014" => Kind::TooSlow,
            "57P01" | "57P02" | "57P03" | "53300" => Kind::Unreachable,
            // An exception that a trigger raises.
            "P0001" => Kind::Unstorable,
            // A value that is none of its type or its encoding; a constraint; a limit.
            _ if ["22", "23", "54"].iter().any(|class| code.starts_with(class)) => Kind::Unstorable,
            _ => Kind::Refused,
        };
    }
    match code.parse::<u32>().map(|code| code & 0xff) {
        Ok(5 | 6) => Kind::Busy,
        Ok(8) => Kind::ReadOnly,
        Ok(10 | 14) => Kind::Unreachable,
        Ok(13) => Kind::Full,
        // Too big; a constraint, or what a trigger raises; a value of another type.
        Ok(18..=20) => Kind::Unstorable,
        _ => Kind::Refused,
    }
}
