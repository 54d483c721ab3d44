use std::{error::Error, fmt};

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{ContentType, RETRY_AFTER},
    },
};
use number7_core::{Rejection, metrics};

use crate::log;

/// Why a request was refused, or a handler did not get its [`Verified`](crate::Verified) or could
/// not accept it into an inbox, as an error of actix-web.
///
/// Middleware around [`VerifyNumber7`](crate::VerifyNumber7) finds it in
/// `response.response().error()`, and the [`Rejection`] in the extensions of the response.
#[derive(Clone, Debug)]
pub struct VerifiedError(Rejection);

impl VerifiedError {
    /// The reason.
    #[must_use]
    pub fn rejection(&self) -> &Rejection {
        &self.0
    }
}

/// So that a handler can return `Result<_, VerifiedError>` and accept into an inbox by
/// `inbox.accept(&delivery).await?`.
impl From<Rejection> for VerifiedError {
    fn from(rejection: Rejection) -> Self {
        Self(rejection)
    }
}

impl ResponseError for VerifiedError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status_code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The answer: status and headers for the sender, the reason for the receiver, in the log and
    /// in the extensions.
    fn error_response(&self) -> HttpResponse {
        log::refused(&self.0);
        metrics::refused(&self.0);
        let mut response = HttpResponse::build(self.status_code());
        // actix-web closes the connection if the body was not read. If every refusal does so, the sender
        // cannot tell how far it came.
        response.force_close();
        if let Some(delay) = self.0.retry_after() {
            response.insert_header((RETRY_AFTER, delay.as_secs()));
        }
        let mut response = match self.0.response_text() {
            "" => response.finish(),
            text => response.insert_header(ContentType::plaintext()).body(text),
        };
        response.extensions_mut().insert(self.0.clone());
        response
    }
}

impl fmt::Display for VerifiedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for VerifiedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
