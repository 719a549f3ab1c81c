//! What the server owns in an object that a client sends back: the attendees' answers. Pure.
//!
//! RFC 6638 §3.2.10: a client that says If-Schedule-Tag-Match may not have seen the last answers, and does
//! not mean to undo them.

use std::borrow::Cow;

use crate::account::Account;
use crate::ical::edit::{self, Which};
use crate::ical::{Event, Occurrence};

/// The object with the answers that are kept in `before`. What cannot be put in is left as the client has
/// it: an answer is told again.
pub fn kept<'o>(account: &Account, event: &'o Event, before: &Event) -> Cow<'o, [u8]> {
    let mut octets = Cow::Borrowed(&*event.octets);
    let mut keep = |which: Which<'_>, now: &Occurrence, was: &Occurrence| {
        for attendee in &now.attendees {
            // Its own answer is the client's to give.
            if account.may_send_as(&attendee.address) {
                continue;
            }
            let known =
                was.attendees.iter().find(|one| one.address.same_mailbox(&attendee.address));
            let Some(known) = known.filter(|known| known.partstat != attendee.partstat) else {
                continue;
            };
            let partstat = Some(known.partstat);
            let edited = edit::set_answer(&octets, which, &attendee.address, partstat, None);
            if let Ok(edited) = edited {
                octets = Cow::Owned(edited);
            }
        }
    };
    if let (Some(now), Some(was)) = (&event.master, &before.master) {
        keep(Which::Master, now, was);
    }
    for change in &event.overrides {
        let id = &change.recurrence_id;
        let was = before.overrides.iter().find(|one| one.recurrence_id == *id);
        // An occurrence that is changed for the first time was answered with the series.
        let was = was.map(|one| &one.occurrence).or(before.master.as_ref());
        if let Some(was) = was {
            keep(Which::Override(id), &change.occurrence, was);
        }
    }
    octets
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::object;
    use super::*;
    use crate::account::{AccountId, Address, Profile, Standing};

    fn account() -> Account {
        Account {
            id: AccountId(Uuid::from_u128(1)),
            address: Address::parse("adele@contoso.example").unwrap(),
            aliases: vec![],
            send_as: vec![],
            profile: Profile::Full,
            granted: vec![],
            person: None,
            standing: Standing::Ready,
        }
    }

    fn event(master: &str, change: Option<&str>) -> Event {
        let mut text = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART:20261123T090000Z\r\n\
             RRULE:FREQ=DAILY;COUNT=5\r\n{master}END:VEVENT\r\n"
        );
        if let Some(change) = change {
            text.push_str(&format!(
                "BEGIN:VEVENT\r\nUID:1\r\nRECURRENCE-ID:20261124T090000Z\r\nDTSTART:20261124T100000Z\r\n\
                 {change}END:VEVENT\r\n"
            ));
        }
        object::read(format!("{text}END:VCALENDAR\r\n").as_bytes()).unwrap()
    }

    fn attendee(answer: &str, name: &str) -> String {
        format!("ATTENDEE;PARTSTAT={answer};X-A=1:mailto:{name}@contoso.example\r\n")
    }

    #[test]
    fn answers_that_a_client_had_not_seen_stay() {
        let before =
            event(&[attendee("ACCEPTED", "alex"), attendee("DECLINED", "adele")].concat(), None);
        let sent = [
            attendee("NEEDS-ACTION", "alex"),
            attendee("ACCEPTED", "adele"),
            attendee("NEEDS-ACTION", "kim"),
        ];
        let sent = event(&sent.concat(), Some(&attendee("NEEDS-ACTION", "alex")));
        let kept = kept(&account(), &sent, &before).into_owned();
        let expected = event(
            &[
                attendee("ACCEPTED", "alex"),
                attendee("ACCEPTED", "adele"),
                attendee("NEEDS-ACTION", "kim"),
            ]
            .concat(),
            Some(&attendee("ACCEPTED", "alex")),
        );
        assert_eq!(String::from_utf8(kept).unwrap(), String::from_utf8_lossy(&expected.octets));
    }

    #[test]
    fn an_answer_to_one_occurrence_stays_with_it() {
        let asked = attendee("NEEDS-ACTION", "alex");
        let before = event(&attendee("ACCEPTED", "alex"), Some(&attendee("DECLINED", "alex")));
        let sent = event(&asked, Some(&asked));
        assert_eq!(&*kept(&account(), &sent, &before), &*before.octets);
    }

    #[test]
    fn an_object_that_needs_no_answer_is_untouched() {
        let before = event(&attendee("ACCEPTED", "kim"), None);
        let sent = event(&attendee("NEEDS-ACTION", "alex"), None);
        assert!(matches!(kept(&account(), &sent, &before), Cow::Borrowed(_)));
    }
}
