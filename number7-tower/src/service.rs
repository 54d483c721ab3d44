use std::{
    error::Error,
    mem,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use number7_core::{Found, Verifier};
use tower_service::Service;

use crate::{
    ResponseFuture,
    future::headers,
    log::Refusals,
    verifiers::{NameOf, Verifiers},
};

/// The service that [`VerifyNumber7`](crate::VerifyNumber7) puts around another.
#[derive(Clone, Debug)]
pub struct VerifyNumber7Service<S> {
    inner: S,
    verifiers: Verifiers,
}

impl<S> VerifyNumber7Service<S> {
    /// Wraps a service; see [`VerifyNumber7::new`](crate::VerifyNumber7::new).
    pub fn new(inner: S, verifier: impl Into<Verifier>) -> Self {
        Self::by(inner, Verifiers::Fixed(verifier.into()))
    }

    pub(crate) fn by(inner: S, verifiers: Verifiers) -> Self {
        Self { inner, verifiers }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for VerifyNumber7Service<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ReqBody: Body + From<Bytes>,
    ReqBody::Error: Into<Box<dyn Error + Send + Sync>>,
    ResBody: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        // The body is read before the inner service is called, so the future takes the service that
        // was polled ready, and leaves a clone that was not. A refusal gives its place back.
        let clone = self.inner.clone();
        let ready = mem::replace(&mut self.inner, clone);
        let current;
        let verifier = match &self.verifiers {
            Verifiers::Fixed(verifier) => verifier,
            Verifiers::Live(live) => {
                current = live.current();
                &current
            }
            Verifiers::Accounts(accounts, names) => {
                let name;
                (name, request) = named(request, names);
                match accounts.find(name.as_deref(), headers(&request)) {
                    Ok(Found::Verifier(verifier)) => {
                        current = verifier;
                        &current
                    }
                    Ok(Found::Lookup(lookup)) => {
                        // The clone holds no place of the service while the lookup keeps us waiting.
                        let clone = ready.clone();
                        return ResponseFuture::looking_up(lookup, accounts, request, clone);
                    }
                    Err(rejection) => {
                        let unknown = accounts.unknown();
                        let log = Refusals::of(unknown);
                        return ResponseFuture::refused(rejection, unknown, request, log);
                    }
                }
            }
        };
        let log = Refusals::of(verifier);
        match verifier.begin(headers(&request)) {
            Ok(intake) => ResponseFuture::reading(intake, request, ready, log),
            Err(rejection) => ResponseFuture::refused(rejection, verifier, request, log),
        }
    }
}

/// What a request says its account is.
fn named<B>(request: Request<B>, name: &NameOf) -> (Option<String>, Request<B>) {
    let (mut parts, body) = request.into_parts();
    (name(&mut parts), Request::from_parts(parts, body))
}
