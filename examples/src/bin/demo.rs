//! Starts a receiver and sends it four events, one of them forged, over real HTTP.

use std::error::Error;

use axum::{Router, http::StatusCode, routing::post};
use clap::Parser;
use number7_examples::{
    handle, listen, secret,
    sender::{Kind, Message},
};
use number7_tower::{Event, Verified, VerifyNumber7};
use tokio::{net::TcpListener, signal, task::spawn_blocking};

/// Receive four events that this program sends to itself, and go on serving.
#[derive(Parser)]
struct Args {
    /// End after the four events
    #[arg(long)]
    once: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let secret = secret()?;
    let verify = VerifyNumber7::new(secret.clone());
    let app = Router::new().route("/webhook", post(webhook)).layer(verify);
    let listener = TcpListener::from_std(listen()?)?;
    let url = format!("http://{}/webhook", listener.local_addr()?);
    let server = tokio::spawn(async { axum::serve(listener, app).await });

    for (kind, forged) in [
        (Kind::Completed, false),
        (Kind::Failed, false),
        (Kind::Unknown, false),
        (Kind::Completed, true),
    ] {
        let mut message = Message::sample(kind, "job_abc123", "invoice", &secret);
        if forged {
            message = message.forged();
        }
        println!("\nsent: {kind}{}", if forged { ", changed after it was signed" } else { "" });
        let url = url.clone();
        let status = spawn_blocking(move || message.post(&url)).await??;
        println!("answered: {status}");
    }

    if !args.once {
        println!("\nserving until Ctrl-C; try: cargo run --bin send -- --event failed --url {url}");
        tokio::select! {
            served = server => served??,
            pressed = signal::ctrl_c() => pressed?,
        }
    }
    Ok(())
}

async fn webhook(Verified(event): Verified<Event>) -> StatusCode {
    handle(&event);
    StatusCode::OK
}
