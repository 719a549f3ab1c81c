//! What an event says: Graph's `event` resource as its writer filled it in, read and checked. Pure.
//!
//! Source: Graph `event`, `dateTimeTimeZone`, "create event", "update event". A body has passed its
//! closed schema before it comes here; what the schema cannot say is refused here. Times are kept as
//! written, on the wall of their zone, because a series repeats the wall and not the instant.

use std::sync::Arc;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::recurrence::Recurrence;
use super::zones::Zone;

/// Why an event cannot be written: always a 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {text}")]
pub struct Unfit {
    pub code: &'static str,
    pub text: String,
}

impl Unfit {
    /// A value that Graph understands and does not take.
    pub fn property(text: impl Into<String>) -> Unfit {
        Unfit { code: "ErrorPropertyValidationFailure", text: text.into() }
    }

    /// A value that is not of its property's type.
    pub fn shape(text: impl std::fmt::Display) -> Unfit {
        let text = format!("were unable to deserialize: {text}");
        Unfit { code: "UnableToDeserializePostBody", text }
    }

    pub fn zone(name: &str) -> Unfit {
        let name: String = name.chars().take(100).collect();
        let text = format!("A valid TimeZone value must be specified. '{name}' is none.");
        Unfit { code: "TimeZoneNotSupportedException", text }
    }
}

/// `dateTimeTimeZone`: what the clock on the wall shows in a zone.
#[derive(Debug, Clone, PartialEq)]
pub struct WallTime {
    pub at: DateTime,
    pub zone: Zone,
}

impl WallTime {
    fn read(value: &Value) -> Result<WallTime, Unfit> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        let at = text("dateTime").parse().map_err(Unfit::shape)?;
        let name = text("timeZone");
        Ok(WallTime { at, zone: Zone::named(name).ok_or_else(|| Unfit::zone(name))? })
    }

    /// A time that the clock skips counts with the offset before the gap, one that it shows twice
    /// is the earlier.
    pub fn instant(&self) -> Timestamp {
        instant(self.at, &self.zone.rules)
    }

    /// The same instant on the wall of another zone.
    pub fn seen_from(&self, rules: &TimeZone) -> DateTime {
        if *rules == self.zone.rules { self.at } else { rules.to_datetime(self.instant()) }
    }
}

fn instant(at: DateTime, rules: &TimeZone) -> Timestamp {
    rules.to_timestamp(at).unwrap_or(if at.year() < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// From when to when.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub start: WallTime,
    /// Exclusive.
    pub end: WallTime,
    /// Dates without a zone, as far as others see: their midnights are shown as those of UTC.
    pub all_day: bool,
}

impl Span {
    pub fn start_instant(&self) -> Timestamp {
        if self.all_day { instant(self.start.at, &TimeZone::UTC) } else { self.start.instant() }
    }

    /// Never before the start: a clock set forward may swallow what lies between.
    pub fn end_instant(&self) -> Timestamp {
        let end =
            if self.all_day { instant(self.end.at, &TimeZone::UTC) } else { self.end.instant() };
        end.max(self.start_instant())
    }

    fn check(&self) -> Result<(), Unfit> {
        let late = |time: Time| time != Time::midnight();
        if self.all_day {
            if late(self.start.at.time()) {
                return Err(not_midnight("Start"));
            }
            if late(self.end.at.time()) {
                return Err(not_midnight("End"));
            }
            if self.start.zone.rules != self.end.zone.rules {
                let text = "The Event.Start and Event.End properties for an all-day event need to \
                            be in the same time zone.";
                return Err(Unfit { code: "ErrorInvalidRequest", text: text.to_owned() });
            }
            if self.end.at <= self.start.at {
                return Err(Unfit::property("An all-day event lasts at least one day."));
            }
        }
        if self.end.instant() < self.start.instant() {
            return Err(Unfit::property("The end of the event is before its start."));
        }
        Ok(())
    }
}

fn not_midnight(property: &str) -> Unfit {
    let text =
        format!("The Event.{property} property for an all-day event needs to be set to midnight.");
    Unfit { code: "ErrorInvalidRequest", text }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attendee {
    pub address: String,
    pub name: String,
    /// `required`, `optional` or `resource`.
    pub kind: String,
}

impl Attendee {
    fn read(value: &Value) -> Attendee {
        let text = |pointer| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let address = text("/emailAddress/address").to_owned();
        let name = Some(text("/emailAddress/name")).filter(|name| !name.is_empty());
        let kind = Some(text("/type")).filter(|kind| !kind.is_empty()).unwrap_or("required");
        Attendee { name: name.unwrap_or(&address).to_owned(), kind: kind.to_owned(), address }
    }

    pub fn is(&self, address: &str) -> bool {
        self.address.eq_ignore_ascii_case(address)
    }
}

/// A named property of MAPI; shown only to who asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtendedProperty {
    pub id: String,
    pub value: String,
}

impl ExtendedProperty {
    /// Documented: type and GUID compare without case, the name with it, values without it.
    pub fn has_id(&self, id: &str) -> bool {
        let parts = |id: &str| {
            let (head, name) = id.split_once(" Name ").unwrap_or((id, ""));
            (head.to_ascii_lowercase(), name.to_owned())
        };
        parts(&self.id) == parts(id)
    }
}

/// All that a writer can say of an event. Its large parts are shared by the occurrences of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    pub span: Span,
    pub recurrence: Option<Recurrence>,
    pub attendees: Arc<[Attendee]>,
    pub extended: Vec<ExtendedProperty>,
    /// The other writable properties, each of them there.
    pub properties: Arc<Map<String, Value>>,
}

