//! One server that keeps all in memory and, configured well, on its disk: for several machines.

mod expected;
mod link;
mod replicas;
mod script;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use apalis_redis::{Config, RedisStorage};
use number7_core::{Acceptance, Record};
use redis::{
    Client, Cmd, FromRedisValue, RedisError, Value,
    aio::{ConnectionManager, ConnectionManagerConfig},
    from_redis_value,
};
use tokio::{runtime::Handle, time::timeout};
use ulid::Ulid;

use self::{
    link::{Link, code},
    replicas::{Replicas, Replicated},
    script::{Call, script},
};
use super::{
    Answer, CONNECT_TIMEOUT, Claim, Engine, Held, Listed, NewEvent, Number, SERVICE, STEP,
    STORE_TIMEOUT, Turn, Turned, WORKER_PREFIX, driver::Driver, in_time, no_cursor,
};
use crate::{
    DEFAULT_ATTEMPTS, Entry, InboxError, InboxErrorKind, Origin, State, Stats, StoredEvent,
    history::{DISCARDED, History, LOST, REQUEUED},
};

/// How long opening may take, with all that is asked of the server then.
const OPEN_TIMEOUT: Duration = STORE_TIMEOUT.saturating_add(Duration::from_millis(500));

/// The list of queues that apalis' tools read.
const QUEUES: &str = "core:apalis:queues:list";

