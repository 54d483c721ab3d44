//! What an inbox needs of its store.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use number7_core::{Acceptance, Record};
use tokio::runtime::Handle;
use ulid::Ulid;

use self::expected::Expectations;
use crate::{
    Entry, InboxError, InboxErrorKind, Origin, State, Stats, StoredEvent, history::History,
};

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
pub(crate) mod driver;
pub(crate) mod expected;
#[cfg(test)]
pub(crate) mod memory;
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
/// It is shorter than [`DEFAULT_ACCEPT_DEADLINE`](number7_core::DEFAULT_ACCEPT_DEADLINE), so that
/// the log has the error of the store.
pub const STORE_TIMEOUT: Duration = Duration::from_secs(4);

/// How long an operation waits for a connection: less than for all of it, so that its error says
/// that there was none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long to wait before a store that is starting, or is locked, is tried again when it is opened.
#[cfg(any(feature = "sqlite", feature = "postgres", test))]
const OPEN_PAUSE: Duration = Duration::from_millis(50);

/// How many rows one statement or script goes through at most, so that nobody else waits for long: a row of a
/// list may have 64 KiB.
pub(crate) const STEP: u32 = 500;

/// How the names of our workers begin. apalis' own workers keep other promises, so their events are
/// left to them.
pub(crate) const WORKER_PREFIX: &str = "number7-";

/// What the record of a worker says of who runs it, for apalis' tools.
const SERVICE: &str = "number7-inbox";

pub(crate) type Answer<'a, T> = BoxFuture<'a, Result<T, InboxError>>;

/// One queue in one store. Each statement or script is atomic, and limited by [`STORE_TIMEOUT`].
pub(crate) trait Engine: Expectations {
    /// Where leases are renewed: not on a thread that a handler can block.
    fn runtime(&self) -> Handle;

    /// Stores an event unless its key is known.
    fn insert(&self, event: NewEvent) -> Answer<'_, Acceptance>;

    /// Records the ends of attempts, and claims events that are due if the worker's own lease is live.
    fn turn<'a>(&'a self, turn: Turn<'a>) -> Answer<'a, Turned>;

    /// Renews the lease of a worker, which is registered unless it is known. Says which tasks it
    /// holds.
    fn keep_alive<'a>(&'a self, worker: &'a str) -> Answer<'a, Vec<Held>>;

    /// Gives back tasks that a worker has claimed and never began. They are named, and since when they are
    /// held, so that a call which arrives late gives back nothing that was claimed again meanwhile.
    fn release<'a>(&'a self, worker: &'a str, held: &'a [Held]) -> Answer<'a, ()>;

    /// Forgets a worker that has ended, and has left nothing claimed.
    fn forget<'a>(&'a self, worker: &'a str) -> Answer<'a, ()>;

    /// Rescues the claims that are older than a lease and whose worker did not renew its own, or is not even
    /// registered. Says how many. An event with at least `suspect_after` attempts is quarantined.
    fn reap(&self, lease: Duration, suspect_after: u32) -> Answer<'_, u64>;

    /// Forgets events that were finished longer than `retention` ago and, if `of_dead` is set, dead letters
    /// older than that: a store takes at most [`STEP`] of each at once. Says how many.
    fn sweep(&self, retention: Duration, of_dead: Option<Duration>) -> Answer<'_, u64>;

    /// Fails if the store cannot be reached, or takes no writes.
    fn ping(&self) -> Answer<'_, ()>;

    /// Counts the events.
    fn stats(&self) -> Answer<'_, Stats>;

    /// The events in a state after a place, the oldest first and at most so many, and the place
    /// where to go on.
    fn list<'a>(&'a self, state: State, after: Option<&'a str>, most: u32) -> Answer<'a, Listed>;

    /// The event of a key.
    fn show<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Entry>>;

    /// Puts dead letters back to work. Says how many of the keys had one.
    fn requeue<'a>(&'a self, keys: &'a [String]) -> Answer<'a, u64>;

    /// Counts a dead letter as done. False if there is none of that key.
    fn discard<'a>(&'a self, key: &'a str) -> Answer<'a, bool>;
}

/// An event that is to be stored.
pub(crate) struct NewEvent {
    pub(crate) key: String,
    pub(crate) json: Bytes,
    pub(crate) origin: Origin,
}

impl From<Record> for NewEvent {
    fn from(record: Record) -> Self {
        Self { key: record.key().to_owned(), json: record.json().clone(), origin: Origin::Signed }
    }
}

/// Entries, and where the list goes on.
pub(crate) type Listed = (Vec<Entry>, Option<String>);

/// A task that a worker holds, and since when: a time as the store has it.
pub(crate) type Held = (String, String);

/// What a worker has to say to its store, and wants of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) worker: &'a str,
    /// How long a lease lasts after it was renewed. Nothing is claimed after that.
    pub(crate) lease: Duration,
    /// At most one for each task: answers name only tasks, and SQL applies one of two.
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
    /// The tasks that somebody else's transaction has locked: their ends are to be sent again. Nobody waits
    /// for a session that may be dead.
    pub(crate) locked: Vec<String>,
    pub(crate) claimed: Vec<Claim>,
    /// Nothing was claimed, because the lease of the worker is over, or it is not registered.
    pub(crate) is_lapsed: bool,
}

/// An event that a worker has claimed: an attempt at it is counted.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) task: String,
    pub(crate) number: Number,
    pub(crate) key: String,
    pub(crate) stored: StoredEvent,
    pub(crate) history: History,
    pub(crate) origin: Origin,
    pub(crate) is_suspect: bool,
}

