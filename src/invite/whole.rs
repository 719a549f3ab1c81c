//! What a calendar object means that a client keeps, and not a message about one. Pure.
//!
//! RFC 6638 §3.2.1: the object is the whole of the invite as its organizer wants it. So unlike by mail,
//! what is absent is gone: attendees, changes of single occurrences, dates that were taken out. Whether
//! the client knew what it replaces was settled by its precondition; so what is PUT is newer than what
//! is remembered, whatever its SEQUENCE says.
//!
//! | change | what is remembered | decision |
//! |---|---|---|
//! | PUT | nothing, or a cancelled event | create (a new generation) |
//! | PUT | an event | its parts, occurrences and attendees become those of the object |
//! | PUT with STATUS:CANCELLED, DELETE | an event | cancel |
//! | DELETE | nothing | nothing |
//! | any | a mail | refused: its first invitation went as a mail |
//! | PUT of another organizer's, or that cannot be done faithfully | – | refused |
//!
//! Attendees with SCHEDULE-AGENT=CLIENT or NONE are not on the event: Exchange would mail them, and the
//! client said that it does, or that nobody shall. Files are only ever added: Exchange is not told to
//! take one off.

use jiff::Timestamp;

use super::restate::part;
use super::{
    Attached, Change, Decision, Done, Goal, Invite, Part, Said, Shall, Translated, Untranslated,
    Version, Wanted, Way, mark, same_person,
};
use crate::account::Account;
use crate::ical::{Attendee, Event, ScheduleAgent, Status};

/// What a decision may depend on.
pub struct Kept<'k> {
    pub account: &'k Account,
    pub event: &'k Event,
    /// The spool id of the change.
    pub arrived: &'k str,
    pub invite: Option<&'k Invite>,
    /// Why no event of this account can be changed, if so.
    pub barred: Option<&'k str>,
    /// What the object says, with a word on every occurrence that is remembered.
    pub translated: Result<Translated, Untranslated>,
}

/// Decides what a PUT means. See the table above.
pub fn put(kept: &Kept<'_>) -> Decision {
    let Some(master) = &kept.event.master else {
        return refuse("it has occurrences and no event of its own");
    };
    let organizers = kept.event.overrides.iter().map(|one| &one.occurrence).chain([master]);
    for organizer in organizers.filter_map(|one| one.organizer.as_ref()) {
        if !kept.account.may_send_as(organizer) {
            return refuse(&format!("its organizer is {organizer}, not this account"));
        }
    }
    if let Some(decision) = settled(kept.invite, kept.arrived) {
        return decision;
    }
    if let Some(why) = kept.barred {
        return refuse(why);
    }
    if master.status == Status::Cancelled {
        return delete(kept.invite, kept.arrived);
    }
    let translated = match &kept.translated {
        Ok(translated) => translated,
        Err(untranslated) => return refuse(&untranslated.why),
    };
    let standing = kept.invite.filter(|invite| invite.stands());
    let before = kept.invite.map(|invite| &invite.version);
    let version = Version {
        sequence: master.sequence.max(before.map_or(0, |before| before.sequence)),
        dtstamp: master.dtstamp.max(before.and_then(|before| before.dtstamp)),
        arrived: kept.arrived.to_owned(),
    };
    let mut object =
        Object { account: kept.account, translated, version, generation: 1, moved: false };
    object.generation = kept.invite.map_or(1, Invite::next_generation);
    let mut invite = Invite {
        uid: kept.event.uid.clone(),
        way: Way::Event,
        version: object.version.clone(),
        decided: kept.arrived.to_owned(),
        mail_to: Vec::new(),
        removed: Vec::new(),
        taken_back: None,
        parts: match (standing, kept.invite) {
            (Some(standing), _) => standing.parts.clone(),
            (None, Some(gone)) => gone.parts.iter().filter(|one| one.is_owed()).cloned().collect(),
            (None, None) => Vec::new(),
        },
    };
    object.put_parts(&mut invite);
    for said in &translated.changes {
        object.put_change(&mut invite, said);
    }
    let why = match standing {
        None => {
            let again = if object.generation > 1 { ", again" } else { "" };
            let people = invite.attendees().len();
            format!("create{again}: {people} attendees")
        }
        Some(before) if before.parts == invite.parts => "nothing to change".to_owned(),
        Some(_) => format!("update: SEQUENCE {}", invite.version.sequence),
    };
    Decision { why, invite: Some(invite), mail_to: Vec::new(), refused: false }
}

