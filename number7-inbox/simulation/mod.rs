//! Simulates workers, receivers and the sender in virtual time. Stores are away, slow or lose answers, clocks drift and are
//! set, and processes die, hang, stop and come back. A seed decides about all of it.
//!
//! `NUMBER7_SEEDS` is how many seeds are tried, and `NUMBER7_SEED` names a single one. A seed that fails prints its schedule.

mod alone;
mod overdue;
mod rules;
mod store;

use std::{
    convert::Infallible,
    env,
    future::{pending, ready},
    num::NonZero,
    panic::{AssertUnwindSafe, resume_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use futures_util::FutureExt;
use number7_core::{Accept, Accounts, Found, Record, SIGNATURE_HEADER, Secret, Verifier};
use tokio::{
    runtime,
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use self::{
    rules::{CONCURRENCY, LEASE, Life, SHUTDOWN_LIMIT},
    store::{Broken, Node, World},
};
use crate::{
    AcceptedEvent, Failure, Inbox, State,
    model::{
        awake::LONGEST_SLEEP,
        change::Change,
        options::{Options, Polling},
        paused::NewPause,
    },
    store::memory::{Row, Tables},
};

const NODES: usize = 3;

/// An account that has more events than the other one, and is paused now and then.
const BUSY: &str = "busy";

/// How long things go wrong, and how long it may take after that until all events are handled: workers may be asleep.
const FAULTS: Duration = Duration::from_secs(120);
const HEALING: Duration = LONGEST_SLEEP.saturating_add(Duration::from_secs(900));

/// How long a stopping worker may take: the longest handler, and all that is lost around it.
const PATIENCE: Duration = Duration::from_secs(180);

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
            let life = seen.lives[number].number + 1;
            seen.lives[number] = Life::new(life, false);
            life
        };
        let node = Node::new(world, number, life);
        // One process looks for what the others are not notified of.
        let sleeps = number > 0 && world.seen().random.is(30);
        let sleep_after = sleeps.then_some(Duration::from_secs(2));
        let polling = Polling { sleep_after, ..Polling::default() };
        let options = Options { polling, ..Options::default() };
        let inbox = Inbox::on(Arc::new(node.clone()), &options);
        let worker = inbox.worker(move |event| handle(node.clone(), event));
        let (limit, is_patient) = {
            let mut seen = world.seen();
            let is_patient = seen.random.is(50);
            seen.lives[number].is_impatient = !is_patient;
            (seen.limit, is_patient)
        };
        let worker = worker.lease(LEASE).concurrency(CONCURRENCY).attempts(limit);
        let worker = if is_patient { worker } else { worker.shutdown_timeout(SHUTDOWN_LIMIT) };
        let worker = worker.backoff(Duration::from_millis(500), Duration::from_secs(4));
        let (stop, stopped) = oneshot::channel();
        let signal = async {
            // If the sender was dropped, it gave no signal.
            if stopped.await.is_err() {
                pending::<()>().await;
            }
        };
        let world = world.clone();
        let worker = tokio::spawn(async move {
            let ended = AssertUnwindSafe(worker.run_until(signal)).catch_unwind().await;
            let mut seen = world.seen();
            seen.note(format!("process {number} has stopped"));
            if ended.is_err() {
                seen.violated(format!("the worker of process {number} panicked"));
            } else if seen.lives[number].told_at.is_none() {
                seen.violated(format!("the worker of process {number} ended by itself"));
            }
        });
        Self { inbox, stop: Some(stop), worker }
    }

    fn tell_to_stop(&mut self, world: &World, number: usize) {
        let Some(stop) = self.stop.take() else { return };
        let mut seen = world.seen();
        seen.note(format!("process {number} is told to stop"));
        seen.lives[number].told_at = Some(Instant::now());
        _ = stop.send(());
    }

    /// Waits until it has stopped, as requested.
    async fn stops(&mut self, world: &World, number: usize) {
        if timeout(PATIENCE, &mut self.worker).await.is_err() {
            world.seen().violated(format!("process {number} does not stop"));
        }
    }

    fn kill(&self, world: &World, number: usize) {
        let mut seen = world.seen();
        seen.note(format!("process {number} dies"));
        seen.lives[number].is_over = true;
        drop(seen);
        self.worker.abort();
    }
}

/// How many steps a handler has.
const STEPS: u32 = 10;

/// A call of the handler, which may be dropped before its end.
struct Call {
    node: Node,
    event: AcceptedEvent,
    has_ended: bool,
}

impl Drop for Call {
    fn drop(&mut self) {
        let Self { node: Node { world, number, life, .. }, event, has_ended } = self;
        let mut seen = world.seen();
        seen.end(*number, *life, event);
        if !*has_ended {
            seen.gives_up(*number, *life, event);
        }
    }
}

