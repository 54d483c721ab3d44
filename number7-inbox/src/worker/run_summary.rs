use crate::model::end::Outcome;

/// What a worker did: how many attempts ended in each way.
///
/// Attempts that did not count, because their lease was lost, are not included.
#[cfg_attr(not(feature = "test-util"), expect(unreachable_pub, reason = "only tests see it"))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunSummary {
    /// The event is done.
    pub done: u64,
    /// The attempt failed, and the event is tried again after its backoff.
    pub retried: u64,
    /// The handler [snoozed](crate::Failure::snooze) the event.
    pub snoozed: u64,
    /// The event is a [dead letter](crate::State::Dead).
    pub dead: u64,
}

impl RunSummary {
    pub(crate) fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Done => self.done += 1,
            Outcome::Retry { .. } => self.retried += 1,
            Outcome::Snoozed { .. } => self.snoozed += 1,
            Outcome::Dead { .. } | Outcome::Exhausted { .. } => self.dead += 1,
            Outcome::Interrupted => {}
        }
    }
}
