//! One VEVENT as an [`Occurrence`]. Pure.
//!
//! RFC 5545 §3.6.1, §3.8; RFC 7986; [MS-OXCICAL] §2.1.3 for the X-MICROSOFT properties. What decides
//! *when* and *who* is read strictly; what only describes is read as far as it goes.

use calcard::common::CalendarScale;
use calcard::icalendar::{
    ICalendar, ICalendarClassification, ICalendarComponent, ICalendarComponentType as Component,
    ICalendarEntry, ICalendarParameterName as Parameter, ICalendarParameterValue as ParameterValue,
    ICalendarProperty as Property, ICalendarRelated, ICalendarStatus, ICalendarTransparency,
    ICalendarValue as Value, Uri,
};
use jiff::Timestamp;
use jiff::civil::Time;

use super::caps::{CATEGORIES_MAX, NOTES_MAX, shown};
use super::unfold::clean;
use super::zone::Zones;
use super::{
    Attachment, Class, Moment, Occurrence, ShowAs, Status, Unreadable, moment, people, rule,
};

/// What reading needs beside the component.
pub struct Context<'x> {
    pub calendar: &'x ICalendar,
    pub zones: &'x Zones,
    /// Whether the METHOD allows an event without DTSTART.
    pub start_optional: bool,
}

pub fn read(
    component: &ICalendarComponent,
    context: &Context<'_>,
    notes: &mut Vec<String>,
) -> Result<Occurrence, Unreadable> {
    let dtstamp = component.property(&Property::Dtstamp).and_then(stamp);
    let (start, end) = bounds(component, context, dtstamp, notes)?;
    let recurrence = rule::read(component, &start, &end, context.zones)?;
    let sequence = match moment::single(component, &Property::Sequence)? {
        Some(entry) => entry.values.first().and_then(Value::as_integer).unwrap_or(0),
        None => 0,
    };
    Ok(Occurrence {
        sequence: u32::try_from(sequence).unwrap_or(0),
        dtstamp,
        reminder_minutes: reminder(component, context, &start, &end),
        summary: text(component, &Property::Summary)
            .map(|summary| summary.replace(['\n', '\t'], " ").trim().to_owned())
            .unwrap_or_default(),
        description: text(component, &Property::Description).filter(|t| !t.trim().is_empty()),
        html: html(component),
        location: text(component, &Property::Location).filter(|text| !text.trim().is_empty()),
        url: text(component, &Property::Url).filter(|text| !text.trim().is_empty()),
        conference: text(component, &Property::Conference).filter(|text| !text.trim().is_empty()),
        organizer: people::organizer(component, notes),
        attendees: people::attendees(component, notes),
        status: match value(component, &Property::Status) {
            Some(Value::Status(ICalendarStatus::Cancelled)) => Status::Cancelled,
            Some(Value::Status(ICalendarStatus::Tentative)) => Status::Tentative,
            // Quirk(hand-made): the American spelling.
            Some(Value::Text(text)) if text.trim().eq_ignore_ascii_case("CANCELED") => {
                Status::Cancelled
            }
            _ => Status::Confirmed,
        },
        show_as: show_as(component),
        class: match value(component, &Property::Class) {
            None | Some(Value::Classification(ICalendarClassification::Public)) => Class::Public,
            Some(Value::Classification(ICalendarClassification::Confidential)) => {
                Class::Confidential
            }
            // RFC 5545 §3.8.1.3: one that is not known is PRIVATE.
            Some(_) => Class::Private,
        },
        priority: priority(component),
        categories: component
            .properties(&Property::Categories)
            .flat_map(|entry| &entry.values)
            .filter_map(|value| value.as_text())
            .map(|text| clean(text).trim().to_owned())
            .filter(|text| !text.is_empty())
            .take(CATEGORIES_MAX)
            .collect(),
        counter_allowed: !is_true(component, "X-MICROSOFT-DISALLOW-COUNTER"),
        online_meeting: online_meeting(component),
        recurrence,
        attachments: component.properties(&Property::Attach).filter_map(attachment).collect(),
        start,
        end,
    })
}

