//! Effects in the database of the inbox happen exactly once, no matter what is killed and when.
//!
//! `NUMBER7_KILLS` is how often a process is killed after each step: 50 for a long run.
#![allow(clippy::unwrap_used)]

use std::{
    env,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use number7_core::Acceptance;
use number7_inbox::{AcceptedEvent, BoxError, Failure, Inbox, STORE_TIMEOUT, State};
use number7_tests::{
    body,
    engine::{Engine, Server},
    proxy::{Network, Proxy},
    running::{PATIENCE, Running, accept, until},
    sign,
    store::Store,
    verifier,
};
use sqlx::{PgPool, SqlitePool, postgres::PgPoolOptions, query, query_scalar};
use tokio::{task::block_in_place, time::sleep};

/// Where a process aborts: after each step, and in the middle of the last one.
const STEPS: [&str; 5] = ["begin", "effect", "finish", "committing", "commit"];

/// Few enough for a CI run.
const DEFAULT_KILLS: u32 = 5;

struct Worker(Child);

impl Worker {
    fn start(store: &Store, step: &str, passes: u32) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_transactional-worker"));
        command.args([&store.url(), step, &passes.to_string()]);
        Self(command.stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Events, and the number of effects of each.
async fn effects(store: &Store) -> Vec<i64> {
    const COUNTS: &str = "SELECT count(*) FROM effects GROUP BY event";
    match store {
        Store::Postgres(url) => {
            let pool = PgPool::connect(url).await.unwrap();
            query_scalar(COUNTS).fetch_all(&pool).await.unwrap()
        }
        _ => query_scalar(COUNTS).fetch_all(&mut store.sqlite_connection().await).await.unwrap(),
    }
}

async fn kill_after(step: &'static str, store: Store) {
    let kills = env::var("NUMBER7_KILLS").map_or(DEFAULT_KILLS, |kills| kills.parse().unwrap());
    let inbox = store.open().await;
    store.sql("CREATE TABLE effects (event TEXT NOT NULL)").await;
    let (mut killed, mut events) = (0, 0);
    while killed < kills {
        // More than the number of passes, so that the process always has events left.
        for _ in 0..4 {
            accept(&inbox, "job.completed", &format!("job_{events}")).await;
            events += 1;
        }
        let mut worker = Worker::start(&store, step, killed % 4);
        let begun = Instant::now();
        while worker.0.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "it was not killed: {step}");
            sleep(Duration::from_millis(20)).await;
        }
        killed += 1;
    }
    let worker = Worker::start(&store, "never", 0);
    store.settled(PATIENCE).await;
    drop(worker);
    let effects = effects(&store).await;
    assert_eq!(effects.len(), events, "after {step}: an effect is lost");
    assert!(effects.iter().all(|count| *count == 1), "after {step}: an effect is doubled");
    assert_eq!(inbox.stats().await.unwrap().done, events as u64);
}

async fn kill_after_every_step(stores: Vec<Store>) {
    join_all(STEPS.into_iter().zip(stores).map(|(step, store)| kill_after(step, store))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_has_each_effect_exactly_once() {
    kill_after_every_step(STEPS.map(|_| Store::sqlite()).into()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn postgres_has_each_effect_exactly_once() {
    let mut stores = Vec::new();
    for _ in STEPS {
        stores.push(Store::postgres().await);
    }
    kill_after_every_step(stores).await;
}

/// What a handler returns, and whether it has committed. What is recorded in the end, and how often the handler was called.
async fn ends(store: Store, inbox: Inbox, pool: SqlitePool) {
    store.sql("CREATE TABLE effects (event TEXT NOT NULL)").await;
    for job in ["commits", "commits_and_fails", "forgets", "forgets_at_last", "is_late", "is_free"]
    {
        accept(&inbox, "job.completed", job).await;
    }
    let calls = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&calls);
    let worker = inbox.worker(move |event: AcceptedEvent| {
        let (pool, calls) = (pool.clone(), Arc::clone(&seen));
        async move {
            let job = event.key().split_once(':').unwrap().1.to_owned();
            calls.lock().unwrap().push(job.clone());
            let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
            query("INSERT INTO effects VALUES ($1)").bind(&job).execute(&mut *transaction).await?;
            if job.starts_with("is_") && event.attempt() == 1 {
                // Both lose their lease. Also, the next attempt at `is_late` has begun.
                let lost =
                    "UPDATE number7_events SET claimed_by = NULL, attempt = attempt + (?1 LIKE '%is_late')
                    WHERE key = ?1";
                query(lost).bind(event.key()).execute(&mut *transaction).await?;
                return Ok(event.finish_in(&mut transaction).await?);
            }
            event.finish_in(&mut transaction).await?;
            match &*job {
                "forgets" if event.attempt() == 1 => return Ok(()),
                "forgets_at_last" => return Ok(()),
                _ => transaction.commit().await?,
            }
            if job == "commits_and_fails" { Err("too late".into()) } else { Ok::<_, Failure>(()) }
        }
    });
    let worker = worker.attempts(2).backoff(Duration::ZERO, Duration::ZERO);
    worker.run_until(store.settled(PATIENCE)).await;

    let of = |job: &str| calls.lock().unwrap().iter().filter(|called| *called == job).count();
    for (job, times, state) in [
        ("commits", 1, State::Done),
        ("commits_and_fails", 1, State::Done),
        ("forgets", 2, State::Done),
        ("forgets_at_last", 2, State::Dead),
        ("is_late", 2, State::Done),
        ("is_free", 2, State::Done),
    ] {
        let entry = inbox.show(&format!("job.completed:{job}")).await.unwrap().unwrap();
        assert_eq!((of(job), entry.state()), (times, state), "{job}: {entry:?}");
        let error = match job.split('_').next() {
            Some("forgets") => "did not commit",
            Some("is") => "the lease of this attempt was lost",
            _ => "",
        };
        assert!(entry.error().contains(error), "{entry:?}");
    }
    assert_eq!(effects(&store).await, [1; 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_is_done_and_nothing_else() {
    let store = Store::sqlite();
    drop(store.open().await);
    let pool = SqlitePool::connect(&store.url()).await.unwrap();
    let inbox = Inbox::sqlite_of(&pool).await.unwrap();
    ends(store, inbox, pool).await;
}

#[tokio::test]
async fn an_inbox_in_memory_is_refused() {
    let pool = SqlitePool::connect("sqlite::memory:").await.unwrap();
    let error = Inbox::sqlite_of(&pool).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the store refused: an inbox in memory survives no crash: give it a file"
    );
    _ = Err::<(), BoxError>(error.into());
}

/// The network is so slow that an attempt reaches its limit while it begins its transaction. The next attempt must not write
/// into that transaction, which nobody commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn a_handler_that_is_cut_while_it_begins_loses_no_effect() {
    const EVENTS: u64 = 12;
    let server = block_in_place(|| Server::start(Engine::Postgres));
    let proxy = Arc::new(Proxy::start(server.port()).await);
    let store = Store::postgres_on(&server, server.port()).await;
    let inbox = store.open().await;
    store.sql("CREATE TABLE effects (event TEXT NOT NULL)").await;
    let through_proxy = store.url().replace(&server.port().to_string(), &proxy.port().to_string());
    let pool = PgPoolOptions::new().max_connections(1).connect(&through_proxy).await.unwrap();
    let (of_handler, network) = (pool.clone(), Arc::clone(&proxy));
    let worker = inbox.worker(move |event: AcceptedEvent| {
        let (pool, network) = (of_handler.clone(), Arc::clone(&network));
        async move {
            if event.attempt() == 1 {
                // From 40 ms, which is before the transaction, to 95 ms, which is in it.
                let number: u64 = event.key().rsplit('_').next().unwrap().parse()?;
                network.set(Network::Slow(Duration::from_millis(40 + 5 * number)));
                let _transaction = event.begin(&pool).await?;
                std::future::pending().await
            }
            network.set(Network::Good);
            query("INSERT INTO effects VALUES ($1)").bind(event.key()).execute(&pool).await?;
            Ok::<_, BoxError>(())
        }
    });
    let worker = worker.concurrency(1).timeout(Duration::from_millis(200));
    let worker = Running::start(worker.backoff(Duration::ZERO, Duration::ZERO));
    for event in 0..EVENTS {
        accept(&inbox, "job.completed", &format!("job_{event}")).await;
        store.settled(PATIENCE).await;
    }
    worker.stop().await;
    pool.close().await;
    assert_eq!(inbox.stats().await.unwrap().done, EVENTS);
    // An effect may happen twice, because on a busy machine the limit may be reached after it.
    assert_eq!(effects(&store).await.len(), EVENTS as usize);
}

/// How many open transactions are idle.
const LOCKS: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE state = 'idle in transaction' AND datname = current_database()";

/// Its handler finishes an event with this name in a transaction that it never ends.
fn leaves_locked(inbox: &Inbox, pool: PgPool) -> number7_inbox::Worker {
    inbox.worker(move |event: AcceptedEvent| {
        let pool = pool.clone();
        async move {
            if event.key().ends_with("locked") && event.attempt() == 1 {
                let mut transaction = event.begin(&pool).await?;
                event.finish_in(&mut transaction).await?;
                std::mem::forget(transaction);
            }
            Ok::<_, BoxError>(())
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn an_event_that_is_locked_holds_up_no_stop_beyond_its_limit() {
    let store = Store::postgres().await;
    let inbox = store.open().await;
    let pool = PgPool::connect(&store.url()).await.unwrap();
    accept(&inbox, "job.completed", "locked").await;
    let limit = Duration::from_secs(1);
    let worker = Running::start(leaves_locked(&inbox, pool.clone()).shutdown_timeout(limit));
    until(async || query_scalar::<_, i64>(LOCKS).fetch_one(&pool).await.unwrap() == 1).await;
    let begun = Instant::now();
    worker.stop().await;
    // Three more seconds, and some for a busy machine.
    assert!(begun.elapsed() < limit * 10, "{:?}", begun.elapsed());
}

/// The event is locked, and stays locked. Another body is signed for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn an_event_that_is_locked_holds_up_no_conflict() {
    let store = Store::postgres().await;
    let inbox = store.open().await;
    let pool = PgPool::connect(&store.url()).await.unwrap();
    accept(&inbox, "job.completed", "locked").await;
    let worker =
        Running::start(leaves_locked(&inbox, pool.clone()).shutdown_timeout(Duration::ZERO));
    until(async || query_scalar::<_, i64>(LOCKS).fetch_one(&pool).await.unwrap() == 1).await;
    let body = body("job.completed", "locked").replace("invoice", "grn");
    let again = verifier().verify(sign(&body), body).unwrap();
    assert_eq!(inbox.accept(&again).await.unwrap(), Acceptance::Conflict);
    worker.stop().await;
}

/// A handler's session is dead, but PostgreSQL does not know that yet: its transaction still locks the event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn an_event_that_is_locked_holds_up_no_other() {
    const EVENTS: u64 = 50;
    let store = Store::postgres().await;
    let inbox = store.open().await;
    let pool = PgPool::connect(&store.url()).await.unwrap();
    let worker = leaves_locked(&inbox, pool.clone());
    let worker = worker.concurrency(2).backoff(Duration::ZERO, Duration::ZERO);
    let worker = Running::start(worker);
    accept(&inbox, "job.completed", "locked").await;
    until(async || inbox.stats().await.unwrap().running == 1).await;
    let begun = Instant::now();
    for event in 0..EVENTS {
        accept(&inbox, "job.completed", &format!("free_{event}")).await;
    }
    until(async || inbox.stats().await.unwrap().done == EVENTS).await;
    assert!(begun.elapsed() < STORE_TIMEOUT, "they waited for the lock: {:?}", begun.elapsed());
    assert_eq!(inbox.stats().await.unwrap().running, 1);

    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE state = 'idle in transaction' AND datname = current_database()";
    assert_eq!(query(end).execute(&pool).await.unwrap().rows_affected(), 1);
    until(async || inbox.stats().await.unwrap().done == EVENTS + 1).await;
    let entry = inbox.show("job.completed:locked").await.unwrap().unwrap();
    assert!(entry.error().contains("did not commit"), "{entry:?}");
    worker.stop().await;
}
