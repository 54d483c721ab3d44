//! Opens an inbox on a server: what cannot serve is refused, and the tables are made.

use std::future::Future;

use apalis_postgres::PostgresStorage;
use sqlx::{
    ConnectOptions, PgConnection, postgres::PgConnectOptions, query_as, query_scalar, raw_sql,
};

use super::{expected, session};
use crate::{
    InboxError, InboxErrorKind,
    engine::{self, in_time},
};

/// Serves the sweep, dead letters and suspects; apalis has no index for them. Made once, by one process;
/// it takes no lock if it exists already.
const INDEX: &str = "
    DO $$ BEGIN
        IF to_regclass('apalis.idx_number7_finished') IS NULL THEN
            PERFORM pg_advisory_xact_lock(hashtext('apalis.idx_number7_finished'));
            CREATE INDEX IF NOT EXISTS idx_number7_finished
                ON apalis.jobs (job_type, status, done_at)
                WHERE status IN ('Done', 'Failed', 'Killed');
        END IF;
    END $$";

/// Checks the server, and makes what is missing.
///
/// All of it takes no longer than an operation, unless there is something to make: tables may be large, and
/// another process may be at it.
pub(super) async fn open(options: &PgConnectOptions) -> Result<(), InboxError> {
    let (mut connection, is_complete) = engine::open(|| look(options)).await?;
    if !is_complete {
        session::be_patient(&mut connection).await?;
        let mut migrations = PostgresStorage::migrations();
        migrations.set_ignore_missing(true).run_direct(None, &mut connection, false).await?;
        raw_sql(INDEX).execute(&mut connection).await?;
        raw_sql(expected::TABLES).execute(&mut connection).await?;
        in_time(refuse_hidden_extension(&mut connection)).await?;
    }
    Ok(())
}

/// Whether there is an inbox in a database. It changes nothing.
pub(super) async fn is_in(options: &PgConnectOptions) -> Result<bool, InboxError> {
    let look = async || {
        let mut connection = options.connect().await?;
        let is_in = "SELECT to_regclass('apalis.jobs') IS NOT NULL";
        Ok(query_scalar(is_in).fetch_one(&mut connection).await?)
    };
    engine::open(look).await
}

/// A connection, and whether everything is there.
async fn look(options: &PgConnectOptions) -> Result<(PgConnection, bool), InboxError> {
    let connect = async || Ok(options.connect().await?);
    let mut connection = connect().await?;
    refuse_pooler(&mut connection, connect).await?;
    session::set(&mut connection).await?;
    refuse_encoding(&mut connection).await?;
    let is_complete = is_complete(&mut connection).await?;
    if is_complete {
        refuse_hidden_extension(&mut connection).await?;
    }
    warn_if_not_durable(&mut connection).await?;
    Ok((connection, is_complete))
}

/// Whether all tables and indexes are there. Then nothing is made, so that nothing is locked or logged.
async fn is_complete(connection: &mut PgConnection) -> Result<bool, InboxError> {
    let exist = "SELECT bool_and(to_regclass('apalis.' || name) IS NOT NULL)
        FROM unnest(ARRAY['_sqlx_migrations', 'idx_number7_finished', 'number7_leaders']) AS name";
    if !query_scalar::<_, bool>(exist).fetch_one(&mut *connection).await? {
        return Ok(false);
    }
    let applied = "SELECT version, checksum FROM apalis._sqlx_migrations WHERE success";
    let applied: Vec<(i64, Vec<u8>)> = query_as(applied).fetch_all(connection).await?;
    let is_applied = |migration: &sqlx::migrate::Migration| {
        let version = migration.version;
        applied
            .iter()
            .any(|(applied, checksum)| *applied == version && **checksum == *migration.checksum)
    };
    Ok(PostgresStorage::migrations().iter().all(is_applied))
}

/// A pooler in transaction mode may run each statement in another session, so prepared statements
/// are missing and settings hit others. Its sign is that two idle clients share one session.
async fn refuse_pooler<F>(
    first: &mut PgConnection,
    connect: impl Fn() -> F,
) -> Result<(), InboxError>
where
    F: Future<Output = Result<PgConnection, InboxError>>,
{
    const TRIES: usize = 3;
    let mut second = connect().await?;
    let (one, two) = (backend(first).await?, backend(&mut second).await?);
    for _ in 0..TRIES {
        if one == two || backend(first).await? != one || backend(&mut second).await? != two {
            let text = "a pooler in transaction mode is in front of PostgreSQL: use its session \
                mode, or connect to the server itself";
            return Err(InboxError::new(InboxErrorKind::Refused, text));
        }
    }
    Ok(())
}

async fn backend(connection: &mut PgConnection) -> Result<i32, InboxError> {
    // Not a prepared statement: poolers in transaction mode refuse those, and this must still tell.
    let row = raw_sql("SELECT pg_backend_pid()").fetch_one(connection).await?;
    Ok(sqlx::Row::try_get(&row, 0)?)
}

/// Events are UTF-8. A database of another encoding would accept most of them, and refuse the rest
/// forever.
async fn refuse_encoding(connection: &mut PgConnection) -> Result<(), InboxError> {
    let encoding: String = query_scalar("SHOW server_encoding").fetch_one(connection).await?;
    if encoding == "UTF8" {
        return Ok(());
    }
    let text = format!("the encoding of the database is {encoding}, and has to be UTF8");
    Err(InboxError::new(InboxErrorKind::Refused, text))
}

/// apalis keeps metadata in an `hstore`, and finds that as the search path of the session says.
async fn refuse_hidden_extension(connection: &mut PgConnection) -> Result<(), InboxError> {
    let found: bool =
        query_scalar("SELECT to_regtype('hstore') IS NOT NULL").fetch_one(connection).await?;
    if found {
        return Ok(());
    }
    let text = "the extension hstore is in a schema that this role may not use";
    Err(InboxError::new(InboxErrorKind::Refused, text))
}

async fn warn_if_not_durable(connection: &mut PgConnection) -> Result<(), InboxError> {
    let fsync: String = query_scalar("SHOW fsync").fetch_one(connection).await?;
    if fsync == "off" {
        tracing::warn!(
            target: "number7", fsync,
            "PostgreSQL may lose accepted events when the machine crashes: turn this setting on"
        );
    }
    Ok(())
}
