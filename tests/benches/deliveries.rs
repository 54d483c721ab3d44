//! How many signed deliveries a second a receiver answers over HTTP, on every store. For comparison, the vendor's recipes for
//! Express and Flask are also measured, with the event on the disk before the 200 and without.
//!
//! `cargo bench -p number7-tests --bench deliveries` prints the table. `.ci/recipes` installs Express and Flask. Each receiver
//! is its own process. This process sends distinct events, on 64 connections that stay open if the receiver allows it. Compare
//! only figures of the same run.
#![allow(clippy::unwrap_used, reason = "a benchmark fails by a panic")]

use std::{
    env,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use number7_core::SIGNATURE_HEADER;
use number7_tests::{
    SECRET, body,
    engine::{Engine, Server},
    receiver::{FRAMEWORKS, Setup},
    sign,
    store::Store,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const CONNECTIONS: usize = 64;

/// How long each receiver is measured, after a second in which it warms up.
const SPAN: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() {
    // The name of each program, its recipe, the variable for the path of its packages, and these packages.
    let recipes = [
        ("Express", "node", "express.js", "NODE_PATH", "node_modules/express"),
        ("Flask", "python3", "flask_app.py", "PYTHONPATH", "python/flask"),
    ];
    let folder = tempfile::tempdir().unwrap();
    println!("{:44} {:>12}", "deliveries a second, 64 connections", "");
    for (name, program, recipe, variable, needs) in recipes {
        for stores in [false, true] {
            let store = stores.then(|| folder.path().join(recipe));
            let recipe = Recipe::start(program, recipe, variable, needs, store.as_deref());
            let keeps =
                if stores { "stored before the 200" } else { "as documented, nothing stored" };
            measure(&format!("{name}, {keeps}"), recipe.addr).await;
        }
    }
    let servers = [Engine::Postgres, Engine::Redis].map(Server::start);
    for framework in FRAMEWORKS {
        for store in ["sqlite", "postgres", "redis"] {
            let place = match store {
                "sqlite" => Store::sqlite(),
                "postgres" => Store::postgres_on(&servers[0], servers[0].port()).await,
                _ => Store::redis_on(&servers[1], servers[1].port()),
            };
            let setup =
                Setup::new(env!("CARGO_BIN_EXE_inbox-receiver"), &place, framework, folder.path());
            let receiver = setup.start("never");
            measure(&format!("number7, {framework}, {store}"), receiver.addr()).await;
        }
    }
}

/// A receiver in another language. It ends when this is dropped.
struct Recipe {
    process: Child,
    addr: SocketAddr,
}

impl Recipe {
    fn start(
        program: &str,
        recipe: &str,
        variable: &str,
        needs: &str,
        store: Option<&Path>,
    ) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let packages: PathBuf = root.join("target/recipes").join(needs);
        assert!(packages.exists(), "{} is not there: run .ci/recipes", packages.display());
        let mut command = Command::new(program);
        command.arg(root.join("number7-cli/tests/recipes").join(recipe));
        command.env("WEBHOOK_SECRET", SECRET).env(variable, packages.parent().unwrap());
        command.envs(store.map(|store| ("STORE", store)));
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { process, addr: SocketAddr::from(([127, 0, 0, 1], port.trim().parse().unwrap())) }
    }
}

impl Drop for Recipe {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

async fn measure(name: &str, receiver: SocketAddr) {
    deliver("warm", receiver, Duration::from_secs(1)).await;
    let (begun, delivered) = (Instant::now(), deliver("job", receiver, SPAN).await);
    println!("{name:44} {:>12.0}", delivered as f64 / begun.elapsed().as_secs_f64());
}

/// Delivers events of jobs with this prefix for this long, and returns how many were answered 200. No other answer is allowed.
async fn deliver(prefix: &str, receiver: SocketAddr, span: Duration) -> usize {
    let begun = Instant::now();
    let connections = (0..CONNECTIONS).map(|connection| {
        tokio::spawn({
            let prefix = format!("{prefix}_{connection}");
            async move {
                let (mut stream, mut answer, mut delivered) = (None, Vec::new(), 0);
                while begun.elapsed() < span {
                    let body = body("job.completed", &format!("{prefix}_{delivered}"));
                    let request = format!(
                        "POST /webhook HTTP/1.1\r\nhost: receiver\r\ncontent-type: application/json\r\n\
                         {SIGNATURE_HEADER}: {}\r\ncontent-length: {}\r\n\r\n{body}",
                        sign(&body),
                        body.len()
                    );
                    let mut open = match stream.take() {
                        Some(open) => open,
                        None => TcpStream::connect(receiver).await.unwrap(),
                    };
                    open.write_all(request.as_bytes()).await.unwrap();
                    if answered(&mut open, &mut answer).await {
                        stream = Some(open);
                    }
                    let head = String::from_utf8_lossy(&answer);
                    assert_eq!(head.get(9..12), Some("200"), "{head}");
                    delivered += 1;
                }
                delivered
            }
        })
    });
    join_all(connections).await.into_iter().map(Result::unwrap).sum()
}

/// Reads one answer, and returns whether the connection stays open.
async fn answered(stream: &mut TcpStream, answer: &mut Vec<u8>) -> bool {
    answer.clear();
    loop {
        let head = answer.windows(4).position(|end| end == b"\r\n\r\n").map(|end| end + 4);
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
            let length = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            if answer.len() >= head + length {
                return text.starts_with("http/1.1") && !text.contains("connection: close");
            }
        }
        if stream.read_buf(answer).await.unwrap() == 0 {
            return false;
        }
    }
}
