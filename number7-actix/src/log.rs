//! What is logged, with the feature `tracing`.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use number7_core::{
    Acceptance, Delivery, Rejection, Verifier,
    adapter::{Noted, RefusalLog, RefusalSummary},
};
use tokio::{runtime::Handle, time::sleep};
pub(crate) use tracing::Span;

/// Where refusals are logged: in full, or as a summary.
#[derive(Clone)]
pub(crate) struct Refusals(RefusalLog);

impl Refusals {
    /// Those of a verifier.
    pub(crate) fn of(verifier: &Verifier) -> Self {
        Self(verifier.refusal_log().clone())
    }

    /// Those of handlers, behind the middleware or without it.
    pub(crate) fn behind() -> Self {
        static LOG: LazyLock<RefusalLog> = LazyLock::new(RefusalLog::new);
        Self(LOG.clone())
    }

    pub(crate) fn log(&self, rejection: &Rejection) {
        match self.0.note(rejection, now()) {
            Noted::InFull { after } => {
                after.iter().for_each(summary);
                tracing::warn!(
                    target: "number7", kind = ?rejection.kind(),
                    account = rejection.account().map(tracing::field::display),
                    diagnosis = rejection.diagnosis().map(tracing::field::display),
                    "refused a request: {}", rejection.log_text()
                );
            }
            Noted::Counted { summarize_in: Some(wait) } => summarize(&self.0, wait),
            _ => {}
        }
    }
}

fn now() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

fn summary(summary: &RefusalSummary) {
    tracing::warn!(
        target: "number7", kind = ?summary.kind(),
        diagnosis = summary.diagnosis().map(tracing::field::debug),
        "{summary}"
    );
}

/// Logs the summaries at their time. Without a runtime of tokio, they are logged with the next refusal of their kind.
fn summarize(log: &RefusalLog, wait: Duration) {
    let Ok(runtime) = Handle::try_current() else { return };
    let (log, mut unsaid) = (log.clone(), Unsaid(Some(log.clone())));
    runtime.spawn(async move {
        let (mut now, mut wait) = (now(), Some(wait));
        while let Some(more) = wait {
            sleep(more).await;
            // The clock of the runtime may be set by a test.
            now += more;
            let (due, next) = log.summarize(now);
            due.iter().for_each(summary);
            wait = next;
        }
        drop(unsaid.0.take());
    });
}

/// At the end of the runtime, logs the summaries that would have been logged later.
struct Unsaid(Option<RefusalLog>);

impl Drop for Unsaid {
    fn drop(&mut self) {
        // After a panic, for example because there is no timer, the next refusal of a kind logs the last summary.
        if let Some(log) = self.0.take().filter(|_| !std::thread::panicking()) {
            log.finish().iter().for_each(summary);
        }
    }
}

/// Only a signed body of hundreds of kilobytes gets here, so no stranger can repeat this.
pub(crate) fn limit_not_raised() {
    tracing::warn!(
        target: "number7",
        "the limits of web::Bytes, String and web::Json are not raised to the size of this body, because middleware in \
         front of VerifyNumber7 holds a clone of the request, or panics abort: take Verified<Bytes>, or set \
         PayloadConfig and JsonConfig with app_data"
    );
}

pub(crate) fn accepted(acceptance: Acceptance) {
    tracing::debug!(target: "number7", ?acceptance, "accepted an event");
}

pub(crate) fn verified(delivery: &Delivery) -> Span {
    tracing::info_span!(
        target: "number7", "delivery", signed_by = delivery.signed_by(),
        account = delivery.account().map(tracing::field::display)
    )
}
