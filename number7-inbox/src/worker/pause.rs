use std::sync::Arc;

use tokio::sync::watch;

/// Pauses a worker, and resumes it: made by [`Worker::pause`](crate::Worker::pause).
///
/// A paused worker claims no events. It finishes what is running, and renews its lease. Other workers are not paused, even in
/// the same process. Clones pause the same worker, and dropping them changes nothing.
#[derive(Clone, Debug)]
pub struct Pause(Arc<watch::Sender<bool>>);

impl Pause {
    pub(crate) fn new() -> (Self, watch::Receiver<bool>) {
        let (sender, receiver) = watch::channel(false);
        (Self(Arc::new(sender)), receiver)
    }

    /// From now on the worker claims nothing, unless a claim is already on its way. What is running continues.
    pub fn pause(&self) {
        self.0.send_replace(true);
    }

    /// The worker claims events again, at once.
    pub fn resume(&self) {
        self.0.send_replace(false);
    }

    /// Whether it is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        *self.0.borrow()
    }
}
