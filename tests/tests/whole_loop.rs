//! Upload, webhook, result: with the client and the sandbox, and workers in two processes.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use axum::{Router, routing::post_service};
use number7_client::{ApiKey, Client, Document, ErrorKind, JobId};
use number7_inbox::{AcceptedEvent, Failure, Filter, Inbox, State};
use number7_sandbox::{Misbehaviour, RunningSandbox, Sandbox, Secret, Share};
use number7_tests::{
    running::{PATIENCE, Running, until},
    store::Store,
};
use number7_tower::{AcceptNumber7, VerifyNumber7};
use tokio::{net::TcpListener, time::sleep};

const DOCUMENTS: usize = 300;

const SECOND: Duration = Duration::from_secs(1);

/// Six hundred requests a minute, in windows of five seconds.
const WINDOW: Duration = Duration::from_secs(5);
const REQUESTS_IN_WINDOW: u32 = 50;

const WORKERS: usize = 2;
const CONCURRENCY: u64 = 8;

/// A receiver on an inbox, and the vendor that sends to it.
async fn loop_on(inbox: &Inbox, settings: impl FnOnce(Sandbox) -> Sandbox) -> RunningSandbox {
    let secret = Secret::new("a long random secret").unwrap();
    let app = Router::new()
        .route("/webhook", post_service(AcceptNumber7::new(inbox.clone())))
        .layer(VerifyNumber7::new(secret.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let webhook = format!("http://{}/webhook", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, app).await });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    settings(Sandbox::new(secret).webhooks_to(webhook)).start(listener).unwrap()
}

fn client(sandbox: &RunningSandbox) -> Client {
    let client = Client::new(ApiKey::new("sandbox").unwrap()).requests_per_minute(600);
    client.base_url(sandbox.base_url()).unwrap()
}

/// A worker in its own process.
struct Worker(Child);

impl Worker {
    fn start(store: &Store, sandbox: &RunningSandbox, effects: &Path) -> Self {
        let worker = Command::new(env!("CARGO_BIN_EXE_loop-worker"))
            .args([&store.url(), &sandbox.base_url(), effects.to_str().unwrap()])
            .stdin(Stdio::null())
            .spawn();
        Self(worker.unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// All documents end at about the same time. Two processes get their results, with a plan that does not allow all
/// of them at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_document_is_handled_once_and_the_plan_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (store, effects) = (Store::sqlite(), folder.path().join("effects"));
    let inbox = store.open().await;
    let mut misbehaviour = Misbehaviour::default();
    misbehaviour.lose = Share::percent(10);
    misbehaviour.repeat = Share::percent(20);
    misbehaviour.forge = Share::percent(10);
    let sandbox = loop_on(&inbox, |sandbox| {
        let sandbox = sandbox.plan(REQUESTS_IN_WINDOW, 1_000).window(WINDOW);
        sandbox.misbehave(misbehaviour).job_time(SECOND)
    })
    .await;
    let workers = [0; WORKERS].map(|_| Worker::start(&store, &sandbox, &effects));
    let begun = Instant::now();
    let uploads = client(&sandbox);
    for number in 0..DOCUMENTS {
        let document = Document::from_bytes("invoice", format!("{number}.pdf"), "%PDF-1.7");
        inbox.expect_job(uploads.upload(document).await.unwrap(), SECOND * 3).await.unwrap();
    }
    let handled = || fs::read_to_string(&effects).unwrap_or_default().lines().count();
    while handled() < DOCUMENTS {
        assert!(begun.elapsed() < PATIENCE + SECOND * DOCUMENTS as u32, "{}", sandbox.summary());
        sleep(SECOND / 10).await;
    }
    let taken = begun.elapsed();
    until(async || inbox.stats().await.unwrap().done == DOCUMENTS as u64).await;
    drop(workers);

    let mut seen = BTreeMap::new();
    for line in fs::read_to_string(&effects).unwrap().lines() {
        *seen.entry(format!("job.completed:{}", line.split_once(' ').unwrap().0)).or_default() += 1;
    }
    let summary = sandbox.summary();
    let once: BTreeMap<_, _> = summary.to_handle.iter().map(|key| (key.clone(), 1)).collect();
    assert_eq!((seen.len(), &seen), (DOCUMENTS, &once));
    assert_eq!(inbox.stats().await.unwrap().dead, 0);
    assert_eq!(summary.not_refused, 0, "{summary}");
    assert!(summary.lost > 0 && summary.repeated > 0 && summary.forged > 0, "{summary}");
    let windows = summary.served.div_ceil(u64::from(REQUESTS_IN_WINDOW));
    // In each window, the requests that were on their way in both workers, and the uploads.
    let most = (WORKERS as u64 * CONCURRENCY + 1) * windows;
    assert!(summary.rate_limited <= most, "{} refused: {summary}", summary.rate_limited);
    // The requests of the first window do not wait.
    let ideal = WINDOW * u32::try_from(windows - 1).unwrap();
    eprintln!("{DOCUMENTS} documents in {taken:?}, ideal {ideal:?}\n{summary}");
    // On a quiet machine it takes 1.02 of it.
    assert!(taken < ideal * 13 / 10 + SECOND * 20, "{taken:?}, and not {ideal:?}: {summary}");
}

/// It uses up no attempts, and nothing is given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_makes_events_wait() {
    let store = Store::sqlite();
    let inbox = store.open().await;
    let sandbox = loop_on(&inbox, |sandbox| sandbox.plan(600, 100).job_time(SECOND)).await;
    let client = client(&sandbox);
    let jobs = 5;
    for number in 0..jobs {
        let document = Document::from_bytes("invoice", format!("{number}.pdf"), "%PDF-1.7");
        client.upload(document).await.unwrap();
    }
    sandbox.rotate_api_key("another");
    let worker = Running::start(inbox.worker(move |accepted: AcceptedEvent| {
        let client = client.clone();
        async move {
            client.result(&accepted.job_id().unwrap()).await?;
            Ok::<_, Failure>(())
        }
    }));
    until(async || inbox.stats().await.unwrap().scheduled == jobs).await;
    let waiting = inbox.list(State::Scheduled, &Filter::new(), None, 100).await.unwrap().entries;
    for entry in waiting {
        assert_eq!(entry.attempts(), 0, "{entry:?}");
        let text = &entry.errors().last().unwrap().text();
        assert!(text.contains("refuses the API key"), "{text}");
    }
    worker.stop().await;
}

/// An event about an unknown job becomes a dead letter at once, with a reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_job_burns_no_attempts() {
    let store = Store::sqlite();
    let inbox = store.open().await;
    let sandbox = loop_on(&inbox, |sandbox| sandbox).await;
    let client = client(&sandbox);
    let error = client.result(&JobId::from("job_1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownJob);
    number7_tests::running::accept(&inbox, "job.completed", "job_1").await;
    let worker = Running::start(inbox.worker(move |accepted: AcceptedEvent| {
        let client = client.clone();
        async move {
            // The user's own error keeps the hint.
            let result = client.result(&accepted.job_id().unwrap()).await;
            result.map_err(std::io::Error::other).map(drop)
        }
    }));
    until(async || inbox.stats().await.unwrap().dead == 1).await;
    let letter = inbox.list(State::Dead, &Filter::new(), None, 1).await.unwrap().entries.remove(0);
    assert_eq!(letter.attempts(), 1);
    worker.stop().await;
}
