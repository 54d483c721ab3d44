//! What a flood of forged requests costs a receiver that diagnoses mismatches, against one that does
//! not.
//!
//! `cargo bench -p number7-tests --bench diagnosis` prints, for each kind of body, the time of a
//! request without and with the diagnosis, and the ratio. Both are measured in turn, and the smallest
//! time of each counts.
#![allow(clippy::unwrap_used, reason = "a benchmark fails by a panic")]

use std::{
    hint::black_box,
    time::{Duration, Instant, SystemTime},
};

use axum::{Router, body::Body, http::Request};
use number7_core::{SIGNATURE_HEADER, Secret, Verifier};
use number7_tests::{COMPLETED, in_process::axum_app, verifier};
use tower::ServiceExt;

/// How long each is measured in each round: some seconds' worth of diagnoses.
const SPAN: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;

fn diagnosing() -> Verifier {
    let staging = Secret::new("the secret of another environment").unwrap();
    verifier().recognize("staging", staging).diagnose(SystemTime::now)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let fill = |item: &str| {
        let start = format!("{},\"pages\":[", COMPLETED.trim_end_matches('}'));
        let items = (64 * 1024 - start.len() - 4) / item.len();
        format!("{start}{}0]}}", item.repeat(items))
    };
    let nested = format!("[{}0]", "{\"b\":[{\"a\":1}]},".repeat(1_000));
    println!("{:36} {:>12} {:>12} {:>7}", "a forged request with", "off", "on", "ratio");
    for (name, body) in [
        ("the published payload", COMPLETED.to_owned()),
        ("64 KiB of one text", fill(&format!("\"{}\",", "x".repeat(60_000)))),
        ("64 KiB of numbers", fill("1,")),
        ("64 KiB of nested objects", fill("{\"b\":[{\"a\":1}]},")),
        ("64 KiB of escapes", fill("\"\\u00e9\\/<>&'\\u2028\",")),
        ("64 KiB that is no JSON", "x".repeat(64 * 1024)),
        ("16 KiB of nested objects", nested),
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
        let verifier = diagnosing().diagnose(clock);
        let (signature, begun) = (secret.sign(&body).to_string(), Instant::now());
        black_box(verifier.verify(signature, body.clone())).unwrap_err();
        worst = worst.max(begun.elapsed());
    }
    println!("the longest diagnosis took {worst:.1?}");
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
