//! What an inbox needs from its store to notice events that never arrive.

use std::time::Duration;

use super::Answer;
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

    /// Stops fetching an overdue job. It stays overdue until its expectation is cancelled, or its event arrives.
    fn give_up<'a>(&'a self, job: &'a str) -> Answer<'a, ()>;

    /// Takes overdue jobs that are to be fetched now. They will be taken again after a rest, which doubles each time, unless
    /// something settles them.
    fn take(&self, most: u32, rest: Rest) -> Answer<'_, Vec<JobToFetch>>;
}
