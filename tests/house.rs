//! Holds the direction table of `src/lib.rs`: who may name whom, read from the sources.
//!
//! A line added to [`MAY_NAME`] is a design decision. Unit tests at the end of a file are not read:
//! they may set up what they like.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// They only compute, and name only each other.
const PURE: [&str; 13] = [
    "account",
    "submission",
    "mime",
    "ical",
    "itip",
    "recurrence",
    "invite",
    "doubt",
    "finding",
    "plan",
    "report",
    "retry",
    "secret",
];

/// Files that only compute, in a folder whose others need not: they name the pure ones and each other.
const PURE_FILES: [&str; 20] = [
    "caldav::answers",
    "caldav::calendar_data",
    "caldav::condition",
    "caldav::filter",
    "caldav::floating",
    "caldav::free_busy",
    "caldav::header",
    "caldav::href",
    "caldav::kept",
    "caldav::limits",
    "caldav::markup",
    "caldav::multistatus",
    "caldav::names",
    "caldav::object",
    "caldav::outbox",
    "caldav::range",
    "caldav::report",
    "caldav::request",
    "caldav::spooled",
    "caldav::xml",
];

/// Who, and whom beside the pure ones. A name with `::` allows that part alone.
const MAY_NAME: [(&str, &[&str]); 24] = [
    ("caldav", &["listen", "login", "store"]),
    ("clock", &[]),
    ("graph", &["clock"]),
    ("entra", &[]),
    ("store", &["clock"]),
    ("smtp", &["listen", "login", "store"]),
    ("listen", &[]),
    ("link", &["clock"]),
    ("login", &["store"]),
    ("tls", &[]),
    ("access", &["entra", "graph", "store"]),
    ("execute", &["access", "caldav::kept", "entra", "graph", "store"]),
    ("watch", &["execute", "graph::pace", "store"]),
    ("pulse", &["store"]),
    ("worker", &["execute", "store", "graph::pace", "pulse", "report_command"]),
    ("report_command", &["store::spool"]),
    (
        "control",
        &["access", "execute", "store", "entra::hint", "graph::pace", "link", "probe", "pulse"],
    ),
    (
        "page",
        &[
            "access::Way",
            "clock",
            "control",
            "entra::hint",
            "graph::tally",
            "link",
            "listen",
            "store",
            "tls",
        ],
    ),
    ("probe", &["access", "graph", "store"]),
    ("config", &["caldav::names", "entra", "store", "smtp::limits"]),
    (
        "app",
        &[
            "access",
            "caldav",
            "clock",
            "config",
            "control",
            "entra",
            "execute",
            "graph",
            "link",
            "listen",
            "login",
            "page",
            "pulse",
            "report_command",
            "smtp",
            "store",
            "tls",
            "watch",
            "worker",
        ],
    ),
    (
        "cli",
        &[
            "access",
            "app",
            "caldav::server",
            "config",
            "control",
            "entra",
            "listen",
            "pulse",
            "probe",
            "sandbox",
            "smtp",
            "store",
            "tls",
        ],
    ),
    ("sandbox", &[]),
    ("main", &["cli"]),
];

/// What reaches outside the process, asks a clock or throws dice.
const IMPURE: [&str; 12] = [
    "tokio::",
    "tokio_",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "sqlx",
    "axum",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
];
/// The same for the files between the folders, which do not even know the types.
const IMPURE_IN_THE_MIDDLE: [&str; 6] =
    ["std::net", "reqwest", "std::time::Instant", "rand::", "now_v7", "new_v4"];

/// Who asks another clock than the one that is handed in: it is about sockets, tokens and people. The
/// sandbox has one of its own.
const OTHER_CLOCKS: [&str; 11] = [
    "src/clock.rs",
    "src/smtp/",
    "src/caldav/clock.rs",
    "src/caldav/connection.rs",
    "src/caldav/site.rs",
    "src/login.rs",
    "src/tls.rs",
    "src/access/",
    "src/entra/",
    "src/cli/",
    "src/sandbox/",
];

/// A library, and the only places that may know it.
const KNOWN_ONLY_TO: [(&str, &[&str]); 11] = [
    ("calcard", &["ical"]),
    ("quick_xml", &["caldav"]),
    ("sqlx", &["store"]),
    ("reqwest", &["graph", "entra", "sandbox", "cli"]),
    ("axum", &["page", "sandbox"]),
    ("hyper", &["caldav", "page"]),
    ("prometheus_client", &["page"]),
    ("qrcode", &["page"]),
    ("smtp_proto", &["smtp"]),
    ("oauth2", &["entra"]),
    ("mail_builder", &["report", "sandbox"]),
];

