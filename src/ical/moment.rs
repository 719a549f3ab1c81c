//! Dates, times and durations (RFC 5545 §3.3.4–§3.3.6), and their arithmetic. Pure.
//!
//! What was read is lexically sound ([`super::grammar`]); here it must also exist: there is no 31
//! February. Local times become instants by jiff alone, with RFC 5545's rules for gaps and folds.

use calcard::common::PartialDateTime;
use calcard::icalendar::{
    ICalendarComponent, ICalendarDuration, ICalendarEntry, ICalendarParameterName,
    ICalendarProperty as Property, ICalendarRecurrenceRule, ICalendarValue as Value,
    ICalendarWeekday,
};
use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::vtimezone::Span;
use super::zone::Zones;
use super::{Moment, Unreadable, Zone};

/// How long a series without end is looked at, and how long any.
const ENDLESS_DAYS: i64 = 5 * 366;
const SPAN_DAYS_MAX: i64 = 10 * 366;

/// The local date and time that a value names; midnight where it names a date alone.
pub fn civil(value: &PartialDateTime) -> Option<DateTime> {
    let part = |part: Option<u8>| i8::try_from(part.unwrap_or(0)).ok();
    let date = Date::new(i16::try_from(value.year?).ok()?, part(value.month)?, part(value.day)?);
    // RFC 5545 §3.3.5: a positive leap second is written 60; those who have none take it for 59.
    let second = part(value.second)?.min(if value.second == Some(60) { 59 } else { i8::MAX });
    let time = jiff::civil::Time::new(part(value.hour)?, part(value.minute)?, second, 0);
    Some(date.ok()?.to_datetime(time.ok()?))
}

pub fn weekday(day: ICalendarWeekday) -> Weekday {
    match day {
        ICalendarWeekday::Sunday => Weekday::Sunday,
        ICalendarWeekday::Monday => Weekday::Monday,
        ICalendarWeekday::Tuesday => Weekday::Tuesday,
        ICalendarWeekday::Wednesday => Weekday::Wednesday,
        ICalendarWeekday::Thursday => Weekday::Thursday,
        ICalendarWeekday::Friday => Weekday::Friday,
        ICalendarWeekday::Saturday => Weekday::Saturday,
    }
}

/// The instant of a value with `Z` or an offset.
pub fn instant_of(value: &PartialDateTime) -> Option<Timestamp> {
    let minutes = i32::from(value.tz_hour?) * 60 + i32::from(value.tz_minute.unwrap_or(0));
    let seconds = if value.tz_minus { -minutes * 60 } else { minutes * 60 };
    Offset::from_seconds(seconds).ok()?.to_timestamp(civil(value)?).ok()
}

pub fn utc(at: Timestamp) -> Moment {
    let zone = Zone { tzid: "UTC".to_owned(), rules: TimeZone::UTC };
    Moment::Zoned { local: TimeZone::UTC.to_datetime(at), zone }
}

/// A value of an entry, with the entry's TZID.
pub fn read(
    value: &PartialDateTime,
    entry: &ICalendarEntry,
    zones: &Zones,
) -> Result<Moment, Unreadable> {
    let name = entry.name.as_str();
    let local = civil(value).ok_or_else(|| {
        Unreadable::new(format!("{name} names a day or time that does not exist"))
    })?;
    if value.hour.is_none() {
        return Ok(Moment::Date(local.date()));
    }
    let tzid = entry.parameter(&ICalendarParameterName::Tzid).and_then(|tzid| tzid.as_text());
    let zone = tzid.map(|tzid| zones.get(tzid)).transpose()?;
    if value.tz_hour.is_none() {
        return Ok(match zone {
            Some(zone) => Moment::Zoned { local, zone },
            // X-WR-TIMEZONE says in which zone a calendar is shown, and changes no time in it.
            None => Moment::Floating(local),
        });
    }
    let at = instant_of(value)
        .ok_or_else(|| Unreadable::new(format!("{name} has an offset that does not exist")))?;
    // Quirk(hand-made): TZID and `Z` together, which RFC 5545 §3.2.19 forbids. The instant is said;
    // the zone is what a series goes on in.
    Ok(match zone {
        Some(zone) => Moment::Zoned { local: zone.rules.to_datetime(at), zone },
        None => utc(at),
    })
}

/// The single value of a property; `None` when the component has none.
pub fn property(
    component: &ICalendarComponent,
    name: &Property,
    zones: &Zones,
) -> Result<Option<Moment>, Unreadable> {
    match single(component, name)? {
        None => Ok(None),
        Some(entry) => match entry.values.first() {
            Some(Value::PartialDateTime(value)) => read(value, entry, zones).map(Some),
            _ => Err(Unreadable::new(format!("{} has no value", name.as_str()))),
        },
    }
}

