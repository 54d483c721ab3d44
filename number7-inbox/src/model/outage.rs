//! How often the log says that something still fails.

use std::time::Duration;

use tokio::time::Instant;

/// How often this is logged: each minute.
pub(crate) const LOG_AGAIN: Duration = Duration::from_secs(60);

/// A time during which something fails.
#[derive(Default)]
pub(crate) struct Outage(Option<Times>);

struct Times {
    since: Instant,
    logged: Instant,
}

impl Outage {
    /// It fails. Returns how long it has failed, if that should be logged now: at first, and each minute.
    pub(crate) fn goes_on(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let Some(Times { since, logged }) = &mut self.0 else {
            self.0 = Some(Times { since: now, logged: now });
            return Some(Duration::ZERO);
        };
        if now - *logged < LOG_AGAIN {
            return None;
        }
        *logged = now;
        Some(now - *since)
    }

    /// It works. Returns whether it failed before.
    pub(crate) fn ends(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// When it began to fail.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.0.as_ref().map(|times| times.since)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_told_at_once_and_each_minute() {
        let (mut outage, second) = (Outage::default(), Duration::from_secs(1));
        for _ in 0..2 {
            assert!(!outage.ends());
            assert_eq!(outage.goes_on(), Some(Duration::ZERO));
            for minute in 1..=2 {
                advance(LOG_AGAIN - second).await;
                assert_eq!(outage.goes_on(), None);
                advance(second).await;
                assert_eq!(outage.goes_on(), Some(minute * LOG_AGAIN));
            }
            assert!(outage.ends());
        }
    }
}
