//! The page at `/`: what each mailbox drafted, sent and received, what stands in its calendar, and each mail
//! as a mail client shows it.
//!
//! Mails come from whatever is being tried against the sandbox, so they are shown as hostile: all
//! text is escaped, HTML stands in a frame that may run nothing and fetch nothing, and the page itself
//! loads nothing but its own style sheet. It must never become a way out.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};

use super::ledger::MailCopy;
use super::page_calendar;
use super::page_drafts;
use super::render::{self, Shown};
use super::world::World;

/// Mails listed of one folder.
const LISTED_MAX: usize = 100;

/// The forms are the answers to invitations.
const CSP: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; \
                   frame-ancestors 'none'";
/// A frame made with `srcdoc` is bound by the policy of its page: mails style themselves inline.
const MAIL_CSP: &str = "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src data:; \
                        base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(Template)]
#[template(path = "mailboxes.html", config = "src/sandbox/askama.toml")]
struct Mailboxes {
    mailboxes: Vec<Mailbox>,
    elsewhere: Folder,
    invitations: Vec<page_calendar::Mailed>,
    throttled: usize,
}

struct Mailbox {
    display_name: String,
    address: String,
    inbox: Folder,
    drafts: Vec<page_drafts::Line>,
    sent_items: Folder,
    calendar: Vec<page_calendar::Entry>,
}

/// The newest items of a folder, and how many there are in all.
struct Folder {
    items: Vec<Item>,
    count: usize,
}

struct Item {
    seq: u64,
    who: String,
    at: String,
    subject: String,
}

#[derive(Template)]
#[template(path = "mail.html", config = "src/sandbox/askama.toml")]
struct Mail {
    seq: u64,
    recipient: String,
    mailbox: String,
    via: &'static str,
    size: String,
    subject: String,
    shown: Vec<(&'static str, String)>,
    header: String,
    html: Option<String>,
    text: Option<String>,
    attachments: Vec<render::Attachment>,
}

pub fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/", get(mailboxes))
        .route("/mails/{seq}", get(mail))
        .route("/events/{id}/{answer}", post(page_calendar::respond))
        .route("/_sandbox/page.css", get(style_sheet))
}

async fn style_sheet() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/css"), (CACHE_CONTROL, "no-cache")], include_str!("templates/page.css"))
}

async fn mailboxes(State(world): State<Arc<World>>) -> Response {
    let copies = world.ledger.copies();
    let by_seq =
        |seq: &u64| usize::try_from(seq.saturating_sub(1)).ok().and_then(|i| copies.get(i));
    let mailboxes = world.users.iter().map(|user| {
        let folders = world.mail.mailbox(user.object_id);
        let received = folders.inbox.iter().filter_map(by_seq);
        let sent = folders.sent_items.iter().filter_map(by_seq);
        Mailbox {
            display_name: user.display_name.clone(),
            address: user.address.clone(),
            drafts: page_drafts::lines(&world, user),
            inbox: folder(received, |copy| copy.message.from.clone()),
            sent_items: folder(sent, |copy| addressees(copy, &copies)),
            calendar: page_calendar::entries(&world, user),
        }
    });
    let outside = copies.iter().filter(|copy| world.user(&copy.recipient).is_none());
    let page = Mailboxes {
        mailboxes: mailboxes.collect(),
        elsewhere: folder(outside, |copy| copy.recipient.clone()),
        invitations: page_calendar::mailed(&world),
        throttled: world.ledger.throttled_count(),
    };
    written(&page, CSP)
}

/// Newest first.
fn folder<'a>(
    copies: impl Iterator<Item = &'a MailCopy>,
    who: impl Fn(&MailCopy) -> String,
) -> Folder {
    let copies: Vec<&MailCopy> = copies.collect();
    let newest = copies.iter().rev().take(LISTED_MAX);
    let items = newest.map(|copy| Item {
        seq: copy.seq,
        who: who(copy),
        at: copy.message.sent_at.strftime("%b %-d, %H:%M:%S UTC").to_string(),
        subject: copy.message.subject.clone(),
    });
    Folder { items: items.collect(), count: copies.len() }
}

/// `b@contoso.example and 2 more`. The copies of one mail stand side by side in the ledger.
fn addressees(first: &MailCopy, copies: &[MailCopy]) -> String {
    let start = usize::try_from(first.seq).unwrap_or(usize::MAX);
    let more = copies.iter().skip(start);
    match more.take_while(|copy| Arc::ptr_eq(&copy.message, &first.message)).count() {
        0 => first.recipient.clone(),
        more => format!("{} and {more} more", first.recipient),
    }
}

async fn mail(State(world): State<Arc<World>>, Path(seq): Path<u64>) -> Response {
    let Some(copy) = world.ledger.copy(seq) else {
        return (StatusCode::NOT_FOUND, format!("no mail {seq}\n")).into_response();
    };
    // Reading a mail takes a while and much memory: not on the threads that serve everybody.
    let message = Arc::clone(&copy.message);
    let shown = tokio::task::spawn_blocking(move || render::show(&message.raw)).await;
    let Ok(Shown { shown, header, html, text, attachments }) = shown else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let page = Mail {
        seq,
        recipient: copy.recipient,
        mailbox: copy.message.mailbox.clone(),
        via: copy.message.via.name(),
        size: render::size(copy.message.raw.len()),
        subject: copy.message.subject.clone(),
        shown,
        header,
        html,
        text,
        attachments,
    };
    written(&page, MAIL_CSP)
}

fn written(page: &impl Template, csp: &'static str) -> Response {
    let headers = [
        (CONTENT_SECURITY_POLICY, csp),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ];
    match page.render() {
        Ok(html) => (headers, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
