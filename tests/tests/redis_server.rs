//! A Redis that changes under a receiver: its password, its configuration, its role, its data, and its speed.
#![allow(clippy::unwrap_used)]
#![cfg_attr(no_redis, allow(dead_code, unused_imports))]

use std::{
    error::Error,
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use number7_core::{Acceptance, Rejection};
use number7_inbox::{
    AcceptedEvent, BoxError, Filter, Inbox, InboxError, InboxErrorKind, MAX_LEASE, MIN_LEASE, State,
};
use number7_tests::{
    delivery,
    engine::{Engine, Server},
    gate::Gate,
    proxy::{Network, Proxy},
    running::{Handled, PATIENCE, Running, accepted_at_last, dead_letters, until},
    store::{Store, fill, redis_command, redis_script},
};
use tempfile::NamedTempFile;
use tokio::{
    runtime,
    task::block_in_place,
    time::{MissedTickBehavior, interval, sleep},
};
use tracing::instrument::WithSubscriber;

/// How soon after an outage a receiver works again, on a busy machine.
const SOON: Duration = Duration::from_secs(10);

async fn accept(inbox: &Inbox, job: &str) -> Result<Acceptance, Rejection> {
    inbox.accept(&delivery("job.completed", job)).await
}

fn source(rejection: &Rejection) -> &InboxError {
    rejection.source().unwrap().downcast_ref().unwrap()
}

fn start(args: &[&str]) -> Server {
    block_in_place(|| Server::start_with(Engine::Redis, args))
}

/// The URL of the first database, with the password of the tests.
fn with_password(port: u16) -> String {
    format!("redis://:let-me-in@127.0.0.1:{port}/0")
}

/// What is logged during a future, and later by what it has started.
async fn logged<T>(future: impl Future<Output = T>) -> (T, impl Fn() -> String) {
    // Otherwise a call site that another test uses first, without a subscriber, would stay disabled.
    _ = tracing_subscriber::fmt().with_writer(std::io::sink).try_init();
    let log = NamedTempFile::new().unwrap();
    let writer = Arc::new(log.reopen().unwrap());
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish();
    let done = future.with_subscriber(subscriber).await;
    (done, move || fs::read_to_string(&log).unwrap())
}

// Runtimes.

/// A runtime without timers and sockets, because nothing needs them.
fn current_thread() -> runtime::Runtime {
    runtime::Builder::new_current_thread().build().unwrap()
}

/// As in a test suite, where each test has its own runtime.
#[test]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
fn an_inbox_in_a_static_serves_one_runtime_after_the_other_and_all_at_once() {
    static INBOX: OnceLock<Inbox> = OnceLock::new();
    let server = Server::start(Engine::Redis);
    let opened = current_thread().block_on(Inbox::redis(server.url(server.port(), "0"))).unwrap();
    let inbox = INBOX.get_or_init(|| opened);
    for number in 0..24 {
        let accepted = current_thread().block_on(accept(inbox, &format!("job_{number}")));
        assert_eq!(accepted.unwrap(), Acceptance::New, "{number}");
    }
    let all_at_once = (24..48).map(|number| {
        thread::spawn(move || {
            current_thread().block_on(async {
                let accepted = accept(inbox, &format!("job_{number}")).await;
                (accepted.unwrap(), inbox.stats().await.unwrap().ready)
            })
        })
    });
    for accepted in all_at_once.collect::<Vec<_>>() {
        assert_eq!(accepted.join().unwrap().0, Acceptance::New);
    }
    assert_eq!(current_thread().block_on(inbox.stats()).unwrap().ready, 48);
}

/// The runtime that uses the inbox first is blocked in the middle of that, and so is the one that opened it.
#[test]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
fn runtimes_that_are_blocked_hold_up_nobody_else() {
    const BLOCKED: Duration = Duration::from_secs(8);
    let server = Server::start(Engine::Redis);
    let url = server.url(server.port(), "0");
    let (opened, inbox) = std::sync::mpsc::channel();
    let opener = thread::spawn(move || {
        current_thread().block_on(async {
            let inbox = Inbox::redis(url).await.unwrap();
            opened.send(inbox.clone()).unwrap();
            let accepting = tokio::spawn(async move { accept(&inbox, "job_blocked").await });
            tokio::task::yield_now().await;
            thread::sleep(BLOCKED);
            accepting.await.unwrap()
        })
    });
    let inbox = inbox.recv().unwrap();
    let mut others = Vec::new();
    for caller in 0..4 {
        let inbox = inbox.clone();
        others.push(thread::spawn(move || {
            let begun = Instant::now();
            for number in 0..50 {
                let job = format!("job_{caller}_{number}");
                current_thread().block_on(accept(&inbox, &job)).unwrap();
            }
            begun.elapsed()
        }));
    }
    for other in others {
        let took = other.join().unwrap();
        assert!(took < BLOCKED / 2, "held up for {took:?}");
    }
    assert_eq!(opener.join().unwrap().unwrap(), Acceptance::New);
}

// Passwords.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn a_password_that_is_changed_and_put_back_is_an_outage_and_no_more() {
    let server = start(&["--requirepass", "let-me-in"]);
    let (inbox, log) = logged(Inbox::redis(with_password(server.port()))).await;
    let inbox = inbox.unwrap();
    let handled = Handled::default();
    let worker = Running::start(handled.worker(&inbox));
    accept(&inbox, "job_1").await.unwrap();

    let change = ["CONFIG", "SET", "requirepass", "another"];
    redis_command(&with_password(server.port()), &change).await;
    let changed = format!("redis://:another@127.0.0.1:{}/0", server.port());
    redis_command(&changed, &["CLIENT", "KILL", "TYPE", "normal"]).await;
    // A call that was on its way may report a broken connection.
    until(async || {
        let Err(refused) = accept(&inbox, "job_2").await else { return false };
        assert!(!refused.to_string().contains("let-me-in"), "{refused}");
        source(&refused).to_string().contains("authentication failed")
    })
    .await;
    redis_command(&changed, &["CONFIG", "SET", "requirepass", "let-me-in"]).await;
    let took = accepted_at_last(&inbox, "job_2").await;
    assert!(took < SOON, "{took:?}");
    until(async || handled.events() == 2).await;
    worker.stop().await;
    let log = log();
    assert_eq!(log.matches("cannot connect to Redis again").count(), 1, "{log}");
    assert!(
        log.contains("authentication failed") && log.contains("connected to Redis again"),
        "{log}"
    );
    assert!(!log.contains("let-me-in"), "{log}");
}

