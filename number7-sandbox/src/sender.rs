//! Sends one webhook.

use std::time::Duration;

use axum::http::{Request, header::CONTENT_TYPE};
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use number7_core::SIGNATURE_HEADER;
use tokio::time::timeout;

/// How long an answer may take. The vendor publishes no limit.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Sends over plain HTTP, because the receiver is on the same machine.
pub(crate) struct Sender(Client<HttpConnector, Full<Bytes>>);

impl Default for Sender {
    fn default() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }
}

impl Sender {
    /// The status of the answer.
    pub(crate) async fn post(&self, url: &str, signature: &str, body: String) -> Option<u16> {
        let request = Request::post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(SIGNATURE_HEADER, signature)
            .body(Full::new(Bytes::from(body)));
        let answer = timeout(TIMEOUT, self.0.request(request.ok()?)).await;
        Some(answer.ok()?.ok()?.status().as_u16())
    }
}
