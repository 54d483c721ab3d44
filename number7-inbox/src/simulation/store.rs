//! The store as a process reaches it: it answers late, or not at all, and carries out what nobody waits
//! for any more.

use std::{
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
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
    engine::{
        Answer, End, Engine, Held, Listed, NewEvent, Turn, Turned,
        expected::{Expectations, Expected, JobPlace, LookedUp, OverdueRow, Rest, Taken},
        memory::{Broken, Memory, Tables},
    },
};

/// How long a call takes at most while all is well.
pub(super) const LONGEST_CALL: Duration = Duration::from_millis(20);

#[derive(Clone)]
pub(super) struct World {
    pub(super) memory: Memory,
    pub(super) seen: Arc<Mutex<Seen>>,
}

impl World {
    pub(super) fn new(seed: u64, processes: usize, broken: Broken) -> Self {
        let seen = Arc::new(Mutex::new(Seen::new(seed, processes)));
        Self { memory: Memory::new(broken), seen }
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while a process stands still; for ever if this life of it is over.
    pub(super) async fn awake(&self, node: usize, life: u32) {
        loop {
            let now = self.seen().lives[node];
            if now.is_over || now.number != life {
                pending::<()>().await;
            }
            match now.stands_until > Instant::now() {
                // In steps, because it may be woken before.
                true => sleep(Duration::from_millis(500)).await,
                false => return,
            }
        }
    }

    /// Whether the store will never take one of these ends.
    fn refuses(&self, ends: &[End]) -> bool {
        let Some((key, away)) = self.seen().refused.clone() else { return false };
        let is_refused =
            self.memory.apply(|tables| ends.iter().any(|end| tables.tasks[&end.task].key == key));
        if is_refused {
            let mut seen = self.seen();
            seen.away_until = seen.away_until.max(Instant::now() + away);
            seen.refused = Some((key, Duration::ZERO));
        }
        is_refused
    }

    /// Applies a call to the store, and looks at all of it.
    pub(super) fn apply<T>(&self, operation: impl FnOnce(&mut Tables) -> T) -> T {
        self.memory.apply(|tables| {
            let answer = operation(tables);
            self.seen().look(tables);
            answer
        })
    }
}

/// What becomes of a call of the store.
enum Fate {
    /// It happens half-way through this time, and the answer is given at its end.
    Answered(Duration),
    /// It happens after half of this time, and the answer is lost.
    Unanswered(Duration),
    /// It does not happen, and nobody says so.
    Swallowed,
    Refused,
}

/// The store, as one life of a process reaches it.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) world: World,
    pub(super) number: usize,
    pub(super) life: u32,
}

impl Node {
    fn fate(&self, call: &str) -> Fate {
        let seen = &mut *self.world.seen();
        seen.calls += 1;
        if seen.away_until > Instant::now() {
            let is_silent = seen.is_faulty && seen.random.is(50);
            return if is_silent { Fate::Swallowed } else { Fate::Refused };
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
        // The store carries it out even if the process is gone by then.
        tokio::spawn(async move {
            // There, and back.
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
            // The task that would answer waits for ever, unless it has panicked.
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

impl Engine for Node {
    fn insert(&self, event: NewEvent) -> Answer<'_, Acceptance> {
        Box::pin(self.call("insert", move |tables| tables.insert(event)))
    }

    fn runtime(&self) -> Handle {
        Handle::current()
    }

    fn turn<'a>(&'a self, turn: Turn<'a>) -> Answer<'a, Turned> {
        let Turn { worker, lease, ends, most, suspect } = turn;
        let (worker, ends) = (worker.to_owned(), ends.to_vec());
        self.world.seen().may_claim(self.number, self.life, most, suspect);
        self.world.seen().may_end(&ends);
        let is_refused = self.world.refuses(&ends);
        let turn = move |tables: &mut Tables| {
            tables.turn(Turn { worker: &worker, lease, ends: &ends, most, suspect })
        };
        Box::pin(async move {
            if is_refused {
                return Err(InboxErrorKind::Unstorable.into());
            }
            let turned = self.call("turn", turn).await?;
            turned.claimed.iter().for_each(|claim| self.world.seen().claimed(claim));
            Ok(turned)
        })
    }

    fn keep_alive<'a>(&'a self, worker: &'a str) -> Answer<'a, Vec<Held>> {
        let worker = worker.to_owned();
        self.world.seen().workers.insert(worker.clone(), (self.number, self.life));
        Box::pin(async move {
            let world = self.world.clone();
            let keep_alive = move |tables: &mut Tables| {
                world.seen().heard.insert(worker.clone(), Instant::now());
                tables.keep_alive(&worker)
            };
            let held = self.call("keep_alive", keep_alive).await;
            self.world.seen().renewed(self.number, held.is_ok());
            held
        })
    }

    fn release<'a>(&'a self, worker: &'a str, held: &'a [Held]) -> Answer<'a, ()> {
        let (worker, held) = (worker.to_owned(), held.to_vec());
        Box::pin(self.call("release", move |tables| tables.release(&worker, &held)))
    }

    fn forget<'a>(&'a self, worker: &'a str) -> Answer<'a, ()> {
        let worker = worker.to_owned();
        Box::pin(self.call("forget", move |tables| tables.forget(&worker)))
    }

    fn reap(&self, lease: Duration, suspect_after: u32) -> Answer<'_, u64> {
        self.world.seen().may_take_over(self.number);
        Box::pin(self.call("reap", move |tables| tables.reap(lease, suspect_after)))
    }

    fn sweep(&self, retention: Duration, of_dead: Option<Duration>) -> Answer<'_, u64> {
        Box::pin(self.call("sweep", move |tables| tables.sweep(retention, of_dead)))
    }

    fn ping(&self) -> Answer<'_, ()> {
        self.world.memory.ping()
    }

    fn stats(&self) -> Answer<'_, Stats> {
        self.world.memory.stats()
    }

    fn list<'a>(&'a self, state: State, after: Option<&'a str>, most: u32) -> Answer<'a, Listed> {
        self.world.memory.list(state, after, most)
    }

    fn show<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Entry>> {
        self.world.memory.show(key)
    }

    fn requeue<'a>(&'a self, keys: &'a [String]) -> Answer<'a, u64> {
        self.world.memory.requeue(keys)
    }

    fn discard<'a>(&'a self, key: &'a str) -> Answer<'a, bool> {
        self.world.memory.discard(key)
    }
}

impl Expectations for Node {
    fn expect(&self, job: Expected, within: Duration) -> Answer<'_, ()> {
        self.world.memory.expect(job, within)
    }

    fn forget_job<'a>(&'a self, job: &'a str) -> Answer<'a, bool> {
        self.world.memory.forget_job(job)
    }

    fn look_up(&self) -> Answer<'_, LookedUp> {
        self.world.memory.look_up()
    }

    fn overdue(&self, after: Option<JobPlace>, most: u32) -> Answer<'_, Vec<OverdueRow>> {
        self.world.memory.overdue(after, most)
    }

    fn lead<'a>(&'a self, worker: &'a str, lease: Duration) -> Answer<'a, bool> {
        self.world.memory.lead(worker, lease)
    }

    fn give_up<'a>(&'a self, job: &'a str) -> Answer<'a, ()> {
        self.world.memory.give_up(job)
    }

    fn take<'a>(&'a self, most: u32, rest: Rest) -> Answer<'a, Vec<Taken>> {
        self.world.memory.take(most, rest)
    }
}
