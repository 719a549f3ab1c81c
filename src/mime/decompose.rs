//! A mail too large to go as MIME, in the terms of a message that is made of properties. Pure.
//!
//! The counterpart of [`super::compose`], and bound to it: the recipients, the author and what is
//! added are read from the very header that `compose` makes, so that both ways deliver alike. The
//! bodies stay where they are; what is here are their ranges. What a message of properties cannot
//! hold is said in [`Decomposed::notes`]. This file must never name a recipient who is not in the
//! envelope, nor leave one out.

use std::collections::BTreeSet;

use mail_parser::HeaderValue;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::parsers::MessageStream;

use super::content::{Attachment, Text, flat};
use super::header::{self, Field};
use super::outline::Outline;
use super::{Refusal, Stamp, address_list, compose};
use crate::account::{Account, Address};
use crate::submission::Envelope;

/// Graph refuses a message with more headers of its own (InvalidInternetMessageHeaderCollection).
pub const OWN_FIELDS_MAX: usize = 5;
/// Largest body in octets as JSON writes it: a request has 4 MB, and the header wants some.
pub const BODY_OCTETS_MAX: usize = 3 * 1024 * 1024;
/// Largest body still encoded, so that nobody reads more than could fit.
const BODY_RANGE_OCTETS_MAX: u64 = 8 * 1024 * 1024;
/// RFC 5322 §2.1.1.
const FIELD_OCTETS_MAX: usize = 998;

/// An address with the name that was written to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    pub address: Address,
    pub name: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Importance {
    Low,
    #[default]
    Normal,
    High,
}

/// A mail as properties, without its bodies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decomposed {
    pub subject: String,
    pub from: Mailbox,
    pub reply_to: Vec<Mailbox>,
    /// Together exactly the recipients of the envelope, each once.
    pub to: Vec<Mailbox>,
    pub cc: Vec<Mailbox>,
    pub bcc: Vec<Mailbox>,
    pub importance: Importance,
    pub wants_read_receipt: bool,
    pub wants_delivery_receipt: bool,
    /// With angle brackets, as the next three.
    pub message_id: String,
    pub in_reply_to: Option<String>,
    pub references: Option<String>,
    pub list_unsubscribe: Option<String>,
    /// `X-` fields: at most [`OWN_FIELDS_MAX`], no name twice.
    pub own_fields: Vec<(String, String)>,
    pub is_html: bool,
    /// To be read, decoded and given to [`Decomposed::body`] in this order.
    pub texts: Vec<Text>,
    pub attachments: Vec<Attachment>,
    /// What is not carried as it was, in words for the log; without content of the mail.
    pub notes: Vec<String>,
}

