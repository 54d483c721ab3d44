//! What `measure.rs` does, without the feature `metrics`: nothing.

use std::time::Duration;

use crate::model::stats::Stats;

pub(crate) fn acceptance(_: &'static str, _: Duration) {}

pub(crate) fn first_attempt(_: std::time::SystemTime) {}

pub(crate) fn attempt(_: &'static str, _: Duration) {}

pub(crate) fn fetched(_: &'static str) {}

pub(crate) fn stats(_: &str, _: &Stats) {}
