//! What an inbox that several accounts share does for one of them.

use std::time::Duration;

use number7_core::{Account, JobId};

use super::{ExpectedUpload, Inbox};
use crate::model::{
    entry::State,
    error::InboxError,
    expectation::ExpectedJob,
    page::Filter,
    paused::{NewPause, Paused},
    stats::AccountStats,
};

/// How many events of an account are counted at once.
const PAGE: u32 = 1000;

/// One account of an inbox that several share: made by [`Inbox::account`].
#[derive(Clone, Debug)]
pub struct AccountInbox {
    inbox: Inbox,
    account: Account,
}

impl Inbox {
    /// One account of this inbox, if the receiver [looks up](number7_core::Accounts) whose event it is: to expect its jobs,
    /// to pause and to count its events. Two accounts can expect a job of the same id.
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

    /// Pauses this account: workers claim none of its events, in every process, and go on with those of other accounts. See
    /// [`Inbox::pause`].
    ///
    /// Its events hold up no others, however many there are: neither those of other accounts nor those without an account.
    ///
    /// # Errors
    ///
    /// Those of [`Inbox::pause`].
    pub async fn pause(
        &self,
        by: &str,
        why: &str,
        length: Option<Duration>,
    ) -> Result<(), InboxError> {
        let pause = NewPause::new(by, why, length)?;
        self.inbox.store.pause(self.account.as_str(), pause).await
    }

    /// Ends a [pause](Self::pause) of this account. False if there is none. A pause of the whole inbox stays.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn resume(&self) -> Result<bool, InboxError> {
        let is_resumed = self.inbox.store.resume(self.account.as_str()).await?;
        self.inbox.store.announce();
        Ok(is_resumed)
    }

    /// The [pause](Self::pause) of this account. `None` if there is none, or it is over.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn paused(&self) -> Result<Option<Paused>, InboxError> {
        let pauses = self.inbox.pauses().await?;
        Ok(pauses.into_iter().find(|paused| paused.account.as_ref() == Some(&self.account)))
    }

    /// Counts the events of this account.
    ///
    /// It reads all events of the inbox for that, so it is for operators: with a million events it takes some seconds, and
    /// events that change their state meanwhile may be counted twice, or not at all.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn stats(&self) -> Result<AccountStats, InboxError> {
        let now = self.inbox.now().await?;
        let mut stats = AccountStats::default();
        for state in State::ALL {
            let (filter, mut after) = (Filter::new().account(self.account.as_str()), None);
            loop {
                let page = self.inbox.list(state, &filter, after.as_ref(), PAGE).await?;
                stats.count(state, &page.entries, now);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        stats.is_paused = self.paused().await?.is_some();
        Ok(stats)
    }
}
