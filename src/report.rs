//! The report that tells a sender that a mail was not delivered. Pure.
//!
//! RFC 3464 (delivery status notifications), RFC 6522 (`multipart/report`), RFC 3461 §6 (what the
//! client's DSN parameters ask for), RFC 6533 (addresses beyond ASCII), RFC 3834 (Auto-Submitted).
//! Written for a person first: what happened, to whom, what to do. Nothing here must ever take a
//! line from outside into a header or a status field, nor differ between two runs.

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::tz::TimeZone;
use mail_builder::MessageBuilder;
use mail_builder::headers::HeaderType;
use mail_builder::headers::address::Address as Mailbox;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::date::Date;
use mail_builder::headers::raw::Raw;
use mail_builder::mime::{BodyPart, MimePart};

use crate::account::{Account, Address};
use crate::mime;
use crate::submission::{Envelope, ForwardPath};

/// Longest subject that is repeated, in characters.
const SUBJECT_CHARS_MAX: usize = 150;
/// Longest text that is repeated in one line, in characters.
const LINE_CHARS_MAX: usize = 800;

/// All that a report says.
#[derive(Debug, Clone)]
pub struct Failure<'x> {
    pub account: &'x Account,
    pub envelope: &'x Envelope,
    /// The header block as the client sent it, with or without its empty line.
    pub head: &'x [u8],
    /// The spool id.
    pub id: &'x str,
    pub accepted_at: Timestamp,
    /// When the last attempt ended.
    pub finished_at: Timestamp,
    /// RFC 3463, its class 5: `[5, 3, 4]`.
    pub status: [u8; 3],
    /// What happened, as a sentence for the sender.
    pub reason: &'x str,
    /// What the sender can do about it, as a sentence.
    pub remedy: &'x str,
    /// What Graph answered, as `403 ErrorSendAsDenied`; `None` when it never came to that.
    pub remote: Option<&'x str>,
}

/// Whether a failure of this mail is to be reported at all.
///
/// RFC 5321 §6.1: never on a null reverse-path, or two reports could answer each other for ever.
/// RFC 3461 §4.1: not when the client wants none for any recipient.
pub fn wanted(envelope: &Envelope) -> bool {
    envelope.reverse_path().is_some() && reported(envelope).next().is_some()
}

/// The recipients whose failure the client wants to hear of.
fn reported(envelope: &Envelope) -> impl Iterator<Item = &ForwardPath> {
    envelope.forward_paths().iter().filter(|path| path.notify.wants_failure())
}

/// The report as RFC 5322 octets, from the account's own address to itself. Ask [`wanted`] first.
pub fn failure(report: &Failure<'_>) -> Vec<u8> {
    let own = &report.account.address;
    let subject = mime::subject(report.head).unwrap_or_default();
    let subject = one_line(&subject, SUBJECT_CHARS_MAX);
    let title = if subject.is_empty() { "(no subject)" } else { &subject };
    let id: String = report.id.chars().filter(|c| c.is_ascii_alphanumeric()).take(40).collect();
    let head = report.head.strip_suffix(b"\r\n\r\n").unwrap_or(report.head);
    let texts = [
        words(report, title),
        status_fields(report),
        String::from_utf8_lossy(head).trim_end().to_owned(),
    ];
    let boundary = boundary(&id, &texts);
    let [words, status, original] = texts;

    let text = MimePart::new(
        ContentType::new("text/plain").attribute("charset", "utf-8"),
        BodyPart::Text(words.into()),
    );
    let status = MimePart::new(
        ContentType::new("message/delivery-status"),
        BodyPart::Binary(status.into_bytes().into()),
    )
    .transfer_encoding("7bit");
    let original = MimePart::new(
        ContentType::new("text/rfc822-headers").attribute("charset", "utf-8"),
        BodyPart::Text(original.into()),
    );
    let content_type = ContentType::new("multipart/report")
        .attribute("report-type", "delivery-status")
        .attribute("boundary", boundary);

    let mut octets = Vec::new();
    MessageBuilder::new()
        .header("From", Mailbox::new_address(Some("postbridge"), own.as_str()))
        .header("To", Mailbox::new_address(None::<&str>, own.as_str()))
        .subject(format!("Not delivered: {title}"))
        .header("Date", Date::new(report.finished_at.as_second()))
        .message_id(format!("{id}.report@{}", own.domain()))
        // RFC 3834 §5: no responder answers this.
        .header("Auto-Submitted", HeaderType::from(Raw::new("auto-replied")))
        .body(MimePart::new(content_type, vec![text, status, original]))
        .serialize(&mut octets);
    octets
}

