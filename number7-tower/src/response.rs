use http::{
    HeaderValue, Response, StatusCode,
    header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER},
};
use number7_core::{
    Rejection,
    adapter::{RejectionBodies, metrics},
};

use crate::{ResponseBody, log::Refusals};

/// Logs and counts a refusal.
pub(crate) fn note(rejection: &Rejection, log: &Refusals) {
    log.log(rejection);
    metrics::refused(rejection);
}

pub(crate) fn status(rejection: &Rejection) -> StatusCode {
    StatusCode::from_u16(rejection.status_code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The answer to a refused request. It has the status and headers for the sender, and in its extensions the reason
/// for the receiver.
pub(crate) fn refusal<B>(rejection: Rejection, body: B, closes: bool) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = status(&rejection);
    if let Some(delay) = rejection.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(delay.as_secs()));
    }
    if closes {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.extensions_mut().insert(rejection);
    response
}

/// The same for the layer, with a body if the app has chosen one.
pub(crate) fn refusal_with_body<B>(
    rejection: Rejection,
    closes: bool,
    bodies: Option<&RejectionBodies>,
) -> Response<ResponseBody<B>> {
    let Some(bodies) = bodies else {
        return refusal(rejection, ResponseBody::empty(), closes);
    };
    let body = ResponseBody::refused(bodies.body(&rejection));
    let mut response = refusal(rejection, body, closes);
    let content_type = HeaderValue::from_static(bodies.content_type());
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// The same behind the layer. If the developer made a mistake, the body is the text of the rejection.
pub(crate) fn refusal_with_text<B: From<&'static str>>(rejection: Rejection) -> Response<B> {
    let text = rejection.response_text();
    note(&rejection, &Refusals::behind());
    let mut response = refusal(rejection, text.into(), false);
    if !text.is_empty() {
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, plain);
    }
    response
}
