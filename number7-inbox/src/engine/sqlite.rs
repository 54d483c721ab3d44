//! One file, for one machine.

mod expected;
mod group;
mod turnstile;

use std::{
    collections::HashSet,
    ops::{Deref, DerefMut},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use apalis_sqlite::{Config, SqliteStorage};
use futures_util::future::BoxFuture;
use number7_core::Acceptance;
use serde_json::json;
use sqlx::{
    ConnectOptions, Connection, Sqlite as Db, SqliteConnection, SqlitePool,
    pool::PoolConnection,
    query, query_as, query_scalar, raw_sql,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::runtime::Handle;
use ulid::Ulid;

use self::{
    group::{Group, Leader, Waiting},
    turnstile::{Turn as TurnToWrite, Turnstile},
};
use super::{
    Answer, CONNECT_TIMEOUT, Claim, End, Engine, Held, Listed, NewEvent, Number, SERVICE,
    SWEEP_STEP, Turn, Turned, WORKER_PREFIX, driver::Driver, in_time, no_cursor, sql,
};
use crate::{
    DEFAULT_ATTEMPTS, Entry, InboxError, InboxErrorKind, Origin, State, Stats, StoredEvent,
    history::{DISCARDED, History, LOST, REQUEUED},
    transaction::{TransactionalStore, sealed::Store},
};

/// How long SQLite waits for another writer: less than an operation may take, so that its error
/// says that there is one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// How many connections read beside the one that writes.
const READERS: u32 = 2;

const INSERT: &str = "
    INSERT INTO Jobs (job, id, job_type, status, attempts, max_attempts, run_at, priority,
        idempotency_key, metadata)
    SELECT CAST(value ->> 2 AS BLOB), value ->> 0, ?2, 'Pending', 0, ?3, unixepoch(), 0, value ->> 1,
            value ->> 3
        FROM json_each(?1) WHERE true
    ON CONFLICT (job_type, idempotency_key) DO NOTHING
    RETURNING idempotency_key";

const IS_INBOX: &str = "
    SELECT EXISTS (SELECT 1 FROM pragma_table_info('Jobs') WHERE name = 'idempotency_key')";

const IS_DUE: &str = "
    SELECT EXISTS (SELECT 1 FROM Jobs
        WHERE job_type = ? AND status IN ('Pending', 'Failed') AND run_at <= unixepoch())";

/// What is done stays done, even if a handler's transaction finished it. An end whose answer was
/// lost is sent again. If it made a dead letter, the row has the number that it wrote: for a claim
/// beyond the last attempt, its own minus one.
const FINISH: &str = "
    UPDATE Jobs SET status = ends.status, attempts = ends.attempts,
        last_result = coalesce(ends.result, last_result),
        metadata = iif(ends.errors IS NULL, metadata, json_set(
            iif(json_valid(metadata), metadata, '{}'), '$.\"number7.errors\"', ends.errors,
            '$.\"number7.uncounted\"', ends.uncounted)),
        lock_by = NULL, lock_at = NULL, run_at = ends.due,
        done_at = iif(ends.status = 'Pending', NULL, unixepoch())
    FROM (SELECT value ->> 0 AS id, value ->> 1 AS number, value ->> 2 AS status,
            value ->> 3 AS attempts, value ->> 4 AS uncounted, value ->> 5 AS result,
            value ->> 6 AS due, value ->> 7 AS errors
        FROM json_each(?1)) AS ends
    WHERE Jobs.id = ends.id
        AND Jobs.attempts = iif(+Jobs.status = 'Killed', ends.attempts, ends.number)
        AND (+Jobs.status <> 'Done' OR ends.status = 'Done')
        AND (+Jobs.status <> 'Killed' OR ends.status <> 'Pending')
        AND (+Jobs.lock_by = ?2 OR +Jobs.lock_by IS NULL)
    RETURNING id";

/// The end of one attempt, in a transaction of the handler's.
const FINISH_ONE: &str = "
    UPDATE Jobs SET status = 'Done', last_result = '{\"Ok\":null}', lock_by = NULL, lock_at = NULL,
        run_at = unixepoch(), done_at = unixepoch()
    WHERE id = ? AND attempts = ? AND +lock_by = ?";

const CLAIM: &str = "
    UPDATE Jobs SET status = 'Running', attempts = attempts + 1, lock_by = ?1,
        lock_at = unixepoch(), done_at = NULL
    WHERE rowid IN (SELECT rowid FROM Jobs
        WHERE job_type = ?2 AND status = ?3 AND run_at <= unixepoch() ORDER BY run_at LIMIT ?4)
    RETURNING id, attempts, coalesce(metadata ->> '$.\"number7.uncounted\"', 0), idempotency_key,
        job, metadata ->> '$.\"number7.errors\"',
        metadata ->> '$.\"number7.origin\"'";

const HELD: &str = "
    SELECT id, coalesce(CAST(lock_at AS TEXT), '') FROM Jobs
    WHERE lock_by = ? AND +status IN ('Queued', 'Running')";

const KEEP_ALIVE: &str = "
    INSERT INTO Workers (id, worker_type, storage_name, layers, last_seen, started_at)
    VALUES (?, ?, 'SqliteStorage', ?, unixepoch(), unixepoch())
    ON CONFLICT (id) DO UPDATE SET last_seen = excluded.last_seen";

/// Our claims are `Running`, and were counted; what was never begun is uncounted again.
const RELEASE: &str = "
    UPDATE Jobs SET attempts = max(attempts - (status = 'Running'), 0), status = 'Pending',
        lock_by = NULL, lock_at = NULL
    WHERE lock_by = ? AND status IN ('Queued', 'Running')
        AND (id, coalesce(CAST(lock_at AS TEXT), '')) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))";

