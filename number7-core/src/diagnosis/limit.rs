use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use crate::clock::Clock;

/// How many mismatches are diagnosed in a second: 5.
///
/// A misconfigured sender repeats its fault with every delivery, so a few are enough to see it.
/// A sender that floods the receiver with forged requests gets no more of its time than that.
pub const DIAGNOSES_PER_SECOND: u8 = 5;

/// Counts diagnoses, and refuses those that are too many.
#[derive(Clone)]
pub(crate) struct Limit {
    clock: Clock,
    /// The current second, and in the lowest byte how many it had.
    taken: Arc<AtomicU64>,
}

impl Limit {
    pub(crate) fn new(clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { clock: Arc::new(clock), taken: Arc::default() }
    }

    /// Whether one more diagnosis may be made now.
    pub(crate) fn take(&self) -> bool {
        let now = (self.clock)().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let second = now.as_secs() << 8;
        let most = u64::from(DIAGNOSES_PER_SECOND);
        let take = |taken: u64| match taken ^ second {
            number if number < most => Some(taken + 1),
            number if number > 0xff => Some(second + 1),
            _ => None,
        };
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::Duration};

    use super::*;

    #[test]
    fn each_second_allows_five() {
        let now = Arc::new(Mutex::new(Duration::from_millis(1_999)));
        let clock = Arc::clone(&now);
        let limit = Limit::new(move || SystemTime::UNIX_EPOCH + *clock.lock().unwrap());
        let taken = || (0..300).filter(|_| limit.take()).count();
        assert_eq!(taken(), 5);
        *now.lock().unwrap() += Duration::from_millis(1);
        assert_eq!(taken(), 5);
        // A clock that is set back.
        *now.lock().unwrap() = Duration::ZERO;
        assert_eq!(taken(), 5);
        assert!(!limit.clone().take(), "clones share the count");
    }
}
