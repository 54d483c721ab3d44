//! The table of answers, put to both frameworks in process and over real sockets.
#![allow(clippy::unwrap_used)]

use std::{thread, time::Duration};

use actix_web::{App, HttpResponse, test::init_service, web};
use axum::{Router, routing::post};
use number7_core::{
    RejectionKind, SIGNATURE_HEADER,
    probe::{Answer, Ending, Probe, Probes, Step},
};
use number7_tests::{
    COMPLETED, diagnosing,
    in_process::{self, saw},
    probes, secret,
    server::Server,
    sign,
    socket::Socket,
    verifier,
};

#[tokio::test(start_paused = true)]
async fn axum_answers_as_the_table_says() {
    for probe in probes().table() {
        if let Some(response) = in_process::axum(verifier(), &probe).await {
            response.assert("axum", &probe);
        }
    }
}

#[actix_web::test]
async fn actix_answers_as_the_table_says() {
    tokio::time::pause();
    for probe in probes().table() {
        if let Some(response) = in_process::actix(verifier(), &probe).await {
            response.assert("actix-web", &probe);
        }
    }
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "a forged event is accepted: the route is not behind VerifyNumber7")]
async fn a_receiver_in_axum_that_verifies_nothing_is_found_out() {
    let app = Router::new().route("/webhook", post(async || ()));
    number7_tower::assert_receiver(app, &probes()).await;
}

#[actix_web::test]
#[should_panic(expected = "a forged event is accepted: the route is not behind VerifyNumber7")]
async fn a_receiver_in_actix_that_verifies_nothing_is_found_out() {
    tokio::time::pause();
    let app = App::new().route("/webhook", web::post().to(HttpResponse::Ok));
    number7_actix::assert_receiver(init_service(app).await, &probes()).await;
}

#[test]
fn only_what_no_library_would_send_needs_a_socket() {
    let table = probes().table();
    let raw = |probe: &&Probe| probe.request().ending() == Ending::Raw;
    assert_eq!(table.iter().filter(raw).count(), 5);
    for probe in table.iter().filter(|probe| !raw(probe)) {
        assert!(number7_tower::probe_request(probe, "/webhook").is_some(), "{}", probe.name());
        assert!(number7_actix::probe_request(probe, "/webhook").is_some(), "{}", probe.name());
    }
}

#[test]
fn real_sockets_are_answered_as_the_table_says() {
    // Far more than a busy machine needs for what comes in time.
    const DEADLINE: Duration = Duration::from_secs(3);
    let is_slow = |probe: &Probe| probe.request().body_steps().contains(&Step::Stall);
    let (slow, quick): (Vec<_>, Vec<_>) =
        Probes::new(secret()).body_deadline(DEADLINE).table().into_iter().partition(is_slow);
    for server in &Server::both(|| verifier().body_deadline(DEADLINE)) {
        thread::scope(|threads| {
            let slow: Vec<_> =
                slow.iter().map(|probe| threads.spawn(|| assert_answer(server, probe))).collect();
            quick.iter().for_each(|probe| assert_answer(server, probe));
            slow.into_iter().for_each(|probe| probe.join().unwrap());
        });
    }
}

#[track_caller]
fn assert_answer(server: &Server, probe: &Probe) {
    let (name, framework) = (probe.name(), server.framework);
    match (Socket::probe(server.addr, probe), probe.answer()) {
        (Some(answer), Answer::Accepted(event)) => {
            assert_eq!((answer.status, answer.body), (200, saw(event)), "{framework}: {name}");
        }
        (Some(answer), expected) => {
            let expected = (expected.status(), String::new());
            assert_eq!((answer.status, answer.body), expected, "{framework}: {name}");
        }
        // Whether a server still answers a sender that is half gone is its own affair.
        (None, Answer::Refused(RejectionKind::BodyBrokenOff)) => {}
        (None, _) => panic!("{framework}: no answer to {name}"),
    }
}

