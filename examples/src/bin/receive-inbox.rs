//! Receives Number7 AI's webhooks with axum: accepts them durably, answers, and handles them after that.

use std::{
    env, fs, io,
    net::{AddrParseError, Ipv4Addr, SocketAddr},
    process::exit,
    time::Duration,
};

use axum::{Router, routing::post_service};
use clap::Parser;
use number7_examples::{Failure, handle, listen, log, metrics, verifier, without_password};
use number7_inbox::{AcceptedEvent, Board, BoxError, Inbox};
use number7_tower::{AcceptNumber7, VerifyNumber7};
use tokio::{
    net::TcpListener,
    signal::{
        ctrl_c,
        unix::{SignalKind, signal},
    },
    time::sleep,
};

/// Accept events durably, answer 200, and handle them in the same process.
///
/// Any number of these may run on one store, each at its own address. SIGTERM or Ctrl-C lets it finish what is running. A
/// second signal stops it at once.
#[derive(Parser)]
#[command(
    after_help = "WEBHOOK_ADDR is the address, 127.0.0.1:3000 if it is not set. WEBHOOK_SECRET is the secret."
)]
struct Args {
    /// The store of the inbox: sqlite:PATH, postgres://…, redis://… or redis+sentinel://…
    /// [default: sqlite in the temporary folder]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// How many milliseconds the work on an event takes
    #[arg(long, default_value_t = 0)]
    work: u64,
    /// Let the work fail: after three attempts, within some seconds, an event is a dead letter
    #[arg(long)]
    fail: bool,
    /// Serve metrics for Prometheus at the path /metrics of this address, or of this port on the loopback
    #[arg(long, value_name = "ADDR", value_parser = address)]
    metrics: Option<SocketAddr>,
    /// Serve the board, which shows the inbox to a browser and changes nothing, at this port on the loopback
    #[arg(long, value_name = "PORT")]
    board: Option<u16>,
    /// How many seconds a silent worker keeps its events
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(4..=3600))]
    lease: u64,
    /// How many events run at a time
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// How many seconds the work on an event may take before the attempt fails
    /// [default: no limit]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    log();
    let args = Args::parse();
    let (work, lease) = (Duration::from_millis(args.work), Duration::from_secs(args.lease));

    let store = args.store.map_or_else(in_the_temporary_folder, Ok)?;
    let inbox = Inbox::open(&store).await?;
    eprintln!("the inbox is in {}", without_password(&store));
    let app = Router::new()
        .route("/webhook", post_service(AcceptNumber7::new(inbox.clone())))
        .layer(VerifyNumber7::new(verifier()?));
    let worker = inbox.worker(move |event| work_on(event, work, args.fail)).lease(lease);
    let worker = worker.concurrency(args.concurrency.into());
    let worker = if args.fail { worker.attempts(3) } else { worker };
    let worker = match args.timeout {
        Some(seconds) => worker.timeout(Duration::from_secs(seconds)),
        None => worker,
    };

    let listener = TcpListener::from_std(listen()?)?;
    if let Some(addr) = args.metrics {
        let beside = listen_beside(addr, "--metrics").await?;
        println!("metrics are at http://{}/metrics", beside.local_addr()?);
        tokio::spawn(serve(beside, metrics(inbox.clone())?));
    }
    if let Some(port) = args.board {
        let beside = listen_beside((Ipv4Addr::LOCALHOST, port).into(), "--board").await?;
        println!("the board is at http://{}/", beside.local_addr()?);
        tokio::spawn(serve(beside, Board::new(inbox.clone()).router()));
    }
    // Server and worker both finish what is running.
    tokio::spawn(stop_at_once());
    let server = axum::serve(listener, app).with_graceful_shutdown(terminated());
    let (served, ()) = tokio::join!(server.into_future(), worker.run_until(terminated()));
    Ok(served?)
}

async fn listen_beside(addr: SocketAddr, option: &str) -> io::Result<TcpListener> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot listen on {addr} ({option}): {error}"))
    };
    TcpListener::bind(addr).await.map_err(named)
}

async fn serve(listener: TcpListener, app: Router) {
    let server = axum::serve(listener, app).with_graceful_shutdown(terminated());
    if let Err(error) = server.await {
        eprintln!("a server beside the receiver has ended: {error}");
    }
}

/// An address, or a port on the loopback.
fn address(text: &str) -> Result<SocketAddr, AddrParseError> {
    match text.strip_prefix(':').unwrap_or(text).parse() {
        Ok(port) => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        Err(_) => text.parse(),
    }
}

fn in_the_temporary_folder() -> io::Result<String> {
    let folder = env::temp_dir().join("number7-inbox");
    fs::create_dir_all(&folder)?;
    Ok(format!("sqlite:{}", folder.join("inbox.db").display()))
}

/// Handles an event, at least once. After an error or a panic, it is tried again later.
async fn work_on(accepted: AcceptedEvent, work: Duration, fail: bool) -> Result<(), BoxError> {
    let event = accepted.event()?;
    sleep(work).await;
    if fail {
        return Err("the work was told to fail".into());
    }
    handle(&event);
    Ok(())
}

/// A second signal ends the process at once. What is running is handled again later.
async fn stop_at_once() {
    terminated().await;
    eprintln!("stopping when the running attempts have ended; signal again to stop at once");
    terminated().await;
    eprintln!("stopped at once; what was running is tried again when its lease has ended");
    exit(1);
}

/// Ctrl-C, or the signal of a service manager.
async fn terminated() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        _ = ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
