//! The parts of a sandbox share this.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Happening, Summary,
    job::{Job, Stage},
    misbehaviour::{Throw, dice},
    plan::Window,
    sender::Sender,
    settings::Settings,
};

/// A running sandbox.
pub(crate) struct Vendor {
    pub(crate) settings: Settings,
    /// The time of its start. It is part of the jobs' ids, so that two runs never have the same ids.
    pub(crate) run: u128,
    state: Mutex<State>,
    /// The places for jobs.
    pub(crate) slots: Semaphore,
    pub(crate) sender: Sender,
    pub(crate) stop: CancellationToken,
}

pub(crate) struct State {
    pub(crate) jobs: HashMap<String, Job>,
    pub(crate) window: Window,
    pub(crate) api_key: String,
    /// The end of the outage, once it has begun.
    outage: Option<Instant>,
    pub(crate) summary: Summary,
}

impl Vendor {
    pub(crate) fn new(settings: Settings) -> Self {
        let run = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            run: run.as_millis(),
            state: Mutex::new(State {
                jobs: HashMap::new(),
                window: Window::new(settings.requests_per_minute, settings.window),
                api_key: settings.api_key.clone(),
                outage: None,
                summary: Summary::default(),
            }),
            slots: Semaphore::new(settings.concurrent_jobs),
            sender: Sender::default(),
            stop: CancellationToken::new(),
            settings,
        }
    }

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

    pub(crate) fn moves(&self, job: &mut Job, stage: Stage) {
        job.stage = stage;
        self.state().jobs.insert(job.id.clone(), job.clone());
    }

    /// Begins the outage, once.
    pub(crate) fn goes_out(self: &Arc<Self>, time: Duration) {
        {
            let mut state = self.state();
            if state.outage.is_some() {
                return;
            }
            state.outage = Some(Instant::now() + time);
        }
        self.happens(Happening::OutageBegan);
        let this = Arc::clone(self);
        self.spawn(async move {
            sleep(time).await;
            this.happens(Happening::OutageEnded);
        });
    }

    /// Runs a task until the sandbox stops.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(task).await });
    }
}
