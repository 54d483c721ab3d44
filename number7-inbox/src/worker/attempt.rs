//! One attempt: the call of the handler, and what its end means.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::BoxFuture};
use number7_core::Subject;
use tokio::{select, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, field};

use crate::{
    measure,
    model::{
        claim::{Claim, EventId},
        end::{End, Outcome},
        error_text::{text_of_error, text_of_panic},
        event::StoredEvent,
        failure::{Failure, Kind, MIN_SNOOZE},
        settings::{LONGEST_REST, Settings},
    },
    telemetry,
    worker::{accepted::AcceptedEvent, held_claim::HeldClaim},
};

/// The end that is recorded for an attempt that ended in a transaction. It counts only if the transaction was not committed.
pub(crate) const NOT_COMMITTED: &str =
    "the handler returned Ok but did not commit the transaction of finish_in";

/// A handler, without its types.
pub(crate) type Handler =
    dyn Fn(AcceptedEvent) -> BoxFuture<'static, Result<(), Failure>> + Send + Sync;

/// Makes an attempt, until it ends or `stop` fires.
pub(crate) async fn attempt(
    handler: &Handler,
    settings: &Settings,
    inbox: &str,
    claim: Claim,
    shared: Arc<HeldClaim>,
    stop: &CancellationToken,
) -> End {
    let Claim { event: id, number, key, stored, origin, history, trace, accepted_at, .. } = claim;
    let (attempt, attempts) = (number.counted(), settings.attempts);
    let (outcome, note) = if attempt > attempts {
        // The claim is beyond the last attempt, so no attempt is made.
        let error =
            "no attempt is left: the lease of the last one expired, or fewer are allowed now"
                .to_owned();
        tracing::error!(target: "number7", key, "an event is a dead letter: {error}");
        (Outcome::Exhausted { error: error.clone() }, Some(error))
    } else {
        let is_first = attempt == 1 && history.errors().is_empty();
        if is_first {
            measure::first_attempt(accepted_at);
        }
        let begun = Instant::now();
        let span = span(&stored, &key, attempt);
        telemetry::describe(&span, inbox, &key, trace.as_ref(), is_first);
        let claim = Arc::clone(&shared);
        let event = AcceptedEvent { stored, key: key.clone(), origin, attempts, claim };
        let handled = handle(handler, event, settings.timeout).instrument(span.clone());
        let handled = async {
            select! {
                biased;
                handled = shared.watch(handled, &key, settings.heartbeat()) => handled,
                () = stop.cancelled() => Handled::Interrupted,
            }
        };
        // A future that is dropped before its end can panic as well.
        let handled = AssertUnwindSafe(handled).catch_unwind().await;
        let handled = handled.unwrap_or_else(|panic| Handled::Panicked(text_of_panic(&*panic)));
        let handled = match handled {
            // If it was committed, the event is done, and this end does not count.
            Handled::Done if shared.is_in_transaction() => Handled::InTransaction,
            handled => handled,
        };
        let judged = span.in_scope(|| judge(settings, &key, id, attempt, handled));
        let (name, outcome, note) = judged;
        measure::attempt(name, begun.elapsed());
        (outcome, note)
    };
    let is_made = !matches!(outcome, Outcome::Exhausted { .. });
    let history = note.map(|note| match outcome {
        Outcome::Snoozed { .. } => {
            let (history, since) = history.with_snooze(attempt, note);
            if let Some(since) = since {
                let age = since.elapsed().unwrap_or_default();
                tracing::warn!(
                    target: "number7", key, ?age,
                    "an event is snoozed again and again: the first time was more than a day ago"
                );
            }
            history
        }
        _ => history.with(attempt - u32::from(!is_made), note),
    });
    End { event: id, number, outcome, history }
}

/// The span of an attempt.
fn span(stored: &StoredEvent, key: &str, attempt: u32) -> Span {
    let span = tracing::info_span!(
        target: "number7", "attempt", key, event = field::Empty, job = field::Empty, attempt,
        otel.kind = field::Empty
    );
    if !span.is_disabled()
        && let Ok(subject) = Subject::of_json(stored.json())
    {
        span.record("event", subject.event());
        if let Some(job) = subject.job_id() {
            span.record("job", job);
        }
    }
    span
}

/// How a call of the handler ended.
enum Handled {
    Done,
    /// The store knows whether it is done.
    InTransaction,
    Retry(String),
    Permanent(String),
    Snoozed {
        after: Duration,
        reason: String,
        pauses_worker: bool,
    },
    TooSlow,
    Panicked(String),
    Interrupted,
}

