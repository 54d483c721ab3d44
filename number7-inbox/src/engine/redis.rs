//! One server that keeps all in memory and, configured well, on its disk: for several machines.

use std::{
    sync::{LazyLock, PoisonError, RwLock},
    time::Duration,
};

use apalis_core::{backend::ext::BackendExt, error::BoxDynError, worker::context::WorkerContext};
use apalis_redis::{Config, RedisStorage};
use futures_util::future::BoxFuture;
use number7_core::{Acceptance, Record};
use redis::{
    Client, ErrorKind, FromRedisValue, RedisError, Script, ScriptInvocation, ServerErrorKind,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use tokio::{select, time::sleep};
use ulid::Ulid;

use super::{
    Answer, CONNECT_TIMEOUT, Claim, Engine, Outcome, POLL_INTERVAL, QUEUE, SWEEP_STEP, in_time,
};
use crate::{
    DEFAULT_ATTEMPTS, DeadLetter, InboxError, InboxErrorKind, StoredEvent,
    work::{Shift, Verbatim},
};

/// A script, and its digest, once.
macro_rules! script {
    ($name:literal) => {{
        static SCRIPT: LazyLock<Script> =
            LazyLock::new(|| Script::new(include_str!(concat!("redis/", $name, ".lua"))));
        SCRIPT.prepare_invoke()
    }};
}

pub(crate) struct Redis {
    client: Client,
    connection: RwLock<ConnectionManager>,
    config: Config,
}

impl Redis {
    pub(crate) async fn open(url: &str) -> Result<Self, InboxError> {
        let client = Client::open(url)?;
        let connect = async || Ok(client.get_connection_manager_with_config(settings()).await?);
        let connection = RwLock::new(super::open(connect).await?);
        let redis = Self { client, connection, config: Config::default().queue(QUEUE) };
        redis.warn_if_not_durable().await;
        Ok(redis)
    }

    fn connection(&self) -> ConnectionManager {
        self.connection.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bounds an operation. The manager keeps a connection that does not answer, and one that the
    /// network swallowed never will: after a time-out there is a new one.
    async fn in_time<T>(
        &self,
        operation: impl Future<Output = Result<T, InboxError>>,
    ) -> Result<T, InboxError> {
        let answer = in_time(operation).await;
        let is_silent = answer.as_ref().is_err_and(|error| error.kind() == InboxErrorKind::TooSlow);
        if is_silent {
            let fresh = ConnectionManager::new_lazy_with_config(self.client.clone(), settings())?;
            *self.connection.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
        answer
    }

    /// The storage for a worker of the user's own.
    pub(crate) fn storage(&self) -> RedisStorage<StoredEvent> {
        RedisStorage::new(self.connection()).with_config(self.config.clone())
    }

    /// Managed servers may not show their settings; then nothing is said.
    async fn warn_if_not_durable(&self) {
        let should =
            [("appendonly", "yes"), ("appendfsync", "always"), ("maxmemory-policy", "noeviction")];
        for (setting, good) in should {
            let shown: Result<Vec<String>, RedisError> = redis::cmd("CONFIG")
                .arg("GET")
                .arg(setting)
                .query_async(&mut self.connection())
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

    fn meta(&self, task: &str) -> String {
        format!("{}:{task}", self.config.job_meta_hash())
    }

    fn claimed(&self, worker: &str) -> String {
        format!("{}:{worker}", self.config.inflight_jobs_set())
    }

    /// The tasks of all known idempotency keys.
    fn keys(&self) -> String {
        format!("{QUEUE}:keys")
    }

    /// The tasks that wait for their next attempt, by the time when they are due.
    fn delayed(&self) -> String {
        format!("{QUEUE}:delayed")
    }

    /// The tasks that are done, by the time when they were.
    fn finished(&self) -> String {
        format!("{QUEUE}:finished")
    }

    fn dead(&self) -> String {
        format!("{QUEUE}:dead-letters")
    }

    async fn invoke<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, InboxError> {
        Ok(script.invoke_async(&mut self.connection()).await?)
    }

    /// Puts what is due on the active list, for as long as it is polled.
    async fn promote(&self) -> Result<(), BoxDynError> {
        loop {
            let mut script = script!("promote");
            script.key(self.delayed()).key(self.config.active_jobs_list()).arg(SWEEP_STEP);
            self.in_time(self.invoke::<u32>(&script)).await?;
            sleep(POLL_INTERVAL).await;
        }
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
    fn insert(&self, record: Record) -> Answer<'_, Acceptance> {
        Box::pin(self.in_time(async move {
            let task = Ulid::generate().to_string();
            let mut script = script!("insert");
            script.key(self.keys()).key(self.config.job_data_hash()).key(self.meta(&task));
            script.key(self.config.active_jobs_list());
            script.arg(record.key()).arg(task).arg(&**record.json()).arg(DEFAULT_ATTEMPTS);
            match self.invoke(&script).await? {
                0 => Ok(Acceptance::Duplicate),
                _ => Ok(Acceptance::New),
            }
        }))
    }

    fn work(&self, shift: Shift) -> BoxFuture<'_, Result<(), BoxDynError>> {
        let config = for_worker!(self.config.clone().emit_events(false), shift);
        let storage = RedisStorage::<StoredEvent>::new(self.connection()).with_config(config);
        let work = shift.run(storage.with_codec(Verbatim).poll_with_interval(POLL_INTERVAL));
        Box::pin(async {
            select! {
                ended = work => ended,
                failed = self.promote() => failed,
            }
        })
    }

    fn begin<'a>(&'a self, claim: &'a Claim) -> Answer<'a, bool> {
        Box::pin(self.in_time(async move {
            let mut script = script!("begin");
            script.key(self.claimed(&claim.worker)).key(self.meta(&claim.task));
            script.arg(&claim.task).arg(claim.attempt);
            self.invoke(&script).await
        }))
    }

    fn finish<'a>(&'a self, claim: &'a Claim, outcome: &'a Outcome) -> Answer<'a, bool> {
        Box::pin(self.in_time(async move {
            let (set, status, error, after) = match outcome {
                Outcome::Done => (self.finished(), "Done", "", Duration::ZERO),
                Outcome::Retry { after, error } => (self.delayed(), "Pending", &**error, *after),
                Outcome::Dead { error } => (self.dead(), "Killed", &**error, Duration::ZERO),
            };
            let mut script = script!("finish");
            script.key(self.claimed(&claim.worker)).key(self.meta(&claim.task)).key(set);
            script.arg(&claim.task).arg(status).arg(claim.attempt).arg(error);
            script.arg(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
            self.invoke(&script).await
        }))
    }

    fn keep_alive<'a>(&'a self, worker: &'a str) -> Answer<'a, ()> {
        Box::pin(self.in_time(async move {
            let mut alive = redis::cmd("ZADD");
            alive.arg(self.config.workers_set()).arg("XX").arg(super::now()).arg(worker);
            Ok(alive.query_async(&mut self.connection()).await?)
        }))
    }

    fn release<'a>(&'a self, worker: &'a str, in_hand: &'a [String]) -> Answer<'a, ()> {
        Box::pin(self.in_time(async move {
            let mut script = script!("release");
            let metadata = self.config.worker_metadata_key(&WorkerContext::new(worker));
            script.key(self.claimed(worker)).key(self.config.active_jobs_list());
            script.key(self.config.workers_set()).key(metadata);
            script.arg(worker).arg(in_hand);
            self.invoke(&script).await
        }))
    }

    fn reap(&self, lease: Duration) -> Answer<'_, ()> {
        Box::pin(self.in_time(async move {
            let mut script = script!("reap");
            script.key(self.config.workers_set()).key(self.config.active_jobs_list());
            script.arg(super::now().saturating_sub(lease.as_secs())).arg(self.claimed(""));
            script.arg(self.config.worker_metadata_key(&WorkerContext::new("")));
            self.invoke(&script).await
        }))
    }

    fn sweep(&self, retention: Duration) -> Answer<'_, u64> {
        Box::pin(self.in_time(async move {
            let mut script = script!("sweep");
            script.key(self.finished()).key(self.keys()).key(self.config.job_data_hash());
            let retention = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
            script.arg(retention).arg(SWEEP_STEP).arg(self.meta(""));
            self.invoke(&script).await
        }))
    }

    fn dead_letters(&self, most: u32) -> Answer<'_, Vec<DeadLetter>> {
        Box::pin(self.in_time(async move {
            let mut script = script!("dead_letters");
            script.key(self.dead()).key(self.config.job_data_hash());
            script.arg(most).arg(self.meta(""));
            Ok(super::letters(self.invoke(&script).await?))
        }))
    }

    fn requeue<'a>(&'a self, key: &'a str) -> Answer<'a, bool> {
        Box::pin(self.in_time(async move {
            let mut script = script!("requeue");
            script.key(self.keys()).key(self.dead()).key(self.config.active_jobs_list());
            script.arg(key).arg(self.meta(""));
            self.invoke(&script).await
        }))
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