/// Decides what a DELETE means.
pub fn delete(invite: Option<&Invite>, arrived: &str) -> Decision {
    if let Some(decision) = settled(invite, arrived) {
        return decision;
    }
    let mut invite = invite.cloned();
    let why = match &mut invite {
        Some(invite) if invite.stands() => {
            for part in &mut invite.parts {
                part.goal = Goal::Cancelled;
            }
            "cancel"
        }
        _ => "nothing to cancel",
    };
    if let Some(invite) = &mut invite {
        invite.taken_back = None;
        arrived.clone_into(&mut invite.decided);
    }
    Decision { why: why.to_owned(), invite, mail_to: Vec::new(), refused: false }
}

/// The goals of before, after a change that Graph refused in the middle: what was made for it goes, what was
/// changed is put back. `stands`: as far as it came.
pub fn take_back(stands: &Invite, before: Option<&Invite>, why: &str) -> Invite {
    let mut back = stands.clone();
    for part in &mut back.parts {
        let was = before.and_then(|before| {
            before
                .parts
                .iter()
                .find(|was| was.original == part.original && was.generation <= part.generation)
        });
        match was {
            Some(was) => {
                part.goal = was.goal.clone();
                part.given.clone_from(&was.given);
                part.version.clone_from(&was.version);
            }
            None => part.goal = Goal::Cancelled,
        }
    }
    if let Some(before) = before {
        back.version.clone_from(&before.version);
    }
    back.taken_back = Some(why.to_owned());
    back
}

/// What holds for PUT and DELETE alike, before anything is looked at.
fn settled(invite: Option<&Invite>, arrived: &str) -> Option<Decision> {
    let invite = invite?;
    if invite.decided == arrived {
        return Some(Decision {
            why: "as decided before".into(),
            invite: Some(invite.clone()),
            mail_to: Vec::new(),
            refused: false,
        });
    }
    let is_mail = invite.way == Way::Mail;
    is_mail
        .then(|| refuse("its first invitation went as a mail, and an event would be a second one"))
}

fn refuse(why: &str) -> Decision {
    Decision { why: format!("refused: {why}"), invite: None, mail_to: Vec::new(), refused: true }
}

struct Object<'o> {
    account: &'o Account,
    translated: &'o Translated,
    version: Version,
    /// Of an event that is made for it.
    generation: u32,
    /// The series has other occurrences than before.
    moved: bool,
}

