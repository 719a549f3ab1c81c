//! Every reply that the server can give: RFC 5321 §4.2 codes, RFC 3463 enhanced status codes.
//!
//! A text says what is wrong in words that a client can show to a person, and nothing of how we
//! work inside. Text from outside never stands in a reply unless it went through [`Reply::refused`].

use std::borrow::Cow;

use super::command::Problem;
use crate::store::spool::{Receipt, SpoolError};

/// A reply to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    /// RFC 2034 §4: absent from the greeting, from EHLO and HELO, and from 3xx replies.
    enhanced: Option<[u8; 3]>,
    /// Lines are separated by LF.
    text: Cow<'static, str>,
}

/// What the EHLO reply offers beside what is always offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    pub message_octets: u64,
    pub starttls: bool,
    pub auth: bool,
}

const fn plain(code: u16, text: &'static str) -> Reply {
    Reply { code, enhanced: None, text: Cow::Borrowed(text) }
}

const fn reply(code: u16, enhanced: [u8; 3], text: &'static str) -> Reply {
    Reply { code, enhanced: Some(enhanced), text: Cow::Borrowed(text) }
}

// Going well.
pub const TLS_NOW: Reply = reply(220, [2, 0, 0], "go ahead with TLS");
pub const BYE: Reply = reply(221, [2, 0, 0], "bye");
pub const LOGGED_IN: Reply = reply(235, [2, 7, 0], "logged in");
pub const OK: Reply = reply(250, [2, 0, 0], "ok");
pub const SENDER_OK: Reply = reply(250, [2, 1, 0], "sender ok");
pub const RECIPIENT_OK: Reply = reply(250, [2, 1, 5], "recipient ok");
pub const CHUNK_OK: Reply = reply(250, [2, 0, 0], "chunk ok");
/// RFC 5321 §3.5.3: says neither yes nor no.
pub const VRFY: Reply = reply(252, [2, 5, 0], "cannot verify, but will take mail for it");
pub const HELP: Reply = reply(214, [2, 0, 0], "RFC 5321, RFC 6409: log in, then send");
pub const START_DATA: Reply = plain(354, "send the mail, end with <CRLF>.<CRLF>");

// The server, for now.
pub const STOPPING: Reply = reply(421, [4, 3, 2], "going down, try again soon");
pub const TIME_OUT: Reply = reply(421, [4, 4, 2], "waited too long");
pub const TOO_SLOW: Reply = reply(421, [4, 4, 2], "the mail came too slowly");
pub const TOO_MANY_CONNECTIONS: Reply = reply(421, [4, 7, 0], "too many connections");
pub const TOO_MANY_ERRORS: Reply = reply(421, [4, 7, 0], "too many errors");
pub const TOO_MANY_IDLE: Reply = reply(421, [4, 7, 0], "too many commands without a mail");
pub const TOO_MANY_LOGINS: Reply = reply(421, [4, 7, 0], "too many failed logins");
pub const SPOOL_UNAVAILABLE: Reply = reply(451, [4, 3, 0], "cannot take mail now");
pub const SPOOL_FULL: Reply = reply(452, [4, 3, 1], "no room for mail now");
pub const TOO_MANY_RECIPIENTS: Reply = reply(452, [4, 5, 3], "too many recipients");
/// RFC 4954 §6: the login could not be checked, which says nothing about the password.
pub const LOGIN_UNAVAILABLE: Reply = reply(454, [4, 7, 0], "cannot check logins now");
pub const LOGIN_LATER: Reply = reply(454, [4, 7, 0], "too many failed logins, try again later");

// The command.
pub const LINE_TOO_LONG: Reply = reply(500, [5, 5, 2], "line too long");
pub const AUTH_TOO_LONG: Reply = reply(500, [5, 5, 6], "line too long");
pub const LINE_ENDING: Reply =
    reply(500, [5, 5, 2], "a command is one line of text and ends in CRLF");
