//! Which objects a calendar-query means. Pure.
//!
//! RFC 4791 §9.7, §9.9; RFC 4790, RFC 5051 (collations). A filter is asked of the content lines of an
//! object, so it may speak of properties that the model does not know; only *when* is asked of the model.
//! Where it cannot be said whether a rule gives an occurrence in a range, the object is in: a client can
//! do without what it did not want, but not without what it was not told of.

use std::borrow::Cow;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::kept::{self, Kept, Times, Which};
use super::range::{self, TimeRange};
use crate::ical::{Component, Event, Property};

/// Most times that an alarm goes off again that are looked at.
const REPEATS_MAX: i32 = 100;

/// C:filter: what must be true of the VCALENDAR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub calendar: ComponentFilter,
}

/// C:comp-filter
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentFilter {
    pub name: String,
    pub test: ComponentTest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComponentTest {
    NotDefined,
    /// There is one of which all of it is true.
    Defined {
        range: Option<TimeRange>,
        properties: Vec<PropertyFilter>,
        components: Vec<ComponentFilter>,
    },
}

/// C:prop-filter
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertyFilter {
    pub name: String,
    pub test: PropertyTest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PropertyTest {
    NotDefined,
    Defined { value: Option<ValueTest>, parameters: Vec<ParameterFilter> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueTest {
    Range(TimeRange),
    Text(TextMatch),
}

/// C:param-filter
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterFilter {
    pub name: String,
    pub test: ParameterTest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParameterTest {
    NotDefined,
    Defined,
    Text(TextMatch),
}

/// C:text-match
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextMatch {
    pub text: String,
    pub collation: Collation,
    pub kind: MatchKind,
    /// `negate-condition="yes"`
    pub negated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collation {
    AsciiCasemap,
    Octet,
    UnicodeCasemap,
}

/// RFC 4791 knows the first alone; the others are `match-type` of RFC 6352 §10.5.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchKind {
    Contains,
    Equals,
    StartsWith,
    EndsWith,
}

impl Filter {
    /// Whether an object is meant. `floating` is the zone of days and of times without one.
    pub fn matches(&self, kept: &Kept, floating: &TimeZone) -> bool {
        let Ok(calendar) = kept.calendar() else { return false };
        let scope = Scope { kept, floating, which: None };
        component_matches(&self.calendar, &[&calendar], &scope)
    }

    /// The range in which a VEVENT must take place, if the filter wants one: what an index of
    /// [`kept::occupied`] may be asked first.
    pub fn event_range(&self) -> Option<TimeRange> {
        let ComponentTest::Defined { components, .. } = &self.calendar.test else { return None };
        components.iter().filter(|filter| filter.name.eq_ignore_ascii_case("VEVENT")).find_map(
            |filter| match &filter.test {
                ComponentTest::Defined { range, .. } => *range,
                ComponentTest::NotDefined => None,
            },
        )
    }
}

/// Where in an object a filter is asked.
struct Scope<'k> {
    kept: &'k Kept,
    floating: &'k TimeZone,
    /// The VEVENT that it is within.
    which: Option<Which>,
}

/// Whether one of these components, all that the scope has, is meant. Not deeper than the filter was
/// nested: [`super::xml::NESTING_MAX`].
fn component_matches(
    filter: &ComponentFilter,
    within: &[&Component<'_>],
    scope: &Scope<'_>,
) -> bool {
    let mut named = within.iter().filter(|component| component.is(&filter.name)).enumerate();
    let (range, properties, components) = match &filter.test {
        ComponentTest::NotDefined => return named.next().is_none(),
        ComponentTest::Defined { range, properties, components } => (range, properties, components),
    };
    named.any(|(at, component)| {
        let which = match component.is("VEVENT") {
            true => scope.kept.vevent(at),
            false => scope.which,
        };
        let scope = Scope { which, ..*scope };
        let parts: Vec<&Component<'_>> = component.components.iter().collect();
        properties.iter().all(|filter| property_matches(filter, component, &scope))
            && components.iter().all(|filter| component_matches(filter, &parts, &scope))
            && range.is_none_or(|range| takes_place(component, &range, &scope))
    })
}

/// RFC 4791 §9.9
fn takes_place(component: &Component<'_>, range: &TimeRange, scope: &Scope<'_>) -> bool {
    let Some(which) = scope.which else { return false };
    let event = scope.kept.event();
    if component.is("VEVENT") {
        return match kept::times(event, which, range, scope.floating) {
            Ok(times) => !times.is_empty(),
            Err(_) => may_take_place(event, range),
        };
    }
    component.is("VALARM") && goes_off(component, event, which, range, scope.floating)
}

/// Of what cannot be listed: whether it could be.
fn may_take_place(event: &Event, range: &TimeRange) -> bool {
    let occupied = kept::occupied(event);
    let begins = occupied.last.is_none_or(|last| range.from() <= last);
    begins && occupied.first.is_none_or(|first| range.to() > first)
}

/// Whether an alarm goes off in a range. RFC 5545 §3.8.6.3: at an instant, or some time from the start or
/// the end of each occurrence; and REPEAT times more.
fn goes_off(
    alarm: &Component<'_>,
    event: &Event,
    which: Which,
    range: &TimeRange,
    floating: &TimeZone,
) -> bool {
    let Some(trigger) = alarm.property("TRIGGER").map(|property| &property.line) else {
        return false;
    };
    let value = |name: &str| alarm.property(name).map(|property| property.line.value.trim());
    let repeats = value("REPEAT").and_then(|n| n.parse::<i32>().ok()).unwrap_or(0);
    let between = value("DURATION").and_then(range::duration);
    let (repeats, between) = match between {
        Some(between) => (repeats.clamp(0, REPEATS_MAX), between),
        None => (0, SignedDuration::ZERO),
    };
    let rings = |first: Timestamp| {
        (0..=repeats).any(|n| {
            let later = between.checked_mul(n).and_then(|later| first.checked_add(later).ok());
            later.is_some_and(|at| range.has(at))
        })
    };
    let Some(after) = range::duration(trigger.value.trim()) else {
        return range::instant(trigger.value.trim()).is_some_and(rings);
    };
    let from_end = trigger.has_param("RELATED", "END");
    // The occurrences whose alarm can go off in the range: from the earliest to the latest that it is off
    // from the start, and the length of one more where it is counted from the end.
    let furthest = between.checked_mul(repeats).and_then(|more| after.checked_add(more));
    let (least, most) =
        (after.min(furthest.unwrap_or(after)), after.max(furthest.unwrap_or(after)));
    let about = TimeRange {
        start: range.start.and_then(|start| start.checked_sub(most).ok()),
        end: range.end.and_then(|end| end.checked_sub(least).ok()),
    };
    // The ends of the occurrences are within it, or the starts: one that touches it at least.
    let about = TimeRange {
        start: about.start.and_then(|start| start.checked_sub(SignedDuration::from_secs(1)).ok()),
        end: about.end.and_then(|end| end.checked_add(SignedDuration::from_secs(1)).ok()),
    };
    match kept::times(event, which, &about, floating) {
        Ok(times) => times.iter().any(|Times { start, end }| {
            let counted_from = if from_end { end } else { start };
            counted_from.checked_add(after).is_ok_and(rings)
        }),
        Err(_) => true,
    }
}

fn property_matches(filter: &PropertyFilter, component: &Component<'_>, scope: &Scope<'_>) -> bool {
    let mut named = component.properties.iter().filter(|p| p.line.is(&filter.name));
    let (value, parameters) = match &filter.test {
        PropertyTest::NotDefined => return named.next().is_none(),
        PropertyTest::Defined { value, parameters } => (value, parameters),
    };
    // RFC 4791 §9.9: the end that DURATION gives is an end.
    if let Some(ValueTest::Range(range)) = value
        && filter.name.eq_ignore_ascii_case("DTEND")
        && component.property("DTEND").is_none()
    {
        return component.property("DURATION").is_some()
            && parameters.is_empty()
            && ends(component, scope).is_some_and(|end| range.has(end));
    }
    named.any(|property| {
        let fits = match value {
            None => true,
            Some(ValueTest::Text(text)) => text.matches(&unescaped(property.line.value)),
            Some(ValueTest::Range(range)) => {
                let at = instant_of(property, component, scope);
                at.is_some_and(|at| range.has(at))
            }
        };
        fits && parameters.iter().all(|filter| parameter_matches(filter, property))
    })
}

/// When a property says that something is. Start and end are asked of the model, which knows the zones.
fn instant_of(
    property: &Property<'_>,
    component: &Component<'_>,
    scope: &Scope<'_>,
) -> Option<Timestamp> {
    let line = &property.line;
    if component.is("VEVENT") && line.is("DTSTART") {
        let occurrence = occurrence(scope)?;
        return kept::at(&occurrence.start, scope.floating);
    }
    if component.is("VEVENT") && line.is("DTEND") {
        return ends(component, scope);
    }
    range::instant(line.value.trim())
}

fn ends(component: &Component<'_>, scope: &Scope<'_>) -> Option<Timestamp> {
    let occurrence = occurrence(scope).filter(|_| component.is("VEVENT"))?;
    kept::at(&occurrence.end, scope.floating)
}

fn occurrence<'k>(scope: &Scope<'k>) -> Option<&'k crate::ical::Occurrence> {
    let event = scope.kept.event();
    match scope.which? {
        Which::Master => event.master.as_ref(),
        Which::Override(at) => event.overrides.get(at).map(|change| &change.occurrence),
    }
}

fn parameter_matches(filter: &ParameterFilter, property: &Property<'_>) -> bool {
    let mut named =
        property.line.parameters().filter(|(n, _)| n.eq_ignore_ascii_case(&filter.name));
    match &filter.test {
        ParameterTest::NotDefined => named.next().is_none(),
        ParameterTest::Defined => named.next().is_some(),
        ParameterTest::Text(text) => named.any(|(_, value)| text.matches(&parameter_text(value))),
    }
}

impl TextMatch {
    fn matches(&self, value: &str) -> bool {
        let (value, text) = (self.collation.folded(value), self.collation.folded(&self.text));
        let matches = match self.kind {
            MatchKind::Contains => value.contains(&*text),
            MatchKind::Equals => value == text,
            MatchKind::StartsWith => value.starts_with(&*text),
            MatchKind::EndsWith => value.ends_with(&*text),
        };
        matches != self.negated
    }
}

impl Collation {
    /// RFC 4791 §7.5.1: what C:supported-collation-set lists.
    pub const ALL: [Collation; 3] =
        [Collation::AsciiCasemap, Collation::Octet, Collation::UnicodeCasemap];

    pub fn name(self) -> &'static str {
        match self {
            Collation::AsciiCasemap => "i;ascii-casemap",
            Collation::Octet => "i;octet",
            Collation::UnicodeCasemap => "i;unicode-casemap",
        }
    }

    /// RFC 4791 §7.5: `default` is the first. `None`: not supported.
    pub fn parse(name: &str) -> Option<Collation> {
        match name {
            "default" => Some(Collation::AsciiCasemap),
            _ => Collation::ALL.into_iter().find(|collation| collation.name() == name),
        }
    }

    /// What two texts that it takes for equal have in common.
    fn folded(self, text: &str) -> Cow<'_, str> {
        match self {
            Collation::Octet => Cow::Borrowed(text),
            Collation::AsciiCasemap => Cow::Owned(text.to_ascii_lowercase()),
            // RFC 5051 §2 would take letters apart from their accents as well, which matters to a text
            // that was typed in one form and is looked for in the other; calendars are typed in one.
            Collation::UnicodeCasemap => Cow::Owned(text.to_uppercase().to_lowercase()),
        }
    }
}

/// RFC 5545 §3.3.11: what the value of a TEXT stands for.
pub(super) fn unescaped(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n' | 'N') => text.push('\n'),
                Some(escaped) => text.push(escaped),
                None => text.push('\\'),
            },
            c => text.push(c),
        }
    }
    Cow::Owned(text)
}

