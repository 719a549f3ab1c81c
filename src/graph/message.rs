//! Graph's message and its attachments, as JSON. Pure.
//!
//! Source: Graph v1.0's message, recipient, fileAttachment, attachmentItem and
//! singleValueLegacyExtendedProperty resources; MS-OXPROPS for what Graph has no name for. What is
//! written and what is read are two types: Graph refuses unknown and read-only names.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::resource::{ContentType, EmailAddress, ExtendedProperty, Importance, ItemBody};
use crate::mime::content::Attachment;
use crate::mime::decompose::{self, Decomposed, Mailbox};

/// Our tag on a draft: the spool id of its mail, in lower case, since Graph compares values without
/// regard to case.
pub const TAG_PROPERTY: &str = "String {7fcb7c45-856b-432c-89e7-5fd4ea4cf2a0} Name PostbridgeId";
/// PidTagMessageFlags (MS-OXCMSG §2.2.1.6).
pub const FLAGS_PROPERTY: &str = "Integer 0x0E07";
const SUBMITTED: u32 = 0x4;
const UNSENT: u32 = 0x8;

// Graph takes `X-` fields only; these have a MAPI property (MS-OXPROPS). Message-ID has both.
const IN_REPLY_TO: &str = "String 0x1042";
const REFERENCES: &str = "String 0x1039";
const LIST_UNSUBSCRIBE: &str = "String 0x1045";

/// A draft to be created. `None` and empty lists are not sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageBody {
    subject: String,
    body: ItemBody,
    from: Recipient,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reply_to: Vec<Recipient>,
    to_recipients: Vec<Recipient>,
    cc_recipients: Vec<Recipient>,
    bcc_recipients: Vec<Recipient>,
    importance: Importance,
    is_read_receipt_requested: bool,
    is_delivery_receipt_requested: bool,
    /// Can be set while it is a draft.
    #[serde(skip_serializing_if = "String::is_empty")]
    internet_message_id: String,
    /// Can be set at creation only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    internet_message_headers: Vec<InternetMessageHeader>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    single_value_extended_properties: Vec<ExtendedProperty>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Recipient {
    email_address: EmailAddress,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct InternetMessageHeader {
    name: String,
    value: String,
}

impl From<&Mailbox> for Recipient {
    fn from(mailbox: &Mailbox) -> Recipient {
        let address = mailbox.address.to_string();
        Recipient { email_address: EmailAddress { address, name: mailbox.name.clone() } }
    }
}

impl MessageBody {
    /// A mail and its body, with our tag on it ([`TAG_PROPERTY`]). The attachments come later.
    pub fn new(mail: &Decomposed, body: String, tag: &str) -> MessageBody {
        let all = |mailboxes: &[Mailbox]| mailboxes.iter().map(Recipient::from).collect();
        let property =
            |id: &str, value: &str| ExtendedProperty { id: id.into(), value: value.into() };
        let mapi = [
            (IN_REPLY_TO, &mail.in_reply_to),
            (REFERENCES, &mail.references),
            (LIST_UNSUBSCRIBE, &mail.list_unsubscribe),
        ];
        let mapi = mapi.iter().filter_map(|(id, value)| Some(property(id, value.as_deref()?)));
        let own = mail.own_fields.iter();
        MessageBody {
            subject: mail.subject.clone(),
            body: ItemBody {
                content_type: if mail.is_html { ContentType::Html } else { ContentType::Text },
                content: body,
            },
            from: Recipient::from(&mail.from),
            reply_to: all(&mail.reply_to),
            to_recipients: all(&mail.to),
            cc_recipients: all(&mail.cc),
            bcc_recipients: all(&mail.bcc),
            importance: match mail.importance {
                decompose::Importance::Low => Importance::Low,
                decompose::Importance::Normal => Importance::Normal,
                decompose::Importance::High => Importance::High,
            },
            is_read_receipt_requested: mail.wants_read_receipt,
            is_delivery_receipt_requested: mail.wants_delivery_receipt,
            internet_message_id: mail.message_id.clone(),
            internet_message_headers: own
                .map(|(name, value)| InternetMessageHeader {
                    name: name.clone(),
                    value: value.clone(),
                })
                .collect(),
            single_value_extended_properties: std::iter::once(property(TAG_PROPERTY, tag))
                .chain(mapi)
                .collect(),
        }
    }
}

/// A file of less than [`super::upload::POSTED_OCTETS_MAX`] octets, for a draft.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageAttachment {
    #[serde(rename = "@odata.type")]
    odata_type: &'static str,
    name: String,
    content_type: String,
    is_inline: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_id: Option<String>,
    /// Base64.
    content_bytes: String,
}

impl MessageAttachment {
    /// A small one of plain text.
    pub fn text(name: &str, text: &str) -> MessageAttachment {
        MessageAttachment {
            odata_type: "#microsoft.graph.fileAttachment",
            name: name.to_owned(),
            content_type: "text/plain".to_owned(),
            is_inline: false,
            content_id: None,
            content_bytes: STANDARD.encode(text),
        }
    }

    /// `octets`: of the file, decoded.
    pub fn new(attachment: &Attachment, octets: &[u8]) -> MessageAttachment {
        MessageAttachment {
            odata_type: "#microsoft.graph.fileAttachment",
            name: attachment.name.clone(),
            content_type: attachment.content_type.clone(),
            is_inline: attachment.is_inline,
            content_id: attachment.content_id.clone(),
            content_bytes: STANDARD.encode(octets),
        }
    }
}

/// A larger one, announced before its octets (Graph: attachmentItem).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AttachmentItem {
    attachment_type: &'static str,
    name: String,
    content_type: String,
    is_inline: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_id: Option<String>,
    /// Octets, decoded.
    size: u64,
}

