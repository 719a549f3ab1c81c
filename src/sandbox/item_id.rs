//! The names Exchange gives to items: ids in two forms, change keys, iCalUId. Pure.
//!
//! Source: Graph "immutable identifiers", `event` (`iCalUId` samples), MS-OXOCAL
//! PidLidGlobalObjectId. An id is opaque and case-sensitive to a client; here it spells out what it
//! names, so nothing is kept to resolve it. It must never hold a `/`.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use jiff::Timestamp;
use jiff::civil::Date;
use uuid::Uuid;

/// What an id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ItemId {
    /// Object id of the mailbox's user: ids are of one mailbox.
    pub mailbox: Uuid,
    /// Counts events, calendars and their attachments alike; likewise mails, folders and theirs.
    pub number: u64,
    /// The original date of an occurrence of a series.
    pub date: Option<Date>,
    /// An occurrence's second id, which it got when it became an exception.
    pub renamed: bool,
}

/// `Prefer: IdType="ImmutableId"` asks for the second form; both resolve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdForm {
    #[default]
    Default,
    Immutable,
}

/// First octets, and the length in all, of each form.
const DEFAULT: ([u8; 6], usize) = ([0, 0, 0, 0, 0x8c, 0xb1], 114);
const IMMUTABLE: ([u8; 6], usize) = ([0, 0, 0x90, 0x2e, 0x52, 0x4d], 60);

impl ItemId {
    /// Anything but an occurrence.
    pub fn of(mailbox: Uuid, number: u64) -> ItemId {
        ItemId { mailbox, number, date: None, renamed: false }
    }

    pub fn text(&self, form: IdForm) -> String {
        let (prefix, length) = match form {
            IdForm::Default => DEFAULT,
            IdForm::Immutable => IMMUTABLE,
        };
        let mut octets = prefix.to_vec();
        octets.extend(self.mailbox.as_bytes());
        octets.extend(self.number.to_be_bytes());
        octets.extend(self.date.map(date_octets).unwrap_or_default());
        octets.push(u8::from(self.renamed));
        octets.resize(length, 0);
        // Real ones begin so, too.
        format!("AAMk{}", URL_SAFE.encode(octets))
    }

    pub fn read(text: &str) -> Option<ItemId> {
        ItemId::read_form(text).map(|(id, _)| id)
    }

    /// The same, and which of the forms it is in.
    pub fn read_form(text: &str) -> Option<(ItemId, IdForm)> {
        let octets = URL_SAFE.decode(text.strip_prefix("AAMk")?).ok()?;
        let is = |(prefix, length): ([u8; 6], usize)| {
            octets.starts_with(&prefix) && octets.len() == length
        };
        let form = match (is(DEFAULT), is(IMMUTABLE)) {
            (true, _) => IdForm::Default,
            (_, true) => IdForm::Immutable,
            _ => return None,
        };
        let mailbox = Uuid::from_slice(octets.get(6..22)?).ok()?;
        let number = u64::from_be_bytes(octets.get(22..30)?.try_into().ok()?);
        let date = match *octets.get(30..34)? {
            [0, 0, 0, 0] => None,
            [y1, y2, month, day] => {
                let part = |octet: u8| i8::try_from(octet).ok();
                Some(Date::new(i16::from_be_bytes([y1, y2]), part(month)?, part(day)?).ok()?)
            }
            _ => return None,
        };
        let renamed = match *octets.get(34)? {
            0 => false,
            1 if date.is_some() => true,
            _ => return None,
        };
        let padded = octets.get(35..)?.iter().all(|octet| *octet == 0);
        padded.then_some((ItemId { mailbox, number, date, renamed }, form))
    }
}

fn date_octets(date: Date) -> [u8; 4] {
    let [y1, y2] = date.year().to_be_bytes();
    [y1, y2, date.month().unsigned_abs(), date.day().unsigned_abs()]
}

/// Another one for each change of an item; `W/"…"` around it is the etag.
pub fn change_key(change: u64) -> String {
    let mut octets = vec![0x5a, 0x1d, 0xb0, 0xc4];
    octets.extend(change.to_be_bytes());
    octets.resize(18, 0);
    STANDARD.encode(octets)
}

/// What the attendees' copies of an event have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GlobalObjectId {
    pub guid: Uuid,
    pub created: Timestamp,
}

impl GlobalObjectId {
    /// MS-OXOCAL §2.2.1.27: fixed octets, the date of an occurrence, the time of creation as a
    /// FILETIME, eight zeros, the length of what follows, and that.
    pub fn ical_uid(&self, occurrence: Option<Date>) -> String {
        let mut octets = vec![
            0x04, 0x00, 0x00, 0x00, 0x82, 0x00, 0xe0, 0x00, 0x74, 0xc5, 0xb7, 0x10, 0x1a, 0x82,
            0xe0, 0x08,
        ];
        octets.extend(occurrence.map(date_octets).unwrap_or_default());
        octets.extend(file_time(self.created).to_le_bytes());
        octets.extend([0; 8]);
        octets.extend(16_u32.to_le_bytes());
        octets.extend(self.guid.as_bytes());
        octets.iter().map(|octet| format!("{octet:02X}")).collect()
    }
}

/// Units of 100 ns since 1601.
fn file_time(at: Timestamp) -> i64 {
    const SECONDS_FROM_1601: i64 = 11_644_473_600;
    (at.as_microsecond() + SECONDS_FROM_1601 * 1_000_000).saturating_mul(10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn both_forms_of_an_id_name_the_same_item_and_nothing_else_is_one() {
        let monday = Some(date(2026, 11, 23));
        for (date, renamed) in [(None, false), (monday, false), (monday, true)] {
            let id = ItemId { mailbox: Uuid::from_u128(7), number: 3, date, renamed };
            let (default, immutable) = (id.text(IdForm::Default), id.text(IdForm::Immutable));
            assert_ne!(default, immutable);
            for text in [&default, &immutable] {
                assert_eq!(ItemId::read(text), Some(id));
                assert_eq!(ItemId::read(&text.to_lowercase()), None);
                assert!(!text.contains('/'), "{text}");
            }
            assert_eq!(ItemId::read(&default[..default.len() - 4]), None);
        }
    }

    #[test]
    fn an_ical_uid_is_documented_hex_with_the_date_of_its_occurrence() {
        let id = GlobalObjectId { guid: Uuid::from_u128(1), created: Timestamp::UNIX_EPOCH };
        let whole = "040000008200E00074C5B7101A82E0080000000000803ED5DEB19D0100000000000000001000\
                     000000000000000000000000000000000001";
        assert_eq!(id.ical_uid(None), whole);
        assert_eq!(&id.ical_uid(Some(date(2026, 11, 23)))[32..40], "07EA0B17");
    }
}
