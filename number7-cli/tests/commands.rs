//! Each subcommand, as its user types it.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, http::HeaderMap, routing::post};
use number7_core::{SIGNATURE_HEADER, Secret, Verifier};
use number7_inbox::{AcceptedEvent, Inbox};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_rustls::{TlsAcceptor, rustls};

const SECRET: &str = "the-secret-of-the-tests";
const BODY: &str = r#"{"event":"job.completed","jobId":"job_1"}"#;

fn number7(args: &[&str]) -> Command {
    let mut number7 = Command::new(env!("CARGO_BIN_EXE_number7"));
    number7.args(args).env("WEBHOOK_SECRET", SECRET).env_remove("NUMBER7_STORE");
    number7
}

/// The exit code, the output, and what was said beside it.
fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn run_json(args: &[&str]) -> (i32, Value) {
    let (code, printed, error) = run(&mut number7(&[&["--json"], args].concat()));
    (code, serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{printed}{error}")))
}

fn file(folder: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

fn sign(body: &str) -> String {
    Secret::new(SECRET).unwrap().sign(body).to_string()
}

/// `number7 listen`, until it is dropped.
struct Listening {
    process: Child,
    url: String,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Listening {
    fn start(args: &[&str]) -> Self {
        let args = [&["listen", "--addr", "127.0.0.1:0"], args].concat();
        let mut process = number7(&args).stdout(Stdio::piped()).spawn().unwrap();
        let mut printed = BufReader::new(process.stdout.take().unwrap()).lines();
        let first = printed.next().unwrap().unwrap();
        let url = first.strip_prefix("listening on ").unwrap().to_owned();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        thread::spawn(move || printed.for_each(|line| kept.lock().unwrap().push(line.unwrap())));
        Self { process, url, lines }
    }

    /// Waits for a line that has all of these in it.
    #[track_caller]
    fn prints(&self, parts: &[&str]) {
        let begun = Instant::now();
        loop {
            let lines = self.lines.lock().unwrap();
            if lines.iter().any(|line| parts.iter().all(|part| line.contains(part))) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{parts:?} is not in {lines:#?}");
            drop(lines);
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // It may have ended.
        _ = self.process.kill();
        self.process.wait().unwrap();
    }
}

#[test]
fn sign_prints_the_header_of_exactly_these_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let body = file(&folder, "body", BODY);
    let header = format!("x-number7ai-signature: {}\n", sign(BODY));
    assert_eq!(run(&mut number7(&["sign", &body])), (0, header, String::new()));
    let signed = json!({ "header": "x-number7ai-signature", "signature": sign(BODY) });
    assert_eq!(run_json(&["sign", &body]), (0, signed));

    let mut process =
        number7(&["sign"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(b"{}\n").unwrap();
    let printed = String::from_utf8(process.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(printed, format!("x-number7ai-signature: {}\n", sign("{}\n")));
}

#[test]
fn the_secret_comes_from_a_variable_a_file_or_with_a_warning_from_an_argument() {
    let folder = tempfile::tempdir().unwrap();
    let (body, secret) = (file(&folder, "body", BODY), file(&folder, "secret", "another\n"));
    let signed = |secret: &str| {
        let signature = Secret::new(secret).unwrap().sign(BODY);
        format!("x-number7ai-signature: {signature}\n")
    };
    let of_file = run(&mut number7(&["sign", &body, "--secret-file", &secret]));
    assert_eq!(of_file, (0, signed("another"), String::new()));
    let mut of_variable = number7(&["sign", &body, "--secret-env", "OTHER"]);
    let of_variable = run(of_variable.env("OTHER", "a third"));
    assert_eq!(of_variable, (0, signed("a third"), String::new()));
    let mut named = number7(&["sign", &body, "--secret-env", "OTHER"]);
    let named = named.env_remove("OTHER").env("OTHER_FILE", &secret);
    assert_eq!(run(named), (0, signed("another"), String::new()));
    let (code, _, both) = run(named.env("OTHER", "a third"));
    assert_eq!(code, 3);
    assert!(both.contains("OTHER: the secret and a file for it are both set"), "{both}");
    let (code, printed, warning) = run(&mut number7(&["sign", &body, "--secret", "seen"]));
    assert_eq!((code, printed), (0, signed("seen")));
    assert!(warning.starts_with("warning: a secret among the arguments"), "{warning}");

    let missing = run(number7(&["sign", &body]).env_remove("WEBHOOK_SECRET"));
    assert_eq!((missing.0, &*missing.1), (3, ""));
    assert!(
        missing.2.starts_with("error: the environment variable WEBHOOK_SECRET is not set: export")
    );
    let missing = run(&mut number7(&["sign", "no such file"]));
    assert!(missing.2.starts_with("error: no such file: No such file"), "{}", missing.2);
    let two = run(&mut number7(&["sign", &body, "--secret", "a", "--secret-file", &secret]));
    assert_eq!(two.0, 2);
}

#[test]
fn verify_says_yes_or_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let body = file(&folder, "body", BODY);
    let verify = |signature: &str, more: &[&str]| {
        let args = [&["verify", &body, "--signature", signature], more].concat();
        let mut verify = number7(&args);
        run(verify.env("STAGING", "the secret of staging"))
    };
    assert_eq!(verify(&sign(BODY), &[]), (0, "yes\n".into(), String::new()));
    let (code, why, _) = verify(&sign(&format!("{BODY}\n")), &[]);
    assert_eq!(code, 1);
    assert!(why.starts_with("no: the body lost the newline at its end"), "{why}");
    let (code, why, _) = verify(&format!("sha256={}", sign(BODY)), &[]);
    assert_eq!(code, 1);
    assert!(why.starts_with("no: probably the header has a prefix"), "{why}");
    let staging = Secret::new("the secret of staging").unwrap().sign(BODY).to_string();
    let (_, why, _) = verify(&staging, &["--recognize", "staging=STAGING"]);
    assert!(why.contains("[secret \"staging\"]"), "{why}");
    let (code, _, error) = verify(&staging, &["--recognize", "staging"]);
    assert_eq!(code, 2);
    assert!(error.contains("it has to be NAME=VARIABLE"), "{error}");

    let (code, why) = run_json(&["verify", &body, "--signature", &"0".repeat(64)]);
    let expected = json!({ "verified": false, "kind": "SignatureMismatch", "diagnosis": null });
    assert_eq!((code, why), (1, expected));
    // A body that no receiver would take is verified all the same.
    let large = "x".repeat(1024 * 1024);
    let large_file = file(&folder, "large", &large);
    let verified = run(&mut number7(&["verify", &large_file, "--signature", &sign(&large)]));
    assert_eq!(verified.0, 0);
}

#[test]
fn listen_tells_what_comes_and_why_it_is_refused() {
    let listening = Listening::start(&[]);
    let send = |args: &[&str]| {
        let args = [&["send", "--retries", "0", "--url", &listening.url], args].concat();
        run(&mut number7(&args))
    };
    let (code, printed, _) = send(&["--event", "failed", "--job", "job_7"]);
    assert_eq!(code, 0);
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines[0], format!("sending job.failed of job_7 to {}", listening.url));
    assert_eq!(lines[1..], ["attempt 1: 200 OK"]);
    listening.prints(&["verified 200 job.failed:job_7"]);

    let (code, printed, _) = send(&["--forge"]);
    assert_eq!(code, 1);
    assert!(printed.ends_with("it was not delivered\n"), "{printed}");
    listening.prints(&["refused  401 SignatureMismatch: the body has a newline or white space"]);
    send(&["--secret", "quite another"]);
    listening.prints(&["refused  401 SignatureMismatch", "no known cause was found"]);
}

#[test]
fn many_are_sent_at_the_rate_that_was_asked_for_and_summed_up() {
    let listening = Listening::start(&[]);
    let begun = Instant::now();
    let many =
        ["send", "--count", "30", "--concurrency", "4", "--rate", "50", "--url", &listening.url];
    let (code, summary) = run_json(&many);
    // The last one is due 29 fiftieths of a second after the first.
    assert!(begun.elapsed() >= Duration::from_millis(580));
    assert_eq!(code, 0, "{summary}");
    assert_eq!((&summary["deliveries"], &summary["accepted"]), (&json!(30), &json!(30)));
    assert_eq!(summary["answers"], json!({ "200": 30 }));
    let latency = |name: &str| summary["latency_ms"][name].as_f64().unwrap();
    assert!(0.0 < latency("p50") && latency("p50") <= latency("p99"));
    assert!(latency("p99") <= latency("max"));
    listening.prints(&["job.completed:job_abc123-29"]);

    let twice = ["send", "--count", "2", "--times", "2", "--url", &listening.url];
    let (code, printed, _) = run(&mut number7(&twice));
    assert_eq!(code, 0);
    assert!(printed.starts_with("4 of 4 delivered in "), "{printed}");
    assert!(printed.contains("\n       4  200 OK\nlatency  p50 "), "{printed}");
}

#[test]
fn what_is_not_answered_is_tried_again() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/webhook", closed.local_addr().unwrap());
    drop(closed);
    let begun = Instant::now();
    let (code, printed, _) = run(&mut number7(&["send", "--retries", "1", "--url", &url]));
    assert_eq!(code, 1);
    let lines: Vec<_> = printed.lines().collect();
    assert!(lines[1].starts_with("attempt 1: no answer: "), "{printed}");
    assert_eq!(lines[2], "next attempt in 1s");
    assert!(lines[3].starts_with("attempt 2: no answer: "), "{printed}");
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[test]
fn what_was_recorded_is_replayed_byte_for_byte_or_signed_anew() {
    let folder = tempfile::tempdir().unwrap();
    let recorded = folder.path().join("deliveries.jsonl");
    let recorded = recorded.to_str().unwrap();
    let listening = Listening::start(&["--record", recorded]);
    let binary = file(&folder, "binary", b"{\"a\":\xff}\r\n");
    for args in [
        &["--job", "job_1"][..],
        &["--event", "failed", "--job", "job_2"],
        &["--file", &binary],
        &["--forge", "--retries", "0"],
    ] {
        run(&mut number7(&[&["send", "--url", &listening.url], args].concat()));
    }
    let text = fs::read_to_string(recorded).unwrap();
    assert_eq!(text.lines().count(), 3, "what is forged is not recorded: {text}");

    let again = Listening::start(&[]);
    let replay = |args: &[&str]| {
        let args = [&["replay", recorded, "--url", &again.url], args].concat();
        let (code, summary) = run_json(&args);
        (code, summary["accepted"].as_u64().unwrap(), summary["deliveries"].as_u64().unwrap())
    };
    assert_eq!(replay(&[]), (0, 3, 3));
    assert_eq!(replay(&["--select", "job.failed"]), (0, 1, 1));
    assert_eq!(replay(&["--select", "job.completed:job_1", "--select", "job.failed"]), (0, 2, 2));
    let none = ["replay", recorded, "--url", &again.url, "--select", "job.completed:job_3"];
    let (code, _, error) = run(&mut number7(&none));
    assert_eq!(code, 3);
    assert!(error.ends_with("has no such delivery\n"), "{error}");
    let other = file(&folder, "secret", "another");
    assert_eq!(replay(&["--resign", "--secret-file", &other]), (1, 0, 3));
    let of_another = Listening::start(&["--secret-file", &other]);
    let resigned =
        ["replay", recorded, "--url", &of_another.url, "--resign", "--secret-file", &other];
    assert_eq!(run(&mut number7(&resigned)).0, 0);

    let first = text.lines().next().unwrap();
    let broken = file(&folder, "broken", format!("{first}\nno JSON\n\n{first}\n"));
    let (code, printed, error) = run(&mut number7(&["replay", &broken, "--url", &again.url]));
    assert_eq!(code, 0);
    assert!(printed.contains("2 of 2 delivered in "), "{printed}");
    assert!(error.contains("line 2 is not a recorded delivery, and is skipped"), "{error}");
}

#[test]
fn what_is_forwarded_is_unchanged_and_its_answer_is_handed_on() {
    type Got = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;
    let (runtime, got) = (Runtime::new().unwrap(), Got::default());
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let app_url = format!("http://{}/hook", listener.local_addr().unwrap());
    let kept = Arc::clone(&got);
    let app = Router::new().route(
        "/hook",
        post(async move |headers: HeaderMap, body: Bytes| {
            kept.lock().unwrap().push((headers, body));
            // No connection is kept that is reset, instead of refused, once the app is away.
            let headers = [("x-of-the-app", "yes"), ("connection", "close")];
            (axum::http::StatusCode::IM_A_TEAPOT, headers, "short and stout")
        }),
    );
    runtime.spawn(async { axum::serve(listener, app).await });

    let listening = Listening::start(&["--forward", &app_url]);
    let body = "{ \"event\" : \"job.completed\",\r\n\"jobId\":\"job_1\" }\n";
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut answer = agent
        .post(&listening.url)
        .header("x-number7ai-signature", sign(body))
        .header("x-of-the-sender", "kept")
        .send(body)
        .unwrap();
    assert_eq!(answer.status(), 418);
    assert_eq!(answer.headers()["x-of-the-app"], "yes");
    assert_eq!(answer.body_mut().read_to_string().unwrap(), "short and stout");
    listening.prints(&["verified 418 job.completed:job_1", "forwarded: 418"]);
    let (headers, forwarded) = got.lock().unwrap().pop().unwrap();
    assert_eq!(forwarded, body);
    assert_eq!(headers["x-number7ai-signature"], sign(body));
    assert_eq!(headers["x-of-the-sender"], "kept");

    // An app that is away is not the sender's success.
    drop(runtime);
    let (code, printed, _) =
        run(&mut number7(&["send", "--retries", "0", "--url", &listening.url]));
    assert_eq!(code, 1);
    assert!(printed.contains("attempt 1: 502 Bad Gateway"), "{printed}");
    listening.prints(&["not forwarded to ", "refused"]);
}

#[test]
fn https_works_with_a_certificate_that_is_trusted_and_with_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let trusted = file(&folder, "cert.pem", certified.cert.pem());
    let listening = Listening::start(&[]);
    let behind = listening.url.trim_start_matches("http://").split_once('/').unwrap().0.to_owned();

    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.unwrap())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("https://localhost:{}/webhook", listener.local_addr().unwrap().port());
    runtime.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                let Ok(mut outside) = acceptor.accept(stream).await else { return };
                let mut inside = tokio::net::TcpStream::connect(behind).await.unwrap();
                _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    });

    let send = ["send", "--retries", "0", "--url", &url, "--cacert", &trusted];
    assert_eq!(run(&mut number7(&send)).0, 0);
    let (code, printed, _) = run(&mut number7(&send[..5]));
    assert_eq!(code, 1);
    assert!(printed.to_lowercase().contains("certificate"), "{printed}");

    let (code, report) = run_json(&["doctor", &url, "--cacert", &trusted]);
    assert_eq!((code, &report["good"]), (0, &json!(true)), "{report:#}");
    let (code, _, error) = run(&mut number7(&["doctor", &url]));
    assert_eq!(code, 3);
    assert!(error.contains("cannot connect to https://localhost:"), "{error}");
}

#[test]
fn the_doctor_sends_the_event_that_it_is_told_to_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let recorded = folder.path().join("deliveries.jsonl");
    let listening = Listening::start(&["--record", recorded.to_str().unwrap()]);
    let args = ["doctor", &listening.url, "--event", "failed", "--job", "job_of_the_doctor"];
    let (_, _, note) = run(&mut number7(&args));
    assert!(
        note.contains("are the job.failed of job_of_the_doctor, and will be handled"),
        "{note}"
    );
    let lines = fs::read_to_string(recorded).unwrap();
    let keys: Vec<_> = lines
        .lines()
        .filter_map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["key"].as_str().map(str::to_owned)
        })
        .collect();
    let key = "job.failed:job_of_the_doctor";
    assert!(keys.len() > 10 && keys.iter().all(|sent| sent == key), "{keys:?}");
}

