//! Scenario files: mails in, and what came of each. `tests/data/invite/README.md` tells how to write
//! one.
//!
//! Here is the format alone: reading a file, writing it, and the mails that its steps stand for.
//! Nothing here runs anything.

use std::fmt::Write as _;

use jiff::{Timestamp, ToSpan};

/// A file. Its head is TOML: settings of the account, and comments that say what it shows.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub head: String,
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone)]
pub struct Step {
    /// The line that begins it, without `== `.
    pub title: String,
    /// What stands below the title, verbatim.
    pub body: String,
    /// The sections of the file, or what came of the step; in the order of [`SECTIONS`].
    pub outcome: Vec<(&'static str, Vec<String>)>,
}

/// What a step does.
#[derive(Debug, PartialEq)]
pub enum Act {
    Mail {
        from: String,
        to: Vec<String>,
        octets: String,
    },
    /// Somebody deletes the organizer's events in the calendar.
    Delete,
}

pub const DECISION: &str = "decision";
pub const CALLS: &str = "calls";
pub const INVITED: &str = "invited";
pub const MAILED: &str = "mailed";
pub const CALENDAR: &str = "calendar";
pub const SECTIONS: [&str; 5] = [DECISION, CALLS, INVITED, MAILED, CALENDAR];

impl Scenario {
    pub fn read(text: &str) -> Result<Scenario, String> {
        let mut scenario = Scenario { head: String::new(), steps: Vec::new() };
        for (n, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if let Some(title) = line.strip_prefix("== ") {
                let (title, body) = (title.to_owned(), String::new());
                scenario.steps.push(Step { title, body, outcome: Vec::new() });
                continue;
            }
            let Some(step) = scenario.steps.last_mut() else {
                writeln!(scenario.head, "{line}").unwrap();
                continue;
            };
            let section = SECTIONS.iter().find(|name| line.strip_prefix("-- ") == Some(name));
            if let Some(name) = section {
                if step.outcome.iter().any(|(known, _)| known == name) {
                    return Err(format!("line {}: a second section {name:?}", n + 1));
                }
                step.outcome.push((name, Vec::new()));
                continue;
            }
            if line.starts_with("-- ") && !step.title.starts_with("mail ") {
                return Err(format!("line {}: no section is called so: {line}", n + 1));
            }
            match step.outcome.last_mut() {
                None => writeln!(step.body, "{line}").unwrap(),
                Some(_) if line.is_empty() => {}
                Some((_, lines)) => lines.push(line.to_owned()),
            }
        }
        for step in &mut scenario.steps {
            step.body = format!("{}\n", step.body.trim_end());
            step.outcome.sort_by_key(|(name, _)| SECTIONS.iter().position(|known| known == name));
        }
        match scenario.steps.is_empty() {
            true => Err("it has no step; one begins with `== REQUEST to …`".to_owned()),
            false => Ok(scenario),
        }
    }

