//! Recurrence (RFC 5545 §3.8.5): the occurrences of a series, and its rule as one of the six patterns
//! that Exchange knows. Pure.
//!
//! A rule is translated exactly or not at all: what [`graph_pattern`] refuses may be spread into single
//! events by [`instances`]. Knows no JSON; must never approximate, nor run unbounded.

mod pattern;
mod rule;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::ical::{self, Event, Moment, RuleEnd, Status};

pub use pattern::{Index, Inexpressible, Pattern, Range, Series, graph_pattern};
pub use rule::instant;
use rule::{DAYS_MAX, Dates, local, within, zone};

/// The longest list that is made only to look something up in: 27 years of days.
const LISTED_MAX: usize = 10_000;

/// One occurrence of a series that takes place.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// RFC 5545 §3.8.4.4: the start that the series gives it.
    pub recurrence_id: Moment,
    /// `recurrence_id` as an instant: Graph's `originalStart`.
    pub original: Timestamp,
    /// Its own start and end, the override's if there is one.
    pub start: Moment,
    pub end: Moment,
    /// Which of [`Event::overrides`] speaks of it.
    pub overridden: Option<usize>,
}

/// Why a series has no list of instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotListed {
    #[error("it has more occurrences than can be listed")]
    TooMany,
    #[error("its rule has parts below the day, or of weeks or days of the year")]
    Unsupported,
    #[error("one of its changes is for all later occurrences as well (RANGE=THISANDFUTURE)")]
    AndFuture,
    #[error("it has no component without RECURRENCE-ID")]
    NoMaster,
}

/// The occurrences whose `original` is in `from..to`, ascending: DTSTART, RRULE and RDATE without
/// EXDATE, with the overrides put in and the cancelled ones left out. More than `cap`: `TooMany`.
///
/// `floating` is the zone of whole days and of times without one. DTSTART is always the first occurrence
/// and counts as one (RFC 5545 §3.8.5.3), whether or not it fits its rule.
pub fn instances(
    event: &Event,
    floating: &TimeZone,
    from: Timestamp,
    to: Timestamp,
    cap: usize,
) -> Result<Vec<Instance>, NotListed> {
    let master = event.master.as_ref().ok_or(NotListed::NoMaster)?;
    if event.overrides.iter().any(|change| change.and_future) {
        return Err(NotListed::AndFuture);
    }
    let overrides: HashMap<Timestamp, usize> = event
        .overrides
        .iter()
        .enumerate()
        .filter_map(|(at, change)| {
            Some((series_instant(&change.recurrence_id, &master.start, floating)?, at))
        })
        .collect();
    let excluded = Excluded::of(master, floating);
    let mut found = Vec::new();
    for (original, recurrence_id) in originals(master, &excluded, floating, from, to, cap)? {
        let overridden = overrides.get(&original).copied();
        let change = overridden.and_then(|at| event.overrides.get(at));
        if change.is_some_and(|change| change.occurrence.status == Status::Cancelled) {
            continue;
        }
        let (start, end) = match change {
            Some(change) => (change.occurrence.start.clone(), change.occurrence.end.clone()),
            None => match end_of(master, original, &recurrence_id, floating) {
                Some(end) => (recurrence_id.clone(), end),
                None => continue,
            },
        };
        found.push(Instance { recurrence_id, original, start, end, overridden });
    }
    Ok(found)
}

impl Instance {
    /// This occurrence as an event of its own, without a rule. `None`: `event` is another one.
    pub fn single(&self, event: &Event) -> Option<ical::Occurrence> {
        let occurrence = match self.overridden {
            Some(at) => &event.overrides.get(at)?.occurrence,
            None => event.master.as_ref()?,
        };
        let (start, end) = (self.start.clone(), self.end.clone());
        Some(ical::Occurrence { start, end, recurrence: None, ..occurrence.clone() })
    }
}

