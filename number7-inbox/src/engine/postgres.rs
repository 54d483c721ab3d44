//! One server, for several machines.

mod connections;
mod expected;

use std::{future::ready, sync::Arc, time::Duration};

use apalis_postgres::{Config, PostgresStorage};
use futures_util::{FutureExt, future::BoxFuture};
use number7_core::Acceptance;
use sqlx::{
    AssertSqlSafe, ConnectOptions, PgConnection, Postgres as Db, postgres::PgConnectOptions, query,
    query_as, query_scalar, raw_sql,
};
use tokio::runtime::Handle;
use ulid::Ulid;

use self::connections::Connections;
use super::{
    Answer, Engine, Held, Listed, NewEvent, SERVICE, SWEEP_STEP, Turn, Turned, WORKER_PREFIX,
    driver::Driver, in_time, sql,
};
use crate::{
    DEFAULT_ATTEMPTS, Entry, InboxError, InboxErrorKind, Origin, State, Stats, StoredEvent,
    history::{DISCARDED, History, LOST, REQUEUED},
    transaction::{TransactionalStore, sealed::Store},
};

/// Serves the sweep, dead letters and suspects; apalis has no index for them. Made once, by one process;
/// it takes no lock if it exists already.
const INDEX: &str = "
    DO $$ BEGIN
        IF to_regclass('apalis.idx_number7_finished') IS NULL THEN
            PERFORM pg_advisory_xact_lock(hashtext('apalis.idx_number7_finished'));
            CREATE INDEX IF NOT EXISTS idx_number7_finished
                ON apalis.jobs (job_type, status, done_at)
                WHERE status IN ('Done', 'Failed', 'Killed');
        END IF;
    END $$";

/// A known key is no error here. Where its insert is still on its way, this one waits.
///
/// What is due now is announced by a trigger of apalis', whose `NOTIFY` takes a lock that all
/// commits of the database have to wait for, and nobody listens. So it is due a moment later.
const INSERT: &str = "
    INSERT INTO apalis.jobs (job, id, job_type, status, attempts, max_attempts, run_at, priority,
        idempotency_key, metadata)
    VALUES ($1, $2, $3, 'Pending', 0, $4, now() + interval '1 microsecond', 0, $5,
        CASE WHEN $6 THEN hstore('number7.origin', 'fetched') END)
    ON CONFLICT (job_type, idempotency_key) DO NOTHING";

/// Rows of the ends: id. Rows of the claims: id, attempts, how many of them do not count, key, JSON,
/// errors, origin, whether it is a suspect.
///
/// What is done stays done, even if a handler's transaction finished it. An end whose answer was
/// lost is sent again. If it made a dead letter, the row has the number that it wrote: for a claim
/// beyond the last attempt, its own minus one.
const TURN: &str = "
    WITH ended AS (
        UPDATE apalis.jobs SET status = ends.status, attempts = ends.attempts,
            last_result = coalesce(ends.result::jsonb, last_result),
            metadata = CASE WHEN ends.errors IS NULL THEN metadata
                ELSE coalesce(metadata, '') || hstore('number7.errors', ends.errors)
                    || hstore('number7.uncounted', ends.uncounted::text) END,
            lock_by = NULL, lock_at = NULL,
            run_at = now() + ends.delay * interval '1 second',
            done_at = CASE ends.status WHEN 'Pending' THEN NULL ELSE now() END
        FROM unnest($3::text[], $4::int[], $5::text[], $6::int[], $7::text[], $8::float8[],
                $11::text[], $12::int[])
            AS ends(id, number, status, attempts, result, delay, errors, uncounted)
        WHERE jobs.id = ends.id
            AND jobs.attempts = CASE jobs.status WHEN 'Killed' THEN ends.attempts ELSE ends.number END
            AND (jobs.status <> 'Done' OR ends.status = 'Done')
            AND (jobs.status <> 'Killed' OR ends.status <> 'Pending')
            AND coalesce(jobs.lock_by, $1) = $1
        RETURNING jobs.id
    ), suspect AS (
        SELECT id, true AS is_suspect FROM apalis.jobs
        WHERE job_type = $2 AND status = 'Failed' AND run_at <= now()
        ORDER BY done_at LIMIT $10 FOR UPDATE SKIP LOCKED
    ), due AS (
        SELECT id, false AS is_suspect FROM apalis.jobs
        WHERE job_type = $2 AND status = 'Pending' AND run_at <= now()
        ORDER BY priority DESC, run_at LIMIT $9 - (SELECT count(*) FROM suspect)
        FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE apalis.jobs SET status = 'Running', attempts = jobs.attempts + 1, lock_by = $1,
            lock_at = now(), done_at = NULL
        FROM (SELECT * FROM due UNION ALL SELECT * FROM suspect) AS free
        WHERE jobs.id = free.id
        RETURNING jobs.id, jobs.attempts::bigint,
            coalesce(metadata -> 'number7.uncounted', '0')::bigint, idempotency_key, job,
            metadata -> 'number7.errors', metadata -> 'number7.origin', is_suspect
    )
    SELECT id, NULL::bigint, 0, NULL, NULL, NULL, NULL, false FROM ended UNION ALL SELECT * FROM claimed";

