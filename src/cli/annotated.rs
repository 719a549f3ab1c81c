//! The annotated configuration, read line by line: its keys with their sections, defaults and meanings,
//! and the same text with other values in place. Pure.
//!
//! `config/postbridge.toml` is the one place where a key is described; the reference, the manual page and
//! `postbridge config show` are all made from it.

use std::fmt::Write;

use toml::{Table, Value};

/// The annotated example, which states the defaults.
pub const TEXT: &str = include_str!("../../config/postbridge.toml");

/// The section of single accounts, whose name holds the address.
const ACCOUNT: &str = "account";

/// One setting, as the annotated text describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key<'t> {
    /// `smtp.limits`; empty above the first section.
    pub section: String,
    pub name: &'t str,
    /// In TOML's words: the default, or an example of a key that has none.
    pub value: &'t str,
    pub has_default: bool,
    /// The comment above it; empty for those that share the comment of the key before.
    pub meaning: String,
}

/// What is said about the whole file or a section, and its keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Section<'t> {
    pub name: String,
    pub about: String,
    pub keys: Vec<Key<'t>>,
}

/// A line, as far as it matters here. `on`: it is no example that was commented out.
enum Line<'t> {
    Comment(&'t str),
    Section(&'t str),
    Setting { name: &'t str, value: &'t str, on: bool },
    Empty,
}

fn read(line: &str) -> Line<'_> {
    let (text, on) = match line.strip_prefix("#: ") {
        Some(example) => (example, false),
        None => (line, true),
    };
    if let (true, Some(comment)) = (on, text.strip_prefix('#')) {
        return Line::Comment(comment.trim());
    }
    if let Some(name) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return Line::Section(name);
    }
    match text.split_once(" = ") {
        Some((name, value)) => Line::Setting { name, value, on },
        None => Line::Empty,
    }
}

/// `account."adele.vance@contoso.example"` is `account."ADDRESS"` to a reader.
fn general(name: &str) -> String {
    if name.starts_with("account.") { "account.\"ADDRESS\"".to_owned() } else { name.to_owned() }
}

/// The sections with their keys, in the order of the text.
pub fn sections(text: &str) -> Vec<Section<'_>> {
    let mut sections = vec![Section::default()];
    let mut comment = String::new();
    for line in text.lines() {
        match read(line) {
            Line::Comment(words) => {
                comment += if comment.is_empty() { "" } else { "\n" };
                comment += words;
            }
            Line::Section(name) => {
                let about = std::mem::take(&mut comment);
                sections.push(Section { name: general(name), about, keys: Vec::new() });
            }
            Line::Setting { name, value, on } => {
                let Some(section) = sections.last_mut() else { continue };
                let meaning = std::mem::take(&mut comment);
                let of = section.name.clone();
                section.keys.push(Key { section: of, name, value, has_default: on, meaning });
            }
            // What stands alone above the first section speaks of the file.
            Line::Empty => match sections.as_mut_slice() {
                [file] if file.about.is_empty() => file.about = std::mem::take(&mut comment),
                _ => {}
            },
        }
    }
    sections
}

impl Key<'_> {
    /// TOML's name of what it holds.
    pub fn kind(&self) -> &'static str {
        let value = format!("it = {}", self.value).parse::<Table>().ok();
        match value.as_ref().and_then(|table| table.get("it")) {
            Some(Value::Integer(_)) => "integer",
            Some(Value::Float(_)) => "number",
            Some(Value::Boolean(_)) => "boolean",
            Some(Value::Array(_)) => "array of strings",
            _ => "string",
        }
    }
}

/// The annotated text with these values in place of its own. What is not given stays as it is: a default,
/// or an example that is commented out. Each account gets the account section, with its own settings.
pub fn filled_in(text: &str, given: &Table) -> String {
    let mut out = String::new();
    let mut path: Vec<String> = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        match read(line) {
            Line::Section(name) if name.starts_with("account.") => {
                let mut template = vec![line];
                while let Some(line) = lines.next_if(|line| !is_section(line)) {
                    template.push(line);
                }
                accounts(&mut out, &template, given);
            }
            Line::Section(name) => {
                path = name.split('.').map(str::to_owned).collect();
                let used = table_at(given, &path).is_some_and(|table| !table.is_empty());
                let _ =
                    writeln!(out, "{}", if used { format!("[{name}]") } else { line.to_owned() });
            }
            Line::Setting { name, .. } => {
                setting(&mut out, line, name, table_at(given, &path));
            }
            Line::Comment(_) | Line::Empty => {
                let _ = writeln!(out, "{line}");
            }
        }
    }
    out
}

fn is_section(line: &str) -> bool {
    matches!(read(line), Line::Section(_))
}

fn table_at<'t>(given: &'t Table, path: &[String]) -> Option<&'t Table> {
    path.iter().try_fold(given, |table, name| table.get(name)?.as_table())
}

/// One line of a setting: as given, or as it stood.
fn setting(out: &mut String, line: &str, name: &str, table: Option<&Table>) {
    let _ = match table.and_then(|table| table.get(name)) {
        Some(value) => writeln!(out, "{name} = {}", shown(line, value)),
        None => writeln!(out, "{line}"),
    };
}

