use std::{
    error::Error,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{Request, Response, request::Parts};
use http_body::Body;
use number7_core::{Delivery, Intake, Refusal, Rejection, RejectionKind, Wait, metrics};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tower_service::Service;

use crate::{
    body_error::kind_of,
    extractor_limit,
    log::{self, Refusals},
    response::refusal,
    search::Search,
};

pin_project! {
    #[project = ResponseFutureProj]
    /// The future of [`VerifyNumber7Service`](crate::VerifyNumber7Service).
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B, S::Future>,
        log: Refusals,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, B, F> {
        Reading {
            #[pin]
            body: Reading<B>,
            then: Option<Then<S>>,
        },
        Verified {
            then: Option<(Then<S>, Delivery)>,
        },
        Serving {
            #[pin]
            future: F,
            span: log::Span,
        },
        Diagnosing {
            #[pin]
            search: Search,
        },
        Refused {
            rejection: Option<Rejection>,
        },
    }
}

pin_project! {
    /// A body on its way in, and the clock.
    struct Reading<B> {
        #[pin]
        body: B,
        intake: Option<Intake>,
        // Set at the second wait.
        #[pin]
        deadline: Option<Sleep>,
    }
}

/// What is done with a body once it is verified.
struct Then<S> {
    parts: Parts,
    service: S,
    /// Whether the service was polled ready, and may hold a place for this call.
    ready: bool,
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    pub(crate) fn reading(intake: Intake, request: Request<B>, ready: S, log: Refusals) -> Self {
        let (parts, body) = request.into_parts();
        let body = Reading { body, intake: Some(intake), deadline: None };
        let then = Some(Then { parts, service: ready, ready: true });
        Self { state: State::Reading { body, then }, log }
    }

    pub(crate) fn refused(rejection: Rejection, log: Refusals) -> Self {
        Self { state: State::Refused { rejection: Some(rejection) }, log }
    }
}

impl<S, B, ResBody> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<ResBody>> + Clone,
    B: Body + From<Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    ResBody: Default,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ResponseFutureProj { mut state, log } = self.project();
        loop {
            let next = match state.as_mut().project() {
                StateProj::Reading { mut body, then } => match body.as_mut().poll(cx) {
                    Poll::Ready(Ok(delivery)) => {
                        // Counted here, whatever the inner service does with it.
                        metrics::verified(&delivery);
                        let then = then.take().expect(POLLED_AFTER_END);
                        match then.ready {
                            true => then.serve(delivery),
                            false => State::Verified { then: Some((then, delivery)) },
                        }
                    }
                    Poll::Ready(Err(Refusal::Final(rejection))) => {
                        State::Refused { rejection: Some(rejection) }
                    }
                    Poll::Ready(Err(Refusal::Diagnosing(diagnosing))) => {
                        State::Diagnosing { search: Search::new(diagnosing) }
                    }
                    Poll::Pending => {
                        if let (true, Some(then)) = (body.is_waited_for(), then) {
                            then.release();
                        }
                        return Poll::Pending;
                    }
                },
                StateProj::Verified { then } => {
                    if let Some((then, _)) = then {
                        ready!(then.service.poll_ready(cx))?;
                    }
                    let (then, delivery) = then.take().expect(POLLED_AFTER_END);
                    then.serve(delivery)
                }
                StateProj::Serving { future, span } => return span.in_scope(|| future.poll(cx)),
                StateProj::Diagnosing { search } => {
                    State::Refused { rejection: Some(ready!(search.poll(cx))) }
                }
                StateProj::Refused { rejection } => {
                    let rejection = rejection.take().expect(POLLED_AFTER_END);
                    return Poll::Ready(Ok(refusal(rejection, log)));
                }
            };
            state.set(next);
        }
    }
}

const POLLED_AFTER_END: &str = "`ResponseFuture` polled after its end";

impl<S> Then<S> {
    /// Gives the service's place to others while an unverified sender keeps us waiting.
    fn release(&mut self)
    where
        S: Clone,
    {
        if mem::take(&mut self.ready) {
            self.service = self.service.clone();
        }
    }

    fn serve<B: From<Bytes>>(mut self, delivery: Delivery) -> State<S, B, S::Future>
    where
        S: Service<Request<B>>,
    {
        let span = log::verified(&delivery);
        let mut request = Request::from_parts(self.parts, B::from(delivery.body().clone()));
        extractor_limit::raise(&mut request, delivery.body().len());
        request.extensions_mut().insert(delivery);
        let future = span.in_scope(|| self.service.call(request));
        State::Serving { future, span }
    }
}

impl<B> Reading<B> {
    fn is_waited_for(&self) -> bool {
        self.deadline.is_some()
    }
}

// The loop is the same in number7-actix. To share it, the core would take the body and the timer as closures,
// which is more than it saves.
impl<B: Body> Future for Reading<B>
where
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Output = Result<Delivery, Refusal>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let intake = this.intake.as_mut().expect(POLLED_AFTER_END);
        // Frames until there are none: only that tells the end of a chunked body.
        while let Poll::Ready(frame) = this.body.as_mut().poll_frame(cx) {
            match frame {
                Some(Ok(frame)) => {
                    // Trailers are not signed, and are passed over.
                    if let Ok(mut data) = frame.into_data() {
                        intake.push(data.copy_to_bytes(data.remaining()))?;
                    }
                }
                Some(Err(error)) => return refused(kind_of(&*error.into())),
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
