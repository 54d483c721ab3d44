//! The store as a process reaches it: it answers late, or not at all, and executes calls even if nobody waits for them anymore.

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use number7_core::Acceptance;
use tokio::{
    runtime::Handle,
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

use super::rules::Seen;
use crate::{
    Entry, InboxError, InboxErrorKind, STORE_TIMEOUT, State, Stats,
    model::{
        change::Change,
        claim::ClaimId,
        end::End,
        expectation::{ExpectedJob, JobPlace, JobToFetch, LookUp, OverdueRow, Rest},
        paused::{NewPause, Paused},
        wake::Wake,
        worker_status::WorkerStatus,
    },
    store::{
        Answer, Exchange, Exchanged, Listed, NewEvent, PerMinute, Store, WaitingAccounts,
        expectations::Expectations,
        memory::{Memory, Tables},
    },
};

/// A rule that is broken on purpose, to check that this is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    Nothing,
    /// An end counts no matter which attempt it is of, and which worker has the event.
    Fence,
    /// A lease expires after half of its time.
    Lease,
    /// An attempt is not counted when it is claimed.
    Begin,
    /// The claims of a worker that is not registered are never rescued.
    Registration,
    /// An event with a known key is stored again.
    Key,
    /// Nobody finds the events without an account while accounts are paused.
    Accountless,
}

/// How long a call takes at most while nothing goes wrong.
pub(super) const LONGEST_CALL: Duration = Duration::from_millis(20);

#[derive(Clone)]
pub(super) struct World {
    broken: Broken,
    pub(super) memory: Memory,
    /// The [`Wake`] of the worker of each process.
    wakes: Arc<Mutex<BTreeMap<usize, Arc<Wake>>>>,
    pub(super) seen: Arc<Mutex<Seen>>,
}

