//! How an inbox is opened.

use std::{sync::Arc, time::Duration};

use super::Inbox;
use crate::{
    model::{
        error::{InboxError, InboxErrorKind},
        options::{DEFAULT_STATEMENT_TIMEOUT, Options},
    },
    store::{self, Store},
};

/// The longest name that PostgreSQL keeps of a schema, in bytes.
const LONGEST_SCHEMA: usize = 63;

/// The shortest time without an event after which a worker can sleep.
const SHORTEST_WAKE: Duration = Duration::from_secs(1);

/// The shortest limit for a statement. A shorter one would stop statements that only wait for a disk.
const SHORTEST_STATEMENT: Duration = Duration::from_millis(100);

impl Inbox {
    /// An inbox in a file, which is created if it does not exist: for one machine. Several processes can share it.
    ///
    /// The file uses SQLite's WAL mode with full synchronization, so that what is confirmed is on the disk. Beside it are
    /// `…-wal`, `…-shm`, and `…-turn`, where processes queue to write. It must not be on a network share.
    ///
    /// If the file is deleted or replaced, one call fails. Then the inbox opens the file that is at the path, or creates a new
    /// one. A relative path is resolved now, so the process may change its current directory.
    ///
    /// # Errors
    ///
    /// The folder does not exist, the file cannot be written or is not a database, or another process
    /// keeps it locked for longer than [`STORE_TIMEOUT`](crate::STORE_TIMEOUT).
    #[cfg(feature = "sqlite")]
    pub async fn sqlite(path: impl AsRef<std::path::Path>) -> Result<Self, InboxError> {
        Self::options().sqlite(path).await
    }

    /// An inbox on PostgreSQL 13 or later, by a `postgres://` URL: for several machines.
    ///
    /// It creates the schema [`number7`](InboxOptions::schema) in that database if it is missing. No extension is needed. The
    /// log has a warning if the server may lose what it confirms (`fsync` off).
    ///
    /// Each session (behind a pooler, each transaction) sets its own isolation level, timeouts and planner settings, and
    /// ignores those of the database and the role. It keeps `default_transaction_read_only`, `search_path`, and
    /// `synchronous_commit` unless that is `off`.
    ///
    /// # Errors
    ///
    /// The string is not a URL, the server cannot be reached, the role may not create the schema, the encoding of the database
    /// is not UTF8, or a pooler in statement mode is in front of it.
    #[cfg(feature = "postgres")]
    pub async fn postgres(url: impl AsRef<str>) -> Result<Self, InboxError> {
        let options = Options::default();
        let postgres = store::postgres::Postgres::open(url.as_ref(), &options).await?;
        Ok(Self::on(Arc::new(postgres), &options))
    }

    /// An inbox in the same file as a pool of `sqlx` 0.9, for handlers that
    /// [finish in a transaction](crate::AcceptedEvent::finish_in) of that pool.
    ///
    /// It uses the pool's options, but not its connections: the inbox opens its own three, so that it can renew its lease even
    /// while handlers use all connections of the pool. SQLite has one writer at a time, so give the pool's options a
    /// `busy_timeout`, and begin transactions that write by `BEGIN IMMEDIATE`.
    ///
    /// # Errors
    ///
    /// Those of [`sqlite`](Self::sqlite). A pool in memory is refused.
    #[cfg(feature = "sqlite")]
    pub async fn sqlite_of(pool: &sqlx::SqlitePool) -> Result<Self, InboxError> {
        Self::options().sqlite_of(pool).await
    }

    /// An inbox in the same database as a pool of `sqlx` 0.9, for handlers that
    /// [finish in a transaction](crate::AcceptedEvent::finish_in) of that pool.
    ///
    /// It uses the pool's options, but not its connections: the inbox opens up to 16 of its own, because its lease has to be
    /// renewed even while handlers use all connections of the pool.
    ///
    /// # Errors
    ///
    /// Those of [`postgres`](Self::postgres).
    #[cfg(feature = "postgres")]
    pub async fn postgres_of(pool: &sqlx::PgPool) -> Result<Self, InboxError> {
        Self::options().postgres_of(pool).await
    }

