//! Opens an inbox on a server: refuses servers that do not fit, and creates the tables.

use sqlx::{ConnectOptions, Executor, PgConnection, postgres::PgConnectOptions, raw_sql};

use super::{
    migrations::{self, get},
    session,
};
use crate::{
    model::{
        error::{InboxError, InboxErrorKind},
        options::{DEFAULT_STATEMENT_TIMEOUT, Options},
    },
    store,
};

/// What is known about a server.
struct Found {
    connection: PgConnection,
    /// Whether a pooler in transaction mode is in front of it.
    is_pooled: bool,
    version: i32,
}

/// Checks the server, and creates what is missing. Returns whether a pooler in transaction mode is in front of it.
///
/// It takes no longer than one operation, unless tables have to be changed: they may be large, and another process
/// may be changing them.
pub(super) async fn open(
    connect: &PgConnectOptions,
    options: &Options,
) -> Result<bool, InboxError> {
    let schema = &*options.schema;
    let mut found = store::open(|| look(connect, schema)).await?;
    if migrations::is_older(found.version, schema)? {
        if !options.migrate {
            return Err(migrations::too_old(found.version, schema));
        }
        migrations::migrate(&mut found.connection, schema).await?;
    }
    Ok(found.is_pooled)
}

async fn look(connect: &PgConnectOptions, schema: &str) -> Result<Found, InboxError> {
    let mut connection = connect.connect().await?;
    let is_pooled = is_pooled(&mut connection, connect).await?;
    match is_pooled {
        true => refuse_statement_mode(&mut connection).await?,
        false => {
            let set = session::set(DEFAULT_STATEMENT_TIMEOUT);
            _ = connection.execute(raw_sql(set)).await?;
        }
    }
    refuse_encoding(&mut connection).await?;
    warn_if_not_durable(&mut connection).await?;
    let version = migrations::version(&mut connection, schema).await?;
    Ok(Found { connection, is_pooled, version })
}

/// A pooler in transaction mode may run each transaction in another session. So prepared statements are missing, and settings
/// apply to other clients. It is recognized by two idle clients that share one session.
async fn is_pooled(
    first: &mut PgConnection,
    connect: &PgConnectOptions,
) -> Result<bool, InboxError> {
    const TRIES: usize = 3;
    let mut second = connect.connect().await?;
    let (one, two) = (backend(first).await?, backend(&mut second).await?);
    for _ in 0..TRIES {
        if one == two || backend(first).await? != one || backend(&mut second).await? != two {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A pooler in statement mode ends the session of the client that begins a transaction.
async fn refuse_statement_mode(connection: &mut PgConnection) -> Result<(), InboxError> {
    for statement in ["BEGIN", "COMMIT"] {
        if let Err(error) = connection.execute(raw_sql(statement)).await {
            let text = format!(
                "the pooler in front of PostgreSQL allows no transactions: use its transaction or session \
                 mode: {error}"
            );
            return Err(InboxError::new(InboxErrorKind::Refused, text));
        }
    }
    Ok(())
}

async fn backend(connection: &mut PgConnection) -> Result<i32, InboxError> {
    get(connection, "SELECT pg_backend_pid()".to_owned()).await
}

/// Events are UTF-8. A database of another encoding would accept most of them, and refuse the rest
/// forever.
async fn refuse_encoding(connection: &mut PgConnection) -> Result<(), InboxError> {
    let encoding: String = get(connection, "SHOW server_encoding".to_owned()).await?;
    if encoding == "UTF8" {
        return Ok(());
    }
    let text = format!("the encoding of the database is {encoding}, and has to be UTF8");
    Err(InboxError::new(InboxErrorKind::Refused, text))
}

async fn warn_if_not_durable(connection: &mut PgConnection) -> Result<(), InboxError> {
    let fsync: String = get(connection, "SHOW fsync".to_owned()).await?;
    if fsync == "off" {
        tracing::warn!(
            target: "number7", fsync,
            "PostgreSQL may lose accepted events when the machine crashes: turn this setting on"
        );
    }
    Ok(())
}
