//! The receivers, called without a socket.

use std::{convert::Infallible, pin::Pin};

use actix_web::{
    App, HttpResponse,
    body::to_bytes,
    dev::{Payload, Service, ServiceResponse},
    error::PayloadError,
    test, web,
};
use axum::{Router, body::Body, http::Request, routing::post};
use bytes::Bytes;
use futures_util::{Stream, stream};
use http_body_util::BodyExt;
use number7_core::{Delivery, Event, Rejection, RejectionKind, Verifier};
use tower::ServiceExt;

use crate::cases::{Answer, Case, Framing};

/// What a receiver answered, and the reason that it left for middleware around it.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// All headers, in order of their names.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// The rejection in the extensions.
    pub rejection: Option<RejectionKind>,
}

impl Response {
    /// Fails unless the answer is the one of the case.
    #[track_caller]
    pub fn assert(&self, framework: &str, case: &Case) {
        let name = case.name;
        match case.answer {
            Answer::Accepted(event) => {
                assert_eq!((self.status, self.rejection), (200, None), "{framework}: {name}");
                assert_eq!(self.body, saw(event), "{framework}: {name}");
            }
            Answer::Refused(status, kind) => {
                assert_eq!(
                    (self.status, self.rejection),
                    (status, Some(kind)),
                    "{framework}: {name}"
                );
                assert!(self.body.is_empty(), "{framework}: {name}: a body of {:?}", self.body);
            }
        }
    }
}

/// What the handlers answer after an event of this name.
#[must_use]
pub fn saw(event: &str) -> String {
    format!("saw {event}, signed by primary")
}

/// The handler of both receivers. It takes the event, the delivery and the body as the framework's
/// own extractor reads it, and fails unless they agree.
fn seen(event: &Event, delivery: &Delivery, body: &Bytes) -> String {
    assert_eq!(body, delivery.body());
    assert_eq!(*event, delivery.event().unwrap());
    format!("saw {}, signed by {}", event.name(), delivery.signed_by())
}

/// The receiver of the tests, for axum.
pub fn axum_app(verifier: Verifier) -> Router {
    use number7_tower::{Verified, VerifyNumber7};
    async fn webhook(
        Verified(event): Verified<Event>,
        Verified(delivery): Verified<Delivery>,
        body: Bytes,
    ) -> String {
        seen(&event, &delivery, &body)
    }
    Router::new().route("/webhook", post(webhook)).layer(VerifyNumber7::new(verifier))
}

/// The receiver of the tests, for actix-web.
pub fn actix_app(verifier: Verifier) -> impl FnOnce(&mut web::ServiceConfig) {
    use number7_actix::{Verified, VerifyNumber7};
    async fn webhook(
        Verified(event): Verified<Event>,
        Verified(delivery): Verified<Delivery>,
        body: Bytes,
    ) -> HttpResponse {
        HttpResponse::Ok().body(seen(&event, &delivery, &body))
    }
    let resource = web::resource("/webhook").wrap(VerifyNumber7::new(verifier));
    move |config| {
        config.service(resource.route(web::post().to(webhook)));
    }
}

/// Puts a case to the axum receiver.
pub async fn axum(verifier: Verifier, case: &Case) -> Response {
    let mut request = Request::post("/webhook");
    if case.framing == Framing::Length {
        request = request.header("content-length", case.whole_body().len());
    }
    for (name, value) in &case.headers {
        request = request.header(*name, &**value);
    }
    let chunks = case.chunks.clone().into_iter().map(Ok::<_, Infallible>);
    let request = request.body(Body::from_stream(stream::iter(chunks))).unwrap();
    axum_response(axum_app(verifier).oneshot(request).await.unwrap()).await
}

/// Reads an answer of axum.
pub async fn axum_response(response: axum::response::Response) -> Response {
    let (parts, body) = response.into_parts();
    Response {
        status: parts.status.as_u16(),
        headers: sorted(parts.headers.iter().map(|(name, value)| (name, value.as_bytes()))),
        body: body.collect().await.unwrap().to_bytes(),
        rejection: parts.extensions.get::<Rejection>().map(Rejection::kind),
    }
}

/// Puts a case to the actix-web receiver.
pub async fn actix(verifier: Verifier, case: &Case) -> Response {
    let app = test::init_service(App::new().configure(actix_app(verifier))).await;
    let mut request = test::TestRequest::post().uri("/webhook");
    if case.framing == Framing::Length {
        request = request.insert_header(("content-length", case.whole_body().len()));
    }
    for (name, value) in &case.headers {
        request = request.append_header((*name, &**value));
    }
    let chunks = case.chunks.clone().into_iter().map(Ok::<_, PayloadError>);
    let payload: Pin<Box<dyn Stream<Item = _>>> = Box::pin(stream::iter(chunks));
    let (request, _) = request.to_request().replace_payload(Payload::from(payload));
    actix_response(app.call(request).await.unwrap()).await
}

/// Reads an answer of actix-web.
pub async fn actix_response(
    response: ServiceResponse<impl actix_web::body::MessageBody>,
) -> Response {
    let response = response.into_parts().1;
    let rejection = response.extensions().get::<Rejection>().map(Rejection::kind);
    let headers = sorted(response.headers().iter().map(|(name, value)| (name, value.as_bytes())));
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body()).await.map_err(|_| "no body").unwrap();
    Response { status, headers, body, rejection }
}

fn sorted<'a>(headers: impl Iterator<Item = (impl ToString, &'a [u8])>) -> Vec<(String, String)> {
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    let mut headers: Vec<_> =
        headers.map(|(name, value)| (name.to_string(), text(value))).collect();
    headers.sort();
    headers
}
