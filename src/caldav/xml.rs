//! A request's XML as elements, read under caps. Pure.
//!
//! XML 1.0, Namespaces in XML 1.0; RFC 4918 §8.2 (both UTF-8 and UTF-16), §17 (unknown elements), §20.6
//! (entities). What is read is small, well nested and sound: names are names, text holds no character
//! that XML cannot. Nothing is fetched, and no entity is known but the five and characters by number.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use quick_xml::XmlVersion;
use quick_xml::errors::{Error, IllFormedError};
use quick_xml::escape::{resolve_xml_entity, unescape};
use quick_xml::events::{BytesDecl, BytesStart, Event};
use quick_xml::name::{LocalName, NamespaceResolver, ResolveResult};
use quick_xml::reader::NsReader;

/// Deepest nesting, the root included.
pub const NESTING_MAX: usize = 32;
/// Most elements in a body.
pub const ELEMENTS_MAX: usize = 10_000;
/// Most namespaces that are declared at one place, and most that are used in a body.
pub const NAMESPACES_MAX: usize = 64;
/// Longest name of a namespace, in octets: each name of an element may hold it.
const NAMESPACE_OCTETS_MAX: usize = 1_024;
/// Most attributes of one element, declarations of namespaces included.
const ATTRIBUTES_MAX: usize = 96;
/// Longest value of an attribute, in octets.
const ATTRIBUTE_OCTETS_MAX: usize = 4_096;

const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// A namespace, those of CalDAV by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Namespace {
    /// Not in any.
    None,
    /// `xml:`, as in `xml:lang`.
    Xml,
    /// RFC 4918.
    Dav,
    /// RFC 4791.
    CalDav,
    /// `getctag` and more, from Apple's calendar server.
    CalendarServer,
    /// `calendar-color`, `calendar-order`.
    Apple,
    Other(Arc<str>),
}

impl Namespace {
    pub fn of(uri: &str) -> Namespace {
        const KNOWN: [Namespace; 6] = [
            Namespace::None,
            Namespace::Xml,
            Namespace::Dav,
            Namespace::CalDav,
            Namespace::CalendarServer,
            Namespace::Apple,
        ];
        KNOWN
            .into_iter()
            .find(|known| known.uri() == uri)
            .unwrap_or_else(|| Namespace::Other(Arc::from(uri)))
    }

    pub fn uri(&self) -> &str {
        match self {
            Namespace::None => "",
            Namespace::Xml => XML,
            Namespace::Dav => "DAV:",
            Namespace::CalDav => "urn:ietf:params:xml:ns:caldav",
            Namespace::CalendarServer => "http://calendarserver.org/ns/",
            Namespace::Apple => "http://apple.com/ns/ical/",
            Namespace::Other(uri) => uri,
        }
    }
}

/// The name of an element, and so of a property.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    namespace: Namespace,
    local: Cow<'static, str>,
}

impl Name {
    pub const fn dav(local: &'static str) -> Name {
        Name { namespace: Namespace::Dav, local: Cow::Borrowed(local) }
    }

    pub const fn caldav(local: &'static str) -> Name {
        Name { namespace: Namespace::CalDav, local: Cow::Borrowed(local) }
    }

    pub const fn calendar_server(local: &'static str) -> Name {
        Name { namespace: Namespace::CalendarServer, local: Cow::Borrowed(local) }
    }

    pub const fn apple(local: &'static str) -> Name {
        Name { namespace: Namespace::Apple, local: Cow::Borrowed(local) }
    }

    /// A name that was kept: its namespace's URI and its local part. `None`: no element has it.
    pub fn parse(uri: &str, local: &str) -> Option<Name> {
        let sound = uri.len() <= NAMESPACE_OCTETS_MAX && uri.chars().all(is_char);
        (sound && is_ncname(local))
            .then(|| Name { namespace: Namespace::of(uri), local: Cow::Owned(local.to_owned()) })
    }

    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub fn local(&self) -> &str {
        &self.local
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}{}", self.namespace.uri(), self.local)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An element with all that is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    pub name: Name,
    /// Without declarations of namespaces.
    pub attributes: Vec<(Name, String)>,
    /// In order; no two texts beside each other.
    pub content: Vec<Content>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Element(Element),
    Text(String),
}

impl Element {
    pub fn children(&self) -> impl Iterator<Item = &Element> {
        self.content.iter().filter_map(|content| match content {
            Content::Element(element) => Some(element),
            Content::Text(_) => None,
        })
    }

