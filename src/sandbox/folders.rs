//! Mail folders over HTTP: the well-known ones of each mailbox, and those that clients make.
//!
//! Source: Graph `mailFolder`, "list mailFolders", "create mailFolder". A hidden folder is hidden from
//! its creation on, and listed only to who asks for hidden ones. A well-known folder can neither be
//! renamed nor deleted.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::calendar::not_found;
use super::event::Unfit;
use super::event_json::collection;
use super::event_query::bad_filter;
use super::item_id::{IdForm, ItemId};
use super::mail_error::mailbox_full;
use super::mail_request::Asked;
use super::mailbox::{Book, Folder};
use super::message_json::selected;
use super::odata::{self, ODataError};
use super::schema::Body;
use super::world::World;

/// Folders of all mailboxes.
const FOLDERS_MAX: usize = 10_000;
/// Characters of a name.
const NAME_MAX: usize = 255;

pub fn router() -> Router<Arc<World>> {
    let mut router = Router::new();
    for mailbox in ["/v1.0/me", "/v1.0/users/{id}"] {
        let folders = format!("{mailbox}/mailFolders");
        let one = format!("{folders}/{{folder}}");
        router = router
            .route(&folders, get(list).post(create))
            .route(&one, get(show).patch(rename).delete(delete))
            .route(&format!("{one}/childFolders"), get(list).post(create));
    }
    router
}

impl Book {
    /// The number of a folder by its well-known name or its id, in this mailbox.
    pub(super) fn folder(&self, owner: Uuid, key: &str) -> Result<u64, ODataError> {
        let well_known = Folder::WELL_KNOWN.iter();
        if let Some((number, ..)) =
            well_known.clone().find(|(_, name, _)| name.eq_ignore_ascii_case(key))
        {
            return Ok(*number);
        }
        let malformed = || ODataError::bad_request("ErrorInvalidIdMalformed", "Id is malformed.");
        let ItemId { mailbox, number, .. } = ItemId::read(key).ok_or_else(malformed)?;
        let made = self.folders.iter().any(|one| one.owner == owner && one.number == number);
        let known = made || well_known.clone().any(|(known, ..)| *known == number);
        if known && mailbox == owner { Ok(number) } else { Err(not_found()) }
    }

    /// Each folder right below another one: those that every mailbox has first.
    fn children(&self, owner: Uuid, parent: u64) -> Vec<Folder> {
        let well_known = Folder::WELL_KNOWN.iter().map(|(number, _, name)| Folder {
            number: *number,
            owner,
            parent: Folder::ROOT,
            name: (*name).to_owned(),
            is_hidden: false,
        });
        let all = well_known.chain(self.folders.iter().filter(|one| one.owner == owner).cloned());
        all.filter(|one| one.parent == parent && one.number != Folder::ROOT).collect()
    }

    fn folder_by_number(&self, owner: Uuid, number: u64) -> Result<Folder, ODataError> {
        let made = self.folders.iter().find(|one| one.owner == owner && one.number == number);
        if let Some(made) = made {
            return Ok(made.clone());
        }
        let found = Folder::WELL_KNOWN.iter().find(|(known, ..)| *known == number);
        let (number, _, name) = found.ok_or_else(not_found)?;
        let (number, name) = (*number, (*name).to_owned());
        Ok(Folder { number, owner, parent: Folder::ROOT, name, is_hidden: false })
    }

    fn to_json(&self, folder: &Folder, form: IdForm) -> Map<String, Value> {
        let id = |number| ItemId::of(folder.owner, number).text(form);
        let items = self.items.values();
        let items = items.filter(|one| one.owner == folder.owner && one.folder == folder.number);
        let (mut count, mut octets) = (0_u64, 0_usize);
        for item in items {
            count += 1;
            octets = octets.saturating_add(item.octets);
        }
        let all = json!({
            "id": id(folder.number),
            "displayName": folder.name,
            "parentFolderId": id(folder.parent),
            "childFolderCount": self.children(folder.owner, folder.number).len(),
            "unreadItemCount": if folder.number == Folder::INBOX { count } else { 0 },
            "totalItemCount": count,
            "sizeInBytes": octets,
            "isHidden": folder.is_hidden,
        });
        match all {
            Value::Object(all) => all,
            _ => Map::new(),
        }
    }
}

impl Asked {
    /// The folder that the path names, or the one above all.
    fn folder(&self, book: &Book) -> Result<u64, ODataError> {
        match self.parameters.get("folder") {
            Some(key) => book.folder(self.owner.object_id, key),
            None => Ok(Folder::ROOT),
        }
    }

