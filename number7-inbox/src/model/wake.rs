//! Wakes the workers of a process before they would look for events themselves.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// One for each inbox in a process.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    events: Notify,
    expectations: Notify,
    overdue: Notify,
    hears_others: AtomicBool,
}

impl Wake {
    /// Events are ready: wakes one worker. If it cannot take them all, it wakes the next one.
    pub(crate) fn events_are_ready(&self) {
        self.events.notify_one();
    }

    pub(crate) async fn by_events(&self) {
        self.events.notified().await;
    }

    /// A job is expected.
    pub(crate) fn expectations_changed(&self) {
        self.expectations.notify_one();
    }

    pub(crate) async fn by_expectations(&self) {
        self.expectations.notified().await;
    }

    /// A job is overdue, and can be fetched.
    pub(crate) fn jobs_are_overdue(&self) {
        self.overdue.notify_one();
    }

    pub(crate) async fn by_overdue_jobs(&self) {
        self.overdue.notified().await;
    }

    /// Whether it is also notified of events that other processes accept. If so, an idle worker need not look for them often.
    pub(crate) fn hears_others(&self) -> bool {
        self.hears_others.load(Ordering::Relaxed)
    }

    #[cfg_attr(not(test), allow(dead_code))]
    pub(crate) fn set_hears_others(&self, hears: bool) {
        self.hears_others.store(hears, Ordering::Relaxed);
    }
}
