//! A submitted mail made fit for Graph: checked at the end of data, completed for each attempt.
//! Pure.
//!
//! RFC 5322 (the header), RFC 6409 §6 and §8 (what a submission server checks and adds), RFC 2045.
//! Graph takes the whole mail as MIME and has no envelope: the recipients, the author and the date
//! are what the header says. So the header is brought in line with the envelope and the account, or
//! the mail is refused with a reason; the body and every field that need not change are passed on
//! octet for octet, and with them signatures, encodings and a client's peculiarities.
//!
//! A mail that is too large for that is never held: [`outline`] maps it in one pass, [`content`] tells
//! its body from its files, [`decompose`] says as properties what [`compose`] would have said as a
//! header, and [`decode`] gives the files back piece by piece.
//!
//! Decisions stand in `recipients`, `originator` and `complete`; each writes its verdicts into
//! [`Edits`], and [`compose`] carries them out. Nothing here must ever send a mail to somebody whom
//! RCPT TO did not name, show a Bcc, or add a line that came from outside.

mod address_list;
pub mod calendar;
mod complete;
pub mod content;
pub mod decode;
pub mod decompose;
mod edits;
mod header;
mod originator;
pub mod outline;
mod recipients;

use jiff::Timestamp;

use crate::account::{Account, Address};
use crate::submission::Envelope;

pub use edits::Edits;
pub use header::{FIELDS_MAX, OCTETS_MAX as HEAD_OCTETS_MAX};

/// Why a mail is not taken, in SMTP's terms (RFC 5321 §4.2, RFC 3463).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code} {}.{}.{} {text}", enhanced[0], enhanced[1], enhanced[2])]
pub struct Refusal {
    pub code: u16,
    pub enhanced: [u8; 3],
    /// One line of printable US-ASCII, at most 400 octets.
    pub text: String,
}

impl Refusal {
    fn new(code: u16, enhanced: [u8; 3], text: &str) -> Refusal {
        let printable = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
        Refusal { code, enhanced, text: text.chars().take(400).map(printable).collect() }
    }

    /// RFC 3463 §3.7: 5.6.0, something is wrong with the content.
    fn header(why: &str) -> Refusal {
        Refusal::new(550, [5, 6, 0], why)
    }

    /// 5.6.11 is what Exchange itself answers to a bare line feed.
    fn line_ends() -> Refusal {
        Refusal::new(550, [5, 6, 11], "the mail holds a bare CR, a bare LF or a NUL")
    }

    fn too_large() -> Refusal {
        Refusal::new(552, [5, 3, 4], "the header is too large")
    }

    /// RFC 3463 §3.8: 5.7.1, not authorized.
    fn sender(field: &str, address: &Address) -> Refusal {
        let who = match address.as_str().is_ascii() {
            true => address.as_str(),
            false => "this address",
        };
        Refusal::new(550, [5, 7, 1], &format!("{field}: the account may not send as {who}"))
    }

    /// RFC 3463 §3.2: 5.1.3, bad destination mailbox address syntax.
    fn recipient() -> Refusal {
        Refusal::new(550, [5, 1, 3], "a recipient's address cannot stand in a header")
    }
}

/// What a mail gets from being accepted. The same for every attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The spool id; makes the Message-ID.
    pub id: String,
    /// Makes the Date.
    pub accepted_at: Timestamp,
}

/// The header block of a mail, without its empty line; empty where it cannot be told.
pub fn head(octets: &[u8]) -> &[u8] {
    header::split(octets).map_or(&[], |(head, _)| head)
}

/// Checks a header block at the end of data, before the 250.
///
/// `head` is the mail up to and including the empty line (all of it where there is none). What this
/// lets pass, [`compose`] can compose.
pub fn inspect(head: &[u8], envelope: &Envelope, account: &Account) -> Result<Edits, Refusal> {
    let (head, _) = header::split(head)?;
    header::check_octets(head)?;
    let head = header::without_blank_folds(head);
    decide(&header::fields(&head)?, envelope, account)
}

/// The mail as Graph gets it. Deterministic: the same input makes the same octets.
///
/// The result holds CRLF as its only line end, one From, one Bcc at most, and names in To, Cc and
/// Bcc together exactly the recipients of the envelope.
pub fn compose(
    octets: &[u8],
    envelope: &Envelope,
    account: &Account,
    stamp: &Stamp,
) -> Result<Vec<u8>, Refusal> {
    header::check_octets(octets)?;
    let (head, body) = header::split(octets)?;
    let head = header::without_blank_folds(head);
    let fields = header::fields(&head)?;
    let mut edits = decide(&fields, envelope, account)?;
    if edits.date_missing {
        edits.append(&complete::date(stamp.accepted_at));
    }
    if edits.message_id_missing {
        edits.append(&complete::message_id(&stamp.id, account));
    }
    complete::decide_content(&fields, body, &mut edits);

    let mut output = Vec::with_capacity(octets.len() + 1024);
    edits.write(&fields, &mut output);
    output.extend_from_slice(b"\r\n");
    output.extend_from_slice(body);
    Ok(output)
}

/// Each mailbox of an address field's value: its address, or the text of what is none, such as `root`.
/// `None` when it cannot be read.
pub fn mailboxes(value: &[u8]) -> Option<Vec<Result<Address, String>>> {
    let items = address_list::scan(value).ok()?;
    let mailboxes = items.iter().flat_map(address_list::Item::mailboxes);
    let read = |mailbox: &address_list::Mailbox| match &mailbox.address {
        Some(address) => Ok(address.clone()),
        None => {
            let text = value.get(mailbox.span.clone()).unwrap_or_default();
            Err(String::from_utf8_lossy(text).into_owned())
        }
    };
    Some(mailboxes.map(read).collect())
}

/// The subject of a mail, decoded (RFC 2047), for a person to know it by. It is text from outside:
/// whoever shows it must see to control characters. `None` where there is none to be read.
pub fn subject(head: &[u8]) -> Option<String> {
    let (head, _) = header::split(head).ok()?;
    let fields = header::fields(head).ok()?;
    let field = fields.iter().find(|field| field.is("Subject"))?;
    // More than anybody will read; encoded words are decoded no further.
    let value = field.value.get(..field.value.len().min(2_000))?;
    let line = [value, b"\r\n"].concat();
    match mail_parser::parsers::MessageStream::new(&line).parse_unstructured() {
        mail_parser::HeaderValue::Text(text) => Some(text.into_owned()),
        _ => None,
    }
}

fn decide(
    fields: &[header::Field<'_>],
    envelope: &Envelope,
    account: &Account,
) -> Result<Edits, Refusal> {
    let mut edits = Edits::new(fields.len());
    originator::decide(fields, envelope, account, &mut edits)?;
    recipients::decide(fields, envelope, &mut edits)?;
    complete::decide(fields, &mut edits)?;
    Ok(edits)
}
