use std::{
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use apalis_core::error::BoxDynError;
use futures_util::{FutureExt, future::join_all};
use tokio::{select, sync::Semaphore, time::sleep};
use tokio_util::sync::{CancellationToken, PollSemaphore};
use ulid::Ulid;

use crate::{
    AcceptedEvent, InboxError, STORE_TIMEOUT,
    engine::{Engine, SWEEP_STEP},
    work::{Handler, InHand, Job, Shift},
};

/// How many events one worker has in hand at a time: 16.
///
/// Handlers of documents mostly wait for databases and other services, so that a few more than
/// there are cores keep a machine busy; a worker of more would hold on to events that another
/// machine could have.
pub const DEFAULT_CONCURRENCY: usize = 16;

/// How often an event is tried: 16 times.
///
/// With the default backoff the last attempt is more than an hour after the first, so that an
/// outage of an hour makes no dead letters.
pub const DEFAULT_ATTEMPTS: u32 = 16;

/// How long a failed event rests after its first attempt: 1 second, doubled after each.
pub const DEFAULT_BACKOFF: Duration = Duration::from_secs(1);

/// The longest that a failed event rests: 10 minutes.
pub const DEFAULT_MAX_BACKOFF: Duration = Duration::from_secs(600);

/// How long a worker that is not heard of keeps its events: 20 seconds.
///
/// A worker renews its lease four times as often, whatever its handlers do. So this is how long an
/// event waits whose worker crashed, and how long a worker may be held up (a pause of its machine,
/// handlers that block its runtime) without its events being handled twice.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(20);

/// The shortest lease: 4 seconds, since stores keep the time of a heartbeat in whole ones.
pub const MIN_LEASE: Duration = Duration::from_secs(4);

/// The longest lease: 1 hour. Whatever crashed is back by then.
pub const MAX_LEASE: Duration = Duration::from_secs(3_600);

/// The longest rest that can be set: 30 days. Not every store knows the ends of all durations.
const LONGEST_REST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long the key of a finished event stays known: 7 days.
///
/// The vendor retries up to three times with exponential backoff, and does not publish how far
/// apart: a week is longer than webhook senders retry that do publish it, which is three days.
pub const DEFAULT_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

const HEARTBEATS_PER_LEASE: u32 = 4;

/// When every worker has renewed its lease on a store that is back: what it was doing has failed by
/// then, and it has tried again.
const RENEWED_BY_ALL: Duration = STORE_TIMEOUT.saturating_add(Duration::from_secs(1));

/// How often a worker looks for what its retention has run out of, unless that is shorter.
const SWEEP_INTERVAL: Duration = Duration::from_secs(600);

/// How long it waits where there was more than it took at once.
const BETWEEN_SWEEPS: Duration = Duration::from_millis(100);

/// How long a worker waits before it starts anew when the store failed.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

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
    concurrency: usize,
    retention: Duration,
}

pub(crate) struct Settings {
    pub(crate) attempts: u32,
    pub(crate) lease: Duration,
    first_backoff: Duration,
    max_backoff: Duration,
}

impl Settings {
    pub(crate) fn heartbeat(&self) -> Duration {
        self.lease / HEARTBEATS_PER_LEASE
    }

    /// How long an event rests after an attempt.
    pub(crate) fn backoff(&self, attempt: u32) -> Duration {
        let factor = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first_backoff.saturating_mul(factor).min(self.max_backoff)
    }
}

impl Worker {
    pub(crate) fn new<H, F, E>(engine: Arc<dyn Engine>, handler: H) -> Self
    where
        H: Fn(AcceptedEvent) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxDynError>,
    {
        let handler = move |event| {
            let handled = handler(event);
            async { handled.await.map_err(Into::into) }.boxed()
        };
        let settings = Settings {
            attempts: DEFAULT_ATTEMPTS,
            lease: DEFAULT_LEASE,
            first_backoff: DEFAULT_BACKOFF,
            max_backoff: DEFAULT_MAX_BACKOFF,
        };
        Self {
            engine,
            handler: Box::new(handler),
            settings,
            concurrency: DEFAULT_CONCURRENCY,
            retention: DEFAULT_RETENTION,
        }
    }