/// How many attempts count.
macro_rules! counted {
    () => {
        "max(attempts - coalesce(iif(json_valid(metadata), metadata, '{}')
            ->> '$.\"number7.uncounted\"', 0), 0)"
    };
}

/// The column that has the errors, with one more: of which attempt, and its text. With `uncounted`, it
/// also sets how many attempts do not count.
macro_rules! noted {
    ($attempt:expr, $text:literal $(, uncounted = $uncounted:literal)?) => {
        concat!(
            "metadata = json_set(iif(json_valid(metadata), metadata, '{}'), '$.\"number7.errors\"',
                json_insert(coalesce(iif(json_valid(metadata), metadata, '{}')
                        ->> '$.\"number7.errors\"', '[]'),
                    '$[#]', json_array(unixepoch() * 1000, ",
            $attempt,
            ", ",
            $text,
            ")) || ''",
            $(", '$.\"number7.uncounted\"', ", $uncounted,)?
            ")"
        )
    };
}

const REAP: &str = concat!(
    "UPDATE Jobs SET status = iif(",
    counted!(),
    " >= ?1, 'Failed', 'Pending'), lock_by = NULL, lock_at = NULL, ",
    noted!(counted!(), "?5"),
    "WHERE status IN ('Queued', 'Running') AND lock_by IN (SELECT id FROM Workers
        WHERE worker_type = ?2 AND id LIKE ?3 || '%' AND last_seen < unixepoch() - ?4)"
);

/// The redundant `IN` is the condition of apalis' partial index of finished events.
const SWEEP: &str = "
    DELETE FROM Jobs WHERE rowid IN (SELECT rowid FROM Jobs
        WHERE status = ? AND status IN ('Done', 'Failed', 'Killed')
            AND done_at < unixepoch() - ? AND job_type = ?
        ORDER BY done_at LIMIT ?)";

const FORGET_WORKER: &str = "
    DELETE FROM Workers WHERE id = ?
        AND NOT EXISTS (SELECT 1 FROM Jobs WHERE lock_by = Workers.id)";

const FORGET_WORKERS: &str = "
    DELETE FROM Workers WHERE worker_type = ? AND last_seen < unixepoch() - 86400
        AND NOT EXISTS (SELECT 1 FROM Jobs WHERE lock_by = Workers.id)";

/// Due, later, in hand, dead, workers, overdue jobs. Counted one by one, which is four times as
/// fast as in one pass.
const STATS: &str = "
    SELECT (SELECT count(*) FROM Jobs WHERE job_type = ?1 AND status IN ('Pending', 'Failed')
            AND run_at <= unixepoch()),
        (SELECT count(*) FROM Jobs
            WHERE job_type = ?1 AND status = 'Pending' AND run_at > unixepoch()),
        (SELECT count(*) FROM Jobs WHERE job_type = ?1 AND status IN ('Queued', 'Running')),
        (SELECT count(*) FROM Jobs WHERE job_type = ?1 AND status = 'Killed'),
        (SELECT count(*) FROM Workers
            WHERE worker_type = ?1 AND last_seen >= unixepoch() - 30),
        (SELECT count(*) FROM number7_expected INDEXED BY idx_number7_overdue
            WHERE queue = ?1 AND is_overdue)";

const OLDEST: &str = "
    SELECT coalesce(max(unixepoch() - (SELECT run_at FROM Jobs
        WHERE job_type = ?1 AND status = value AND run_at <= unixepoch() ORDER BY run_at LIMIT 1)), 0),
        coalesce(unixepoch() - (SELECT min(due_at) FROM number7_expected
            INDEXED BY idx_number7_overdue WHERE queue = ?1 AND is_overdue), 0)
    FROM json_each('[\"Pending\", \"Failed\"]')";

const DONE: &str = "SELECT count(*) FROM Jobs WHERE job_type = ? AND status = 'Done'";

/// The columns of [`sql::EntryRow`].
macro_rules! entries {
    () => {
        concat!(
            "SELECT run_at || '.' || rowid, id, idempotency_key, job, ",
            counted!(),
            ", status, 1000000 * coalesce(CASE
                WHEN status IN ('Done', 'Killed') THEN done_at
                WHEN status IN ('Queued', 'Running') THEN lock_at
            END, run_at), metadata ->> '$.\"number7.errors\"', run_at > unixepoch(),
            (SELECT last_seen FROM Workers WHERE id = lock_by), metadata ->> '$.\"number7.origin\"'
        FROM Jobs "
        )
    };
}

