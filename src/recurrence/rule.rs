//! The local dates that a rule gives (RFC 5545 §3.3.10), period by period. Pure.
//!
//! A rule whose parts are finer than a day is refused, so an occurrence is a date, and its time of day
//! is that of DTSTART. Nothing here knows zones but for UNTIL; nothing may run longer than its caps.

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::ical::{Frequency, Moment, Rule, RuleEnd};

/// Days that are looked at for the next date before a rule counts as endless work: 273 years, and as
/// many dates of one rule. The sparsest rule that somebody means waits 40 years for a 29 February.
pub(super) const DAYS_MAX: u32 = 100_000;
/// The most values that a BY part can hold without repeating itself (BYDAY: 7 × 107 ordinals).
const VALUES_MAX: usize = 749;

/// The dates of a rule from DTSTART's to about `stop`, ascending, without regard to COUNT and UNTIL.
///
/// DTSTART's own date is among them only if it fits the rule.
#[derive(Debug)]
pub(super) struct Dates<'r> {
    rule: &'r Rule,
    start: Date,
    /// No period is looked at that begins later.
    stop: Date,
    /// The next period, counted in steps of INTERVAL from DTSTART's.
    period: u32,
    /// What is left of the current period, descending.
    rest: Vec<Date>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// At `stop`, or at the end of the calendar.
    Over,
    Exhausted,
}

impl<'r> Dates<'r> {
    /// `None`: the rule has parts that are not of days.
    pub(super) fn new(rule: &'r Rule, start: Date, stop: Date) -> Option<Dates<'r>> {
        let fits = !rule.others
            && rule.frequency != Frequency::Finer
            && rule.interval >= 1
            && [
                rule.by_month.len(),
                rule.by_month_day.len(),
                rule.by_day.len(),
                rule.by_set_pos.len(),
            ]
            .iter()
            .all(|length| *length <= VALUES_MAX);
        fits.then(|| Dates {
            rule,
            start,
            stop,
            period: 0,
            rest: Vec::new(),
            state: State::Running,
        })
    }

    /// Whether DTSTART is a date of its own rule.
    pub(super) fn start_fits(&self) -> bool {
        first_of_period(self.rule, self.start, 0)
            .is_some_and(|first| set_of(self.rule, self.start, first).contains(&self.start))
    }

    /// The dates stopped because too many days were looked at.
    pub(super) fn is_exhausted(&self) -> bool {
        self.state == State::Exhausted
    }

    /// Skips periods that end before `date`. Only for rules that are not counted.
    pub(super) fn skip_to(&mut self, date: Date) {
        let days = (date.duration_since(self.start).as_hours() / 24).max(0);
        // Too few are skipped, never too many.
        let longest = i64::from(self.longest_period());
        let periods = days / longest / i64::from(self.rule.interval) - 1;
        self.period = u32::try_from(periods).unwrap_or(0);
    }

    /// In days.
    fn longest_period(&self) -> u32 {
        match self.rule.frequency {
            Frequency::Daily | Frequency::Finer => 1,
            Frequency::Weekly => 7,
            Frequency::Monthly => 31,
            Frequency::Yearly => 366,
        }
    }
}

impl Iterator for Dates<'_> {
    type Item = Date;

    fn next(&mut self) -> Option<Date> {
        let mut looked_at = 0;
        loop {
            if let Some(date) = self.rest.pop() {
                return Some(date);
            }
            if self.state != State::Running {
                return None;
            }
            if looked_at >= DAYS_MAX {
                self.state = State::Exhausted;
                return None;
            }
            looked_at += self.longest_period();
            let first = first_of_period(self.rule, self.start, self.period);
            let Some(first) = first.filter(|first| *first <= self.stop) else {
                self.state = State::Over;
                return None;
            };
            let mut set = set_of(self.rule, self.start, first);
            self.period += 1;
            set.retain(|date| *date >= self.start);
            set.reverse();
            self.rest = set;
        }
    }
}

