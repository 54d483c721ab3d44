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
    http::Version,
    rt::time::{Sleep, sleep, timeout},
};
use futures_core::Stream;
use number7_core::{
    Accounts, Delivery, Intake, Rejection, RejectionKind, Verifier, Wait,
    adapter::{Diagnosing, Drain, Lookup, Refusal, RejectionBodies, metrics},
};
use pin_project_lite::pin_project;
use tokio::task::JoinHandle;

use crate::{
    VerifiedError,
    error::note,
    extractor_limit,
    log::{self, Refusals},
    search::Search,
};

pin_project! {
    #[project = ResponseFutureProj]
    /// The future of [`VerifyNumber7Middleware`](crate::VerifyNumber7Middleware).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S>
    where
        S: Service<ServiceRequest>,
    {
        #[pin]
        state: State<S, S::Future>,
        log: Refusals,
        bodies: Option<RejectionBodies>,
    }

    impl<S> PinnedDrop for ResponseFuture<S>
    where
        S: Service<ServiceRequest>,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if this.state.is_undecided() {
                this.state.note_broken_off(this.log);
            }
        }
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F> {
        Reading {
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
        // In a box, so that a receiver with one secret makes no room for it.
        LookingUp {
            looking_up: Option<Box<LookingUp<S>>>,
        },
        // It is logged and counted.
        Refused {
            refused: Option<(ServiceRequest, Refused)>,
        },
    }
}

/// A body on its way in, and the clock.
struct Reading {
    payload: Payload,
    aim: Aim,
    // Set at the second wait for either. In a box, because a body that is there already needs none.
    timeout: Option<Pin<Box<Sleep>>>,
    version: Version,
}

/// What a body is read for.
#[expect(clippy::large_enum_variant, reason = "nearly every request needs the large one")]
enum Aim {
    /// `None` once it was read to its end.
    Verify(Option<Intake>),
    /// It is refused. Its end is still wanted, because the connection goes on behind it.
    Drain(Drain, Option<Rejection>),
}

/// A request whose account is looked up.
struct LookingUp<S> {
    /// A task of its own: a sender that hangs up must not end what others wait for.
    lookup: JoinHandle<Result<Verifier, Rejection>>,
    /// The refusal if the task is dropped.
    failed: Rejection,
    /// The refusal if the sender goes away.
    broken_off: Rejection,
    /// Whose limits are for a refusal.
    unknown: Verifier,
    request: ServiceRequest,
    service: Rc<S>,
}

/// What reading a body comes to.
enum Read {
    Verified(Delivery),
    Diagnosing(Diagnosing),
    Refused(Refused),
}

/// What is answered, and what was not read of the body.
struct Refused {
    rejection: Rejection,
    unread: Payload,
}

impl<S: Service<ServiceRequest>> ResponseFuture<S> {
    pub(crate) fn reading(
        intake: Intake,
        request: ServiceRequest,
        service: Rc<S>,
        log: Refusals,
        bodies: Option<RejectionBodies>,
    ) -> Self {
        Self { state: State::reading(intake, request, service), log, bodies }
    }

    pub(crate) fn refused(
        rejection: Rejection,
        verifier: &Verifier,
        request: ServiceRequest,
        service: Rc<S>,
        log: Refusals,
        bodies: Option<RejectionBodies>,
    ) -> Self {
        Self { state: State::refused(rejection, verifier, request, service, &log), log, bodies }
    }

    pub(crate) fn looking_up(
        lookup: Lookup,
        accounts: &Accounts,
        request: ServiceRequest,
        service: Rc<S>,
        bodies: Option<RejectionBodies>,
    ) -> Self {
        let unknown = accounts.unknown().clone();
        let (log, failed) = (Refusals::of(&unknown), lookup.failed());
        let broken_off = lookup.refused(RejectionKind::BodyBrokenOff);
        let lookup = tokio::spawn(in_time(lookup));
        let looking_up = LookingUp { lookup, failed, broken_off, unknown, request, service };
        let looking_up = Some(Box::new(looking_up));
        Self { state: State::LookingUp { looking_up }, log, bodies }
    }
}

pub(crate) fn headers(request: &ServiceRequest) -> impl Iterator<Item = (&str, &[u8])> {
    request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
}

async fn in_time(mut lookup: Lookup) -> Result<Verifier, Rejection> {
    let found = timeout(lookup.timeout(), &mut lookup).await;
    found.unwrap_or_else(|_| lookup.timed_out())
}

