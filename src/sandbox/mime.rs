//! A mail on its way through Exchange: who gets it, and the octets they get. Pure.
//!
//! RFC 5322; what Exchange does to a MIME submission is told at each edit. Supplied MIME goes
//! "more or less intact" (Outlook, things to know about send mail): every octet that no edit below
//! names is delivered as given, so that what arrives can be compared octet for octet. Bcc must never
//! be in it.

use std::collections::HashSet;

use mail_parser::MessageParser;

use super::header::{self, Field, Malformed, Sections};
use super::recipients::{self, NotResolved};

/// Exchange Online's recipient limit of one message.
pub const RECIPIENTS_MAX: usize = 500;

/// Why a mail cannot be submitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    NotResolved(#[from] NotResolved),
    #[error("no recipient")]
    NoRecipient,
    #[error("{0} recipients")]
    TooManyRecipients(usize),
}

/// A mail that was read and can be delivered.
#[derive(Debug, Clone)]
pub struct Submitted<'a> {
    sections: Sections<'a>,
    /// The addresses in `From:`; none if there is no such field.
    pub from: Vec<String>,
    /// Each address in To, Cc and Bcc once (case aside), in the order and spelling of its first place.
    pub recipients: Vec<String>,
}

/// What Exchange changes in the header of a submission.
#[derive(Debug, Clone)]
pub struct Edits<'a> {
    /// The sending mailbox, for Return-Path and a missing From.
    pub mailbox: &'a str,
    pub display_name: &'a str,
    /// A Message-ID with its angle brackets, for a mail that has none or may not keep its own.
    pub message_id: &'a str,
    pub keep_message_id: bool,
    /// A Date for a mail that has none.
    pub date: &'a str,
    /// `X-` names in lower case that survive; `None` lets all through.
    pub known_x_headers: Option<&'a HashSet<String>>,
}

impl<'a> Submitted<'a> {
    pub fn read(octets: &'a [u8]) -> Result<Submitted<'a>, Unfit> {
        header::check_octets(octets)?;
        let sections = header::split(octets)?;
        let all = |name: &str| -> Result<Vec<String>, NotResolved> {
            let mut found = Vec::new();
            for field in sections.fields.iter().filter(|field| field.is(name)) {
                found.extend(recipients::addresses(&field.text())?);
            }
            Ok(found)
        };
        let from = all("From")?;
        let mut recipients = Vec::new();
        for name in ["To", "Cc", "Bcc"] {
            recipients.extend(all(name)?);
        }
        // The limit counts what stands there, so an address given twice counts twice …
        if recipients.len() > RECIPIENTS_MAX {
            return Err(Unfit::TooManyRecipients(recipients.len()));
        }
        // … but its mailbox gets one copy.
        let mut seen = HashSet::new();
        recipients.retain(|address| seen.insert(address.to_lowercase()));
        if recipients.is_empty() {
            return Err(Unfit::NoRecipient);
        }
        Ok(Submitted { sections, from, recipients })
    }

    /// The octets as every recipient gets them.
    pub fn delivered(&self, edits: &Edits<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        // A field that is missing goes on top: nothing given moves but for the offset.
        if self.from.is_empty() {
            write_from(&mut out, edits);
        }
        if self.field("Date").is_none() {
            write_field(&mut out, "Date", edits.date);
        }
        if self.field("Message-ID").is_none() {
            write_field(&mut out, "Message-ID", edits.message_id);
        }
        for field in &self.sections.fields {
            match edit(field, edits) {
                Edit::Keep => out.extend_from_slice(field.octets),
                Edit::Drop => {}
                Edit::Replace(value) => write_field(&mut out, field.name, &value),
            }
        }
        out.extend_from_slice(self.sections.body);
        out
    }

    /// `X-` names in lower case.
    pub fn x_headers(&self) -> impl Iterator<Item = String> {
        self.sections.fields.iter().filter(|field| is_x(field)).map(|f| f.name.to_lowercase())
    }

    /// The Subject with its encoded words decoded, for people.
    pub fn subject(&self) -> String {
        let Some(field) = self.field("Subject") else { return String::new() };
        let parsed = MessageParser::new().parse_headers(field.octets);
        parsed.and_then(|m| m.subject().map(str::to_owned)).unwrap_or_else(|| field.text())
    }

    /// The Message-ID given, angle brackets included.
    pub fn message_id(&self) -> Option<String> {
        self.field("Message-ID").map(|field| field.text()).filter(|id| !id.is_empty())
    }

    fn field(&self, name: &str) -> Option<&Field<'a>> {
        self.sections.fields.iter().find(|field| field.is(name))
    }
}

enum Edit {
    Keep,
    Drop,
    Replace(String),
}

/// What becomes of one field; names come in any case.
fn edit(field: &Field<'_>, edits: &Edits<'_>) -> Edit {
    if field.is("Bcc") {
        return Edit::Drop;
    }
    // Reported: Exchange strips Auto-Submitted even from raw MIME …
    if field.is("Auto-Submitted") {
        return Edit::Drop;
    }
    // … and the reverse-path is always the sending mailbox.
    if field.is("Return-Path") {
        return Edit::Replace(format!("<{}>", edits.mailbox));
    }
    if field.is("Message-ID") && (!edits.keep_message_id || field.text().is_empty()) {
        return Edit::Replace(edits.message_id.to_owned());
    }
    // An empty From is a missing one.
    if field.is("From") && field.text().is_empty() {
        return Edit::Drop;
    }
    let lost = |known: &HashSet<String>| is_x(field) && !known.contains(&field.name.to_lowercase());
    if edits.known_x_headers.is_some_and(lost) { Edit::Drop } else { Edit::Keep }
}

