use std::{
    error::Error,
    mem,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use number7_core::{Accounts, Found, RejectionKind, Verifier};
use tower_service::Service;

use crate::{
    PutBack, ResponseBody, ResponseFuture, Same, VerifyNumber7,
    future::headers,
    log::Refusals,
    verifiers::{NameOf, Verifiers},
};

/// The service that [`VerifyNumber7`](crate::VerifyNumber7) puts around another.
///
/// `P` decides which body the inner service gets; see [`VerifyNumber7::put_back_as`].
#[derive(Clone, Debug)]
#[must_use = "a service does nothing unless it is called"]
pub struct VerifyNumber7Service<S, P = Same> {
    inner: S,
    layer: VerifyNumber7<P>,
}

impl<S> VerifyNumber7Service<S> {
    /// Wraps a service; see [`VerifyNumber7::new`].
    pub fn new(inner: S, verifier: impl Into<Verifier>) -> Self {
        Self::by(inner, VerifyNumber7::new(verifier))
    }

    /// The layer that wraps services in this one; see [`VerifyNumber7::new`].
    pub fn layer(verifier: impl Into<Verifier>) -> VerifyNumber7 {
        VerifyNumber7::new(verifier)
    }
}

impl<S, P> VerifyNumber7Service<S, P> {
    pub(crate) fn by(inner: S, layer: VerifyNumber7<P>) -> Self {
        Self { inner, layer }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, to change it.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service. Direct calls of it are not verified.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, P, ReqBody, ResBody> Service<Request<ReqBody>> for VerifyNumber7Service<S, P>
where
    P: PutBack<ReqBody>,
    S: Service<Request<P::Body>, Response = Response<ResBody>> + Clone,
    ReqBody: Body,
    ReqBody::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody, P::Body>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        // The body is read before the inner service is called, so the future takes the service that was polled ready, and
        // leaves a clone that was not. A refusal drops it, which releases its place.
        let clone = self.inner.clone();
        let ready = mem::replace(&mut self.inner, clone);
        let current;
        let verifier = match &self.layer.verifiers {
            Verifiers::Fixed(verifier) => verifier,
            Verifiers::Live(live) => {
                current = live.current();
                &current
            }
            Verifiers::Accounts(accounts, name) => {
                return self.call_of_account(accounts, name, request, ready);
            }
        };
        let log = Refusals::of(verifier);
        let bodies = self.layer.bodies.clone();
        match verifier.begin(headers(&request)) {
            Ok(intake) => ResponseFuture::reading(intake, request, ready, log, bodies),
            Err(rejection) => ResponseFuture::refused(rejection, verifier, request, log, bodies),
        }
    }
}

impl<S, P> VerifyNumber7Service<S, P> {
    /// Separate, because it would slow down the call for a single secret.
    #[inline(never)]
    fn call_of_account<B>(
        &self,
        accounts: &Accounts,
        name: &NameOf,
        request: Request<B>,
        ready: S,
    ) -> ResponseFuture<S, B, P::Body>
    where
        P: PutBack<B>,
        S: Service<Request<P::Body>> + Clone,
    {
        let (name, request) = named(request, name);
        let bodies = self.layer.bodies.clone();
        let rejection = match accounts.find(name.as_deref(), headers(&request)) {
            Ok(Found::Verifier(verifier)) => {
                // As above: a shared function would copy the request once more.
                let log = Refusals::of(&verifier);
                return match verifier.begin(headers(&request)) {
                    Ok(intake) => ResponseFuture::reading(intake, request, ready, log, bodies),
                    Err(rejection) => {
                        ResponseFuture::refused(rejection, &verifier, request, log, bodies)
                    }
                };
            }
            Ok(Found::Lookup(lookup)) => {
                // The clone holds no place of the service while the lookup is waited for.
                let clone = ready.clone();
                return ResponseFuture::looking_up(lookup, accounts, request, clone, bodies);
            }
            // A kind of answer that this version does not know.
            Ok(_) => RejectionKind::LookupFailed.into(),
            Err(rejection) => rejection,
        };
        let unknown = accounts.unknown();
        ResponseFuture::refused(rejection, unknown, request, Refusals::of(unknown), bodies)
    }
}

/// The account that a request names.
fn named<B>(request: Request<B>, name: &NameOf) -> (Option<String>, Request<B>) {
    let (mut parts, body) = request.into_parts();
    (name(&mut parts), Request::from_parts(parts, body))
}
