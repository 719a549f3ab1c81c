//! From a submission to the mailboxes: who may send as whom, what is new on a mail, and its delivery.
//!
//! Source: Graph "send mail from another user", "things to know about send mail". A mail is refused
//! before anything is changed, or delivered to all its recipients at once: rows in the ledger, copies
//! in inboxes.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use super::identity::Caller;
use super::ledger::{MailCopy, Message, Via};
use super::mail_error;
use super::mailbox::{Book, Content, Folder, NewItem, Stage};
use super::message::Stamp;
use super::mime::{Edits, Submitted};
use super::odata::ODataError;
use super::world::{Switches, User, World};

/// Who sends, from which mailbox.
pub(super) struct Sender<'a> {
    pub caller: &'a Caller,
    pub own: &'a User,
    pub mailbox: &'a User,
}

impl<'a> Sender<'a> {
    pub fn stamp<'f>(&self, fresh: &'f Fresh) -> Stamp<'f>
    where
        'a: 'f,
    {
        let mailbox = &self.mailbox.address;
        Stamp { mailbox, message_id: &fresh.message_id, date: &fresh.date }
    }

    /// `/users/{id}` of somebody else is open to those who may send as them.
    pub fn check_access(&self) -> Result<(), ODataError> {
        let own = self.own.object_id == self.mailbox.object_id;
        let shared = self.caller.may("Mail.Send.Shared");
        if own || (shared && lists(&self.own.send_as, &self.mailbox.address)) {
            Ok(())
        } else {
            Err(ODataError::access_denied())
        }
    }

    /// From must be an address of the mailbox, or one that the user has Send As on and the
    /// application the permission for.
    fn check_from(&self, from: &[String]) -> Result<(), ODataError> {
        let shared = self.caller.may("Mail.Send.Shared");
        let may = |address: &String| {
            let of = |user: &User| {
                user.address.eq_ignore_ascii_case(address) || lists(&user.aliases, address)
            };
            of(self.mailbox) || of(self.own) || (shared && lists(&self.own.send_as, address))
        };
        if from.iter().all(may) { Ok(()) } else { Err(mail_error::send_as_denied()) }
    }
}

fn lists(addresses: &[String], address: &str) -> bool {
    addresses.iter().any(|known| known.eq_ignore_ascii_case(address))
}

/// What is new on each mail.
#[derive(Debug, Clone)]
pub(super) struct Fresh {
    pub now: Timestamp,
    /// With its angle brackets.
    pub message_id: String,
    pub date: String,
}

impl Fresh {
    pub fn new(world: &World, mailbox: &User) -> Fresh {
        let now = world.clock.now();
        let domain = mailbox.address.rsplit('@').next().unwrap_or("localhost");
        let message_id = format!("<{}@{domain}>", Uuid::new_v4().simple());
        Fresh { now, message_id, date: now.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string() }
    }
}

/// A mail that has been read, by either way.
pub(super) struct Submission<'a> {
    pub mail: Submitted<'a>,
    pub via: Via,
    pub fresh: Fresh,
}

/// The effect. Returns the first copy, which stands for the mail.
pub(super) fn deliver(
    world: &World,
    book: &mut Book,
    sender: &Sender<'_>,
    switches: &Switches,
    submission: Submission<'_>,
) -> Result<MailCopy, ODataError> {
    let Submission { mail, via, fresh } = submission;
    sender.check_from(&mail.from)?;
    let User { address, display_name, object_id, .. } = sender.mailbox;
    let kept = mail.message_id().filter(|_| switches.keep_message_id);
    let known: &mut HashSet<String> = book.known_x_headers.entry(*object_id).or_default();
    // Reported: a JSON message makes the mailbox know the name of a header field from then on.
    if via.is_json() {
        known.extend(mail.x_headers());
    }
    let edits = Edits {
        mailbox: address,
        display_name,
        message_id: &fresh.message_id,
        keep_message_id: switches.keep_message_id,
        date: &fresh.date,
        known_x_headers: switches.lose_x_headers.then_some(&*known),
    };
    let message = Message {
        mailbox: address.clone(),
        from: mail.from.first().unwrap_or(address).clone(),
        message_id: kept.unwrap_or_else(|| fresh.message_id.clone()),
        subject: mail.subject(),
        via,
        sent_at: fresh.now,
        raw: mail.delivered(&edits),
    };
    let copies = world.ledger.enter(message, mail.recipients).map_err(mail_error::mailbox_full)?;
    for copy in &copies {
        if let Some(user) = world.user(&copy.recipient) {
            book.add(delivered(user, Folder::INBOX, Stage::Received, copy));
        }
    }
    // A mail has a recipient; it was refused otherwise.
    copies.into_iter().next().ok_or_else(|| mail_error::mailbox_full("no recipient"))
}

/// An item that shows a copy as it was delivered.
pub(super) fn delivered(owner: &User, folder: u64, stage: Stage, copy: &MailCopy) -> NewItem {
    NewItem {
        owner: owner.object_id,
        folder,
        stage,
        content: Content::Delivered(Arc::clone(&copy.message)),
        internet_message_id: copy.message.message_id.clone(),
        extended: Vec::new(),
        at: copy.message.sent_at,
        seq: Some(copy.seq),
    }
}
