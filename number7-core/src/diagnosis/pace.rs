use std::{future::poll_fn, mem, task::Poll};

/// The work of one step, in hashed bytes: 16 KiB take about ten microseconds if the processor has instructions for
/// SHA-256, and fifty if it does not.
const STEP: usize = 16 * 1024;

/// The cost of each text that is tried, beside the hashed bytes.
pub(super) const EACH: usize = 512;

/// Divides a search into steps. Between two steps its future is pending once.
pub(super) struct Pace {
    left: usize,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { left: STEP }
    }

    /// Call it after, or in the middle of, work that costs as much as hashing this many bytes.
    pub(super) async fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
        if self.left == 0 {
            self.left = STEP;
            let mut has_paused = false;
            poll_fn(|_| match mem::replace(&mut has_paused, true) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            })
            .await;
        }
    }
}
