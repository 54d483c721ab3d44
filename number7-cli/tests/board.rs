//! `number7 inbox board`, as its user starts it and a browser asks it.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use number7_inbox::Inbox;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const PASSWORD: &str = "wächter of the tests: colons too";

/// `number7 inbox board`, until it is dropped.
struct Board {
    process: Child,
    addr: SocketAddr,
}

impl Board {
    fn start(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let printed: Value = serde_json::from_str(&line).unwrap();
        let url = printed["listening"].as_str().unwrap().to_owned();
        let addr = url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
        Self { process, addr }
    }

    /// The status, and everything else.
    fn ask(&self, request: &str, headers: &str) -> (u16, String) {
        let mut socket = TcpStream::connect(("127.0.0.1", self.addr.port())).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let request = format!("{request} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n\r\n");
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }

    fn status(&self, page: &str, headers: &str) -> u16 {
        self.ask(&format!("GET /{page}"), headers).0
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        _ = self.process.kill();
        self.process.wait().unwrap();
    }
}

fn store(folder: &TempDir) -> String {
    let path = folder.path().join("inbox.db");
    Runtime::new().unwrap().block_on(async { Inbox::sqlite(&path).await.unwrap() });
    format!("sqlite:{}", path.display())
}

fn board(store: &str, args: &[&str]) -> Command {
    let mut number7 = Command::new(env!("CARGO_BIN_EXE_number7"));
    number7.args(["--json", "inbox", "board", "--store", store]).args(args);
    number7.env_remove("NUMBER7_BOARD_PASSWORD");
    number7
}

fn basic(user: &str, password: &str) -> String {
    format!(
        "host: localhost\r\nauthorization: Basic {}",
        STANDARD.encode(format!("{user}:{password}"))
    )
}

#[test]
fn it_shows_the_inboxes_of_a_store_on_the_loopback() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let addr = ["--addr", "127.0.0.1:0"];
    let shown = Board::start(&mut board(&store, &[&addr[..], &["--also", "staging"]].concat()));
    let (status, page) = shown.ask("GET /overview", "host: localhost");
    assert_eq!(status, 200);
    assert!(page.contains("staging (sqlite)") && page.contains("This board only shows"), "{page}");
    assert_eq!(shown.status("pause?inbox=", "host: localhost"), 404);
    assert_eq!(shown.status("overview", "host: evil.example"), 421);
    assert_eq!(shown.status("overview", "host: ops.example.com"), 421);

    let acting = ["--allow-actions", "--host", "ops.example.com"];
    let acting = Board::start(&mut board(&store, &[&addr[..], &acting].concat()));
    assert_eq!(acting.status("overview", "host: ops.example.com"), 200);
    assert_eq!(acting.status("pause?inbox=", "host: localhost"), 200);
    let form = "content-type: application/x-www-form-urlencoded\r\ncontent-length: 0";
    let foreign = format!("host: localhost\r\norigin: https://evil.example\r\n{form}");
    assert_eq!(acting.ask("POST /pause?inbox=", &foreign).0, 403);
    assert_eq!(acting.ask("POST /pause?inbox=", &format!("host: localhost\r\n{form}")).0, 200);
}

#[test]
fn those_without_the_password_see_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (store, file) = (store(&folder), folder.path().join("password"));
    fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let everywhere = ["--addr", "0.0.0.0:0"];
    let file = [&everywhere[..], &["--password-file", file.to_str().unwrap()]].concat();
    let mut other = board(&store, &[&everywhere[..], &["--password-env", "OTHER"]].concat());
    for mut command in [board(&store, &file), {
        other.env("OTHER", PASSWORD);
        other
    }] {
        let shown = Board::start(&mut command);
        assert_eq!(shown.status("overview", &basic("me", PASSWORD)), 200);
        assert_eq!(shown.status("overview", &basic("", PASSWORD)), 200);
        let (status, page) = shown.ask("GET /overview", "host: localhost");
        assert!(status == 401 && !page.contains("ready"), "{page}");
        assert!(page.contains("www-authenticate: Basic realm="), "{page}");
        for headers in [
            basic("me", ""),
            basic("me", &PASSWORD[..PASSWORD.len() - 1]),
            basic("me", &format!("{PASSWORD}\n")),
            basic(PASSWORD, ""),
            "host: localhost\r\nauthorization: Basic".into(),
            "host: localhost\r\nauthorization: Basic !!".into(),
            format!("host: localhost\r\nauthorization: Bearer {PASSWORD}").replace('ä', "a"),
        ] {
            for page in ["overview", "board.css", "", "nowhere"] {
                assert_eq!(shown.status(page, &headers), 401, "{page}: {headers}");
            }
        }
        // Who knows it may still have come by a name that somebody else made up.
        let evil = basic("me", PASSWORD).replace("localhost", "evil.example");
        assert_eq!(shown.status("overview", &evil), 421);
    }
}

#[test]
fn it_does_not_start_where_it_would_not_be_safe_or_make_no_sense() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let everywhere = ["--addr", "0.0.0.0:0"];
    for (args, password, code, says) in [
        (&everywhere[..], None, 3, "off the loopback a password is needed"),
        (&everywhere, Some("short"), 3, "at least 16 bytes"),
        (&["--addr", "127.0.0.1:0"], Some(""), 3, "at least 16 bytes"),
        (&["--password-file", "/nowhere/password"], None, 3, "/nowhere/password: "),
        (&["--password-env", "NOT_SET"], None, 3, "NOT_SET: environment variable not found"),
        (&["--password", PASSWORD], None, 2, "unexpected argument"),
        (&["--host", "http://x/"], None, 2, "without a scheme or a port"),
        (&["--also", "a", "--also", "a"], None, 3, "the inbox a is shown already"),
        (&["--inbox", "a", "--also", "a"], None, 3, "the inbox a is shown already"),
        (&["--also", "a b"], None, 2, "use up to 64 letters"),
    ] {
        let mut command = board(&store, args);
        password.map(|password| command.env("NUMBER7_BOARD_PASSWORD", password));
        let output = command.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
        assert!(error.contains(says), "{args:?}: {error}");
    }
}
