use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use number7_core::{Accept, DEFAULT_ACCEPT_TIMEOUT, Delivery, Rejection, adapter};
use tokio::time::sleep;
use tower_service::Service;

use crate::{log, response::refusal_with_text};

/// The endpoint that accepts into an inbox what [`VerifyNumber7`](crate::VerifyNumber7) verified.
///
/// It answers 200 once the inbox has the event, new or known; 400 if the authentic body names no event; 503 with `Retry-After`
/// if the inbox fails or takes too long; and 500 if the layer is missing. An event that this version cannot type is accepted as
/// it is. The worker that handles it may be newer.
///
/// # Example
///
/// ```
/// use axum::{Router, routing::post_service};
/// use number7_tower::{Accept, AcceptNumber7, Secret, VerifyNumber7};
///
/// fn app(secret: Secret, inbox: impl Accept + 'static) -> Router {
///     Router::new()
///         .route("/webhook", post_service(AcceptNumber7::new(inbox)))
///         .layer(VerifyNumber7::new(secret))
/// }
/// ```
// Much as in number7-actix: a type of the core cannot implement a foreign trait here, and a wrapper
// would be as long.
#[must_use = "it does nothing unless requests are routed to it"]
#[derive(Clone)]
pub struct AcceptNumber7 {
    inbox: Arc<dyn Accept>,
    timeout: Duration,
}

impl AcceptNumber7 {
    /// Takes an inbox, such as those of `number7-inbox`, or an `Arc` of one.
    pub fn new(inbox: impl Accept + 'static) -> Self {
        Self { inbox: Arc::new(inbox), timeout: DEFAULT_ACCEPT_TIMEOUT }
    }

    /// How long the inbox may take before the sender is answered 503;
    /// [`DEFAULT_ACCEPT_TIMEOUT`] unless it is set.
    ///
    /// # Panics
    ///
    /// It is zero.
    pub fn timeout(self, timeout: Duration) -> Self {
        assert!(!timeout.is_zero(), "a timeout of 0 refuses every event");
        Self { timeout, ..self }
    }
}

impl fmt::Debug for AcceptNumber7 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcceptNumber7").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl<B> Service<Request<B>> for AcceptNumber7 {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let delivery = adapter::extract(request.extensions().get());
        let Self { inbox, timeout } = self.clone();
        Box::pin(async move {
            let accepted = accept(&*inbox, timeout, delivery).await;
            Ok(accepted.map_or_else(refusal_with_text, |()| Response::default()))
        })
    }
}

async fn accept(
    inbox: &dyn Accept,
    timeout: Duration,
    delivery: Result<Delivery, Rejection>,
) -> Result<(), Rejection> {
    log::accepted(adapter::accept(inbox, &delivery?, sleep(timeout)).await?);
    Ok(())
}