/// What the series itself says of the occurrence that it starts at `recurrence_id`, whatever an override
/// says: the state that an override is a change of. Whether there is such an occurrence is not looked at.
pub fn given(
    master: &ical::Occurrence,
    recurrence_id: &Moment,
    floating: &TimeZone,
) -> Option<ical::Occurrence> {
    let original = series_instant(recurrence_id, &master.start, floating)?;
    let local = zone(&master.start, floating).to_datetime(original);
    let start = match &master.start {
        Moment::Date(_) => Moment::Date(local.date()),
        Moment::Zoned { zone, .. } => Moment::Zoned { local, zone: zone.clone() },
        Moment::Floating(_) => Moment::Floating(local),
    };
    let end = end_of(master, original, &start, floating)?;
    Some(ical::Occurrence { start, end, recurrence: None, ..master.clone() })
}

/// The starts that the series would give and that do not take place, ascending: EXDATE and cancelled
/// overrides, but only those that the rule does give. These are what is taken out of Exchange's series.
pub fn removed(event: &Event, floating: &TimeZone) -> Result<Vec<Timestamp>, NotListed> {
    let master = event.master.as_ref().ok_or(NotListed::NoMaster)?;
    let mut removed = Excluded::of(master, floating);
    let cancelled = |change: &&ical::Override| change.occurrence.status == Status::Cancelled;
    for change in event.overrides.iter().filter(cancelled) {
        removed.instants.extend(series_instant(&change.recurrence_id, &master.start, floating));
    }
    // One list of the series serves them all: from the first to the last of them, a day more for the
    // days.
    let midnights = removed.days.iter().filter_map(|day| instant(day.at(0, 0, 0, 0), floating));
    let about: BTreeSet<Timestamp> = midnights.chain(removed.instants.iter().copied()).collect();
    let (Some(first), Some(last)) = (about.first(), about.last()) else { return Ok(Vec::new()) };
    let days = SignedDuration::from_hours(48);
    let from = first.checked_sub(days).unwrap_or(Timestamp::MIN);
    let to = last.checked_add(days).unwrap_or(Timestamp::MAX);
    let starts = originals(master, &Excluded::default(), floating, from, to, LISTED_MAX)?;
    Ok(starts
        .into_iter()
        .filter(|(at, moment)| removed.has(*at, moment))
        .map(|(at, _)| at)
        .collect())
}

/// The starts that the series gives, without those excluded, by instant.
fn originals(
    master: &ical::Occurrence,
    excluded: &Excluded,
    floating: &TimeZone,
    from: Timestamp,
    to: Timestamp,
    cap: usize,
) -> Result<BTreeMap<Timestamp, Moment>, NotListed> {
    let recurrence = master.recurrence.as_ref();
    let mut starts = BTreeMap::new();
    let mut put = |at: Timestamp, moment: Moment| {
        if at >= from && at < to && !excluded.has(at, &moment) {
            starts.insert(at, moment);
        }
        if starts.len() > cap { Err(NotListed::TooMany) } else { Ok(()) }
    };

    if let Some(first) = series_instant(&master.start, &master.start, floating) {
        put(first, master.start.clone())?;
    }
    for moment in recurrence.map_or(&[][..], |recurrence| recurrence.rdates.as_slice()) {
        if let Some(at) = series_instant(moment, &master.start, floating) {
            put(at, moment.clone())?;
        }
    }
    let Some(rule) = recurrence.and_then(|recurrence| recurrence.rule.as_ref()) else {
        return Ok(starts);
    };

    let first_date = local(&master.start).date();
    let whole_day = matches!(master.start, Moment::Date(_));
    let zone = zone(&master.start, floating);
    // A day more on either side, whatever the zone's offset is.
    let day = |at: Timestamp, days| rule::plus_days(TimeZone::UTC.to_datetime(at).date(), days);
    let stop = day(to, 1).unwrap_or(Date::MAX);
    let mut dates = Dates::new(rule, first_date, stop).ok_or(NotListed::Unsupported)?;
    let limit = match rule.end {
        RuleEnd::After(count) => count,
        _ => u32::MAX,
    };
    if let (u32::MAX, Some(date)) = (limit, day(from, -1)) {
        dates.skip_to(date);
    }
    // One that is no date of the rule is counted all the same.
    let limit = limit.saturating_sub(u32::from(!dates.start_fits()));
    for (nth, date) in (0..limit).zip(dates.by_ref()) {
        if nth == DAYS_MAX {
            return Err(NotListed::TooMany);
        }
        let start = on(&master.start, date);
        let Some(at) = instant(local(&start), zone) else { break };
        if at >= to || !within(&rule.end, local(&start), at, whole_day) {
            break;
        }
        put(at, start)?;
    }
    if dates.is_exhausted() { Err(NotListed::TooMany) } else { Ok(starts) }
}

