//! What an operator orders for one mail: try it now, let it go, or say what became of it.
//!
//! Whether an order may be carried out is decided from the entry's state in the transaction that
//! carries it out, so that it never takes a mail from under the worker: what is being attempted is
//! left alone.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{Row, SqliteConnection};

use super::calendar;
use super::entry_id::EntryId;
use super::history;
use super::spool::{Entry, State, decode, entry};
use super::{Store, StoreError};

/// An operator's order about one mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// One that waits is due now; one that failed waits again.
    Retry,
    /// It ends without being sent, and without a report.
    Drop,
    /// The held mail went: somebody saw it.
    Sent,
    /// The held mail did not go: it waits again.
    SendAgain,
}

/// Why an order was not carried out; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    NoSuchMail,
    /// Not in this state.
    State(State),
    /// There is nothing left that could be sent.
    OctetsGone,
    /// The client handed the same mail in again, which is now this one.
    HandedInAgain(EntryId),
}

/// The state that an order leads to.
fn decide(order: Order, state: State) -> Result<State, Refused> {
    match (order, state) {
        (Order::Retry, State::Queued | State::Failed) => Ok(State::Queued),
        (Order::Drop, State::Queued | State::Held) => Ok(State::Failed),
        (Order::Sent, State::Held) => Ok(State::Sent),
        (Order::SendAgain, State::Held) => Ok(State::Queued),
        (_, state) => Err(Refused::State(state)),
    }
}

impl Store {
    /// Carries out an order; the entry as it is then.
    pub async fn order(
        &self,
        id: EntryId,
        order: Order,
    ) -> Result<Result<Entry, Refused>, StoreError> {
        let spool = &self.inner.spool;
        let now = self.clock().now();
        let done = self
            .write(move |connection| {
                Box::pin(async move { carry_out(connection, id, order, now).await })
            })
            .await?;
        let after = match done {
            Ok(after) => after,
            Err(refused) => return Ok(Err(refused)),
        };
        if matches!(after.state, State::Sent | State::Failed) {
            // A client that still waits is told that the mail was queued, which it was.
            drop(spool.waiting.take(id));
            self.let_go(id, after.size).await;
        }
        self.wake_worker();
        Ok(Ok(after))
    }
}

async fn carry_out(
    connection: &mut SqliteConnection,
    id: EntryId,
    order: Order,
    now: Timestamp,
) -> Result<Result<Entry, Refused>, sqlx::Error> {
    use sqlx::Connection;
    let mut all = connection.begin().await?;
    let row = sqlx::query("SELECT * FROM entry WHERE id = ?")
        .bind(id.to_string())
        .fetch_optional(&mut *all)
        .await?;
    let Some(row) = row else { return Ok(Err(Refused::NoSuchMail)) };
    let before = entry(&row)?.state;
    let state = match decide(order, before) {
        Ok(state) => state,
        Err(refused) => return Ok(Err(refused)),
    };
    if before == State::Failed {
        if !row.try_get::<bool, _>("kept")? {
            return Ok(Err(Refused::OctetsGone));
        }
        // Once it has failed, the client may hand the same in again, as another mail.
        let again: Option<String> = sqlx::query_scalar(
            "SELECT id FROM entry WHERE digest = ? AND id <> ? AND state <> 'failed' \
             AND repeat_until > ? ORDER BY id LIMIT 1",
        )
        .bind(row.try_get::<Vec<u8>, _>("digest")?)
        .bind(id.to_string())
        .bind(now.as_millisecond())
        .fetch_optional(&mut *all)
        .await?;
        if let Some(again) = again {
            return Ok(Err(Refused::HandedInAgain(decode(again.parse())?)));
        }
    }
    // One that begins anew has all its patience, its sender is told anew, and its draft is a new one.
    let change = match (before, state) {
        (State::Queued, State::Queued) => "UPDATE entry SET due_at = ?1 WHERE id = ?2",
        (_, State::Queued) => {
            "UPDATE entry SET state = 'queued', due_at = ?1, waited_ms = 0, held_reported = 0, \
             delay_reported = 0, kept = 0, answered = NULL, note = 'sent again by the operator', \
             sweep_at = NULL, progress = CASE WHEN progress IS NOT NULL \
             THEN json_object('begun', json_extract(progress, '$.begun')) END WHERE id = ?2"
        }
        (_, State::Sent) => {
            "UPDATE entry SET state = 'sent', due_at = ?1, note = 'the operator saw that it went' \
             WHERE id = ?2"
        }
        _ => {
            "UPDATE entry SET state = 'failed', due_at = ?1, note = 'dropped by the operator', \
             sweep_at = CASE WHEN progress IS NOT NULL THEN ?1 END WHERE id = ?2"
        }
    };
    sqlx::query(change).bind(now.as_millisecond()).bind(id.to_string()).execute(&mut *all).await?;
    if state != before {
        history::write_down(&mut all, id, now).await?;
    }
    if matches!(state, State::Sent | State::Failed) {
        sqlx::query("DELETE FROM body WHERE entry = ?")
            .bind(id.to_string())
            .execute(&mut *all)
            .await?;
    }
    if state == State::Failed {
        // What a client changed and will not be in the mailbox is not in its calendar either.
        calendar::take_back(&mut all, id, now).await?;
    }
    let row = sqlx::query("SELECT * FROM entry WHERE id = ?")
        .bind(id.to_string())
        .fetch_one(&mut *all)
        .await?;
    let after = entry(&row)?;
    all.commit().await?;
    Ok(Ok(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_tried_is_left_alone_and_what_is_held_needs_to_be_resolved() {
        use Order::{Drop, Retry, SendAgain, Sent};
        let states = [
            (State::Queued, [Some(State::Queued), Some(State::Failed), None, None]),
            (State::Attempting, [None; 4]),
            (State::Sending, [None; 4]),
            (State::Sent, [None; 4]),
            (State::Failed, [Some(State::Queued), None, None, None]),
            (State::Held, [None, Some(State::Failed), Some(State::Sent), Some(State::Queued)]),
        ];
        for (state, expected) in states {
            for (order, expected) in [Retry, Drop, Sent, SendAgain].into_iter().zip(expected) {
                assert_eq!(decide(order, state).ok(), expected, "{order:?} {state:?}");
            }
        }
    }
}
