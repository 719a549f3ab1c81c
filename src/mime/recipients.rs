//! To, Cc and Bcc as they must stand so that delivery is the envelope. Pure.
//!
//! Graph has no envelope: Exchange mails whoever To, Cc and Bcc name. So the header is computed
//! from the forward-paths, and what a client wrote is kept octet for octet wherever that says the
//! same. Decisions, each with its reason:
//!
//! - Bcc of the client goes, always: only the envelope counts. One Bcc is added for the recipients
//!   whom neither To nor Cc names.
//! - A mailbox in To or Cc that is not in the envelope is cut out of the field; the recipients find
//!   the field as it was written in `X-Postbridge-To` or `X-Postbridge-Cc`, so nothing is hidden.
//! - A field that two readers would understand differently is never passed on. It is written anew
//!   when every address in it is in the envelope; else the mail is refused.
//!
//! This file must never let an address through that is not in the envelope.

use std::collections::BTreeSet;

use super::Refusal;
use super::address_list::{self, Item, Mailbox};
use super::edits::{Edits, Verdict};
use super::header::Field;
use crate::account::Address;
use crate::submission::Envelope;

/// RFC 5322 §2.1.1: a line has at most 998 octets, its CRLF not counted.
const LINE_OCTETS_MAX: usize = 998;
/// RFC 5322 §2.1.1: and should have no more than 78.
const LINE_OCTETS_WANTED: usize = 78;

