//! What was done to an event of ours in Outlook, and what attendees answered. Pure.
//!
//! Source: Graph event, attendee, responseStatus. Answers show times in UTC, whole days as midnight there.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::resource::{DateTimeTimeZone, Event, EventBody};
use super::zone::by_windows_name;
use crate::ical::PartStat;

/// Who is on it, and what each answered.
pub fn answers(event: &Event) -> Vec<(&str, PartStat)> {
    let answer = |text: Option<&str>| match text {
        Some("accepted") => Some(PartStat::Accepted),
        Some("declined") => Some(PartStat::Declined),
        Some("tentativelyAccepted") => Some(PartStat::Tentative),
        Some("none" | "notResponded") | None => Some(PartStat::NeedsAction),
        Some(_) => None,
    };
    let attendees = event.attendees.iter().filter_map(|one| {
        let status = one.status.as_ref().and_then(|status| status.response.as_deref());
        Some((one.email_address.as_ref()?.address.as_str(), answer(status)?))
    });
    attendees.collect()
}

/// `ours` at the time that the event has now; `None`: it is there, or what it was made cannot be told.
pub fn moved(ours: &EventBody, event: &Event) -> Option<EventBody> {
    if event.is_all_day.is_some_and(|all_day| all_day != ours.is_all_day) {
        return None;
    }
    let now = |seen: &Option<DateTimeTimeZone>, ours: &DateTimeTimeZone, all_day: bool| {
        let seen = seen.as_ref()?;
        let local: DateTime = seen.date_time.parse().ok()?;
        let local = match all_day {
            true => local,
            false => {
                let at = zone(&seen.time_zone)?.to_ambiguous_timestamp(local).compatible().ok()?;
                // The hour that comes twice is told by the instant alone.
                if instant(ours) == Some(at) {
                    return Some(ours.clone());
                }
                zone(&ours.time_zone)?.to_datetime(at)
            }
        };
        let standing: DateTime = ours.date_time.parse().ok()?;
        Some(match local == standing {
            true => ours.clone(),
            false => DateTimeTimeZone { date_time: local.to_string(), ..ours.clone() },
        })
    };
    let start = now(&event.start, &ours.start, ours.is_all_day)?;
    let end = now(&event.end, &ours.end, ours.is_all_day)?;
    let is_there = start == ours.start && end == ours.end;
    (!is_there).then(|| EventBody { start, end, ..ours.clone() })
}

/// When it begins, or the first of it.
pub fn instant(time: &DateTimeTimeZone) -> Option<Timestamp> {
    let local: DateTime = time.date_time.parse().ok()?;
    zone(&time.time_zone)?.to_ambiguous_timestamp(local).compatible().ok()
}

fn zone(name: &str) -> Option<TimeZone> {
    by_windows_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ours(start: &str, end: &str, zone: &str) -> EventBody {
        let time = |at: &str| json!({ "dateTime": at, "timeZone": zone });
        serde_json::from_value(json!({
            "subject": "Interview", "body": { "contentType": "text", "content": "" },
            "start": time(start), "end": time(end), "isAllDay": start.ends_with("T00:00:00"),
            "location": { "displayName": "" }, "isReminderOn": false, "showAs": "busy",
            "sensitivity": "normal", "importance": "normal", "categories": [],
            "responseRequested": true,
        }))
        .unwrap()
    }

    fn seen(start: &str, end: &str) -> Event {
        let time = |at: &str| json!({ "dateTime": at, "timeZone": "UTC" });
        serde_json::from_value(json!({ "id": "x", "start": time(start), "end": time(end) }))
            .unwrap()
    }

    #[test]
    fn an_event_that_was_moved_is_moved_in_its_own_zone() {
        let zone = "W. Europe Standard Time";
        let ours = ours("2026-12-01T10:00:00", "2026-12-01T11:00:00", zone);
        let there = seen("2026-12-01T09:00:00.0000000", "2026-12-01T10:00:00.0000000");
        assert_eq!(moved(&ours, &there), None);
        let later = seen("2026-12-02T13:30:00.0000000", "2026-12-02T14:00:00.0000000");
        let moved = moved(&ours, &later).unwrap();
        assert_eq!(moved.start.date_time, "2026-12-02T14:30:00");
        assert_eq!(moved.end.date_time, "2026-12-02T15:00:00");
        assert_eq!(moved.end.time_zone, zone);
    }

    #[test]
    fn whole_days_have_no_zone() {
        let zone = "W. Europe Standard Time";
        let ours = ours("2026-12-01T00:00:00", "2026-12-02T00:00:00", zone);
        let there = seen("2026-12-01T00:00:00.0000000", "2026-12-02T00:00:00.0000000");
        assert_eq!(moved(&ours, &there), None);
        let later = seen("2026-12-03T00:00:00.0000000", "2026-12-04T00:00:00.0000000");
        assert_eq!(moved(&ours, &later).unwrap().start.date_time, "2026-12-03T00:00:00");
    }

    #[test]
    fn the_hour_that_comes_twice_is_not_a_move() {
        let zone = "W. Europe Standard Time";
        let ours = ours("2026-10-25T02:30:00", "2026-10-25T03:30:00", zone);
        // 02:30 is 00:30 UTC in summer, which is what such a time means (RFC 5545 §3.3.5).
        let there = seen("2026-10-25T00:30:00", "2026-10-25T02:30:00");
        assert_eq!(moved(&ours, &there), None);
    }
}
