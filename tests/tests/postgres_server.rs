//! A PostgreSQL server that changes under a receiver: it fails over, is reconfigured, is altered, is slow, or
//! refuses connections.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, LazyLock, OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use number7_core::{Acceptance, Rejection};
use number7_inbox::{
    AcceptedEvent, Account, BoxError, Fetched, Filter, Inbox, InboxErrorKind, MIN_LEASE, State,
};
use number7_tests::{
    body, delivery, delivery_to,
    engine::{Engine, Server},
    gate::Gate,
    proxy::{Network, Proxy},
    running::{Handled, PATIENCE, Running, accept, until},
    store::{Store, postgres},
};
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool, postgres::PgConnectOptions, query_scalar,
    raw_sql,
};
use tempfile::NamedTempFile;
use tokio::{
    runtime::Builder,
    task::block_in_place,
    time::{sleep, timeout},
};

/// How soon a receiver must work again after a change, according to the README.
const BACK: Duration = Duration::from_secs(10);

/// How much later anything may be on a busy machine.
const SLACK: Duration = Duration::from_secs(5);

/// The log of all tests of this program since the first call.
fn log() -> String {
    static LOG: LazyLock<NamedTempFile> = LazyLock::new(|| {
        let log = NamedTempFile::new().unwrap();
        let writer = Arc::new(log.reopen().unwrap());
        tracing_subscriber::fmt().with_ansi(false).with_writer(writer).init();
        log
    });
    fs::read_to_string(&*LOG).unwrap()
}

async fn try_accept(inbox: &Inbox, job: &str) -> Result<Acceptance, Rejection> {
    inbox.accept(&delivery("job.completed", job)).await
}

async fn execute(connection: &mut PgConnection, sql: &str) {
    raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.unwrap();
}

async fn count(connection: &mut PgConnection, sql: &str) -> i64 {
    query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(connection).await.unwrap()
}

fn name_of(store: &Store) -> String {
    store.url().rsplit('/').next().unwrap().to_owned()
}

/// Connections do not belong to a caller's runtime, which may end, or whose thread may be blocked.
#[test]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
fn an_inbox_serves_many_runtimes() {
    static INBOX: OnceLock<Inbox> = OnceLock::new();
    let server = Server::start(Engine::Postgres);
    let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
    let url = server.url(server.port(), "postgres");
    // It listens before it is ready.
    let opened = runtime().block_on(async {
        drop(postgres(&url).await);
        Inbox::postgres(&url).await
    });
    let inbox = INBOX.get_or_init(|| opened.unwrap());
    let accepts = move |job: String| {
        let accepted = runtime().block_on(try_accept(inbox, &job));
        assert_eq!(accepted.unwrap(), Acceptance::New, "{job}");
    };
    for number in 0..24 {
        accepts(format!("job_{number}"));
    }
    let parallel: Vec<_> = (0..24)
        .map(|number| thread::spawn(move || accepts(format!("job_parallel_{number}"))))
        .collect();
    parallel.into_iter().for_each(|thread| thread.join().unwrap());

    // More than there are connections, and each is in the middle of an acceptance.
    let (begun, all_begun) = mpsc::channel();
    let (blocked, unblock): (Vec<_>, Vec<_>) = (0..12)
        .map(|number| {
            let (begun, (unblock, unblocked)) = (begun.clone(), mpsc::channel::<()>());
            let blocked = thread::spawn(move || {
                runtime().block_on(async {
                    let job = format!("job_blocked_{number}");
                    let mut accepted = Box::pin(try_accept(inbox, &job));
                    assert!(futures_util::poll!(&mut accepted).is_pending());
                    begun.send(()).unwrap();
                    _ = unblocked.recv();
                    accepted.await.unwrap()
                })
            });
            (blocked, unblock)
        })
        .unzip();
    (0..12).for_each(|_| all_begun.recv().unwrap());
    (0..24).for_each(|number| accepts(format!("job_free_{number}")));
    drop(unblock);
    for blocked in blocked {
        assert_eq!(blocked.join().unwrap(), Acceptance::New);
    }
}

