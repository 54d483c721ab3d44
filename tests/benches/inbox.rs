//! How many events a second an inbox accepts and passes to a worker, on every store, and how fast.
//!
//! `cargo bench -p number7-tests --bench inbox` prints the table. For comparison, it also prints how many plain inserts the
//! same store takes, by a pool of connections into a table with a primary key. Options:
//!
//! - `-- sqlite` measures only that store.
//! - `-- --rows 1000000` measures with this many finished events.
//! - `-- --slow` simulates a disk that needs 2 ms more for each synchronization. It needs a C compiler.
//! - `-- --scrape` prints instead what it costs to call `stats` every second.
//!
//! Compare only figures of the same run.
#![allow(clippy::unwrap_used, reason = "a benchmark fails by a panic")]

use std::{
    env,
    future::pending,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use number7_inbox::{AcceptedEvent, BoxError, DEFAULT_CONCURRENCY, Inbox};
use number7_tests::{
    delivery,
    engine::{Engine, Server},
    store::{Store, fill},
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use tokio::{
    runtime,
    sync::{Notify, mpsc},
    task::JoinSet,
    time::sleep,
};
use tracing::Level;

/// How long each figure is measured.
const SPAN: Duration = Duration::from_secs(3);

fn main() {
    tracing_subscriber::fmt().with_max_level(Level::WARN).with_writer(std::io::stderr).init();
    let args: Vec<String> = env::args().skip(1).collect();
    let after = |flag: &str| args.iter().skip_while(|arg| *arg != flag).nth(1);
    let rows: u32 = after("--rows").map_or(0, |rows| rows.parse().unwrap());
    if args.iter().any(|arg| arg == "--slow") && env::var_os("LD_PRELOAD").is_none() {
        slow_disk(&args);
    }
    let chosen = |store: &str| {
        let names = ["sqlite", "postgres", "redis"];
        let all = !args.iter().any(|arg| names.contains(&&**arg));
        all || args.iter().any(|arg| arg == store)
    };
    let is_scrape = args.iter().any(|arg| arg == "--scrape");
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.unwrap();
    if is_scrape {
        runtime.block_on(async {
            if chosen("sqlite") {
                scraped("sqlite", Store::sqlite(), rows).await;
            }
            if chosen("postgres") {
                let server = Server::start(Engine::Postgres);
                let store = Store::postgres_on(&server, server.port()).await;
                scraped("postgres", store, rows).await;
            }
            if chosen("redis") {
                let server = Server::start(Engine::Redis);
                scraped("redis", Store::redis_on(&server, server.port()), rows).await;
            }
        });
        return;
    }
    runtime.block_on(async {
        println!(
            "{:40} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "events a second",
            "accept 1",
            "16",
            "64",
            "stats ms",
            "work",
            "of 256",
            "start ms",
            "… polled"
        );
        if chosen("sqlite") {
            table("sqlite", Store::sqlite, rows).await;
            shared(Store::sqlite()).await;
        }
        if chosen("postgres") {
            let server = Server::start(Engine::Postgres);
            let mut stores = Vec::new();
            for _ in 0..STORES {
                stores.push(Store::postgres_on(&server, server.port()).await);
            }
            table("postgres", || stores.pop().unwrap(), rows).await;
        }
        if chosen("redis") {
            let server = Server::start(Engine::Redis);
            table("redis", || Store::redis_on(&server, server.port()), rows).await;
        }
    });
}

/// Runs itself again, with a library that slows down it and its children.
fn slow_disk(args: &[String]) {
    let folder = tempfile::tempdir().unwrap().keep();
    // PostgreSQL runs as another user, which must be able to read it.
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
    let (source, library) =
        (Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/slow_disk.c"), folder.join("slow.so"));
    let mut compile = Command::new("cc");
    compile.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl");
    assert!(compile.status().unwrap().success(), "no C compiler");
    let itself = env::current_exe().unwrap();
    panic!("{}", Command::new(itself).args(args).env("LD_PRELOAD", library).exec());
}

/// How many stores the table of one engine needs.
const STORES: usize = 3;

async fn table(engine: &str, mut store: impl FnMut() -> Store, rows: u32) {
    let mut cells = Vec::new();
    let accepting = store();
    let inbox = accepting.open().await;
    fill(&accepting, rows).await;
    for callers in [1, 16, 64] {
        cells.push(format!("{:.0}", accepted(&inbox, callers).await));
    }
    // For all events that were just accepted.
    cells.push(format!("{:.2}", stats_take(&inbox).await.as_secs_f64() * 1e3));
    let working = store();
    let inbox = working.open().await;
    fill(&working, rows).await;
    for concurrency in [DEFAULT_CONCURRENCY, 256] {
        cells.push(format!("{:.0}", worked(&inbox, concurrency).await));
    }
    let idle = store();
    let [here, there] = [idle.open().await, idle.open().await];
    fill(&idle, rows).await;
    for inbox in [&here, &there] {
        cells.push(format!("{:.2}", started_after(inbox, &here).await.as_secs_f64() * 1e3));
    }
    print!("{:40}", format!("{engine}, {rows} finished{}", disk()));
    cells.iter().for_each(|cell| print!(" {cell:>10}"));
    println!();
    print!("{:40}", format!("{engine}, bare inserts{}", disk()));
    let bare = Bare::open(&accepting).await;
    for callers in [1, 16, 64] {
        let bare = bare.clone();
        print!(" {:>10.0}", rate(callers, move || bare.clone().insert()).await);
    }
    println!();
}

/// A store without an inbox: a table of keys and bodies.
#[derive(Clone)]
enum Bare {
    Sqlite(sqlx::SqlitePool),
    Postgres(sqlx::PgPool),
    Redis(redis::aio::MultiplexedConnection),
}

impl Bare {
    const TABLE: &str = "CREATE TABLE bare (key TEXT PRIMARY KEY, body TEXT NOT NULL)";
    const INSERT: &str = "INSERT INTO bare VALUES ($1, $2) ON CONFLICT DO NOTHING";

    async fn open(store: &Store) -> Self {
        match store {
            Store::Sqlite(folder) => {
                // As durable as the inbox.
                let options = SqliteConnectOptions::new().filename(folder.path().join("bare.db"));
                let options = options.create_if_missing(true).busy_timeout(SPAN * 10);
                let options = options.journal_mode(SqliteJournalMode::Wal);
                let options = options.synchronous(SqliteSynchronous::Full);
                let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
                sqlx::raw_sql(Self::TABLE).execute(&pool).await.unwrap();
                Self::Sqlite(pool)
            }
            Store::Postgres(url) => {
                let pool = sqlx::PgPool::connect(url).await.unwrap();
                sqlx::raw_sql(Self::TABLE).execute(&pool).await.unwrap();
                Self::Postgres(pool)
            }
            Store::Redis(url) => {
                let client = redis::Client::open(&**url).unwrap();
                Self::Redis(client.get_multiplexed_async_connection().await.unwrap())
            }
            Store::Memory(_) => panic!("it knows no rows"),
        }
    }

    async fn insert(self) {
        let key = format!("bare_{}", JOBS.fetch_add(1, Ordering::Relaxed));
        let body = number7_tests::body("job.completed", &key);
        match self {
            Self::Sqlite(pool) => {
                let insert = sqlx::query(Self::INSERT);
                insert.bind(key).bind(body).execute(&pool).await.unwrap();
            }
            Self::Postgres(pool) => {
                let insert = sqlx::query(Self::INSERT);
                insert.bind(key).bind(body).execute(&pool).await.unwrap();
            }
            Self::Redis(mut connection) => {
                let mut set = redis::cmd("SET");
                set.arg(key).arg(body).arg("NX");
                set.exec_async(&mut connection).await.unwrap();
            }
        }
    }
}

fn disk() -> &'static str {
    if env::var_os("LD_PRELOAD").is_some() { ", slow disk" } else { "" }
}

/// How three inboxes share a file: each has one caller, and a worker with much to do.
async fn shared(store: Store) {
    const BACKLOG: usize = 50_000;
    let inbox = store.open().await;
    let callers = (0..64).map(|_| async {
        for _ in 0..BACKLOG / 64 {
            accept(&inbox).await;
        }
    });
    join_all(callers).await;
    let begun = Instant::now();
    let mut sharing = JoinSet::new();
    for _ in 0..3 {
        let inbox = store.open().await;
        sharing.spawn(async move {
            let (mut delays, mut failed) = (Vec::new(), 0_u32);
            let worker = inbox.worker(async |_: AcceptedEvent| Ok::<_, BoxError>(()));
            worker
                .run_until(async {
                    while begun.elapsed() < SPAN {
                        let called = Instant::now();
                        let job = format!("bench_{}", JOBS.fetch_add(1, Ordering::Relaxed));
                        let accepted = inbox.accept(&delivery("job.completed", &job)).await;
                        delays.push(called.elapsed());
                        failed += u32::from(accepted.is_err());
                    }
                })
                .await;
            (delays, failed)
        });
    }
    let (delays, failed): (Vec<_>, Vec<_>) = sharing.join_all().await.into_iter().unzip();
    let shares: Vec<_> = delays.iter().map(Vec::len).collect();
    let mut delays = delays.concat();
    delays.sort();
    let rate = delays.len() as f64 / SPAN.as_secs_f64();
    let late = delays[delays.len() * 99 / 100];
    println!(
        "sqlite, three share a file{}: {rate:.0} accepted a second, in shares of {shares:?}; \
        p99 {late:.1?}; failed {}",
        disk(),
        failed.iter().sum::<u32>()
    );
}

static JOBS: AtomicUsize = AtomicUsize::new(0);

async fn accept(inbox: &Inbox) {
    let job = format!("bench_{}", JOBS.fetch_add(1, Ordering::Relaxed));
    inbox.accept(&delivery("job.completed", &job)).await.unwrap();
}

/// What it costs to call `stats` every second, as a monitoring system does. Eight callers and a worker run all the time, and
/// their rates are measured in turns with and without.
async fn scraped(engine: &str, store: Store, rows: u32) {
    const TURN: Duration = Duration::from_secs(2);
    // So that changes over time affect both.
    const TURNS: [bool; 16] = {
        let (w, o) = (true, false);
        [w, o, o, w, w, o, o, w, w, o, o, w, w, o, o, w]
    };
    let inbox = store.open().await;
    fill(&store, rows).await;
    let done = Arc::new(AtomicUsize::new(0));
    let mut load = JoinSet::new();
    for _ in 0..8 {
        let (inbox, done) = (inbox.clone(), Arc::clone(&done));
        load.spawn(async move {
            loop {
                accept(&inbox).await;
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let handled = Arc::clone(&done);
    let worker = inbox.worker(move |_: AcceptedEvent| {
        handled.fetch_add(1, Ordering::Relaxed);
        async { Ok::<_, BoxError>(()) }
    });
    load.spawn(async {
        worker.run_until(pending()).await;
        unreachable!();
    });
    sleep(TURN).await;
    let (mut with, mut without) = (0, 0);
    for is_asked in TURNS {
        let before = done.load(Ordering::Relaxed);
        for _ in 0..TURN.as_secs() {
            let begun = Instant::now();
            if is_asked {
                inbox.stats().await.unwrap();
            }
            sleep(Duration::from_secs(1).saturating_sub(begun.elapsed())).await;
        }
        *(if is_asked { &mut with } else { &mut without }) += done.load(Ordering::Relaxed) - before;
    }
    let ratio = with as f64 / without as f64;
    println!(
        "{engine}, {rows} finished, asked for its numbers every second: {ratio:.3} of its rate"
    );
}

/// How long it takes to count the events, on average.
async fn stats_take(inbox: &Inbox) -> Duration {
    const CALLS: u32 = 100;
    let begun = Instant::now();
    for _ in 0..CALLS {
        inbox.stats().await.unwrap();
    }
    begun.elapsed() / CALLS
}

/// How many events a second are accepted from this many callers.
async fn accepted(inbox: &Inbox, callers: usize) -> f64 {
    let inbox = inbox.clone();
    let accept = move || {
        let inbox = inbox.clone();
        async move { accept(&inbox).await }
    };
    rate(callers, accept).await
}

/// How many calls a second this many callers make, each one after another.
async fn rate<F>(callers: usize, call: impl Fn() -> F + Clone + Send + 'static) -> f64
where
    F: Future<Output = ()> + Send,
{
    let begun = Instant::now();
    let mut calls = JoinSet::new();
    for _ in 0..callers {
        let call = call.clone();
        calls.spawn(async move {
            let mut done = 0_u32;
            while begun.elapsed() < SPAN {
                call().await;
                done += 1;
            }
            done
        });
    }
    let done: u32 = calls.join_all().await.into_iter().sum();
    f64::from(done) / begun.elapsed().as_secs_f64()
}

/// How many events a second of a backlog a worker handles, with a handler that does nothing.
async fn worked(inbox: &Inbox, concurrency: usize) -> f64 {
    // More than it can finish in time, according to a short first measurement.
    let mut backlog = 2_000;
    loop {
        let mut callers = JoinSet::new();
        for _ in 0..64 {
            let inbox = inbox.clone();
            callers.spawn(async move {
                for _ in 0..backlog / 64 + 1 {
                    accept(&inbox).await;
                }
            });
        }
        callers.join_all().await;
        let (left, done) = (Arc::new(AtomicUsize::new(backlog)), Arc::new(Notify::new()));
        let all = Arc::clone(&done);
        let begun = Instant::now();
        let worker = inbox.worker(move |_: AcceptedEvent| {
            if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                all.notify_one();
            }
            async { Ok::<_, BoxError>(()) }
        });
        worker.concurrency(concurrency).run_until(done.notified()).await;
        let taken = begun.elapsed();
        if taken > SPAN / 2 {
            return backlog as f64 / taken.as_secs_f64();
        }
        backlog *= 2;
    }
}

/// How long after its acceptance an idle worker begins an event: the median of many.
async fn started_after(worker: &Inbox, acceptor: &Inbox) -> Duration {
    const EVENTS: usize = 101;
    let (started, mut starts) = mpsc::channel(1);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = worker.worker(move |_: AcceptedEvent| {
        let started = started.clone();
        async move { started.send(Instant::now()).await }
    });
    let worker = tokio::spawn(worker.run_until(async { _ = stopped.await }));
    sleep(Duration::from_millis(500)).await;
    let mut delays = Vec::new();
    for number in 0..EVENTS {
        // Not in step with the interval of the worker.
        sleep(Duration::from_millis(20 + number as u64 * 7 % 50)).await;
        accept(acceptor).await;
        let accepted = Instant::now();
        delays.push(starts.recv().await.unwrap().saturating_duration_since(accepted));
    }
    drop(stop);
    worker.await.unwrap();
    delays.sort();
    delays[EVENTS / 2]
}
