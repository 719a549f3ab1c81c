//! How much of a calendar object is read, and whether its components close. Pure.
//!
//! These limits are checked on content lines, before anything is parsed, so that what is parsed is
//! small and well nested. Each has a reason in words; nothing here may look at a value's meaning.

use super::Unreadable;
use super::unfold::Line;

/// Largest object, in octets.
pub const OCTETS_MAX: usize = 1024 * 1024;
/// Deepest nesting, VCALENDAR included.
pub const NESTING_MAX: usize = 16;
/// Most components in an object, VCALENDAR included.
pub const COMPONENTS_MAX: usize = 500;
/// Most ATTENDEE properties in one component: what Graph takes (resources/event).
pub const ATTENDEES_MAX: usize = 500;
/// Longest content line but for ATTACH, in octets.
pub const LINE_OCTETS_MAX: usize = 64 * 1024;
/// Most zones that one object defines, and most that it names.
pub const ZONES_MAX: usize = 32;
/// Most CATEGORIES that are kept of one component.
pub const CATEGORIES_MAX: usize = 100;
/// Most ATTACH properties in one component.
pub const ATTACHMENTS_MAX: usize = 100;
/// What is said about an object beside its answer; the rest is not worth a line.
pub const NOTES_MAX: usize = 20;

/// The lines of the one VCALENDAR in a text, BEGIN and END included. What stands before and after it
/// is no part of it.
///
/// A line that is no content line is left out, and `notes` says so.
pub fn lines<'x>(text: &'x str, notes: &mut Vec<String>) -> Result<Vec<Line<'x>>, Unreadable> {
    Ok(numbered_lines(text, notes)?.into_iter().map(|(_, line)| line).collect())
}

/// The same, each with its number in the text, from 0.
pub fn numbered_lines<'x>(
    text: &'x str,
    notes: &mut Vec<String>,
) -> Result<Vec<(usize, Line<'x>)>, Unreadable> {
    let mut open: Vec<Open<'x>> = Vec::new();
    let mut lines = Vec::new();
    let mut components = 0;
    let mut zones = 0;
    let mut done = false;
    for (at, text) in text.lines().enumerate() {
        let line = Line::parse(text.trim_start());
        let begins = line.filter(|line| line.is("BEGIN"));
        if open.is_empty() {
            // Quirk(hand-made, mailing lists): a warning of the script before, a footer after.
            match begins {
                Some(line) if line.value.trim().eq_ignore_ascii_case("VCALENDAR") => {
                    if done {
                        return Err(Unreadable::new("it holds more than one VCALENDAR"));
                    }
                }
                _ => continue,
            }
        }
        let Some(line) = line else {
            if !text.trim().is_empty() && notes.len() < NOTES_MAX {
                notes.push(format!("line {} is no content line and was left out", at + 1));
            }
            continue;
        };
        if text.len() > LINE_OCTETS_MAX && !line.is("ATTACH") {
            let name = line.name.get(..40).unwrap_or(line.name);
            return Err(Unreadable::new(format!("{name} is longer than {LINE_OCTETS_MAX} octets")));
        }
        if begins.is_some() {
            components += 1;
            zones += usize::from(line.value.trim().eq_ignore_ascii_case("VTIMEZONE"));
            open.push(Open { name: line.value.trim(), attendees: 0, attachments: 0 });
            if open.len() > NESTING_MAX {
                return Err(Unreadable::new(format!("it nests deeper than {NESTING_MAX}")));
            }
            if components > COMPONENTS_MAX {
                return Err(Unreadable::new(format!("more than {COMPONENTS_MAX} components")));
            }
            if zones > ZONES_MAX {
                return Err(Unreadable::new(format!("it defines more than {ZONES_MAX} zones")));
            }
        } else if line.is("END") {
            let closed = open.pop().map_or("", |open| open.name);
            if !closed.eq_ignore_ascii_case(line.value.trim()) {
                return Err(Unreadable::new(format!(
                    "a component {} ends as another",
                    shown(closed)
                )));
            }
            done = open.is_empty();
        } else if let Some(open) = open.last_mut() {
            open.attendees += usize::from(line.is("ATTENDEE"));
            open.attachments += usize::from(line.is("ATTACH"));
            if open.attendees > ATTENDEES_MAX {
                return Err(Unreadable::new(format!("more than {ATTENDEES_MAX} attendees")));
            }
            if open.attachments > ATTACHMENTS_MAX {
                return Err(Unreadable::new(format!("more than {ATTACHMENTS_MAX} attachments")));
            }
        }
        lines.push((at, line));
    }
    match open.last() {
        Some(open) => Err(Unreadable::new(format!("it ends within {}", shown(open.name)))),
        None if !done => Err(Unreadable::new("it holds no VCALENDAR")),
        None => Ok(lines),
    }
}

struct Open<'x> {
    name: &'x str,
    attendees: usize,
    attachments: usize,
}

/// Text from outside as it may stand in a reason: short, one line, and nothing that changes how the
/// rest of the line is shown.
pub fn shown(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().take(80).map(|c| if c.is_control() || turns(c) { '?' } else { c }).collect()
}
