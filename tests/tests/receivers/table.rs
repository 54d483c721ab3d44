//! The table of answers, tested with both frameworks in process and over real sockets.
#![allow(clippy::unwrap_used)]

use std::{thread, time::Duration};

use actix_web::{App, HttpResponse, test::init_service, web};
use axum::{Router, routing::post};
use number7_core::{
    RejectionKind, SIGNATURE_HEADER,
    adapter::DRAIN_LIMIT,
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
        assert!(
            number7_tower::receiver::probe_request(probe, "/webhook").is_some(),
            "{}",
            probe.name()
        );
        assert!(
            number7_actix::receiver::probe_request(probe, "/webhook").is_some(),
            "{}",
            probe.name()
        );
    }
}

#[test]
fn real_sockets_are_answered_as_the_table_says() {
    // Far more than a busy machine needs for bodies that arrive in time.
    const DEADLINE: Duration = Duration::from_secs(3);
    let is_slow = |probe: &Probe| probe.request().body_steps().contains(&Step::Stall);
    let (slow, quick): (Vec<_>, Vec<_>) =
        Probes::new(secret()).body_timeout(DEADLINE).table().into_iter().partition(is_slow);
    for server in &Server::both(|| verifier().body_timeout(DEADLINE)) {
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
        // A server may decide whether it answers a sender that has closed its half.
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

/// How a request arrives, after its head.
enum Body<'a> {
    /// With the head.
    AtOnce(&'a str),
    /// A moment later, as from a client that writes head and body one by one.
    Later(&'a str),
    /// Never: only this much of it arrives.
    Never(&'a str),
}

/// The status of a refusal, whether it announces that the connection closes, and whether the connection stays open.
fn refused(server: &Server, headers: &str, body: &Body<'_>) -> (u16, bool, bool) {
    let mut socket = Socket::connect(server.addr);
    let head = format!("POST /webhook HTTP/1.1\r\nhost: test\r\n{headers}\r\n\r\n");
    match body {
        Body::AtOnce(body) | Body::Never(body) => socket.write(head + body),
        Body::Later(body) => {
            socket.write(head);
            thread::sleep(Duration::from_millis(30));
            socket.write(body);
        }
    }
    let answer = socket.answer().unwrap();
    socket.write_request(&sign(COMPLETED), COMPLETED);
    let goes_on = socket.answer().is_some_and(|answer| answer.status == 200);
    (answer.status, answer.header("connection") == Some("close"), goes_on)
}

/// After a refused request, the connection can be used again if the whole request has arrived, or arrives in a moment.
/// Otherwise the connection is closed, and the answer says so.
#[test]
fn a_connection_goes_on_after_a_refusal_whose_body_arrives() {
    let signature = |body: &str| format!("{SIGNATURE_HEADER}: {}\r\n", sign(body));
    let (length, chunked) = ("content-length: 2", "transfer-encoding: chunked");
    let forged = format!("{SIGNATURE_HEADER}: {}\r\n{length}", "0".repeat(64));
    let malformed = format!("{SIGNATURE_HEADER}: x\r\n{length}");
    let encoded = signature("{}") + "content-encoding: gzip\r\n" + length;
    let no_event = signature("{}") + length;
    let of_declared = |bytes: usize| signature("") + &format!("content-length: {bytes}");
    let in_chunks = |bytes: usize| format!("{bytes:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(bytes));
    let (large, larger, small) = (in_chunks(20_000), in_chunks(2_000_000), in_chunks(2));
    let (text, long) = ("x".repeat(20_000), "x".repeat(900_000));
    let of_text = |bytes: usize| format!("content-length: {bytes}");
    let (at_once, later, never) = (Body::AtOnce, Body::Later, Body::Never);
    let limited = || {
        verifier().body_limit(10_000).body_timeout(Duration::from_millis(300)).max_held_bodies(8)
    };
    let servers = Server::both(limited);
    for (name, headers, body, status, goes_on) in [
        ("unsigned, without a body", "content-length: 0", at_once(""), 401, true),
        ("unsigned", length, at_once("{}"), 401, true),
        ("unsigned, its body later", length, later("{}"), 401, true),
        ("unsigned, its body never", length, never(""), 401, false),
        ("unsigned, half its body never", length, never("{"), 401, false),
        ("unsigned, in chunks", chunked, at_once(&small), 401, true),
        ("unsigned, in chunks later", chunked, later(&small), 401, true),
        ("unsigned, in chunks without an end", chunked, never("2\r\n{}\r\n"), 401, false),
        ("unsigned, 20 KB", &of_text(20_000), later(&text), 401, true),
        ("unsigned, 20 KB in chunks", chunked, later(&large), 401, true),
        ("unsigned, 900 KB", &of_text(900_000), later(&long), 401, true),
        ("unsigned, 2 MB declared", &of_text(2_000_000), at_once(""), 401, false),
        ("unsigned, 2 MB in chunks", chunked, later(&larger), 401, false),
        ("unsigned, 99 KB declared", &of_text(99_000), at_once(&text), 401, false),
        ("malformed", &malformed, at_once("{}"), 401, true),
        ("malformed, its body later", &malformed, later("{}"), 401, true),
        ("forged", &forged, at_once("{}"), 401, true),
        ("forged, its body later", &forged, later("{}"), 401, true),
        ("encoded", &encoded, at_once("{}"), 415, true),
        ("encoded, its body later", &encoded, later("{}"), 415, true),
        ("no event", &no_event, at_once("{}"), 400, true),
        ("declared too large", &of_declared(20_000), at_once(&text), 413, true),
        ("declared too large, later", &of_declared(20_000), later(&text), 413, true),
        ("declared far too large", &of_declared(2_000_000), at_once(""), 413, false),
        ("declared far too large, half of it", &of_declared(40_000), at_once(&text), 413, false),
        ("too large", &(signature("") + chunked), at_once(&large), 413, true),
        ("far too large", &(signature("") + chunked), at_once(&larger), 413, false),
        ("stalled", &(signature("") + length), never("{"), 408, false),
    ] {
        for server in &servers {
            let answer = refused(server, headers, &body);
            let expected = (status, !goes_on, goes_on);
            assert_eq!(answer, expected, "{}: {name}", server.framework);
        }
    }
}

/// A sender whose body does not arrive, or is too large to be read to its end, is told that its connection is closed.
#[test]
fn every_401_is_the_same_bytes() {
    for server in Server::both(verifier).into_iter().chain(Server::both(diagnosing)) {
        let table = probes().table();
        let unauthorized = table.iter().filter(|probe| probe.answer().status() == 401);
        let mut answers: Vec<_> = unauthorized
            .map(|probe| {
                let mut answer = Socket::probe(server.addr, probe).unwrap();
                let closes = ("connection".to_owned(), "close".to_owned());
                let (name, closed) = (probe.name(), answer.headers.contains(&closes));
                assert_eq!(closed, is_unread(probe), "{}: {name}", server.framework);
                answer.headers.retain(|header| header.0 != "date" && *header != closes);
                answer
            })
            .collect();
        assert!(answers.len() > 20);
        answers.dedup();
        assert_eq!(answers.len(), 1, "{}: {answers:#?}", server.framework);
    }
}

/// The limit of the probes is the default, which equals that of a drain.
fn is_unread(probe: &Probe) -> bool {
    let request = probe.request();
    matches!(request.ending(), Ending::Stalled(_))
        || request.declared_length().is_some_and(|length| length > DRAIN_LIMIT as u64)
}

#[tokio::test(start_paused = true)]
async fn only_the_reason_tells_one_401_from_another() {
    let mut kinds = Vec::new();
    for probe in probes().table().iter().filter(|probe| !is_unread(probe)) {
        let Some(response) = in_process::axum(verifier(), probe).await else { continue };
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
