//! The count of unverified bodies that are waited for.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// One place among the bodies that are waited for, given back on drop.
pub(crate) struct HeldBody(Arc<AtomicUsize>);

impl HeldBody {
    pub(crate) fn take(held: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        // A count guards no other memory, so no ordering is needed.
        held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < max).then_some(n + 1))
            .ok()
            .map(|_| Self(Arc::clone(held)))
    }
}

impl Drop for HeldBody {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
