//! The page's calendars: what stands in each, who was mailed, and the buttons that answer.
//!
//! An answer is a form of our own page and nobody else's: a request that a browser sends on behalf of
//! another site is refused.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use jiff::Timestamp;

use super::calendar::{Answer, Event, Role, Shown};
use super::calendar_changes::Locked;
use super::invitations::Kind;
use super::item_id::{IdForm, ItemId};
use super::world::{User, World};

/// Events of one mailbox, and invitations of all, that are listed.
const LISTED_MAX: usize = 100;
/// Attendees named of one event.
const PEOPLE_MAX: usize = 10;

/// An event, or a series by its first occurrence.
pub struct Entry {
    pub subject: String,
    pub at: String,
    /// `series, organized by …`
    pub what: String,
    /// Attendees and their answers.
    pub people: Vec<String>,
    /// The id, if there is an answer to give.
    pub answerable: Option<String>,
}

/// A mail about an event.
pub struct Mailed {
    pub kind: &'static str,
    pub attendee: String,
    pub subject: String,
    pub at: String,
    pub one: bool,
}

pub fn entries(world: &World, user: &User) -> Vec<Entry> {
    let events = world.calendar.events(user.object_id);
    events.iter().rev().take(LISTED_MAX).map(|event| entry(world, event)).collect()
}

fn entry(world: &World, event: &Arc<Event>) -> Entry {
    let shown = Shown { event: Arc::clone(event), occurrence: None };
    let content = shown.content();
    let mut what = Vec::new();
    if event.is_cancelled {
        what.push("cancelled".to_owned());
    }
    if content.recurrence.is_some() {
        what.push("series".to_owned());
    }
    match (event.exceptions.changed.len(), event.exceptions.cancelled.len()) {
        (0, 0) => {}
        (changed, cancelled) => what.push(format!("{changed} changed, {cancelled} cancelled")),
    }
    if let Role::Attendee { organizer, .. } = event.role {
        let organizer = world.user(&organizer.to_string()).map(|user| user.address.as_str());
        what.push(format!("organized by {}", organizer.unwrap_or("nobody")));
    }
    let person = |address: &str| match shown.response_of(address) {
        Some(response) => format!("{address}: {}", response.answer.name()),
        None => format!("{address}: no answer"),
    };
    let people = content.attendees.iter().take(PEOPLE_MAX).map(|one| person(&one.address));
    let is_asked = event.role != Role::Organizer && !event.is_cancelled;
    Entry {
        subject: content.text("subject").to_owned(),
        at: written(content.span.start_instant()),
        what: what.join(", "),
        people: people.collect(),
        answerable: is_asked.then(|| shown.id(IdForm::Immutable)),
    }
}

/// Newest first.
pub fn mailed(world: &World) -> Vec<Mailed> {
    let all = world.ledger.invitations();
    let row = |row: &super::ledger::Invited| Mailed {
        kind: match row.invitation.kind {
            Kind::Request => "Request",
            Kind::Update => "Update",
            Kind::Cancel => "Cancellation",
        },
        attendee: row.invitation.attendee.clone(),
        subject: row.invitation.subject.clone(),
        at: written(row.invitation.start),
        one: row.invitation.occurrence.is_some(),
    };
    all.iter().rev().take(LISTED_MAX).map(row).collect()
}

fn written(at: Timestamp) -> String {
    at.strftime("%a, %b %-d %Y, %H:%M UTC").to_string()
}

/// A button.
pub async fn respond(
    State(world): State<Arc<World>>,
    Path((id, answer)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    // Fetch Metadata: browsers say where a request comes from; what sends neither field is none.
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_ours = match text("sec-fetch-site") {
        Some(site) => site == "same-origin",
        None => text("origin").is_none(),
    };
    if !is_ours {
        return (StatusCode::FORBIDDEN, "only from the sandbox's own page\n").into_response();
    }
    let known = [Answer::Accepted, Answer::TentativelyAccepted, Answer::Declined];
    let actions = ["accept", "tentativelyAccept", "decline"];
    let answer = actions.iter().zip(known).find(|(action, _)| **action == answer);
    let owner = ItemId::read(&id).and_then(|id| world.user(&id.mailbox.to_string()));
    let (Some((_, answer)), Some(owner)) = (answer, owner) else {
        return (StatusCode::NOT_FOUND, "no such event or answer\n").into_response();
    };
    let mut calendars = Locked::new(&world, owner);
    let responded =
        calendars.find(&id).and_then(|target| calendars.respond(&target, answer, None, true));
    match responded {
        Ok(()) => Redirect::to("/").into_response(),
        Err(error) => (error.status, format!("{}\n", error.message)).into_response(),
    }
}
