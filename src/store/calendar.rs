//! The calendars that CalDAV shows: objects, their ETags, and what changed since when.
//!
//! They are our own record of what went through the bridge. A client's change is one commit: its
//! precondition is looked at, the object is put in place, and the change is spooled like a mail; so the
//! [`Receipt`] that a 2xx is built from says that it is on disk. What the change took the place of is
//! kept until the mailbox has it; a change that is refused for good is taken back.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use sqlx::{Connection, Row, SqliteConnection};

use super::calendars::{DEFAULT, ensure};
use super::entry_id::EntryId;
use super::incoming::{NewEntry, Receipt};
use super::spool::{Kind, SpoolError, decode};
use super::tally::one_more;
use super::{Store, StoreError};
use crate::account::AccountId;
use crate::submission::Envelope;

/// How many changes that are over are kept, to tell those who synchronise.
const GONE_KEPT: i64 = 10_000;

/// A calendar object resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub name: String,
    pub uid: String,
    pub octets: Vec<u8>,
    /// Strong, with its quotes.
    pub etag: String,
    pub schedule_tag: String,
    pub changed_at: Timestamp,
}

/// What an object can occupy, in Unix milliseconds; `None`: without bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub first: Option<i64>,
    pub last: Option<i64>,
}

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub account: AccountId,
    pub calendar: String,
    pub name: String,
}

/// A client's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Put { uid: String, octets: Vec<u8>, span: Span },
    Delete,
}

/// What is spooled for it.
#[derive(Debug, Clone)]
pub struct Spooled {
    pub id: EntryId,
    pub envelope: Envelope,
    /// What a report speaks of, in the form of a mail; the worker reads the object behind it.
    pub octets: Vec<u8>,
}

/// What came of a change.
#[derive(Debug)]
pub enum Changed {
    /// It is on disk, and on its way to the mailbox.
    Kept { receipt: Receipt, created: bool },
    /// The object says this already; nothing was changed.
    Same,
}

/// Why nothing was changed. `R` is the precondition's own word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused<R> {
    Precondition(R),
    /// RFC 4791 §5.3.2.1: another object of the account has this UID, here.
    UidElsewhere {
        calendar: String,
        name: String,
    },
    NoSuchCalendar,
    NoSuchObject,
}

/// A change that is on its way, for the one who carries it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub place: Place,
    pub deletes: bool,
}

/// What changed since a sync-token (RFC 6578).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Since {
    /// Name and ETag; `None`: it is gone.
    pub objects: Vec<(String, Option<String>)>,
    /// How far these reach: up to this change.
    pub change: u64,
    /// There are more behind it.
    pub truncated: bool,
}

impl Store {
    pub async fn object(&self, place: &Place) -> Result<Option<Object>, StoreError> {
        let mut connection = self.read().await?;
        Ok(find(&mut connection, place).await?)
    }

    /// The objects of a calendar in the order of their names, behind `after`, at most `most`; those that
    /// can occupy any of `within` alone, if it is given. Whoever wants all of them asks again with the
    /// last name, so that no calendar is ever held whole.
    pub async fn objects(
        &self,
        account: AccountId,
        calendar: &str,
        within: Option<(Option<i64>, Option<i64>)>,
        after: &str,
        most: u32,
    ) -> Result<Vec<Object>, StoreError> {
        let (from, to) = within.unwrap_or_default();
        let mut connection = self.read().await?;
        let rows = sqlx::query(if within.is_some() { OBJECTS_WITHIN } else { OBJECTS })
            .bind(account.0.as_bytes().as_slice())
            .bind(calendar)
            .bind(after)
            .bind(most)
            .bind(from.unwrap_or(i64::MIN))
            .bind(to.unwrap_or(i64::MAX))
            .fetch_all(&mut *connection)
            .await?;
        Ok(rows.iter().map(object).collect::<Result<_, _>>()?)
    }

