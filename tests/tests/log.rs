//! What the operator reads, and what nobody may read. It is a single test, because the log is that of the whole process.
#![allow(clippy::unwrap_used)]

use std::{
    convert::Infallible,
    fs::File,
    future::pending,
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use actix_web::HttpRequest;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use number7_core::{
    Accept, Acceptance, Account, Accounts, REFUSAL_LOG_INTERVAL, Record, RejectionKind,
    SIGNATURE_HEADER, StoreFuture, Verifier,
    probe::{Answer, Probe},
};
use number7_tests::{
    COMPLETED, SECRET, diagnosing,
    in_process::{actix, actix_app_behind, axum, axum_app_behind},
    probes,
    server::Server,
    sign,
    socket::Socket,
    verifier,
};
use tempfile::NamedTempFile;
use tokio::time::timeout;

/// The lines that were logged since the last call.
fn take(log: &File) -> String {
    io::read_to_string(log).unwrap()
}

/// The lines since the last call, once one of them contains this text.
#[track_caller]
fn take_until(log: &File, words: &str) -> String {
    let (begun, mut lines) = (Instant::now(), take(log));
    while !lines.contains(words) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{words}: {lines}");
        thread::sleep(Duration::from_millis(10));
        lines += &take(log);
    }
    lines
}

#[track_caller]
fn assert_one_event_per_refusal(log: &str, probe: &Probe, diagnoses: bool) {
    let name = probe.name();
    let is_summary = |line: &&str| line.contains("more requests of this kind");
    let events: Vec<_> =
        log.lines().filter(|line| line.contains("number7:") && !is_summary(line)).collect();
    match probe.answer() {
        Answer::Accepted(_) => assert_eq!(events.len(), 0, "{name}: {log}"),
        // The extractors of a process share one log, and an earlier row of the table has used it.
        Answer::Refused(RejectionKind::Untypable) if events.is_empty() => {}
        Answer::Refused(kind) => {
            assert_eq!(events.len(), 1, "{name}: {log}");
            assert!(events[0].contains("WARN"), "{name}: {log}");
            let (_, fields) = events[0].split_once(&format!(" kind={kind:?}")).unwrap();
            let is_diagnosis = fields.starts_with(" diagnosis=");
            assert!(fields.is_empty() || (diagnoses && is_diagnosis), "{name}: {log}");
        }
        other => panic!("{name}: {other:?} is new to the tests"),
    }
}

/// Values that help an attacker, or that are the sender's own: anything from the requests.
#[track_caller]
fn assert_says_nothing(log: &str, what: &str) {
    let table = probes().table();
    let headers = table.iter().flat_map(|probe| probe.request().headers());
    // The names of codings and of headers may be in any log.
    let signatures =
        headers.map(|(_, value)| value).filter(|value| *value != SIGNATURE_HEADER.as_bytes());
    let bodies = ["job_abc123", "fileStatus", "invoice", "job.archived", "blank", SECRET];
    let secrets = signatures.filter(|value| value.len() > 20).chain(bodies.map(str::as_bytes));
    for secret in secrets {
        let secret = String::from_utf8_lossy(secret);
        assert!(!log.contains(&*secret), "{what}: {secret:?} is in the log: {log}");
    }
}

