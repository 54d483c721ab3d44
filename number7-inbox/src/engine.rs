//! What an inbox needs of its store.

use std::time::{Duration, SystemTime};

use apalis_core::error::BoxDynError;
use futures_util::future::BoxFuture;
use number7_core::{Acceptance, Record};

use crate::{DeadLetter, InboxError, StoredEvent, work::Shift};

/// What a worker sets of apalis' configuration, of which each engine has a type of its own. It
/// claims one event at a time, and leaves beginnings, results and leases to us.
macro_rules! for_worker {
    ($config:expr, $shift:expr) => {
        $config
            .batch_size(1)
            .lock_tasks(false)
            .persist_results(false)
            .heartbeat_interval($shift.heartbeat())
            .missed_heartbeats(Shift::MISSED_HEARTBEATS)
    };
}

#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "redis")]
pub(crate) mod redis;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

/// The name of the queue in the store; apalis would take that of a Rust type.
pub(crate) const QUEUE: &str = "number7";

/// How long one operation may take on the store: 4 seconds.
///
/// It ends before [`DEFAULT_ACCEPT_DEADLINE`](number7_core::DEFAULT_ACCEPT_DEADLINE), so that the
/// log says what the store was doing.
pub const STORE_TIMEOUT: Duration = Duration::from_secs(4);

/// How long an operation waits for a connection: less than for all of it, so that its error says
/// that there was none.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How often an idle worker asks for events: every 50 milliseconds, so that an event is started
/// within 100.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How many rows one step of the retention deletes, so that acceptance is not held up for long.
pub(crate) const SWEEP_STEP: u32 = 500;

pub(crate) type Answer<'a, T> = BoxFuture<'a, Result<T, InboxError>>;

/// One store. Every method is one atomic step, and answers or fails within [`STORE_TIMEOUT`].
pub(crate) trait Engine: Send + Sync {
    /// Stores a record unless its key is known.
    fn insert(&self, record: Record) -> Answer<'_, Acceptance>;

    /// Claims events for a worker and starts its attempts, until the shift ends or the store fails.
    fn work(&self, shift: Shift) -> BoxFuture<'_, Result<(), BoxDynError>>;

    /// Counts an attempt that begins. False if the worker does not have the event any more.
    fn begin<'a>(&'a self, claim: &'a Claim) -> Answer<'a, bool>;

    /// Records how an attempt ended, and gives the claim up. False if it is another attempt's by
    /// now, of this worker or of another.
    fn finish<'a>(&'a self, claim: &'a Claim, outcome: &'a Outcome) -> Answer<'a, bool>;

    /// Renews the lease of a worker.
    fn keep_alive<'a>(&'a self, worker: &'a str) -> Answer<'a, ()>;

    /// Gives back what a worker has claimed, but for the tasks that it has in hand.
    fn release<'a>(&'a self, worker: &'a str, in_hand: &'a [String]) -> Answer<'a, ()>;

    /// Gives back what workers have claimed that did not renew their lease.
    fn reap(&self, lease: Duration) -> Answer<'_, ()>;

    /// Forgets events, at most [`SWEEP_STEP`], that were finished that long ago. Says how many.
    fn sweep(&self, retention: Duration) -> Answer<'_, u64>;

    /// The events that nobody will try again, the oldest first.
    fn dead_letters(&self, most: u32) -> Answer<'_, Vec<DeadLetter>>;

    /// Puts a dead letter back to work. False if there is none of that key.
    fn requeue<'a>(&'a self, key: &'a str) -> Answer<'a, bool>;
}

/// An event that a worker has taken.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) task: String,
    pub(crate) worker: String,
    pub(crate) attempt: u32,
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Done,
    Retry { after: Duration, error: String },
    Dead { error: String },
}

