//! Brings a mailbox to what an invite shall be, one call after the other, with a record before and
//! after each.
//!
//! A call that was begun and not written down is *looked up* before it is made again: by its
//! transactionId where it creates, by what stands in the mailbox where it changes. So an update is
//! mailed once however often this is interrupted.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use uuid::Uuid;

use super::{Ended, Executor, Missed, Refused, Turn, later};
use crate::account::Address;
use crate::graph::convert::Content;
use crate::graph::event::Created;
use crate::graph::resource::EventBody;
use crate::graph::{convert, difference, resource, zone};
use crate::ical::Attachment;
use crate::invite::{self, Attached, Done, EventRef, Goal, Invite, Translated};
use crate::mime::calendar::{self, Found};
use crate::plan::{self, EventAction};
use crate::store::spool::Kind;
use crate::submission::Envelope;

/// More calls than any invite needs: what goes on for longer goes in a circle.
const CALLS_MAX: usize = 64;

/// What an account's settings say of invites.
#[derive(Debug, Clone)]
pub struct Invites {
    /// They are mailed as they stand, and no event is made.
    pub as_mail: bool,
    /// For whole days, and for times that name no zone.
    pub zone: TimeZone,
    /// Every event with attendees becomes a Teams meeting.
    pub online_meetings: bool,
}

impl Default for Invites {
    fn default() -> Invites {
        Invites { as_mail: false, zone: TimeZone::system(), online_meetings: false }
    }
}

