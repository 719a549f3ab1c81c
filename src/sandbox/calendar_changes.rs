//! What each request does to the calendars: create, update, cancel, remove, respond, attach.
//!
//! Source: Graph "create event", "update event", "cancel event", "delete event", "accept". A request
//! is checked, then has its whole effect under one lock, so that organizer, attendees and ledger
//! agree at any time. Who is mailed is decided in [`super::invitations`] and done in
//! [`super::delivery`].

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};

use axum::http::StatusCode;
use jiff::civil::Date;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::attachment::{Attachment, Posted};
use super::calendar::{
    Answer, Book, Calendar, DEFAULT_CALENDAR, EVENTS_MAX, Event, OCTETS_MAX, Response, Role, Shown,
    Transaction, full, invalid, item, not_found, single,
};
use super::event::{Content, Unfit};
use super::invitations::{self, Kind, Update};
use super::item_id::{GlobalObjectId, IdForm, ItemId};
use super::odata::ODataError;
use super::online_meeting;
use super::recurrence::Recurrence;
use super::series::{Exception, Exceptions, Occurrence};
use super::world::{DuplicateTransactionStatus, Switches, User, World};

/// The calendars of one mailbox, locked for one request.
pub struct Locked<'a> {
    pub(super) world: &'a World,
    pub(super) owner: &'a User,
    pub(super) switches: Switches,
    pub(super) book: MutexGuard<'a, Book>,
}

