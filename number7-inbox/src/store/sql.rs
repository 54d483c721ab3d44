//! What SQLite and PostgreSQL have in common: the form of rows, and the errors of sqlx.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use number7_core::{Acceptance, Signature};
use sqlx::FromRow;
use tokio::time::{Instant, timeout};

use super::{STEP, WaitingAccounts};
use crate::model::{
    claim::{Claim, EventId, Number},
    conflict::Conflict,
    entry::{Entry, State},
    error::{InboxError, InboxErrorKind},
    event::{Origin, StoredEvent},
    history::History,
    page::no_cursor,
    stats::Stats,
    time::time_of_millis,
    trace::Trace,
};

/// A claimed event. Times are milliseconds since the epoch.
#[derive(FromRow)]
pub(super) struct ClaimRow {
    id: i64,
    attempt: i64,
    uncounted: i64,
    runs: i64,
    key: String,
    /// Missing only if somebody deleted it.
    payload: Option<Vec<u8>>,
    errors: String,
    origin: String,
    signed_by: Option<String>,
    traceparent: Option<String>,
    tracestate: Option<String>,
    accepted_at: i64,
    is_quarantined: bool,
}

impl From<ClaimRow> for Claim {
    fn from(row: ClaimRow) -> Self {
        Self {
            event: EventId(row.id),
            number: Number { of_all: number(row.attempt), uncounted: number(row.uncounted) },
            runs: number(row.runs),
            key: row.key,
            stored: StoredEvent::new(row.payload.unwrap_or_default()),
            history: History::read(Some(&row.errors)),
            origin: Origin::read(Some(&row.origin)),
            signed_by: row.signed_by,
            trace: Trace::read(row.traceparent, row.tracestate),
            accepted_at: time_of_millis(row.accepted_at),
            is_quarantined: row.is_quarantined,
        }
    }
}

/// An event for an operator. Times are milliseconds since the epoch.
#[derive(FromRow)]
pub(super) struct EntryRow {
    id: i64,
    key: String,
    event: String,
    job: Option<String>,
    payload: Option<Vec<u8>>,
    origin: String,
    signed_by: Option<String>,
    signature: Option<String>,
    traceparent: Option<String>,
    tracestate: Option<String>,
    #[sqlx(flatten)]
    conflict: ConflictRow,
    accepted_at: i64,
    /// The state as it is stored.
    state: String,
    /// Whether it becomes ready only later.
    is_scheduled: bool,
    /// The time of its state, by which it is listed. Its unit is the store's.
    place: i64,
    since: i64,
    /// How many attempts count.
    attempts: i64,
    runs: i64,
    errors: String,
    /// The last heartbeat of its worker.
    worker_seen: Option<i64>,
}

impl From<EntryRow> for Entry {
    fn from(row: EntryRow) -> Self {
        let state = match &*row.state {
            "ready" if row.is_scheduled => State::Scheduled,
            "ready" => State::Ready,
            "quarantined" => State::Quarantined,
            "done" => State::Done,
            "dead" => State::Dead,
            _ => State::Running,
        };
        Self {
            place: Place { time: row.place, id: row.id }.text(),
            key: row.key,
            event: row.event,
            job: row.job,
            stored: row.payload.map(StoredEvent::new),
            origin: Origin::read(Some(&row.origin)),
            signed_by: row.signed_by,
            signature: row.signature.and_then(|signature| Signature::parse(signature).ok()),
            trace: Trace::read(row.traceparent, row.tracestate),
            conflict: row.conflict.read(),
            state,
            since: time_of_millis(row.since),
            accepted_at: time_of_millis(row.accepted_at),
            worker_seen: row.worker_seen.map(time_of_millis),
            attempts: number(row.attempts),
            runs: number(row.runs),
            history: History::read(Some(&row.errors)),
        }
    }
}

/// Another body that was signed for an event later, if there is one. The time is milliseconds since the epoch.
#[derive(FromRow)]
struct ConflictRow {
    later_payload: Option<Vec<u8>>,
    later_signed_by: Option<String>,
    later_signature: Option<String>,
    later_at: Option<i64>,
}

impl ConflictRow {
    fn read(self) -> Option<Conflict> {
        Some(Conflict {
            stored: StoredEvent::new(self.later_payload?),
            signed_by: self.later_signed_by?,
            signature: self.later_signature.and_then(|signature| Signature::parse(signature).ok()),
            accepted_at: time_of_millis(self.later_at?),
        })
    }
}

