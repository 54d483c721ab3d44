//! Accepts two secrets while one replaces the other, and prints which one signed.
//!
//! The new secret is in `WEBHOOK_SECRET`, the old one in `WEBHOOK_SECRET_OLD`.

use axum::{Router, http::StatusCode, routing::post};
use number7_examples::{Failure, listen, log, secret, secret_or};
use number7_tower::{Delivery, Verified, Verifier, VerifyNumber7};
use tokio::net::TcpListener;

const DEMO_SECRET_OLD: &str = "number7-demo-secret-old";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    log();
    let old = secret_or("WEBHOOK_SECRET_OLD", DEMO_SECRET_OLD)?;
    let verifier = Verifier::named("new", secret()?).also_accept("old", old);
    let verifier = verifier.diagnose();
    let app = Router::new().route("/webhook", post(webhook)).layer(VerifyNumber7::new(verifier));
    Ok(axum::serve(TcpListener::from_std(listen()?)?, app).await?)
}

async fn webhook(Verified(delivery): Verified<Delivery>) -> StatusCode {
    match delivery.event() {
        Ok(event) => {
            println!("handled: {}, signed with the {} secret", event.name(), delivery.signed_by())
        }
        Err(error) => {
            println!("handled: no event, signed with the {} secret: {error}", delivery.signed_by())
        }
    }
    StatusCode::OK
}
