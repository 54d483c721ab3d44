use std::{future::poll_fn, mem, task::Poll};

/// How much work is done in one step: as much as it takes to hash 16 KiB, which is about ten microseconds
/// where the processor has instructions for it, and fifty where it has not.
const STEP: usize = 16 * 1024;

/// What work costs beside the bytes that are hashed, for each text that is tried.
pub(super) const EACH: usize = 512;

/// Divides a search into steps: between two of them its future is pending once.
pub(super) struct Pace {
    left: usize,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { left: STEP }
    }

    /// Call it after work that costs as much as to hash so many bytes, or in the midst of it.
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