/// A parameter's value without quotes, RFC 6868 undone.
fn parameter_text(value: &str) -> Cow<'_, str> {
    if !value.contains(['"', '^']) {
        return Cow::Borrowed(value);
    }
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars().filter(|c| *c != '"').peekable();
    while let Some(c) = chars.next() {
        let meant = match (c, chars.peek()) {
            ('^', Some('n')) => '\n',
            ('^', Some('^')) => '^',
            ('^', Some('\'')) => '"',
            _ => {
                text.push(c);
                continue;
            }
        };
        chars.next();
        text.push(meant);
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::range::instant;
    use super::*;

    fn kept(components: &str) -> Kept {
        let components = components.replace('\n', "\r\n");
        let text = format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{components}END:VCALENDAR\r\n");
        Kept::read(text.as_bytes()).unwrap()
    }

    fn event(lines: &str) -> Kept {
        kept(&format!("BEGIN:VEVENT\nUID:1\n{lines}\nEND:VEVENT\n"))
    }

    fn range(text: &str) -> TimeRange {
        let (start, end) = text.split_once('/').unwrap();
        TimeRange::new(instant(start), instant(end)).unwrap()
    }

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    /// A filter for a VEVENT.
    fn vevent(test: ComponentTest) -> Filter {
        let vevent = ComponentFilter { name: "VEVENT".to_owned(), test };
        let test =
            ComponentTest::Defined { range: None, properties: vec![], components: vec![vevent] };
        Filter { calendar: ComponentFilter { name: "VCALENDAR".to_owned(), test } }
    }

    fn within(text: &str) -> Filter {
        let range = Some(range(text));
        vevent(ComponentTest::Defined { range, properties: vec![], components: vec![] })
    }

    fn with(name: &str, test: PropertyTest) -> Filter {
        let properties = vec![PropertyFilter { name: name.to_owned(), test }];
        vevent(ComponentTest::Defined { range: None, properties, components: vec![] })
    }

    fn text(text: &str, collation: Collation, kind: MatchKind, negated: bool) -> TextMatch {
        TextMatch { text: text.to_owned(), collation, kind, negated }
    }

    fn contains(wanted: &str) -> TextMatch {
        text(wanted, Collation::AsciiCasemap, MatchKind::Contains, false)
    }

    fn value(name: &str, test: TextMatch) -> Filter {
        let value = Some(ValueTest::Text(test));
        with(name, PropertyTest::Defined { value, parameters: vec![] })
    }

    #[track_caller]
    fn check(filter: &Filter, object: &Kept, expected: bool) {
        assert_eq!(filter.matches(object, &berlin()), expected, "{filter:?}");
    }

    /// Lines of a VEVENT; ranges that it overlaps; ranges that it does not.
    #[track_caller]
    fn overlaps(lines: &str, those: &[&str], not: &[&str]) {
        let object = event(lines);
        those.iter().for_each(|range| check(&within(range), &object, true));
        not.iter().for_each(|range| check(&within(range), &object, false));
    }

    #[test]
    fn the_table_of_rfc_4791_9_9_is_followed() {
        // DTEND
        overlaps(
            "DTSTART:20261123T090000Z\nDTEND:20261123T100000Z",
            &[
                "20261123T080000Z/20261123T090001Z",
                "20261123T095959Z/20261123T110000Z",
                "20261123T091500Z/20261123T091600Z",
                "20261123T000000Z/",
                "/20261124T000000Z",
            ],
            &[
                "20261123T080000Z/20261123T090000Z",
                "20261123T100000Z/20261123T110000Z",
                "20261124T000000Z/",
                "/20261123T090000Z",
            ],
        );
        // DURATION
        overlaps(
            "DTSTART:20261123T090000Z\nDURATION:PT1H",
            &["20261123T095959Z/20261123T110000Z"],
            &["20261123T100000Z/20261123T110000Z"],
        );
        // No length: DURATION of nothing, no DTEND, and one that equals DTSTART.
        for no_length in ["DURATION:PT0S", "SUMMARY:x", "DTEND:20261123T090000Z"] {
            overlaps(
                &format!("DTSTART:20261123T090000Z\n{no_length}"),
                &["20261123T090000Z/20261123T100000Z", "20261123T080000Z/20261123T090001Z"],
                &["20261123T080000Z/20261123T090000Z", "20261123T090001Z/20261123T100000Z"],
            );
        }
        // A whole day, in the zone that is given: from 23:00Z to 23:00Z.
        overlaps(
            "DTSTART;VALUE=DATE:20261123",
            &["20261122T220000Z/20261122T230001Z", "20261123T225959Z/20261124T000000Z"],
            &["20261122T220000Z/20261122T230000Z", "20261123T230000Z/20261124T000000Z"],
        );
        // A floating time as well.
        overlaps(
            "DTSTART:20261123T090000\nDTEND:20261123T100000",
            &["20261123T080000Z/20261123T081000Z"],
            &["20261123T090000Z/20261123T091000Z"],
        );
    }

    #[test]
    fn every_occurrence_is_looked_at() {
        let weekly = "DTSTART;TZID=Europe/Berlin:20261005T090000\nDURATION:PT1H\n\
                      RRULE:FREQ=WEEKLY;COUNT=20\nEXDATE;TZID=Europe/Berlin:20261116T090000";
        overlaps(
            weekly,
            // Summer time, and the other.
            &["20261005T070000Z/20261005T073000Z", "20261123T080000Z/20261123T083000Z"],
            &[
                "20261123T070000Z/20261123T080000Z",
                "20261116T000000Z/20261117T000000Z",
                "20261124T000000Z/20261130T000000Z",
                "20280101T000000Z/",
            ],
        );
        // Years later, without looking at all that is before.
        let endless = "DTSTART:19700105T090000Z\nDURATION:PT1H\nRRULE:FREQ=WEEKLY";
        overlaps(
            endless,
            &["20261123T090000Z/20261123T100000Z"],
            &["20261124T000000Z/20261130T000000Z"],
        );
        // More than are listed: some are within.
        let daily = "DTSTART:20261123T090000Z\nRRULE:FREQ=DAILY";
        overlaps(daily, &["20261123T000000Z/20361123T000000Z", "20261123T000000Z/"], &[]);
        // What cannot be listed may be within, from its start to its end.
        let hourly = "DTSTART:20261123T090000Z\nRRULE:FREQ=HOURLY;UNTIL=20261124T090000Z";
        overlaps(
            hourly,
            &["20261123T200000Z/20261123T200001Z"],
            &["20261122T000000Z/20261123T090000Z", "20270101T000000Z/"],
        );
    }

    const MOVED: &str = "BEGIN:VEVENT\nUID:1\nDTSTART:20261123T090000Z\nDURATION:PT1H\n\
        RRULE:FREQ=DAILY;COUNT=3\nSUMMARY:Stand-up\nEND:VEVENT\n\
        BEGIN:VEVENT\nUID:1\nRECURRENCE-ID:20261124T090000Z\nDTSTART:20261224T090000Z\nDURATION:PT1H\n\
        SUMMARY:Christmas\nBEGIN:VALARM\nTRIGGER:-P1D\nEND:VALARM\nEND:VEVENT\n";

    #[test]
    fn a_moved_occurrence_is_where_it_was_moved_to() {
        let object = kept(MOVED);
        check(&within("20261224T000000Z/20261225T000000Z"), &object, true);
        check(&within("20261124T000000Z/20261125T000000Z"), &object, false);
        // All that is asked must be true of one component.
        let both = |summary: &str, at: &str| {
            let value = Some(ValueTest::Text(contains(summary)));
            let test = PropertyTest::Defined { value, parameters: vec![] };
            let properties = vec![PropertyFilter { name: "summary".to_owned(), test }];
            let range = Some(range(at));
            vevent(ComponentTest::Defined { range, properties, components: vec![] })
        };
        check(&both("christmas", "20261224T000000Z/20261225T000000Z"), &object, true);
        check(&both("stand-up", "20261224T000000Z/20261225T000000Z"), &object, false);
        check(&both("stand-up", "20261125T000000Z/20261126T000000Z"), &object, true);
    }

    fn alarm(test: ComponentTest) -> Filter {
        let alarm = ComponentFilter { name: "VALARM".to_owned(), test };
        vevent(ComponentTest::Defined { range: None, properties: vec![], components: vec![alarm] })
    }

    fn rings(at: &str) -> Filter {
        let range = Some(range(at));
        alarm(ComponentTest::Defined { range, properties: vec![], components: vec![] })
    }

    #[test]
    fn an_alarm_goes_off_when_its_trigger_says() {
        let of = |trigger: &str| {
            event(&format!(
                "DTSTART:20261123T090000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=5\nBEGIN:VALARM\n\
                 {trigger}\nEND:VALARM"
            ))
        };
        let before = of("TRIGGER:-PT15M");
        check(&rings("20261125T084500Z/20261125T084600Z"), &before, true);
        check(&rings("20261125T084600Z/20261125T093000Z"), &before, false);
        let days = of("TRIGGER:-P10D");
        check(&rings("20261113T090000Z/20261113T090001Z"), &days, true);
        check(&rings("20261123T090000Z/20261124T000000Z"), &days, false);
        let end = of("TRIGGER;RELATED=END:PT0S");
        check(&rings("20261124T100000Z/20261124T100001Z"), &end, true);
        check(&rings("20261124T090000Z/20261124T095959Z"), &end, false);
        let absolute = of("TRIGGER;VALUE=DATE-TIME:20261101T120000Z");
        check(&rings("20261101T120000Z/20261101T120001Z"), &absolute, true);
        check(&rings("20261123T000000Z/20261124T000000Z"), &absolute, false);
        let again = of("TRIGGER:-PT15M\nREPEAT:2\nDURATION:PT20M");
        check(&rings("20261127T092500Z/20261127T092600Z"), &again, true);
        check(&rings("20261127T092600Z/20261127T235900Z"), &again, false);
        let moved = kept(MOVED);
        check(&rings("20261223T090000Z/20261223T090001Z"), &moved, true);
        check(&rings("20261122T000000Z/20261128T000000Z"), &moved, false);
        let none = of("ACTION:DISPLAY");
        check(&rings("20261101T000000Z/"), &none, false);
    }

    #[test]
    fn what_is_not_there_can_be_asked_for() {
        let object = kept(MOVED);
        check(&alarm(ComponentTest::NotDefined), &object, true);
        let bare = event("DTSTART:20261123T090000Z\nBEGIN:VALARM\nTRIGGER:-PT5M\nEND:VALARM");
        check(&alarm(ComponentTest::NotDefined), &bare, false);
        check(&vevent(ComponentTest::NotDefined), &bare, false);
        check(&with("LOCATION", PropertyTest::NotDefined), &bare, true);
        check(&with("UID", PropertyTest::NotDefined), &bare, false);
        let mut todo = vevent(ComponentTest::NotDefined);
        if let ComponentTest::Defined { components, .. } = &mut todo.calendar.test {
            components[0].name = "VTODO".to_owned();
        }
        check(&todo, &bare, true);
    }

    #[test]
    fn any_property_and_parameter_can_be_asked_for() {
        let object = event(
            "DTSTART:20261123T090000Z\nSUMMARY:Caf\u{e9}\\, M\u{fc}nchen\nX-THING;X-P=1;x-q=\"a;b^'c^^n\":One\n  two\n\
             ATTENDEE;PARTSTAT=NEEDS-ACTION:mailto:a@contoso.example\nATTENDEE;PARTSTAT=ACCEPTED:mailto:b@contoso.example",
        );
        let exists = PropertyTest::Defined { value: None, parameters: vec![] };
        check(&with("x-thing", exists.clone()), &object, true);
        check(&with("X-OTHER", exists), &object, false);
        // Folded and escaped as it is.
        check(&value("X-THING", contains("one two")), &object, true);
        check(&value("SUMMARY", contains("caf\u{e9}, M")), &object, true);
        let parameter = |name: &str, test: ParameterTest, of: &str| {
            let parameters = vec![ParameterFilter { name: name.to_owned(), test }];
            let value = Some(ValueTest::Text(contains(of)));
            with("ATTENDEE", PropertyTest::Defined { value, parameters })
        };
        let needs = || ParameterTest::Text(contains("needs-action"));
        check(&parameter("partstat", needs(), "mailto:a@"), &object, true);
        // Both must be true of one property.
        check(&parameter("PARTSTAT", needs(), "mailto:b@"), &object, false);
        check(&parameter("PARTSTAT", ParameterTest::Defined, "b@"), &object, true);
        check(&parameter("PARTSTAT", ParameterTest::NotDefined, "b@"), &object, false);
        check(&parameter("ROLE", ParameterTest::NotDefined, "b@"), &object, true);
        let quoted = ParameterTest::Text(contains("a;b\"c^n"));
        let parameters = vec![ParameterFilter { name: "X-Q".to_owned(), test: quoted }];
        check(&with("X-THING", PropertyTest::Defined { value: None, parameters }), &object, true);
    }

    #[test]
    fn a_collation_says_which_letters_are_one() {
        let object = event("DTSTART:20261123T090000Z\nSUMMARY:\u{c4}pfel Stra\u{df}e");
        for (wanted, collation, kind, expected) in [
            ("PFEL", Collation::AsciiCasemap, MatchKind::Contains, true),
            ("\u{e4}pfel", Collation::AsciiCasemap, MatchKind::Contains, false),
            ("\u{e4}PFEL", Collation::UnicodeCasemap, MatchKind::StartsWith, true),
            ("STRASSE", Collation::UnicodeCasemap, MatchKind::EndsWith, true),
            ("pfel", Collation::Octet, MatchKind::Contains, true),
            ("PFEL", Collation::Octet, MatchKind::Contains, false),
            ("pfel", Collation::Octet, MatchKind::StartsWith, false),
            ("\u{c4}pfel Stra\u{df}e", Collation::Octet, MatchKind::Equals, true),
            ("", Collation::Octet, MatchKind::Contains, true),
        ] {
            check(&value("SUMMARY", text(wanted, collation, kind, false)), &object, expected);
            check(&value("SUMMARY", text(wanted, collation, kind, true)), &object, !expected);
        }
        // What is not there does not match, negated or not.
        let negated = text("x", Collation::Octet, MatchKind::Contains, true);
        check(&value("LOCATION", negated), &object, false);
    }

    #[test]
    fn a_date_of_a_property_can_be_within_a_range() {
        let at = |name: &str, at: &str| {
            let value = Some(ValueTest::Range(range(at)));
            with(name, PropertyTest::Defined { value, parameters: vec![] })
        };
        let object = event(
            "DTSTAMP:20261101T120000Z\nDTSTART;TZID=Europe/Berlin:20261123T090000\nDURATION:PT1H",
        );
        check(&at("DTSTAMP", "20261101T120000Z/20261101T120001Z"), &object, true);
        check(&at("DTSTAMP", "20261101T120001Z/20261201T000000Z"), &object, false);
        check(&at("DTSTART", "20261123T080000Z/20261123T080001Z"), &object, true);
        check(&at("DTEND", "20261123T090000Z/20261123T090001Z"), &object, true);
        check(&at("DTEND", "20261123T080000Z/20261123T090000Z"), &object, false);
        check(&at("CREATED", "20260101T000000Z/"), &object, false);
        let endless = event("DTSTART:20261123T090000Z");
        check(&at("DTEND", "20261123T090000Z/"), &endless, false);
    }

    #[test]
    fn the_range_for_an_index_is_the_one_of_the_event() {
        let at = "20261123T080000Z/20261123T090000Z";
        assert_eq!(within(at).event_range(), Some(range(at)));
        assert_eq!(rings(at).event_range(), None);
        assert_eq!(vevent(ComponentTest::NotDefined).event_range(), None);
    }

    fn nearly_an_event() -> impl Strategy<Value = String> {
        let lines = prop::sample::select(vec![
            "DTSTART:20261123T090000Z",
            "DTSTART;VALUE=DATE:20261123",
            "DTSTART;TZID=Europe/Berlin:20261123T090000",
            "DTEND:20261123T100000Z",
            "DURATION:PT1H",
            "DURATION:P1000000D",
            "RRULE:FREQ=DAILY",
            "RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
            "RRULE:FREQ=SECONDLY",
            "RRULE:FREQ=DAILY;COUNT=99999999",
            "RDATE:99991231T235959Z",
            "EXDATE:20261124T090000Z",
            "RECURRENCE-ID;RANGE=THISANDFUTURE:20261124T090000Z",
            "BEGIN:VALARM\nTRIGGER:-PT99999999S\nREPEAT:2147483647\nDURATION:P4294967295W\nEND:VALARM",
            "BEGIN:VALARM\nTRIGGER;RELATED=END:P9999W\nEND:VALARM",
            "END:VEVENT\nBEGIN:VEVENT\nUID:1\nRECURRENCE-ID:20261124T090000Z",
            "SUMMARY:x",
        ]);
        prop::collection::vec(lines, 0..8).prop_map(|lines| lines.join("\n"))
    }

    proptest! {
        #[test]
        fn any_object_that_is_read_is_answered_for(lines in nearly_an_event()) {
            let text = format!("BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:1\n{lines}\nEND:VEVENT\nEND:VCALENDAR\n");
            if let Ok(object) = Kept::read(text.as_bytes()) {
                for at in ["20261101T000000Z/20261201T000000Z", "/20261201T000000Z", "20261201T000000Z/"] {
                    let found = within(at).matches(&object, &berlin());
                    let _ = rings(at).matches(&object, &berlin());
                    // The index never hides what the filter finds.
                    let occupied = kept::occupied(object.event());
                    let (range, first, last) = (range(at), occupied.first, occupied.last);
                    let indexed = first.is_none_or(|first| range.to() > first || range.end.is_none())
                        && last.is_none_or(|last| range.from() <= last);
                    prop_assert!(indexed || !found, "{lines}: {occupied:?}");
                }
            }
        }
    }
}
