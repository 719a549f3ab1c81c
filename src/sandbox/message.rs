//! From Graph's `message` resource to the MIME that Exchange serialises. Pure.
//!
//! Source: Graph `message`, `recipient`, `fileAttachment`; Exchange's MAPI properties for the header
//! fields that have no JSON name. The body has passed its schema; what the schema cannot say is
//! refused here. The result goes the same way as a MIME submission, so it holds a Bcc field.

use std::borrow::Cow;

use mail_builder::MessageBuilder;
use mail_builder::headers::address::Address;
use mail_builder::headers::raw::Raw;
use mail_builder::headers::text::Text;
use mail_builder::mime::{BodyPart, MimePart};
use serde::Deserialize;

use super::attachment::Attachment;
use super::recipients;

/// Why a message cannot be serialised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("{0}")]
    Body(String),
    #[error("'{0}' is no name of a header field")]
    HeaderName(String),
    #[error("'{0}' is not resolved")]
    NotResolved(String),
}

/// The parameters of sendMail.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SendMail {
    pub message: Message,
    #[serde(default = "yes")]
    pub save_to_sent_items: bool,
}

fn yes() -> bool {
    true
}

/// What Exchange puts on a mail of its own making.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// Where receipts go to.
    pub mailbox: &'a str,
    /// With its angle brackets, for a message that names none.
    pub message_id: &'a str,
    /// RFC 5322 date-time.
    pub date: &'a str,
}

/// What of a message resource reaches its recipients. The schema has refused unknown names; the
/// known ones that are not here (categories, flag, …) stay in the sender's mailbox.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Message {
    subject: Option<String>,
    body: Option<ItemBody>,
    from: Option<Recipient>,
    to_recipients: Vec<Recipient>,
    cc_recipients: Vec<Recipient>,
    bcc_recipients: Vec<Recipient>,
    reply_to: Vec<Recipient>,
    importance: Option<String>,
    internet_message_id: Option<String>,
    internet_message_headers: Vec<InternetMessageHeader>,
    is_delivery_receipt_requested: Option<bool>,
    is_read_receipt_requested: Option<bool>,
    single_value_extended_properties: Vec<ExtendedProperty>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Recipient {
    email_address: EmailAddress,
}

#[derive(Debug, Deserialize)]
struct EmailAddress {
    address: String,
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemBody {
    content_type: Option<String>,
    content: Option<String>,
}

#[derive(Debug, Deserialize)]
struct InternetMessageHeader {
    name: String,
    value: String,
}

#[derive(Debug, Deserialize)]
struct ExtendedProperty {
    id: String,
    value: Option<String>,
}

/// Name and value.
type HeaderField<'a> = (Cow<'a, str>, Cow<'a, str>);

const MESSAGE_ID: &str = "Message-ID";

/// MAPI properties that are header fields: PidTagInReplyToId, PidTagInternetReferences,
/// PidTagInternetMessageId, PidTagListUnsubscribe.
const HEADER_PROPERTIES: [(&str, &str); 4] = [
    ("String 0x1042", "In-Reply-To"),
    ("String 0x1039", "References"),
    ("String 0x1035", MESSAGE_ID),
    ("String 0x1045", "List-Unsubscribe"),
];

impl Message {
    /// RFC 5322 octets with all recipients in the header.
    pub fn to_mime(&self, stamp: &Stamp<'_>, attachments: &[Attachment]) -> Result<Vec<u8>, Unfit> {
        let mut mime = MessageBuilder::new();
        if let Some(from) = &self.from {
            mime = mime.from(list(std::slice::from_ref(from))?);
        }
        for (name, recipients) in [
            ("To", &self.to_recipients),
            ("Cc", &self.cc_recipients),
            ("Bcc", &self.bcc_recipients),
            ("Reply-To", &self.reply_to),
        ] {
            if !recipients.is_empty() {
                mime = mime.header(name, list(recipients)?);
            }
        }
        mime = mime.subject(self.subject.as_deref().unwrap_or_default());
        mime = mime.header("Date", Raw::new(stamp.date));
        let fields = self.fields(stamp)?;
        if !fields.iter().any(|(name, _)| name == MESSAGE_ID) {
            mime = mime.header(MESSAGE_ID, Raw::new(stamp.message_id));
        }
        for (name, value) in fields {
            mime = mime.header(name, Text::new(value));
        }
        let octets = mime.body(self.mime_body(attachments)).write_to_vec();
        octets.map_err(|error| Unfit::Body(error.to_string()))
    }

