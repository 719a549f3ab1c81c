//! What a program wrote to sendmail's standard input, made a mail that can be handed in: line ends,
//! recipients, and the fields without which a repeat would not be known as one. Pure.
//!
//! RFC 5322, RFC 6409 §8. Whatever else a mail lacks is the bridge's to add.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::account::Address;
use crate::mime;

/// What is taken from elsewhere where the mail does not say it.
pub struct Own<'o> {
    /// The configured user, to whom mails for `root` and other local names go.
    pub user: &'o Address,
    /// Who writes, where the mail does not say so.
    pub author: &'o Address,
    pub name: Option<&'o str>,
    /// `Sat, 28 Nov 2026 12:00:00 +0100`
    pub date: &'o str,
    /// Without its brackets.
    pub message_id: &'o str,
}

/// A mail with CRLF line ends, the last one included.
#[derive(Debug, PartialEq, Eq)]
pub struct Ready {
    pub octets: Vec<u8>,
    /// Those of To, Cc and Bcc (of Resent-To and its kin, where there are such).
    pub recipients: Vec<Address>,
}

/// An address field that nobody can read, by its name.
#[derive(Debug, PartialEq, Eq)]
pub struct Unclear(pub String);

/// A field with its folded lines, each with its CRLF.
struct Field {
    name: String,
    octets: Vec<u8>,
}

impl Field {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    fn value(&self) -> &[u8] {
        let colon = self.octets.iter().position(|octet| *octet == b':').unwrap_or_default();
        self.octets.get(colon + 1..).unwrap_or_default()
    }
}

/// `dot_ends`: a line with a single dot is the end.
pub fn make_ready(input: &[u8], dot_ends: bool, own: &Own<'_>) -> Result<Ready, Unclear> {
    let mut lines = lines(input, dot_ends).into_iter().peekable();
    // An mbox's line, which some programs pass on.
    lines.next_if(|line| line.starts_with(b"From "));
    let mut fields: Vec<Field> = Vec::new();
    while let Some(line) = lines.next_if(|line| field_name(line).is_some() || folds(line, &fields))
    {
        match (field_name(line), fields.last_mut()) {
            (Some(name), _) => fields.push(Field { name, octets: crlf(line) }),
            (None, Some(last)) => last.octets.extend(crlf(line)),
            (None, None) => {}
        }
    }
    // What follows without an empty line is the body all the same.
    lines.next_if(|line| line.is_empty());

    let recipients = recipients(&fields, own.user)?;
    fields.retain(|field| !field.is("Bcc") && !field.is("Resent-Bcc"));
    let lacks = |name: &str| !fields.iter().any(|field| field.is(name));
    let mut added = String::new();
    if lacks("From") {
        let _ = match own.name {
            Some(name) => write!(added, "From: {} <{}>\r\n", phrase(name), own.author),
            None => write!(added, "From: {}\r\n", own.author),
        };
    }
    if lacks("Date") {
        let _ = write!(added, "Date: {}\r\n", own.date);
    }
    if lacks("Message-ID") {
        let _ = write!(added, "Message-ID: <{}>\r\n", own.message_id);
    }
    let mut octets: Vec<u8> = fields.into_iter().flat_map(|field| field.octets).collect();
    octets.extend_from_slice(added.as_bytes());
    octets.extend_from_slice(b"\r\n");
    for line in lines {
        octets.extend_from_slice(line);
        octets.extend_from_slice(b"\r\n");
    }
    Ok(Ready { octets, recipients })
}

/// The lines, whatever they end in: LF, CRLF, or CR alone (the progress of a download in a report of
/// cron's), which no mail may hold.
fn lines(input: &[u8], dot_ends: bool) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = input;
    while !rest.is_empty() {
        let end = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        let (line, tail) = rest.split_at(end);
        let returns = tail.iter().take_while(|octet| **octet == b'\r').count();
        let ends_in_lf = tail.get(returns) == Some(&b'\n');
        // Quirk(php, windows): CR CR LF is one line end, written twice.
        let after = if ends_in_lf { returns + 1 } else { returns.min(1) };
        rest = tail.get(after..).unwrap_or_default();
        if dot_ends && line == b"." {
            break;
        }
        lines.push(line);
    }
    lines
}

/// RFC 5322 §2.2: printable characters up to a colon.
fn field_name(line: &[u8]) -> Option<String> {
    let colon = line.iter().position(|octet| *octet == b':')?;
    let name = line.get(..colon)?.trim_ascii_end();
    let fits = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    fits.then(|| String::from_utf8_lossy(name).into_owned())
}

fn folds(line: &[u8], fields: &[Field]) -> bool {
    !fields.is_empty() && matches!(line.first(), Some(b' ' | b'\t'))
}

fn crlf(line: &[u8]) -> Vec<u8> {
    [line, b"\r\n"].concat()
}

fn recipients(fields: &[Field], user: &Address) -> Result<Vec<Address>, Unclear> {
    const OF_ONE: [&str; 3] = ["To", "Cc", "Bcc"];
    const OF_RESENT: [&str; 3] = ["Resent-To", "Resent-Cc", "Resent-Bcc"];
    let resent = fields.iter().any(|field| OF_RESENT.iter().any(|name| field.is(name)));
    let names = if resent { OF_RESENT } else { OF_ONE };
    let mut found = Vec::new();
    for field in fields.iter().filter(|field| names.iter().any(|name| field.is(name))) {
        let mailboxes =
            mime::mailboxes(field.value()).ok_or_else(|| Unclear(field.name.clone()))?;
        for mailbox in mailboxes {
            match mailbox {
                Ok(address) => found.push(address),
                Err(text) => {
                    found.extend(local(&text, user).map_err(|_| Unclear(field.name.clone()))?)
                }
            }
        }
    }
    Ok(found)
}

