//! How a worker is configured, and the defaults.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use crate::model::{claim::EventId, expectation::Rest, options::Polling};

/// How many events one worker runs at a time: 16.
///
/// Handlers of documents mostly wait for databases and other services, so a few more than the number of cores keep a machine
/// busy. A worker with many more would keep events from other machines.
pub const DEFAULT_CONCURRENCY: usize = 16;

/// How often an event is tried: 16 times.
///
/// With the default backoff the last attempt is more than an hour after the first, so that an
/// outage of an hour makes no dead letters.
pub const DEFAULT_ATTEMPTS: u32 = 16;

/// How long a failed event waits after its first attempt: 1 second, doubled after each. Up to a quarter is added to that.
pub const DEFAULT_BACKOFF: Duration = Duration::from_secs(1);

/// The longest that a failed event waits: 10 minutes, before the quarter that may be added to it.
pub const DEFAULT_MAX_BACKOFF: Duration = Duration::from_secs(600);

/// How long a silent worker keeps its events: 20 seconds.
///
/// A worker renews its lease at least four times within that time, and at least every 15 seconds, whatever its handlers do. So
/// an event whose worker crashed waits this long. And a worker may hang this long, for example while its machine is paused,
/// before its events are handled a second time.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(20);

/// The shortest lease: 4 seconds, which is as long as one operation on the store may take.
pub const MIN_LEASE: Duration = Duration::from_secs(4);

/// The longest lease: 1 hour. A worker that crashed has restarted by then.
pub const MAX_LEASE: Duration = Duration::from_secs(3_600);

/// How long the key of a finished event stays known: 7 days.
///
/// The vendor retries up to three times with exponential backoff, and does not publish the delays. Webhook senders that do
/// publish them retry for three days, and a week is longer.
pub const DEFAULT_RETENTION: Duration = Duration::from_hours(7 * 24);

/// How many overdue jobs are fetched at a time: 1. Fetching is a fallback, and should leave the rate limit to the
/// app's own requests.
pub const DEFAULT_FETCHES_AT_ONCE: usize = 1;

/// How many overdue jobs are fetched in a minute: 10. The vendor's smallest plan allows 30 requests a minute for each API key,
/// so two thirds are left for the app.
pub const DEFAULT_FETCHES_PER_MINUTE: u32 = 10;

/// How long to wait before the vendor is asked again about a job that is not finished: 20 seconds, which is how often the
/// vendor wants to be asked. The time doubles after each fetch.
pub const DEFAULT_FETCH_BACKOFF: Duration = Duration::from_secs(20);

/// The longest wait between two fetches of a job: 1 hour.
pub const DEFAULT_MAX_FETCH_BACKOFF: Duration = Duration::from_secs(3_600);

/// The longest wait that can be set: 30 days. Not every store can count longer ones.
pub(crate) const LONGEST_REST: Duration = Duration::from_hours(30 * 24);

/// The shortest wait between two fetches of a job.
pub(crate) const SHORTEST_FETCH_REST: Duration = Duration::from_secs(1);

const HEARTBEATS_PER_LEASE: u32 = 4;

/// Well below the 30 seconds after which [`Stats`](crate::Stats) no longer counts a silent worker.
const LONGEST_HEARTBEAT: Duration = Duration::from_secs(15);

/// The longest pause between sweeps. With a short retention it is a quarter of that.
const LONGEST_SWEEP_INTERVAL: Duration = Duration::from_secs(600);

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) polling: Polling,
    pub(crate) concurrency: usize,
    pub(crate) attempts: u32,
    pub(crate) first_backoff: Duration,
    pub(crate) max_backoff: Duration,
    pub(crate) lease: Duration,
    pub(crate) retention: Duration,
    pub(crate) dead_retention: Option<Duration>,
    pub(crate) payload_retention: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) shutdown_timeout: Option<Duration>,
    pub(crate) fetches_at_once: usize,
    pub(crate) fetches_per_minute: u32,
    pub(crate) fetch_rest: Rest,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            polling: Polling::default(),
            concurrency: DEFAULT_CONCURRENCY,
            attempts: DEFAULT_ATTEMPTS,
            first_backoff: DEFAULT_BACKOFF,
            max_backoff: DEFAULT_MAX_BACKOFF,
            lease: DEFAULT_LEASE,
            retention: DEFAULT_RETENTION,
            dead_retention: None,
            payload_retention: None,
            timeout: None,
            shutdown_timeout: None,
            fetches_at_once: DEFAULT_FETCHES_AT_ONCE,
            fetches_per_minute: DEFAULT_FETCHES_PER_MINUTE,
            fetch_rest: Rest { first: DEFAULT_FETCH_BACKOFF, longest: DEFAULT_MAX_FETCH_BACKOFF },
        }
    }
}

