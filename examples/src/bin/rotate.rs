//! Accepts two secrets while one replaces the other, and prints which one signed.
//!
//! The new secret is in `WEBHOOK_SECRET`, the old one in `WEBHOOK_SECRET_OLD`.

use std::{env, error::Error};

use axum::{Router, http::StatusCode, routing::post};
use number7_examples::{addr, secret};
use number7_tower::{Delivery, Secret, Verified, Verifier, VerifyNumber7};
use tokio::net::TcpListener;

const DEMO_SECRET_OLD: &str = "number7-demo-secret-old";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let old = env::var("WEBHOOK_SECRET_OLD").unwrap_or_else(|_| DEMO_SECRET_OLD.into());
    let verifier = Verifier::named("new", secret()?).also_accept("old", Secret::new(old)?);
    let app = Router::new().route("/webhook", post(webhook)).layer(VerifyNumber7::new(verifier));
    let listener = TcpListener::bind(addr()).await?;
    println!("listening on http://{}/webhook", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
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
