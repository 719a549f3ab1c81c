//! Brings a mailbox to what an invite shall be, one call after the other, with a record before and
//! after each.
//!
//! A call that was begun and not written down is *looked up* before it is made again: by its
//! transactionId where it creates, by what stands in the mailbox where it changes. So an update is
//! mailed once however often this is interrupted.

use jiff::SignedDuration;
use serde_json::Value;
use uuid::Uuid;

use super::{Ended, Executor, Missed, Turn, later};
use crate::graph::difference::Patch;
use crate::graph::event::Created;
use crate::graph::resource::{self, AttendeeType, EmailAddress, EventBody};
use crate::graph::{convert, difference, online_meeting};
use crate::ical::{Attachment, Attendee};
use crate::invite::{self, Attached, Done, EventRef, Goal, Invite, Part, Wanted};
use crate::plan::{self, EventAction};

/// More calls than any event needs: what goes on for longer goes in a circle. An EXDATE takes two.
const CALLS_MAX: usize = 2_500;
/// Longer than Graph takes to show an event to who looks for it.
const SHOWN_WITHIN: SignedDuration = SignedDuration::from_mins(30);
/// How often in one attempt somebody else may be writing at the same time.
const CONFLICTS_MAX: usize = 3;

/// One event of an invite, while it is worked on.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub turn: &'a Turn,
    pub uid: &'a str,
    pub part: &'a Part,
    /// Those of the mail at hand.
    pub files: &'a [&'a Attachment],
}

impl At<'_> {
    /// The id of the event; empty where there is none.
    pub fn id(&self) -> &str {
        self.part.done.event.as_ref().map_or("", |event| event.id.as_str())
    }

    /// The same for every try, another for every generation (Graph: transactionId).
    fn transaction_id(&self) -> String {
        let generation = self.part.generation;
        let name = match self.part.original {
            None => format!("{generation}|{}", self.uid),
            Some(original) => format!("{generation}|{original}|{}", self.uid),
        };
        Uuid::new_v5(&self.turn.account.id.0, name.as_bytes()).to_string()
    }
}

impl Executor {
    /// What goes, then what stands. `files` are those of the mail at hand.
    pub(super) async fn converge(
        &self,
        turn: &Turn,
        mut invite: Invite,
        files: &[&Attachment],
    ) -> Result<(), Ended> {
        let (mut calls, mut conflicts) = (0, 0);
        while let Some(nth) = next_part(&invite) {
            calls += 1;
            if calls > CALLS_MAX {
                return Err(later("the event does not come to stand as it shall".into()));
            }
            if part(&invite, nth)?.done.begun {
                self.look(turn, &mut invite, nth).await?;
                continue;
            }
            let Some(action) = plan::of_event(part(&invite, nth)?) else { continue };
            part_mut(&mut invite, nth)?.done.begun = true;
            self.record(turn, &invite).await?;
            let at = At { turn, uid: &invite.uid, part: part(&invite, nth)?, files };
            let made = self.make(&at, &action).await;
            match made {
                Ok(done) => part_mut(&mut invite, nth)?.done = done,
                // Somebody took it out of the calendar by hand.
                Err(Missed::Gone) => gone(part_mut(&mut invite, nth)?, &action),
                // Somebody else wrote at the same time: read again, and decide again.
                Err(Missed::Conflict { .. }) if conflicts < CONFLICTS_MAX => {
                    conflicts += 1;
                    continue;
                }
                Err(Missed::Crossing(original)) => {
                    part_mut(&mut invite, nth)?.done.begun = false;
                    invite::stand_in(&mut invite, original);
                }
                // Nobody knows; the record says *begun*, so the next attempt looks first.
                Err(Missed::Ended(Ended::Unknown { note }) | Missed::Conflict { why: note }) => {
                    return Err(later(note));
                }
                Err(Missed::Ended(ended)) => {
                    part_mut(&mut invite, nth)?.done.begun = false;
                    self.record(turn, &invite).await?;
                    return Err(ended);
                }
            }
            if let EventAction::Find(original) = action
                && part(&invite, nth)?
                    .done
                    .occurrences
                    .get(&original)
                    .is_some_and(|one| one.cancelled)
            {
                invite::stand_in(&mut invite, original);
            }
            self.record(turn, &invite).await?;
        }
        Ok(())
    }

