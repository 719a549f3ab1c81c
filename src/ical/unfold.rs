//! The octets of a calendar object as content lines. Pure.
//!
//! RFC 5545 §3.1. Unfolding is done on octets, before they are text: a fold may stand between the
//! octets of one UTF-8 character. Nothing here may drop what it cannot read without saying so.

use std::borrow::Cow;

pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One content line: `name *(";" param) ":" value`, unfolded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'x> {
    /// All of it, for the one who reads it next.
    pub text: &'x str,
    /// As given: compare with [`Line::is`].
    pub name: &'x str,
    /// Between the name and the colon, the first semicolon included; empty without parameters.
    pub params: &'x str,
    pub value: &'x str,
}

impl<'x> Line<'x> {
    /// `None` when the text is no content line.
    pub fn parse(text: &'x str) -> Option<Line<'x>> {
        let name_end = text.find([':', ';'])?;
        let (name, rest) = text.split_at_checked(name_end)?;
        // Quirk(hand-made): a space before the colon.
        let name = name.trim_end();
        let fit = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(fit) {
            return None;
        }
        // RFC 5545 §3.2: a colon in double quotes is part of a parameter.
        let mut quoted = false;
        let colon = rest.find(|c| {
            quoted ^= c == '"';
            c == ':' && !quoted
        })?;
        let (params, value) = rest.split_at_checked(colon)?;
        Some(Line { text, name, params, value: value.get(1..)? })
    }

    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Whether a parameter stands there with this value, in any case, quoted or not.
    pub fn has_param(&self, name: &str, value: &str) -> bool {
        self.params.split(';').any(|param| {
            param.split_once('=').is_some_and(|(n, v)| {
                n.trim().eq_ignore_ascii_case(name)
                    && v.trim().trim_matches('"').eq_ignore_ascii_case(value)
            })
        })
    }

    /// Its parameters in order: name, and value as given, quotes and all.
    pub fn parameters(&self) -> impl Iterator<Item = (&'x str, &'x str)> {
        // Quirk(hand-made): a semicolon too many.
        self.raw_parameters().filter(|param| !param.trim().is_empty()).map(|param| {
            let (name, value) = param.split_once('=').unwrap_or((param, ""));
            (name.trim(), value.trim())
        })
    }

    /// What stands after each semicolon. A semicolon in double quotes is part of a value.
    pub fn raw_parameters(&self) -> impl Iterator<Item = &'x str> {
        let mut rest = self.params;
        std::iter::from_fn(move || {
            rest = rest.strip_prefix(';')?;
            let mut quoted = false;
            let end = rest.find(|c| {
                quoted ^= c == '"';
                c == ';' && !quoted
            });
            let (param, after) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
            rest = after;
            Some(param)
        })
    }

    /// The first parameter of a name, without its quotes.
    pub fn parameter(&self, name: &str) -> Option<&'x str> {
        let (_, value) = self.parameters().find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        Some(value.trim_matches('"'))
    }
}

/// The object as text with one content line per `\n`, folds and a byte order mark removed.
///
/// Line ends may be CRLF, LF or CR. What is not UTF-8 is taken for windows-1252, which is what the
/// tools that do not know of charsets write.
pub fn unfold(octets: &[u8]) -> String {
    unfold_placed(octets, |_| {})
}

/// The same; `line_ends` hears of every `\n` in the text, in order: where the octets go on after it.
pub fn unfold_placed(octets: &[u8], line_ends: impl FnMut(usize)) -> String {
    String::from_utf8(unfolded(octets, line_ends))
        .unwrap_or_else(|error| windows_1252(error.as_bytes()).into_owned())
}

fn unfolded(octets: &[u8], mut line_ends: impl FnMut(usize)) -> Vec<u8> {
    let mut rest = octets.strip_prefix(BYTE_ORDER_MARK).unwrap_or(octets);
    let mut text = Vec::with_capacity(rest.len());
    // Where the content line at hand begins in `text`.
    let mut line_at = 0;
    while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
        let (before, end) = rest.split_at_checked(at).unwrap_or((rest, b""));
        text.extend_from_slice(before);
        rest = after_line_end(end);
        if let [b' ' | b'\t', unfolded @ ..] = rest {
            rest = unfolded;
        } else if ends_softly(text.get(line_at..).unwrap_or_default()) {
            text.pop();
        } else {
            text.push(b'\n');
            line_at = text.len();
            line_ends(octets.len() - rest.len());
        }
    }
    text.extend_from_slice(rest);
    text
}

