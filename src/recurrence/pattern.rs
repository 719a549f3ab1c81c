//! A rule (RFC 5545 §3.3.10) as one of the six patterns that Exchange knows, or the reason why not.
//! Pure.
//!
//! Source: Graph's recurrencePattern and recurrenceRange resources. Two differences decide most of it:
//! Exchange takes a relative pattern once in a period, and counts DTSTART only if it fits. Nothing here
//! may approximate: a rule either gives the same occurrences for ever, or is refused.

use std::collections::BTreeSet;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

use super::rule::{Dates, instant, local, plus_days, plus_months, positions, within, zone};
use crate::ical::{Frequency, Moment, Rule, RuleEnd};

/// The most that Exchange takes for days; nobody means more for the other patterns.
const INTERVAL_MAX: u32 = 99;
/// The Gregorian calendar repeats itself after 400 years.
const CALENDAR_MONTHS: i64 = 400 * 12;

/// What repeats. Weekdays ascend from Monday, each once, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    Daily { interval: u32 },
    Weekly { interval: u32, days: Vec<Weekday>, first_day: Weekday },
    AbsoluteMonthly { interval: u32, day: i8 },
    RelativeMonthly { interval: u32, days: Vec<Weekday>, index: Index },
    AbsoluteYearly { interval: u32, month: i8, day: i8 },
    RelativeYearly { interval: u32, month: i8, days: Vec<Weekday>, index: Index },
}

/// Which of the days that are meant, once in a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Index {
    First,
    Second,
    Third,
    Fourth,
    Last,
}

impl Index {
    /// RFC 5545's numbers: from 1 at the beginning, -1 at the end.
    fn of(number: i32) -> Option<Index> {
        Some(match number {
            1 => Index::First,
            2 => Index::Second,
            3 => Index::Third,
            4 => Index::Fourth,
            -1 => Index::Last,
            _ => return None,
        })
    }
}

/// How long it repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    NoEnd,
    /// Inclusive, in the zone of the start.
    EndDate(Date),
    /// At least 1, the start among them.
    Numbered(u32),
}

/// A rule as Exchange keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    pub pattern: Pattern,
    pub range: Range,
    /// DTSTART's local date, which is the first occurrence.
    pub start_date: Date,
}

/// Why Exchange has no pattern for a rule, in words that follow "the rule …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Inexpressible {
    pub why: &'static str,
}

fn refuse<T>(why: &'static str) -> Result<T, Inexpressible> {
    Err(Inexpressible { why })
}

/// The pattern and range that give the same occurrences as `rule` for an event that starts at `start`.
///
/// `floating`: the zone of whole days and of times without one. RDATE and EXDATE are not looked at.
pub fn graph_pattern(
    rule: &Rule,
    start: &Moment,
    floating: &TimeZone,
) -> Result<Series, Inexpressible> {
    if rule.interval == 0 || rule.interval > INTERVAL_MAX {
        return refuse("has an INTERVAL that is 0 or beyond 999");
    }
    let start_date = local(start).date();
    match Dates::new(rule, start_date, start_date) {
        None => return refuse("has parts below the day, or of weeks or days of the year"),
        // RFC 5545 §3.8.5.3: DTSTART is an occurrence all the same; Exchange would leave it out.
        Some(dates) if !dates.start_fits() => {
            return refuse("does not include the event's own start");
        }
        Some(_) => {}
    }
    let range = range(&rule.end, start, floating)?;
    let pattern = match rule.frequency {
        Frequency::Daily => daily(rule)?,
        Frequency::Weekly => weekly(rule, start_date)?,
        Frequency::Monthly => monthly(rule, start_date)?,
        Frequency::Yearly => yearly(rule, start_date)?,
        Frequency::Finer => return refuse("repeats within a day"),
    };
    // Exchange moves the 29th to 31st to the end of a shorter month, RFC 5545 leaves the month out.
    let short = match pattern {
        Pattern::AbsoluteMonthly { interval, day } => {
            !day_is_in_each(start_date, interval, day, range)
        }
        Pattern::AbsoluteYearly { interval, day, .. } => {
            !day_is_in_each(start_date, interval * 12, day, range)
        }
        _ => false,
    };
    if short {
        return refuse("names a day that some of its months do not have");
    }
    Ok(Series { pattern, range, start_date })
}

