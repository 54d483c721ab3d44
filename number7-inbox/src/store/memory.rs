//! A store in memory. It follows the rules of the real ones, each in a line or two.

mod expectations;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::future::ready;
use number7_core::{Acceptance, Account, Record};
use tokio::{runtime::Handle, time::Instant};

use self::expectations::Expected;
use super::{
    Answer, Exchange, Exchanged, Listed, NewEvent, PerMinute, STEP, Signer, Store, WaitingAccounts,
};
use crate::model::{
    change::Change,
    claim::{Claim, ClaimId, EventId, Number},
    conflict::Conflict,
    end::End,
    entry::{Entry, State},
    event::{Origin, StoredEvent},
    history::{History, LOST},
    page::no_cursor,
    paused::{NewPause, Paused},
    stats::Stats,
    time::{millis_of_time, of_millis},
    trace::Trace,
    wake::Wake,
    worker_status::{WorkerStatus, with_claims},
};

/// A worker whose heartbeat is not older than this counts in [`Stats`].
const LIVE: Duration = Duration::from_secs(30);

/// The inboxes of one store. Each call of [`Memory::apply`] is atomic.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    inboxes: Arc<Mutex<HashMap<String, Shared>>>,
    inbox: Shared,
}

/// What all clones of an inbox share.
#[derive(Clone)]
struct Shared {
    tables: Arc<Mutex<Tables>>,
    wake: Arc<Wake>,
}

impl Default for Shared {
    fn default() -> Self {
        let wake = Wake::default();
        // There are no other processes.
        wake.set_hears_others(true);
        Self { tables: Arc::default(), wake: Arc::new(wake) }
    }
}

/// One inbox.
#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) clock: Clock,
    pub(crate) events: BTreeMap<EventId, Row>,
    keys: HashMap<String, EventId>,
    /// The events of each state, as it is stored, in the order of its time.
    places: HashMap<&'static str, BTreeSet<Place>>,
    last: i64,
    /// The last heartbeat of each worker.
    pub(crate) workers: HashMap<String, Duration>,
    expected: BTreeMap<String, Expected>,
    /// The worker that fetches, and until when.
    leader: Option<(String, Duration)>,
    /// The pause of each account, and when it ends. The pause of the inbox has no name.
    pauses: BTreeMap<String, (Paused, Option<Duration>)>,
}

/// A time, and the event.
type Place = (Duration, EventId);

/// The clock of the store: time since the epoch.
pub(crate) struct Clock {
    epoch: Duration,
    begun: Instant,
    /// For the simulation: how fast the clock is, and how far it was set.
    pub(crate) speed: f64,
    pub(crate) set: Duration,
}

/// An event.
pub(crate) struct Row {
    pub(crate) key: String,
    event: String,
    job: Option<String>,
    payload: Option<Bytes>,
    signer: Option<Signer>,
    trace: Option<Trace>,
    /// Another body that was signed later, and when.
    conflict: Option<(Bytes, Signer, Duration)>,
    accepted_at: Duration,
    /// [`State::Ready`] also if it is scheduled.
    state: State,
    pub(crate) number: Number,
    runs: u32,
    pub(crate) worker: Option<String>,
    due_at: Duration,
    pub(crate) claimed_at: Duration,
    /// Whether it was claimed ahead of a handler, or as a quarantined event.
    pub(crate) is_ahead: bool,
    pub(crate) is_quarantined: bool,
    finished_at: Duration,
    history: History,
}

impl Default for Clock {
    fn default() -> Self {
        let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { epoch, begun: Instant::now(), speed: 1.0, set: Duration::ZERO }
    }
}

impl Clock {
    fn now(&self) -> Duration {
        self.epoch + self.begun.elapsed().mul_f64(self.speed) + self.set
    }
}

impl Row {
    /// The time of its state.
    fn since(&self) -> Duration {
        match self.state {
            State::Running => self.claimed_at,
            State::Done | State::Dead => self.finished_at,
            _ => self.due_at,
        }
    }

    fn origin(&self) -> Origin {
        super::origin(self.signer.as_ref())
    }

    /// The account in front of its key; empty if there is none.
    pub(crate) fn account(&self) -> &str {
        Record::account_of(&self.key).unwrap_or_default()
    }

