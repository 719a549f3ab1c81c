//! The spool: mails that were acknowledged, until they came to their end.
//!
//! An [`Incoming`] mail is nothing (dropped = discarded) until [`Incoming::commit`] gives out a
//! [`Receipt`]: the mail is then on disk, synced, and only a `Receipt` can make a 250.
//!
//! ```text
//!  commit ─► queued ─claim─► attempting ─begin─► sending ─► sent
//!              ▲                  │                  ├────► failed (and a report)
//!              └────── later, or in doubt ┴─────────┤
//!                                                    └────► held   (nobody knows: shown, not repeated)
//! ```
//!
//! An operator may send a *held* or *failed* one again, or end one that waits: see `order`. Who waits
//! to hear what becomes of a mail is in `verdict`.
//!
//! The attempt and the time of the next are written at *claim*, before anything is tried; *sending*
//! is written right before the one call that cannot be taken back. After a crash an entry found
//! *attempting* goes back to *queued*; so does one found *sending* that is a draft, with its doubt
//! written down; one that is none is *held*.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{Row, SqliteConnection};
use tokio::io::AsyncReadExt;
use tokio::sync::Notify;
use uuid::Uuid;

pub use super::entry_id::EntryId;
use super::history;
pub use super::incoming::{Incoming, ROW_OCTETS_MAX, Receipt};
use super::progress::{self, Progress};
pub use super::queue::{Most, OnTheirWay};
use super::tally::Tally;
use super::verdict::Waiting;
use super::{Room, Store, StoreError};
use crate::account::AccountId;
use crate::submission::Envelope;

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
    /// A client's change of a calendar object (see `calendar`).
    Object,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
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
            pub(super) fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}
names!(Kind { Submission = "submission", Report = "report", Object = "object" });
names!(State {
    Queued = "queued",
    Attempting = "attempting",
    Sending = "sending",
    Sent = "sent",
    Failed = "failed",
    Held = "held",
});

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
    pub progress: Progress,
    /// What Graph answered when it refused the mail, such as `403 ErrorSendAsDenied`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<String>,
    /// It failed, and its octets are still there for another try.
    #[serde(default)]
    pub kept: bool,
    /// Of a report: the mail that it speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<EntryId>,
    /// Whether the sender was told that it takes long.
    #[serde(default)]
    pub delay_reported: bool,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Graph said 202.
    Sent,
    /// Nothing went; again at `due_at`. `waited` is how much of the patience this wait uses up.
    Later { due_at: Timestamp, waited: Duration, note: String },
    /// It will never go. `status`: RFC 3463; `answered`: what Graph said.
    Failed { status: [u8; 3], note: String, answered: Option<String> },
    /// Nobody knows whether it went.
    Held { note: String },
}

/// A report, to be spooled in the same commit that ends or delays the mail it speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub envelope: Envelope,
    pub octets: Vec<u8>,
}

/// What all handles on the spool share.
pub(super) struct Shared {
    pub(super) directory: PathBuf,
    pub(super) room: Room,
    /// Octets of mails that are on their way, or kept for another try.
    pub(super) waiting_octets: AtomicU64,
    pub(super) changed: Notify,
    pub(super) waiting: Arc<Waiting>,
    pub(super) tally: Tally,
}

impl Shared {
    pub(super) async fn open(
        state: &Path,
        room: Room,
        now: Timestamp,
        connection: &mut SqliteConnection,
    ) -> io::Result<Shared> {
        let directory = state.join("spool");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        // The directory's own name must survive a power cut as well.
        fs::File::open(state)?.sync_all()?;
        let waiting = async {
            after_a_stop(connection, now).await?;
            sqlx::query_scalar::<_, i64>(
                "SELECT coalesce(sum(size), 0) FROM entry WHERE state IN ('queued', 'held') OR kept = 1",
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
            waiting: Arc::default(),
            tally: Tally::default(),
        })
    }

    pub(super) fn file(&self, id: EntryId) -> PathBuf {
        self.directory.join(id.to_string())
    }
}