/// The end of one attempt, in a transaction of the handler's.
const FINISH_ONE: &str = "
    UPDATE apalis.jobs SET status = 'Done', last_result = '{\"Ok\":null}', lock_by = NULL,
        lock_at = NULL, run_at = now(), done_at = now()
    WHERE id = $1 AND attempts = $2 AND lock_by = $3";

const KEEP_ALIVE: &str = "
    WITH alive AS (
        INSERT INTO apalis.workers (id, worker_type, storage_name, layers, last_seen, started_at)
        VALUES ($1, $2, 'PostgresStorage', $3, now(), now())
        ON CONFLICT (id) DO UPDATE SET last_seen = now()
    )
    SELECT id, coalesce(lock_at::text, '') FROM apalis.jobs
    WHERE lock_by = $1 AND status IN ('Queued', 'Running')";

/// Our claims are `Running`, and were counted; what was never begun is uncounted again.
const RELEASE: &str = "
    UPDATE apalis.jobs SET lock_by = NULL, lock_at = NULL, status = 'Pending',
        attempts = CASE status WHEN 'Running' THEN greatest(attempts - 1, 0) ELSE attempts END
    WHERE lock_by = $1 AND status IN ('Queued', 'Running')
        AND (id, coalesce(lock_at::text, '')) IN (SELECT * FROM unnest($2::text[], $3::text[]))";

/// How many attempts count.
macro_rules! counted {
    () => {
        "greatest(attempts - coalesce(metadata -> 'number7.uncounted', '0')::int, 0)"
    };
}

