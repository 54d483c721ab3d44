//! Starts a receiver with an inbox, and sends it five events over real HTTP: one is repeated, and
//! one is forged.

use std::{
    io,
    time::{Duration, SystemTime},
};

use axum::{Router, routing::post_service};
use clap::Parser;
use number7_core::{SIGNATURE_HEADER, Verifier, probe::Sample};
use number7_examples::{Failure, handle, listen, secret};
use number7_inbox::{AcceptedEvent, BoxError, Inbox};
use number7_tower::{AcceptNumber7, VerifyNumber7};
use tokio::{net::TcpListener, signal, sync::mpsc, task::spawn_blocking, time::timeout};
use ureq::{Agent, http::StatusCode};

/// How long the demo waits for its worker. It takes a twentieth of a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// Receive five events that this program sends to itself, and go on serving.
#[derive(Parser)]
struct Args {
    /// End after the five events
    #[arg(long)]
    once: bool,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let secret = secret()?;
    let folder = tempfile::tempdir()?;
    let inbox = Inbox::sqlite(folder.path().join("inbox.db")).await?;

    let app = Router::new()
        .route("/webhook", post_service(AcceptNumber7::new(inbox.clone())))
        .layer(VerifyNumber7::new(Verifier::new(secret.clone()).diagnose(SystemTime::now)));
    let listener = TcpListener::from_std(listen()?)?;
    let url = format!("http://{}/webhook", listener.local_addr()?);
    let server = tokio::spawn(async { axum::serve(listener, app).await });

    // A real handler does its work; this one has it printed after the answer.
    let (done, mut work) = mpsc::channel(1);
    let worker = inbox.worker(move |accepted: AcceptedEvent| {
        let done = done.clone();
        async move {
            done.send(accepted.event()?).await?;
            Ok::<_, BoxError>(())
        }
    });
    let worker = tokio::spawn(worker.run_until(async { _ = signal::ctrl_c().await }));

    let now = format!("{:.3}", jiff::Timestamp::now());
    let [completed, failed, unknown] = [
        Sample::completed("job_abc123"),
        Sample::failed("job_abc123", "page 2 could not be read"),
        Sample::unknown("job_abc123"),
    ]
    .map(|sample| sample.timestamp(&*now).json());
    let changed = completed.clone() + " ";
    for (what, signed, sent, is_new) in [
        ("job.completed", &completed, &completed, true),
        ("job.completed again, as the vendor's retry", &completed, &completed, false),
        ("job.failed", &failed, &failed, true),
        ("job.archived", &unknown, &unknown, true),
        ("job.completed, changed after it was signed", &completed, &changed, false),
    ] {
        println!("\nsent: {what}");
        let (url, signature, body) = (url.clone(), secret.sign(signed).to_string(), sent.clone());
        println!("answered: {}", spawn_blocking(move || post(&url, &signature, &body)).await??);
        if is_new {
            let event = timeout(PATIENCE, work.recv()).await?;
            handle(&event.ok_or_else(|| io::Error::other("the worker ended"))?);
        }
    }

    if !args.once {
        println!(
            "\nserving until Ctrl-C; try in another terminal:\n  \
            WEBHOOK_SECRET=number7-demo-secret cargo run --bin number7 -- send --event failed --url {url}"
        );
        let printed = async {
            while let Some(event) = work.recv().await {
                handle(&event);
            }
        };
        tokio::select! {
            served = server => served??,
            worked = worker => worked?,
            () = printed => {}
        }
    }
    Ok(())
}

/// POSTs, and returns the status of the answer.
fn post(url: &str, signature: &str, body: &str) -> Result<StatusCode, ureq::Error> {
    let agent = Agent::config_builder().http_status_as_error(false).build();
    let request = Agent::from(agent).post(url).header(SIGNATURE_HEADER, signature);
    Ok(request.content_type("application/json").send(body)?.status())
}
