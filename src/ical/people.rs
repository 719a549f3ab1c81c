//! ORGANIZER and ATTENDEE (RFC 5545 §3.8.4) as mailboxes. Pure.
//!
//! Whoever cannot be mailed is left out, and a note says so; nobody may be added, and no address be
//! made from a name.

use calcard::icalendar::{
    ICalendarComponent, ICalendarEntry, ICalendarParameterName as Parameter,
    ICalendarParameterValue as ParameterValue, ICalendarParticipationRole,
    ICalendarParticipationStatus, ICalendarProperty as Property, ICalendarScheduleAgentValue,
    ICalendarUserTypes,
};

use super::caps::{NOTES_MAX, shown};
use super::unfold::{Line, clean};
use super::{Attendee, PartStat, Role, ScheduleAgent};
use crate::account::Address;

/// The mailbox of the ORGANIZER. SENT-BY names who acted for it, which makes nobody else the organizer.
pub fn organizer(component: &ICalendarComponent, notes: &mut Vec<String>) -> Option<Address> {
    let entry = component.property(&Property::Organizer)?;
    let found = address(entry);
    if found.is_none() {
        note(notes, "ORGANIZER", entry);
    }
    found
}

/// The attendees in order, each mailbox once.
pub fn attendees(component: &ICalendarComponent, notes: &mut Vec<String>) -> Vec<Attendee> {
    let mut attendees: Vec<Attendee> = Vec::new();
    let mut at = std::collections::HashMap::new();
    for entry in component.properties(&Property::Attendee) {
        let Some(address) = address(entry) else {
            note(notes, "ATTENDEE", entry);
            continue;
        };
        let attendee = attendee(entry, address);
        let index = *at.entry(attendee.address.key()).or_insert(attendees.len());
        match attendees.get_mut(index) {
            None => attendees.push(attendee),
            Some(first) => {
                // Whoever is required once is required.
                if attendee.role == Role::Required {
                    first.role = Role::Required;
                }
                // TRUE before FALSE before nothing.
                first.rsvp = first.rsvp.max(attendee.rsvp);
                first.name = first.name.take().or(attendee.name);
            }
        }
    }
    attendees
}

fn attendee(entry: &ICalendarEntry, address: Address) -> Attendee {
    let cutype = match entry.parameter(&Parameter::Cutype) {
        Some(ParameterValue::Cutype(cutype)) => Some(cutype),
        _ => None,
    };
    let role = match (cutype, entry.parameter(&Parameter::Role)) {
        (Some(ICalendarUserTypes::Room | ICalendarUserTypes::Resource), _) => Role::Resource,
        (
            _,
            Some(ParameterValue::Role(
                ICalendarParticipationRole::OptParticipant
                | ICalendarParticipationRole::NonParticipant,
            )),
        ) => Role::Optional,
        // RFC 5545 §3.2.16: REQ-PARTICIPANT is the default, also for a role that is not known.
        _ => Role::Required,
    };
    let partstat = match entry.parameter(&Parameter::Partstat) {
        None => PartStat::NeedsAction,
        Some(ParameterValue::Partstat(partstat)) => match partstat {
            ICalendarParticipationStatus::NeedsAction => PartStat::NeedsAction,
            ICalendarParticipationStatus::Accepted => PartStat::Accepted,
            ICalendarParticipationStatus::Declined => PartStat::Declined,
            ICalendarParticipationStatus::Tentative => PartStat::Tentative,
            _ => PartStat::Other,
        },
        // RFC 5545 §3.2.12: one that is not known is NEEDS-ACTION.
        Some(_) => PartStat::NeedsAction,
    };
    let rsvp = entry.parameter(&Parameter::Rsvp).and_then(|rsvp| match rsvp {
        ParameterValue::Bool(rsvp) => Some(*rsvp),
        // Quirk(hand-made): RSVP=YES, RSVP=1.
        other => match other.as_text()?.to_ascii_uppercase().as_str() {
            "YES" | "1" => Some(true),
            "NO" | "0" => Some(false),
            _ => None,
        },
    });
    let name = entry.parameter(&Parameter::Cn).and_then(ParameterValue::as_text).map(decoded);
    let name = name
        .map(|name| name.trim().trim_matches(['"', '\'']).trim().to_owned())
        // Quirk(google): the address once more for a name.
        .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(address.as_str()));
    let agent = match entry.parameter(&Parameter::ScheduleAgent) {
        None | Some(ParameterValue::ScheduleAgent(ICalendarScheduleAgentValue::Server)) => {
            ScheduleAgent::Server
        }
        Some(_) => ScheduleAgent::Other,
    };
    Attendee { address, name, role, rsvp, partstat, agent }
}

/// RFC 6868 §3.1: what a parameter cannot hold otherwise.
fn decoded(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let meant = match (c, chars.peek()) {
            ('^', Some('n')) => ' ',
            ('^', Some('^')) => '^',
            ('^', Some('\'')) => '"',
            _ => {
                decoded.push(c);
                continue;
            }
        };
        chars.next();
        decoded.push(meant);
    }
    clean(&decoded).replace(['\n', '\t'], " ")
}

/// `mailto:` in any case, or what real tools write for it.
fn address(entry: &ICalendarEntry) -> Option<Address> {
    let value = entry.values.first().and_then(|value| value.as_text()).unwrap_or_default();
    mailbox(value).or_else(|| {
        // Quirk(apple): a principal's path as the value, the mailbox in EMAIL (RFC 7986 §6.2).
        let email = entry.params.iter().find(|param| param.name == Parameter::Email)?;
        mailbox(email.value.as_text()?)
    })
}

/// The mailbox of an ATTENDEE or ORGANIZER as it stands there.
pub fn mailbox_of(line: &Line<'_>) -> Option<Address> {
    mailbox(line.value).or_else(|| mailbox(line.parameter("EMAIL")?))
}

fn mailbox(value: &str) -> Option<Address> {
    let value = value.trim().trim_matches('"');
    let text = match value.split_once(':') {
        Some((scheme, rest)) if scheme.trim().eq_ignore_ascii_case("mailto") => rest,
        // `invalid:nomail`, `urn:uuid:…`, `http://…`
        Some(_) => return None,
        // Quirk(hand-made): no scheme.
        None => value,
    };
    // RFC 6068 §2: header fields may follow a question mark.
    let text = text.split('?').next().unwrap_or_default().trim();
    // Quirk(hand-made): mailto:Adele Vance <adele.vance@contoso.example>
    let text = match text.rsplit_once('<') {
        Some((_, address)) => address.split('>').next().unwrap_or_default(),
        None => text,
    };
    let text = match text.contains('%') {
        true => percent_decoded(text)?,
        false => text.to_owned(),
    };
    Address::parse(text.trim()).ok()
}

/// RFC 6068 §2: percent-encoded UTF-8. A `%` that encodes nothing stands for itself.
pub fn percent_decoded(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [octet, after @ ..] = rest {
        let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
        match (octet, after) {
            (b'%', [high, low, beyond @ ..])
                if let (Some(high), Some(low)) = (hex(*high), hex(*low)) =>
            {
                octets.push(high * 16 + low);
                rest = beyond;
            }
            _ => {
                octets.push(*octet);
                rest = after;
            }
        }
    }
    String::from_utf8(octets).ok()
}

fn note(notes: &mut Vec<String>, name: &str, entry: &ICalendarEntry) {
    if notes.len() < NOTES_MAX {
        let value = entry.values.first().and_then(|value| value.as_text()).unwrap_or_default();
        notes.push(format!("{name} {} is no mailbox and was left out", shown(value)));
    }
}
