//! Command lines out of what was read: RFC 5321 §2.3.8, §4.5.3.1.4. Pure.
//!
//! Never keeps more of a line than its limit; a line that is too long is dropped up to its end.

use zeroize::Zeroizing;

use super::limits::Limits;
use super::reply::{self, Reply};

/// Of a line that is too long, no more than this is waited for.
const OVERLONG_OCTETS_MAX: usize = 64 * 1024;

/// A line as far as it has arrived.
#[derive(Debug, Default)]
pub struct Line {
    octets: Vec<u8>,
    /// Octets of a line that was too long.
    overlong: usize,
}

#[derive(Debug)]
pub enum Taken {
    /// All input is used, and the line has not ended.
    More,
    /// With its LF. It may hold a password.
    Line(Result<Zeroizing<Vec<u8>>, TooLong>),
    /// Too long, and no end in sight.
    Endless,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

impl Line {
    /// Takes a line off the front of `input`, or as much of it as there is. `exchange`: the line
    /// answers a challenge and may be as long as those are.
    pub fn read(&mut self, input: &mut &[u8], exchange: bool, limits: &Limits) -> Taken {
        let end = memchr::memchr(b'\n', input);
        let head = take(input, end.map_or(u64::MAX, |end| end as u64 + 1));
        self.keep(head, exchange, limits);
        match end {
            None if self.overlong > OVERLONG_OCTETS_MAX => Taken::Endless,
            None => Taken::More,
            Some(_) => {
                let Line { octets, overlong } = std::mem::take(self);
                let line = Zeroizing::new(octets);
                Taken::Line(if overlong == 0 { Ok(line) } else { Err(TooLong) })
            }
        }
    }

    fn keep(&mut self, octets: &[u8], exchange: bool, limits: &Limits) {
        let auth = exchange || {
            let start = self.octets.iter().chain(octets).take(4);
            start.map(u8::to_ascii_uppercase).eq(*b"AUTH")
        };
        let max = if auth { limits.auth_octets } else { limits.command_octets };
        if self.overlong > 0 || self.octets.len() + octets.len() > max {
            self.overlong = self.overlong.saturating_add(self.octets.len() + octets.len());
            self.octets = Vec::new();
        } else {
            self.octets.extend_from_slice(octets);
        }
    }

    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.octets.capacity()
    }
}

/// The text of a line that ended in LF, if it is fit to be a command.
pub fn text_of(line: &[u8]) -> Result<&str, Reply> {
    // RFC 5321 §2.3.8: a line ends in CRLF and in nothing else.
    let line = line.strip_suffix(b"\r\n").ok_or(reply::LINE_ENDING)?;
    if line.iter().any(u8::is_ascii_control) {
        return Err(reply::LINE_ENDING);
    }
    str::from_utf8(line).map_err(|_| reply::NOT_UTF8)
}

/// Up to so many octets off the front.
pub fn take<'i>(input: &mut &'i [u8], octets: u64) -> &'i [u8] {
    let octets = usize::try_from(octets).unwrap_or(usize::MAX).min(input.len());
    let (head, tail) = input.split_at(octets);
    *input = tail;
    head
}
