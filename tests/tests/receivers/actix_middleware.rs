//! What actix-web expects of a middleware.
#![allow(clippy::unwrap_used)]

use std::pin::Pin;

use actix_web::{
    App, Error, HttpMessage, HttpResponse,
    body::MessageBody,
    dev::{Payload, ServiceRequest, ServiceResponse},
    error::PayloadError,
    http::header,
    middleware::{Condition, Logger, Next, from_fn},
    rt::time::timeout,
    test::{TestRequest, call_service, init_service, read_body, try_call_service},
    web,
};
use bytes::Bytes;
use futures_util::{Stream, stream};
use number7_actix::{Verified, VerifiedError, VerifyNumber7};
use number7_core::{Delivery, Event, RejectionKind, SIGNATURE_HEADER, Verifier};
use number7_tests::{
    COMPLETED, Receipt,
    in_process::{actix_response, saw},
    secret, sign, verifier,
};
use std::time::Duration;

/// The body `{}` compressed by gzip.
const GZIPPED: &[u8] = &[
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0xff, 0xab, 0xae, 0x05, 0x00, 0x43, 0xbf,
    0xa6, 0xa3, 0x02, 0x00, 0x00, 0x00,
];

fn unsigned() -> TestRequest {
    TestRequest::post().uri("/webhook").set_payload(COMPLETED)
}

fn signed() -> TestRequest {
    unsigned().insert_header((SIGNATURE_HEADER, sign(COMPLETED)))
}

fn verify() -> VerifyNumber7 {
    VerifyNumber7::new(secret())
}

async fn webhook(Verified(event): Verified<Event>) -> String {
    saw(event.name())
}

macro_rules! assert_protects {
    ($app:expr) => {
        let app = init_service($app).await;
        let good = call_service(&app, signed().to_request()).await;
        assert_eq!(read_body(good).await, saw("job.completed"));
        for request in [unsigned(), signed().set_payload("{}")] {
            let refused = try_call_service(&app, request.to_request()).await.unwrap();
            let refused = actix_response(refused).await;
            assert_eq!((refused.status, refused.body.len()), (401, 0));
        }
    };
}

#[actix_web::test]
async fn it_protects_an_app_a_scope_and_a_resource() {
    let route = || web::post().to(webhook);
    assert_protects!(App::new().wrap(verify()).route("/webhook", route()));
    let scope = web::scope("").wrap(verify()).route("/webhook", route());
    assert_protects!(App::new().service(scope));
    let resource = web::resource("/webhook").wrap(verify()).route(route());
    assert_protects!(App::new().service(resource));
}

#[actix_web::test]
async fn it_stands_among_other_middleware() {
    async fn pass(
        request: ServiceRequest,
        next: Next<impl MessageBody>,
    ) -> Result<ServiceResponse<impl MessageBody>, Error> {
        assert!(request.extensions().get::<Delivery>().is_some());
        next.call(request).await
    }
    assert_protects!(
        App::new()
            .wrap(from_fn(pass))
            .wrap(Condition::new(true, verify()))
            .wrap(Logger::default())
            .route("/webhook", web::post().to(webhook))
    );
}

#[actix_web::test]
async fn the_extractor_gives_each_type_and_leaves_the_body() {
    async fn all(
        Verified(event): Verified,
        Verified(delivery): Verified<Delivery>,
        Verified(bytes): Verified<Bytes>,
        Verified(receipt): Verified<Receipt>,
        web::Json(json): web::Json<serde_json::Value>,
    ) -> String {
        assert_eq!(delivery.body(), &bytes);
        assert_eq!(json["jobId"], *receipt.job);
        saw(event.name())
    }
    let app = App::new().wrap(verify()).route("/webhook", web::post().to(all));
    let app = init_service(app).await;
    let request = signed().insert_header(header::ContentType::json());
    let response = call_service(&app, request.to_request()).await;
    assert_eq!(read_body(response).await, saw("job.completed"));
}

#[actix_web::test]
async fn the_extractor_of_a_delivery_is_none_only_without_the_middleware() {
    async fn optional(
        delivery: Option<Verified<Delivery>>,
        event: Option<Verified<Event>>,
    ) -> String {
        format!("{} {}", delivery.is_some(), event.is_some())
    }
    let route = || web::post().to(optional);
    let open = init_service(App::new().route("/webhook", route())).await;
    let response = call_service(&open, signed().to_request()).await;
    assert_eq!(read_body(response).await, "false false");
    let behind = init_service(App::new().wrap(verify()).route("/webhook", route())).await;
    for (request, body) in [(signed(), "true true"), (untypable(), "true false")] {
        let response = call_service(&behind, request.to_request()).await;
        assert_eq!(read_body(response).await, body);
    }
}

/// A signed body that is not an event.
fn untypable() -> TestRequest {
    unsigned().set_payload("[]").insert_header((SIGNATURE_HEADER, sign("[]")))
}

