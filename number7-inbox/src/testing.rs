//! Tests of handlers: feature `test-util`.
//!
//! [`AcceptedEvent::for_test`](crate::AcceptedEvent::for_test) makes an event to call a handler with.
//! [`Worker::run_until_idle`](crate::Worker::run_until_idle) runs a worker without any wait, and
//! [`Inbox::advance`](crate::Inbox::advance) moves the clock of its inbox. [`assert_worker`] shows whether the effects of a
//! handler happen exactly once, no matter what dies and when.

mod call;
mod clock;
mod event;
mod idle;
mod report;
mod rules;
#[cfg(test)]
mod tests;
mod trial;
mod trials;

pub use self::{
    report::{Finding, Report},
    trials::{Trials, assert_worker},
};
pub use crate::worker::run_summary::RunSummary;
