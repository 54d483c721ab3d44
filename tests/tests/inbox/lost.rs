//! A vendor that loses every fifth webhook, repeats or delays others, and whose API fails now and then; and receivers that are
//! killed. In the end every job is handled, and none is still expected.
//!
//! `NUMBER7_SOAK_EVENTS` is the number of jobs: 5,000 for a long run.
#![allow(clippy::unwrap_used)]

use std::{
    collections::HashSet,
    env,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::Path, http::StatusCode, routing::get};
use number7_tests::{
    body, on_every_store,
    receiver::{FRAMEWORKS, Receiver, Setup, deliver},
    running::until,
    store::Store,
};
use tokio::{
    net::TcpListener,
    task::{JoinSet, block_in_place, spawn_blocking},
    time::sleep,
};

/// Few enough for a CI run.
const DEFAULT_JOBS: usize = 500;

/// How soon a result is expected.
const WITHIN: Duration = Duration::from_secs(2);

/// How long a receiver lives.
const LIFE: Duration = Duration::from_millis(1_500);

/// How many events of a killed receiver may have been running, and so be handled twice.
const IN_HAND: u32 = 16;

/// The vendor's API. Every third call fails in some way.
async fn api(finished: Arc<Mutex<HashSet<String>>>) -> SocketAddr {
    let calls = Arc::new(AtomicUsize::new(0));
    let result = move |Path(job): Path<String>| {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        let is_finished = finished.lock().unwrap().contains(&job);
        async move {
            match call % 12 {
                2 => (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
                5 => (StatusCode::OK, "<html>".to_owned()),
                8 => (StatusCode::OK, body("job.completed", "another_job")),
                11 => {
                    sleep(Duration::from_secs(3)).await;
                    (StatusCode::NOT_FOUND, String::new())
                }
                _ if is_finished => (StatusCode::OK, body("job.completed", &job)),
                _ => (StatusCode::ACCEPTED, String::new()),
            }
        }
    };
    let app = Router::new().route("/results/{job}", get(result));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });
    addr
}

/// Delivers like the vendor: a webhook is tried four times, and then it is lost.
fn webhook(job: &str, addrs: &Mutex<[SocketAddr; 2]>) {
    for attempt in 0..4 {
        let addr = addrs.lock().unwrap()[attempt % 2];
        if let Ok((200, _)) = deliver(addr, &body("job.completed", job)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50 << attempt));
    }
}

async fn every_job_is_handled_though_webhooks_are_lost(store: Store) {
    let jobs = env::var("NUMBER7_SOAK_EVENTS").map_or(DEFAULT_JOBS, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let finished = Arc::new(Mutex::new(HashSet::new()));
    let vendor = api(Arc::clone(&finished)).await;
    let setups = FRAMEWORKS.map(|framework| Setup {
        program: env!("CARGO_BIN_EXE_inbox-receiver"),
        store: &store,
        framework,
        effects: folder.path().join("effects"),
        failing: 10,
        vendor: Some(vendor),
    });
    let inbox = store.open().await;
    let mut receivers = block_in_place(|| setups.each_ref().map(|setup| setup.start("never")));
    let addrs = Arc::new(Mutex::new(receivers.each_ref().map(Receiver::addr)));

    let mut uploads = JoinSet::new();
    let next = Arc::new(AtomicUsize::new(0));
    for _ in 0..8 {
        let (inbox, addrs) = (inbox.clone(), Arc::clone(&addrs));
        let (finished, next) = (Arc::clone(&finished), Arc::clone(&next));
        uploads.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= jobs {
                    return;
                }
                let job = format!("job_{number}");
                inbox.expect_job(&*job, WITHIN).await.unwrap();
                sleep(Duration::from_millis(100)).await;
                finished.lock().unwrap().insert(job.clone());
                let late = match number % 10 {
                    // Lost.
                    4 | 9 => continue,
                    // Later than expected.
                    3 => WITHIN + Duration::from_secs(1),
                    _ => Duration::ZERO,
                };
                let (addrs, is_repeated) = (Arc::clone(&addrs), number % 10 == 7);
                let deliver = async move {
                    sleep(late).await;
                    let deliver = move || {
                        webhook(&job, &addrs);
                        if is_repeated {
                            webhook(&job, &addrs);
                        }
                    };
                    spawn_blocking(deliver).await.unwrap();
                };
                match late {
                    Duration::ZERO => deliver.await,
                    _ => drop(tokio::spawn(deliver)),
                }
            }
        });
    }
    let mut kills = 0;
    while !uploads.is_empty() {
        tokio::select! {
            ended = uploads.join_next() => ended.unwrap().unwrap(),
            () = sleep(LIFE) => {
                let victim = kills as usize % receivers.len();
                block_in_place(|| {
                    receivers[victim].kill();
                    receivers[victim] = setups[victim].start("never");
                });
                addrs.lock().unwrap()[victim] = receivers[victim].addr();
                kills += 1;
            }
        }
    }
    let begun = std::time::Instant::now();
    let patience = Duration::from_secs(120 + jobs as u64 / 20);
    while inbox.stats().await.unwrap().done < jobs as u64 {
        assert!(begun.elapsed() < patience, "{:?}", inbox.stats().await.unwrap());
        sleep(Duration::from_millis(100)).await;
    }
    until(async || inbox.stats().await.unwrap().overdue == 0).await;
    drop(receivers);

    let effects = setups[0].effects();
    let expected: HashSet<_> = (0..jobs).map(|job| format!("job.completed:job_{job}")).collect();
    assert_eq!(effects.keys().cloned().collect::<HashSet<_>>(), expected);
    let doubled: u32 = effects.values().map(|count| count - 1).sum();
    eprintln!("{}: {jobs} jobs, {kills} kills, {doubled} effects doubled", store.url());
    assert!(kills > 0 && doubled <= kills * IN_HAND, "{doubled} doubled by {kills} kills");
}

on_every_store!(every_job_is_handled_though_webhooks_are_lost);