    /// The first one of this name.
    pub fn child(&self, name: &Name) -> Option<&Element> {
        self.children().find(|child| child.name == *name)
    }

    pub fn has(&self, name: &Name) -> bool {
        self.child(name).is_some()
    }

    /// Its own text, as it stands there; not that of its children.
    pub fn text(&self) -> String {
        let texts = self.content.iter().filter_map(|content| match content {
            Content::Text(text) => Some(text.as_str()),
            Content::Element(_) => None,
        });
        texts.collect()
    }

    /// The value of an attribute that is in no namespace.
    pub fn attribute(&self, local: &str) -> Option<&str> {
        let named =
            |(name, _): &&(Name, String)| name.namespace == Namespace::None && name.local == local;
        self.attributes.iter().find(named).map(|(_, value)| value.as_str())
    }
}

/// Why a body is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadXml {
    #[error("the body is too large")]
    TooLarge,
    #[error("the body holds a document type declaration")]
    Doctype,
    #[error("the body is not well-formed XML: {0}")]
    Malformed(&'static str),
    #[error("the body holds more than is read: {0}")]
    TooMuch(&'static str),
}

/// Reads a whole body of at most `octets_max` octets.
pub fn read(body: &[u8], octets_max: usize) -> Result<Element, BadXml> {
    if body.len() > octets_max {
        return Err(BadXml::TooLarge);
    }
    let text = decoded(body)?;
    let mut reader = NsReader::from_str(&text);
    reader.config_mut().check_comments = true;
    reader.resolver_mut().set_max_namespace_bindings(NAMESPACES_MAX);

    let mut tree = Tree::default();
    let mut first = true;
    loop {
        let event = reader.read_event().map_err(malformed)?;
        match event {
            Event::Start(start) => tree.open(&start, reader.resolver())?,
            Event::Empty(start) => {
                tree.open(&start, reader.resolver())?;
                tree.close()?;
            }
            // The reader has compared the names.
            Event::End(_) => tree.close()?,
            Event::Text(text) => tree.text(&text.xml10_content(), false)?,
            Event::CData(text) => tree.text(&text.xml10_content(), true)?,
            Event::GeneralRef(reference) => {
                let mut buffer = [0; 4];
                let text = match reference.resolve_char_ref() {
                    Ok(Some(c)) => &*c.encode_utf8(&mut buffer),
                    Ok(None) => resolve_xml_entity(&reference)
                        .ok_or(BadXml::Malformed("an entity is not one of the five"))?,
                    Err(_) => return Err(BadXml::Malformed("a number stands for no character")),
                };
                tree.text(text, true)?;
            }
            Event::Decl(declaration) if first => check_declaration(&declaration)?,
            Event::Decl(_) => return Err(BadXml::Malformed("its declaration is not at the front")),
            Event::DocType(_) => return Err(BadXml::Doctype),
            // RFC 4918 §17: neither means anything here.
            Event::PI(_) | Event::Comment(_) => {}
            Event::Eof => return tree.root(),
        }
        first = false;
    }
}

fn malformed(error: Error) -> BadXml {
    BadXml::Malformed(match error {
        Error::Namespace(quick_xml::name::NamespaceError::TooManyBindings(_)) => {
            return BadXml::TooMuch("namespaces");
        }
        Error::Namespace(_) => "a prefix may not be declared like that",
        Error::IllFormed(IllFormedError::MismatchedEndTag { .. }) => "an element ends as another",
        Error::IllFormed(_) => "it is ill-formed",
        _ => "its syntax",
    })
}

/// RFC 4918 §8.2, RFC 7303 §3.3: a byte order mark says which of the two it is.
fn decoded(body: &[u8]) -> Result<Cow<'_, str>, BadXml> {
    let utf_16 = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, odd) = rest.as_chunks::<2>();
        let text: Option<String> = odd
            .is_empty()
            .then(|| char::decode_utf16(pairs.iter().map(|pair| unit(*pair))))
            .and_then(|chars| chars.collect::<Result<_, _>>().ok());
        text.map(Cow::Owned).ok_or(BadXml::Malformed("it is not UTF-16"))
    };
    match body {
        [0xfe, 0xff, rest @ ..] => utf_16(rest, u16::from_be_bytes),
        [0xff, 0xfe, rest @ ..] => utf_16(rest, u16::from_le_bytes),
        _ => {
            let rest = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
            let text = std::str::from_utf8(rest);
            text.map(Cow::Borrowed).map_err(|_| BadXml::Malformed("it is not UTF-8"))
        }
    }
}

