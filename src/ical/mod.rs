//! iCalendar (RFC 5545): the one model of an event, and how it is read. Pure.
//!
//! What a client sends becomes an [`Event`], a series with its overrides; [`crate::itip`] adds what it
//! is sent for. Nothing here decides what is done about it, knows Graph, or fetches a URL.

mod caps;
mod component;
pub mod edit;
mod edit_answers;
mod edit_occurrences;
mod edit_times;
mod fold;
mod grammar;
mod moment;
mod occurrence;
mod people;
mod read;
mod rule;
mod unfold;
mod vtimezone;
mod zone;

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::account::Address;

pub use caps::{ATTENDEES_MAX, COMPONENTS_MAX, LINE_OCTETS_MAX, NESTING_MAX, OCTETS_MAX};
pub use component::{Component, Property, Unfolded};
pub use fold::fold;
pub use read::{Object, Vevent, read, read_as, time_zone};
pub use unfold::Line;
pub use zone::by_name as time_zone_named;

/// Why an object is of no use, in words for the decision log. Holds no text from outside that is longer
/// than a line, and no control character.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unreadable {
    pub why: String,
}

impl Unreadable {
    fn new(why: impl Into<String>) -> Unreadable {
        Unreadable { why: why.into() }
    }
}

/// A VEVENT series: the components of one UID in one VCALENDAR object.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// RFC 5545 §3.8.4.7; at most 255 octets.
    pub uid: String,
    /// The component without RECURRENCE-ID. `None` when the object holds overrides alone.
    pub master: Option<Occurrence>,
    /// Those with RECURRENCE-ID, in its order; each RECURRENCE-ID once.
    pub overrides: Vec<Override>,
    /// The object as it came, octet for octet.
    pub octets: Arc<[u8]>,
}

/// A component that speaks of one occurrence of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// RFC 5545 §3.8.4.4: the start that the series gives it.
    pub recurrence_id: Moment,
    /// RANGE=THISANDFUTURE.
    pub and_future: bool,
    pub occurrence: Occurrence,
}

/// What one VEVENT says.
#[derive(Debug, Clone, PartialEq)]
pub struct Occurrence {
    /// RFC 5546 §2.1.4; 0 when absent.
    pub sequence: u32,
    pub dtstamp: Option<Timestamp>,
    /// A CANCEL, REPLY or REFRESH may come without DTSTART (RFC 5546 §3.2): then RECURRENCE-ID or
    /// DTSTAMP stands here, and says nothing.
    pub start: Moment,
    /// Exclusive; made from DTEND, DURATION, or RFC 5545 §3.6.1's defaults. Same kind as `start`.
    pub end: Moment,
    pub summary: String,
    /// DESCRIPTION, as plain text.
    pub description: Option<String>,
    /// X-ALT-DESC with FMTTYPE=text/html, or an ALTREP that is inline.
    pub html: Option<String>,
    pub location: Option<String>,
    pub url: Option<String>,
    /// CONFERENCE (RFC 7986 §5.11): the first one's URI.
    pub conference: Option<String>,
    pub organizer: Option<Address>,
    /// In order; the organizer is not among them unless the client listed it.
    pub attendees: Vec<Attendee>,
    pub status: Status,
    pub show_as: Option<ShowAs>,
    pub class: Class,
    /// RFC 5545 §3.8.1.9: 1 is highest, 9 lowest; 0 and absent are `None`.
    pub priority: Option<u8>,
    pub categories: Vec<String>,
    /// The first VALARM with a TRIGGER relative to the start (or made so), in minutes before it.
    pub reminder_minutes: Option<u32>,
    /// X-MICROSOFT-DISALLOW-COUNTER:TRUE makes this `false`.
    pub counter_allowed: bool,
    /// X-MICROSOFT-ONLINEMEETING… or X-MICROSOFT-SKYPETEAMS… asks for an online meeting.
    pub online_meeting: bool,
    pub recurrence: Option<Recurrence>,
    pub attachments: Vec<Attachment>,
}

/// A DATE or DATE-TIME value (RFC 5545 §3.3.4, §3.3.5), its zone resolved.
#[derive(Debug, Clone, PartialEq)]
pub enum Moment {
    /// A whole day, wherever one is.
    Date(Date),
    /// A local time in a zone.
    Zoned { local: DateTime, zone: Zone },
    /// A local time wherever one is: the account's zone is put in later.
    Floating(DateTime),
}

/// A time zone that is known by name, or only by its rules.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    /// What the object called it; `UTC` for a `Z`.
    pub tzid: String,
    /// How it behaves. A zone that only the object's VTIMEZONE defines has been matched to one of the
    /// IANA database by its offsets over the event's span, or the object was refused.
    pub rules: TimeZone,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attendee {
    pub address: Address,
    pub name: Option<String>,
    pub role: Role,
    /// RFC 5545 §3.2.17: whether an answer is wanted. Absent means FALSE there; but most clients that
    /// write none want one, so what was not said is kept apart.
    pub rsvp: Option<bool>,
    pub partstat: PartStat,
    /// RFC 6638 §7.1. Of a calendar object that a client keeps; in what is mailed it says nothing.
    #[serde(default)]
    pub agent: ScheduleAgent,
}

/// SCHEDULE-AGENT: who tells the attendee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ScheduleAgent {
    #[default]
    Server,
    /// CLIENT, NONE, and what is not known (which RFC 6638 §7.1 reads as NONE).
    Other,
}

/// ROLE and CUTYPE together, as far as they make a difference. Without either: required.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    Required,
    /// OPT-PARTICIPANT, NON-PARTICIPANT.
    Optional,
    /// CUTYPE=ROOM or RESOURCE.
    Resource,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartStat {
    NeedsAction,
    Accepted,
    Declined,
    Tentative,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Absent as well.
    Confirmed,
    Tentative,
    Cancelled,
}

/// X-MICROSOFT-CDO-BUSYSTATUS (or INTENDEDSTATUS), else TRANSP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShowAs {
    Free,
    Tentative,
    Busy,
    OutOfOffice,
    WorkingElsewhere,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Public,
    Private,
    Confidential,
}

/// RRULE, RDATE and EXDATE.
#[derive(Debug, Clone, PartialEq)]
pub struct Recurrence {
    pub rule: Option<Rule>,
    pub rdates: Vec<Moment>,
    pub exdates: Vec<Moment>,
}

/// RFC 5545 §3.3.10, every part as given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub frequency: Frequency,
    pub interval: u32,
    pub end: RuleEnd,
    pub by_month: Vec<u8>,
    pub by_month_day: Vec<i8>,
    /// The ordinal, 0 where there is none, and the weekday.
    pub by_day: Vec<(i8, jiff::civil::Weekday)>,
    pub by_set_pos: Vec<i32>,
    pub week_start: jiff::civil::Weekday,
    /// BYHOUR, BYMINUTE, BYSECOND, BYWEEKNO, BYYEARDAY, RSCALE, SKIP: nothing here has a counterpart.
    pub others: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frequency {
    Daily,
    Weekly,
    Monthly,
    Yearly,
    /// HOURLY, MINUTELY, SECONDLY.
    Finer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleEnd {
    Never,
    /// COUNT
    After(u32),
    /// UNTIL, inclusive: an instant, or a local date or time.
    UntilInstant(Timestamp),
    UntilLocal(DateTime),
    UntilDate(Date),
}

/// ATTACH with its octets in the object (RFC 5545 §3.8.1.1). A URL is kept as one, and never fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attachment {
    Inline { name: Option<String>, content_type: Option<String>, octets: Vec<u8> },
    Url(String),
}
