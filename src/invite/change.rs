//! What a message says of one occurrence, taken over. Pure.
//!
//! RFC 5546 §3.2.2.3 and §3.2.5: an occurrence is named by its RECURRENCE-ID, and may be an event of
//! its own or a date of a series.

use std::fmt;

use jiff::Timestamp;

use super::{Change, Goal, Invite, Part, Said, Shall, Version, Wanted, add, same_person};
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
    let own = invite.parts.iter().position(|part| {
        let is_off = part.stands_in && matches!(part.goal, Goal::Cancelled);
        part.original == said.original && !is_off
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
            own(part, said, version.clone(), &invited, tally);
            if let Some(content) = said.content.as_ref().filter(|_| is_off && !invited.is_empty()) {
                tally.changed += 1;
                let wanted = Wanted {
                    content: content.clone(),
                    schedule: said.schedule.clone(),
                    recurs: said.recurs,
                    attendees: invited,
                    attachments: Vec::new(),
                    occurrences: Default::default(),
                };
                let (given, stands_in) = (part.given.clone(), part.stands_in);
                anew(invite, original, given, stands_in, version, wanted);
            }
        }
        Place::Own(Part { goal: Goal::Stand(wanted), .. }) => {
            tally.attendees += add(&mut wanted.attendees, &invited);
        }
        Place::Own(_) => {}
        Place::Dated(series, of) => {
            let before = series.occurrences.get(&original);
            let is_newer = version.is_newer_than(before.map_or(&of, |before| &before.version))
                || before.is_none() && version.arrived == of.arrived;
            let shall = before.map(|before| before.shall.clone());
            let (mut added, removed, standing) = match shall {
                Some(Shall::TakePlace { content, added, removed }) => {
                    (added, removed, Some(content))
                }
                Some(Shall::NotTakePlace) if !is_newer => return Ok(()),
                // Exchange never brings back what was removed from a series.
                Some(Shall::NotTakePlace) => {
                    let Some(content) = said.content.clone().filter(|_| !invited.is_empty()) else {
                        return Ok(());
                    };
                    tally.changed += 1;
                    let wanted = Wanted {
                        content,
                        schedule: said.schedule.clone(),
                        recurs: said.recurs,
                        attendees: invited,
                        attachments: Vec::new(),
                        occurrences: Default::default(),
                    };
                    anew(invite, original, None, true, version, wanted);
                    return Ok(());
                }
                None => (Vec::new(), Vec::new(), Some(None)),
            };
            if said.cancelled {
                if is_newer && standing.is_some() {
                    tally.cancelled += 1;
                    series
                        .occurrences
                        .insert(original, Change { version, shall: Shall::NotTakePlace });
                }
                return Ok(());
            }
            // Who was taken off this one and is invited again is of the series again.
            let mut removed = removed;
            removed.retain(|out| !invited.iter().any(|one| one.address.same_mailbox(out)));
            let of_the_series =
                |one: &Attendee| series.attendees.iter().any(|all| same_person(all, one));
            let beside: Vec<Attendee> =
                invited.iter().filter(|one| !of_the_series(one)).cloned().collect();
            let more = add(&mut added, &beside);
            let content = match (is_newer, &standing) {
                (true, Some(None)) if said.as_given => None,
                (true, _) => said.content.clone(),
                (false, Some(content)) => content.clone(),
                (false, None) => return Ok(()),
            };
            let is_changed = standing.as_ref() != Some(&content);
            if is_changed || more > 0 {
                tally.changed += usize::from(is_changed);
                tally.attendees += more;
                let version = if is_newer {
                    version
                } else {
                    before.map_or(of, |before| before.version.clone())
                };
                let shall = Shall::TakePlace { content, added, removed };
                series.occurrences.insert(original, Change { version, shall });
            }
        }
    }
    Ok(())
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

/// Another event for an occurrence whose own was cancelled, or that has none.
fn anew(
    invite: &mut Invite,
    original: Timestamp,
    given: Option<String>,
    stands_in: bool,
    version: Version,
    wanted: Wanted,
) {
    let generation = invite.next_generation();
    let original = Some(original);
    invite.parts.retain(|part| part.original != original || part.is_owed());
    let (goal, done) = (Goal::Stand(Box::new(wanted)), Default::default());
    invite.parts.push(Part { original, generation, given, stands_in, version, goal, done });
}

/// Makes an event of its own of an occurrence that its series cannot have: it was removed before, or
/// would come to lie over a neighbour.
pub fn stand_in(invite: &mut Invite, original: Timestamp) {
    let Some((_, series)) =
        invite.standing_mut().find(|(_, one)| one.occurrences.contains_key(&original))
    else {
        return;
    };
    let Some(Change { version, shall }) = series.occurrences.get_mut(&original) else { return };
    let attendees = shall.attendees(&series.attendees);
    let Shall::TakePlace { content, .. } = std::mem::replace(shall, Shall::NotTakePlace) else {
        return;
    };
    // As the series gives it, which gives it no more: nobody knows how it would be.
    let Some(content) = content else { return };
    let version = version.clone();
    let wanted = Wanted {
        schedule: String::new(),
        recurs: false,
        attendees,
        attachments: series.attachments.clone(),
        occurrences: Default::default(),
        content,
    };
    anew(invite, original, None, true, version, wanted);
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
            let shall = before.map_or(
                Shall::TakePlace { content: None, added: Vec::new(), removed: Vec::new() },
                |before| before.shall.clone(),
            );
            let all = shall.attendees(&series.attendees);
            let shall = match shall {
                Shall::NotTakePlace => return Ok(()),
                _ if is_whole(&all) => {
                    tally.cancelled += 1;
                    Shall::NotTakePlace
                }
                Shall::TakePlace { content, mut added, mut removed } => {
                    added.retain(|one| !listed(one));
                    let out = series.attendees.iter().filter(|one| listed(one));
                    for one in out {
                        if !removed.iter().any(|known| known.same_mailbox(&one.address)) {
                            removed.push(one.address.clone());
                        }
                    }
                    let shall = Shall::TakePlace { content, added, removed };
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
