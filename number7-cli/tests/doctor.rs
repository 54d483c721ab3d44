//! What the doctor finds in receivers with faults, each of them on a real socket.
#![allow(clippy::unwrap_used)]

use std::{
    io::Read,
    net::SocketAddr,
    panic::resume_unwind,
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::{HeaderMap, StatusCode},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use flate2::read::GzDecoder;
use number7_core::{SIGNATURE_HEADER, Secret};
use serde_json::Value;
use tokio::{net::TcpListener, time::sleep};

const SECRET: &str = "the-secret-of-the-tests";

/// What is wrong with a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    ParsesFirst,
    Reserializes,
    ReserializesSorted,
    HasNoLimit,
    FailsWithoutHeader,
    Inflates,
    WorksFirst,
    WorksBeforeItAnswers,
    ComparesText,
    ComparesAPart,
    TakesAPrefix,
    VerifiesNothing,
    HasNoSecret,
    AnswersForbidden,
    TellsWhy,
    KnowsNoOtherFields,
    WantsJson,
    ConsumesTheBody,
    Redirects,
    HasNoRoute,
    HasNoPost,
    FailsOnNoEvent,
    PicksOneSignature,
    ClosesOnRefusals,
    WantsALength,
    RemembersTheLast,
    DecodesTexts,
    TellsWhyInAHeader,
    ReadsTheUnsigned,
    RefusesRepetitions,
    /// No fault: what every answer needs is the network's.
    IsFarAway,
    /// No fault: each answer has a number.
    NumbersItsAnswers,
    /// No fault: a proxy in front waits for the whole body, as nginx does.
    IsBuffered,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);
static LAST: Mutex<String> = Mutex::new(String::new());
static REPEATED: AtomicBool = AtomicBool::new(false);

/// A receiver as many are written: it works, but for its fault.
async fn receive(fault: Fault, request: Request) -> Result<StatusCode, Response> {
    let (parts, body) = request.into_parts();
    let unauthorized = |why: &'static str| match fault {
        Fault::AnswersForbidden => StatusCode::FORBIDDEN.into_response(),
        Fault::TellsWhy => (StatusCode::UNAUTHORIZED, why).into_response(),
        Fault::TellsWhyInAHeader => (StatusCode::UNAUTHORIZED, [("x-reason", why)]).into_response(),
        Fault::NumbersItsAnswers => {
            (StatusCode::UNAUTHORIZED, NUMBER.fetch_add(1, Ordering::Relaxed).to_string())
                .into_response()
        }
        // As a server does whose handler fails badly.
        Fault::ClosesOnRefusals => resume_unwind(Box::new("without a word")),
        _ => StatusCode::UNAUTHORIZED.into_response(),
    };
    let limit = if fault == Fault::HasNoLimit { usize::MAX } else { 64 * 1024 };
    let declared = parts.headers.get("content-length").and_then(|v| v.to_str().ok()?.parse().ok());
    if declared.is_some_and(|declared: u64| declared > limit as u64) {
        return Err(StatusCode::PAYLOAD_TOO_LARGE.into_response());
    }
    if fault == Fault::WantsALength && declared.is_none() {
        return Err(StatusCode::LENGTH_REQUIRED.into_response());
    }
    if fault == Fault::WorksFirst {
        sleep(Duration::from_millis(200)).await;
    }
    let header = signature(&parts.headers, fault);
    let header = match (header, fault) {
        (None, Fault::FailsWithoutHeader) => return Err(failed()),
        (None, Fault::VerifiesNothing) => String::new(),
        (None, Fault::ReadsTheUnsigned) => {
            _ = tokio::time::timeout(Duration::from_secs(20), to_bytes(body, limit)).await;
            return Err(unauthorized("no signature"));
        }
        (None, _) => return Err(unauthorized("no signature")),
        (Some(header), _) => header,
    };
    if fault == Fault::WantsJson
        && parts.headers.get("content-type").is_some_and(|v| v != "application/json")
    {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response());
    }
    let body = tokio::time::timeout(Duration::from_secs(2), to_bytes(body, limit));
    let body = body.await.map_err(|_| StatusCode::REQUEST_TIMEOUT.into_response())?;
    let body = body.map_err(|error| match error.to_string().contains("length limit") {
        true => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        false => StatusCode::BAD_REQUEST.into_response(),
    })?;
    let encoded = parts.headers.get("content-encoding").is_some_and(|v| v != "identity");
    let body = match fault {
        Fault::Inflates if encoded => {
            let mut inflated = Vec::new();
            let read = GzDecoder::new(&*body).read_to_end(&mut inflated);
            read.map_err(|_| StatusCode::BAD_REQUEST.into_response())?;
            inflated.into()
        }
        _ => body,
    };
    let parsed = serde_json::from_slice::<Value>(&body);
    if fault == Fault::ParsesFirst && parsed.is_err() {
        return Err(StatusCode::BAD_REQUEST.into_response());
    }
    let verified = match (&parsed, fault) {
        (Ok(_), Fault::Reserializes) => minified(&body).into(),
        (Ok(parsed), Fault::ReserializesSorted) => parsed.to_string().into(),
        (_, Fault::ConsumesTheBody) => Bytes::new(),
        (_, Fault::DecodesTexts) => body.iter().copied().filter(u8::is_ascii).collect(),
        _ => body.clone(),
    };
    let remembered = fault == Fault::RemembersTheLast && *LAST.lock().unwrap() == header;
    if !is_authentic(&header, &verified, fault) && !remembered {
        return Err(unauthorized("another signature"));
    }
    if fault == Fault::RemembersTheLast {
        LAST.lock().unwrap().clone_from(&header);
    }
    if fault == Fault::RefusesRepetitions && REPEATED.swap(true, Ordering::Relaxed) {
        return Err(StatusCode::CONFLICT.into_response());
    }
    if encoded && fault != Fault::Inflates {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response());
    }
    if fault == Fault::WorksBeforeItAnswers {
        sleep(Duration::from_millis(1_200)).await;
    }
    if fault == Fault::FailsOnNoEvent && parsed.as_ref().is_ok_and(|event| event["event"].is_null())
    {
        return Err(failed());
    }
    if fault == Fault::KnowsNoOtherFields
        && parsed.as_ref().is_ok_and(|event| !event["pages"].is_null())
    {
        return Err(StatusCode::BAD_REQUEST.into_response());
    }
    Ok(StatusCode::OK)
}

