use std::{
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use actix_web::rt::{
    task::yield_now,
    time::{Sleep, sleep},
};
use number7_core::{Diagnosing, Rejection};
use pin_project_lite::pin_project;
use tokio::runtime::Handle;

pin_project! {
    /// A search for the cause of a mismatch that lets others have the thread.
    pub(crate) struct Search {
        diagnosing: Diagnosing,
        #[pin]
        rest: Option<Sleep>,
    }
}

impl Search {
    pub(crate) fn new(diagnosing: Diagnosing) -> Self {
        Self { diagnosing, rest: None }
    }
}

impl Future for Search {
    type Output = Rejection;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Rejection> {
        let mut this = self.project();
        if let Some(rest) = this.rest.as_mut().as_pin_mut() {
            ready!(rest.poll(cx));
            this.rest.set(None);
        }
        if let Some(rejection) = this.diagnosing.step() {
            return Poll::Ready(rejection);
        }
        if let (Some(rest), Ok(_)) = (this.diagnosing.rest(), Handle::try_current()) {
            this.rest.set(Some(sleep(rest)));
            if let Some(rest) = this.rest.as_pin_mut() {
                // It may be over already, if this thread lost its processor meanwhile. Then nobody else wakes it.
                if rest.poll(cx).is_ready() {
                    cx.waker().wake_by_ref();
                }
            }
        } else {
            // To be woken when the runtime has looked for I/O. Waking at once would come first, again and
            // again.
            _ = pin!(yield_now()).poll(cx);
        }
        Poll::Pending
    }
}