    async fn record(&self, turn: &Turn, invite: &Invite) -> Result<(), Ended> {
        let written = self.store.record_invite(turn.account.id, invite).await;
        written.map_err(|error| later(error.to_string()))
    }

    /// Finds out what became of a call that was begun.
    async fn look(&self, turn: &Turn, invite: &mut Invite, nth: usize) -> Result<(), Ended> {
        let one = part_mut(invite, nth)?;
        match one.done.event.clone() {
            // Creating is safe to repeat: its transactionId says what became of it.
            None => {
                one.done.maybe_created = true;
                one.done.maybe_created_at.get_or_insert(self.store.clock().now());
            }
            Some(event) => match self.event(turn, &event.id).await {
                Ok(found) => {
                    take_over(&one.goal, &mut one.done, &found);
                    match plan::of_event(one) {
                        Some(EventAction::Attach(file)) => self.look_for(turn, one, file).await?,
                        Some(action) => self.look_at_occurrence(turn, one, &action).await?,
                        None => {}
                    }
                }
                Err(Missed::Gone) => gone(one, &EventAction::Delete),
                Err(missed) => return Err(missed.into()),
            },
        }
        part_mut(invite, nth)?.done.begun = false;
        self.record(turn, invite).await
    }

    /// Whether a file hangs on its event.
    async fn look_for(&self, turn: &Turn, part: &mut Part, file: Attached) -> Result<(), Ended> {
        let id = part.done.event.as_ref().map_or("", |event| event.id.as_str());
        if self.hangs(turn, id, &file, &part.done.attachments).await? {
            part.done.attachments.push(file);
        }
        Ok(())
    }

    /// Whether a file hangs there beside those that are known to.
    pub(super) async fn hangs(
        &self,
        turn: &Turn,
        id: &str,
        file: &Attached,
        known: &[Attached],
    ) -> Result<bool, Ended> {
        let hanging = self
            .with_token(turn, |graph, token| async move {
                graph.event_attachments(token.expose(), id).await
            })
            .await?;
        // More than one file may go by the same name.
        let there = hanging.iter().filter(|one| one.name.as_deref() == Some(&file.name));
        let known = known.iter().filter(|one| one.name == file.name);
        Ok(there.count() > known.count())
    }

    /// An event of ours. One that was cancelled by hand is gone, whether Graph still shows it or not.
    pub(super) async fn event(&self, turn: &Turn, id: &str) -> Result<resource::Event, Missed> {
        let found = self
            .with_token(turn, |graph, token| async move { graph.event(token.expose(), id).await })
            .await?;
        if found.is_cancelled == Some(true) { Err(Missed::Gone) } else { Ok(found) }
    }

    /// Makes one call. Returns what stands in the mailbox after it.
    async fn make(&self, at: &At<'_>, action: &EventAction) -> Result<Done, Missed> {
        let mut done = Done { begun: false, ..at.part.done.clone() };
        let wanted = match &at.part.goal {
            Goal::Stand(wanted) => wanted,
            Goal::Cancelled => {
                match self.take_away(at, at.id(), *action == EventAction::Cancel).await {
                    Ok(()) | Err(Missed::Gone) => done.cancelled = true,
                    Err(missed) => return Err(missed),
                }
                return Ok(done);
            }
        };
        match action {
            EventAction::Create { with_attendees } => {
                self.create(at, wanted, *with_attendees, &mut done).await?;
            }
            EventAction::Attach(file) => {
                self.attach(at, at.id(), file).await?;
                done.attachments.push(file.clone());
            }
            EventAction::Patch { content, attendees } => {
                self.patch(at, wanted, *content, *attendees, &mut done).await?;
            }
            occurrence => self.make_occurrence(at, wanted, occurrence, &mut done).await?,
        }
        Ok(done)
    }

