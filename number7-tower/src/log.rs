//! What the operator gets to see, with the feature `tracing`.

use number7_core::{Acceptance, Delivery, Rejection};
pub(crate) use tracing::Span;

pub(crate) fn refused(rejection: &Rejection) {
    tracing::warn!(
        target: "number7", kind = ?rejection.kind(),
        diagnosis = rejection.diagnosis().map(tracing::field::display),
        "refused a request: {rejection}"
    );
}

pub(crate) fn accepted(acceptance: Acceptance) {
    tracing::debug!(target: "number7", ?acceptance, "accepted an event");
}

pub(crate) fn verified(delivery: &Delivery) -> Span {
    tracing::info_span!(target: "number7", "delivery", signed_by = delivery.signed_by())
}