/// A value in TOML's words; as the text spells it, where that is the same.
fn shown(line: &str, value: &Value) -> String {
    if let Line::Setting { value: spelt, .. } = read(line)
        && let Ok(table) = format!("it = {spelt}").parse::<Table>()
        && table.get("it") == Some(value)
    {
        return spelt.to_owned();
    }
    value.to_string()
}

/// The section of each account; as it stands where there is none.
fn accounts(out: &mut String, template: &[&str], given: &Table) {
    let accounts = given.get(ACCOUNT).and_then(Value::as_table);
    let Some(accounts) = accounts.filter(|accounts| !accounts.is_empty()) else {
        for line in template {
            let _ = writeln!(out, "{line}");
        }
        return;
    };
    for (address, own) in accounts {
        let address = Value::String(address.clone());
        let _ = writeln!(out, "[account.{address}]");
        for line in template.iter().skip(1) {
            match read(line) {
                Line::Setting { name, .. } => setting(out, line, name, own.as_table()),
                _ => {
                    let _ = writeln!(out, "{line}");
                }
            }
        }
    }
}

/// `docs/configuration.md`.
pub fn reference(text: &str) -> String {
    let mut out = String::from(
        "# Configuration\n\n\
         Made from [`config/postbridge.toml`](../config/postbridge.toml) by `postbridge config reference`; \
         change it there.\n",
    );
    for section in sections(text) {
        if !section.name.is_empty() {
            let _ = write!(out, "\n## `[{}]`\n", section.name);
        }
        if !section.about.is_empty() {
            let _ = write!(out, "\n{}\n", paragraph(&section.about));
        }
        if section.keys.is_empty() {
            continue;
        }
        out += "\n| key | type | default | meaning |\n|---|---|---|---|\n";
        let mut last = "";
        for key in &section.keys {
            let default = match key.has_default {
                true => format!("`{}`", key.value),
                false => format!("none; such as `{}`", key.value),
            };
            let meaning = if key.meaning.is_empty() {
                format!("See `{last}`.")
            } else {
                last = key.name;
                cell(&paragraph(&key.meaning))
            };
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {meaning} |",
                key.name,
                key.kind(),
                cell(&default)
            );
        }
    }
    out
}

/// Lines that were broken for a file of a certain width, joined; an empty one stays.
pub fn paragraph(comment: &str) -> String {
    let paragraphs: Vec<String> =
        comment.split("\n\n").map(|lines| lines.replace('\n', " ")).collect();
    paragraphs.join("\n\n")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace("\n\n", " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_annotated_text_is_described() {
        // Those after the first of a section may share a comment.
        for section in sections(TEXT) {
            let first = section.keys.first();
            assert!(first.is_none_or(|key| !key.meaning.is_empty()), "{first:?}");
        }
    }

    #[test]
    fn types_are_told_from_the_values() {
        let of = |wanted: &str| {
            let all: Vec<Key<'_>> = sections(TEXT).into_iter().flat_map(|s| s.keys).collect();
            all.into_iter().find(|key| key.name == wanted).unwrap()
        };
        let kinds = ["starttls", "message_octets_max", "quiet_seconds", "make_calendars", "wait"];
        assert_eq!(
            kinds.map(|name| of(name).kind()),
            ["array of strings", "integer", "number", "boolean", "string"]
        );
        assert_eq!(of("send_as").section, "account.\"ADDRESS\"");
        assert!(!of("hostname").has_default && of("clear").has_default);
    }

    #[test]
    fn nothing_given_leaves_the_text_as_it_is() {
        assert_eq!(filled_in(TEXT, &Table::new()), TEXT);
    }

    #[test]
    fn what_is_given_takes_the_place_of_default_and_example() {
        let given = "state_dir = \"/srv/x\"\n[smtp]\nclear = [\"127.0.0.1:25\"]\nhostname = \"m\"\n\
            [smtp.limits]\nrecipients = 7\nauth_octets = 12288\n[entra]\nclient_id = \"c\"\n\
            [account.\"b@contoso.example\"]\nsend_as = []\n\
            [account.\"a@contoso.example\"]\nonline_meetings = true\n";
        let given: Table = given.parse().unwrap();
        let text = filled_in(TEXT, &given);
        for line in [
            "state_dir = \"/srv/x\"",
            "clear = [\"127.0.0.1:25\"]",
            "hostname = \"m\"",
            "recipients = 7",
            // The same number is spelt as before.
            "auth_octets = 12_288",
            "[entra]",
            "client_id = \"c\"",
            "#: tenant = \"contoso.example\"",
            "[account.\"a@contoso.example\"]",
            "online_meetings = true",
            "[account.\"b@contoso.example\"]",
            "send_as = []",
        ] {
            assert!(text.lines().any(|own| own == line), "{line} is not in {text}");
        }
        let read: Table = text.parse().unwrap();
        assert_eq!(read.get("account"), given.get("account"));
    }
}
