//! A mail on its way into the spool: nothing until it is committed, on disk from then on.

use std::borrow::Cow;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_lc_rs::digest;
use jiff::Timestamp;
use sqlx::SqliteConnection;
use tokio::io::AsyncWriteExt;

use super::entry_id::EntryId;
use super::spool::{Kind, SpoolError, decode};
use super::tally::one_more;
use super::{Store, die};
use crate::account::{Account, AccountId};
use crate::submission::Envelope;

/// Mails up to this many octets are rows (one fsync, shared by all who wait, but written twice);
/// larger ones are files (written once, with syncs of their own). `benches/spool.rs` prints what
/// either costs.
pub const ROW_OCTETS_MAX: usize = 64 * 1024;
/// A mail on its way in is kept in memory up to here, so that most files are written in one go.
const MEMORY_OCTETS_MAX: usize = 128 * 1024;

/// A mail on its way in is read back for a look into it up to here.
const READ_BACK_OCTETS_MAX: u64 = 4 << 20;

/// How long the same mail, handed in again, is the mail we already have.
const REPEAT_WINDOW: Duration = Duration::from_secs(24 * 3600);
/// The same for mails with neither a Message-ID nor a Date: those of a script that says the same
/// each hour are different mails, those of a device that lost our 250 come within minutes.
const REPEAT_WINDOW_ANONYMOUS: Duration = Duration::from_secs(15 * 60);

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
    /// The id that its receipt will name, if it is no repeat.
    pub fn id(&self) -> EntryId {
        self.id
    }

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

    /// All octets so far, if they are not too many for a look into them.
    pub async fn octets(&mut self) -> Result<Option<Cow<'_, [u8]>>, SpoolError> {
        let Some((part, file)) = &mut self.file else {
            return Ok(Some(Cow::Borrowed(&self.octets)));
        };
        if self.size > READ_BACK_OCTETS_MAX {
            return Ok(None);
        }
        file.flush().await?;
        let path = part.path.clone();
        Ok(Some(Cow::Owned(blocking(move || fs::read(path)).await?)))
    }

    /// Octets written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Puts the mail on disk. When this returns a receipt, a power cut can no longer take it.
    ///
    /// `named`: the mail has a Message-ID or a Date, so that an equal one is a repeat for a day.
    /// `series`: the UID of the invite in it; mails of one UID are acted on in their order.
    pub async fn commit(
        self,
        envelope: &Envelope,
        named: bool,
        series: Option<String>,
    ) -> Result<Receipt, SpoolError> {
        let envelope = serde_json::to_string(envelope)
            .map_err(|error| SpoolError::Unavailable(error.to_string().into()))?;
        // In a task of its own: a client that hangs up now must not leave half a commit behind.
        tokio::spawn(self.put_on_disk(envelope, named, series))
            .await
            .unwrap_or_else(|error| Err(SpoolError::Unavailable(error.to_string().into())))
    }

    async fn put_on_disk(
        self,
        envelope: String,
        named: bool,
        series: Option<String>,
    ) -> Result<Receipt, SpoolError> {
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
        let now = store.clock().now();
        let row = NewEntry {
            id,
            account,
            kind: Kind::Submission,
            envelope,
            size,
            digest,
            repeat_until: now.saturating_add(window).unwrap_or(now),
            accepted_at: now,
            series,
            about: None,
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
            one_more(&store.inner.spool.tally.accepted);
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

pub(super) struct NewEntry {
    pub id: EntryId,
    pub account: AccountId,
    pub kind: Kind,
    pub envelope: String,
    pub size: u64,
    pub digest: Vec<u8>,
    pub repeat_until: Timestamp,
    pub accepted_at: Timestamp,
    pub series: Option<String>,
    pub about: Option<EntryId>,
    pub octets: Option<Vec<u8>>,
}

impl NewEntry {
    pub(super) async fn insert(
        self,
        connection: &mut SqliteConnection,
    ) -> Result<Receipt, sqlx::Error> {
        let now = self.accepted_at.as_millisecond();
        // The row and its octets are two statements without a savepoint around them: a failure of
        // the second that spares the transaction cannot happen (the key is new, the row is there).
        // One string, so that it is one errand to the thread that SQLite runs on.
        let inserted = sqlx::query(
            "INSERT INTO entry (id, account, kind, envelope, size, digest, repeat_until, accepted_at, state, due_at, series, about) \
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'queued', ?8, ?10, ?11 WHERE NOT EXISTS \
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
        .bind(self.series)
        .bind(self.about.map(|id| id.to_string()))
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
}
