//! An unsuitable store is refused when an inbox is opened, with the reason, and in time.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use number7_core::Acceptance;
use number7_inbox::{DEFAULT_STATEMENT_TIMEOUT, Inbox, InboxError, InboxErrorKind};
use number7_tests::{
    delivery,
    engine::{Engine, Server},
    store::{self, Store},
};
use sqlx::Executor;
use tokio::task::block_in_place;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long opening may take according to the README, and how much longer on a busy machine.
const IN_TIME: Duration = Duration::from_secs(5 + 5);

#[track_caller]
fn refused(opened: Result<Inbox, InboxError>, reason: &str) {
    let error = opened.unwrap_err();
    assert_eq!(error.kind(), InboxErrorKind::Refused, "{error}");
    assert!(error.to_string().contains(reason), "{error}");
}

#[track_caller]
fn refused_url(opened: Result<Inbox, InboxError>) {
    let error = opened.unwrap_err();
    assert_eq!(error.kind(), InboxErrorKind::Invalid, "{error}");
    let reason = "the URL of an inbox must begin with sqlite:, postgres:// or redis://";
    assert!(error.to_string().starts_with(reason), "{error}");
}

/// Even if the order in which they should write cannot be kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_can_make_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let (mut turns, mut opened) = (Vec::new(), Vec::new());
    for file in 0..4 {
        let path = folder.path().join(format!("{file}.db"));
        let turn = std::fs::File::create(path.with_extension("db-turn")).unwrap();
        turn.lock().unwrap();
        turns.push(turn);
        let url = format!("sqlite:{}", path.display());
        opened.extend((0..4).map(|_| {
            let url = url.clone();
            tokio::spawn(async move { Inbox::open(&url).await })
        }));
    }
    for opened in opened {
        opened.await.unwrap().unwrap();
    }
}

