//! The inbox beside other job queues in Rust, on one PostgreSQL, in one run.
//!
//! `cargo run --release` in this folder prints the table, and `cargo run --release -- number7` one of its rows. It is not in the
//! workspace, so that nobody who builds that builds the peers. Each queue has a database of its own on one server, a
//! deduplication key for each event, a handler that does nothing, and the settings that its documentation recommends for
//! throughput.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use apalis::prelude::{BoxDynError, TaskBuilder, TaskSink, WorkerBuilder};
use apalis_postgres::PostgresStorage;
use awa::{InsertOpts, JobArgs, JobResult, QueueConfig, UniqueOpts};
use graphile_worker::{
    IntoTaskHandlerResult, JobSpecBuilder, LocalQueueConfig, TaskHandler, WorkerContext,
    WorkerOptions, WorkerUtils,
};
use number7_inbox::{AcceptedEvent, BoxError, Inbox};
use number7_tests::{
    delivery,
    engine::{Engine, Server},
    store::Store,
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

const SPAN: Duration = Duration::from_secs(3);

/// How many events are drained.
const BACKLOG: usize = 24_000;

const QUEUE: &str = "events";

/// How many connections each has.
const CONNECTIONS: u32 = 20;

static EVENTS: AtomicUsize = AtomicUsize::new(0);

/// When each event began: the queues' handlers are types or functions, and keep nothing.
static BEGAN: Mutex<Option<mpsc::UnboundedSender<Instant>>> = Mutex::new(None);

fn began() {
    if let Some(sender) = &*BEGAN.lock().unwrap() {
        _ = sender.send(Instant::now());
    }
}

fn begins() -> mpsc::UnboundedReceiver<Instant> {
    let (sender, receiver) = mpsc::unbounded_channel();
    *BEGAN.lock().unwrap() = Some(sender);
    receiver
}

fn next_key() -> String {
    format!("job_{}", EVENTS.fetch_add(1, Relaxed))
}

/// What `Event` is to the peers.
#[derive(Clone, Debug, Serialize, Deserialize, JobArgs)]
struct Event {
    body: String,
}

impl Event {
    fn new(key: &str) -> Self {
        Self { body: number7_tests::body("job.completed", key) }
    }
}

impl TaskHandler for Event {
    const IDENTIFIER: &'static str = "event";

    async fn run(self, _: WorkerContext) -> impl IntoTaskHandlerResult {
        began();
        Ok::<(), String>(())
    }
}

/// A queue in a database of its own. `open` is another process.
#[derive(Clone)]
enum Queue {
    Number7(Inbox),
    Graphile(String, WorkerUtils),
    Awa(sqlx08::PgPool),
    Apalis(PostgresStorage<Event>),
}

const NAMES: [&str; 4] = ["number7", "graphile_worker", "awa", "apalis"];

impl Queue {
    async fn open(name: &str, url: &str) -> Self {
        match name {
            "number7" => Self::Number7(Inbox::postgres(url).await.unwrap()),
            "graphile_worker" => {
                let worker = Self::graphile(url, 1).init().await.unwrap();
                Self::Graphile(url.to_owned(), worker.create_utils())
            }
            "awa" => {
                let options = sqlx08::postgres::PgPoolOptions::new().max_connections(CONNECTIONS);
                let pool = options.connect(url).await.unwrap();
                awa::migrations::run(&pool).await.unwrap();
                Self::Awa(pool)
            }
            _ => {
                let options = sqlx::postgres::PgPoolOptions::new().max_connections(CONNECTIONS);
                let pool = options.connect(url).await.unwrap();
                PostgresStorage::setup(&pool).await.unwrap();
                let config = apalis_postgres::Config::default().queue(QUEUE).batch_size(100);
                Self::Apalis(PostgresStorage::new(&pool).with_config(config))
            }
        }
    }

    fn graphile(url: &str, concurrency: usize) -> WorkerOptions {
        WorkerOptions::default()
            .database_url(url)
            .max_pg_conn(CONNECTIONS)
            .concurrency(concurrency)
            .listen_os_shutdown_signals(false)
            .define_job::<Event>()
    }

    async fn accept(&self) {
        let key = next_key();
        match self {
            Self::Number7(inbox) => {
                inbox.accept(&delivery("job.completed", &key)).await.unwrap();
            }
            Self::Graphile(_, utils) => {
                let spec = JobSpecBuilder::new().job_key(&*key).build();
                utils.add_job(Event::new(&key), spec).await.unwrap();
            }
            Self::Awa(pool) => {
                let queue = QUEUE.to_owned();
                let unique = Some(UniqueOpts::default());
                let options = InsertOpts { queue, unique, ..InsertOpts::default() };
                awa::insert_with(pool, &Event::new(&key), options).await.unwrap();
            }
            Self::Apalis(storage) => {
                let task = TaskBuilder::new(Event::new(&key)).idempotency_key(&key).build();
                storage.clone().push_task(task).await.unwrap();
            }
        }
    }

    /// A worker, until it is told to stop.
    async fn work(&self, concurrency: usize) -> Worker {
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async { _ = stopped.await };
        let task = match self.clone() {
            Self::Number7(inbox) => tokio::spawn(async move {
                let worker = inbox.worker(|_: AcceptedEvent| {
                    began();
                    async { Ok::<_, BoxError>(()) }
                });
                worker.concurrency(concurrency).run_until(stopped).await;
            }),
            Self::Graphile(url, _) => {
                let worker = Self::graphile(&url, concurrency)
                    .local_queue(LocalQueueConfig::default().with_size(256))
                    .complete_job_batch_delay(Duration::from_millis(1))
                    .init()
                    .await
                    .unwrap();
                tokio::spawn(async move {
                    tokio::select! {
                        ended = worker.run() => ended.unwrap(),
                        () = stopped => {
                            worker.request_shutdown();
                        }
                    }
                })
            }
            Self::Awa(pool) => {
                let max_workers = u32::try_from(concurrency).unwrap();
                let config = QueueConfig { max_workers, ..QueueConfig::default() };
                let client = awa::Client::builder(pool).queue(QUEUE, config);
                let client = client.register::<Event, _, _>(|_, _| async {
                    began();
                    Ok(JobResult::Completed)
                });
                let client = client.build().unwrap();
                client.start().await.unwrap();
                tokio::spawn(async move {
                    stopped.await;
                    client.shutdown(SPAN).await;
                })
            }
            Self::Apalis(storage) => tokio::spawn(async move {
                async fn handle(_: Event) -> Result<(), BoxDynError> {
                    began();
                    Ok(())
                }
                use apalis::prelude::WorkerBuilderExt;
                let worker = WorkerBuilder::new(format!("worker-{}", next_key()))
                    .backend(storage.with_pubsub())
                    .concurrency(concurrency)
                    .build(handle);
                tokio::select! {
                    ended = worker.run() => ended.unwrap(),
                    () = stopped => {}
                }
            }),
        };
        Worker { stop, task }
    }
}

struct Worker {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Worker {
    async fn stop(self) {
        _ = self.stop.send(());
        self.task.await.unwrap();
    }
}

/// Events a second that so many callers get accepted, each one after another.
async fn accepted(queue: &Queue, callers: usize) -> f64 {
    let begun = Instant::now();
    let mut calls = JoinSet::new();
    for _ in 0..callers {
        let queue = queue.clone();
        calls.spawn(async move {
            let mut done = 0_u32;
            while begun.elapsed() < SPAN {
                queue.accept().await;
                done += 1;
            }
            done
        });
    }
    let done: u32 = calls.join_all().await.into_iter().sum();
    f64::from(done) / begun.elapsed().as_secs_f64()
}

/// Events a second that a worker handles of a backlog.
async fn drained(queue: &Queue, concurrency: usize) -> f64 {
    let mut callers = JoinSet::new();
    for _ in 0..16 {
        let queue = queue.clone();
        callers.spawn(async move {
            for _ in 0..BACKLOG / 16 {
                queue.accept().await;
            }
        });
    }
    callers.join_all().await;
    let mut begins = begins();
    let worker = queue.work(concurrency).await;
    // From the first to the last, so that starting does not count.
    let first = begins.recv().await.unwrap();
    let mut last = first;
    for _ in 1..BACKLOG {
        last = begins.recv().await.unwrap();
    }
    worker.stop().await;
    BACKLOG as f64 / (last - first).as_secs_f64()
}

/// How long after its acceptance by another process an idle worker begins an event: the median.
async fn picked_up(accepting: &Queue, working: &Queue) -> Duration {
    const EVENTS: usize = 101;
    let mut begins = begins();
    let worker = working.work(16).await;
    sleep(Duration::from_secs(1)).await;
    let mut delays = Vec::new();
    for number in 0..EVENTS {
        sleep(Duration::from_millis(20 + number as u64 * 7 % 50)).await;
        accepting.accept().await;
        let accepted = Instant::now();
        delays.push(begins.recv().await.unwrap().saturating_duration_since(accepted));
    }
    worker.stop().await;
    delays.sort();
    delays[EVENTS / 2]
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let server = Server::start(Engine::Postgres);
    println!(
        "{:16} {:>12} {:>10} {:>10} {:>10} {:>12}",
        "a second", "accepted, 1", "16", "drained 16", "64", "picked up ms"
    );
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for name in
        NAMES.into_iter().filter(|name| wanted.is_empty() || wanted.contains(&(*name).into()))
    {
        let mut cells = Vec::new();
        let url = || async {
            let store = Store::postgres_on(&server, server.port()).await;
            server.url(server.port(), store.url().rsplit('/').next().unwrap())
        };
        let queue = Queue::open(name, &url().await).await;
        for callers in [1, 16] {
            cells.push(format!("{:.0}", accepted(&queue, callers).await));
        }
        for concurrency in [16, 64] {
            let queue = Queue::open(name, &url().await).await;
            cells.push(format!("{:.0}", drained(&queue, concurrency).await));
        }
        let url = url().await;
        let [here, there] = [Queue::open(name, &url).await, Queue::open(name, &url).await];
        let taken = picked_up(&here, &there).await;
        cells.push(format!("{:.1}", taken.as_secs_f64() * 1e3));
        println!(
            "{name:16} {:>12} {:>10} {:>10} {:>10} {:>12}",
            cells[0], cells[1], cells[2], cells[3], cells[4]
        );
    }
}
