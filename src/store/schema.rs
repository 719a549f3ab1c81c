//! The database's shape, how it comes to a newer one, and what SQLite's own error codes mean.
//!
//! Before an older database is changed, a copy of it is kept beside it: whoever must go back to the program
//! that wrote it can. It has no large mails, which are files and stay where they are.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sqlx::SqliteConnection;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("src/store/migrations");

#[derive(Debug)]
pub(super) enum MigrateError {
    /// The database knows a migration that this program does not.
    Newer,
    Failed(sqlx::Error),
}

/// Brings the database to the shape this program knows, or leaves it as it is.
pub(super) async fn migrate(
    connection: &mut SqliteConnection,
    database: &Path,
) -> Result<(), MigrateError> {
    let shape = shape(connection).await.map_err(MigrateError::Failed)?;
    if shape.is_some_and(|shape| shape < newest()) {
        keep_copy(connection, database).await.map_err(MigrateError::Failed)?;
    }
    MIGRATIONS.run_direct(None, connection, false).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::VersionMissing(_)
        | sqlx::migrate::MigrateError::VersionTooNew(..) => MigrateError::Newer,
        other => MigrateError::Failed(other.into()),
    })
}

/// The shape that this program knows.
pub(super) fn newest() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// The shape of a database; `None` for one that is new.
pub(super) async fn shape(connection: &mut SqliteConnection) -> Result<Option<i64>, sqlx::Error> {
    let known: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'",
    )
    .fetch_one(&mut *connection)
    .await?;
    if known == 0 {
        return Ok(None);
    }
    sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(connection).await
}

/// `postbridge.db.before-N`: the database as it was before it came to shape N. The last one is kept.
async fn keep_copy(connection: &mut SqliteConnection, database: &Path) -> Result<(), sqlx::Error> {
    let mut name = database.as_os_str().to_owned();
    name.push(format!("{BEFORE}{}", newest()));
    let copy = PathBuf::from(name);
    let old = copies(database)?;
    let unfinished = copy.with_added_extension("new");
    copy_into(connection, &unfinished).await?;
    fs::rename(&unfinished, &copy)?;
    for old in old.into_iter().filter(|old| *old != copy) {
        fs::remove_file(old)?;
    }
    if let Some(directory) = database.parent() {
        File::open(directory)?.sync_all()?;
    }
    tracing::info!(copy = %copy.display(), "the database is of an older version: a copy of it is kept");
    Ok(())
}

const BEFORE: &str = ".before-";

/// The copies of a database that were kept.
fn copies(database: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(directory), Some(name)) = (database.parent(), database.file_name()) else {
        return Ok(Vec::new());
    };
    let mut front = name.to_string_lossy().into_owned();
    front.push_str(BEFORE);
    let mut copies = Vec::new();
    for file in fs::read_dir(directory)? {
        let path = file?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.strip_prefix(&front).is_some_and(|shape| shape.parse::<i64>().is_ok()) {
            copies.push(path);
        }
    }
    Ok(copies)
}

/// The copy that was kept before a newer program changed this database, if it is there.
pub(super) fn copy_before(database: &Path) -> Option<PathBuf> {
    copies(database).ok()?.pop()
}