/// A tool that gets the wrong store changes nothing there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_makes_no_inbox() {
    let store = Store::sqlite();
    let Store::Sqlite(folder) = &store else { unreachable!() };
    store.sql("CREATE TABLE customers (name TEXT)").await;
    let read = || std::fs::read(folder.path().join("inbox.db")).unwrap();
    let before = read();
    let refused = Inbox::open_existing(&store.url()).await.unwrap_err();
    assert_eq!(refused.kind(), InboxErrorKind::Schema, "{refused}");
    assert!(read() == before && std::fs::read_dir(folder.path()).unwrap().count() == 1);
    store.open().await;
    Inbox::open_existing(&store.url()).await.unwrap();
    let missing = format!("sqlite:{}/missing.db", folder.path().display());
    let missing = Inbox::open_existing(&missing).await.unwrap_err();
    assert_eq!(missing.kind(), InboxErrorKind::Unreachable, "{missing}");
    assert!(missing.to_string().contains("/missing.db: "), "{missing}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn a_tool_makes_no_inbox_in_postgres() {
    let store = Store::postgres().await;
    let refused = Inbox::open_existing(&store.url()).await.unwrap_err();
    assert_eq!(refused.kind(), InboxErrorKind::Schema, "{refused}");
    store.open().await;
    Inbox::open_existing(&store.url()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_opened_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let missing = Inbox::sqlite(folder.path().join("missing/inbox.db")).await.unwrap_err();
    assert_eq!(missing.kind(), InboxErrorKind::Unreachable, "{missing}");
    assert!(missing.to_string().contains("missing/inbox.db: "), "{missing}");
    let none = folder.path().join("none.db");
    std::fs::write(&none, "this is not a database, but long enough to be looked at ".repeat(20))
        .unwrap();
    let none = Inbox::sqlite(none).await.unwrap_err();
    assert_eq!(none.kind(), InboxErrorKind::Refused, "{none}");
    let refused = Inbox::redis("redis://127.0.0.1:1/").await.unwrap_err();
    assert!(
        matches!(refused.kind(), InboxErrorKind::Unreachable | InboxErrorKind::TooSlow),
        "{refused}"
    );
    let refused = Inbox::postgres("postgres://127.0.0.1:1/none").await.unwrap_err();
    assert!(
        matches!(refused.kind(), InboxErrorKind::Unreachable | InboxErrorKind::TooSlow),
        "{refused}"
    );
    assert_eq!(Inbox::postgres("not a url").await.unwrap_err().kind(), InboxErrorKind::Refused);
    for url in ["", "inbox.db", "mysql://127.0.0.1/", "sqlite"] {
        refused_url(Inbox::open(url).await);
    }
    assert!(begun.elapsed() < PATIENCE);
}

/// The process that locks it does not release it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_locked_is_busy_soon() {
    let store = Store::sqlite();
    let mut other = store.sqlite_connection().await;
    // It is not in WAL mode yet, and the inbox would have to change that.
    other.execute("CREATE TABLE own (id INTEGER); BEGIN EXCLUSIVE").await.unwrap();
    let begun = Instant::now();
    let refused = Inbox::open(&store.url()).await.unwrap_err();
    assert_eq!(refused.kind(), InboxErrorKind::Busy, "{refused}");
    assert!(begun.elapsed() < IN_TIME, "{:?}", begun.elapsed());
    other.execute("ROLLBACK").await.unwrap();
    let inbox = store.open().await;
    // An existing inbox is opened even if somebody writes to it.
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    drop(store.open().await);
    other.execute("ROLLBACK").await.unwrap();
    let delivery = delivery("job.completed", "job_1");
    assert_eq!(inbox.accept(&delivery).await.unwrap(), Acceptance::New);

    // An app's own file, without an inbox.
    let store = Store::sqlite();
    let mut other = store.sqlite_connection().await;
    let write = "PRAGMA journal_mode = WAL; CREATE TABLE own (id INTEGER); BEGIN IMMEDIATE";
    other.execute(write).await.unwrap();
    let refused = Inbox::open(&store.url()).await.unwrap_err();
    assert_eq!(refused.kind(), InboxErrorKind::Busy, "{refused}");
    assert!(refused.to_string().contains("/inbox.db: "), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn a_database_that_does_not_take_all_texts_is_refused() {
    let server = block_in_place(|| Server::start(Engine::Postgres));
    let mut admin = store::postgres(&server.url(server.port(), "postgres")).await;
    let create = "CREATE DATABASE latin TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'";
    admin.execute(create).await.unwrap();
    refused(Inbox::postgres(server.url(server.port(), "latin")).await, "LATIN1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(
    any(no_postgres, no_pgbouncer),
    ignore = "pgbouncer is not installed: see CONTRIBUTING.md"
)]
async fn a_pooler_that_allows_no_transactions_is_refused() {
    let server = block_in_place(|| Server::start(Engine::Postgres));
    let mut admin = store::postgres(&server.url(server.port(), "postgres")).await;
    admin.execute("CREATE DATABASE inbox").await.unwrap();
    let direct = server.url(server.port(), "inbox");
    let pooler = block_in_place(|| Server::pooler(&server, "statement"));
    for _ in 0..3 {
        let opened = Inbox::postgres(pooler.url(pooler.port(), "inbox")).await;
        refused(opened, "allows no transactions");
        // Even if there is nothing to create.
        Inbox::postgres(&direct).await.unwrap();
    }
}

#[tokio::test]
async fn a_setting_that_is_wrong_is_refused() {
    let (long, options) = ("s".repeat(64), Inbox::options);
    let settings = [options().schema(""), options().schema("a\0b"), options().schema(long)];
    let [none, moment] = [Duration::ZERO, Duration::from_millis(99)];
    let others = [
        options().poll_interval(none),
        options().sleep_after(moment),
        options().connections(0),
        options().statement_timeout(moment),
        options().statement_timeout(DEFAULT_STATEMENT_TIMEOUT * 2),
    ];
    for settings in settings.into_iter().chain(others) {
        let store = Store::sqlite();
        assert!(settings.migrations(&store.url()).is_err());
        let error = settings.open(&store.url()).await.err().unwrap();
        assert_eq!(error.kind(), InboxErrorKind::Invalid, "{error}");
    }
}
