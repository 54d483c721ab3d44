//! The settings of a sandbox, and their defaults.

use std::time::Duration;

use number7_core::Secret;

use crate::{Happening, Misbehaviour};

/// The API key, unless another is set: `sandbox`.
pub const DEFAULT_API_KEY: &str = "sandbox";

/// Requests a minute: 30, as in the vendor's smallest plan.
pub const DEFAULT_REQUESTS_PER_MINUTE: u32 = 30;

/// Jobs at a time: 5, as in the vendor's smallest plan. Further jobs wait with the status `uploading`. The vendor does not
/// publish what it does with them.
pub const DEFAULT_CONCURRENT_JOBS: usize = 5;

/// How long a job takes: 2 seconds, and up to a quarter more or less. A job of the vendor takes up to 90.
pub const DEFAULT_JOB_TIME: Duration = Duration::from_secs(2);

/// How long to wait between the first attempt at a webhook and the second: 1 second, doubled for each further one. The vendor
/// publishes only that there are three retries with exponential backoff.
pub const DEFAULT_RETRY_DELAY: Duration = Duration::from_secs(1);

const MINUTE: Duration = Duration::from_secs(60);

pub(crate) type Watcher = dyn Fn(&Happening) + Send + Sync;

pub(crate) struct Settings {
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

impl Settings {
    pub(crate) fn new(secret: Secret) -> Self {
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
}