/// The column that has the errors, with one more: of which attempt, and its text.
macro_rules! noted {
    ($attempt:expr, $text:literal) => {
        concat!(
            "metadata = coalesce(metadata, '') || hstore('number7.errors',
                (coalesce(metadata -> 'number7.errors', '[]')::jsonb || jsonb_build_array(
                    jsonb_build_array((extract(epoch FROM now()) * 1000)::bigint, ",
            $attempt,
            ", ",
            $text,
            "::text)))::text)"
        )
    };
}

/// What is locked is being finished, in a transaction of a handler's.
const REAP: &str = concat!(
    "UPDATE apalis.jobs SET lock_by = NULL, lock_at = NULL, status = CASE WHEN ",
    counted!(),
    " >= $1 THEN 'Failed' ELSE 'Pending' END, ",
    noted!(counted!(), "$5"),
    "WHERE id IN (SELECT id FROM apalis.jobs
        WHERE status IN ('Queued', 'Running') AND lock_by IN (SELECT id FROM apalis.workers
            WHERE worker_type = $2 AND starts_with(id, $3)
                AND last_seen < now() - $4::bigint * interval '1 second')
        FOR UPDATE SKIP LOCKED)"
);

const SWEEP: &str = "
    DELETE FROM apalis.jobs WHERE id IN (SELECT id FROM apalis.jobs
        WHERE job_type = $1 AND status = $4 AND status IN ('Done', 'Killed')
            AND done_at < now() - $2::bigint * interval '1 second'
        ORDER BY done_at LIMIT $3 FOR UPDATE SKIP LOCKED)";

const FORGET_WORKER: &str = "
    DELETE FROM apalis.workers WHERE id = $1
        AND NOT EXISTS (SELECT 1 FROM apalis.jobs WHERE lock_by = workers.id)";

const FORGET_WORKERS: &str = "
    DELETE FROM apalis.workers WHERE worker_type = $1 AND last_seen < now() - interval '1 day'
        AND NOT EXISTS (SELECT 1 FROM apalis.jobs WHERE lock_by = workers.id)";

/// The columns of [`sql::StatsRow`].
const STATS: &str = "
    SELECT (SELECT count(*) FROM apalis.jobs
            WHERE job_type = $1 AND status = 'Pending' AND run_at <= now())
        + (SELECT count(*) FROM apalis.jobs WHERE job_type = $1 AND status = 'Failed'),
        (SELECT count(*) FROM apalis.jobs
            WHERE job_type = $1 AND status = 'Pending' AND run_at > now()),
        (SELECT count(*) FROM apalis.jobs WHERE status IN ('Queued', 'Running')
            AND lock_by IN (SELECT id FROM apalis.workers WHERE worker_type = $1)),
        (SELECT count(*) FROM apalis.jobs WHERE job_type = $1 AND status = 'Killed'),
        (SELECT count(*) FROM apalis.workers
            WHERE worker_type = $1 AND last_seen >= now() - interval '30 seconds'),
        (SELECT count(*) FROM apalis.number7_expected WHERE queue = $1 AND is_overdue),
        (extract(epoch FROM now() - least(now(),
            (SELECT run_at FROM apalis.jobs WHERE job_type = $1 AND status = 'Pending'
                AND priority = 0 ORDER BY run_at LIMIT 1),
            (SELECT min(run_at) FROM apalis.jobs WHERE job_type = $1 AND status = 'Failed')
        )) * 1000000)::bigint,
        (coalesce(extract(epoch FROM now() - (SELECT min(due_at) FROM apalis.number7_expected
            WHERE queue = $1 AND is_overdue)), 0) * 1000000)::bigint";

const DONE: &str = "SELECT count(*) FROM apalis.jobs WHERE job_type = $1 AND status = 'Done'";

const TIME: &str = "coalesce(CASE WHEN status IN ('Done', 'Killed') THEN done_at
    WHEN status IN ('Queued', 'Running') THEN lock_at END, run_at)";

/// The columns of [`sql::EntryRow`], by the column that has the time of the state.
fn entries(time: &str, condition: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "SELECT micros || '.' || id, id, idempotency_key, job, {counted}::bigint, status, micros,
            metadata -> 'number7.errors', run_at > now(),
            (SELECT extract(epoch FROM last_seen)::bigint FROM apalis.workers WHERE workers.id = lock_by),
            metadata -> 'number7.origin'
        FROM (SELECT *, (extract(epoch FROM {time}) * 1000000)::bigint AS micros
            FROM apalis.jobs WHERE job_type = $1 AND {condition}) AS entries",
        counted = counted!()
    ))
}

/// The entries of a status.
fn list(status: &str, state: State) -> AssertSqlSafe<String> {
    let (time, condition) = match status {
        "Queued" | "Running" => {
            ("lock_at", "lock_by IN (SELECT id FROM apalis.workers WHERE worker_type = $1)")
        }
        "Done" | "Killed" => ("done_at", "true"),
        // The condition of the index. All our events have this priority.
        _ => ("run_at", "priority = 0"),
    };
    let (first, last) = match state {
        State::Due => ("'-infinity'", "now()"),
        // What is due later comes after all that is due.
        State::Later => ("now()", "'infinity'"),
        _ => ("'-infinity'", "'infinity'"),
    };
    let condition = format!(
        "status = '{status}' AND idempotency_key IS NOT NULL AND {condition}
            AND {time} <= {last}
            AND ({time}, id) > (
                coalesce('epoch'::timestamptz + $2 * interval '1 microsecond', {first}), $3)
        ORDER BY {time}, id LIMIT $4"
    );
    entries(time, &condition)
}

/// Adds 2, because a dead letter at n may come from claim n + 1, whose attempt was never made, and
/// the end of that claim may still arrive.
const REQUEUE: &str = concat!(
    "UPDATE apalis.jobs SET status = 'Pending', attempts = attempts + 2, last_result = NULL,
        run_at = now(), done_at = NULL, ",
    noted!("0", "$3"),
    " || hstore('number7.uncounted', (attempts + 2)::text)
    WHERE job_type = $1 AND idempotency_key = ANY ($2) AND status = 'Killed'"
);

const DISCARD: &str = concat!(
    "UPDATE apalis.jobs SET status = 'Done', done_at = now(), ",
    noted!("0", "$3"),
    "WHERE job_type = $1 AND idempotency_key = $2 AND status = 'Killed'"
);

