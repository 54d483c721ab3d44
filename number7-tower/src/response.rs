use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use number7_core::{Rejection, metrics};

use crate::log::Refusals;

/// The answer to a refused request: status and headers for the sender, the reason for the receiver,
/// in the log and in the extensions.
pub(crate) fn refusal<B: Default>(rejection: Rejection, log: &Refusals) -> Response<B> {
    log.log(&rejection);
    metrics::refused(&rejection);
    let mut response = Response::new(B::default());
    *response.status_mut() =
        StatusCode::from_u16(rejection.status_code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(delay) = rejection.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(delay.as_secs()));
    }
    response.extensions_mut().insert(rejection);
    response
}

/// The same behind the layer, with the text that the rejection has if it is a developer's mistake.
pub(crate) fn refusal_with_text<B: Default + From<&'static str>>(
    rejection: Rejection,
) -> Response<B> {
    let text = rejection.response_text();
    let mut response = refusal::<B>(rejection, &Refusals::behind());
    if !text.is_empty() {
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, plain);
        *response.body_mut() = text.into();
    }
    response
}
