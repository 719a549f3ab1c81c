//! Graph's `patternedRecurrence`, and the dates it stands for. Pure.
//!
//! Source: Graph `recurrencePattern`, `recurrenceRange`, "schedule repeating events in Outlook". The
//! dates are those of the series' zone; times of day are for [`super::series`]. A pattern yields at
//! most one occurrence on a date, so a date names an occurrence. Unlike RFC 5545 the start is only a
//! bound: it counts if it fits the pattern, and not otherwise.

use std::iter::once;

use jiff::civil::{Date, Weekday};
use jiff::{Span, ToSpan};
use serde::{Deserialize, Serialize};

use super::world::ShortMonths;

/// Periods (days, weeks, months or years) that are looked at: 54 years of days.
const PERIODS_MAX: i32 = 20_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recurrence {
    pub pattern: Pattern,
    pub range: Range,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pattern {
    #[serde(rename = "type")]
    pub kind: PatternType,
    pub interval: i32,
    /// 0: not given.
    #[serde(default)]
    pub month: i8,
    /// 0: not given.
    #[serde(default)]
    pub day_of_month: i8,
    #[serde(default)]
    pub days_of_week: Vec<Day>,
    pub first_day_of_week: Option<Day>,
    pub index: Option<WeekIndex>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PatternType {
    Daily,
    Weekly,
    AbsoluteMonthly,
    RelativeMonthly,
    AbsoluteYearly,
    RelativeYearly,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Day {
    Sunday,
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
}

impl Day {
    fn weekday(self) -> Weekday {
        match self {
            Day::Sunday => Weekday::Sunday,
            Day::Monday => Weekday::Monday,
            Day::Tuesday => Weekday::Tuesday,
            Day::Wednesday => Weekday::Wednesday,
            Day::Thursday => Weekday::Thursday,
            Day::Friday => Weekday::Friday,
            Day::Saturday => Weekday::Saturday,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WeekIndex {
    First,
    Second,
    Third,
    Fourth,
    Last,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Range {
    #[serde(rename = "type")]
    pub kind: RangeType,
    pub start_date: Date,
    /// Inclusive; `0001-01-01` where it does not apply.
    pub end_date: Option<Date>,
    pub recurrence_time_zone: Option<String>,
    #[serde(default)]
    pub number_of_occurrences: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RangeType {
    EndDate,
    NoEnd,
    Numbered,
}

/// What Graph shows as the end of a range that has none.
const NO_DATE: Date = jiff::civil::date(1, 1, 1);

impl Recurrence {
    /// Fills in what Graph fills in, and refuses what does not belong together. The schema has seen
    /// to it that what the type needs is there.
    pub fn checked(mut self) -> Result<Recurrence, &'static str> {
        use PatternType::*;
        let Pattern { kind, month, day_of_month, days_of_week, .. } = &self.pattern;
        let yearly = matches!(kind, AbsoluteYearly | RelativeYearly);
        let absolute = matches!(kind, AbsoluteMonthly | AbsoluteYearly);
        let by_weekday = matches!(kind, Weekly | RelativeMonthly | RelativeYearly);
        // Documented: properties that the type ignores are validated all the same.
        if *month != 0 && !yearly {
            return Err("month does not belong to this type of pattern");
        }
        if *day_of_month != 0 && !absolute {
            return Err("dayOfMonth does not belong to this type of pattern");
        }
        if !days_of_week.is_empty() && !by_weekday {
            return Err("daysOfWeek does not belong to this type of pattern");
        }
        if *kind == AbsoluteYearly && *day_of_month > longest(*month) {
            return Err("the month has no such day");
        }
        let end = self.range.end_date.filter(|end| *end != NO_DATE);
        match self.range.kind {
            RangeType::EndDate if end.is_none_or(|end| end < self.range.start_date) => {
                return Err("endDate is before startDate");
            }
            RangeType::Numbered | RangeType::NoEnd if end.is_some() => {
                return Err("endDate does not belong to this type of range");
            }
            RangeType::EndDate | RangeType::NoEnd if self.range.number_of_occurrences != 0 => {
                return Err("numberOfOccurrences does not belong to this type of range");
            }
            _ => {}
        }
        self.pattern.first_day_of_week.get_or_insert(Day::Sunday);
        self.pattern.index.get_or_insert(WeekIndex::First);
        self.range.end_date.get_or_insert(NO_DATE);
        Ok(self)
    }

    /// The dates of the series in order, cancelled ones and exceptions included.
    pub fn dates(&self, short_months: ShortMonths) -> impl Iterator<Item = Date> {
        let Range { kind, start_date, end_date, number_of_occurrences, .. } = self.range;
        let last = end_date.filter(|_| kind == RangeType::EndDate).unwrap_or(Date::MAX);
        let count = match kind {
            RangeType::Numbered => usize::try_from(number_of_occurrences).unwrap_or_default(),
            RangeType::EndDate | RangeType::NoEnd => usize::MAX,
        };
        (0..PERIODS_MAX)
            .map_while(move |number| self.pattern.period(start_date, number, short_months))
            .flatten()
            .skip_while(move |date| *date < start_date)
            .take_while(move |date| *date <= last)
            .take(count)
    }
}

impl Pattern {
    /// The dates of the `number`th period that counts, in order; `None` past the end of time.
    fn period(&self, start: Date, number: i32, short_months: ShortMonths) -> Option<Vec<Date>> {
        let steps = number.checked_mul(self.interval)?;
        match self.kind {
            PatternType::Daily => {
                Some(vec![start.checked_add(Span::new().try_days(steps).ok()?).ok()?])
            }
            PatternType::Weekly => {
                let first = self.first_day_of_week.unwrap_or(Day::Sunday).weekday();
                let into_week: Span = i32::from(start.weekday().since(first)).days();
                let weeks = Span::new().try_weeks(steps).ok()?;
                let week = start.checked_sub(into_week).ok()?.checked_add(weeks).ok()?;
                let days = once(Ok(week)).chain((1..7).map(|n| week.checked_add(n.days())));
                Some(days.filter_map(Result::ok).filter(|date| self.has(*date)).collect())
            }
            PatternType::AbsoluteMonthly | PatternType::RelativeMonthly => {
                let months = Span::new().try_months(steps).ok()?;
                let month = start.first_of_month().checked_add(months).ok()?;
                Some(self.in_month(month, short_months))
            }
            PatternType::AbsoluteYearly | PatternType::RelativeYearly => {
                let year = start.year().checked_add(i16::try_from(steps).ok()?)?;
                Some(self.in_month(Date::new(year, self.month, 1).ok()?, short_months))
            }
        }
    }

    /// The one date in the month that begins at `first`, if there is one.
    fn in_month(&self, first: Date, short_months: ShortMonths) -> Vec<Date> {
        let length = first.days_in_month();
        let day = |day: i8| Date::new(first.year(), first.month(), day).ok();
        let relative =
            matches!(self.kind, PatternType::RelativeMonthly | PatternType::RelativeYearly);
        let found = if relative {
            let mut fitting = (1..=length).filter_map(day).filter(|date| self.has(*date));
            match self.index.unwrap_or(WeekIndex::First) {
                WeekIndex::First => fitting.next(),
                WeekIndex::Second => fitting.nth(1),
                WeekIndex::Third => fitting.nth(2),
                WeekIndex::Fourth => fitting.nth(3),
                WeekIndex::Last => fitting.next_back(),
            }
        } else if self.day_of_month > length {
            match short_months {
                ShortMonths::LastDay => day(length),
                ShortMonths::Skip => None,
            }
        } else {
            day(self.day_of_month)
        };
        found.into_iter().collect()
    }

    fn has(&self, date: Date) -> bool {
        self.days_of_week.iter().any(|day| day.weekday() == date.weekday())
    }
}

/// The most days that a month can have.
fn longest(month: i8) -> i8 {
    Date::new(2024, month, 1).map_or(31, Date::days_in_month)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn dates_with(short: ShortMonths, pattern: Value, range: Value) -> Vec<String> {
        let recurrence = json!({"pattern": pattern, "range": range});
        let recurrence: Recurrence = serde_json::from_value(recurrence).unwrap();
        recurrence.checked().unwrap().dates(short).take(5).map(|date| date.to_string()).collect()
    }

    fn dates(pattern: Value, start: &str) -> Vec<String> {
        let range = json!({"type": "noEnd", "startDate": start, "endDate": "0001-01-01"});
        dates_with(ShortMonths::LastDay, pattern, range)
    }

    #[test]
    fn each_pattern_has_its_dates() {
        let daily = json!({"type": "daily", "interval": 3});
        assert_eq!(dates(daily, "2026-02-26")[..3], ["2026-02-26", "2026-03-01", "2026-03-04"]);
        let weekly = |first: &str| {
            json!({"type": "weekly", "interval": 2,
            "daysOfWeek": ["sunday", "tuesday"], "firstDayOfWeek": first})
        };
        // RFC 5545 §3.3.10: the example that WKST changes, with August 5, 1997.
        let monday = ["1997-08-05", "1997-08-10", "1997-08-19", "1997-08-24", "1997-09-02"];
        assert_eq!(dates(weekly("monday"), "1997-08-05"), monday);
        let sunday = ["1997-08-05", "1997-08-17", "1997-08-19", "1997-08-31", "1997-09-02"];
        assert_eq!(dates(weekly("sunday"), "1997-08-05"), sunday);
        let last = json!({"type": "relativeMonthly", "interval": 1, "index": "last",
            "daysOfWeek": ["monday", "tuesday", "wednesday", "thursday", "friday"]});
        assert_eq!(dates(last, "2026-01-31")[..2], ["2026-02-27", "2026-03-31"]);
        let thanksgiving = json!({"type": "relativeYearly", "interval": 1, "index": "fourth",
            "daysOfWeek": ["thursday"], "month": 11});
        assert_eq!(dates(thanksgiving, "2026-12-01")[..2], ["2027-11-25", "2028-11-23"]);
        let leap = json!({"type": "absoluteYearly", "interval": 2, "dayOfMonth": 29, "month": 2});
        assert_eq!(dates(leap, "2026-01-01")[..2], ["2026-02-28", "2028-02-29"]);
    }

    #[test]
    fn the_31st_of_a_short_month_is_a_switch() {
        let pattern = json!({"type": "absoluteMonthly", "interval": 1, "dayOfMonth": 31});
        let range =
            json!({"type": "numbered", "startDate": "2026-01-31", "numberOfOccurrences": 3});
        let moved = ["2026-01-31", "2026-02-28", "2026-03-31"];
        assert_eq!(dates_with(ShortMonths::LastDay, pattern.clone(), range.clone()), moved);
        let skipped = ["2026-01-31", "2026-03-31", "2026-05-31"];
        assert_eq!(dates_with(ShortMonths::Skip, pattern, range), skipped);
    }

    #[test]
    fn an_end_date_is_inclusive_and_a_start_that_does_not_fit_does_not_count() {
        let pattern = json!({"type": "weekly", "interval": 1, "daysOfWeek": ["friday"]});
        let end = json!({"type": "endDate", "startDate": "2026-11-23", "endDate": "2026-12-04"});
        let expected = ["2026-11-27", "2026-12-04"];
        assert_eq!(dates_with(ShortMonths::LastDay, pattern, end), expected);
    }

    #[test]
    fn a_series_without_end_far_away_ends_all_the_same() {
        for pattern in [
            json!({"type": "daily", "interval": 99}),
            json!({"type": "weekly", "interval": 99, "daysOfWeek": ["friday"]}),
            json!({"type": "absoluteMonthly", "interval": 99, "dayOfMonth": 31}),
            json!({"type": "absoluteYearly", "interval": 99, "dayOfMonth": 31, "month": 12}),
        ] {
            assert_eq!(dates(pattern.clone(), "9999-12-31"), ["9999-12-31"], "{pattern}");
            let range = json!({"type": "noEnd", "startDate": "0000-01-01"});
            let recurrence = json!({"pattern": pattern, "range": range});
            let recurrence: Recurrence = serde_json::from_value(recurrence).unwrap();
            assert!(recurrence.dates(ShortMonths::Skip).count() <= 20_000);
        }
    }
}
