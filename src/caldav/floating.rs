//! The zone that a client names for days and times without one. Pure.
//!
//! RFC 4791 §5.2.2, §9.8 (a VTIMEZONE); RFC 7809 §5.2 (a name).

use jiff::tz::TimeZone;

use crate::ical::{self, Moment, Unfolded};

/// The zone of a calendar object that holds one VTIMEZONE, as an event in it would have it.
pub fn zone(object: &str) -> Option<TimeZone> {
    let octets = object.trim().as_bytes();
    let unfolded = Unfolded::of(octets);
    let calendar = unfolded.calendar().ok()?;
    let mut zones = calendar.named("VTIMEZONE");
    let (Some(zone), None) = (zones.next(), zones.next()) else { return None };
    let tzid = zone.property("TZID")?.line.value.trim();
    let definition = octets.get(zone.octets.clone())?;
    // Read as part of an event, which is where it is decided what a zone means.
    let mut event = b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n".to_vec();
    event.extend_from_slice(definition.trim_ascii());
    let start = format!("DTSTART;TZID=\"{}\":20260101T000000", tzid.replace('"', ""));
    event.extend_from_slice(b"\r\nBEGIN:VEVENT\r\nUID:zone\r\n");
    ical::fold(start.as_bytes(), b"\r\n", &mut event);
    event.extend_from_slice(b"END:VEVENT\r\nEND:VCALENDAR\r\n");
    let read = ical::read(&event).ok()?;
    match read.events.into_iter().next()?.master?.start {
        Moment::Zoned { zone, .. } => Some(zone.rules),
        _ => None,
    }
}

/// A zone by its name.
pub fn by_name(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vtimezone_is_the_zone_that_it_names_or_describes() {
        let of = |tzid: &str, rules: &str| {
            let text = format!(
                "\n BEGIN:VCALENDAR\r\nPRODID:-//a//b\r\nVERSION:2.0\r\nBEGIN:VTIMEZONE\r\nTZID:{tzid}\r\n\
                 {rules}END:VTIMEZONE\r\nEND:VCALENDAR\r\n"
            );
            zone(text.trim_start_matches(['\n', ' ']))
        };
        let berlin = "BEGIN:STANDARD\r\nDTSTART:19701025T030000\r\nRRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10\r\n\
             TZOFFSETFROM:+0200\r\nTZOFFSETTO:+0100\r\nEND:STANDARD\r\nBEGIN:DAYLIGHT\r\n\
             DTSTART:19700329T020000\r\nRRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3\r\nTZOFFSETFROM:+0100\r\n\
             TZOFFSETTO:+0200\r\nEND:DAYLIGHT\r\n";
        let found = of("Europe/Berlin", berlin).unwrap();
        assert_eq!(found.iana_name(), Some("Europe/Berlin"));
        let summer = "2026-07-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap();
        let described = of("My own, made by hand", berlin).unwrap();
        assert_eq!(described.to_offset(summer).seconds(), 7200);
        assert!(of("", berlin).is_none());
        for bad in ["", "Europe/Berlin", "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"] {
            assert!(zone(bad).is_none(), "{bad}");
        }
        assert!(by_name("Europe/Berlin").is_some() && by_name("Nowhere/Land").is_none());
    }
}