const SHOW: &str = concat!(entries!(), "WHERE job_type = ? AND idempotency_key = ?");

/// In the order of `run_at`: when an event was or will be due or, once it is over, when it ended.
const LIST: &str = concat!(
    entries!(),
    "WHERE job_type = ?1 AND status = ?2 AND run_at <= ?3 AND (run_at, rowid) > (?4, ?5)
        AND idempotency_key IS NOT NULL
    ORDER BY run_at, rowid LIMIT ?6"
);

/// Adds 2, because a dead letter at n may come from claim n + 1, whose attempt was never made, and
/// the end of that claim may still arrive.
const REQUEUE: &str = concat!(
    "UPDATE Jobs SET status = 'Pending', attempts = attempts + 2, last_result = NULL,
        run_at = unixepoch(), done_at = NULL, ",
    noted!("0", "?3", uncounted = "attempts + 2"),
    "WHERE job_type = ?1 AND idempotency_key IN (SELECT value FROM json_each(?2))
        AND +status = 'Killed'"
);

const DISCARD: &str = concat!(
    "UPDATE Jobs SET status = 'Done', done_at = unixepoch(), ",
    noted!("0", "?3"),
    "WHERE job_type = ?1 AND idempotency_key = ?2 AND status = 'Killed'"
);

pub(crate) struct Sqlite {
    file: Arc<File>,
    queue: String,
    waiting: Waiting,
    done: sql::Counted,
}

/// The connections to one file.
struct File {
    writer: SqlitePool,
    readers: SqlitePool,
    turnstile: Turnstile,
    driver: Driver,
}

impl Sqlite {
    pub(crate) async fn open(path: &Path, queue: String) -> Result<Self, InboxError> {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        Self::open_with(options, queue).await
    }

