//! A VTIMEZONE, and the zone of the IANA database that behaves like it. Pure.
//!
//! RFC 5545 §3.6.5. Graph knows zones by name alone, so a zone that only the object defines must be
//! found among those with a name. It is taken when its offsets are the same over the whole span of the
//! object's events, and never because it is near.

use calcard::icalendar::{
    ICalendar, ICalendarComponent, ICalendarComponentType as Component, ICalendarFrequency,
    ICalendarParameterName, ICalendarPeriod, ICalendarProperty as Property,
    ICalendarRecurrenceRule, ICalendarValue as Value,
};
use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{Offset, TimeZone};

use super::Unreadable;
use super::caps::shown;
use super::moment;
use super::zone;

/// Most RDATEs of one observance that are looked at.
const RDATES_MAX: usize = 200;
/// Quirk(lotus-notes, windows): a change of the clock is written down an hour or two off, in the night
/// it happens. So offsets are compared at both ends of the span, and this long before and after each
/// change within it.
const SLACK_SECONDS: i64 = 3 * 3600;

/// From the first local time that an object names to the last that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub from: DateTime,
    pub to: DateTime,
}

/// What a VTIMEZONE says.
pub struct Definition {
    pub tzid: String,
    /// X-LIC-LOCATION: the name that its author took it from.
    hint: Option<String>,
    observances: Vec<Observance>,
}

/// STANDARD or DAYLIGHT.
struct Observance {
    from: Offset,
    to: Offset,
    onset: DateTime,
    rule: Option<Yearly>,
    rdates: Vec<DateTime>,
}

/// The rules that are in use for zones: once a year.
struct Yearly {
    month: i8,
    day: Day,
    /// An instant, or a local time in the offset before the onset.
    until: Option<(DateTime, bool)>,
}

enum Day {
    Of(i8),
    Nth(i8, Weekday),
    /// BYMONTHDAY=8,9,…,14;BYDAY=SU
    Within(Vec<i8>, Weekday),
}

impl Definition {
    /// Reads a VTIMEZONE. An error concerns those who use the zone, and nobody else.
    pub fn read(
        calendar: &ICalendar,
        zone: &ICalendarComponent,
    ) -> Option<(String, Result<Definition, Unreadable>)> {
        let text = |name: &Property| {
            zone.property(name).and_then(|e| e.values.first()).and_then(Value::as_text)
        };
        let tzid = text(&Property::Tzid)?.trim().to_owned();
        let hint = zone.entries.iter().find_map(|entry| match &entry.name {
            Property::Other(name) if name.eq_ignore_ascii_case("X-LIC-LOCATION") => {
                entry.values.first().and_then(Value::as_text).map(str::to_owned)
            }
            _ => None,
        });
        let parts = zone.component_ids.iter().filter_map(|id| calendar.component_by_id(*id));
        let observances = parts
            .filter(|c| matches!(c.component_type, Component::Standard | Component::Daylight))
            .map(Observance::read)
            .collect::<Option<Vec<_>>>()
            .filter(|observances| !observances.is_empty());
        let definition = observances
            .map(|observances| Definition { tzid: tzid.clone(), hint, observances })
            .ok_or_else(|| {
                let tzid = shown(&tzid);
                Unreadable::new(format!("the rules of the zone “{tzid}” cannot be understood"))
            });
        Some((tzid, definition))
    }

    /// The named zone that has the same offsets over the span.
    ///
    /// One that agrees for the year to come as well is better than one that agrees by chance for an
    /// afternoon, so that is tried first.
    pub fn matched(&self, span: Span) -> Option<TimeZone> {
        let year = jiff::Span::new().years(1);
        let beyond =
            span.from.checked_add(year).ok().map(|to| Span { to: span.to.max(to), ..span });
        let beyond = beyond.and_then(|span| self.matched_within(span));
        beyond.or_else(|| self.matched_within(span))
    }

    fn matched_within(&self, span: Span) -> Option<TimeZone> {
        let onsets = self.onsets(span);
        let earliest = self.observances.iter().min_by_key(|observance| observance.onset)?.from;
        let offset_at = |at: Timestamp| {
            let before = onsets.iter().take_while(|(onset, _)| *onset <= at);
            before.last().map_or(earliest, |(_, offset)| *offset)
        };
        // The local ends of the span are instants only by the zone itself.
        let instant = |local: DateTime| {
            let about = Offset::UTC.to_timestamp(local).ok()?;
            offset_at(about).to_timestamp(local).ok()
        };
        let (from, to) = (instant(span.from)?, instant(span.to)?);
        let beside = |change: Timestamp| {
            let second = change.as_second();
            [second - SLACK_SECONDS, second + SLACK_SECONDS]
                .into_iter()
                .filter_map(|second| Timestamp::from_second(second).ok())
                .filter(|at| (from..=to).contains(at))
        };
        let mut probes = vec![from, to];
        probes.extend(onsets.iter().flat_map(|(onset, _)| beside(*onset)));
        let agrees = |zone: &TimeZone| {
            let same = |at: Timestamp| zone.to_offset(at) == offset_at(at);
            let changes = zone.following(from).map(|change| change.timestamp());
            probes.iter().all(|at| same(*at))
                && changes.take_while(|at| *at <= to).all(|at| beside(at).all(same))
        };
        zone::candidates(self.hint.as_deref(), &self.tzid).find(agrees)
    }

    /// When an offset begins, and which, in order; from before the span to its end.
    fn onsets(&self, span: Span) -> Vec<(Timestamp, Offset)> {
        let mut onsets: Vec<(Timestamp, Offset)> = self
            .observances
            .iter()
            .flat_map(|observance| {
                let locals = observance.locals(span.from.year(), span.to.year());
                locals.into_iter().filter_map(|local| {
                    Some((observance.from.to_timestamp(local).ok()?, observance.to))
                })
            })
            .collect();
        onsets.sort_by_key(|(onset, _)| *onset);
        onsets
    }
}

