//! On Redis, for several machines: a single server, a server that Sentinels watch, or a cluster. The server keeps everything in
//! memory and, if it is configured for that, on its disk.
//!
//! All keys of an inbox have the same hash tag, and so are on one node of a cluster. Each script gets all of them.

mod connection;
mod expectations;
mod fault;
mod link;
mod publish;
mod replicas;
mod row;
mod script;
mod sentinel;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use number7_core::{Acceptance, Record};
use redis::{Cmd, FromRedisValue, RedisError, Value, from_redis_value};
use tokio::{runtime::Handle, time::timeout};
use ulid::Ulid;

use self::{
    link::{Link, Target},
    publish::Messages,
    replicas::{Replicas, Replicated},
    row::{Row, fixed_part, key_of, later},
    script::{Call, Script, script},
};
use super::{
    Answer, Exchange, Exchanged, Listed, NewEvent, PausedRow, PerMinute, STEP, STORE_TIMEOUT,
    Signer, Store, WaitingAccounts, driver::Driver, in_time, wakes::Wakes,
};
use crate::model::{
    change::Change,
    claim::{ClaimId, EventId, Number},
    entry::{Entry, State},
    error::{InboxError, InboxErrorKind},
    history::{History, LOST},
    page::no_cursor,
    paused::{NewPause, Paused},
    stats::Stats,
    time::{millis, millis_of_time, time_of_millis},
    wake::Wake,
    worker_status::{WorkerStatus, with_claims},
};

/// How long opening may take, with all that it asks of the server.
const OPEN_TIMEOUT: Duration = STORE_TIMEOUT.saturating_add(Duration::from_millis(500));

/// After this time without a heartbeat, a worker does not count anymore.
const HEARD: Duration = Duration::from_secs(30);

/// The keys of an inbox, in the order of keys.lua. Acceptance needs only the first ones.
const KEYS: [&str; 19] = [
    // The last event id.
    "next_id",
    // Hashes: from a key to its event, and from an event to its payload and to its record.
    "keys",
    "payloads",
    "events",
    // A sorted set of the ready and scheduled events, by when they are due.
    "ready",
    // The same by account, as members in the order of account/milliseconds/event. The account may be empty.
    "ready_of_account",
    // A hash: the errors of events, as an array of JSON.
    "errors",
    // Sorted sets of events: by when they became due, were claimed, and were finished.
    "quarantined",
    "running",
    "done",
    "dead",
    // A sorted set of workers, by when they last renewed their leases.
    "workers",
    // A hash: the records of expected jobs.
    "expected_jobs",
    // Sorted sets of these jobs: all jobs by when they are looked up, the overdue jobs by when they were due, and the jobs to
    // be fetched, as members in the order of account/milliseconds/job. The account may be empty.
    "look_ups",
    "overdue",
    "fetches",
    // The worker that fetches.
    "leader",
    // A hash of JSON: who paused the inbox or an account, why, since when, and until when.
    "pauses",
    // A hash of JSON: the last other body that was signed for an event later.
    "conflicts",
];

/// The index of the hash of records.
const EVENTS: usize = 3;

/// How many of the keys acceptance needs.
const KEYS_TO_ACCEPT: usize = 6;

const DAMAGED: &str = "its record is damaged, or no longer in Redis: it was evicted or deleted";

/// A key of an inbox.
fn key(inbox: &str, name: &str) -> String {
    let colon = if inbox.is_empty() { "" } else { ":" };
    format!("{{number7{colon}{inbox}}}:{name}")
}

pub(crate) struct Redis {
    server: Arc<Server>,
    inbox: Arc<str>,
    keys: Arc<[String]>,
    wake: Arc<Wake>,
}

/// One server, and the driver of its connections.
struct Server {
    driver: Driver,
    link: Link,
    /// The connection for writes that wait for replicas, if any do.
    replicated: Option<Arc<Replicated>>,
    wakes: Arc<Wakes>,
    messages: Messages,
}

