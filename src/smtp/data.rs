//! The text of a mail as it crosses the wire: transparency (RFC 5321 §4.5.2), the end of data
//! (§4.1.1.4), and the octets that may not occur in it (§2.3.8). Pure.
//!
//! [`Scanner`] gives the client's octets back as slices of what was read, without the dots that
//! transparency added. It must never take anything but `CRLF.CRLF` for the end of data: a server
//! that sees an end where its neighbour sees none lets a stranger smuggle in a second mail
//! (CVE-2023-51764 and its kin). After a fault it yields no more text but reads on to the true end.

/// What is next in the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'i> {
    /// Octets of the mail. Every line end in them, over all pieces, is CRLF.
    Text(&'i [u8]),
    /// All input is used; the end has not come.
    More,
    /// `CRLF.CRLF` was read; what is left of the input are commands.
    End,
}

/// What a mail may not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// CR without LF, LF without CR, or NUL (RFC 5321 §2.3.8, RFC 5322 §4).
    LineEnding,
    /// A line longer than the limit.
    LongLine,
}

/// Where the scanner stands: what the octets just read were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// A CRLF, or nothing yet: RFC 5321 §4.1.1.4 lets the CRLF of `DATA` count.
    LineStart,
    /// Anything within a line.
    Line,
    /// A CR that is held back until the octet after it is known.
    Cr,
    /// `.` at the start of a line; dropped, unless it ends the data.
    Dot,
    /// `.` CR at the start of a line.
    DotCr,
}

#[derive(Debug)]
pub struct Scanner {
    at: At,
    /// Whether a dot at the start of a line means anything: in DATA, not in BDAT.
    dots: bool,
    line_octets: usize,
    line_octets_max: usize,
    fault: Option<Fault>,
}

impl Scanner {
    /// For DATA, where `CRLF.CRLF` is the end.
    pub fn dotted(line_octets_max: usize) -> Scanner {
        Scanner { at: At::LineStart, dots: true, line_octets: 0, line_octets_max, fault: None }
    }

    /// For BDAT (RFC 3030 §2), where octets are counted and dots are dots. [`Piece::End`] never
    /// comes; call [`Scanner::finish`] after the last chunk.
    pub fn counted(line_octets_max: usize) -> Scanner {
        Scanner { dots: false, ..Scanner::dotted(line_octets_max) }
    }

    /// The first fault met. A wrong line ending outranks a long line.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// The octets have ended from outside (BDAT LAST): a CR still held back has no LF.
    pub fn finish(&mut self) {
        if self.at == At::Cr {
            self.bad_line_ending();
        }
    }

    /// Takes the next piece off the front of `input`.
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Piece<'i> {
        while let Some(&octet) = input.first() {
            match (self.at, octet) {
                (At::LineStart | At::Line, _) if !(self.at_dot(octet)) => {
                    if let Some(text) = self.run(input) {
                        return Piece::Text(text);
                    }
                }
                (At::LineStart | At::Line, _) => {
                    skip(input);
                    self.at = At::Dot;
                }
                // The CR held back from an earlier input and its LF: both are text.
                (At::Cr, b'\n') => {
                    skip(input);
                    self.line_end();
                    if self.fault.is_none() {
                        return Piece::Text(b"\r\n");
                    }
                }
                (At::Cr, _) => {
                    self.bad_line_ending();
                    self.at = At::Line;
                }
                (At::Dot, b'\r') => {
                    skip(input);
                    self.at = At::DotCr;
                }
                // RFC 5321 §4.5.2: the dot is dropped, whatever follows it is text.
                (At::Dot, _) => self.at = At::Line,
                (At::DotCr, b'\n') => {
                    skip(input);
                    self.line_end();
                    return Piece::End;
                }
                // `.` CR and no LF. The octet may itself begin a CRLF.
                (At::DotCr, _) => {
                    self.bad_line_ending();
                    self.at = At::Line;
                }
            }
        }
        Piece::More
    }

    fn at_dot(&self, octet: u8) -> bool {
        self.dots && self.at == At::LineStart && octet == b'.'
    }

    /// As much plain text as the input begins with: up to a dot at the start of a line, a fault, or
    /// a CR that is the last octet. `None` when there is none, or none worth having.
    fn run<'i>(&mut self, input: &mut &'i [u8]) -> Option<&'i [u8]> {
        let whole: &'i [u8] = input;
        let mut used = 0;
        loop {
            let rest = whole.get(used..).unwrap_or_default();
            if rest.first().is_some_and(|&octet| self.at_dot(octet)) {
                break;
            }
            let Some(found) = memchr::memchr3(b'\r', b'\n', 0, rest) else {
                if !rest.is_empty() {
                    self.at = At::Line;
                    self.lengthen(rest.len());
                }
                used = whole.len();
                break;
            };
            self.lengthen(found);
            match (rest.get(found), rest.get(found + 1)) {
                (Some(b'\r'), Some(b'\n')) => {
                    used += found + 2;
                    self.line_end();
                }
                (Some(b'\r'), None) => {
                    self.at = At::Cr;
                    *input = &[];
                    return self.text(whole.get(..used + found));
                }
                // A bare CR, a bare LF, a NUL. It ends no line.
                _ => {
                    used += found + 1;
                    self.at = At::Line;
                    self.bad_line_ending();
                }
            }
        }
        *input = whole.get(used..).unwrap_or_default();
        self.text(whole.get(..used))
    }

    fn text<'i>(&self, text: Option<&'i [u8]>) -> Option<&'i [u8]> {
        text.filter(|text| !text.is_empty() && self.fault.is_none())
    }

    fn lengthen(&mut self, octets: usize) {
        self.line_octets = self.line_octets.saturating_add(octets);
        if self.line_octets > self.line_octets_max && self.fault.is_none() {
            self.fault = Some(Fault::LongLine);
        }
    }

    fn line_end(&mut self) {
        self.at = At::LineStart;
        self.line_octets = 0;
    }

    fn bad_line_ending(&mut self) {
        self.fault = Some(Fault::LineEnding);
    }
}

