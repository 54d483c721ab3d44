//! What lies in a store, and that a worker composed with apalis finds it there.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use apalis::prelude::*;
use number7_core::Accept;
use number7_inbox::{BoxError, Inbox, StoredEvent};
use number7_tests::{body, delivery, on_every_store, store::Store};
use sqlx::{Connection, PgConnection};
use tokio::{sync::mpsc, time::timeout};

/// How long anything may take on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a worker of apalis' own until it has handled one event.
macro_rules! handled_by {
    ($storage:expr) => {{
        let (handled, mut events) = mpsc::channel(1);
        let storage = $storage.unwrap().poll_with_interval(Duration::from_millis(50));
        let worker = WorkerBuilder::new("a worker of the user's own")
            .backend(storage)
            .concurrency(2)
            .build(move |event: StoredEvent, context: WorkerContext| {
                let handled = handled.clone();
                async move {
                    handled.send(event).await?;
                    context.stop()?;
                    Ok::<_, BoxError>(())
                }
            });
        let event = async {
            let (ended, event) = tokio::join!(worker.run(), events.recv());
            ended.unwrap();
            event.unwrap()
        };
        timeout(PATIENCE, event).await.unwrap()
    }};
}

async fn a_worker_of_apalis_own_works_on_it(store: Store) {
    let inbox = store.open().await;
    inbox.accept(&delivery("job.completed", "job_1")).await.unwrap();
    let event = match &store {
        Store::Sqlite(_) => {
            assert!(inbox.postgres_storage().is_none() && inbox.redis_storage().is_none());
            handled_by!(inbox.sqlite_storage())
        }
        Store::Postgres(_) => {
            assert!(inbox.sqlite_storage().is_none());
            handled_by!(inbox.postgres_storage())
        }
        Store::Redis(_) => handled_by!(inbox.redis_storage()),
    };
    assert_eq!(event.json(), body("job.completed", "job_1").as_bytes());
    assert_eq!(event.event().unwrap().name(), "job.completed");
}

/// In the queue `number7`, by its key, as the text that was signed.
async fn an_event_lies_there_as_it_was_signed(store: Store) {
    const COLUMNS: &str = "SELECT job_type, idempotency_key, job";
    let inbox = store.open().await;
    inbox.accept(&delivery("job.failed", "job_1")).await.unwrap();
    let row: (String, String, Vec<u8>) = match &store {
        Store::Sqlite(_) => {
            let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} FROM Jobs"));
            sqlx::query_as(sql).fetch_one(&mut store.sqlite_connection().await).await.unwrap()
        }
        Store::Postgres(url) => {
            let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} FROM apalis.jobs"));
            let mut connection = PgConnection::connect(url).await.unwrap();
            sqlx::query_as(sql).fetch_one(&mut connection).await.unwrap()
        }
        Store::Redis(url) => {
            let client = ::redis::Client::open(&**url).unwrap();
            let mut connection = client.get_multiplexed_async_connection().await.unwrap();
            let (key, json) = ::redis::pipe()
                .cmd("HKEYS")
                .arg("number7:keys")
                .cmd("HVALS")
                .arg("number7:data")
                .query_async::<(Vec<String>, Vec<Vec<u8>>)>(&mut connection)
                .await
                .unwrap();
            ("number7".into(), key[0].clone(), json[0].clone())
        }
    };
    let json = body("job.failed", "job_1").into_bytes();
    assert_eq!(row, ("number7".into(), "job.failed:job_1".into(), json));
}

on_every_store!(a_worker_of_apalis_own_works_on_it, an_event_lies_there_as_it_was_signed);

/// apalis' own setup switches it off, on one of the connections.
#[tokio::test]
async fn every_commit_of_the_file_is_synchronised() {
    let store = Store::sqlite();
    let inbox: Inbox = store.open().await;
    let storage = inbox.sqlite_storage().unwrap();
    for _ in 0..3 {
        let mut connection = storage.pool().acquire().await.unwrap();
        let full: i64 =
            sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *connection).await.unwrap();
        let mode: String =
            sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *connection).await.unwrap();
        assert_eq!((full, &*mode), (2, "wal"));
    }
}

/// An application's own migrations may be in the same database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_of_an_application_do_not_stand_in_the_way() {
    let store = Store::sqlite();
    let mut connection = store.sqlite_connection().await;
    let own = sqlx::migrate::Migrator::with_migrations(vec![sqlx::migrate::Migration::new(
        1,
        "own".into(),
        sqlx::migrate::MigrationType::Simple,
        sqlx::SqlSafeStr::into_sql_str("CREATE TABLE own (id INTEGER)"),
        false,
    )]);
    own.run_direct(None, &mut connection, false).await.unwrap();
    let inbox = store.open().await;
    inbox.accept(&delivery("job.completed", "job_1")).await.unwrap();
}
