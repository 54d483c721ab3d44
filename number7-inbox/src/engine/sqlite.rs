//! One file, for one machine.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use apalis_core::{backend::ext::BackendExt, error::BoxDynError};
use apalis_sqlite::{Config, SqliteStorage};
use futures_util::future::BoxFuture;
use number7_core::{Acceptance, Record};
use sqlx::{
    SqlitePool, query, query_as,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::time::sleep;
use ulid::Ulid;

use super::{
    Answer, CONNECT_TIMEOUT, Claim, Engine, Outcome, POLL_INTERVAL, QUEUE, STORE_TIMEOUT,
    SWEEP_STEP, in_time,
};
use crate::{
    DEFAULT_ATTEMPTS, DeadLetter, InboxError, StoredEvent,
    work::{Shift, Verbatim},
};

/// How often opening is tried where another process creates the same file.
const OPEN_TRIES: u32 = 40;

pub(crate) struct Sqlite {
    pool: SqlitePool,
}

impl Sqlite {
    pub(crate) async fn open(path: &Path) -> Result<Self, InboxError> {
        // Every commit is on the disk when it is confirmed. apalis' own setup would trade that for
        // speed, on one of the connections.
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(STORE_TIMEOUT / 2);
        // SQLite has one writer at a time, and all that an inbox does is write. One connection
        // queues fairly; several would poll for the lock.
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_lazy_with(options);
        let mut tries = 1;
        while let Err(error) = SqliteStorage::migrations().set_ignore_missing(true).run(&pool).await
        {
            if tries == OPEN_TRIES {
                return Err(error.into());
            }
            tries += 1;
            sleep(POLL_INTERVAL).await;
        }
        Ok(Self { pool })
    }

    /// The storage for a worker of the user's own.
    pub(crate) fn storage(&self) -> SqliteStorage<StoredEvent> {
        SqliteStorage::new(&self.pool).with_config(Config::default().queue(QUEUE))
    }
}

impl Engine for Sqlite {
    fn insert(&self, record: Record) -> Answer<'_, Acceptance> {
        Box::pin(in_time(async move {
            let inserted = query(
                "INSERT INTO Jobs (job, id, job_type, status, attempts, max_attempts, run_at,
                    priority, idempotency_key)
                VALUES (?, ?, ?, 'Pending', 0, ?, unixepoch(), 0, ?)
                ON CONFLICT (job_type, idempotency_key) DO NOTHING",
            )
            .bind(record.json().to_vec())
            .bind(Ulid::generate().to_string())
            .bind(QUEUE)
            .bind(DEFAULT_ATTEMPTS)
            .bind(record.key())
            .execute(&self.pool)
            .await?;
            Ok(super::acceptance(inserted.rows_affected()))
        }))
    }

    fn work(&self, shift: Shift) -> BoxFuture<'_, Result<(), BoxDynError>> {
        let config = for_worker!(Config::default().queue(QUEUE), shift);
        let storage = SqliteStorage::<StoredEvent>::new(&self.pool).with_config(config);
        Box::pin(shift.run(storage.with_codec(Verbatim).poll_with_interval(POLL_INTERVAL)))
    }

    fn begin<'a>(&'a self, claim: &'a Claim) -> Answer<'a, bool> {
        Box::pin(in_time(async move {
            let begun = query(
                "UPDATE Jobs SET status = 'Running', attempts = ? WHERE id = ? AND lock_by = ?",
            )
            .bind(claim.attempt)
            .bind(&claim.task)
            .bind(&claim.worker)
            .execute(&self.pool)
            .await?;
            Ok(begun.rows_affected() > 0)
        }))
    }

    fn finish<'a>(&'a self, claim: &'a Claim, outcome: &'a Outcome) -> Answer<'a, bool> {
        Box::pin(in_time(async move {
            let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
            // Whole seconds are what the column has; a retry is never earlier than it should be.
            let due = match outcome.delay() {
                Duration::ZERO => now.as_secs().into(),
                delay => (now + delay).as_millis().div_ceil(1_000),
            };
            let finished = query(
                "UPDATE Jobs SET status = ?1, last_result = ?2, lock_by = NULL, lock_at = NULL,
                    run_at = ?3, done_at = iif(?1 = 'Pending', NULL, unixepoch())
                WHERE id = ?4 AND lock_by = ?5 AND attempts = ?6",
            )
            .bind(outcome.status())
            .bind(outcome.result())
            .bind(i64::try_from(due).unwrap_or(i64::MAX))
            .bind(&claim.task)
            .bind(&claim.worker)
            .bind(claim.attempt)
            .execute(&self.pool)
            .await?;
            Ok(finished.rows_affected() > 0)
        }))
    }

    fn keep_alive<'a>(&'a self, worker: &'a str) -> Answer<'a, ()> {
        Box::pin(in_time(async move {
            let alive = query("UPDATE Workers SET last_seen = unixepoch() WHERE id = ?");
            alive.bind(worker).execute(&self.pool).await?;
            Ok(())
        }))
    }

    fn release<'a>(&'a self, worker: &'a str, in_hand: &'a [String]) -> Answer<'a, ()> {
        Box::pin(in_time(async move {
            query(
                "UPDATE Jobs SET status = 'Pending', lock_by = NULL, lock_at = NULL
                WHERE lock_by = ? AND status IN ('Queued', 'Running')
                    AND id NOT IN (SELECT value FROM json_each(?))",
            )
            .bind(worker)
            .bind(serde_json::json!(in_hand).to_string())
            .execute(&self.pool)
            .await?;
            Ok(())
        }))
    }

    fn reap(&self, lease: Duration) -> Answer<'_, ()> {
        Box::pin(in_time(async move {
            query(
                "UPDATE Jobs SET status = 'Pending', lock_by = NULL, lock_at = NULL
                WHERE status IN ('Queued', 'Running') AND lock_by IN (
                    SELECT id FROM Workers WHERE worker_type = ? AND last_seen < unixepoch() - ?)",
            )
            .bind(QUEUE)
            .bind(super::seconds(lease))
            .execute(&self.pool)
            .await?;
            Ok(())
        }))
    }

    fn sweep(&self, retention: Duration) -> Answer<'_, u64> {
        Box::pin(in_time(async move {
            // apalis' vacuum_before compares the column's numbers with a text, and so deletes all.
            let swept = query(
                "DELETE FROM Jobs WHERE rowid IN (
                    SELECT rowid FROM Jobs WHERE job_type = ? AND status = 'Done'
                        AND done_at < unixepoch() - ? LIMIT ?)",
            )
            .bind(QUEUE)
            .bind(super::seconds(retention))
            .bind(SWEEP_STEP)
            .execute(&self.pool)
            .await?;
            query(
                "DELETE FROM Workers WHERE worker_type = ? AND last_seen < unixepoch() - 86400
                AND NOT EXISTS (SELECT 1 FROM Jobs WHERE lock_by = Workers.id)",
            )
            .bind(QUEUE)
            .execute(&self.pool)
            .await?;
            Ok(swept.rows_affected())
        }))
    }

    fn dead_letters(&self, most: u32) -> Answer<'_, Vec<DeadLetter>> {
        Box::pin(in_time(async move {
            let rows: Vec<(String, Vec<u8>, i64, String, i64)> = query_as(
                "SELECT idempotency_key, job, attempts, coalesce(last_result ->> 'Err', ''),
                    coalesce(done_at, 0)
                FROM Jobs WHERE job_type = ? AND status = 'Killed' AND idempotency_key IS NOT NULL
                ORDER BY done_at, id LIMIT ?",
            )
            .bind(QUEUE)
            .bind(most)
            .fetch_all(&self.pool)
            .await?;
            Ok(super::letters(rows))
        }))
    }

    fn requeue<'a>(&'a self, key: &'a str) -> Answer<'a, bool> {
        Box::pin(in_time(async move {
            let requeued = query(
                "UPDATE Jobs SET status = 'Pending', attempts = 0, last_result = NULL,
                    run_at = unixepoch(), done_at = NULL
                WHERE job_type = ? AND idempotency_key = ? AND status = 'Killed'",
            )
            .bind(QUEUE)
            .bind(key)
            .execute(&self.pool)
            .await?;
            Ok(requeued.rows_affected() > 0)
        }))
    }
}

