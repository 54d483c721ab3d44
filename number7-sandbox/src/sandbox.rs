//! The settings, and what runs.

use std::{
    collections::HashMap,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use number7_core::{DocumentType, Secret};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{Instant, sleep},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    Happening, Misbehaviour, Summary, api,
    job::{Job, Stage},
    misbehaviour::{Throw, dice},
    plan::Window,
    webhook::Sender,
};

/// The API key, unless another is set: `sandbox`.
pub const DEFAULT_API_KEY: &str = "sandbox";

/// Requests a minute: 30, as in the vendor's smallest plan.
pub const DEFAULT_REQUESTS_PER_MINUTE: u32 = 30;

/// Jobs at a time: 5, as in the vendor's smallest plan. What is beyond waits with the status `uploading`. The
/// vendor does not publish what it does with more.
pub const DEFAULT_CONCURRENT_JOBS: usize = 5;

/// How long a job takes: 2 seconds, and up to a quarter more or less. With the vendor it is up to 90.
pub const DEFAULT_JOB_TIME: Duration = Duration::from_secs(2);

/// How long after a first attempt at a webhook the second is made: 1 second, doubled for each further one.
/// The vendor publishes that there are three retries with exponential backoff, and no more.
pub const DEFAULT_RETRY_DELAY: Duration = Duration::from_secs(1);

const MINUTE: Duration = Duration::from_secs(60);

/// A stand-in for the vendor, configured by value and started by [`start`](Self::start).
///
/// # Example
///
/// ```
/// use number7_sandbox::{Misbehaviour, Sandbox, Secret, Share};
/// use tokio::net::TcpListener;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut misbehaviour = Misbehaviour::default();
/// misbehaviour.lose = Share::percent(20);
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let sandbox = Sandbox::new(Secret::new("a long random secret")?)
///     .webhooks_to("http://127.0.0.1:3000/webhook")
///     .misbehave(misbehaviour)
///     .start(listener)?;
/// println!("the API is at {}", sandbox.base_url());
/// # Ok(())
/// # }
/// ```
#[must_use = "a sandbox does nothing unless it is started"]
pub struct Sandbox {
    pub(crate) secret: Secret,
    pub(crate) api_key: String,
    pub(crate) receiver: Option<String>,
    pub(crate) requests_per_minute: u32,
    pub(crate) window: Duration,
    pub(crate) concurrent_jobs: usize,
    pub(crate) job_time: Duration,
    pub(crate) retry_delay: Duration,
    pub(crate) misbehaviour: Misbehaviour,
    pub(crate) seed: u64,
    pub(crate) padding: usize,
    pub(crate) watcher: Option<Box<Watcher>>,
}

type Watcher = dyn Fn(&Happening) + Send + Sync;

impl Sandbox {
    /// A sandbox that signs its webhooks with a secret. Until it is told [where to](Self::webhooks_to), it
    /// sends none.
    pub fn new(secret: Secret) -> Self {
        Self {
            secret,
            api_key: DEFAULT_API_KEY.into(),
            receiver: None,
            requests_per_minute: DEFAULT_REQUESTS_PER_MINUTE,
            window: MINUTE,
            concurrent_jobs: DEFAULT_CONCURRENT_JOBS,
            job_time: DEFAULT_JOB_TIME,
            retry_delay: DEFAULT_RETRY_DELAY,
            misbehaviour: Misbehaviour::default(),
            seed: 0,
            padding: 0,
            watcher: None,
        }
    }

    /// Where the webhooks go: a URL of `http`.
    pub fn webhooks_to(mut self, url: impl Into<String>) -> Self {
        self.receiver = Some(url.into());
        self
    }

    /// The only API key that is taken; [`DEFAULT_API_KEY`] unless it is set.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = key.into();
        self
    }

    /// The requests that are allowed in a minute, and the jobs that run at a time;
    /// [`DEFAULT_REQUESTS_PER_MINUTE`] and [`DEFAULT_CONCURRENT_JOBS`] unless they are set.
    ///
    /// # Panics
    ///
    /// One of them is zero.
    pub fn plan(mut self, requests_per_minute: u32, concurrent_jobs: usize) -> Self {
        assert!(requests_per_minute > 0 && concurrent_jobs > 0, "a plan that allows nothing");
        self.requests_per_minute = requests_per_minute;
        self.concurrent_jobs = concurrent_jobs.min(Semaphore::MAX_PERMITS);
        self
    }

    /// Counts the plan's requests in windows of this length, of whole seconds, instead of a minute: for a test
    /// that cannot wait for a minute to end.
    pub fn window(mut self, length: Duration) -> Self {
        self.window = length;
        self
    }

    /// How long a job takes; [`DEFAULT_JOB_TIME`] unless it is set.
    pub fn job_time(mut self, time: Duration) -> Self {
        self.job_time = time;
        self
    }

    /// How long after a first attempt at a webhook the second is made; [`DEFAULT_RETRY_DELAY`] unless it is
    /// set.
    pub fn retry_delay(mut self, delay: Duration) -> Self {
        self.retry_delay = delay;
        self
    }

    /// What goes wrong; nothing unless it is set.
    pub fn misbehave(mut self, misbehaviour: Misbehaviour) -> Self {
        self.misbehaviour = misbehaviour;
        self
    }

    /// Which jobs it goes wrong with; 0 unless it is set.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Makes each result larger by so many bytes.
    pub fn padding(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    /// Calls a function for each thing that happens.
    pub fn on_happening(mut self, watcher: impl Fn(&Happening) + Send + Sync + 'static) -> Self {
        self.watcher = Some(Box::new(watcher));
        self
    }

    /// Serves until what it returns is dropped.
    ///
    /// # Errors
    ///
    /// The listener has no address.
    ///
    /// # Panics
    ///
    /// It is not called on a tokio runtime.
    pub fn start(self, listener: TcpListener) -> io::Result<RunningSandbox> {
        let addr = listener.local_addr()?;
        let run = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let vendor = Arc::new(Vendor {
            run: run.as_millis(),
            state: Mutex::new(State {
                jobs: HashMap::new(),
                window: Window::new(self.requests_per_minute, self.window),
                api_key: self.api_key.clone(),
                outage: None,
                summary: Summary::default(),
            }),
            slots: Semaphore::new(self.concurrent_jobs),
            sender: Sender::default(),
            stop: CancellationToken::new(),
            settings: self,
        });
        let router = api::router(Arc::clone(&vendor));
        let serve = async { axum::serve(listener, router).await };
        let stop = vendor.stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(serve).await });
        let guard = vendor.stop.clone().drop_guard();
        Ok(RunningSandbox { addr, vendor, _guard: guard })
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox")
            .field("receiver", &self.receiver)
            .field("misbehaviour", &self.misbehaviour)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// A sandbox that serves. It stops when this is dropped.