    /// Whether there is an inbox in a file. It changes nothing.
    pub(crate) async fn is_in(path: &Path) -> Result<bool, InboxError> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        in_time(async {
            let mut connection =
                options.connect().await.map_err(|error| InboxError::from(error).at(path))?;
            Ok(query_scalar(IS_INBOX).fetch_one(&mut connection).await?)
        })
        .await
    }

    /// On the file that these options name.
    pub(crate) async fn open_with(
        options: SqliteConnectOptions,
        queue: String,
    ) -> Result<Self, InboxError> {
        // Every commit is on the disk when it is confirmed. apalis' own setup would trade that for
        // speed, on one of the connections.
        let options = options
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        let path = options.get_filename().to_owned();
        if is_in_memory(&path) {
            let text = "an inbox in memory survives no crash: give it a file";
            return Err(InboxError::new(InboxErrorKind::Refused, text));
        }
        // SQLite has one writer at a time, so one connection writes, and whoever wants to waits for
        // that, in order.
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(CONNECT_TIMEOUT)
                // A connection to a file cannot break, so there is nothing to test.
                .test_before_acquire(false)
                .connect_lazy_with(options.clone())
        };
        let (writer, readers) = (pool(1), pool(READERS));
        let turnstile = Turnstile::beside(&path);
        super::open(async || {
            let _turn = turnstile.turn().await;
            let made = make_tables(&writer).await;
            made.map_err(|error| error.at(&path))
        })
        .await?;
        let driver = Driver::start()?;
        Ok(Self::of(Arc::new(File { writer, readers, turnstile, driver }), queue))
    }

    fn of(file: Arc<File>, queue: String) -> Self {
        Self { file, queue, waiting: Waiting::default(), done: sql::Counted::default() }
    }

    /// Another queue in the same file.
    pub(crate) fn named(&self, queue: String) -> Self {
        Self::of(Arc::clone(&self.file), queue)
    }

    /// The storage for apalis' tools.
    pub(crate) fn storage(&self) -> SqliteStorage<StoredEvent> {
        SqliteStorage::new(&self.file.writer).with_config(Config::default().queue(&self.queue))
    }

    /// Stores what waits, until nobody does. Not a part of any caller's future: if one goes away,
    /// the others' records are stored all the same.
    async fn lead(file: Arc<File>, queue: String, mut leader: Leader) {
        while let Some(group) = leader.next() {
            match file.insert(&queue, &group).await {
                // One event of the group may be at fault, so each is tried alone.
                Err(error) if !group.is_one() && is_about_an_event(&error) => {
                    for alone in group.split() {
                        let stored = file.insert(&queue, &alone).await;
                        alone.answer(stored);
                    }
                }
                stored => group.answer(stored),
            }
        }
    }
}

/// Mostly they are there, and nothing is written.
async fn make_tables(writer: &SqlitePool) -> Result<(), InboxError> {
    let mut migrations = SqliteStorage::migrations();
    let migrations = migrations.set_ignore_missing(true);
    let mut connection = writer.acquire().await?;
    if let Err(error) = migrations.run_direct(None, &mut *connection, false).await {
        let error = InboxError::from(error);
        if error.kind() == InboxErrorKind::Busy {
            return Err(error);
        }
        // Another process may be making the same tables. `sqlx` takes no lock for that on SQLite, so this
        // takes SQLite's own.
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        migrations.run_direct(None, &mut *transaction, false).await?;
        transaction.commit().await?;
    }
    Ok(raw_sql(expected::TABLES).execute(&mut *connection).await.map(drop)?)
}

fn is_in_memory(path: &Path) -> bool {
    let path = path.to_string_lossy();
    path.is_empty()
        || path.contains(":memory:")
        || path.contains("mode=memory")
        || path.starts_with("file:sqlx-in-memory")
}

fn is_about_an_event(error: &InboxError) -> bool {
    matches!(error.kind(), InboxErrorKind::Unstorable | InboxErrorKind::Full)
}

impl File {
    async fn writer(&self) -> Result<Writer, InboxError> {
        let connection = self.writer.acquire().await?;
        Ok(Writer { connection, _turn: self.turnstile.turn().await })
    }

    /// Stores a group by one commit, and says which keys were new.
    async fn insert(&self, queue: &str, group: &Group) -> Result<HashSet<String>, InboxError> {
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
        in_time(async {
            let mut writer = self.writer().await?;
            let insert = query_scalar(INSERT).bind(rows.to_string()).bind(queue);
            let keys: Vec<String> = insert.bind(DEFAULT_ATTEMPTS).fetch_all(&mut *writer).await?;
            Ok(keys.into_iter().collect())
        })
        .await
    }
}

/// The connection that writes, in its turn.
struct Writer {
    connection: PoolConnection<Db>,
    _turn: Option<TurnToWrite>,
}

