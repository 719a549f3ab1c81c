//! The calendars of an account: the one that it has, and those that clients make.
//!
//! One that is made is a calendar of the mailbox as well, from its first event on: its id there is known
//! here. What is in them is in `calendar`.

use sqlx::{Connection, Row, SqliteConnection};

use super::spool::decode;
use super::{Store, StoreError};
use crate::account::AccountId;

/// The calendar that every account has.
pub const DEFAULT: &str = "calendar";

/// Enough for whoever sorts events; a client that runs wild makes no more.
const CALENDARS_MAX: i64 = 100;

/// A property that the server keeps and does not understand (RFC 4918 §4.1): namespace, local name, and
/// its element as XML.
pub type DeadProperty = (String, String, String);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    pub name: String,
    pub properties: Vec<DeadProperty>,
    /// Counts up with each change of an object in it.
    pub change: u64,
}

/// What came of making a calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Making {
    Made,
    /// There is one of this name.
    Exists,
    TooMany,
}

/// What came of taking one away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    Removed,
    /// There are objects in it, or changes of it on their way to the mailbox.
    InUse,
    NoSuchCalendar,
}

/// A calendar that a client made, as the mailbox is to have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub name: String,
    pub title: String,
    /// Its id in the mailbox, once it is there.
    pub graph_id: Option<String>,
}

impl Store {
    /// The calendars of an account, the default one first.
    pub async fn calendars(&self, account: AccountId) -> Result<Vec<Calendar>, StoreError> {
        let mut connection = self.read().await?;
        let rows = sqlx::query(
            "SELECT name, properties, change FROM calendar WHERE account = ? ORDER BY name <> ?, name",
        )
        .bind(account.0.as_bytes().as_slice())
        .bind(DEFAULT)
        .fetch_all(&mut *connection)
        .await?;
        let mut calendars = rows.iter().map(calendar).collect::<Result<Vec<_>, sqlx::Error>>()?;
        if calendars.first().is_none_or(|first| first.name != DEFAULT) {
            let first = Calendar { name: DEFAULT.to_owned(), properties: vec![], change: 0 };
            calendars.insert(0, first);
        }
        Ok(calendars)
    }

    /// One calendar; the default one is there before it has objects.
    pub async fn calendar(
        &self,
        account: AccountId,
        name: &str,
    ) -> Result<Option<Calendar>, StoreError> {
        Ok(self.calendars(account).await?.into_iter().find(|one| one.name == name))
    }

