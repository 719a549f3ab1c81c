//! What a message says of one occurrence, taken over. Pure.
//!
//! RFC 5546 §3.2.2.3 and §3.2.5: an occurrence is named by its RECURRENCE-ID, and may be an event of
//! its own or a date of a series.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use super::{Change, Done, Goal, Invite, Part, Said, Shall, Version, Wanted, add, same_person};
use crate::ical::Attendee;

/// What the changes of one message came to.
#[derive(Debug, Default)]
pub struct Tally {
    pub changed: usize,
    pub cancelled: usize,
    pub attendees: usize,
    pub removed: usize,
}

impl Tally {
    pub fn is_empty(&self) -> bool {
        self.changed + self.cancelled + self.attendees + self.removed == 0
    }

    pub fn only_attendees(&self) -> bool {
        self.changed + self.cancelled + self.removed == 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, what) in [
            (self.changed, "occurrences changed: "),
            (self.cancelled, "occurrences cancelled: "),
            (self.attendees, "attendees +"),
            (self.removed, "attendees -"),
        ] {
            if count > 0 {
                write!(f, "; {what}{count}")?;
            }
        }
        Ok(())
    }
}

/// Where an occurrence is.
enum Place<'i> {
    /// It is an event of its own.
    Own(&'i mut Part),
    Dated(&'i mut Wanted, Version),
}

fn place<'i>(invite: &'i mut Invite, said: &Said) -> Result<Place<'i>, &'static str> {
    // What merely stood in for it, or was given up with its rule, says nothing of it any more.
    let own = invite.parts.iter().position(|part| {
        let stands = matches!(part.goal, Goal::Stand(_));
        part.original == said.original && (stands || part.given.is_some())
    });
    let series = || {
        invite.parts.iter().position(|part| match &part.goal {
            Goal::Stand(wanted) => part.original.is_none() && wanted.recurs,
            Goal::Cancelled => false,
        })
    };
    let at = own.or_else(series).ok_or("it changes an occurrence of an event that has none")?;
    let part = invite.parts.get_mut(at).ok_or("it changes an occurrence that is not known")?;
    match (own, part) {
        (Some(_), part) => Ok(Place::Own(part)),
        (None, Part { goal: Goal::Stand(wanted), version, .. }) => {
            Ok(Place::Dated(wanted, version.clone()))
        }
        (None, _) => Err("its series was cancelled"),
    }
}

/// `invited`: those of the listed whom the mail goes to.
pub fn request(
    invite: &mut Invite,
    said: &Said,
    version: Version,
    invited: Vec<Attendee>,
    tally: &mut Tally,
) -> Result<(), &'static str> {
    let Some(original) = said.original else { return Ok(()) };
    match place(invite, said)? {
        Place::Own(part) if version.is_newer_than(&part.version) => {
            let is_off = matches!(part.goal, Goal::Cancelled);
            let (given, stands_in) = (part.given.clone(), part.stands_in);
            own(part, said, version.clone(), &invited, tally);
            if is_off {
                anew(invite, said, version, invited, (given, stands_in), tally);
            }
        }
        Place::Own(Part { goal: Goal::Stand(wanted), .. }) => {
            tally.attendees += add(&mut wanted.attendees, &invited);
        }
        Place::Own(_) => {}
        Place::Dated(series, of) => {
            let before = series.occurrences.get(&original).cloned();
            let said_before = before.as_ref().map_or(&of, |before| &before.version).clone();
            // What comes with the whole is as new as the whole.
            let is_newer = version.is_newer_than(&said_before)
                || before.is_none() && version.arrived == of.arrived;
            match before.map_or_else(Shall::as_given, |before| before.shall) {
                // Exchange never brings back what was removed from a series.
                Shall::NotTakePlace if is_newer => {
                    anew(invite, said, version, invited, (None, true), tally);
                }
                Shall::NotTakePlace => {}
                _ if said.cancelled && is_newer => {
                    tally.cancelled += 1;
                    let shall = Shall::NotTakePlace;
                    series.occurrences.insert(original, Change { version, shall });
                }
                _ if said.cancelled => {}
                shall => {
                    let version = if is_newer { version } else { said_before };
                    let after = dated(&shall, series, said, is_newer, &invited, tally);
                    if after != shall {
                        series.occurrences.insert(original, Change { version, shall: after });
                    }
                }
            }
        }
    }
    Ok(())
}

/// What a date of a series that takes place shall be after a message about it.
fn dated(
    before: &Shall,
    series: &Wanted,
    said: &Said,
    is_newer: bool,
    invited: &[Attendee],
    tally: &mut Tally,
) -> Shall {
    let mut after = before.clone();
    let Shall::TakePlace { content, added, removed, attachments } = &mut after else {
        return after;
    };
    // Who was taken off this one and is invited again is of the series again.
    removed.retain(|out| !invited.iter().any(|one| one.address.same_mailbox(out)));
    let of_the_series = |one: &Attendee| series.attendees.iter().any(|all| same_person(all, one));
    let beside = invited.iter().filter(|one| !of_the_series(one)).cloned();
    tally.attendees += add(added, &beside.collect::<Vec<_>>());
    if is_newer {
        for file in &said.attachments {
            if !attachments.iter().any(|known| known.digest == file.digest) {
                attachments.push(file.clone());
            }
        }
        // A file reaches the attendees only with an update.
        let is_given = said.as_given && content.is_none() && attachments.is_empty();
        if !is_given && *content != said.content {
            tally.changed += 1;
            content.clone_from(&said.content);
        }
    }
    after
}

