//! Uploads documents to a stand-in for the vendor, which loses some of their webhooks, and handles all of
//! their results once.

use std::{collections::BTreeMap, io, time::Duration};

use axum::{Router, routing::post_service};
use number7_examples::{Failure, listen, log, secret, vendor};
use number7_inbox::{AcceptedEvent, BoxError, Event, Fetched, Inbox, JobId, Origin};
use number7_tower::{AcceptNumber7, VerifyNumber7};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

const DOCUMENTS: usize = 20;

/// How soon a result is expected. In production it is longer than the vendor ever takes, by far.
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
    let callback = format!("http://{}/webhook", listener.local_addr()?);
    tokio::spawn(async { axum::serve(listener, app).await });

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let vendor_url = format!("http://{}", listener.local_addr()?);
    let api = vendor(secret, &callback);
    tokio::spawn(async { axum::serve(listener, api).await });

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
    let (client, url) = (Client::new(), vendor_url.clone());
    let worker = worker.reconcile(move |job: JobId| fetch(client.clone(), url.clone(), job));
    tokio::spawn(worker.run_until(std::future::pending()));

    let client = Client::new();
    for _ in 0..DOCUMENTS {
        let answer =
            client.post(format!("{vendor_url}/documents")).body("a document").send().await?;
        let job = answer.error_for_status()?.json::<Value>().await?;
        let job = job["jobId"].as_str().unwrap_or_default();
        inbox.expect_job(job, WITHIN).await?;
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
    let (fetched, delivered): (Vec<_>, Vec<_>) =
        results.iter().partition(|(_, origin)| **origin == Origin::Fetched);
    let fetched: Vec<_> = fetched.iter().map(|(job, _)| job.as_str()).collect();
    println!("handled {} jobs, each once", results.len());
    println!("{} of them by their webhooks", delivered.len());
    println!("{} of them were fetched: {}", fetched.len(), fetched.join(", "));
    Ok(())
}

/// Asks the vendor for a job that is overdue.
async fn fetch(client: Client, vendor: String, job: JobId) -> Result<Fetched, BoxError> {
    // An id is the vendor's text. Here it goes into a path.
    let mut url = reqwest::Url::parse(&vendor)?;
    url.path_segments_mut().map_err(|()| "no base")?.extend(["results", job.as_str()]);
    let answer = client.get(url).send().await?;
    if answer.status() == StatusCode::NOT_FOUND {
        return Ok(Fetched::Unknown);
    }
    let result: Value = answer.error_for_status()?.json().await?;
    let event = match result["fileStatus"].as_str() {
        Some("done") => "job.completed",
        Some("failed") => "job.failed",
        _ => return Ok(Fetched::StillRunning),
    };
    let event = json!({
        "event": event, "jobId": job, "fileStatus": result["fileStatus"],
        "documentType": result["documentType"], "timestamp": result["timestamp"],
        "error": result["error"].as_str().unwrap_or_default(),
    });
    Ok(Fetched::Finished(Event::from_json(event.to_string())?))
}