impl Object<'_> {
    /// Whom Exchange is to invite, of those listed. Who is there already stays who he is: an answer that
    /// the client gives back, or another spelling of a name, is no change.
    fn people(&self, listed: &[Attendee], before: &[Attendee]) -> Vec<Attendee> {
        let invited = listed.iter().filter(|one| {
            one.agent == ScheduleAgent::Server && !self.account.may_send_as(&one.address)
        });
        invited
            .map(|one| {
                let known = before.iter().find(|known| same_person(known, one));
                known.filter(|known| known.role == one.role).unwrap_or(one).clone()
            })
            .collect()
    }

    fn put_parts(&mut self, invite: &mut Invite) {
        for said in &self.translated.parts {
            let is_it = |part: &&mut Part| {
                part.original == said.original && matches!(part.goal, Goal::Stand(_))
            };
            let files = &self.translated.attachments;
            match invite.parts.iter_mut().find(is_it) {
                Some(Part { goal: Goal::Stand(wanted), given, version, .. }) => {
                    if wanted.schedule != said.schedule {
                        self.moved |= said.original.is_none();
                        wanted.occurrences.clear();
                    }
                    let attendees = self.people(&said.attendees, &wanted.attendees);
                    if said.content.as_ref() != Some(&wanted.content)
                        || attendees != wanted.attendees
                    {
                        version.clone_from(&self.version);
                    }
                    wanted.content = said.content.clone().unwrap_or_default();
                    *given = Some(mark(&wanted.content));
                    wanted.schedule.clone_from(&said.schedule);
                    wanted.recurs = said.recurs;
                    wanted.attendees = attendees;
                    add_files(&mut wanted.attachments, files);
                }
                _ => {
                    invite.parts.retain(|one| one.original != said.original || one.is_owed());
                    let people = self.people(&said.attendees, &[]);
                    let version = self.version.clone();
                    let files = files.clone();
                    invite.parts.push(part(said, version, self.generation, people, files));
                }
            }
        }
        // What the object does not have any more. An event that stands in for an occurrence is spoken of
        // among the changes, unless the series has others now.
        for one in &mut invite.parts {
            let is_said = self.translated.parts.iter().any(|said| said.original == one.original);
            let is_over = if one.stands_in { self.moved } else { !is_said };
            if is_over {
                one.goal = Goal::Cancelled;
                one.given = None;
            }
        }
    }

    fn put_change(&self, invite: &mut Invite, said: &Said) {
        let Some(original) = said.original else { return };
        let own = invite
            .parts
            .iter_mut()
            .find(|part| part.original == Some(original) && matches!(part.goal, Goal::Stand(_)));
        if let Some(part) = own {
            return self.put_own(part, said);
        }
        let series = invite.parts.iter_mut().find_map(|part| match &mut part.goal {
            Goal::Stand(wanted) if part.original.is_none() && wanted.recurs => Some(wanted),
            _ => None,
        });
        let Some(series) = series else { return };
        let before = series.occurrences.get(&original).map(|change| change.shall.clone());
        let people = self.people(&said.attendees, &series.attendees);
        let wanted = self.shall(said, before.as_ref(), &series.attendees, &people);
        match (before, wanted) {
            // Exchange never brings back what was removed from a series: it becomes an event of its own.
            (Some(Shall::NotTakePlace), Shall::TakePlace { .. }) => {
                let attachments = series.attachments.clone();
                self.stand_in(invite, original, said, people, attachments);
            }
            (None, shall) if shall == Shall::as_given() => {}
            (Some(before), shall) if before == shall => {}
            (_, shall) => {
                let version = self.version.clone();
                series.occurrences.insert(original, Change { version, shall });
            }
        }
    }

    /// What a date of a series shall be.
    fn shall(
        &self,
        said: &Said,
        before: Option<&Shall>,
        series: &[Attendee],
        people: &[Attendee],
    ) -> Shall {
        if said.cancelled {
            return Shall::NotTakePlace;
        }
        let (had_content, mut attachments) = match before {
            Some(Shall::TakePlace { content, attachments, .. }) => {
                (content.is_some(), attachments.clone())
            }
            _ => (false, Vec::new()),
        };
        add_files(&mut attachments, &said.attachments);
        // What was changed once is put back by saying how it is given.
        let is_given = said.as_given && !had_content && attachments.is_empty();
        let content = if is_given { None } else { said.content.clone() };
        let is_in =
            |list: &[Attendee], one: &Attendee| list.iter().any(|two| same_person(two, one));
        let added = people.iter().filter(|one| !is_in(series, one)).cloned().collect();
        let out = series.iter().filter(|one| !is_in(people, one));
        let removed = out.map(|one| one.address.clone()).collect();
        Shall::TakePlace { content, added, removed, attachments }
    }

    /// An occurrence that is an event of its own.
    fn put_own(&self, part: &mut Part, said: &Said) {
        let Goal::Stand(wanted) = &mut part.goal else { return };
        if said.cancelled {
            part.goal = Goal::Cancelled;
            return;
        }
        wanted.attendees = self.people(&said.attendees, &wanted.attendees);
        add_files(&mut wanted.attachments, &said.attachments);
        if let Some(content) = &said.content {
            wanted.content.clone_from(content);
            wanted.schedule.clone_from(&said.schedule);
        }
        part.version.clone_from(&self.version);
    }

    fn stand_in(
        &self,
        invite: &mut Invite,
        original: Timestamp,
        said: &Said,
        attendees: Vec<Attendee>,
        attachments: Vec<Attached>,
    ) {
        let Some(content) = said.content.clone() else { return };
        let (schedule, recurs, occurrences) = (said.schedule.clone(), false, Default::default());
        let wanted = Wanted { content, schedule, recurs, attendees, attachments, occurrences };
        invite.parts.retain(|part| part.original != Some(original) || part.is_owed());
        invite.parts.push(Part {
            original: Some(original),
            generation: invite.next_generation(),
            given: None,
            stands_in: true,
            version: self.version.clone(),
            goal: Goal::Stand(Box::new(wanted)),
            done: Done::default(),
        });
    }
}

fn add_files(known: &mut Vec<Attached>, more: &[Attached]) {
    for file in more {
        if !known.iter().any(|one| one.digest == file.digest) {
            known.push(file.clone());
        }
    }
}
