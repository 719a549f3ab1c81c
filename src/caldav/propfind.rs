//! PROPFIND and PROPPATCH.
//!
//! RFC 4918 §9.1, §9.2; RFC 8144. A calendar is read from the store page by page, and each page is on its
//! way before the next is read.

use hyper::StatusCode;
use hyper::header::HeaderName;

use super::answer::{self, Answer, Broken, Done, Reply};
use super::condition::Condition;
use super::header::{Depth, DepthHeader};
use super::href::Place;
use super::multistatus::Multistatus;
use super::property::{self, Resource};
use super::request::{self, Change, Refusal};
use super::site::{Asked, Site, not_found};
use super::xml::Name;
use crate::store::calendar::{Place as At, Tags};
use crate::store::calendars::{Calendar, DEFAULT, DeadProperty};

/// Objects that are read from the store at once.
pub(super) const PAGE: u32 = 500;
/// What the dead properties of a calendar may hold, in octets.
pub(super) const DEAD_OCTETS_MAX: usize = 64 * 1024;

const DEPTH: HeaderName = HeaderName::from_static("depth");
/// RFC 4918 §10.4
pub(super) const IF: HeaderName = HeaderName::from_static("if");

impl Site {
    pub(super) async fn propfind(&self, asked: &Asked, reply: &mut Reply) -> Result<Done, Broken> {
        let depth = match depth(asked) {
            Ok(depth) => depth,
            Err(refusal) => return Ok(refusal.into()),
        };
        let wanted = match request::propfind(&asked.body, self.limits.body_octets) {
            Ok(wanted) => wanted,
            Err(refusal) => return Ok(refused(&refusal).into()),
        };
        reply.minimal = asked.preferences.minimal;
        let with_root =
            !(depth.without_root || asked.preferences.without_root) || depth.depth == Depth::Zero;
        let mut multistatus = Multistatus::begin();
        let tell = |resource: Resource<'_>, multistatus: &mut Multistatus| {
            multistatus.respond(resource.place(asked), |properties| {
                resource.describe(asked, &wanted, properties);
            });
        };
        match &asked.place {
            Place::Calendar { calendar, .. } => {
                let Some(calendar) = self.store.calendar(asked.account.id, calendar).await? else {
                    return Ok(not_found().into());
                };
                if with_root {
                    tell(Resource::Calendar(&calendar), &mut multistatus);
                }
                if depth.depth == Depth::Zero {
                    return reply.end(multistatus, None).await;
                }
                let mut after = String::new();
                loop {
                    let page =
                        self.store.object_tags(asked.account.id, &calendar.name, &after, PAGE);
                    let page = page.await?;
                    for tags in &page {
                        tell(Resource::Object(&calendar, tags), &mut multistatus);
                    }
                    reply.drain(&mut multistatus).await?;
                    match page.last() {
                        Some(last) if page.len() == PAGE as usize => {
                            after.clone_from(&last.name);
                        }
                        _ => return reply.end(multistatus, None).await,
                    }
                }
            }
            Place::Object { calendar, object, .. } => {
                let Some((calendar, tags)) = self.tags(asked, calendar, object).await? else {
                    return Ok(not_found().into());
                };
                tell(Resource::Object(&calendar, &tags), &mut multistatus);
            }
            Place::Home { .. } => {
                if with_root {
                    tell(Resource::Home, &mut multistatus);
                }
                if depth.depth != Depth::Zero {
                    tell(Resource::Inbox, &mut multistatus);
                    tell(Resource::Outbox, &mut multistatus);
                    for calendar in self.store.calendars(asked.account.id).await? {
                        tell(Resource::Calendar(&calendar), &mut multistatus);
                    }
                }
            }
            place => {
                let Some(resource) = Resource::fixed(place) else { return Ok(not_found().into()) };
                if with_root {
                    tell(resource, &mut multistatus);
                }
                if depth.depth != Depth::Zero && *place == Place::Root {
                    tell(Resource::Dav, &mut multistatus);
                }
            }
        }
        reply.end(multistatus, None).await
    }

    /// What a listing shows of one object, and its calendar.
    pub(super) async fn tags(
        &self,
        asked: &Asked,
        calendar: &str,
        name: &str,
    ) -> Result<Option<(Calendar, Tags)>, Broken> {
        let account = asked.account.id;
        let Some(calendar) = self.store.calendar(account, calendar).await? else {
            return Ok(None);
        };
        let at = At { account, calendar: calendar.name.clone(), name: name.to_owned() };
        let object = self.store.object(&at).await?;
        Ok(object.map(|object| (calendar, Tags::of(&object))))
    }

    pub(super) async fn proppatch(&self, asked: &Asked, reply: &mut Reply) -> Result<Done, Broken> {
        if asked.headers.contains_key(IF) {
            // It says what is locked, which nothing ever is.
            return Ok(answer::status(StatusCode::PRECONDITION_FAILED).into());
        }
        let changes = match request::proppatch(&asked.body, self.limits.body_octets) {
            Ok(changes) => changes,
            Err(refusal) => return Ok(refused(&refusal).into()),
        };
        let calendar = match &asked.place {
            Place::Calendar { calendar, .. } => {
                match self.store.calendar(asked.account.id, calendar).await? {
                    Some(calendar) => Some(calendar),
                    None => return Ok(not_found().into()),
                }
            }
            Place::Object { calendar, object, .. } => {
                match self.tags(asked, calendar, object).await? {
                    Some(_) => None,
                    None => return Ok(not_found().into()),
                }
            }
            _ => None,
        };
        let mut refusals: Vec<Option<(u16, Option<Condition>)>> =
            changes.iter().map(|change| objection(asked, change)).collect();
        if let (Some(calendar), true) = (&calendar, refusals.iter().all(Option::is_none)) {
            let (set, remove) = as_kept(&changes);
            if octets_after(calendar, &set) > DEAD_OCTETS_MAX {
                let full = Some((507, Some(Condition::SufficientDiskSpace)));
                refusals.fill(full);
            } else {
                let name = &calendar.name;
                let (account, title) = (asked.account.id, title(&changes));
                let there = self.store.set_calendar_properties(account, name, set, remove, title);
                if !there.await? {
                    return Ok(not_found().into());
                }
            }
        }
        let fails = refusals.iter().any(Option::is_some);
        reply.minimal = asked.preferences.minimal;
        let mut multistatus = Multistatus::begin();
        multistatus.respond(&asked.place, |properties| {
            let mut told: Vec<&Name> = Vec::new();
            for (change, refusal) in changes.iter().zip(refusals) {
                let name = change.name();
                if told.contains(&name) {
                    continue;
                }
                told.push(name);
                match refusal {
                    Some((status, condition)) => properties.other(name, status, condition),
                    // RFC 4918 §9.2: all or none.
                    None if fails => properties.other(name, 424, None),
                    None => properties.put_name(name),
                }
            }
        });
        reply.end(multistatus, None).await
    }
}