pub struct RunningSandbox {
    addr: SocketAddr,
    vendor: Arc<Vendor>,
    _guard: DropGuard,
}

impl RunningSandbox {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL of its API, for `Client::base_url` of `number7-client`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/api/v1", self.addr)
    }

    /// Takes another API key from now on, and refuses the one before.
    pub fn rotate_api_key(&self, key: impl Into<String>) {
        self.vendor.state().api_key = key.into();
    }

    /// What has happened so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.vendor.state().summary.clone()
    }
}

impl fmt::Debug for RunningSandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningSandbox").field("addr", &self.addr).finish_non_exhaustive()
    }
}

/// All that runs.
pub(crate) struct Vendor {
    pub(crate) settings: Sandbox,
    /// When it was started. It is part of the jobs' ids, so that no run repeats those of another.
    run: u128,
    state: Mutex<State>,
    /// The places for jobs.
    slots: Semaphore,
    pub(crate) sender: Sender,
    stop: CancellationToken,
}

pub(crate) struct State {
    pub(crate) jobs: HashMap<String, Job>,
    pub(crate) window: Window,
    pub(crate) api_key: String,
    /// Until when, once it has begun.
    outage: Option<Instant>,
    summary: Summary,
}

impl Vendor {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn happens(&self, happening: Happening) {
        self.state().summary.count(&happening);
        if let Some(watcher) = &self.settings.watcher {
            watcher(&happening);
        }
    }

    pub(crate) fn is_out(&self) -> bool {
        self.state().outage.is_some_and(|until| Instant::now() < until)
    }

    pub(crate) fn dice(&self, job: u64, throw: Throw) -> fastrand::Rng {
        dice(self.settings.seed, job, throw)
    }

    /// Takes a document, and begins to work on it.
    pub(crate) fn takes(
        self: &Arc<Self>,
        document_type: DocumentType,
        file_name: String,
        bytes: u64,
    ) -> String {
        let job = {
            let mut state = self.state();
            let number = state.jobs.len() as u64 + 1;
            let id = format!("job_{:x}_{number}", self.run);
            let job = Job { id, number, document_type, stage: Stage::Waiting };
            state.jobs.insert(job.id.clone(), job.clone());
            job
        };
        self.happens(Happening::Uploaded { job: job.id.clone(), file_name, bytes });
        let (id, this, stop) = (job.id.clone(), Arc::clone(self), self.stop.clone());
        tokio::spawn(async move { stop.run_until_cancelled(this.process(job)).await });
        id
    }

    async fn process(self: Arc<Self>, mut job: Job) {
        let Ok(slot) = self.slots.acquire().await else { return };
        let Misbehaviour { fail_jobs, outage, .. } = self.settings.misbehaviour;
        let share = 0.75 + 0.5 * self.dice(job.number, Throw::Time).f64();
        let time = self.settings.job_time.mul_f64(share);
        self.moves(&mut job, Stage::Running { since: Instant::now(), time });
        sleep(time).await;
        let fails = fail_jobs.takes(self.dice(job.number, Throw::Fail));
        self.moves(&mut job, if fails { Stage::Failed } else { Stage::Done });
        drop(slot);
        let id = job.id.clone();
        self.happens(match fails {
            true => Happening::Failed { job: id },
            false => Happening::Finished { job: id },
        });
        if !outage.is_zero() {
            self.goes_out(outage);
        }
        self.notify(&job).await;
    }

    fn moves(&self, job: &mut Job, stage: Stage) {
        job.stage = stage;
        self.state().jobs.insert(job.id.clone(), job.clone());
    }

    /// Begins the outage, once.
    fn goes_out(self: &Arc<Self>, time: Duration) {
        let until = Instant::now() + time;
        let is_first = {
            let mut state = self.state();
            let is_first = state.outage.is_none();
            state.outage.get_or_insert(until);
            is_first
        };
        if !is_first {
            return;
        }
        self.happens(Happening::OutageBegan);
        let (this, stop) = (Arc::clone(self), self.stop.clone());
        let end = async move {
            sleep(time).await;
            this.happens(Happening::OutageEnded);
        };
        tokio::spawn(async move { stop.run_until_cancelled(end).await });
    }
}