    /// The fields beside recipients and subject.
    fn fields<'a>(&'a self, stamp: &Stamp<'a>) -> Result<Vec<HeaderField<'a>>, Unfit> {
        let mut fields: Vec<HeaderField<'a>> = Vec::new();
        let mut add = |name: &'static str, value| fields.push((Cow::Borrowed(name), value));
        if let Some(id) = self.internet_message_id.as_deref().filter(|id| !id.is_empty()) {
            add(MESSAGE_ID, id.into());
        }
        if let Some(importance @ ("low" | "high")) = self.importance.as_deref() {
            add("Importance", importance.into());
        }
        if self.is_read_receipt_requested == Some(true) {
            add("Disposition-Notification-To", stamp.mailbox.into());
        }
        if self.is_delivery_receipt_requested == Some(true) {
            add("Return-Receipt-To", stamp.mailbox.into());
        }
        for property in &self.single_value_extended_properties {
            let known = |(id, _): &&(&str, &str)| property.id.eq_ignore_ascii_case(id);
            if let (Some((_, name)), Some(value)) =
                (HEADER_PROPERTIES.iter().find(known), property.value.as_deref())
            {
                // A Message-ID that is given both ways stands there once.
                if !fields.iter().any(|(known, _)| known == name) {
                    fields.push((Cow::Borrowed(name), value.into()));
                }
            }
        }
        for InternetMessageHeader { name, value } in &self.internet_message_headers {
            // RFC 5322 §3.6.8: a field name is printable ASCII without a colon.
            if !name.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
                return Err(Unfit::HeaderName(name.clone()));
            }
            fields.push((name.into(), value.into()));
        }
        if fields.iter().any(|(_, value)| value.contains(['\r', '\n', '\0'])) {
            return Err(Unfit::Body("a header value holds a line break".to_owned()));
        }
        Ok(fields)
    }

    fn mime_body<'a>(&'a self, attachments: &'a [Attachment]) -> MimePart<'a> {
        let content = self.body.as_ref().and_then(|body| body.content.as_deref());
        let kind = self.body.as_ref().and_then(|body| body.content_type.as_deref());
        let text_type = if kind == Some("html") { "text/html" } else { "text/plain" };
        let text = with_line_ends(content.unwrap_or_default());
        let text = MimePart::new(text_type, BodyPart::Text(text.into()));
        let mut related = Vec::new();
        let mut mixed = Vec::new();
        for attachment in attachments {
            let part = to_part(attachment);
            if attachment.is_inline() { related.push(part) } else { mixed.push(part) }
        }
        let mut body = text;
        // RFC 2387: what the HTML names by its Content-ID stands beside it.
        if !related.is_empty() {
            related.insert(0, body);
            body = MimePart::new("multipart/related", related);
        }
        if !mixed.is_empty() {
            mixed.insert(0, body);
            body = MimePart::new("multipart/mixed", mixed);
        }
        body
    }
}

fn to_part(attachment: &Attachment) -> MimePart<'_> {
    let content_type = Some(attachment.text("contentType")).filter(|text| is_media_type(text));
    let content_type = content_type.unwrap_or("application/octet-stream").to_owned();
    let part = MimePart::new(content_type, BodyPart::Binary(Cow::Borrowed(&attachment.bytes)));
    let name = one_line(attachment.text("name"));
    let part = if attachment.is_inline() { part.inline() } else { part.attachment(name) };
    match attachment.text("contentId") {
        "" => part,
        id => part.cid(one_line(id)),
    }
}

/// RFC 2045 §5.1: type/subtype, two tokens; parameters are not taken over.
fn is_media_type(text: &str) -> bool {
    let token = |t: &str| {
        !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    text.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype))
}

/// JSON may hold line ends of any kind and NUL; mail may not (RFC 5322 §2.3).
fn with_line_ends(text: &str) -> String {
    text.replace('\0', "").replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n")
}

pub(super) fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

pub(super) fn list(recipients: &[Recipient]) -> Result<Address<'static>, Unfit> {
    let mut addresses = Vec::with_capacity(recipients.len());
    for Recipient { email_address: EmailAddress { address, name } } in recipients {
        // A list of addresses in one string is the mistake that is made most.
        if !recipients::is_address(address) {
            return Err(Unfit::NotResolved(address.clone()));
        }
        let name = name.as_deref().map(one_line).filter(|name| !name.is_empty());
        addresses.push(Address::new_address(name, address.clone()));
    }
    Ok(Address::new_list(addresses))
}

#[cfg(test)]
mod tests {
    use super::super::attachment::Posted;
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use mail_parser::{MessageParser, MimeHeaders};
    use serde_json::json;

