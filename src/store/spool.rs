//! The spool: mails that were acknowledged, until they came to their end.
//!
//! An [`Incoming`] mail is nothing (dropped = discarded) until [`Incoming::commit`] gives out a
//! [`Receipt`]: the mail is then on disk, synced, and only a `Receipt` can make a 250.
//!
//! ```text
//!  commit ─► queued ─claim─► attempting ─begin─► sending ─► sent
//!              ▲                  │                  ├────► failed (and a report)
//!              └────── later ─────┴──────────────────┤
//!                                                    └────► held   (nobody knows: shown, not repeated)
//! ```
//!
//! The attempt and the time of the next are written at *claim*, before anything is tried; *sending*
//! is written right before the one call that cannot be taken back. After a crash an entry found
//! *attempting* goes back to *queued*; one found *sending* is *held*.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{Row, SqliteConnection};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{Room, Store, StoreError, die};
use crate::account::{Account, AccountId};
use crate::submission::Envelope;

/// Mails up to this many octets are rows (one fsync, shared by all who wait, but written twice);
/// larger ones are files (written once, with syncs of their own). `benches/spool.rs` prints what
/// either costs.
pub const ROW_OCTETS_MAX: usize = 64 * 1024;
/// A mail on its way in is kept in memory up to here, so that most files are written in one go.
const MEMORY_OCTETS_MAX: usize = 128 * 1024;

/// The condition of the index `entry_due`, word for word: SQLite uses it for no query that does not
/// repeat it, and reads the whole spool instead.
macro_rules! on_its_way {
    () => {
        "state IN ('queued', 'attempting', 'sending')"
    };
}

/// How long the same mail, handed in again, is the mail we already have.
const REPEAT_WINDOW: Duration = Duration::from_secs(24 * 3600);
/// The same for mails with neither a Message-ID nor a Date: those of a script that says the same
/// each hour are different mails, those of a device that lost our 250 come within minutes.
const REPEAT_WINDOW_ANONYMOUS: Duration = Duration::from_secs(15 * 60);

/// The accounts that have mail queued, and since when. Asked after every mail, so it goes from account
/// to account by way of the index, past all that wait in between.
const DUE: &str = concat!(
    "WITH RECURSIVE waiting (account) AS (SELECT min(account) FROM entry WHERE ",
    on_its_way!(),
    " UNION ALL SELECT (SELECT min(account) FROM entry WHERE account > waiting.account AND ",
    on_its_way!(),
    ") FROM waiting WHERE waiting.account IS NOT NULL), \
     next (account, due_at) AS (SELECT account, (SELECT min(due_at) FROM entry \
     WHERE account = waiting.account AND state = 'queued' AND ",
    on_its_way!(),
    ") FROM waiting WHERE account IS NOT NULL) \
     SELECT account, due_at FROM next WHERE due_at IS NOT NULL",
);

const CLAIM: &str = concat!(
    "UPDATE entry SET state = 'attempting', attempts = attempts + 1, due_at = ?1 \
     WHERE id IN (SELECT id FROM entry WHERE account = ?2 AND state = 'queued' AND ",
    on_its_way!(),
    " AND due_at <= ?3 ORDER BY due_at, id LIMIT ?4) RETURNING *",
);

/// The name of an entry: in the 250, in every log line, in the Message-ID that we add.
///
/// 26 letters and digits of Crockford's base 32, sortable by time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(u128);

const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl EntryId {
    fn new() -> EntryId {
        EntryId(Uuid::now_v7().as_u128())
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for digit in (0..26).rev() {
            let letter = CROCKFORD[(self.0 >> (digit * 5)) as usize & 31];
            write!(f, "{}", letter as char)?;
        }
        Ok(())
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for EntryId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EntryId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<EntryId, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Not the name of an entry.
#[derive(Debug, thiserror::Error)]
#[error("not the id of an entry: 26 letters and digits are one")]
pub struct NotAnEntryId;

impl FromStr for EntryId {
    type Err = NotAnEntryId;
    fn from_str(text: &str) -> Result<EntryId, NotAnEntryId> {
        if text.len() != 26 {
            return Err(NotAnEntryId);
        }
        text.bytes()
            .try_fold(0u128, |sum, letter| {
                let letter = letter.to_ascii_lowercase();
                let digit = CROCKFORD.iter().position(|&c| c == letter)? as u128;
                sum.checked_mul(32).map(|sum| sum + digit)
            })
            .map(EntryId)
            .ok_or(NotAnEntryId)
    }
}

/// Why a mail was not taken. The client is told to come again (452 or 451), never that it is ours.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SpoolError {
    /// 452 4.3.1
    #[error("no room in the spool: {0}")]
    Full(Arc<str>),
    /// 451 4.3.0
    #[error("the spool cannot be written: {0}")]
    Unavailable(Arc<str>),
}

impl From<StoreError> for SpoolError {
    fn from(error: StoreError) -> SpoolError {
        match error {
            StoreError::Full(text) => SpoolError::Full(text),
            StoreError::Failed(text) => SpoolError::Unavailable(text),
        }
    }
}

impl From<io::Error> for SpoolError {
    fn from(error: io::Error) -> SpoolError {
        let text = error.to_string().into();
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::ReadOnlyFilesystem => SpoolError::Full(text),
            _ => SpoolError::Unavailable(text),
        }
    }
}

