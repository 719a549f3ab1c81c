//! What happens to our events in Outlook, taken over into what is remembered and into the calendar that
//! clients see: answers of attendees, moves, deletions.
//!
//! Only events that the bridge made are looked at, each by its id. Where a client changes the same, its
//! change goes first, and Outlook is looked at again behind it; a client that says which ETag it knows
//! hears of what changed before it changes anything (412). So the last word is that of the last who
//! spoke, and nobody speaks over what he has not seen unless he wants to.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::translate::{Series, schedule};
use super::{Ended, Executor, Missed, later, mirror};
use crate::account::Account;
use crate::graph::event::Occurrences;
use crate::graph::pace::Slot;
use crate::graph::resource::{self, DateTimeTimeZone, EventBody};
use crate::graph::{outside, zone};
use crate::ical::edit::{self, NotEdited, Which};
use crate::ical::{Moment, PartStat, Zone};
use crate::invite::{self, Change, Goal, OccurrenceDone, Part, Shall, Wanted};
use crate::store::calendar::Mirrored;
use crate::store::invites::Watched;

/// What is seen of one event.
enum Seen {
    Gone,
    Stands(Box<resource::Event>),
}

/// The object of an invite, and what became of it.
struct Copy {
    octets: Vec<u8>,
    answers_alone: bool,
    gone: bool,
    why: Vec<String>,
}

impl Executor {
    /// Looks at the events of one invite. What happened to them is written down; `false`: nothing had,
    /// or a client changes the same at this moment.
    pub async fn look_outside(
        &self,
        account: &Arc<Account>,
        slot: &Slot,
        mut watched: Watched,
    ) -> Result<bool, Ended> {
        let uid = watched.invite.uid.clone();
        let object = self.store.object_of_uid(account.id, &uid).await;
        let Some((_, object)) = object.map_err(|error| later(error.to_string()))? else {
            return Ok(false);
        };
        let graph = self.graph.paced(slot);
        let octets = object.octets.clone();
        let mut copy = Copy { octets, answers_alone: true, gone: false, why: Vec::new() };
        for part in &mut watched.invite.parts {
            let Some(event) = part.done.event.clone() else { continue };
            if !matches!(part.goal, Goal::Stand(_)) || part.done.begun {
                continue;
            }
            let seen = self
                .with_token_of(account.id, &graph, |graph, token| {
                    let id = event.id.clone();
                    async move { graph.event(token.expose(), &id).await }
                })
                .await;
            let seen = match seen {
                Ok(event) if event.is_cancelled == Some(true) => Seen::Gone,
                Ok(event) => Seen::Stands(Box::new(event)),
                Err(Missed::Gone) => Seen::Gone,
                Err(missed) => return Err(missed.into()),
            };
            copy.take_over(part, seen);
            if is_series_that_stands(part) {
                let seen = self
                    .with_token_of(account.id, &graph, |graph, token| {
                        let id = event.id.clone();
                        async move { graph.occurrences(token.expose(), &id).await }
                    })
                    .await;
                match seen {
                    Ok(seen) => copy.take_over_occurrences(part, &seen),
                    // The next look says so.
                    Err(Missed::Gone) => {}
                    Err(missed) => return Err(missed.into()),
                }
            }
        }
        if copy.why.is_empty() {
            return Ok(false);
        }
        for why in &copy.why {
            tracing::info!(uid, why, "seen in Outlook");
        }
        let mirrored = match (copy.gone, mirror::of_octets(copy.octets)) {
            (true, _) => Mirrored::Gone,
            (false, Mirrored::Is { octets, span, .. }) => {
                Mirrored::Is { octets, span, answers_alone: copy.answers_alone }
            }
            (false, other) => other,
        };
        let etag = Some(object.etag);
        let taken = self.store.take_over(account.id, watched, etag, mirrored, copy.why).await;
        taken.map_err(|error| later(error.to_string()))
    }
}