pub(crate) struct Postgres {
    /// For acceptance, operators and expected jobs.
    accepting: Connections,
    /// Workers: however many accept, a lease is renewed in time.
    working: Connections,
    driver: Driver,
    queue: String,
    done: Arc<sql::Counted>,
}

impl Postgres {
    pub(crate) async fn open(url: &str, queue: String) -> Result<Self, InboxError> {
        Self::open_with(url.parse()?, queue).await
    }

    /// Whether there is an inbox in a database. It changes nothing.
    pub(crate) async fn is_in(url: &str) -> Result<bool, InboxError> {
        let options: PgConnectOptions = url.parse()?;
        in_time(async {
            let mut connection = options.connect().await?;
            let is_in = "SELECT to_regclass('apalis.jobs') IS NOT NULL";
            Ok(query_scalar(is_in).fetch_one(&mut connection).await?)
        })
        .await
    }

    /// On the database that these options name.
    pub(crate) async fn open_with(
        options: PgConnectOptions,
        queue: String,
    ) -> Result<Self, InboxError> {
        let connect = async || Ok(options.connect().await?);
        let mut connection = super::open(connect).await?;
        in_time(refuse_pooler(&mut connection, connect)).await?;
        in_time(refuse_encoding(&mut connection)).await?;
        // Not bounded by a time limit: tables may be large, and another process may be at it.
        let mut migrations = PostgresStorage::migrations();
        migrations.set_ignore_missing(true).run_direct(None, &mut connection, false).await?;
        raw_sql(INDEX).execute(&mut connection).await?;
        raw_sql(expected::TABLES).execute(&mut connection).await?;
        in_time(refuse_hidden_extension(&mut connection)).await?;
        in_time(warn_if_not_durable(&mut connection)).await?;
        Ok(Self {
            accepting: Connections::accepting(&options),
            working: Connections::working(&options),
            driver: Driver::start()?,
            queue,
            done: Arc::default(),
        })
    }

    /// Another queue on the same server.
    pub(crate) fn named(&self, queue: String) -> Self {
        let (accepting, working) = (self.accepting.clone(), self.working.clone());
        Self { accepting, working, driver: self.driver.clone(), queue, done: Arc::default() }
    }

    /// The storage for apalis' tools.
    pub(crate) fn storage(&self) -> PostgresStorage<StoredEvent> {
        PostgresStorage::new(self.accepting.pool())
            .with_config(Config::default().queue(&self.queue))
    }
}

/// A pooler in transaction mode may run each statement in another session, so prepared statements
/// are missing and settings hit others. Its sign is that two idle clients share one session.
async fn refuse_pooler<F>(
    first: &mut PgConnection,
    connect: impl Fn() -> F,
) -> Result<(), InboxError>
where
    F: Future<Output = Result<PgConnection, InboxError>>,
{
    const TRIES: usize = 3;
    let mut second = connect().await?;
    let (one, two) = (backend(first).await?, backend(&mut second).await?);
    for _ in 0..TRIES {
        if one == two || backend(first).await? != one || backend(&mut second).await? != two {
            let text = "a pooler in transaction mode is in front of PostgreSQL: use its session \
                mode, or connect to the server itself";
            return Err(InboxError::new(InboxErrorKind::Refused, text));
        }
    }
    Ok(())
}

async fn backend(connection: &mut PgConnection) -> Result<i32, InboxError> {
    // Not a prepared statement: poolers in transaction mode refuse those, and this must still tell.
    let row = raw_sql("SELECT pg_backend_pid()").fetch_one(connection).await?;
    Ok(sqlx::Row::try_get(&row, 0)?)
}

/// Events are UTF-8. A database of another encoding would take most of them, and refuse the rest
/// for ever.
async fn refuse_encoding(connection: &mut PgConnection) -> Result<(), InboxError> {
    let encoding: String = query_scalar("SHOW server_encoding").fetch_one(connection).await?;
    if encoding == "UTF8" {
        return Ok(());
    }
    let text = format!("the encoding of the database is {encoding}, and has to be UTF8");
    Err(InboxError::new(InboxErrorKind::Refused, text))
}

