//! Graph's mail: `/me`, `/users/{id}` and sendMail, as JSON and as base64 MIME.
//!
//! Source: Graph v1.0 "user: sendMail", "get a user", "send mail from another user", Exchange Online
//! limits. It checks, then acts: a request is refused before anything is changed, or it has its whole
//! effect at once. It must answer nothing but 202 to a mail that goes.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
use jiff::Timestamp;
use uuid::Uuid;

use super::identity::Caller;
use super::ledger::{Message, Via};
use super::message::{self, SendMail, Stamp};
use super::mime::{self, Edits, Submitted};
use super::odata::{self, ODataError};
use super::schema::{self, Body, Violation};
use super::user;
use super::world::{OversizeMime, Switches, User, World};

/// Graph's REST request limit.
const BODY_OCTETS_MAX: usize = 4 * 1024 * 1024;
/// What is read of a body that is too large, so that its client gets an answer and no reset. The
/// journal has read it by then, within the same bound.
const BODY_OCTETS_READ: usize = 8 * 1024 * 1024;

/// The mailboxes: which copies of the ledger lie in which folder. Drafts come later.
#[derive(Debug, Default)]
pub struct Mail {
    mailboxes: Mutex<HashMap<Uuid, Mailbox>>,
}

/// One mailbox. Its items are sequence numbers of the ledger.
#[derive(Debug, Default, Clone)]
pub struct Mailbox {
    pub inbox: Vec<u64>,
    /// The first copy stands for the mail.
    pub sent_items: Vec<u64>,
    /// Names of custom header fields that the mailbox has a property for, in lower case.
    known_x_headers: HashSet<String>,
}

impl Mail {
    /// The mailbox of a user by object id, empty if nothing ever came or went.
    pub fn mailbox(&self, user: Uuid) -> Mailbox {
        self.mailboxes().get(&user).cloned().unwrap_or_default()
    }

    pub fn clear(&self) {
        self.mailboxes().clear();
    }

    fn mailboxes(&self) -> MutexGuard<'_, HashMap<Uuid, Mailbox>> {
        self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/v1.0/me", get(user::me).fallback(wrong_method))
        .route("/v1.0/users/{id}", get(user::by_id).fallback(wrong_method))
        .route("/v1.0/me/sendMail", post(send_as_me).fallback(wrong_method))
        .route("/v1.0/users/{id}/sendMail", post(send_as_user).fallback(wrong_method))
        .layer(middleware::from_fn(odata::finish))
}

async fn wrong_method() -> ODataError {
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
        _ => Err(ODataError::bad_request(
            "BadRequest",
            "Entity only allows writes with a JSON Content-Type header.",
        )),
    };
    outcome.map(|status| accepted(status, &switches))
}

/// 202 and an empty body: accepted, not delivered.
fn accepted(status: StatusCode, switches: &Switches) -> Response {
    let mut response = status.into_response();
    if switches.retry_after_on_202 && status == StatusCode::ACCEPTED {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Reported: the two ways of sending say it differently.
fn too_large(media_type: &str) -> ODataError {
    if media_type == "application/json" {
        let text = "The maximum request length supported is 4MB.";
        return ODataError::bad_request("BadRequest", text);
    }
    let status = StatusCode::PAYLOAD_TOO_LARGE;
    ODataError::new(status, "RequestEntityTooLarge", "Request Entity Too Large")
}

/// Who sends, from which mailbox.
struct Sender<'a> {
    caller: &'a Caller,
    own: &'a User,
    mailbox: &'a User,
}

impl<'a> Sender<'a> {
    fn stamp<'f>(&self, fresh: &'f Fresh) -> Stamp<'f>
    where
        'a: 'f,
    {
        let mailbox = &self.mailbox.address;
        Stamp { mailbox, message_id: &fresh.message_id, date: &fresh.date }
    }

    /// `/users/{id}` of somebody else is open to those who may send as them.
    fn check_access(&self) -> Result<(), ODataError> {
        let own = self.own.object_id == self.mailbox.object_id;
        let shared = self.caller.may("Mail.Send.Shared");
        if own || (shared && lists(&self.own.send_as, &self.mailbox.address)) {
            Ok(())
        } else {
            Err(ODataError::access_denied())
        }
    }

    /// From must be an address of the mailbox, or one that the user has Send As on and the
    /// application the permission for.
    fn check_from(&self, from: &[String]) -> Result<(), ODataError> {
        let shared = self.caller.may("Mail.Send.Shared");
        let may = |address: &String| {
            let of = |user: &User| {
                user.address.eq_ignore_ascii_case(address) || lists(&user.aliases, address)
            };
            of(self.mailbox) || of(self.own) || (shared && lists(&self.own.send_as, address))
        };
        if from.iter().all(may) { Ok(()) } else { Err(send_as_denied()) }
    }
}