/// Which attempt at an event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    /// Among all. No other attempt ever has it, so it is what the end is fenced by.
    pub(crate) of_all: u32,
    /// How many numbers up to this one do not count: the attempts were snoozed, or given up at a stop, or
    /// made before a requeue, which skips a number as well.
    pub(crate) uncounted: u32,
}

impl Number {
    /// Among those that count, from 1.
    pub(crate) fn counted(self) -> u32 {
        self.of_all.saturating_sub(self.uncounted)
    }
}

/// The end of an attempt.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) task: String,
    pub(crate) number: Number,
    pub(crate) outcome: Outcome,
    /// The errors of the event, if there is a new one.
    pub(crate) history: Option<History>,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Done,
    Retry {
        after: Duration,
        error: String,
    },
    /// The handler snoozed the event. The attempt does not count.
    Snoozed {
        after: Duration,
    },
    /// A stop of the worker has cut the attempt off. It does not count.
    Interrupted,
    Dead {
        error: String,
    },
    /// It was not made, because no attempt was left. So it does not count. If the attempt before it
    /// is still running somewhere, the end of that one does.
    Exhausted {
        error: String,
    },
}

impl Outcome {
    /// The status by apalis' name. A dead letter is `Killed`, because apalis takes `Failed` events
    /// again.
    fn status(&self) -> &'static str {
        match self {
            Self::Done => "Done",
            Self::Retry { .. } | Self::Snoozed { .. } | Self::Interrupted => "Pending",
            Self::Dead { .. } | Self::Exhausted { .. } => "Killed",
        }
    }

    pub(crate) fn error(&self) -> Option<&str> {
        match self {
            Self::Done | Self::Snoozed { .. } | Self::Interrupted => None,
            Self::Retry { error, .. } | Self::Dead { error } | Self::Exhausted { error } => {
                Some(error)
            }
        }
    }

    /// How long the event rests.
    fn delay(&self) -> Duration {
        match self {
            Self::Retry { after, .. } | Self::Snoozed { after } => *after,
            _ => Duration::ZERO,
        }
    }
}

impl End {
    /// The number that the event has after this end.
    pub(crate) fn after(&self) -> Number {
        let Number { of_all, uncounted } = self.number;
        match self.outcome {
            Outcome::Exhausted { .. } => Number { of_all: of_all.saturating_sub(1), uncounted },
            Outcome::Snoozed { .. } | Outcome::Interrupted => {
                Number { of_all, uncounted: uncounted + 1 }
            }
            _ => self.number,
        }
    }
}

/// When an event was accepted: it is in the name of its task.
pub(crate) fn accepted_at(task: &str) -> Option<SystemTime> {
    let millis = Ulid::from_string(task).ok()?.timestamp_ms();
    Some(SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
}

/// What is wrong with a cursor that somebody has made up.
pub(crate) fn no_cursor() -> InboxError {
    InboxError::new(InboxErrorKind::Invalid, "this cursor is not from this list")
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

/// Opens a store, which may be starting, or locked: for as long as an operation may take in all, and then
/// the error is the last one.
#[cfg(any(feature = "sqlite", feature = "postgres", test))]
async fn open<T, F>(connect: impl Fn() -> F) -> Result<T, InboxError>
where
    F: Future<Output = Result<T, InboxError>>,
{
    let mut last = InboxErrorKind::TooSlow.into();
    let opens = async {
        loop {
            match connect().await {
                Err(error)
                    if matches!(
                        error.kind(),
                        InboxErrorKind::Unreachable | InboxErrorKind::Busy
                    ) =>
                {
                    last = error
                }
                opened => return opened,
            }
            tokio::time::sleep(OPEN_PAUSE).await;
        }
    };
    match tokio::time::timeout(STORE_TIMEOUT, opens).await {
        Ok(opened) => opened,
        Err(_) => Err(last),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn opening_waits_for_a_store_that_is_starting_or_locked() {
        let open = async |kind: InboxErrorKind, failures: u32| {
            let (begun, tries) = (Instant::now(), Cell::new(0));
            let opened = open(async || {
                tries.set(tries.get() + 1);
                if tries.get() > failures { Ok(()) } else { Err(kind.into()) }
            });
            (opened.await.is_ok(), begun.elapsed())
        };
        for kind in [InboxErrorKind::Unreachable, InboxErrorKind::Busy] {
            assert_eq!(open(kind, 3).await, (true, 3 * OPEN_PAUSE));
            assert_eq!(open(kind, u32::MAX).await, (false, STORE_TIMEOUT));
        }
        assert_eq!(open(InboxErrorKind::Refused, 3).await, (false, Duration::ZERO));
    }

    /// Not as long again as the last try takes.
    #[tokio::test(start_paused = true)]
    async fn opening_takes_no_longer_than_an_operation_in_all() {
        let (begun, almost) = (Instant::now(), STORE_TIMEOUT - OPEN_PAUSE * 2);
        let opened = open(async || {
            tokio::time::sleep(almost).await;
            Err::<(), _>(InboxErrorKind::Busy.into())
        });
        assert_eq!(opened.await.unwrap_err().kind(), InboxErrorKind::Busy);
        assert_eq!(begun.elapsed(), STORE_TIMEOUT);
        let silent = open(async || std::future::pending::<Result<(), _>>().await);
        assert_eq!(silent.await.unwrap_err().kind(), InboxErrorKind::TooSlow);
    }
}
