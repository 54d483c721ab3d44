//! What an inbox that several accounts share does for one of them.

use std::time::Duration;

use number7_core::{Account, JobId};

use super::{ExpectedUpload, Inbox};
use crate::model::{error::InboxError, expectation::ExpectedJob};

/// One account of an inbox that several share: made by [`Inbox::account`].
#[derive(Clone, Debug)]
pub struct AccountInbox {
    inbox: Inbox,
    account: Account,
}

impl Inbox {
    /// The expectations of one account, if the receiver [looks up](number7_core::Accounts) whose event it is. Two accounts
    /// can expect a job of the same id.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use number7_inbox::{Account, Inbox, InboxError};
    ///
    /// async fn uploaded(inbox: &Inbox, account: &Account, job_id: &str) -> Result<(), InboxError> {
    ///     inbox.account(account).expect_job(job_id, Duration::from_secs(30 * 60)).await
    /// }
    /// # _ = uploaded;
    /// ```
    #[must_use]
    pub fn account(&self, account: &Account) -> AccountInbox {
        AccountInbox { inbox: self.clone(), account: account.clone() }
    }
}

impl AccountInbox {
    /// Expects a result of a job of this account: see [`Inbox::expect_job`].
    ///
    /// # Errors
    ///
    /// Those of [`Inbox::expect_job`].
    pub async fn expect_job(
        &self,
        job_id: impl Into<JobId>,
        within: Duration,
    ) -> Result<(), InboxError> {
        self.inbox.expect(ExpectedJob::new(Some(&self.account), &job_id.into())?, within).await
    }

    /// Stops expecting a job of this account: see [`Inbox::cancel_expectation`].
    ///
    /// # Errors
    ///
    /// Those of [`Inbox::expect_job`].
    pub async fn cancel_expectation(&self, job_id: impl Into<JobId>) -> Result<bool, InboxError> {
        let expected = ExpectedJob::new(Some(&self.account), &job_id.into())?;
        self.inbox.store.cancel_expectation(&expected.job).await
    }

    /// Expects an upload of this account to begin a job: see [`Inbox::expect_upload`].
    ///
    /// # Errors
    ///
    /// Those of [`Inbox::expect_upload`].
    pub async fn expect_upload(
        &self,
        reference: impl Into<String>,
        within: Duration,
    ) -> Result<ExpectedUpload, InboxError> {
        self.inbox.expect_upload_of(Some(&self.account), reference.into(), within).await
    }
}