impl Observance {
    fn read(component: &ICalendarComponent) -> Option<Observance> {
        let value = |name: &Property| component.property(name).and_then(|e| e.values.first());
        let offset = |name: &Property| {
            let offset = value(name)?.as_partial_date_time()?;
            let minutes =
                i32::from(offset.tz_hour?) * 60 + i32::from(offset.tz_minute.unwrap_or(0));
            let seconds = if offset.tz_minus { -minutes * 60 } else { minutes * 60 };
            Offset::from_seconds(seconds).ok()
        };
        let onset = moment::civil(value(&Property::Dtstart)?.as_partial_date_time()?)?;
        let rule = match value(&Property::Rrule) {
            None => None,
            Some(Value::RecurrenceRule(rule)) => Some(Yearly::read(rule, onset)?),
            Some(_) => return None,
        };
        let rdates = component.properties(&Property::Rdate).flat_map(|entry| &entry.values);
        let rdates = rdates.take(RDATES_MAX).map(|value| match value {
            Value::PartialDateTime(at) => moment::civil(at),
            Value::Period(
                ICalendarPeriod::Range { start, .. } | ICalendarPeriod::Duration { start, .. },
            ) => moment::civil(start),
            _ => None,
        });
        Some(Observance {
            from: offset(&Property::Tzoffsetfrom)?,
            to: offset(&Property::Tzoffsetto)?,
            onset,
            rule,
            rdates: rdates.collect::<Option<_>>()?,
        })
    }

    /// Its onsets from the year before `first`, or its last ones before that, to the year `last`.
    fn locals(&self, first: i16, last: i16) -> Vec<DateTime> {
        let mut locals = vec![self.onset];
        locals.extend(&self.rdates);
        if let Some(rule) = &self.rule {
            let ended = rule.until.map_or(i16::MAX, |(until, _)| until.year());
            let from = first.min(ended).saturating_sub(1).max(self.onset.year());
            for year in from..=last.min(ended) {
                locals.extend(rule.in_year(year, self).filter(|local| *local > self.onset));
            }
        }
        locals
    }
}

impl Yearly {
    fn read(rule: &ICalendarRecurrenceRule, onset: DateTime) -> Option<Yearly> {
        // Quirk(lotus-notes): BYHOUR and BYMINUTE, which say what DTSTART does.
        let says = |by: &[u8], at: i8| by.iter().all(|by| i8::try_from(*by) == Ok(at));
        let at_onset = says(&rule.byhour, onset.hour())
            && says(&rule.byminute, onset.minute())
            && says(&rule.bysecond, onset.second());
        let others =
            !(rule.byyearday.is_empty() && rule.byweekno.is_empty() && rule.bysetpos.is_empty());
        let yearly = rule.freq == ICalendarFrequency::Yearly && rule.interval.unwrap_or(1) == 1;
        if !yearly || !at_onset || others {
            return None;
        }
        let month = match rule.bymonth.as_slice() {
            [] => onset.month(),
            [month] => i8::try_from(month.month()).ok()?,
            _ => return None,
        };
        let days = &rule.bymonthday;
        let day = match (rule.byday.as_slice(), days.as_slice()) {
            ([], []) => Day::Of(onset.day()),
            ([], [day]) => Day::Of(*day),
            ([by], []) => Day::Nth(i8::try_from(by.ordwk?).ok()?, moment::weekday(by.weekday)),
            ([by], _) if by.ordwk.is_none() => {
                Day::Within(days.clone(), moment::weekday(by.weekday))
            }
            _ => return None,
        };
        let until = match &rule.until {
            Some(until) => Some((moment::civil(until)?, until.tz_hour.is_some())),
            None => None,
        };
        // COUNT, once a year, is an UNTIL.
        let counted = rule.count.and_then(|count| {
            let year = i16::try_from(count).ok()?.checked_add(onset.year())?.checked_sub(1)?;
            Some((Date::new(year, 12, 31).ok()?.at(23, 59, 59, 0), false))
        });
        Some(Yearly { month, day, until: until.or(counted) })
    }

    fn in_year(&self, year: i16, of: &Observance) -> Option<DateTime> {
        let first = Date::new(year, self.month, 1).ok()?;
        let date = match &self.day {
            Day::Of(day) => Date::new(year, self.month, *day).ok()?,
            Day::Nth(nth, weekday) => first.nth_weekday_of_month(*nth, *weekday).ok()?,
            Day::Within(days, weekday) => days
                .iter()
                .filter_map(|day| Date::new(year, self.month, *day).ok())
                .filter(|date| date.weekday() == *weekday)
                .min()?,
        };
        let local = date.to_datetime(of.onset.time());
        let ended = match self.until {
            None => false,
            Some((until, true)) => {
                of.from.to_timestamp(local).ok()? > Offset::UTC.to_timestamp(until).ok()?
            }
            Some((until, false)) => local > until,
        };
        (!ended).then_some(local)
    }
}

/// The TZID parameters of a component's dates.
pub fn tzids(component: &ICalendarComponent) -> impl Iterator<Item = &str> {
    const DATED: [Property; 5] = [
        Property::Dtstart,
        Property::Dtend,
        Property::RecurrenceId,
        Property::Exdate,
        Property::Rdate,
    ];
    let dated = component.entries.iter().filter(|entry| DATED.contains(&entry.name));
    dated.filter_map(|entry| entry.parameter(&ICalendarParameterName::Tzid)?.as_text())
}
