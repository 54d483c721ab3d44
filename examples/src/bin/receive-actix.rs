//! Receives Number7 AI's webhooks with actix-web.

use std::error::Error;

use actix_web::{App, HttpResponse, HttpServer, web};
use number7_actix::{Event, Verified, VerifyNumber7};
use number7_examples::{addr, handle, secret};

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let verify = VerifyNumber7::new(secret()?);
    let app = move || App::new().wrap(verify.clone()).route("/webhook", web::post().to(webhook));
    let server = HttpServer::new(app).bind(addr())?;
    for addr in server.addrs() {
        println!("listening on http://{addr}/webhook");
    }
    Ok(server.run().await?)
}

async fn webhook(Verified(event): Verified<Event>) -> HttpResponse {
    handle(&event);
    HttpResponse::Ok().finish()
}