/// Start and end, of one kind.
fn bounds(
    component: &ICalendarComponent,
    context: &Context<'_>,
    dtstamp: Option<Timestamp>,
    notes: &mut Vec<String>,
) -> Result<(Moment, Moment), Unreadable> {
    let zones = context.zones;
    let start = match moment::property(component, &Property::Dtstart, zones)? {
        Some(start) => start,
        None if context.start_optional => {
            let named = moment::property(component, &Property::RecurrenceId, zones)?;
            named
                .or_else(|| dtstamp.map(moment::utc))
                .ok_or_else(|| Unreadable::new("it has neither DTSTART nor DTSTAMP"))?
        }
        None => return Err(Unreadable::new("it has no DTSTART")),
    };
    let duration = moment::single(component, &Property::Duration)?;
    let end = match (moment::property(component, &Property::Dtend, zones)?, duration) {
        (Some(end), duration) => {
            if duration.is_some() && notes.len() < NOTES_MAX {
                notes.push("DURATION stands beside DTEND and was left out".to_owned());
            }
            rule::like(end, &start)
        }
        (None, Some(entry)) => match entry.values.first() {
            Some(Value::Duration(duration)) => moment::plus(&start, duration)
                .ok_or_else(|| Unreadable::new("DURATION does not fit DTSTART"))?,
            _ => return Err(Unreadable::new("DURATION is malformed")),
        },
        // RFC 5545 §3.6.1: a day for a date, no time at all for a time.
        (None, None) => match &start {
            Moment::Date(date) => Moment::Date(following(*date)?),
            time => time.clone(),
        },
    };
    let end = match (&start, end) {
        // Quirk(hand-made): a last day where RFC 5545 wants the day after it.
        (Moment::Date(first), Moment::Date(last)) if *first == last => {
            Moment::Date(following(last)?)
        }
        (Moment::Date(_), Moment::Date(last)) => Moment::Date(last),
        (Moment::Floating(_), end @ Moment::Floating(_))
        | (Moment::Zoned { .. }, end @ Moment::Zoned { .. }) => end,
        _ => return Err(Unreadable::new("DTSTART and DTEND are not of one kind")),
    };
    if moment::instant(&end) < moment::instant(&start) {
        return Err(Unreadable::new("it ends before it starts"));
    }
    Ok(match all_day(component) {
        true => whole_days(start, end),
        false => (start, end),
    })
}

fn following(date: jiff::civil::Date) -> Result<jiff::civil::Date, Unreadable> {
    date.tomorrow().map_err(|_| Unreadable::new("DTSTART is the last day there is"))
}

/// Quirk(exchange): X-MICROSOFT-CDO-ALLDAYEVENT:TRUE from midnight to midnight.
fn all_day(component: &ICalendarComponent) -> bool {
    is_true(component, "X-MICROSOFT-CDO-ALLDAYEVENT")
        || is_true(component, "X-MICROSOFT-MSNCALENDAR-ALLDAYEVENT")
}

fn whole_days(start: Moment, end: Moment) -> (Moment, Moment) {
    let midnight = |moment: &Moment| match moment {
        Moment::Zoned { local, .. } | Moment::Floating(local) => {
            (local.time() == Time::midnight()).then(|| local.date())
        }
        Moment::Date(_) => None,
    };
    match (midnight(&start), midnight(&end)) {
        (Some(first), Some(last)) if first < last => (Moment::Date(first), Moment::Date(last)),
        _ => (start, end),
    }
}

/// DTSTAMP (RFC 5545 §3.8.7.2) is in UTC, also where a tool forgot to say so.
fn stamp(entry: &ICalendarEntry) -> Option<Timestamp> {
    let value = entry.values.first()?.as_partial_date_time()?;
    value.hour?;
    moment::instant_of(value)
        .or_else(|| jiff::tz::TimeZone::UTC.to_timestamp(moment::civil(value)?).ok())
}

