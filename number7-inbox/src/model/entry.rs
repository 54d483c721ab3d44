use std::{fmt, time::SystemTime};

use number7_core::{Record, Signature};

use crate::model::{
    conflict::Conflict,
    event::{Origin, StoredEvent},
    history::{AttemptError, History},
    trace::Trace,
};

/// An event in the inbox, as an operator sees it.
#[derive(Clone)]
pub struct Entry {
    /// Where the list continues after this entry.
    pub(crate) place: String,
    pub(crate) key: String,
    pub(crate) event: String,
    pub(crate) job: Option<String>,
    pub(crate) stored: Option<StoredEvent>,
    pub(crate) origin: Origin,
    pub(crate) signed_by: Option<String>,
    pub(crate) signature: Option<Signature>,
    pub(crate) trace: Option<Trace>,
    pub(crate) conflict: Option<Conflict>,
    pub(crate) state: State,
    pub(crate) since: SystemTime,
    pub(crate) accepted_at: SystemTime,
    pub(crate) worker_seen: Option<SystemTime>,
    pub(crate) attempts: u32,
    pub(crate) runs: u32,
    pub(crate) history: History,
}

impl Entry {
    /// The [key](number7_core::Record::key) by which a second delivery is recognized as a duplicate. Give it to
    /// [`Inbox::show`](crate::Inbox::show) or to a [`Filter`](crate::Filter).
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The name of the event, such as `job.completed`: at most 255 bytes of it.
    #[must_use]
    pub fn event_name(&self) -> &str {
        &self.event
    }

    /// The job that the event is about, if it names one: at most 255 bytes of its id.
    #[must_use]
    pub fn job_id(&self) -> Option<&str> {
        self.job.as_deref()
    }

    /// The event. `None` if it was done long enough ago that its payload is
    /// [forgotten](crate::Worker::payload_retention).
    #[must_use]
    pub fn stored(&self) -> Option<&StoredEvent> {
        self.stored.as_ref()
    }

    /// The name of the account that it was accepted for. `None` if the receiver has a single account.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        Record::account_of(&self.key)
    }

    /// Whether it was signed, or fetched because it was never delivered.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The name of the secret that signed it, as the [`Verifier`](number7_core::Verifier#rotation) has it. `None` if it
    /// was fetched.
    #[must_use]
    pub fn signed_by(&self) -> Option<&str> {
        self.signed_by.as_deref()
    }

    /// The signature that was verified when the event was accepted. With it, the [stored](Self::stored) bytes can be verified
    /// again: see [`Delivery::signature`](number7_core::Delivery::signature). `None` if the event was fetched, and in the entry
    /// that [`on_dead_letter`](crate::Worker::on_dead_letter) gets.
    #[must_use]
    pub fn signature(&self) -> Option<&Signature> {
        self.signature.as_ref()
    }

    /// The header `traceparent` that the webhook came with, if the feature `opentelemetry` was on when it was accepted.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.trace.as_ref().map(|trace| &*trace.parent)
    }

    /// Another body that was signed for this event later, if there is one. It is missing in the entry that
    /// [`on_dead_letter`](crate::Worker::on_dead_letter) gets.
    #[must_use]
    pub fn conflict(&self) -> Option<&Conflict> {
        self.conflict.as_ref()
    }

    /// The secrets that signed the event and its conflict, and when these were accepted.
    pub(crate) fn signatures(&self) -> impl Iterator<Item = (&str, SystemTime)> {
        let first = self.signed_by().map(|name| (name, self.accepted_at));
        let later = self.conflict().map(|later| (later.signed_by(), later.accepted_at()));
        first.into_iter().chain(later)
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// When it entered its state, by the store's clock; or, if it is [scheduled](State::Scheduled), when it will be ready. An
    /// event that was rescued or released has the time when it first became ready for that attempt.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.since
    }

    /// When the worker of a [running](State::Running) event last renewed its lease, by the store's clock. A live worker does so
    /// at least every 15 seconds.
    #[must_use]
    pub fn worker_seen(&self) -> Option<SystemTime> {
        self.worker_seen
    }

    /// When it was accepted, by the store's clock.
    #[must_use]
    pub fn accepted_at(&self) -> SystemTime {
        self.accepted_at
    }

    /// How many attempts count, including the one that is running. Attempts that were never begun, snoozed,
    /// interrupted by a shutdown, or made before a requeue do not count.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How often it was run from the beginning: 1, and one more each time that it was [rerun](crate::Inbox::rerun).
    #[must_use]
    pub fn runs(&self) -> u32 {
        self.runs
    }

    /// The errors of the last attempts, the oldest first; at most [`KEPT_ERRORS`](crate::KEPT_ERRORS). They stay when the event
    /// is done, requeued or discarded. A requeue and a discard add a note.
    #[must_use]
    pub fn errors(&self) -> &[AttemptError] {
        self.history.errors()
    }

    /// The text of the last error or note, or an empty string.
    #[must_use]
    pub fn error(&self) -> &str {
        self.errors().last().map_or("", AttemptError::text)
    }
}

/// Without the event itself: it is the sender's data.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key)
            .field("state", &self.state)
            .field("since", &self.since)
            .field("attempts", &self.attempts)
            .field("error", &self.error())
            .finish_non_exhaustive()
    }
}

/// The state of an event in its inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// It waits for a worker.
    Ready,
    /// It waits for its next attempt, at a known time.
    Scheduled,
    /// Its worker died, and the event may be the cause. It waits for a worker that has no other quarantined
    /// event.
    Quarantined,
    /// A worker has claimed it: its handler runs or is about to begin, or the worker has died and the event has
    /// not been rescued yet.
    Running,
    /// It is finished, or was [discarded](crate::Inbox::discard). Its key stays known for the retention.
    Done,
    /// A dead letter: its attempts are used up, or its handler said that it failed for good. It is not
    /// tried again unless it is [requeued](crate::Inbox::requeue).
    Dead,
}

impl State {
    /// All states, in the order of an event's life.
    pub const ALL: [Self; 6] =
        [Self::Ready, Self::Scheduled, Self::Quarantined, Self::Running, Self::Done, Self::Dead];

    /// `ready`, `scheduled`, `quarantined`, `running`, `done` or `dead`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Scheduled => "scheduled",
            Self::Quarantined => "quarantined",
            Self::Running => "running",
            Self::Done => "done",
            Self::Dead => "dead",
        }
    }
}

/// As its [name](State::name).
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