impl World {
    pub(super) fn new(seed: u64, processes: usize, broken: Broken) -> Self {
        let seen = Arc::new(Mutex::new(Seen::new(seed, processes)));
        let memory = Memory::default();
        // So that it can be set back.
        memory.apply(|tables| tables.clock.set = Duration::from_secs(3_600));
        Self { broken, memory, wakes: Arc::default(), seen }
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn are_done(&self) -> bool {
        self.memory.apply(|tables| tables.are_done())
    }

    pub(super) async fn all_are_done(&self) {
        while !self.are_done() {
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits while a process hangs; forever if this life of it is over.
    pub(super) async fn awake(&self, node: usize, life: u32) {
        loop {
            let now = self.seen().lives[node];
            if now.is_over || now.number != life {
                pending::<()>().await;
            }
            match now.stands_until > Instant::now() {
                // In steps, because it may continue earlier.
                true => sleep(Duration::from_millis(500)).await,
                false => return,
            }
        }
    }

    /// Whether the store will never take one of these ends.
    fn refuses(&self, ends: &[End]) -> bool {
        let Some((key, away)) = self.seen().refused.clone() else { return false };
        let is_refused =
            self.memory.apply(|tables| ends.iter().any(|end| tables.events[&end.event].key == key));
        if is_refused {
            let mut seen = self.seen();
            seen.away_until = seen.away_until.max(Instant::now() + away);
            seen.refused = Some((key, Duration::ZERO));
        }
        is_refused
    }

    /// Applies a call to the store, and checks everything in it.
    pub(super) fn apply<T>(&self, operation: impl FnOnce(&mut Tables) -> T) -> T {
        self.memory.apply(|tables| {
            let answer = operation(tables);
            self.seen().look(tables);
            answer
        })
    }
}

/// What happens to a call of the store.
enum Fate {
    /// It happens after half of this time, and is answered at the end.
    Answered(Duration),
    /// It happens after half of this time, and the answer is lost.
    Unanswered(Duration),
    /// It does not happen, and there is no answer.
    Swallowed,
    Refused,
}

/// The store, as one life of a process reaches it.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) world: World,
    pub(super) number: usize,
    pub(super) life: u32,
    wake: Arc<Wake>,
}

impl Node {
    pub(super) fn new(world: &World, number: usize, life: u32) -> Self {
        let wake = Arc::new(Wake::default());
        wake.set_hears_others(world.seen().random.is(50));
        let mut wakes = world.wakes.lock().unwrap_or_else(PoisonError::into_inner);
        wakes.insert(number, Arc::clone(&wake));
        Self { world: world.clone(), number, life, wake }
    }

    fn fate(&self, call: &str) -> Fate {
        let seen = &mut *self.world.seen();
        seen.calls += 1;
        if seen.away_until > Instant::now() {
            let is_silent = seen.is_faulty && seen.random.is(50);
            return if is_silent { Fate::Swallowed } else { Fate::Refused };
        }
        if seen.loses.take_if(|lost| *lost == call).is_some() {
            return Fate::Unanswered(LONGEST_CALL);
        }
        let is_ill = seen.is_faulty && seen.random.is(6);
        if !is_ill {
            let longest = LONGEST_CALL.as_millis() as u64;
            let takes = seen.random.millis(0, longest);
            return Fate::Answered(seen.call_takes.unwrap_or(takes));
        }
        let (fate, name) = match seen.random.below(4) {
            0 => (Fate::Answered(seen.random.millis(1_000, 12_000)), "is slow"),
            1 => (Fate::Unanswered(seen.random.millis(0, 12_000)), "loses its answer"),
            2 => (Fate::Swallowed, "is swallowed"),
            _ => (Fate::Refused, "is refused"),
        };
        seen.note(format!("{call} of process {} {name}", self.number));
        fate
    }

    async fn call<T: Send + 'static>(
        &self,
        name: &'static str,
        operation: impl FnOnce(&mut Tables) -> T + Send + 'static,
    ) -> Result<T, InboxError> {
        self.world.awake(self.number, self.life).await;
        let fate = self.fate(name);
        let (world, (answer, answered)) = (self.world.clone(), oneshot::channel());
        let (after, is_answered) = match fate {
            Fate::Answered(after) => (after, true),
            Fate::Unanswered(after) => (after, false),
            Fate::Swallowed => (Duration::MAX, false),
            Fate::Refused => {
                sleep(Duration::from_millis(5)).await;
                return Err(InboxErrorKind::Unreachable.into());
            }
        };
        // The store executes it even if the process is gone by then.
        tokio::spawn(async move {
            // Half of the time for the way there, and half for the way back.
            sleep(after / 2).await;
            if world.seen().away_until > Instant::now() {
                return pending().await;
            }
            let applied = world.apply(operation);
            if is_answered {
                sleep(after / 2).await;
                _ = answer.send(applied);
            }
            pending::<()>().await;
        });
        let answer = match timeout(STORE_TIMEOUT, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            // The task that would answer waits forever, unless it panicked.
            Ok(Err(_)) => {
                self.world.seen().violated(format!("the store panicked at {name}"));
                pending().await
            }
            Err(_) => Err(InboxErrorKind::TooSlow.into()),
        };
        self.world.awake(self.number, self.life).await;
        answer
    }
}

impl Store for Node {
    fn kind(&self) -> &'static str {
        "simulated"
    }

    fn named(&self, _: &str) -> Arc<dyn Store> {
        Arc::new(self.clone())
    }

    fn wake(&self) -> &Arc<Wake> {
        &self.wake
    }

    /// Other processes are notified late, or never.
    fn announce(&self) {
        self.wake.events_are_ready();
        let world = self.world.clone();
        let (is_lost, after) = {
            let random = &mut world.seen().random;
            (random.is(30), random.millis(0, 50))
        };
        if !is_lost {
            tokio::spawn(async move {
                sleep(after).await;
                let wakes = world.wakes.lock().unwrap_or_else(PoisonError::into_inner);
                wakes.values().for_each(|wake| wake.events_are_ready());
            });
        }
    }