    fn holds(&self, claim: ClaimId, worker: &str) -> bool {
        self.state == State::Running
            && self.number.of_all == claim.attempt
            && self.worker.as_deref() == Some(worker)
    }
}

impl Memory {
    pub(crate) fn apply<T>(&self, operation: impl FnOnce(&mut Tables) -> T) -> T {
        operation(&mut lock(&self.inbox.tables))
    }

    fn at_once<'a, T: Send + 'a>(&self, operation: impl FnOnce(&mut Tables) -> T) -> Answer<'a, T> {
        Box::pin(ready(Ok(self.apply(operation))))
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tables {
    pub(crate) fn insert(&mut self, event: NewEvent) -> Acceptance {
        if let Some(id) = self.keys.get(&event.key).copied() {
            return self.compare(id, event);
        }
        self.last += 1;
        let (id, now) = (EventId(self.last), self.clock.now());
        let NewEvent { key, event, job, json, signer, trace } = event;
        self.keys.insert(key.clone(), id);
        self.places.entry(State::Ready.name()).or_default().insert((now, id));
        let row = Row {
            key,
            event,
            job,
            payload: Some(json),
            signer,
            trace,
            conflict: None,
            accepted_at: now,
            state: State::Ready,
            number: Number::default(),
            runs: 1,
            worker: None,
            due_at: now,
            claimed_at: now,
            is_ahead: false,
            is_quarantined: false,
            finished_at: now,
            history: History::default(),
        };
        self.events.insert(id, row);
        Acceptance::New
    }

    /// Whether another body for a known key differs from the one that is stored.
    fn compare(&mut self, id: EventId, event: NewEvent) -> Acceptance {
        let now = self.clock.now();
        let Some(row) = self.events.get_mut(&id) else { return Acceptance::Duplicate };
        let (Some(signer), Some(later)) = (&row.signer, event.signer) else {
            return Acceptance::Duplicate;
        };
        let is_other = match &row.payload {
            Some(payload) => *payload != event.json,
            None => signer.name == later.name && signer.signature != later.signature,
        };
        if !is_other {
            return Acceptance::Duplicate;
        }
        row.conflict = Some((event.json, later, now));
        Acceptance::Conflict
    }

    /// Changes an event, and moves it to its new place.
    pub(crate) fn change<T>(
        &mut self,
        id: EventId,
        change: impl FnOnce(&mut Row) -> T,
    ) -> Option<T> {
        let row = self.events.get_mut(&id)?;
        self.places.entry(row.state.name()).or_default().remove(&(row.since(), id));
        let changed = change(row);
        self.places.entry(row.state.name()).or_default().insert((row.since(), id));
        Some(changed)
    }

    fn remove(&mut self, id: EventId) {
        if let Some(row) = self.events.remove(&id) {
            self.places.entry(row.state.name()).or_default().remove(&(row.since(), id));
            self.keys.remove(&row.key);
        }
    }

    /// The events in a state, in the order of its time.
    fn of(&self, state: State) -> impl Iterator<Item = Place> + '_ {
        self.places.get(state.name()).into_iter().flatten().copied()
    }

    pub(crate) fn exchange(&mut self, exchange: Exchange<'_>) -> Exchanged {
        let Exchange { worker, lease, ends, most, ahead, quarantined, accounts, of_each } =
            exchange;
        let mut exchanged = Exchanged::default();
        for end in ends {
            if self.end(worker, end) {
                exchanged.ended.push(end.event);
            }
        }
        let is_live = |seen: &Duration| self.clock.now().saturating_sub(*seen) <= lease;
        exchanged.is_lapsed = most + ahead > 0 && !self.workers.get(worker).is_some_and(is_live);
        let paused_for = self.pause_of("").filter(|_| most + ahead > 0);
        if let Some(ends_in) = paused_for {
            (exchanged.is_paused, exchanged.next_in) = (true, ends_in);
        } else if !exchanged.is_lapsed {
            exchanged.has_paused_accounts = self.current_pauses().next().is_some();
            let alone = usize::from(quarantined).min(most);
            let mut claims = self.claim(worker, State::Quarantined, None, alone, 0);
            let all = (!exchanged.has_paused_accounts).then_some((None, usize::MAX));
            let shares = accounts.iter().map(|account| (Some(&**account), of_each));
            for (account, share) in shares.chain(all) {
                let (now, all) = (most.saturating_sub(claims.len()), most + ahead - claims.len());
                let (now, all) = (now.min(share), all.min(share));
                claims.extend(self.claim(worker, State::Ready, account, now, all - now));
            }
            exchanged.claims = claims;
            let next = self.of(State::Ready).next();
            exchanged.next_in = next.map(|(due, _)| due.saturating_sub(self.clock.now()));
        }
        exchanged
    }

