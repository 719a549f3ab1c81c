//! The invite in a mail: which part it is, what it says, and what else the mail holds. Pure.
//!
//! RFC 6047 (iMIP) wants a `text/calendar` part with a `method`; tools put it into the alternative,
//! beside it, at the root, into an attachment of any type, or into two of these at once. A part counts
//! by its type or by its name, wherever it is, but not inside a forwarded mail: that is an invite of
//! somebody else. Nothing here may choose between two invites, or repair one.

use std::borrow::Cow;

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{Message, MessageParser, MessagePart, MimeHeaders, PartType};

use crate::ical::{self, Attachment, Event, Object};
use crate::itip::{self, Method};

/// Largest mail that is looked into, in octets: what Graph takes as MIME.
pub const OCTETS_MAX: usize = 2_200_000;
/// Most multiparts and nested mails, and so the deepest nesting.
const DEPTH_MAX: usize = 50;
const PARTS_MAX: usize = 1_000;
/// Most parts that are read as calendars.
const CALENDARS_MAX: usize = 8;

/// A mail that is an invite.
#[derive(Debug, Clone, PartialEq)]
pub struct Invite {
    pub message: itip::Message,
    /// The mail's text/plain and text/html bodies, decoded; line ends are `\n`.
    pub text: Option<String>,
    pub html: Option<String>,
    /// The mail's other attachments: octets unharmed, names decoded.
    pub attachments: Vec<Attachment>,
    /// What was left out or overruled, in words for the decision log.
    pub notes: Vec<String>,
}

/// Whether a mail's octets speak of a calendar anywhere: a quick look before the long one.
pub fn may_hold_one(octets: &[u8]) -> bool {
    // A calendar part says so in its type (text/calendar, application/ics) or file name (….ics).
    ["alendar", "ALENDAR", "ics", "ICS"]
        .iter()
        .any(|word| memchr::memmem::find(octets, word.as_bytes()).is_some())
}

/// What a mail holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// No calendar part.
    Nothing,
    /// A calendar part, but none to act on: the mail goes as mail.
    Unusable {
        why: String,
    },
    Invite(Box<Invite>),
}

/// Looks into a whole RFC 5322 mail.
pub fn find(octets: &[u8]) -> Found {
    if let Err(why) = check_structure(octets) {
        // Not worth a word where there is no invite to be missed.
        return match ["text/calendar", "application/ics", ".ics"]
            .iter()
            .any(|hint| count(octets, hint) > 0)
        {
            true => Found::Unusable { why },
            false => Found::Nothing,
        };
    }
    let Some(mail) = MessageParser::new().parse(octets) else { return Found::Nothing };
    let candidates: Vec<usize> = mail
        .parts
        .iter()
        .enumerate()
        .filter_map(|(id, part)| is_calendar(part).then_some(id))
        .collect();
    if candidates.is_empty() {
        return Found::Nothing;
    }
    match one_invite(&mail, &candidates) {
        Err(why) => Found::Unusable { why },
        Ok(chosen) => Found::Invite(Box::new(Invite {
            text: body(&mail, &candidates, false),
            html: body(&mail, &candidates, true),
            attachments: attachments(&mail, &chosen.parts),
            message: itip::Message { method: chosen.method, event: chosen.event },
            notes: chosen.notes,
        })),
    }
}

/// RFC 2046 §5.1: bounds the nesting and the parts before a parser builds them.
fn check_structure(octets: &[u8]) -> Result<(), String> {
    if octets.len() > OCTETS_MAX {
        return Err(format!("the mail is larger than {OCTETS_MAX} octets"));
    }
    let mut boundaries: Vec<&[u8]> = Vec::new();
    let mut nesting = 0;
    for at in memchr::memchr2_iter(b'b', b'B', octets) {
        let Some((name, rest)) = octets.get(at..).and_then(|rest| rest.split_at_checked(8)) else {
            break;
        };
        if !name.eq_ignore_ascii_case(b"boundary") {
            continue;
        }
        match rest.trim_ascii_start() {
            [b'=', value @ ..] => {
                nesting += 1;
                let value = value.get(..value.len().min(200)).unwrap_or_default();
                let value = value.trim_ascii_start();
                let boundary = match value.strip_prefix(b"\"") {
                    Some(quoted) => quoted.split(|o| *o == b'"').next(),
                    None => value.split(|o| *o == b';' || o.is_ascii_whitespace()).next(),
                };
                boundaries.extend(boundary.filter(|boundary| !boundary.is_empty()));
            }
            // RFC 2231 §3 lets a parameter come in pieces; no tool does it to a boundary.
            [b'*', b'0'..=b'9' | b'=', ..] => {
                return Err("a boundary of the mail is written in pieces".to_owned());
            }
            _ => {}
        }
    }
    nesting += count(octets, "message/rfc822");
    if nesting > DEPTH_MAX {
        return Err(format!("the mail holds more than {DEPTH_MAX} nested parts"));
    }
    let lines = memchr::memmem::find_iter(octets, b"\n--");
    let parts = lines.filter(|at| {
        let line = octets.get(at + 3..).unwrap_or_default();
        boundaries.iter().any(|boundary| line.starts_with(boundary))
    });
    if parts.count() > PARTS_MAX {
        return Err(format!("the mail holds more than {PARTS_MAX} parts"));
    }
    Ok(())
}