#[actix_web::test]
async fn the_log_names_each_reason_and_nothing_of_the_requests() {
    let file = NamedTempFile::new().unwrap();
    let log = &file.reopen().unwrap();
    tracing_subscriber::fmt()
        .with_writer(Arc::new(file.into_file()))
        .with_ansi(false)
        .with_max_level(tracing::Level::TRACE)
        .init();

    tokio::time::pause();
    let mut all = String::new();
    for (verifier, diagnoses) in [(verifier as fn() -> Verifier, false), (diagnosing, true)] {
        for probe in probes().table() {
            if axum(verifier(), &probe).await.is_none() {
                continue;
            }
            let of_axum = take(log);
            actix(verifier(), &probe).await;
            let of_actix = take(log);
            for lines in [of_axum, of_actix] {
                assert_one_event_per_refusal(&lines, &probe, diagnoses);
                all += &lines;
            }
        }
    }
    for cause in
        ["signed without a secret", "probably the header is a list", "[secret \"primary\"]"]
    {
        assert!(all.contains(cause), "{cause}");
    }

    assert!(all.contains("Verifier::diagnose finds out which"), "{all}");

    // A stranger does not decide how large the log is: a flood is two lines, in each framework.
    let unsigned = |probe: &&Probe| probe.name() == "no signature";
    let table = probes().table();
    let probe = table.iter().find(unsigned).unwrap();
    let (of_axum, of_actix) = (verifier(), verifier());
    for _ in 0..100 {
        axum(of_axum.clone(), probe).await.unwrap();
        actix(of_actix.clone(), probe).await.unwrap();
    }
    let flood = take(log);
    assert_eq!(flood.matches("WARN number7: refused a request: ").count(), 2, "{flood}");
    assert_eq!(flood.matches("WARN").count(), 2, "{flood}");
    tokio::time::sleep(REFUSAL_LOG_INTERVAL + Duration::from_secs(1)).await;
    let summaries = take(log);
    let summary =
        "number7: refused 99 more requests of this kind in 60 seconds kind=MissingSignature";
    assert_eq!(summaries.matches(summary).count(), 2, "{summaries}");
    let others = summaries.lines().filter(|line| !line.contains("kind=Untypable"));
    assert_eq!(others.filter(|line| line.contains("WARN")).count(), 2, "{summaries}");
    assert!(all.contains("kind=Untypable"), "{all}");

    // Over sockets, with everything that the frameworks, hyper and tokio log at the finest level.
    let slow = || diagnosing().body_timeout(Duration::from_millis(50));
    for server in Server::both(slow) {
        for probe in probes().table().iter().filter(|probe| probe.request().is_whole()) {
            Socket::probe(server.addr, probe).unwrap();
        }
        let mut stalled = Socket::connect(server.addr);
        stalled.write_head(&sign(COMPLETED), COMPLETED.len());
        assert_eq!(stalled.answer().unwrap().status, 408);
        let lines = take(log);
        assert!(lines.contains("kind=BodyTooSlow"), "{lines}");
        all += &lines;
        // When the server ends, the pending summaries are logged.
        drop(server);
        all += &take_until(log, "requests of this kind");
    }
    // If a sender hangs up during the search for the cause, that is logged, whether or not the framework drops the request.
    for server in Server::both(diagnosing) {
        let mut forger = Socket::connect(server.addr);
        forger.write_request(&"0".repeat(64), &"x".repeat(60_000));
        thread::sleep(Duration::from_millis(20));
        drop(forger);
        let lines = take_until(log, "kind=SignatureMismatch");
        let mismatches = lines.matches("refused a request: the signature matches no").count();
        assert_eq!(mismatches, 1, "{}: {lines}", server.framework);
        all += &lines;
    }
    assert_says_nothing(&all, "the whole run");

    // With accounts, each refusal names the account, even if it does not exist.
    for name in ["acme", "nobody"] {
        // Each framework has its own accounts, because in one log the second refusal of a kind would only be counted.
        let accounts = || {
            let find = async |account: Account| {
                Ok::<_, Infallible>((account.as_str() == "acme").then(verifier))
            };
            Accounts::new(find)
        };
        let layer = number7_tower::VerifyNumber7::accounts_from_parts(accounts(), |_| {
            Some(name.to_owned())
        });
        let middleware =
            number7_actix::VerifyNumber7::accounts(accounts(), |_: HttpRequest| name.to_owned());
        for server in Server::both_behind(layer, middleware) {
            let mut forger = Socket::connect(server.addr);
            forger.write_request(&"0".repeat(64), COMPLETED);
            assert_eq!(forger.answer().unwrap().status, 401);
            let lines = take_until(log, "refused a request");
            let named = format!("account={name}");
            assert!(lines.contains(&named), "{}: {lines}", server.framework);
        }
    }

    // The same is true if the sender hangs up in its body, or while its account is looked up.
    for name in ["acme", "slow"] {
        let accounts = || {
            let find = async |account: Account| {
                if account.as_str() == "slow" {
                    pending::<()>().await;
                }
                Ok::<_, Infallible>(Some(verifier()))
            };
            Accounts::new(find)
        };
        let layer = number7_tower::VerifyNumber7::accounts_from_parts(accounts(), |_| {
            Some(name.to_owned())
        });
        dropped_by_axum(layer).await;
        let of_axum = take(log);
        let middleware =
            number7_actix::VerifyNumber7::accounts(accounts(), |_: HttpRequest| name.to_owned());
        dropped_by_actix(middleware).await;
        for lines in [of_axum, take(log)] {
            let refused =
                format!("the body broke off before its end kind=BodyBrokenOff account={name}");
            assert_eq!(lines.matches(&refused).count(), 1, "{lines}");
        }
    }

    // The span of a verified delivery names the secret that signed it.
    for spans in [accepted_by_axum(log).await, accepted_by_actix(log).await] {
        let span = r#"delivery{signed_by="primary"}: "#;
        for line in ["in_the_inbox: hello", "number7: accepted an event acceptance=New"] {
            assert!(spans.contains(&format!("{span}{line}")), "{spans}");
        }
    }
}

