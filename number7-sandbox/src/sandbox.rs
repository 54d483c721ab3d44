//! The configuration of a sandbox, and the running sandbox.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use number7_core::Secret;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::DropGuard;

use crate::{Happening, Misbehaviour, Summary, api, settings::Settings, vendor::Vendor};

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
pub struct Sandbox(Settings);

impl Sandbox {
    /// A sandbox that signs its webhooks with a secret. It sends none before [`webhooks_to`](Self::webhooks_to) is set.
    pub fn new(secret: Secret) -> Self {
        Self(Settings::new(secret))
    }

    /// Where the webhooks go: a URL of `http`.
    pub fn webhooks_to(mut self, url: impl Into<String>) -> Self {
        self.0.receiver = Some(url.into());
        self
    }

    /// The only API key that is accepted; [`DEFAULT_API_KEY`](crate::DEFAULT_API_KEY) unless it is set.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.0.api_key = key.into();
        self
    }

    /// How many requests are allowed in a minute, and how many jobs run at a time;
    /// [`DEFAULT_REQUESTS_PER_MINUTE`](crate::DEFAULT_REQUESTS_PER_MINUTE) and
    /// [`DEFAULT_CONCURRENT_JOBS`](crate::DEFAULT_CONCURRENT_JOBS) unless they are set.
    ///
    /// # Panics
    ///
    /// One of them is zero.
    pub fn plan(mut self, requests_per_minute: u32, concurrent_jobs: usize) -> Self {
        assert!(requests_per_minute > 0 && concurrent_jobs > 0, "a plan that allows nothing");
        self.0.requests_per_minute = requests_per_minute;
        self.0.concurrent_jobs = concurrent_jobs.min(Semaphore::MAX_PERMITS);
        self
    }

    /// Counts the plan's requests in windows of this length, in whole seconds, instead of a minute. Use it for a test that
    /// cannot wait for a minute.
    pub fn window(mut self, length: Duration) -> Self {
        self.0.window = length;
        self
    }

    /// How long a job takes; [`DEFAULT_JOB_TIME`](crate::DEFAULT_JOB_TIME) unless it is set.
    pub fn job_time(mut self, time: Duration) -> Self {
        self.0.job_time = time;
        self
    }

    /// How long to wait between the first attempt at a webhook and the second;
    /// [`DEFAULT_RETRY_DELAY`](crate::DEFAULT_RETRY_DELAY) unless it is set.
    pub fn retry_delay(mut self, delay: Duration) -> Self {
        self.0.retry_delay = delay;
        self
    }

    /// What goes wrong; nothing unless it is set.
    pub fn misbehave(mut self, misbehaviour: Misbehaviour) -> Self {
        self.0.misbehaviour = misbehaviour;
        self
    }

    /// The seed that decides which jobs go wrong; 0 unless it is set.
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }

    /// Makes each result larger by this many bytes.
    pub fn padding(mut self, bytes: usize) -> Self {
        self.0.padding = bytes;
        self
    }

    /// Calls a function for each thing that happens.
    pub fn on_happening(mut self, watcher: impl Fn(&Happening) + Send + Sync + 'static) -> Self {
        self.0.watcher = Some(Box::new(watcher));
        self
    }

    /// Runs until the returned value is dropped.
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
        let vendor = Arc::new(Vendor::new(self.0));
        let router = api::router(Arc::clone(&vendor));
        vendor.spawn(async { _ = axum::serve(listener, router).await });
        let guard = vendor.stop.clone().drop_guard();
        Ok(RunningSandbox { addr, vendor, _guard: guard })
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox")
            .field("receiver", &self.0.receiver)
            .field("misbehaviour", &self.0.misbehaviour)
            .field("seed", &self.0.seed)
            .finish_non_exhaustive()
    }
}

/// A running sandbox. It stops when this is dropped.
pub struct RunningSandbox {
    addr: SocketAddr,
    vendor: Arc<Vendor>,
    _guard: DropGuard,
}

impl RunningSandbox {
    /// The address that it listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL of its API, for `Client::base_url` of `number7-client`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/api/v1", self.addr)
    }

    /// Accepts another API key from now on, and refuses the previous one.
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
