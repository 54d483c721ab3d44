use std::{
    future::{Ready, ready},
    ops::{Deref, DerefMut},
};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload};
use number7_core::{Event, FromDelivery, adapter};

use crate::VerifiedError;

/// What [`VerifyNumber7`](crate::VerifyNumber7) verified, as the type that the handler asks for:
/// an [`Event`], a [`Delivery`](crate::Delivery), the signed [`Bytes`](actix_web::web::Bytes), or a type of your own
/// that implements [`FromDelivery`].
///
/// It does not consume the body, and a handler can take several. `Result<Verified<T>, VerifiedError>` leaves the answer to the
/// handler. In actix-web, an `Option` of any extractor is `None` on every error, so an `Option<Verified<Event>>` is also `None`
/// if the body is not an event. `Option<Verified<Delivery>>` is `None` only if the middleware is missing.
///
/// # Errors
///
/// [`VerifiedError`]: 400 if the body is authentic but not a `T`, 500 if the middleware is missing.
///
/// # Example
///
/// ```
/// use actix_web::{HttpResponse, web};
/// use number7_actix::{Event, Verified};
///
/// async fn webhook(Verified(event): Verified<Event>) -> HttpResponse {
///     match event {
///         Event::JobCompleted(job) => println!("{} is done", job.job_id),
///         Event::JobFailed(job) => println!("{} failed: {}", job.job_id, job.error),
///         other => println!("{} is new to this receiver", other.name()),
///     }
///     HttpResponse::Ok().finish()
/// }
/// # let _ = web::post().to(webhook);
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Verified<T = Event>(pub T);

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

impl<T: FromDelivery> FromRequest for Verified<T> {
    type Error = VerifiedError;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let value = adapter::extract(request.extensions().get());
        ready(value.map(Self).map_err(VerifiedError::from))
    }
}
