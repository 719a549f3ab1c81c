//! What the worker does with the spool: find what is due, claim it, settle it. See `spool` for the
//! states.

use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_lc_rs::digest;
use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::calendar;
use super::entry_id::EntryId;
use super::incoming::{NewEntry, ROW_OCTETS_MAX};
use super::progress::Progress;
use super::spool::{Entry, Kind, Outcome, Report, State, account_id, decode, entry};
use super::verdict::Verdict;
use super::{Store, StoreError};
use crate::account::AccountId;

/// The condition of the index `entry_due`, word for word: SQLite uses it for no query that does not
/// repeat it, and reads the whole spool instead.
macro_rules! on_its_way {
    () => {
        "state IN ('queued', 'attempting', 'sending')"
    };
}

/// The accounts that have mail queued, and since when. Asked after every mail, so it goes from account
/// to account by way of the index, past all that wait in between.
pub(super) const DUE: &str = concat!(
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

/// The next mail of an account: a change to a calendar before bulk mail, what was begun before what is
/// new. Each of the three looks has an index of its own, whose condition it repeats; none passes by what
/// is not due.
pub(super) const CLAIM: &str = concat!(
    "UPDATE entry SET state = 'attempting', attempts = attempts + 1, due_at = ?1 WHERE id = coalesce(\
     (SELECT id FROM entry WHERE account = ?2 AND state = 'queued' AND series IS NOT NULL \
     AND due_at <= ?3 AND size <= ?4 AND NOT EXISTS (SELECT 1 FROM entry AS earlier \
     WHERE earlier.account = ?2 AND earlier.series IS NOT NULL AND earlier.series = entry.series \
     AND earlier.id < entry.id AND earlier.",
    on_its_way!(),
    ") ORDER BY due_at, id LIMIT 1), \
     (SELECT id FROM entry WHERE account = ?2 AND state = 'queued' AND series IS NULL \
     AND attempts > 0 AND due_at <= ?3 AND size <= ?4 ORDER BY due_at, id LIMIT 1), \
     (SELECT id FROM entry WHERE account = ?2 AND state = 'queued' AND series IS NULL \
     AND attempts = 0 AND due_at <= ?3 AND size <= ?4 ORDER BY due_at, id LIMIT 1)) RETURNING *",
);

/// How many mails may be claimed.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    pub entries: usize,
    /// How many of them may be larger than `small_octets`.
    pub large: usize,
    pub small_octets: u64,
}

impl Most {
    pub const ALL: Most = Most { entries: usize::MAX, large: usize::MAX, small_octets: u64::MAX };
}

/// Mails of an account that are on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnTheirWay {
    pub account: AccountId,
    pub mails: u64,
    /// Of all of them.
    pub octets: u64,
    /// When the last of them falls due.
    pub last_due_at: Timestamp,
    /// When the first of them was accepted.
    pub oldest_at: Timestamp,
}

impl Store {
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

    /// When the next entry of an account falls due after `now`, where those that are due wait behind others
    /// of their series.
    pub async fn next_due(
        &self,
        account: AccountId,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let mut connection = self.read().await?;
        let next: Option<i64> = sqlx::query_scalar(concat!(
            "SELECT min(due_at) FROM entry WHERE account = ?1 AND state = 'queued' AND due_at > ?2 AND ",
            on_its_way!(),
        ))
        .bind(account.0.as_bytes().as_slice())
        .bind(now.as_millisecond())
        .fetch_one(&mut *connection)
        .await?;
        Ok(next.and_then(|next| Timestamp::from_millisecond(next).ok()))
    }

    /// What is on its way, by account.
    pub async fn on_their_way(&self) -> Result<Vec<OnTheirWay>, StoreError> {
        let mut connection = self.read().await?;
        let rows = sqlx::query(concat!(
            "SELECT account, count(*) AS mails, sum(size) AS octets, max(due_at) AS last_due_at, \
             min(accepted_at) AS oldest_at FROM entry WHERE ",
            on_its_way!(),
            " GROUP BY account",
        ))
        .fetch_all(&mut *connection)
        .await?;
        Ok(rows.iter().map(on_their_way).collect::<Result<_, _>>()?)
    }