/// A list or sorted set of tasks: its name, its key, and the lowest and highest score in a sorted set.
type List = (&'static str, String, &'static str, &'static str);

pub(crate) struct Redis {
    server: Arc<Server>,
    config: Config,
}

/// One server, and what drives its connections.
struct Server {
    driver: Driver,
    client: Client,
    link: Link,
    /// Where the writes go that wait for replicas, if any do.
    replicated: Option<Arc<Replicated>>,
}

impl Redis {
    pub(crate) async fn open(url: &str, queue: String) -> Result<Self, InboxError> {
        let (client, replicas) = (Client::open(url)?, Replicas::of_url(url)?);
        let driver = Driver::start()?;
        let link = Link::start(client.clone(), &driver);
        let replicated = replicas.map(|replicas| {
            let link = Link::start(client.clone(), &driver);
            Arc::new(Replicated::start(replicas, link, &driver))
        });
        let redis = Self::of(Arc::new(Server { driver, client, link, replicated }), &queue);
        let checked = redis.check(replicas.map_or(0, |replicas| replicas.count));
        let opened =
            redis.server.driver.run(async move { Ok(timeout(OPEN_TIMEOUT, checked).await) });
        match opened.await? {
            Ok(checked) => checked.map(|()| redis),
            Err(_) => Err(InboxErrorKind::TooSlow.into()),
        }
    }

    fn of(server: Arc<Server>, queue: &str) -> Self {
        Self { server, config: Config::default().queue(queue) }
    }

    /// Another queue on the same server.
    pub(crate) fn named(&self, queue: String) -> Self {
        Self::of(Arc::clone(&self.server), &queue)
    }

    /// The storage for apalis' tools, with a connection of its own.
    pub(crate) fn storage(&self) -> Option<RedisStorage<StoredEvent>> {
        let settings = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(CONNECT_TIMEOUT));
        let client = self.server.client.clone();
        let connection = ConnectionManager::new_lazy_with_config(client, settings).ok()?;
        Some(RedisStorage::new(connection).with_config(self.config.clone()))
    }

    /// Looks at a server that is being opened, and waits for one that is starting.
    fn check(&self, replicas: usize) -> impl Future<Output = Result<(), InboxError>> + use<> {
        let link = self.server.link.clone();
        let mut probe = redis::cmd("EVAL");
        probe.arg("return 1").arg(3).arg(self.keys()).arg(self.config.job_data_hash());
        probe.arg(self.config.active_jobs_list());
        async move {
            link.opened().await?;
            refuse_cluster(&link, probe).await?;
            warn_if_not_durable(&link).await;
            warn_of_replicas(&link, replicas).await;
            Ok(())
        }
    }

    /// Logs a damaged task, and restores its key if its JSON is left.
    async fn set_aside(&self, task: &str, json: Option<Vec<u8>>, key: Option<String>) {
        let Some(key_of_json) = json.and_then(|json| Record::key_of(&json).ok()) else {
            tracing::error!(
                target: "number7", task, key,
                "an event is lost: its JSON was evicted from Redis, or deleted"
            );
            return;
        };
        let key = key_of_json;
        let mut keep = redis::cmd("HSET");
        keep.arg(self.meta(task)).arg("idempotency_key").arg(&key);
        let kept = self
            .server
            .command::<()>(keep)
            .await
            .map_or_else(|error| format!(", without its key: {error}"), |()| String::new());
        tracing::error!(
            target: "number7", task, key,
            "the metadata of an event was damaged, evicted from Redis, or deleted; it is a dead letter{kept}"
        );
    }

    fn meta(&self, task: &str) -> String {
        format!("{}:{task}", self.config.job_meta_hash())
    }

    fn claimed(&self, worker: &str) -> String {
        format!("{}:{worker}", self.config.inflight_jobs_set())
    }

    /// What apalis' tools show of a worker.
    fn metadata(&self, worker: &str) -> String {
        format!("{}:metadata:{worker}", self.config.workers_set())
    }

    /// The tasks of all known idempotency keys.
    fn keys(&self) -> String {
        self.key("keys")
    }

    /// The tasks that wait for their next attempt, by the time when they are due.
    fn delayed(&self) -> String {
        self.key("delayed")
    }

    /// The tasks that are tried one at a time.
    fn suspects(&self) -> String {
        self.key("suspects")
    }

    /// The tasks that are done, by the time when they were.
    fn finished(&self) -> String {
        self.key("finished")
    }

    /// The tasks that workers have claimed, by the time when they did.
    fn claims(&self) -> String {
        self.key("claims")
    }

    /// The same, by the time when their workers last renewed their leases.
    fn leases(&self) -> String {
        self.key("leases")
    }

    /// Where the events of a state are: the name of the place, its key, and the range of scores.
    fn lists(&self, state: State) -> Vec<List> {
        match state {
            State::Due => vec![
                // Workers move events from the delayed list to the active one meanwhile. In this order,
                // such an event may be listed twice, but is never left out.
                ("delayed", self.delayed(), "-inf", "now"),
                ("suspects", self.suspects(), "", ""),
                ("active", self.config.active_jobs_list(), "", ""),
            ],
            State::Later => vec![("delayed", self.delayed(), "(now", "+inf")],
            State::InHand => vec![("claims", self.claims(), "-inf", "+inf")],
            State::Done => vec![("finished", self.finished(), "-inf", "+inf")],
            State::Dead => vec![("dead-letters", self.dead(), "-inf", "+inf")],
        }
    }

    fn dead(&self) -> String {
        self.key("dead-letters")
    }

    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.config.queue.as_ref())
    }
}

impl Server {
    /// Calls a script.
    async fn call<T: FromRedisValue>(&self, call: &mut Call) -> Result<T, InboxError> {
        let (link, call) = (self.link.clone(), call.take());
        let called = self.driver.run(async move { link.run(|to| call.make(to)).await });
        read(called.await?)
    }

    /// Calls a script that may run twice, and whose writes are confirmed only when the replicas have them, if
    /// there are to be any.
    async fn call_safely<T: FromRedisValue>(&self, call: &mut Call) -> Result<T, InboxError> {
        let call = call.take();
        let Some(replicated) = self.replicated.clone() else {
            let link = self.link.clone();
            let called = async move { link.run_again(|to| call.make(to)).await };
            return read(self.driver.run(called).await?);
        };
        read(self.driver.run(async move { in_time(replicated.write(call)).await }).await?)
    }

