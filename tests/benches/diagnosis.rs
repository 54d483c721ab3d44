//! What a flood of forged requests costs a receiver with diagnosis, compared with one without.
//!
//! `cargo bench -p number7-tests --bench diagnosis` prints, for each kind of body, the time of a request without and with the
//! diagnosis, and the ratio. Both are measured in turn, and the smallest time of each counts. Then it prints the latency of
//! good requests on the same thread during a flood of forged ones: without a diagnosis, with one, and with one in a single
//! step, as `Intake::finish` makes it. `-- --isolation` prints only this part.
#![allow(clippy::unwrap_used, reason = "a benchmark fails by a panic")]

use std::{
    hint::black_box,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode},
    routing::post,
};
use bytes::Bytes;
use number7_core::{SIGNATURE_HEADER, Secret, Verifier};
use number7_tests::{
    COMPLETED, in_process::axum_app, server::Server, sign, socket::Socket, verifier,
};
use tower::ServiceExt;

/// How long each receiver is measured in each round: diagnoses of some seconds.
const SPAN: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;

/// How often the latencies are measured. A machine that does other work needs many rounds.
const ISOLATION_ROUNDS: usize = 7;

fn diagnosing() -> Verifier {
    let staging = Secret::new("the secret of another environment").unwrap();
    verifier().recognize("staging", staging).diagnose()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if std::env::args().any(|arg| arg == "--isolation") {
        return isolation(&COMPLETED.replace("job_abc123", &"é/".repeat(5_000)));
    }
    let fill = |item: &str| {
        let start = format!("{},\"pages\":[", COMPLETED.trim_end_matches('}'));
        let items = (16 * 1024 - start.len() - 4) / item.len();
        format!("{start}{}0]}}", item.repeat(items))
    };
    println!("{:36} {:>12} {:>12} {:>7}", "a forged request with", "off", "on", "ratio");
    for (name, body) in [
        ("the published payload", COMPLETED.to_owned()),
        ("16 KiB of one text", fill(&format!("\"{}\",", "x".repeat(16_000)))),
        ("16 KiB of numbers", fill("1,")),
        ("16 KiB of nested objects", fill("{\"b\":[{\"a\":1}]},")),
        ("16 KiB of escapes", fill("\"\\u00e9\\/<>&'\\u2028\",")),
        ("16 KiB that is not JSON", "x".repeat(16 * 1024)),
    ] {
        let mut best = [Duration::MAX; 2];
        for _ in 0..ROUNDS {
            for (best, app) in best.iter_mut().zip([axum_app(verifier()), axum_app(diagnosing())]) {
                *best = (*best).min(flood(&app, &body).await);
            }
        }
        let [off, on] = best;
        let ratio = on.as_secs_f64() / off.as_secs_f64();
        println!("{name:36} {off:>12.2?} {on:>12.2?} {ratio:>7.2}");
    }
    let mut worst = Duration::ZERO;
    let (secret, body) = (Secret::new("another").unwrap(), fill("\"\\u00e9\\/<>&'\\u2028\","));
    for second in 0..20 {
        let clock = move || SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let verifier = diagnosing().clock(clock);
        let (signature, begun) = (secret.sign(&body).to_string(), Instant::now());
        black_box(verifier.verify(signature, body.clone())).unwrap_err();
        worst = worst.max(begun.elapsed());
    }
    println!("the longest diagnosis took {worst:.1?}");
    isolation(&body);
}

/// Starts a receiver, and measures one round.
type Measure<'a> = &'a dyn Fn() -> Vec<Duration>;