    /// An inbox on Redis, for several machines. The URL is `redis://` for Redis 6.2 or later or a Redis Cluster,
    /// and `redis+sentinel://` for a Redis that Sentinels watch. With the feature `redis-tls`, it can also be
    /// `rediss://` or `rediss+sentinel://`.
    ///
    /// All its keys begin with `{number7}:`, or `{number7:name}:` if the inbox is [named](Self::named), so those of
    /// one inbox are on one node of a cluster. The URL can name any of the nodes. If the nodes change, or one fails
    /// over to a replica, the inbox follows.
    ///
    /// A URL of Sentinels has the form `redis+sentinel://[user:password@]host1[:port],host2[:port]/SERVICE[/DB]`. List all
    /// Sentinels as hosts; their port is 26379 unless you give one. The service is the name behind `sentinel monitor` in their
    /// configuration. The user and the password are those of the Redis servers. If the Sentinels have their own, add
    /// `?sentinel_username=…&sentinel_password=…`. The inbox asks the Sentinels for the master whenever it connects, and every
    /// second after that. It connects to the server that most of them name, if that server itself says that it is a master.
    ///
    /// Redis keeps what it confirms only with `appendonly yes`, `appendfsync always` and `maxmemory-policy noeviction`. If it
    /// is not configured so, the log has a warning.
    ///
    /// Redis confirms a write before its replicas have it, so a failover may lose it. With `?wait_replicas=1` in the URL,
    /// [`accept`](crate::Accept) and [`expect_job`](Self::expect_job) succeed only when that many replicas have the write.
    /// Otherwise they fail after a second, or after the milliseconds in `wait_ms` (1 to 2,000), as in
    /// `redis://host/0?wait_replicas=1&wait_ms=500`. The write may have happened even if the call fails. If there are replicas
    /// and `wait_replicas` is not set, the log has a warning.
    ///
    /// # Errors
    ///
    /// The string is not a URL, `wait_replicas` or `wait_ms` is wrong, the server cannot be reached, or it refuses the password
    /// or scripts. With Sentinels also: none of them can be reached, they do not know the service, they refuse their password,
    /// or the server that they name is not a master.
    #[cfg(feature = "redis")]
    pub async fn redis(url: impl AsRef<str>) -> Result<Self, InboxError> {
        let redis = store::redis::Redis::open(url.as_ref()).await?;
        Ok(Self::on(Arc::new(redis), &Options::default()))
    }

    /// An inbox in memory, for development and tests. It is lost when the process ends, and each call creates another one.
    ///
    /// It follows the same rules as the other stores, except that what it confirms is not on a disk.
    #[cfg(any(test, feature = "memory"))]
    #[must_use]
    pub fn memory() -> Self {
        Self::on(Arc::new(store::memory::Memory::default()), &Options::default())
    }

    /// An inbox by a URL: `sqlite:PATH`, `postgres://…`, `redis://…` or `redis+sentinel://…`. Use it if your app reads the URL
    /// from a setting. With the feature `memory`, `memory:` is an inbox [in memory](Self::memory).
    ///
    /// A URL of SQLite is read as `sqlx` reads it: `%20` is a space, and `?` begins parameters. The file is created if it does
    /// not exist, unless the URL says `mode=rw`.
    ///
    /// # Errors
    ///
    /// - The URL has another scheme, or the feature of its store is not enabled.
    /// - An SQLite URL has `mode=ro`, `mode=memory`, `cache=shared`, `immutable`, or a parameter that `sqlx`
    ///   does not know.
    /// - [`sqlite`](Self::sqlite), [`postgres`](Self::postgres) or [`redis`](Self::redis) refuses it.
    pub async fn open(url: &str) -> Result<Self, InboxError> {
        Self::options().open(url).await
    }

    /// Whether [`open`](Self::open) knows the scheme of this URL. It does not connect.
    #[must_use]
    pub fn is_url(url: &str) -> bool {
        Engine::of(url).is_ok()
    }

    /// Like [`open`](Self::open), with settings.
    pub fn options() -> InboxOptions {
        InboxOptions(Options::default())
    }

    /// Like [`open`](Self::open), for tools: it never creates or changes tables, and fails if there is no inbox. On Redis it is
    /// the same as `open`, because there are no tables.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), and [`InboxErrorKind::Schema`] if there is no inbox in the store, or one of
    /// another version.
    pub async fn open_existing(url: &str) -> Result<Self, InboxError> {
        Self::options().migrate(false).open(url).await
    }

    /// Creates the tables of an inbox, or upgrades older ones, and changes nothing if they are up to date. [`open`](Self::open)
    /// does the same first, unless you [turn that off](InboxOptions::migrate). Call it at deployment if the role of your app
    /// may not create tables.
    ///
    /// Any number of processes can call it at the same time. On Redis there is nothing to create.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub async fn migrate(url: &str) -> Result<(), InboxError> {
        Self::open(url).await.map(drop)
    }

    /// The SQL that [`migrate`](Self::migrate) runs in an empty store, for a DBA who runs it by hand. It does not
    /// connect. Empty for Redis.
    ///
    /// # Errors
    ///
    /// The URL names no known store.
    pub fn migrations(url: &str) -> Result<String, InboxError> {
        Self::options().migrations(url)
    }
}

