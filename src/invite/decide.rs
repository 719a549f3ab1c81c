//! What a message about an invite means. Pure; the table to check against RFC 5546 §3.2:
//!
//! | message | what is remembered | decision |
//! |---|---|---|
//! | any, the account is not the organizer | – | mail as it stands |
//! | any, of an invite that went as mail first | a mail | mail as it stands |
//! | REQUEST, but invites are to be mailed | nothing | mail as it stands, from now on |
//! | REQUEST | nothing, or a cancelled event | create (a new generation) |
//! | REQUEST, newer | an event | update; attendees of this envelope added |
//! | REQUEST, same or older | an event | attendees of this envelope added, if there are new ones; else nothing |
//! | REQUEST of an occurrence (RECURRENCE-ID) | a series | that occurrence, if this is newer than what was said of it |
//! | REQUEST of an occurrence | nothing | create an event for it |
//! | ADD | an event | a further event under the UID |
//! | CANCEL, whole | an event | cancel |
//! | CANCEL of some attendees | an event | these are removed |
//! | CANCEL of an occurrence, or of some of its attendees | a series | the same, for that occurrence |
//! | CANCEL, older | an event | nothing |
//! | CANCEL, ADD | nothing | mail as it stands |
//! | REQUEST, CANCEL or ADD that cannot be done faithfully | an event | refused, with a report |
//! | REQUEST that cannot be done faithfully | nothing | mail as it stands, from now on; a rule without a pattern is refused |
//! | anything else | – | mail as it stands |
//!
//! *Newer* is RFC 5546 §2.1.5: the higher SEQUENCE, else the later DTSTAMP; on a tie, which many tools
//! never break, the one that arrived later. By mail, absence removes nothing: no attendee (RFC 5546
//! §3.2.5 has CANCEL for that), and no change of an occurrence, unless the series gets another time or
//! rule, which begins without any.

use super::change::{self, Tally};
use super::restate::{Restated, part, restate};
use super::{Goal, Invite, Said, Shall, Translated, Untranslated, Version, Way, add, same_person};
use crate::account::{Account, Address};
use crate::ical::{Attendee, Occurrence, Status};
use crate::itip::{Message, Method};

/// What a message means.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// In plain words, for the log and `invites show`: `update: SEQUENCE 3 > 2; attendees +1`.
    pub why: String,
    /// The record as it is from now on; `None`: as it was.
    pub invite: Option<Invite>,
    /// Recipients of the envelope that the event does not reach: they get the mail.
    pub mail_to: Vec<Address>,
    /// It speaks of an event of ours and cannot be done to it. Mailed, it would be a second invitation
    /// beside Exchange's; so the sender is told.
    pub refused: bool,
}

/// What a decision may depend on.
pub struct Known<'k> {
    pub account: &'k Account,
    pub message: &'k Message,
    /// RCPT TO.
    pub recipients: &'k [Address],
    /// The spool id of the mail.
    pub arrived: &'k str,
    pub invite: Option<&'k Invite>,
    /// Why a new invite of this account is a mail, if it is.
    pub as_mail: Option<&'k str>,
    /// Why no event of this account can be changed, if so.
    pub barred: Option<&'k str>,
    /// What the message says, translated; why it could not be, otherwise.
    pub translated: Result<Translated, Untranslated>,
}

