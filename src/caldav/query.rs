//! REPORT: which one it is, and those that look for objects: calendar-query, calendar-multiget.
//!
//! RFC 3253 §3.6, RFC 4791 §7. Objects are read page by page; what has to be computed of a page is computed
//! beside the reactor, and on its way before the next is read.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::HeaderName;
use jiff::tz::TimeZone;

use super::answer::{self, Broken, Done, Reply};
use super::calendar_data::{CalendarData, Recurring};
use super::condition::Condition;
use super::filter::Filter;
use super::floating;
use super::header::{Depth, DepthHeader};
use super::href::Place;
use super::kept::Kept;
use super::multistatus::{Multistatus, Properties};
use super::property::{self, Resource};
use super::propfind::{bad_header, refused};
use super::report::{self, CalendarQuery, Report, Wanted};
use super::request::PropFind;
use super::site::{Asked, Site, not_found};
use super::xml::Name;
use crate::recurrence::NotListed;
use crate::store::calendar::{Object, Place as At, Tags};
use crate::store::calendars::Calendar;

/// Objects that are held at once, octets and all.
pub(super) const PAGE: usize = 64;

const DEPTH: HeaderName = HeaderName::from_static("depth");
pub(super) const CALENDAR_DATA: Name = Name::caldav("calendar-data");

impl Site {
    pub(super) async fn report(
        &self,
        asked: &Arc<Asked>,
        reply: &mut Reply,
    ) -> Result<Done, Broken> {
        let report = match report::report(&asked.body, self.limits.body_octets) {
            Ok(report) => report,
            Err(refusal) => return Ok(refused(&refusal).into()),
        };
        if !property::reports(&asked.place).contains(&name(&report)) {
            return Ok(answer::condition(&Condition::SupportedReport).into());
        }
        reply.minimal = asked.preferences.minimal;
        match report {
            Report::CalendarQuery(query) => self.calendar_query(asked, query, reply).await,
            Report::CalendarMultiget { wanted, hrefs } => {
                self.multiget(asked, wanted, hrefs, reply).await
            }
            Report::SyncCollection(sync) => self.sync(asked, sync, reply).await,
            Report::FreeBusyQuery(range) => Ok(self.free_busy_query(asked, &range).await?.into()),
            Report::ExpandProperty(expanded) => self.expand(asked, &expanded, reply).await,
            Report::PrincipalPropertySearch(search) => {
                self.search_principals(asked, &search, reply).await
            }
            Report::PrincipalSearchPropertySet => Ok(super::principals::searchable().into()),
        }
    }

