//! The mails about an event on their way: a row in the ledger for each, and what it does in the
//! calendar of an attendee who has a mailbox here.

use serde_json::json;

use super::calendar::{DEFAULT_CALENDAR, Event, Role, full};
use super::calendar_changes::Locked;
use super::invitations::{Due, Invitation, Kind};
use super::item_id::{IdForm, ItemId};
use super::odata::ODataError;
use super::series::Exceptions;
use super::world::User;

impl Locked<'_> {
    /// Writes the rows and brings the copies, all or none. What is cancelled is spoken of as it was
    /// (`said`), and copied as it is (`event`).
    pub(super) fn mail(
        &mut self,
        said: &Event,
        event: &Event,
        due: Vec<Due>,
    ) -> Result<(), ODataError> {
        let Some(owner) = self.world.users.iter().find(|user| user.object_id == event.owner) else {
            return Ok(());
        };
        let is_owner = |address: &str| {
            self.world.user(address).is_some_and(|user| user.object_id == owner.object_id)
        };
        let due: Vec<Due> = due.into_iter().filter(|due| !is_owner(&due.attendee)).collect();
        let series = said.series(self.switches.short_months);
        let id = ItemId::of(event.owner, event.number);
        let row = |due: &Due| {
            let occurrence = due.date.and_then(|date| series.occurrence(date));
            let content = occurrence.as_ref().map_or(&said.content, |one| &one.content);
            let original = due.date.map(|date| series.original_start(date));
            Invitation {
                kind: due.kind,
                mailbox: owner.address.clone(),
                organizer: owner.address.clone(),
                attendee: due.attendee.clone(),
                event_id: id.text(IdForm::Immutable),
                ical_uid: event.global_id.ical_uid(None),
                subject: content.text("subject").to_owned(),
                start: content.span.start_instant(),
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
                copy.content.set("showAs", json!("free"));
                self.touch(&mut copy);
                self.keep(copy);
            } else {
                self.drop_event(&copy);
            }
            return;
        }
        // Who is not in the series hears of the one occurrence only.
        let in_series = known.as_ref().is_some_and(|copy| copy.content.recurrence.is_some());
        let date = due.date.filter(|_| !in_series);
        let occurrence = match date {
            Some(_) if due.kind == Kind::Cancel => return,
            Some(date) => event.series(self.switches.short_months).occurrence(date),
            None => None,
        };
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
            octets: 0,
            ..event.clone()
        };
        if let Some(occurrence) = occurrence {
            copy.content = occurrence.content;
            copy.exceptions = Exceptions::default();
        }
        copy.content.extended.clear();
        copy.content.set("showAs", show_as.into());
        self.touch(&mut copy);
        self.book.copies.insert(key, number);
        self.keep(copy);
    }
}
