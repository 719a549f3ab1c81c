//! What is spooled for a change of an object: an envelope, and a mail-like head for reports. Pure.
//!
//! The octets behind the empty line are the object; `execute` reads them from there. Nothing of an object
//! may come to be a field of the head.

use crate::account::{Account, Address};
use crate::ical::{Event, Occurrence};
use crate::submission::{Envelope, MailParameters, NoRecipient};

/// Longest summary that is repeated, in characters.
const SUBJECT_CHARS_MAX: usize = 150;

/// From the account to those whom the event concerns; to itself, where nobody else is.
pub fn envelope(account: &Account, event: Option<&Event>) -> Result<Envelope, NoRecipient> {
    let mut people: Vec<Address> = Vec::new();
    for attendee in event.into_iter().flat_map(occurrences).flat_map(|one| &one.attendees) {
        if !account.may_send_as(&attendee.address) {
            people.push(attendee.address.clone());
        }
    }
    if people.is_empty() {
        people.push(account.address.clone());
    }
    let to = people.into_iter().map(Into::into).collect();
    Envelope::new(Some(account.address.clone()), to, MailParameters::default())
}

/// The object behind a head that says what it is about.
pub fn octets(event: Option<&Event>, object: &[u8]) -> Vec<u8> {
    let summary = event.and_then(|event| occurrences(event).next()).map(|one| one.summary.as_str());
    let summary = one_line(summary.unwrap_or_default());
    let mut octets =
        format!("Subject: {summary}\r\nContent-Type: text/calendar; charset=utf-8\r\n\r\n")
            .into_bytes();
    octets.extend_from_slice(object);
    octets
}

/// The master, then the overrides.
pub fn occurrences(event: &Event) -> impl Iterator<Item = &Occurrence> {
    event.master.iter().chain(event.overrides.iter().map(|change| &change.occurrence))
}

/// Without whatever could end a line or turn its direction.
fn one_line(text: &str) -> String {
    let unfit = |c: &char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let fit: String = text.chars().map(|c| if unfit(&c) { ' ' } else { c }).collect();
    fit.trim().chars().take(SUBJECT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::object;
    use super::*;
    use crate::account::{AccountId, Profile, Standing};
    use crate::mime;

    fn account() -> Account {
        Account {
            id: AccountId(Uuid::from_u128(1)),
            address: Address::parse("adele.vance@contoso.example").unwrap(),
            aliases: vec![Address::parse("adele@contoso.example").unwrap()],
            send_as: vec![],
            profile: Profile::Full,
            granted: vec![],
            person: None,
            standing: Standing::Ready,
        }
    }

    fn event(lines: &str) -> Event {
        let text = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART:20261123T090000Z\r\n{lines}\
             END:VEVENT\r\nEND:VCALENDAR\r\n"
        );
        object::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_envelope_is_those_whom_it_concerns_each_once() {
        let event = event(
            "ATTENDEE:mailto:alex@contoso.example\r\nATTENDEE:mailto:Adele@contoso.example\r\n\
             END:VEVENT\r\nBEGIN:VEVENT\r\nUID:1\r\nRECURRENCE-ID:20261124T090000Z\r\n\
             DTSTART:20261124T100000Z\r\nATTENDEE:mailto:ALEX@contoso.example\r\n\
             ATTENDEE:mailto:kim@fabrikam.example\r\n",
        );
        let envelope = envelope(&account(), Some(&event)).unwrap();
        let to: Vec<_> = envelope.recipients().map(Address::as_str).collect();
        assert_eq!(to, ["alex@contoso.example", "kim@fabrikam.example"]);
        assert_eq!(envelope.reverse_path(), Some(&account().address));
        let alone = super::envelope(&account(), None).unwrap();
        assert_eq!(alone.recipients().collect::<Vec<_>>(), [&account().address]);
    }

    #[test]
    fn a_summary_is_one_field_and_the_object_lies_behind_it_as_it_was() {
        let event = event("SUMMARY:Grüße\\nX-Evil: 1\\r\u{2028}end\r\n");
        let octets = octets(Some(&event), &event.octets);
        let head = mime::head(&octets);
        let head = String::from_utf8_lossy(head);
        assert!(!head.contains("\nX-Evil"), "{head}");
        assert!(mime::subject(head.as_bytes()).unwrap().starts_with("Grüße X-Evil: 1"), "{head}");
        assert!(octets.ends_with(&[b"\r\n\r\n", &*event.octets].concat()));
        let nothing = super::octets(None, b"");
        assert!(nothing.starts_with(b"Subject: \r\nContent-Type: text/calendar"));
    }
}
