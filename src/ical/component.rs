//! A calendar object as components and content lines, each with the octets that it is. Pure.
//!
//! RFC 5545 §3.4, §3.6. For those who look at more than the model knows, and for those who write an
//! object anew but for a few lines. Nothing is decoded here: a value is what stands after the colon.

use std::ops::Range;

use super::unfold::{BYTE_ORDER_MARK, Line, unfold_placed};
use super::{Unreadable, caps};

/// The text of an object, and where its lines lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfolded {
    text: String,
    /// Of each line of the text, the octets with folds and line end.
    places: Vec<Range<usize>>,
}

/// A component: from its BEGIN to its END.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component<'x> {
    /// As given: compare with [`Component::is`].
    pub name: &'x str,
    /// All of it, the lines of BEGIN and END included.
    pub octets: Range<usize>,
    /// In order, without those of the components within.
    pub properties: Vec<Property<'x>>,
    pub components: Vec<Component<'x>>,
    /// The line of BEGIN.
    pub begin: Range<usize>,
    /// The line of END.
    pub end: Range<usize>,
}

/// A content line within a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property<'x> {
    pub line: Line<'x>,
    pub octets: Range<usize>,
}

impl Unfolded {
    pub fn of(octets: &[u8]) -> Unfolded {
        let mut places = Vec::new();
        let mut from = if octets.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let text = unfold_placed(octets, |to| {
            places.push(from..to);
            from = to;
        });
        places.push(from..octets.len());
        Unfolded { text, places }
    }

    /// The most ATTENDEE lines that one component has.
    pub fn attendees_max(&self) -> usize {
        let mut open = vec![0];
        let mut most = 0;
        for line in self.text.lines().filter_map(|line| Line::parse(line.trim_start())) {
            if line.is("BEGIN") {
                open.push(0);
            } else if line.is("END") {
                open.pop();
            } else if let Some(count) = open.last_mut().filter(|_| line.is("ATTENDEE")) {
                *count += 1;
                most = most.max(*count);
            }
        }
        most
    }

    /// The one VCALENDAR in it, under the limits that [`super::read()`] has.
    pub fn calendar(&self) -> Result<Component<'_>, Unreadable> {
        let lines = caps::numbered_lines(&self.text, &mut Vec::new())?;
        let mut open: Vec<Component<'_>> = Vec::new();
        for (number, line) in lines {
            let place = self.places.get(number).cloned().unwrap_or(0..0);
            if line.is("BEGIN") {
                open.push(Component {
                    name: line.value.trim(),
                    octets: place.clone(),
                    properties: Vec::new(),
                    components: Vec::new(),
                    begin: place.clone(),
                    end: place,
                });
            } else if line.is("END") {
                let Some(mut closed) = open.pop() else { continue };
                closed.octets.end = place.end;
                closed.end = place;
                match open.last_mut() {
                    Some(parent) => parent.components.push(closed),
                    None => return Ok(closed),
                }
            } else if let Some(open) = open.last_mut() {
                open.properties.push(Property { line, octets: place });
            }
        }
        // The lines were seen to close.
        Err(Unreadable::new("it holds no VCALENDAR"))
    }
}

impl<'x> Component<'x> {
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The first property of a name.
    pub fn property(&self, name: &str) -> Option<&Property<'x>> {
        self.properties.iter().find(|property| property.line.is(name))
    }

    /// Those of its components that have a name.
    pub fn named<'c>(&'c self, name: &'c str) -> impl Iterator<Item = &'c Component<'x>> {
        self.components.iter().filter(move |component| component.is(name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::unfold::unfold;
    use super::*;

    const OBJECT: &[u8] =
        b"\xef\xbb\xbfa warning of the script\r\nBEGIN:VCALENDAR\r\nVERSION:2.0\r\n\
        BEGIN:VEVENT\r\nSUMMARY:fol\r\n ded\r\nno line\r\nBEGIN:VALARM\nTRIGGER:-PT5M\nEND:VALARM\n\
        uid:1\r\nEND:vevent\r\nEND:VCALENDAR\r\nfooter\r\n";

    fn at(range: &Range<usize>) -> &'static str {
        std::str::from_utf8(&OBJECT[range.clone()]).unwrap()
    }

    #[test]
    fn every_component_and_line_knows_its_octets() {
        let unfolded = Unfolded::of(OBJECT);
        let calendar = unfolded.calendar().unwrap();
        assert!(at(&calendar.octets).starts_with("BEGIN:VCALENDAR\r\n"));
        assert!(at(&calendar.octets).ends_with("END:VCALENDAR\r\n"));
        let event = calendar.named("VEVENT").next().unwrap();
        assert_eq!((at(&event.begin), at(&event.end)), ("BEGIN:VEVENT\r\n", "END:vevent\r\n"));
        let lines: Vec<&str> = event.properties.iter().map(|p| at(&p.octets)).collect();
        assert_eq!(lines, ["SUMMARY:fol\r\n ded\r\n", "uid:1\r\n"]);
        assert_eq!(event.property("summary").unwrap().line.value, "folded");
        assert_eq!(at(&event.components[0].octets), "BEGIN:VALARM\nTRIGGER:-PT5M\nEND:VALARM\n");
    }

    proptest! {
        /// The lines are all the octets, and each is what the whole text says it is.
        #[test]
        fn the_places_of_the_lines_are_the_whole(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "\r\n", "\n", "\r", "\r\r\n", " ", "\t", "A:1", "=", "\u{e4}",
                    "X;ENCODING=QUOTED-PRINTABLE:a=", "\u{feff}",
                ]),
                0..30,
            ),
        ) {
            let octets = pieces.concat().into_bytes();
            let unfolded = Unfolded::of(&octets);
            let lines: Vec<&str> = unfolded.text.split('\n').collect();
            prop_assert_eq!(lines.len(), unfolded.places.len());
            let mut end = unfolded.places[0].start;
            for (line, place) in lines.iter().zip(&unfolded.places) {
                prop_assert_eq!(place.start, end);
                end = place.end;
                // A mark or a fold at the front is only one where the whole begins.
                let alone = unfold(&octets[place.clone()]);
                if !line.starts_with(['\u{feff}', ' ', '\t']) {
                    prop_assert_eq!(alone.strip_suffix('\n').unwrap_or(&alone), *line);
                }
            }
            prop_assert_eq!(end, octets.len());
        }
    }
}
