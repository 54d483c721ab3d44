//! Receives Number7 AI's webhooks with axum.

use axum::{Router, http::StatusCode, routing::post};
use number7_examples::{Failure, handle, listen, log, verifier};
use number7_tower::{Event, Verified, VerifyNumber7};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    log();
    let app = Router::new().route("/webhook", post(webhook)).layer(VerifyNumber7::new(verifier()?));
    Ok(axum::serve(TcpListener::from_std(listen()?)?, app).await?)
}

async fn webhook(Verified(event): Verified<Event>) -> StatusCode {
    handle(&event);
    StatusCode::OK
}
