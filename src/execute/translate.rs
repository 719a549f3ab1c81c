//! What an invite says, in Graph's terms. Pure.
//!
//! Which events it becomes is decided here from its recurrence alone: one, one with changed occurrences,
//! or one for each occurrence. Never approximates: what has no counterpart is an [`Untranslated`].

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::invite::{Invites, files};
use crate::graph::convert::{self, Content, Untranslatable};
use crate::graph::difference;
use crate::graph::resource::EventBody;
use crate::graph::zone::windows_name;
use crate::ical::{Moment, Occurrence, Override, Recurrence, Status, Zone};
use crate::invite::{
    self, Attached, Change, Goal, Invite, Part, Said, Shall, Translated, Untranslated, Wanted,
};
use crate::itip::Method;
use crate::mime::calendar;
use crate::recurrence::{self, NotListed};

/// Into how many events a series may be spread.
const EVENTS_MAX: usize = 100;

impl From<Untranslatable> for Untranslated {
    fn from(untranslatable: Untranslatable) -> Untranslated {
        Untranslated { why: untranslatable.why, refused: untranslatable.spreadable }
    }
}

impl From<NotListed> for Untranslated {
    fn from(not: NotListed) -> Untranslated {
        Untranslated { why: not.to_string(), refused: true }
    }
}

fn mailed(why: impl Into<String>) -> Untranslated {
    Untranslated { why: why.into(), refused: false }
}

/// `remembered` says what an occurrence is named by that comes without its series.
pub(super) fn translate(
    found: &calendar::Invite,
    settings: &Invites,
    remembered: Option<&Invite>,
    now: Timestamp,
) -> Result<Translated, Untranslated> {
    let event = &found.message.event;
    let translation = Translation { found, settings, now };
    if event.overrides.iter().any(|change| change.and_future) {
        return Err(mailed("it changes an occurrence and all later ones (RANGE=THISANDFUTURE)"));
    }
    let mut attachments: Vec<Attached> =
        files(found).into_iter().filter_map(invite::attached).collect();
    let (parts, changes) = match (&event.master, found.message.method) {
        (Some(_), Method::Cancel) => Default::default(),
        (Some(master), Method::Add) => (translation.added(master)?, Vec::new()),
        (Some(master), _) => translation.whole(master)?,
        (None, method) => {
            let series = remembered.and_then(Series::of);
            let start = event.overrides.first().map(|one| one.occurrence.start.clone());
            let start = series.as_ref().map(|series| series.start.clone()).or(start);
            let Some(start) = start else { return Err(mailed("it has no event of its own")) };
            let cancels = method == Method::Cancel;
            let change = |one| {
                let said = translation.change(one, &start, cancels)?;
                let as_given =
                    said.original.zip(said.content.as_ref()).is_some_and(|(at, wanted)| {
                        series.as_ref().is_some_and(|series| series.gives(at, wanted))
                    });
                Ok(Said { as_given, attachments: attachments.clone(), ..said })
            };
            let changes: Vec<Said> =
                event.overrides.iter().map(change).collect::<Result<_, Untranslated>>()?;
            attachments.retain(|_| series.is_none());
            (Vec::new(), changes)
        }
    };
    Ok(Translated { parts, changes, attachments })
}