fn is_x(field: &Field<'_>) -> bool {
    field.name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"))
}

fn write_field(out: &mut Vec<u8>, name: &str, value: &str) {
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn write_from(out: &mut Vec<u8>, edits: &Edits<'_>) {
    use mail_builder::headers::{Header, address::Address};
    let name = Some(edits.display_name).filter(|name| !name.is_empty());
    out.extend_from_slice(b"From: ");
    Address::new_address(name, edits.mailbox).write_header(out, "From: ".len());
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDITS: Edits<'_> = Edits {
        mailbox: "adele.vance@contoso.example",
        display_name: "Adele Vance",
        message_id: "<new@contoso.example>",
        keep_message_id: true,
        date: "Mon, 23 Nov 2026 10:00:00 +0000",
        known_x_headers: None,
    };

    fn delivered(given: &str, edits: &Edits<'_>) -> String {
        String::from_utf8(Submitted::read(given.as_bytes()).unwrap().delivered(edits)).unwrap()
    }

    const COMPLETE: &str = "From: adele.vance@contoso.example\r\nDate: x\r\nMessage-ID: <1@a>\r\n";

    #[test]
    fn a_complete_mail_is_delivered_octet_for_octet() {
        let given = format!(
            "{COMPLETE}To: a@b.example\r\nX-A: 1\r\nsubject:  folded\r\n  twice\r\n\r\n..\r\n\r\n"
        );
        assert_eq!(delivered(&given, &EDITS), given);
    }

    #[test]
    fn bcc_is_mailed_and_never_delivered() {
        let given = format!(
            "{COMPLETE}bcc : Secret <s@b.example>,\r\n\tt@b.example\r\n\r\nBcc: in the body\r\n"
        );
        let mail = Submitted::read(given.as_bytes()).unwrap();
        assert_eq!(mail.recipients, ["s@b.example", "t@b.example"]);
        assert_eq!(delivered(&given, &EDITS), format!("{COMPLETE}\r\nBcc: in the body\r\n"));
    }

    #[test]
    fn an_address_given_twice_gets_one_copy() {
        let given = "To: A@b.example, c@d.example\r\nCc: Group: a@B.example;\r\n\r\n";
        let mail = Submitted::read(given.as_bytes()).unwrap();
        assert_eq!(mail.recipients, ["A@b.example", "c@d.example"]);
    }

    #[test]
    fn the_reverse_path_is_the_mailbox_and_auto_submitted_is_gone() {
        let given = format!(
            "Return-Path: <>\r\nAuto-Submitted: auto-replied\r\n{COMPLETE}To: a@b.example\r\n\r\n"
        );
        let expected = format!(
            "Return-Path: <adele.vance@contoso.example>\r\n{COMPLETE}To: a@b.example\r\n\r\n"
        );
        assert_eq!(delivered(&given, &EDITS), expected);
    }

    #[test]
    fn what_is_missing_is_filled_in_on_top() {
        let expected = "From: \"Adele Vance\" <adele.vance@contoso.example>\r\n\
            Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <new@contoso.example>\r\n\
            To: a@b.example\r\n\r\nhi\r\n";
        assert_eq!(delivered("To: a@b.example\r\n\r\nhi\r\n", &EDITS), expected);
    }

    #[test]
    fn a_message_id_that_may_not_be_kept_is_replaced_where_it_stands() {
        let edits = Edits { keep_message_id: false, ..EDITS };
        let got = delivered(&format!("{COMPLETE}To: a@b.example\r\n\r\n"), &edits);
        assert!(got.contains("\r\nMessage-ID: <new@contoso.example>\r\nTo: "), "{got}");
    }

    #[test]
    fn an_x_header_that_the_mailbox_never_used_is_lost() {
        let known = HashSet::from(["x-known".to_owned()]);
        let edits = Edits { known_x_headers: Some(&known), ..EDITS };
        let given = format!("{COMPLETE}X-Known: 1\r\nX-New: 2\r\nTo: a@b.example\r\n\r\n");
        let expected = format!("{COMPLETE}X-Known: 1\r\nTo: a@b.example\r\n\r\n");
        assert_eq!(delivered(&given, &edits), expected);
    }

    #[test]
    fn a_mail_for_nobody_or_for_too_many_is_unfit() {
        let read = |given: &str| Submitted::read(given.as_bytes()).unwrap_err();
        assert_eq!(read("To: undisclosed-recipients:;\r\n\r\n"), Unfit::NoRecipient);
        assert_eq!(read("Subject: x\r\n\r\n"), Unfit::NoRecipient);
        let many = |n| format!("Bcc: {}\r\n\r\n", vec!["a@b.example"; n].join(","));
        assert_eq!(read(&many(501)), Unfit::TooManyRecipients(501));
        assert!(Submitted::read(many(500).as_bytes()).is_ok());
    }

    #[test]
    fn the_subject_is_shown_decoded() {
        let given = "To: a@b.example\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n\r\n";
        assert_eq!(Submitted::read(given.as_bytes()).unwrap().subject(), "Grüße");
    }
}