impl<S, B> Future for ResponseFuture<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    type Output = Result<ServiceResponse<EitherBody<B>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ResponseFutureProj { mut state, log, bodies } = self.project();
        loop {
            let next = match state.as_mut().project() {
                StateProj::Reading { body, then } => {
                    let read = ready!(body.poll(cx, log));
                    let (request, service) = then.take().expect(POLLED_AFTER_END);
                    match read {
                        Read::Verified(delivery) => State::serve(request, delivery, &*service),
                        Read::Refused(refused) => {
                            State::Refused { refused: Some((request, refused)) }
                        }
                        Read::Diagnosing(diagnosing) => State::Diagnosing {
                            request: Some(request),
                            search: Search::new(diagnosing, log.clone()),
                        },
                    }
                }
                StateProj::Serving { future, span } => {
                    let response = ready!(span.in_scope(|| future.poll(cx)))?;
                    return Poll::Ready(Ok(response.map_into_left_body()));
                }
                StateProj::Diagnosing { request, search } => {
                    let rejection = ready!(search.poll(cx));
                    let refused = Refused { rejection, unread: Payload::None };
                    let request = request.take().expect(POLLED_AFTER_END);
                    State::Refused { refused: Some((request, refused)) }
                }
                StateProj::LookingUp { looking_up } => {
                    let lookup = &mut looking_up.as_mut().expect(POLLED_AFTER_END).lookup;
                    let found = ready!(Pin::new(lookup).poll(cx));
                    let looking_up = looking_up.take().expect(POLLED_AFTER_END);
                    let found = found.unwrap_or_else(|_| Err(looking_up.failed.clone()));
                    looking_up.end(found, log)
                }
                StateProj::Refused { refused } => {
                    let (request, refused) = refused.take().expect(POLLED_AFTER_END);
                    let error = VerifiedError::noted(refused.rejection, bodies.take());
                    let mut response = request.error_response(error);
                    response.response_mut().extensions_mut().insert(Unread(refused.unread));
                    return Poll::Ready(Ok(response.map_into_right_body()));
                }
            };
            state.set(next);
        }
    }
}

