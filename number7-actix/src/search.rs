use std::{
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use actix_web::rt::{
    task::yield_now,
    time::{Sleep, sleep},
};
use number7_core::{Rejection, adapter::Diagnosing};
use pin_project_lite::pin_project;
use tokio::runtime::Handle;

use crate::{error::note, log::Refusals};

pin_project! {
    /// A search for the cause of a mismatch that lets others have the thread.
    pub(crate) struct Search {
        refusal: Unnoted,
        #[pin]
        rest: Option<Sleep>,
    }
}

impl Search {
    pub(crate) fn new(diagnosing: Diagnosing, log: Refusals) -> Self {
        Self { refusal: Unnoted { diagnosing: Some(diagnosing), log }, rest: None }
    }
}

/// Ends with a rejection, which it has logged and counted.
impl Future for Search {
    type Output = Rejection;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Rejection> {
        let mut this = self.project();
        if let Some(rest) = this.rest.as_mut().as_pin_mut() {
            ready!(rest.poll(cx));
            this.rest.set(None);
        }
        let diagnosing = this.refusal.diagnosing.as_mut().expect("`Search` polled after its end");
        if let Some(rejection) = diagnosing.step() {
            this.refusal.note(&rejection);
            return Poll::Ready(rejection);
        }
        if let (Some(rest), Ok(_)) = (diagnosing.rest(), Handle::try_current()) {
            this.rest.set(Some(sleep(rest)));
            if let Some(rest) = this.rest.as_pin_mut() {
                // It may already be over, if this thread lost its processor meanwhile. Then nothing else would wake it.
                if rest.poll(cx).is_ready() {
                    cx.waker().wake_by_ref();
                }
            }
        } else {
            // Wakes it after the runtime has checked for I/O. To wake it at once would come before that, again and again.
            _ = pin!(yield_now()).poll(cx);
        }
        Poll::Pending
    }
}

/// A refusal that is logged and counted at the end of the search. If the sender hangs up, the framework drops the search, and
/// the refusal is logged and counted without its cause.
struct Unnoted {
    diagnosing: Option<Diagnosing>,
    log: Refusals,
}

impl Unnoted {
    fn note(&mut self, rejection: &Rejection) {
        self.diagnosing = None;
        note(rejection, &self.log);
    }
}

impl Drop for Unnoted {
    fn drop(&mut self) {
        if let Some(diagnosing) = &self.diagnosing {
            note(&diagnosing.abandoned(), &self.log);
        }
    }
}
