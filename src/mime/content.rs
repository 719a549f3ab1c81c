//! Which parts of a mail are its body, and which go along as files. Pure.
//!
//! RFC 2046 §5.1.4 (alternatives: the last is the best), RFC 2387 (related: one part is what the others
//! belong to), RFC 2183 (disposition). A JSON message has one body and a flat list of attachments, so
//! a tree of parts is made flat here. What that cannot hold is refused or said in a note: this file
//! must never drop a part in silence, nor break a signature by taking it apart.

use std::ops::Range;

use super::Refusal;
use super::decode::Encoding;
use super::outline::{Disposition, Outline, Part, Reader};

/// Octets of a part, still encoded, as a range of the mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub range: Range<u64>,
    pub encoding: Encoding,
}

/// A text that is the body, or one of several that follow each other there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub content: Content,
    /// As the part says it.
    pub charset: Option<String>,
}

/// A file that goes with the mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Never empty.
    pub name: String,
    pub content_type: String,
    /// Without angle brackets.
    pub content_id: Option<String>,
    /// Shown within the body, which names it by its Content-ID. Known once the body is.
    pub is_inline: bool,
    pub content: Content,
}

/// A tree of parts made flat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flat {
    pub is_html: bool,
    pub body: Vec<Text>,
    pub attachments: Vec<Attachment>,
    /// What is not carried as it was, in words.
    pub notes: Vec<String>,
}

/// RFC 3463 §3.4: too large for the way on which it could stay as it is.
pub(super) fn refused(what: &str) -> Refusal {
    let why = format!(
        "the mail is {what} and too large to be sent as it is; taking it apart would break it"
    );
    Refusal::new(552, [5, 3, 4], &why)
}

/// Makes the parts of a mail flat.
pub fn flat(outline: &Outline) -> Result<Flat, Refusal> {
    check_seals(outline)?;
    let mut walk = Walk { outline, texts: Vec::new(), flat: Flat::default() };
    walk.visit(0, false);
    let Walk { texts, mut flat, .. } = walk;
    flat.is_html = texts.iter().any(|part| part.media_type == HTML);
    for part in texts {
        if (part.media_type == HTML) == flat.is_html {
            flat.body.push(Text { content: content(part), charset: part.charset.clone() });
        } else {
            flat.notes.push("a text beside the HTML body goes as an attachment".to_owned());
            flat.attachments.push(attachment(part));
        }
    }
    Ok(flat)
}

/// Whether a mail could be taken apart, as far as its header alone tells (RFC 8551 §3, RFC 3156): what
/// is refused here is refused whatever follows. `head` ends with the empty line or before it.
pub fn check_head(head: &[u8]) -> Result<(), Refusal> {
    let mut reader = Reader::default();
    reader.push(head)?;
    check_seals(&reader.finish()?)
}

/// RFC 8551 §3, RFC 3156: what is signed or encrypted is good for nothing once it is taken apart.
fn check_seals(outline: &Outline) -> Result<(), Refusal> {
    for part in &outline.parts {
        match part.media_type.as_str() {
            "multipart/signed" => return Err(refused("signed")),
            "multipart/encrypted" | "application/pgp-encrypted" => {
                return Err(refused("encrypted"));
            }
            _ => {}
        }
    }
    // As a file among others it is one that was signed before (Quirk(pec): invoice.xml.p7m).
    let root = outline.parts.first();
    let is_smime = |part: &Part| {
        let name = part.name.as_deref().unwrap_or_default();
        matches!(part.media_type.as_str(), "application/pkcs7-mime" | "application/x-pkcs7-mime")
            || name.eq_ignore_ascii_case("smime.p7m")
    };
    if root.is_some_and(is_smime) { Err(refused("signed or encrypted")) } else { Ok(()) }
}

const PLAIN: &str = "text/plain";
const HTML: &str = "text/html";

struct Walk<'o> {
    outline: &'o Outline,
    /// The inline texts in their order.
    texts: Vec<&'o Part>,
    flat: Flat,
}