/// How often a word stands there, in any case.
fn count(octets: &[u8], word: &str) -> usize {
    let Some(first) = word.bytes().next() else { return 0 };
    memchr::memchr2_iter(first.to_ascii_lowercase(), first.to_ascii_uppercase(), octets)
        .filter_map(|at| octets.get(at..)?.get(..word.len()))
        .filter(|found| found.eq_ignore_ascii_case(word.as_bytes()))
        .count()
}

fn media_type(part: &MessagePart<'_>) -> Option<String> {
    let content_type = part.content_type()?;
    let subtype = content_type.subtype()?;
    Some(format!("{}/{subtype}", content_type.ctype()).to_ascii_lowercase())
}

fn is_calendar(part: &MessagePart<'_>) -> bool {
    if matches!(part.body, PartType::Multipart(_) | PartType::Message(_)) {
        return false;
    }
    // `text/x-vcalendar` is vCalendar 1.0, which is another format.
    let by_type = matches!(
        media_type(part).as_deref(),
        Some("text/calendar" | "application/ics" | "application/calendar" | "text/ics")
    );
    by_type
        || part.attachment_name().is_some_and(|name| {
            name.trim()
                .get(name.trim().len().saturating_sub(4)..)
                .is_some_and(|end| end.eq_ignore_ascii_case(".ics"))
        })
}

struct Chosen {
    method: Method,
    event: Event,
    /// The parts that say it.
    parts: Vec<usize>,
    notes: Vec<String>,
}

/// The one invite that the calendar parts agree on.
fn one_invite(mail: &Message<'_>, candidates: &[usize]) -> Result<Chosen, String> {
    if candidates.len() > CALENDARS_MAX {
        return Err(format!("the mail holds more than {CALENDARS_MAX} calendar parts"));
    }
    let mut chosen: Option<Chosen> = None;
    let mut unreadable: Option<String> = None;
    for &id in candidates {
        let Some(part) = mail.parts.get(id) else { continue };
        let mut notes = Vec::new();
        let (method, event) = match one_event(mail, part, &mut notes) {
            Ok(found) => found,
            Err(Unfit::Unreadable(why)) => {
                unreadable.get_or_insert(why);
                continue;
            }
            Err(Unfit::Ambiguous(why)) => return Err(why),
        };
        match &mut chosen {
            None => chosen = Some(Chosen { method, event, parts: vec![id], notes }),
            Some(first) => {
                // Quirk(google, outlook): the same object in the alternative and as invite.ics.
                if first.event.uid != event.uid {
                    return Err("the mail holds invites to two events".to_owned());
                }
                if first.method != method {
                    let (one, other) = (first.method.name(), method.name());
                    return Err(format!("its calendar parts disagree: {one} and {other}"));
                }
                if !agree(&first.event, &event) {
                    return Err("its calendar parts describe the event differently".to_owned());
                }
                first.parts.push(id);
            }
        }
    }
    match (chosen, unreadable) {
        (None, why) => Err(why.unwrap_or_else(|| "its calendar part is empty".to_owned())),
        (Some(mut chosen), why) => {
            chosen.notes.extend(why.map(|why| format!("another calendar part was left: {why}")));
            Ok(chosen)
        }
    }
}

enum Unfit {
    /// Of no use, but another part may be.
    Unreadable(String),
    /// Of use, but not of one.
    Ambiguous(String),
}

fn one_event(
    mail: &Message<'_>,
    part: &MessagePart<'_>,
    notes: &mut Vec<String>,
) -> Result<(Method, Event), Unfit> {
    let unreadable = |why: &str| Unfit::Unreadable(why.to_owned());
    let declared = part.content_type().and_then(|c| c.attribute("method")).and_then(Method::parse);
    let Object { method, events, notes: object_notes, .. } =
        ical::read_as(&calendar_octets(mail, part), declared)
            .map_err(|why| Unfit::Unreadable(why.why))?;
    notes.extend(object_notes);
    // RFC 6047 §2.4: both must be the same. Where they are not, the object is what a calendar program
    // would act on.
    let Some(method) = method else {
        return Err(unreadable("it has no METHOD: it is a calendar entry, not an invite"));
    };
    if let Some(declared) = declared.filter(|declared| *declared != method) {
        let (object, part) = (method.name(), declared.name());
        notes.push(format!("the part says {part}, the object {object}; the object counts"));
    }
    let mut events = events.into_iter();
    match (events.next(), events.next()) {
        (Some(event), None) => Ok((method, event)),
        (None, _) => Err(unreadable("it holds no event")),
        (Some(_), Some(_)) => {
            Err(Unfit::Ambiguous("its calendar part holds more than one event".to_owned()))
        }
    }
}

