//! From MIME to the properties of a message resource, as Exchange keeps them beside the octets.
//!
//! Source: "things to know about send mail" (what was supplied is kept, and parsed into properties,
//! recipients and attachments), Graph `message`. What goes out is not made of this, unless a draft is
//! serialised anew: then it holds no more than what is read here.

use axum::body::Bytes;
use mail_parser::{Address, Message, MessageParser, MimeHeaders, PartType};
use serde_json::{Map, Value, json};

use super::attachment::Posted;
use super::header;

#[derive(Debug, Default)]
pub struct Parsed {
    /// Those that the mail has; named as in a posted message.
    pub properties: Map<String, Value>,
    pub attachments: Vec<Posted>,
}

/// Reads a mail. Takes many times its size in memory for a moment.
pub fn read(raw: &[u8]) -> Parsed {
    let Some(message) = MessageParser::new().parse(raw) else { return Parsed::default() };
    let mut properties = Map::new();
    let mut put = |name: &str, value: Value| {
        properties.insert(name.to_owned(), value);
    };
    put("subject", message.subject().unwrap_or_default().into());
    put("body", body(&message));
    for (name, list) in [
        ("toRecipients", message.to()),
        ("ccRecipients", message.cc()),
        ("bccRecipients", message.bcc()),
        ("replyTo", message.reply_to()),
    ] {
        put(name, recipients(list).into());
    }
    if let Some(from) = recipients(message.from()).into_iter().next() {
        put("from", from);
    }
    // RFC 2156 §2.5.2: Importance is low, normal or high.
    let importance = message.header("Importance").and_then(|value| value.as_text());
    let importance = importance.unwrap_or("normal").trim().to_ascii_lowercase();
    if ["low", "high"].contains(&importance.as_str()) {
        put("importance", importance.into());
    }
    if let Ok(sections) = header::split(raw) {
        let fields = sections.fields.iter();
        let fields = fields.map(|field| json!({"name": field.name, "value": field.text()}));
        put("internetMessageHeaders", fields.collect());
    }
    Parsed { properties, attachments: message.attachments().map(attachment).collect() }
}

fn recipients(list: Option<&Address<'_>>) -> Vec<Value> {
    let all = list.into_iter().flat_map(|list| list.iter());
    let shown = all.filter_map(|one| {
        let address = one.address()?;
        let name = one.name().unwrap_or(address);
        Some(json!({"emailAddress": {"name": name, "address": address}}))
    });
    shown.collect()
}

/// HTML if there is any; the other alternative has no place in the resource.
fn body(message: &Message<'_>) -> Value {
    let part = |ids: &[u32]| {
        ids.iter().filter_map(|id| message.part(*id)).find_map(|part| match &part.body {
            PartType::Html(html) => Some(json!({"contentType": "html", "content": html})),
            PartType::Text(text) => Some(json!({"contentType": "text", "content": text})),
            _ => None,
        })
    };
    let found = part(&message.html_body).or_else(|| part(&message.text_body));
    found.unwrap_or_else(|| json!({"contentType": "text", "content": ""}))
}

fn attachment(part: &mail_parser::MessagePart<'_>) -> Posted {
    let content_type = part.content_type().map_or_else(
        || "application/octet-stream".to_owned(),
        |kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("octet-stream")),
    );
    let inline = part.content_disposition().is_some_and(|disposition| disposition.is_inline());
    let properties = json!({
        "name": part.attachment_name().unwrap_or("attachment"),
        "contentType": content_type,
        "isInline": inline || part.content_id().is_some(),
        "contentId": part.content_id(),
    });
    let properties = match properties {
        Value::Object(properties) => properties,
        _ => Map::new(),
    };
    Posted { properties, bytes: Bytes::copy_from_slice(part.contents()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_body_and_attachments_are_read() {
        let mail = "From: =?utf-8?Q?Ad=C3=A8le?= <a@b.example>\r\nTo: c@d.example\r\n\
            Bcc: Team: e@f.example;\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\nX-Tag: 7\r\n\
            Content-Type: multipart/mixed; boundary=m\r\n\r\n\
            --m\r\nContent-Type: text/html\r\n\r\n<p>hi</p>\r\n\
            --m\r\nContent-Type: text/csv\r\nContent-Disposition: attachment; filename=a.csv\r\n\r\n1;2\r\n--m--\r\n";
        let Parsed { properties, attachments } = read(mail.as_bytes());
        assert_eq!(properties["subject"], "Grüße");
        assert_eq!(properties["from"]["emailAddress"]["name"], "Adèle");
        assert_eq!(properties["bccRecipients"][0]["emailAddress"]["address"], "e@f.example");
        assert_eq!(properties["body"]["contentType"], "html");
        assert_eq!(properties["internetMessageHeaders"][4]["value"], "7");
        assert_eq!((attachments.len(), &attachments[0].bytes[..]), (1, &b"1;2"[..]));
        assert_eq!(attachments[0].properties["name"], "a.csv");
    }
}
