//! The workers of an inbox, as a store knows them.

#[cfg(any(test, feature = "sqlite", feature = "redis", feature = "memory"))]
use std::collections::HashMap;
use std::time::SystemTime;

/// The most claimed events of a worker that are named.
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
    /// The id of the worker, as in the log and the store. Each worker has its own, and a new one after a restart.
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

    /// The [keys](crate::Entry::key) of these events, the oldest claim first: at most 100 of them.
    #[must_use]
    pub fn running(&self) -> &[String] {
        &self.running
    }
}

/// Puts workers together with their claims, and keeps the order of both. A claim is the name of a worker, and a
/// name for the event.
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
