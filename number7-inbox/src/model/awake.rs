//! Whether a worker asks its store for anything.

use std::time::Duration;

use tokio::sync::watch;

/// How long a worker sleeps at most: 1 hour. Then it looks for what it was not notified of: events that other processes
/// have accepted, or were running when they died.
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

    /// Says whether it was asleep.
    pub(crate) fn wakes_up(&self) -> bool {
        !self.0.send_replace(true)
    }

    /// Waits while it is asleep.
    pub(crate) async fn wait(&self) {
        // It fails only if nobody is left who could wake it.
        _ = self.0.subscribe().wait_for(|is_awake| *is_awake).await;
    }
}
