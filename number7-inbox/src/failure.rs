use std::{fmt, time::Duration};

use crate::BoxError;

/// How an attempt failed, and what should happen to the event: what a handler returns.
///
/// `?` turns any error into one that means "try again after the backoff". A handler may also return
/// that error itself, such as a [`BoxError`].
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
///         // An error that repeating does not mend: a dead letter at once.
///         Event::JobFailed(job) => Err(Failure::permanent(job.error)),
///         // Not an error: the event is put off, and no attempt is used up.
///         _ if is_closed() => Err(Failure::later(Duration::from_secs(3_600))),
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
    Later(Duration),
}

impl Failure {
    /// Trying again would be of no use: the event is a dead letter now, whatever attempts are left.
    pub fn permanent(error: impl Into<BoxError>) -> Self {
        Self(Kind::Permanent(error.into()))
    }

    /// Not yet: the event is due again after this long, at most 30 days, and this attempt does not
    /// count. SQLite rounds up to a whole second.
    #[must_use]
    pub fn later(after: Duration) -> Self {
        Self(Kind::Later(after))
    }
}

impl<E: Into<BoxError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(Kind::Retry(error.into()))
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Retry(error) => f.debug_tuple("Retry").field(error).finish(),
            Kind::Permanent(error) => f.debug_tuple("Permanent").field(error).finish(),
            Kind::Later(after) => f.debug_tuple("Later").field(after).finish(),
        }
    }
}