impl Copy {
    fn take_over(&mut self, part: &mut Part, seen: Seen) {
        let event = match seen {
            Seen::Stands(event) => event,
            Seen::Gone => return self.gone(part),
        };
        let Goal::Stand(wanted) = &mut part.goal else { return };
        for (address, answer) in outside::answers(&event) {
            let is = |one: &&mut crate::ical::Attendee| {
                one.address.as_str().eq_ignore_ascii_case(address)
            };
            let Some(attendee) = wanted.attendees.iter_mut().find(is) else { continue };
            if attendee.partstat == answer {
                continue;
            }
            attendee.partstat = answer;
            if let Some(done) = part.done.attendees.iter_mut().find(is) {
                done.partstat = answer;
            }
            self.why.push(format!("{address} {}", word(answer)));
            let (original, attendee) = (part.original, attendee.address.clone());
            self.edit(original, wanted, |octets, named| {
                let which = named.map_or(Which::Master, Which::Override);
                edit::set_answer(octets, which, &attendee, Some(answer), None)
            });
        }
        // What is on its way to the mailbox is not compared with what is there.
        if part.done.content.as_ref() != Some(&wanted.content) {
            return;
        }
        let Ok(ours) = serde_json::from_value::<EventBody>(wanted.content.clone()) else { return };
        let Some(moved) = outside::moved(&ours, &event) else { return };
        let all_day = moved.is_all_day;
        let times = moment(&moved.start, all_day).zip(moment(&moved.end, all_day));
        let (Some((start, end)), Ok(content)) = (times, serde_json::to_value(&moved)) else {
            return;
        };
        wanted.schedule = schedule(&content);
        part.given = part.given.as_ref().map(|_| invite::mark(&content));
        part.done.content = Some(content.clone());
        wanted.content = content;
        self.answers_alone = false;
        self.why.push(format!("moved in Outlook to {}", moved.start.date_time));
        self.edit(part.original, wanted, |octets, named| {
            edit::set_times(octets, named, &start, &end)
        });
    }

    /// Single occurrences that were cancelled or moved.
    fn take_over_occurrences(&mut self, part: &mut Part, seen: &Occurrences) {
        let Goal::Stand(wanted) = &mut part.goal else { return };
        let Some(series) = Series::of_wanted(wanted) else { return };
        let all_day = wanted.content["isAllDay"] == true;
        for date in seen.cancelled() {
            let Some(original) = series.on(date) else { continue };
            let does_not = |change: &Change| change.shall == Shall::NotTakePlace;
            let is_known = wanted.occurrences.get(&original).is_some_and(does_not)
                || part.done.occurrences.get(&original).is_some_and(|done| done.cancelled);
            if is_known {
                continue;
            }
            let (version, shall) = (part.version.clone(), Shall::NotTakePlace);
            wanted.occurrences.insert(original, Change { version, shall });
            let done = OccurrenceDone { cancelled: true, ..OccurrenceDone::default() };
            part.done.occurrences.insert(original, done);
            self.answers_alone = false;
            self.why.push(format!("the occurrence of {date} was deleted in Outlook"));
            let named = if all_day { Moment::Date(date) } else { utc(original) };
            self.keep(edit::exclude_occurrence(&self.octets, &named));
        }
        for event in &seen.exception_occurrences {
            let Some(original) = event.original_start else { continue };
            // Whole days are midnight in UTC here, and in the zone of the series there.
            let date = TimeZone::UTC.to_datetime(original).date();
            let original = if all_day { series.on(date) } else { Some(original) };
            let Some(original) = original else { continue };
            let Some(given) = series.given(original) else { continue };
            let change = wanted.occurrences.get(&original);
            let done = part.done.occurrences.get(&original);
            let content = change.and_then(|change| match &change.shall {
                Shall::TakePlace { content, .. } => content.clone(),
                Shall::NotTakePlace => None,
            });
            // What is on its way to the mailbox is not compared with what is there.
            let is_settled = content == done.and_then(|done| done.content.clone())
                && !change.is_some_and(|change| change.shall == Shall::NotTakePlace);
            let ours: Option<EventBody> = match content {
                Some(content) => serde_json::from_value(content).ok(),
                None => Some(given.clone()),
            };
            let Some(ours) = ours.filter(|_| is_settled) else { continue };
            let Some(moved) = outside::moved(&ours, event) else { continue };
            let times =
                |body: &EventBody| moment(&body.start, all_day).zip(moment(&body.end, all_day));
            let (Some((start, end)), Some((given_start, given_end))) =
                (times(&moved), times(&given))
            else {
                continue;
            };
            let Ok(content) = serde_json::to_value(&moved) else { continue };
            let (version, shall) = (part.version.clone(), Shall::as_given());
            let change = wanted.occurrences.entry(original).or_insert(Change { version, shall });
            if let Shall::TakePlace { content: kept, .. } = &mut change.shall {
                *kept = Some(content.clone());
            }
            let done = part.done.occurrences.entry(original).or_default();
            (done.id, done.content) = (Some(event.id.clone()), Some(content));
            self.answers_alone = false;
            let to = &moved.start.date_time;
            self.why.push(format!("the occurrence of {original} was moved in Outlook to {to}"));
            let named = if all_day { Moment::Date(date) } else { utc(original) };
            let with = edit::add_override(&self.octets, &named, &given_start, &given_end);
            let with = with.and_then(|octets| edit::set_times(&octets, Some(&named), &start, &end));
            self.keep(with);
        }
    }

