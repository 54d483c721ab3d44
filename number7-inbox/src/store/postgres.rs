//! One server, for several machines.

mod connections;
mod expected;
mod fault;
mod opening;
mod session;

use std::{future::ready, sync::Arc, time::Duration};

use apalis_postgres::{Config, PostgresStorage};
use futures_util::{FutureExt, future::BoxFuture};
use number7_core::Acceptance;
use sqlx::{
    AssertSqlSafe, PgConnection, PgPool, Postgres as Db,
    postgres::{PgConnectOptions, PgPoolOptions},
    query,
};
use tokio::runtime::Handle;
use ulid::Ulid;

use self::connections::{Connections, Server};
use super::{
    Answer, CONNECT_TIMEOUT, Engine, Held, Listed, NewEvent, SERVICE, STEP, Turn, Turned,
    WORKER_PREFIX, driver::Driver, sql,
};
use crate::{
    DEFAULT_ATTEMPTS, Entry, InboxError, InboxErrorKind, Origin, State, Stats, StoredEvent,
    history::{DISCARDED, History, LOST, REQUEUED},
    transaction::{TransactionalStore, sealed::Store},
};

/// How many connections acceptance has: 10, as many as sqlx defaults to.
const ACCEPTING: u32 = 10;

/// How many connections workers have to claim and record events: one while the other one releases what a
/// dead worker held.
const WORKING: u32 = 2;

/// How many connections leases are renewed on: two, so that one renewal that waits for a lock holds up no other.
/// Nothing else uses them. So however many workers look for events, a lease is renewed in time.
const RENEWING: u32 = 2;

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

/// Whether an insert whose answer was lost had stored the event.
const IS_THERE: &str = "SELECT EXISTS (SELECT FROM apalis.jobs WHERE id = $1)";

/// How many attempts do not count. What is not a number is somebody else's, and must not stop the queue.
macro_rules! uncounted {
    () => {
        "CASE WHEN metadata -> 'number7.uncounted' ~ '^[0-9]{1,9}$'
            THEN (metadata -> 'number7.uncounted')::int ELSE 0 END"
    };
}

/// How many attempts count.
macro_rules! counted {
    () => {
        concat!("greatest(attempts - ", uncounted!(), ", 0)")
    };
}