fn daily(rule: &Rule) -> Result<Pattern, Inexpressible> {
    let interval = rule.interval;
    if !rule.by_month.is_empty() || !rule.by_month_day.is_empty() {
        return refuse("repeats daily, but only in some months or on some days of the month");
    }
    if !rule.by_set_pos.is_empty() {
        return refuse("repeats daily with BYSETPOS");
    }
    let days = weekdays(rule);
    if days.is_empty() || days.len() == 7 {
        return Ok(Pattern::Daily { interval });
    }
    if interval > 1 {
        return refuse("repeats every few days, but only on some weekdays");
    }
    Ok(Pattern::Weekly { interval, days, first_day: rule.week_start })
}

fn weekly(rule: &Rule, start: Date) -> Result<Pattern, Inexpressible> {
    if !rule.by_month.is_empty() || !rule.by_month_day.is_empty() {
        return refuse("repeats weekly, but only in some months or on some days of the month");
    }
    let mut days = weekdays(rule);
    if days.is_empty() {
        days.push(start.weekday());
    }
    if !rule.by_set_pos.is_empty() {
        // The set is a week's days, in the order that WKST gives them.
        let order: Vec<i8> = in_order(days.iter().map(|day| rule.week_start.until(*day)));
        days = in_week_order(
            positions(&rule.by_set_pos, &order)
                .into_iter()
                .map(|offset| rule.week_start.wrapping_add(i64::from(offset))),
        );
    }
    Ok(Pattern::Weekly { interval: rule.interval, days, first_day: rule.week_start })
}

fn monthly(rule: &Rule, start: Date) -> Result<Pattern, Inexpressible> {
    if !rule.by_month.is_empty() {
        // Every month, but only in March: every March.
        return match rule.interval {
            1 => yearly(&Rule { frequency: Frequency::Yearly, ..rule.clone() }, start),
            _ => refuse("repeats every few months, but only in some months"),
        };
    }
    let interval = rule.interval;
    Ok(match within_month(rule, start)? {
        WithinMonth::Day(day) => Pattern::AbsoluteMonthly { interval, day },
        WithinMonth::Nth { days, index } => Pattern::RelativeMonthly { interval, days, index },
        WithinMonth::Every(days) if interval == 1 => {
            Pattern::Weekly { interval, days, first_day: rule.week_start }
        }
        WithinMonth::Every(_) => return refuse("means several days in every few months"),
    })
}

fn yearly(rule: &Rule, start: Date) -> Result<Pattern, Inexpressible> {
    let interval = rule.interval;
    let months: BTreeSet<u8> = rule.by_month.iter().copied().collect();
    let mut months = months.into_iter();
    let month = match (months.next(), months.next()) {
        (Some(month), None) => i8::try_from(month).unwrap_or(0),
        (Some(_), Some(_)) => return refuse("repeats yearly in several months"),
        (None, _) if rule.by_day.is_empty() && rule.by_month_day.is_empty() => start.month(),
        (None, _) => return yearly_in_any_month(rule, start),
    };
    Ok(match within_month(rule, start)? {
        WithinMonth::Day(day) => Pattern::AbsoluteYearly { interval, month, day },
        WithinMonth::Nth { days, index } => {
            Pattern::RelativeYearly { interval, month, days, index }
        }
        WithinMonth::Every(_) => return refuse("means several days in a month of the year"),
    })
}

/// Days or weekdays without BYMONTH: of every month, or counted within the year.
fn yearly_in_any_month(rule: &Rule, start: Date) -> Result<Pattern, Inexpressible> {
    let ordinals = in_order(rule.by_day.iter().copied().map(|(ordinal, _)| ordinal));
    match ordinals.as_slice() {
        [] | [0] if rule.interval == 1 && rule.by_set_pos.is_empty() => {
            monthly(&Rule { frequency: Frequency::Monthly, ..rule.clone() }, start)
        }
        // The first four of a weekday in the year are in January, the last is in December.
        [ordinal @ (1..=4 | -1)] if rule.by_month_day.is_empty() => {
            let month = if *ordinal > 0 { 1 } else { 12 };
            yearly(&Rule { by_month: vec![month], ..rule.clone() }, start)
        }
        _ => refuse("means several days of the year, or weekdays counted through the year"),
    }
}

