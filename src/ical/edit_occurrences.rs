//! Single occurrences of a series: overrides added, brought in from a message, taken out. Pure.

use std::ops::Range;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::component::Component;
use super::edit::{
    NotEdited, Object, Patch, Which, apply, is_same, like_start, read_again, slice, with_line_end,
};
use super::edit_times::{dated, is_at, times};
use super::unfold::{Line, utf_8};
use super::{Moment, Occurrence, Zone, moment, zone};

/// Adds an override for an occurrence that has none yet: the master at this time, without its rule.
/// `start` and `end` are what the series gives the occurrence ([`crate::recurrence::given`]).
pub fn add_override(
    octets: &[u8],
    recurrence_id: &Moment,
    start: &Moment,
    end: &Moment,
) -> Result<Vec<u8>, NotEdited> {
    let octets = utf_8(octets);
    let object = Object::read(&octets)?;
    let calendar = object.calendar()?;
    if !object.vevents(&calendar, Which::Override(recurrence_id)).is_empty() {
        return Ok(octets.into_owned());
    }
    let (master, occurrence) = object.master(&calendar)?;
    let dtstart = master.property("DTSTART").ok_or(NotEdited::NoSuchComponent)?;

    // The master's own octets, and patches to them where they lie.
    let single = Occurrence { recurrence: None, ..occurrence.clone() };
    let mut patches = times(&octets, master, &single, start, end)?;
    for property in &master.properties {
        if ["RRULE", "RDATE", "EXDATE", "EXRULE", "RECURRENCE-ID"]
            .iter()
            .any(|name| property.line.is(name))
        {
            patches.push(Patch::removal(&property.octets));
        }
    }
    let named = like_start(recurrence_id, &occurrence.start);
    let named = dated(&named, &dtstart.line, &occurrence.start, false)?;
    patches.push(Patch::insertion(&octets, dtstart.octets.end, &format!("RECURRENCE-ID{named}")));
    let whole = slice(&octets, &master.octets);
    let shift = |at: usize| at.saturating_sub(master.octets.start);
    let patches = patches
        .into_iter()
        .map(|patch| Patch { at: shift(patch.at.start)..shift(patch.at.end), with: patch.with });
    let added = apply(whole, patches.collect());
    let edited = apply(&octets, vec![Patch { at: after_vevents(&calendar), with: added }]);
    let event = read_again(&edited)?;
    let found = event.overrides.iter().any(|o| is_same(&o.recurrence_id, recurrence_id, &event));
    if found { Ok(edited) } else { Err(NotEdited::Contradicted) }
}

/// Puts what a message says about occurrences into an object: each of its components with a RECURRENCE-ID
/// takes the place of the object's, or is added; so are the zones that the object does not define. An
/// occurrence that had been taken out is there again.
pub fn merge_occurrences(object: &[u8], message: &[u8]) -> Result<Vec<u8>, NotEdited> {
    let (octets, message) = (utf_8(object), utf_8(message));
    let (object, from) = (Object::read(&octets)?, Object::read(&message)?);
    if object.event.uid != from.event.uid {
        return Err(NotEdited::OtherEvent);
    }
    if from.event.overrides.is_empty() {
        return Err(NotEdited::NoSuchComponent);
    }
    let (calendar, from_calendar) = (object.calendar()?, from.calendar()?);
    let mut patches = Vec::new();
    let mut added = Vec::new();
    let mut zones: Vec<&str> = Vec::new();
    for (place, change) in from.event.overrides.iter().enumerate() {
        // Where the message says it twice, the one that was read.
        let said = from.all(&from_calendar).filter(|(which, _)| *which == Some(place));
        let Some((_, component)) = said.last() else { continue };
        let whole = with_line_end(slice(&message, &component.octets));
        zones.extend(component.properties.iter().filter_map(|p| p.line.parameter("TZID")));
        let known = object.vevents(&calendar, Which::Override(&change.recurrence_id));
        match known.first() {
            Some((_, known)) => patches.push(Patch { at: known.octets.clone(), with: whole }),
            None => added.extend(whole),
        }
        patches.extend(known.iter().skip(1).map(|(_, again)| Patch::removal(&again.octets)));
    }
    let there: Vec<&Moment> = from.event.overrides.iter().map(|o| &o.recurrence_id).collect();
    patches.extend(without_exdates(&octets, &object, &calendar, &there));
    patches.push(Patch { at: after_vevents(&calendar), with: added });

    let defines = |calendar: &Component<'_>, tzid: &str| {
        let mut zones = calendar.named("VTIMEZONE").filter_map(|zone| zone.property("TZID"));
        zones.any(|known| known.line.value.trim() == tzid.trim())
    };
    let mut missing = Vec::new();
    for zone in from_calendar.named("VTIMEZONE") {
        let Some(tzid) = zone.property("TZID").map(|tzid| tzid.line.value.trim()) else { continue };
        if zones.iter().any(|used| used.trim() == tzid) && !defines(&calendar, tzid) {
            missing.extend(with_line_end(slice(&message, &zone.octets)));
        }
    }
    let front = calendar.components.first().map_or(calendar.end.start, |first| first.octets.start);
    patches.push(Patch { at: front..front, with: missing });

    let edited = apply(&octets, patches);
    let event = read_again(&edited)?;
    // The same name for two zones would be read here.
    let all = from.event.overrides.iter().all(|wanted| {
        event.overrides.iter().any(|found| {
            is_same(&found.recurrence_id, &wanted.recurrence_id, &event)
                && is_at(&found.occurrence, &wanted.occurrence.start, &wanted.occurrence.end)
        })
    });
    if all { Ok(edited) } else { Err(NotEdited::Contradicted) }
}

