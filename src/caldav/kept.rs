//! An object of a calendar, read once for whatever is asked about it, and when it takes place. Pure.
//!
//! RFC 4791 §4.1: one UID, so one [`Event`]. Every list of its occurrences is bounded by
//! [`INSTANCES_MAX`]; what cannot be listed is told apart from what does not take place.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::range::TimeRange;
use crate::ical::{self, Event, Moment, Occurrence, RuleEnd, Unfolded, Unreadable};
use crate::recurrence::{self, Instance, NotListed};

/// Most occurrences of one object that are looked at for one question.
pub const INSTANCES_MAX: usize = 1_000;
/// More than any zone is from UTC, and than any clock is changed by.
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// An object as it is kept.
#[derive(Debug, Clone)]
pub struct Kept {
    event: Event,
    unfolded: Unfolded,
    /// Of each VEVENT in order, which override it is.
    vevents: Vec<Option<usize>>,
}

/// From when to when an object can take place, wherever one is: for an index. `None`: without bound.
///
/// Alarms go off at other times; a question about them is not answered by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occupied {
    pub first: Option<Timestamp>,
    /// Exclusive, but for what has no length.
    pub last: Option<Timestamp>,
}

impl Kept {
    /// Reads an object. What [`super::object::read`] accepted can be read.
    pub fn read(octets: &[u8]) -> Result<Kept, Unreadable> {
        let object = ical::read(octets)?;
        let vevents = object.vevents.iter().map(|vevent| vevent.overridden).collect();
        let event = object.events.into_iter().next();
        let event = event.ok_or_else(|| Unreadable { why: "it holds no event".to_owned() })?;
        Ok(Kept { event, unfolded: Unfolded::of(octets), vevents })
    }

    pub fn event(&self) -> &Event {
        &self.event
    }

    pub fn octets(&self) -> &[u8] {
        &self.event.octets
    }

    pub fn calendar(&self) -> Result<ical::Component<'_>, Unreadable> {
        self.unfolded.calendar()
    }

    /// What the VEVENT at this place, counted from 0, is of the event.
    pub(super) fn vevent(&self, at: usize) -> Option<Which> {
        self.vevents.get(at).map(|overridden| match overridden {
            None => Which::Master,
            Some(at) => Which::Override(*at),
        })
    }
}

/// A component of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Master,
    /// The place among the overrides.
    Override(usize),
}

/// When one occurrence is, as instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

impl Times {
    fn of(start: &Moment, end: &Moment, floating: &TimeZone) -> Option<Times> {
        Some(Times { start: at(start, floating)?, end: at(end, floating)? })
    }

    pub(super) fn overlaps(&self, range: &TimeRange) -> bool {
        range.overlaps(self.start, self.end)
    }
}

/// An instant; days and floating times are in `floating`.
pub(super) fn at(moment: &Moment, floating: &TimeZone) -> Option<Timestamp> {
    recurrence::series_instant(moment, moment, floating)
}

/// The occurrences that one component speaks of and that overlap a range, ascending: of the master all
/// that have no override.
pub(super) fn times(
    event: &Event,
    which: Which,
    range: &TimeRange,
    floating: &TimeZone,
) -> Result<Vec<Times>, NotListed> {
    match which {
        Which::Override(at) => {
            let occurrence = event.overrides.get(at).map(|change| &change.occurrence);
            let times = occurrence.and_then(|o| Times::of(&o.start, &o.end, floating));
            Ok(times.into_iter().filter(|times| times.overlaps(range)).collect())
        }
        Which::Master => {
            let given = given(event, range, floating)?;
            let times = given.iter().filter(|instance| instance.overridden.is_none());
            let times = times.filter_map(|i| Times::of(&i.start, &i.end, floating));
            Ok(times.filter(|times| times.overlaps(range)).collect())
        }
    }
}

/// The occurrences that the series gives about a range: all that overlap it, and a few beside.
fn given(
    event: &Event,
    range: &TimeRange,
    floating: &TimeZone,
) -> Result<Vec<Instance>, NotListed> {
    let master = event.master.as_ref().ok_or(NotListed::NoMaster)?;
    // An occurrence before the range may last into it.
    let before = length(master).checked_add(DAY).unwrap_or(SignedDuration::MAX);
    let from = range.from().checked_sub(before).unwrap_or(Timestamp::MIN);
    recurrence::instances(event, floating, from, range.to(), INSTANCES_MAX)
}

