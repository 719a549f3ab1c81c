//! The text of one mail as it streams in: scanned, counted, judged. Pure.
//!
//! Keeps no more of a mail than its header block. It must never stop reading at a fault: where the
//! text ends is where the next command begins.

use super::data::{Fault, Piece, Scanner};
use super::header::HeaderBlock;
use super::limits::Limits;
use super::reply::{self, Reply};

/// The text of a mail as far as it has come.
#[derive(Debug)]
pub struct Body {
    scanner: Scanner,
    header: HeaderBlock,
    octets: u64,
    /// Why it will not be taken, if not for the scanner's reasons.
    refusal: Option<Reply>,
    /// The driver has been told that it will not be taken.
    abandoned: bool,
}

/// What [`Body::read`] came to.
pub enum Read<'i> {
    Text(&'i [u8]),
    /// The mail will not be taken; said once.
    Refused,
    More,
    End,
}

impl Body {
    pub fn new(scanner: Scanner, limits: &Limits) -> Body {
        Body {
            scanner,
            header: HeaderBlock::new(limits.header_octets, limits.header_fields),
            octets: 0,
            refusal: None,
            abandoned: false,
        }
    }

    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Whether [`Read::Refused`] was given.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// The last chunk has been read.
    pub fn finish(&mut self) {
        self.scanner.finish();
    }

    pub fn into_head(self) -> Vec<u8> {
        self.header.into_octets()
    }

    /// Takes text from the front of `input`.
    pub fn read<'i>(&mut self, input: &mut &'i [u8], limits: &Limits) -> Read<'i> {
        loop {
            let piece = self.scanner.next(input);
            if let Piece::Text(text) = piece
                && self.refusal.is_none()
            {
                match self.admit(text, limits) {
                    Ok(()) => return Read::Text(text),
                    Err(refusal) => self.refusal = Some(refusal),
                }
            }
            match piece {
                Piece::End => return Read::End,
                _ if !self.abandoned && self.verdict().is_some() => {
                    self.abandoned = true;
                    return Read::Refused;
                }
                Piece::More => return Read::More,
                Piece::Text(_) => {}
            }
        }
    }

    fn admit(&mut self, text: &[u8], limits: &Limits) -> Result<(), Reply> {
        self.octets = self.octets.saturating_add(text.len() as u64);
        if self.octets > limits.message_octets {
            return Err(reply::MESSAGE_TOO_LARGE);
        }
        self.header.push(text).map_err(|_| reply::HEADER_TOO_LARGE)
    }

    /// Why the mail will not be taken. A wrong line ending outranks the rest.
    pub fn verdict(&self) -> Option<Reply> {
        match self.scanner.fault() {
            Some(Fault::LineEnding) => Some(reply::BAD_LINE_ENDING),
            Some(Fault::LongLine) => Some(reply::TEXT_LINE_TOO_LONG),
            None => self.refusal.clone(),
        }
    }
}
