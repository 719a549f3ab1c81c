//! Every command that looks at accounts, mails and invites or changes them, as a shell runs it: what it
//! prints, what it refuses, and with which exit status. Those with a test of their own are not here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use common::daemon::{Client, Mail, Site};
use common::{COLLEAGUE, USER};
use serde_json::Value;

const STRANGER: &str = "stranger@contoso.example";
const UID: &str = "interview-1@contoso.example";
/// The id of no mail.
const NOBODY: &str = "01arz3ndektsv4rrffq69g5fav";

/// Exit status, standard output, standard error.
fn run(site: &Site, arguments: &[&str]) -> (i32, String, String) {
    let output = site.command(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[track_caller]
fn prints(site: &Site, arguments: &[&str]) -> String {
    let (status, out, err) = run(site, arguments);
    assert_eq!(status, 0, "{arguments:?}: {err}");
    out
}

#[track_caller]
fn json(site: &Site, arguments: &[&str]) -> Value {
    let out = prints(site, arguments);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out}"))
}

/// Nothing on standard output, and these words on standard error.
#[track_caller]
fn refuses(site: &Site, arguments: &[&str], expected: i32, words: &str) {
    let (status, out, err) = run(site, arguments);
    assert_eq!((status, out.as_str()), (expected, ""), "{arguments:?}: {err}");
    assert!(err.contains(words), "{arguments:?}: {words:?} is not in {err}");
    assert!(!err.contains("panicked"), "{err}");
}

/// Whether a daemon runs or not: the same commands, the same answers.
fn with_and_without_a_daemon(site: &Site, look: impl Fn()) {
    look();
    let mut daemon = site.serve();
    look();
    daemon.terminate();
    assert!(daemon.ended().success(), "{}", daemon.log());
}

#[test]
fn what_cannot_be_asked_is_refused_with_the_usage() {
    let site = Site::new();
    for arguments in [
        &[][..],
        &["account"],
        &["account", "add"],
        &["account", "add", "nobody"],
        &["account", "add", USER, "--profile", "everything"],
        &["account", "add", USER, "--no-signin", "--device-code"],
        &["account", "signin", USER, "--device-code", "--no-browser"],
        &["queue", "list", "--only", "lost"],
        &["queue", "show"],
        &["queue", "show", "7"],
        &["queue", "resolve", NOBODY],
        &["queue", "resolve", NOBODY, "--sent", "--send-again"],
        &["invites", "show"],
        &["doctor", "nobody"],
        &["export"],
        &["export", "all.tar", "--passphrase-file", "p"],
        &["sandbox", "--listen", "somewhere"],
        &["configure"],
    ] {
        let (status, out, err) = run(&site, arguments);
        assert_eq!((status, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(
            err.contains("--help") || err.contains("Usage: postbridge"),
            "{arguments:?}: {err}"
        );
    }
}

#[test]
fn accounts_that_are_not_there_are_named_and_those_that_are_there_are_kept() {
    let site = Site::new();
    with_and_without_a_daemon(&site, || {
        for command in ["signin", "password", "remove"] {
            let words = format!("There is no account {STRANGER}");
            refuses(&site, &["account", command, STRANGER], 1, &words);
        }
        let words = format!("postbridge account signin {USER}");
        refuses(&site, &["account", "add", USER, "--no-signin"], 1, &words);
        let list = json(&site, &["account", "list", "--json"]);
        assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
        assert_eq!(list[0]["address"], USER);
        let list = prints(&site, &["account", "list"]);
        assert!(list.starts_with(&format!("{USER}  full  ready\n")), "{list}");
    });
}

#[test]
fn an_account_with_mail_is_removed_by_force_alone() {
    let site = Site::new();
    site.sign_out();
    let mut daemon = site.serve();
    let mut client = Client::connect(daemon.address, &site.password).unwrap();
    let id = client.submit(&Mail::new("waits", &[COLLEAGUE], &[], 10)).unwrap().to_string();
    refuses(&site, &["account", "remove", USER], 1, "--force");
    let (status, out, err) = run(&site, &["account", "remove", USER, "--force"]);
    assert_eq!((status, out.as_str()), (0, ""));
    assert!(err.contains("myapps.microsoft.com"), "{err}");
    let (_, out, err) = run(&site, &["account", "list"]);
    assert!(out.is_empty() && err.contains("postbridge account add"), "{err}");
    let shown = prints(&site, &["queue", "show", &id]);
    assert!(shown.contains("removed"), "{shown}");
    daemon.kill();
}

#[test]
fn a_queue_is_shown_by_state_and_flushed() {
    let site = Site::new();
    site.sign_out();
    let mut daemon = site.serve();
    let mut client = Client::connect(daemon.address, &site.password).unwrap();
    let id = client.submit(&Mail::new("waits", &[COLLEAGUE], &[], 10)).unwrap().to_string();
    daemon.terminate();
    assert!(daemon.ended().success());
    with_and_without_a_daemon(&site, || {
        let list = prints(&site, &["queue", "list", "--only", "queued"]);
        assert!(list.starts_with(&id) && list.contains(COLLEAGUE), "{list}");
        assert_eq!(prints(&site, &["queue", "list", "--only", "sent"]), "");
        assert_eq!(prints(&site, &["queue", "list", "--most", "0"]), "");
        assert_eq!(json(&site, &["queue", "list", "--json"])["entries"][0]["id"], *id);
        assert!(prints(&site, &["queue", "flush"]).ends_with(" made due\n"));
        for command in [&["queue", "show"][..], &["queue", "retry"], &["queue", "drop"]] {
            refuses(&site, &[command, &[NOBODY]].concat(), 1, "There is no mail");
        }
        refuses(&site, &["queue", "resolve", &id, "--sent"], 1, "is not held");
    });
}

#[test]
fn invites_are_listed_shown_and_forgotten() {
    let site = Site::new();
    let mut daemon = site.serve();
    let mut client = Client::connect(daemon.address, &site.password).unwrap();
    client.submit(&Mail::invite(UID)).unwrap();
    site.finish(&mut daemon);
    with_and_without_a_daemon(&site, || {
        let list = prints(&site, &["invites", "list"]);
        assert!(list.contains(UID) && list.contains("Interview"), "{list}");
        let list = json(&site, &["invites", "list", "--json", "--account", USER]);
        assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
        let shown = prints(&site, &["invites", "show", UID]);
        assert!(shown.contains("BEGIN:VCALENDAR") && shown.contains(USER), "{shown}");
        assert_eq!(json(&site, &["invites", "show", UID, "--json"])["address"], USER);
        refuses(&site, &["invites", "show", "nothing"], 1, "No invite with the UID nothing");
        refuses(&site, &["invites", "list", "--account", STRANGER], 1, "There is no account");
    });
    prints(&site, &["invites", "forget", UID]);
    assert_eq!(prints(&site, &["invites", "list"]), "");
    let (status, ..) = run(&site, &["invites", "forget", UID]);
    assert_eq!(status, 1, "what is not there was forgotten");
}

#[test]
fn a_sandbox_says_where_it_is_and_ends_when_it_is_told_to() {
    let site = Site::new();
    let state = site.directory.path().join("sandbox").display().to_string();
    let arguments =
        ["--state", &state, "sandbox", "--https", "127.0.0.1:0", "--mailbox", "kim.akers"];
    let mut command = site.command(&arguments);
    let mut child =
        command.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut text = String::new();
    // The mailboxes come last.
    while !text.contains("mailbox") {
        text += &format!("{}\n", lines.next().unwrap().unwrap());
    }
    assert!(text.starts_with("Sandbox of Microsoft 365 at http://127.0.0.1:"), "{text}");
    assert!(
        text.contains("kim.akers@contoso.example") && text.contains("sandbox-ca.pem"),
        "{text}"
    );
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let arguments = [&arguments[..], &["--listen", &address]].concat();
    refuses(&site, &arguments, 1, "--listen, --https");
}

#[test]
fn help_and_version_are_no_errors_and_name_every_command() {
    let help = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_postbridge")).args(arguments).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(help(&["--version"]), format!("postbridge {}\n", env!("CARGO_PKG_VERSION")));
    let text = help(&["--help"]);
    for command in [
        "serve", "demo", "account", "queue", "invites", "sandbox", "sendmail", "config", "backup",
        "export", "import", "doctor",
    ] {
        let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{command} ")));
        // One sentence.
        let line = line.unwrap_or_else(|| panic!("{command} is not in {text}"));
        assert!(line.split_whitespace().count() > 3, "{line}");
        help(&[command, "--help"]);
    }
}
