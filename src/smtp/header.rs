//! Gathers the header block (RFC 5322 §2.1) of a mail that streams by, within limits. Pure.
//!
//! The block is what the check at the end of data looks at; the body passes without being kept.
//! Nothing here must understand a field.

/// The header block so far.
#[derive(Debug)]
pub struct HeaderBlock {
    octets: Vec<u8>,
    fields: usize,
    /// Where the line that is still arriving begins.
    line: usize,
    /// The first line is a field.
    is_header: bool,
    /// No more is kept.
    complete: bool,
    octets_max: usize,
    fields_max: usize,
}

/// The header block is over a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooLarge {
    Octets,
    Fields,
}

impl HeaderBlock {
    pub fn new(octets_max: usize, fields_max: usize) -> HeaderBlock {
        HeaderBlock {
            octets: Vec::new(),
            fields: 0,
            line: 0,
            is_header: false,
            complete: false,
            octets_max,
            fields_max,
        }
    }

    /// Takes the next octets of the mail, whose lines all end in CRLF.
    pub fn push(&mut self, text: &[u8]) -> Result<(), TooLarge> {
        if self.complete {
            return Ok(());
        }
        let mut rest = text;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (head, tail) = rest.split_at(end + 1);
            self.keep(head)?;
            if self.complete {
                return Ok(());
            }
            rest = tail;
            let line = self.octets.get(self.line..).unwrap_or_default();
            if self.line == 0 {
                self.is_header = begins_a_field(line);
            }
            match line {
                b"\r\n" => {
                    self.complete = true;
                    return Ok(());
                }
                [b' ' | b'\t', ..] => {}
                _ => self.fields += 1,
            }
            if self.is_header && self.fields > self.fields_max {
                return Err(TooLarge::Fields);
            }
            self.line = self.octets.len();
        }
        self.keep(rest)
    }

    /// The block with the blank line that ends it; without one if the mail has none. Of a mail that
    /// does not begin with a field, what was kept of its first paragraph.
    pub fn into_octets(self) -> Vec<u8> {
        self.octets
    }

    fn keep(&mut self, octets: &[u8]) -> Result<(), TooLarge> {
        if self.octets.len() + octets.len() > self.octets_max {
            // A text that does not begin with a field has no header block: it is all body, and its
            // length is no concern of ours.
            let is_header = match self.line {
                0 => begins_a_field(&self.octets),
                _ => self.is_header,
            };
            if !is_header && !self.octets.is_empty() {
                self.complete = true;
                return Ok(());
            }
            return Err(TooLarge::Octets);
        }
        self.octets.extend_from_slice(octets);
        Ok(())
    }
}

/// RFC 5322 §2.2: a name of printable characters, then a colon. §4.5 lets white space precede it.
fn begins_a_field(line: &[u8]) -> bool {
    let Some(colon) = memchr::memchr(b':', line) else { return false };
    let name = line.get(..colon).unwrap_or_default().trim_ascii_end();
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mail: &str, expected: Result<&str, TooLarge>) {
        for size in [1, 2, 3, mail.len().max(1)] {
            let mut block = HeaderBlock::new(100, 4);
            let pushed = mail.as_bytes().chunks(size).try_for_each(|piece| block.push(piece));
            let got = pushed.map(|()| String::from_utf8(block.into_octets()).unwrap());
            assert_eq!(got.as_deref().map_err(|e| *e), expected, "{mail:?} by {size}");
        }
    }

    #[test]
    fn the_block_ends_with_the_blank_line() {
        check("To: a\r\nSubject: b\r\n c\r\n\r\nbody\r\n", Ok("To: a\r\nSubject: b\r\n c\r\n\r\n"));
        check("To: a\r\n", Ok("To: a\r\n"));
        check("\r\nbody\r\n", Ok("\r\n"));
        check("", Ok(""));
    }

    #[test]
    fn too_many_fields_or_octets_are_refused_and_folded_lines_are_no_fields() {
        check("a:\r\nb:\r\nc:\r\nd:\r\ne:\r\n\r\n", Err(TooLarge::Fields));
        check(
            "a:\r\n b:\r\n c:\r\n d:\r\n e:\r\n\r\n",
            Ok("a:\r\n b:\r\n c:\r\n d:\r\n e:\r\n\r\n"),
        );
        check(&format!("a: {}\r\n", "x".repeat(100)), Err(TooLarge::Octets));
    }

    #[test]
    fn a_text_that_begins_with_no_field_is_all_body() {
        let mut block = HeaderBlock::new(100, 4);
        block.push(b"hello there\r\n").unwrap();
        (0..200).for_each(|_| block.push(b"bcc: x\r\n").unwrap());
        let head = block.into_octets();
        assert!(head.starts_with(b"hello there\r\nbcc: x\r\n") && head.len() <= 100);
    }
}
