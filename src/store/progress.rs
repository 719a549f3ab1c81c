//! How far the sending of a mail came. See `spool` for the states, and `doubt` for what follows.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::entry_id::EntryId;
use super::spool::{Entry, decode};
use super::{Store, StoreError};
use crate::doubt::Doubt;

/// What was begun and done of a mail that goes by way of a draft.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// How many drafts were begun: more than one leaves drafts behind.
    pub begun: u32,
    pub draft: Option<Draft>,
    /// The send was begun, and its answer is not known.
    pub doubt: Option<Doubt>,
}

/// A draft in the mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// In its immutable form.
    pub id: String,
    pub message_id: Option<String>,
    /// It carries our tag.
    pub tagged: bool,
    /// How many files of a large mail are known to hang on it: the first so many, in their order.
    #[serde(default)]
    pub attached: usize,
    /// Nothing is missing in it, and nothing is there twice.
    #[serde(default)]
    pub is_whole: bool,
}

impl Progress {
    /// The same, but in this doubt.
    pub fn in_doubt(&self, doubt: Doubt) -> Progress {
        Progress { doubt: Some(doubt), ..self.clone() }
    }

    /// As it stands in the column: none where nothing was begun.
    pub(super) fn column(&self) -> Result<Option<String>, StoreError> {
        let json = (*self != Progress::default()).then(|| serde_json::to_string(self)).transpose();
        json.map_err(|error| StoreError::Failed(error.to_string().into()))
    }
}

impl Store {
    /// Writes down how far a mail came.
    pub async fn record_progress(
        &self,
        id: EntryId,
        progress: &Progress,
    ) -> Result<(), StoreError> {
        let progress = progress.column()?;
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query("UPDATE entry SET progress = ? WHERE id = ?")
                    .bind(progress)
                    .bind(id.to_string())
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// The mails that came to their end, and whose leftovers may be looked for by `now`.
    pub async fn leftovers(&self, now: Timestamp, most: u32) -> Result<Vec<Entry>, StoreError> {
        let mut connection = self.read().await?;
        let rows = sqlx::query(
            "SELECT * FROM entry WHERE sweep_at IS NOT NULL AND sweep_at <= ? ORDER BY sweep_at LIMIT ?",
        )
        .bind(now.as_millisecond())
        .bind(most)
        .fetch_all(&mut *connection)
        .await?;
        Ok(rows.iter().map(super::spool::entry).collect::<Result<_, _>>()?)
    }

    /// Writes down when to look for leftovers again; `None`: never.
    pub async fn sweep_at(&self, id: EntryId, at: Option<Timestamp>) -> Result<(), StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query("UPDATE entry SET sweep_at = ? WHERE id = ?")
                    .bind(at.map(Timestamp::as_millisecond))
                    .bind(id.to_string())
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }
}

/// The column, where it holds anything.
pub(super) fn progress(column: Option<&str>) -> Result<Progress, sqlx::Error> {
    decode(column.map_or(Ok(Progress::default()), serde_json::from_str))
}