    async fn calendar_query(
        &self,
        asked: &Arc<Asked>,
        query: CalendarQuery,
        reply: &mut Reply,
    ) -> Result<Done, Broken> {
        let depth = match asked.header(&DEPTH).map(|value| DepthHeader::parse(&value)) {
            Some(Ok(depth)) => depth.depth,
            Some(Err(bad)) => return Ok(bad_header(&bad).into()),
            // RFC 3253 §3.6 has 0, which finds nothing in a calendar: nobody who leaves it out means that.
            None => Depth::One,
        };
        let Some((calendar, object)) = self.calendar_and_object(asked).await? else {
            return Ok(not_found().into());
        };
        let zone = match zone(asked, &calendar, &query) {
            Ok(zone) => zone,
            Err(condition) => return Ok(answer::condition(&condition).into()),
        };
        let within = query.filter.event_range().map(|range| {
            let at = |at: Option<jiff::Timestamp>| at.map(|at| at.as_millisecond());
            (at(range.start), at(range.end))
        });
        let looking = Arc::new(Looking {
            asked: asked.clone(),
            calendar,
            wanted: query.wanted,
            filter: Some(query.filter),
            zone,
        });
        let mut multistatus = Multistatus::begin();
        if let Some(object) = object {
            let (written, _) = looking.clone().tell(vec![object], multistatus, u32::MAX).await?;
            return reply.end(written, None).await;
        }
        let mut left = query.limit.unwrap_or(u32::MAX);
        let mut after = String::new();
        // RFC 4791 §7.8: of the calendar alone there is nothing that could match.
        if depth == Depth::Zero {
            return reply.end(multistatus, None).await;
        }
        loop {
            let (account, calendar) = (asked.account.id, &looking.calendar.name);
            let page = self.store.objects(account, calendar, within, &after, PAGE as u32).await?;
            let whole = page.len() == PAGE;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.name);
            let found;
            (multistatus, found) = looking.clone().tell(page, multistatus, left).await?;
            if found > left {
                let condition = Condition::NumberOfMatchesWithinLimits;
                multistatus.status(&asked.place, 507, Some(&condition));
                break;
            }
            left -= found;
            reply.drain(&mut multistatus).await?;
            if !whole {
                break;
            }
        }
        reply.end(multistatus, None).await
    }

    async fn multiget(
        &self,
        asked: &Arc<Asked>,
        wanted: Wanted,
        hrefs: Vec<String>,
        reply: &mut Reply,
    ) -> Result<Done, Broken> {
        let account = asked.account.id;
        let calendars = self.store.calendars(account).await?;
        let wanted = Arc::new(wanted);
        let mut multistatus = Multistatus::begin();
        for hrefs in hrefs.chunks(PAGE) {
            let mut found = Vec::with_capacity(hrefs.len());
            for href in hrefs {
                let object = match asked.href(href) {
                    Ok(Place::Object { calendar, object, .. }) => {
                        let at = At { account, calendar: calendar.clone(), name: object };
                        let calendar = calendars.iter().find(|one| one.name == calendar);
                        let object = self.store.object(&at).await?;
                        calendar.cloned().zip(object)
                    }
                    _ => None,
                };
                found.push((href.clone(), object));
            }
            let (asked, wanted) = (asked.clone(), wanted.clone());
            multistatus = tokio::task::spawn_blocking(move || {
                for (href, object) in found {
                    match object {
                        Some((calendar, object)) => {
                            let zone = &asked.zone;
                            tell_object(
                                &asked,
                                &calendar,
                                &object,
                                None,
                                &wanted,
                                zone,
                                &mut multistatus,
                            );
                        }
                        None => multistatus.status(href, 404, None),
                    }
                }
                multistatus
            })
            .await?;
            reply.drain(&mut multistatus).await?;
        }
        reply.end(multistatus, None).await
    }

    /// The calendar of the request, and the object, where it names one.
    pub(super) async fn calendar_and_object(
        &self,
        asked: &Asked,
    ) -> Result<Option<(Calendar, Option<Object>)>, Broken> {
        let account = asked.account.id;
        let (calendar, name) = match &asked.place {
            Place::Calendar { calendar, .. } => (calendar, None),
            Place::Object { calendar, object, .. } => (calendar, Some(object)),
            _ => return Ok(None),
        };
        let Some(calendar) = self.store.calendar(account, calendar).await? else {
            return Ok(None);
        };
        let Some(name) = name else { return Ok(Some((calendar, None))) };
        let at = At { account, calendar: calendar.name.clone(), name: name.clone() };
        let object = self.store.object(&at).await?;
        Ok(object.map(|object| (calendar, Some(object))))
    }
}

/// What a calendar-query looks for.
struct Looking {
    asked: Arc<Asked>,
    calendar: Calendar,
    wanted: Wanted,
    filter: Option<Filter>,
    zone: TimeZone,
}

impl Looking {
    /// Tells of those that are meant, at most `most`, and how many they are: one more than that, if there
    /// are more.
    async fn tell(
        self: Arc<Looking>,
        objects: Vec<Object>,
        mut multistatus: Multistatus,
        most: u32,
    ) -> Result<(Multistatus, u32), Broken> {
        let told = tokio::task::spawn_blocking(move || {
            let mut found = 0;
            for object in objects {
                let kept = Kept::read(&object.octets).ok();
                let meant = match (&self.filter, &kept) {
                    (Some(filter), Some(kept)) => filter.matches(kept, &self.zone),
                    (Some(_), None) => false,
                    (None, _) => true,
                };
                if !meant {
                    continue;
                }
                found += 1;
                if found > most {
                    break;
                }
                let (asked, calendar, wanted) = (&self.asked, &self.calendar, &self.wanted);
                let kept = kept.as_ref();
                tell_object(asked, calendar, &object, kept, wanted, &self.zone, &mut multistatus);
            }
            (multistatus, found)
        });
        Ok(told.await?)
    }
}

