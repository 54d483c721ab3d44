//! One server that keeps all in memory and, configured well, on its disk: for several machines.

/// A script, and its digest, once.
macro_rules! script {
    ($name:literal) => {{
        static SCRIPT: std::sync::LazyLock<redis::Script> = std::sync::LazyLock::new(|| {
            redis::Script::new(include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/src/engine/redis/",
                $name,
                ".lua"
            )))
        });
        SCRIPT.prepare_invoke()
    }};
}

mod expected;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use apalis_redis::{Config, RedisStorage};
use number7_core::{Acceptance, Record};
use redis::{
    Client, ErrorKind, FromRedisValue, RedisError, ScriptInvocation, ServerErrorKind,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use tokio::runtime::Handle;
use ulid::Ulid;

use super::{
    Answer, CONNECT_TIMEOUT, Claim, Engine, Held, Listed, NewEvent, Number, SERVICE, SWEEP_STEP,
    Turn, Turned, WORKER_PREFIX, driver::Driver, in_time, no_cursor,
};
use crate::{
    DEFAULT_ATTEMPTS, Entry, InboxError, InboxErrorKind, Origin, State, Stats, StoredEvent,
    history::{DISCARDED, History, LOST, REQUEUED},
};

/// The list of queues that apalis' tools read.
const QUEUES: &str = "core:apalis:queues:list";

/// A list or set of tasks: its name, its key, and the lowest and highest score in a sorted set.
type List = (String, String, &'static str, &'static str);

pub(crate) struct Redis {
    server: Arc<Server>,
    config: Config,
}

/// The connection to one server.
struct Server {
    client: Client,
    connection: RwLock<ConnectionManager>,
    driver: Driver,
}

impl Redis {
    pub(crate) async fn open(url: &str, queue: String) -> Result<Self, InboxError> {
        let client = Client::open(url)?;
        let connect = async || Ok(client.get_connection_manager_with_config(settings()).await?);
        let connection = RwLock::new(super::open(connect).await?);
        let redis =
            Self::of(Arc::new(Server { client, connection, driver: Driver::start()? }), &queue);
        redis.refuse_cluster().await?;
        redis.warn_if_not_durable().await;
        Ok(redis)
    }

    fn of(server: Arc<Server>, queue: &str) -> Self {
        Self { server, config: Config::default().queue(queue) }
    }

    /// Another queue on the same server.
    pub(crate) fn named(&self, queue: String) -> Self {
        Self::of(Arc::clone(&self.server), &queue)
    }

    /// The storage for apalis' tools.
    pub(crate) fn storage(&self) -> RedisStorage<StoredEvent> {
        RedisStorage::new(self.server.connection()).with_config(self.config.clone())
    }

    /// A cluster takes no script whose keys are in several slots: better that it says so now.
    async fn refuse_cluster(&self) -> Result<(), InboxError> {
        let mut probe = redis::cmd("EVAL");
        probe.arg("return 1").arg(3).arg(self.keys()).arg(self.config.job_data_hash());
        probe.arg(self.config.active_jobs_list());
        let probed = self
            .server
            .in_time(async |mut connection| Ok(probe.query_async::<()>(&mut connection).await));
        match probed.await? {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::CrossSlot) => {
                let text = "this is a Redis Cluster, where the keys of an inbox cannot be together: \
                    use a server, or servers with Sentinel";
                Err(InboxError::new(InboxErrorKind::Refused, text))
            }
            probed => Ok(probed?),
        }
    }

    /// Managed servers may not show their settings; then nothing is said.
    async fn warn_if_not_durable(&self) {
        let should =
            [("appendonly", "yes"), ("appendfsync", "always"), ("maxmemory-policy", "noeviction")];
        for (setting, good) in should {
            let shown: Result<Vec<String>, RedisError> = redis::cmd("CONFIG")
                .arg("GET")
                .arg(setting)
                .query_async(&mut self.server.connection())
                .await;
            match shown.as_deref() {
                Ok([_, value]) if value != good => tracing::warn!(
                    target: "number7", setting, value,
                    "Redis may lose accepted events: set {setting} to {good}"
                ),
                _ => {}
            }
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
            .in_time(async |mut connection| Ok(keep.query_async::<()>(&mut connection).await?));
        let kept = kept
            .await
            .map_or_else(|error| format!(", without its key: {error}"), |()| String::new());
        tracing::error!(
            target: "number7", task, key,
            "the metadata of an event was evicted from Redis, or deleted; it is a dead letter{kept}"
        );
    }

    async fn invoke<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, InboxError> {
        let invoke = async |mut connection| Ok(script.invoke_async(&mut connection).await?);
        self.server.in_time(invoke).await
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

    /// Where the events of a state are: the name of the place, its key, and the range of scores.
    async fn lists(&self, state: State) -> Result<Vec<List>, InboxError> {
        let list = |name: &str, key, low, high| (name.to_owned(), key, low, high);
        Ok(match state {
            State::Due => vec![
                // Workers move events from the delayed list to the active one meanwhile. In this order,
                // such an event may be listed twice, but is never left out.
                list("delayed", self.delayed(), "-inf", "now"),
                list("suspects", self.suspects(), "", ""),
                list("active", self.config.active_jobs_list(), "", ""),
            ],
            State::Later => vec![list("delayed", self.delayed(), "(now", "+inf")],
            State::InHand => {
                let mut workers = redis::cmd("ZRANGE");
                workers.arg(self.config.workers_set()).arg(0).arg(-1);
                let workers = self.server.in_time(async |mut connection| {
                    Ok(workers.query_async::<Vec<String>>(&mut connection).await?)
                });
                let mut workers = workers.await?;
                workers.sort();
                let list = |name: String| (name.clone(), self.claimed(&name), "", "");
                workers.into_iter().map(list).collect()
            }
            State::Done => vec![list("finished", self.finished(), "-inf", "+inf")],
            State::Dead => vec![list("dead-letters", self.dead(), "-inf", "+inf")],
        })
    }

    fn dead(&self) -> String {
        self.key("dead-letters")
    }

    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.config.queue.as_ref())
    }
}

