//! Each way in which the sandbox misbehaves, seen by a receiver and by what the sandbox says of it.
#![allow(clippy::unwrap_used)]

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, http::HeaderMap, http::StatusCode, routing::post};
use number7_sandbox::{Happening, Misbehaviour, RunningSandbox, Sandbox, Secret, Share, Summary};
use tokio::{net::TcpListener, task::spawn_blocking, time::sleep};

const SECOND: Duration = Duration::from_secs(1);
const SECRET: &str = "the secret of the test";
const JOBS: usize = 6;

/// What a receiver got, and whether it was signed with the secret.
type Received = Arc<Mutex<Vec<(String, bool)>>>;

/// A receiver that verifies, and answers 500 to the first of its requests if it is to.
async fn receiver(failures: usize) -> (String, Received) {
    let (received, left) = (Received::default(), Arc::new(Mutex::new(failures)));
    let kept = Arc::clone(&received);
    let webhook = async move |headers: HeaderMap, body: Bytes| {
        let signature = headers["x-number7ai-signature"].to_str().unwrap();
        let is_signed = Secret::new(SECRET).unwrap().sign(&body).to_string() == signature;
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        kept.lock().unwrap().push((body["jobId"].as_str().unwrap().to_owned(), is_signed));
        let mut left = left.lock().unwrap();
        match (is_signed, *left) {
            (false, _) => StatusCode::UNAUTHORIZED,
            (true, 0) => StatusCode::OK,
            (true, _) => {
                *left -= 1;
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/webhook", listener.local_addr().unwrap());
    let app = Router::new().route("/webhook", post(webhook));
    tokio::spawn(async { axum::serve(listener, app).await });
    (url, received)
}

async fn sandbox(receiver: &str, misbehave: impl FnOnce(&mut Misbehaviour)) -> RunningSandbox {
    let mut misbehaviour = Misbehaviour::default();
    misbehave(&mut misbehaviour);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Sandbox::new(Secret::new(SECRET).unwrap())
        .webhooks_to(receiver)
        .job_time(SECOND / 5)
        .retry_delay(SECOND / 20)
        .misbehave(misbehaviour)
        .on_happening(|happening: &Happening| assert!(!happening.to_string().is_empty()))
        .start(listener)
        .unwrap()
}

/// Sends a request, and returns the answer.
async fn request(sandbox: &RunningSandbox, head: &str, body: &'static str) -> String {
    let (addr, length) = (sandbox.addr(), body.len());
    let request = format!(
        "{head} HTTP/1.1\r\nhost: sandbox\r\nconnection: close\r\ncontent-length: {length}\r\n\
        authorization: Bearer sandbox\r\ncontent-type: multipart/form-data; boundary=x\r\n\r\n{body}"
    );
    let exchange = move || {
        let (mut stream, mut answer) = (TcpStream::connect(addr).unwrap(), String::new());
        stream.set_read_timeout(Some(SECOND * 10)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    spawn_blocking(exchange).await.unwrap()
}

async fn upload(sandbox: &RunningSandbox) -> String {
    const FORM: &str = "--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.pdf\"\r\n\r\n%PDF\
        \r\n--x\r\ncontent-disposition: form-data; name=\"fileName\"\r\n\r\na.pdf\
        \r\n--x\r\ncontent-disposition: form-data; name=\"fileType\"\r\n\r\napplication/pdf\r\n--x--\r\n";
    let head = "POST /api/v1/upload?document.type=invoice&document.version=v1";
    request(sandbox, head, FORM).await
}

/// Uploads documents, and waits for what has to come of them.
async fn run(sandbox: &RunningSandbox, is_over: impl Fn(&Summary) -> bool) -> Summary {
    for _ in 0..JOBS {
        let answer = upload(sandbox).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    let begun = Instant::now();
    while !is_over(&sandbox.summary()) {
        assert!(begun.elapsed() < SECOND * 30, "{:?}", sandbox.summary());
        sleep(SECOND / 50).await;
    }
    sandbox.summary()
}

#[tokio::test]
async fn without_misbehaviour_each_webhook_is_sent_once_and_retried_three_times() {
    let (url, received) = receiver(0).await;
    let sandbox = sandbox(&url, |_| {}).await;
    let summary = run(&sandbox, |summary| summary.sent == JOBS as u64).await;
    assert_eq!(
        (summary.to_handle.len(), summary.running, received.lock().unwrap().len()),
        (6, 0, 6)
    );

    let (url, received) = receiver(4).await;
    let failing = self::sandbox(&url, |_| {}).await;
    upload(&failing).await;
    let begun = Instant::now();
    while failing.summary().given_up == 0 {
        assert!(begun.elapsed() < SECOND * 30);
        sleep(SECOND / 50).await;
    }
    assert_eq!((failing.summary().sent, received.lock().unwrap().len()), (4, 4));
    // 50, 100 and 200 ms, after the job.
    assert!(begun.elapsed() >= SECOND * 35 / 100, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_is_lost_repeated_forged_or_signed_otherwise_is_said() {
    let (url, received) = receiver(0).await;
    let lost = sandbox(&url, |it| it.lose = Share::ALL).await;
    let summary = run(&lost, |summary| summary.lost == JOBS as u64).await;
    assert_eq!((summary.sent, received.lock().unwrap().len()), (0, 0));

    let repeated = sandbox(&url, |it| it.repeat = Share::ALL).await;
    run(&repeated, |summary| summary.repeated == JOBS as u64).await;
    assert_eq!(received.lock().unwrap().len(), 2 * JOBS);

    let (url, received) = receiver(0).await;
    let forged = sandbox(&url, |it| it.forge = Share::ALL).await;
    let summary = run(&forged, |summary| summary.sent == JOBS as u64).await;
    let of = |is_signed| received.lock().unwrap().iter().filter(|it| it.1 == is_signed).count();
    assert_eq!((of(true), of(false), summary.not_refused), (JOBS, JOBS, 0));

    let (url, received) = receiver(0).await;
    let other = sandbox(&url, |it| it.other_secret = Share::ALL).await;
    let summary = run(&other, |summary| summary.given_up == JOBS as u64).await;
    assert_eq!((summary.sent, summary.signed_otherwise, summary.not_refused), (0, 24, 0));
    assert!(received.lock().unwrap().iter().all(|(_, is_signed)| !is_signed));
}

#[tokio::test]
async fn a_receiver_is_to_blame_for_what_it_accepts_and_not_for_being_away() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let misbehave = |it: &mut Misbehaviour| {
        it.forge = Share::ALL;
        it.other_secret = Share::ALL;
    };
    let believing = sandbox(&url, misbehave).await;
    let app = Router::new().fallback(async || ());
    let server = tokio::spawn(async { axum::serve(listener, app).await });
    let summary = run(&believing, |summary| summary.signed_otherwise == JOBS as u64).await;
    assert_eq!(summary.not_refused, 2 * JOBS as u64);
    server.abort();
    _ = server.await;

    let away = sandbox("http://127.0.0.1:1/", misbehave).await;
    let summary = run(&away, |summary| summary.given_up == JOBS as u64).await;
    assert_eq!((summary.forged, summary.not_refused), (JOBS as u64, 0));
}

#[tokio::test]
async fn late_webhooks_come_later_and_in_another_order() {
    let (url, received) = receiver(0).await;
    let late = sandbox(&url, |it| it.delay = SECOND * 2).await;
    let begun = Instant::now();
    run(&late, |summary| summary.to_handle.len() == JOBS).await;
    let ended = begun.elapsed();
    run(&late, |summary| summary.sent >= JOBS as u64).await;
    assert!(begun.elapsed() > ended + SECOND / 2, "{ended:?}, {:?}", begun.elapsed());
    drop((late, received));

    let (url, received) = receiver(0).await;
    let reordered = sandbox(&url, |it| it.reorder = Share::percent(50)).await;
    let summary = run(&reordered, |summary| summary.sent == JOBS as u64).await;
    let came: Vec<_> = received.lock().unwrap().iter().map(|(job, _)| job.clone()).collect();
    let ended: Vec<_> =
        summary.to_handle.iter().map(|key| key.split_once(':').unwrap().1.to_owned()).collect();
    assert_ne!(came, ended);
}

#[tokio::test]
async fn in_an_outage_nothing_works_and_after_it_everything() {
    let (url, received) = receiver(0).await;
    let out = sandbox(&url, |it| it.outage = SECOND * 2).await;
    let summary = run(&out, |summary| summary.to_handle.len() == JOBS).await;
    assert_eq!((summary.running, received.lock().unwrap().len()), (0, 0));
    let answer = upload(&out).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    // The attempts at webhooks are over by then.
    run_until_served(&out).await;
    assert_eq!(out.summary().given_up, JOBS as u64);
}

async fn run_until_served(sandbox: &RunningSandbox) {
    let begun = Instant::now();
    while !upload(sandbox).await.starts_with("HTTP/1.1 200 ") {
        assert!(begun.elapsed() < SECOND * 30);
        sleep(SECOND / 10).await;
    }
}

#[tokio::test]
async fn requests_are_refused_as_the_vendor_refuses_them() {
    let (url, _) = receiver(0).await;
    let sandbox = sandbox(&url, |_| {}).await;
    let job = upload(&sandbox).await;
    for header in
        ["x-ratelimit-limit: 30\r\n", "x-ratelimit-remaining: 29\r\n", "x-ratelimit-reset: "]
    {
        assert!(job.contains(header), "{job}");
    }
    for (head, status) in [
        ("GET /api/v1/results/job_unknown", "404"),
        ("POST /api/v1/upload?document.type=invoice&document.version=v1", "400"),
        ("POST /api/v1/upload?document.type=cheque&document.version=v1", "400"),
        ("POST /api/v1/upload", "400"),
        ("GET /api/v1/elsewhere", "404"),
    ] {
        let answer = request(&sandbox, head, "").await;
        assert_eq!(answer.get(9..12), Some(status), "{head}: {answer}");
    }
    sandbox.rotate_api_key("another");
    assert_eq!(upload(&sandbox).await.get(9..12), Some("401"));
    sandbox.rotate_api_key("sandbox");
    let mut limited = false;
    for _ in 0..30 {
        limited |= request(&sandbox, "GET /api/v1/results/job_unknown", "").await.contains(" 429 ");
    }
    assert!(limited && sandbox.summary().rate_limited >= 5, "{:?}", sandbox.summary());
}
