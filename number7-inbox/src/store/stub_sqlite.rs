//! A stub, until the store is on tables of its own.
#![allow(unused_variables, clippy::todo, clippy::unused_async, missing_docs)]

use std::{sync::Arc, time::Duration};

use number7_core::Acceptance;
use tokio::runtime::Handle;

use super::{Answer, Exchange, Exchanged, Listed, NewEvent, Store, expectations::Expectations};
use crate::{
    Entry, InboxError, State, Stats,
    model::{
        claim::ClaimId,
        expectation::{ExpectedJob, JobPlace, JobToFetch, LookUp, OverdueRow, Rest},
        options::Options,
    },
};

pub(crate) struct Sqlite;

impl Sqlite {
    pub(crate) async fn open(
        path: &std::path::Path,
        options: &Options,
    ) -> Result<Self, InboxError> {
        todo!()
    }

    pub(crate) async fn open_url(url: &str, options: &Options) -> Result<Self, InboxError> {
        todo!()
    }

    pub(crate) async fn open_with(
        connect: sqlx::sqlite::SqliteConnectOptions,
        options: &Options,
    ) -> Result<Self, InboxError> {
        todo!()
    }

    /// The SQL of all migrations, for a DBA.
    pub(crate) fn migrations(options: &Options) -> String {
        todo!()
    }
}

impl Store for Sqlite {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn named(&self, inbox: &str) -> Arc<dyn Store> {
        todo!()
    }

    fn wake(&self) -> &Arc<crate::model::wake::Wake> {
        todo!()
    }

    fn runtime(&self) -> Handle {
        todo!()
    }

    fn insert(&self, event: NewEvent) -> Answer<'_, Acceptance> {
        todo!()
    }

    fn exchange<'a>(&'a self, exchange: Exchange<'a>) -> Answer<'a, Exchanged> {
        todo!()
    }

    fn heartbeat<'a>(&'a self, worker: &'a str) -> Answer<'a, Vec<ClaimId>> {
        todo!()
    }

    fn release<'a>(&'a self, worker: &'a str, claims: &'a [ClaimId]) -> Answer<'a, ()> {
        todo!()
    }

    fn forget<'a>(&'a self, worker: &'a str) -> Answer<'a, ()> {
        todo!()
    }

    fn rescue(&self, lease: Duration, quarantine_after: u32) -> Answer<'_, u64> {
        todo!()
    }

    fn sweep(&self, retention: Duration, of_dead: Option<Duration>) -> Answer<'_, u64> {
        todo!()
    }

    fn ping(&self) -> Answer<'_, ()> {
        todo!()
    }

    fn stats(&self) -> Answer<'_, Stats> {
        todo!()
    }

    fn list<'a>(&'a self, state: State, after: Option<&'a str>, most: u32) -> Answer<'a, Listed> {
        todo!()
    }

    fn show<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Entry>> {
        todo!()
    }

    fn requeue<'a>(&'a self, keys: &'a [String]) -> Answer<'a, u64> {
        todo!()
    }

    fn discard<'a>(&'a self, key: &'a str) -> Answer<'a, bool> {
        todo!()
    }
}

impl Expectations for Sqlite {
    fn expect_job(&self, job: ExpectedJob, within: Duration) -> Answer<'_, ()> {
        todo!()
    }

    fn cancel_expectation<'a>(&'a self, job: &'a str) -> Answer<'a, bool> {
        todo!()
    }

    fn look_up(&self) -> Answer<'_, LookUp> {
        todo!()
    }

    fn overdue(&self, after: Option<JobPlace>, most: u32) -> Answer<'_, Vec<OverdueRow>> {
        todo!()
    }

    fn lead<'a>(&'a self, worker: &'a str, lease: Duration) -> Answer<'a, bool> {
        todo!()
    }

    fn give_up<'a>(&'a self, job: &'a str) -> Answer<'a, ()> {
        todo!()
    }

    fn take(&self, most: u32, rest: Rest) -> Answer<'_, Vec<JobToFetch>> {
        todo!()
    }
}

impl super::transaction::TransactionalStore for sqlx::Sqlite {}

impl super::transaction::sealed::Finish for sqlx::Sqlite {
    const BEGIN: &'static str = "BEGIN";

    fn finish<'a>(
        connection: &'a mut Self::Connection,
        schema: &'a str,
        event: i64,
        attempt: u32,
        worker: &'a str,
    ) -> futures_util::future::BoxFuture<'a, Result<u64, sqlx::Error>> {
        todo!()
    }
}
