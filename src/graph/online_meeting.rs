//! The part of an event's body that an online meeting lives in. Pure.
//!
//! Source: Graph "update event": Exchange puts the way into an online meeting (the *meeting blob*) into the
//! event's body, and a body that is replaced without it ends the meeting. The blob is not specified;
//! what is known is that it stands between two lines of underscores and links to `joinUrl`. Nothing here
//! may guess: what is not certainly the blob is none, and the caller has to do without a new body.

use std::ops::Range;

use super::convert::{before_the_end, escaped};
use super::resource::{ContentType, ItemBody};

/// Graph takes a request of 4 MB.
const BODY_OCTETS_MAX: usize = 4 * 1024 * 1024;
/// The lines around the blob have 80; no text is underlined with fewer than this by chance.
const LINE_MIN: usize = 32;
const DEPTH_MAX: usize = 256;

/// `new` with the meeting blob of `standing` at its end, as HTML.
///
/// `standing` is the body that Graph answers with, as HTML; `join_url` the `onlineMeeting.joinUrl` beside
/// it. `None`: the blob cannot be found with certainty.
pub fn with_join_part(new: &ItemBody, standing: &ItemBody, join_url: &str) -> Option<ItemBody> {
    if standing.content_type != ContentType::Html
        || standing.content.len() > BODY_OCTETS_MAX
        || join_url.is_empty()
    {
        return None;
    }
    let part = Document::read(&standing.content)?.join_part(join_url)?;
    let mut content = match new.content_type {
        ContentType::Html if new.content.contains(part) => return Some(new.clone()),
        ContentType::Html => new.content.clone(),
        ContentType::Text => {
            format!("<div>{}</div>", escaped(&new.content).replace('\n', "<br>\n"))
        }
    };
    before_the_end(&mut content, part);
    Some(ItemBody { content_type: ContentType::Html, content })
}

/// HTML as far as it is needed to cut a part out of it that is whole.
struct Document<'h> {
    html: &'h str,
    pieces: Vec<Piece>,
    /// The first is the document.
    elements: Vec<Element>,
}

/// A tag, or the text between two.
struct Piece {
    range: Range<usize>,
    kind: Kind,
    /// The element that it is in; of a tag its own.
    element: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Link,
    Image,
    /// Any other tag, comment, or text that is not shown.
    Hidden,
    Text,
}

struct Element {
    name: String,
    depth: usize,
    /// The document is its own.
    parent: usize,
    range: Range<usize>,
}

/// A line of underscores.
#[derive(Clone)]
struct Line {
    range: Range<usize>,
    element: usize,
}

