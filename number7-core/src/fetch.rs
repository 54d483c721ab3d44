//! Asking the vendor about a job whose webhook did not arrive.

use std::{error::Error, future::Future};

use crate::{Event, JobId};

/// What the vendor says about a job: the answer of a [`Fetch`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fetched {
    /// The job is finished. This is the event that its webhook would have carried: `job.completed` or `job.failed`,
    /// for the job that was asked about.
    Finished(Event),
    /// The job is not finished yet. It is fetched again after the backoff.
    StillRunning,
    /// The vendor does not know the job. It may be too new, so it is fetched again after the backoff. At the
    /// tenth such answer about a job, `number7-inbox` gives it up.
    Unknown,
}

/// Asks the vendor about a job.
///
/// `Client` of `number7-client` implements it, and so does every async function that takes a [`JobId`] and
/// returns a [`Fetched`] or an error.
///
/// # Example
///
/// ```
/// use number7_core::{Event, Fetch, Fetched, JobId};
///
/// fn takes_a_fetch(_: impl Fetch) {}
///
/// takes_a_fetch(|job: JobId| async move {
///     let json = format!(
///         r#"{{"event":"job.completed","jobId":"{job}","fileStatus":"done",
///             "documentType":"invoice","timestamp":"2026-04-22T10:00:00.000Z"}}"#
///     );
///     Event::from_json(json).map(Fetched::Finished)
/// });
/// ```
pub trait Fetch: Send + Sync + 'static {
    /// Fetches the state of a job.
    ///
    /// # Errors
    ///
    /// The vendor could not be asked. The job is fetched again after the backoff.
    fn fetch(
        &self,
        job: JobId,
    ) -> impl Future<Output = Result<Fetched, Box<dyn Error + Send + Sync>>> + Send;
}

impl<H, F, E> Fetch for H
where
    H: Fn(JobId) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Fetched, E>> + Send,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    fn fetch(
        &self,
        job: JobId,
    ) -> impl Future<Output = Result<Fetched, Box<dyn Error + Send + Sync>>> + Send {
        let fetched = self(job);
        async { fetched.await.map_err(Into::into) }
    }
}
