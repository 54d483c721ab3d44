use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use crate::clock::since_1970;

/// How many mismatches are diagnosed in a second: 5.
///
/// A misconfigured sender repeats its fault with every delivery, so a few diagnoses are enough. A sender that floods the
/// receiver with forged requests gets no more of its time than that.
pub const DIAGNOSES_PER_SECOND: u8 = 5;

/// Counts diagnoses, and refuses those over the limit. The lowest byte is the count in the current second, and the
/// other bytes are that second.
#[derive(Clone, Default)]
pub(super) struct Limit(Arc<AtomicU64>);

impl Limit {
    /// Whether one more diagnosis may be made now.
    pub(super) fn take(&self, now: SystemTime) -> bool {
        let second = since_1970(now).as_secs() << 8;
        let most = u64::from(DIAGNOSES_PER_SECOND);
        let take = |taken: u64| match taken ^ second {
            number if number < most => Some(taken + 1),
            number if number > 0xff => Some(second + 1),
            _ => None,
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_second_allows_five() {
        let limit = Limit::default();
        let taken = |millis| {
            let now = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
            (0..300).filter(|_| limit.take(now)).count()
        };
        assert_eq!(taken(1_999), 5);
        assert_eq!(taken(2_000), 5);
        // A clock that is set back.
        assert_eq!(taken(0), 5);
        assert!(!limit.clone().take(SystemTime::UNIX_EPOCH), "clones share the count");
    }
}
