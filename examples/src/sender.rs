//! The sender's side, as the vendor documents it: for local development.

use std::{fmt, time::Duration};

use clap::ValueEnum;
use number7_core::{SIGNATURE_HEADER, Secret};
use serde_json::Value;
use ureq::{
    Agent,
    http::{Response, StatusCode},
};

/// How long one attempt waits for its answer. The vendor does not publish its own timeout.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The event to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// `job.completed`
    Completed,
    /// `job.failed`
    Failed,
    /// An event of a name that the receiver does not know.
    Unknown,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Completed => "job.completed",
            Self::Failed => "job.failed",
            Self::Unknown => "job.archived",
        })
    }
}

/// A body and the signature that is sent with it.
#[derive(Clone)]
pub struct Message {
    body: String,
    signature: String,
}

impl Message {
    /// A sample event of now, as compact JSON.
    #[must_use]
    pub fn sample(kind: Kind, job: &str, document: &str, secret: &Secret) -> Self {
        let (status, error) = match kind {
            Kind::Failed => ("failed", r#","error":"page 2 could not be read""#),
            Kind::Completed | Kind::Unknown => ("done", ""),
        };
        let (job, document) = (Value::from(job), Value::from(document));
        let now = jiff::Timestamp::now();
        let body = format!(
            r#"{{"event":"{kind}","jobId":{job},"fileStatus":"{status}","documentType":{document},"timestamp":"{now:.3}"{error}}}"#
        );
        let signature = secret.sign(&body).to_string();
        Self { body, signature }
    }

    /// Changes the body after it was signed.
    #[must_use]
    pub fn forged(mut self) -> Self {
        self.body.push(' ');
        self
    }

    /// POSTs the message once, and returns the status of the answer.
    ///
    /// # Errors
    ///
    /// There is no answer: the connection was refused or broke off, or the answer takes too long.
    pub fn post(&self, url: &str) -> Result<StatusCode, ureq::Error> {
        let agent =
            Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT));
        Agent::from(agent.build())
            .post(url)
            .header(SIGNATURE_HEADER, &self.signature)
            .content_type("application/json")
            .send(&self.body)
            .map(|response: Response<_>| response.status())
    }
}
