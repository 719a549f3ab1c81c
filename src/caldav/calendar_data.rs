//! What a report gives of an object: all of it, some of its series, some of its lines. Pure.
//!
//! RFC 4791 §9.6. What is given of a line is its octets; only what an expanded series must say otherwise is
//! written anew. An object that cannot be expanded is not given by halves: it is an error, and says why.

use std::borrow::Cow;
use std::ops::Range;

use jiff::tz::TimeZone;

use super::kept::{self, Kept, Which};
use super::range::{TimeRange, utc};
use crate::ical::{self, Component, Moment, Unfolded};
use crate::recurrence::{self, Instance, NotListed};

/// Largest object that a series is expanded to, in octets.
const EXPANDED_OCTETS_MAX: usize = 4 * 1024 * 1024;

/// C:calendar-data as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarData {
    pub recurring: Recurring,
    /// `None`: all of it.
    pub selection: Option<Selection>,
}

/// What becomes of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recurring {
    AsKept,
    /// RFC 4791 §9.6.5: each occurrence in the range as a component of its own, in UTC.
    Expand(TimeRange),
    /// RFC 4791 §9.6.6: without the overrides that have nothing to do with the range.
    Limit(TimeRange),
}

/// RFC 4791 §9.6.1: C:comp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    pub name: String,
    /// `None`: all.
    pub properties: Option<Vec<Selected>>,
    /// `None`: all, whole.
    pub components: Option<Vec<Selection>>,
}

/// RFC 4791 §9.6.4: C:prop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    pub name: String,
    /// Name and parameters alone.
    pub without_value: bool,
}

impl CalendarData {
    /// What is given of an object. `floating` is the zone of days and of times without one.
    pub fn of<'k>(&self, kept: &'k Kept, floating: &TimeZone) -> Result<Cow<'k, [u8]>, NotListed> {
        let given = match self.recurring {
            Recurring::AsKept => Cow::Borrowed(kept.octets()),
            Recurring::Expand(range) => Cow::Owned(expanded(kept, &range, floating)?),
            Recurring::Limit(range) => Cow::Owned(limited(kept, &range, floating)),
        };
        Ok(match &self.selection {
            None => given,
            Some(selection) => match selected(&given, selection) {
                Some(selected) => Cow::Owned(selected),
                None => given,
            },
        })
    }
}

/// RFC 4791 §9.6.5. Each occurrence is its component, but for when it is; zones and rules are gone.
fn expanded(kept: &Kept, range: &TimeRange, floating: &TimeZone) -> Result<Vec<u8>, NotListed> {
    let event = kept.event();
    // It was read before.
    let calendar = kept.calendar().map_err(|_| NotListed::Unsupported)?;
    let vevents: Vec<(Option<Which>, &Component<'_>)> =
        calendar.named("VEVENT").enumerate().map(|(at, part)| (kept.vevent(at), part)).collect();
    let recurs = event.master.as_ref().is_some_and(|master| master.recurrence.is_some());

    let mut output = Lines { octets: kept.octets(), written: Vec::new() };
    output.copy(&calendar.begin);
    calendar.properties.iter().for_each(|property| output.copy(&property.octets));
    for instance in kept::instances(event, range, floating)? {
        let which = instance.overridden.map_or(Which::Master, Which::Override);
        if let Some((_, vevent)) = vevents.iter().rfind(|(is, _)| *is == Some(which)) {
            let named = recurs || instance.overridden.is_some();
            output.occurrence(vevent, &instance, named);
        }
        if output.written.len() > EXPANDED_OCTETS_MAX {
            return Err(NotListed::TooMany);
        }
    }
    output.copy(&calendar.end);
    Ok(output.written)
}

/// An object that is written anew from the lines of another.
struct Lines<'o> {
    octets: &'o [u8],
    written: Vec<u8>,
}