#[test]
fn help_has_examples_and_completions_know_all_commands() {
    let (code, help, _) = run(&mut number7(&["--help"]));
    assert_eq!(code, 0);
    assert!(help.contains("Exit status:"), "{help}");
    for command in ["sign", "verify", "send", "listen", "replay", "doctor", "inbox"] {
        let (code, help, _) = run(&mut number7(&[command, "--help"]));
        let examples = help.split_once("Examples:\n").unwrap().1;
        assert!(code == 0 && examples.contains(&format!("  number7 {command}")), "{help}");
    }
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let (code, completions, _) = run(&mut number7(&["completions", shell]));
        assert!(code == 0 && completions.contains("requeue"), "{shell}: {completions}");
    }
}

#[test]
fn each_command_has_a_man_page() {
    let folder = tempfile::tempdir().unwrap();
    let written = run(&mut number7(&["man", folder.path().to_str().unwrap()]));
    assert_eq!(written, (0, String::new(), String::new()));
    for (page, text) in [
        ("number7.1", "Exit status"),
        ("number7-sign.1", "number7\\-sign"),
        ("number7-inbox-requeue.1", "dry"),
    ] {
        let page = fs::read_to_string(folder.path().join(page)).unwrap();
        assert!(page.contains(".SH NAME") && page.contains(text), "{page}");
    }
    let (code, _, error) = run(&mut number7(&["man", "no/such/folder"]));
    assert!(code == 3 && error.starts_with("error: no/such/folder: "), "{error}");
}

