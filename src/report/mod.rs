//! The reports that tell a sender what became of a mail. Pure.
//!
//! RFC 3464 (delivery status notifications), RFC 6522 (`multipart/report`), RFC 3461 §5.2 and §6 (when,
//! and what the client's DSN parameters ask for), RFC 6533 (addresses beyond ASCII), RFC 3834
//! (Auto-Submitted). Written for a person first: what happened, to whom, what to do. Nothing here must
//! ever take a line from outside into a header or a status field, nor differ between two runs.

mod status;
mod words;

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

use crate::account::Account;
use crate::mime;
use crate::submission::{Envelope, ForwardPath, Return};

/// Longest subject that is repeated, in characters.
const SUBJECT_CHARS_MAX: usize = 150;
/// Longest text that is repeated in one line, in characters.
const LINE_CHARS_MAX: usize = 800;
/// Largest mail that is returned whole, in octets. RFC 3461 §4.3 lets us return less than was asked.
pub const RETURN_OCTETS_MAX: usize = 1 << 20;
/// RFC 5322 §2.1.1: the longest line, in octets, without its CRLF.
const TEXT_LINE_OCTETS_MAX: usize = 998;

/// All that a report says.
#[derive(Debug, Clone)]
pub struct Notice<'x> {
    pub account: &'x Account,
    pub envelope: &'x Envelope,
    /// The mail as the client sent it; its header block will do where it is not to be returned.
    pub octets: &'x [u8],
    /// The spool id.
    pub id: &'x str,
    pub accepted_at: Timestamp,
    /// When the last attempt ended.
    pub at: Timestamp,
    pub fate: Fate<'x>,
}

/// What became of a mail.
#[derive(Debug, Clone, Copy)]
pub enum Fate<'x> {
    /// It will never go.
    Failed {
        /// RFC 3463, its class 5: `[5, 3, 4]`.
        status: [u8; 3],
        /// What happened, as a sentence for the sender.
        reason: &'x str,
        /// What the sender can do about it, as a sentence.
        remedy: &'x str,
        /// What Graph answered, as `403 ErrorSendAsDenied`; `None` when it never came to that.
        remote: Option<&'x str>,
    },
    /// It has not gone yet, and is tried until then.
    Delayed { reason: &'x str, until: Timestamp },
    /// Nobody knows whether it went. It is not tried again by machine.
    Held { reason: &'x str },
    /// Graph took it, and tells no more.
    Relayed,
}

impl Fate<'_> {
    /// The recipients of whom the client wants to hear this.
    fn recipients<'e>(&self, envelope: &'e Envelope) -> impl Iterator<Item = &'e ForwardPath> {
        let fate = *self;
        envelope.forward_paths().iter().filter(move |path| {
            let notify = path.notify;
            match fate {
                Fate::Failed { .. } => notify.wants_failure(),
                // RFC 3461 §5.2.5
                Fate::Delayed { .. } => notify.wants_delay(),
                // It is no failure and may become none, and somebody has to look.
                Fate::Held { .. } => notify.wants_failure() || notify.wants_delay(),
                // RFC 3461 §5.2.4: what lies behind a gateway confirms no delivery.
                Fate::Relayed => notify.wants_success(),
            }
        })
    }

    /// Of the Message-ID, so that each report on a mail has its own.
    fn name(&self) -> &'static str {
        match self {
            Fate::Failed { .. } => "report",
            Fate::Delayed { .. } => "delayed",
            Fate::Held { .. } => "held",
            Fate::Relayed => "relayed",
        }
    }
}

/// Whether this is to be reported at all.
///
/// RFC 5321 §6.1: never on a null reverse-path, or two reports could answer each other for ever.
/// RFC 3461 §4.1: only what the client wants to hear of some recipient.
pub fn wanted(envelope: &Envelope, fate: &Fate<'_>) -> bool {
    envelope.reverse_path().is_some() && fate.recipients(envelope).next().is_some()
}