/// A place in the list of one state: the time of an event, in the store's unit, and its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromRow)]
pub(super) struct Place {
    pub(super) time: i64,
    pub(super) id: i64,
}

impl Place {
    /// As it is written in a cursor.
    pub(super) fn text(self) -> String {
        format!("{}.{}", self.time, self.id)
    }

    pub(super) fn read(cursor: &str) -> Result<Self, InboxError> {
        let (time, id) = cursor.split_once('.').ok_or_else(no_cursor)?;
        let number = |text: &str| text.parse().map_err(|_| no_cursor());
        Ok(Self { time: number(time)?, id: number(id)? })
    }
}

/// Entries, and the place where the list continues, from the rows of one page of at most `most`.
pub(super) fn listed(rows: Vec<EntryRow>, most: u32) -> super::Listed {
    let is_full = rows.len() >= most as usize;
    let entries: Vec<Entry> = rows.into_iter().map(Entry::from).collect();
    let next = entries.last().filter(|_| is_full).map(|entry| entry.place.clone());
    (entries, next)
}

fn number(number: i64) -> u32 {
    number.try_into().unwrap_or(if number < 0 { 0 } else { u32::MAX })
}

/// A count that is expensive if it is large. It is then reused, so that counting takes at most a hundredth of the time.
#[derive(Default)]
pub(super) struct Counted(Mutex<Known>);

#[derive(Clone, Copy, Default)]
struct Known {
    /// The number, and when it was counted.
    count: Option<(u64, Instant)>,
    until: Option<Instant>,
}

/// A number, and its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    number: u64,
    age: Duration,
}

