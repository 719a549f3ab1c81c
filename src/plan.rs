//! The decision: from a mail, and what we know, to the calls that carry it out. Pure.
//!
//! A plan is made afresh for each attempt and never stored; what was recorded as done is not in it
//! again. `execute` carries it out, one action after the other.

use jiff::Timestamp;

use crate::account::Account;
use crate::ical::Attendee;
use crate::invite::{Attached, Change, Done, Goal, OccurrenceDone, Part, Shall};
use crate::mime::{self, Refusal, Stamp};
use crate::submission::Envelope;

/// The largest raw message that Graph takes whole, in octets.
///
/// Graph: a request body has at most 4 MB; in practice raw MIME passes up to about 2240 KiB.
pub const MIME_OCTETS_MAX: usize = 2240 * 1024;

/// The largest message that may be handed in for an account without Mail.ReadWrite, in octets: what is
/// left of [`MIME_OCTETS_MAX`] for the fields that we may have to add (500 recipients as Bcc).
pub const WHOLE_OCTETS_MAX: u64 = 2 * 1024 * 1024;

/// Why a mail is refused that is larger than this, and what to do about it.
pub const TOO_LARGE_TO_SEND_ONLY: &str = "the message is larger than Microsoft Graph takes at once, and \
     for larger ones the account must be signed in with the profile mail or full (Mail.ReadWrite)";

/// Everything that the decision about a mail may depend on.
#[derive(Debug, Clone, Copy)]
pub struct Known<'k> {
    pub account: &'k Account,
    pub envelope: &'k Envelope,
    /// As the client sent them.
    pub octets: &'k [u8],
    pub stamp: &'k Stamp,
}

/// One call to Graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `POST /me/sendMail` with this message. It cannot be taken back.
    SendMime(Vec<u8>),
    /// The same by way of a draft, which can be looked at if an answer is lost: needs Mail.ReadWrite.
    SendDraft(Vec<u8>),
    /// Also by way of a draft, but one made of properties, and its files uploaded from the spool: for
    /// what no request holds. Needs Mail.ReadWrite.
    SendLarge,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub actions: Vec<Action>,
}

/// One call that brings an event nearer to its goal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventAction {
    /// `POST /me/events`; with attendees only where nothing else is needed to make it whole, so that
    /// each gets one invitation, and a complete one.
    Create { with_attendees: bool },
    /// `POST /me/events/{id}/attachments`
    Attach(Attached),
    /// `PATCH /me/events/{id}` with what differs. Where that is the attendees alone, Exchange mails
    /// only those who were added or removed.
    Patch { content: bool, attendees: bool },
    /// Which of the series' occurrences starts then, if nobody had moved it.
    Find(Timestamp),
    /// `POST …/attachments` of one occurrence.
    AttachToOccurrence { original: Timestamp, file: Attached },
    /// `PATCH` of one occurrence, with its content or with its attendees alone.
    PatchOccurrence { original: Timestamp, attendees: bool },
    /// `POST …/cancel` of one occurrence: the attendees are told.
    CancelOccurrence(Timestamp),
    /// `DELETE` of one occurrence: there is nobody to tell.
    DeleteOccurrence(Timestamp),
    /// `POST /me/events/{id}/cancel`: the attendees are told.
    Cancel,
    /// `DELETE /me/events/{id}`: there is nobody to tell.
    Delete,
}