/// The latency of a good request on the thread that serves forged ones. Each round measures all receivers in turn, and the
/// medians of the rounds count. The ratio is to the same receiver without a diagnosis.
fn isolation(forged: &str) {
    println!(
        "{:44} {:>10} {:>10} {:>10} {:>10}",
        "a good request beside forged ones takes", "p50", "p99", "at most", "p99 ratio"
    );
    let at_once = || {
        let verifier = diagnosing();
        let verify = move |headers: HeaderMap, body: Bytes| {
            let signature = headers[SIGNATURE_HEADER].as_bytes().to_vec();
            let verified = verifier.verify(signature, body);
            async move { StatusCode::from_u16(verified.map_or(401, |_| 200)).unwrap() }
        };
        Router::new().route("/webhook", post(verify))
    };
    let axum = |verifier: fn() -> Verifier| Server::both(verifier).into_iter().next().unwrap();
    let actix = |verifier: fn() -> Verifier| Server::both(verifier).into_iter().nth(1).unwrap();
    // Each with the number of the receiver that it is compared with.
    let receivers: [(&str, usize, Measure<'_>); 5] = [
        ("axum, without a diagnosis", 0, &|| of_server(&axum(verifier), forged)),
        ("axum, with a diagnosis", 0, &|| of_server(&axum(diagnosing), forged)),
        ("axum, with a diagnosis that is made at once", 0, &|| of_app(at_once(), forged)),
        ("actix-web, without a diagnosis", 3, &|| of_server(&actix(verifier), forged)),
        ("actix-web, with a diagnosis", 3, &|| of_server(&actix(diagnosing), forged)),
    ];
    let mut rounds = vec![Vec::new(); receivers.len()];
    for _ in 0..ISOLATION_ROUNDS {
        for (round, (_, _, measure)) in rounds.iter_mut().zip(&receivers) {
            let mut times = measure();
            times.sort_unstable();
            let at = |percent: usize| times[times.len() * percent / 100];
            round.push([at(50), at(99), times[times.len() - 1]]);
        }
    }
    let median = |of: usize, which: usize| {
        let mut values: Vec<_> = rounds[of].iter().map(|round| round[which]).collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    for (number, (name, base, _)) in receivers.iter().enumerate() {
        let [p50, p99, most] = [0, 1, 2].map(|which| median(number, which));
        let ratio = p99.as_secs_f64() / median(*base, 1).as_secs_f64();
        println!("{name:44} {p50:>10.2?} {p99:>10.2?} {most:>10.2?} {ratio:>10.2}");
    }
}

/// The latencies of requests that are sent one after another, during 50 forged ones a second.
fn latencies(addr: SocketAddr, forged: &str) -> Vec<Duration> {
    let is_over = AtomicBool::new(false);
    thread::scope(|threads| {
        threads.spawn(|| {
            let mut socket = Socket::connect(addr);
            while !is_over.load(Ordering::Relaxed) {
                socket.write_request(&"0".repeat(64), forged);
                assert_eq!(socket.answer().unwrap().status, 401);
                thread::sleep(Duration::from_millis(20));
            }
        });
        let (mut socket, begun, mut times) = (Socket::connect(addr), Instant::now(), Vec::new());
        let signature = sign(COMPLETED);
        while begun.elapsed() < SPAN {
            let sent = Instant::now();
            socket.write_request(&signature, COMPLETED);
            assert_eq!(socket.answer().unwrap().status, 200);
            times.push(sent.elapsed());
            thread::sleep(Duration::from_micros(500));
        }
        is_over.store(true, Ordering::Relaxed);
        times
    })
}

fn of_server(server: &Server, forged: &str) -> Vec<Duration> {
    latencies(server.addr, forged)
}

fn of_app(app: Router, forged: &str) -> Vec<Duration> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let server = async { axum::serve(listener, app).await };
            tokio::select! { _ = server => {}, _ = stopped => {} }
        });
    });
    let times = latencies(addr, forged);
    stop.send(()).unwrap();
    server.join().unwrap();
    times
}

/// The time that one request takes.
async fn flood(app: &Router, body: &str) -> Duration {
    let (begun, mut sent) = (Instant::now(), 0);
    while begun.elapsed() < SPAN {
        let request = Request::post("/webhook").header(SIGNATURE_HEADER, "0".repeat(64));
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 401);
        sent += 1;
    }
    begun.elapsed() / sent
}