/// An orchestrator or a person sets the password a moment after the start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn a_redis_that_gets_its_password_after_its_restart_is_found_again() {
    let mut server = start(&[]);
    let open = server.url(server.port(), "0");
    let set = ["CONFIG", "SET", "requirepass", "let-me-in"];
    redis_command(&open, &set).await;
    let inbox = Inbox::redis(with_password(server.port())).await.unwrap();
    accept(&inbox, "job_1").await.unwrap();
    block_in_place(|| server.kill());
    block_in_place(|| server.restart());
    until(async || {
        let refused = accept(&inbox, "job_2").await.unwrap_err();
        source(&refused).to_string().contains("authentication failed")
    })
    .await;
    redis_command(&open, &set).await;
    let took = accepted_at_last(&inbox, "job_2").await;
    assert!(took < SOON, "{took:?}");
}

// Connections.

/// A server may close idle connections, and so may everything in between. Or it closes a connection in the middle of a
/// delivery, before or after it has stored the event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn no_delivery_is_refused_because_a_connection_was_closed() {
    let server = start(&[]);
    let proxy = Proxy::start(server.port()).await;
    let direct = server.url(server.port(), "0");
    let inbox = Inbox::redis(server.url(proxy.port(), "0")).await.unwrap();
    for number in 0..3 {
        redis_command(&direct, &["CLIENT", "KILL", "TYPE", "normal"]).await;
        assert_eq!(accept(&inbox, &format!("job_{number}")).await.unwrap(), Acceptance::New);
    }
    proxy.set(Network::Unanswered("job_unanswered"));
    assert_eq!(accept(&inbox, "job_unanswered").await.unwrap(), Acceptance::New);
    assert!(proxy.has_lost_an_answer());
    proxy.set(Network::Good);
    assert_eq!(accept(&inbox, "job_unanswered").await.unwrap(), Acceptance::Duplicate);
    assert_eq!(inbox.stats().await.unwrap().ready, 4);
}

