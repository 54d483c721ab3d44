use std::{fmt, future::Future, panic::resume_unwind, pin::pin, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::{select, sync::Notify, task::JoinError};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    AcceptedEvent, BoxError, MAX_LEASE, MIN_LEASE, attempt::Handler, engine::Engine,
    settings::Settings, work::work,
};

/// The longest rest that can be set: 30 days. Not every store knows the ends of all durations.
const LONGEST_REST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Runs an async function for each accepted event.
///
/// Made by [`Inbox::worker`](crate::Inbox::worker), configured by value, and run by
/// [`run_until`](Self::run_until). Any number of workers, in any number of processes, can run on
/// one inbox.
///
/// An event is handled at least once: a handler that was killed between its effect and the record
/// of it is run again. `Err` and a panic cost one attempt; after the last the event is a
/// [dead letter](crate::Inbox::dead_letters). While the store is away the worker waits for it, and
/// records what ended meanwhile.
#[must_use = "a worker does nothing unless it is run"]
pub struct Worker {
    engine: Arc<dyn Engine>,
    handler: Box<Handler>,
    settings: Settings,
    news: Arc<Notify>,
}

impl Worker {
    pub(crate) fn new<H, F, E>(engine: Arc<dyn Engine>, news: Arc<Notify>, handler: H) -> Self
    where
        H: Fn(AcceptedEvent) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let handler = move |event| {
            let handled = handler(event);
            async { handled.await.map_err(Into::into) }.boxed()
        };
        Self { engine, handler: Box::new(handler), settings: Settings::default(), news }
    }

    /// How many events it has in hand at a time; [`DEFAULT_CONCURRENCY`](crate::DEFAULT_CONCURRENCY) unless it is set.
    ///
    /// # Panics
    ///
    /// It is zero.
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        assert!(concurrency > 0, "a worker of concurrency 0 does nothing");
        self.settings.concurrency = concurrency;
        self
    }

    /// How often an event is tried before it is a dead letter; [`DEFAULT_ATTEMPTS`](crate::DEFAULT_ATTEMPTS) unless it is
    /// set. An attempt that a crash ended counts.
    ///
    /// # Panics
    ///
    /// It is zero.
    pub fn attempts(mut self, attempts: u32) -> Self {
        assert!(attempts > 0, "an event that is tried 0 times is never handled");
        self.settings.attempts = attempts;
        self
    }

    /// How long a failed event rests: `first` after the first attempt, doubled after each, and
    /// never longer than `longest` or 30 days; [`DEFAULT_BACKOFF`](crate::DEFAULT_BACKOFF) and [`DEFAULT_MAX_BACKOFF`](crate::DEFAULT_MAX_BACKOFF)
    /// unless it is set. SQLite keeps whole seconds, rounded up.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.settings.first_backoff = first;
        self.settings.max_backoff = longest.min(LONGEST_REST);
        self
    }

    /// How long events stay with a worker that is not heard of; [`DEFAULT_LEASE`](crate::DEFAULT_LEASE) unless it is
    /// set. All workers of one inbox should have the same.
    ///
    /// # Panics
    ///
    /// It is shorter than [`MIN_LEASE`] or longer than [`MAX_LEASE`].
    pub fn lease(mut self, lease: Duration) -> Self {
        let range = MIN_LEASE..=MAX_LEASE;
        assert!(range.contains(&lease), "a lease of {lease:?} is not within {range:?}");
        self.settings.lease = lease;
        self
    }

    /// How long the key of a finished event stays known, to the second; [`DEFAULT_RETENTION`](crate::DEFAULT_RETENTION)
    /// unless it is set. Of an event that is not finished, or is a dead letter, it is known for as
    /// long as it is there.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.settings.retention = retention;
        self
    }

    /// Works until the signal is ready, and then finishes what it has in hand.
    ///
    /// It does not fail: while the store is away it waits for it, and says so in the log. A worker
    /// whose future is dropped claims nothing more. Its handlers go on without a lease, and their
    /// ends are recorded unless another worker has begun their events by then.
    pub async fn run_until(self, signal: impl Future<Output = ()>) {
        let Self { engine, handler, settings, news } = self;
        let stop = CancellationToken::new();
        let work = work(engine, handler, settings, news, stop.clone());
        // A task, so that it does not wait for whatever else its caller polls.
        let mut work = pin!(AbortOnDropHandle::new(tokio::spawn(work)));
        let ended = select! {
            ended = &mut work => ended,
            () = signal => {
                stop.cancel();
                work.await
            }
        };
        if let Err(Ok(panic)) = ended.map_err(JoinError::try_into_panic) {
            resume_unwind(panic);
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("settings", &self.settings).finish_non_exhaustive()
    }
}