/// Settings of an inbox that is to be opened. Start with [`Inbox::options`].
///
/// # Example
///
/// ```no_run
/// use number7_inbox::{Inbox, InboxError};
///
/// async fn open() -> Result<Inbox, InboxError> {
///     // The app's role may not create tables: they are made at deployment, by `number7 inbox migrate`.
///     Inbox::options().migrate(false).open("postgres://localhost/app").await
/// }
/// # _ = open;
/// ```
#[derive(Clone, Debug)]
#[must_use = "settings open nothing by themselves"]
pub struct InboxOptions(Options);

impl InboxOptions {
    /// Whether opening creates missing tables and upgrades older ones: true unless it is set. If it is false and the tables are
    /// missing or older, opening fails with [`InboxErrorKind::Schema`].
    ///
    /// An inbox whose tables are up to date needs only the right to read and write rows. [`stats`](Inbox::stats),
    /// [`list`](Inbox::list), [`show`](Inbox::show) and [`overdue`](Inbox::overdue) need only the right to read them.
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.0.migrate = migrate;
        self
    }

    /// The schema of the tables on PostgreSQL; [`DEFAULT_SCHEMA`](crate::DEFAULT_SCHEMA) unless it is set. No other
    /// store has one.
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.0.schema = name.into();
        self
    }

    /// How soon an idle worker looks again for events that another process has accepted;
    /// [`DEFAULT_POLL_INTERVAL`](crate::DEFAULT_POLL_INTERVAL) unless it is set. While notifications arrive,
    /// it looks less and less often, down to every 2 seconds (or this interval, if that is longer).
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.0.polling.interval = interval;
        self
    }

    /// For a serverless database, which costs money while it is awake: after this time without an event, a worker asks nothing
    /// of the store, and on PostgreSQL the inbox closes its connections within 20 seconds. Unless this is set, workers never
    /// sleep, because a sleeping worker is not notified of events that other processes accept, or of what an operator does with
    /// the command `number7`, such as a requeue.
    ///
    /// So let one process receive and work. Its workers wake up when it accepts an event, when an event is ready for its next
    /// attempt, when a job that it expects is overdue, and after an hour. They stay awake for a lease and two heartbeats at
    /// least, which is 30 seconds by default, to rescue what other workers left behind.
    ///
    /// [`stats`](Inbox::stats) does not count a sleeping worker. On Redis, a `PING` is still sent each second.
    pub fn sleep_after(mut self, idle: Duration) -> Self {
        self.0.polling.sleep_after = Some(idle);
        self
    }

    /// How many connections to PostgreSQL acceptance and the methods for operators share at most;
    /// [`DEFAULT_CONNECTIONS`](crate::DEFAULT_CONNECTIONS) unless it is set. A connection is opened when it is needed, and
    /// closed after ten idle minutes.
    ///
    /// All workers of a process share six others: three to claim events and record results, two to renew leases,
    /// and one for notifications of what other processes accept. A process without a worker does not open them.
    /// This setting has no effect on the other stores.
    pub fn connections(mut self, most: u32) -> Self {
        self.0.connections = most;
        self
    }

    /// How long PostgreSQL may take for one statement; [`DEFAULT_STATEMENT_TIMEOUT`](crate::DEFAULT_STATEMENT_TIMEOUT) unless
    /// it is set. The other stores have only [`STORE_TIMEOUT`](crate::STORE_TIMEOUT).
    ///
    /// A longer time is useless, because the caller no longer waits by then. Migrations are not limited.
    pub fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.0.statement_timeout = timeout;
        self
    }

    /// Opens an inbox by a URL; see [`Inbox::open`].
    ///
    /// # Errors
    ///
    /// Those of [`Inbox::open`], and [`InboxErrorKind::Invalid`] for a wrong setting: a poll interval of zero, a sleep after
    /// less than a second, no connections, a statement timeout that is not between 100 milliseconds and its default, or a
    /// schema whose name does not have 1 to 63 bytes.
    pub async fn open(self, url: &str) -> Result<Inbox, InboxError> {
        let options = self.checked()?;
        let store: Arc<dyn Store> = match Engine::of(url)? {
            #[cfg(feature = "sqlite")]
            Engine::Sqlite => Arc::new(store::sqlite::Sqlite::open_url(url, options).await?),
            #[cfg(feature = "postgres")]
            Engine::Postgres => Arc::new(store::postgres::Postgres::open(url, options).await?),
            #[cfg(feature = "redis")]
            Engine::Redis => Arc::new(store::redis::Redis::open(url).await?),
            #[cfg(feature = "memory")]
            Engine::Memory if options.migrate => Arc::new(store::memory::Memory::default()),
            #[cfg(feature = "memory")]
            Engine::Memory => {
                let text = "an inbox in memory is there only for the process that has opened it";
                return Err(InboxError::new(InboxErrorKind::Schema, text));
            }
        };
        Ok(Inbox::on(store, options))
    }

    /// Opens an inbox in a file; see [`Inbox::sqlite`].
    ///
    /// # Errors
    ///
    /// Those of [`Inbox::sqlite`].
    #[cfg(feature = "sqlite")]
    pub async fn sqlite(self, path: impl AsRef<std::path::Path>) -> Result<Inbox, InboxError> {
        let options = self.checked()?;
        let sqlite = store::sqlite::Sqlite::open(path.as_ref(), options).await?;
        Ok(Inbox::on(Arc::new(sqlite), options))
    }

    /// Opens an inbox in the same file as a pool; see [`Inbox::sqlite_of`].
    ///
    /// # Errors
    ///
    /// Those of [`Inbox::sqlite_of`].
    #[cfg(feature = "sqlite")]
    pub async fn sqlite_of(self, pool: &sqlx::SqlitePool) -> Result<Inbox, InboxError> {
        let connect = (*pool.connect_options()).clone();
        let options = self.checked()?;
        let sqlite = store::sqlite::Sqlite::open_with(connect, options).await?;
        Ok(Inbox::on(Arc::new(sqlite), options))
    }

    /// Opens an inbox in the same database as a pool; see [`Inbox::postgres_of`].
    ///
    /// # Errors
    ///
    /// Those of [`Inbox::postgres_of`].
    #[cfg(feature = "postgres")]
    pub async fn postgres_of(self, pool: &sqlx::PgPool) -> Result<Inbox, InboxError> {
        let connect = (*pool.connect_options()).clone();
        let options = self.checked()?;
        let postgres = store::postgres::Postgres::open_with(connect, options).await?;
        Ok(Inbox::on(Arc::new(postgres), options))
    }

    fn checked(&self) -> Result<&Options, InboxError> {
        let Options { schema, polling, connections, statement_timeout, .. } = &self.0;
        let refused = |text: String| Err(InboxError::new(InboxErrorKind::Invalid, text));
        if polling.interval.is_zero() {
            return refused("the poll interval must not be zero".into());
        }
        if let Some(idle) = polling.sleep_after.filter(|idle| *idle < SHORTEST_WAKE) {
            return refused(format!(
                "a worker cannot sleep after {idle:?}: it stays awake for at least {SHORTEST_WAKE:?}"
            ));
        }
        if *connections == 0 {
            return refused("an inbox without connections accepts nothing".into());
        }
        let range = SHORTEST_STATEMENT..=DEFAULT_STATEMENT_TIMEOUT;
        if !range.contains(statement_timeout) {
            return refused(format!(
                "a statement timeout of {statement_timeout:?} is not within {range:?}"
            ));
        }
        if schema.is_empty() || schema.len() > LONGEST_SCHEMA || schema.contains('\0') {
            return refused(format!(
                "a schema cannot be named {schema:?}: a name has 1 to {LONGEST_SCHEMA} bytes"
            ));
        }
        Ok(&self.0)
    }

    /// The SQL that creates the tables; see [`Inbox::migrations`].
    ///
    /// # Errors
    ///
    /// Those of [`Inbox::migrations`].
    pub fn migrations(&self, url: &str) -> Result<String, InboxError> {
        self.checked()?;
        Ok(match Engine::of(url)? {
            #[cfg(feature = "sqlite")]
            Engine::Sqlite => store::sqlite::Sqlite::migrations(&self.0),
            #[cfg(feature = "postgres")]
            Engine::Postgres => store::postgres::Postgres::migrations(&self.0),
            #[cfg(feature = "redis")]
            Engine::Redis => String::new(),
            #[cfg(feature = "memory")]
            Engine::Memory => String::new(),
        })
    }
}

/// The store that the scheme of a URL names.
enum Engine {
    #[cfg(feature = "sqlite")]
    Sqlite,
    #[cfg(feature = "postgres")]
    Postgres,
    #[cfg(feature = "redis")]
    Redis,
    #[cfg(feature = "memory")]
    Memory,
}

impl Engine {
    fn of(url: &str) -> Result<Self, InboxError> {
        Ok(match url.split_once(':').unwrap_or_default() {
            #[cfg(feature = "sqlite")]
            ("sqlite", _) => Self::Sqlite,
            #[cfg(feature = "postgres")]
            ("postgres" | "postgresql", rest) if rest.starts_with("//") => Self::Postgres,
            #[cfg(feature = "redis")]
            ("redis" | "rediss" | "redis+unix" | "redis+sentinel" | "rediss+sentinel", rest)
                if rest.starts_with("//") =>
            {
                Self::Redis
            }
            #[cfg(feature = "memory")]
            ("memory", "") => Self::Memory,
            _ => {
                let text = "the URL of an inbox must begin with sqlite:, postgres:// or redis:// (or \
                    redis+sentinel://), and needs the feature of that name";
                return Err(InboxError::new(InboxErrorKind::Invalid, text));
            }
        })
    }
}