/// The old primary stays up for its open connections, but refuses writes. The new primary is at the same address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn a_primary_that_was_demoted_is_left_for_the_new_one() {
    log();
    let primary = block_in_place(|| Server::start(Engine::Postgres));
    let proxy = Proxy::start(primary.port()).await;
    let store = Store::postgres_on(&primary, proxy.port()).await;
    let inbox = store.open().await;
    let handled = Handled::default();
    let worker = Running::start(handled.worker(&inbox));
    // All connections of acceptance are opened, and are idle for a moment.
    join_all(
        (0..20).map(async |number| accept(&inbox, "job.completed", &format!("job_{number}")).await),
    )
    .await;
    until(async || handled.events() == 20).await;
    let standby = block_in_place(|| Server::standby(&primary));
    let database = name_of(&store);
    let mut new = postgres(&standby.url(standby.port(), &database)).await;
    let done = "SELECT count(*) FROM number7.events WHERE state = 'done'";
    until(async || count(&mut new, done).await == 20).await;

    // A reader can also use a standby.
    let reader = Inbox::open(&standby.url(standby.port(), &database)).await.unwrap();
    assert_eq!(reader.ping().await.unwrap_err().kind(), InboxErrorKind::ReadOnly);
    assert_eq!(reader.stats().await.unwrap().done, 20);

    proxy.redirect(standby.port());
    let mut old = postgres(&primary.url(primary.port(), &database)).await;
    execute(&mut old, "ALTER SYSTEM SET default_transaction_read_only = on").await;
    execute(&mut old, "SELECT pg_reload_conf()").await;
    execute(&mut new, "SELECT pg_promote()").await;
    let begun = Instant::now();
    let (mut number, mut in_a_row, mut refusals) = (20, 0, Vec::new());
    // A connection that was used within the last second is trusted.
    while in_a_row < 50 {
        match try_accept(&inbox, &format!("job_{number}")).await {
            Ok(accepted) => {
                assert_eq!(accepted, Acceptance::New);
                in_a_row += 1;
            }
            Err(refused) => {
                refusals.push(refused.log_text());
                in_a_row = 0;
            }
        }
        assert!(begun.elapsed() < BACK + SLACK, "{refusals:?}");
        number += 1;
        sleep(Duration::from_millis(20)).await;
    }
    let all = number - refusals.len();
    until(async || handled.events() == all).await;
    assert!(begun.elapsed() < BACK + SLACK, "{:?}", begun.elapsed());
    until(async || count(&mut new, done).await == i64::try_from(all).unwrap()).await;
    until(async || reader.ping().await.is_ok()).await;
    inbox.ping().await.unwrap();
    worker.stop().await;
    let log = log();
    let told = |line: &str| {
        line.contains("leaves its connections to PostgreSQL") && line.contains("read-only")
    };
    assert!(log.lines().any(told), "{log}");
}

/// PostgreSQL's notices about existing tables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn opening_logs_nothing_of_what_is_there() {
    log();
    let store = Store::postgres().await;
    for _ in 0..3 {
        drop(store.open().await);
    }
    let log = log();
    assert!(!log.contains("already exists"), "{log}");
}

