//! Changes to an object that leave all of its other octets as they are. Pure.
//!
//! RFC 5545 §3.1, §3.8.4.4, §3.8.5.1; RFC 6638 §7.3 (SCHEDULE-STATUS); RFC 7809 (zones by name alone). What
//! a client wrote and nobody here understands must survive, so nothing is composed anew but the lines that
//! change. Every change is read again: what comes out is an object that says what was set, or an error.

use std::borrow::Cow;
use std::ops::Range;

use jiff::civil::DateTime;

pub use super::edit_answers::{set_answer, union_of_attendees, without_attendees};
pub use super::edit_occurrences::{add_override, exclude_occurrence, merge_occurrences};
pub use super::edit_times::set_times;

use super::component::{Component, Property, Unfolded};
use super::fold::fold;
use super::unfold::{Line, utf_8};
use super::{Event, Moment, Occurrence, Unreadable, Zone, moment, read};

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

/// An object that is read both ways.
pub(super) struct Object {
    pub(super) event: Event,
    pub(super) unfolded: Unfolded,
    /// Of each VEVENT, which override it is.
    pub(super) which: Vec<Option<usize>>,
}

impl Object {
    /// An object of one event.
    pub(super) fn read(octets: &[u8]) -> Result<Object, NotEdited> {
        let object = read(octets)?;
        let which = object.vevents.iter().map(|vevent| vevent.overridden).collect();
        let mut events = object.events.into_iter();
        match (events.next(), events.next()) {
            (Some(event), None) => Ok(Object { event, unfolded: Unfolded::of(octets), which }),
            _ => Err(NotEdited::OtherEvent),
        }
    }

    pub(super) fn calendar(&self) -> Result<Component<'_>, NotEdited> {
        Ok(self.unfolded.calendar()?)
    }

    /// Every VEVENT, and which override it is.
    pub(super) fn all<'c>(
        &self,
        calendar: &'c Component<'c>,
    ) -> impl Iterator<Item = (Option<usize>, &'c Component<'c>)> {
        self.which.iter().copied().zip(calendar.named("VEVENT"))
    }

    pub(super) fn vevents<'c>(
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
    pub(super) fn occurrence(&self, place: Option<usize>) -> Option<&Occurrence> {
        match place {
            None => self.event.master.as_ref(),
            Some(place) => self.event.overrides.get(place).map(|change| &change.occurrence),
        }
    }

    pub(super) fn master<'c>(
        &self,
        calendar: &'c Component<'c>,
    ) -> Result<(&'c Component<'c>, &Occurrence), NotEdited> {
        let (_, master) =
            *self.vevents(calendar, Which::Master).last().ok_or(NotEdited::NoSuchComponent)?;
        Ok((master, self.event.master.as_ref().ok_or(NotEdited::NoSuchComponent)?))
    }
}

/// The event of an object that was changed.
pub(super) fn read_again(octets: &[u8]) -> Result<Event, NotEdited> {
    Ok(Object::read(octets)?.event)
}

/// Whether two names of occurrences mean the same one of a series.
pub(super) fn is_same(a: &Moment, b: &Moment, event: &Event) -> bool {
    let (a, b) = match &event.master {
        Some(master) => (like_start(a, &master.start), like_start(b, &master.start)),
        None => (a.clone(), b.clone()),
    };
    let same_kind = std::mem::discriminant(&a) == std::mem::discriminant(&b);
    same_kind && moment::instant(&a).is_some() && moment::instant(&a) == moment::instant(&b)
}

/// A name of an occurrence in the terms of the series: RFC 5545 §3.8.4.4 wants them to be alike, and not
/// everybody cares.
pub(super) fn like_start(named: &Moment, start: &Moment) -> Moment {
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

/// Octets that take the place of others.
pub(super) struct Patch {
    pub(super) at: Range<usize>,
    pub(super) with: Vec<u8>,
}

impl Patch {
    pub(super) fn removal(at: &Range<usize>) -> Patch {
        Patch { at: at.clone(), with: Vec::new() }
    }

    /// Another text for a line, with the line end that it has; nothing where it is the same text.
    pub(super) fn line(octets: &[u8], property: &Property<'_>, text: &str) -> Option<Patch> {
        if text == property.line.text {
            return None;
        }
        let mut with = Vec::new();
        fold(text.as_bytes(), line_end(slice(octets, &property.octets)), &mut with);
        Some(Patch { at: property.octets.clone(), with })
    }

    /// A line more, with the line end of the one before it.
    pub(super) fn insertion(octets: &[u8], after: usize, text: &str) -> Patch {
        let mut with = Vec::new();
        fold(text.as_bytes(), line_end(slice(octets, &(0..after))), &mut with);
        Patch { at: after..after, with }
    }
}

/// Makes changes that do not overlap. Of those at one place, the first goes first, and what is added goes
/// before what is replaced.
pub(super) fn apply(octets: &[u8], mut patches: Vec<Patch>) -> Vec<u8> {
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

pub(super) fn slice<'o>(octets: &'o [u8], at: &Range<usize>) -> &'o [u8] {
    octets.get(at.clone()).unwrap_or_default()
}

/// How these lines end; CRLF where they do not.
pub(super) fn line_end(octets: &[u8]) -> &'static [u8] {
    match octets {
        [.., b'\r', b'\n'] => b"\r\n",
        [.., b'\n'] => b"\n",
        [.., b'\r'] => b"\r",
        _ => b"\r\n",
    }
}

pub(super) fn with_line_end(octets: &[u8]) -> Vec<u8> {
    let mut whole = octets.to_vec();
    if !octets.ends_with(b"\n") && !octets.ends_with(b"\r") {
        whole.extend_from_slice(b"\r\n");
    }
    whole
}

/// A line's text with a parameter set, where it stands or at the end, or (`None`) taken out. All others
/// stay as they are written.
pub(super) fn with_parameter(text: &str, name: &str, value: Option<&str>) -> String {
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
pub(super) fn parameter_value(value: &str) -> String {
    let plain: String = value.chars().filter(|c| *c != '"' && !c.is_control()).collect();
    match plain.contains([':', ';', ',']) {
        true => format!("\"{plain}\""),
        false => plain,
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;
    use crate::account::Address;
    use crate::ical::PartStat;
    use crate::ical::edit_times::is_at;

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
    fn whoever_is_taken_off_is_on_no_component() {
        let off = [&alex()];
        let left = without_attendees(OBJECT.as_bytes(), &off).unwrap();
        let left = String::from_utf8(left).unwrap();
        assert!(!left.to_lowercase().contains("mailto:alex@contoso.example"), "{left}");
        assert_eq!(without_attendees(left.as_bytes(), &off).unwrap(), left.as_bytes());
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
