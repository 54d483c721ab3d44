use std::{error::Error, fmt, time::Duration};

use number7_core::RetryHint;

use crate::model::{error::BoxError, error_text::text_of_error};

/// The shortest time that an event can be [snoozed](Failure::snooze) for: 1 second. Otherwise a handler that snoozes for no
/// time would be called as fast as the store can answer.
pub const MIN_SNOOZE: Duration = Duration::from_secs(1);

/// How an attempt failed, and what should happen to the event: what a handler returns.
///
/// `?` turns any error into one that means "try again after the backoff". If the error has a [`RetryHint`] among its sources,
/// the hint decides: [snooze](Self::snooze), or [permanent](Self::permanent). So the errors of `number7-client` need only a
/// `?`. A handler may also return that error itself, such as a [`BoxError`].
///
/// # Example
///
/// ```
/// use std::time::Duration;
///
/// use number7_inbox::{AcceptedEvent, Event, Failure};
///
/// async fn handle(accepted: AcceptedEvent) -> Result<(), Failure> {
///     match accepted.event()? {
///         // Repeating does not help: a dead letter at once.
///         Event::JobFailed(job) => Err(Failure::permanent(job.error)),
///         // Not an error: the event waits, and no attempt is used up.
///         _ if is_closed() => Err(Failure::snooze(Duration::from_secs(3_600), "closed at night")),
///         Event::JobCompleted(job) => Ok(import(job.job_id.as_str()).await?),
///         _ => Ok(()),
///     }
/// }
///
/// # fn is_closed() -> bool { false }
/// async fn import(job: &str) -> Result<(), std::io::Error> {
/// #   _ = job;
///     // …
///     Ok(())
/// }
/// # _ = |inbox: &number7_inbox::Inbox| inbox.worker(handle);
/// ```
pub struct Failure(pub(crate) Kind);

pub(crate) enum Kind {
    Retry(BoxError),
    Permanent(BoxError),
    Snooze {
        after: Duration,
        reason: BoxError,
        /// Whether the worker claims nothing for as long as the snooze lasts.
        pauses_worker: bool,
    },
}

impl Failure {
    /// Trying again would not help: the event is a dead letter now, even if attempts are left.
    pub fn permanent(error: impl Into<BoxError>) -> Self {
        Self(Kind::Permanent(error.into()))
    }

    /// Not yet: the event is ready again after this time, and this attempt does not count. The time is
    /// at least [`MIN_SNOOZE`] and at most 30 days.
    ///
    /// The reason is for operators: it is logged, and kept with the event. Beside its errors, an event has one note of all its
    /// snoozes, with the last reason and [how many there were](crate::AttemptError::snoozes). Nothing limits how often an event
    /// is snoozed. So a `WARN` is logged a day after the first snooze, and then each day.
    pub fn snooze(after: Duration, reason: impl Into<BoxError>) -> Self {
        Self(Kind::Snooze { after, reason: reason.into(), pauses_worker: false })
    }

    /// Like [`snooze`](Self::snooze), and this worker claims no event for the same time, because other events would be refused
    /// as well. Its running attempts continue, and other workers are not paused.
    ///
    /// Return it on the first answer that says "not now", such as a 429 of a service that all handlers call.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use number7_inbox::{AcceptedEvent, Failure};
    ///
    /// async fn handle(accepted: AcceptedEvent) -> Result<(), Failure> {
    ///     match post(accepted.json()).await {
    ///         429 => Err(Failure::pause_worker(Duration::from_secs(2), "too many requests")),
    ///         status if status < 300 => Ok(()),
    ///         status => Err(format!("the answer is {status}").into()),
    ///     }
    /// }
    /// # async fn post(_: &[u8]) -> u16 { 200 }
    /// # _ = |inbox: &number7_inbox::Inbox| inbox.worker(handle);
    /// ```
    pub fn pause_worker(length: Duration, reason: impl Into<BoxError>) -> Self {
        Self(Kind::Snooze { after: length, reason: reason.into(), pauses_worker: true })
    }
}

/// For tests of handlers.
impl Failure {
    /// Whether the event is a dead letter now.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        matches!(self.0, Kind::Permanent(_))
    }

    /// How long the handler [snoozes](Self::snooze) the event. `None` if it does not.
    #[must_use]
    pub fn snoozed_for(&self) -> Option<Duration> {
        match self.0 {
            Kind::Snooze { after, .. } => Some(after),
            _ => None,
        }
    }

    /// Whether the worker [claims nothing](Self::pause_worker) for the same time.
    #[must_use]
    pub fn pauses_worker(&self) -> bool {
        matches!(self.0, Kind::Snooze { pauses_worker: true, .. })
    }

    /// The error, or the reason of a snooze.
    #[must_use]
    pub fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        let (Kind::Retry(error) | Kind::Permanent(error) | Kind::Snooze { reason: error, .. }) =
            &self.0;
        &**error
    }
}

/// As it is logged: the error with its sources.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text_of_error(self.error()))
    }
}

impl<E: Into<BoxError>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        match RetryHint::of(&*error) {
            Some(RetryHint::After(time)) => Self::snooze(time, error),
            Some(RetryHint::Never) => Self::permanent(error),
            _ => Self(Kind::Retry(error)),
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Retry(error) => f.debug_tuple("Retry").field(error).finish(),
            Kind::Permanent(error) => f.debug_tuple("Permanent").field(error).finish(),
            Kind::Snooze { after, reason, pauses_worker } => {
                let name = if *pauses_worker { "PauseWorker" } else { "Snooze" };
                f.debug_tuple(name).field(after).field(reason).finish()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_of_a_handler_sees_what_a_failure_means() {
        let second = Duration::from_secs(1);
        let of = |failure: &Failure| {
            (failure.is_permanent(), failure.snoozed_for(), failure.pauses_worker())
        };
        for (failure, expected) in [
            (Failure::from("text"), (false, None, false)),
            (Failure::permanent("text"), (true, None, false)),
            (Failure::snooze(second, "text"), (false, Some(second), false)),
            (Failure::pause_worker(second, "text"), (false, Some(second), true)),
        ] {
            assert_eq!(of(&failure), expected, "{failure:?}");
            assert_eq!(
                (failure.to_string(), failure.error().to_string()),
                ("text".into(), "text".into())
            );
        }
    }
}
