//! One worker as apalis runs it, and the attempts that it starts.

use std::{
    any::Any,
    collections::HashSet,
    convert::Infallible,
    error::Error,
    future::{Ready, ready},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use apalis_core::{
    backend::{
        Backend, BackendConfig, WireFormatBackend, codec::Codec, finalize::Durable,
        persistence::TaskPersistLayer,
    },
    error::BoxDynError,
    task::Task,
    worker::{
        builder::WorkerBuilder, context::WorkerContext, event::Event,
        ext::event_listener::EventListenerExt,
    },
};
use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    select,
    sync::{Notify, OwnedSemaphorePermit},
    time::{sleep, timeout},
};
use tokio_util::{
    sync::{CancellationToken, PollSemaphore},
    task::TaskTracker,
};
use tower_service::Service;

use crate::{
    AcceptedEvent, STORE_TIMEOUT, StoredEvent,
    engine::{Answer, Claim, Engine, Outcome},
    worker::Settings,
};

/// The longest error text that is kept of an attempt, in bytes.
const MAX_ERROR_LENGTH: usize = 2_000;

/// The pauses between tries to record how an attempt ended.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A handler, without its types.
pub(crate) type Handler =
    dyn Fn(AcceptedEvent) -> BoxFuture<'static, Result<(), BoxDynError>> + Send + Sync;

/// What all attempts of a worker share.
pub(crate) struct Job {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) handler: Box<Handler>,
    pub(crate) settings: Settings,
    pub(crate) stop: CancellationToken,
}

/// One worker of apalis', from its registration to its end or its failure. The attempts that it
/// started outlive it.
pub(crate) struct Shift {
    pub(crate) worker: String,
    pub(crate) job: Arc<Job>,
    pub(crate) permits: PollSemaphore,
    pub(crate) in_hand: InHand,
}

/// The attempts of one worker of apalis', by their tasks.
#[derive(Clone, Default)]
pub(crate) struct InHand {
    running: TaskTracker,
    tasks: Arc<Mutex<HashSet<String>>>,
}

impl InHand {
    fn begin(&self, task: String, attempt: impl Future<Output = ()> + Send + 'static) {
        self.lock().insert(task.clone());
        let held = Held(self.clone(), task);
        self.running.spawn(async move {
            attempt.await;
            drop(held);
        });
    }

    pub(crate) fn tasks(&self) -> Vec<String> {
        self.lock().iter().cloned().collect()
    }

    /// Waits for the last attempt. There must be no more to come.
    pub(crate) async fn end(&self) {
        self.running.close();
        self.running.wait().await;
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shift {
    /// After how many missed heartbeats apalis would take a worker for dead: never, or nearly so.
    /// When that is true, [`Worker`](crate::Worker) decides.
    pub(crate) const MISSED_HEARTBEATS: usize = 1_000_000;

    pub(crate) fn heartbeat(&self) -> Duration {
        self.job.settings.heartbeat()
    }

    /// Runs until the worker is to stop, or cannot go on.
    pub(crate) async fn run<B, C>(self, backend: B) -> Result<(), BoxDynError>
    where
        B: Backend<Task = Task<Vec<u8>>>
            + BackendConfig<
                Args = StoredEvent,
                Kind = Durable,
                Layer = TaskPersistLayer<C, C::Compact>,
            > + WireFormatBackend<Codec = Verbatim, Compact = Vec<u8>>
            + Send
            + Unpin
            + 'static,
        C: Codec<(), Error: Error> + Clone + Send + Sync + 'static,
        C::Compact: Send + 'static,
    {
        let context = WorkerContext::new(&self.worker);
        let (worker, job) = (self.worker.clone(), Arc::clone(&self.job));
        let lease = job.settings.lease;
        let alive = Arc::new(Notify::new());
        let beat = Arc::clone(&alive);
        let runner = Runner { shift: self, permit: None };
        let run = WorkerBuilder::new(&context)
            .backend(backend)
            .on_event(move |_, event| {
                if matches!(event, Event::HeartBeat) {
                    beat.notify_one();
                }
            })
            .build(runner)
            .run();
        // apalis waits without end for a store that does not answer. Where it does, it dates its
        // registration by the clock of this machine; a renewal dates it by the store's.
        let stalled = async {
            while timeout(lease + STORE_TIMEOUT, alive.notified()).await.is_ok() {
                _ = job.engine.keep_alive(&worker).await;
            }
        };
        let stopped = async {
            job.stop.cancelled().await;
            // A worker that has not started yet cannot be stopped.
            while context.stop().is_err() {
                sleep(FIRST_PAUSE).await;
            }
            sleep(STORE_TIMEOUT).await;
        };
        select! {
            ended = run => Ok(ended?),
            () = stalled => Err("the store did not answer for a whole lease".into()),
            () = stopped => Ok(()),
        }
    }
}

/// In hand until it is dropped.
struct Held(InHand, String);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}

/// The bytes as they were signed, in the place of apalis' JSON codec.
#[derive(Clone, Copy)]
pub(crate) struct Verbatim;

impl Codec<StoredEvent> for Verbatim {
    type Error = Infallible;
    type Compact = Vec<u8>;

    fn encode(&self, event: &StoredEvent) -> Result<Vec<u8>, Infallible> {
        Ok(event.json().to_vec())
    }