/// A property that may stand once. Said twice alike it is said once; said twice otherwise, nobody
/// knows which is meant, and another reader may take the other one.
pub fn single<'c>(
    component: &'c ICalendarComponent,
    name: &Property,
) -> Result<Option<&'c ICalendarEntry>, Unreadable> {
    let mut named = component.entries.iter().filter(|entry| entry.name == *name);
    let first = named.next();
    match named.any(|entry| Some(entry) != first) {
        true => Err(Unreadable::new(format!("{} stands there twice", name.as_str()))),
        false => Ok(first),
    }
}

/// The instant of a moment; of dates and floating times, as if they were in UTC, so that two of a
/// kind can be compared. RFC 5545 §3.3.5: a time in a gap counts from the offset before it.
pub fn instant(moment: &Moment) -> Option<Timestamp> {
    match moment {
        Moment::Date(date) => TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok(),
        Moment::Floating(local) => TimeZone::UTC.to_timestamp(*local).ok(),
        Moment::Zoned { local, zone } => {
            zone.rules.to_ambiguous_timestamp(*local).compatible().ok()
        }
    }
}

/// A moment later (or earlier). RFC 5545 §3.3.6: days and weeks are the calendar's, the rest exact.
pub fn plus(moment: &Moment, duration: &ICalendarDuration) -> Option<Moment> {
    let sign = if duration.neg { -1 } else { 1 };
    let days = sign * (i64::from(duration.weeks) * 7 + i64::from(duration.days));
    let seconds = i64::from(duration.hours) * 3600
        + i64::from(duration.minutes) * 60
        + i64::from(duration.seconds);
    let exact = SignedDuration::from_secs(sign * seconds);
    let days = jiff::Span::new().try_days(days).ok()?;
    match moment {
        // Quirk(hand-made): a day written as PT24H.
        Moment::Date(date) if seconds % 86_400 == 0 => {
            Some(Moment::Date(date.checked_add(days).ok()?.checked_add(exact).ok()?))
        }
        Moment::Date(_) => None,
        Moment::Floating(local) => {
            Some(Moment::Floating(local.checked_add(days).ok()?.checked_add(exact).ok()?))
        }
        Moment::Zoned { local, zone } => {
            let local = local.checked_add(days).ok()?;
            let local = match seconds {
                0 => local,
                _ => {
                    let from = zone.rules.to_ambiguous_timestamp(local).compatible().ok()?;
                    zone.rules.to_datetime(from.checked_add(exact).ok()?)
                }
            };
            Some(Moment::Zoned { local, zone: zone.clone() })
        }
    }
}

/// From the first to the last local time in these components, as far as their rules reach.
pub fn span<'c>(components: impl Iterator<Item = &'c ICalendarComponent>) -> Option<Span> {
    let mut span: Option<Span> = None;
    let mut reach = |at: DateTime| {
        let now = span.unwrap_or(Span { from: at, to: at });
        span = Some(Span { from: now.from.min(at), to: now.to.max(at) });
    };
    for component in components {
        for entry in &component.entries {
            let dated = [
                Property::Dtstart,
                Property::Dtend,
                Property::RecurrenceId,
                Property::Exdate,
                Property::Rdate,
            ];
            if !dated.contains(&entry.name) {
                continue;
            }
            for value in &entry.values {
                if let Value::PartialDateTime(value) = value
                    && let Some(at) = civil(value)
                {
                    reach(at);
                }
            }
        }
        let value = |name| component.property(name).and_then(|e| e.values.first());
        if let Some(Value::RecurrenceRule(rule)) = value(&Property::Rrule)
            && let Some(Value::PartialDateTime(start)) = value(&Property::Dtstart)
            && let Some(start) = civil(start)
            && let Some(end) = rule_end(rule, start)
        {
            reach(end);
        }
    }
    let span = span?;
    let most = span.from.checked_add(jiff::Span::new().try_days(SPAN_DAYS_MAX).ok()?).ok()?;
    Some(Span { to: span.to.min(most), ..span })
}

fn rule_end(rule: &ICalendarRecurrenceRule, start: DateTime) -> Option<DateTime> {
    use calcard::icalendar::ICalendarFrequency::{Monthly, Weekly, Yearly};
    if let Some(until) = &rule.until {
        return civil(until);
    }
    let step = match rule.freq {
        Yearly => 366,
        Monthly => 31,
        Weekly => 7,
        _ => 1,
    };
    let counted = rule.count.map(|count| {
        i64::from(count).saturating_mul(i64::from(rule.interval.unwrap_or(1))).saturating_mul(step)
    });
    let days = counted.unwrap_or(ENDLESS_DAYS).min(SPAN_DAYS_MAX);
    start.checked_add(jiff::Span::new().try_days(days).ok()?).ok()
}
