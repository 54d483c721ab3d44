//! Receives Number7 AI's webhooks with actix-web.

use actix_web::{App, HttpResponse, HttpServer, web};
use number7_actix::{Event, Verified, VerifyNumber7};
use number7_examples::{Failure, handle, listen, log, verifier};

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    log();
    let verify = VerifyNumber7::new(verifier()?);
    let app = move || App::new().wrap(verify.clone()).route("/webhook", web::post().to(webhook));
    Ok(HttpServer::new(app).listen(listen()?)?.run().await?)
}

async fn webhook(Verified(event): Verified<Event>) -> HttpResponse {
    handle(&event);
    HttpResponse::Ok().finish()
}
