//! Upload sessions: attachments of 3 MB and more, in pieces.
//!
//! Source: Graph "attach large files to Outlook messages or events", `uploadSession`; RFC 9110 §14.4
//! (Content-Range). A session's URL is its own permission: it must be as hard to guess as a token, and
//! it is for one item of one mailbox. What has arrived is kept here until it is whole.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::attachment::{POSTED_OCTETS_MAX, Posted};
use super::calendar::not_found;
use super::mail_error::mailbox_full;
use super::odata::ODataError;
use super::world::{Switches, UploadProgress};

/// Documented: up to 4 MB in one piece.
const PIECE_OCTETS_MAX: usize = 4 * 1024 * 1024;
/// Sessions at the same time, and octets in them.
const SESSIONS_MAX: usize = 1_000;
const OCTETS_MAX: usize = 1 << 30;

#[derive(Debug, Default)]
pub struct Uploads {
    sessions: Mutex<HashMap<Uuid, Session>>,
}

/// What an upload becomes an attachment of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A mail, by its number.
    Message(u64),
    /// An event, by its id.
    Event(String),
}

#[derive(Debug)]
struct Session {
    /// Object id of the mailbox's user.
    owner: Uuid,
    /// Whose requests its pieces are.
    application: String,
    target: Target,
    properties: Map<String, Value>,
    size: usize,
    received: Vec<u8>,
    expires: Timestamp,
}

/// `Content-Range: bytes first-last/size`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    first: usize,
    last: usize,
    size: usize,
}

impl Range {
    pub fn read(text: &str) -> Option<Range> {
        let (range, size) = text.trim().strip_prefix("bytes ")?.trim().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let number = |text: &str| text.trim().parse::<usize>().ok();
        let range = Range { first: number(first)?, last: number(last)?, size: number(size)? };
        (range.first <= range.last && range.last < range.size).then_some(range)
    }

    fn octets(&self) -> usize {
        self.last - self.first + 1
    }
}

/// What is done once a piece has arrived.
#[derive(Debug)]
pub enum Arrived {
    /// The body of the answer: what is expected next.
    More(Value),
    /// All of it is there, and the session is over.
    Whole(Target, Posted),
}