    fn shown(&self, book: &Book, folder: &Folder) -> Value {
        selected(book.to_json(folder, self.prefer.ids), self.query.select.as_deref())
    }
}

async fn list(asked: Asked) -> Result<Response, ODataError> {
    if !asked.query.filter.is_empty() {
        return Err(bad_filter());
    }
    let book = asked.reader()?;
    let mut all = book.children(asked.owner.object_id, asked.folder(&book)?);
    all.retain(|one| asked.query.include_hidden_folders || !one.is_hidden);
    let page = all.iter().skip(asked.query.skip).take(asked.query.top);
    let page: Vec<Value> = page.map(|one| asked.shown(&book, one)).collect();
    let to = asked.query.skip.saturating_add(page.len());
    let next = (all.len() > to).then(|| odata::next_link(&asked.url, to)).flatten();
    let count = asked.query.count.then_some(all.len());
    Ok(asked.answer(StatusCode::OK, collection(page, count, next)))
}

async fn show(asked: Asked) -> Result<Response, ODataError> {
    let book = asked.reader()?;
    let folder = book.folder_by_number(asked.owner.object_id, asked.folder(&book)?)?;
    Ok(asked.answer(StatusCode::OK, asked.shown(&book, &folder)))
}

async fn create(asked: Asked, octets: Bytes) -> Result<Response, ODataError> {
    let body = asked.body(Body::MailFolder, &octets)?;
    let name = name(&body)?;
    let is_hidden = body.get("isHidden").and_then(Value::as_bool).unwrap_or_default();
    let mut book = asked.writer()?;
    let (owner, parent) = (asked.owner.object_id, asked.folder(&book)?);
    free(&book, owner, parent, &name)?;
    if book.folders.len() >= FOLDERS_MAX {
        return Err(mailbox_full("The sandbox keeps no more folders."));
    }
    let folder = Folder { number: book.number(), owner, parent, name, is_hidden };
    book.folders.push(folder.clone());
    Ok(asked.answer(StatusCode::CREATED, asked.shown(&book, &folder)))
}

async fn rename(asked: Asked, octets: Bytes) -> Result<Response, ODataError> {
    let body = asked.body(Body::MailFolderPatch, &octets)?;
    let name = name(&body)?;
    let mut book = asked.writer()?;
    let folder = made(&asked, &book)?;
    if folder.name != name {
        free(&book, folder.owner, folder.parent, &name)?;
    }
    let renamed = Folder { name, ..folder };
    let found = book.folders.iter_mut().find(|one| one.number == renamed.number);
    if let Some(found) = found {
        found.clone_from(&renamed);
    }
    Ok(asked.answer(StatusCode::OK, asked.shown(&book, &renamed)))
}

/// With all that is in it.
async fn delete(asked: Asked) -> Result<StatusCode, ODataError> {
    let mut book = asked.writer()?;
    let mut doomed = vec![made(&asked, &book)?.number];
    while let Some(number) = doomed.pop() {
        let below = book.children(asked.owner.object_id, number);
        doomed.extend(below.iter().map(|one| one.number));
        let within = book.items.values().filter(|item| item.folder == number);
        let within: Vec<u64> = within.map(|item| item.number).collect();
        within.into_iter().for_each(|item| book.remove(item));
        book.folders.retain(|one| one.number != number);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// A folder that a client made.
fn made(asked: &Asked, book: &Book) -> Result<Folder, ODataError> {
    let number = asked.folder(book)?;
    let found = book.folders.iter().find(|one| one.number == number);
    found.cloned().ok_or_else(|| {
        let text = "Distinguished folders cannot be changed or deleted.";
        ODataError::bad_request("ErrorDeleteDistinguishedFolder", text)
    })
}

fn name(body: &Map<String, Value>) -> Result<String, ODataError> {
    let name = body.get("displayName").and_then(Value::as_str).unwrap_or_default().trim();
    if name.is_empty() || name.chars().count() > NAME_MAX {
        return Err(Unfit::property("A folder needs a name of 1 to 255 characters.").into());
    }
    Ok(name.to_owned())
}

fn free(book: &Book, owner: Uuid, parent: u64, name: &str) -> Result<(), ODataError> {
    if book.children(owner, parent).iter().any(|known| known.name.eq_ignore_ascii_case(name)) {
        let text = "A folder with the specified name already exists.";
        return Err(ODataError::new(StatusCode::CONFLICT, "ErrorFolderExists", text));
    }
    Ok(())
}
