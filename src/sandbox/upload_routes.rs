//! Upload sessions over HTTP: createUploadSession, and the URL that it hands out.
//!
//! Source: Graph "attachment: createUploadSession". The URL belongs to another host than Graph at
//! Microsoft and to none of its versions; it is taken without a token, and better so.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, CONTENT_RANGE, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{post, put};
use axum::{Json, Router, middleware};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::calendar::not_found;
use super::calendar_changes::Locked;
use super::calendar_request::{self, parameters};
use super::drafts;
use super::event::Unfit;
use super::identity::BearerProblem;
use super::item_id::{IdForm, ItemId};
use super::mail::wrong_method;
use super::mail_error::message_too_large;
use super::mail_request::Asked;
use super::odata::{self, ODataError};
use super::request::Origin;
use super::schema::Body;
use super::throttle;
use super::upload::{Arrived, Range, Target};
use super::user;
use super::world::{UploadWithAuthorization, User, World};

/// Where sessions live, below which nothing but uploads is.
pub const PREFIX: &str = "/api/v2.0/";

pub fn router() -> Router<Arc<World>> {
    let mut router = Router::new();
    for mailbox in ["/v1.0/me", "/v1.0/users/{id}"] {
        for container in ["", "/mailFolders/{folder}"] {
            let one = format!("{mailbox}{container}/messages/{{message}}");
            let path = format!("{one}/attachments/createUploadSession");
            router = router.route(&path, post(begin_of_message));
        }
        for container in ["", "/calendar", "/calendars/{calendar}"] {
            let one = format!("{mailbox}{container}/events/{{event}}");
            let path = format!("{one}/attachments/createUploadSession");
            router = router.route(&path, post(begin_of_event));
        }
    }
    let session = format!("{PREFIX}Users/{{user}}/AttachmentSessions/{{session}}");
    router = router.route(&session, put(receive).get(show).delete(cancel));
    router.layer(middleware::from_fn(odata::finish))
}

async fn begin_of_message(asked: Asked, octets: Bytes) -> Result<Response, ODataError> {
    let item = attachment_item(asked.body(Body::UploadSession, &octets)?);
    let number = {
        let book = asked.writer()?;
        let message = asked.item(&book)?;
        drafts::editable(&message)?;
        let size = item.get("size").and_then(Value::as_u64).unwrap_or_default();
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if message.octets.saturating_add(size) > asked.switches.message_octets_max {
            return Err(message_too_large());
        }
        message.number
    };
    let target = Target::Message(number);
    begin(&asked.world, &asked.owner, &asked.caller.application, &asked.origin, target, &item)
}

async fn begin_of_event(
    asked: calendar_request::Asked,
    Origin(origin): Origin,
    headers: HeaderMap,
    octets: Bytes,
) -> Result<Response, ODataError> {
    let item = attachment_item(asked.body(Body::UploadSession, &octets)?);
    let event = {
        let calendars = asked.writer()?;
        asked.target(&calendars)?.id(IdForm::Immutable)
    };
    let application = user::caller(&asked.world, &headers)?.application;
    begin(&asked.world, &asked.owner, &application, &origin, Target::Event(event), &item)
}

fn attachment_item(mut body: Map<String, Value>) -> Map<String, Value> {
    match body.remove("AttachmentItem") {
        Some(Value::Object(item)) => item,
        _ => Map::new(),
    }
}

