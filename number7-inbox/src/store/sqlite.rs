//! One file, for one machine.

mod clock;
mod expected;
mod file;
mod group;
mod place;
mod turnstile;

use std::{collections::HashSet, path::Path, str::FromStr, sync::Arc, time::Duration};

use apalis_sqlite::{Config, SqliteStorage};
use futures_util::future::BoxFuture;
use number7_core::Acceptance;
use serde_json::json;
use sqlx::{
    ConnectOptions, Sqlite as Db, SqliteConnection, query, query_as, query_scalar,
    sqlite::SqliteConnectOptions,
};
use tokio::runtime::Handle;
use tracing::instrument::WithSubscriber;
use ulid::Ulid;

use self::{
    clock::{Clock, NOTED_EVERY},
    file::{File, Writing},
    group::{Group, Leader, Waiting},
};
use super::{
    Answer, Claim, End, Engine, Held, Listed, NewEvent, Number, SERVICE, STEP, Turn, Turned,
    WORKER_PREFIX, in_time, no_cursor, sql,
};
use crate::{
    DEFAULT_ATTEMPTS, Entry, InboxError, InboxErrorKind, Origin, State, Stats, StoredEvent,
    history::{DISCARDED, History, LOST, REQUEUED},
    transaction::{TransactionalStore, sealed::Store},
};

/// The metadata of an event: no row may fail the statement that reads many.
macro_rules! metadata {
    () => {
        "iif(json_valid(metadata), metadata, '{}')"
    };
}

/// How many attempts do not count.
macro_rules! uncounted {
    () => {
        concat!("coalesce(CAST(", metadata!(), " ->> '$.\"number7.uncounted\"' AS INTEGER), 0)")
    };
}

/// How many attempts count.
macro_rules! counted {
    () => {
        concat!("max(attempts - ", uncounted!(), ", 0)")
    };
}

/// What an event's metadata has of this name, as text.
macro_rules! kept {
    ($name:literal) => {
        concat!("CAST(", metadata!(), " ->> '$.\"number7.", $name, "\"' AS TEXT)")
    };
}

/// The column that has the errors, with one more: when, of which attempt, and its text. With `uncounted`, it
/// also sets how many attempts do not count.
macro_rules! noted {
    ($now:literal, $attempt:expr, $text:literal $(, uncounted = $uncounted:literal)?) => {
        concat!(
            "metadata = json_set(", metadata!(), ", '$.\"number7.errors\"',
                json_insert(iif(json_valid(", kept!("errors"), "), ", kept!("errors"), ", '[]'),
                    '$[#]', json_array(", $now, " * 1000, ",
            $attempt,
            ", ",
            $text,
            ")) || ''",
            $(", '$.\"number7.uncounted\"', ", $uncounted,)?
            ")"
        )
    };
}

const INSERT: &str = "
    INSERT INTO Jobs (job, id, job_type, status, attempts, max_attempts, run_at, priority,
        idempotency_key, metadata)
    SELECT CAST(value ->> 2 AS BLOB), value ->> 0, ?2, 'Pending', 0, ?3, ?4, 0, value ->> 1,
            value ->> 3
        FROM json_each(?1) WHERE true
    ON CONFLICT (job_type, idempotency_key) DO NOTHING
    RETURNING idempotency_key";

const IS_INBOX: &str = "
    SELECT EXISTS (SELECT 1 FROM pragma_table_info('Jobs') WHERE name = 'idempotency_key')";

const IS_DUE: &str = "
    SELECT EXISTS (SELECT 1 FROM Jobs
        WHERE job_type = ? AND status IN ('Pending', 'Failed') AND run_at <= ?)";

/// Whether a worker may claim: its lease is surely not over, although times are whole seconds.
const IS_LIVE: &str = "
    SELECT EXISTS (SELECT 1 FROM Workers
        WHERE id = ?1 AND worker_type = ?2 AND last_seen > ?3 - ?4)";

/// What is done stays done, even if a handler's transaction finished it. An end whose answer was
/// lost is sent again. If it made a dead letter, the row has the number that it wrote: for a claim
/// beyond the last attempt, its own minus one.
const FINISH: &str = concat!(
    "UPDATE Jobs SET status = ends.status, attempts = ends.attempts,
        last_result = coalesce(ends.result, last_result),
        metadata = iif(ends.errors IS NULL, metadata, json_set(",
    metadata!(),
    ", '$.\"number7.errors\"', ends.errors, '$.\"number7.uncounted\"', ends.uncounted)),
        lock_by = NULL, lock_at = NULL, run_at = ends.due,
        done_at = iif(ends.status = 'Pending', NULL, ?4)
    FROM (SELECT value ->> 0 AS id, value ->> 1 AS number, value ->> 2 AS status,
            value ->> 3 AS attempts, value ->> 4 AS uncounted, value ->> 5 AS result,
            value ->> 6 AS due, value ->> 7 AS errors
        FROM json_each(?1)) AS ends
    WHERE Jobs.id = ends.id
        AND Jobs.attempts = iif(+Jobs.status = 'Killed', ends.attempts, ends.number)
        AND (+Jobs.status <> 'Done' OR ends.status = 'Done')
        AND (+Jobs.status <> 'Killed' OR ends.status <> 'Pending')
        AND (+Jobs.lock_by = ?2 OR +Jobs.lock_by IS NULL)
    RETURNING id"
);

/// The end of one attempt, in a transaction of the handler's.
const FINISH_ONE: &str = "
    UPDATE Jobs SET status = 'Done', last_result = '{\"Ok\":null}', lock_by = NULL, lock_at = NULL,
        run_at = unixepoch(), done_at = unixepoch()
    WHERE id = ? AND attempts = ? AND +lock_by = ?";

/// Also whether its metadata is malformed.
const CLAIM: &str = concat!(
    "UPDATE Jobs SET status = 'Running', attempts = attempts + 1, lock_by = ?1, lock_at = ?5,
        done_at = NULL
    WHERE rowid IN (SELECT rowid FROM Jobs
        WHERE job_type = ?2 AND status = ?3 AND run_at <= ?5 ORDER BY run_at LIMIT ?4)
    RETURNING id, attempts, ",
    uncounted!(),
    ", idempotency_key, job, ",
    kept!("errors"),
    ", ",
    kept!("origin"),
    ", metadata IS NOT NULL AND NOT json_valid(metadata)"
);

const HELD: &str = "
    SELECT id, coalesce(CAST(lock_at AS TEXT), '') FROM Jobs
    WHERE lock_by = ? AND +status IN ('Queued', 'Running')";

const KEEP_ALIVE: &str = "
    INSERT INTO Workers (id, worker_type, storage_name, layers, last_seen, started_at)
    VALUES (?1, ?2, 'SqliteStorage', ?3, ?4, ?4)
    ON CONFLICT (id) DO UPDATE SET last_seen = excluded.last_seen";

/// Our claims are `Running`, and were counted; what was never begun is uncounted again.
const RELEASE: &str = "
    UPDATE Jobs SET attempts = max(attempts - (status = 'Running'), 0), status = 'Pending',
        lock_by = NULL, lock_at = NULL
    WHERE lock_by = ? AND status IN ('Queued', 'Running')
        AND (id, coalesce(CAST(lock_at AS TEXT), '')) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))";

/// What is claimed by one of our workers is free when both the claim and the lease of the worker are older than a
/// lease. A worker that is not registered, because somebody deleted its row, has none.
const REAP: &str = concat!(
    "UPDATE Jobs SET status = iif(",
    counted!(),
    " >= ?1, 'Failed', 'Pending'), lock_by = NULL, lock_at = NULL, ",
    noted!("?6", counted!(), "?5"),
    " WHERE rowid IN (SELECT rowid FROM Jobs
        WHERE job_type = ?2 AND status IN ('Queued', 'Running') AND lock_by LIKE ?3 || '%'
            AND coalesce(lock_at, 0) < ?6 - ?4
            AND NOT EXISTS (SELECT 1 FROM Workers WHERE id = lock_by AND last_seen >= ?6 - ?4)
        LIMIT ?7)"
);

/// The redundant `IN` is the condition of apalis' partial index of finished events.
const SWEEP: &str = "
    DELETE FROM Jobs WHERE rowid IN (SELECT rowid FROM Jobs
        WHERE status = ? AND status IN ('Done', 'Failed', 'Killed')
            AND done_at < ? - ? AND job_type = ?
        ORDER BY done_at LIMIT ?)";

const FORGET_WORKER: &str = "
    DELETE FROM Workers WHERE id = ?
        AND NOT EXISTS (SELECT 1 FROM Jobs WHERE lock_by = Workers.id)";

const FORGET_WORKERS: &str = "
    DELETE FROM Workers WHERE rowid IN (SELECT rowid FROM Workers
        WHERE worker_type = ? AND last_seen < ? - 86400
            AND NOT EXISTS (SELECT 1 FROM Jobs WHERE lock_by = Workers.id)
        LIMIT ?)";

/// Due, later, in hand, dead, workers, overdue jobs. Counted one by one, which is four times as
/// fast as in one pass.
const STATS: &str = "
    SELECT (SELECT count(*) FROM Jobs WHERE job_type = ?1 AND status IN ('Pending', 'Failed')
            AND run_at <= ?2),
        (SELECT count(*) FROM Jobs
            WHERE job_type = ?1 AND status = 'Pending' AND run_at > ?2),
        (SELECT count(*) FROM Jobs WHERE job_type = ?1 AND status IN ('Queued', 'Running')),
        (SELECT count(*) FROM Jobs WHERE job_type = ?1 AND status = 'Killed'),
        (SELECT count(*) FROM Workers
            WHERE worker_type = ?1 AND last_seen >= ?2 - 30),
        (SELECT count(*) FROM number7_expected INDEXED BY idx_number7_overdue
            WHERE queue = ?1 AND is_overdue)";

const OLDEST: &str = "
    SELECT coalesce(max(?2 - (SELECT run_at FROM Jobs
        WHERE job_type = ?1 AND status = value AND run_at <= ?2 ORDER BY run_at LIMIT 1)), 0),
        coalesce(?2 - (SELECT min(due_at) FROM number7_expected
            INDEXED BY idx_number7_overdue WHERE queue = ?1 AND is_overdue), 0)
    FROM json_each('[\"Pending\", \"Failed\"]')";

const DONE: &str = "SELECT count(*) FROM Jobs WHERE job_type = ? AND status = 'Done'";

/// The columns of [`sql::EntryRow`]. The first parameter is the time.
macro_rules! entries {
    () => {
        concat!(
            "SELECT run_at || '.' || rowid, id, idempotency_key, job, ",
            counted!(),
            " AS attempts, status, 1000000 * coalesce(CASE
                WHEN status IN ('Done', 'Killed') THEN done_at
                WHEN status IN ('Queued', 'Running') THEN lock_at
            END, run_at) AS micros, ",
            kept!("errors"),
            " AS errors,
            run_at > ?1 AS is_to_come,
            (SELECT last_seen FROM Workers WHERE id = lock_by) AS seen,
            ",
            kept!("origin"),
            " AS origin
        FROM Jobs "
        )
    };
}

