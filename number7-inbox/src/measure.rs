//! What the inbox counts, with the feature `metrics`. The names are in the table of the README.

use std::time::{Duration, SystemTime};

use crate::model::{entry::State, stats::Stats};

pub(crate) fn acceptance(outcome: &'static str, took: Duration) {
    metrics::histogram!("number7_acceptance_duration_seconds", "outcome" => outcome).record(took);
}

pub(crate) fn first_attempt(accepted_at: SystemTime) {
    // The clocks of two machines may differ.
    let waited = SystemTime::now().duration_since(accepted_at).unwrap_or_default();
    metrics::histogram!("number7_first_attempt_delay_seconds").record(waited);
}

pub(crate) fn attempt(outcome: &'static str, took: Duration) {
    metrics::histogram!("number7_attempt_duration_seconds", "outcome" => outcome).record(took);
}

pub(crate) fn fetched(outcome: &'static str) {
    metrics::counter!("number7_overdue_fetches_total", "outcome" => outcome).increment(1);
}

pub(crate) fn stats(inbox: &str, stats: &Stats) {
    for state in State::ALL {
        #[expect(clippy::cast_precision_loss, reason = "no store has as many")]
        metrics::gauge!("number7_inbox_events", "inbox" => inbox.to_owned(), "state" => state.name())
            .set(stats.of(state) as f64);
    }
    metrics::gauge!("number7_inbox_oldest_ready_age_seconds", "inbox" => inbox.to_owned())
        .set(stats.oldest_ready);
    for (name, number) in [
        ("number7_inbox_workers", stats.workers),
        ("number7_inbox_overdue_jobs", stats.overdue),
        ("number7_inbox_paused", stats.is_paused.into()),
    ] {
        #[expect(clippy::cast_precision_loss, reason = "no store has as many")]
        metrics::gauge!(name, "inbox" => inbox.to_owned()).set(number as f64);
    }
    metrics::gauge!("number7_inbox_oldest_overdue_age_seconds", "inbox" => inbox.to_owned())
        .set(stats.oldest_overdue);
}
