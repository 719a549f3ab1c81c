//! What is remembered of invites, and why each message did what it did.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{Connection, Row, SqliteConnection};

use super::calendar::{self, Mirrored};
use super::spool::EntryId;
use super::{Store, StoreError};
use crate::account::AccountId;
use crate::invite::Invite;

/// One line of an invite's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    pub entry: String,
    pub at: Timestamp,
    pub why: String,
}

/// An invite as `invites list` and `invites show` tell it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Remembered {
    pub invite: Invite,
    pub updated_at: Timestamp,
}

/// Whose word a line of the history is, where it is no mail's and no client's.
const OUTLOOK: &str = "outlook";

/// An invite as it is, and as it was read.
#[derive(Debug, Clone)]
pub struct Watched {
    pub invite: Invite,
    record: String,
}

impl Store {
    pub async fn invite(
        &self,
        account: AccountId,
        uid: &str,
    ) -> Result<Option<Invite>, StoreError> {
        let mut connection = self.read().await?;
        let record: Option<String> =
            sqlx::query_scalar("SELECT record FROM invite WHERE account = ? AND uid = ?")
                .bind(account.0.as_bytes().as_slice())
                .bind(uid)
                .fetch_optional(&mut *connection)
                .await?;
        record.map(|record| parse(&record)).transpose()
    }

    /// Writes down a decision together with what follows from it: the goal is on disk before
    /// anything is done about it, and the calendar shows it.
    pub async fn decide_invite(
        &self,
        account: AccountId,
        invite: &Invite,
        octets: Vec<u8>,
        entry: EntryId,
        why: String,
        mirrored: Mirrored,
    ) -> Result<(), StoreError> {
        let (uid, record) = (invite.uid.clone(), json(invite)?);
        let at = self.clock().now();
        let now = at.as_millisecond();
        self.write(move |connection| {
            Box::pin(async move {
                let mut all = connection.begin().await?;
                sqlx::query(
                    "INSERT INTO invite (account, uid, record, octets, updated_at) VALUES (?, ?, ?, ?, ?) \
                     ON CONFLICT (account, uid) DO UPDATE SET record = excluded.record, \
                     octets = excluded.octets, updated_at = excluded.updated_at",
                )
                .bind(account.0.as_bytes().as_slice())
                .bind(&uid)
                .bind(record)
                .bind(octets)
                .bind(now)
                .execute(&mut *all)
                .await?;
                calendar::mirror(&mut all, account, &uid, Some(entry), mirrored, at).await?;
                note(&mut all, account, uid, entry.to_string(), now, why).await?;
                all.commit().await
            })
        })
        .await
    }

    /// Adds a line to the history of an invite.
    pub async fn note_invite(
        &self,
        account: AccountId,
        uid: &str,
        entry: EntryId,
        why: String,
    ) -> Result<(), StoreError> {
        let uid = uid.to_owned();
        let now = self.clock().now().as_millisecond();
        self.write(move |connection| {
            Box::pin(note(connection, account, uid, entry.to_string(), now, why))
        })
        .await
    }

    /// Writes down what an action did, or that it is about to be done.
    pub async fn record_invite(
        &self,
        account: AccountId,
        invite: &Invite,
    ) -> Result<(), StoreError> {
        let (uid, record) = (invite.uid.clone(), json(invite)?);
        let now = self.clock().now().as_millisecond();
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE invite SET record = ?, updated_at = ? WHERE account = ? AND uid = ?",
                )
                .bind(record)
                .bind(now)
                .bind(account.0.as_bytes().as_slice())
                .bind(uid)
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// The invites that are in the account's calendar and not over by `now`; those alone that something
    /// happened to since `recent`, if it is given.
    pub async fn watched(
        &self,
        account: AccountId,
        now: Timestamp,
        recent: Option<Timestamp>,
    ) -> Result<Vec<Watched>, StoreError> {
        let mut connection = self.read().await?;
        let records: Vec<String> = sqlx::query_scalar(
            "SELECT invite.record FROM invite JOIN object ON object.account = invite.account \
             AND object.uid = invite.uid AND object.gone = 0 WHERE invite.account = ? \
             AND (object.last_at IS NULL OR object.last_at >= ?) AND invite.updated_at >= ?",
        )
        .bind(account.0.as_bytes().as_slice())
        .bind(now.as_millisecond())
        .bind(recent.map_or(i64::MIN, Timestamp::as_millisecond))
        .fetch_all(&mut *connection)
        .await?;
        let watched = |record: String| Ok(Watched { invite: parse(&record)?, record });
        records.into_iter().map(watched).collect()
    }

