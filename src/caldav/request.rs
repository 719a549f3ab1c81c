//! What a request's body asks for: PROPFIND, PROPPATCH, MKCALENDAR and MKCOL. Pure.
//!
//! RFC 4918 §9.1, §9.2; RFC 4791 §5.3.1; RFC 5689 §3. RFC 4918 §17: elements that are not known are left
//! out, and say nothing about the rest. REPORT is in [`super::report`].

use super::condition::Condition;
use super::markup::Fragment;
use super::xml::{self, BadXml, Element, Name};

/// Most properties that are asked for or set at once: an answer repeats them for every resource.
pub const PROPERTIES_MAX: usize = 500;

/// Why a request is not done, as far as its body says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// 413
    TooLarge,
    /// 400, in words for the log.
    Malformed(&'static str),
    Condition(Condition),
}

impl Refusal {
    pub fn status(&self) -> u16 {
        match self {
            Refusal::TooLarge => 413,
            Refusal::Malformed(_) => 400,
            Refusal::Condition(condition) => condition.status(),
        }
    }

    pub fn condition(&self) -> Option<&Condition> {
        match self {
            Refusal::Condition(condition) => Some(condition),
            _ => None,
        }
    }
}

impl From<Condition> for Refusal {
    fn from(condition: Condition) -> Refusal {
        Refusal::Condition(condition)
    }
}

impl From<BadXml> for Refusal {
    fn from(bad: BadXml) -> Refusal {
        match bad {
            BadXml::TooLarge => Refusal::TooLarge,
            // RFC 4918 §16: the only thing that a document type could be good for.
            BadXml::Doctype => Condition::NoExternalEntities.into(),
            BadXml::Malformed(why) | BadXml::TooMuch(why) => Refusal::Malformed(why),
        }
    }
}

/// Which properties are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PropFind {
    /// What RFC 4918 defines and the dead ones, and those named beside.
    AllProp { include: Vec<Name> },
    /// All names, no values.
    PropName,
    /// In order, each once.
    Prop(Vec<Name>),
}

/// Reads the body of a PROPFIND. RFC 4918 §9.1: an empty one asks for all.
pub fn propfind(body: &[u8], octets_max: usize) -> Result<PropFind, Refusal> {
    if is_empty(body) {
        return Ok(PropFind::AllProp { include: Vec::new() });
    }
    let root = root(body, octets_max, &Name::dav("propfind"))?;
    asked(&root)?.ok_or(Refusal::Malformed("it asks for nothing"))
}

/// DAV:allprop, DAV:propname or DAV:prop below an element: the first of them.
pub(super) fn asked(element: &Element) -> Result<Option<PropFind>, Refusal> {
    for child in element.children() {
        if child.name == Name::dav("allprop") {
            let include = element.child(&Name::dav("include")).map(names).transpose()?;
            return Ok(Some(PropFind::AllProp { include: include.unwrap_or_default() }));
        }
        if child.name == Name::dav("propname") {
            return Ok(Some(PropFind::PropName));
        }
        if child.name == Name::dav("prop") {
            return Ok(Some(PropFind::Prop(names(child)?)));
        }
    }
    Ok(None)
}

/// The names of an element's children, each once.
pub(super) fn names(element: &Element) -> Result<Vec<Name>, Refusal> {
    let mut names: Vec<Name> = Vec::new();
    for child in element.children() {
        if names.contains(&child.name) {
            continue;
        }
        if names.len() == PROPERTIES_MAX {
            return Err(Refusal::Malformed("it names too many properties"));
        }
        names.push(child.name.clone());
    }
    Ok(names)
}

/// A property with the value that a client gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    pub element: Element,
}

impl Property {
    pub fn name(&self) -> &Name {
        &self.element.name
    }

    /// A value that is text, without the white space around it: `displayname`, `calendar-color`.
    pub fn text(&self) -> String {
        self.element.text().trim().to_owned()
    }

    /// A value that is hrefs, as they were written.
    pub fn hrefs(&self) -> Vec<String> {
        hrefs(&self.element).collect()
    }

    /// RFC 4791 §5.2.3: the components of a `supported-calendar-component-set`.
    pub fn components(&self) -> Vec<&str> {
        let components = self.element.children().filter(|child| child.name == Name::caldav("comp"));
        components.filter_map(|component| component.attribute("name")).collect()
    }

    /// How it is kept where its value means nothing to us.
    pub fn fragment(&self) -> Fragment {
        Fragment::of(&self.element)
    }
}

/// The hrefs that are directly in an element.
pub(super) fn hrefs(element: &Element) -> impl Iterator<Item = String> {
    let hrefs = element.children().filter(|child| child.name == Name::dav("href"));
    hrefs.map(|href| href.text().trim().to_owned())
}

/// One instruction of a PROPPATCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Set(Property),
    Remove(Name),
}

