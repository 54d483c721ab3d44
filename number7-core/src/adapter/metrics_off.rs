//! The metrics of adapters, with the feature `metrics`. Without it these functions do nothing.

use std::{sync::Arc, time::Duration};

use crate::{Delivery, Rejection, Secret};

/// Tells the recorder what the metrics mean.
#[inline(always)]
pub fn describe() {}

/// Counts a verified delivery.
#[inline(always)]
pub fn verified(_: &Delivery) {}

/// Counts a refused request, whether the middleware or something behind it refused it.
#[inline(always)]
pub fn refused(_: &Rejection) {}

#[inline(always)]
pub(crate) fn signed_by_replaced(_: &Arc<str>, _: Duration) {}

#[inline(always)]
pub(crate) fn lookup_failed(_: &Rejection) {}

#[inline(always)]
pub(crate) fn stale_since(_: &Secret, _: Duration) {}
