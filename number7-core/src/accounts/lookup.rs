//! An account that is being looked up.

use std::{
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use super::{FindFuture, Found, answer::Answer, registry::Registry};
use crate::{Account, Rejection, RejectionKind, Verifier, held::HeldPlace};

/// What a lookup comes to: a verifier that refuses everything if there is no such account.
pub(super) type Outcome = Result<Verifier, Rejection>;

/// A lookup of an account: a future that needs no particular async runtime. It holds one of the places for
/// lookups until it is dropped. Wait for it no longer than its [timeout](Self::timeout), in a task of its own: other requests
/// wait for it too, and a sender that hangs up must not end it.
pub struct Lookup {
    registry: Arc<Registry>,
    account: Account,
    last: Option<Arc<Answer>>,
    running: Arc<Running>,
    begun: SystemTime,
    /// `None` if it is waited for, and at its end.
    find: Option<FindFuture>,
    _place: HeldPlace,
}

impl Lookup {
    pub(super) fn new(
        registry: Arc<Registry>,
        account: &Account,
        last: Option<Arc<Answer>>,
        running: Arc<Running>,
        begun: SystemTime,
        place: HeldPlace,
    ) -> Self {
        let account = account.clone();
        Self { registry, account, last, running, begun, find: None, _place: place }
    }

    /// Begins it. If it ends at once, nobody has to wait for it.
    pub(super) fn begin(mut self) -> Result<Found, Rejection> {
        let find = AssertUnwindSafe(|| (self.registry.settings.find)(self.account.clone()));
        self.find = match catch_unwind(find) {
            Ok(find) => Some(find),
            Err(_) => return self.settle(Err(panicked())).map(Found::Verifier),
        };
        match Pin::new(&mut self).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => outcome.map(Found::Verifier),
            Poll::Pending => Ok(Found::Lookup(self)),
        }
    }

    /// How long to wait. After that, call [`timed_out`](Self::timed_out).
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.registry.settings.lookup_timeout
    }

    /// What it comes to when the timeout is over: the last answer for the account, or a refusal.
    ///
    /// # Errors
    ///
    /// There is no last answer, or it is too old.
    pub fn timed_out(mut self) -> Result<Verifier, Rejection> {
        let _find = self.find.take();
        // Also if another request has begun it, whose thread may be blocked. The next request begins a new one.
        let over = self.running.over();
        over.unwrap_or_else(|| self.settle(Err(RejectionKind::LookupTooSlow.into())))
    }

    /// The refusal if there is no runtime for its task, or the runtime drops it.
    #[must_use]
    pub fn failed(&self) -> Rejection {
        self.refused(RejectionKind::LookupFailed).with_source("no async runtime ran it to its end")
    }

    /// A refusal of the request that waits for it, such as of one whose sender hangs up. It says for which account it was.
    #[must_use]
    pub fn refused(&self, kind: RejectionKind) -> Rejection {
        Rejection::from(kind).of(&self.account)
    }

    fn settle(&self, found: Result<Option<Verifier>, Rejection>) -> Outcome {
        let Self { registry, account, last, running, begun, .. } = self;
        let found = registry.limited(account, found);
        let failure = found.as_ref().err().cloned();
        let outcome = registry.settle(account, running, last.as_deref(), *begun, found);
        running.end(&outcome);
        if let Some(failure) = failure {
            registry.report(account, &failure, last.is_some());
        }
        outcome
    }
}

impl Future for Lookup {
    type Output = Result<Verifier, Rejection>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(find) = &mut self.find else { return self.running.poll(cx) };
        let found = match catch_unwind(AssertUnwindSafe(|| find.as_mut().poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(found)) => found
                .map_err(|error| Rejection::from(RejectionKind::LookupFailed).with_source(error)),
            Err(_) => Err(panicked()),
        };
        // Dropped last, because that may panic.
        let _find = self.find.take();
        Poll::Ready(self.settle(found))
    }
}

/// Others wait for it, if it is dropped before its end.
impl Drop for Lookup {
    fn drop(&mut self) {
        let find = self.find.take();
        if find.is_some() {
            _ = self.settle(Err(RejectionKind::LookupFailed.into()));
        }
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").field("account", &self.account).finish_non_exhaustive()
    }
}

pub(super) fn panicked() -> Rejection {
    Rejection::from(RejectionKind::LookupFailed).with_source("a function of the app has panicked")
}

/// What the requests have in common that wait for the same lookup.
#[derive(Default)]
pub(super) struct Running(Mutex<State>);

enum State {
    Waiting(Vec<Waker>),
    Over(Outcome),
}

impl Default for State {
    fn default() -> Self {
        Self::Waiting(Vec::new())
    }
}

impl Running {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Outcome> {
        match &mut *self.state() {
            State::Over(outcome) => Poll::Ready(outcome.clone()),
            State::Waiting(wakers) => {
                if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    wakers.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    fn over(&self) -> Option<Outcome> {
        match &*self.state() {
            State::Over(outcome) => Some(outcome.clone()),
            State::Waiting(_) => None,
        }
    }

    fn end(&self, outcome: &Outcome) {
        let mut state = self.state();
        // The first outcome is for all.
        let State::Waiting(wakers) = &mut *state else { return };
        let wakers = mem::take(wakers);
        *state = State::Over(outcome.clone());
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
