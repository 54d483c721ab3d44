//! The tables and their migrations, which are numbered from 1, and only go forward.

use std::fmt::Write;

use sqlx::{AssertSqlSafe, PgConnection, Row, raw_sql};

use super::statements::in_schema;
use crate::model::error::{InboxError, InboxErrorKind};

const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001_tables.sql")];

/// The version that the statements need.
const VERSION: i32 = MIGRATIONS.len() as i32;

/// The version of the tables in a schema: 0 if there are none.
pub(super) async fn version(
    connection: &mut PgConnection,
    schema: &str,
) -> Result<i32, InboxError> {
    // Not by `to_regclass`, which may not see what another process has just created.
    let exists = format!(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_tables
            WHERE schemaname = {} AND tablename = 'schema_version')",
        literal(schema)
    );
    if !get::<bool>(connection, exists).await? {
        return Ok(0);
    }
    let version = "SELECT coalesce(max(version), 0) FROM number7.schema_version";
    get(connection, in_schema(version, schema)).await
}

/// Whether a version must be upgraded. A version that is newer than this build is refused.
pub(super) fn is_older(version: i32, schema: &str) -> Result<bool, InboxError> {
    if version > VERSION {
        let text = format!(
            "the tables in the schema {schema} have version {version}, and this build needs \
             version {VERSION}: use a newer build"
        );
        return Err(InboxError::new(InboxErrorKind::Schema, text));
    }
    Ok(version < VERSION)
}

/// The error for an older version that must not be upgraded now.
pub(super) fn too_old(version: i32, schema: &str) -> InboxError {
    let there_is = match version {
        0 => format!("there is no inbox in the schema {schema}"),
        version => format!("the tables in the schema {schema} have version {version}"),
    };
    let text =
        format!("{there_is}, and this build needs version {VERSION}: run `number7 inbox migrate`");
    InboxError::new(InboxErrorKind::Schema, text)
}

/// Creates what is missing, in one transaction. Only one process does so at a time. There is no time limit, because
/// there may be much to change.
pub(super) async fn migrate(connection: &mut PgConnection, schema: &str) -> Result<(), InboxError> {
    let name = literal(schema);
    let begin = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;
        SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL client_min_messages = warning";
    execute(connection, begin.to_owned()).await?;
    let lock = format!(
        "SELECT pg_advisory_xact_lock(hashtext('number7 inbox: migrations'), hashtext({name}))"
    );
    execute(connection, lock).await?;
    let version = version(connection, schema).await?;
    if is_older(version, schema)? {
        // A role that may not create a schema may still create tables in it.
        let exists =
            format!("SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = {name})");
        if !get::<bool>(connection, exists).await? {
            execute(connection, create(schema)).await?;
        }
        for script in scripts(schema).skip(version.unsigned_abs() as usize) {
            execute(connection, script).await?;
        }
    }
    execute(connection, "COMMIT".to_owned()).await
}

/// All migrations, for a DBA who runs them by hand.
pub(super) fn print(schema: &str) -> String {
    let mut all = format!("{};\n", create(schema));
    for (number, script) in scripts(schema).enumerate() {
        // Writing to a string does not fail.
        _ = write!(all, "\n-- Version {}.\nBEGIN;\n\n{script}\n\nCOMMIT;\n", number + 1);
    }
    all
}

fn create(schema: &str) -> String {
    format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(schema))
}

fn scripts(schema: &str) -> impl Iterator<Item = String> {
    MIGRATIONS.iter().enumerate().map(move |(number, text)| {
        let version = number + 1;
        let text = text.trim_end();
        let noted = format!("INSERT INTO number7.schema_version (version) VALUES ({version});");
        in_schema(&format!("{text}\n\n{noted}"), schema)
    })
}

fn quoted(schema: &str) -> String {
    in_schema("number7.", schema).trim_end_matches('.').to_owned()
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

async fn execute(connection: &mut PgConnection, sql: String) -> Result<(), InboxError> {
    raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}

/// The single value of a statement. It is not prepared, because poolers refuse prepared statements.
pub(super) async fn get<T>(connection: &mut PgConnection, sql: String) -> Result<T, InboxError>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    Ok(raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await?.try_get(0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dba_gets_one_transaction_for_each_version() {
        let all = print("number7");
        assert!(all.starts_with("CREATE SCHEMA IF NOT EXISTS number7;\n\n-- Version 1.\nBEGIN;\n"));
        assert!(all.contains("CREATE TABLE number7.events ("));
        let noted = format!("INSERT INTO number7.schema_version (version) VALUES ({VERSION});");
        assert!(all.ends_with(&format!("{noted}\n\nCOMMIT;\n")));
        assert_eq!(all.matches("BEGIN;").count(), MIGRATIONS.len());
    }

    #[test]
    fn a_schema_can_have_any_name() {
        let all = print("the \"app\"");
        assert!(all.starts_with("CREATE SCHEMA IF NOT EXISTS \"the \"\"app\"\"\";\n"));
        assert!(all.contains("CREATE TABLE \"the \"\"app\"\"\".events ("));
        assert!(!all.contains("number7."));
    }

    #[test]
    fn a_version_is_older_as_it_is_or_newer() {
        assert!(is_older(0, "app").unwrap() && !is_older(VERSION, "app").unwrap());
        let newer = is_older(VERSION + 1, "app").unwrap_err();
        assert_eq!(newer.kind(), InboxErrorKind::Schema);
        assert!(newer.to_string().contains("in the schema app have version"), "{newer}");
        for (version, text) in [(0, "there is no inbox in the schema app"), (1, "have version 1")] {
            let older = too_old(version, "app");
            assert_eq!(older.kind(), InboxErrorKind::Schema);
            assert!(older.to_string().contains(text), "{older}");
            assert!(older.to_string().ends_with("run `number7 inbox migrate`"), "{older}");
        }
    }
}
