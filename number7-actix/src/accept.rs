use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use actix_web::{Handler, HttpResponse, rt::time::timeout};
use number7_core::{Accept, DEFAULT_ACCEPT_DEADLINE, Delivery, Rejection, RejectionKind};

use crate::{Verified, VerifiedError, log};

/// The handler that takes what [`VerifyNumber7`](crate::VerifyNumber7) verified into an inbox.
///
/// It answers 200 once the inbox has the event, new or known; 400 if the authentic body names no
/// event; 503 with `Retry-After` if the inbox fails or takes too long; and 500 if the middleware is
/// missing. An event that this version cannot type is accepted as it is, and typed by the process that works
/// on it.
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
// Much as in number7-tower: a type of the core cannot implement a foreign trait here, and a wrapper
// would be as long.
#[must_use = "it does nothing unless requests are routed to it"]
pub struct AcceptNumber7<I> {
    inbox: Arc<I>,
    deadline: Duration,
}

impl<I: Accept> AcceptNumber7<I> {
    /// Takes an inbox, such as those of `number7-inbox`, or an `Arc` of one.
    pub fn new(inbox: I) -> Self {
        Self { inbox: Arc::new(inbox), deadline: DEFAULT_ACCEPT_DEADLINE }
    }

    /// How long the inbox may take before the sender is answered 503;
    /// [`DEFAULT_ACCEPT_DEADLINE`] unless it is set.
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }
}

impl<I> Clone for AcceptNumber7<I> {
    fn clone(&self) -> Self {
        Self { inbox: Arc::clone(&self.inbox), deadline: self.deadline }
    }
}

impl<I> fmt::Debug for AcceptNumber7<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcceptNumber7").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl<I: Accept + 'static> Handler<(Verified<Delivery>,)> for AcceptNumber7<I> {
    type Output = Result<HttpResponse, VerifiedError>;
    type Future = Pin<Box<dyn Future<Output = Self::Output>>>;

    fn call(&self, (Verified(delivery),): (Verified<Delivery>,)) -> Self::Future {
        let Self { inbox, deadline } = self.clone();
        Box::pin(async move {
            accept(&*inbox, deadline, &delivery).await?;
            Ok(HttpResponse::Ok().finish())
        })
    }
}

async fn accept(
    inbox: &impl Accept,
    deadline: Duration,
    delivery: &Delivery,
) -> Result<(), Rejection> {
    let accepted = timeout(deadline, inbox.accept(delivery)).await;
    log::accepted(accepted.map_err(|_| delivery.refused(RejectionKind::StoredTooSlowly))??);
    Ok(())
}