/// The next call for one event of an invite; `None` when the mailbox is as it shall be.
///
/// First what nobody is told of, then what everybody is, then who is on it: so whoever is new gets one
/// invitation, and to the whole of it.
pub fn of_event(part: &Part) -> Option<EventAction> {
    let done = &part.done;
    let wanted = match &part.goal {
        Goal::Cancelled if done.event.is_none() || done.cancelled => return None,
        Goal::Cancelled if done.attendees.is_empty() => return Some(EventAction::Delete),
        Goal::Cancelled => return Some(EventAction::Cancel),
        Goal::Stand(wanted) => wanted,
    };
    if done.event.is_none() {
        let with_attendees = wanted.attachments.is_empty() && wanted.occurrences.is_empty();
        return Some(EventAction::Create { with_attendees });
    }
    if let Some(file) = wanted.attachments.iter().find(|file| !done.attachments.contains(file)) {
        return Some(EventAction::Attach(file.clone()));
    }
    // Graph: a file that hangs on an event reaches its attendees with the next update.
    let untold = !done.attendees.is_empty() && done.told != wanted.attachments;
    let content = untold || done.content.as_ref() != Some(&wanted.content);
    let attendees = done.attendees != wanted.attendees;
    if content {
        let attendees = attendees && wanted.occurrences.is_empty();
        return Some(EventAction::Patch { content, attendees });
    }
    let changes = || wanted.occurrences.iter();
    changes()
        .find_map(|(original, change)| of_occurrence(*original, change, done))
        .or_else(|| attendees.then_some(EventAction::Patch { content, attendees }))
        .or_else(|| {
            changes().find_map(|(original, change)| {
                attendees_of_occurrence(*original, change, &wanted.attendees, done)
            })
        })
}

fn of_occurrence(original: Timestamp, change: &Change, done: &Done) -> Option<EventAction> {
    let nothing = OccurrenceDone::default();
    let stands = done.occurrences.get(&original).unwrap_or(&nothing);
    if stands.cancelled {
        return None;
    }
    let action = match &change.shall {
        Shall::NotTakePlace if done.attendees.is_empty() => EventAction::DeleteOccurrence(original),
        Shall::NotTakePlace => EventAction::CancelOccurrence(original),
        Shall::TakePlace { content, attachments, .. } => {
            let missing = attachments.iter().find(|file| !stands.attachments.contains(file));
            match missing {
                Some(file) => EventAction::AttachToOccurrence { original, file: file.clone() },
                None if *content == stands.content => return None,
                None => EventAction::PatchOccurrence { original, attendees: false },
            }
        }
    };
    Some(if stands.id.is_none() { EventAction::Find(original) } else { action })
}

fn attendees_of_occurrence(
    original: Timestamp,
    change: &Change,
    attendees: &[Attendee],
    done: &Done,
) -> Option<EventAction> {
    let nothing = OccurrenceDone::default();
    let stands = done.occurrences.get(&original).unwrap_or(&nothing);
    let is_of_the_series = stands.attendees.is_none() && change.shall.has_everybody();
    if stands.cancelled || is_of_the_series || change.shall == Shall::NotTakePlace {
        return None;
    }
    let there = stands.attendees.as_deref().unwrap_or(attendees);
    let differs = change.shall.attendees(attendees) != there;
    let action = match stands.id {
        None => EventAction::Find(original),
        Some(_) => EventAction::PatchOccurrence { original, attendees: true },
    };
    differs.then_some(action)
}

/// What to do with a mail; a [`Refusal`] if nothing right can be done.
pub fn of_mail(known: Known<'_>) -> Result<Plan, Refusal> {
    let message = mime::compose(known.octets, known.envelope, known.account, known.stamp)?;
    if message.len() > MIME_OCTETS_MAX {
        return of_large_mail(known.account);
    }
    let action = match known.account.has("Mail.ReadWrite") {
        true => Action::SendDraft(message),
        false => Action::SendMime(message),
    };
    Ok(Plan { actions: vec![action] })
}

/// Whether a mail of so many octets, as it was handed in, is planned without a look into it.
pub fn is_large(octets: u64) -> bool {
    usize::try_from(octets).map_or(true, |octets| octets > MIME_OCTETS_MAX)
}

/// What to do with a mail that no request holds.
pub fn of_large_mail(account: &Account) -> Result<Plan, Refusal> {
    match account.has("Mail.ReadWrite") {
        true => Ok(Plan { actions: vec![Action::SendLarge] }),
        false => {
            Err(Refusal { code: 552, enhanced: [5, 3, 4], text: TOO_LARGE_TO_SEND_ONLY.into() })
        }
    }
}

/// Whether a mail of so many octets can be foreseen to be refused for its size: for what is granted,
/// not for what Microsoft will say. An account that nobody signed in yet has granted nothing so far.
pub fn is_too_large(octets: u64, account: &Account) -> bool {
    octets > WHOLE_OCTETS_MAX && !account.granted.is_empty() && !account.has("Mail.ReadWrite")
}
