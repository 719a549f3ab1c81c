//! What becomes of each field of a header block, decided before anything is written. Pure.
//!
//! A [`Verdict`] for every field, and what is added after the last one. Fields that are kept are
//! written octet for octet.

use super::header::Field;

/// What becomes of one field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Verdict {
    #[default]
    Keep,
    Drop,
    /// Whole fields, each with its CRLF, or nothing.
    Replace(Vec<u8>),
}

/// All changes to one header block. The default is no change at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edits {
    verdicts: Vec<Verdict>,
    added: Vec<u8>,
    /// Neither `Date` nor `Message-ID` can be made before the mail has an id and a time.
    pub(super) date_missing: bool,
    pub(super) message_id_missing: bool,
}

impl Edits {
    pub(super) fn new(fields: usize) -> Edits {
        Edits { verdicts: vec![Verdict::Keep; fields], ..Edits::default() }
    }

    /// The mail names itself by a Message-ID or a Date, so that an equal one is the same mail.
    pub fn is_named(&self) -> bool {
        !(self.date_missing && self.message_id_missing)
    }

    pub(super) fn set(&mut self, index: usize, verdict: Verdict) {
        if let Some(slot) = self.verdicts.get_mut(index) {
            *slot = verdict;
        }
    }

    /// Adds whole fields, each with its CRLF, at the end of the header.
    pub(super) fn append(&mut self, fields: &[u8]) {
        self.added.extend_from_slice(fields);
    }

    /// The header block without the empty line.
    pub(super) fn write(&self, fields: &[Field<'_>], output: &mut Vec<u8>) {
        for (field, verdict) in fields.iter().zip(&self.verdicts) {
            match verdict {
                Verdict::Keep => {
                    output.extend_from_slice(field.octets);
                    // BDAT may end a mail within its last field.
                    if !field.octets.ends_with(b"\r\n") {
                        output.extend_from_slice(b"\r\n");
                    }
                }
                Verdict::Drop => {}
                Verdict::Replace(octets) => output.extend_from_slice(octets),
            }
        }
        output.extend_from_slice(&self.added);
    }
}
