use std::{
    future::{Future, Ready, ready},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use actix_web::{
    Error, FromRequest, HttpRequest,
    body::{EitherBody, MessageBody},
    dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform},
    http::{StatusCode, header::HeaderValue},
};
use bytes::Bytes;
use number7_core::{
    Accounts, LiveVerifier, Verifier,
    adapter::{RejectionBodies, metrics},
};

use crate::{VerifyNumber7Middleware, verifiers::Verifiers};

/// Lets through what Number7 AI signed, and answers everything else itself.
///
/// The verified [`Delivery`](number7_core::Delivery) is in the request's extensions, and the body
/// is put back, so that whatever stands behind the middleware can read it again. See the
/// [crate docs](crate) for an example.
///
/// Build it once, outside of the closure that `HttpServer::new` calls for every worker, and clone
/// it there: the clones share the count of bodies that are waited for.
#[derive(Clone, Debug)]
#[must_use = "a middleware does nothing unless it is put around a service"]
pub struct VerifyNumber7 {
    pub(crate) verifiers: Verifiers,
    pub(crate) bodies: Option<RejectionBodies>,
}

impl VerifyNumber7 {
    /// Takes a [`Secret`](number7_core::Secret), or a [`Verifier`] if several secrets are accepted
    /// or the limits differ.
    pub fn new(verifier: impl Into<Verifier>) -> Self {
        Self::by(Verifiers::Fixed(verifier.into()))
    }

    /// Takes a verifier whose secret can be replaced while it serves.
    pub fn live(verifier: LiveVerifier) -> Self {
        Self::by(Verifiers::Live(verifier))
    }

    /// Looks up the verifier of the account that a request names, for a receiver with a secret for each of its accounts.
    /// `name` gets an extractor of actix-web, and returns the name of the account.
    ///
    /// The extractor runs before the body is read and gets an empty one, so it has to be one for the head of a request, such as
    /// `web::Path` or `HttpRequest`, and must not wait. If it fails or waits, the answer is 401, as for an unknown account. For
    /// `web::Path`, wrap the resource: middleware of the whole app runs before the path is matched.
    ///
    /// # Example
    ///
    /// ```
    /// use actix_web::{HttpResponse, web};
    /// use number7_actix::{Account, Accounts, Delivery, Secret, SecretError, Verified, Verifier, VerifyNumber7};
    ///
    /// async fn find(account: Account) -> Result<Option<Verifier>, SecretError> {
    ///     // In an app: SELECT secret FROM accounts WHERE name = $1
    ///     match account.as_str() {
    ///         "acme" => Ok(Some(Secret::new("the secret of acme")?.into())),
    ///         _ => Ok(None),
    ///     }
    /// }
    ///
    /// async fn webhook(Verified(delivery): Verified<Delivery>) -> HttpResponse {
    ///     println!("an event of {:?}", delivery.account());
    ///     HttpResponse::Ok().finish()
    /// }
    ///
    /// let verify = VerifyNumber7::accounts(Accounts::new(find), web::Path::<String>::into_inner);
    /// let resource = web::resource("/hooks/{account}").wrap(verify).route(web::post().to(webhook));
    /// # _ = resource;
    /// ```
    pub fn accounts<E: FromRequest + 'static>(
        accounts: Accounts,
        name: impl Fn(E) -> String + Send + Sync + 'static,
    ) -> Self {
        let name = move |request: &HttpRequest| {
            let extracted = pin!(E::from_request(request, &mut Payload::None));
            match extracted.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(extracted)) => Some(name(extracted)),
                _ => None,
            }
        };
        Self::by(Verifiers::Accounts(accounts, Arc::new(name)))
    }

    fn by(verifiers: Verifiers) -> Self {
        metrics::describe();
        Self { verifiers, bodies: None }
    }

    /// Answers refused requests with a body, which is empty otherwise.
    ///
    /// `body` gets the status, is called once for each, here, and not again. So two answers with one status are alike, and do
    /// not say why a request was refused. Status and other headers stay as they are. A refusal by the extractor
    /// `Verified` or by [`AcceptNumber7`](crate::AcceptNumber7) is an answer of the handler, and has no such body.
    ///
    /// # Panics
    ///
    /// If the content type cannot be the value of a header.
    ///
    /// # Example
    ///
    /// ```
    /// use number7_actix::{Secret, VerifyNumber7};
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
        ready(Ok(VerifyNumber7Middleware::new(service, self.clone())))
    }
}
