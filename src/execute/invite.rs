//! From a mail with an invite to the decision about it, and what is left of it to be mailed.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::translate::translate;
use super::{Ended, Executor, Refused, Turn, later, mirror};
use crate::account::Address;
use crate::ical::Attachment;
use crate::invite::{self, Known};
use crate::mime::calendar::{self, Found};
use crate::store::calendar::Mirrored;
use crate::store::spool::Kind;
use crate::submission::Envelope;

/// What an account's settings say of invites.
#[derive(Debug, Clone)]
pub struct Invites {
    /// They are mailed as they stand, and no event is made.
    pub as_mail: bool,
    /// For whole days, and for times that name no zone.
    pub zone: TimeZone,
    /// Every event with attendees becomes a Teams meeting.
    pub online_meetings: bool,
    /// A recurrence for which Exchange has no pattern becomes single events; else its sender is told.
    pub spread: bool,
}

impl Default for Invites {
    fn default() -> Invites {
        Invites { as_mail: false, zone: TimeZone::system(), online_meetings: false, spread: true }
    }
}

/// Everything that may hang on the event: what came in the object and what came beside it.
pub(super) fn files(found: &calendar::Invite) -> Vec<&Attachment> {
    let event = &found.message.event;
    let said = event.master.iter().chain(event.overrides.iter().map(|one| &one.occurrence));
    said.flat_map(|one| &one.attachments).chain(&found.attachments).collect()
}

impl Executor {
    /// Makes of a mail with an invite the event that it means. What is left to be mailed: the
    /// envelope with those whom the event does not reach, or nobody.
    pub(super) async fn invite(
        &self,
        turn: &Turn,
        octets: &Arc<[u8]>,
    ) -> Result<Option<Envelope>, Ended> {
        let whole = turn.entry.envelope.clone();
        if turn.entry.kind != Kind::Submission {
            return Ok(Some(whole));
        }
        let found = {
            let octets = octets.clone();
            tokio::task::spawn_blocking(move || calendar::find(&octets)).await
        };
        let found = match found {
            Ok(Found::Invite(found)) => found,
            Ok(Found::Unusable { why }) => {
                tracing::info!(entry = %turn.entry.id, why, "invite not used: mail as it stands");
                return Ok(Some(whole));
            }
            Ok(Found::Nothing) => return Ok(Some(whole)),
            Err(error) => {
                tracing::error!(entry = %turn.entry.id, %error, "the calendar part broke the reader");
                return Ok(Some(whole));
            }
        };
        let settings = self.settings(turn);
        let uid = found.message.event.uid.clone();
        let account = turn.account.id;
        let remembered =
            self.store.invite(account, &uid).await.map_err(|error| later(error.to_string()))?;
        let recipients: Vec<Address> = whole.recipients().cloned().collect();
        let may = turn.account.has("Calendars.ReadWrite");
        let decision = invite::decide(&Known {
            account: &turn.account,
            message: &found.message,
            recipients: &recipients,
            arrived: &turn.entry.id.to_string(),
            invite: remembered.as_ref(),
            as_mail: settings.as_mail.then_some("so the account's invites are to go"),
            barred: (!may).then_some("the account has not granted Calendars.ReadWrite"),
            translated: translate(&found, &settings, remembered.as_ref(), self.store.clock().now()),
        });
        let mut why = decision.why;
        for note in &found.notes {
            why.push_str(&format!("; {note}"));
        }
        tracing::info!(entry = %turn.entry.id, uid, decision = why, "invite");
        if decision.refused {
            if remembered.is_some() {
                let noted = self.store.note_invite(account, &uid, turn.entry.id, why.clone()).await;
                noted.map_err(|error| later(error.to_string()))?;
            }
            return Err(Ended::Failed(Refused {
                // RFC 3463 §3.4: 5.3.3, the system is not capable of selected features.
                status: [5, 3, 3],
                diagnostic: None,
                why: format!("The invite {uid} was {why}"),
                remedy: "Make this change in the calendar, or cancel the event and invite anew.",
            }));
        }
        let Some(record) = decision.invite else { return Ok(Some(whole)) };
        let mirrored = if remembered.as_ref() == Some(&record) {
            Mirrored::AsItWas
        } else {
            let current = self.store.object_before(account, &uid, turn.entry.id).await;
            let current = current.map_err(|error| later(error.to_string()))?;
            mirror::of_mail(&found.message, &record, current.as_deref())
        };
        let object = found.message.event.octets.to_vec();
        self.store
            .decide_invite(account, &record, object, turn.entry.id, why, mirrored)
            .await
            .map_err(|error| later(error.to_string()))?;
        self.converge(turn, record, &files(&found)).await?;
        Ok(whole.only(&decision.mail_to))
    }
}
