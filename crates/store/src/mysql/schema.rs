//! The schema's versions, embedded in the program.

use std::time::Duration;

use sqlx::MySqlConnection;
use tokio::time::timeout;

use super::{open::OpenError, pool::silent};

/// One that was released is never changed. As MySQL commits each change of a schema by itself, statements are written so that
/// they may be run again; a version is noted when all of its have been run.
const VERSIONS: [&str; 2] = [include_str!("schema/001_store.sql"), include_str!("schema/002_revoked_links.sql")];
/// How long to wait for another process that is at it.
const LOCK_WAIT: Duration = Duration::from_secs(120);
/// How long a statement that changes the schema may take: what is added to a large table is written anew.
const CHANGE_WAIT: Duration = Duration::from_secs(3_600);
/// A lock of the server's own, for this database; it ends with the connection.
const LOCK: &str = "SELECT GET_LOCK(CONCAT('mpim:', MD5(DATABASE())), ?)";
const UNLOCK: &str = "SELECT RELEASE_LOCK(CONCAT('mpim:', MD5(DATABASE())))";

/// Brings the schema up to date, unless it is. The server may take so long to answer what is quickly done.
pub(super) async fn bring_up_to_date(connection: &mut MySqlConnection, quick: Duration) -> Result<(), OpenError> {
    if within(quick, found(connection)).await.map_err(OpenError::Connect)? == known() {
        return Ok(());
    }
    let locking = sqlx::query_scalar(LOCK).bind(LOCK_WAIT.as_secs().cast_signed()).fetch_one(&mut *connection);
    let locked: Option<i64> = within(LOCK_WAIT + quick, locking).await.map_err(OpenError::Connect)?;
    if locked != Some(1) {
        return Err(OpenError::SchemaBusy(LOCK_WAIT));
    }
    // If something fails, the lock ends with the connection.
    migrate(connection, quick).await?;
    within(quick, sqlx::query(UNLOCK).execute(connection)).await.map(drop).map_err(OpenError::Connect)
}

/// The answer, or that there is none within this time.
async fn within<T>(time: Duration, answer: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    timeout(time, answer).await.unwrap_or_else(|_| Err(silent(time)))
}

async fn migrate(connection: &mut MySqlConnection, quick: Duration) -> Result<(), OpenError> {
    let found = within(quick, found(connection)).await.map_err(OpenError::Connect)?;
    if found > known() {
        return Err(OpenError::NewerSchema { found, known: known() });
    }
    for (version, statements) in (1..).zip(VERSIONS).filter(|&(version, _)| version > found) {
        run(connection, version, statements).await.map_err(|source| OpenError::Schema { version, source })?;
        tracing::info!(version, "the database's schema is up to date");
    }
    Ok(())
}

async fn run(connection: &mut MySqlConnection, version: i64, statements: &'static str) -> sqlx::Result<()> {
    for statement in statements.split(";\n").filter(|statement| !statement.trim().is_empty()) {
        within(CHANGE_WAIT, sqlx::raw_sql(statement).execute(&mut *connection)).await?;
    }
    let versions = sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT PRIMARY KEY)
         ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin",
    );
    within(CHANGE_WAIT, versions.execute(&mut *connection)).await?;
    let noted = sqlx::query("INSERT IGNORE INTO schema_versions (version) VALUES (?)").bind(version);
    within(CHANGE_WAIT, noted.execute(connection)).await.map(drop)
}

/// The version of the schema that is there; 0: none.
async fn found(connection: &mut MySqlConnection) -> sqlx::Result<i64> {
    let there: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'schema_versions'",
    )
    .fetch_one(&mut *connection)
    .await?;
    if there == 0 {
        return Ok(0);
    }
    sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM schema_versions").fetch_one(connection).await
}

fn known() -> i64 {
    VERSIONS.len().cast_signed() as i64
}