    fn insert(&self, event: NewEvent) -> Answer<'_, Acceptance> {
        let broken = self.world.broken;
        let insert = move |tables: &mut Tables| {
            if broken == Broken::Key {
                tables.forget_key(&event.key);
            }
            tables.insert(event)
        };
        Box::pin(self.call("insert", insert))
    }

    fn runtime(&self) -> Handle {
        Handle::current()
    }

    fn exchange<'a>(&'a self, exchange: Exchange<'a>) -> Answer<'a, Exchanged> {
        let Exchange { worker, lease, ends, most, ahead, quarantined, accounts, of_each } =
            exchange;
        let (worker, ends, accounts) = (worker.to_owned(), ends.to_vec(), accounts.to_vec());
        self.world.seen().may_claim(self.number, self.life, most + ahead, quarantined);
        self.world.seen().may_end(&ends);
        let (broken, is_refused) = (self.world.broken, self.world.refuses(&ends));
        let exchange = move |tables: &mut Tables| {
            if broken == Broken::Fence {
                for end in &ends {
                    tables.put_back(end.event, State::Ready);
                    tables.change(end.event, |row| row.number = end.number);
                }
            }
            let (worker, ends, accounts) = (&worker, &ends, &accounts);
            let exchange =
                Exchange { worker, lease, ends, most, ahead, quarantined, accounts, of_each };
            let mut exchanged = tables.exchange(exchange);
            if broken == Broken::Begin {
                for claim in &mut exchanged.claims {
                    claim.number.of_all -= 1;
                    tables.change(claim.event, |row| row.number = claim.number);
                }
            }
            exchanged
        };
        Box::pin(async move {
            if is_refused {
                return Err(InboxErrorKind::Unstorable.into());
            }
            let exchanged = self.call("exchange", exchange).await?;
            exchanged.claims.iter().for_each(|claim| self.world.seen().claimed(claim));
            Ok(exchanged)
        })
    }

    fn waiting_accounts<'a>(&'a self, from: &'a str) -> Answer<'a, WaitingAccounts> {
        let from = from.to_owned();
        let broken = self.world.broken;
        let look = move |tables: &mut Tables| {
            let mut waiting = tables.waiting_accounts(&from);
            if broken == Broken::Accountless {
                waiting.accounts.retain(|account| !account.is_empty());
            }
            waiting
        };
        Box::pin(self.call("waiting_accounts", look))
    }

    fn heartbeat<'a>(&'a self, worker: &'a str) -> Answer<'a, Vec<ClaimId>> {
        let worker = worker.to_owned();
        self.world.seen().workers.insert(worker.clone(), (self.number, self.life));
        Box::pin(async move {
            let world = self.world.clone();
            let heartbeat = move |tables: &mut Tables| {
                world.seen().heard.insert(worker.clone(), Instant::now());
                tables.heartbeat(&worker)
            };
            let held = self.call("heartbeat", heartbeat).await;
            self.world.seen().renewed(self.number, held.is_ok());
            held
        })
    }

    fn release<'a>(&'a self, worker: &'a str, claims: &'a [ClaimId]) -> Answer<'a, ()> {
        let (worker, claims, world) = (worker.to_owned(), claims.to_vec(), self.world.clone());
        let release = move |tables: &mut Tables| {
            let released = tables.release(&worker, &claims);
            released.into_iter().for_each(|claim| world.seen().released(claim));
        };
        Box::pin(self.call("release", release))
    }

    fn forget<'a>(&'a self, worker: &'a str) -> Answer<'a, ()> {
        let worker = worker.to_owned();
        Box::pin(self.call("forget", move |tables| tables.forget(&worker)))
    }

    fn rescue(&self, lease: Duration, quarantine_after: u32) -> Answer<'_, u64> {
        self.world.seen().may_rescue(self.number);
        let (world, broken) = (self.world.clone(), self.world.broken);
        let rescue = move |tables: &mut Tables| {
            let lease = if broken == Broken::Lease { lease / 2 } else { lease };
            if broken == Broken::Registration {
                tables.register_all();
            }
            let rescued = tables.rescue(lease, quarantine_after);
            let number = rescued.len() as u64;
            world.seen().rescued(rescued, tables);
            number
        };
        Box::pin(self.call("rescue", rescue))
    }

    fn sweep(&self, retention: Duration, of_dead: Option<Duration>) -> Answer<'_, u64> {
        Box::pin(self.call("sweep", move |tables| tables.sweep(retention, of_dead)))
    }

    fn forget_payloads<'a>(
        &'a self,
        retention: Duration,
        after: Option<&'a str>,
    ) -> Answer<'a, Option<String>> {
        self.world.memory.forget_payloads(retention, after)
    }

    fn ping(&self) -> Answer<'_, ()> {
        self.world.memory.ping()
    }

    fn now(&self) -> Answer<'_, SystemTime> {
        self.world.memory.now()
    }

    fn pause<'a>(&'a self, account: &'a str, pause: NewPause) -> Answer<'a, ()> {
        self.world.memory.pause(account, pause)
    }

    fn resume<'a>(&'a self, account: &'a str) -> Answer<'a, bool> {
        self.world.memory.resume(account)
    }

    fn pauses(&self) -> Answer<'_, Vec<Paused>> {
        self.world.memory.pauses()
    }

    fn stats(&self) -> Answer<'_, Stats> {
        self.world.memory.stats()
    }

    fn handled_per_minute(&self, first: i64) -> Answer<'_, PerMinute> {
        self.world.memory.handled_per_minute(first)
    }

    fn workers(&self) -> Answer<'_, Vec<WorkerStatus>> {
        self.world.memory.workers()
    }

    fn place_of(&self, time: SystemTime) -> String {
        self.world.memory.place_of(time)
    }

    fn list<'a>(&'a self, state: State, after: Option<&'a str>, most: u32) -> Answer<'a, Listed> {
        self.world.memory.list(state, after, most)
    }

    fn show<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Entry>> {
        self.world.memory.show(key)
    }

    fn change<'a>(&'a self, keys: &'a [String], change: Change) -> Answer<'a, u64> {
        self.world.memory.change(keys, change)
    }
}