/// What the last stop left in the middle: what was attempted is tried again, what was being sent is looked
/// for, or held where it cannot be looked for.
async fn after_a_stop(
    connection: &mut SqliteConnection,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    use sqlx::Connection;
    let mut all = connection.begin().await?;
    let mut held = 0;
    for change in [
        "UPDATE entry SET state = 'queued', note = 'stopped in the middle of an attempt' \
         WHERE state = 'attempting' RETURNING *",
        "UPDATE entry SET state = 'queued', note = 'stopped in the middle of the call that sends it: \
         it is looked for' WHERE state = 'sending' \
         AND json_extract(progress, '$.doubt') IS NOT NULL RETURNING *",
        "UPDATE entry SET state = 'held', note = 'stopped in the middle of the call that sends it: \
         look in Sent Items whether it went' WHERE state = 'sending' RETURNING *",
    ] {
        for row in sqlx::query(change).fetch_all(&mut *all).await? {
            let entry = entry(&row)?;
            history::write_down(&mut all, entry.id, now).await?;
            held += u64::from(entry.state == State::Held);
        }
    }
    all.commit().await?;
    if held > 0 {
        tracing::warn!(
            mails = held,
            "held: the last stop came in the middle of sending them; see postbridge queue list --only held"
        );
    }
    Ok(())
}