/// Returns a name for the metrics, an outcome, and a note for the history. Logs failures and snoozes.
fn judge(
    settings: &Settings,
    key: &str,
    event: EventId,
    attempt: u32,
    handled: Handled,
) -> (&'static str, Outcome, Option<String>) {
    let may_have_committed = matches!(handled, Handled::InTransaction);
    let (name, error) = match handled {
        Handled::Done => return ("done", Outcome::Done, None),
        Handled::InTransaction => ("done", NOT_COMMITTED.to_owned()),
        Handled::Snoozed { after, reason, pauses_worker } => {
            let after = after.clamp(MIN_SNOOZE, LONGEST_REST);
            let and_pauses = if pauses_worker { ", and pauses its worker" } else { "" };
            tracing::info!(
                target: "number7", key, ?after, "the handler snoozes an event{and_pauses}: {reason}"
            );
            return ("snoozed", Outcome::Snoozed { after, pauses_worker }, Some(reason));
        }
        Handled::Interrupted => {
            let note = "the worker stopped before the attempt had ended".to_owned();
            tracing::warn!(
                target: "number7", key, attempt, "an attempt is given up, and does not count: {note}"
            );
            return ("interrupted", Outcome::Interrupted, Some(note));
        }
        Handled::Permanent(error) => {
            tracing::error!(
                target: "number7", key, attempt,
                "an attempt failed for good; the event is a dead letter: {error}"
            );
            return ("permanent", Outcome::Dead { error: error.clone() }, Some(error));
        }
        Handled::Retry(error) => ("error", error),
        Handled::Panicked(error) => ("panic", error),
        Handled::TooSlow => {
            let limit = settings.timeout.unwrap_or_default();
            ("timeout", format!("the attempt took longer than its limit of {limit:?}"))
        }
    };
    let note = Some(error.clone());
    let outcome = match attempt >= settings.attempts {
        true => Outcome::Dead { error },
        false => Outcome::Retry { after: settings.backoff(attempt, event), error },
    };
    // Only the store knows whether it was committed.
    if !may_have_committed {
        log_failure(key, attempt, &outcome);
    }
    (name, outcome, note)
}

/// Logs what happens to an event whose attempt has failed.
pub(crate) fn log_failure(key: &str, attempt: u32, outcome: &Outcome) {
    match outcome {
        Outcome::Dead { error } => tracing::error!(
            target: "number7", key, attempt,
            "the last attempt failed; the event is a dead letter: {error}"
        ),
        Outcome::Retry { after, error } => tracing::warn!(
            target: "number7", key, attempt, ?after,
            "an attempt failed and will be repeated: {error}"
        ),
        _ => {}
    }
}

/// Calls the handler. A panic counts as an error.
async fn handle(handler: &Handler, event: AcceptedEvent, limit: Option<Duration>) -> Handled {
    // The text of an error comes from the user's code, which may also panic.
    let handled = async {
        match handler(event).await.map_err(|failure| failure.0) {
            Ok(()) => Handled::Done,
            Err(Kind::Retry(error)) => Handled::Retry(text_of_error(&*error)),
            Err(Kind::Permanent(error)) => Handled::Permanent(text_of_error(&*error)),
            Err(Kind::Snooze { after, reason, pauses_worker }) => {
                Handled::Snoozed { after, reason: text_of_error(&*reason), pauses_worker }
            }
        }
    };
    let handled = AssertUnwindSafe(handled).catch_unwind();
    let handled = match limit {
        None => handled.await,
        Some(limit) => select! {
            biased;
            handled = handled => handled,
            () = sleep(limit) => return Handled::TooSlow,
        },
    };
    handled.unwrap_or_else(|panic| Handled::Panicked(text_of_panic(&*panic)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::claim::Number;

    fn snoozed(after: Duration) -> Handled {
        Handled::Snoozed { after, reason: "reason".into(), pauses_worker: false }
    }

    #[test]
    fn what_fails_is_tried_again_and_in_the_last_attempt_is_a_dead_letter() {
        let settings = Settings { attempts: 3, ..Settings::default() };
        for handled in [
            || Handled::Retry("error".into()),
            || Handled::Panicked("panic".into()),
            || Handled::TooSlow,
            || Handled::InTransaction,
        ] {
            let outcome = |attempt| judge(&settings, "key", EventId(7), attempt, handled()).1;
            let rests = |outcome| match outcome {
                Outcome::Retry { after, .. } => after,
                outcome => panic!("{outcome:?}"),
            };
            assert_eq!(rests(outcome(1)), settings.backoff(1, EventId(7)));
            assert_eq!(rests(outcome(2)), settings.backoff(2, EventId(7)));
            assert!(matches!(outcome(3), Outcome::Dead { .. }));
        }
        let snoozed = snoozed(Duration::ZERO);
        let snoozed = judge(&settings, "key", EventId(7), 3, snoozed).1;
        assert!(matches!(snoozed, Outcome::Snoozed { .. }), "it uses no attempt");
    }

    #[test]
    fn an_event_is_snoozed_for_a_second_to_thirty_days() {
        let (second, month) = (Duration::from_secs(1), Duration::from_hours(720));
        for (after, kept) in
            [(Duration::ZERO, second), (2 * second, 2 * second), (Duration::MAX, month)]
        {
            let outcome = judge(&Settings::default(), "key", EventId(7), 1, snoozed(after)).1;
            let is_kept = matches!(outcome, Outcome::Snoozed { after, .. } if after == kept);
            assert!(is_kept, "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn an_attempt_beyond_the_last_is_not_made() {
        let settings = Settings { attempts: 2, ..Settings::default() };
        let number = Number { of_all: 4, uncounted: 1 };
        let claim = Claim::of_test(EventId(7), number);
        let of_claim = Arc::new(HeldClaim::new("worker".into(), "".into(), &claim));
        let handler = |_| -> BoxFuture<'static, _> { panic!("it is called") };
        let end =
            attempt(&handler, &settings, "", claim, of_claim, &CancellationToken::new()).await;
        assert!(matches!(end.outcome, Outcome::Exhausted { .. }));
        // The error of the attempt before it.
        let history = end.history.unwrap();
        let attempts: Vec<_> = history.errors().iter().map(|error| error.attempt()).collect();
        assert_eq!((attempts, end.number), (vec![2], number));
    }
}