/// What an object means that a client keeps: every occurrence is spoken of that is remembered as changed,
/// if only to say that it is as the series gives it.
pub(super) fn translate_object(
    found: &calendar::Invite,
    settings: &Invites,
    remembered: Option<&Invite>,
    now: Timestamp,
) -> Result<Translated, Untranslated> {
    let mut translated = translate(found, settings, remembered, now)?;
    let event = &found.message.event;
    let (Some(master), Some(remembered)) = (&event.master, remembered) else {
        return Ok(translated);
    };
    let translation = Translation { found, settings, now };
    let zone = &settings.zone;
    let is_series = translated.parts.iter().any(|said| said.original.is_none() && said.recurs);
    let own = remembered.standing().filter_map(|(part, _)| part.original);
    let dated = remembered.standing().flat_map(|(_, wanted)| wanted.occurrences.keys().copied());
    for original in own.chain(dated).filter(|_| is_series) {
        let is_said = |said: &Said| said.original == Some(original);
        if translated.parts.iter().chain(&translated.changes).any(is_said) {
            continue;
        }
        let after = original.checked_add(SignedDuration::from_secs(1)).unwrap_or(original);
        let given = recurrence::instances(event, zone, original, after, 2)?;
        let given = given.iter().find(|instance| instance.original == original);
        // A date that the series does not have any more goes with it.
        let Some(single) = given.and_then(|instance| instance.single(event)) else { continue };
        let body = translation.body(&single)?;
        let said = Said { as_given: true, ..translation.said(Some(original), master, body) };
        translated.changes.push(said);
    }
    Ok(translated)
}

/// What was done to single occurrences for a change that is taken back is undone by a word on each: it shall
/// be as the goals of before say, or as the series gives it. What Exchange has removed it does not bring
/// back, so another event stands in for it.
pub(super) fn put_occurrences_back(back: &mut Invite) {
    let Some(series) = Series::of(back) else { return };
    let mut parts = back.parts.iter_mut().filter(|part| part.original.is_none());
    let standing = parts.find_map(|part| match &mut part.goal {
        Goal::Stand(wanted) => Some((wanted, &part.done, &part.version)),
        Goal::Cancelled => None,
    });
    let Some((wanted, done, version)) = standing else { return };
    let mut removed = Vec::new();
    for (original, done) in &done.occurrences {
        let is_as_given = done.content.is_none() && done.attendees.is_none() && !done.cancelled;
        if is_as_given && !wanted.occurrences.contains_key(original) {
            continue;
        }
        let (version, shall) = (version.clone(), Shall::as_given());
        let change = wanted.occurrences.entry(*original).or_insert(Change { version, shall });
        let Shall::TakePlace { content, .. } = &mut change.shall else { continue };
        if content.is_none() && (done.cancelled || done.content.is_some()) {
            let given = series.given(*original);
            *content = given.and_then(|given| serde_json::to_value(given).ok());
        }
        if done.cancelled {
            removed.push(*original);
        }
    }
    for original in removed {
        invite::stand_in(back, original);
    }
}

struct Translation<'t> {
    found: &'t calendar::Invite,
    settings: &'t Invites,
    now: Timestamp,
}

