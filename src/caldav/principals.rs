//! Reports about principals: expand-property, and the searches of Apple's programs.
//!
//! RFC 3253 §3.8; RFC 3744 §9.4, §9.5. Nobody is found but who asks: accounts know nothing of each other.

use hyper::StatusCode;

use super::answer::{self, Answer, Broken, Done, Reply, XML};
use super::href::Place;
use super::markup::Writer;
use super::multistatus::{Multistatus, Properties, response};
use super::property::Resource;
use super::report::{Expanded, PrincipalSearch};
use super::request::PropFind;
use super::site::{Asked, Site, not_found};
use super::xml::Name;
use crate::store::calendar::Tags;
use crate::store::calendars::{Calendar, DEFAULT};

/// What a principal can be searched by, and what that is called.
const SEARCHABLE: [(Name, &str); 2] =
    [(Name::dav("displayname"), "Name"), (Name::caldav("calendar-user-address-set"), "Address")];

impl Site {
    pub(super) async fn expand(
        &self,
        asked: &Asked,
        expanded: &[Expanded],
        reply: &mut Reply,
    ) -> Result<Done, Broken> {
        let default = self.store.calendar(asked.account.id, DEFAULT).await?;
        let found = match Resource::fixed(&asked.place) {
            Some(_) => None,
            None => match self.calendar_and_object(asked).await? {
                Some((calendar, object)) => {
                    Some((calendar, object.map(|object| Tags::of(&object))))
                }
                None => return Ok(not_found().into()),
            },
        };
        let resource = match &found {
            Some((calendar, Some(tags))) => Some(Resource::Object(calendar, tags)),
            Some((calendar, None)) => Some(Resource::Calendar(calendar)),
            None => Resource::fixed(&asked.place),
        };
        let Some(resource) = resource else { return Ok(not_found().into()) };
        let mut multistatus = Multistatus::begin();
        multistatus.respond(&asked.place, |properties| {
            put_expanded(asked, resource, expanded, default.as_ref(), properties);
        });
        reply.end(multistatus, None).await
    }

    pub(super) async fn search_principals(
        &self,
        asked: &Asked,
        search: &PrincipalSearch,
        reply: &mut Reply,
    ) -> Result<Done, Broken> {
        let account = &asked.account;
        let addresses: Vec<String> =
            std::iter::once(&account.address).chain(&account.aliases).map(|a| a.key()).collect();
        let has = |name: &Name, text: &str| match SEARCHABLE.iter().position(|(n, _)| n == name) {
            Some(0) => account.address.key().contains(text),
            Some(_) => addresses.iter().any(|address| format!("mailto:{address}").contains(text)),
            None => false,
        };
        let mut found = search.searches.iter().map(|search| {
            let text = search.text.to_lowercase();
            !search.properties.is_empty() && search.properties.iter().all(|name| has(name, &text))
        });
        let is_found = if search.any { found.any(|found| found) } else { found.all(|found| found) };
        let mut multistatus = Multistatus::begin();
        if is_found {
            let wanted = PropFind::Prop(search.properties.clone());
            multistatus.respond(Resource::Principal.place(asked), |properties| {
                Resource::Principal.describe(asked, &wanted, properties);
            });
        }
        reply.end(multistatus, None).await
    }
}

/// Not deeper than the request nests; and each property leads to one resource.
fn put_expanded(
    asked: &Asked,
    resource: Resource<'_>,
    expanded: &[Expanded],
    default: Option<&Calendar>,
    properties: &mut Properties,
) {
    for Expanded { name, properties: within } in expanded {
        let led = match within.is_empty() {
            true => None,
            false => resource.leads_to(asked, name),
        };
        let to = led.as_ref().and_then(|place| match place {
            Place::Calendar { .. } => default.map(Resource::Calendar),
            place => Resource::fixed(place),
        });
        match (led, to) {
            (Some(place), Some(to)) => properties.put(name, |writer| {
                response(writer, place, |properties| {
                    put_expanded(asked, to, within, default, properties);
                });
            }),
            _ => {
                if !resource.put(asked, name, properties) && !asked.preferences.minimal {
                    properties.missing(name);
                }
            }
        }
    }
}

/// RFC 3744 §9.5
pub(super) fn searchable() -> Answer {
    let body = Writer::document(&Name::dav("principal-search-property-set"), |writer| {
        for (name, description) in &SEARCHABLE {
            writer.element(&Name::dav("principal-search-property"), |writer| {
                writer.element(&Name::dav("prop"), |writer| writer.empty(name));
                // xml:lang belongs here; what is not said is in no language.
                writer.text_element(&Name::dav("description"), description);
            });
        }
    });
    answer::with_body(StatusCode::OK, XML, body)
}
