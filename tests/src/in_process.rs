//! The receivers, called without a socket.

use actix_web::{
    App, HttpResponse,
    body::to_bytes,
    dev::{Service, ServiceResponse},
    test, web,
};
use axum::{Router, routing::post};
use bytes::Bytes;
use http_body_util::BodyExt;
use number7_core::{
    Delivery, Event, Rejection, RejectionKind, Verifier,
    probe::{Answer, Probe},
};
use tower::ServiceExt;

/// The answer of a receiver, and the reason that it leaves for middleware around it.
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
    /// The account of the rejection.
    pub account: Option<String>,
}

impl Response {
    /// Fails unless the answer is the one of the probe.
    #[track_caller]
    pub fn assert(&self, framework: &str, probe: &Probe) {
        let (name, status) = (probe.name(), probe.answer().status());
        match probe.answer() {
            Answer::Accepted(event) => {
                assert_eq!((self.status, self.rejection), (200, None), "{framework}: {name}");
                assert_eq!(self.body, saw(event), "{framework}: {name}");
            }
            Answer::Refused(kind) => {
                assert_eq!(
                    (self.status, self.rejection),
                    (status, Some(kind)),
                    "{framework}: {name}"
                );
                assert!(self.body.is_empty(), "{framework}: {name}: a body of {:?}", self.body);
            }
            other => panic!("{framework}: {name}: {other:?} is new to the tests"),
        }
    }
}

/// The answer of the handlers to an event with this name.
#[must_use]
pub fn saw(event: &str) -> String {
    format!("saw {event}, signed by primary")
}

/// The handler of both receivers. It takes the event, the delivery, and the body as the framework's own extractor reads it, and
/// fails unless they agree.
fn observed(event: &Event, delivery: &Delivery, body: &Bytes) -> String {
    assert_eq!(body, delivery.body());
    assert_eq!(*event, delivery.event().unwrap());
    let account = delivery.account().map(|account| format!(" for {account}")).unwrap_or_default();
    format!("saw {}, signed by {}{account}", event.name(), delivery.signed_by())
}

/// The receiver of the tests, for axum.
pub fn axum_app(verifier: Verifier) -> Router {
    axum_app_behind(number7_tower::VerifyNumber7::new(verifier))
}

/// The same behind another layer, and also at `/hooks/{account}`.
pub fn axum_app_behind(verify: number7_tower::VerifyNumber7) -> Router {
    use number7_tower::Verified;
    async fn webhook(
        Verified(event): Verified<Event>,
        Verified(delivery): Verified<Delivery>,
        body: Bytes,
    ) -> String {
        observed(&event, &delivery, &body)
    }
    let app = Router::new().route("/webhook", post(webhook));
    app.route("/hooks/{account}", post(webhook)).layer(verify)
}

/// The receiver of the tests, for actix-web.
pub fn actix_app(verifier: Verifier) -> impl FnOnce(&mut web::ServiceConfig) {
    actix_app_behind(number7_actix::VerifyNumber7::new(verifier))
}

/// The same behind another middleware, and also at `/hooks/{account}`.
pub fn actix_app_behind(
    verify: number7_actix::VerifyNumber7,
) -> impl FnOnce(&mut web::ServiceConfig) {
    use number7_actix::Verified;
    async fn webhook(
        Verified(event): Verified<Event>,
        Verified(delivery): Verified<Delivery>,
        body: Bytes,
    ) -> HttpResponse {
        HttpResponse::Ok().body(observed(&event, &delivery, &body))
    }
    move |config| {
        for path in ["/webhook", "/hooks/{account}"] {
            let resource = web::resource(path).wrap(verify.clone());
            config.service(resource.route(web::post().to(webhook)));
        }
    }
}

/// Sends a probe to the axum receiver. `None` if it needs a socket.
pub async fn axum(verifier: Verifier, probe: &Probe) -> Option<Response> {
    let request = number7_tower::receiver::probe_request(probe, "/webhook")?;
    Some(axum_response(axum_app(verifier).oneshot(request).await.unwrap()).await)
}

/// Reads an answer of axum.
pub async fn axum_response(response: axum::response::Response) -> Response {
    let (parts, body) = response.into_parts();
    let rejection = parts.extensions.get::<Rejection>();
    Response {
        status: parts.status.as_u16(),
        headers: sorted(parts.headers.iter().map(|(name, value)| (name, value.as_bytes()))),
        body: body.collect().await.unwrap().to_bytes(),
        rejection: rejection.map(Rejection::kind),
        account: rejection.and_then(account),
    }
}

/// Sends a probe to the actix-web receiver. `None` if it needs a socket.
pub async fn actix(verifier: Verifier, probe: &Probe) -> Option<Response> {
    let request = number7_actix::receiver::probe_request(probe, "/webhook")?;
    let app = test::init_service(App::new().configure(actix_app(verifier))).await;
    Some(actix_response(app.call(request).await.unwrap()).await)
}

/// Reads an answer of actix-web.
pub async fn actix_response(
    response: ServiceResponse<impl actix_web::body::MessageBody>,
) -> Response {
    let response = response.into_parts().1;
    let (rejection, account) = match response.extensions().get::<Rejection>() {
        Some(rejection) => (Some(rejection.kind()), account(rejection)),
        None => (None, None),
    };
    let headers = sorted(response.headers().iter().map(|(name, value)| (name, value.as_bytes())));
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body()).await.map_err(|_| "no body").unwrap();
    Response { status, headers, body, rejection, account }
}

fn account(rejection: &Rejection) -> Option<String> {
    rejection.account().map(ToString::to_string)
}

fn sorted<'a>(headers: impl Iterator<Item = (impl ToString, &'a [u8])>) -> Vec<(String, String)> {
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    let mut headers: Vec<_> =
        headers.map(|(name, value)| (name.to_string(), text(value))).collect();
    headers.sort();
    headers
}