impl Known<'_> {
    fn version(&self, said: &Said) -> Version {
        let (sequence, dtstamp) = (said.sequence, said.dtstamp);
        Version { sequence, dtstamp, arrived: self.arrived.to_owned() }
    }

    /// Of those listed, whom this mail goes to, as the envelope is the delivery set; but not whom a newer
    /// CANCEL took off.
    fn invited(&self, listed: &[Attendee], version: &Version) -> Vec<Attendee> {
        let removed = self.standing().map_or(&[][..], |invite| &invite.removed);
        let invited = |one: &&Attendee| {
            let is_out = |(out, by): &(Address, Version)| {
                out.same_mailbox(&one.address) && !version.is_newer_than(by)
            };
            self.recipients.iter().any(|to| one.address.same_mailbox(to))
                && !self.account.may_send_as(&one.address)
                && !removed.iter().any(is_out)
        };
        listed.iter().filter(invited).cloned().collect()
    }

    /// Whom the whole is for, by this mail.
    fn fresh(&self) -> Vec<Attendee> {
        let master = self.message.event.master.as_ref();
        let invited = |master: &Occurrence| {
            self.invited(&master.attendees, &Version::of(master, self.arrived))
        };
        master.map(invited).unwrap_or_default()
    }

    fn standing(&self) -> Option<&Invite> {
        self.invite.filter(|invite| invite.stands())
    }

    /// The first word of all of its components.
    fn spokesman(&self) -> Option<&Occurrence> {
        let event = &self.message.event;
        event.master.as_ref().or(event.overrides.first().map(|one| &one.occurrence))
    }

    fn mail(&self, why: &str) -> Decision {
        Decision {
            why: format!("mail as it stands: {why}"),
            invite: None,
            mail_to: self.recipients.to_vec(),
            refused: false,
        }
    }

    /// The same, and so will be whatever else comes of its UID.
    fn mail_from_now_on(&self, why: &str) -> Decision {
        let mut decision = self.mail(why);
        if let Some(said) = self.spokesman() {
            decision.invite = Some(Invite {
                uid: self.message.event.uid.clone(),
                way: Way::Mail,
                version: Version::of(said, self.arrived),
                decided: self.arrived.to_owned(),
                mail_to: self.recipients.to_vec(),
                removed: Vec::new(),
                taken_back: None,
                before: None,
                parts: Vec::new(),
            });
        }
        decision
    }

    fn refuse(&self, why: &str) -> Decision {
        let why = format!("refused: {why}");
        Decision { why, invite: None, mail_to: Vec::new(), refused: true }
    }

    /// What cannot be done to an event of ours is never mailed beside it.
    fn cannot(&self, why: &str) -> Decision {
        if self.standing().is_some() {
            return self.refuse(&format!("{why}, and its event cannot be changed so"));
        }
        match self.message.method {
            Method::Request => self.mail_from_now_on(why),
            _ => self.mail(why),
        }
    }

    /// The recipients whom the event reaches need no mail: those who are on it or were, and the
    /// organizer, in whose calendar it is.
    fn decision(&self, mut invite: Invite, why: String) -> Decision {
        let mut reached = invite.attendees();
        add(&mut reached, &self.invite.map(Invite::attendees).unwrap_or_default());
        // Who was taken off does not hear of what was before that.
        let version = self.spokesman().map(|said| Version::of(said, self.arrived));
        let is_past = |(out, by): &(Address, Version), to: &Address| {
            out.same_mailbox(to) && version.as_ref().is_some_and(|this| !this.is_newer_than(by))
        };
        let is_reached = |to: &&Address| {
            reached.iter().any(|one| one.address.same_mailbox(to))
                || invite.removed.iter().any(|one| is_past(one, to))
                || self.account.may_send_as(to)
        };
        let others = self.recipients.iter().filter(|to| !is_reached(to));
        let mail_to: Vec<Address> = others.cloned().collect();
        self.arrived.clone_into(&mut invite.decided);
        invite.before = None;
        invite.mail_to.clone_from(&mail_to);
        Decision { why, invite: Some(invite), mail_to, refused: false }
    }
}

/// Decides what a message means. See the table above.
pub fn decide(known: &Known<'_>) -> Decision {
    match known.spokesman().and_then(|said| said.organizer.as_ref()) {
        Some(organizer) if known.account.may_send_as(organizer) => {}
        Some(_) => return known.mail("the account is not the organizer"),
        // Quirk(hand-made): a CANCEL without ORGANIZER, of an event that is the account's.
        None if known.standing().is_some() => {}
        None => return known.mail("it names no organizer"),
    }
    if let Some(invite) = known.invite {
        // A mail that was decided before and did not come to its end: what it changed it has changed.
        if invite.decided == known.arrived {
            return Decision {
                why: "as decided before".into(),
                mail_to: invite.mail_to.clone(),
                invite: Some(invite.clone()),
                refused: false,
            };
        }
        if invite.way == Way::Mail {
            return known.mail("so its first invitation went");
        }
    }
    let master = known.message.event.master.as_ref();
    let is_off = master.is_some_and(|master| master.status == Status::Cancelled);
    let decided: fn(&Known<'_>, &Translated) -> Decision = match known.message.method {
        Method::Request if is_off => cancel,
        Method::Request => request,
        Method::Cancel => cancel,
        Method::Add => further,
        _ => return known.mail("only REQUEST, ADD and CANCEL make or change an event"),
    };
    match (known.standing(), known.as_mail, known.barred) {
        (Some(_), _, Some(why)) => return known.cannot(why),
        (None, Some(why), _) | (None, None, Some(why)) => return known.cannot(why),
        (Some(_), _, None) | (None, None, None) => {}
    }
    match &known.translated {
        Ok(translated) => decided(known, translated),
        Err(untranslated) if untranslated.refused && known.standing().is_none() => {
            known.refuse(&untranslated.why)
        }
        Err(untranslated) => known.cannot(&untranslated.why),
    }
}