/// Removes files that no entry speaks of: mails whose commit never came.
async fn sweep(directory: &Path, connection: &mut SqliteConnection) -> io::Result<()> {
    for file in fs::read_dir(directory)? {
        let file = file?;
        let name = file.file_name();
        let known = sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM entry WHERE id = ? AND (state NOT IN ('sent', 'failed') OR kept = 1)",
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

pub(super) fn decode<T, E: std::error::Error + Send + Sync + 'static>(
    result: Result<T, E>,
) -> Result<T, sqlx::Error> {
    result.map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

impl Store {
    /// The octets of a mail as the client sent them; `None` once it was sent, or has failed and they
    /// are kept no longer.
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

    /// The octets of a mail that is too large to be held, as the file they are in; `None` once it was
    /// sent or failed, and for what is small enough to be a row.
    pub async fn body_file(&self, id: EntryId) -> Result<Option<fs::File>, StoreError> {
        match tokio::fs::File::open(self.inner.spool.file(id)).await {
            Ok(file) => Ok(Some(file.into_std().await)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::Failed(error.to_string().into())),
        }
    }

    /// The first octets of a mail, at most so many.
    pub async fn body_start(&self, id: EntryId, most: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(file) = self.body_file(id).await? else { return self.body(id).await };
        let mut octets = Vec::new();
        let mut file = tokio::fs::File::from_std(file).take(most);
        let read = file.read_to_end(&mut octets).await;
        read.map_err(|error| StoreError::Failed(error.to_string().into()))?;
        Ok(Some(octets))
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

    /// The newest entries accepted before one, newest first; of one state or account if asked for.
    pub async fn entries_before(
        &self,
        before: Option<EntryId>,
        state: Option<State>,
        account: Option<AccountId>,
        most: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut connection = self.read().await?;
        let rows = sqlx::query(
            "SELECT * FROM entry WHERE (?1 IS NULL OR id < ?1) AND (?2 IS NULL OR state = ?2) \
             AND (?3 IS NULL OR account = ?3) ORDER BY id DESC LIMIT ?4",
        )
        .bind(before.map(|id| id.to_string()))
        .bind(state.map(State::name))
        .bind(account.map(|id| id.0.as_bytes().to_vec()))
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
}

pub(super) fn account_id(row: &sqlx::sqlite::SqliteRow) -> Result<AccountId, sqlx::Error> {
    decode(Uuid::from_slice(row.try_get::<&[u8], _>("account")?)).map(AccountId)
}

fn time(row: &sqlx::sqlite::SqliteRow, column: &str) -> Result<Timestamp, sqlx::Error> {
    decode(Timestamp::from_millisecond(row.try_get(column)?))
}

/// A column held a word that this program does not know.
#[derive(Debug, thiserror::Error)]
#[error("unknown {0}: {1}")]
struct UnknownWord(&'static str, String);

pub(super) fn state(row: &sqlx::sqlite::SqliteRow) -> Result<State, sqlx::Error> {
    let name: String = row.try_get("state")?;
    decode(State::from_name(&name).ok_or(UnknownWord("state", name)))
}

pub(super) fn entry(row: &sqlx::sqlite::SqliteRow) -> Result<Entry, sqlx::Error> {
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
        progress: progress::progress(row.try_get("progress")?)?,
        answered: row.try_get("answered")?,
        kept: row.try_get("kept")?,
        about: row.try_get::<Option<&str>, _>("about")?.map(|id| decode(id.parse())).transpose()?,
        delay_reported: row.try_get("delay_reported")?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::queue::{CLAIM, DUE};
    use super::*;
    use crate::account::{Account, Address, Profile, Standing};
    use crate::doubt::{Doubt, Patience};
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
        incoming.commit(&envelope(to), true, None).await.unwrap()
    }

    async fn claim_all(store: &Store) -> Vec<Entry> {
        let now = Timestamp::now();
        let of = vec![(account().id, Most::ALL)];
        store.claim(of, now, now + Duration::from_secs(10)).await.unwrap()
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
        let outcome = Outcome::Failed { status: [5, 0, 0], note: "no".into(), answered: None };
        store.settle(entry, outcome, None, Timestamp::MAX).await.unwrap();
        let after = hand_in(&store, mail, "b@contoso.example").await;
        assert!(!after.is_repeat());
    }

    #[tokio::test]
    async fn a_stop_in_the_middle_of_sending_is_looked_into_where_there_is_a_draft_and_held_otherwise()
     {
        let directory = directory();
        let draft = Progress {
            begun: 1,
            draft: None,
            doubt: Some(Doubt::new(Timestamp::UNIX_EPOCH, Patience::new(Duration::ZERO))),
        };
        let (begun, begun_as_draft, only_claimed) = {
            let store = store(directory.path()).await;
            let begun = hand_in(&store, b"a\r\n", "b@contoso.example").await.id();
            let claimed = hand_in(&store, b"b\r\n", "b@contoso.example").await.id();
            let as_draft = hand_in(&store, b"c\r\n", "b@contoso.example").await.id();
            let entries = claim_all(&store).await;
            assert_eq!(entries.len(), 3);
            assert!(entries.iter().all(|entry| entry.attempts == 1));
            let none = Progress::default();
            store.begin_sending(begun, &none).await.unwrap();
            assert!(store.begin_sending(begun, &none).await.is_err(), "begun only once");
            store.begin_sending(as_draft, &draft).await.unwrap();
            (begun, as_draft, claimed)
        };
        let store = reopen(directory.path()).await;
        assert_eq!(store.entry(begun).await.unwrap().unwrap().state, State::Held);
        let entry = store.entry(begun_as_draft).await.unwrap().unwrap();
        assert_eq!((entry.state, entry.progress), (State::Queued, draft));
        let entry = store.entry(only_claimed).await.unwrap().unwrap();
        assert_eq!((entry.state, entry.attempts), (State::Queued, 1));
        assert!(entry.due_at > entry.accepted_at);
        for (id, state) in
            [(begun, State::Held), (begun_as_draft, State::Queued), (only_claimed, State::Queued)]
        {
            let lines = store.history(id).await.unwrap();
            let [line] = lines.as_slice() else { panic!("{lines:?}") };
            assert_eq!((line.state, line.attempt), (state, 1));
            assert!(
                line.note.as_ref().unwrap().starts_with("stopped in the middle of"),
                "{line:?}"
            );
        }
    }

    #[tokio::test]
    async fn the_history_of_a_mail_goes_with_it() {
        let directory = directory();
        let clock = crate::clock::Clock::default();
        let room = Room { keep_free_octets: 0, ..Room::default() };
        let store = Store::open_at(directory.path(), room, clock.clone()).await.unwrap();
        let id = hand_in(&store, b"a\r\n", "b@contoso.example").await.id();
        let entry = claim_all(&store).await.remove(0);
        store.settle(&entry, Outcome::Sent, None, Timestamp::MAX).await.unwrap();
        assert_eq!(store.history(id).await.unwrap().len(), 1);
        clock.advance(Duration::from_secs(8 * 24 * 3600));
        assert_eq!(store.forget_ended(clock.now()).await.unwrap(), 1);
        assert_eq!(store.last_lines(10).await.unwrap(), []);
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
        let refused = second.commit(&envelope("c@contoso.example"), true, None).await;
        assert!(matches!(refused, Err(SpoolError::Full(_))));
        let entries = claim_all(&store).await;
        assert_eq!(entries.iter().map(|e| e.id).collect::<Vec<_>>(), [first.id()]);
        store.settle(&entries[0], Outcome::Sent, None, Timestamp::MAX).await.unwrap();
        store.room(600).unwrap();
    }

    #[tokio::test]
    async fn what_is_due_is_found_without_reading_the_whole_spool() {
        let directory = directory();
        let store = store(directory.path()).await;
        let mut connection = store.read().await.unwrap();
        for (query, indexes) in [
            (DUE, &["entry_due"][..]),
            (CLAIM, &["entry_due_invite", "entry_due_begun", "entry_due_new", "entry_series"]),
        ] {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}"));
            let plan = sqlx::query(explain).fetch_all(&mut *connection).await.unwrap();
            let steps: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
            for index in indexes {
                let named = format!("INDEX {index} (");
                assert!(steps.iter().any(|step| step.contains(&named)), "{index}: {steps:#?}");
            }
            let reads_all =
                |step: &String| step.starts_with("SCAN entry") || step.contains("TEMP B-TREE");
            assert!(!steps.iter().any(reads_all), "{steps:#?}");
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
