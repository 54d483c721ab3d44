//! The settings of our sessions. Our statements need them, whatever an operator has set for the database, the role,
//! or the server.

use std::time::Duration;

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use crate::model::options::DEFAULT_STATEMENT_TIMEOUT;

/// Sets what our statements and promises need, in one round trip: for the session, or for a transaction.
///
/// What an operator sets, for example by `ALTER DATABASE … SET`, is meant for other programs:
///
/// - Isolation: above `read committed`, two deliveries of one event conflict, and one of them fails.
/// - Timeouts: the server gives up before the client does. Otherwise a statement that waits for a lock would continue there,
///   and hold its connection. A shorter limit would fail statements that only wait for their turn.
/// - Plans: rows are found by an index, whatever the server believes about the size of a table: an inbox that was empty when
///   it last looked may be long by now. An index is read in its order, because only then are dead entries removed. The
///   estimated costs of such plans are so high that the server would compile each of them.
/// - `synchronous_commit`: what is confirmed is on the disk. A stronger or weaker setting for replicas stays.
///
/// `default_transaction_read_only` stays as it is, because it protects a full or retired database. So does
/// `search_path`, which triggers may need.
fn settings(is_local: bool, timeout: Duration) -> String {
    let (limit, of_transaction) = (timeout.as_millis(), DEFAULT_STATEMENT_TIMEOUT.as_millis());
    format!(
        "SELECT pg_catalog.set_config(name, value, {is_local}) FROM (VALUES
            ('default_transaction_isolation', 'read committed'),
            ('statement_timeout', '{limit}'), ('idle_in_transaction_session_timeout', '{of_transaction}'),
            ('lock_timeout', '0'), ('transaction_timeout', '0'),
            ('enable_seqscan', 'off'), ('enable_bitmapscan', 'off'),
            ('enable_hashjoin', 'off'), ('enable_mergejoin', 'off'),
            ('enable_nestloop', 'on'), ('enable_indexscan', 'on'), ('enable_indexonlyscan', 'on'),
            ('enable_sort', 'on'), ('jit', 'off'), ('plan_cache_mode', 'auto'),
            ('synchronous_commit', CASE current_setting('synchronous_commit')
                WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END)
        ) AS wanted (name, value)
        WHERE current_setting(name, true) IS NOT NULL"
    )
}

/// The settings for a session.
pub(super) fn set(timeout: Duration) -> SqlStr {
    AssertSqlSafe(settings(false, timeout)).into_sql_str()
}

/// Begins a transaction of one statement, if the next one may be run in another session.
pub(super) fn begin(timeout: Duration) -> SqlStr {
    let begin = format!("BEGIN ISOLATION LEVEL READ COMMITTED; {}", settings(true, timeout));
    AssertSqlSafe(begin).into_sql_str()
}
