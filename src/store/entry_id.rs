//! The name of an entry of the spool.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The name of an entry: in the 250, in every log line, in the Message-ID that we add.
///
/// 26 letters and digits of Crockford's base 32, sortable by time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(u128);

const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl EntryId {
    pub(super) fn new() -> EntryId {
        EntryId(Uuid::now_v7().as_u128())
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for digit in (0..26).rev() {
            let letter = CROCKFORD[(self.0 >> (digit * 5)) as usize & 31];
            write!(f, "{}", letter as char)?;
        }
        Ok(())
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for EntryId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EntryId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<EntryId, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Not the name of an entry.
#[derive(Debug, thiserror::Error)]
#[error("not the id of an entry: 26 letters and digits are one")]
pub struct NotAnEntryId;

impl FromStr for EntryId {
    type Err = NotAnEntryId;
    fn from_str(text: &str) -> Result<EntryId, NotAnEntryId> {
        if text.len() != 26 {
            return Err(NotAnEntryId);
        }
        text.bytes()
            .try_fold(0u128, |sum, letter| {
                let letter = letter.to_ascii_lowercase();
                let digit = CROCKFORD.iter().position(|&c| c == letter)? as u128;
                sum.checked_mul(32).map(|sum| sum + digit)
            })
            .map(EntryId)
            .ok_or(NotAnEntryId)
    }
}
