//! What waits for jobs.

pub(crate) mod reconcile;