/// Elements without an end tag.
const VOID: [&str; 14] = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
    "track", "wbr",
];
/// Elements whose end tag may be left out.
const OPTIONAL_END: [&str; 12] =
    ["html", "body", "p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "option"];
/// Elements whose content is no HTML.
const RAW: [&str; 4] = ["script", "style", "title", "textarea"];

impl<'h> Document<'h> {
    /// `None`: its tags do not match.
    fn read(html: &'h str) -> Option<Document<'h>> {
        let whole = Element { name: String::new(), depth: 0, parent: 0, range: 0..html.len() };
        let mut document = Document { html, pieces: Vec::new(), elements: vec![whole] };
        let (mut open, mut at) = (0, 0);
        while at < html.len() {
            let rest = html.get(at..)?;
            let after = |end: usize| at.checked_add(end);
            let tag = rest.strip_prefix('<').unwrap_or_default();
            let (is_end, name) = match tag.strip_prefix('/') {
                Some(end) => (true, tag_name(end)),
                None => (false, tag_name(tag)),
            };
            let mut kind = Kind::Hidden;
            let mut element = open;
            let end = if rest.starts_with("<!--") {
                after(rest.find("-->")? + 3)?
            } else if rest.starts_with("<!") || rest.starts_with("<?") {
                after(rest.find('>')? + 1)?
            } else if name.is_empty() {
                kind = Kind::Text;
                let skipped = usize::from(rest.starts_with('<'));
                rest.get(skipped..)?.find('<').map_or(Some(html.len()), |n| after(n + skipped))?
            } else if is_end {
                let end = after(rest.find('>')? + 1)?;
                open = document.close(open, &name, at, end)?;
                end
            } else {
                let end = after(tag_length(rest)?)?;
                if name == "img" {
                    kind = Kind::Image;
                } else if RAW.contains(&name.as_str()) {
                    at += raw_length(rest, &name)?;
                    document.pieces.push(Piece { range: end..at, kind, element });
                    continue;
                } else if !VOID.contains(&name.as_str()) {
                    kind = if name == "a" { Kind::Link } else { Kind::Hidden };
                    element = document.elements.len();
                    let depth = document.elements.get(open)?.depth + 1;
                    if depth > DEPTH_MAX {
                        return None;
                    }
                    // Until it is closed it goes on to the end.
                    let range = at..html.len();
                    document.elements.push(Element { name, depth, parent: open, range });
                    open = element;
                }
                end
            };
            document.pieces.push(Piece { range: at..end, kind, element });
            at = end;
        }
        document.close_optional(open, 0, html.len())?;
        Some(document)
    }

    /// Closes the innermost element of this name, and gives the one around it.
    fn close(&mut self, open: usize, name: &str, at: usize, end: usize) -> Option<usize> {
        let mut innermost = open;
        while self.elements.get(innermost)?.name != name {
            if innermost == 0
                || !OPTIONAL_END.contains(&self.elements.get(innermost)?.name.as_str())
            {
                return None;
            }
            innermost = self.elements.get(innermost)?.parent;
        }
        self.close_optional(open, innermost, at)?;
        let element = self.elements.get_mut(innermost)?;
        element.range.end = end;
        Some(element.parent)
    }

    /// Closes what is open within `until`. `None`: there is an element that has to have an end tag.
    fn close_optional(&mut self, mut open: usize, until: usize, at: usize) -> Option<()> {
        while open != until {
            let element = self.elements.get_mut(open)?;
            if !OPTIONAL_END.contains(&element.name.as_str()) {
                return None;
            }
            element.range.end = at;
            open = element.parent;
        }
        Some(())
    }

    /// The blob: from one line of underscores to the next like it, with one link to the meeting between
    /// them and no mention of it elsewhere; whole elements.
    fn join_part(&self, join_url: &str) -> Option<&'h str> {
        let url = escaped(join_url);
        let links = [format!("href=\"{url}\""), format!("href=\"{join_url}\"")];
        let is_link = |piece: &&Piece| {
            let tag = self.html.get(piece.range.clone()).unwrap_or_default();
            piece.kind == Kind::Link && links.iter().any(|link| tag.contains(link.as_str()))
        };
        self.pieces.iter().find(is_link)?;
        let mentions = [url.as_str(), join_url].map(|url| self.html.match_indices(url));
        let mentions: Vec<usize> = mentions.into_iter().flatten().map(|(at, _)| at).collect();
        let (first, last) = (*mentions.iter().min()?, *mentions.iter().max()?);

        let lines = self.lines();
        let start = lines.iter().rfind(|line| line.range.start < first)?;
        if lines.iter().any(|line| first < line.range.start && line.range.start < last) {
            return None;
        }
        // A shorter one divides the blob itself.
        let mut ends = lines
            .iter()
            .filter(|line| line.range.start > last && line.range.len() == start.range.len());
        let end = match (ends.next()?, ends.next_back()) {
            (only, None) => only,
            (_, Some(end)) if self.shows_nothing(end.range.end..self.html.len()) => end,
            _ => return None,
        };
        let part = self.whole(start, end)?;
        (part.start <= first && last < part.end).then(|| self.html.get(part)).flatten()
    }

    fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        for piece in self.pieces.iter().filter(|piece| piece.kind == Kind::Text) {
            let mut at = piece.range.start;
            let text = self.html.get(piece.range.clone()).unwrap_or_default();
            for run in text.split_inclusive(|c| c != '_') {
                let length = run.bytes().take_while(|octet| *octet == b'_').count();
                if length >= LINE_MIN {
                    lines.push(Line { range: at..at + length, element: piece.element });
                }
                at += run.len();
            }
        }
        lines
    }

    /// From one line to the other with the elements that they are in, as far as these show nothing else.
    fn whole(&self, start: &Line, end: &Line) -> Option<Range<usize>> {
        let around_start = self.ancestry(start.element);
        let mut around = end.element;
        while !around_start.contains(&around) {
            around = self.elements.get(around)?.parent;
        }
        let mut part = self.within(around, start)?.range.start..self.within(around, end)?.range.end;
        let shows_nothing_else = |part: &Range<usize>| {
            self.shows_nothing(part.start..start.range.start)
                && self.shows_nothing(end.range.end..part.end)
        };
        if !shows_nothing_else(&part) {
            return None;
        }
        // The element that is around the blob alone belongs to it.
        loop {
            let Element { name, parent, range, .. } = self.elements.get(around)?;
            if around == 0
                || ["body", "html"].contains(&name.as_str())
                || !shows_nothing_else(range)
            {
                return Some(part);
            }
            (part, around) = (range.clone(), *parent);
        }
    }

    /// The child of `around` that the line is in, or the line itself.
    fn within(&self, around: usize, line: &Line) -> Option<Line> {
        let mut child = line.clone();
        let mut element = line.element;
        while element != around {
            let Element { parent, range, .. } = self.elements.get(element)?;
            (child.range, element) = (range.clone(), *parent);
        }
        Some(child)
    }

    /// The element and those around it.
    fn ancestry(&self, mut element: usize) -> Vec<usize> {
        let mut found = vec![element];
        while let Some(parent) = self.elements.get(element).map(|element| element.parent)
            && parent != element
        {
            found.push(parent);
            element = parent;
        }
        found
    }

    fn shows_nothing(&self, range: Range<usize>) -> bool {
        self.pieces.iter().all(|piece| {
            let (from, to) = (piece.range.start.max(range.start), piece.range.end.min(range.end));
            let shown = self.html.get(from..to).filter(|_| from < to).unwrap_or_default();
            match piece.kind {
                Kind::Image => shown.is_empty(),
                Kind::Text => {
                    let blank = |c: char| c.is_whitespace() || "\u{200b}\u{feff}".contains(c);
                    shown.replace("&nbsp;", "").chars().all(blank)
                }
                Kind::Link | Kind::Hidden => true,
            }
        })
    }
}

