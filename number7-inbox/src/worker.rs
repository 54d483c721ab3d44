pub(crate) mod accepted;
pub(crate) mod attempt;
mod fair_share;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod finish_in;
pub(crate) mod held_claim;
mod moment;
pub(crate) mod pause;
mod pause_log;
pub(crate) mod run;
pub(crate) mod run_summary;
pub(crate) mod running;
mod upkeep;

use std::{
    fmt,
    future::{Future, pending},
    panic::resume_unwind,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;
use number7_core::{Account, Fetch};
use tokio::{select, task::JoinError};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use self::{
    accepted::AcceptedEvent,
    pause::Pause,
    run::{Job, work},
    run_summary::RunSummary,
};
use crate::{
    expectations::reconcile::{self, NoClient, Reconcile},
    model::{
        entry::Entry,
        error::BoxError,
        expectation::Rest,
        failure::Failure,
        options::Polling,
        settings::{LONGEST_REST, MAX_LEASE, MIN_LEASE, SHORTEST_FETCH_REST, Settings},
    },
    store::Store,
};

/// Runs an async function for each accepted event.
///
/// Made by [`Inbox::worker`](crate::Inbox::worker), configured by value, and run by [`run`](Self::run) or
/// [`run_until`](Self::run_until). Any number of workers, in any number of processes, can run on
/// one inbox.
///
/// An event is handled at least once: a handler that was killed between its effect and the record of it is run again. `Err` and
/// a panic cost one attempt; after the last the event is a [dead letter](crate::State::Dead). While the store is away the
/// worker waits for it. Then it records the attempts that ended meanwhile.
#[must_use = "a worker does nothing unless it is run"]
pub struct Worker {
    pub(crate) job: Job,
    pause: Pause,
}

impl Worker {
    pub(crate) fn new<H, F, E>(
        inbox: String,
        store: Arc<dyn Store>,
        polling: Polling,
        handler: H,
    ) -> Self
    where
        H: Fn(AcceptedEvent) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Failure>,
    {
        let handler = move |event| {
            let handled = handler(event);
            async { handled.await.map_err(Into::into) }.boxed()
        };
        let (pause, paused) = Pause::new();
        let handler = Box::new(handler);
        let settings = Settings { polling, ..Settings::default() };
        let job = Job {
            inbox,
            store,
            handler,
            on_dead_letter: None,
            reconcile: None,
            settings,
            paused,
            stops_when_idle: false,
        };
        Self { job, pause }
    }

    /// How many events it runs at a time;
    /// [`DEFAULT_CONCURRENCY`](crate::DEFAULT_CONCURRENCY) unless it is set.
    ///
    /// # Panics
    ///
    /// It is zero.
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        assert!(concurrency > 0, "a worker of concurrency 0 does nothing");
        self.job.settings.concurrency = concurrency;
        self
    }

    /// How often an event is tried before it is a dead letter;
    /// [`DEFAULT_ATTEMPTS`](crate::DEFAULT_ATTEMPTS) unless it is set. An attempt that a crash
    /// ended counts, unless the event was claimed ahead of a handler.
    ///
    /// # Panics
    ///
    /// It is zero.
    pub fn attempts(mut self, attempts: u32) -> Self {
        assert!(attempts > 0, "an event that is tried 0 times is never handled");
        self.job.settings.attempts = attempts;
        self
    }

    /// How long a failed event waits for its next attempt: `first` after the first attempt, doubled after
    /// each, up to `longest`. The defaults are [`DEFAULT_BACKOFF`](crate::DEFAULT_BACKOFF) and
    /// [`DEFAULT_MAX_BACKOFF`](crate::DEFAULT_MAX_BACKOFF). Up to a quarter of the wait is added, so that
    /// events that failed together are not retried together. The whole wait is at most 30 days.
    ///
    /// # Panics
    ///
    /// `first` is longer than `longest`.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        assert_grows(first, longest);
        self.job.settings.first_backoff = first;
        self.job.settings.max_backoff = longest.min(LONGEST_REST);
        self
    }

    /// How long a worker that is silent keeps its events; [`DEFAULT_LEASE`](crate::DEFAULT_LEASE) unless it is
    /// set. All workers of one inbox should have the same.
    ///
    /// # Panics
    ///
    /// It is shorter than [`MIN_LEASE`] or longer than [`MAX_LEASE`].
    pub fn lease(mut self, lease: Duration) -> Self {
        let range = MIN_LEASE..=MAX_LEASE;
        assert!(range.contains(&lease), "a lease of {lease:?} is not within {range:?}");
        self.job.settings.lease = lease;
        self
    }

    /// How long the key of a finished event stays known, to the second;
    /// [`DEFAULT_RETENTION`](crate::DEFAULT_RETENTION) unless it is set. The key of an unfinished event or
    /// a dead letter stays known as long as the event is there.
    ///
    /// # Panics
    ///
    /// It is zero: each retry of the vendor would be a new event.
    pub fn retention(mut self, retention: Duration) -> Self {
        assert!(!retention.is_zero(), "with a retention of 0 a repeated event is handled again");
        self.job.settings.retention = retention;
        self
    }

    /// How long the payload of an event is kept once it is done, to the second: as long as its key unless it is set.
    /// Then the payload is forgotten, and its key and history stay. Set it if documents' data must not stay longer
    /// than it is needed.
    ///
    /// Dead letters keep their payloads, because they can be requeued. All workers of one inbox should have the same.
    pub fn payload_retention(mut self, retention: Duration) -> Self {
        self.job.settings.payload_retention = Some(retention);
        self
    }

    /// How long dead letters are kept, to the second: forever unless it is set. Then they are
    /// forgotten, with their keys: nobody can requeue them any more, and a delivery of that event is
    /// new again. All workers of one inbox should have the same.
    ///
    /// # Panics
    ///
    /// It is zero: nobody could ever see a dead letter.
    pub fn dead_letter_retention(mut self, retention: Duration) -> Self {
        assert!(!retention.is_zero(), "with a retention of 0 nobody can see a dead letter");
        self.job.settings.dead_retention = Some(retention);
        self
    }

    /// How long one attempt may take. There is no limit unless it is set, because only the
    /// handler's author knows how long a document may need.
    ///
    /// After this time the handler's future is dropped at the await point where it is, and the
    /// attempt has failed. A handler that blocks its thread is not ended by this.
    ///
    /// The await point may be in the middle of anything, such as a statement that the database then still
    /// executes. Begin transactions by [`AcceptedEvent::begin`]: a `PgPool::begin` of sqlx 0.9.0 that is dropped
    /// leaves its transaction open, and loses what is written on that connection next.
    ///
    /// # Panics
    ///
    /// It is zero.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        assert!(!timeout.is_zero(), "a handler cannot end in no time");
        self.job.settings.timeout = Some(timeout);
        self
    }

    /// How long [`run_until`](Self::run_until) waits, after its signal, for its running attempts. There is no
    /// limit unless it is set.
    ///
    /// After the limit it drops the futures of their handlers, and releases their events: other workers
    /// begin them at once, and the attempts that were given up do not count. What [`timeout`](Self::timeout)
    /// says of a future that is dropped is true here as well. If the store does not answer then, the stop takes
    /// up to three seconds more. So set the limit at least four seconds below the time after which your service
    /// manager kills the process: Docker waits 10 seconds, Kubernetes 30, systemd 90.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.job.settings.shutdown_timeout = Some(timeout);
        self
    }

    /// Calls an async function for each event that has become a dead letter in this worker, for example to raise an alert. A
    /// worker has at most one such function.
    ///
    /// It is called after the store has confirmed the dead letter, but not if the process ends in between. If the
    /// lease of the last attempt expired, it may be called twice: for that, and again if the attempt then fails.
    /// [`run_until`](Self::run_until) waits for it, but not longer than the
    /// [`shutdown_timeout`](Self::shutdown_timeout) if one is set.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn handle(_: number7_inbox::AcceptedEvent) -> Result<(), std::io::Error> { Ok(()) }
    /// # async fn work(inbox: &number7_inbox::Inbox) {
    /// let worker = inbox.worker(handle).on_dead_letter(async |dead| {
    ///     eprintln!("{} is dead after {} attempts: {}", dead.key(), dead.attempts(), dead.error());
    /// });
    /// # worker.run_until(std::future::pending()).await;
    /// # }
    /// ```
    pub fn on_dead_letter<H, F>(mut self, hook: H) -> Self
    where
        H: Fn(Entry) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        self.job.on_dead_letter = Some(Arc::new(move |dead_letter| hook(dead_letter).boxed()));
        self
    }

    /// Fetches jobs that are [overdue](crate::Inbox::overdue) from the vendor: with the `Client` of
    /// `number7-client`, or with an async function of your own that takes the id of the job. Unless it is
    /// set, nothing is fetched.
    ///
    /// If it returns [`Fetched::Finished`](crate::Fetched::Finished), the event is stored under the key that
    /// its webhook would have had: the handler is called as usual, and a later webhook is a duplicate. Nobody
    /// signed such an event, and [`AcceptedEvent::origin`] says so. After anything else, an error, a
    /// panic, or [`FETCH_TIMEOUT`](crate::FETCH_TIMEOUT), the job is fetched again after a backoff.
    ///
    /// Only one worker of an inbox fetches at a time. If it dies, another takes over after its lease. Up to
    /// [`DEFAULT_FETCHES_AT_ONCE`](crate::DEFAULT_FETCHES_AT_ONCE) fetches run at a time, and
    /// [`DEFAULT_FETCHES_PER_MINUTE`](crate::DEFAULT_FETCHES_PER_MINUTE) begin in a minute, evenly spaced;
    /// [`fetch_limits`](Self::fetch_limits) and [`fetch_backoff`](Self::fetch_backoff) change that.
    ///
    /// # Example
    ///
    /// With a function of your own. A closure has to name the type of its argument: `|job: JobId|`.
    ///
    /// ```
    /// use number7_inbox::{AcceptedEvent, BoxError, Event, Fetched, Inbox, JobId};
    ///
    /// async fn fetch(job: JobId) -> Result<Fetched, BoxError> {
    ///     let Some(result) = get_result(&job).await? else { return Ok(Fetched::Unknown) };
    ///     if result["fileStatus"] != "done" {
    ///         return Ok(Fetched::StillRunning);
    ///     }
    ///     let event = serde_json::json!({
    ///         "event": "job.completed", "jobId": job, "fileStatus": "done",
    ///         "documentType": result["documentType"], "timestamp": "2026-04-22T10:00:00.000Z",
    ///     });
    ///     Ok(Fetched::Finished(Event::from_json(event.to_string())?))
    /// }
    ///
    /// # async fn get_result(_: &JobId) -> Result<Option<serde_json::Value>, BoxError> { Ok(None) }
    /// # async fn handle(_: AcceptedEvent) -> Result<(), BoxError> { Ok(()) }
    /// # async fn work(inbox: &Inbox) {
    /// inbox.worker(handle).reconcile(fetch).run_until(std::future::pending()).await;
    /// # }
    /// ```
    pub fn reconcile(self, fetch: impl Fetch) -> Self {
        let fetch = Arc::new(fetch);
        let fetch = move |account: Option<Account>, job| {
            let fetch = Arc::clone(&fetch);
            async move {
                match account {
                    None => fetch.fetch(job).await,
                    Some(account) => {
                        let text = "is of an account: use reconcile_accounts";
                        let text = format!("the job {text}, to ask with the client of {account}");
                        Err(NoClient(text).into())
                    }
                }
            }
            .boxed()
        };
        self.reconcile_by(Arc::new(fetch))
    }

    /// [`reconcile`](Self::reconcile) for an inbox that several accounts share. The function returns what asks the vendor about
    /// the jobs of an account, such as its `Client` of `number7-client`. `None` means that the account does not exist anymore.
    /// That counts like an answer that the vendor does not know the job, so the job is given up the tenth time.
    ///
    /// The function is called for each fetch, so keep the clients: each knows the rate limit of its account.
    ///
    /// # Example
    ///
    /// ```
    /// use std::collections::HashMap;
    ///
    /// use number7_client::Client;
    /// use number7_inbox::{Account, AcceptedEvent, BoxError, Inbox};
    ///
    /// async fn work(inbox: &Inbox, clients: &'static HashMap<Account, Client>) {
    ///     let client = async |account: Account| Ok::<_, BoxError>(clients.get(&account).cloned());
    ///     let worker = inbox.worker(handle).reconcile_accounts(move |account| client(account));
    ///     worker.run_until(std::future::pending()).await;
    /// }
    /// # async fn handle(_: AcceptedEvent) -> Result<(), BoxError> { Ok(()) }
    /// # _ = work;
    /// ```
    pub fn reconcile_accounts<C, F, E>(
        self,
        client: impl Fn(Account) -> F + Send + Sync + 'static,
    ) -> Self
    where
        C: Fetch,
        F: Future<Output = Result<Option<C>, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let fetch = move |account: Option<Account>, job| {
            let client = account.map(&client);
            async move {
                let client = match client {
                    Some(client) => client.await.map_err(Into::into)?,
                    None => {
                        let text = "the job is of no account: use Inbox::account";
                        return Err(NoClient(text.into()).into());
                    }
                };
                match client {
                    Some(client) => client.fetch(job).await,
                    None => Err(NoClient("there is none for its account".into()).into()),
                }
            }
            .boxed()
        };
        self.reconcile_by(Arc::new(fetch))
    }

    fn reconcile_by(mut self, fetch: Arc<reconcile::Fetch>) -> Self {
        let store = Arc::clone(&self.job.store);
        self.job.reconcile = Some(Reconcile { store, fetch });
        self
    }

    /// How many overdue jobs are fetched at a time, and how many in a minute.
    ///
    /// # Panics
    ///
    /// One of them is zero.
    pub fn fetch_limits(mut self, at_once: usize, per_minute: u32) -> Self {
        assert!(at_once > 0 && per_minute > 0, "with a limit of 0 nothing is ever fetched");
        self.job.settings.fetches_at_once = at_once;
        self.job.settings.fetches_per_minute = per_minute;
        self
    }

    /// How long to wait before the vendor is asked again about a job that is not finished: `first` after the first time,
    /// doubled after each, up to `longest`. Every wait is at least a second and at most 30 days. The defaults are
    /// [`DEFAULT_FETCH_BACKOFF`](crate::DEFAULT_FETCH_BACKOFF) and
    /// [`DEFAULT_MAX_FETCH_BACKOFF`](crate::DEFAULT_MAX_FETCH_BACKOFF).
    ///
    /// # Panics
    ///
    /// `first` is longer than `longest`.
    pub fn fetch_backoff(mut self, first: Duration, longest: Duration) -> Self {
        assert_grows(first, longest);
        // Without a minimum, the vendor would be asked as fast as the store can answer.
        let longest = longest.clamp(SHORTEST_FETCH_REST, LONGEST_REST);
        let first = first.clamp(SHORTEST_FETCH_REST, longest);
        self.job.settings.fetch_rest = Rest { first, longest };
        self
    }

    /// A handle that pauses and resumes this worker, even while it runs.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn handle(_: number7_inbox::AcceptedEvent) -> Result<(), std::io::Error> { Ok(()) }
    /// # async fn work(inbox: &number7_inbox::Inbox) {
    /// let worker = inbox.worker(handle);
    /// let pause = worker.pause();
    /// tokio::spawn(worker.run_until(std::future::pending()));
    /// pause.pause(); // while the database of invoices is being moved
    /// pause.resume();
    /// # }
    /// ```
    #[must_use]
    pub fn pause(&self) -> Pause {
        self.pause.clone()
    }

    /// Works until its future is dropped: [`run_until`](Self::run_until) without a signal, for a process that is stopped from
    /// outside. If it is killed, other workers handle its events after its lease.
    pub async fn run(self) {
        self.run_until(pending()).await;
    }

    /// Works until the signal is ready, and then finishes what is running.
    ///
    /// It does not fail: while the store is away it waits for it, and says so in the log. A worker
    /// whose future is dropped claims nothing more. Its handlers go on without a lease, and their
    /// ends are recorded unless another worker has begun their events by then.
    pub async fn run_until(self, signal: impl Future<Output = ()>) {
        self.run_to_summary(signal).await;
    }

    pub(crate) async fn run_to_summary(self, signal: impl Future<Output = ()>) -> RunSummary {
        let stop = CancellationToken::new();
        let work = work(self.job, stop.clone());
        // A task of its own, so that it does not wait for what its caller polls.
        let mut work = pin!(AbortOnDropHandle::new(tokio::spawn(work)));
        let ended = select! {
            biased;
            ended = &mut work => ended,
            () = signal => {
                stop.cancel();
                work.await
            }
        };
        match ended.map_err(JoinError::try_into_panic) {
            Ok(summary) => summary,
            Err(Ok(panic)) => resume_unwind(panic),
            // The runtime is shutting down.
            Err(Err(_)) => RunSummary::default(),
        }
    }
}

#[track_caller]
fn assert_grows(first: Duration, longest: Duration) {
    assert!(first <= longest, "a backoff of {first:?} cannot grow to {longest:?}");
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("settings", &self.job.settings).finish_non_exhaustive()
    }
}
