//! What each request does to a mail in a mailbox: create, update, attach, send, delete.
//!
//! Source: Graph "create message", "update message", "message: send", "add attachment", "delete
//! message". A request is checked, then has its whole effect under one lock. Only a draft can be
//! edited, and a draft leaves once, unless a switch says otherwise.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::attachment::{Attachment, Posted};
use super::calendar::not_found;
use super::event::ExtendedProperty;
use super::ledger::Via;
use super::mail::{BODY_OCTETS_MAX, decoded};
use super::mail_error::{
    bad_mime, message_too_large, too_large, undeserialisable, unfit, unserialisable,
};
use super::mail_request::Asked;
use super::mailbox::{Book, Content, Folder, INTERNET_MESSAGE_ID, Item, NewItem, Stage};
use super::message::{Message, Stamp};
use super::mime::Submitted;
use super::mime_patch;
use super::odata::ODataError;
use super::parsed;
use super::schema::Body;
use super::transport::{Fresh, Submission, deliver};
use super::world::{MimeDraftPatch, SecondSend, World};

/// What stays in the mailbox: it can be set on any mail, whatever it was made from.
const LOCAL: [&str; 4] = ["categories", "flag", "inferenceClassification", "isRead"];

/// `POST /me/messages`, or into a folder.
pub(super) fn create(
    asked: &Asked,
    folder: Option<&str>,
    octets: &Bytes,
) -> Result<Arc<Item>, ODataError> {
    drop(asked.writer()?);
    let new = match asked.media_type.as_str() {
        // Reported: MIME is taken at /messages only.
        "text/plain" if folder.is_none() || asked.switches.mime_in_folder => {
            from_mime(asked, octets)?
        }
        "text/plain" => return Err(undeserialisable(&"MIME is not taken here")),
        _ => from_json(asked, octets)?,
    };
    let (mut new, posted) = new;
    let attached: usize = posted.iter().map(|one| one.bytes.len()).sum();
    let mut book = asked.book();
    if let Some(key) = folder {
        new.folder = book.folder(asked.owner.object_id, key)?;
    }
    book.room(octets.len().saturating_add(attached))?;
    let now = new.at;
    let item = book.add(new);
    if posted.is_empty() {
        return Ok(item);
    }
    let numbered = posted.into_iter().map(|one| one.numbered(book.number(), now));
    let numbered: Vec<Attachment> = numbered.collect();
    book.change(item.number, now, |item| item.attachments = numbered)
}

fn from_json(asked: &Asked, octets: &Bytes) -> Result<(NewItem, Vec<Posted>), ODataError> {
    let mut body = asked.body(Body::DraftCreate, octets)?;
    let posted = Posted::take_all(&mut body)?;
    let extended = take_extended(&mut body);
    let fresh = Fresh::new(&asked.world, &asked.owner);
    let given = body.remove("internetMessageId");
    let given = given.as_ref().and_then(Value::as_str).filter(|id| !id.is_empty());
    let tagged = extended.iter().find(|one| one.id.eq_ignore_ascii_case(INTERNET_MESSAGE_ID));
    let given = given.or(tagged.map(|one| one.value.as_str()));
    let given = given.filter(|_| asked.switches.keep_message_id).map(str::to_owned);
    drop_what_is_not_kept(&mut body);
    let new = NewItem {
        owner: asked.owner.object_id,
        folder: Folder::DRAFTS,
        stage: Stage::Draft,
        internet_message_id: given.unwrap_or_else(|| fresh.message_id.clone()),
        content: Content::Json(body),
        extended,
        at: fresh.now,
        seq: None,
    };
    // What could never be sent is refused at once.
    if let Content::Json(properties) = &new.content {
        let sender = asked.sender();
        let stamp = sender.stamp(&fresh);
        serialised(properties, &new.internet_message_id, &new.extended, &[], &stamp)?;
    }
    Ok((new, posted))
}

fn from_mime(asked: &Asked, octets: &Bytes) -> Result<(NewItem, Vec<Posted>), ODataError> {
    if octets.len() > BODY_OCTETS_MAX {
        return Err(too_large("text/plain"));
    }
    let raw = decoded(octets)?;
    if raw.len() > asked.switches.mime_octets_max {
        return Err(too_large("text/plain"));
    }
    let malformed = |why| bad_mime(format!("Invalid MIME content: {why}."));
    super::header::check_octets(&raw).map_err(malformed)?;
    let sections = super::header::split(&raw).map_err(malformed)?;
    let field = sections.fields.iter().find(|field| field.is("Message-ID"));
    let given = field.map(|field| field.text()).filter(|id| !id.is_empty());
    let fresh = Fresh::new(&asked.world, &asked.owner);
    let posted = parsed::read(&raw).attachments;
    let new = NewItem {
        owner: asked.owner.object_id,
        folder: Folder::DRAFTS,
        stage: Stage::Draft,
        internet_message_id: given
            .filter(|_| asked.switches.keep_message_id)
            .unwrap_or(fresh.message_id),
        content: Content::Mime(raw.into()),
        extended: Vec::new(),
        at: fresh.now,
        seq: None,
    };
    Ok((new, posted))
}

