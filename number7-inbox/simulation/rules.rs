//! The rules for a simulated run, and the knowledge that is needed to check them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    AcceptedEvent, State,
    model::{
        claim::{Claim, ClaimId, EventId},
        end::End,
    },
    store::memory::Tables,
};

pub(super) const LEASE: Duration = Duration::from_secs(20);

/// How many events a worker may run.
pub(super) const CONCURRENCY: usize = 4;

/// How long some stopping workers wait for handlers, which may take longer.
pub(super) const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// How long the store may hold up a worker until the worker notices that this is over.
const HELD_UP: Duration = Duration::from_secs(20);

/// `SplitMix64`.
pub(super) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(super) fn is(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// A process: which of its lives it is in, and until when it hangs.
#[derive(Clone, Copy)]
pub(super) struct Life {
    pub(super) number: u32,
    pub(super) is_over: bool,
    pub(super) stands_until: Instant,
    /// When its worker was asked to stop, and whether it then interrupts what takes longer than the limit.
    pub(super) told_at: Option<Instant>,
    pub(super) is_impatient: bool,
    /// When it last renewed its lease, and when it last failed to.
    renewed_at: Option<Instant>,
    failed_at: Option<Instant>,
    /// Since when no two renewals were further apart than a lease.
    unbroken_since: Instant,
}

impl Life {
    pub(super) fn new(number: u32, is_over: bool) -> Self {
        let now = Instant::now();
        Self {
            number,
            is_over,
            stands_until: now,
            told_at: None,
            is_impatient: false,
            renewed_at: None,
            failed_at: None,
            unbroken_since: now,
        }
    }
}

struct Running {
    node: usize,
    life: u32,
    id: ClaimId,
    begun: Instant,
}

pub(super) struct Seen {
    pub(super) random: Random,
    begun: Instant,
    pub(super) schedule: Vec<String>,
    pub(super) violation: Option<String>,
    pub(super) is_faulty: bool,
    pub(super) away_until: Instant,
    pub(super) lives: Vec<Life>,
    /// How long a call takes, if that is not random.
    pub(super) call_takes: Option<Duration>,
    /// The call whose next answer is lost.
    pub(super) loses: Option<&'static str>,
    /// How often the store was asked.
    pub(super) calls: u32,
    pub(super) exchanges: u32,
    /// The event whose end the store will never accept, and how long the store is away after it has first refused that.
    pub(super) refused: Option<(String, Duration)>,
    /// How many attempts an event has.
    pub(super) limit: u32,
    /// The process and the life of each worker, and its last heartbeat.
    pub(super) workers: HashMap<String, (usize, u32)>,
    pub(super) heard: HashMap<String, Instant>,
    /// When the store's clock was last set forward.
    pub(super) set_at: Option<Instant>,
    running: HashMap<String, Vec<Running>>,
    /// The attempts that were begun. If one was claimed before its process hung, it may be begun late.
    pub(super) attempts: BTreeSet<ClaimId>,
    pub(super) accepted: BTreeSet<String>,
    pub(super) handled: BTreeSet<String>,
    /// Events that are done or dead, by their state.
    over: BTreeMap<EventId, State>,
    /// Attempts at quarantined events, which a worker makes one at a time.
    pub(super) quarantined: BTreeSet<ClaimId>,
    /// Attempts that were claimed, and released before they were begun.
    released: BTreeSet<ClaimId>,
    /// Events that were claimed ahead of a handler, and rescued.
    rescued_ahead: BTreeSet<EventId>,
    /// Attempts whose lease was lost, and when.
    lost: HashMap<ClaimId, Instant>,
    /// How many attempts at an event do not count.
    uncounted: HashMap<EventId, u32>,
}

impl Seen {
    pub(super) fn new(seed: u64, processes: usize) -> Self {
        let now = Instant::now();
        let mut random = Random(seed);
        let limit = if random.is(50) { 3 } else { 64 };
        Self {
            random,
            begun: now,
            schedule: Vec::new(),
            violation: None,
            is_faulty: true,
            away_until: now,
            lives: vec![Life::new(0, true); processes],
            call_takes: None,
            loses: None,
            calls: 0,
            exchanges: 0,
            refused: None,
            limit,
            workers: HashMap::new(),
            heard: HashMap::new(),
            set_at: None,
            running: HashMap::new(),
            attempts: BTreeSet::new(),
            accepted: BTreeSet::new(),
            handled: BTreeSet::new(),
            over: BTreeMap::new(),
            quarantined: BTreeSet::new(),
            released: BTreeSet::new(),
            rescued_ahead: BTreeSet::new(),
            lost: HashMap::new(),
            uncounted: HashMap::new(),
        }
    }

    pub(super) fn note(&mut self, what: String) {
        let at = self.begun.elapsed().as_millis();
        self.schedule.push(format!("{at:>7} {what}"));
    }

    pub(super) fn violated(&mut self, rule: String) {
        self.note(format!("VIOLATED: {rule}"));
        self.violation.get_or_insert(rule);
    }

    /// What must be true after each change of the store.
    pub(super) fn look(&mut self, tables: &Tables) {
        let known: BTreeSet<_> = tables.events.values().map(|row| &row.key).collect();
        if known.len() < tables.events.len() {
            self.violated("a key was stored twice".into());
        }
        if let Some(lost) = self.accepted.iter().find(|key| !known.contains(key)) {
            self.violated(format!("{lost} was accepted and is gone"));
        }
        for (id, row) in &tables.events {
            let (key, state) = (&row.key, row.state());
            if let Some(was) = self.over.get(id)
                && *was != state
                // An attempt whose lease was lost may still succeed.
                && (*was, state) != (State::Dead, State::Done)
            {
                self.violated(format!("{key} was {was}, and is {state}"));
            }
            if state == State::Done && !self.handled.contains(key) {
                self.violated(format!("{key} is done and was never handled"));
            }
            let counted = row.number.counted();
            if state == State::Dead && counted < self.limit {
                self.violated(format!("{key} is dead after {counted} attempts"));
            }
            if matches!(state, State::Done | State::Dead) {
                self.over.insert(*id, state);
            }
        }
    }

    /// Claims were rescued from their workers.
    pub(super) fn rescued(&mut self, rescued: Vec<(ClaimId, String)>, tables: &Tables) {
        for (claim, worker) in rescued {
            self.note(format!("{claim:?} is rescued"));
            let heard = self.heard.get(&worker);
            let is_set = |heard: &Instant| self.set_at.is_some_and(|at| at >= *heard);
            // By the store's clock, which is a tenth faster at most.
            if let Some(heard) = heard
                && heard.elapsed() < LEASE.mul_f64(0.9)
                && !is_set(heard)
            {
                let ago = heard.elapsed();
                self.violated(format!(
                    "the lease of a worker that was heard of {ago:?} ago expired"
                ));
            }
            let row = &tables.events[&claim.event];
            let is_quarantined = row.state() == State::Quarantined;
            if (row.is_ahead || row.number.counted() >= self.limit / 2) != is_quarantined {
                self.violated(format!("{} is {} after {:?}", row.key, row.state(), row.number));
            }
            if row.is_ahead {
                self.rescued_ahead.insert(claim.event);
                *self.uncounted.entry(claim.event).or_default() += 1;
            }
            self.lost.insert(claim, Instant::now());
        }
    }

    /// A claim was released, and so never begun.
    pub(super) fn released(&mut self, claim: ClaimId) {
        self.note(format!("{claim:?} is released"));
        self.released.insert(claim);
        *self.uncounted.entry(claim.event).or_default() += 1;
    }

    /// A renewal of the lease has succeeded or failed.
    pub(super) fn renewed(&mut self, node: usize, is_renewed: bool) {
        let (life, now) = (&mut self.lives[node], Instant::now());
        if !is_renewed {
            life.failed_at = Some(now);
            return;
        }
        if life.renewed_at.is_none_or(|last| now - last > LEASE) {
            life.unbroken_since = now;
        }
        life.renewed_at = Some(now);
    }

    pub(super) fn begin(&mut self, node: usize, life: u32, event: &AcceptedEvent) {
        let (key, attempt, id) = (&event.key, event.attempt(), id(event));
        self.note(format!("process {node} begins attempt {attempt} at {key}"));
        let (lives, lost) = (&self.lives, &self.lost);
        let running = self.running.entry(key.clone()).or_default();
        running.retain(|run| !lives[run.node].is_over && lives[run.node].number == run.life);
        // It may have hung, and lost the lease, between the claim and now.
        let is_doubled =
            !lost.contains_key(&id) && running.iter().any(|run| !lost.contains_key(&run.id));
        running.push(Running { node, life, id, begun: Instant::now() });
        if is_doubled {
            self.violated(format!("{key} is run twice, and no lease was lost"));
        }
        let number = event.claim.number;
        if attempt != number.of_all.saturating_sub(number.uncounted) {
            self.violated(format!("attempt {attempt} at {key} has the number {number:?}"));
        }
        let is_here = |run: &&Running| (run.node, run.life) == (node, life);
        let running = self.running.values().flatten().filter(is_here).count();
        if running > CONCURRENCY {
            self.violated(format!("process {node} runs {running} attempts"));
        }
        if attempt > self.limit {
            self.violated(format!("attempt {attempt} at {key} is one too many"));
        }
        let number = id.attempt;
        if !self.attempts.insert(id) {
            self.violated(format!("number {number} of {key} was begun twice"));
        }
    }

    /// A worker has claimed an event.
    pub(super) fn claimed(&mut self, claim: &Claim) {
        if claim.is_quarantined {
            self.quarantined.insert(claim.id());
        }
        let is_known = self.rescued_ahead.contains(&claim.event);
        if claim.is_quarantined && !is_known && claim.number.counted() <= self.limit / 2 {
            self.violated(format!("{} is quarantined at {:?}", claim.key, claim.number));
        }
    }

    /// A worker asks for events, and for a quarantined one among them.
    pub(super) fn may_claim(&mut self, node: usize, number: u32, most: usize, quarantined: bool) {
        self.exchanges += 1;
        let life = self.lives[node];
        if life.is_over || life.number != number {
            return;
        }
        let is_told = life.told_at.is_some_and(|told| told.elapsed() > Duration::from_secs(1));
        if is_told && most > 0 {
            self.violated(format!("process {node} claims, and was told to stop"));
        }
        let is_quarantined = |run: &Running| {
            (run.node, run.life) == (node, number) && self.quarantined.contains(&run.id)
        };
        if quarantined && most > 0 && self.running.values().flatten().any(is_quarantined) {
            self.violated(format!("process {node} claims a quarantined event, and runs one"));
        }
    }

    /// The store answers with events, not with ends: if an event had two ends, nobody could tell which one counts.
    pub(super) fn may_end(&mut self, ends: &[End]) {
        let events: BTreeSet<_> = ends.iter().map(|end| end.event).collect();
        if events.len() < ends.len() {
            self.violated("an exchange has two ends of one event".into());
        }
    }

    /// A worker is about to rescue the events of others.
    pub(super) fn may_rescue(&mut self, node: usize) {
        let reached = self.lives[node].unbroken_since.elapsed();
        if reached < LEASE - Duration::from_secs(1) {
            self.violated(format!(
                "process {node} rescues, and has reached the store for {reached:?}"
            ));
        }
    }

    /// Whether a handler that ends now was notified that its lease was lost, although it was not: no renewal has
    /// failed since it began.
    pub(super) fn is_told_wrongly(&self, node: usize, event: &AcceptedEvent) -> bool {
        let id = id(event);
        let run = self.running[&event.key].iter().find(|run| run.node == node && run.id == id);
        let failed_at = self.lives[node].failed_at;
        event.lease_lost().is_cancelled()
            && !self.lost.contains_key(&id)
            && run.is_some_and(|run| failed_at.is_none_or(|failed| failed < run.begun))
    }

    /// A handler continues.
    pub(super) fn may_go_on(&mut self, node: usize) {
        let life = self.lives[node];
        let is_long = |since: Instant| since.elapsed() > SHUTDOWN_LIMIT + HELD_UP;
        if life.is_impatient && life.told_at.is_some_and(is_long) && is_long(life.stands_until) {
            self.violated(format!("process {node} does not give up what takes too long"));
        }
    }

    /// An attempt does not count.
    pub(super) fn snoozes(&mut self, event: &AcceptedEvent) {
        *self.uncounted.entry(event.claim.event).or_default() += 1;
    }

    /// A handler is dropped before its end.
    pub(super) fn gives_up(&mut self, node: usize, life: u32, event: &AcceptedEvent) {
        self.note(format!("process {node} gives up an attempt at {}", event.key));
        self.snoozes(event);
        let now = self.lives[node];
        let is_time = now.told_at.is_some_and(|told| told.elapsed() >= SHUTDOWN_LIMIT);
        if now.number == life && !now.is_over && !(now.is_impatient && is_time) {
            self.violated(format!("process {node} gives up an attempt too early"));
        }
    }

    /// Whether a handler that ends now had to be notified that its lease was lost: a renewal reports that, and there is one
    /// every few seconds unless something is wrong.
    pub(super) fn had_to_be_told(&self, node: usize, event: &AcceptedEvent) -> bool {
        const SECONDS: Duration = Duration::from_secs(12);
        let Some(lost_at) = self.lost.get(&id(event)) else { return false };
        let life = self.lives[node];
        lost_at.elapsed() > SECONDS
            && life.failed_at.is_none_or(|failed| failed.elapsed() > SECONDS)
            && life.stands_until.elapsed() > SECONDS
    }

    /// Dead letters were requeued.
    pub(super) fn requeued(&mut self, requeued: &[EventId], tables: &Tables) {
        for id in requeued {
            let row = &tables.events[id];
            self.note(format!("{} is requeued", row.key));
            self.over.remove(id);
            // A requeue skips a number, and no number up to that counts.
            let of_all = 1..=row.number.of_all;
            let of_all = of_all.map(|attempt| ClaimId { event: *id, attempt });
            self.attempts.extend(of_all.filter(|id| !self.released.contains(id)));
            self.uncounted.insert(*id, row.number.uncounted);
        }
    }

    pub(super) fn end(&mut self, node: usize, life: u32, event: &AcceptedEvent) {
        if let Some(running) = self.running.get_mut(&event.key) {
            running.retain(|run| (run.node, run.life) != (node, life) || run.id != id(event));
        }
    }

    /// What must be true in the end: every attempt was begun, or it lost its lease or was released before. Attempts that do not
    /// count were released, were snoozed, or were interrupted by a stop.
    pub(super) fn count(&mut self, tables: &Tables) {
        for (event, row) in &tables.events {
            let (key, number) = (&row.key, row.number);
            let is_known = |attempt: &u32| {
                let id = ClaimId { event: *event, attempt: *attempt };
                self.attempts.contains(&id)
                    || self.lost.contains_key(&id)
                    || self.released.contains(&id)
            };
            if let Some(never) = (1..=number.of_all).find(|attempt| !is_known(attempt)) {
                self.violated(format!("number {never} of {key} is of no attempt that was begun"));
            }
            let begun = self.attempts.intersection(&self.released).next();
            if let Some(begun) = begun {
                self.violated(format!("{begun:?} was begun, and released"));
            }
            let uncounted = self.uncounted.get(event).copied().unwrap_or_default();
            if number.uncounted > uncounted {
                self.violated(format!(
                    "{} attempts at {key} do not count, and {uncounted} were released, snoozed or given up",
                    number.uncounted
                ));
            }
        }
    }
}

fn id(event: &AcceptedEvent) -> ClaimId {
    ClaimId { event: event.claim.event, attempt: event.claim.number.of_all }
}
