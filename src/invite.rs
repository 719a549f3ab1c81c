//! What is remembered of an invite, and what a new message about it means. Pure.
//!
//! An invite is known by (account, UID). Its [`Invite`] holds a [`Goal`], what the event shall be, and
//! [`Done`], what is known to stand in the mailbox. A message changes the goal, by [`decide`]; `plan`
//! finds the next call that brings the mailbox nearer to it; `execute` makes the call and writes down
//! what it did. So a crash between any two of these costs nothing: the goal is on disk, and what is
//! left to do is the difference.
//!
//! | message | what is remembered | decision |
//! |---|---|---|
//! | REQUEST, the account is not the organizer | – | mail as it stands |
//! | REQUEST | nothing, or a cancelled event | create (a new generation) |
//! | REQUEST, newer | an event | update; attendees of this envelope added |
//! | REQUEST, same or older | an event | attendees of this envelope added, if there are new ones; else nothing |
//! | CANCEL, whole | an event | cancel |
//! | CANCEL of some attendees | an event | these are removed |
//! | CANCEL, older | an event | nothing |
//! | CANCEL | nothing | mail as it stands |
//! | REQUEST or CANCEL that cannot be done faithfully | an event | refused, with a report |
//! | anything else | – | mail as it stands |
//!
//! *Newer* is RFC 5546 §2.1.5: the higher SEQUENCE, else the later DTSTAMP; on a tie, which many tools
//! never break, the one that arrived later. By mail, absence from an update removes nobody: RFC 5546
//! §3.2.5 has CANCEL for that.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::account::{Account, Address};
use crate::ical::{self, Attendee, Occurrence};
use crate::itip::{Message, Method};

/// What is remembered of one (account, UID).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Invite {
    pub uid: String,
    /// Counts the events that this UID has become; part of the transactionId.
    pub generation: u32,
    pub version: Version,
    pub goal: Goal,
    /// Whom the mail goes to that the goal comes from, as the event does not reach them.
    #[serde(default)]
    pub mail_to: Vec<Address>,
    pub done: Done,
}

/// Which message the goal comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub sequence: u32,
    pub dtstamp: Option<Timestamp>,
    /// The spool id of the mail; ids sort by arrival.
    pub arrived: String,
}

impl Version {
    pub fn of(occurrence: &Occurrence, arrived: &str) -> Version {
        Version {
            sequence: occurrence.sequence,
            dtstamp: occurrence.dtstamp,
            arrived: arrived.to_owned(),
        }
    }

    /// RFC 5546 §2.1.5, with the arrival for those that raise nothing.
    pub fn is_newer_than(&self, other: &Version) -> bool {
        let key = |version: &Version| (version.sequence, version.dtstamp);
        match key(self).cmp(&key(other)) {
            std::cmp::Ordering::Equal => self.arrived > other.arrived,
            order => order.is_gt(),
        }
    }
}

/// What the event in the mailbox shall be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "shall", rename_all = "kebab-case")]
pub enum Goal {
    /// `content` is the event in Graph's terms, without its attendees; nothing here reads it.
    Stand {
        content: Value,
        attendees: Vec<Attendee>,
        attachments: Vec<Attached>,
    },
    Cancelled,
}

/// A file that shall hang on the event; its octets are in the mail it came with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    pub name: String,
    pub content_type: String,
    /// Lower-case hex SHA-256 of the octets.
    pub digest: String,
    pub size: u64,
}

/// How a file in a mail is remembered; a URL is none.
pub fn attached(file: &ical::Attachment) -> Option<Attached> {
    match file {
        ical::Attachment::Inline { name, content_type, octets } => Some(Attached {
            name: name.clone().unwrap_or_else(|| "attachment".into()),
            content_type: content_type.clone().unwrap_or_else(|| "application/octet-stream".into()),
            digest: digest(octets),
            size: octets.len() as u64,
        }),
        ical::Attachment::Url(_) => None,
    }
}

/// What an event of this content is recognised by.
pub fn mark(content: &Value) -> String {
    digest(content.to_string().as_bytes())
}

/// Lower-case hex SHA-256.
pub fn digest(octets: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, octets);
    digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