/// RFC 5546 §3.2.2.
fn request(known: &Known<'_>, translated: &Translated) -> Decision {
    let Some(invite) = known.standing() else { return create(known, translated) };
    let mut invite = invite.clone();
    let mut tally = Tally::default();
    let mut why = None;
    let master = known.message.event.master.as_ref();
    if let Some(master) = master {
        let version = Version::of(master, known.arrived);
        why = Some(restate(&mut invite, translated, &master.attendees, version));
    }
    // Those whom the whole is for are on all of it.
    let fresh = known.fresh();
    invite.removed.retain(|(out, _)| !fresh.iter().any(|one| one.address.same_mailbox(out)));
    let joined = invite.standing_mut().map(|(_, one)| add(&mut one.attendees, &fresh));
    tally.attendees += joined.max().unwrap_or(0);
    for said in &translated.changes {
        let version = known.version(said);
        let invited = known.invited(&said.attendees, &version);
        if let Err(why) = change::request(&mut invite, said, version, invited, &mut tally) {
            return known.cannot(why);
        }
    }
    let why = match (why, tally.is_empty()) {
        (Some(Restated::Updated(why)), _) => format!("{why}{tally}"),
        (Some(Restated::Same(why)), true) => format!("nothing to change: {why}"),
        (None, true) => "nothing to change".to_owned(),
        // What is only added to says so by itself.
        (Some(Restated::Same(why)), false) if tally.only_attendees() => {
            format!("nothing to change: {why}{tally}")
        }
        (_, false) => format!("update{tally}"),
    };
    known.decision(invite, why)
}

fn create(known: &Known<'_>, translated: &Translated) -> Decision {
    let master = known.message.event.master.as_ref();
    if let (Some(master), Some(invite)) = (master, known.invite) {
        let version = Version::of(master, known.arrived);
        // RFC 5546 §4.2.9: what is older than the CANCEL brings nothing back.
        if !version.is_newer_than(&invite.version) {
            let (is, than) = (version.sequence, invite.version.sequence);
            let why = format!("nothing to make: SEQUENCE {is} is older than the CANCEL's {than}");
            return known.decision(invite.clone(), why);
        }
    }
    let mut attendees = known.fresh();
    let said = translated.parts.iter().chain(&translated.changes);
    let of_occurrences = said.flat_map(|said| known.invited(&said.attendees, &known.version(said)));
    let mut everybody = attendees.clone();
    add(&mut everybody, &of_occurrences.collect::<Vec<_>>());
    let Some(said) = known.spokesman().filter(|_| !everybody.is_empty()) else {
        return known.mail("no recipient of the mail is an attendee");
    };
    let generation = known.invite.map_or(1, Invite::next_generation);
    let version = Version::of(said, known.arrived);
    let owed =
        known.invite.map(|invite| invite.parts.iter().filter(|part| part.is_owed()).cloned());
    let mut invite = Invite {
        uid: known.message.event.uid.clone(),
        way: Way::Event,
        version: version.clone(),
        decided: known.arrived.to_owned(),
        mail_to: Vec::new(),
        removed: Vec::new(),
        taken_back: None,
        before: None,
        parts: owed.into_iter().flatten().collect(),
    };
    let files = &translated.attachments;
    for said in &translated.parts {
        let mut attendees = attendees.clone();
        add(&mut attendees, &known.invited(&said.attendees, &version));
        invite.parts.push(part(said, version.clone(), generation, attendees, files.clone()));
    }
    let mut tally = Tally::default();
    for said in &translated.changes {
        let version = known.version(said);
        let invited = known.invited(&said.attendees, &version);
        if translated.parts.is_empty() {
            add(&mut attendees, &invited);
            let mut one = part(said, version, generation, invited, files.clone());
            one.given = None;
            one.stands_in = true;
            invite.parts.push(one);
        } else if let Err(why) = change::request(&mut invite, said, version, invited, &mut tally) {
            return known.cannot(why);
        }
    }
    if !invite.stands() {
        return known.mail("nothing of it takes place");
    }
    let again = if generation > 1 { ", again" } else { "" };
    let events = match invite.standing().count() {
        1 => String::new(),
        n => format!("{n} events, "),
    };
    tally.attendees = 0;
    let people = match everybody.len() {
        1 => "1 attendee".to_owned(),
        n => format!("{n} attendees"),
    };
    let why = format!("create{again}: {events}{people}{tally}");
    known.decision(invite, why)
}