/// The prepared statements of a connection do not survive a changed table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn what_is_altered_under_a_receiver_stops_nothing() {
    let store = Store::postgres().await;
    let inbox = store.open().await;
    let handled = Handled::default();
    let worker = Running::start(handled.worker(&inbox));
    accept(&inbox, "job.completed", "job_before").await;
    until(async || handled.events() == 1).await;
    for (round, alteration) in [
        "ALTER TABLE number7.events ALTER COLUMN key TYPE varchar(500)",
        "ALTER TABLE number7.events ADD COLUMN is_quarantined text",
    ]
    .into_iter()
    .enumerate()
    {
        // A new connection is trusted for a second.
        sleep(Duration::from_millis(1_100)).await;
        store.sql(alteration).await;
        let altered = Instant::now();
        for number in 0..10 {
            accept(&inbox, "job.completed", &format!("job_{round}_{number}")).await;
        }
        until(async || handled.events() == 1 + 10 * (round + 1)).await;
        assert!(altered.elapsed() < BACK + SLACK, "{alteration}: {:?}", altered.elapsed());
        inbox.stats().await.unwrap();
        inbox.list(State::Done, &Filter::new(), None, 100).await.unwrap();
    }
    worker.stop().await;
}

/// Each job is sent to two receivers at once. The settings of the database are meant for other programs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn what_an_operator_sets_for_the_database_refuses_nothing() {
    let store = Store::postgres().await;
    let name = name_of(&store);
    drop(store.open().await);
    store
        .sql(&format!(
            "ALTER DATABASE {name} SET default_transaction_isolation = 'serializable';
            ALTER DATABASE {name} SET lock_timeout = '1ms';
            ALTER DATABASE {name} SET synchronous_commit = off;
            ALTER DATABASE {name} SET enable_indexscan = off;
            ALTER DATABASE {name} SET search_path = 'elsewhere';
            ALTER DATABASE {name} SET \"TimeZone\" = 'Asia/Kolkata';
            ALTER DATABASE {name} SET \"DateStyle\" = 'German'"
        ))
        .await;
    let url: PgConnectOptions = store.url().parse().unwrap();
    let pool = PgPool::connect_lazy_with(
        url.options([("default_transaction_isolation", "repeatable read")]),
    );
    let inboxes = [store.open().await, Inbox::postgres_of(&pool).await.unwrap()];
    for round in 0..4 {
        let deliveries = (0..200).map(|number| {
            let (inbox, job) = (&inboxes[number % 2], format!("job_{round}_{}", number / 2));
            async move { try_accept(inbox, &job).await.unwrap() }
        });
        let accepted = join_all(deliveries).await;
        let new = accepted.iter().filter(|accepted| **accepted == Acceptance::New).count();
        assert_eq!((accepted.len(), new), (200, 100));
    }
    let handled = Handled::default();
    let workers = inboxes.each_ref().map(|inbox| Running::start(handled.worker(inbox)));
    until(async || handled.events() == 400).await;
    for worker in workers {
        worker.stop().await;
    }
}

/// A trigger sees the session. It stands for anything that an app may have created on the table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn what_is_confirmed_is_on_the_disk() {
    let store = Store::postgres().await;
    let name = name_of(&store);
    for (set, seen) in [("off", "on"), ("local", "local"), ("on", "on")] {
        store.sql(&format!("ALTER DATABASE {name} SET synchronous_commit = {set}")).await;
        let inbox = store.open().await;
        store
            .sql(
                "CREATE TABLE IF NOT EXISTS seen (setting text);
                CREATE OR REPLACE FUNCTION see() RETURNS trigger AS $$ BEGIN
                    INSERT INTO seen VALUES (current_setting('synchronous_commit'));
                    RETURN NEW;
                END $$ LANGUAGE plpgsql;
                CREATE OR REPLACE TRIGGER see BEFORE INSERT ON number7.events
                    FOR EACH ROW EXECUTE FUNCTION see()",
            )
            .await;
        accept(&inbox, "job.completed", &format!("job_{set}")).await;
        let mut connection = postgres(&store.url()).await;
        let last: String = query_scalar("DELETE FROM seen RETURNING setting")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(last, seen, "{set}");
    }
}