fn lists(addresses: &[String], address: &str) -> bool {
    addresses.iter().any(|known| known.eq_ignore_ascii_case(address))
}

fn send_as_denied() -> ODataError {
    ODataError::forbidden(
        "ErrorSendAsDenied",
        "The user account which was used to submit this request does not have the right to send \
         mail on behalf of the specified sending account. Cannot submit message.",
    )
}

fn send_mime(
    world: &World,
    sender: &Sender<'_>,
    switches: &Switches,
    body: &[u8],
) -> Result<StatusCode, ODataError> {
    // The documented sample wraps its lines; nothing else may stand between the characters.
    let text: Vec<u8> = body.iter().copied().filter(|b| !b" \t\r\n".contains(b)).collect();
    let octets =
        STANDARD.decode(&text).map_err(|_| bad_mime("Invalid base64 string for MIME content."))?;
    if octets.len() > switches.mime_octets_max {
        return match switches.oversize_mime {
            OversizeMime::Status413 => Err(too_large("text/plain")),
            // Reported once: success, and nothing sent.
            OversizeMime::Status200NothingSent => Ok(StatusCode::OK),
        };
    }
    let mail = Submitted::read(&octets).map_err(unfit)?;
    let fresh = Fresh::new(world, sender.mailbox);
    let submission = Submission { mail, via: Via::Mime, save: true, fresh };
    deliver(world, sender, switches, submission)
}

fn send_json(
    world: &World,
    sender: &Sender<'_>,
    switches: &Switches,
    body: &[u8],
) -> Result<StatusCode, ODataError> {
    let mut value = serde_json::from_slice(body).map_err(|error| undeserialisable(&error))?;
    let violations = schema::check(Body::SendMail, &mut value).map_err(broken)?;
    if let Some(error) = explained(&violations, &value) {
        return Err(error);
    }
    let fresh = Fresh::new(world, sender.mailbox);
    let SendMail { message, save_to_sent_items: save } =
        serde_json::from_value(value).map_err(|error| undeserialisable(&error))?;
    let octets = message.to_mime(&sender.stamp(&fresh)).map_err(unserialisable)?;
    let mail = Submitted::read(&octets).map_err(unfit)?;
    deliver(world, sender, switches, Submission { mail, via: Via::Json, save, fresh })
}

/// A mail that has been read, by either way.
struct Submission<'a> {
    mail: Submitted<'a>,
    via: Via,
    /// Whether a copy goes to Sent Items; a MIME submission has no say.
    save: bool,
    fresh: Fresh,
}

/// What is new on each mail.
struct Fresh {
    now: Timestamp,
    message_id: String,
    date: String,
}

impl Fresh {
    fn new(world: &World, mailbox: &User) -> Fresh {
        let now = world.clock.now();
        let domain = mailbox.address.rsplit('@').next().unwrap_or("localhost");
        let message_id = format!("<{}@{domain}>", Uuid::new_v4().simple());
        Fresh { now, message_id, date: now.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string() }
    }
}

/// The effect: rows in the ledger, copies in inboxes, the sender's own in Sent Items.
fn deliver(
    world: &World,
    sender: &Sender<'_>,
    switches: &Switches,
    submission: Submission<'_>,
) -> Result<StatusCode, ODataError> {
    let Submission { mail, via, save, fresh } = submission;
    sender.check_from(&mail.from)?;
    let User { address, display_name, object_id, .. } = sender.mailbox;
    let kept = mail.message_id().filter(|_| switches.keep_message_id);

    let mut mailboxes = world.mail.mailboxes();
    let known = &mut mailboxes.entry(*object_id).or_default().known_x_headers;
    // Reported: a JSON message makes the mailbox know the name of a header field from then on.
    if via == Via::Json {
        known.extend(mail.x_headers());
    }
    let edits = Edits {
        mailbox: address,
        display_name,
        message_id: &fresh.message_id,
        keep_message_id: switches.keep_message_id,
        date: &fresh.date,
        known_x_headers: switches.lose_x_headers.then_some(&*known),
    };
    let message = Message {
        mailbox: address.clone(),
        from: mail.from.first().unwrap_or(address).clone(),
        message_id: kept.unwrap_or_else(|| fresh.message_id.clone()),
        subject: mail.subject(),
        via,
        sent_at: fresh.now,
        raw: mail.delivered(&edits),
    };
    let recipients = mail.recipients.clone();
    let copies = world.ledger.enter(message, recipients).map_err(|full| {
        let status = StatusCode::INSUFFICIENT_STORAGE;
        ODataError::new(status, "ErrorQuotaExceeded", full.to_string())
    })?;
    for (recipient, seq) in mail.recipients.iter().zip(&copies) {
        if let Some(user) = world.user(recipient) {
            mailboxes.entry(user.object_id).or_default().inbox.push(*seq);
        }
    }
    if let Some(first) = copies.first().filter(|_| save) {
        mailboxes.entry(*object_id).or_default().sent_items.push(*first);
    }
    Ok(StatusCode::ACCEPTED)
}