/// What is known to stand in the mailbox.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Done {
    pub event: Option<EventRef>,
    /// `None`: nobody knows.
    pub content: Option<Value>,
    /// The [`mark`] on the event.
    #[serde(default)]
    pub mark: Option<String>,
    pub attendees: Vec<Attendee>,
    pub attachments: Vec<Attached>,
    pub cancelled: bool,
    /// A call was begun and its end is not written down: look before it is made again.
    pub begun: bool,
}

/// An event of Graph's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRef {
    /// In its immutable form.
    pub id: String,
    pub ical_uid: Option<String>,
    pub change_key: Option<String>,
}

/// What a message means.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// In plain words, for the log and `invites show`: `update: newer SEQUENCE 3 > 2; attendees +1`.
    pub why: String,
    /// The record as it is from now on; `None`: not an invite of ours, the mail goes as it stands.
    pub invite: Option<Invite>,
    /// Recipients of the envelope that the event does not reach: they get the mail.
    pub mail_to: Vec<Address>,
    /// It speaks of an event of ours and cannot be done to it. Mailed, it would be a second invitation
    /// beside Exchange's; so the sender is told.
    pub refused: bool,
}

/// What a decision may depend on.
pub struct Known<'k> {
    pub account: &'k Account,
    pub message: &'k Message,
    /// RCPT TO.
    pub recipients: &'k [Address],
    /// The spool id of the mail.
    pub arrived: &'k str,
    pub invite: Option<&'k Invite>,
    /// What the message says, translated; why it could not be, otherwise.
    pub translated: Result<Translated, String>,
}

/// A REQUEST in Graph's terms.
#[derive(Debug, Clone, PartialEq)]
pub struct Translated {
    pub content: Value,
    pub attachments: Vec<Attached>,
}

/// Decides what a message means. See the table above.
pub fn decide(known: Known<'_>) -> Decision {
    let as_mail = |why: &str| Decision {
        why: format!("mail as it stands: {why}"),
        invite: None,
        mail_to: known.recipients.to_vec(),
        refused: false,
    };
    let event = &known.message.event;
    let overridden = event.overrides.first().map(|one| &one.occurrence);
    match event.master.as_ref().or(overridden).and_then(|said| said.organizer.as_ref()) {
        Some(organizer) if known.account.may_send_as(organizer) => {}
        Some(_) => return as_mail("the account is not the organizer"),
        None => return as_mail("it names no organizer"),
    }
    let master = match &event.master {
        Some(master) if event.overrides.is_empty() => master,
        _ => return cannot(&known, "it changes single occurrences", &as_mail),
    };
    // A mail that was decided before and did not come to its end: what it changed it has changed.
    if let Some(invite) = known.invite.filter(|invite| invite.version.arrived == known.arrived) {
        return Decision {
            why: "as decided before".into(),
            mail_to: invite.mail_to.clone(),
            invite: Some(invite.clone()),
            refused: false,
        };
    }
    match known.message.method {
        Method::Request => request(&known, master, &as_mail),
        Method::Cancel => cancel(&known, master, &as_mail),
        _ => as_mail("only REQUEST and CANCEL make or change an event"),
    }
}

/// What cannot be done faithfully is mailed as it stands, unless its UID is an event already: an invite
/// is the event *or* the mail.
fn cannot(known: &Known<'_>, why: &str, as_mail: &dyn Fn(&str) -> Decision) -> Decision {
    let stands = known.invite.is_some_and(|invite| matches!(invite.goal, Goal::Stand { .. }));
    let changes = matches!(known.message.method, Method::Request | Method::Cancel | Method::Add);
    if stands && changes {
        let why = format!("refused: {why}, and its event cannot be changed so");
        return Decision { why, invite: None, mail_to: Vec::new(), refused: true };
    }
    as_mail(why)
}