/// All that takes place in a range, overrides put in, ascending; cancelled overrides as well, for they
/// are part of the object.
pub(super) fn instances(
    event: &Event,
    range: &TimeRange,
    floating: &TimeZone,
) -> Result<Vec<Instance>, NotListed> {
    let mut found = match event.master {
        Some(_) => given(event, range, floating)?,
        None => Vec::new(),
    };
    found.retain(|instance| instance.overridden.is_none());
    for (place, change) in event.overrides.iter().enumerate() {
        let start = event.master.as_ref().map_or(&change.occurrence.start, |master| &master.start);
        let original = recurrence::series_instant(&change.recurrence_id, start, floating);
        let Some(original) = original else { continue };
        found.push(Instance {
            recurrence_id: change.recurrence_id.clone(),
            original,
            start: change.occurrence.start.clone(),
            end: change.occurrence.end.clone(),
            overridden: Some(place),
        });
    }
    found.retain(|instance| {
        let times = Times::of(&instance.start, &instance.end, floating);
        times.is_some_and(|times| times.overlaps(range))
    });
    if found.len() > INSTANCES_MAX {
        return Err(NotListed::TooMany);
    }
    found.sort_by_key(|instance| (at(&instance.start, floating), instance.original));
    Ok(found)
}

/// How long an occurrence lasts, give or take what the clock is changed by.
fn length(occurrence: &Occurrence) -> SignedDuration {
    let zone = TimeZone::UTC;
    match Times::of(&occurrence.start, &occurrence.end, &zone) {
        Some(times) => times.end.duration_since(times.start),
        None => SignedDuration::ZERO,
    }
}

/// From when to when an event can take place.
pub fn occupied(event: &Event) -> Occupied {
    let changed = event.overrides.iter().map(|change| &change.occurrence);
    let occurrences: Vec<&Occurrence> = event.master.iter().chain(changed).collect();
    let mut firsts: Vec<_> = occurrences.iter().map(|o| earliest(&o.start)).collect();
    let mut lasts: Vec<_> = occurrences.iter().map(|o| latest(&o.end)).collect();
    // It moves all that comes after it.
    lasts.extend(event.overrides.iter().filter(|change| change.and_future).map(|_| None));
    if let Some(master) = &event.master
        && let Some(recurrence) = &master.recurrence
    {
        let lasts_for = length(master).checked_add(DAY).unwrap_or(SignedDuration::MAX);
        let end_of = |start: Option<Timestamp>| start?.checked_add(lasts_for).ok();
        for rdate in &recurrence.rdates {
            firsts.push(earliest(rdate));
            lasts.push(end_of(latest(rdate)));
        }
        if let Some(rule) = &recurrence.rule {
            lasts.push(end_of(match &rule.end {
                RuleEnd::Never => None,
                RuleEnd::UntilInstant(until) => until.checked_add(DAY).ok(),
                RuleEnd::UntilLocal(until) => latest(&Moment::Floating(*until)),
                RuleEnd::UntilDate(until) => {
                    latest(&Moment::Date(*until)).and_then(|until| until.checked_add(DAY).ok())
                }
                RuleEnd::After(_) => last_counted(event),
            }));
        }
    }
    Occupied {
        first: firsts.into_iter().collect::<Option<Vec<_>>>().and_then(|at| at.into_iter().min()),
        last: lasts.into_iter().collect::<Option<Vec<_>>>().and_then(|at| at.into_iter().max()),
    }
}

/// The start of the last occurrence of a rule with COUNT, a day more; `None` where they are too many to
/// be counted.
fn last_counted(event: &Event) -> Option<Timestamp> {
    // What was moved or taken out is counted as well, and so is not looked at.
    let master = event.master.as_ref()?;
    let recurrence = master.recurrence.as_ref()?;
    let bare = ical::Recurrence { exdates: Vec::new(), ..recurrence.clone() };
    let bare = Event {
        master: Some(Occurrence { recurrence: Some(bare), ..master.clone() }),
        overrides: Vec::new(),
        ..event.clone()
    };
    let (from, to) = (Timestamp::MIN, Timestamp::MAX);
    let listed = recurrence::instances(&bare, &TimeZone::UTC, from, to, INSTANCES_MAX).ok()?;
    listed.last()?.original.checked_add(DAY).ok()
}

/// The first instant that a moment can be, in any zone.
fn earliest(moment: &Moment) -> Option<Timestamp> {
    let instant = at(moment, &TimeZone::UTC)?;
    match moment {
        Moment::Zoned { .. } => Some(instant),
        Moment::Date(_) | Moment::Floating(_) => instant.checked_sub(DAY).ok(),
    }
}

