//! Stores that are down, slow, cut off, full or read-only. The sender is asked to retry, nothing is lost, and
//! nothing happens twice.
#![allow(clippy::unwrap_used)]

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use number7_core::{Acceptance, DEFAULT_ACCEPT_TIMEOUT, Rejection, RejectionKind};
use number7_inbox::{
    AcceptedEvent, BoxError, Event, Failure, Fetched, Inbox, InboxError, InboxErrorKind, JobId,
    MIN_LEASE, STORE_TIMEOUT, State,
};
use number7_tests::{
    body, delivery,
    engine::{Engine, Server},
    gate::Gate,
    patience::in_time,
    proxy::{Network, Proxy},
    receiver::{FRAMEWORKS, Receiver, Setup},
    running::{Handled, Running, until},
    store::{Store, redis_command, redis_script},
};
use sqlx::{Connection, Executor, PgConnection, SqlitePool, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tokio::{
    sync::oneshot,
    task::{JoinHandle, block_in_place},
    time::{sleep, timeout},
};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much later than its timeout an answer may come on a busy machine.
const SLACK: Duration = Duration::from_secs(5);

fn setup<'a>(store: &'a Store, framework: &'a str, folder: &TempDir) -> Setup<'a> {
    Setup::new(env!("CARGO_BIN_EXE_inbox-receiver"), store, framework, folder.path())
}

async fn store_on(engine: Engine, server: &Server, port: u16) -> Store {
    match engine {
        Engine::Postgres | Engine::Pgbouncer => Store::postgres_on(server, port).await,
        Engine::Redis | Engine::Sentinel => Store::redis_on(server, port),
    }
}

fn refused_in_time(receiver: &Receiver, job: &str) {
    let begun = Instant::now();
    let (status, head) = receiver.answer(&body("job.completed", job)).unwrap();
    assert_eq!(status, 503, "{head}");
    assert!(head.to_lowercase().contains("\r\nretry-after: 1\r\n"), "{head}");
    assert!(begun.elapsed() < DEFAULT_ACCEPT_TIMEOUT + SLACK, "{:?}", begun.elapsed());
}

/// Delivers again and again, until the receiver has it.
async fn accepted_at_last(receiver: &Receiver, job: &str) {
    let begun = Instant::now();
    while block_in_place(|| receiver.deliver(&body("job.completed", job)).unwrap()) != 200 {
        assert!(begun.elapsed() < PATIENCE, "it is not accepted");
        sleep(Duration::from_millis(100)).await;
    }
}

/// All jobs had one effect, and there are no other effects.
fn had_effects(setup: &Setup<'_>, jobs: &[String]) {
    let effects = setup.effects();
    for job in jobs {
        let count = effects.get(&format!("job.completed:{job}")).copied().unwrap_or(0);
        assert_eq!(count, 1, "{job} had {count} effects");
    }
    assert_eq!(effects.len(), jobs.len());
}

/// What a failing store does to a receiver, and what is left when the store works again.
async fn rides_out(
    engine: Engine,
    mut fail: impl AsyncFnMut(&mut Server, &Proxy),
    mut fix: impl AsyncFnMut(&mut Server, &Proxy),
) {
    let mut server = block_in_place(|| Server::start(engine));
    let proxy = Proxy::start(server.port()).await;
    let folder = tempfile::tempdir().unwrap();
    for framework in FRAMEWORKS {
        let store = store_on(engine, &server, proxy.port()).await;
        let setup = setup(&store, framework, &folder);
        let receiver = block_in_place(|| setup.start("never"));
        let mut jobs = Vec::new();
        for round in 0..2 {
            // Some events are running when it happens.
            for number in 0..10 {
                jobs.push(format!("job_{round}_{number}"));
                accepted_at_last(&receiver, jobs.last().unwrap()).await;
            }
            fail(&mut server, &proxy).await;
            jobs.push(format!("job_{round}_refused"));
            block_in_place(|| refused_in_time(&receiver, jobs.last().unwrap()));
            fix(&mut server, &proxy).await;
            accepted_at_last(&receiver, jobs.last().unwrap()).await;
        }
        store.settled(PATIENCE).await;
        drop(receiver);
        had_effects(&setup, &jobs);
    }
}

async fn stopped_and_started_again(engine: Engine) {
    rides_out(
        engine,
        async |server, _| block_in_place(|| server.kill()),
        async |server, _| block_in_place(|| server.restart()),
    )
    .await;
}

async fn answers_nothing_for_a_while(engine: Engine) {
    rides_out(
        engine,
        async |server, _| server.signal("STOP"),
        async |server, _| server.signal("CONT"),
    )
    .await;
}

async fn network_swallows_everything(engine: Engine) {
    rides_out(
        engine,
        async |_, proxy| proxy.set(Network::Silent),
        // Dropped data stays dropped: old connections are dead without knowing it.
        async |_, proxy| proxy.set(Network::Good),
    )
    .await;
}

async fn network_breaks(engine: Engine) {
    rides_out(
        engine,
        async |_, proxy| proxy.set(Network::Down),
        async |_, proxy| proxy.set(Network::Good),
    )
    .await;
}

/// Nobody can renew a lease while the store is away, so an expired lease proves nothing when the store is back.
async fn away_for_longer_than_a_lease(engine: Engine) {
    const EVENTS: usize = 12;
    let mut server = block_in_place(|| Server::start(engine));
    let store = store_on(engine, &server, server.port()).await;
    let (begun, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut workers = Vec::new();
    for _ in 0..2 {
        let (begun, ended) = (Arc::clone(&begun), Arc::clone(&ended));
        let worker = store.open().await.worker(move |_: AcceptedEvent| {
            let (begun, ended) = (Arc::clone(&begun), Arc::clone(&ended));
            async move {
                begun.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_secs(2)).await;
                ended.fetch_add(1, Ordering::Relaxed);
                Ok::<_, BoxError>(())
            }
        });
        let worker = worker.lease(MIN_LEASE).concurrency(EVENTS / 2);
        workers.push(tokio::spawn(worker.run_until(std::future::pending())));
    }
    let inbox = store.open().await;
    for number in 0..EVENTS {
        accept(&inbox, &format!("job_{number}")).await.unwrap();
    }
    while begun.load(Ordering::Relaxed) < EVENTS {
        sleep(Duration::from_millis(10)).await;
    }
    block_in_place(|| server.kill());
    sleep(MIN_LEASE * 2).await;
    block_in_place(|| server.restart());
    store.settled(PATIENCE).await;
    workers.iter().for_each(JoinHandle::abort);
    assert_eq!(ended.load(Ordering::Relaxed), EVENTS, "an event was lost or doubled");
}

/// If the store is away, a shutdown waits for it no longer than for the lease that it would hold.
async fn away_while_a_worker_stops(engine: Engine) {
    stops_while_away(engine, true).await;
}

async fn away_while_a_worker_stops_that_waits_no_longer(engine: Engine) {
    stops_while_away(engine, false).await;
}

async fn stops_while_away(engine: Engine, handler_ends: bool) {
    let mut server = block_in_place(|| Server::start(engine));
    let store = store_on(engine, &server, server.port()).await;
    let gate = Gate::default();
    let worker = gate.worker(&store.open().await);
    let (stop, stopped) = oneshot::channel::<()>();
    let worker = match handler_ends {
        true => worker,
        false => worker.shutdown_timeout(Duration::from_secs(1)),
    };
    let worker = worker.lease(MIN_LEASE).run_until(async { _ = stopped.await });
    let worker = tokio::spawn(worker);
    accept(&store.open().await, "job_1").await.unwrap();
    gate.begun().await;
    block_in_place(|| server.kill());
    // Until the worker has noticed.
    sleep(Duration::from_secs(2)).await;
    drop(stop);
    if handler_ends {
        gate.open();
    }
    timeout(PATIENCE, worker).await.unwrap().unwrap();
    // Ends that could not be recorded are repeated after the lease.
    block_in_place(|| server.restart());
    let attempts = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&attempts);
    let worker = store.open().await.worker(move |event: AcceptedEvent| {
        seen.fetch_add(event.attempt() as usize, Ordering::Relaxed);
        async { Ok::<_, BoxError>(()) }
    });
    worker.lease(MIN_LEASE).run_until(store.settled(PATIENCE)).await;
    // The interruption may be recorded late, by a call that nobody waited for. Then the attempt does not count.
    let expected = if handler_ends { 2..=2 } else { 1..=2 };
    let attempts = attempts.load(Ordering::Relaxed);
    assert!(
        expected.contains(&attempts),
        "it was not the second attempt, and only that: {attempts}"
    );
}

