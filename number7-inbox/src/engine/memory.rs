//! A store in memory, for tests: the rules of the real ones, each in a line or two, and virtual time.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use futures_util::future::ready;
use number7_core::{
    Acceptance,
    contract::{self, Place},
};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

use super::{
    Answer, Claim, End, Engine, Held, Listed, NewEvent, Number, Turn, Turned,
    expected::{Expectations, Expected, JobPlace, LookedUp, OverdueRow, Rest, Taken},
};
use crate::{
    AcceptedEvent, BoxError, Entry, Inbox, InboxErrorKind, Origin, State, Stats, StoredEvent,
    history::History,
};

/// A rule that is broken on purpose, to see that somebody notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    Nothing,
    /// An end counts whatever attempt it is of, and whoever has the event.
    Fence,
    /// A worker is dead after half of its lease.
    Lease,
    /// An attempt is not counted when it is claimed.
    Begin,
    /// What a worker holds that is not registered stays with it.
    Registration,
    /// A key that is known is stored again.
    Key,
}

/// The store. All that happens to it happens at once, in a call of [`Memory::apply`].
#[derive(Clone)]
pub(crate) struct Memory(Arc<Mutex<Tables>>);

pub(crate) struct Tables {
    pub(crate) broken: Broken,
    /// By their names, which are in the order of acceptance.
    pub(crate) tasks: BTreeMap<String, Task>,
    /// When each worker was last heard of.
    pub(crate) workers: HashMap<String, Instant>,
    /// How fast the clock of the store is, and how far it was set, from an hour on.
    pub(crate) clock: (f64, Duration),
    begun: Instant,
    claims: u64,
    /// The attempts whose worker was taken for dead.
    pub(crate) reaped: Vec<(String, u32, String)>,
}

pub(crate) struct Task {
    pub(crate) key: String,
    json: Vec<u8>,
    origin: Origin,
    pub(crate) status: &'static str,
    pub(crate) number: Number,
    pub(crate) worker: Option<(String, u64)>,
    due: Instant,
    claimed: Instant,
    over: Option<Instant>,
    history: History,
}

impl Memory {
    pub(crate) fn new(broken: Broken) -> Self {
        let (tasks, workers) = (BTreeMap::new(), HashMap::new());
        let clock = (1.0, Duration::from_secs(3600));
        let (begun, reaped) = (Instant::now(), Vec::new());
        let tables = Tables { broken, tasks, workers, clock, begun, claims: 0, reaped };
        Self(Arc::new(Mutex::new(tables)))
    }

