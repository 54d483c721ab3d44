//! How an inbox is opened.

use std::time::Duration;

/// The schema of an inbox on PostgreSQL, unless another one is set: `number7`.
pub const DEFAULT_SCHEMA: &str = "number7";

/// How soon an idle worker looks again for events that another process has accepted: after 50 milliseconds. So it begins them
/// within 100 even without a notification.
pub const DEFAULT_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How many connections to PostgreSQL acceptance and the methods for operators share: 10, the default of pools of `sqlx`.
pub const DEFAULT_CONNECTIONS: u32 = 10;

/// How long PostgreSQL may take for one statement: 3.5 seconds, half a second less than
/// [`STORE_TIMEOUT`](crate::STORE_TIMEOUT), so that the server gives up first.
pub const DEFAULT_STATEMENT_TIMEOUT: Duration = Duration::from_millis(3_500);

/// How an inbox is opened, beside what its URL says.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Creates missing tables, and upgrades older ones.
    pub(crate) migrate: bool,
    /// The schema of PostgreSQL.
    pub(crate) schema: String,
    pub(crate) polling: Polling,
    /// The connections of acceptance to PostgreSQL.
    pub(crate) connections: u32,
    /// For each statement on PostgreSQL.
    pub(crate) statement_timeout: Duration,
}

/// How often an idle worker asks its store for events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Polling {
    pub(crate) interval: Duration,
    /// After how long it stops asking.
    pub(crate) sleep_after: Option<Duration>,
}

impl Default for Polling {
    fn default() -> Self {
        Self { interval: DEFAULT_POLL_INTERVAL, sleep_after: None }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            migrate: true,
            schema: DEFAULT_SCHEMA.to_owned(),
            polling: Polling::default(),
            connections: DEFAULT_CONNECTIONS,
            statement_timeout: DEFAULT_STATEMENT_TIMEOUT,
        }
    }
}
