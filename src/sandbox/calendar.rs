//! The calendars of all mailboxes, and what each change does to them: the organizer's event, the
//! attendees' copies, a row in the ledger for each mail.
//!
//! Source: Graph "create event", "update event", "cancel event", "delete event", "accept". A request
//! is checked, then has its whole effect under one lock, so that organizer, attendees and ledger
//! agree at any time. HTTP is in [`super::calendar_routes`], what a body says in [`super::event`].

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::event::{Content, Unfit};
use super::invitations::{self, Due, Invitation, Kind, Update};
use super::item_id::{GlobalObjectId, IdForm, ItemId, change_key};
use super::odata::ODataError;
use super::series::{self, Exceptions, Occurrence, Series};
use super::world::{DuplicateTransactionStatus, ShortMonths, Switches, User, World};

/// Events of all mailboxes; beyond it they are full.
const EVENTS_MAX: usize = 200_000;
/// Octets of attachments and bodies of all mailboxes.
const OCTETS_MAX: usize = 1 << 28;

#[derive(Debug, Default)]
pub struct Calendars {
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) events: BTreeMap<u64, Arc<Event>>,
    /// Beside the default calendar of each mailbox.
    pub(super) calendars: Vec<Calendar>,
    transactions: HashMap<(Uuid, String), Transaction>,
    /// The attendee's copy of an organizer's event, by (attendee, number of the event).
    copies: HashMap<(Uuid, u64), u64>,
    numbers: u64,
    changes: u64,
    octets: usize,
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
struct Transaction {
    event: u64,
    body: Map<String, Value>,
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

#[derive(Debug, Clone)]
pub struct Attachment {
    pub number: u64,
    /// As posted, without its bytes.
    pub properties: Map<String, Value>,
    pub bytes: Arc<[u8]>,
    pub modified: Timestamp,
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
        ItemId { mailbox: owner, number, date: self.date() }.text(form)
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