/// Written by others than the organizer, or by nobody: Exchange takes no notice of them.
const UNHEEDED: [&str; 6] = [
    "organizer",
    "responseStatus",
    "originalStartTimeZone",
    "originalEndTimeZone",
    "multiValueExtendedProperties",
    "extensions",
];

impl Content {
    /// Of the body of a create.
    pub fn created(body: &Map<String, Value>) -> Result<Content, Unfit> {
        let time = |name: &str| {
            let value = body.get(name).filter(|value| value.is_object());
            let value = value.ok_or_else(|| Unfit::property(format!("{name} is needed.")))?;
            WallTime::read(value)
        };
        let span = Span { start: time("start")?, end: time("end")?, all_day: false };
        let mut content = Content {
            span,
            recurrence: None,
            attendees: Arc::default(),
            extended: Vec::new(),
            properties: Arc::new(defaults()),
        };
        content.write(body)?;
        Ok(content)
    }

    /// With the body of an update: what it does not name stays.
    pub fn patched(&self, body: &Map<String, Value>) -> Result<Content, Unfit> {
        let mut content = self.clone();
        content.write(body)?;
        Ok(content)
    }

    pub fn text(&self, name: &str) -> &str {
        self.properties.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn is(&self, name: &str) -> bool {
        self.properties.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// As it was written, whether text or HTML.
    pub fn body(&self) -> &str {
        let body = self.properties.get("body").and_then(|body| body.get("content"));
        body.and_then(Value::as_str).unwrap_or_default()
    }

    /// About how much an answer with it takes.
    pub fn octets(&self) -> usize {
        1_000 + self.body().len() + 200 * self.attendees.len()
    }

    pub fn set(&mut self, name: &str, value: Value) {
        Arc::make_mut(&mut self.properties).insert(name.to_owned(), value);
    }

    /// The zone that the series repeats in.
    pub fn series_zone(&self) -> Zone {
        let named = self.recurrence.as_ref().and_then(|r| r.range.recurrence_time_zone.as_deref());
        let zone = named.filter(|name| !name.is_empty()).and_then(Zone::named);
        zone.unwrap_or_else(|| self.span.start.zone.clone())
    }

    fn write(&mut self, body: &Map<String, Value>) -> Result<(), Unfit> {
        for (name, value) in body {
            match name.as_str() {
                "start" | "end" if value.is_null() => {
                    return Err(Unfit::property(format!("{name} is needed.")));
                }
                "start" => self.span.start = WallTime::read(value)?,
                "end" => self.span.end = WallTime::read(value)?,
                "isAllDay" => self.span.all_day = value.as_bool().unwrap_or_default(),
                "recurrence" => self.recurrence = read_recurrence(value)?,
                "attendees" => self.attendees = read_attendees(value).into(),
                "singleValueExtendedProperties" => self.write_extended(value),
                "transactionId" => {}
                name if name.contains('@') || UNHEEDED.contains(&name) => {}
                name => self.write_property(name, value)?,
            }
        }
        self.span.check()?;
        self.check_recurrence()
    }

    fn write_property(&mut self, name: &str, value: &Value) -> Result<(), Unfit> {
        let value = match defaults().remove(name) {
            Some(default) if value.is_null() => default,
            Some(_) => value.clone(),
            None => return Err(Unfit::shape(format!("the property {name} is not known"))),
        };
        match name {
            "location" => {
                let locations = if is_blank(&value) { json!([]) } else { json!([value]) };
                self.set("locations", locations);
            }
            "locations" => {
                let first = value.get(0).cloned().unwrap_or_else(|| json!({"displayName": ""}));
                self.set("location", first);
            }
            // Documented: an online meeting stays one.
            "isOnlineMeeting" if self.is(name) && value == json!(false) => {
                return Err(Unfit::property("isOnlineMeeting cannot be taken back."));
            }
            _ => {}
        }
        self.set(name, value);
        Ok(())
    }

    fn write_extended(&mut self, value: &Value) {
        for property in value.as_array().into_iter().flatten() {
            let text = |name: &str| property.get(name).and_then(Value::as_str).unwrap_or_default();
            let (id, value) = (text("id").to_owned(), text("value").to_owned());
            self.extended.retain(|known| !known.has_id(&id));
            self.extended.push(ExtendedProperty { id, value });
        }
    }

    fn check_recurrence(&self) -> Result<(), Unfit> {
        let Some(recurrence) = &self.recurrence else { return Ok(()) };
        let zone = recurrence.range.recurrence_time_zone.as_deref().unwrap_or_default();
        if !zone.is_empty() && Zone::named(zone).is_none() {
            return Err(Unfit::zone(zone));
        }
        let starts = self.span.start.seen_from(&self.series_zone().rules).date();
        if recurrence.range.start_date != starts {
            let text =
                "The start date of the recurrence range is not the date of the event's start.";
            return Err(Unfit::property(text));
        }
        let length = self.span.end_instant().duration_since(self.span.start_instant());
        if length > SignedDuration::from_hours(24 * 31) {
            return Err(Unfit::property("An occurrence of a series is too long."));
        }
        Ok(())
    }
}

fn read_recurrence(value: &Value) -> Result<Option<Recurrence>, Unfit> {
    if value.is_null() {
        return Ok(None);
    }
    let recurrence = Recurrence::deserialize(value).map_err(Unfit::shape)?;
    recurrence.checked().map(Some).map_err(|text| Unfit::property(format!("Recurrence: {text}.")))
}

/// Each address once.
fn read_attendees(value: &Value) -> Vec<Attendee> {
    let mut attendees: Vec<Attendee> = Vec::new();
    for attendee in value.as_array().into_iter().flatten().map(Attendee::read) {
        if !attendees.iter().any(|known| known.is(&attendee.address)) {
            attendees.push(attendee);
        }
    }
    attendees
}

fn is_blank(location: &Value) -> bool {
    location.get("displayName").and_then(Value::as_str).is_none_or(str::is_empty)
}

/// What Graph fills in where a create is silent.
fn defaults() -> Map<String, Value> {
    let defaults = json!({
        "allowNewTimeProposals": true,
        "body": {"contentType": "html", "content": ""},
        "categories": [],
        "hideAttendees": false,
        "importance": "normal",
        "isOnlineMeeting": false,
        "isReminderOn": true,
        "location": {"displayName": "", "locationType": "default", "uniqueIdType": "unknown"},
        "locations": [],
        "onlineMeetingProvider": "unknown",
        "reminderMinutesBeforeStart": 15,
        "responseRequested": true,
        "sensitivity": "normal",
        "showAs": "busy",
        "subject": "",
    });
    match defaults {
        Value::Object(defaults) => defaults,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created(changes: Value) -> Result<Content, Unfit> {
        let mut body = json!({
            "start": {"dateTime": "2026-12-01T09:00:00", "timeZone": "W. Europe Standard Time"},
            "end": {"dateTime": "2026-12-01T10:00:00", "timeZone": "Europe/Berlin"},
        });
        let (body, Value::Object(changes)) = (body.as_object_mut().unwrap(), changes) else {
            panic!("no object")
        };
        body.extend(changes);
        Content::created(body)
    }

    #[track_caller]
    fn refused(changes: Value, code: &str) {
        assert_eq!(created(changes).unwrap_err().code, code);
    }

    #[test]
    fn times_are_read_in_their_zone() {
        let content = created(json!({})).unwrap();
        assert_eq!(content.span.start_instant(), "2026-12-01T08:00:00Z".parse().unwrap());
        assert_eq!(content.text("showAs"), "busy");
    }

    #[test]
    fn times_that_make_no_event_are_refused() {
        let at = |time: &str, zone: &str| json!({"dateTime": time, "timeZone": zone});
        let rome = at("2026-12-01T09:00", "Europe/Rome");
        refused(json!({"start": rome}), "TimeZoneNotSupportedException");
        let early = at("2026-12-01T08:59:59", "Europe/Berlin");
        refused(json!({"end": early}), "ErrorPropertyValidationFailure");
        refused(json!({"isAllDay": true}), "ErrorInvalidRequest");
        let day = |day: u8, zone: &str| at(&format!("2026-12-0{day}T00:00:00"), zone);
        let other = json!({"isAllDay": true, "start": day(1, "UTC"), "end": day(2, "Etc/GMT")});
        assert!(matches!(created(other), Err(Unfit { code: "ErrorInvalidRequest", .. })));
        let none = json!({"isAllDay": true, "start": day(1, "UTC"), "end": day(1, "UTC")});
        refused(none, "ErrorPropertyValidationFailure");
        refused(json!({"start": at("2026-02-30T09:00", "UTC")}), "UnableToDeserializePostBody");
    }

    #[test]
    fn a_range_starts_on_the_date_of_the_start() {
        let series = |start: &str| {
            json!({"recurrence": {"pattern": {"type": "daily", "interval": 1},
                "range": {"type": "noEnd", "startDate": start}}})
        };
        assert!(created(series("2026-12-01")).is_ok());
        refused(series("2026-12-02"), "ErrorPropertyValidationFailure");
    }
}