/// Every delivery meets the silence, but one report of it is enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn a_silent_redis_costs_one_connection_at_a_time() {
    let server = start(&[]);
    let proxy = Proxy::start(server.port()).await;
    let inbox = Inbox::redis(server.url(proxy.port(), "0")).await.unwrap();
    let refused = Arc::new(AtomicUsize::new(0));
    let (deliveries, count) = (inbox.clone(), Arc::clone(&refused));
    let deliveries = tokio::spawn(async move {
        let mut tick = interval(Duration::from_millis(5));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 0_u64.. {
            tick.tick().await;
            let (inbox, count) = (deliveries.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                if accept(&inbox, &format!("job_{number}")).await.is_err() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    sleep(Duration::from_millis(500)).await;
    assert_eq!((proxy.connections(), refused.load(Ordering::Relaxed)), ((1, 1), 0));
    proxy.set(Network::Silent);
    sleep(Duration::from_secs(8)).await;
    proxy.set(Network::Good);
    let took = accepted_at_last(&inbox, "job_after").await;
    deliveries.abort();
    assert!(refused.load(Ordering::Relaxed) > 100, "it was not silent");
    assert!(took < SOON, "{took:?}");
    let (opened, most) = proxy.connections();
    assert!(opened <= 8, "{opened} connections");
    // The silent connection is left to those that still wait for it.
    assert!(most <= 3, "{most} connections at a time");
}

/// The server behind an address may refuse all writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn a_redis_that_refuses_every_write_is_not_flooded_with_connections() {
    let server = start(&[]);
    let proxy = Proxy::start(server.port()).await;
    let direct = server.url(server.port(), "0");
    let inbox = Inbox::redis(server.url(proxy.port(), "0")).await.unwrap();
    redis_command(&direct, &["REPLICAOF", "127.0.0.1", "1"]).await;
    let begun = Instant::now();
    let mut refused = 0;
    while begun.elapsed() < Duration::from_secs(3) {
        let error = accept(&inbox, "job_1").await.unwrap_err();
        assert_eq!(source(&error).kind(), InboxErrorKind::ReadOnly, "{error}");
        refused += 1;
    }
    redis_command(&direct, &["REPLICAOF", "NO", "ONE"]).await;
    let took = accepted_at_last(&inbox, "job_1").await;
    assert!(took < SOON, "{took:?}");
    let (opened, most) = proxy.connections();
    assert!(refused > 5 && opened <= 20 && most <= 3, "{refused}: {opened}, {most}");
}

// Opening.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn opening_fails_in_time_and_keeps_the_password_to_itself() {
    const IN_TIME: Duration = Duration::from_secs(5 + 2);
    let server = start(&["--requirepass", "another"]);
    let silent = Proxy::start(server.port()).await;
    silent.set(Network::Silent);
    let mut loading =
        start(&["--key-load-delay", "200", "--loading-process-events-interval-bytes", "1024"]);
    let url = loading.url(loading.port(), "0");
    let some = "for n = 1, 50000 do redis.call('SET', n, 'value') end return 1";
    assert_eq!(redis_script::<i64>(&url, some).await, 1);
    block_in_place(|| {
        loading.kill();
        loading.restart();
    });
    let refused = [
        (with_password(1), InboxErrorKind::Unreachable, ""),
        (with_password(silent.port()), InboxErrorKind::TooSlow, ""),
        (with_password(server.port()), InboxErrorKind::Refused, "authentication failed"),
        (url, InboxErrorKind::Unreachable, "loading"),
        ("redis://:let-me-in@no-such-host.invalid/".into(), InboxErrorKind::Unreachable, ""),
        ("redis://:let-me-in@127.0.0.1:port/0".into(), InboxErrorKind::Refused, "URL"),
        ("redis://:let-me-in@127.0.0.1/zero".into(), InboxErrorKind::Refused, "database"),
        ("redis+unix:///no/socket?pass=let-me-in".into(), InboxErrorKind::Unreachable, ""),
        (
            "redis://:let-me-in@127.0.0.1/0?wait_replicas=x".into(),
            InboxErrorKind::Invalid,
            "wait_replicas",
        ),
    ];
    futures_util::future::join_all(refused.map(|(url, kind, text)| async move {
        let begun = Instant::now();
        let error = Inbox::open(&url).await.unwrap_err();
        assert!(begun.elapsed() < IN_TIME, "{url}: {:?}", begun.elapsed());
        let told = format!("{error} {error:?}");
        assert!(error.kind() == kind && told.contains(text), "{url}: {:?} {told}", error.kind());
        assert!(!told.contains("let-me-in"), "{told}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn a_socket_in_the_file_system_has_a_url_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("redis.sock");
    let socket = socket.to_str().unwrap();
    let server = start(&["--unixsocket", socket, "--requirepass", "let-me-in"]);
    let inbox = Inbox::open(&format!("redis+unix://{socket}?pass=let-me-in&db=3")).await.unwrap();
    accept(&inbox, "job_1").await.unwrap();
    let same = with_password(server.port()).replace("/0", "/3");
    assert_eq!(Inbox::open(&same).await.unwrap().stats().await.unwrap().ready, 1);
}

// Rights.

/// Reading writes nothing, and needs only the keys of the inbox.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn a_user_who_may_only_read_sees_everything_and_changes_nothing() {
    const READ: [&str; 10] = [
        "ACL",
        "SETUSER",
        "reader",
        "on",
        ">let-me-in",
        "~{number7*",
        "+@read",
        "+eval",
        "+evalsha",
        "+time",
    ];
    const WORK: [&str; 13] = [
        "ACL",
        "SETUSER",
        "worker",
        "on",
        ">let-me-in",
        "~{number7*",
        "+@read",
        "+@write",
        "+eval",
        "+evalsha",
        "+time",
        "-@dangerous",
        "-keys",
    ];
    let server = start(&[]);
    let url = server.url(server.port(), "0");
    redis_command(&url, &READ).await;
    redis_command(&url, &WORK).await;
    let of = |user: &str| url.replace("//", &format!("//{user}:let-me-in@"));
    let worker = Inbox::open(&of("worker")).await.unwrap();
    let reader = Inbox::open(&of("reader")).await.unwrap();
    for job in ["done", "dead"] {
        accept(&worker, job).await.unwrap();
    }
    worker.expect_job("late", Duration::ZERO).await.unwrap();
    let working = worker.worker(
        async |event: AcceptedEvent| {
            if event.key().contains("dead") { Err("dead") } else { Ok(()) }
        },
    );
    let working = Running::start(working.attempts(1));
    until(async || {
        let stats = reader.stats().await.unwrap();
        (stats.done, stats.dead, stats.overdue) == (1, 1, 1)
    })
    .await;
    working.stop().await;
    let dead = reader.list(State::Dead, &Filter::new(), None, 10).await.unwrap().entries;
    assert_eq!(dead[0].key(), "job.completed:dead");
    assert!(reader.show("job.completed:done").await.unwrap().is_some());
    assert_eq!(reader.overdue(None, 10).await.unwrap().entries.len(), 1);
    let refused = accept(&reader, "new").await.unwrap_err();
    assert_eq!(source(&refused).kind(), InboxErrorKind::Refused, "{refused}");
    assert_eq!(reader.ping().await.unwrap_err().kind(), InboxErrorKind::Refused);
    assert_eq!(
        reader.requeue("job.completed:dead").await.unwrap_err().kind(),
        InboxErrorKind::Refused
    );
    assert!(!reader.cancel_expectation("late").await.is_ok_and(|cancelled| cancelled));
    assert_eq!(worker.stats().await.unwrap().ready, 0);
}

// Replicas.

/// The connection between a server and its replica is cut, and then the replica is promoted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn what_was_accepted_survives_a_failover_if_replicas_are_waited_for() {
    let server = start(&["--repl-diskless-sync-delay", "0"]);
    let link = Proxy::start(server.port()).await;
    let replica = start(&["--replicaof", "127.0.0.1", &link.port().to_string()]);
    let [url, of_replica] = [&server, &replica].map(|server| server.url(server.port(), "0"));
    until(async || {
        let is_linked = "return string.find(redis.call('INFO', 'replication'),
            'master_link_status:up') and 1 or 0";
        redis_script::<i64>(&of_replica, is_linked).await == 1
    })
    .await;

    let (careless, log) = logged(Inbox::redis(&url)).await;
    assert!(log().contains("this Redis has replicas, and nothing waits for them"), "{}", log());
    let too_many = logged(Inbox::redis(format!("{url}?wait_replicas=2"))).await.1;
    assert!(too_many().contains("fewer replicas than wait_replicas"), "{}", too_many());
    let waiting = format!("{url}?wait_replicas=1&wait_ms=500");
    let (inbox, log) = logged(Inbox::open(&waiting)).await;
    let inbox = inbox.unwrap();
    assert!(!log().contains("WARN"), "{}", log());

    for number in 0..20 {
        accepted_at_last(&inbox, &format!("job_{number}")).await;
    }
    until(async || inbox.expect_job("job_expected", PATIENCE).await.is_ok()).await;
    link.set(Network::Silent);
    // Without waiting for replicas, this is lost.
    assert_eq!(accept(&careless.unwrap(), "job_careless").await.unwrap(), Acceptance::New);
    for again in 0..2 {
        for number in 20..23 {
            let refused = accept(&inbox, &format!("job_{number}")).await.unwrap_err();
            let error = source(&refused);
            assert_eq!(error.kind(), InboxErrorKind::TooSlow, "{again}: {error}");
            assert!(error.to_string().contains("0 of 1 replicas"), "{error}");
        }
        // The key is known, but the replica may not have it.
        let refused = accept(&inbox, "job_careless").await.unwrap_err();
        assert_eq!(source(&refused).kind(), InboxErrorKind::TooSlow, "{refused}");
    }
    let unsafely = inbox.expect_job("job_unsafely", PATIENCE).await.unwrap_err();
    assert_eq!(unsafely.kind(), InboxErrorKind::TooSlow, "{unsafely}");

    redis_command(&of_replica, &["REPLICAOF", "NO", "ONE"]).await;
    let promoted = Inbox::redis(&of_replica).await.unwrap();
    for number in 0..20 {
        let found = promoted.show(&format!("job.completed:job_{number}")).await.unwrap();
        assert!(found.is_some(), "{number} was answered 200, and is lost");
    }
    assert!(promoted.show("job.completed:job_careless").await.unwrap().is_none());
    assert!(promoted.cancel_expectation("job_expected").await.unwrap());
}

/// Events that are accepted at the same time wait together, and continue when the replica is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn acceptance_goes_on_when_the_replica_is_back() {
    let server = start(&["--repl-diskless-sync-delay", "0"]);
    let link = Proxy::start(server.port()).await;
    let _replica = start(&["--replicaof", "127.0.0.1", &link.port().to_string()]);
    let url = format!("{}?wait_replicas=1", server.url(server.port(), "0"));
    let inbox = Inbox::open(&url).await.unwrap();
    accepted_at_last(&inbox, "job_1").await;
    let handled = Handled::default();
    let worker = Running::start(handled.worker(&inbox));
    let many = async |round: u32| {
        let many = (0..200).map(|number| {
            let inbox = inbox.clone();
            tokio::spawn(async move { accept(&inbox, &format!("job_{round}_{number}")).await })
        });
        futures_util::future::join_all(many).await
    };
    assert!(many(0).await.into_iter().all(|accepted| accepted.unwrap().is_ok()));
    link.set(Network::Down);
    assert!(many(1).await.into_iter().all(|accepted| accepted.unwrap().is_err()));
    link.set(Network::Good);
    accepted_at_last(&inbox, "job_2").await;
    // They were stored, and are confirmed now.
    for accepted in many(1).await {
        assert_eq!(accepted.unwrap().unwrap(), Acceptance::Duplicate);
    }
    until(async || handled.events() == 402).await;
    worker.stop().await;
}

// Claims.

/// Its lease is over, and others may be releasing its claims.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn nothing_is_claimed_under_a_lease_that_is_over() {
    let store = Store::redis().await;
    let Store::Redis(url) = &store else { unreachable!() };
    let (inbox, handled) = (store.open().await, Handled::default());
    // It renews its lease every 15 seconds.
    let worker = Running::start(handled.worker(&inbox).lease(MAX_LEASE));
    until(async || inbox.stats().await.unwrap().workers == 1).await;
    let over = "local worker = redis.call('ZRANGE', key('workers'), 0, 0)[1]
        return redis.call('ZINCRBY', key('workers'), -3700000, worker)";
    redis_script::<String>(url, over).await;
    accept(&inbox, "job_1").await.unwrap();
    until(async || handled.events() == 1).await;
    let age = "return redis.call('TIME')[1]
        - redis.call('ZRANGE', key('workers'), 0, 0, 'WITHSCORES')[2] / 1000";
    let age: i64 = redis_script(url, age).await;
    assert!(age < 3_600, "it was claimed under a lease that was renewed {age} seconds ago");
    worker.stop().await;
}