/// The first date of a period. `None` beyond the calendar.
fn first_of_period(rule: &Rule, start: Date, period: u32) -> Option<Date> {
    let steps = i64::from(period).checked_mul(i64::from(rule.interval))?;
    match rule.frequency {
        Frequency::Daily => plus_days(start, steps),
        Frequency::Weekly => {
            // RFC 5545 §3.3.10: WKST matters where INTERVAL is greater than 1.
            let into_week = i64::from(rule.week_start.until(start.weekday()));
            plus_days(start, steps.checked_mul(7)?.checked_sub(into_week)?)
        }
        Frequency::Monthly => plus_months(start, steps),
        Frequency::Yearly => {
            let year = i64::from(start.year()).checked_add(steps)?;
            Date::new(i16::try_from(year).ok()?, 1, 1).ok()
        }
        Frequency::Finer => None,
    }
}

/// The rule's set in the period that begins at `first`, ascending, BYSETPOS applied.
fn set_of(rule: &Rule, start: Date, first: Date) -> Vec<Date> {
    let mut set = match rule.frequency {
        Frequency::Daily => vec![first],
        Frequency::Weekly => {
            let asked = |day: Weekday| match rule.by_day.as_slice() {
                [] => day == start.weekday(),
                days => days.iter().any(|(_, asked)| *asked == day),
            };
            // The last week of the calendar may be cut short.
            let week = (0..7).filter_map(|day| plus_days(first, day));
            week.filter(|date| asked(date.weekday())).collect()
        }
        Frequency::Monthly => days_of_month(rule, first, start, true),
        Frequency::Yearly => days_of_year(rule, first.year(), start),
        Frequency::Finer => Vec::new(),
    };
    // Where the frequency has not used it up, a BY part is a filter (RFC 5545 §3.3.10's table).
    set.retain(|date| rule.by_month.is_empty() || has_month(rule, *date));
    if matches!(rule.frequency, Frequency::Daily | Frequency::Weekly) {
        set.retain(|date| rule.by_month_day.is_empty() || has_month_day(rule, *date));
        set.retain(|date| {
            rule.by_day.is_empty() || rule.by_day.iter().any(|(_, day)| *day == date.weekday())
        });
    }
    set.sort_unstable();
    set.dedup();
    if rule.by_set_pos.is_empty() { set } else { positions(&rule.by_set_pos, &set) }
}