    /// Cancels or deletes an event or an occurrence.
    pub(super) async fn take_away(&self, at: &At<'_>, id: &str, tell: bool) -> Result<(), Missed> {
        self.with_token(at.turn, |graph, token| async move {
            match tell {
                true => graph.cancel_event(token.expose(), id, "").await,
                false => graph.delete_event(token.expose(), id).await,
            }
        })
        .await
    }

    async fn create(
        &self,
        at: &At<'_>,
        wanted: &Wanted,
        with_attendees: bool,
        done: &mut Done,
    ) -> Result<(), Missed> {
        let attendees = if with_attendees { wanted.attendees.clone() } else { Vec::new() };
        let transaction = at.transaction_id();
        let request = body(&wanted.content)?
            .with_attendees(convert::attendee_list(&attendees))
            .tagged(&transaction, at.uid, &wanted.mark());
        let calendar = self.calendar_of(at.turn, at.uid).await?;
        let (request, calendar) = (&request, calendar.as_deref());
        let created = self
            .with_token(at.turn, |graph, token| async move {
                graph.create_event(token.expose(), calendar, request).await
            })
            .await;
        let created = match created {
            Err(Missed::Gone) if calendar.is_some() => {
                return Err(self.calendar_is_gone(at.turn, at.uid).await?.into());
            }
            created => created?,
        };
        match created {
            Created::New(event) => {
                done.event = Some(reference(&event));
                done.content = Some(wanted.content.clone());
                done.mark = Some(wanted.mark());
                done.attendees = attendees;
            }
            // Not necessarily made of what is wanted now.
            Created::Before(id) => {
                let event = self.created_before(at, calendar, id, &transaction).await?;
                take_over(&at.part.goal, done, &event);
            }
        }
        done.maybe_created = false;
        done.maybe_created_at = None;
        Ok(())
    }

    /// The event that an earlier try of the same create made.
    async fn created_before(
        &self,
        at: &At<'_>,
        calendar: Option<&str>,
        id: Option<String>,
        transaction: &str,
    ) -> Result<resource::Event, Missed> {
        if let Some(id) = id {
            return self.event(at.turn, &id).await;
        }
        let found = self
            .with_token(at.turn, |graph, token| async move {
                graph.events_of_uid(token.expose(), calendar, at.uid).await
            })
            .await?;
        let alone = found.len() == 1;
        let is_it = |event: &resource::Event| match &event.transaction_id {
            Some(of) => of == transaction,
            None => alone,
        };
        match found.into_iter().find(is_it) {
            Some(event) => Ok(event),
            // What was made a moment ago may not be in Graph's index yet; what is not in it for so long
            // somebody took out of the calendar before we knew of it.
            None if at.part.done.maybe_created && !self.is_overdue(&at.part.done) => {
                Err(later("Graph says that the event exists, and does not show it yet".into())
                    .into())
            }
            // An event of a record that was forgotten since: it is no more.
            None => Err(Missed::Gone),
        }
    }

    fn is_overdue(&self, done: &Done) -> bool {
        let now = self.store.clock().now();
        done.maybe_created_at.is_some_and(|at| now.duration_since(at) > SHOWN_WITHIN)
    }

    /// Hangs a file on an event or an occurrence.
    pub(super) async fn attach(
        &self,
        at: &At<'_>,
        id: &str,
        file: &Attached,
    ) -> Result<(), Missed> {
        match octets_of(file, at.files) {
            Some((content_type, octets)) => {
                self.with_token(at.turn, |graph, token| async move {
                    let (token, name) = (token.expose(), file.name.as_str());
                    graph.attach_to_event(token, id, name, content_type, octets).await
                })
                .await?;
            }
            // Its mail is over, and the event was made anew since: nobody has the octets any more.
            None => {
                let why = format!("the file {:?} is not put back: its mail is gone", file.name);
                self.note(at, why).await?;
            }
        }
        Ok(())
    }

