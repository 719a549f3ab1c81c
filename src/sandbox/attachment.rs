//! File attachments of mails and events: how one is posted, and how it is shown.
//!
//! Source: Graph `fileAttachment`, "attach large files to Outlook messages or events". Item and
//! reference attachments are not here.

use axum::body::Bytes;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::event::Unfit;
use super::item_id::{IdForm, ItemId};
use super::odata::ODataError;

/// Documented: an attachment in one request is under 3 MB; from there on an upload session is needed.
pub const POSTED_OCTETS_MAX: usize = 3 * 1024 * 1024;

#[derive(Debug, Clone)]
pub struct Attachment {
    pub number: u64,
    /// As posted, without its bytes.
    pub properties: Map<String, Value>,
    /// Shared, however often the attachment is cloned.
    pub bytes: Bytes,
    pub modified: Timestamp,
}

/// An attachment that is nobody's yet.
#[derive(Debug, Clone)]
pub struct Posted {
    pub properties: Map<String, Value>,
    pub bytes: Bytes,
}

impl Posted {
    /// Reads a body that has passed its schema.
    pub fn read(mut body: Map<String, Value>) -> Result<Posted, ODataError> {
        let kind = body.get("@odata.type").and_then(Value::as_str).unwrap_or_default();
        if !kind.ends_with("fileAttachment") {
            let text = "The sandbox takes file attachments only.";
            return Err(ODataError::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", text));
        }
        let bytes = body.remove("contentBytes").unwrap_or_default();
        let bytes = STANDARD.decode(bytes.as_str().unwrap_or_default()).map_err(Unfit::shape)?;
        if bytes.len() >= POSTED_OCTETS_MAX {
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            let text = "Request Entity Too Large";
            return Err(ODataError::new(status, "RequestEntityTooLarge", text));
        }
        Ok(Posted { properties: body, bytes: bytes.into() })
    }

    /// Takes the attachments out of a message that has passed its schema.
    pub fn take_all(message: &mut Map<String, Value>) -> Result<Vec<Posted>, ODataError> {
        let Some(Value::Array(all)) = message.remove("attachments") else { return Ok(Vec::new()) };
        let objects = all.into_iter().filter_map(|one| match one {
            Value::Object(body) => Some(body),
            _ => None,
        });
        objects.map(Posted::read).collect()
    }

    pub fn numbered(self, number: u64, modified: Timestamp) -> Attachment {
        Attachment { number, properties: self.properties, bytes: self.bytes, modified }
    }
}

impl Attachment {
    /// A text property, empty if it is not there.
    pub fn text(&self, name: &str) -> &str {
        self.properties.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn is_inline(&self) -> bool {
        self.properties.get("isInline").and_then(Value::as_bool).unwrap_or_default()
    }

    /// As Graph shows it, its bytes included.
    pub fn to_json(&self, mailbox: Uuid, form: IdForm) -> Map<String, Value> {
        let mut properties = self.properties.clone();
        let id = ItemId::of(mailbox, self.number);
        let mut put = |name: &str, value: Value| {
            properties.insert(name.to_owned(), value);
        };
        put("@odata.type", "#microsoft.graph.fileAttachment".into());
        put("@odata.mediaContentType", "application/octet-stream".into());
        put("id", id.text(form).into());
        put("size", self.bytes.len().into());
        put("lastModifiedDateTime", self.modified.to_string().into());
        put("contentBytes", STANDARD.encode(&self.bytes).into());
        properties.entry("isInline").or_insert(false.into());
        properties
    }
}
