//! Finds the calendar of the mailbox that an event is to be in.
//!
//! One that a client made (MKCALENDAR) is made in the mailbox with its first event. Graph has no two of one
//! name, which makes that safe to repeat: where there is one already, it is this one.

use super::{Ended, Executor, Missed, Refused, Turn, later};
use crate::graph::calendars::Calendar;
use crate::store::calendars::Made;

impl Executor {
    /// The id of the calendar in which the event of this UID is to be; `None`: the mailbox's own.
    pub(super) async fn calendar_of(
        &self,
        turn: &Turn,
        uid: &str,
    ) -> Result<Option<String>, Ended> {
        let made = self.store.made_calendar_of(turn.account.id, uid).await;
        let Some(made) = made.map_err(|error| later(error.to_string()))? else { return Ok(None) };
        if made.graph_id.is_some() {
            return Ok(made.graph_id);
        }
        let (name, found) = (made.title.as_str(), self.make_calendar(turn, &made).await?);
        tracing::info!(entry = %turn.entry.id, calendar = made.name, "is a calendar of the mailbox");
        let Some(calendar) = found else {
            return Err(Ended::Failed(Refused {
                // RFC 3463 §3.4: the system is not capable of selected features.
                status: [5, 3, 3],
                diagnostic: None,
                why: format!("the mailbox has a calendar {name:?} that it may not write to"),
                remedy: "Give the calendar another name.",
            }));
        };
        let is = self.store.is_calendar(turn.account.id, &made.name, Some(calendar.id.clone()));
        is.await.map_err(|error| later(error.to_string()))?;
        Ok(Some(calendar.id))
    }

    async fn make_calendar(&self, turn: &Turn, made: &Made) -> Result<Option<Calendar>, Ended> {
        let name = made.title.as_str();
        let created = self
            .with_token(turn, |graph, token| async move {
                graph.create_calendar(token.expose(), name).await
            })
            .await;
        match created {
            Ok(calendar) => return Ok(Some(calendar)),
            Err(Missed::Conflict { .. }) => {}
            Err(missed) => return Err(missed.into()),
        }
        let all = self
            .with_token(turn, |graph, token| async move { graph.calendars(token.expose()).await })
            .await?;
        let is_it = |one: &Calendar| {
            let named = one.name.as_deref().is_some_and(|its| its.eq_ignore_ascii_case(name));
            named && one.can_edit != Some(false)
        };
        Ok(all.into_iter().find(is_it))
    }

    /// Somebody deleted it in Outlook: with the next try it is made again.
    pub(super) async fn calendar_is_gone(&self, turn: &Turn, uid: &str) -> Result<Ended, Ended> {
        let failed = |error: crate::store::StoreError| later(error.to_string());
        let made = self.store.made_calendar_of(turn.account.id, uid).await.map_err(failed)?;
        if let Some(made) = made {
            let is = self.store.is_calendar(turn.account.id, &made.name, None).await;
            is.map_err(failed)?;
        }
        Ok(later("its calendar was deleted in Outlook, and is made again".into()))
    }
}