    /// What could not be done, for the log and the invite's history.
    async fn note(&self, at: &At<'_>, why: String) -> Result<(), Ended> {
        tracing::warn!(entry = %at.turn.entry.id, uid = at.uid, why, "invite");
        let (account, entry) = (at.turn.account.id, at.turn.entry.id);
        let noted = self.store.note_invite(account, at.uid, entry, why).await;
        noted.map_err(|error| later(error.to_string()))
    }

    async fn patch(
        &self,
        at: &At<'_>,
        wanted: &Wanted,
        content: bool,
        attendees: bool,
        done: &mut Done,
    ) -> Result<(), Missed> {
        let mut new = body(&wanted.content)?;
        if attendees {
            new = new.with_attendees(convert::attendee_list(&wanted.attendees));
        }
        let mut patch = match &done.content {
            Some(standing) => {
                let before = convert::attendee_list(&done.attendees);
                difference::changes(&body(standing)?.with_attendees(before), &new)
            }
            None => difference::everything(&new),
        };
        // Files alone do not reach the attendees.
        if content && patch.is_empty() && done.told != done.attachments {
            patch = difference::again(&new);
        }
        let mark = wanted.mark();
        // What merely looks different is no reason to mail everybody.
        if !patch.is_empty() {
            let lists = attendees && !done.attendees.is_empty() && patch.changes("attendees");
            let mut etag = None;
            if lists || patch.changes("body") {
                let standing = self.event(at.turn, at.id()).await?;
                if patch.changes("body") && !keep_meeting(&mut patch, &new, &standing) {
                    let why = "the text is not changed: it holds the way into the online meeting";
                    self.note(at, why.to_owned()).await?;
                }
                if lists {
                    patch.add_attendees(strangers(&standing, wanted, done, at));
                    etag = standing.etag;
                }
            }
            let (id, patch, etag) = (at.id(), &patch.marked(&mark), etag.as_deref());
            let event = self
                .with_token(at.turn, |graph, token| async move {
                    graph.patch_event(token.expose(), id, patch, etag).await
                })
                .await?;
            done.event = Some(reference(&event));
            if patch.changes("singleValueExtendedProperties") {
                done.mark = Some(mark);
            }
            if ["start", "end", "isAllDay", "recurrence"].iter().any(|name| patch.changes(name)) {
                done.occurrences.clear();
            }
        }
        if content {
            done.content = Some(wanted.content.clone());
        }
        if attendees {
            done.attendees.clone_from(&wanted.attendees);
        }
        done.told.clone_from(&done.attachments);
        Ok(())
    }
}

/// What goes comes first.
fn next_part(invite: &Invite) -> Option<usize> {
    let open = |part: &&Part| part.done.begun || plan::of_event(part).is_some();
    let nth = |goes: bool| {
        invite
            .parts
            .iter()
            .position(|part| matches!(part.goal, Goal::Cancelled) == goes && open(&part))
    };
    nth(true).or_else(|| nth(false))
}

fn part(invite: &Invite, nth: usize) -> Result<&Part, Ended> {
    invite.parts.get(nth).ok_or_else(|| later("the record of the invite lost a part".into()))
}

fn part_mut(invite: &mut Invite, nth: usize) -> Result<&mut Part, Ended> {
    invite.parts.get_mut(nth).ok_or_else(|| later("the record of the invite lost a part".into()))
}

/// What was acted on is no more. An event's goal makes it anew, as the next generation; an occurrence
/// is looked for once more.
fn gone(part: &mut Part, action: &EventAction) {
    part.done.begun = false;
    match (&part.goal, action) {
        (Goal::Cancelled, _) => part.done.cancelled = true,
        (
            Goal::Stand(_),
            EventAction::PatchOccurrence { original, .. }
            | EventAction::AttachToOccurrence { original, .. }
            | EventAction::CancelOccurrence(original)
            | EventAction::DeleteOccurrence(original),
        ) => {
            part.done.occurrences.remove(original);
        }
        (Goal::Stand(_), _) => {
            part.done = Done::default();
            part.generation += 1;
        }
    }
}

