use std::{
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

/// Tells the time.
pub(crate) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The clock of the system, which is used if no other clock was given.
#[expect(clippy::disallowed_methods, reason = "each user of a clock can be given another")]
pub(crate) fn system() -> Clock {
    static SYSTEM: LazyLock<Clock> = LazyLock::new(|| Arc::new(SystemTime::now));
    Arc::clone(&SYSTEM)
}

pub(crate) fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
