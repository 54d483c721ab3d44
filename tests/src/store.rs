//! The stores of inboxes. Each one is empty, and belongs to the test.

use std::{
    path::PathBuf,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use number7_inbox::{Inbox, State};
use sqlx::{
    ConnectOptions, Connection, PgConnection, SqliteConnection, postgres::PgConnectOptions,
};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::{
    engine::{Engine, Server},
    patience::{LONG_PATIENCE, PATIENCE, in_time, within},
};

// They end with the process, because the standard input of their keepers ends then.
static POSTGRES: LazyLock<Server> = LazyLock::new(|| Server::start(Engine::Postgres));
static REDIS: LazyLock<Server> = LazyLock::new(|| Server::start(Engine::Redis));

/// The condition for a row whose event is neither done nor dead.
const UNFINISHED: &str = "state NOT IN ('done', 'dead')";

static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A store.
pub enum Store {
    /// A file in a folder of its own.
    Sqlite(TempDir),
    /// The URL of a database.
    Postgres(String),
    /// The URL of a database.
    Redis(String),
    /// The inbox itself, because only that knows its events.
    Memory(Inbox),
}

impl Store {
    /// A file that does not exist yet.
    #[must_use]
    pub fn sqlite() -> Self {
        Self::Sqlite(tempfile::Builder::new().prefix("number7-").tempdir().unwrap())
    }

    /// A new database on the server of this test program.
    pub async fn postgres() -> Self {
        let server = tokio::task::block_in_place(|| &*POSTGRES);
        Self::postgres_on(server, server.port()).await
    }

    /// A new database on a server, used through a port.
    pub async fn postgres_on(server: &Server, port: u16) -> Self {
        let name = format!("inbox{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let mut connection = postgres(&server.url(server.port(), "postgres")).await;
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        let created = sqlx::raw_sql(create).execute(&mut connection);
        in_time("a new database", created).await.unwrap();
        Self::Postgres(server.url(port, &name))
    }

    /// An empty database of the server of this test program.
    pub async fn redis() -> Self {
        let server = tokio::task::block_in_place(|| &*REDIS);
        Self::redis_on(server, server.port())
    }

    /// An empty database of a server, used through a port.
    pub fn redis_on(server: &Server, port: u16) -> Self {
        let name = DATABASES.fetch_add(1, Ordering::Relaxed).to_string();
        Self::Redis(server.url(port, &name))
    }

    /// An inbox on it.
    pub async fn open(&self) -> Inbox {
        match self {
            Self::Memory(inbox) => inbox.clone(),
            _ => Inbox::open(&self.url()).await.unwrap(),
        }
    }

    /// The URL for [`Inbox::open`].
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(_) => format!("sqlite:{}", self.path().display()),
            Self::Postgres(url) | Self::Redis(url) => url.clone(),
            Self::Memory(_) => panic!("it has no URL"),
        }
    }

    fn path(&self) -> PathBuf {
        let Self::Sqlite(folder) = self else { panic!("not a file") };
        folder.path().join("inbox.db")
    }

    /// How many events are neither done nor dead, according to the store itself.
    pub async fn unfinished(&self) -> i64 {
        if let Self::Memory(inbox) = self {
            let stats = inbox.stats().await.unwrap();
            let unfinished = stats.ready + stats.scheduled + stats.quarantined + stats.running;
            return unfinished.try_into().unwrap();
        }
        self.count(
            UNFINISHED,
            "
            return redis.call('ZCARD', key('ready')) + redis.call('ZCARD', key('quarantined'))
                + redis.call('ZCARD', key('running'))",
        )
        .await
    }

    /// How many keys have no payload, or payloads no key.
    pub async fn keys_without_payload(&self) -> i64 {
        self.count(
            "payload IS NULL OR length(payload) = 0 OR key IS NULL",
            "
            local events = redis.call('HVALS', key('keys'))
            local count = redis.call('HLEN', key('payloads')) + #events
            for _, event in ipairs(events) do
                count = count - 2 * redis.call('HEXISTS', key('payloads'), event)
            end
            return count",
        )
        .await
    }

    /// How many keys are known.
    pub async fn keys(&self) -> i64 {
        if let Self::Memory(inbox) = self {
            let stats = inbox.stats().await.unwrap();
            return State::ALL.map(|state| stats.of(state)).iter().sum::<u64>().try_into().unwrap();
        }
        self.count("true", "return redis.call('HLEN', key('keys'))").await
    }

    async fn count(&self, condition: &'static str, script: &str) -> i64 {
        match self {
            Self::Sqlite(_) => {
                let sql = sqlx::AssertSqlSafe(format!(
                    "SELECT count(*) FROM number7_events WHERE {condition}"
                ));
                let mut connection = self.sqlite_connection().await;
                let counted = sqlx::query_scalar(sql).fetch_one(&mut connection);
                within(LONG_PATIENCE, "a count of rows", counted).await.unwrap()
            }
            Self::Postgres(url) => {
                let mut connection = postgres(url).await;
                let table = "number7.events";
                let sql =
                    sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table} WHERE {condition}"));
                let counted = sqlx::query_scalar(sql).fetch_one(&mut connection);
                within(LONG_PATIENCE, "a count of rows", counted).await.unwrap()
            }
            Self::Redis(url) => redis_script(url, script).await,
            Self::Memory(_) => panic!("nothing but its inbox knows what is in it"),
        }
    }

    /// Releases everything that is claimed, as another worker does after a lease.
    pub async fn take_over(&self) {
        const FREE: &str = "SET state = 'ready', claimed_by = NULL, claimed_at = NULL
            WHERE state = 'running'";
        self.execute(
            FREE,
            r#"
            for _, member in ipairs(redis.call('ZRANGE', key('running'), 0, -1)) do
                local event = string.match(member, '%d+')
                change(event, '"state":"running"', '"state":"ready"')
                change(event, '"claimed_by":"[^"]+"', '"claimed_by":null')
                redis.call('ZADD', key('ready'), 0, event)
            end
            redis.call('DEL', key('running'))
            return 0"#,
        )
        .await;
    }

    /// Lets the heartbeats of workers fail for a while, and then succeed again.
    pub async fn fail_heartbeats(&self, outage: Duration) {
        match self {
            Self::Sqlite(_) => {
                let mut connection = self.sqlite_connection().await;
                sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
                sleep(outage).await;
                sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
            }
            Self::Postgres(url) => {
                let mut connection = postgres(url).await;
                let hide = sqlx::raw_sql("ALTER TABLE number7.workers RENAME TO hidden");
                hide.execute(&mut connection).await.unwrap();
                sleep(outage).await;
                let show = sqlx::raw_sql("ALTER TABLE number7.hidden RENAME TO workers");
                show.execute(&mut connection).await.unwrap();
            }
            Self::Redis(url) => {
                // The key then has another type, so every renewal is an error.
                let hide = "redis.call('RENAME', key('workers'), 'hidden')
                    redis.call('SET', key('workers'), 'hidden')
                    return 'OK'";
                redis_script::<String>(url, hide).await;
                sleep(outage).await;
                let show = "return redis.call('RENAME', 'hidden', key('workers'))";
                redis_script::<String>(url, show).await;
            }
            Self::Memory(_) => panic!("nothing but its inbox knows what is in it"),
        }
    }

    /// Changes the table of events, or Redis.
    pub async fn execute(&self, update: &str, script: &str) {
        match self {
            Self::Sqlite(_) => self.sql(&format!("UPDATE number7_events {update}")).await,
            Self::Postgres(_) => self.sql(&format!("UPDATE number7.events {update}")).await,
            Self::Redis(url) => _ = redis_script::<i64>(url, script).await,
            Self::Memory(_) => panic!("nothing but its inbox knows what is in it"),
        }
    }

    /// Runs SQL statements on the store.
    pub async fn sql(&self, sql: &str) {
        let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Sqlite(_) => {
                let mut connection = self.sqlite_connection().await;
                let executed = sql.execute(&mut connection);
                _ = within(LONG_PATIENCE, "statements", executed).await.unwrap();
            }
            Self::Postgres(url) => {
                let mut connection = postgres(url).await;
                let executed = sql.execute(&mut connection);
                _ = within(LONG_PATIENCE, "statements", executed).await.unwrap();
            }
            Self::Redis(_) => panic!("Redis knows no SQL"),
            Self::Memory(_) => panic!("nothing but its inbox knows what is in it"),
        }
    }

    /// A connection to the file, which belongs to the test. The file is created if it does not exist.
    pub async fn sqlite_connection(&self) -> SqliteConnection {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.path());
        let options = options.create_if_missing(true);
        let options = options.busy_timeout(Duration::from_secs(30)).disable_statement_logging();
        let connects = SqliteConnection::connect_with(&options);
        in_time("a connection to SQLite", connects).await.unwrap()
    }

    /// Waits until nothing is left to do.
    pub async fn settled(&self, patience: Duration) {
        let begun = std::time::Instant::now();
        while self.unfinished().await > 0 {
            assert!(begun.elapsed() < patience, "unfinished: {}", self.describe().await);
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Describes everything that is not finished.
    async fn describe(&self) -> String {
        const ROWS: &str = "SELECT key, state, coalesce(claimed_by, '') FROM";
        let rows: Vec<(String, String, String)> = match self {
            Self::Sqlite(_) => {
                let sql = sqlx::AssertSqlSafe(format!("{ROWS} number7_events WHERE {UNFINISHED}"));
                sqlx::query_as(sql).fetch_all(&mut self.sqlite_connection().await).await.unwrap()
            }
            Self::Postgres(url) => {
                let mut connection = postgres(url).await;
                let sql = sqlx::AssertSqlSafe(format!("{ROWS} number7.events WHERE {UNFINISHED}"));
                sqlx::query_as(sql).fetch_all(&mut connection).await.unwrap()
            }
            Self::Redis(url) => {
                let script = "
                    local seen = 'now ' .. redis.call('TIME')[1]
                    for _, name in ipairs({ 'ready', 'quarantined', 'running', 'dead', 'workers' }) do
                        local held = redis.call('ZRANGE', key(name), 0, 9, 'WITHSCORES')
                        if #held > 0 then
                            seen = seen .. '; ' .. name .. ': ' .. table.concat(held, ' ')
                        end
                    end
                    return seen";
                return redis_script(url, script).await;
            }
            Self::Memory(_) => panic!("nothing but its inbox knows what is in it"),
        };
        format!("{rows:?}")
    }
}

/// Puts finished events into a store, like those of a week.
pub async fn fill(store: &Store, events: u32) {
    const COLUMNS: &str = "inbox, key, event, job, state, attempt, origin, payload, accepted_at, due_at, \
        finished_at";
    const VALUES: &str =
        "'', 'job.completed:filled_' || n, 'job.completed', 'filled_' || n, 'done', 1, 'signed'";
    let json = crate::COMPLETED;
    match store {
        Store::Sqlite(_) => {
            let sql = format!(
                "INSERT INTO number7_events ({COLUMNS})
                SELECT {VALUES}, CAST('{json}' AS BLOB), unixepoch() * 1000, unixepoch() * 1000,
                    unixepoch() * 1000
                FROM (WITH RECURSIVE numbers(n) AS (
                    SELECT 1 UNION ALL SELECT n + 1 FROM numbers LIMIT {events}
                ) SELECT n FROM numbers WHERE {events} > 0)"
            );
            store.sql(&sql).await;
        }
        Store::Postgres(_) => {
            let sql = format!(
                "SET session_replication_role = replica;
                INSERT INTO number7.events ({COLUMNS})
                SELECT {VALUES}, convert_to('{json}', 'UTF8'), now(), now(), now()
                FROM generate_series(1, {events}) AS n"
            );
            store.sql(&sql).await;
        }
        Store::Redis(url) => {
            for first in (1..=events).step_by(10_000) {
                let last = events.min(first + 9_999);
                let script = format!(
                    r#"local millis = redis.call('TIME')[1] * 1000
                    for n = {first}, {last} do
                        local id = string.format('%016d', 1e15 + n)
                        local name = 'job.completed:filled_' .. n
                        redis.call('HSET', key('keys'), name, id)
                        redis.call('HSET', key('payloads'), id, '{json}')
                        redis.call('HSET', key('events'), id, string.format('{{"state":"done",'
                            .. '"attempt":1,"uncounted":0,"runs":1,"due_at":%.0f,"claimed_by":null,'
                            .. '"claimed_at":null,"claimed_as":"ready","finished_at":%.0f,"key":"%s","event":'
                            .. '"job.completed","job":"filled_%d","origin":"signed",'
                            .. '"accepted_at":%.0f}}', millis, millis, name, n, millis))
                        redis.call('ZADD', key('done'), millis, id)
                    end
                    return 0"#
                );
                redis_script::<i64>(url, &script).await;
            }
            // Redis rewrites its file, which needs a processor.
            let is_rewriting = "return string.find(redis.call('INFO', 'persistence'),
                'aof_rewrite_in_progress:1') and 1 or 0";
            while redis_script::<i64>(url, is_rewriting).await == 1 {
                sleep(Duration::from_millis(100)).await;
            }
        }
        Store::Memory(_) => panic!("nothing but its inbox knows what is in it"),
    }
}