impl Deref for Writer {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Writer {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
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
fn ends(ends: &[End]) -> String {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let row = |end: &End| {
        // Whole seconds are what the column has; a retry is never earlier than it should be.
        let due = match end.outcome.delay() {
            Duration::ZERO => now.as_secs().into(),
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

impl Sqlite {
    async fn claim(
        &self,
        writer: &mut SqliteConnection,
        worker: &str,
        status: &str,
        most: usize,
    ) -> Result<Vec<Claim>, InboxError> {
        let claim = query_as(CLAIM).bind(worker).bind(&self.queue).bind(status);
        let rows: Vec<sql::Row> = claim.bind(sql::rows(most)).fetch_all(writer).await?;
        Ok(rows.into_iter().map(|row| sql::claim(row, status == "Failed")).collect())
    }
}

impl Sqlite {
    async fn change_letters(
        &self,
        sql: &'static str,
        keys: &str,
        note: &str,
    ) -> Result<u64, InboxError> {
        in_time(async {
            let change = query(sql).bind(&self.queue).bind(keys).bind(note);
            Ok(change.execute(&mut *self.file.writer().await?).await?.rows_affected())
        })
        .await
    }
}

impl Engine for Sqlite {
    fn runtime(&self) -> Handle {
        self.file.driver.runtime().clone()
    }

    fn insert(&self, event: NewEvent) -> Answer<'_, Acceptance> {
        Box::pin(in_time(async move {
            let (stored, leader) = self.waiting.join(event);
            if let Some(leader) = leader {
                tokio::spawn(Self::lead(Arc::clone(&self.file), self.queue.clone(), leader));
            }
            // The sender is dropped only when the runtime ends.
            stored.await.unwrap_or_else(|_| Err(InboxErrorKind::Unreachable.into()))
        }))
    }

    fn turn<'a>(&'a self, turn: Turn<'a>) -> Answer<'a, Turned> {
        Box::pin(in_time(async move {
            let mut turned = Turned::default();
            if turn.ends.is_empty() {
                // Reading first: a worker that has nothing to do must not take the write lock.
                let is_due = query_scalar(IS_DUE).bind(&self.queue);
                if !is_due.fetch_one(&self.file.readers).await? {
                    return Ok(turned);
                }
            }
            let mut writer = self.file.writer().await?;
            let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
            if !turn.ends.is_empty() {
                let finish = query_scalar(FINISH).bind(ends(turn.ends)).bind(turn.worker);
                turned.ended = finish.fetch_all(&mut *transaction).await?;
            }
            if turn.suspect && turn.most > 0 {
                turned.claimed = self.claim(&mut transaction, turn.worker, "Failed", 1).await?;
            }
            let most = turn.most - turned.claimed.len();
            if most > 0 {
                let claimed = self.claim(&mut transaction, turn.worker, "Pending", most).await?;
                turned.claimed.extend(claimed);
            }
            transaction.commit().await?;
            Ok(turned)
        }))
    }

    fn keep_alive<'a>(&'a self, worker: &'a str) -> Answer<'a, Vec<Held>> {
        Box::pin(in_time(async move {
            let alive = query(KEEP_ALIVE).bind(worker).bind(&self.queue).bind(SERVICE);
            alive.execute(&mut *self.file.writer().await?).await?;
            Ok(query_as(HELD).bind(worker).fetch_all(&self.file.readers).await?)
        }))
    }

    fn release<'a>(&'a self, worker: &'a str, held: &'a [Held]) -> Answer<'a, ()> {
        Box::pin(in_time(async move {
            if held.is_empty() {
                return Ok(());
            }
            let release = query(RELEASE).bind(worker).bind(json!(held).to_string());
            release.execute(&mut *self.file.writer().await?).await?;
            Ok(())
        }))
    }

    fn forget<'a>(&'a self, worker: &'a str) -> Answer<'a, ()> {
        Box::pin(in_time(async move {
            let forget = query(FORGET_WORKER).bind(worker);
            forget.execute(&mut *self.file.writer().await?).await?;
            Ok(())
        }))
    }

    fn reap(&self, lease: Duration, suspect_after: u32) -> Answer<'_, u64> {
        Box::pin(in_time(async move {
            let reap = query(REAP).bind(suspect_after).bind(&self.queue).bind(WORKER_PREFIX);
            let reap = reap.bind(sql::seconds(lease)).bind(LOST);
            Ok(reap.execute(&mut *self.file.writer().await?).await?.rows_affected())
        }))
    }