impl Change {
    pub fn name(&self) -> &Name {
        match self {
            Change::Set(property) => property.name(),
            Change::Remove(name) => name,
        }
    }
}

/// Reads the body of a PROPPATCH. RFC 4918 §9.2: they are carried out in order, all or none.
pub fn proppatch(body: &[u8], octets_max: usize) -> Result<Vec<Change>, Refusal> {
    let root = root(body, octets_max, &Name::dav("propertyupdate"))?;
    let mut changes = Vec::new();
    for instruction in root.children() {
        let sets = instruction.name == Name::dav("set");
        if !sets && instruction.name != Name::dav("remove") {
            continue;
        }
        for element in properties(instruction) {
            changes.push(match sets {
                true => Change::Set(Property { element: element.clone() }),
                false => Change::Remove(element.name.clone()),
            });
        }
    }
    match changes.len() {
        0 => Err(Refusal::Malformed("it changes nothing")),
        1..=PROPERTIES_MAX => Ok(changes),
        _ => Err(Refusal::Malformed("it changes too many properties")),
    }
}

/// What is in the DAV:prop elements below one.
fn properties(element: &Element) -> impl Iterator<Item = &Element> {
    element.children().filter(|child| child.name == Name::dav("prop")).flat_map(Element::children)
}

/// A collection that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Creation {
    /// What DAV:resourcetype holds; empty when it was not said.
    pub resource_types: Vec<Name>,
    /// In order, without DAV:resourcetype.
    pub properties: Vec<Property>,
}

/// Reads the body of a MKCALENDAR, which may be empty (RFC 4791 §5.3.1).
pub fn mkcalendar(body: &[u8], octets_max: usize) -> Result<Creation, Refusal> {
    creation(body, octets_max, &Name::caldav("mkcalendar"))
}

/// Reads the body of an extended MKCOL (RFC 5689 §3). An empty one is that of a plain MKCOL.
pub fn mkcol(body: &[u8], octets_max: usize) -> Result<Creation, Refusal> {
    creation(body, octets_max, &Name::dav("mkcol"))
}

fn creation(body: &[u8], octets_max: usize, name: &Name) -> Result<Creation, Refusal> {
    if is_empty(body) {
        return Ok(Creation::default());
    }
    let root = root(body, octets_max, name)?;
    let mut creation = Creation::default();
    for set in root.children().filter(|child| child.name == Name::dav("set")) {
        for element in properties(set) {
            if element.name == Name::dav("resourcetype") {
                creation.resource_types = names(element)?;
                continue;
            }
            if creation.properties.len() == PROPERTIES_MAX {
                return Err(Refusal::Malformed("it sets too many properties"));
            }
            creation.properties.push(Property { element: element.clone() });
        }
    }
    Ok(creation)
}

fn is_empty(body: &[u8]) -> bool {
    body.iter().all(u8::is_ascii_whitespace)
}