/// In lower case; empty if no tag begins so.
fn tag_name(text: &str) -> String {
    if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return String::new();
    }
    let end = text.find(|c: char| c.is_whitespace() || c == '/' || c == '>');
    text.get(..end.unwrap_or(text.len())).unwrap_or_default().to_ascii_lowercase()
}

/// Of a start tag; a `>` in quotes is none of its end.
fn tag_length(tag: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in tag.char_indices() {
        match (quote, c) {
            (None, '>') => return Some(at + 1),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

/// Of an element whose content is no HTML, with both tags.
fn raw_length(element: &str, name: &str) -> Option<usize> {
    let mut ends = element.match_indices("</").map(|(at, _)| at);
    let end = ends.find(|at| element.get(at + 2..).is_some_and(|tag| tag_name(tag) == name))?;
    Some(end + element.get(end..)?.find('>')? + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::online_meeting as sandbox;

    const URL: &str = "https://teams.contoso.example/l/meetup-join/19%3ameeting_Zm9v%40thread.v2/0?context=%7b%7d&anon=true";

    fn html(content: impl Into<String>) -> ItemBody {
        ItemBody { content_type: ContentType::Html, content: content.into() }
    }

    fn text(content: &str) -> ItemBody {
        ItemBody { content_type: ContentType::Text, content: content.to_owned() }
    }

    fn line(length: usize) -> String {
        format!("<div style=\"overflow:hidden\"><span>{}</span></div>", "_".repeat(length))
    }

    fn link() -> String {
        format!("<a class=\"headline\" href=\"{}\">Join now</a>", escaped(URL))
    }

    /// As Teams builds it: in an element of its own, divided by a shorter line, with other links.
    fn blob() -> String {
        format!(
            "<div class=\"me-email-text\" lang=\"en-US\">{line}\n<div><h2>Meeting</h2>{link}</div>\n\
             <div>Number: 1 23&nbsp;<img src=\"x.png\"></div>{short}<p>By phone<br>\
             <a href=\"https://dial.contoso.example/?a=1&amp;b=2\">Numbers</a>{line}</div>",
            line = line(80),
            short = line(32),
            link = link(),
        )
    }

    /// As Graph answers: with what Exchange puts around it.
    fn standing(before: &str, after: &str) -> ItemBody {
        html(format!(
            "<html><head>\r\n<meta http-equiv=\"Content-Type\" content=\"text/html\">\
             <style>\n<!-- a > b {{ }} -->\n</style></head><body>\r\n{before}<br>\r\n{}\r\n{after}</body></html>",
            blob()
        ))
    }

    #[track_caller]
    fn found(standing: &ItemBody, part: &str) {
        let kept = with_join_part(&html("<p>New</p>"), standing, URL);
        assert_eq!(kept.expect("a blob").content, format!("<p>New</p>{part}"));
    }

    #[track_caller]
    fn not_found(standing: &ItemBody) {
        assert_eq!(with_join_part(&html("<p>New</p>"), standing, URL), None);
    }

    #[test]
    fn the_blob_is_kept_whole_and_nothing_else_of_the_old_body() {
        for before in ["", "<p>Old", "<div><div>Old</div> a < b, 1 <!-- <div> --></div>"] {
            found(&standing(before, ""), &blob());
        }
        // A line of the old text's own, before or after.
        found(&standing(&format!("<p>Old</p>{}<p>text</p>", line(80)), ""), &blob());
        found(&standing("Old", "<p>Bring your portfolio.</p>"), &blob());
        found(&standing("Old", &line(40)), &blob());
        // Lines and link side by side, in no element of their own.
        let bare = format!("{line}<br>{}<br>{line}", link(), line = "_".repeat(80));
        found(&html(format!("<div>Old<br>{bare}</div>")), &bare);
        found(&html(format!("<html><body>{bare}</body></html>")), &bare);
    }

    #[test]
    fn the_new_body_is_html_with_the_blob_before_its_end() {
        let standing = standing("Old", "");
        let new = html("<HTML><BODY><p>New</p></BODY></HTML>");
        let kept = with_join_part(&new, &standing, URL).unwrap();
        assert_eq!(kept.content, format!("<HTML><BODY><p>New</p>{}</BODY></HTML>", blob()));
        // Once is enough.
        assert_eq!(with_join_part(&kept, &standing, URL), Some(kept));
        let kept = with_join_part(&text("1 < 2\r\n\"&\""), &standing, URL).unwrap();
        assert_eq!(kept.content_type, ContentType::Html);
        let new = "<div>1 &lt; 2\r<br>\n&quot;&amp;&quot;</div>";
        assert_eq!(kept.content, format!("{new}{}", blob()));
    }

    #[test]
    fn what_is_not_certainly_the_blob_is_none() {
        let blob = blob();
        // Another link, none, or one more of it outside.
        not_found(&html(format!("<body>{}</body>", blob.replace("anon=true", "anon=false"))));
        not_found(&html("<body><p>Old</p></body>"));
        not_found(&html(format!("<body>{}{blob}</body>", link())));
        not_found(&html(format!("<body>{}{}{blob}</body>", line(80), link())));
        not_found(&html(format!("<body>{blob}{}</body>", link())));
        // No line before it, or none after.
        not_found(&html(format!("<body>{}{}</body>", link(), line(80))));
        not_found(&html(format!("<body>{}{}</body>", line(80), link())));
        // Where it ends is open.
        not_found(&standing("Old", &format!("{}<p>More</p>", line(80))));
        // Old text in one element with the line.
        not_found(&html(format!("<div>Old {}</div>{}{}", line(80), link(), line(80))));
        // Broken, hostile, or no HTML.
        not_found(&html(format!("<b><i></b></i>{blob}")));
        not_found(&html(format!("{}{blob}", "<div>".repeat(100_000))));
        not_found(&html(format!("<style>{blob}")));
        not_found(&html(format!("<a href=\"{blob}")));
        not_found(&text(&blob));
        assert_eq!(with_join_part(&html(""), &html(blob), ""), None);
    }

    #[test]
    fn the_blob_of_the_sandbox_is_found_and_keeps_the_meeting() {
        for old in ["<html><body><p>Old</p></body></html>", "<p>Old</p>", ""] {
            let (_, standing) = sandbox::with_join_part(String::new(), old.to_owned(), 7);
            let url = sandbox::join_url(7);
            let kept = with_join_part(&text("New"), &html(standing), &url).unwrap();
            assert!(kept.content.starts_with("<div>New</div>") && kept.content.contains(&url));
            assert!(kept.content.matches(&"_".repeat(80)).count() == 2, "{}", kept.content);
            assert!(!kept.content.contains("Old"), "{}", kept.content);
            assert_eq!(
                with_join_part(&text("Third"), &html(&kept.content), &sandbox::join_url(70)),
                None
            );
        }
    }

    #[test]
    fn any_html_is_read_in_its_bounds() {
        use proptest::prelude::*;
        let bits =
            ["<", "\"", "<!--", "</p>", "text", " ", "<div>", "</div>", "<div>", "</div>", "<p>"];
        let bits: Vec<String> =
            bits.iter().map(|bit| (*bit).to_owned()).chain([line(80), link(), blob()]).collect();
        let some = || proptest::collection::vec(proptest::sample::select(bits.clone()), 0..4);
        let config =
            ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() };
        proptest!(config, |(before in some(), between in some(), within in some(), after in some())| {
            let bits = [before, vec![line(80)], between, vec![link()], within, vec![line(80)], after];
            let standing = html(bits.concat().concat());
            if let Some(kept) = with_join_part(&html("New"), &standing, URL) {
                let part = kept.content.strip_prefix("New").unwrap();
                prop_assert!(standing.content.contains(part));
                prop_assert!(part.contains(&link()));
                prop_assert_eq!(part.matches("<div").count(), part.matches("</div>").count());
            }
        });
    }
}
