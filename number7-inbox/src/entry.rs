use std::{fmt, time::SystemTime};

use crate::{Origin, StoredEvent, engine::accepted_at, history::History};

/// An event as it is in the inbox: what an operator gets to see of it.
#[derive(Clone)]
pub struct Entry {
    /// Where the list goes on after it.
    pub(crate) place: String,
    pub(crate) task: String,
    pub(crate) key: String,
    pub(crate) stored: StoredEvent,
    pub(crate) origin: Origin,
    pub(crate) state: State,
    pub(crate) since: SystemTime,
    pub(crate) worker_seen: Option<SystemTime>,
    pub(crate) attempts: u32,
    pub(crate) history: History,
}

impl Entry {
    /// The [key](number7_core::Record::key) that makes it be accepted only once. It is what
    /// [`Inbox::show`](crate::Inbox::show), [`requeue`](crate::Inbox::requeue) and
    /// [`discard`](crate::Inbox::discard) take.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The event.
    #[must_use]
    pub fn stored(&self) -> &StoredEvent {
        &self.stored
    }

    /// Whether it was signed, or fetched because it was never delivered.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Since when it is due, in hand, done or dead, by the store's clock. For [`Later`](State::Later), when
    /// it will be due. An event whose worker was lost keeps its earlier due time.
    ///
    /// SQLite keeps whole seconds, and so does Redis in some states.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.since
    }

    /// When its worker last renewed its lease, by the store's clock and to the second, if it is
    /// [in hand](State::InHand). A worker that lives does so every 15 seconds at least.
    #[must_use]
    pub fn worker_seen(&self) -> Option<SystemTime> {
        self.worker_seen
    }

    /// When it was accepted, to the millisecond, by the clock of the process that accepted it. `None`
    /// if a tool of apalis' made the task, and its id is not a ULID.
    #[must_use]
    pub fn accepted_at(&self) -> Option<SystemTime> {
        accepted_at(&self.task)
    }

    /// How many attempts count, the running one included. Those that were snoozed, given up at a stop, or
    /// made before a requeue do not.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The errors of the last attempts, the oldest first; at most [`KEPT_ERRORS`](crate::KEPT_ERRORS). They
    /// are kept when the event is done, and when it is requeued or discarded, which adds a note.
    #[must_use]
    pub fn errors(&self) -> &[AttemptError] {
        self.history.errors()
    }

    /// The text of the last error or note, or nothing.
    #[must_use]
    pub fn error(&self) -> &str {
        self.errors().last().map_or("", AttemptError::text)
    }
}

/// The event itself is not shown: it is the sender's data.
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

/// Where an event stands in its inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It waits for a worker.
    Due,
    /// It waits for its next attempt, at a known time.
    Later,
    /// A worker has claimed it: its handler runs, or the worker has died and no other has taken it over.
    InHand,
    /// It is finished, or was [discarded](crate::Inbox::discard). Its key stays known for the retention.
    Done,
    /// A dead letter: its attempts are used up, or its handler said that it failed for good. It is not
    /// tried again unless it is [requeued](crate::Inbox::requeue).
    Dead,
}

impl State {
    /// All of them, in the order of an event's life.
    pub const ALL: [Self; 5] = [Self::Due, Self::Later, Self::InHand, Self::Done, Self::Dead];

    /// `due`, `later`, `in_hand`, `done` or `dead`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Later => "later",
            Self::InHand => "in_hand",
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

/// What one attempt failed with, or what else happened to the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptError {
    pub(crate) at: SystemTime,
    pub(crate) attempt: u32,
    pub(crate) text: String,
    /// 0 unless it is the note of the snoozes, which also has the time of the first.
    pub(crate) snoozes: u32,
    pub(crate) first: Option<SystemTime>,
}

impl AttemptError {
    /// When, by the clock of the worker, or of the store if it noted this.
    #[must_use]
    pub fn at(&self) -> SystemTime {
        self.at
    }

    /// Which attempt it was, from 1; or 0 for a note that is about no attempt, such as that the event
    /// was requeued. After that the attempts are counted from 1 again. One that was snoozed is made
    /// again under the same number.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The handler's error with its sources, its panic, the reason of a snooze, or a note of the worker or
    /// store: at most 2,000 bytes.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// If this is the note of the snoozes: how often the event was [snoozed](crate::Failure::snooze) up to
    /// now. Otherwise 0.
    #[must_use]
    pub fn snoozes(&self) -> u32 {
        self.snoozes
    }
}
