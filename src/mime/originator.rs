//! From and Sender: who says that they wrote the mail. Pure.
//!
//! RFC 5322 §3.6.2, RFC 6409 §6.1 (a submission server may check the identity) and §8.1 (it may add
//! what is missing). Exchange reads the author from the header, so the header is checked as
//! strictly as MAIL FROM. This file must never pass on an author that the account may not be, nor
//! one that two readers would name differently.

use super::Refusal;
use super::address_list::{self, Item};
use super::edits::{Edits, Verdict};
use super::header::Field;
use crate::account::{Account, Address};
use crate::submission::Envelope;

/// Decides on From, Sender and their Resent- forms.
pub fn decide(
    fields: &[Field<'_>],
    envelope: &Envelope,
    account: &Account,
    edits: &mut Edits,
) -> Result<(), Refusal> {
    let mut from_found = false;
    let mut sender_found = false;
    for (index, field) in fields.iter().enumerate() {
        let once = if field.is("From") {
            Some(&mut from_found)
        } else if field.is("Sender") {
            Some(&mut sender_found)
        } else if field.is("Resent-From") || field.is("Resent-Sender") {
            // RFC 5322 §3.6.6: there is a block of these for each time the mail was sent on.
            None
        } else {
            continue;
        };
        if field.is_empty() {
            edits.set(index, Verdict::Drop);
            continue;
        }
        if once.is_some_and(|found| std::mem::replace(found, true)) {
            return Err(Refusal::header(&format!("there is more than one {}:", field.name)));
        }
        if field.is("From") && !field.value.contains(&b'@') {
            // Quirk(cron): `From: root (Cron Daemon)` names nobody whom Exchange could know. It is
            // the account that writes, under that name.
            let from = named(field, own_address(envelope, account));
            edits.set(index, Verdict::Replace([b"From: ", &*from, b"\r\n"].concat()));
            continue;
        }
        let author = author(field)?;
        if !account.may_send_as(&author.address) {
            return Err(Refusal::sender(field.name, &author.address));
        }
        if let Some(value) = author.anew {
            let anew = [field.name.as_bytes(), b": ", &value, b"\r\n"].concat();
            edits.set(index, Verdict::Replace(anew));
        }
    }
    if !from_found {
        let from = own_address(envelope, account);
        edits.append(format!("From: {from}\r\n").as_bytes());
    }
    Ok(())
}

/// Whom a mail is from that does not say so: MAIL FROM, else the account.
fn own_address<'x>(envelope: &'x Envelope, account: &'x Account) -> &'x Address {
    envelope
        .reverse_path()
        .filter(|reverse_path| account.may_send_as(reverse_path))
        .unwrap_or(&account.address)
}

/// The one mailbox of an originator field.
struct Author {
    address: Address,
    /// The value to write in place of one that not every reader understands.
    anew: Option<Vec<u8>>,
}

fn author(field: &Field<'_>) -> Result<Author, Refusal> {
    let refusal = || {
        Refusal::header(&format!("{}: must hold one mailbox, name@domain, and no more", field.name))
    };
    if let Ok(items) = address_list::scan(field.value) {
        let mut addresses = items.iter().filter_map(|item| match item {
            Item::Mailbox(mailbox) => mailbox.address.as_ref(),
            Item::Group { .. } => None,
        });
        let address = addresses.next().ok_or_else(refusal)?;
        let group = items.iter().any(|item| matches!(item, Item::Group { .. }));
        if group || addresses.next().is_some() {
            return Err(refusal());
        }
        if items.len() == 1 && address_list::second_reading(field.value).iter().eq([&address.key()])
        {
            return Ok(Author { address: address.clone(), anew: None });
        }
    }
    // Quirk(devices): `From: a@contoso.example <a@contoso.example>` without quotes, and
    // Quirk(php): `From: Vance, Adele <a@contoso.example>`. There is one address in it, so there is
    // no doubt who it is; it is written so that nobody else doubts it.
    let mut candidates = address_list::candidates(field.value).ok_or_else(refusal)?;
    match (candidates.pop(), candidates.is_empty()) {
        (Some(address), true) => {
            let anew = named(field, &address);
            Ok(Author { address, anew: Some(anew) })
        }
        _ => Err(refusal()),
    }
}

/// The address with the display name before it, where that is plain enough to be quoted.
fn named(field: &Field<'_>, address: &Address) -> Vec<u8> {
    let text = field.text();
    let name = text.split('<').next().unwrap_or_default().trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || " ,.;:-_'@&+/!()".contains(c);
    let is_name = text.contains('<') || !text.contains('@');
    if is_name && !name.is_empty() && name.len() <= 200 && name.chars().all(plain) {
        format!("\"{name}\" <{address}>").into_bytes()
    } else {
        format!("<{address}>").into_bytes()
    }
}