/// RFC 5546 §3.2.4: ADD.
fn further(known: &Known<'_>, translated: &Translated) -> Decision {
    let Some(invite) = known.standing() else {
        return known.mail("no event is known for its UID");
    };
    let mut invite = invite.clone();
    let mut events = 0;
    let mut attendees = 0;
    for said in &translated.parts {
        let version = known.version(said);
        let fresh = known.invited(&said.attendees, &version);
        let known_part = invite.parts.iter_mut().find(|part| part.original == said.original);
        match known_part.map(|part| (&mut part.goal, &part.version)) {
            Some((Goal::Stand(wanted), _)) => attendees += add(&mut wanted.attendees, &fresh),
            Some((Goal::Cancelled, before)) if !version.is_newer_than(before) => {}
            _ if fresh.is_empty() => return known.mail("no recipient of the mail is an attendee"),
            _ => {
                events += 1;
                let generation = invite.next_generation();
                invite.parts.retain(|part| part.original != said.original || part.is_owed());
                let files = translated.attachments.clone();
                let mut one = part(said, version, generation, fresh, files);
                one.given = None;
                invite.parts.push(one);
            }
        }
    }
    let why = match (events, attendees) {
        (0, 0) => "nothing to change: added already".to_owned(),
        (0, n) => format!("attendees +{n}"),
        (n, _) => format!("add: events +{n}"),
    };
    known.decision(invite, why)
}

/// Everybody who shall be on any of it.
fn wanted_people(invite: &Invite) -> Vec<Attendee> {
    let mut people = Vec::new();
    for (_, wanted) in invite.standing() {
        add(&mut people, &wanted.attendees);
        for change in wanted.occurrences.values() {
            add(&mut people, &change.shall.attendees(&[]));
        }
    }
    people
}

