//! What adapters count, with the feature `metrics`. Without it these functions do nothing.

use crate::{Delivery, Rejection};

/// A delivery was verified.
#[inline(always)]
pub fn verified(_: &Delivery) {}

/// A request is refused, by the middleware or after it.
#[inline(always)]
pub fn refused(_: &Rejection) {}
