use std::rc::Rc;

use actix_web::{
    Error,
    body::{EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, forward_ready},
};

use number7_core::{Found, RejectionKind};

use crate::{
    VerifyNumber7,
    future::{ResponseFuture, headers},
    log::Refusals,
    verifiers::Verifiers,
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
        let service = Rc::clone(&self.service);
        let bodies = self.transform.bodies.clone();
        let current;
        let verifier = match &self.transform.verifiers {
            Verifiers::Fixed(verifier) => verifier,
            Verifiers::Live(live) => {
                current = live.current();
                &current
            }
            Verifiers::Accounts(accounts, name) => {
                let name = name(request.request());
                match accounts.find(name.as_deref(), headers(&request)) {
                    Ok(Found::Verifier(verifier)) => {
                        current = verifier;
                        &current
                    }
                    Ok(Found::Lookup(lookup)) => {
                        return ResponseFuture::looking_up(
                            lookup, accounts, request, service, bodies,
                        );
                    }
                    // An answer that this version does not know is none.
                    unanswered => {
                        let failed = || RejectionKind::LookupFailed.into();
                        let rejection = unanswered.err().unwrap_or_else(failed);
                        let unknown = accounts.unknown();
                        let log = Refusals::of(unknown);
                        return ResponseFuture::refused(
                            rejection, unknown, request, service, log, bodies,
                        );
                    }
                }
            }
        };
        let log = Refusals::of(verifier);
        match verifier.begin(headers(&request)) {
            Ok(intake) => ResponseFuture::reading(intake, request, service, log, bodies),
            Err(rejection) => {
                ResponseFuture::refused(rejection, verifier, request, service, log, bodies)
            }
        }
    }
}