/// What the day parts choose in a month.
enum WithinMonth {
    Day(i8),
    Nth {
        days: Vec<Weekday>,
        index: Index,
    },
    /// Every one of these weekdays.
    Every(Vec<Weekday>),
}

fn within_month(rule: &Rule, start: Date) -> Result<WithinMonth, Inexpressible> {
    let month_days = in_order(rule.by_month_day.iter().copied());
    let positions = in_order(rule.by_set_pos.iter().copied());
    let mut by_day = rule.by_day.clone();
    by_day.sort_unstable_by_key(|(ordinal, day)| (*ordinal, day.to_monday_one_offset()));
    by_day.dedup();

    let position = match positions.as_slice() {
        [] => None,
        [position] => Some(*position),
        _ => return refuse("names several BYSETPOS"),
    };
    let all = || weekdays_from_monday().collect::<Vec<Weekday>>();
    // The only one of a set is its first and its last.
    let of_one = matches!(position, None | Some(1 | -1));
    match (month_days.as_slice(), by_day.as_slice()) {
        ([], []) if of_one => Ok(WithinMonth::Day(start.day())),
        ([day @ 1..=31], []) if of_one => Ok(WithinMonth::Day(*day)),
        ([-1], []) if of_one => Ok(WithinMonth::Nth { days: all(), index: Index::Last }),
        // The usual way to say "the last day" in a program that knows no -1.
        ([28, 29, 30, 31], []) if position == Some(-1) => {
            Ok(WithinMonth::Nth { days: all(), index: Index::Last })
        }
        ([], [(ordinal, day)]) if *ordinal != 0 && of_one => match Index::of(i32::from(*ordinal)) {
            Some(index) => Ok(WithinMonth::Nth { days: vec![*day], index }),
            None => refuse("counts a weekday otherwise than first to fourth, or last"),
        },
        ([], days) if days.iter().all(|(ordinal, _)| *ordinal == 0) => {
            let days = in_week_order(days.iter().map(|(_, day)| *day));
            match position.map(Index::of) {
                None => Ok(WithinMonth::Every(days)),
                Some(Some(index)) => Ok(WithinMonth::Nth { days, index }),
                Some(None) => refuse("has a BYSETPOS other than 1 to 4, or -1"),
            }
        }
        ([], _) => refuse("means several weekdays of a month, each counted"),
        // "A Monday that is among the 8th to the 14th."
        (days, [(0, weekday)]) if of_one => match week_of_days(days) {
            Some(index) => Ok(WithinMonth::Nth { days: vec![*weekday], index }),
            None => refuse("asks for a weekday on certain days of the month"),
        },
        (_, []) => refuse("means several days of a month, or one counted from its end"),
        _ => refuse("asks for weekdays on certain days of the month"),
    }
}

/// Which seven days of a month these are, ascending.
fn week_of_days(days: &[i8]) -> Option<Index> {
    let first = *days.first()?;
    let is_week = days.len() == 7 && days.windows(2).all(|w| matches!(w, [a, b] if *b == a + 1));
    match first {
        1 | 8 | 15 | 22 if is_week => Index::of(i32::from(first / 7 + 1)),
        -7 if is_week => Some(Index::Last),
        _ => None,
    }
}