/// Whether a mail came from a client or is a report of ours about one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Submission,
    Report,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Queued,
    Attempting,
    Sending,
    Sent,
    Failed,
    Held,
}

macro_rules! names {
    ($type:ty { $($variant:ident = $name:literal),* $(,)? }) => {
        impl $type {
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
            fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}
names!(Kind { Submission = "submission", Report = "report" });
names!(State {
    Queued = "queued",
    Attempting = "attempting",
    Sending = "sending",
    Sent = "sent",
    Failed = "failed",
    Held = "held",
});

/// Proof that a mail is on disk. Only [`Incoming::commit`] makes one.
#[derive(Debug)]
pub struct Receipt {
    id: EntryId,
    repeat: bool,
}

impl Receipt {
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// The client handed in a mail that was already here: it is that one's id.
    pub fn is_repeat(&self) -> bool {
        self.repeat
    }
}

/// What the worker claims, and what `queue` shows. The octets are fetched with [`Store::body`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    pub id: EntryId,
    pub account: AccountId,
    pub kind: Kind,
    pub envelope: Envelope,
    pub size: u64,
    pub accepted_at: Timestamp,
    pub state: State,
    /// Attempts made, the present one included.
    pub attempts: u32,
    pub due_at: Timestamp,
    /// The sum of the waits between attempts; time spent waiting for a sign-in is not in it.
    pub waited: Duration,
    pub note: Option<String>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Graph said 202.
    Sent,
    /// Nothing went; again at `due_at`. `waited` is how much of the patience this wait uses up.
    Later { due_at: Timestamp, waited: Duration, note: String },
    /// It will never go; `report` is the notice to the sender, if there is to be one.
    Failed { note: String, report: Option<Report> },
    /// Nobody knows whether it went.
    Held { note: String },
}

/// A report to be spooled in the same commit that ends the mail it speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub envelope: Envelope,
    pub octets: Vec<u8>,
}

/// What all handles on the spool share.
pub(super) struct Shared {
    directory: PathBuf,
    room: Room,
    /// Octets of mails that are on their way.
    waiting_octets: AtomicU64,
    changed: Notify,
}

impl Shared {
    pub(super) async fn open(
        state: &Path,
        room: Room,
        connection: &mut SqliteConnection,
    ) -> io::Result<Shared> {
        let directory = state.join("spool");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        // The directory's own name must survive a power cut as well.
        fs::File::open(state)?.sync_all()?;
        let waiting = async {
            sqlx::query("UPDATE entry SET state = 'queued' WHERE state = 'attempting'")
                .execute(&mut *connection)
                .await?;
            sqlx::query(
                "UPDATE entry SET state = 'held', note = 'stopped in the middle of the call that sends it: \
                 look in Sent Items whether it went' WHERE state = 'sending'",
            )
            .execute(&mut *connection)
            .await?;
            sqlx::query_scalar::<_, i64>(
                "SELECT coalesce(sum(size), 0) FROM entry WHERE state IN ('queued', 'held')",
            )
            .fetch_one(&mut *connection)
            .await
        };
        let waiting: i64 = waiting.await.map_err(io::Error::other)?;
        sweep(&directory, connection).await?;
        Ok(Shared {
            directory,
            room,
            waiting_octets: AtomicU64::new(waiting.max(0).cast_unsigned()),
            changed: Notify::new(),
        })
    }

    fn file(&self, id: EntryId) -> PathBuf {
        self.directory.join(id.to_string())
    }
}

