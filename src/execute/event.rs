//! Brings a mailbox to what an invite shall be, one call after the other, with a record before and
//! after each.
//!
//! A call that was begun and not written down is *looked up* before it is made again: by its
//! transactionId where it creates, by what stands in the mailbox where it changes. So an update is
//! mailed once however often this is interrupted.

use std::sync::Arc;

use uuid::Uuid;

use super::{Ended, Executor, Missed, Refused, Turn, later};
use crate::account::Address;
use crate::graph::event::{Created, UID_PROPERTY};
use crate::graph::{Failure, convert, resource};
use crate::ical::Attachment;
use crate::invite::{self, Attached, Done, EventRef, Goal, Invite};
use crate::mime::calendar::{self, Found};
use crate::plan::{self, EventAction};
use crate::store::spool::Kind;
use crate::submission::Envelope;

/// More calls than any invite needs: what goes on for longer goes in a circle.
const CALLS_MAX: usize = 64;

impl Executor {
    /// Makes of a mail with an invite the event that it means. What is left to be mailed: the
    /// envelope with those whom the event does not reach, or nobody.
    pub(super) async fn invite(
        &self,
        turn: &Turn,
        octets: &Arc<[u8]>,
    ) -> Result<Option<Envelope>, Ended> {
        let whole = turn.entry.envelope.clone();
        let settings = self.settings(turn);
        if turn.entry.kind != Kind::Submission || settings.as_mail {
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
        let uid = found.message.event.uid.clone();
        let account = turn.account.id;
        let remembered =
            self.store.invite(account, &uid).await.map_err(|error| later(error.to_string()))?;
        let recipients: Vec<Address> = whole.recipients().cloned().collect();
        let decision = invite::decide(invite::Known {
            account: &turn.account,
            message: &found.message,
            recipients: &recipients,
            arrived: &turn.entry.id.to_string(),
            invite: remembered.as_ref(),
            translated: translate(&found, &settings),
        });
        tracing::info!(entry = %turn.entry.id, uid, decision = decision.why, "invite");
        let Some(record) = decision.invite else { return Ok(Some(whole)) };
        let object = found.message.event.octets.to_vec();
        self.store
            .decide_invite(account, &record, object, turn.entry.id, decision.why)
            .await
            .map_err(|error| later(error.to_string()))?;
        self.converge(turn, record, &found.attachments).await?;
        Ok(whole.only(&decision.mail_to))
    }

    /// `files` are those of the mail at hand.
    pub(super) async fn converge(
        &self,
        turn: &Turn,
        mut invite: Invite,
        files: &[Attachment],
    ) -> Result<(), Ended> {
        if invite.done.begun {
            self.look(turn, &mut invite).await?;
        }
        for _ in 0..CALLS_MAX {
            let Some(action) = plan::of_invite(&invite) else { return Ok(()) };
            invite.done.begun = true;
            self.record(turn, &invite).await?;
            match self.make(turn, &invite, &action, files).await {
                Ok(done) => invite.done = done,
                // Somebody took it out of the calendar by hand.
                Err(Missed::Gone) => gone(&mut invite),
                // Nobody knows; the record says *begun*, so the next attempt looks first.
                Err(Missed::Ended(Ended::Unknown { note })) => return Err(later(note)),
                Err(Missed::Ended(ended)) => {
                    invite.done.begun = false;
                    self.record(turn, &invite).await?;
                    return Err(ended);
                }
            }
            self.record(turn, &invite).await?;
        }
        Err(later("the event does not come to stand as it shall".into()))
    }

    async fn record(&self, turn: &Turn, invite: &Invite) -> Result<(), Ended> {
        let written = self.store.record_invite(turn.account.id, invite).await;
        written.map_err(|error| later(error.to_string()))
    }

    /// Finds out what became of a call that was begun.
    async fn look(&self, turn: &Turn, invite: &mut Invite) -> Result<(), Ended> {
        // Creating is safe to repeat: its transactionId says what became of it.
        if let Some(event) = invite.done.event.clone() {
            let zone = zone_of(invite);
            let found = self
                .with_token(turn, async |graph, token| graph.event(token, &event.id, &zone).await)
                .await;
            match found {
                Ok(found) => take_over(invite, &found),
                Err(Missed::Gone) => gone(invite),
                Err(Missed::Ended(ended)) => return Err(ended),
            }
            if let Some(EventAction::Attach(file)) = plan::of_invite(invite) {
                let hanging = self
                    .with_token(turn, async |graph, token| {
                        graph.event_attachments(token, &event.id).await
                    })
                    .await?;
                if hanging.iter().any(|there| there.name.as_deref() == Some(&file.name)) {
                    invite.done.attachments.push(file);
                }
            }
        }
        invite.done.begun = false;
        self.record(turn, invite).await
    }

    /// Makes one call. Returns what stands in the mailbox after it.
    async fn make(
        &self,
        turn: &Turn,
        invite: &Invite,
        action: &EventAction,
        files: &[Attachment],
    ) -> Result<Done, Missed> {
        let mut done = Done { begun: false, ..invite.done.clone() };
        let id = done.event.as_ref().map(|event| event.id.clone()).unwrap_or_default();
        match action {
            EventAction::Create { attendees } => {
                let Goal::Stand { body, .. } = &invite.goal else { return Ok(done) };
                let transaction = transaction_id(turn, invite);
                let request =
                    convert::create_body(body, attendees, &transaction, UID_PROPERTY, &invite.uid);
                let created = self
                    .with_token(turn, async |graph, token| {
                        graph.create_event(token, &request).await
                    })
                    .await?;
                match created {
                    Created::New(event) => done.event = Some(reference(&event)),
                    Created::Before(id) => {
                        let event = self.created_before(turn, invite, id).await?;
                        done.event = Some(reference(&event));
                    }
                }
                done.body = Some(body.clone());
                done.attendees = attendees.clone();
            }
            EventAction::Attach(file) => {
                let octets = octets_of(file, files);
                if let Some((content_type, octets)) = octets {
                    self.with_token(turn, async |graph, token| {
                        graph.attach_to_event(token, &id, &file.name, content_type, octets).await
                    })
                    .await?;
                }
                // Its mail failed before it could be put there: nobody has the octets any more.
                done.attachments.push(file.clone());
            }
            EventAction::Patch(patch) => {
                let event = self
                    .with_token(turn, async |graph, token| graph.patch_event(token, &id, patch).await)
                    .await?;
                done.event = Some(reference(&event));
                if let Goal::Stand { body, attendees, .. } = &invite.goal {
                    done.body = Some(body.clone());
                    done.attendees = attendees.clone();
                }
            }
            EventAction::Cancel | EventAction::Delete => {
                let gone = self
                    .with_token(turn, async |graph, token| match action {
                        EventAction::Cancel => graph.cancel_event(token, &id, "").await,
                        _ => graph.delete_event(token, &id).await,
                    })
                    .await;
                match gone {
                    Ok(()) | Err(Missed::Gone) => done.cancelled = true,
                    Err(missed) => return Err(missed),
                }
            }
        }
        Ok(done)
    }

    /// The event that an earlier try of the same create made.
    async fn created_before(
        &self,
        turn: &Turn,
        invite: &Invite,
        id: Option<String>,
    ) -> Result<resource::Event, Missed> {
        if let Some(id) = id {
            let zone = zone_of(invite);
            return self
                .with_token(turn, async |graph, token| graph.event(token, &id, &zone).await)
                .await;
        }
        let found = self
            .with_token(turn, async |graph, token| graph.event_of_uid(token, &invite.uid).await)
            .await?;
        found.ok_or_else(|| {
            Ended::Failed(Refused {
                status: [5, 3, 0],
                diagnostic: Some("ErrorDuplicateTransactionId".into()),
                why: "Microsoft 365 says that this event exists, and does not show it".into(),
                remedy: "Look in the calendar, and send the invitation under a new UID.",
            })
            .into()
        })
    }
}

/// The event is no more; the goal makes it anew, as the next generation.
fn gone(invite: &mut Invite) {
    match invite.goal {
        Goal::Cancelled => invite.done.cancelled = true,
        Goal::Stand { .. } => {
            invite.done = Done::default();
            invite.generation += 1;
        }
    }
    invite.done.begun = false;
}

/// What is seen in the mailbox counts as done where it is as it shall be.
fn take_over(invite: &mut Invite, found: &resource::Event) {
    let seen = reference(found);
    let changed = invite.done.event.as_ref().is_none_or(|known| known.change_key != seen.change_key);
    if let Goal::Stand { body, attendees, .. } = &invite.goal
        && changed
        && convert::stands(found, body, attendees)
    {
        invite.done.body = Some(body.clone());
        invite.done.attendees = attendees.clone();
    }
    invite.done.event = Some(seen);
}

fn reference(event: &resource::Event) -> EventRef {
    EventRef {
        id: event.id.clone(),
        ical_uid: event.ical_uid.clone(),
        change_key: event.change_key.clone(),
    }
}

fn zone_of(invite: &Invite) -> String {
    match &invite.goal {
        Goal::Stand { body, .. } => body.start.time_zone.clone(),
        Goal::Cancelled => "UTC".into(),
    }
}

/// The same for every try, another for every generation (Graph: transactionId).
fn transaction_id(turn: &Turn, invite: &Invite) -> String {
    let name = format!("{}|{}", invite.generation, invite.uid);
    Uuid::new_v5(&turn.account.id.0, name.as_bytes()).to_string()
}

fn octets_of<'f>(file: &Attached, files: &'f [Attachment]) -> Option<(&'f str, &'f [u8])> {
    files.iter().find_map(|attachment| match attachment {
        Attachment::Inline { content_type, octets, .. }
            if octets.len() as u64 == file.size && crate::invite::digest(octets) == file.digest =>
        {
            let content_type = content_type.as_deref().unwrap_or("application/octet-stream");
            Some((content_type, octets.as_slice()))
        }
        _ => None,
    })
}
