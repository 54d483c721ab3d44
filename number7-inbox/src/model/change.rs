//! What an operator does to events.

use crate::model::entry::State;

/// What is done to the events of some keys, if they are in its [state](Change::of).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A dead letter is ready again.
    Requeue,
    /// An event that is done is ready again, unless its payload is forgotten.
    Rerun,
    /// A scheduled event is ready now.
    RunNow,
    /// A dead letter is done.
    Discard,
}

impl Change {
    /// The state of the events that it is for.
    pub(crate) fn of(self) -> State {
        match self {
            Self::Requeue | Self::Discard => State::Dead,
            Self::Rerun => State::Done,
            Self::RunNow => State::Scheduled,
        }
    }

    /// What it appends to the errors of an event.
    pub(crate) fn note(self) -> &'static str {
        match self {
            Self::Requeue => "requeued: its attempts are counted from 0 again",
            Self::Rerun => "rerun: it was done, and its attempts are counted from 0 again",
            Self::RunNow => "made ready before its time",
            Self::Discard => "discarded: it was given up",
        }
    }
}
