//! The schema of a file, and the version of it that its header says.

use sqlx::{Connection, FromRow, SqliteConnection, query_as, raw_sql};

use crate::{InboxError, InboxErrorKind};

/// `n7ix`: then the `user_version` of a file is the version of our schema.
const APPLICATION_ID: i64 = 0x6e37_6978;

/// What makes each version out of the one before, from 1.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001_inbox.sql")];

const HEADER: &str =
    "SELECT application_id, user_version FROM pragma_application_id, pragma_user_version";

/// What the header of a file says of its tables.
#[derive(FromRow)]
struct Header {
    application_id: i64,
    user_version: i64,
}

/// The SQL of all migrations.
pub(super) fn sql() -> String {
    format!("BEGIN IMMEDIATE;\n\n{}\nCOMMIT;\n", migration(0))
}

/// The SQL of the migrations from a version on.
fn migration(from: usize) -> String {
    let version = MIGRATIONS.len();
    let sql = MIGRATIONS.get(from..).unwrap_or_default().join("\n");
    format!("{sql}\nPRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {version};\n")
}

/// Brings the schema of a file to the version that this build needs. Mostly it has it, and nothing is written.
pub(super) async fn migrate(connection: &mut SqliteConnection) -> Result<(), InboxError> {
    if version(connection).await? == MIGRATIONS.len() {
        return Ok(());
    }
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    // Another process may have done it meanwhile.
    let version = version(&mut transaction).await?;
    if version < MIGRATIONS.len() {
        raw_sql(sqlx::AssertSqlSafe(migration(version))).execute(&mut *transaction).await?;
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

/// Which version of the schema a file has: 0 if there is none yet, and never a later one than this build knows.
async fn version(connection: &mut SqliteConnection) -> Result<usize, InboxError> {
    let header: Header = query_as(HEADER).fetch_one(connection).await?;
    let Header { application_id, user_version } = header;
    let known = MIGRATIONS.len();
    match usize::try_from(user_version) {
        Ok(0) if application_id == 0 => Ok(0),
        Ok(version) if application_id == APPLICATION_ID && version <= known => Ok(version),
        _ if application_id == APPLICATION_ID => Err(schema(format!(
            "its tables have version {user_version}, and this build needs version {known}: use a newer build"
        ))),
        _ => Err(schema(format!(
            "another application keeps its own application_id ({application_id}) or user_version \
            ({user_version}) in it: give the inbox a file of its own"
        ))),
    }
}

fn schema(text: String) -> InboxError {
    InboxError::new(InboxErrorKind::Schema, text)
}