/// Removes files that no entry speaks of: mails whose commit never came.
async fn sweep(directory: &Path, connection: &mut SqliteConnection) -> io::Result<()> {
    for file in fs::read_dir(directory)? {
        let file = file?;
        let name = file.file_name();
        let known = sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM entry WHERE id = ? AND state NOT IN ('sent', 'failed')",
        )
        .bind(name.to_string_lossy().into_owned())
        .fetch_one(&mut *connection)
        .await
        .map_err(io::Error::other)?;
        if known == 0 {
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

/// A mail on its way in. Dropped, it leaves nothing behind.
pub struct Incoming {
    store: Store,
    account: AccountId,
    id: EntryId,
    hash: digest::Context,
    octets: Vec<u8>,
    file: Option<(PartFile, tokio::fs::File)>,
    size: u64,
}

/// The name of a file that no entry speaks of yet; the file goes with it.
struct PartFile {
    path: PathBuf,
    keep: bool,
}

impl PartFile {
    fn create(path: PathBuf) -> io::Result<(PartFile, fs::File)> {
        let file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path)?;
        Ok((PartFile { path, keep: false }, file))
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Incoming {
    /// Takes the next octets.
    pub async fn write(&mut self, octets: &[u8]) -> Result<(), SpoolError> {
        self.hash.update(octets);
        self.size += octets.len() as u64;
        if let Some((_, file)) = &mut self.file {
            file.write_all(octets).await?;
        } else if self.octets.len() + octets.len() <= MEMORY_OCTETS_MAX {
            self.octets.extend_from_slice(octets);
        } else {
            let path = self.store.inner.spool.file(self.id);
            let (part, file) = blocking(move || PartFile::create(path)).await?;
            let mut file = tokio::fs::File::from_std(file);
            file.write_all(&self.octets).await?;
            file.write_all(octets).await?;
            self.octets = Vec::new();
            self.file = Some((part, file));
        }
        Ok(())
    }

    /// Octets written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Puts the mail on disk. When this returns a receipt, a power cut can no longer take it.
    ///
    /// `named`: the mail has a Message-ID or a Date, so that an equal one is a repeat for a day.
    pub async fn commit(self, envelope: &Envelope, named: bool) -> Result<Receipt, SpoolError> {
        let envelope = serde_json::to_string(envelope)
            .map_err(|error| SpoolError::Unavailable(error.to_string().into()))?;
        // In a task of its own: a client that hangs up now must not leave half a commit behind.
        tokio::spawn(self.put_on_disk(envelope, named))
            .await
            .unwrap_or_else(|error| Err(SpoolError::Unavailable(error.to_string().into())))
    }

    async fn put_on_disk(self, envelope: String, named: bool) -> Result<Receipt, SpoolError> {
        let Incoming { store, account, id, hash, octets, file, size } = self;
        store.room(size)?;
        let directory = store.inner.spool.directory.clone();
        let (file, octets) = match file {
            Some((part, mut file)) => {
                file.flush().await?;
                let file = file.into_std().await;
                blocking(move || sync(&file, &directory)).await?;
                (Some(part), None)
            }
            None if octets.len() > ROW_OCTETS_MAX => {
                let path = store.inner.spool.file(id);
                let write = move || {
                    let (part, mut file) = PartFile::create(path)?;
                    file.write_all(&octets)?;
                    sync(&file, &directory)?;
                    Ok(part)
                };
                (Some(blocking(write).await?), None)
            }
            None => (None, Some(octets)),
        };
        let mut digest = digest::Context::new(&digest::SHA256);
        digest.update(account.0.as_bytes());
        digest.update(envelope.as_bytes());
        digest.update(hash.finish().as_ref());
        let digest = digest.finish().as_ref().to_vec();
        let window = if named { REPEAT_WINDOW } else { REPEAT_WINDOW_ANONYMOUS };
        let now = Timestamp::now();
        let row = NewEntry {
            id,
            account,
            kind: Kind::Submission,
            envelope,
            size,
            digest,
            repeat_until: now.saturating_add(window).unwrap_or(now),
            accepted_at: now,
            octets,
        };
        // Counted before it is committed, or the worker could take it off before it was put on.
        store.inner.spool.waiting_octets.fetch_add(size, Ordering::Relaxed);
        let receipt = store.write(move |connection| Box::pin(row.insert(connection))).await;
        if !matches!(&receipt, Ok(Receipt { repeat: false, .. })) {
            store.inner.spool.waiting_octets.fetch_sub(size, Ordering::Relaxed);
        }
        let receipt = receipt?;
        if !receipt.repeat {
            if let Some(mut part) = file {
                part.keep = true;
            }
            store.inner.spool.changed.notify_one();
        }
        Ok(receipt)
    }
}

/// Puts a file's octets and its name on disk.
fn sync(file: &fs::File, directory: &Path) -> io::Result<()> {
    file.sync_all().unwrap_or_else(|error| die(&error));
    let directory = fs::File::open(directory)?;
    directory.sync_all().unwrap_or_else(|error| die(&error));
    Ok(())
}

/// Runs what waits for the disk where it keeps nobody else waiting.
async fn blocking<T, F>(work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

struct NewEntry {
    id: EntryId,
    account: AccountId,
    kind: Kind,
    envelope: String,
    size: u64,
    digest: Vec<u8>,
    repeat_until: Timestamp,
    accepted_at: Timestamp,
    octets: Option<Vec<u8>>,
}

impl NewEntry {
    async fn insert(self, connection: &mut SqliteConnection) -> Result<Receipt, sqlx::Error> {
        let now = self.accepted_at.as_millisecond();
        // The row and its octets are two statements without a savepoint around them: a failure of
        // the second that spares the transaction cannot happen (the key is new, the row is there).
        // One string, so that it is one errand to the thread that SQLite runs on.
        let inserted = sqlx::query(
            "INSERT INTO entry (id, account, kind, envelope, size, digest, repeat_until, accepted_at, state, due_at) \
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'queued', ?8 WHERE NOT EXISTS \
             (SELECT 1 FROM entry WHERE digest = ?6 AND state <> 'failed' AND repeat_until > ?8); \
             INSERT INTO body (entry, octets) SELECT ?1, ?9 WHERE ?9 IS NOT NULL AND changes() > 0",
        )
        .bind(self.id.to_string())
        .bind(self.account.0.as_bytes().as_slice())
        .bind(self.kind.name())
        .bind(self.envelope)
        .bind(self.size.cast_signed())
        .bind(&self.digest)
        .bind(self.repeat_until.as_millisecond())
        .bind(now)
        .bind(self.octets)
        .execute(&mut *connection)
        .await?;
        if inserted.rows_affected() == 0 {
            let first: String = sqlx::query_scalar(
                "SELECT id FROM entry WHERE digest = ? AND state <> 'failed' AND repeat_until > ? ORDER BY id LIMIT 1",
            )
            .bind(self.digest)
            .bind(now)
            .fetch_one(connection)
            .await?;
            return Ok(Receipt { id: decode(first.parse())?, repeat: true });
        }
        Ok(Receipt { id: self.id, repeat: false })
    }
}

fn decode<T, E: std::error::Error + Send + Sync + 'static>(
    result: Result<T, E>,
) -> Result<T, sqlx::Error> {
    result.map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

impl Store {
    /// A mail begins to arrive for this account.
    pub fn begin(&self, account: &Account) -> Incoming {
        Incoming {
            store: self.clone(),
            account: account.id,
            id: EntryId::new(),
            hash: digest::Context::new(&digest::SHA256),
            octets: Vec::new(),
            file: None,
            size: 0,
        }
    }

    /// Whether a mail of so many octets could be taken now.
    pub fn room(&self, octets: u64) -> Result<(), SpoolError> {
        let spool = &self.inner.spool;
        let waiting = spool.waiting_octets.load(Ordering::Relaxed);
        if waiting.saturating_add(octets) > spool.room.quota_octets {
            return Err(SpoolError::Full("the mails that wait have used up the quota".into()));
        }
        let disk = rustix::fs::statvfs(&spool.directory)
            .map_err(|error| SpoolError::Unavailable(error.to_string().into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < spool.room.keep_free_octets.saturating_add(octets) {
            return Err(SpoolError::Full("the disk is nearly full".into()));
        }
        Ok(())
    }

    /// Resolves when the spool may hold something new that is due. Ask for it *before* looking.
    pub async fn spool_changed(&self) {
        self.inner.spool.changed.notified().await;
    }

    /// Tells the worker to look again (an account came back, an entry was set free).
    pub fn wake_worker(&self) {
        self.inner.spool.changed.notify_one();
    }

    /// The accounts that have entries due at `now`, and when the next one falls due otherwise.
    pub async fn due(
        &self,
        now: Timestamp,
    ) -> Result<(Vec<AccountId>, Option<Timestamp>), StoreError> {
        let mut connection = self.read().await?;
        let rows = sqlx::query(DUE).fetch_all(&mut *connection).await?;
        let mut accounts = Vec::new();
        let mut next: Option<i64> = None;
        for row in rows {
            let due_at: i64 = row.get("due_at");
            if due_at <= now.as_millisecond() {
                accounts.push(account_id(&row)?);
            } else {
                next = Some(next.map_or(due_at, |next| next.min(due_at)));
            }
        }
        Ok((accounts, next.and_then(|next| Timestamp::from_millisecond(next).ok())))
    }

    /// Takes up to `most` due entries of an account, oldest first. The attempt is written down with
    /// the time of the next, `again_at`, before any of it is made.
    pub async fn claim(
        &self,
        account: AccountId,
        now: Timestamp,
        again_at: Timestamp,
        most: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let rows = sqlx::query(CLAIM)
                    .bind(again_at.as_millisecond())
                    .bind(account.0.as_bytes().as_slice())
                    .bind(now.as_millisecond())
                    .bind(most)
                    .fetch_all(connection)
                    .await?;
                let mut entries = rows.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
                entries.sort_by_key(|entry| entry.id);
                Ok(entries)
            })
        })
        .await
    }

    /// Writes down that the call which sends this entry is about to be made.
    pub async fn begin_sending(&self, id: EntryId) -> Result<(), StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let changed = sqlx::query(
                    "UPDATE entry SET state = 'sending' WHERE id = ? AND state = 'attempting'",
                )
                .bind(id.to_string())
                .execute(connection)
                .await?;
                if changed.rows_affected() == 1 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
            })
        })
        .await
    }

    /// Takes [`Store::begin_sending`] back: the call was refused in a way that is certain.
    pub async fn not_sent(&self, id: EntryId) -> Result<(), StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE entry SET state = 'attempting' WHERE id = ? AND state = 'sending'",
                )
                .bind(id.to_string())
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// Makes all that waits due now, and tells the worker.
    pub async fn flush(&self) -> Result<u64, StoreError> {
        let now = Timestamp::now().as_millisecond();
        let flushed = self
            .write(move |connection| {
                Box::pin(async move {
                    let due = sqlx::query(
                        "UPDATE entry SET due_at = ?1 WHERE state = 'queued' AND due_at > ?1",
                    )
                    .bind(now)
                    .execute(connection)
                    .await?;
                    Ok(due.rows_affected())
                })
            })
            .await?;
        self.wake_worker();
        Ok(flushed)
    }

    /// Writes down how an attempt ended. A report is spooled in the same commit.
    pub async fn settle(&self, entry: &Entry, outcome: Outcome) -> Result<(), StoreError> {
        let (id, account, size) = (entry.id, entry.account, entry.size);
        let now = Timestamp::now();
        let spool = &self.inner.spool;
        let report_octets = match &outcome {
            Outcome::Failed { report: Some(report), .. } => report.octets.len() as u64,
            _ => 0,
        };
        let ended = matches!(outcome, Outcome::Sent | Outcome::Failed { .. });
        spool.waiting_octets.fetch_add(report_octets, Ordering::Relaxed);
        let written = self
            .write(move |connection| {
                Box::pin(async move { settle(connection, id, account, now, outcome).await })
            })
            .await;
        if written.is_err() {
            spool.waiting_octets.fetch_sub(report_octets, Ordering::Relaxed);
            return written;
        }
        if ended {
            spool.waiting_octets.fetch_sub(size, Ordering::Relaxed);
            if size > ROW_OCTETS_MAX as u64 {
                // A file that stays behind is swept at the next start.
                let _ = tokio::fs::remove_file(spool.file(id)).await;
            }
        }
        if report_octets > 0 {
            spool.changed.notify_one();
        }
        Ok(())
    }

    /// The octets of a mail as the client sent them; `None` once it was sent or failed.
    pub async fn body(&self, id: EntryId) -> Result<Option<Vec<u8>>, StoreError> {
        let mut connection = self.read().await?;
        let row = sqlx::query_scalar("SELECT octets FROM body WHERE entry = ?")
            .bind(id.to_string())
            .fetch_optional(&mut *connection)
            .await?;
        if row.is_some() {
            return Ok(row);
        }
        match tokio::fs::read(self.inner.spool.file(id)).await {
            Ok(octets) => Ok(Some(octets)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::Failed(error.to_string().into())),
        }
    }

    /// One entry.
    pub async fn entry(&self, id: EntryId) -> Result<Option<Entry>, StoreError> {
        let mut connection = self.read().await?;
        let row = sqlx::query("SELECT * FROM entry WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&mut *connection)
            .await?;
        Ok(row.as_ref().map(self::entry).transpose()?)
    }

    /// The newest entries, newest first; of one state if asked for.
    pub async fn entries(&self, state: Option<State>, most: u32) -> Result<Vec<Entry>, StoreError> {
        let mut connection = self.read().await?;
        let rows = sqlx::query(
            "SELECT * FROM entry WHERE ?1 IS NULL OR state = ?1 ORDER BY id DESC LIMIT ?2",
        )
        .bind(state.map(State::name))
        .bind(most)
        .fetch_all(&mut *connection)
        .await?;
        Ok(rows.iter().map(self::entry).collect::<Result<Vec<_>, _>>()?)
    }

    /// How many entries are in each state.
    pub async fn counts(&self) -> Result<Vec<(State, u64)>, StoreError> {
        let mut connection = self.read().await?;
        let rows =
            sqlx::query("SELECT state, count(*) AS n FROM entry GROUP BY state ORDER BY state")
                .fetch_all(&mut *connection)
                .await?;
        rows.iter()
            .map(|row| Ok((state(row)?, row.get::<i64, _>("n").cast_unsigned())))
            .collect::<Result<_, sqlx::Error>>()
            .map_err(StoreError::from)
    }

    /// Forgets entries that came to their end before `before`, except those still needed to
    /// recognise a repeat.
    pub async fn forget_ended(&self, before: Timestamp) -> Result<u64, StoreError> {
        let now = Timestamp::now();
        self.write(move |connection| {
            Box::pin(async move {
                let gone = sqlx::query(
                    "DELETE FROM entry WHERE id IN (SELECT id FROM entry WHERE state IN ('sent', 'failed') \
                     AND due_at < ? AND repeat_until < ? LIMIT 5000)",
                )
                .bind(before.as_millisecond())
                .bind(now.as_millisecond())
                .execute(connection)
                .await?;
                Ok(gone.rows_affected())
            })
        })
        .await
    }
}