fn root(body: &[u8], octets_max: usize, name: &Name) -> Result<Element, Refusal> {
    let root = xml::read(body, octets_max)?;
    match root.name == *name {
        true => Ok(root),
        false => Err(Refusal::Malformed("its root is not what the method wants")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: usize = 1024 * 1024;

    fn find(body: &str) -> Result<PropFind, Refusal> {
        propfind(body.as_bytes(), MIB)
    }

    #[test]
    fn a_propfind_asks_for_all_for_names_or_for_some() {
        assert_eq!(find(""), Ok(PropFind::AllProp { include: vec![] }));
        assert_eq!(find(" \r\n"), Ok(PropFind::AllProp { include: vec![] }));
        assert_eq!(
            find(
                "<D:propfind xmlns:D='DAV:'><D:include><D:acl/></D:include><D:allprop/></D:propfind>"
            ),
            Ok(PropFind::AllProp { include: vec![Name::dav("acl")] })
        );
        assert_eq!(find("<propfind xmlns='DAV:'><propname/></propfind>"), Ok(PropFind::PropName));
        // As Thunderbird writes it, with something in it that is not known.
        let body = r#"<?xml version="1.0" encoding="UTF-8"?>
            <D:propfind xmlns:D="DAV:" xmlns:CS="http://calendarserver.org/ns/"><X:new xmlns:X="urn:x"/>
            <D:prop><D:resourcetype/><CS:getctag/><D:resourcetype/></D:prop></D:propfind>"#;
        let names = vec![Name::dav("resourcetype"), Name::calendar_server("getctag")];
        assert_eq!(find(body), Ok(PropFind::Prop(names)));
        assert_eq!(find("<propfind xmlns='DAV:'><prop/></propfind>"), Ok(PropFind::Prop(vec![])));
    }

    #[test]
    fn a_propfind_that_asks_for_nothing_or_is_none_is_400() {
        for body in [
            "<propfind xmlns='DAV:'/>",
            "<propfind><allprop/></propfind>",
            "<propfind xmlns='DAV:'><x:prop xmlns:x='urn:x'/></propfind>",
            "<D:propertyupdate xmlns:D='DAV:'/>",
            "<D:propfind xmlns:D='DAV:'>",
            "{}",
        ] {
            assert_eq!(find(body).unwrap_err().status(), 400, "{body}");
        }
        let many: String = (0..=PROPERTIES_MAX).map(|n| format!("<p{n}/>")).collect();
        let body = format!("<propfind xmlns='DAV:'><prop>{many}</prop></propfind>");
        assert_eq!(find(&body).unwrap_err().status(), 400);
    }

    #[test]
    fn what_is_wrong_with_the_xml_decides_the_status() {
        assert_eq!(propfind(b"<a/> ", 4).unwrap_err().status(), 413);
        let refused = find("<!DOCTYPE a []><propfind xmlns='DAV:'><allprop/></propfind>");
        let refused = refused.unwrap_err();
        assert_eq!(refused.condition(), Some(&Condition::NoExternalEntities));
        assert_eq!(refused.status(), 403);
    }

    #[test]
    fn a_proppatch_is_its_instructions_in_order() {
        let body = "<D:propertyupdate xmlns:D='DAV:' xmlns:A='http://apple.com/ns/ical/' xmlns:Z='urn:z'>
            <D:set><D:prop><D:displayname> Work </D:displayname></D:prop><D:prop><Z:x a='1'>v</Z:x></D:prop></D:set>
            <D:remove><D:prop><A:calendar-color/></D:prop></D:remove>
            <D:set><D:prop><A:calendar-color>#ff0000ff</A:calendar-color></D:prop></D:set>
            </D:propertyupdate>";
        let changes = proppatch(body.as_bytes(), MIB).unwrap();
        let names: Vec<String> = changes
            .iter()
            .map(|change| match change {
                Change::Set(property) => format!("{}={}", property.name().local(), property.text()),
                Change::Remove(name) => format!("-{}", name.local()),
            })
            .collect();
        assert_eq!(
            names,
            ["displayname=Work", "x=v", "-calendar-color", "calendar-color=#ff0000ff"]
        );
        let Change::Set(dead) = &changes[1] else { panic!() };
        assert_eq!(dead.fragment().as_str(), "<n0:x xmlns:n0=\"urn:z\" a=\"1\">v</n0:x>");
        for body in
            ["", "<propertyupdate xmlns='DAV:'/>", "<propfind xmlns='DAV:'><prop/></propfind>"]
        {
            assert_eq!(proppatch(body.as_bytes(), MIB).unwrap_err().status(), 400, "{body}");
        }
    }

    #[test]
    fn a_calendar_is_made_with_its_properties() {
        assert_eq!(mkcalendar(b"", MIB), Ok(Creation::default()));
        let body = "<B:mkcalendar xmlns:B='urn:ietf:params:xml:ns:caldav'><A:set xmlns:A='DAV:'><A:prop>
            <B:supported-calendar-component-set><B:comp name='VEVENT'/><B:comp/></B:supported-calendar-component-set>
            <A:displayname>Work</A:displayname></A:prop></A:set></B:mkcalendar>";
        let made = mkcalendar(body.as_bytes(), MIB).unwrap();
        assert_eq!(made.properties.len(), 2);
        assert_eq!(made.properties[0].components(), ["VEVENT"]);
        let body = "<mkcol xmlns='DAV:'><set><prop><resourcetype><collection/><C:calendar
            xmlns:C='urn:ietf:params:xml:ns:caldav'/></resourcetype><displayname>x</displayname></prop></set></mkcol>";
        let made = mkcol(body.as_bytes(), MIB).unwrap();
        assert_eq!(made.resource_types, [Name::dav("collection"), Name::caldav("calendar")]);
        assert_eq!(made.properties.len(), 1);
        assert_eq!(mkcol(b"<mkcalendar/>", MIB).unwrap_err().status(), 400);
    }

    #[test]
    fn a_value_of_hrefs_is_read() {
        let body = "<propertyupdate xmlns='DAV:'><set><prop><C:schedule-default-calendar-URL
            xmlns:C='urn:ietf:params:xml:ns:caldav'><href> /dav/x/ </href></C:schedule-default-calendar-URL>
            </prop></set></propertyupdate>";
        let changes = proppatch(body.as_bytes(), MIB).unwrap();
        let Change::Set(property) = &changes[0] else { panic!() };
        assert_eq!(property.hrefs(), ["/dav/x/"]);
    }

    proptest! {
        #[test]
        fn any_octets_are_answered(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = propfind(&octets, MIB);
            let _ = proppatch(&octets, MIB);
            let _ = mkcalendar(&octets, MIB);
            let _ = mkcol(&octets, MIB);
        }
    }
}
