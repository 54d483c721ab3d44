//! Without the feature `tracing` nothing is logged.

use crate::{Account, Rejection};

#[inline(always)]
pub(super) fn failing(_: &Account, _: &Rejection) {}