fn range(end: &RuleEnd, start: &Moment, floating: &TimeZone) -> Result<Range, Inexpressible> {
    let until = match end {
        RuleEnd::Never => return Ok(Range::NoEnd),
        RuleEnd::After(0) => return refuse("has a COUNT of 0"),
        RuleEnd::After(count) => return Ok(Range::Numbered(*count)),
        RuleEnd::UntilInstant(until) => zone(start, floating).to_datetime(*until).date(),
        RuleEnd::UntilLocal(until) => until.date(),
        RuleEnd::UntilDate(until) => *until,
    };
    // UNTIL is a moment, Graph's end a date: the last on which an occurrence is not beyond UNTIL. The
    // zone's day and the day of UNTIL differ by one at most.
    let whole_day = matches!(start, Moment::Date(_));
    let time = local(start).time();
    let allowed = |date: &Date| {
        let local = date.to_datetime(time);
        instant(local, zone(start, floating)).is_some_and(|at| within(end, local, at, whole_day))
    };
    match (-2..=1).rev().filter_map(|days| plus_days(until, days)).find(allowed) {
        Some(last) if last >= local(start).date() => Ok(Range::EndDate(last)),
        _ => refuse("ends before the event's start"),
    }
}

/// Whether each month that is met within the range has this day.
fn day_is_in_each(start: Date, months: u32, day: i8, range: Range) -> bool {
    if day <= 28 {
        return true;
    }
    let (count, last) = match range {
        Range::Numbered(count) => (i64::from(count), Date::MAX),
        Range::EndDate(last) => (CALENDAR_MONTHS, last),
        Range::NoEnd => (CALENDAR_MONTHS, Date::MAX),
    };
    (0..count.min(CALENDAR_MONTHS))
        .map_while(|step| plus_months(start, step * i64::from(months)))
        .take_while(|month| *month <= last)
        .all(|month| {
            let length = month.days_in_month();
            // A short month that the range ends in before its last day does not matter.
            day <= length || (month == last.first_of_month() && last.day() < length)
        })
}

/// BYDAY without its numbers.
fn weekdays(rule: &Rule) -> Vec<Weekday> {
    in_week_order(rule.by_day.iter().map(|(_, day)| *day))
}

fn in_week_order(days: impl Iterator<Item = Weekday>) -> Vec<Weekday> {
    let asked: Vec<Weekday> = days.collect();
    weekdays_from_monday().filter(|day| asked.contains(day)).collect()
}

fn weekdays_from_monday() -> impl Iterator<Item = Weekday> {
    (0..7).map(|day: i64| Weekday::Monday.wrapping_add(day))
}

/// Ascending, each once.
fn in_order<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    values.collect::<BTreeSet<T>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::ical::Zone;

    fn daily_until(end: RuleEnd) -> Rule {
        Rule {
            frequency: Frequency::Daily,
            interval: 1,
            end,
            by_month: vec![],
            by_month_day: vec![],
            by_day: vec![],
            by_set_pos: vec![],
            week_start: Weekday::Monday,
            others: false,
        }
    }

    #[test]
    fn until_is_the_day_it_is_where_the_event_is() {
        let until = |text: &str| RuleEnd::UntilInstant(text.parse().unwrap());
        let last = |zone: &str, hour: i8, end: RuleEnd| {
            let rules = TimeZone::get(zone).unwrap();
            let rule = daily_until(end);
            let start = Moment::Zoned {
                local: date(2026, 11, 1).at(hour, 0, 0, 0),
                zone: Zone { tzid: zone.to_owned(), rules: rules.clone() },
            };
            graph_pattern(&rule, &start, &rules).unwrap().range
        };
        // 23:30 UTC is the next day in Berlin, at half past midnight.
        let end = until("2026-11-20T23:30:00Z");
        assert_eq!(last("Europe/Berlin", 0, end), Range::EndDate(date(2026, 11, 21)));
        assert_eq!(last("Europe/Berlin", 1, end), Range::EndDate(date(2026, 11, 20)));
        // And still the same day in New York, at half past six in the evening.
        assert_eq!(last("America/New_York", 18, end), Range::EndDate(date(2026, 11, 20)));
        assert_eq!(last("America/New_York", 19, end), Range::EndDate(date(2026, 11, 19)));
        let end = RuleEnd::UntilDate(date(2026, 11, 20));
        assert_eq!(last("Europe/Berlin", 23, end), Range::EndDate(date(2026, 11, 20)));
    }
}
