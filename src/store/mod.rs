//! What postbridge remembers, on disk: the spool, the accounts. SQLite, and only here SQL.
//!
//! All changes go through [`Store::write`]: one task owns the only writing connection and commits
//! whatever waits in one transaction (group commit), so that a hundred clients share one fsync.
//! What `write` returned is on disk. The store knows no protocol and no Graph.
//!
//! Two rules for those who add to it:
//! - A change of several statements opens a savepoint of its own (`conn.begin()`): its neighbours in
//!   the same commit must not see half of it.
//! - A failed fsync ends the process (exit status 74). What the kernel lost then cannot be found
//!   again by retrying, and an acknowledgement after it would be a lie. Nor is it found again by a
//!   restart, so that every start writes the log that it finds anew.

pub mod accounts;
pub mod calendar;
pub mod calendars;
mod entry_id;
pub mod findings;
pub mod history;
pub mod hours;
mod incoming;
pub mod invites;
pub mod order;
mod password;
pub mod progress;
mod queue;
mod schema;
pub mod snapshot;
pub mod spool;
pub mod tally;
pub mod tokens;
pub mod verdict;
mod writer;

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    Sqlite, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, SqlitePool};

pub use writer::Change;

use crate::clock::Clock;

/// A handle on the state directory; clones share it. While one exists no other process can open it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    directory: PathBuf,
    clock: Clock,
    writer: writer::Writer,
    readers: SqlitePool,
    spool: spool::Shared,
    accounts: accounts::Shared,
    _lock: File,
}

/// Why a state directory cannot be opened. Each kind has an exit status of its own (see `app`).
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "{path} is held by another postbridge; stop that one, or give this one a state directory of its own"
    )]
    InUse { path: PathBuf },
    #[error("{path} can be read by others (mode {mode:04o}); run: chmod 700 {path}")]
    Exposed { path: PathBuf, mode: u32 },
    #[error(
        "{path} belongs to another user (uid {owner}); run postbridge as that user, or give it a state directory of its own"
    )]
    Foreign { path: PathBuf, owner: u32 },
    #[error(
        "{path} was written by a newer postbridge; install that version again, or restore a backup made before the upgrade{}",
        of_copy(.copy.as_deref())
    )]
    Newer { path: PathBuf, copy: Option<PathBuf> },
    #[error("{path} cannot be used: {source}")]
    Unusable { path: PathBuf, source: io::Error },
    #[error("{path} cannot be opened as a database: {source}")]
    Database { path: PathBuf, source: sqlx::Error },
}

fn of_copy(copy: Option<&Path>) -> String {
    copy.map_or_else(String::new, |copy| {
        format!(
            ", such as {}, of which mails that wait may have been sent since: look in Sent Items",
            copy.display()
        )
    })
}

/// Why a read or a change did not happen. After an error from [`Store::write`] nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The disk or its quota is full, or the file system read-only: it may pass.
    #[error("no room in the state directory: {0}")]
    Full(Arc<str>),
    #[error("the store failed: {0}")]
    Failed(Arc<str>),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        let text: Arc<str> = error.to_string().into();
        if schema::is_out_of_room(&error) {
            StoreError::Full(text)
        } else {
            StoreError::Failed(text)
        }
    }
}

/// What the store is allowed to take.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// The most that waiting mails may hold, in octets.
    pub quota_octets: u64,
    /// What must stay free on the file system, in octets.
    pub keep_free_octets: u64,
}

impl Default for Room {
    fn default() -> Room {
        Room { quota_octets: 2 << 30, keep_free_octets: 256 << 20 }
    }
}

impl Store {
    /// Opens the state directory, or makes it (mode 0700). Nothing is touched on an error.
    pub async fn open(directory: &Path, room: Room) -> Result<Store, OpenError> {
        Store::open_at(directory, room, Clock::default()).await
    }