/// The server drops a request whose body has not arrived.
async fn dropped_by_axum(layer: number7_tower::VerifyNumber7) {
    use ::axum::{body::Body, http::Request};
    use tower::ServiceExt;
    let request = Request::post("/webhook").header(SIGNATURE_HEADER, "0".repeat(64));
    let body = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    let answer = axum_app_behind(layer).oneshot(request.body(body).unwrap());
    assert!(timeout(Duration::from_millis(1), answer).await.is_err());
}

async fn dropped_by_actix(middleware: number7_actix::VerifyNumber7) {
    use actix_web::{App, dev::Payload, error::PayloadError, test};
    let app = test::init_service(App::new().configure(actix_app_behind(middleware))).await;
    let body = stream::pending::<Result<Bytes, PayloadError>>().boxed_local();
    let request = test::TestRequest::post().uri("/webhook");
    let request = request.insert_header((SIGNATURE_HEADER, "0".repeat(64))).to_request();
    let answer = test::call_service(&app, request.replace_payload(Payload::from(body)).0);
    assert!(timeout(Duration::from_millis(1), answer).await.is_err());
}

struct Inbox;

impl Accept for Inbox {
    fn store(&self, _: Record) -> StoreFuture<'_> {
        Box::pin(async {
            tracing::info!(target: "in_the_inbox", "hello");
            Ok(Acceptance::New)
        })
    }
}

async fn accepted_by_axum(log: &File) -> String {
    use ::axum::{Router, body::Body, http::Request, routing::post_service};
    use number7_tower::{AcceptNumber7, SIGNATURE_HEADER, VerifyNumber7};
    use tower::ServiceExt;
    let app = Router::new().route("/webhook", post_service(AcceptNumber7::new(Inbox)));
    let app = app.layer(VerifyNumber7::new(verifier()));
    let request = Request::post("/webhook").header(SIGNATURE_HEADER, sign(COMPLETED));
    let response = app.oneshot(request.body(Body::from(COMPLETED)).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    take(log)
}

async fn accepted_by_actix(log: &File) -> String {
    use actix_web::{App, test, web};
    use number7_actix::{AcceptNumber7, SIGNATURE_HEADER, VerifyNumber7};
    let app = App::new().wrap(VerifyNumber7::new(verifier()));
    let app = app.default_service(web::to(AcceptNumber7::new(Inbox)));
    let app = test::init_service(app).await;
    let request = test::TestRequest::post().insert_header((SIGNATURE_HEADER, sign(COMPLETED)));
    let response = test::call_service(&app, request.set_payload(COMPLETED).to_request()).await;
    assert_eq!(response.status(), 200);
    take(log)
}