    /// Sets and removes dead properties, all or none. `title`: what it is to be called, if that is new.
    /// `false`: there is no such calendar.
    pub async fn set_calendar_properties(
        &self,
        account: AccountId,
        name: &str,
        set: Vec<DeadProperty>,
        remove: Vec<(String, String)>,
        title: Option<String>,
    ) -> Result<bool, StoreError> {
        let name = name.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                if name == DEFAULT {
                    ensure(connection, account, &name).await?;
                }
                let kept: Option<String> = sqlx::query_scalar(
                    "SELECT properties FROM calendar WHERE account = ? AND name = ?",
                )
                .bind(account.0.as_bytes().as_slice())
                .bind(&name)
                .fetch_optional(&mut *connection)
                .await?;
                let Some(kept) = kept else { return Ok(false) };
                let mut kept: Vec<DeadProperty> = decode(serde_json::from_str(&kept))?;
                let is = |one: &DeadProperty, namespace: &str, local: &str| {
                    one.0 == namespace && one.1 == local
                };
                kept.retain(|one| {
                    !remove.iter().any(|(namespace, local)| is(one, namespace, local))
                        && !set.iter().any(|(namespace, local, _)| is(one, namespace, local))
                });
                kept.extend(set);
                let change = "UPDATE calendar SET properties = ?, title = coalesce(?, title) \
                              WHERE account = ? AND name = ?";
                sqlx::query(change)
                    .bind(decode(serde_json::to_string(&kept))?)
                    .bind(title)
                    .bind(account.0.as_bytes().as_slice())
                    .bind(&name)
                    .execute(connection)
                    .await?;
                Ok(true)
            })
        })
        .await
    }

    /// Makes a calendar, with its dead properties and what it is to be called.
    pub async fn make_calendar(
        &self,
        account: AccountId,
        name: &str,
        properties: Vec<DeadProperty>,
        title: Option<String>,
    ) -> Result<Making, StoreError> {
        let name = name.to_owned();
        // What was said of an earlier calendar of this name says nothing of this one.
        let change = self.clock().now().as_millisecond();
        self.write(move |connection| {
            Box::pin(async move {
                if name == DEFAULT {
                    return Ok(Making::Exists);
                }
                let others: i64 = sqlx::query_scalar(
                    "SELECT count(*) FROM calendar WHERE account = ? AND name <> ?",
                )
                .bind(account.0.as_bytes().as_slice())
                .bind(&name)
                .fetch_one(&mut *connection)
                .await?;
                if others >= CALENDARS_MAX {
                    return Ok(Making::TooMany);
                }
                let made = sqlx::query(
                    "INSERT INTO calendar (account, name, properties, title, change, forgotten) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?5) ON CONFLICT DO NOTHING",
                )
                .bind(account.0.as_bytes().as_slice())
                .bind(name)
                .bind(decode(serde_json::to_string(&properties))?)
                .bind(title)
                .bind(change)
                .execute(connection)
                .await?;
                Ok(if made.rows_affected() == 1 { Making::Made } else { Making::Exists })
            })
        })
        .await
    }

    /// Takes away a calendar that is empty. That of the mailbox stays.
    pub async fn remove_calendar(
        &self,
        account: AccountId,
        name: &str,
    ) -> Result<Removal, StoreError> {
        let name = name.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let mut all = connection.begin().await?;
                let used: bool = sqlx::query_scalar(
                    "SELECT EXISTS (SELECT 1 FROM object WHERE account = ?1 AND calendar = ?2 AND gone = 0) \
                     OR EXISTS (SELECT 1 FROM object_change JOIN entry ON entry.id = entry \
                     WHERE object_change.account = ?1 AND calendar = ?2 \
                     AND state IN ('queued', 'attempting', 'sending', 'held'))",
                )
                .bind(account.0.as_bytes().as_slice())
                .bind(&name)
                .fetch_one(&mut *all)
                .await?;
                if used {
                    return Ok(Removal::InUse);
                }
                let removed = sqlx::query(
                    "DELETE FROM object WHERE account = ?1 AND calendar = ?2; \
                     DELETE FROM calendar WHERE account = ?1 AND name = ?2",
                )
                .bind(account.0.as_bytes().as_slice())
                .bind(name)
                .execute(&mut *all)
                .await?;
                all.commit().await?;
                let there = removed.rows_affected() > 0;
                Ok(if there { Removal::Removed } else { Removal::NoSuchCalendar })
            })
        })
        .await
    }

    /// The calendar that the object with this UID is in, if that is one that a client made.
    pub async fn made_calendar_of(
        &self,
        account: AccountId,
        uid: &str,
    ) -> Result<Option<Made>, StoreError> {
        let mut connection = self.read().await?;
        let row = sqlx::query(
            "SELECT calendar.name, title, graph_id FROM object JOIN calendar \
             ON calendar.account = object.account AND calendar.name = object.calendar \
             WHERE object.account = ? AND uid = ? AND gone = 0 AND calendar <> ?",
        )
        .bind(account.0.as_bytes().as_slice())
        .bind(uid)
        .bind(DEFAULT)
        .fetch_optional(&mut *connection)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let name: String = row.try_get("name")?;
        let title: Option<String> = row.try_get("title")?;
        let title = title.unwrap_or_else(|| name.clone());
        Ok(Some(Made { name, title, graph_id: row.try_get("graph_id")? }))
    }

    /// Writes down which calendar of the mailbox it is; `None`: it is none any more.
    pub async fn is_calendar(
        &self,
        account: AccountId,
        name: &str,
        graph_id: Option<String>,
    ) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query("UPDATE calendar SET graph_id = ? WHERE account = ? AND name = ?")
                    .bind(graph_id)
                    .bind(account.0.as_bytes().as_slice())
                    .bind(name)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }
}

fn calendar(row: &sqlx::sqlite::SqliteRow) -> Result<Calendar, sqlx::Error> {
    Ok(Calendar {
        name: row.try_get("name")?,
        properties: decode(serde_json::from_str(row.try_get("properties")?))?,
        change: row.try_get::<i64, _>("change")?.cast_unsigned(),
    })
}

pub(super) async fn ensure(
    connection: &mut SqliteConnection,
    account: AccountId,
    name: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO calendar (account, name) VALUES (?, ?) ON CONFLICT DO NOTHING")
        .bind(account.0.as_bytes().as_slice())
        .bind(name)
        .execute(connection)
        .await?;
    Ok(())
}