#[test]
fn an_inbox_that_is_not_there_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("inbox.db").display());
    let (code, _, error) = run(&mut number7(&["inbox", "list", "--store", &store]));
    assert_eq!(code, 3);
    assert!(error.contains("inbox.db: ") && error.contains("unable to open"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let (code, _, error) = run(&mut number7(&["--json", "inbox", "list", "--store", "mysql://x/"]));
    assert_eq!(code, 2);
    assert!(error.contains("use sqlite:"), "{error}");
}

#[test]
fn a_store_that_cannot_be_one_is_refused_without_its_password() {
    for store in ["postgres:/me:hunter2@db/app", "mysql://me:hunter2@db/app", "redis:hunter2"] {
        let by_option = run(&mut number7(&["inbox", "stats", "--store", store]));
        let by_env = run(number7(&["inbox", "stats"]).env("NUMBER7_STORE", store));
        for (code, printed, error) in [by_option, by_env] {
            assert_eq!(code, 2, "{error}");
            assert!(error.contains("--store") && error.contains("use sqlite:"), "{error}");
            assert!(!error.contains("hunter2") && !printed.contains("hunter2"), "{error}");
        }
    }
}

/// However many others there are, of which a page goes through only some.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_as_long_as_it_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inbox.db");
    let store = format!("sqlite:{}", path.display());
    Inbox::open(&store).await.unwrap();
    let file = sqlx::SqlitePool::connect(&store).await.unwrap();
    let fill = "INSERT INTO number7_events (inbox, key, event, state, accepted_at, due_at, finished_at, payload)
        SELECT '', name || ':' || n, name, 'done', n, n, n, CAST('{}' AS BLOB)
        FROM (SELECT n, iif(n % 11000, 'job.completed', 'job.failed') AS name FROM (
            WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers LIMIT 33000)
            SELECT n FROM numbers))";
    sqlx::query(fill).execute(&file).await.unwrap();
    file.close().await;
    let list = |args: &[&str]| -> Value {
        let args = [
            &["--json", "inbox", "list", "--state", "done", "--event", "job.failed"],
            args,
            &["--store", &store],
        ];
        let (code, printed, error) = run(&mut number7(&args.concat()));
        assert_eq!(code, 0, "{error}");
        serde_json::from_str(&printed).unwrap()
    };
    let keys = |list: &Value| -> Vec<Value> {
        list["entries"].as_array().unwrap().iter().map(|entry| entry["key"].clone()).collect()
    };
    let all = list(&[]);
    assert_eq!(keys(&all), ["job.failed:11000", "job.failed:22000", "job.failed:33000"]);
    assert_eq!(all["next"], Value::Null);
    let first = list(&["--limit", "2"]);
    assert_eq!(keys(&first), ["job.failed:11000", "job.failed:22000"]);
    let rest = list(&["--limit", "2", "--after", first["next"].as_str().unwrap()]);
    assert_eq!(keys(&rest), ["job.failed:33000"]);
}