pub const NOT_UTF8: Reply = reply(500, [5, 5, 2], "a command is ASCII or UTF-8");
pub const EXPN: Reply = reply(502, [5, 5, 1], "EXPN is not done here");
pub const HELLO_FIRST: Reply = reply(503, [5, 5, 1], "send EHLO first");
pub const MAIL_FIRST: Reply = reply(503, [5, 5, 1], "send MAIL first");
pub const NESTED_MAIL: Reply = reply(503, [5, 5, 1], "a mail has already begun");
pub const CHUNKS_BEGUN: Reply = reply(503, [5, 5, 1], "the mail has begun with BDAT");
pub const LOGGED_IN_ALREADY: Reply = reply(503, [5, 5, 1], "already logged in");
pub const TLS_ALREADY: Reply = reply(503, [5, 5, 1], "TLS is already on");
pub const AFTER_STARTTLS: Reply = reply(503, [5, 5, 1], "nothing may follow STARTTLS before TLS");
pub const NO_STARTTLS: Reply = reply(502, [5, 5, 1], "no STARTTLS here");
pub const NO_RECIPIENT: Reply = reply(554, [5, 5, 1], "no valid recipient");

// Logging in.
pub const CANCELLED: Reply = reply(501, [5, 7, 0], "login cancelled");
pub const BAD_BASE64: Reply = reply(501, [5, 5, 2], "not the base64 that was asked for");
pub const AUTH_FIRST: Reply = reply(530, [5, 7, 0], "log in first");
pub const STARTTLS_FIRST: Reply = reply(530, [5, 7, 0], "send STARTTLS first");
/// The same for an unknown user and a wrong password.
pub const LOGIN_FAILED: Reply = reply(535, [5, 7, 8], "user name or password is wrong");
pub const LOGIN_NEEDS_TLS: Reply = reply(538, [5, 7, 11], "logging in needs TLS");

// The mail.
pub const NOT_YOUR_SENDER: Reply =
    reply(550, [5, 7, 1], "this account may not send from that address");
pub const BAD_LINE_ENDING: Reply =
    reply(550, [5, 6, 11], "the mail holds a bare CR, a bare LF or a NUL");
pub const MESSAGE_TOO_LARGE: Reply = reply(552, [5, 3, 4], "the mail is too large");
pub const HEADER_TOO_LARGE: Reply = reply(552, [5, 3, 4], "the header of the mail is too large");
pub const TEXT_LINE_TOO_LONG: Reply = reply(554, [5, 6, 0], "a line of the mail is too long");

impl Reply {
    pub fn greeting(hostname: &str) -> Reply {
        Reply { code: 220, enhanced: None, text: format!("{hostname} ESMTP postbridge").into() }
    }

    pub fn helo(hostname: &str) -> Reply {
        Reply { code: 250, enhanced: None, text: hostname.to_owned().into() }
    }

    /// RFC 5321 §4.1.1.1: exactly what is done here.
    pub fn ehlo(hostname: &str, offer: Offer) -> Reply {
        let Offer { message_octets, starttls, auth } = offer;
        let mut text = format!(
            "{hostname}\nSIZE {message_octets}\nPIPELINING\n8BITMIME\nSMTPUTF8\nCHUNKING\n\
             ENHANCEDSTATUSCODES\nDSN"
        );
        if starttls {
            text.push_str("\nSTARTTLS");
        }
        if auth {
            text.push_str("\nAUTH PLAIN LOGIN");
        }
        Reply { code: 250, enhanced: None, text: text.into() }
    }

    /// The mail is ours now. Only a receipt, which only a durable mail has, makes this reply.
    pub fn queued(receipt: &Receipt) -> Reply {
        let known = if receipt.is_repeat() { " (already here)" } else { "" };
        Reply {
            code: 250,
            enhanced: Some([2, 0, 0]),
            text: format!("queued as {}{known}", receipt.id()).into(),
        }
    }

    /// The mail is ours, and Graph has taken it from us.
    pub fn sent(receipt: &Receipt) -> Reply {
        let text = format!("sent, {}", receipt.id()).into();
        Reply { code: 250, enhanced: Some([2, 0, 0]), text }
    }

    /// The mail was ours, and will never go: the client hears what a report would have said.
    ///
    /// `status`: RFC 3463. Its class says that it is for good, whatever was given.
    pub fn undeliverable(status: [u8; 3], why: &str) -> Reply {
        let [_, subject, detail] = status;
        // RFC 5321 §4.2.3.
        let code = match (subject, detail) {
            (1 | 7, _) => 550,
            (3, 4) => 552,
            _ => 554,
        };
        Reply::refused(code, [5, subject, detail], why)
    }

    /// The mail could not be kept: the client is to come again.
    pub fn not_kept(error: &SpoolError) -> Reply {
        match error {
            SpoolError::Full(_) => SPOOL_FULL,
            SpoolError::Unavailable(_) => SPOOL_UNAVAILABLE,
        }
    }