    /// Name, ETag and Schedule-Tag alone, without the octets: see [`Store::objects`].
    pub async fn object_tags(
        &self,
        account: AccountId,
        calendar: &str,
        after: &str,
        most: u32,
    ) -> Result<Vec<Tags>, StoreError> {
        let mut connection = self.read().await?;
        let rows = sqlx::query(TAGS)
            .bind(account.0.as_bytes().as_slice())
            .bind(calendar)
            .bind(after)
            .bind(most)
            .fetch_all(&mut *connection)
            .await?;
        Ok(rows.iter().map(tags).collect::<Result<_, _>>()?)
    }

    /// Where the object with this UID is.
    pub async fn object_of_uid(
        &self,
        account: AccountId,
        uid: &str,
    ) -> Result<Option<(Place, Object)>, StoreError> {
        let mut connection = self.read().await?;
        let row = sqlx::query("SELECT * FROM object WHERE account = ? AND uid = ? AND gone = 0")
            .bind(account.0.as_bytes().as_slice())
            .bind(uid)
            .fetch_optional(&mut *connection)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let object = object(&row)?;
        let (calendar, name) = (row.get("calendar"), object.name.clone());
        Ok(Some((Place { account, calendar, name }, object)))
    }

    /// What changed since `change`, oldest first, at most `most`; `None`: all that is there. Nothing is
    /// returned where that is so long ago, or so far ahead, that nobody can say.
    pub async fn changed_since(
        &self,
        account: AccountId,
        calendar: &str,
        change: Option<u64>,
        most: u32,
    ) -> Result<Option<Since>, StoreError> {
        let mut connection = self.read().await?;
        let known =
            sqlx::query("SELECT change, forgotten FROM calendar WHERE account = ? AND name = ?")
                .bind(account.0.as_bytes().as_slice())
                .bind(calendar)
                .fetch_optional(&mut *connection)
                .await?;
        let (newest, forgotten) = known.map_or((0, 0), |row| {
            (row.get::<i64, _>("change").cast_unsigned(), row.get::<i64, _>("forgotten"))
        });
        if change.is_some_and(|change| change > newest || change < forgotten.cast_unsigned()) {
            return Ok(None);
        }
        // Who begins never saw what is gone. Who saw an empty calendar may have put something there since.
        let rows = sqlx::query(
            "SELECT name, etag, gone, change FROM object WHERE account = ?1 AND calendar = ?2 \
             AND change > coalesce(?3, 0) AND (gone = 0 OR ?3 IS NOT NULL) ORDER BY change LIMIT ?4",
        )
        .bind(account.0.as_bytes().as_slice())
        .bind(calendar)
        .bind(change.map(u64::cast_signed))
        .bind(i64::from(most) + 1)
        .fetch_all(&mut *connection)
        .await?;
        let truncated = rows.len() > most as usize;
        let rows = rows.get(..most as usize).unwrap_or(&rows);
        let last = rows.last().map(|row| row.get::<i64, _>("change").cast_unsigned());
        let objects = rows
            .iter()
            .map(|row| {
                let etag = (!row.get::<bool, _>("gone")).then(|| row.get("etag"));
                (row.get("name"), etag)
            })
            .collect();
        let change = if truncated { last.unwrap_or(newest) } else { newest };
        Ok(Some(Since { objects, change, truncated }))
    }

    /// The name of a change that is to be made; later ones sort behind it.
    pub fn new_entry_id(&self) -> EntryId {
        EntryId::new()
    }