impl Uploads {
    /// The session's key, which only its URL holds.
    pub fn begin(
        &self,
        owner: Uuid,
        application: &str,
        target: Target,
        item: &Map<String, Value>,
        now: Timestamp,
        switches: &Switches,
    ) -> Result<(Uuid, Timestamp), ODataError> {
        let size = item.get("size").and_then(Value::as_u64).unwrap_or_default();
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size < POSTED_OCTETS_MAX {
            let code = "ErrorAttachmentSizeShouldNotBeLessThanMinimumSize";
            let text = "Attachment size must be greater than the minimum size.";
            return Err(ODataError::bad_request(code, text));
        }
        if item.get("attachmentType").and_then(Value::as_str) != Some("file") {
            let text = "The sandbox takes file attachments only.";
            return Err(ODataError::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", text));
        }
        let kept = ["name", "contentType", "contentId", "isInline"];
        let kept = kept.iter().filter_map(|name| item.get(*name).map(|v| (*name, v)));
        let kept = kept.filter(|(_, value)| !value.is_null());
        let properties = kept.map(|(name, value)| (name.to_owned(), value.clone())).collect();
        let life = SignedDuration::from_secs(switches.upload_session_seconds.into());
        let expires = now.checked_add(life).unwrap_or(Timestamp::MAX);
        let mut sessions = self.sessions();
        sessions.retain(|_, session| session.expires > now);
        if sessions.len() >= SESSIONS_MAX {
            return Err(mailbox_full("The sandbox keeps no more upload sessions."));
        }
        let key = Uuid::new_v4();
        let (application, received) = (application.to_owned(), Vec::new());
        let session = Session { owner, application, target, properties, size, received, expires };
        sessions.insert(key, session);
        Ok((key, expires))
    }

    /// Whose session it is, and whose requests its pieces are; 404 when it is over.
    pub fn of(&self, key: Uuid, now: Timestamp) -> Result<(Uuid, String), ODataError> {
        let sessions = self.sessions();
        let session = sessions.get(&key).filter(|session| session.expires > now);
        session.map(|one| (one.owner, one.application.clone())).ok_or_else(not_found)
    }

    /// What is expected next.
    pub fn show(
        &self,
        key: Uuid,
        now: Timestamp,
        form: UploadProgress,
    ) -> Result<Value, ODataError> {
        let sessions = self.sessions();
        let session = sessions.get(&key).filter(|session| session.expires > now);
        session.map(|session| session.progress(form)).ok_or_else(not_found)
    }

    pub fn cancel(&self, key: Uuid, now: Timestamp) -> Result<(), ODataError> {
        let session = self.sessions().remove(&key).filter(|session| session.expires > now);
        session.map(drop).ok_or_else(not_found)
    }

    /// Takes the piece that is expected next, and no other.
    pub fn put(
        &self,
        key: Uuid,
        range: Range,
        piece: &Bytes,
        now: Timestamp,
        switches: &Switches,
    ) -> Result<Arrived, ODataError> {
        let mut sessions = self.sessions();
        let held: usize = sessions.values().map(|session| session.received.len()).sum();
        let session = sessions.get_mut(&key).filter(|session| session.expires > now);
        let session = session.ok_or_else(not_found)?;
        session.check(range, piece, switches)?;
        let room = OCTETS_MAX.saturating_sub(held) >= piece.len();
        // The whole of it at once, so that nothing is copied as it grows.
        let missing = session.size.saturating_sub(session.received.len());
        if !room || session.received.try_reserve_exact(missing).is_err() {
            return Err(mailbox_full("The sandbox keeps no more of uploads."));
        }
        session.received.extend_from_slice(piece);
        if session.received.len() < session.size {
            return Ok(Arrived::More(session.progress(switches.upload_progress)));
        }
        let Session { target, properties, received, .. } =
            sessions.remove(&key).ok_or_else(not_found)?;
        Ok(Arrived::Whole(target, Posted { properties, bytes: received.into() }))
    }

    pub fn clear(&self) {
        self.sessions().clear();
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<Uuid, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn check(&self, range: Range, piece: &Bytes, switches: &Switches) -> Result<(), ODataError> {
        if piece.len() > PIECE_OCTETS_MAX {
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            let text = "Request Entity Too Large";
            return Err(ODataError::new(status, "RequestEntityTooLarge", text));
        }
        if range.size != self.size || range.octets() != piece.len() {
            let text = "The Content-Range does not fit the session or the piece.";
            return Err(ODataError::bad_request("ErrorInvalidRequest", text));
        }
        // Documented: in order. A piece that came before is as wrong as one that is too early.
        if range.first != self.received.len() {
            let text = "The piece does not begin where the one before it ended.";
            let status = match switches.upload_out_of_order_is_416 {
                true => StatusCode::RANGE_NOT_SATISFIABLE,
                false => StatusCode::BAD_REQUEST,
            };
            return Err(ODataError::new(status, "invalidRange", text));
        }
        let multiple = usize::try_from(switches.upload_multiple_octets.max(1)).unwrap_or(1);
        let is_last = range.last + 1 == self.size;
        if !is_last && !piece.len().is_multiple_of(multiple) {
            let text = "The piece is not of a size that is taken.";
            return Err(ODataError::bad_request("invalidRange", text));
        }
        Ok(())
    }

    fn progress(&self, form: UploadProgress) -> Value {
        let (expires, next) = (self.expires.to_string(), self.received.len());
        match form {
            UploadProgress::Documented => {
                json!({"ExpirationDateTime": expires, "nextExpectedRanges": [next.to_string()]})
            }
            UploadProgress::CamelCase => {
                json!({"expirationDateTime": expires, "nextExpectedRanges": [format!("{next}-")]})
            }
            UploadProgress::PascalCase => {
                json!({"ExpirationDateTime": expires, "NextExpectedRanges": [next.to_string()]})
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_is_read_whole_or_not_at_all() {
        let expected = Range { first: 0, last: 9, size: 20 };
        assert_eq!(Range::read("bytes 0-9/20"), Some(expected));
        for bad in ["", "0-9/20", "bytes 9-0/20", "bytes 0-20/20", "bytes 0-9/*", "bytes */20"] {
            assert_eq!(Range::read(bad), None, "{bad}");
        }
    }
}
