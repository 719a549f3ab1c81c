//! What the body of a REPORT asks for. Pure.
//!
//! RFC 4791 §7, §9.5–§9.11; RFC 6578 §6; RFC 3253 §3.8; RFC 3744 §9.4, §9.5. RFC 4918 §17: elements that
//! are not known are left out; but in a filter each of them says which objects are meant, so there a part
//! that is not known is refused. A report that is not known is refused as well (RFC 3253 §3.6).

use super::calendar_data::{CalendarData, Recurring, Selected, Selection};
use super::condition::{Condition, Unsupported};
use super::filter::{
    Collation, ComponentFilter, ComponentTest, Filter, MatchKind, ParameterFilter, ParameterTest,
    PropertyFilter, PropertyTest, TextMatch, ValueTest,
};
use super::range::{self, TimeRange};
use super::request::{self, PROPERTIES_MAX, PropFind, Refusal};
use super::xml::{self, Element, Name, Namespace};

/// Most hrefs of one calendar-multiget.
pub const HREFS_MAX: usize = 1_000;
/// Most filters in a filter: each is asked of every line of every object.
const FILTERS_MAX: usize = 100;

/// A report that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    CalendarQuery(CalendarQuery),
    /// RFC 4791 §7.9: the hrefs as they were written, in order.
    CalendarMultiget {
        wanted: Wanted,
        hrefs: Vec<String>,
    },
    SyncCollection(SyncCollection),
    /// RFC 4791 §7.10. Both ends are given.
    FreeBusyQuery(TimeRange),
    /// RFC 3253 §3.8.
    ExpandProperty(Vec<Expanded>),
    /// RFC 3744 §9.4.
    PrincipalPropertySearch(PrincipalSearch),
    /// RFC 3744 §9.5: asks which properties can be searched for.
    PrincipalSearchPropertySet,
}

/// The properties that a report is to give of each object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// C:calendar-data is among the names where it is asked for.
    pub properties: PropFind,
    /// How it is asked for; `None` where it is not.
    pub data: Option<CalendarData>,
}

/// RFC 4791 §7.8
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarQuery {
    pub wanted: Wanted,
    pub filter: Filter,
    /// C:timezone, an object with a VTIMEZONE.
    pub timezone: Option<String>,
    /// RFC 7809 §5.2: C:timezone-id, a name.
    pub timezone_id: Option<String>,
    /// C:limit, C:nresults, as some servers and clients have it from RFC 6352 §8.6.1.
    pub limit: Option<u32>,
}

/// RFC 6578 §3.2
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncCollection {
    pub wanted: Wanted,
    /// `None`: from the beginning.
    pub token: Option<String>,
    /// `None`: not said; RFC 6578 appendix A takes it from the Depth header then.
    pub level: Option<SyncLevel>,
    /// RFC 6578 §3.7
    pub limit: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncLevel {
    One,
    Infinite,
}

/// A property, and what is asked of the resources that its hrefs name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expanded {
    pub name: Name,
    pub properties: Vec<Expanded>,
}

/// RFC 3744 §9.4, as Apple's programs ask it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrincipalSearch {
    /// `test="anyof"`: one search is enough. RFC 3744: all must match.
    pub any: bool,
    pub searches: Vec<PropertySearch>,
    /// What is to be told of those that are found.
    pub properties: Vec<Name>,
    /// Wherever principals are, not only below the resource that was asked.
    pub everywhere: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertySearch {
    pub properties: Vec<Name>,
    /// What one of them holds, in any case.
    pub text: String,
}

/// Reads the body of a REPORT.
pub fn report(body: &[u8], octets_max: usize) -> Result<Report, Refusal> {
    let root = xml::read(body, octets_max)?;
    let name = &root.name;
    Ok(if *name == Name::caldav("calendar-query") {
        Report::CalendarQuery(calendar_query(&root)?)
    } else if *name == Name::caldav("calendar-multiget") {
        multiget(&root)?
    } else if *name == Name::dav("sync-collection") {
        Report::SyncCollection(sync_collection(&root)?)
    } else if *name == Name::caldav("free-busy-query") {
        Report::FreeBusyQuery(free_busy(&root)?)
    } else if *name == Name::dav("expand-property") {
        Report::ExpandProperty(expanded(&root, &mut 0)?)
    } else if *name == Name::dav("principal-property-search") {
        Report::PrincipalPropertySearch(principal_search(&root)?)
    } else if *name == Name::dav("principal-search-property-set") {
        Report::PrincipalSearchPropertySet
    } else {
        return Err(Condition::SupportedReport.into());
    })
}

