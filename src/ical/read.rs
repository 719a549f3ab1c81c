//! A calendar object as events: the only way in. Pure.
//!
//! RFC 5545 §3.4. The order is the point: size, lines ([`super::unfold`]), limits and nesting
//! ([`super::caps`]), the values that say when ([`super::grammar`]), and only then the library that
//! parses. It is lenient, so what it found is checked once more: METHOD, UID, DTSTART, one event for
//! each UID. Nothing here may guess: what cannot be read is [`Unreadable`], and says why.

use std::collections::HashMap;
use std::sync::Arc;

use calcard::icalendar::{
    ICalendar, ICalendarComponent, ICalendarComponentType as Component, ICalendarParameter,
    ICalendarParameterName as Parameter, ICalendarProperty as Property, ICalendarValue as Value,
};
use calcard::{Entry, Parser};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::caps::{NOTES_MAX, OCTETS_MAX, shown};
use super::occurrence::{self, Context};
use super::unfold::{Line, unfold};
use super::vtimezone::{self, Definition, Span};
use super::zone::Zones;
use super::{Event, Occurrence, Override, Unreadable, caps, grammar, moment, rule};
use crate::itip::Method;

/// RFC 5545 §3.8.4.7 has no limit; ours is what the store keeps, in octets.
const UID_OCTETS_MAX: usize = 255;

/// What one calendar object says.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// RFC 5545 §3.7.2. `None` when the object does not say what it is for.
    pub method: Option<Method>,
    /// One for each UID, in the order of the object; never empty.
    pub events: Vec<Event>,
    /// Its VEVENTs, in order.
    pub vevents: Vec<Vevent>,
    /// What was left out, in words for the decision log; no line of it is longer than 200 characters.
    pub notes: Vec<String>,
}

/// Where one VEVENT of an object has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vevent {
    /// Which of the events.
    pub event: usize,
    /// Which of its overrides; `None`: the master. Where two VEVENTs describe the same, the newer is kept
    /// there.
    pub overridden: Option<usize>,
}

/// Reads a calendar object: at most [`OCTETS_MAX`] octets, one VCALENDAR, at least one VEVENT.
pub fn read(octets: &[u8]) -> Result<Object, Unreadable> {
    read_as(octets, None)
}

/// The same, for an object that was sent with a method beside it (RFC 6047 §2.4). What the object itself
/// says wins.
pub fn read_as(octets: &[u8], declared: Option<Method>) -> Result<Object, Unreadable> {
    if octets.len() > OCTETS_MAX {
        return Err(Unreadable::new(format!("it is larger than {OCTETS_MAX} octets")));
    }
    let mut notes = Vec::new();
    let text = unfold(octets);
    let lines = caps::lines(&text, &mut notes)?;
    check_events(&lines)?;
    let calendar = parse(&lines)?;
    let root = calendar.components.first().ok_or_else(|| Unreadable::new("it is empty"))?;

    // vCalendar 1.0 has other rules, and times whose zone stands elsewhere.
    if occurrence::text(root, &Property::Version).is_some_and(|v| v.trim() == "1.0") {
        return Err(Unreadable::new("it is vCalendar 1.0, not iCalendar"));
    }
    if !occurrence::scale_is_known(root) {
        return Err(Unreadable::new("its CALSCALE is not Gregorian"));
    }
    let method = match moment::single(root, &Property::Method)?.map(|e| e.values.first()) {
        None => declared,
        Some(value) => {
            let text = value.and_then(Value::as_text).unwrap_or_default();
            Some(Method::parse(text).ok_or_else(|| {
                Unreadable::new(format!("METHOD:{} is not one of RFC 5546", shown(text)))
            })?)
        }
    };
    let (events, vevents) = events(&calendar, root, method, octets, &mut notes)?;
    notes.truncate(NOTES_MAX);
    Ok(Object { method, events, vevents, notes })
}

/// The zone of an object that is nothing but one VTIMEZONE (RFC 4791 §5.2.2, §9.8), as far as it matters
/// between two local times.
pub fn time_zone(octets: &[u8], from: DateTime, to: DateTime) -> Result<TimeZone, Unreadable> {
    if octets.len() > OCTETS_MAX {
        return Err(Unreadable::new(format!("it is larger than {OCTETS_MAX} octets")));
    }
    let text = unfold(octets);
    let calendar = parse(&caps::lines(&text, &mut Vec::new())?)?;
    let root = calendar.components.first().ok_or_else(|| Unreadable::new("it is empty"))?;
    let mut zones = root
        .component_ids
        .iter()
        .filter_map(|id| calendar.component_by_id(*id))
        .filter(|part| part.component_type == Component::VTimezone)
        .filter_map(|part| Definition::read(&calendar, part));
    let (Some(definition), None) = (zones.next(), zones.next()) else {
        return Err(Unreadable::new("it does not hold one VTIMEZONE"));
    };
    let tzid = definition.0.clone();
    let span = Span { from: from.min(to), to: to.max(from) };
    Ok(Zones::look_up([tzid.as_str()].into_iter(), &[definition], span).get(&tzid)?.rules)
}

