//! A map of a mail that is too large to be held: where its parts are, and what they are. Pure.
//!
//! RFC 2046 §5.1 (delimiters), RFC 2045 §5 (types), RFC 2183 (disposition). One pass over the octets in
//! pieces of any size. What is kept is the header of the mail and a few words about each part, all of
//! it capped; a body never is. A delimiter is one at the start of a line only, and that of an outer
//! multipart ends the inner ones, closed or not. A nested mail is one part, and is not looked into:
//! it is somebody else's.

use std::borrow::Cow;
use std::ops::Range;

use mail_parser::{MessageParser, MimeHeaders};
use memchr::memmem::Finder;

use super::decode::Encoding;
use super::{Refusal, header};

/// Most parts of a mail, multiparts included.
pub const PARTS_MAX: usize = 1_000;
/// Deepest nesting of multiparts.
pub const DEPTH_MAX: usize = 50;
/// RFC 2046 §5.1.1: a boundary has at most 70 characters.
const BOUNDARY_OCTETS_MAX: usize = 70;
/// Largest header of a part, in octets.
pub const PART_HEADER_OCTETS_MAX: usize = 64 * 1024;
/// RFC 5322 §2.1.1. A longer line is no delimiter.
const LINE_OCTETS_MAX: usize = 998;
/// What is kept of a file name, a type or an id, in characters.
const WORD_CHARS_MAX: usize = 255;

/// What a mail is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The header block without its empty line; see [`super::head`].
    pub head: Vec<u8>,
    /// In the order of the mail; the first one is the mail itself. Never empty.
    pub parts: Vec<Part>,
    /// Of the whole mail.
    pub octets: u64,
}

/// One part. Ranges are of octets in the mail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// The multipart that it is in; `None` for the first.
    pub parent: Option<usize>,
    /// Nothing but parts. One without any is no multipart but a leaf of a type that says so.
    pub is_multipart: bool,
    pub header: Range<u64>,
    /// Still encoded; without the line end before the delimiter.
    pub body: Range<u64>,
    /// `text/plain`: in lower case, without parameters, and with the default where none is said.
    pub media_type: String,
    /// As it stands there.
    pub charset: Option<String>,
    /// The file name, decoded, without control characters.
    pub name: Option<String>,
    pub disposition: Option<Disposition>,
    /// Without angle brackets.
    pub content_id: Option<String>,
    pub encoding: Encoding,
    /// RFC 2387 §3.2: the Content-ID of the part that a multipart/related is about.
    pub start: Option<String>,
}

/// RFC 2183 §2.1, §2.2; what is neither is to be treated as an attachment (§2.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    Inline,
    Attachment,
}

/// Reads a mail. Give it the octets in order, then [`Reader::finish`].
#[derive(Debug)]
pub struct Reader {
    place: Place,
    /// Octets before the piece that is being read.
    at: u64,
    /// The octet before that.
    last: u8,
    head: Vec<u8>,
    parts: Vec<Part>,
    /// Multiparts whose end has not come, the outermost first.
    open: Vec<Open>,
    /// The part whose body is being read; `None` before, between and after parts.
    current: Option<usize>,
    line_of_dashes: Finder<'static>,
}

#[derive(Debug)]
struct Open {
    part: usize,
    boundary: Vec<u8>,
}

/// A line that ends a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Delimiter {
    /// Whose, as an index of the open multiparts.
    level: usize,
    /// RFC 2046 §5.1.1: the last one, with `--` at its end.
    is_last: bool,
}

#[derive(Debug)]
enum Place {
    /// In the header of the mail.
    Head,
    /// In the header of a part, that began there.
    Header { starts: u64, block: Vec<u8>, line: Vec<u8> },
    /// At the start of a line of a body, or in one that may be a delimiter. `line_end`: how many octets
    /// the line end before it has, which is the delimiter's if it is one.
    Line { line: Vec<u8>, line_end: u64 },
    /// Within a line of a body.
    Body,
}

impl Place {
    fn line_start(line_end: u64) -> Place {
        Place::Line { line: Vec::new(), line_end }
    }
}

/// The header of the mail, what may stand before it, and its empty line.
const HEAD_OCTETS_MAX: usize = header::OCTETS_MAX + 1024;