#[cfg(test)]
mod tests {
    use number7_core::{Secret, Verifier};

    use super::*;

    async fn claim(sqlite: &Sqlite, attempt: u32) -> Claim {
        let claim = "UPDATE Jobs SET status = 'Queued', lock_by = 'worker' RETURNING id";
        let task = sqlx::query_scalar(claim).fetch_one(&sqlite.pool).await.unwrap();
        Claim { task, worker: "worker".into(), attempt }
    }

    #[tokio::test]
    async fn an_attempt_begins_and_ends_once() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::open(&folder.path().join("inbox.db")).await.unwrap();
        let register =
            "INSERT INTO Workers (id, worker_type, storage_name) VALUES ('worker', '', '')";
        query(register).execute(&sqlite.pool).await.unwrap();
        let secret = Secret::new("a secret of the test").unwrap();
        let body = r#"{"event":"job.completed","jobId":"job_1"}"#;
        let signature = secret.sign(body).to_string();
        let delivery = Verifier::new(secret).verify(signature, body).unwrap();
        sqlite.insert(Record::of(&delivery).unwrap()).await.unwrap();

        let retry = Outcome::Retry { after: Duration::ZERO, error: "failed".into() };
        let first = claim(&sqlite, 1).await;
        assert!(sqlite.begin(&first).await.unwrap());
        assert!(sqlite.finish(&first, &retry).await.unwrap());
        assert!(!sqlite.finish(&first, &retry).await.unwrap(), "it was recorded twice");
        let second = claim(&sqlite, 2).await;
        assert!(sqlite.begin(&second).await.unwrap());
        assert!(!sqlite.finish(&first, &retry).await.unwrap(), "it ended the second");
        assert!(sqlite.finish(&second, &Outcome::Done).await.unwrap());
        assert!(!sqlite.begin(&second).await.unwrap(), "what is done was begun");
    }
}
