//! Who is on an event, and what each answered, set in an object. Pure.

use super::PartStat;
use super::component::Component;
use super::edit::{
    NotEdited, Object, Patch, Which, apply, parameter_value, read_again, slice, with_line_end,
    with_parameter,
};
use super::people::mailbox_of;
use super::unfold::{Line, utf_8};
use crate::account::Address;

/// Sets what an attendee has answered, and SCHEDULE-STATUS (a code as `2.0`), where they are given.
///
/// PARTSTAT is not touched for [`PartStat::Other`], which says nothing that could be written. RSVP stays:
/// it is what the organizer wants.
pub fn set_answer(
    octets: &[u8],
    which: Which<'_>,
    attendee: &Address,
    partstat: Option<PartStat>,
    schedule_status: Option<&str>,
) -> Result<Vec<u8>, NotEdited> {
    let octets = utf_8(octets);
    let object = Object::read(&octets)?;
    let calendar = object.calendar()?;
    let partstat = partstat.and_then(partstat_name);
    let status = schedule_status.map(parameter_value);
    let mut patches = Vec::new();
    let mut found = false;
    for (_, vevent) in object.vevents(&calendar, which) {
        for property in vevent.properties.iter().filter(|property| property.line.is("ATTENDEE")) {
            if !mailbox_of(&property.line).is_some_and(|address| address.same_mailbox(attendee)) {
                continue;
            }
            found = true;
            let mut text = property.line.text.to_owned();
            for (name, value) in [("PARTSTAT", partstat), ("SCHEDULE-STATUS", status.as_deref())] {
                if let Some(value) = value {
                    text = with_parameter(&text, name, Some(value));
                }
            }
            patches.extend(Patch::line(&octets, property, &text));
        }
    }
    if !found {
        return Err(NotEdited::NoSuchAttendee);
    }
    let edited = apply(&octets, patches);
    read_again(&edited)?;
    Ok(edited)
}

/// Adds to each component the attendees that the same one of another version has and it has not.
pub fn union_of_attendees(octets: &[u8], other: &[u8]) -> Result<Vec<u8>, NotEdited> {
    let (octets, other) = (utf_8(octets), utf_8(other));
    let (object, from) = (Object::read(&octets)?, Object::read(&other)?);
    if object.event.uid != from.event.uid {
        return Err(NotEdited::OtherEvent);
    }
    let (calendar, from_calendar) = (object.calendar()?, from.calendar()?);
    let mut patches = Vec::new();
    for (which, vevent) in object.all(&calendar) {
        let which = match which {
            None => Which::Master,
            Some(place) => match object.event.overrides.get(place) {
                Some(change) => Which::Override(&change.recurrence_id),
                None => continue,
            },
        };
        let attendees = |vevent: &Component<'_>| -> Vec<String> {
            let lines = vevent.properties.iter().filter(|p| p.line.is("ATTENDEE"));
            lines.map(|property| caller(&property.line)).collect()
        };
        let mut known = attendees(vevent);
        let mut added = Vec::new();
        for (_, same) in from.vevents(&from_calendar, which) {
            for property in same.properties.iter().filter(|p| p.line.is("ATTENDEE")) {
                let caller = caller(&property.line);
                if !known.contains(&caller) {
                    known.push(caller);
                    added.extend(with_line_end(slice(&other, &property.octets)));
                }
            }
        }
        let last = vevent.properties.iter().rfind(|property| property.line.is("ATTENDEE"));
        let last = last.or(vevent.properties.last());
        let after = last.map_or(vevent.begin.end, |property| property.octets.end);
        patches.push(Patch { at: after..after, with: added });
    }
    let edited = apply(&octets, patches);
    read_again(&edited)?;
    Ok(edited)
}

/// Takes attendees off every component.
pub fn without_attendees(octets: &[u8], off: &[&Address]) -> Result<Vec<u8>, NotEdited> {
    let octets = utf_8(octets);
    let object = Object::read(&octets)?;
    let calendar = object.calendar()?;
    let is_off = |line: &Line<'_>| {
        line.is("ATTENDEE")
            && mailbox_of(line).is_some_and(|one| off.iter().any(|off| one.same_mailbox(off)))
    };
    let mut patches = Vec::new();
    for (_, vevent) in object.all(&calendar) {
        let lines = vevent.properties.iter().filter(|property| is_off(&property.line));
        patches.extend(lines.map(|property| Patch::removal(&property.octets)));
    }
    let edited = apply(&octets, patches);
    let event = read_again(&edited)?;
    let all = event.master.iter().chain(event.overrides.iter().map(|one| &one.occurrence));
    let mut attendees = all.flat_map(|one| &one.attendees);
    match attendees.any(|one| off.iter().any(|off| one.address.same_mailbox(off))) {
        true => Err(NotEdited::Contradicted),
        false => Ok(edited),
    }
}

/// By whom an ATTENDEE line is known.
fn caller(line: &Line<'_>) -> String {
    mailbox_of(line).map_or_else(|| line.value.trim().to_lowercase(), |address| address.key())
}

fn partstat_name(partstat: PartStat) -> Option<&'static str> {
    match partstat {
        PartStat::NeedsAction => Some("NEEDS-ACTION"),
        PartStat::Accepted => Some("ACCEPTED"),
        PartStat::Declined => Some("DECLINED"),
        PartStat::Tentative => Some("TENTATIVE"),
        PartStat::Other => None,
    }
}
