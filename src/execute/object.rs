//! Carries a client's change of a calendar object into the mailbox: the same parts, goals and calls as an
//! invite by mail, decided as what it is (`invite::whole`).
//!
//! The object is in the client's calendar already, and stays there when this comes to its end; what is
//! refused for good the store takes back.

use std::sync::Arc;

use super::translate::{put_occurrences_back, translate_object};
use super::{Ended, Executor, Refused, Turn, later, octets_gone};
use crate::ical;
use crate::invite::whole::{self, Kept};
use crate::itip::{Message, Method};
use crate::mime::calendar;
use crate::store::calendar::Mirrored;

impl Executor {
    pub(super) async fn change_object(&self, turn: &Turn) -> Result<(), Ended> {
        let pending = self.store.pending_change(turn.entry.id).await;
        let pending = pending.map_err(|error| later(error.to_string()))?.ok_or_else(octets_gone)?;
        let octets = self.octets(turn).await?;
        let read = tokio::task::spawn_blocking(move || read(&octets)).await;
        let found = match read {
            Ok(Ok(found)) => found,
            Ok(Err(why)) => return Err(refused(format!("the object cannot be used: {why}"))),
            Err(error) => return Err(refused(format!("the object broke the reader: {error}"))),
        };
        let settings = self.settings(turn);
        let (event, account) = (&found.message.event, turn.account.id);
        let remembered = self.store.invite(account, &event.uid).await;
        let remembered = remembered.map_err(|error| later(error.to_string()))?;
        let arrived = turn.entry.id.to_string();
        let decision = match pending.deletes {
            true => whole::delete(remembered.as_ref(), &arrived),
            false => {
                let may = turn.account.has("Calendars.ReadWrite");
                let now = self.store.clock().now();
                whole::put(&Kept {
                    account: &turn.account,
                    event,
                    arrived: &arrived,
                    invite: remembered.as_ref(),
                    barred: (!may).then_some("the account has not granted Calendars.ReadWrite"),
                    translated: translate_object(&found, &settings, remembered.as_ref(), now),
                })
            }
        };
        let why = decision.why;
        tracing::info!(entry = %turn.entry.id, uid = event.uid, decision = why, "calendar object");
        if decision.refused {
            if remembered.is_some() {
                let noted =
                    self.store.note_invite(account, &event.uid, turn.entry.id, why.clone()).await;
                noted.map_err(|error| later(error.to_string()))?;
            }
            return Err(refused(format!("The event {} was {why}", event.uid)));
        }
        // Deleted before anything of it came to be.
        let Some(record) = decision.invite else { return Ok(()) };
        let octets = event.octets.to_vec();
        self.store
            .decide_invite(account, &record, octets, turn.entry.id, why, Mirrored::AsItWas)
            .await
            .map_err(|error| later(error.to_string()))?;
        if let Some(why) = record.taken_back.clone() {
            self.converge(turn, record, &[]).await?;
            return Err(refused(why));
        }
        let ended = self.converge(turn, record, &super::invite::files(&found)).await;
        let Err(Ended::Failed(refused)) = ended else { return ended };
        // Half of it may be in the mailbox: that goes, too, before anybody hears of it.
        let stands = self.store.invite(account, &event.uid).await;
        if let Some(stands) = stands.map_err(|error| later(error.to_string()))? {
            let mut back = whole::take_back(&stands, &refused.why);
            put_occurrences_back(&mut back);
            let why = format!("taken back: {}", refused.why);
            let octets = event.octets.to_vec();
            self.store
                .decide_invite(account, &back, octets, turn.entry.id, why, Mirrored::AsItWas)
                .await
                .map_err(|error| later(error.to_string()))?;
            self.converge(turn, back, &[]).await?;
        }
        Err(Ended::Failed(refused))
    }
}

/// RFC 3463 §3.4: 5.3.3, the system is not capable of selected features.
fn refused(why: String) -> Ended {
    Ended::Failed(Refused {
        status: [5, 3, 3],
        diagnostic: None,
        why,
        remedy: "The calendar shows it as it was before; change it there, or in Outlook.",
    })
}

/// The object behind the lines that stand for a mail's header (see `caldav`).
fn read(octets: &Arc<[u8]>) -> Result<calendar::Invite, String> {
    let end = memchr::memmem::find(octets, b"\r\n\r\n").ok_or("it has no header")?;
    let object = octets.get(end + 4..).unwrap_or_default();
    let object = ical::read(object).map_err(|error| error.to_string())?;
    let notes = object.notes;
    let event = object.events.into_iter().next().ok_or("it is empty")?;
    let message = Message { method: Method::Request, event };
    Ok(calendar::Invite { message, text: None, html: None, attachments: Vec::new(), notes })
}
