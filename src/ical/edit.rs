//! Changes to an object that leave all of its other octets as they are. Pure.
//!
//! RFC 5545 §3.1, §3.8.4.4, §3.8.5.1; RFC 6638 §7.3 (SCHEDULE-STATUS); RFC 7809 (zones by name alone). What
//! a client wrote and nobody here understands must survive, so nothing is composed anew but the lines that
//! change. Every change is read again: what comes out is an object that says what was set, or an error.

use std::borrow::Cow;
use std::ops::Range;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use super::component::{Component, Property, Unfolded};
use super::fold::fold;
use super::people::mailbox_of;
use super::unfold::{Line, utf_8};
use super::{Event, Moment, Occurrence, PartStat, Unreadable, Zone, moment, read, zone};
use crate::account::Address;

/// Which components of an event are meant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Which<'m> {
    /// The master and all overrides.
    All,
    Master,
    /// The override of this RECURRENCE-ID.
    Override(&'m Moment),
}

/// Why an object was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotEdited {
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] Unreadable),
    #[error("it has no such component")]
    NoSuchComponent,
    #[error("it has no such attendee")]
    NoSuchAttendee,
    #[error("the two are not about the same event")]
    OtherEvent,
    #[error("it has no name for a zone that is needed")]
    NoZone,
    /// Something else in it says otherwise; nothing was guessed.
    #[error("what was changed is not what is read afterwards")]
    Contradicted,
}

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

/// RFC 4791 §4.1: an object that is kept has no METHOD.
pub fn without_method(octets: &[u8]) -> Result<Cow<'_, [u8]>, NotEdited> {
    let octets = utf_8(octets);
    let unfolded = Unfolded::of(&octets);
    let calendar = unfolded.calendar()?;
    let methods = calendar.properties.iter().filter(|property| property.line.is("METHOD"));
    let patches: Vec<Patch> = methods.map(|method| Patch::removal(&method.octets)).collect();
    if patches.is_empty() {
        return Ok(octets);
    }
    Ok(Cow::Owned(apply(&octets, patches)))
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

/// By whom an ATTENDEE line is known.
fn caller(line: &Line<'_>) -> String {
    mailbox_of(line).map_or_else(|| line.value.trim().to_lowercase(), |address| address.key())
}

// --- an object and its components --------------------------------------------------------------------

/// An object that is read both ways.
struct Object {
    event: Event,
    unfolded: Unfolded,
    /// Of each VEVENT, which override it is.
    which: Vec<Option<usize>>,
}

impl Object {
    /// An object of one event.
    fn read(octets: &[u8]) -> Result<Object, NotEdited> {
        let object = read(octets)?;
        let which = object.vevents.iter().map(|vevent| vevent.overridden).collect();
        let mut events = object.events.into_iter();
        match (events.next(), events.next()) {
            (Some(event), None) => Ok(Object { event, unfolded: Unfolded::of(octets), which }),
            _ => Err(NotEdited::OtherEvent),
        }
    }

    fn calendar(&self) -> Result<Component<'_>, NotEdited> {
        Ok(self.unfolded.calendar()?)
    }

    /// Every VEVENT, and which override it is.
    fn all<'c>(
        &self,
        calendar: &'c Component<'c>,
    ) -> impl Iterator<Item = (Option<usize>, &'c Component<'c>)> {
        self.which.iter().copied().zip(calendar.named("VEVENT"))
    }

    fn vevents<'c>(
        &self,
        calendar: &'c Component<'c>,
        which: Which<'_>,
    ) -> Vec<(Option<usize>, &'c Component<'c>)> {
        let fits = |place: Option<usize>| match (which, place) {
            (Which::All, _) | (Which::Master, None) => true,
            (Which::Override(named), Some(place)) => {
                let change = self.event.overrides.get(place);
                change.is_some_and(|change| is_same(&change.recurrence_id, named, &self.event))
            }
            _ => false,
        };
        self.all(calendar).filter(|(place, _)| fits(*place)).collect()
    }

    /// What the model says of an override, or of the master.
    fn occurrence(&self, place: Option<usize>) -> Option<&Occurrence> {
        match place {
            None => self.event.master.as_ref(),
            Some(place) => self.event.overrides.get(place).map(|change| &change.occurrence),
        }
    }

    fn master<'c>(
        &self,
        calendar: &'c Component<'c>,
    ) -> Result<(&'c Component<'c>, &Occurrence), NotEdited> {
        let (_, master) =
            *self.vevents(calendar, Which::Master).last().ok_or(NotEdited::NoSuchComponent)?;
        Ok((master, self.event.master.as_ref().ok_or(NotEdited::NoSuchComponent)?))
    }
}