/// The first VALARM that goes off at or before the start, in minutes before it.
fn reminder(
    component: &ICalendarComponent,
    context: &Context<'_>,
    start: &Moment,
    end: &Moment,
) -> Option<u32> {
    let parts = component.component_ids.iter();
    let parts = parts.filter_map(|id| context.calendar.component_by_id(*id));
    let alarms = parts.filter(|part| part.component_type == Component::VAlarm);
    let starts = moment::instant(start)?.as_second();
    let ends = moment::instant(end)?.as_second();
    alarms.filter_map(|alarm| alarm.property(&Property::Trigger)).find_map(|trigger| {
        let goes_off = match trigger.values.first()? {
            Value::Duration(duration) => {
                let related = trigger.parameter(&Parameter::Related);
                let to_end =
                    matches!(related, Some(ParameterValue::Related(ICalendarRelated::End)));
                let days = i64::from(duration.weeks) * 7 + i64::from(duration.days);
                let hours = days * 24 + i64::from(duration.hours);
                let minutes = hours * 60 + i64::from(duration.minutes);
                let seconds = minutes * 60 + i64::from(duration.seconds);
                (if to_end { ends } else { starts }) + if duration.neg { -seconds } else { seconds }
            }
            // A date and a floating time are no instants to count from.
            Value::PartialDateTime(at) if matches!(start, Moment::Zoned { .. }) => {
                moment::instant_of(at)?.as_second()
            }
            _ => return None,
        };
        u32::try_from(starts.checked_sub(goes_off)?.div_euclid(60)).ok()
    })
}

/// An invite from Exchange says TENTATIVE for the one who gets it, and in INTENDEDSTATUS what the
/// organizer means ([MS-OXCICAL] §2.1.3.1.1.20.32), so that is asked first.
fn show_as(component: &ICalendarComponent) -> Option<ShowAs> {
    let named = |name| {
        let text = other_text(component, name)?;
        Some(match text.trim().to_ascii_uppercase().as_str() {
            "FREE" => ShowAs::Free,
            "TENTATIVE" => ShowAs::Tentative,
            "BUSY" => ShowAs::Busy,
            "OOF" => ShowAs::OutOfOffice,
            "WORKINGELSEWHERE" => ShowAs::WorkingElsewhere,
            _ => return None,
        })
    };
    named("X-MICROSOFT-CDO-INTENDEDSTATUS").or_else(|| named("X-MICROSOFT-CDO-BUSYSTATUS")).or(
        match value(component, &Property::Transp) {
            Some(Value::Transparency(ICalendarTransparency::Transparent)) => Some(ShowAs::Free),
            Some(Value::Transparency(ICalendarTransparency::Opaque)) => Some(ShowAs::Busy),
            _ => None,
        },
    )
}

fn priority(component: &ICalendarComponent) -> Option<u8> {
    let given = value(component, &Property::Priority).and_then(Value::as_integer);
    let given = given.and_then(|n| u8::try_from(n).ok()).filter(|n| (1..=9).contains(n));
    given.or_else(|| match other_text(component, "X-MICROSOFT-CDO-IMPORTANCE")?.trim() {
        "0" => Some(9),
        "1" => Some(5),
        "2" => Some(1),
        _ => None,
    })
}

fn online_meeting(component: &ICalendarComponent) -> bool {
    const ASKING: [&str; 2] = ["X-MICROSOFT-ONLINEMEETING", "X-MICROSOFT-SKYPETEAMS"];
    component.entries.iter().any(|entry| {
        let name = entry.name.as_str().to_ascii_uppercase();
        let said =
            entry.values.first().and_then(|value| value.as_text()).unwrap_or_default().trim();
        ASKING.iter().any(|asking| name.starts_with(asking))
            && !said.is_empty()
            && !said.eq_ignore_ascii_case("FALSE")
    })
}

