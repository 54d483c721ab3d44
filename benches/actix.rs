//! The receivers in actix-web.

use std::{hint::black_box, time::Duration};

use actix_web::{
    App, HttpRequest, HttpResponse,
    dev::Service,
    test::{self, TestRequest},
    web,
};
use bytes::Bytes;
use number7_actix::{Event, Verified, VerifyNumber7};
use number7_core::{SIGNATURE_HEADER, Secret};
use webhook_verify::actix::{VerifiedBody, WebhookConfig};

use crate::{
    Receiver, SECRET, batch, hash_alone, is_signed_as_usual, is_signed_with_care, scheme,
    use_typed, use_value,
};

fn signature(request: &HttpRequest) -> Option<&str> {
    request.headers().get(SIGNATURE_HEADER)?.to_str().ok()
}

fn answer(is_event: bool) -> HttpResponse {
    if is_event { HttpResponse::Ok().finish() } else { HttpResponse::BadRequest().finish() }
}

async fn usual(request: HttpRequest, body: Bytes) -> HttpResponse {
    match is_signed_as_usual(signature(&request), &body) {
        true => answer(use_value(&body)),
        false => HttpResponse::Unauthorized().finish(),
    }
}

async fn careful(request: HttpRequest, body: Bytes) -> HttpResponse {
    match is_signed_with_care(signature(&request), &body) {
        true => answer(use_typed(&body)),
        false => HttpResponse::Unauthorized().finish(),
    }
}

async fn after_webhook_verify(body: VerifiedBody) -> HttpResponse {
    answer(use_typed(body.as_bytes()))
}

async fn number7(Verified(event): Verified<Event>) -> HttpResponse {
    black_box(event);
    HttpResponse::Ok().finish()
}

pub(crate) async fn measure(
    receiver: Receiver,
    headers: &[(&str, String)],
    body: &Bytes,
) -> Duration {
    let configure = |config: &mut web::ServiceConfig| {
        let at = web::resource("/webhook");
        match receiver {
            Receiver::Usual => config.service(at.route(web::post().to(usual))),
            Receiver::Careful => config.service(at.route(web::post().to(careful))),
            Receiver::WebhookVerify => config
                .app_data(WebhookConfig::new(scheme(), webhook_verify::Secret::new(SECRET)))
                .service(at.route(web::post().to(after_webhook_verify))),
            Receiver::Svix => unreachable!("svix reads the headers of axum only"),
            Receiver::Number7 => {
                let verify = VerifyNumber7::new(Secret::new(SECRET).unwrap());
                config.service(at.wrap(verify).route(web::post().to(number7)))
            }
            Receiver::Floor => {
                let hash = hash_alone(body);
                let empty = async || HttpResponse::Ok().finish();
                config.service(
                    at.wrap_fn(move |request, inner| {
                        hash();
                        inner.call(request)
                    })
                    .route(web::post().to(empty)),
                )
            }
        };
    };
    let app = test::init_service(App::new().configure(configure)).await;
    let request = || {
        let request = TestRequest::post().uri("/webhook").set_payload(body.clone());
        let set = |request: TestRequest, (name, value): &(&str, String)| {
            request.insert_header((*name, &**value))
        };
        headers.iter().fold(request, set).to_request()
    };
    batch(request, async |request| app.call(request).await.unwrap().status().as_u16())
}
