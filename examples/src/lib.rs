//! What the examples have in common: their configuration, and the sender's side.

use std::env;

use number7_core::{Event, Secret, SecretError, SecretErrorKind};

pub mod sender;

/// The secret of receivers and senders that are given none. It is in this file, so anybody can sign
/// with it.
pub const DEMO_SECRET: &str = "number7-demo-secret";

/// The secret in `WEBHOOK_SECRET`, or with a warning the [`DEMO_SECRET`].
///
/// # Errors
///
/// `WEBHOOK_SECRET` is set to something that is no secret.
pub fn secret() -> Result<Secret, SecretError> {
    match Secret::from_env("WEBHOOK_SECRET") {
        Err(error) if error.kind() == SecretErrorKind::NotSet => {
            eprintln!(
                "warning: WEBHOOK_SECRET is not set; using the demo secret, with which anybody can sign"
            );
            Secret::new(DEMO_SECRET)
        }
        other => other,
    }
}

/// The address to listen on: `WEBHOOK_ADDR`, or `127.0.0.1:3000`.
#[must_use]
pub fn addr() -> String {
    env::var("WEBHOOK_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into())
}

/// What the examples do with an event: they print it.
pub fn handle(event: &Event) {
    match event {
        Event::JobCompleted(job) => {
            println!("handled: {} is done: {}", job.job_id, job.document_type)
        }
        Event::JobFailed(job) => println!("handled: {} failed: {}", job.job_id, job.error),
        Event::Unknown(other) => println!("handled: {} is unknown: {}", other.name(), other.json()),
        _ => println!("handled: {} is newer than this example", event.name()),
    }
}
