//! What a worker does regularly: it renews its lease, rescues the events of workers whose lease expired, and
//! forgets what was finished long ago.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    join, select,
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    model::{
        awake::Awake,
        claim::ClaimId,
        error::InboxError,
        expectation::{Expected, ExpectedName, LookUp},
        outage::Outage,
        settings::Settings,
    },
    store::{STEP, STORE_TIMEOUT, Store},
    worker::{moment::Moment, running::Running},
};

/// How soon after an outage every live worker has renewed its lease: by then its pending call has failed, and it
/// has tried again.
const RENEWED_BY_ALL: Duration = STORE_TIMEOUT.saturating_add(Duration::from_secs(1));

/// How long to wait before trying a failed renewal again.
const RENEWAL_PAUSE: Duration = Duration::from_millis(500);

/// The longest time between two looks for claims to rescue: about two heartbeats.
const LONGEST_RESCUE_INTERVAL: Duration = Duration::from_secs(20);

/// The longest time between two looks for overdue jobs: 10 seconds. A worker looks earlier if it knows of one, so only a job
/// that another process has expected since the last look is noticed this late.
const LOOK_UP_INTERVAL: Duration = Duration::from_secs(10);

/// The shortest such time.
const SHORTEST_LOOK_UP_INTERVAL: Duration = Duration::from_millis(100);

/// How often all done events are checked for payloads to forget: once a day. Otherwise each sweep continues after the last
/// place. It would miss an event before that place, which appears if a transaction commits late.
const PAYLOADS_ANEW: Duration = Duration::from_hours(24);

/// The pause between sweeps while there is more to forget.
const BETWEEN_SWEEPS: Duration = Duration::from_millis(100);

/// How long a worker stays awake at least: until it has looked for the claims of dead workers.
pub(crate) fn shortest_wake(settings: &Settings) -> Duration {
    settings.lease.max(RENEWED_BY_ALL) + 2 * settings.heartbeat()
}

pub(crate) struct Upkeep {
    store: Arc<dyn Store>,
    worker: Arc<str>,
    settings: Settings,
    running: Arc<Running>,
    awake: Arc<Awake>,
    is_away: AtomicBool,
    /// Whether renewals have succeeded for so long that this worker may rescue events of others. It is sent with each renewal.
    is_healthy: watch::Sender<bool>,
}