fn request(known: &Known<'_>, master: &Occurrence, as_mail: &dyn Fn(&str) -> Decision) -> Decision {
    if master.status == ical::Status::Cancelled {
        return cancel(known, master, as_mail);
    }
    let version = Version::of(master, known.arrived);
    let standing = known.invite.filter(|invite| matches!(invite.goal, Goal::Stand { .. }));
    let translated = match &known.translated {
        Ok(translated) => translated,
        Err(why) => return cannot(known, why, as_mail),
    };
    // The envelope is the delivery set: of those listed, whom this mail goes to.
    let invited = |attendee: &&Attendee| {
        known.recipients.iter().any(|to| attendee.address.same_mailbox(to))
            && !known.account.may_send_as(&attendee.address)
    };
    let fresh: Vec<Attendee> = master.attendees.iter().filter(invited).cloned().collect();
    let Some(invite) = standing else {
        if fresh.is_empty() {
            return as_mail("no recipient of the mail is an attendee");
        }
        let generation = known.invite.map_or(0, |invite| invite.generation) + 1;
        let again = if generation > 1 { ", again" } else { "" };
        let why = format!("create{again}: {} attendees", fresh.len());
        let goal = Goal::Stand {
            content: translated.content.clone(),
            attendees: fresh,
            attachments: translated.attachments.clone(),
        };
        let (uid, done) = (known.message.event.uid.clone(), Done::default());
        return decision(
            known,
            Invite { uid, generation, version, goal, mail_to: Vec::new(), done },
            why,
        );
    };
    let mut invite = invite.clone();
    let Goal::Stand { content, attendees, attachments } = &mut invite.goal else {
        return as_mail("its event was cancelled");
    };
    let added: Vec<Attendee> = fresh
        .into_iter()
        .filter(|new| !attendees.iter().any(|old| same_person(old, new)))
        .collect();
    let more = match added.len() {
        0 => String::new(),
        n => format!("; attendees +{n}"),
    };
    let why = if !version.is_newer_than(&invite.version) {
        format!("nothing to change: SEQUENCE {} is older{more}", version.sequence)
    } else if *content == translated.content {
        invite.version = version;
        format!("nothing to change: the same content{more}")
    } else {
        let why = match version.sequence.cmp(&invite.version.sequence) {
            std::cmp::Ordering::Equal => {
                format!("update: SEQUENCE {} again, later", version.sequence)
            }
            _ => format!("update: SEQUENCE {} > {}", version.sequence, invite.version.sequence),
        };
        *content = translated.content.clone();
        for file in &translated.attachments {
            if !attachments.contains(file) {
                attachments.push(file.clone());
            }
        }
        invite.version = version;
        format!("{why}{more}")
    };
    attendees.extend(added);
    decision(known, invite, why)
}

fn cancel(known: &Known<'_>, master: &Occurrence, as_mail: &dyn Fn(&str) -> Decision) -> Decision {
    let Some(invite) = known.invite else {
        return as_mail("no event is known for its UID");
    };
    let version = Version::of(master, known.arrived);
    let mut invite = invite.clone();
    if version.sequence < invite.version.sequence {
        let why = format!(
            "nothing to cancel: SEQUENCE {} is older than {}",
            version.sequence, invite.version.sequence
        );
        return decision(known, invite, why);
    }
    let Goal::Stand { attendees, .. } = &mut invite.goal else {
        return decision(known, invite, "cancelled already".into());
    };
    // RFC 5546 §3.2.5: STATUS:CANCELLED is the whole event; without it, those who are listed.
    let listed =
        |attendee: &Attendee| master.attendees.iter().any(|out| same_person(attendee, out));
    let whole = master.status == ical::Status::Cancelled
        || master.attendees.is_empty()
        || attendees.iter().all(listed);
    let why = if whole {
        invite.goal = Goal::Cancelled;
        "cancel".to_owned()
    } else {
        let before = attendees.len();
        attendees.retain(|attendee| !listed(attendee));
        format!("attendees -{}", before - attendees.len())
    };
    invite.version = Version { arrived: known.arrived.to_owned(), ..version };
    decision(known, invite, why)
}

/// The recipients whom the event reaches need no mail: those who are on it or were, and the organizer,
/// in whose calendar it is.
fn decision(known: &Known<'_>, mut invite: Invite, why: String) -> Decision {
    let on = |invite: &Invite, to: &Address| match &invite.goal {
        Goal::Stand { attendees, .. } => attendees.iter().any(|a| a.address.same_mailbox(to)),
        Goal::Cancelled => invite.done.attendees.iter().any(|a| a.address.same_mailbox(to)),
    };
    let reached = |to: &&Address| {
        on(&invite, to)
            || known.invite.is_some_and(|before| on(before, to))
            || known.account.may_send_as(to)
    };
    let mail_to: Vec<Address> =
        known.recipients.iter().filter(|to| !reached(to)).cloned().collect();
    invite.mail_to.clone_from(&mail_to);
    Decision { why, invite: Some(invite), mail_to, refused: false }
}

