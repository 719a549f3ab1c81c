//! The occurrences of a series: the dates of its recurrence, less the cancelled, with what was
//! changed of one alone. Pure.
//!
//! Source: Graph "list instances", "list calendarView", `event` (`originalStart`,
//! `cancelledOccurrences`). An occurrence is named by its original date in the series' zone.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Map, Value};

use super::event::{Content, Span, Unfit, WallTime};
use super::world::ShortMonths;

/// Occurrences that one question is answered with.
const OCCURRENCES_MAX: usize = 5_000;
const EXTENDED: &str = "singleValueExtendedProperties";

/// What became of single occurrences.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exceptions {
    pub changed: BTreeMap<Date, Exception>,
    pub cancelled: BTreeSet<Date>,
}

/// One occurrence that is not like the others.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exception {
    /// All bodies that it was patched with, one over the other.
    pub changes: Map<String, Value>,
    /// Counts the changes of the mailboxes, as that of an event does.
    pub change: u64,
    /// It was given another id when it became one.
    pub renamed: bool,
    /// Its body was replaced without the link of the series' online meeting.
    pub meeting_ended: bool,
}

impl Exceptions {
    /// Keeps those of these dates, which ascend.
    pub fn retain(&mut self, dates: impl Iterator<Item = Date>) {
        let last = self.changed.keys().chain(&self.cancelled).max().copied();
        let dates: BTreeSet<Date> =
            dates.take_while(|date| last.is_some_and(|last| *date <= last)).collect();
        self.changed.retain(|date, _| dates.contains(date));
        self.cancelled.retain(|date| dates.contains(date));
    }
}