impl Redis {
    pub(crate) async fn open(url: &str) -> Result<Self, InboxError> {
        let (target, replicas) = (Target::of_url(url)?, Replicas::of_url(url)?);
        let driver = Driver::start()?;
        let link = Link::start(target.clone(), &driver);
        let replicated = replicas.map(|replicas| {
            let link = Link::start(target.clone(), &driver);
            Arc::new(Replicated::start(replicas, link, &driver))
        });
        let wakes = Arc::<Wakes>::default();
        let messages = Messages::new(Arc::clone(&wakes));
        let server = Server { driver, link, replicated, wakes, messages };
        let redis = Self::of(Arc::new(server), "");
        let checked = redis.check(replicas.map_or(0, |replicas| replicas.count));
        let opened =
            redis.server.driver.run(async move { Ok(timeout(OPEN_TIMEOUT, checked).await) });
        match opened.await? {
            Ok(checked) => checked.map(|()| redis),
            Err(_) => Err(InboxErrorKind::TooSlow.into()),
        }
    }

    fn of(server: Arc<Server>, inbox: &str) -> Self {
        let keys = KEYS.map(|name| key(inbox, name)).into();
        let inbox = Arc::from(inbox);
        let wake = server.wakes.get(&inbox);
        Self { server, inbox, keys, wake }
    }

    /// Checks a server when it is opened, and waits for one that is starting. The server must be able to run a
    /// script with all keys.
    fn check(&self, replicas: usize) -> impl Future<Output = Result<(), InboxError>> + use<> {
        let link = self.server.link.clone();
        let probe = self.call(script!("pauses", "stats")).arg(0).take();
        async move {
            link.opened().await?;
            link.run(|to| probe.make(to)).await?;
            warn_if_not_durable(&link).await;
            warn_of_replicas(&link, replicas).await;
            Ok(())
        }
    }

    fn call(&self, script: Script) -> Call {
        Call::new(script, Arc::clone(&self.keys))
    }

    /// The next accounts that have ready events, or jobs to be fetched.
    async fn accounts(&self, from: &str, of: &str) -> Result<WaitingAccounts, InboxError> {
        let mut call = self.call(script!("pauses", "waiting_accounts"));
        let (accounts, go_on_from) = self.server.call(call.arg(from).arg(STEP).arg(of)).await?;
        Ok(WaitingAccounts { accounts, go_on_from })
    }

    /// Compares another body for a known key with the one that is stored.
    async fn keep_conflict(
        &self,
        event: &NewEvent,
        signer: &Signer,
    ) -> Result<Acceptance, InboxError> {
        let mut call = self.call(script!("keep_conflict"));
        call.arg(&event.key).arg(&*event.json).arg(&signer.name);
        call.arg(signer.signature.to_string()).arg(later(&event.json, signer));
        match self.server.call_safely(&mut call).await? {
            0 => Ok(Acceptance::Duplicate),
            _ => Ok(Acceptance::Conflict),
        }
    }

    /// Replaces the ids of running events by their keys. A lost or damaged event has no key.
    async fn name_events(&self, workers: &mut [WorkerStatus]) -> Result<(), InboxError> {
        let ids: Vec<String> = workers.iter().flat_map(|worker| worker.running.clone()).collect();
        let mut keys = HashMap::new();
        for ids in ids.chunks(STEP as usize) {
            let mut get = redis::cmd("HMGET");
            get.arg(&self.keys[EVENTS]).arg(ids);
            let records: Vec<Option<Vec<u8>>> = self.server.command(get).await?;
            let key =
                |(id, record): (&String, Option<Vec<u8>>)| Some((id.clone(), key_of(&record?)?));
            keys.extend(ids.iter().zip(records).filter_map(key));
        }
        for worker in workers {
            worker.running = worker.running.iter().filter_map(|id| keys.remove(id)).collect();
        }
        Ok(())
    }