/// Two statements lock two rows in opposite orders. One of them is chosen to fail, and is tried again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn a_deadlock_refuses_nothing() {
    let store = Store::postgres().await;
    let inbox = store.open().await;
    let mut other = postgres(&store.url()).await;
    // The insert waits for this row, and then locks its own key. The other statement does the reverse.
    store
        .sql(
            "CREATE TABLE counter (id int PRIMARY KEY, n int); INSERT INTO counter VALUES (1, 0);
            CREATE FUNCTION bump() RETURNS trigger AS $$ BEGIN
                UPDATE counter SET n = n + 1; RETURN NEW;
            END $$ LANGUAGE plpgsql;
            CREATE TRIGGER bump AFTER INSERT ON number7.events FOR EACH ROW EXECUTE FUNCTION bump()",
        )
        .await;
    execute(&mut other, "SET deadlock_timeout = '60s'; BEGIN; UPDATE counter SET n = n + 1").await;
    let accepted = {
        let inbox = inbox.clone();
        tokio::spawn(async move { try_accept(&inbox, "job_1").await })
    };
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
        AND datname = current_database()";
    let mut admin = postgres(&store.url()).await;
    until(async || count(&mut admin, waits).await == 1).await;
    let theirs = "INSERT INTO number7.events (inbox, key, event, payload, origin)
        VALUES ('', 'job.completed:job_1', '', '', 'signed') ON CONFLICT DO NOTHING; ROLLBACK";
    execute(&mut other, theirs).await;
    assert_eq!(accepted.await.unwrap().unwrap(), Acceptance::New);
}

/// Heartbeats that the store does not count stand for heartbeats that do not arrive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn nothing_is_claimed_under_a_lease_that_is_over() {
    let store = Store::postgres().await;
    let inbox = store.open().await;
    let handled = Handled::default();
    let worker = Running::start(handled.worker(&inbox).lease(MIN_LEASE));
    accept(&inbox, "job.completed", "job_1").await;
    until(async || handled.events() == 1).await;
    store
        .sql(
            "CREATE FUNCTION keep() RETURNS trigger AS $$ BEGIN
                NEW.last_seen = OLD.last_seen; RETURN NEW;
            END $$ LANGUAGE plpgsql;
            CREATE TRIGGER keep BEFORE UPDATE ON number7.workers FOR EACH ROW EXECUTE FUNCTION keep()",
        )
        .await;
    sleep(MIN_LEASE + Duration::from_millis(500)).await;
    for number in 2..=10 {
        accept(&inbox, "job.completed", &format!("job_{number}")).await;
    }
    sleep(MIN_LEASE / 2).await;
    assert_eq!(handled.events(), 1, "events were claimed under a lease that is over");
    assert_eq!(inbox.stats().await.unwrap().ready, 9);
    store.sql("DROP TRIGGER keep ON number7.workers").await;
    until(async || handled.events() == 10).await;
    // The same without a registered worker.
    store.sql("DELETE FROM number7.workers").await;
    accept(&inbox, "job.completed", "job_11").await;
    until(async || handled.events() == 11).await;
    worker.stop().await;
}

