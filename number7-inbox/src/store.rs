//! What an inbox needs from its store.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use number7_core::{Acceptance, Record, Signature, Subject};
use tokio::runtime::Handle;

use self::expectations::Expectations;
use crate::{
    model::{
        change::Change,
        claim::{Claim, ClaimId, EventId},
        end::End,
        entry::{Entry, State},
        error::InboxError,
        event::Origin,
        paused::{NewPause, Paused},
        stats::Stats,
        trace::Trace,
        wake::Wake,
        worker_status::WorkerStatus,
    },
    telemetry,
};

#[cfg(any(test, feature = "sqlite", feature = "postgres", feature = "redis"))]
use crate::model::error::InboxErrorKind;

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
use crate::model::time::time_of_millis;

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
pub(crate) mod driver;
pub(crate) mod expectations;
#[cfg(any(test, feature = "memory"))]
pub(crate) mod memory;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "redis")]
pub(crate) mod redis;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) mod transaction;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod wakes;

/// How long one operation may take on the store: 4 seconds.
///
/// It is shorter than [`DEFAULT_ACCEPT_TIMEOUT`](number7_core::DEFAULT_ACCEPT_TIMEOUT), so that
/// the log has the error of the store.
pub const STORE_TIMEOUT: Duration = Duration::from_secs(4);

/// How long an operation waits for a connection. It is shorter than [`STORE_TIMEOUT`], so that the error says that
/// there was no connection.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long to wait before a store that is starting or locked is opened again.
#[cfg(any(feature = "sqlite", feature = "postgres", test))]
const OPEN_PAUSE: Duration = Duration::from_millis(50);

/// How many rows one statement or script goes through at most, so that nobody else waits for long: a row of a
/// list may have 64 KiB.
pub(crate) const STEP: u32 = 500;

/// A minute, in milliseconds.
pub(crate) const MINUTE: i64 = 60_000;

/// How many finished events of a state a statement counts in a minute at most.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
const MOST_IN_A_MINUTE: i64 = 10_000;

/// A number for each of 15 minutes, one after the other.
pub(crate) type PerMinute = [u64; 15];

pub(crate) type Answer<'a, T> = BoxFuture<'a, Result<T, InboxError>>;

/// One inbox in one store. Each statement or script is atomic, and limited by [`STORE_TIMEOUT`].
pub(crate) trait Store: Expectations {
    /// What kind of store it is: `sqlite`, `postgres`, `redis` or `memory`.
    fn kind(&self) -> &'static str;

    /// The inbox of another name in the same store.
    fn named(&self, inbox: &str) -> Arc<dyn Store>;

    /// The schema of the tables, for [`finish_in`](crate::AcceptedEvent::finish_in). Empty if there is none.
    fn schema(&self) -> Arc<str> {
        Arc::from("")
    }

    /// Wakes the workers of this inbox in this process.
    fn wake(&self) -> &Arc<Wake>;

    /// Wakes workers because events are ready: those of this process and, if the store can, those of others. It
    /// does not wait for that.
    fn announce(&self) {
        self.wake().events_are_ready();
    }

    /// The runtime that renews leases: one whose threads no handler can block.
    fn runtime(&self) -> Handle;

    /// Stores an event unless its key is known. If the known event was signed with other bytes, it also keeps the new bytes,
    /// and the answer is a conflict.
    fn insert(&self, event: NewEvent) -> Answer<'_, Acceptance>;

    /// Records the ends of attempts, and claims events that are ready if the worker's own lease is live and the inbox
    /// is not paused.
    fn exchange<'a>(&'a self, exchange: Exchange<'a>) -> Answer<'a, Exchanged>;

    /// The next accounts, from this one on, that have ready events and are not paused. Their order never changes. Events
    /// without an account belong to the empty name, which is the first.
    fn waiting_accounts<'a>(&'a self, from: &'a str) -> Answer<'a, WaitingAccounts>;

    /// Renews the lease of a worker, and registers the worker if it is not known. Returns the claims that it holds.
    fn heartbeat<'a>(&'a self, worker: &'a str) -> Answer<'a, Vec<ClaimId>>;