/// The store fails between the vendor's answer and its storing.
async fn away_while_a_job_is_fetched(engine: Engine) {
    let mut server = block_in_place(|| Server::start(engine));
    let store = store_on(engine, &server, server.port()).await;
    let (inbox, gate, handled) = (store.open().await, Gate::default(), Handled::default());
    inbox.expect_job("job_1", Duration::ZERO).await.unwrap();
    let asked = gate.clone();
    let worker = handled.worker(&inbox).reconcile(move |job: JobId| {
        let gate = asked.clone();
        async move {
            gate.pass().await;
            let event = Event::from_json(body("job.completed", job.as_str()))?;
            Ok::<_, BoxError>(Fetched::Finished(event))
        }
    });
    let second = Duration::from_secs(1);
    let worker = Running::start(worker.fetch_backoff(second, second).lease(MIN_LEASE));
    gate.begun().await;
    block_in_place(|| server.kill());
    gate.open();
    let begun = Instant::now();
    inbox.expect_job("job_2", Duration::ZERO).await.unwrap_err();
    assert!(begun.elapsed() < STORE_TIMEOUT + SLACK, "{:?}", begun.elapsed());
    block_in_place(|| server.restart());
    until(async || inbox.expect_job("job_2", Duration::ZERO).await.is_ok()).await;
    until(async || {
        gate.open();
        handled.events() == 2
    })
    .await;
    worker.stop().await;
}