    fn end(&mut self, worker: &str, end: &End) -> bool {
        let (now, state) = (self.clock.now(), end.outcome.state());
        let Some(row) = self.events.get(&end.event) else { return false };
        // If the end is sent again, its event is already a dead letter, with the number that the end wrote.
        let expected = if row.state == State::Dead { end.after() } else { end.number };
        let is_current = row.number.of_all == expected.of_all
            && row.worker.as_ref().is_none_or(|holder| holder == worker);
        let is_over = row.state == State::Done && state != State::Done
            || row.state == State::Dead && state == State::Ready;
        if !is_current || is_over {
            return false;
        }
        let ended = self.change(end.event, |row| {
            (row.state, row.number, row.worker) = (state, end.after(), None);
            (row.due_at, row.finished_at) = (now + end.outcome.delay(), now);
            if let Some(history) = &end.history {
                row.history = history.clone();
            }
        });
        ended.is_some()
    }

    /// Claims events of all accounts, or of one.
    fn claim(
        &mut self,
        worker: &str,
        from: State,
        account: Option<&str>,
        most: usize,
        ahead: usize,
    ) -> Vec<Claim> {
        let now = self.clock.now();
        let paused: BTreeSet<_> = self.current_pauses().map(|(account, ..)| account).collect();
        let is_free = |(_, event): &Place| {
            let of = self.events[event].account();
            account.is_none_or(|account| of == account) && !paused.contains(of)
        };
        let due = self.of(from).take_while(|(due, _)| *due <= now);
        let due: Vec<_> = due.filter(is_free).take(most + ahead).collect();
        let mut claims = Vec::with_capacity(due.len());
        for (place, (_, event)) in due.into_iter().enumerate() {
            let claim = self.change(event, |row| {
                (row.state, row.worker) = (State::Running, Some(worker.to_owned()));
                (row.claimed_at, row.is_ahead) = (now, place >= most);
                row.is_quarantined = from == State::Quarantined;
                row.number.of_all += 1;
                Claim {
                    event,
                    number: row.number,
                    runs: row.runs,
                    key: row.key.clone(),
                    stored: StoredEvent::new(row.payload.as_deref().unwrap_or_default().to_vec()),
                    history: row.history.clone(),
                    origin: row.origin(),
                    signed_by: row.signer.as_ref().map(|signer| signer.name.clone()),
                    trace: row.trace.clone(),
                    accepted_at: time(row.accepted_at),
                    is_quarantined: row.is_quarantined,
                }
            });
            claims.extend(claim);
        }
        claims
    }

    pub(crate) fn waiting_accounts(&self, from: &str) -> WaitingAccounts {
        let now = self.clock.now();
        let due = self.of(State::Ready).take_while(|(due, _)| *due <= now);
        let accounts = due.map(|(_, event)| self.events[&event].account());
        let is_next = |account: &&str| *account >= from && self.pause_of(account).is_none();
        let accounts: BTreeSet<_> = accounts.filter(is_next).collect();
        let accounts = accounts.into_iter().map(str::to_owned).collect();
        WaitingAccounts { accounts, go_on_from: None }
    }

    pub(crate) fn heartbeat(&mut self, worker: &str) -> Vec<ClaimId> {
        self.workers.insert(worker.to_owned(), self.clock.now());
        let held = |(_, event)| {
            let row = self.events.get(&event)?;
            let is_held = row.worker.as_deref() == Some(worker);
            is_held.then_some(ClaimId { event, attempt: row.number.of_all })
        };
        self.of(State::Running).filter_map(held).collect()
    }

