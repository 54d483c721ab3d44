use std::{
    collections::HashSet,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use number7_core::{Accept, Acceptance, JobId, Record};

use crate::{
    measure,
    model::{
        entry::{Entry, State},
        error::{InboxError, InboxErrorKind},
        expectation::{ExpectedJob, JobPlace},
        failure::Failure,
        options::Options,
        overdue::{self, OverdueJob},
        page::{Cursor, Filter, Page},
        stats::Stats,
    },
    store::{self, Store},
    worker::{Worker, accepted::AcceptedEvent},
};

/// How long a job can be expected: 10 years.
const LONGEST_EXPECTATION: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// How long the name of an inbox can be, in bytes.
const LONGEST_NAME: usize = 64;

/// An inbox: where verified events are accepted, and worked on from.
///
/// It is cheap to clone; the clones share its connections. One line chooses its store:
/// `Inbox::sqlite`, `Inbox::postgres` or `Inbox::redis`.
#[derive(Clone)]
pub struct Inbox {
    store: Arc<dyn Store>,
    name: Arc<str>,
}

impl Inbox {
    /// An inbox in a file, which is made if it is not there: for one machine. Several processes can
    /// share it.
    ///
    /// The file uses SQLite's WAL mode with full synchronisation, so that what is confirmed is on
    /// the disk. Beside it are `…-wal`, `…-shm`, and `…-turn`, where processes queue to write. It
    /// must not lie on a network share.
    ///
    /// If the file is deleted or replaced, one call fails, and the inbox then opens what is at the path, or
    /// makes a new file. A relative path is resolved now, so the process may change its current directory.
    ///
    /// # Errors
    ///
    /// The folder does not exist, the file cannot be written or is no database, or another process
    /// keeps it locked for longer than [`STORE_TIMEOUT`](crate::STORE_TIMEOUT).
    #[cfg(feature = "sqlite")]
    pub async fn sqlite(path: impl AsRef<std::path::Path>) -> Result<Self, InboxError> {
        let sqlite = store::sqlite::Sqlite::open(path.as_ref(), &Options::default()).await?;
        Ok(Self::on(Arc::new(sqlite)))
    }

    /// An inbox on PostgreSQL 13 or later, by a `postgres://` URL: for several machines.
    ///
    /// It makes the schema `apalis` in that database, with the extensions `hstore` and `pgcrypto`.
    /// The log has a warning if the server may lose what it confirms (`fsync` off). What is set for the
    /// database or the role, such as an isolation or a limit of time, does not count: each session sets what
    /// it needs. Only `default_transaction_read_only` is obeyed.
    ///
    /// # Errors
    ///
    /// It is not a URL, the server cannot be reached, it grants no rights to make the schema, the
    /// encoding of the database is not UTF8, or a pooler in transaction or statement mode is in
    /// front of it.
    #[cfg(feature = "postgres")]
    pub async fn postgres(url: impl AsRef<str>) -> Result<Self, InboxError> {
        let postgres = store::postgres::Postgres::open(url.as_ref(), &Options::default()).await?;
        Ok(Self::on(Arc::new(postgres)))
    }

    /// An inbox in the file that a pool of `sqlx` 0.9 is on, for handlers that
    /// [finish in a transaction](AcceptedEvent::finish_in) of that pool.
    ///
    /// It takes over the pool's options, but not its connections: the inbox opens its own three,
    /// because its lease has to be renewed also while handlers use all connections of the pool.
    /// Give the pool's options a `busy_timeout`, because SQLite has one writer at a time, and begin
    /// transactions that write by `BEGIN IMMEDIATE`.
    ///
    /// # Errors
    ///
    /// Those of [`sqlite`](Self::sqlite), and a pool that is in memory.
    #[cfg(feature = "sqlite")]
    pub async fn sqlite_of(pool: &sqlx::SqlitePool) -> Result<Self, InboxError> {
        let options = (*pool.connect_options()).clone();
        let sqlite = store::sqlite::Sqlite::open_with(options, &Options::default()).await?;
        Ok(Self::on(Arc::new(sqlite)))
    }

    /// An inbox in the database that a pool of `sqlx` 0.9 is on, for handlers that
    /// [finish in a transaction](AcceptedEvent::finish_in) of that pool.
    ///
    /// It takes over the pool's options, but not its connections: the inbox opens up to 14 of its
    /// own, because its lease has to be renewed even while handlers use all connections of the
    /// pool.
    ///
    /// # Errors
    ///
    /// Those of [`postgres`](Self::postgres).
    #[cfg(feature = "postgres")]
    pub async fn postgres_of(pool: &sqlx::PgPool) -> Result<Self, InboxError> {
        let options = (*pool.connect_options()).clone();
        let postgres = store::postgres::Postgres::open_with(options, &Options::default()).await?;
        Ok(Self::on(Arc::new(postgres)))
    }

    /// An inbox on Redis 6.2 or later, by a `redis://` URL: for several machines.
    ///
    /// All its keys begin with `number7:`, or `number7-name:` if the inbox is [named](Self::named),
    /// except apalis' list of queues. Redis keeps what it confirms only with `appendonly yes`,
    /// `appendfsync always` and `maxmemory-policy noeviction`; if it is set otherwise, the log has
    /// a warning.
    ///
    /// Redis also confirms what its replicas do not have yet, which a failover loses. With
    /// `?wait_replicas=1` in the URL, [`accept`](Accept) and [`expect_job`](Self::expect_job) succeed only when so
    /// many replicas have the write, and otherwise fail after a second, or after `wait_ms`: from 1 to 2,000
    /// milliseconds. The write may have happened although they fail. For example:
    /// `redis://host/0?wait_replicas=1&wait_ms=500`. If replicas are connected and nothing waits for them,
    /// the log has a warning.
    ///
    /// # Errors
    ///
    /// It is not a URL, `wait_replicas` or `wait_ms` is wrong, the server cannot be reached, it refuses the
    /// password, or it is a Redis Cluster.
    #[cfg(feature = "redis")]
    pub async fn redis(url: impl AsRef<str>) -> Result<Self, InboxError> {
        let redis = store::redis::Redis::open(url.as_ref()).await?;
        Ok(Self::on(Arc::new(redis)))
    }

    /// An inbox in memory, for development and tests: it is gone with the process, and each call makes another one.
    ///
    /// It keeps the same rules as the other stores, but for the one that matters in production: what it confirms is
    /// not on a disk.
    #[cfg(any(test, feature = "memory"))]
    #[must_use]
    pub fn memory() -> Self {
        Self::on(Arc::new(store::memory::Memory::default()))
    }

    /// An inbox by a URL: `sqlite:PATH`, `postgres://…` or `redis://…`, for apps that read it from a
    /// setting. With the feature `memory`, `memory:` is an inbox [in memory](Self::memory).
    ///
    /// A URL of SQLite is read as `sqlx` reads it: `%20` is a space, and `?` begins parameters. The file is made
    /// if it is not there, unless the URL says `mode=rw`.
    ///
    /// # Errors
    ///
    /// - The URL has another scheme, or the feature of its store is not enabled.
    /// - An SQLite URL has `mode=ro`, `mode=memory`, `cache=shared`, `immutable`, or a parameter that `sqlx`
    ///   does not know.
    /// - [`sqlite`](Self::sqlite), [`postgres`](Self::postgres) or [`redis`](Self::redis) refuses it.
    pub async fn open(url: &str) -> Result<Self, InboxError> {
        Self::open_by(url, &Options::default()).await
    }

    /// Like [`open`](Self::open), for tools: it never makes or changes tables, and fails if there is no inbox.
    ///
    /// On Redis it is the same as `open`, because there is nothing to make.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), and [`InboxErrorKind::Schema`] if there is no inbox in the store, or one of
    /// another version.
    pub async fn open_existing(url: &str) -> Result<Self, InboxError> {
        Self::open_by(url, &Options { migrate: false, ..Options::default() }).await
    }

    async fn open_by(url: &str, options: &Options) -> Result<Self, InboxError> {
        let store: Arc<dyn Store> = match url.split_once(':') {
            #[cfg(feature = "sqlite")]
            Some(("sqlite", _)) => Arc::new(store::sqlite::Sqlite::open_url(url, options).await?),
            #[cfg(feature = "postgres")]
            Some(("postgres" | "postgresql", _)) => {
                Arc::new(store::postgres::Postgres::open(url, options).await?)
            }
            #[cfg(feature = "redis")]
            Some(("redis" | "rediss" | "redis+unix", _)) => {
                Arc::new(store::redis::Redis::open(url).await?)
            }
            #[cfg(feature = "memory")]
            Some(("memory", "")) => return Ok(Self::memory()),
            _ => {
                let text = "the URL of an inbox must begin with sqlite:, postgres:// or redis://, and \
                    needs the feature of that name";
                return Err(InboxError::new(InboxErrorKind::Invalid, text));
            }
        };
        Ok(Self::on(store))
    }

    pub(crate) fn on(store: Arc<dyn Store>) -> Self {
        Self { store, name: Arc::from("") }
    }

    #[cfg(test)]
    pub(crate) fn wake(&self) -> &crate::model::wake::Wake {
        self.store.wake()
    }

    /// The inbox of another name in the same store, such as one for each account or environment.
    ///
    /// Inboxes of different names share connections and nothing else: each has its own keys, events,
    /// workers and dead letters. The same name is the same inbox in every process. The inbox that is
    /// opened has no name.
    ///
    /// # Errors
    ///
    /// [`InboxErrorKind::Invalid`] if the name is empty, longer than 64 bytes, or has other characters than ASCII
    /// letters, digits, `-`, `_` and `.`.
    pub fn named(&self, name: &str) -> Result<Self, InboxError> {
        if !Self::is_name(name) {
            let text = format!(
                "an inbox cannot be named {name:?}: a name has 1 to {LONGEST_NAME} ASCII letters, digits, -, _ or ."
            );
            return Err(InboxError::new(InboxErrorKind::Invalid, text));
        }
        Ok(Self { name: Arc::from(name), ..Self::on(self.store.named(name)) })
    }

    /// Whether an inbox can have this [name](Self::named).
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(is_good)
    }

    /// A worker that runs an async function for each accepted event.
    ///
    /// The function is called at least once for each. An error or a panic costs one attempt. With
    /// [`Failure`] it can also snooze an event, or fail it for good.
    ///
    /// # Example
    ///
    /// ```
    /// use number7_inbox::{AcceptedEvent, BoxError, Event, Inbox};
    ///
    /// async fn handle(accepted: AcceptedEvent) -> Result<(), BoxError> {
    ///     match accepted.event()? {
    ///         Event::JobCompleted(job) => println!("{} is done", job.job_id),
    ///         Event::JobFailed(job) => println!("{} failed: {}", job.job_id, job.error),
    ///         other => println!("{} is new to this receiver", other.name()),
    ///     }
    ///     Ok(())
    /// }
    ///
    /// async fn work(inbox: &Inbox) {
    ///     inbox.worker(handle).attempts(10).run_until(terminated()).await;
    /// }
    ///
    /// async fn terminated() {
    ///     _ = tokio::signal::ctrl_c().await;
    /// }
    /// # _ = work;
    /// ```
    pub fn worker<H, F, E>(&self, handler: H) -> Worker
    where
        H: Fn(AcceptedEvent) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Failure>,
    {
        let inbox = match &*self.name {
            "" => self.store.kind().to_owned(),
            name => format!("{}, {name}", self.store.kind()),
        };
        Worker::new(inbox, Arc::clone(&self.store), handler)
    }

    /// Counts the events by where they stand. It is cheap enough to be asked by every scrape of a
    /// monitoring system: all but the finished ones are counted anew, by an index.
    ///
    /// With the feature `metrics` each call also sets the gauges of this inbox.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn stats(&self) -> Result<Stats, InboxError> {
        let stats = self.store.stats().await?;
        measure::stats(&self.name, &stats);
        Ok(stats)
    }

    /// Whether the inbox can accept events, for a health check: the store can be reached, and takes
    /// writes. It writes nothing.
    ///
    /// # Errors
    ///
    /// The store failed, or is read-only.
    pub async fn ping(&self) -> Result<(), InboxError> {
        self.store.ping().await
    }

    /// Lists the events in a state, the oldest first: at most `limit`, after the place of a cursor.
    ///
    /// An event that stays in the state is never left out.
    ///
    /// # Errors
    ///
    /// The store failed, the cursor is not from this list, or the limit is zero.
    ///
    /// # Example
    ///
    /// ```
    /// use number7_inbox::{Filter, Inbox, InboxError, State};
    ///
    /// async fn print_dead_letters(inbox: &Inbox) -> Result<(), InboxError> {
    ///     let (filter, mut cursor) = (Filter::new().event("job.failed"), None);
    ///     loop {
    ///         let page = inbox.list(State::Dead, &filter, cursor.as_ref(), 100).await?;
    ///         for dead in page.entries {
    ///             println!("{} after {} attempts: {}", dead.key(), dead.attempts(), dead.error());
    ///         }
    ///         cursor = page.next;
    ///         if cursor.is_none() {
    ///             return Ok(());
    ///         }
    ///     }
    /// }
    /// # _ = print_dead_letters;
    /// ```
    pub async fn list(
        &self,
        state: State,
        filter: &Filter,
        after: Option<&Cursor>,
        limit: u32,
    ) -> Result<Page, InboxError> {
        refuse_zero(limit)?;
        let store = &self.store;
        let after = after.map(|cursor| cursor.place(state.name())).transpose()?;
        let mut after = after.map(str::to_owned);
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            // One more, to know whether there is a next page.
            let wanted = limit.saturating_add(1).saturating_sub(count(&entries));
            let at_once = if filter.takes_all() { wanted.min(store::STEP) } else { store::STEP };
            let (found, next) = store.list(state, after.as_deref(), at_once).await?;
            for entry in found.into_iter().filter(|entry| filter.takes(entry)) {
                if entries.len() == limit as usize {
                    let next = entries.last().map(|entry| Cursor::new(state.name(), &entry.place));
                    return Ok(Page { entries, next });
                }
                entries.push(entry);
            }
            after = next;
            if after.is_none() {
                return Ok(Page { entries, next: None });
            }
        }
    }

    /// The event of a [key](Entry::key), wherever it stands. `None` if no event of that key is known.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn show(&self, key: &str) -> Result<Option<Entry>, InboxError> {
        self.store.show(key).await
    }

    /// Puts a dead letter back to work. Its attempts are counted from 0 again. False if there is none of that
    /// [key](Entry::key).
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn requeue(&self, key: &str) -> Result<bool, InboxError> {
        let is_requeued = self.store.requeue(&[key.to_owned()]).await? > 0;
        self.store.announce();
        Ok(is_requeued)
    }

    /// Puts all dead letters that match a filter back to work. Says how many.
    ///
    /// What becomes a dead letter again meanwhile stays one.
    ///
    /// # Errors
    ///
    /// The store failed. What was put back before that stays so.
    pub async fn requeue_all(&self, filter: &Filter) -> Result<u64, InboxError> {
        let store = &self.store;
        let (mut requeued, mut seen, mut after) = (0, HashSet::new(), None);
        loop {
            let (letters, next) = store.list(State::Dead, after.as_deref(), store::STEP).await?;
            let letters = letters.iter().filter(|letter| filter.takes(letter));
            let keys = letters.map(|letter| letter.key().to_owned());
            let keys: Vec<String> = keys.filter(|key| seen.insert(key.clone())).collect();
            if !keys.is_empty() {
                requeued += store.requeue(&keys).await?;
                store.announce();
            }
            after = next;
            if after.is_none() {
                return Ok(requeued);
            }
        }
    }

    /// Gives a dead letter up for good: it counts as done from now on, so that its key stays known
    /// for the retention and is forgotten then. False if there is none of that [key](Entry::key).
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn discard(&self, key: &str) -> Result<bool, InboxError> {
        self.store.discard(key).await
    }

    /// Expects a result of a job: if no `job.completed` or `job.failed` of it is accepted within this
    /// time, the job is [overdue](Self::overdue). Call it where the app uploads a document.
    ///
    /// The vendor retries a webhook three times, and is silent forever after that. So a receiver that
    /// was down for longer misses events. An expected job is not missed: workers log a `WARN` when it is
    /// overdue (once; not at all if the worker ends at that moment), and [fetch](Worker::reconcile) its
    /// result if they are told how.
    ///
    /// It is one durable write. For a job that is expected already it does nothing, and the time of the
    /// first call counts. An event that was accepted before settles the job too, for as long as its key
    /// is known. The retention of the workers has to be an hour at least, because jobs are looked up every
    /// hour. The time is 10 years at most.
    ///
    /// # Errors
    ///
    /// The store failed, or the id is empty or has a NUL.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use number7_inbox::{Inbox, InboxError};
    ///
    /// async fn uploaded(inbox: &Inbox, job_id: &str) -> Result<(), InboxError> {
    ///     inbox.expect_job(job_id, Duration::from_secs(30 * 60)).await
    /// }
    /// # _ = uploaded;
    /// ```
    pub async fn expect_job(
        &self,
        job_id: impl Into<JobId>,
        within: Duration,
    ) -> Result<(), InboxError> {
        let within = within.min(LONGEST_EXPECTATION);
        self.store.expect_job(ExpectedJob::new(&job_id.into())?, within).await?;
        self.store.wake().expectations_changed();
        Ok(())
    }

    /// Stops expecting a job, for example because it was cancelled. False if it was not expected, or if a
    /// look-up has already found it settled.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn cancel_expectation(&self, job_id: impl Into<JobId>) -> Result<bool, InboxError> {
        self.store.cancel_expectation(job_id.into().as_str()).await
    }

    /// Lists the jobs that are overdue, the oldest first: at most `limit`, after the place of a cursor.
    ///
    /// Workers in any process mark jobs as overdue. While none runs, no job becomes overdue.
    ///
    /// # Errors
    ///
    /// The store failed, the cursor is not from this list, or the limit is zero.
    pub async fn overdue(
        &self,
        after: Option<&Cursor>,
        limit: u32,
    ) -> Result<Page<OverdueJob>, InboxError> {
        refuse_zero(limit)?;
        let store = &self.store;
        let mut after = after.map(overdue::place).transpose()?;
        let mut entries: Vec<OverdueJob> = Vec::new();
        loop {
            // One more, to know whether there is a next page.
            let at_once = limit.saturating_add(1).saturating_sub(count(&entries)).min(store::STEP);
            let rows = store.overdue(after, at_once).await?;
            let is_last = count(&rows) < at_once;
            after = rows.last().map(|row| JobPlace { due: row.due, job: row.job.clone() });
            entries.extend(rows.into_iter().map(OverdueJob::new));
            let is_more = count(&entries) > limit;
            if is_more || is_last {
                entries.truncate(limit as usize);
                let next = entries.last().filter(|_| is_more).map(OverdueJob::cursor);
                return Ok(Page { entries, next });
            }
        }
    }
}