/// A recipient as it is written on a command line: an address, or a local name, which is the user's.
pub fn recipient(text: &str, user: &Address) -> Result<Address, String> {
    match Address::parse(text) {
        Ok(address) => Ok(address),
        Err(error) => match local(text, user) {
            Ok(Some(address)) => Ok(address),
            _ => Err(format!("{text:?} is no address: {error}")),
        },
    }
}

/// `root`, `Cron Daemon <root>`; `None` for an empty one.
fn local(text: &str, user: &Address) -> Result<Option<Address>, ()> {
    let inner = match text.rsplit_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or_default(),
        None => text.split('(').next().unwrap_or_default(),
    };
    let name = inner.trim().trim_start_matches('\\');
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+$".contains(c);
    match name {
        "" => Ok(None),
        _ if name.len() <= 64 && name.chars().all(plain) => Ok(Some(user.clone())),
        _ => Err(()),
    }
}

/// A display name: RFC 5322 §3.4's phrase, or RFC 2047's encoded words.
fn phrase(name: &str) -> String {
    let name: String = name.chars().filter(|c| !c.is_control()).take(200).collect();
    if name.is_ascii() {
        let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
        return format!("\"{escaped}\"");
    }
    let mut words: Vec<String> = vec![String::new()];
    for c in name.chars() {
        // RFC 2047 §2: 75 characters for an encoded word, of which 63 are left for base64.
        match words.last_mut() {
            Some(word) if word.len() + c.len_utf8() <= 45 => word.push(c),
            _ => words.push(c.to_string()),
        }
    }
    let words: Vec<String> =
        words.iter().map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word))).collect();
    words.join("\r\n ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(input: &str) -> Result<(String, Vec<String>), Unclear> {
        let user = Address::parse("adele.vance@contoso.example").unwrap();
        let own = Own {
            user: &user,
            author: &user,
            name: Some("Cron"),
            date: "DATE",
            message_id: "id@contoso.example",
        };
        let ready = make_ready(input.as_bytes(), true, &own)?;
        let to = ready.recipients.iter().map(ToString::to_string).collect();
        Ok((String::from_utf8(ready.octets).unwrap(), to))
    }

    const ADDED: &str = "From: \"Cron\" <adele.vance@contoso.example>\r\nDate: DATE\r\n\
        Message-ID: <id@contoso.example>\r\n";

    #[test]
    fn line_ends_are_crlf_whatever_they_were() {
        let (text, _) = ready("Subject: s\r\n\na\nb\r\nc\r\r\nd\re\r").unwrap();
        assert_eq!(text, format!("Subject: s\r\n{ADDED}\r\na\r\nb\r\nc\r\nd\r\ne\r\n"));
    }

    #[test]
    fn recipients_are_those_of_the_header_and_bcc_is_taken_out() {
        let (text, to) = ready(
            "To: A <a@fabrikam.example>,\n\tb@fabrikam.example\nbcc: c@fabrikam.example,\n d@fabrikam.example\n\
             Cc: root (the machine)\nFrom: x@contoso.example\nDate: d\nMessage-Id: <m>\n\nbody\n",
        )
        .unwrap();
        assert_eq!(
            to,
            [
                "a@fabrikam.example",
                "b@fabrikam.example",
                "c@fabrikam.example",
                "d@fabrikam.example",
                "adele.vance@contoso.example"
            ]
        );
        assert!(!text.to_lowercase().contains("bcc") && !text.contains("c@fabrikam"), "{text}");
        assert!(text.contains("\tb@fabrikam.example\r\n") && !text.contains("DATE"), "{text}");
    }

    #[test]
    fn a_mail_that_was_sent_on_goes_to_whom_it_is_sent_on() {
        let (_, to) = ready("To: a@b.example\nResent-To: c@d.example\n\nx\n").unwrap();
        assert_eq!(to, ["c@d.example"]);
    }

    #[test]
    fn what_is_no_header_is_the_body_and_a_lone_dot_is_the_end() {
        let (text, to) = ready("the disk is full: see below\n.\nnot this\n").unwrap();
        assert_eq!(text, format!("{ADDED}\r\nthe disk is full: see below\r\n"));
        assert!(to.is_empty());
        let (text, _) = ready("From adele Sat Nov 28\nSubject: s\n no\n\n").unwrap();
        assert_eq!(text, format!("Subject: s\r\n no\r\n{ADDED}\r\n"));
    }

    #[test]
    fn an_address_field_that_nobody_can_read_is_named() {
        assert_eq!(ready("To: <a@b.example\n\n"), Err(Unclear("To".into())));
    }

    #[test]
    fn a_name_beyond_ascii_is_encoded() {
        assert_eq!(phrase("J\u{fc}rgen"), "=?utf-8?B?SsO8cmdlbg==?=");
        assert_eq!(phrase("a \"b\""), "\"a \\\"b\\\"\"");
        for word in phrase(&"\u{20ac}".repeat(60)).split("\r\n ") {
            assert!(word.len() <= 75, "{word}");
        }
    }
}
