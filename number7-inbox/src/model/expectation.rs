//! Jobs whose events are expected.

use std::time::Duration;

use number7_core::{JobId, Record};
use serde_json::json;

use crate::model::error::{InboxError, InboxErrorKind};

/// A job whose event is expected, and the keys that its event can have; or an upload, whose job is not known yet.
#[derive(Clone, Debug)]
pub(crate) struct ExpectedJob {
    pub(crate) job: String,
    pub(crate) keys: [String; 2],
}

/// What the name of an upload begins with, instead of a job's id. No event settles it.
const UPLOAD: &str = "upload:";

/// The reference of an upload, if it is one and not a job.
pub(crate) fn upload(job: &str) -> Option<&str> {
    job.strip_prefix(UPLOAD)
}

impl ExpectedJob {
    /// What a store has under this name: a job, or an upload.
    #[cfg(feature = "redis")]
    pub(crate) fn of_name(name: String) -> Result<Self, InboxError> {
        match upload(&name) {
            Some(reference) => Self::of_upload(reference),
            None => Self::new(&name.into()),
        }
    }

    /// An upload whose job is not known yet.
    pub(crate) fn of_upload(reference: &str) -> Result<Self, InboxError> {
        const LONGEST: usize = 255;
        if reference.is_empty() || reference.len() > LONGEST || reference.contains('\0') {
            let text = format!("the reference of an upload has 1 to {LONGEST} bytes, and no NUL");
            return Err(InboxError::new(InboxErrorKind::Invalid, text));
        }
        // Every event has a longer key.
        Ok(Self { job: format!("{UPLOAD}{reference}"), keys: [String::new(), String::new()] })
    }

    pub(crate) fn new(job: &JobId) -> Result<Self, InboxError> {
        let refused = |text| InboxError::new(InboxErrorKind::Invalid, text);
        let job = job.as_str();
        // PostgreSQL refuses strings with a NUL.
        if job.is_empty() || job.contains('\0') || upload(job).is_some() {
            return Err(refused(
                "a job id must not be empty, contain a NUL, or begin with upload:",
            ));
        }
        let key = |event| {
            let json = json!({ "event": event, "jobId": job }).to_string();
            Record::key_of(json.as_bytes()).map_err(|_| refused("the job can have no event"))
        };
        Ok(Self { job: job.to_owned(), keys: [key("job.completed")?, key("job.failed")?] })
    }
}

/// What a look-up of expected jobs found.
#[derive(Debug, Default)]
pub(crate) struct LookUp {
    /// The jobs that were not known to be overdue.
    pub(crate) newly_overdue: Vec<String>,
    /// There may be more to look up now.
    pub(crate) is_more: bool,
    /// In how long the next job is to be looked up.
    pub(crate) next_in: Option<Duration>,
}

/// An overdue job that is to be fetched.
#[derive(Clone, Debug)]
#[cfg_attr(any(feature = "sqlite", feature = "postgres"), derive(sqlx::FromRow))]
pub(crate) struct JobToFetch {
    pub(crate) job: String,
    /// Its event has come meanwhile.
    pub(crate) is_settled: bool,
    /// How often it was taken, this time included.
    pub(crate) fetches: i64,
}

/// How long a job rests after the first fetch, and at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
}

impl Rest {
    /// How long a job rests after a fetch, given how many came before it.
    pub(crate) fn after(self, earlier: i64) -> Duration {
        self.first.saturating_mul(1 << earlier.clamp(0, 30)).min(self.longest)
    }
}

/// An overdue job, as the store has it.
#[derive(Clone, Debug)]
#[cfg_attr(any(feature = "sqlite", feature = "postgres"), derive(sqlx::FromRow))]
pub(crate) struct OverdueRow {
    pub(crate) job: String,
    /// Microseconds of the time when it was due.
    pub(crate) due: i64,
    pub(crate) fetches: i64,
    pub(crate) is_given_up: bool,
}

/// A place in the list of overdue jobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct JobPlace {
    /// Microseconds of the time when the job was due.
    pub(crate) due: i64,
    pub(crate) job: String,
}