async fn settle(
    connection: &mut SqliteConnection,
    id: EntryId,
    account: AccountId,
    now: Timestamp,
    outcome: Outcome,
) -> Result<(), sqlx::Error> {
    use sqlx::Connection;
    let mut all = connection.begin().await?;
    let (state, due_at, waited, note, report) = match outcome {
        Outcome::Sent => (State::Sent, now, Duration::ZERO, None, None),
        Outcome::Later { due_at, waited, note } => {
            (State::Queued, due_at, waited, Some(note), None)
        }
        Outcome::Failed { note, report } => {
            (State::Failed, now, Duration::ZERO, Some(note), report)
        }
        Outcome::Held { note } => (State::Held, now, Duration::ZERO, Some(note), None),
    };
    sqlx::query(
        "UPDATE entry SET state = ?, due_at = ?, waited_ms = waited_ms + ?, note = ? WHERE id = ?",
    )
    .bind(state.name())
    .bind(due_at.as_millisecond())
    .bind(i64::try_from(waited.as_millis()).unwrap_or(i64::MAX))
    .bind(note)
    .bind(id.to_string())
    .execute(&mut *all)
    .await?;
    if matches!(state, State::Sent | State::Failed) {
        sqlx::query("DELETE FROM body WHERE entry = ?")
            .bind(id.to_string())
            .execute(&mut *all)
            .await?;
    }
    if let Some(report) = report {
        let row = NewEntry {
            id: EntryId::new(),
            account,
            kind: Kind::Report,
            envelope: decode(serde_json::to_string(&report.envelope))?,
            size: report.octets.len() as u64,
            digest: digest::digest(&digest::SHA256, &report.octets).as_ref().to_vec(),
            repeat_until: now,
            accepted_at: now,
            // A report is small: it holds headers and words, never a body.
            octets: Some(report.octets),
        };
        row.insert(&mut all).await?;
    }
    all.commit().await
}

