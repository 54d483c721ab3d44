//! Without the feature `tracing` nothing is logged.

use std::fmt::Display;

use crate::Secret;

#[inline(always)]
pub(super) fn replaced(_: &Secret) {}

#[inline(always)]
pub(super) fn stale(_: &dyn Display) {}

#[inline(always)]
pub(super) fn fresh() {}
