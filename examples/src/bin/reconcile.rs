//! Uploads documents to a stand-in for the vendor, which loses some of their webhooks. All results are handled once
//! nevertheless.

use std::{collections::BTreeMap, io, time::Duration};

use axum::{Router, routing::post_service};
use number7_client::{ApiKey, Client, Document};
use number7_examples::{Failure, listen, log, secret};
use number7_inbox::{AcceptedEvent, BoxError, Event, Inbox, Origin};
use number7_sandbox::{DEFAULT_API_KEY, Misbehaviour, Sandbox, Share};
use number7_tower::{AcceptNumber7, VerifyNumber7};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

const DOCUMENTS: usize = 20;

/// How soon a result is expected. In production, choose far longer than the vendor ever takes.
const WITHIN: Duration = Duration::from_secs(2);

/// How long the example waits for the results. It takes some four seconds.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    log();
    let folder = tempfile::tempdir()?;
    let inbox = Inbox::sqlite(folder.path().join("inbox.db")).await?;
    let secret = secret()?;

    // The receiver, as in the other examples.
    let app = Router::new()
        .route("/webhook", post_service(AcceptNumber7::new(inbox.clone())))
        .layer(VerifyNumber7::new(secret.clone()));
    let listener = TcpListener::from_std(listen()?)?;
    let webhook = format!("http://{}/webhook", listener.local_addr()?);
    tokio::spawn(async { axum::serve(listener, app).await });

    // A vendor with a large plan, so that the example takes seconds and not minutes.
    let mut misbehaviour = Misbehaviour::default();
    misbehaviour.lose = Share::percent(20);
    misbehaviour.repeat = Share::percent(20);
    let sandbox = Sandbox::new(secret)
        .webhooks_to(webhook)
        .plan(600, DOCUMENTS)
        .job_time(Duration::from_millis(200))
        .misbehave(misbehaviour)
        .start(TcpListener::bind("127.0.0.1:0").await?)?;
    let client = Client::new(ApiKey::new(DEFAULT_API_KEY)?)
        .requests_per_minute(600)
        .base_url(sandbox.base_url())?;

    // The worker handles what was delivered, and fetches what was not.
    let (done, mut handled) = mpsc::channel(DOCUMENTS);
    let worker = inbox.worker(move |accepted: AcceptedEvent| {
        let done = done.clone();
        async move {
            if let Event::JobCompleted(job) = accepted.event()? {
                done.send((job.job_id, accepted.origin())).await?;
            }
            Ok::<_, BoxError>(())
        }
    });
    let worker = worker.reconcile(client.clone()).fetch_limits(2, 600);
    tokio::spawn(worker.run_until(std::future::pending()));

    for number in 0..DOCUMENTS {
        let document = Document::from_bytes("invoice", format!("{number}.pdf"), "a document");
        inbox.expect_job(client.upload(document).await?, WITHIN).await?;
    }
    println!("uploaded {DOCUMENTS} documents");

    let mut results = BTreeMap::new();
    let all = timeout(PATIENCE, async {
        while results.len() < DOCUMENTS {
            let Some((job, origin)) = handled.recv().await else { break };
            if results.insert(job.clone(), origin).is_some() {
                return Err(io::Error::other(format!("{job} was handled twice")));
            }
        }
        Ok(())
    });
    all.await.map_err(|_| io::Error::other("some results never came"))??;
    let fetched = results.values().filter(|origin| **origin == Origin::Fetched).count();
    println!("handled {} jobs, each once", results.len());
    println!("{} of them by their webhooks", results.len() - fetched);
    println!("{fetched} of them were fetched, because their webhooks were lost");
    Ok(())
}
