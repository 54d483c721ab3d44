//! Sends the probes of number7-core to axum and to actix-web in the same way, in process and over real sockets.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by a panic")]

use std::{
    convert::Infallible,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use number7_core::{
    Accounts, Delivery, Found, FromDelivery, SIGNATURE_HEADER, Secret, Verifier, probe::Probes,
};
use serde::Deserialize;

pub mod engine;
pub mod gate;
pub mod http_proxy;
pub mod in_process;
pub mod patience;
pub mod proxy;
pub mod receiver;
pub mod running;
pub mod server;
pub mod socket;
pub mod store;

/// Compiles and runs the code in the README and the pages beside it.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[doc = include_str!("../../docs/operating.md")]
#[doc = include_str!("../../docs/secrets.md")]
#[doc = include_str!("../../docs/testing.md")]
struct Readme;

/// The secret of every receiver in the tests.
pub const SECRET: &str = "the-secret-of-the-tests";

/// The vendor's published payload.
pub const COMPLETED: &str = r#"{"event":"job.completed","jobId":"job_abc123","fileStatus":"done","documentType":"invoice","timestamp":"2026-04-22T10:00:00.000Z"}"#;

/// The key of [`SECRET`].
#[must_use]
pub fn secret() -> Secret {
    Secret::new(SECRET).unwrap()
}

/// The table of cases.
#[must_use]
pub fn probes() -> Probes {
    Probes::new(secret())
}

/// Accepts [`SECRET`], with the default limits.
#[must_use]
pub fn verifier() -> Verifier {
    Verifier::new(secret())
}

/// The same with diagnosis. Its clock moves by a second each time, so that every mismatch is diagnosed.
#[must_use]
pub fn diagnosing() -> Verifier {
    let seconds = AtomicU64::new(0);
    let staging = Secret::new("the-secret-of-staging").unwrap();
    let clock = move || {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.fetch_add(1, Ordering::Relaxed))
    };
    verifier().recognize("staging", staging).clock(clock).diagnose()
}

/// The published payload for another job, as the vendor delivers it.
pub fn delivery(event: &str, job: &str) -> Delivery {
    let body = body(event, job);
    verifier().verify(sign(&body), body).unwrap()
}

/// What a middleware passes on for a delivery to this account.
pub fn delivery_to(account: &str, body: String) -> Delivery {
    let accounts = Accounts::new(async |_| Ok::<_, Infallible>(Some(secret().into())));
    let signature = sign(&body);
    let headers = [(SIGNATURE_HEADER, signature.as_bytes())];
    let Found::Verifier(verifier) = accounts.find(Some(account), headers).unwrap() else {
        panic!("the lookup ends at once");
    };
    verifier.verify(&signature, body).unwrap()
}

/// The published payload for another event and job.
#[must_use]
pub fn body(event: &str, job: &str) -> String {
    let body = COMPLETED.replace("job.completed", event).replace("job_abc123", job);
    match event {
        "job.failed" => body.replace('}', r#","error":"page 2 could not be read"}"#),
        _ => body,
    }
}

/// The signature of a body by [`SECRET`], as in the header.
#[must_use]
pub fn sign(body: impl AsRef<[u8]>) -> String {
    secret().sign(body).to_string()
}

/// A type of the user, which is read from a delivery.
#[derive(Deserialize)]
pub struct Receipt {
    /// The id of the job.
    #[serde(rename = "jobId")]
    pub job: String,
}

impl FromDelivery for Receipt {
    type Error = serde_json::Error;

    fn from_delivery(delivery: &Delivery) -> Result<Self, Self::Error> {
        serde_json::from_slice(delivery.body())
    }
}