/// What is seen in the mailbox is what was done, whether its answer came or not.
fn take_over(goal: &Goal, done: &mut Done, found: &resource::Event) {
    let seen = reference(found);
    let changed = done.event.as_ref().is_none_or(|known| known.change_key != seen.change_key);
    done.event = Some(seen);
    let Goal::Stand(wanted) = goal else { return };
    if !changed {
        return;
    }
    if let Some(mark) = found.mark()
        && done.mark.as_deref() != Some(mark)
    {
        let before = done.content.take();
        if mark == wanted.mark() {
            done.content = Some(wanted.content.clone());
            done.told.clone_from(&done.attachments);
        }
        // Another time or rule begins without any exceptions.
        let schedule = |content: &Option<Value>| content.as_ref().map(super::translate::schedule);
        if schedule(&before) != schedule(&done.content) {
            done.occurrences.clear();
        }
        done.mark = Some(mark.to_owned());
    }
    // In the order of the goal, then those who are to be taken off.
    let off = done
        .attendees
        .iter()
        .filter(|old| wanted.attendees.iter().all(|a| a.address != old.address));
    let known = wanted.attendees.iter().chain(off);
    let there = known.filter(|one| found.has_attendee(one.address.as_str())).cloned().collect();
    // Their invitation came with the files.
    if std::mem::replace(&mut done.attendees, there).is_empty() {
        done.told.clone_from(&done.attachments);
    }
}

pub(super) fn reference(event: &resource::Event) -> EventRef {
    EventRef {
        id: event.id.clone(),
        ical_uid: event.i_cal_u_id.clone(),
        change_key: event.change_key.clone(),
    }
}

/// Keeps the way into an online meeting in the new text. `false`: it cannot be told from the rest, so
/// the text stays as it is, as a new one would end the meeting.
fn keep_meeting(patch: &mut Patch, new: &EventBody, standing: &resource::Event) -> bool {
    let meeting = standing.online_meeting.as_ref().and_then(|meeting| meeting.join_url.as_deref());
    let Some((url, text)) = meeting.zip(standing.body.as_ref()) else { return true };
    match online_meeting::with_join_part(&new.body, text, url) {
        Some(text) => patch.set_body(&text),
        None => {
            patch.take("body");
            return false;
        }
    }
    true
}

/// Those whom somebody added by hand, in Outlook: Graph replaces the whole list, and they stay on it.
fn strangers(
    standing: &resource::Event,
    wanted: &Wanted,
    done: &Done,
    at: &At<'_>,
) -> Vec<resource::Attendee> {
    let ours: Vec<&Attendee> = wanted.attendees.iter().chain(&done.attendees).collect();
    let is_stranger = |email: &&EmailAddress| {
        let is = |address: &str| address.eq_ignore_ascii_case(&email.address);
        !ours.iter().any(|one| is(one.address.as_str())) && !is(at.turn.account.address.as_str())
    };
    let type_of = |name: Option<&str>| match name {
        Some("optional") => AttendeeType::Optional,
        Some("resource") => AttendeeType::Resource,
        _ => AttendeeType::Required,
    };
    standing
        .attendees
        .iter()
        .filter_map(|one| Some((one.email_address.as_ref()?, type_of(one.r#type.as_deref()))))
        .filter(|(email, _)| is_stranger(email))
        .map(|(email, r#type)| resource::Attendee { email_address: email.clone(), r#type })
        .collect()
}

/// What was remembered, in Graph's terms again.
pub(super) fn body(content: &Value) -> Result<EventBody, Ended> {
    serde_json::from_value(content.clone())
        .map_err(|error| later(format!("the record of the event cannot be read: {error}")))
}

fn octets_of<'f>(file: &Attached, files: &[&'f Attachment]) -> Option<(&'f str, &'f [u8])> {
    files.iter().find_map(|attachment| match attachment {
        Attachment::Inline { content_type, octets, .. }
            if octets.len() as u64 == file.size && invite::digest(octets) == file.digest =>
        {
            let content_type = content_type.as_deref().unwrap_or("application/octet-stream");
            Some((content_type, octets.as_slice()))
        }
        _ => None,
    })
}
