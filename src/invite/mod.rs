//! What is remembered of an invite, and what a new message about it means. Pure.
//!
//! An invite is known by (account, UID). Its [`Invite`] holds [`Part`]s, each of which is one event in
//! the mailbox: mostly one, the event or the whole series; more where occurrences need an event of their
//! own. A part has a [`Goal`], what its event shall be, and [`Done`], what is known to stand in the
//! mailbox. A message changes the goals, by [`decide()`]; `plan` finds the next call that brings the
//! mailbox nearer to them; `execute` makes the call and writes down what it did. So a crash between any
//! two of these costs nothing: the goal is on disk, and what is left to do is the difference.
//!
//! Nothing here reads Graph's JSON: an event's `content` is only compared.

mod change;
mod decide;
mod restate;
pub mod whole;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::account::Address;
use crate::ical::{self, Attendee, Occurrence};

pub use change::stand_in;
pub use decide::{Decision, Known, decide};

/// What is remembered of one (account, UID).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Invite {
    pub uid: String,
    pub way: Way,
    /// Of the message that last spoke of the whole.
    pub version: Version,
    /// The spool id of the mail that was decided last.
    pub decided: String,
    /// Whom that mail goes to, as the event does not reach them.
    pub mail_to: Vec<Address>,
    /// Who was taken off the whole, and by which message: an older one does not bring them back.
    #[serde(default)]
    pub removed: Vec<(Address, Version)>,
    /// Why the change that was decided last is refused, and its goals were put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back: Option<String>,
    /// What it was to be before a client's change that was decided last, as that may be refused half-way.
    /// `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<Before>>,
    pub parts: Vec<Part>,
}

/// The goals of an invite, without what was done about them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Before {
    pub version: Version,
    pub parts: Vec<Part>,
}

/// An invite is the event *or* the mail: what it was first, it stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    Event,
    /// Its messages are mailed as they stand.
    Mail,
}

/// One event in the mailbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// `None`: the event, or the series. Else the start that the series gives to the one occurrence that
    /// this event is.
    pub original: Option<Timestamp>,
    /// Counts the events that this part has become; it is in the transactionId.
    pub generation: u32,
    /// The [`mark`] of what the last message about the whole made of it. `None`: it comes from a message
    /// of its own.
    pub given: Option<String>,
    /// It stands for an occurrence that the series cannot have: moved over a neighbour, or removed before.
    #[serde(default)]
    pub stands_in: bool,
    pub version: Version,
    pub goal: Goal,
    #[serde(default)]
    pub done: Done,
}

impl Part {
    /// Its event shall go and is still there.
    pub fn is_owed(&self) -> bool {
        let done = &self.done;
        matches!(self.goal, Goal::Cancelled) && !done.cancelled && done.event.is_some()
    }
}

/// Which message a goal comes from.
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

/// What an event in the mailbox shall be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "shall", rename_all = "kebab-case")]
pub enum Goal {
    Stand(Box<Wanted>),
    Cancelled,
}

/// An event as it shall be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    /// The event in Graph's terms, without its attendees.
    pub content: Value,
    /// A digest of its times and its rule: another one is another series of occurrences.
    pub schedule: String,
    pub recurs: bool,
    pub attendees: Vec<Attendee>,
    pub attachments: Vec<Attached>,
    /// What is different about single occurrences, by the start that the series gives them.
    #[serde(default)]
    pub occurrences: BTreeMap<Timestamp, Change>,
}

impl Wanted {
    /// What this event is recognised by once it stands.
    pub fn mark(&self) -> String {
        let files = self.attachments.iter().map(|file| file.digest.as_str());
        let files: Vec<&str> = files.collect();
        mark(&Value::from(vec![self.content.clone(), files.into()]))
    }
}

/// What is different about one occurrence of a series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub version: Version,
    pub shall: Shall,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shall {
    NotTakePlace,
    TakePlace {
        /// `None`: as the series gives it.
        content: Option<Value>,
        /// Who is invited to this one beside those of the series, and who of them is not.
        added: Vec<Attendee>,
        removed: Vec<Address>,
        /// Files that hang on this one alone.
        #[serde(default)]
        attachments: Vec<Attached>,
    },
}

impl Shall {
    /// As the series has it.
    pub fn as_given() -> Shall {
        let (added, removed, attachments) = (Vec::new(), Vec::new(), Vec::new());
        Shall::TakePlace { content: None, added, removed, attachments }
    }

    /// Who is invited to the occurrence, of the series' `attendees` and beside them.
    pub fn attendees(&self, attendees: &[Attendee]) -> Vec<Attendee> {
        match self {
            Shall::NotTakePlace => Vec::new(),
            Shall::TakePlace { added, removed, .. } => {
                let out = |one: &&Attendee| removed.iter().any(|out| one.address.same_mailbox(out));
                let mut all: Vec<Attendee> =
                    attendees.iter().filter(|one| !out(one)).cloned().collect();
                add(&mut all, added);
                all
            }
        }
    }

