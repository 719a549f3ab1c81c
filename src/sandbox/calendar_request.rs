//! A request for a calendar, before and after its route: who asks, for what, in which form the answer
//! goes out.
//!
//! Source: Graph v1.0 `event`, RFC 7240, RFC 9110 §13.1.1. It must let nobody into a calendar that is
//! not his, and no body past its schema.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequestParts, OriginalUri, RawPathParams};
use axum::http::header::{CONTENT_TYPE, IF_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::calendar::{self, DEFAULT_CALENDAR, Shown};
use super::calendar_changes::Locked;
use super::event::Unfit;
use super::event_json::{Frame, collection};
use super::event_query::{Prefer, Query};
use super::odata::{self, ODataError};
use super::request::Origin;
use super::schema::{self, Body, Violation};
use super::user;
use super::world::{User, World};

/// Graph's REST request limit.
const BODY_OCTETS_MAX: usize = 4 * 1024 * 1024;
/// A page of large events ends early.
const PAGE_OCTETS_MAX: usize = 8 * 1024 * 1024;

/// Who asks for what, checked as far as a request can be without its body.
pub struct Asked {
    pub world: Arc<World>,
    pub owner: User,
    may_write: bool,
    pub parameters: HashMap<String, String>,
    pub query: Query,
    prefer: Prefer,
    if_match: Option<String>,
    is_json: bool,
    /// Of the request, for the link to the next page.
    url: String,
}

impl FromRequestParts<Arc<World>> for Asked {
    type Rejection = ODataError;

    async fn from_request_parts(
        parts: &mut Parts,
        world: &Arc<World>,
    ) -> Result<Asked, ODataError> {
        let caller = user::caller(world, &parts.headers)?;
        let own = user::of(world, &caller)?;
        let may_write = caller.may("Calendars.ReadWrite");
        if !may_write && !caller.may("Calendars.Read") {
            return Err(ODataError::access_denied());
        }
        let parameters = parameters(parts, world).await;
        // Somebody else's calendar is for who may read it; here nobody shares.
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
        let text = |name| parts.headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
        let kind = text(CONTENT_TYPE).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        Ok(Asked {
            world: Arc::clone(world),
            owner,
            may_write,
            parameters,
            query: Query::read(uri.query())?,
            prefer: Prefer::read(&parts.headers)?,
            if_match: text(IF_MATCH).map(str::to_owned),
            is_json: kind.eq_ignore_ascii_case("application/json"),
            url: format!("{origin}{uri}"),
        })
    }
}

pub(super) async fn parameters(parts: &mut Parts, world: &Arc<World>) -> HashMap<String, String> {
    let Ok(found) = RawPathParams::from_request_parts(parts, world).await else {
        return HashMap::new();
    };
    found.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl Asked {
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map(String::as_str).unwrap_or_default()
    }

    /// For requests that change something.
    pub fn writer(&self) -> Result<Locked<'_>, ODataError> {
        if self.may_write { Ok(self.calendars()) } else { Err(ODataError::access_denied()) }
    }

    pub fn calendars(&self) -> Locked<'_> {
        Locked::new(&self.world, &self.owner)
    }

    pub fn frame(&self) -> Frame<'_> {
        Frame {
            owner: &self.owner,
            users: &self.world.users,
            prefer: &self.prefer,
            query: &self.query,
            short_months: self.world.switches().short_months,
        }
    }

    /// The calendar that the path names.
    pub fn calendar(&self, calendars: &Locked<'_>) -> Result<u64, ODataError> {
        let Some(id) = self.parameters.get("calendar") else { return Ok(DEFAULT_CALENDAR) };
        let number = calendar::item(&self.owner, id)?.number;
        let known = calendars.calendars().iter().any(|calendar| calendar.number == number);
        if known { Ok(number) } else { Err(calendar::not_found()) }
    }

    pub fn target(&self, calendars: &Locked<'_>) -> Result<Shown, ODataError> {
        let found = calendars.find(self.parameter("event"))?;
        match self.parameters.contains_key("calendar") {
            true if self.calendar(calendars)? != found.event.calendar => Err(calendar::not_found()),
            _ => Ok(found),
        }
    }

    pub fn check_match(&self, target: &Shown) -> Result<(), ODataError> {
        odata::check_match(self.if_match.as_deref(), &format!("W/\"{}\"", target.change_key()))
    }

    /// The body, read against its schema. Actions take none, too.
    pub fn body(&self, kind: Body, octets: &Bytes) -> Result<Map<String, Value>, ODataError> {
        if octets.len() > BODY_OCTETS_MAX {
            let text = "The maximum request length supported is 4MB.";
            return Err(ODataError::bad_request("BadRequest", text));
        }
        if octets.is_empty() && matches!(kind, Body::Comment | Body::Respond) {
            return Ok(Map::new());
        }
        if !self.is_json {
            let text = "Entity only allows writes with a JSON Content-Type header.";
            return Err(ODataError::bad_request("BadRequest", text));
        }
        let mut value: Value = serde_json::from_slice(octets).map_err(Unfit::shape)?;
        let violations = schema::check(kind, &mut value).map_err(|broken| {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            ODataError::new(status, "ErrorInternalServerError", broken.to_string())
        })?;
        if let Some(error) = explained(&violations) {
            return Err(error.into());
        }
        if self.world.switches().pattern_before_range && range_comes_first(octets) {
            let text = "recurrence: the pattern comes before the range";
            return Err(Unfit::shape(text).into());
        }
        match value {
            Value::Object(body) => Ok(body),
            _ => Err(Unfit::shape("not an object").into()),
        }
    }

    pub fn answer(&self, status: StatusCode, body: Value) -> Response {
        self.prefer.answer(status, body)
    }

    pub fn event(&self, status: StatusCode, shown: &Shown) -> Result<Response, ODataError> {
        let mut value = self.frame().event(shown)?;
        if let Some(properties) = value.as_object_mut() {
            let context = "$metadata#users('me')/events/$entity";
            properties.insert("@odata.context".to_owned(), context.into());
        }
        let etag = HeaderValue::from_str(&format!("W/\"{}\"", shown.change_key()));
        let mut response = self.answer(status, value);
        if let Ok(etag) = etag {
            response.headers_mut().insert("etag", etag);
        }
        Ok(response)
    }

    /// One page, and the link to the next.
    pub fn page(&self, all: &[Shown]) -> Result<Response, ODataError> {
        self.query.names_nothing_of_a_master()?;
        let Query { skip, count, .. } = self.query;
        let top = self.prefer.page_size.map_or(self.query.top, |size| size.clamp(1, 1000));
        let frame = self.frame();
        let (mut page, mut octets) = (Vec::new(), 0_usize);
        for shown in all.iter().skip(skip).take(top) {
            page.push(frame.event(shown)?);
            octets = octets.saturating_add(shown.content().octets());
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

/// What a violation of the schema is to Graph: a shape that it cannot read, or a value that it does
/// not take.
fn explained(violations: &[Violation]) -> Option<Unfit> {
    let is_value = |violation: &&Violation| {
        let Violation { path, keyword, .. } = violation;
        let keyword = keyword.as_str();
        let needed = keyword == "required" && (path.is_empty() || path == "/recurrence/pattern");
        let bound = ["minimum", "maximum", "minItems", "maxItems", "minLength", "not"];
        let address = path.ends_with("/emailAddress/address") && keyword == "pattern";
        let time = path.ends_with("/dateTime") && keyword == "pattern";
        needed || address || time || bound.contains(&keyword)
    };
    let first = violations.iter().find(|v| !is_value(v)).or(violations.first())?;
    let Violation { path, text, .. } = first;
    match is_value(&first) {
        true => Some(Unfit::property(format!(
            "At least one property failed validation. {path}: {text}"
        ))),
        false => Some(Unfit::shape(format!("{path}: {text}"))),
    }
}

/// Reported: Exchange reads the range by what the pattern said.
fn range_comes_first(octets: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Event {
        recurrence: Option<Order>,
    }
    struct Order(bool);
    impl<'de> Deserialize<'de> for Order {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Order, D::Error> {
            struct Keys;
            impl<'de> serde::de::Visitor<'de> for Keys {
                type Value = Order;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("a patternedRecurrence")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> Result<Order, A::Error> {
                    let mut first = None;
                    while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
                        if key == "pattern" || key == "range" {
                            first.get_or_insert(key == "range");
                        }
                    }
                    Ok(Order(first.unwrap_or_default()))
                }
            }
            deserializer.deserialize_map(Keys)
        }
    }
    let event: Result<Event, _> = serde_json::from_slice(octets);
    event.is_ok_and(|event| event.recurrence.is_some_and(|order| order.0))
}
