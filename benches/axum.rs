//! The receivers in axum.

use std::{hint::black_box, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Request, StatusCode},
    routing::post,
};
use bytes::Bytes;
use number7_core::{SIGNATURE_HEADER, Secret};
use number7_tower::{Event, Verified, VerifyNumber7};
use tower::{Service, util::MapRequestLayer};
use webhook_verify::{Provider, VerifyOptions, verify};

use crate::{
    Receiver, SECRET, batch, hash_alone, is_signed_as_usual, is_signed_with_care, scheme,
    use_typed, use_value,
};

fn signature(headers: &HeaderMap) -> Option<&str> {
    headers.get(SIGNATURE_HEADER)?.to_str().ok()
}

fn answer(is_event: bool) -> StatusCode {
    if is_event { StatusCode::OK } else { StatusCode::BAD_REQUEST }
}

async fn usual(headers: HeaderMap, body: Bytes) -> StatusCode {
    match is_signed_as_usual(signature(&headers), &body) {
        true => answer(use_value(&body)),
        false => StatusCode::UNAUTHORIZED,
    }
}

async fn careful(headers: HeaderMap, body: Bytes) -> StatusCode {
    match is_signed_with_care(signature(&headers), &body) {
        true => answer(use_typed(&body)),
        false => StatusCode::UNAUTHORIZED,
    }
}

#[cfg(feature = "svix")]
async fn after_svix(
    State(secret): State<Arc<svix::webhooks::Webhook>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    match secret.verify(&body, &headers) {
        Ok(()) => answer(use_typed(&body)),
        Err(_) => StatusCode::UNAUTHORIZED,
    }
}

/// Not by its layer: axum demands a `Sync` layer, and that one has a marker of the body's type and
/// is not `Sync`.
async fn after_webhook_verify(
    State(known): State<Arc<(Provider, webhook_verify::Secret)>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let (provider, secret) = &*known;
    match verify(*provider, &headers, &body, secret, VerifyOptions::default()) {
        Ok(_) => answer(use_typed(&body)),
        Err(_) => StatusCode::UNAUTHORIZED,
    }
}

async fn number7(Verified(event): Verified<Event>) -> StatusCode {
    black_box(event);
    StatusCode::OK
}

fn app(receiver: Receiver, body: &Bytes) -> Router {
    let route = match receiver {
        Receiver::Usual => post(usual),
        Receiver::Careful => post(careful),
        Receiver::WebhookVerify => {
            let secret = webhook_verify::Secret::new(SECRET);
            post(after_webhook_verify).with_state(Arc::new((scheme(), secret)))
        }
        #[cfg(feature = "svix")]
        Receiver::Svix => post(after_svix).with_state(Arc::new(crate::svix())),
        #[cfg(not(feature = "svix"))]
        Receiver::Svix => unreachable!("it is not built in"),
        Receiver::Number7 => post(number7).layer(VerifyNumber7::new(Secret::new(SECRET).unwrap())),
        Receiver::Floor => {
            let hash = hash_alone(body);
            post(async || StatusCode::OK).layer(MapRequestLayer::new(move |request| {
                hash();
                request
            }))
        }
    };
    Router::new().route("/webhook", route)
}

pub(crate) fn measure(receiver: Receiver, headers: &[(&str, String)], body: &Bytes) -> Duration {
    let mut app = app(receiver, body);
    let request = || {
        let request = Request::post("/webhook");
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        request.body(Body::from(body.clone())).unwrap()
    };
    batch(request, async |request| app.call(request).await.unwrap().status().as_u16())
}