impl Default for Reader {
    fn default() -> Reader {
        Reader {
            place: Place::Head,
            at: 0,
            last: 0,
            head: Vec::new(),
            parts: Vec::new(),
            open: Vec::new(),
            current: None,
            line_of_dashes: Finder::new(b"\n--"),
        }
    }
}

impl Reader {
    /// Reads on. After a refusal there is nothing more to be read.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        if !matches!(self.place, Place::Head) {
            return self.read(piece);
        }
        let room = HEAD_OCTETS_MAX.saturating_sub(self.head.len()).min(piece.len());
        let (piece, rest) = piece.split_at_checked(room).unwrap_or((piece, &[]));
        // The empty line may have begun in the piece before.
        let from = self.head.len().saturating_sub(3);
        self.head.extend_from_slice(piece);
        let new = self.head.get(from..).unwrap_or_default();
        let is_whole = memchr::memmem::find(new, b"\r\n\r\n").is_some()
            || self.head.starts_with(b"\r\n")
            || self.head.len() >= HEAD_OCTETS_MAX;
        if is_whole {
            self.end_head()?;
            self.read(rest)?;
        }
        Ok(())
    }

    /// The end of the mail.
    pub fn finish(mut self) -> Result<Outline, Refusal> {
        if matches!(self.place, Place::Head) {
            self.end_head()?;
        }
        match std::mem::replace(&mut self.place, Place::Body) {
            Place::Head | Place::Body => {}
            Place::Line { line, line_end } => {
                if let Some(delimiter) = self.delimiter(&line) {
                    self.delimit(delimiter, self.at - length(&line) - line_end);
                }
            }
            Place::Header { starts, mut block, line } => match self.delimiter(&line) {
                Some(delimiter) => self.headless(delimiter, starts, &block, &line)?,
                None => {
                    block.extend_from_slice(&line);
                    if !block.is_empty() {
                        self.begin_part(&block, starts..self.at)?;
                    }
                }
            },
        }
        self.close(0, self.at);
        Ok(Outline { head: self.head, parts: self.parts, octets: self.at })
    }

    /// Makes the first part of the header of the mail, and reads what was collected of the body.
    fn end_head(&mut self) -> Result<(), Refusal> {
        let collected = std::mem::take(&mut self.head);
        let (head, body) = header::split(&collected)?;
        self.at = length(&collected) - length(body);
        self.last = b'\n';
        self.head = head.to_vec();
        // What stands before the header is nothing of the mail; neither is its empty line.
        let starts = memchr::memmem::find(&collected, head).unwrap_or_default();
        let starts = u64::try_from(starts).unwrap_or_default();
        let block = header::without_blank_folds(head);
        self.begin_part(&block, starts..starts + length(head))?;
        self.read(body)
    }

    fn read(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        let mut rest = piece;
        while !rest.is_empty() {
            let used = match std::mem::replace(&mut self.place, Place::Body) {
                Place::Header { starts, block, line } => {
                    self.in_header(rest, starts, block, line)?
                }
                Place::Line { line, line_end } => self.at_line_start(rest, line, line_end),
                Place::Head | Place::Body => self.in_body(rest),
            };
            let (used, after) = rest.split_at_checked(used).unwrap_or((rest, &[]));
            self.last = used.last().copied().unwrap_or(self.last);
            rest = after;
        }
        Ok(())
    }

    /// Up to the end of a line. Returns how many octets that took.
    fn in_header(
        &mut self,
        rest: &[u8],
        starts: u64,
        mut block: Vec<u8>,
        mut line: Vec<u8>,
    ) -> Result<usize, Refusal> {
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let used = rest.get(..end).unwrap_or(rest);
        if block.len() + line.len() + used.len() > PART_HEADER_OCTETS_MAX {
            return Err(Refusal::new(552, [5, 3, 4], "the header of a part is too large"));
        }
        line.extend_from_slice(used);
        self.at += length(used);
        if !line.ends_with(b"\n") {
            self.place = Place::Header { starts, block, line };
        } else if let Some(delimiter) = self.delimiter(&line) {
            self.headless(delimiter, starts, &block, &line)?;
        } else if matches!(line.as_slice(), b"\r\n" | b"\n")
            // RFC 5322 §4.2: a line of white space is a fold where there is something to be folded.
            || block.is_empty() && line.iter().all(u8::is_ascii_whitespace)
        {
            self.begin_part(&block, starts..self.at - length(&line))?;
        } else {
            block.extend_from_slice(&line);
            self.place = Place::Header { starts, block, line: Vec::new() };
        }
        Ok(used.len())
    }

    /// RFC 2046 §5.1.1: a part may end with its header.
    fn headless(
        &mut self,
        delimiter: Delimiter,
        starts: u64,
        block: &[u8],
        line: &[u8],
    ) -> Result<(), Refusal> {
        let before = self.at - length(line);
        if !block.is_empty() {
            self.begin_part(block, starts..before)?;
            if let Some(part) = self.parts.last_mut() {
                part.body = before..before;
            }
        }
        self.delimit(delimiter, before);
        Ok(())
    }

    /// As much of a line as tells whether it is a delimiter.
    fn at_line_start(&mut self, rest: &[u8], mut line: Vec<u8>, line_end: u64) -> usize {
        let dashes = line.len().min(2);
        if !b"--".get(dashes..).unwrap_or_default().iter().zip(rest).all(|(a, b)| a == b) {
            self.place = Place::Body;
            return 0;
        }
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let used = rest.get(..end).unwrap_or(rest);
        let is_too_long = line.len() + used.len() > LINE_OCTETS_MAX + 2;
        if is_too_long {
            // Skipped up to its end.
            let to_end = if used.ends_with(b"\n") { used.len() - 1 } else { used.len() };
            self.at += u64::try_from(to_end).unwrap_or_default();
            return to_end;
        }
        self.at += length(used);
        // Most lines come in one piece, and need not be copied.
        let line = if line.is_empty() && used.ends_with(b"\n") {
            Cow::Borrowed(used)
        } else {
            line.extend_from_slice(used);
            Cow::Owned(line)
        };
        if !line.ends_with(b"\n") {
            self.place = Place::Line { line: line.into_owned(), line_end };
        } else if let Some(delimiter) = self.delimiter(&line) {
            self.delimit(delimiter, self.at - length(&line) - line_end);
        } else {
            self.place = Place::line_start(if line.ends_with(b"\r\n") { 2 } else { 1 });
        }
        used.len()
    }

    /// Up to the next line that begins with dashes. Returns how many octets that took.
    fn in_body(&mut self, rest: &[u8]) -> usize {
        let line_end = |at: usize| {
            let before = match at.checked_sub(1) {
                Some(before) => rest.get(before).copied(),
                None => Some(self.last),
            };
            if before == Some(b'\r') { 2 } else { 1 }
        };
        let used = match self.line_of_dashes.find(rest) {
            Some(at) => {
                self.place = Place::line_start(line_end(at));
                at + 1
            }
            None => {
                if let [before @ .., b'\n', b'-'] = rest {
                    self.place =
                        Place::Line { line: b"-".to_vec(), line_end: line_end(before.len()) };
                } else if let [before @ .., b'\n'] = rest {
                    self.place = Place::line_start(line_end(before.len()));
                }
                rest.len()
            }
        };
        self.at += u64::try_from(used).unwrap_or_default();
        used
    }

    /// Whether a line is a delimiter of a multipart that is open, and of which.
    fn delimiter(&self, line: &[u8]) -> Option<Delimiter> {
        let text = line.strip_prefix(b"--")?;
        let of = |exactly: bool| {
            self.open.iter().enumerate().rev().find_map(|(level, open)| {
                let rest = text.strip_prefix(open.boundary.as_slice())?;
                let is_last = rest.starts_with(b"--");
                let rest = if is_last { rest.get(2..).unwrap_or_default() } else { rest };
                let is_blank = rest.iter().all(u8::is_ascii_whitespace);
                (is_blank || !exactly).then_some(Delimiter { level, is_last })
            })
        };
        // RFC 2046 §5.1.2: those of outer multiparts count as well. §5.1.1: it is enough that the line
        // begins with the boundary; where one boundary begins with another, the whole line decides.
        of(true).or_else(|| of(false))
    }

    /// Ends what a delimiter ends, at the octet `end`.
    fn delimit(&mut self, delimiter: Delimiter, end: u64) {
        self.close(delimiter.level + 1, end);
        if delimiter.is_last {
            self.close(delimiter.level, end);
            // After the delimiter come the rest of its line and an epilogue.
            self.place = Place::line_start(1);
        } else {
            self.place = Place::Header { starts: self.at, block: Vec::new(), line: Vec::new() };
        }
    }

    /// Ends the part that is being read and the multiparts from this level on.
    fn close(&mut self, level: usize, end: u64) {
        let multiparts = self.open.drain(level.min(self.open.len())..).map(|open| open.part);
        for index in multiparts.chain(self.current.take()) {
            if let Some(part) = self.parts.get_mut(index) {
                // The line end before a delimiter may be that of the header.
                part.body.end = end.max(part.body.start);
            }
        }
    }

    /// A part whose header has come, and whose body comes next.
    fn begin_part(&mut self, block: &[u8], header: Range<u64>) -> Result<(), Refusal> {
        if self.parts.len() >= PARTS_MAX {
            return Err(Refusal::header(&format!("the mail holds more than {PARTS_MAX} parts")));
        }
        let index = self.parts.len();
        let parent = self.open.last().map(|open| open.part);
        let is_digest = parent
            .and_then(|parent| self.parts.get(parent))
            .is_some_and(|parent| parent.media_type == "multipart/digest");
        let (mut part, boundary) = words(block, is_digest);
        part.parent = parent;
        part.header = header;
        part.body = self.at..self.at;
        if let Some(parent) = parent.and_then(|parent| self.parts.get_mut(parent)) {
            parent.is_multipart = true;
        }
        match boundary {
            Some(boundary) if part.media_type.starts_with("multipart/") => {
                if boundary.len() > BOUNDARY_OCTETS_MAX {
                    return Err(Refusal::header("a boundary has more than 70 characters"));
                }
                if self.open.len() >= DEPTH_MAX {
                    let why = format!("the mail is nested deeper than {DEPTH_MAX} multiparts");
                    return Err(Refusal::header(&why));
                }
                self.open.push(Open { part: index, boundary: boundary.into_bytes() });
                self.current = None;
            }
            _ => self.current = Some(index),
        }
        self.parts.push(part);
        self.place = Place::line_start(0);
        Ok(())
    }
}

