//! Parts of a mail that stays in the spool: read as they are needed, without their transfer encodings.
//!
//! RFC 2045 §6. The mail must never be in memory whole, nor a part of it beyond what is asked for.
//! Everything here waits for the disk, so none of it runs on the reactor.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::mime::Refusal;
use crate::mime::content::Content;
use crate::mime::decode::Decoder;
use crate::mime::outline::{Outline, Reader};

/// Octets read from the disk at once.
const READ_OCTETS: usize = 64 * 1024;

/// Why a mail in the spool could not be mapped.
pub(super) enum Unread {
    Disk(io::Error),
    Refused(Refusal),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Unread {
        Unread::Disk(error)
    }
}

impl From<Refusal> for Unread {
    fn from(refusal: Refusal) -> Unread {
        Unread::Refused(refusal)
    }
}

/// Maps a mail in one pass.
pub(super) fn outline(file: &fs::File) -> Result<Outline, Unread> {
    let mut reader = Reader::default();
    let mut buffer = vec![0; READ_OCTETS];
    let mut at = 0;
    loop {
        let read = file.read_at(&mut buffer, at)?;
        if read == 0 {
            return Ok(reader.finish()?);
        }
        reader.push(buffer.get(..read).unwrap_or_default())?;
        at += read as u64;
    }
}

/// One part, decoded from its beginning on.
pub(super) struct Part {
    file: Arc<fs::File>,
    /// What is still to be read.
    at: u64,
    end: u64,
    decoder: Decoder,
    /// Decoded, and not given out yet.
    decoded: Vec<u8>,
}

impl Part {
    pub(super) fn new(file: &Arc<fs::File>, content: &Content) -> Part {
        Part {
            file: file.clone(),
            at: content.range.start,
            end: content.range.end,
            decoder: Decoder::new(content.encoding),
            decoded: Vec::new(),
        }
    }

    /// The next octets: exactly so many, and fewer only at the end.
    pub(super) fn next(&mut self, octets: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; READ_OCTETS];
        while self.decoded.len() < octets && self.at < self.end {
            let left = usize::try_from(self.end - self.at).unwrap_or(READ_OCTETS);
            let room = buffer.get_mut(..left.min(READ_OCTETS)).unwrap_or_default();
            let read = self.file.read_at(room, self.at)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.at += read as u64;
            self.decoder.push(room.get(..read).unwrap_or_default(), &mut self.decoded);
            if self.at == self.end {
                self.decoder.finish(&mut self.decoded);
            }
        }
        let rest = self.decoded.split_off(octets.min(self.decoded.len()));
        Ok(std::mem::replace(&mut self.decoded, rest))
    }

    /// Passes over as many octets as this, or as there are; how many that were.
    pub(super) fn skip(&mut self, octets: u64) -> io::Result<u64> {
        let mut skipped = 0;
        while skipped < octets {
            let most = usize::try_from(octets - skipped).unwrap_or(READ_OCTETS).min(READ_OCTETS);
            match self.next(most)?.len() {
                0 => break,
                some => skipped += some as u64,
            }
        }
        Ok(skipped)
    }
}

/// Runs what waits for the disk where it keeps nobody else waiting.
pub(super) async fn blocking<T, F>(work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::mime::decode::Encoding;

    #[test]
    fn a_part_comes_in_pieces_of_the_size_that_is_asked_for() {
        let mut file = tempfile::tempfile().unwrap();
        let line = format!("{}\r\n", "QUJD".repeat(19));
        file.write_all(format!("head{}tail", line.repeat(5_000)).as_bytes()).unwrap();
        let file = Arc::new(file);
        let range = 4..4 + 5_000 * line.len() as u64;
        let content = Content { range, encoding: Encoding::Base64 };
        let whole = "ABC".repeat(19 * 5_000).into_bytes();
        let mut part = Part::new(&file, &content);
        assert_eq!(part.skip(1_000).unwrap(), 1_000);
        let mut got = Vec::new();
        loop {
            let piece = part.next(100_000).unwrap();
            if piece.len() < 100_000 {
                got.extend(piece);
                break;
            }
            got.extend(piece);
        }
        assert!(got == whole[1_000..]);
        assert_eq!(Part::new(&file, &content).skip(u64::MAX).unwrap(), whole.len() as u64);
    }
}
