//! Calendars that a client makes, and takes away again.
//!
//! RFC 4791 §5.3.1 (MKCALENDAR), RFC 5689 (extended MKCOL), RFC 4918 §9.3, §9.6. They are made here, at once;
//! the mailbox gets each with its first event. Taken away is only what is empty, so that nobody's events
//! are called off by a slip; the mailbox keeps its calendar, in which there may be others' events.

use hyper::StatusCode;

use super::answer::{self, Answer, Broken};
use super::condition::Condition;
use super::href::Place;
use super::multistatus;
use super::propfind::{DEAD_OCTETS_MAX, as_kept, objection, octets_of, refused, title};
use super::request::{self, Change, Property};
use super::site::{Asked, Site, not_found};
use super::xml::Name;
use crate::store::calendars::{DEFAULT, Making, Removal};

impl Site {
    pub(super) async fn make(&self, asked: &Asked) -> Result<Answer, Broken> {
        let octets_max = self.limits.body_octets;
        let is_calendar = asked.method == "MKCALENDAR";
        let creation = match is_calendar {
            true => request::mkcalendar(&asked.body, octets_max),
            false => request::mkcol(&asked.body, octets_max),
        };
        let creation = match creation {
            Ok(creation) => creation,
            Err(refusal) => return Ok(refused(&refusal)),
        };
        let Place::Calendar { calendar, .. } = &asked.place else { return Ok(not_found()) };
        let there = || match is_calendar {
            true => answer::condition(&Condition::ResourceMustBeNull),
            // RFC 4918 §9.3.1
            false => answer::words(StatusCode::METHOD_NOT_ALLOWED, "It is there already."),
        };
        if self.store.calendar(asked.account.id, calendar).await?.is_some() {
            return Ok(there());
        }
        if !is_calendar && !creation.resource_types.contains(&Name::caldav("calendar")) {
            let words = "Here are calendars, and no other collections.";
            return Ok(answer::condition_in_words(&Condition::ValidResourcetype, words));
        }
        if !self.makes_calendars {
            let words = "No calendar is made here: caldav.make_calendars is off.";
            let condition = Condition::CalendarCollectionLocationOk;
            return Ok(answer::condition_in_words(&condition, words));
        }
        if !asked.may_write() {
            return Ok(super::change::not_granted(asked));
        }
        let refusals: Vec<_> = creation.properties.iter().map(|one| unfit(asked, one)).collect();
        if refusals.iter().any(Option::is_some) {
            return Ok(not_all_set(is_calendar, &creation.properties, &refusals));
        }
        let live = Name::caldav("supported-calendar-component-set");
        let changes: Vec<Change> = creation.properties.into_iter().map(Change::Set).collect();
        let (mut set, _) = as_kept(&changes);
        set.retain(|(namespace, local, _)| {
            namespace != live.namespace().uri() || local != live.local()
        });
        if octets_of(&set) > DEAD_OCTETS_MAX {
            return Ok(answer::condition(&Condition::SufficientDiskSpace));
        }
        let made = self.store.make_calendar(asked.account.id, calendar, set, title(&changes));
        Ok(match made.await? {
            Making::Made => answer::status(StatusCode::CREATED),
            Making::Exists => there(),
            Making::TooMany => {
                let words = "There are as many calendars as an account may have.";
                answer::words(StatusCode::FORBIDDEN, words)
            }
        })
    }

    pub(super) async fn remove(&self, asked: &Asked, calendar: &str) -> Result<Answer, Broken> {
        if calendar == DEFAULT {
            // RFC 6638 §4.3
            let words = "The calendar of the mailbox stays.";
            return Ok(answer::condition_in_words(&Condition::DefaultCalendarNeeded, words));
        }
        Ok(match self.store.remove_calendar(asked.account.id, calendar).await? {
            Removal::Removed => answer::status(StatusCode::NO_CONTENT),
            Removal::NoSuchCalendar => not_found(),
            Removal::InUse => {
                let words = "There are events in it. Delete them first, so that whoever is invited \
                             to them is told.";
                answer::words(StatusCode::FORBIDDEN, words)
            }
        })
    }
}

/// Why a property cannot be what it is to be from the start.
fn unfit(asked: &Asked, property: &Property) -> Option<(u16, Option<Condition>)> {
    if *property.name() != Name::caldav("supported-calendar-component-set") {
        return objection(asked, &Change::Set(property.clone()));
    }
    // RFC 4791 §5.2.3: protected, but for this moment. Clients ask for all that they know.
    let has_events = property.components().iter().any(|one| one.eq_ignore_ascii_case("VEVENT"));
    (!has_events).then_some((403, Some(Condition::SupportedCalendarComponent)))
}

/// All or none (RFC 4791 §5.3.1.1, RFC 5689 §3).
fn not_all_set(
    is_calendar: bool,
    asked_for: &[Property],
    refusals: &[Option<(u16, Option<Condition>)>],
) -> Answer {
    let root = match is_calendar {
        true => Name::caldav("mkcalendar-response"),
        false => Name::dav("mkcol-response"),
    };
    let body = multistatus::creation(&root, |properties| {
        for (property, refusal) in asked_for.iter().zip(refusals) {
            let (status, condition) = refusal.clone().unwrap_or((424, None));
            properties.other(property.name(), status, condition);
        }
    });
    answer::with_body(StatusCode::FORBIDDEN, answer::XML, body)
}
