use std::{
    error::Error,
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{CONTENT_TYPE, ContentType, RETRY_AFTER},
    },
};
use number7_core::{
    Rejection,
    adapter::{RejectionBodies, metrics},
};

use crate::log::Refusals;

/// Why a request was refused, a handler did not get its [`Verified`](crate::Verified), or a delivery was not accepted into an
/// inbox. It is an error of actix-web.
///
/// A handler that takes a `Result<Verified<T>, VerifiedError>` gives the answer itself. The refusal is logged and counted when
/// it becomes a response.
///
/// Middleware around [`VerifyNumber7`](crate::VerifyNumber7) finds it in
/// `response.response().error()`, and the [`Rejection`] in the extensions of the response.
#[derive(Debug)]
pub struct VerifiedError {
    rejection: Rejection,
    bodies: Option<RejectionBodies>,
    /// It was logged and counted. A second response from it is not.
    is_noted: AtomicBool,
}

impl VerifiedError {
    /// A refusal by the middleware, which has logged and counted it already.
    pub(crate) fn noted(rejection: Rejection, bodies: Option<RejectionBodies>) -> Self {
        Self { rejection, bodies, is_noted: true.into() }
    }

    /// The reason.
    #[must_use]
    pub fn rejection(&self) -> &Rejection {
        &self.rejection
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.rejection.status_code())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The body of the answer: empty, unless the middleware is missing.
    #[must_use]
    pub fn body_text(&self) -> String {
        self.rejection.response_text().to_owned()
    }
}

/// Logs and counts a refusal.
pub(crate) fn note(rejection: &Rejection, log: &Refusals) {
    log.log(rejection);
    metrics::refused(rejection);
}

impl Clone for VerifiedError {
    fn clone(&self) -> Self {
        let is_noted = self.is_noted.load(Ordering::Relaxed).into();
        Self { rejection: self.rejection.clone(), bodies: self.bodies.clone(), is_noted }
    }
}

/// It lets a handler return `Result<_, VerifiedError>` and accept into an inbox by `inbox.accept(&delivery).await?`.
impl From<Rejection> for VerifiedError {
    fn from(rejection: Rejection) -> Self {
        Self { rejection, bodies: None, is_noted: false.into() }
    }
}

impl ResponseError for VerifiedError {
    fn status_code(&self) -> StatusCode {
        self.status()
    }

    /// The answer. It has the status and headers for the sender, and in its extensions the reason for the receiver. The first
    /// call also logs the reason.
    fn error_response(&self) -> HttpResponse {
        if !self.is_noted.swap(true, Ordering::Relaxed) {
            note(&self.rejection, &Refusals::behind());
        }
        let mut response = HttpResponse::build(self.status_code());
        if let Some(delay) = self.rejection.retry_after() {
            response.insert_header((RETRY_AFTER, delay.as_secs()));
        }
        let mut response = match (&self.bodies, self.rejection.response_text()) {
            (Some(bodies), _) => response
                .insert_header((CONTENT_TYPE, bodies.content_type()))
                .body(bodies.body(&self.rejection)),
            (None, "") => response.finish(),
            (None, text) => response.insert_header(ContentType::plaintext()).body(text),
        };
        response.extensions_mut().insert(self.rejection.clone());
        response
    }
}

impl fmt::Display for VerifiedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rejection.fmt(f)
    }
}

impl Error for VerifiedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.rejection.source()
    }
}
