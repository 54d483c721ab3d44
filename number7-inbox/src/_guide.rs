//! The guide. It has no code, only pages:
//!
//! - [`promises`]: what a 200 promises, and what happens if something fails
//! - [`workers`]: what a worker promises, what a handler can say, and what can be set
//! - [`exactly_once`]: an attempt that ends in the transaction of its effect
//! - [`overdue`]: jobs whose webhook never comes
//! - [`stores`]: which store to choose, and how to run it
//! - [`operating`]: what an operator sees and does
//! - [`metrics`]: metrics, spans and traces
//! - [`speed`]: how many events a second

#[doc = include_str!("../guide/promises.md")]
pub mod promises {}

#[doc = include_str!("../guide/workers.md")]
pub mod workers {}

#[doc = include_str!("../guide/exactly_once.md")]
pub mod exactly_once {}

#[doc = include_str!("../guide/overdue.md")]
pub mod overdue {}

#[doc = include_str!("../guide/stores.md")]
pub mod stores {}

#[doc = include_str!("../guide/operating.md")]
pub mod operating {}

#[doc = include_str!("../guide/metrics.md")]
pub mod metrics {}

#[doc = include_str!("../guide/speed.md")]
pub mod speed {}