/// Parsed and serialized again, as JavaScript does it.
fn minified(json: &[u8]) -> String {
    let (mut is_text, mut is_escaped) = (false, false);
    let text = String::from_utf8_lossy(json);
    let kept = text.chars().filter(|character| {
        is_text ^= *character == '"' && !is_escaped;
        is_escaped = *character == '\\' && !is_escaped;
        is_text || !character.is_ascii_whitespace()
    });
    kept.collect::<String>().replace(r"\u006a", "j")
}

fn failed() -> Response {
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

fn signature(headers: &HeaderMap, fault: Fault) -> Option<String> {
    let mut values = headers.get_all(SIGNATURE_HEADER).iter();
    let first = values.next()?;
    if fault != Fault::PicksOneSignature && values.next().is_some() {
        return Some(String::new());
    }
    Some(String::from_utf8_lossy(first.as_bytes()).into_owned())
}

fn is_authentic(header: &str, body: &[u8], fault: Fault) -> bool {
    let expected = Secret::new(SECRET).unwrap().sign(body).to_string();
    let header = match fault {
        Fault::ComparesText => header.to_owned(),
        Fault::TakesAPrefix => header.trim_start_matches("sha256=").to_lowercase(),
        _ => header.to_lowercase(),
    };
    match fault {
        Fault::VerifiesNothing => true,
        Fault::ComparesAPart => header.len() == 64 && header[..32] == expected[..32],
        Fault::HasNoSecret => {
            header == expected
                || header == "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"
                || is_signed_without_key(&header, body)
        }
        _ => header == expected,
    }
}

fn is_signed_without_key(header: &str, body: &[u8]) -> bool {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"").unwrap();
    mac.update(body);
    let hex: String =
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    hex == header
}

