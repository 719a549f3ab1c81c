//! Graph's calendar over HTTP: events, their actions and attachments, calendars, time zones.
//!
//! Source: Graph v1.0, `/me` and `/users/{id}`. Each route reads and checks the request and leaves
//! the rest to [`super::calendar`]. Attachments of 3 MB and more (upload sessions) are not here yet:
//! 501.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequestParts, OriginalUri, Path, RawPathParams, State};
use axum::http::header::{CONTENT_TYPE, IF_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::calendar::{self, Answer, DEFAULT_CALENDAR, Desk, Shown};
use super::event::Unfit;
use super::event_json::{Frame, collection};
use super::event_query::{Filter, Prefer, Query};
use super::item_id::ItemId;
use super::odata::{self, ODataError};
use super::request::Origin;
use super::schema::{self, Body, Violation};
use super::user;
use super::world::{User, World};
use super::zones;

/// Graph's REST request limit.
const BODY_OCTETS_MAX: usize = 4 * 1024 * 1024;
/// Documented: an attachment in one request is under 3 MB.
const ATTACHMENT_OCTETS_MAX: usize = 3 * 1024 * 1024;

pub fn router() -> Router<Arc<World>> {
    let mut router = Router::new();
    for mailbox in ["/v1.0/me", "/v1.0/users/{id}"] {
        for container in ["", "/calendar", "/calendars/{calendar}"] {
            let events = format!("{mailbox}{container}/events");
            let one = format!("{events}/{{event}}");
            router = router
                .route(&events, get(list).post(create))
                .route(&one, get(show).patch(update).delete(delete))
                .route(&format!("{one}/instances"), get(instances))
                .route(&format!("{one}/cancel"), post(cancel))
                .route(&format!("{one}/accept"), post(accept))
                .route(&format!("{one}/tentativelyAccept"), post(tentatively_accept))
                .route(&format!("{one}/decline"), post(decline))
                .route(&format!("{one}/attachments"), get(attachments).post(attach))
                .route(&format!("{one}/attachments/createUploadSession"), post(not_built))
                .route(&format!("{one}/attachments/{{attachment}}"), get(attachment).delete(detach))
                .route(&format!("{mailbox}{container}/calendarView"), get(calendar_view));
        }
        router = router
            .route(&format!("{mailbox}/calendar"), get(show_calendar))
            .route(&format!("{mailbox}/calendars"), get(calendars).post(add_calendar))
            .route(&format!("{mailbox}/calendars/{{calendar}}"), get(show_calendar))
            .route(&format!("{mailbox}/outlook/{{function}}"), get(time_zones));
    }
    router.layer(middleware::from_fn(odata::finish))
}

/// Who asks for what, checked as far as a request can be without its body.
struct Asked {
    world: Arc<World>,
    owner: User,
    may_write: bool,
    parameters: HashMap<String, String>,
    query: Query,
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

async fn parameters(parts: &mut Parts, world: &Arc<World>) -> HashMap<String, String> {
    let Ok(found) = RawPathParams::from_request_parts(parts, world).await else {
        return HashMap::new();
    };
    found.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl Asked {
    fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map(String::as_str).unwrap_or_default()
    }

    /// For requests that change something.
    fn writer(&self) -> Result<Desk<'_>, ODataError> {
        if self.may_write { Ok(self.desk()) } else { Err(ODataError::access_denied()) }
    }

    fn desk(&self) -> Desk<'_> {
        Desk::new(&self.world, &self.owner)
    }

    fn frame(&self) -> Frame<'_> {
        Frame {
            owner: &self.owner,
            users: &self.world.users,
            prefer: &self.prefer,
            query: &self.query,
            short_months: self.world.switches().short_months,
        }
    }

    /// The calendar that the path names.
    fn calendar(&self, desk: &Desk<'_>) -> Result<u64, ODataError> {
        let Some(id) = self.parameters.get("calendar") else { return Ok(DEFAULT_CALENDAR) };
        let number = calendar::item(&self.owner, id)?.number;
        let known = desk.calendars().iter().any(|calendar| calendar.number == number);
        if known { Ok(number) } else { Err(calendar::not_found()) }
    }

    fn target(&self, desk: &Desk<'_>) -> Result<Shown, ODataError> {
        let found = desk.find(self.parameter("event"))?;
        match self.parameters.contains_key("calendar") {
            true if self.calendar(desk)? != found.event.calendar => Err(calendar::not_found()),
            _ => Ok(found),
        }
    }

    /// RFC 9110 §13.1.1, with Exchange's code.
    fn check_match(&self, target: &Shown) -> Result<(), ODataError> {
        let Some(wanted) = &self.if_match else { return Ok(()) };
        let current = format!("W/\"{}\"", target.change_key());
        if wanted.trim() == "*" || wanted.split(',').any(|etag| etag.trim() == current) {
            return Ok(());
        }
        let status = StatusCode::PRECONDITION_FAILED;
        let text = "The send or update operation could not be performed because the change key \
                    passed in the request does not match the current change key for the item.";
        Err(ODataError::new(status, "ErrorIrresolvableConflict", text))
    }

    /// The body, read against its schema. Actions take none, too.
    fn body(&self, kind: Body, octets: &Bytes) -> Result<Map<String, Value>, ODataError> {
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

    fn answer(&self, status: StatusCode, body: Value) -> Response {
        let mut response = (status, Json(body)).into_response();
        let applied = self.prefer.applied.join(", ");
        if let Some(applied) = HeaderValue::from_str(&applied).ok().filter(|v| !v.is_empty()) {
            response.headers_mut().insert("preference-applied", applied);
        }
        response
    }

    fn event(&self, status: StatusCode, shown: &Shown) -> Result<Response, ODataError> {
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
    fn page(&self, all: &[Shown]) -> Result<Response, ODataError> {
        let Query { skip, count, .. } = self.query;
        let top = self.prefer.page_size.map_or(self.query.top, |size| size.clamp(1, 1000));
        let frame = self.frame();
        let page: Result<Vec<Value>, ODataError> =
            all.iter().skip(skip).take(top).map(|shown| frame.event(shown)).collect();
        let next = (all.len() > skip.saturating_add(top)).then(|| self.next(skip + top));
        let count = count.then_some(all.len());
        Ok(self.answer(StatusCode::OK, collection(page?, count, next.flatten())))
    }

    fn next(&self, skip: usize) -> Option<String> {
        let mut url = reqwest::Url::parse(&self.url).ok()?;
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .filter(|(name, _)| !name.eq_ignore_ascii_case("$skip"))
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        url.query_pairs_mut().clear().extend_pairs(pairs).append_pair("$skip", &skip.to_string());
        Some(url.into())
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

async fn list(asked: Asked) -> Result<Response, ODataError> {
    let calendar = {
        let desk = asked.desk();
        let all = asked.parameters.get("calendar").is_none();
        asked.calendar(&desk).map(|number| (!all).then_some(number))?
    };
    let events = asked.world.calendar.events(asked.owner.object_id);
    let fits = |shown: &Shown| {
        let within = calendar.is_none_or(|number| shown.event.calendar == number);
        let content = shown.content();
        within
            && match &asked.query.filter {
                None => true,
                Some(Filter::ICalUid(uid)) => {
                    shown.event.global_id.ical_uid(None).eq_ignore_ascii_case(uid)
                }
                Some(Filter::Extended { id, value }) => content
                    .extended
                    .iter()
                    .any(|one| one.has_id(id) && one.value.eq_ignore_ascii_case(value)),
            }
    };
    let shown = events.into_iter().map(|event| Shown { event, occurrence: None });
    asked.page(&shown.filter(fits).collect::<Vec<Shown>>())
}

async fn calendar_view(asked: Asked) -> Result<Response, ODataError> {
    let (from, to) = asked.query.window()?;
    let calendar = asked.calendar(&asked.desk())?;
    let short_months = asked.world.switches().short_months;
    let mut all = asked.world.calendar.view(asked.owner.object_id, from, to, short_months);
    all.retain(|shown| shown.event.calendar == calendar);
    asked.page(&all)
}

async fn instances(asked: Asked) -> Result<Response, ODataError> {
    let (from, to) = asked.query.window()?;
    let target = asked.target(&asked.desk())?;
    if target.content().recurrence.is_none() {
        let text = "Your request can't be completed. The event is not a series master.";
        return Err(ODataError::bad_request("ErrorInvalidRequest", text));
    }
    let short_months = asked.world.switches().short_months;
    asked.page(&calendar::occurrences(&target.event, from, to, short_months))
}

async fn show(asked: Asked) -> Result<Response, ODataError> {
    let target = asked.target(&asked.desk())?;
    asked.event(StatusCode::OK, &target)
}

async fn create(asked: Asked, octets: Bytes) -> Result<Response, ODataError> {
    let body = asked.body(Body::EventCreate, &octets)?;
    let created = {
        let mut desk = asked.writer()?;
        let calendar = asked.calendar(&desk)?;
        desk.create(calendar, body, octets.len())?
    };
    asked.event(StatusCode::CREATED, &created)
}

async fn update(asked: Asked, octets: Bytes) -> Result<Response, ODataError> {
    let body = asked.body(Body::EventPatch, &octets)?;
    let updated = {
        let mut desk = asked.writer()?;
        let target = asked.target(&desk)?;
        asked.check_match(&target)?;
        desk.update(&target, &body, octets.len())?
    };
    asked.event(StatusCode::OK, &updated)
}

async fn delete(asked: Asked) -> Result<StatusCode, ODataError> {
    let mut desk = asked.writer()?;
    let target = asked.target(&desk)?;
    asked.check_match(&target)?;
    desk.remove(&target)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn cancel(asked: Asked, octets: Bytes) -> Result<StatusCode, ODataError> {
    asked.body(Body::Comment, &octets)?;
    let mut desk = asked.writer()?;
    let target = asked.target(&desk)?;
    desk.cancel(&target)?;
    Ok(StatusCode::ACCEPTED)
}

async fn accept(asked: Asked, octets: Bytes) -> Result<StatusCode, ODataError> {
    respond(&asked, &octets, Answer::Accepted)
}

async fn tentatively_accept(asked: Asked, octets: Bytes) -> Result<StatusCode, ODataError> {
    respond(&asked, &octets, Answer::TentativelyAccepted)
}

async fn decline(asked: Asked, octets: Bytes) -> Result<StatusCode, ODataError> {
    respond(&asked, &octets, Answer::Declined)
}

fn respond(asked: &Asked, octets: &Bytes, answer: Answer) -> Result<StatusCode, ODataError> {
    let body = asked.body(Body::Respond, octets)?;
    let proposed = body.get("proposedNewTime").filter(|slot| !slot.is_null()).cloned();
    let tell = body.get("sendResponse").and_then(Value::as_bool).unwrap_or(true);
    if proposed.is_some() && (answer == Answer::Accepted || !tell) {
        let text = "A new time is proposed with a response that is sent, and not with accept.";
        return Err(ODataError::bad_request("ErrorInvalidRequest", text));
    }
    let mut desk = asked.writer()?;
    let target = asked.target(&desk)?;
    desk.respond(&target, answer, proposed, tell)?;
    Ok(StatusCode::ACCEPTED)
}

async fn attachments(asked: Asked) -> Result<Response, ODataError> {
    let target = asked.target(&asked.desk())?;
    let frame = asked.frame();
    let all = target.event.attachments.iter().map(|one| frame.attachment(one)).collect();
    Ok(asked.answer(StatusCode::OK, collection(all, None, None)))
}

async fn attach(asked: Asked, octets: Bytes) -> Result<Response, ODataError> {
    let mut body = asked.body(Body::Attachment, &octets)?;
    let kind = body.get("@odata.type").and_then(Value::as_str).unwrap_or_default();
    if !kind.ends_with("fileAttachment") {
        return Err(not_built().await);
    }
    let bytes = body.remove("contentBytes").unwrap_or_default();
    let bytes = STANDARD.decode(bytes.as_str().unwrap_or_default()).map_err(Unfit::shape)?;
    if bytes.len() >= ATTACHMENT_OCTETS_MAX {
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        let text = "Request Entity Too Large";
        return Err(ODataError::new(status, "RequestEntityTooLarge", text));
    }
    let attached = {
        let mut desk = asked.writer()?;
        let target = asked.target(&desk)?;
        desk.attach(&target, body, bytes)?
    };
    Ok(asked.answer(StatusCode::CREATED, asked.frame().attachment(&attached)))
}

fn attachment_number(asked: &Asked) -> Result<u64, ODataError> {
    calendar::item(&asked.owner, asked.parameter("attachment")).map(|id: ItemId| id.number)
}

async fn attachment(asked: Asked) -> Result<Response, ODataError> {
    let target = asked.target(&asked.desk())?;
    let number = attachment_number(&asked)?;
    let found = target.event.attachments.iter().find(|one| one.number == number);
    let found = found.ok_or_else(calendar::not_found)?;
    Ok(asked.answer(StatusCode::OK, asked.frame().attachment(found)))
}

async fn detach(asked: Asked) -> Result<StatusCode, ODataError> {
    let number = attachment_number(&asked)?;
    let mut desk = asked.writer()?;
    let target = asked.target(&desk)?;
    desk.detach(&target, number)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn not_built() -> ODataError {
    let text = "The sandbox takes file attachments under 3 MB only.";
    ODataError::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", text)
}

async fn calendars(asked: Asked) -> Response {
    let all = asked.desk().calendars();
    let frame = asked.frame();
    let all = all.iter().map(|calendar| frame.calendar(calendar)).collect();
    asked.answer(StatusCode::OK, collection(all, None, None))
}

async fn show_calendar(asked: Asked) -> Result<Response, ODataError> {
    let desk = asked.desk();
    let number = asked.calendar(&desk)?;
    let all = desk.calendars();
    drop(desk);
    let found = all.iter().find(|calendar| calendar.number == number);
    let found = found.ok_or_else(calendar::not_found)?;
    Ok(asked.answer(StatusCode::OK, asked.frame().calendar(found)))
}

async fn add_calendar(asked: Asked, octets: Bytes) -> Result<Response, ODataError> {
    let body = asked.body(Body::Calendar, &octets)?;
    let name = body.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Unfit::property("A calendar needs a name."))?;
    let added = asked.writer()?.add_calendar(name)?;
    Ok(asked.answer(StatusCode::CREATED, asked.frame().calendar(&added)))
}

/// `supportedTimeZones`, with or without its brackets and its parameter.
async fn time_zones(
    State(world): State<Arc<World>>,
    Path(path): Path<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Json<Value>, ODataError> {
    let caller = user::caller(&world, &headers)?;
    user::of(&world, &caller)?;
    let function = path.get("function").map(String::as_str).unwrap_or_default();
    let names: Vec<&str> = match function.strip_prefix("supportedTimeZones") {
        Some("" | "()") => zones::windows_names().collect(),
        Some("(TimeZoneStandard=microsoft.graph.timeZoneStandard'Windows')") => {
            zones::windows_names().collect()
        }
        Some("(TimeZoneStandard=microsoft.graph.timeZoneStandard'Iana')") => {
            zones::iana_names().collect()
        }
        _ => {
            let text = "Resource not found for the segment.";
            return Err(ODataError::bad_request("RequestBroker--ParseUri", text));
        }
    };
    let names = names.iter().map(|name| json!({"alias": name, "displayName": name})).collect();
    Ok(Json(collection(names, None, None)))
}
