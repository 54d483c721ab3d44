//! Expected jobs.

use std::time::Duration;

use redis::{FromRedisValue, ParsingError, Value, from_redis_value};

use super::{
    super::{
        Answer, WaitingAccounts,
        expectations::{Expectations, LOOK_UP_AGAIN, LOOK_UP_EVERY, MOST_LOOKED_UP},
    },
    Redis, STEP,
    script::script,
};
use crate::model::expectation::{ExpectedJob, JobPlace, JobToFetch, LookUp, OverdueRow, Rest};
use crate::model::time::millis;

impl Expectations for Redis {
    fn expect_job(&self, job: ExpectedJob, within: Duration) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut call = self.call(script!("jobs", "expect_job"));
            call.arg(job.job).arg(&job.keys).arg(millis(within)).arg(millis(LOOK_UP_EVERY));
            self.server.call_safely(call.arg(self.server.waits())).await
        })
    }

    fn cancel_expectation<'a>(&'a self, job: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            let mut call = self.call(script!("jobs", "cancel_expectation"));
            self.server.call(call.arg(job)).await
        })
    }

    fn look_up(&self) -> Answer<'_, LookUp> {
        Box::pin(async move {
            let mut call = self.call(script!("jobs", "look_up"));
            call.arg(MOST_LOOKED_UP).arg(millis(LOOK_UP_AGAIN)).arg(millis(LOOK_UP_EVERY));
            let (newly_overdue, damaged, next): (_, Vec<String>, Option<u64>) =
                self.server.call(&mut call).await?;
            for job in damaged {
                tracing::error!(
                    target: "number7", job,
                    "what is known of an expected job was evicted from Redis, or deleted; it is due now"
                );
                self.expect_job(ExpectedJob::of_name(&job)?, Duration::ZERO).await?;
            }
            let next_in = next.map(Duration::from_millis);
            Ok(LookUp { newly_overdue, is_more: next == Some(0), next_in })
        })
    }

    fn overdue(&self, after: Option<JobPlace>, most: u32) -> Answer<'_, Vec<OverdueRow>> {
        Box::pin(async move {
            let JobPlace { due, mut job } = after.unwrap_or_default();
            let (mut due, mut rows) = (due / 1_000, Vec::new());
            loop {
                let mut call = self.call(script!("jobs", "before", "overdue"));
                call.arg(most as usize - rows.len()).arg(due).arg(job).arg(STEP);
                let (found, last): (Vec<OverdueRow>, Option<(i64, String)>) =
                    self.server.call(&mut call).await?;
                rows.extend(found);
                match last {
                    Some(place) if rows.len() < most as usize => (due, job) = place,
                    _ => return Ok(rows),
                }
            }
        })
    }

    fn lead<'a>(&'a self, worker: &'a str, lease: Duration) -> Answer<'a, bool> {
        Box::pin(async move {
            let mut call = self.call(script!("lead"));
            self.server.call(call.arg(worker).arg(millis(lease))).await
        })
    }

    fn give_up<'a>(&'a self, job: &'a str, times: u32) -> Answer<'a, bool> {
        Box::pin(async move {
            let mut call = self.call(script!("jobs", "give_up"));
            self.server.call(call.arg(job).arg(times)).await
        })
    }

    fn accounts_to_fetch<'a>(&'a self, from: &'a str) -> Answer<'a, WaitingAccounts> {
        Box::pin(self.accounts(from, "jobs"))
    }

    fn take<'a>(
        &'a self,
        accounts: &'a [String],
        of_each: u32,
        rest: Rest,
    ) -> Answer<'a, Vec<JobToFetch>> {
        Box::pin(async move {
            let mut call = self.call(script!("jobs", "take"));
            call.arg(millis(rest.first)).arg(millis(rest.longest)).arg(of_each).arg(accounts);
            self.server.call(&mut call).await
        })
    }
}

impl FromRedisValue for OverdueRow {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (job, millis, fetches, is_given_up): (_, i64, _, _) = from_redis_value(value)?;
        Ok(Self { job, due: millis * 1_000, fetches, is_given_up })
    }
}

impl FromRedisValue for JobToFetch {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (job, is_settled, fetches) = from_redis_value(value)?;
        Ok(Self { job, is_settled, fetches })
    }
}
