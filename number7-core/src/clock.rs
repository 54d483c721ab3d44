use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

/// What time it is. The core keeps no time: the user passes a clock in, and a test another.
pub(crate) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

pub(crate) fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
