//! An iCalendar event as Graph's. Pure.
//!
//! RFC 5545's properties on the left, Graph's event resource on the right; what has no counterpart is
//! left out, what would come out different is refused in words. Nothing here may guess a zone, bend a
//! rule, or decide whether an event is made at all.

use std::borrow::Cow;
use std::collections::HashSet;

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::resource::{
    Attendee, AttendeeType, ContentType, DateTimeTimeZone, DayOfWeek, EmailAddress, EventBody,
    Importance, ItemBody, Location, PatternedRecurrence, RecurrencePattern, RecurrenceRange,
    Sensitivity, ShowAs, WeekIndex,
};
use super::zone::windows_name;
use crate::account::Address;
use crate::ical::{self, Class, Moment, Occurrence, Role, Status, Zone};
use crate::recurrence::{Index, Pattern, Range, Series, graph_pattern, instant};

/// Exchange keeps 255 characters of a subject.
const SUBJECT_CHARS_MAX: usize = 255;
/// Graph: event resource, attendees.
pub const ATTENDEES_MAX: usize = 500;
/// The years that Exchange has a date for.
const YEARS: std::ops::RangeInclusive<i16> = 1601..=9999;
/// How far ahead the zone of a series without an end date must fit.
const ENDLESS_HOURS: i64 = 10 * 366 * 24;

/// What the account adds to an event.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'s> {
    /// For whole days, and for times that name no zone.
    pub zone: &'s TimeZone,
    /// Graph's name of it.
    pub zone_name: &'s str,
    /// Every event with attendees becomes a Teams meeting, asked for or not.
    pub online_meetings: bool,
}

/// The text of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'c> {
    Html(&'c str),
    Text(&'c str),
}

impl<'c> Content<'c> {
    /// The first that is not blank of: the mail's HTML, the mail's text, X-ALT-DESC, DESCRIPTION.
    pub fn choose(
        mail_html: Option<&'c str>,
        mail_text: Option<&'c str>,
        occurrence: &'c Occurrence,
    ) -> Content<'c> {
        [
            mail_html.map(Content::Html),
            mail_text.map(Content::Text),
            occurrence.html.as_deref().map(Content::Html),
            occurrence.description.as_deref().map(Content::Text),
        ]
        .into_iter()
        .flatten()
        .find(|content| !content.text().trim().is_empty())
        .unwrap_or(Content::Text(""))
    }

    fn text(&self) -> &'c str {
        match self {
            Content::Html(text) | Content::Text(text) => text,
        }
    }
}

/// Why an event cannot be Graph's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Untranslatable {
    /// For the report to the sender: a sentence without its full stop.
    pub why: String,
    /// It is the recurrence alone: its occurrences, as single events, could be translated.
    pub spreadable: bool,
}

fn never(why: impl Into<String>) -> Untranslatable {
    Untranslatable { why: why.into(), spreadable: false }
}

fn spreadable(why: impl Into<String>) -> Untranslatable {
    Untranslatable { why: why.into(), spreadable: true }
}

/// The event without its attendees ([`attendees`]) and without EXDATE, overrides and attachments, which
/// are calls of their own.
pub fn event_body(
    occurrence: &Occurrence,
    content: &Content<'_>,
    settings: &Settings<'_>,
) -> Result<EventBody, Untranslatable> {
    let series = series(occurrence, settings)?;
    let times = times(occurrence, series.as_ref(), settings)?;
    let (location, links) = places(occurrence);
    let online =
        occurrence.online_meeting || settings.online_meetings && !occurrence.attendees.is_empty();
    Ok(EventBody {
        subject: subject(&occurrence.summary),
        body: body(content, &links),
        start: times.start,
        end: times.end,
        is_all_day: matches!(occurrence.start, Moment::Date(_)),
        location: Location { display_name: location },
        attendees: None,
        recurrence: series.as_ref().map(patterned),
        is_reminder_on: occurrence.reminder_minutes.is_some(),
        reminder_minutes_before_start: occurrence
            .reminder_minutes
            .map(|minutes| i32::try_from(minutes).unwrap_or(i32::MAX)),
        show_as: show_as(occurrence),
        sensitivity: match occurrence.class {
            Class::Public => Sensitivity::Normal,
            Class::Private => Sensitivity::Private,
            Class::Confidential => Sensitivity::Confidential,
        },
        // RFC 5545 §3.8.1.9: 1 to 4 are high, 5 is normal, 6 to 9 are low.
        importance: match occurrence.priority {
            Some(1..=4) => Importance::High,
            Some(6..=9) => Importance::Low,
            _ => Importance::Normal,
        },
        categories: categories(occurrence),
        response_requested: asks_for_answers(occurrence),
        allow_new_time_proposals: Some(occurrence.counter_allowed),
        is_online_meeting: online.then_some(true),
        online_meeting_provider: online.then(|| "teamsForBusiness".to_owned()),
        transaction_id: None,
        single_value_extended_properties: None,
    })
}