    const STAMP: Stamp<'_> = Stamp {
        mailbox: "adele.vance@contoso.example",
        message_id: "<new@contoso.example>",
        date: "Mon, 23 Nov 2026 10:00:00 +0000",
    };

    fn mime(mut message: serde_json::Value) -> Result<String, Unfit> {
        let posted = Posted::take_all(message.as_object_mut().unwrap()).unwrap();
        let attachments: Vec<Attachment> =
            posted.into_iter().map(|one| one.numbered(0, jiff::Timestamp::UNIX_EPOCH)).collect();
        let message: Message = serde_json::from_value(message).unwrap();
        message.to_mime(&STAMP, &attachments).map(|octets| String::from_utf8(octets).unwrap())
    }

    fn to(address: &str) -> serde_json::Value {
        json!([{"emailAddress": {"address": address, "name": "A, B"}}])
    }

    #[test]
    fn recipients_subject_and_attachment_become_mime() {
        let got = mime(json!({
            "subject": "Grüße", "toRecipients": to("a@b.example"), "bccRecipients": to("s@b.example"),
            "body": {"contentType": "html", "content": "<p>hi</p>"},
            "internetMessageHeaders": [{"name": "X-Tag", "value": "1"}],
            "singleValueExtendedProperties": [{"id": "String 0x1042", "value": "<1@a>"}],
            "attachments": [{"@odata.type": "#microsoft.graph.fileAttachment", "name": "ä.txt",
                "contentType": "text/plain", "contentBytes": "aGk="}],
        }))
        .unwrap();
        for part in [
            "To: \"A, B\" <a@b.example>\r\n",
            "Bcc: ",
            "X-Tag: 1\r\n",
            "In-Reply-To: <1@a>\r\n",
            "multipart/mixed",
            "text/html",
        ] {
            assert!(got.contains(part), "{part} in {got}");
        }
    }

    #[test]
    fn nothing_injects_a_header_field() {
        let injected = "x\r\nBcc: evil@b.example";
        let got = mime(json!({
            "subject": injected,
            "toRecipients": [{"emailAddress": {"address": "a@b.example", "name": injected}}],
            "attachments": [{"@odata.type": "#microsoft.graph.fileAttachment", "name": injected,
                "contentType": format!("text/{injected}"), "contentId": injected, "contentBytes": ""}],
        }))
        .unwrap();
        assert!(!got.contains("\nBcc"), "{got}");
        let header = json!({"toRecipients": to("a@b.example"),
            "internetMessageHeaders": [{"name": "X-Tag", "value": injected}]});
        assert!(matches!(mime(header), Err(Unfit::Body(_))));
    }

    #[test]
    fn a_list_of_addresses_in_one_string_is_not_resolved() {
        let two = "a@b.example;c@d.example";
        let got = mime(json!({"toRecipients": to(two)}));
        assert_eq!(got, Err(Unfit::NotResolved(two.to_owned())));
    }

    #[test]
    fn line_ends_of_any_kind_are_encoded_and_come_out_again() {
        let odd = "a\nb\rc\0\r\n.\n";
        let got = mime(json!({
            "toRecipients": to("a@b.example"), "body": {"content": "one\ntwo\rthree\0"},
            "attachments": [{"@odata.type": "#microsoft.graph.fileAttachment", "name": "odd.txt",
                "contentType": "text/plain", "contentBytes": STANDARD.encode(odd)}],
        }))
        .unwrap();
        assert_eq!(super::super::header::check_octets(got.as_bytes()), Ok(()), "{got}");
        let parsed = MessageParser::new().parse(got.as_bytes()).unwrap();
        assert_eq!(parsed.body_text(0).unwrap(), "one\r\ntwo\r\nthree");
        let attachment = parsed.attachment(0).unwrap();
        assert_eq!(attachment.attachment_name(), Some("odd.txt"));
        assert_eq!(attachment.contents(), odd.as_bytes());
    }

    #[test]
    fn a_message_id_of_its_own_is_the_only_one() {
        let own =
            json!({"toRecipients": to("a@b.example"), "internetMessageId": "<own@a.example>"});
        let got = mime(own).unwrap();
        assert_eq!(got.matches("Message-ID: ").count(), 1);
        assert!(got.contains("Message-ID: <own@a.example>\r\n"), "{got}");
        let got = mime(json!({"toRecipients": to("a@b.example")})).unwrap();
        assert!(
            got.contains(
                "Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <new@contoso.example>\r\n"
            ),
            "{got}"
        );
    }
}