    /// Takes over what was done in Outlook, unless a client changed the same meanwhile or is about to:
    /// then nothing is changed, and `false` returned. `etag`: of the object that `mirrored` was made of.
    pub async fn take_over(
        &self,
        account: AccountId,
        watched: Watched,
        etag: Option<String>,
        mirrored: Mirrored,
        why: Vec<String>,
    ) -> Result<bool, StoreError> {
        let (uid, record) = (watched.invite.uid.clone(), json(&watched.invite)?);
        let at = self.clock().now();
        let now = at.as_millisecond();
        self.write(move |connection| {
            Box::pin(async move {
                let mut all = connection.begin().await?;
                if calendar::is_changing(&mut all, account, &uid).await?
                    || calendar::etag_of_uid(&mut all, account, &uid).await? != etag
                {
                    return Ok(false);
                }
                let taken = sqlx::query(
                    "UPDATE invite SET record = ?, updated_at = ? WHERE account = ? AND uid = ? \
                     AND record = ?",
                )
                .bind(record)
                .bind(now)
                .bind(account.0.as_bytes().as_slice())
                .bind(&uid)
                .bind(watched.record)
                .execute(&mut *all)
                .await?;
                if taken.rows_affected() == 0 {
                    return Ok(false);
                }
                calendar::mirror(&mut all, account, &uid, None, mirrored, at).await?;
                for why in why {
                    note(&mut all, account, uid.clone(), OUTLOOK.to_owned(), now, why).await?;
                }
                all.commit().await?;
                Ok(true)
            })
        })
        .await
    }

    /// The invites of an account, newest first.
    pub async fn invites(
        &self,
        account: AccountId,
        most: u32,
    ) -> Result<Vec<Remembered>, StoreError> {
        let mut connection = self.read().await?;
        let rows = sqlx::query(
            "SELECT record, updated_at FROM invite WHERE account = ? ORDER BY updated_at DESC LIMIT ?",
        )
        .bind(account.0.as_bytes().as_slice())
        .bind(most)
        .fetch_all(&mut *connection)
        .await?;
        rows.iter()
            .map(|row| {
                let invite = parse(row.get("record"))?;
                Ok(Remembered { invite, updated_at: time(row.get("updated_at"))? })
            })
            .collect()
    }

    /// The octets last accepted for a UID, and the history of its decisions, oldest first.
    pub async fn invite_history(
        &self,
        account: AccountId,
        uid: &str,
    ) -> Result<Option<(Vec<u8>, Vec<Decided>)>, StoreError> {
        let mut connection = self.read().await?;
        let octets: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT octets FROM invite WHERE account = ? AND uid = ?")
                .bind(account.0.as_bytes().as_slice())
                .bind(uid)
                .fetch_optional(&mut *connection)
                .await?;
        let Some(octets) = octets else { return Ok(None) };
        let rows = sqlx::query(
            "SELECT entry, at, why FROM decision WHERE account = ? AND uid = ? ORDER BY id",
        )
        .bind(account.0.as_bytes().as_slice())
        .bind(uid)
        .fetch_all(&mut *connection)
        .await?;
        let history = rows
            .iter()
            .map(|row| {
                Ok(Decided {
                    entry: row.get("entry"),
                    at: time(row.get("at"))?,
                    why: row.get("why"),
                })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(Some((octets, history)))
    }

    /// Forgets an invite; the event stays as it is. `false` when none was known.
    pub async fn forget_invite(&self, account: AccountId, uid: &str) -> Result<bool, StoreError> {
        let uid = uid.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let gone = sqlx::query("DELETE FROM invite WHERE account = ? AND uid = ?")
                    .bind(account.0.as_bytes().as_slice())
                    .bind(uid)
                    .execute(connection)
                    .await?;
                Ok(gone.rows_affected() == 1)
            })
        })
        .await
    }
}

async fn note(
    connection: &mut SqliteConnection,
    account: AccountId,
    uid: String,
    entry: String,
    now: i64,
    why: String,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO decision (account, uid, entry, at, why) VALUES (?, ?, ?, ?, ?)")
        .bind(account.0.as_bytes().as_slice())
        .bind(uid)
        .bind(entry)
        .bind(now)
        .bind(why)
        .execute(connection)
        .await?;
    Ok(())
}

fn json(invite: &Invite) -> Result<String, StoreError> {
    serde_json::to_string(invite).map_err(|error| StoreError::Failed(error.to_string().into()))
}

fn parse(record: &str) -> Result<Invite, StoreError> {
    serde_json::from_str(record).map_err(|error| StoreError::Failed(error.to_string().into()))
}

fn time(ms: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(ms).map_err(|error| StoreError::Failed(error.to_string().into()))
}
