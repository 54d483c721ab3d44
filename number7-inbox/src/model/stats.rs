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
    /// Events whose worker died, and which may be the cause. Each worker runs one of them at a time.
    pub quarantined: u64,
    /// Events that workers have claimed. Those of a dead worker count until others rescue them.
    pub running: u64,
    /// Events that are finished and whose keys are known. On SQLite and PostgreSQL, a count of 10,000 or more that
    /// took longer than 25 ms is reused for 100 times as long as it took. A count that takes longer than a second
    /// (some ten million events) is abandoned, and the last known number is returned: 0 if there is none yet.
    pub done: u64,
    /// How old this count of finished events is: zero if they were counted for this call, as always on Redis and in
    /// memory, and [`Duration::MAX`] if they were never counted, because that takes too long.
    pub done_age: Duration,
    /// Dead letters.
    pub dead: u64,
    /// How long the oldest ready or quarantined event has been ready: zero if there is none.
    pub oldest_ready: Duration,
    /// Workers that renewed their lease in the last 30 seconds. Each does so at least every 15 seconds, so
    /// a dead worker is counted for up to 30.
    pub workers: u64,
    /// Jobs that workers have marked as [overdue](crate::Inbox::overdue). If the event comes late, its job
    /// leaves the list at once, and this count within a minute. If it was overdue for more than ten minutes, it may
    /// take a tenth of that time, but at most an hour.
    pub overdue: u64,
    /// How long the oldest of these has been overdue: zero if none is.
    pub oldest_overdue: Duration,
    /// Whether the inbox is [paused](crate::Inbox::paused), so that workers claim nothing.
    pub is_paused: bool,
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
