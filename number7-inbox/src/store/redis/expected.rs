//! The expected jobs.

use std::time::Duration;

use super::{Redis, STEP, millis, script::script};
use crate::engine::{
    Answer,
    expected::{
        Expectations, Expected, JobPlace, LOOK_UP_AGAIN, LOOK_UP_EVERY, LookedUp, MOST_LOOKED_UP,
        OverdueRow, Rest, Taken,
    },
};

impl Redis {
    /// What is known of an expected job.
    fn expected(&self, job: &str) -> String {
        self.key(&format!("expected:{job}"))
    }

    /// All expected jobs, by the time when they are looked up.
    fn expected_jobs(&self) -> String {
        self.key("expected")
    }

    /// Those that are overdue, by the time when they were due.
    pub(super) fn overdue_jobs(&self) -> String {
        self.key("overdue")
    }

    /// Those that are overdue, by the time when they are fetched.
    fn jobs_to_fetch(&self) -> String {
        self.key("to-fetch")
    }
}

impl Expectations for Redis {
    fn expect(&self, Expected { job, keys }: Expected, within: Duration) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut script = script!("expect");
            script.key(self.keys()).key(self.expected(&job)).key(self.expected_jobs());
            script.arg(job).arg(&keys).arg(millis(within)).arg(millis(LOOK_UP_EVERY));
            script.arg(self.server.waits());
            self.server.call_safely(&mut script).await
        })
    }

    fn forget_job<'a>(&'a self, job: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            let mut script = script!("forget_job");
            script.key(self.expected(job)).key(self.expected_jobs()).key(self.overdue_jobs());
            script.key(self.jobs_to_fetch()).arg(job);
            self.server.call(&mut script).await
        })
    }

    fn look_up(&self) -> Answer<'_, LookedUp> {
        Box::pin(async move {
            let mut script = script!("fields", "look_up");
            script.key(self.keys()).key(self.expected_jobs()).key(self.overdue_jobs());
            script.key(self.jobs_to_fetch()).arg(self.expected("")).arg(MOST_LOOKED_UP);
            script.arg(millis(LOOK_UP_AGAIN)).arg(millis(LOOK_UP_EVERY));
            let (overdue, found, damaged): (_, u32, Vec<String>) =
                self.server.call(&mut script).await?;
            for job in damaged {
                tracing::error!(
                    target: "number7", job,
                    "what is known of an expected job was evicted from Redis, or deleted; it is due now"
                );
                self.expect(Expected::new(&job.into())?, Duration::ZERO).await?;
            }
            Ok(LookedUp { overdue, is_more: found == MOST_LOOKED_UP })
        })
    }

    fn overdue(&self, after: Option<JobPlace>, most: u32) -> Answer<'_, Vec<OverdueRow>> {
        Box::pin(async move {
            let (due, mut job) = after.unwrap_or_default();
            let (mut due, mut jobs) = (due / 1_000, Vec::new());
            loop {
                let mut script = script!("fields", "before", "overdue");
                script.key(self.keys()).key(self.overdue_jobs()).key(self.jobs_to_fetch());
                script.arg(self.expected("")).arg(most as usize - jobs.len());
                script.arg(due).arg(job).arg(STEP);
                let (found, last): Overdue = self.server.call(&mut script).await?;
                jobs.extend(found.into_iter().map(|(job, due, fetches, is_given_up)| OverdueRow {
                    job,
                    due: due * 1_000,
                    fetches,
                    is_given_up,
                }));
                match last {
                    Some(place) if jobs.len() < most as usize => (due, job) = place,
                    _ => return Ok(jobs),
                }
            }
        })
    }

    fn lead<'a>(&'a self, worker: &'a str, lease: Duration) -> Answer<'a, bool> {
        Box::pin(async move {
            let mut script = script!("lead");
            script.key(self.key("leader")).arg(worker).arg(millis(lease));
            self.server.call(&mut script).await
        })
    }

    fn give_up<'a>(&'a self, job: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut script = script!("give_up");
            script.key(self.jobs_to_fetch()).arg(job);
            self.server.call(&mut script).await
        })
    }

    fn take<'a>(&'a self, most: u32, rest: Rest) -> Answer<'a, Vec<Taken>> {
        Box::pin(async move {
            let mut script = script!("fields", "take");
            script.key(self.keys()).key(self.jobs_to_fetch()).arg(self.expected("")).arg(most);
            script.arg(millis(rest.first)).arg(millis(rest.longest));
            let taken: Vec<(String, bool, i64)> = self.server.call(&mut script).await?;
            Ok(taken.into_iter().map(Taken::from).collect())
        })
    }
}

/// Jobs, each with milliseconds of the time when it was due, how often it was fetched, and whether it is
/// given up; and the score and the job after which there may be more.
type Overdue = (Vec<(String, i64, i64, bool)>, Option<JobPlace>);
