//! The header section of a mail as octets. Pure.
//!
//! RFC 5322 §2.1 (lines), §2.2 (fields). It splits and never rewrites: what is not edited is
//! delivered octet for octet. It is its own reader on purpose: a mistake in a parser that the
//! program under test shares with the sandbox would go unseen. It must never be lenient either.

use memchr::{memchr, memmem};

/// Fields that one mail may have; a bound against abuse, far above any real mail.
const FIELDS_MAX: usize = 5_000;

/// Why octets are no Internet message. Positions are offsets in octets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("bare CR at octet {0}")]
    BareCr(usize),
    #[error("bare LF at octet {0}")]
    BareLf(usize),
    #[error("NUL at octet {0}")]
    Nul(usize),
    #[error("header line {0} is no field")]
    NoField(usize),
    #[error("more than {FIELDS_MAX} header fields")]
    TooManyFields,
}

/// One header field.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    pub name: &'a str,
    /// Behind the colon, folded as given, the last CRLF included.
    pub value: &'a [u8],
    /// The whole field, the last CRLF included.
    pub octets: &'a [u8],
}

impl Field<'_> {
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The value unfolded and trimmed (RFC 5322 §2.2.3); octets that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.value).replace("\r\n", "").trim().to_owned()
    }
}

/// A mail cut at the end of its header section.
#[derive(Debug, Clone)]
pub struct Sections<'a> {
    pub fields: Vec<Field<'a>>,
    /// The empty line and all that follows; empty if the mail ends with its header.
    pub body: &'a [u8],
}

/// RFC 5322 §2.3: CR and LF only together; §4 forbids NUL to be generated.
pub fn check_octets(message: &[u8]) -> Result<(), Malformed> {
    let mut previous = 0;
    for (at, &octet) in message.iter().enumerate() {
        match octet {
            0 => return Err(Malformed::Nul(at)),
            b'\n' if previous != b'\r' => return Err(Malformed::BareLf(at)),
            _ if previous == b'\r' && octet != b'\n' => {
                return Err(Malformed::BareCr(at.saturating_sub(1)));
            }
            _ => {}
        }
        previous = octet;
    }
    if previous == b'\r' { Err(Malformed::BareCr(message.len().saturating_sub(1))) } else { Ok(()) }
}

/// Cuts a mail into fields and body. Lines must have passed [`check_octets`].
pub fn split(message: &[u8]) -> Result<Sections<'_>, Malformed> {
    let mut fields = Vec::new();
    let mut rest = message;
    let mut line_number = 1;
    while !rest.is_empty() && !rest.starts_with(b"\r\n") {
        let length = field_length(rest);
        let (octets, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        fields.push(field(octets).ok_or(Malformed::NoField(line_number))?);
        if fields.len() > FIELDS_MAX {
            return Err(Malformed::TooManyFields);
        }
        line_number += memmem::find_iter(octets, b"\r\n").count();
        rest = after;
    }
    Ok(Sections { fields, body: rest })
}

/// Up to and with the CRLF that no white space follows.
fn field_length(octets: &[u8]) -> usize {
    memmem::find_iter(octets, b"\r\n")
        .map(|at| at + 2)
        .find(|end| !matches!(octets.get(*end), Some(b' ' | b'\t')))
        .unwrap_or(octets.len())
}

fn field(octets: &[u8]) -> Option<Field<'_>> {
    let (name, rest) = octets.split_at_checked(memchr(b':', octets)?)?;
    // RFC 5322 §4.5: an obsolete field has white space before the colon.
    let name = std::str::from_utf8(name).ok()?.trim_end_matches([' ', '\t']);
    let fit = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
    fit.then_some(Field { name, value: rest.get(1..)?, octets })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_body_together_are_the_octets_given() {
        let mail = b"To: a@b.example,\r\n\tc@d.example\r\nSubject : x\r\n\r\nbody\r\n\r\n";
        let sections = split(mail).unwrap();
        let names: Vec<_> = sections.fields.iter().map(|f| f.name).collect();
        assert_eq!(names, ["To", "Subject"]);
        assert_eq!(sections.fields[0].text(), "a@b.example,\tc@d.example");
        let mut again: Vec<u8> = sections.fields.iter().flat_map(|f| f.octets).copied().collect();
        again.extend_from_slice(sections.body);
        assert_eq!(again, mail);
    }

    #[test]
    fn a_mail_may_end_with_its_header() {
        assert_eq!(split(b"To: a@b.example\r\n").unwrap().body, b"");
        assert_eq!(split(b"To: a@b.example").unwrap().fields[0].text(), "a@b.example");
        assert_eq!(split(b"\r\nbody").unwrap().body, b"\r\nbody");
    }

    #[test]
    fn a_line_that_is_no_field_is_malformed() {
        assert_eq!(split(b"To: a\r\nhello\r\n\r\n").unwrap_err(), Malformed::NoField(2));
        assert_eq!(split(b" folded first: a\r\n\r\n").unwrap_err(), Malformed::NoField(1));
        assert_eq!(split(b"From adele  Mon Jan 1\r\n\r\n").unwrap_err(), Malformed::NoField(1));
    }

    #[test]
    fn bare_cr_bare_lf_and_nul_are_found() {
        assert_eq!(check_octets(b"a\r\nb\r\n"), Ok(()));
        assert_eq!(check_octets(b"a\nb"), Err(Malformed::BareLf(1)));
        assert_eq!(check_octets(b"a\rb"), Err(Malformed::BareCr(1)));
        assert_eq!(check_octets(b"a\r\r\n"), Err(Malformed::BareCr(1)));
        assert_eq!(check_octets(b"a\r"), Err(Malformed::BareCr(1)));
        assert_eq!(check_octets(b"a\0"), Err(Malformed::Nul(1)));
    }
}