impl<'o> Walk<'o> {
    fn part(&self, index: usize) -> Option<&'o Part> {
        self.outline.parts.get(index)
    }

    fn children(&self, index: usize) -> Vec<usize> {
        let parts = self.outline.parts.iter().enumerate().skip(index + 1);
        parts.filter(|(_, part)| part.parent == Some(index)).map(|(child, _)| child).collect()
    }

    /// As deep as the outline is, and that is capped. `is_related`: it belongs to another part.
    fn visit(&mut self, index: usize, is_related: bool) {
        let Some(part) = self.part(index) else { return };
        if !part.is_multipart {
            return self.leaf(index, part, is_related);
        }
        let children = self.children(index);
        match part.media_type.as_str() {
            "multipart/alternative" => self.alternative(&children, is_related),
            "multipart/related" => {
                // RFC 2387 §3.2: the root is named, or the first.
                let is_start = |child: &&usize| {
                    let id = self.part(**child).and_then(|child| child.content_id.as_deref());
                    part.start.is_some() && id == part.start.as_deref()
                };
                let root = children.iter().find(is_start).or_else(|| children.first()).copied();
                for child in children {
                    self.visit(child, is_related || Some(child) != root);
                }
            }
            _ => children.into_iter().for_each(|child| self.visit(child, is_related)),
        }
    }

    fn leaf(&mut self, index: usize, part: &'o Part, is_related: bool) {
        let is_text = matches!(part.media_type.as_str(), PLAIN | HTML);
        let is_shown = part.disposition != Some(Disposition::Attachment)
            && (part.name.is_none() || index == 0);
        if is_text && is_shown && !is_related {
            self.texts.push(part);
        } else {
            self.file(part);
        }
    }

    fn file(&mut self, part: &Part) {
        if part.media_type.starts_with("multipart/") {
            // A multipart in which no part was found.
            self.flat.notes.push("a multipart without parts goes as an attachment".to_owned());
        }
        self.flat.attachments.push(attachment(part));
    }

    /// One of them is the body: the last that holds HTML, else the last that holds text.
    fn alternative(&mut self, children: &[usize], is_related: bool) {
        let holding = |media_type| {
            children.iter().rev().find(|child| self.holds(**child, media_type)).copied()
        };
        let Some(chosen) = holding(HTML).or_else(|| holding(PLAIN)) else {
            children.iter().for_each(|child| self.visit(*child, is_related));
            return;
        };
        for child in children {
            if *child == chosen { self.visit(*child, is_related) } else { self.leave(*child) }
        }
    }

    fn holds(&self, index: usize, media_type: &str) -> bool {
        self.part(index).is_some_and(|part| match part.is_multipart {
            true => self.children(index).into_iter().any(|child| self.holds(child, media_type)),
            false => {
                part.media_type == media_type && part.disposition != Some(Disposition::Attachment)
            }
        })
    }

    /// An alternative that is not chosen: its texts say the same again, its files may not.
    fn leave(&mut self, index: usize) {
        let Some(part) = self.part(index) else { return };
        if part.is_multipart {
            return self.children(index).into_iter().for_each(|child| self.leave(child));
        }
        let is_file = part.name.is_some() || part.disposition == Some(Disposition::Attachment);
        let note = match part.media_type.as_str() {
            "text/calendar" => {
                self.file(part);
                "the calendar alternative goes as an attachment".to_owned()
            }
            _ if is_file => return self.file(part),
            PLAIN => "the plain text alternative is not carried".to_owned(),
            other if other.starts_with("text/") => {
                format!("the {other} alternative is not carried")
            }
            _ => return self.file(part),
        };
        self.flat.notes.push(note);
    }
}

fn content(part: &Part) -> Content {
    Content { range: part.body.clone(), encoding: part.encoding }
}

fn attachment(part: &Part) -> Attachment {
    let ending = ending(&part.media_type);
    let mut name = part.name.clone().unwrap_or_else(|| match part.media_type.as_str() {
        "message/rfc822" | "message/global" => "message.eml".to_owned(),
        "text/calendar" => "invite.ics".to_owned(),
        _ => format!("attachment.{ending}"),
    });
    // What opens a mail is told by its ending.
    if ending == "eml" && !name.to_lowercase().ends_with(".eml") {
        name.push_str(".eml");
    }
    Attachment {
        name,
        content_type: part.media_type.clone(),
        content_id: part.content_id.clone(),
        is_inline: false,
        content: content(part),
    }
}

fn ending(media_type: &str) -> &str {
    match media_type {
        "message/rfc822" | "message/global" => "eml",
        "text/plain" => "txt",
        "text/html" => "html",
        "text/calendar" => "ics",
        "image/jpeg" => "jpg",
        "image/png" => "png",
        "image/gif" => "gif",
        "application/pdf" => "pdf",
        other if other.starts_with("text/") => "txt",
        _ => "bin",
    }
}