    /// Returns the claims that it released.
    pub(crate) fn release(&mut self, worker: &str, claims: &[ClaimId]) -> Vec<ClaimId> {
        let holds = |claim: &ClaimId| {
            self.events.get(&claim.event).is_some_and(|row| row.holds(*claim, worker))
        };
        let held: Vec<_> = claims.iter().copied().filter(holds).collect();
        for claim in &held {
            self.change(claim.event, |row| {
                let state = if row.is_quarantined { State::Quarantined } else { State::Ready };
                (row.state, row.worker) = (state, None);
                row.number.uncounted += 1;
            });
        }
        held
    }

    pub(crate) fn forget(&mut self, worker: &str) {
        let holds = |(_, id)| self.events[&id].worker.as_deref() == Some(worker);
        if !self.of(State::Running).any(holds) {
            self.workers.remove(worker);
        }
    }

    /// Returns the claims that it rescued, and their workers.
    pub(crate) fn rescue(
        &mut self,
        lease: Duration,
        quarantine_after: u32,
    ) -> Vec<(ClaimId, String)> {
        let now = self.clock.now();
        let is_old = |at: Duration| now.saturating_sub(at) > lease;
        let abandoned = |(claimed_at, event)| {
            let row = self.events.get(&event)?;
            let worker = row.worker.clone()?;
            let is_dead = self.workers.get(&worker).is_none_or(|seen| is_old(*seen));
            let claim = ClaimId { event, attempt: row.number.of_all };
            (is_old(claimed_at) && is_dead).then_some((claim, worker))
        };
        let rescued: Vec<_> = self.of(State::Running).filter_map(abandoned).collect();
        for (claim, _) in &rescued {
            self.change(claim.event, |row| {
                let attempt = row.number.counted();
                let is_quarantined = row.is_ahead || attempt >= quarantine_after;
                row.state = if is_quarantined { State::Quarantined } else { State::Ready };
                row.worker = None;
                row.number.uncounted += u32::from(row.is_ahead);
                row.history = row.history.clone().with(attempt, LOST.into());
            });
        }
        rescued
    }

    pub(crate) fn sweep(&mut self, retention: Duration, of_dead: Option<Duration>) -> u64 {
        let now = self.clock.now();
        let mut swept = 0;
        for (state, retention) in [(State::Done, Some(retention)), (State::Dead, of_dead)] {
            let Some(retention) = retention else { continue };
            let old = self.of(state).take_while(|(at, _)| now.saturating_sub(*at) > retention);
            let old: Vec<_> = old.take(STEP as usize).map(|(_, id)| id).collect();
            swept += old.len() as u64;
            old.into_iter().for_each(|id| self.remove(id));
        }
        swept
    }

    pub(crate) fn forget_payloads(
        &mut self,
        retention: Duration,
        after: Option<Place>,
    ) -> Option<Place> {
        let now = self.clock.now();
        let old = self.of(State::Done).filter(|place| after.is_none_or(|after| *place > after));
        let old = old.take_while(|(at, _)| now.saturating_sub(*at) > retention);
        let old: Vec<_> = old.take(STEP as usize).collect();
        for (_, id) in &old {
            self.change(*id, |row| (row.payload, row.conflict) = (None, None));
        }
        old.last().filter(|_| old.len() == STEP as usize).copied()
    }

    /// Changes these events, and returns which.
    pub(crate) fn change_all(
        &mut self,
        change: Change,
        is_meant: impl Fn(&Row) -> bool,
    ) -> Vec<EventId> {
        let now = self.clock.now();
        let stored = if change.of() == State::Scheduled { State::Ready } else { change.of() };
        let is_meant = |row: &Row| match change {
            Change::RunNow => row.due_at > now && is_meant(row),
            Change::Requeue | Change::Rerun => row.payload.is_some() && is_meant(row),
            Change::Discard => is_meant(row),
        };
        let of_state = self.of(stored).map(|(_, id)| id);
        let meant: Vec<_> = of_state.filter(|id| is_meant(&self.events[id])).collect();
        for id in &meant {
            self.change(*id, |row| {
                match change {
                    Change::RunNow => row.due_at = now,
                    Change::Discard => (row.state, row.finished_at) = (State::Done, now),
                    Change::Requeue | Change::Rerun => {
                        // A dead letter at n may come from claim n + 1, whose attempt was never made. The end of
                        // that claim may still arrive.
                        let of_all = row.number.of_all + 2;
                        (row.state, row.due_at) = (State::Ready, now);
                        row.number = Number { of_all, uncounted: of_all };
                        row.runs += u32::from(change == Change::Rerun);
                    }
                }
                row.history = row.history.clone().with(0, change.note().into());
            });
        }
        meant
    }

