//! The metrics of adapters, on the facade [`metrics`](https://docs.rs/metrics).
//!
//! Without the feature `metrics` the functions do nothing.
//!
//! | metric | kind | labels | |
//! | --- | --- | --- | --- |
//! | `number7_deliveries_total` | counter | `outcome`: `verified` or `refused`; `kind`: of what is refused, the [name](crate::RejectionKind::name) of the reason; `secret`: of what is verified, the name of the secret | every request once |
//! | `number7_answers_refused_total` | counter | `kind` | verified deliveries that the handler refused all the same: no event (400), or not stored (503) |
//! | `number7_failed_lookups_total` | counter | `kind`: `lookup_failed` or `lookup_too_slow` | [lookups](crate::Accounts) that failed, whether the account was served with its last answer or the request was refused |
//! | `number7_replaced_secret_signed_timestamp_seconds` | gauge | `secret` | when a [replaced](crate::LiveVerifier::replace) secret signed last |
//! | `number7_secret_stale_since_timestamp_seconds` | gauge | `secret`: the [fingerprint](crate::Secret::fingerprint) of the last one that was read | since when the secret that is [followed](crate::LiveVerifier::follow) cannot be read; 0 if it can |
//!
//! The values of the labels come from this crate and from the names of your secrets, never from a request, so no
//! sender can create many of them.

use std::{sync::Arc, time::Duration};

use metrics::{Unit, describe_counter, describe_gauge};

use crate::{Delivery, Rejection, RejectionKind, Secret};

/// Tells the recorder what the metrics mean, for example for the `# HELP` of Prometheus. The adapters call it when a middleware
/// is created, so install the recorder before that.
pub fn describe() {
    for (name, help) in [
        (
            "number7_deliveries_total",
            "Requests, by whether they were verified or why they were refused",
        ),
        (
            "number7_answers_refused_total",
            "Verified deliveries that the handler refused: no event, or not stored",
        ),
        (
            "number7_failed_lookups_total",
            "Lookups of accounts that failed, also if the last answer was used",
        ),
    ] {
        describe_counter!(name, Unit::Count, help);
    }
    for (name, help) in [
        (
            "number7_replaced_secret_signed_timestamp_seconds",
            "When a replaced secret signed last, in seconds since 1970",
        ),
        (
            "number7_secret_stale_since_timestamp_seconds",
            "Since when a followed secret cannot be read, in seconds since 1970: 0 if it can",
        ),
    ] {
        describe_gauge!(name, Unit::Seconds, help);
    }
}

/// Records that a [replaced](crate::LiveVerifier::replace) secret signed.
pub(crate) fn signed_by_replaced(name: &Arc<str>, since_1970: Duration) {
    let secret = metrics::SharedString::from_shared(Arc::clone(name));
    metrics::gauge!("number7_replaced_secret_signed_timestamp_seconds", "secret" => secret)
        .set(since_1970.as_secs_f64());
}

/// Counts a failed lookup, even if the last answer is used instead.
pub(crate) fn lookup_failed(rejection: &Rejection) {
    metrics::counter!("number7_failed_lookups_total", "kind" => rejection.kind().name())
        .increment(1);
}

/// Records since when the secret that is [followed](crate::LiveVerifier::follow) cannot be read: zero if it can. The label is
/// the secret that stays in use, because a process can follow several.
pub(crate) fn stale_since(last: &Secret, since_1970: Duration) {
    let secret = last.fingerprint();
    metrics::gauge!("number7_secret_stale_since_timestamp_seconds", "secret" => secret)
        .set(since_1970.as_secs_f64());
}

/// Counts a verified delivery.
pub fn verified(delivery: &Delivery) {
    let secret = metrics::SharedString::from_shared(Arc::clone(&delivery.signer().name));
    metrics::counter!(
        "number7_deliveries_total", "outcome" => "verified", "kind" => "", "secret" => secret
    )
    .increment(1);
}

/// Counts a refused request, whether the middleware or something behind it refused it.
pub fn refused(rejection: &Rejection) {
    let kind = rejection.kind().name();
    match rejection.kind() {
        // It was counted when it was verified.
        RejectionKind::Untypable | RejectionKind::NotStored | RejectionKind::StoredTooSlowly => {
            metrics::counter!("number7_answers_refused_total", "kind" => kind).increment(1);
        }
        _ => metrics::counter!(
            "number7_deliveries_total", "outcome" => "refused", "kind" => kind, "secret" => ""
        )
        .increment(1),
    }
}
