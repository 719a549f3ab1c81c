//! What is POSTed to an outbox: the question when people are busy. Pure.
//!
//! RFC 6638 §5; RFC 5546 §3.3.2. Nothing else can be asked there: invitations go with the object that is PUT.

use super::free_busy::Reply;
use super::range::{TimeRange, instant};
use crate::account::Address;
use crate::ical::{ATTENDEES_MAX, Component, Property, Unfolded};

/// A VFREEBUSY REQUEST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    uid: String,
    pub range: TimeRange,
    pub organizer: Person,
    /// Each line once, in order.
    pub attendees: Vec<Person>,
}

/// An ORGANIZER or ATTENDEE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The content line, unfolded.
    line: String,
    /// The calendar user address, as it was given.
    pub value: String,
    /// `None`: it is no mailbox.
    pub address: Option<Address>,
}

impl Question {
    /// What the answer about an attendee repeats.
    pub fn reply<'q>(&'q self, attendee: &'q Person) -> Reply<'q> {
        Reply { uid: &self.uid, organizer: &self.organizer.line, attendee: &attendee.line }
    }
}

/// Reads the body of a POST. The error is in words, for the client.
pub fn read(octets: &[u8]) -> Result<Question, &'static str> {
    let unfolded = Unfolded::of(octets);
    let calendar = unfolded.calendar().map_err(|_| "it is not iCalendar")?;
    let method = calendar.property("METHOD").map(|method| method.line.value.trim());
    if !method.is_some_and(|method| method.eq_ignore_ascii_case("REQUEST")) {
        return Err("its METHOD is not REQUEST");
    }
    let others = |part: &&Component<'_>| !part.is("VTIMEZONE") && !part.is("VFREEBUSY");
    let mut parts = calendar.named("VFREEBUSY");
    let (Some(asked), None, false) =
        (parts.next(), parts.next(), calendar.components.iter().any(|part| others(&part)))
    else {
        return Err("it is not one VFREEBUSY");
    };
    let value = |name: &str| asked.property(name).map(|property| property.line.value.trim());
    let uid = value("UID").ok_or("it has no UID")?.to_owned();
    let at = |name| value(name).and_then(instant);
    let (start, end) = (at("DTSTART"), at("DTEND"));
    let range = start.and(end).and_then(|_| TimeRange::new(start, end));
    let range = range.ok_or("DTSTART and DTEND have to be UTC, and in that order")?;
    let organizer = asked.property("ORGANIZER").map(person).ok_or("it has no ORGANIZER")?;
    let mut attendees: Vec<Person> = Vec::new();
    for attendee in asked.properties.iter().filter(|property| property.line.is("ATTENDEE")) {
        let attendee = person(attendee);
        if !attendees.iter().any(|known| known.value == attendee.value) {
            attendees.push(attendee);
        }
    }
    match attendees.len() {
        0 => Err("it has no ATTENDEE"),
        1..=ATTENDEES_MAX => Ok(Question { uid, range, organizer, attendees }),
        _ => Err("it has too many attendees"),
    }
}

fn person(property: &Property<'_>) -> Person {
    let line = &property.line;
    let value = line.value.trim();
    let address = match value.split_at_checked(7) {
        Some((scheme, address)) if scheme.eq_ignore_ascii_case("mailto:") => {
            Address::parse(address.trim()).ok()
        }
        _ => None,
    };
    Person { line: line.text.to_owned(), value: value.to_owned(), address }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nMETHOD:REQUEST\r\nBEGIN:VFREEBUSY\r\nUID:1\r\n\
        DTSTART:20261123T000000Z\r\nDTEND:20261124T000000Z\r\nORGANIZER;CN=Adele:mailto:adele@contoso.\r\n example\r\n\
        ATTENDEE:MAILTO:Alex@contoso.example\r\nATTENDEE;X=1:MAILTO:Alex@contoso.example\r\n\
        ATTENDEE:urn:uuid:1\r\nEND:VFREEBUSY\r\nEND:VCALENDAR\r\n";

    #[test]
    fn a_question_says_who_and_when() {
        let question = read(QUESTION.as_bytes()).unwrap();
        assert_eq!(question.organizer.address, Address::parse("adele@contoso.example").ok());
        let people: Vec<_> =
            question.attendees.iter().map(|a| (a.value.as_str(), a.address.is_some())).collect();
        assert_eq!(people, [("MAILTO:Alex@contoso.example", true), ("urn:uuid:1", false)]);
        let reply = question.reply(&question.attendees[0]);
        assert_eq!(reply.organizer, "ORGANIZER;CN=Adele:mailto:adele@contoso.example");
        assert_eq!((reply.uid, reply.attendee), ("1", "ATTENDEE:MAILTO:Alex@contoso.example"));
    }

    #[test]
    fn what_is_no_question_is_refused_in_words() {
        for (from, to, why) in [
            ("BEGIN:VCALENDAR", "BEGIN:VCARD", "iCalendar"),
            ("METHOD:REQUEST", "METHOD:REPLY", "METHOD"),
            ("VFREEBUSY", "VEVENT", "VFREEBUSY"),
            ("UID:1\r\n", "", "UID"),
            ("DTEND:20261124T000000Z", "DTEND:20261122T000000Z", "order"),
            ("DTSTART:20261123T000000Z", "DTSTART:20261123T000000", "UTC"),
            ("ORGANIZER", "X-ORGANIZER", "ORGANIZER"),
            ("ATTENDEE", "X-ATTENDEE", "ATTENDEE"),
        ] {
            let refused = read(QUESTION.replace(from, to).as_bytes()).unwrap_err();
            assert!(refused.contains(why), "{from}: {refused}");
        }
    }
}
