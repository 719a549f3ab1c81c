//! The decision: from a mail, and what we know, to the calls that carry it out. Pure.
//!
//! A plan is made afresh for each attempt and never stored; what was recorded as done is not in it
//! again. `execute` carries it out, one action after the other.

use crate::account::Account;
use crate::invite::{Attached, Goal, Invite};
use crate::mime::{self, Refusal, Stamp};
use crate::submission::Envelope;

/// The largest raw message that Graph takes whole, in octets.
///
/// Graph: a request body has at most 4 MB; in practice raw MIME passes up to about 2240 KiB.
pub const MIME_OCTETS_MAX: usize = 2240 * 1024;

/// The largest message that a client may hand in, in octets: what is left of [`MIME_OCTETS_MAX`]
/// for the fields that we may have to add (500 recipients as Bcc).
pub const MESSAGE_OCTETS_MAX: u64 = 2 * 1024 * 1024;

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
    /// `POST /me/events/{id}/cancel`: the attendees are told.
    Cancel,
    /// `DELETE /me/events/{id}`: there is nobody to tell.
    Delete,
}

/// The next call for an invite; `None` when the mailbox is as it shall be.
pub fn of_invite(invite: &Invite) -> Option<EventAction> {
    let done = &invite.done;
    match &invite.goal {
        Goal::Cancelled if done.event.is_none() || done.cancelled => None,
        Goal::Cancelled if done.attendees.is_empty() => Some(EventAction::Delete),
        Goal::Cancelled => Some(EventAction::Cancel),
        Goal::Stand { attachments, .. } if done.event.is_none() => {
            Some(EventAction::Create { with_attendees: attachments.is_empty() })
        }
        Goal::Stand { content, attendees, attachments } => {
            if let Some(file) = attachments.iter().find(|file| !done.attachments.contains(file)) {
                return Some(EventAction::Attach(file.clone()));
            }
            let content = done.content.as_ref() != Some(content);
            let attendees = done.attendees != *attendees;
            (content || attendees).then_some(EventAction::Patch { content, attendees })
        }
    }
}

/// What to do with a mail; a [`Refusal`] if nothing right can be done.
pub fn of_mail(known: Known<'_>) -> Result<Plan, Refusal> {
    let message = mime::compose(known.octets, known.envelope, known.account, known.stamp)?;
    if message.len() > MIME_OCTETS_MAX {
        return Err(Refusal {
            code: 552,
            enhanced: [5, 3, 4],
            text: "the message is larger than Microsoft Graph takes".into(),
        });
    }
    Ok(Plan { actions: vec![Action::SendMime(message)] })
}
