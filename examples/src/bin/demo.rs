//! Starts a receiver with an inbox, and sends it five events over real HTTP: one is repeated, and
//! one is forged.

use std::{error::Error, time::Duration};

use axum::{Router, routing::post_service};
use clap::Parser;
use number7_examples::{
    handle, listen, secret,
    sender::{Kind, Message},
};
use number7_inbox::{AcceptedEvent, BoxError, Inbox};
use number7_tower::{AcceptNumber7, VerifyNumber7};
use tokio::{net::TcpListener, signal, sync::mpsc, task::spawn_blocking, time::timeout};

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
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let args = Args::parse();
    let secret = secret()?;
    let folder = tempfile::tempdir()?;
    let inbox = Inbox::sqlite(folder.path().join("inbox.db")).await?;

    let app = Router::new()
        .route("/webhook", post_service(AcceptNumber7::new(inbox.clone())))
        .layer(VerifyNumber7::new(secret.clone()));
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

    let completed = Message::sample(Kind::Completed, "job_abc123", "invoice", &secret);
    let failed = Message::sample(Kind::Failed, "job_abc123", "invoice", &secret);
    let unknown = Message::sample(Kind::Unknown, "job_abc123", "invoice", &secret);
    for (what, message, is_new) in [
        ("job.completed", completed.clone(), true),
        ("job.completed again, as the vendor's retry", completed.clone(), false),
        ("job.failed", failed, true),
        ("job.archived", unknown, true),
        ("job.completed, changed after it was signed", completed.forged(), false),
    ] {
        println!("\nsent: {what}");
        let url = url.clone();
        println!("answered: {}", spawn_blocking(move || message.post(&url)).await??);
        if is_new {
            let event = timeout(PATIENCE, work.recv()).await?;
            handle(&event.ok_or("the worker ended")?);
        }
    }

    if !args.once {
        println!("\nserving until Ctrl-C; try: cargo run --bin send -- --event failed --url {url}");
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