    /// Nobody is invited to it beside those of the series, and nobody of them is not.
    pub fn has_everybody(&self) -> bool {
        match self {
            Shall::NotTakePlace => true,
            Shall::TakePlace { added, removed, .. } => added.is_empty() && removed.is_empty(),
        }
    }
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

/// What a content is recognised by.
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
    /// The [`Wanted::mark`] on the event.
    pub mark: Option<String>,
    pub attendees: Vec<Attendee>,
    pub attachments: Vec<Attached>,
    /// The files that the attendees were told of.
    pub told: Vec<Attached>,
    #[serde(default)]
    pub occurrences: BTreeMap<Timestamp, OccurrenceDone>,
    pub cancelled: bool,
    /// A call was begun and its end is not written down: look before it is made again.
    pub begun: bool,
    /// That call was the one that creates the event.
    pub maybe_created: bool,
    /// Since when that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maybe_created_at: Option<Timestamp>,
}

/// What is known to stand of one occurrence.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct OccurrenceDone {
    /// In its immutable form, once it was looked up.
    pub id: Option<String>,
    /// What it was given; `None`: as the series gives it, or nobody knows.
    pub content: Option<Value>,
    /// A list of its own; `None`: that of the series.
    pub attendees: Option<Vec<Attendee>>,
    #[serde(default)]
    pub attachments: Vec<Attached>,
    /// It does not take place.
    pub cancelled: bool,
}

/// An event of Graph's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRef {
    /// In its immutable form.
    pub id: String,
    pub ical_uid: Option<String>,
    pub change_key: Option<String>,
}

/// What a message says, in Graph's terms.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Translated {
    /// The events that the whole is; empty where the message speaks of single occurrences alone.
    pub parts: Vec<Said>,
    pub changes: Vec<Said>,
    pub attachments: Vec<Attached>,
}

/// What a message says of one event or of one occurrence.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// As in [`Part`]; a change of an occurrence has one.
    pub original: Option<Timestamp>,
    /// RFC 5546 §2.1.4, §2.1.5.
    pub sequence: u32,
    pub dtstamp: Option<Timestamp>,
    /// `None`: it does not take place, or is spoken of to be cancelled.
    pub content: Option<Value>,
    pub cancelled: bool,
    /// `content` is what the series makes of this occurrence anyway.
    pub as_given: bool,
    pub schedule: String,
    pub recurs: bool,
    pub attendees: Vec<Attendee>,
    /// Files for a single occurrence.
    pub attachments: Vec<Attached>,
}

/// Why a message has no translation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untranslated {
    pub why: String,
    /// Its sender is told, rather than that it is mailed as it stands.
    pub refused: bool,
}

impl Invite {
    /// The parts that shall stand.
    pub fn standing(&self) -> impl Iterator<Item = (&Part, &Wanted)> {
        self.parts.iter().filter_map(|part| match &part.goal {
            Goal::Stand(wanted) => Some((part, &**wanted)),
            Goal::Cancelled => None,
        })
    }

    pub fn standing_mut(&mut self) -> impl Iterator<Item = (&mut Done, &mut Wanted)> {
        self.parts.iter_mut().filter_map(|part| match &mut part.goal {
            Goal::Stand(wanted) => Some((&mut part.done, &mut **wanted)),
            Goal::Cancelled => None,
        })
    }

    /// What is gone back to where a change of it is refused.
    fn goals(&self) -> Before {
        let without = |part: &Part| Part { done: Done::default(), ..part.clone() };
        Before { version: self.version.clone(), parts: self.parts.iter().map(without).collect() }
    }

    /// It is an event, or shall be one.
    pub fn stands(&self) -> bool {
        self.standing().next().is_some()
    }

    /// Of an event that is made from now on.
    pub fn next_generation(&self) -> u32 {
        1 + self.parts.iter().map(|part| part.generation).max().unwrap_or(0)
    }

    /// Everybody who is on one of its events or shall be, each once.
    pub fn attendees(&self) -> Vec<Attendee> {
        let mut all = Vec::new();
        for part in &self.parts {
            add(&mut all, &part.done.attendees);
            if let Goal::Stand(wanted) = &part.goal {
                add(&mut all, &wanted.attendees);
                for change in wanted.occurrences.values() {
                    add(&mut all, &change.shall.attendees(&[]));
                }
            }
        }
        all
    }
}

/// Adds those who are not on the list. Returns how many that were.
fn add(list: &mut Vec<Attendee>, more: &[Attendee]) -> usize {
    let before = list.len();
    for one in more {
        if !list.iter().any(|known| same_person(known, one)) {
            list.push(one.clone());
        }
    }
    list.len() - before
}

fn same_person(one: &Attendee, other: &Attendee) -> bool {
    one.address.same_mailbox(&other.address)
}
