//! What SQLite and PostgreSQL have in common: the form of rows, and what sqlx says.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use number7_core::Acceptance;
use sqlx::migrate::MigrateError;
use tokio::time::{Instant, timeout};

use super::{Answer, Claim, End, Listed, Number, Outcome, no_cursor};
use crate::{
    Entry, InboxError, InboxErrorKind, Origin, State, Stats, StoredEvent, history::History,
};

/// A claimed row: id, attempts, how many of them do not count, idempotency key, JSON, errors, origin.
pub(super) type Row = (String, i64, i64, Option<String>, Vec<u8>, Option<String>, Option<String>);

pub(super) fn claim(row: Row, is_suspect: bool) -> Claim {
    let (task, of_all, uncounted, key, json, errors, origin) = row;
    let number = |number: i64| number.try_into().unwrap_or(u32::MAX);
    Claim {
        task,
        number: Number { of_all: number(of_all), uncounted: number(uncounted) },
        key: key.unwrap_or_default(),
        stored: StoredEvent::new(json),
        history: History::read(errors.as_deref()),
        origin: Origin::read(origin.as_deref()),
        is_suspect,
    }
}

/// The row of an entry: its [`Place`], id, idempotency key, JSON, attempts that count, status,
/// microseconds of its state since the epoch, errors, whether it is due only later, the second when its
/// worker was last heard of, and its origin.
pub(super) type EntryRow = (
    String,
    String,
    String,
    Vec<u8>,
    i64,
    String,
    i64,
    Option<String>,
    bool,
    Option<i64>,
    Option<String>,
);

pub(super) fn entry(row: EntryRow) -> Entry {
    let (place, task, key, json, attempts, status, micros, errors, is_to_come, seen, origin) = row;
    let state = match &*status {
        "Pending" if is_to_come => State::Later,
        "Pending" | "Failed" => State::Due,
        "Done" => State::Done,
        "Killed" => State::Dead,
        _ => State::InHand,
    };
    let since = Duration::from_micros(micros.try_into().unwrap_or_default());
    let seen = seen.map(|seen| Duration::from_secs(seen.try_into().unwrap_or_default()));
    Entry {
        place,
        task,
        key,
        stored: StoredEvent::new(json),
        origin: Origin::read(origin.as_deref()),
        state,
        since: SystemTime::UNIX_EPOCH + since,
        worker_seen: seen.map(|seen| SystemTime::UNIX_EPOCH + seen),
        attempts: attempts.try_into().unwrap_or(u32::MAX),
        history: History::read(errors.as_deref()),
    }
}

/// Where events of a state are, in the order in which they are listed: their statuses.
pub(super) fn statuses(state: State) -> &'static [&'static str] {
    match state {
        // What is suspected of ending its process is `Failed`.
        State::Due => &["Failed", "Pending"],
        State::Later => &["Pending"],
        State::InHand => &["Queued", "Running"],
        State::Done => &["Done"],
        State::Dead => &["Killed"],
    }
}

/// A place among the events of one status: a time, and the place among others of that time.
pub(super) type Place = (i64, String);

/// A page out of the rows of one status after the other. A cursor is the number of the status and a
/// place there, as the store writes it: `0.1764042311.17`.
pub(super) async fn list<'a>(
    state: State,
    after: Option<&str>,
    most: u32,
    rows: impl Fn(&'static str, Option<Place>, i64) -> Answer<'a, Vec<EntryRow>>,
) -> Result<Listed, InboxError> {
    let (mut number, mut place) = match after {
        None => (0, None),
        Some(cursor) => {
            let (number, place) = cursor.split_once('.').ok_or_else(no_cursor)?;
            (number.parse().map_err(|_| no_cursor())?, Some(read(place)?))
        }
    };
    let (mut entries, most) = (Vec::new(), self::rows(most as usize));
    while let Some(status) = statuses(state).get(number) {
        let missing = most - self::rows(entries.len());
        let found = rows(status, place.take(), missing).await?;
        let is_full = self::rows(found.len()) == missing;
        entries.extend(found.into_iter().map(|row| {
            let entry = entry(row);
            Entry { place: format!("{number}.{}", entry.place), ..entry }
        }));
        if is_full {
            let next = entries.last().map(|entry| entry.place.clone());
            return Ok((entries, next));
        }
        number += 1;
    }
    Ok((entries, None))
}