    /// Carries a client's change into its calendar and the spool, in one commit. `allows` is asked what
    /// it says of the object as it stands, in the same transaction.
    pub async fn change_object<R, F>(
        &self,
        place: Place,
        change: Change,
        spooled: Spooled,
        allows: F,
    ) -> Result<Result<Changed, Refused<R>>, SpoolError>
    where
        R: Send + 'static,
        F: FnOnce(Option<&Object>) -> Result<(), R> + Send + 'static,
    {
        let size = spooled.octets.len() as u64;
        self.room(size)?;
        let store = self.clone();
        // In a task of its own: a client that hangs up now must not leave half a commit behind.
        let task = tokio::spawn(async move {
            // Counted before it is committed, or the worker could take it off before it was put on.
            let spool = &store.inner.spool;
            spool.waiting_octets.fetch_add(size, Ordering::Relaxed);
            let now = store.clock().now();
            let done = store
                .write(move |connection| {
                    Box::pin(commit(connection, place, change, spooled, now, allows))
                })
                .await;
            match &done {
                Ok(Ok(Changed::Kept { .. })) => {
                    one_more(&spool.tally.accepted);
                    spool.changed.notify_one();
                }
                _ => {
                    spool.waiting_octets.fetch_sub(size, Ordering::Relaxed);
                }
            }
            done
        });
        let done = task.await;
        Ok(done.map_err(|error| SpoolError::Unavailable(error.to_string().into()))??)
    }

    /// The object of an invite as it was before whatever was asked of it after this entry; `None`: there was
    /// none.
    pub async fn object_before(
        &self,
        account: AccountId,
        uid: &str,
        entry: EntryId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        {
            let mut connection = self.read().await?;
            if let Some(later) = change_behind(&mut connection, account, uid, entry).await? {
                let before = sqlx::query_scalar("SELECT before FROM object_change WHERE entry = ?");
                return Ok(before.bind(later).fetch_one(&mut *connection).await?);
            }
        }
        Ok(self.object_of_uid(account, uid).await?.map(|(_, object)| object.octets))
    }

    /// The change that a spool entry is; `None`: it is none.
    pub async fn pending_change(&self, id: EntryId) -> Result<Option<Pending>, StoreError> {
        let mut connection = self.read().await?;
        let row = sqlx::query("SELECT * FROM object_change WHERE entry = ?")
            .bind(id.to_string())
            .fetch_optional(&mut *connection)
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Pending { place: place(&row)?, deletes: row.get("deletes") }))
    }
}

/// Whether a change of the invite with this UID is still on its way, by mail or by a client.
pub(super) async fn is_changing(
    connection: &mut SqliteConnection,
    account: AccountId,
    uid: &str,
) -> Result<bool, sqlx::Error> {
    let waiting: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM entry WHERE account = ? AND series = ? AND series IS NOT NULL \
         AND state IN ('queued', 'attempting', 'sending')",
    )
    .bind(account.0.as_bytes().as_slice())
    .bind(uid)
    .fetch_one(connection)
    .await?;
    Ok(waiting > 0)
}

pub(super) async fn etag_of_uid(
    connection: &mut SqliteConnection,
    account: AccountId,
    uid: &str,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT etag FROM object WHERE account = ? AND uid = ? AND gone = 0")
        .bind(account.0.as_bytes().as_slice())
        .bind(uid)
        .fetch_optional(connection)
        .await
}

/// What a message, or somebody in Outlook, made of the object of an invite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mirrored {
    /// Nothing: it is as it was, or there is none.
    AsItWas,
    /// `answers_alone`: nothing but answers of attendees is new in it (RFC 6638 §3.2.10).
    Is {
        octets: Vec<u8>,
        span: Span,
        answers_alone: bool,
    },
    Gone,
}

/// The first change of an invite's object that a client made after this entry, as long as it is on its way.
async fn change_behind(
    connection: &mut SqliteConnection,
    account: AccountId,
    uid: &str,
    entry: EntryId,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT min(object_change.entry) FROM object_change JOIN object \
         ON object.account = object_change.account AND object.calendar = object_change.calendar \
         AND object.name = object_change.name WHERE object_change.account = ? AND object.uid = ? \
         AND object_change.entry > ?",
    )
    .bind(account.0.as_bytes().as_slice())
    .bind(uid)
    .bind(entry.to_string())
    .fetch_one(connection)
    .await
}