/// The event of an object that was changed.
fn read_again(octets: &[u8]) -> Result<Event, NotEdited> {
    Ok(Object::read(octets)?.event)
}

/// Whether two names of occurrences mean the same one of a series.
fn is_same(a: &Moment, b: &Moment, event: &Event) -> bool {
    let (a, b) = match &event.master {
        Some(master) => (like_start(a, &master.start), like_start(b, &master.start)),
        None => (a.clone(), b.clone()),
    };
    let same_kind = std::mem::discriminant(&a) == std::mem::discriminant(&b);
    same_kind && moment::instant(&a).is_some() && moment::instant(&a) == moment::instant(&b)
}

/// A name of an occurrence in the terms of the series: RFC 5545 §3.8.4.4 wants them to be alike, and not
/// everybody cares.
fn like_start(named: &Moment, start: &Moment) -> Moment {
    let in_zone = |local: DateTime, zone: &Zone| Moment::Zoned { local, zone: zone.clone() };
    match (named, start) {
        (Moment::Date(date), Moment::Zoned { local, zone }) => {
            in_zone(date.to_datetime(local.time()), zone)
        }
        (Moment::Date(date), Moment::Floating(local)) => {
            Moment::Floating(date.to_datetime(local.time()))
        }
        (Moment::Floating(local), Moment::Zoned { zone, .. }) => in_zone(*local, zone),
        (Moment::Floating(local) | Moment::Zoned { local, .. }, Moment::Date(_)) => {
            Moment::Date(local.date())
        }
        (named, _) => named.clone(),
    }
}

fn is_at(occurrence: &Occurrence, start: &Moment, end: &Moment) -> bool {
    let same = |a: &Moment, b: &Moment| {
        std::mem::discriminant(a) == std::mem::discriminant(b)
            && moment::instant(a) == moment::instant(b)
    };
    same(&occurrence.start, start) && same(&occurrence.end, end)
}

/// After the last VEVENT, where another one is added.
fn after_vevents(calendar: &Component<'_>) -> Range<usize> {
    let last = calendar.named("VEVENT").last();
    let at = last.map_or(calendar.end.start, |vevent| vevent.octets.end);
    at..at
}

// --- lines -------------------------------------------------------------------------------------------

/// Octets that take the place of others.
struct Patch {
    at: Range<usize>,
    with: Vec<u8>,
}

impl Patch {
    fn removal(at: &Range<usize>) -> Patch {
        Patch { at: at.clone(), with: Vec::new() }
    }

    /// Another text for a line, with the line end that it has; nothing where it is the same text.
    fn line(octets: &[u8], property: &Property<'_>, text: &str) -> Option<Patch> {
        if text == property.line.text {
            return None;
        }
        let mut with = Vec::new();
        fold(text.as_bytes(), line_end(slice(octets, &property.octets)), &mut with);
        Some(Patch { at: property.octets.clone(), with })
    }

    /// A line more, with the line end of the one before it.
    fn insertion(octets: &[u8], after: usize, text: &str) -> Patch {
        let mut with = Vec::new();
        fold(text.as_bytes(), line_end(slice(octets, &(0..after))), &mut with);
        Patch { at: after..after, with }
    }
}

/// Makes changes that do not overlap. Of those at one place, the first goes first, and what is added goes
/// before what is replaced.
fn apply(octets: &[u8], mut patches: Vec<Patch>) -> Vec<u8> {
    patches.sort_by_key(|patch| (patch.at.start, patch.at.end));
    let mut edited = Vec::with_capacity(octets.len());
    let mut from = 0;
    for patch in patches {
        if patch.at.start < from {
            // Within what another one has taken out.
            continue;
        }
        edited.extend_from_slice(slice(octets, &(from..patch.at.start)));
        edited.extend(patch.with);
        from = patch.at.end;
    }
    edited.extend_from_slice(slice(octets, &(from..octets.len())));
    edited
}

fn slice<'o>(octets: &'o [u8], at: &Range<usize>) -> &'o [u8] {
    octets.get(at.clone()).unwrap_or_default()
}

/// How these lines end; CRLF where they do not.
fn line_end(octets: &[u8]) -> &'static [u8] {
    match octets {
        [.., b'\r', b'\n'] => b"\r\n",
        [.., b'\n'] => b"\n",
        [.., b'\r'] => b"\r",
        _ => b"\r\n",
    }
}

fn with_line_end(octets: &[u8]) -> Vec<u8> {
    let mut whole = octets.to_vec();
    if !octets.ends_with(b"\n") && !octets.ends_with(b"\r") {
        whole.extend_from_slice(b"\r\n");
    }
    whole
}