    /// Releases events that a worker has claimed and never began. They become ready, or quarantined if they were so before, and
    /// the attempt does not count. An event with a newer claim is left alone, so a call that arrives late does no harm.
    fn release<'a>(&'a self, worker: &'a str, claims: &'a [ClaimId]) -> Answer<'a, ()>;

    /// Forgets a worker that has ended, and has left nothing claimed.
    fn forget<'a>(&'a self, worker: &'a str) -> Answer<'a, ()>;

    /// Rescues the claims that are older than a lease and whose worker has not renewed its own lease, or is not
    /// even registered. Returns how many. An event with at least `quarantine_after` attempts that count is
    /// quarantined. So is an event that was claimed ahead. It is not known whether it was begun, so this attempt
    /// does not count, but the next one does.
    fn rescue(&self, lease: Duration, quarantine_after: u32) -> Answer<'_, u64>;

    /// Forgets events that were finished longer than `retention` ago and, if `of_dead` is set, dead letters older than that.
    /// One call forgets at most [`STEP`] of each. Returns how many.
    fn sweep(&self, retention: Duration, of_dead: Option<Duration>) -> Answer<'_, u64>;

    /// Forgets the payloads of events that have been done for longer than `retention`. One call goes through the next [`STEP`]
    /// of them after a place, and returns the place to continue from, if there are more.
    fn forget_payloads<'a>(
        &'a self,
        retention: Duration,
        after: Option<&'a str>,
    ) -> Answer<'a, Option<String>>;

    /// Fails if the store cannot be reached, or takes no writes.
    fn ping(&self) -> Answer<'_, ()>;

    /// Moves the store's clock forward. False if the store does not have its own clock.
    #[cfg(feature = "test-util")]
    fn advance(&self, _by: Duration) -> bool {
        false
    }

    /// The time by the store's clock.
    fn now(&self) -> Answer<'_, SystemTime>;

    /// Pauses an account of the inbox, or all of the inbox if its name is empty, or changes the pause.
    fn pause<'a>(&'a self, account: &'a str, pause: NewPause) -> Answer<'a, ()>;

    /// Ends a pause of an account, or of the inbox. False if there is none.
    fn resume<'a>(&'a self, account: &'a str) -> Answer<'a, bool>;

    /// The pauses that have not ended: first that of the inbox, then those of its accounts.
    fn pauses(&self) -> Answer<'_, Vec<Paused>>;

    /// Counts the events.
    fn stats(&self) -> Answer<'_, Stats>;

    /// How many events became done or dead in each of the minutes that follow a time, which is in milliseconds since the
    /// epoch.
    fn handled_per_minute(&self, first: i64) -> Answer<'_, PerMinute>;

    /// The workers that were heard of in the last 30 seconds, in any order, with what they have claimed.
    fn workers(&self) -> Answer<'_, Vec<WorkerStatus>>;

    /// A place in the list of each state: before all events that have been in the state since this time or later.
    fn place_of(&self, time: SystemTime) -> String;

    /// The events in a state after a place, the oldest first and at most `most`, and the place to continue from.
    fn list<'a>(&'a self, state: State, after: Option<&'a str>, most: u32) -> Answer<'a, Listed>;

    /// The event of a key.
    fn show<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Entry>>;

    /// Applies a change to those of these events that are in the state that it is for. Returns how many.
    fn change<'a>(&'a self, keys: &'a [String], change: Change) -> Answer<'a, u64>;
}

/// An event that is to be stored.
pub(crate) struct NewEvent {
    pub(crate) key: String,
    /// Its name, and the job that it is about.
    pub(crate) event: String,
    pub(crate) job: Option<String>,
    pub(crate) json: Bytes,
    /// Missing if nobody signed it, because it was fetched.
    pub(crate) signer: Option<Signer>,
    pub(crate) trace: Option<Trace>,
}

/// The name of the secret that signed, and the signature.
#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) name: String,
    pub(crate) signature: Signature,
}

impl NewEvent {
    pub(crate) fn new(key: String, json: Bytes, signer: Option<Signer>) -> Self {
        // An event that has a key also has a name.
        let subject = Subject::of_json(&json).ok();
        let event = subject.as_ref().map(|subject| storable(subject.event())).unwrap_or_default();
        let job = subject.as_ref().and_then(|subject| subject.job_id());
        let job = job.map(storable);
        Self { key, event, job, json, signer, trace: None }
    }

    /// The account in front of its key.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn account(&self) -> Option<&str> {
        Record::account_of(&self.key)
    }

    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
    pub(crate) fn origin(&self) -> Origin {
        origin(self.signer.as_ref())
    }
}

