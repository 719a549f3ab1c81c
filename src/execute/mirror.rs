//! What the calendar shows of an invite that came by mail. Pure.
//!
//! The object is made of what the mails said, in their own octets: the last word on the whole, with those
//! who were invited before it and the occurrences that were spoken of alone. What has no place in it (a
//! further event by ADD) is only in the record.

use std::borrow::Cow;

use crate::account::Address;
use crate::caldav::kept::occupied;
use crate::ical::edit::{self, NotEdited};
use crate::ical::{self, Event, Status};
use crate::invite::{Invite, Way};
use crate::itip::{Message, Method};
use crate::store::calendar::{Mirrored, Span};

/// `record` is what the message made of the invite, and `current` its object so far.
pub(super) fn of_mail(message: &Message, record: &Invite, current: Option<&[u8]>) -> Mirrored {
    match (record.way, record.stands()) {
        (Way::Mail, _) => Mirrored::AsItWas,
        (Way::Event, false) => Mirrored::Gone,
        (Way::Event, true) => match shown(message, record, current) {
            Ok(Some(octets)) => of_octets(octets),
            Ok(None) => Mirrored::AsItWas,
            Err(error) => {
                tracing::info!(uid = record.uid, %error, "the calendar shows it as it was before");
                Mirrored::AsItWas
            }
        },
    }
}

/// With what it can occupy.
pub(super) fn of_octets(octets: Vec<u8>) -> Mirrored {
    let event = ical::read(&octets).ok().and_then(|object| object.events.into_iter().next());
    let span = event.as_ref().map(span).unwrap_or_default();
    Mirrored::Is { octets, span, answers_alone: false }
}

pub(super) fn span(event: &Event) -> Span {
    let occupied = occupied(event);
    Span {
        first: occupied.first.map(jiff::Timestamp::as_millisecond),
        last: occupied.last.map(jiff::Timestamp::as_millisecond),
    }
}

fn shown(
    message: &Message,
    record: &Invite,
    current: Option<&[u8]>,
) -> Result<Option<Vec<u8>>, NotEdited> {
    let event = &message.event;
    let Some(current) = current else {
        return match message.method {
            Method::Request => Ok(Some(edit::without_method(&event.octets)?.into_owned())),
            _ => Ok(None),
        };
    };
    let said = match (message.method, &event.master) {
        (Method::Request, Some(_)) if record.version.arrived == record.decided => {
            let whole = edit::without_method(&event.octets)?;
            let whole = edit::union_of_attendees(&whole, current)?;
            match is_same_series(event, current) {
                true => edit::merge_occurrences(&whole, current)?,
                false => whole,
            }
        }
        (Method::Request, Some(_)) => edit::union_of_attendees(current, &event.octets)?,
        (Method::Request, None) => edit::merge_occurrences(current, &event.octets)?,
        (Method::Cancel, Some(master)) => {
            let off: Vec<&Address> = master.attendees.iter().map(|one| &one.address).collect();
            edit::without_attendees(current, &off)?
        }
        (Method::Cancel, None) => {
            let mut left = Cow::Borrowed(current);
            for one in &event.overrides {
                let whole = one.occurrence.status == Status::Cancelled
                    || one.occurrence.attendees.is_empty();
                if whole {
                    left = edit::exclude_occurrence(&left, &one.recurrence_id)?.into();
                }
            }
            left.into_owned()
        }
        _ => return Ok(None),
    };
    Ok(Some(said))
}

/// Whether changes of single occurrences outlive the message: see `invite::decide`.
fn is_same_series(event: &Event, current: &[u8]) -> bool {
    let current = ical::read(current).ok().and_then(|object| object.events.into_iter().next());
    let current = current.and_then(|event| event.master);
    event.master.as_ref().zip(current).is_some_and(|(new, old)| {
        (&new.start, &new.end, &new.recurrence) == (&old.start, &old.end, &old.recurrence)
    })
}
