use std::{
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use number7_core::{Diagnosing, Rejection};
use pin_project_lite::pin_project;
use tokio::{
    runtime::Handle,
    task::yield_now,
    time::{Sleep, sleep},
};

/// How many steps are done before a rest: half a millisecond of work.
const STEPS: u32 = 32;

/// How long the rest is: as short as the timer can. On a busy machine, a thread that never rests loses its
/// processor to others for milliseconds, and so do the neighbours on it.
const REST: Duration = Duration::from_millis(1);

pin_project! {
    /// A search for the cause of a mismatch that lets others have the thread.
    pub(crate) struct Search {
        diagnosing: Diagnosing,
        steps: u32,
        #[pin]
        rest: Option<Sleep>,
    }
}

impl Search {
    pub(crate) fn new(diagnosing: Diagnosing) -> Self {
        Self { diagnosing, steps: 0, rest: None }
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
        *this.steps += 1;
        if this.steps.is_multiple_of(STEPS) && Handle::try_current().is_ok() {
            this.rest.set(Some(sleep(REST)));
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
