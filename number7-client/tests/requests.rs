//! The client against the sandbox, and against servers that behave as no sandbox would.
#![allow(clippy::unwrap_used)]

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use number7_client::{
    ApiKey, Client, Document, DocumentType, Error, ErrorKind, FileStatus, Invoice, JobId,
    JobResult, RetryHint,
};
use number7_core::{Event, Fetch, Fetched};
use number7_sandbox::{DEFAULT_API_KEY, Misbehaviour, RunningSandbox, Sandbox, Secret, Share};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

const SECOND: Duration = Duration::from_secs(1);
const JOB_TIME: Duration = Duration::from_millis(200);

/// What the vendor publishes of a result: how a job ends, an example, and the fields that it has. Both the
/// client and the sandbox are held to it.
const RESULTS: [(&str, &str, &[&str]); 3] = [
    (
        "done",
        r#"{"jobId":"job_1","fileStatus":"done","documentType":"invoice","result":{"invoiceNo":"A-1"}}"#,
        &["documentType", "fileStatus", "jobId", "result"],
    ),
    (
        "failed",
        r#"{"jobId":"job_1","fileStatus":"failed","documentType":"invoice","error":"page 2"}"#,
        &["documentType", "error", "fileStatus", "jobId"],
    ),
    ("running", r#"{"jobId":"job_1","fileStatus":"ai_processing"}"#, &["fileStatus", "jobId"]),
];

fn key() -> ApiKey {
    ApiKey::new(DEFAULT_API_KEY).unwrap()
}

fn client(base_url: impl AsRef<str>) -> Client {
    Client::new(key()).requests_per_minute(1_000).base_url(base_url).unwrap()
}

fn sandbox(settings: impl FnOnce(Sandbox) -> Sandbox) -> RunningSandbox {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let sandbox = Sandbox::new(Secret::new("secret").unwrap()).plan(1_000, 100).job_time(JOB_TIME);
    settings(sandbox).start(tokio::net::TcpListener::from_std(listener).unwrap()).unwrap()
}

fn invoice() -> Document {
    Document::from_bytes(DocumentType::Invoice, "invoice.pdf", "%PDF-1.7")
}

/// Waits until the job is no longer running.
async fn ended(client: &Client, job: &JobId) -> JobResult {
    for _ in 0..200 {
        match client.result(job).await.unwrap() {
            JobResult::Running(_) => tokio::time::sleep(SECOND / 20).await,
            ended => return ended,
        }
    }
    panic!("{job} does not end")
}

/// A server that reads whole requests and keeps them. To each it sends the next of its answers, and closes
/// the connection; when there are no more, it repeats the last.
struct Raw {
    addr: SocketAddr,
    requests: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Raw {
    fn new(answers: &[&str]) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), answers)
    }

    fn on(listener: TcpListener, answers: &[&str]) -> Self {
        let raw = Self { addr: listener.local_addr().unwrap(), requests: Arc::default() };
        let requests = Arc::clone(&raw.requests);
        let answers: Vec<_> = answers.iter().map(|answer| answer.as_bytes().to_vec()).collect();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let request = read_request(&mut stream);
                let mut requests = requests.lock().unwrap();
                let answer = &answers[requests.len().min(answers.len() - 1)];
                requests.push(request);
                drop(requests);
                if answer.is_empty() {
                    // Nothing: the client has to give up.
                    thread::spawn(move || {
                        thread::sleep(SECOND * 30);
                        drop(stream);
                    });
                } else {
                    _ = stream.write_all(answer);
                }
            }
        });
        raw
    }

    fn url(&self) -> String {
        format!("http://{}/api/v1/", self.addr)
    }

    fn client(&self) -> Client {
        client(self.url())
    }

    fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

/// Reads a request to its end.
fn read_request(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(SECOND * 10)).unwrap();
    let (mut request, mut part) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(end) = find(&request, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1);
            let length = length.map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
            let is_whole = match head.contains("transfer-encoding: chunked") {
                true => request.ends_with(b"0\r\n\r\n"),
                false => request.len() >= end + 4 + length,
            };
            if is_whole {
                return request;
            }
        }
        match stream.read(&mut part) {
            Ok(0) | Err(_) => return request,
            Ok(read) => request.extend_from_slice(&part[..read]),
        }
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    )
}