impl Counted {
    /// Counts, unless the last count can be reused. If counting takes too long, returns the last count.
    pub(super) async fn get<E: Into<InboxError>>(
        &self,
        count: impl Future<Output = Result<i64, E>>,
    ) -> Result<Count, InboxError> {
        /// A count that takes longer is expensive.
        const CHEAP: Duration = Duration::from_millis(25);
        /// A smaller count is never expensive: if it takes long, it waited for something else.
        const MANY: u64 = 10_000;
        /// A count that takes longer is abandoned, because the other numbers wait for it.
        const TOO_LONG: Duration = Duration::from_secs(1);
        let known = *self.lock();
        let begun = Instant::now();
        if known.until.is_some_and(|until| begun < until) {
            return Ok(Count::of(known.count, begun));
        }
        let count = match timeout(TOO_LONG, count).await {
            Ok(count) => Some((count.map_err(Into::into)?.try_into().unwrap_or_default(), begun)),
            Err(_) => known.count,
        };
        let took = begun.elapsed();
        // If they were never counted, there may be many.
        let costs_much = took > CHEAP && count.is_none_or(|(count, _)| count >= MANY);
        let until = costs_much.then(|| Instant::now() + took * 100);
        *self.lock() = Known { count, until };
        Ok(Count::of(count, begun))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    fn of(count: Option<(u64, Instant)>, now: Instant) -> Self {
        let never = Self { number: 0, age: Duration::MAX };
        count.map_or(never, |(number, at)| Self { number, age: now.saturating_duration_since(at) })
    }
}

/// The numbers of an inbox, except for done events. Times are milliseconds.
#[derive(FromRow)]
pub(super) struct StatsRow {
    ready: i64,
    scheduled: i64,
    quarantined: i64,
    running: i64,
    dead: i64,
    workers: i64,
    overdue: i64,
    oldest_ready: i64,
    oldest_overdue: i64,
    is_paused: bool,
    paused_accounts: i64,
}

impl StatsRow {
    pub(super) fn stats(self, done: Count) -> Stats {
        let number = |number: i64| number.try_into().unwrap_or_default();
        Stats {
            ready: number(self.ready),
            scheduled: number(self.scheduled),
            quarantined: number(self.quarantined),
            running: number(self.running),
            done: done.number,
            done_age: done.age,
            dead: number(self.dead),
            oldest_ready: Duration::from_millis(number(self.oldest_ready)),
            workers: number(self.workers),
            overdue: number(self.overdue),
            oldest_overdue: Duration::from_millis(number(self.oldest_overdue)),
            is_paused: self.is_paused,
            paused_accounts: number(self.paused_accounts),
        }
    }
}

/// The result for an event with a known key, from the number of rows that were written for it.
pub(super) fn acceptance_of_known(conflicts: u64) -> Acceptance {
    if conflicts > 0 { Acceptance::Conflict } else { Acceptance::Duplicate }
}

/// Accounts, from one row for each: its name, and whether it has a ready event. If there are as many rows as a statement
/// examines, the next call begins at the last one.
pub(super) fn waiting_accounts(mut rows: Vec<(String, bool)>) -> WaitingAccounts {
    let last = if rows.len() == STEP as usize { rows.pop() } else { None };
    let go_on_from = last.map(|(account, _)| account);
    let accounts = rows.into_iter().filter_map(|(account, is_ready)| is_ready.then_some(account));
    WaitingAccounts { accounts: accounts.collect(), go_on_from }
}

/// A number of rows.
#[cfg(feature = "postgres")]
pub(super) fn rows(number: usize) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// The errors of sqlx, by kind.
impl From<sqlx::Error> for InboxError {
    fn from(error: sqlx::Error) -> Self {
        use InboxErrorKind as Kind;
        let code = error.as_database_error().and_then(|error| error.code());
        if code.as_deref() == Some("53300") {
            return Self::new(
                Kind::Unreachable,
                format!(
                    "it has too many connections: lower `InboxOptions::connections`, or raise the server's \
                    `max_connections`: {error}"
                ),
            );
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

/// PostgreSQL's codes have five characters, and the first two are a class. SQLite's are numbers, and the lowest
/// byte is the primary code.
fn sort(code: &str) -> InboxErrorKind {
    use InboxErrorKind as Kind;
    if code.len() == 5 {
        return match code {
            "53100" => Kind::Full,
            "25006" => Kind::ReadOnly,
            // The time limit of the statement.
            "57014" => Kind::TooSlow,
            // A conflict, a deadlock, a lock that was not available.
            "40001" | "40P01" | "55P03" => Kind::Busy,
            // Too many connections, or the session was ended.
            "53300" | "25P03" | "25P04" => Kind::Unreachable,
            // Shutting down, crashed or starting; the database is gone; the session was idle for too long.
            _ if ["08", "57P"].iter().any(|class| code.starts_with(class)) => Kind::Unreachable,
            // An exception that a trigger raises.
            "P0001" => Kind::Unstorable,
            // A value that does not fit its type or its encoding; a constraint; a limit.
            _ if ["22", "23", "54"].iter().any(|class| code.starts_with(class)) => Kind::Unstorable,
            _ => Kind::Refused,
        };
    }
    match code.parse::<u32>().map(|code| code & 0xff) {
        Ok(5 | 6) => Kind::Busy,
        Ok(8) => Kind::ReadOnly,
        Ok(10 | 14) => Kind::Unreachable,
        Ok(13) => Kind::Full,
        // Too big; a constraint or an exception of a trigger; a value of another type.
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
            counted.get(count).await.unwrap().number
        };
        let counts = [count(25, 10_000).await, count(25, 10_001).await, count(26, 10_000).await];
        assert_eq!(counts, [10_000, 10_001, 10_000]);
        advance(millis(2_599)).await;
        assert_eq!(count(0, 4).await, 10_000);
        advance(millis(1)).await;
        assert_eq!(count(0, 20_000).await, 20_000);
        assert_eq!(count(60_000, 5).await, 20_000, "it took too long");
        advance(millis(99_999)).await;
        assert_eq!(count(0, 6).await, 20_000);
        advance(millis(1)).await;
        assert_eq!(count(999, 9_999).await, 9_999);
        // There are only a few.
        assert_eq!([count(60_000, 7).await, count(0, 8).await], [9_999, 8]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_count_says_how_old_it_is() {
        let counted = Counted::default();
        let age = async |takes, number| {
            let count = async {
                sleep(millis(takes)).await;
                Ok::<_, sqlx::Error>(number)
            };
            counted.get(count).await.unwrap().age
        };
        assert_eq!(age(60_000, 10_000).await, Duration::MAX, "it was never counted");
        advance(millis(100_000)).await;
        assert_eq!(age(100, 10_000).await, Duration::ZERO);
        advance(millis(5_000)).await;
        assert_eq!(age(0, 10_000).await, millis(5_100));
        advance(millis(5_000)).await;
        assert_eq!(age(60_000, 10_000).await, millis(10_100), "it took too long");
        assert_eq!(age(0, 10_000).await, millis(11_100));
    }

    /// The SQLSTATE by PostgreSQL's names, the result codes by SQLite's.
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
