//! Other recipients or another subject in the header of a mail, and the rest of it octet for octet.
//! Pure.
//!
//! One reading of what Exchange does with a PATCH of a draft that was created from MIME
//! (`mime_draft_patch`): RFC 5322 fields are replaced where they stand, or added at the end of the
//! header. It must never touch the body.

use mail_builder::headers::Header;
use mail_builder::headers::text::Text;
use serde_json::{Map, Value};

use super::header;
use super::message::{Recipient, Unfit, list, one_line};

/// Properties that are header fields.
const FIELDS: [(&str, &str); 5] = [
    ("toRecipients", "To"),
    ("ccRecipients", "Cc"),
    ("bccRecipients", "Bcc"),
    ("replyTo", "Reply-To"),
    ("subject", "Subject"),
];

/// Takes what it knows out of `changes`, and puts it into the header of `raw`.
pub fn edited(raw: &[u8], changes: &mut Map<String, Value>) -> Result<Vec<u8>, Unfit> {
    let sections = header::split(raw).map_err(|why| Unfit::Body(why.to_string()))?;
    let mut out = Vec::with_capacity(raw.len());
    let mut replaced = Vec::new();
    for (property, name) in FIELDS {
        if let Some(value) = changes.remove(property) {
            replaced.push((name, Some(written(name, value)?)));
        }
    }
    for field in &sections.fields {
        match replaced.iter_mut().find(|(name, _)| field.is(name)) {
            // Of several fields of this name the first makes place for the new one.
            Some((_, new)) => out.extend(new.take().unwrap_or_default()),
            None => out.extend_from_slice(field.octets),
        }
    }
    if !out.ends_with(b"\r\n") && !out.is_empty() {
        out.extend_from_slice(b"\r\n");
    }
    out.extend(replaced.into_iter().filter_map(|(_, new)| new).flatten());
    out.extend_from_slice(sections.body);
    Ok(out)
}

/// The whole field, its CRLF included; nothing at all for an empty list.
fn written(name: &str, value: Value) -> Result<Vec<u8>, Unfit> {
    let mut field = format!("{name}: ").into_bytes();
    let start = field.len();
    match value {
        Value::Array(_) => {
            let recipients: Vec<Recipient> =
                serde_json::from_value(value).map_err(|error| Unfit::Body(error.to_string()))?;
            if recipients.is_empty() {
                return Ok(Vec::new());
            }
            list(&recipients)?.write_header(&mut field, start);
        }
        value => {
            let text = one_line(value.as_str().unwrap_or_default());
            Text::new(text).write_header(&mut field, start);
        }
    }
    Ok(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn edit(raw: &str, changes: Value) -> (String, Map<String, Value>) {
        let Value::Object(mut changes) = changes else { panic!("an object") };
        let edited = edited(raw.as_bytes(), &mut changes).unwrap();
        (String::from_utf8(edited).unwrap(), changes)
    }

    #[test]
    fn a_field_is_replaced_where_it_stands_or_added_and_nothing_else_changes() {
        let raw =
            "X-A:  1\r\n\t2\r\nto: old@b.example\r\nFrom: a@b.example\r\n\r\nTo: body\r\n.\r\n";
        let one = |address: &str| json!([{"emailAddress": {"address": address}}]);
        let changes = json!({"toRecipients": one("new@b.example"), "isRead": true,
            "bccRecipients": one("s@b.example"), "subject": "x\r\nEvil: 1"});
        let (edited, left) = edit(raw, changes);
        let expected = "X-A:  1\r\n\t2\r\nTo: <new@b.example>\r\nFrom: a@b.example\r\n\
            Bcc: <s@b.example>\r\nSubject: xEvil: 1\r\n\r\nTo: body\r\n.\r\n";
        assert_eq!(edited, expected);
        assert_eq!(left.keys().collect::<Vec<_>>(), ["isRead"]);
        assert_eq!(
            edit(raw, json!({"toRecipients": []})).0,
            raw.replace("to: old@b.example\r\n", "")
        );
    }
}
