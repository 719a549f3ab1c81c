//! What submission adds so that a mail is whole. Pure.
//!
//! RFC 6409 §8.2 (Date), §8.3 (Message-ID), §8.4 (transfer encoding); RFC 2045 §4–§6. Only what is
//! missing or says too little is touched; the body never.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Refusal;
use super::edits::{Edits, Verdict};
use super::header::Field;
use crate::account::Account;

/// Decides on Date and Message-ID, and strips what a client has no say in.
pub fn decide(fields: &[Field<'_>], edits: &mut Edits) -> Result<(), Refusal> {
    edits.date_missing = !present_once(fields, "Date", edits)?;
    edits.message_id_missing = !present_once(fields, "Message-ID", edits)?;
    for (index, field) in fields.iter().enumerate() {
        // RFC 5321 §4.4: only final delivery writes Return-Path. The X- fields are ours.
        const STRIPPED: [&str; 5] = [
            "Return-Path",
            "X-Postbridge-To",
            "X-Postbridge-Cc",
            "X-Postbridge-Resent-To",
            "X-Postbridge-Resent-Cc",
        ];
        if STRIPPED.iter().any(|name| field.is(name)) {
            edits.set(index, Verdict::Drop);
        }
    }
    Ok(())
}

/// RFC 5322 §3.6: at most once. An empty field is no field.
fn present_once(fields: &[Field<'_>], name: &str, edits: &mut Edits) -> Result<bool, Refusal> {
    let mut present = false;
    for (index, field) in fields.iter().enumerate().filter(|(_, field)| field.is(name)) {
        if field.is_empty() {
            edits.set(index, Verdict::Drop);
        } else if std::mem::replace(&mut present, true) {
            return Err(Refusal::header(&format!("there is more than one {name}:")));
        }
    }
    Ok(present)
}

/// Decides on the MIME fields, which depend on the body.
pub fn decide_content(fields: &[Field<'_>], body: &[u8], edits: &mut Edits) {
    let find = |name| fields.iter().enumerate().find(|(_, field)| field.is(name));
    let content_type = find("Content-Type").filter(|(_, field)| !field.is_empty());
    let encoding = find("Content-Transfer-Encoding");
    let encoding_text = encoding.map(|(_, field)| field.text().to_ascii_lowercase());

    let eight_bit = !body.is_ascii();
    // RFC 2045 §6.1: without the field, the encoding is 7bit.
    let as_is = matches!(encoding_text.as_deref(), None | Some("" | "7bit" | "8bit" | "binary"));
    let seven_bit = matches!(encoding_text.as_deref(), None | Some("" | "7bit"));
    // RFC 2045 §6.4: the parts of a composite declare themselves.
    let media_type = content_type.map(|(_, field)| field.text().to_ascii_lowercase());
    let media_type = media_type.as_deref();
    let leaf =
        media_type.is_none_or(|t| !t.starts_with("multipart/") && !t.starts_with("message/"));

    let mut needs_mime = content_type.is_some() || encoding.is_some();
    match (content_type, media_type) {
        (None, _) if eight_bit && as_is => {
            needs_mime = true;
            if let Some((index, _)) = find("Content-Type") {
                edits.set(index, Verdict::Drop);
            }
            edits.append(
                format!("Content-Type: text/plain; charset={}\r\n", charset(body)).as_bytes(),
            );
        }
        // RFC 2046 §4.1.2: without charset it is US-ASCII, which it is not.
        (Some((index, field)), Some(text))
            if eight_bit
                && as_is
                && text.split(';').next().is_some_and(|t| t.trim_ascii_end() == "text/plain")
                && !text.contains("charset")
                && !text.contains('(') =>
        {
            let value = field.value.trim_ascii_end();
            let value = value.strip_suffix(b";").unwrap_or(value);
            let charset = format!(";\r\n charset={}\r\n", charset(body));
            let name = field.name.as_bytes();
            edits.set(index, Verdict::Replace([name, b":", value, charset.as_bytes()].concat()));
        }
        _ => {}
    }
    if eight_bit && leaf && seven_bit {
        needs_mime = true;
        if let Some((index, _)) = encoding {
            edits.set(index, Verdict::Drop);
        }
        edits.append(b"Content-Transfer-Encoding: 8bit\r\n");
    }
    if needs_mime && find("MIME-Version").is_none() {
        edits.append(b"MIME-Version: 1.0\r\n");
    }
}

/// What an undeclared body is written in: UTF-8 proves itself, the rest is guessed.
fn charset(body: &[u8]) -> &'static str {
    if std::str::from_utf8(body).is_ok() { "utf-8" } else { "windows-1252" }
}

/// RFC 5322 §3.6.1: the time of acceptance, where the client gave none. No field for a year that
/// RFC 5322 cannot write.
pub fn date(at: Timestamp) -> Vec<u8> {
    jiff::fmt::rfc2822::DateTimePrinter::new()
        .zoned_datetime_to_string(&at.to_zoned_datetime(TimeZone::UTC))
        .map(|text| format!("Date: {text}\r\n").into_bytes())
        .unwrap_or_default()
}

/// RFC 5322 §3.6.4: unique because the spool id is, the same in every attempt.
pub fn message_id(id: &str, account: &Account) -> Vec<u8> {
    let left: String =
        id.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).take(100).collect();
    format!("Message-ID: <{left}@{}>\r\n", account.address.domain()).into_bytes()
}