/// The column that has the errors, with one more: of which attempt, and its text. What is there is not parsed,
/// because it may be no JSON, and that must not stop the queue.
macro_rules! noted {
    ($attempt:expr, $text:literal) => {
        concat!(
            "metadata = coalesce(metadata, '') || hstore('number7.errors',
                CASE WHEN metadata -> 'number7.errors' LIKE '[[%]]'
                    THEN left(metadata -> 'number7.errors', -1) || ',' ELSE '[' END
                || jsonb_build_array((extract(epoch FROM now()) * 1000)::bigint, ",
            $attempt,
            ", ",
            $text,
            "::text)::text || ']')"
        )
    };
}

/// The claimed events of a queue, by the index of `lock_by`: nothing may tempt the planner to go through the
/// queue instead.
macro_rules! claimed {
    ($queue:literal) => {
        concat!("status IN ('Queued', 'Running') AND lock_by > '' AND job_type || '' = ", $queue)
    };
}

/// Rows of the ends: id. Rows of the ends whose event is locked, as by a transaction that finishes it: id, and
/// true in the last column. Rows of the claims: id, attempts, how many of them do not count, key, JSON,
/// errors, origin, whether it is a suspect. A row without an id: nothing was claimed, because the lease is over.
///
/// What is done stays done, even if a handler's transaction finished it. An end whose answer was
/// lost is sent again. If it made a dead letter, the row has the number that it wrote: for a claim
/// beyond the last attempt, its own minus one.
const TURN: &str = concat!(
    "WITH live AS MATERIALIZED (
        SELECT FROM apalis.workers
        WHERE id = $1 AND last_seen >= now() - $13 * interval '1 second'
    ), free AS MATERIALIZED (
        SELECT id FROM apalis.jobs WHERE id = ANY($3) FOR UPDATE SKIP LOCKED
    ), ended AS (
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
        WHERE jobs.id = ends.id AND jobs.id IN (SELECT id FROM free)
            AND jobs.attempts = CASE jobs.status WHEN 'Killed' THEN ends.attempts ELSE ends.number END
            AND (jobs.status <> 'Done' OR ends.status = 'Done')
            AND (jobs.status <> 'Killed' OR ends.status <> 'Pending')
            AND coalesce(jobs.lock_by, $1) = $1
        RETURNING jobs.id
    ), suspect AS (
        SELECT id, true AS is_suspect FROM apalis.jobs
        WHERE job_type = $2 AND status = 'Failed' AND run_at <= now()
            AND EXISTS (SELECT FROM live)
        ORDER BY done_at LIMIT $10 FOR UPDATE SKIP LOCKED
    ), due AS (
        SELECT id, false AS is_suspect FROM apalis.jobs
        WHERE job_type = $2 AND status = 'Pending' AND run_at <= now()
            AND EXISTS (SELECT FROM live)
        ORDER BY priority DESC, run_at LIMIT $9 - (SELECT count(*) FROM suspect)
        FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE apalis.jobs SET status = 'Running', attempts = jobs.attempts + 1, lock_by = $1,
            lock_at = now(), done_at = NULL
        FROM (SELECT * FROM due UNION ALL SELECT * FROM suspect) AS free
        WHERE jobs.id = free.id
        RETURNING jobs.id, jobs.attempts::bigint, (",
    uncounted!(),
    ")::bigint, idempotency_key, job, metadata -> 'number7.errors',
            metadata -> 'number7.origin', is_suspect
    )
    SELECT id, NULL::bigint, 0, NULL, NULL, NULL, NULL, false FROM ended UNION ALL SELECT * FROM claimed
    UNION ALL SELECT id, NULL, 0, NULL, NULL, NULL, NULL, true FROM apalis.jobs
        WHERE id = ANY($3) AND id NOT IN (SELECT id FROM free)
    UNION ALL SELECT NULL, NULL, 0, NULL, NULL, NULL, NULL, false
        WHERE $9 > 0 AND NOT EXISTS (SELECT FROM live)"
);

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

/// A claim is rescued by its own data: nobody may be registered under the name of its worker any more. What is
/// locked is being finished, in a transaction of a handler's.
const REAP: &str = concat!(
    "UPDATE apalis.jobs SET lock_by = NULL, lock_at = NULL, status = CASE WHEN ",
    counted!(),
    " >= $1 THEN 'Failed' ELSE 'Pending' END, ",
    noted!(counted!(), "$5"),
    "WHERE id IN (SELECT id FROM apalis.jobs WHERE ",
    claimed!("$2"),
    " AND starts_with(lock_by, $3)
            AND coalesce(lock_at, '-infinity') < now() - $4 * interval '1 second'
            AND NOT EXISTS (SELECT FROM apalis.workers
                WHERE workers.id = lock_by AND last_seen >= now() - $4 * interval '1 second')
        LIMIT $6 FOR UPDATE OF jobs SKIP LOCKED)"
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
    DELETE FROM apalis.workers WHERE id IN (SELECT id FROM apalis.workers
        WHERE worker_type = $1 AND last_seen < now() - interval '1 day'
            AND NOT EXISTS (SELECT 1 FROM apalis.jobs WHERE lock_by = workers.id)
        LIMIT $2)";

/// The columns of [`sql::StatsRow`].
const STATS: &str = concat!(
    "SELECT (SELECT count(*) FROM apalis.jobs
            WHERE job_type = $1 AND status = 'Pending' AND run_at <= now())
        + (SELECT count(*) FROM apalis.jobs WHERE job_type = $1 AND status = 'Failed'),
        (SELECT count(*) FROM apalis.jobs
            WHERE job_type = $1 AND status = 'Pending' AND run_at > now()),
        (SELECT count(*) FROM apalis.jobs WHERE ",
    claimed!("$1"),
    "),
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
            WHERE queue = $1 AND is_overdue)), 0) * 1000000)::bigint"
);

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
            FROM apalis.jobs WHERE {condition}) AS entries",
        counted = counted!()
    ))
}

