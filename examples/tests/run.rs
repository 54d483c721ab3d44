//! Runs every example as its user does, and reads what it prints.
#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    process::{Child, ChildStdout, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// A command without the settings of whoever runs the tests.
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("WEBHOOK_ADDR", "127.0.0.1:0");
    command.env_remove("WEBHOOK_SECRET").env_remove("WEBHOOK_SECRET_OLD");
    command
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
        let mut send = command(env!("CARGO_BIN_EXE_send"));
        send.args(["--url", &self.url]).args(args).output().unwrap()
    }

    /// What is printed after a delivery that is answered 200.
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
    let args = ["--url", folder.path().to_str().unwrap()];
    let mut receiver = Receiver::start_with(env!("CARGO_BIN_EXE_receive-inbox"), &args);
    let output = receiver.send(&["--job", "job_1", "--times", "2"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed.matches("attempt 1: 200 OK\n").count(), 2, "{printed}");
    assert_eq!(receiver.line(), "handled: job_1 is done: invoice");
    drop(receiver);

    let mut receiver = Receiver::start_with(env!("CARGO_BIN_EXE_receive-inbox"), &args);
    assert!(receiver.send(&["--job", "job_1"]).status.success());
    // What is handled next is the next job: the first is known.
    assert_eq!(receiver.handles(&["--job", "job_2"]), "handled: job_2 is done: invoice");

    let letters = command(env!("CARGO_BIN_EXE_dead-letters")).args(args).output().unwrap();
    assert_eq!(String::from_utf8(letters.stdout).unwrap(), "0 dead letters\n");
    let mut requeue = command(env!("CARGO_BIN_EXE_dead-letters"));
    let requeued = requeue.args(args).args(["--requeue", "job.completed:job_2"]).output().unwrap();
    assert_eq!(requeued.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(requeued.stdout).unwrap(),
        "job.completed:job_2 is no dead letter\n"
    );
}

#[test]
fn work_that_fails_is_a_dead_letter_and_can_be_put_back() {
    const LETTER: &str =
        "1 dead letters\njob.completed:job_1 after 3 attempts: the work was told to fail\n";
    let folder = tempfile::tempdir().unwrap();
    let args = ["--url", folder.path().to_str().unwrap()];
    let letters = |more: &[&str]| {
        let mut letters = command(env!("CARGO_BIN_EXE_dead-letters"));
        String::from_utf8(letters.args(args).args(more).output().unwrap().stdout).unwrap()
    };
    let failing = [args[0], args[1], "--fail"];
    let receiver = Receiver::start_with(env!("CARGO_BIN_EXE_receive-inbox"), &failing);
    assert!(receiver.send(&["--job", "job_1"]).status.success());
    let begun = Instant::now();
    while letters(&[]) != LETTER {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", letters(&[]));
        sleep(Duration::from_millis(100));
    }
    drop(receiver);

    let requeued = letters(&["--requeue", "job.completed:job_1"]);
    assert_eq!(requeued, "job.completed:job_1 is back at work\n");
    let mut receiver = Receiver::start_with(env!("CARGO_BIN_EXE_receive-inbox"), &args);
    assert_eq!(receiver.line(), "handled: job_1 is done: invoice");
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
fn a_forged_event_is_sent_four_times_and_then_given_up() {
    let receiver = Receiver::start(env!("CARGO_BIN_EXE_receive-axum"));
    let output = receiver.send(&["--forge"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{printed}");
    for line in [
        "attempt 1: 401 Unauthorized\nnext attempt in 1s\n",
        "attempt 2: 401 Unauthorized\nnext attempt in 2s\n",
        "attempt 3: 401 Unauthorized\nnext attempt in 4s\n",
        "attempt 4: 401 Unauthorized\nall attempts failed",
    ] {
        assert!(printed.contains(line), "{printed}");
    }
}

#[test]
fn a_refused_connection_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/webhook", listener.local_addr().unwrap());
    drop(listener);
    let mut send = command(env!("CARGO_BIN_EXE_send"));
    let mut process = send.args(["--url", &url]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut line = || lines.next().unwrap().unwrap();
    line();
    assert!(line().starts_with("attempt 1: no answer"));
    assert_eq!(line(), "next attempt in 1s");
    assert!(line().starts_with("attempt 2: no answer"));
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn the_demo_shows_five_events_and_ends_when_it_is_told_to() {
    let output = command(env!("CARGO_BIN_EXE_demo")).arg("--once").output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}");
    for part in [
        "sent: job.completed\nanswered: 200 OK\nhandled: job_abc123 is done: invoice\n",
        "sent: job.completed again, as the vendor's retry\nanswered: 200 OK\n\n",
        "sent: job.failed\nanswered: 200 OK\nhandled: job_abc123 failed: page 2 could not be read\n",
        "sent: job.archived\nanswered: 200 OK\nhandled: job.archived is unknown: {",
        "sent: job.completed, changed after it was signed\nanswered: 401 Unauthorized\n",
    ] {
        assert!(printed.contains(part), "{printed}");
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