/// apalis keeps metadata in an `hstore`, and finds that as the search path of the session says.
async fn refuse_hidden_extension(connection: &mut PgConnection) -> Result<(), InboxError> {
    let found: bool =
        query_scalar("SELECT to_regtype('hstore') IS NOT NULL").fetch_one(connection).await?;
    if found {
        return Ok(());
    }
    let text = "the extension hstore is in a schema that is not in the search_path of this URL";
    Err(InboxError::new(InboxErrorKind::Refused, text))
}

async fn warn_if_not_durable(connection: &mut PgConnection) -> Result<(), InboxError> {
    let sql = "SELECT current_setting('fsync'), current_setting('synchronous_commit')";
    let (fsync, commit): (String, String) = query_as(sql).fetch_one(connection).await?;
    if fsync == "off" || commit == "off" {
        tracing::warn!(
            target: "number7", fsync, synchronous_commit = commit,
            "PostgreSQL may lose accepted events when it crashes: turn both settings on"
        );
    }
    Ok(())
}

impl TransactionalStore for Db {}

impl Store for Db {
    fn finish<'a>(
        connection: &'a mut PgConnection,
        task: &'a str,
        number: u32,
        worker: &'a str,
    ) -> BoxFuture<'a, Result<u64, sqlx::Error>> {
        Box::pin(async move {
            let finish = query(FINISH_ONE).bind(task).bind(count(number)).bind(worker);
            Ok(finish.execute(connection).await?.rows_affected())
        })
    }
}

impl Engine for Postgres {
    fn runtime(&self) -> Handle {
        self.driver.runtime().clone()
    }