impl Upkeep {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        worker: Arc<str>,
        settings: Settings,
        running: Arc<Running>,
        awake: Arc<Awake>,
    ) -> Self {
        let (is_away, is_healthy) = (AtomicBool::new(false), watch::Sender::new(false));
        Self { store, worker, settings, running, awake, is_away, is_healthy }
    }

    /// Registers the worker at the store, as soon as that is reachable.
    pub(crate) async fn register(&self) {
        let mut outage = Outage::default();
        while !self.renew(&mut outage).await {
            sleep(RENEWAL_PAUSE).await;
        }
    }

    /// Never returns.
    pub(crate) async fn run(&self) {
        join!(self.lease(), self.rescue(), self.sweep(), self.look_up());
    }

    async fn lease(&self) {
        let Settings { lease, .. } = self.settings;
        let mut since = Instant::now();
        let mut renewed = Moment::now();
        let mut outage = Outage::default();
        loop {
            let asked = Moment::now();
            let pause = match self.renew(&mut outage).await {
                true => {
                    // If this process was stopped, before the call or during it, all processes may have been, and the others
                    // are only about to renew their leases.
                    if Moment::now().since(&renewed) > lease {
                        since = Instant::now();
                    }
                    renewed = asked;
                    self.running.warn_of_blocked(self.settings.heartbeat());
                    self.settings.heartbeat()
                }
                false => {
                    since = Instant::now();
                    // Others may have rescued the events of this worker by now.
                    if renewed.instant.elapsed() > lease {
                        self.running.tell_lost(&[], Instant::now());
                    }
                    RENEWAL_PAUSE
                }
            };
            // While the store is away nobody can renew a lease. So a worker rescues the events of others only after it has
            // renewed its own lease for as long as their leases last.
            self.is_healthy.send_replace(since.elapsed() > lease.max(RENEWED_BY_ALL));
            sleep(pause).await;
            // It holds nothing that needs a lease.
            self.awake.wait().await;
        }
    }

    /// Rescues the claims of workers whose lease has expired. It runs beside the renewal of its own lease, which must not wait.
    async fn rescue(&self) {
        let (mut is_healthy, mut outage) = (self.is_healthy.subscribe(), Outage::default());
        let pause = (self.settings.lease / 2).min(LONGEST_RESCUE_INTERVAL);
        let mut looked = None::<Instant>;
        while is_healthy.changed().await.is_ok() {
            if !*is_healthy.borrow_and_update()
                || looked.is_some_and(|looked| looked.elapsed() < pause)
            {
                continue;
            }
            looked = Some(Instant::now());
            match self.store.rescue(self.settings.lease, self.settings.quarantine_after()).await {
                Ok(events) => {
                    outage.ends();
                    if events > 0 {
                        self.store.announce();
                        tracing::warn!(
                            target: "number7", events,
                            "the leases of workers expired, and their events are rescued"
                        );
                    }
                }
                Err(error) => {
                    if let Some(age) = outage.goes_on() {
                        tracing::warn!(
                            target: "number7", ?age, "could not look for abandoned events: {error}"
                        );
                    }
                }
            }
        }
    }

    /// Renews the lease, and releases the claims of this worker that it will never know. False if the store failed.
    async fn renew(&self, outage: &mut Outage) -> bool {
        let asked = Moment::now();
        let renewed = self.store.heartbeat(&self.worker).await;
        self.is_away.store(renewed.is_err(), Ordering::Relaxed);
        match renewed {
            Ok(held) => {
                if outage.ends() {
                    tracing::info!(target: "number7", "the lease is renewed again");
                }
                self.running.renewed(asked, &held);
                self.release(self.running.strays(held)).await;
                true
            }
            Err(error) => {
                if let Some(age) = outage.goes_on() {
                    tracing::warn!(
                        target: "number7", worker = &*self.worker, ?age,
                        "could not renew the lease, and will keep trying: {error}"
                    );
                }
                false
            }
        }
    }

    /// If this fails, the next heartbeat finds them again.
    async fn release(&self, strays: Vec<ClaimId>) {
        if !strays.is_empty() && self.store.release(&self.worker, &strays).await.is_ok() {
            self.store.announce();
        }
    }

    /// Looks up all jobs that are to be looked up by now, and returns the time until the next one. Each overdue job
    /// is logged at most once.
    async fn settle(&self) -> Result<Option<Duration>, InboxError> {
        loop {
            let looked_up = self.store.look_up().await;
            // If the answer is lost, jobs may have been marked as overdue, and no other answer will mention them.
            let looked_up = looked_up.inspect_err(|_| self.store.wake().jobs_are_overdue());
            let LookUp { newly_overdue, is_more, next_in } = looked_up?;
            if !newly_overdue.is_empty() {
                self.store.wake().jobs_are_overdue();
            }
            for job in newly_overdue {
                match ExpectedName::parse(&job).what {
                    Expected::Upload(upload) => tracing::warn!(
                        target: "number7", upload,
                        "an upload is overdue: it was not bound to a job in time, so whether the document has \
                        arrived is not known"
                    ),
                    Expected::Job(_) => tracing::warn!(
                        target: "number7", job,
                        "a job is overdue: no event of it was accepted in time"
                    ),
                }
            }
            if !is_more {
                return Ok(next_in);
            }
        }
    }

    /// Regularly looks for overdue jobs.
    async fn look_up(&self) {
        let mut outage = Outage::default();
        loop {
            let settled = self.settle().await;
            // After a failure it tries again even while it is asleep.
            let next_in = settled.as_ref().map_or(Some(self.settings.heartbeat()), |next| *next);
            let pause = match settled {
                Ok(next_in) => {
                    outage.ends();
                    let next_in = next_in.unwrap_or(LOOK_UP_INTERVAL);
                    next_in.clamp(SHORTEST_LOOK_UP_INTERVAL, LOOK_UP_INTERVAL)
                }
                Err(error) => {
                    if !self.is_away.load(Ordering::Relaxed)
                        && let Some(age) = outage.goes_on()
                    {
                        tracing::warn!(
                            target: "number7", ?age, "could not look for overdue jobs: {error}"
                        );
                    }
                    self.settings.heartbeat()
                }
            };
            let looks_again = async {
                sleep(pause).await;
                self.awake.wait().await;
            };
            select! {
                () = looks_again => {}
                // Even while it is asleep.
                () = sleep(next_in.unwrap_or_default().max(pause)), if next_in.is_some() => {}
                // A job that was expected just now may be due earlier.
                () = self.store.wake().by_expectations() => {}
            }
        }
    }

    /// Regularly forgets what was finished long enough ago.
    async fn sweep(&self) {
        let pause = self.settings.sweep_interval();
        let (mut outage, mut payloads) = (Outage::default(), Payloads::default());
        loop {
            let is_more = match self.forget(&mut payloads).await {
                Ok(is_more) => {
                    outage.ends();
                    is_more
                }
                Err(error) => {
                    if let Some(age) = outage.goes_on() {
                        tracing::warn!(
                            target: "number7", ?age, "could not forget old events: {error}"
                        );
                    }
                    false
                }
            };
            sleep(if is_more { BETWEEN_SWEEPS } else { pause }).await;
            self.awake.wait().await;
        }
    }

    /// Forgets some events and payloads. Returns whether there are more.
    async fn forget(&self, payloads: &mut Payloads) -> Result<bool, InboxError> {
        let Settings { retention, dead_retention, payload_retention, .. } = self.settings;
        // An event that settles a job must not be forgotten before the job is looked up.
        self.settle().await?;
        let is_more = self.store.sweep(retention, dead_retention).await? >= u64::from(STEP);
        let Some(retention) = payload_retention else { return Ok(is_more) };
        if payloads.since.elapsed() > PAYLOADS_ANEW {
            *payloads = Payloads::default();
        }
        let next = self.store.forget_payloads(retention, payloads.after.as_deref()).await?;
        let has_next = next.is_some();
        // At the end the place stays, because more events become old enough.
        payloads.after = next.or(payloads.after.take());
        Ok(is_more || has_next)
    }
}

/// How far a worker has come through the done events, to forget their payloads.
struct Payloads {
    after: Option<String>,
    since: Instant,
}

impl Default for Payloads {
    fn default() -> Self {
        Self { after: None, since: Instant::now() }
    }
}