async fn handle(node: Node, event: AcceptedEvent) -> Result<(), Failure> {
    let mut call = Call { node, event, has_ended: false };
    let Call { node: Node { world, number, life, .. }, event, .. } = &call;
    let (takes, ends) = {
        let mut seen = world.seen();
        seen.begin(*number, *life, event);
        let is_long = seen.random.is(15);
        let takes = if is_long { (20_000, 60_000) } else { (0, 1_500) };
        (seen.random.millis(takes.0, takes.1), seen.random.below(100))
    };
    // The rest of its work is done after the process has hung.
    for _ in 0..STEPS {
        sleep(takes / STEPS).await;
        world.awake(*number, *life).await;
        world.seen().may_go_on(*number);
    }
    let holder = world
        .memory
        .apply(|tables| tables.events.get(&event.claim.event).and_then(|row| row.worker.clone()));
    let mut seen = world.seen();
    // It may have been claimed again, for the same worker, by a statement whose answer was lost.
    let is_here = holder.is_some_and(|of| seen.workers[&of] == (*number, *life));
    if !is_here && seen.had_to_be_told(*number, event) && !event.lease_lost().is_cancelled() {
        let key = &event.key;
        seen.violated(format!("the handler of {key} was not told that its lease was lost"));
    }
    if seen.is_told_wrongly(*number, event) {
        seen.violated(format!("the handler of {} was told of a lease that it has", event.key));
    }
    let handled = match ends {
        0..25 => Err("by chance".into()),
        25..35 => {
            seen.snoozes(event);
            Err(Failure::snooze(seen.random.millis(0, 5_000), "by chance"))
        }
        _ => {
            seen.handled.insert(event.key.clone());
            Ok(())
        }
    };
    drop(seen);
    call.has_ended = true;
    match ends {
        0..5 => resume_unwind(Box::new("by chance")),
        _ => handled,
    }
}

/// Every other job belongs to one of two accounts, and one account has more than the other.
async fn record(job: usize) -> Record {
    let secret = Secret::new("the secret of the simulation").unwrap();
    let body = format!(r#"{{"event":"job.completed","jobId":"job_{job}"}}"#);
    let signature = secret.sign(&body).to_string();
    let account = match job % 8 {
        1 | 3 | 5 => BUSY,
        7 => "quiet",
        _ => return Record::of(&Verifier::new(secret).verify(signature, body).unwrap()).unwrap(),
    };
    let verifier = Verifier::new(secret);
    let find = move |_| ready(Ok::<_, Infallible>(Some(verifier.clone())));
    let accounts = Accounts::new(find);
    let headers = [(SIGNATURE_HEADER, signature.as_bytes())];
    let verifier = match accounts.find(Some(account), headers).unwrap() {
        Found::Verifier(verifier) => verifier,
        Found::Lookup(lookup) => lookup.await.unwrap(),
        other => panic!("{other:?}"),
    };
    Record::of(&verifier.verify(&signature, body).unwrap()).unwrap()
}

type Inboxes = Arc<Mutex<Vec<Inbox>>>;

/// The sender: it delivers, and repeats three times what is not answered by 200, and also some of the rest.
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
        let record = record(job).await;
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

/// Runs one schedule, and returns it with the rule that was violated.
fn simulate(seed: u64, broken: Broken) -> (Vec<String>, Option<String>) {
    let mut builder = runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::new(seed, NODES, broken);
        // The store's clock is up to a tenth faster or slower than those of the processes.
        let speed = 0.9 + world.seen().random.below(201) as f64 / 1_000.0;
        world.memory.apply(|tables| tables.clock.speed = speed);
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
                (random.millis(500, 15_000), random.below(17), node, random.millis(500, 45_000))
            };
            sleep(pause).await;
            let is_over = world.seen().lives[node].is_over;
            match action {
                _ if is_over => processes[node] = Process::start(&world, node),
                0..3 => processes[node].kill(&world, node),
                3..6 => {
                    let mut seen = world.seen();
                    seen.note(format!("process {node} stands still for {long:?}"));
                    seen.lives[node].stands_until = Instant::now() + long;
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
                        seen.set_at = Some(Instant::now());
                    }
                    drop(seen);
                    world.memory.apply(|Tables { clock, .. }| match is_forward {
                        true => clock.set += long,
                        false => clock.set -= long,
                    });
                }
                10 => world.memory.apply(|tables| {
                    let is_rerun = world.seen().random.is(30);
                    let change = if is_rerun { Change::Rerun } else { Change::Requeue };
                    let requeued = tables.change_all(change, |_| true);
                    world.seen().requeued(&requeued, tables);
                }),
                11 => world.memory.apply(|tables| {
                    let mut seen = world.seen();
                    seen.note("the registrations of all workers are deleted".into());
                    tables.workers.clear();
                    seen.heard.clear();
                }),
                12 => {
                    let mut seen = world.seen();
                    seen.note(format!("all processes stand still for {long:?}"));
                    seen.lives
                        .iter_mut()
                        .for_each(|life| life.stands_until = Instant::now() + long);
                }
                13 => world.memory.apply(|tables| {
                    let account = if world.seen().random.is(50) { BUSY } else { "" };
                    world.seen().note(format!("the inbox is paused for {long:?}: {account:?}"));
                    let (by, why) = (String::new(), String::new());
                    tables.pause(account, NewPause { by, why, length: Some(long) });
                }),
                _ => processes[node].tell_to_stop(&world, node),
            }
            inboxes.lock().unwrap_or_else(PoisonError::into_inner)[node] =
                processes[node].inbox.clone();
        }
        let stays_paused = world.seen().random.is(30);
        if stays_paused {
            world.seen().note(format!("it stays paused: {BUSY:?}"));
            let pause = NewPause { by: String::new(), why: String::new(), length: None };
            world.memory.apply(|tables| tables.pause(BUSY, pause));
        }
        heal(&world, &mut processes).await;
        for sender in senders {
            _ = sender.await;
        }
        let settled = async |but: Option<&str>| loop {
            let is_left = |tables: &mut Tables| {
                let mut rows = tables.events.values().filter(|row| Some(row.account()) != but);
                rows.any(|row| !matches!(row.state(), State::Done | State::Dead))
            };
            if world.seen().violation.is_some() || !world.memory.apply(is_left) {
                return;
            }
            sleep(Duration::from_secs(1)).await;
        };
        let all_settled = async {
            settled(stays_paused.then_some(BUSY)).await;
            world.memory.apply(|tables| tables.resume(BUSY));
            settled(None).await;
        };
        if timeout(HEALING, all_settled).await.is_err() {
            world.seen().violated("what was accepted is not handled".into());
        }
        world.memory.apply(|tables| world.seen().count(tables));
        let mut seen = world.seen();
        (std::mem::take(&mut seen.schedule), seen.violation.take())
    })
}

