use std::{
    mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use actix_web::{
    Error, HttpMessage,
    body::{EitherBody, MessageBody},
    dev::{Payload, Service, ServiceRequest, ServiceResponse},
    error::PayloadError,
    rt::time::{Sleep, sleep},
};
use futures_core::Stream;
use number7_core::{Delivery, Intake, Refusal, Rejection, RejectionKind, Wait, metrics};
use pin_project_lite::pin_project;

use crate::{
    VerifiedError, extractor_limit,
    log::{self, Refusals},
    search::Search,
};

pin_project! {
    #[project = ResponseFutureProj]
    /// The future of [`VerifyNumber7Middleware`](crate::VerifyNumber7Middleware).
    pub struct ResponseFuture<S>
    where
        S: Service<ServiceRequest>,
    {
        #[pin]
        state: State<S, S::Future>,
        log: Refusals,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F> {
        Reading {
            #[pin]
            body: Reading,
            then: Option<(ServiceRequest, Rc<S>)>,
        },
        Serving {
            #[pin]
            future: F,
            span: log::Span,
        },
        Diagnosing {
            request: Option<ServiceRequest>,
            #[pin]
            search: Search,
        },
        Refused {
            request: Option<ServiceRequest>,
            rejection: Option<Rejection>,
        },
    }
}

pin_project! {
    /// A body on its way in, and the clock.
    struct Reading {
        payload: Payload,
        intake: Option<Intake>,
        // Set at the second wait.
        #[pin]
        deadline: Option<Sleep>,
    }
}

impl<S: Service<ServiceRequest>> ResponseFuture<S> {
    pub(crate) fn reading(
        intake: Intake,
        mut request: ServiceRequest,
        service: Rc<S>,
        log: Refusals,
    ) -> Self {
        // The raw payload: the extractors of actix-web may inflate a body, and the HMAC is over
        // what was sent.
        let payload = request.take_payload();
        let body = Reading { payload, intake: Some(intake), deadline: None };
        Self { state: State::Reading { body, then: Some((request, service)) }, log }
    }

    pub(crate) fn refused(request: ServiceRequest, rejection: Rejection, log: Refusals) -> Self {
        let (request, rejection) = (Some(request), Some(rejection));
        Self { state: State::Refused { request, rejection }, log }
    }
}

impl<S, B> Future for ResponseFuture<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    type Output = Result<ServiceResponse<EitherBody<B>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ResponseFutureProj { mut state, log } = self.project();
        loop {
            let next = match state.as_mut().project() {
                StateProj::Reading { mut body, then } => {
                    let verified = ready!(body.as_mut().poll(cx));
                    let (mut request, service) = then.take().expect(POLLED_AFTER_END);
                    match verified {
                        Ok(delivery) => State::serve(request, delivery, &*service),
                        Err(Refusal::Final(rejection)) => {
                            // What was not read goes back to where the answer takes it from.
                            request
                                .set_payload(mem::replace(body.project().payload, Payload::None));
                            State::Refused { request: Some(request), rejection: Some(rejection) }
                        }
                        Err(Refusal::Diagnosing(diagnosing)) => State::Diagnosing {
                            request: Some(request),
                            search: Search::new(diagnosing),
                        },
                    }
                }
                StateProj::Serving { future, span } => {
                    let response = ready!(span.in_scope(|| future.poll(cx)))?;
                    return Poll::Ready(Ok(response.map_into_left_body()));
                }
                StateProj::Diagnosing { request, search } => {
                    let rejection = Some(ready!(search.poll(cx)));
                    State::Refused { request: request.take(), rejection }
                }
                StateProj::Refused { request, rejection } => {
                    let mut request = request.take().expect(POLLED_AFTER_END);
                    let rejection = rejection.take().expect(POLLED_AFTER_END);
                    let unread = Unread(request.take_payload());
                    let mut response = request.error_response(VerifiedError::noted(rejection, log));
                    response.response_mut().extensions_mut().insert(unread);
                    return Poll::Ready(Ok(response.map_into_right_body()));
                }
            };
            state.set(next);
        }
    }
}

/// A body that is not read to its end. It has to live until the answer is written: actix-web then closes the
/// connection. Otherwise it would read a chunked body on and on, or wait for it forever.
struct Unread(#[expect(dead_code, reason = "it has to live, and that is all")] Payload);

const POLLED_AFTER_END: &str = "`ResponseFuture` polled after its end";

impl<S: Service<ServiceRequest>> State<S, S::Future> {
    fn serve(mut request: ServiceRequest, delivery: Delivery, service: &S) -> Self {
        metrics::verified(&delivery);
        let span = log::verified(&delivery);
        request.set_payload(Payload::from(delivery.body().clone()));
        extractor_limit::raise(&mut request, delivery.body().len());
        request.extensions_mut().insert(delivery);
        let future = span.in_scope(|| service.call(request));
        Self::Serving { future, span }
    }
}

// The loop is the same in number7-tower. To share it, the core would take the body and the timer as closures,
// which is more than it saves.
impl Future for Reading {
    type Output = Result<Delivery, Refusal>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let intake = this.intake.as_mut().expect(POLLED_AFTER_END);
        while let Poll::Ready(chunk) = Pin::new(&mut *this.payload).poll_next(cx) {
            match chunk {
                Some(Ok(chunk)) => intake.push(chunk)?,
                Some(Err(error)) => return refused(kind_of(&error)),
                None => return Poll::Ready(this.intake.take().expect(POLLED_AFTER_END).conclude()),
            }
        }
        let deadline = match intake.wait()? {
            Wait::OneTurn => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Wait::Deadline(deadline) => deadline,
        };
        if this.deadline.is_none() {
            this.deadline.set(Some(sleep(deadline)));
        }
        match this.deadline.as_pin_mut() {
            Some(deadline) => {
                ready!(deadline.poll(cx));
                refused(RejectionKind::BodyTooSlow)
            }
            None => Poll::Pending,
        }
    }
}

fn refused<T>(kind: RejectionKind) -> Poll<Result<T, Refusal>> {
    Poll::Ready(Err(Rejection::from(kind).into()))
}

/// What middleware in front that limits payloads says by an error is answered as our own limits are.
fn kind_of(error: &PayloadError) -> RejectionKind {
    match error {
        PayloadError::Overflow => RejectionKind::BodyTooLarge,
        error => RejectionKind::of_body_error(error),
    }
}