/// Somebody has deleted the registration of a worker, or a backup without it was restored. Then the worker dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn what_a_worker_held_that_nobody_knows_is_rescued() {
    let store = Store::redis().await;
    let Store::Redis(url) = &store else { unreachable!() };
    let (inbox, gate, handled) = (store.open().await, Gate::default(), Handled::default());
    for number in 0..3 {
        accept(&inbox, &format!("job_{number}")).await.unwrap();
    }
    let worker = Running::start(gate.worker(&inbox).lease(MIN_LEASE));
    until(async || inbox.stats().await.unwrap().running == 3).await;
    worker.crash().await;
    assert_eq!(redis_script::<i64>(url, "return redis.call('DEL', key('workers'))").await, 1);
    let worker = Running::start(handled.worker(&inbox).lease(MIN_LEASE));
    until(async || handled.events() == 3).await;
    worker.stop().await;
    assert_eq!(inbox.stats().await.unwrap().running, 0);
}

/// As on the other stores. Nobody may register the dead worker again, because that would give it another lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn an_old_claim_is_rescued_at_once_if_its_worker_is_not_registered() {
    let store = Store::redis().await;
    let Store::Redis(url) = &store else { unreachable!() };
    let (inbox, gate, handled) = (store.open().await, Gate::default(), Handled::default());
    accept(&inbox, "job_1").await.unwrap();
    let holds = Running::start(gate.worker(&inbox).lease(MIN_LEASE));
    gate.begun().await;
    holds.crash().await;
    let worker = "local worker = string.match(redis.call('ZRANGE', key('running'), 0, 0)[1] or '', ':.-:(.+)$')";
    let hear = format!(
        "{worker} return redis.call('ZADD', key('workers'), redis.call('TIME')[1] * 1000, worker)"
    );
    let other = Running::start(handled.worker(&inbox).lease(MIN_LEASE));
    let begun = Instant::now();
    while begun.elapsed() < MIN_LEASE * 2 {
        redis_script::<i64>(url, &hear).await;
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(handled.events(), 0);
    let forget = format!("{worker} return redis.call('ZREM', key('workers'), worker)");
    assert_eq!(redis_script::<i64>(url, &forget).await, 1);
    let count = "return redis.call('ZCARD', key('workers'))";
    until(async || {
        assert_eq!(redis_script::<i64>(url, count).await, 1, "it is registered once more");
        handled.events() == 1
    })
    .await;
    other.stop().await;
}