fn calendar_query(root: &Element) -> Result<CalendarQuery, Refusal> {
    let filter = root.child(&Name::caldav("filter")).ok_or(Condition::ValidFilter)?;
    let text = |name| root.child(&Name::caldav(name)).map(|e: &Element| e.text().trim().to_owned());
    Ok(CalendarQuery {
        wanted: wanted(root)?,
        filter: self::filter(filter)?,
        timezone: text("timezone").filter(|text| !text.is_empty()),
        timezone_id: text("timezone-id").filter(|text| !text.is_empty()),
        limit: limit(root)?,
    })
}

fn multiget(root: &Element) -> Result<Report, Refusal> {
    let hrefs: Vec<String> = request::hrefs(root).take(HREFS_MAX + 1).collect();
    match hrefs.len() {
        0 => Err(Refusal::Malformed("it names no href")),
        1..=HREFS_MAX => Ok(Report::CalendarMultiget { wanted: wanted(root)?, hrefs }),
        _ => Err(Condition::NumberOfMatchesWithinLimits.into()),
    }
}

fn sync_collection(root: &Element) -> Result<SyncCollection, Refusal> {
    let text = |name| root.child(&Name::dav(name)).map(|e: &Element| e.text().trim().to_owned());
    let level = match text("sync-level").as_deref() {
        None | Some("") => None,
        Some("1") => Some(SyncLevel::One),
        // Quirk(apple): as in the Depth header.
        Some("infinite" | "infinity") => Some(SyncLevel::Infinite),
        Some(_) => return Err(Refusal::Malformed("its sync-level is not known")),
    };
    Ok(SyncCollection {
        wanted: wanted(root)?,
        token: text("sync-token").filter(|token| !token.is_empty()),
        level,
        limit: limit(root)?,
    })
}

/// RFC 5323 §5.17: DAV:limit; its sibling of RFC 6352 in any namespace.
fn limit(root: &Element) -> Result<Option<u32>, Refusal> {
    let named = |element: &Element, local| {
        let known = matches!(element.name.namespace(), Namespace::Dav | Namespace::CalDav);
        known && element.name.local() == local
    };
    let Some(limit) = root.children().find(|child| named(child, "limit")) else { return Ok(None) };
    let number = limit.children().find(|child| named(child, "nresults")).map(Element::text);
    let number = number.and_then(|text| text.trim().parse::<u32>().ok()).filter(|n| *n > 0);
    number.map(Some).ok_or(Refusal::Malformed("its limit is no number"))
}

fn wanted(root: &Element) -> Result<Wanted, Refusal> {
    let properties = request::asked(root)?.unwrap_or(PropFind::Prop(Vec::new()));
    let data = match &properties {
        PropFind::Prop(_) => root
            .child(&Name::dav("prop"))
            .and_then(|prop| prop.child(&Name::caldav("calendar-data")))
            .map(calendar_data)
            .transpose()?,
        _ => None,
    };
    Ok(Wanted { properties, data })
}

/// RFC 4791 §9.6
fn calendar_data(element: &Element) -> Result<CalendarData, Refusal> {
    let is = |name, fit: &str| {
        element.attribute(name).is_none_or(|given| given.trim().eq_ignore_ascii_case(fit))
    };
    if !is("content-type", "text/calendar") || !is("version", "2.0") {
        return Err(Condition::SupportedCalendarData.into());
    }
    let ranged = |name| {
        let ranged = element.child(&Name::caldav(name));
        ranged.map(|ranged| closed_range(ranged).ok_or(Refusal::Malformed("its range"))).transpose()
    };
    let recurring = match (ranged("expand")?, ranged("limit-recurrence-set")?) {
        (None, None) => Recurring::AsKept,
        (Some(range), None) => Recurring::Expand(range),
        (None, Some(range)) => Recurring::Limit(range),
        (Some(_), Some(_)) => {
            return Err(Refusal::Malformed("it wants a series both expanded and limited"));
        }
    };
    // C:limit-freebusy-set says something about VFREEBUSY alone, of which none is kept.
    let selection = element.child(&Name::caldav("comp")).map(selection).transpose()?;
    Ok(CalendarData { recurring, selection })
}

