//! One file, for one machine.

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
use number7_core::{Acceptance, Record};
use serde_json::json;
use sqlx::{
    Connection, Sqlite as Db, SqliteConnection, SqlitePool,
    pool::PoolConnection,
    query, query_as, query_scalar,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use ulid::Ulid;

use self::{
    group::{Group, Leader, Waiting},
    turnstile::{Turn as TurnToWrite, Turnstile},
};
use super::{
    Answer, CONNECT_TIMEOUT, Claim, End, Engine, SERVICE, SWEEP_STEP, Turn, Turned, WORKER_PREFIX,
    in_time, sql,
};
use crate::{DEFAULT_ATTEMPTS, DeadLetter, InboxError, InboxErrorKind, StoredEvent};

/// How long SQLite waits for another writer: less than an operation may take, so that its error
/// says that there is one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// How many connections read beside the one that writes.
const READERS: u32 = 2;

const INSERT: &str = "
    INSERT INTO Jobs (job, id, job_type, status, attempts, max_attempts, run_at, priority,
        idempotency_key)
    SELECT CAST(value ->> 2 AS BLOB), value ->> 0, ?2, 'Pending', 0, ?3, unixepoch(), 0, value ->> 1
        FROM json_each(?1) WHERE true
    ON CONFLICT (job_type, idempotency_key) DO NOTHING
    RETURNING idempotency_key";

const IS_DUE: &str = "
    SELECT EXISTS (SELECT 1 FROM Jobs
        WHERE job_type = ? AND status IN ('Pending', 'Failed') AND run_at <= unixepoch())";

const FINISH: &str = "
    UPDATE Jobs SET status = ends.status, attempts = ends.attempts, last_result = ends.result,
        lock_by = NULL, lock_at = NULL, run_at = ends.due,
        done_at = iif(ends.status = 'Pending', NULL, unixepoch())
    FROM (SELECT value ->> 0 AS id, value ->> 1 AS attempt, value ->> 2 AS status,
            value ->> 3 AS attempts, value ->> 4 AS result, value ->> 5 AS due
        FROM json_each(?1)) AS ends
    WHERE Jobs.id = ends.id AND Jobs.attempts = ends.attempt
        AND (+Jobs.lock_by = ?2 OR +Jobs.lock_by IS NULL)
    RETURNING id";

const CLAIM: &str = "
    UPDATE Jobs SET status = 'Running', attempts = attempts + 1, lock_by = ?1,
        lock_at = unixepoch(), done_at = NULL
    WHERE rowid IN (SELECT rowid FROM Jobs
        WHERE job_type = ?2 AND status = ?3 AND run_at <= unixepoch() ORDER BY run_at LIMIT ?4)
    RETURNING id, attempts, idempotency_key, job";

const KEEP_ALIVE: &str = "
    INSERT INTO Workers (id, worker_type, storage_name, layers, last_seen, started_at)
    VALUES (?, ?, 'SqliteStorage', ?, unixepoch(), unixepoch())
    ON CONFLICT (id) DO UPDATE SET last_seen = excluded.last_seen";

/// What was claimed and not begun was counted when it was claimed by us, which is `Running`.
const RELEASE: &str = "
    UPDATE Jobs SET attempts = max(attempts - (status = 'Running'), 0), status = 'Pending',
        lock_by = NULL, lock_at = NULL
    WHERE lock_by = ? AND status IN ('Queued', 'Running')
        AND id NOT IN (SELECT value FROM json_each(?))";

const REAP: &str = "
    UPDATE Jobs SET status = iif(attempts >= ?, 'Failed', 'Pending'), lock_by = NULL, lock_at = NULL
    WHERE status IN ('Queued', 'Running') AND lock_by IN (SELECT id FROM Workers
        WHERE worker_type = ? AND id LIKE ? || '%' AND last_seen < unixepoch() - ?)";

/// The `IN` is what apalis' index of finished events is made for.
const SWEEP: &str = "
    DELETE FROM Jobs WHERE rowid IN (SELECT rowid FROM Jobs
        WHERE status = 'Done' AND status IN ('Done', 'Failed', 'Killed')
            AND done_at < unixepoch() - ? AND job_type = ?
        ORDER BY done_at LIMIT ?)";

const FORGET_WORKER: &str = "
    DELETE FROM Workers WHERE id = ?
        AND NOT EXISTS (SELECT 1 FROM Jobs WHERE lock_by = Workers.id)";

const FORGET_WORKERS: &str = "
    DELETE FROM Workers WHERE worker_type = ? AND last_seen < unixepoch() - 86400
        AND NOT EXISTS (SELECT 1 FROM Jobs WHERE lock_by = Workers.id)";

const DEAD_LETTERS: &str = "
    SELECT idempotency_key, job, attempts, coalesce(last_result ->> 'Err', ''), coalesce(done_at, 0)
    FROM Jobs WHERE status = 'Killed' AND status IN ('Done', 'Failed', 'Killed')
        AND done_at IS NOT NULL AND job_type = ? AND idempotency_key IS NOT NULL
    ORDER BY done_at, run_at LIMIT ?";

const DEAD_LETTER: &str = "
    SELECT idempotency_key, job, attempts, coalesce(last_result ->> 'Err', ''), coalesce(done_at, 0)
    FROM Jobs WHERE job_type = ? AND idempotency_key = ? AND status = 'Killed'";

const REQUEUE: &str = "
    UPDATE Jobs SET status = 'Pending', attempts = 0, last_result = NULL, run_at = unixepoch(),
        done_at = NULL
    WHERE job_type = ? AND idempotency_key = ? AND status = 'Killed'";

const DISCARD: &str = "
    UPDATE Jobs SET status = 'Done', done_at = unixepoch()
    WHERE job_type = ? AND idempotency_key = ? AND status = 'Killed'";

pub(crate) struct Sqlite {
    file: Arc<File>,
    queue: String,
    waiting: Waiting,
}

/// The connections to one file.
struct File {
    writer: SqlitePool,
    readers: SqlitePool,
    turnstile: Turnstile,
}

impl Sqlite {
    pub(crate) async fn open(path: &Path, queue: String) -> Result<Self, InboxError> {
        // Every commit is on the disk when it is confirmed. apalis' own setup would trade that for
        // speed, on one of the connections.
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        // SQLite has one writer at a time, so one connection writes, and whoever wants to waits for
        // that, in order.
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(CONNECT_TIMEOUT)
                // A file does not hang up.
                .test_before_acquire(false)
                .connect_lazy_with(options.clone())
        };
        let (writer, readers) = (pool(1), pool(READERS));
        let turnstile = Turnstile::beside(path);
        super::open(async || {
            // Another process may be making the same tables.
            let _turn = turnstile.turn().await;
            let mut migrations = SqliteStorage::migrations();
            Ok(migrations.set_ignore_missing(true).run(&writer).await?)
        })
        .await?;
        Ok(Self::of(Arc::new(File { writer, readers, turnstile }), queue))
    }

    fn of(file: Arc<File>, queue: String) -> Self {
        Self { file, queue, waiting: Waiting::default() }
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
                // It may be the fault of one of them.
                Err(error) if !group.is_one() && is_about_a_record(&error) => {
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

fn is_about_a_record(error: &InboxError) -> bool {
    matches!(error.kind(), InboxErrorKind::Unstorable | InboxErrorKind::Full)
}

impl File {
    async fn writer(&self) -> Result<Writer, InboxError> {
        let connection = self.writer.acquire().await?;
        Ok(Writer { connection, _turn: self.turnstile.turn().await })
    }

    /// Stores a group by one commit, and says which keys were new.
    async fn insert(&self, queue: &str, group: &Group) -> Result<HashSet<String>, InboxError> {
        let row = |record: &Record| {
            // It is UTF-8: a body of other bytes has no key.
            let json = String::from_utf8_lossy(record.json());
            json!([Ulid::generate().to_string(), record.key(), json])
        };
        let rows: serde_json::Value = group.records().map(row).collect();
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
        json!([end.task, end.attempt, status, end.attempts(), sql::result(end), due])
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
    async fn change_letter(&self, sql: &'static str, key: &str) -> Result<bool, InboxError> {
        in_time(async {
            let change = query(sql).bind(&self.queue).bind(key);
            let changed = change.execute(&mut *self.file.writer().await?).await?;
            Ok(changed.rows_affected() > 0)
        })
        .await
    }
}

impl Engine for Sqlite {
    fn insert(&self, record: Record) -> Answer<'_, Acceptance> {
        Box::pin(in_time(async move {
            let (stored, leader) = self.waiting.join(record);
            if let Some(leader) = leader {
                tokio::spawn(Self::lead(Arc::clone(&self.file), self.queue.clone(), leader));
            }
            // It is dropped only where its runtime ends.
            stored.await.unwrap_or_else(|_| Err(InboxErrorKind::Unreachable.into()))
        }))
    }

    fn turn<'a>(&'a self, turn: Turn<'a>) -> Answer<'a, Turned> {
        Box::pin(in_time(async move {
            let mut turned = Turned::default();
            if turn.ends.is_empty() {
                // Whoever has nothing to do does not keep others from writing.
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

    fn keep_alive<'a>(&'a self, worker: &'a str) -> Answer<'a, ()> {
        Box::pin(in_time(async move {
            let alive = query(KEEP_ALIVE).bind(worker).bind(&self.queue).bind(SERVICE);
            alive.execute(&mut *self.file.writer().await?).await?;
            Ok(())
        }))
    }

    fn release<'a>(&'a self, worker: &'a str, in_hand: &'a [String]) -> Answer<'a, ()> {
        Box::pin(in_time(async move {
            let release = query(RELEASE).bind(worker).bind(json!(in_hand).to_string());
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

    fn reap(&self, lease: Duration, suspect_after: u32) -> Answer<'_, ()> {
        Box::pin(in_time(async move {
            let reap = query(REAP).bind(suspect_after).bind(&self.queue).bind(WORKER_PREFIX);
            let reap = reap.bind(sql::seconds(lease));
            reap.execute(&mut *self.file.writer().await?).await?;
            Ok(())
        }))
    }

    fn sweep(&self, retention: Duration) -> Answer<'_, u64> {
        Box::pin(in_time(async move {
            let mut writer = self.file.writer().await?;
            // apalis' vacuum_before compares the column's numbers with a text, and so deletes all.
            let sweep = query(SWEEP).bind(sql::seconds(retention)).bind(&self.queue);
            let swept = sweep.bind(SWEEP_STEP).execute(&mut *writer).await?;
            query(FORGET_WORKERS).bind(&self.queue).execute(&mut *writer).await?;
            Ok(swept.rows_affected())
        }))
    }

    fn dead_letters(&self, most: u32) -> Answer<'_, Vec<DeadLetter>> {
        Box::pin(in_time(async move {
            let letters = query_as(DEAD_LETTERS).bind(&self.queue).bind(most);
            Ok(super::letters(letters.fetch_all(&self.file.readers).await?))
        }))
    }

    fn dead_letter<'a>(&'a self, key: &'a str) -> Answer<'a, Option<DeadLetter>> {
        Box::pin(in_time(async move {
            let letter = query_as(DEAD_LETTER).bind(&self.queue).bind(key);
            Ok(letter.fetch_optional(&self.file.readers).await?.map(super::letter))
        }))
    }

    fn requeue<'a>(&'a self, key: &'a str) -> Answer<'a, bool> {
        Box::pin(self.change_letter(REQUEUE, key))
    }

    fn discard<'a>(&'a self, key: &'a str) -> Answer<'a, bool> {
        Box::pin(self.change_letter(DISCARD, key))
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Row};

    use super::*;

    /// Without statistics, as in a file that nobody has analysed.
    #[tokio::test]
    async fn nothing_goes_through_all_events() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::open(&folder.path().join("inbox.db"), "q".into()).await.unwrap();
        for (sql, how) in [
            (IS_DUE, "idx_jobs_job_type_status_run_at (job_type=? AND status=? AND run_at<?)"),
            (FINISH, "sqlite_autoindex_Jobs_1 (id=?)"),
            (CLAIM, "idx_jobs_job_type_status_run_at (job_type=? AND status=? AND run_at<?)"),
            (RELEASE, "LIdx (lock_by=?)"),
            (REAP, "idx_jobs_status_run_at (status=?)"),
            (SWEEP, "idx_jobs_completed_done_at (status=? AND done_at<?)"),
            (FORGET_WORKER, "LIdx (lock_by=?)"),
            (FORGET_WORKERS, "LIdx (lock_by=?)"),
            (DEAD_LETTERS, "idx_jobs_completed_done_at (status=? AND done_at>?)"),
            (DEAD_LETTER, "idx_jobs_idempotency_key (job_type=? AND idempotency_key=?)"),
            (DISCARD, "idx_jobs_idempotency_key (job_type=? AND idempotency_key=?)"),
            (REQUEUE, "idx_jobs_idempotency_key (job_type=? AND idempotency_key=?)"),
        ] {
            let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
            let rows = query(explain).fetch_all(&sqlite.file.readers).await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
            assert!(plan.iter().any(|step| step.ends_with(how)), "{sql}: {plan:?}");
            assert!(!plan.iter().any(|step| step.starts_with("SCAN Jobs")), "{sql}: {plan:?}");
        }
    }
}
