//! A mail as a person sees it: the fields that matter, text, HTML, attachments. Pure.
//!
//! For the page alone; what is delivered and to whom is decided in [`super::mime`]. Nothing in here
//! escapes anything: the templates do.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail_parser::{Message, MessageParser, MessagePart, MimeHeaders, PartType};

use super::header;

/// Characters of a text or HTML body that are shown.
const BODY_MAX: usize = 1 << 20;
/// Octets of images that are put into the HTML.
const IMAGES_MAX: usize = 4 << 20;

#[derive(Debug, Default)]
pub struct Shown {
    /// From, To, Cc, Date and what else a reader looks for, decoded.
    pub shown: Vec<(&'static str, String)>,
    /// The header section as it stands.
    pub header: String,
    pub html: Option<String>,
    pub text: Option<String>,
    pub attachments: Vec<Attachment>,
}

#[derive(Debug)]
pub struct Attachment {
    pub name: String,
    pub media_type: String,
    pub size: String,
}

/// Reads a delivered mail. Takes about twenty times its size in memory for a moment.
pub fn show(raw: &[u8]) -> Shown {
    let header = header::split(raw).map_or(raw, |sections| {
        let length = raw.len().saturating_sub(sections.body.len());
        raw.get(..length).unwrap_or_default()
    });
    let header = String::from_utf8_lossy(header).into_owned();
    let Some(message) = MessageParser::new().parse(raw) else {
        return Shown { header, ..Shown::default() };
    };
    let body = |ids: &[u32], wanted: fn(&PartType<'_>) -> Option<String>| {
        ids.iter().filter_map(|id| message.part(*id)).find_map(|part| wanted(&part.body))
    };
    let html = body(&message.html_body, |part| match part {
        PartType::Html(html) => Some(shortened(html)),
        _ => None,
    });
    let text = body(&message.text_body, |part| match part {
        PartType::Text(text) => Some(shortened(text)),
        _ => None,
    });
    Shown {
        shown: fields(&message),
        header,
        html: html.map(|html| with_images(html, &message)),
        text,
        attachments: message.attachments().map(attachment).collect(),
    }
}

fn fields(message: &Message<'_>) -> Vec<(&'static str, String)> {
    let lists = [
        ("From", message.from()),
        ("To", message.to()),
        ("Cc", message.cc()),
        ("Reply-To", message.reply_to()),
    ];
    let mut fields: Vec<(&'static str, String)> = lists
        .into_iter()
        .filter_map(|(name, list)| list.map(|list| (name, written(list))))
        .collect();
    fields.extend(message.date().map(|date| ("Date", date.to_rfc822())));
    fields.extend(message.message_id().map(|id| ("Message-ID", format!("<{id}>"))));
    fields
}

fn written(list: &mail_parser::Address<'_>) -> String {
    let mut text = String::new();
    for one in list.iter() {
        let separator = if text.is_empty() { "" } else { ", " };
        let address = one.address().unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = match one.name() {
            Some(name) => write!(text, "{separator}{name} <{address}>"),
            None => write!(text, "{separator}{address}"),
        };
    }
    text
}

fn attachment(part: &MessagePart<'_>) -> Attachment {
    let name = part.attachment_name().unwrap_or("without a name").to_owned();
    Attachment { name, media_type: media_type(part), size: size(part.len()) }
}

fn media_type(part: &MessagePart<'_>) -> String {
    let Some(content_type) = part.content_type() else { return "text/plain".to_owned() };
    match content_type.subtype() {
        Some(subtype) => format!("{}/{subtype}", content_type.ctype()),
        None => content_type.ctype().to_owned(),
    }
}

/// RFC 2392: `cid:` names a part of the same mail. The frame may fetch nothing, so images go in.
fn with_images(mut html: String, message: &Message<'_>) -> String {
    let mut octets = 0;
    for part in &message.parts {
        let (Some(id), media_type) = (part.content_id(), media_type(part)) else { continue };
        octets += part.len();
        if octets > IMAGES_MAX || !media_type.starts_with("image/") || id.is_empty() {
            continue;
        }
        let place = format!("cid:{id}");
        if html.contains(&place) {
            let data = STANDARD.encode(part.contents());
            html = html.replacen(&place, &format!("data:{media_type};base64,{data}"), 4);
        }
    }
    html
}

fn shortened(text: &str) -> String {
    text.chars().take(BODY_MAX).collect()
}

/// `512 bytes`, `3.4 kB`, `2.1 MB`.
pub fn size(octets: usize) -> String {
    match octets as f64 {
        few if few < 1e3 => format!("{octets} bytes"),
        some if some < 1e6 => format!("{:.1} kB", some / 1e3),
        many => format!("{:.1} MB", many / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_attachments_and_inline_images_are_found() {
        let mail = "From: =?utf-8?Q?Ad=C3=A8le?= <a@b.example>\r\nTo: c@d.example\r\n\
            MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n\
            --m\r\nContent-Type: text/html\r\n\r\n<img src=\"cid:pic\">\r\n\
            --m\r\nContent-Type: image/png\r\nContent-ID: <pic>\r\nContent-Disposition: inline\r\n\
            Content-Transfer-Encoding: base64\r\n\r\naGk=\r\n\
            --m\r\nContent-Type: text/csv\r\nContent-Disposition: attachment; filename=a.csv\r\n\r\n1;2\r\n--m--\r\n";
        let shown = show(mail.as_bytes());
        assert_eq!(shown.shown[0], ("From", "Adèle <a@b.example>".to_owned()));
        assert!(shown.html.unwrap().contains("data:image/png;base64,aGk="));
        assert!(shown.attachments.iter().any(|a| a.name == "a.csv" && a.media_type == "text/csv"));
        assert!(shown.header.ends_with("boundary=m\r\n"));
    }

    #[test]
    fn what_is_no_mail_is_shown_as_far_as_it_goes() {
        assert_eq!(show(b"").text, None);
        assert_eq!(size(999), "999 bytes");
        assert_eq!(size(1_500), "1.5 kB");
    }
}