    /// The pauses that are not over, and in how long they are.
    fn current_pauses(&self) -> impl Iterator<Item = (&str, &Paused, Option<Duration>)> {
        let now = self.clock.now();
        self.pauses.iter().filter_map(move |(account, (paused, until))| {
            let is_on = until.is_none_or(|until| until > now);
            is_on.then(|| (&**account, paused, until.map(|until| until.saturating_sub(now))))
        })
    }

    fn pause_of(&self, account: &str) -> Option<Option<Duration>> {
        let mut pauses = self.current_pauses();
        pauses.find(|(of, ..)| *of == account).map(|(.., ends_in)| ends_in)
    }

    pub(crate) fn pause(&mut self, account: &str, NewPause { by, why, length }: NewPause) {
        let now = self.clock.now();
        let until = length.map(|length| now.saturating_add(length));
        let (since, ends) = (time(now), until.map(time));
        let paused = Paused { account: Account::new(account).ok(), by, why, since, until: ends };
        self.pauses.insert(account.to_owned(), (paused, until));
    }

    pub(crate) fn resume(&mut self, account: &str) -> bool {
        let is_on = self.pause_of(account).is_some();
        self.pauses.remove(account);
        is_on
    }

    fn stats(&self) -> Stats {
        let now = self.clock.now();
        let count = |state| self.of(state).count() as u64;
        let ready = self.of(State::Ready).take_while(|(due, _)| *due <= now).count() as u64;
        let age = |at: Option<Duration>| at.map_or(Duration::ZERO, |at| now.saturating_sub(at));
        let first = |state| self.of(state).next().map(|(due, _)| due);
        let (overdue, oldest_overdue) = self.overdue_jobs();
        Stats {
            ready,
            scheduled: count(State::Ready) - ready,
            quarantined: count(State::Quarantined),
            running: count(State::Running),
            done: count(State::Done),
            done_age: Duration::ZERO,
            dead: count(State::Dead),
            oldest_ready: age(first(State::Ready)).max(age(first(State::Quarantined))),
            workers: self.workers.values().filter(|seen| age(Some(**seen)) <= LIVE).count() as u64,
            overdue,
            oldest_overdue: age(oldest_overdue),
            is_paused: self.pause_of("").is_some(),
            paused_accounts: self
                .current_pauses()
                .filter(|(account, ..)| !account.is_empty())
                .count() as u64,
        }
    }

    fn handled_per_minute(&self, first: i64) -> PerMinute {
        let (first, mut minutes) = (of_millis(first), PerMinute::default());
        let finished = self.of(State::Done).chain(self.of(State::Dead));
        for at in finished.filter_map(|(at, _)| at.checked_sub(first)) {
            let minute = usize::try_from(at.as_secs() / 60).ok();
            minute
                .and_then(|minute| minutes.get_mut(minute))
                .into_iter()
                .for_each(|count| *count += 1);
        }
        minutes
    }

    fn workers(&self) -> Vec<WorkerStatus> {
        let now = self.clock.now();
        let live = self.workers.iter().filter(|(_, seen)| now.saturating_sub(**seen) <= LIVE);
        let claim = |(_, id)| {
            let row: &Row = &self.events[&id];
            Some((row.worker.clone()?, row.key.clone()))
        };
        let claims = self.of(State::Running).filter_map(claim);
        with_claims(live.map(|(name, seen)| (name.clone(), time(*seen))), claims)
    }