    fn sweep(&self, retention: Duration, of_dead: Option<Duration>) -> Answer<'_, u64> {
        Box::pin(in_time(async move {
            let mut writer = self.file.writer().await?;
            let mut swept = 0;
            // apalis' vacuum_before compares the column's numbers with a text, and so deletes all.
            for (status, retention) in [("Done", Some(retention)), ("Killed", of_dead)] {
                let Some(retention) = retention else { continue };
                let sweep = query(SWEEP).bind(status).bind(sql::seconds(retention));
                let sweep = sweep.bind(&self.queue).bind(SWEEP_STEP).execute(&mut *writer);
                swept += sweep.await?.rows_affected();
            }
            query(FORGET_WORKERS).bind(&self.queue).execute(&mut *writer).await?;
            Ok(swept)
        }))
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(in_time(async move {
            // Takes the lock of whoever writes, and writes nothing.
            let mut writer = self.file.writer().await?;
            Ok(writer.begin_with("BEGIN IMMEDIATE").await?.rollback().await?)
        }))
    }

    fn stats(&self) -> Answer<'_, Stats> {
        Box::pin(in_time(async move {
            let mut reader = self.file.readers.acquire().await?;
            let stats = query_as(STATS).bind(&self.queue).fetch_one(&mut *reader);
            let (due, later, in_hand, dead, workers, overdue): (i64, i64, i64, i64, i64, i64) =
                stats.await?;
            let oldest = query_as(OLDEST).bind(&self.queue).fetch_one(&mut *reader);
            let (oldest_due, oldest_overdue): (i64, i64) = oldest.await?;
            let oldest = (1_000_000 * oldest_due, 1_000_000 * oldest_overdue);
            let done = query_scalar(DONE).bind(&self.queue).fetch_one(&mut *reader);
            let done = self.done.get(done).await?;
            let row = (due, later, in_hand, dead, workers, overdue, oldest.0, oldest.1);
            Ok(sql::stats(row, done))
        }))
    }

    fn list<'a>(&'a self, state: State, after: Option<&'a str>, most: u32) -> Answer<'a, Listed> {
        Box::pin(in_time(async move {
            // What is due later comes after all that is due.
            let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
            let now = i64::try_from(now).unwrap_or(i64::MAX);
            let (before, until) = match state {
                State::Due => (i64::MIN, now),
                State::Later => (now, i64::MAX),
                _ => (i64::MIN, i64::MAX),
            };
            sql::list(state, after, most, |status, place, most| {
                Box::pin(async move {
                    let (time, row) = match place {
                        Some((time, row)) => (time, row.parse().map_err(|_| no_cursor())?),
                        None => (before, i64::MAX),
                    };
                    let list = query_as(LIST).bind(&self.queue).bind(status).bind(until);
                    let list = list.bind(time).bind(row).bind(most);
                    Ok(list.fetch_all(&self.file.readers).await?)
                })
            })
            .await
        }))
    }

    fn show<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Entry>> {
        Box::pin(in_time(async move {
            let show = query_as(SHOW).bind(&self.queue).bind(key);
            Ok(show.fetch_optional(&self.file.readers).await?.map(sql::entry))
        }))
    }

    fn requeue<'a>(&'a self, keys: &'a [String]) -> Answer<'a, u64> {
        Box::pin(
            async move { self.change_letters(REQUEUE, &json!(keys).to_string(), REQUEUED).await },
        )
    }

    fn discard<'a>(&'a self, key: &'a str) -> Answer<'a, bool> {
        Box::pin(async move { Ok(self.change_letters(DISCARD, key, DISCARDED).await? > 0) })
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use sqlx::{AssertSqlSafe, Row};

    use super::*;
    use crate::engine::Outcome;

    const WORKER: &str = "number7-worker";

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

        query("UPDATE Workers SET last_seen = 0").execute(&sqlite.file.writer).await.unwrap();
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
        let result = query_scalar("SELECT last_result FROM Jobs").fetch_one(&sqlite.file.readers);
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
        query("UPDATE Jobs SET lock_at = lock_at + 5").execute(&sqlite.file.writer).await.unwrap();
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
        query(put_off).execute(&sqlite.file.writer).await.unwrap();
        query("UPDATE Workers SET last_seen = 0").execute(&sqlite.file.writer).await.unwrap();
        let lease = Duration::from_secs(20);
        assert_eq!(sqlite.reap(lease, 2).await.unwrap(), 0);
        assert_eq!(other.reap(lease, 2).await.unwrap(), 1);
        let status = query_scalar("SELECT status FROM Jobs").fetch_one(&sqlite.file.readers);
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
        query(suspect).execute(&sqlite.file.writer).await.unwrap();
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
            (REAP, "idx_jobs_status_run_at (status=?)"),
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
            let rows = query(explain).fetch_all(&sqlite.file.readers).await.unwrap();
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