/// Whether two descriptions mean the same meeting at the same times with the same people.
fn agree(a: &Event, b: &Event) -> bool {
    let same = |a: &ical::Occurrence, b: &ical::Occurrence| {
        let who = |o: &ical::Occurrence| {
            let mut who: Vec<String> = o.attendees.iter().map(|a| a.address.key()).collect();
            who.sort();
            who
        };
        (a.sequence, &a.start, &a.end, a.status) == (b.sequence, &b.start, &b.end, b.status)
            && a.recurrence == b.recurrence
            && who(a) == who(b)
    };
    let masters = match (&a.master, &b.master) {
        (Some(a), Some(b)) => same(a, b),
        (None, None) => true,
        _ => false,
    };
    masters
        && a.overrides.len() == b.overrides.len()
        && a.overrides.iter().zip(&b.overrides).all(|(a, b)| {
            a.recurrence_id == b.recurrence_id
                && a.and_future == b.and_future
                && same(&a.occurrence, &b.occurrence)
        })
}

/// The object as it came where it is UTF-8, as most are whatever their charset says; else decoded.
///
/// Quirk(php): a multipart without its last boundary makes the parser doubt the last part. Its octets
/// are taken all the same: whether an object is whole shows in its END:VCALENDAR.
fn calendar_octets<'p>(mail: &'p Message<'_>, part: &'p MessagePart<'_>) -> Cow<'p, [u8]> {
    let octets = part_octets(mail, part);
    let charset = part.content_type().and_then(|c| c.attribute("charset"));
    let ascii_like = charset.is_none_or(|charset| {
        let charset = charset.to_ascii_lowercase();
        ["utf-8", "us-ascii", "iso-8859-", "windows-125"].iter().any(|c| charset.starts_with(c))
    });
    match (&part.body, ascii_like && std::str::from_utf8(&octets).is_ok()) {
        (PartType::Text(text) | PartType::Html(text), false) if charset.is_some() => {
            Cow::Borrowed(text.as_bytes())
        }
        _ => octets,
    }
}

/// The octets of a part without its transfer encoding. What the parser hands over as text has been
/// through a charset, which is not for an attachment to suffer.
fn part_octets<'p>(mail: &'p Message<'_>, part: &'p MessagePart<'_>) -> Cow<'p, [u8]> {
    if let PartType::Binary(octets) | PartType::InlineBinary(octets) = &part.body {
        return Cow::Borrowed(octets.as_ref());
    }
    let index = |offset: u32| usize::try_from(offset).unwrap_or(usize::MAX);
    let raw = mail.raw_message.get(index(part.offset_body)..index(part.offset_end));
    let raw = raw.unwrap_or_else(|| part.contents());
    let encoding = part.content_transfer_encoding().unwrap_or_default().trim();
    let decoded = match encoding.to_ascii_lowercase().as_str() {
        "base64" => base64_decode(raw.trim_ascii_end()),
        "quoted-printable" => quoted_printable_decode(raw),
        _ => None,
    };
    decoded.map_or(Cow::Borrowed(raw), Cow::Owned)
}

/// The bodies that a reader would be shown, one after the other.
fn body(mail: &Message<'_>, calendars: &[usize], html: bool) -> Option<String> {
    let ids = if html { &mail.html_body } else { &mail.text_body };
    let mut text = String::new();
    for id in ids {
        let Ok(id) = usize::try_from(*id) else { continue };
        let shown = match mail.parts.get(id).map(|part| &part.body) {
            Some(PartType::Html(shown)) if html => shown,
            Some(PartType::Text(shown)) if !html => shown,
            _ => continue,
        };
        if calendars.contains(&id) || shown.trim().is_empty() {
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&shown.replace("\r\n", "\n"));
    }
    Some(text).filter(|text| !text.is_empty())
}

/// Everything else that came with the mail, but not the parts that are the invite.
fn attachments(mail: &Message<'_>, used: &[usize]) -> Vec<Attachment> {
    let ids = mail.attachments.iter().filter_map(|id| usize::try_from(*id).ok());
    ids.filter(|id| !used.contains(id))
        .filter_map(|id| mail.parts.get(id))
        // A signature is of the mail as it was, and says nothing about the event.
        .filter(|part| {
            !matches!(
                media_type(part).as_deref(),
                Some(
                    "application/pkcs7-signature"
                        | "application/x-pkcs7-signature"
                        | "application/pgp-signature"
                )
            )
        })
        .map(|part| {
            let name = part.attachment_name().map(|name| {
                name.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned()
            });
            Attachment::Inline {
                name: name.filter(|name| !name.is_empty()),
                content_type: media_type(part),
                octets: part_octets(mail, part).into_owned(),
            }
        })
        .collect()
}