/// Puts what became of an invite into its calendar: the one it is in, else the default one. `entry`: of
/// the message that it came of. Where a client has spoken after it, the calendar shows what the client said
/// already, and this is what that took the place of.
pub(super) async fn mirror(
    connection: &mut SqliteConnection,
    account: AccountId,
    uid: &str,
    entry: Option<EntryId>,
    mirrored: Mirrored,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    if mirrored == Mirrored::AsItWas {
        return Ok(());
    }
    let later = match entry {
        Some(entry) => change_behind(connection, account, uid, entry).await?,
        None => None,
    };
    if let Some(later) = later {
        let (octets, span) = match mirrored {
            Mirrored::Is { octets, span, .. } => (Some(octets), span),
            Mirrored::Gone | Mirrored::AsItWas => (None, Span::default()),
        };
        sqlx::query(
            "UPDATE object_change SET before = ?, before_tag = ?, before_first = ?, before_last = ? \
             WHERE entry = ?",
        )
        .bind(&octets)
        .bind(octets.as_deref().map(etag))
        .bind(span.first)
        .bind(span.last)
        .bind(later)
        .execute(connection)
        .await?;
        return Ok(());
    }
    let known = sqlx::query(
        "SELECT calendar, name, octets, schedule_tag FROM object WHERE account = ? AND uid = ? \
         AND gone = 0",
    )
    .bind(account.0.as_bytes().as_slice())
    .bind(uid)
    .fetch_optional(&mut *connection)
    .await?;
    let at = match &known {
        Some(row) => Place { account, calendar: row.get("calendar"), name: row.get("name") },
        None => Place { account, calendar: DEFAULT.to_owned(), name: name_of(uid) },
    };
    match (mirrored, known) {
        (Mirrored::Is { octets, .. }, Some(row)) if row.get::<&[u8], _>("octets") == octets => {
            Ok(())
        }
        (Mirrored::Is { octets, span, answers_alone }, known) => {
            let kept = known.filter(|_| answers_alone).map(|row| row.get("schedule_tag"));
            let schedule_tag = kept.unwrap_or_else(|| etag(&octets));
            next_change(connection, &at).await?;
            let uid = uid.to_owned();
            write(connection, &at, None, AsItIs { uid, octets, schedule_tag, span }, now).await
        }
        (Mirrored::Gone, Some(_)) => {
            next_change(connection, &at).await?;
            remove(connection, &at, None, now).await
        }
        (Mirrored::Gone | Mirrored::AsItWas, _) => Ok(()),
    }
}

/// The last segment of the URL of an object that no client named.
fn name_of(uid: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    let is_name = !uid.is_empty() && uid.len() <= 100 && !uid.starts_with('.');
    match is_name && uid.chars().all(is_plain) {
        true => format!("{uid}.ics"),
        false => format!("{}.ics", crate::invite::digest(uid.as_bytes())),
    }
}

const OBJECTS: &str = "SELECT * FROM object WHERE account = ?1 AND calendar = ?2 AND name > ?3 \
     AND gone = 0 ORDER BY name LIMIT ?4";
/// By the index of time: what ended before is passed over.
const OBJECTS_WITHIN: &str = "SELECT * FROM object WHERE account = ?1 AND calendar = ?2 AND gone = 0 \
     AND name > ?3 AND rowid IN ( \
     SELECT rowid FROM object WHERE account = ?1 AND calendar = ?2 AND gone = 0 \
     AND last_at >= ?5 AND coalesce(first_at, ?5) <= ?6 UNION ALL \
     SELECT rowid FROM object WHERE account = ?1 AND calendar = ?2 AND gone = 0 \
     AND last_at IS NULL AND coalesce(first_at, ?5) <= ?6) ORDER BY name LIMIT ?4";
const TAGS: &str = "SELECT name, etag, schedule_tag, length(octets) AS size, changed_at FROM object \
     WHERE account = ?1 AND calendar = ?2 AND name > ?3 AND gone = 0 ORDER BY name LIMIT ?4";

/// A strong ETag (RFC 9110 §8.8.1) over the octets that are returned.
pub fn etag(octets: &[u8]) -> String {
    let digest = crate::invite::digest(octets);
    format!("\"{}\"", digest.get(..32).unwrap_or(&digest))
}

