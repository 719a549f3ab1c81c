//! Events to try things on, made without the reader.
#![allow(dead_code)]

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use postbridge::ical::{Class, Event, Moment, Occurrence, Override, Recurrence, Status, Zone};

/// A local time in an IANA zone.
pub fn zoned(local: DateTime, zone: &str) -> Moment {
    let rules = TimeZone::get(zone).unwrap();
    Moment::Zoned { local, zone: Zone { tzid: zone.to_owned(), rules } }
}

/// An interview of half an hour, or of a day.
pub fn occurrence(start: Moment, recurrence: Option<Recurrence>) -> Occurrence {
    let half_an_hour = jiff::Span::new().minutes(30);
    let end = match &start {
        Moment::Date(date) => Moment::Date(date.tomorrow().unwrap()),
        Moment::Floating(local) => Moment::Floating(local.checked_add(half_an_hour).unwrap()),
        Moment::Zoned { local, zone } => {
            let end = local.to_zoned_datetime(zone.rules.clone()).unwrap();
            let end = end.checked_add(half_an_hour).unwrap().datetime();
            Moment::Zoned { local: end, zone: zone.clone() }
        }
    };
    Occurrence {
        sequence: 0,
        dtstamp: None,
        start,
        end,
        summary: "Interview".to_owned(),
        description: None,
        html: None,
        location: None,
        url: None,
        conference: None,
        organizer: None,
        attendees: vec![],
        status: Status::Confirmed,
        show_as: None,
        class: Class::Public,
        priority: None,
        categories: vec![],
        reminder_minutes: None,
        counter_allowed: true,
        online_meeting: false,
        recurrence,
        attachments: vec![],
    }
}

pub fn event(start: Moment, recurrence: Option<Recurrence>) -> Event {
    Event {
        uid: "interview-4711@ats.example".to_owned(),
        master: Some(occurrence(start, recurrence)),
        overrides: vec![],
        octets: std::sync::Arc::from(&b""[..]),
    }
}

/// Adds an override of the occurrence that the series has at `recurrence_id`.
pub fn change(event: &mut Event, recurrence_id: Moment, edit: impl FnOnce(&mut Occurrence)) {
    let mut changed = occurrence(recurrence_id.clone(), None);
    edit(&mut changed);
    event.overrides.push(Override { recurrence_id, and_future: false, occurrence: changed });
}
