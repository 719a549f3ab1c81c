//! RRULE, RDATE and EXDATE (RFC 5545 §3.8.5) of one component. Pure.
//!
//! A rule is taken as given and never expanded here: a rule for a billion occurrences costs no more
//! than one for two.

use calcard::common::CalendarScale;
use calcard::icalendar::{
    ICalendarComponent, ICalendarFrequency, ICalendarPeriod, ICalendarProperty as Property,
    ICalendarRecurrenceRule, ICalendarValue as Value,
};
use jiff::civil::{Time, Weekday};

use super::caps::shown;
use super::moment;
use super::zone::Zones;
use super::{Frequency, Moment, Recurrence, Rule, RuleEnd, Unreadable};

/// Most RDATEs and most EXDATEs of one component.
const DATES_MAX: usize = 1_000;

/// What makes a component a series; `None` when nothing does.
pub fn read(
    component: &ICalendarComponent,
    start: &Moment,
    end: &Moment,
    zones: &Zones,
) -> Result<Option<Recurrence>, Unreadable> {
    let rule = match moment::single(component, &Property::Rrule)? {
        None => None,
        Some(entry) => match entry.values.first() {
            Some(Value::RecurrenceRule(rule)) => Some(self::rule(rule)?),
            Some(Value::Text(text)) => {
                return Err(Unreadable::new(format!("RRULE:{} is malformed", shown(text))));
            }
            _ => return Err(Unreadable::new("RRULE has no value")),
        },
    };
    let rdates = dates(component, &Property::Rdate, start, Some(end), zones)?;
    let exdates = dates(component, &Property::Exdate, start, None, zones)?;
    // An EXDATE alone takes nothing out of nothing.
    let recurs = rule.is_some() || !rdates.is_empty();
    Ok(recurs.then_some(Recurrence { rule, rdates, exdates }))
}

fn dates(
    component: &ICalendarComponent,
    name: &Property,
    start: &Moment,
    end: Option<&Moment>,
    zones: &Zones,
) -> Result<Vec<Moment>, Unreadable> {
    let mut dates = Vec::new();
    for entry in component.properties(name) {
        for value in &entry.values {
            let date = match value {
                Value::PartialDateTime(at) => moment::read(at, entry, zones)?,
                Value::Period(period) => {
                    let (at, until) = match period {
                        ICalendarPeriod::Range { start, end } => {
                            let from = moment::read(start, entry, zones)?;
                            (from, Some(moment::read(end, entry, zones)?))
                        }
                        ICalendarPeriod::Duration { start, duration } => {
                            let from = moment::read(start, entry, zones)?;
                            let until = moment::plus(&from, duration);
                            (from, until)
                        }
                    };
                    // An occurrence of another length would need an override to say so.
                    let length = |from: &Moment, to: Option<&Moment>| {
                        Some(moment::instant(to?)?.as_second() - moment::instant(from)?.as_second())
                    };
                    if length(&at, until.as_ref()) != length(start, end) {
                        return Err(Unreadable::new(
                            "RDATE has a period that is not as long as the event",
                        ));
                    }
                    at
                }
                Value::Text(text) if text.trim().is_empty() => continue,
                _ => return Err(Unreadable::new(format!("{} is malformed", name.as_str()))),
            };
            if dates.len() == DATES_MAX {
                return Err(Unreadable::new(format!(
                    "{} names more than {DATES_MAX}",
                    name.as_str()
                )));
            }
            dates.push(like(date, start));
        }
    }
    Ok(dates)
}

/// A moment of the kind that the start has, where it says the same.
pub fn like(date: Moment, start: &Moment) -> Moment {
    match (date, start) {
        // Quirk(hand-made): the TZID stands at DTSTART alone.
        (Moment::Floating(local), Moment::Zoned { zone, .. }) => {
            Moment::Zoned { local, zone: zone.clone() }
        }
        // Quirk(exchange): midnight for a day.
        (Moment::Floating(local) | Moment::Zoned { local, .. }, Moment::Date(_))
            if local.time() == Time::midnight() =>
        {
            Moment::Date(local.date())
        }
        (date, _) => date,
    }
}

fn rule(rule: &ICalendarRecurrenceRule) -> Result<Rule, Unreadable> {
    let end = match (&rule.until, rule.count) {
        (None, None) => RuleEnd::Never,
        (None, Some(count)) => RuleEnd::After(count),
        (Some(until), _) => match (moment::civil(until), moment::instant_of(until)) {
            (None, _) => {
                return Err(Unreadable::new("RRULE: UNTIL names a day that does not exist"));
            }
            (Some(local), _) if until.hour.is_none() => RuleEnd::UntilDate(local.date()),
            (Some(_), Some(at)) => RuleEnd::UntilInstant(at),
            (Some(local), None) => RuleEnd::UntilLocal(local),
        },
    };
    let frequency = match rule.freq {
        ICalendarFrequency::Yearly => Frequency::Yearly,
        ICalendarFrequency::Monthly => Frequency::Monthly,
        ICalendarFrequency::Weekly => Frequency::Weekly,
        ICalendarFrequency::Daily => Frequency::Daily,
        _ => Frequency::Finer,
    };
    // RFC 7529: the Gregorian calendar is what a rule is in without RSCALE.
    let foreign = rule.rscale.as_ref().is_some_and(|scale| *scale != CalendarScale::Gregorian)
        || rule.skip.is_some()
        || rule.bymonth.iter().any(|month| month.is_leap());
    let finer = !(rule.bysecond.is_empty() && rule.byminute.is_empty() && rule.byhour.is_empty());
    let by_day = rule.byday.iter().map(|day| {
        let ordinal = i8::try_from(day.ordwk.unwrap_or(0)).ok()?;
        Some((ordinal, moment::weekday(day.weekday)))
    });
    Ok(Rule {
        frequency,
        interval: u32::from(rule.interval.unwrap_or(1)),
        end,
        by_month: rule.bymonth.iter().map(|month| month.month()).collect(),
        by_month_day: rule.bymonthday.clone(),
        by_day: by_day
            .collect::<Option<_>>()
            .ok_or_else(|| Unreadable::new("RRULE: BYDAY is malformed"))?,
        by_set_pos: rule.bysetpos.clone(),
        week_start: rule.wkst.map_or(Weekday::Monday, moment::weekday),
        others: foreign || finer || !rule.byyearday.is_empty() || !rule.byweekno.is_empty(),
    })
}
