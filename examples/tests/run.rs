//! Runs every example as its user does, and reads what it prints.
#![allow(clippy::unwrap_used)]

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use number7_examples::DEMO_SECRET;
use tempfile::TempDir;

/// A command that ignores the settings of the person who runs the tests.
fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env("WEBHOOK_ADDR", "127.0.0.1:0");
    for variable in ["WEBHOOK_SECRET", "WEBHOOK_SECRET_OLD", "WEBHOOK_SECRET_FILE"] {
        command.env_remove(variable);
    }
    command.env_remove("NUMBER7_STORE");
    command
}

/// The command line, which is built beside the examples, with the same secret.
fn number7() -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_demo")).with_file_name("number7");
    assert!(program.exists(), "run `cargo test --workspace`");
    let mut number7 = command(program);
    number7.env("WEBHOOK_SECRET", DEMO_SECRET);
    number7
}

/// A receiver that is killed when it is dropped.
struct Receiver {
    process: Child,
    stdout: BufReader<ChildStdout>,
    url: String,
}

impl Receiver {
    #[track_caller]
    fn start(program: &str) -> Self {
        Self::start_with(program, &[])
    }

    #[track_caller]
    fn start_with(program: &str, args: &[&str]) -> Self {
        let mut process = command(program).args(args).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let mut receiver = Self { process, stdout, url: String::new() };
        receiver.url = receiver.line().strip_prefix("listening on ").unwrap().to_owned();
        receiver
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn send(&self, args: &[&str]) -> Output {
        number7().args(["send", "--url", &self.url]).args(args).output().unwrap()
    }

    /// The output after a delivery that is answered 200.
    #[track_caller]
    fn handles(&mut self, args: &[&str]) -> String {
        let output = self.send(args);
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{printed}");
        assert!(printed.ends_with("attempt 1: 200 OK\n"), "{printed}");
        self.line()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn both_receivers_handle_what_is_sent() {
    for program in [env!("CARGO_BIN_EXE_receive-axum"), env!("CARGO_BIN_EXE_receive-actix")] {
        let mut receiver = Receiver::start(program);
        let handled = receiver.handles(&["--document", "grn"]);
        assert_eq!(handled, "handled: job_abc123 is done: grn");
        let handled = receiver.handles(&["--event", "failed", "--job", "job_\"7\""]);
        assert_eq!(handled, "handled: job_\"7\" failed: page 2 could not be read");
        let handled = receiver.handles(&["--event", "unknown"]);
        assert!(handled.starts_with("handled: job.archived is unknown: {"), "{handled}");
    }
}

#[test]
fn an_inbox_handles_once_what_is_delivered_twice_and_survives_its_process() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--store", &store(&folder)];
    let mut receiver = Receiver::start_with(env!("CARGO_BIN_EXE_receive-inbox"), &args);
    let output = receiver.send(&["--job", "job_1", "--times", "2"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed.matches("attempt 1: 200 OK\n").count(), 2, "{printed}");
    assert_eq!(receiver.line(), "handled: job_1 is done: invoice");
    drop(receiver);

    let mut receiver = Receiver::start_with(env!("CARGO_BIN_EXE_receive-inbox"), &args);
    assert!(receiver.send(&["--job", "job_1"]).status.success());
    // The next job is handled next, because the first one is known.
    assert_eq!(receiver.handles(&["--job", "job_2"]), "handled: job_2 is done: invoice");

    // The end of the attempt is recorded after the output.
    let begun = Instant::now();
    while !inbox(&["stats"], &folder).1.contains("\ndone         2\ndead         0\nworkers      ")
    {
        let stats = inbox(&["stats"], &folder).1;
        assert!(begun.elapsed() < Duration::from_secs(60), "{stats}");
    }
    assert_eq!(inbox(&["list"], &folder), (Some(0), "0 events in the state dead\n".into()));
    let none = (Some(1), "job.completed:job_2 is done, not dead\n".to_owned());
    for command in ["requeue", "discard"] {
        assert_eq!(inbox(&[command, "job.completed:job_2"], &folder), none);
    }
    let unknown =
        "job.completed:job_3 is not known; a key is EVENT:JOB, such as job.failed:job_7\n";
    for command in ["show", "requeue", "discard"] {
        let answer = inbox(&[command, "job.completed:job_3"], &folder);
        assert_eq!(answer, (Some(1), unknown.to_owned()), "{command}");
    }
}

fn store(folder: &TempDir) -> String {
    format!("sqlite:{}", folder.path().join("inbox.db").display())
}

/// The exit code and the output of `number7 inbox`.
fn inbox(args: &[&str], folder: &TempDir) -> (Option<i32>, String) {
    let mut number7 = number7();
    let output =
        number7.arg("inbox").args(args).args(["--store", &store(folder)]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error, "");
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn work_that_fails_is_a_dead_letter_and_can_be_put_back() {
    const LETTER: &str = ", attempts: 3, last error: the work was told to fail\n";
    let folder = tempfile::tempdir().unwrap();
    let args = ["--store", &store(&folder)];
    let failing = [args[0], args[1], "--fail"];
    let receiver = Receiver::start_with(env!("CARGO_BIN_EXE_receive-inbox"), &failing);
    assert!(receiver.send(&["--job", "job_1"]).status.success());
    let begun = Instant::now();
    while !inbox(&["list"], &folder).1.ends_with(LETTER) {
        let letters = inbox(&["list"], &folder).1;
        assert!(begun.elapsed() < Duration::from_secs(60), "{letters}");
        sleep(Duration::from_millis(100));
    }
    let (code, letter) = inbox(&["show", "job.completed:job_1"], &folder);
    assert_eq!(code, Some(0));
    assert!(letter.contains("\nstate     dead, for "), "{letter}");
    assert_eq!(letter.matches(": the work was told to fail\n").count(), 3, "{letter}");
    assert!(letter.contains(r#"event     {"event":"job.completed","jobId":"job_1","#), "{letter}");
    drop(receiver);

    let requeued = inbox(&["requeue", "job.completed:job_1"], &folder);
    assert_eq!(requeued, (Some(0), "job.completed:job_1 is ready again\n".into()));
    let (_, shown) = inbox(&["show", "job.completed:job_1"], &folder);
    assert!(shown.contains("Z requeued: its attempts are counted from 0 again\n"), "{shown}");
    let mut receiver = Receiver::start_with(env!("CARGO_BIN_EXE_receive-inbox"), &args);
    assert_eq!(receiver.line(), "handled: job_1 is done: invoice");
}

/// The body of the answer.
fn get(url: &str) -> String {
    ureq::get(url).call().unwrap().body_mut().read_to_string().unwrap()
}

#[test]
fn the_board_shows_what_the_receiver_handled() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--store", &store(&folder), "--board", "0"];
    let mut receiver = Receiver::start_with(env!("CARGO_BIN_EXE_receive-inbox"), &args);
    let board = receiver.line();
    let board = board.strip_prefix("the board is at ").unwrap();
    receiver.handles(&["--job", "job_1"]);
    let event = get(&format!("{board}event?key=job.completed:job_1"));
    assert!(event.contains("<bdi>job_1</bdi>"), "{event}");
    assert!(get(board).contains("This board only shows"));
}

#[test]
fn the_metrics_of_an_inbox_are_those_of_its_documentation() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--store", &store(&folder), "--metrics", "127.0.0.1:0"];
    let mut receiver = Receiver::start_with(env!("CARGO_BIN_EXE_receive-inbox"), &args);
    let metrics = receiver.line();
    let metrics = metrics.strip_prefix("metrics are at ").unwrap();
    receiver.handles(&["--job", "job_1"]);
    assert!(receiver.send(&["--job", "job_1"]).status.success());
    receiver.handles(&["--job", "job_2"]);
    assert!(!receiver.send(&["--forge", "--retries", "0"]).status.success());
    let no_event = folder.path().join("no-event");
    std::fs::write(&no_event, "{}").unwrap();
    let no_event = ["--retries", "0", "--file", no_event.to_str().unwrap()];
    assert!(!receiver.send(&no_event).status.success());

    // The end of the last attempt is recorded after the output.
    let begun = Instant::now();
    let scraped = loop {
        let scraped = get(metrics);
        if scraped.contains("number7_inbox_events{inbox=\"\",state=\"done\"} 2\n") {
            break scraped;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{scraped}");
        sleep(Duration::from_millis(50));
    };
    for line in [
        "number7_acceptance_duration_seconds_count{outcome=\"new\"} 2",
        // The second has another timestamp.
        "number7_acceptance_duration_seconds_count{outcome=\"conflict\"} 1",
        "number7_attempt_duration_seconds_count{outcome=\"done\"} 2",
        "number7_first_attempt_delay_seconds_count 2",
        r#"number7_deliveries_total{outcome="verified",kind="",secret="primary"} 4"#,
        r#"number7_deliveries_total{outcome="refused",kind="signature_mismatch",secret=""} 1"#,
        r#"number7_answers_refused_total{kind="untypable"} 1"#,
        "number7_inbox_events{inbox=\"\",state=\"ready\"} 0",
        "number7_inbox_events{inbox=\"\",state=\"dead\"} 0",
        "number7_inbox_oldest_ready_age_seconds{inbox=\"\"} 0",
        "number7_inbox_workers{inbox=\"\"} 1",
        "number7_inbox_overdue_jobs{inbox=\"\"} 0",
        "number7_inbox_oldest_overdue_age_seconds{inbox=\"\"} 0",
    ] {
        assert!(scraped.lines().any(|scraped| scraped == line), "{line} is not in\n{scraped}");
    }
    // As `# TYPE number7_inbox_events gauge`, and as `| `number7_inbox_events` | gauge |`.
    let mut served: Vec<_> = scraped
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| format!("| `{name}` | {kind} |"))
        .collect();
    let documented = [
        include_str!("../../number7-inbox/guide/metrics.md"),
        include_str!("../../number7-core/src/adapter/metrics.rs"),
    ];
    let documented = documented.iter().flat_map(|text| text.lines());
    let documented = documented.map(|line| line.trim_start_matches("//! "));
    let documented = documented.filter(|line| line.starts_with("| `number7_"));
    let mut documented: Vec<_> =
        documented.map(|line| line.split_inclusive('|').take(3).collect::<String>()).collect();
    // Nothing was fetched or looked up, and no secret was replaced.
    served.extend(
        [
            "| `number7_failed_lookups_total` | counter |",
            "| `number7_overdue_fetches_total` | counter |",
            "| `number7_replaced_secret_signed_timestamp_seconds` | gauge |",
            "| `number7_secret_stale_since_timestamp_seconds` | gauge |",
        ]
        .map(str::to_owned),
    );
    served.sort();
    documented.sort();
    assert_eq!(served, documented);
}

#[test]
fn the_inbox_is_watched() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--store", &store(&folder), "--work", "600000"];
    let receiver = Receiver::start_with(env!("CARGO_BIN_EXE_receive-inbox"), &args);
    assert!(receiver.send(&["--job", "job_slow"]).status.success());
    let begun = Instant::now();
    let mut watch = number7();
    watch.args(["--json", "inbox", "watch", "--interval", "0.05", args[0], args[1]]);
    let mut watch = watch.stdout(Stdio::piped()).spawn().unwrap();
    let looks = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    // Until the event is running, and then until it is done.
    let look = looks.take(200).find(|look| look.contains(r#""running":1"#)).unwrap();
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert!(look.contains(r#""key":"job.completed:job_slow""#), "{look}");
    let listed = inbox(&["list", "--state", "running"], &folder).1;
    let head = "1 event in the state running\njob.completed:job_slow  for ";
    assert!(listed.starts_with(head) && listed.contains(", its worker was seen "), "{listed}");
    // The first page, and the last.
    assert!(receiver.send(&["--job", "job_slow", "--event", "failed"]).status.success());
    let page = loop {
        let page = inbox(&["list", "--state", "running", "--limit", "1"], &folder).1;
        if page.starts_with("the first 1 event in the state running\n") {
            break page;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{page}");
    };
    let cursor = page.trim_end().rsplit_once("there are more: add --after ").unwrap().1;
    let page = inbox(&["list", "--state", "running", "--limit", "1", "--after", cursor], &folder).1;
    assert!(page.starts_with("the last 1 event in the state running\n"), "{page}");
    let requeued = inbox(&["requeue", "--all", "--event", "job.failed"], &folder);
    assert_eq!(requeued, (Some(0), "0 dead letters are ready again\n".into()));
}

#[test]
fn what_the_vendor_loses_is_fetched_and_handled_once() {
    let output = command(env!("CARGO_BIN_EXE_reconcile")).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let end = "uploaded 20 documents\nhandled 20 jobs, each once\n16 of them by their webhooks\n\
        4 of them were fetched, because their webhooks were lost\n";
    assert!(output.status.success() && printed.ends_with(end), "{printed}");
}

#[test]
fn rotate_tells_which_secret_signed() {
    let mut receiver = Receiver::start(env!("CARGO_BIN_EXE_rotate"));
    let handled = receiver.handles(&[]);
    assert_eq!(handled, "handled: job.completed, signed with the new secret");
    let handled = receiver.handles(&["--secret", "number7-demo-secret-old"]);
    assert_eq!(handled, "handled: job.completed, signed with the old secret");
}

#[test]
fn reload_follows_the_secret_in_its_file() {
    let mut receiver = Receiver::start(env!("CARGO_BIN_EXE_reload"));
    let file = receiver.line().strip_prefix("the secret is in ").unwrap().to_owned();
    let first = receiver.handles(&[]);
    assert!(first.starts_with("handled: signed by "), "{first}");
    let reload = |receiver: &mut Receiver| {
        let id = receiver.process.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
        receiver.line()
    };

    std::fs::write(&file, "number7-demo-secret \n").unwrap();
    let said = reload(&mut receiver);
    assert!(said.starts_with("not reloaded, the last secret stays in use: file "), "{said}");
    assert_eq!(receiver.handles(&[]), first);
    std::fs::write(&file, "another-secret\n").unwrap();
    // The example may have read the file by itself before.
    let said = reload(&mut receiver);
    assert!(said.starts_with("reloaded: "), "{said}");
    assert_ne!(receiver.handles(&["--secret", "another-secret"]), first);
    assert_eq!(receiver.handles(&[]), first, "the old one is still accepted");
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn each_account_has_its_own_secret() {
    let mut receiver = Receiver::start(env!("CARGO_BIN_EXE_accounts"));
    receiver.line();
    let base = receiver.url.strip_suffix("/webhook").unwrap().to_owned();
    for account in ["acme", "globex"] {
        receiver.url = format!("{base}/hooks/{account}");
        let secret = format!("{DEMO_SECRET}-{account}");
        let handled = receiver.handles(&["--secret", &secret, "--job", "job_1"]);
        assert_eq!(handled, format!("handled: job.completed of {account}"));
    }
    // The secret of one account does not work for another, and there is no third account.
    for (account, by) in [("acme", "globex"), ("initech", "acme")] {
        receiver.url = format!("{base}/hooks/{account}");
        let secret = format!("{DEMO_SECRET}-{by}");
        let sent = receiver.send(&["--secret", &secret, "--retries", "0"]);
        let printed = String::from_utf8(sent.stdout).unwrap();
        assert!(printed.contains("401"), "{printed}");
    }
}

#[test]
fn the_demo_shows_the_whole_loop_and_ends_when_it_is_told_to() {
    let output = command(env!("CARGO_BIN_EXE_demo")).arg("--once").output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}");
    for (part, times) in [
        (": uploaded ", 3),
        (": webhook, attempt 1: answered 200\n", 2),
        (": webhook forged: answered 401\n", 1),
        (": webhook lost\n", 1),
        ("handled:  job_", 3),
        (": invoice INV-000", 3),
        (", signed\n", 2),
        (", fetched\n", 1),
        ("\nhandled 3 documents, each once; 1 of them although its webhook was lost\n", 1),
    ] {
        assert_eq!(printed.matches(part).count(), times, "{part:?} in {printed}");
    }
    assert!(String::from_utf8(output.stderr).unwrap().contains("WEBHOOK_SECRET is not set"));
}

#[test]
fn a_secret_that_is_none_ends_the_start() {
    for (secret, reason) in [("", "is empty"), ("pasted\n", "ends with white space")] {
        let mut receiver = command(env!("CARGO_BIN_EXE_receive-axum"));
        let mut process =
            receiver.env("WEBHOOK_SECRET", secret).stderr(Stdio::piped()).spawn().unwrap();
        let mut printed = String::new();
        process.stderr.take().unwrap().read_to_string(&mut printed).unwrap();
        assert!(!process.wait().unwrap().success());
        assert!(printed.contains(reason), "{printed}");
    }
}

#[test]
fn both_receivers_keep_all_rules() {
    for program in [env!("CARGO_BIN_EXE_receive-axum"), env!("CARGO_BIN_EXE_receive-actix")] {
        let receiver = Receiver::start(program);
        let output = number7().args(["doctor", &receiver.url]).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{program}: {printed}");
        let (kept, rest) = printed.split_once(" of ").unwrap();
        assert!(rest.starts_with(&format!("{kept} rules are kept\n")), "{program}: {printed}");
        assert!(kept.parse::<u32>().unwrap() > 75, "{program}: {printed}");
    }
}

#[test]
fn an_address_in_use_is_said_in_a_sentence() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    for program in [env!("CARGO_BIN_EXE_receive-axum"), env!("CARGO_BIN_EXE_receive-actix")] {
        let output = command(program).env("WEBHOOK_ADDR", &addr).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        let sentence =
            format!("Error: cannot listen on {addr} (WEBHOOK_ADDR): Address already in use");
        assert!(error.contains(&sentence), "{error}");
    }
}

#[test]
fn the_log_says_why_a_signature_does_not_match() {
    let mut receiver = command(env!("CARGO_BIN_EXE_receive-axum"));
    let mut process = receiver.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let url = lines.next().unwrap().unwrap().strip_prefix("listening on ").unwrap().to_owned();
    let mut number7 = number7();
    let sent = number7.args(["send", "--forge", "--retries", "0", "--url", &url]).output().unwrap();
    assert_eq!(sent.status.code(), Some(1));
    process.kill().unwrap();
    let log = process.wait_with_output().unwrap().stderr;
    let log = String::from_utf8(log).unwrap();
    assert!(log.contains("kind=SignatureMismatch diagnosis="), "{log}");
    assert!(log.contains("a newline or white space at its end"), "{log}");
}
