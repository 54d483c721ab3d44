//! Receives Number7 AI's webhooks in AWS Lambda, behind an HTTP API of API Gateway or a function URL. It stores them, answers,
//! and leaves the work to another process.
//!
//! Do not handle events here. Lambda freezes a function as soon as it has answered, so work in the background stops in the
//! middle, and continues with the next webhook or never. Work before the answer makes the vendor wait, and is cut off by the
//! function's timeout. So this function only verifies and stores. A worker that runs all the time, such as `receive-inbox` on a
//! small machine or in a container, opens the same store, is notified of the event, and handles it.
//!
//! `NUMBER7_STORE` is the store: PostgreSQL or Redis, because the files of a function are lost with it. `WEBHOOK_SECRET` is the
//! secret. API Gateway may send the body as base64. `lambda_http` decodes that, and the signature is over the decoded bytes.

use std::env;

use axum::{Router, routing::post_service};
use number7_examples::{log, verifier};
use number7_inbox::Inbox;
use number7_tower::{AcceptNumber7, VerifyNumber7};

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    log();
    let store = env::var("NUMBER7_STORE").map_err(|_| "NUMBER7_STORE is not set")?;
    let inbox = Inbox::open(&store).await?;
    let app = Router::new()
        .route("/webhook", post_service(AcceptNumber7::new(inbox)))
        .layer(VerifyNumber7::new(verifier()?));
    lambda_http::run(app).await
}