#[actix_web::test]
async fn the_extractor_leaves_its_refusal_to_a_handler_that_asks_for_it() {
    async fn result(verified: Result<Verified<Event>, VerifiedError>) -> String {
        match verified {
            Ok(mut verified) => {
                let event = std::mem::replace(
                    &mut *verified,
                    Event::from_json("{\"event\":\"x\"}").unwrap(),
                );
                Verified::from(event).name().to_owned()
            }
            Err(refused) => format!("{} {}", refused.status().as_u16(), refused.body_text()),
        }
    }
    let route = || web::post().to(result);
    let open = init_service(App::new().route("/webhook", route())).await;
    let response = read_body(call_service(&open, signed().to_request()).await).await;
    assert!(response.starts_with(b"500 no verified delivery was found: put VerifyNumber7 "));
    let behind = init_service(App::new().wrap(verify()).route("/webhook", route())).await;
    for (request, body) in [(signed(), "job.completed"), (untypable(), "400 ")] {
        assert_eq!(read_body(call_service(&behind, request.to_request()).await).await, body);
    }
}

#[actix_web::test]
async fn the_extractor_without_the_middleware_says_what_is_missing() {
    let app = init_service(App::new().route("/webhook", web::post().to(webhook))).await;
    let response = actix_response(call_service(&app, signed().to_request()).await).await;
    assert_eq!(
        (response.status, response.rejection),
        (500, Some(RejectionKind::MissingMiddleware))
    );
    assert!(String::from_utf8_lossy(&response.body).contains("VerifyNumber7"));
    let plain = ("content-type".to_owned(), "text/plain; charset=utf-8".to_owned());
    assert!(response.headers.contains(&plain));
}

#[actix_web::test]
async fn the_reason_is_in_the_responses_error() {
    async fn reason(
        request: ServiceRequest,
        next: Next<impl MessageBody>,
    ) -> Result<ServiceResponse<impl MessageBody>, Error> {
        let response = next.call(request).await?;
        let error = response.response().error().unwrap().as_error::<VerifiedError>().unwrap();
        assert_eq!(error.rejection().kind(), RejectionKind::MissingSignature);
        Ok(response)
    }
    let app = App::new().wrap(verify()).wrap(from_fn(reason));
    let app = init_service(app.route("/webhook", web::post().to(webhook))).await;
    assert_eq!(call_service(&app, unsigned().to_request()).await.status(), 401);
}

#[actix_web::test]
async fn a_compressed_body_is_verified_as_it_was_sent_and_never_inflated() {
    async fn echo(body: Bytes) -> HttpResponse {
        HttpResponse::Ok().body(body)
    }
    let gzipped = |signature: String| {
        TestRequest::post()
            .uri("/webhook")
            .insert_header((header::CONTENT_ENCODING, "gzip"))
            .insert_header((SIGNATURE_HEADER, signature))
            .set_payload(GZIPPED)
            .to_request()
    };
    let app = init_service(App::new().route("/webhook", web::post().to(echo))).await;
    let inflated = read_body(call_service(&app, gzipped(sign(GZIPPED))).await).await;
    assert_eq!(inflated, "{}", "actix-web inflates in this build");

    let app = App::new().wrap(verify()).route("/webhook", web::post().to(echo));
    let app = init_service(app).await;
    assert_eq!(call_service(&app, gzipped(sign(GZIPPED))).await.status(), 415);
    assert_eq!(call_service(&app, gzipped(sign("{}"))).await.status(), 401);
}

type Stalling = Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>;

async fn with_payload(verifier: Verifier, payload: Stalling) -> Option<RejectionKind> {
    let app = App::new().wrap(VerifyNumber7::new(verifier));
    let app = init_service(app.route("/webhook", web::post().to(webhook))).await;
    let request = signed().to_request().replace_payload(Payload::from(payload)).0;
    actix_response(call_service(&app, request).await).await.rejection
}

#[actix_web::test]
async fn a_payload_error_is_a_400_and_a_stalled_payload_a_408() {
    let broken: Stalling =
        Box::pin(stream::iter([Ok(Bytes::from(COMPLETED)), Err(PayloadError::Incomplete(None))]));
    assert_eq!(with_payload(verifier(), broken).await, Some(RejectionKind::BodyBrokenOff));

    let limited: Stalling = Box::pin(stream::iter([Err(PayloadError::Overflow)]));
    assert_eq!(with_payload(verifier(), limited).await, Some(RejectionKind::BodyTooLarge));
    let late = PayloadError::Io(std::io::ErrorKind::TimedOut.into());
    let late: Stalling = Box::pin(stream::iter([Err(late)]));
    assert_eq!(with_payload(verifier(), late).await, Some(RejectionKind::BodyTooSlow));

    let impatient = verifier().body_timeout(Duration::from_millis(50));
    let stalled = with_payload(impatient, Box::pin(stream::pending()));
    let rejection = timeout(Duration::from_secs(30), stalled).await.unwrap();
    assert_eq!(rejection, Some(RejectionKind::BodyTooSlow));
}

