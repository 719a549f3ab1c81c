//! XML as it is written: elements, text and fragments that were kept. Pure.
//!
//! No tree is built: what is written is octets at once. Names are written with the prefixes that the root
//! declares; nothing can be written here that closes what it did not open, or that a reader could take
//! for markup.

use std::collections::BTreeSet;

use super::xml::{self, BadXml, Content, Element, Name, Namespace};

/// Declared at the root of every answer.
const PREFIXES: [(Namespace, &str); 4] = [
    (Namespace::Dav, "D"),
    (Namespace::CalDav, "C"),
    (Namespace::CalendarServer, "CS"),
    (Namespace::Apple, "A"),
];
/// Longest fragment that is read again, in octets: a namespace may have been declared once and is then
/// written with each property.
const FRAGMENT_OCTETS_MAX: usize = 2 * 1024 * 1024;

/// Octets of XML, well-formed as far as they go.
#[derive(Debug, Default)]
pub struct Writer {
    octets: Vec<u8>,
}

impl Writer {
    pub fn new() -> Writer {
        Writer::default()
    }

    /// A whole document.
    pub fn document(root: &Name, write: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.begin(root);
        write(&mut writer);
        writer.end(root);
        writer.octets
    }

    /// The declaration, and the root with the namespaces that are known by name.
    pub(super) fn begin(&mut self, root: &Name) {
        self.raw("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<");
        self.qualified(root);
        for (namespace, prefix) in &PREFIXES {
            self.raw(" xmlns:");
            self.raw(prefix);
            self.raw("=\"");
            self.raw(namespace.uri());
            self.raw("\"");
        }
        self.raw(">");
    }

    pub(super) fn end(&mut self, root: &Name) {
        self.raw("</");
        self.qualified(root);
        self.raw(">\n");
    }

    /// An element and what `write` puts into it.
    pub fn element(&mut self, name: &Name, write: impl FnOnce(&mut Writer)) {
        self.element_with(name, &[], write);
    }

    /// The same with attributes in no namespace.
    pub fn element_with(
        &mut self,
        name: &Name,
        attributes: &[(&'static str, &str)],
        write: impl FnOnce(&mut Writer),
    ) {
        self.raw("<");
        self.qualified(name);
        if let Namespace::Other(uri) = name.namespace() {
            self.raw(" xmlns:x=\"");
            self.escaped(uri, true);
            self.raw("\"");
        }
        for (attribute, value) in attributes {
            self.raw(" ");
            self.raw(attribute);
            self.raw("=\"");
            self.escaped(value, true);
            self.raw("\"");
        }
        self.raw(">");
        let before = self.octets.len();
        write(self);
        if self.octets.len() == before {
            // `<a/>` for `<a></a>`.
            self.octets.pop();
            self.raw("/>");
            return;
        }
        self.raw("</");
        self.qualified(name);
        self.raw(">");
    }

    pub fn empty(&mut self, name: &Name) {
        self.element(name, |_| {});
    }

    /// An element that holds nothing but text.
    pub fn text_element(&mut self, name: &Name, text: &str) {
        self.element(name, |writer| writer.text(text));
    }

    /// DAV:href. What is no [`super::href::Href`] must be encoded already.
    pub fn href(&mut self, href: &str) {
        self.text_element(&Name::dav("href"), href);
    }

    pub fn text(&mut self, text: &str) {
        self.escaped(text, false);
    }

    /// Octets of a calendar object: a text that was meant to be UTF-8.
    pub fn text_octets(&mut self, octets: &[u8]) {
        match std::str::from_utf8(octets) {
            Ok(text) => self.text(text),
            Err(_) => self.text(&String::from_utf8_lossy(octets)),
        }
    }

    pub fn fragment(&mut self, fragment: &Fragment) {
        self.raw(&fragment.text);
    }

    /// What another writer wrote, whole elements.
    pub(super) fn append(&mut self, other: Writer) {
        self.octets.extend(other.octets);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// What was written since the last time.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.octets)
    }

    fn qualified(&mut self, name: &Name) {
        let prefix = match name.namespace() {
            Namespace::None => None,
            Namespace::Xml => Some("xml"),
            Namespace::Other(_) => Some("x"),
            known => PREFIXES.iter().find(|(n, _)| n == known).map(|(_, prefix)| *prefix),
        };
        if let Some(prefix) = prefix {
            self.raw(prefix);
            self.raw(":");
        }
        self.raw(name.local());
    }

    fn escaped(&mut self, text: &str, in_attribute: bool) {
        let mut plain_from = 0;
        for (at, c) in text.char_indices() {
            let instead = match c {
                '&' => "&amp;",
                '<' => "&lt;",
                '>' => "&gt;",
                // XML 1.0 §2.11: a reader makes CR LF one LF. Calendar objects come back as they were.
                '\r' => "&#13;",
                '"' if in_attribute => "&quot;",
                '\n' if in_attribute => "&#10;",
                '\t' if in_attribute => "&#9;",
                c if xml::is_char(c) => continue,
                // No XML can hold it, not even by its number.
                _ => "\u{fffd}",
            };
            self.raw(text.get(plain_from..at).unwrap_or_default());
            self.raw(instead);
            plain_from = at + c.len_utf8();
        }
        self.raw(text.get(plain_from..).unwrap_or_default());
    }

    fn raw(&mut self, text: &str) {
        self.octets.extend_from_slice(text.as_bytes());
    }
}

/// An element that was read and may be written as it stands at any place, for it declares all that it
/// uses: how the value of a dead property is kept (RFC 4918 §4.3: names, attributes, `xml:lang` and text,
/// but not prefixes).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    text: String,
}

impl Fragment {
    pub fn of(element: &Element) -> Fragment {
        let mut namespaces = BTreeSet::new();
        gather(element, &mut namespaces);
        let namespaces: Vec<&Namespace> = namespaces.into_iter().collect();
        let mut writer = Writer::new();
        write(&mut writer, element, &namespaces, true);
        // Only text went in.
        Fragment { text: String::from_utf8_lossy(&writer.octets).into_owned() }
    }

