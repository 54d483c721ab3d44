//! What a store finds among many finished events, it finds by an index.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use number7_inbox::{AcceptedEvent, BoxError, Fetched, Filter, JobId, MIN_LEASE, State};
use number7_tests::{
    engine::{Engine, Server},
    running::{Handled, Running, accept, dead_letters, until},
    store::{Store, fill},
};
use tokio::task::block_in_place;

/// PostgreSQL logs the plan of every statement, with how many rows it went through.
const EXPLAIN: [&str; 8] = [
    "-c",
    "session_preload_libraries=auto_explain",
    "-c",
    "auto_explain.log_min_duration=0",
    "-c",
    "auto_explain.log_analyze=on",
    "-c",
    "auto_explain.log_timing=off",
];

/// So many that no plan may go through them, and that they are there in a moment.
const FINISHED: u32 = 20_000;

/// How many rows a step may go through: some more than there are others.
const FEW: u64 = 1_000;

/// What has to be among the statements whose plans were seen.
const STATEMENTS: [&str; 11] = [
    "INSERT INTO apalis.jobs",
    "FOR UPDATE SKIP LOCKED",
    "AND starts_with(lock_by",
    "DELETE FROM apalis.jobs",
    "SELECT micros",
    "attempts = attempts + 2",
    "INSERT INTO apalis.number7_expected",
    "WITH found AS",
    "SET takes",
    "SELECT job, (extract",
    "lock_by > '' AND job_type || '' = $1",
];

/// As many jobs that are not due.
async fn expect_many(store: &Store) {
    let sql = format!(
        "INSERT INTO apalis.number7_expected (queue, job, completed, failed, due_at, look_up_at)
        SELECT 'number7', n, 'job.completed:' || n, 'job.failed:' || n, now() + interval '1 day',
            now() + interval '1 hour'
        FROM generate_series(1, {FINISHED}) AS n"
    );
    store.sql(&sql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn postgres_goes_through_no_finished_events() {
    let server = block_in_place(|| Server::start_with(Engine::Postgres, &EXPLAIN));
    let store = Store::postgres_on(&server, server.port()).await;
    let inbox = store.open().await;
    fill(&store, FINISHED).await;
    expect_many(&store).await;
    store.sql("ANALYZE apalis.jobs; ANALYZE apalis.number7_expected").await;
    let from = server.log().len();
    let handled = Handled::default();
    let counted = handled.clone();
    let worker = inbox.worker(move |event: AcceptedEvent| {
        counted.count(&event);
        async move { if event.key().contains("dead") { Err("dead") } else { Ok(()) } }
    });
    let worker = worker.reconcile(async |_: JobId| Ok::<_, BoxError>(Fetched::StillRunning));
    let worker = Running::start(worker.attempts(1).lease(MIN_LEASE));
    inbox.expect_job("lost", Duration::ZERO).await.unwrap();
    for number in 0..100 {
        accept(&inbox, "job.completed", &format!("job_{number}")).await;
        accept(&inbox, "job.completed", &format!("job_dead_{number}")).await;
    }
    until(async || handled.events() == 200).await;
    until(async || dead_letters(&inbox).await.len() == 100).await;
    assert!(inbox.requeue("job.completed:job_dead_1").await.unwrap());
    until(async || {
        let overdue = inbox.overdue(None, 10).await.unwrap().entries;
        overdue.first().is_some_and(|job| job.fetches() > 0)
    })
    .await;
    inbox.list(State::Running, &Filter::new(), None, 10).await.unwrap();
    // It looks for what the dead have left after it has seen the store for a lease.
    until(async || server.log()[from..].contains(STATEMENTS[2])).await;
    worker.stop().await;

    let log = server.log().split_off(from);
    STATEMENTS.iter().for_each(|statement| assert!(log.contains(statement), "{statement}"));
    for line in log.lines().filter(|line| line.contains("ctual rows=") || line.contains("Removed"))
    {
        let rows = line.rsplit_once("ctual rows=").or(line.rsplit_once(": ")).unwrap().1;
        let rows: String = rows.chars().take_while(char::is_ascii_digit).collect();
        assert!(rows.parse::<u64>().unwrap() < FEW, "{line}");
    }
}