/// Who is invited, in the client's order and each mailbox once. The organizer is not: Exchange has them
/// in as the mailbox that the event is in. At most [`ATTENDEES_MAX`].
pub fn attendees(
    occurrence: &Occurrence,
    organizer: &Address,
) -> Result<Vec<Attendee>, Untranslatable> {
    let mut seen = HashSet::from([organizer.key()]);
    seen.extend(occurrence.organizer.as_ref().map(Address::key));
    let invited: Vec<Attendee> = occurrence
        .attendees
        .iter()
        .filter(|attendee| seen.insert(attendee.address.key()))
        .map(attendee)
        .collect();
    if invited.len() > ATTENDEES_MAX {
        let count = invited.len();
        return Err(never(format!("it has {count} attendees, and Graph takes {ATTENDEES_MAX}")));
    }
    Ok(invited)
}

/// Graph asks all or none. One RSVP=TRUE asks; and a client that gives none at all is not known to mean
/// "no answers, please". What the organizer's own entry says is for nobody.
fn asks_for_answers(occurrence: &Occurrence) -> bool {
    let organizer = occurrence.organizer.as_ref().map(Address::key);
    let invited = occurrence
        .attendees
        .iter()
        .filter(|attendee| organizer.as_ref().is_none_or(|key| attendee.address.key() != *key));
    let mut invited = invited.peekable();
    invited.peek().is_none() || !invited.all(|attendee| attendee.rsvp == Some(false))
}

/// Attendees in Graph's terms, one for one.
pub fn attendee_list(attendees: &[ical::Attendee]) -> Vec<Attendee> {
    attendees.iter().map(attendee).collect()
}

fn attendee(attendee: &ical::Attendee) -> Attendee {
    let name = attendee.name.as_deref().map(one_line).filter(|name| !name.is_empty());
    Attendee {
        email_address: EmailAddress { address: attendee.address.as_str().to_owned(), name },
        r#type: match attendee.role {
            Role::Required => AttendeeType::Required,
            Role::Optional => AttendeeType::Optional,
            Role::Resource => AttendeeType::Resource,
        },
    }
}

fn show_as(occurrence: &Occurrence) -> ShowAs {
    match (occurrence.show_as, occurrence.status) {
        (Some(ical::ShowAs::Free), _) => ShowAs::Free,
        (Some(ical::ShowAs::Tentative), _) | (None, Status::Tentative) => ShowAs::Tentative,
        (Some(ical::ShowAs::OutOfOffice), _) => ShowAs::Oof,
        (Some(ical::ShowAs::WorkingElsewhere), _) => ShowAs::WorkingElsewhere,
        (Some(ical::ShowAs::Busy) | None, _) => ShowAs::Busy,
    }
}

fn categories(occurrence: &Occurrence) -> Vec<String> {
    let mut seen = HashSet::new();
    occurrence
        .categories
        .iter()
        .map(|category| one_line(category))
        .filter(|category| !category.is_empty() && seen.insert(category.to_lowercase()))
        .collect()
}

fn series(
    occurrence: &Occurrence,
    settings: &Settings<'_>,
) -> Result<Option<Series>, Untranslatable> {
    let Some(recurrence) = &occurrence.recurrence else { return Ok(None) };
    if !recurrence.rdates.is_empty() {
        return Err(spreadable("it has dates beside its rule (RDATE), which Exchange cannot keep"));
    }
    let Some(rule) = &recurrence.rule else { return Ok(None) };
    graph_pattern(rule, &occurrence.start, settings.zone).map(Some).map_err(|inexpressible| {
        spreadable(format!("Exchange has no pattern for its recurrence: the rule {inexpressible}"))
    })
}

struct Times {
    start: DateTimeTimeZone,
    end: DateTimeTimeZone,
}

