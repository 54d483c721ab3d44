//! A limited number of places, for unverified bodies and for lookups.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// One of a limited number of places. It is released on drop.
pub(crate) struct HeldPlace(Arc<AtomicUsize>);

impl HeldPlace {
    pub(crate) fn take(held: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        // The count protects no other memory, so no ordering is needed.
        held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < max).then_some(n + 1))
            .ok()
            .map(|_| Self(Arc::clone(held)))
    }
}

impl Drop for HeldPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