/// Of one event, and of all that a filter takes.
#[tokio::test(flavor = "multi_thread")]
async fn events_are_run_again_requeued_and_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("inbox.db").display());
    let inbox = Inbox::open(&store).await.unwrap();
    for job in ["job_1", "job_2", "bad"] {
        let json = format!(r#"{{"event":"job.completed","jobId":"{job}"}}"#);
        let verifier = Verifier::new(Secret::new(SECRET).unwrap());
        let signature = sign(&json);
        let mut intake = verifier.begin([(SIGNATURE_HEADER, signature.as_bytes())]).unwrap();
        intake.push(json.into()).unwrap();
        inbox.accept(&intake.finish().unwrap()).await.unwrap();
    }
    let work =
        async || {
            let worker = inbox.worker(async |event: AcceptedEvent| {
                if event.key().ends_with("bad") { Err("no such vendor") } else { Ok(()) }
            });
            let all = async {
                let are_over = async || {
                    let stats = inbox.stats().await.unwrap();
                    stats.done + stats.dead == 3
                };
                while !are_over().await {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            worker.attempts(1).run_until(all).await;
        };
    work().await;
    let command = |args: &[&str]| {
        let args = [&["--json", "inbox"], args, &["--store", &store]].concat();
        let (code, printed, error) = run(&mut number7(&args));
        let printed: Value = serde_json::from_str(&printed).unwrap_or_default();
        (code, printed["changed"].clone(), error)
    };
    let said = |args: &[&str], code, changed: u64| {
        let (is_code, is_changed, error) = command(args);
        assert_eq!((is_code, is_changed), (code, json!(changed)), "{args:?}: {error}");
    };
    said(&["rerun", "--all", "--since-after", "1h", "--dry-run"], 0, 2);
    said(&["rerun", "--all", "--since-before", "2001-01-01T00:00:00Z"], 0, 0);
    said(&["rerun", "job.completed:bad"], 1, 0);
    said(&["rerun", "job.completed:job_1"], 0, 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    said(&["rerun", "--all", "--origin", "signed", "--rate", "100"], 0, 1);
    said(&["requeue", "--all", "--error", "no such vendor"], 0, 1);
    work().await;
    said(&["run-now", "--all"], 0, 0);
    said(&["discard", "job.completed:unknown"], 1, 0);
    said(&["discard", "--all"], 0, 1);
    for refused in [["rerun", "--limit", "1"], ["rerun", "--all", "--since-after=soon"]] {
        assert_eq!(command(&refused).0, 2, "{refused:?}");
    }
    let shown = inbox.show("job.completed:job_1").await.unwrap().unwrap();
    assert_eq!(shown.runs(), 2);
    // Byte for byte.
    let (_, shown, _) =
        run(&mut number7(&["--json", "inbox", "show", shown.key(), "--store", &store]));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["payload"], r#"{"event":"job.completed","jobId":"job_1"}"#);

    let paused = |args: &[&str]| {
        let (code, printed, error) =
            run(&mut number7(&[&["--json", "inbox"], args, &["--store", &store]].concat()));
        (code, serde_json::from_str::<Value>(&printed).unwrap_or_else(|_| panic!("{error}")))
    };
    let (code, said) = paused(&["pause", "--for", "1h", "--why", "a move", "--by", "ops"]);
    assert_eq!(
        (code, &said["paused"]["by"], &said["paused"]["why"]),
        (0, &json!("ops"), &json!("a move"))
    );
    assert_eq!(paused(&["stats"]).1["paused"]["by"], "ops");
    assert_eq!(paused(&["resume"]), (0, json!({ "resumed": true })));
    assert_eq!(paused(&["resume"]), (1, json!({ "resumed": false })));
    assert_eq!(paused(&["stats"]).1["paused"], Value::Null);

    let of_acme = ["--account", "acme"];
    let (code, said) = paused(&["pause", "--account", "acme", "--by", "ops"]);
    assert_eq!((code, &said["paused"]["account"]), (0, &json!("acme")));
    let stats = paused(&["stats"]).1;
    assert_eq!(
        (&stats["paused"], &stats["paused_accounts"][0]["by"]),
        (&Value::Null, &json!("ops"))
    );
    let stats = paused(&[&["stats"][..], &of_acme].concat()).1;
    assert_eq!((&stats["done"], &stats["paused"]["by"]), (&json!(0), &json!("ops")));
    assert_eq!(paused(&["resume"]), (1, json!({ "resumed": false })));
    assert_eq!(paused(&[&["resume"][..], &of_acme].concat()), (0, json!({ "resumed": true })));
    assert_eq!(paused(&["stats"]).1["paused_accounts"], json!([]));
}

#[tokio::test]
async fn what_a_secret_signed_is_found_and_so_is_another_body() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("inbox.db").display());
    let inbox = Inbox::open(&store).await.unwrap();
    let first = r#"{"event":"job.completed","jobId":"job_1"}"#;
    let later = r#"{"event":"job.completed","jobId":"job_1","documentType":"grn"}"#;
    for (name, body) in [("old", first), ("new", later)] {
        let verifier = Verifier::named(name, Secret::new(SECRET).unwrap());
        inbox.accept(&verifier.verify(sign(body), body).unwrap()).await.unwrap();
    }
    let printed = |args: &[&str]| {
        let (code, printed, error) = run(&mut number7(&[args, &["--store", &store]].concat()));
        assert_eq!(code, 0, "{error}");
        printed
    };
    let json = |args: &[&str]| -> Value {
        serde_json::from_str(&printed(&[&["--json", "inbox"], args].concat())).unwrap()
    };
    let shown = json(&["show", "job.completed:job_1"]);
    assert_eq!(
        (&shown["payload"], &shown["signed_by"], &shown["signature"]),
        (&json!(first), &json!("old"), &json!(sign(first)))
    );
    let conflict = &shown["conflict"];
    assert_eq!(
        (&conflict["payload"], &conflict["signed_by"], &conflict["signature"]),
        (&json!(later), &json!("new"), &json!(sign(later)))
    );
    for (filter, found) in [("old", 1), ("new", 1), ("other", 0)] {
        let listed = json(&["list", "--state", "ready", "--signed-by", filter]);
        assert_eq!(listed["entries"].as_array().unwrap().len(), found, "{filter}");
    }
    assert_eq!(
        json(&["list", "--state", "ready", "--conflict"])["entries"][0]["key"],
        shown["key"]
    );
    let secrets = json(&["stats", "--by-secret"])["secrets"].clone();
    let secrets: Vec<_> =
        secrets.as_array().unwrap().iter().map(|used| (&used["name"], &used["bodies"])).collect();
    assert_eq!(secrets, [(&json!("new"), &json!(1)), (&json!("old"), &json!(1))]);
    let text = printed(&["inbox", "show", "job.completed:job_1"]);
    assert!(text.contains("signed by old\n"), "{text}");
    assert!(text.contains("signed again with other bytes, by new: {"), "{text}");
    let text = printed(&["inbox", "stats", "--by-secret"]);
    assert!(text.contains("secret       old: 1, the last "), "{text}");
}

/// It is watched because something is wrong with it.
#[test]
fn watching_an_inbox_goes_on_when_its_store_fails() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inbox.db");
    let rename = |from: &str, to: &str| {
        let sql = format!("ALTER TABLE {from} RENAME TO {to}");
        Runtime::new().unwrap().block_on(async {
            let pool = sqlx::SqlitePool::connect(path.to_str().unwrap()).await.unwrap();
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap();
        });
    };
    Runtime::new().unwrap().block_on(async { Inbox::sqlite(&path).await.unwrap() });
    let store = format!("sqlite:{}", path.display());
    let mut watch = number7(&["--json", "inbox", "watch", "--interval", "0.1", "--store", &store]);
    let mut watch = watch.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut until = |what: &str| {
        let begun = Instant::now();
        while !lines.next().expect("it has ended").unwrap().contains(what) {
            assert!(begun.elapsed() < Duration::from_secs(30), "{what} is never printed");
        }
    };
    until("\"workers\":0");
    rename("number7_events", "elsewhere");
    until("{\"error\":");
    rename("elsewhere", "number7_events");
    until("\"workers\":0");
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn what_cannot_be_taken_is_said_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let body = file(&folder, "body", BODY);
    for (args, code, says) in [
        (&["send", "--url", "http://127.0.0.1:99999/"][..], 2, "invalid port"),
        (&["send", "--url", "http://me:mine@127.0.0.1/"], 2, "with a user or a password"),
        (&["send", "--url", "ftp://127.0.0.1/"], 2, "it has to begin with http://"),
        (&["send", "--rate", "0"], 2, "it has to be from 0.001"),
        (&["send", "--times", "0"], 2, "0 is not in 1.."),
        (&["doctor", "http://127.0.0.1:1/", "--body-timeout", "0"], 2, "0 is not in 1.."),
        (&["doctor", "http://127.0.0.1:1/", "--body-limit", "9"], 2, "9 is not in 1024.."),
        (&["doctor", "http://127.0.0.1:1/"], 3, "cannot connect to http://127.0.0.1:1/: "),
        (
            &["verify", "--signature", "0", "--recognize", "primary=OTHER", &body],
            3,
            "there is already a secret named primary",
        ),
    ] {
        let (exit, _, error) = run(number7(args).env("OTHER", "another"));
        assert_eq!(exit, code, "{args:?}: {error}");
        assert!(error.contains(says), "{args:?}: {error}");
    }
}

