//! What a calendar object must be to be kept, and its entity tag. Pure.
//!
//! RFC 4791 §4.1, §5.3.2.1; RFC 6638 §3.2.4.2. The reader of invites ([`crate::ical`]) is lenient, because a
//! mail that it refuses is still a mail. What is kept here is given to every client as it is, so it is held
//! to more: it must be one event, said once.

use aws_lc_rs::digest;

use super::condition::Condition;
use crate::ical::{self, ATTENDEES_MAX, Component, Event, OCTETS_MAX, Unfolded, Unreadable};

/// Why an object is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    pub condition: Condition,
    /// In words for the log; holds no text from outside that is longer than a line.
    pub why: String,
}

impl Unfit {
    fn new(condition: Condition, why: impl Into<String>) -> Unfit {
        Unfit { condition, why: why.into() }
    }
}

/// Whether a Content-Type is that of a calendar object: CALDAV:supported-calendar-data.
pub fn check_content_type(value: Option<&str>) -> Result<(), Condition> {
    // Quirk(scripts): none at all. The object says itself what it is.
    let Some(value) = value else { return Ok(()) };
    let mut parts = value.split(';').map(str::trim);
    let is_calendar = parts.next().is_some_and(|part| part.eq_ignore_ascii_case("text/calendar"));
    let fits = parts.filter_map(|part| part.split_once('=')).all(|(name, value)| {
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "charset" => {
                ["utf-8", "utf8", "us-ascii"].iter().any(|c| c.eq_ignore_ascii_case(value))
            }
            "version" => value == "2.0",
            _ => true,
        }
    });
    if is_calendar && fits { Ok(()) } else { Err(Condition::SupportedCalendarData) }
}

/// Reads the body of a PUT.
pub fn read(octets: &[u8]) -> Result<Event, Unfit> {
    use Condition::{
        MaxAttendeesPerInstance, MaxResourceSize, SameOrganizerInAllComponents, ValidCalendarData,
        ValidCalendarObjectResource,
    };
    if octets.len() > OCTETS_MAX {
        return Err(Unfit::new(MaxResourceSize, format!("it is larger than {OCTETS_MAX} octets")));
    }
    // RFC 5545 §3.1.4: there is nothing beside it that could say otherwise.
    if std::str::from_utf8(octets).is_err() {
        return Err(Unfit::new(ValidCalendarData, "it is not UTF-8"));
    }
    let invalid = |why: Unreadable| Unfit::new(ValidCalendarData, why.why);
    let unfolded = Unfolded::of(octets);
    if unfolded.attendees_max() > ATTENDEES_MAX {
        let why = format!("more than {ATTENDEES_MAX} attendees");
        return Err(Unfit::new(MaxAttendeesPerInstance, why));
    }
    let calendar = unfolded.calendar().map_err(invalid)?;
    check_place(octets, &calendar)?;
    if calendar.property("METHOD").is_some() {
        return Err(Unfit::new(ValidCalendarObjectResource, "it has a METHOD"));
    }
    check_components(&calendar)?;

    let object = ical::read(octets).map_err(invalid)?;
    for (at, vevent) in object.vevents.iter().enumerate() {
        if object.vevents.iter().skip(at + 1).any(|other| other == vevent) {
            let why = "two components describe the same occurrence";
            return Err(Unfit::new(ValidCalendarObjectResource, why));
        }
    }
    let mut events = object.events.into_iter();
    let (Some(event), None) = (events.next(), events.next()) else {
        return Err(Unfit::new(ValidCalendarObjectResource, "it holds more than one UID"));
    };
    if !has_one_organizer(&calendar) {
        let why = "its components have different organizers";
        return Err(Unfit::new(SameOrganizerInAllComponents, why));
    }
    Ok(event)
}

/// Nothing stands before and after it, as it may in a mail.
fn check_place(octets: &[u8], calendar: &Component<'_>) -> Result<(), Unfit> {
    let before = octets.get(..calendar.octets.start).unwrap_or_default();
    let before = before.strip_prefix(b"\xef\xbb\xbf").unwrap_or(before);
    let after = octets.get(calendar.octets.end..).unwrap_or_default();
    match before.trim_ascii().is_empty() && after.trim_ascii().is_empty() {
        true => Ok(()),
        false => Err(Unfit::new(Condition::ValidCalendarData, "it is more than a VCALENDAR")),
    }
}

