//! The wire form, for serde.

use serde::{
    de::{Deserialize, Deserializer, Error},
    ser::{Serialize, SerializeStruct, Serializer},
};
use serde_json::value::RawValue;

use super::{DocumentType, Event, FileStatus, JobCompleted, JobFailed, JobId, Timestamp};

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::JobCompleted(JobCompleted { job_id, file_status, document_type, timestamp }) => {
                let job = (job_id, file_status, document_type, timestamp);
                serialize_job(serializer, self.name(), job, None)
            }
            Self::JobFailed(JobFailed { job_id, file_status, document_type, timestamp, error }) => {
                let job = (job_id, file_status, document_type, timestamp);
                serialize_job(serializer, self.name(), job, Some(error))
            }
            Self::Unknown(event) => event.json.serialize(serializer),
        }
    }
}

/// One function writes both job events, so that they cannot differ.
fn serialize_job<S: Serializer>(
    serializer: S,
    name: &str,
    (job_id, file_status, document_type, timestamp): (
        &JobId,
        &FileStatus,
        &DocumentType,
        &Timestamp,
    ),
    error: Option<&str>,
) -> Result<S::Ok, S::Error> {
    let mut job = serializer.serialize_struct("Event", 5 + usize::from(error.is_some()))?;
    job.serialize_field("event", name)?;
    job.serialize_field("jobId", job_id)?;
    job.serialize_field("fileStatus", file_status)?;
    job.serialize_field("documentType", document_type)?;
    job.serialize_field("timestamp", timestamp)?;
    if let Some(error) = error {
        job.serialize_field("error", error)?;
    }
    job.end()
}

/// Only from JSON, by `serde_json`. It copies the text once; [`Event::from_json`] does not.
impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_json(json.get()).map_err(D::Error::custom)
    }
}

/// Writes a type as a string, and reads it back from one.
macro_rules! as_text {
    ($($Type:ident),+) => {$(
        impl Serialize for $Type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $Type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::try_from(String::deserialize(deserializer)?).map_err(D::Error::custom)
            }
        }
    )+};
}

as_text!(JobId, FileStatus, DocumentType, Timestamp);
