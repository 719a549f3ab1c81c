//! Graph's messages over HTTP: create, list, show, update, delete, send, and their attachments.
//!
//! Source: Graph v1.0, `/me` and `/users/{id}`. Each route reads and checks the request and leaves
//! the rest to [`super::drafts`] and [`super::upload`].

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};

use super::attachment::Posted;
use super::calendar::{self, not_found};
use super::drafts;
use super::event_json::collection;
use super::folders;
use super::mail::{accepted, wrong_method};
use super::mail_request::Asked;
use super::mailbox::{Content, Item};
use super::message_json::selected;
use super::odata::{self, ODataError};
use super::schema::Body;
use super::world::World;

pub fn router() -> Router<Arc<World>> {
    let mut router = folders::router();
    for mailbox in ["/v1.0/me", "/v1.0/users/{id}"] {
        for container in ["", "/mailFolders/{folder}"] {
            let messages = format!("{mailbox}{container}/messages");
            let one = format!("{messages}/{{message}}");
            let attachments = format!("{one}/attachments");
            router = router
                .route(&messages, get(list).post(create).fallback(wrong_method))
                .route(&one, get(show).patch(update).delete(delete).fallback(wrong_method))
                .route(&format!("{one}/$value"), get(value).fallback(wrong_method))
                .route(&format!("{one}/send"), post(send).fallback(wrong_method))
                .route(&attachments, get(list_attachments).post(attach).fallback(wrong_method))
                .route(
                    &format!("{attachments}/{{attachment}}"),
                    get(attachment).delete(detach).fallback(wrong_method),
                );
        }
    }
    router.layer(middleware::from_fn(odata::finish))
}

async fn create(asked: Asked, octets: Bytes) -> Result<Response, ODataError> {
    let folder = asked.parameters.get("folder").map(String::as_str);
    let created = drafts::create(&asked, folder, &octets)?;
    asked.message(StatusCode::CREATED, &created)
}

/// Newest first, unless another order is asked for.
async fn list(asked: Asked) -> Result<Response, ODataError> {
    let (owner, order) = (asked.owner.object_id, asked.query.order);
    let mut found: Vec<Arc<Item>> = {
        let book = asked.reader()?;
        let folder = asked.parameters.get("folder").map(|key| book.folder(owner, key));
        let folder = folder.transpose()?;
        let within = |item: &&Arc<Item>| {
            item.owner == owner
                && folder.is_none_or(|folder| item.folder == folder)
                && asked.query.filter.iter().all(|one| one.holds(item, &asked.switches))
        };
        book.items.values().filter(within).cloned().collect()
    };
    found.sort_by_key(|item| (order.by.of(item), item.number));
    if order.descending {
        found.reverse();
    }
    asked.page(&found)
}

async fn show(asked: Asked) -> Result<Response, ODataError> {
    let item = asked.item(&*asked.reader()?)?;
    asked.message(StatusCode::OK, &item)
}

async fn update(asked: Asked, octets: Bytes) -> Result<Response, ODataError> {
    let updated = drafts::update(&asked, &octets)?;
    asked.message(StatusCode::OK, &updated)
}

async fn delete(asked: Asked) -> Result<StatusCode, ODataError> {
    drafts::remove(&asked)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn value(asked: Asked) -> Result<Response, ODataError> {
    let item = asked.item(&*asked.reader()?)?;
    let (octets, _) = drafts::mime(&asked, &item)?;
    Ok(([(CONTENT_TYPE, "text/plain")], octets).into_response())
}

async fn send(asked: Asked) -> Result<Response, ODataError> {
    // Documented: Content-Length: 0 is required.
    if !asked.has_length {
        let text = "A content length is required.";
        return Err(ODataError::new(StatusCode::LENGTH_REQUIRED, "BadRequest", text));
    }
    let switches = asked.switches.clone();
    // A large mail is serialised beside the threads that serve everybody.
    let sent = tokio::task::spawn_blocking(move || drafts::send(&asked)).await;
    sent.unwrap_or_else(|_| {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Err(ODataError::new(status, "ErrorInternalServerError", "The send failed."))
    })?;
    Ok(accepted(StatusCode::ACCEPTED, &switches))
}

async fn list_attachments(asked: Asked) -> Result<Response, ODataError> {
    let item = asked.item(&*asked.reader()?)?;
    attachments_known(&item)?;
    let select = asked.query.select.as_deref();
    let shown = item.attachments.iter();
    let shown = shown.map(|one| selected(one.to_json(item.owner, asked.prefer.ids), select));
    Ok(asked.answer(StatusCode::OK, collection(shown.collect(), None, None)))
}

/// The attachments of a mail that was never a draft are in its octets only.
fn attachments_known(item: &Item) -> Result<(), ODataError> {
    if !matches!(item.content, Content::Delivered(_)) {
        return Ok(());
    }
    let text = "The sandbox lists the attachments of drafts, and of what was sent as one.";
    Err(ODataError::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", text))
}

async fn attach(
    State(world): State<Arc<World>>,
    asked: Asked,
    octets: Bytes,
) -> Result<Response, ODataError> {
    let posted = Posted::read(asked.body(Body::Attachment, &octets)?)?;
    let attached = {
        let mut book = asked.writer()?;
        let number = asked.item(&book)?.number;
        drafts::attach(&world, &mut book, number, posted)?
    };
    let shown = attached.to_json(asked.owner.object_id, asked.prefer.ids);
    Ok(asked.answer(StatusCode::CREATED, shown.into()))
}

fn attachment_number(asked: &Asked) -> Result<u64, ODataError> {
    calendar::item(&asked.owner, asked.parameter("attachment")).map(|id| id.number)
}

async fn attachment(asked: Asked) -> Result<Response, ODataError> {
    let item = asked.item(&*asked.reader()?)?;
    attachments_known(&item)?;
    let number = attachment_number(&asked)?;
    let found = item.attachments.iter().find(|one| one.number == number);
    let found = found.ok_or_else(not_found)?;
    let shown = found.to_json(item.owner, asked.prefer.ids);
    Ok(asked.answer(StatusCode::OK, selected(shown, asked.query.select.as_deref())))
}

async fn detach(asked: Asked) -> Result<StatusCode, ODataError> {
    drafts::detach(&asked, attachment_number(&asked)?)?;
    Ok(StatusCode::NO_CONTENT)
}
