//! How an attempt ended.

use std::time::Duration;

use crate::model::{
    claim::{ClaimId, EventId, Number},
    entry::State,
    history::History,
};

/// The end of an attempt.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) event: EventId,
    pub(crate) number: Number,
    pub(crate) outcome: Outcome,
    /// The errors of the event, if the attempt added one.
    pub(crate) history: Option<History>,
}

impl End {
    pub(crate) fn id(&self) -> ClaimId {
        ClaimId { event: self.event, attempt: self.number.of_all }
    }

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

/// What happens to the event.
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
        /// Its worker claims nothing for as long as the snooze lasts.
        pauses_worker: bool,
    },
    /// A stop of the worker interrupted the attempt. It does not count.
    Interrupted,
    Dead {
        error: String,
    },
    /// The attempt was not made, because none was left. So it does not count. If the attempt before it is still running
    /// somewhere, the end of that one counts.
    Exhausted {
        error: String,
    },
}

impl Outcome {
    pub(crate) fn state(&self) -> State {
        match self {
            Self::Done => State::Done,
            Self::Retry { .. } | Self::Snoozed { .. } | Self::Interrupted => State::Ready,
            Self::Dead { .. } | Self::Exhausted { .. } => State::Dead,
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

    /// How long the event waits for its next attempt.
    pub(crate) fn delay(&self) -> Duration {
        match self {
            Self::Retry { after, .. } | Self::Snoozed { after, .. } => *after,
            _ => Duration::ZERO,
        }
    }
}
