//! The part for programs: `message/delivery-status`. Pure.
//!
//! RFC 3464 §2. Everything in it is printable US-ASCII, whatever came from outside.

use super::{Fate, LINE_CHARS_MAX, Notice, date};
use crate::account::Address;

/// RFC 3464 §2: fields about the mail, then a block of fields for each recipient.
pub(super) fn fields(notice: &Notice<'_>) -> String {
    let mut lines = Vec::new();
    if let Some(envid) = &notice.envelope.parameters().envid {
        lines.push(field("Original-Envelope-Id", envid));
    }
    lines.push(field("Reporting-MTA", "dns; localhost"));
    lines.push(field("Arrival-Date", &date(notice.accepted_at)));
    lines.push(field("X-Postbridge-Id", notice.id));
    let (action, [class, subject, detail]) = action(&notice.fate);
    for path in notice.fate.recipients(notice.envelope) {
        lines.push("\r\n".to_owned());
        match path.orcpt.as_deref() {
            Some(orcpt) if orcpt.contains(';') => lines.push(field("Original-Recipient", orcpt)),
            Some(orcpt) => lines.push(field("Original-Recipient", &format!("rfc822;{orcpt}"))),
            None => {}
        }
        lines.push(field("Final-Recipient", &typed(&path.address)));
        lines.push(field("Action", action));
        lines.push(field("Status", &format!("{class}.{subject}.{detail}")));
        if let Fate::Failed { remote: Some(remote), .. } = notice.fate {
            lines.push(field("Diagnostic-Code", &format!("X-Microsoft-Graph; {remote}")));
        }
        lines.push(field("Last-Attempt-Date", &date(notice.at)));
        if let Fate::Delayed { until, .. } = notice.fate {
            lines.push(field("Will-Retry-Until", &date(until)));
        }
    }
    lines.concat()
}

/// RFC 3464 §2.3.3, RFC 3463.
fn action(fate: &Fate<'_>) -> (&'static str, [u8; 3]) {
    match fate {
        Fate::Failed { status, .. } => ("failed", *status),
        // X.4.7: the time it may take has begun to run out.
        Fate::Delayed { .. } => ("delayed", [4, 4, 7]),
        // X.4.2: the connection was made, and the transaction not completed. RFC 3464 has no action
        // for what nobody knows; this is the one that claims neither success nor failure.
        Fate::Held { .. } => ("delayed", [4, 4, 2]),
        Fate::Relayed => ("relayed", [2, 0, 0]),
    }
}

/// RFC 3464 §2.1.1: a status field holds printable US-ASCII.
fn field(name: &str, value: &str) -> String {
    let printable = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    let value: String = value.chars().take(LINE_CHARS_MAX).map(printable).collect();
    format!("{name}: {value}\r\n")
}

/// RFC 3464 §2.3.2, and RFC 6533 §3 for what ASCII cannot write: `utf-8; j\x{FC}rgen@…`.
fn typed(address: &Address) -> String {
    if address.as_str().is_ascii() {
        return format!("rfc822; {address}");
    }
    let escaped = |c: char| match c {
        '\\' | '+' | '=' => format!("\\x{{{:02X}}}", u32::from(c)),
        _ if c.is_ascii() => c.to_string(),
        _ => format!("\\x{{{:X}}}", u32::from(c)),
    };
    format!("utf-8; {}", address.as_str().chars().map(escaped).collect::<String>())
}