    pub fn write(&self) -> String {
        let mut text = format!("{}\n", self.head.trim());
        for Step { title, body, outcome } in &self.steps {
            write!(text, "\n== {title}\n{}", body.trim_start_matches('\n')).unwrap();
            for (name, lines) in outcome {
                writeln!(text, "-- {name}").unwrap();
                lines.iter().for_each(|line| writeln!(text, "{line}").unwrap());
            }
        }
        text
    }
}

impl Step {
    /// The sections that this outcome is compared in: those of the file. Mails are never passed over
    /// in silence, and a step without any section is to be filled in.
    pub fn with_outcome(&self, outcome: Vec<(&'static str, Vec<String>)>) -> Step {
        let outcome = outcome.into_iter().filter(|(name, lines)| {
            let asked = self.outcome.iter().any(|(known, _)| known == name);
            let mails = *name == INVITED || *name == MAILED;
            asked || (self.outcome.is_empty() || mails) && !(mails && lines.is_empty())
        });
        Step { outcome: outcome.collect(), ..self.clone() }
    }

    /// `REQUEST to kim@…, lee@…`, `REPLY from alex@… to adele@…`, `mail to …`, `deleted by hand`.
    /// `number` counts the steps; `user` is who writes where nobody else is named.
    pub fn act(&self, number: usize, user: &str) -> Result<Act, String> {
        if self.title == "deleted by hand" {
            return Ok(Act::Delete);
        }
        let no = || format!("a step is not called {:?}", self.title);
        let (head, to) = self.title.split_once(" to ").ok_or_else(no)?;
        let (kind, from) = head.split_once(" from ").unwrap_or((head, user));
        let to: Vec<String> = to.split(',').map(|address| address.trim().to_owned()).collect();
        let octets = match kind {
            "mail" => self.body.clone(),
            method if method.bytes().all(|b| b.is_ascii_uppercase()) => {
                imip(method, from, &to, &self.body, number)
            }
            _ => return Err(no()),
        };
        Ok(Act::Mail { from: from.to_owned(), to, octets })
    }
}

/// The mail that carries an object (RFC 6047). `body` is the properties of one VEVENT, or components.
fn imip(method: &str, from: &str, to: &[String], body: &str, number: usize) -> String {
    let components = match body.starts_with("BEGIN:") {
        true => body.to_owned(),
        false => format!("BEGIN:VEVENT\n{body}END:VEVENT\n"),
    };
    // Each mail is an hour later than the one before.
    let written = "2026-11-23T08:00:00Z".parse::<Timestamp>().unwrap()
        + i64::try_from(number).unwrap().hours();
    let stamp = format!("DTSTAMP:{}\n", written.strftime("%Y%m%dT%H%M%SZ"));
    let events = components.split_inclusive("BEGIN:VEVENT\n").map(|text| {
        let properties = text.split_once("END:VEVENT").map(|(properties, _)| properties);
        let bare = properties.is_some_and(|all| !all.lines().any(|p| p.starts_with("DTSTAMP")));
        if bare { format!("{stamp}{text}") } else { text.to_owned() }
    });
    let summary = components.lines().find_map(|line| line.strip_prefix("SUMMARY:"));
    format!(
        "From: {from}\nTo: {}\nSubject: {}\nMessage-ID: <step-{number}@contoso.example>\nMIME-Version: 1.0\n\
         Content-Type: multipart/alternative; boundary=b\n\n\
         --b\nContent-Type: text/plain; charset=utf-8\n\nYou are invited.\n\
         --b\nContent-Type: text/calendar; method={method}; charset=utf-8\n\n\
         BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//Example/ExampleCalendarClient//EN\nMETHOD:{method}\n\
         {}END:VCALENDAR\n--b--\n",
        to.join(", "),
        summary.unwrap_or(method),
        events.collect::<String>(),
    )
}

/// The lines of two texts, those that differ marked `-` and `+`, with some of what is around them.
pub fn difference(expected: &str, found: &str) -> String {
    const AROUND: usize = 3;
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    // longest[i][j]: lines in common of old[i..] and new[j..].
    let mut longest = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            longest[i][j] = match old[i] == new[j] {
                true => longest[i + 1][j + 1] + 1,
                false => longest[i + 1][j].max(longest[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push((' ', old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || i < old.len() && longest[i + 1][j] >= longest[i][j + 1] {
            lines.push(('-', old[i]));
            i += 1;
        } else {
            lines.push(('+', new[j]));
            j += 1;
        }
    }
    let near = |at: usize| {
        let around = &lines[at.saturating_sub(AROUND)..(at + AROUND + 1).min(lines.len())];
        around.iter().any(|(mark, _)| *mark != ' ') || lines[at].1.starts_with("== ")
    };
    let shown = (0..lines.len()).filter(|at| near(*at));
    shown.map(|at| format!("  {} {}\n", lines[at].0, lines[at].1)).collect()
}