/// One object with what is wanted of it. `kept`: if it has been read before.
pub(super) fn tell_object(
    asked: &Asked,
    calendar: &Calendar,
    object: &Object,
    kept: Option<&Kept>,
    wanted: &Wanted,
    zone: &TimeZone,
    multistatus: &mut Multistatus,
) {
    let tags = Tags::of(object);
    let resource = Resource::Object(calendar, &tags);
    multistatus.respond(resource.place(asked), |properties| {
        match (&wanted.properties, &wanted.data) {
            (PropFind::Prop(names), Some(data)) => {
                let others = names.iter().filter(|name| **name != CALENDAR_DATA).cloned().collect();
                resource.describe(asked, &PropFind::Prop(others), properties);
                put_data(data, object, kept, zone, properties);
            }
            (wanted, _) => resource.describe(asked, wanted, properties),
        }
    });
}

/// RFC 4791 §9.6.
fn put_data(
    data: &CalendarData,
    object: &Object,
    kept: Option<&Kept>,
    zone: &TimeZone,
    properties: &mut Properties,
) {
    if data.recurring == Recurring::AsKept && data.selection.is_none() {
        return properties.put(&CALENDAR_DATA, |writer| writer.text_octets(&object.octets));
    }
    let read;
    let kept = match kept {
        Some(kept) => kept,
        None => match Kept::read(&object.octets) {
            Ok(kept) => {
                read = kept;
                &read
            }
            Err(_) => return properties.other(&CALENDAR_DATA, 403, None),
        },
    };
    match data.of(kept, zone) {
        Ok(octets) => properties.put(&CALENDAR_DATA, |writer| writer.text_octets(&octets)),
        Err(NotListed::TooMany) => {
            properties.other(&CALENDAR_DATA, 403, Some(Condition::MaxInstances));
        }
        Err(_) => properties.other(&CALENDAR_DATA, 403, None),
    }
}

/// RFC 4791 §7.3: the zone of the request, of the calendar, or of the account.
fn zone(asked: &Asked, calendar: &Calendar, query: &CalendarQuery) -> Result<TimeZone, Condition> {
    if let Some(name) = &query.timezone_id {
        return floating::by_name(name).ok_or(Condition::ValidCalendarData);
    }
    if let Some(object) = &query.timezone {
        return floating::zone(object).ok_or(Condition::ValidCalendarData);
    }
    Ok(own_zone(asked, calendar))
}

/// That of the calendar, where a client has set it; of the account otherwise.
pub(super) fn own_zone(asked: &Asked, calendar: &Calendar) -> TimeZone {
    let name = Name::caldav("calendar-timezone");
    let mut kept = calendar.properties.iter();
    let kept = kept.find(|(uri, local, _)| uri == name.namespace().uri() && local == name.local());
    kept.and_then(|(_, _, value)| super::xml::read(value.as_bytes(), value.len()).ok())
        .and_then(|element| floating::zone(&element.text()))
        .unwrap_or_else(|| asked.zone.clone())
}

fn name(report: &Report) -> Name {
    match report {
        Report::CalendarQuery(_) => Name::caldav("calendar-query"),
        Report::CalendarMultiget { .. } => Name::caldav("calendar-multiget"),
        Report::SyncCollection(_) => Name::dav("sync-collection"),
        Report::FreeBusyQuery(_) => Name::caldav("free-busy-query"),
        Report::ExpandProperty(_) => Name::dav("expand-property"),
        Report::PrincipalPropertySearch(_) => Name::dav("principal-property-search"),
        Report::PrincipalSearchPropertySet => Name::dav("principal-search-property-set"),
    }
}

/// A calendar object that is no resource: the answer to a question about time.
pub(super) fn calendar_object(octets: Vec<u8>) -> answer::Answer {
    answer::with_body(StatusCode::OK, answer::CALENDAR, octets)
}