fn bad_mime(text: impl Into<std::borrow::Cow<'static, str>>) -> ODataError {
    ODataError::bad_request("ErrorMimeContentInvalidBase64String", text)
}

fn unfit(unfit: mime::Unfit) -> ODataError {
    match unfit {
        mime::Unfit::Malformed(why) => bad_mime(format!("Invalid MIME content: {why}.")),
        mime::Unfit::NotResolved(why) => not_resolved(&why.0),
        mime::Unfit::NoRecipient => ODataError::bad_request(
            "ErrorInvalidRecipients",
            "At least one recipient is not valid., A message can't be sent because it contains no \
             recipients.",
        ),
        mime::Unfit::TooManyRecipients(count) => too_many_recipients(count),
    }
}

fn not_resolved(text: &str) -> ODataError {
    ODataError::bad_request(
        "ErrorInvalidRecipients",
        format!(
            "At least one recipient is not valid., Recipient '{text}' is not resolved. All \
             recipients must be resolved before a message can be submitted."
        ),
    )
}

fn too_many_recipients(count: usize) -> ODataError {
    let max = mime::RECIPIENTS_MAX;
    let text = format!("At least one recipient is not valid., {count} recipients, {max} allowed.");
    ODataError::bad_request("ErrorInvalidRecipients", text)
}

fn unserialisable(unfit: message::Unfit) -> ODataError {
    match unfit {
        message::Unfit::Body(why) => undeserialisable(&why),
        message::Unfit::HeaderName(name) => bad_header_name(&name),
        message::Unfit::NotResolved(text) => not_resolved(&text),
        message::Unfit::NotBuilt(_) => {
            ODataError::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", unfit.to_string())
        }
    }
}

fn bad_header_name(name: &str) -> ODataError {
    let text = format!("The internet message header name '{name}' should start with 'x-' or 'X-'.");
    ODataError::bad_request("InvalidInternetMessageHeader", text)
}

fn undeserialisable(why: &dyn std::fmt::Display) -> ODataError {
    let text = format!("were unable to deserialize: {why}");
    ODataError::bad_request("UnableToDeserializePostBody", text)
}

fn broken(broken: &schema::BrokenSchema) -> ODataError {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    ODataError::new(status, "ErrorInternalServerError", broken.to_string())
}

/// Graph's error for a body that departs from its schema: the constraints that have codes of their
/// own come into play only once the body can be deserialised.
fn explained(violations: &[Violation], body: &serde_json::Value) -> Option<ODataError> {
    let text = |path: &str| body.pointer(path).and_then(|v| v.as_str()).unwrap_or_default();
    let with_its_own_code = |violation: &Violation| {
        let Violation { path, keyword, .. } = violation;
        let headers = path.starts_with("/message/internetMessageHeaders");
        match keyword.as_str() {
            "maxItems" if headers => Some(ODataError::bad_request(
                "InvalidInternetMessageHeaderCollection",
                "The internet message header collection has more than 5 headers.",
            )),
            "pattern" if headers => Some(bad_header_name(text(path))),
            "maxItems" if path.ends_with("Recipients") => {
                let count = body.pointer(path).and_then(|v| v.as_array()).map_or(0, Vec::len);
                Some(too_many_recipients(count))
            }
            "pattern" | "minLength" if path.ends_with("/emailAddress/address") => {
                Some(not_resolved(text(path)))
            }
            _ => None,
        }
    };
    let shapeless = violations.iter().find(|v| with_its_own_code(v).is_none());
    match shapeless {
        Some(Violation { path, text, .. }) => Some(undeserialisable(&format!("{path}: {text}"))),
        None => violations.iter().find_map(with_its_own_code),
    }
}
