//! How Graph shows a mail: its message resource, with what `$select` and `$expand` ask for. Pure.
//!
//! Source: Graph `message`, "list messages", "get message". Of a mail that was given as MIME it shows
//! what is read from it.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::event_json::{as_html, without_tags};
use super::event_query::Prefer;
use super::item_id::{IdForm, ItemId};
use super::mail_query::Query;
use super::mailbox::{Content, Item, Stage};
use super::odata::ODataError;
use super::parsed;
use super::world::{Switches, User};

/// Characters of `bodyPreview`.
const PREVIEW_MAX: usize = 255;
/// Shown only to who names them.
const ONLY_SELECTED: [&str; 1] = ["internetMessageHeaders"];

/// Who looks, and how.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    pub owner: &'a User,
    pub prefer: &'a Prefer,
    pub query: &'a Query,
    pub switches: &'a Switches,
}

impl Frame<'_> {
    /// The mail with what `$select` and `$expand` ask for.
    pub fn message(&self, item: &Item) -> Result<Value, ODataError> {
        let mut all = self.properties(item);
        let Some(names) = &self.query.select else {
            all.retain(|name, _| !ONLY_SELECTED.contains(&name.as_str()));
            self.expanded(item, &mut all);
            return Ok(Value::Object(all));
        };
        let mut selected = Map::new();
        for name in names.iter().map(String::as_str).chain(["@odata.etag", "id"]) {
            let found = all.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            match found {
                Some((name, value)) => selected.insert(name.clone(), value.clone()),
                // What the mail has none of.
                None if ONLY_SELECTED.contains(&name) => None,
                None => return Err(no_property(name)),
            };
        }
        self.expanded(item, &mut selected);
        Ok(Value::Object(selected))
    }

    fn properties(&self, item: &Item) -> Map<String, Value> {
        let given = given(item);
        let mut all = defaults(self.owner);
        let known = given.iter().chain(&item.local);
        all.extend(known.map(|(name, value)| (name.clone(), value.clone())));
        let mut put = |name: &str, value: Value| {
            all.insert(name.to_owned(), value);
        };
        let id = item.id(self.prefer.ids);
        put("@odata.etag", item.etag().into());
        put("id", id.clone().into());
        put("changeKey", item.change_key().into());
        put("createdDateTime", time(item.created));
        put("lastModifiedDateTime", time(item.modified));
        put("receivedDateTime", time(item.sent.unwrap_or(item.created)));
        put("sentDateTime", time(item.sent.unwrap_or(item.created)));
        put("isDraft", item.is_draft(self.switches).into());
        put("internetMessageId", item.internet_message_id.clone().into());
        let conversation = Uuid::new_v5(&item.owner, item.internet_message_id.as_bytes());
        put("conversationId", format!("AAQk{}", conversation.simple()).into());
        let parent = ItemId::of(item.owner, item.folder);
        put("parentFolderId", parent.text(IdForm::Default).into());
        // Documented: inline attachments do not count.
        let attached = item.attachments.iter().any(|one| !one.is_inline());
        put("hasAttachments", attached.into());
        let body = given.get("body").filter(|body| body.is_object());
        let text = |name: &str| {
            body.and_then(|body| body.get(name)).and_then(Value::as_str).unwrap_or_default()
        };
        let is_html = text("contentType") == "html";
        let content = text("content");
        let plain = if is_html { without_tags(content) } else { content.to_owned() };
        put("bodyPreview", plain.trim().chars().take(PREVIEW_MAX).collect::<String>().into());
        put(
            "body",
            match (self.prefer.text_body, is_html) {
                (true, _) => json!({"contentType": "text", "content": plain}),
                (false, true) => json!({"contentType": "html", "content": content}),
                // Documented: HTML, unless the client prefers text.
                (false, false) => json!({"contentType": "html", "content": as_html(content)}),
            },
        );
        let read = item.local.get("isRead").or(given.get("isRead")).and_then(Value::as_bool);
        put("isRead", read.unwrap_or(item.stage != Stage::Received).into());
        let link =
            format!("https://outlook.office365.com/owa/?ItemID={id}&viewmodel=ReadMessageItem");
        put("webLink", link.into());
        all
    }

    fn expanded(&self, item: &Item, properties: &mut Map<String, Value>) {
        let expand = &self.query.expand;
        let found = expand.extended.iter().filter_map(|id| {
            let value = item.extended(id, self.switches)?;
            let written = item.extended.iter().find(|one| one.has_id(id));
            Some(json!({"id": written.map_or(id, |one| &one.id), "value": value}))
        });
        let found: Vec<Value> = found.collect();
        if !found.is_empty() {
            properties.insert("singleValueExtendedProperties".to_owned(), found.into());
        }
        if let Some(names) = &expand.attachments {
            let names = names.as_deref();
            let all = item
                .attachments
                .iter()
                .map(|one| selected(one.to_json(item.owner, self.prefer.ids), names));
            properties.insert("attachments".to_owned(), all.collect());
        }
    }
}

/// The named properties of an attachment, and those that are never left out.
pub fn selected(mut attachment: Map<String, Value>, names: Option<&[String]>) -> Value {
    if let Some(names) = names {
        let wanted = |name: &str| names.iter().any(|one| one.eq_ignore_ascii_case(name));
        attachment.retain(|name, _| name.contains('@') || name == "id" || wanted(name));
    }
    Value::Object(attachment)
}

/// What was posted, or is read from MIME.
pub fn given(item: &Item) -> Cow<'_, Map<String, Value>> {
    match &item.content {
        Content::Json(properties) => Cow::Borrowed(properties),
        Content::Mime(octets) => Cow::Owned(parsed::read(octets).properties),
        Content::Delivered(message) => Cow::Owned(parsed::read(&message.raw).properties),
    }
}

/// Octets of what a writer can make long.
pub fn body_octets(properties: &Map<String, Value>) -> usize {
    let content = properties.get("body").and_then(|body| body.get("content"));
    content.and_then(Value::as_str).map_or(0, str::len).saturating_add(1024)
}

fn defaults(owner: &User) -> Map<String, Value> {
    let own = json!({"emailAddress": {"name": owner.display_name, "address": owner.address}});
    let all = json!({
        "subject": "",
        "categories": [],
        "importance": "normal",
        "inferenceClassification": "focused",
        "flag": {"flagStatus": "notFlagged"},
        "isDeliveryReceiptRequested": false,
        "isReadReceiptRequested": false,
        "sender": own,
        "from": own,
        "toRecipients": [],
        "ccRecipients": [],
        "bccRecipients": [],
        "replyTo": [],
    });
    match all {
        Value::Object(properties) => properties,
        _ => Map::new(),
    }
}

/// In whole seconds, as mailboxes keep them.
fn time(at: Timestamp) -> Value {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into()
}

fn no_property(name: &str) -> ODataError {
    let name: String = name.chars().take(100).collect();
    let text = format!(
        "Parsing OData Select and Expand failed: Could not find a property named '{name}' on type \
         'microsoft.graph.message'."
    );
    ODataError::bad_request("RequestBroker--ParseUri", text)
}
