//! The calendars of all mailboxes: what is kept of an event, and what stands in a calendar when.
//!
//! Source: Graph `event`, `calendar`, "list calendarView". What changes them is in
//! [`super::calendar_changes`], HTTP in [`super::calendar_routes`], what a body says in
//! [`super::event`].

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::Value;
use uuid::Uuid;

use super::attachment::Attachment;
use super::event::{Content, Unfit};
use super::item_id::{GlobalObjectId, IdForm, ItemId, change_key};
use super::odata::ODataError;
use super::series::{self, Exceptions, Occurrence, Series};
use super::world::{ShortMonths, User};

/// Events of all mailboxes; beyond it they are full.
pub(super) const EVENTS_MAX: usize = 200_000;
/// Octets of attachments and bodies of all mailboxes.
pub(super) const OCTETS_MAX: usize = 1 << 28;

#[derive(Debug, Default)]
pub struct Calendars {
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) events: BTreeMap<u64, Arc<Event>>,
    /// Beside the default calendar of each mailbox.
    pub(super) calendars: Vec<Calendar>,
    pub(super) transactions: HashMap<(Uuid, String), Transaction>,
    /// The attendee's copy of an organizer's event, by (attendee, number of the event).
    pub(super) copies: HashMap<(Uuid, u64), u64>,
    numbers: u64,
    changes: u64,
    pub(super) octets: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    pub number: u64,
    pub owner: Uuid,
    pub name: String,
}

/// Number of every mailbox's default calendar.
pub const DEFAULT_CALENDAR: u64 = 0;

#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) event: u64,
    /// Another one for each body.
    pub(super) digest: Uuid,
}

/// A single event or the master of a series, in one mailbox.
#[derive(Debug, Clone)]
pub struct Event {
    pub number: u64,
    /// Object id of the mailbox's user.
    pub owner: Uuid,
    pub calendar: u64,
    pub global_id: GlobalObjectId,
    /// Grows with each change of anything in the mailboxes.
    pub change: u64,
    pub modified: Timestamp,
    pub content: Content,
    pub exceptions: Exceptions,
    pub role: Role,
    /// Of the attendees as far as the owner knows, by address in lower case; of one occurrence, or
    /// of all that have none of their own.
    pub responses: BTreeMap<(String, Option<Date>), Response>,
    pub is_cancelled: bool,
    pub transaction_id: Option<String>,
    pub attachments: Vec<Attachment>,
    /// Of the bodies that made it what it is.
    pub octets: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Organizer,
    /// A copy: whose event it is, and its number there.
    Attendee {
        organizer: Uuid,
        event: u64,
    },
}

/// An attendee's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    pub answer: Answer,
    pub at: Timestamp,
    pub proposed_new_time: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Accepted,
    TentativelyAccepted,
    Declined,
}

impl Answer {
    /// Graph's `responseType`.
    pub fn name(self) -> &'static str {
        match self {
            Answer::Accepted => "accepted",
            Answer::TentativelyAccepted => "tentativelyAccepted",
            Answer::Declined => "declined",
        }
    }
}

/// An event, or one occurrence of it.
#[derive(Debug, Clone)]
pub struct Shown {
    pub event: Arc<Event>,
    pub occurrence: Option<Occurrence>,
}

impl Shown {
    pub fn content(&self) -> &Content {
        self.occurrence.as_ref().map_or(&self.event.content, |one| &one.content)
    }

    pub fn date(&self) -> Option<Date> {
        self.occurrence.as_ref().map(|one| one.date)
    }

    pub fn id(&self, form: IdForm) -> String {
        let Event { owner, number, .. } = *self.event;
        let renamed = self.occurrence.as_ref().is_some_and(|one| one.renamed);
        ItemId { mailbox: owner, number, date: self.date(), renamed }.text(form)
    }

    pub fn change_key(&self) -> String {
        let own = self.occurrence.as_ref().and_then(|one| one.exception);
        change_key(own.unwrap_or(0).max(self.event.change))
    }

    pub fn response_of(&self, address: &str) -> Option<&Response> {
        let of = |date| self.event.responses.get(&(address.to_ascii_lowercase(), date));
        self.date().and_then(|date| of(Some(date))).or_else(|| of(None))
    }
}