/// The entries of a status.
fn list(status: &str, state: State) -> AssertSqlSafe<String> {
    let (time, condition) = match status {
        "Queued" | "Running" => ("lock_at", claimed!("$1")),
        "Done" | "Killed" => ("done_at", "job_type = $1"),
        // The condition of the index. All our events have this priority.
        _ => ("run_at", "job_type = $1 AND priority = 0"),
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

const IS_WRITABLE: &str = "SELECT FROM apalis.workers WHERE false FOR UPDATE";

/// One queue on one server.
#[derive(Clone)]
pub(crate) struct Postgres {
    /// For acceptance, operators and expected jobs.
    accepting: Connections,
    /// For workers: however many accept, they go on.
    working: Connections,
    renewing: Connections,
    /// For apalis' tools. Its connections belong to the runtime that uses them, so it shares none.
    tools: PgPool,
    driver: Driver,
    queue: String,
    done: Arc<sql::Counted>,
}

impl Postgres {
    pub(crate) async fn open(url: &str, queue: String) -> Result<Self, InboxError> {
        Self::open_with(options(url)?, queue).await
    }

    /// Whether there is an inbox in a database. It changes nothing.
    pub(crate) async fn is_in(url: &str) -> Result<bool, InboxError> {
        opening::is_in(&options(url)?).await
    }

    /// On the database that these options name.
    pub(crate) async fn open_with(
        options: PgConnectOptions,
        queue: String,
    ) -> Result<Self, InboxError> {
        let driver = Driver::start()?;
        let opened = options.clone();
        driver.run(async move { opening::open(&opened).await }).await?;
        let tools = tools(&driver, &options);
        let server = Arc::new(Server::new(options));
        let connections = |most| Connections::new(&driver, &server, most);
        Ok(Self {
            accepting: connections(ACCEPTING),
            working: connections(WORKING),
            renewing: connections(RENEWING),
            tools,
            driver,
            queue,
            done: Arc::default(),
        })
    }

    /// Another queue on the same server.
    pub(crate) fn named(&self, queue: String) -> Self {
        Self { queue, done: Arc::default(), ..self.clone() }
    }

    /// The storage for apalis' tools.
    pub(crate) fn storage(&self) -> PostgresStorage<StoredEvent> {
        PostgresStorage::new(&self.tools).with_config(Config::default().queue(&self.queue))
    }
}

/// Reads a URL. The text of an error does not quote any of it, because a password that is not encoded may be
/// taken for another part.
fn options(url: &str) -> Result<PgConnectOptions, InboxError> {
    url.parse().map_err(|error: sqlx::Error| {
        let text: Vec<_> = error.to_string().split('"').step_by(2).map(str::to_owned).collect();
        InboxError::new(InboxErrorKind::Refused, text.join("…"))
    })
}

/// A pool that opens no connection before it is used.
fn tools(driver: &Driver, options: &PgConnectOptions) -> PgPool {
    // The task that closes idle connections belongs to this runtime.
    let _runtime = driver.runtime().enter();
    PgPoolOptions::new()
        .max_connections(ACCEPTING)
        .acquire_timeout(CONNECT_TIMEOUT)
        .after_connect(|connection, _| Box::pin(session::set(connection)))
        .connect_lazy_with(options.clone())
}

impl TransactionalStore for Db {}

impl Store for Db {
    const BEGIN: &'static str = "BEGIN";

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
        let task = Ulid::generate().to_string();
        let insert = query(INSERT)
            .bind(&*event.json)
            .bind(&task)
            .bind(&self.queue)
            .bind(count(DEFAULT_ATTEMPTS))
            .bind(event.key)
            .bind(event.origin == Origin::Fetched);
        Box::pin(async move {
            let inserted = self.accepting.run(insert, true).await?;
            let mut is_new = inserted.affected > 0;
            if !is_new && inserted.is_repeated {
                (is_new,) = self.accepting.fetch_one(query(IS_THERE).bind(task)).await?;
            }
            Ok(sql::acceptance(is_new))
        })
    }

    fn turn<'a>(&'a self, turn: Turn<'a>) -> Answer<'a, Turned> {
        type Text = Option<String>;
        type Row = (Text, Option<i64>, i64, Text, Option<Vec<u8>>, Text, Text, bool);
        let ends = turn.ends;
        let suspects = i64::from(turn.suspect && turn.most > 0);
        let statement = query(TURN)
            .bind(turn.worker)
            .bind(&self.queue)
            .bind(ends.iter().map(|end| &*end.task).collect::<Vec<_>>())
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
            .bind(ends.iter().map(|end| count(end.after().uncounted)).collect::<Vec<_>>())
            .bind(turn.lease.as_secs_f64());
        Box::pin(async move {
            let mut turned = Turned::default();
            let rows = self.working.fetch_all_once::<Row>(statement).await?;
            for (task, attempts, uncounted, key, json, errors, origin, is_suspect) in rows {
                match (task, attempts, json) {
                    (Some(task), Some(attempts), Some(json)) => {
                        let row = (task, attempts, uncounted, key, json, errors, origin);
                        turned.claimed.push(sql::claim(row, is_suspect));
                    }
                    (Some(task), ..) if is_suspect => turned.locked.push(task),
                    (Some(task), ..) => turned.ended.push(task),
                    (None, ..) => turned.is_lapsed = true,
                }
            }
            Ok(turned)
        })
    }

    fn keep_alive<'a>(&'a self, worker: &'a str) -> Answer<'a, Vec<Held>> {
        let alive = query(KEEP_ALIVE).bind(worker);
        Box::pin(self.renewing.fetch_all(alive.bind(&self.queue).bind(SERVICE)))
    }

    fn release<'a>(&'a self, worker: &'a str, held: &'a [Held]) -> Answer<'a, ()> {
        if held.is_empty() {
            return Box::pin(ready(Ok(())));
        }
        let (tasks, since): (Vec<_>, Vec<_>) = held.iter().cloned().unzip();
        let release = query(RELEASE).bind(worker).bind(tasks).bind(since);
        Box::pin(self.working.execute(release).map(|done| done.map(drop)))
    }

    fn forget<'a>(&'a self, worker: &'a str) -> Answer<'a, ()> {
        let forget = query(FORGET_WORKER).bind(worker);
        Box::pin(self.working.execute(forget).map(|done| done.map(drop)))
    }

    fn reap(&self, lease: Duration, suspect_after: u32) -> Answer<'_, u64> {
        Box::pin(async move {
            let mut reaped = 0;
            loop {
                let reap = query(REAP).bind(count(suspect_after)).bind(&self.queue);
                let reap = reap.bind(WORKER_PREFIX).bind(lease.as_secs_f64()).bind(LOST);
                // If its answer is lost, the log would not have what it rescued.
                let step = self.working.execute_once(reap.bind(i64::from(STEP))).await?;
                reaped += step;
                if step < u64::from(STEP) {
                    return Ok(reaped);
                }
            }
        })
    }

    fn sweep(&self, retention: Duration, of_dead: Option<Duration>) -> Answer<'_, u64> {
        Box::pin(async move {
            let (mut swept, most) = (0, i64::from(STEP));
            for (status, retention) in [("Done", Some(retention)), ("Killed", of_dead)] {
                let Some(retention) = retention else { continue };
                let sweep = query(SWEEP).bind(&self.queue).bind(sql::seconds(retention));
                swept += self.working.execute(sweep.bind(most).bind(status)).await?;
            }
            let forget = query(FORGET_WORKERS).bind(&self.queue).bind(most);
            self.working.execute(forget).await?;
            Ok(swept)
        })
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(self.accepting.execute(query(IS_WRITABLE)).map(|done| done.map(drop)))
    }

    fn stats(&self) -> Answer<'_, Stats> {
        Box::pin(async move {
            let stats = self.accepting.fetch_one(query(STATS).bind(&self.queue)).await?;
            let done = async {
                let done = query(DONE).bind(&self.queue);
                Ok::<_, InboxError>(self.accepting.fetch_one::<(i64,)>(done).await?.0)
            };
            Ok(sql::stats(stats, self.done.get(done).await?))
        })
    }

    fn list<'a>(&'a self, state: State, after: Option<&'a str>, most: u32) -> Answer<'a, Listed> {
        Box::pin(sql::list(state, after, most.min(STEP), move |status, place, most| {
            let (time, last) = match place {
                Some((micros, id)) => (Some(micros), id),
                // An id before all those that are due at the same time, or one after them.
                None if state == State::Later => (None, "~".to_owned()),
                None => (None, String::new()),
            };
            let list = query(list(status, state)).bind(&self.queue).bind(time);
            Box::pin(self.accepting.fetch_all(list.bind(last).bind(most)))
        }))
    }

    fn show<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Entry>> {
        let show = query(entries(TIME, "job_type = $1 AND idempotency_key = $2"));
        let shown = self.accepting.fetch_all(show.bind(&self.queue).bind(key));
        Box::pin(shown.map(|rows| Ok(rows?.pop().map(sql::entry))))
    }

    fn requeue<'a>(&'a self, keys: &'a [String]) -> Answer<'a, u64> {
        let requeue = query(REQUEUE).bind(&self.queue).bind(keys).bind(REQUEUED);
        Box::pin(self.accepting.execute_once(requeue))
    }

    fn discard<'a>(&'a self, key: &'a str) -> Answer<'a, bool> {
        let discard = query(DISCARD).bind(&self.queue).bind(key).bind(DISCARDED);
        Box::pin(self.accepting.execute_once(discard).map(|done| Ok(done? > 0)))
    }
}

/// The column of attempts is an `integer`.
fn count(attempts: u32) -> i32 {
    attempts.try_into().unwrap_or(i32::MAX)
}