#[actix_web::test]
async fn actix_webs_own_extractors_take_what_the_verifier_takes() {
    let body = COMPLETED.replace("job_abc123", &"x".repeat(3 * 1024 * 1024));
    let verify = || VerifyNumber7::new(verifier().body_limit(4 * 1024 * 1024));
    macro_rules! send {
        ($resource:expr) => {{
            let app = init_service(App::new().service($resource)).await;
            let request = TestRequest::post().uri("/webhook").set_payload(body.clone());
            let request = request.insert_header((SIGNATURE_HEADER, sign(&body)));
            let request = request.insert_header(header::ContentType::json());
            call_service(&app, request.to_request()).await.status().as_u16()
        }};
    }
    async fn bytes(_: Bytes) -> HttpResponse {
        HttpResponse::Ok().finish()
    }
    async fn text(_: String) -> HttpResponse {
        HttpResponse::Ok().finish()
    }
    async fn json(_: web::Json<serde_json::Value>) -> HttpResponse {
        HttpResponse::Ok().finish()
    }
    let resource = || web::resource("/webhook").wrap(verify());
    assert_eq!(send!(resource().route(web::post().to(bytes))), 200);
    assert_eq!(send!(resource().route(web::post().to(text))), 200);
    assert_eq!(send!(resource().route(web::post().to(json))), 200);
    let limited = resource().app_data(web::PayloadConfig::new(1_000));
    assert_eq!(send!(limited.route(web::post().to(bytes))), 413, "the app has a limit of its own");
    let limited = resource().app_data(web::JsonConfig::default().limit(1_000));
    assert_eq!(send!(limited.route(web::post().to(json))), 413, "and one for JSON");
}

/// actix-web does not allow changes of a request that has been cloned.
#[actix_web::test]
async fn a_large_body_is_served_although_middleware_in_front_holds_a_clone_of_the_request() {
    async fn hold(
        request: ServiceRequest,
        next: Next<impl MessageBody>,
    ) -> Result<ServiceResponse<impl MessageBody>, Error> {
        let _clone = request.request().clone();
        next.call(request).await
    }
    async fn bytes(_: Bytes) -> HttpResponse {
        HttpResponse::Ok().finish()
    }
    async fn json(_: web::Json<serde_json::Value>) -> HttpResponse {
        HttpResponse::Ok().finish()
    }
    async fn verified(Verified(_): Verified<Bytes>) -> HttpResponse {
        HttpResponse::Ok().finish()
    }
    const LIMIT: usize = 4 * 1024 * 1024;
    let resource = || {
        let verify = VerifyNumber7::new(verifier().body_limit(LIMIT));
        web::resource("/webhook").wrap(verify).wrap(from_fn(hold))
    };
    let configured = || {
        let json = web::JsonConfig::default().limit(LIMIT);
        resource().app_data(web::PayloadConfig::new(LIMIT)).app_data(json)
    };
    macro_rules! send {
        ($resource:expr, $bytes:expr) => {{
            let body = COMPLETED.replace("job_abc123", &"x".repeat($bytes));
            let app = init_service(App::new().service($resource)).await;
            let request = TestRequest::post().uri("/webhook").set_payload(body.clone());
            let request = request.insert_header((SIGNATURE_HEADER, sign(&body)));
            let request = request.insert_header(header::ContentType::json());
            try_call_service(&app, request.to_request()).await.unwrap().status().as_u16()
        }};
    }
    assert_eq!(send!(resource().route(web::post().to(bytes)), 200_000), 200);
    assert_eq!(
        send!(resource().route(web::post().to(bytes)), 300_000),
        413,
        "the limit is its own"
    );
    assert_eq!(send!(resource().route(web::post().to(json)), 300_000), 200);
    assert_eq!(send!(resource().route(web::post().to(json)), 3_000_000), 413, "and that of JSON");
    assert_eq!(send!(resource().route(web::post().to(verified)), 3_000_000), 200);
    assert_eq!(send!(configured().route(web::post().to(bytes)), 3_000_000), 200);
    assert_eq!(send!(configured().route(web::post().to(json)), 3_000_000), 200);
}

#[actix_web::test]
async fn the_handlers_error_passes_untouched() {
    async fn fail(Verified(_): Verified<Event>) -> Result<HttpResponse, Error> {
        Err(actix_web::error::ErrorImATeapot("mine"))
    }
    let app = App::new().wrap(verify()).route("/webhook", web::post().to(fail));
    let app = init_service(app).await;
    let response = call_service(&app, signed().to_request()).await;
    assert_eq!(response.status(), 418);
    assert_eq!(read_body(response).await, "mine");
}
