//! Jobs whose event never arrives, on every store: this is noticed, and they are fetched once.
//!
//! `NUMBER7_EXPECTED` is how many jobs are expected at once: 1,000,000 for many.
#![allow(clippy::unwrap_used)]

use std::{
    collections::HashMap,
    env,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use number7_core::Acceptance;
use number7_inbox::{
    AcceptedEvent, BoxError, Cursor, Event, Fetched, Inbox, InboxErrorKind, JobId, MIN_LEASE,
    Origin, OverdueJob, RetryHint, Stats, Worker,
};
use number7_tests::{
    body,
    gate::Gate,
    on_every_store,
    running::{Handled, PATIENCE, Running, accept, until},
    store::Store,
};
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

fn finished(job: &JobId) -> Fetched {
    Fetched::Finished(Event::from_json(body("job.completed", job.as_str())).unwrap())
}

/// Fetches soon, and again soon.
fn hasty(worker: Worker) -> Worker {
    worker.fetch_limits(4, 60_000).fetch_backoff(SECOND, SECOND)
}

async fn overdue(inbox: &Inbox, limit: u32) -> Vec<OverdueJob> {
    let (mut jobs, mut cursor) = (Vec::new(), None::<Cursor>);
    loop {
        let page = inbox.overdue(cursor.as_ref(), limit).await.unwrap();
        assert!(page.entries.len() <= limit as usize);
        jobs.extend(page.entries);
        // As it returns from a URL.
        cursor = page.next.map(|cursor| cursor.to_string().parse().unwrap());
        if cursor.is_none() {
            return jobs;
        }
    }
}

fn ids(jobs: &[OverdueJob]) -> Vec<&str> {
    jobs.iter().map(|job| job.job_id().unwrap().as_str()).collect()
}

async fn only_what_does_not_come_in_time_is_overdue(store: Store) {
    let (inbox, begun) = (store.open().await, SystemTime::now());
    accept(&inbox, "job.failed", "came_before").await;
    for (job, within) in [
        ("came_before", SECOND),
        ("comes_in_time", SECOND),
        ("never_comes", SECOND),
        ("job:%\n of any form", SECOND),
        ("is_not_due", HOUR),
        ("is_cancelled", SECOND),
    ] {
        inbox.expect_job(job, within).await.unwrap();
    }
    // The first call counts.
    inbox.expect_job("is_not_due", Duration::ZERO).await.unwrap();
    // Another inbox in the same store has its own jobs.
    inbox.named("other").unwrap().expect_job("of_another_inbox", Duration::ZERO).await.unwrap();
    accept(&inbox, "job.completed", "comes_in_time").await;
    assert!(inbox.cancel_expectation("is_cancelled").await.unwrap());
    assert!(!inbox.cancel_expectation("is_cancelled").await.unwrap());
    // Without a worker nothing is looked up.
    assert_eq!(overdue(&inbox, 10).await, []);

    let worker = Running::start(Handled::default().worker(&inbox));
    until(async || inbox.stats().await.unwrap().overdue == 2).await;
    let jobs = overdue(&inbox, 1).await;
    let mut ids_of_jobs = ids(&jobs);
    ids_of_jobs.sort_unstable();
    assert_eq!(ids_of_jobs, ["job:%\n of any form", "never_comes"]);
    let second = SECOND;
    for job in &jobs {
        let due = job.due_at();
        assert!(due + second > begun + second && due < SystemTime::now() + second, "{due:?}");
        assert_eq!(job.fetches(), 0);
    }
    let Stats { overdue: number, oldest_overdue, .. } = inbox.stats().await.unwrap();
    assert!(number == 2 && oldest_overdue < PATIENCE, "{number} {oldest_overdue:?}");

    // The event arrives late, and its job is no longer listed.
    accept(&inbox, "job.completed", "never_comes").await;
    assert_eq!(ids(&overdue(&inbox, 10).await), ["job:%\n of any form"]);
    // The job was settled, so it is not expected again.
    inbox.expect_job("comes_in_time", Duration::ZERO).await.unwrap();
    sleep(SECOND * 2).await;
    assert_eq!(overdue(&inbox, 10).await.len(), 1);
    assert!(inbox.cancel_expectation("job:%\n of any form").await.unwrap());
    assert_eq!(overdue(&inbox, 10).await, []);
    worker.stop().await;
}

async fn what_is_no_job_and_no_cursor_is_refused(store: Store) {
    let inbox = store.open().await;
    for job in ["", "job\0"] {
        let refused = inbox.expect_job(job, SECOND).await.unwrap_err();
        assert_eq!(refused.kind(), InboxErrorKind::Invalid, "{job:?}");
    }
    for text in ["", "overdue", "overdue:", "overdue:x.job", "due:0.1.x", "overdue:1.job\0"] {
        let refused = inbox.overdue(Some(&text.parse().unwrap()), 1).await.unwrap_err();
        assert_eq!(refused.kind(), InboxErrorKind::Invalid, "{text:?}");
    }
}

/// A lost event is fetched, and handled as if it had arrived. If it arrives after all, it is a duplicate.
async fn what_was_lost_is_fetched_and_handled_once(store: Store) {
    let (inbox, seen) = (store.open().await, Arc::new(Mutex::new(HashMap::new())));
    for job in ["lost", "came"] {
        inbox.expect_job(job, SECOND).await.unwrap();
    }
    accept(&inbox, "job.completed", "came").await;
    let handled = Arc::clone(&seen);
    let worker = inbox.worker(move |event: AcceptedEvent| {
        handled.lock().unwrap().insert(event.key().to_owned(), (event.origin(), event.attempt()));
        async move { event.event().map(drop) }
    });
    let fetched = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::clone(&fetched);
    let worker = worker.reconcile(move |job: JobId| {
        asked.lock().unwrap().push(job.clone());
        async move { Ok::<_, BoxError>(finished(&job)) }
    });
    let worker = Running::start(hasty(worker));
    until(async || inbox.stats().await.unwrap().done == 2).await;
    until(async || inbox.stats().await.unwrap().overdue == 0).await;
    assert_eq!(accept(&inbox, "job.completed", "lost").await, Acceptance::Duplicate);
    sleep(SECOND * 2).await;
    worker.stop().await;
    assert_eq!(*fetched.lock().unwrap(), [JobId::from("lost")]);
    let expected = [
        ("job.completed:lost".to_owned(), (Origin::Fetched, 1)),
        ("job.completed:came".to_owned(), (Origin::Signed, 1)),
    ];
    assert_eq!(*seen.lock().unwrap(), HashMap::from(expected));
    let lost = inbox.show("job.completed:lost").await.unwrap().unwrap();
    assert_eq!(lost.origin(), Origin::Fetched);
    assert_eq!(lost.stored().unwrap().json(), body("job.completed", "lost").as_bytes());
}

/// As when a process dies in the middle of an upload. The vendor cannot be asked about it.
async fn an_upload_that_is_not_bound_to_its_job_is_overdue(store: Store) {
    let (inbox, handled) = (store.open().await, Handled::default());
    for reference in ["bound", "cancelled"] {
        let expected = inbox.expect_upload(reference, SECOND).await.unwrap();
        match reference {
            "bound" => expected.bind("job_7").await.unwrap(),
            _ => expected.cancel().await.unwrap(),
        }
    }
    drop(inbox.expect_upload("C:\\in voice: 7.pdf", SECOND).await.unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let jobs = Arc::clone(&asked);
    let worker = handled.worker(&inbox).reconcile(move |job: JobId| {
        jobs.lock().unwrap().push(job.clone());
        async move { Ok::<_, BoxError>(finished(&job)) }
    });
    let worker = Running::start(hasty(worker));
    until(async || handled.of("job.completed:job_7") == 1).await;
    until(async || overdue(&inbox, 10).await.iter().any(OverdueJob::is_given_up)).await;
    let all = overdue(&inbox, 10).await;
    assert_eq!((all.len(), all[0].upload()), (1, Some("C:\\in voice: 7.pdf")));
    assert_eq!((all[0].job_id(), inbox.stats().await.unwrap().overdue), (None, 1));
    sleep(SECOND * 2).await;
    assert_eq!(*asked.lock().unwrap(), [JobId::from("job_7")]);
    // Somebody found out what happened to it.
    let again = inbox.expect_upload("C:\\in voice: 7.pdf", HOUR).await.unwrap();
    again.bind("job_8").await.unwrap();
    assert_eq!(overdue(&inbox, 10).await, []);
    assert!(inbox.cancel_expectation("job_8").await.unwrap());
    worker.stop().await;
    for refused in ["", "a\0b", &"r".repeat(256)] {
        let error = inbox.expect_upload(refused, SECOND).await.unwrap_err();
        assert_eq!(error.kind(), InboxErrorKind::Invalid);
    }
    let error = inbox.expect_job("upload:invoice", SECOND).await.unwrap_err();
    assert_eq!(error.kind(), InboxErrorKind::Invalid);
}

/// A useless answer, whatever is wrong with it, only costs a pause.
async fn it_is_asked_again_until_there_is_a_result(store: Store) {
    let (inbox, handled) = (store.open().await, Handled::default());
    inbox.expect_job("job_1", Duration::ZERO).await.unwrap();
    inbox.expect_job("is_never_answered", Duration::ZERO).await.unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&calls);
    let worker = handled.worker(&inbox).reconcile(move |job: JobId| {
        let is_answered = job.as_str() == "job_1";
        let call = if is_answered { seen.fetch_add(1, Ordering::SeqCst) } else { usize::MAX };
        async move {
            match call {
                0 => Ok(Fetched::StillRunning),
                1 => Ok(Fetched::Unknown),
                2 => Err("the vendor is away"),
                3 => panic!("a bug"),
                4 => Ok(finished(&JobId::from("another"))),
                5 => {
                    let event = r#"{"event":"job.archived","jobId":"job_1"}"#;
                    Ok(Fetched::Finished(Event::from_json(event).unwrap()))
                }
                6 => Ok(finished(&job)),
                _ => pending().await,
            }
        }
    });
    let worker = Running::start(hasty(worker));
    until(async || inbox.stats().await.unwrap().done == 1).await;
    assert_eq!((calls.load(Ordering::SeqCst), handled.of("job.completed:job_1")), (7, 1));
    assert_eq!(handled.events(), 1);
    until(async || ids(&overdue(&inbox, 10).await) == ["is_never_answered"]).await;
    assert!(overdue(&inbox, 10).await[0].fetches() >= 1);
    // It does not wait for running fetches.
    worker.stop().await;
}

/// Otherwise it would be asked about forever. A job that runs for long is not given up, and errors of the vendor do not count.
async fn a_job_that_the_vendor_does_not_know_is_given_up(store: Store) {
    let (inbox, handled) = (store.open().await, Handled::default());
    for job in ["unknown", "runs", "fails"] {
        inbox.expect_job(job, Duration::ZERO).await.unwrap();
    }
    let failures = Arc::new(AtomicUsize::new(0));
    let fails = Arc::clone(&failures);
    let worker = handled.worker(&inbox).reconcile(move |job: JobId| {
        let fetched = match job.as_str() {
            "runs" => Ok(Fetched::StillRunning),
            "fails" if fails.fetch_add(1, Ordering::SeqCst) % 10 != 9 => {
                Err(BoxError::from("the vendor is away"))
            }
            _ => Ok(Fetched::Unknown),
        };
        async { fetched }
    });
    let worker = Running::start(hasty(worker).fetch_backoff(SECOND, SECOND));
    let of = async |id: &str| {
        let jobs = overdue(&inbox, 10).await;
        jobs.into_iter()
            .find(|job| job.job_id().unwrap().as_str() == id)
            .map(|job| (job.fetches(), job.is_given_up()))
    };
    until(async || of("unknown").await == Some((10, true))).await;
    until(async || of("runs").await.is_some_and(|(fetches, _)| fetches > 12)).await;
    assert_eq!(of("unknown").await, Some((10, true)), "it is still asked about");
    until(async || failures.load(Ordering::SeqCst) > 11).await;
    for job in ["runs", "fails"] {
        assert!(of(job).await.is_some_and(|(_, is_given_up)| !is_given_up), "{job}");
    }
    // Its event may arrive after all. If its expectation is cancelled, it may be expected again.
    accept(&inbox, "job.completed", "unknown").await;
    assert_eq!(of("unknown").await, None);
    worker.stop().await;
}

/// Only one worker of all processes fetches, and only a few jobs at a time.
async fn one_worker_asks_and_for_few_at_a_time(store: Store) {
    const JOBS: usize = 40;
    let inbox = store.open().await;
    for number in 0..JOBS {
        inbox.expect_job(format!("job_{number}"), Duration::ZERO).await.unwrap();
    }
    #[derive(Default)]
    struct Calls {
        now: usize,
        most: usize,
        of_worker: [usize; 3],
    }
    let calls = Arc::new(Mutex::new(Calls::default()));
    let mut workers = Vec::new();
    let handled = Handled::default();
    for number in 0..3 {
        let calls = Arc::clone(&calls);
        let worker = handled.worker(&store.open().await).reconcile(move |job: JobId| {
            let calls = Arc::clone(&calls);
            async move {
                {
                    let mut calls = calls.lock().unwrap();
                    calls.now += 1;
                    calls.most = calls.most.max(calls.now);
                    calls.of_worker[number] += 1;
                }
                sleep(Duration::from_millis(20)).await;
                calls.lock().unwrap().now -= 1;
                Ok::<_, BoxError>(finished(&job))
            }
        });
        workers.push(Running::start(hasty(worker)));
    }
    until(async || inbox.stats().await.unwrap().done == JOBS as u64).await;
    for worker in workers {
        worker.stop().await;
    }
    let calls = calls.lock().unwrap();
    assert!((2..=4).contains(&calls.most), "{} at a time", calls.most);
    let mut of_worker = calls.of_worker;
    of_worker.sort_unstable();
    assert_eq!((of_worker, handled.events()), ([0, 0, JOBS], JOBS));
}

/// The process dies between the vendor's answer and the storing. Another process continues.
async fn killed_between_the_fetch_and_the_store(store: Store) {
    let (inbox, gate, handled) = (store.open().await, Gate::default(), Handled::default());
    inbox.expect_job("job_1", Duration::ZERO).await.unwrap();
    let asked = gate.clone();
    let worker = handled.worker(&inbox).reconcile(move |_: JobId| {
        let gate = asked.clone();
        async move {
            gate.pass().await;
            Ok::<_, BoxError>(Fetched::StillRunning)
        }
    });
    let worker = Running::start(hasty(worker).lease(MIN_LEASE));
    gate.begun().await;
    worker.crash().await;
    let worker = handled.worker(&inbox);
    let worker = worker.reconcile(async |job: JobId| Ok::<_, BoxError>(finished(&job)));
    let worker = Running::start(hasty(worker).lease(MIN_LEASE));
    until(async || inbox.stats().await.unwrap().done == 1).await;
    worker.stop().await;
    assert_eq!((handled.events(), overdue(&inbox, 10).await), (1, Vec::new()));
}

/// The webhook arrives while the vendor is asked.
async fn the_webhook_and_the_fetch_race_to_one_effect(store: Store) {
    const JOBS: usize = 50;
    let (inbox, handled) = (store.open().await, Handled::default());
    for number in 0..JOBS {
        inbox.expect_job(format!("job_{number}"), Duration::ZERO).await.unwrap();
    }
    let webhooks = inbox.clone();
    let worker = handled.worker(&inbox).reconcile(move |job: JobId| {
        let inbox = webhooks.clone();
        async move {
            // It is on its way when the vendor answers.
            let webhook = job.clone();
            tokio::spawn(async move { accept(&inbox, "job.completed", webhook.as_str()).await });
            Ok::<_, BoxError>(finished(&job))
        }
    });
    let worker = Running::start(hasty(worker));
    until(async || handled.events() == JOBS).await;
    until(async || inbox.stats().await.unwrap().overdue == 0).await;
    worker.stop().await;
    assert_eq!(handled.events(), JOBS);
}

/// Nothing else wakes it.
async fn a_worker_that_sleeps_wakes_up_for_what_is_overdue(store: Store) {
    let inbox = Inbox::options().sleep_after(SECOND).open(&store.url()).await.unwrap();
    let handled = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&handled);
    let worker = inbox.worker(move |event: AcceptedEvent| {
        seen.lock().unwrap().push(event.key().to_owned());
        async { Ok::<_, BoxError>(()) }
    });
    let worker = worker.reconcile(async |job: JobId| Ok::<_, BoxError>(finished(&job)));
    let worker = Running::start(hasty(worker.lease(MIN_LEASE)));
    // It stays awake for at most two leases.
    sleep(MIN_LEASE * 2 + SECOND * 2).await;
    let begun = Instant::now();
    for (job, within) in [("lost", 5 * SECOND), ("late", HOUR), ("soon", 3 * SECOND)] {
        inbox.expect_job(job, within).await.unwrap();
    }
    until(async || inbox.stats().await.unwrap().done == 2).await;
    let took = begun.elapsed();
    assert!((5 * SECOND..15 * SECOND).contains(&took), "{took:?}");
    let expected = ["soon", "lost"];
    assert_eq!(*handled.lock().unwrap(), expected.map(|job| format!("job.completed:{job}")));
    worker.stop().await;
}

