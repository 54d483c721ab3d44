//! What an adapter for a web framework needs beside [`Verifier`](crate::Verifier) and [`Intake`](crate::Intake).
//! Apps do not need it.

#[cfg_attr(not(feature = "metrics"), path = "adapter/metrics_off.rs")]
pub mod metrics;

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use crate::{Accept, Acceptance, Delivery, FromDelivery, Rejection, RejectionKind};
pub use crate::{
    accounts::Lookup,
    diagnosis::Diagnosing,
    drain::{DRAIN_LIMIT, DRAIN_TIMEOUT, Drain},
    refusal::Refusal,
    refusal_log::{ACCOUNTS_IN_SUMMARY, Noted, RefusalLog, RefusalSummary},
    rejection_bodies::RejectionBodies,
};

/// Reads a `T` from the delivery in a request's extensions, for the extractor `Verified<T>` of a framework.
///
/// # Errors
///
/// [`RejectionKind::MissingMiddleware`] if `found` is `None`, and [`RejectionKind::Untypable`] if
/// [`FromDelivery`] fails.
pub fn extract<T: FromDelivery>(found: Option<&Delivery>) -> Result<T, Rejection> {
    let delivery = found.ok_or(RejectionKind::MissingMiddleware)?;
    let untypable = |error| delivery.refused(RejectionKind::Untypable).with_source(error);
    T::from_delivery(delivery).map_err(untypable)
}

/// Accepts a delivery unless `timeout`, a timer of the framework's runtime, ends first. It is for the route
/// `AcceptNumber7` of a framework.
///
/// # Errors
///
/// Those of [`accept`](trait@Accept#method.accept), and [`RejectionKind::StoredTooSlowly`].
pub async fn accept(
    inbox: &dyn Accept,
    delivery: &Delivery,
    timeout: impl Future<Output = ()>,
) -> Result<Acceptance, Rejection> {
    let (mut accepted, mut timeout) = (pin!(inbox.accept(delivery)), pin!(timeout));
    poll_fn(|cx| {
        if let Poll::Ready(accepted) = accepted.as_mut().poll(cx) {
            return Poll::Ready(accepted);
        }
        let too_slow = || Err(delivery.refused(RejectionKind::StoredTooSlowly));
        timeout.as_mut().poll(cx).map(|()| too_slow())
    })
    .await
}
