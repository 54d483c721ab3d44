//! A job, from its upload to its end.

use std::time::Duration;

use number7_core::{DocumentType, FileStatus, probe::Sample};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::results::result;

/// A job that was uploaded.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) id: String,
    /// Which upload it was, from 1.
    pub(crate) number: u64,
    pub(crate) document_type: DocumentType,
    pub(crate) stage: Stage,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    /// It waits until other jobs end.
    Waiting,
    Running {
        since: Instant,
        time: Duration,
    },
    Done,
    Failed,
}

/// Why a job fails.
const REASON: &str = "page 2 could not be read";

impl Job {
    pub(crate) fn status(&self) -> FileStatus {
        match self.stage {
            Stage::Waiting => FileStatus::Uploading,
            Stage::Running { since, time } => {
                match since.elapsed().as_secs_f64() / time.as_secs_f64() {
                    share if share < 0.1 => FileStatus::Uploading,
                    share if share < 0.3 => FileStatus::Processing,
                    share if share < 0.5 => FileStatus::Scanning,
                    _ => FileStatus::AiProcessing,
                }
            }
            Stage::Done => FileStatus::Done,
            Stage::Failed => FileStatus::Failed,
        }
    }

    /// The `data` of its result. A field of this length is added to a result.
    pub(crate) fn data(&self, padding: usize) -> Value {
        let status = self.status();
        let mut data = json!({ "jobId": self.id, "fileStatus": status.as_str() });
        match status {
            FileStatus::Done => {
                data["documentType"] = self.document_type.as_str().into();
                data["result"] = result(&self.document_type, self.number);
                if padding > 0 {
                    data["result"]["text"] = "x".repeat(padding).into();
                }
            }
            FileStatus::Failed => {
                data["documentType"] = self.document_type.as_str().into();
                data["error"] = REASON.into();
            }
            _ => {}
        }
        data
    }

    /// The body of its webhook.
    pub(crate) fn webhook(&self) -> String {
        let sample = match self.stage {
            Stage::Failed => Sample::failed(&*self.id, REASON),
            _ => Sample::completed(&*self.id),
        };
        let now = jiff::Timestamp::now();
        sample.document(self.document_type.as_str()).timestamp(format!("{now:.3}")).json()
    }
}
