//! A worker that gets the result of each job from the vendor. Its arguments are the URL of the store, the base
//! URL of the API, and a file for the effects: a line for each document.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{env, fs::File, future::pending, io::Write, time::Duration};

use number7_client::{ApiKey, Client, JobResult};
use number7_inbox::{AcceptedEvent, Failure, Inbox};

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut args = env::args().skip(1);
    let mut arg = || args.next().unwrap();
    let (store, api, effects) = (arg(), arg(), arg());
    let client = Client::new(ApiKey::new("sandbox").unwrap()).requests_per_minute(600);
    let client = client.base_url(api).unwrap();
    let inbox = Inbox::open(&store).await.unwrap();
    let handler = {
        let client = client.clone();
        move |accepted| handle(client.clone(), accepted, effects.clone())
    };
    let second = Duration::from_secs(1);
    let worker = inbox.worker(handler).concurrency(8).reconcile(client);
    worker.fetch_limits(1, 600).fetch_backoff(second, second).run_until(pending()).await;
}

/// The effect is a line in a file.
async fn handle(client: Client, accepted: AcceptedEvent, effects: String) -> Result<(), Failure> {
    let job = accepted.job_id().ok_or("no job")?;
    let JobResult::Finished(finished) = client.result(&job).await? else {
        return Err("the job is not finished".into());
    };
    let line = format!("{job} {}\n", finished.document_type);
    let mut file = File::options().create(true).append(true).open(effects)?;
    Ok(file.write_all(line.as_bytes())?)
}