/// Holds the values of each VEVENT to their grammar. Of the other components nothing is used whose
/// mistakes could do harm: a VTIMEZONE is compared with a real zone, a VALARM may be left out.
fn check_events(lines: &[Line<'_>]) -> Result<(), Unreadable> {
    let mut open: Vec<&str> = Vec::new();
    for line in lines {
        if line.is("BEGIN") {
            open.push(line.value.trim());
        } else if line.is("END") {
            open.pop();
        } else if open.last().is_some_and(|open| open.eq_ignore_ascii_case("VEVENT")) {
            grammar::check(line)?;
        }
    }
    Ok(())
}

fn parse(lines: &[Line<'_>]) -> Result<ICalendar, Unreadable> {
    let mut text = String::new();
    for line in lines {
        // RFC 5545 §3.8.1.1 wants VALUE=BINARY beside ENCODING=BASE64; without it the library would
        // take the octets for a URI.
        if line.is("ATTACH")
            && line.has_param("ENCODING", "BASE64")
            && !line.has_param("VALUE", "BINARY")
        {
            text.push_str("ATTACH;VALUE=BINARY");
            text.push_str(line.params);
            text.push(':');
            text.push_str(line.value);
        } else {
            text.push_str(line.text);
        }
        text.push_str("\r\n");
    }
    match Parser::new(&text).entry() {
        Entry::ICalendar(calendar) => Ok(calendar),
        _ => Err(Unreadable::new("it is no calendar object")),
    }
}

fn events(
    calendar: &ICalendar,
    root: &ICalendarComponent,
    method: Option<Method>,
    octets: &[u8],
    notes: &mut Vec<String>,
) -> Result<(Vec<Event>, Vec<Vevent>), Unreadable> {
    let parts = || root.component_ids.iter().filter_map(|id| calendar.component_by_id(*id));
    let vevents = || parts().filter(|part| part.component_type == Component::VEvent);
    if vevents().next().is_none() {
        return Err(Unreadable::new("it holds no VEVENT"));
    }
    let others = parts()
        .filter(|part| !matches!(part.component_type, Component::VEvent | Component::VTimezone));
    if others.count() > 0 && notes.len() < NOTES_MAX {
        notes.push("components other than VEVENT were left out".to_owned());
    }
    let zones = zones(calendar, parts(), vevents());
    let context = Context {
        calendar,
        zones: &zones,
        start_optional: method.is_some_and(|method| !method.needs_start()),
    };

    let octets: Arc<[u8]> = Arc::from(octets);
    let mut events: Vec<Event> = Vec::new();
    let mut vevents_at = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for vevent in vevents() {
        let uid = uid(vevent)?;
        let within =
            |why: Unreadable| Unreadable::new(format!("{}: {why}", occurrence::called(&uid)));
        let read = occurrence::read(vevent, &context, notes).map_err(within)?;
        let named = recurrence_id(vevent, &read, &zones).map_err(within)?;
        let index = *known.entry(uid.clone()).or_insert(events.len());
        if index == events.len() {
            let octets = octets.clone();
            events.push(Event { uid, master: None, overrides: Vec::new(), octets });
        }
        let Some(event) = events.get_mut(index) else { continue };
        let overridden = match named {
            None => {
                keep_newer(&mut event.master, read, notes);
                None
            }
            Some(named) => Some(keep_override(&mut event.overrides, named, read, notes)),
        };
        vevents_at.push(Vevent { event: index, overridden });
    }
    Ok((events, vevents_at))
}

fn zones<'c>(
    calendar: &'c ICalendar,
    parts: impl Iterator<Item = &'c ICalendarComponent>,
    vevents: impl Iterator<Item = &'c ICalendarComponent> + Clone,
) -> Zones {
    let span = moment::span(vevents.clone())
        .unwrap_or(Span { from: DateTime::default(), to: DateTime::default() });
    let definitions: Vec<_> = parts
        .filter(|part| part.component_type == Component::VTimezone)
        .filter_map(|part| Definition::read(calendar, part))
        .collect();
    Zones::look_up(vevents.flat_map(vtimezone::tzids), &definitions, span)
}

fn uid(vevent: &ICalendarComponent) -> Result<String, Unreadable> {
    let uid = match moment::single(vevent, &Property::Uid)? {
        Some(entry) => entry.values.first().and_then(Value::as_text).unwrap_or_default().trim(),
        None => return Err(Unreadable::new("an event has no UID")),
    };
    if uid.is_empty() {
        return Err(Unreadable::new("an event has no UID"));
    }
    if uid.len() > UID_OCTETS_MAX {
        return Err(Unreadable::new(format!("a UID is longer than {UID_OCTETS_MAX} octets")));
    }
    if uid.chars().any(char::is_control) {
        return Err(Unreadable::new("a UID holds a control character"));
    }
    Ok(uid.to_owned())
}

/// RECURRENCE-ID, and whether RANGE=THISANDFUTURE.
fn recurrence_id(
    vevent: &ICalendarComponent,
    occurrence: &Occurrence,
    zones: &Zones,
) -> Result<Option<(super::Moment, bool)>, Unreadable> {
    let Some(named) = moment::property(vevent, &Property::RecurrenceId, zones)? else {
        return Ok(None);
    };
    let entry = moment::single(vevent, &Property::RecurrenceId)?;
    // Quirk(rfc5546-4.4.5): its example leaves the name of the parameter out.
    let and_future = entry.is_some_and(|entry| {
        let names =
            |param: &ICalendarParameter| param.name.as_str().eq_ignore_ascii_case("THISANDFUTURE");
        entry.has_parameter(&Parameter::Range) || entry.params.iter().any(names)
    });
    Ok(Some((rule::like(named, &occurrence.start), and_future)))
}

fn keep_newer(kept: &mut Option<Occurrence>, read: Occurrence, notes: &mut Vec<String>) {
    match kept {
        None => *kept = Some(read),
        Some(first) => {
            note_twice(first, &read, notes);
            if is_newer(&read, first) {
                *first = read;
            }
        }
    }
}

/// Its place among the overrides.
fn keep_override(
    overrides: &mut Vec<Override>,
    (recurrence_id, and_future): (super::Moment, bool),
    read: Occurrence,
    notes: &mut Vec<String>,
) -> usize {
    let at = moment::instant(&recurrence_id);
    let place = overrides.iter().position(|known| {
        let same_kind =
            std::mem::discriminant(&known.recurrence_id) == std::mem::discriminant(&recurrence_id);
        same_kind && moment::instant(&known.recurrence_id) == at
    });
    let place = place.unwrap_or(overrides.len());
    match overrides.get_mut(place) {
        None => overrides.push(Override { recurrence_id, and_future, occurrence: read }),
        Some(known) => {
            note_twice(&known.occurrence, &read, notes);
            if is_newer(&read, &known.occurrence) {
                *known = Override { recurrence_id, and_future, occurrence: read };
            }
        }
    }
    place
}

fn note_twice(first: &Occurrence, second: &Occurrence, notes: &mut Vec<String>) {
    if first != second && notes.len() < NOTES_MAX {
        notes.push("one event is described twice; the newer description counts".to_owned());
    }
}

/// RFC 5546 §2.1.5: SEQUENCE, then DTSTAMP. On a tie the later one in the object.
fn is_newer(a: &Occurrence, than: &Occurrence) -> bool {
    (a.sequence, a.dtstamp) >= (than.sequence, than.dtstamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_alone_is_known_by_its_name_or_its_rules() {
        let of = |lines: &str| {
            let text = format!("BEGIN:VCALENDAR\n{lines}END:VCALENDAR\n");
            let at = |text: &str| text.parse().unwrap();
            let zone = time_zone(text.as_bytes(), at("2026-01-01T00:00"), at("2027-01-01T00:00"));
            zone.map(|zone| zone.iana_name().map(str::to_owned))
        };
        let tokyo = "BEGIN:VTIMEZONE\nTZID:@\nBEGIN:STANDARD\nDTSTART:19700101T000000\n\
                     TZOFFSETFROM:+0900\nTZOFFSETTO:+0900\nEND:STANDARD\nEND:VTIMEZONE\n";
        assert_eq!(of(&tokyo.replace('@', "Asia/Seoul")), Ok(Some("Asia/Seoul".to_owned())));
        assert_eq!(of(&tokyo.replace('@', "Our office")), Ok(Some("Asia/Tokyo".to_owned())));
        let nowhere = tokyo.replace("+0900", "+0917");
        assert!(of(&nowhere).is_err());
        assert!(of(&tokyo.repeat(2)).is_err());
        assert!(of("").is_err());
        assert!(of("BEGIN:VTIMEZONE\nEND:VTIMEZONE\n").is_err());
    }
}