/// RFC 4791 §9.6.1. An element without anything in it is the whole component, as in RFC 4791's own
/// examples (§7.8.1).
fn selection(element: &Element) -> Result<Selection, Refusal> {
    let name = named(element).ok_or(Refusal::Malformed("a component has no name"))?;
    let all = element.content.iter().all(|content| matches!(content, xml::Content::Text(_)));
    let mut selection = Selection { name, properties: None, components: None };
    if all {
        return Ok(selection);
    }
    let mut properties = Vec::new();
    let mut components = Vec::new();
    for child in element.children() {
        if child.name == Name::caldav("prop") {
            let name = named(child).ok_or(Refusal::Malformed("a property has no name"))?;
            let without_value = child.attribute("novalue") == Some("yes");
            properties.push(Selected { name, without_value });
        } else if child.name == Name::caldav("comp") {
            components.push(self::selection(child)?);
        }
    }
    if properties.len() + components.len() > PROPERTIES_MAX {
        return Err(Refusal::Malformed("it names too many properties"));
    }
    if !element.has(&Name::caldav("allprop")) {
        selection.properties = Some(properties);
    }
    if !element.has(&Name::caldav("allcomp")) {
        selection.components = Some(components);
    }
    Ok(selection)
}

fn free_busy(root: &Element) -> Result<TimeRange, Refusal> {
    let range = root.child(&Name::caldav("time-range")).and_then(closed_range);
    range.ok_or(Refusal::Malformed("its time range"))
}

/// With both ends, in the right order.
fn closed_range(element: &Element) -> Option<TimeRange> {
    let end = |name| element.attribute(name).and_then(|text| range::instant(text.trim()));
    TimeRange::new(Some(end("start")?), Some(end("end")?))
}

/// The attribute `name`.
fn named(element: &Element) -> Option<String> {
    let name = element.attribute("name").map(str::trim).filter(|name| !name.is_empty());
    name.map(str::to_owned)
}

// --- filters -----------------------------------------------------------------------------------------

fn filter(element: &Element) -> Result<Filter, Refusal> {
    let mut children = element.children();
    let (Some(calendar), None) = (children.next(), children.next()) else {
        return Err(Condition::ValidFilter.into());
    };
    if calendar.name != Name::caldav("comp-filter") {
        return Err(unsupported(calendar));
    }
    Ok(Filter { calendar: Filters::default().component(calendar, None)? })
}

/// A part of a filter that is not known, or known to mean something that is not done.
fn unsupported(element: &Element) -> Refusal {
    let known = ["comp-filter", "prop-filter", "param-filter"];
    let what = known.into_iter().find(|known| element.name == Name::caldav(known));
    let unsupported = what.zip(named(element)).map(|(element, name)| Unsupported { element, name });
    Condition::SupportedFilter(unsupported).into()
}

#[derive(Default)]
struct Filters {
    read: usize,
}

impl Filters {
    fn begin(&mut self, element: &Element) -> Result<String, Refusal> {
        self.read += 1;
        if self.read > FILTERS_MAX {
            return Err(Condition::ValidFilter.into());
        }
        // RFC 6352 §10.5.1: another way to put parts together, which would find other objects.
        if element.attribute("test").is_some_and(|test| test != "allof") {
            return Err(unsupported(element));
        }
        named(element).ok_or_else(|| Condition::ValidFilter.into())
    }

    fn component(
        &mut self,
        element: &Element,
        parent: Option<&str>,
    ) -> Result<ComponentFilter, Refusal> {
        let name = self.begin(element)?;
        if !may_stand_in(&name, parent) {
            return Err(Condition::ValidFilter.into());
        }
        if is_not_defined(element)? {
            return Ok(ComponentFilter { name, test: ComponentTest::NotDefined });
        }
        let (mut range, mut properties, mut components) = (None, Vec::new(), Vec::new());
        for child in element.children() {
            match child.name.local() {
                _ if *child.name.namespace() != Namespace::CalDav => {
                    return Err(unsupported(child));
                }
                "time-range" if range.is_none() && has_time(&name) => {
                    range = Some(time_range(child)?);
                }
                "time-range" => return Err(Condition::ValidFilter.into()),
                "prop-filter" => properties.push(self.property(child)?),
                "comp-filter" => components.push(self.component(child, Some(&name))?),
                _ => return Err(unsupported(child)),
            }
        }
        Ok(ComponentFilter { name, test: ComponentTest::Defined { range, properties, components } })
    }