/// What a listing shows of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tags {
    pub name: String,
    pub etag: String,
    pub schedule_tag: String,
    pub octets: u64,
    pub changed_at: Timestamp,
}

impl Tags {
    pub fn of(object: &Object) -> Tags {
        Tags {
            name: object.name.clone(),
            etag: object.etag.clone(),
            schedule_tag: object.schedule_tag.clone(),
            octets: object.octets.len() as u64,
            changed_at: object.changed_at,
        }
    }
}

fn tags(row: &sqlx::sqlite::SqliteRow) -> Result<Tags, sqlx::Error> {
    Ok(Tags {
        name: row.try_get("name")?,
        etag: row.try_get("etag")?,
        schedule_tag: row.try_get("schedule_tag")?,
        octets: row.try_get::<i64, _>("size")?.cast_unsigned(),
        changed_at: decode(Timestamp::from_millisecond(row.try_get("changed_at")?))?,
    })
}

fn object(row: &sqlx::sqlite::SqliteRow) -> Result<Object, sqlx::Error> {
    Ok(Object {
        name: row.try_get("name")?,
        uid: row.try_get("uid")?,
        octets: row.try_get("octets")?,
        etag: row.try_get("etag")?,
        schedule_tag: row.try_get("schedule_tag")?,
        changed_at: decode(Timestamp::from_millisecond(row.try_get("changed_at")?))?,
    })
}

fn place(row: &sqlx::sqlite::SqliteRow) -> Result<Place, sqlx::Error> {
    let account = super::spool::account_id(row)?;
    Ok(Place { account, calendar: row.try_get("calendar")?, name: row.try_get("name")? })
}

async fn find(
    connection: &mut SqliteConnection,
    at: &Place,
) -> Result<Option<Object>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT * FROM object WHERE account = ? AND calendar = ? AND name = ? AND gone = 0",
    )
    .bind(at.account.0.as_bytes().as_slice())
    .bind(&at.calendar)
    .bind(&at.name)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(object).transpose()
}

/// The number of the next change; `None`: there is no such calendar.
async fn next_change(
    connection: &mut SqliteConnection,
    at: &Place,
) -> Result<Option<i64>, sqlx::Error> {
    if at.calendar == DEFAULT {
        ensure(connection, at.account, &at.calendar).await?;
    }
    sqlx::query_scalar(
        "UPDATE calendar SET change = change + 1 WHERE account = ? AND name = ? RETURNING change",
    )
    .bind(at.account.0.as_bytes().as_slice())
    .bind(&at.calendar)
    .fetch_optional(connection)
    .await
}

