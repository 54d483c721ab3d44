//! What an inbox needs from its store to notice events that never arrive.

use std::time::Duration;

use super::{Answer, WaitingAccounts};
use crate::model::expectation::{ExpectedJob, JobPlace, JobToFetch, LookUp, OverdueRow, Rest};

/// The most expected jobs that are looked up at once.
pub(crate) const MOST_LOOKED_UP: u32 = 500;

/// How often an expected job is looked up before it is due: every hour, so that the event that settles it is not
/// forgotten before that.
pub(crate) const LOOK_UP_EVERY: Duration = Duration::from_secs(3_600);

/// How soon an overdue job is looked up again, because its event may arrive late. If a tenth of the time that it has been
/// overdue is longer, that counts instead, up to [`LOOK_UP_EVERY`].
pub(crate) const LOOK_UP_AGAIN: Duration = Duration::from_secs(60);

/// Expected jobs in one store. Each statement or script is atomic, and limited by
/// [`STORE_TIMEOUT`](super::STORE_TIMEOUT).
pub(crate) trait Expectations: Send + Sync {
    /// Expects an event of a job within a time, unless one is known or expected.
    fn expect_job(&self, job: ExpectedJob, within: Duration) -> Answer<'_, ()>;

    /// Stops expecting it. False if it was not expected.
    fn cancel_expectation<'a>(&'a self, job: &'a str) -> Answer<'a, bool>;

    /// Looks up the events of at most [`MOST_LOOKED_UP`] jobs that are to be looked up by now. Removes the jobs that are
    /// settled, and marks those that are overdue.
    fn look_up(&self) -> Answer<'_, LookUp>;

    /// The jobs that are marked as overdue and not settled, after a place and at most `most`.
    fn overdue(&self, after: Option<JobPlace>, most: u32) -> Answer<'_, Vec<OverdueRow>>;

    /// Takes or renews the lease of the one worker that fetches. False if another has it.
    fn lead<'a>(&'a self, worker: &'a str, lease: Duration) -> Answer<'a, bool>;

    /// Counts that nobody knows an overdue job. After `times` of these it is given up: it is not fetched anymore, and stays
    /// overdue until its expectation is cancelled, or its event arrives. Returns whether it is given up.
    fn give_up<'a>(&'a self, job: &'a str, times: u32) -> Answer<'a, bool>;

    /// The next accounts, from this one on, that have overdue jobs to be fetched now. Their order never changes. Jobs without
    /// an account belong to the empty name, which is the first.
    fn accounts_to_fetch<'a>(&'a self, from: &'a str) -> Answer<'a, WaitingAccounts>;

    /// Takes overdue jobs of these accounts that are to be fetched now, at most `of_each` of each. They will be taken again
    /// after a rest, which doubles each time, unless something settles them.
    fn take<'a>(
        &'a self,
        accounts: &'a [String],
        of_each: u32,
        rest: Rest,
    ) -> Answer<'a, Vec<JobToFetch>>;
}
