//! Asks the vendor for what it never managed to deliver.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    error::Error,
    fmt, mem,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use number7_core::{Acceptance, Account, Event, Fetched, JobId, Record, RetryHint};
use tokio::{
    select,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout, timeout_at},
};

use crate::{
    measure,
    model::{
        awake::Awake,
        error::{BoxError, InboxError},
        error_text::{text_of_error, text_of_panic},
        expectation::{Expected, ExpectedJob, ExpectedName, JobToFetch, Rest},
        outage::Outage,
        settings::{LONGEST_REST, Settings},
    },
    store::{NewEvent, Store, WaitingAccounts, expectations::MOST_LOOKED_UP},
};

/// How long one call of the function of [`Worker::reconcile`](crate::Worker::reconcile) may take: 30
/// seconds, after which its future is dropped.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// A job that nobody knows is given up when the vendor has said so this often, or there was no client to ask with: with the default
/// backoff, two and a half hours after it was due.
const TIMES_UNKNOWN: u32 = 10;

/// How often the worker looks for jobs to ask for, beside those that it knows of: every 20 seconds, which is how
/// often the vendor wants to be asked about one.
const POLL_INTERVAL: Duration = Duration::from_secs(20);

/// The function, without its types.
pub(crate) type Fetch =
    dyn Fn(Option<Account>, JobId) -> BoxFuture<'static, Result<Fetched, BoxError>> + Send + Sync;

/// The error of the function if it has no client for the account of a job, and why.
#[derive(Debug)]
pub(crate) struct NoClient(pub(crate) String);

impl fmt::Display for NoClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for NoClient {}

/// Fetches overdue jobs. Across all processes only one worker does so at a time.
#[derive(Clone)]
pub(crate) struct Reconcile {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) fetch: Arc<Fetch>,
}

impl Reconcile {
    /// Goes on forever.
    pub(crate) async fn run(&self, worker: &str, settings: &Settings, awake: &Awake) {
        let (mut running, mut asked) = (JoinSet::new(), HashSet::new());
        let (mut leads_until, mut outage) = (Instant::now(), Outage::default());
        // Whether it was woken up for an overdue job while another one led.
        let mut is_woken = false;
        let mut may_fetch = false;
        // The accounts that wait for their turn, and where the next look for them begins. Jobs without an account are those of
        // one with an empty name.
        let (mut waiting, mut from) = (VecDeque::new(), String::new());
        // Until when the vendor is not to be asked for an account.
        let mut resting: HashMap<String, Instant> = HashMap::new();
        // When a job that was asked about is to be asked about again, or an account.
        let mut again = BTreeSet::new();
        let period = Duration::from_secs(60) / settings.fetches_per_minute;
        let mut ticks = interval(period.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if leads_until <= Instant::now() {
                let until = Instant::now() + settings.heartbeat();
                match self.leads(worker, settings.lease, &mut outage).await {
                    Some(true) => leads_until = until,
                    Some(false) => {
                        if is_woken {
                            // It is for the next one that leads, and for the one that leads now if it is here.
                            self.store.wake().jobs_are_overdue();
                        }
                        is_woken = self.stand_by(settings.lease, awake).await;
                        continue;
                    }
                    None => {
                        sleep(settings.heartbeat()).await;
                        continue;
                    }
                }
            }
            let room = settings.fetches_at_once - running.len();
            let ended = match room {
                // It must stop waiting when its lead ends.
                0 => timeout_at(leads_until, running.join_next()).await.unwrap_or_default(),
                _ => running.try_join_next(),
            };
            if let Some(ended) = ended {
                // A panic of the function is an answer, so the task has none of its own.
                if let Ok((job, account, rest)) = ended {
                    let now = Instant::now();
                    let until = now + rest;
                    asked.remove(&job);
                    resting.retain(|_, until| *until > now);
                    let of_account = resting.entry(account).or_insert(until);
                    *of_account = until.max(*of_account);
                    again.insert(*of_account);
                }
                continue;
            }
            if room == 0 {
                continue;
            }
            // A minute may allow one fetch only, which is longer than a lead lasts.
            if !may_fetch {
                may_fetch = timeout_at(leads_until, ticks.tick()).await.is_ok();
                continue;
            }
            // At most as many as can be fetched within a second, so that the lead is renewed in time.
            let most = u32::try_from(room).unwrap_or(u32::MAX);
            let most = most.min((settings.fetches_per_minute / 60).max(1)).min(MOST_LOOKED_UP);
            let taken = match self.take(&mut waiting, &mut from, most, &resting, settings).await {
                Ok(None) => {
                    let leads_until = (!running.is_empty()).then_some(leads_until);
                    self.rest(&mut again, leads_until, awake).await;
                    continue;
                }
                Ok(Some(taken)) if taken.is_empty() => continue,
                Ok(Some(taken)) => taken,
                Err(error) => {
                    if let Some(age) = outage.goes_on() {
                        tracing::warn!(
                            target: "number7", ?age, "could not look for jobs to fetch: {error}"
                        );
                    }
                    sleep(settings.heartbeat()).await;
                    continue;
                }
            };
            let mut is_new = false;
            for taken in taken {
                again.insert(Instant::now() + settings.fetch_rest.after(taken.fetches - 1));
                is_new |= taken.is_settled || !asked.contains(&taken.job);
                if taken.is_settled {
                    self.cancel(&taken.job).await;
                    continue;
                }
                let ExpectedName { account, what: Expected::Job(job_id) } =
                    ExpectedName::parse(&taken.job)
                else {
                    // The vendor knows only jobs. If this fails, it is taken again.
                    _ = self.store.give_up(&taken.job, 1).await;
                    continue;
                };
                // A call may take longer than the pause after it: the vendor is not asked about one
                // job twice at a time.
                if asked.insert(taken.job.clone()) {
                    match mem::take(&mut may_fetch) {
                        // The permission may be old. The next one comes a whole period from now.
                        true => ticks.reset(),
                        false => _ = ticks.tick().await,
                    }
                    let (this, rest) = (self.clone(), settings.fetch_rest);
                    running.spawn(async move {
                        let rest = this.fetch(&taken, account.as_ref(), job_id, rest).await;
                        let account = account.map(|account| account.to_string());
                        (taken.job, account.unwrap_or_default(), rest)
                    });
                }
            }
            if !is_new {
                self.rest(&mut again, Some(leads_until), awake).await;
            }
        }
    }