fn ok(data: &str) -> String {
    answer("200 OK", "", &format!(r#"{{"success":true,"data":{data}}}"#))
}

/// So many seconds from now, as the vendor says when it counts anew.
fn reset(seconds: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    format!("x-ratelimit-remaining: 0\r\nx-ratelimit-reset: {}\r\n", now + seconds)
}

const UPLOADED: &str = r#"{"jobId":"job_1","fileStatus":"uploading"}"#;

fn name(result: &JobResult) -> &'static str {
    match result {
        JobResult::Finished(_) => "done",
        JobResult::Failed(_) => "failed",
        JobResult::Running(_) => "running",
        _ => panic!("{result:?}"),
    }
}

#[test]
fn the_defaults_are_the_published_ones() {
    assert_eq!(number7_client::DEFAULT_BASE_URL, "https://api.number7ai.com/api/v1");
    assert_eq!(number7_client::DEFAULT_REQUESTS_PER_MINUTE, 30);
    assert_eq!(number7_sandbox::DEFAULT_REQUESTS_PER_MINUTE, 30);
    assert_eq!(number7_sandbox::DEFAULT_CONCURRENT_JOBS, 5);
}

#[tokio::test]
async fn the_client_reads_what_is_published() {
    let job = JobId::from("job_1");
    for (how, data, _) in RESULTS {
        let raw = Raw::new(&[&ok(data)]);
        let result = raw.client().result(&job).await.unwrap();
        assert_eq!(name(&result), how);
        match result {
            JobResult::Finished(done) => {
                assert_eq!(done.document_type, DocumentType::Invoice);
                assert_eq!(
                    done.result.parse::<Invoice>().unwrap().invoice_no.as_deref(),
                    Some("A-1")
                );
                assert_eq!(done.data.get(), data);
            }
            JobResult::Failed(failed) => assert_eq!(failed.error, "page 2"),
            JobResult::Running(running) => {
                assert_eq!(running.file_status, FileStatus::AiProcessing)
            }
            _ => unreachable!(),
        }
        let request = raw.requests.lock().unwrap()[0].clone();
        let head = String::from_utf8(request).unwrap();
        assert!(head.starts_with("GET /api/v1/results/job_1 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("authorization: Bearer sandbox\r\n"), "{head}");
    }
}

#[tokio::test]
async fn the_sandbox_answers_what_is_published() {
    let done = sandbox(|sandbox| sandbox);
    let mut misbehaviour = Misbehaviour::default();
    misbehaviour.fail_jobs = Share::ALL;
    let failed = sandbox(|sandbox| sandbox.misbehave(misbehaviour));
    let running = sandbox(|sandbox| sandbox.job_time(SECOND * 60));
    for (sandbox, (how, _, fields)) in [done, failed, running].into_iter().zip(RESULTS) {
        let client = client(sandbox.base_url());
        let upload = client.upload(invoice()).await.unwrap();
        assert_eq!(upload.file_status, FileStatus::Uploading);
        let result = match how {
            "running" => client.result(&upload.job_id).await.unwrap(),
            _ => ended(&client, &upload.job_id).await,
        };
        assert_eq!(name(&result), how);
        let data = match &result {
            JobResult::Finished(job) => &job.data,
            JobResult::Failed(job) => &job.data,
            JobResult::Running(job) => &job.data,
            _ => unreachable!(),
        };
        let mut names: Vec<_> =
            data.parse::<serde_json::Map<_, _>>().unwrap().into_iter().collect();
        names.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(names.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), fields);
        let unknown = client.result(&"job_unknown".into()).await.unwrap_err();
        assert_eq!(unknown.kind(), ErrorKind::UnknownJob);
    }
}

#[tokio::test]
async fn what_is_not_published_is_kept() {
    let raw = Raw::new(&[
        &ok(r#"{"jobId":"job_1","fileStatus":"archived","pages":3}"#),
        &ok(r#"{"fileStatus":"done","documentType":"cheque","result":[1.10],"pages":3}"#),
        &ok(r#"{"fileStatus":"failed","error":{"code":7}}"#),
    ]);
    let (client, job) = (raw.client(), JobId::from("job_1"));
    let JobResult::Running(running) = client.result(&job).await.unwrap() else { panic!() };
    assert_eq!(running.file_status.as_str(), "archived");
    assert_eq!(running.data.parse::<Value>().unwrap()["pages"], 3);
    let JobResult::Finished(done) = client.result(&job).await.unwrap() else { panic!() };
    assert_eq!((done.document_type.as_str(), done.result.get()), ("cheque", "[1.10]"));
    assert_eq!(done.job_id, job);
    let JobResult::Failed(failed) = client.result(&job).await.unwrap() else { panic!() };
    assert_eq!(failed.error, r#"{"code":7}"#);
}

/// Python's parser of e-mail reads the form, byte by byte.
const PARSE: &str = r"
import email, email.policy, json, sys
head, body = sys.stdin.buffer.read().split(b'\r\n\r\n', 1)
head = email.message_from_bytes(head.split(b'\r\n', 1)[1])
if head['transfer-encoding'] == 'chunked':
    whole, rest = b'', body
    while True:
        size, rest = rest.split(b'\r\n', 1)
        size = int(size, 16)
        whole, rest = whole + rest[:size], rest[size + 2:]
        if size == 0: break
    body = whole
elif int(head['content-length']) != len(body):
    sys.exit('the length is wrong')
form = b'content-type: ' + head['content-type'].encode() + b'\r\n\r\n' + body
form = email.message_from_bytes(form, policy=email.policy.HTTP)
print(json.dumps([[
    part.get_param('name', header='content-disposition'), part.get_filename(),
    part.get_content_type(), part.get_payload(decode=True).hex(),
] for part in form.iter_parts()]))
";

fn parse_form(request: &[u8]) -> Value {
    let mut python = Command::new("python3")
        .args(["-c", PARSE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(request).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn an_upload_is_the_published_form() {
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Rechnung ä.tiff");
    std::fs::write(&path, &bytes).unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let documents = [
        (Document::from_path(DocumentType::Grn, &path), "Rechnung ä.tiff", "image/tiff"),
        (Document::from_bytes("grn", "a.pdf", bytes.clone()), "a.pdf", "application/pdf"),
        (
            Document::from_bytes("grn", "noextension", bytes.clone()),
            "noextension",
            "application/octet-stream",
        ),
        (
            Document::from_reader("grn", "b.pdf", std::io::Cursor::new(bytes.clone()))
                .on_progress(move |bytes| counted.store(bytes, Ordering::Relaxed))
                .mime_type("image/x-own"),
            "b.pdf",
            "image/x-own",
        ),
        (
            Document::from_reader("grn", "c.png", std::io::Cursor::new(bytes.clone()))
                .length(300_000),
            "c.png",
            "image/png",
        ),
    ];
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for (document, name, mime) in documents {
        let raw = Raw::new(&[&ok(UPLOADED)]);
        let upload = raw.client().upload(document).await.unwrap();
        assert_eq!((upload.job_id.as_str(), upload.file_status), ("job_1", FileStatus::Uploading));
        let request = raw.requests.lock().unwrap()[0].clone();
        let line = b"POST /api/v1/upload?document.type=grn&document.version=v1 HTTP/1.1\r\n";
        assert!(request.starts_with(line));
        let is_chunked = find(&request[..2_000], b"chunked").is_some();
        assert_eq!(is_chunked, name == "b.pdf", "{name}");
        let form = json!([
            ["file", name, mime, hex(&bytes)],
            ["fileName", null, "text/plain", hex(name.as_bytes())],
            ["fileType", null, "text/plain", hex(mime.as_bytes())],
        ]);
        assert_eq!(parse_form(&request), form, "{name}");
    }
    assert_eq!(sent.load(Ordering::Relaxed), 300_000);
}

#[tokio::test]
async fn an_upload_that_may_have_arrived_is_not_sent_again() {
    for (first, kind) in [
        (answer("503 Service Unavailable", "", ""), ErrorKind::Server),
        (answer("200 OK", "", "<html>welcome</html>"), ErrorKind::NotUnderstood),
        ("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"succ".to_owned(), ErrorKind::Network),
        ("x".to_owned(), ErrorKind::Network),
        (String::new(), ErrorKind::Timeout),
    ] {
        let raw = Raw::new(&[&first, &ok(UPLOADED)]);
        let client = raw.client().upload_timeout(SECOND * 2);
        let error = client.upload(invoice()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{first:?}: {error}");
        tokio::time::sleep(SECOND / 5).await;
        assert_eq!(raw.count(), 1, "{first:?}");
    }
}

#[tokio::test]
async fn a_refused_connection_and_a_429_are_tried_again() {
    let raw = Raw::new(&[&answer("429 Too Many Requests", &reset(2), ""), &ok(UPLOADED)]);
    let begun = Instant::now();
    raw.client().upload(invoice()).await.unwrap();
    assert_eq!(raw.count(), 2);
    assert!(begun.elapsed() > SECOND, "{:?}", begun.elapsed());
    // A reader is gone after the first time.
    let raw = Raw::new(&[&answer("429 Too Many Requests", &reset(1), ""), &ok(UPLOADED)]);
    let document = Document::from_reader("grn", "a.pdf", &b"once"[..]);
    let error = raw.client().upload(document).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("http://{addr}/api/v1");
    let upload = tokio::spawn(async move { client(url).upload(invoice()).await });
    tokio::time::sleep(SECOND / 2).await;
    let raw = Raw::on(TcpListener::bind(addr).unwrap(), &[&ok(UPLOADED)]);
    upload.await.unwrap().unwrap();
    assert_eq!(raw.count(), 1);
}

#[tokio::test]
async fn a_result_is_tried_again_as_the_vendor_asks() {
    let unavailable = answer("503 Service Unavailable", "", "");
    let raw = Raw::new(&[&unavailable, "x", &ok(RESULTS[0].1)]);
    let begun = Instant::now();
    raw.client().result(&"job_1".into()).await.unwrap();
    assert_eq!(raw.count(), 3);
    assert!(begun.elapsed() >= SECOND * 3, "{:?}", begun.elapsed());

    let raw = Raw::new(&[&unavailable]);
    let error = raw.client().result(&"job_1".into()).await.unwrap_err();
    assert_eq!((error.kind(), error.is_transient(), raw.count()), (ErrorKind::Server, true, 4));

    // It ends when the next attempt would be too late.
    let raw = Raw::new(&[&unavailable]);
    let begun = Instant::now();
    let error = raw.client().timeout(SECOND * 2).result(&"job_1".into()).await.unwrap_err();
    assert_eq!((error.kind(), raw.count()), (ErrorKind::Server, 2));
    assert!(begun.elapsed() < SECOND * 2, "{:?}", begun.elapsed());

    let raw = Raw::new(&[&answer("429 Too Many Requests", &reset(40), "")]);
    let error = raw.client().result(&"job_1".into()).await.unwrap_err();
    assert_eq!((error.kind(), raw.count()), (ErrorKind::RateLimited, 1));
    let after = error.retry_after().unwrap();
    assert!(after > SECOND * 35 && after <= SECOND * 40, "{after:?}");
    assert_eq!(RetryHint::of(&error), Some(RetryHint::After(after)));
}

#[tokio::test]
async fn each_failure_has_its_kind_and_no_text_has_the_key() {
    let elsewhere = Raw::new(&[&ok(RESULTS[0].1)]);
    let redirect = format!("location: http://{}/api/v1/results/job_1\r\n", elsewhere.addr);
    let never = Some(RetryHint::Never);
    let minute = Some(RetryHint::After(SECOND * 60));
    for (sent, kind, hint) in [
        (answer("401 Unauthorized", "", "sandbox"), ErrorKind::Unauthorized, minute),
        (answer("404 Not Found", "", "sandbox"), ErrorKind::UnknownJob, never),
        (answer("400 Bad Request", "", "sandbox"), ErrorKind::Refused, None),
        (answer("302 Found", &redirect, ""), ErrorKind::NotUnderstood, None),
        (answer("200 OK", "", "<html>sandbox</html>"), ErrorKind::NotUnderstood, None),
        (answer("200 OK", "", ""), ErrorKind::NotUnderstood, None),
        (answer("200 OK", "", r#"{"success":true}"#), ErrorKind::NotUnderstood, None),
        (answer("200 OK", "", r#"{"success":false}"#), ErrorKind::Refused, None),
        (ok(r#"{"jobId":"job_2","fileStatus":"done"}"#), ErrorKind::NotUnderstood, None),
        (ok(r#"{"jobId":"job_1","fileStatus":7}"#), ErrorKind::NotUnderstood, None),
        ("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".to_owned(), ErrorKind::Network, None),
        (String::new(), ErrorKind::Timeout, None),
    ] {
        let raw = Raw::new(&[&sent]);
        // Long enough for a slow machine, and for all attempts.
        let limit = if sent.is_empty() { SECOND * 9 / 10 } else { SECOND * 10 };
        let client = raw.client().timeout(limit);
        let error: Error = client.result(&"job_1".into()).await.unwrap_err();
        assert_eq!((error.kind(), RetryHint::of(&error)), (kind, hint), "{sent:?}: {error}");
        let text = format!("{error} {error:?} {client:?} {:?}", key());
        assert!(!text.contains("sandbox"), "{text}");
        assert_eq!(raw.count(), if kind == ErrorKind::Network { 4 } else { 1 }, "{sent:?}");
    }
    assert_eq!(elsewhere.count(), 0, "a redirect was followed");
}

#[tokio::test]
async fn no_more_is_sent_than_the_plan_allows() {
    let sandbox = sandbox(|sandbox| sandbox.plan(4, 9));
    let client = Client::new(key()).requests_per_minute(3).base_url(sandbox.base_url()).unwrap();
    let job = client.upload(invoice()).await.unwrap().job_id;
    client.result(&job).await.unwrap();
    client.clone().result(&job).await.unwrap();
    let begun = Instant::now();
    let error = client.result(&job).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert!(error.retry_after().unwrap() > SECOND * 40);
    assert!(begun.elapsed() < SECOND, "it waited");
    // Another process takes what is left, and then the vendor's answer says so to a third.
    let other = Client::new(key()).base_url(sandbox.base_url()).unwrap();
    other.result(&job).await.unwrap();
    let error = other.result(&job).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert_eq!((sandbox.summary().rate_limited, sandbox.summary().served), (0, 4));
}

#[tokio::test]
async fn a_large_result_is_read_and_a_revoked_key_has_its_kind() {
    let sandbox = sandbox(|sandbox| sandbox.padding(20_000_000));
    let client = client(sandbox.base_url());
    let job = client.upload(invoice()).await.unwrap().job_id;
    let JobResult::Finished(done) = ended(&client, &job).await else { panic!() };
    assert!(done.result.get().len() > 20_000_000);
    sandbox.rotate_api_key("another");
    assert_eq!(client.result(&job).await.unwrap_err().kind(), ErrorKind::Unauthorized);
}

#[tokio::test]
async fn a_fetched_event_is_the_webhooks() {
    let raw = Raw::new(&[&ok(RESULTS[0].1), &ok(RESULTS[1].1), &ok(RESULTS[2].1)]);
    let client = raw.client();
    let mut webhooks = [
        r#"{"event":"job.completed","jobId":"job_1","fileStatus":"done","documentType":"invoice","timestamp":""#,
        r#"{"event":"job.failed","jobId":"job_1","fileStatus":"failed","documentType":"invoice","timestamp":""#,
    ]
    .into_iter();
    for end in [r#"Z"}"#, r#"Z","error":"page 2"}"#] {
        let Fetched::Finished(event) = client.fetch("job_1".into()).await.unwrap() else {
            panic!()
        };
        let json = serde_json::to_string(&event).unwrap();
        assert!(json.starts_with(webhooks.next().unwrap()) && json.ends_with(end), "{json}");
        assert_eq!(Event::from_json(&json).unwrap(), event);
    }
    assert_eq!(client.fetch("job_1".into()).await.unwrap(), Fetched::StillRunning);
    let raw = Raw::new(&[&answer("404 Not Found", "", "")]);
    assert_eq!(raw.client().fetch("job_1".into()).await.unwrap(), Fetched::Unknown);
}

#[tokio::test]
async fn a_job_id_is_one_segment_of_the_path() {
    let data = r#"{"fileStatus":"uploading"}"#;
    for (id, path) in [("a/b", "a%2Fb"), ("../upload", "..%2Fupload"), ("a?b#c", "a%3Fb%23c")] {
        let raw = Raw::new(&[&ok(data)]);
        raw.client().result(&id.into()).await.unwrap();
        let request = String::from_utf8(raw.requests.lock().unwrap()[0].clone()).unwrap();
        assert!(request.starts_with(&format!("GET /api/v1/results/{path} HTTP")), "{request}");
    }
    for id in ["", ".", ".."] {
        let raw = Raw::new(&[&ok(data)]);
        let error = raw.client().result(&id.into()).await.unwrap_err();
        assert_eq!((error.kind(), raw.count()), (ErrorKind::UnknownJob, 0), "{id}");
    }
}

#[test]
fn the_key_goes_to_no_network_in_plain_text() {
    for url in
        ["http://api.number7ai.com", "ftp://127.0.0.1", "api", "https://u:p@h", "https://h?a"]
    {
        let error = Client::new(key()).base_url(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
    }
    for url in ["https://example.com/v2", "http://localhost:1", "http://[::1]:1/", "http://127.1"] {
        assert!(Client::new(key()).base_url(url).is_ok(), "{url}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_not_sent() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.pdf");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let raw = Raw::new(&[&ok(UPLOADED)]);
    let client = raw.client().requests_per_minute(1);
    for document in [
        Document::from_path("grn", "does/not/exist.pdf"),
        Document::from_path("grn", "/"),
        Document::from_path("grn", env!("CARGO_MANIFEST_DIR")),
        Document::from_path("grn", pipe),
        Document::from_bytes("grn", "", "x"),
        Document::from_bytes("grn", "a.pdf", "x").mime_type("no type"),
    ] {
        let shown = format!("{document:?}");
        let error = client.upload(document).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Document, "{shown}: {error}");
    }
    assert_eq!(raw.count(), 0);
    client.upload(invoice()).await.expect("none of them has used up the plan");
}

#[tokio::test]
async fn a_document_is_sent_as_a_whole_or_not_at_all() {
    let bytes = || std::io::Cursor::new(vec![b'x'; 200_000]);
    let broken = AsyncReadExt::chain(bytes(), Broken);
    for (document, text) in [
        (Document::from_reader("grn", "a.pdf", bytes()).length(199_999), "longer than 199999"),
        (Document::from_reader("grn", "a.pdf", bytes()).length(65_536), "longer than 65536"),
        (Document::from_reader("grn", "a.pdf", bytes()).length(200_001), "shorter than 200001"),
        (Document::from_reader("grn", "a.pdf", broken), "could not be read: the disk is on fire"),
    ] {
        let raw = Raw::new(&[&ok(UPLOADED)]);
        let error = raw.client().upload(document).await.unwrap_err();
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Document, false), "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
}

struct Broken;

impl tokio::io::AsyncRead for Broken {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        _: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Err(std::io::Error::other("the disk is on fire")))
    }
}

#[tokio::test]
async fn a_404_to_an_upload_is_about_the_url() {
    let raw = Raw::new(&[&answer("404 Not Found", "", "")]);
    let error = raw.client().upload(invoice()).await.unwrap_err();
    assert_eq!((error.kind(), RetryHint::of(&error)), (ErrorKind::Refused, None));
    assert!(error.to_string().contains("no API at this URL"), "{error}");
}

/// An outage is not taken for the rate limit, and uses up nothing of it.
#[tokio::test]
async fn many_that_meet_no_server_say_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let client = client(format!("http://{addr}")).requests_per_minute(12);
    let client = client.timeout(SECOND * 4);
    let requests = (0..10).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { client.result(&"job_1".into()).await.unwrap_err().kind() })
    });
    for request in requests.collect::<Vec<_>>() {
        assert_eq!(request.await.unwrap(), ErrorKind::Network);
    }
    let raw = Raw::on(TcpListener::bind(addr).unwrap(), &[&ok(RESULTS[0].1)]);
    client.result(&"job_1".into()).await.unwrap();
    // Neither is a vendor that fails.
    let raw_unavailable = Raw::new(&[&answer("503 Service Unavailable", "", "")]);
    let client = raw_unavailable.client().requests_per_minute(2);
    let error = client.result(&"job_1".into()).await.unwrap_err();
    assert_eq!((error.kind(), raw_unavailable.count(), raw.count()), (ErrorKind::Server, 2, 1));
}

#[tokio::test]
async fn a_limit_that_is_never_reached_is_no_panic() {
    let raw = Raw::new(&[&ok(UPLOADED)]);
    let client = raw.client().timeout(Duration::MAX).upload_timeout(Duration::MAX);
    client.upload(invoice()).await.unwrap();
}

/// The status and the headers count, whatever becomes of the body.
#[tokio::test]
async fn a_429_whose_body_breaks_off_is_a_429() {
    let sent =
        format!("HTTP/1.1 429 Too Many Requests\r\ncontent-length: 99\r\n{}\r\n{{", reset(40));
    let raw = Raw::new(&[&sent]);
    let error = raw.client().result(&"job_1".into()).await.unwrap_err();
    assert_eq!((error.kind(), raw.count()), (ErrorKind::RateLimited, 1));
}