/// A whole copy of the database as it is now, on disk, for its owner alone. What is there gives way.
pub(super) async fn copy_into(
    connection: &mut SqliteConnection,
    to: &Path,
) -> Result<(), sqlx::Error> {
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    // Made with its mode before there is anything in it.
    let file = File::create_new(to)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    sqlx::query("VACUUM INTO ?").bind(to.to_string_lossy()).execute(connection).await?;
    file.sync_all()?;
    Ok(())
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

#[cfg(test)]
mod tests {
    use sqlx::ConnectOptions;
    use sqlx::Connection;
    use sqlx::sqlite::SqliteConnectOptions;

    use super::*;
    use crate::store::spool::State;
    use crate::store::{OpenError, Room, Store};

    const ID: &str = "01arz3ndektsv4rrffq69g5fav";

    async fn connect(database: &Path) -> SqliteConnection {
        SqliteConnectOptions::new()
            .filename(database)
            .create_if_missing(true)
            .connect()
            .await
            .unwrap()
    }

    /// A state directory as the first two migrations made them, with a mail that waits.
    async fn of_old() -> tempfile::TempDir {
        let private = fs::Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().permissions(private).tempdir().unwrap();
        let mut connection = connect(&directory.path().join("postbridge.db")).await;
        MIGRATIONS.run_to(2, &mut connection).await.unwrap();
        let envelope = r#"{"reverse_path":"a@contoso.example","forward_paths":[{"address":"b@contoso.example"}]}"#;
        sqlx::query(
            "INSERT INTO entry (id, account, kind, envelope, size, digest, repeat_until, accepted_at, \
             state, due_at) VALUES (?1, x'00000000000000000000000000000001', 'submission', ?2, 5, x'00', \
             1, 1, 'queued', 1); INSERT INTO body (entry, octets) VALUES (?1, x'68656c6c6f')",
        )
        .bind(ID)
        .bind(envelope)
        .execute(&mut connection)
        .await
        .unwrap();
        connection.close().await.unwrap();
        directory
    }

    #[tokio::test]
    async fn an_older_database_is_brought_forward_and_kept_as_it_was() {
        let directory = of_old().await;
        let store = Store::open(directory.path(), Room::default()).await.unwrap();
        let entry = store.entry(ID.parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((entry.state, entry.attempts), (State::Queued, 0));
        assert_eq!(store.body(entry.id).await.unwrap().as_deref(), Some(&b"hello"[..]));

        let database = directory.path().join("postbridge.db");
        let copy = copy_before(&database).unwrap();
        assert!(copy.ends_with(format!("postbridge.db.before-{}", newest())), "{copy:?}");
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        let mut old = connect(&copy).await;
        assert_eq!(shape(&mut old).await.unwrap(), Some(2));
        let mails: i64 = sqlx::query_scalar("SELECT count(*) FROM entry JOIN body ON entry = id")
            .fetch_one(&mut old)
            .await
            .unwrap();
        assert_eq!(mails, 1);
    }

    #[tokio::test]
    async fn a_new_database_and_one_of_this_shape_are_not_copied() {
        let private = fs::Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().permissions(private).tempdir().unwrap();
        let database = directory.path().join("postbridge.db");
        for _ in 0..2 {
            let mut connection = connect(&database).await;
            migrate(&mut connection, &database).await.unwrap();
            connection.close().await.unwrap();
        }
        assert_eq!(copies(&database).unwrap(), Vec::<PathBuf>::new());
    }

    #[tokio::test]
    async fn only_the_last_copy_is_kept() {
        let directory = of_old().await;
        let database = directory.path().join("postbridge.db");
        fs::write(directory.path().join("postbridge.db.before-2"), "older").unwrap();
        fs::write(directory.path().join("postbridge.db.before-long"), "not ours").unwrap();
        let mut connection = connect(&database).await;
        migrate(&mut connection, &database).await.unwrap();
        assert_eq!(copies(&database).unwrap(), [copy_before(&database).unwrap()]);
        assert!(!directory.path().join("postbridge.db.before-2").exists());
        assert!(directory.path().join("postbridge.db.before-long").exists());
    }

    #[tokio::test]
    async fn a_program_that_is_too_old_names_the_copy() {
        let directory = of_old().await;
        let database = directory.path().join("postbridge.db");
        let mut connection = connect(&database).await;
        migrate(&mut connection, &database).await.unwrap();
        sqlx::query(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'of the future', TRUE, x'00', 0)",
        )
        .execute(&mut connection)
        .await
        .unwrap();
        connection.close().await.unwrap();
        let Err(error) = Store::open(directory.path(), Room::default()).await else {
            panic!("opened")
        };
        assert!(matches!(error, OpenError::Newer { .. }), "{error}");
        let copy = copy_before(&database).unwrap().display().to_string();
        assert!(error.to_string().contains(&copy), "{error}");
    }
}
