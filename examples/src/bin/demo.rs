//! The whole loop on this machine: documents are uploaded to a stand-in for the vendor, webhooks report that they are done, and
//! a worker gets their results. One webhook is forged, and one is lost.

use std::{collections::BTreeMap, io, time::Duration};

use axum::{Router, routing::post_service};
use clap::Parser;
use number7_client::{ApiKey, Client, Document, DocumentType, Invoice, JobResult};
use number7_core::{JobId, Verifier};
use number7_examples::{Failure, listen, secret};
use number7_inbox::{AcceptedEvent, Inbox, Origin};
use number7_sandbox::{DEFAULT_API_KEY, Misbehaviour, Sandbox, Share};
use number7_tower::{AcceptNumber7, VerifyNumber7};
use tokio::{net::TcpListener, signal, sync::mpsc, time::timeout};

const DOCUMENTS: [&str; 3] = ["january.pdf", "february.pdf", "march.pdf"];

/// With this seed, the webhook of one of the three documents is lost, and one is forged for another.
const SEED: u64 = 4;

/// How soon a result is expected. In production, choose far longer than the vendor ever takes.
const WITHIN: Duration = Duration::from_secs(4);

/// How long the demo waits for the results. It takes some seven seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Upload three documents to a stand-in for the vendor, get their results, and keep serving.
#[derive(Parser)]
struct Args {
    /// End after three results
    #[arg(long)]
    once: bool,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let secret = secret()?;
    let folder = tempfile::tempdir()?;
    let inbox = Inbox::sqlite(folder.path().join("inbox.db")).await?;

    // The receiver: it answers forged webhooks 401, and stores authentic ones before it answers 200.
    let verifier = Verifier::new(secret.clone()).diagnose();
    let app = Router::new()
        .route("/webhook", post_service(AcceptNumber7::new(inbox.clone())))
        .layer(VerifyNumber7::new(verifier));
    let listener = TcpListener::from_std(listen()?)?;
    let webhook = format!("http://{}/webhook", listener.local_addr()?);
    tokio::spawn(async { axum::serve(listener, app).await });

    // A stand-in for the vendor.
    let mut misbehaviour = Misbehaviour::default();
    misbehaviour.lose = Share::percent(30);
    misbehaviour.forge = Share::percent(30);
    let sandbox = Sandbox::new(secret)
        .webhooks_to(webhook)
        .misbehave(misbehaviour)
        .seed(SEED)
        .on_happening(|happening| println!("vendor:   {happening}"))
        .start(TcpListener::bind("127.0.0.1:0").await?)?;
    let client = Client::new(ApiKey::new(DEFAULT_API_KEY)?).base_url(sandbox.base_url())?;

    // The worker gets the result of each job, whether its webhook has arrived or never will.
    let (done, mut results) = mpsc::channel(DOCUMENTS.len());
    let handler = {
        let client = client.clone();
        move |accepted| handle(client.clone(), accepted, done.clone())
    };
    let worker = inbox.worker(handler).reconcile(client.clone());
    tokio::spawn(worker.run_until(async { _ = signal::ctrl_c().await }));

    for name in DOCUMENTS {
        let upload =
            client.upload(Document::from_bytes(DocumentType::Invoice, name, "%PDF-1.7")).await?;
        inbox.expect_job(&upload, WITHIN).await?;
    }

    let mut handled = BTreeMap::new();
    let all = timeout(PATIENCE, async {
        while handled.len() < DOCUMENTS.len() {
            let Some((job, origin, text)) = results.recv().await else { break };
            println!("{text}");
            if handled.insert(job, origin).is_some() {
                return Err(io::Error::other("a document was handled twice"));
            }
        }
        Ok(())
    });
    all.await.map_err(|_| io::Error::other("some results never came"))??;
    let saved = handled.values().filter(|origin| **origin == Origin::Fetched).count();
    println!(
        "\nhandled {} documents, each once; {saved} of them although its webhook was lost",
        handled.len()
    );

    if !args.once {
        let api = sandbox.base_url();
        println!(
            "\nserving until Ctrl-C; try in another terminal:\n  \
            N7_API_KEY={DEFAULT_API_KEY} cargo run --bin number7 -- upload README.md --api {api}"
        );
        tokio::select! {
            _ = signal::ctrl_c() => {}
            () = async { while let Some((_, _, text)) = results.recv().await { println!("{text}") } } => {}
        }
    }
    Ok(())
}

/// Gets the result of a job that has ended, and describes it.
async fn handle(
    client: Client,
    accepted: AcceptedEvent,
    done: mpsc::Sender<(JobId, Origin, String)>,
) -> Result<(), number7_inbox::Failure> {
    let Some(job) = accepted.job_id() else { return Ok(()) };
    let text = match client.result(&job).await? {
        JobResult::Finished(finished) => {
            let invoice: Invoice = finished.result.parse()?;
            let number = invoice.invoice_no.unwrap_or_default();
            let total = invoice.grand_total.map(|total| total.to_string()).unwrap_or_default();
            format!(
                "handled:  {job}: invoice {number}, total {total}, {}",
                accepted.origin().name()
            )
        }
        JobResult::Failed(failed) => format!("handled:  {job} failed: {}", failed.error),
        other => return Err(format!("{job} should have ended: {other:?}").into()),
    };
    Ok(done.send((job, accepted.origin(), text)).await?)
}