/// The REQUEST in Graph's terms.
fn translate(found: &calendar::Invite, settings: &Invites) -> Result<Translated, String> {
    let master = found.message.event.master.as_ref().ok_or("it has no event of its own")?;
    let now = Timestamp::now();
    let zone_name = zone::windows_name(&settings.zone, now, now).unwrap_or("UTC");
    let content = Content::choose(found.html.as_deref(), found.text.as_deref(), master);
    let graph = convert::Settings {
        zone: &settings.zone,
        zone_name,
        online_meetings: settings.online_meetings,
    };
    if master.recurrence.as_ref().is_some_and(|r| !r.exdates.is_empty() || !r.rdates.is_empty()) {
        return Err("it leaves out or adds single occurrences".into());
    }
    let event = convert::event_body(master, &content, &graph).map_err(|error| error.why)?;
    let content = serde_json::to_value(event).map_err(|error| error.to_string())?;
    let files = master.attachments.iter().chain(&found.attachments);
    Ok(Translated { content, attachments: files.filter_map(invite::attached).collect() })
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
        let settings = self.settings(turn);
        let may = turn.account.has("Calendars.ReadWrite");
        if turn.entry.kind != Kind::Submission || settings.as_mail || !may {
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
        if decision.refused {
            return Err(Ended::Failed(Refused {
                // RFC 3463 §3.4: 5.3.3, the system is not capable of selected features.
                status: [5, 3, 3],
                diagnostic: None,
                why: format!("The invite {uid} was {}", decision.why),
                remedy: "Make this change in the calendar, or cancel the event and invite anew.",
            }));
        }
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
            let id = event.id.as_str();
            match self.event(turn, id).await {
                Ok(found) => take_over(&invite.goal, &mut invite.done, &found),
                Err(Missed::Gone) => gone(invite),
                Err(Missed::Ended(ended)) => return Err(ended),
            }
            if let Some(EventAction::Attach(file)) = plan::of_invite(invite) {
                let hanging = self
                    .with_token(turn, |graph, token| async move {
                        graph.event_attachments(token.expose(), id).await
                    })
                    .await?;
                // More than one file may go by the same name.
                let there = hanging.iter().filter(|one| one.name.as_deref() == Some(&file.name));
                let known = invite.done.attachments.iter().filter(|one| one.name == file.name);
                if there.count() > known.count() {
                    invite.done.attachments.push(file);
                }
            }
        }
        invite.done.begun = false;
        self.record(turn, invite).await
    }

    /// An event of ours. One that was cancelled by hand is gone, whether Graph still shows it or not.
    async fn event(&self, turn: &Turn, id: &str) -> Result<resource::Event, Missed> {
        let found = self
            .with_token(turn, |graph, token| async move { graph.event(token.expose(), id).await })
            .await?;
        if found.is_cancelled == Some(true) { Err(Missed::Gone) } else { Ok(found) }
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
        let id = invite.done.event.as_ref().map_or("", |event| event.id.as_str());
        match action {
            EventAction::Create { with_attendees } => {
                let Goal::Stand { content, attendees, .. } = &invite.goal else { return Ok(done) };
                let attendees = if *with_attendees { attendees.clone() } else { Vec::new() };
                let transaction = transaction_id(turn, invite);
                let request = body(content)?
                    .with_attendees(convert::attendee_list(&attendees))
                    .tagged(&transaction, &invite.uid, &invite::mark(content));
                let request = &request;
                let created = self
                    .with_token(turn, |graph, token| async move {
                        graph.create_event(token.expose(), request).await
                    })
                    .await?;
                match created {
                    Created::New(event) => {
                        done.event = Some(reference(&event));
                        done.content = Some(content.clone());
                        done.mark = Some(invite::mark(content));
                        done.attendees = attendees;
                    }
                    // Not necessarily made of what is wanted now.
                    Created::Before(id) => {
                        let event = self.created_before(turn, invite, id).await?;
                        take_over(&invite.goal, &mut done, &event);
                    }
                }
            }
            EventAction::Attach(file) => {
                let octets = octets_of(file, files);
                if let Some((content_type, octets)) = octets {
                    self.with_token(turn, |graph, token| async move {
                        let (token, name) = (token.expose(), file.name.as_str());
                        graph.attach_to_event(token, id, name, content_type, octets).await
                    })
                    .await?;
                }
                // Its mail failed before it could be put there: nobody has the octets any more.
                done.attachments.push(file.clone());
            }
            EventAction::Patch { content: _, attendees: also } => {
                let Goal::Stand { content, attendees, .. } = &invite.goal else { return Ok(done) };
                let mut wanted = body(content)?;
                if *also {
                    wanted = wanted.with_attendees(convert::attendee_list(attendees));
                }
                let patch = match &done.content {
                    Some(standing) => {
                        let before = convert::attendee_list(&done.attendees);
                        difference::changes(&body(standing)?.with_attendees(before), &wanted)
                    }
                    None => difference::everything(&wanted),
                };
                let mark = invite::mark(content);
                // What merely looks different is no reason to mail everybody.
                if !patch.is_empty() {
                    let patch = &patch.marked(&mark);
                    let event = self
                        .with_token(turn, |graph, token| async move {
                            graph.patch_event(token.expose(), id, patch).await
                        })
                        .await?;
                    done.event = Some(reference(&event));
                    if patch.changes("singleValueExtendedProperties") {
                        done.mark = Some(mark);
                    }
                }
                done.content = Some(content.clone());
                done.attendees = attendees.clone();
            }
            EventAction::Cancel | EventAction::Delete => {
                let gone = self
                    .with_token(turn, |graph, token| async move {
                        match action {
                            EventAction::Cancel => graph.cancel_event(token.expose(), id, "").await,
                            _ => graph.delete_event(token.expose(), id).await,
                        }
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
            return self.event(turn, &id).await;
        }
        let found = self
            .with_token(turn, |graph, token| async move {
                graph.event_of_uid(token.expose(), &invite.uid).await
            })
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

/// What is seen in the mailbox is what was done, whether its answer came or not.
fn take_over(goal: &Goal, done: &mut Done, found: &resource::Event) {
    let seen = reference(found);
    let changed = done.event.as_ref().is_none_or(|known| known.change_key != seen.change_key);
    done.event = Some(seen);
    let Goal::Stand { content, attendees, .. } = goal else { return };
    if !changed {
        return;
    }
    if let Some(mark) = found.mark()
        && done.mark.as_deref() != Some(mark)
    {
        done.content = (mark == invite::mark(content)).then(|| content.clone());
        done.mark = Some(mark.to_owned());
    }
    // In the order of the goal, then those who are to be taken off.
    let off =
        done.attendees.iter().filter(|old| attendees.iter().all(|a| a.address != old.address));
    let known = attendees.iter().chain(off);
    done.attendees =
        known.filter(|one| found.has_attendee(one.address.as_str())).cloned().collect();
}

fn reference(event: &resource::Event) -> EventRef {
    EventRef {
        id: event.id.clone(),
        ical_uid: event.i_cal_u_id.clone(),
        change_key: event.change_key.clone(),
    }
}

/// What was remembered, in Graph's terms again.
fn body(content: &Value) -> Result<EventBody, Ended> {
    serde_json::from_value(content.clone())
        .map_err(|error| later(format!("the record of the event cannot be read: {error}")))
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
