use std::future::{Ready, ready};

use actix_web::{
    Error,
    body::{EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, Transform},
};
use number7_core::{Verifier, metrics};

use crate::VerifyNumber7Middleware;

/// Lets through what Number7 AI signed, and answers everything else itself.
///
/// The verified [`Delivery`](number7_core::Delivery) is in the request's extensions, and the body
/// is put back, so that whatever stands behind the middleware can read it again. See the
/// [crate docs](crate) for an example.
///
/// Build it once, outside of the closure that `HttpServer::new` calls for every worker, and clone
/// it there: the clones share the count of bodies that are waited for.
#[derive(Clone, Debug)]
pub struct VerifyNumber7 {
    verifier: Verifier,
}

impl VerifyNumber7 {
    /// Takes a [`Secret`](number7_core::Secret), or a [`Verifier`] if several secrets are accepted
    /// or the limits differ.
    #[must_use]
    pub fn new(verifier: impl Into<Verifier>) -> Self {
        metrics::describe();
        Self { verifier: verifier.into() }
    }
}

impl<S, B> Transform<S, ServiceRequest> for VerifyNumber7
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Transform = VerifyNumber7Middleware<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, Self::InitError>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(VerifyNumber7Middleware::new(service, self.verifier.clone())))
    }
}