fn account_id(row: &sqlx::sqlite::SqliteRow) -> Result<AccountId, sqlx::Error> {
    decode(Uuid::from_slice(row.try_get::<&[u8], _>("account")?)).map(AccountId)
}

fn time(row: &sqlx::sqlite::SqliteRow, column: &str) -> Result<Timestamp, sqlx::Error> {
    decode(Timestamp::from_millisecond(row.try_get(column)?))
}

/// A column held a word that this program does not know.
#[derive(Debug, thiserror::Error)]
#[error("unknown {0}: {1}")]
struct UnknownWord(&'static str, String);

fn state(row: &sqlx::sqlite::SqliteRow) -> Result<State, sqlx::Error> {
    let name: String = row.try_get("state")?;
    decode(State::from_name(&name).ok_or(UnknownWord("state", name)))
}

fn entry(row: &sqlx::sqlite::SqliteRow) -> Result<Entry, sqlx::Error> {
    let kind: String = row.try_get("kind")?;
    Ok(Entry {
        id: decode(row.try_get::<&str, _>("id")?.parse())?,
        account: account_id(row)?,
        kind: decode(Kind::from_name(&kind).ok_or(UnknownWord("kind", kind)))?,
        envelope: decode(serde_json::from_str(row.try_get("envelope")?))?,
        size: row.try_get::<i64, _>("size")?.cast_unsigned(),
        accepted_at: time(row, "accepted_at")?,
        state: state(row)?,
        attempts: row.try_get("attempts")?,
        due_at: time(row, "due_at")?,
        waited: Duration::from_millis(row.try_get::<i64, _>("waited_ms")?.cast_unsigned()),
        note: row.try_get("note")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{Address, Profile, Standing};
    use crate::submission::MailParameters;

    fn account() -> Account {
        Account {
            id: AccountId(Uuid::from_u128(1)),
            address: Address::parse("adele.vance@contoso.example").unwrap(),
            aliases: vec![],
            send_as: vec![],
            profile: Profile::Full,
            granted: vec![],
            person: None,
            standing: Standing::Ready,
        }
    }

    fn envelope(to: &str) -> Envelope {
        let to = Address::parse(to).unwrap();
        Envelope::new(Some(account().address), vec![to.into()], MailParameters::default()).unwrap()
    }

    async fn store(directory: &Path) -> Store {
        Store::open(directory, Room { keep_free_octets: 0, ..Room::default() }).await.unwrap()
    }

    async fn hand_in(store: &Store, octets: &[u8], to: &str) -> Receipt {
        let mut incoming = store.begin(&account());
        for piece in octets.chunks(1000) {
            incoming.write(piece).await.unwrap();
        }
        incoming.commit(&envelope(to), true).await.unwrap()
    }

    async fn claim_all(store: &Store) -> Vec<Entry> {
        let now = Timestamp::now();
        store.claim(account().id, now, now + Duration::from_secs(10), 100).await.unwrap()
    }

    fn directory() -> tempfile::TempDir {
        use std::os::unix::fs::PermissionsExt;
        let private = fs::Permissions::from_mode(0o700);
        tempfile::Builder::new().permissions(private).tempdir().unwrap()
    }

    #[test]
    fn an_id_reads_back_as_itself() {
        let id = EntryId::new();
        assert_eq!(id.to_string().parse::<EntryId>().unwrap(), id);
        assert!("x".parse::<EntryId>().is_err());
        assert!("u".repeat(26).parse::<EntryId>().is_err());
    }

    #[tokio::test]
    async fn what_was_committed_survives_and_what_was_dropped_leaves_nothing() {
        let directory = directory();
        let small = b"Subject: small\r\n\r\nbody\r\n".to_vec();
        let large =
            [b"Subject: large\r\n\r\n".as_slice(), &vec![b'x'; 3 * ROW_OCTETS_MAX]].concat();
        // A file too, but one that is written at once.
        let middle = vec![b'y'; ROW_OCTETS_MAX + 1];
        let (first, second, third) = {
            let store = store(directory.path()).await;
            let mut dropped = store.begin(&account());
            dropped.write(&large).await.unwrap();
            drop(dropped);
            let first = hand_in(&store, &small, "b@contoso.example").await;
            let second = hand_in(&store, &large, "b@contoso.example").await;
            let third = hand_in(&store, &middle, "b@contoso.example").await;
            let again = hand_in(&store, &middle, "b@contoso.example").await;
            assert!(again.is_repeat());
            (first.id(), second.id(), third.id())
        };
        let store = reopen(directory.path()).await;
        assert_eq!(store.body(first).await.unwrap().unwrap(), small);
        assert_eq!(store.body(second).await.unwrap().unwrap(), large);
        assert_eq!(store.body(third).await.unwrap().unwrap(), middle);
        let files: Vec<_> = fs::read_dir(directory.path().join("spool")).unwrap().collect();
        assert_eq!(files.len(), 2, "{files:?}");
    }

    /// The lock is free when the last handle is gone, which the writer task may hold a moment longer.
    async fn reopen(directory: &Path) -> Store {
        loop {
            match Store::open(directory, Room { keep_free_octets: 0, ..Room::default() }).await {
                Ok(store) => return store,
                Err(super::super::OpenError::InUse { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[tokio::test]
    async fn the_same_mail_again_gets_the_same_id_unless_the_first_one_failed() {
        let directory = directory();
        let store = store(directory.path()).await;
        let mail = b"Message-ID: <1@contoso.example>\r\n\r\nhello\r\n";
        let first = hand_in(&store, mail, "b@contoso.example").await;
        let again = hand_in(&store, mail, "b@contoso.example").await;
        assert!(!first.is_repeat() && again.is_repeat());
        assert_eq!(first.id(), again.id());
        let elsewhere = hand_in(&store, mail, "c@contoso.example").await;
        assert_ne!(first.id(), elsewhere.id());

        let entries = claim_all(&store).await;
        let entry = entries.iter().find(|entry| entry.id == first.id()).unwrap();
        let outcome = Outcome::Failed { note: "no".into(), report: None };
        store.settle(entry, outcome).await.unwrap();
        let after = hand_in(&store, mail, "b@contoso.example").await;
        assert!(!after.is_repeat());
    }

    #[tokio::test]
    async fn an_attempt_is_written_before_it_is_made_and_a_stop_in_the_middle_of_sending_is_held() {
        let directory = directory();
        let (begun, only_claimed) = {
            let store = store(directory.path()).await;
            let begun = hand_in(&store, b"a\r\n", "b@contoso.example").await.id();
            let claimed = hand_in(&store, b"b\r\n", "b@contoso.example").await.id();
            let entries = claim_all(&store).await;
            assert_eq!(entries.len(), 2);
            assert!(entries.iter().all(|entry| entry.attempts == 1));
            store.begin_sending(begun).await.unwrap();
            assert!(store.begin_sending(begun).await.is_err(), "the call is begun only once");
            (begun, claimed)
        };
        let store = reopen(directory.path()).await;
        assert_eq!(store.entry(begun).await.unwrap().unwrap().state, State::Held);
        let entry = store.entry(only_claimed).await.unwrap().unwrap();
        assert_eq!((entry.state, entry.attempts), (State::Queued, 1));
        assert!(entry.due_at > entry.accepted_at);
    }

    #[tokio::test]
    async fn a_full_spool_refuses_and_takes_mails_again_when_there_is_room() {
        let directory = directory();
        let room = Room { quota_octets: 1000, keep_free_octets: 0 };
        let store = Store::open(directory.path(), room).await.unwrap();
        let mail = vec![b'x'; 600];
        let first = hand_in(&store, &mail, "b@contoso.example").await;
        assert!(matches!(store.room(600), Err(SpoolError::Full(_))));
        let mut second = store.begin(&account());
        second.write(&mail).await.unwrap();
        let refused = second.commit(&envelope("c@contoso.example"), true).await;
        assert!(matches!(refused, Err(SpoolError::Full(_))));
        let entries = claim_all(&store).await;
        assert_eq!(entries.iter().map(|e| e.id).collect::<Vec<_>>(), [first.id()]);
        store.settle(&entries[0], Outcome::Sent).await.unwrap();
        store.room(600).unwrap();
    }

    #[tokio::test]
    async fn what_is_due_is_found_without_reading_the_whole_spool() {
        let directory = directory();
        let store = store(directory.path()).await;
        let mut connection = store.read().await.unwrap();
        for query in [DUE, CLAIM] {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}"));
            let plan = sqlx::query(explain).fetch_all(&mut *connection).await.unwrap();
            let steps: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
            assert!(steps.iter().any(|step| step.contains("INDEX entry_due")), "{steps:#?}");
            assert!(!steps.iter().any(|step| step.starts_with("SCAN entry")), "{steps:#?}");
        }
    }

    #[tokio::test]
    async fn one_state_directory_has_one_daemon() {
        let directory = directory();
        let _first = store(directory.path()).await;
        let second = Store::open(directory.path(), Room::default()).await.err().unwrap();
        assert!(matches!(second, super::super::OpenError::InUse { .. }), "{second}");
    }

    #[tokio::test]
    async fn a_state_directory_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = directory();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o750)).unwrap();
        let refused = Store::open(directory.path(), Room::default()).await.err().unwrap();
        assert!(matches!(refused, super::super::OpenError::Exposed { .. }), "{refused}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is touched");
    }
}