async fn start(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let receive = move |request: Request| receive(fault, request);
    let app: Router = match fault {
        Fault::IsFarAway => Router::new().route("/webhook", post(receive)).layer(from_fn(
            async |request: Request, next: Next| {
                sleep(Duration::from_millis(100)).await;
                next.run(request).await
            },
        )),
        Fault::IsBuffered => Router::new().route("/webhook", post(receive)).layer(from_fn(
            async |request: Request, next: Next| {
                let (parts, body) = request.into_parts();
                match to_bytes(body, usize::MAX).await {
                    Ok(body) => next.run(Request::from_parts(parts, body.into())).await,
                    Err(_) => StatusCode::BAD_REQUEST.into_response(),
                }
            },
        )),
        Fault::HasNoRoute => Router::new().route("/hook", post(receive)),
        Fault::HasNoPost => Router::new().route("/webhook", get(receive)),
        Fault::Redirects => Router::new().fallback(async || {
            (StatusCode::PERMANENT_REDIRECT, [("location", "/webhook/")], Body::empty())
        }),
        _ => Router::new().route("/webhook", post(receive)),
    };
    tokio::spawn(async { axum::serve(listener, app).await });
    addr
}

struct Examined {
    good: bool,
    /// The rules that are broken.
    broken: Vec<String>,
    /// What is said to be fixed, each once.
    fixes: Vec<String>,
    /// The rules that were not checked.
    not_checked: Vec<String>,
}

fn number7(addr: SocketAddr) -> Command {
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_number7"));
    doctor.env("WEBHOOK_SECRET", SECRET);
    doctor.args(["doctor", &format!("http://{addr}/webhook")]);
    doctor
}

async fn examine(addr: SocketAddr) -> Examined {
    examine_with(addr, &[]).await
}

