//! The header block of a mail, split into fields. Pure.
//!
//! RFC 5322 §2.2 (fields), §3.2.2 (folding), §4.5 (obsolete: a space before the colon). A field
//! keeps its octets; nothing is unfolded, decoded or repaired here. Two readers of one mail must
//! find the same fields in it, so what some would read otherwise is refused or removed: this file
//! must never pass on a line that could be taken for a field by one and for text by another.

use std::borrow::Cow;

use super::Refusal;

/// Largest header block, in octets.
pub const OCTETS_MAX: usize = 256 * 1024;
/// Most fields in a header block.
pub const FIELDS_MAX: usize = 1_000;

/// One field: `name: value CRLF`, its folded lines included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'x> {
    /// All octets, the last CRLF included.
    pub octets: &'x [u8],
    /// Without the space that obsolete syntax allows before the colon.
    pub name: &'x str,
    /// From after the colon up to, and without, the last CRLF. Folds are still in it.
    pub value: &'x [u8],
}

impl Field<'_> {
    // RFC 5322 §1.2.2: field names are case-insensitive.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Whether the value is nothing but white space.
    pub fn is_empty(&self) -> bool {
        self.value.iter().all(u8::is_ascii_whitespace)
    }

    /// The value as text: unfolded, trimmed, what is not UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.value).replace("\r\n", "").trim().to_owned()
    }
}

/// Splits a mail at its empty line, which is in neither half: header block and body. Where there is
/// no empty line the body is empty; where the first line cannot be a field, the whole is body.
pub fn split(octets: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    if let Some(body) = octets.strip_prefix(b"\r\n") {
        return Ok((&[], body));
    }
    // Quirk(powershell): a byte order mark from the file that the mail was read from.
    let octets = match octets.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) if begins_with_field(rest) => rest,
        _ => octets,
    };
    // Quirk(procmail): the separator line of an mbox file stands before the header. The obsolete
    // field `From : …` begins like one and is none.
    let octets = match lines(octets).next() {
        Some(line)
            if (line.starts_with(b"From ") || line.starts_with(b">From "))
                && field_name(line).is_none() =>
        {
            let rest = octets.get(line.len()..).unwrap_or_default();
            if begins_with_field(rest) { rest } else { octets }
        }
        _ => octets,
    };
    let (head, body) = match memchr::memmem::find(octets, b"\r\n\r\n") {
        Some(at) => octets.split_at_checked(at + 2).unwrap_or((octets, b"\r\n")),
        None => (octets, &b"\r\n"[..]),
    };
    // Quirk(devices): scanners and scripts send text with neither header nor empty line.
    if !begins_with_field(octets) {
        let would_be_head = head.get(..head.len().min(OCTETS_MAX)).unwrap_or_default();
        // A header that begins badly must not become text for all to read when it names somebody
        // whom the others are not to see.
        let names_bcc = |line| {
            field_name(line).is_some_and(|(name, _)| {
                name.eq_ignore_ascii_case("Bcc") || name.eq_ignore_ascii_case("Resent-Bcc")
            })
        };
        if lines(would_be_head).any(names_bcc) {
            return Err(Refusal::header("the header does not begin with a field"));
        }
        return Ok((&[], octets));
    }
    if head.len() > OCTETS_MAX {
        return Err(Refusal::too_large());
    }
    Ok((head, body.strip_prefix(b"\r\n").unwrap_or(body)))
}

/// The lines of a block, each with its line end.
fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    block.split_inclusive(|&octet| octet == b'\n')
}

/// RFC 5322 §3.6.8: a name is printable US-ASCII without colon. Returns it and where the value
/// starts.
fn field_name(line: &[u8]) -> Option<(&str, usize)> {
    let colon = memchr::memchr(b':', line)?;
    let name = line.get(..colon)?.trim_ascii_end();
    let fit = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    let name = std::str::from_utf8(name).ok()?;
    fit.then_some((name, colon + 1))
}

fn begins_with_field(octets: &[u8]) -> bool {
    lines(octets).next().is_some_and(|line| field_name(line).is_some())
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

/// The header block as every reader will understand it.
///
/// RFC 5322 §4.2 lets a folded field hold lines of nothing but white space, which others take for
/// the empty line that ends the header. They carry nothing, so they go.
pub fn without_blank_folds(head: &[u8]) -> Cow<'_, [u8]> {
    if lines(head).any(is_blank) {
        Cow::Owned(lines(head).filter(|line| !is_blank(line)).flatten().copied().collect())
    } else {
        Cow::Borrowed(head)
    }
}