fn check_declaration(declaration: &BytesDecl<'_>) -> Result<(), BadXml> {
    if declaration.xml_version().is_err() {
        return Err(BadXml::Malformed("its version of XML is not known"));
    }
    let known = match declaration.encoding() {
        None => true,
        Some(Ok(name)) => {
            ["utf-8", "utf8", "utf-16", "us-ascii"].iter().any(|k| k.eq_ignore_ascii_case(&name))
        }
        Some(Err(_)) => false,
    };
    known.then_some(()).ok_or(BadXml::Malformed("its encoding is neither UTF-8 nor UTF-16"))
}

/// The elements as far as they have been read.
#[derive(Default)]
struct Tree {
    root: Option<Element>,
    open: Vec<Element>,
    elements: usize,
    /// Each that is not known by name once, however often it is used.
    namespaces: Vec<Namespace>,
}

impl Tree {
    fn open(&mut self, start: &BytesStart<'_>, resolver: &NamespaceResolver) -> Result<(), BadXml> {
        if self.open.is_empty() && self.root.is_some() {
            return Err(BadXml::Malformed("it has two roots"));
        }
        if self.open.len() == NESTING_MAX {
            return Err(BadXml::TooMuch("nesting"));
        }
        self.elements += 1;
        if self.elements > ELEMENTS_MAX {
            return Err(BadXml::TooMuch("elements"));
        }
        let name = self.name(resolver.resolve_element(start.name()))?;
        let mut attributes = Vec::new();
        for (nth, attribute) in start.attributes().enumerate() {
            let attribute = attribute.map_err(|_| BadXml::Malformed("an attribute"))?;
            if nth == ATTRIBUTES_MAX || attribute.value.len() > ATTRIBUTE_OCTETS_MAX {
                return Err(BadXml::TooMuch("attributes"));
            }
            if attribute.key.as_namespace_binding().is_some() {
                continue;
            }
            let name = self.name(resolver.resolve_attribute(attribute.key))?;
            let value = attribute.normalized_value(XmlVersion::Implicit1_0);
            let value = value.map_err(|_| BadXml::Malformed("the value of an attribute"))?;
            attributes.push((name, sound(&value)?.to_owned()));
        }
        self.open.push(Element { name, attributes, content: Vec::new() });
        Ok(())
    }

    fn close(&mut self) -> Result<(), BadXml> {
        let closed = self.open.pop().ok_or(BadXml::Malformed("an element ends twice"))?;
        match self.open.last_mut() {
            Some(parent) => parent.content.push(Content::Element(closed)),
            None => self.root = Some(closed),
        }
        Ok(())
    }

    /// `is_marked`: white space written as CDATA or by number is text at any place.
    fn text(&mut self, text: &str, is_marked: bool) -> Result<(), BadXml> {
        let text = sound(text)?;
        match self.open.last_mut() {
            Some(open) => match open.content.last_mut() {
                Some(Content::Text(before)) => before.push_str(text),
                _ => open.content.push(Content::Text(text.to_owned())),
            },
            None if is_marked || !text.trim_matches([' ', '\t', '\r', '\n']).is_empty() => {
                return Err(BadXml::Malformed("it has text outside its root"));
            }
            None => {}
        }
        Ok(())
    }

    fn name(
        &mut self,
        (namespace, local): (ResolveResult<'_>, LocalName<'_>),
    ) -> Result<Name, BadXml> {
        let local = local.into_inner();
        if !is_ncname(local) {
            return Err(BadXml::Malformed("a name holds what no name may"));
        }
        let namespace = match namespace {
            ResolveResult::Unbound => Namespace::None,
            ResolveResult::Unknown(_) => {
                return Err(BadXml::Malformed("a prefix is not declared"));
            }
            ResolveResult::Bound(uri) => self.namespace(uri.into_inner())?,
        };
        Ok(Name { namespace, local: Cow::Owned(local.to_owned()) })
    }

    fn namespace(&mut self, uri: &str) -> Result<Namespace, BadXml> {
        let uri = unescape(uri).map_err(|_| BadXml::Malformed("the name of a namespace"))?;
        if uri.len() > NAMESPACE_OCTETS_MAX {
            return Err(BadXml::TooMuch("the name of a namespace"));
        }
        let known = self.namespaces.iter().find(|known| known.uri() == uri);
        if let Some(known) = known {
            return Ok(known.clone());
        }
        let namespace = Namespace::of(sound(&uri)?);
        if matches!(namespace, Namespace::Other(_)) {
            if self.namespaces.len() == NAMESPACES_MAX {
                return Err(BadXml::TooMuch("namespaces"));
            }
            self.namespaces.push(namespace.clone());
        }
        Ok(namespace)
    }