/// RFC 4791 §4.1: components of one type, and VTIMEZONE.
fn check_components(calendar: &Component<'_>) -> Result<(), Unfit> {
    const OTHERS: [&str; 5] = ["VTODO", "VJOURNAL", "VFREEBUSY", "VAVAILABILITY", "VPOLL"];
    let events = calendar.named("VEVENT").count();
    let others = calendar.components.iter().any(|part| OTHERS.iter().any(|other| part.is(other)));
    match (events, others) {
        (0, true) => {
            Err(Unfit::new(Condition::SupportedCalendarComponent, "its components are not events"))
        }
        (0, false) => Err(Unfit::new(Condition::ValidCalendarObjectResource, "it holds no VEVENT")),
        (_, true) => {
            let why = "it holds components of more than one type";
            Err(Unfit::new(Condition::ValidCalendarObjectResource, why))
        }
        (_, false) => Ok(()),
    }
}

/// RFC 6638 §3.2.4.2: in all components that have one.
fn has_one_organizer(calendar: &Component<'_>) -> bool {
    let mut organizers = calendar
        .named("VEVENT")
        .filter_map(|vevent| vevent.property("ORGANIZER"))
        .map(|organizer| organizer.line.value.trim().to_lowercase());
    let first = organizers.next();
    organizers.all(|organizer| Some(&organizer) == first.as_ref())
}