/// It was deleted, or lost with a backup.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn what_a_worker_held_is_rescued_although_its_registration_is_gone() {
    let store = Store::postgres().await;
    let (inbox, gate) = (store.open().await, Gate::default());
    let held = Running::start(gate.worker(&inbox).lease(MIN_LEASE));
    for number in 0..3 {
        accept(&inbox, "job.completed", &format!("job_{number}")).await;
        gate.begun().await;
    }
    held.crash().await;
    store.sql("DELETE FROM number7.workers").await;
    let stats = inbox.stats().await.unwrap();
    assert_eq!((stats.running, stats.workers), (3, 0));
    let listed = inbox.list(State::Running, &Filter::new(), None, 2).await.unwrap();
    assert!(listed.entries.len() == 2 && listed.next.is_some());
    assert!(listed.entries.iter().all(|entry| entry.worker_seen().is_none()));
    // Claims of other inboxes must not be rescued here.
    let others = inbox.named("other").unwrap();
    let other = Running::start(Handled::default().worker(&others).lease(MIN_LEASE));
    let handled = Handled::default();
    let begun = Instant::now();
    let worker = Running::start(handled.worker(&inbox).lease(MIN_LEASE));
    until(async || handled.events() == 3).await;
    assert!(begun.elapsed() < MIN_LEASE * 6, "{:?}", begun.elapsed());
    let entry = inbox.show("job.completed:job_0").await.unwrap().unwrap();
    assert!(entry.error().contains("the lease of its worker expired"), "{entry:?}");
    worker.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn a_lease_lasts_to_its_last_moment() {
    const LEASE: Duration = Duration::from_millis(4_900);
    let store = Store::postgres().await;
    let (inbox, gate) = (store.open().await, Gate::default());
    let held = Running::start(gate.worker(&inbox).lease(LEASE));
    accept(&inbox, "job.completed", "job_1").await;
    gate.begun().await;
    held.crash().await;
    let mut connection = postgres(&store.url()).await;
    let dead: String =
        query_scalar("SELECT name FROM number7.workers").fetch_one(&mut connection).await.unwrap();
    let handled = Handled::default();
    let worker = Running::start(handled.worker(&inbox).lease(LEASE));
    // It looks for dead workers after the first lease, about every second.
    let begun = Instant::now();
    while begun.elapsed() < LEASE * 2 {
        let almost_over = format!(
            "UPDATE number7.workers SET last_seen = now() - interval '4.3 seconds' WHERE name = '{dead}';
            UPDATE number7.events SET claimed_at = now() - interval '4.3 seconds'
            WHERE claimed_by = '{dead}'"
        );
        execute(&mut connection, &almost_over).await;
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(handled.events(), 0, "rescued before the lease was over");
    until(async || handled.events() == 1).await;
    worker.stop().await;
}

/// Somebody has written data that this version does not understand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn malformed_errors_stop_no_worker() {
    const GARBAGE: [&str; 4] = ["\"oops\"", "[[\"oops\"]]", "{\"at\": 1}", "null"];
    let store = Store::postgres().await;
    let (inbox, gate) = (store.open().await, Gate::default());
    let spoil = async || {
        for (number, errors) in GARBAGE.iter().enumerate() {
            let spoil = format!(
                "UPDATE number7.events SET errors = '{errors}' WHERE key LIKE '%\\_{number}'"
            );
            store.sql(&spoil).await;
        }
    };
    // A dying worker has claimed some, some are dead, and some wait.
    let held = Running::start(gate.worker(&inbox).lease(MIN_LEASE).concurrency(100));
    for number in 0..GARBAGE.len() {
        accept(&inbox, "job.completed", &format!("held_{number}")).await;
        gate.begun().await;
    }
    held.crash().await;
    let fails = inbox.worker(async |_: AcceptedEvent| Err::<(), _>("always"));
    let fails = Running::start(fails.attempts(1));
    for number in 0..GARBAGE.len() {
        accept(&inbox, "job.completed", &format!("dead_{number}")).await;
    }
    until(async || inbox.stats().await.unwrap().dead == 4).await;
    fails.stop().await;
    for number in 0..GARBAGE.len() {
        accept(&inbox, "job.completed", &format!("waits_{number}")).await;
    }
    accept(&inbox, "job.completed", "good").await;
    spoil().await;

    assert_eq!(inbox.list(State::Dead, &Filter::new(), None, 9).await.unwrap().entries.len(), 4);
    assert_eq!(inbox.discard("job.completed:dead_0").await.unwrap().events, 1);
    assert_eq!(inbox.requeue(Filter::new()).await.unwrap().events, 3);
    spoil().await;
    let handled = Handled::default();
    let worker = Running::start(handled.worker(&inbox).lease(MIN_LEASE));
    until(async || handled.events() == 4 + 3 + 4 + 1).await;
    worker.stop().await;
}

