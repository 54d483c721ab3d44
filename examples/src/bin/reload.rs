//! Follows a secret in a file while it serves, and prints which secret signed. After a SIGHUP it reads the file at once.
//!
//! The file is in `WEBHOOK_SECRET_FILE`. Without it, the example creates one with the secret of the demo.

use std::{env, fs, io, path::PathBuf};

use axum::{Router, http::StatusCode, routing::post};
use number7_examples::{DEMO_SECRET, Failure, listen, log};
use number7_tower::{Delivery, LiveVerifier, Secret, Verified, VerifyNumber7};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    log();
    let file = file()?;
    let live = LiveVerifier::from_file(&file)?;
    let verify = VerifyNumber7::live(live.clone());
    let app = Router::new().route("/webhook", post(webhook).layer(verify));
    let listener = TcpListener::from_std(listen()?)?;
    println!("the secret is in {}", file.display());
    tokio::spawn(reload_on_sighup(live, file));
    Ok(axum::serve(listener, app).await?)
}

async fn reload_on_sighup(live: LiveVerifier, file: PathBuf) -> io::Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    while hangups.recv().await.is_some() {
        match Secret::from_file(&file) {
            Ok(secret) => match live.replace(secret) {
                true => println!("reloaded: there is a new secret"),
                false => println!("reloaded: the secret is the same"),
            },
            Err(error) => println!("not reloaded, the last secret stays in use: {error}"),
        }
    }
    Ok(())
}

async fn webhook(Verified(delivery): Verified<Delivery>) -> StatusCode {
    println!("handled: signed by {}", delivery.signed_by());
    StatusCode::OK
}

fn file() -> io::Result<PathBuf> {
    if let Some(file) = env::var_os("WEBHOOK_SECRET_FILE") {
        return Ok(file.into());
    }
    let file = env::temp_dir().join(format!("number7-reload-{}", std::process::id()));
    fs::write(&file, format!("{DEMO_SECRET}\n"))?;
    Ok(file)
}