#[test]
fn an_end_is_not_held_up_by_a_half_request() {
    let listening = Listening::start(&[]);
    let addr = listening.url.trim_start_matches("http://").split_once('/').unwrap().0;
    let mut half = std::net::TcpStream::connect(addr).unwrap();
    half.write_all(b"POST / HTTP/1.1\r\nhost: x\r\n").unwrap();
    thread::sleep(Duration::from_millis(100));
    let pid = listening.process.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let begun = Instant::now();
    let mut listening = listening;
    while listening.process.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it goes on");
        thread::sleep(Duration::from_millis(20));
    }
}

/// `number7 sandbox`, until it is told to end.
struct Vendor {
    process: Child,
    printed: BufReader<std::process::ChildStdout>,
    api: String,
}

impl Vendor {
    fn start(args: &[&str]) -> Self {
        let args =
            [&["--json", "sandbox", "--addr", "127.0.0.1:0", "--job-time", "3s"], args].concat();
        let mut process = number7(&args).stdout(Stdio::piped()).spawn().unwrap();
        let printed = BufReader::new(process.stdout.take().unwrap());
        let mut vendor = Self { process, printed, api: String::new() };
        vendor.api = vendor.line()["listening"].as_str().unwrap().to_owned();
        vendor
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.printed.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"))
    }