/// The last one.
fn latest(moment: &Moment) -> Option<Timestamp> {
    let instant = at(moment, &TimeZone::UTC)?;
    match moment {
        Moment::Zoned { .. } => Some(instant),
        Moment::Date(_) | Moment::Floating(_) => instant.checked_add(DAY).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::range::{instant, utc};
    use super::*;

    fn kept(lines: &str) -> Kept {
        let lines = lines.replace('\n', "\r\n");
        let text = format!("BEGIN:VCALENDAR\r\n{lines}END:VCALENDAR\r\n");
        Kept::read(text.as_bytes()).unwrap()
    }

    /// One VEVENT of these lines.
    fn event(lines: &str) -> Kept {
        kept(&format!("BEGIN:VEVENT\nUID:1\n{lines}\nEND:VEVENT\n"))
    }

    #[track_caller]
    fn occupies(lines: &str, first: Option<&str>, last: Option<&str>) {
        let found = occupied(event(lines).event());
        let shown = (found.first.map(utc), found.last.map(utc));
        assert_eq!(shown, (first.map(str::to_owned), last.map(str::to_owned)), "{lines}");
    }

    #[test]
    fn an_object_occupies_its_time_or_all_that_it_may() {
        occupies(
            "DTSTART:20261123T090000Z\nDURATION:PT1H",
            Some("20261123T090000Z"),
            Some("20261123T100000Z"),
        );
        occupies("DTSTART;VALUE=DATE:20261123", Some("20261122T000000Z"), Some("20261125T000000Z"));
        occupies(
            "DTSTART:20261123T090000\nDTEND:20261123T093000",
            Some("20261122T090000Z"),
            Some("20261124T093000Z"),
        );
        occupies("DTSTART:20261123T090000Z\nRRULE:FREQ=DAILY", Some("20261123T090000Z"), None);
        // The day more is for the clock.
        occupies(
            "DTSTART:20261123T090000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=3\nEXDATE:20261125T090000Z",
            Some("20261123T090000Z"),
            Some("20261127T100000Z"),
        );
        occupies(
            "DTSTART:20261123T090000Z\nRRULE:FREQ=DAILY;UNTIL=20261125T090000Z",
            Some("20261123T090000Z"),
            Some("20261127T090000Z"),
        );
        occupies(
            "DTSTART:20261123T090000Z\nRDATE:20261101T090000Z,20261201T090000Z",
            Some("20261101T090000Z"),
            Some("20261202T090000Z"),
        );
        occupies(
            "DTSTART:20261123T090000Z\nRRULE:FREQ=DAILY;COUNT=1001",
            Some("20261123T090000Z"),
            None,
        );
        occupies(
            "DTSTART:20261123T090000Z\nRRULE:FREQ=HOURLY;COUNT=2",
            Some("20261123T090000Z"),
            None,
        );
    }

    #[test]
    fn an_override_reaches_beyond_its_series() {
        let object = "BEGIN:VEVENT\nUID:1\nDTSTART:20261123T090000Z\nRRULE:FREQ=DAILY;COUNT=2\nEND:VEVENT\n\
             BEGIN:VEVENT\nUID:1\nRECURRENCE-ID:20261124T090000Z\nDTSTART:20261224T090000Z\n\
             DURATION:PT1H\nEND:VEVENT\n";
        let found = occupied(kept(object).event());
        assert_eq!(found.last, instant("20261224T100000Z"));
        let future = object.replace("RECURRENCE-ID:", "RECURRENCE-ID;RANGE=THISANDFUTURE:");
        assert_eq!(occupied(kept(&future).event()).last, None);
    }

    #[test]
    fn what_is_listed_is_what_overlaps() {
        let object = kept(
            "BEGIN:VEVENT\nUID:1\nDTSTART:20261123T220000Z\nDURATION:PT4H\nRRULE:FREQ=DAILY\nEND:VEVENT\n\
             BEGIN:VEVENT\nUID:1\nRECURRENCE-ID:20261125T220000Z\nDTSTART:20261123T100000Z\n\
             DURATION:PT1H\nEND:VEVENT\n",
        );
        let range =
            TimeRange::new(instant("20261124T010000Z"), instant("20261126T230000Z")).unwrap();
        let listed = |which| {
            let times = times(object.event(), which, &range, &TimeZone::UTC).unwrap();
            times.iter().map(|times| utc(times.start)).collect::<Vec<_>>()
        };
        assert_eq!(
            listed(Which::Master),
            ["20261123T220000Z", "20261124T220000Z", "20261126T220000Z"]
        );
        assert_eq!(listed(Which::Override(0)), [] as [&str; 0]);
        // The moved one is its override's alone.
        let range =
            TimeRange::new(instant("20261123T000000Z"), instant("20261126T230000Z")).unwrap();
        let listed = |which| times(object.event(), which, &range, &TimeZone::UTC).unwrap().len();
        assert_eq!((listed(Which::Master), listed(Which::Override(0))), (3, 1));
        let range = TimeRange::new(None, instant("20261123T230000Z")).unwrap();
        let all = instances(object.event(), &range, &TimeZone::UTC).unwrap();
        let starts: Vec<String> =
            all.iter().map(|i| utc(at(&i.start, &TimeZone::UTC).unwrap())).collect();
        assert_eq!(starts, ["20261123T100000Z", "20261123T220000Z"]);
        assert_eq!(object.vevent(0), Some(Which::Master));
        assert_eq!(object.vevent(1), Some(Which::Override(0)));
        assert_eq!(object.vevent(2), None);
    }

    #[test]
    fn more_than_are_looked_at_are_not_listed() {
        let object = event("DTSTART:20261123T090000Z\nRRULE:FREQ=DAILY");
        let range = TimeRange::new(instant("20261123T000000Z"), None).unwrap();
        let listed = instances(object.event(), &range, &TimeZone::UTC);
        assert_eq!(listed, Err(NotListed::TooMany));
    }
}
