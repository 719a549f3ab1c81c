//! What senders are told: by the reports in their own mailboxes, or, where the client waits to hear
//! of it, by the reply to DATA. Never by neither, and never of one refusal by both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::daemon::{Client, Mail, Site};
use common::{COLLEAGUE, PATIENCE, TestBridge, USER};
use jiff::SignedDuration;
use postbridge::account::Profile;
use postbridge::config::Config;
use postbridge::smtp::server::Kind;
use postbridge::store::order::Order;
use postbridge::store::spool::{self, Entry, EntryId, State};
use serde_json::{Value, json};

/// Each of these requests to sendMail, counted from 1, meets this act; none: all of them.
fn rule(nth: &[u64], act: &Value) -> Value {
    json!({"route": "/v1.0/me/sendMail", "nth": nth, "every": nth.is_empty(), "do": act})
}

async fn faults(bridge: &TestBridge, rules: &[Value]) {
    bridge.post("/_sandbox/faults", json!({ "faults": rules })).await;
}

fn answer(status: u16, code: &str) -> Value {
    json!({"answer": {"status": status, "code": code}})
}

fn denied() -> Value {
    answer(403, "ErrorSendAsDenied")
}

fn in_doubt() -> Value {
    answer(504, "UnknownError")
}

fn not_now() -> Value {
    answer(409, "ErrorIrresolvableConflict")
}

/// A bridge that takes passwords in clear, for the plain client.
async fn bridge(change: impl FnOnce(&mut Config)) -> TestBridge {
    TestBridge::start_as(Profile::SendOnly, |config| {
        config.smtp.clear = vec![toml::Spanned::new(0..0, ([127, 0, 0, 1], 0).into())];
        config.smtp.starttls.clear();
        change(config);
    })
    .await
}

/// One that holds the reply back for so long.
async fn waiting(seconds: i64) -> TestBridge {
    bridge(|config| config.smtp.wait = toml::Spanned::new(0..0, SignedDuration::from_secs(seconds)))
        .await
}

fn connect(bridge: &TestBridge) -> Client {
    Client::connect(bridge.address(Kind::Starttls), &bridge.password).unwrap()
}

/// Hands a mail in with these parameters of MAIL and RCPT; its id.
fn hand_in(client: &mut Client, mail: &str, rcpt: &str, subject: &str) -> EntryId {
    client.ask(&format!("MAIL FROM:<{USER}>{mail}"), "250").unwrap();
    client.ask(&format!("RCPT TO:<{COLLEAGUE}>{rcpt}"), "250").unwrap();
    client.ask("DATA", "354").unwrap();
    let text =
        format!("From: {USER}\r\nTo: {COLLEAGUE}\r\nSubject: {subject}\r\n\r\nGrüße\r\n.\r\n");
    client.send(&text).unwrap();
    common::id_in(&client.expect("250").unwrap())
}

async fn entries(bridge: &TestBridge) -> Vec<Entry> {
    bridge.running.control.store.entries(None, 1000).await.unwrap()
}

async fn reports(bridge: &TestBridge) -> usize {
    entries(bridge).await.iter().filter(|entry| entry.kind == spool::Kind::Report).count()
}

/// Looks again until it is so.
async fn until<F: Future<Output = bool>>(mut is_so: impl FnMut() -> F) {
    let seen = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap();
}

/// Once every mail, reports too, came to its end.
async fn at_rest(bridge: &TestBridge) {
    let ended = |entry: &Entry| matches!(entry.state, State::Sent | State::Failed | State::Held);
    until(async || entries(bridge).await.iter().all(ended)).await;
}

/// Once a mail was tried so often and waits.
async fn once_put_off(bridge: &TestBridge, id: EntryId, attempts: u32) {
    until(async || {
        let entry = bridge.entry(id).await;
        entry.state == State::Queued && entry.attempts >= attempts
    })
    .await;
}

async fn order(bridge: &TestBridge, id: EntryId, order: Order) {
    bridge.running.control.store.order(id, order).await.unwrap().unwrap();
}

/// What was delivered last, as it arrived.
async fn last(bridge: &TestBridge) -> String {
    let ledger = bridge.ledger().await;
    let seq = ledger["mails"].as_array().unwrap().last().unwrap()["seq"].as_u64().unwrap();
    bridge.raw(seq).await
}