    /// Reads until something happens to a job.
    fn until(&mut self, what: &str) -> Value {
        loop {
            let line = self.line();
            if line["what"] == what {
                return line;
            }
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = number7(args);
        // A proxy must not see the key.
        command.env("HTTP_PROXY", "http://127.0.0.1:1").env("http_proxy", "http://127.0.0.1:1");
        command.args(["--api", &self.api]).env("N7_API_KEY", "sandbox");
        command
    }

    /// Interrupts it, and returns its exit code and its summary.
    fn end(mut self) -> (i32, Value) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let mut rest = String::new();
        self.printed.read_to_string(&mut rest).unwrap();
        let summary = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
        (self.process.wait().unwrap().code().unwrap(), summary)
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

#[test]
fn a_document_is_uploaded_to_the_sandbox_and_its_result_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let document = file(&folder, "invoice.pdf", "%PDF-1.7");
    let listening = Listening::start(&[]);
    let mut vendor = Vendor::start(&["--to", &listening.url, "--repeat", "100%", "--forge=100%"]);
    let (code, printed, error) = run(&mut vendor.command(&["--json", "upload", &document]));
    assert_eq!((code, &*error), (0, ""));
    let upload: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(upload["fileStatus"], "uploading");
    let job = upload["jobId"].as_str().unwrap();
    let uploaded = vendor.until("uploaded");
    let expected = json!({ "what": "uploaded", "job": job, "fileName": "invoice.pdf", "bytes": 8 });
    assert_eq!(uploaded, expected);

    let (code, printed, _) = run(&mut vendor.command(&["result", job]));
    assert!(code == 1 && printed.starts_with(&format!("{job} is not finished: ")), "{printed}");
    let (code, printed, _) =
        run(&mut vendor.command(&["result", job, "--wait", "--every", "100ms"]));
    let result: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((code, &result["invoiceNo"]), (0, &json!("INV-0001")), "{printed}");
    let (code, printed, _) = run(&mut vendor.command(&["--json", "result", job]));
    let data: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((code, &data["result"], &data["fileStatus"]), (0, &result, &json!("done")));

    let (code, printed, _) = run(&mut vendor.command(&["result", "job_unknown"]));
    assert_eq!((code, &*printed), (1, "the vendor does not know this job (404 Not Found)\n"));
    let (code, _, error) = run(vendor.command(&["result", job]).env("N7_API_KEY", "wrong-key"));
    assert_eq!((code, &*error), (3, "error: the vendor refuses the API key (401 Unauthorized)\n"));
    let (code, _, error) = run(vendor.command(&["result", job]).env_remove("N7_API_KEY"));
    assert!(code == 3 && error.contains("N7_API_KEY is not set"), "{error}");
    let (code, _, error) = run(&mut vendor.command(&["upload", "no-such-file.pdf"]));
    assert!(code == 3 && error.contains("no-such-file.pdf: No such file"), "{error}");

    assert_eq!(vendor.until("forged")["status"], 401);
    assert_eq!(vendor.until("sent")["status"], 200);
    assert_eq!(vendor.until("repeated")["status"], 200);
    let (code, summary) = vendor.end();
    assert_eq!((code, &summary["toHandle"]), (0, &json!([format!("job.completed:{job}")])));
    assert_eq!((&summary["forged"], &summary["notRefused"]), (&json!(1), &json!(0)));
    listening.prints(&["verified", &format!("job.completed:{job}")]);
}

#[test]
fn waiting_for_a_result_is_as_the_vendor_asks() {
    let (_, help, _) = run(&mut number7(&["result", "--help"]));
    let default = |option| {
        let of_option = help.split_once(option).unwrap().1;
        of_option.split_once("[default: ").unwrap().1.split_once(']').unwrap().0
    };
    assert_eq!((default("--every"), default("--at-most")), ("20s", "2m"));
}

#[test]
fn the_sandbox_tells_who_accepts_forged_webhooks_and_fails_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let document = file(&folder, "scan.png", "x");
    // A receiver that verifies nothing.
    let runtime = Runtime::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/webhook", listener.local_addr().unwrap());
    runtime.spawn(async {
        let app = Router::new().route("/webhook", post(async || ()));
        axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), app).await
    });
    let mut vendor = Vendor::start(&["--to", &url, "--fail-jobs=100%", "--forge=100%"]);
    let upload = ["upload", "--type", "grn", &document];
    let (code, printed, error) = run(&mut vendor.command(&upload));
    assert_eq!((code, &*error), (0, ""));
    let job = printed.split(' ').next().unwrap();
    assert_eq!(vendor.until("sent")["status"], 200);
    let (code, printed, _) = run(&mut vendor.command(&["result", job]));
    assert_eq!((code, printed), (1, format!("{job} failed: page 2 could not be read\n")));
    let (code, summary) = vendor.end();
    assert_eq!((code, &summary["notRefused"]), (1, &json!(1)));
}