/// RFC 5545 §3.3.10: BYSETPOS, from 1 at the beginning or from -1 at the end of the set.
pub(super) fn positions<T: Copy + Ord>(positions: &[i32], set: &[T]) -> Vec<T> {
    let mut chosen: Vec<T> = positions
        .iter()
        .filter_map(|position| {
            let at = usize::try_from(position.unsigned_abs()).ok()?;
            let at = if *position > 0 { at.checked_sub(1) } else { set.len().checked_sub(at) }?;
            set.get(at).copied()
        })
        .collect();
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

/// `by_ordinal`: BYDAY's numbers count within the month (else: filter by the weekday alone).
fn days_of_month(rule: &Rule, first: Date, start: Date, by_ordinal: bool) -> Vec<Date> {
    let days = (1..=first.days_in_month())
        .filter_map(|day| Date::new(first.year(), first.month(), day).ok());
    let chosen = |date: &Date| match (rule.by_month_day.is_empty(), rule.by_day.is_empty()) {
        (true, true) => date.day() == start.day(),
        (false, true) => has_month_day(rule, *date),
        (no_month_day, false) => {
            (no_month_day || has_month_day(rule, *date))
                && rule.by_day.iter().any(|(ordinal, day)| {
                    *day == date.weekday() && (!by_ordinal || is_nth_of_month(*date, *ordinal))
                })
        }
    };
    days.filter(chosen).collect()
}

fn days_of_year(rule: &Rule, year: i16, start: Date) -> Vec<Date> {
    let months = (1..=12).filter_map(|month| Date::new(year, month, 1).ok());
    if !rule.by_month.is_empty() {
        return months
            .filter(|month| has_month(rule, *month))
            .flat_map(|month| days_of_month(rule, month, start, true))
            .collect();
    }
    if rule.by_month_day.is_empty() && rule.by_day.is_empty() {
        // 29 February is skipped where there is none, not moved.
        return Date::new(year, start.month(), start.day()).into_iter().collect();
    }
    // RFC 5545 §3.3.10: without BYMONTH, BYDAY's numbers count within the year.
    months
        .flat_map(|month| days_of_month(rule, month, start, false))
        .filter(|date| {
            rule.by_day.is_empty()
                || rule
                    .by_day
                    .iter()
                    .any(|(ordinal, day)| *day == date.weekday() && is_nth_of_year(*date, *ordinal))
        })
        .collect()
}

fn has_month(rule: &Rule, date: Date) -> bool {
    rule.by_month.iter().any(|month| i16::from(*month) == i16::from(date.month()))
}

fn has_month_day(rule: &Rule, date: Date) -> bool {
    let from_end = date.day() - date.days_in_month() - 1;
    rule.by_month_day.iter().any(|day| *day == date.day() || *day == from_end)
}

fn is_nth_of_month(date: Date, ordinal: i8) -> bool {
    let from_start = (date.day() - 1) / 7 + 1;
    let from_end = (date.days_in_month() - date.day()) / 7 + 1;
    ordinal == 0 || ordinal == from_start || ordinal == -from_end
}

fn is_nth_of_year(date: Date, ordinal: i8) -> bool {
    let from_start = (date.day_of_year() - 1) / 7 + 1;
    let from_end = (date.days_in_year() - date.day_of_year()) / 7 + 1;
    let ordinal = i16::from(ordinal);
    ordinal == 0 || ordinal == from_start || ordinal == -from_end
}

/// Whether an occurrence is not beyond UNTIL. COUNT is counted elsewhere.
pub(super) fn within(end: &RuleEnd, local: DateTime, at: Timestamp, whole_day: bool) -> bool {
    match end {
        RuleEnd::Never | RuleEnd::After(_) => true,
        // RFC 5545 §3.3.10 wants a DATE here. Quirk(many): whole days with UNTIL=…T235959Z or
        // …T000000Z, by which the day that is written is meant.
        RuleEnd::UntilInstant(until) if whole_day => {
            local.date() <= TimeZone::UTC.to_datetime(*until).date()
        }
        RuleEnd::UntilInstant(until) => at <= *until,
        RuleEnd::UntilLocal(until) if whole_day => local.date() <= until.date(),
        RuleEnd::UntilLocal(until) => local <= *until,
        RuleEnd::UntilDate(until) => local.date() <= *until,
    }
}

/// The local form of a moment: midnight for a whole day.
pub(super) fn local(moment: &Moment) -> DateTime {
    match moment {
        Moment::Date(date) => date.at(0, 0, 0, 0),
        Moment::Zoned { local, .. } | Moment::Floating(local) => *local,
    }
}

/// The zone that a moment is in; `floating` for those that are in any.
pub(super) fn zone<'m>(moment: &'m Moment, floating: &'m TimeZone) -> &'m TimeZone {
    match moment {
        Moment::Zoned { zone, .. } => &zone.rules,
        Moment::Date(_) | Moment::Floating(_) => floating,
    }
}

/// RFC 5545 §3.3.5: a local time that does not exist is taken with the offset before the gap, one
/// that exists twice is the first. `None` beyond the calendar.
pub fn instant(local: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    zone.to_ambiguous_timestamp(local).compatible().ok()
}

pub(super) fn plus_days(date: Date, days: i64) -> Option<Date> {
    date.checked_add(Span::new().try_days(days).ok()?).ok()
}

/// The first of the month that is `months` after the one of `date`.
pub(super) fn plus_months(date: Date, months: i64) -> Option<Date> {
    let months = (i64::from(date.year()) * 12 + i64::from(date.month()) - 1).checked_add(months)?;
    let year = i16::try_from(months.div_euclid(12)).ok()?;
    let month = i8::try_from(months.rem_euclid(12) + 1).ok()?;
    Date::new(year, month, 1).ok()
}
