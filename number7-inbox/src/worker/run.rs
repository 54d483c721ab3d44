//! The loop of a worker: it claims as many events as it has room for, begins their attempts, and
//! records how they end.

use std::{
    collections::{HashSet, VecDeque},
    future::pending,
    mem,
    panic::{AssertUnwindSafe, resume_unwind},
    pin::pin,
    slice,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use futures_util::{FutureExt, future::BoxFuture};
use number7_core::Subject;
use tokio::{
    runtime::Handle,
    select,
    sync::{
        mpsc::{self, error::SendError},
        watch,
    },
    task::{JoinError, JoinSet, yield_now},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::instrument::WithSubscriber;
use ulid::Ulid;

use crate::{
    expectations::reconcile::Reconcile,
    model::{
        awake::{Awake, LONGEST_SLEEP},
        claim::{Claim, ClaimId},
        end::{End, Outcome},
        entry::{Entry, State},
        error::{InboxError, InboxErrorKind},
        error_text::text_of_panic,
        options::Polling,
        outage::Outage,
        settings::Settings,
    },
    store::{Exchange, Exchanged, STEP, Store},
    worker::{
        attempt::{Handler, NOT_COMMITTED, attempt, log_failure},
        fair_share::FairShare,
        held_claim::HeldClaim,
        moment::Moment,
        pause_log::PauseLog,
        run_summary::RunSummary,
        running::{Attempt, Running},
        upkeep::{Upkeep, shortest_wake},
    },
};

/// How the names of workers begin.
const WORKER_PREFIX: &str = "number7-";

/// How seldom an idle worker asks for events at most, if it hears of those that other processes accept: every 2
/// seconds, in case that it does not hear of one.
const LONGEST_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// How many events are claimed, and ends recorded, at once: so few that the answer of the store
/// stays small, and that nobody else waits for long.
const MOST_AT_ONCE: usize = 256;

/// How often attempts may run before the ends at hand are recorded: for some ten microseconds,
/// which is little beside the commit that is spared.
const YIELDS: usize = 32;

/// How often as long as an exchange takes an idle worker rests after it, if that is longer than its interval. So
/// many idle workers leave a slow store four fifths of its time, for acceptance and for leases.
const REST_PER_POLL: u32 = 4;

/// How long what is claimed ahead waits for a handler at most: 1 second. Then it is released, for another worker.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How much later than the store said a scheduled event is asked for.
const A_LITTLE: Duration = Duration::from_millis(1);

/// The pauses between tries while the store fails.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long the store has for each last call of a worker whose time to stop is over.
const LAST_CALL: Duration = Duration::from_secs(1);

/// What is called for an event that has become a dead letter.
pub(crate) type DeadLetterHook = dyn Fn(Entry) -> BoxFuture<'static, ()> + Send + Sync;

/// What a worker is to do.
pub(crate) struct Job {
    /// For the log: its store, and its name if it has one.
    pub(crate) inbox: String,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) handler: Box<Handler>,
    pub(crate) on_dead_letter: Option<Arc<DeadLetterHook>>,
    pub(crate) reconcile: Option<Reconcile>,
    pub(crate) settings: Settings,
    pub(crate) paused: watch::Receiver<bool>,
    /// It stops by itself as soon as it has nothing to do.
    pub(crate) stops_when_idle: bool,
}

/// What all attempts of a worker share.
struct Shared {
    job: Job,
    worker: Arc<str>,
    /// Of the store's tables.
    schema: Arc<str>,
    running: Arc<Running>,
    awake: Arc<Awake>,
    /// The attempts that are going on are given up.
    give_up: CancellationToken,
}

/// Works until it is to stop, and then until nothing is running. Says what it did.
pub(crate) async fn work(job: Job, stop: CancellationToken) -> RunSummary {
    // Each worker has a new name, so nothing that the store keeps of earlier ones gets in its way.
    let worker = Arc::from(format!("{WORKER_PREFIX}{}", Ulid::generate()));
    let (running, give_up) = (Arc::new(Running::default()), CancellationToken::new());
    let schema = job.store.schema();
    let awake = Arc::<Awake>::default();
    let shared = Arc::new(Shared { job, worker, schema, running, awake, give_up });
    let Shared { job, worker, awake, .. } = &*shared;
    let (store, running) = (Arc::clone(&job.store), Arc::clone(&shared.running));
    let settings = job.settings.clone();
    let upkeep = Upkeep::new(store, Arc::clone(worker), settings, running, Arc::clone(awake));
    select! {
        biased;
        () = upkeep.register() => {}
        () = stop.cancelled() => return RunSummary::default(),
    }
    let Settings { concurrency, lease, .. } = job.settings;
    tracing::info!(
        target: "number7", inbox = job.inbox, worker = &**worker, concurrency, ?lease, "a worker begins"
    );
    // Not on the runtime of the handlers: one that blocks its thread must not end the lease.
    let upkeep =
        job.store.runtime().spawn(async move { upkeep.run().await }.with_current_subscriber());
    let upkeep = AbortOnDropHandle::new(upkeep);
    let reconcile = async {
        match &job.reconcile {
            Some(reconcile) if !stop.is_cancelled() => select! {
                biased;
                () = reconcile.run(worker, &job.settings, awake) => {}
                // A fetch that is cut off here is made again later.
                () = stop.cancelled() => pending().await,
            },
            _ => pending().await,
        }
    };
    let summary = select! {
        biased;
        summary = Worker::new(Arc::clone(&shared), stop.clone()).run() => summary,
        () = reconcile => return RunSummary::default(),
        ended = upkeep => match ended.map_err(JoinError::try_into_panic) {
            Err(Ok(panic)) => resume_unwind(panic),
            _ => return RunSummary::default(),
        },
    };
    // What was claimed and not begun is ready at once.
    shared.running.stop_waiting();
    let store = &job.store;
    let released = async {
        let claimed = shared.running.unknown(store.heartbeat(worker).await?);
        if !claimed.is_empty() {
            store.release(worker, &claimed).await?;
            store.announce();
        }
        store.forget(worker).await
    };
    let released = match job.settings.shutdown_timeout {
        Some(_) => shared.in_a_last_call(released).await,
        None => released.await,
    };
    if let Err(error) = released {
        tracing::warn!(
            target: "number7", worker = &**worker, lease = ?job.settings.lease,
            "what the worker has claimed is free only when its lease ends: {error}"
        );
    }
    summary
}

struct Worker {
    shared: Arc<Shared>,
    paused: watch::Receiver<bool>,
    stop: CancellationToken,
    /// What is claimed, and begun as soon as a handler returns: since when, and in this order.
    waiting: VecDeque<(Instant, Claim)>,
    /// How many events handlers get through during an exchange, so that it claims as many ahead of them.
    ahead: usize,
    /// Which accounts it claims events of first.
    fair_share: FairShare,
    answered: Instant,
    /// Which of the attempts is at a quarantined event.
    quarantined: Option<ClaimId>,
    /// The ends that are not recorded.
    ends: Vec<End>,
    /// Those that were sent, and are not answered.
    sent: Arc<[End]>,
    /// How many ends there were since the last answer.
    returned: usize,
    sender: mpsc::UnboundedSender<End>,
    receiver: mpsc::UnboundedReceiver<End>,
    /// Until when a handler has paused it.
    paused_until: Option<Instant>,
    /// What was paused when it asked last.
    pauses: PauseLog,
    /// Whether the store may have claimed something for this worker that it does not know of.
    may_have_more: bool,
    /// How long it rests before it asks again, when it is idle.
    rest: Duration,
    /// Since when there was nothing to do.
    idle_since: Option<Instant>,
    summary: RunSummary,
    outage: Outage,
    /// How long it waits after the next failure of the store.
    pause: Duration,
    /// When it was told to stop.
    stops_since: Arc<OnceLock<Instant>>,
    /// The calls of the hook that are going on.
    hooks: JoinSet<()>,
}

/// What is left to do after an exchange.
#[derive(Clone, Copy, Default)]
struct Left {
    /// There is more to do at once.
    is_more: bool,
    /// Nothing was recorded or claimed.
    was_idle: bool,
    /// In how long the next scheduled event is ready.
    next_in: Option<Duration>,
}

/// What became of the end of an attempt.
#[derive(Clone, Copy)]
enum Recorded {
    Counts,
    /// Another attempt has begun.
    Lost,
    /// The store could not take it.
    Never,
}

impl Worker {
    fn new(shared: Arc<Shared>, stop: CancellationToken) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self {
            paused: shared.job.paused.clone(),
            shared,
            stop,
            waiting: VecDeque::new(),
            ahead: 0,
            fair_share: FairShare::default(),
            answered: Instant::now(),
            quarantined: None,
            ends: Vec::new(),
            sent: Arc::default(),
            returned: 0,
            sender,
            receiver,
            paused_until: None,
            pauses: PauseLog::default(),
            may_have_more: false,
            rest: Duration::ZERO,
            idle_since: None,
            summary: RunSummary::default(),
            outage: Outage::default(),
            pause: FIRST_PAUSE,
            stops_since: Arc::default(),
            hooks: JoinSet::new(),
        }
    }

    async fn run(mut self) -> RunSummary {
        let shared = Arc::clone(&self.shared);
        let limit = shared.job.settings.shutdown_timeout;
        // An exchange may take long when the stop is asked for.
        let (stop, since) = (self.stop.clone(), Arc::clone(&self.stops_since));
        let _notes_stop = AbortOnDropHandle::new(tokio::spawn(async move {
            stop.cancelled().await;
            since.get_or_init(Instant::now);
        }));
        let mut is_stop_logged = false;
        let mut is_idle = false;
        loop {
            // Asked once: it may be told to stop at any moment, and then must not wait for that, or for attempts.
            let is_stopping = self.stop.is_cancelled();
            if is_stopping && shared.running.len() == 0 {
                break;
            }
            // Of an exchange that was not waited for.
            self.take_back();
            if is_stopping && !mem::replace(&mut is_stop_logged, true) {
                self.stops_since.get_or_init(Instant::now);
                tracing::info!(
                    target: "number7", attempts = shared.running.len(), limit = ?limit,
                    "a worker stops, and waits for its running attempts"
                );
            }
            let give_up_at = self.give_up_at();
            // Checked here, so that it ends in time even while the store is away.
            if give_up_at.is_some_and(|at| at <= Instant::now()) {
                shared.give_up.cancel();
            }
            let mut is_woken = false;
            if is_idle {
                let asks_again = self.room() > 0 || !self.ends.is_empty();
                let waits_until = self.waiting.front().map(|(since, _)| *since + LONGEST_WAIT);
                select! {
                    biased;
                    Some(end) = self.receiver.recv() => self.returns(end),
                    () = shared.job.store.wake().by_events(), if asks_again => is_woken = true,
                    () = sleep(self.rest), if asks_again => {}
                    () = self.stop.cancelled(), if !is_stopping => {}
                    () = sleep_until(waits_until.unwrap_or_else(Instant::now)), if waits_until.is_some() => {}
                    () = sleep_until(self.paused_until.unwrap_or_else(Instant::now)), if self.paused_until.is_some() => {}
                    // An error means that nobody is left who could resume it.
                    Ok(()) = self.paused.changed(), if !is_stopping => {}
                    () = sleep_until(give_up_at.unwrap_or_else(Instant::now)),
                        if give_up_at.is_some() && !shared.give_up.is_cancelled() => continue,
                }
                if shared.awake.wakes_up() {
                    // It renews its lease first.
                    (self.may_have_more, self.idle_since) = (true, None);
                }
            }
            self.paused_until.take_if(|until| *until <= Instant::now());
            self.collect().await;
            self.stop_waiting_in_vain();
            if is_woken && self.room() == 0 && self.ends.is_empty() {
                // For another worker of this process. This one does not listen until it has room.
                shared.job.store.wake().events_are_ready();
            }
            let asked = Instant::now();
            let exchanged = match give_up_at {
                None => {
                    let stop = self.stop.clone();
                    select! {
                        biased;
                        exchanged = self.exchange() => exchanged,
                        () = sleep_after(&stop, limit) => continue,
                    }
                }
                Some(_) if shared.give_up.is_cancelled() => {
                    shared.in_a_last_call(self.exchange()).await
                }
                // An end is sent again if its answer is not waited for.
                Some(at) => select! {
                    biased;
                    exchanged = self.exchange() => exchanged,
                    () = sleep_until(at) => continue,
                },
            };
            let took = asked.elapsed();
            match exchanged {
                Ok(left) => {
                    is_idle = !left.is_more;
                    self.rest = self.rest_after(took, left);
                    self.pause = FIRST_PAUSE;
                    if self.outage.ends() {
                        tracing::info!(target: "number7", "the store works again");
                    }
                    // If the store fails now, the next exchange says so.
                    if is_idle && self.is_finished().await.unwrap_or_default() {
                        self.stop.cancel();
                    }
                }
                Err(error) => {
                    is_idle = false;
                    self.rest(&error, give_up_at).await;
                }
            }
        }
        let left = self.give_up_at().map(|at| at.saturating_duration_since(Instant::now()));
        let hooks = async { while self.hooks.join_next().await.is_some() {} };
        // Hooks that take longer are dropped.
        _ = timeout(left.unwrap_or(Duration::MAX), hooks).await;
        let RunSummary { done, retried: failed, snoozed, dead } = self.summary;
        tracing::info!(
            target: "number7", inbox = shared.job.inbox, worker = &*shared.worker,
            done, failed, snoozed, dead, "a worker has stopped"
        );
        self.summary
    }

    /// Whether it stops when it is idle, and is: it runs nothing, and there is nothing that it could begin now.
    async fn is_finished(&self) -> Result<bool, InboxError> {
        let Shared { job, running, .. } = &*self.shared;
        if !job.stops_when_idle || running.len() > 0 {
            return Ok(false);
        }
        let stats = job.store.stats().await?;
        let may_begin = self.may_begin() && stats.ready + stats.quarantined > 0;
        let could_begin = may_begin && (stats.paused_accounts == 0 || self.is_any_free().await?);
        // Another worker may run some, and fail.
        Ok(stats.running == 0 && !could_begin)
    }

    /// Whether an event waits that is of no account that is paused.
    async fn is_any_free(&self) -> Result<bool, InboxError> {
        let store = &self.shared.job.store;
        let mut from = Some(String::new());
        while let Some(account) = from {
            let waiting = store.waiting_accounts(&account).await?;
            if !waiting.accounts.is_empty() {
                return Ok(true);
            }
            from = waiting.go_on_from;
        }
        let pauses = store.pauses().await?;
        let is_paused = |account: &str| {
            let mut paused = pauses.iter().filter_map(|paused| paused.account.as_ref());
            paused.any(|paused| paused.as_str() == account)
        };
        let mut after = None;
        loop {
            // There are few.
            let (entries, next) = store.list(State::Quarantined, after.as_deref(), STEP).await?;
            if entries.iter().any(|entry| !entry.account().is_some_and(is_paused)) {
                return Ok(true);
            }
            after = next;
            if after.is_none() {
                return Ok(false);
            }
        }
    }

    /// When its time to stop is over, if it is to stop and has a limit.
    fn give_up_at(&self) -> Option<Instant> {
        let limit = self.shared.job.settings.shutdown_timeout?;
        self.stops_since.get()?.checked_add(limit)
    }

    /// How long an idle worker waits until it asks again, after an exchange that took so long.
    fn rest_after(&mut self, took: Duration, left: Left) -> Duration {
        let Polling { interval, sleep_after } = self.shared.job.settings.polling;
        let is_idle = left.was_idle && self.shared.running.len() == 0;
        let idle_since = is_idle.then(|| self.idle_since.unwrap_or_else(Instant::now));
        self.idle_since = idle_since;
        // While the inbox or an account is paused, nobody would tell a worker that sleeps when that ends.
        if let (Some(after), Some(since)) = (sleep_after, idle_since)
            && !self.pauses.is_inbox_paused()
            && !self.pauses.has_paused_accounts()
            && since.elapsed() >= after.max(shortest_wake(&self.shared.job.settings))
        {
            let sleep = left.next_in.map_or(LONGEST_SLEEP, |next| next + A_LITTLE);
            // Not for a moment.
            if sleep > LONGEST_POLL_INTERVAL {
                self.shared.awake.falls_asleep();
                return sleep.min(LONGEST_SLEEP);
            }
        }
        let shortest = (took * REST_PER_POLL).clamp(interval, LONGEST_PAUSE.max(interval));
        let rest = match left.was_idle && self.shared.job.store.wake().hears_others() {
            true => {
                self.rest.saturating_mul(2).clamp(shortest, LONGEST_POLL_INTERVAL.max(shortest))
            }
            false => shortest,
        };
        // Not earlier, by a clock that differs a little.
        left.next_in.map_or(rest, |next| rest.min(next + A_LITTLE))
    }

    /// Takes the ends that are there. Attempts that need only a moment may end now, to be recorded
    /// together.
    async fn collect(&mut self) {
        for _ in 0..YIELDS {
            while let Ok(end) = self.receiver.try_recv() {
                self.returns(end);
            }
            if self.all_have_ended() || self.ends.len() >= MOST_AT_ONCE {
                return;
            }
            yield_now().await;
        }
    }

    /// A handler has returned, so that another one can be called.
    fn returns(&mut self, end: End) {
        if let Outcome::Snoozed { after, pauses_worker: true } = end.outcome {
            self.paused_until = self.paused_until.max(Instant::now().checked_add(after));
        }
        self.ends.push(end);
        self.returned += 1;
        self.begin_waiting();
    }

    /// Whether it has the ends of all attempts.
    fn all_have_ended(&self) -> bool {
        self.ends.len() + self.sent.len() >= self.shared.running.len()
    }

    /// Whether it may claim events.
    fn may_claim(&self) -> bool {
        !self.stop.is_cancelled() && !*self.paused.borrow() && self.paused_until.is_none()
    }

    /// Whether it may begin attempts. While the inbox is paused, it asks for events to learn when that ends.
    fn may_begin(&self) -> bool {
        self.may_claim() && !self.pauses.is_inbox_paused()
    }

    /// How many attempts it can begin at once, beside those of the claims that wait.
    fn room(&self) -> usize {
        if !self.may_claim() {
            return 0;
        }
        let taken = self.shared.running.handlers() + self.waiting.len();
        self.shared.job.settings.concurrency.saturating_sub(taken)
    }

    /// Begins as many of the attempts that wait as there are handlers for.
    fn begin_waiting(&mut self) {
        let concurrency = self.shared.job.settings.concurrency;
        while self.may_begin() && self.shared.running.handlers() < concurrency {
            let Some((_, claim)) = self.waiting.pop_front() else { return };
            self.begin(claim);
        }
    }

    /// Releases what it has claimed ahead, if it must not begin that, or if handlers take longer than they did:
    /// another worker may be idle.
    fn stop_waiting_in_vain(&mut self) {
        let Some((since, _)) = self.waiting.front() else { return };
        if !self.may_begin() || since.elapsed() >= LONGEST_WAIT {
            self.waiting.clear();
            self.shared.running.stop_waiting();
            (self.may_have_more, self.ahead) = (true, 0);
        }
    }

    /// Records ends, and claims as much as there is room for then. Says what is left to do.
    ///
    /// If it is dropped before its end, it may have happened or not, as if its answer was lost.
    async fn exchange(&mut self) -> Result<Left, InboxError> {
        let shared = Arc::clone(&self.shared);
        let (store, worker) = (&shared.job.store, &*shared.worker);
        let Settings { lease, .. } = shared.job.settings;
        if self.may_have_more {
            self.release().await?;
            self.may_have_more = false;
        }
        // An event that was claimed again may have two ends. They go into two exchanges, because the
        // answer names the event only.
        let mut events = HashSet::new();
        let ends = self.ends.iter().take(MOST_AT_ONCE);
        let recorded = ends.take_while(|end| events.insert(end.event)).count();
        let most = self.room().min(MOST_AT_ONCE);
        let ahead = match self.may_begin() {
            true => self.ahead.saturating_sub(self.waiting.len()).min(MOST_AT_ONCE - most),
            false => 0,
        };
        if recorded + most == 0 {
            return Ok(Left::default());
        }
        if most + ahead > 0
            && let Some(from) = self.fair_share.looks_from()
        {
            let waiting = store.waiting_accounts(from).await?;
            self.fair_share.found(waiting);
        }
        let (accounts, of_each) = self.fair_share.next(most + ahead);
        let sent: Arc<[End]> = self.ends.drain(..recorded).collect();
        self.sent = Arc::clone(&sent);
        let exchange = Exchange {
            worker,
            lease,
            ends: &sent,
            most,
            ahead,
            quarantined: self
                .quarantined
                .is_none_or(|running| sent.iter().any(|end| end.id() == running)),
            accounts: &accounts,
            of_each,
        };
        let asked = Instant::now();
        let _exchanging = shared.running.exchange();
        let mut exchanged = pin!(store.exchange(exchange));
        let exchanged = loop {
            select! {
                biased;
                exchanged = &mut exchanged => break exchanged,
                // Handlers go on meanwhile.
                Some(end) = self.receiver.recv() => self.returns(end),
            }
        };
        let exchanged = match exchanged {
            Err(error) if error.kind() == InboxErrorKind::Unstorable && recorded > 0 => {
                self.take_back();
                // A store may have claimed all the same.
                self.may_have_more = true;
                self.record_one_by_one().await?;
                return Ok(Left { is_more: true, ..Left::default() });
            }
            exchanged => exchanged?,
        };
        self.sent = Arc::default();
        self.look_ahead(asked);
        let Exchanged { ended, locked, claims, mut next_in, is_lapsed, is_paused, .. } = exchanged;
        if most > 0 {
            self.pauses_changed(is_paused, exchanged.has_paused_accounts);
        }
        if exchanged.has_paused_accounts {
            // What is ready and was not claimed is of these accounts.
            next_in = next_in.filter(|next_in| !next_in.is_zero());
        }
        if is_lapsed {
            tracing::warn!(
                target: "number7", worker,
                "the lease of a worker has expired: the worker renews it before it claims more events"
            );
            self.may_have_more = true;
        }
        for end in sent.iter().filter(|end| !locked.contains(&end.event)) {
            let recorded = ended.contains(&end.event);
            self.is_over(end, if recorded { Recorded::Counts } else { Recorded::Lost });
        }
        let is_interrupted = |end: &End| matches!(end.outcome, Outcome::Interrupted);
        if sent.iter().any(is_interrupted) {
            // They are ready at once.
            store.announce();
        }
        let claimed = claims.len();
        self.fair_share.served(&accounts, of_each, &claims);
        for claim in claims {
            shared.running.wait(claim.id());
            self.waiting.push_back((Instant::now(), claim));
        }
        self.begin_waiting();
        let is_full = claimed > 0 && claimed == most + ahead;
        let goes_on =
            most + ahead > 0 && self.fair_share.claimed(is_full, exchanged.has_paused_accounts);
        if is_full && self.room() == 0 {
            // There may be more, for another worker of this process.
            store.wake().events_are_ready();
        }
        let is_more = !self.ends.is_empty() || (goes_on && self.room() > 0);
        // At the end, so that the others are not behind them.
        self.ends.extend(sent.iter().filter(|end| locked.contains(&end.event)).cloned());
        if shared.give_up.is_cancelled() && !locked.is_empty() {
            // There is no time left to wait for it.
            return Err(InboxErrorKind::Busy.into());
        }
        // Others may have rescued what it held, and there may be more.
        let was_idle = recorded + claimed == 0 && !is_lapsed;
        Ok(Left { is_more, was_idle, next_in })
    }

    /// Notes whether the inbox is paused, or accounts of it.
    fn pauses_changed(&mut self, is_inbox_paused: bool, has_paused_accounts: bool) {
        let Some(change) = self.pauses.note(is_inbox_paused, has_paused_accounts) else { return };
        let shared = Arc::clone(&self.shared);
        // The worker does not wait for it.
        let log = async move {
            // If the store fails, the next look says it.
            if let Ok(pauses) = shared.job.store.pauses().await {
                change.log(&shared.job.inbox, &pauses);
            }
        };
        tokio::spawn(log.with_current_subscriber());
    }

    /// Takes back the ends that were sent and not answered.
    fn take_back(&mut self) {
        let sent = mem::take(&mut self.sent);
        self.ends.splice(0..0, sent.iter().cloned());
    }

    /// Releases what the store has claimed for this worker and it does not know of.
    async fn release(&self) -> Result<(), InboxError> {
        let Shared { job, worker, running, .. } = &*self.shared;
        let asked = Moment::now();
        let held = job.store.heartbeat(worker).await?;
        running.renewed(asked, &held);
        let claimed = running.unknown(held);
        if !claimed.is_empty() {
            job.store.release(worker, &claimed).await?;
            job.store.announce();
        }
        Ok(())
    }

    /// An exchange was answered that was asked for at this time. Claims as much ahead from now on as twice as many
    /// handlers as have returned in the time of an exchange: quick handlers do not wait for the store, and slow ones
    /// keep nothing from other workers.
    fn look_ahead(&mut self, asked: Instant) {
        let now = Instant::now();
        let (took, since) = (now - asked, now - self.answered);
        let share = took.as_secs_f64() / since.as_secs_f64().max(f64::EPSILON);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "they are small, and not negative"
        )]
        let ahead = (2.0 * self.returned as f64 * share.min(1.0)) as usize;
        self.ahead = ahead.min(MOST_AT_ONCE);
        (self.returned, self.answered) = (0, now);
    }

    /// Begins an attempt, unless its lease may be lost. It goes on although the worker is dropped.
    fn begin(&mut self, claim: Claim) {
        let (id, is_quarantined) = (claim.id(), claim.is_quarantined);
        let (worker, schema) = (Arc::clone(&self.shared.worker), Arc::clone(&self.shared.schema));
        let of_claim = Arc::new(HeldClaim::new(worker, schema, &claim));
        let begun = Attempt {
            claim: Arc::clone(&of_claim),
            key: claim.key.clone(),
            stored: claim.stored.clone(),
            origin: claim.origin,
            begun: Instant::now(),
            is_running: true,
        };
        if !self.shared.running.begin(id, begun, self.shared.job.settings.lease) {
            // Perhaps it was rescued. Otherwise it is to be released.
            self.may_have_more = true;
            return;
        }
        if is_quarantined {
            self.quarantined = Some(id);
        }
        let (shared, sender) = (Arc::clone(&self.shared), self.sender.clone());
        tokio::spawn(async move {
            let Job { inbox, handler, settings, .. } = &shared.job;
            let end = attempt(&**handler, settings, inbox, claim, of_claim, &shared.give_up).await;
            shared.running.has_returned(id);
            // The worker itself was dropped, so this task has to record the end.
            if let Err(SendError(end)) = sender.send(end) {
                shared.record_or_say(&end).await;
            }
        });
    }

    /// Drops an attempt whose end needs no more work.
    fn is_over(&mut self, end: &End, recorded: Recorded) {
        let (id, attempt) = (end.id(), end.number.counted());
        self.quarantined.take_if(|quarantined| *quarantined == id);
        let Some(ended) = self.shared.running.remove(id) else { return };
        let key = &ended.key;
        match recorded {
            Recorded::Counts => {
                self.summary.count(&end.outcome);
                if end.outcome.error() == Some(NOT_COMMITTED) {
                    log_failure(key, attempt, &end.outcome);
                }
                if matches!(end.outcome, Outcome::Dead { .. } | Outcome::Exhausted { .. }) {
                    self.call_hook(end, ended);
                }
            }
            // It is done, by the handler's own transaction.
            Recorded::Lost if ended.claim.is_in_transaction() => self.summary.done += 1,
            Recorded::Lost => tracing::warn!(
                target: "number7", key, attempt,
                "the lease of an attempt was lost, and its end does not count"
            ),
            Recorded::Never => {}
        }
    }

    fn call_hook(&mut self, end: &End, attempt: Attempt) {
        let Some(hook) = &self.shared.job.on_dead_letter else { return };
        while self.hooks.try_join_next().is_some() {}
        let Attempt { claim, key, stored, origin, .. } = attempt;
        let subject = Subject::of_json(stored.json()).ok();
        let job = subject.as_ref().and_then(Subject::job_id).map(str::to_owned);
        let dead_letter = Entry {
            place: String::new(),
            key,
            event: subject.map(|subject| subject.event().to_owned()).unwrap_or_default(),
            job,
            stored: Some(stored),
            origin,
            signed_by: claim.signed_by.clone(),
            signature: None,
            trace: None,
            conflict: None,
            state: State::Dead,
            since: SystemTime::now(),
            accepted_at: claim.accepted_at,
            worker_seen: None,
            attempts: end.after().counted(),
            runs: claim.runs,
            history: end.history.clone().unwrap_or_default(),
        };
        let (hook, key) = (Arc::clone(hook), dead_letter.key.clone());
        self.hooks.spawn(async move {
            // It may panic before it returns a future.
            let called = AssertUnwindSafe(async { hook(dead_letter).await }).catch_unwind().await;
            if let Err(panic) = called {
                let panic = text_of_panic(&*panic);
                tracing::error!(target: "number7", key, "the hook for dead letters failed: {panic}");
            }
        });
    }

    /// One of the ends is such that the store will never take it. The others must not wait for it.
    async fn record_one_by_one(&mut self) -> Result<(), InboxError> {
        while let Some(end) = self.ends.last() {
            let recorded = match self.shared.record(end).await {
                Ok(recorded) => recorded,
                Err(error) if error.kind() == InboxErrorKind::Unstorable => {
                    tracing::error!(
                        target: "number7", event = end.event.0, attempt = end.number.counted(),
                        "the end of an attempt cannot be recorded, and the event is not tried again \
                        before this worker has stopped: {error}"
                    );
                    self.shared.running.give_up(end.event);
                    Recorded::Never
                }
                Err(error) => return Err(error),
            };
            if let Some(end) = self.ends.pop() {
                self.is_over(&end, recorded);
            }
        }
        Ok(())
    }

    /// Waits after a failure of the store, of which the log has one for each outage, and one each minute.
    async fn rest(&mut self, error: &InboxError, give_up_at: Option<Instant>) {
        // The lost answer may have been that events were claimed.
        self.may_have_more = true;
        self.take_back();
        if let Some(age) = self.outage.goes_on() {
            tracing::warn!(
                target: "number7", ?age,
                "the store fails a worker, which tries again until it can go on: {error}"
            );
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        // One lease after the outage began, others may have rescued what it holds. A stop gives it that time, or its
        // limit. Nothing is given up while a handler runs: the store may be back when it ends.
        let Settings { lease, shutdown_timeout, .. } = self.shared.job.settings;
        let patience = shutdown_timeout.unwrap_or(lease).min(lease);
        let stops_since = self.stops_since.get().copied();
        let since = stops_since.max(self.outage.since());
        let is_long = stops_since.is_some()
            && (self.shared.give_up.is_cancelled()
                || since.is_some_and(|at| at.elapsed() > patience));
        if is_long && self.all_have_ended() {
            for end in mem::take(&mut self.ends) {
                tracing::error!(
                    target: "number7", event = end.event.0, attempt = end.number.counted(),
                    "could not record the end of an attempt; the event will be handled again: {error}"
                );
                // The attempt was made, so it counts. Another worker rescues the event when the
                // lease ends.
                self.shared.running.give_up(end.event);
                self.is_over(&end, Recorded::Never);
            }
            return;
        }
        let until = Instant::now() + pause;
        let is_given_up = self.shared.give_up.is_cancelled();
        // At the limit, what is running is given up.
        let until = match give_up_at {
            Some(at) if !is_given_up => until.min(at),
            _ => until,
        };
        select! {
            () = sleep_until(until) => {}
            () = self.stop.cancelled(), if stops_since.is_none() => {}
        }
    }
}

