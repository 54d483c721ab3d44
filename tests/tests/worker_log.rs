//! What a worker logs: to which attempt a line belongs, and what is wrong. It is a single test, because a process
//! has one subscriber.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use number7_core::Account;
use number7_inbox::{AcceptedEvent, BoxError, Failure, Inbox, MIN_LEASE};
use number7_tests::{
    running::{PATIENCE, Running, abandon, accept, accept_again, until},
    store::Store,
};
use sqlx::{Connection, SqlitePool};
use tempfile::NamedTempFile;
use tokio::sync::Notify;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_says_which_attempt_it_is_and_what_is_wrong() {
    let log = NamedTempFile::new().unwrap();
    let writer = Arc::new(log.reopen().unwrap());
    tracing_subscriber::fmt().with_ansi(false).with_writer(writer).init();
    every_attempt_has_a_span(from_now_on(&log)).await;
    what_was_not_committed_is_told(from_now_on(&log)).await;
    a_lost_lease_is_told(from_now_on(&log)).await;
    an_outage_is_told_once(from_now_on(&log)).await;
    a_worker_says_when_it_begins_and_what_it_did(from_now_on(&log)).await;
    a_hook_that_panics_is_told(from_now_on(&log)).await;
    a_handler_that_blocks_is_told_once(from_now_on(&log)).await;
    an_acceptance_that_is_abandoned_is_told(from_now_on(&log)).await;
    another_body_is_warned_of(from_now_on(&log)).await;
    each_pause_and_its_end_are_told(from_now_on(&log)).await;
}

/// Reads what is logged after this call.
fn from_now_on(log: &NamedTempFile) -> impl Fn() -> String {
    let read = move || fs::read_to_string(log).unwrap();
    let start = read().len();
    move || read().split_off(start)
}

/// One line has the text: a warning about the first attempt at the event.
#[track_caller]
fn assert_warned_once(log: &str, text: &str, key: &str) {
    let told: Vec<_> = log.lines().filter(|line| line.contains(text)).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("WARN"), "{log}");
    assert!(told[0].contains(&format!("key=\"{key}\" attempt=1")), "{log}");
}

async fn every_attempt_has_a_span(log: impl Fn() -> String) {
    let store = Store::sqlite();
    let inbox = store.open().await;
    accept(&inbox, "job.failed", "job_1").await;
    let worker = inbox.worker(async |event: AcceptedEvent| -> Result<(), BoxError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        tracing::info!("working");
        if event.attempt() == 1 { Err("the first time".into()) } else { Ok(()) }
    });
    let worker = worker.backoff(Duration::ZERO, Duration::ZERO);
    worker.run_until(store.settled(PATIENCE)).await;

    let log = log();
    for (attempt, text) in [(1, "working"), (1, "the first time"), (2, "working")] {
        let span = format!(
            "attempt{{key=\"job.failed:job_1\" attempt={attempt} event=\"job.failed\" job=\"job_1\"}}"
        );
        let found = log.lines().any(|line| line.contains(&span) && line.contains(text));
        assert!(found, "{span} {text} is not in\n{log}");
    }
}

