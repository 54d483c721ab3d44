//! Expected jobs.

use std::time::Duration;

use futures_util::FutureExt;
use sqlx::{FromRow, query};

use super::Postgres;
use crate::{
    model::expectation::{ExpectedJob, JobPlace, JobToFetch, LookUp, OverdueRow, Rest, account_of},
    store::{
        Answer, STEP, WaitingAccounts,
        expectations::{Expectations, LOOK_UP_AGAIN, LOOK_UP_EVERY, MOST_LOOKED_UP},
        sql,
    },
};

/// A job that was looked up, or the time of the next look-up.
#[derive(FromRow)]
struct LookUpRow {
    job: Option<String>,
    is_newly_overdue: bool,
    /// The time until then, in microseconds.
    next_in: Option<i64>,
}

impl Expectations for Postgres {
    fn expect_job(&self, job: ExpectedJob, within: Duration) -> Answer<'_, ()> {
        let ExpectedJob { job, keys: [completed, failed] } = job;
        let account = account_of(&job);
        let expect = query(self.statements.expect_job.clone()).bind(&*self.inbox).bind(job);
        let expect = expect.bind(completed).bind(failed);
        let expect = expect.bind(within.as_secs_f64()).bind(LOOK_UP_EVERY.as_secs_f64());
        let expect = expect.bind(account);
        Box::pin(self.accepting.execute(expect).map(|done| done.map(drop)))
    }

    fn cancel_expectation<'a>(&'a self, job: &'a str) -> Answer<'a, bool> {
        let cancel = query(self.statements.cancel_expectation.clone()).bind(&*self.inbox).bind(job);
        Box::pin(self.accepting.execute_once(cancel).map(|done| Ok(done? > 0)))
    }

    fn look_up(&self) -> Answer<'_, LookUp> {
        let look_up = query(self.statements.look_up.clone()).bind(&*self.inbox);
        let look_up = look_up.bind(i64::from(MOST_LOOKED_UP));
        let look_up = look_up.bind(LOOK_UP_AGAIN.as_secs_f64()).bind(LOOK_UP_EVERY.as_secs_f64());
        Box::pin(async move {
            let found: Vec<LookUpRow> = self.accepting.fetch_all_once(look_up).await?;
            let is_more = found.len() >= MOST_LOOKED_UP as usize;
            let next_in = found.iter().find_map(|row| row.next_in);
            let next_in =
                next_in.map(|next| Duration::from_micros(next.try_into().unwrap_or_default()));
            let overdue = found.into_iter().filter(|row| row.is_newly_overdue);
            let newly_overdue = overdue.filter_map(|row| row.job).collect();
            Ok(LookUp { newly_overdue, is_more, next_in })
        })
    }

    fn overdue(&self, after: Option<JobPlace>, most: u32) -> Answer<'_, Vec<OverdueRow>> {
        let JobPlace { due, job } = after.unwrap_or_default();
        let overdue = query(self.statements.overdue.clone()).bind(&*self.inbox);
        Box::pin(self.accepting.fetch_all(overdue.bind(due).bind(job).bind(i64::from(most))))
    }

    fn lead<'a>(&'a self, worker: &'a str, lease: Duration) -> Answer<'a, bool> {
        let lead = query(self.statements.lead.clone()).bind(&*self.inbox).bind(worker);
        let lead = self.accepting.execute(lead.bind(lease.as_secs_f64()));
        Box::pin(lead.map(|done| Ok(done? > 0)))
    }

    fn give_up<'a>(&'a self, job: &'a str, times: u32) -> Answer<'a, bool> {
        let give_up = query(self.statements.give_up.clone()).bind(&*self.inbox).bind(job);
        let given_up = self.accepting.fetch_all_once::<(bool,)>(give_up.bind(i64::from(times)));
        Box::pin(given_up.map(|rows| Ok(rows? == [(true,)])))
    }

    fn accounts_to_fetch<'a>(&'a self, from: &'a str) -> Answer<'a, WaitingAccounts> {
        Box::pin(async move {
            let waiting = query(self.statements.accounts_to_fetch.clone()).bind(&*self.inbox);
            let waiting = waiting.bind(from).bind(i64::from(STEP));
            Ok(sql::waiting_accounts(self.accepting.fetch_all(waiting).await?))
        })
    }

    fn take<'a>(
        &'a self,
        accounts: &'a [String],
        of_each: u32,
        rest: Rest,
    ) -> Answer<'a, Vec<JobToFetch>> {
        let take = query(self.statements.take.clone()).bind(&*self.inbox).bind(accounts.to_vec());
        let take = take
            .bind(i64::from(of_each))
            .bind(rest.first.as_secs_f64())
            .bind(rest.longest.as_secs_f64());
        Box::pin(self.accepting.fetch_all_once(take))
    }
}