/// A connection to a server that may have just been started: it listens before it is ready.
///
/// # Panics
///
/// If there is none in time, also because the server does not answer.
pub async fn postgres(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().unwrap();
    let (options, mut last) = (options.disable_statement_logging(), None);
    let connects = async {
        loop {
            match options.connect().await {
                Ok(connection) => return connection,
                Err(error) => last = Some(error),
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let connected = timeout(PATIENCE, connects).await;
    connected.unwrap_or_else(|_| panic!("no connection to {url} within {PATIENCE:?}: {last:?}"))
}

/// Runs a command that scripts may not run on a Redis.
pub async fn redis_command(url: &str, command: &[&str]) {
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut cmd = redis::Cmd::new();
    command.iter().for_each(|arg| _ = cmd.arg(*arg));
    cmd.query_async::<()>(&mut connection).await.unwrap();
}

/// Functions for such scripts: the key for a name, and a change of an event's record.
const FUNCTIONS: &str = "
    local function key(name) return '{number7}:' .. name end
    local function change(event, from, to)
        local record = string.gsub(redis.call('HGET', key('events'), event), from, to)
        redis.call('HSET', key('events'), event, record)
    end
";

/// Runs a script on a Redis.
pub async fn redis_script<T: redis::FromRedisValue>(url: &str, script: &str) -> T {
    let client = redis::Client::open(url).unwrap();
    let settings = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let mut connection =
        client.get_multiplexed_async_connection_with_config(&settings).await.unwrap();
    let script = redis::Script::new(&format!("{FUNCTIONS}{script}"));
    let answers = async {
        loop {
            // Redis answers before it has loaded its data.
            match script.invoke_async(&mut connection).await {
                Err(error) if error.to_string().contains("loading") => {}
                answer => return answer.unwrap(),
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    in_time("the answer of a script of Redis", answers).await
}

/// Makes a test of an async function for every store: `on_every_store!(name, …)` in a test file. Tests of stores whose engine
/// is not installed are ignored, except in CI. The functions after `and in memory:` need only the inbox, and are also tested
/// with an inbox in memory.
#[macro_export]
macro_rules! on_every_store {
    (and in memory: $($both:ident),+; $($name:ident),* $(,)?) => {
        $crate::on_every_store!($($both,)+ $($name),*);

        mod memory {$(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $both() {
                super::$both($crate::store::Store::Memory(number7_inbox::Inbox::memory())).await;
            }
        )+}
    };
    ($($name:ident),+ $(,)?) => {
        mod sqlite {$(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::store::Store::sqlite()).await;
            }
        )+}

        mod postgres {$(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
            async fn $name() {
                super::$name($crate::store::Store::postgres().await).await;
            }
        )+}

        mod redis {$(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
            async fn $name() {
                super::$name($crate::store::Store::redis().await).await;
            }
        )+}
    };
}
