//! What an inbox needs of its store.

use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use number7_core::{Acceptance, Record};

use crate::{DeadLetter, InboxError, InboxErrorKind, StoredEvent};

#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "redis")]
pub(crate) mod redis;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

/// How long one operation may take on the store: 4 seconds.
///
/// It ends before [`DEFAULT_ACCEPT_DEADLINE`](number7_core::DEFAULT_ACCEPT_DEADLINE), so that the
/// log says what the store was doing.
pub const STORE_TIMEOUT: Duration = Duration::from_secs(4);

/// How long an operation waits for a connection: less than for all of it, so that its error says
/// that there was none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long to wait before a store that is starting, or is locked, is tried again when it is opened.
const OPEN_PAUSE: Duration = Duration::from_millis(50);

/// How many rows one step of the retention deletes, so that acceptance is not held up for long.
pub(crate) const SWEEP_STEP: u32 = 500;

/// How the names of our workers begin. apalis' own workers keep other promises, so their events are
/// left to them.
pub(crate) const WORKER_PREFIX: &str = "number7-";

/// What the record of a worker says of who runs it, for apalis' tools.
const SERVICE: &str = "number7-inbox";

pub(crate) type Answer<'a, T> = BoxFuture<'a, Result<T, InboxError>>;

/// One queue in one store. Every method is one atomic step, and answers or fails within
/// [`STORE_TIMEOUT`].
pub(crate) trait Engine: Send + Sync {
    /// Stores a record unless its key is known.
    fn insert(&self, record: Record) -> Answer<'_, Acceptance>;

    /// Records the ends of attempts, and claims events that are due.
    fn turn<'a>(&'a self, turn: Turn<'a>) -> Answer<'a, Turned>;

    /// Renews the lease of a worker, which is registered unless it is known.
    fn keep_alive<'a>(&'a self, worker: &'a str) -> Answer<'a, ()>;

    /// Gives back what a worker has claimed and never began: all but the tasks that it has in hand.
    fn release<'a>(&'a self, worker: &'a str, in_hand: &'a [String]) -> Answer<'a, ()>;

    /// Forgets a worker that has ended, and has left nothing claimed.
    fn forget<'a>(&'a self, worker: &'a str) -> Answer<'a, ()>;

    /// Gives back what workers have claimed that did not renew their lease. What has had so many
    /// attempts by then is a suspect.
    fn reap(&self, lease: Duration, suspect_after: u32) -> Answer<'_, ()>;

    /// Forgets events, at most [`SWEEP_STEP`], that were finished that long ago. Says how many.
    fn sweep(&self, retention: Duration) -> Answer<'_, u64>;

    /// The events that nobody will try again, the oldest first.
    fn dead_letters(&self, most: u32) -> Answer<'_, Vec<DeadLetter>>;

    /// The dead letter of a key.
    fn dead_letter<'a>(&'a self, key: &'a str) -> Answer<'a, Option<DeadLetter>>;

    /// Puts a dead letter back to work. False if there is none of that key.
    fn requeue<'a>(&'a self, key: &'a str) -> Answer<'a, bool>;

    /// Counts a dead letter as done. False if there is none of that key.
    fn discard<'a>(&'a self, key: &'a str) -> Answer<'a, bool>;
}

/// What a worker has to say to its store, and wants of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) worker: &'a str,
    pub(crate) ends: &'a [End],
    /// How many events to claim at most.
    pub(crate) most: usize,
    /// Whether one of them may be a suspect: an event that was in hand of workers which died, so
    /// often that it may be what ended them.
    pub(crate) suspect: bool,
}

/// What became of a turn.
#[derive(Debug, Default)]
pub(crate) struct Turned {
    /// The tasks whose ends count. The others are another attempt's by now.
    pub(crate) ended: Vec<String>,
    pub(crate) claimed: Vec<Claim>,
}

/// An event that a worker has claimed: an attempt at it is counted.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) task: String,
    pub(crate) attempt: u32,
    pub(crate) key: String,
    pub(crate) stored: StoredEvent,
    pub(crate) is_suspect: bool,
}

/// The end of an attempt.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) task: String,
    pub(crate) attempt: u32,
    pub(crate) outcome: Outcome,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Done,
    Retry {
        after: Duration,
        error: String,
    },
    Dead {
        error: String,
    },
    /// It was not made, since there were enough before it. So it does not count, and if the one
    /// before it is still going on somewhere, that one's end does.
    Exhausted {
        error: String,
    },
}

impl Outcome {
    /// The status by apalis' name. A dead letter is `Killed`, since apalis takes what is `Failed`
    /// up again.
    fn status(&self) -> &'static str {
        match self {
            Self::Done => "Done",
            Self::Retry { .. } => "Pending",
            Self::Dead { .. } | Self::Exhausted { .. } => "Killed",
        }
    }

    fn error(&self) -> Option<&str> {
        match self {
            Self::Done => None,
            Self::Retry { error, .. } | Self::Dead { error } | Self::Exhausted { error } => {
                Some(error)
            }
        }
    }

    /// How long the event rests.
    fn delay(&self) -> Duration {
        match self {
            Self::Retry { after, .. } => *after,
            _ => Duration::ZERO,
        }
    }
}

impl End {
    /// How many attempts there were.
    fn attempts(&self) -> u32 {
        match self.outcome {
            Outcome::Exhausted { .. } => self.attempt.saturating_sub(1),
            _ => self.attempt,
        }
    }
}

/// The row of a dead letter: key, JSON, attempts, error, and seconds since the epoch.
type Letter = (String, Vec<u8>, i64, String, i64);

fn letter((key, json, attempts, error, since): Letter) -> DeadLetter {
    DeadLetter {
        key,
        stored: StoredEvent::new(json),
        attempts: attempts.try_into().unwrap_or(u32::MAX),
        error,
        since: SystemTime::UNIX_EPOCH + Duration::from_secs(since.try_into().unwrap_or_default()),
    }
}

fn letters(rows: Vec<Letter>) -> Vec<DeadLetter> {
    rows.into_iter().map(letter).collect()
}

/// Bounds an operation.
async fn in_time<T>(
    operation: impl Future<Output = Result<T, InboxError>>,
) -> Result<T, InboxError> {
    match tokio::time::timeout(STORE_TIMEOUT, operation).await {
        Ok(answer) => answer,
        Err(_) => Err(InboxErrorKind::TooSlow.into()),
    }
}

/// Opens a store, which may be starting, or locked: for as long as an operation may take, and then
/// the error is the last one.
async fn open<T>(connect: impl AsyncFn() -> Result<T, InboxError>) -> Result<T, InboxError> {
    let begun = tokio::time::Instant::now();
    loop {
        match in_time(connect()).await {
            Err(error)
                if matches!(error.kind(), InboxErrorKind::Unreachable | InboxErrorKind::Busy)
                    && begun.elapsed() < STORE_TIMEOUT => {}
            opened => return opened,
        }
        tokio::time::sleep(OPEN_PAUSE).await;
    }
}
