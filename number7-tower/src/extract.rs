use std::{
    error::Error,
    fmt,
    ops::{Deref, DerefMut},
};

use axum_core::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};
use number7_core::{Delivery, Event, FromDelivery, Rejection, adapter};

use crate::response::{refusal_with_text, status};

/// What [`VerifyNumber7`](crate::VerifyNumber7) verified, as the type that the handler asks for:
/// an [`Event`], a [`Delivery`], the signed [`Bytes`](bytes::Bytes), or a type of your own that
/// implements [`FromDelivery`].
///
/// It does not consume the body, and a handler can take several. `Option<Verified<T>>` is `None` only if the layer is missing,
/// so a route that is used with and without the layer can tell. `Result<Verified<T>, VerifiedRejection>` leaves the answer to
/// the handler. If a handler does not compile because of it, `#[axum::debug_handler]` says why.
///
/// # Errors
///
/// [`VerifiedRejection`]: 400 if the body is authentic but not a `T`, 500 if the layer is missing.
///
/// # Example
///
/// ```
/// use axum::http::StatusCode;
/// use number7_tower::{Event, Verified};
///
/// async fn webhook(Verified(event): Verified<Event>) -> StatusCode {
///     match event {
///         Event::JobCompleted(job) => println!("{} is done", job.job_id),
///         Event::JobFailed(job) => println!("{} failed: {}", job.job_id, job.error),
///         other => println!("{} is new to this receiver", other.name()),
///     }
///     StatusCode::OK
/// }
/// # let _: axum::Router = axum::Router::new().route("/webhook", axum::routing::post(webhook));
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Verified<T = Event>(pub T);

impl<T, S> FromRequestParts<S> for Verified<T>
where
    T: FromDelivery,
    S: Send + Sync,
{
    type Rejection = VerifiedRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let value = adapter::extract(parts.extensions.get());
        value.map(Self).map_err(VerifiedRejection)
    }
}

/// `None` only if the layer is missing. A body that is authentic but not a `T` is refused, as without the `Option`.
impl<T, S> OptionalFromRequestParts<S> for Verified<T>
where
    T: FromDelivery,
    S: Send + Sync,
{
    type Rejection = VerifiedRejection;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &S,
    ) -> Result<Option<Self>, Self::Rejection> {
        match parts.extensions.get::<Delivery>() {
            Some(_) => {
                <Self as FromRequestParts<S>>::from_request_parts(parts, state).await.map(Some)
            }
            None => Ok(None),
        }
    }
}

impl<T> From<T> for Verified<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Verified<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// Why a handler did not get its [`Verified`], or could not accept it into an inbox.
///
/// As a response, it is what [`VerifyNumber7`](crate::VerifyNumber7) answers for the same [`Rejection`]. If the layer is
/// missing, its text says so. A handler that takes a `Result<Verified<T>, VerifiedRejection>` gives the answer itself. The
/// refusal is logged and counted when it becomes a response.
#[derive(Clone, Debug)]
pub struct VerifiedRejection(Rejection);

impl VerifiedRejection {
    /// The reason.
    #[must_use]
    pub fn rejection(&self) -> &Rejection {
        &self.0
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        status(&self.0)
    }

    /// The body of the answer: empty, unless the layer is missing.
    #[must_use]
    pub fn body_text(&self) -> String {
        self.0.response_text().to_owned()
    }
}

/// It lets a handler return `Result<_, VerifiedRejection>` and accept into an inbox by `inbox.accept(&delivery).await?`.
impl From<Rejection> for VerifiedRejection {
    fn from(rejection: Rejection) -> Self {
        Self(rejection)
    }
}

impl IntoResponse for VerifiedRejection {
    fn into_response(self) -> Response {
        refusal_with_text(self.0)
    }
}

impl fmt::Display for VerifiedRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for VerifiedRejection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