fn times(
    occurrence: &Occurrence,
    series: Option<&Series>,
    settings: &Settings<'_>,
) -> Result<Times, Untranslatable> {
    let (start, end) = (&occurrence.start, &occurrence.end);
    if let (Moment::Date(first), Moment::Date(after)) = (start, end) {
        // Graph: midnight both, in one zone, the end exclusive and at least a day later.
        if after <= first {
            return Err(never("it ends before it begins"));
        }
        let midnight = |date: &Date| written(date.at(0, 0, 0, 0), settings.zone_name);
        return Ok(Times { start: midnight(first)?, end: midnight(after)? });
    }
    let (Some((local, start_zone)), Some((local_end, end_zone))) =
        (local_of(start, settings), local_of(end, settings))
    else {
        return Err(never("one of its start and end is a date, the other a time"));
    };
    let at = |local, zone| instant(local, zone).ok_or_else(|| never("its time is out of range"));
    let (start_at, end_at) = (at(local, start_zone)?, at(local_end, end_zone)?);
    if end_at < start_at {
        return Err(never("it ends before it begins"));
    }
    // RFC 5545 §3.3.5: a time in a gap of the clock is another time.
    let (start, end) = (start_zone.to_datetime(start_at), end_zone.to_datetime(end_at));
    let until = match series {
        None => end_at,
        // Exchange gives each occurrence the times of day of the first.
        Some(_) if is_disturbed(local, start_at, end_at, start_zone) => {
            return Err(spreadable(
                "its first occurrence is where the clock changes, so Exchange would give all others \
                 another time or length",
            ));
        }
        Some(series) => span_of(series, end_at),
    };
    let named = |moment: &Moment, zone: &TimeZone| match moment {
        Moment::Zoned { zone: Zone { tzid, .. }, .. } => windows_name(zone, start_at, until)
            .ok_or_else(|| {
                never(format!("no time zone of Windows behaves like its zone {tzid:?}"))
            }),
        _ => Ok(settings.zone_name),
    };
    Ok(Times {
        start: written(start, named(&occurrence.start, start_zone)?)?,
        end: written(end, named(&occurrence.end, end_zone)?)?,
    })
}

/// Whether the clock skips the start, or changes between start and end.
fn is_disturbed(local: DateTime, start: Timestamp, end: Timestamp, zone: &TimeZone) -> bool {
    let on_the_wall = zone.to_datetime(end).duration_since(local);
    on_the_wall != end.duration_since(start)
}

fn local_of<'m>(moment: &'m Moment, settings: &Settings<'m>) -> Option<(DateTime, &'m TimeZone)> {
    match moment {
        Moment::Date(_) => None,
        Moment::Zoned { local, zone } => Some((*local, &zone.rules)),
        Moment::Floating(local) => Some((*local, settings.zone)),
    }
}

/// Until when the zone of a series matters.
fn span_of(series: &Series, first_end: Timestamp) -> Timestamp {
    let last = match series.range {
        // Two days more, for the offset and the length of the last occurrence.
        Range::EndDate(date) => instant(date.at(0, 0, 0, 0), &TimeZone::UTC)
            .and_then(|at| at.checked_add(SignedDuration::from_hours(48)).ok()),
        Range::Numbered(_) | Range::NoEnd => {
            first_end.checked_add(SignedDuration::from_hours(ENDLESS_HOURS)).ok()
        }
    };
    last.unwrap_or(Timestamp::MAX).max(first_end)
}

fn written(local: DateTime, zone: &str) -> Result<DateTimeTimeZone, Untranslatable> {
    if !YEARS.contains(&local.year()) {
        return Err(never(format!("Exchange has no year {}", local.year())));
    }
    Ok(DateTimeTimeZone { date_time: local.to_string(), time_zone: zone.to_owned() })
}

fn patterned(series: &Series) -> PatternedRecurrence {
    let start_date = series.start_date.to_string();
    PatternedRecurrence {
        pattern: pattern(&series.pattern),
        range: match series.range {
            Range::NoEnd => RecurrenceRange::NoEnd { start_date },
            Range::EndDate(date) => {
                RecurrenceRange::EndDate { start_date, end_date: date.to_string() }
            }
            Range::Numbered(number_of_occurrences) => {
                RecurrenceRange::Numbered { start_date, number_of_occurrences }
            }
        },
    }
}

fn pattern(pattern: &Pattern) -> RecurrencePattern {
    let days_of_week = |days: &[Weekday]| days.iter().copied().map(day_of_week).collect();
    match pattern {
        Pattern::Daily { interval } => RecurrencePattern::Daily { interval: *interval },
        Pattern::Weekly { interval, days, first_day } => RecurrencePattern::Weekly {
            interval: *interval,
            days_of_week: days_of_week(days),
            first_day_of_week: day_of_week(*first_day),
        },
        Pattern::AbsoluteMonthly { interval, day } => {
            RecurrencePattern::AbsoluteMonthly { interval: *interval, day_of_month: *day }
        }
        Pattern::RelativeMonthly { interval, days, index } => RecurrencePattern::RelativeMonthly {
            interval: *interval,
            days_of_week: days_of_week(days),
            index: week_index(*index),
        },
        Pattern::AbsoluteYearly { interval, month, day } => RecurrencePattern::AbsoluteYearly {
            interval: *interval,
            day_of_month: *day,
            month: *month,
        },
        Pattern::RelativeYearly { interval, month, days, index } => {
            RecurrencePattern::RelativeYearly {
                interval: *interval,
                days_of_week: days_of_week(days),
                index: week_index(*index),
                month: *month,
            }
        }
    }
}

