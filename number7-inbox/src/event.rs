use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use number7_core::{Event, EventError, JobId, Subject};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use crate::engine::{Number, accepted_at};

/// What the store has of an event: the signed JSON. In apalis' tools it is the argument of a task.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredEvent(Bytes);

impl StoredEvent {
    pub(crate) fn new(json: Vec<u8>) -> Self {
        Self(json.into())
    }

    /// The JSON object that was signed, or that was fetched.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        &self.0
    }

    /// Types the event.
    ///
    /// # Errors
    ///
    /// The event lacks a field that this version needs, or has one that it cannot read; see
    /// [`Event::from_json`].
    pub fn event(&self) -> Result<Event, EventError> {
        Event::from_json(&self.0)
    }
}

/// Not shown: it is the sender's data.
impl std::fmt::Debug for StoredEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredEvent").field("bytes", &self.0.len()).finish_non_exhaustive()
    }
}

/// To JSON, as the object that it is, without a byte order mark.
impl Serialize for StoredEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json = self.0.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.0);
        let json: &RawValue = serde_json::from_slice(json).map_err(serde::ser::Error::custom)?;
        json.serialize(serializer)
    }
}

/// From JSON, as it was signed but for white space around the object.
impl<'de> Deserialize<'de> for StoredEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self::new(json.get().as_bytes().to_vec()))
    }
}

/// How an event came into the inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The vendor delivered it, and its signature was verified.
    Signed,
    /// A worker [fetched](crate::Worker::reconcile) it, because it was never delivered. Nobody
    /// signed it: it is as trustworthy as the connection that it was fetched by.
    Fetched,
}

impl Origin {
    /// `signed` or `fetched`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Signed => "signed",
            Self::Fetched => "fetched",
        }
    }

    /// As the stores have it: nothing for a signed event.
    pub(crate) fn read(name: Option<&str>) -> Self {
        match name {
            Some("fetched") => Self::Fetched,
            _ => Self::Signed,
        }
    }
}

/// An accepted event on its way through a [`Worker`](crate::Worker): what the handler gets.
#[derive(Clone, Debug)]
pub struct AcceptedEvent {
    pub(crate) stored: StoredEvent,
    pub(crate) key: String,
    pub(crate) origin: Origin,
    pub(crate) attempts: u32,
    pub(crate) claim: Arc<ClaimOf>,
}

/// What a worker and the handler share of an attempt.
#[derive(Debug)]
pub(crate) struct ClaimOf {
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres")),
        expect(dead_code, reason = "a transaction's end is fenced by it")
    )]
    pub(crate) worker: Arc<str>,
    pub(crate) task: String,
    pub(crate) number: Number,
    /// The lease was lost.
    pub(crate) lost: CancellationToken,
    /// The handler has written the end itself, in a transaction that it commits or not.
    is_in_transaction: AtomicBool,
    /// Since when the handler has been in its code, and not at an await point. Only once the log has that.
    polled: Mutex<Option<Instant>>,
}

impl ClaimOf {
    pub(crate) fn new(worker: Arc<str>, task: String, number: Number) -> Self {
        let (lost, is_in_transaction) = (CancellationToken::new(), AtomicBool::new(false));
        Self { worker, task, number, lost, is_in_transaction, polled: Mutex::default() }
    }

    /// Runs the handler, and notes when it is in its code.
    pub(crate) async fn watch<T>(
        &self,
        handled: impl Future<Output = T>,
        key: &str,
        limit: Duration,
    ) -> T {
        let mut handled = pin!(handled);
        poll_fn(|context| {
            *self.polled() = Some(Instant::now());
            let polled = handled.as_mut().poll(context);
            self.warn_if_blocked(key, limit);
            *self.polled() = None;
            polled
        })
        .await
    }

    /// Warns once if the handler has been in its code for longer than a limit, and so blocks its thread.
    pub(crate) fn warn_if_blocked(&self, key: &str, limit: Duration) {
        if let Some(since) = self.polled().take_if(|since| since.elapsed() > limit) {
            let (attempt, blocked) = (self.number.counted(), since.elapsed());
            tracing::warn!(
                target: "number7", key, attempt, ?blocked,
                "a handler blocks its thread, and delays everything else on it: move such work into spawn_blocking"
            );
        }
    }

    fn polled(&self) -> MutexGuard<'_, Option<Instant>> {
        self.polled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(any(test, feature = "sqlite", feature = "postgres"))]
    pub(crate) fn set_in_transaction(&self) {
        self.is_in_transaction.store(true, Ordering::Release);
    }

    /// It has written nothing, because the attempt does not hold the event any more.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn leave_transaction(&self) {
        self.is_in_transaction.store(false, Ordering::Release);
    }

    pub(crate) fn is_in_transaction(&self) -> bool {
        self.is_in_transaction.load(Ordering::Acquire)
    }
}

impl AcceptedEvent {
    /// Types the event.
    ///
    /// # Errors
    ///
    /// The event lacks a field that this version needs, or has one that it cannot read. Return the
    /// error from the handler: after its attempts the event is kept as a dead letter, to be put
    /// back to work by a version that can type it.
    pub fn event(&self) -> Result<Event, EventError> {
        self.stored.event()
    }

    /// The job that the event is about, such as for `Client::result` of `number7-client`. `None` if it names
    /// none, which no event that the vendor publishes does.
    #[must_use]
    pub fn job_id(&self) -> Option<JobId> {
        Subject::of_json(self.json()).ok()?.job_id().cloned()
    }

    /// Whether it was signed, or fetched because it was never delivered.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The bytes that were signed, or the JSON of the event that was fetched.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        self.stored.json()
    }

    /// The [key](number7_core::Record::key) that makes the event be accepted only once. If the effect of a
    /// handler must happen only once too, store the key with it, in the same transaction.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Which attempt this is, from 1. It is counted when the event is claimed, so an attempt that a
    /// crash ended counts too.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.claim.number.counted()
    }

    /// Whether the event is a dead letter if this attempt fails.
    #[must_use]
    pub fn is_last_attempt(&self) -> bool {
        self.attempt() >= self.attempts
    }

    /// When the event was accepted, to the millisecond, by the clock of the process that accepted it.
    /// `None` if a tool of apalis' made the task, and its id is not a ULID.
    #[must_use]
    pub fn accepted_at(&self) -> Option<SystemTime> {
        accepted_at(&self.claim.task)
    }

    /// Fires when the lease of this attempt was lost, so that another worker may have begun the next
    /// one: the machine stood still for too long, or the store was away. From then on the end of this
    /// attempt counts only if nobody has begun another.
    ///
    /// The worker notices when it renews its lease, at least four times per lease, or when it
    /// claims the event again. The token also fires if the worker's future is dropped. A handler
    /// whose effects must not happen twice at the same time should stop when it fires:
    ///
    /// ```
    /// use number7_inbox::{AcceptedEvent, Failure};
    ///
    /// async fn handle(accepted: AcceptedEvent) -> Result<(), Failure> {
    ///     tokio::select! {
    ///         done = long_work(&accepted) => done,
    ///         () = accepted.lease_lost().cancelled() => Err("the lease was lost".into()),
    ///     }
    /// }
    /// # async fn long_work(_: &AcceptedEvent) -> Result<(), Failure> { Ok(()) }
    /// # _ = |inbox: &number7_inbox::Inbox| inbox.worker(handle);
    /// ```
    #[must_use]
    pub fn lease_lost(&self) -> &CancellationToken {
        &self.claim.lost
    }
}
