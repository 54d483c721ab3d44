//! Durations and times in the units of the stores.

use std::time::{Duration, SystemTime};

/// 530 years: no event has a later time than the year 2500, and every store can count that far from now.
const LONGEST: i64 = 16_725_225_600_000;

/// Rounded up, so that nothing is ready, or over, before its time.
#[cfg(any(feature = "sqlite", feature = "redis"))]
pub(crate) fn millis(duration: Duration) -> i64 {
    bounded(duration.as_nanos().div_ceil(1_000_000))
}

/// Rounded down, as clocks are.
pub(crate) fn whole_millis(duration: Duration) -> i64 {
    bounded(duration.as_millis())
}

fn bounded(millis: u128) -> i64 {
    millis.try_into().unwrap_or(LONGEST).min(LONGEST)
}

/// Zero if it is negative.
pub(crate) fn of_millis(millis: i64) -> Duration {
    Duration::from_millis(millis.try_into().unwrap_or_default())
}

/// Zero if it is negative.
pub(crate) fn of_micros(micros: i64) -> Duration {
    Duration::from_micros(micros.try_into().unwrap_or_default())
}

/// Since the epoch.
pub(crate) fn millis_of_time(time: SystemTime) -> i64 {
    whole_millis(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

pub(crate) fn time_of_millis(since_epoch: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + of_millis(since_epoch)
}
