//! No wait is endless: if something does not happen, its test fails, and says what it waited for.

use std::{future::Future, time::Duration};

use tokio::time::timeout;

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long a statement may take that goes through many rows.
pub const LONG_PATIENCE: Duration = Duration::from_secs(600);

/// Waits for a future. The name is for the failure.
///
/// # Panics
///
/// If it takes longer than [`PATIENCE`].
pub async fn in_time<T>(what: &str, waits: impl Future<Output = T>) -> T {
    within(PATIENCE, what, waits).await
}

/// Waits for a future. The name is for the failure.
///
/// # Panics
///
/// If it takes longer than this.
pub async fn within<T>(limit: Duration, what: &str, waits: impl Future<Output = T>) -> T {
    let waited = timeout(limit, waits).await;
    waited.unwrap_or_else(|_| panic!("not within {limit:?}: {what}"))
}
