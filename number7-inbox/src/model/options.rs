//! How an inbox is opened.

/// What an inbox does when it is opened, beside what its URL says.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Makes the tables that are missing, and upgrades those that are older.
    pub(crate) migrate: bool,
    /// The schema of PostgreSQL.
    pub(crate) schema: String,
}

/// The schema of an inbox on PostgreSQL, unless another one is set: `number7`.
pub const DEFAULT_SCHEMA: &str = "number7";

impl Default for Options {
    fn default() -> Self {
        Self { migrate: true, schema: DEFAULT_SCHEMA.to_owned() }
    }
}