async fn commit<R, F>(
    connection: &mut SqliteConnection,
    at: Place,
    change: Change,
    spooled: Spooled,
    now: Timestamp,
    allows: F,
) -> Result<Result<Changed, Refused<R>>, sqlx::Error>
where
    F: FnOnce(Option<&Object>) -> Result<(), R>,
{
    let mut all = connection.begin().await?;
    let before = find(&mut all, &at).await?;
    if let Err(refused) = allows(before.as_ref()) {
        return Ok(Err(Refused::Precondition(refused)));
    }
    let uid = match (&change, &before) {
        (Change::Put { uid, .. }, _) => uid.clone(),
        (Change::Delete, Some(before)) => before.uid.clone(),
        (Change::Delete, None) => return Ok(Err(Refused::NoSuchObject)),
    };
    if let (Change::Put { octets, .. }, Some(before)) = (&change, &before)
        && *octets == before.octets
    {
        return Ok(Ok(Changed::Same));
    }
    let elsewhere = sqlx::query(
        "SELECT calendar, name FROM object WHERE account = ? AND uid = ? AND gone = 0 \
         AND (calendar <> ? OR name <> ?)",
    )
    .bind(at.account.0.as_bytes().as_slice())
    .bind(&uid)
    .bind(&at.calendar)
    .bind(&at.name)
    .fetch_optional(&mut *all)
    .await?;
    if let Some(row) = elsewhere {
        let (calendar, name) = (row.get("calendar"), row.get("name"));
        return Ok(Err(Refused::UidElsewhere { calendar, name }));
    }
    if next_change(&mut all, &at).await?.is_none() {
        return Ok(Err(Refused::NoSuchCalendar));
    }
    let Spooled { id, envelope, octets } = spooled;
    let entry = NewEntry {
        id,
        account: at.account,
        kind: Kind::Object,
        envelope: decode(serde_json::to_string(&envelope))?,
        size: octets.len() as u64,
        // Two that say the same are two changes; no digest of a mail is as short.
        digest: id.to_string().into_bytes(),
        repeat_until: now,
        accepted_at: now,
        series: Some(uid.clone()),
        about: None,
        octets: Some(octets),
    };
    let receipt = entry.insert(&mut all).await?;
    let span = sqlx::query(
        "SELECT first_at, last_at FROM object WHERE account = ? AND calendar = ? AND name = ?",
    )
    .bind(at.account.0.as_bytes().as_slice())
    .bind(&at.calendar)
    .bind(&at.name)
    .fetch_optional(&mut *all)
    .await?;
    sqlx::query(
        "INSERT INTO object_change (entry, account, calendar, name, deletes, before, before_tag, \
         before_first, before_last) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(id.to_string())
    .bind(at.account.0.as_bytes().as_slice())
    .bind(&at.calendar)
    .bind(&at.name)
    .bind(matches!(change, Change::Delete))
    .bind(before.as_ref().map(|before| before.octets.as_slice()))
    .bind(before.as_ref().map(|before| before.schedule_tag.as_str()))
    .bind(span.as_ref().and_then(|row| row.get::<Option<i64>, _>("first_at")))
    .bind(span.as_ref().and_then(|row| row.get::<Option<i64>, _>("last_at")))
    .execute(&mut *all)
    .await?;
    let created = before.is_none();
    match change {
        Change::Put { uid, octets, span } => {
            let schedule_tag = etag(&octets);
            let as_it_is = AsItIs { uid, octets, schedule_tag, span };
            write(&mut all, &at, Some(id), as_it_is, now).await?;
        }
        Change::Delete => remove(&mut all, &at, Some(id), now).await?,
    }
    all.commit().await?;
    Ok(Ok(Changed::Kept { receipt, created }))
}

/// An object as it is from now on.
pub(super) struct AsItIs {
    pub uid: String,
    pub octets: Vec<u8>,
    pub schedule_tag: String,
    pub span: Span,
}

/// Puts an object in its place, as the calendar's newest change. The change must have been counted.
async fn write(
    connection: &mut SqliteConnection,
    at: &Place,
    entry: Option<EntryId>,
    object: AsItIs,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO object (account, calendar, name, uid, octets, etag, schedule_tag, change, \
         changed_at, entry, gone, first_at, last_at) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, change, ?8, ?9, 0, \
         ?10, ?11 FROM calendar WHERE account = ?1 AND name = ?2 \
         ON CONFLICT (account, calendar, name) DO UPDATE SET uid = excluded.uid, \
         octets = excluded.octets, etag = excluded.etag, schedule_tag = excluded.schedule_tag, \
         change = excluded.change, changed_at = excluded.changed_at, \
         entry = coalesce(excluded.entry, entry), gone = 0, first_at = excluded.first_at, \
         last_at = excluded.last_at",
    )
    .bind(at.account.0.as_bytes().as_slice())
    .bind(&at.calendar)
    .bind(&at.name)
    .bind(object.uid)
    .bind(&object.octets)
    .bind(etag(&object.octets))
    .bind(object.schedule_tag)
    .bind(now.as_millisecond())
    .bind(entry.map(|id| id.to_string()))
    .bind(object.span.first)
    .bind(object.span.last)
    .execute(connection)
    .await?;
    Ok(())
}

