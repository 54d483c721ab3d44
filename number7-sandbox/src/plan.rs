//! The rate limit of a plan.

use std::time::{Duration, SystemTime};

/// Counts the requests of the only key, in windows of equal length. A window begins with the first request after the previous
/// one, at a whole second, because `X-RateLimit-Reset` has whole seconds.
#[derive(Debug)]
pub(crate) struct Window {
    limit: u32,
    length: Duration,
    used: u32,
    reset: SystemTime,
}

/// The values of the three headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    pub(crate) limit: u32,
    pub(crate) remaining: u32,
    /// Unix seconds.
    pub(crate) reset: u64,
    pub(crate) is_exceeded: bool,
}

impl Window {
    pub(crate) fn new(limit: u32, length: Duration) -> Self {
        Self { limit, length, used: 0, reset: SystemTime::UNIX_EPOCH }
    }

    pub(crate) fn count(&mut self, now: SystemTime) -> Quota {
        if now >= self.reset {
            let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            self.reset = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + self.length;
            self.used = 0;
        }
        let is_exceeded = self.used >= self.limit;
        self.used += u32::from(!is_exceeded);
        let reset = self.reset.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Quota {
            limit: self.limit,
            remaining: self.limit - self.used,
            reset: reset.as_secs(),
            is_exceeded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_begins_with_its_first_request() {
        let mut window = Window::new(2, Duration::from_secs(60));
        let mut at = |seconds| {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds);
            let quota = window.count(now);
            (quota.remaining, quota.reset, quota.is_exceeded)
        };
        assert_eq!(at(100.5), (1, 160, false));
        assert_eq!(at(101.0), (0, 160, false));
        assert_eq!(at(159.9), (0, 160, true));
        assert_eq!(at(160.0), (1, 220, false));
    }
}