struct Source {
    /// `src/store/spool.rs`
    path: String,
    /// `store`: the folder or the flat file below `src/`.
    place: String,
    /// Its `//!`.
    head: String,
    /// Lines without comments and unit tests, numbered from 1.
    code: Vec<(usize, String)>,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut directories = vec![root.join("src")];
    while let Some(directory) = directories.pop() {
        for file in fs::read_dir(directory).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(source(root, &path));
            }
        }
    }
    assert!(found.len() > 50, "only {} files were found", found.len());
    found
}

fn source(root: &Path, path: &Path) -> Source {
    let text = fs::read_to_string(path).unwrap();
    let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    let below = path.strip_prefix("src/").unwrap();
    let place = below.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
    let head = text.lines().take_while(|line| line.starts_with("//!")).collect::<String>();
    let code = text
        .lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(at, line)| (at + 1, without_comment(line).to_owned()))
        .collect();
    Source { path, place, head, code }
}

/// Good enough for code under rustfmt: a comment has a space before it or begins the line.
fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with("//") {
        return "";
    }
    line.split_once(" // ").map_or(line, |(code, _)| code)
}

impl Source {
    fn is_in_the_middle(&self) -> bool {
        PURE.contains(&self.place.as_str()) || self.is_pure_file()
    }

    /// One of [`PURE_FILES`].
    fn is_pure_file(&self) -> bool {
        PURE_FILES.contains(&self.module().as_str())
    }

    /// `caldav::href`
    fn module(&self) -> String {
        let below = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        below.replace('/', "::")
    }

    /// What a line names of its own folder by `super::`, as `caldav::href`.
    fn names_beside(&self, line: &str) -> Vec<String> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut names = Vec::new();
        for (at, name) in line.match_indices("super::") {
            let rest = &line[at + name.len()..];
            let listed = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            for name in listed.map_or(rest, |(listed, _)| listed).split(", ") {
                let end = name.find(|c| !is_part(c)).unwrap_or(name.len());
                names.push(format!("{}::{}", self.place, &name[..end]));
                if listed.is_none() {
                    break;
                }
            }
        }
        names
    }

    /// Everything of ours that a line names, as `store::spool`.
    fn names(line: &str) -> Vec<String> {
        line.match_indices("crate::")
            .map(|(at, name)| {
                let rest = &line[at + name.len()..];
                let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
                let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                rest[..end].trim_end_matches(':').to_owned()
            })
            .collect()
    }
}

fn may_name(place: &str, name: &str) -> bool {
    let of = name.split("::").next().unwrap_or_default();
    if of == place {
        return true;
    }
    let Some((_, allowed)) = MAY_NAME.iter().find(|(who, _)| *who == place) else {
        return PURE.contains(&place) && PURE.contains(&of);
    };
    let fits = |allowed: &&str| name == *allowed || name.starts_with(&format!("{allowed}::"));
    // The sandbox stands for somebody else: it does not even share our notions.
    (place != "sandbox" && PURE.contains(&of)) || allowed.iter().any(fits)
}

fn assert_none(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn every_name_points_down() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| source.path != "src/lib.rs") {
        for (at, line) in &source.code {
            for name in Source::names(line) {
                if !may_name(&source.place, &name) {
                    broken.push(format!(
                        "{}:{at}: {} may not name {name}",
                        source.path, source.place
                    ));
                }
            }
            for name in source.names_beside(line).iter().chain(&Source::names(line)) {
                let own = name.split("::").next() == Some(source.place.as_str());
                let pure = PURE_FILES.iter().any(|pure| {
                    name == pure || name.strip_prefix(pure).is_some_and(|r| r.starts_with("::"))
                });
                if source.is_pure_file() && own && !pure {
                    broken.push(format!("{}:{at}: a pure file names {name}", source.path));
                }
            }
            // Ways around the words that are read here.
            let flat = source.path.matches('/').count() == 1;
            let around = line.contains("super::super") || (flat && line.contains("super::"));
            if around || line.contains("postbridge::") && source.place != "main" {
                broken.push(format!("{}:{at}: say crate::…", source.path));
            }
        }
    }
    assert_none(broken);
}

