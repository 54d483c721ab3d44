//! How an inbox is opened.

use std::time::Duration;

/// The schema of an inbox on PostgreSQL, unless another one is set: `number7`.
pub const DEFAULT_SCHEMA: &str = "number7";

/// How soon an idle worker looks again for events that another process has accepted: after 50 milliseconds, so that
/// they are begun within 100 even if nothing tells it of them.
pub const DEFAULT_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// What an inbox does when it is opened, beside what its URL says.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Makes the tables that are missing, and upgrades those that are older.
    pub(crate) migrate: bool,
    /// The schema of PostgreSQL.
    pub(crate) schema: String,
    /// How soon an idle worker asks again.
    pub(crate) poll_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let schema = DEFAULT_SCHEMA.to_owned();
        Self { migrate: true, schema, poll_interval: DEFAULT_POLL_INTERVAL }
    }
}