/// A newer word on an occurrence that is an event of its own.
fn own(part: &mut Part, said: &Said, version: Version, invited: &[Attendee], tally: &mut Tally) {
    match (&mut part.goal, &said.content) {
        (Goal::Stand(_), _) if said.cancelled => {
            tally.cancelled += 1;
            part.goal = Goal::Cancelled;
        }
        (Goal::Stand(wanted), content) => {
            tally.attendees += add(&mut wanted.attendees, invited);
            for file in &said.attachments {
                if !wanted.attachments.iter().any(|known| known.digest == file.digest) {
                    wanted.attachments.push(file.clone());
                }
            }
            if let Some(content) = content.as_ref().filter(|content| **content != wanted.content) {
                tally.changed += 1;
                wanted.content.clone_from(content);
                wanted.schedule.clone_from(&said.schedule);
            }
        }
        (Goal::Cancelled, _) => {}
    }
    part.version = version;
}

/// Another event for an occurrence whose own was cancelled, or that has none. Nothing, if this message
/// invites nobody to it.
fn anew(
    invite: &mut Invite,
    said: &Said,
    version: Version,
    attendees: Vec<Attendee>,
    (given, stands_in): (Option<String>, bool),
    tally: &mut Tally,
) {
    let Some(content) = said.content.clone().filter(|_| !said.cancelled && !attendees.is_empty())
    else {
        return;
    };
    tally.changed += 1;
    let wanted = Wanted {
        content,
        schedule: said.schedule.clone(),
        recurs: said.recurs,
        attendees,
        attachments: said.attachments.clone(),
        occurrences: BTreeMap::new(),
    };
    push(invite, said.original, (given, stands_in), version, wanted);
}

fn push(
    invite: &mut Invite,
    original: Option<Timestamp>,
    (given, stands_in): (Option<String>, bool),
    version: Version,
    wanted: Wanted,
) {
    let generation = invite.next_generation();
    invite.parts.retain(|part| part.original != original || part.is_owed());
    let (goal, done) = (Goal::Stand(Box::new(wanted)), Done::default());
    invite.parts.push(Part { original, generation, given, stands_in, version, goal, done });
}

/// Makes an event of its own of an occurrence that its series cannot have: it was removed before, or
/// would come to lie over a neighbour.
pub fn stand_in(invite: &mut Invite, original: Timestamp) {
    let is_it = |(_, one): &(&mut Done, &mut Wanted)| one.occurrences.contains_key(&original);
    let Some((_, series)) = invite.standing_mut().find(is_it) else { return };
    let Some(Change { version, shall }) = series.occurrences.get_mut(&original) else { return };
    let attendees = shall.attendees(&series.attendees);
    let shall = std::mem::replace(shall, Shall::NotTakePlace);
    // Without a content: as the series gives it, which gives it no more. Nobody knows how it would be.
    let Shall::TakePlace { content: Some(content), attachments, .. } = shall else { return };
    let version = version.clone();
    let attachments = series.attachments.iter().chain(&attachments).cloned().collect();
    let (schedule, recurs, occurrences) = (String::new(), false, BTreeMap::new());
    let wanted = Wanted { schedule, recurs, attendees, attachments, occurrences, content };
    push(invite, Some(original), (None, true), version, wanted);
}

/// The whole occurrence, or those of its attendees who are listed.
pub fn cancel(
    invite: &mut Invite,
    said: &Said,
    version: Version,
    tally: &mut Tally,
) -> Result<(), &'static str> {
    let Some(original) = said.original else { return Ok(()) };
    let listed = |one: &Attendee| said.attendees.iter().any(|out| same_person(one, out));
    let is_whole =
        |all: &[Attendee]| said.cancelled || said.attendees.is_empty() || all.iter().all(listed);
    match place(invite, said)? {
        Place::Own(part) if version.sequence < part.version.sequence => {}
        Place::Own(part) => {
            let Goal::Stand(wanted) = &mut part.goal else { return Ok(()) };
            if is_whole(&wanted.attendees) {
                tally.cancelled += 1;
                part.goal = Goal::Cancelled;
            } else {
                let before = wanted.attendees.len();
                wanted.attendees.retain(|one| !listed(one));
                tally.removed += before - wanted.attendees.len();
            }
            part.version = version;
        }
        Place::Dated(series, of) => {
            let before = series.occurrences.get(&original);
            if version.sequence < before.map_or(&of, |before| &before.version).sequence {
                return Ok(());
            }
            let shall = before.map_or_else(Shall::as_given, |before| before.shall.clone());
            let all = shall.attendees(&series.attendees);
            let shall = match shall {
                Shall::NotTakePlace => return Ok(()),
                _ if is_whole(&all) => {
                    tally.cancelled += 1;
                    Shall::NotTakePlace
                }
                Shall::TakePlace { content, mut added, mut removed, attachments } => {
                    added.retain(|one| !listed(one));
                    let out = series.attendees.iter().filter(|one| listed(one));
                    for one in out {
                        if !removed.iter().any(|known| known.same_mailbox(&one.address)) {
                            removed.push(one.address.clone());
                        }
                    }
                    let shall = Shall::TakePlace { content, added, removed, attachments };
                    tally.removed +=
                        all.len().saturating_sub(shall.attendees(&series.attendees).len());
                    shall
                }
            };
            series.occurrences.insert(original, Change { version, shall });
        }
    }
    Ok(())
}