impl Expectations for Node {
    fn expect_job(&self, job: ExpectedJob, within: Duration) -> Answer<'_, ()> {
        Box::pin(self.call("expect_job", move |tables| tables.expect_job(job, within)))
    }

    fn cancel_expectation<'a>(&'a self, job: &'a str) -> Answer<'a, bool> {
        let job = job.to_owned();
        let cancel = move |tables: &mut Tables| tables.cancel_expectation(&job);
        Box::pin(self.call("cancel_expectation", cancel))
    }

    fn look_up(&self) -> Answer<'_, LookUp> {
        Box::pin(self.call("look_up", Tables::look_up))
    }

    fn overdue(&self, after: Option<JobPlace>, most: u32) -> Answer<'_, Vec<OverdueRow>> {
        self.world.memory.overdue(after, most)
    }

    fn lead<'a>(&'a self, worker: &'a str, lease: Duration) -> Answer<'a, bool> {
        let worker = worker.to_owned();
        Box::pin(self.call("lead", move |tables| tables.lead(&worker, lease)))
    }

    fn give_up<'a>(&'a self, job: &'a str, times: u32) -> Answer<'a, bool> {
        let job = job.to_owned();
        Box::pin(self.call("give_up", move |tables| tables.give_up(&job, times)))
    }

    fn accounts_to_fetch<'a>(&'a self, from: &'a str) -> Answer<'a, WaitingAccounts> {
        let from = from.to_owned();
        Box::pin(self.call("accounts_to_fetch", move |tables| tables.accounts_to_fetch(&from)))
    }

    fn take<'a>(
        &'a self,
        accounts: &'a [String],
        of_each: u32,
        rest: Rest,
    ) -> Answer<'a, Vec<JobToFetch>> {
        let accounts = accounts.to_vec();
        Box::pin(self.call("take", move |tables| tables.take(&accounts, of_each, rest)))
    }
}