/// Takes a mail apart.
pub fn decompose(
    outline: &Outline,
    envelope: &Envelope,
    account: &Account,
    stamp: &Stamp,
) -> Result<Decomposed, Refusal> {
    let flat = flat(outline)?;
    let encoded: u64 = flat.body.iter().map(length).sum();
    if encoded > BODY_RANGE_OCTETS_MAX {
        return Err(large_body());
    }
    let head = compose(&[&*outline.head, b"\r\n"].concat(), envelope, account, stamp)?;
    let (head, _) = header::split(&head)?;
    let fields = header::fields(head)?;

    let mut notes = flat.notes;
    let mut left: BTreeSet<String> = envelope.recipients().map(Address::key).collect();
    let mut recipients = |name: &str, notes: &mut Vec<String>| {
        let mut found = mailboxes(&fields, name, notes)?;
        // Twice named is once mailed. Nobody is named who is not in the envelope: see below.
        let mut strangers =
            found.iter().filter(|one| !envelope.recipients().any(|r| r.same_mailbox(&one.address)));
        if strangers.next().is_some() {
            return Err(Refusal::recipient());
        }
        found.retain(|mailbox| left.remove(&mailbox.address.key()));
        Ok(found)
    };
    let to = recipients("To", &mut notes)?;
    let cc = recipients("Cc", &mut notes)?;
    let bcc = recipients("Bcc", &mut notes)?;
    if !left.is_empty() {
        return Err(Refusal::recipient());
    }
    let from = mailboxes(&fields, "From", &mut notes)?.into_iter().next();
    let from = from.ok_or_else(|| Refusal::header("From: cannot be read with certainty"))?;
    let reply_to = mailboxes(&fields, "Reply-To", &mut notes).unwrap_or_else(|_| {
        notes.push("Reply-To cannot be read and is not carried".to_owned());
        Vec::new()
    });
    let text = |name: &str| {
        let field = fields.iter().find(|field| field.is(name) && !field.is_empty());
        field.map(|field| field.text().split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let own_fields = own_fields(&fields, &mut notes);
    note_the_rest(&fields, &mut notes);
    Ok(Decomposed {
        subject: subject(&fields),
        from,
        reply_to,
        to,
        cc,
        bcc,
        importance: importance(&text),
        // RFC 8098 §2.1
        wants_read_receipt: text("Disposition-Notification-To").is_some(),
        wants_delivery_receipt: text("Return-Receipt-To").is_some(),
        message_id: text("Message-ID").unwrap_or_default(),
        in_reply_to: text("In-Reply-To"),
        references: text("References"),
        list_unsubscribe: text("List-Unsubscribe"),
        own_fields,
        is_html: flat.is_html,
        texts: flat.body,
        attachments: flat.attachments,
        notes,
    })
}

impl Decomposed {
    /// The body, of the octets of [`Decomposed::texts`] without their transfer encodings. Sets which
    /// attachments are shown in it.
    pub fn body(&mut self, octets: &[Vec<u8>]) -> Result<String, Refusal> {
        let mut body = String::new();
        for (text, octets) in self.texts.iter().zip(octets) {
            let (text, is_certain) = in_unicode(text.charset.as_deref(), octets);
            if !is_certain {
                self.notes.push("the body's charset is not known".to_owned());
            }
            if !body.is_empty() && !body.ends_with('\n') {
                body.push_str("\r\n");
            }
            body.push_str(&text);
        }
        // RFC 9580 §7: a signature within the text; any change of it breaks it.
        let mut lines = body.lines().map(str::trim_end);
        if lines.any(|line| {
            line == "-----BEGIN PGP SIGNED MESSAGE-----" || line == "-----BEGIN PGP MESSAGE-----"
        }) {
            return Err(super::content::refused("signed or encrypted with PGP"));
        }
        if json_octets(&body) > BODY_OCTETS_MAX {
            return Err(large_body());
        }
        let named = if self.is_html { ids_named(&body) } else { BTreeSet::new() };
        for attachment in &mut self.attachments {
            let id = attachment.content_id.as_deref();
            attachment.is_inline = id.is_some_and(|id| named.contains(id));
        }
        Ok(body)
    }
}

fn large_body() -> Refusal {
    Refusal::new(552, [5, 3, 4], "the text of the mail, without attachments, is too large")
}

fn length(text: &Text) -> u64 {
    text.content.range.end.saturating_sub(text.content.range.start)
}

/// The mailboxes of a field that `compose` has passed, groups made flat.
fn mailboxes(
    fields: &[Field<'_>],
    name: &str,
    notes: &mut Vec<String>,
) -> Result<Vec<Mailbox>, Refusal> {
    let mut found = Vec::new();
    for field in fields.iter().filter(|field| field.is(name) && !field.is_empty()) {
        let items = address_list::scan(field.value)
            .map_err(|_| Refusal::header(&format!("{name}: cannot be read with certainty")))?;
        for item in &items {
            if matches!(item, address_list::Item::Group { members, .. } if !members.is_empty()) {
                notes.push(format!("the name of a group in {name} is not carried"));
            }
            for mailbox in item.mailboxes() {
                let span = field.value.get(mailbox.span.clone()).unwrap_or_default();
                if let Some(address) = &mailbox.address {
                    found.push(Mailbox { address: address.clone(), name: display_name(span) });
                }
            }
        }
    }
    Ok(found)
}

fn display_name(mailbox: &[u8]) -> Option<String> {
    let line = [mailbox, b"\r\n"].concat();
    let HeaderValue::Address(list) = MessageStream::new(&line).parse_address() else { return None };
    let name = printable(list.first()?.name()?);
    Some(name.chars().take(255).collect()).filter(|name: &String| !name.is_empty())
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned()
}

/// The whole of it, decoded (RFC 2047).
fn subject(fields: &[Field<'_>]) -> String {
    let field = fields.iter().find(|field| field.is("Subject"));
    let line = [field.map_or(&b""[..], |field| field.value), b"\r\n"].concat();
    match MessageStream::new(&line).parse_unstructured() {
        HeaderValue::Text(text) => printable(&text),
        _ => String::new(),
    }
}

/// RFC 2156 §5.3.4 and what clients write in its place.
fn importance(text: &impl Fn(&str) -> Option<String>) -> Importance {
    let said = text("Importance").or_else(|| text("X-Priority"));
    let said = said.or_else(|| text("X-MSMail-Priority")).or_else(|| text("Priority"));
    let said = said.unwrap_or_default().to_ascii_lowercase();
    match said.split(' ').next() {
        Some("high" | "urgent" | "1" | "2") => Importance::High,
        Some("low" | "non-urgent" | "4" | "5") => Importance::Low,
        _ => Importance::Normal,
    }
}

/// Fields that become a property, or that belong to the form which is given up.
const CARRIED: [&str; 20] = [
    "From",
    "To",
    "Cc",
    "Bcc",
    "Reply-To",
    "Subject",
    "Message-ID",
    "In-Reply-To",
    "References",
    "List-Unsubscribe",
    "Importance",
    "Priority",
    "X-Priority",
    "X-MSMail-Priority",
    "Disposition-Notification-To",
    "Return-Receipt-To",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Content-Disposition",
];

fn is_carried(field: &Field<'_>) -> bool {
    CARRIED.iter().any(|name| field.is(name))
}

fn is_own(field: &Field<'_>) -> bool {
    field.name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("X-"))
}

/// The `X-` fields that are carried: ours first, since they tell the recipients what was changed; what
/// only names the program last.
fn own_fields(fields: &[Field<'_>], notes: &mut Vec<String>) -> Vec<(String, String)> {
    let mut own: Vec<&Field<'_>> =
        fields.iter().filter(|f| is_own(f) && !is_carried(f) && !f.is_empty()).collect();
    own.sort_by_key(|field| {
        let name = field.name.to_ascii_lowercase();
        match name.as_str() {
            name if name.starts_with("x-postbridge-") => 0,
            "x-mailer" | "x-mimeole" | "x-php-originating-script" | "x-originating-ip" => 2,
            _ => 1,
        }
    });
    let mut carried: Vec<(String, String)> = Vec::new();
    let mut left = Vec::new();
    for field in own {
        let value = printable(&field.text());
        let is_there = carried.iter().any(|(name, _)| field.is(name));
        if carried.len() == OWN_FIELDS_MAX || is_there || value.len() > FIELD_OCTETS_MAX {
            left.push(field.name);
        } else {
            carried.push((field.name.to_owned(), value));
        }
    }
    note_names(&left, notes);
    carried
}

fn note_the_rest(fields: &[Field<'_>], notes: &mut Vec<String>) {
    let rest = fields.iter().filter(|field| !is_carried(field) && !is_own(field));
    let names: Vec<&str> = rest.map(|field| field.name).collect();
    note_names(&names, notes);
}

/// Field names are the sender's program's, not content; but there may be many.
fn note_names(names: &[&str], notes: &mut Vec<String>) {
    let mut shown: Vec<String> =
        names.iter().take(20).map(|name| name.chars().take(60).collect()).collect();
    if names.len() > shown.len() {
        shown.push(format!("and {} more", names.len() - shown.len()));
    }
    if !shown.is_empty() {
        notes.push(format!("fields that are not carried: {}", shown.join(", ")));
    }
}

/// A text, and whether its charset was known.
fn in_unicode(charset: Option<&str>, octets: &[u8]) -> (String, bool) {
    let named = charset.map(str::to_ascii_lowercase);
    let decoder = named.as_deref().and_then(|name| match name {
        // What says so is often the other one.
        "utf-8" | "utf8" | "us-ascii" | "ascii" => None,
        name => charset_decoder(name.as_bytes()),
    });
    if let Some(decoder) = decoder {
        return (decoder(octets), true);
    }
    let is_known = matches!(named.as_deref(), None | Some("utf-8" | "utf8" | "us-ascii" | "ascii"));
    match std::str::from_utf8(octets) {
        Ok(text) => (text.to_owned(), is_known),
        // As `complete` declares what says nothing of itself.
        Err(_) => match charset_decoder(b"windows-1252") {
            Some(decoder) => (decoder(octets), is_known),
            None => (String::from_utf8_lossy(octets).into_owned(), false),
        },
    }
}

/// RFC 8259 §7: what a text takes in JSON.
fn json_octets(text: &str) -> usize {
    let octets = text.bytes().map(|octet| match octet {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    });
    octets.sum()
}

/// RFC 2392 §2: the Content-IDs that a body names, which are percent-encoded in a URL.
fn ids_named(html: &str) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for at in memchr::memchr_iter(b':', html.as_bytes()) {
        let scheme = at.checked_sub(3).and_then(|from| html.get(from..at));
        if !scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("cid")) {
            continue;
        }
        let rest = html.get(at + 1..).unwrap_or_default();
        let ends = |c: char| c.is_whitespace() || "\"'<>)&".contains(c);
        let id = rest.split(ends).next().unwrap_or_default();
        if !id.is_empty() && id.len() <= FIELD_OCTETS_MAX {
            ids.insert(percent_decoded(id));
        }
    }
    ids
}

fn percent_decoded(text: &str) -> String {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((octet, after)) = rest.split_first() {
        let escape = after.get(..2).filter(|_| *octet == b'%');
        let value = escape
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        octets.push(value.unwrap_or(*octet));
        rest = if value.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&octets).into_owned()
}
