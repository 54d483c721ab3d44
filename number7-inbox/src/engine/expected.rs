//! What an inbox needs of its store to notice the events that never came.

use std::time::Duration;

use number7_core::{JobId, Record};
use serde_json::json;

use super::Answer;
use crate::{InboxError, InboxErrorKind};

/// How many expectations are looked up at once.
pub(crate) const MOST_LOOKED_UP: u32 = 500;

/// How often an expectation is looked up that is not due: every hour, so that the event which settles
/// it is not forgotten before.
pub(crate) const LOOK_UP_EVERY: Duration = Duration::from_secs(3_600);

/// How soon an overdue job is looked up again, because its event may come late; after a tenth of
/// the time that it has been overdue if that is longer, up to [`LOOK_UP_EVERY`].
pub(crate) const LOOK_UP_AGAIN: Duration = Duration::from_secs(60);

/// Expected jobs in one store. Each statement or script is atomic, and limited by
/// [`STORE_TIMEOUT`](super::STORE_TIMEOUT).
pub(crate) trait Expectations: Send + Sync {
    /// Expects an event of a job within a time, unless one is known or expected.
    fn expect(&self, job: Expected, within: Duration) -> Answer<'_, ()>;

    /// Expects it no more. False if it was not expected.
    fn forget_job<'a>(&'a self, job: &'a str) -> Answer<'a, bool>;

    /// Looks up the events of jobs whose time for that has come, at most [`MOST_LOOKED_UP`]. Forgets
    /// those that are settled, and notes which are overdue.
    fn look_up(&self) -> Answer<'_, LookedUp>;

    /// The jobs that are noted as overdue and not settled, after a place and at most so many.
    fn overdue(&self, after: Option<JobPlace>, most: u32) -> Answer<'_, Vec<OverdueRow>>;

    /// Takes or renews the lease of the one worker that fetches. False if another has it.
    fn lead<'a>(&'a self, worker: &'a str, lease: Duration) -> Answer<'a, bool>;

    /// Fetches an overdue job no more. It stays overdue until it is forgotten, or its event comes.
    fn give_up<'a>(&'a self, job: &'a str) -> Answer<'a, ()>;

    /// Takes overdue jobs that are to be fetched now. If nothing else becomes of them, they are to be
    /// fetched again after a rest, which doubles with each time.
    fn take<'a>(&'a self, most: u32, rest: Rest) -> Answer<'a, Vec<Taken>>;
}

/// A place in the list of overdue jobs: microseconds of the time when a job was due, and the job.
pub(crate) type JobPlace = (i64, String);

/// An overdue job, as the store has it.
#[derive(Clone, Debug)]
pub(crate) struct OverdueRow {
    pub(crate) job: String,
    /// Microseconds of the time when it was due.
    pub(crate) due: i64,
    pub(crate) fetches: i64,
    pub(crate) is_given_up: bool,
}

impl From<(String, i64, i64, bool)> for OverdueRow {
    fn from((job, due, fetches, is_given_up): (String, i64, i64, bool)) -> Self {
        Self { job, due, fetches, is_given_up }
    }
}

/// How long a job rests after the first time, and at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
}

/// A job whose event is expected, and the keys that its event can have.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) job: String,
    pub(crate) keys: [String; 2],
}

impl Expected {
    pub(crate) fn new(job: &JobId) -> Result<Self, InboxError> {
        let refused = |text| InboxError::new(InboxErrorKind::Invalid, text);
        let job = job.as_str();
        // PostgreSQL refuses texts with a NUL.
        if job.is_empty() || job.contains('\0') {
            return Err(refused("a job id must not be empty or contain a NUL"));
        }
        let key = |event| {
            let json = json!({ "event": event, "jobId": job }).to_string();
            Record::key_of(json.as_bytes()).map_err(|_| refused("the job can have no event"))
        };
        Ok(Self { job: job.to_owned(), keys: [key("job.completed")?, key("job.failed")?] })
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct LookedUp {
    /// The jobs that were not known to be overdue.
    pub(crate) overdue: Vec<String>,
    /// There may be more to look up now.
    pub(crate) is_more: bool,
}

/// A job to be fetched.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) job: String,
    /// Its event has come meanwhile.
    pub(crate) is_settled: bool,
    /// How often it was taken, this time included.
    pub(crate) fetches: i64,
}

impl From<(String, bool, i64)> for Taken {
    fn from((job, is_settled, fetches): (String, bool, i64)) -> Self {
        Self { job, is_settled, fetches }
    }
}