impl Settings {
    pub(crate) fn heartbeat(&self) -> Duration {
        (self.lease / HEARTBEATS_PER_LEASE).min(LONGEST_HEARTBEAT)
    }

    pub(crate) fn sweep_interval(&self) -> Duration {
        let others = [self.dead_retention, self.payload_retention];
        let shortest = others.into_iter().flatten().fold(self.retention, Duration::min);
        (shortest / 4).clamp(Duration::from_secs(1), LONGEST_SWEEP_INTERVAL)
    }

    /// How long an event waits after an attempt: the backoff, and up to a quarter more, so that events that failed together are
    /// not retried together. The same attempt always gets the same share of the quarter.
    pub(crate) fn backoff(&self, attempt: u32, event: EventId) -> Duration {
        let factor = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        let rest = self.first_backoff.saturating_mul(factor).min(self.max_backoff);
        let mut hasher = DefaultHasher::new();
        (event, attempt).hash(&mut hasher);
        let share = u32::try_from(hasher.finish() % 1_000).unwrap_or_default();
        rest.saturating_add(rest / 4_000 * share).min(LONGEST_REST)
    }

    /// After how many attempts an event whose worker died is quarantined. From then on it runs alone. So an event that kills
    /// its process uses up no more than half of the attempts of the events that happen to run beside it.
    pub(crate) fn quarantine_after(&self) -> u32 {
        self.attempts / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(first: u64, longest: u64) -> Settings {
        Settings {
            first_backoff: Duration::from_secs(first),
            max_backoff: Duration::from_secs(longest),
            ..Settings::default()
        }
    }

    #[test]
    fn the_backoff_doubles_up_to_its_longest() {
        let tries = [1, 2, 3, 10, 11, 16, 33, 64, u32::MAX];
        for (attempt, rest) in tries.into_iter().zip([1, 2, 4, 512, 600, 600, 600, 600, 600]) {
            let rest = Duration::from_secs(rest);
            let backoff = settings(1, 600).backoff(attempt, EventId(7));
            assert!((rest..=rest * 5 / 4).contains(&backoff), "{attempt}: {backoff:?}");
        }
        assert_eq!(settings(0, 600).backoff(9, EventId(7)), Duration::ZERO);
    }

    /// Each tenth of the quarter has about a tenth of them.
    #[test]
    fn what_failed_together_comes_back_over_a_quarter_of_its_backoff() {
        let mut tenths = [0; 10];
        for event in 0..4_000 {
            let more = settings(8, 600).backoff(1, EventId(event)) - Duration::from_secs(8);
            tenths[usize::try_from(more.as_millis() / 200).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|events| (300..500).contains(events)), "{tenths:?}");
    }

    #[test]
    fn the_default_backoff_rides_out_an_hour() {
        let rest =
            (1..DEFAULT_ATTEMPTS).map(|attempt| settings(1, 600).backoff(attempt, EventId(7)));
        assert!(rest.sum::<Duration>() > Duration::from_secs(3_600));
    }

    #[test]
    fn the_default_retention_is_longer_than_senders_retry() {
        assert!(DEFAULT_RETENTION > 2 * Duration::from_hours(3 * 24));
    }

    #[test]
    fn the_lease_and_the_retentions_say_how_often_a_worker_looks() {
        let of_lease = |lease| Settings { lease, ..Settings::default() }.heartbeat().as_secs();
        assert_eq!([MIN_LEASE, DEFAULT_LEASE, MAX_LEASE].map(of_lease), [1, 5, 15]);
        let of_retentions = |(done, dead, payload): (u64, Option<u64>, Option<u64>)| {
            let retention = Duration::from_secs(done);
            let [dead_retention, payload_retention] =
                [dead, payload].map(|retention| retention.map(Duration::from_secs));
            Settings { retention, dead_retention, payload_retention, ..Settings::default() }
                .sweep_interval()
                .as_secs()
        };
        let retentions = [
            (40, None, None),
            (40, Some(80), Some(80)),
            (40, Some(20), None),
            (40, Some(20), Some(8)),
            (0, None, None),
            (10_000, None, None),
        ];
        assert_eq!(retentions.map(of_retentions), [10, 10, 5, 2, 1, 600]);
    }
}