/// Leaves of an object what those need who synchronise.
async fn remove(
    connection: &mut SqliteConnection,
    at: &Place,
    entry: Option<EntryId>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE object SET gone = 1, octets = x'', entry = coalesce(?4, entry), changed_at = ?5, \
         change = (SELECT change FROM calendar WHERE account = ?1 AND name = ?2) \
         WHERE account = ?1 AND calendar = ?2 AND name = ?3",
    )
    .bind(at.account.0.as_bytes().as_slice())
    .bind(&at.calendar)
    .bind(&at.name)
    .bind(entry.map(|id| id.to_string()))
    .bind(now.as_millisecond())
    .execute(&mut *connection)
    .await?;
    // Those who have not asked for so long begin anew.
    let oldest: Option<i64> = sqlx::query_scalar(
        "SELECT change FROM object WHERE account = ? AND calendar = ? AND gone = 1 \
         ORDER BY change DESC LIMIT 1 OFFSET ?",
    )
    .bind(at.account.0.as_bytes().as_slice())
    .bind(&at.calendar)
    .bind(GONE_KEPT)
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(oldest) = oldest {
        sqlx::query(
            "DELETE FROM object WHERE account = ?1 AND calendar = ?2 AND gone = 1 AND change <= ?3; \
             UPDATE calendar SET forgotten = ?3 WHERE account = ?1 AND name = ?2",
        )
        .bind(at.account.0.as_bytes().as_slice())
        .bind(&at.calendar)
        .bind(oldest)
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// The mailbox has it: what was before is over.
pub(super) async fn carried_out(
    connection: &mut SqliteConnection,
    id: EntryId,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM object_change WHERE entry = ?")
        .bind(id.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

/// The change will never be in the mailbox: the object is again what it was before. Where a later change
/// came on top of it, that one's *before* is what this one's was.
pub(super) async fn take_back(
    connection: &mut SqliteConnection,
    id: EntryId,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let row = sqlx::query("DELETE FROM object_change WHERE entry = ? RETURNING *")
        .bind(id.to_string())
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = row else { return Ok(()) };
    let at = place(&row)?;
    let before: Option<Vec<u8>> = row.try_get("before")?;
    let tag: Option<String> = row.try_get("before_tag")?;
    let span = Span { first: row.try_get("before_first")?, last: row.try_get("before_last")? };
    let later = sqlx::query(
        "UPDATE object_change SET before = ?1, before_tag = ?2, before_first = ?3, before_last = ?4 \
         WHERE entry = (SELECT min(entry) FROM object_change WHERE account = ?5 AND calendar = ?6 \
         AND name = ?7 AND entry > ?8)",
    )
    .bind(&before)
    .bind(&tag)
    .bind(span.first)
    .bind(span.last)
    .bind(at.account.0.as_bytes().as_slice())
    .bind(&at.calendar)
    .bind(&at.name)
    .bind(id.to_string())
    .execute(&mut *connection)
    .await?;
    let is_last: Option<i64> = sqlx::query_scalar(
        "SELECT 1 FROM object WHERE account = ? AND calendar = ? AND name = ? AND entry = ?",
    )
    .bind(at.account.0.as_bytes().as_slice())
    .bind(&at.calendar)
    .bind(&at.name)
    .bind(id.to_string())
    .fetch_optional(&mut *connection)
    .await?;
    if later.rows_affected() > 0 || is_last.is_none() {
        return Ok(());
    }
    if next_change(connection, &at).await?.is_none() {
        return Ok(());
    }
    match before {
        Some(octets) => {
            let uid: String = sqlx::query_scalar(
                "SELECT uid FROM object WHERE account = ? AND calendar = ? AND name = ?",
            )
            .bind(at.account.0.as_bytes().as_slice())
            .bind(&at.calendar)
            .bind(&at.name)
            .fetch_one(&mut *connection)
            .await?;
            let schedule_tag = tag.unwrap_or_else(|| etag(&octets));
            let as_it_is = AsItIs { uid, octets, schedule_tag, span };
            write(connection, &at, None, as_it_is, now).await
        }
        None => remove(connection, &at, None, now).await,
    }
}
