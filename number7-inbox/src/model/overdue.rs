use std::time::SystemTime;

use number7_core::{Account, JobId};

use crate::model::{
    error::InboxError,
    expectation::{Expected, ExpectedName, JobPlace, OverdueRow},
    page::{Cursor, no_cursor},
    time::of_micros,
};

/// What cursors of the list of overdue jobs begin with.
const LIST: &str = "overdue";

/// A job that was [expected](crate::Inbox::expect_job), but no event of it was accepted in time; or an
/// [upload](crate::Inbox::expect_upload) that was not bound to its job in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverdueJob {
    name: String,
    expected: ExpectedName,
    due_micros: i64,
    fetches: u32,
    is_given_up: bool,
}

/// The place of a cursor.
pub(crate) fn place(cursor: &Cursor) -> Result<JobPlace, InboxError> {
    let place = cursor.place(LIST)?.split_once('.').filter(|(_, job)| !job.contains('\0'));
    let (micros, job) = place.ok_or_else(no_cursor)?;
    Ok(JobPlace { due: micros.parse().map_err(|_| no_cursor())?, job: job.to_owned() })
}

impl OverdueJob {
    pub(crate) fn new(row: OverdueRow) -> Self {
        let OverdueRow { job: name, due: due_micros, fetches, is_given_up } = row;
        let fetches = fetches.try_into().unwrap_or(u32::MAX);
        let expected = ExpectedName::parse(&name);
        Self { name, expected, due_micros, fetches, is_given_up }
    }

    pub(crate) fn cursor(&self) -> Cursor {
        Cursor::new(LIST, &format!("{}.{}", self.due_micros, self.name))
    }

    /// The account that it was expected for; see [`Inbox::account`](crate::Inbox::account).
    #[must_use]
    pub fn account(&self) -> Option<&Account> {
        self.expected.account.as_ref()
    }

    /// The job. `None` for an upload.
    #[must_use]
    pub fn job_id(&self) -> Option<&JobId> {
        match &self.expected.what {
            Expected::Job(job_id) => Some(job_id),
            Expected::Upload(_) => None,
        }
    }

    /// The reference of an upload whose job is not known. Its result cannot be fetched: find out whether the document has
    /// arrived, and [bind or cancel](crate::ExpectedUpload) the upload.
    #[must_use]
    pub fn upload(&self) -> Option<&str> {
        match &self.expected.what {
            Expected::Job(_) => None,
            Expected::Upload(reference) => Some(reference),
        }
    }

    /// When its event was due, by the store's clock.
    #[must_use]
    pub fn due_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + of_micros(self.due_micros)
    }

    /// How often it was selected to be fetched; see [`Worker::reconcile`](crate::Worker::reconcile). If an earlier fetch of the
    /// job is still running, this counts but does not fetch.
    #[must_use]
    pub fn fetches(&self) -> u32 {
        self.fetches
    }

    /// Whether the vendor is not asked about it anymore, because it [does not know the job](crate::Fetched::Unknown), or
    /// because there is [no client](crate::Worker::reconcile_accounts) for its account. The job stays overdue until its
    /// expectation is [cancelled](crate::Inbox::cancel_expectation), or until its event arrives after all.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.is_given_up
    }
}
