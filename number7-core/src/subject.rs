//! What an event is about, read from its JSON alone.

use crate::{EventError, JobId, event::Outline};

/// The name of an event and, if it has one, its job.
///
/// It is read from JSON that was accepted before, such as the records of an inbox, and is not evidence
/// that the JSON was signed.
///
/// # Example
///
/// ```
/// use number7_core::Subject;
///
/// let subject = Subject::of_json(br#"{"event":"job.failed","jobId":"job_1","error":7}"#)?;
/// assert_eq!(subject.event(), "job.failed");
/// assert_eq!(subject.job_id().map(|job| job.as_str()), Some("job_1"));
/// # Ok::<(), number7_core::EventError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    event: Box<str>,
    job_id: Option<JobId>,
}

impl Subject {
    /// Reads the JSON of an event. Nothing but its name and its job has to be of the right type.
    ///
    /// # Errors
    ///
    /// It is not a JSON object, or has no `event` that is a string.
    pub fn of_json(json: &[u8]) -> Result<Self, EventError> {
        let Outline { event, job_id } = Outline::read(json)?;
        Ok(Self { event: event.into(), job_id: job_id.ok().map(JobId::from) })
    }

    /// The name of the event, such as `job.completed`.
    #[must_use]
    pub fn event(&self) -> &str {
        &self.event
    }

    /// The job that the event is about. `None` unless `event` and `jobId` each occur exactly once, as a
    /// string that is not empty.
    #[must_use]
    pub fn job_id(&self) -> Option<&JobId> {
        self.job_id.as_ref()
    }
}
