use std::{marker::PhantomData, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, request::Parts};
use number7_core::{
    Accounts, LiveVerifier, Verifier,
    adapter::{RejectionBodies, metrics},
};
use tower_layer::Layer;

use crate::{
    As, Same, VerifyNumber7Service,
    verifiers::{NameOf, Verifiers},
};

/// Passes on what Number7 AI signed, and answers everything else itself.
///
/// The verified [`Delivery`](number7_core::Delivery) is in the request's extensions, and the body is put back, so that
/// everything behind the layer can read it again. See the [crate docs](crate) for an example.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing unless it is put around a service"]
pub struct VerifyNumber7<P = Same> {
    pub(crate) verifiers: Verifiers,
    pub(crate) bodies: Option<RejectionBodies>,
    put_back: PhantomData<P>,
}

impl VerifyNumber7 {
    /// Takes a [`Secret`](number7_core::Secret), or a [`Verifier`] if you want several secrets or other limits.
    pub fn new(verifier: impl Into<Verifier>) -> Self {
        Self::by(Verifiers::Fixed(verifier.into()))
    }

    /// Takes a verifier whose secret can be replaced while it is in use.
    pub fn live(verifier: LiveVerifier) -> Self {
        Self::by(Verifiers::Live(verifier))
    }

    /// Looks up the verifier of the account that a request names, for a receiver whose accounts have different secrets. `name`
    /// reads the name from the head of the request. If it returns `None`, the answer is 401, as for an unknown account.
    ///
    /// In axum, [`accounts`](Self::accounts) takes an extractor instead.
    pub fn accounts_from_parts(
        accounts: Accounts,
        name: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self::by_name(accounts, Arc::new(move |parts| name(parts)))
    }

    pub(crate) fn by_name(accounts: Accounts, name: NameOf) -> Self {
        Self::by(Verifiers::Accounts(accounts, name))
    }

    fn by(verifiers: Verifiers) -> Self {
        metrics::describe();
        Self { verifiers, bodies: None, put_back: PhantomData }
    }
}

impl<P> VerifyNumber7<P> {
    /// Answers refused requests with a body. Otherwise the body is empty.
    ///
    /// `body` gets a status, and is called once for each, now. So two answers with one status are alike, and do not say why a
    /// request was refused. The status and the other headers do not change. A refusal by the extractor `Verified` or by
    /// [`AcceptNumber7`](crate::AcceptNumber7) is an answer of the handler, and has no such body.
    ///
    /// # Panics
    ///
    /// If the content type cannot be the value of a header.
    ///
    /// # Example
    ///
    /// ```
    /// use number7_tower::{Secret, VerifyNumber7};
    ///
    /// fn verify(secret: Secret) -> VerifyNumber7 {
    ///     VerifyNumber7::new(secret).rejection_body("application/json", |status| {
    ///         format!(r#"{{"error":"{}"}}"#, status.canonical_reason().unwrap_or_default())
    ///     })
    /// }
    /// ```
    pub fn rejection_body<B: Into<Bytes>>(
        self,
        content_type: &'static str,
        body: impl Fn(StatusCode) -> B,
    ) -> Self {
        _ = HeaderValue::from_static(content_type);
        let body = |status| body(StatusCode::from_u16(status).unwrap_or_default());
        Self { bodies: Some(RejectionBodies::new(content_type, body)), ..self }
    }

    /// Gives the verified bytes to the service behind the layer as a `B`, such as `axum::body::Body` or
    /// `http_body_util::Full<Bytes>`.
    ///
    /// Otherwise that service gets the type of body that is in front of the layer, and that type must be made from bytes.
    /// hyper's `Incoming` cannot be. Nor can the body of a layer such as `RequestBodyLimitLayer` of tower-http that is directly
    /// in front, in the same `ServiceBuilder`. The compiler then asks for this line.
    ///
    /// # Example
    ///
    /// ```
    /// use axum::{Router, body::Body, http::StatusCode, routing::post};
    /// use number7_tower::{Event, Secret, Verified, VerifyNumber7};
    /// use tower::ServiceBuilder;
    /// use tower_http::limit::RequestBodyLimitLayer;
    ///
    /// async fn webhook(Verified(_): Verified<Event>) -> StatusCode {
    ///     StatusCode::OK
    /// }
    ///
    /// fn app(secret: Secret) -> Router {
    ///     let stack = ServiceBuilder::new()
    ///         .layer(RequestBodyLimitLayer::new(16 * 1024))
    ///         .layer(VerifyNumber7::new(secret).put_back_as::<Body>());
    ///     Router::new().route("/webhook", post(webhook)).layer(stack)
    /// }
    /// ```
    pub fn put_back_as<B: From<Bytes>>(self) -> VerifyNumber7<As<B>> {
        VerifyNumber7 { verifiers: self.verifiers, bodies: self.bodies, put_back: PhantomData }
    }
}

impl<S, P: Clone> Layer<S> for VerifyNumber7<P> {
    type Service = VerifyNumber7Service<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        VerifyNumber7Service::by(inner, self.clone())
    }
}