fn same_person(one: &Attendee, other: &Attendee) -> bool {
    one.address.same_mailbox(&other.address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{AccountId, Profile, Standing};

    const ADELE: &str = "adele.vance@contoso.example";
    const KIM: &str = "kim.akers@fabrikam.example";
    const LEE: &str = "lee.gu@fabrikam.example";

    fn account() -> Account {
        Account {
            id: AccountId(uuid::Uuid::from_u128(1)),
            address: ADELE.parse().unwrap(),
            aliases: vec![],
            send_as: vec![],
            profile: Profile::Full,
            granted: vec![],
            person: None,
            standing: Standing::Ready,
        }
    }

    /// A message about the UID `u`; `lines` are further properties.
    fn message(method: &str, sequence: u32, attendees: &[&str], lines: &str) -> Message {
        let attendees: String =
            attendees.iter().map(|a| format!("ATTENDEE:mailto:{a}\r\n")).collect();
        let object = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nMETHOD:{method}\r\nBEGIN:VEVENT\r\nUID:u\r\n\
             SEQUENCE:{sequence}\r\nDTSTAMP:20261123T080000Z\r\nDTSTART:20270115T100000Z\r\n\
             ORGANIZER:mailto:{ADELE}\r\n{attendees}{lines}END:VEVENT\r\nEND:VCALENDAR\r\n"
        );
        let read = ical::read(object.as_bytes()).unwrap();
        let event = read.events.into_iter().next().unwrap();
        Message { method: read.method.unwrap(), event }
    }

    fn run(
        invite: Option<&Invite>,
        arrived: &str,
        to: &[&str],
        message: &Message,
        content: &str,
    ) -> Decision {
        let recipients: Vec<Address> = to.iter().map(|to| to.parse().unwrap()).collect();
        decide(Known {
            account: &account(),
            message,
            recipients: &recipients,
            arrived,
            invite,
            translated: Ok(Translated { content: content.into(), attachments: vec![] }),
        })
    }

    /// What is remembered after a REQUEST with SEQUENCE 3 to Kim was brought about.
    fn remembered() -> Invite {
        let decision = run(None, "m1", &[KIM], &message("REQUEST", 3, &[KIM], ""), "ten o'clock");
        let mut invite = decision.invite.unwrap();
        if let Goal::Stand { content, attendees, .. } = &invite.goal {
            invite.done.content = Some(content.clone());
            invite.done.attendees = attendees.clone();
        }
        let id = "event".to_owned();
        invite.done.event = Some(EventRef { id, ical_uid: None, change_key: None });
        invite
    }

    fn attendees(decision: &Decision) -> Vec<&str> {
        match &decision.invite.as_ref().unwrap().goal {
            Goal::Stand { attendees, .. } => attendees.iter().map(|a| a.address.as_str()).collect(),
            Goal::Cancelled => vec![],
        }
    }

    #[test]
    fn each_message_about_a_known_event_means_one_thing() {
        let known = remembered();
        for (message, content, expected) in [
            (message("REQUEST", 4, &[KIM], ""), "eleven", "update: SEQUENCE 4 > 3"),
            (message("REQUEST", 3, &[KIM], ""), "eleven", "update: SEQUENCE 3 again, later"),
            (
                message("REQUEST", 3, &[KIM], ""),
                "ten o'clock",
                "nothing to change: the same content",
            ),
            (message("REQUEST", 2, &[KIM], ""), "eleven", "nothing to change: SEQUENCE 2 is older"),
            (message("CANCEL", 4, &[KIM], "STATUS:CANCELLED\r\n"), "", "cancel"),
            (message("CANCEL", 3, &[], ""), "", "cancel"),
            (message("CANCEL", 3, &[KIM], ""), "", "cancel"),
            (message("CANCEL", 3, &[LEE], ""), "", "attendees -0"),
            (message("CANCEL", 2, &[KIM], ""), "", "nothing to cancel: SEQUENCE 2 is older than 3"),
            (message("REQUEST", 4, &[KIM], "STATUS:CANCELLED\r\n"), "", "cancel"),
        ] {
            let decision = run(Some(&known), "m2", &[KIM], &message, content);
            assert_eq!(decision.why, expected, "{message:?}");
            assert!(decision.mail_to.is_empty(), "{decision:?}");
        }
    }

    #[test]
    fn what_does_not_concern_an_event_of_ours_is_mail() {
        let mut foreign = message("REQUEST", 0, &[KIM], "");
        foreign.event.master.as_mut().unwrap().organizer = Some(KIM.parse().unwrap());
        for message in [
            foreign,
            message("CANCEL", 0, &[KIM], "STATUS:CANCELLED\r\n"),
            message("PUBLISH", 0, &[KIM], ""),
            message("REPLY", 0, &[KIM], ""),
            message("COUNTER", 0, &[KIM], ""),
            message("REQUEST", 0, &[LEE], ""),
            message("REQUEST", 0, &[KIM], "RECURRENCE-ID:20270115T100000Z\r\n"),
        ] {
            let decision = run(None, "m1", &[KIM], &message, "ten o'clock");
            assert!(decision.invite.is_none() && decision.why.starts_with("mail as it stands"));
            assert_eq!(decision.mail_to.len(), 1, "{decision:?}");
        }
    }

    #[test]
    fn what_cannot_be_done_to_an_event_of_ours_is_refused_and_never_mailed_beside_it() {
        let known = remembered();
        let single = "RECURRENCE-ID:20270115T100000Z\r\n";
        for method in ["REQUEST", "CANCEL"] {
            let message = message(method, 4, &[KIM], single);
            let decision = run(Some(&known), "m2", &[KIM], &message, "eleven");
            assert!(decision.refused && decision.invite.is_none() && decision.mail_to.is_empty());
        }
        let untranslatable = decide(Known {
            account: &account(),
            message: &message("REQUEST", 4, &[KIM], ""),
            recipients: &[KIM.parse().unwrap()],
            arrived: "m2",
            invite: Some(&known),
            translated: Err("it leaves out single occurrences".into()),
        });
        assert!(untranslatable.refused && untranslatable.mail_to.is_empty());
        // Another organizer's invite is none of ours, whatever its UID.
        let mut foreign = message("REQUEST", 4, &[KIM], single);
        let organizer = &mut foreign.event.overrides.first_mut().unwrap().occurrence.organizer;
        *organizer = Some(LEE.parse().unwrap());
        let decision = run(Some(&known), "m2", &[KIM], &foreign, "eleven");
        assert!(!decision.refused && decision.mail_to.len() == 1);
    }

    #[test]
    fn an_attendee_is_on_the_event_when_a_mail_went_to_them_and_absence_removes_nobody() {
        let both = message("REQUEST", 3, &[KIM, LEE], "");
        let first = run(None, "m1", &[KIM], &both, "ten o'clock");
        assert_eq!(attendees(&first), [KIM]);
        let known = remembered();
        let second = run(Some(&known), "m2", &[LEE], &both, "ten o'clock");
        assert_eq!(attendees(&second), [KIM, LEE]);
        // An older mail that comes late still invites the one it was for.
        let late = run(Some(&known), "m0", &[LEE], &message("REQUEST", 1, &[LEE], ""), "nine");
        assert_eq!(attendees(&late), [KIM, LEE]);
        assert_eq!(late.why, "nothing to change: SEQUENCE 1 is older; attendees +1");
        let shorter = run(Some(&known), "m3", &[LEE], &message("REQUEST", 4, &[LEE], ""), "x");
        assert_eq!(attendees(&shorter), [KIM, LEE]);
    }

    #[test]
    fn a_request_after_a_cancel_is_the_next_generation() {
        let mut known = remembered();
        known.goal = Goal::Cancelled;
        let decision = run(Some(&known), "m9", &[KIM], &message("REQUEST", 5, &[KIM], ""), "ten");
        let invite = decision.invite.unwrap();
        assert_eq!((invite.generation, invite.done), (2, Done::default()));
    }

    #[test]
    fn a_mail_decided_before_is_not_decided_again() {
        let known = remembered();
        let decision = run(Some(&known), "m1", &[KIM], &message("REQUEST", 3, &[KIM], ""), "other");
        assert_eq!(decision.why, "as decided before");
        assert_eq!(decision.invite, Some(known));
    }
}