/// What stands in a calendar, for comparison with what should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// In the immutable form.
    pub event_id: String,
    /// Of the event or its series.
    pub ical_uid: String,
    pub subject: String,
    pub start: Timestamp,
    pub end: Timestamp,
    pub all_day: bool,
    /// Of an occurrence.
    pub original_start: Option<Timestamp>,
    pub is_cancelled: bool,
}

impl Event {
    pub fn series(&self, short_months: ShortMonths) -> Series<'_> {
        Series { content: &self.content, exceptions: &self.exceptions, short_months }
    }

    pub fn is_organizers(&self) -> bool {
        self.role == Role::Organizer
    }
}

impl Calendars {
    /// All events of a mailbox, series by their masters.
    pub fn events(&self, owner: Uuid) -> Vec<Arc<Event>> {
        self.book().events.values().filter(|event| event.owner == owner).cloned().collect()
    }

    /// What is under way in a mailbox between two instants, by its start; series by occurrences.
    pub fn view(
        &self,
        owner: Uuid,
        from: Timestamp,
        to: Timestamp,
        short_months: ShortMonths,
    ) -> Vec<Shown> {
        let mut shown = Vec::new();
        for event in self.events(owner) {
            shown.extend(occurrences(&event, from, to, short_months));
        }
        shown.sort_by_key(|one| one.content().span.start_instant());
        shown
    }

    /// The same, in few words.
    pub fn instances(
        &self,
        owner: Uuid,
        from: Timestamp,
        to: Timestamp,
        short_months: ShortMonths,
    ) -> Vec<Instance> {
        let instance = |shown: &Shown| {
            let content = shown.content();
            Instance {
                event_id: shown.id(IdForm::Immutable),
                ical_uid: shown.event.global_id.ical_uid(None),
                subject: content.text("subject").to_owned(),
                start: content.span.start_instant(),
                end: content.span.end_instant(),
                all_day: content.span.all_day,
                original_start: shown.occurrence.as_ref().map(|one| one.original_start),
                is_cancelled: shown.event.is_cancelled,
            }
        };
        self.view(owner, from, to, short_months).iter().map(instance).collect()
    }

    /// Numbers go on, so that no id of before names an event of after.
    pub fn clear(&self) {
        let mut book = self.book();
        let (numbers, changes) = (book.numbers, book.changes);
        *book = Book { numbers, changes, ..Book::default() };
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An event's instances in a window: itself, if it is no series.
pub fn occurrences(
    event: &Arc<Event>,
    from: Timestamp,
    to: Timestamp,
    short_months: ShortMonths,
) -> Vec<Shown> {
    if event.content.recurrence.is_none() {
        let within = series::overlaps(&event.content.span, from, to);
        return within.then(|| single(event)).into_iter().collect();
    }
    let found = event.series(short_months).occurrences(from, to);
    let shown = |one| Shown { event: Arc::clone(event), occurrence: Some(one) };
    found.into_iter().map(shown).collect()
}

pub(super) fn single(event: &Arc<Event>) -> Shown {
    Shown { event: Arc::clone(event), occurrence: None }
}

pub fn not_found() -> ODataError {
    let text = "The specified object was not found in the store.";
    ODataError::new(StatusCode::NOT_FOUND, "ErrorItemNotFound", text)
}

pub(super) fn invalid(text: &'static str) -> ODataError {
    ODataError::bad_request("ErrorInvalidRequest", text)
}

pub(super) fn full() -> ODataError {
    let text = "The sandbox keeps no more events.";
    ODataError::new(StatusCode::INSUFFICIENT_STORAGE, "ErrorQuotaExceeded", text)
}

impl From<Unfit> for ODataError {
    fn from(Unfit { code, text }: Unfit) -> ODataError {
        ODataError::bad_request(code, text)
    }
}

/// The item of an id, in this mailbox.
pub fn item(owner: &User, id: &str) -> Result<ItemId, ODataError> {
    let malformed = || ODataError::bad_request("ErrorInvalidIdMalformed", "Id is malformed.");
    let id = ItemId::read(id).ok_or_else(malformed)?;
    // Documented: ids are of one mailbox.
    if id.mailbox == owner.object_id { Ok(id) } else { Err(not_found()) }
}

impl Book {
    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn change(&mut self) -> u64 {
        self.changes += 1;
        self.changes
    }
}
