use std::rc::Rc;

use actix_web::{
    Error,
    body::{EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, forward_ready},
};
use number7_core::Verifier;

use crate::{future::ResponseFuture, log::Refusals};

/// The service that [`VerifyNumber7`](crate::VerifyNumber7) puts around another.
#[derive(Debug)]
pub struct VerifyNumber7Middleware<S> {
    service: Rc<S>,
    verifier: Verifier,
}

impl<S> VerifyNumber7Middleware<S> {
    pub(crate) fn new(service: S, verifier: Verifier) -> Self {
        Self { service: Rc::new(service), verifier }
    }
}

impl<S, B> Service<ServiceRequest> for VerifyNumber7Middleware<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Future = ResponseFuture<S>;

    forward_ready!(service);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let log = Refusals::of(&self.verifier);
        let service = Rc::clone(&self.service);
        let headers =
            || request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        match self.verifier.begin(headers()) {
            Ok(intake) => ResponseFuture::reading(intake, request, service, log),
            Err(rejection) => {
                let drain = self.verifier.drain(headers());
                ResponseFuture::refused(rejection, drain, request, service, log)
            }
        }
    }
}
