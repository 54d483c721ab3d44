//! One server, for several machines.

use std::time::Duration;

use apalis_core::{backend::ext::BackendExt, error::BoxDynError};
use apalis_postgres::{Config, PostgresStorage};
use futures_util::future::BoxFuture;
use number7_core::{Acceptance, Record};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Executor, PgPool, Postgres as Db,
    pool::PoolConnection,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgQueryResult},
    query,
    query::Query,
    query_as, raw_sql,
};
use ulid::Ulid;

use super::{
    Answer, CONNECT_TIMEOUT, Claim, Engine, Outcome, POLL_INTERVAL, QUEUE, STORE_TIMEOUT,
    SWEEP_STEP, in_time,
};
use crate::{
    DEFAULT_ATTEMPTS, DeadLetter, InboxError, StoredEvent,
    work::{Shift, Verbatim},
};

/// How many connections acceptance and acknowledgement share: 10, as many as sqlx defaults to.
const CONNECTIONS: u32 = 10;

/// How many connections the claiming of events has for itself.
const CLAIM_CONNECTIONS: u32 = 2;

pub(crate) struct Postgres {
    pool: PgPool,
}

impl Postgres {
    pub(crate) async fn open(url: &str) -> Result<Self, InboxError> {
        let options: PgConnectOptions = url.parse()?;
        // Not bounded by a time limit: tables may be large, and another process may be at it.
        let mut connection = super::open(async || Ok(options.connect().await?)).await?;
        let mut migrations = PostgresStorage::migrations();
        migrations.set_ignore_missing(true).run_direct(None, &mut connection, false).await?;
        let postgres = Self { pool: pool(options, CONNECTIONS) };
        postgres.warn_if_not_durable().await?;
        Ok(postgres)
    }

    /// The storage for a worker of the user's own.
    pub(crate) fn storage(&self) -> PostgresStorage<StoredEvent> {
        PostgresStorage::new(&self.pool).with_config(Config::default().queue(QUEUE))
    }

    async fn warn_if_not_durable(&self) -> Result<(), InboxError> {
        let sql = "SELECT current_setting('fsync'), current_setting('synchronous_commit')";
        let (fsync, commit): (String, String) = query_as(sql).fetch_one(&self.pool).await?;
        if fsync == "off" || commit == "off" {
            tracing::warn!(
                target: "number7", fsync, synchronous_commit = commit,
                "PostgreSQL may lose accepted events when it crashes: turn both settings on"
            );
        }
        Ok(())
    }

    async fn execute(
        &self,
        query: Query<'_, Db, PgArguments>,
    ) -> Result<PgQueryResult, InboxError> {
        let mut connection = Checkout(Some(self.pool.acquire().await?));
        let executed = query.execute(connection.get()?).await?;
        connection.check_in();
        Ok(executed)
    }
}

fn pool(options: PgConnectOptions, connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(CONNECT_TIMEOUT)
        // The server gives up before the client does. Else a statement that waits for a lock goes
        // on there, and holds its connection, long after nobody waits for it; and a claim whose
        // connection the network swallowed keeps its event locked.
        .after_connect(|connection, _| {
            let limit = STORE_TIMEOUT.as_millis() - 500;
            let set = AssertSqlSafe(format!(
                "SET statement_timeout = {limit}; SET idle_in_transaction_session_timeout = {limit}"
            ));
            Box::pin(async { connection.execute(raw_sql(set)).await.map(drop) })
        })
        .connect_lazy_with(options)
}

/// A connection that goes back to the pool only after an answer. One that is dropped while the
/// server owes an answer would keep its place in the pool for as long as that takes, which is for
/// ever where the network swallowed it.
struct Checkout(Option<PoolConnection<Db>>);

impl Checkout {
    fn get(&mut self) -> Result<&mut sqlx::PgConnection, InboxError> {
        let connection = self.0.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        Ok(connection)
    }