impl Outcome {
    /// The result in the form that apalis gives it.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn result(&self) -> String {
        match self {
            Self::Done => r#"{"Ok":null}"#.into(),
            Self::Retry { error, .. } | Self::Dead { error } => {
                serde_json::json!({ "Err": error }).to_string()
            }
        }
    }

    /// The status by apalis' name. A dead letter is `Killed`, since apalis takes what is `Failed`
    /// up again without a delay.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn status(&self) -> &'static str {
        match self {
            Self::Done => "Done",
            Self::Retry { .. } => "Pending",
            Self::Dead { .. } => "Killed",
        }
    }

    /// When the event may be tried again.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn delay(&self) -> Duration {
        match self {
            Self::Retry { after, .. } => *after,
            Self::Done | Self::Dead { .. } => Duration::ZERO,
        }
    }
}

/// What an insert that a known key turns into nothing has done.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
fn acceptance(inserted: u64) -> Acceptance {
    match inserted {
        0 => Acceptance::Duplicate,
        _ => Acceptance::New,
    }
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
fn seconds(retention: Duration) -> i64 {
    /// More than any store remembers, and no more than all of them can count.
    const CENTURY: i64 = 100 * 365 * 24 * 60 * 60;
    retention.as_secs().try_into().unwrap_or(CENTURY).min(CENTURY)
}

/// Seconds since the epoch, by the clock of this machine.
#[cfg(feature = "redis")]
fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs()
}

/// Dead letters of rows: key, JSON, attempts, error, and seconds since the epoch.
fn letters(rows: Vec<(String, Vec<u8>, i64, String, i64)>) -> Vec<DeadLetter> {
    let letter = |(key, json, attempts, error, since): (_, _, i64, _, i64)| DeadLetter {
        key,
        stored: StoredEvent::new(json),
        attempts: attempts.try_into().unwrap_or(u32::MAX),
        error,
        since: SystemTime::UNIX_EPOCH + Duration::from_secs(since.try_into().unwrap_or_default()),
    };
    rows.into_iter().map(letter).collect()
}

/// Bounds an operation.
pub(crate) async fn in_time<T>(
    operation: impl Future<Output = Result<T, InboxError>>,
) -> Result<T, InboxError> {
    match tokio::time::timeout(STORE_TIMEOUT, operation).await {
        Ok(answer) => answer,
        Err(_) => Err(crate::InboxErrorKind::TooSlow.into()),
    }
}

/// Opens a server, which may be starting: for as long as an operation may take, and then the error
/// is the last one.
#[cfg(any(feature = "postgres", feature = "redis"))]
async fn open<T>(connect: impl AsyncFn() -> Result<T, InboxError>) -> Result<T, InboxError> {
    let begun = tokio::time::Instant::now();
    loop {
        match in_time(connect()).await {
            Err(error)
                if error.kind() == crate::InboxErrorKind::Unreachable
                    && begun.elapsed() < STORE_TIMEOUT => {}
            opened => return opened,
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// What sqlx says, sorted.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
impl From<sqlx::Error> for InboxError {
    fn from(error: sqlx::Error) -> Self {
        use crate::InboxErrorKind as Kind;
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

#[cfg(any(feature = "sqlite", feature = "postgres"))]
impl From<sqlx::migrate::MigrateError> for InboxError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        use sqlx::migrate::MigrateError as Migrate;
        match error {
            Migrate::Execute(error) | Migrate::ExecuteMigration(error, _) => error.into(),
            other => Self::new(crate::InboxErrorKind::Refused, other),
        }
    }
}

/// PostgreSQL has five characters, SQLite a number whose lowest byte is the primary code.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
fn sort(code: &str) -> crate::InboxErrorKind {
    use crate::InboxErrorKind as Kind;
    if code.len() == 5 {
        return match code {
            // Not enough disk; a transaction that reads only; shutting down, crashed, starting.
            "53100" => Kind::Full,
            "25006" => Kind::ReadOnly,
            // The limit that is set for each statement.
            "57014" => Kind::TooSlow,
            "57P01" | "57P02" | "57P03" | "53300" => Kind::Unreachable,
            _ => Kind::Refused,
        };
    }
    match code.parse::<u32>().map(|code| code & 0xff) {
        Ok(5 | 6) => Kind::Busy,
        Ok(8) => Kind::ReadOnly,
        Ok(10 | 14) => Kind::Unreachable,
        Ok(13) => Kind::Full,
        _ => Kind::Refused,
    }
}