/// The header Depth; RFC 4918 §9.1: without it, all that is below, and RFC 4918 §9.1.1 lets a server
/// refuse that.
fn depth(asked: &Asked) -> Result<DepthHeader, Answer> {
    let zero = DepthHeader { depth: Depth::Zero, without_root: false };
    let depth = match asked.header(&DEPTH) {
        Some(value) => DepthHeader::parse(&value).map_err(|bad| bad_header(&bad))?,
        None => DepthHeader { depth: Depth::Infinity, without_root: false },
    };
    match depth.depth {
        // It has nothing below it.
        _ if !asked.place.is_collection() => Ok(zero),
        Depth::Infinity => Err(answer::condition(&Condition::PropfindFiniteDepth)),
        _ => Ok(depth),
    }
}

pub(super) fn bad_header(bad: &super::header::BadHeader) -> Answer {
    answer::words(StatusCode::BAD_REQUEST, &format!("{bad}."))
}

/// The answer to a body that is not what the method wants.
pub(super) fn refused(refusal: &Refusal) -> Answer {
    match refusal {
        Refusal::Condition(condition) => answer::condition(condition),
        Refusal::Malformed(why) => {
            answer::words(StatusCode::BAD_REQUEST, &format!("The body cannot be used: {why}."))
        }
        Refusal::TooLarge => answer::words(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large."),
    }
}

/// Why a property is not changed.
pub(super) fn objection(asked: &Asked, change: &Change) -> Option<(u16, Option<Condition>)> {
    if let (Place::Inbox { .. }, Change::Set(property)) = (&asked.place, change)
        && *property.name() == Name::caldav("schedule-default-calendar-URL")
    {
        // RFC 6638 §9.2: there is only one that it can be, and it is.
        let default = |href: &String| {
            matches!(asked.href(href), Ok(Place::Calendar { calendar, .. })
                if calendar == DEFAULT)
        };
        let fits = property.hrefs().iter().all(default) && property.hrefs().len() == 1;
        return (!fits).then_some((403, Some(Condition::ValidScheduleDefaultCalendarUrl)));
    }
    if property::is_protected(change.name()) {
        return Some((403, Some(Condition::CannotModifyProtectedProperty)));
    }
    // RFC 4918 §9.2: where a property cannot be kept.
    if !matches!(asked.place, Place::Calendar { .. }) {
        return Some((403, None));
    }
    let Change::Set(property) = change else { return None };
    let name = property.name();
    let is_sound = if *name == Name::caldav("calendar-timezone") {
        super::floating::zone(&property.element.text()).is_some()
    } else if *name == Name::caldav("schedule-calendar-transp") {
        let known = [Name::caldav("opaque"), Name::caldav("transparent")];
        known.iter().any(|known| property.element.has(known))
    } else {
        true
    };
    (!is_sound).then_some((409, None))
}

/// In order: what is set last counts.
pub(super) fn as_kept(changes: &[Change]) -> (Vec<DeadProperty>, Vec<(String, String)>) {
    let (mut set, mut remove): (Vec<DeadProperty>, Vec<(String, String)>) = Default::default();
    for change in changes {
        let name = change.name();
        let key = (name.namespace().uri().to_owned(), name.local().to_owned());
        set.retain(|(namespace, local, _)| *namespace != key.0 || *local != key.1);
        match change {
            Change::Set(property) => {
                let value = property.fragment().as_str().to_owned();
                set.push((key.0, key.1, value));
            }
            Change::Remove(_) => remove.push(key),
        }
    }
    (set, remove)
}

fn octets_after(calendar: &Calendar, set: &[DeadProperty]) -> usize {
    let same = |one: &&DeadProperty| set.iter().any(|new| new.0 == one.0 && new.1 == one.1);
    octets_of(calendar.properties.iter().filter(|one| !same(one)).chain(set))
}

pub(super) fn octets_of<'p>(properties: impl IntoIterator<Item = &'p DeadProperty>) -> usize {
    let octets =
        |(namespace, local, value): &DeadProperty| namespace.len() + local.len() + value.len();
    properties.into_iter().map(octets).sum()
}

/// What a calendar is to be called from now on; the mailbox has it as one short line.
pub(super) fn title(changes: &[Change]) -> Option<String> {
    const CHARS_MAX: usize = 100;
    let named = changes.iter().rev().find(|one| *one.name() == Name::dav("displayname"))?;
    let Change::Set(property) = named else { return None };
    let text = property.element.text();
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line.chars().filter(|c| !c.is_control()).take(CHARS_MAX).collect();
    Some(line).filter(|line| !line.is_empty())
}