impl Lines<'_> {
    fn copy(&mut self, place: &Range<usize>) {
        let octets = self.octets.get(place.clone()).unwrap_or_default();
        self.written.extend_from_slice(octets);
        // The last line of a file.
        if !octets.ends_with(b"\n") && !octets.ends_with(b"\r") {
            self.written.extend_from_slice(b"\r\n");
        }
    }

    fn line(&mut self, line: &str) {
        ical::fold(line.as_bytes(), b"\r\n", &mut self.written);
    }

    fn occurrence(&mut self, vevent: &Component<'_>, instance: &Instance, named: bool) {
        self.copy(&vevent.begin);
        let mut ended = false;
        for property in &vevent.properties {
            let line = &property.line;
            if ["RRULE", "RDATE", "EXDATE", "EXRULE", "RECURRENCE-ID"].iter().any(|n| line.is(n)) {
                continue;
            }
            if line.is("DTSTART") {
                self.dated("DTSTART", &instance.start);
                if named {
                    self.dated("RECURRENCE-ID", &instance.recurrence_id);
                }
            } else if line.is("DTEND") || line.is("DURATION") {
                if !ended {
                    self.dated("DTEND", &instance.end);
                }
                ended = true;
            } else if line.parameter("TZID").is_none() {
                // The others would name a zone that is not there.
                self.copy(&property.octets);
            }
        }
        vevent.components.iter().for_each(|component| self.copy(&component.octets));
        self.copy(&vevent.end);
    }

    /// "Date and local time with reference to time zone information" becomes UTC; days and times that
    /// refer to none stay what they are.
    fn dated(&mut self, name: &str, moment: &Moment) {
        match moment {
            Moment::Date(date) => {
                let (year, month, day) = (date.year(), date.month(), date.day());
                self.line(&format!("{name};VALUE=DATE:{year:04}{month:02}{day:02}"));
            }
            Moment::Floating(local) => {
                let as_utc = recurrence::instant(*local, &TimeZone::UTC).map(utc);
                let local = as_utc.as_deref().unwrap_or_default().trim_end_matches('Z');
                self.line(&format!("{name}:{local}"));
            }
            Moment::Zoned { local, zone } => {
                if let Some(at) = recurrence::instant(*local, &zone.rules) {
                    self.line(&format!("{name}:{}", utc(at)));
                }
            }
        }
    }
}

/// RFC 4791 §9.6.6: an override stays if the range has the time that it names, or the one that the series
/// would have given.
fn limited(kept: &Kept, range: &TimeRange, floating: &TimeZone) -> Vec<u8> {
    let event = kept.event();
    let in_range = |start: &Moment, end: &Moment| {
        let times = kept::at(start, floating).zip(kept::at(end, floating));
        times.is_none_or(|(start, end)| range.overlaps(start, end))
    };
    let stays = |which: Option<Which>| {
        let Some(Which::Override(at)) = which else { return true };
        let Some(change) = event.overrides.get(at) else { return true };
        let given = event
            .master
            .as_ref()
            .and_then(|master| recurrence::given(master, &change.recurrence_id, floating));
        change.and_future
            || in_range(&change.occurrence.start, &change.occurrence.end)
            || given.is_some_and(|given| in_range(&given.start, &given.end))
    };
    let Ok(calendar) = kept.calendar() else { return kept.octets().to_vec() };
    let mut written = Vec::with_capacity(kept.octets().len());
    let mut from = 0;
    for (at, vevent) in calendar.named("VEVENT").enumerate() {
        if !stays(kept.vevent(at)) {
            written.extend_from_slice(
                kept.octets().get(from..vevent.octets.start).unwrap_or_default(),
            );
            from = vevent.octets.end;
        }
    }
    written.extend_from_slice(kept.octets().get(from..).unwrap_or_default());
    written
}

/// RFC 4791 §9.6.1. `None`: it does not begin with VCALENDAR, and so selects nothing.
fn selected(octets: &[u8], selection: &Selection) -> Option<Vec<u8>> {
    let unfolded = Unfolded::of(octets);
    let calendar = unfolded.calendar().ok()?;
    if !calendar.is(&selection.name) {
        return None;
    }
    let mut output = Lines { octets, written: Vec::new() };
    output.selected(&calendar, selection);
    Some(output.written)
}

impl Lines<'_> {
    /// Not deeper than the object nests.
    fn selected(&mut self, component: &Component<'_>, selection: &Selection) {
        self.copy(&component.begin);
        for property in &component.properties {
            let line = &property.line;
            match &selection.properties {
                None => self.copy(&property.octets),
                Some(names) => match names.iter().find(|selected| line.is(&selected.name)) {
                    None => {}
                    Some(Selected { without_value: true, .. }) => {
                        self.line(&format!("{}{}:", line.name, line.params));
                    }
                    Some(_) => self.copy(&property.octets),
                },
            }
        }
        for within in &component.components {
            match &selection.components {
                None => self.copy(&within.octets),
                Some(selections) => {
                    if let Some(selection) = selections.iter().find(|s| within.is(&s.name)) {
                        self.selected(within, selection);
                    }
                }
            }
        }
        self.copy(&component.end);
    }
}