/// EXDATE, by instant and by day.
#[derive(Default)]
struct Excluded {
    instants: HashSet<Timestamp>,
    days: HashSet<Date>,
}

impl Excluded {
    fn of(master: &ical::Occurrence, floating: &TimeZone) -> Excluded {
        let mut excluded = Excluded::default();
        let dates = master.recurrence.as_ref().map_or(&[][..], |r| r.exdates.as_slice());
        for moment in dates {
            // Quirk(many): EXDATE;VALUE=DATE in a series of times takes that day out.
            if let Moment::Date(date) = moment {
                excluded.days.insert(*date);
            } else if let Some(at) = series_instant(moment, &master.start, floating) {
                excluded.instants.insert(at);
            }
        }
        excluded
    }

    fn has(&self, at: Timestamp, moment: &Moment) -> bool {
        self.instants.contains(&at) || self.days.contains(&local(moment).date())
    }
}

/// When a start that is named for a series is. A floating one is in the zone of the series; a time in
/// a series of whole days stands for its day, a day in a series of times for that day's occurrence.
pub fn series_instant(named: &Moment, start: &Moment, floating: &TimeZone) -> Option<Timestamp> {
    match (named, start) {
        (Moment::Zoned { local, zone }, Moment::Zoned { .. } | Moment::Floating(_)) => {
            instant(*local, &zone.rules)
        }
        (Moment::Date(date), start) => {
            instant(date.to_datetime(local(start).time()), zone(start, floating))
        }
        (named, Moment::Date(_)) => instant(local(named).date().at(0, 0, 0, 0), floating),
        (Moment::Floating(local), start) => instant(*local, zone(start, floating)),
    }
}

/// `start` on another day, at its own time and in its own zone.
fn on(start: &Moment, date: Date) -> Moment {
    match start {
        Moment::Date(_) => Moment::Date(date),
        Moment::Zoned { local, zone } => {
            Moment::Zoned { local: date.to_datetime(local.time()), zone: zone.clone() }
        }
        Moment::Floating(local) => Moment::Floating(date.to_datetime(local.time())),
    }
}

/// Each occurrence lasts as long as the first on the wall of the series' zone, whole days as many days.
///
/// RFC 5545 §3.8.5.3 counts an hour that the clock skips or shows twice. Quirk(outlook, and all who
/// write what people enter): a shift from 22:00 to 06:00 ends at 06:00 on those nights as well; and
/// Exchange keeps the end of a series as a time of day (MS-OXOCAL §2.2.1.44.5, EndTimeOffset).
fn end_of(
    master: &ical::Occurrence,
    original: Timestamp,
    recurrence_id: &Moment,
    floating: &TimeZone,
) -> Option<Moment> {
    match &master.end {
        Moment::Date(end) => {
            let days = end.duration_since(local(&master.start).date()).as_hours() / 24;
            Some(Moment::Date(rule::plus_days(local(recurrence_id).date(), days)?))
        }
        end => {
            let start_at = instant(local(&master.start), zone(&master.start, floating))?;
            let end_at = instant(local(end), zone(end, floating))?;
            let series_zone = zone(&master.start, floating);
            let duration = end_at.duration_since(start_at);
            let on_the_wall = series_zone.to_datetime(original).checked_add(duration).ok()?;
            // An end that the clock shows twice may be before its start: a start that is given in UTC.
            let at = instant(on_the_wall, series_zone)
                .filter(|at| *at >= original)
                .or_else(|| original.checked_add(duration).ok())?;
            let local = zone(end, floating).to_datetime(at);
            Some(match end {
                Moment::Zoned { zone, .. } => Moment::Zoned { local, zone: zone.clone() },
                _ => Moment::Floating(local),
            })
        }
    }
}
