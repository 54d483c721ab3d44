//! What is in a store.
#![allow(clippy::unwrap_used)]

use number7_tests::{body, delivery, on_every_store, store::Store};
use sqlx::{Connection, PgConnection};

/// It has its key, and the bytes that were signed.
async fn an_event_lies_there_as_it_was_signed(store: Store) {
    const COLUMNS: &str = "SELECT inbox, key, payload";
    let inbox = store.open().await;
    inbox.accept(&delivery("job.failed", "job_1")).await.unwrap();
    let row: (String, String, Vec<u8>) = match &store {
        Store::Sqlite(_) => {
            let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} FROM number7_events"));
            sqlx::query_as(sql).fetch_one(&mut store.sqlite_connection().await).await.unwrap()
        }
        Store::Postgres(url) => {
            let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} FROM number7.events"));
            let mut connection = PgConnection::connect(url).await.unwrap();
            sqlx::query_as(sql).fetch_one(&mut connection).await.unwrap()
        }
        Store::Redis(url) => {
            let client = ::redis::Client::open(&**url).unwrap();
            let mut connection = client.get_multiplexed_async_connection().await.unwrap();
            let (key, json) = ::redis::pipe()
                .cmd("HKEYS")
                .arg("{number7}:keys")
                .cmd("HVALS")
                .arg("{number7}:payloads")
                .query_async::<(Vec<String>, Vec<Vec<u8>>)>(&mut connection)
                .await
                .unwrap();
            (String::new(), key[0].clone(), json[0].clone())
        }
        Store::Memory(_) => unreachable!(),
    };
    let json = body("job.failed", "job_1").into_bytes();
    assert_eq!(row, (String::new(), "job.failed:job_1".into(), json));
}

on_every_store!(an_event_lies_there_as_it_was_signed);

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
