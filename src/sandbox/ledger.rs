//! The ledger: one row for each copy that a recipient would have received, and for each mail that
//! an attendee would have got of an event.
//!
//! It is what a test compares with what a client was promised, so it forgets nothing and merges
//! nothing: a mail sent twice stands there twice. `GET /_sandbox/ledger`,
//! `GET /_sandbox/mails/{seq}/raw`. It must never hold a Bcc field.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::invitations::Invitation;
use super::throttle::Limit;
use super::world::World;

/// Octets of mail that are kept, each mail counted once; beyond it mailboxes are full.
const OCTETS_MAX: usize = 1 << 30;
/// Rows of throttling that are kept; later ones are only counted.
const THROTTLED_MAX: usize = 100_000;
/// Invitations that are kept; beyond it calendars are full.
const INVITATIONS_MAX: usize = 1_000_000;

/// How a mail was handed to Graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    Mime,
    Json,
    /// A draft, created from MIME and sent as such.
    DraftMime,
    /// A draft, serialised from its properties and attachments.
    DraftJson,
}

impl Via {
    pub fn name(self) -> &'static str {
        match self {
            Via::Mime => "MIME",
            Via::Json => "JSON",
            Via::DraftMime => "a MIME draft",
            Via::DraftJson => "a JSON draft",
        }
    }

    /// Whether the mail was serialised from a message resource.
    pub fn is_json(self) -> bool {
        matches!(self, Via::Json | Via::DraftJson)
    }
}

/// A mail as delivered; its recipients share it.
#[derive(Debug)]
pub struct Message {
    /// Primary address of the mailbox it was sent from.
    pub mailbox: String,
    /// The address in `From:`.
    pub from: String,
    /// With its angle brackets.
    pub message_id: String,
    /// Encoded words decoded.
    pub subject: String,
    pub via: Via,
    pub sent_at: Timestamp,
    /// RFC 5322 octets, no Bcc.
    pub raw: Vec<u8>,
}

/// One copy of a mail.
#[derive(Debug, Clone)]
pub struct MailCopy {
    /// Counts from 1.
    pub seq: u64,
    pub recipient: String,
    pub message: Arc<Message>,
}

/// A request that was refused for being one too many.
#[derive(Debug, Clone, Serialize)]
pub struct Throttled {
    pub seq: u64,
    pub mailbox: String,
    pub application: String,
    pub limit: Limit,
    pub retry_after: Option<String>,
}

/// A mail about an event, and its place in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Invited {
    /// Counts from 1.
    pub seq: u64,
    #[serde(flatten)]
    pub invitation: Invitation,
}

/// The mailboxes hold as much as the sandbox keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the sandbox keeps no more than {OCTETS_MAX} octets of mail, {INVITATIONS_MAX} invitations"
)]
pub struct Full;

#[derive(Debug, Default)]
pub struct Ledger {
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    copies: Vec<MailCopy>,
    octets: usize,
    invitations: Vec<Invited>,
    throttled: Vec<Throttled>,
}

impl Ledger {
    /// Writes a row for each recipient, all or none, and returns them.
    pub fn enter(&self, message: Message, recipients: Vec<String>) -> Result<Vec<MailCopy>, Full> {
        let mut book = self.book();
        let octets = book.octets.saturating_add(message.raw.len());
        if octets > OCTETS_MAX {
            return Err(Full);
        }
        book.octets = octets;
        let message = Arc::new(message);
        let mut entered = Vec::with_capacity(recipients.len());
        for recipient in recipients {
            let seq = book.copies.len() as u64 + 1;
            let copy = MailCopy { seq, recipient, message: Arc::clone(&message) };
            book.copies.push(copy.clone());
            entered.push(copy);
        }
        Ok(entered)
    }

    /// Writes a row for each, all or none.
    pub fn invite(&self, invitations: Vec<Invitation>) -> Result<(), Full> {
        let mut book = self.book();
        if book.invitations.len().saturating_add(invitations.len()) > INVITATIONS_MAX {
            return Err(Full);
        }
        for invitation in invitations {
            let seq = book.invitations.len() as u64 + 1;
            book.invitations.push(Invited { seq, invitation });
        }
        Ok(())
    }

    pub fn invitations(&self) -> Vec<Invited> {
        self.book().invitations.clone()
    }

    pub fn throttle(
        &self,
        mailbox: &str,
        application: &str,
        limit: Limit,
        retry_after: Option<String>,
    ) {
        let mut book = self.book();
        if book.throttled.len() < THROTTLED_MAX {
            let (mailbox, application) = (mailbox.to_owned(), application.to_owned());
            let seq = book.throttled.len() as u64 + 1;
            book.throttled.push(Throttled { seq, mailbox, application, limit, retry_after });
        }
    }

    pub fn copy(&self, seq: u64) -> Option<MailCopy> {
        let index = usize::try_from(seq.checked_sub(1)?).ok()?;
        self.book().copies.get(index).cloned()
    }

    pub fn copies(&self) -> Vec<MailCopy> {
        self.book().copies.clone()
    }

    pub fn throttled_count(&self) -> usize {
        self.book().throttled.len()
    }

    pub fn clear(&self) {
        *self.book() = Book::default();
    }

    /// `{"mails":[…],"invitations":[…],"throttled":[…]}`.
    pub fn to_json(&self) -> Value {
        let book = self.book();
        let mails: Vec<Value> = book.copies.iter().map(row).collect();
        json!({"mails": mails, "invitations": &book.invitations, "throttled": &book.throttled})
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn row(copy: &MailCopy) -> Value {
    let message = &copy.message;
    json!({
        "seq": copy.seq,
        "mailbox": message.mailbox,
        "from": message.from,
        "recipient": copy.recipient,
        "message_id": message.message_id,
        "subject": message.subject,
        "size_bytes": message.raw.len(),
        "via": message.via,
    })
}

pub fn router() -> Router<Arc<World>> {
    Router::new()
        .route(
            "/_sandbox/ledger",
            get(async |State(world): State<Arc<World>>| Json(world.ledger.to_json())),
        )
        .route("/_sandbox/mails/{seq}/raw", get(raw))
}

async fn raw(State(world): State<Arc<World>>, Path(seq): Path<u64>) -> Response {
    match world.ledger.copy(seq) {
        // Shown, not offered for download; never sniffed into something that a browser runs.
        Some(copy) => {
            let plain = [(CONTENT_TYPE, "text/plain"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
            (plain, copy.message.raw.clone()).into_response()
        }
        None => (StatusCode::NOT_FOUND, format!("no mail {seq}\n")).into_response(),
    }
}
