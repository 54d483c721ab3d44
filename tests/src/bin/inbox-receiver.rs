//! A receiver with an inbox and a worker, which crashes at a given place.
//!
//! Its arguments are the URL of the store, the framework, a file for the effects, where to crash, how many of a hundred
//! attempts fail and, if it should fetch overdue jobs, the address of the vendor.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{
    env,
    fs::File,
    future::pending,
    hash::{BuildHasher, RandomState},
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::abort,
    time::Duration,
};

use actix_web::{App, HttpServer, web};
use axum::{Router, routing::post_service};
use number7_core::{Accept, Record, StoreFuture};
use number7_inbox::{AcceptedEvent, BoxError, Event, Fetched, Inbox, JobId, MIN_LEASE};
use number7_tests::verifier;
use tokio::{task::spawn_blocking, time::sleep};

/// Where the process ends.
#[derive(Clone, Copy, PartialEq)]
enum Crash {
    Never,
    BeforeInsert,
    DuringInsert,
    BeforeAnswer,
    InHandler,
    AfterEffect,
    /// Soon after one of the events was begun, and before the others are handled.
    Poison,
}

/// How often an event is tried that may be the cause of the crashes.
const ATTEMPTS: u32 = 4;

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut args = env::args().skip(1);
    let mut arg = || args.next().unwrap();
    let (store, framework, effects) = (arg(), arg(), PathBuf::from(arg()));
    let crash = match &*arg() {
        "never" => Crash::Never,
        "before-insert" => Crash::BeforeInsert,
        "during-insert" => Crash::DuringInsert,
        "before-answer" => Crash::BeforeAnswer,
        "in-handler" => Crash::InHandler,
        "after-effect" => Crash::AfterEffect,
        "poison" => Crash::Poison,
        other => panic!("no crash: {other}"),
    };
    let failing: u64 = arg().parse().unwrap();
    let vendor = env::args().nth(6).map(|vendor| vendor.parse().unwrap());
    let inbox = Inbox::open(&store).await.unwrap();
    let worker = inbox.worker(move |event: AcceptedEvent| {
        let effects = effects.clone();
        async move {
            if crash == Crash::Poison {
                poison(&event).await;
            }
            handle(&event, effects, crash, failing)
        }
    });
    let pause = Duration::from_millis(200);
    let attempts = if crash == Crash::Poison { ATTEMPTS } else { 100 };
    let worker = worker.lease(MIN_LEASE).attempts(attempts).backoff(pause, pause);
    let worker = match vendor {
        Some(vendor) => {
            let fetch =
                move |job| async move { spawn_blocking(move || fetch(vendor, &job)).await? };
            let second = Duration::from_secs(1);
            worker.reconcile(fetch).fetch_limits(16, 60_000).fetch_backoff(second, second * 4)
        }
        None => worker,
    };
    // Otherwise it might have the effect between the insert and the crash.
    if !matches!(crash, Crash::DuringInsert | Crash::BeforeAnswer) {
        tokio::spawn(worker.run_until(pending()));
    }

    let inbox = Crashing(inbox, crash);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    println!("{}", listener.local_addr().unwrap());
    match &*framework {
        "axum" => {
            use number7_tower::{AcceptNumber7, VerifyNumber7};
            let accept = post_service(AcceptNumber7::new(inbox));
            let app = Router::new().route("/webhook", accept).layer(VerifyNumber7::new(verifier()));
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, app).await.unwrap();
        }
        "actix-web" => {
            use number7_actix::{AcceptNumber7, VerifyNumber7};
            let (verify, accept) = (VerifyNumber7::new(verifier()), AcceptNumber7::new(inbox));
            let app = move || {
                let route = web::post().to(accept.clone());
                App::new().service(web::resource("/webhook").wrap(verify.clone()).route(route))
            };
            let serve = move || {
                let server = HttpServer::new(app).workers(2).listen(listener).unwrap();
                actix_web::rt::System::new().block_on(server.run()).unwrap();
            };
            spawn_blocking(serve).await.unwrap();
        }
        other => panic!("no framework: {other}"),
    }
}

/// Asks the vendor about a job.
fn fetch(vendor: SocketAddr, job: &JobId) -> Result<Fetched, BoxError> {
    let mut stream = TcpStream::connect(vendor)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let head = format!("GET /results/{job} HTTP/1.0\r\nhost: vendor\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    match head.get(9..12) {
        Some("200") => Ok(Fetched::Finished(Event::from_json(body)?)),
        Some("202") => Ok(Fetched::StillRunning),
        Some("404") => Ok(Fetched::Unknown),
        _ => Err(format!("the vendor answered {head}").into()),
    }
}

async fn poison(event: &AcceptedEvent) {
    if event.key().ends_with("poison") {
        sleep(Duration::from_millis(100)).await;
        abort();
    }
    sleep(Duration::from_secs(1)).await;
}

/// The effect is a line in a file.
fn handle(
    event: &AcceptedEvent,
    effects: PathBuf,
    crash: Crash,
    failing: u64,
) -> Result<(), BoxError> {
    if crash == Crash::InHandler {
        abort();
    }
    if RandomState::new().hash_one(event.key()) % 100 < failing {
        return Err("a failure by chance".into());
    }
    let mut file = File::options().create(true).append(true).open(effects)?;
    file.write_all(format!("{}\n", event.key()).as_bytes())?;
    if crash == Crash::AfterEffect {
        abort();
    }
    Ok(())
}

/// An inbox that crashes its process.
struct Crashing(Inbox, Crash);

impl Accept for Crashing {
    fn store(&self, record: Record) -> StoreFuture<'_> {
        let Self(inbox, crash) = self;
        Box::pin(async move {
            if *crash == Crash::BeforeInsert {
                abort();
            }
            if *crash == Crash::DuringInsert {
                // Another thread writes it, so this one can choose only the time: within a usual commit.
                let after = Duration::from_micros(RandomState::new().hash_one(()) % 3_000);
                std::thread::spawn(move || {
                    std::thread::sleep(after);
                    abort();
                });
                _ = inbox.store(record).await;
                return pending().await;
            }
            let stored = inbox.store(record).await;
            if *crash == Crash::BeforeAnswer {
                abort();
            }
            stored
        })
    }
}