async fn many_expectations_are_looked_up_and_paged_through(store: Store) {
    let jobs: usize = env::var("NUMBER7_EXPECTED").map_or(1_500, |jobs| jobs.parse().unwrap());
    let inbox = store.open().await;
    let expecting = (0..16).map(|part| {
        let inbox = inbox.clone();
        tokio::spawn(async move {
            for number in (part..jobs).step_by(16) {
                let job = format!("job_{number}");
                inbox.expect_job(&*job, Duration::ZERO).await.unwrap();
                if number.is_multiple_of(3) {
                    accept(&inbox, "job.completed", &job).await;
                }
            }
        })
    });
    for expected in expecting.collect::<Vec<_>>() {
        expected.await.unwrap();
    }
    let worker = Running::start(Handled::default().worker(&inbox));
    let missing = jobs - jobs.div_ceil(3);
    until(async || inbox.stats().await.unwrap().overdue == missing as u64).await;
    let jobs = overdue(&inbox, 333).await;
    let mut ids = ids(&jobs);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), missing, "one is missing or listed twice");
    assert!(jobs.windows(2).all(|pair| pair[0].due_at() <= pair[1].due_at()));
    worker.stop().await;
}

/// Also after a time without jobs. If the vendor allows no more requests, it is not asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetches_are_evenly_spaced_and_wait_for_the_rate_limit() {
    let store = Store::sqlite();
    let (inbox, fetches) = (store.open().await, Arc::new(Mutex::new(Vec::new())));
    let kept = Arc::clone(&fetches);
    let worker = Handled::default().worker(&inbox).reconcile(move |job: JobId| {
        let mut fetches = kept.lock().unwrap();
        fetches.push(Instant::now());
        let is_limited = fetches.len() == 3;
        async move {
            match is_limited {
                true => Err::<_, BoxError>(RetryHint::After(SECOND * 3).into()),
                false => Ok(finished(&job)),
            }
        }
    });
    let worker = worker.fetch_limits(4, 60).fetch_backoff(SECOND * 60, SECOND * 60);
    let worker = Running::start(worker);
    sleep(SECOND * 5 / 2).await;
    for number in 0..5 {
        inbox.expect_job(format!("job_{number}"), Duration::ZERO).await.unwrap();
    }
    until(async || fetches.lock().unwrap().len() == 5).await;
    let fetches = fetches.lock().unwrap().clone();
    for (pair, least) in fetches.windows(2).zip([0.9, 0.9, 2.9, 0.9]) {
        let gap = (pair[1] - pair[0]).as_secs_f64();
        assert!(gap > least, "{gap} s, and not {least}");
    }
    worker.stop().await;
}

on_every_store!(
    and in memory:
    only_what_does_not_come_in_time_is_overdue,
    what_is_no_job_and_no_cursor_is_refused,
    what_was_lost_is_fetched_and_handled_once,
    an_upload_that_is_not_bound_to_its_job_is_overdue,
    it_is_asked_again_until_there_is_a_result,
    a_job_that_the_vendor_does_not_know_is_given_up,
    one_worker_asks_and_for_few_at_a_time,
    the_webhook_and_the_fetch_race_to_one_effect,
    many_expectations_are_looked_up_and_paged_through;
    killed_between_the_fetch_and_the_store,
    a_worker_that_sleeps_wakes_up_for_what_is_overdue,
);