/// From now on nothing goes wrong. Each worker that was asked to stop does so, and leaves nothing claimed.
async fn heal(world: &World, processes: &mut [Process]) {
    let now = Instant::now();
    {
        let mut seen = world.seen();
        seen.note("all is well".into());
        (seen.is_faulty, seen.away_until) = (false, now);
        seen.lives.iter_mut().for_each(|life| life.stands_until = now);
    }
    for (node, process) in processes.iter_mut().enumerate() {
        let life = world.seen().lives[node];
        if life.told_at.is_some() && !life.is_over {
            process.stops(world, node).await;
            process.kill(world, node);
        }
        if world.seen().lives[node].is_over {
            *process = Process::start(world, node);
        }
    }
    // Everything late has arrived by then.
    sleep(Duration::from_secs(15)).await;
    processes[0].tell_to_stop(world, 0);
    processes[0].stops(world, 0).await;
    let left = world.memory.apply(|tables| {
        let seen = world.seen();
        let this = (0, seen.lives[0].number);
        let is_left = |row: &&Row| row.worker.as_ref().is_some_and(|of| seen.workers[of] == this);
        tables.events.values().find(is_left).map(|row| row.key.clone())
    });
    if let Some(key) = left {
        world.seen().violated(format!("{key} is left claimed by a worker that has stopped"));
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
    let seeds = seeds();
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = seeds.len().div_ceil(threads).max(1);
    let try_all = |seeds: &[u64]| {
        for seed in seeds {
            let (schedule, violation) = simulate(*seed, Broken::Nothing);
            if let Some(rule) = violation {
                panic!("seed {seed}: {rule}\n{}", schedule.join("\n"));
            }
        }
    };
    thread::scope(|scope| {
        seeds.chunks(share).for_each(|seeds| _ = scope.spawn(move || try_all(seeds)));
    });
}

#[test]
fn a_seed_is_a_schedule() {
    let [first, second] = [(); 2].map(|()| simulate(7, Broken::Nothing).0);
    assert!(first.len() > 50, "{first:#?}");
    assert_eq!(first, second);
}

#[test]
fn a_rule_that_is_broken_is_found() {
    for broken in [
        Broken::Fence,
        Broken::Lease,
        Broken::Begin,
        Broken::Key,
        Broken::Registration,
        Broken::Accountless,
    ] {
        let found = (0..300).find(|seed| simulate(*seed, broken).1.is_some());
        assert!(found.is_some(), "{broken:?} is not found");
    }
}