fn begin(
    world: &World,
    owner: &User,
    application: &str,
    origin: &str,
    target: Target,
    item: &Map<String, Value>,
) -> Result<Response, ODataError> {
    let switches = world.switches().clone();
    let now = world.clock.now();
    let begun = world.uploads.begin(owner.object_id, application, target, item, now, &switches);
    let (key, expires) = begun?;
    let path = format!("{PREFIX}Users/{}/AttachmentSessions/{key}", owner.object_id);
    let body = json!({
        "@odata.context": "$metadata#microsoft.graph.uploadSession",
        "uploadUrl": format!("{origin}{path}?{}", auth_token(key)),
        "expirationDateTime": expires.to_string(),
        "nextExpectedRanges": ["0-"],
    });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// A session, by the URL that was handed out for it.
struct Opened {
    world: Arc<World>,
    key: Uuid,
    owner: User,
    application: String,
}

impl FromRequestParts<Arc<World>> for Opened {
    type Rejection = ODataError;

    async fn from_request_parts(
        parts: &mut Parts,
        world: &Arc<World>,
    ) -> Result<Opened, ODataError> {
        let unauthorized =
            |text| ODataError::new(StatusCode::UNAUTHORIZED, BearerProblem::CODE, text);
        if parts.headers.contains_key(AUTHORIZATION) {
            match world.switches().upload_with_authorization {
                UploadWithAuthorization::Status401 => {
                    return Err(unauthorized("The audience claim value is invalid."));
                }
                UploadWithAuthorization::Status400 => {
                    let text = "An upload takes no Authorization header.";
                    return Err(ODataError::bad_request("BadRequest", text));
                }
                UploadWithAuthorization::Taken => {}
            }
        }
        let parameters = parameters(parts, world).await;
        let parameter = |name: &str| parameters.get(name).map(String::as_str).unwrap_or_default();
        let key: Uuid = parameter("session").parse().map_err(|_| not_found())?;
        if parts.uri.query() != Some(auth_token(key).as_str()) {
            return Err(unauthorized("The upload URL is not the one that was handed out."));
        }
        let (owner, application) = world.uploads.of(key, world.clock.now())?;
        let user = world.user(parameter("user")).filter(|user| user.object_id == owner);
        let owner = user.cloned().ok_or_else(not_found)?;
        Ok(Opened { world: Arc::clone(world), key, owner, application })
    }
}

/// Whose session a path names, if it names one; its URL shows no other token.
pub(super) fn owner(path: &str) -> Option<Uuid> {
    path.strip_prefix(PREFIX)?.strip_prefix("Users/")?.split('/').next()?.parse().ok()
}

/// The query of a session's URL. The URL is opaque to a client, and changed it is nobody's.
fn auth_token(key: Uuid) -> String {
    format!("authtoken={}", Uuid::new_v5(&key, b"authtoken").simple())
}

async fn receive(
    Opened { world, key, owner, application }: Opened,
    Origin(origin): Origin,
    headers: HeaderMap,
    piece: Bytes,
) -> Result<Response, ODataError> {
    throttle::admit_octets(&world, &application, owner.object_id, piece.len())?;
    let range = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let range = range.and_then(Range::read).ok_or_else(|| {
        let text = "Content-Range is missing or is none.";
        ODataError::bad_request("ErrorInvalidRequest", text)
    })?;
    let switches = world.switches().clone();
    let (target, posted) =
        match world.uploads.put(key, range, &piece, world.clock.now(), &switches)? {
            Arrived::More(progress) => return Ok(Json(progress).into_response()),
            Arrived::Whole(target, posted) => (target, posted),
        };
    let (items, id, attachment) = match target {
        Target::Message(number) => {
            let mut book = world.mail.book(&world);
            let attached = drafts::attach(&world, &mut book, number, posted)?;
            let message = book.items.get(&number).ok_or_else(not_found)?;
            ("Messages", message.id(IdForm::Default), attached)
        }
        Target::Event(id) => {
            let mut calendars = Locked::new(&world, &owner);
            let target = calendars.find(&id)?;
            ("Events", id, calendars.attach(&target, posted)?)
        }
    };
    let mailbox = owner.object_id;
    let attachment = ItemId::of(mailbox, attachment.number);
    let attachment = attachment.text(IdForm::Default);
    let location =
        format!("{origin}{PREFIX}Users('{mailbox}')/{items}('{id}')/Attachments('{attachment}')");
    let location = HeaderValue::from_str(&location).map_err(Unfit::shape)?;
    Ok((StatusCode::CREATED, [(LOCATION, location)]).into_response())
}

async fn show(Opened { world, key, .. }: Opened) -> Result<Json<Value>, ODataError> {
    let (readable, form) = {
        let switches = world.switches();
        (switches.upload_readable, switches.upload_progress)
    };
    if !readable {
        return Err(wrong_method().await);
    }
    world.uploads.show(key, world.clock.now(), form).map(Json)
}

async fn cancel(Opened { world, key, .. }: Opened) -> Result<StatusCode, ODataError> {
    world.uploads.cancel(key, world.clock.now())?;
    Ok(StatusCode::NO_CONTENT)
}
