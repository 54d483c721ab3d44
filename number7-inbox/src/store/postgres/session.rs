//! What is set in each session, so that it serves whatever an operator has set for the database, the role, or
//! the server.

use sqlx::{AssertSqlSafe, Executor, PgConnection, raw_sql};

use crate::engine::STORE_TIMEOUT;

/// Sets what our statements and our promises need, in one round trip.
///
/// What an operator sets by `ALTER DATABASE … SET` and the like is meant for other programs:
///
/// - Isolation: at more than `read committed` two deliveries of one event conflict, and one of them fails.
/// - Timeouts: the server gives up before the client does. A statement that waits for a lock would go on
///   there, and hold its connection. A shorter limit would fail statements that only wait for their turn.
/// - Plans: rows are found by an index, whatever the server thinks of the size of a table: a queue that was
///   empty when it last looked may be long by now. The costs of such plans look so high that the server would
///   compile each of them.
/// - `synchronous_commit`: what is confirmed is on the disk. A stronger or weaker setting for replicas stays.
/// - `search_path`: the type `hstore` may be in any schema. What the path has comes first, because triggers
///   may need it.
///
/// `default_transaction_read_only` stays as it is: it is how a full or retired database is protected.
pub(super) async fn set(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let limit = STORE_TIMEOUT.as_millis() - 500;
    let set = format!(
        "SET default_transaction_isolation = 'read committed';
        SET statement_timeout = {limit}; SET idle_in_transaction_session_timeout = {limit};
        SET lock_timeout = 0;
        SELECT set_config('transaction_timeout', '0', false)
            WHERE current_setting('transaction_timeout', true) IS NOT NULL;
        SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
        SET enable_nestloop = on; SET enable_indexscan = on; SET enable_indexonlyscan = on;
        SET enable_bitmapscan = on; SET enable_sort = on; SET jit = off; SET plan_cache_mode = auto;
        SELECT set_config('synchronous_commit', 'on', false)
            WHERE current_setting('synchronous_commit') = 'off';
        SELECT set_config('search_path', concat_ws(', ', nullif(current_setting('search_path'), ''),
                quote_ident(nspname)), false)
            FROM pg_catalog.pg_extension JOIN pg_catalog.pg_namespace AS schema
                ON schema.oid = extnamespace
            WHERE extname = 'hstore' AND to_regtype('hstore') IS NULL"
    );
    connection.execute(raw_sql(AssertSqlSafe(set))).await.map(drop)
}

/// Changes the session of a connection that makes the tables. That may take as long as it has to, because there
/// may be much to change, and another process may be at it. And the log does not need to know what exists.
pub(super) async fn be_patient(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let set = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;
        SET client_min_messages = warning";
    connection.execute(raw_sql(set)).await.map(drop)
}