impl Translation<'_> {
    /// The event or series, with what is different about single occurrences; or one event for each.
    fn whole(&self, master: &Occurrence) -> Result<(Vec<Said>, Vec<Said>), Untranslated> {
        let event = &self.found.message.event;
        let zone = &self.settings.zone;
        let Some(recurrence) = &master.recurrence else {
            if !event.overrides.is_empty() {
                return Err(mailed("it changes occurrences of an event that has none"));
            }
            return Ok((vec![self.said(None, master, self.body(master)?)], Vec::new()));
        };
        let rule = Recurrence { rdates: vec![], exdates: vec![], ..recurrence.clone() };
        let series = Occurrence { recurrence: Some(rule.clone()), ..master.clone() };
        let spreads = self.settings.spread;
        let body = match self.body(&series) {
            Ok(body) if rule.rule.is_some() && (recurrence.rdates.is_empty() || spreads) => body,
            Ok(_) if spreads => return Ok((self.spread()?, Vec::new())),
            Ok(_) => {
                let why = "it has dates beside its rule (RDATE), which Exchange cannot keep";
                return Err(Untranslated { why: why.to_owned(), refused: true });
            }
            Err(error) if error.spreadable && spreads => return Ok((self.spread()?, Vec::new())),
            Err(error) => return Err(error.into()),
        };
        let mut parts = vec![self.said(None, master, body)];
        let mut changes = Vec::new();
        for original in recurrence::removed(event, zone)? {
            changes.push(Said { cancelled: true, ..bare(master, Some(original)) });
        }
        for one in event.overrides.iter().filter(|one| one.occurrence.status != Status::Cancelled) {
            let mut said = self.change(one, &master.start, false)?;
            if let Some(base) = recurrence::given(&series, &one.recurrence_id, zone) {
                said.as_given = difference::same(&self.body(&base)?, &self.body(&one.occurrence)?);
            }
            changes.push(said);
        }
        // RFC 5545 §3.8.5.2: beside the rule, each once.
        let mut beside: Vec<Timestamp> = recurrence
            .rdates
            .iter()
            .filter_map(|date| recurrence::series_instant(date, &master.start, zone))
            .collect();
        beside.sort_unstable();
        beside.dedup();
        if beside.len() > EVENTS_MAX {
            return Err(NotListed::TooMany.into());
        }
        for original in beside {
            let after = original.checked_add(SignedDuration::from_secs(1)).unwrap_or(original);
            let by_rule = crate::ical::Event { master: Some(series.clone()), ..event.clone() };
            let given = recurrence::instances(&by_rule, zone, original, after, 2)?;
            if given.iter().any(|instance| instance.original == original) {
                continue;
            }
            for instance in recurrence::instances(event, zone, original, after, 2)? {
                let Some(single) = instance.single(event) else { continue };
                parts.push(self.said(Some(original), &single, self.body(&single)?));
                changes.retain(|said| said.original != Some(original));
            }
        }
        Ok((parts, changes))
    }

    /// One event for each occurrence.
    fn spread(&self) -> Result<Vec<Said>, Untranslated> {
        let (event, zone) = (&self.found.message.event, &self.settings.zone);
        let (from, to) = (Timestamp::MIN, Timestamp::MAX);
        let instances = recurrence::instances(event, zone, from, to, EVENTS_MAX);
        let instances = instances.map_err(|error| Untranslated {
            why: match error {
                NotListed::TooMany => format!(
                    "Exchange has no pattern for its recurrence, and it has more than {EVENTS_MAX} \
                     occurrences"
                ),
                other => other.to_string(),
            },
            refused: true,
        })?;
        let singles = instances.iter().filter_map(|one| Some((one, one.single(event)?)));
        singles
            .map(|(instance, single)| {
                let said = self.said(Some(instance.original), &single, self.body(&single)?);
                Ok(Said { as_given: instance.overridden.is_none(), ..said })
            })
            .collect()
    }

    /// RFC 5546 §3.2.4: what is added is known by its start.
    fn added(&self, master: &Occurrence) -> Result<Vec<Said>, Untranslated> {
        let original =
            recurrence::series_instant(&master.start, &master.start, &self.settings.zone);
        let Some(original) = original else { return Err(mailed("its start is out of range")) };
        let exact =
            master.recurrence.as_ref().is_none_or(|r| r.rdates.is_empty() && r.exdates.is_empty());
        if !exact || !self.found.message.event.overrides.is_empty() {
            return Err(mailed("it adds a series with changed occurrences"));
        }
        Ok(vec![self.said(Some(original), master, self.body(master)?)])
    }

    /// `start`: of the series, which says what the occurrence is named by.
    fn change(&self, one: &Override, start: &Moment, cancels: bool) -> Result<Said, Untranslated> {
        let original = recurrence::series_instant(&one.recurrence_id, start, &self.settings.zone);
        let Some(original) = original else {
            return Err(mailed("its RECURRENCE-ID is out of range"));
        };
        let said = bare(&one.occurrence, Some(original));
        if said.cancelled || cancels {
            return Ok(said);
        }
        Ok(self.said(Some(original), &one.occurrence, self.body(&one.occurrence)?))
    }

    fn body(&self, occurrence: &Occurrence) -> Result<EventBody, Untranslatable> {
        let Invites { zone, online_meetings, .. } = self.settings;
        let zone_name = windows_name(zone, self.now, self.now).unwrap_or("UTC");
        let settings = convert::Settings { zone, zone_name, online_meetings: *online_meetings };
        let mut content =
            Content::choose(self.found.html.as_deref(), self.found.text.as_deref(), occurrence);
        // The mail speaks for the whole; an occurrence that is described otherwise has its own words.
        let master = self.found.message.event.master.as_ref();
        let differs = |master: &Occurrence| master.description != occurrence.description;
        if master.is_some_and(differs) && occurrence.description.is_some() {
            content = Content::choose(None, None, occurrence);
        }
        convert::event_body(occurrence, &content, &settings)
    }

    fn said(&self, original: Option<Timestamp>, occurrence: &Occurrence, body: EventBody) -> Said {
        let recurs = body.recurrence.is_some();
        // Structs of strings and numbers: there is no other outcome.
        let content = serde_json::to_value(body).unwrap_or_default();
        Said {
            recurs,
            schedule: schedule(&content),
            content: Some(content),
            ..bare(occurrence, original)
        }
    }
}