/// RFC 2046 §5.1.1: at most 70 characters that stand in no part. The id is given out after the end
/// of data, so already the first try will not be in the mail unless by intent.
fn boundary(id: &str, texts: &[String; 3]) -> String {
    let free = |boundary: &String| texts.iter().all(|text| !text.contains(boundary.as_str()));
    (0..100).map(|n| format!("=_postbridge_{id}_{n}")).find(free).unwrap_or_default()
}

/// The part for people.
fn words(report: &Failure<'_>, title: &str) -> String {
    let mut lines = vec![
        "Your mail was not delivered.".to_owned(),
        String::new(),
        format!("Subject:   {title}"),
        format!("Handed in: {}", date(report.accepted_at)),
        format!("Given up:  {}", date(report.finished_at)),
        String::new(),
        "It did not reach:".to_owned(),
        String::new(),
    ];
    lines.extend(reported(report.envelope).map(|path| format!("    {}", path.address)));
    lines.extend([
        String::new(),
        "What happened:".to_owned(),
        one_line(report.reason, LINE_CHARS_MAX),
        String::new(),
        "What to do:".to_owned(),
        one_line(report.remedy, LINE_CHARS_MAX),
        String::new(),
    ]);
    if let Some(remote) = report.remote {
        lines.push(format!("Microsoft 365 answered: {}", one_line(remote, LINE_CHARS_MAX)));
    }
    lines.push(format!(
        "Your administrator finds this mail in the log of postbridge as {}.",
        report.id
    ));
    lines.push(String::new());
    lines.join("\r\n")
}

/// RFC 3464 §2: fields about the mail, then a block of fields for each recipient.
fn status_fields(report: &Failure<'_>) -> String {
    let mut lines = Vec::new();
    if let Some(envid) = &report.envelope.parameters().envid {
        lines.push(field("Original-Envelope-Id", envid));
    }
    lines.push(field("Reporting-MTA", "dns; localhost"));
    lines.push(field("Arrival-Date", &date(report.accepted_at)));
    lines.push(field("X-Postbridge-Id", report.id));
    let [class, subject, detail] = report.status;
    for path in reported(report.envelope) {
        lines.push("\r\n".to_owned());
        match path.orcpt.as_deref() {
            Some(orcpt) if orcpt.contains(';') => lines.push(field("Original-Recipient", orcpt)),
            Some(orcpt) => lines.push(field("Original-Recipient", &format!("rfc822;{orcpt}"))),
            None => {}
        }
        lines.push(field("Final-Recipient", &typed(&path.address)));
        lines.push(field("Action", "failed"));
        lines.push(field("Status", &format!("{class}.{subject}.{detail}")));
        if let Some(remote) = report.remote {
            lines.push(field("Diagnostic-Code", &format!("X-Microsoft-Graph; {remote}")));
        }
        lines.push(field("Last-Attempt-Date", &date(report.finished_at)));
    }
    lines.concat()
}

/// RFC 3464 §2.1.1: a status field holds printable US-ASCII.
fn field(name: &str, value: &str) -> String {
    let printable = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    let value: String = value.chars().take(LINE_CHARS_MAX).map(printable).collect();
    format!("{name}: {value}\r\n")
}

/// RFC 3464 §2.3.2, and RFC 6533 §3 for what ASCII cannot write: `utf-8; j\x{FC}rgen@…`.
fn typed(address: &Address) -> String {
    if address.as_str().is_ascii() {
        return format!("rfc822; {address}");
    }
    let escaped = |c: char| match c {
        '\\' | '+' | '=' => format!("\\x{{{:02X}}}", u32::from(c)),
        _ if c.is_ascii() => c.to_string(),
        _ => format!("\\x{{{:X}}}", u32::from(c)),
    };
    format!("utf-8; {}", address.as_str().chars().map(escaped).collect::<String>())
}

/// Text from outside as a single line that shows what it is: no line ends, no control characters,
/// none of the marks that turn the direction of writing.
fn one_line(text: &str, chars_max: usize) -> String {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let text: String =
        text.chars().filter(|&c| !turns(c)).map(|c| if breaks(c) { ' ' } else { c }).collect();
    let text = text.trim();
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max).chain(['…']).collect()
}

fn date(at: Timestamp) -> String {
    let at = at.to_zoned_datetime(TimeZone::UTC);
    DateTimePrinter::new().zoned_datetime_to_string(&at).unwrap_or_default()
}
