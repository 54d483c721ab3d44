use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use actix_web::{Handler, HttpResponse, rt::time::sleep};
use number7_core::{Accept, DEFAULT_ACCEPT_TIMEOUT, Delivery, adapter};

use crate::{Verified, VerifiedError, log};

/// The handler that accepts into an inbox what [`VerifyNumber7`](crate::VerifyNumber7) verified.
///
/// It answers 200 once the inbox has the event, new or known; 400 if the authentic body names no event; 503 with `Retry-After`
/// if the inbox fails or takes too long; and 500 if the middleware is missing. An event that this version cannot type is
/// accepted as it is. The worker that handles it may be newer.
///
/// # Example
///
/// ```
/// use actix_web::web;
/// use number7_actix::{Accept, AcceptNumber7, Secret, VerifyNumber7};
///
/// fn app(secret: Secret, inbox: impl Accept + 'static) -> impl FnOnce(&mut web::ServiceConfig) {
///     let webhook = web::resource("/webhook")
///         .wrap(VerifyNumber7::new(secret))
///         .route(web::post().to(AcceptNumber7::new(inbox)));
///     |config| {
///         config.service(webhook);
///     }
/// }
/// ```
// Much as in number7-tower: a type of the core cannot implement a foreign trait here, and a wrapper would be as long.
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

impl Handler<(Verified<Delivery>,)> for AcceptNumber7 {
    type Output = Result<HttpResponse, VerifiedError>;
    type Future = Pin<Box<dyn Future<Output = Self::Output>>>;

    fn call(&self, (Verified(delivery),): (Verified<Delivery>,)) -> Self::Future {
        let Self { inbox, timeout } = self.clone();
        Box::pin(async move {
            log::accepted(adapter::accept(&*inbox, &delivery, sleep(timeout)).await?);
            Ok(HttpResponse::Ok().finish())
        })
    }
}
