use std::time::Duration;

use crate::model::entry::State;

/// How much is in an inbox: what [`Inbox::stats`](crate::Inbox::stats) returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Events that wait for a worker.
    pub ready: u64,
    /// Events that wait for their next attempt, at a known time.
    pub scheduled: u64,
    /// Events that wait for a worker that runs them alone.
    pub quarantined: u64,
    /// Events that workers have claimed. Those of a dead worker count until others rescue them.
    pub running: u64,
    /// Events that are finished and whose keys are known. On SQLite and PostgreSQL, if counting them
    /// takes longer than 25 ms, the number is used again for 100 times as long as that took. If it takes
    /// longer than a second, as with some ten million, the number stays what it was, which is 0 at first.
    pub done: u64,
    /// Dead letters.
    pub dead: u64,
    /// How long the oldest ready or quarantined event has been ready: zero if there is none.
    pub oldest_ready: Duration,
    /// Workers that renewed their lease in the last 30 seconds. Each does so at least every 15 seconds, so
    /// a dead worker is counted for up to 30.
    pub workers: u64,
    /// Jobs that workers have marked as [overdue](crate::Inbox::overdue). If an event comes late, its job
    /// leaves this count within a minute, or within a tenth of the time that it has been overdue if that
    /// is longer, but at most an hour. It leaves the list at once.
    pub overdue: u64,
    /// How long the oldest of these has been overdue: zero if none is.
    pub oldest_overdue: Duration,
}

impl Stats {
    /// The number of events in a state.
    #[must_use]
    pub fn of(&self, state: State) -> u64 {
        match state {
            State::Ready => self.ready,
            State::Scheduled => self.scheduled,
            State::Quarantined => self.quarantined,
            State::Running => self.running,
            State::Done => self.done,
            State::Dead => self.dead,
        }
    }
}