    fn property(&mut self, element: &Element) -> Result<PropertyFilter, Refusal> {
        let name = self.begin(element)?;
        if is_not_defined(element)? {
            return Ok(PropertyFilter { name, test: PropertyTest::NotDefined });
        }
        let (mut value, mut parameters) = (None, Vec::new());
        for child in element.children() {
            match child.name.local() {
                _ if *child.name.namespace() != Namespace::CalDav => {
                    return Err(unsupported(child));
                }
                "time-range" if value.is_none() && is_time(&name) => {
                    value = Some(ValueTest::Range(time_range(child)?));
                }
                "text-match" if value.is_none() => {
                    value = Some(ValueTest::Text(text_match(child)?))
                }
                "time-range" | "text-match" => return Err(Condition::ValidFilter.into()),
                "param-filter" => parameters.push(self.parameter(child)?),
                _ => return Err(unsupported(child)),
            }
        }
        Ok(PropertyFilter { name, test: PropertyTest::Defined { value, parameters } })
    }

    fn parameter(&mut self, element: &Element) -> Result<ParameterFilter, Refusal> {
        let name = self.begin(element)?;
        if is_not_defined(element)? {
            return Ok(ParameterFilter { name, test: ParameterTest::NotDefined });
        }
        let mut test = ParameterTest::Defined;
        for child in element.children() {
            if child.name != Name::caldav("text-match") {
                return Err(unsupported(child));
            }
            if test != ParameterTest::Defined {
                return Err(Condition::ValidFilter.into());
            }
            test = ParameterTest::Text(text_match(child)?);
        }
        Ok(ParameterFilter { name, test })
    }
}

/// RFC 4791 §9.7.1: it stands alone.
fn is_not_defined(element: &Element) -> Result<bool, Refusal> {
    match element.has(&Name::caldav("is-not-defined")) {
        true if element.children().count() > 1 => Err(Condition::ValidFilter.into()),
        is => Ok(is),
    }
}

/// RFC 5545 §3.6: which component may be in which; of those that are not known nothing is said.
fn may_stand_in(name: &str, parent: Option<&str>) -> bool {
    let name = name.to_ascii_uppercase();
    match parent.map(str::to_ascii_uppercase).as_deref() {
        None => name == "VCALENDAR",
        Some("VCALENDAR") => {
            !matches!(name.as_str(), "VCALENDAR" | "VALARM" | "STANDARD" | "DAYLIGHT")
        }
        Some("VEVENT" | "VTODO") => {
            name == "VALARM"
                || !(name.starts_with('V') || matches!(name.as_str(), "STANDARD" | "DAYLIGHT"))
        }
        Some(_) => !name.starts_with('V'),
    }
}

/// RFC 4791 §9.9: the components for which it is said what a range means.
fn has_time(component: &str) -> bool {
    let timed = ["VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY", "VALARM"];
    timed.iter().any(|timed| timed.eq_ignore_ascii_case(component))
}

/// RFC 4791 §9.9: the properties for which it is said what a range means.
fn is_time(property: &str) -> bool {
    let timed = ["COMPLETED", "CREATED", "DTEND", "DTSTAMP", "DTSTART", "DUE", "LAST-MODIFIED"];
    timed.iter().any(|timed| timed.eq_ignore_ascii_case(property))
}

fn time_range(element: &Element) -> Result<TimeRange, Refusal> {
    let end = |name| match element.attribute(name) {
        None => Ok(None),
        Some(text) => {
            range::instant(text.trim()).map(Some).ok_or(Refusal::from(Condition::ValidFilter))
        }
    };
    TimeRange::new(end("start")?, end("end")?).ok_or_else(|| Condition::ValidFilter.into())
}

fn text_match(element: &Element) -> Result<TextMatch, Refusal> {
    let collation = match element.attribute("collation") {
        None => Collation::AsciiCasemap,
        Some(name) => Collation::parse(name.trim()).ok_or(Condition::SupportedCollation)?,
    };
    let kind = match element.attribute("match-type") {
        None | Some("contains") => MatchKind::Contains,
        Some("equals") => MatchKind::Equals,
        Some("starts-with") => MatchKind::StartsWith,
        Some("ends-with") => MatchKind::EndsWith,
        Some(_) => return Err(unsupported(element)),
    };
    let negated = match element.attribute("negate-condition") {
        None | Some("no") => false,
        Some("yes") => true,
        Some(_) => return Err(Condition::ValidFilter.into()),
    };
    Ok(TextMatch { text: element.text(), collation, kind, negated })
}