const SHOW: &str = concat!(entries!(), "WHERE job_type = ?2 AND idempotency_key = ?3");

/// In the order of `run_at`: when an event was or will be due or, once it is over, when it ended.
const LIST: &str = concat!(
    entries!(),
    "WHERE job_type = ?2 AND status = ?3 AND run_at <= ?4 AND (run_at, rowid) > (?5, ?6)
        AND idempotency_key IS NOT NULL
    ORDER BY run_at, rowid LIMIT ?7"
);

/// Adds 2, because a dead letter at n may come from claim n + 1, whose attempt was never made, and
/// the end of that claim may still arrive.
const REQUEUE: &str = concat!(
    "UPDATE Jobs SET status = 'Pending', attempts = attempts + 2, last_result = NULL,
        run_at = ?4, done_at = NULL, ",
    noted!("?4", "0", "?3", uncounted = "attempts + 2"),
    " WHERE job_type = ?1 AND idempotency_key IN (SELECT value FROM json_each(?2))
        AND +status = 'Killed'"
);

const DISCARD: &str = concat!(
    "UPDATE Jobs SET status = 'Done', done_at = ?5, ",
    noted!("?4", "0", "?3"),
    " WHERE job_type = ?1 AND idempotency_key = ?2 AND status = 'Killed'"
);

/// One queue in one file. Its clones are the same.
#[derive(Clone)]
pub(crate) struct Sqlite {
    file: Arc<File>,
    queue: Arc<str>,
    waiting: Waiting,
    done: Arc<sql::Counted>,
}

/// A claimed row: that of [`sql::claim`], and whether its metadata is malformed.
type Row = (String, i64, i64, Option<String>, Vec<u8>, Option<String>, Option<String>, bool);

impl Sqlite {
    pub(crate) async fn open(path: &Path, queue: String) -> Result<Self, InboxError> {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        Self::open_with(options, queue).await
    }

    /// On the file that a URL names, as sqlx reads it, except that it is made unless the URL says how to open
    /// it.
    pub(crate) async fn open_url(url: &str, queue: String) -> Result<Self, InboxError> {
        Self::open_with(options(url)?, queue).await
    }

    /// Whether there is an inbox in the file that a URL names. It changes nothing.
    pub(crate) async fn is_in(url: &str) -> Result<bool, InboxError> {
        let options = options(url)?.create_if_missing(false).read_only(true);
        in_time(async {
            let connection = options.connect().await;
            let mut connection =
                connection.map_err(|error| InboxError::from(error).at(options.get_filename()))?;
            Ok(query_scalar(IS_INBOX).fetch_one(&mut connection).await?)
        })
        .await
    }

    /// On the file that these options name.
    pub(crate) async fn open_with(
        options: SqliteConnectOptions,
        queue: String,
    ) -> Result<Self, InboxError> {
        Self::open_by(options, queue, Clock::of_system()).await
    }

    async fn open_by(
        options: SqliteConnectOptions,
        queue: String,
        clock: Clock,
    ) -> Result<Self, InboxError> {
        Ok(Self::of(Arc::new(File::open(options, clock).await?), queue))
    }

    fn of(file: Arc<File>, queue: String) -> Self {
        Self { file, queue: queue.into(), waiting: Waiting::default(), done: Arc::default() }
    }

    /// Another queue in the same file.
    pub(crate) fn named(&self, queue: String) -> Self {
        Self::of(Arc::clone(&self.file), queue)
    }

    /// The storage for apalis' tools.
    pub(crate) fn storage(&self) -> SqliteStorage<StoredEvent> {
        self.file.storage().with_config(Config::default().queue(&self.queue))
    }

    /// Runs an operation on the driver: connections, and the order in which they are used, belong to no
    /// runtime that could be blocked, or end.
    fn run<'a, T: Send + 'static, F>(&self, operation: impl FnOnce(Self) -> F) -> Answer<'a, T>
    where
        F: Future<Output = Result<T, InboxError>> + Send + 'static,
    {
        let operation = in_time(operation(self.clone()));
        let driver = self.file.driver.clone();
        Box::pin(async move { driver.run(operation).await })
    }