/// Idle workers look for events as fast as the store answers. They use no connection of the lease renewal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn many_idle_workers_on_a_slow_network_renew_their_leases() {
    const WORKERS: usize = 150;
    let server = block_in_place(|| Server::start(Engine::Postgres));
    let proxy = Proxy::start(server.port()).await;
    let store = Store::postgres_on(&server, proxy.port()).await;
    let inbox = store.open().await;
    let handled = Handled::default();
    let inboxes: Vec<_> =
        (0..WORKERS).map(|number| inbox.named(&format!("n{number}")).unwrap()).collect();
    // A round trip takes ten milliseconds.
    proxy.set(Network::Slow(Duration::from_millis(5)));
    let workers: Vec<_> =
        inboxes.iter().map(|inbox| Running::start(handled.worker(inbox))).collect();
    let mut direct = postgres(&server.url(server.port(), &name_of(&store))).await;
    let registered = "SELECT count(*) FROM number7.workers";
    until(async || count(&mut direct, registered).await == WORKERS as i64).await;
    let (begun, mut longest) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(12) {
        let silent = "SELECT (1000 * extract(epoch FROM now() - min(last_seen)))::bigint
            FROM number7.workers";
        longest = longest.max(count(&mut direct, silent).await);
        sleep(Duration::from_millis(200)).await;
    }
    println!("the longest silence was {longest} ms");
    // A heartbeat is sent every 5 seconds. After a failure, it would be repeated 3.5 seconds later.
    assert!(longest < 8_000, "a worker was silent for {longest} ms");
    proxy.set(Network::Good);
    for worker in workers {
        worker.stop().await;
    }
}

/// An idle worker asks for the events and the expected jobs of all accounts at once, because they are in one inbox.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn an_idle_worker_asks_no_more_for_many_accounts() {
    // Otherwise its transactions would count.
    let args = ["-c", "autovacuum=off"];
    let server = block_in_place(|| Server::start_with(Engine::Postgres, &args));
    let mut receivers = Vec::new();
    for accounts in [1, 500] {
        let store = Store::postgres_on(&server, server.port()).await;
        let (inbox, handled) = (store.open().await, Handled::default());
        for number in 0..accounts {
            let name = format!("account_{number}");
            let account = Account::new(&name).unwrap();
            inbox.account(&account).expect_job("job_2", Duration::from_secs(600)).await.unwrap();
            inbox.accept(&delivery_to(&name, body("job.completed", "job_1"))).await.unwrap();
        }
        let worker = Running::start(handled.worker(&inbox));
        until(async || handled.events() == accounts).await;
        receivers.push((name_of(&store), worker));
    }
    let mut other = postgres(&server.url(server.port(), "postgres")).await;
    let mut count = async || {
        let mut counts = Vec::new();
        for (name, _) in &receivers {
            let transactions = format!(
                "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = '{name}'"
            );
            counts.push(count(&mut other, &transactions).await);
        }
        counts
    };
    // A session may report what it did up to ten seconds later.
    sleep(Duration::from_secs(11)).await;
    let before = count().await;
    sleep(Duration::from_secs(11)).await;
    let after = count().await;
    let [one, many] = [0, 1].map(|receiver| after[receiver] - before[receiver]);
    println!("transactions in 11 s: {one} for one account, {many} for 500");
    assert!(0 < one && many <= one + one / 10 + 5, "{one} for one account, {many} for 500");
    for (_, worker) in receivers {
        worker.stop().await;
    }
}

