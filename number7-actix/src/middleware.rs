use std::rc::Rc;

use actix_web::{
    Error,
    body::{EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, forward_ready},
};

use number7_core::{Accounts, Found, RejectionKind, Verifier};

use crate::{
    VerifyNumber7,
    future::{ResponseFuture, headers},
    log::Refusals,
    verifiers::{NameOf, Verifiers},
};

/// The service that [`VerifyNumber7`](crate::VerifyNumber7) puts around another.
#[derive(Debug)]
pub struct VerifyNumber7Middleware<S> {
    service: Rc<S>,
    transform: VerifyNumber7,
}

impl<S> VerifyNumber7Middleware<S> {
    pub(crate) fn new(service: S, transform: VerifyNumber7) -> Self {
        Self { service: Rc::new(service), transform }
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
        let current;
        let verifier = match &self.transform.verifiers {
            Verifiers::Fixed(verifier) => verifier,
            Verifiers::Live(live) => {
                current = live.current();
                &current
            }
            Verifiers::Accounts(accounts, name) => {
                return self.call_of_account(accounts, name, request);
            }
        };
        self.begin(verifier, request)
    }
}

impl<S: Service<ServiceRequest>> VerifyNumber7Middleware<S> {
    #[inline(always)]
    fn begin(&self, verifier: &Verifier, request: ServiceRequest) -> ResponseFuture<S> {
        let (service, log) = (Rc::clone(&self.service), Refusals::of(verifier));
        let bodies = self.transform.bodies.clone();
        match verifier.begin(headers(&request)) {
            Ok(intake) => ResponseFuture::reading(intake, request, service, log, bodies),
            Err(rejection) => {
                ResponseFuture::refused(rejection, verifier, request, service, log, bodies)
            }
        }
    }

    /// Separate, because it would slow down the call for a single secret.
    #[inline(never)]
    fn call_of_account(
        &self,
        accounts: &Accounts,
        name: &NameOf,
        request: ServiceRequest,
    ) -> ResponseFuture<S> {
        let name = name(request.request());
        let (service, bodies) = (Rc::clone(&self.service), self.transform.bodies.clone());
        let rejection = match accounts.find(name.as_deref(), headers(&request)) {
            Ok(Found::Verifier(verifier)) => return self.begin(&verifier, request),
            Ok(Found::Lookup(lookup)) => {
                return ResponseFuture::looking_up(lookup, accounts, request, service, bodies);
            }
            // A kind of answer that this version does not know.
            Ok(_) => RejectionKind::LookupFailed.into(),
            Err(rejection) => rejection,
        };
        let unknown = accounts.unknown();
        ResponseFuture::refused(rejection, unknown, request, service, Refusals::of(unknown), bodies)
    }
}