async fn what_was_not_committed_is_told(log: impl Fn() -> String) {
    let store = Store::sqlite();
    drop(store.open().await);
    let pool = SqlitePool::connect(&store.url()).await.unwrap();
    let inbox = Inbox::sqlite_of(&pool).await.unwrap();
    for job in ["forgets", "never", "commits"] {
        accept(&inbox, "job.completed", job).await;
    }
    let worker = inbox.worker(move |event: AcceptedEvent| {
        let pool = pool.clone();
        async move {
            let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
            event.finish_in(&mut transaction).await?;
            let forgets = event.attempt() == 1 && event.key().ends_with("forgets");
            if !forgets && !event.key().ends_with("never") {
                transaction.commit().await?;
            }
            Ok::<_, BoxError>(())
        }
    });
    let worker = worker.attempts(2).backoff(Duration::ZERO, Duration::ZERO);
    worker.run_until(store.settled(PATIENCE)).await;

    let log = log();
    let of = |job: &str| -> Vec<_> {
        log.lines().filter(|line| line.contains(job) && line.contains("did not commit")).collect()
    };
    let repeated = "WARN number7: an attempt failed and will be repeated: ";
    let [once] = of("forgets")[..] else { panic!("{log}") };
    assert!(once.contains(repeated) && once.contains("attempt=1"), "{once}");
    let [first, last] = of("never")[..] else { panic!("{log}") };
    assert!(first.contains(repeated) && first.contains("attempt=1"), "{first}");
    let dead = "ERROR number7: the last attempt failed; the event is a dead letter: ";
    assert!(last.contains(dead) && last.contains("attempt=2"), "{last}");
}

async fn a_lost_lease_is_told(log: impl Fn() -> String) {
    static LATE: Notify = Notify::const_new();
    let store = Store::sqlite();
    let inbox = store.open().await;
    accept(&inbox, "job.completed", "late").await;
    let worker = inbox.worker(async |event: AcceptedEvent| {
        if event.attempt() == 1 {
            LATE.notified().await;
        }
        Ok::<_, BoxError>(())
    });
    let worker = Running::start(worker);
    until(async || inbox.stats().await.unwrap().running == 1).await;
    store.take_over().await;
    store.settled(PATIENCE).await;
    LATE.notify_one();
    until(async || log().contains("its end does not count")).await;
    worker.stop().await;
    for text in ["was lost while its handler ran", "was lost, and its end does not count"] {
        assert_warned_once(&log(), text, "job.completed:late");
    }
}

async fn an_outage_is_told_once(log: impl Fn() -> String) {
    const FAILS: [&str; 2] =
        ["WARN number7: the store fails a worker", "could not renew the lease"];
    const WORKS: [&str; 2] = ["the store works again", "the lease is renewed again"];
    let store = Store::sqlite();
    let inbox = store.open().await;
    static ENDS: Notify = Notify::const_new();
    accept(&inbox, "job.completed", "ends_in_an_outage").await;
    let worker = inbox.worker(async |_| {
        ENDS.notified().await;
        Ok::<_, BoxError>(())
    });
    let worker = Running::start(worker.lease(MIN_LEASE));
    until(async || inbox.stats().await.unwrap().running == 1).await;
    let mut other = store.sqlite_connection().await;
    let lock = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    ENDS.notify_one();
    let all = |texts: [&str; 2]| texts.iter().all(|text| log().contains(text));
    until(async || all(FAILS)).await;
    assert!(!WORKS.iter().any(|text| log().contains(text)), "{}", log());
    lock.rollback().await.unwrap();
    until(async || all(WORKS)).await;
    worker.stop().await;
    for text in FAILS.iter().chain(&WORKS) {
        assert_eq!(log().matches(text).count(), 1, "{text}: {}", log());
    }
}

async fn a_worker_says_when_it_begins_and_what_it_did(log: impl Fn() -> String) {
    let store = Store::sqlite();
    let inbox = store.open().await.named("staging").unwrap();
    for job in ["done", "dead", "snoozed"] {
        accept(&inbox, "job.completed", job).await;
    }
    let worker = inbox.worker(async |event: AcceptedEvent| match event.key() {
        "job.completed:done" => Ok(()),
        "job.completed:dead" => Err("an error".into()),
        _ if event.attempt() == 1 && !SNOOZED.swap(true, Ordering::Relaxed) => {
            Err(Failure::snooze(Duration::from_secs(1), "the vendor said 429"))
        }
        _ => Ok(()),
    });
    static SNOOZED: AtomicBool = AtomicBool::new(false);
    let worker = worker.attempts(2).backoff(Duration::ZERO, Duration::ZERO);
    worker.run_until(store.settled(PATIENCE)).await;
    let log = log();
    let of = |text: &str| {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(text)).collect();
        let [line] = lines[..] else { panic!("{text} is not in one line of {log}") };
        line.to_owned()
    };
    let inbox = "INFO number7: a worker begins inbox=\"sqlite, staging\"";
    assert!(of("a worker begins").contains(inbox), "{log}");
    let did = "done=2 failed=1 snoozed=1 dead=1";
    assert!(of("a worker has stopped").contains(did), "{log}");
    assert!(of("the handler snoozes an event: the vendor said 429").contains("INFO"), "{log}");
}