// Boundaries, to the second.

/// One of two done events, and one of two dead letters, is older than its retention.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn an_event_is_forgotten_after_its_retention_and_not_before() {
    let store = Store::redis().await;
    let Store::Redis(url) = &store else { unreachable!() };
    let inbox = store.open().await;
    for job in ["old", "young", "dead_old", "dead_young"] {
        accept(&inbox, job).await.unwrap();
    }
    let worker = || {
        inbox.worker(
            async |event: AcceptedEvent| {
                if event.key().contains("dead") { Err("dead") } else { Ok(()) }
            },
        )
    };
    worker().attempts(1).run_until(store.settled(PATIENCE)).await;
    // The young ones have three seconds left.
    let age = "local now = redis.call('TIME')[1] * 1000
        for set, names in pairs({ done = { 'old', 'young', 3600 }, dead = { 'dead_old', 'dead_young', 7200 } }) do
            for i, left in ipairs({ -1, 3 }) do
                local event = redis.call('HGET', key('keys'), 'job.completed:' .. names[i])
                redis.call('ZADD', key(set), now - (names[3] - left) * 1000, event)
            end
        end
        return 1";
    redis_script::<i64>(url, age).await;
    let begun = Instant::now();
    let hour = Duration::from_secs(3_600);
    let worker = Running::start(worker().retention(hour).dead_letter_retention(2 * hour));
    until(async || store.keys().await <= 2).await;
    for job in ["young", "dead_young"] {
        let shown = inbox.show(&format!("job.completed:{job}")).await.unwrap();
        assert!(shown.is_some() || begun.elapsed() > Duration::from_secs(2), "{job}");
    }
    worker.stop().await;
}