    fn gone(&mut self, part: &mut Part) {
        part.goal = Goal::Cancelled;
        part.done.cancelled = true;
        self.answers_alone = false;
        match part.original {
            None => {
                self.gone = true;
                self.why.push("cancelled or deleted in Outlook".to_owned());
            }
            Some(original) => {
                self.why.push(format!("the occurrence of {original} was deleted in Outlook"));
                let named = utc(original);
                self.keep(edit::exclude_occurrence(&self.octets, &named));
            }
        }
    }

    /// Changes the component that a part is: the master, or an override, which is made where there is none.
    fn edit(
        &mut self,
        original: Option<Timestamp>,
        wanted: &Wanted,
        change: impl FnOnce(&[u8], Option<&Moment>) -> Result<Vec<u8>, NotEdited>,
    ) {
        let Some(original) = original else {
            return self.keep(change(&self.octets, None));
        };
        let named = utc(original);
        let body: Option<EventBody> = serde_json::from_value(wanted.content.clone()).ok();
        let times = body.and_then(|body| {
            moment(&body.start, body.is_all_day).zip(moment(&body.end, body.is_all_day))
        });
        let Some((start, end)) = times else { return };
        let with_override = edit::add_override(&self.octets, &named, &start, &end);
        self.keep(with_override.and_then(|octets| change(&octets, Some(&named))));
    }

    /// What cannot be written into the object stays as the client wrote it, and is said.
    fn keep(&mut self, edited: Result<Vec<u8>, NotEdited>) {
        match edited {
            Ok(octets) => self.octets = octets,
            Err(error) => self.why.push(format!("which the calendar does not show: {error}")),
        }
    }
}

/// One whose times are those that are wanted: else its occurrences are other ones by now.
fn is_series_that_stands(part: &Part) -> bool {
    match &part.goal {
        Goal::Stand(wanted) => {
            wanted.recurs
                && part.original.is_none()
                && part.done.content.as_ref() == Some(&wanted.content)
        }
        Goal::Cancelled => false,
    }
}

fn utc(at: Timestamp) -> Moment {
    let zone = Zone { tzid: "UTC".to_owned(), rules: TimeZone::UTC };
    Moment::Zoned { local: TimeZone::UTC.to_datetime(at), zone }
}

/// A time of Graph's as an object says it.
fn moment(time: &DateTimeTimeZone, all_day: bool) -> Option<Moment> {
    let local: DateTime = time.date_time.parse().ok()?;
    if all_day {
        return Some(Moment::Date(local.date()));
    }
    let rules = zone::by_windows_name(&time.time_zone)?;
    let tzid = rules.iana_name().unwrap_or("UTC").to_owned();
    Some(Moment::Zoned { local, zone: Zone { tzid, rules } })
}

fn word(answer: PartStat) -> &'static str {
    match answer {
        PartStat::Accepted => "accepted",
        PartStat::Declined => "declined",
        PartStat::Tentative => "accepted tentatively",
        PartStat::NeedsAction | PartStat::Other => "has not answered",
    }
}
