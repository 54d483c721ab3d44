//! Expected jobs.

use std::{collections::BTreeSet, time::Duration};

use super::{Memory, Tables};
use crate::{
    model::expectation::{ExpectedJob, JobPlace, JobToFetch, LookUp, OverdueRow, Rest, account_of},
    store::{
        Answer, WaitingAccounts,
        expectations::{Expectations, LOOK_UP_AGAIN, LOOK_UP_EVERY, MOST_LOOKED_UP},
    },
};

pub(super) struct Expected {
    keys: [String; 2],
    due_at: Duration,
    look_up_at: Duration,
    is_overdue: bool,
    /// When it is to be fetched. `None` if it is not overdue, or was given up.
    fetch_at: Option<Duration>,
    fetches: i64,
    /// How often nobody knew it.
    unknown: u32,
    is_given_up: bool,
}

impl Tables {
    pub(crate) fn expect_job(&mut self, job: ExpectedJob, within: Duration) {
        let (now, ExpectedJob { job, keys }) = (self.clock.now(), job);
        if keys.iter().any(|key| self.keys.contains_key(key)) {
            return;
        }
        self.expected.entry(job).or_insert(Expected {
            keys,
            due_at: now + within,
            look_up_at: now + within.min(LOOK_UP_EVERY),
            is_overdue: false,
            fetch_at: None,
            fetches: 0,
            unknown: 0,
            is_given_up: false,
        });
    }

    pub(crate) fn cancel_expectation(&mut self, job: &str) -> bool {
        self.expected.remove(job).is_some()
    }

    fn is_settled(&self, expected: &Expected) -> bool {
        expected.keys.iter().any(|key| self.keys.contains_key(key))
    }

    pub(crate) fn look_up(&mut self) -> LookUp {
        let now = self.clock.now();
        let due = self.expected.iter().filter(|(_, expected)| expected.look_up_at <= now);
        let due = due.take(MOST_LOOKED_UP as usize);
        let due: Vec<_> =
            due.map(|(job, expected)| (job.clone(), self.is_settled(expected))).collect();
        let mut found =
            LookUp { is_more: due.len() == MOST_LOOKED_UP as usize, ..LookUp::default() };
        for (job, is_settled) in due {
            if is_settled {
                self.expected.remove(&job);
            } else if let Some(expected) = self.expected.get_mut(&job) {
                let late = now.checked_sub(expected.due_at);
                let pause = late.map_or(expected.due_at.saturating_sub(now), |late| {
                    LOOK_UP_AGAIN.max(late / 10)
                });
                expected.look_up_at = now + pause.min(LOOK_UP_EVERY);
                if late.is_some() && !expected.is_overdue {
                    (expected.is_overdue, expected.fetch_at) = (true, Some(now));
                    found.newly_overdue.push(job);
                }
            }
        }
        let next = self.expected.values().map(|expected| expected.look_up_at).min();
        found.next_in = next.map(|at| at.saturating_sub(now));
        found
    }

    fn overdue(&self, after: Option<JobPlace>, most: u32) -> Vec<OverdueRow> {
        let is_listed = |expected: &Expected| expected.is_overdue && !self.is_settled(expected);
        let overdue = self.expected.iter().filter(|(_, expected)| is_listed(expected));
        let mut rows: Vec<_> = overdue
            .map(|(job, expected)| OverdueRow {
                job: job.clone(),
                due: expected.due_at.as_micros().try_into().unwrap_or(i64::MAX),
                fetches: expected.fetches,
                is_given_up: expected.is_given_up,
            })
            .collect();
        rows.sort_by(|one, other| (one.due, &one.job).cmp(&(other.due, &other.job)));
        if let Some(after) = after {
            rows.retain(|row| (row.due, &row.job) > (after.due, &after.job));
        }
        rows.truncate(most as usize);
        rows
    }

    pub(crate) fn lead(&mut self, worker: &str, lease: Duration) -> bool {
        let now = self.clock.now();
        let is_others = |(leader, until): &(String, Duration)| leader != worker && *until >= now;
        let leads = !self.leader.as_ref().is_some_and(is_others);
        if leads {
            self.leader = Some((worker.to_owned(), now + lease));
        }
        leads
    }