/// A line's text with a parameter set, where it stands or at the end, or (`None`) taken out. All others
/// stay as they are written.
fn with_parameter(text: &str, name: &str, value: Option<&str>) -> String {
    let Some(line) = Line::parse(text) else { return text.to_owned() };
    let mut with = line.name.to_owned();
    let mut left = value;
    for parameter in line.raw_parameters() {
        let (given, _) = parameter.split_once('=').unwrap_or((parameter, ""));
        if !given.trim().eq_ignore_ascii_case(name) {
            with.push(';');
            with.push_str(parameter);
        } else if let Some(value) = left.take() {
            with.push_str(&format!(";{name}={value}"));
        }
    }
    if let Some(value) = left {
        with.push_str(&format!(";{name}={value}"));
    }
    with.push(':');
    with.push_str(line.value);
    with
}

/// RFC 5545 §3.2: in quotes where it must be; what no quotes can hold is left out.
fn parameter_value(value: &str) -> String {
    let plain: String = value.chars().filter(|c| *c != '"' && !c.is_control()).collect();
    match plain.contains([':', ';', ',']) {
        true => format!("\"{plain}\""),
        false => plain,
    }
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

// --- when --------------------------------------------------------------------------------------------

/// What sets the times of one component.
fn times(
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
fn with_others(line: &Line<'_>, name: &str, said: &str) -> String {
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
fn dated(
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OBJECT: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nX-ANY;x=\"a:b\":kept\r\nBEGIN:VTIMEZONE\r\n\
        TZID:W. Europe Standard Time\r\nEND:VTIMEZONE\r\n\
        BEGIN:VEVENT\r\nUID:1\r\nDTSTART;X-A=1;TZID=W. Europe Standard Time:20261123T090000\r\n\
        DURATION:PT1H\r\nRRULE:FREQ=DAILY;COUNT=9\r\n\
        EXDATE;TZID=W. Europe Standard Time:20261125T090000,20261126T090000\r\nSUMMARY:Stand\r\n\
        \x20-up\r\nORGANIZER:mailto:adele@contoso.example\r\n\
        ATTENDEE;CN=\"Wilber, Alex\";ROLE=REQ-PARTICIPANT;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:ale\r\n\
        \x20x@contoso.example\r\n\
        ATTENDEE:mailto:grady@contoso.example\r\nBEGIN:VALARM\r\nTRIGGER:-PT5M\r\nEND:VALARM\r\nEND:VEVENT\r\n\
        BEGIN:VEVENT\r\nUID:1\r\nRECURRENCE-ID;TZID=W. Europe Standard Time:20261124T090000\r\n\
        DTSTART;TZID=W. Europe Standard Time:20261124T100000\r\n\
        DTEND;TZID=W. Europe Standard Time:20261124T110000\r\n\
        ATTENDEE:MAILTO:Alex@contoso.example\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";

    fn zoned(name: &str, local: &str) -> Moment {
        let zone = Zone { tzid: name.to_owned(), rules: TimeZone::get(name).unwrap() };
        Moment::Zoned { local: local.parse().unwrap(), zone }
    }

    fn utc(at: &str) -> Moment {
        moment::utc(at.parse().unwrap())
    }

    fn alex() -> Address {
        Address::parse("alex@contoso.example").unwrap()
    }

    /// The lines that are gone, with a minus, and those that are new, with a plus; folds undone.
    #[track_caller]
    fn difference(before: &str, after: Vec<u8>) -> Vec<String> {
        let after = String::from_utf8(after).unwrap();
        assert!(read(after.as_bytes()).is_ok());
        let lines = |text: &str| -> Vec<String> {
            text.replace("\r\n ", "").split("\r\n").map(str::to_owned).collect()
        };
        let (before, after) = (lines(before), lines(&after));
        let (mut differs, mut rest) = (Vec::new(), after.as_slice());
        for (at, line) in before.iter().enumerate() {
            // The next line that both have.
            let same = rest
                .iter()
                .position(|new| new == line)
                .filter(|found| *found == 0 || !before[at + 1..].contains(&rest[0]));
            match same {
                None => differs.push(format!("-{line}")),
                Some(found) => {
                    differs.extend(rest[..found].iter().map(|new| format!("+{new}")));
                    rest = &rest[found + 1..];
                }
            }
        }
        differs.extend(rest.iter().map(|new| format!("+{new}")));
        differs
    }

    fn mailto(line: &str) -> String {
        format!("{line}:mailto:alex@contoso.example")
    }

    #[test]
    fn an_answer_is_set_and_nothing_else_changes() {
        let before = "ATTENDEE;CN=\"Wilber, Alex\";ROLE=REQ-PARTICIPANT;PARTSTAT=";
        let set = |which, partstat, status| {
            difference(
                OBJECT,
                set_answer(OBJECT.as_bytes(), which, &alex(), partstat, status).unwrap(),
            )
        };
        let accepted = Some(PartStat::Accepted);
        assert_eq!(
            set(Which::Master, accepted, Some("2.0")),
            [
                format!("-{}", mailto(&format!("{before}NEEDS-ACTION;RSVP=TRUE"))),
                format!("+{}", mailto(&format!("{before}ACCEPTED;RSVP=TRUE;SCHEDULE-STATUS=2.0"))),
            ]
        );
        let moved = utc("2026-11-24T08:00:00Z");
        assert_eq!(
            set(Which::Override(&moved), Some(PartStat::Declined), None),
            [
                "-ATTENDEE:MAILTO:Alex@contoso.example",
                "+ATTENDEE;PARTSTAT=DECLINED:MAILTO:Alex@contoso.example"
            ]
        );
        assert_eq!(set(Which::All, accepted, None).len(), 4);
        assert_eq!(set(Which::All, Some(PartStat::Other), None), [] as [&str; 0]);
        assert_eq!(set(Which::All, None, None), [] as [&str; 0]);
        // What says so already stays as it is written, folds and all.
        let same = set_answer(
            OBJECT.as_bytes(),
            Which::Master,
            &alex(),
            Some(PartStat::NeedsAction),
            None,
        );
        assert_eq!(same.unwrap(), OBJECT.as_bytes());
        // What was set once is set once.
        let once =
            set_answer(OBJECT.as_bytes(), Which::All, &alex(), accepted, Some("1.1")).unwrap();
        let twice = set_answer(&once, Which::All, &alex(), accepted, Some("1.1")).unwrap();
        assert_eq!(twice, once);
        let again = set_answer(&once, Which::All, &alex(), accepted, Some("2.8,3.1")).unwrap();
        let again = String::from_utf8(again).unwrap().replace("\r\n ", "");
        assert_eq!(again.matches(";SCHEDULE-STATUS=\"2.8,3.1\"").count(), 2);
        assert!(!again.contains("1.1"));
    }

    #[test]
    fn who_or_what_is_not_there_is_not_answered_for() {
        let other = utc("2026-11-27T08:00:00Z");
        let set = |which, address: &str| {
            let address = Address::parse(address).unwrap();
            set_answer(OBJECT.as_bytes(), which, &address, Some(PartStat::Accepted), None)
        };
        assert_eq!(set(Which::All, "joni@contoso.example"), Err(NotEdited::NoSuchAttendee));
        assert_eq!(
            set(Which::Override(&other), "alex@contoso.example"),
            Err(NotEdited::NoSuchAttendee)
        );
        let unreadable = set_answer(b"x", Which::All, &alex(), None, None);
        assert!(matches!(unreadable, Err(NotEdited::Unreadable(_))));
    }

    #[test]
    fn an_override_is_moved_in_the_zone_that_its_client_wrote() {
        let named = zoned("Europe/Berlin", "2026-11-24T09:00:00");
        let (start, end) =
            (utc("2026-11-24T13:00:00Z"), zoned("America/New_York", "2026-11-24T09:30:00"));
        let set = set_times(OBJECT.as_bytes(), Some(&named), &start, &end).unwrap();
        assert_eq!(
            difference(OBJECT, set),
            [
                "-DTSTART;TZID=W. Europe Standard Time:20261124T100000",
                "-DTEND;TZID=W. Europe Standard Time:20261124T110000",
                "+DTSTART;TZID=W. Europe Standard Time:20261124T140000",
                "+DTEND;TZID=W. Europe Standard Time:20261124T153000",
            ]
        );
        let days = (
            Moment::Date("2026-11-24".parse().unwrap()),
            Moment::Date("2026-11-26".parse().unwrap()),
        );
        let set = set_times(OBJECT.as_bytes(), Some(&named), &days.0, &days.1).unwrap();
        let differs = difference(OBJECT, set);
        assert_eq!(differs[2..], ["+DTSTART;VALUE=DATE:20261124", "+DTEND;VALUE=DATE:20261126"]);
        // There is no text for half a second.
        let half = utc("2026-11-24T13:00:00.5Z");
        let refused = set_times(OBJECT.as_bytes(), Some(&named), &half, &half);
        assert_eq!(refused, Err(NotEdited::Contradicted));
        let other = utc("2026-11-27T08:00:00Z");
        let missing = set_times(OBJECT.as_bytes(), Some(&other), &start, &end);
        assert_eq!(missing, Err(NotEdited::NoSuchComponent));
    }

    #[test]
    fn a_series_that_goes_on_in_another_zone_gets_its_name() {
        let same = zoned("Europe/Berlin", "2026-11-23T11:00:00");
        let set = set_times(
            OBJECT.as_bytes(),
            None,
            &same,
            &zoned("Europe/Berlin", "2026-11-23T12:00:00"),
        );
        assert_eq!(
            difference(OBJECT, set.unwrap()),
            [
                "-DTSTART;X-A=1;TZID=W. Europe Standard Time:20261123T090000",
                "-DURATION:PT1H",
                "+DTSTART;X-A=1;TZID=W. Europe Standard Time:20261123T110000",
                "+DTEND;TZID=W. Europe Standard Time:20261123T120000",
            ]
        );
        let (start, end) = (
            zoned("America/New_York", "2026-11-23T09:00:00"),
            zoned("America/New_York", "2026-11-23T09:30:00"),
        );
        let set = set_times(OBJECT.as_bytes(), None, &start, &end).unwrap();
        assert_eq!(
            difference(OBJECT, set)[2..],
            [
                "+DTSTART;X-A=1;TZID=America/New_York:20261123T090000",
                "+DTEND;TZID=America/New_York:20261123T093000",
            ]
        );
        let nameless = Zone { tzid: "x".to_owned(), rules: TimeZone::fixed(jiff::tz::offset(3)) };
        let start = Moment::Zoned { local: "2026-11-23T09:00:00".parse().unwrap(), zone: nameless };
        let set = set_times(OBJECT.as_bytes(), None, &start, &start);
        assert_eq!(set, Err(NotEdited::NoZone));
    }

    fn single(lines: &str) -> String {
        format!("BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:1\n{lines}END:VEVENT\nEND:VCALENDAR\n")
            .replace('\n', "\r\n")
    }

    #[test]
    fn an_end_is_said_where_it_must_be() {
        let set = |lines: &str, start: &Moment, end: &Moment| {
            let object = single(lines);
            difference(&object, set_times(object.as_bytes(), None, start, end).unwrap())
        };
        let (nine, ten) = (utc("2026-11-23T09:00:00Z"), utc("2026-11-23T10:00:00Z"));
        let (monday, tuesday) = (
            Moment::Date("2026-11-23".parse().unwrap()),
            Moment::Date("2026-11-24".parse().unwrap()),
        );
        let bare = "DTSTART:20261101T090000Z\n";
        assert_eq!(
            set(bare, &nine, &ten),
            ["-DTSTART:20261101T090000Z", "+DTSTART:20261123T090000Z", "+DTEND:20261123T100000Z"]
        );
        assert_eq!(set(bare, &nine, &nine).len(), 2);
        assert_eq!(
            set("DTSTART:20261123T090000Z\nDTEND:20261123T100000Z\n", &nine, &ten),
            [] as [&str; 0]
        );
        assert_eq!(
            set(bare, &monday, &tuesday),
            ["-DTSTART:20261101T090000Z", "+DTSTART;VALUE=DATE:20261123"]
        );
        assert_eq!(
            set("DTSTART;VALUE=DATE:20261123\n", &nine, &ten)[1..],
            ["+DTSTART:20261123T090000Z", "+DTEND:20261123T100000Z"]
        );
        assert_eq!(
            set(
                "DTSTART:20261123T000000Z\nDTEND:20261124T000000Z\nX-MICROSOFT-CDO-ALLDAYEVENT:TRUE\n",
                &utc("2026-11-23T00:00:00Z"),
                &utc("2026-11-25T00:00:00Z")
            ),
            [
                "-DTEND:20261124T000000Z",
                "-X-MICROSOFT-CDO-ALLDAYEVENT:TRUE",
                "+DTEND:20261125T000000Z",
                "+X-MICROSOFT-CDO-ALLDAYEVENT:FALSE"
            ]
        );
    }

    #[test]
    fn an_instant_that_the_clock_shows_twice_is_said_in_utc() {
        let object = single(
            "DTSTART;TZID=Europe/Berlin:20261023T090000\nDTEND;TZID=Europe/Berlin:20261023T100000\n",
        );
        // 02:30 for the second time.
        let (start, end) = (utc("2026-10-25T01:30:00Z"), utc("2026-10-25T02:30:00Z"));
        let set = set_times(object.as_bytes(), None, &start, &end).unwrap();
        assert_eq!(
            difference(&object, set)[2..],
            ["+DTSTART:20261025T013000Z", "+DTEND;TZID=Europe/Berlin:20261025T033000"]
        );
    }

    #[test]
    fn an_override_is_made_from_its_master() {
        let named = zoned("Europe/Berlin", "2026-11-27T09:00:00");
        let end = zoned("Europe/Berlin", "2026-11-27T10:00:00");
        let added = add_override(OBJECT.as_bytes(), &named, &named, &end).unwrap();
        let differs = difference(OBJECT, added.clone());
        assert_eq!(
            differs[..6],
            [
                "+BEGIN:VEVENT",
                "+UID:1",
                "+DTSTART;X-A=1;TZID=W. Europe Standard Time:20261127T090000",
                "+RECURRENCE-ID;TZID=W. Europe Standard Time:20261127T090000",
                "+DTEND;TZID=W. Europe Standard Time:20261127T100000",
                "+SUMMARY:Stand-up",
            ]
        );
        assert!(differs.iter().all(|line| line.starts_with('+') && !line.contains("RRULE")));
        // It is there now.
        assert_eq!(add_override(&added, &named, &named, &end), Ok(added));
    }

    #[test]
    fn a_method_is_taken_out() {
        let message = OBJECT.replace("VERSION:2.0\r\n", "VERSION:2.0\r\nMETHOD:REQ\r\n UEST\r\n");
        assert_eq!(&*without_method(message.as_bytes()).unwrap(), OBJECT.as_bytes());
        assert!(matches!(without_method(OBJECT.as_bytes()), Ok(Cow::Borrowed(_))));
    }

    /// A message about one occurrence.
    fn message(lines: &str) -> String {
        format!("BEGIN:VCALENDAR\nMETHOD:REQUEST\nBEGIN:VTIMEZONE\nTZID:Asia/Tokyo\nBEGIN:STANDARD\n\
            DTSTART:19700101T000000\nTZOFFSETFROM:+0900\nTZOFFSETTO:+0900\nEND:STANDARD\nEND:VTIMEZONE\n\
            BEGIN:VTIMEZONE\nTZID:unused\nEND:VTIMEZONE\nBEGIN:VEVENT\nUID:1\n{lines}\nEND:VEVENT\nEND:VCALENDAR\n")
            .replace('\n', "\r\n")
    }

    #[test]
    fn a_message_about_an_occurrence_takes_the_place_of_what_was_known() {
        let update = message(
            "RECURRENCE-ID:20261124T080000Z\nDTSTART;TZID=Asia/Tokyo:20261124T200000\nX-B:1",
        );
        let merged = merge_occurrences(OBJECT.as_bytes(), update.as_bytes()).unwrap();
        let text = String::from_utf8(merged.clone()).unwrap();
        assert_eq!(text.matches("BEGIN:VEVENT").count(), 2);
        assert!(text.contains("BEGIN:VTIMEZONE\r\nTZID:Asia/Tokyo\r\n"));
        assert!(
            !text.contains("unused")
                && !text.contains("METHOD")
                && !text.contains("20261124T100000")
        );
        assert!(text.contains("X-B:1\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"));
        // The master is as it was.
        let master =
            &OBJECT[OBJECT.find("BEGIN:VEVENT").unwrap()..OBJECT.rfind("BEGIN:VEVENT").unwrap()];
        assert!(text.contains(master));
        assert_eq!(merge_occurrences(&merged, update.as_bytes()), Ok(merged));
    }

    #[test]
    fn a_message_about_another_occurrence_is_added_and_brings_it_back() {
        let new = message("RECURRENCE-ID:20261125T080000Z\nDTSTART:20261125T120000Z");
        let merged = merge_occurrences(OBJECT.as_bytes(), new.as_bytes()).unwrap();
        assert_eq!(
            difference(OBJECT, merged),
            [
                "-EXDATE;TZID=W. Europe Standard Time:20261125T090000,20261126T090000",
                "+EXDATE;TZID=W. Europe Standard Time:20261126T090000",
                "+BEGIN:VEVENT",
                "+UID:1",
                "+RECURRENCE-ID:20261125T080000Z",
                "+DTSTART:20261125T120000Z",
                "+END:VEVENT",
            ]
        );
    }

    #[test]
    fn what_cannot_be_merged_is_not() {
        let of = |message: &str| merge_occurrences(OBJECT.as_bytes(), message.as_bytes());
        let series = message("DTSTART:20261125T120000Z");
        assert_eq!(of(&series), Err(NotEdited::NoSuchComponent));
        let other = message("RECURRENCE-ID:20261125T080000Z\nDTSTART:20261125T120000Z")
            .replace("UID:1", "UID:2");
        assert_eq!(of(&other), Err(NotEdited::OtherEvent));
        // The same name for another zone.
        let conflict = message("RECURRENCE-ID:20261125T080000Z\nDTSTART;TZID=Zone:20261125T120000")
            .replace("Asia/Tokyo", "Zone");
        let known = OBJECT.replace(
            "BEGIN:VEVENT\r\nUID:1\r\nDTSTART",
            "BEGIN:VTIMEZONE\r\nTZID:Zone\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\n\
             TZOFFSETFROM:+0800\r\nTZOFFSETTO:+0800\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n\
             BEGIN:VEVENT\r\nUID:1\r\nDTSTART",
        );
        let merged = merge_occurrences(known.as_bytes(), conflict.as_bytes());
        assert_eq!(merged, Err(NotEdited::Contradicted));
    }

    #[test]
    fn an_occurrence_is_taken_out_with_its_override() {
        let named = utc("2026-11-24T08:00:00Z");
        let without = exclude_occurrence(OBJECT.as_bytes(), &named).unwrap();
        let differs = difference(OBJECT, without.clone());
        assert_eq!(differs[0], "+EXDATE;TZID=W. Europe Standard Time:20261124T090000");
        assert!(differs[1..].iter().all(|line| line.starts_with('-')) && differs.len() == 8);
        assert_eq!(exclude_occurrence(&without, &named), Ok(without));
        let day = single("DTSTART;VALUE=DATE:20261123\nRRULE:FREQ=DAILY\n");
        let named = Moment::Date("2026-11-24".parse().unwrap());
        assert_eq!(
            difference(&day, exclude_occurrence(day.as_bytes(), &named).unwrap()),
            ["+EXDATE;VALUE=DATE:20261124"]
        );
        let floating = single("DTSTART:20261123T090000\nRRULE:FREQ=DAILY\n");
        assert_eq!(
            difference(&floating, exclude_occurrence(floating.as_bytes(), &named).unwrap()),
            ["+EXDATE:20261124T090000"]
        );
        let no_series = single("DTSTART:20261123T090000\n");
        let refused = exclude_occurrence(no_series.as_bytes(), &named);
        assert_eq!(refused, Err(NotEdited::NoSuchComponent));
    }

    #[test]
    fn attendees_of_two_versions_are_put_together() {
        let other = OBJECT
            .replace(
                "ATTENDEE:mailto:grady@contoso.example\r\n",
                "ATTENDEE;CN=Joni;RSVP=T\r\n RUE:mailto:joni@contoso.example\r\n",
            )
            .replace(
                "ATTENDEE:MAILTO:Alex@contoso.example\r\n",
                "ATTENDEE:urn:uuid:7\r\nATTENDEE:urn:UUID:7\r\n",
            );
        let united = union_of_attendees(OBJECT.as_bytes(), other.as_bytes()).unwrap();
        assert!(united.windows(5).any(|w| w == b"=T\r\n "), "the line as it was written");
        assert_eq!(
            difference(OBJECT, united),
            ["+ATTENDEE;CN=Joni;RSVP=TRUE:mailto:joni@contoso.example", "+ATTENDEE:urn:uuid:7"]
        );
        let mut other = other.replace("UID:1", "UID:2");
        assert_eq!(
            union_of_attendees(OBJECT.as_bytes(), other.as_bytes()),
            Err(NotEdited::OtherEvent)
        );
        other = single("DTSTART:20261123T090000Z\nATTENDEE:mailto:joni@contoso.example\n");
        let bare = single("DTSTART:20261123T090000Z\n");
        let united = union_of_attendees(bare.as_bytes(), other.as_bytes()).unwrap();
        assert_eq!(difference(&bare, united), ["+ATTENDEE:mailto:joni@contoso.example"]);
    }

    #[test]
    fn an_object_in_windows_1252_comes_out_in_utf_8() {
        let latin = b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART:20261123T090000Z\r\n\
            SUMMARY:Gespr\xe4ch\r\nATTENDEE:mailto:alex@contoso.example\r\nEND:VEVENT\r\n\
            END:VCALENDAR\r\n";
        let set = set_answer(latin, Which::All, &alex(), Some(PartStat::Accepted), None).unwrap();
        let text = String::from_utf8(set).unwrap();
        assert!(text.contains("SUMMARY:Gespr\u{e4}ch\r\nATTENDEE;PARTSTAT=ACCEPTED:mailto:alex"));
    }

    // --- any object ------------------------------------------------------------------------------

    /// Lines that nobody here understands, as they may be written.
    fn other_lines() -> impl Strategy<Value = Vec<String>> {
        let line = prop::sample::select(vec![
            "SUMMARY:Caf\u{e9}",
            "X-LONG;X-P=\"a;b:c\";x=1:0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 01",
            "DESCRIPTION:a\\nb\\, c",
            "x-lower:1",
            "ATTENDEE;CN=\"Grady; A:\";PARTSTAT=TENTATIVE:mailto:grady@contoso.example",
            "ATTENDEE:urn:uuid:7",
            "CATEGORIES:",
            "no line at all",
            "BEGIN:VALARM\u{0}TRIGGER:-PT5M\u{0}ATTENDEE:mailto:alex@contoso.example\u{0}END:VALARM",
        ]);
        let end = prop::sample::select(vec!["\r\n", "\n"]);
        let fold = prop::option::of(3..20_usize);
        let written = (line, end, fold).prop_map(|(line, end, fold)| {
            let mut text = String::new();
            for line in line.split('\0') {
                for (at, c) in line.chars().enumerate() {
                    if fold.is_some_and(|fold| at > 0 && at % fold == 0) {
                        text += &format!("{end} ");
                    }
                    text.push(c);
                }
                text += end;
            }
            text
        });
        prop::collection::vec(written, 0..6)
    }

    /// The octets of every content line.
    fn lines(octets: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        let mut from = 0;
        super::super::unfold::unfold_placed(octets, |to| {
            lines.push(octets[from..to].to_vec());
            from = to;
        });
        lines
    }

    proptest! {
        #[test]
        fn what_was_not_edited_is_octet_for_octet_the_same(
            before in other_lines(),
            between in other_lines(),
            after in other_lines(),
            address in prop::sample::select(vec!["mailto:alex@contoso.example", "MAILTO:Alex@Contoso.Example"]),
            parameters in prop::sample::select(vec!["", ";PARTSTAT=DECLINED", ";x=\";:\";partstat=x;RSVP=TRUE"]),
        ) {
            let (before, between, after) = (before.concat(), between.concat(), after.concat());
            let object = format!(
                "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\nUID:1\r\n{before}DTSTART:20261123T090000Z\n{between}\
                 ATTENDEE{parameters}:{address}\r\n{after}END:VEVENT\r\nEND:VCALENDAR"
            );
            let accepted = Some(PartStat::Accepted);
            let edited = set_answer(object.as_bytes(), Which::All, &alex(), accepted, None).unwrap();
            let (old, new) = (lines(object.as_bytes()), lines(&edited));
            prop_assert_eq!(old.len(), new.len());
            let changed: Vec<usize> = (0..old.len()).filter(|at| old[*at] != new[*at]).collect();
            prop_assert_eq!(changed.len(), 1);
            prop_assert!(new[changed[0]].starts_with(b"ATTENDEE"));
            let event = &read(&edited).unwrap().events[0];
            let attendees = &event.master.as_ref().unwrap().attendees;
            let set = attendees.iter().find(|a| a.address.same_mailbox(&alex())).unwrap();
            prop_assert_eq!(set.partstat, PartStat::Accepted);

            // And when it is.
            let (start, end) = (utc("2026-12-01T10:00:00Z"), utc("2026-12-01T11:00:00Z"));
            let moved = set_times(&edited, None, &start, &end).unwrap();
            let newer = lines(&moved);
            let kept: Vec<_> = newer
                .iter()
                .filter(|line| !line.starts_with(b"DTSTART") && !line.starts_with(b"DTEND"))
                .collect();
            let were: Vec<_> = new.iter().filter(|line| !line.starts_with(b"DTSTART")).collect();
            prop_assert_eq!(kept, were);
            let event = &read(&moved).unwrap().events[0];
            prop_assert!(is_at(event.master.as_ref().unwrap(), &start, &end));
        }

        #[test]
        fn any_two_octet_strings_are_answered(
            a in prop::collection::vec(any::<u8>(), 0..80),
            b in prop::collection::vec(any::<u8>(), 0..80),
            framed in any::<bool>(),
        ) {
            let whole = |octets: Vec<u8>| match framed {
                false => octets,
                true => {
                    let front = b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART:20261123T090000Z\r\n";
                    [front, octets.as_slice(), b"\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"].concat()
                }
            };
            let (a, b) = (whole(a), whole(b));
            let at = utc("2026-11-23T09:00:00Z");
            let _ = set_answer(&a, Which::All, &alex(), Some(PartStat::Accepted), Some("2.0"));
            let _ = set_times(&a, None, &at, &at);
            let _ = without_method(&a);
            let _ = exclude_occurrence(&a, &at);
            let _ = add_override(&a, &at, &at, &at);
            let _ = merge_occurrences(&a, &b);
            if let Ok(united) = union_of_attendees(&a, &b) {
                prop_assert!(united.len() <= a.len() * 3 + b.len());
            }
        }
    }
}