    fn check_in(mut self) {
        self.0.take();
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}

impl Engine for Postgres {
    fn insert(&self, record: Record) -> Answer<'_, Acceptance> {
        Box::pin(in_time(async move {
            // A known key is no error here. Where its insert is still on its way, this one waits.
            let insert = query(
                "INSERT INTO apalis.jobs (job, id, job_type, status, attempts, max_attempts,
                    run_at, priority, idempotency_key)
                VALUES ($1, $2, $3, 'Pending', 0, $4, now(), 0, $5)
                ON CONFLICT (job_type, idempotency_key) DO NOTHING",
            )
            .bind(record.json().as_ref())
            .bind(Ulid::generate().to_string())
            .bind(QUEUE)
            .bind(i32::try_from(DEFAULT_ATTEMPTS).unwrap_or(i32::MAX))
            .bind(record.key());
            Ok(super::acceptance(self.execute(insert).await?.rows_affected()))
        }))
    }

    fn work(&self, shift: Shift) -> BoxFuture<'_, Result<(), BoxDynError>> {
        let config = for_worker!(Config::default().queue(QUEUE), shift);
        // Its own connections: apalis sets no time limit, so that a connection which the network
        // swallowed is only got rid of with the pool.
        let options = (*self.pool.connect_options()).clone();
        let pool = pool(options, CLAIM_CONNECTIONS);
        let storage = PostgresStorage::<StoredEvent>::new(&pool).with_config(config);
        Box::pin(shift.run(storage.with_codec(Verbatim).poll_with_interval(POLL_INTERVAL)))
    }

    fn begin<'a>(&'a self, claim: &'a Claim) -> Answer<'a, bool> {
        Box::pin(in_time(async move {
            let begin = query(
                "UPDATE apalis.jobs SET status = 'Running', attempts = $1
                WHERE id = $2 AND lock_by = $3",
            )
            .bind(i32::try_from(claim.attempt).unwrap_or(i32::MAX))
            .bind(&claim.task)
            .bind(&claim.worker);
            Ok(self.execute(begin).await?.rows_affected() > 0)
        }))
    }

    fn finish<'a>(&'a self, claim: &'a Claim, outcome: &'a Outcome) -> Answer<'a, bool> {
        Box::pin(in_time(async move {
            let finish = query(
                "UPDATE apalis.jobs SET status = $1, last_result = $2::jsonb, lock_by = NULL,
                    lock_at = NULL, run_at = now() + $3::float8 * interval '1 second',
                    done_at = CASE $1 WHEN 'Pending' THEN NULL ELSE now() END
                WHERE id = $4 AND lock_by = $5 AND attempts = $6",
            )
            .bind(outcome.status())
            .bind(outcome.result())
            .bind(outcome.delay().as_secs_f64())
            .bind(&claim.task)
            .bind(&claim.worker)
            .bind(i32::try_from(claim.attempt).unwrap_or(i32::MAX));
            Ok(self.execute(finish).await?.rows_affected() > 0)
        }))
    }

    fn keep_alive<'a>(&'a self, worker: &'a str) -> Answer<'a, ()> {
        Box::pin(in_time(async move {
            let alive = query("UPDATE apalis.workers SET last_seen = now() WHERE id = $1");
            self.execute(alive.bind(worker)).await?;
            Ok(())
        }))
    }

    fn release<'a>(&'a self, worker: &'a str, in_hand: &'a [String]) -> Answer<'a, ()> {
        Box::pin(in_time(async move {
            let release = query(
                "UPDATE apalis.jobs SET status = 'Pending', lock_by = NULL, lock_at = NULL
                WHERE lock_by = $1 AND status IN ('Queued', 'Running') AND id <> ALL ($2)",
            );
            self.execute(release.bind(worker).bind(in_hand)).await?;
            Ok(())
        }))
    }

    fn reap(&self, lease: Duration) -> Answer<'_, ()> {
        Box::pin(in_time(async move {
            let reap = query(
                "UPDATE apalis.jobs SET status = 'Pending', lock_by = NULL, lock_at = NULL
                WHERE status IN ('Queued', 'Running') AND lock_by IN (
                    SELECT id FROM apalis.workers WHERE worker_type = $1
                        AND last_seen < now() - $2::bigint * interval '1 second')",
            );
            self.execute(reap.bind(QUEUE).bind(super::seconds(lease))).await?;
            Ok(())
        }))
    }

    fn sweep(&self, retention: Duration) -> Answer<'_, u64> {
        Box::pin(in_time(async move {
            let sweep = query(
                "DELETE FROM apalis.jobs WHERE id IN (
                    SELECT id FROM apalis.jobs WHERE job_type = $1 AND status = 'Done'
                        AND done_at < now() - $2::bigint * interval '1 second'
                    LIMIT $3 FOR UPDATE SKIP LOCKED)",
            )
            .bind(QUEUE)
            .bind(super::seconds(retention))
            .bind(i64::from(SWEEP_STEP));
            let swept = self.execute(sweep).await?.rows_affected();
            let forget = query(
                "DELETE FROM apalis.workers WHERE worker_type = $1
                    AND last_seen < now() - interval '1 day'
                    AND NOT EXISTS (SELECT 1 FROM apalis.jobs WHERE lock_by = workers.id)",
            );
            self.execute(forget.bind(QUEUE)).await?;
            Ok(swept)
        }))
    }

    fn dead_letters(&self, most: u32) -> Answer<'_, Vec<DeadLetter>> {
        Box::pin(in_time(async move {
            let mut connection = Checkout(Some(self.pool.acquire().await?));
            let rows = query_as(
                "SELECT idempotency_key, job, attempts::bigint, coalesce(last_result ->> 'Err', ''),
                    coalesce(floor(extract(epoch FROM done_at))::bigint, 0)
                FROM apalis.jobs
                WHERE job_type = $1 AND status = 'Killed' AND idempotency_key IS NOT NULL
                ORDER BY done_at, id LIMIT $2",
            )
            .bind(QUEUE)
            .bind(i64::from(most))
            .fetch_all(connection.get()?)
            .await?;
            connection.check_in();
            Ok(super::letters(rows))
        }))
    }

    fn requeue<'a>(&'a self, key: &'a str) -> Answer<'a, bool> {
        Box::pin(in_time(async move {
            let requeue = query(
                "UPDATE apalis.jobs SET status = 'Pending', attempts = 0, last_result = NULL,
                    run_at = now(), done_at = NULL
                WHERE job_type = $1 AND idempotency_key = $2 AND status = 'Killed'",
            );
            Ok(self.execute(requeue.bind(QUEUE).bind(key)).await?.rows_affected() > 0)
        }))
    }
}