/// Quirk(windows-scripts): CR CR LF, from a text-mode file that already held CR LF.
fn after_line_end(octets: &[u8]) -> &[u8] {
    let crs = octets.iter().take_while(|&&octet| octet == b'\r').count();
    match octets.get(crs..) {
        Some([b'\n', rest @ ..]) => rest,
        _ => octets.get(1..).unwrap_or_default(),
    }
}

/// Quirk(outlook-2003): vCalendar's quoted-printable in an iCalendar object. A line that ends with
/// `=` goes on in the next one (RFC 2045 §6.7).
fn ends_softly(line: &[u8]) -> bool {
    const MARK: &[u8] = b"ENCODING=QUOTED-PRINTABLE";
    line.ends_with(b"=")
        && line
            .get(..line.len().min(200))
            .is_some_and(|head| head.windows(MARK.len()).any(|w| w.eq_ignore_ascii_case(MARK)))
}

/// The object in UTF-8: as it is, unless it is taken for windows-1252.
pub fn utf_8(octets: &[u8]) -> Cow<'_, [u8]> {
    if std::str::from_utf8(octets).is_ok() || std::str::from_utf8(&unfolded(octets, |_| {})).is_ok()
    {
        return Cow::Borrowed(octets);
    }
    Cow::Owned(windows_1252(octets).into_owned().into_bytes())
}

fn windows_1252(octets: &[u8]) -> Cow<'_, str> {
    match mail_parser::decoders::charsets::map::charset_decoder(b"windows-1252") {
        Some(decode) => Cow::Owned(decode(octets)),
        None => String::from_utf8_lossy(octets),
    }
}

/// A text as it may be shown: RFC 5545 §3.3.11 allows no control character but HTAB, and `\n` is
/// what its line breaks have become.
pub fn clean(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fold_between_the_octets_of_one_character_is_undone() {
        assert_eq!(unfold(b"SUMMARY:Caf\xc3\r\n \xa9\r\nUID:1\r\n"), "SUMMARY:Caf\u{e9}\nUID:1\n");
    }

    #[test]
    fn every_line_end_and_a_byte_order_mark_are_understood() {
        for octets in [
            &b"\xef\xbb\xbfA:1\r\nB:2"[..],
            b"A:1\nB:2",
            b"A:1\rB:2",
            b"A:1\r\r\nB:2",
            b"A:\n 1\n\tB:2".split_at(5).0,
        ] {
            assert!(unfold(octets).starts_with("A:1"), "{octets:?}");
        }
        assert_eq!(unfold(b"A:1\r\r\n 2\r\r\nB:3"), "A:12\nB:3");
        assert_eq!(unfold(b"A:1\n\n\nB:2"), "A:1\n\n\nB:2");
    }

    #[test]
    fn what_is_not_utf_8_is_windows_1252() {
        assert_eq!(unfold(b"SUMMARY:Gespr\xe4ch \x80"), "SUMMARY:Gespräch €");
    }

    #[test]
    fn an_object_is_put_in_utf_8_only_where_it_is_not() {
        assert_eq!(
            &*utf_8(b"SUMMARY:Gespr\xe4ch \x80\r\n"),
            "SUMMARY:Gespr\u{e4}ch \u{20ac}\r\n".as_bytes()
        );
        let split = b"SUMMARY:Caf\xc3\r\n \xa9\r\n";
        assert_eq!(&*utf_8(split), split);
    }

    #[test]
    fn a_colon_in_quotes_does_not_end_the_parameters() {
        let line = Line::parse("ATTENDEE;CN=\"a:b\";RSVP=TRUE:mailto:x@contoso.example").unwrap();
        assert_eq!(
            (line.params, line.value),
            (";CN=\"a:b\";RSVP=TRUE", "mailto:x@contoso.example")
        );
        assert!(line.has_param("rsvp", "true"));
        let params: Vec<_> = line.parameters().collect();
        assert_eq!(params, [("CN", "\"a:b\""), ("RSVP", "TRUE")]);
        assert_eq!(line.parameter("cn"), Some("a:b"));
        assert_eq!(line.parameter("ROLE"), None);
        let line = Line::parse("A;;x=\";=:\";b;C=1,\"2\":d").unwrap();
        let params: Vec<_> = line.parameters().collect();
        assert_eq!(params, [("x", "\";=:\""), ("b", ""), ("C", "1,\"2\"")]);
        assert_eq!(Line::parse("just text"), None);
        assert_eq!(Line::parse("two words: text"), None);
        assert_eq!(Line::parse("A;B=\"c:d"), None);
    }
}