fn assert_holds(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
}

// ---- reports ----

#[tokio::test(flavor = "multi_thread")]
async fn each_time_a_mail_is_held_its_sender_is_told_once() {
    let bridge = bridge(|_| {}).await;
    // The mail, a report, the mail again, another report.
    faults(&bridge, &[rule(&[1, 3], &in_doubt())]).await;
    let id = bridge.submit_short(&[COLLEAGUE], "in-doubt").await;
    bridge.once(id, State::Held).await;
    at_rest(&bridge).await;
    assert_eq!(bridge.delivered().await, [format!("{USER}: Unknown whether sent: in-doubt")]);
    let first = last(&bridge).await;
    assert_holds(
        &first,
        &[
            "Action: delayed",
            "Status: 4.4.2",
            &format!("postbridge queue resolve {id} --send-again"),
        ],
    );
    order(&bridge, id, Order::SendAgain).await;
    until(async || reports(&bridge).await == 2).await;
    at_rest(&bridge).await;
    let second = last(&bridge).await;
    let message_id = |mail: &str| {
        mail.lines().find(|line| line.starts_with("Message-ID:")).map(str::to_owned).unwrap()
    };
    assert_ne!(message_id(&first), message_id(&second));
    assert_eq!(bridge.entry(id).await.state, State::Held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_in_doubt_is_held_and_makes_no_report() {
    let bridge = bridge(|_| {}).await;
    faults(&bridge, &[rule(&[], &in_doubt())]).await;
    bridge.submit_short(&[COLLEAGUE], "in-doubt").await;
    until(async || entries(&bridge).await.iter().filter(|e| e.state == State::Held).count() == 2)
        .await;
    let next = hand_in(&mut connect(&bridge), "", " NOTIFY=NEVER", "quiet");
    bridge.once(next, State::Held).await;
    assert_eq!(entries(&bridge).await.len(), 3);
}

/// What the stop left in doubt is found at the start.
#[test]
fn a_mail_that_a_crash_left_held_is_reported_once() {
    let site = Site::new_as(Profile::SendOnly);
    let script =
        r#"{"faults": [{"route": "/v1.0/me/sendMail", "nth": [1], "do": {"delay_ms": 600000}}]}"#;
    site.sandbox.world().faults.set(serde_json::from_str(script).unwrap());
    let mut daemon = site.serve();
    let mut client = Client::connect(daemon.address, &site.password).unwrap();
    client.submit(&Mail::new("crashed", &[COLLEAGUE], &[], 10)).unwrap();
    while !site.counts().unwrap().iter().any(|(state, _)| *state == State::Sending) {
        std::thread::yield_now();
    }
    daemon.kill();
    // It may have died before the request came.
    site.sandbox.world().faults.set(serde_json::from_str(r#"{"faults": []}"#).unwrap());
    for _ in 0..2 {
        let mut daemon = site.serve();
        let entries = site.finish(&mut daemon);
        assert_eq!(entries.len(), 2, "{entries:?}");
        assert_eq!(site.copies("Unknown whether sent: crashed").get(USER), Some(&1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_takes_long_is_reported_once_to_those_who_want_it() {
    let bridge = bridge(|_| {}).await;
    faults(&bridge, &[rule(&[], &not_now())]).await;
    let mut client = connect(&bridge);
    let wanted = [
        hand_in(&mut client, "", "", "slow"),
        hand_in(&mut client, "", " NOTIFY=DELAY", "slow-too"),
    ];
    let unwanted = [
        hand_in(&mut client, "", " NOTIFY=FAILURE", "slow-quiet"),
        hand_in(&mut client, "", " NOTIFY=NEVER", "slow-never"),
    ];
    let all = wanted.iter().chain(&unwanted);
    for &id in all.clone() {
        once_put_off(&bridge, id, 1).await;
    }
    assert_eq!(reports(&bridge).await, 0, "it is too early");
    // Four hours ago, and a moment.
    let store = &bridge.running.control.store;
    let aged = store.write(|connection| {
        Box::pin(async move {
            sqlx::query("UPDATE entry SET accepted_at = accepted_at - 4 * 3600 * 1000 - 1000")
                .execute(connection)
                .await?;
            Ok(())
        })
    });
    aged.await.unwrap();
    for round in 2..4 {
        for &id in all.clone() {
            let before = bridge.entry(id).await.attempts;
            order(&bridge, id, Order::Retry).await;
            once_put_off(&bridge, id, before + 1).await;
        }
        assert_eq!(reports(&bridge).await, 2, "round {round}");
    }
    for &id in &wanted {
        assert!(bridge.entry(id).await.delay_reported);
    }
    // When the way is free again, what has been overtaken is not told any more.
    let waiting = entries(&bridge).await;
    let report_on = |id| waiting.iter().find(|entry| entry.about == Some(id)).unwrap().id;
    let (overtaken, in_time) = (report_on(wanted[0]), report_on(wanted[1]));
    for id in [overtaken, in_time] {
        once_put_off(&bridge, id, 1).await;
    }
    let put_off = store.write(|connection| {
        Box::pin(async move {
            sqlx::query("UPDATE entry SET due_at = due_at + 3600 * 1000 WHERE state = 'queued'")
                .execute(connection)
                .await?;
            Ok(())
        })
    });
    put_off.await.unwrap();
    faults(&bridge, &[]).await;
    order(&bridge, wanted[0], Order::Retry).await;
    bridge.once(wanted[0], State::Sent).await;
    let entry = bridge.entry(overtaken).await;
    assert_eq!(entry.state, State::Failed);
    assert!(entry.note.unwrap().starts_with("overtaken"));
    order(&bridge, in_time, Order::Retry).await;
    bridge.once(in_time, State::Sent).await;
    let delivered = bridge.delivered().await;
    let late = format!("{USER}: Not delivered yet: slow-too");
    assert_eq!(delivered, [format!("{COLLEAGUE}: slow"), late]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_to_hear_of_success_hears_that_the_mail_was_relayed() {
    let bridge = bridge(|_| {}).await;
    let mut client = connect(&bridge);
    hand_in(&mut client, " ENVID=QQ314159", " NOTIFY=SUCCESS,FAILURE", "asked");
    until(async || reports(&bridge).await == 1).await;
    hand_in(&mut client, "", "", "not-asked");
    hand_in(&mut client, "", " NOTIFY=NEVER", "never");
    at_rest(&bridge).await;
    assert_eq!(reports(&bridge).await, 1);
    let ledger = bridge.ledger().await;
    let mails = ledger["mails"].as_array().unwrap();
    let report = mails.iter().find(|mail| mail["subject"] == "Handed on: asked").unwrap();
    assert_eq!(report["recipient"], USER);
    let report = bridge.raw(report["seq"].as_u64().unwrap()).await;
    let lines = ["Action: relayed", "Status: 2.0.0", "Original-Envelope-Id: QQ314159"];
    assert_holds(&report, &lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_mail_comes_back_if_that_was_asked_for() {
    let bridge = bridge(|_| {}).await;
    faults(&bridge, &[rule(&[1, 3], &denied())]).await;
    let mut client = connect(&bridge);
    for (ret, returned) in [(" RET=FULL", true), (" RET=HDRS", false)] {
        let id = hand_in(&mut client, ret, "", "returned");
        bridge.once(id, State::Failed).await;
        at_rest(&bridge).await;
        let report = last(&bridge).await;
        assert_eq!(report.contains("Content-Type: message/rfc822"), returned, "{report}");
        assert_eq!(report.contains("Grüße"), returned, "{report}");
        assert!(report.contains("Subject: returned"), "{report}");
    }
}

// ---- the local command ----

#[tokio::test(flavor = "multi_thread")]
async fn the_local_command_gets_a_copy_of_each_report_and_nothing_of_our_environment() {
    let directory = common::private_directory();
    let copy = directory.path().join("copy");
    let script = directory.path().join("command");
    // Renamed when it is whole, so that no half of it is read.
    let text =
        format!("#!/bin/sh\n(echo \"$1\"; env; cat) > {0}.new && mv {0}.new {0}\n", copy.display());
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    let command = vec![script.display().to_string(), "a b; c".to_owned()];
    let bridge = bridge(|config| config.report.command = command).await;
    faults(&bridge, &[rule(&[1], &denied())]).await;
    let id = bridge.submit_short(&[COLLEAGUE], "copied").await;
    until(async || copy.exists()).await;
    let copied = std::fs::read_to_string(&copy).unwrap();
    assert!(copied.starts_with("a b; c\n"), "{copied}");
    assert!(!copied.contains("CARGO"), "{copied}");
    assert_holds(&copied, &["Subject: Not delivered: copied\r\n", &id.to_string()]);
    at_rest(&bridge).await;
    assert_eq!(bridge.delivered().await, [format!("{USER}: Not delivered: copied")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_command_that_fails_or_is_not_there_changes_nothing() {
    for command in [vec!["/bin/false".to_owned()], vec!["/nowhere/at-all".to_owned()]] {
        let bridge = bridge(|config| config.report.command = command).await;
        faults(&bridge, &[rule(&[1], &denied())]).await;
        let id = bridge.submit_short(&[COLLEAGUE], "refused").await;
        bridge.once(id, State::Failed).await;
        at_rest(&bridge).await;
        assert_eq!(bridge.delivered().await, [format!("{USER}: Not delivered: refused")]);
    }
}

// ---- smtp.wait ----

fn message(subject: &str) -> String {
    format!(
        "From: {USER}\nTo: {COLLEAGUE}\nMessage-ID: <{subject}@contoso.example>\nSubject: {subject}\n\nHello\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_hears_that_its_mail_was_sent() {
    let bridge = waiting(60).await;
    let reply = bridge.submit(&[COLLEAGUE], &message("waited")).await.unwrap();
    let id: EntryId = reply.strip_prefix("250 2.0.0 sent, ").expect(&reply).parse().unwrap();
    // Graph had taken it before the reply was given.
    assert_eq!(bridge.delivered().await, [format!("{COLLEAGUE}: waited")]);
    assert_eq!(bridge.entry(id).await.state, State::Sent);
    // And so does the client that did not get that reply.
    assert_eq!(bridge.submit(&[COLLEAGUE], &message("waited")).await.unwrap(), reply);
    assert_eq!(bridge.delivered().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_is_refused_and_nobody_gets_a_report() {
    let bridge = waiting(60).await;
    for (act, expected) in [
        (denied(), "550 5.7.1 "),
        (answer(400, "ErrorInvalidRecipients"), "550 5.1.3 "),
        (answer(413, "RequestEntityTooLarge"), "552 5.3.4 "),
        (answer(400, "ErrorMimeContentInvalidBase64String"), "554 5.6.0 "),
    ] {
        bridge.post("/_sandbox/reset", json!({})).await;
        faults(&bridge, &[rule(&[1], &act)]).await;
        let known = entries(&bridge).await.len();
        let refusal = bridge.submit(&[COLLEAGUE], &message("refused")).await.unwrap_err();
        assert!(refusal.contains(&format!("answered {expected}")), "{refusal}");
        let entries = entries(&bridge).await;
        assert_eq!(entries.len(), known + 1, "{entries:?}");
        assert_eq!(entries[0].state, State::Failed);
        assert!(bridge.delivered().await.is_empty());
    }
    // The client may hand it in again: it is a new mail.
    let reply = bridge.submit(&[COLLEAGUE], &message("refused")).await.unwrap();
    assert!(reply.starts_with("250 2.0.0 sent"), "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_time_is_over_or_nobody_can_tell_the_mail_is_queued() {
    let bridge = waiting(1).await;
    faults(&bridge, &[rule(&[], &not_now())]).await;
    let begun = Instant::now();
    let reply = bridge.submit(&[COLLEAGUE], &message("not-yet")).await.unwrap();
    assert!(reply.starts_with("250 2.0.0 queued as "), "{reply}");
    assert!(begun.elapsed() >= Duration::from_secs(1));
    // What comes of it later is reported as ever.
    let id = common::id_in(&reply);
    faults(&bridge, &[rule(&[1], &denied())]).await;
    until(async || {
        let _ = bridge.running.control.store.flush().await;
        bridge.entry(id).await.state == State::Failed
    })
    .await;
    at_rest(&bridge).await;
    assert_eq!(bridge.delivered().await, [format!("{USER}: Not delivered: not-yet")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_in_doubt_is_queued_for_the_client_and_reported() {
    let bridge = waiting(60).await;
    faults(&bridge, &[rule(&[1], &in_doubt())]).await;
    let begun = Instant::now();
    let reply = bridge.submit(&[COLLEAGUE], &message("doubt")).await.unwrap();
    assert!(reply.starts_with("250 2.0.0 queued as "), "{reply}");
    assert!(begun.elapsed() < Duration::from_secs(50), "nothing more will come");
    at_rest(&bridge).await;
    assert_eq!(bridge.delivered().await, [format!("{USER}: Unknown whether sent: doubt")]);
}

/// Up to the end of the mail, and not a reply further.
fn hand_over(bridge: &TestBridge, subject: &str, ahead: &str) -> TcpStream {
    let mut stream = TcpStream::connect(bridge.address(Kind::Starttls)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let secret = STANDARD.encode(format!("\0{USER}\0{}", bridge.password));
    let text = message(subject).replace('\n', "\r\n");
    let wire = format!(
        "EHLO c\r\nAUTH PLAIN {secret}\r\nMAIL FROM:<{USER}>\r\nRCPT TO:<{COLLEAGUE}>\r\nDATA\r\n{text}.\r\n{ahead}"
    );
    stream.write_all(wire.as_bytes()).unwrap();
    stream
}

async fn the_only(bridge: &TestBridge, state: State) -> EntryId {
    until(async || entries(bridge).await.first().is_some_and(|entry| entry.state == state)).await;
    entries(bridge).await[0].id
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mail_of_a_client_that_hangs_up_while_it_waits_goes_on() {
    let bridge = waiting(60).await;
    faults(&bridge, &[rule(&[1], &json!({"delay_ms": 500}))]).await;
    let stream = hand_over(&bridge, "hung-up", "");
    let id = the_only(&bridge, State::Sending).await;
    drop(stream);
    bridge.once(id, State::Sent).await;
    assert_eq!(bridge.delivered().await, [format!("{COLLEAGUE}: hung-up")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hung_up_before_it_could_be_refused_gets_a_report() {
    let bridge = waiting(60).await;
    faults(&bridge, &[rule(&[1], &json!({"delay_ms": 500})), rule(&[1], &denied())]).await;
    let stream = hand_over(&bridge, "hung-up", "");
    let id = the_only(&bridge, State::Sending).await;
    drop(stream);
    bridge.once(id, State::Failed).await;
    until(async || reports(&bridge).await == 1).await;
    at_rest(&bridge).await;
    assert_eq!(bridge.delivered().await, [format!("{USER}: Not delivered: hung-up")]);
}

/// It has said all it has to say, and is there for the reply.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_its_half_is_answered_at_once() {
    let bridge = waiting(60).await;
    faults(&bridge, &[rule(&[1], &json!({"delay_ms": 600_000}))]).await;
    let mut stream = hand_over(&bridge, "half", "");
    stream.shutdown(Shutdown::Write).unwrap();
    let mut replies = String::new();
    stream.read_to_string(&mut replies).unwrap();
    assert!(
        replies.trim_end().lines().last().unwrap().starts_with("250 2.0.0 queued as "),
        "{replies}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_sends_ahead_while_it_waits_is_answered_afterwards() {
    let bridge = waiting(60).await;
    faults(&bridge, &[rule(&[1], &json!({"delay_ms": 300}))]).await;
    let mut stream = hand_over(&bridge, "ahead", "NOOP\r\n");
    the_only(&bridge, State::Sending).await;
    // Half of a command, and the rest of it.
    stream.write_all(b"VRFY ").unwrap();
    stream.write_all(b"x\r\nQUIT\r\n").unwrap();
    let mut replies = String::new();
    stream.read_to_string(&mut replies).unwrap();
    let codes: Vec<&str> = replies
        .lines()
        .filter(|line| line.as_bytes().get(3) == Some(&b' '))
        .map(|line| &line[..3])
        .collect();
    assert_eq!(codes.join(" "), "220 250 235 250 250 354 250 250 252 221", "{replies}");
    assert!(replies.contains("250 2.0.0 sent, "), "{replies}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_with_the_client() {
    let bridge = waiting(60).await;
    faults(&bridge, &[rule(&[], &not_now())]).await;
    let mut stream = hand_over(&bridge, "stopped", "");
    until(async || entries(&bridge).await.first().is_some_and(|entry| entry.attempts > 0)).await;
    let begun = Instant::now();
    bridge.running.stop().await;
    let mut replies = String::new();
    stream.read_to_string(&mut replies).unwrap();
    assert!(replies.contains("250 2.0.0 queued as "), "{replies}");
    assert!(begun.elapsed() < Duration::from_secs(30));
}