fn take_extended(body: &mut Map<String, Value>) -> Vec<ExtendedProperty> {
    let given = body.remove("singleValueExtendedProperties");
    let all = given.as_ref().and_then(Value::as_array).into_iter().flatten();
    let text = |one: &Value, name: &str| {
        one.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    all.map(|one| ExtendedProperty { id: text(one, "id"), value: text(one, "value") }).collect()
}

fn drop_what_is_not_kept(body: &mut Map<String, Value>) {
    for name in ["@odata.type", "extensions", "multiValueExtendedProperties"] {
        body.remove(name);
    }
}

/// The MIME that Exchange makes of a message resource.
fn serialised(
    properties: &Map<String, Value>,
    internet_message_id: &str,
    extended: &[ExtendedProperty],
    attachments: &[Attachment],
    stamp: &Stamp<'_>,
) -> Result<Vec<u8>, ODataError> {
    let mut resource = properties.clone();
    resource.insert("internetMessageId".to_owned(), internet_message_id.into());
    let extended = extended.iter().map(|one| json!({"id": one.id, "value": one.value}));
    resource.insert("singleValueExtendedProperties".to_owned(), extended.collect());
    let message: Message = serde_json::from_value(Value::Object(resource))
        .map_err(|error| undeserialisable(&error))?;
    message.to_mime(stamp, attachments).map_err(unserialisable)
}

/// `PATCH /me/messages/{id}`
pub(super) fn update(asked: &Asked, octets: &Bytes) -> Result<Arc<Item>, ODataError> {
    let mut body = asked.body(Body::MessagePatch, octets)?;
    let extended = take_extended(&mut body);
    drop_what_is_not_kept(&mut body);
    if body.contains_key("attachments") {
        let text = "Attachments are added at their own segment.";
        return Err(ODataError::bad_request("ErrorInvalidRequest", text));
    }
    let mut book = asked.writer()?;
    let item = asked.item(&book)?;
    asked.check_match(&item)?;
    let is_local = |name: &str| LOCAL.contains(&name);
    let edits = body.keys().any(|name| !is_local(name));
    if edits && item.stage != Stage::Draft {
        let text = "Update operation is invalid for property of a message that was sent.";
        return Err(ODataError::bad_request("ErrorInvalidPropertyUpdateSentMessage", text));
    }
    let mut changed = Item::clone(&item);
    if let (true, Content::Mime(raw)) = (edits, &item.content) {
        match asked.switches.mime_draft_patch {
            MimeDraftPatch::Refused => may_reserialise(false)?,
            MimeDraftPatch::Reserialised => reserialise(&mut changed),
            MimeDraftPatch::KeepsMime => {
                let edited = mime_patch::edited(raw, &mut body).map_err(unserialisable)?;
                changed.content = Content::Mime(edited.into());
                may_reserialise(body.keys().all(|name| is_local(name)))?;
            }
        }
    }
    book.room(octets.len())?;
    let given = body.remove("internetMessageId").filter(|_| asked.switches.keep_message_id);
    if let Some(id) = given.as_ref().and_then(Value::as_str).filter(|id| !id.is_empty()) {
        id.clone_into(&mut changed.internet_message_id);
    }
    for (name, value) in body {
        match &mut changed.content {
            Content::Json(properties) if !is_local(&name) => properties.insert(name, value),
            _ => changed.local.insert(name, value),
        };
    }
    changed.set_extended(extended, asked.switches.keep_message_id);
    if let Content::Json(properties) = &changed.content {
        let fresh = Fresh::new(&asked.world, &asked.owner);
        let sender = asked.sender();
        let stamp = sender.stamp(&fresh);
        let id = &changed.internet_message_id;
        serialised(properties, id, &changed.extended, &[], &stamp)?;
    }
    book.change(item.number, asked.world.clock.now(), |item| *item = changed)
}

fn may_reserialise(allowed: bool) -> Result<(), ODataError> {
    if allowed {
        return Ok(());
    }
    let text = "The properties of a message that was created from MIME cannot be changed.";
    Err(ODataError::bad_request("ErrorInvalidRequest", text))
}

/// From now on the mail is made of its properties.
fn reserialise(item: &mut Item) {
    if let Content::Mime(octets) = &item.content {
        let mut properties = parsed::read(octets).properties;
        // Of header fields only custom ones have a place in a message resource, and five of them.
        if let Some(Value::Array(headers)) = properties.get_mut("internetMessageHeaders") {
            let name = |one: &Value| one["name"].as_str().unwrap_or_default().to_ascii_lowercase();
            headers.retain(|one| name(one).starts_with("x-"));
            headers.truncate(5);
        }
        item.content = Content::Json(properties);
    }
}

/// `POST /me/messages/{id}/attachments`, or the end of an upload. The item is named by its number:
/// an upload has no id form.
pub(super) fn attach(
    world: &World,
    book: &mut Book,
    number: u64,
    posted: Posted,
) -> Result<Attachment, ODataError> {
    let (max, allowed) = {
        let switches = world.switches();
        (switches.message_octets_max, switches.mime_draft_takes_attachments)
    };
    let item = book.items.get(&number).cloned().ok_or_else(not_found)?;
    editable(&item)?;
    if matches!(item.content, Content::Mime(_)) {
        may_reserialise(allowed)?;
    }
    if item.octets.saturating_add(posted.bytes.len()) > max {
        return Err(message_too_large());
    }
    book.room(posted.bytes.len())?;
    let now = world.clock.now();
    let attachment = posted.numbered(book.number(), now);
    let attached = attachment.clone();
    book.change(number, now, |item| {
        reserialise(item);
        item.attachments.push(attached);
    })?;
    Ok(attachment)
}

pub(super) fn editable(item: &Item) -> Result<(), ODataError> {
    if item.stage == Stage::Draft {
        return Ok(());
    }
    let text = "Update operation is invalid for a message that was sent.";
    Err(ODataError::bad_request("ErrorInvalidPropertyUpdateSentMessage", text))
}

pub(super) fn detach(asked: &Asked, number: u64) -> Result<(), ODataError> {
    let mut book = asked.writer()?;
    let item = asked.item(&book)?;
    editable(&item)?;
    if !item.attachments.iter().any(|one| one.number == number) {
        return Err(not_found());
    }
    if matches!(item.content, Content::Mime(_)) {
        may_reserialise(asked.switches.mime_draft_takes_attachments)?;
    }
    book.change(item.number, asked.world.clock.now(), |item| {
        reserialise(item);
        item.attachments.retain(|one| one.number != number);
    })?;
    Ok(())
}

/// `DELETE /me/messages/{id}`: into Deleted Items, and out of there for good.
pub(super) fn remove(asked: &Asked) -> Result<(), ODataError> {
    let mut book = asked.writer()?;
    let item = asked.item(&book)?;
    asked.check_match(&item)?;
    if item.folder == Folder::DELETED_ITEMS {
        book.remove(item.number);
        return Ok(());
    }
    let now = asked.world.clock.now();
    book.move_to(item.number, Folder::DELETED_ITEMS, now, true)?;
    book.change(item.number, now, |item| {
        // What is on its way is not called back.
        if item.stage == Stage::Submitted {
            item.stage = Stage::Sent;
        }
    })?;
    Ok(())
}

/// `POST /me/messages/{id}/send`
pub(super) fn send(asked: &Asked) -> Result<(), ODataError> {
    asked.needs("Mail.Send")?;
    let item = asked.item(&asked.book())?;
    let already = |item: &Item| match (item.stage, asked.switches.second_send) {
        (Stage::Draft, _) | (Stage::Submitted | Stage::Sent, SecondSend::SendsAgain) => Ok(true),
        (Stage::Submitted | Stage::Sent, SecondSend::Ignored) => Ok(false),
        (Stage::Submitted | Stage::Sent, SecondSend::NotFound) => Err(not_found()),
        (Stage::Submitted | Stage::Sent, SecondSend::Refused) | (Stage::Received, _) => {
            let text = "The message was sent already.";
            Err(ODataError::bad_request("ErrorInvalidRequest", text))
        }
    };
    if !already(&item)? {
        return Ok(());
    }
    if item.octets > asked.switches.message_octets_max {
        return Err(message_too_large());
    }
    let sender = asked.sender();
    // A large mail takes a while: nobody else waits for it.
    let (raw, fresh) = mime(asked, &item)?;
    let via = match &item.content {
        Content::Json(_) => Via::DraftJson,
        Content::Mime(_) | Content::Delivered(_) => Via::DraftMime,
    };
    let mail = Submitted::read(&raw).map_err(unfit)?;
    let mut book = asked.book();
    // In the meantime another request may have changed it.
    let current = book.items.get(&item.number).cloned().ok_or_else(not_found)?;
    if current.etag() != item.etag() {
        let text = "The send or update operation could not be performed because the change key \
                    passed in the request does not match the current change key for the item.";
        return Err(ODataError::new(StatusCode::CONFLICT, "ErrorIrresolvableConflict", text));
    }
    let now = fresh.now;
    let submission = Submission { mail, via, fresh };
    let copy = deliver(&asked.world, &mut book, &sender, &asked.switches, submission)?;
    // Sent again it stays where it is.
    if item.stage == Stage::Draft {
        book.submitted(item.number, now, copy.seq, &asked.switches)?;
    }
    Ok(())
}

/// The octets of a mail: as they are, or as they would be sent now.
pub(super) fn mime(asked: &Asked, item: &Item) -> Result<(Bytes, Fresh), ODataError> {
    let message_id = item.internet_message_id.clone();
    let fresh = Fresh { message_id, ..Fresh::new(&asked.world, &asked.owner) };
    let octets = match &item.content {
        Content::Json(properties) => {
            let sender = asked.sender();
            let (id, stamp) = (&item.internet_message_id, sender.stamp(&fresh));
            let raw = serialised(properties, id, &item.extended, &item.attachments, &stamp)?;
            Bytes::from(raw)
        }
        Content::Mime(octets) => octets.clone(),
        Content::Delivered(message) => Bytes::copy_from_slice(&message.raw),
    };
    Ok((octets, fresh))
}
