//! A limited number of connections, which the thread of the inbox drives.

use std::{
    fmt,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use futures_util::TryStreamExt;
use sqlx::{
    ConnectOptions, Connection, Either, Execute, Executor, FromRow, PgConnection, Postgres as Db,
    SqlStr,
    postgres::{PgArguments, PgConnectOptions, PgRow},
    query::Query,
    query_with, raw_sql,
};
use tokio::{
    select,
    sync::{Semaphore, oneshot},
    time::{Instant, sleep, timeout},
};
use tracing::instrument::WithSubscriber;

use super::{fault::Fault, session};
use crate::{
    model::{
        error::{InboxError, InboxErrorKind},
        options::Options,
        outage::LOG_AGAIN,
    },
    store::{CONNECT_TIMEOUT, STORE_TIMEOUT, driver::Driver},
};

/// A connection that was used within this time is assumed to be alive: 1 second. Others are pinged first.
const FRESH: Duration = Duration::from_secs(1);

/// How long a connection may take to answer a ping: 1 second. Then another one is opened.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// How old a connection must be before its refusal may be outdated: 1 second. If a new connection says that the server is
/// read-only, it really is, and the next statements need not open another one.
const YOUNG: Duration = Duration::from_secs(1);

/// How long an unused connection is kept: 10 minutes, as in sqlx's pools.
const IDLE: Duration = Duration::from_secs(600);

/// The same if the server is to sleep: 10 seconds, which is longer than the time between two heartbeats.
const IDLE_IF_IT_SLEEPS: Duration = Duration::from_secs(10);

/// How long a connection is kept: 30 minutes, as in sqlx's pools.
const LIFETIME: Duration = Duration::from_secs(1_800);

/// How often idle connections are checked.
const TIDY_INTERVAL: Duration = Duration::from_secs(60);

/// The pause before the first retry, and the longest one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A limited number of connections to a server.
///
/// They and their operations run on the runtime of the [`Driver`], so a caller whose thread is blocked, or whose runtime has
/// ended, holds up nobody else. A pool of sqlx belongs to the runtime of its user, asks the server before and after each
/// operation, and takes back connections that no longer serve.
#[derive(Clone)]
pub(super) struct Connections(Arc<Pool>);

/// The same for tasks on the runtime of the driver, which must not keep the pool alive.
pub(super) struct WeakConnections(Weak<Pool>);

impl WeakConnections {
    pub(super) fn upgrade(&self) -> Option<Connections> {
        self.0.upgrade().map(Connections)
    }
}

struct Pool {
    driver: Driver,
    server: Arc<Server>,
    most: u32,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Live>>,
}

/// The server behind all connections of an inbox.
pub(super) struct Server {
    options: PgConnectOptions,
    /// The settings of each session.
    session: SqlStr,
    /// Begins a transaction for each statement, if a pooler in transaction mode is in front of the server.
    begin: Option<SqlStr>,
    /// How long an unused connection is kept.
    idle: Duration,
    /// Connections from before this moment are dropped: their server is gone, or does not serve.
    left: Mutex<Option<Instant>>,
    /// Why they were last dropped, and when that was logged.
    said: Mutex<Option<(String, Instant)>>,
}

struct Live {
    connection: PgConnection,
    opened: Instant,
    used: Instant,
}

/// The result of a statement.
#[derive(Default)]
pub(super) struct Answered {
    rows: Vec<PgRow>,
    /// How many rows it changed.
    pub(super) affected: u64,
    is_complete: bool,
    /// Whether it was run before, but that answer was lost.
    pub(super) is_repeated: bool,
}

/// A statement that can be run on several connections.
struct Statement {
    sql: SqlStr,
    arguments: PgArguments,
    /// Whether it may be run again if its answer was lost.
    is_repeatable: bool,
}

impl Connections {
    /// Opens at most `most` connections to the server.
    pub(super) fn new(driver: &Driver, server: &Arc<Server>, most: u32) -> Self {
        let pool = Arc::new(Pool {
            driver: driver.clone(),
            server: Arc::clone(server),
            most,
            places: Arc::new(Semaphore::new(most as usize)),
            idle: Mutex::default(),
        });
        driver.runtime().spawn(tidy(Arc::downgrade(&pool)));
        Self(pool)
    }

    pub(super) fn downgrade(&self) -> WeakConnections {
        WeakConnections(Arc::downgrade(&self.0))
    }

    /// Runs a statement, and returns how many rows it changed. It is run again if its answer was lost.
    pub(super) async fn execute(
        &self,
        statement: Query<'static, Db, PgArguments>,
    ) -> Result<u64, InboxError> {
        Ok(self.run(statement, true).await?.affected)
    }

    /// Runs a statement whose number of changed rows must not be lost.
    pub(super) async fn execute_once(
        &self,
        statement: Query<'static, Db, PgArguments>,
    ) -> Result<u64, InboxError> {
        Ok(self.run(statement, false).await?.affected)
    }

    /// Runs a statement, and reads its rows. It is run again if its answer was lost.
    pub(super) async fn fetch_all<R: for<'r> FromRow<'r, PgRow>>(
        &self,
        statement: Query<'static, Db, PgArguments>,
    ) -> Result<Vec<R>, InboxError> {
        self.run(statement, true).await?.read()
    }

    /// Runs a statement whose rows must not be lost.
    pub(super) async fn fetch_all_once<R: for<'r> FromRow<'r, PgRow>>(
        &self,
        statement: Query<'static, Db, PgArguments>,
    ) -> Result<Vec<R>, InboxError> {
        self.run(statement, false).await?.read()
    }

    /// Runs a statement that returns one row. It is run again if its answer was lost.
    pub(super) async fn fetch_one<R: for<'r> FromRow<'r, PgRow>>(
        &self,
        statement: Query<'static, Db, PgArguments>,
    ) -> Result<R, InboxError> {
        let mut rows = self.fetch_all(statement).await?;
        Ok(rows.pop().ok_or(sqlx::Error::RowNotFound)?)
    }

    /// Runs a statement.
    ///
    /// Once begun, it continues even if its caller is gone. Until then its connection counts as in use, because the server is
    /// busy with it; the server limits that time. Otherwise each caller that left early would leave a session behind, and the
    /// next caller would open another one.
    pub(super) async fn run(
        &self,
        mut statement: Query<'static, Db, PgArguments>,
        is_repeatable: bool,
    ) -> Result<Answered, InboxError> {
        let arguments = statement.take_arguments().map_err(sqlx::Error::Encode)?;
        let arguments = arguments.unwrap_or_default();
        let statement = Statement { arguments, sql: statement.sql(), is_repeatable };
        let (pool, begun) = (Arc::clone(&self.0), Instant::now());
        let (mut caller, answer) = oneshot::channel();
        let operation = async move {
            let place = timeout(CONNECT_TIMEOUT, pool.places.acquire());
            let place = select! {
                biased;
                () = caller.closed() => return,
                place = place => place,
            };
            let Ok(Ok(_place)) = place else {
                let text = format!("no connection was free in time, of {}", pool.most);
                _ = caller.send(Err(InboxError::new(InboxErrorKind::TooSlow, text)));
                return;
            };
            let mut answer = pin!(pool.answer(&statement));
            select! {
                biased;
                answer = &mut answer => drop(caller.send(answer)),
                () = sleep(STORE_TIMEOUT.saturating_sub(begun.elapsed())) => {
                    _ = caller.send(Err(InboxErrorKind::TooSlow.into()));
                    _ = answer.await;
                }
            }
        };
        self.0.driver.runtime().spawn(operation.with_current_subscriber());
        // It fails only on a panic.
        answer.await.unwrap_or_else(|_| Err(InboxErrorKind::Unreachable.into()))
    }
}

impl Server {
    pub(super) fn new(connect: PgConnectOptions, is_pooled: bool, options: &Options) -> Self {
        let timeout = options.statement_timeout;
        Self {
            options: connect,
            session: session::set(timeout),
            begin: is_pooled.then(|| session::begin(timeout)),
            idle: options.polling.sleep_after.map_or(IDLE, |_| IDLE_IF_IT_SLEEPS),
            left: Mutex::default(),
            said: Mutex::default(),
        }
    }

    /// Drops all current connections. Those in use are not taken back.
    fn leave(&self) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn has_left(&self, connection: &Live) -> bool {
        let left = *self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.is_some_and(|left| connection.opened <= left)
    }

    /// Opens a connection. If the server is starting, or away for a moment, it tries again.
    async fn connect(&self) -> Result<Live, InboxError> {
        let (begun, mut pause) = (Instant::now(), FIRST_PAUSE);
        let mut last = None;
        loop {
            // If connections are dropped meanwhile, this one is dropped as well.
            let opened = Instant::now();
            let left = CONNECT_TIMEOUT.saturating_sub(begun.elapsed());
            let error = match timeout(left, self.open()).await {
                Ok(Ok(connection)) => return Ok(Live { connection, opened, used: opened }),
                Ok(Err(error)) => InboxError::from(error),
                Err(_) => {
                    let text = format!("no connection within {CONNECT_TIMEOUT:?}");
                    let late = InboxError::new(InboxErrorKind::Unreachable, text);
                    return Err(last.unwrap_or(late));
                }
            };
            let is_over = begun.elapsed() + pause >= CONNECT_TIMEOUT;
            if is_over || error.kind() != InboxErrorKind::Unreachable {
                return Err(error);
            }
            last = Some(error);
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn open(&self) -> Result<PgConnection, sqlx::Error> {
        let mut connection = self.options.connect().await?;
        if self.begin.is_none() {
            connection.execute(raw_sql(self.session.clone())).await?;
        }
        Ok(connection)
    }
}

impl Pool {
    /// Runs a statement, and tries another connection if the first one does not serve.
    async fn answer(&self, statement: &Statement) -> Result<Answered, InboxError> {
        let (begun, mut pause) = (Instant::now(), FIRST_PAUSE);
        let (mut live, mut is_first, mut is_repeated) = (self.take().await?, true, false);
        loop {
            let mut answered = Answered { is_repeated, ..Answered::default() };
            let run = statement.run(&self.server, &mut live.connection, &mut answered);
            let error = match timeout(STORE_TIMEOUT, run).await {
                Ok(Ok(())) => {
                    self.give_back(live);
                    return Ok(answered);
                }
                Ok(Err(error)) => error,
                // A live server would have given up before.
                Err(_) => {
                    self.leave(&"a statement was not answered");
                    return Err(InboxErrorKind::TooSlow.into());
                }
            };
            let is_young = live.opened.elapsed() < YOUNG;
            match Fault::of(&error) {
                Fault::Conflict if begun.elapsed() < CONNECT_TIMEOUT => {
                    sleep(jittered(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
                Fault::OfSession | Fault::OfServer if is_young => self.give_back(live),
                Fault::Conflict | Fault::OfStatement => self.give_back(live),
                Fault::OfSession if is_first => {
                    drop(live);
                    (live, is_first) = (self.server.connect().await?, false);
                    continue;
                }
                Fault::OfServer | Fault::Ended if is_first && !answered.is_complete => {
                    drop(live);
                    self.leave(&error);
                    (live, is_first) = (self.server.connect().await?, false);
                    continue;
                }
                Fault::Ended | Fault::Broken
                    if is_first && statement.is_repeatable && begun.elapsed() < CONNECT_TIMEOUT =>
                {
                    drop(live);
                    self.leave(&error);
                    live = self.server.connect().await?;
                    (is_first, is_repeated) = (false, true);
                    continue;
                }
                Fault::OfSession => {}
                Fault::OfServer | Fault::Ended | Fault::Broken => self.leave(&error),
            }
            return Err(error.into());
        }
    }

    /// A connection that serves, as far as is known.
    async fn take(&self) -> Result<Live, InboxError> {
        loop {
            let idle = self.idle().pop();
            let Some(mut live) = idle else { return self.server.connect().await };
            if self.server.has_left(&live) || live.opened.elapsed() > LIFETIME {
                continue;
            }
            if live.used.elapsed() < FRESH {
                return Ok(live);
            }
            match timeout(PING_TIMEOUT, live.connection.ping()).await {
                Ok(Ok(())) => return Ok(live),
                // Its idle time may have been longer than the server or a pooler allows.
                _ => self.server.leave(),
            }
        }
    }

    fn give_back(&self, mut live: Live) {
        live.used = Instant::now();
        if !self.server.has_left(&live) {
            self.idle().push(live);
        }
    }

    /// Drops all connections. If several operations notice the problem together, it is logged once.
    fn leave(&self, why: &dyn fmt::Display) {
        self.server.leave();
        self.idle().clear();
        let (why, now) = (why.to_string(), Instant::now());
        let mut said = self.server.said.lock().unwrap_or_else(PoisonError::into_inner);
        let is_said = |(text, at): &(String, Instant)| *text == why && now - *at < LOG_AGAIN;
        if !said.as_ref().is_some_and(is_said) {
            tracing::warn!(
                target: "number7", "the inbox leaves its connections to PostgreSQL, and opens others: {why}"
            );
            *said = Some((why, now));
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Live>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answered {
    fn read<R: for<'r> FromRow<'r, PgRow>>(&self) -> Result<Vec<R>, InboxError> {
        Ok(self.rows.iter().map(R::from_row).collect::<Result<_, _>>()?)
    }
}

impl Statement {
    async fn run(
        &self,
        server: &Server,
        connection: &mut PgConnection,
        answered: &mut Answered,
    ) -> Result<(), sqlx::Error> {
        let Some(begin) = &server.begin else {
            return self.run_in(connection, true, answered).await;
        };
        // The next statement may be run in another session, so its settings and the prepared statement are only for
        // this transaction.
        connection.execute(raw_sql(begin.clone())).await?;
        match self.run_in(connection, false, answered).await {
            Ok(()) => connection.execute(raw_sql("COMMIT")).await.map(drop),
            Err(error) => {
                // If that fails, the next statement notices.
                _ = connection.execute(raw_sql("ROLLBACK")).await;
                Err(error)
            }
        }
    }

    async fn run_in(
        &self,
        connection: &mut PgConnection,
        is_prepared: bool,
        answered: &mut Answered,
    ) -> Result<(), sqlx::Error> {
        let query = query_with(self.sql.clone(), self.arguments.clone()).persistent(is_prepared);
        let mut answer = connection.fetch_many(query);
        while let Some(part) = answer.try_next().await? {
            match part {
                Either::Left(done) => {
                    answered.affected = done.rows_affected();
                    answered.is_complete = true;
                }
                Either::Right(row) => answered.rows.push(row),
            }
        }
        Ok(())
    }
}

/// Closes connections that were not used for long.
async fn tidy(pool: Weak<Pool>) {
    loop {
        let Some(idle) = pool.upgrade().map(|pool| pool.server.idle) else { return };
        sleep(idle.min(TIDY_INTERVAL)).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.idle().retain(|live| live.used.elapsed() < idle && !pool.server.has_left(live));
    }
}

/// Between half and all of a pause, so that statements that collided do not collide again.
fn jittered(pause: Duration) -> Duration {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let part = f64::from(nanos.unwrap_or_default().subsec_nanos() % 1_000) / 1_000.0;
    pause.mul_f64(0.5 + part / 2.0)
}
