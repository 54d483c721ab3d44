//! Runs the example for AWS Lambda against a stand-in for Lambda's runtime API.
#![allow(clippy::unwrap_used)]

use std::{
    collections::VecDeque,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use number7_core::{SIGNATURE_HEADER, Secret};
use number7_examples::DEMO_SECRET;
use number7_inbox::{Filter, Inbox, State as Is};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

const BODY: &str = r#"{"event":"job.completed","jobId":"job_1","fileStatus":"done","documentType":"invoice","timestamp":"2026-04-22T10:00:00.000Z"}"#;

/// `BODY` in base64, as API Gateway may send it.
const BASE64: &str = "eyJldmVudCI6ImpvYi5jb21wbGV0ZWQiLCJqb2JJZCI6ImpvYl8xIiwiZmlsZVN0YXR1cyI6ImRvbmUiLCJkb2N1bWVudFR5cGUiOiJpbnZvaWNlIiwidGltZXN0YW1wIjoiMjAyNi0wNC0yMlQxMDowMDowMC4wMDBaIn0=";

#[derive(Clone)]
struct Runtime {
    events: Arc<Mutex<VecDeque<Value>>>,
    answers: mpsc::UnboundedSender<Value>,
}

async fn next(State(runtime): State<Runtime>) -> Response {
    let event = runtime.events.lock().unwrap().pop_front();
    let Some(event) = event else { return std::future::pending().await };
    let headers = [
        ("lambda-runtime-aws-request-id", "1"),
        ("lambda-runtime-deadline-ms", "9999999999999"),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-west-1:1:function:test"),
    ];
    (headers, Json(event)).into_response()
}

async fn answered(State(runtime): State<Runtime>, answer: String) -> StatusCode {
    runtime.answers.send(serde_json::from_str(&answer).unwrap()).unwrap();
    StatusCode::ACCEPTED
}

/// An event of an HTTP API.
fn event(signature: Option<String>, body: &str, is_base64: bool) -> Value {
    let mut headers = json!({ "content-type": "application/json", "host": "test" });
    if let Some(signature) = signature {
        headers[SIGNATURE_HEADER] = signature.into();
    }
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": "/webhook", "rawQueryString": "", "headers": headers,
        "requestContext": {
            "accountId": "1", "apiId": "1", "domainName": "test", "domainPrefix": "test", "requestId": "1", "routeKey": "$default",
            "stage": "$default", "time": "22/Apr/2026:10:00:00 +0000", "timeEpoch": 1776852000000u64,
            "http": { "method": "POST", "path": "/webhook", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "test" },
        },
        "body": body, "isBase64Encoded": is_base64,
    })
}

struct Function(Child);

impl Drop for Function {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn a_function_stores_what_is_signed_and_refuses_the_rest() {
    let signature = || Some(Secret::new(DEMO_SECRET).unwrap().sign(BODY).to_string());
    let events = [
        event(signature(), BODY, false),
        event(signature(), BASE64, true),
        event(signature(), "{}", false),
        event(None, BODY, false),
    ];
    let (answers, mut answered_with) = mpsc::unbounded_channel();
    let runtime = Runtime { events: Arc::new(Mutex::new(events.into())), answers };
    let app = Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{id}/response", post(answered))
        .with_state(runtime);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });

    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("inbox.db").display());
    let function = Command::new(env!("CARGO_BIN_EXE_receive-lambda"))
        .env("AWS_LAMBDA_RUNTIME_API", addr.to_string())
        .env("AWS_LAMBDA_FUNCTION_NAME", "test")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        .env("AWS_LAMBDA_LOG_GROUP_NAME", "test")
        .env("AWS_LAMBDA_LOG_STREAM_NAME", "test")
        .env("NUMBER7_STORE", &store)
        .env("WEBHOOK_SECRET", DEMO_SECRET)
        .stderr(Stdio::null())
        .spawn();
    let _function = Function(function.unwrap());
    for status in [200, 200, 401, 401] {
        let answer = timeout(Duration::from_secs(60), answered_with.recv()).await.unwrap().unwrap();
        assert_eq!(answer["statusCode"], status, "{answer}");
    }
    // Another process has the worker that handles it.
    let inbox = Inbox::open(&store).await.unwrap();
    let ready = inbox.list(Is::Ready, &Filter::default(), None, 10).await.unwrap();
    let keys: Vec<_> = ready.entries.iter().map(|entry| entry.key()).collect();
    assert_eq!(keys, ["job.completed:job_1"]);
}