impl Exception {
    /// Puts another body over those before.
    pub fn write(&mut self, body: &Map<String, Value>) {
        for (name, value) in body {
            match (name.as_str(), self.changes.get_mut(name), value) {
                // These are added to; the later of one id counts when they are read.
                (EXTENDED, Some(Value::Array(known)), Value::Array(more)) => {
                    known.extend(more.iter().cloned());
                    continue;
                }
                // Each of the two sets both.
                ("location", ..) => self.changes.remove("locations"),
                ("locations", ..) => self.changes.remove("location"),
                _ => None,
            };
            self.changes.insert(name.clone(), value.clone());
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Occurrence {
    pub date: Date,
    /// Of this occurrence alone: no recurrence.
    pub content: Content,
    pub original_start: Timestamp,
    /// Its change if it is an exception.
    pub exception: Option<u64>,
    /// It has another id than it had as an occurrence.
    pub renamed: bool,
}

/// A series master, as far as its occurrences depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Series<'a> {
    pub content: &'a Content,
    pub exceptions: &'a Exceptions,
    pub short_months: ShortMonths,
}

impl Series<'_> {
    /// The occurrence of this original date, unless there is none or it is cancelled.
    pub fn occurrence(&self, date: Date) -> Option<Occurrence> {
        self.dates().take_while(|known| *known <= date).find(|known| *known == date)?;
        Some(self.on(date))
    }

    /// Those that are under way at some time between `from` and `to`, by their start.
    pub fn occurrences(&self, from: Timestamp, to: Timestamp) -> Vec<Occurrence> {
        let unchanged = self.dates().filter(|date| !self.exceptions.changed.contains_key(date));
        let plain = unchanged
            .map(|date| (date, self.plain_span(date)))
            .take_while(|(_, span)| span.start_instant() < to)
            .filter(|(_, span)| overlaps(span, from, to))
            .take(OCCURRENCES_MAX)
            .map(|(date, _)| self.on(date));
        // A moved one is only where it is now.
        let moved = self.changed().into_iter();
        let moved = moved.filter(|one| overlaps(&one.content.span, from, to));
        let mut found: Vec<Occurrence> = plain.chain(moved).collect();
        found.sort_by_key(|one| (one.content.span.start_instant(), one.date));
        found.truncate(OCCURRENCES_MAX);
        found
    }

    /// Whether an occurrence may be moved to this span: it may not reach the day of a neighbour.
    pub fn crosses_boundary(&self, date: Date, moved: &Span) -> bool {
        let zone = self.content.series_zone().rules;
        let (starts, ends) = (moved.start.seen_from(&zone), moved.end.seen_from(&zone));
        let mut before = None;
        let mut after = None;
        for known in self.dates() {
            if known < date {
                before = Some(known);
            } else if known > date {
                after = Some(known);
                break;
            }
        }
        let before = before.map(|date| self.on(date).content.span);
        let after = after.map(|date| self.on(date).content.span);
        let early = before.is_some_and(|span| {
            let neighbour = span.start.seen_from(&zone);
            starts.date() <= neighbour.date() || starts < span.end.seen_from(&zone)
        });
        let late = after.is_some_and(|span| {
            let neighbour = span.start.seen_from(&zone);
            starts.date() >= neighbour.date() || ends > neighbour
        });
        early || late
    }

    /// What became exceptions, by their original dates.
    pub fn changed(&self) -> Vec<Occurrence> {
        let dates = self.exceptions.changed.keys();
        dates
            .filter(|date| !self.exceptions.cancelled.contains(date))
            .map(|d| self.on(*d))
            .collect()
    }

    /// When the occurrence of this date was to start before anybody changed it.
    pub fn original_start(&self, date: Date) -> Timestamp {
        self.plain_span(date).start_instant()
    }

    fn dates(&self) -> impl Iterator<Item = Date> {
        let dates = self.content.recurrence.as_ref().map(|r| r.dates(self.short_months));
        dates.into_iter().flatten().filter(|date| !self.exceptions.cancelled.contains(date))
    }

    /// The span of the series moved to a date, on the wall of its zone.
    fn plain_span(&self, date: Date) -> Span {
        let zone = self.content.series_zone();
        let Span { start, end, all_day } = &self.content.span;
        let (start, end) = (start.seen_from(&zone.rules), end.seen_from(&zone.rules));
        let mut at = date.to_datetime(start.time());
        if !all_day {
            // A time that the clock skips is a later one, and the end goes with it.
            at = zone.rules.to_timestamp(at).map_or(at, |there| zone.rules.to_datetime(there));
        }
        let ends = at.checked_add(end.duration_since(start)).unwrap_or(at);
        let start = WallTime { at, zone: zone.clone() };
        Span { start, end: WallTime { at: ends, zone }, all_day: *all_day }
    }

    fn on(&self, date: Date) -> Occurrence {
        let span = self.plain_span(date);
        let original_start = span.start_instant();
        let plain = Content { span, recurrence: None, ..self.content.clone() };
        let exception = self.exceptions.changed.get(&date);
        // The changes fitted when they were made.
        let changed = exception.and_then(|exception| plain.patched(&exception.changes).ok());
        let mut content = changed.unwrap_or(plain);
        if exception.is_some_and(|exception| exception.meeting_ended) {
            content.set("isOnlineMeeting", false.into());
        }
        let renamed = exception.is_some_and(|exception| exception.renamed);
        let exception = exception.map(|exception| exception.change);
        Occurrence { date, content, original_start, exception, renamed }
    }
}

pub fn overlaps(span: &Span, from: Timestamp, to: Timestamp) -> bool {
    let (start, end) = (span.start_instant(), span.end_instant());
    start < to && (end > from || start >= from)
}

/// The instants, start and end, of the event that this create body makes: what another expansion
/// of the same rule can be compared with. All-day events count from midnight UTC.
pub fn expand(
    body: &Map<String, Value>,
    from: Timestamp,
    to: Timestamp,
    short_months: ShortMonths,
) -> Result<Vec<(Timestamp, Timestamp)>, Unfit> {
    let content = Content::created(body)?;
    let of = |span: &Span| (span.start_instant(), span.end_instant());
    if content.recurrence.is_none() {
        let single = overlaps(&content.span, from, to).then(|| of(&content.span));
        return Ok(single.into_iter().collect());
    }
    let exceptions = Exceptions::default();
    let series = Series { content: &content, exceptions: &exceptions, short_months };
    Ok(series.occurrences(from, to).iter().map(|one| of(&one.content.span)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn starts(body: Value, from: &str, to: &str) -> Vec<String> {
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        let body = body.as_object().unwrap();
        let found = expand(body, from, to, ShortMonths::LastDay).unwrap();
        found.iter().map(|(start, end)| format!("{start}/{end}")).collect()
    }

    fn daily(start: &str, end: &str, zone: &str) -> Value {
        json!({
            "start": {"dateTime": start, "timeZone": zone},
            "end": {"dateTime": end, "timeZone": zone},
            "recurrence": {"pattern": {"type": "daily", "interval": 1},
                "range": {"type": "noEnd", "startDate": &start[..10]}},
        })
    }

    #[test]
    fn a_series_keeps_the_time_on_the_wall_when_the_clock_changes() {
        let body = daily("2026-03-01T09:00", "2026-03-01T10:00", "W. Europe Standard Time");
        let found = starts(body, "2026-03-28T00:00:00Z", "2026-03-30T00:00:00Z");
        assert_eq!(
            found,
            [
                "2026-03-28T08:00:00Z/2026-03-28T09:00:00Z",
                "2026-03-29T07:00:00Z/2026-03-29T08:00:00Z",
            ]
        );
    }

    #[test]
    fn a_time_that_the_clock_skips_or_repeats_happens_once() {
        let body = daily("2026-03-01T02:30", "2026-03-01T03:00", "Europe/Berlin");
        let gap = starts(body.clone(), "2026-03-29T00:00:00Z", "2026-03-29T12:00:00Z");
        assert_eq!(gap, ["2026-03-29T01:30:00Z/2026-03-29T02:00:00Z"]);
        let fold = starts(body, "2026-10-25T00:00:00Z", "2026-10-25T12:00:00Z");
        assert_eq!(fold, ["2026-10-25T00:30:00Z/2026-10-25T02:00:00Z"]);
    }
}