/// RFC 9110 §8.8.3: a strong entity tag, quotes and all. Equal octets have equal tags, so a PUT that is
/// repeated gets the same answer.
pub fn etag(octets: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, octets);
    let hex: String = digest.as_ref().iter().take(16).map(|octet| format!("{octet:02x}")).collect();
    format!("\"{hex}\"")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn calendar(components: &str) -> String {
        format!("BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\n{components}END:VCALENDAR\n")
            .replace('\n', "\r\n")
    }

    fn vevent(lines: &str) -> String {
        format!("BEGIN:VEVENT\nUID:1\nDTSTART:20261123T090000Z\n{lines}END:VEVENT\n")
    }

    #[track_caller]
    fn refused(octets: &[u8], expected: Condition) {
        match read(octets) {
            Err(unfit) => assert_eq!(unfit.condition, expected, "{}", unfit.why),
            Ok(_) => panic!("{} was accepted", String::from_utf8_lossy(octets)),
        }
    }

    #[test]
    fn an_event_is_kept_as_it_came() {
        let text = calendar(&vevent("SUMMARY:x\nX-ANY:y\n"));
        let event = read(text.as_bytes()).unwrap();
        assert_eq!((event.uid.as_str(), &*event.octets), ("1", text.as_bytes()));
        let marked = format!("\u{feff}{text}\r\n");
        assert!(read(marked.as_bytes()).is_ok());
        let zone = "BEGIN:VTIMEZONE\nTZID:x\nEND:VTIMEZONE\nBEGIN:X-ANY\nEND:X-ANY\n";
        assert!(read(calendar(&format!("{zone}{}", vevent(""))).as_bytes()).is_ok());
        let changed = vevent("RECURRENCE-ID:20261124T090000Z\n");
        assert!(
            read(calendar(&format!("{}{changed}", vevent("RRULE:FREQ=DAILY\n"))).as_bytes())
                .is_ok()
        );
    }

    #[test]
    fn what_is_no_calendar_is_not_valid_data() {
        let event = calendar(&vevent(""));
        for text in [
            String::new(),
            "hello".to_owned(),
            event.replace("END:VCALENDAR", ""),
            event.replace("END:VEVENT", "END:VALARM"),
            format!("{event}{event}"),
            format!("see below\r\n{event}"),
            format!("{event}-- \r\nAdele"),
            event.replace("DTSTART:20261123T090000Z", "DTSTART:tomorrow"),
            event.replace("DTSTART:20261123T090000Z\r\n", ""),
            event.replace("UID:1\r\n", ""),
            event.replace("VERSION:2.0", "VERSION:1.0"),
            calendar(&vevent("RRULE:FREQ=FORTNIGHTLY\n")),
            calendar(&vevent("DTEND:20261122T090000Z\n")),
        ] {
            refused(text.as_bytes(), Condition::ValidCalendarData);
        }
        let latin = event.replace("UID:1", "UID:1\r\nSUMMARY:@").into_bytes();
        let latin: Vec<u8> = latin.iter().map(|o| if *o == b'@' { 0xe4 } else { *o }).collect();
        refused(&latin, Condition::ValidCalendarData);
    }

    #[test]
    fn an_object_is_one_event_and_says_nothing_of_a_method() {
        let other = vevent("").replace("UID:1", "UID:2");
        let todo = "BEGIN:VTODO\nUID:1\nEND:VTODO\n";
        for components in [
            format!("METHOD:REQUEST\n{}", vevent("")),
            format!("{}{other}", vevent("")),
            format!("{}{}", vevent(""), vevent("SUMMARY:again\n")),
            format!("{}{todo}", vevent("")),
            format!(
                "{}{}",
                vevent("RECURRENCE-ID:20261124T090000Z\n"),
                vevent("RECURRENCE-ID:20261124T090000Z\n")
            ),
            "BEGIN:VTIMEZONE\nTZID:x\nEND:VTIMEZONE\n".to_owned(),
            String::new(),
        ] {
            refused(calendar(&components).as_bytes(), Condition::ValidCalendarObjectResource);
        }
        for kind in ["VTODO", "VJOURNAL", "VFREEBUSY", "vtodo"] {
            let text = calendar(&todo.replace("VTODO", kind));
            refused(text.as_bytes(), Condition::SupportedCalendarComponent);
        }
    }

    #[test]
    fn all_components_have_one_organizer_or_none() {
        let of = |first: &str, second: &str| {
            let second = format!("RECURRENCE-ID:20261124T090000Z\n{second}");
            read(calendar(&format!("{}{}", vevent(first), vevent(&second))).as_bytes())
        };
        let adele = "ORGANIZER;CN=Adele:mailto:adele@contoso.example\n";
        assert!(of(adele, "ORGANIZER:MAILTO:Adele@contoso.example\n").is_ok());
        assert!(of(adele, "").is_ok());
        let other = of(adele, "ORGANIZER:mailto:alex@contoso.example\n").unwrap_err();
        assert_eq!(other.condition, Condition::SameOrganizerInAllComponents);
    }

    #[test]
    fn what_is_too_much_says_of_what() {
        let large = calendar(&vevent(&format!("DESCRIPTION:{}\n", "x\n ".repeat(OCTETS_MAX / 3))));
        refused(large.as_bytes(), Condition::MaxResourceSize);
        let attendees = |n: usize| {
            (0..n).map(|n| format!("ATTENDEE:mailto:a{n}@contoso.example\n")).collect::<String>()
        };
        assert!(read(calendar(&vevent(&attendees(ATTENDEES_MAX))).as_bytes()).is_ok());
        let many = calendar(&vevent(&attendees(ATTENDEES_MAX + 1)));
        refused(many.as_bytes(), Condition::MaxAttendeesPerInstance);
    }

    #[test]
    fn a_content_type_is_that_of_a_calendar() {
        for fit in [
            None,
            Some("text/calendar"),
            Some("Text/Calendar; charset=UTF-8; component=VEVENT"),
            Some("text/calendar;charset=\"utf-8\";version=2.0"),
        ] {
            assert_eq!(check_content_type(fit), Ok(()), "{fit:?}");
        }
        for unfit in [
            "",
            "text/plain",
            "application/calendar+json",
            "text/calendar; charset=iso-8859-1",
            "text/calendar; version=1.0",
        ] {
            let refused = check_content_type(Some(unfit));
            assert_eq!(refused, Err(Condition::SupportedCalendarData), "{unfit}");
        }
    }

    #[test]
    fn an_entity_tag_is_that_of_the_octets() {
        // printf '' | sha256sum
        assert_eq!(etag(b""), "\"e3b0c44298fc1c149afbf4c8996fb924\"");
        assert_ne!(etag(b"a"), etag(b"b"));
    }

    proptest! {
        #[test]
        fn any_octets_are_answered(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&octets);
            let mut framed = b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\n".to_vec();
            framed.extend(octets);
            framed.extend(b"\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n");
            let _ = read(&framed);
        }
    }
}
