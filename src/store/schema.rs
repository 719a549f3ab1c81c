//! The database's shape, and what SQLite's own error codes mean.

use sqlx::SqliteConnection;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("src/store/migrations");

#[derive(Debug)]
pub(super) enum MigrateError {
    /// The database knows a migration that this program does not.
    Newer,
    Failed(sqlx::Error),
}

/// Brings the database to the shape this program knows, or leaves it as it is.
pub(super) async fn migrate(connection: &mut SqliteConnection) -> Result<(), MigrateError> {
    MIGRATIONS.run_direct(None, connection, false).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::VersionMissing(_)
        | sqlx::migrate::MigrateError::VersionTooNew(..) => MigrateError::Newer,
        other => MigrateError::Failed(other.into()),
    })
}

/// SQLite's extended result code, <https://sqlite.org/rescode.html>.
fn code(error: &sqlx::Error) -> Option<u32> {
    error.as_database_error()?.code()?.parse().ok()
}

/// SQLITE_FULL, SQLITE_READONLY, and writes that the file system refused for want of room.
pub(super) fn is_out_of_room(error: &sqlx::Error) -> bool {
    const FULL: u32 = 13;
    const READONLY: u32 = 8;
    const CANTOPEN: u32 = 14;
    const IOERR_WRITE: u32 = 10 | (3 << 8);
    const IOERR_SHMSIZE: u32 = 10 | (19 << 8);
    code(error).is_some_and(|code| {
        matches!(code & 0xff, FULL | READONLY | CANTOPEN)
            || code == IOERR_WRITE
            || code == IOERR_SHMSIZE
    })
}

/// SQLITE_IOERR_FSYNC and SQLITE_IOERR_DIR_FSYNC: see the module `store`.
pub(super) fn is_failed_fsync(error: &sqlx::Error) -> bool {
    const IOERR_FSYNC: u32 = 10 | (4 << 8);
    const IOERR_DIR_FSYNC: u32 = 10 | (5 << 8);
    matches!(code(error), Some(IOERR_FSYNC | IOERR_DIR_FSYNC))
}

/// Whether only the statement failed, so that the transaction around it can go on.
pub(super) fn spares_the_transaction(error: &sqlx::Error) -> bool {
    const ERROR: u32 = 1;
    const CONSTRAINT: u32 = 19;
    match code(error) {
        Some(code) => matches!(code & 0xff, ERROR | CONSTRAINT),
        // Not SQLite's error: a row that was not there, a value that could not be decoded.
        None => !matches!(error, sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed),
    }
}
