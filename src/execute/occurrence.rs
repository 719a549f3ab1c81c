//! Single occurrences of a series: found by the start that the series gives them, then changed or taken
//! away like events.
//!
//! Graph names an occurrence by an id of its own, which is written down before anything is done to it:
//! what was moved is not found again where it was.

use jiff::Timestamp;

use super::converge::{At, body};
use super::{Ended, Executor, Missed, Refused, Turn};
use crate::graph::resource::Event;
use crate::graph::{convert, difference};
use crate::invite::{self, Done, Goal, OccurrenceDone, Part, Shall, Wanted};
use crate::plan::EventAction;

impl Executor {
    /// Makes one call about an occurrence, and writes into `done` what stands after it.
    pub(super) async fn make_occurrence(
        &self,
        at: &At<'_>,
        wanted: &Wanted,
        action: &EventAction,
        done: &mut Done,
    ) -> Result<(), Missed> {
        let id_of = |original: &Timestamp| {
            let known = at.part.done.occurrences.get(original);
            known.and_then(|one| one.id.clone()).unwrap_or_default()
        };
        match action {
            EventAction::Find(original) => {
                let all_day = is_all_day(wanted);
                let found = self.find(at.turn, at.id(), *original, all_day).await?;
                let one = done.occurrences.entry(*original).or_default();
                one.cancelled = found.is_none();
                one.id = found;
            }
            EventAction::CancelOccurrence(original) | EventAction::DeleteOccurrence(original) => {
                let tell = matches!(action, EventAction::CancelOccurrence(_));
                match self.take_away(at, &id_of(original), tell).await {
                    Ok(()) | Err(Missed::Gone) => {}
                    Err(missed) => return Err(missed),
                }
                let cancelled = OccurrenceDone { cancelled: true, ..OccurrenceDone::default() };
                done.occurrences.insert(*original, cancelled);
            }
            EventAction::AttachToOccurrence { original, file } => {
                self.attach(at, &id_of(original), file).await?;
                let one = done.occurrences.entry(*original).or_default();
                one.attachments.push(file.clone());
            }
            EventAction::PatchOccurrence { original, attendees } => {
                let Some(change) = wanted.occurrences.get(original) else { return Ok(()) };
                let Shall::TakePlace { content, .. } = &change.shall else { return Ok(()) };
                let one = done.occurrences.entry(*original).or_default();
                let invited = change.shall.attendees(&wanted.attendees);
                let patch = match (attendees, content) {
                    (true, _) => difference::attendees(convert::attendee_list(&invited)),
                    (false, Some(content)) => {
                        let before = one.content.as_ref().map(body).transpose()?;
                        let patch = difference::of_occurrence(before.as_ref(), &body(content)?);
                        patch.marked(&invite::mark(content))
                    }
                    (false, None) => return Ok(()),
                };
                if !patch.is_empty() {
                    let (id, patch) = (&id_of(original), &patch);
                    let event = self
                        .with_token(at.turn, |graph, token| async move {
                            graph.patch_event(token.expose(), id, patch, None).await
                        })
                        .await
                        .map_err(|missed| crossing(missed, *original))?;
                    one.id = Some(event.id);
                }
                match attendees {
                    true => one.attendees = Some(invited),
                    false => one.content.clone_from(content),
                }
            }
            _ => {}
        }
        Ok(())
    }

    async fn find(
        &self,
        turn: &Turn,
        series: &str,
        original: Timestamp,
        all_day: bool,
    ) -> Result<Option<String>, Missed> {
        self.with_token(turn, |graph, token| async move {
            graph.occurrence(token.expose(), series, original, all_day).await
        })
        .await
    }

    /// An occurrence by its id, or by the one it has got since. `None`: it does not take place.
    async fn occurrence(
        &self,
        turn: &Turn,
        series: &str,
        id: &str,
        original: Timestamp,
        all_day: bool,
    ) -> Result<Option<Event>, Ended> {
        match self.event(turn, id).await {
            Ok(found) => return Ok(Some(found)),
            Err(Missed::Gone) => {}
            Err(missed) => return Err(missed.into()),
        }
        let Some(id) = self.find(turn, series, original, all_day).await? else { return Ok(None) };
        Ok(Some(self.event(turn, &id).await?))
    }

    /// What became of a call about an occurrence that was begun.
    pub(super) async fn look_at_occurrence(
        &self,
        turn: &Turn,
        part: &mut Part,
        action: &EventAction,
    ) -> Result<(), Ended> {
        let (EventAction::PatchOccurrence { original, .. }
        | EventAction::AttachToOccurrence { original, .. }
        | EventAction::CancelOccurrence(original)
        | EventAction::DeleteOccurrence(original)) = action
        else {
            return Ok(());
        };
        let Goal::Stand(wanted) = &part.goal else { return Ok(()) };
        let series = part.done.event.as_ref().map(|event| event.id.clone()).unwrap_or_default();
        let all_day = is_all_day(wanted);
        let Some(one) = part.done.occurrences.get_mut(original) else { return Ok(()) };
        let id = one.id.clone().unwrap_or_default();
        let Some(found) = self.occurrence(turn, &series, &id, *original, all_day).await? else {
            part.done.occurrences.remove(original);
            return Ok(());
        };
        one.id = Some(found.id.clone());
        let Some(change) = wanted.occurrences.get(original) else { return Ok(()) };
        if let Shall::TakePlace { content: Some(content), .. } = &change.shall
            && found.mark() == Some(&invite::mark(content))
        {
            one.content = Some(content.clone());
        }
        if let EventAction::AttachToOccurrence { file, .. } = action
            && self.hangs(turn, &found.id, file, &one.attachments).await?
        {
            one.attachments.push(file.clone());
        }
        let invited = change.shall.attendees(&wanted.attendees);
        let is_there = |who: &crate::ical::Attendee| found.has_attendee(who.address.as_str());
        if matches!(action, EventAction::PatchOccurrence { attendees: true, .. })
            && found.attendees.len() == invited.len()
            && invited.iter().all(is_there)
        {
            one.attendees = Some(invited);
        }
        Ok(())
    }
}

fn is_all_day(wanted: &Wanted) -> bool {
    wanted.content["isAllDay"] == true
}

/// Graph: ErrorOccurrenceCrossingBoundary.
fn crossing(missed: Missed, original: Timestamp) -> Missed {
    match missed {
        Missed::Ended(Ended::Failed(Refused { diagnostic: Some(said), .. }))
            if said.contains("OccurrenceCrossingBoundary") =>
        {
            Missed::Crossing(original)
        }
        missed => missed,
    }
}
