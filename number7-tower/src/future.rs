use std::{
    error::Error,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{Request, Response, Version, request::Parts};
use http_body::Body;
use number7_core::{
    Accounts, Delivery, Intake, Rejection, RejectionKind, Verifier, Wait,
    adapter::{Diagnosing, Drain, Lookup, Refusal, RejectionBodies, metrics},
};
use pin_project_lite::pin_project;
use tokio::{
    runtime::Handle,
    task::JoinHandle,
    time::{Sleep, sleep, timeout},
};
use tower_service::Service;

use crate::{
    ResponseBody,
    body_error::kind_of,
    extractor_limit,
    log::{self, Refusals},
    response::{note, refusal_with_body},
    search::Search,
};

pin_project! {
    #[project = ResponseFutureProj]
    /// The future of [`VerifyNumber7Service`](crate::VerifyNumber7Service).
    ///
    /// `Front` is the body in front of it, and `B` the one that the inner service gets.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Front, B = Front>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, Front, S::Future>,
        log: Refusals,
        bodies: Option<RejectionBodies>,
    }

    impl<S, Front, B> PinnedDrop for ResponseFuture<S, Front, B>
    where
        S: Service<Request<B>>,
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
    enum State<S, Front, F> {
        Reading {
            #[pin]
            body: Reading<Front>,
            then: Option<Then<S>>,
        },
        Verified {
            then: Option<Then<S>>,
            delivery: Option<Delivery>,
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
        LookingUp {
            // In a box, so that a receiver with one secret makes no room for it.
            looking_up: Option<Box<LookingUp<S, Front>>>,
        },
        // It is logged and counted.
        Refused {
            refused: Option<Refused>,
        },
    }
}

pin_project! {
    /// A body on its way in, and the clock.
    struct Reading<B> {
        #[pin]
        body: B,
        aim: Aim,
        // Set at the second wait for either. In a box, because a body that is there already needs none.
        timeout: Option<Pin<Box<Sleep>>>,
        version: Version,
    }
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
struct LookingUp<S, Front> {
    /// A task of its own: a sender that hangs up must not end what others wait for.
    lookup: JoinHandle<Result<Verifier, Rejection>>,
    /// The refusal if the task is dropped.
    failed: Rejection,
    /// The refusal if the sender goes away.
    broken_off: Rejection,
    /// Whose limits are for a refusal.
    unknown: Verifier,
    request: Request<Front>,
    service: S,
}

/// What reading a body comes to.
enum Read {
    Verified(Delivery),
    Diagnosing(Diagnosing),
    Refused(Refused),
}

/// What is answered, and whether that is the end of the connection.
struct Refused {
    rejection: Rejection,
    closes: bool,
}

/// What is done with a body once it is verified.
struct Then<S> {
    /// `None` once it is done.
    parts: Option<Parts>,
    service: S,
    /// Whether the service was polled ready, and may hold a place for this call.
    ready: bool,
}

impl<S, Front, B> ResponseFuture<S, Front, B>
where
    S: Service<Request<B>>,
{
    pub(crate) fn reading(
        intake: Intake,
        request: Request<Front>,
        ready: S,
        log: Refusals,
        bodies: Option<RejectionBodies>,
    ) -> Self {
        Self { state: State::reading(intake, request, ready, true), log, bodies }
    }

    pub(crate) fn refused(
        rejection: Rejection,
        verifier: &Verifier,
        request: Request<Front>,
        log: Refusals,
        bodies: Option<RejectionBodies>,
    ) -> Self {
        Self { state: State::refused(rejection, verifier, request, &log), log, bodies }
    }

    /// The service was not polled ready.
    pub(crate) fn looking_up(
        lookup: Lookup,
        accounts: &Accounts,
        request: Request<Front>,
        service: S,
        bodies: Option<RejectionBodies>,
    ) -> Self {
        let unknown = accounts.unknown().clone();
        let (log, failed) = (Refusals::of(&unknown), lookup.failed());
        let broken_off = lookup.refused(RejectionKind::BodyBrokenOff);
        let Ok(runtime) = Handle::try_current() else {
            return Self::refused(failed, &unknown, request, log, bodies);
        };
        let lookup = runtime.spawn(in_time(lookup));
        let looking_up = LookingUp { lookup, failed, broken_off, unknown, request, service };
        let looking_up = Some(Box::new(looking_up));
        Self { state: State::LookingUp { looking_up }, log, bodies }
    }
}

pub(crate) fn headers<B>(request: &Request<B>) -> impl Iterator<Item = (&str, &[u8])> {
    request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
}

async fn in_time(mut lookup: Lookup) -> Result<Verifier, Rejection> {
    let found = timeout(lookup.timeout(), &mut lookup).await;
    found.unwrap_or_else(|_| lookup.timed_out())
}

impl<S, Front, F> State<S, Front, F> {
    fn reading(intake: Intake, request: Request<Front>, service: S, ready: bool) -> Self {
        let (parts, body) = request.into_parts();
        let body = Reading::new(body, Aim::Verify(Some(intake)), parts.version);
        Self::Reading { body, then: Some(Then { parts: Some(parts), service, ready }) }
    }

    /// Whether nothing is logged and counted yet. If the sender goes away, a server may drop the future.
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
        request: Request<Front>,
        log: &Refusals,
    ) -> Self {
        note(&rejection, log);
        let drain = verifier.drain(headers(&request));
        let (version, body) = (request.version(), request.into_body());
        match drain {
            Some(drain) if ends_by_reading(version) => {
                let body = Reading::new(body, Aim::Drain(drain, Some(rejection)), version);
                Self::Reading { body, then: None }
            }
            _ => Self::Refused { refused: Some(Refused::unread(rejection, version)) },
        }
    }
}

impl<S, Front> LookingUp<S, Front> {
    /// What follows the lookup.
    fn end<F>(self, found: Result<Verifier, Rejection>, log: &Refusals) -> State<S, Front, F> {
        let Self { unknown, request, service, .. } = self;
        let (rejection, verifier) = match found {
            Err(rejection) => (rejection, unknown),
            Ok(verifier) => match verifier.begin(headers(&request)) {
                Ok(intake) => return State::reading(intake, request, service, false),
                Err(rejection) => (rejection, verifier),
            },
        };
        State::refused(rejection, &verifier, request, log)
    }
}

impl<S, Front, B, ResBody> Future for ResponseFuture<S, Front, B>
where
    S: Service<Request<B>, Response = Response<ResBody>> + Clone,
    Front: Body,
    Front::Error: Into<Box<dyn Error + Send + Sync>>,
    B: From<Bytes>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ResponseFutureProj { mut state, log, bodies } = self.project();
        loop {
            let next = match state.as_mut().project() {
                StateProj::Reading { mut body, then } => match body.as_mut().poll(cx, log) {
                    Poll::Ready(Read::Verified(delivery)) => {
                        // Counted here, whatever the inner service does with it.
                        metrics::verified(&delivery);
                        match then {
                            Some(then) if then.ready => {
                                // Set here, because a state that goes through `next` is copied once more.
                                let serving = then.serve(delivery);
                                state.set(serving);
                                continue;
                            }
                            then => State::Verified { then: then.take(), delivery: Some(delivery) },
                        }
                    }
                    Poll::Ready(Read::Refused(refused)) => {
                        State::Refused { refused: Some(refused) }
                    }
                    Poll::Ready(Read::Diagnosing(diagnosing)) => {
                        State::Diagnosing { search: Search::new(diagnosing, log.clone()) }
                    }
                    Poll::Pending => {
                        if body.is_draining() {
                            *then = None;
                        } else if let (true, Some(then)) = (body.is_waited_for(), then) {
                            then.release();
                        }
                        return Poll::Pending;
                    }
                },
                StateProj::Verified { then, delivery } => {
                    let then = then.as_mut().expect(POLLED_AFTER_END);
                    ready!(then.service.poll_ready(cx))?;
                    then.serve(delivery.take().expect(POLLED_AFTER_END))
                }
                StateProj::Serving { future, span } => {
                    let response = ready!(span.in_scope(|| future.poll(cx)))?;
                    return Poll::Ready(Ok(response.map(ResponseBody::served)));
                }
                StateProj::Diagnosing { search } => {
                    let rejection = ready!(search.poll(cx));
                    State::Refused { refused: Some(Refused { rejection, closes: false }) }
                }
                StateProj::LookingUp { looking_up } => {
                    let lookup = &mut looking_up.as_mut().expect(POLLED_AFTER_END).lookup;
                    let found = ready!(Pin::new(lookup).poll(cx));
                    let looking_up = looking_up.take().expect(POLLED_AFTER_END);
                    let found = found.unwrap_or_else(|_| Err(looking_up.failed.clone()));
                    looking_up.end(found, log)
                }
                StateProj::Refused { refused } => {
                    let Refused { rejection, closes } = refused.take().expect(POLLED_AFTER_END);
                    return Poll::Ready(Ok(refusal_with_body(rejection, closes, bodies.as_ref())));
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

    // Inlined, because a call would copy the head of the request once more.
    #[inline(always)]
    fn serve<Front, B: From<Bytes>>(&mut self, delivery: Delivery) -> State<S, Front, S::Future>
    where
        S: Service<Request<B>>,
    {
        let span = log::verified(&delivery);
        let body = B::from(delivery.body().clone());
        let mut request = Request::from_parts(self.parts.take().expect(POLLED_AFTER_END), body);
        extractor_limit::raise(&mut request, delivery.body().len());
        request.extensions_mut().insert(delivery);
        let future = span.in_scope(|| self.service.call(request));
        State::Serving { future, span }
    }
}

impl<B> Reading<B> {
    fn new(body: B, aim: Aim, version: Version) -> Self {
        Self { body, aim, timeout: None, version }
    }

    fn is_waited_for(&self) -> bool {
        self.timeout.is_some()
    }

    fn is_draining(&self) -> bool {
        matches!(self.aim, Aim::Drain(..))
    }
}

// The loops are the same in number7-actix. To share them, the core would take the body and the timer as closures,
// which is more than it saves.
impl<B: Body> Reading<B>
where
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>, log: &Refusals) -> Poll<Read> {
        if let Aim::Verify(_) = self.aim {
            let rejection = match ready!(self.as_mut().poll_verify(cx)) {
                Ok(delivery) => return Poll::Ready(Read::Verified(delivery)),
                Err(Refusal::Diagnosing(search)) => return Poll::Ready(Read::Diagnosing(search)),
                Err(refusal) => refusal.finish(),
            };
            note(&rejection, log);
            let this = self.as_mut().project();
            // It is there still if the body is not at its end.
            let Aim::Verify(Some(intake)) = mem::replace(this.aim, Aim::Verify(None)) else {
                return Poll::Ready(Read::Refused(Refused { rejection, closes: false }));
            };
            let drain = intake.drain(&rejection).filter(|_| ends_by_reading(*this.version));
            let Some(drain) = drain else {
                return Poll::Ready(Read::Refused(Refused::unread(rejection, *this.version)));
            };
            *this.timeout = None;
            *this.aim = Aim::Drain(drain, Some(rejection));
        }
        let closes = !ready!(self.as_mut().poll_drain(cx));
        let Aim::Drain(_, rejection) = self.project().aim else { panic!("{POLLED_AFTER_END}") };
        let rejection = rejection.take().expect(POLLED_AFTER_END);
        Poll::Ready(Read::Refused(Refused { rejection, closes }))
    }

    fn poll_verify(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Delivery, Refusal>> {
        let mut this = self.project();
        let Aim::Verify(intake) = this.aim else { panic!("{POLLED_AFTER_END}") };
        let reading = intake.as_mut().expect(POLLED_AFTER_END);
        // Frames until there are none: only that tells the end of a chunked body.
        while let Poll::Ready(frame) = this.body.as_mut().poll_frame(cx) {
            match frame {
                Some(Ok(frame)) => {
                    // Trailers are not signed, and are passed over.
                    if let Ok(mut data) = frame.into_data() {
                        reading.push(data.copy_to_bytes(data.remaining()))?;
                    }
                }
                Some(Err(error)) => return refused(reading, kind_of(&*error.into())),
                None => return Poll::Ready(intake.take().expect(POLLED_AFTER_END).conclude()),
            }
        }
        let wait = reading.wait()?;
        ready!(poll_wait(wait, this.timeout, cx));
        refused(reading, RejectionKind::BodyTooSlow)
    }

    /// Whether the body came to its end.
    fn poll_drain(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        let mut this = self.project();
        let Aim::Drain(drain, _) = this.aim else { panic!("{POLLED_AFTER_END}") };
        while let Poll::Ready(frame) = this.body.as_mut().poll_frame(cx) {
            match frame {
                Some(Ok(frame)) => {
                    if !frame.data_ref().is_none_or(|data| drain.pass(data.remaining())) {
                        return Poll::Ready(false);
                    }
                }
                Some(Err(_)) => return Poll::Ready(false),
                None => return Poll::Ready(true),
            }
        }
        match drain.wait() {
            Some(wait) if wait == Wait::OneTurn || Handle::try_current().is_ok() => {
                ready!(poll_wait(wait, this.timeout, cx));
                Poll::Ready(false)
            }
            // All places are taken, or there is no timer.
            _ => Poll::Ready(false),
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

impl Refused {
    /// A refusal before the end of the body.
    fn unread(rejection: Rejection, version: Version) -> Self {
        Self { rejection, closes: ends_by_reading(version) }
    }
}