/// What the header of a part says of it, and the boundary.
fn words(block: &[u8], is_digest: bool) -> (Part, Option<String>) {
    // RFC 2046 §5.1.5, RFC 2045 §5.2.
    let default = if is_digest { "message/rfc822" } else { "text/plain" };
    let mut part = Part { media_type: default.to_owned(), ..Part::default() };
    let block = [block, b"\r\n"].concat();
    let Some(parsed) = MessageParser::new().parse_headers(&block) else { return (part, None) };
    let content_type = parsed.content_type();
    if let Some(content_type) = content_type {
        let (kind, subtype) = (content_type.ctype(), content_type.subtype());
        // RFC 2045 §5.2: a type that cannot be read is text/plain; half a one is anything.
        part.media_type = match subtype {
            Some(subtype) => word(&format!("{kind}/{subtype}")).to_ascii_lowercase(),
            None if kind.eq_ignore_ascii_case("text") => "text/plain".to_owned(),
            None => "application/octet-stream".to_owned(),
        };
        part.charset = content_type.attribute("charset").map(word);
        part.start = content_type.attribute("start").map(|id| word(bare(id)));
    }
    part.name = parsed.attachment_name().map(word).filter(|name| !name.is_empty());
    part.disposition = parsed.content_disposition().map(|disposition| {
        if disposition.is_inline() { Disposition::Inline } else { Disposition::Attachment }
    });
    part.content_id = parsed.content_id().map(|id| word(bare(id))).filter(|id| !id.is_empty());
    part.encoding = parsed.content_transfer_encoding().map(Encoding::parse).unwrap_or_default();
    let boundary = content_type.and_then(|c| c.attribute("boundary")).filter(|b| !b.is_empty());
    (part, boundary.map(str::to_owned))
}

fn bare(id: &str) -> &str {
    id.trim().trim_start_matches('<').trim_end_matches('>')
}

/// Text from outside that is kept: without control characters, and not without end.
fn word(text: &str) -> String {
    let printable = text.chars().filter(|c| !c.is_control());
    printable.take(WORD_CHARS_MAX).collect::<String>().trim().to_owned()
}

fn length(octets: &[u8]) -> u64 {
    u64::try_from(octets.len()).unwrap_or(u64::MAX)
}