/// The report as RFC 5322 octets, from the account's own address to itself. Ask [`wanted`] first.
pub fn compose(notice: &Notice<'_>) -> Vec<u8> {
    let own = &notice.account.address;
    let head = mime::head(notice.octets);
    let subject = mime::subject(head).unwrap_or_default();
    let subject = one_line(&subject, SUBJECT_CHARS_MAX);
    let title = if subject.is_empty() { "(no subject)" } else { &subject };
    let id: String = notice.id.chars().filter(|c| c.is_ascii_alphanumeric()).take(40).collect();
    let words = words::of(notice, title);
    let status = status::fields(notice);
    let original = Original::of(notice, head);
    let parts = [words.as_bytes(), status.as_bytes(), original.octets()];
    let boundary = boundary(&id, parts);

    let text = MimePart::new(
        ContentType::new("text/plain").attribute("charset", "utf-8"),
        BodyPart::Text(words.into()),
    );
    let status = MimePart::new(
        ContentType::new("message/delivery-status"),
        BodyPart::Binary(status.into_bytes().into()),
    )
    .transfer_encoding("7bit");
    let content_type = ContentType::new("multipart/report")
        .attribute("report-type", "delivery-status")
        .attribute("boundary", boundary);
    let eight_bit = original.is_eight_bit();
    let mut report = MimePart::new(content_type, vec![text, status, original.part()]);
    if eight_bit {
        // RFC 2045 §6.4: the whole is of no lesser encoding than its parts.
        report = report.transfer_encoding("8bit");
    }

    let mut message_id = format!("{id}.{}", notice.fate.name());
    if let Fate::Held { .. } = notice.fate {
        // It may be sent again by hand, and be in doubt again.
        message_id.push_str(&format!(".{}", notice.at.as_millisecond()));
    }
    let mut octets = Vec::new();
    MessageBuilder::new()
        .header("From", Mailbox::new_address(Some("postbridge"), own.as_str()))
        .header("To", Mailbox::new_address(None::<&str>, own.as_str()))
        .subject(format!("{}: {title}", words::subject(&notice.fate)))
        .header("Date", Date::new(notice.at.as_second()))
        .message_id(format!("{message_id}@{}", own.domain()))
        // RFC 3834 §5: no responder answers this.
        .header("Auto-Submitted", HeaderType::from(Raw::new("auto-replied")))
        .body(report)
        .serialize(&mut octets);
    octets
}

/// What is returned of the mail. RFC 3461 §4.3: all of it only on a failure, and only if asked for.
enum Original<'x> {
    Whole(&'x [u8]),
    Header(String),
}

impl<'x> Original<'x> {
    fn of(notice: &Notice<'x>, head: &[u8]) -> Original<'x> {
        let octets = notice.octets;
        let asked = matches!(notice.fate, Fate::Failed { .. })
            && notice.envelope.parameters().ret == Some(Return::Full);
        if asked && octets.len() <= RETURN_OCTETS_MAX && is_text(octets) {
            return Original::Whole(octets);
        }
        Original::Header(String::from_utf8_lossy(head).trim_end().to_owned())
    }

    fn octets(&self) -> &[u8] {
        match self {
            Original::Whole(octets) => octets,
            Original::Header(head) => head.as_bytes(),
        }
    }

    fn is_eight_bit(&self) -> bool {
        matches!(self, Original::Whole(octets) if !octets.is_ascii())
    }

    fn part(self) -> MimePart<'x> {
        let encoding = if self.is_eight_bit() { "8bit" } else { "7bit" };
        match self {
            // RFC 2046 §5.2.1: as it is; no other encoding is allowed.
            Original::Whole(octets) => {
                MimePart::new(ContentType::new("message/rfc822"), BodyPart::Binary(octets.into()))
                    .transfer_encoding(encoding)
            }
            Original::Header(head) => MimePart::new(
                ContentType::new("text/rfc822-headers").attribute("charset", "utf-8"),
                BodyPart::Text(head.into()),
            ),
        }
    }
}

/// Whether these octets can stand in a part as they are (RFC 2045 §2.8).
fn is_text(octets: &[u8]) -> bool {
    let sound = |line: &[u8]| {
        line.len() <= TEXT_LINE_OCTETS_MAX && !line.contains(&b'\r') && !line.contains(&0)
    };
    let mut lines = octets.split(|&octet| octet == b'\n').peekable();
    while let Some(line) = lines.next() {
        let last = lines.peek().is_none();
        match line.strip_suffix(b"\r") {
            Some(line) if !last && sound(line) => {}
            _ if last && sound(line) => {}
            _ => return false,
        }
    }
    true
}

/// RFC 2046 §5.1.1: at most 70 characters that stand in no part. The id is given out after the end
/// of data, so already the first try will not be in the mail unless by intent.
fn boundary(id: &str, parts: [&[u8]; 3]) -> String {
    let free = |boundary: &String| {
        parts.iter().all(|part| memchr::memmem::find(part, boundary.as_bytes()).is_none())
    };
    (0..100).map(|n| format!("=_postbridge_{id}_{n}")).find(free).unwrap_or_default()
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