/// RFC 5546 §3.2.5.
fn cancel(known: &Known<'_>, translated: &Translated) -> Decision {
    let Some(invite) = known.invite else {
        return known.mail("no event is known for its UID");
    };
    let mut invite = invite.clone();
    if !invite.stands() {
        return known.decision(invite, "cancelled already".into());
    }
    let Some(master) = &known.message.event.master else {
        let mut tally = Tally::default();
        for said in &translated.changes {
            let version = known.version(said);
            if let Err(why) = change::cancel(&mut invite, said, version, &mut tally) {
                return known.cannot(why);
            }
        }
        let why = match tally.is_empty() {
            true => "nothing to cancel".to_owned(),
            false => format!("cancel{tally}"),
        };
        return known.decision(invite, why);
    };
    let version = Version::of(master, known.arrived);
    if version.sequence < invite.version.sequence {
        let (is, than) = (version.sequence, invite.version.sequence);
        return known
            .decision(invite, format!("nothing to cancel: SEQUENCE {is} is older than {than}"));
    }
    // STATUS:CANCELLED is the whole event; without it, those who are listed.
    let listed = |one: &Attendee| master.attendees.iter().any(|out| same_person(one, out));
    let whole = master.status == Status::Cancelled
        || master.attendees.is_empty()
        || invite.standing().all(|(_, wanted)| wanted.attendees.iter().all(listed));
    let why = if whole {
        for part in &mut invite.parts {
            part.goal = Goal::Cancelled;
        }
        "cancel".to_owned()
    } else {
        let before = wanted_people(&invite);
        for (_, wanted) in invite.standing_mut() {
            wanted.attendees.retain(|one| !listed(one));
            for change in wanted.occurrences.values_mut() {
                if let Shall::TakePlace { added, .. } = &mut change.shall {
                    added.retain(|one| !listed(one));
                }
            }
        }
        let out: Vec<Attendee> = before.iter().filter(|one| listed(one)).cloned().collect();
        for one in &out {
            invite.removed.retain(|(known, _)| !known.same_mailbox(&one.address));
            invite.removed.push((one.address.clone(), version.clone()));
        }
        format!("attendees -{}", out.len())
    };
    invite.version = version;
    known.decision(invite, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{AccountId, Profile, Standing};
    use crate::ical;
    use crate::invite::{Done, EventRef};

    const ADELE: &str = "adele.vance@contoso.example";
    const KIM: &str = "kim.akers@fabrikam.example";
    const LEE: &str = "lee.gu@fabrikam.example";
    const ID: &str = "RECURRENCE-ID:20270115T100000Z\r\n";

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

    /// A message about the UID `u`; `lines` are further properties.
    fn message(method: &str, sequence: u32, attendees: &[&str], lines: &str) -> Message {
        let attendees: String =
            attendees.iter().map(|a| format!("ATTENDEE:mailto:{a}\r\n")).collect();
        let object = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nMETHOD:{method}\r\nBEGIN:VEVENT\r\nUID:u\r\n\
             SEQUENCE:{sequence}\r\nDTSTAMP:20261123T080000Z\r\nDTSTART:20270115T100000Z\r\n\
             ORGANIZER:mailto:{ADELE}\r\n{attendees}{lines}END:VEVENT\r\nEND:VCALENDAR\r\n"
        );
        let read = ical::read(object.as_bytes()).unwrap();
        let event = read.events.into_iter().next().unwrap();
        Message { method: read.method.unwrap(), event }
    }

    /// `content` is what the message makes of the event, or of the occurrence that it speaks of.
    fn run(
        invite: Option<&Invite>,
        arrived: &str,
        to: &[&str],
        message: &Message,
        content: &str,
    ) -> Decision {
        let said = |occurrence: &Occurrence, original: Option<jiff::Timestamp>| Said {
            original,
            sequence: occurrence.sequence,
            dtstamp: occurrence.dtstamp,
            content: Some(content.into()),
            cancelled: occurrence.status == Status::Cancelled,
            as_given: false,
            schedule: content.chars().take(3).collect(),
            recurs: true,
            attendees: occurrence.attendees.clone(),
            attachments: vec![],
        };
        let event = &message.event;
        let occurrence = |one: &ical::Override| match &one.recurrence_id {
            ical::Moment::Zoned { local, zone } => {
                said(&one.occurrence, zone.rules.to_timestamp(*local).ok())
            }
            other => panic!("{other:?}"),
        };
        let translated = Translated {
            parts: event.master.iter().map(|master| said(master, None)).collect(),
            changes: event.overrides.iter().map(occurrence).collect(),
            attachments: vec![],
        };
        run_translated(invite, arrived, to, message, Ok(translated), None)
    }

    fn run_translated(
        invite: Option<&Invite>,
        arrived: &str,
        to: &[&str],
        message: &Message,
        translated: Result<Translated, Untranslated>,
        as_mail: Option<&str>,
    ) -> Decision {
        let recipients: Vec<Address> = to.iter().map(|to| to.parse().unwrap()).collect();
        decide(&Known {
            account: &account(),
            message,
            recipients: &recipients,
            arrived,
            invite,
            as_mail,
            barred: None,
            translated,
        })
    }

    /// As if everything was brought about.
    fn done(mut invite: Invite) -> Invite {
        for (done, wanted) in invite.standing_mut() {
            let event = EventRef { id: "event".to_owned(), ical_uid: None, change_key: None };
            *done = Done {
                event: Some(event),
                content: Some(wanted.content.clone()),
                attendees: wanted.attendees.clone(),
                ..Done::default()
            };
        }
        invite
    }

    /// What is remembered after a REQUEST with SEQUENCE 3 to Kim was brought about.
    fn remembered() -> Invite {
        let message = message("REQUEST", 3, &[KIM], "");
        done(run(None, "m1", &[KIM], &message, "ten o'clock").invite.unwrap())
    }

    fn attendees(decision: &Decision) -> Vec<String> {
        let invite = decision.invite.as_ref().unwrap();
        let wanted = invite.standing().flat_map(|(_, wanted)| &wanted.attendees);
        wanted.map(|one| one.address.as_str().to_owned()).collect()
    }

    fn occurrences(decision: &Decision) -> Vec<Shall> {
        let invite = decision.invite.as_ref().unwrap();
        let all = invite.standing().flat_map(|(_, wanted)| wanted.occurrences.values());
        all.map(|change| change.shall.clone()).collect()
    }

    #[test]
    fn each_message_about_a_known_event_means_one_thing() {
        let known = remembered();
        for (message, content, expected) in [
            (message("REQUEST", 4, &[KIM], ""), "eleven", "update: SEQUENCE 4 > 3"),
            (message("REQUEST", 3, &[KIM], ""), "eleven", "update: SEQUENCE 3 again, later"),
            (
                message("REQUEST", 3, &[KIM], ""),
                "ten o'clock",
                "nothing to change: the same content",
            ),
            (message("REQUEST", 2, &[KIM], ""), "eleven", "nothing to change: SEQUENCE 2 is older"),
            (message("CANCEL", 4, &[KIM], "STATUS:CANCELLED\r\n"), "", "cancel"),
            (message("CANCEL", 3, &[], ""), "", "cancel"),
            (message("CANCEL", 3, &[KIM], ""), "", "cancel"),
            (message("CANCEL", 3, &[LEE], ""), "", "attendees -0"),
            (message("CANCEL", 2, &[KIM], ""), "", "nothing to cancel: SEQUENCE 2 is older than 3"),
            (message("REQUEST", 4, &[KIM], "STATUS:CANCELLED\r\n"), "", "cancel"),
        ] {
            let decision = run(Some(&known), "m2", &[KIM], &message, content);
            assert_eq!(decision.why, expected, "{message:?}");
            assert!(decision.mail_to.is_empty(), "{decision:?}");
        }
    }

    #[test]
    fn what_does_not_concern_an_event_of_ours_is_mail() {
        let mut foreign = message("REQUEST", 0, &[KIM], "");
        foreign.event.master.as_mut().unwrap().organizer = Some(KIM.parse().unwrap());
        for message in [
            foreign,
            message("CANCEL", 0, &[KIM], "STATUS:CANCELLED\r\n"),
            message("PUBLISH", 0, &[KIM], ""),
            message("REPLY", 0, &[KIM], ""),
            message("COUNTER", 0, &[KIM], ""),
            message("REQUEST", 0, &[LEE], ""),
            message("ADD", 0, &[KIM], ""),
        ] {
            let decision = run(None, "m1", &[KIM], &message, "ten o'clock");
            assert!(decision.invite.is_none() && decision.why.starts_with("mail as it stands"));
            assert_eq!(decision.mail_to.len(), 1, "{decision:?}");
        }
    }

    #[test]
    fn what_cannot_be_done_to_an_event_of_ours_is_refused_and_never_mailed_beside_it() {
        let known = remembered();
        let newer = message("REQUEST", 4, &[KIM], "");
        let cannot = |refused| Err(Untranslated { why: "its zone is unknown".into(), refused });
        for refused in [false, true] {
            let decision =
                run_translated(Some(&known), "m2", &[KIM], &newer, cannot(refused), None);
            assert!(decision.refused && decision.invite.is_none() && decision.mail_to.is_empty());
        }
        let mut single = known.clone();
        for (_, wanted) in single.standing_mut() {
            wanted.recurs = false;
        }
        for method in ["REQUEST", "CANCEL"] {
            let message = message(method, 4, &[KIM], ID);
            let decision = run(Some(&single), "m2", &[KIM], &message, "eleven");
            assert!(decision.refused && decision.invite.is_none() && decision.mail_to.is_empty());
        }
        // Another organizer's invite is none of ours, whatever its UID.
        let mut foreign = message("REQUEST", 4, &[KIM], ID);
        let organizer = &mut foreign.event.overrides.first_mut().unwrap().occurrence.organizer;
        *organizer = Some(LEE.parse().unwrap());
        let decision = run(Some(&known), "m2", &[KIM], &foreign, "eleven");
        assert!(!decision.refused && decision.mail_to.len() == 1);
    }

    #[test]
    fn an_invite_that_went_as_mail_first_stays_one() {
        let request = message("REQUEST", 0, &[KIM], "");
        let cannot = Err(Untranslated { why: "its zone is unknown".into(), refused: false });
        let policy = Some("so the account's invites are to go");
        for first in [
            run_translated(None, "m1", &[KIM], &request, cannot, None),
            run_translated(None, "m1", &[KIM], &request, Ok(Translated::default()), policy),
        ] {
            assert_eq!((first.mail_to.len(), first.refused), (1, false));
            let known = first.invite.unwrap();
            for method in ["REQUEST", "CANCEL"] {
                let next = message(method, 1, &[KIM], "");
                let decision = run(Some(&known), "m2", &[KIM], &next, "eleven");
                assert_eq!(decision.why, "mail as it stands: so its first invitation went");
                assert!(decision.invite.is_none() && decision.mail_to.len() == 1);
            }
        }
        // And an event stays an event, whatever the policy says by now.
        let known = remembered();
        let cancel = message("CANCEL", 4, &[KIM], "STATUS:CANCELLED\r\n");
        let decision =
            run_translated(Some(&known), "m2", &[KIM], &cancel, Ok(Translated::default()), policy);
        assert_eq!(decision.why, "cancel");
    }

    #[test]
    fn a_recurrence_that_exchange_has_no_pattern_for_is_refused_and_not_mailed() {
        let cannot = Err(Untranslated { why: "Exchange has no pattern".into(), refused: true });
        let request = message("REQUEST", 0, &[KIM], "");
        let decision = run_translated(None, "m1", &[KIM], &request, cannot, None);
        assert!(decision.refused && decision.invite.is_none() && decision.mail_to.is_empty());
    }

    #[test]
    fn a_word_on_one_occurrence_changes_that_one_if_it_is_newer_than_the_last() {
        let series = remembered();
        let moved = run(Some(&series), "m2", &[KIM], &message("REQUEST", 4, &[KIM], ID), "eleven");
        assert_eq!(moved.why, "update; occurrences changed: 1");
        let take_place = |content: &str| Shall::TakePlace {
            content: Some(content.into()),
            added: vec![],
            removed: vec![],
            attachments: vec![],
        };
        assert_eq!(occurrences(&moved), [take_place("eleven")]);
        let known = done(moved.invite.unwrap());
        for (sequence, arrived, content, why, shall) in [
            (4, "m3", "eleven", "nothing to change", take_place("eleven")),
            (4, "m3", "twelve", "update; occurrences changed: 1", take_place("twelve")),
            (3, "m3", "nine", "nothing to change", take_place("eleven")),
        ] {
            let again = message("REQUEST", sequence, &[KIM], ID);
            let decision = run(Some(&known), arrived, &[KIM], &again, content);
            assert_eq!((decision.why.as_str(), occurrences(&decision)), (why, vec![shall]));
        }
        let cancel = message("CANCEL", 5, &[KIM], &format!("{ID}STATUS:CANCELLED\r\n"));
        let decision = run(Some(&known), "m3", &[KIM], &cancel, "");
        assert_eq!(decision.why, "cancel; occurrences cancelled: 1");
        assert_eq!(occurrences(&decision), [Shall::NotTakePlace]);
        // What Exchange removed it does not bring back: another event stands in for it.
        let known = done(decision.invite.unwrap());
        let back = run(Some(&known), "m4", &[KIM], &message("REQUEST", 6, &[KIM], ID), "eleven");
        assert_eq!(
            (back.why.as_str(), attendees(&back).len()),
            ("update; occurrences changed: 1", 2)
        );
        assert!(back.invite.as_ref().unwrap().standing().any(|(part, _)| part.stands_in));
    }

    #[test]
    fn who_is_invited_to_one_occurrence_is_on_that_one_alone() {
        let series = remembered();
        let request = message("REQUEST", 3, &[KIM, LEE], ID);
        let more = run(Some(&series), "m2", &[LEE], &request, "ten o'clock");
        assert_eq!(attendees(&more), [KIM]);
        let [Shall::TakePlace { added, .. }] = &occurrences(&more)[..] else { panic!("{more:?}") };
        assert_eq!(added.iter().map(|one| one.address.as_str()).collect::<Vec<_>>(), [LEE]);
        assert!(more.mail_to.is_empty());
        let known = done(more.invite.unwrap());
        let off = run(Some(&known), "m3", &[LEE], &message("CANCEL", 3, &[LEE], ID), "");
        assert_eq!(off.why, "cancel; attendees -1");
        let [Shall::TakePlace { added, .. }] = &occurrences(&off)[..] else { panic!("{off:?}") };
        assert!(added.is_empty());
    }

    #[test]
    fn a_series_keeps_what_was_said_of_its_occurrences_until_it_is_moved() {
        let series = remembered();
        let moved = run(Some(&series), "m2", &[KIM], &message("REQUEST", 4, &[KIM], ID), "eleven");
        let known = done(moved.invite.unwrap());
        let said_again = message("REQUEST", 5, &[KIM], "");
        let renamed = run(Some(&known), "m3", &[KIM], &said_again, "ten o'clock, room 5");
        assert_eq!(occurrences(&renamed).len(), 1);
        let elsewhen = run(Some(&known), "m3", &[KIM], &said_again, "nine o'clock");
        assert_eq!(occurrences(&elsewhen), []);
    }

    #[test]
    fn an_occurrence_without_its_series_is_an_event_of_its_own() {
        let request = message("REQUEST", 0, &[KIM], ID);
        let decision = run(None, "m1", &[KIM], &request, "eleven");
        assert_eq!(decision.why, "create: 1 attendee");
        let known = done(decision.invite.unwrap());
        let cancel = message("CANCEL", 1, &[KIM], &format!("{ID}STATUS:CANCELLED\r\n"));
        let decision = run(Some(&known), "m2", &[KIM], &cancel, "");
        assert!(!decision.invite.unwrap().stands());
        // The series that comes after it has that occurrence itself.
        let series = message("REQUEST", 1, &[KIM], "");
        let decision = run(Some(&known), "m2", &[KIM], &series, "ten o'clock");
        let invite = decision.invite.unwrap();
        assert_eq!(invite.standing().count(), 1);
        assert!(invite.parts.iter().any(crate::invite::Part::is_owed));
    }

    #[test]
    fn an_attendee_is_on_the_event_when_a_mail_went_to_them_and_absence_removes_nobody() {
        let both = message("REQUEST", 3, &[KIM, LEE], "");
        let first = run(None, "m1", &[KIM], &both, "ten o'clock");
        assert_eq!(attendees(&first), [KIM]);
        let known = remembered();
        let second = run(Some(&known), "m2", &[LEE], &both, "ten o'clock");
        assert_eq!(attendees(&second), [KIM, LEE]);
        // An older mail that comes late still invites the one it was for.
        let late = run(Some(&known), "m0", &[LEE], &message("REQUEST", 1, &[LEE], ""), "nine");
        assert_eq!(attendees(&late), [KIM, LEE]);
        assert_eq!(late.why, "nothing to change: SEQUENCE 1 is older; attendees +1");
        let shorter = run(Some(&known), "m3", &[LEE], &message("REQUEST", 4, &[LEE], ""), "x");
        assert_eq!(attendees(&shorter), [KIM, LEE]);
    }

    #[test]
    fn a_request_after_a_cancel_is_the_next_generation() {
        let mut known = remembered();
        for part in &mut known.parts {
            part.goal = Goal::Cancelled;
            part.done.cancelled = true;
        }
        let decision = run(Some(&known), "m9", &[KIM], &message("REQUEST", 5, &[KIM], ""), "ten");
        let [part] = &decision.invite.unwrap().parts[..] else { panic!() };
        assert_eq!((part.generation, &part.done), (2, &Done::default()));
    }

    #[test]
    fn a_mail_decided_before_is_not_decided_again() {
        let known = remembered();
        let decision = run(Some(&known), "m1", &[KIM], &message("REQUEST", 3, &[KIM], ""), "other");
        assert_eq!(decision.why, "as decided before");
        assert_eq!(decision.invite, Some(known));
    }
}
