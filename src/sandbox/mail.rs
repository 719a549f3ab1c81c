//! Graph's mail: `/me`, `/users/{id}` and sendMail, as JSON and as base64 MIME.
//!
//! Source: Graph v1.0 "user: sendMail", "get a user", "send mail from another user", Exchange Online
//! limits. It checks, then acts: a request is refused before anything is changed, or it has its whole
//! effect at once. It must answer nothing but 202 to a mail that goes.

use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::attachment::Posted;
use super::ledger::Via;
use super::mail_error::{
    bad_mime, broken, explained, not_json, too_large, undeserialisable, unfit, unserialisable,
};
use super::mailbox::{Folder, Stage};
use super::message::SendMail;
use super::mime::Submitted;
use super::odata::{self, ODataError};
use super::schema::{self, Body};
use super::transport::{Fresh, Sender, Submission, deliver, delivered};
use super::user;
use super::world::{OversizeMime, Switches, World};

/// Graph's REST request limit.
pub(super) const BODY_OCTETS_MAX: usize = 4 * 1024 * 1024;
/// What is read of a body that is too large, so that its client gets an answer and no reset. The
/// journal has read it by then, within the same bound.
const BODY_OCTETS_READ: usize = 8 * 1024 * 1024;

pub fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/v1.0/me", get(user::me).fallback(wrong_method))
        .route("/v1.0/users/{id}", get(user::by_id).fallback(wrong_method))
        .route("/v1.0/me/sendMail", post(send_as_me).fallback(wrong_method))
        .route("/v1.0/users/{id}/sendMail", post(send_as_user).fallback(wrong_method))
        .layer(middleware::from_fn(odata::finish))
}

pub(super) async fn wrong_method() -> ODataError {
    let text = "Specified HTTP method is not allowed for the request target.";
    ODataError::new(StatusCode::METHOD_NOT_ALLOWED, "BadRequest", text)
}

async fn send_as_me(State(world): State<Arc<World>>, request: Request) -> Response {
    send(&world, None, request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn send_as_user(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    send(&world, Some(id), request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn send(
    world: &World,
    mailbox: Option<String>,
    request: Request,
) -> Result<Response, ODataError> {
    let caller = user::caller(world, request.headers())?;
    let own = user::of(world, &caller)?;
    if !caller.may("Mail.Send") && !caller.may("Mail.Send.Shared") {
        return Err(ODataError::access_denied());
    }
    let mailbox = match mailbox {
        Some(key) => user::named(world, &key)?,
        None => own,
    };
    let sender = Sender { caller: &caller, own, mailbox };
    sender.check_access()?;

    let kind = media_type(request.headers());
    let switches = world.switches().clone();
    let body = to_bytes(request.into_body(), BODY_OCTETS_READ).await;
    let body = body.map_err(|_| too_large(&kind))?;
    if body.len() > BODY_OCTETS_MAX {
        return Err(too_large(&kind));
    }
    let outcome = match kind.as_str() {
        "text/plain" => send_mime(world, &sender, &switches, &body),
        "application/json" => send_json(world, &sender, &switches, &body),
        _ => Err(not_json()),
    };
    outcome.map(|status| accepted(status, &switches))
}

/// 202 and an empty body: accepted, not delivered.
pub(super) fn accepted(status: StatusCode, switches: &Switches) -> Response {
    let mut response = status.into_response();
    if switches.retry_after_on_202 && status == StatusCode::ACCEPTED {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

pub(super) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn send_mime(
    world: &World,
    sender: &Sender<'_>,
    switches: &Switches,
    body: &[u8],
) -> Result<StatusCode, ODataError> {
    let octets = decoded(body)?;
    if octets.len() > switches.mime_octets_max {
        return match switches.oversize_mime {
            OversizeMime::Status413 => Err(too_large("text/plain")),
            // Reported once: success, and nothing sent.
            OversizeMime::Status200NothingSent => Ok(StatusCode::OK),
        };
    }
    let mail = Submitted::read(&octets).map_err(unfit)?;
    let fresh = Fresh::new(world, sender.mailbox);
    // A MIME submission has no say in where its copy goes.
    submit(world, sender, switches, Submission { mail, via: Via::Mime, fresh }, true)
}

/// A mail in base64. The documented sample wraps its lines; nothing else may stand between the
/// characters.
pub(super) fn decoded(body: &[u8]) -> Result<Vec<u8>, ODataError> {
    let text: Vec<u8> = body.iter().copied().filter(|b| !b" \t\r\n".contains(b)).collect();
    STANDARD.decode(&text).map_err(|_| bad_mime("Invalid base64 string for MIME content."))
}

fn send_json(
    world: &World,
    sender: &Sender<'_>,
    switches: &Switches,
    body: &[u8],
) -> Result<StatusCode, ODataError> {
    let mut value: Value =
        serde_json::from_slice(body).map_err(|error| undeserialisable(&error))?;
    let violations = schema::check(Body::SendMail, &mut value).map_err(broken)?;
    if let Some(error) = explained(&violations, &value) {
        return Err(error);
    }
    let fresh = Fresh::new(world, sender.mailbox);
    let mut attachments = Vec::new();
    if let Some(message) = value.get_mut("message").and_then(Value::as_object_mut) {
        let posted = Posted::take_all(message)?.into_iter();
        attachments = posted.map(|one| one.numbered(0, fresh.now)).collect();
    }
    let SendMail { message, save_to_sent_items: save } =
        serde_json::from_value(value).map_err(|error| undeserialisable(&error))?;
    let octets = message.to_mime(&sender.stamp(&fresh), &attachments).map_err(unserialisable)?;
    let mail = Submitted::read(&octets).map_err(unfit)?;
    submit(world, sender, switches, Submission { mail, via: Via::Json, fresh }, save)
}

/// Delivers, and keeps a copy in Sent Items if `save`. It lies there at once.
fn submit(
    world: &World,
    sender: &Sender<'_>,
    switches: &Switches,
    submission: Submission<'_>,
    save: bool,
) -> Result<StatusCode, ODataError> {
    let mut book = world.mail.book(world);
    let copy = deliver(world, &mut book, sender, switches, submission)?;
    if save {
        book.add(delivered(sender.mailbox, Folder::SENT_ITEMS, Stage::Sent, &copy));
    }
    Ok(StatusCode::ACCEPTED)
}