    /// Takes jobs of the accounts whose turn it is, so that one with many jobs does not hold up the others. Those whose vendor is
    /// to be left alone have none. `None` says that nobody waits.
    async fn take(
        &self,
        waiting: &mut VecDeque<String>,
        from: &mut String,
        most: u32,
        resting: &HashMap<String, Instant>,
        settings: &Settings,
    ) -> Result<Option<Vec<JobToFetch>>, InboxError> {
        if waiting.is_empty() {
            let WaitingAccounts { accounts, go_on_from } =
                self.store.accounts_to_fetch(from).await?;
            (*waiting, *from) = (accounts.into(), go_on_from.unwrap_or_default());
        }
        let now = Instant::now();
        waiting.retain(|account| resting.get(account).is_none_or(|until| *until <= now));
        let accounts: Vec<_> = waiting.drain(..waiting.len().min(most as usize)).collect();
        let Some(of_each) = most.checked_div(u32::try_from(accounts.len()).unwrap_or(most)) else {
            return Ok((!from.is_empty()).then(Vec::new));
        };
        let taken = self.store.take(&accounts, of_each, settings.fetch_rest).await?;
        let is_over = taken.is_empty() && waiting.is_empty() && from.is_empty();
        Ok((!is_over).then_some(taken))
    }

    /// While another worker leads: until the lead may have ended. While this one is asleep, it waits for a job that
    /// it finds overdue: the one that led may be asleep as well, and know nothing of that job. Says whether there is
    /// one.
    async fn stand_by(&self, lease: Duration, awake: &Awake) -> bool {
        sleep(lease.min(POLL_INTERVAL)).await;
        select! {
            biased;
            () = awake.wait() => false,
            () = self.store.wake().by_overdue_jobs() => true,
        }
    }

    /// Until there may be jobs to ask for, or a lead that is needed has to be renewed.
    async fn rest(
        &self,
        again: &mut BTreeSet<Instant>,
        leads_until: Option<Instant>,
        awake: &Awake,
    ) {
        let now = Instant::now();
        again.retain(|at| *at > now);
        let until = again.first().copied().into_iter().chain(leads_until).min();
        let looks_again = async {
            sleep(POLL_INTERVAL).await;
            awake.wait().await;
        };
        select! {
            () = self.store.wake().by_overdue_jobs() => {}
            () = sleep_until(until.unwrap_or(now)), if until.is_some() => {}
            () = looks_again => {}
        }
    }

    /// Whether it is the one that fetches. `None` if the store failed.
    async fn leads(&self, worker: &str, lease: Duration, outage: &mut Outage) -> Option<bool> {
        match self.store.lead(worker, lease).await {
            Ok(leads) => {
                outage.ends();
                Some(leads)
            }
            Err(error) => {
                if let Some(age) = outage.goes_on() {
                    tracing::warn!(
                        target: "number7", ?age,
                        "could not agree on who fetches overdue jobs: {error}"
                    );
                }
                None
            }
        }
    }

