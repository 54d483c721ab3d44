use std::time::{Duration, SystemTime};

use crate::model::entry::{Entry, State};

/// How much is in an inbox: what [`Inbox::stats`](crate::Inbox::stats) returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Events that wait for a worker.
    pub ready: u64,
    /// Events that wait for their next attempt, at a known time.
    pub scheduled: u64,
    /// Events whose worker died, and that may be the cause. Each worker runs one of them at a time.
    pub quarantined: u64,
    /// Events that workers have claimed. Those of a dead worker count until others rescue them.
    pub running: u64,
    /// Events that are finished and whose keys are known. On SQLite and PostgreSQL, a count of 10,000 or more that took longer
    /// than 25 ms is reused for 100 times as long as it took. If a count takes longer than a second (some ten million events),
    /// it is abandoned, and this is the last known number: 0 if there is none yet.
    pub done: u64,
    /// How old this count of finished events is. It is zero if they were counted for this call, as always on Redis and in
    /// memory, and [`Duration::MAX`] if they were never counted, because that takes too long.
    pub done_age: Duration,
    /// Dead letters.
    pub dead: u64,
    /// How long the oldest ready or quarantined event has been ready: zero if there is none.
    pub oldest_ready: Duration,
    /// Workers that renewed their lease in the last 30 seconds. Each does so at least every 15 seconds, so
    /// a dead worker is counted for up to 30.
    pub workers: u64,
    /// Jobs that workers have marked as [overdue](crate::Inbox::overdue). If the event arrives late, its job leaves the list at
    /// once, and this count within a minute. If the job was overdue for more than ten minutes, that may take a tenth of the
    /// time for which it was overdue, but at most an hour.
    pub overdue: u64,
    /// How long the oldest of these has been overdue: zero if none is.
    pub oldest_overdue: Duration,
    /// Whether the inbox is [paused](crate::Inbox::paused), so that workers claim nothing.
    pub is_paused: bool,
    /// How many [accounts](crate::AccountInbox::pause) of the inbox are paused.
    pub paused_accounts: u64,
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

/// How much of one account is in an inbox: what [`AccountInbox::stats`](crate::AccountInbox::stats) returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccountStats {
    /// Events that wait for a worker.
    pub ready: u64,
    /// Events that wait for their next attempt, at a known time.
    pub scheduled: u64,
    /// Events whose worker died, and that may be the cause.
    pub quarantined: u64,
    /// Events that workers have claimed.
    pub running: u64,
    /// Events that are finished and whose keys are known.
    pub done: u64,
    /// Dead letters.
    pub dead: u64,
    /// How long the oldest ready or quarantined event has been ready: zero if there is none.
    pub oldest_ready: Duration,
    /// Whether the account is [paused](crate::AccountInbox::pause).
    pub is_paused: bool,
}

impl AccountStats {
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

    pub(crate) fn count(&mut self, state: State, entries: &[Entry], now: SystemTime) {
        let count = match state {
            State::Ready => &mut self.ready,
            State::Scheduled => &mut self.scheduled,
            State::Quarantined => &mut self.quarantined,
            State::Running => &mut self.running,
            State::Done => &mut self.done,
            State::Dead => &mut self.dead,
        };
        *count += entries.len() as u64;
        if matches!(state, State::Ready | State::Quarantined) {
            let ages = entries.iter().filter_map(|entry| now.duration_since(entry.since()).ok());
            self.oldest_ready = ages.fold(self.oldest_ready, Duration::max);
        }
    }
}
