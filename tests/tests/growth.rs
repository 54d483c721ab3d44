//! Among many finished events, a store finds everything by an index.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use number7_inbox::{AcceptedEvent, BoxError, Fetched, Filter, Inbox, JobId, MIN_LEASE, State};
use number7_tests::{
    engine::{Engine, Server},
    running::{Handled, Running, accept, accept_again, dead_letters, until},
    store::{Store, fill},
};
use tokio::task::block_in_place;

/// PostgreSQL logs the plan of every statement, with the number of rows that it read. The tests decide what it
/// knows about the tables.
const SETTINGS: [&str; 10] = [
    "-c",
    "session_preload_libraries=auto_explain",
    "-c",
    "auto_explain.log_min_duration=0",
    "-c",
    "auto_explain.log_analyze=on",
    "-c",
    "auto_explain.log_timing=off",
    "-c",
    "autovacuum=off",
];

/// So many that no plan may read all of them, but few enough to insert quickly.
const FINISHED: u32 = 20_000;

/// How many rows a step may read: some more than there are unfinished ones.
const FEW: u64 = 1_000;

/// Statements whose plans must have been logged.
const STATEMENTS: [&str; 12] = [
    "INSERT INTO number7.events",
    "INSERT INTO number7.conflicts",
    "claimed AS (",
    "claimed_at < now() - $2",
    "DELETE FROM number7.events",
    "DO UPDATE SET last_seen = now()",
    "AS worker_seen",
    "attempt = attempt + 2",
    "INSERT INTO number7.expected_jobs",
    "AS is_newly_overdue",
    "SET fetches = fetches + 1",
    "AS is_given_up",
];

/// The same number of jobs that are not due.
async fn expect_many(store: &Store) {
    let sql = format!(
        "INSERT INTO number7.expected_jobs (inbox, job, completed_key, failed_key, due_at, look_up_at)
        SELECT '', n, 'job.completed:' || n, 'job.failed:' || n, now() + interval '1 day',
            now() + interval '1 hour'
        FROM generate_series(1, {FINISHED}) AS n"
    );
    store.sql(&sql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn postgres_goes_through_no_finished_events() {
    few_rows_are_gone_through(async |store, _| {
        fill(store, FINISHED).await;
        expect_many(store).await;
        store.sql("ANALYZE number7.events; ANALYZE number7.expected_jobs").await;
    })
    .await;
}

/// The statistics of the tables, and the server's plans, are from when the tables were empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn postgres_goes_through_no_finished_events_that_it_does_not_know() {
    few_rows_are_gone_through(async |store, inbox| {
        store.sql("VACUUM ANALYZE number7.events").await;
        store.sql("VACUUM ANALYZE number7.expected_jobs").await;
        let handled = Handled::default();
        let worker = Running::start(handled.worker(inbox));
        // From its sixth execution on, a statement keeps its plan.
        for number in 0..30 {
            accept(inbox, "job.completed", &format!("job_before_{number}")).await;
            until(async || handled.events() == number + 1).await;
        }
        worker.stop().await;
        fill(store, FINISHED).await;
        expect_many(store).await;
    })
    .await;
}

/// After the tables were filled in this way.
async fn few_rows_are_gone_through(fill: impl AsyncFnOnce(&Store, &Inbox)) {
    let server = block_in_place(|| Server::start_with(Engine::Postgres, &SETTINGS));
    let store = Store::postgres_on(&server, server.port()).await;
    let inbox = store.open().await;
    fill(&store, &inbox).await;
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
    accept_again(&inbox).await;
    until(async || handled.events() == 200).await;
    until(async || dead_letters(&inbox).await.len() == 100).await;
    assert_eq!(inbox.requeue("job.completed:job_dead_1").await.unwrap().events, 1);
    until(async || {
        let overdue = inbox.overdue(None, 10).await.unwrap().entries;
        overdue.first().is_some_and(|job| job.fetches() > 0)
    })
    .await;
    inbox.list(State::Running, &Filter::new(), None, 10).await.unwrap();
    // It looks for the claims of dead workers after it has seen the store for a lease.
    until(async || server.log()[from..].contains(STATEMENTS[3])).await;
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
