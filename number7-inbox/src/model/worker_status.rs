//! The workers of an inbox, as a store knows them.

#[cfg(any(test, feature = "sqlite", feature = "redis", feature = "memory"))]
use std::collections::HashMap;
use std::time::SystemTime;

/// How many of the events that a worker has claimed are named at most.
pub(crate) const MOST_NAMED: usize = 100;

/// A worker of an inbox, in any process: what [`Inbox::workers`](crate::Inbox::workers) returns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStatus {
    pub(crate) name: String,
    pub(crate) last_heartbeat: SystemTime,
    pub(crate) claimed: u64,
    pub(crate) running: Vec<String>,
}

impl WorkerStatus {
    /// The id of the worker, as the log and the store have it. Each worker has another one, also after a restart.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When it last renewed its lease, by the store's clock.
    #[must_use]
    pub fn last_heartbeat(&self) -> SystemTime {
        self.last_heartbeat
    }

    /// How many events it has claimed: their handlers are running or about to begin.
    #[must_use]
    pub fn claimed(&self) -> u64 {
        self.claimed
    }

    /// The [keys](crate::Entry::key) of these events, of those first that were claimed first: at most 100 of them.
    #[must_use]
    pub fn running(&self) -> &[String] {
        &self.running
    }
}

/// Workers by when they were last heard of, with what they have claimed: each claim is its worker and something that
/// stands for its event, those first that were claimed first.
#[cfg(any(test, feature = "sqlite", feature = "redis", feature = "memory"))]
pub(crate) fn with_claims(
    workers: impl IntoIterator<Item = (String, SystemTime)>,
    claims: impl IntoIterator<Item = (String, String)>,
) -> Vec<WorkerStatus> {
    let mut claimed = HashMap::<String, (u64, Vec<String>)>::new();
    for (worker, event) in claims {
        let (count, events) = claimed.entry(worker).or_default();
        *count += 1;
        if events.len() < MOST_NAMED {
            events.push(event);
        }
    }
    let status = |(name, last_heartbeat): (String, SystemTime)| {
        let (claimed, running) = claimed.remove(&name).unwrap_or_default();
        WorkerStatus { name, last_heartbeat, claimed, running }
    };
    workers.into_iter().map(status).collect()
}
