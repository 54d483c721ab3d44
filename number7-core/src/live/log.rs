//! What is logged about a change, with the feature `tracing`.

use std::fmt::Display;

use crate::Secret;

pub(super) fn replaced(secret: &Secret) {
    tracing::info!(target: "number7", secret = secret.fingerprint(), "the webhook secret is replaced");
}

pub(super) fn stale(error: &dyn Display) {
    tracing::warn!(
        target: "number7",
        "the webhook secret cannot be read, and the last one stays in use: {error}"
    );
}

pub(super) fn fresh() {
    tracing::info!(target: "number7", "the webhook secret can be read again");
}