/// Decides on every recipient field.
pub fn decide(fields: &[Field<'_>], envelope: &Envelope, edits: &mut Edits) -> Result<(), Refusal> {
    if envelope.recipients().any(|recipient| !is_safe(recipient)) {
        return Err(Refusal::recipient());
    }
    let delivery_set: Vec<(String, &Address)> =
        envelope.recipients().map(|recipient| (recipient.key(), recipient)).collect();
    let keys: BTreeSet<String> = delivery_set.iter().map(|(key, _)| key.clone()).collect();
    let written_anew = |name: &str, named: &BTreeSet<String>| {
        anew(name, delivery_set.iter().filter(|(key, _)| named.contains(key)).map(|(_, a)| *a))
    };

    let to = merge(fields, "To", &keys, written_anew)?;
    let cc = merge(fields, "Cc", &keys, written_anew)?;
    let seen: BTreeSet<String> = to.named.union(&cc.named).cloned().collect();
    let unseen: BTreeSet<String> = keys.difference(&seen).cloned().collect();

    let nobody_named = to.is_empty() && cc.is_empty();
    place(fields, "To", to, edits);
    place(fields, "Cc", cc, edits);
    for (index, field) in fields.iter().enumerate() {
        if field.is("Bcc") || field.is("Resent-Bcc") {
            edits.set(index, Verdict::Drop);
        } else if field.is("Resent-To") || field.is("Resent-Cc") {
            // RFC 5322 §3.6.6 lets these name the recipients of a mail sent on. Whoever reads them
            // so must find nobody outside the envelope there.
            if !matches!(reading(field, &keys), Ok(Reading::AsItStands { .. })) {
                edits.set(index, Verdict::Replace(original(field.name, field.value)));
            }
        }
    }
    if nobody_named {
        // RFC 5322 §A.1.3; some receivers count a mail without To as junk.
        edits.append(b"To: undisclosed-recipients:;\r\n");
    }
    if !unseen.is_empty() {
        // Exchange delivers to the Bcc and shows it to nobody.
        let value = written_anew("Bcc", &unseen)?;
        edits.append(&[b"Bcc: ", &value[..], b"\r\n"].concat());
    }
    Ok(())
}

/// Whether an address of the envelope can stand in a header field and mean itself there.
fn is_safe(address: &Address) -> bool {
    // RFC 2047 §5: an encoded word in an address is none, but some readers decode it.
    !address.as_str().contains(char::is_control) && !address.as_str().contains("=?")
}

/// What one recipient field, or several of the same name together, will be.
#[derive(Default)]
struct Merged {
    /// `None`: the one field stays as it is, or there is none.
    value: Option<Vec<u8>>,
    /// Keys of the recipients it names.
    named: BTreeSet<String>,
    /// The fields say something after all: a recipient or a group.
    says_something: bool,
    /// Something was taken out, if only a name, so the originals are to be shown.
    cut: bool,
}

impl Merged {
    fn is_empty(&self) -> bool {
        !self.says_something
    }
}

/// How a single field reads in the light of the envelope.
enum Reading {
    /// Every address is in the envelope, and another reader finds the same ones.
    AsItStands { named: BTreeSet<String> },
    /// These texts remain of it, each with the keys of the recipients it names.
    InPart { kept: Vec<(Vec<u8>, BTreeSet<String>)>, cut: bool },
}

fn merge(
    fields: &[Field<'_>],
    name: &str,
    delivery_set: &BTreeSet<String>,
    written_anew: impl Fn(&str, &BTreeSet<String>) -> Result<Vec<u8>, Refusal>,
) -> Result<Merged, Refusal> {
    let mut merged = Merged::default();
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    let mut as_it_stands = true;
    let all: Vec<&Field<'_>> = fields.iter().filter(|field| field.is(name)).collect();
    for field in &all {
        let kept = match reading(field, delivery_set)? {
            Reading::AsItStands { named } => vec![(field.value.trim_ascii().to_vec(), named)],
            Reading::InPart { kept, cut } => {
                as_it_stands = false;
                merged.cut |= cut;
                kept
            }
        };
        for (piece, named) in kept {
            pieces.push(piece);
            merged.named.extend(named);
        }
    }
    merged.says_something = !pieces.is_empty();
    // RFC 5322 §3.6: there is one To and one Cc at most.
    if all.len() > 1 || !as_it_stands {
        let value = pieces.join(&b",\r\n "[..]);
        if reads_as(name, &value, &merged.named) {
            merged.value = Some(value);
        } else {
            merged.value = Some(written_anew(name, &merged.named)?);
            merged.says_something = !merged.named.is_empty();
            merged.cut = true;
        }
    }
    Ok(merged)
}

fn reading(field: &Field<'_>, delivery_set: &BTreeSet<String>) -> Result<Reading, Refusal> {
    let wanted = |mailbox: &Mailbox| {
        let key = mailbox.address.as_ref().map(Address::key);
        key.filter(|key| delivery_set.contains(key))
    };
    let Ok(items) = address_list::scan(field.value) else {
        return unclear(field, delivery_set);
    };
    let mailboxes = || items.iter().flat_map(Item::mailboxes);
    let named: BTreeSet<String> = mailboxes().filter_map(wanted).collect();
    let cut = mailboxes().any(|mailbox| wanted(mailbox).is_none());
    if !cut && !items.is_empty() && reads_as(field.name, field.value, &named) {
        return Ok(Reading::AsItStands { named });
    }
    let text = |span: &std::ops::Range<usize>| field.value.get(span.clone()).unwrap_or_default();
    let mut kept = Vec::new();
    for item in &items {
        let named: BTreeSet<String> = item.mailboxes().iter().filter_map(wanted).collect();
        match item {
            Item::Mailbox(mailbox) if !named.is_empty() => {
                kept.push((text(&mailbox.span).to_vec(), named));
            }
            Item::Mailbox(_) => {}
            Item::Group { span, members, .. } if members.iter().all(|m| wanted(m).is_some()) => {
                kept.push((text(span).to_vec(), named));
            }
            Item::Group { name, members, .. } if !named.is_empty() => {
                let members: Vec<&[u8]> = members
                    .iter()
                    .filter(|member| wanted(member).is_some())
                    .map(|member| text(&member.span))
                    .collect();
                let members = members.join(&b",\r\n "[..]);
                kept.push(([text(name), b": ", &members, b";"].concat(), named));
            }
            Item::Group { .. } => {}
        }
    }
    Ok(Reading::InPart { kept, cut })
}

/// A field that is no address list by the grammar.
fn unclear(field: &Field<'_>, delivery_set: &BTreeSet<String>) -> Result<Reading, Refusal> {
    let refusal = || {
        Refusal::header(&format!(
            "{}: cannot be read with certainty, and it may name somebody whom RCPT TO did not",
            field.name
        ))
    };
    let candidates = address_list::candidates(field.value).ok_or_else(refusal)?;
    if candidates.iter().any(|address| !delivery_set.contains(&address.key())) {
        return Err(refusal());
    }
    let piece = |address: &Address| (address.to_string().into_bytes(), [address.key()].into());
    let kept = candidates.iter().map(piece).collect();
    Ok(Reading::InPart { kept, cut: true })
}

/// Whether a value can be passed on: a second reader finds exactly these addresses in it, and no
/// line is too long.
fn reads_as(name: &str, value: &[u8], named: &BTreeSet<String>) -> bool {
    let mut before = name.len() + 2;
    let short = value.split(|&octet| octet == b'\n').all(|line| {
        let length = before + line.trim_ascii_end().len();
        before = 0;
        length <= LINE_OCTETS_MAX
    });
    short && address_list::second_reading(value) == *named
}

/// The bare addresses as RCPT TO gave them: for Bcc, and for a field whose text would not mean the
/// same to every reader.
fn anew<'x>(
    name: &str,
    addresses: impl Iterator<Item = &'x Address> + Clone,
) -> Result<Vec<u8>, Refusal> {
    let value = list(name, addresses.clone());
    if reads_as(name, &value, &addresses.map(Address::key).collect()) {
        Ok(value)
    } else {
        Err(Refusal::recipient())
    }
}

/// Puts the merged field where the first of them stood.
fn place(fields: &[Field<'_>], name: &str, merged: Merged, edits: &mut Edits) {
    let Some(value) = merged.value else { return };
    let mut field = Vec::new();
    if merged.says_something {
        field.extend([name.as_bytes(), b": ", &value, b"\r\n"].concat());
    }
    for (nth, (index, old)) in
        fields.iter().enumerate().filter(|(_, field)| field.is(name)).enumerate()
    {
        let mut octets = if nth == 0 { std::mem::take(&mut field) } else { Vec::new() };
        if merged.cut && !old.is_empty() {
            octets.extend(original(name, old.value));
        }
        edits.set(index, Verdict::Replace(octets));
    }
}

/// A field under a name that nobody takes for recipients, with the value as the client wrote it.
fn original(name: &str, value: &[u8]) -> Vec<u8> {
    let name = format!("X-Postbridge-{name}:");
    let first_line = value.split(|&octet| octet == b'\r').next().unwrap_or_default();
    let fold: &[u8] = match name.len() + first_line.len() > LINE_OCTETS_MAX {
        true => b"\r\n ",
        false => b"",
    };
    [name.as_bytes(), fold, value, b"\r\n"].concat()
}

/// Addresses with commas between, folded.
fn list<'x>(name: &str, addresses: impl Iterator<Item = &'x Address>) -> Vec<u8> {
    let mut value = Vec::new();
    let mut column = name.len() + 2;
    for (nth, address) in addresses.enumerate() {
        // Angle brackets make it plain to every reader where a quoted local part belongs.
        let address = match address.local_part().starts_with('"') {
            true => format!("<{address}>"),
            false => address.to_string(),
        };
        // An address has at most 64 + 1 + 255 octets, so a line of one alone is never too long.
        if nth > 0 {
            value.push(b',');
            if column + 2 + address.len() + 1 > LINE_OCTETS_WANTED {
                value.extend_from_slice(b"\r\n");
                column = 0;
            }
            value.push(b' ');
            column += 2;
        }
        value.extend_from_slice(address.as_bytes());
        column += address.len();
    }
    value
}
