//! What may happen to the file of an inbox, and to its users, while a receiver runs: it is deleted, replaced or full, somebody
//! reads it for long, and threads that use it are blocked.
#![allow(clippy::unwrap_used)]

use std::{
    fs, io,
    path::PathBuf,
    pin::pin,
    sync::{OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use futures_util::poll;
use number7_core::{Acceptance, Rejection};
use number7_inbox::{Filter, Inbox, InboxErrorKind, State};
use number7_tests::{
    body, delivery,
    receiver::{FRAMEWORKS, Receiver, Setup},
    running::{Handled, PATIENCE, Running, accept, until},
    sign,
    store::Store,
    verifier,
};
use sqlx::{Connection, Executor, Row};
use tokio::{
    runtime::{Builder, Runtime},
    task::{block_in_place, yield_now},
    time::sleep,
};

/// How soon everything must work again after a problem, according to the README, and how much later on a busy machine.
const BACK_IN: Duration = Duration::from_secs(10 + 10);

/// The path of a file in the store's folder, by its suffix.
fn path(store: &Store, suffix: &str) -> PathBuf {
    let Store::Sqlite(folder) = store else { unreachable!() };
    folder.path().join(format!("inbox.db{suffix}"))
}

async fn try_accept(inbox: &Inbox, job: &str) -> Result<Acceptance, Rejection> {
    inbox.accept(&delivery("job.completed", job)).await
}

/// Like the vendor: again and again, until it is accepted.
async fn accepted_at_last(inbox: &Inbox, job: &str) -> Acceptance {
    let begun = Instant::now();
    loop {
        match try_accept(inbox, job).await {
            Ok(accepted) => return accepted,
            Err(refused) => assert!(begun.elapsed() < BACK_IN, "{}", refused.log_text()),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

static SHARED: OnceLock<Inbox> = OnceLock::new();

/// Like tests, and the workers of actix-web, with an inbox in a static.
#[test]
fn an_inbox_outlives_the_runtimes_that_use_it() {
    const RUNTIMES: usize = 24;
    let store = Store::sqlite();
    let inbox = SHARED.get_or_init(|| current_thread().block_on(store.open()));
    let accept = |job: String| {
        let runtime = current_thread();
        let accepted = runtime.block_on(try_accept(inbox, &job));
        // Another acceptance has begun, and is not finished when the runtime ends.
        runtime.block_on(async { _ = poll!(pin!(try_accept(inbox, "job_left"))) });
        accepted
    };
    for number in 0..RUNTIMES {
        assert_eq!(accept(format!("job_{number}")).unwrap(), Acceptance::New);
    }
    thread::scope(|scope| {
        for number in 0..RUNTIMES {
            scope.spawn(move || {
                let job = format!("job_parallel_{number}");
                assert_eq!(accept(job).unwrap(), Acceptance::New);
            });
        }
    });
}

/// A blocked thread began the group that also contains the events of others.
#[test]
fn a_blocked_thread_holds_nobody_up() {
    let store = Store::sqlite();
    let inbox = &current_thread().block_on(store.open());
    let (end, ended) = mpsc::channel::<()>();
    let (blocks, blocked) = mpsc::channel();
    thread::scope(|scope| {
        let blocking = scope.spawn(move || {
            current_thread().block_on(async {
                let mut accepting = pin!(try_accept(inbox, "job_blocked"));
                let (mut pinging, mut counting) = (pin!(inbox.ping()), pin!(inbox.stats()));
                assert!(poll!(&mut accepting).is_pending());
                assert!(poll!(&mut pinging).is_pending() && poll!(&mut counting).is_pending());
                // The work that this runtime must drive has begun.
                yield_now().await;
                blocks.send(()).unwrap();
                _ = ended.recv_timeout(PATIENCE);
                pinging.await.unwrap();
                counting.await.unwrap();
                accepting.await
            })
        });
        blocked.recv().unwrap();
        let others: Vec<_> = (0..8)
            .map(|number| {
                scope.spawn(move || {
                    let job = format!("job_{number}");
                    current_thread().block_on(try_accept(inbox, &job))
                })
            })
            .collect();
        for other in others {
            assert_eq!(other.join().unwrap().unwrap(), Acceptance::New);
        }
        drop(end);
        assert_eq!(blocking.join().unwrap().unwrap(), Acceptance::New);
    });
}

/// From now on, limits the files of a receiver to this many bytes.
#[cfg(target_os = "linux")]
fn limit(receiver: &Receiver, bytes: &str) {
    let pid = receiver.id().to_string();
    let limit = format!("--fsize={bytes}:unlimited");
    let set = std::process::Command::new("prlimit").args(["--pid", &pid, &limit]).status();
    assert!(set.unwrap().success());
}

/// The limit of the processes stands in for a full disk: each write fails in the middle of a transaction.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_receivers_go_on_when_a_full_disk_has_room_again() {
    let (store, folder) = (Store::sqlite(), tempfile::tempdir().unwrap());
    let program = env!("CARGO_BIN_EXE_inbox-receiver");
    let setups = FRAMEWORKS.map(|framework| Setup::new(program, &store, framework, folder.path()));
    let deaf = ["sh", "-c", r#"trap "" XFSZ; exec "$0" "$@""#];
    let receivers =
        setups.each_ref().map(|setup| block_in_place(|| setup.start_under(&deaf, "never")));
    let mut accepted = Vec::new();
    let mut deliver = |receiver: &Receiver| {
        let job = format!("job_{}", accepted.len());
        let status = block_in_place(|| receiver.deliver(&body("job.completed", &job)).unwrap());
        if status == 200 {
            accepted.push(format!("job.completed:{job}"));
        }
        status == 200
    };
    for receiver in &receivers {
        assert!((0..20).all(|_| deliver(receiver)));
    }
    // While events are running.
    receivers.iter().for_each(|receiver| limit(receiver, "0"));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        assert!(!receivers.iter().any(&mut deliver), "it is not full");
        sleep(Duration::from_millis(50)).await;
    }
    receivers.iter().for_each(|receiver| limit(receiver, "unlimited"));
    let begun = Instant::now();
    for receiver in &receivers {
        while !deliver(receiver) {
            assert!(begun.elapsed() < BACK_IN, "a receiver still refuses");
            sleep(Duration::from_millis(50)).await;
        }
        assert!((0..20).all(|_| deliver(receiver)));
    }
    store.settled(PATIENCE).await;
    drop(receivers);
    let mut effects = setups[0].effects();
    effects.extend(setups[1].effects());
    let lost: Vec<_> = accepted.iter().filter(|key| !effects.contains_key(*key)).collect();
    assert!(lost.is_empty(), "accepted and not handled: {lost:?}");
}

/// The keys that are now stored at the path, read by a connection that does not belong to the inbox.
async fn keys(store: &Store) -> Vec<String> {
    let mut connection = store.sqlite_connection().await;
    let rows = connection.fetch_all("SELECT key FROM number7_events ORDER BY id").await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Deletes or replaces a file under an inbox and a worker. Returns what is stored then.
async fn while_it_is_open(change: impl AsyncFn(&Store)) -> Vec<String> {
    let (store, handled) = (Store::sqlite(), Handled::default());
    let inbox = store.open().await;
    let worker = Running::start(handled.worker(&inbox));
    accept(&inbox, "job.completed", "job_before").await;
    store.settled(PATIENCE).await;
    change(&store).await;
    // Everything that is confirmed from now on is in the file at the path.
    let mut refused = None;
    for number in 0..20 {
        let job = format!("job_{number}");
        match try_accept(&inbox, &job).await {
            Ok(accepted) => assert_eq!(accepted, Acceptance::New),
            Err(error) => {
                assert!(refused.is_none(), "{error}");
                let reason = error.log_text();
                assert!(reason.contains("deleted or replaced"), "{reason}");
                refused = Some(job);
            }
        }
    }
    if let Some(job) = &refused {
        assert_eq!(accepted_at_last(&inbox, job).await, Acceptance::New);
    }
    until(async || handled.events() == 21).await;
    inbox.ping().await.unwrap();
    worker.stop().await;
    drop(inbox);
    keys(&store).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_deleted_is_made_again() {
    let stored = while_it_is_open(async |store| fs::remove_file(path(store, "")).unwrap()).await;
    assert_eq!(stored.len(), 20);
    let delete_all = while_it_is_open(async |store| {
        for suffix in ["", "-wal", "-shm", "-turn"] {
            fs::remove_file(path(store, suffix)).unwrap();
        }
    });
    assert_eq!(delete_all.await.len(), 20);
}

/// Somebody reads the deleted database, so that it cannot be completed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_a_deleted_file_holds_up_nobody() {
    let store = Store::sqlite();
    let inbox = store.open().await;
    accept(&inbox, "job.completed", "job_1").await;
    let mut reader = store.sqlite_connection().await;
    reader.execute("BEGIN; SELECT count(*) FROM number7_events").await.unwrap();
    accept(&inbox, "job.completed", "job_2").await;
    fs::remove_file(path(&store, "")).unwrap();
    assert_eq!(accepted_at_last(&inbox, "job_3").await, Acceptance::New);
    drop(inbox);
    assert_eq!(keys(&store).await, ["job.completed:job_3"]);
}

/// By a backup, beside the `-wal` of the previous file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_replaced_is_the_one_that_is_used() {
    let stored = while_it_is_open(async |store| {
        let backup = Store::sqlite();
        accept(&backup.open().await, "job.completed", "job_of_the_backup").await;
        let mut connection = backup.sqlite_connection().await;
        let own = "UPDATE number7_events SET state = 'done'; PRAGMA wal_checkpoint(TRUNCATE)";
        connection.execute(own).await.unwrap();
        connection.close().await.unwrap();
        fs::rename(path(&backup, ""), path(store, "")).unwrap();
    });
    let stored = stored.await;
    assert_eq!(stored.len(), 21);
    assert_eq!(stored[0], "job.completed:job_of_the_backup");
}

/// Everything committed is copied into the database before the files beside it are closed, so not even a kill loses it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_with_the_files_beside_it() {
    for suffix in ["-wal", "-shm"] {
        let (store, folder) = (Store::sqlite(), tempfile::tempdir().unwrap());
        let program = env!("CARGO_BIN_EXE_inbox-receiver");
        let setups =
            FRAMEWORKS.map(|framework| Setup::new(program, &store, framework, folder.path()));
        let mut receivers = setups.each_ref().map(|setup| block_in_place(|| setup.start("never")));
        let mut accepted = 0;
        for round in 0..3 {
            for number in 0..10 {
                for (framework, receiver) in receivers.iter().enumerate() {
                    let job = body("job.completed", &format!("job_{round}_{number}_{framework}"));
                    let begun = Instant::now();
                    while block_in_place(|| receiver.deliver(&job).unwrap()) != 200 {
                        assert!(begun.elapsed() < BACK_IN, "it is not accepted");
                        sleep(Duration::from_millis(50)).await;
                    }
                    accepted += 1;
                }
            }
            if round < 2 {
                fs::remove_file(path(&store, suffix)).unwrap();
            }
        }
        receivers.iter_mut().for_each(Receiver::kill);
        assert_eq!(keys(&store).await.len(), accepted, "without its {suffix}");
        let mut connection = store.sqlite_connection().await;
        let check = connection.fetch_one("PRAGMA integrity_check").await.unwrap();
        assert_eq!(check.get::<String, _>(0), "ok", "without its {suffix}");
    }
}

/// A health check notices it without a worker or a delivery.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_notices_that_the_file_has_gone() {
    let store = Store::sqlite();
    let inbox = store.open().await;
    inbox.ping().await.unwrap();
    fs::remove_file(path(&store, "")).unwrap();
    let gone = inbox.ping().await.unwrap_err();
    assert_eq!(gone.kind(), InboxErrorKind::Unreachable, "{gone}");
    inbox.ping().await.unwrap();
    // Its folder is also deleted, and created again.
    let Store::Sqlite(folder) = &store else { unreachable!() };
    fs::remove_dir_all(folder.path()).unwrap();
    let begun = Instant::now();
    for _ in 0..20 {
        let gone = inbox.ping().await.unwrap_err();
        assert_eq!(gone.kind(), InboxErrorKind::Unreachable, "{gone}");
    }
    assert!(begun.elapsed() < BACK_IN, "nobody waits for what is not there");
    fs::create_dir(folder.path()).unwrap();
    assert_eq!(accepted_at_last(&inbox, "job_1").await, Acceptance::New);
}

/// While somebody reads, later writes stay in the -wal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wal_is_cut_back_after_a_long_read() {
    const LIMIT: u64 = 9 << 20;
    let store = Store::sqlite();
    let inbox = store.open().await;
    accept(&inbox, "job.completed", "job_1").await;
    let size = || fs::metadata(path(&store, "-wal")).unwrap().len();
    let mut reader = store.sqlite_connection().await;
    reader.execute("BEGIN; SELECT count(*) FROM number7_events").await.unwrap();
    let mut number = 0;
    while size() < 2 * LIMIT {
        let large = body("job.completed", &format!("job_large_{number}"));
        let large = large.replace('}', &format!(r#","note":"{}"}}"#, "x".repeat(60_000)));
        let large = verifier().verify(sign(&large), large).unwrap();
        inbox.accept(&large).await.unwrap();
        number += 1;
    }
    reader.execute("COMMIT").await.unwrap();
    let mut number = 0;
    until(async || {
        accept(&inbox, "job.completed", &format!("job_small_{number}")).await;
        number += 1;
        size() < LIMIT
    })
    .await;
}

/// As sqlx reads it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_can_say_how_the_file_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("sqlite://{}/{name}", folder.path().display());
    let there = |name: &str| folder.path().join(name).exists();
    let missing = Inbox::open(&url("a.db?mode=rw")).await.unwrap_err();
    assert_eq!(missing.kind(), InboxErrorKind::Unreachable, "{missing}");
    Inbox::open(&url("a.db?mode=rwc")).await.unwrap();
    Inbox::open(&url("a.db?mode=rw")).await.unwrap();
    Inbox::open(&url("with%20a%20space.db")).await.unwrap();
    Inbox::open_existing(&url("with%20a%20space.db?mode=rw")).await.unwrap();
    assert!(there("a.db") && there("with a space.db"));
    for (name, reason) in [
        ("b.db?mode=ro", "mode=ro"),
        ("b.db?immutable=1", "immutable"),
        ("b.db?cache=shared", "cache=shared"),
        ("b.db?mode=any", "mode"),
        ("b.db?timeout=5", "timeout"),
    ] {
        let refused = Inbox::open(&url(name)).await.unwrap_err();
        assert_eq!(refused.kind(), InboxErrorKind::Invalid, "{name}: {refused}");
        assert!(refused.to_string().contains(reason), "{name}: {refused}");
    }
    let refused = Inbox::open("sqlite:file:c.db?mode=rwc").await.unwrap_err();
    assert!(refused.to_string().contains("URI"), "{refused}");
    for memory in ["sqlite::memory:", "sqlite://c.db?mode=memory"] {
        let refused = Inbox::open(memory).await.unwrap_err();
        assert!(refused.to_string().contains("in memory"), "{memory}: {refused}");
    }
    let names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains('?')), "{names:?}");
}