/// Splits a header block (without the empty line) into its fields.
pub fn fields(head: &[u8]) -> Result<Vec<Field<'_>>, Refusal> {
    if head.len() > OCTETS_MAX {
        return Err(Refusal::too_large());
    }
    let mut fields: Vec<Field<'_>> = Vec::new();
    let mut start = 0;
    while let Some(rest) = head.get(start..).filter(|rest| !rest.is_empty()) {
        let Some((name, value_at)) = field_name(lines(rest).next().unwrap_or_default()) else {
            return Err(Refusal::header(&format!(
                "after field {} of the header comes a line that is neither a field nor a \
                 continuation",
                fields.len()
            )));
        };
        if fields.len() == FIELDS_MAX {
            return Err(Refusal::too_large());
        }
        // The field reaches up to the first line that does not begin with white space.
        let mut length = 0;
        for line in lines(rest) {
            if length > 0 && !line.starts_with(b" ") && !line.starts_with(b"\t") {
                break;
            }
            length += line.len();
        }
        let octets = rest.get(..length).unwrap_or_default();
        let value = octets.get(value_at..).unwrap_or_default();
        let value = value.strip_suffix(b"\r\n").unwrap_or(value);
        fields.push(Field { octets, name, value });
        start += length;
    }
    Ok(fields)
}

/// RFC 5321 §2.3.8, RFC 5322 §2.3: CR and LF stand only together; NUL stands nowhere. What was let
/// through here could end a line, a field or a mail for the next reader and not for us.
pub fn check_octets(octets: &[u8]) -> Result<(), Refusal> {
    let mut lf_expected_at = None;
    for at in memchr::memchr3_iter(b'\r', b'\n', 0, octets) {
        match (octets.get(at), lf_expected_at.take()) {
            (Some(b'\n'), Some(expected)) if expected == at => {}
            (Some(b'\r'), None) => lf_expected_at = Some(at + 1),
            _ => return Err(Refusal::line_ends()),
        }
    }
    if lf_expected_at.is_some() { Err(Refusal::line_ends()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(head: &str) -> Vec<String> {
        let fields = fields(head.as_bytes()).unwrap();
        fields.iter().map(|f| format!("{}={}", f.name, f.text())).collect()
    }

    #[test]
    fn fields_keep_their_folds_and_lose_the_space_before_the_colon() {
        let head = "Subject : one\r\n two\r\nX-Empty:\r\nTO:\ta@contoso.example\r\n";
        assert_eq!(names(head), ["Subject=one two", "X-Empty=", "TO=a@contoso.example"]);
        let whole: Vec<u8> =
            fields(head.as_bytes()).unwrap().iter().flat_map(|f| f.octets.to_vec()).collect();
        assert_eq!(whole, head.as_bytes());
    }

    #[test]
    fn a_line_that_is_no_field_within_the_header_is_refused() {
        for head in ["A: b\r\nnonsense\r\n", "A: b\r\n: c\r\n", "A: b\r\nB c: d\r\n"] {
            assert!(fields(head.as_bytes()).is_err(), "{head:?}");
        }
    }

    fn check_split(octets: &str, head: &str, body: &str) {
        let (h, b) = split(octets.as_bytes()).unwrap();
        assert_eq!((h, b), (head.as_bytes(), body.as_bytes()), "{octets:?}");
    }

    #[test]
    fn a_mail_is_split_at_its_first_empty_line() {
        check_split("A: b\r\n\r\nc", "A: b\r\n", "c");
        check_split("A: b\r\n\r\n\r\nc\r\n", "A: b\r\n", "\r\nc\r\n");
        check_split("A: b\r\n", "A: b\r\n", "");
        check_split("A: b", "A: b", "");
        check_split("\r\nA: b\r\n", "", "A: b\r\n");
        check_split("", "", "");
    }

    #[test]
    fn a_mail_whose_first_line_is_no_field_is_all_body() {
        for text in
            ["toner is low\r\nrefill\r\n", " indented\r\n\r\nmore\r\n", "From me to you\r\n"]
        {
            check_split(text, "", text);
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_field() {
        check_split("\u{feff}A: b\r\n\r\nc", "A: b\r\n", "c");
        check_split("\u{feff}no field\r\n", "", "\u{feff}no field\r\n");
    }

    #[test]
    fn the_separator_line_of_an_mbox_is_no_part_of_the_mail() {
        let mbox = "From adele.vance@contoso.example Mon Nov 23 09:00:00 2026\r\nA: b\r\n\r\nc\r\n";
        check_split(mbox, "A: b\r\n", "c\r\n");
    }

    #[test]
    fn a_broken_header_with_a_bcc_does_not_become_text_for_all_to_read() {
        assert!(split(b" From: a@contoso.example\r\nBcc: b@contoso.example\r\n\r\nx").is_err());
    }

    #[test]
    fn a_fold_of_white_space_alone_cannot_end_the_header_for_somebody_else() {
        let head = b"Subject: a\r\n \r\n\t\r\n b\r\nX: y\r\n";
        assert_eq!(without_blank_folds(head).as_ref(), b"Subject: a\r\n b\r\nX: y\r\n");
    }

    #[test]
    fn bare_cr_bare_lf_and_nul_are_refused() {
        assert!(check_octets(b"a\r\nb\r\n\r\n").is_ok());
        assert!(check_octets(b"").is_ok());
        for bad in [&b"a\rb"[..], b"a\nb", b"a\0b", b"a\r", b"\r\r\n", b"\r\n\n", b"a\r\n\r"] {
            assert!(check_octets(bad).is_err(), "{bad:?}");
        }
    }
}
