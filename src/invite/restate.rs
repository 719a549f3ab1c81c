//! What a REQUEST says of the whole, taken over into the parts that are remembered. Pure.
//!
//! RFC 5546 §3.2.2: an event that was changed on its own keeps its change where the whole says nothing new
//! of it.

use super::{Attached, Goal, Invite, Part, Said, Translated, Version, Wanted, same_person};
use crate::ical::Attendee;

/// What became of it, in words.
pub enum Restated {
    Updated(String),
    Same(String),
}

/// Takes over what a message says of the whole.
pub fn restate(
    invite: &mut Invite,
    translated: &Translated,
    listed: &[Attendee],
    version: Version,
) -> Restated {
    if !version.is_newer_than(&invite.version) {
        return Restated::Same(format!("SEQUENCE {} is older", version.sequence));
    }
    let again = version.sequence == invite.version.sequence;
    let everybody =
        invite.standing().map(|(_, wanted)| wanted.attendees.clone()).next().unwrap_or_default();
    let generation = invite.next_generation();
    let (mut changed, mut moved) = (false, false);
    for said in &translated.parts {
        let Some(mark) = said.content.as_ref().map(super::mark) else { continue };
        match invite.parts.iter_mut().rfind(|part| part.original == said.original) {
            // What was said of it before is said again; what was changed since stays so.
            Some(part) if part.given.as_ref() == Some(&mark) => {}
            Some(part) if said.as_given && was_changed(part) => part.given = Some(mark),
            Some(Part { goal: Goal::Stand(wanted), given, version: of, .. }) => {
                changed = true;
                *given = Some(mark);
                of.clone_from(&version);
                if wanted.schedule != said.schedule {
                    moved |= said.original.is_none();
                    wanted.occurrences.clear();
                }
                wanted.content = said.content.clone().unwrap_or_default();
                wanted.schedule.clone_from(&said.schedule);
                wanted.recurs = said.recurs;
            }
            _ => {
                changed = true;
                moved |= said.original.is_none();
                invite.parts.retain(|part| part.original != said.original || part.is_owed());
                invite.parts.push(part(
                    said,
                    version.clone(),
                    generation,
                    everybody.clone(),
                    Vec::new(),
                ));
            }
        }
    }
    // What the rule gave and does not give any more; what stood in for an occurrence of a series that
    // has others now.
    for part in &mut invite.parts {
        let is_said = translated.parts.iter().any(|said| said.original == part.original);
        let is_over = if part.stands_in { moved } else { part.given.is_some() && !is_said };
        if is_over && !matches!(part.goal, Goal::Cancelled) {
            changed = true;
            part.goal = Goal::Cancelled;
            part.given = None;
        }
    }
    for (_, wanted) in invite.standing_mut() {
        for one in &mut wanted.attendees {
            let said = listed.iter().find(|said| same_person(said, one));
            if let Some(said) = said.filter(|said| said.role != one.role) {
                changed = true;
                one.role = said.role;
            }
        }
        for file in &translated.attachments {
            if is_new(file, &wanted.attachments, again) {
                changed = true;
                wanted.attachments.push(file.clone());
            }
        }
    }
    let before = std::mem::replace(&mut invite.version, version);
    let after = &invite.version;
    match (changed, again) {
        (false, _) => Restated::Same("the same content".to_owned()),
        (true, true) => {
            Restated::Updated(format!("update: SEQUENCE {} again, later", after.sequence))
        }
        (true, false) => {
            Restated::Updated(format!("update: SEQUENCE {} > {}", after.sequence, before.sequence))
        }
    }
}

/// Whether a single event of a series that is spread was changed or cancelled on its own.
fn was_changed(part: &Part) -> bool {
    part.given.as_ref().is_some_and(|given| match &part.goal {
        Goal::Stand(wanted) => super::mark(&wanted.content) != *given,
        Goal::Cancelled => true,
    })
}

/// Quirk(ats): one mail for each attendee, each with a file of that name made anew, is one file.
fn is_new(file: &Attached, known: &[Attached], again: bool) -> bool {
    !known.iter().any(|one| one.digest == file.digest || again && one.name == file.name)
}

/// A new event.
pub fn part(
    said: &Said,
    version: Version,
    generation: u32,
    attendees: Vec<Attendee>,
    attachments: Vec<Attached>,
) -> Part {
    let content = said.content.clone().unwrap_or_default();
    Part {
        original: said.original,
        generation,
        given: Some(super::mark(&content)),
        stands_in: false,
        version,
        goal: Goal::Stand(Box::new(Wanted {
            content,
            schedule: said.schedule.clone(),
            recurs: said.recurs,
            attendees,
            attachments,
            occurrences: Default::default(),
        })),
        done: Default::default(),
    }
}
