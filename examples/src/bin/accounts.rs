//! Receives webhooks for several accounts at one route. Each has its own secret, and all share one inbox with one worker.

use std::io;

use axum::{Router, extract::Path, routing::post_service};
use number7_examples::{DEMO_SECRET, Failure, listen, log};
use number7_inbox::{AcceptedEvent, BoxError, Inbox};
use number7_tower::{
    AcceptNumber7, Account, Accounts, Secret, SecretError, Verifier, VerifyNumber7,
};
use tokio::{net::TcpListener, signal::ctrl_c};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    log();
    let folder = tempfile::tempdir()?;
    let inbox = Inbox::sqlite(folder.path().join("inbox.db")).await?;
    let accounts = Accounts::new(find);
    let verify = VerifyNumber7::accounts(accounts, |Path(account): Path<String>| account);
    let accept = post_service(AcceptNumber7::new(inbox.clone()));
    let app = Router::new().route("/hooks/{account}", accept).layer(verify);
    let listener = TcpListener::from_std(listen()?)?;
    println!("there are the accounts acme and globex, at /hooks/acme and /hooks/globex");
    let server = axum::serve(listener, app).with_graceful_shutdown(terminated());
    let worker = inbox.worker(handle).run_until(terminated());
    let (served, ()) = tokio::join!(server.into_future(), worker);
    Ok(served?)
}

/// In an app: `SELECT secret FROM accounts WHERE name = $1`.
async fn find(account: Account) -> Result<Option<Verifier>, SecretError> {
    match account.as_str() {
        "acme" | "globex" => Ok(Some(Secret::new(format!("{DEMO_SECRET}-{account}"))?.into())),
        _ => Ok(None),
    }
}

async fn handle(accepted: AcceptedEvent) -> Result<(), BoxError> {
    let account = accepted.account().ok_or_else(|| io::Error::other("an event of no account"))?;
    println!("handled: {} of {account}", accepted.event()?.name());
    Ok(())
}

async fn terminated() {
    _ = ctrl_c().await;
}