    /// Logs that an event is lost or damaged. If it has a payload, it becomes a dead letter.
    async fn set_aside(
        &self,
        worker: &str,
        event: &str,
        key: Option<String>,
        payload: Option<Vec<u8>>,
    ) {
        let Some(payload) = payload else {
            tracing::error!(
                target: "number7", event, key,
                "an event is lost: its payload was evicted from Redis, or deleted"
            );
            return;
        };
        let key = Record::key_of(&payload).unwrap_or_else(|_| format!("damaged:{event}"));
        let rest = fixed_part(&NewEvent::new(key.clone(), payload.into(), None), None);
        let mut call = self.call(script!("events", "set_aside"));
        call.arg(event).arg(&key).arg(rest).arg(DAMAGED).arg(worker);
        let kept = self.server.call::<()>(&mut call).await;
        let kept = kept.map_or_else(|error| format!(" in a minute: {error}"), |()| String::new());
        tracing::error!(
            target: "number7", event, key,
            "the record of an event was damaged, evicted from Redis, or deleted; it is a dead letter{kept}"
        );
    }
}

impl Server {
    /// Calls a script.
    async fn call<T: FromRedisValue>(&self, call: &mut Call) -> Result<T, InboxError> {
        let (link, call) = (self.link.clone(), call.take());
        let called = self.driver.run(async move { link.run(|to| call.make(to)).await });
        read(called.await?)
    }

    /// Calls a script that may run twice. If replicas are wanted, its writes are confirmed only when they have them.
    async fn call_safely<T: FromRedisValue>(&self, call: &mut Call) -> Result<T, InboxError> {
        let call = call.take();
        let Some(replicated) = self.replicated.clone() else {
            let link = self.link.clone();
            let called = async move { link.run_again(|to| call.make(to)).await };
            return read(self.driver.run(called).await?);
        };
        read(self.driver.run(async move { in_time(replicated.write(call)).await }).await?)
    }

    /// Whether writes wait for replicas, as an argument of a script.
    fn waits(&self) -> u8 {
        self.replicated.is_some().into()
    }

    async fn command<T: FromRedisValue>(&self, command: Cmd) -> Result<T, InboxError> {
        let link = self.link.clone();
        read(self.driver.run(async move { ask(&link, command).await }).await?)
    }
}

async fn ask(link: &Link, command: Cmd) -> Result<Value, InboxError> {
    link.run(async |mut connection| command.query_async(&mut connection).await).await
}

fn read<T: FromRedisValue>(value: Value) -> Result<T, InboxError> {
    Ok(from_redis_value(value).map_err(RedisError::from)?)
}

/// If a managed server does not show its settings, there is no warning.
async fn warn_if_not_durable(link: &Link) {
    let should =
        [("appendonly", "yes"), ("appendfsync", "always"), ("maxmemory-policy", "noeviction")];
    for (setting, good) in should {
        let mut get = redis::cmd("CONFIG");
        get.arg("GET").arg(setting);
        let shown = ask(link, get).await.and_then(read::<HashMap<String, String>>);
        if let Some(value) = shown.ok().and_then(|mut shown| shown.remove(setting))
            && value != good
        {
            tracing::warn!(
                target: "number7", setting, value,
                "Redis may lose accepted events: set {setting} to {good}"
            );
        }
    }
}

/// A server confirms a write before its replicas have it, unless it has to wait.
async fn warn_of_replicas(link: &Link, wanted: usize) {
    let mut info = redis::cmd("INFO");
    info.arg("replication");
    let Ok(info) = ask(link, info).await.and_then(read::<String>) else { return };
    let connected = info.lines().find_map(|line| line.strip_prefix("connected_slaves:"));
    let Some(connected) = connected.and_then(|count| count.trim().parse::<usize>().ok()) else {
        return;
    };
    if wanted == 0 && connected > 0 {
        tracing::warn!(
            target: "number7", connected,
            "this Redis has replicas, and nothing waits for them: a failover may lose accepted events. Add \
            ?wait_replicas=1 to its URL"
        );
    } else if wanted > connected {
        tracing::warn!(
            target: "number7", connected, wanted,
            "this Redis has fewer replicas than wait_replicas in its URL: nothing is accepted before they are \
            connected"
        );
    }
}

impl Store for Redis {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn named(&self, inbox: &str) -> Arc<dyn Store> {
        Arc::new(Self::of(Arc::clone(&self.server), inbox))
    }

