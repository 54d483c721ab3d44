//! Tests of handlers: feature `test-util`.

mod clock;
mod idle;

pub use crate::worker::run_summary::RunSummary;