/// A body that is not read to its end. It has to live until the answer is written: actix-web then closes the
/// connection, and says so in a header. Otherwise it would read a chunked body on and on, or wait for it forever.
struct Unread(#[expect(dead_code, reason = "it has to live, and that is all")] Payload);

const POLLED_AFTER_END: &str = "`ResponseFuture` polled after its end";

impl<S: Service<ServiceRequest>> LookingUp<S> {
    /// What follows the lookup.
    fn end(self, found: Result<Verifier, Rejection>, log: &Refusals) -> State<S, S::Future> {
        let Self { unknown, request, service, .. } = self;
        let (rejection, verifier) = match found {
            Err(rejection) => (rejection, unknown),
            Ok(verifier) => match verifier.begin(headers(&request)) {
                Ok(intake) => return State::reading(intake, request, service),
                Err(rejection) => (rejection, verifier),
            },
        };
        State::refused(rejection, &verifier, request, service, log)
    }
}

impl<S: Service<ServiceRequest>> State<S, S::Future> {
    fn reading(intake: Intake, mut request: ServiceRequest, service: Rc<S>) -> Self {
        // The raw payload: the extractors of actix-web may inflate a body, and the HMAC is over
        // what was sent.
        let payload = request.take_payload();
        let body = Reading::new(payload, Aim::Verify(Some(intake)), request.version());
        Self::Reading { body, then: Some((request, service)) }
    }

    /// Whether nothing is logged and counted yet. If the sender goes away, actix-web may drop the future.
    fn is_undecided(&self) -> bool {
        match self {
            Self::Reading { body, .. } => matches!(body.aim, Aim::Verify(Some(_))),
            Self::LookingUp { looking_up } => looking_up.is_some(),
            _ => false,
        }
    }

    // Apart, because a request that is served would pay for it.
    #[cold]
    #[inline(never)]
    fn note_broken_off(&self, log: &Refusals) {
        match self {
            Self::Reading { body: Reading { aim: Aim::Verify(Some(intake)), .. }, .. } => {
                note(&intake.refused(RejectionKind::BodyBrokenOff), log);
            }
            Self::LookingUp { looking_up: Some(looking_up) } => note(&looking_up.broken_off, log),
            _ => {}
        }
    }

    /// By the head alone.
    fn refused(
        rejection: Rejection,
        verifier: &Verifier,
        mut request: ServiceRequest,
        service: Rc<S>,
        log: &Refusals,
    ) -> Self {
        note(&rejection, log);
        let drain = verifier.drain(headers(&request));
        let (version, payload) = (request.version(), request.take_payload());
        match drain {
            Some(drain) if ends_by_reading(version) => {
                let body = Reading::new(payload, Aim::Drain(drain, Some(rejection)), version);
                Self::Reading { body, then: Some((request, service)) }
            }
            _ => Self::Refused { refused: Some((request, Refused { rejection, unread: payload })) },
        }
    }

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

impl Reading {
    fn new(payload: Payload, aim: Aim, version: Version) -> Self {
        Self { payload, aim, timeout: None, version }
    }
}

// The loops are the same in number7-tower. To share them, the core would take the body and the timer as closures,
// which is more than it saves.
impl Reading {
    fn poll(&mut self, cx: &mut Context<'_>, log: &Refusals) -> Poll<Read> {
        if let Aim::Verify(_) = self.aim {
            let rejection = match ready!(self.poll_verify(cx)) {
                Ok(delivery) => return Poll::Ready(Read::Verified(delivery)),
                Err(Refusal::Diagnosing(search)) => return Poll::Ready(Read::Diagnosing(search)),
                Err(refusal) => refusal.finish(),
            };
            note(&rejection, log);
            // It is there still if the body is not at its end.
            let drain = match mem::replace(&mut self.aim, Aim::Verify(None)) {
                Aim::Verify(Some(intake)) => intake.drain(&rejection),
                _ => None,
            };
            let Some(drain) = drain.filter(|_| ends_by_reading(self.version)) else {
                let unread = self.payload.take();
                return Poll::Ready(Read::Refused(Refused { rejection, unread }));
            };
            self.timeout = None;
            self.aim = Aim::Drain(drain, Some(rejection));
        }
        ready!(self.poll_drain(cx));
        let Aim::Drain(_, rejection) = &mut self.aim else { panic!("{POLLED_AFTER_END}") };
        let rejection = rejection.take().expect(POLLED_AFTER_END);
        Poll::Ready(Read::Refused(Refused { rejection, unread: self.payload.take() }))
    }

    fn poll_verify(&mut self, cx: &mut Context<'_>) -> Poll<Result<Delivery, Refusal>> {
        let Aim::Verify(intake) = &mut self.aim else { panic!("{POLLED_AFTER_END}") };
        let reading = intake.as_mut().expect(POLLED_AFTER_END);
        while let Poll::Ready(chunk) = Pin::new(&mut self.payload).poll_next(cx) {
            match chunk {
                Some(Ok(chunk)) => reading.push(chunk)?,
                Some(Err(error)) => return refused(reading, kind_of(&error)),
                None => return Poll::Ready(intake.take().expect(POLLED_AFTER_END).conclude()),
            }
        }
        let wait = reading.wait()?;
        ready!(poll_wait(wait, &mut self.timeout, cx));
        refused(reading, RejectionKind::BodyTooSlow)
    }

    /// Ready at the end of the body, or if it does not come to one.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Aim::Drain(drain, _) = &mut self.aim else { panic!("{POLLED_AFTER_END}") };
        while let Poll::Ready(chunk) = Pin::new(&mut self.payload).poll_next(cx) {
            match chunk {
                Some(Ok(chunk)) if drain.pass(chunk.len()) => {}
                _ => return Poll::Ready(()),
            }
        }
        match drain.wait() {
            Some(wait) => poll_wait(wait, &mut self.timeout, cx),
            None => Poll::Ready(()),
        }
    }
}

/// Ready when the timeout is over.
fn poll_wait(wait: Wait, timer: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> Poll<()> {
    let Wait::Timeout(timeout) = wait else {
        cx.waker().wake_by_ref();
        return Poll::Pending;
    };
    timer.get_or_insert_with(|| Box::pin(sleep(timeout))).as_mut().poll(cx)
}

fn refused<T>(intake: &Intake, kind: RejectionKind) -> Poll<Result<T, Refusal>> {
    Poll::Ready(Err(intake.refused(kind).into()))
}

/// Whether a connection can be used again only if the body is read: later versions have a stream for each request.
fn ends_by_reading(version: Version) -> bool {
    version <= Version::HTTP_11
}

/// What middleware in front that limits payloads says by an error is answered as our own limits are.
fn kind_of(error: &PayloadError) -> RejectionKind {
    match error {
        PayloadError::Overflow => RejectionKind::BodyTooLarge,
        error => RejectionKind::of_body_error(error),
    }
}