    fn wake(&self) -> &Arc<Wake> {
        &self.wake
    }

    fn announce(&self) {
        self.wake.events_are_ready();
        let Server { driver, link, wakes, messages, .. } = &*self.server;
        wakes.announce(&self.inbox);
        messages.tell(link, driver);
    }

    fn runtime(&self) -> Handle {
        self.server.driver.runtime().clone()
    }

    fn insert(&self, event: NewEvent) -> Answer<'_, Acceptance> {
        Box::pin(async move {
            let receipt = Ulid::generate().to_string();
            let rest = fixed_part(&event, Some(&receipt));
            let mut call = self.call(script!("insert"));
            call.first_keys(KEYS_TO_ACCEPT).arg(&event.key).arg(&*event.json).arg(receipt);
            call.arg(rest).arg(self.server.waits());
            match (self.server.call_safely(&mut call).await?, &event.signer) {
                (1, _) => Ok(Acceptance::New),
                (2, Some(signer)) => self.keep_conflict(&event, signer).await,
                _ => Ok(Acceptance::Duplicate),
            }
        })
    }

    fn exchange<'a>(&'a self, exchange: Exchange<'a>) -> Answer<'a, Exchanged> {
        type Found = Option<(Vec<(String, Row, bool)>, Option<u64>)>;
        type Broken = Vec<(String, Option<String>, Option<Vec<u8>>)>;
        Box::pin(async move {
            let mut call = self.call(script!("pauses", "events", "exchange"));
            call.arg(exchange.worker).arg(millis(exchange.lease)).arg(exchange.most);
            call.arg(u8::from(exchange.quarantined)).arg(exchange.ahead);
            call.arg(exchange.of_each).arg(exchange.accounts.len()).arg(exchange.accounts);
            for end in exchange.ends {
                let Number { of_all, uncounted } = end.after();
                call.arg(member(end.event)).arg(end.number.of_all).arg(end.outcome.state().name());
                call.arg(millis(end.outcome.delay())).arg(of_all).arg(uncounted);
                call.arg(end.history.as_ref().map(History::json).unwrap_or_default());
            }
            let (ended, found, mut broken, paused): (Vec<i64>, Found, Broken, Option<u8>) =
                self.server.call(&mut call).await?;
            let is_lapsed = exchange.most + exchange.ahead > 0 && found.is_none();
            let (found, next) = found.unwrap_or_default();
            let mut claims = Vec::new();
            for (event, mut row, is_quarantined) in found {
                match row.claim(&event, is_quarantined) {
                    Some(claim) => claims.push(claim),
                    None => broken.push((event, None, Some(row.payload()))),
                }
            }
            for (event, key, payload) in broken {
                self.set_aside(exchange.worker, &event, key, payload).await;
            }
            let ended = ended.into_iter().map(EventId).collect();
            let next_in = next.map(Duration::from_millis);
            let (is_paused, has_paused_accounts) = (paused == Some(1), paused == Some(2));
            Ok(Exchanged {
                ended,
                claims,
                next_in,
                is_lapsed,
                is_paused,
                has_paused_accounts,
                ..Exchanged::default()
            })
        })
    }

    fn waiting_accounts<'a>(&'a self, from: &'a str) -> Answer<'a, WaitingAccounts> {
        Box::pin(self.accounts(from, "events"))
    }

    fn heartbeat<'a>(&'a self, worker: &'a str) -> Answer<'a, Vec<ClaimId>> {
        let Server { driver, link, messages, .. } = &*self.server;
        messages.listen(link, driver);
        Box::pin(async move {
            let mut call = self.call(script!("claims", "heartbeat"));
            let held: Vec<String> = self.server.call(call.arg(worker)).await?;
            let claim = |held: &String| {
                let (event, attempt) = held.split_once(':')?;
                let event = EventId(event.parse().ok()?);
                Some(ClaimId { event, attempt: attempt.parse().ok()? })
            };
            Ok(held.iter().filter_map(claim).collect())
        })
    }

    fn release<'a>(&'a self, worker: &'a str, claims: &'a [ClaimId]) -> Answer<'a, ()> {
        Box::pin(async move {
            for claims in claims.chunks(STEP as usize) {
                let mut call = self.call(script!("events", "release"));
                call.arg(worker);
                for claim in claims {
                    call.arg(format!("{}:{}", member(claim.event), claim.attempt));
                }
                self.server.call::<()>(&mut call).await?;
            }
            Ok(())
        })
    }

    fn forget<'a>(&'a self, worker: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut call = self.call(script!("claims", "forget"));
            self.server.call(call.arg(worker)).await
        })
    }

    fn rescue(&self, lease: Duration, quarantine_after: u32) -> Answer<'_, u64> {
        Box::pin(async move {
            let (mut rescued, mut passed) = (0, 0);
            loop {
                let mut call = self.call(script!("events", "rescue"));
                call.arg(millis(lease)).arg(quarantine_after).arg(LOST).arg(STEP).arg(passed);
                let (some, others, is_more): (u64, u64, bool) = self.server.call(&mut call).await?;
                rescued += some;
                passed = others;
                if !is_more {
                    return Ok(rescued);
                }
            }
        })
    }

    fn sweep(&self, retention: Duration, of_dead: Option<Duration>) -> Answer<'_, u64> {
        Box::pin(async move {
            let mut swept = 0;
            for (state, retention) in [(State::Done, Some(retention)), (State::Dead, of_dead)] {
                let Some(retention) = retention else { continue };
                let mut call = self.call(script!("events", "sweep"));
                call.arg(state.name()).arg(millis(retention)).arg(STEP);
                swept += self.server.call::<u64>(&mut call).await?;
            }
            Ok(swept)
        })
    }

    fn forget_payloads<'a>(
        &'a self,
        retention: Duration,
        after: Option<&'a str>,
    ) -> Answer<'a, Option<String>> {
        Box::pin(async move {
            let (score, place) = place(after)?;
            let mut call = self.call(script!("before", "forget_payloads"));
            call.arg(millis(retention)).arg(STEP).arg(score).arg(place);
            Ok(self.server.call::<Option<Place>>(&mut call).await?.map(cursor))
        })
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            // A command that changes nothing, but counts as a write, so that a replica refuses it.
            let mut write = redis::cmd("HDEL");
            write.arg(&self.keys[1]).arg("");
            self.server.command(write).await
        })
    }

    fn now(&self) -> Answer<'_, SystemTime> {
        Box::pin(async move {
            let now: i64 = self.server.call(&mut self.call(script!("now"))).await?;
            Ok(time_of_millis(now))
        })
    }

    fn pause<'a>(&'a self, account: &'a str, pause: NewPause) -> Answer<'a, ()> {
        Box::pin(async move {
            let NewPause { by, why, length } = pause;
            let mut call = self.call(script!("pause"));
            let length = length.map(|length| millis(length).to_string()).unwrap_or_default();
            self.server.call(call.arg(account).arg(by).arg(why).arg(length)).await
        })
    }

    fn resume<'a>(&'a self, account: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            self.server.call(self.call(script!("pauses", "resume")).arg(account)).await
        })
    }

    fn pauses(&self) -> Answer<'_, Vec<Paused>> {
        Box::pin(async move {
            let mut call = self.call(script!("pauses", "list_pauses"));
            let mut pauses: Vec<(String, String, String, i64, Option<i64>)> =
                self.server.call(&mut call).await?;
            pauses.sort();
            let paused = |(account, paused_by, why, since, until)| {
                Paused::from(PausedRow { account, paused_by, why, since, until })
            };
            Ok(pauses.into_iter().map(paused).collect())
        })
    }

    fn stats(&self) -> Answer<'_, Stats> {
        Box::pin(async move {
            let mut call = self.call(script!("pauses", "stats"));
            let counts: [u64; 13] = self.server.call(call.arg(millis(HEARD))).await?;
            let [
                ready,
                scheduled,
                quarantined,
                running,
                done,
                dead,
                due,
                workers,
                overdue,
                job,
                now,
                is_paused,
                paused_accounts,
            ] = counts;
            let age = |since: u64| Duration::from_millis(now.saturating_sub(since));
            Ok(Stats {
                ready,
                scheduled,
                quarantined,
                running,
                done,
                done_age: Duration::ZERO,
                dead,
                oldest_ready: age(due),
                workers,
                overdue,
                oldest_overdue: age(job),
                is_paused: is_paused > 0,
                paused_accounts,
            })
        })
    }

    fn handled_per_minute(&self, first: i64) -> Answer<'_, PerMinute> {
        Box::pin(async move { self.server.call(self.call(script!("handled")).arg(first)).await })
    }

    fn workers(&self) -> Answer<'_, Vec<WorkerStatus>> {
        Box::pin(async move {
            let mut call = self.call(script!("workers"));
            let (workers, claims): (Vec<(String, i64)>, Vec<String>) =
                self.server.call(call.arg(millis(HEARD))).await?;
            let claim = |member: String| {
                let (event, claim) = member.split_once(':')?;
                let (_, worker) = claim.split_once(':')?;
                Some((worker.to_owned(), event.to_owned()))
            };
            let workers = workers.into_iter().map(|(name, seen)| (name, time_of_millis(seen)));
            let mut workers = with_claims(workers, claims.into_iter().filter_map(claim));
            self.name_events(&mut workers).await?;
            Ok(workers)
        })
    }

    fn place_of(&self, time: SystemTime) -> String {
        cursor((millis_of_time(time).to_string(), String::new()))
    }

    fn list<'a>(&'a self, state: State, after: Option<&'a str>, most: u32) -> Answer<'a, Listed> {
        Box::pin(async move {
            let (score, place) = place(after)?;
            let mut call = self.call(script!("events", "entries", "before", "list"));
            call.arg(state.name()).arg(most.min(STEP)).arg(score).arg(place);
            let (found, last): (Vec<(Place, Row)>, Option<Place>) =
                self.server.call(&mut call).await?;
            let entries =
                found.into_iter().filter_map(|(place, row)| row.entry(cursor(place), state));
            Ok((entries.collect(), last.map(cursor)))
        })
    }

    fn show<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Entry>> {
        Box::pin(async move {
            let mut call = self.call(script!("events", "entries", "show"));
            let found: Option<(String, Row)> = self.server.call(call.arg(key)).await?;
            Ok(found.and_then(|(name, row)| {
                row.entry(String::new(), State::ALL.into_iter().find(|state| state.name() == name)?)
            }))
        })
    }

    fn change<'a>(&'a self, keys: &'a [String], change: Change) -> Answer<'a, u64> {
        Box::pin(async move {
            let mut changed = 0;
            for keys in keys.chunks(STEP as usize) {
                let (script, runs) = match change {
                    Change::Requeue => (script!("events", "requeue"), Some(0)),
                    Change::Rerun => (script!("events", "requeue"), Some(1)),
                    Change::RunNow => (script!("events", "run_now"), None),
                    Change::Discard => (script!("events", "discard"), None),
                };
                let mut call = self.call(script);
                call.arg(change.note());
                if let Some(runs) = runs {
                    call.arg(change.of().name()).arg(runs);
                }
                changed += self.server.call::<u64>(call.arg(keys)).await?;
            }
            Ok(changed)
        })
    }
}

/// A score and a member of a sorted set.
type Place = (String, String);

fn cursor((score, member): Place) -> String {
    format!("{score}.{member}")
}

/// The place in a cursor. Two empty strings are the beginning.
fn place(cursor: Option<&str>) -> Result<(&str, &str), InboxError> {
    let Some(cursor) = cursor else { return Ok(("", "")) };
    let place = cursor.split_once('.');
    let is_good =
        |(score, member): &(&str, &str)| score.parse::<u64>().is_ok() && !member.contains('\0');
    place.filter(is_good).ok_or_else(no_cursor)
}

/// The name of an event in the keys. Names sort in the order of acceptance.
fn member(event: EventId) -> String {
    format!("{:016}", event.0)
}