/// A store behind a proxy. It is opened through the proxy, and directly.
struct Behind {
    proxy: Proxy,
    inbox: Inbox,
    direct: Inbox,
    store: Store,
    _server: Server,
}

impl Behind {
    async fn start(engine: Engine) -> Self {
        let server = block_in_place(|| Server::start(engine));
        let proxy = Proxy::start(server.port()).await;
        let store = store_on(engine, &server, server.port()).await;
        let [port, behind] = [server.port(), proxy.port()].map(|port| format!(":{port}/"));
        let inbox = Inbox::open(&store.url().replace(&port, &behind)).await.unwrap();
        Self { proxy, inbox, direct: store.open().await, store, _server: server }
    }

    /// The state of an event, and how many attempts count.
    async fn now(&self) -> (State, u32) {
        let entry = self.direct.show("job.completed:job_1").await.unwrap().unwrap();
        (entry.state(), entry.attempts())
    }

    /// The message that was held back arrives.
    async fn let_arrive(&self) {
        assert!(!self.proxy.has_lost_an_answer());
        self.proxy.set(Network::Good);
        until(async || self.proxy.has_lost_an_answer()).await;
    }
}

/// The end of a snoozed attempt arrives late: after its worker has sent it again and has begun the next attempt.
async fn a_late_end_of_an_attempt_that_was_snoozed(engine: Engine) {
    let behind = Behind::start(engine).await;
    let (gate, calls) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
    let at_gate = gate.clone();
    let worker = behind.inbox.worker(move |_: AcceptedEvent| {
        let (gate, call) = (at_gate.clone(), calls.fetch_add(1, Ordering::Relaxed));
        async move {
            gate.pass().await;
            if call == 0 {
                Err(Failure::snooze(Duration::ZERO, "snoozed by the handler"))
            } else {
                Ok(())
            }
        }
    });
    let pause = worker.pause();
    let worker = Running::start(worker.concurrency(1));
    accept(&behind.inbox, "job_1").await.unwrap();
    gate.begun().await;
    pause.pause();
    behind.proxy.set(Network::Late("snoozed by the handler"));
    gate.open();
    until(async || behind.now().await == (State::Ready, 0)).await;
    pause.resume();
    gate.begun().await;
    behind.let_arrive().await;
    assert_eq!(behind.now().await, (State::Running, 1));
    gate.open();
    behind.store.settled(PATIENCE).await;
    assert_eq!(behind.now().await, (State::Done, 1));
    worker.stop().await;
}

