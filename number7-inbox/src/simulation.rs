//! The protocol of workers, receivers and the sender, simulated in virtual time: stores that are away,
//! slow or lose answers, clocks that drift and are set, and processes that die, stand still, stop and
//! come back, by a seed.
//!
//! `NUMBER7_SEEDS` is how many seeds are tried, and `NUMBER7_SEED` names a single one. One that fails
//! prints its schedule.

use std::{
    collections::{BTreeSet, HashMap},
    env,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use number7_core::{Accept, Acceptance, Record, Secret, Verifier};
use tokio::{
    runtime,
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::{
    AcceptedEvent, BoxError, Entry, Inbox, InboxError, InboxErrorKind, STORE_TIMEOUT, State, Stats,
    engine::{
        Answer, Engine, Held, Listed, NewEvent, Turn, Turned,
        expected::{Expectations, Expected, JobPlace, LookedUp, OverdueRow, Rest, Taken},
        memory::{Broken, Memory, Tables},
    },
};

const NODES: usize = 3;
const LEASE: Duration = Duration::from_secs(20);

/// How long things go wrong, and how long it may take afterwards until all is handled.
const FAULTS: Duration = Duration::from_secs(120);
const HEALING: Duration = Duration::from_secs(900);

/// How long before it was taken for dead a worker must have been well for that to be wrong.
const WELL: Duration = Duration::from_secs(35);

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn is(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// A process: which of its lives it is in, and until when it stands still.
#[derive(Clone, Copy)]
struct Life {
    number: u32,
    is_over: bool,
    /// Its worker has stopped, as it was told to.
    has_stopped: bool,
    stands_until: Instant,
    /// When something was last wrong with it or its connection.
    ill_at: Option<Instant>,
}

struct Running {
    node: usize,
    life: u32,
    task: String,
    attempt: u32,
}

struct Seen {
    random: Random,
    begun: Instant,
    schedule: Vec<String>,
    violation: Option<String>,
    is_faulty: bool,
    away_until: Instant,
    lives: Vec<Life>,
    /// Which life of which process a worker is of.
    workers: HashMap<String, (usize, u32)>,
    running: HashMap<String, Vec<Running>>,
    /// Which attempts were begun. One that was claimed before its process stood still may be begun late.
    attempts: BTreeSet<(String, u32)>,
    accepted: BTreeSet<String>,
    handled: BTreeSet<String>,
    done: BTreeSet<String>,
    reaped: usize,
}

#[derive(Clone)]
struct World {
    memory: Memory,
    seen: Arc<Mutex<Seen>>,
}

/// What becomes of a call of the store.
enum Fate {
    /// It happens after this time, and the answer is given.
    Answered(Duration),
    /// It happens after this time, and the answer is lost.
    Unanswered(Duration),
    /// It does not happen, and nobody says so.
    Swallowed,
    Refused,
}

impl World {
    fn new(seed: u64, broken: Broken) -> Self {
        let now = Instant::now();
        let life =
            Life { number: 0, is_over: true, has_stopped: false, stands_until: now, ill_at: None };
        let seen = Seen {
            random: Random(seed),
            begun: now,
            schedule: Vec::new(),
            violation: None,
            is_faulty: true,
            away_until: now,
            lives: vec![life; NODES],
            workers: HashMap::new(),
            running: HashMap::new(),
            attempts: BTreeSet::new(),
            accepted: BTreeSet::new(),
            handled: BTreeSet::new(),
            done: BTreeSet::new(),
            reaped: 0,
        };
        Self { memory: Memory::new(broken), seen: Arc::new(Mutex::new(seen)) }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while a process stands still; for ever if this life of it is over.
    async fn awake(&self, node: usize, life: u32) {
        loop {
            let now = self.seen().lives[node];
            if now.is_over || now.number != life {
                pending::<()>().await;
            }
            match now.stands_until > Instant::now() {
                true => tokio::time::sleep_until(now.stands_until).await,
                false => return,
            }
        }
    }

    /// Applies a call to the store, and looks at all of it.
    fn apply<T>(&self, operation: impl FnOnce(&mut Tables) -> T) -> T {
        self.memory.apply(|tables| {
            let answer = operation(tables);
            self.seen().look(tables);
            answer
        })
    }
}

impl Seen {
    fn note(&mut self, what: String) {
        let at = self.begun.elapsed().as_millis();
        self.schedule.push(format!("{at:>7} {what}"));
    }

    fn violated(&mut self, rule: String) {
        self.note(format!("VIOLATED: {rule}"));
        self.violation.get_or_insert(rule);
    }

    fn fate(&mut self, node: usize, call: &str) -> Fate {
        if self.away_until > Instant::now() {
            self.lives[node].ill_at = Some(Instant::now());
            return if self.random.is(50) { Fate::Refused } else { Fate::Swallowed };
        }
        let is_ill = self.is_faulty && self.random.is(6);
        if !is_ill {
            return Fate::Answered(self.random.millis(0, 20));
        }
        self.lives[node].ill_at = Some(Instant::now());
        let (fate, name) = match self.random.below(4) {
            0 => (Fate::Answered(self.random.millis(1_000, 12_000)), "is slow"),
            1 => (Fate::Unanswered(self.random.millis(0, 12_000)), "loses its answer"),
            2 => (Fate::Swallowed, "is swallowed"),
            _ => (Fate::Refused, "is refused"),
        };
        self.note(format!("{call} of process {node} {name}"));
        fate
    }

    /// What must be true whenever something has happened to the store.
    fn look(&mut self, tables: &Tables) {
        let known: BTreeSet<_> = tables.tasks.values().map(|task| &task.key).collect();
        if known.len() < tables.tasks.len() {
            self.violated("a key was stored twice".into());
        }
        if let Some(lost) = self.accepted.iter().find(|key| !known.contains(key)) {
            self.violated(format!("{lost} was accepted and is gone"));
        }
        if let Some(undone) = self.done.iter().find(|name| tables.tasks[*name].status != "Done") {
            self.violated(format!("{undone} was done and is not any more"));
        }
        let done = tables.tasks.iter().filter(|(_, task)| task.status == "Done");
        for (name, task) in done {
            if !self.handled.contains(&task.key) {
                let key = task.key.clone();
                self.violated(format!("{key} is done and was never handled"));
            }
            self.done.insert(name.clone());
        }
        for (task, attempt, worker) in &tables.reaped[self.reaped..] {
            self.note(format!("attempt {attempt} at {task} is taken over"));
            let (node, number) = self.workers[worker];
            let life = self.lives[node];
            let is_well = !life.is_over
                && !life.has_stopped
                && life.number == number
                && life.ill_at.is_none_or(|ill| ill.elapsed() > WELL);
            if is_well {
                self.violated(format!("process {node} was well, and taken for dead"));
            }
        }
        self.reaped = tables.reaped.len();
    }

    fn begin(
        &mut self,
        node: usize,
        life: u32,
        event: &AcceptedEvent,
        reaped: &[(String, u32, String)],
    ) {
        let (key, attempt, task) = (event.key.clone(), event.attempt, event.claim.task.clone());
        self.note(format!("process {node} begins attempt {attempt} at {key}"));
        let lives = self.lives.clone();
        let running = self.running.entry(key.clone()).or_default();
        running.retain(|run| !lives[run.node].is_over && lives[run.node].number == run.life);
        let has_lost = |run: &Running| {
            reaped.iter().any(|(task, attempt, _)| *task == run.task && *attempt == run.attempt)
        };
        // It may have stood still, and lost the lease, between the claim and now.
        let this = Running { node, life, task, attempt };
        let is_doubled = !has_lost(&this) && running.iter().any(|run| !has_lost(run));
        running.push(this);
        if is_doubled {
            self.violated(format!("{key} is in hand twice, and no lease was lost"));
        }
        if !self.attempts.insert((key.clone(), attempt)) {
            self.violated(format!("attempt {attempt} at {key} was begun twice"));
        }
    }

    fn end(&mut self, node: usize, life: u32, event: &AcceptedEvent) {
        if let Some(running) = self.running.get_mut(&event.key) {
            running.retain(|run| (run.node, run.life, run.attempt) != (node, life, event.attempt));
        }
    }
}

/// The store, as one life of a process reaches it.
#[derive(Clone)]
struct Node {
    world: World,
    number: usize,
    life: u32,
}

impl Node {
    async fn call<T: Send + 'static>(
        &self,
        name: &'static str,
        operation: impl FnOnce(&mut Tables) -> T + Send + 'static,
    ) -> Result<T, InboxError> {
        self.world.awake(self.number, self.life).await;
        let fate = self.world.seen().fate(self.number, name);
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
            sleep(after).await;
            if world.seen().away_until > Instant::now() {
                return pending().await;
            }
            let applied = world.apply(operation);
            if is_answered {
                _ = answer.send(applied);
            }
            pending::<()>().await;
        });
        let answer = match timeout(STORE_TIMEOUT, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            // The task that would answer has ended: nobody will.
            Ok(Err(_)) => {
                sleep(STORE_TIMEOUT).await;
                Err(InboxErrorKind::TooSlow.into())
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

    fn turn<'a>(&'a self, Turn { worker, ends, most, suspect }: Turn<'a>) -> Answer<'a, Turned> {
        let (worker, ends) = (worker.to_owned(), ends.to_vec());
        let turn = move |tables: &mut Tables| tables.turn(&worker, &ends, most, suspect);
        Box::pin(self.call("turn", turn))
    }

    fn keep_alive<'a>(&'a self, worker: &'a str) -> Answer<'a, Vec<Held>> {
        let worker = worker.to_owned();
        self.world.seen().workers.insert(worker.clone(), (self.number, self.life));
        Box::pin(self.call("keep_alive", move |tables| tables.keep_alive(&worker)))
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

    fn take<'a>(&'a self, most: u32, rest: Rest) -> Answer<'a, Vec<Taken>> {
        self.world.memory.take(most, rest)
    }
}

/// A receiver with a worker, in one life.
struct Process {
    inbox: Inbox,
    stop: Option<oneshot::Sender<()>>,
    worker: JoinHandle<()>,
}

impl Process {
    fn start(world: &World, number: usize) -> Self {
        let life = {
            let mut seen = world.seen();
            seen.note(format!("process {number} starts"));
            let now = Instant::now();
            let life = seen.lives[number].number + 1;
            seen.lives[number] = Life {
                number: life,
                is_over: false,
                has_stopped: false,
                stands_until: now,
                ill_at: None,
            };
            life
        };
        let node = Node { world: world.clone(), number, life };
        let inbox = Inbox::test(Arc::new(node.clone()));
        let worker = inbox.worker(move |event| handle(node.clone(), event));
        let worker = worker.lease(LEASE).concurrency(4).attempts(64);
        let worker = worker.backoff(Duration::from_millis(500), Duration::from_secs(4));
        let (stop, stopped) = oneshot::channel();
        let signal = async {
            // A sender that was dropped gave no signal.
            if stopped.await.is_err() {
                pending::<()>().await;
            }
        };
        let world = world.clone();
        let worker = tokio::spawn(async move {
            worker.run_until(signal).await;
            let mut seen = world.seen();
            seen.note(format!("process {number} has stopped"));
            seen.lives[number].has_stopped = true;
        });
        Self { inbox, stop: Some(stop), worker }
    }

    fn kill(&self, world: &World, number: usize) {
        let mut seen = world.seen();
        seen.note(format!("process {number} dies"));
        seen.lives[number].is_over = true;
        drop(seen);
        self.worker.abort();
    }
}

async fn handle(node: Node, event: AcceptedEvent) -> Result<(), BoxError> {
    let Node { world, number, life } = &node;
    let (takes, ends) = {
        let reaped = world.memory.apply(|tables| tables.reaped.clone());
        let mut seen = world.seen();
        seen.begin(*number, *life, &event, &reaped);
        let is_long = seen.random.is(5);
        let takes = if is_long { (20_000, 60_000) } else { (0, 1_500) };
        (seen.random.millis(takes.0, takes.1), seen.random.below(100))
    };
    sleep(takes).await;
    world.awake(*number, *life).await;
    let mut seen = world.seen();
    seen.end(*number, *life, &event);
    match ends {
        0..20 => Err("by chance".into()),
        20..25 => {
            drop(seen);
            std::panic::resume_unwind(Box::new("by chance"))
        }
        _ => {
            seen.handled.insert(event.key.clone());
            Ok(())
        }
    }
}

fn record(job: usize) -> Record {
    let secret = Secret::new("the secret of the simulation").unwrap();
    let body = format!(r#"{{"event":"job.completed","jobId":"job_{job}"}}"#);
    let signature = secret.sign(&body).to_string();
    Record::of(&Verifier::new(secret).verify(signature, body).unwrap()).unwrap()
}

type Inboxes = Arc<Mutex<Vec<Inbox>>>;

/// The sender: it delivers, and repeats what is not answered 200 three times; and some that is.
async fn send(world: World, inboxes: Inboxes, job: usize) {
    let (start, repeats) = {
        let random = &mut world.seen().random;
        (random.millis(0, FAULTS.as_millis() as u64), random.is(30))
    };
    sleep(start).await;
    let mut deliveries = 0;
    for attempt in 0..4 {
        let inbox = {
            let number = world.seen().random.below(NODES as u64) as usize;
            inboxes.lock().unwrap_or_else(PoisonError::into_inner)[number].clone()
        };
        let record = record(job);
        let key = record.key().to_owned();
        if let Ok(Ok(_)) = timeout(Duration::from_secs(5), inbox.store(record)).await {
            world.seen().note(format!("{key} is accepted"));
            world.seen().accepted.insert(key);
            deliveries += 1;
            if !repeats || deliveries > 1 {
                return;
            }
        }
        sleep(Duration::from_secs(1 << attempt)).await;
    }
}

/// Runs one schedule, and returns it, and the rule that was violated.
fn simulate(seed: u64, broken: Broken) -> (Vec<String>, Option<String>) {
    let mut builder = runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::new(seed, broken);
        // The store's clock is up to a tenth faster or slower than those of the processes.
        let speed = 0.9 + world.seen().random.below(201) as f64 / 1_000.0;
        world.memory.apply(|tables| tables.clock.0 = speed);
        let mut processes: Vec<_> = (0..NODES).map(|node| Process::start(&world, node)).collect();
        let inboxes = processes.iter().map(|process| process.inbox.clone()).collect();
        let inboxes: Inboxes = Arc::new(Mutex::new(inboxes));
        let jobs = 10 + world.seen().random.below(30) as usize;
        let senders: Vec<_> = (0..jobs)
            .map(|job| tokio::spawn(send(world.clone(), Arc::clone(&inboxes), job)))
            .collect();
        let healed = Instant::now() + FAULTS;
        while Instant::now() < healed && world.seen().violation.is_none() {
            let (pause, action, node, long) = {
                let random = &mut world.seen().random;
                let node = random.below(NODES as u64) as usize;
                (random.millis(500, 15_000), random.below(13), node, random.millis(500, 45_000))
            };
            sleep(pause).await;
            let is_over = world.seen().lives[node].is_over;
            match action {
                _ if is_over => processes[node] = Process::start(&world, node),
                0..3 => processes[node].kill(&world, node),
                3..6 => {
                    let mut seen = world.seen();
                    seen.note(format!("process {node} stands still for {long:?}"));
                    let until = Instant::now() + long;
                    seen.lives[node].stands_until = until;
                    seen.lives[node].ill_at = Some(until);
                }
                6..9 => {
                    let mut seen = world.seen();
                    seen.note(format!("the store is away for {long:?}"));
                    seen.away_until = Instant::now() + long;
                }
                9 => {
                    let mut seen = world.seen();
                    let is_forward = seen.random.is(50);
                    let way = if is_forward { "forward" } else { "back" };
                    seen.note(format!("the store's clock is set {way} by {long:?}"));
                    if is_forward {
                        let now = Instant::now();
                        seen.lives.iter_mut().for_each(|life| life.ill_at = Some(now));
                    }
                    drop(seen);
                    world.memory.apply(|Tables { clock: (_, set), .. }| match is_forward {
                        true => *set += long,
                        false => *set -= long,
                    });
                }
                _ => {
                    world.seen().note(format!("process {node} is told to stop"));
                    processes[node].stop.take().map(|stop| stop.send(()));
                }
            }
            inboxes.lock().unwrap_or_else(PoisonError::into_inner)[node] =
                processes[node].inbox.clone();
        }
        heal(&world, &mut processes);
        for sender in senders {
            _ = sender.await;
        }
        let settled = async || loop {
            let is_left = |tables: &mut Tables| {
                tables.tasks.values().any(|task| !matches!(task.status, "Done" | "Killed"))
            };
            if world.seen().violation.is_some() || !world.memory.apply(is_left) {
                return;
            }
            sleep(Duration::from_secs(1)).await;
        };
        if timeout(HEALING, settled()).await.is_err() {
            world.seen().violated("what was accepted is not handled".into());
        }
        let mut seen = world.seen();
        (std::mem::take(&mut seen.schedule), seen.violation.take())
    })
}

/// From now on all goes well.
fn heal(world: &World, processes: &mut [Process]) {
    let now = Instant::now();
    {
        let mut seen = world.seen();
        seen.note("all is well".into());
        (seen.is_faulty, seen.away_until) = (false, now);
    }
    for (node, process) in processes.iter_mut().enumerate() {
        world.seen().lives[node].stands_until = now;
        if world.seen().lives[node].is_over
            || process.worker.is_finished()
            || process.stop.is_none()
        {
            process.kill(world, node);
            *process = Process::start(world, node);
        }
    }
}

fn seeds() -> Vec<u64> {
    let number = |name| env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    match number("NUMBER7_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("NUMBER7_SEEDS").unwrap_or(300)).collect(),
    }
}

#[test]
fn no_schedule_breaks_a_rule() {
    for seed in seeds() {
        let (schedule, violation) = simulate(seed, Broken::Nothing);
        if let Some(rule) = violation {
            panic!("seed {seed}: {rule}\n{}", schedule.join("\n"));
        }
    }
}

#[test]
fn a_seed_is_a_schedule() {
    let [first, second] = [(); 2].map(|()| simulate(7, Broken::Nothing).0);
    assert!(first.len() > 50, "{first:#?}");
    assert_eq!(first, second);
}

#[test]
fn a_rule_that_is_broken_is_found() {
    for broken in [Broken::Fence, Broken::Lease, Broken::Begin, Broken::Key] {
        let found = (0..300).find(|seed| simulate(*seed, broken).1.is_some());
        assert!(found.is_some(), "{broken:?} is not found");
    }
}
