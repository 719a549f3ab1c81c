//! What the worker does with the spool: find what is due, claim it, settle it. See `spool` for the
//! states.

use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_lc_rs::digest;
use jiff::Timestamp;
use sqlx::{Row, SqliteConnection};

use super::entry_id::EntryId;
use super::incoming::{NewEntry, ROW_OCTETS_MAX};
use super::progress::Progress;
use super::spool::{Entry, Kind, Outcome, State, account_id, decode, entry};
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

pub(super) const CLAIM: &str = concat!(
    "UPDATE entry SET state = 'attempting', attempts = attempts + 1, due_at = ?1 \
     WHERE id IN (SELECT id FROM entry WHERE account = ?2 AND state = 'queued' AND ",
    on_its_way!(),
    " AND due_at <= ?3 AND NOT EXISTS (SELECT 1 FROM entry AS earlier WHERE earlier.account = ?2 \
     AND earlier.series IS NOT NULL AND earlier.series = entry.series AND earlier.id < entry.id AND earlier.",
    on_its_way!(),
    ") ORDER BY due_at, id LIMIT ?4) RETURNING *",
);

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

    /// Writes down how an attempt ended. A report is spooled in the same commit. `sweep_at`: when drafts
    /// may be looked for that it left behind, if it can have.
    pub async fn settle(
        &self,
        entry: &Entry,
        outcome: Outcome,
        sweep_at: Timestamp,
    ) -> Result<(), StoreError> {
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
                Box::pin(
                    async move { settle(connection, id, account, (now, sweep_at), outcome).await },
                )
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

    /// Forgets entries that came to their end before `before`, except those still needed to
    /// recognise a repeat.
    pub async fn forget_ended(&self, before: Timestamp) -> Result<u64, StoreError> {
        let now = Timestamp::now();
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

async fn settle(
    connection: &mut SqliteConnection,
    id: EntryId,
    account: AccountId,
    (now, sweep_at): (Timestamp, Timestamp),
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
        "UPDATE entry SET state = ?1, due_at = ?2, waited_ms = waited_ms + ?3, note = ?4, \
         sweep_at = CASE WHEN ?1 = 'sent' AND json_extract(progress, '$.begun') > 1 \
         OR ?1 = 'failed' AND json_extract(progress, '$.begun') > 0 THEN ?5 END WHERE id = ?6",
    )
    .bind(state.name())
    .bind(due_at.as_millisecond())
    .bind(i64::try_from(waited.as_millis()).unwrap_or(i64::MAX))
    .bind(note)
    .bind(sweep_at.as_millisecond())
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
            series: None,
            // A report is small: it holds headers and words, never a body.
            octets: Some(report.octets),
        };
        row.insert(&mut all).await?;
    }
    all.commit().await
}
