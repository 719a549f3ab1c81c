//! `postbridge selftest`: each question that the documentation leaves open gets the answer that the tenant
//! gives, whichever it is; and nothing else happens in the mailbox.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::process::Stdio;

use common::USER;
use common::daemon::Site;
use postbridge::account::Profile;
use postbridge::sandbox::world::{MessageFlags, SecondSend, Switches};

/// The answers, by the name of the question.
fn asked(site: &Site, arguments: &[&str]) -> BTreeMap<String, String> {
    let mut all = vec!["selftest", USER, "--json"];
    all.extend(arguments);
    let output = site.command(&all).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap().to_owned();
    rows.iter().map(|row| (text(row, "question"), text(row, "answer"))).collect()
}

fn of_tenant(change: impl FnOnce(&mut Switches)) -> BTreeMap<String, String> {
    let site = Site::new();
    change(&mut site.sandbox.world().switches());
    let daemon = site.serve();
    let found = asked(&site, &["--tenant", "--yes"]);
    // Kept, and shown without asking anything.
    let requests = site.requests();
    assert_eq!(asked(&site, &[]), found);
    assert_eq!(site.requests(), requests);
    drop(daemon);

    // Mail to the mailbox itself alone; no event and no draft is left.
    let world = site.sandbox.world();
    let owner = world.user(USER).unwrap().object_id;
    let copies = world.ledger.copies();
    assert!(!copies.is_empty() && copies.iter().all(|copy| copy.recipient == USER), "{copies:?}");
    assert_eq!(world.calendar.events(owner).len(), 0);
    assert_eq!(world.mail.mailbox(owner).drafts, 0);
    found
}

fn assert_answers(found: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    for (question, answer) in expected {
        let got = &found[*question];
        assert!(got.starts_with(answer), "{question}: {got:?}, not {answer:?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn a_tenant_as_it_is_documented_gives_these_answers() {
    let found = of_tenant(|_| {});
    assert_answers(
        &found,
        &[
            ("message-id-kept", "yes"),
            ("id-survives-send", "yes"),
            ("tag-survives-send", "yes"),
            ("flags-readable", "yes"),
            ("second-send", "it is refused: 404"),
            ("largest-mime", "2200 KiB; 2560 KiB is refused: 413"),
            ("attachment-on-mime-draft", "no: 400"),
            ("same-transaction", "the event that is there"),
            ("transaction-after-deletion", "no"),
            ("if-match-on-events", "yes"),
            ("cancel-without-attendees", "it is refused: 400"),
        ],
    );
}

#[test]
fn a_tenant_that_is_otherwise_gives_the_other_answers() {
    let found = of_tenant(|switches| {
        switches.immutable_id_survives_send = false;
        switches.extended_properties_survive_send = false;
        switches.message_flags = MessageFlags::Hidden;
        switches.mime_octets_max = 3 << 20;
        switches.mime_draft_takes_attachments = true;
        switches.replay_same_transaction = false;
        switches.transaction_taken_after_deletion = false;
        switches.cancel_without_attendees_refused = false;
    });
    assert_answers(
        &found,
        &[
            ("message-id-kept", "yes"),
            ("id-survives-send", "no"),
            ("tag-survives-send", "no"),
            ("flags-readable", "no"),
            ("second-send", "it is refused: 404"),
            ("largest-mime", "3000 KiB; 4096 KiB is refused"),
            ("attachment-on-mime-draft", "yes"),
            ("same-transaction", "an error that names the event"),
            ("transaction-after-deletion", "yes"),
            ("if-match-on-events", "yes"),
            ("cancel-without-attendees", "it is done"),
        ],
    );
}

#[test]
fn a_second_send_is_seen_for_what_it_does() {
    for (second_send, answer) in [
        (SecondSend::SendsAgain, "it is taken, and sends the mail again"),
        (SecondSend::Ignored, "it is taken, and sends nothing"),
        (SecondSend::Refused, "it is refused: 400"),
    ] {
        let found = of_tenant(|switches| switches.second_send = second_send);
        let got = &found["second-send"];
        assert!(got.starts_with(answer), "{second_send:?}: {got}");
    }
}

#[test]
fn without_the_owners_word_or_the_permission_nothing_is_asked() {
    let site = Site::new_as(Profile::SendOnly);
    let run = |arguments: &[&str]| {
        let output = site.command(arguments).stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let requests = site.requests();
    let (status, said) = run(&["selftest", USER, "--tenant"]);
    assert!(status == Some(1) && said.contains("--yes"), "{said}");
    let (status, said) = run(&["selftest", USER, "--tenant", "--yes"]);
    assert!(status == Some(1) && said.contains("has not granted Mail.ReadWrite"), "{said}");
    assert_eq!(site.requests(), requests);
    let (status, said) = run(&["selftest", "kim.akers@contoso.example"]);
    assert!(status == Some(1) && said.contains("There is no account"), "{said}");
}