    pub(crate) fn give_up(&mut self, job: &str, times: u32) -> bool {
        let Some(expected) = self.expected.get_mut(job).filter(|job| job.is_overdue) else {
            return false;
        };
        expected.unknown += 1;
        if expected.unknown >= times {
            (expected.is_given_up, expected.fetch_at) = (true, None);
        }
        expected.is_given_up
    }

    /// The jobs that are to be fetched now, the oldest first.
    fn to_fetch(&self) -> Vec<(Duration, String)> {
        let at = |(job, expected): (&String, &Expected)| Some((expected.fetch_at?, job.clone()));
        let mut jobs: Vec<_> = self.expected.iter().filter_map(at).collect();
        jobs.retain(|(at, _)| *at <= self.clock.now());
        jobs.sort();
        jobs
    }

    pub(crate) fn accounts_to_fetch(&self, from: &str) -> WaitingAccounts {
        let accounts = self.to_fetch().into_iter().map(|(_, job)| account_of(&job));
        let accounts: BTreeSet<_> = accounts.filter(|account| **account >= *from).collect();
        WaitingAccounts { accounts: accounts.into_iter().collect(), go_on_from: None }
    }

    pub(crate) fn take(
        &mut self,
        accounts: &[String],
        of_each: u32,
        rest: Rest,
    ) -> Vec<JobToFetch> {
        let (now, due) = (self.clock.now(), self.to_fetch());
        let jobs = accounts.iter().flat_map(|account| {
            let jobs = due.iter().filter(move |(_, job)| account_of(job) == *account);
            jobs.take(of_each as usize)
        });
        let mut taken = Vec::new();
        for (_, job) in jobs.cloned() {
            let is_settled = self.is_settled(&self.expected[&job]);
            let Some(expected) = self.expected.get_mut(&job) else { continue };
            expected.fetch_at = Some(now + rest.after(expected.fetches));
            expected.fetches += 1;
            taken.push(JobToFetch { job, is_settled, fetches: expected.fetches });
        }
        taken
    }

    /// How many jobs are overdue, and when the oldest one was due.
    pub(super) fn overdue_jobs(&self) -> (u64, Option<Duration>) {
        let overdue = self.expected.values().filter(|expected| expected.is_overdue);
        let due: Vec<_> = overdue.map(|expected| expected.due_at).collect();
        (due.len() as u64, due.into_iter().min())
    }
}

impl Expectations for Memory {
    fn expect_job(&self, job: ExpectedJob, within: Duration) -> Answer<'_, ()> {
        self.at_once(|tables| tables.expect_job(job, within))
    }

    fn cancel_expectation<'a>(&'a self, job: &'a str) -> Answer<'a, bool> {
        self.at_once(|tables| tables.cancel_expectation(job))
    }

    fn look_up(&self) -> Answer<'_, LookUp> {
        self.at_once(Tables::look_up)
    }

    fn overdue(&self, after: Option<JobPlace>, most: u32) -> Answer<'_, Vec<OverdueRow>> {
        self.at_once(|tables| tables.overdue(after, most))
    }

    fn lead<'a>(&'a self, worker: &'a str, lease: Duration) -> Answer<'a, bool> {
        self.at_once(|tables| tables.lead(worker, lease))
    }

    fn give_up<'a>(&'a self, job: &'a str, times: u32) -> Answer<'a, bool> {
        self.at_once(|tables| tables.give_up(job, times))
    }

    fn accounts_to_fetch<'a>(&'a self, from: &'a str) -> Answer<'a, WaitingAccounts> {
        self.at_once(|tables| tables.accounts_to_fetch(from))
    }

    fn take<'a>(
        &'a self,
        accounts: &'a [String],
        of_each: u32,
        rest: Rest,
    ) -> Answer<'a, Vec<JobToFetch>> {
        self.at_once(|tables| tables.take(accounts, of_each, rest))
    }
}