async fn examine_with(addr: SocketAddr, args: &[&str]) -> Examined {
    let mut doctor = number7(addr);
    doctor.args(args);
    doctor.args(["--json", "--body-timeout", "2"]).stderr(Stdio::inherit());
    let output = tokio::task::spawn_blocking(move || doctor.output().unwrap()).await.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rules = report["rules"].as_array().unwrap();
    let broken: Vec<_> = rules.iter().filter(|rule| rule["kept"] == false).collect();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut fixes: Vec<_> = broken.iter().map(|rule| text(&rule["fix"])).collect();
    fixes.sort();
    fixes.dedup();
    assert!(report["requests"].as_u64().unwrap() < 100);
    assert_eq!(output.status.code(), Some(i32::from(report["good"] == false)));
    let broken = broken.iter().map(|rule| text(&rule["rule"])).collect();
    let not_checked = rules.iter().filter(|rule| rule["kept"].is_null());
    let not_checked = not_checked.map(|rule| {
        assert!(text(&rule["not_checked"]).contains("a proxy that buffers bodies"), "{rule}");
        text(&rule["rule"])
    });
    Examined { good: report["good"] == true, broken, fixes, not_checked: not_checked.collect() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_is_named_and_nothing_else() {
    let faults = [
        (Fault::ParsesFirst, &["parsed or judged before its signature is verified"][..]),
        (
            Fault::Reserializes,
            &["the receiver verifies a serialization", "the receiver verifies something else than"],
        ),
        (Fault::ReserializesSorted, &["the receiver verifies a serialization"]),
        (
            Fault::HasNoLimit,
            &["a body over the limit is not refused", "declared too large", "or read to its end"],
        ),
        (
            Fault::FailsWithoutHeader,
            &["fails if there is no signature header", "a signature in a trailer"],
        ),
        (Fault::Inflates, &["something inflates bodies before they are verified"]),
        (Fault::WorksFirst, &["a forged event takes as long as work does"]),
        (Fault::WorksBeforeItAnswers, &["the handler works before it answers"]),
        (Fault::ComparesText, &["compared as text"]),
        (Fault::ComparesAPart, &["only a part of the signature is compared"]),
        (Fault::TakesAPrefix, &["not exactly 64 hex digits"]),
        (Fault::HasNoSecret, &["runs without its secret"]),
        (Fault::TellsWhy, &["the answers tell a sender what is wrong"]),
        (
            Fault::KnowsNoOtherFields,
            &["refuses fields that it does not know", "or fields that are not known"],
        ),
        (Fault::WantsJson, &["only read if its content-type is application/json"]),
        (
            Fault::FailsOnNoEvent,
            &["an authentic body that is not an event makes the receiver fail"],
        ),
        (Fault::PicksOneSignature, &["of several signatures one is picked"]),
        (Fault::ClosesOnRefusals, &["the connection was closed without an answer"]),
        (Fault::WantsALength, &["a chunked body is not taken"]),
        (Fault::DecodesTexts, &["converts the body to a string and back"]),
        (Fault::TellsWhyInAHeader, &["the answers tell a sender what is wrong"]),
        (Fault::ReadsTheUnsigned, &["waits for a body that its headers already refuse"]),
        (Fault::RefusesRepetitions, &["a repeated event is not answered 2xx"]),
    ];
    let examined = faults
        .map(|(fault, fixes)| async move { (fault, fixes, examine(start(fault).await).await) });
    for examined in examined.map(tokio::spawn) {
        let (fault, fixes, examined) = examined.await.unwrap();
        assert!(!examined.good);
        for fix in fixes {
            let is_named = examined.fixes.iter().any(|named| named.contains(fix));
            assert!(is_named, "{fault:?}: {fix} is not among {:#?}", examined.fixes);
        }
        for named in &examined.fixes {
            let is_fault = fixes.iter().any(|fix| named.contains(fix));
            assert!(is_fault, "{fault:?}: {named}, because of {:?}", examined.broken);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_that_breaks_everything_is_among_what_is_named() {
    let faults = [
        (Fault::VerifiesNothing, "nothing verifies the signature"),
        (Fault::AnswersForbidden, "a bad signature is answered by another status"),
        (Fault::RemembersTheLast, "a changed body is accepted"),
        (Fault::ConsumesTheBody, "something in front has consumed it"),
        (Fault::Redirects, "it redirects"),
        (Fault::HasNoRoute, "there is nothing at this path"),
        (Fault::HasNoPost, "there is no POST at this path"),
    ];
    let examined =
        faults.map(|(fault, fix)| async move { (fault, fix, examine(start(fault).await).await) });
    for examined in examined.map(tokio::spawn) {
        let (fault, fix, examined) = examined.await.unwrap();
        let is_named = examined.fixes.iter().any(|named| named.contains(fix));
        assert!(!examined.good && is_named, "{fault:?}: {fix} is not among {:#?}", examined.fixes);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_fault_is_not_named() {
    for fault in [Fault::IsFarAway, Fault::NumbersItsAnswers] {
        let examined = examine(start(fault).await).await;
        // Nor is it clear what it compares as text.
        assert!(examined.good, "{fault:?}: {:#?} of {:?}", examined.fixes, examined.broken);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_buffers_bodies_is_told_from_a_fault() {
    let addr = start(Fault::IsBuffered).await;
    let examined = examine(addr).await;
    assert!(
        examined.broken.iter().any(|rule| rule == "a body that drips"),
        "{:?}",
        examined.broken
    );
    let [fix] = &*examined.fixes else { panic!("{:#?}", examined.fixes) };
    assert!(fix.contains("a proxy that buffers bodies"), "{fix}");
    assert!(fix.contains("`number7 doctor --proxied`"), "{fix}");
    let proxied = examine_with(addr, &["--proxied"]).await;
    assert!(proxied.good, "{:#?} of {:?}", proxied.fixes, proxied.broken);
    for rule in &examined.broken {
        assert!(proxied.not_checked.contains(rule), "{rule} is checked");
    }
    let direct = examine(start(Fault::IsFarAway).await).await;
    assert_eq!(direct.not_checked, [""; 0]);
}

/// What can be seen through a proxy is still found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_behind_a_proxy_is_found() {
    let examined = examine_with(start(Fault::TellsWhy).await, &["--proxied"]).await;
    let [fix] = &*examined.fixes else { panic!("{:#?}", examined.fixes) };
    assert!(!examined.good && fix.contains("the answers tell a sender what is wrong"), "{fix}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unusual_job_is_as_good_as_another() {
    for job in ["j", "invoice-42", &"ü".repeat(60)] {
        let addr = start(Fault::NumbersItsAnswers).await;
        let mut doctor = number7(addr);
        doctor.args(["--job", job]);
        let output = tokio::task::spawn_blocking(move || doctor.output().unwrap()).await.unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{job}: {printed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut doctor = number7(addr);
    doctor.args(["--body-timeout", "1"]);
    let begun = Instant::now();
    let doctor = tokio::task::spawn_blocking(move || doctor.output().unwrap()).await.unwrap();
    assert_eq!(doctor.status.code(), Some(1));
    let error = String::from_utf8(doctor.stderr).unwrap();
    assert!(error.contains("does not answer"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(90));
    drop(listener);
}
