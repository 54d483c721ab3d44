//! A stand-in for the vendor: it takes documents, processes them, and delivers webhooks, but not all.
//!
//! The paths, and all of the JSON but the webhook's, are made up: the vendor does not publish them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use number7_core::{SIGNATURE_HEADER, Secret, probe::Sample};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::sleep;

/// How long it works on a document.
const WORK: Duration = Duration::from_millis(200);

/// One of so many webhooks is never delivered, and one of so many twice.
const LOST: usize = 5;
const REPEATED: usize = 7;

/// What it knows.
#[derive(Clone)]
struct Vendor {
    secret: Secret,
    callback: Arc<str>,
    client: Client,
    /// The jobs, and whether each is finished.
    jobs: Arc<Mutex<HashMap<String, bool>>>,
}

/// The vendor's API. It delivers its webhooks to a URL.
pub fn vendor(secret: Secret, callback: &str) -> Router {
    let (client, jobs) = (Client::new(), Arc::default());
    Router::new()
        .route("/documents", post(upload))
        .route("/results/{job}", get(result))
        .with_state(Vendor { secret, callback: callback.into(), client, jobs })
}

async fn upload(State(vendor): State<Vendor>) -> Json<Value> {
    let mut jobs = vendor.jobs.lock().unwrap_or_else(PoisonError::into_inner);
    let number = jobs.len() + 1;
    let job = format!("job_{number}");
    jobs.insert(job.clone(), false);
    tokio::spawn(vendor.clone().process(job.clone(), number));
    Json(json!({ "jobId": job }))
}

async fn result(
    State(vendor): State<Vendor>,
    Path(job): Path<String>,
) -> (StatusCode, Json<Value>) {
    let jobs = vendor.jobs.lock().unwrap_or_else(PoisonError::into_inner);
    match jobs.get(&job) {
        None => (StatusCode::NOT_FOUND, Json(Value::Null)),
        Some(false) => (StatusCode::OK, Json(json!({ "jobId": job, "fileStatus": "processing" }))),
        Some(true) => {
            let result = json!({
                "jobId": job, "fileStatus": "done", "documentType": "invoice",
                "timestamp": "2026-04-22T10:00:00.000Z",
            });
            (StatusCode::OK, Json(result))
        }
    }
}

impl Vendor {
    async fn process(self, job: String, number: usize) {
        sleep(WORK).await;
        let body = Sample::completed(&job).json();
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).insert(job, true);
        let times = match number {
            _ if number.is_multiple_of(LOST) => 0,
            _ if number.is_multiple_of(REPEATED) => 2,
            _ => 1,
        };
        for _ in 0..times {
            let signature = self.secret.sign(&body).to_string();
            let delivery = self.client.post(&*self.callback).header(SIGNATURE_HEADER, signature);
            if let Err(error) = delivery.body(body.clone()).send().await {
                eprintln!("a webhook could not be delivered: {error}");
            }
        }
    }
}
