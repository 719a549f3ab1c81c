//! Dialogues over HTTP: requests, and what is expected of each answer. `tests/data/caldav/README.md` tells
//! how to write one.

use std::collections::BTreeMap;
use std::path::Path;

use postbridge::caldav::xml::{self, Content, Element, Namespace};

use crate::common::http::Answer;

/// One request and what is expected of its answer.
#[derive(Debug, Default)]
pub struct Exchange {
    /// Where it begins in the file.
    pub line: usize,
    pub request: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub expected: Vec<Expected>,
}

#[derive(Debug)]
pub enum Expected {
    Status(u16),
    /// A header's pattern, `*` at its end for anything; `{name}`: it is kept under that name.
    Header(String, String),
    NoHeader(String),
    /// It is in the body.
    Holds(String),
    HoldsNot(String),
}

impl Exchange {
    pub fn method(&self) -> &str {
        self.request.split(' ').next().unwrap()
    }
}

/// Reads a dialogue; `C: < file` puts a file of the directory in, with `from=>to` replaced.
pub fn read(text: &str, directory: &Path) -> Vec<Exchange> {
    let mut exchanges: Vec<Exchange> = Vec::new();
    let mut in_body = false;
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        let place = || format!("line {number}: {line:?}");
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (mark, rest) = line.split_at_checked(2).unwrap_or_else(|| panic!("{}", place()));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        match mark {
            "C:" => {
                if exchanges.last().is_none_or(|last| !last.expected.is_empty()) {
                    in_body = false;
                    exchanges.push(Exchange {
                        line: number,
                        request: rest.to_owned(),
                        ..Exchange::default()
                    });
                    continue;
                }
                let exchange = exchanges.last_mut().unwrap();
                if let Some(file) = rest.strip_prefix("< ") {
                    exchange.body.extend(included(file, directory));
                } else if in_body {
                    exchange.body.extend_from_slice(format!("{rest}\r\n").as_bytes());
                } else if rest.is_empty() {
                    in_body = true;
                } else if let Some(name) = rest.strip_prefix('!') {
                    exchange.headers.push((format!("!{name}"), String::new()));
                } else {
                    let (name, value) =
                        rest.split_once(':').unwrap_or_else(|| panic!("{}", place()));
                    exchange.headers.push((name.to_owned(), value.trim().to_owned()));
                }
            }
            "S:" => {
                let exchange = exchanges.last_mut().unwrap_or_else(|| panic!("{}", place()));
                exchange.expected.push(if let Some(held) = rest.strip_prefix("| ") {
                    Expected::Holds(held.to_owned())
                } else if let Some(held) = rest.strip_prefix("! ") {
                    Expected::HoldsNot(held.to_owned())
                } else if let Some(name) = rest.strip_prefix('!') {
                    Expected::NoHeader(name.to_owned())
                } else if let Ok(status) = rest.parse() {
                    Expected::Status(status)
                } else {
                    let (name, pattern) =
                        rest.split_once(": ").unwrap_or_else(|| panic!("{}", place()));
                    Expected::Header(name.to_owned(), pattern.to_owned())
                });
            }
            _ => panic!("{}", place()),
        }
    }
    exchanges
}

fn included(file: &str, directory: &Path) -> Vec<u8> {
    let (name, changes) = file.split_once(' ').unwrap_or((file, ""));
    let mut text = std::fs::read_to_string(directory.join(name)).unwrap().replace('\n', "\r\n");
    for change in changes.split(" & ").filter(|change| !change.is_empty()) {
        let (from, to) = change.split_once("=>").unwrap();
        let changed = text.replace(from, &to.replace("\\n", "\r\n"));
        assert_ne!(changed, text, "{name} has no {from:?}");
        text = changed;
    }
    text.into_bytes()
}

/// Puts in what is known by a name.
pub fn filled(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut filled = text.to_owned();
    for (name, value) in known {
        filled = filled.replace(&format!("{{{name}}}"), value);
    }
    filled
}

impl Exchange {
    /// Compares an answer with what is expected, and keeps what is to be known of it.
    pub fn compare(
        &self,
        answer: &Answer,
        known: &mut BTreeMap<String, String>,
    ) -> Result<(), String> {
        let body = canonical(answer);
        for expected in &self.expected {
            match expected {
                Expected::Status(status) if answer.status != *status => {
                    return Err(format!("{status} was expected"));
                }
                Expected::Status(_) => {}
                Expected::NoHeader(name) => {
                    if let Some(value) = answer.header(name) {
                        return Err(format!("no {name} was expected, but it is {value}"));
                    }
                }
                Expected::Header(name, pattern) => {
                    let value = answer.header(name).ok_or(format!("there is no {name}"))?;
                    let new = pattern.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
                    if let Some(new) = new.filter(|new| !known.contains_key(*new)) {
                        known.insert(new.to_owned(), value.to_owned());
                        continue;
                    }
                    let pattern = filled(pattern, known);
                    let fits = match pattern.strip_suffix('*') {
                        Some(start) => value.starts_with(start),
                        None => *value == pattern,
                    };
                    if !fits {
                        return Err(format!("{name}: {pattern} was expected, but it is {value}"));
                    }
                }
                Expected::Holds(held) => {
                    let held = filled(held, known);
                    if let Some((before, name)) = held.split_once("{=") {
                        let (name, after) = name.split_once('}').unwrap();
                        let found =
                            body.split_once(before).and_then(|(_, rest)| rest.split_once(after));
                        let (value, _) = found.ok_or(format!("{before}…{after} was expected"))?;
                        known.insert(name.to_owned(), value.to_owned());
                    } else if !body.contains(&held) {
                        return Err(format!("{held} was expected"));
                    }
                }
                Expected::HoldsNot(held) => {
                    let held = filled(held, known);
                    if body.contains(&held) {
                        return Err(format!("{held} was not expected"));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The body; XML with prefixes of our own and without white space between elements.
pub fn canonical(answer: &Answer) -> String {
    let is_xml =
        answer.header("content-type").is_some_and(|kind| kind.starts_with("application/xml"));
    if !is_xml {
        return answer.text().replace("\r\n", "\n");
    }
    let mut text = String::new();
    write(&mut text, &xml::read(&answer.body, answer.body.len()).unwrap());
    text
}

fn write(text: &mut String, element: &Element) {
    let prefix = match element.name.namespace() {
        Namespace::Dav => "D:".to_owned(),
        Namespace::CalDav => "C:".to_owned(),
        Namespace::CalendarServer => "CS:".to_owned(),
        Namespace::Apple => "A:".to_owned(),
        other => format!("{{{}}}", other.uri()),
    };
    let name = format!("{prefix}{}", element.name.local());
    text.push_str(&format!("<{name}"));
    for (attribute, value) in &element.attributes {
        text.push_str(&format!(" {}=\"{value}\"", attribute.local()));
    }
    if element.content.is_empty() {
        text.push_str("/>");
        return;
    }
    text.push('>');
    for content in &element.content {
        match content {
            Content::Element(child) => write(text, child),
            Content::Text(words) if words.trim().is_empty() => {}
            Content::Text(words) => text.push_str(&words.replace("\r\n", "\n")),
        }
    }
    text.push_str(&format!("</{name}>"));
}
