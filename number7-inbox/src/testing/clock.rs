use std::time::Duration;

use crate::Inbox;

impl Inbox {
    /// For tests: moves the clock of an inbox [in memory](Self::memory) forward, so that a test does not wait for backoffs,
    /// snoozes, pauses of the inbox, overdue jobs or retentions.
    ///
    /// A running worker notices at once. The clock of the inbox also follows tokio's, so it moves with `tokio::time::advance`
    /// as well. Inboxes with [other names](Self::named) have their own clocks. Leases expire by this clock too: do not move it
    /// by a lease or more while a handler runs, unless you want its event to be begun again.
    ///
    /// # Panics
    ///
    /// The inbox is in another store. There, [`run_now`](Self::run_now) makes events ready before their time.
    ///
    /// # Example
    ///
    /// See [`Worker::run_until_idle`](crate::Worker::run_until_idle).
    pub fn advance(&self, by: Duration) {
        assert!(
            self.store.advance(by),
            "only the clock of an inbox in memory can be moved: use run_now"
        );
        self.store.announce();
        self.store.wake().expectations_changed();
    }
}
