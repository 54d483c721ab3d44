use std::rc::Rc;

use actix_web::{
    Error,
    body::{EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, forward_ready},
};

use crate::{future::ResponseFuture, verifiers::Verifiers};

/// The service that [`VerifyNumber7`](crate::VerifyNumber7) puts around another.
#[derive(Debug)]
pub struct VerifyNumber7Middleware<S> {
    service: Rc<S>,
    verifiers: Verifiers,
}

impl<S> VerifyNumber7Middleware<S> {
    pub(crate) fn new(service: S, verifiers: Verifiers) -> Self {
        Self { service: Rc::new(service), verifiers }
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
        let service = Rc::clone(&self.service);
        match &self.verifiers {
            Verifiers::Fixed(verifier) => ResponseFuture::begin(verifier, request, service),
            Verifiers::Live(live) => ResponseFuture::begin(&live.current(), request, service),
            Verifiers::Accounts(accounts, name) => {
                let name = name(request.request());
                ResponseFuture::find(accounts, name.as_deref(), request, service)
            }
        }
    }
}