    /// Asks about a job. If nothing comes of it, this is repeated after a rest. Returns how long the vendor is
    /// to be left alone, if the error says so: to ask about other jobs meanwhile, or those of the same account, would fail
    /// as well.
    async fn fetch(
        &self,
        taken: &JobToFetch,
        account: Option<&Account>,
        job_id: JobId,
        Rest { first, longest }: Rest,
    ) -> Duration {
        let job = &*taken.job;
        let (mut alone, mut no_client) = (Duration::ZERO, None);
        let fetched = async {
            let fetched = (self.fetch)(account.cloned(), job_id.clone()).await;
            fetched.or_else(|error| {
                let error = match error.downcast::<NoClient>() {
                    Ok(none) => {
                        no_client = Some(*none);
                        return Ok(Fetched::Unknown);
                    }
                    Err(error) => error,
                };
                if let Some(RetryHint::After(time)) = RetryHint::of(&*error) {
                    alone = time.min(LONGEST_REST);
                }
                Err(text_of_error(&*error))
            })
        };
        // A future that is dropped before its end can panic as well.
        let fetched = async { timeout(FETCH_TIMEOUT, fetched).await };
        let fetched = AssertUnwindSafe(fetched).catch_unwind().await;
        let fetched = match fetched {
            Ok(Ok(fetched)) => fetched,
            Ok(Err(_)) => Err(format!("it took longer than its limit of {FETCH_TIMEOUT:?}")),
            Err(panic) => Err(text_of_panic(&*panic)),
        };
        let outcome = match fetched {
            Ok(Fetched::Finished(event)) => self.store(account, &job_id, &event).await,
            Ok(Fetched::Unknown) => self.is_unknown(job, no_client).await,
            Ok(_) => Ok("still_running"),
            Err(error) => Err(error),
        };
        measure::fetched(outcome.as_ref().unwrap_or(&"failed"));
        match outcome {
            Ok("finished" | "duplicate") => self.cancel(job).await,
            Ok("given_up") => {}
            Ok(outcome) => {
                tracing::info!(target: "number7", job, outcome, "an overdue job is not finished");
            }
            Err(error) => tracing::warn!(
                target: "number7", job, backoff = ?(first, longest),
                "could not fetch an overdue job; it will be tried again: {error}"
            ),
        }
        alone
    }

    /// The vendor does not know a job, or nobody can ask about it.
    async fn is_unknown(
        &self,
        job: &str,
        no_client: Option<NoClient>,
    ) -> Result<&'static str, String> {
        let given_up = self.store.give_up(job, TIMES_UNKNOWN).await;
        let is_given_up = given_up.map_err(|error| error.to_string())?;
        match (no_client, is_given_up) {
            (None, false) => tracing::warn!(
                target: "number7", job,
                "the vendor does not know an overdue job; it will be asked again"
            ),
            (None, true) => tracing::error!(
                target: "number7", job,
                "the vendor does not know an expected job, and is not asked again: find out what became of the \
                upload, and cancel the expectation"
            ),
            (Some(NoClient(why)), false) => tracing::warn!(
                target: "number7", job, "nobody can ask about an overdue job; it will be tried again: {why}"
            ),
            (Some(NoClient(why)), true) => tracing::error!(
                target: "number7", job,
                "nobody can ask about an expected job, and it is not tried again: {why}. Cancel the expectation, and if \
                there is a client now, expect the job again"
            ),
        }
        Ok(if is_given_up { "given_up" } else { "unknown" })
    }

    /// Stores the event under the key that its webhook would have.
    async fn store(
        &self,
        account: Option<&Account>,
        job: &JobId,
        event: &Event,
    ) -> Result<&'static str, String> {
        let json = serde_json::to_vec(event).map_err(|error| error.to_string())?;
        let key = Record::key_of_account(account, &json).map_err(|error| error.to_string())?;
        let expected = ExpectedJob::new(account, job).map_err(|error| error.to_string())?;
        if !expected.keys.contains(&key) {
            return Err("the function returned an event of another job or name".into());
        }
        let event = NewEvent::new(key.clone(), json.into(), None);
        match self.store.insert(event).await {
            Ok(Acceptance::New) => {
                tracing::info!(target: "number7", key, "the event of an overdue job was fetched");
                self.store.announce();
                Ok("finished")
            }
            Ok(_) => Ok("duplicate"),
            Err(error) => Err(error.to_string()),
        }
    }

    /// If this fails, the job is found to be settled when it is looked up.
    async fn cancel(&self, job: &str) {
        if let Err(error) = self.store.cancel_expectation(job).await {
            tracing::warn!(target: "number7", job, "a settled job stays expected until it is looked up: {error}");
        }
    }
}