// --- principals --------------------------------------------------------------------------------------

/// RFC 3253 §3.8: DAV:property, nested.
fn expanded(element: &Element, read: &mut usize) -> Result<Vec<Expanded>, Refusal> {
    let mut properties = Vec::new();
    for child in element.children().filter(|child| child.name == Name::dav("property")) {
        *read += 1;
        if *read > PROPERTIES_MAX {
            return Err(Refusal::Malformed("it names too many properties"));
        }
        let namespace = child.attribute("namespace").unwrap_or("DAV:");
        let name = named(child).and_then(|local| Name::parse(namespace, &local));
        let name = name.ok_or(Refusal::Malformed("a property has no name"))?;
        properties.push(Expanded { name, properties: expanded(child, read)? });
    }
    Ok(properties)
}

fn principal_search(root: &Element) -> Result<PrincipalSearch, Refusal> {
    let mut searches = Vec::new();
    for search in root.children().filter(|child| child.name == Name::dav("property-search")) {
        let (Some(prop), Some(text)) =
            (search.child(&Name::dav("prop")), search.child(&Name::dav("match")))
        else {
            return Err(Refusal::Malformed("a search says not what for"));
        };
        let text = text.text().trim().to_owned();
        searches.push(PropertySearch { properties: request::names(prop)?, text });
    }
    match searches.len() {
        0 => return Err(Refusal::Malformed("it searches for nothing")),
        1..=FILTERS_MAX => {}
        _ => return Err(Refusal::Malformed("it searches for too much")),
    }
    let properties = root.child(&Name::dav("prop")).map(request::names).transpose()?;
    Ok(PrincipalSearch {
        any: root.attribute("test") == Some("anyof"),
        searches,
        properties: properties.unwrap_or_default(),
        everywhere: root.has(&Name::dav("apply-to-principal-collection-set")),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: usize = 1024 * 1024;

    fn read(body: &str) -> Result<Report, Refusal> {
        report(body.as_bytes(), MIB)
    }

    /// A calendar-query with this in its filter.
    fn query(filter: &str) -> Result<Report, Refusal> {
        read(&format!(
            "<C:calendar-query xmlns:D='DAV:' xmlns:C='urn:ietf:params:xml:ns:caldav' \
             xmlns:X='urn:x'><D:prop><D:getetag/></D:prop>{filter}</C:calendar-query>"
        ))
    }

    /// With this in the comp-filter of VEVENT.
    fn vevent(filter: &str) -> Result<Report, Refusal> {
        query(&format!(
            "<C:filter><C:comp-filter name='VCALENDAR'><C:comp-filter name='VEVENT'>{filter}\
             </C:comp-filter></C:comp-filter></C:filter>"
        ))
    }

    fn condition(read: Result<Report, Refusal>) -> Condition {
        match read {
            Err(Refusal::Condition(condition)) => condition,
            other => panic!("{other:?}"),
        }
    }

    fn range(start: &str, end: &str) -> TimeRange {
        TimeRange::new(range::instant(start), range::instant(end)).unwrap()
    }

    #[test]
    fn a_calendar_query_is_read_with_all_its_parts() {
        let body = r#"<?xml version="1.0" encoding="utf-8"?>
            <C:calendar-query xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:D="DAV:">
             <D:prop><D:getetag/><C:calendar-data><C:comp name="VCALENDAR"><C:prop name="VERSION"/>
               <C:comp name="VEVENT"><C:allprop/><C:comp name="VALARM"/></C:comp>
               <C:comp name="VTIMEZONE"/></C:comp>
               <C:expand start="20261101T000000Z" end="20261201T000000Z"/></C:calendar-data></D:prop>
             <C:filter><C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT">
               <C:time-range start="20261101T000000Z" end="20261201T000000Z"/>
               <C:prop-filter name="ATTENDEE"><C:text-match collation="i;octet" negate-condition="yes">mailto:a@b</C:text-match>
                 <C:param-filter name="PARTSTAT"><C:text-match>NEEDS-ACTION</C:text-match></C:param-filter>
                 <C:param-filter name="ROLE"><C:is-not-defined/></C:param-filter></C:prop-filter>
               <C:prop-filter name="DTSTAMP"><C:time-range end="20261201T000000Z"/></C:prop-filter>
               <C:comp-filter name="VALARM"><C:is-not-defined/></C:comp-filter>
             </C:comp-filter></C:comp-filter></C:filter>
             <C:timezone>BEGIN:VCALENDAR&#13;
END:VCALENDAR</C:timezone><C:limit><C:nresults>10</C:nresults></C:limit></C:calendar-query>"#;
        let Ok(Report::CalendarQuery(query)) = read(body) else { panic!("{:?}", read(body)) };
        let november = range("20261101T000000Z", "20261201T000000Z");
        let data = query.wanted.data.unwrap();
        assert_eq!(data.recurring, Recurring::Expand(november));
        let selection = data.selection.unwrap();
        let version = Selected { name: "VERSION".to_owned(), without_value: false };
        assert_eq!(selection.properties, Some(vec![version]));
        let components = selection.components.unwrap();
        assert_eq!(components[0].properties, None);
        assert_eq!(components[0].components.as_ref().unwrap().len(), 1);
        let zone = Selection { name: "VTIMEZONE".to_owned(), properties: None, components: None };
        assert_eq!(components[1], zone);
        assert_eq!(query.timezone.as_deref(), Some("BEGIN:VCALENDAR\r\nEND:VCALENDAR"));
        assert_eq!(query.limit, Some(10));
        assert_eq!(query.filter.event_range(), Some(november));
        let ComponentTest::Defined { components, .. } = query.filter.calendar.test else {
            panic!()
        };
        let ComponentTest::Defined { properties, components, .. } = &components[0].test else {
            panic!()
        };
        let PropertyTest::Defined { value: Some(ValueTest::Text(text)), parameters } =
            &properties[0].test
        else {
            panic!()
        };
        assert_eq!(
            (text.text.as_str(), text.collation, text.negated),
            ("mailto:a@b", Collation::Octet, true)
        );
        assert!(
            matches!(&parameters[0].test, ParameterTest::Text(text) if text.text == "NEEDS-ACTION")
        );
        assert_eq!(parameters[1].test, ParameterTest::NotDefined);
        assert!(matches!(
            &properties[1].test,
            PropertyTest::Defined { value: Some(ValueTest::Range(range)), .. } if range.start.is_none()
        ));
        assert_eq!(components[0].test, ComponentTest::NotDefined);
    }

    #[test]
    fn a_filter_that_says_nothing_sound_is_not_valid() {
        for filter in [
            "",
            "<C:filter/>",
            "<C:filter><C:comp-filter name='VCALENDAR'/><C:comp-filter name='VCALENDAR'/></C:filter>",
            "<C:filter><C:comp-filter/></C:filter>",
            "<C:filter><C:comp-filter name='VEVENT'/></C:filter>",
            "<C:filter><C:comp-filter name='VCALENDAR'><C:comp-filter name='VALARM'/></C:comp-filter></C:filter>",
            "<C:filter><C:comp-filter name='VCALENDAR'><C:comp-filter name='VCALENDAR'/></C:comp-filter></C:filter>",
            "<C:filter><C:comp-filter name='VCALENDAR'><C:time-range start='20261101T000000Z'/></C:comp-filter></C:filter>",
        ] {
            assert_eq!(condition(query(filter)), Condition::ValidFilter, "{filter}");
        }
        for filter in [
            "<C:comp-filter name='VEVENT'/>",
            "<C:comp-filter name='VTODO'/>",
            "<C:time-range/>",
            "<C:time-range start='20261101'/>",
            "<C:time-range start='20261101T000000'/>",
            "<C:time-range start='20261201T000000Z' end='20261101T000000Z'/>",
            "<C:time-range start='20261101T000000Z'/><C:time-range end='20261201T000000Z'/>",
            "<C:is-not-defined/><C:prop-filter name='UID'/>",
            "<C:prop-filter/>",
            "<C:prop-filter name='SUMMARY'><C:time-range start='20261101T000000Z'/></C:prop-filter>",
            "<C:prop-filter name='UID'><C:text-match>a</C:text-match><C:text-match>b</C:text-match></C:prop-filter>",
            "<C:prop-filter name='UID'><C:text-match negate-condition='maybe'>a</C:text-match></C:prop-filter>",
            "<C:prop-filter name='UID'><C:param-filter name='X'><C:text-match/><C:text-match/></C:param-filter></C:prop-filter>",
            &"<C:prop-filter name='UID'/>".repeat(FILTERS_MAX),
        ] {
            assert_eq!(condition(vevent(filter)), Condition::ValidFilter, "{filter}");
        }
    }

    #[test]
    fn a_filter_that_is_not_known_is_not_left_out() {
        for filter in [
            "<C:new-filter/>",
            "<X:comp-filter name='VALARM'/>",
            "<D:prop-filter name='UID'/>",
            "<C:prop-filter name='UID'><C:new-match>a</C:new-match></C:prop-filter>",
            "<C:prop-filter name='UID'><C:param-filter name='X'><C:new-match/></C:param-filter></C:prop-filter>",
            "<C:prop-filter name='UID'><C:text-match match-type='regex'>a</C:text-match></C:prop-filter>",
        ] {
            assert_eq!(condition(vevent(filter)), Condition::SupportedFilter(None), "{filter}");
        }
        let any = "<C:prop-filter name='UID' test='anyof'/>";
        let unsupported = Unsupported { element: "prop-filter", name: "UID".to_owned() };
        assert_eq!(condition(vevent(any)), Condition::SupportedFilter(Some(unsupported)));
        let collation = "<C:prop-filter name='UID'><C:text-match collation='i;basic'>a</C:text-match></C:prop-filter>";
        assert_eq!(condition(vevent(collation)), Condition::SupportedCollation);
        assert!(vevent("<C:prop-filter name='X-ANY' test='allof'/>").is_ok());
    }

    #[test]
    fn calendar_data_of_another_kind_is_not_given() {
        let asked = |data: &str| {
            read(&format!(
                "<C:calendar-multiget xmlns:D='DAV:' xmlns:C='urn:ietf:params:xml:ns:caldav'><D:prop>\
                 {data}</D:prop><D:href> /dav/a </D:href></C:calendar-multiget>"
            ))
        };
        let Ok(Report::CalendarMultiget { wanted, hrefs }) =
            asked("<C:calendar-data content-type='text/calendar' version='2.0'/>")
        else {
            panic!()
        };
        let all = CalendarData { recurring: Recurring::AsKept, selection: None };
        assert_eq!((wanted.data, hrefs), (Some(all), vec!["/dav/a".to_owned()]));
        let json = asked("<C:calendar-data content-type='application/calendar+json'/>");
        assert_eq!(condition(json), Condition::SupportedCalendarData);
        let old = asked("<C:calendar-data version='1.0'/>");
        assert_eq!(condition(old), Condition::SupportedCalendarData);
        for malformed in [
            "<C:calendar-data><C:expand/></C:calendar-data>",
            "<C:calendar-data><C:expand start='20261101T000000Z'/></C:calendar-data>",
            "<C:calendar-data><C:expand start='20261101T000000Z' end='20261102T000000Z'/>\
             <C:limit-recurrence-set start='20261101T000000Z' end='20261102T000000Z'/></C:calendar-data>",
            "<C:calendar-data><C:comp/></C:calendar-data>",
            "<C:calendar-data><C:comp name='VCALENDAR'><C:prop/></C:comp></C:calendar-data>",
        ] {
            assert_eq!(asked(malformed).unwrap_err().status(), 400, "{malformed}");
        }
        let Ok(Report::CalendarMultiget { wanted, .. }) = asked("<D:getetag/>") else { panic!() };
        assert_eq!(wanted.data, None);
    }

    #[test]
    fn a_multiget_of_nothing_or_of_too_much_is_refused() {
        let of = |n: usize| {
            let hrefs = "<D:href>/a</D:href>".repeat(n);
            read(&format!(
                "<C:calendar-multiget xmlns:D='DAV:' xmlns:C='urn:ietf:params:xml:ns:caldav'>{hrefs}\
                 </C:calendar-multiget>"
            ))
        };
        assert_eq!(of(0).unwrap_err().status(), 400);
        assert!(of(HREFS_MAX).is_ok());
        assert_eq!(condition(of(HREFS_MAX + 1)), Condition::NumberOfMatchesWithinLimits);
    }

    #[test]
    fn a_sync_collection_begins_or_goes_on() {
        let of = |within: &str| {
            read(&format!(
                "<sync-collection xmlns='DAV:'>{within}<prop><getetag/></prop></sync-collection>"
            ))
        };
        let Ok(Report::SyncCollection(first)) = of("<sync-token/><sync-level>1</sync-level>")
        else {
            panic!()
        };
        assert_eq!((first.token, first.level, first.limit), (None, Some(SyncLevel::One), None));
        let Ok(Report::SyncCollection(next)) =
            of("<sync-token> urn:t:7 </sync-token><limit><nresults>100</nresults></limit>")
        else {
            panic!()
        };
        assert_eq!(
            (next.token.as_deref(), next.level, next.limit),
            (Some("urn:t:7"), None, Some(100))
        );
        for malformed in [
            "<sync-level>2</sync-level>",
            "<limit/>",
            "<limit><nresults>0</nresults></limit>",
            "<limit><nresults>-1</nresults></limit>",
        ] {
            assert_eq!(of(malformed).unwrap_err().status(), 400, "{malformed}");
        }
    }

    #[test]
    fn free_busy_wants_both_ends() {
        let of = |range: &str| {
            read(&format!(
                "<free-busy-query xmlns='urn:ietf:params:xml:ns:caldav'>{range}</free-busy-query>"
            ))
        };
        assert_eq!(
            of("<time-range start='20261101T000000Z' end='20261201T000000Z'/>"),
            Ok(Report::FreeBusyQuery(range("20261101T000000Z", "20261201T000000Z")))
        );
        assert_eq!(of("<time-range start='20261101T000000Z'/>").unwrap_err().status(), 400);
        assert_eq!(of("").unwrap_err().status(), 400);
    }

    #[test]
    fn principals_are_asked_for_and_searched() {
        let body = "<expand-property xmlns='DAV:'><property name='owner'><property name='x' \
                    namespace='urn:x'/></property></expand-property>";
        let x = Expanded { name: Name::parse("urn:x", "x").unwrap(), properties: vec![] };
        let owner = Expanded { name: Name::dav("owner"), properties: vec![x] };
        assert_eq!(read(body), Ok(Report::ExpandProperty(vec![owner])));
        let unnamed = "<expand-property xmlns='DAV:'><property name='a b'/></expand-property>";
        assert_eq!(read(unnamed).unwrap_err().status(), 400);
        let body = "<principal-property-search xmlns='DAV:' test='anyof'><property-search><prop>\
            <displayname/></prop><match>adele</match></property-search><prop><displayname/><principal-URL/>\
            </prop><apply-to-principal-collection-set/></principal-property-search>";
        let Ok(Report::PrincipalPropertySearch(search)) = read(body) else { panic!() };
        assert!(search.any && search.everywhere);
        assert_eq!(search.searches[0].text, "adele");
        assert_eq!(search.searches[0].properties, [Name::dav("displayname")]);
        assert_eq!(search.properties.len(), 2);
        let nothing = "<principal-property-search xmlns='DAV:'/>";
        assert_eq!(read(nothing).unwrap_err().status(), 400);
        let set = "<principal-search-property-set xmlns='DAV:'/>";
        assert_eq!(read(set), Ok(Report::PrincipalSearchPropertySet));
    }

    #[test]
    fn a_report_that_is_not_known_is_refused_by_its_condition() {
        for body in ["<version-tree xmlns='DAV:'/>", "<calendar-query/>", "<a/>"] {
            assert_eq!(condition(read(body)), Condition::SupportedReport, "{body}");
        }
        assert_eq!(read("").unwrap_err().status(), 400);
        assert_eq!(report(b"<a/>", 3).unwrap_err().status(), 413);
    }

    proptest! {
        #[test]
        fn any_body_is_answered(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "<C:filter>", "</C:filter>", "<C:comp-filter name='VCALENDAR'>",
                    "<C:comp-filter name='VEVENT'>", "</C:comp-filter>", "<C:prop-filter name='UID'>",
                    "</C:prop-filter>", "<C:is-not-defined/>", "<C:text-match>a</C:text-match>",
                    "<C:time-range start='20261101T000000Z'/>", "<D:prop>", "</D:prop>",
                    "<C:calendar-data>", "</C:calendar-data>", "<C:comp name='VCALENDAR'/>", "<D:href>/",
                    "</D:href>", "<D:limit><D:nresults>1</D:nresults></D:limit>", "text",
                ]),
                0..24,
            ),
            root in prop::sample::select(vec![
                "C:calendar-query", "C:calendar-multiget", "D:sync-collection", "C:free-busy-query",
                "D:expand-property", "D:principal-property-search",
            ]),
        ) {
            let within = pieces.concat();
            let _ = read(&format!(
                "<{root} xmlns:D='DAV:' xmlns:C='urn:ietf:params:xml:ns:caldav'>{within}</{root}>"
            ));
        }
    }
}
