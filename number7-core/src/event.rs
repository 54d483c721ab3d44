//! The events in the vendor's signed JSON.

use std::{borrow::Cow, str::FromStr};

use serde_json::value::RawValue;

mod error;
mod fields;
mod job_id;
mod published;
mod serde_impls;
mod timestamp;

pub(crate) use self::fields::{Field, Fields, Lossy, text};
pub use self::{
    error::{EventError, EventErrorKind},
    job_id::JobId,
    published::{DocumentType, FileStatus, OtherName},
    timestamp::{Timestamp, TimestampError},
};

/// An event of Number7 AI.
///
/// The vendor may add events, fields, document types and statuses at any time; none of them is an error.
/// An event with a name unknown to this version is [`Unknown`](Self::Unknown). An unknown field is
/// ignored, even if it is repeated, but is still in [`Delivery::body`](crate::Delivery::body).
///
/// Serialize it only to JSON. A known event is written with the vendor's field names, without unknown fields. An unknown event
/// is written as it was received.
///
/// # Example
///
/// ```
/// use number7_core::{DocumentType, Event, EventErrorKind};
///
/// let event = Event::from_json(r#"{"event":"job.completed","jobId":"job_abc123",
///     "fileStatus":"done","documentType":"invoice","timestamp":"2026-04-22T10:00:00.000Z"}"#)?;
/// let Event::JobCompleted(job) = event else { panic!("another event") };
/// assert_eq!(job.document_type, DocumentType::Invoice);
///
/// let error = Event::from_json(r#"{"event":"job.completed","jobId":7}"#).unwrap_err();
/// assert_eq!((error.kind(), error.field()), (EventErrorKind::WrongType, Some("jobId")));
/// # Ok::<(), number7_core::EventError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// `job.completed`: the document is processed.
    JobCompleted(JobCompleted),
    /// `job.failed`: the document could not be processed.
    JobFailed(JobFailed),
    /// An event with any other name.
    Unknown(UnknownEvent),
}

/// The parts of `job.completed`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobCompleted {
    /// `jobId`: the job. Together with the event's name it is the idempotency key.
    pub job_id: JobId,
    /// `fileStatus`: [`FileStatus::Done`], according to the vendor's documentation.
    pub file_status: FileStatus,
    /// `documentType`: the type of the document.
    pub document_type: DocumentType,
    /// `timestamp`: when the event happened. Whether a retry repeats or renews it is not published.
    pub timestamp: Timestamp,
}

/// The parts of `job.failed`: those of `job.completed`, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobFailed {
    /// `jobId`: the job. Together with the event's name it is the idempotency key.
    pub job_id: JobId,
    /// `fileStatus`: [`FileStatus::Failed`], according to the vendor's documentation.
    pub file_status: FileStatus,
    /// `documentType`: the type of the document.
    pub document_type: DocumentType,
    /// `timestamp`: when the event happened. Whether a retry repeats or renews it is not published.
    pub timestamp: Timestamp,
    /// `error`: a string that describes the reason.
    pub error: String,
}

/// An event whose name this version does not know.
#[derive(Clone, Debug)]
pub struct UnknownEvent {
    name: String,
    json: Box<RawValue>,
}

impl Event {
    const JOB_COMPLETED: &str = "job.completed";
    const JOB_FAILED: &str = "job.failed";

    /// Reads an event from JSON.
    ///
    /// # Errors
    ///
    /// The text is not a JSON object in UTF-8, a field that this version knows is repeated, `event` is missing or not a string,
    /// or an event with a known name lacks a field or has one of the wrong type. The error names the field. A byte order mark
    /// in front of the object is skipped.
    pub fn from_json(json: impl AsRef<[u8]>) -> Result<Self, EventError> {
        let json = text(json.as_ref())?;
        let mut fields = Fields::read(json)?;
        fields.refuse_repeated()?;
        match &*fields.take_text(Field::Event)? {
            Self::JOB_COMPLETED => JobCompleted::from_fields(&mut fields).map(Self::JobCompleted),
            Self::JOB_FAILED => JobFailed::from_fields(&mut fields).map(Self::JobFailed),
            name => UnknownEvent::from_json(name, json).map(Self::Unknown),
        }
    }

    /// The name of the event, such as `job.completed`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::JobCompleted(_) => Self::JOB_COMPLETED,
            Self::JobFailed(_) => Self::JOB_FAILED,
            Self::Unknown(event) => event.name(),
        }
    }
}

impl FromStr for Event {
    type Err = EventError;

    fn from_str(json: &str) -> Result<Self, Self::Err> {
        Self::from_json(json)
    }
}

impl JobCompleted {
    fn from_fields(fields: &mut Fields<'_>) -> Result<Self, EventError> {
        Ok(Self {
            job_id: fields.take_text(Field::JobId)?.into(),
            file_status: fields.take_text(Field::FileStatus)?.into(),
            document_type: fields.take_text(Field::DocumentType)?.into(),
            timestamp: fields.take_timestamp()?,
        })
    }
}

impl JobFailed {
    fn from_fields(fields: &mut Fields<'_>) -> Result<Self, EventError> {
        let JobCompleted { job_id, file_status, document_type, timestamp } =
            JobCompleted::from_fields(fields)?;
        let error = fields.take_text(Field::Error).map(Cow::into_owned)?;
        Ok(Self { job_id, file_status, document_type, timestamp, error })
    }
}

impl UnknownEvent {
    fn from_json(name: &str, json: &str) -> Result<Self, EventError> {
        let json: &RawValue = serde_json::from_str(json).map_err(EventError::not_json)?;
        Ok(Self { name: name.into(), json: json.to_owned() })
    }

    /// The name of the event.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The JSON object of the event, as it was written.
    #[must_use]
    pub fn json(&self) -> &str {
        self.json.get()
    }
}

impl PartialEq for UnknownEvent {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.json() == other.json()
    }
}

impl Eq for UnknownEvent {}
