//! The schema of a file, and its version.

use sqlx::{AssertSqlSafe, Connection, SqliteConnection, query_as, query_scalar, raw_sql};

use crate::model::error::{InboxError, InboxErrorKind};

/// `n7ix`: the `application_id` of a file that belongs to an inbox. Its `user_version` is then that of our schema.
const APPLICATION_ID: i64 = 0x6e37_6978;

/// The SQL that makes each version from the one before, from 1.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001_inbox.sql")];

const HEADER: &str =
    "SELECT application_id, user_version FROM pragma_application_id, pragma_user_version";

const HAS_VERSION: &str =
    "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'number7_schema')";

/// The SQL of all migrations, for a file that belongs to the inbox.
pub(super) fn sql() -> String {
    format!("BEGIN IMMEDIATE;\n\n{}\n{}COMMIT;\n", migration(0), mark())
}

/// The SQL of the migrations after a version.
fn migration(from: usize) -> String {
    let version = MIGRATIONS.len();
    let sql = MIGRATIONS.get(from..).unwrap_or_default().join("\n");
    format!(
        "{sql}\nDELETE FROM number7_schema;\nINSERT INTO number7_schema (version) VALUES ({version});\n"
    )
}

/// The SQL that marks a file as an inbox.
fn mark() -> String {
    let version = MIGRATIONS.len();
    format!("PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {version};\n")
}

/// Brings the schema of a file to the version that this build needs. If it is up to date, nothing is written.
///
/// If the file belongs to the inbox, its header is marked, for tools that read it. In a file that is shared with an app, the
/// header is left to the app, which may count its own migrations there.
pub(super) async fn migrate(
    connection: &mut SqliteConnection,
    is_own_file: bool,
) -> Result<(), InboxError> {
    if version(connection).await? == MIGRATIONS.len() {
        return Ok(());
    }
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    // Another process may have migrated meanwhile.
    let version = version(&mut transaction).await?;
    if version < MIGRATIONS.len() {
        let header: (i64, i64) = query_as(HEADER).fetch_one(&mut *transaction).await?;
        let is_ours = is_own_file && (header == (0, 0) || header.0 == APPLICATION_ID);
        let mark = if is_ours { mark() } else { String::new() };
        let sql = AssertSqlSafe(migration(version) + &mark);
        raw_sql(sql).execute(&mut *transaction).await?;
    }
    Ok(transaction.commit().await?)
}

/// Fails unless the schema has the version that this build needs.
pub(super) async fn check(connection: &mut SqliteConnection) -> Result<(), InboxError> {
    let needed = MIGRATIONS.len();
    let found = match version(connection).await? {
        found if found == needed => return Ok(()),
        0 => "there are no tables of an inbox".to_owned(),
        found => format!("its tables have version {found}"),
    };
    Err(schema(format!(
        "{found}, and this build needs version {needed}: run `number7 inbox migrate`"
    )))
}

/// The version of the schema in a file: 0 if there is none yet. It fails if this build does not know the version.
async fn version(connection: &mut SqliteConnection) -> Result<usize, InboxError> {
    if !query_scalar(HAS_VERSION).fetch_one(&mut *connection).await? {
        return Ok(0);
    }
    let version = query_scalar("SELECT max(version) FROM number7_schema");
    let version: Option<i64> = version.fetch_one(connection).await?;
    let (version, known) = (version.unwrap_or_default(), MIGRATIONS.len());
    match usize::try_from(version) {
        Ok(version) if version <= known => Ok(version),
        _ => Err(schema(format!(
            "its tables have version {version}, and this build needs version {known}: use a newer build"
        ))),
    }
}

fn schema(text: String) -> InboxError {
    InboxError::new(InboxErrorKind::Schema, text)
}