fn bare(occurrence: &Occurrence, original: Option<Timestamp>) -> Said {
    Said {
        original,
        sequence: occurrence.sequence,
        dtstamp: occurrence.dtstamp,
        content: None,
        cancelled: occurrence.status == Status::Cancelled,
        as_given: false,
        schedule: String::new(),
        recurs: false,
        attendees: occurrence.attendees.clone(),
        attachments: Vec::new(),
    }
}

/// A digest of what an event's occurrences depend on.
pub(super) fn schedule(content: &Value) -> String {
    let times = ["start", "end", "isAllDay", "recurrence"].map(|name| content[name].clone());
    invite::mark(&Value::from(times.to_vec()))
}

/// The series that is remembered.
pub(super) struct Series {
    start: Moment,
    body: EventBody,
}

impl Series {
    fn of(invite: &Invite) -> Option<Series> {
        let is_series =
            |(part, wanted): &(&Part, &Wanted)| part.original.is_none() && wanted.recurs;
        let (_, series) = invite.standing().find(is_series)?;
        Series::of_wanted(series)
    }

    pub(super) fn of_wanted(series: &Wanted) -> Option<Series> {
        let body: EventBody = serde_json::from_value(series.content.clone()).ok()?;
        let local: DateTime = body.start.date_time.parse().ok()?;
        let start = match body.is_all_day {
            true => Moment::Date(local.date()),
            false => {
                let (tzid, rules) = (body.start.time_zone.clone(), zone(&body.start.time_zone)?);
                Moment::Zoned { local, zone: Zone { tzid, rules } }
            }
        };
        Some(Series { start, body })
    }

    /// What it makes of that occurrence.
    pub(super) fn given(&self, original: Timestamp) -> Option<EventBody> {
        let first: DateTime = self.body.start.date_time.parse().ok()?;
        let last: DateTime = self.body.end.date_time.parse().ok()?;
        let start = zone(&self.body.start.time_zone)?.to_datetime(original);
        let end = start.checked_add(first.until(last).ok()?).ok()?;
        let mut given = EventBody { recurrence: None, ..self.body.clone() };
        given.start.date_time = start.to_string();
        given.end.date_time = end.to_string();
        Some(given)
    }

    /// The start that it gives to the occurrence of this date.
    pub(super) fn on(&self, date: Date) -> Option<Timestamp> {
        let first: DateTime = self.body.start.date_time.parse().ok()?;
        let zone = zone(&self.body.start.time_zone)?;
        zone.to_ambiguous_timestamp(date.to_datetime(first.time())).compatible().ok()
    }

    /// Whether `wanted` is what it makes of that occurrence anyway.
    fn gives(&self, original: Timestamp, wanted: &Value) -> bool {
        let wanted: Option<EventBody> = serde_json::from_value(wanted.clone()).ok();
        let both = self.given(original).zip(wanted);
        both.is_some_and(|(given, wanted)| {
            difference::of_occurrence(Some(&given), &wanted).is_empty()
        })
    }
}

fn zone(windows: &str) -> Option<TimeZone> {
    crate::graph::zone::by_windows_name(windows)
}
