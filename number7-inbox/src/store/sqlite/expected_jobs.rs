//! Expected jobs.

use std::time::Duration;

use futures_util::{FutureExt, TryFutureExt};
use serde_json::json;
use sqlx::{FromRow, query, query_as, query_scalar};

use super::{Sqlite, statement};
use crate::model::time::millis;
use crate::{
    model::expectation::{ExpectedJob, JobPlace, JobToFetch, LookUp, OverdueRow, Rest, account_of},
    store::{
        Answer, STEP, WaitingAccounts,
        expectations::{Expectations, LOOK_UP_AGAIN, LOOK_UP_EVERY, MOST_LOOKED_UP},
        sql,
    },
};

/// A job that is to be looked up now.
#[derive(FromRow)]
struct FoundRow {
    job: String,
    is_newly_overdue: bool,
    is_settled: bool,
}

impl Expectations for Sqlite {
    fn expect_job(
        &self,
        ExpectedJob { job, keys }: ExpectedJob,
        within: Duration,
    ) -> Answer<'_, ()> {
        let account = account_of(&job);
        let expect = move |this: &Self, now| {
            let [completed, failed] = keys;
            let expect = query(statement!("expect_job")).bind(this.name()).bind(job);
            let expect = expect.bind(completed).bind(failed).bind(now);
            expect.bind(millis(within)).bind(millis(LOOK_UP_EVERY)).bind(account)
        };
        self.change_rows(expect).map_ok(drop).boxed()
    }

    fn cancel_expectation<'a>(&'a self, job: &'a str) -> Answer<'a, bool> {
        let job = job.to_owned();
        let cancel = move |this: &Self, _| {
            query(statement!("cancel_expectation")).bind(this.name()).bind(job)
        };
        self.change_rows(cancel).map_ok(|changed| changed > 0).boxed()
    }

    fn look_up(&self) -> Answer<'_, LookUp> {
        self.run(|this| async move {
            let inbox = &*this.inbox.name;
            let next = || query_scalar(statement!("next_look_up")).bind(inbox);
            let at: Option<i64> = next().fetch_one(&mut *this.file.reader().await?).await?;
            let next_in = at.map(|at| this.time_until(at));
            if next_in != Some(Duration::ZERO) {
                return Ok(LookUp { next_in, ..LookUp::default() });
            }
            let mut writing = this.file.begin().await?;
            let found = query_as(statement!("look_up")).bind(inbox).bind(writing.now);
            let found: Vec<FoundRow> = found.bind(MOST_LOOKED_UP).fetch_all(&mut *writing).await?;
            let is_more = found.len() == MOST_LOOKED_UP as usize;
            let jobs = |is_settled| {
                let found = found.iter().filter(|row| row.is_settled == is_settled);
                found.map(|row| row.job.as_str()).collect::<serde_json::Value>().to_string()
            };
            let settle = query(statement!("settle")).bind(inbox).bind(jobs(true));
            settle.execute(&mut *writing).await?;
            let looked_up = query(statement!("looked_up")).bind(inbox).bind(jobs(false));
            let looked_up = looked_up.bind(writing.now).bind(millis(LOOK_UP_AGAIN));
            looked_up.bind(millis(LOOK_UP_EVERY)).execute(&mut *writing).await?;
            let at: Option<i64> = next().fetch_one(&mut *writing).await?;
            writing.commit().await?;
            let overdue = found.into_iter().filter(|row| row.is_newly_overdue && !row.is_settled);
            let newly_overdue = overdue.map(|row| row.job).collect();
            Ok(LookUp { newly_overdue, is_more, next_in: at.map(|at| this.time_until(at)) })
        })
    }

    fn overdue(&self, after: Option<JobPlace>, most: u32) -> Answer<'_, Vec<OverdueRow>> {
        self.run(move |this| async move {
            let JobPlace { due, job } = after.unwrap_or_default();
            let overdue = query_as(statement!("overdue")).bind(&*this.inbox.name).bind(due / 1_000);
            let overdue = overdue.bind(job).bind(most);
            Ok(overdue.fetch_all(&mut *this.file.reader().await?).await?)
        })
    }

    fn lead<'a>(&'a self, worker: &'a str, lease: Duration) -> Answer<'a, bool> {
        let worker = worker.to_owned();
        let lead = move |this: &Self, now| {
            let lead = query(statement!("lead")).bind(this.name()).bind(worker);
            lead.bind(now).bind(millis(lease))
        };
        self.change_rows(lead).map_ok(|changed| changed > 0).boxed()
    }

    fn give_up<'a>(&'a self, job: &'a str, times: u32) -> Answer<'a, bool> {
        let job = job.to_owned();
        self.run(move |this| async move {
            let mut writing = this.file.begin().await?;
            let give_up = query_scalar(statement!("give_up")).bind(&*this.inbox.name);
            let give_up = give_up.bind(job).bind(times);
            let is_given_up: Option<bool> = give_up.fetch_optional(&mut *writing).await?;
            writing.commit().await?;
            Ok(is_given_up.unwrap_or_default())
        })
    }

    fn accounts_to_fetch<'a>(&'a self, from: &'a str) -> Answer<'a, WaitingAccounts> {
        let from = from.to_owned();
        self.run(|this| async move {
            let waiting = query_as(statement!("accounts_to_fetch")).bind(&*this.inbox.name);
            let waiting = waiting.bind(from).bind(this.file.clock.millis()).bind(STEP);
            let waiting = waiting.fetch_all(&mut *this.file.reader().await?).await?;
            Ok(sql::waiting_accounts(waiting))
        })
    }

    fn take<'a>(
        &'a self,
        accounts: &'a [String],
        of_each: u32,
        rest: Rest,
    ) -> Answer<'a, Vec<JobToFetch>> {
        let accounts = json!(accounts).to_string();
        self.run(move |this| async move {
            let mut writing = this.file.begin().await?;
            let take = query_as(statement!("take")).bind(&*this.inbox.name).bind(writing.now);
            let take = take.bind(millis(rest.first)).bind(millis(rest.longest));
            let take = take.bind(accounts).bind(of_each);
            let taken = take.fetch_all(&mut *writing).await?;
            writing.commit().await?;
            Ok(taken)
        })
    }
}