impl<'a> Locked<'a> {
    /// Locks the calendars.
    pub fn new(world: &'a World, owner: &'a User) -> Locked<'a> {
        let switches = world.switches().clone();
        Locked { world, owner, switches, book: world.calendar.book() }
    }

    pub fn find(&self, id: &str) -> Result<Shown, ODataError> {
        let ItemId { mailbox, number, date, renamed } = item(self.owner, id)?;
        let event = self.book.events.get(&number).filter(|event| event.owner == mailbox);
        let event = Arc::clone(event.ok_or_else(not_found)?);
        let occurrence = match date {
            None => None,
            Some(date) => {
                let found = event.series(self.switches.short_months).occurrence(date);
                // Its other id names nothing.
                Some(found.filter(|one| one.renamed == renamed).ok_or_else(not_found)?)
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
        // serde_json's order of members is always the same.
        let digest = Uuid::new_v5(&Uuid::NAMESPACE_OID, Value::Object(body).to_string().as_bytes());
        if let Some(replay) = key.as_ref().and_then(|key| self.duplicate(key, digest)) {
            return replay;
        }
        self.check_series(&content)?;
        if self.book.events.len() >= EVENTS_MAX {
            return Err(full());
        }
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
            octets,
        };
        let due = invitations::to_all(&event.content.attendees, Kind::Request);
        self.mail(&event, &event, due)?;
        if let Some(key) = key {
            self.book.transactions.insert(key, Transaction { event: number, digest });
        }
        Ok(single(&self.keep(event)))
    }

    /// What a create is answered with whose transactionId was used before.
    fn duplicate(&self, key: &(Uuid, String), digest: Uuid) -> Option<Result<Shown, ODataError>> {
        let known = self.book.transactions.get(key)?;
        let event = self.book.events.get(&known.event);
        if event.is_none() && !self.switches.transaction_taken_after_deletion {
            return None;
        }
        if let Some(event) = event.filter(|_| self.switches.replay_same_transaction)
            && known.digest == digest
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
        match &target.occurrence {
            Some(occurrence) => self.update_one(target, occurrence, body, octets),
            None => self.update_all(target, body, octets),
        }
    }

    fn update_all(
        &mut self,
        target: &Shown,
        body: &Map<String, Value>,
        octets: usize,
    ) -> Result<Shown, ODataError> {
        let before = &target.event.content;
        let mut after = before.patched(body)?;
        self.check_series(&after)?;
        if online_meeting::is_ended(before, &after, body, target.event.number) {
            after.set("isOnlineMeeting", json!(false));
        }
        let silent = after == *before && !self.switches.no_op_update_mails;
        let only_attendees = names_only_attendees(body);
        let mut event = Event::clone(&target.event);
        event.octets += octets;
        // The answers were to another time, and its exceptions name dates that may be none now.
        if after.span != before.span || after.recurrence != before.recurrence {
            let dates = after.recurrence.as_ref().map(|r| r.dates(self.switches.short_months));
            match self.switches.series_change_keeps_exceptions {
                true => event.exceptions.retain(dates.into_iter().flatten()),
                false => event.exceptions = Exceptions::default(),
            }
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
            self.mail(&event, &event, due)?;
        }
        Ok(single(&self.keep(event)))
    }

    fn update_one(
        &mut self,
        target: &Shown,
        occurrence: &Occurrence,
        body: &Map<String, Value>,
        octets: usize,
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
        let only_attendees = names_only_attendees(body);
        let mut event = Event::clone(&target.event);
        event.octets += octets;
        self.touch(&mut event);
        if after.span != before.span {
            event.responses.retain(|(_, of), _| *of != Some(date));
        }
        let exception = event.exceptions.changed.entry(date).or_insert_with(|| Exception {
            renamed: self.switches.exception_gets_another_id,
            ..Exception::default()
        });
        exception.change = event.change;
        exception.write(body);
        exception.meeting_ended |=
            online_meeting::is_ended(before, &after, body, target.event.number);
        if event.is_organizers() {
            let (before, after) = (&before.attendees, &after.attendees);
            let due = Update { before, after, only_attendees, silent }.due();
            self.mail(&event, &event, invitations::about(due, date))?;
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
                event.exceptions.cancelled.insert(date);
                event.exceptions.changed.remove(&date);
                if event.is_organizers() {
                    self.mail(&target.event, &event, due)?;
                }
                self.keep(event);
            }
            None => {
                if event.is_organizers() {
                    self.mail(&event, &event, due)?;
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
                copy.content.set("showAs", show_as.into());
                self.keep(copy);
            }
            (_, Some(_)) => {
                self.keep(copy);
            }
        }
        Ok(())
    }

    pub fn attach(&mut self, target: &Shown, posted: Posted) -> Result<Attachment, ODataError> {
        self.room(posted.bytes.len())?;
        let attachment = posted.numbered(self.book.number(), self.world.clock.now());
        let mut event = Event::clone(&target.event);
        self.touch(&mut event);
        event.octets += attachment.bytes.len();
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

    pub(super) fn check_series(&self, content: &Content) -> Result<(), ODataError> {
        let short_months = self.switches.short_months;
        let empty = |r: &Recurrence| r.dates(short_months).next().is_none();
        if content.recurrence.as_ref().is_some_and(empty) {
            let text = "The recurrence has no occurrence.";
            return Err(ODataError::bad_request("ErrorRecurrenceHasNoOccurrence", text));
        }
        Ok(())
    }

    pub(super) fn room(&mut self, octets: usize) -> Result<(), ODataError> {
        let all = self.book.octets.saturating_add(octets);
        if all > OCTETS_MAX {
            return Err(full());
        }
        self.book.octets = all;
        Ok(())
    }

    pub(super) fn touch(&mut self, event: &mut Event) {
        event.change = self.book.change();
        event.modified = self.world.clock.now();
    }

    pub(super) fn keep(&mut self, event: Event) -> Arc<Event> {
        let event = Arc::new(event);
        self.book.events.insert(event.number, Arc::clone(&event));
        event
    }

    pub(super) fn drop_event(&mut self, event: &Event) {
        if let Some(gone) = self.book.events.remove(&event.number) {
            self.book.octets = self.book.octets.saturating_sub(gone.octets);
        }
        if let Role::Attendee { event: of, .. } = event.role {
            self.book.copies.remove(&(event.owner, of));
        }
    }
}

fn names_only_attendees(body: &Map<String, Value>) -> bool {
    body.keys().all(|name| name == "attendees" || name.contains('@'))
}