/// The process dies in the only attempt. What its successor records about that arrives late, after the event was requeued. Or
/// it arrives at once, but the answer is lost.
async fn the_end_of_an_attempt_that_was_not_made(engine: Engine) {
    const NOTE: &str =
        "no attempt is left: the lease of the last one expired, or fewer are allowed now";
    for network in [Network::Late(NOTE), Network::Unanswered(NOTE)] {
        let behind = Behind::start(engine).await;
        let gate = Gate::default();
        let worker = Running::start(gate.worker(&behind.direct).attempts(1).lease(MIN_LEASE));
        accept(&behind.direct, "job_1").await.unwrap();
        gate.begun().await;
        worker.crash().await;
        behind.proxy.set(network);
        let (handled, letters) = (Handled::default(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&letters);
        let worker = handled.worker(&behind.inbox).attempts(1).lease(MIN_LEASE);
        let worker = worker.on_dead_letter(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            async {}
        });
        let pause = worker.pause();
        let worker = Running::start(worker);
        until(async || letters.load(Ordering::Relaxed) == 1).await;
        assert_eq!(behind.now().await, (State::Dead, 1));
        pause.pause();
        assert_eq!(behind.direct.requeue("job.completed:job_1").await.unwrap().events, 1);
        if let Network::Late(_) = network {
            behind.let_arrive().await;
        }
        assert!(behind.proxy.has_lost_an_answer());
        // The late message may also have claimed the event, which is then released.
        assert_ne!(behind.now().await.0, State::Dead);
        pause.resume();
        behind.store.settled(PATIENCE).await;
        assert_eq!((behind.now().await, handled.events()), ((State::Done, 1), 1));
        worker.stop().await;
    }
}

/// The connection is cut after each few more bytes of the statement: before the statement, in it, and after it,
/// when the answer is lost.
async fn cut_off_in_mid_statement(engine: Engine) {
    let server = block_in_place(|| Server::start(engine));
    let proxy = Arc::new(Proxy::start(server.port()).await);
    let folder = tempfile::tempdir().unwrap();
    let store = store_on(engine, &server, proxy.port()).await;
    let setup = setup(&store, FRAMEWORKS[0], &folder);
    let receiver = block_in_place(|| setup.start("never"));
    let mut jobs = Vec::new();
    for bytes in (0..600).step_by(60) {
        for again in 0..3 {
            jobs.push(format!("job_{bytes}_{again}"));
            proxy.set(Network::CutAfter(bytes));
            let job = jobs.last().unwrap();
            // Meanwhile the new connections of the receiver are cut as well.
            let network = Arc::clone(&proxy);
            let is_good = tokio::spawn(async move {
                sleep(Duration::from_millis(100)).await;
                network.set(Network::Good);
            });
            let status = block_in_place(|| receiver.deliver(&body("job.completed", job)).unwrap());
            assert!(status == 503 || status == 200, "{status}");
            is_good.await.unwrap();
            accepted_at_last(&receiver, job).await;
        }
    }
    store.settled(PATIENCE).await;
    drop(receiver);
    let effects = setup.effects();
    assert_eq!(effects.len(), jobs.len(), "an event was lost");
    had_effects(&setup, &jobs);
}

macro_rules! on_every_server {
    ($($name:ident),+ $(,)?) => {
        mod postgres {$(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
            async fn $name() {
                super::$name(super::Engine::Postgres).await;
            }
        )+}

        mod redis {$(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
            async fn $name() {
                super::$name(super::Engine::Redis).await;
            }
        )+}
    };
}

on_every_server!(
    stopped_and_started_again,
    answers_nothing_for_a_while,
    network_swallows_everything,
    network_breaks,
    away_for_longer_than_a_lease,
    away_while_a_worker_stops,
    away_while_a_worker_stops_that_waits_no_longer,
    away_while_a_job_is_fetched,
    a_late_end_of_an_attempt_that_was_snoozed,
    the_end_of_an_attempt_that_was_not_made,
    cut_off_in_mid_statement,
);

/// Why the inbox did not store it.
fn reason(refused: &Result<Acceptance, Rejection>) -> InboxErrorKind {
    let rejection = refused.as_ref().unwrap_err();
    assert_eq!((rejection.kind(), rejection.status_code()), (RejectionKind::NotStored, 503));
    let source = rejection.source().unwrap().downcast_ref::<InboxError>().unwrap();
    assert!(rejection.log_text().contains(&source.to_string()), "the log does not say why");
    source.kind()
}

