//! An event that a worker has claimed.

use std::{fmt, time::SystemTime};

use crate::model::{
    event::{Origin, StoredEvent},
    history::History,
    trace::Trace,
};

/// The number of an event in its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EventId(pub(crate) i64);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which claim of which event. It fences everything that is done about a claim, such as its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClaimId {
    pub(crate) event: EventId,
    /// [`Number::of_all`]. No other claim of the event ever has it.
    pub(crate) attempt: u32,
}

/// Which attempt at an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Number {
    /// Among all claims of the event, from 1.
    pub(crate) of_all: u32,
    /// How many numbers up to this one do not count, because the attempts were never begun, were snoozed, were interrupted by a
    /// stop, or were made before a requeue, which also skips a number.
    pub(crate) uncounted: u32,
}

impl Number {
    /// Among those that count, from 1.
    pub(crate) fn counted(self) -> u32 {
        self.of_all.saturating_sub(self.uncounted)
    }
}

/// An event that a worker has claimed. The attempt is already counted.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) event: EventId,
    pub(crate) number: Number,
    /// How often the event was run from the beginning, this time included: 1, and one more for each rerun.
    pub(crate) runs: u32,
    pub(crate) key: String,
    pub(crate) stored: StoredEvent,
    pub(crate) history: History,
    pub(crate) origin: Origin,
    pub(crate) signed_by: Option<String>,
    pub(crate) trace: Option<Trace>,
    /// By the store's clock.
    pub(crate) accepted_at: SystemTime,
    /// Its worker died, and the event may be the cause. A worker runs only one such event at a time.
    pub(crate) is_quarantined: bool,
}

impl Claim {
    pub(crate) fn id(&self) -> ClaimId {
        ClaimId { event: self.event, attempt: self.number.of_all }
    }

    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn of_test(event: EventId, number: Number) -> Self {
        Self {
            event,
            number,
            runs: 1,
            key: "key".into(),
            stored: StoredEvent::new("{}".into()),
            history: History::default(),
            origin: Origin::Signed,
            signed_by: Some(number7_core::DEFAULT_SECRET_NAME.into()),
            trace: None,
            accepted_at: SystemTime::now(),
            is_quarantined: false,
        }
    }
}
