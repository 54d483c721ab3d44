//! The connections to one file, and how it is read and written.

use std::{
    ops::{Deref, DerefMut},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use sqlx::{
    ConnectOptions, Connection, Sqlite as Db, SqliteConnection, SqlitePool,
    pool::PoolConnection,
    query,
    query::Query,
    query_as,
    sqlite::{
        SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow,
        SqliteSynchronous,
    },
};

use tokio::{
    sync::OwnedMutexGuard,
    time::{sleep, timeout},
};

use super::{
    clock::{Clock, Note},
    fair_lock::{FairLock, FairLockGuard},
    migrations,
    place::Place,
};
use crate::{
    model::error::{InboxError, InboxErrorKind},
    store::{self, CONNECT_TIMEOUT, STORE_TIMEOUT, driver::Driver},
};

/// How long SQLite waits for another writer. It is shorter than an operation may take, so that the error names the cause.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// How many connections read beside the one that writes.
const READERS: u32 = 2;

/// The size to which the `-wal` is truncated when nobody reads it anymore: 8 MiB, twice the size at which SQLite
/// copies it into the database.
const WAL_LIMIT: &str = "8388608";

/// How much of the file the writing connection caches, in KiB. It is enough to keep the pages that it writes to, beside a
/// million finished events.
const CACHE: &str = "-16384";

/// How many rows sqlx buffers before SQLite waits for the reader: those of a whole exchange.
const ROWS: usize = 512;

/// How often, and with which pause, to look for an idle connection before a file is closed.
const LAST_TRIES: u32 = 20;
const LAST_PAUSE: Duration = Duration::from_millis(50);

/// After how many steps a reading statement checks whether it has taken too long. They take less than a millisecond.
const STEPS: i32 = 10_000;

const LEARN: &str = "SELECT latest, believed FROM number7_clock";

const NOTE: &str = "
    INSERT INTO number7_clock (id, latest, believed) VALUES (1, ?1, coalesce(?2, ?1))
    ON CONFLICT (id) DO UPDATE SET latest = max(latest, excluded.latest),
        believed = coalesce(?2, believed)
    RETURNING latest";

/// One file. It is opened again if it is deleted or replaced.
pub(super) struct File {
    options: SqliteConnectOptions,
    /// Whether to create missing tables.
    making: Making,
    pub(super) driver: Driver,
    pub(super) clock: Arc<Clock>,
    opened: Mutex<Arc<Opened>>,
    /// Held while the file is opened again.
    reopens: tokio::sync::Mutex<()>,
}

/// The connections to the file that was at the path when they were opened.
struct Opened {
    /// SQLite has one writer at a time, so one connection writes, and operations wait for it in order.
    writer: SqlitePool,
    /// Held by the operation that uses or opens that connection.
    writing: Arc<tokio::sync::Mutex<()>>,
    readers: SqlitePool,
    fair_lock: FairLock,
    place: Place,
    is_replaced: AtomicBool,
}

/// Whether to create missing tables.
#[derive(Clone, Copy)]
pub(super) struct Making {
    pub(super) is_wanted: bool,
    /// Whether the file belongs to the inbox, and not to an app with a pool on it.
    pub(super) is_own_file: bool,
}

impl File {
    pub(super) async fn open(
        options: SqliteConnectOptions,
        making: Making,
        clock: Clock,
    ) -> Result<Self, InboxError> {
        let path = options.get_filename();
        let refused = |text| Err(InboxError::new(InboxErrorKind::Refused, text));
        if is_in_memory(path) {
            return refused("an inbox in memory survives no crash: give it a file");
        }
        if path.to_string_lossy().starts_with("file:") {
            return refused("an inbox needs the path of a file, and not a URI of SQLite's");
        }
        // The process may change its current directory, but the path of the file must not change.
        let path = std::path::absolute(path)
            .map_err(|error| InboxError::new(InboxErrorKind::Unreachable, error))?;
        // Every commit is on the disk when it is confirmed.
        let options = options
            .filename(path)
            .shared_cache(false)
            .immutable(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .row_buffer_size(ROWS)
            .pragma("journal_size_limit", WAL_LIMIT)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        let driver = Driver::start()?;
        let opens = options.clone();
        let opened = store::open(move || {
            let options = opens.clone();
            async move {
                if !making.is_wanted {
                    check(&options).await?;
                }
                Opened::instead_of(None, &options, making).await
            }
        });
        let (opened, noted) = driver.run(opened).await?;
        if let Some((latest, believed)) = noted {
            clock.learn(latest, believed);
        }
        let (opened, reopens) = (Mutex::new(Arc::new(opened)), tokio::sync::Mutex::default());
        Ok(Self { options, making, driver, clock: Arc::new(clock), opened, reopens })
    }

    /// A connection that reads, for as long as an operation may take.
    pub(super) async fn reader(&self) -> Result<PoolConnection<Db>, InboxError> {
        let opened = self.current().await?;
        opened.check()?;
        let mut reader = opened.readers.acquire().await.map_err(|error| match error {
            sqlx::Error::PoolTimedOut => readers_in_use(),
            error => error.into(),
        })?;
        // The caller may be gone. A statement that runs on would keep the -wal from being truncated.
        let until = Instant::now() + STORE_TIMEOUT;
        let is_in_time = move || Instant::now() < until;
        reader.lock_handle().await?.set_progress_handler(STEPS, is_in_time);
        Ok(reader)
    }

    /// Begins a transaction that writes.
    pub(super) async fn begin(&self) -> Result<Writing, InboxError> {
        let opened = self.current().await?;
        let others = || busy("others of this process wait for it as well");
        let writing = timeout(CONNECT_TIMEOUT, Arc::clone(&opened.writing).lock_owned());
        let writing = writing.await.map_err(|_| others())?;
        // Not earlier: acquiring the writer may open it again, and a new connection would use the old `-wal` for the new file.
        opened.check()?;
        // The operation that has the connection waits for SQLite's lock.
        let connection = opened.writer.acquire().await.map_err(|error| match error {
            sqlx::Error::PoolTimedOut => others(),
            error => error.into(),
        })?;
        let fair_lock = opened.fair_lock.acquire().await;
        let mut writing = Writing {
            connection,
            has_ended: false,
            opened,
            now: 0,
            notes: None,
            _fair_lock: fair_lock,
            _writing: writing,
        };
        query("BEGIN IMMEDIATE").execute(&mut *writing).await?;
        // Again, because waiting for the lock may have taken long.
        writing.opened.check()?;
        if let Some(Note { latest, believed }) = self.clock.note() {
            let note = query_as(NOTE).bind(latest).bind(believed);
            let (latest,): (i64,) = note.fetch_one(&mut *writing).await?;
            self.clock.heard_of(latest);
            writing.notes = Some(Arc::clone(&self.clock));
        }
        writing.now = self.clock.millis();
        Ok(writing)
    }

    /// A value that changes with every write: see [`Place::written`].
    pub(super) fn written(&self) -> Option<(SystemTime, u64)> {
        self.opened().place.written()
    }

    /// The connections to the file that is at the path.
    async fn current(&self) -> Result<Arc<Opened>, InboxError> {
        let opened = self.opened();
        if !opened.is_replaced() {
            return Ok(opened);
        }
        let _reopens = self.reopens.lock().await;
        let replaced = self.opened();
        if !replaced.is_replaced() {
            return Ok(replaced);
        }
        let (opened, noted) =
            Opened::instead_of(Some(&replaced), &self.options, self.making).await?;
        if let Some((latest, _)) = noted {
            self.clock.goes_on_from(latest);
        }
        let opened = Arc::new(opened);
        *self.lock() = Arc::clone(&opened);
        tracing::info!(target: "number7", path = %self.path().display(), "the file was opened again");
        Ok(opened)
    }

    fn path(&self) -> &Path {
        self.options.get_filename()
    }

    fn opened(&self) -> Arc<Opened> {
        Arc::clone(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Opened>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn writer(&self) -> SqlitePool {
        self.opened().writer.clone()
    }
}

impl Opened {
    /// Closes a file that was replaced, if there is one, and opens the one at the path. Returns what the new file says about
    /// its clock. Must be called on the driver.
    async fn instead_of(
        replaced: Option<&Self>,
        options: &SqliteConnectOptions,
        making: Making,
    ) -> Result<(Self, Option<(i64, i64)>), InboxError> {
        let path = options.get_filename();
        let at = |error: InboxError| error.at(path.display());
        // One process after the other, because each must see what the ones before it did.
        let fair_lock = FairLock::beside(path);
        let guard = fair_lock.acquire().await;
        if let Some(replaced) = replaced {
            replaced.close().await.map_err(at)?;
        }
        let mut connection = options.connect().await.map_err(|error| at(error.into()))?;
        let has_tables = match making.is_wanted {
            true => migrations::migrate(&mut connection, making.is_own_file).await,
            false => migrations::check(&mut connection).await,
        };
        has_tables.map_err(at)?;
        let pool = |connections, options: SqliteConnectOptions| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(CONNECT_TIMEOUT)
                // A connection to a file cannot break, so it need not be tested.
                .test_before_acquire(false)
                // SQLite keeps the files beside the database as long as a connection is open.
                .idle_timeout(None)
                .max_lifetime(None)
                .connect_lazy_with(options)
        };
        let writer = pool(1, options.clone().pragma("cache_size", CACHE));
        let readers = pool(READERS, options.clone());
        // All connections are opened now, and read once. A connection that is opened later, when the file has been replaced,
        // would use the old `-wal` for the new file.
        let noted = async {
            let mut connections = vec![writer.acquire().await?];
            for _ in 0..READERS {
                connections.push(readers.acquire().await?);
            }
            let mut noted = None;
            for connection in &mut connections {
                noted = query_as(LEARN).fetch_optional(&mut **connection).await?;
            }
            Ok(noted)
        };
        let noted = noted.await.map_err(|error: sqlx::Error| at(error.into()))?;
        let place = Place::of(path);
        let place =
            place.map_err(|error| at(InboxError::new(InboxErrorKind::Unreachable, error)))?;
        // This connection has kept the files in place until now.
        _ = connection.close().await;
        drop(guard);
        let (writing, is_replaced) = (Arc::default(), AtomicBool::new(false));
        Ok((Self { writer, writing, readers, fair_lock, place, is_replaced }, noted))
    }

    /// Fails if these are not the files at the path. This is logged once.
    fn check(&self) -> Result<(), InboxError> {
        if !self.is_replaced()
            && let Some(what) = self.place.changed()
            && !self.is_replaced.swap(true, Ordering::AcqRel)
        {
            // Operations that wait for its connection get none: it would be a new one, to other files.
            drop(self.writer.close());
            let path = self.writer.connect_options();
            tracing::error!(
                target: "number7", path = %path.get_filename().display(),
                "{what} was deleted or replaced while it was open: what is at the path now is opened; what was \
                only in a deleted database is lost. If this process has connections of its own to it, restart it"
            );
        }
        match self.is_replaced() {
            true => {
                let text = "its file was deleted or replaced while it was open";
                Err(InboxError::new(InboxErrorKind::Unreachable, text))
            }
            false => Ok(()),
        }
    }

    fn is_replaced(&self) -> bool {
        self.is_replaced.load(Ordering::Acquire)
    }

    /// Closes all connections. What was committed is first copied from the `-wal` into the database. That saves everything if
    /// only the files beside the database were deleted.
    async fn close(&self) -> Result<(), InboxError> {
        if !self.readers.is_closed() {
            let path = self.writer.connect_options();
            let path = path.get_filename().display();
            if self.place.is_another_database() {
                // A problem with the old database must not hold up the new one.
                if let Err(error) = self.complete().await {
                    tracing::warn!(
                        target: "number7", %path,
                        "the database that was deleted or replaced may lack its last events: {error}"
                    );
                }
            } else if self.place.can_be_completed() {
                self.complete().await?;
            } else {
                tracing::error!(
                    target: "number7", %path,
                    "another process made new files beside the database when they had been deleted: events that \
                    were only in the deleted -wal are lost"
                );
            }
        }
        self.writer.close().await;
        self.readers.close().await;
        self.place.clear();
        Ok(())
    }

    /// Copies what is only in the `-wal` into the database.
    async fn complete(&self) -> Result<(), InboxError> {
        let mut reader = self.idle_reader().await.ok_or_else(readers_in_use)?;
        let copied = query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *reader);
        let (is_busy, all, copied): (bool, i64, i64) = copied.await?;
        // Everything may have been copied even if somebody still reads it.
        if is_busy && (all < 0 || copied < all) {
            return Err(busy("others still use the -wal that has gone"));
        }
        Ok(())
    }

    /// A connection that is already open. A new one would be to another file.
    async fn idle_reader(&self) -> Option<PoolConnection<Db>> {
        for _ in 0..LAST_TRIES {
            let reader = self.readers.try_acquire();
            if reader.is_some() {
                return reader;
            }
            sleep(LAST_PAUSE).await;
        }
        None
    }
}

/// A transaction that writes.
///
/// If it is dropped before it ends, its connection is closed, which also releases SQLite's lock. sqlx would reuse the
/// connection without knowing how the transaction ended: if a commit fails, SQLite may have rolled back or not.
pub(super) struct Writing {
    connection: PoolConnection<Db>,
    has_ended: bool,
    opened: Arc<Opened>,
    /// The time of everything that it writes: milliseconds since the epoch.
    pub(super) now: i64,
    /// The clock, if this transaction wrote its time.
    notes: Option<Arc<Clock>>,
    _fair_lock: Option<FairLockGuard>,
    _writing: OwnedMutexGuard<()>,
}

impl Writing {
    /// Commits. It also fails if the file that was committed to is no longer at the path.
    pub(super) async fn commit(self) -> Result<(), InboxError> {
        self.end(query("COMMIT")).await.map(drop)
    }

    pub(super) async fn roll_back(mut self) -> Result<(), InboxError> {
        self.notes = None;
        self.end(query("ROLLBACK")).await.map(drop)
    }

    /// Runs statements that end with `COMMIT`, and returns their rows.
    pub(super) async fn end(
        mut self,
        last: Query<'static, Db, SqliteArguments>,
    ) -> Result<Vec<SqliteRow>, InboxError> {
        let rows = last.fetch_all(&mut *self).await?;
        self.has_ended = true;
        self.opened.check()?;
        if let Some(clock) = self.notes.take() {
            clock.noted();
        }
        Ok(rows)
    }
}

impl Deref for Writing {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Writing {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if !self.has_ended {
            self.connection.close_on_drop();
        }
    }
}

/// Fails unless there is an inbox in the file. It never changes the file.
async fn check(options: &SqliteConnectOptions) -> Result<(), InboxError> {
    let path = options.get_filename();
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let checked = async {
        let mut connection = options.disable_statement_logging().connect().await?;
        let checked = migrations::check(&mut connection).await;
        _ = connection.close().await;
        checked
    };
    checked.await.map_err(|error: InboxError| error.at(path.display()))
}

fn busy(text: &'static str) -> InboxError {
    InboxError::new(InboxErrorKind::Busy, text)
}

fn readers_in_use() -> InboxError {
    InboxError::new(InboxErrorKind::TooSlow, "all its connections that read are in use")
}

fn is_in_memory(path: &Path) -> bool {
    let path = path.to_string_lossy();
    path.is_empty()
        || path.contains(":memory:")
        || path.contains("mode=memory")
        || path.starts_with("file:sqlx-in-memory")
}
