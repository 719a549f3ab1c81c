//! Who is mailed when an event changes. Pure.
//!
//! Source: Graph "create event", "update event", "cancel event". Nobody can keep these mails from
//! going. It decides; [`super::calendar`] writes the rows and brings the copies.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::event::Attendee;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Request,
    Update,
    Cancel,
}

/// A mail that an attendee would get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Invitation {
    pub kind: Kind,
    /// The mailbox whose calendar it comes from.
    pub mailbox: String,
    pub organizer: String,
    pub attendee: String,
    /// Of the organizer's single event or series master, in the immutable form.
    pub event_id: String,
    pub ical_uid: String,
    pub subject: String,
    pub start: Timestamp,
    /// The original start of the one occurrence that it is about.
    pub occurrence: Option<Timestamp>,
}

/// A mail that is due, before it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub kind: Kind,
    pub attendee: String,
    /// The occurrence that it is about.
    pub date: Option<Date>,
}

/// What an update did, as far as attendees are concerned.
#[derive(Debug, Clone, Copy)]
pub struct Update<'a> {
    pub before: &'a [Attendee],
    pub after: &'a [Attendee],
    /// The body named `attendees` and nothing else.
    pub only_attendees: bool,
    /// Nothing is different from before, and such an update mails nobody (a switch).
    pub silent: bool,
}

impl Update<'_> {
    /// Documented: attendees alone → only who is concerned; anything else → everybody.
    pub fn due(&self) -> Vec<Due> {
        if self.silent {
            return Vec::new();
        }
        let find = |list: &[Attendee], one: &Attendee| {
            list.iter().find(|known| known.is(&one.address)).cloned()
        };
        let mut due = Vec::new();
        for attendee in self.after {
            let kind = match find(self.before, attendee) {
                None => Kind::Request,
                Some(known) if self.only_attendees && known.kind == attendee.kind => continue,
                Some(_) => Kind::Update,
            };
            due.push(Due { kind, attendee: attendee.address.clone(), date: None });
        }
        let gone = self.before.iter().filter(|one| find(self.after, one).is_none());
        due.extend(gone.map(|one| Due {
            kind: Kind::Cancel,
            attendee: one.address.clone(),
            date: None,
        }));
        due
    }
}

/// One mail of a kind to each.
pub fn to_all(attendees: &[Attendee], kind: Kind) -> Vec<Due> {
    let due = |one: &Attendee| Due { kind, attendee: one.address.clone(), date: None };
    attendees.iter().map(due).collect()
}

/// The same mails about one occurrence.
pub fn about(mut due: Vec<Due>, date: Date) -> Vec<Due> {
    due.iter_mut().for_each(|one| one.date = Some(date));
    due
}

/// Documented: one mail for the series and one for each instance that was modified separately.
pub fn with_modified_instances(due: Vec<Due>, dates: &[Date]) -> Vec<Due> {
    let again = due.iter().filter(|one| one.kind != Kind::Cancel).flat_map(|one| {
        let attendee = &one.attendee;
        dates.iter().map(move |date| Due {
            kind: Kind::Update,
            attendee: attendee.clone(),
            date: Some(*date),
        })
    });
    let again: Vec<Due> = again.collect();
    due.into_iter().chain(again).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attendees(names: &str) -> Vec<Attendee> {
        let one = |name: &str| Attendee {
            address: format!("{name}@contoso.example"),
            name: name.to_owned(),
            kind: "required".to_owned(),
        };
        names.split_whitespace().map(one).collect()
    }

    fn due(before: &str, after: &str, only_attendees: bool) -> Vec<(Kind, String)> {
        let (before, after) = (attendees(before), attendees(after));
        let update = Update { before: &before, after: &after, only_attendees, silent: false };
        update.due().into_iter().map(|due| (due.kind, due.attendee[..1].to_owned())).collect()
    }

    #[test]
    fn an_update_of_attendees_alone_reaches_only_who_is_concerned() {
        let expected = [(Kind::Request, "c".to_owned()), (Kind::Cancel, "a".to_owned())];
        assert_eq!(due("a b", "B c", true), expected);
        assert_eq!(due("a b", "b a", true), []);
    }

    #[test]
    fn any_other_update_reaches_everybody() {
        let expected = [(Kind::Update, "b"), (Kind::Request, "c"), (Kind::Cancel, "a")];
        let expected = expected.map(|(kind, who)| (kind, who.to_owned()));
        assert_eq!(due("a b", "b c", false), expected);
    }
}