#[cfg(test)]
mod tests {
    use super::super::range::instant;
    use super::*;

    const SERIES: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//a//b\r\nBEGIN:VTIMEZONE\r\n\
        TZID:Europe/Berlin\r\nEND:VTIMEZONE\r\n\
        BEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20261101T000000Z\r\nDTSTART;TZID=Europe/Berlin:20261023T090000\r\n\
        DURATION:PT1H\r\nRRULE:FREQ=DAILY\r\nEXDATE;TZID=Europe/Berlin:20261024T090000\r\n\
        X-AT;TZID=Europe/Berlin:20261023T090000\r\nSUMMARY:fol\r\n ded\r\n\
        BEGIN:VALARM\r\nTRIGGER:-PT5M\r\nEND:VALARM\r\nEND:VEVENT\r\n\
        BEGIN:VEVENT\r\nUID:1\r\nRECURRENCE-ID;TZID=Europe/Berlin:20261026T090000\r\n\
        DTSTART;TZID=Europe/Berlin:20261224T090000\r\nDTEND;TZID=Europe/Berlin:20261224T100000\r\n\
        SUMMARY:moved\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";

    fn range(text: &str) -> TimeRange {
        let (start, end) = text.split_once('/').unwrap();
        TimeRange::new(instant(start), instant(end)).unwrap()
    }

    fn given(object: &str, recurring: Recurring, selection: Option<Selection>) -> String {
        let kept = Kept::read(object.as_bytes()).unwrap();
        let data = CalendarData { recurring, selection };
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let given = data.of(&kept, &zone).unwrap().into_owned();
        let given = String::from_utf8(given).unwrap();
        if given.contains("VEVENT") && data.selection.is_none() {
            ical::read(given.as_bytes()).unwrap();
        }
        given.replace("\r\n", "\n")
    }

    #[test]
    fn a_series_is_expanded_to_its_occurrences_in_utc() {
        let october = Recurring::Expand(range("20261023T000000Z/20261027T000000Z"));
        assert_eq!(
            given(SERIES, october, None),
            "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//a//b\n\
             BEGIN:VEVENT\nUID:1\nDTSTAMP:20261101T000000Z\nDTSTART:20261023T070000Z\n\
             RECURRENCE-ID:20261023T070000Z\nDTEND:20261023T080000Z\nSUMMARY:fol\n ded\n\
             BEGIN:VALARM\nTRIGGER:-PT5M\nEND:VALARM\nEND:VEVENT\n\
             BEGIN:VEVENT\nUID:1\nDTSTAMP:20261101T000000Z\nDTSTART:20261025T080000Z\n\
             RECURRENCE-ID:20261025T080000Z\nDTEND:20261025T090000Z\nSUMMARY:fol\n ded\n\
             BEGIN:VALARM\nTRIGGER:-PT5M\nEND:VALARM\nEND:VEVENT\nEND:VCALENDAR\n"
        );
        let december = Recurring::Expand(range("20261224T083000Z/20261224T090000Z"));
        assert_eq!(
            given(SERIES, december, None).matches("SUMMARY:moved\n").count(),
            1,
            "an override is where it was moved to"
        );
        assert!(given(SERIES, december, None).contains("\nRECURRENCE-ID:20261026T080000Z\n"));
        let before = Recurring::Expand(range("20260101T000000Z/20260201T000000Z"));
        assert_eq!(
            given(SERIES, before, None),
            "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//a//b\nEND:VCALENDAR\n"
        );
    }

    #[test]
    fn what_is_no_series_is_put_in_utc_and_named_no_occurrence() {
        let of = |lines: &str| {
            let object = format!(
                "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\n{lines}\r\nEND:VEVENT\r\nEND:VCALENDAR"
            );
            let all = Recurring::Expand(range("20260101T000000Z/20270101T000000Z"));
            given(&object, all, None)
        };
        let event = |lines: &str| {
            format!("BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:1\n{lines}\nEND:VEVENT\nEND:VCALENDAR\n")
        };
        assert_eq!(
            of(
                "DTEND;TZID=America/New_York:20261123T100000\r\nDTSTART;TZID=Europe/Berlin:20261123T090000"
            ),
            event("DTEND:20261123T150000Z\nDTSTART:20261123T080000Z")
        );
        assert_eq!(of("DTSTART;VALUE=DATE:20261123"), event("DTSTART;VALUE=DATE:20261123"));
        assert_eq!(
            of("DTSTART;VALUE=DATE:20261123\r\nDURATION:P2D"),
            event("DTSTART;VALUE=DATE:20261123\nDTEND;VALUE=DATE:20261125")
        );
        assert_eq!(of("DTSTART:20261123T090000"), event("DTSTART:20261123T090000"));
        assert_eq!(
            of("DTSTART;VALUE=DATE:20261123\r\nRRULE:FREQ=DAILY;COUNT=1"),
            event("DTSTART;VALUE=DATE:20261123\nRECURRENCE-ID;VALUE=DATE:20261123")
        );
    }