    fn is_organizers(&self) -> bool {
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

    pub fn clear(&self) {
        *self.book() = Book::default();
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

fn single(event: &Arc<Event>) -> Shown {
    Shown { event: Arc::clone(event), occurrence: None }
}

pub fn not_found() -> ODataError {
    let text = "The specified object was not found in the store.";
    ODataError::new(StatusCode::NOT_FOUND, "ErrorItemNotFound", text)
}

fn invalid(text: &'static str) -> ODataError {
    ODataError::bad_request("ErrorInvalidRequest", text)
}

fn full() -> ODataError {
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

/// What a change is made with.
pub struct Desk<'a> {
    world: &'a World,
    owner: &'a User,
    switches: Switches,
    book: MutexGuard<'a, Book>,
}

impl<'a> Desk<'a> {
    /// Locks the calendars.
    pub fn new(world: &'a World, owner: &'a User) -> Desk<'a> {
        let switches = world.switches().clone();
        Desk { world, owner, switches, book: world.calendar.book() }
    }

    pub fn find(&self, id: &str) -> Result<Shown, ODataError> {
        let ItemId { mailbox, number, date } = item(self.owner, id)?;
        let event = self.book.events.get(&number).filter(|event| event.owner == mailbox);
        let event = Arc::clone(event.ok_or_else(not_found)?);
        let occurrence = match date {
            None => None,
            Some(date) => {
                let found = event.series(self.switches.short_months).occurrence(date);
                Some(found.ok_or_else(not_found)?)
            }
        };
        Ok(Shown { event, occurrence })
    }

    pub fn calendars(&self) -> Vec<Calendar> {
        let owner = self.owner.object_id;
        let default = Calendar { number: DEFAULT_CALENDAR, owner, name: "Calendar".to_owned() };
        let others = self.book.calendars.iter().filter(|calendar| calendar.owner == owner);
        std::iter::once(default).chain(others.cloned()).collect()
    }

    pub fn add_calendar(&mut self, name: &str) -> Result<Calendar, ODataError> {
        if self.calendars().iter().any(|known| known.name.eq_ignore_ascii_case(name)) {
            let text = "A folder with the specified name already exists.";
            return Err(ODataError::new(StatusCode::CONFLICT, "ErrorFolderExists", text));
        }
        self.room(name.len())?;
        let (number, owner) = (self.book.number(), self.owner.object_id);
        let calendar = Calendar { number, owner, name: name.to_owned() };
        self.book.calendars.push(calendar.clone());
        Ok(calendar)
    }

    pub fn create(
        &mut self,
        calendar: u64,
        body: Map<String, Value>,
        octets: usize,
    ) -> Result<Shown, ODataError> {
        let content = Content::created(&body)?;
        let transaction = body.get("transactionId").and_then(Value::as_str);
        let transaction = transaction.filter(|id| !id.is_empty()).map(str::to_owned);
        let key = transaction.clone().map(|id| (self.owner.object_id, id));
        if let Some(replay) = key.as_ref().and_then(|key| self.duplicate(key, &body)) {
            return replay;
        }
        self.check_series(&content)?;
        self.room(octets)?;
        let now = self.world.clock.now();
        let number = self.book.number();
        let event = Event {
            number,
            owner: self.owner.object_id,
            calendar,
            global_id: GlobalObjectId {
                guid: Uuid::new_v5(&self.owner.object_id, &number.to_be_bytes()),
                created: now,
            },
            change: self.book.change(),
            modified: now,
            content,
            exceptions: Exceptions::default(),
            role: Role::Organizer,
            responses: BTreeMap::new(),
            is_cancelled: false,
            transaction_id: transaction,
            attachments: Vec::new(),
        };
        let due = invitations::to_all(&event.content.attendees, Kind::Request);
        self.mail(&event, due)?;
        if let Some(key) = key {
            self.book.transactions.insert(key, Transaction { event: number, body });
        }
        Ok(single(&self.keep(event)))
    }

    /// What a create is answered with whose transactionId was used before.
    fn duplicate(
        &self,
        key: &(Uuid, String),
        body: &Map<String, Value>,
    ) -> Option<Result<Shown, ODataError>> {
        let known = self.book.transactions.get(key)?;
        let event = self.book.events.get(&known.event);
        if event.is_none() && !self.switches.transaction_taken_after_deletion {
            return None;
        }
        if let Some(event) = event.filter(|_| self.switches.replay_same_transaction)
            && known.body == *body
        {
            return Some(Ok(single(event)));
        }
        let status = match self.switches.duplicate_transaction {
            DuplicateTransactionStatus::Status400 => StatusCode::BAD_REQUEST,
            DuplicateTransactionStatus::Status409 => StatusCode::CONFLICT,
        };
        let text = "Your request can't be completed. The TransactionId specified in the request \
                    has already been used to create a different event.";
        let mut error = ODataError::new(status, "ErrorDuplicateTransactionId", text);
        let named = event.filter(|_| self.switches.duplicate_transaction_names_event);
        error.annotation =
            named.map(|event| ("@event.existingEventId", single(event).id(IdForm::Default)));
        Some(Err(error))
    }

    pub fn update(
        &mut self,
        target: &Shown,
        body: &Map<String, Value>,
        octets: usize,
    ) -> Result<Shown, ODataError> {
        self.room(octets)?;
        let only_attendees = body.keys().all(|name| name == "attendees" || name.contains('@'));
        match &target.occurrence {
            Some(occurrence) => self.update_one(target, occurrence, body, only_attendees),
            None => self.update_all(target, body, only_attendees),
        }
    }

    fn update_all(
        &mut self,
        target: &Shown,
        body: &Map<String, Value>,
        only_attendees: bool,
    ) -> Result<Shown, ODataError> {
        let before = &target.event.content;
        let mut after = before.patched(body)?;
        self.check_series(&after)?;
        keep_meeting_only_with_its_link(&mut after, body, target.event.number);
        let silent = after == *before && !self.switches.no_op_update_mails;
        let mut event = Event::clone(&target.event);
        // The answers were to another time, and its exceptions name dates that may be none now.
        if after.span != before.span || after.recurrence != before.recurrence {
            event.exceptions = Exceptions::default();
            event.responses.clear();
        }
        let due =
            Update { before: &before.attendees, after: &after.attendees, only_attendees, silent }
                .due();
        event.content = after;
        let changed = event.series(self.switches.short_months).changed();
        let dates: Vec<Date> = changed.iter().map(|one| one.date).collect();
        let due = invitations::with_modified_instances(due, &dates);
        self.touch(&mut event);
        if event.is_organizers() {
            self.mail(&event, due)?;
        }
        Ok(single(&self.keep(event)))
    }

    fn update_one(
        &mut self,
        target: &Shown,
        occurrence: &Occurrence,
        body: &Map<String, Value>,
        only_attendees: bool,
    ) -> Result<Shown, ODataError> {
        if body.get("recurrence").is_some_and(|recurrence| !recurrence.is_null()) {
            return Err(Unfit::property("An occurrence has no recurrence of its own.").into());
        }
        let (date, before) = (occurrence.date, &occurrence.content);
        let after = before.patched(body)?;
        let series = target.event.series(self.switches.short_months);
        if after.span != before.span && series.crosses_boundary(date, &after.span) {
            return Err(ODataError::bad_request(
                "ErrorOccurrenceCrossingBoundary",
                "Modified occurrence is crossing or overlapping adjacent occurrence.",
            ));
        }
        let silent = after == *before && !self.switches.no_op_update_mails;
        let mut event = Event::clone(&target.event);
        self.touch(&mut event);
        if after.span != before.span {
            event.responses.retain(|(_, of), _| *of != Some(date));
        }
        let exception = event.exceptions.changed.entry(date).or_default();
        exception.change = event.change;
        exception.changes.extend(body.clone());
        if event.is_organizers() {
            let (before, after) = (&before.attendees, &after.attendees);
            let due = Update { before, after, only_attendees, silent }.due();
            self.mail(&event, invitations::about(due, date))?;
        }
        let event = self.keep(event);
        let occurrence = event.series(self.switches.short_months).occurrence(date);
        Ok(Shown { event, occurrence })
    }

    /// `POST …/cancel`.
    pub fn cancel(&mut self, target: &Shown) -> Result<(), ODataError> {
        if !target.event.is_organizers() {
            return Err(invalid(
                "Your request can't be completed. You need to be an organizer to cancel a meeting.",
            ));
        }
        if target.content().attendees.is_empty() && self.switches.cancel_without_attendees_refused {
            return Err(invalid(
                "Your request can't be completed. An event without attendees is not a meeting.",
            ));
        }
        self.remove(target)
    }

    /// An organizer's event or occurrence is taken back; an attendee's is only out of sight.
    pub fn remove(&mut self, target: &Shown) -> Result<(), ODataError> {
        let due = invitations::to_all(&target.content().attendees, Kind::Cancel);
        let mut event = Event::clone(&target.event);
        self.touch(&mut event);
        match target.date() {
            Some(date) => {
                let due = invitations::about(due, date);
                // The mail names the occurrence, so it is written before that is gone.
                event.exceptions.cancelled.insert(date);
                event.exceptions.changed.remove(&date);
                if event.is_organizers() {
                    self.mail(&event, due)?;
                }
                self.keep(event);
            }
            None => {
                if event.is_organizers() {
                    self.mail(&event, due)?;
                }
                self.drop_event(&event);
            }
        }
        Ok(())
    }

    /// `accept`, `tentativelyAccept`, `decline`. The organizer hears of it only if told.
    pub fn respond(
        &mut self,
        target: &Shown,
        answer: Answer,
        proposed_new_time: Option<Value>,
        tell: bool,
    ) -> Result<(), ODataError> {
        let Role::Attendee { event: number, .. } = target.event.role else {
            return Err(invalid(
                "Your request can't be completed. You can't respond to this meeting because \
                 you're the meeting organizer.",
            ));
        };
        if target.event.is_cancelled {
            return Err(invalid("Your request can't be completed. The meeting was cancelled."));
        }
        let proposes = proposed_new_time.is_some();
        if proposes && !target.content().is("allowNewTimeProposals") {
            return Err(invalid(
                "Your request can't be completed. The organizer doesn't allow new time proposals.",
            ));
        }
        let at = self.world.clock.now();
        let own = target.content().attendees.iter().find(|one| {
            self.world.user(&one.address).is_some_and(|u| u.object_id == self.owner.object_id)
        });
        let address = own.map_or(&self.owner.address, |one| &one.address).to_ascii_lowercase();
        let key = (address, target.date());
        let response = Response { answer, at, proposed_new_time };
        if tell && let Some(meeting) = self.book.events.get(&number) {
            let mut meeting = Event::clone(meeting);
            meeting.responses.insert(key.clone(), response.clone());
            self.touch(&mut meeting);
            self.keep(meeting);
        }
        let mut copy = Event::clone(&target.event);
        self.touch(&mut copy);
        copy.responses.insert(key, response);
        match (answer, target.date()) {
            // Exchange takes what was declined out of the calendar.
            (Answer::Declined, None) => self.drop_event(&copy),
            (Answer::Declined, Some(date)) => {
                copy.exceptions.cancelled.insert(date);
                self.keep(copy);
            }
            (_, None) => {
                let meeting = self.book.events.get(&number);
                let as_organizer = meeting.map(|event| event.content.text("showAs").to_owned());
                let accepted = answer == Answer::Accepted;
                let show_as = as_organizer.filter(|_| accepted);
                let show_as = show_as.unwrap_or_else(|| "tentative".to_owned());
                copy.content.properties.insert("showAs".to_owned(), show_as.into());
                self.keep(copy);
            }
            (_, Some(_)) => {
                self.keep(copy);
            }
        }
        Ok(())
    }

    pub fn attach(
        &mut self,
        target: &Shown,
        properties: Map<String, Value>,
        bytes: Vec<u8>,
    ) -> Result<Attachment, ODataError> {
        self.room(bytes.len())?;
        let modified = self.world.clock.now();
        let number = self.book.number();
        let attachment = Attachment { number, properties, bytes: bytes.into(), modified };
        let mut event = Event::clone(&target.event);
        self.touch(&mut event);
        event.attachments.push(attachment.clone());
        self.keep(event);
        Ok(attachment)
    }

    pub fn detach(&mut self, target: &Shown, number: u64) -> Result<(), ODataError> {
        let mut event = Event::clone(&target.event);
        let before = event.attachments.len();
        event.attachments.retain(|attachment| attachment.number != number);
        if event.attachments.len() == before {
            return Err(not_found());
        }
        self.touch(&mut event);
        self.keep(event);
        Ok(())
    }

    /// Writes the rows and brings the copies, all or none.
    fn mail(&mut self, event: &Event, due: Vec<Due>) -> Result<(), ODataError> {
        let Some(owner) = self.world.users.iter().find(|user| user.object_id == event.owner) else {
            return Ok(());
        };
        let is_owner = |address: &str| {
            self.world.user(address).is_some_and(|user| user.object_id == owner.object_id)
        };
        let due: Vec<Due> = due.into_iter().filter(|due| !is_owner(&due.attendee)).collect();
        let series = event.series(self.switches.short_months);
        let id = ItemId { mailbox: event.owner, number: event.number, date: None };
        let row = |due: &Due| {
            let occurrence = due.date.and_then(|date| series.occurrence(date));
            let content = occurrence.as_ref().map_or(&event.content, |one| &one.content);
            let original = due.date.map(|date| series.original_start(date));
            Invitation {
                kind: due.kind,
                mailbox: owner.address.clone(),
                organizer: owner.address.clone(),
                attendee: due.attendee.clone(),
                event_id: id.text(IdForm::Immutable),
                ical_uid: event.global_id.ical_uid(None),
                subject: content.text("subject").to_owned(),
                start: match (&occurrence, original) {
                    (None, Some(original)) => original,
                    _ => content.span.start_instant(),
                },
                occurrence: original,
            }
        };
        self.world.ledger.invite(due.iter().map(row).collect()).map_err(|_| full())?;
        for due in &due {
            if let Some(user) = self.world.user(&due.attendee) {
                self.bring(user, event, due);
            }
        }
        Ok(())
    }

    /// What the mail does in the calendar of an attendee who has a mailbox here.
    fn bring(&mut self, attendee: &User, event: &Event, due: &Due) {
        let key = (attendee.object_id, event.number);
        let known = self.book.copies.get(&key).and_then(|number| self.book.events.get(number));
        let known = known.map(|copy| Event::clone(copy));
        if (due.kind, due.date) == (Kind::Cancel, None) {
            let Some(mut copy) = known else { return };
            if self.switches.cancelled_copy_stays {
                copy.is_cancelled = true;
                copy.content.properties.insert("showAs".to_owned(), json!("free"));
                self.touch(&mut copy);
                self.keep(copy);
            } else {
                self.drop_event(&copy);
            }
            return;
        }
        let answered = known.as_ref().filter(|copy| {
            !copy.is_cancelled
                && copy.content.span == event.content.span
                && copy.content.recurrence == event.content.recurrence
        });
        let show_as = answered.map_or("tentative", |copy| copy.content.text("showAs")).to_owned();
        let responses = answered.map(|copy| copy.responses.clone()).unwrap_or_default();
        let number = known.as_ref().map(|copy| copy.number);
        let number = number.unwrap_or_else(|| self.book.number());
        let mut copy = Event {
            number,
            owner: attendee.object_id,
            calendar: DEFAULT_CALENDAR,
            role: Role::Attendee { organizer: event.owner, event: event.number },
            responses,
            is_cancelled: false,
            transaction_id: None,
            ..event.clone()
        };
        copy.content.extended.clear();
        copy.content.properties.insert("showAs".to_owned(), show_as.into());
        self.touch(&mut copy);
        self.book.copies.insert(key, number);
        self.keep(copy);
    }

    fn check_series(&self, content: &Content) -> Result<(), ODataError> {
        let short_months = self.switches.short_months;
        let empty = |r: &super::recurrence::Recurrence| r.dates(short_months).next().is_none();
        if content.recurrence.as_ref().is_some_and(empty) {
            let text = "The recurrence has no occurrence.";
            return Err(ODataError::bad_request("ErrorRecurrenceHasNoOccurrence", text));
        }
        Ok(())
    }

    fn room(&mut self, octets: usize) -> Result<(), ODataError> {
        let all = self.book.octets.saturating_add(octets);
        if all > OCTETS_MAX || self.book.events.len() >= EVENTS_MAX {
            return Err(full());
        }
        self.book.octets = all;
        Ok(())
    }

    fn touch(&mut self, event: &mut Event) {
        event.change = self.book.change();
        event.modified = self.world.clock.now();
    }

    fn keep(&mut self, event: Event) -> Arc<Event> {
        let event = Arc::new(event);
        self.book.events.insert(event.number, Arc::clone(&event));
        event
    }

    fn drop_event(&mut self, event: &Event) {
        self.book.events.remove(&event.number);
        if let Role::Attendee { event: of, .. } = event.role {
            self.book.copies.remove(&(event.owner, of));
        }
    }
}

impl Book {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn change(&mut self) -> u64 {
        self.changes += 1;
        self.changes
    }
}

/// Where an online meeting is joined: part of its body, for whoever reads it.
pub fn join_url(number: u64) -> String {
    format!("https://teams.contoso.example/l/meetup-join/{number}")
}

/// Documented: a body that is replaced without the meeting's link ends the online meeting.
fn keep_meeting_only_with_its_link(content: &mut Content, body: &Map<String, Value>, number: u64) {
    let text = body.get("body").and_then(|body| body.get("content")).and_then(Value::as_str);
    if content.is("isOnlineMeeting") && text.is_some_and(|text| !text.contains(&join_url(number))) {
        content.properties.insert("isOnlineMeeting".to_owned(), json!(false));
    }
}