/// The last heartbeat of its worker is always half a second before its lease would expire.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn a_claim_is_rescued_when_its_lease_has_expired_and_not_before() {
    let store = Store::redis().await;
    let Store::Redis(url) = &store else { unreachable!() };
    let (inbox, gate, handled) = (store.open().await, Gate::default(), Handled::default());
    accept(&inbox, "job_1").await.unwrap();
    let holds = Running::start(gate.worker(&inbox).lease(MIN_LEASE));
    gate.begun().await;
    holds.crash().await;
    let left = MIN_LEASE.as_millis() - 500;
    let hear = format!(
        "local worker = string.match(redis.call('ZRANGE', key('running'), 0, 0)[1], ':.-:(.+)$')
        local clock = redis.call('TIME')
        local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
        return redis.call('ZADD', key('workers'), now - {left}, worker)"
    );
    let other = Running::start(handled.worker(&inbox).lease(MIN_LEASE));
    let begun = Instant::now();
    while begun.elapsed() < MIN_LEASE + Duration::from_secs(8) {
        redis_script::<i64>(url, &hear).await;
        sleep(Duration::from_millis(50)).await;
        assert_eq!(handled.events(), 0);
    }
    let silent = Instant::now();
    until(async || handled.events() == 1).await;
    assert!(silent.elapsed() > Duration::from_millis(400), "{:?}", silent.elapsed());
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn an_event_is_begun_when_it_is_due_and_not_before() {
    const REST: Duration = Duration::from_secs(2);
    let store = Store::redis().await;
    let inbox = store.open().await;
    accept(&inbox, "job_1").await.unwrap();
    let starts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&starts);
    let worker = inbox.worker(move |_: AcceptedEvent| {
        seen.lock().unwrap().push(Instant::now());
        async { Err::<(), _>("not yet") }
    });
    let worker = Running::start(worker.attempts(2).backoff(REST, REST));
    until(async || inbox.stats().await.unwrap().scheduled == 1).await;
    let shown = inbox.show("job.completed:job_1").await.unwrap().unwrap();
    let waits = shown.since().duration_since(SystemTime::now()).unwrap_or_default();
    assert!(shown.state() == State::Scheduled && waits < REST * 5 / 4);
    until(async || inbox.stats().await.unwrap().dead == 1).await;
    worker.stop().await;
    let starts = starts.lock().unwrap();
    let rested = starts[1] - starts[0];
    // The backoff, up to a quarter more, and the delay of a busy machine.
    assert!((REST..REST * 2).contains(&rested), "{rested:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn a_lost_counter_gives_no_id_twice() {
    let store = Store::redis().await;
    let Store::Redis(url) = &store else { unreachable!() };
    let (inbox, handled) = (store.open().await, Handled::default());
    for round in 0..2 {
        for number in 0..3 {
            accept(&inbox, &format!("job_{round}_{number}")).await.unwrap();
        }
        assert_eq!(redis_script::<i64>(url, "return redis.call('DEL', key('next_id'))").await, 1);
    }
    assert_eq!(inbox.stats().await.unwrap().ready, 6);
    handled.worker(&inbox).run_until(store.settled(PATIENCE)).await;
    assert_eq!(handled.events(), 6);
}

