//! Whether a worker asks its store for anything.

use std::time::Duration;

use tokio::sync::watch;

/// How long a worker sleeps at most: 1 hour. Then it looks for events that it was not notified of, because other processes
/// accepted them, or died while they ran them.
pub(crate) const LONGEST_SLEEP: Duration = Duration::from_secs(3_600);

/// A worker that [may sleep](crate::InboxOptions::sleep_after) does so while nothing is left to do.
pub(crate) struct Awake(watch::Sender<bool>);

impl Default for Awake {
    fn default() -> Self {
        Self(watch::Sender::new(true))
    }
}

impl Awake {
    pub(crate) fn falls_asleep(&self) {
        self.0.send_replace(false);
    }

    /// Returns whether it was asleep.
    pub(crate) fn wakes_up(&self) -> bool {
        !self.0.send_replace(true)
    }

    /// Waits while it is asleep.
    pub(crate) async fn wait(&self) {
        // It fails only if nobody who could wake it is left.
        _ = self.0.subscribe().wait_for(|is_awake| *is_awake).await;
    }
}
