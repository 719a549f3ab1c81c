//! What became of each entry of the spool: a line for each change of its state, for those who ask why.
//!
//! A line is written in the commit that makes the change, so that neither is there without the other; it
//! goes when the entry goes. That an entry was accepted is said by the entry itself.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::entry_id::EntryId;
use super::spool::{State, decode, state};
use super::{Store, StoreError};

/// One change of an entry's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub entry: EntryId,
    pub at: Timestamp,
    /// Attempts made by then.
    pub attempt: u32,
    /// What the entry is from then on.
    pub state: State,
    /// Why, in words.
    pub note: Option<String>,
    /// Of a queued one, when it is tried next.
    pub due_at: Timestamp,
}

/// Writes down what an entry has become, in the commit that made it that. `queue::end` has a copy of this
/// in its one errand.
pub(super) async fn write_down(
    connection: &mut SqliteConnection,
    id: EntryId,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO history (entry, at, attempt, state, note, due_at) \
         SELECT id, ?2, attempts, state, note, due_at FROM entry WHERE id = ?1",
    )
    .bind(id.to_string())
    .bind(at.as_millisecond())
    .execute(connection)
    .await
    .map(drop)
}

impl Store {
    /// The lines of one entry, oldest first.
    pub async fn history(&self, id: EntryId) -> Result<Vec<Line>, StoreError> {
        let mut connection = self.read().await?;
        let rows = sqlx::query("SELECT * FROM history WHERE entry = ? ORDER BY rowid")
            .bind(id.to_string())
            .fetch_all(&mut *connection)
            .await?;
        Ok(rows.iter().map(line).collect::<Result<_, _>>()?)
    }

    /// The last lines of all entries, newest first.
    pub async fn last_lines(&self, most: u32) -> Result<Vec<Line>, StoreError> {
        let mut connection = self.read().await?;
        let rows = sqlx::query("SELECT * FROM history ORDER BY rowid DESC LIMIT ?")
            .bind(most)
            .fetch_all(&mut *connection)
            .await?;
        Ok(rows.iter().map(line).collect::<Result<_, _>>()?)
    }
}

fn line(row: &SqliteRow) -> Result<Line, sqlx::Error> {
    let time = |column| decode(Timestamp::from_millisecond(row.try_get(column)?));
    Ok(Line {
        entry: decode(row.try_get::<String, _>("entry")?.parse())?,
        at: time("at")?,
        attempt: row.try_get("attempt")?,
        state: state(row)?,
        note: row.try_get("note")?,
        due_at: time("due_at")?,
    })
}