fn origin(signer: Option<&Signer>) -> Origin {
    if signer.is_some() { Origin::Signed } else { Origin::Fetched }
}

/// PostgreSQL refuses strings with a NUL, and nobody looks for a name of kilobytes.
fn storable(name: &str) -> String {
    const LONGEST: usize = 255;
    name[..name.floor_char_boundary(LONGEST)].replace('\0', "\u{fffd}")
}

impl From<Record> for NewEvent {
    fn from(record: Record) -> Self {
        let name = storable(record.signed_by());
        let signer = Signer { name, signature: *record.signature() };
        let event = Self::new(record.key().to_owned(), record.json().clone(), Some(signer));
        Self { trace: telemetry::trace(&record), ..event }
    }
}

/// Entries, and the place where the list continues.
pub(crate) type Listed = (Vec<Entry>, Option<String>);

/// What a worker reports to its store, and what it wants.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Exchange<'a> {
    pub(crate) worker: &'a str,
    /// How long a lease lasts after it was renewed. Nothing is claimed after that.
    pub(crate) lease: Duration,
    /// At most one for each event, because an answer names only the event, and SQL would apply only one of two.
    pub(crate) ends: &'a [End],
    /// The most events to claim that are begun at once.
    pub(crate) most: usize,
    /// How many more to claim, ahead of handlers that are about to return. They are marked, because a worker that
    /// dies may not have begun them.
    pub(crate) ahead: usize,
    /// Whether one of them may be quarantined, which means that its workers died so often that it may be the cause.
    pub(crate) quarantined: bool,
    /// At most `of_each` events of each of these accounts are claimed first, the oldest first, and then the oldest events of
    /// all. Together they are at most `most` and `ahead`. Events without an account belong to the empty name.
    pub(crate) accounts: &'a [String],
    pub(crate) of_each: usize,
}

/// Some accounts that have events which are ready.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct WaitingAccounts {
    pub(crate) accounts: Vec<String>,
    /// The first one that was not examined. `None` if there are no more.
    pub(crate) go_on_from: Option<String>,
}

/// The result of an exchange.
#[derive(Debug, Default)]
pub(crate) struct Exchanged {
    /// The events whose ends count. The other events have a newer attempt by now.
    pub(crate) ended: Vec<EventId>,
    /// The events that another transaction has locked. Send their ends again: the store does not wait for a session
    /// that may be dead.
    pub(crate) locked: Vec<EventId>,
    /// Those that are begun at once come first.
    pub(crate) claims: Vec<Claim>,
    /// The time until the next scheduled event is ready. It may be missing if as many events were claimed as wanted. While the
    /// inbox is paused, it is the time until the pause ends by itself.
    pub(crate) next_in: Option<Duration>,
    /// Nothing was claimed, because the lease of the worker is over, or it is not registered.
    pub(crate) is_lapsed: bool,
    /// Nothing was claimed, because the inbox is paused. Set only if something was to be claimed.
    pub(crate) is_paused: bool,
    /// Some accounts are paused. So events were claimed only of the named accounts that are not paused.
    pub(crate) has_paused_accounts: bool,
}

/// A pause, as a store has it.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
#[cfg_attr(any(feature = "sqlite", feature = "postgres"), derive(sqlx::FromRow))]
pub(crate) struct PausedRow {
    account: String,
    paused_by: String,
    why: String,
    since: i64,
    until: Option<i64>,
}

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
impl From<PausedRow> for Paused {
    fn from(PausedRow { account, paused_by: by, why, since, until }: PausedRow) -> Self {
        let account = number7_core::Account::new(account).ok();
        let since = time_of_millis(since);
        Self { account, by, why, since, until: until.map(time_of_millis) }
    }
}

/// Limits an operation to [`STORE_TIMEOUT`].
#[cfg(any(feature = "sqlite", feature = "redis"))]
async fn in_time<T>(
    operation: impl Future<Output = Result<T, InboxError>>,
) -> Result<T, InboxError> {
    match tokio::time::timeout(STORE_TIMEOUT, operation).await {
        Ok(answer) => answer,
        Err(_) => Err(InboxErrorKind::TooSlow.into()),
    }
}

/// Opens a store that may be starting or locked. It tries again for as long as one operation may take, and then
/// returns the last error.
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

    /// The last try gets only the time that is left.
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
