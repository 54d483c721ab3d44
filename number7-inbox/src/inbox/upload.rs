//! Uploads whose job is not known yet.

use std::{fmt, time::Duration};

use number7_core::{Account, JobId};

use super::Inbox;
use crate::model::{error::InboxError, expectation::ExpectedJob};

impl Inbox {
    /// Expects an upload to begin a job. Call it before the upload, and [`bind`](ExpectedUpload::bind) what it returns to the
    /// job afterwards. The reference is your own name for the document.
    ///
    /// The vendor can be asked about a job only by its id, which a process that dies in the middle of an upload
    /// never learns. Then the upload is [overdue](Self::overdue) after this time, and workers log a `WARN` with the
    /// reference, once. You have to find out whether the document has arrived: if a webhook comes for a job that
    /// nobody expects, it may be about this upload.
    ///
    /// It is one durable write. If the same reference is expected already, the time of the first call counts, and what this
    /// call returns binds or cancels the same upload.
    ///
    /// # Errors
    ///
    /// The store failed, or the reference is empty, longer than 255 bytes, or has a NUL.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use number7_client::{Client, Document};
    /// use number7_inbox::{BoxError, Inbox};
    ///
    /// async fn upload(client: &Client, inbox: &Inbox, path: &str) -> Result<(), BoxError> {
    ///     let expected = inbox.expect_upload(path, Duration::from_secs(30 * 60)).await?;
    ///     let upload = client.upload(Document::from_path("invoice", path)).await?;
    ///     Ok(expected.bind(upload).await?)
    /// }
    /// # _ = upload;
    /// ```
    pub async fn expect_upload(
        &self,
        reference: impl Into<String>,
        within: Duration,
    ) -> Result<ExpectedUpload, InboxError> {
        self.expect_upload_of(None, reference.into(), within).await
    }

    pub(super) async fn expect_upload_of(
        &self,
        account: Option<&Account>,
        reference: String,
        within: Duration,
    ) -> Result<ExpectedUpload, InboxError> {
        let expected = ExpectedJob::of_upload(account, &reference)?;
        let name = expected.job.clone();
        self.expect(expected, within).await?;
        Ok(ExpectedUpload { inbox: self.clone(), account: account.cloned(), name, within })
    }
}

/// An upload that is expected to begin a job: made by [`Inbox::expect_upload`].
///
/// If it is dropped, the upload stays expected, and is overdue when its time is up.
#[must_use = "an upload that is not bound to its job becomes overdue"]
pub struct ExpectedUpload {
    inbox: Inbox,
    account: Option<Account>,
    /// The name in the store.
    name: String,
    within: Duration,
}

impl ExpectedUpload {
    /// Call this when you know which job the upload began. It [expects](Inbox::expect_job) the job within the same time,
    /// counted from now, and stops expecting the upload.
    ///
    /// These are two writes. If the process dies between them, both are expected: the upload becomes overdue although
    /// its job is known.
    ///
    /// # Errors
    ///
    /// Those of [`Inbox::expect_job`].
    pub async fn bind(self, job_id: impl Into<JobId>) -> Result<(), InboxError> {
        let job = ExpectedJob::new(self.account.as_ref(), &job_id.into())?;
        self.inbox.expect(job, self.within).await?;
        self.cancel().await
    }

    /// Stops expecting the upload. Call it if you are sure that the document did not arrive.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn cancel(self) -> Result<(), InboxError> {
        self.inbox.store.cancel_expectation(&self.name).await.map(drop)
    }
}

impl fmt::Debug for ExpectedUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExpectedUpload").field("name", &self.name).finish_non_exhaustive()
    }
}