/// Takes one occurrence out of a series: EXDATE in the master, and its override is gone.
pub fn exclude_occurrence(octets: &[u8], recurrence_id: &Moment) -> Result<Vec<u8>, NotEdited> {
    let octets = utf_8(octets);
    let object = Object::read(&octets)?;
    let calendar = object.calendar()?;
    let (master, occurrence) = object.master(&calendar)?;
    let recurrence = occurrence.recurrence.as_ref().ok_or(NotEdited::NoSuchComponent)?;
    let mut patches: Vec<Patch> = object
        .vevents(&calendar, Which::Override(recurrence_id))
        .into_iter()
        .map(|(_, vevent)| Patch::removal(&vevent.octets))
        .collect();
    if !recurrence.exdates.iter().any(|known| is_same(known, recurrence_id, &object.event)) {
        let dtstart = master.property("DTSTART").ok_or(NotEdited::NoSuchComponent)?;
        let named = like_start(recurrence_id, &occurrence.start);
        let named = dated(&named, &dtstart.line, &occurrence.start, false)?;
        let beside = ["EXDATE", "RDATE", "RRULE", "DTSTART"];
        let after = master
            .properties
            .iter()
            .filter(|property| beside.iter().any(|name| property.line.is(name)))
            .map(|property| property.octets.end)
            .max();
        let after = after.unwrap_or(dtstart.octets.end);
        patches.push(Patch::insertion(&octets, after, &format!("EXDATE{named}")));
    }
    let edited = apply(&octets, patches);
    let event = read_again(&edited)?;
    let exdates = event.master.as_ref().and_then(|master| master.recurrence.as_ref());
    let excluded = exdates
        .is_some_and(|r| r.exdates.iter().any(|known| is_same(known, recurrence_id, &event)));
    let overridden =
        event.overrides.iter().any(|o| is_same(&o.recurrence_id, recurrence_id, &event));
    if excluded && !overridden { Ok(edited) } else { Err(NotEdited::Contradicted) }
}

/// After the last VEVENT, where another one is added.
fn after_vevents(calendar: &Component<'_>) -> Range<usize> {
    let last = calendar.named("VEVENT").last();
    let at = last.map_or(calendar.end.start, |vevent| vevent.octets.end);
    at..at
}

/// What takes occurrences out of the EXDATEs that they are in.
fn without_exdates(
    octets: &[u8],
    object: &Object,
    calendar: &Component<'_>,
    there: &[&Moment],
) -> Vec<Patch> {
    let Ok((vevent, master)) = object.master(calendar) else { return Vec::new() };
    let mut patches = Vec::new();
    for property in vevent.properties.iter().filter(|property| property.line.is("EXDATE")) {
        let line = &property.line;
        let stays = |value: &&str| {
            let named = value_moment(value.trim(), line, &master.start);
            let is = |there: &&Moment| {
                named.as_ref().is_some_and(|named| is_same(named, there, &object.event))
            };
            !there.iter().any(is)
        };
        let values: Vec<&str> = line.value.split(',').filter(stays).collect();
        if values.iter().all(|value| value.trim().is_empty()) {
            patches.push(Patch::removal(&property.octets));
        } else if values.len() < line.value.split(',').count() {
            let text = format!("{}{}:{}", line.name, line.params, values.join(","));
            patches.extend(Patch::line(octets, property, &text));
        }
    }
    patches
}

/// A date or time as it stands in a line of the series that begins at `start`. `None`: in a zone of which
/// nothing is known here, and so no match for anything.
fn value_moment(value: &str, line: &Line<'_>, start: &Moment) -> Option<Moment> {
    let number = |from: usize, to: usize| value.get(from..to)?.parse::<i8>().ok();
    let year = value.get(0..4)?.parse::<i16>().ok()?;
    let date = Date::new(year, number(4, 6)?, number(6, 8)?).ok()?;
    let Some(clock) = value.get(8..).filter(|rest| !rest.is_empty()) else {
        return Some(Moment::Date(date));
    };
    let time = Time::new(number(9, 11)?, number(11, 13)?, number(13, 15)?.min(59), 0).ok()?;
    let local = date.to_datetime(time);
    if clock.ends_with(['Z', 'z']) {
        return TimeZone::UTC.to_timestamp(local).ok().map(moment::utc);
    }
    match (line.parameter("TZID"), start) {
        (None, _) => Some(Moment::Floating(local)),
        (Some(tzid), Moment::Zoned { zone, .. }) if zone.tzid == tzid => {
            Some(Moment::Zoned { local, zone: zone.clone() })
        }
        (Some(tzid), _) => {
            let zone = Zone { tzid: tzid.to_owned(), rules: zone::by_name(tzid)? };
            Some(Moment::Zoned { local, zone })
        }
    }
}