    /// Stores what waits, until nobody does. Not a part of any caller's future: if one goes away,
    /// the others' records are stored all the same.
    async fn lead(self, mut leader: Leader) {
        while let Some(group) = leader.next() {
            match in_time(self.store(&group)).await {
                // One event of the group may be at fault, so each is tried alone, for as long as somebody
                // waits for it.
                Err(error) if !group.is_one() && is_about_an_event(&error) => {
                    for alone in group.split() {
                        if alone.is_wanted() {
                            let stored = in_time(self.store(&alone)).await;
                            alone.answer(stored);
                        }
                    }
                }
                stored => group.answer(stored),
            }
        }
    }

    /// Stores a group by one commit, and says which keys were new.
    async fn store(&self, group: &Group) -> Result<HashSet<String>, InboxError> {
        let row = |event: &NewEvent| {
            // It is UTF-8: a body of other bytes has no key.
            let json = String::from_utf8_lossy(&event.json);
            let metadata = match event.origin {
                Origin::Signed => None,
                Origin::Fetched => Some(json!({ "number7.origin": "fetched" }).to_string()),
            };
            json!([Ulid::generate().to_string(), event.key, json, metadata])
        };
        let rows: serde_json::Value = group.events().map(row).collect();
        let mut writing = self.file.begin().await?;
        let insert = query_scalar(INSERT).bind(rows.to_string()).bind(&*self.queue);
        let insert = insert.bind(DEFAULT_ATTEMPTS).bind(writing.now);
        let keys: Vec<String> = insert.fetch_all(&mut *writing).await?;
        writing.commit().await?;
        Ok(keys.into_iter().collect())
    }

    /// Records ends, and claims.
    async fn exchange(
        &self,
        writing: &mut Writing,
        Wanted { worker, lease, ends, most, suspect }: Wanted,
    ) -> Result<Turned, InboxError> {
        let mut turned = Turned::default();
        if let Some(ends) = ends {
            let finish = query_scalar(FINISH).bind(ends).bind(&worker).bind(writing.now);
            let finish = finish.bind(self.file.clock.done_at());
            turned.ended = finish.fetch_all(&mut **writing).await?;
        }
        if most == 0 {
            return Ok(turned);
        }
        let is_live = query_scalar(IS_LIVE).bind(&worker).bind(&*self.queue).bind(writing.now);
        let is_live = is_live.bind(sql::seconds(lease)).fetch_one(&mut **writing);
        turned.is_lapsed = !is_live.await?;
        if turned.is_lapsed {
            return Ok(turned);
        }
        if suspect {
            turned.claimed = self.claim(writing, &worker, "Failed", 1).await?;
        }
        let most = most - turned.claimed.len();
        if most > 0 {
            turned.claimed.extend(self.claim(writing, &worker, "Pending", most).await?);
        }
        Ok(turned)
    }

    async fn claim(
        &self,
        writing: &mut Writing,
        worker: &str,
        status: &str,
        most: usize,
    ) -> Result<Vec<Claim>, InboxError> {
        let claim = query_as(CLAIM).bind(worker).bind(&*self.queue).bind(status);
        let claim = claim.bind(sql::rows(most)).bind(writing.now);
        let rows: Vec<Row> = claim.fetch_all(&mut **writing).await?;
        let claim = |row| {
            let (task, number, uncounted, key, json, errors, origin, is_malformed) = row;
            if is_malformed {
                tracing::warn!(
                    target: "number7", task,
                    "the metadata of an event is not JSON: the event is handled without its earlier errors"
                );
            }
            let row = (task, number, uncounted, key, json, errors, origin);
            sql::claim(row, status == "Failed")
        };
        Ok(rows.into_iter().map(claim).collect())
    }

    fn change_letters(
        &self,
        sql: &'static str,
        keys: String,
        note: &'static str,
    ) -> Answer<'_, u64> {
        self.run(move |this| async move {
            let mut writing = this.file.begin().await?;
            let change = query(sql).bind(&*this.queue).bind(keys).bind(note).bind(writing.now);
            let change = change.bind(this.file.clock.done_at());
            let changed = change.execute(&mut *writing).await?.rows_affected();
            writing.commit().await?;
            Ok(changed)
        })
    }
}

/// What a [`Turn`] says, for another thread.
struct Wanted {
    worker: String,
    lease: Duration,
    /// The parameter of [`FINISH`].
    ends: Option<String>,
    most: usize,
    suspect: bool,
}

/// Reads a URL.
fn options(url: &str) -> Result<SqliteConnectOptions, InboxError> {
    let params = url.split_once('?').map(|(_, params)| params).unwrap_or_default();
    for param in params.split('&') {
        let refused = match param {
            "mode=ro" => "mode=ro: an inbox has to write",
            "mode=memory" => "mode=memory: an inbox in memory survives no crash",
            "cache=shared" => "cache=shared: connections that share a cache lock each other out",
            "immutable=true" | "immutable=1" => "immutable: an inbox has to write",
            _ => continue,
        };
        let text = format!("the URL of an inbox cannot have {refused}");
        return Err(InboxError::new(InboxErrorKind::Invalid, text));
    }
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|error| InboxError::new(InboxErrorKind::Invalid, error))?;
    let says_how = params.split('&').any(|param| param.starts_with("mode="));
    Ok(if says_how { options } else { options.create_if_missing(true) })
}

fn is_about_an_event(error: &InboxError) -> bool {
    matches!(error.kind(), InboxErrorKind::Unstorable | InboxErrorKind::Full)
}

/// Whole seconds are what the columns have. Rounded up, so that nothing is due, or over, before its time.
fn whole_seconds(duration: Duration) -> i64 {
    sql::seconds(duration.saturating_add(Duration::from_nanos(999_999_999)))
}

impl TransactionalStore for Db {}

impl Store for Db {
    const BEGIN: &'static str = "BEGIN IMMEDIATE";

    fn finish<'a>(
        connection: &'a mut SqliteConnection,
        task: &'a str,
        number: u32,
        worker: &'a str,
    ) -> BoxFuture<'a, Result<u64, sqlx::Error>> {
        Box::pin(async move {
            let finish = query(FINISH_ONE).bind(task).bind(number).bind(worker);
            Ok(finish.execute(connection).await?.rows_affected())
        })
    }
}

/// The parameter of [`FINISH`].
fn ends(ends: &[End], now: Duration) -> String {
    let row = |end: &End| {
        let due = match end.outcome.delay() {
            Duration::ZERO => now.as_secs().into(),
            // A retry is never earlier than it should be.
            delay => (now + delay).as_millis().div_ceil(1_000),
        };
        let (status, due) = (end.outcome.status(), i64::try_from(due).unwrap_or(i64::MAX));
        let errors = end.history.as_ref().map(History::json);
        let Number { of_all, uncounted } = end.after();
        let result = sql::result(end);
        json!([end.task, end.number.of_all, status, of_all, uncounted, result, due, errors])
    };
    ends.iter().map(row).collect::<serde_json::Value>().to_string()
}

impl Engine for Sqlite {
    fn runtime(&self) -> Handle {
        self.file.driver.runtime().clone()
    }