/// X-ALT-DESC, STYLED-DESCRIPTION (RFC 9073 §6.5), or an ALTREP that brings its text along. One with
/// an address is not followed.
fn html(component: &ICalendarComponent) -> Option<String> {
    let is_html = |entry: &&ICalendarEntry| {
        let format = entry.parameter(&Parameter::Fmttype).and_then(ParameterValue::as_text);
        format.is_some_and(|f| f.trim().to_ascii_lowercase().starts_with("text/html"))
    };
    let x_alt_desc = |entry: &&ICalendarEntry| is_other(entry, "X-ALT-DESC");
    let described = component
        .entries
        .iter()
        .find(|e| x_alt_desc(e) && is_html(e))
        .or_else(|| component.properties(&Property::StyledDescription).find(is_html));
    described
        .map(|entry| entry.values.iter().filter_map(Value::as_text).collect::<Vec<_>>().join(";"))
        .or_else(|| {
            let entry = component.property(&Property::Description)?;
            match entry.parameter(&Parameter::Altrep)? {
                ParameterValue::Uri(Uri::Data(data)) => {
                    let format = data.content_type.as_deref()?.trim().to_ascii_lowercase();
                    let text = String::from_utf8(data.data.clone()).ok();
                    text.filter(|_| format.starts_with("text/html"))
                }
                ParameterValue::Uri(Uri::Location(uri)) => {
                    let (head, text) = uri.strip_prefix("data:text/html")?.split_once(',')?;
                    (!head.contains("base64")).then(|| people::percent_decoded(text)).flatten()
                }
                _ => None,
            }
        })
        .map(|html| clean(&html))
        .filter(|html| !html.trim().is_empty())
}

/// ATTACH: octets that came along, or an address that nobody here follows.
fn attachment(entry: &ICalendarEntry) -> Option<Attachment> {
    let parameter = |names: &[&str]| {
        let found = entry
            .params
            .iter()
            .find(|param| names.iter().any(|name| param.name.as_str().eq_ignore_ascii_case(name)));
        let text = clean(found?.value.as_text()?).replace(['\n', '\t'], " ");
        Some(text).filter(|text| !text.trim().is_empty())
    };
    // RFC 8607 §4.1; before it each vendor had a name of its own.
    let name = parameter(&["FILENAME", "X-FILENAME", "X-APPLE-FILENAME", "X-ORACLE-FILENAME"]);
    let content_type = parameter(&["FMTTYPE"]);
    let is_binary = parameter(&["VALUE"]).is_some_and(|v| v.eq_ignore_ascii_case("BINARY"));
    match entry.values.first()? {
        Value::Uri(Uri::Data(data)) => Some(Attachment::Inline {
            name,
            content_type: content_type.or_else(|| data.content_type.clone()),
            octets: data.data.clone(),
        }),
        Value::Binary(octets) => {
            Some(Attachment::Inline { name, content_type, octets: octets.clone() })
        }
        // What was base64 and is UTF-8 is handed over as text.
        Value::Text(text) if is_binary => {
            Some(Attachment::Inline { name, content_type, octets: text.clone().into_bytes() })
        }
        value => Some(Attachment::Url(shown_url(value.as_text()?))),
    }
}

fn shown_url(text: &str) -> String {
    clean(text).replace(['\n', '\t'], "").trim().to_owned()
}

fn value<'c>(component: &'c ICalendarComponent, name: &Property) -> Option<&'c Value> {
    component.property(name)?.values.first()
}

/// The text of a property, unescaped (RFC 5545 §3.3.11) and without control characters.
pub fn text(component: &ICalendarComponent, name: &Property) -> Option<String> {
    value(component, name)?.as_text().map(clean)
}

fn is_other(entry: &ICalendarEntry, name: &str) -> bool {
    matches!(&entry.name, Property::Other(other) if other.eq_ignore_ascii_case(name))
}

fn other_text<'c>(component: &'c ICalendarComponent, name: &str) -> Option<&'c str> {
    component.entries.iter().find(|entry| is_other(entry, name))?.values.first()?.as_text()
}

fn is_true(component: &ICalendarComponent, name: &str) -> bool {
    other_text(component, name).is_some_and(|text| text.trim().eq_ignore_ascii_case("TRUE"))
}

/// RFC 5545 §3.7.1: another calendar than the Gregorian has other days.
pub fn scale_is_known(calendar: &ICalendarComponent) -> bool {
    matches!(
        value(calendar, &Property::Calscale),
        None | Some(Value::CalendarScale(CalendarScale::Gregorian))
    )
}

/// A short name for an event in a reason.
pub fn called(uid: &str) -> String {
    format!("the event {}", shown(uid))
}