impl AttachmentItem {
    /// `size`: octets of the file, decoded.
    pub fn new(attachment: &Attachment, size: u64) -> AttachmentItem {
        AttachmentItem {
            attachment_type: "file",
            name: attachment.name.clone(),
            content_type: attachment.content_type.clone(),
            is_inline: attachment.is_inline,
            content_id: attachment.content_id.clone(),
            size,
        }
    }
}

/// A draft that was made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Made {
    /// In its immutable form.
    pub id: String,
    #[serde(default)]
    pub internet_message_id: Option<String>,
}

/// What hangs on a draft, as far as it is needed to recognise it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Attached {
    pub id: String,
    #[serde(default)]
    pub name: Option<String>,
    /// At Microsoft somewhat more than the file has.
    #[serde(default)]
    pub size: u64,
}

/// How a mail stands in the mailbox. What is later is stronger evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    Nowhere,
    /// A draft that was not sent.
    Unsent,
    /// On its way, and in Drafts until transport took it.
    Submitted,
    Sent,
}

impl Standing {
    /// Of one draft, by all that was found of its mail. What is unsent under another id than its own,
    /// where that is known, is another draft, which a create without an answer left: it says nothing.
    pub fn of(found: &[Found], id: Option<&str>) -> Standing {
        let is_it = |one: &&Found| one.is_sent() || id.is_none_or(|id| one.id == id);
        found.iter().filter(is_it).map(Found::standing).max().unwrap_or(Standing::Nowhere)
    }
}

/// A mail of ours as it was found in the mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// In its immutable form.
    pub id: String,
    #[serde(default)]
    pub is_draft: Option<bool>,
    #[serde(default)]
    pub parent_folder_id: Option<String>,
    #[serde(default)]
    pub internet_message_id: Option<String>,
    #[serde(default)]
    created_date_time: Option<String>,
    #[serde(default)]
    sent_date_time: Option<String>,
    #[serde(default)]
    single_value_extended_properties: Vec<ExtendedProperty>,
}

impl Found {
    /// Never [`Standing::Nowhere`].
    pub fn standing(&self) -> Standing {
        // Graph: "a message is a draft if it hasn't been sent yet".
        if self.is_draft == Some(false) {
            return Standing::Sent;
        }
        // MS-OXCMSG §2.2.1.6: the server clears one and sets the other when it takes the submission.
        match self.flags() {
            Some(flags) if flags & SUBMITTED != 0 || flags & UNSENT == 0 => Standing::Submitted,
            _ => Standing::Unsent,
        }
    }

    /// Whether it was sent, or is on its way.
    pub fn is_sent(&self) -> bool {
        self.standing() >= Standing::Submitted
    }

    /// Whether its flags call it unsent; `None` where they are not shown.
    pub fn flags_say_unsent(&self) -> Option<bool> {
        self.flags().map(|flags| flags & UNSENT != 0 && flags & SUBMITTED == 0)
    }

    /// `None` where Graph does not say, or says what cannot be read.
    pub fn sent_at(&self) -> Option<Timestamp> {
        self.sent_date_time.as_deref()?.parse().ok()
    }

    pub fn created_at(&self) -> Option<Timestamp> {
        self.created_date_time.as_deref()?.parse().ok()
    }

    /// The value of [`TAG_PROPERTY`].
    pub fn tag(&self) -> Option<&str> {
        self.property(TAG_PROPERTY)
    }

    fn flags(&self) -> Option<u32> {
        self.property(FLAGS_PROPERTY)?.parse().ok()
    }

    fn property(&self, id: &str) -> Option<&str> {
        // Graph writes numbers and GUIDs in an id in its own case.
        let mut properties = self.single_value_extended_properties.iter();
        let found = properties.find(|one| one.id.eq_ignore_ascii_case(id));
        found.map(|one| one.value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_draft_of_the_same_mail_says_nothing_of_this_one() {
        let found = |id: &str, is_draft: bool| {
            let found = serde_json::json!({"id": id, "isDraft": is_draft});
            serde_json::from_value::<Found>(found).unwrap()
        };
        for (found, expected) in [
            (vec![], Standing::Nowhere),
            (vec![found("other", true)], Standing::Nowhere),
            (vec![found("own", true), found("other", true)], Standing::Unsent),
            (vec![found("other", true), found("own", true)], Standing::Unsent),
            (vec![found("moved", false), found("own", true)], Standing::Sent),
        ] {
            assert_eq!(Standing::of(&found, Some("own")), expected, "{found:?}");
        }
        assert_eq!(Standing::of(&[found("other", true)], None), Standing::Unsent);
    }

    #[test]
    fn a_mail_is_sent_when_either_its_flags_or_is_draft_say_so() {
        let standing = |is_draft: Option<bool>, flags: Option<&str>| {
            let id = FLAGS_PROPERTY.to_lowercase();
            let properties = flags.map(|value| serde_json::json!({"id": id, "value": value}));
            let properties: Vec<_> = properties.into_iter().collect();
            let found = serde_json::json!({
                "id": "a", "isDraft": is_draft, "singleValueExtendedProperties": properties});
            serde_json::from_value::<Found>(found).unwrap().standing()
        };
        assert_eq!(standing(Some(true), Some("9")), Standing::Unsent);
        assert_eq!(standing(Some(true), Some("5")), Standing::Submitted);
        assert_eq!(standing(Some(true), Some("1")), Standing::Submitted);
        assert_eq!(standing(Some(true), None), Standing::Unsent);
        assert_eq!(standing(Some(true), Some("?")), Standing::Unsent);
        assert_eq!(standing(None, None), Standing::Unsent);
        assert_eq!(standing(Some(false), Some("9")), Standing::Sent);
        assert_eq!(standing(Some(false), None), Standing::Sent);
    }
}