    /// A fragment that was kept. It is read, and written anew.
    pub fn parse(text: &str) -> Result<Fragment, BadXml> {
        Ok(Fragment::of(&xml::read(text.as_bytes(), FRAGMENT_OCTETS_MAX)?))
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// The namespaces that need a prefix.
fn gather<'e>(element: &'e Element, namespaces: &mut BTreeSet<&'e Namespace>) {
    let names = element.attributes.iter().map(|(name, _)| name).chain([&element.name]);
    namespaces.extend(
        names
            .map(Name::namespace)
            .filter(|namespace| !matches!(namespace, Namespace::None | Namespace::Xml)),
    );
    for child in element.children() {
        gather(child, namespaces);
    }
}

/// Not deeper than what was read: [`xml::NESTING_MAX`].
fn write(writer: &mut Writer, element: &Element, namespaces: &[&Namespace], is_root: bool) {
    let qualified = |name: &Name| match name.namespace() {
        Namespace::None => name.local().to_owned(),
        Namespace::Xml => format!("xml:{}", name.local()),
        other => {
            let at = namespaces.iter().position(|namespace| *namespace == other).unwrap_or(0);
            format!("n{at}:{}", name.local())
        }
    };
    let name = qualified(&element.name);
    writer.raw("<");
    writer.raw(&name);
    for (at, namespace) in namespaces.iter().enumerate().filter(|_| is_root) {
        writer.raw(&format!(" xmlns:n{at}=\""));
        writer.escaped(namespace.uri(), true);
        writer.raw("\"");
    }
    for (attribute, value) in &element.attributes {
        writer.raw(" ");
        writer.raw(&qualified(attribute));
        writer.raw("=\"");
        writer.escaped(value, true);
        writer.raw("\"");
    }
    if element.content.is_empty() {
        return writer.raw("/>");
    }
    writer.raw(">");
    for content in &element.content {
        match content {
            Content::Text(text) => writer.escaped(text, false),
            Content::Element(child) => write(writer, child, namespaces, false),
        }
    }
    writer.raw("</");
    writer.raw(&name);
    writer.raw(">");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: usize = 1024 * 1024;

    fn text(octets: Vec<u8>) -> String {
        String::from_utf8(octets).unwrap()
    }

    #[test]
    fn a_document_declares_its_namespaces_once() {
        let written = Writer::document(&Name::dav("multistatus"), |writer| {
            writer.element(&Name::caldav("calendar-home-set"), |writer| writer.href("/dav/a%40b/"));
            writer.empty(&Name::calendar_server("getctag"));
            writer.text_element(&Name::apple("calendar-color"), "#ff0000");
            let foreign = Name::parse("urn:x&y", "thing").unwrap();
            writer.element_with(&foreign, &[("name", "a\"b<c\n")], |_| {});
            writer.empty(&Name::parse("", "bare").unwrap());
        });
        assert_eq!(
            text(written),
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\" \
             xmlns:C=\"urn:ietf:params:xml:ns:caldav\" xmlns:CS=\"http://calendarserver.org/ns/\" \
             xmlns:A=\"http://apple.com/ns/ical/\"><C:calendar-home-set><D:href>/dav/a%40b/</D:href>\
             </C:calendar-home-set><CS:getctag/><A:calendar-color>#ff0000</A:calendar-color><x:thing \
             xmlns:x=\"urn:x&amp;y\" name=\"a&quot;b&lt;c&#10;\"/><bare/></D:multistatus>\n"
        );
    }

    #[test]
    fn a_calendar_object_comes_back_octet_for_octet_from_a_reader_of_xml() {
        let object = "BEGIN:VCALENDAR\r\nSUMMARY:]]> <b> & \"é\"\r\n \tmore\r\nEND:VCALENDAR\r\n";
        let written = Writer::document(&Name::caldav("calendar-data"), |w| w.text(object));
        assert_eq!(xml::read(&written, MIB).unwrap().text(), object);
    }

    #[test]
    fn what_no_xml_can_hold_is_replaced() {
        let written = Writer::document(&Name::dav("displayname"), |writer| {
            writer.text_octets(b"a\x0bb\x00c\xe4d");
        });
        assert_eq!(xml::read(&written, MIB).unwrap().text(), "a\u{fffd}b\u{fffd}c\u{fffd}d");
    }

    #[test]
    fn a_dead_property_is_kept_with_all_that_it_means() {
        let body = "<D:prop xmlns:D='DAV:' xmlns:Z='urn:z' xmlns='urn:d'><Z:author xml:lang='de' \
                    Z:a='&lt;1&#10;' b='2'>x &amp; <D:b/>y<c xmlns=''/><d/></Z:author></D:prop>";
        let prop = xml::read(body.as_bytes(), MIB).unwrap();
        let author = prop.children().next().unwrap();
        let fragment = Fragment::of(author);
        assert_eq!(xml::read(fragment.as_str().as_bytes(), MIB).unwrap(), *author);
        assert_eq!(Fragment::parse(fragment.as_str()).unwrap(), fragment);
        // And within another document.
        let answer = Writer::document(&Name::dav("prop"), |writer| writer.fragment(&fragment));
        assert_eq!(xml::read(&answer, MIB).unwrap().children().next().unwrap(), author);
    }

    #[test]
    fn a_fragment_that_was_tampered_with_is_not_written() {
        for text in ["", "<a/><b/>", "<a>", "</D:prop><evil/>", "text", "<!DOCTYPE a><a/>"] {
            assert!(Fragment::parse(text).is_err(), "{text}");
        }
    }

    fn element() -> impl Strategy<Value = Element> {
        let name =
            (prop::sample::select(vec!["", "DAV:", "urn:a", "urn:b&c"]), "[a-z][a-z0-9.-]{0,5}")
                .prop_map(|(uri, local)| Name::parse(uri, &local).unwrap());
        let text = "[ -~\t\r\n\u{e4}\u{1f600}]{1,12}";
        let leaf = (name.clone(), prop::option::of((name.clone(), text)), prop::option::of(text))
            .prop_map(|(name, attribute, text)| Element {
                name,
                attributes: attribute.into_iter().collect(),
                content: text.into_iter().map(Content::Text).collect(),
            });
        leaf.prop_recursive(5, 30, 4, move |inner| {
            (name.clone(), prop::collection::vec(inner, 0..4)).prop_map(|(name, children)| {
                Element {
                    name,
                    attributes: Vec::new(),
                    content: children.into_iter().map(Content::Element).collect(),
                }
            })
        })
    }

    proptest! {
        #[test]
        fn any_element_is_read_again_as_it_was(element in element()) {
            let fragment = Fragment::of(&element);
            let again = xml::read(fragment.as_str().as_bytes(), MIB).unwrap();
            prop_assert_eq!(again, element);
        }
    }
}