    /// Whether writes wait for replicas, for a script.
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

/// A cluster takes no script whose keys are in several slots: better that it says so now.
async fn refuse_cluster(link: &Link, probe: Cmd) -> Result<(), InboxError> {
    let probed = link.run(async |mut connection| match probe.exec_async(&mut connection).await {
        Err(error) if code(&error) == Some("CROSSSLOT") => Ok(true),
        probed => probed.map(|()| false),
    });
    match probed.await? {
        true => {
            let text = "this is a Redis Cluster, where the keys of an inbox cannot be together: use one \
                server, or one with replicas and wait_replicas in its URL";
            Err(InboxError::new(InboxErrorKind::Refused, text))
        }
        false => Ok(()),
    }
}

/// Managed servers may not show their settings; then nothing is said.
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

impl Engine for Redis {
    fn runtime(&self) -> Handle {
        self.server.driver.runtime().clone()
    }

    fn insert(&self, event: NewEvent) -> Answer<'_, Acceptance> {
        Box::pin(async move {
            let task = Ulid::generate().to_string();
            let mut script = script!("insert");
            script.key(self.keys()).key(self.config.job_data_hash()).key(self.meta(&task));
            script.key(self.config.active_jobs_list());
            script.arg(event.key).arg(task).arg(&*event.json).arg(DEFAULT_ATTEMPTS);
            script.arg(event.origin.name()).arg(self.server.waits());
            match self.server.call_safely(&mut script).await? {
                0 => Ok(Acceptance::Duplicate),
                _ => Ok(Acceptance::New),
            }
        })
    }

    fn turn<'a>(&'a self, turn: Turn<'a>) -> Answer<'a, Turned> {
        type Text = Option<String>;
        type ClaimRow = (String, u32, u32, String, Vec<u8>, Text, Text, bool);
        type Damaged = Vec<(String, Option<Vec<u8>>, Option<String>)>;
        Box::pin(async move {
            let mut script = script!("fields", "turn");
            script.key(self.config.active_jobs_list()).key(self.suspects()).key(self.delayed());
            script.key(self.config.job_data_hash()).key(self.claimed(turn.worker));
            script.key(self.finished()).key(self.dead()).key(self.keys());
            script.key(self.config.workers_set()).key(self.claims()).key(self.leases());
            script.arg(turn.worker).arg(self.meta("")).arg(STEP).arg(turn.most);
            script.arg(u8::from(turn.suspect)).arg(millis(turn.lease));
            for end in turn.ends {
                let rest = millis(end.outcome.delay());
                let Number { of_all, uncounted } = end.after();
                script.arg(&end.task).arg(end.number.of_all).arg(end.outcome.status());
                script.arg(end.outcome.error().unwrap_or_default()).arg(rest);
                script.arg(of_all).arg(uncounted);
                script.arg(end.history.as_ref().map(History::json).unwrap_or_default());
            }
            let (ended, claims, damaged, is_live): (_, Vec<ClaimRow>, Damaged, bool) =
                self.server.call(&mut script).await?;
            for (task, json, key) in damaged {
                self.set_aside(&task, json, key).await;
            }
            let claim = |row: ClaimRow| {
                let (task, of_all, uncounted, key, json, errors, origin, is_suspect) = row;
                Claim {
                    task,
                    number: Number { of_all, uncounted },
                    key,
                    stored: StoredEvent::new(json),
                    history: History::read(errors.as_deref()),
                    origin: Origin::read(origin.as_deref()),
                    is_suspect,
                }
            };
            let claimed = claims.into_iter().map(claim).collect();
            Ok(Turned { ended, claimed, is_lapsed: turn.most > 0 && !is_live, ..Turned::default() })
        })
    }

