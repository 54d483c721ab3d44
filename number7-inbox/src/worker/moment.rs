//! A time by two clocks.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// A time by two clocks: one stops while the machine sleeps, the other one can be set.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) instant: Instant,
    clock: SystemTime,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { instant: Instant::now(), clock: SystemTime::now() }
    }

    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let clock = self.clock.duration_since(earlier.clock).unwrap_or_default();
        clock.max(self.instant - earlier.instant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If the machine slept, the clock that can be set shows for how long. If that clock is set back, the other one counts.
    #[test]
    fn the_longer_of_two_times_counts() {
        let (second, hour) = (Duration::from_secs(1), Duration::from_hours(1));
        let now = Moment::now();
        let later = |instant, clock| Moment { instant: now.instant + instant, clock };
        assert_eq!(later(second, now.clock + hour).since(&now), hour);
        assert_eq!(later(second, now.clock - hour).since(&now), second);
        assert_eq!(later(hour, now.clock + second).since(&now), hour);
    }
}