/// If it is dropped in the middle, nobody renews the lease any more. The ends that it has are recorded.
impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.running.tell_lost(&[], Instant::now());
        self.receiver.close();
        self.take_back();
        let mut ends = mem::take(&mut self.ends);
        while let Ok(end) = self.receiver.try_recv() {
            ends.push(end);
        }
        let waiting: Vec<_> = self.waiting.drain(..).map(|(_, claim)| claim.id()).collect();
        if ends.is_empty() && waiting.is_empty() {
            return;
        }
        // At the end of the process there may be no runtime any more.
        if let Ok(runtime) = Handle::try_current() {
            let shared = Arc::clone(&self.shared);
            runtime.spawn(async move {
                for end in ends {
                    shared.record_or_say(&end).await;
                }
                let Shared { job, worker, .. } = &*shared;
                // If this fails, they are rescued.
                if !waiting.is_empty() && job.store.release(worker, &waiting).await.is_ok() {
                    job.store.announce();
                }
            });
        }
    }
}

/// Sleeps for a limit from the moment on when a stop is asked for; forever if there is none.
async fn sleep_after(stop: &CancellationToken, limit: Option<Duration>) {
    let Some(limit) = limit else { return pending().await };
    stop.cancelled().await;
    sleep(limit).await;
}

impl Shared {
    /// A call of a worker whose time to stop is over: the store does not get as long as it may take otherwise.
    async fn in_a_last_call<T>(
        &self,
        call: impl Future<Output = Result<T, InboxError>>,
    ) -> Result<T, InboxError> {
        timeout(LAST_CALL, call).await.unwrap_or_else(|_| Err(InboxErrorKind::TooSlow.into()))
    }

    /// Records an end that no worker will try to record again.
    async fn record_or_say(&self, end: &End) {
        if let Err(error) = self.record(end).await {
            tracing::warn!(
                target: "number7", event = end.event.0,
                "could not record the end of an attempt; the event will be handled again: {error}"
            );
        }
    }

    /// Records one end.
    async fn record(&self, end: &End) -> Result<Recorded, InboxError> {
        let ends = slice::from_ref(end);
        let Settings { lease, .. } = self.job.settings;
        let exchange = Exchange { worker: &self.worker, lease, ends, ..Exchange::default() };
        let exchanged = self.job.store.exchange(exchange).await?;
        if !exchanged.locked.is_empty() {
            return Err(InboxErrorKind::Busy.into());
        }
        Ok(if exchanged.ended.is_empty() { Recorded::Lost } else { Recorded::Counts })
    }
}