#[test]
fn a_connection_goes_on_after_a_good_delivery() {
    for server in Server::both(verifier) {
        let mut socket = Socket::connect(server.addr);
        for _ in 0..3 {
            socket.write_request(&sign(COMPLETED), COMPLETED);
            assert_eq!(socket.answer().unwrap().status, 200, "{}", server.framework);
        }
    }
}

/// The status of a refusal, and whether the connection goes on after it.
fn refused(server: &Server, headers: &str, body: &str) -> (u16, bool) {
    let mut socket = Socket::connect(server.addr);
    socket.write(format!("POST /webhook HTTP/1.1\r\nhost: test\r\n{headers}\r\n\r\n{body}"));
    let status = socket.answer().unwrap().status;
    socket.write_request(&sign(COMPLETED), COMPLETED);
    (status, socket.answer().is_some_and(|answer| answer.status == 200))
}

/// A connection goes on if the whole request has arrived. But actix-web announces it in a header where it will
/// close one, so there every 401 closes it: all of them are to be alike.
#[test]
fn a_connection_goes_on_after_a_refusal_whose_body_has_arrived() {
    let signature = |body: &str| format!("{SIGNATURE_HEADER}: {}\r\n", sign(body));
    let (length, chunked) = ("content-length: 2", "transfer-encoding: chunked");
    let forged = format!("{SIGNATURE_HEADER}: {}\r\n{length}", "0".repeat(64));
    let malformed = format!("{SIGNATURE_HEADER}: x\r\n{length}");
    let encoded = signature("{}") + "content-encoding: gzip\r\n" + length;
    let large = format!("186a0\r\n{}\r\n0\r\n\r\n", "x".repeat(100_000));
    let servers = Server::both(|| verifier().body_deadline(Duration::from_millis(300)));
    for (name, headers, body, status, goes_on) in [
        ("unsigned", length, "{}", 401, true),
        ("unsigned, in chunks", chunked, "2\r\n{}\r\n0\r\n\r\n", 401, true),
        ("unsigned, without its body", length, "", 401, false),
        ("malformed", &malformed, "{}", 401, true),
        ("forged", &forged, "{}", 401, true),
        ("encoded", &encoded, "{}", 415, true),
        ("no event", &(signature("{}") + length), "{}", 400, true),
        ("declared too large", &(signature("") + "content-length: 99999"), "", 413, false),
        ("too large", &(signature("") + chunked), &large, 413, true),
        ("stalled", &(signature("") + length), "{", 408, false),
    ] {
        for server in &servers {
            let goes_on = goes_on && (status != 401 || server.framework == "axum");
            let answer = refused(server, headers, body);
            assert_eq!(answer, (status, goes_on), "{}: {name}", server.framework);
        }
    }
}

#[test]
fn every_401_is_the_same_bytes() {
    for server in Server::both(verifier).into_iter().chain(Server::both(diagnosing)) {
        let table = probes().table();
        let unauthorized = table.iter().filter(|probe| probe.answer().status() == 401);
        let mut answers: Vec<_> = unauthorized
            .map(|probe| {
                let mut answer = Socket::probe(server.addr, probe).unwrap();
                answer.headers.retain(|(name, _)| name != "date");
                answer
            })
            .collect();
        assert!(answers.len() > 20);
        answers.dedup();
        assert_eq!(answers.len(), 1, "{}: {answers:#?}", server.framework);
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_reason_tells_one_401_from_another() {
    let mut kinds = Vec::new();
    for probe in probes().table() {
        let Some(response) = in_process::axum(verifier(), &probe).await else { continue };
        if response.status == 401 {
            assert_eq!(response.headers, [("content-length".to_owned(), "0".to_owned())]);
            kinds.extend(response.rejection);
        }
    }
    for kind in [
        RejectionKind::MissingSignature,
        RejectionKind::RepeatedSignature,
        RejectionKind::MalformedSignature,
        RejectionKind::SignatureMismatch,
    ] {
        assert!(kinds.contains(&kind), "{kind:?}");
    }
}
