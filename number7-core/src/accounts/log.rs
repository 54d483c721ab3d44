//! What the operator gets to see of an outage that no sender notices, with the feature `tracing`.

use crate::{Account, Rejection};

pub(super) fn failing(account: &Account, rejection: &Rejection) {
    tracing::warn!(
        target: "number7", %account,
        "an account cannot be looked up, and its last secret stays in use: {}", rejection.log_text()
    );
}
