//! Tests of handlers: feature `test-util`.

mod clock;
mod event;
mod idle;

pub use crate::worker::run_summary::RunSummary;