    pub(crate) fn apply<T>(&self, operation: impl FnOnce(&mut Tables) -> T) -> T {
        operation(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn are_done(&self) -> bool {
        self.apply(|tables| tables.tasks.values().all(|task| task.status == "Done"))
    }

    pub(crate) async fn all_are_done(&self) {
        while !self.are_done() {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Tables {
    fn now(&self) -> Instant {
        let (speed, set) = self.clock;
        self.begun + self.begun.elapsed().mul_f64(speed) + set
    }

    pub(crate) fn insert(&mut self, event: NewEvent) -> Acceptance {
        let is_known = self.tasks.values().any(|task| task.key == event.key);
        if is_known && self.broken != Broken::Key {
            return Acceptance::Duplicate;
        }
        let NewEvent { key, json, origin } = event;
        let task = Task {
            key,
            json: json.to_vec(),
            origin,
            status: "Pending",
            number: Number { of_all: 0, uncounted: 0 },
            worker: None,
            due: self.now(),
            claimed: self.now(),
            over: None,
            history: History::default(),
        };
        self.tasks.insert(format!("{:09}", self.tasks.len()), task);
        Acceptance::New
    }

    pub(crate) fn turn(&mut self, turn: Turn<'_>) -> Turned {
        let Turn { worker, lease, ends, most, suspect } = turn;
        let mut turned = Turned::default();
        for end in ends {
            if self.end(worker, end) {
                turned.ended.push(end.task.clone());
            }
        }
        let is_live = |seen: &Instant| self.now() - *seen <= lease;
        turned.is_lapsed = most > 0 && !self.workers.get(worker).is_some_and(is_live);
        if turned.is_lapsed {
            return turned;
        }
        self.claim(worker, "Failed", usize::from(suspect).min(most), &mut turned.claimed);
        let left = most - turned.claimed.len();
        self.claim(worker, "Pending", left, &mut turned.claimed);
        turned
    }

    fn end(&mut self, worker: &str, end: &End) -> bool {
        let now = self.now();
        let Some(task) = self.tasks.get_mut(&end.task) else { return false };
        let status = end.outcome.status();
        let expected = if task.status == "Killed" { end.after() } else { end.number };
        let is_current = task.number.of_all == expected.of_all
            && task.worker.as_ref().is_none_or(|(holder, _)| holder == worker);
        let is_over = task.status == "Done" && status != "Done"
            || task.status == "Killed" && status == "Pending";
        if self.broken != Broken::Fence && (!is_current || is_over) {
            return false;
        }
        (task.status, task.number, task.worker) = (status, end.after(), None);
        task.due = now + end.outcome.delay();
        task.over = (status != "Pending").then_some(now);
        if let Some(history) = &end.history {
            task.history = history.clone();
        }
        true
    }

    fn claim(&mut self, worker: &str, status: &str, most: usize, claims: &mut Vec<Claim>) {
        let now = self.now();
        let mut due: Vec<_> = self.tasks.iter_mut().collect();
        due.retain(|(_, task)| task.status == status && task.due <= now);
        due.sort_by_key(|(_, task)| task.due);
        for (name, task) in due.into_iter().take(most) {
            self.claims += 1;
            (task.status, task.worker) = ("Running", Some((worker.to_owned(), self.claims)));
            task.claimed = now;
            task.number.of_all += u32::from(self.broken != Broken::Begin);
            claims.push(Claim {
                task: name.clone(),
                number: task.number,
                key: task.key.clone(),
                stored: StoredEvent::new(task.json.clone()),
                history: task.history.clone(),
                origin: task.origin,
                is_suspect: status == "Failed",
            });
        }
    }

    pub(crate) fn keep_alive(&mut self, worker: &str) -> Vec<Held> {
        self.workers.insert(worker.to_owned(), self.now());
        let held = |(name, task): (&String, &Task)| {
            let (holder, since) = task.worker.as_ref()?;
            (holder == worker).then(|| (name.clone(), since.to_string()))
        };
        self.tasks.iter().filter_map(held).collect()
    }

    pub(crate) fn release(&mut self, worker: &str, held: &[Held]) {
        for (name, since) in held {
            let Some(task) = self.tasks.get_mut(name) else { continue };
            let is_same = task
                .worker
                .as_ref()
                .is_some_and(|(holder, claim)| holder == worker && claim.to_string() == *since);
            if is_same {
                (task.status, task.worker) = ("Pending", None);
                task.number.of_all = task.number.of_all.saturating_sub(1);
            }
        }
    }

    pub(crate) fn forget(&mut self, worker: &str) {
        let holds = |task: &Task| task.worker.as_ref().is_some_and(|(holder, _)| holder == worker);
        if !self.tasks.values().any(holds) {
            self.workers.remove(worker);
        }
    }

    pub(crate) fn reap(&mut self, lease: Duration, suspect_after: u32) -> u64 {
        let lease = if self.broken == Broken::Lease { lease / 2 } else { lease };
        let now = self.now();
        let mut reaped = 0;
        for (name, task) in &mut self.tasks {
            let Some((worker, _)) = &task.worker else { continue };
            let is_live = |seen: &Instant| now - *seen <= lease;
            if self.broken == Broken::Registration && !self.workers.contains_key(worker) {
                continue;
            }
            if now - task.claimed > lease && !self.workers.get(worker).is_some_and(is_live) {
                self.reaped.push((name.clone(), task.number.of_all, worker.clone()));
                let is_suspect = task.number.counted() >= suspect_after;
                task.status = if is_suspect { "Failed" } else { "Pending" };
                task.worker = None;
                reaped += 1;
            }
        }
        reaped
    }

    pub(crate) fn sweep(&mut self, retention: Duration, of_dead: Option<Duration>) -> u64 {
        let (before, now) = (self.tasks.len(), self.now());
        self.tasks.retain(|_, task| {
            let retention = match task.status {
                "Done" => Some(retention),
                "Killed" => of_dead,
                _ => None,
            };
            let age = task.over.map(|over| now - over);
            retention.is_none_or(|limit| age.is_none_or(|age| age <= limit))
        });
        (before - self.tasks.len()) as u64
    }

    /// Returns the tasks that it put back to work.
    pub(crate) fn requeue(&mut self, is_meant: impl Fn(&Task) -> bool) -> Vec<String> {
        let now = self.now();
        let mut requeued = Vec::new();
        for (name, task) in &mut self.tasks {
            if task.status == "Killed" && is_meant(task) {
                let of_all = task.number.of_all + 2;
                (task.status, task.number) = ("Pending", Number { of_all, uncounted: of_all });
                (task.due, task.over) = (now, None);
                requeued.push(name.clone());
            }
        }
        requeued
    }

    fn stats(&self) -> Stats {
        let now = self.now();
        let count = |is: fn(&Task, Instant) -> bool| {
            self.tasks.values().filter(|task| is(task, now)).count() as u64
        };
        Stats {
            due: count(|task, now| matches!(task.status, "Pending" | "Failed") && task.due <= now),
            later: count(|task, now| task.status == "Pending" && task.due > now),
            in_hand: count(|task, _| task.status == "Running"),
            done: count(|task, _| task.status == "Done"),
            dead: count(|task, _| task.status == "Killed"),
            ..Stats::default()
        }
    }

    fn show(&self, key: &str) -> Option<Entry> {
        let (name, task) = self.tasks.iter().find(|(_, task)| task.key == key)?;
        Some(Entry {
            place: String::new(),
            task: name.clone(),
            key: task.key.clone(),
            stored: StoredEvent::new(task.json.clone()),
            origin: task.origin,
            state: match task.status {
                "Running" => State::InHand,
                "Done" => State::Done,
                "Killed" => State::Dead,
                _ if task.due > self.now() => State::Later,
                _ => State::Due,
            },
            since: SystemTime::now(),
            worker_seen: None,
            attempts: task.number.counted(),
            history: task.history.clone(),
        })
    }
}

fn at_once<'a, T: Send + 'a>(value: T) -> Answer<'a, T> {
    Box::pin(ready(Ok(value)))
}

/// Answers at once. Only `list` fails.
impl Engine for Memory {
    fn insert(&self, event: NewEvent) -> Answer<'_, Acceptance> {
        at_once(self.apply(|tables| tables.insert(event)))
    }

    fn runtime(&self) -> Handle {
        Handle::current()
    }

    fn turn<'a>(&'a self, turn: Turn<'a>) -> Answer<'a, Turned> {
        at_once(self.apply(|tables| tables.turn(turn)))
    }

    fn keep_alive<'a>(&'a self, worker: &'a str) -> Answer<'a, Vec<Held>> {
        at_once(self.apply(|tables| tables.keep_alive(worker)))
    }

    fn release<'a>(&'a self, worker: &'a str, held: &'a [Held]) -> Answer<'a, ()> {
        self.apply(|tables| tables.release(worker, held));
        at_once(())
    }

    fn forget<'a>(&'a self, worker: &'a str) -> Answer<'a, ()> {
        self.apply(|tables| tables.forget(worker));
        at_once(())
    }

    fn reap(&self, lease: Duration, suspect_after: u32) -> Answer<'_, u64> {
        at_once(self.apply(|tables| tables.reap(lease, suspect_after)))
    }