    /// What of its account is on its way and falls due no later than this entry, which is part of it;
    /// `None` where it is not on its way.
    pub async fn up_to(&self, entry: &Entry) -> Result<Option<OnTheirWay>, StoreError> {
        let mut connection = self.read().await?;
        let row = sqlx::query(concat!(
            "SELECT account, count(*) AS mails, sum(size) AS octets, max(due_at) AS last_due_at, \
             min(accepted_at) AS oldest_at FROM entry WHERE account = ?1 AND (due_at, id) <= (?2, ?3) AND ",
            on_its_way!(),
            " HAVING max(due_at) = ?2",
        ))
        .bind(entry.account.0.as_bytes().as_slice())
        .bind(entry.due_at.as_millisecond())
        .bind(entry.id.to_string())
        .fetch_optional(&mut *connection)
        .await?;
        Ok(row.as_ref().map(on_their_way).transpose()?)
    }

    /// Takes due entries of these accounts, in one commit for all: of each, one after the other in the
    /// order of `CLAIM`. The attempt is written down with the time of the next, `again_at`, before any of
    /// it is made.
    pub async fn claim(
        &self,
        of: Vec<(AccountId, Most)>,
        now: Timestamp,
        again_at: Timestamp,
    ) -> Result<Vec<Entry>, StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let mut claimed = Vec::new();
                for (account, most) in of {
                    claim(connection, account, now, again_at, most, &mut claimed).await?;
                }
                Ok(claimed)
            })
        })
        .await
    }

    /// Writes down that the call which sends this entry is about to be made, and how far it came: what
    /// will be in doubt if no answer comes.
    pub async fn begin_sending(&self, id: EntryId, progress: &Progress) -> Result<(), StoreError> {
        let progress = progress.column()?;
        self.write(move |connection| {
            Box::pin(async move {
                let changed = sqlx::query(
                    "UPDATE entry SET state = 'sending', progress = ? WHERE id = ? \
                     AND state = 'attempting'",
                )
                .bind(progress)
                .bind(id.to_string())
                .execute(connection)
                .await?;
                if changed.rows_affected() == 1 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
            })
        })
        .await
    }

    /// Takes [`Store::begin_sending`] back: the call was refused in a way that is certain.
    pub async fn not_sent(&self, id: EntryId, progress: &Progress) -> Result<(), StoreError> {
        let progress = progress.column()?;
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE entry SET state = 'attempting', progress = ? WHERE id = ? \
                     AND state = 'sending'",
                )
                .bind(progress)
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
        let now = self.clock().now().as_millisecond();
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

    /// Writes down how an attempt ended, and spools the report in the same commit; whether it did.
    /// `sweep_at`: when drafts may be looked for that it left behind, if it can have.
    ///
    /// A client that waits to hear of it is told after the commit. A refusal that it is told needs no
    /// report; see `verdict`.
    pub async fn settle(
        &self,
        entry: &Entry,
        outcome: Outcome,
        report: Option<Report>,
        sweep_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let (id, account, size, kind) = (entry.id, entry.account, entry.size, entry.kind);
        let spool = &self.inner.spool;
        let tell = match &outcome {
            Outcome::Later { .. } => None,
            _ => spool.waiting.take(id),
        };
        let (verdict, report) = match &outcome {
            Outcome::Sent => (Verdict::Sent, report),
            Outcome::Failed { status, note, .. } if tell.is_some() => {
                (Verdict::Refused { status: *status, why: note.clone(), report }, None)
            }
            _ => (Verdict::Queued, report),
        };
        let became = match &outcome {
            Outcome::Sent => State::Sent,
            Outcome::Later { .. } => State::Queued,
            Outcome::Failed { .. } => State::Failed,
            Outcome::Held { .. } => State::Held,
        };
        let ended = matches!(became, State::Sent | State::Failed);
        // What failed may be tried again when the cause is gone, unless it would be in the way.
        let kept = matches!(outcome, Outcome::Failed { .. })
            && matches!(verdict, Verdict::Queued)
            && entry.kind == Kind::Submission
            && spool.waiting_octets.load(Ordering::Relaxed) <= spool.room.quota_octets / 2;
        let reported = report.is_some();
        let report_octets = report.as_ref().map_or(0, |report| report.octets.len() as u64);
        spool.waiting_octets.fetch_add(report_octets, Ordering::Relaxed);
        let now = self.clock().now();
        let written = self
            .write(move |connection| {
                let ending = Ending { kind, outcome, kept, report, sweep_at };
                Box::pin(async move { settle(connection, id, account, now, ending).await })
            })
            .await;
        match written {
            Ok(overtaken) => drop(spool.waiting_octets.fetch_sub(overtaken, Ordering::Relaxed)),
            Err(error) => {
                spool.waiting_octets.fetch_sub(report_octets, Ordering::Relaxed);
                return Err(error);
            }
        }
        if kind != Kind::Report {
            spool.tally.became(became, now.duration_since(entry.accepted_at).unsigned_abs());
        }
        if ended && !kept {
            self.let_go(id, size).await;
        }
        if reported {
            spool.changed.notify_one();
        }
        if let Some(tell) = tell
            && let Err(Verdict::Refused { report: Some(report), .. }) = tell.send(verdict)
        {
            // It hung up while we wrote, without a reply.
            let spooled = self.spool_report(id, account, report).await;
            if let Err(error) = &spooled {
                tracing::error!(entry = %id, %error, "a report could not be spooled");
            }
            return Ok(spooled.is_ok());
        }
        Ok(reported)
    }

    /// The octets of an entry are needed no more, and nothing on disk speaks of them.
    pub(super) async fn let_go(&self, id: EntryId, size: u64) {
        let spool = &self.inner.spool;
        spool.waiting_octets.fetch_sub(size, Ordering::Relaxed);
        if size > ROW_OCTETS_MAX as u64 {
            // A file that stays behind is swept at the next start.
            let _ = tokio::fs::remove_file(spool.file(id)).await;
        }
    }

    /// Lets go of the octets of mails that failed before `before`.
    pub async fn forget_kept(&self, before: Timestamp) -> Result<u64, StoreError> {
        let rows = self
            .write(move |connection| {
                Box::pin(async move {
                    // One string, so that it is one step: the bodies go with the marks.
                    sqlx::query(
                        "DELETE FROM body WHERE entry IN \
                         (SELECT id FROM entry WHERE kept = 1 AND due_at < ?1); \
                         UPDATE entry SET kept = 0 WHERE kept = 1 AND due_at < ?1 RETURNING *",
                    )
                    .bind(before.as_millisecond())
                    .fetch_all(connection)
                    .await?
                    .iter()
                    .map(entry)
                    .collect::<Result<Vec<_>, _>>()
                })
            })
            .await?;
        for entry in &rows {
            self.let_go(entry.id, entry.size).await;
        }
        Ok(rows.len() as u64)
    }

    /// Spools a report by itself: of a refusal that the client was to be told, and could not be.
    pub async fn spool_report(
        &self,
        about: EntryId,
        account: AccountId,
        report: Report,
    ) -> Result<(), StoreError> {
        let spool = &self.inner.spool;
        let octets = report.octets.len() as u64;
        spool.waiting_octets.fetch_add(octets, Ordering::Relaxed);
        let now = self.clock().now();
        let written = self
            .write(move |connection| {
                Box::pin(
                    async move { insert_report(connection, about, account, now, report).await },
                )
            })
            .await;
        match written {
            Ok(()) => spool.changed.notify_one(),
            Err(_) => drop(spool.waiting_octets.fetch_sub(octets, Ordering::Relaxed)),
        }
        written
    }

    /// Held mails whose sender has not been told so, oldest first: a stop left them behind.
    pub async fn unreported_held(&self, most: u32) -> Result<Vec<Entry>, StoreError> {
        let mut connection = self.read().await?;
        let rows = sqlx::query(
            "SELECT * FROM entry WHERE state = 'held' AND held_reported = 0 ORDER BY id LIMIT ?",
        )
        .bind(most)
        .fetch_all(&mut *connection)
        .await?;
        Ok(rows.iter().map(entry).collect::<Result<Vec<_>, _>>()?)
    }

    /// Forgets entries that came to their end before `before`, except those still needed to
    /// recognise a repeat.
    pub async fn forget_ended(&self, before: Timestamp) -> Result<u64, StoreError> {
        let now = self.clock().now();
        self.write(move |connection| {
            Box::pin(async move {
                let gone = sqlx::query(
                    "DELETE FROM entry WHERE id IN (SELECT id FROM entry WHERE state IN ('sent', 'failed') \
                     AND sweep_at IS NULL AND due_at < ? AND repeat_until < ? LIMIT 5000)",
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

fn on_their_way(row: &SqliteRow) -> Result<OnTheirWay, sqlx::Error> {
    let count = |column| row.try_get::<i64, _>(column).map(i64::cast_unsigned);
    let time = |column| decode(Timestamp::from_millisecond(row.try_get(column)?));
    Ok(OnTheirWay {
        account: account_id(row)?,
        mails: count("mails")?,
        octets: count("octets")?,
        last_due_at: time("last_due_at")?,
        oldest_at: time("oldest_at")?,
    })
}

/// In whole milliseconds, and never before the time itself: nothing is tried earlier than was told.
fn ceil_ms(at: Timestamp) -> i64 {
    let rest = at.subsec_nanosecond() % 1_000_000;
    at.as_millisecond() + i64::from(rest > 0)
}

/// What is written down of an attempt that ended.
struct Ending {
    kind: Kind,
    outcome: Outcome,
    /// It failed, and its octets stay for another try.
    kept: bool,
    report: Option<Report>,
    sweep_at: Timestamp,
}

async fn claim(
    connection: &mut SqliteConnection,
    account: AccountId,
    now: Timestamp,
    again_at: Timestamp,
    most: Most,
    claimed: &mut Vec<Entry>,
) -> Result<(), sqlx::Error> {
    let small = i64::try_from(most.small_octets).unwrap_or(i64::MAX);
    let mut large = 0;
    for _ in 0..most.entries {
        let octets = if large < most.large { i64::MAX } else { small };
        let row = sqlx::query(CLAIM)
            .bind(ceil_ms(again_at))
            .bind(account.0.as_bytes().as_slice())
            .bind(now.as_millisecond())
            .bind(octets)
            .fetch_optional(&mut *connection)
            .await?;
        let Some(row) = row else { break };
        let entry = entry(&row)?;
        large += usize::from(entry.size > most.small_octets);
        claimed.push(entry);
    }
    Ok(())
}

async fn settle(
    connection: &mut SqliteConnection,
    id: EntryId,
    account: AccountId,
    now: Timestamp,
    ending: Ending,
) -> Result<u64, sqlx::Error> {
    use sqlx::Connection;
    if ending.kind != Kind::Object && ending.report.is_none() {
        // One errand; no part of it fails in a way that spares the transaction.
        return end(connection, id, now, &ending).await;
    }
    let mut all = connection.begin().await?;
    let overtaken = end(&mut all, id, now, &ending).await?;
    match ending.outcome {
        Outcome::Sent if ending.kind == Kind::Object => {
            calendar::carried_out(&mut all, id).await?;
        }
        Outcome::Failed { .. } if ending.kind == Kind::Object => {
            calendar::take_back(&mut all, id, now).await?;
        }
        _ => {}
    }
    if let Some(report) = ending.report {
        insert_report(&mut all, id, account, now, report).await?;
    }
    all.commit().await?;
    Ok(overtaken)
}

/// Writes the outcome down, lets go of octets that are needed no more, and ends the reports on this mail
/// that still wait: that it is late, or in doubt, would be news from yesterday. Their octets.
async fn end(
    connection: &mut SqliteConnection,
    id: EntryId,
    now: Timestamp,
    ending: &Ending,
) -> Result<u64, sqlx::Error> {
    let (state, due_at, waited, note, answered) = match &ending.outcome {
        Outcome::Sent => (State::Sent, now, Duration::ZERO, None, None),
        Outcome::Later { due_at, waited, note } => {
            (State::Queued, *due_at, *waited, Some(note), None)
        }
        Outcome::Failed { note, answered, .. } => {
            (State::Failed, now, Duration::ZERO, Some(note), answered.as_ref())
        }
        Outcome::Held { note } => (State::Held, now, Duration::ZERO, Some(note), None),
    };
    let is_over = matches!(state, State::Sent | State::Failed);
    // One string, so that it is one errand to the thread that SQLite runs on. What several of its
    // statements name comes first: sqlx miscounts where one leaves many of the numbers out. A held mail is
    // not looked at again for a report, whether there is one or none is wanted.
    let overtaken = sqlx::query(
        "UPDATE entry SET state = ?5, due_at = ?6, waited_ms = waited_ms + ?7, note = ?8, \
         answered = ?9, held_reported = (?5 = 'held'), \
         delay_reported = delay_reported OR (?5 = 'queued' AND ?10), kept = ?4, \
         sweep_at = CASE WHEN ?5 = 'sent' AND json_extract(progress, '$.begun') > 1 \
         OR ?5 = 'failed' AND json_extract(progress, '$.begun') > 0 THEN ?11 END WHERE id = ?1; \
         INSERT INTO history (entry, at, attempt, state, note, due_at) \
         SELECT id, ?3, attempts, state, note, due_at FROM entry WHERE id = ?1; \
         DELETE FROM body WHERE entry = ?1 AND ?2 AND NOT ?4; \
         DELETE FROM body WHERE ?2 AND entry IN \
         (SELECT id FROM entry WHERE about = ?1 AND about IS NOT NULL AND state = 'queued'); \
         UPDATE entry SET state = 'failed', due_at = ?3, \
         note = 'overtaken: the mail came to its end before this report went' \
         WHERE ?2 AND about = ?1 AND about IS NOT NULL AND state = 'queued' RETURNING size",
    )
    .bind(id.to_string())
    .bind(is_over)
    .bind(now.as_millisecond())
    .bind(ending.kept)
    .bind(state.name())
    .bind(ceil_ms(due_at))
    .bind(i64::try_from(waited.as_millis()).unwrap_or(i64::MAX))
    .bind(note)
    .bind(answered)
    .bind(ending.report.is_some())
    .bind(ending.sweep_at.as_millisecond())
    .fetch_all(connection)
    .await?;
    let sizes = overtaken.iter().map(|row| row.try_get::<i64, _>(0));
    Ok(sizes.sum::<Result<i64, _>>()?.cast_unsigned())
}

/// As a row, however large: a report has headers, words, and at most one mebibyte of a mail.
async fn insert_report(
    connection: &mut SqliteConnection,
    about: EntryId,
    account: AccountId,
    now: Timestamp,
    report: Report,
) -> Result<(), sqlx::Error> {
    let row = NewEntry {
        id: EntryId::new(),
        account,
        kind: Kind::Report,
        envelope: decode(serde_json::to_string(&report.envelope))?,
        size: report.octets.len() as u64,
        digest: digest::digest(&digest::SHA256, &report.octets).as_ref().to_vec(),
        repeat_until: now,
        accepted_at: now,
        series: None,
        about: Some(about),
        octets: Some(report.octets),
    };
    row.insert(connection).await.map(drop)
}