fn read(place: &str) -> Result<Place, InboxError> {
    // PostgreSQL refuses texts with a NUL.
    let place = Some(place).filter(|place| !place.contains('\0'));
    let (time, last) = place.and_then(|place| place.split_once('.')).ok_or_else(no_cursor)?;
    Ok((time.parse().map_err(|_| no_cursor())?, last.to_owned()))
}

/// A number that costs much to count if it is large. Then it is used again, so that counting it
/// takes no more than a hundredth of the time, however often somebody asks.
#[derive(Default)]
pub(super) struct Counted(Mutex<Known>);

#[derive(Clone, Copy, Default)]
struct Known {
    count: u64,
    until: Option<Instant>,
}

impl Counted {
    /// The number, counted anew unless that was done not long ago. If it takes too long, it is the one
    /// from before.
    pub(super) async fn get<E: Into<InboxError>>(
        &self,
        count: impl Future<Output = Result<i64, E>>,
    ) -> Result<u64, InboxError> {
        /// More than this costs much.
        const CHEAP: Duration = Duration::from_millis(25);
        /// More than this is too long: the other numbers do not wait for it.
        const TOO_LONG: Duration = Duration::from_secs(1);
        let known = *self.lock();
        let begun = Instant::now();
        if known.until.is_some_and(|until| begun < until) {
            return Ok(known.count);
        }
        let count = match timeout(TOO_LONG, count).await {
            Ok(count) => count.map_err(Into::into)?.try_into().unwrap_or_default(),
            Err(_) => known.count,
        };
        let took = begun.elapsed();
        let until = (took > CHEAP).then(|| Instant::now() + took * 100);
        *self.lock() = Known { count, until };
        Ok(count)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The numbers of events that are due, due later, in hand, and dead; of workers, of overdue jobs, and
/// for how many microseconds the oldest event has been due and the oldest job overdue.
pub(super) type StatsRow = (i64, i64, i64, i64, i64, i64, i64, i64);

pub(super) fn stats(row: StatsRow, done: u64) -> Stats {
    let number = |number: i64| number.try_into().unwrap_or_default();
    let (due, later, in_hand, dead, workers, overdue, oldest_due, oldest_overdue) = row;
    Stats {
        due: number(due),
        later: number(later),
        in_hand: number(in_hand),
        done,
        dead: number(dead),
        oldest_due: Duration::from_micros(number(oldest_due)),
        workers: number(workers),
        overdue: number(overdue),
        oldest_overdue: Duration::from_micros(number(oldest_overdue)),
    }
}

/// The result of an attempt in the form that apalis gives it.
/// `None` leaves what there is.
pub(super) fn result(end: &End) -> Option<String> {
    match end.outcome.error() {
        None if matches!(end.outcome, Outcome::Snoozed { .. } | Outcome::Interrupted) => None,
        None => Some(r#"{"Ok":null}"#.into()),
        Some(error) => Some(serde_json::json!({ "Err": error }).to_string()),
    }
}

/// An insert of a known key adds no row, so it is a duplicate.
pub(super) fn acceptance(is_new: bool) -> Acceptance {
    if is_new { Acceptance::New } else { Acceptance::Duplicate }
}

pub(super) fn seconds(retention: Duration) -> i64 {
    /// More than anyone needs, and no more than all stores can count.
    const CENTURY: i64 = 100 * 365 * 24 * 60 * 60;
    retention.as_secs().try_into().unwrap_or(CENTURY).min(CENTURY)
}

/// A number of rows.
pub(super) fn rows(number: usize) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// What sqlx says, sorted.
impl From<sqlx::Error> for InboxError {
    fn from(error: sqlx::Error) -> Self {
        use InboxErrorKind as Kind;
        let code = error.as_database_error().and_then(|error| error.code());
        if code.as_deref() == Some("53300") {
            return Self::new(Kind::Unreachable, format!("it has too many connections: {error}"));
        }
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
            "53100" => Kind::Full,
            "25006" => Kind::ReadOnly,
            // The limit that is set for each statement.
            "57014" => Kind::TooSlow,
            // A conflict, a deadlock, a lock that was not waited for.
            "40001" | "40P01" | "55P03" => Kind::Busy,
            // Too many connections; the session was ended.
            "53300" | "25P03" | "25P04" => Kind::Unreachable,
            // Shutting down, crashed, starting; the database is gone, the session was idle for long.
            _ if ["08", "57P"].iter().any(|class| code.starts_with(class)) => Kind::Unreachable,
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

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep};

    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[tokio::test(start_paused = true)]
    async fn what_costs_much_to_count_is_counted_seldom() {
        let counted = Counted::default();
        let count = async |takes, number| {
            let count = async {
                sleep(millis(takes)).await;
                Ok::<_, sqlx::Error>(number)
            };
            counted.get(count).await.unwrap()
        };
        assert_eq!([count(25, 1).await, count(25, 2).await, count(26, 3).await], [1, 2, 3]);
        advance(millis(2_599)).await;
        assert_eq!(count(0, 4).await, 3);
        advance(millis(1)).await;
        assert_eq!(count(0, 5).await, 5);
        assert_eq!(count(60_000, 6).await, 5, "it took too long");
        advance(millis(99_999)).await;
        assert_eq!(count(0, 7).await, 5);
        advance(millis(1)).await;
        assert_eq!(count(0, 8).await, 8);
    }

    #[test]
    fn a_retention_of_decades_is_kept() {
        let decades = Duration::from_hours(99 * 365 * 24);
        assert_eq!(seconds(decades), 3_122_064_000);
        // Longer ones are all one length, that every store can count.
        assert_eq!(seconds(Duration::MAX), seconds(2 * decades));
        assert!(seconds(Duration::MAX) > seconds(decades));
    }

    /// SQLSTATE by PostgreSQL's names, and result codes by SQLite's.
    #[test]
    fn an_error_is_sorted_by_its_code() {
        use InboxErrorKind as Kind;
        for (name, code, kind) in [
            ("disk_full", "53100", Kind::Full),
            ("read_only_sql_transaction", "25006", Kind::ReadOnly),
            ("query_canceled", "57014", Kind::TooSlow),
            ("admin_shutdown", "57P01", Kind::Unreachable),
            ("too_many_connections", "53300", Kind::Unreachable),
            ("idle_session_timeout", "57P05", Kind::Unreachable),
            ("serialization_failure", "40001", Kind::Busy),
            ("deadlock_detected", "40P01", Kind::Busy),
            ("raise_exception", "P0001", Kind::Unstorable),
            ("untranslatable_character", "22P05", Kind::Unstorable),
            ("check_violation", "23514", Kind::Unstorable),
            ("program_limit_exceeded", "54000", Kind::Unstorable),
            ("undefined_table", "42P01", Kind::Refused),
            ("SQLITE_ERROR", "1", Kind::Refused),
            ("SQLITE_BUSY", "5", Kind::Busy),
            ("SQLITE_LOCKED_SHAREDCACHE", "262", Kind::Busy),
            ("SQLITE_READONLY_DBMOVED", "1032", Kind::ReadOnly),
            ("SQLITE_IOERR_WRITE", "778", Kind::Unreachable),
            ("SQLITE_CANTOPEN", "14", Kind::Unreachable),
            ("SQLITE_FULL", "13", Kind::Full),
            ("SQLITE_TOOBIG", "18", Kind::Unstorable),
            ("SQLITE_CONSTRAINT_TRIGGER", "1811", Kind::Unstorable),
            ("SQLITE_MISMATCH", "20", Kind::Unstorable),
            ("SQLITE_NOTADB", "26", Kind::Refused),
        ] {
            assert_eq!(sort(code), kind, "{name}");
        }
    }
}