    fn sweep(&self, retention: Duration, of_dead: Option<Duration>) -> Answer<'_, u64> {
        at_once(self.apply(|tables| tables.sweep(retention, of_dead)))
    }

    fn ping(&self) -> Answer<'_, ()> {
        at_once(())
    }

    fn stats(&self) -> Answer<'_, Stats> {
        at_once(self.apply(|tables| tables.stats()))
    }

    fn list<'a>(&'a self, _: State, _: Option<&'a str>, _: u32) -> Answer<'a, Listed> {
        Box::pin(ready(Err(InboxErrorKind::Invalid.into())))
    }

    fn show<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Entry>> {
        at_once(self.apply(|tables| tables.show(key)))
    }

    fn requeue<'a>(&'a self, keys: &'a [String]) -> Answer<'a, u64> {
        let is_meant = |task: &Task| keys.contains(&task.key);
        at_once(self.apply(|tables| tables.requeue(is_meant).len() as u64))
    }

    fn discard<'a>(&'a self, _: &'a str) -> Answer<'a, bool> {
        at_once(false)
    }
}

/// It expects nothing.
impl Expectations for Memory {
    fn expect(&self, _: Expected, _: Duration) -> Answer<'_, ()> {
        at_once(())
    }

    fn forget_job<'a>(&'a self, _: &'a str) -> Answer<'a, bool> {
        at_once(false)
    }

    fn look_up(&self) -> Answer<'_, LookedUp> {
        at_once(LookedUp::default())
    }

    fn overdue(&self, _: Option<JobPlace>, _: u32) -> Answer<'_, Vec<OverdueRow>> {
        at_once(Vec::new())
    }

    fn lead<'a>(&'a self, _: &'a str, _: Duration) -> Answer<'a, bool> {
        at_once(false)
    }

    fn give_up<'a>(&'a self, _: &'a str) -> Answer<'a, ()> {
        at_once(())
    }

    fn take<'a>(&'a self, _: u32, _: Rest) -> Answer<'a, Vec<Taken>> {
        at_once(Vec::new())
    }
}

#[tokio::test]
async fn keeps_the_contract() {
    struct Places(Memory);

    impl Place for Places {
        type Inbox = Inbox;

        async fn open(&self) -> Inbox {
            Inbox::test(Arc::new(self.0.clone()))
        }

        async fn work(&self) -> Vec<Vec<u8>> {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let handled = Arc::clone(&seen);
            let worker = self.open().await.worker(move |event: AcceptedEvent| {
                handled.lock().unwrap().push(event.json().to_vec());
                async { Ok::<_, BoxError>(()) }
            });
            worker.run_until(self.0.all_are_done()).await;
            Arc::into_inner(seen).unwrap().into_inner().unwrap()
        }
    }

    let place = Places(Memory::new(Broken::Nothing));
    contract::survives_a_crash(&place).await;
    contract::one_of_many_is_new(&place).await;
    contract::a_dropped_future_loses_nothing(&place).await;
    contract::reaches_the_handler(&place).await;
    contract::stays_known(&place).await;
}
