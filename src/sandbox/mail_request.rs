//! A request for mails or folders, before and after its route: who asks, for what, in which form the
//! answer goes out.
//!
//! Source: Graph v1.0 `message`, RFC 7240, RFC 9110 §13.1.1. It must let nobody into a mailbox that
//! is not his, and no body past its schema.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};

use axum::body::Bytes;
use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::header::{CONTENT_LENGTH, IF_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, Version};
use axum::response::Response;
use serde_json::{Map, Value};

use super::calendar::not_found;
use super::calendar_request::parameters;
use super::event_json::collection;
use super::event_query::Prefer;
use super::identity::Caller;
use super::mail::{BODY_OCTETS_MAX, media_type};
use super::mail_error::{broken, explained, not_json, too_large, undeserialisable};
use super::mail_query::Query;
use super::mailbox::{Book, Item};
use super::message_json::Frame;
use super::odata::{self, ODataError};
use super::request::Origin;
use super::schema::{self, Body};
use super::transport::Sender;
use super::user;
use super::world::{Switches, User, World};

/// A page of large mails ends early.
const PAGE_OCTETS_MAX: usize = 8 * 1024 * 1024;

/// Who asks for what, checked as far as a request can be without its body.
pub struct Asked {
    pub world: Arc<World>,
    pub owner: User,
    pub caller: Caller,
    /// As they are at the beginning of the request.
    pub switches: Switches,
    pub parameters: HashMap<String, String>,
    pub query: Query,
    pub prefer: Prefer,
    if_match: Option<String>,
    /// Of the body, in lower case.
    pub media_type: String,
    /// Whether the request says how long its body is, or its protocol does.
    pub has_length: bool,
    /// `http://127.0.0.1:8480`
    pub origin: String,
    /// Of the request, for the link to the next page.
    pub url: String,
}

impl FromRequestParts<Arc<World>> for Asked {
    type Rejection = ODataError;

    async fn from_request_parts(
        parts: &mut Parts,
        world: &Arc<World>,
    ) -> Result<Asked, ODataError> {
        let caller = user::caller(world, &parts.headers)?;
        let own = user::of(world, &caller)?;
        let parameters = parameters(parts, world).await;
        // Somebody else's mailbox is for who may read it; here nobody shares.
        if let Some(key) = parameters.get("id")
            && user::named(world, key)?.object_id != own.object_id
        {
            return Err(ODataError::access_denied());
        }
        let owner = own.clone();
        let Ok(Origin(origin)) = Origin::from_request_parts(parts, world).await;
        let uri = match OriginalUri::from_request_parts(parts, world).await {
            Ok(OriginalUri(uri)) => uri,
            Err(never) => match never {},
        };
        let if_match = parts.headers.get(IF_MATCH).and_then(|value| value.to_str().ok());
        Ok(Asked {
            world: Arc::clone(world),
            owner,
            caller,
            switches: world.switches().clone(),
            parameters,
            query: Query::read(uri.query())?,
            prefer: Prefer::read(&parts.headers)?,
            if_match: if_match.map(str::to_owned),
            media_type: media_type(&parts.headers),
            has_length: parts.version >= Version::HTTP_2
                || parts.headers.contains_key(CONTENT_LENGTH),
            url: format!("{origin}{uri}"),
            origin,
        })
    }
}

impl Asked {
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Mail.ReadWrite, or Mail.Read where nothing is changed.
    pub fn reader(&self) -> Result<MutexGuard<'_, Book>, ODataError> {
        if self.caller.may("Mail.Read") { Ok(self.book()) } else { self.writer() }
    }

    pub fn writer(&self) -> Result<MutexGuard<'_, Book>, ODataError> {
        self.needs("Mail.ReadWrite")?;
        Ok(self.book())
    }

    pub fn needs(&self, permission: &str) -> Result<(), ODataError> {
        if self.caller.may(permission) { Ok(()) } else { Err(ODataError::access_denied()) }
    }

    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.world.mail.book(&self.world)
    }

    pub(super) fn sender(&self) -> Sender<'_> {
        Sender { caller: &self.caller, own: &self.owner, mailbox: &self.owner }
    }

    pub fn frame(&self) -> Frame<'_> {
        Frame {
            owner: &self.owner,
            prefer: &self.prefer,
            query: &self.query,
            switches: &self.switches,
        }
    }

    /// The mail that the path names.
    pub fn item(&self, book: &Book) -> Result<Arc<Item>, ODataError> {
        let owner = self.owner.object_id;
        let item = book.find(owner, self.parameter("message"))?;
        match self.parameters.get("folder") {
            Some(key) if book.folder(owner, key)? != item.folder => Err(not_found()),
            _ => Ok(item),
        }
    }

    pub fn check_match(&self, item: &Item) -> Result<(), ODataError> {
        odata::check_match(self.if_match.as_deref(), &item.etag())
    }

    /// A JSON body, read against its schema, without annotations.
    pub fn body(&self, kind: Body, octets: &Bytes) -> Result<Map<String, Value>, ODataError> {
        if octets.len() > BODY_OCTETS_MAX {
            return Err(too_large("application/json"));
        }
        if self.media_type != "application/json" {
            return Err(not_json());
        }
        let mut value: Value =
            serde_json::from_slice(octets).map_err(|error| undeserialisable(&error))?;
        let violations = schema::check(kind, &mut value).map_err(broken)?;
        if let Some(error) = explained(&violations, &value) {
            return Err(error);
        }
        let Value::Object(mut body) = value else { return Err(undeserialisable(&"no object")) };
        body.retain(|name, _| name == "@odata.type" || !name.contains('@'));
        Ok(body)
    }

    pub fn answer(&self, status: StatusCode, body: Value) -> Response {
        self.prefer.answer(status, body)
    }

    pub fn message(&self, status: StatusCode, item: &Item) -> Result<Response, ODataError> {
        let mut value = self.frame().message(item)?;
        if let Some(properties) = value.as_object_mut() {
            let context = "$metadata#users('me')/messages/$entity";
            properties.insert("@odata.context".to_owned(), context.into());
        }
        let mut response = self.answer(status, value);
        let location = format!("{}/v1.0/me/messages/{}", self.origin, item.id(self.prefer.ids));
        let created = (status == StatusCode::CREATED).then_some(("location", location));
        for (name, text) in [("etag", item.etag())].into_iter().chain(created) {
            if let Ok(value) = HeaderValue::from_str(&text) {
                response.headers_mut().insert(name, value);
            }
        }
        Ok(response)
    }

    /// One page, and the link to the next.
    pub fn page(&self, all: &[Arc<Item>]) -> Result<Response, ODataError> {
        let Query { skip, count, .. } = self.query;
        let top = self.prefer.page_size.map_or(self.query.top, |size| size.clamp(1, 1000));
        let frame = self.frame();
        let (mut page, mut octets) = (Vec::new(), 0_usize);
        for item in all.iter().skip(skip).take(top) {
            page.push(frame.message(item)?);
            octets = octets.saturating_add(item.octets);
            if octets > PAGE_OCTETS_MAX {
                break;
            }
        }
        let to = skip.saturating_add(page.len());
        let next = (all.len() > to).then(|| odata::next_link(&self.url, to)).flatten();
        let count = count.then_some(all.len());
        Ok(self.answer(StatusCode::OK, collection(page, count, next)))
    }
}
