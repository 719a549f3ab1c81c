//! When an event is, set in an object, in the words of the lines around it. Pure.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::component::Component;
use super::edit::{NotEdited, Object, Patch, Which, apply, parameter_value};
use super::unfold::{Line, utf_8};
use super::{Moment, Occurrence, moment, zone};

/// Sets when an override is, or (`None`) the master: DTSTART and DTEND, which takes the place of DURATION.
///
/// A single event keeps the zone that its client wrote, so that the instants are the given ones; a series
/// that goes on in another zone gets that one, by the name it has in the IANA database. RECURRENCE-ID,
/// EXDATE and RDATE stay what they are.
pub fn set_times(
    octets: &[u8],
    recurrence_id: Option<&Moment>,
    start: &Moment,
    end: &Moment,
) -> Result<Vec<u8>, NotEdited> {
    let octets = utf_8(octets);
    let object = Object::read(&octets)?;
    let calendar = object.calendar()?;
    let which = recurrence_id.map_or(Which::Master, Which::Override);
    let mut patches = Vec::new();
    let mut found = false;
    for (place, vevent) in object.vevents(&calendar, which) {
        let occurrence = object.occurrence(place).ok_or(NotEdited::NoSuchComponent)?;
        patches.extend(times(&octets, vevent, occurrence, start, end)?);
        found = true;
    }
    if !found {
        return Err(NotEdited::NoSuchComponent);
    }
    let edited = apply(&octets, patches);
    let again = Object::read(&edited)?;
    let calendar = again.calendar()?;
    let all = again.vevents(&calendar, which).into_iter().all(|(place, _)| {
        again.occurrence(place).is_some_and(|occurrence| is_at(occurrence, start, end))
    });
    if all { Ok(edited) } else { Err(NotEdited::Contradicted) }
}

pub(super) fn is_at(occurrence: &Occurrence, start: &Moment, end: &Moment) -> bool {
    let same = |a: &Moment, b: &Moment| {
        std::mem::discriminant(a) == std::mem::discriminant(b)
            && moment::instant(a) == moment::instant(b)
    };
    same(&occurrence.start, start) && same(&occurrence.end, end)
}

/// What sets the times of one component.
pub(super) fn times(
    octets: &[u8],
    vevent: &Component<'_>,
    occurrence: &Occurrence,
    start: &Moment,
    end: &Moment,
) -> Result<Vec<Patch>, NotEdited> {
    let recurs = occurrence.recurrence.is_some();
    let dtstart = vevent.property("DTSTART").ok_or(NotEdited::NoSuchComponent)?;
    let mut patches = Vec::new();
    let said = dated(start, &dtstart.line, &occurrence.start, recurs)?;
    let text = with_others(&dtstart.line, "DTSTART", &said);
    patches.extend(Patch::line(octets, dtstart, &text));

    let first = vevent.property("DTEND").or(vevent.property("DURATION"));
    match first {
        Some(ending) if ending.line.is("DTEND") => {
            let said = dated(end, &ending.line, &occurrence.end, recurs)?;
            let text = with_others(&ending.line, "DTEND", &said);
            patches.extend(Patch::line(octets, ending, &text));
        }
        Some(duration) => {
            // It takes the zone of DTSTART.
            let said = dated(end, &dtstart.line, &occurrence.start, recurs)?;
            patches.extend(Patch::line(octets, duration, &format!("DTEND{said}")));
        }
        None if !is_default_end(start, end) => {
            let said = dated(end, &dtstart.line, &occurrence.start, recurs)?;
            let text = format!("DTEND{said}");
            patches.push(Patch::insertion(octets, dtstart.octets.end, &text));
        }
        None => {}
    }
    for property in &vevent.properties {
        let line = &property.line;
        // The end is said once.
        let again = (line.is("DTEND") || line.is("DURATION"))
            && first.is_some_and(|first| first.octets != property.octets);
        if again || (line.is("DTSTART") && property.octets != dtstart.octets) {
            patches.push(Patch::removal(&property.octets));
        }
        // Quirk(exchange): it says that midnight is a whole day.
        if line.is("X-MICROSOFT-CDO-ALLDAYEVENT") || line.is("X-MICROSOFT-MSNCALENDAR-ALLDAYEVENT")
        {
            let whole = matches!(start, Moment::Date(_));
            let said = if whole { "TRUE" } else { "FALSE" };
            let text = format!("{}{}:{said}", line.name, line.params);
            patches.extend(Patch::line(octets, property, &text));
        }
    }
    Ok(patches)
}