fn refuse_zero(limit: u32) -> Result<(), InboxError> {
    match limit {
        0 => Err(InboxError::new(InboxErrorKind::Invalid, "a page must have at least one entry")),
        _ => Ok(()),
    }
}

/// How many there are, which is at most a limit.
fn count<T>(of: &[T]) -> u32 {
    of.len().try_into().unwrap_or(u32::MAX)
}

/// One write, which is durable when it is confirmed, or fails within
/// [`STORE_TIMEOUT`](crate::STORE_TIMEOUT).
impl Accept for Inbox {
    type Error = InboxError;

    async fn store(&self, record: Record) -> Result<Acceptance, InboxError> {
        let waiting = Waiting { begun: Instant::now(), is_answered: false };
        let stored = self.store.insert(record.into()).await;
        waiting.end(&stored);
        if matches!(stored, Ok(Acceptance::New)) {
            self.store.announce();
        }
        stored
    }
}

/// An acceptance that waits for its store. If it is dropped before that, nobody else counts it or logs it.
struct Waiting {
    begun: Instant,
    is_answered: bool,
}

impl Waiting {
    fn end(mut self, stored: &Result<Acceptance, InboxError>) {
        self.is_answered = true;
        let outcome = match stored {
            Ok(Acceptance::New) => "new",
            Ok(Acceptance::Duplicate) => "duplicate",
            Err(_) => "failed",
        };
        measure::acceptance(outcome, self.begun.elapsed());
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.is_answered {
            let took = self.begun.elapsed();
            measure::acceptance("abandoned", took);
            tracing::warn!(
                target: "number7", ?took,
                "an acceptance is abandoned before the store has answered: the sender went away, or its \
                deadline has passed"
            );
        }
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("store", &self.store.kind())
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