    #[test]
    fn a_series_that_cannot_be_listed_is_not_given_by_halves() {
        let kept = Kept::read(SERIES.as_bytes()).unwrap();
        let years = Recurring::Expand(range("20261023T000000Z/20361023T000000Z"));
        let data = CalendarData { recurring: years, selection: None };
        assert_eq!(data.of(&kept, &TimeZone::UTC), Err(NotListed::TooMany));
        let hourly = SERIES.replace("FREQ=DAILY", "FREQ=HOURLY");
        let kept = Kept::read(hourly.as_bytes()).unwrap();
        let day = Recurring::Expand(range("20261023T000000Z/20261024T000000Z"));
        let data = CalendarData { recurring: day, selection: None };
        assert_eq!(data.of(&kept, &TimeZone::UTC), Err(NotListed::Unsupported));
        // Few, but each of them large.
        let large =
            SERIES.replace("SUMMARY:fol", &format!("X-A:{}\r\nSUMMARY:fol", "x".repeat(60_000)));
        let kept = Kept::read(large.as_bytes()).unwrap();
        let months = Recurring::Expand(range("20261023T000000Z/20270223T000000Z"));
        let data = CalendarData { recurring: months, selection: None };
        assert_eq!(data.of(&kept, &TimeZone::UTC), Err(NotListed::TooMany));
    }

    #[test]
    fn overrides_that_have_nothing_to_do_with_the_range_are_left_out() {
        let limit = |at| given(SERIES, Recurring::Limit(range(at)), None);
        let whole = SERIES.replace("\r\n", "\n");
        // Where it is, and where it would have been.
        assert_eq!(limit("20261224T000000Z/20261225T000000Z"), whole);
        assert_eq!(limit("20261026T080000Z/20261026T083000Z"), whole);
        let without = limit("20261101T000000Z/20261201T000000Z");
        assert!(!without.contains("moved") && without.contains("RRULE"));
        assert_eq!(without.lines().count() + 7, whole.lines().count());
        // One that changes all that comes after it has to do with all of it.
        let future = SERIES.replace("RECURRENCE-ID;", "RECURRENCE-ID;RANGE=THISANDFUTURE;");
        let later = Recurring::Limit(range("20271101T000000Z/20271201T000000Z"));
        assert_eq!(given(&future, later, None), future.replace("\r\n", "\n"));
    }

    fn selection(name: &str, properties: &[&str], components: Vec<Selection>) -> Selection {
        let properties = properties.iter().map(|name| {
            let without_value = name.starts_with('!');
            Selected { name: name.trim_start_matches('!').to_owned(), without_value }
        });
        let (properties, components) = (Some(properties.collect()), Some(components));
        Selection { name: name.to_owned(), properties, components }
    }

    #[test]
    fn the_lines_that_were_selected_are_given() {
        let zone = Selection { name: "VTIMEZONE".to_owned(), properties: None, components: None };
        let event = selection("VEVENT", &["uid", "SUMMARY", "!DTSTART"], vec![]);
        let all = selection("VCALENDAR", &["VERSION"], vec![zone, event]);
        assert_eq!(
            given(SERIES, Recurring::AsKept, Some(all)),
            "BEGIN:VCALENDAR\nVERSION:2.0\nBEGIN:VTIMEZONE\nTZID:Europe/Berlin\nEND:VTIMEZONE\n\
             BEGIN:VEVENT\nUID:1\nDTSTART;TZID=Europe/Berlin:\nSUMMARY:fol\n ded\nEND:VEVENT\n\
             BEGIN:VEVENT\nUID:1\nDTSTART;TZID=Europe/Berlin:\nSUMMARY:moved\nEND:VEVENT\n\
             END:VCALENDAR\n"
        );
        let whole = given(SERIES, Recurring::AsKept, None);
        assert_eq!(whole, SERIES.replace("\r\n", "\n"));
        let none = selection("VEVENT", &[], vec![]);
        assert_eq!(given(SERIES, Recurring::AsKept, Some(none)), whole);
    }
}