    fn insert(&self, event: NewEvent) -> Answer<'_, Acceptance> {
        Box::pin(in_time(async move {
            let (stored, leader) = self.waiting.join(event);
            if let Some(leader) = leader {
                let lead = self.clone().lead(leader).with_current_subscriber();
                self.runtime().spawn(lead);
            }
            // The sender is dropped only when the driver ends.
            stored.await.unwrap_or_else(|_| Err(InboxErrorKind::Unreachable.into()))
        }))
    }

    fn turn<'a>(&'a self, turn: Turn<'a>) -> Answer<'a, Turned> {
        let Turn { worker, lease, most, suspect, .. } = turn;
        let ends = (!turn.ends.is_empty()).then(|| ends(turn.ends, self.file.clock.now()));
        let wanted = Wanted { worker: worker.to_owned(), lease, ends, most, suspect };
        self.run(move |this| async move {
            if wanted.ends.is_none() {
                // Reading first: a worker that has nothing to do must not take the write lock.
                let is_due =
                    query_scalar(IS_DUE).bind(&*this.queue).bind(this.file.clock.seconds());
                if !is_due.fetch_one(&mut *this.file.reader().await?).await? {
                    return Ok(Turned::default());
                }
            }
            let mut writing = this.file.begin().await?;
            let turned = this.exchange(&mut writing, wanted).await?;
            writing.commit().await?;
            Ok(turned)
        })
    }

    fn keep_alive<'a>(&'a self, worker: &'a str) -> Answer<'a, Vec<Held>> {
        let worker = worker.to_owned();
        self.run(move |this| async move {
            let mut writing = this.file.begin().await?;
            let alive = query(KEEP_ALIVE).bind(&worker).bind(&*this.queue).bind(SERVICE);
            alive.bind(writing.now).execute(&mut *writing).await?;
            let held = query_as(HELD).bind(&worker).fetch_all(&mut *writing).await?;
            writing.commit().await?;
            Ok(held)
        })
    }

    fn release<'a>(&'a self, worker: &'a str, held: &'a [Held]) -> Answer<'a, ()> {
        let (worker, held) = (worker.to_owned(), (!held.is_empty()).then(|| json!(held)));
        self.run(move |this| async move {
            let Some(held) = held else { return Ok(()) };
            let mut writing = this.file.begin().await?;
            let release = query(RELEASE).bind(worker).bind(held.to_string());
            release.execute(&mut *writing).await?;
            writing.commit().await
        })
    }

    fn forget<'a>(&'a self, worker: &'a str) -> Answer<'a, ()> {
        let worker = worker.to_owned();
        self.run(move |this| async move {
            let mut writing = this.file.begin().await?;
            query(FORGET_WORKER).bind(worker).execute(&mut *writing).await?;
            writing.commit().await
        })
    }

    fn reap(&self, lease: Duration, suspect_after: u32) -> Answer<'_, u64> {
        self.run(move |this| async move {
            let mut reaped = 0;
            loop {
                let mut writing = this.file.begin().await?;
                // All who live have heard of the time by then, and have renewed their leases.
                if !this.file.clock.is_even_for(lease.saturating_add(NOTED_EVERY)) {
                    writing.commit().await?;
                    return Ok(reaped);
                }
                let reap = query(REAP).bind(suspect_after).bind(&*this.queue).bind(WORKER_PREFIX);
                let reap = reap.bind(whole_seconds(lease)).bind(LOST).bind(writing.now);
                let step = reap.bind(STEP).execute(&mut *writing).await?.rows_affected();
                writing.commit().await?;
                reaped += step;
                if step < u64::from(STEP) {
                    return Ok(reaped);
                }
            }
        })
    }

    fn sweep(&self, retention: Duration, of_dead: Option<Duration>) -> Answer<'_, u64> {
        self.run(move |this| async move {
            let mut writing = this.file.begin().await?;
            let Some(now) = this.file.clock.believed() else {
                writing.roll_back().await?;
                return Ok(0);
            };
            let mut swept = 0;
            // apalis' vacuum_before compares the column's numbers with a text, and so deletes all.
            for (status, retention) in [("Done", Some(retention)), ("Killed", of_dead)] {
                let Some(retention) = retention else { continue };
                let sweep = query(SWEEP).bind(status).bind(now).bind(whole_seconds(retention));
                let sweep = sweep.bind(&*this.queue).bind(STEP).execute(&mut *writing);
                swept += sweep.await?.rows_affected();
            }
            let forget = query(FORGET_WORKERS).bind(&*this.queue).bind(now).bind(STEP);
            forget.execute(&mut *writing).await?;
            writing.commit().await?;
            Ok(swept)
        })
    }

    fn ping(&self) -> Answer<'_, ()> {
        self.run(|this| async move {
            // Takes the lock of whoever writes, and writes nothing.
            this.file.begin().await?.roll_back().await
        })
    }

    fn stats(&self) -> Answer<'_, Stats> {
        self.run(|this| async move {
            let (queue, now) = (&*this.queue, this.file.clock.seconds());
            let mut reader = this.file.reader().await?;
            let stats = query_as(STATS).bind(queue).bind(now).fetch_one(&mut *reader);
            let (due, later, in_hand, dead, workers, overdue): (i64, i64, i64, i64, i64, i64) =
                stats.await?;
            let oldest = query_as(OLDEST).bind(queue).bind(now).fetch_one(&mut *reader);
            let (oldest_due, oldest_overdue): (i64, i64) = oldest.await?;
            let oldest = (1_000_000 * oldest_due, 1_000_000 * oldest_overdue);
            let done = query_scalar(DONE).bind(queue).fetch_one(&mut *reader);
            let done = this.done.get(done).await?;
            let row = (due, later, in_hand, dead, workers, overdue, oldest.0, oldest.1);
            Ok(sql::stats(row, done))
        })
    }

    fn list<'a>(&'a self, state: State, after: Option<&'a str>, most: u32) -> Answer<'a, Listed> {
        let after = after.map(str::to_owned);
        self.run(move |this| async move {
            // What is due later comes after all that is due.
            let now = this.file.clock.seconds();
            let (before, until) = match state {
                State::Due => (i64::MIN, now),
                State::Later => (now, i64::MAX),
                _ => (i64::MIN, i64::MAX),
            };
            let this = &this;
            sql::list(state, after.as_deref(), most.min(STEP), |status, place, most| {
                Box::pin(async move {
                    let (time, row) = match place {
                        Some((time, row)) => (time, row.parse().map_err(|_| no_cursor())?),
                        None => (before, i64::MAX),
                    };
                    let list = query_as(LIST).bind(now).bind(&*this.queue).bind(status).bind(until);
                    let list = list.bind(time).bind(row).bind(most);
                    Ok(list.fetch_all(&mut *this.file.reader().await?).await?)
                })
            })
            .await
        })
    }

    fn show<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Entry>> {
        let key = key.to_owned();
        self.run(move |this| async move {
            let now = this.file.clock.seconds();
            let show = query_as(SHOW).bind(now).bind(&*this.queue).bind(key);
            let found = show.fetch_optional(&mut *this.file.reader().await?).await?;
            Ok(found.map(sql::entry))
        })
    }

    fn requeue<'a>(&'a self, keys: &'a [String]) -> Answer<'a, u64> {
        self.change_letters(REQUEUE, json!(keys).to_string(), REQUEUED)
    }

    fn discard<'a>(&'a self, key: &'a str) -> Answer<'a, bool> {
        let discard = self.change_letters(DISCARD, key.to_owned(), DISCARDED);
        Box::pin(async move { Ok(discard.await? > 0) })
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use sqlx::{AssertSqlSafe, Row};

    use super::{clock::tests::Fake, *};
    use crate::engine::Outcome;

    const LEASE: Duration = Duration::from_secs(20);
    const WORKER: &str = "number7-worker";

    /// The lease of every worker is over, and what they have claimed was claimed before.
    async fn lapse(sqlite: &Sqlite) {
        for lapse in ["UPDATE Workers SET last_seen = 0", "UPDATE Jobs SET lock_at = 0"] {
            query(lapse).execute(&sqlite.file.writer()).await.unwrap();
        }
    }

    /// Not even if the same worker sends it, whatever happened in between.
    #[tokio::test]
    async fn an_end_that_comes_late_is_not_taken_for_another_attempts() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::open(&folder.path().join("inbox.db"), "q".into()).await.unwrap();
        let (key, json) = ("key".to_owned(), "{}".into());
        sqlite.insert(NewEvent { key, json, origin: Origin::Signed }).await.unwrap();
        sqlite.keep_alive(WORKER).await.unwrap();
        let turn = async |ends: &[End], most| {
            let turn =
                Turn { worker: WORKER, lease: Duration::from_secs(20), ends, most, suspect: false };
            sqlite.turn(turn).await.unwrap()
        };
        let claim = async || turn(&[], 1).await.claimed.pop().unwrap();
        let counts = async |end: &End| !turn(slice::from_ref(end), 0).await.ended.is_empty();
        let end = |claim: Claim, outcome| {
            let history = Some(claim.history.with(claim.number.counted(), "a note".into()));
            End { task: claim.task, number: claim.number, outcome, history }
        };
        let entry = async || sqlite.show("key").await.unwrap().unwrap();

        let put_off = end(claim().await, Outcome::Interrupted);
        for _ in 0..2 {
            assert!(counts(&put_off).await, "it is recorded again if its answer was lost");
        }
        let second = claim().await;
        assert_eq!(second.number, Number { of_all: 2, uncounted: 1 });
        assert!(!counts(&put_off).await);
        assert_eq!((entry().await.state(), entry().await.attempts()), (State::InHand, 1));

        lapse(&sqlite).await;
        assert_eq!(sqlite.reap(Duration::from_secs(1), u32::MAX).await.unwrap(), 1);
        sqlite.keep_alive(WORKER).await.unwrap();
        let exhausted = || Outcome::Exhausted { error: "enough".into() };
        let (second, third) = (end(second, exhausted()), end(claim().await, exhausted()));
        for _ in 0..2 {
            assert!(counts(&third).await, "it is recorded again if its answer was lost");
        }
        assert!(!counts(&second).await && !counts(&put_off).await);
        // The last attempt that was made may have been put off: that revives no dead letter.
        let revives = End { outcome: Outcome::Interrupted, ..second.clone() };
        assert!(!counts(&revives).await);
        assert_eq!((entry().await.state(), entry().await.attempts()), (State::Dead, 1));

        assert_eq!(sqlite.requeue(&["key".into()]).await.unwrap(), 1);
        let count_late =
            async || counts(&third).await || counts(&second).await || counts(&put_off).await;
        assert!(!count_late().await);
        let last = claim().await;
        assert_eq!(last.number.counted(), 1);
        assert!(!count_late().await);
        assert!(counts(&end(last, Outcome::Done)).await);
        assert_eq!((entry().await.state(), entry().await.attempts()), (State::Done, 1));
        // What apalis' tools show of it.
        let file = sqlite.file.writer();
        let result = query_scalar("SELECT last_result FROM Jobs").fetch_one(&file);
        assert_eq!(result.await.ok(), Some(r#"{"Ok":null}"#.to_owned()));
    }

    #[tokio::test]
    async fn a_late_release_takes_back_no_attempt_that_was_begun() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::open(&folder.path().join("inbox.db"), "q".into()).await.unwrap();
        let event = NewEvent { key: "key".into(), json: "{}".into(), origin: Origin::Signed };
        sqlite.insert(event).await.unwrap();
        sqlite.keep_alive(WORKER).await.unwrap();
        let claim = async || {
            let turn = Turn {
                worker: WORKER,
                lease: Duration::from_secs(20),
                ends: &[],
                most: 1,
                suspect: false,
            };
            assert_eq!(sqlite.turn(turn).await.unwrap().claimed.len(), 1);
            sqlite.keep_alive(WORKER).await.unwrap()
        };
        let attempts = async || sqlite.show("key").await.unwrap().unwrap().attempts();
        let held = claim().await;
        sqlite.release(WORKER, &held).await.unwrap();
        assert_eq!(attempts().await, 0);
        // Claimed again, and some seconds later.
        claim().await;
        query("UPDATE Jobs SET lock_at = lock_at + 5")
            .execute(&sqlite.file.writer())
            .await
            .unwrap();
        sqlite.release(WORKER, &held).await.unwrap();
        assert_eq!(attempts().await, 1);
        assert_eq!(sqlite.keep_alive(WORKER).await.unwrap().len(), 1);
    }

    /// And suspects are told by the attempts that count, not by all.
    #[tokio::test]
    async fn a_takeover_is_of_workers_of_the_same_inbox() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::open(&folder.path().join("inbox.db"), "q".into()).await.unwrap();
        let other = sqlite.named("other".into());
        let event = NewEvent { key: "key".into(), json: "{}".into(), origin: Origin::Signed };
        other.insert(event).await.unwrap();
        other.keep_alive(WORKER).await.unwrap();
        let turn = Turn {
            worker: WORKER,
            lease: Duration::from_secs(20),
            ends: &[],
            most: 1,
            suspect: false,
        };
        assert_eq!(other.turn(turn).await.unwrap().claimed.len(), 1);
        let put_off = r#"UPDATE Jobs SET attempts = 6, metadata = '{"number7.uncounted":5}'"#;
        query(put_off).execute(&sqlite.file.writer()).await.unwrap();
        lapse(&sqlite).await;
        let lease = Duration::from_secs(20);
        assert_eq!(sqlite.reap(lease, 2).await.unwrap(), 0);
        assert_eq!(other.reap(lease, 2).await.unwrap(), 1);
        let file = sqlite.file.writer();
        let status = query_scalar("SELECT status FROM Jobs").fetch_one(&file);
        assert_eq!(status.await.ok(), Some("Pending".to_owned()));
    }

    /// At most as many as were asked for, of which at most one is a suspect.
    #[tokio::test]
    async fn a_suspect_is_claimed_first_and_within_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::open(&folder.path().join("inbox.db"), "q".into()).await.unwrap();
        for key in ["a", "b", "c", "d", "e"] {
            let event = NewEvent { key: key.into(), json: "{}".into(), origin: Origin::Signed };
            sqlite.insert(event).await.unwrap();
        }
        let suspect = "UPDATE Jobs SET status = 'Failed' WHERE idempotency_key IN ('d', 'e')";
        query(suspect).execute(&sqlite.file.writer()).await.unwrap();
        sqlite.keep_alive(WORKER).await.unwrap();
        let claimed = async |most, suspect| {
            let turn =
                Turn { worker: WORKER, lease: Duration::from_secs(20), ends: &[], most, suspect };
            let claims = sqlite.turn(turn).await.unwrap().claimed;
            claims.iter().map(|claim| claim.is_suspect).collect::<Vec<_>>()
        };
        assert!(claimed(0, true).await.is_empty());
        assert_eq!(claimed(1, false).await, [false]);
        assert_eq!(claimed(1, true).await, [true]);
        assert_eq!(claimed(2, true).await, [true, false]);
    }

    /// An inbox in a new file, opened by a clock of the test's.
    async fn at(folder: &tempfile::TempDir, fake: &Fake) -> Sqlite {
        let options = SqliteConnectOptions::new().filename(folder.path().join("inbox.db"));
        Sqlite::open_by(options.create_if_missing(true), "q".into(), fake.clock()).await.unwrap()
    }

    async fn insert(sqlite: &Sqlite, key: &str) -> Acceptance {
        let event = NewEvent { key: key.into(), json: "{}".into(), origin: Origin::Signed };
        sqlite.insert(event).await.unwrap()
    }

    /// Records ends, and claims at most so many.
    async fn turn(
        sqlite: &Sqlite,
        worker: &str,
        lease: Duration,
        ends: &[End],
        most: usize,
    ) -> Turned {
        sqlite.turn(Turn { worker, lease, ends, most, suspect: true }).await.unwrap()
    }

    fn end(claim: Claim, outcome: Outcome) -> End {
        End { task: claim.task, number: claim.number, outcome, history: None }
    }

    #[tokio::test]
    async fn only_a_worker_whose_lease_is_live_claims() {
        let (folder, fake) = (tempfile::tempdir().unwrap(), Fake::new());
        let sqlite = at(&folder, &fake).await;
        let lease = Duration::from_millis(4_900);
        for key in ["a", "b", "c"] {
            insert(&sqlite, key).await;
        }
        let nobody = turn(&sqlite, WORKER, lease, &[], 1).await;
        assert!(nobody.is_lapsed && nobody.claimed.is_empty(), "it is not registered");
        sqlite.keep_alive(WORKER).await.unwrap();
        fake.pass(3);
        let live = turn(&sqlite, WORKER, lease, &[], 1).await;
        assert!(!live.is_lapsed && live.claimed.len() == 1);
        fake.pass(2);
        let ends: Vec<_> =
            live.claimed.into_iter().map(|claim| end(claim, Outcome::Done)).collect();
        let lapsed = turn(&sqlite, WORKER, lease, &ends, 1).await;
        assert!(lapsed.is_lapsed && lapsed.claimed.is_empty());
        assert_eq!(lapsed.ended.len(), 1, "an end is recorded all the same");
        assert!(!turn(&sqlite, WORKER, lease, &ends, 0).await.is_lapsed, "it has not asked");
        // A worker of another inbox is none of this one.
        sqlite.named("other".into()).keep_alive("number7-other").await.unwrap();
        assert!(turn(&sqlite, "number7-other", lease, &[], 1).await.is_lapsed);
        sqlite.keep_alive(WORKER).await.unwrap();
        assert_eq!(turn(&sqlite, WORKER, lease, &[], 9).await.claimed.len(), 2);
    }

    /// However few its seconds: the columns have whole ones.
    #[tokio::test]
    async fn no_claim_is_rescued_before_a_lease_is_over() {
        let (folder, fake) = (tempfile::tempdir().unwrap(), Fake::new());
        let sqlite = at(&folder, &fake).await;
        let lease = Duration::from_millis(4_900);
        insert(&sqlite, "a").await;
        sqlite.keep_alive(WORKER).await.unwrap();
        assert_eq!(turn(&sqlite, WORKER, lease, &[], 1).await.claimed.len(), 1);
        // It may have been the end of a second.
        fake.pass(5);
        assert_eq!(sqlite.reap(lease, 9).await.unwrap(), 0);
        fake.pass(1);
        assert_eq!(sqlite.reap(lease, 9).await.unwrap(), 1);
    }

    /// Its registration may have been deleted, and then nothing says when its lease ends but the claim.
    #[tokio::test]
    async fn a_claim_is_rescued_by_its_own_data() {
        let (folder, fake) = (tempfile::tempdir().unwrap(), Fake::new());
        let sqlite = at(&folder, &fake).await;
        for key in ["a", "b", "c"] {
            insert(&sqlite, key).await;
        }
        let file = sqlite.file.writer();
        for worker in [WORKER, "number7-live", "apalis"] {
            sqlite.keep_alive(worker).await.unwrap();
            assert_eq!(turn(&sqlite, worker, LEASE, &[], 1).await.claimed.len(), 1);
        }
        // As from a shell, where foreign keys are not checked.
        let mut connection = file.acquire().await.unwrap();
        for sql in [
            "PRAGMA foreign_keys = OFF",
            "DELETE FROM Workers WHERE id <> 'number7-live'",
            "PRAGMA foreign_keys = ON",
        ] {
            query(sql).execute(&mut *connection).await.unwrap();
        }
        drop(connection);
        fake.pass(20);
        sqlite.keep_alive("number7-live").await.unwrap();
        assert_eq!(sqlite.reap(LEASE, 9).await.unwrap(), 0, "it may have been claimed just now");
        fake.pass(1);
        assert_eq!(sqlite.reap(LEASE, 9).await.unwrap(), 1);
        let lost: String = query_scalar("SELECT id FROM Jobs WHERE status = 'Pending'")
            .fetch_one(&file)
            .await
            .unwrap();
        assert!(!lost.is_empty());
        let held: Vec<String> =
            query_scalar("SELECT lock_by FROM Jobs WHERE status = 'Running' ORDER BY 1")
                .fetch_all(&file)
                .await
                .unwrap();
        assert_eq!(held, ["apalis", "number7-live"], "apalis' own workers keep other promises");
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_stops_no_work() {
        let (folder, fake) = (tempfile::tempdir().unwrap(), Fake::new());
        let sqlite = at(&folder, &fake).await;
        for key in ["due", "later", "held"] {
            insert(&sqlite, key).await;
        }
        let worker = async |sqlite: &Sqlite, name, most| {
            sqlite.keep_alive(name).await.unwrap();
            turn(sqlite, name, LEASE, &[], most).await.claimed
        };
        // One is claimed, another rests for a minute.
        let mut claims = worker(&sqlite, WORKER, 2).await;
        let after = Duration::from_secs(60);
        let rests = end(claims.pop().unwrap(), Outcome::Snoozed { after });
        turn(&sqlite, WORKER, LEASE, &[rests], 0).await;

        fake.set(-3_600);
        insert(&sqlite, "new").await;
        // In a process that goes on, and in one that is started now.
        for (sqlite, name) in [(&sqlite, "number7-a"), (&at(&folder, &fake).await, "number7-b")] {
            assert_eq!(worker(sqlite, name, 1).await.len(), 1, "{name}: what was due is due");
            assert_eq!(worker(sqlite, name, 0).await.len(), 0);
        }
        let started = at(&folder, &fake).await;
        assert_eq!(started.stats().await.unwrap().due, 0);
        // What rests is due, and what was held by a dead worker is free, at half the speed. Each start has
        // gone on by ten seconds, because the file is not told everything.
        fake.pass(70);
        assert_eq!(started.stats().await.unwrap().due, 0);
        fake.pass(20);
        assert_eq!(started.stats().await.unwrap().due, 1);
        started.keep_alive("number7-c").await.unwrap();
        assert_eq!(started.reap(LEASE, 9).await.unwrap(), 3);
        assert_eq!(worker(&started, "number7-c", 9).await.len(), 4);
    }

    /// The time of the file leaps, and what the live have written just before that seems old.
    #[tokio::test]
    async fn a_clock_that_leaps_takes_nothing_from_a_live_worker() {
        const EIGHT_DAYS: i64 = 8 * 24 * 3_600;
        let (folder, fake) = (tempfile::tempdir().unwrap(), Fake::new());
        let (a, b) = (at(&folder, &fake).await, at(&folder, &fake).await);
        for key in ["a", "b", "dead"] {
            insert(&a, key).await;
        }
        let live = [(&a, "number7-a"), (&b, "number7-b")];
        for (sqlite, name) in [live[0], live[1], (&a, "number7-dead")] {
            sqlite.keep_alive(name).await.unwrap();
            assert_eq!(turn(sqlite, name, LEASE, &[], 1).await.claimed.len(), 1);
        }
        // The clock of a third one is ahead for a moment, and then the first two hear of it.
        let ahead = Fake::new();
        ahead.set(EIGHT_DAYS);
        at(&folder, &ahead).await.keep_alive("number7-c").await.unwrap();
        let goes_on = async |seconds: u64| {
            let mut reaped = 0;
            for second in 0..seconds {
                fake.pass(1);
                if second % 5 == 4 {
                    for (sqlite, name) in live {
                        reaped += sqlite.reap(LEASE, 9).await.unwrap();
                        assert_eq!(sqlite.keep_alive(name).await.unwrap().len(), 1, "{name}");
                    }
                }
            }
            reaped
        };
        assert_eq!(goes_on(60).await, 1, "that of the dead one");
        // The clock of all is set on by an hour.
        fake.set(EIGHT_DAYS + 3_600);
        assert_eq!(goes_on(60).await, 0);
    }

    /// What is in it was written by that clock.
    #[cfg(unix)]
    #[tokio::test]
    async fn a_file_that_is_restored_brings_its_time() {
        let (folder, backup, fake) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Fake::new());
        let sqlite = at(&folder, &fake).await;
        insert(&sqlite, "a").await;
        let ahead = Fake::new();
        ahead.set(3_600);
        let other = at(&backup, &ahead).await;
        insert(&other, "b").await;
        query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&other.file.writer()).await.unwrap();
        let path = |folder: &tempfile::TempDir| folder.path().join("inbox.db");
        std::fs::copy(path(&backup), backup.path().join("copy.db")).unwrap();
        std::fs::rename(backup.path().join("copy.db"), path(&folder)).unwrap();
        assert_eq!(sqlite.stats().await.unwrap_err().kind(), InboxErrorKind::Unreachable);
        sqlite.show("b").await.unwrap().unwrap();
        assert_eq!(sqlite.stats().await.unwrap().due, 1);
    }

    /// Its new connection would apply the old `-wal` to it.
    #[cfg(unix)]
    #[tokio::test]
    async fn who_waits_to_write_opens_no_file_that_was_put_there_meanwhile() {
        let (folder, backup, fake) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Fake::new());
        let (sqlite, other) = (at(&folder, &fake).await, at(&backup, &fake).await);
        insert(&sqlite, "a").await;
        insert(&other, "b").await;
        query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&other.file.writer()).await.unwrap();
        let path = |folder: &tempfile::TempDir| folder.path().join("inbox.db");
        std::fs::copy(path(&backup), backup.path().join("copy.db")).unwrap();
        let writing = sqlite.file.begin().await.unwrap();
        let mut waits = std::pin::pin!(sqlite.file.begin());
        assert!(futures_util::poll!(&mut waits).is_pending());
        std::fs::rename(backup.path().join("copy.db"), path(&folder)).unwrap();
        drop(writing);
        let Err(error) = waits.await else { panic!("it has begun") };
        assert_eq!(error.kind(), InboxErrorKind::Unreachable, "{error}");
        assert_eq!(insert(&sqlite, "a").await, Acceptance::New);
        assert_eq!(insert(&sqlite, "b").await, Acceptance::Duplicate);
    }

    #[tokio::test]
    async fn readers_that_are_all_in_use_are_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::open(&folder.path().join("inbox.db"), "q".into()).await.unwrap();
        let _readers = [sqlite.file.reader().await.unwrap(), sqlite.file.reader().await.unwrap()];
        let error = sqlite.stats().await.unwrap_err();
        assert_eq!(error.kind(), InboxErrorKind::TooSlow);
        assert!(error.to_string().contains("connections that read"), "{error}");
    }

    /// More than fit into one step.
    #[tokio::test]
    async fn all_that_a_dead_worker_held_is_rescued_at_once() {
        let (folder, fake) = (tempfile::tempdir().unwrap(), Fake::new());
        let sqlite = at(&folder, &fake).await;
        let events = (0..=STEP).map(async |number| insert(&sqlite, &number.to_string()).await);
        let events = futures_util::future::join_all(events).await.len();
        sqlite.keep_alive(WORKER).await.unwrap();
        assert_eq!(turn(&sqlite, WORKER, LEASE, &[], events).await.claimed.len(), events);
        fake.pass(21);
        assert_eq!(sqlite.reap(LEASE, 9).await.unwrap(), events as u64);
    }

    /// A health check may come every second, and it commits nothing.
    #[tokio::test]
    async fn the_file_knows_the_time_however_often_somebody_pings() {
        let (folder, fake) = (tempfile::tempdir().unwrap(), Fake::new());
        let sqlite = at(&folder, &fake).await;
        for _ in 0..100 {
            fake.pass(1);
            sqlite.ping().await.unwrap();
            sqlite.keep_alive(WORKER).await.unwrap();
        }
        let latest = query_scalar("SELECT latest FROM number7_clock");
        let latest: i64 = latest.fetch_one(&sqlite.file.writer()).await.unwrap();
        assert!(fake.system() - latest < 10, "{}", fake.system() - latest);
    }

    #[tokio::test]
    async fn a_start_by_a_clock_that_is_ahead_forgets_nothing_and_leaves_nothing_for_later() {
        const EIGHT_DAYS: i64 = 8 * 24 * 3_600;
        let (folder, fake) = (tempfile::tempdir().unwrap(), Fake::new());
        let week = Duration::from_hours(7 * 24);
        let first = at(&folder, &fake).await;
        insert(&first, "done").await;
        first.keep_alive(WORKER).await.unwrap();
        let claim = turn(&first, WORKER, LEASE, &[], 1).await.claimed.pop().unwrap();
        turn(&first, WORKER, LEASE, &[end(claim, Outcome::Done)], 0).await;
        drop(first);

        fake.set(EIGHT_DAYS);
        let ahead = at(&folder, &fake).await;
        for _ in 0..3 {
            ahead.keep_alive(WORKER).await.unwrap();
            assert_eq!(ahead.sweep(week, Some(week)).await.unwrap(), 0);
            fake.pass(1);
        }
        insert(&ahead, "ahead").await;
        drop(ahead);

        fake.set(-EIGHT_DAYS);
        let right = at(&folder, &fake).await;
        right.keep_alive(WORKER).await.unwrap();
        assert_eq!(right.sweep(week, Some(week)).await.unwrap(), 0);
        assert_eq!(insert(&right, "done").await, Acceptance::Duplicate);
        assert_eq!(turn(&right, WORKER, LEASE, &[], 9).await.claimed.len(), 1, "it is due now");

        // Eight days that somebody lives through count.
        for _ in 0..8 {
            fake.pass(24 * 3_600);
            right.keep_alive(WORKER).await.unwrap();
        }
        assert_eq!(right.sweep(week, Some(week)).await.unwrap(), 1);
        drop(right);

        // And so do those in which nobody was there, once the clock has been steady for an hour.
        let holiday = at(&folder, &fake).await;
        insert(&holiday, "done").await;
        holiday.keep_alive("number7-d").await.unwrap();
        let claim = turn(&holiday, "number7-d", LEASE, &[], 1).await.claimed.pop().unwrap();
        turn(&holiday, "number7-d", LEASE, &[end(claim, Outcome::Done)], 0).await;
        drop(holiday);
        fake.set(30 * 24 * 3_600);
        let back = at(&folder, &fake).await;
        assert_eq!(back.sweep(week, None).await.unwrap(), 0);
        fake.pass(3_600);
        assert_eq!(back.sweep(week, None).await.unwrap(), 1);
    }

    /// Whatever somebody has written into the metadata of one event.
    #[tokio::test]
    async fn one_damaged_event_stops_no_step() {
        let (folder, fake) = (tempfile::tempdir().unwrap(), Fake::new());
        let sqlite = at(&folder, &fake).await;
        let damaged = [
            "{",
            "7",
            "[[[",
            r#"{"number7.errors":"abc"}"#,
            r#"{"number7.errors":7}"#,
            r#"{"number7.errors":{},"number7.uncounted":"x"}"#,
        ];
        for key in damaged {
            insert(&sqlite, key).await;
        }
        insert(&sqlite, "sound").await;
        let file = sqlite.file.writer();
        let damage = "UPDATE Jobs SET metadata = idempotency_key WHERE idempotency_key <> 'sound'";
        query(damage).execute(&file).await.unwrap();
        for round in 0..2 {
            sqlite.keep_alive(WORKER).await.unwrap();
            assert_eq!(turn(&sqlite, WORKER, LEASE, &[], 9).await.claimed.len(), 7, "{round}");
            fake.pass(21);
            assert_eq!(sqlite.reap(LEASE, 9).await.unwrap(), 7, "{round}");
            query(damage).execute(&file).await.unwrap();
        }
        sqlite.keep_alive(WORKER).await.unwrap();
        let claimed = turn(&sqlite, WORKER, LEASE, &[], 9).await.claimed;
        let failed = |claim: Claim| {
            let history = Some(claim.history.clone().with(1, "an error".into()));
            End { history, ..end(claim, Outcome::Dead { error: "an error".into() }) }
        };
        let ends: Vec<_> = claimed.into_iter().map(failed).collect();
        assert_eq!(turn(&sqlite, WORKER, LEASE, &ends, 0).await.ended.len(), 7);
        query(damage).execute(&file).await.unwrap();
        assert_eq!(sqlite.list(State::Dead, None, 9).await.unwrap().0.len(), 7);
        for key in damaged {
            sqlite.show(key).await.unwrap().unwrap();
        }
        let keys = damaged.map(str::to_owned);
        assert_eq!(sqlite.requeue(&keys).await.unwrap(), keys.len() as u64);
        query(damage).execute(&file).await.unwrap();
        query("UPDATE Jobs SET status = 'Killed'").execute(&file).await.unwrap();
        for key in damaged {
            assert!(sqlite.discard(key).await.unwrap(), "{key}");
        }
    }

    /// What is committed into a file that nobody finds again is not confirmed.
    #[cfg(unix)]
    #[tokio::test]
    async fn a_commit_into_a_file_that_has_gone_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inbox.db");
        let sqlite = Sqlite::open(&path, "q".into()).await.unwrap();
        let writing = sqlite.file.begin().await.unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(writing.commit().await.unwrap_err().kind(), InboxErrorKind::Unreachable);
        assert_eq!(insert(&sqlite, "a").await, Acceptance::New);
        assert_eq!(Sqlite::open(&path, "q".into()).await.unwrap().stats().await.unwrap().due, 1);
    }

    #[tokio::test]
    async fn one_step_lists_no_more_than_others_can_wait_for() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::open(&folder.path().join("inbox.db"), "q".into()).await.unwrap();
        let events = (0..=STEP).map(async |number| insert(&sqlite, &number.to_string()).await);
        futures_util::future::join_all(events).await;
        let (listed, next) = sqlite.list(State::Due, None, u32::MAX).await.unwrap();
        assert_eq!(listed.len(), STEP as usize);
        let (listed, next) = sqlite.list(State::Due, next.as_deref(), u32::MAX).await.unwrap();
        assert_eq!((listed.len(), next), (1, None));
    }

    /// Nobody knows how it ended, so its connection must not be used again, nor keep the lock.
    #[tokio::test]
    async fn a_transaction_that_did_not_end_takes_its_connection_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inbox.db");
        let sqlite = Sqlite::open(&path, "q".into()).await.unwrap();
        let other = Sqlite::open(&path, "q".into()).await.unwrap();
        // It fails in its commit, and leaves the transaction open.
        for sql in [
            "CREATE TABLE parents (id INTEGER PRIMARY KEY)",
            "CREATE TABLE children (parent INTEGER REFERENCES parents DEFERRABLE INITIALLY DEFERRED)",
            "CREATE TRIGGER fails AFTER INSERT ON Workers BEGIN INSERT INTO children VALUES (1); END",
        ] {
            query(sql).execute(&sqlite.file.writer()).await.unwrap();
        }
        sqlite.keep_alive(WORKER).await.unwrap_err();
        assert_eq!(insert(&other, "a").await, Acceptance::New, "the lock was not given back");
        query("DROP TRIGGER fails").execute(&other.file.writer()).await.unwrap();
        sqlite.keep_alive(WORKER).await.unwrap();
        // It is dropped in the middle.
        let writing = sqlite.file.begin().await.unwrap();
        drop(writing);
        assert_eq!(insert(&other, "b").await, Acceptance::New);
        assert_eq!(turn(&sqlite, WORKER, LEASE, &[], 9).await.claimed.len(), 2);
        let mut waits =
            sqlite.turn(Turn { worker: WORKER, lease: LEASE, ends: &[], most: 9, suspect: true });
        insert(&other, "c").await;
        assert!(futures_util::poll!(&mut waits).is_pending());
        drop(waits);
        assert_eq!(insert(&other, "d").await, Acceptance::New);
        sqlite.ping().await.unwrap();
    }

    /// Without statistics, as in a file that nobody has analysed.
    #[tokio::test]
    async fn nothing_goes_through_all_events() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::open(&folder.path().join("inbox.db"), "q".into()).await.unwrap();
        for (sql, how) in [
            (IS_DUE, "idx_jobs_job_type_status_run_at (job_type=? AND status=? AND run_at<?)"),
            (FINISH, "sqlite_autoindex_Jobs_1 (id=?)"),
            (FINISH_ONE, "sqlite_autoindex_Jobs_1 (id=?)"),
            (CLAIM, "idx_jobs_job_type_status_run_at (job_type=? AND status=? AND run_at<?)"),
            (RELEASE, "LIdx (lock_by=?)"),
            (REAP, "idx_jobs_job_type_status_run_at (job_type=? AND status=?)"),
            (SWEEP, "idx_jobs_completed_done_at (status=? AND done_at<?)"),
            (FORGET_WORKER, "LIdx (lock_by=?)"),
            (FORGET_WORKERS, "LIdx (lock_by=?)"),
            (HELD, "LIdx (lock_by=?)"),
            (STATS, "idx_jobs_job_type_status_run_at (job_type=? AND status=? AND run_at<?)"),
            (OLDEST, "idx_jobs_job_type_status_run_at (job_type=? AND status=? AND run_at<?)"),
            (DONE, "idx_jobs_job_type_status_run_at (job_type=? AND status=?)"),
            (SHOW, "idx_jobs_idempotency_key (job_type=? AND idempotency_key=?)"),
            (
                LIST,
                "idx_jobs_job_type_status_run_at (job_type=? AND status=? AND run_at>? AND run_at<?)",
            ),
            (DISCARD, "idx_jobs_idempotency_key (job_type=? AND idempotency_key=?)"),
            (REQUEUE, "idx_jobs_idempotency_key (job_type=? AND idempotency_key=?)"),
        ] {
            let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
            let rows = query(explain).fetch_all(&sqlite.file.writer()).await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
            assert!(plan.iter().any(|step| step.ends_with(how)), "{sql}: {plan:?}");
            assert!(!plan.iter().any(|step| step.starts_with("SCAN Jobs")), "{sql}: {plan:?}");
            let is_expected = |step: &&String| step.contains(" number7_expected ");
            let by_index = "INDEX idx_number7_overdue (queue=?)";
            assert!(
                plan.iter().filter(is_expected).all(|step| step.ends_with(by_index)),
                "{plan:?}"
            );
        }
    }
}
