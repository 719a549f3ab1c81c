//! When the account is busy: REPORT free-busy-query, and POST to the outbox.
//!
//! RFC 4791 §7.10; RFC 6638 §5. Answered from our own record. Of others nothing is known here, and nothing
//! is asked of Microsoft 365: they are told apart as such.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use jiff::Timestamp;

use super::answer::{self, Answer, Broken, XML};
use super::condition::Condition;
use super::free_busy::FreeBusy;
use super::kept::Kept;
use super::markup::Writer;
use super::object;
use super::outbox;
use super::query::{PAGE, calendar_object, own_zone};
use super::range::TimeRange;
use super::site::{Asked, Site, not_found};
use super::xml::Name;
use crate::store::calendars::Calendar;

impl Site {
    pub(super) async fn free_busy_query(
        &self,
        asked: &Arc<Asked>,
        range: &TimeRange,
    ) -> Result<Answer, Broken> {
        let Some((calendar, None)) = self.calendar_and_object(asked).await? else {
            return Ok(not_found());
        };
        let busy = self.busy(asked, &calendar, range, FreeBusy::new(range)).await?;
        Ok(calendar_object(busy.write(self.store.clock().now(), None)))
    }

    /// POST to the outbox: who of the attendees is busy.
    pub(super) async fn free_busy_of(&self, asked: &Arc<Asked>) -> Result<Answer, Broken> {
        let content_type = asked.header(&CONTENT_TYPE);
        if let Err(condition) = object::check_content_type(content_type.as_deref()) {
            return Ok(answer::condition(&condition));
        }
        let question = match outbox::read(&asked.body) {
            Ok(question) => question,
            Err(why) => {
                let words = format!("This is no question for free time: {why}.");
                let condition = Condition::ValidSchedulingMessage;
                return Ok(answer::condition_in_words(&condition, &words));
            }
        };
        let own = |address: &Option<crate::account::Address>| {
            address.as_ref().is_some_and(|address| asked.account.may_send_as(address))
        };
        if !own(&question.organizer.address) {
            return Ok(answer::condition(&Condition::ValidOrganizer));
        }
        let mut busy = FreeBusy::new(&question.range);
        if question.attendees.iter().any(|attendee| own(&attendee.address)) {
            for calendar in self.store.calendars(asked.account.id).await? {
                if !is_transparent(&calendar) {
                    busy = self.busy(asked, &calendar, &question.range, busy).await?;
                }
            }
        }
        let now = self.store.clock().now();
        let body = Writer::document(&Name::caldav("schedule-response"), |writer| {
            for attendee in &question.attendees {
                writer.element(&Name::caldav("response"), |writer| {
                    writer.element(&Name::caldav("recipient"), |writer| {
                        writer.href(&attendee.value);
                    });
                    let status = Name::caldav("request-status");
                    if !own(&attendee.address) {
                        // RFC 5546 §3.6: whether there is such a user is not ours to say.
                        return writer.text_element(&status, "5.3;No scheduling support for user");
                    }
                    writer.text_element(&status, "2.0;Success");
                    let reply = question.reply(attendee);
                    let octets = busy.clone().write(now, Some(&reply));
                    writer.element(&Name::caldav("calendar-data"), |writer| {
                        writer.text_octets(&octets);
                    });
                });
            }
        });
        Ok(answer::with_body(StatusCode::OK, XML, body))
    }

    async fn busy(
        &self,
        asked: &Arc<Asked>,
        calendar: &Calendar,
        range: &TimeRange,
        mut busy: FreeBusy,
    ) -> Result<FreeBusy, Broken> {
        let at = |at: Option<Timestamp>| at.map(|at| at.as_millisecond());
        let within = Some((at(range.start), at(range.end)));
        let zone = own_zone(asked, calendar);
        let mut after = String::new();
        loop {
            let (account, name) = (asked.account.id, &calendar.name);
            let page = self.store.objects(account, name, within, &after, PAGE as u32).await?;
            let Some(last) = page.last() else { return Ok(busy) };
            after.clone_from(&last.name);
            let zone = zone.clone();
            busy = tokio::task::spawn_blocking(move || {
                for object in page {
                    // One whose occurrences cannot be listed is not known to be at any time.
                    if let Ok(kept) = Kept::read(&object.octets) {
                        let _ = busy.add(kept.event(), &zone);
                    }
                }
                busy
            })
            .await?;
        }
    }
}

/// RFC 6638 §9.1
fn is_transparent(calendar: &Calendar) -> bool {
    let name = Name::caldav("schedule-calendar-transp");
    let mut kept = calendar.properties.iter();
    let kept = kept.find(|(uri, local, _)| uri == name.namespace().uri() && local == name.local());
    let element =
        kept.and_then(|(_, _, value)| super::xml::read(value.as_bytes(), value.len()).ok());
    element.is_some_and(|element| element.has(&Name::caldav("transparent")))
}