    fn keep_alive<'a>(&'a self, worker: &'a str) -> Answer<'a, Vec<Held>> {
        Box::pin(async move {
            let (mut cursor, mut all) = (0_u64, Vec::new());
            loop {
                let mut script = script!("fields", "keep_alive");
                script.key(self.config.workers_set()).key(self.metadata(worker)).key(QUEUES);
                script.key(self.claimed(worker)).key(self.claims()).key(self.leases());
                script.arg(worker).arg(SERVICE).arg(self.meta("")).arg(cursor).arg(STEP / 2);
                let (next, held): (u64, Vec<Held>) = self.server.call(&mut script).await?;
                all.extend(held);
                cursor = next;
                if cursor == 0 {
                    return Ok(all);
                }
            }
        })
    }

    fn release<'a>(&'a self, worker: &'a str, held: &'a [Held]) -> Answer<'a, ()> {
        Box::pin(async move {
            for held in held.chunks(STEP as usize) {
                let mut script = script!("fields", "release");
                script.key(self.claimed(worker)).key(self.config.active_jobs_list());
                script.key(self.claims()).key(self.leases()).arg(self.meta(""));
                for (task, since) in held {
                    script.arg(task).arg(since);
                }
                self.server.call::<()>(&mut script).await?;
            }
            Ok(())
        })
    }

    fn forget<'a>(&'a self, worker: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut script = script!("forget");
            script.key(self.claimed(worker)).key(self.config.workers_set());
            script.key(self.metadata(worker)).arg(worker);
            self.server.call(&mut script).await
        })
    }

    fn reap(&self, lease: Duration, suspect_after: u32) -> Answer<'_, u64> {
        Box::pin(async move {
            let mut reaped = 0;
            loop {
                let mut script = script!("fields", "note", "reap");
                script.key(self.claims()).key(self.leases()).key(self.config.workers_set());
                script.key(self.config.active_jobs_list()).key(self.suspects());
                script.arg(millis(lease)).arg(WORKER_PREFIX).arg(self.claimed(""));
                script.arg(self.metadata("")).arg(self.meta(""));
                script.arg(suspect_after).arg(LOST).arg(STEP / 2);
                let (some, is_more): (u64, bool) = self.server.call(&mut script).await?;
                reaped += some;
                if !is_more {
                    return Ok(reaped);
                }
            }
        })
    }

    fn sweep(&self, retention: Duration, of_dead: Option<Duration>) -> Answer<'_, u64> {
        Box::pin(async move {
            let mut swept = 0;
            for (from, retention) in [(self.finished(), Some(retention)), (self.dead(), of_dead)] {
                let Some(retention) = retention else { continue };
                let mut script = script!("fields", "sweep");
                script.key(from).key(self.keys()).key(self.config.job_data_hash());
                script.arg(millis(retention)).arg(STEP).arg(self.meta(""));
                swept += self.server.call::<u64>(&mut script).await?;
            }
            Ok(swept)
        })
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            // A command that writes, which a replica refuses, and that changes nothing.
            let mut write = redis::cmd("DEL");
            write.arg(self.key("ping"));
            self.server.command(write).await
        })
    }

    fn stats(&self) -> Answer<'_, Stats> {
        Box::pin(async move {
            let mut script = script!("fields", "stats");
            script.key(self.config.active_jobs_list()).key(self.suspects()).key(self.delayed());
            script.key(self.finished()).key(self.dead()).key(self.config.workers_set());
            script.key(self.overdue_jobs()).key(self.claims()).arg(self.meta(""));
            let (due, later, in_hand, done, dead, oldest, workers, overdue, oldest_job) =
                self.server.call(&mut script).await?;
            let oldest_due = Duration::from_millis(oldest);
            let oldest_overdue = Duration::from_millis(oldest_job);
            Ok(Stats {
                due,
                later,
                in_hand,
                done,
                dead,
                oldest_due,
                workers,
                overdue,
                oldest_overdue,
            })
        })
    }

    /// A cursor is the list, the place there, and the task: `dead-letters.1764042311000.01K…`.
    fn list<'a>(&'a self, state: State, after: Option<&'a str>, most: u32) -> Answer<'a, Listed> {
        Box::pin(async move {
            let lists = self.lists(state);
            let (mut number, mut place) = (0, (String::new(), String::new()));
            if let Some(cursor) = after {
                let mut parts = cursor.splitn(3, '.');
                let mut part = || parts.next().map(str::to_owned).ok_or_else(no_cursor);
                let list = part()?;
                number = lists.iter().position(|(name, ..)| *name == list).ok_or_else(no_cursor)?;
                place = (part()?, part()?);
            }
            let (mut entries, most) = (Vec::new(), most as usize);
            while let Some((name, key, low, high)) = lists.get(number) {
                let mut script = script!("fields", "before", "list");
                script.key(key).key(self.config.job_data_hash()).key(self.config.workers_set());
                script.arg(self.meta("")).arg((most - entries.len()).min(STEP as usize));
                script.arg(place.1).arg(place.0).arg(low).arg(high);
                let (found, last): Rows = self.server.call(&mut script).await?;
                entries.extend(found.into_iter().map(|(place, row)| {
                    let entry = entry(row, state);
                    Entry { place: format!("{name}.{place}.{}", entry.task), ..entry }
                }));
                if let Some((at, task)) = last {
                    if entries.len() >= most {
                        return Ok((entries, Some(format!("{name}.{at}.{task}"))));
                    }
                    place = (at, task);
                } else {
                    (number, place) = (number + 1, Default::default());
                }
            }
            Ok((entries, None))
        })
    }

    fn show<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Entry>> {
        Box::pin(async move {
            let mut script = script!("fields", "show");
            script.key(self.keys()).key(self.config.job_data_hash());
            script.key(self.config.workers_set()).arg(self.meta("")).arg(key);
            let found: Option<(Row, String)> = self.server.call(&mut script).await?;
            Ok(found.and_then(|(row, name)| {
                let state = State::ALL.into_iter().find(|state| state.name() == name)?;
                Some(entry(row, state))
            }))
        })
    }

    fn requeue<'a>(&'a self, keys: &'a [String]) -> Answer<'a, u64> {
        Box::pin(async move {
            let mut requeued = 0;
            for keys in keys.chunks(STEP as usize) {
                let mut script = script!("fields", "note", "requeue");
                script.key(self.keys()).key(self.dead()).key(self.config.active_jobs_list());
                script.arg(self.meta("")).arg(REQUEUED).arg(keys);
                requeued += self.server.call::<u64>(&mut script).await?;
            }
            Ok(requeued)
        })
    }

    fn discard<'a>(&'a self, key: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            let mut script = script!("fields", "note", "discard");
            script.key(self.keys()).key(self.dead()).key(self.finished());
            script.arg(key).arg(self.meta("")).arg(DISCARDED);
            self.server.call(&mut script).await
        })
    }
}

/// An entry: task, key, JSON, attempts that count, milliseconds of the state since the epoch, errors,
/// the second when its worker was last heard of, and its origin.
type Row = (String, String, Vec<u8>, u32, u64, Option<String>, Option<u64>, Option<String>);

/// Entries, each with its place, and where there are more: the place and the task of the last one.
type Rows = (Vec<(String, Row)>, Option<(String, String)>);

fn entry(row: Row, state: State) -> Entry {
    let (task, key, json, attempts, millis, errors, seen, origin) = row;
    Entry {
        place: String::new(),
        task,
        key,
        stored: StoredEvent::new(json),
        origin: Origin::read(origin.as_deref()),
        state,
        since: SystemTime::UNIX_EPOCH + Duration::from_millis(millis),
        worker_seen: seen.map(|seen| SystemTime::UNIX_EPOCH + Duration::from_secs(seen)),
        attempts,
        history: History::read(errors.as_deref()),
    }
}

/// As milliseconds, of which no script has more than it can count on from now.
fn millis(duration: Duration) -> u64 {
    const CENTURY: u64 = 100 * 365 * 24 * 60 * 60 * 1_000;
    u64::try_from(duration.as_millis()).unwrap_or(CENTURY).min(CENTURY)
}