/// A serverless database sleeps only if it has no requests and no connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn an_inbox_that_sleeps_leaves_its_server_alone() {
    // Otherwise its transactions would count.
    let args = ["-c", "autovacuum=off"];
    let server = block_in_place(|| Server::start_with(Engine::Postgres, &args));
    let store = Store::postgres_on(&server, server.port()).await;
    let inbox = Inbox::options().sleep_after(Duration::from_secs(1));
    let (inbox, handled) = (inbox.open(&store.url()).await.unwrap(), Handled::default());
    let workers = [(); 2].map(|()| {
        let worker = handled.worker(&inbox).lease(MIN_LEASE);
        Running::start(worker.reconcile(async |_| Ok::<_, BoxError>(Fetched::Unknown)))
    });
    // The observer does not count: it is in another database.
    let mut other = postgres(&server.url(server.port(), "postgres")).await;
    let name = name_of(&store);
    let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'");
    let transactions = format!(
        "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = '{name}'"
    );
    for round in 1..=2 {
        accept(&inbox, "job.completed", &format!("job_{round}")).await;
        until(async || handled.events() == round).await;
        until(async || count(&mut other, &sessions).await == 0).await;
        // What a session did is counted at the latest when it ends.
        let asleep = count(&mut other, &transactions).await;
        let begun = Instant::now();
        while begun.elapsed() < 2 * MIN_LEASE {
            assert_eq!(count(&mut other, &sessions).await, 0);
            sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(count(&mut other, &transactions).await, asleep);
    }
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn the_settings_of_opening_limit_connections_and_statements() {
    const LIMIT: Duration = Duration::from_millis(500);
    let store = Store::postgres().await;
    let options = Inbox::options().connections(3).statement_timeout(LIMIT);
    let inbox = options.open(&store.url()).await.unwrap();
    let mut other = postgres(&store.url()).await;
    let sessions = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    join_all((0..50).map(async |job| accept(&inbox, "job.completed", &job.to_string()).await))
        .await;
    // None of them is for workers, because there are no workers.
    assert_eq!(count(&mut other, sessions).await, 3);
    let handled = Handled::default();
    let worker = Running::start(handled.worker(&inbox));
    until(async || handled.events() == 50).await;
    let with_worker = count(&mut other, sessions).await;
    assert!((5..=9).contains(&with_worker), "{with_worker}");
    worker.stop().await;

    execute(&mut other, "BEGIN; LOCK TABLE number7.events").await;
    let begun = Instant::now();
    let refused = try_accept(&inbox, "late").await.unwrap_err().log_text();
    assert!(begun.elapsed() >= LIMIT && begun.elapsed() < LIMIT + SLACK / 2, "{refused}");
    assert!(refused.contains("statement timeout"), "{refused}");
}

/// Answers a client that opens a session in this way, or not at all.
fn pretend(answer: Option<(&'static str, &'static str)>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = move |mut client: TcpStream| -> std::io::Result<()> {
        let mut message = [0; 1024];
        // The client asks for TLS first.
        while let Some((code, text)) = answer {
            match client.read(&mut message)? {
                0 => return Ok(()),
                8 => client.write_all(b"N")?,
                _ => {
                    let fields = format!("SFATAL\0VFATAL\0C{code}\0M{text}\0\0");
                    client.write_all(b"E")?;
                    client.write_all(&u32::try_from(fields.len() + 4).unwrap().to_be_bytes())?;
                    return client.write_all(fields.as_bytes());
                }
            }
        }
        while client.read(&mut message)? > 0 {}
        Ok(())
    };
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            thread::spawn(move || serve(client));
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn a_server_that_lets_nobody_in_is_told_in_time() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let starting = ("57P03", "the database system is starting up");
    let full = ("53300", "sorry, too many clients already");
    let locked = ("28P01", "password authentication failed for user \"user\"");
    for (port, kind, text) in [
        (gone, InboxErrorKind::Unreachable, "refused"),
        (pretend(None), InboxErrorKind::TooSlow, "did not answer in time"),
        (pretend(Some(starting)), InboxErrorKind::Unreachable, starting.1),
        (pretend(Some(full)), InboxErrorKind::Unreachable, "too many connections"),
        (pretend(Some(locked)), InboxErrorKind::Refused, locked.1),
    ] {
        let url = format!("postgres://user:hush-hush@127.0.0.1:{port}/inbox");
        for existing in [false, true] {
            let begun = Instant::now();
            let opened = async {
                if existing { Inbox::open_existing(&url).await } else { Inbox::open(&url).await }
            };
            let opened = timeout(PATIENCE, opened).await.unwrap();
            let error = opened.unwrap_err();
            assert!(begun.elapsed() < Duration::from_secs(5) + SLACK, "{:?}", begun.elapsed());
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(text), "{error}");
            assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_in_no_error() {
    for url in [
        "postgres://user:hush-hush@127.0.0.1:port/inbox",
        "postgres://user:hush-hush@127.0.0.1:99999/inbox",
        "postgres://user:hush-hush@[127.0.0.1/inbox",
        "postgres://user:hush-hush@127.0.0.1/inbox?sslmode=hush-hush",
        "postgres://user:hush-hush@127.0.0.1/inbox?statement-cache-capacity=hush-hush",
        "postgres://user:hush-hush@/inbox?host=/hush-hush",
        "postgres://user:hush#hush@127.0.0.1/inbox",
        "postgres://user:hush/hush@127.0.0.1/inbox",
        "postgres://user:hush%GGhush@127.0.0.1:1/inbox",
        "postgres://user:hush%FFhush@127.0.0.1:1/inbox",
        "user:hush-hush@127.0.0.1",
    ] {
        let error = Inbox::postgres(url).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hush"), "{url}: {error}");
    }
}

/// The server accepts no more sessions while others use them all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn too_many_connections_are_told_and_end() {
    let args = ["-c", "max_connections=8", "-c", "superuser_reserved_connections=0"];
    let server = block_in_place(|| Server::start_with(Engine::Postgres, &args));
    let store = Store::postgres_on(&server, server.port()).await;
    let inbox = store.open().await;
    let mut others = Vec::new();
    while others.len() < 8 {
        match PgConnection::connect(&store.url()).await {
            Ok(connection) => others.push(connection),
            // The sessions of the opening may not have ended yet.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
    let refused = try_accept(&inbox, "job_1").await.unwrap_err().log_text();
    assert!(refused.contains("too many connections"), "{refused}");
    let refused = Inbox::open(&store.url()).await.unwrap_err();
    assert!(refused.to_string().contains("too many connections"), "{refused}");
    drop(others);
    until(async || try_accept(&inbox, "job_1").await.is_ok()).await;
}

/// It is sent again on another connection, and the store recognizes the event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn an_acceptance_whose_answer_is_lost_is_repeated() {
    let server = block_in_place(|| Server::start(Engine::Postgres));
    let proxy = Proxy::start(server.port()).await;
    let store = Store::postgres_on(&server, proxy.port()).await;
    let inbox = store.open().await;
    accept(&inbox, "job.completed", "job_1").await;
    proxy.set(Network::Unanswered("job.completed:job_2"));
    assert_eq!(accept(&inbox, "job.completed", "job_2").await, Acceptance::New);
    assert!(proxy.has_lost_an_answer());
    proxy.set(Network::Good);
    assert_eq!(accept(&inbox, "job.completed", "job_2").await, Acceptance::Duplicate);
    assert_eq!(inbox.stats().await.unwrap().ready, 2);
}

/// If the server ends idle sessions, no delivery is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn sessions_that_were_ended_cost_no_delivery() {
    let store = Store::postgres().await;
    let inbox = store.open().await;
    let mut admin = postgres(&store.url()).await;
    // They are idle for long, or were used just before.
    for (round, idle) in [1_100, 0, 1_100, 0].into_iter().enumerate() {
        let deliveries = (0..20).map(async |number| {
            accept(&inbox, "job.completed", &format!("job_{round}_{number}")).await
        });
        join_all(deliveries).await;
        sleep(Duration::from_millis(idle)).await;
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        execute(&mut admin, end).await;
    }
}
