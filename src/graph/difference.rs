//! What is different between two translations of an event: the body of a PATCH, or no call. Pure.
//!
//! Graph mails every attendee for any PATCH, even for one that changes nothing (Graph: event-update), and
//! only those concerned if `attendees` stands alone. So only what differs is sent, and what merely looks
//! different is not.

use serde_json::{Map, Value, json};

use super::resource::{Attendee, CONTENT_PROPERTY, EventBody, ItemBody};

/// A JSON merge patch (RFC 7396) of an event; `recurrence` is whole in it. Empty: no call.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(transparent)]
pub struct Patch(Map<String, Value>);

impl Patch {
    /// The properties that are changed, by Graph's names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub fn changes(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Takes a property out, as the list of attendees for a call of its own. `None`: it is not changed.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Another text than the one that was translated.
    pub fn set_body(&mut self, body: &ItemBody) {
        self.0.insert("body".to_owned(), json!(body));
    }

    /// Puts further attendees onto the list that it holds.
    pub fn add_attendees(&mut self, more: Vec<Attendee>) {
        if let Some(Value::Array(list)) = self.0.get_mut("attendees") {
            list.extend(more.iter().filter_map(|one| serde_json::to_value(one).ok()));
        }
    }

    /// The same, leaving `mark` on the event ([`CONTENT_PROPERTY`]); not where the attendees stand
    /// alone, as Exchange would mail them all.
    #[must_use]
    pub fn marked(mut self, mark: &str) -> Patch {
        if self.names().any(|name| name != "attendees") {
            let property = json!([{ "id": CONTENT_PROPERTY, "value": mark }]);
            self.0.insert("singleValueExtendedProperties".to_owned(), property);
        }
        self
    }
}

/// Set once at creation, or what finds the event again: no change of the event.
const CREATE_ONLY: [&str; 3] =
    ["transactionId", "allowNewTimeProposals", "singleValueExtendedProperties"];

/// Whether Graph, and the attendees, would see the same event.
pub fn same(a: &EventBody, b: &EventBody) -> bool {
    changes(a, b).is_empty()
}

/// What turns `old` into `new`. A list of attendees is compared if both have one.
///
/// An online meeting lives in its event's body: where Graph made one, `body` cannot be replaced without
/// the part that Graph put there.
pub fn changes(old: &EventBody, new: &EventBody) -> Patch {
    let (before, after) = (properties(&canonical(old)), properties(&canonical(new)));
    let mut whole = properties(new);
    let mut patch = Map::new();
    for (name, value) in &after {
        let created_only = CREATE_ONLY.contains(&name.as_str());
        let unknown = name == "attendees" && !before.contains_key(name);
        if !created_only && !unknown && before.get(name) != Some(value) {
            patch.insert(name.clone(), whole.remove(name).unwrap_or(Value::Null));
        }
    }
    // What is gone is of no concern but for the series: a reminder is switched off, an online meeting
    // stays one, attendees that are not spoken of stay.
    if before.contains_key("recurrence") && !after.contains_key("recurrence") {
        patch.insert("recurrence".to_owned(), Value::Null);
    }
    // Graph checks start, end and isAllDay against each other, and a range against the start.
    let moved = ["start", "end", "isAllDay"].iter().any(|name| patch.contains_key(*name));
    let series_moved = patch.contains_key("start") && whole.contains_key("recurrence");
    let together: &[&str] = match (moved, series_moved) {
        (true, true) => &["start", "end", "isAllDay", "recurrence"],
        (true, false) => &["start", "end", "isAllDay"],
        (false, _) => &[],
    };
    for name in together {
        if let Some(value) = whole.remove(*name) {
            patch.insert((*name).to_owned(), value);
        }
    }
    Patch(patch)
}

/// All of an event that can be changed: for one of which nothing is known but that it is there.
pub fn everything(event: &EventBody) -> Patch {
    let mut all = properties(event);
    all.retain(|name, _| !CREATE_ONLY.contains(&name.as_str()));
    Patch(all)
}

/// Says nothing new, for what reaches the attendees only with an update.
pub fn again(event: &EventBody) -> Patch {
    Patch(Map::from_iter([("subject".to_owned(), json!(event.subject))]))
}

/// What is of the series alone, or set for all of it.
const OF_THE_SERIES: [&str; 3] = ["recurrence", "isOnlineMeeting", "onlineMeetingProvider"];

/// What makes `new` of one occurrence of a series; `old`: what it was given before.
pub fn of_occurrence(old: Option<&EventBody>, new: &EventBody) -> Patch {
    let mut patch = match old {
        Some(old) => changes(old, new),
        None => everything(new),
    };
    patch.0.retain(|name, _| !OF_THE_SERIES.contains(&name.as_str()));
    patch
}

/// The list of attendees alone.
pub fn attendees(list: Vec<Attendee>) -> Patch {
    Patch(Map::from_iter([("attendees".to_owned(), json!(list))]))
}

/// The form in which what means the same is the same.
fn canonical(event: &EventBody) -> EventBody {
    let mut event = event.clone();
    event.subject = event.subject.trim().to_owned();
    event.body = ItemBody { content: text_lines(&event.body.content), ..event.body };
    event.categories.sort_unstable();
    for attendee in event.attendees.iter_mut().flatten() {
        attendee.email_address.address = attendee.email_address.address.to_lowercase();
    }
    if let Some(attendees) = &mut event.attendees {
        attendees.sort_by(|a, b| a.email_address.address.cmp(&b.email_address.address));
    }
    event
}

/// Line ends and blanks at the end of lines do not show.
fn text_lines(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    while lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    lines.join("\n")
}

fn properties(event: &EventBody) -> Map<String, Value> {
    match serde_json::to_value(event) {
        Ok(Value::Object(properties)) => properties,
        // Structs of strings and numbers: there is no other outcome.
        _ => Map::new(),
    }
}
