//! A bounded number of connections, even if their users go away.

use futures_util::future::BoxFuture;
use sqlx::{
    AssertSqlSafe, Executor, PgConnection, PgPool, Postgres as Db,
    pool::PoolConnection,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions},
    query::Query,
    raw_sql,
};

use tokio::time::timeout;

use crate::{
    InboxError, InboxErrorKind,
    engine::{CONNECT_TIMEOUT, STORE_TIMEOUT, in_time},
};

/// How many connections acceptance has: 10, as many as sqlx defaults to.
const ACCEPTING: u32 = 10;

/// How many connections workers have: one to claim and record events, and one to renew a lease meanwhile.
const WORKING: u32 = 2;

#[derive(Clone)]
pub(super) struct Connections(PgPool);

impl Connections {
    pub(super) fn accepting(options: &PgConnectOptions) -> Self {
        Self(pool(options, ACCEPTING))
    }

    pub(super) fn working(options: &PgConnectOptions) -> Self {
        Self(pool(options, WORKING))
    }

    pub(super) fn pool(&self) -> &PgPool {
        &self.0
    }

    /// Runs an operation on a connection.
    ///
    /// Once begun, it goes on even if its caller is gone: the connection keeps its place in the pool while
    /// the server is busy with it, which the server limits. Otherwise each caller that left early would
    /// leave a session behind, and the next one would open another.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: impl for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, InboxError>>
        + Send
        + 'static,
    ) -> Result<T, InboxError> {
        in_time(async {
            let mut connection = Checkout(Some(self.0.acquire().await?));
            let running = tokio::spawn(in_time(async move {
                let answer = operation(connection.get()?).await;
                connection.check_in();
                answer
            }));
            // It fails only on a panic or without a runtime.
            running.await.unwrap_or_else(|_| Err(InboxErrorKind::Unreachable.into()))
        })
        .await
    }

    /// Runs a statement, and says how many rows it changed.
    pub(super) async fn execute(
        &self,
        statement: Query<'static, Db, PgArguments>,
    ) -> Result<u64, InboxError> {
        self.run(|connection| {
            Box::pin(async { Ok(statement.execute(connection).await?.rows_affected()) })
        })
        .await
    }
}

fn pool(options: &PgConnectOptions, connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(CONNECT_TIMEOUT)
        // The server gives up before the client does: a statement that waits for a lock would go on
        // there, and hold its connection. And it finds rows by an index, whatever it thinks of the
        // size of a table: a queue that was empty when it last looked may be long by now.
        .after_connect(|connection, _| {
            let limit = STORE_TIMEOUT.as_millis() - 500;
            let set = AssertSqlSafe(format!(
                "SET statement_timeout = {limit};
                SET idle_in_transaction_session_timeout = {limit};
                SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off"
            ));
            Box::pin(async { connection.execute(raw_sql(set)).await.map(drop) })
        })
        .connect_lazy_with(options.clone())
}

/// A connection that goes back to the pool only after an answer. If the network swallows the
/// answer, it is closed; otherwise it would keep its place for ever.
struct Checkout(Option<PoolConnection<Db>>);

impl Checkout {
    fn get(&mut self) -> Result<&mut PgConnection, InboxError> {
        Ok(self.0.as_mut().ok_or(sqlx::Error::PoolClosed)?)
    }

    /// The pool asks the server once more before it takes a connection back, and would wait for
    /// ever if the network swallows that. Then the connection is closed, and its place is free.
    fn check_in(mut self) {
        if let Some(mut connection) = self.0.take() {
            tokio::spawn(timeout(STORE_TIMEOUT, async move { connection.return_to_pool().await }));
        }
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}