    /// The same, by this clock.
    pub async fn open_at(directory: &Path, room: Room, clock: Clock) -> Result<Store, OpenError> {
        let lock = lock_with_patience(directory).await?;
        let path = directory.join(snapshot::DATABASE);
        let database = |source| OpenError::Database { path: path.clone(), source };
        let log = directory.join("postbridge.db-wal");
        renew_log(&log).map_err(|source| OpenError::Unusable { path: log, source })?;

        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            // 16 MiB of log between checkpoints: each costs two more fsyncs.
            .pragma("wal_autocheckpoint", "4096")
            .pragma("secure_delete", "fast")
            .log_statements(tracing::log::LevelFilter::Off)
            .log_slow_statements(tracing::log::LevelFilter::Off, Duration::ZERO);
        let mut connection = options.connect().await.map_err(database)?;
        schema::migrate(&mut connection, &path).await.map_err(|error| match error {
            schema::MigrateError::Newer => {
                OpenError::Newer { path: path.clone(), copy: schema::copy_before(&path) }
            }
            schema::MigrateError::Failed(source) => database(source),
        })?;
        // From here on the database is there: one that is missing must not be made anew, empty.
        let options = options.create_if_missing(false);
        let readers = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_lazy_with(options.clone().read_only(true));

        let spool = spool::Shared::open(directory, room, clock.now(), &mut connection)
            .await
            .map_err(|error| OpenError::Unusable { path: directory.to_owned(), source: error })?;
        let accounts = accounts::Shared::open(&mut connection).await.map_err(database)?;
        let writer = writer::Writer::start(connection, options);
        let inner = Inner {
            directory: directory.to_owned(),
            clock,
            writer,
            readers,
            spool,
            accounts,
            _lock: lock,
        };
        Ok(Store { inner: Arc::new(inner) })
    }

    /// The state directory.
    pub fn directory(&self) -> &Path {
        &self.inner.directory
    }

    /// What all times that are written down are taken from.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// Makes a change; it is on disk when this returns `Ok`, and undone when it returns `Err`.
    ///
    /// The closure gets the writing connection inside a transaction that it shares with others.
    pub async fn write<T, F>(&self, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Change<T>,
    {
        self.inner.writer.write(change).await
    }

    /// Changes nothing: returns when the writer has come by.
    pub async fn touch(&self) -> Result<(), StoreError> {
        self.write(|_| Box::pin(async { Ok(()) })).await
    }

    /// A connection to read with. It sees what was committed, nothing else.
    pub async fn read(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        Ok(self.inner.readers.acquire().await?)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.inner.directory).finish()
    }
}

/// Whether another process holds this state directory. Touches nothing.
pub fn is_held(directory: &Path) -> bool {
    let Ok(file) = File::open(directory.join("lock")) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Keeps everybody else out of a state directory for as long as the file lives; makes the directory if it is
/// not there.
pub async fn hold(directory: &Path) -> Result<File, OpenError> {
    lock_with_patience(directory).await
}

/// A command may hold the lock for a moment; whoever holds it longer is another daemon.
async fn lock_with_patience(directory: &Path) -> Result<File, OpenError> {
    for _ in 0..10 {
        match lock(directory) {
            Err(OpenError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(50)).await,
            settled => return settled,
        }
    }
    lock(directory)
}

/// Makes sure of the directory and takes its lock.
fn lock(directory: &Path) -> Result<File, OpenError> {
    let unusable = |source| OpenError::Unusable { path: directory.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unusable)?;
    let metadata = fs::metadata(directory).map_err(unusable)?;
    if metadata.mode() & 0o077 != 0 {
        return Err(OpenError::Exposed {
            path: directory.to_owned(),
            mode: metadata.mode() & 0o7777,
        });
    }
    let me = rustix::process::geteuid().as_raw();
    if metadata.uid() != me {
        return Err(OpenError::Foreign { path: directory.to_owned(), owner: metadata.uid() });
    }
    let path = directory.join("lock");
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

/// Writes the database's log that a stop left behind once more, and syncs it. The stop may have been a
/// failed sync: then the kernel shows octets that are not on the disk and that it never writes again by
/// itself, and after a power cut whatever was committed behind them would be lost with them.
fn renew_log(path: &Path) -> io::Result<()> {
    let log = match fs::OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let (mut octets, mut at) = (vec![0; 1 << 20], 0);
    loop {
        let read = log.read_at(&mut octets, at)?;
        let Some(piece) = octets.get(..read).filter(|piece| !piece.is_empty()) else { break };
        log.write_all_at(piece, at)?;
        at += piece.len() as u64;
    }
    log.sync_all()
}

/// Ends the process because the store broke its word. Nothing may be acknowledged after this.
pub(crate) fn die(error: &dyn std::fmt::Display) -> ! {
    tracing::error!(%error, "the store did not keep what it was given; stopping at once");
    std::process::exit(74)
}