// The data in it.

/// Somebody has damaged it, or a part of it is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn an_event_that_is_damaged_holds_up_no_other() {
    const DAMAGE: &str = r#"
        local function event(job) return redis.call('HGET', key('keys'), 'job.completed:' .. job) end
        redis.call('HSET', key('errors'), event('errors'), '{broken')
        redis.call('HSET', key('errors'), event('object'), '{"trace":1}')
        change(event('attempt'), '"attempt":%d+', '"attempt":"many"')
        change(event('uncounted'), '"uncounted":%d+', '"uncounted":-1')
        change(event('broken'), '"key":"[^"]+"', '"key":"broken')
        redis.call('HSET', key('events'), event('replaced'), 'something else')
        return 1"#;
    const JOBS: [&str; 7] =
        ["errors", "object", "attempt", "uncounted", "broken", "replaced", "whole"];
    let store = Store::redis().await;
    let Store::Redis(url) = &store else { unreachable!() };
    let inbox = store.open().await;
    let states = async || {
        let stats = inbox.stats().await.unwrap();
        [stats.ready, stats.running, stats.done, stats.dead]
    };
    let damage = async || assert_eq!(redis_script::<i64>(url, DAMAGE).await, 1);
    let lists = async || {
        for state in State::ALL {
            inbox.list(state, &Filter::new(), None, 100).await.unwrap();
        }
        for job in JOBS {
            inbox.show(&format!("job.completed:{job}")).await.unwrap();
        }
    };
    for job in JOBS {
        accept(&inbox, job).await.unwrap();
    }
    // While they wait.
    damage().await;
    lists().await;
    let failing = inbox.worker(async |_: AcceptedEvent| Err::<(), _>("broken")).attempts(1);
    let worker = Running::start(failing);
    until(async || states().await == [0, 0, 0, 7]).await;
    worker.stop().await;

    // As dead letters, which are requeued.
    damage().await;
    lists().await;
    assert_eq!(
        inbox.requeue(Filter::new()).await.unwrap().events,
        3,
        "the others cannot be listed"
    );
    for job in &JOBS[2..6] {
        assert_eq!(inbox.requeue(format!("job.completed:{job}")).await.unwrap().events, 1, "{job}");
    }

    // While they are claimed by a worker that dies.
    let gate = Gate::default();
    let worker = Running::start(gate.worker(&inbox).lease(MIN_LEASE));
    until(async || states().await == [0, 7, 0, 0]).await;
    worker.crash().await;
    damage().await;
    lists().await;
    let failing = inbox.worker(async |_: AcceptedEvent| Err::<(), _>("broken")).attempts(1);
    let worker = Running::start(failing.lease(MIN_LEASE));
    until(async || states().await == [0, 0, 0, 7]).await;
    worker.stop().await;

    damage().await;
    for job in JOBS {
        assert_eq!(inbox.discard(format!("job.completed:{job}")).await.unwrap().events, 1, "{job}");
    }
    assert_eq!(states().await, [0, 0, 7, 0]);
    // They are forgotten as others are.
    let worker = inbox.worker(async |_: AcceptedEvent| Ok::<_, BoxError>(()));
    let worker = Running::start(worker.retention(Duration::from_millis(1)));
    until(async || states().await == [0, 0, 0, 0]).await;
    worker.stop().await;
    assert_eq!(store.keys().await, 0);
    assert!(dead_letters(&inbox).await.is_empty());
}

// Its speed.

/// Counts what each script does, as the server reports it.
struct Monitor(thread::JoinHandle<(u64, u64)>);