/// A page as long as the list is read in steps, so that it holds up nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_list_is_read_in_steps() {
    const EVENTS: usize = 1_200;
    let store = Store::sqlite();
    let inbox = store.open().await;
    number7_tests::store::fill(&store, EVENTS as u32).await;
    let page = inbox.list(State::Done, &Filter::new(), None, u32::MAX).await.unwrap();
    assert!(page.entries.len() == EVENTS && page.next.is_none());
    let page = inbox.list(State::Done, &Filter::new(), None, 700).await.unwrap();
    assert!(page.entries.len() == 700 && page.next.is_some());
}

/// The log is that of the whole process, so this runs in a process of its own.
#[test]
fn the_log_says_once_that_the_file_was_replaced() {
    let (store, folder) = (Store::sqlite(), tempfile::tempdir().unwrap());
    let setup =
        Setup::new(env!("CARGO_BIN_EXE_inbox-receiver"), &store, FRAMEWORKS[0], folder.path());
    let log = folder.path().join("log");
    let to_log = format!(r#"exec "$0" "$@" 2>{}"#, log.display());
    let receiver = setup.start_under(&["sh", "-c", &to_log], "never");
    let lines = |what: &str| {
        let log = fs::read_to_string(&log).unwrap();
        log.lines().filter(|line| line.contains(what)).count()
    };
    assert_eq!(receiver.deliver(&body("job.completed", "job_1")).unwrap(), 200);
    assert_eq!(lines("ERROR") + lines("already exists"), 0);
    fs::remove_file(path(&store, "")).unwrap();
    let begun = Instant::now();
    let statuses: Vec<io::Result<u16>> = (0..20)
        .map(|number| receiver.deliver(&body("job.completed", &format!("job_{number}"))))
        .collect();
    assert!(
        statuses.iter().filter(|status| matches!(status, Ok(200))).count() >= 18,
        "{statuses:?}"
    );
    while lines("the file was opened again") == 0 {
        assert!(begun.elapsed() < PATIENCE);
    }
    assert_eq!(lines("ERROR"), 1);
}

/// Another process opens the database before the receiver checks, so the two cannot be merged.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_says_what_is_lost_with_a_wal() {
    let (store, folder) = (Store::sqlite(), tempfile::tempdir().unwrap());
    let setup =
        Setup::new(env!("CARGO_BIN_EXE_inbox-receiver"), &store, FRAMEWORKS[0], folder.path());
    let log = folder.path().join("log");
    let to_log = format!(r#"exec "$0" "$@" 2>{}"#, log.display());
    let receiver = block_in_place(|| setup.start_under(&["sh", "-c", &to_log], "never"));
    let deliver =
        |job| block_in_place(|| receiver.deliver(&body("job.completed", job)).unwrap()) == 200;
    let signal = |name: &str| {
        let pid = receiver.id().to_string();
        assert!(std::process::Command::new("kill").args([name, &pid]).status().unwrap().success());
    };
    assert!(deliver("job_1"));
    store.settled(PATIENCE).await;
    signal("-STOP");
    for suffix in ["-wal", "-shm"] {
        fs::remove_file(path(&store, suffix)).unwrap();
    }
    let mut other = store.sqlite_connection().await;
    other.execute("CREATE TABLE own (id INTEGER)").await.unwrap();
    signal("-CONT");
    let begun = Instant::now();
    while !deliver("job_2") {
        assert!(begun.elapsed() < BACK_IN, "it is not accepted");
        sleep(Duration::from_millis(50)).await;
    }
    let log = fs::read_to_string(&log).unwrap();
    assert!(log.contains("deleted -wal are lost"), "{log}");
}

/// The statements are those of the page for operators.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_that_is_far_ahead_can_be_reset() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operating.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, reset) = page.split_once("```sql\n").unwrap();
    let (reset, _) = reset.split_once("```").unwrap();
    let (store, handled) = (Store::sqlite(), Handled::default());
    store.open().await;
    let mut connection = store.sqlite_connection().await;
    let ahead = "INSERT INTO number7_clock
        VALUES (1, 1000 * (unixepoch() + 31536000), 1000 * unixepoch())
        ON CONFLICT (id) DO UPDATE SET latest = excluded.latest";
    connection.execute(ahead).await.unwrap();
    accept(&store.open().await, "job.completed", "job_1").await;
    let is_ahead = "SELECT min(due_at) > 1000 * (unixepoch() + 31000000) FROM number7_events";
    assert!(connection.fetch_one(is_ahead).await.unwrap().get::<bool, _>(0));
    connection.execute(sqlx::AssertSqlSafe(reset.to_owned())).await.unwrap();
    let inbox = store.open().await;
    let worker = Running::start(handled.worker(&inbox));
    store.settled(PATIENCE).await;
    worker.stop().await;
    assert_eq!(handled.events(), 1);
    let is_over = "SELECT max(latest, (SELECT max(finished_at) FROM number7_events))
            < 1000 * (unixepoch() + 1)
        FROM number7_clock";
    assert!(connection.fetch_one(is_over).await.unwrap().get::<bool, _>(0));
}

/// An inbox that is dropped leaves nothing behind: its thread and its connections end.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inbox_that_is_dropped_lets_go_of_its_file() {
    let store = Store::sqlite();
    let inbox = store.open().await;
    accept(&inbox, "job.completed", "job_1").await;
    let database = path(&store, "");
    let is_open = || {
        let files = fs::read_dir("/proc/self/fd").unwrap();
        let mut files = files.filter_map(|file| fs::read_link(file.unwrap().path()).ok());
        files.any(|file| file.parent() == database.parent())
    };
    assert!(is_open());
    drop(inbox);
    until(async || !is_open()).await;
}