    /// The events of a state after a place, at most `most`.
    fn list(&self, state: State, after: Option<Place>, most: u32) -> Listed {
        let now = self.clock.now();
        let last = EventId(i64::MAX);
        let (first, end) = match state {
            State::Ready => (Bound::Unbounded, Bound::Included((now, last))),
            State::Scheduled => (Bound::Excluded((now, last)), Bound::Unbounded),
            _ => (Bound::Unbounded, Bound::Unbounded),
        };
        let after = after.map_or(first, |place| match first {
            Bound::Excluded(first) => Bound::Excluded(place.max(first)),
            _ => Bound::Excluded(place),
        });
        let stored = if state == State::Scheduled { State::Ready } else { state };
        // The place of a cursor may be later than everything that is ready now.
        let places = self.places.get(stored.name()).filter(|_| match (after, end) {
            (Bound::Excluded(after), Bound::Included(end)) => after < end,
            _ => true,
        });
        let places = places.into_iter().flat_map(|places| places.range((after, end)));
        let entries: Vec<_> = places.take(most as usize).map(|(_, id)| self.entry(*id)).collect();
        let is_full = entries.len() == most as usize;
        let next = entries.last().filter(|_| is_full).map(|entry| entry.place.clone());
        (entries, next)
    }

    fn show(&self, key: &str) -> Option<Entry> {
        self.keys.get(key).map(|id| self.entry(*id))
    }

    fn entry(&self, id: EventId) -> Entry {
        let row = &self.events[&id];
        let since = row.since();
        let worker_seen = row.worker.as_ref().and_then(|worker| self.workers.get(worker));
        let is_scheduled = row.state == State::Ready && row.due_at > self.clock.now();
        Entry {
            place: cursor((since, id)),
            key: row.key.clone(),
            event: row.event.clone(),
            job: row.job.clone(),
            stored: row.payload.as_deref().map(|json| StoredEvent::new(json.to_vec())),
            origin: row.origin(),
            signed_by: row.signer.as_ref().map(|signer| signer.name.clone()),
            signature: row.signer.as_ref().map(|signer| signer.signature),
            conflict: row.conflict.as_ref().map(|(json, signer, at)| Conflict {
                stored: StoredEvent::new(json.to_vec()),
                signed_by: signer.name.clone(),
                signature: Some(signer.signature),
                accepted_at: time(*at),
            }),
            state: if is_scheduled { State::Scheduled } else { row.state },
            since: time(since),
            accepted_at: time(row.accepted_at),
            worker_seen: worker_seen.copied().map(time),
            attempts: row.number.counted(),
            runs: row.runs,
            trace: row.trace.clone(),
            history: row.history.clone(),
        }
    }
}

fn time(since_epoch: Duration) -> SystemTime {
    SystemTime::UNIX_EPOCH + since_epoch
}

fn cursor((since, id): Place) -> String {
    format!("{}.{id}", since.as_nanos())
}

/// The place in a cursor.
fn place(cursor: &str) -> Option<Place> {
    let (nanos, id) = cursor.split_once('.')?;
    Some((Duration::from_nanos(nanos.parse().ok()?), EventId(id.parse().ok()?)))
}

impl Store for Memory {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn named(&self, inbox: &str) -> Arc<dyn Store> {
        let inbox = lock(&self.inboxes).entry(inbox.to_owned()).or_default().clone();
        Arc::new(Self { inboxes: Arc::clone(&self.inboxes), inbox })
    }

    fn wake(&self) -> &Arc<Wake> {
        &self.inbox.wake
    }

    fn runtime(&self) -> Handle {
        Handle::current()
    }