    fn root(self) -> Result<Element, BadXml> {
        match self.open.is_empty() {
            true => self.root.ok_or(BadXml::Malformed("it has no root")),
            false => Err(BadXml::Malformed("it ends within an element")),
        }
    }
}

fn sound(text: &str) -> Result<&str, BadXml> {
    match text.chars().all(is_char) {
        true => Ok(text),
        false => Err(BadXml::Malformed("it holds a character that no XML may")),
    }
}

/// XML 1.0 §2.2: what a document may hold at all.
pub fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Namespaces in XML 1.0 §3: a name without colon.
fn is_ncname(text: &str) -> bool {
    let starts = |c: char| {
        matches!(c,
            'A'..='Z' | 'a'..='z' | '_'
            | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}'
            | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}'
            | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}'
            | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}' | '\u{10000}'..='\u{effff}')
    };
    let goes_on = |c: char| {
        starts(c)
            || matches!(c, '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}'
                | '\u{203f}'..='\u{2040}')
    };
    text.starts_with(starts) && text.chars().all(goes_on)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: usize = 1024 * 1024;

    fn of(text: &str) -> Result<Element, BadXml> {
        read(text.as_bytes(), MIB)
    }

    #[test]
    fn an_element_is_read_with_its_namespaces_whatever_the_prefixes_are() {
        let read = of(r#"<?xml version="1.0" encoding="utf-8"?>
            <!-- a comment --><?a processing instruction?>
            <A:propfind xmlns:A="DAV:"><A:prop xmlns="urn:ietf:params:xml:ns:caldav"><calendar-data
             version='2.&#48;'/><x xmlns="" xml:lang="de"/><B:y xmlns:B="urn:x&amp;y"/></A:prop></A:propfind>"#)
        .unwrap();
        assert_eq!(read.name, Name::dav("propfind"));
        let prop = read.child(&Name::dav("prop")).unwrap();
        let names: Vec<String> = prop.children().map(|child| child.name.to_string()).collect();
        assert_eq!(names, ["{urn:ietf:params:xml:ns:caldav}calendar-data", "{}x", "{urn:x&y}y"]);
        assert_eq!(prop.children().next().unwrap().attribute("version"), Some("2.0"));
        let language = &prop.children().nth(1).unwrap().attributes;
        assert_eq!(language.len(), 1);
        assert_eq!(language[0].0.namespace(), &Namespace::Xml);
    }

    #[test]
    fn text_is_put_together_from_what_it_is_written_as() {
        let read = of("<a>1 &lt;&#x41;<![CDATA[<&b>]]>\r\n2<!-- no --> &#13;3<b>not this</b>4</a>");
        assert_eq!(read.unwrap().text(), "1 <A<&b>\n2 \r34");
    }

    #[test]
    fn utf_16_is_read_as_well() {
        let text = "<a xmlns='DAV:'>Gespr\u{e4}ch \u{1f600}</a>";
        let big: Vec<u8> =
            [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect();
        let little: Vec<u8> =
            [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        let plain = of(&format!("\u{feff}{text}")).unwrap();
        assert_eq!(super::read(&big, MIB).unwrap(), plain);
        assert_eq!(super::read(&little, MIB).unwrap(), plain);
        assert!(super::read(&big[..big.len() - 1], MIB).is_err());
    }

    #[test]
    fn a_document_type_is_refused_before_it_can_declare_anything() {
        for body in [
            "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>",
            "<!DOCTYPE a [<!ENTITY x \"xxxxxxxxxx\"><!ENTITY y \"&x;&x;&x;\">]><a>&y;</a>",
            "<?xml version=\"1.0\"?><!DOCTYPE a SYSTEM \"http://evil.example/a.dtd\"><a/>",
            "<!doctype a><a/>",
        ] {
            assert_eq!(of(body), Err(BadXml::Doctype), "{body}");
        }
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for body in [
            "",
            " ",
            "text",
            "<a>",
            "<a></b>",
            "</a>",
            "<a/><b/>",
            "<a/>text",
            "<a/>&#32;",
            "<a/><![CDATA[ ]]>",
            "text<a/>",
            "<a b/>",
            "<a b=c/>",
            "<a b='1' b='2'/>",
            "<a b='&x;'/>",
            "<a b='&#1;'/>",
            "<a>&x;</a>",
            "<a>& </a>",
            "<a>&#0;</a>",
            "<a>&#8;</a>",
            "<a>&#xFFFF;</a>",
            "<a>\u{1}</a>",
            "<a>\u{fffe}</a>",
            "<x:a/>",
            "<a x:b='1'/>",
            "<a xmlns:x=''><x:b/></a>",
            "<a:b:c xmlns:a='DAV:'/>",
            "<1a/>",
            "<a\"b/>",
            "<a xmlns:xmlns='DAV:'/>",
            "<a xmlns='&x;'/>",
            "<a/><?xml version='1.0'?>",
            "<?xml version='1.0' encoding='iso-8859-1'?><a/>",
            "<?xml version='2.0'?><a/>",
            "<a><!-- -- --></a>",
            "<a",
            "<!--",
            "<a><![CDATA[",
        ] {
            assert!(matches!(of(body), Err(BadXml::Malformed(_))), "{body}: {:?}", of(body));
        }
        assert!(super::read(b"<a>\xe4</a>", MIB).is_err());
    }

    #[test]
    fn more_than_the_caps_allow_is_refused() {
        let nested = |n: usize| format!("{}{}", "<a>".repeat(n), "</a>".repeat(n));
        assert!(of(&nested(NESTING_MAX)).is_ok());
        assert_eq!(of(&nested(NESTING_MAX + 1)), Err(BadXml::TooMuch("nesting")));
        let many = |n: usize| format!("<a>{}</a>", "<b/>".repeat(n - 1));
        assert!(of(&many(ELEMENTS_MAX)).is_ok());
        assert_eq!(of(&many(ELEMENTS_MAX + 1)), Err(BadXml::TooMuch("elements")));
        let declared = |n: usize| {
            let names: String = (0..n).map(|n| format!(" xmlns:n{n}='urn:{n}'")).collect();
            format!("<a{names}/>")
        };
        assert!(of(&declared(NAMESPACES_MAX)).is_ok());
        assert_eq!(of(&declared(NAMESPACES_MAX + 1)), Err(BadXml::TooMuch("namespaces")));
        let used = |n: usize| {
            let used: String = (0..n).map(|n| format!("<b xmlns='urn:{n}'/>")).collect();
            format!("<a>{used}</a>")
        };
        assert!(of(&used(NAMESPACES_MAX)).is_ok());
        assert_eq!(of(&used(NAMESPACES_MAX + 1)), Err(BadXml::TooMuch("namespaces")));
        let attributes: String = (0..=ATTRIBUTES_MAX).map(|n| format!(" a{n}='1'")).collect();
        assert_eq!(of(&format!("<a{attributes}/>")), Err(BadXml::TooMuch("attributes")));
        let long = "x".repeat(ATTRIBUTE_OCTETS_MAX + 1);
        assert_eq!(of(&format!("<a b='{long}'/>")), Err(BadXml::TooMuch("attributes")));
        assert!(matches!(of(&format!("<a xmlns='{long}'/>")), Err(BadXml::TooMuch(_))));
        assert_eq!(super::read(b"<a/>", 3), Err(BadXml::TooLarge));
        assert!(super::read(b"<a/>", 4).is_ok());
    }

    fn nearly_xml() -> impl Strategy<Value = String> {
        let pieces = prop::sample::select(vec![
            "<a>",
            "</a>",
            "<b xmlns='DAV:'>",
            "</b>",
            "<c/>",
            "<x:d xmlns:x='urn:x'/>",
            "&lt;",
            "&",
            ";",
            "<![CDATA[",
            "]]>",
            "<!--",
            "-->",
            "<?p",
            "?>",
            "'",
            "\"",
            "=",
            " ",
            "<",
            ">",
            "&#65;",
            "&#",
            "xmlns",
            ":",
            "text",
            "\u{e4}",
            "<!DOCTYPE",
            "[",
            "]",
            "\r\n",
        ]);
        prop::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_octets_are_answered(octets in prop::collection::vec(any::<u8>(), 0..500)) {
            let _ = super::read(&octets, MIB);
        }

        #[test]
        fn what_is_nearly_xml_is_answered_and_never_grows(text in nearly_xml()) {
            fn size(element: &Element) -> usize {
                let own = element.text().len() + element.name.local().len();
                own + element.children().map(size).sum::<usize>()
            }
            if let Ok(element) = of(&format!("<a>{text}</a>")) {
                prop_assert!(size(&element) <= text.len() + 7);
            }
            let _ = of(&text);
        }
    }
}