/// RFC 5545 §3.6.1: what an event without DTEND lasts.
fn is_default_end(start: &Moment, end: &Moment) -> bool {
    match (start, end) {
        (Moment::Date(first), Moment::Date(end)) => first.tomorrow().is_ok_and(|next| next == *end),
        _ => moment::instant(start) == moment::instant(end),
    }
}

/// `name` with what was said of when, and the other parameters of the line.
pub(super) fn with_others(line: &Line<'_>, name: &str, said: &str) -> String {
    let others: String = line
        .raw_parameters()
        .filter(|parameter| {
            let (given, _) = parameter.split_once('=').unwrap_or((parameter, ""));
            !given.trim().eq_ignore_ascii_case("TZID")
                && !given.trim().eq_ignore_ascii_case("VALUE")
        })
        .map(|parameter| format!(";{parameter}"))
        .collect();
    format!("{name}{others}{said}")
}

/// `;VALUE=DATE:20261123`, `;TZID=Europe/Berlin:20261123T090000`, `:20261123T080000Z`: a moment as a line
/// of its component says it. `beside` is a line that names a zone, and `known` the moment that it says.
pub(super) fn dated(
    moment: &Moment,
    beside: &Line<'_>,
    known: &Moment,
    recurs: bool,
) -> Result<String, NotEdited> {
    let (local, zone) = match moment {
        Moment::Date(date) => return Ok(format!(";VALUE=DATE:{}", date_text(*date))),
        Moment::Floating(local) => return Ok(format!(":{}", local_text(*local))),
        Moment::Zoned { local, zone } => (*local, zone),
    };
    let at = moment::instant(moment).ok_or(NotEdited::Contradicted)?;
    // The zone that the client wrote, under the name that it wrote.
    if let Moment::Zoned { zone: known, .. } = known
        && (!recurs || known.rules == zone.rules)
    {
        let local = known.rules.to_datetime(at);
        // A time that the clock shows twice is the first one in a text.
        if moment::instant(&Moment::Zoned { local, zone: known.clone() }) == Some(at) {
            let tzid = beside.raw_parameters().find(|parameter| {
                let name = parameter.split('=').next().unwrap_or_default();
                name.trim().eq_ignore_ascii_case("TZID")
            });
            return Ok(match tzid {
                Some(tzid) => format!(";{tzid}:{}", local_text(local)),
                None => format!(":{}", utc_text(at)),
            });
        }
    }
    if !recurs || zone.rules == TimeZone::UTC {
        return Ok(format!(":{}", utc_text(at)));
    }
    // RFC 7809 §1: a zone by the name that all know, without a VTIMEZONE.
    let named = |name: &str| zone::by_name(name).is_some_and(|by_name| by_name == zone.rules);
    let name = zone.rules.iana_name().or(Some(zone.tzid.as_str())).filter(|name| named(name));
    let name = name.ok_or(NotEdited::NoZone)?;
    Ok(format!(";TZID={}:{}", parameter_value(name), local_text(local)))
}

fn date_text(date: Date) -> String {
    format!("{:04}{:02}{:02}", date.year(), date.month(), date.day())
}

fn local_text(local: DateTime) -> String {
    let (hour, minute, second) = (local.hour(), local.minute(), local.second());
    format!("{}T{hour:02}{minute:02}{second:02}", date_text(local.date()))
}

fn utc_text(at: Timestamp) -> String {
    format!("{}Z", local_text(TimeZone::UTC.to_datetime(at)))
}
