//! A bounded number of connections, which the thread of the inbox drives.

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

/// A connection that was used within this time is taken to be alive: 1 second. Others are asked first.
const FRESH: Duration = Duration::from_secs(1);

/// How long a connection may need to say that it is alive: 1 second. Then another one is opened.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// How old a connection must be for its refusal to be the past's: 1 second. If one that was just opened says
/// that the server is read-only, then so it is, and each further statement need not open another one.
const YOUNG: Duration = Duration::from_secs(1);

/// How long a connection is kept that nobody uses: 10 minutes, as long as by sqlx's pools.
const IDLE: Duration = Duration::from_secs(600);

/// The same if the server is to sleep: 10 seconds, which is longer than from one heartbeat to the next.
const IDLE_IF_IT_SLEEPS: Duration = Duration::from_secs(10);

/// How long a connection is kept: 30 minutes, as long as by sqlx's pools.
const LIFETIME: Duration = Duration::from_secs(1_800);

/// How often idle connections are looked at.
const TIDY_INTERVAL: Duration = Duration::from_secs(60);

/// The pauses before something is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A bounded number of connections to a server.
///
/// They live on the runtime of the [`Driver`], and so does each operation: a caller whose thread is blocked, or
/// whose runtime has ended, holds up nobody else. A pool of sqlx' own belongs to its user's runtime, asks the
/// server before and after each operation, and takes connections back that will not serve.
#[derive(Clone)]
pub(super) struct Connections(Arc<Pool>);

/// The same, for what lives on the runtime of the driver, and must not keep it.
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
    /// What is set for each session.
    session: SqlStr,
    /// What begins a transaction of each statement, if a pooler in transaction mode is in front of it.
    begin: Option<SqlStr>,
    /// How long a connection is kept that nobody uses.
    idle: Duration,
    /// Connections from before this moment are to a server that has gone, or will not serve.
    left: Mutex<Option<Instant>>,
    /// Why they were last left, as the log has it.
    said: Mutex<Option<(String, Instant)>>,
}

struct Live {
    connection: PgConnection,
    opened: Instant,
    used: Instant,
}

/// What a statement did.
#[derive(Default)]
pub(super) struct Answered {
    rows: Vec<PgRow>,
    /// How many rows it changed.
    pub(super) affected: u64,
    is_complete: bool,
    /// It was run before, and the answer to that was lost.
    pub(super) is_repeated: bool,
}

/// It can be run on several connections.
struct Statement {
    sql: SqlStr,
    arguments: PgArguments,
    /// Whether it may be run again if its answer was lost.
    is_repeatable: bool,
}

impl Connections {
    /// At most so many to a server.
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

    /// Runs a statement, and says how many rows it changed. It is run again if its answer was lost.
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

    /// Runs a statement that has one row. It is run again if its answer was lost.
    pub(super) async fn fetch_one<R: for<'r> FromRow<'r, PgRow>>(
        &self,
        statement: Query<'static, Db, PgArguments>,
    ) -> Result<R, InboxError> {
        let mut rows = self.fetch_all(statement).await?;
        Ok(rows.pop().ok_or(sqlx::Error::RowNotFound)?)
    }

    /// Runs a statement.
    ///
    /// Once begun, it goes on even if its caller is gone: the connection keeps its place while the server is
    /// busy with it, which the server limits. Otherwise each caller that left early would leave a session
    /// behind, and the next one would open another.
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

    /// Leaves all connections that there are. Those that are busy are not taken back. Says when it did so
    /// last.
    fn leave(&self) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn has_left(&self, connection: &Live) -> bool {
        let left = *self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.is_some_and(|left| connection.opened <= left)
    }

    /// Opens a connection. A server that is starting, or away for a moment, is tried again.
    async fn connect(&self) -> Result<Live, InboxError> {
        let (begun, mut pause) = (Instant::now(), FIRST_PAUSE);
        let mut last = None;
        loop {
            // If it is left meanwhile, this one is left as well.
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
    /// Runs a statement, on another connection if the first one will not serve.
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
                // A server that is there would have given up before.
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

    /// A connection that serves, as far as one can tell.
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
                // It may have been idle for longer than the server or a pooler allows.
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

    /// Leaves all connections. The log has one line for all operations that find it out together.
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
        // The next statement may be run in another session, so what is set and prepared is for this one alone.
        connection.execute(raw_sql(begin.clone())).await?;
        match self.run_in(connection, false, answered).await {
            Ok(()) => connection.execute(raw_sql("COMMIT")).await.map(drop),
            Err(error) => {
                // If that fails, the next statement finds it out.
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

/// Closes what nobody has used for long.
async fn tidy(pool: Weak<Pool>) {
    loop {
        let Some(idle) = pool.upgrade().map(|pool| pool.server.idle) else { return };
        sleep(idle.min(TIDY_INTERVAL)).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.idle().retain(|live| live.used.elapsed() < idle && !pool.server.has_left(live));
    }
}

/// Between half and all of a pause, so that those which collided do not meet again.
fn jittered(pause: Duration) -> Duration {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let part = f64::from(nanos.unwrap_or_default().subsec_nanos() % 1_000) / 1_000.0;
    pause.mul_f64(0.5 + part / 2.0)
}
