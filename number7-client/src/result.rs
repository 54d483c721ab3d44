//! The results of jobs.

use std::{borrow::Cow, collections::BTreeMap, fmt, time::SystemTime};

use number7_core::{DocumentType, Event, EventError, FileStatus, JobId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{Error, ErrorKind, Result};

/// A document that the vendor has accepted: the answer to an upload.
///
/// `Inbox::expect_job` of `number7-inbox` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Upload {
    /// `jobId`: the job. The webhook and the result have the same id.
    pub job_id: JobId,
    /// `fileStatus`: [`FileStatus::Uploading`], according to the vendor's documentation.
    pub file_status: FileStatus,
}

impl From<Upload> for JobId {
    fn from(upload: Upload) -> Self {
        upload.job_id
    }
}

impl From<&Upload> for JobId {
    fn from(upload: &Upload) -> Self {
        upload.job_id.clone()
    }
}

/// What the vendor says about a job.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum JobResult {
    /// `done`: the document is processed.
    Finished(FinishedJob),
    /// `failed`: the document could not be processed.
    Failed(FailedJob),
    /// Any other status: the job is not finished.
    Running(RunningJob),
}

/// A job whose document is processed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FinishedJob {
    /// The job.
    pub job_id: JobId,
    /// `documentType`: the type of the document.
    pub document_type: DocumentType,
    /// `result`: what the vendor read from the document. Its fields depend on the document type. Nothing is lost: numbers keep
    /// all their digits, and unknown fields are kept.
    pub result: RawJson,
    /// All data about the job, including fields that this version does not know.
    pub data: RawJson,
}

/// A job whose document could not be processed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FailedJob {
    /// The job.
    pub job_id: JobId,
    /// `documentType`, if the vendor sends it.
    pub document_type: Option<DocumentType>,
    /// `error`: the reason; empty if the vendor sends none.
    pub error: String,
    /// All data about the job, including fields that this version does not know.
    pub data: RawJson,
}

/// A job that is not finished.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunningJob {
    /// The job.
    pub job_id: JobId,
    /// `fileStatus`: its progress. A status that this version does not know counts as running.
    pub file_status: FileStatus,
    /// All data about the job, including fields that this version does not know.
    pub data: RawJson,
}

impl JobResult {
    pub(crate) fn new(job: &JobId, data: RawJson) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Data<'a> {
            #[serde(borrow)]
            job_id: Option<Cow<'a, str>>,
            #[serde(borrow)]
            file_status: Cow<'a, str>,
            #[serde(borrow)]
            document_type: Option<Cow<'a, str>>,
            #[serde(borrow)]
            result: Option<&'a RawValue>,
            #[serde(borrow)]
            error: Option<&'a RawValue>,
        }
        let fields: Data<'_> = serde_json::from_str(data.get()).map_err(Error::not_understood)?;
        if fields.job_id.as_deref().is_some_and(|id| id != job.as_str()) {
            let text = "the vendor's answer is about another job";
            return Err(Error::new(ErrorKind::NotUnderstood, text));
        }
        let job_id = job.clone();
        let document_type = fields.document_type.map(DocumentType::from);
        Ok(match fields.file_status.into() {
            FileStatus::Done => {
                let document_type = document_type.unwrap_or_else(|| DocumentType::from(""));
                let result = RawJson::new(fields.result.map_or("null", RawValue::get))?;
                Self::Finished(FinishedJob { job_id, document_type, result, data })
            }
            FileStatus::Failed => {
                let error = fields.error.map(RawValue::get).unwrap_or_default();
                let error = serde_json::from_str(error).unwrap_or_else(|_| error.to_owned());
                Self::Failed(FailedJob { job_id, document_type, error, data })
            }
            file_status => Self::Running(RunningJob { job_id, file_status, data }),
        })
    }

    /// The event in the job's webhook, if the job is finished or failed. The result has no timestamp, so the event
    /// has the current time.
    ///
    /// # Errors
    ///
    /// The clock shows a time that no event can have.
    pub fn event(&self) -> Result<Option<Event>, EventError> {
        let now = jiff::Timestamp::try_from(SystemTime::now()).unwrap_or_default();
        let (event, job_id, status, document_type, error) = match self {
            Self::Finished(job) => {
                ("job.completed", &job.job_id, FileStatus::Done, Some(&job.document_type), None)
            }
            Self::Failed(job) => (
                "job.failed",
                &job.job_id,
                FileStatus::Failed,
                job.document_type.as_ref(),
                Some(&job.error),
            ),
            Self::Running(_) => return Ok(None),
        };
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Published<'a> {
            event: &'a str,
            job_id: &'a str,
            file_status: &'a str,
            document_type: &'a str,
            timestamp: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            error: Option<&'a String>,
        }
        let event = Published {
            event,
            job_id: job_id.as_str(),
            file_status: status.as_str(),
            document_type: document_type.map_or("", DocumentType::as_str),
            timestamp: format!("{now:.3}"),
            error,
        };
        Event::from_json(serde_json::to_vec(&event).unwrap_or_default()).map(Some)
    }
}

/// JSON, exactly as the vendor wrote it.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct RawJson(Box<RawValue>);

impl RawJson {
    pub(crate) fn new(json: &str) -> Result<Self> {
        RawValue::from_string(json.to_owned()).map(Self).map_err(Error::not_understood)
    }

    /// The text.
    #[must_use]
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// Reads it as a type, such as [`Invoice`](crate::Invoice), a `serde_json::Value`, or a `struct` of your
    /// own.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotUnderstood`]: it is not of that type.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(self.get()).map_err(Error::not_understood)
    }
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self)
    }
}

/// Equal if their texts are equal.
impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for RawJson {}

/// Shows only the length, because the fields of a document are private, and errors are logged.
impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawJson({} bytes)", self.get().len())
    }
}

/// The fields of a JSON object, each as it was written.
pub(crate) type Fields = BTreeMap<String, RawJson>;