fn day_of_week(day: Weekday) -> DayOfWeek {
    match day {
        Weekday::Sunday => DayOfWeek::Sunday,
        Weekday::Monday => DayOfWeek::Monday,
        Weekday::Tuesday => DayOfWeek::Tuesday,
        Weekday::Wednesday => DayOfWeek::Wednesday,
        Weekday::Thursday => DayOfWeek::Thursday,
        Weekday::Friday => DayOfWeek::Friday,
        Weekday::Saturday => DayOfWeek::Saturday,
    }
}

fn week_index(index: Index) -> WeekIndex {
    match index {
        Index::First => WeekIndex::First,
        Index::Second => WeekIndex::Second,
        Index::Third => WeekIndex::Third,
        Index::Fourth => WeekIndex::Fourth,
        Index::Last => WeekIndex::Last,
    }
}

/// Where it is, and what else to name in the text: CONFERENCE or URL is the place of an event that has
/// none.
fn places(occurrence: &Occurrence) -> (String, Vec<String>) {
    let tidy = |text: &Option<String>| {
        text.as_deref().map(one_line).filter(|text| !text.trim().is_empty())
    };
    let mut links: Vec<String> = Vec::new();
    for link in [tidy(&occurrence.conference), tidy(&occurrence.url)].into_iter().flatten() {
        if !links.contains(&link) {
            links.push(link);
        }
    }
    match tidy(&occurrence.location) {
        Some(location) => (location, links),
        None if links.is_empty() => (String::new(), links),
        None => (links.remove(0), links),
    }
}

fn body(content: &Content<'_>, links: &[String]) -> ItemBody {
    let mut text = without_controls(content.text()).into_owned();
    let links = links.iter().filter(|link| !content.text().contains(link.as_str()));
    match content {
        Content::Text(_) => {
            for link in links {
                text.push_str(if text.is_empty() { "" } else { "\r\n\r\n" });
                text.push_str(link);
            }
            ItemBody { content_type: ContentType::Text, content: text }
        }
        Content::Html(_) => {
            let added: String = links.map(|link| html_link(link)).collect();
            if !added.is_empty() {
                before_the_end(&mut text, &added);
            }
            ItemBody { content_type: ContentType::Html, content: text }
        }
    }
}

/// Puts HTML before the end of the document, where it has one.
pub(super) fn before_the_end(html: &mut String, added: &str) {
    let lower = html.to_ascii_lowercase();
    let end = ["</body", "</html"].iter().find_map(|tag| lower.rfind(tag)).unwrap_or(html.len());
    html.insert_str(end, added);
}

/// Text as HTML, of an element or of an attribute in quotes.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A paragraph that names a link; only the web's are made clickable.
fn html_link(link: &str) -> String {
    let escaped = escaped(link);
    let of_the_web = ["https://", "http://"].iter().any(|scheme| link.starts_with(scheme));
    match of_the_web {
        true => format!("<p><a href=\"{escaped}\">{escaped}</a></p>"),
        false => format!("<p>{escaped}</p>"),
    }
}

fn subject(summary: &str) -> String {
    let line = one_line(summary);
    match line.char_indices().nth(SUBJECT_CHARS_MAX) {
        None => line,
        Some(_) => line.chars().take(SUBJECT_CHARS_MAX - 1).chain(['…']).collect(),
    }
}

/// Without line ends and control characters, which a line of text has no room for.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.trim().chars() {
        match c {
            '\r' => {}
            '\n' | '\t' => line.push(' '),
            c if c.is_control() => {}
            c => line.push(c),
        }
    }
    line
}

/// Exchange keeps a body as XML 1.0, which has no room for most control characters.
fn without_controls(text: &str) -> Cow<'_, str> {
    let unfit = |c: char| c.is_control() && !matches!(c, '\t' | '\r' | '\n' | '\u{80}'..='\u{9f}');
    if text.contains(unfit) { text.replace(unfit, "").into() } else { text.into() }
}
