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
        before: kept.invite.map(|before| Box::new(before.goals())),
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
    let before = invite.map(|invite| Box::new(invite.goals()));
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
        invite.before = before;
        arrived.clone_into(&mut invite.decided);
    }
    Decision { why: why.to_owned(), invite, mail_to: Vec::new(), refused: false }
}

/// The goals of before, after a change that Graph refused in the middle: what was made for it goes, what was
/// changed is put back. `stands`: as far as it came.
pub fn take_back(stands: &Invite, why: &str) -> Invite {
    let mut back = stands.clone();
    let before = back.before.take();
    for nth in 0..back.parts.len() {
        let generation = back.next_generation();
        let Some(part) = back.parts.get_mut(nth) else { continue };
        let was = before.as_ref().and_then(|before| {
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
        // What went in the meantime has to be made anew.
        if matches!(part.goal, Goal::Stand(_)) && part.done.cancelled {
            part.done = Done::default();
            part.generation = generation;
        }
    }
    if let Some(before) = before {
        back.version = before.version;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{AccountId, Profile, Standing};
    use crate::ical;
    use crate::invite::{EventRef, OccurrenceDone};
    use serde_json::json;

    const ADELE: &str = "adele.vance@contoso.example";
    const KIM: &str = "kim.akers@fabrikam.example";
    const LEE: &str = "lee.gu@fabrikam.example";
    const EIGHTH: &str = "2027-01-08T10:00:00Z";
    const FIFTEENTH: &str = "2027-01-15T10:00:00Z";

    fn account() -> Account {
        Account {
            id: AccountId(uuid::Uuid::from_u128(1)),
            address: ADELE.parse().unwrap(),
            aliases: vec![],
            send_as: vec![],
            profile: Profile::Full,
            granted: vec![],
            person: None,
            standing: Standing::Ready,
        }
    }

    fn event(organizer: &str, attendees: &[&str]) -> Event {
        let people: String = attendees.iter().map(|one| format!("ATTENDEE{one}\r\n")).collect();
        let text = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test\r\nBEGIN:VEVENT\r\nUID:u\r\n\
             DTSTAMP:20261201T000000Z\r\nDTSTART:20270101T100000Z\r\nDTEND:20270101T110000Z\r\n\
             ORGANIZER:mailto:{organizer}\r\n{people}SUMMARY:Interview\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        );
        ical::read(text.as_bytes()).unwrap().events.remove(0)
    }

    fn said(original: Option<&str>, content: &str, event: &Event) -> Said {
        let master = event.master.as_ref().unwrap();
        Said {
            original: original.map(|at| at.parse().unwrap()),
            sequence: 0,
            dtstamp: None,
            content: Some(json!(content)),
            cancelled: false,
            as_given: false,
            schedule: "weekly".into(),
            recurs: original.is_none(),
            attendees: master.attendees.clone(),
            attachments: vec![],
        }
    }

    /// A series at `content`, with these changes; PUT over `before`.
    fn put_of(
        before: Option<&Invite>,
        event: &Event,
        content: &str,
        changes: Vec<Said>,
    ) -> Decision {
        let parts = vec![said(None, content, event)];
        let arrived = format!("{}x", before.map_or("", |before| before.decided.as_str()));
        put(&Kept {
            account: &account(),
            event,
            arrived: &arrived,
            invite: before,
            barred: None,
            translated: Ok(Translated { parts, changes, attachments: vec![] }),
        })
    }

    /// As if all that is wanted stood in the mailbox.
    fn done(mut invite: Invite) -> Invite {
        for part in &mut invite.parts {
            let Goal::Stand(wanted) = &part.goal else { continue };
            let id = format!("event-{}", part.generation);
            part.done.event = Some(EventRef { id, ical_uid: None, change_key: None });
            part.done.content = Some(wanted.content.clone());
            part.done.attendees.clone_from(&wanted.attendees);
            for (at, change) in &wanted.occurrences {
                let cancelled = change.shall == Shall::NotTakePlace;
                let one = OccurrenceDone { cancelled, ..OccurrenceDone::default() };
                part.done.occurrences.insert(*at, one);
            }
        }
        invite
    }

    fn people(decision: &Decision) -> Vec<String> {
        let invite = decision.invite.as_ref().unwrap();
        let (_, wanted) = invite.standing().next().unwrap();
        wanted.attendees.iter().map(|one| one.address.to_string()).collect()
    }

    fn shall(decision: &Decision, original: &str) -> Option<Shall> {
        let invite = decision.invite.as_ref().unwrap();
        let (_, wanted) = invite.standing().find(|(part, _)| part.original.is_none()).unwrap();
        wanted.occurrences.get(&original.parse().unwrap()).map(|change| change.shall.clone())
    }

    #[test]
    fn whoever_is_left_out_is_off_and_whoever_the_client_tells_is_not_on() {
        let both = [":mailto:kim.akers@fabrikam.example", ":mailto:lee.gu@fabrikam.example"];
        let first = put_of(None, &event(ADELE, &both), "a", vec![]);
        assert_eq!(people(&first), [KIM, LEE]);
        let standing = done(first.invite.unwrap());
        let left = [
            ";PARTSTAT=ACCEPTED;CN=Kim Akers:mailto:kim.akers@fabrikam.example",
            ";SCHEDULE-AGENT=CLIENT:mailto:lee.gu@fabrikam.example",
            ";SCHEDULE-AGENT=NONE:mailto:meg@fabrikam.example",
            ":mailto:adele.vance@contoso.example",
        ];
        let second = put_of(Some(&standing), &event(ADELE, &left), "a", vec![]);
        assert_eq!(people(&second), [KIM]);
        // An answer that is given back is no news: she is who she was.
        let invite = second.invite.unwrap();
        let (_, wanted) = invite.standing().next().unwrap();
        assert_eq!(wanted.attendees.first(), standing.parts[0].done.attendees.first());
    }

    #[test]
    fn an_occurrence_is_what_the_object_says_of_it_and_as_given_where_it_says_nothing() {
        let event = event(ADELE, &[":mailto:kim.akers@fabrikam.example"]);
        let moved = said(Some(EIGHTH), "moved", &event);
        let off = Said { cancelled: true, content: None, ..said(Some(FIFTEENTH), "", &event) };
        let first = put_of(None, &event, "series", vec![moved, off]);
        assert!(matches!(shall(&first, EIGHTH), Some(Shall::TakePlace { content: Some(_), .. })));
        assert_eq!(shall(&first, FIFTEENTH), Some(Shall::NotTakePlace));
        let standing = done(first.invite.unwrap());
        // The next object has neither: one is put back, the other can only be an event of its own.
        let given = |at| Said { as_given: true, ..said(Some(at), "given", &event) };
        let second =
            put_of(Some(&standing), &event, "series", vec![given(EIGHTH), given(FIFTEENTH)]);
        let Some(Shall::TakePlace { content, .. }) = shall(&second, EIGHTH) else { panic!() };
        assert_eq!(content, Some(json!("given")));
        assert_eq!(shall(&second, FIFTEENTH), Some(Shall::NotTakePlace));
        let invite = second.invite.unwrap();
        let own = invite.parts.iter().find(|part| part.original.is_some()).unwrap();
        assert_eq!((own.stands_in, own.generation), (true, 2));
        // And goes again where the object takes its date out again.
        let off = Said { cancelled: true, content: None, ..said(Some(FIFTEENTH), "", &event) };
        let third = put_of(Some(&done(invite)), &event, "series", vec![given(EIGHTH), off]);
        assert_eq!(third.invite.unwrap().standing().count(), 1);
    }

    #[test]
    fn what_is_deleted_is_cancelled_once_and_comes_back_as_another_generation() {
        let event = event(ADELE, &[":mailto:kim.akers@fabrikam.example"]);
        let standing = done(put_of(None, &event, "a", vec![]).invite.unwrap());
        let gone = delete(Some(&standing), "later");
        assert_eq!(gone.why, "cancel");
        let mut gone = gone.invite.unwrap();
        assert!(!gone.stands());
        assert_eq!(delete(Some(&gone), "later still").why, "nothing to cancel");
        assert_eq!(delete(None, "x").invite, None);
        gone.parts[0].done.cancelled = true;
        let again = put_of(Some(&gone), &event, "a", vec![]);
        assert_eq!(again.why, "create, again: 1 attendees");
        assert_eq!(again.invite.unwrap().parts[0].generation, 2);
    }

    #[test]
    fn another_organizers_event_and_what_went_as_a_mail_are_refused() {
        let foreign = event("megan@contoso.example", &[]);
        let decision = put_of(None, &foreign, "a", vec![]);
        assert!(decision.refused && decision.why.contains("megan@contoso.example"));
        let own = event(ADELE, &[":mailto:kim.akers@fabrikam.example"]);
        let mut mailed = put_of(None, &own, "a", vec![]).invite.unwrap();
        mailed.way = Way::Mail;
        assert!(put_of(Some(&mailed), &own, "b", vec![]).refused);
        assert!(delete(Some(&mailed), "y").refused);
    }

    #[test]
    fn what_is_refused_half_way_is_put_back_or_goes() {
        let event = event(ADELE, &[":mailto:kim.akers@fabrikam.example"]);
        let first = done(put_of(None, &event, "a", vec![]).invite.unwrap());
        let second = done(put_of(Some(&first), &event, "b", vec![]).invite.unwrap());
        let back = take_back(&second, "no such room");
        let (part, wanted) = back.standing().next().unwrap();
        assert_eq!((&wanted.content, part.done.content.as_ref()), (&json!("a"), Some(&json!("b"))));
        assert_eq!(take_back(&first, "x").standing().count(), 0);
        assert_eq!(back.taken_back.as_deref(), Some("no such room"));
    }
}