    /// How many events it has in hand at a time; [`DEFAULT_CONCURRENCY`] unless it is set.
    ///
    /// # Panics
    ///
    /// It is zero.
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        assert!(concurrency > 0, "a worker of concurrency 0 does nothing");
        self.concurrency = concurrency;
        self
    }

    /// How often an event is tried before it is a dead letter; [`DEFAULT_ATTEMPTS`] unless it is
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
    /// never longer than `longest` or 30 days; [`DEFAULT_BACKOFF`] and [`DEFAULT_MAX_BACKOFF`]
    /// unless it is set. SQLite keeps whole seconds, rounded up.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.settings.first_backoff = first;
        self.settings.max_backoff = longest.min(LONGEST_REST);
        self
    }

    /// How long events stay with a worker that is not heard of; [`DEFAULT_LEASE`] unless it is
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

    /// How long the key of a finished event stays known, to the second; [`DEFAULT_RETENTION`]
    /// unless it is set. Of an event that is not finished, or is a dead letter, it is known for as
    /// long as it is there.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Works until the signal is ready, and then finishes what it has in hand.
    ///
    /// It does not fail: while the store is away it waits for it, and says so in the log. A worker
    /// whose future is dropped claims nothing more; what it has in hand goes on, without a lease.
    pub async fn run_until(self, signal: impl Future<Output = ()>) {
        let stop = CancellationToken::new();
        let mut work = pin!(self.run(stop.clone()));
        select! {
            () = &mut work => {}
            () = signal => {
                stop.cancel();
                work.await;
            }
        }
    }

    async fn run(self, stop: CancellationToken) {
        let Self { engine, handler, settings, concurrency, retention } = self;
        let (lease, heartbeat) = (settings.lease, settings.heartbeat());
        let shifts = Shifts {
            engine: Arc::clone(&engine),
            started: Mutex::default(),
            is_away: AtomicBool::default(),
        };
        let permits = PollSemaphore::new(Arc::new(Semaphore::new(concurrency)));
        let job = Arc::new(Job { engine: Arc::clone(&engine), handler, settings, stop });
        let work = async {
            while !job.stop.is_cancelled() {
                let (worker, in_hand) = shifts.start();
                let shift =
                    Shift { worker, job: Arc::clone(&job), permits: permits.clone(), in_hand };
                // A name is used once, so what a store has of an earlier worker never stands in
                // the way. What of apalis panics is a failure like others.
                let ended = AssertUnwindSafe(engine.work(shift)).catch_unwind().await;
                shifts.end(ended.map_err(|_| "it panicked"), &job.stop);
                while !job.stop.is_cancelled() {
                    sleep(RESTART_PAUSE).await;
                    // What goes on of earlier shifts keeps its lease, before a new worker could
                    // take it for abandoned.
                    if shifts.keep_alive().await {
                        break;
                    }
                }
            }
            shifts.finish(lease).await;
        };
        let keep_alive = async {
            let mut since = Instant::now();
            loop {
                let pause = match shifts.keep_alive().await {
                    true => heartbeat,
                    false => {
                        since = Instant::now();
                        RESTART_PAUSE
                    }
                };
                // While the store is away nobody can renew a lease. So a worker takes others for
                // dead only after it could renew its own for as long as theirs last.
                if since.elapsed() > lease.max(RENEWED_BY_ALL) {
                    shifts.reap(lease).await;
                }
                sleep(pause).await;
            }
        };
        select! {
            () = work => {}
            () = keep_alive => {}
            () = sweep(&*engine, retention) => {}
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("concurrency", &self.concurrency)
            .field("attempts", &self.settings.attempts)
            .field("lease", &self.settings.lease)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}

/// The workers of apalis' that one [`Worker`] has been, one after the other: the last is running,
/// of those before it attempts may be.
struct Shifts {
    engine: Arc<dyn Engine>,
    started: Mutex<Vec<Started>>,
    is_away: AtomicBool,
}

#[derive(Clone)]
struct Started {
    worker: String,
    in_hand: InHand,
    has_ended: bool,
}

impl Shifts {
    fn start(&self) -> (String, InHand) {
        let (worker, in_hand) = (format!("number7-{}", Ulid::generate()), InHand::default());
        let started =
            Started { worker: worker.clone(), in_hand: in_hand.clone(), has_ended: false };
        self.lock().push(started);
        (worker, in_hand)
    }

    fn end(&self, ended: Result<Result<(), BoxDynError>, &str>, stop: &CancellationToken) {
        if let Some(last) = self.lock().last_mut() {
            last.has_ended = true;
        }
        let error = match ended {
            Ok(Ok(())) if stop.is_cancelled() => return,
            Ok(Ok(())) => "it ended by itself".into(),
            Ok(Err(error)) => error.to_string(),
            Err(panicked) => panicked.to_owned(),
        };
        tracing::warn!(target: "number7", "the worker starts anew: {error}");
    }

    /// Renews all leases, and gives back what nobody will begin. False if the store failed, which
    /// the log has once for each outage.
    async fn keep_alive(&self) -> bool {
        let started = self.lock().clone();
        for shift in &started {
            if let Err(error) = self.keep_one_alive(shift).await {
                if !self.is_away.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        target: "number7", worker = shift.worker,
                        "could not renew a lease, and tries again until it can: {error}"
                    );
                }
                return false;
            }
        }
        if self.is_away.swap(false, Ordering::Relaxed) {
            tracing::info!(target: "number7", "the leases are renewed again");
        }
        true
    }

    async fn reap(&self, lease: Duration) {
        if let Err(error) = self.engine.reap(lease).await {
            tracing::warn!(target: "number7", "could not look for abandoned events: {error}");
        }
    }

    async fn keep_one_alive(&self, shift: &Started) -> Result<(), InboxError> {
        if shift.has_ended {
            // The store may have claimed more for it, and the answer was lost.
            let in_hand = shift.in_hand.tasks();
            self.engine.release(&shift.worker, &in_hand).await?;
            if in_hand.is_empty() {
                self.lock().retain(|known| known.worker != shift.worker);
                return Ok(());
            }
        }
        self.engine.keep_alive(&shift.worker).await
    }

    /// Waits for all attempts, and gives back what was claimed and not begun.
    async fn finish(&self, lease: Duration) {
        let started = self.lock().clone();
        join_all(started.into_iter().map(async |Started { worker, in_hand, .. }| {
            in_hand.end().await;
            if let Err(error) = self.engine.release(&worker, &[]).await {
                tracing::warn!(
                    target: "number7", worker, ?lease,
                    "what the worker has claimed is free only when its lease ends: {error}"
                );
            }
        }))
        .await;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Started>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets what was finished long enough ago, now and then.
async fn sweep(engine: &dyn Engine, retention: Duration) {
    let pause = (retention / 4).clamp(Duration::from_secs(1), SWEEP_INTERVAL);
    loop {
        let swept = engine.sweep(retention).await;
        if let Err(error) = &swept {
            tracing::warn!(target: "number7", "could not forget old events: {error}");
        }
        let is_more = swept.is_ok_and(|swept| swept >= u64::from(SWEEP_STEP));
        sleep(if is_more { BETWEEN_SWEEPS } else { pause }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(first: u64, longest: u64) -> Settings {
        Settings {
            attempts: DEFAULT_ATTEMPTS,
            lease: DEFAULT_LEASE,
            first_backoff: Duration::from_secs(first),
            max_backoff: Duration::from_secs(longest),
        }
    }

    #[test]
    fn the_backoff_doubles_up_to_its_longest() {
        let backoff = |attempt| settings(1, 600).backoff(attempt).as_secs();
        assert_eq!([1, 2, 3, 10, 11, 16].map(backoff), [1, 2, 4, 512, 600, 600]);
        assert_eq!(settings(1, 600).backoff(u32::MAX), Duration::from_secs(600));
        assert_eq!(settings(0, 600).backoff(9), Duration::ZERO);
    }

    #[test]
    fn the_default_backoff_rides_out_an_hour() {
        let rest = (1..DEFAULT_ATTEMPTS).map(|attempt| settings(1, 600).backoff(attempt));
        assert!(rest.sum::<Duration>() > Duration::from_secs(3_600));
    }
}