async fn accept(inbox: &Inbox, job: &str) -> Result<Acceptance, Rejection> {
    inbox.accept(&delivery("job.completed", job)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_another_process_locks_is_busy() {
    let store = Store::sqlite();
    let inbox = store.open().await;
    let mut other = store.sqlite_connection().await;
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let begun = Instant::now();
    assert_eq!(reason(&accept(&inbox, "job_1").await), InboxErrorKind::Busy);
    assert!(begun.elapsed() < DEFAULT_ACCEPT_TIMEOUT + SLACK);
    other.execute("ROLLBACK").await.unwrap();
    assert_eq!(accept(&inbox, "job_1").await.unwrap(), Acceptance::New);
}

/// The limit of a process stands in for a full disk, which the operating system reports differently.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_grow_is_a_503() {
    let (store, folder) = (Store::sqlite(), tempfile::tempdir().unwrap());
    let setup = setup(&store, FRAMEWORKS[0], &folder);
    // The schema, and an empty log.
    drop(store.open().await);
    let limited = ["sh", "-c", r#"trap "" XFSZ; ulimit -f 800; exec "$0" "$@""#];
    let mut jobs = Vec::new();
    block_in_place(|| {
        let receiver = setup.start_under(&limited, "never");
        loop {
            jobs.push(format!("job_{}", jobs.len()));
            let padded = padded(jobs.last().unwrap());
            match receiver.answer(&padded).unwrap() {
                (200, _) => assert!(jobs.len() < 1_000, "it is not limited"),
                (503, head) => {
                    assert!(head.to_lowercase().contains("retry-after: 1"), "{head}");
                    break;
                }
                (status, _) => panic!("{status}"),
            }
        }
    });
    assert!(jobs.len() > 2, "nothing was accepted");
    let receiver = block_in_place(|| setup.start("never"));
    assert_eq!(receiver.deliver(&padded(jobs.last().unwrap())).unwrap(), 200);
    store.settled(PATIENCE).await;
    drop(receiver);
    let effects = setup.effects();
    assert_eq!(effects.len(), jobs.len(), "an event that was answered 200 is lost");
}

/// A large event.
fn padded(job: &str) -> String {
    body("job.completed", job).replace('}', &format!(r#","note":"{}"}}"#, "x".repeat(20_000)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_full_or_read_only_says_so() {
    let store = Store::sqlite();
    _ = store.open().await;
    let with = async |pragma: &'static str, value: &'static str| {
        let options: SqliteConnectOptions = store.url().parse().unwrap();
        let pool = SqlitePool::connect_lazy_with(options.pragma(pragma, value));
        Inbox::sqlite_of(&pool).await.unwrap()
    };
    let small = with("max_page_count", "60").await;
    let mut stored = 0;
    let refused = loop {
        let job = format!("job_{stored}");
        let large = padded(&job);
        let verified = number7_tests::verifier().verify(number7_tests::sign(&large), large);
        let accepted = small.accept(&verified.unwrap()).await;
        if accepted.is_err() {
            break accepted;
        }
        stored += 1;
    };
    assert_eq!(reason(&refused), InboxErrorKind::Full);
    let read_only = with("query_only", "1").await;
    assert_eq!(reason(&accept(&read_only, "job_last").await), InboxErrorKind::ReadOnly);
    assert_eq!(accept(&store.open().await, "job_last").await.unwrap(), Acceptance::New);
}

/// Nobody gets the answer, but an alert must still fire.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn senders_that_give_up_are_in_the_log() {
    const SENDERS: usize = 5;
    let server = block_in_place(|| Server::start(Engine::Postgres));
    let store = Store::postgres_on(&server, server.port()).await;
    let folder = tempfile::tempdir().unwrap();
    for framework in FRAMEWORKS {
        let receiver = block_in_place(|| setup(&store, framework, &folder).start("never"));
        assert_eq!(receiver.deliver(&body("job.completed", framework)).unwrap(), 200);
        server.signal("STOP");
        // hyper notices that they are gone. actix-web does not, and answers.
        let told = ["an acceptance is abandoned before the store has answered", "kind=NotStored"];
        let lines = || {
            let log = receiver.log();
            told.iter().map(|text| log.matches(text).count()).sum::<usize>()
        };
        let mut job = 0;
        in_time("a line for each of them", async {
            while lines() < SENDERS {
                // A slow receiver may not have read a request before its sender hangs up.
                let missing = SENDERS - lines();
                let senders: Vec<_> = (job..job + missing)
                    .map(|job| {
                        receiver.send(&body("job.completed", &format!("job_{job}_{framework}")))
                    })
                    .collect();
                job += missing;
                sleep(Duration::from_secs(1)).await;
                drop(senders);
                sleep(STORE_TIMEOUT).await;
            }
        })
        .await;
        server.signal("CONT");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn a_postgres_that_is_read_only_says_so() {
    let store = Store::postgres().await;
    let inbox = store.open().await;
    let Store::Postgres(url) = &store else { unreachable!() };
    let name = url.rsplit('/').next().unwrap();
    let mut admin = PgConnection::connect(url).await.unwrap();
    let mut set = async |read_only: &str| {
        // The admin's session was opened before, and may write. The inbox gets new sessions.
        let sql = format!(
            "ALTER DATABASE {name} SET default_transaction_read_only = {read_only};
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = '{name}' AND pid <> pg_backend_pid()"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
    };
    set("on").await;
    assert_eq!(reason(&accept(&inbox, "job_1").await), InboxErrorKind::ReadOnly);
    set("off").await;
    assert_eq!(accept(&inbox, "job_1").await.unwrap(), Acceptance::New);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn a_redis_that_is_full_or_read_only_says_so() {
    let server = block_in_place(|| Server::start(Engine::Redis));
    let store = Store::redis_on(&server, server.port());
    let Store::Redis(url) = &store else { unreachable!() };
    let (inbox, config) = (store.open().await, async |command: &[&str]| {
        redis_command(url, command).await;
    });
    config(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_eq!(reason(&accept(&inbox, "job_1").await), InboxErrorKind::Full);
    config(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(store.keys().await, 0, "a key is known without its payload");
    config(&["REPLICAOF", "127.0.0.1", "1"]).await;
    assert_eq!(reason(&accept(&inbox, "job_1").await), InboxErrorKind::ReadOnly);
    config(&["REPLICAOF", "NO", "ONE"]).await;
    assert_eq!(accept(&inbox, "job_1").await.unwrap(), Acceptance::New);
    assert_eq!(redis_script::<i64>(url, "return redis.call('ZCARD', key('ready'))").await, 1);
}

/// The server behind an address was demoted, and another one is there now. Open connections stay with the old one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn a_redis_that_was_demoted_is_left_for_the_new_master() {
    let servers = block_in_place(|| [(), ()].map(|()| Server::start(Engine::Redis)));
    let proxy = Proxy::start(servers[0].port()).await;
    let inbox = Inbox::redis(servers[0].url(proxy.port(), "0")).await.unwrap();
    let (handled, mut events) = tokio::sync::mpsc::unbounded_channel();
    let worker = inbox.worker(move |event: AcceptedEvent| {
        let handled = handled.clone();
        async move { handled.send(event.key().to_owned()) }
    });
    let worker = tokio::spawn(worker.run_until(std::future::pending()));
    accept(&inbox, "job_1").await.unwrap();
    assert_eq!(events.recv().await.unwrap(), "job.completed:job_1");

    proxy.redirect(servers[1].port());
    let demoted = servers[0].url(servers[0].port(), "0");
    redis_command(&demoted, &["REPLICAOF", "127.0.0.1", &servers[1].port().to_string()]).await;
    let begun = Instant::now();
    while let Err(refused) = accept(&inbox, "job_2").await {
        assert_eq!(reason(&Err(refused)), InboxErrorKind::ReadOnly);
        assert!(begun.elapsed() < PATIENCE, "it stays with the demoted one");
        sleep(Duration::from_millis(100)).await;
    }
    let handled = timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
    assert_eq!(handled, "job.completed:job_2");
    worker.abort();
}

/// A client that does not wait leaves its statement to the server, where it waits for a lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn callers_that_leave_early_leave_no_sessions_behind() {
    const CALLERS: usize = 64;
    const CONNECTIONS: i64 = 10;
    let store = Store::postgres().await;
    let Store::Postgres(url) = &store else { unreachable!() };
    let inbox = store.open().await;
    let mut admin = PgConnection::connect(url).await.unwrap();
    let mut others = PgConnection::connect(url).await.unwrap();
    others.execute("BEGIN; LOCK TABLE number7.events").await.unwrap();
    let mut most = 0;
    for round in 0..5 {
        let callers = (0..CALLERS).map(|caller| {
            let (inbox, job) = (inbox.clone(), format!("job_{round}_{caller}"));
            async move { timeout(Duration::from_millis(200), accept(&inbox, &job)).await }
        });
        let left = futures_util::future::join_all(callers).await;
        assert!(left.iter().all(Result::is_err), "a caller was answered");
        let sessions = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND query LIKE '%INSERT INTO number7.events%'";
        let sessions: i64 = sqlx::query_scalar(sessions).fetch_one(&mut admin).await.unwrap();
        most = most.max(sessions);
    }
    // The query of the one that counts also contains the words.
    assert!((1..=CONNECTIONS + 1).contains(&most), "{most} sessions");
    others.execute("ROLLBACK").await.unwrap();
    let begun = Instant::now();
    while accept(&inbox, "job_last").await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "nothing is accepted any more");
    }
}
