//! What the inbox counts, with the feature `metrics`. The names are in the table of the README.

use std::time::{Duration, SystemTime};

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

use crate::model::{entry::State, stats::Stats};

/// Tells the recorder what the metrics mean, for example for the `# HELP` of Prometheus.
fn describe() {
    for (name, help) in [
        (
            "number7_acceptance_duration_seconds",
            "How long an acceptance took, by what became of it",
        ),
        ("number7_attempt_duration_seconds", "How long a handler took, by how it ended"),
        (
            "number7_first_attempt_delay_seconds",
            "From the acceptance of an event to its first attempt",
        ),
    ] {
        describe_histogram!(name, Unit::Seconds, help);
    }
    let name = "number7_overdue_fetches_total";
    describe_counter!(
        name,
        Unit::Count,
        "How often the vendor was asked about an overdue job, by its answer"
    );
    for (name, unit, help) in [
        ("number7_inbox_events", Unit::Count, "Events in each state"),
        ("number7_inbox_workers", Unit::Count, "Workers that were seen in the last 30 seconds"),
        ("number7_inbox_overdue_jobs", Unit::Count, "Overdue jobs"),
        ("number7_inbox_paused", Unit::Count, "Whether the inbox is paused: 1 or 0"),
        ("number7_inbox_paused_accounts", Unit::Count, "How many accounts of the inbox are paused"),
        (
            "number7_inbox_oldest_ready_age_seconds",
            Unit::Seconds,
            "For how long the oldest ready or quarantined event has been ready",
        ),
        (
            "number7_inbox_oldest_overdue_age_seconds",
            Unit::Seconds,
            "For how long the oldest overdue job has been overdue",
        ),
    ] {
        describe_gauge!(name, unit, help);
    }
}

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

/// Also describes all metrics, because it is called before a scrape, when a recorder certainly exists.
pub(crate) fn stats(inbox: &str, stats: &Stats) {
    describe();
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
        ("number7_inbox_paused_accounts", stats.paused_accounts),
    ] {
        #[expect(clippy::cast_precision_loss, reason = "no store has as many")]
        metrics::gauge!(name, "inbox" => inbox.to_owned()).set(number as f64);
    }
    metrics::gauge!("number7_inbox_oldest_overdue_age_seconds", "inbox" => inbox.to_owned())
        .set(stats.oldest_overdue);
}