#[test]
fn pure_files_do_nothing_but_compute() {
    let mut broken = Vec::new();
    for source in sources() {
        let says_so = source.head.contains("Pure");
        let middle = source.is_in_the_middle();
        if !says_so && !middle {
            continue;
        }
        for (at, line) in &source.code {
            let banned =
                IMPURE.iter().chain(middle.then_some(&IMPURE_IN_THE_MIDDLE).into_iter().flatten());
            for word in banned.filter(|word| line.contains(**word)) {
                broken.push(format!("{}:{at}: a pure file names {word}", source.path));
            }
        }
    }
    assert_none(broken);
}

#[test]
fn the_time_is_asked_of_the_clock_that_is_handed_in() {
    let mut broken = Vec::new();
    let has_none_other =
        |one: &&Source| !OTHER_CLOCKS.iter().any(|place| one.path.starts_with(place));
    for source in sources().iter().filter(has_none_other) {
        for (at, line) in &source.code {
            let clocks =
                ["Timestamp::now", "Zoned::now", "Instant::now", "SystemTime", "interval("];
            for word in clocks.iter().filter(|word| line.contains(**word)) {
                broken.push(format!("{}:{at}: {word}: ask the store's clock", source.path));
            }
        }
    }
    assert_none(broken);
}

#[test]
fn a_library_is_known_where_its_party_is_spoken_to() {
    let mut broken = Vec::new();
    for source in sources() {
        for (library, places) in KNOWN_ONLY_TO {
            let path = format!("{library}::");
            let knows = |(_, line): &&(usize, String)| line.contains(&path);
            if !places.contains(&source.place.as_str())
                && let Some((at, _)) = source.code.iter().find(knows)
            {
                broken.push(format!("{}:{at}: {library} is for {places:?}", source.path));
            }
        }
    }
    assert_none(broken);
}

/// What cannot be taken back is called from one place, and so is what leads there.
#[test]
fn only_execute_sends_and_only_the_worker_retries() {
    let sources = sources();
    let mut sending = BTreeSet::new();
    for source in sources.iter().filter(|source| source.place == "graph") {
        let mut function = None;
        for (_, line) in &source.code {
            if let Some((_, rest)) = line.split_once("pub async fn ") {
                function = rest.split(['(', '<']).next().map(str::to_owned);
            }
            if line.contains(".call(Effect::Irreversible") {
                sending.insert(function.clone().unwrap());
            }
        }
    }
    assert!(sending.contains("send_mime"), "{sending:?}");

    let mut rules: Vec<(String, &str)> =
        sending.iter().map(|name| (format!(".{name}("), "execute")).collect();
    rules.push((".begin_sending(".to_owned(), "execute"));
    rules.push((".attempt(".to_owned(), "worker"));
    rules.push((".claim(".to_owned(), "worker"));
    rules.push(("crate::retry".to_owned(), "worker"));
    let mut broken = Vec::new();
    for source in sources.iter().filter(|source| source.place != "sandbox") {
        for (at, line) in &source.code {
            for (call, place) in &rules {
                if line.contains(call.as_str()) && source.place != *place {
                    broken.push(format!("{}:{at}: {call} is for {place} alone", source.path));
                }
            }
        }
    }
    assert_none(broken);
}

#[test]
fn every_place_is_in_the_table_and_says_what_it_is() {
    let sources = sources();
    let mut broken = Vec::new();
    for source in &sources {
        let known = source.place == "lib"
            || source.is_in_the_middle()
            || MAY_NAME.iter().any(|(place, _)| *place == source.place);
        if !known {
            broken.push(format!("{}: {} is not in the table", source.path, source.place));
        }
        if source.head.is_empty() {
            broken.push(format!("{}: does not say what it is", source.path));
        }
    }
    let places: BTreeSet<&str> = sources.iter().map(|source| source.place.as_str()).collect();
    for file in PURE_FILES {
        match sources.iter().find(|source| source.module() == file) {
            None => broken.push(format!("the table speaks of {file}, which is not there")),
            Some(source) if !source.head.contains("Pure") => {
                broken.push(format!("{}: does not say that it is pure", source.path));
            }
            Some(_) => {}
        }
    }
    for place in PURE.iter().chain(MAY_NAME.iter().map(|(place, _)| place)) {
        if !places.contains(place) {
            broken.push(format!("the table speaks of {place}, which is not there"));
        }
    }
    assert_none(broken);
}