impl Monitor {
    async fn start(server: &Server) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        stream.write_all(b"MONITOR\r\n").unwrap();
        let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
        assert_eq!(lines.next().unwrap(), "+OK");
        Self(thread::spawn(move || {
            let (mut all, mut most, mut now) = (0, 0, 0);
            for line in lines {
                now = if line.contains(" lua] ") { now + 1 } else { 0 };
                all += u64::from(now > 0);
                most = most.max(now);
                if line.contains("\"no more\"") {
                    break;
                }
            }
            (all, most)
        }))
    }

    /// The commands of all scripts together, and the most of one script.
    async fn stop(self, url: &str) -> (u64, u64) {
        redis_command(url, &["ECHO", "no more"]).await;
        block_in_place(|| self.0.join().unwrap())
    }
}

/// While a script runs, Redis answers nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn no_script_takes_long_however_much_there_is() {
    const EVENTS: u32 = 3_000;
    /// The most that 500 events need.
    const MOST: u64 = 500 * 10;
    let server = start(&["--appendfsync", "no"]);
    let store = Store::Redis(server.url(server.port(), "0"));
    let url = &store.url();
    let (inbox, log) = logged(Inbox::redis(url)).await;
    let inbox = inbox.unwrap();
    assert!(log().contains("set appendfsync to always"), "{}", log());
    fill(&store, EVENTS).await;
    let monitor = Monitor::start(&server).await;

    let listed = async |state: State| {
        let page = inbox.list(state, &Filter::new(), None, 10 * EVENTS).await.unwrap();
        assert!(page.next.is_none());
        let mut keys: Vec<_> = page.entries.iter().map(|entry| entry.key().to_owned()).collect();
        keys.sort_unstable();
        keys.dedup();
        (page.entries.len(), keys.len())
    };
    let all = (EVENTS as usize, EVENTS as usize);
    assert_eq!(listed(State::Done).await, all);
    let page = inbox.list(State::Done, &Filter::new(), None, 777).await.unwrap();
    let next = inbox.list(State::Done, &Filter::new(), page.next.as_ref(), EVENTS).await.unwrap();
    assert_eq!((page.entries.len(), next.entries.len()), (777, EVENTS as usize - 777));

    // All of them become dead letters, and are requeued.
    let dead = r#"local events = redis.call('ZRANGE', key('done'), 0, 499, 'WITHSCORES')
        for i = 1, #events, 2 do
            change(events[i], '"state":"done"', '"state":"dead"')
            redis.call('ZADD', key('dead'), events[i + 1], events[i])
            redis.call('ZREM', key('done'), events[i])
        end
        return #events"#;
    while redis_script::<i64>(url, dead).await > 0 {}
    assert_eq!(listed(State::Dead).await, all);
    assert_eq!(inbox.requeue(Filter::new()).await.unwrap().events, u64::from(EVENTS));
    assert_eq!(listed(State::Ready).await, all);

    // A worker has very many, and renews its lease. Then it dies, and they are rescued.
    let (gate, handled) = (Gate::default(), Handled::default());
    let other = handled
        .worker(&inbox)
        .lease(MIN_LEASE)
        .retention(Duration::from_millis(1))
        .concurrency(256);
    let pause = other.pause();
    pause.pause();
    let other = Running::start(other);
    let worker = gate.worker(&inbox).lease(MIN_LEASE).concurrency(EVENTS as usize);
    let worker = Running::start(worker);
    until(async || inbox.stats().await.unwrap().running == u64::from(EVENTS)).await;
    sleep(MIN_LEASE / 3).await;
    assert_eq!(listed(State::Running).await, all);
    worker.crash().await;
    pause.resume();
    until(async || handled.events() == EVENTS as usize).await;
    until(async || store.keys().await == 0).await;

    let overdue = r#"for n = 1, 500 do
            local job = 'job_' .. redis.call('ZCARD', key('overdue'))
            redis.call('HSET', key('expected_jobs'), job,
                '{"completed":"1","failed":"2","due_at":1,"fetches":0}')
            redis.call('ZADD', key('overdue'), 1, job)
        end
        return redis.call('ZCARD', key('overdue'))"#;
    while redis_script::<i64>(url, overdue).await < i64::from(EVENTS) {}
    let jobs = inbox.overdue(None, 10 * EVENTS).await.unwrap();
    assert!(jobs.entries.len() == EVENTS as usize && jobs.next.is_none());
    let page = inbox.overdue(None, 777).await.unwrap();
    let next = inbox.overdue(page.next.as_ref(), EVENTS).await.unwrap();
    assert_eq!((page.entries.len(), next.entries.len()), (777, EVENTS as usize - 777));
    assert_eq!(
        page.entries.iter().chain(&next.entries).collect::<Vec<_>>(),
        jobs.entries.iter().collect::<Vec<_>>()
    );
    other.stop().await;
    let (all, most) = monitor.stop(url).await;
    assert!(all > u64::from(EVENTS) * 20 && most <= MOST, "{all} in all, {most} in one script");
}