    fn decode(&self, json: &Vec<u8>) -> Result<StoredEvent, Infallible> {
        Ok(StoredEvent::new(json.clone()))
    }
}

/// Starts the attempts. It answers apalis at once: apalis does not poll its store while it waits
/// for handlers to end, nor does it keep them when the store fails.
struct Runner {
    shift: Shift,
    permit: Option<OwnedSemaphorePermit>,
}

impl Service<Task<StoredEvent>> for Runner {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.permit.is_none() {
            self.permit = ready!(self.shift.permits.poll_acquire(cx));
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<StoredEvent>) -> Self::Future {
        let permit = self.permit.take();
        let claim = Claim {
            task: task.task_id().map(ToString::to_string).unwrap_or_default(),
            worker: self.shift.worker.clone(),
            attempt: u32::try_from(task.attempt()).unwrap_or(u32::MAX).saturating_add(1),
        };
        let key = task.idempotency_key().unwrap_or_default().to_owned();
        let job = Arc::clone(&self.shift.job);
        self.shift.in_hand.begin(claim.task.clone(), async move {
            job.attempt(claim, key, task.args).await;
            drop(permit);
        });
        ready(Ok(()))
    }
}

impl Job {
    /// One attempt, with its record.
    async fn attempt(&self, claim: Claim, key: String, stored: StoredEvent) {
        if !self.persist(&key, || self.engine.begin(&claim)).await {
            return;
        }
        let attempts = self.settings.attempts;
        let event = AcceptedEvent { stored, key: key.clone(), attempt: claim.attempt, attempts };
        // Whatever ends the process would end it again and again.
        let ended = match claim.attempt > attempts {
            true => Err("the process ended in the middle of the last attempt".into()),
            false => self.handle(event).await,
        };
        let outcome = match ended {
            Ok(()) => Outcome::Done,
            Err(error) if claim.attempt >= attempts => {
                tracing::error!(
                    target: "number7", key, attempt = claim.attempt,
                    "the last attempt failed, the event is a dead letter: {error}"
                );
                Outcome::Dead { error }
            }
            Err(error) => {
                let after = self.settings.backoff(claim.attempt);
                tracing::warn!(
                    target: "number7", key, attempt = claim.attempt, ?after,
                    "an attempt failed and will be repeated: {error}"
                );
                Outcome::Retry { after, error }
            }
        };
        self.persist(&key, || self.engine.finish(&claim, &outcome)).await;
    }

    /// Calls the handler. A panic is an error like others.
    async fn handle(&self, event: AcceptedEvent) -> Result<(), String> {
        // The text of an error is the user's code as well.
        let handled = async { (self.handler)(event).await.map_err(|error| text_of_error(&*error)) };
        let handled = AssertUnwindSafe(handled).catch_unwind().await;
        handled.unwrap_or_else(|panic| Err(text_of_panic(&*panic)))
    }

    /// Writes to the store, however long it is away: before the handler is called, since an attempt
    /// that nobody counted could end every process, and after it, since only this keeps its effects
    /// from being there twice. A worker that is to stop does not wait for longer than the lease
    /// that it would hold. False if the event is not this attempt's any more, or it gave up.
    async fn persist<'a>(&self, key: &str, write: impl Fn() -> Answer<'a, bool>) -> bool {
        let (begun, mut pause) = (Instant::now(), FIRST_PAUSE);
        loop {
            match write().await {
                Ok(true) => return true,
                Ok(false) => {
                    tracing::warn!(target: "number7", key, "the lease of an attempt was lost");
                    return false;
                }
                Err(error) if self.gives_up(begun) => {
                    tracing::error!(
                        target: "number7", key,
                        "could not record an attempt, it will be repeated: {error}"
                    );
                    return false;
                }
                Err(error) if pause == FIRST_PAUSE => {
                    tracing::warn!(
                        target: "number7", key,
                        "could not record an attempt, and tries again until it can: {error}"
                    );
                }
                Err(_) => {}
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn gives_up(&self, begun: Instant) -> bool {
        self.stop.is_cancelled() && begun.elapsed() > self.settings.lease
    }
}

/// An error and its sources.
fn text_of_error(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    storable(&text)
}

fn text_of_panic(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    storable(&format!("panicked: {}", text.unwrap_or("with something that is no text")))
}

/// A text that fits, and that every store takes: no JSON of PostgreSQL has a NUL.
fn storable(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_ERROR_LENGTH);
    text[..end].replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use std::{fmt, io};

    use super::*;

    #[derive(Debug)]
    struct Outer(io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn an_error_is_kept_with_its_sources() {
        assert_eq!(text_of_error(&Outer(io::Error::other("inner"))), "outer: inner");
    }

    #[test]
    fn a_panic_is_kept_with_its_text() {
        assert_eq!(text_of_panic(&"a literal"), "panicked: a literal");
        assert_eq!(text_of_panic(&"a text".to_owned()), "panicked: a text");
        assert_eq!(text_of_panic(&7), "panicked: with something that is no text");
    }

    #[test]
    fn what_is_kept_fits_the_store() {
        assert_eq!(storable("a\0b"), "a\u{fffd}b");
        assert_eq!(storable(&"ä".repeat(MAX_ERROR_LENGTH)).len(), MAX_ERROR_LENGTH);
        assert_eq!(storable(&format!("x{}", "ä".repeat(MAX_ERROR_LENGTH))).len(), 1_999);
    }
}
