//! Graph's calendar over HTTP: events, their actions and attachments, calendars, time zones.
//!
//! Source: Graph v1.0, `/me` and `/users/{id}`. Each route reads and checks the request and leaves
//! the rest to [`super::calendar`]. Attachments of 3 MB and more are in [`super::upload_routes`].

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde_json::{Value, json};

use super::attachment::Posted;
use super::calendar::{self, Answer, Shown};
use super::calendar_request::Asked;
use super::event::Unfit;
use super::event_json::collection;
use super::event_query::Filter;
use super::odata::{self, ODataError};
use super::schema::Body;
use super::user;
use super::world::World;
use super::zones;

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

async fn list(asked: Asked) -> Result<Response, ODataError> {
    let calendar = {
        let calendars = asked.calendars();
        let one = asked.parameters.contains_key("calendar");
        asked.calendar(&calendars).map(|number| one.then_some(number))?
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
    let calendar = asked.calendar(&asked.calendars())?;
    let short_months = asked.world.switches().short_months;
    let mut all = asked.world.calendar.view(asked.owner.object_id, from, to, short_months);
    all.retain(|shown| shown.event.calendar == calendar);
    asked.page(&all)
}

async fn instances(asked: Asked) -> Result<Response, ODataError> {
    let (from, to) = asked.query.window()?;
    let target = asked.target(&asked.calendars())?;
    if target.content().recurrence.is_none() {
        let text = "Your request can't be completed. The event is not a series master.";
        return Err(ODataError::bad_request("ErrorInvalidRequest", text));
    }
    let short_months = asked.world.switches().short_months;
    asked.page(&calendar::occurrences(&target.event, from, to, short_months))
}

async fn show(asked: Asked) -> Result<Response, ODataError> {
    let target = asked.target(&asked.calendars())?;
    asked.event(StatusCode::OK, &target)
}

async fn create(asked: Asked, octets: Bytes) -> Result<Response, ODataError> {
    asked.query.names_nothing_of_a_master()?;
    let body = asked.body(Body::EventCreate, &octets)?;
    let created = {
        let mut calendars = asked.writer()?;
        let calendar = asked.calendar(&calendars)?;
        calendars.create(calendar, body, octets.len())?
    };
    asked.event(StatusCode::CREATED, &created)
}

async fn update(asked: Asked, octets: Bytes) -> Result<Response, ODataError> {
    asked.query.names_nothing_of_a_master()?;
    let body = asked.body(Body::EventPatch, &octets)?;
    let updated = {
        let mut calendars = asked.writer()?;
        let target = asked.target(&calendars)?;
        asked.check_match(&target)?;
        calendars.update(&target, &body, octets.len())?
    };
    asked.event(StatusCode::OK, &updated)
}

async fn delete(asked: Asked) -> Result<StatusCode, ODataError> {
    let mut calendars = asked.writer()?;
    let target = asked.target(&calendars)?;
    asked.check_match(&target)?;
    calendars.remove(&target)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn cancel(asked: Asked, octets: Bytes) -> Result<StatusCode, ODataError> {
    asked.body(Body::Comment, &octets)?;
    let mut calendars = asked.writer()?;
    let target = asked.target(&calendars)?;
    calendars.cancel(&target)?;
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
    let mut calendars = asked.writer()?;
    let target = asked.target(&calendars)?;
    calendars.respond(&target, answer, proposed, tell)?;
    Ok(StatusCode::ACCEPTED)
}

async fn attachments(asked: Asked) -> Result<Response, ODataError> {
    let target = asked.target(&asked.calendars())?;
    let frame = asked.frame();
    let all = target.event.attachments.iter().map(|one| frame.attachment(one)).collect();
    Ok(asked.answer(StatusCode::OK, collection(all, None, None)))
}

async fn attach(asked: Asked, octets: Bytes) -> Result<Response, ODataError> {
    let posted = Posted::read(asked.body(Body::Attachment, &octets)?)?;
    let attached = {
        let mut calendars = asked.writer()?;
        let target = asked.target(&calendars)?;
        calendars.attach(&target, posted)?
    };
    Ok(asked.answer(StatusCode::CREATED, asked.frame().attachment(&attached)))
}

fn attachment_number(asked: &Asked) -> Result<u64, ODataError> {
    calendar::item(&asked.owner, asked.parameter("attachment")).map(|id| id.number)
}

async fn attachment(asked: Asked) -> Result<Response, ODataError> {
    let target = asked.target(&asked.calendars())?;
    let number = attachment_number(&asked)?;
    let found = target.event.attachments.iter().find(|one| one.number == number);
    let found = found.ok_or_else(calendar::not_found)?;
    Ok(asked.answer(StatusCode::OK, asked.frame().attachment(found)))
}

async fn detach(asked: Asked) -> Result<StatusCode, ODataError> {
    let number = attachment_number(&asked)?;
    let mut calendars = asked.writer()?;
    let target = asked.target(&calendars)?;
    calendars.detach(&target, number)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn calendars(asked: Asked) -> Response {
    let all = asked.calendars().calendars();
    let frame = asked.frame();
    let all = all.iter().map(|calendar| frame.calendar(calendar)).collect();
    asked.answer(StatusCode::OK, collection(all, None, None))
}

async fn show_calendar(asked: Asked) -> Result<Response, ODataError> {
    let calendars = asked.calendars();
    let number = asked.calendar(&calendars)?;
    let all = calendars.calendars();
    drop(calendars);
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