fn skip(input: &mut &[u8]) {
    *input = input.get(1..).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `reads` one after the other; gives the text, the fault, and what followed the end
    /// (`None` if it did not come).
    fn read(reads: &[&[u8]]) -> (Vec<u8>, Option<Fault>, Option<Vec<u8>>) {
        let mut scanner = Scanner::dotted(1000);
        let (mut text, mut after) = (Vec::new(), None);
        for read in reads {
            let mut input = *read;
            if let Some(after) = &mut after {
                Vec::extend_from_slice(after, input);
                continue;
            }
            loop {
                match scanner.next(&mut input) {
                    Piece::Text(piece) => text.extend_from_slice(piece),
                    Piece::More => break,
                    Piece::End => {
                        after = Some(input.to_vec());
                        break;
                    }
                }
            }
        }
        (text, scanner.fault(), after)
    }

    /// The same outcome whole, octet by octet, and split in two at every place.
    fn check(wire: &[u8], expected: (&[u8], Option<Fault>, Option<&[u8]>)) {
        let octets: Vec<&[u8]> = wire.chunks(1).collect();
        let mut ways = vec![vec![wire], octets];
        ways.extend((0..wire.len()).map(|at| vec![&wire[..at], &wire[at..]]));
        for way in ways {
            let (text, fault, after) = read(&way);
            assert_eq!(fault, expected.1, "{way:?}");
            assert_eq!(after.as_deref(), expected.2, "{way:?}");
            if fault.is_none() {
                assert_eq!(text, expected.0, "{way:?}");
            }
        }
    }

    #[test]
    fn dots_that_transparency_added_are_taken_away() {
        check(b"hi\r\n..\r\n.a\r\n\r\n.\r\n", (b"hi\r\n.\r\na\r\n\r\n", None, Some(b"")));
        check(b".\r\nQUIT\r\n", (b"", None, Some(b"QUIT\r\n")));
        check(b"a.\r\n.\r\n", (b"a.\r\n", None, Some(b"")));
        check(b"..\r\n.\r\n", (b".\r\n", None, Some(b"")));
        check(b"a\r\n", (b"a\r\n", None, None));
    }

    #[test]
    fn only_crlf_dot_crlf_ends_the_data() {
        let rest: &[u8] = b"MAIL FROM:<eve@contoso.example>\r\n";
        let newlines: &[&[u8]] = &[b"\r\n", b"\n", b"\r", b"\r\r\n", b"\0\r\n", b"\r\0\n"];
        for before in newlines {
            for after in newlines {
                let mut wire = [b"x", *before, b".", *after, rest].concat();
                let expected_after = wire.len() - rest.len();
                wire.extend_from_slice(b"\r\n.\r\n");
                // Before the dot, everything that ends in a true CRLF does; after it, CRLF alone.
                let ends = before.ends_with(b"\r\n") && *after == b"\r\n";
                let clean = *before == b"\r\n" && *after == b"\r\n";
                let fault = (!clean).then_some(Fault::LineEnding);
                let tail = if ends { wire[expected_after..].to_vec() } else { Vec::new() };
                check(&wire, (b"x\r\n", fault, Some(&tail)));
            }
        }
    }

    #[test]
    fn a_bare_cr_a_bare_lf_or_a_nul_is_a_fault_and_is_read_on_to_the_true_end() {
        for bad in ["a\rb", "a\nb", "a\0b", "\n", "\r", ".\n", ".\r", "a\r"] {
            let wire = [bad.as_bytes(), b"\r\n.\r\nNOOP\r\n"].concat();
            check(&wire, (b"", Some(Fault::LineEnding), Some(b"NOOP\r\n")));
        }
    }

    #[test]
    fn a_line_over_the_limit_is_a_fault_and_one_at_it_is_not() {
        let line = |octets| [vec![b'a'; octets], b"\r\n.\r\n".to_vec()].concat();
        assert_eq!(read(&[&line(1000)]).1, None);
        let (_, fault, after) = read(&[&line(1001)]);
        assert_eq!((fault, after), (Some(Fault::LongLine), Some(vec![])));
    }

    #[test]
    fn counted_octets_have_no_dots_and_no_end() {
        let mut scanner = Scanner::counted(1000);
        let mut input: &[u8] = b"..\r\n.\r\na\r";
        assert_eq!(scanner.next(&mut input), Piece::Text(b"..\r\n.\r\na"));
        assert_eq!(scanner.next(&mut input), Piece::More);
        assert_eq!(scanner.fault(), None);
        scanner.finish();
        assert_eq!(scanner.fault(), Some(Fault::LineEnding));
    }

    proptest! {
        #[test]
        fn stuffed_text_comes_back_however_it_is_cut(
            lines in prop::collection::vec("[.a]{0,4}", 0..12), cuts in prop::collection::vec(1usize..5, 1..40)
        ) {
            let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let mut wire: String = lines
                .iter()
                .map(|line| format!("{}{line}\r\n", if line.starts_with('.') { "." } else { "" }))
                .collect();
            wire.push_str(".\r\nRSET\r\n");
            let (mut reads, mut rest, mut cuts) = (Vec::new(), wire.as_bytes(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (head, tail) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                reads.push(head);
                rest = tail;
            }
            prop_assert_eq!(read(&reads), (text.into_bytes(), None, Some(b"RSET\r\n".to_vec())));
        }
    }
}
