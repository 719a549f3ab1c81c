//! What a newcomer reads is true: the README's commands are run as they stand, its links lead somewhere, its
//! configurations are good ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "package/container.rs"]
mod container;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use container::{Container, with_a_browser};
use postbridge::config::Config;

/// From install to first mail.
const COMMANDS_MAX: usize = 5;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The README and everything below `docs/`.
fn documents() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|file| file.unwrap().path());
    let mut found: Vec<PathBuf> =
        docs.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    found.extend(["README.md", "CHANGELOG.md"].map(|name| root().join(name)));
    assert!(found.len() > 10, "{found:?}");
    found
}

/// The blocks of code in this language, with the heading above each.
fn blocks(text: &str, language: &str) -> Vec<(String, String)> {
    let (mut found, mut heading, mut open) = (Vec::new(), String::new(), None::<String>);
    for line in text.lines() {
        match (&mut open, line.trim_start()) {
            (None, fence) if fence.starts_with("```") => {
                open = (fence == format!("```{language}")).then(String::new);
                // A block in another language is passed over as a whole.
                if open.is_none() {
                    open = Some("\0".to_owned());
                }
            }
            (Some(block), "```") => {
                if !block.starts_with('\0') {
                    found.push((heading.clone(), std::mem::take(block)));
                }
                open = None;
            }
            (Some(block), _) => {
                block.push_str(line.trim_start());
                block.push('\n');
            }
            (None, line) if line.starts_with('#') => {
                heading = line.trim_start_matches('#').trim().to_owned();
            }
            (None, _) => {}
        }
    }
    found
}

/// As a page of the repository names its headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    headings
        .map(|heading| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// Every `](target)` outside of code.
fn links(text: &str) -> Vec<String> {
    let mut prose = String::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    let after = prose.split("](").skip(1);
    after.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&text) {
            seen += 1;
            // What is elsewhere is not asked for: these tests talk to this machine only.
            if link.starts_with("https://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match path {
                "" => document.clone(),
                path => document.parent().unwrap().join(path),
            };
            let there = target.exists()
                && (anchor.is_empty()
                    || anchors(&fs::read_to_string(&target).unwrap()).contains(anchor));
            if !there {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(broken.is_empty() && seen > 20, "{seen} links; broken: {broken:#?}");
}

#[test]
fn every_page_is_reached_from_the_readme() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let linked: BTreeSet<PathBuf> =
        links(&text).iter().map(|link| root().join(link.split('#').next().unwrap())).collect();
    let lost: Vec<_> = documents()
        .into_iter()
        .filter(|page| page.parent().unwrap().ends_with("docs") && !linked.contains(page))
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[test]
fn every_configuration_that_is_shown_can_be_used() {
    let mut seen = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for (heading, block) in blocks(&text, "toml") {
            seen += 1;
            if let Err(error) = Config::parse(&document, &block) {
                panic!("{}, under {heading:?}: {error}\n{block}", document.display());
            }
        }
    }
    assert!(seen >= 2, "{seen}");
}

/// On a machine on which nothing of ours was, with the sandbox in Microsoft's place.
#[test]
fn the_first_mail_is_as_near_as_the_readme_says() {
    let (debian, package) =
        (root().join("target/package/root"), root().join("target/package/new.deb"));
    if !debian.exists() || !package.exists() {
        return common::skip("the README in a container: .ci/run makes what it takes");
    }
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let install = blocks(&readme, "sh").into_iter().find(|(heading, _)| heading == "Install");
    let commands: Vec<String> = install.unwrap().1.lines().map(str::to_owned).collect();
    assert!(commands.len() <= COMMANDS_MAX, "{commands:#?}");
    let container = match Container::boot(&debian, &[&package]) {
        Ok(container) => container,
        Err(why) => return common::skip(&format!("the README in a container: {why}")),
    };
    // The administrator is root already, and the file has the name that it is published under.
    container.ok(
        "printf '#!/bin/sh\\nexec \"$@\"\\n' > /usr/local/bin/sudo && chmod +x /usr/local/bin/sudo",
    );
    let file = commands[0].rsplit_once("./").unwrap().1;
    container.ok(&format!("mv /new.deb /root/{file}"));

    let mut password = None;
    for command in &commands {
        // What a person does at a command: sees a browser through, types a password.
        let line = if command.contains("account add") {
            with_a_browser(command)
        } else if let Some(password) = &password {
            command.replace(
                "--mail-from",
                &format!("-u 'adele.vance@contoso.example:{password}' --mail-from"),
            )
        } else {
            command.clone()
        };
        container.ok(&line);
        if command.contains("apt install") {
            container.ok(
                "systemd-run --unit=sandbox postbridge --state /root/sandbox sandbox --automatic",
            );
            container.until("curl -sS http://127.0.0.1:8480/ >/root/page");
        } else if command.contains("tee -a") {
            container.ok("printf 'login_url = \"http://127.0.0.1:8480\"\\ngraph_url = \"http://127.0.0.1:8480\"\\n' \
                 >> /etc/postbridge/postbridge.toml");
        } else if command.contains("account add") {
            password = container.ok("cat /root/login").lines().nth(1).map(str::to_owned);
        }
    }
    container.until("curl -sS http://127.0.0.1:8480/_sandbox/ledger | grep -q '\"It works\"'");
}