    fn insert(&self, event: NewEvent) -> Answer<'_, Acceptance> {
        self.at_once(|tables| tables.insert(event))
    }

    fn exchange<'a>(&'a self, exchange: Exchange<'a>) -> Answer<'a, Exchanged> {
        self.at_once(|tables| tables.exchange(exchange))
    }

    fn waiting_accounts<'a>(&'a self, from: &'a str) -> Answer<'a, WaitingAccounts> {
        self.at_once(|tables| tables.waiting_accounts(from))
    }

    fn heartbeat<'a>(&'a self, worker: &'a str) -> Answer<'a, Vec<ClaimId>> {
        self.at_once(|tables| tables.heartbeat(worker))
    }

    fn release<'a>(&'a self, worker: &'a str, claims: &'a [ClaimId]) -> Answer<'a, ()> {
        self.at_once(|tables| drop(tables.release(worker, claims)))
    }

    fn forget<'a>(&'a self, worker: &'a str) -> Answer<'a, ()> {
        self.at_once(|tables| tables.forget(worker))
    }

    fn rescue(&self, lease: Duration, quarantine_after: u32) -> Answer<'_, u64> {
        self.at_once(|tables| tables.rescue(lease, quarantine_after).len() as u64)
    }

    fn sweep(&self, retention: Duration, of_dead: Option<Duration>) -> Answer<'_, u64> {
        self.at_once(|tables| tables.sweep(retention, of_dead))
    }

    fn forget_payloads<'a>(
        &'a self,
        retention: Duration,
        after: Option<&'a str>,
    ) -> Answer<'a, Option<String>> {
        let after = after.and_then(place);
        self.at_once(|tables| tables.forget_payloads(retention, after).map(cursor))
    }

    fn ping(&self) -> Answer<'_, ()> {
        self.at_once(|_| ())
    }

    #[cfg(feature = "test-util")]
    fn advance(&self, by: Duration) -> bool {
        self.apply(|tables| tables.clock.set += by);
        true
    }

    fn now(&self) -> Answer<'_, SystemTime> {
        self.at_once(|tables| time(tables.clock.now()))
    }

    fn pause<'a>(&'a self, account: &'a str, pause: NewPause) -> Answer<'a, ()> {
        self.at_once(|tables| tables.pause(account, pause))
    }

    fn resume<'a>(&'a self, account: &'a str) -> Answer<'a, bool> {
        self.at_once(|tables| tables.resume(account))
    }

    fn pauses(&self) -> Answer<'_, Vec<Paused>> {
        self.at_once(|tables| {
            tables.current_pauses().map(|(_, paused, _)| paused.clone()).collect()
        })
    }

    fn stats(&self) -> Answer<'_, Stats> {
        self.at_once(|tables| tables.stats())
    }

    fn handled_per_minute(&self, first: i64) -> Answer<'_, PerMinute> {
        self.at_once(|tables| tables.handled_per_minute(first))
    }

    fn workers(&self) -> Answer<'_, Vec<WorkerStatus>> {
        self.at_once(|tables| tables.workers())
    }

    fn place_of(&self, time: SystemTime) -> String {
        cursor((of_millis(millis_of_time(time)), EventId(0)))
    }

    fn list<'a>(&'a self, state: State, after: Option<&'a str>, most: u32) -> Answer<'a, Listed> {
        let after = after.map(|cursor| place(cursor).ok_or_else(no_cursor)).transpose();
        Box::pin(ready(after.map(|after| self.apply(|tables| tables.list(state, after, most)))))
    }

    fn show<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Entry>> {
        self.at_once(|tables| tables.show(key))
    }

    fn change<'a>(&'a self, keys: &'a [String], change: Change) -> Answer<'a, u64> {
        let change = |tables: &mut Tables| tables.change_all(change, |row| keys.contains(&row.key));
        self.at_once(|tables| change(tables).len() as u64)
    }
}

#[cfg(test)]
impl Row {
    pub(crate) fn state(&self) -> State {
        self.state
    }
}

/// What the simulation does to the tables.
#[cfg(test)]
impl Tables {
    /// Moves an event to a state in which another worker can claim it.
    pub(crate) fn put_back(&mut self, id: EventId, state: State) {
        self.change(id, |row| (row.state, row.worker) = (state, None));
    }

    /// Forgets a key, so that its event can be stored again.
    pub(crate) fn forget_key(&mut self, key: &str) {
        self.keys.remove(key);
    }

    /// Registers the workers of all claims, with leases that do not expire.
    pub(crate) fn register_all(&mut self) {
        let now = self.clock.now() + Duration::from_hours(24);
        for row in self.events.values() {
            if let Some(worker) = &row.worker {
                self.workers.entry(worker.clone()).or_insert(now);
            }
        }
    }

    /// Whether all events are done.
    pub(crate) fn are_done(&self) -> bool {
        self.events.values().all(|row| row.state == State::Done)
    }
}