    fn insert(&self, event: NewEvent) -> Answer<'_, Acceptance> {
        let queue = self.queue.clone();
        Box::pin(self.accepting.run(move |connection| {
            async move {
                let insert = query(INSERT)
                    .bind(event.json.as_ref())
                    .bind(Ulid::generate().to_string())
                    .bind(queue)
                    .bind(count(DEFAULT_ATTEMPTS))
                    .bind(event.key)
                    .bind(event.origin == Origin::Fetched);
                let inserted = insert.execute(connection).await?.rows_affected();
                Ok(sql::acceptance(inserted > 0))
            }
            .boxed()
        }))
    }

    fn turn<'a>(&'a self, turn: Turn<'a>) -> Answer<'a, Turned> {
        type Text = Option<String>;
        type Row = (String, Option<i64>, i64, Text, Option<Vec<u8>>, Text, Text, bool);
        let ends = turn.ends;
        let suspects = i64::from(turn.suspect && turn.most > 0);
        let turn = query_as(TURN)
            .bind(turn.worker.to_owned())
            .bind(self.queue.clone())
            .bind(ends.iter().map(|end| end.task.clone()).collect::<Vec<_>>())
            .bind(ends.iter().map(|end| count(end.number.of_all)).collect::<Vec<_>>())
            .bind(ends.iter().map(|end| end.outcome.status()).collect::<Vec<_>>())
            .bind(ends.iter().map(|end| count(end.after().of_all)).collect::<Vec<_>>())
            .bind(ends.iter().map(sql::result).collect::<Vec<_>>())
            .bind(ends.iter().map(|end| end.outcome.delay().as_secs_f64()).collect::<Vec<_>>())
            .bind(sql::rows(turn.most))
            .bind(suspects)
            .bind(
                ends.iter().map(|end| end.history.as_ref().map(History::json)).collect::<Vec<_>>(),
            )
            .bind(ends.iter().map(|end| count(end.after().uncounted)).collect::<Vec<_>>());
        Box::pin(self.working.run(move |connection| {
            async move {
                let rows: Vec<Row> = turn.fetch_all(connection).await?;
                let mut turned = Turned::default();
                for (task, attempts, uncounted, key, json, errors, origin, is_suspect) in rows {
                    match (attempts, json) {
                        (Some(attempts), Some(json)) => {
                            let row = (task, attempts, uncounted, key, json, errors, origin);
                            turned.claimed.push(sql::claim(row, is_suspect));
                        }
                        _ => turned.ended.push(task),
                    }
                }
                Ok(turned)
            }
            .boxed()
        }))
    }

    fn keep_alive<'a>(&'a self, worker: &'a str) -> Answer<'a, Vec<Held>> {
        let alive = query_as(KEEP_ALIVE).bind(worker.to_owned());
        let alive = alive.bind(self.queue.clone()).bind(SERVICE);
        Box::pin(
            self.working.run(move |connection| {
                async move { Ok(alive.fetch_all(connection).await?) }.boxed()
            }),
        )
    }

    fn release<'a>(&'a self, worker: &'a str, held: &'a [Held]) -> Answer<'a, ()> {
        if held.is_empty() {
            return Box::pin(ready(Ok(())));
        }
        let (tasks, since): (Vec<_>, Vec<_>) = held.iter().cloned().unzip();
        let release = query(RELEASE).bind(worker.to_owned()).bind(tasks).bind(since);
        Box::pin(self.working.execute(release).map(|done| done.map(drop)))
    }

    fn forget<'a>(&'a self, worker: &'a str) -> Answer<'a, ()> {
        let forget = query(FORGET_WORKER).bind(worker.to_owned());
        Box::pin(self.working.execute(forget).map(|done| done.map(drop)))
    }

    fn reap(&self, lease: Duration, suspect_after: u32) -> Answer<'_, u64> {
        let reap = query(REAP).bind(count(suspect_after)).bind(self.queue.clone());
        let reap = reap.bind(WORKER_PREFIX).bind(sql::seconds(lease)).bind(LOST);
        Box::pin(self.working.execute(reap))
    }

    fn sweep(&self, retention: Duration, of_dead: Option<Duration>) -> Answer<'_, u64> {
        Box::pin(async move {
            let mut swept = 0;
            for (status, retention) in [("Done", Some(retention)), ("Killed", of_dead)] {
                let Some(retention) = retention else { continue };
                let sweep = query(SWEEP).bind(self.queue.clone()).bind(sql::seconds(retention));
                let sweep = sweep.bind(i64::from(SWEEP_STEP)).bind(status);
                swept += self.working.execute(sweep).await?;
            }
            self.working.execute(query(FORGET_WORKERS).bind(self.queue.clone())).await?;
            Ok(swept)
        })
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(self.accepting.run(|connection| {
            async {
                let sql = "SELECT current_setting('transaction_read_only') = 'on'";
                match query_scalar(sql).fetch_one(connection).await? {
                    true => Err(InboxErrorKind::ReadOnly.into()),
                    false => Ok(()),
                }
            }
            .boxed()
        }))
    }

    fn stats(&self) -> Answer<'_, Stats> {
        let (queue, counted) = (self.queue.clone(), Arc::clone(&self.done));
        Box::pin(self.accepting.run(move |connection| {
            async move {
                let stats = query_as(STATS).bind(&queue).fetch_one(&mut *connection);
                let stats = stats.await?;
                let done = query_scalar(DONE).bind(&queue).fetch_one(connection);
                let done = counted.get(done).await?;
                Ok(sql::stats(stats, done))
            }
            .boxed()
        }))
    }

    fn list<'a>(&'a self, state: State, after: Option<&'a str>, most: u32) -> Answer<'a, Listed> {
        Box::pin(sql::list(state, after, most, move |status, place, most| {
            let (time, last) = match place {
                Some((micros, id)) => (Some(micros), id),
                // An id before all those that are due at the same time, or one after them.
                None if state == State::Later => (None, "~".to_owned()),
                None => (None, String::new()),
            };
            let list = query_as(list(status, state)).bind(self.queue.clone()).bind(time);
            let list = list.bind(last).bind(most);
            Box::pin(self.accepting.run(move |connection| {
                async move { Ok(list.fetch_all(connection).await?) }.boxed()
            }))
        }))
    }

    fn show<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Entry>> {
        let show = query_as(entries(TIME, "idempotency_key = $2"));
        let show = show.bind(self.queue.clone()).bind(key.to_owned());
        Box::pin(self.accepting.run(move |connection| {
            async move { Ok(show.fetch_optional(connection).await?.map(sql::entry)) }.boxed()
        }))
    }

    fn requeue<'a>(&'a self, keys: &'a [String]) -> Answer<'a, u64> {
        let requeue = query(REQUEUE).bind(self.queue.clone()).bind(keys.to_vec()).bind(REQUEUED);
        Box::pin(self.accepting.execute(requeue))
    }

    fn discard<'a>(&'a self, key: &'a str) -> Answer<'a, bool> {
        let discard = query(DISCARD).bind(self.queue.clone()).bind(key.to_owned()).bind(DISCARDED);
        Box::pin(self.accepting.execute(discard).map(|done| Ok(done? > 0)))
    }
}

/// The column of attempts is an `integer`.
fn count(attempts: u32) -> i32 {
    attempts.try_into().unwrap_or(i32::MAX)
}
