//! No wait without an end: what does not happen fails its test, and says what was waited for.

use std::{future::Future, time::Duration};

use tokio::time::timeout;

/// How long anything may take on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long a statement may take that goes through many rows.
pub const LONG_PATIENCE: Duration = Duration::from_secs(600);

/// Waits for what is named.
///
/// # Panics
///
/// If it takes longer than [`PATIENCE`].
pub async fn in_time<T>(what: &str, waits: impl Future<Output = T>) -> T {
    within(PATIENCE, what, waits).await
}

/// Waits for what is named.
///
/// # Panics
///
/// If it takes longer than this.
pub async fn within<T>(limit: Duration, what: &str, waits: impl Future<Output = T>) -> T {
    let waited = timeout(limit, waits).await;
    waited.unwrap_or_else(|_| panic!("not within {limit:?}: {what}"))
}