impl Server {
    fn connection(&self) -> ConnectionManager {
        self.connection.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bounds an operation. The manager keeps a connection that never answers because the network
    /// swallowed it, and one to a demoted server whose address now leads to another. After such an
    /// error, this makes a new connection.
    async fn in_time<T, F>(
        &self,
        operation: impl FnOnce(ConnectionManager) -> F,
    ) -> Result<T, InboxError>
    where
        F: Future<Output = Result<T, InboxError>>,
    {
        let answer = in_time(operation(self.connection())).await;
        let is_useless = |error: &InboxError| {
            matches!(error.kind(), InboxErrorKind::TooSlow | InboxErrorKind::ReadOnly)
        };
        if answer.as_ref().is_err_and(is_useless) {
            let fresh = ConnectionManager::new_lazy_with_config(self.client.clone(), settings())?;
            *self.connection.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
        answer
    }
}

fn settings() -> ConnectionManagerConfig {
    // An operation that finds no connection fails with the reason, and the next one tries again.
    // The half second that redis waits by itself is too little for a disk that has to sync.
    ConnectionManagerConfig::new()
        .set_number_of_retries(0)
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(CONNECT_TIMEOUT))
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
            script.arg(event.origin.name());
            match self.invoke(&script).await? {
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
            let mut script = script!("turn");
            script.key(self.config.active_jobs_list()).key(self.suspects()).key(self.delayed());
            script.key(self.config.job_data_hash()).key(self.claimed(turn.worker));
            script.key(self.finished()).key(self.dead()).key(self.keys());
            script
                .key(self.config.workers_set())
                .arg(turn.worker)
                .arg(self.meta(""))
                .arg(SWEEP_STEP)
                .arg(turn.most);
            script.arg(u8::from(turn.suspect));
            for end in turn.ends {
                let rest = u64::try_from(end.outcome.delay().as_millis()).unwrap_or(u64::MAX);
                let Number { of_all, uncounted } = end.after();
                script.arg(&end.task).arg(end.number.of_all).arg(end.outcome.status());
                script.arg(end.outcome.error().unwrap_or_default()).arg(rest);
                script.arg(of_all).arg(uncounted);
                script.arg(end.history.as_ref().map(History::json).unwrap_or_default());
            }
            let (ended, claims, damaged): (_, Vec<ClaimRow>, Damaged) =
                self.invoke(&script).await?;
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
            Ok(Turned { ended, claimed, is_lapsed: false })
        })
    }

    fn keep_alive<'a>(&'a self, worker: &'a str) -> Answer<'a, Vec<Held>> {
        Box::pin(async move {
            let mut script = script!("keep_alive");
            script.key(self.config.workers_set()).key(self.metadata(worker)).key(QUEUES);
            script.key(self.claimed(worker));
            script.arg(worker).arg(SERVICE).arg(self.meta(""));
            self.invoke(&script).await
        })
    }

    fn release<'a>(&'a self, worker: &'a str, held: &'a [Held]) -> Answer<'a, ()> {
        Box::pin(async move {
            if held.is_empty() {
                return Ok(());
            }
            let mut script = script!("release");
            script.key(self.claimed(worker)).key(self.config.active_jobs_list());
            script.arg(self.meta(""));
            for (task, since) in held {
                script.arg(task).arg(since);
            }
            self.invoke(&script).await
        })
    }

    fn forget<'a>(&'a self, worker: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut script = script!("forget");
            script.key(self.claimed(worker)).key(self.config.workers_set());
            script.key(self.metadata(worker)).arg(worker);
            self.invoke(&script).await
        })
    }

    fn reap(&self, lease: Duration, suspect_after: u32) -> Answer<'_, u64> {
        Box::pin(async move {
            let mut script = script!("reap");
            script.key(self.config.workers_set()).key(self.config.active_jobs_list());
            script.key(self.suspects()).arg(lease.as_secs()).arg(WORKER_PREFIX);
            script.arg(self.claimed("")).arg(self.metadata("")).arg(self.meta(""));
            script.arg(suspect_after).arg(LOST);
            self.invoke(&script).await
        })
    }

    fn sweep(&self, retention: Duration, of_dead: Option<Duration>) -> Answer<'_, u64> {
        Box::pin(async move {
            let mut swept = 0;
            for (from, retention) in [(self.finished(), Some(retention)), (self.dead(), of_dead)] {
                let Some(retention) = retention else { continue };
                let mut script = script!("sweep");
                script.key(from).key(self.keys()).key(self.config.job_data_hash());
                let retention = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
                script.arg(retention).arg(SWEEP_STEP).arg(self.meta(""));
                swept += self.invoke::<u64>(&script).await?;
            }
            Ok(swept)
        })
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            // A command that writes, which a replica refuses, and that changes nothing.
            let mut write = redis::cmd("DEL");
            write.arg(self.key("ping"));
            self.server
                .in_time(async |mut connection| Ok(write.query_async(&mut connection).await?))
                .await
        })
    }

    fn stats(&self) -> Answer<'_, Stats> {
        Box::pin(async move {
            let mut script = script!("stats");
            script.key(self.config.active_jobs_list()).key(self.suspects()).key(self.delayed());
            script.key(self.finished()).key(self.dead()).key(self.config.workers_set());
            script.key(self.overdue_jobs()).arg(self.claimed("")).arg(self.meta(""));
            let (due, later, in_hand, done, dead, oldest, workers, overdue, oldest_job) =
                self.invoke(&script).await?;
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

    /// A cursor is the list, the score there, and the task: `dead-letters.1764042311000.01K…`.
    fn list<'a>(&'a self, state: State, after: Option<&'a str>, most: u32) -> Answer<'a, Listed> {
        Box::pin(async move {
            let lists = self.lists(state).await?;
            let (mut number, mut place) = (0, (String::new(), String::new()));
            if let Some(cursor) = after {
                let mut parts = cursor.splitn(3, '.');
                let mut part = || parts.next().map(str::to_owned).ok_or_else(no_cursor);
                let (list, score, task) = (part()?, part()?, part()?);
                match lists.iter().position(|(name, ..)| *name == list) {
                    Some(found) => (number, place) = (found, (score, task)),
                    // The list of a worker that is gone: go on with the next in order.
                    None if state == State::InHand => {
                        number = lists.partition_point(|(name, ..)| *name < list);
                    }
                    None => return Err(no_cursor()),
                }
            }
            let (mut entries, most) = (Vec::new(), most as usize);
            while let Some((name, key, low, high)) = lists.get(number) {
                let mut script = script!("list");
                script.key(key).key(self.config.job_data_hash()).key(self.config.workers_set());
                script.arg(self.meta(""));
                script.arg(most - entries.len()).arg(place.1).arg(place.0).arg(low).arg(high);
                let (found, last): Rows = self.invoke(&script).await?;
                entries.extend(found.into_iter().map(|(score, row)| {
                    let entry = entry(row, state);
                    Entry { place: format!("{name}.{score}.{}", entry.task), ..entry }
                }));
                if let Some((score, task)) = last {
                    if entries.len() >= most {
                        return Ok((entries, Some(format!("{name}.{score}.{task}"))));
                    }
                    place = (score, task);
                } else {
                    (number, place) = (number + 1, Default::default());
                }
            }
            Ok((entries, None))
        })
    }

    fn show<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Entry>> {
        Box::pin(async move {
            let mut script = script!("show");
            script.key(self.keys()).key(self.config.job_data_hash());
            script.key(self.config.workers_set()).arg(self.meta("")).arg(key);
            let found: Option<(Row, String)> = self.invoke(&script).await?;
            Ok(found.and_then(|(row, name)| {
                let state = State::ALL.into_iter().find(|state| state.name() == name)?;
                Some(entry(row, state))
            }))
        })
    }

    fn requeue<'a>(&'a self, keys: &'a [String]) -> Answer<'a, u64> {
        Box::pin(async move {
            let mut script = script!("requeue");
            script.key(self.keys()).key(self.dead()).key(self.config.active_jobs_list());
            script.arg(self.meta("")).arg(REQUEUED).arg(keys);
            self.invoke(&script).await
        })
    }

    fn discard<'a>(&'a self, key: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            let mut script = script!("discard");
            script.key(self.keys()).key(self.dead()).key(self.finished());
            script.arg(key).arg(self.meta("")).arg(DISCARDED);
            self.invoke(&script).await
        })
    }
}

/// An entry: task, key, JSON, attempts that count, milliseconds of the state since the epoch, errors,
/// the second when its worker was last heard of, and its origin.
type Row = (String, String, Vec<u8>, u32, u64, Option<String>, Option<u64>, Option<String>);

/// Entries, each with its score or nothing, and where there are more: the score and the task of the
/// last one.
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

/// What redis says, sorted.
impl From<RedisError> for InboxError {
    fn from(error: RedisError) -> Self {
        let kind = match error.kind() {
            ErrorKind::Server(ServerErrorKind::ReadOnly) => InboxErrorKind::ReadOnly,
            ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::TryAgain,
            ) => InboxErrorKind::Unreachable,
            _ if error.code() == Some("OOM") => InboxErrorKind::Full,
            // The disk of the append-only file or the snapshot is full or broken.
            _ if error.code() == Some("MISCONF") => InboxErrorKind::Full,
            _ if error.is_timeout() => InboxErrorKind::TooSlow,
            _ if error.is_io_error() || error.is_connection_dropped() => {
                InboxErrorKind::Unreachable
            }
            _ => InboxErrorKind::Refused,
        };
        Self::new(kind, error)
    }
}