    /// RFC 4954 §4: a server challenge, already in base64.
    pub fn challenge(base64: &'static str) -> Reply {
        plain(334, base64)
    }

    /// A line that is no command.
    pub fn problem(problem: Problem) -> Reply {
        match problem {
            Problem::Unknown => reply(500, [5, 5, 1], "no such command"),
            Problem::NotImplemented => reply(502, [5, 5, 1], "that command is not done here"),
            Problem::Syntax(syntax) => Reply {
                code: 501,
                enhanced: Some([5, 5, 4]),
                text: format!("syntax: {syntax}").into(),
            },
            Problem::LostCount => reply(501, [5, 5, 4], "syntax: BDAT size [LAST]"),
            Problem::BadSender => reply(501, [5, 1, 7], "that is not a sender's address"),
            Problem::BadRecipient => reply(501, [5, 1, 3], "that is not a recipient's address"),
            Problem::NeedsSmtpUtf8 => reply(553, [5, 6, 7], "that address needs SMTPUTF8"),
            Problem::UnknownParameter => reply(555, [5, 5, 4], "that parameter is not offered"),
            Problem::BadParameter => reply(501, [5, 5, 4], "a parameter is malformed"),
            Problem::UnknownMechanism => reply(504, [5, 5, 4], "AUTH PLAIN or AUTH LOGIN"),
            Problem::Http => reply(554, [5, 5, 1], "this is not a web server"),
        }
    }

    /// A refusal decided elsewhere. Its text is made fit for one line; a code that is no refusal
    /// becomes 554, for a mail that was not taken must not look taken.
    pub fn refused(code: u16, enhanced: [u8; 3], text: &str) -> Reply {
        let fit = |c: char| if c.is_ascii_graphic() { c } else { ' ' };
        let text: String = text.chars().map(fit).take(400).collect();
        let code = if (400..600).contains(&code) { code } else { 554 };
        Reply { code, enhanced: Some(enhanced), text: text.into() }
    }

    pub fn code(&self) -> u16 {
        self.code
    }

    /// Whether the client made a mistake of protocol, which counts against it. A mail that is
    /// refused for what it holds is no mistake of the session that carries it.
    pub fn is_error(&self) -> bool {
        matches!(self.code, 500..=504 | 530..=538 | 555)
    }

    /// Appends the reply as it goes over the wire.
    pub fn write_to(&self, output: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let mark = if lines.peek().is_some() { '-' } else { ' ' };
            output.extend_from_slice(format!("{}{mark}", self.code).as_bytes());
            if let Some([class, subject, detail]) = self.enhanced {
                output.extend_from_slice(format!("{class}.{subject}.{detail} ").as_bytes());
            }
            output.extend_from_slice(line.as_bytes());
            output.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reply: Reply, expected: &str) {
        let mut output = Vec::new();
        reply.write_to(&mut output);
        assert_eq!(String::from_utf8(output).unwrap(), expected);
    }

    #[test]
    fn a_reply_has_its_enhanced_status_code_where_rfc_2034_wants_it() {
        check(OK, "250 2.0.0 ok\r\n");
        check(Reply::greeting("localhost"), "220 localhost ESMTP postbridge\r\n");
        check(Reply::challenge(""), "334 \r\n");
        check(Reply::challenge("VXNlcm5hbWU6"), "334 VXNlcm5hbWU6\r\n");
    }

    #[test]
    fn ehlo_offers_what_is_done() {
        let offer = Offer { message_octets: 1000, starttls: true, auth: false };
        check(
            Reply::ehlo("localhost", offer),
            "250-localhost\r\n250-SIZE 1000\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n\
             250-CHUNKING\r\n250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n250 STARTTLS\r\n",
        );
    }

    #[test]
    fn a_refusal_from_elsewhere_is_one_line_and_never_looks_like_success() {
        check(Reply::refused(550, [5, 7, 1], "no\r\n250 ok"), "550 5.7.1 no  250 ok\r\n");
        check(Reply::refused(250, [5, 0, 0], "x"), "554 5.0.0 x\r\n");
        check(Reply::undeliverable([5, 7, 1], "n\u{f6}\nno"), "550 5.7.1 n  no\r\n");
        check(Reply::undeliverable([2, 0, 0], "x"), "554 5.0.0 x\r\n");
        check(Reply::undeliverable([5, 3, 4], "x"), "552 5.3.4 x\r\n");
    }
}
