//! One call of a handler, step by step.

use std::{
    future::{Future, poll_fn},
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    task::Poll,
    time::{Duration, Instant},
};

use tokio::time::timeout;

use crate::{Failure, model::error_text::text_of_panic};

/// How long a call may take: 1 minute by tokio's clock. A handler that needs longer should snooze.
const LONGEST_CALL: Duration = Duration::from_secs(60);

/// The result of a call.
pub(super) struct Called {
    pub(super) end: Ended,
    /// The longest time that the handler was in its code between two await points.
    pub(super) longest_poll: Duration,
}

/// How a call ended.
pub(super) enum Ended {
    Returned(Result<(), Failure>),
    Panicked(String),
    /// Its future was dropped.
    Dropped,
    /// It took longer than [`LONGEST_CALL`].
    TooSlow,
}

/// Polls a handler to its end. `at` is called before the first poll and at each await point, with the number of polls so far.
/// If `at` breaks, the future is dropped there.
pub(super) async fn call(
    handled: impl Future<Output = Result<(), Failure>>,
    mut at: impl FnMut(usize) -> ControlFlow<()>,
) -> Called {
    let (mut handled, mut polls) = (Some(Box::pin(handled)), 0);
    let mut longest_poll = Duration::ZERO;
    let polled = poll_fn(|context| {
        if polls == 0 && at(0).is_break() {
            return Poll::Ready(Ended::Dropped);
        }
        let Some(future) = &mut handled else { return Poll::Ready(Ended::Dropped) };
        let begun = Instant::now();
        let polled = caught(|| future.as_mut().poll(context).map(Ended::Returned));
        longest_poll = longest_poll.max(begun.elapsed());
        polls += 1;
        match polled {
            Poll::Pending if at(polls).is_break() => Poll::Ready(Ended::Dropped),
            polled => polled,
        }
    });
    let end = timeout(LONGEST_CALL, polled).await.unwrap_or(Ended::TooSlow);
    // Destructors can panic as well.
    let dropped = caught(|| {
        handled = None;
        Poll::Pending
    });
    let end = if let Poll::Ready(panicked) = dropped { panicked } else { end };
    Called { end, longest_poll }
}

fn caught(step: impl FnOnce() -> Poll<Ended>) -> Poll<Ended> {
    catch_unwind(AssertUnwindSafe(step))
        .unwrap_or_else(|panic| Poll::Ready(Ended::Panicked(text_of_panic(&*panic))))
}