async fn a_hook_that_panics_is_told(log: impl Fn() -> String) {
    let store = Store::sqlite();
    let inbox = store.open().await;
    accept(&inbox, "job.completed", "dead").await;
    let worker = inbox.worker(async |_| Err::<(), _>("an error")).attempts(1);
    let worker = worker.on_dead_letter(|_| -> std::future::Ready<()> { panic!("no pager") });
    worker.run_until(store.settled(PATIENCE)).await;
    let failed = "ERROR number7: the hook for dead letters failed: panicked: no pager \
        key=\"job.completed:dead\"";
    assert_eq!(log().matches(failed).count(), 1, "{}", log());
}

async fn a_handler_that_blocks_is_told_once(log: impl Fn() -> String) {
    let store = Store::sqlite();
    let inbox = store.open().await;
    accept(&inbox, "job.completed", "blocks").await;
    let heartbeat = MIN_LEASE / 4;
    let worker = inbox.worker(move |_| async move {
        std::thread::sleep(heartbeat * 4);
        Ok::<_, BoxError>(())
    });
    worker.lease(MIN_LEASE).run_until(store.settled(PATIENCE)).await;
    assert_warned_once(&log(), "a handler blocks its thread", "job.completed:blocks");
}

async fn another_body_is_warned_of(log: impl Fn() -> String) {
    accept_again(&Inbox::memory()).await;
    let text = "WARN number7: an event was signed again with other bytes";
    let told: Vec<_> =
        log().lines().filter(|line| line.contains(text)).map(str::to_owned).collect();
    assert!(told.len() == 1 && told[0].contains(r#"key="job.completed:job_1""#), "{}", log());
}

async fn an_acceptance_that_is_abandoned_is_told(log: impl Fn() -> String) {
    let store = Store::sqlite();
    let inbox = store.open().await;
    abandon(&store, &inbox).await;
    let told = "WARN number7: an acceptance is abandoned before the store has answered";
    assert_eq!(log().matches(told).count(), 1, "{}", log());
}

/// Also if accounts were paused before, and others are still paused.
async fn each_pause_and_its_end_are_told(log: impl Fn() -> String) {
    let store = Store::sqlite();
    let inbox = store.open().await;
    let worker = inbox.worker(async |_: AcceptedEvent| Ok::<_, BoxError>(()));
    let worker = Running::start(worker);
    let account = |name: &str| inbox.account(&Account::new(name).unwrap());
    let says = async |line: &str| until(async || log().contains(line)).await;
    account("acme").pause("", "", None).await.unwrap();
    says(r#"accounts=["acme"] others=0"#).await;
    account("globex").pause("", "", None).await.unwrap();
    account("acme").resume().await.unwrap();
    says(r#"accounts=["globex"] others=0"#).await;
    account("globex").resume().await.unwrap();
    until(async || log().matches("accounts are no longer paused").count() == 2).await;
    for number in 0..12 {
        account(&format!("account-{number}")).pause("", "", None).await.unwrap();
    }
    until(async || log().matches("accounts are paused").count() >= 3).await;
    inbox.pause("ops", "maintenance", None).await.unwrap();
    says(r#"by="ops" why="maintenance""#).await;
    inbox.resume().await.unwrap();
    says("the inbox is no longer paused").await;
    worker.stop().await;
}
