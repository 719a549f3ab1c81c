//! An operator's orders about single mails: each is carried out whole or refused with a reason, and
//! none takes a mail from under the worker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::process::Output;
use std::time::Duration;

use common::daemon::{Client, Mail, Site};
use common::{COLLEAGUE, TestBridge, USER};
use postbridge::account::Profile;
use postbridge::control::{self, Reply, Request, SOCKET};
use postbridge::smtp::server::Kind;
use postbridge::store::order::Order;
use postbridge::store::spool::{Entry, EntryId, State};
use serde_json::{Value, json};

/// From here on each of these requests to sendMail, counted from 1, meets this act.
async fn fault(bridge: &TestBridge, nth: &[u64], act: Value) {
    let rule = json!({"method": "POST", "route": "/v1.0/me/sendMail", "nth": nth, "do": act});
    bridge.post("/_sandbox/faults", json!({"faults": [rule]})).await;
}

/// The same for all of them, until it is called with `None`.
async fn always(bridge: &TestBridge, act: Option<Value>) {
    let rules: Vec<Value> = act
        .map(|act| json!({"route": "/v1.0/me/sendMail", "every": true, "do": act}))
        .into_iter()
        .collect();
    bridge.post("/_sandbox/faults", json!({ "faults": rules })).await;
}

fn answer(status: u16, code: &str) -> Value {
    json!({"answer": {"status": status, "code": code}})
}

/// Nothing happens, and the mail waits.
fn not_now() -> Value {
    answer(409, "ErrorIrresolvableConflict")
}

/// Gives an order through the socket: the entry as it is then, or the words of the refusal.
async fn order(bridge: &TestBridge, id: EntryId, order: Order) -> Result<Entry, String> {
    let socket = bridge.config.state_dir().join(SOCKET);
    match control::call(&socket, &Request::Order { id, order }).await.unwrap() {
        Reply::Entry { entry, .. } => Ok(*entry),
        Reply::Refused { why } => Err(why),
        other => panic!("{other:?}"),
    }
}

async fn refused(bridge: &TestBridge, id: EntryId, orders: &[Order], words: &str) {
    let before = bridge.entry(id).await;
    for &one in orders {
        let why = order(bridge, id, one).await.unwrap_err();
        assert!(why.contains(words) && why.contains(&id.to_string()), "{one:?}: {why}");
    }
    let after = bridge.entry(id).await;
    assert_eq!((before.state, before.note), (after.state, after.note));
}

async fn calls(bridge: &TestBridge) -> usize {
    let journal = bridge.get("/_sandbox/requests").await;
    let is_send = |row: &&Value| row["path"].as_str().is_some_and(|p| p.ends_with("/me/sendMail"));
    journal.as_array().unwrap().iter().filter(is_send).count()
}

/// Once it was tried and waits to be tried again.
async fn once_put_off(bridge: &TestBridge, id: EntryId) -> Entry {
    let seen = async {
        loop {
            let entry = bridge.entry(id).await;
            if entry.state == State::Queued && entry.attempts > 0 {
                return entry;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(common::PATIENCE, seen).await.unwrap()
}

/// Once every mail came to its end: no report is on its way that could meet the next fault.
async fn at_rest(bridge: &TestBridge) {
    let ended = |entry: &Entry| matches!(entry.state, State::Sent | State::Failed | State::Held);
    let seen = async {
        let store = &bridge.running.control.store;
        while !store.entries(None, 1000).await.unwrap().iter().all(ended) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(common::PATIENCE, seen).await.unwrap();
}

const ALL: [Order; 4] = [Order::Retry, Order::Drop, Order::Sent, Order::SendAgain];

/// A mail without a report on it, so that only the mail itself is called for.
async fn quiet(bridge: &TestBridge, subject: &str) -> EntryId {
    let mut client = Client::connect(bridge.address(Kind::Starttls), &bridge.password).unwrap();
    client.ask(&format!("MAIL FROM:<{USER}>"), "250").unwrap();
    client.ask(&format!("RCPT TO:<{COLLEAGUE}> NOTIFY=NEVER"), "250").unwrap();
    client.ask("DATA", "354").unwrap();
    let mail =
        format!("From: {USER}\r\nTo: {COLLEAGUE}\r\nSubject: {subject}\r\n\r\nHello\r\n.\r\n");
    client.send(&mail).unwrap();
    common::id_in(&client.expect("250").unwrap())
}

async fn bridge() -> TestBridge {
    TestBridge::start_as(Profile::SendOnly, |config| {
        config.smtp.starttls.clear();
        config.smtp.clear = vec![toml::Spanned::new(0..0, ([127, 0, 0, 1], 0).into())];
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_mail_is_marked_as_sent_and_never_called_for_again() {
    let bridge = bridge().await;
    fault(&bridge, &[1], json!("cut_after")).await;
    let id = quiet(&bridge, "went").await;
    bridge.once(id, State::Held).await;
    refused(&bridge, id, &[Order::Retry], "Sent Items").await;
    assert_eq!(order(&bridge, id, Order::Sent).await.unwrap().state, State::Sent);
    assert_eq!(bridge.running.control.store.body(id).await.unwrap(), None);
    bridge.running.control.store.flush().await.unwrap();
    let next = quiet(&bridge, "next").await;
    bridge.once(next, State::Sent).await;
    assert_eq!(calls(&bridge).await, 2);
    refused(&bridge, id, &ALL, "was sent").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_mail_that_did_not_go_is_sent_again_whole() {
    let bridge = bridge().await;
    fault(&bridge, &[1], json!("cut_before")).await;
    let id = quiet(&bridge, "did-not-go").await;
    bridge.once(id, State::Held).await;
    let entry = order(&bridge, id, Order::SendAgain).await.unwrap();
    assert_eq!((entry.state, entry.waited), (State::Queued, Duration::ZERO));
    bridge.once(id, State::Sent).await;
    assert_eq!(bridge.delivered().await, [format!("{COLLEAGUE}: did-not-go")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_a_mails_state_has_a_line_with_its_reason() {
    let bridge = bridge().await;
    fault(&bridge, &[1], not_now()).await;
    let id = quiet(&bridge, "steps").await;
    once_put_off(&bridge, id).await;
    always(&bridge, Some(answer(504, "UnknownError"))).await;
    bridge.running.control.store.flush().await.unwrap();
    bridge.once(id, State::Held).await;
    always(&bridge, None).await;
    order(&bridge, id, Order::SendAgain).await.unwrap();
    bridge.once(id, State::Sent).await;

    let store = &bridge.running.control.store;
    let lines = store.history(id).await.unwrap();
    let steps: Vec<_> = lines.iter().map(|line| (line.attempt, line.state)).collect();
    assert_eq!(
        steps,
        [(1, State::Queued), (2, State::Held), (2, State::Queued), (3, State::Sent)],
        "{lines:#?}"
    );
    let [put_off, held, again, sent] = lines.as_slice() else { unreachable!() };
    assert!(put_off.note.as_ref().unwrap().contains("409") && put_off.due_at > put_off.at);
    assert!(held.note.as_ref().unwrap().contains("504"), "{held:?}");
    assert_eq!(again.note.as_deref(), Some("sent again by the operator"));
    assert_eq!(sent.note, None);
    let mut last = store.last_lines(100).await.unwrap();
    last.retain(|line| line.entry == id);
    last.reverse();
    assert_eq!(last, lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_mail_is_dropped_without_a_word() {
    let bridge = TestBridge::start_as(Profile::SendOnly, |_| {}).await;
    always(&bridge, Some(answer(504, "UnknownError"))).await;
    let id = bridge.submit_short(&[COLLEAGUE], "let-be").await;
    bridge.once(id, State::Held).await;
    let before = bridge.running.control.store.entries(None, 100).await.unwrap().len();
    let entry = order(&bridge, id, Order::Drop).await.unwrap();
    assert_eq!(entry.note.as_deref(), Some("dropped by the operator"));
    assert_eq!(bridge.entry(id).await.state, State::Failed);
    assert_eq!(bridge.running.control.store.entries(None, 100).await.unwrap().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_waits_is_tried_at_once_or_dropped_and_cannot_be_resolved() {
    let bridge = TestBridge::start_as(Profile::SendOnly, |_| {}).await;
    always(&bridge, Some(not_now())).await;
    let (first, second) = (
        bridge.submit_short(&[COLLEAGUE], "first").await,
        bridge.submit_short(&[COLLEAGUE], "second").await,
    );
    once_put_off(&bridge, second).await;
    let waiting = once_put_off(&bridge, first).await;
    refused(&bridge, first, &[Order::Sent, Order::SendAgain], "is not held").await;
    always(&bridge, None).await;
    let entry = order(&bridge, first, Order::Retry).await.unwrap();
    assert!(entry.due_at < waiting.due_at, "{entry:?}");
    bridge.once(first, State::Sent).await;
    assert_eq!(order(&bridge, second, Order::Drop).await.unwrap().state, State::Failed);
    bridge.running.control.store.flush().await.unwrap();
    let last = bridge.submit_short(&[COLLEAGUE], "last").await;
    bridge.once(last, State::Sent).await;
    assert_eq!(
        bridge.delivered().await,
        [format!("{COLLEAGUE}: first"), format!("{COLLEAGUE}: last")]
    );
    refused(&bridge, second, &[Order::Drop, Order::Sent, Order::SendAgain], "has failed").await;
    refused(&bridge, second, &[Order::Retry], "hand the mail in again").await;
}

/// Someone gives the account the right that it lacked.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_failed_is_tried_again_for_a_day_unless_it_was_handed_in_again() {
    let bridge = TestBridge::start_as(Profile::SendOnly, |_| {}).await;
    let store = &bridge.running.control.store;
    let denied = answer(403, "ErrorSendAsDenied");
    let body = "x".repeat(69) + "\n";
    for (n, lines) in [1, 9000].into_iter().enumerate() {
        let mail = |subject: &str| {
            let body = body.repeat(lines);
            format!("From: {USER}\nTo: {COLLEAGUE}\nSubject: {subject}-{n}\n\n{body}")
        };
        // The first time; then it goes.
        at_rest(&bridge).await;
        bridge.post("/_sandbox/reset", json!({})).await;
        fault(&bridge, &[1], denied.clone()).await;
        let id = common::id_in(&bridge.submit(&[COLLEAGUE], &mail("again")).await.unwrap());
        bridge.once(id, State::Failed).await;
        let entry = order(&bridge, id, Order::Retry).await.unwrap();
        assert_eq!((entry.state, entry.answered, entry.kept), (State::Queued, None, false));
        bridge.once(id, State::Sent).await;
        let delivered = bridge.delivered().await;
        assert!(delivered.contains(&format!("{COLLEAGUE}: again-{n}")), "{delivered:?}");

        at_rest(&bridge).await;
        fault(&bridge, &[1], denied.clone()).await;
        let first = common::id_in(&bridge.submit(&[COLLEAGUE], &mail("twice")).await.unwrap());
        bridge.once(first, State::Failed).await;
        let second = common::id_in(&bridge.submit(&[COLLEAGUE], &mail("twice")).await.unwrap());
        assert_ne!(first, second);
        let why = order(&bridge, first, Order::Retry).await.unwrap_err();
        assert!(why.contains(&format!("as {second}")), "{why}");
        bridge.once(second, State::Sent).await;

        at_rest(&bridge).await;
        fault(&bridge, &[1], denied.clone()).await;
        let id = common::id_in(&bridge.submit(&[COLLEAGUE], &mail("late")).await.unwrap());
        bridge.once(id, State::Failed).await;
        // A day later.
        let soon = jiff::Timestamp::now() + Duration::from_secs(1);
        assert_eq!(store.forget_kept(soon).await.unwrap(), 2);
        refused(&bridge, id, &[Order::Retry], "hand the mail in again").await;
        assert_eq!(store.body(id).await.unwrap(), None);
    }
    let spool = bridge.config.state_dir().join("spool");
    assert_eq!(std::fs::read_dir(spool).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_is_being_sent_is_left_alone() {
    let bridge = TestBridge::start_as(Profile::SendOnly, |_| {}).await;
    fault(&bridge, &[1], json!({"delay_ms": 600_000})).await;
    let id = bridge.submit_short(&[COLLEAGUE], "under-way").await;
    bridge.once(id, State::Sending).await;
    refused(&bridge, id, &ALL, "at this moment").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_does_not_exist_is_refused_by_name() {
    let bridge = TestBridge::start_as(Profile::SendOnly, |_| {}).await;
    let nobody: EntryId = "01arz3ndektsv4rrffq69g5fav".parse().unwrap();
    for one in ALL {
        let why = order(&bridge, nobody, one).await.unwrap_err();
        assert!(why.contains("There is no mail 01arz3ndektsv4rrffq69g5fav"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_mail_gives_its_room_back() {
    let bridge = TestBridge::start_as(Profile::SendOnly, |config| config.spool.quota_mib = 1).await;
    always(&bridge, Some(not_now())).await;
    let body = "x".repeat(69) + "\n";
    let mail = |subject: &str| {
        format!("From: {USER}\nTo: {COLLEAGUE}\nSubject: {subject}\n\n{}", body.repeat(9000))
    };
    let id = common::id_in(&bridge.submit(&[COLLEAGUE], &mail("large")).await.unwrap());
    once_put_off(&bridge, id).await;
    let refusal = bridge.submit(&[COLLEAGUE], &mail("larger")).await.unwrap_err();
    assert!(refusal.contains("452 4.3.1"), "{refusal}");
    order(&bridge, id, Order::Drop).await.unwrap();
    let spool = bridge.config.state_dir().join("spool");
    assert_eq!(std::fs::read_dir(spool).unwrap().count(), 0);
    bridge.submit(&[COLLEAGUE], &mail("larger")).await.unwrap();
}

/// Whatever the worker does at that moment: a mail that was dropped was not sent, one that could not
/// be dropped was.
#[tokio::test(flavor = "multi_thread")]
async fn a_drop_and_the_worker_never_both_have_the_same_mail() {
    let bridge = TestBridge::start_as(Profile::SendOnly, |_| {}).await;
    always(&bridge, Some(json!({"delay_ms": 3}))).await;
    let mut dropped = Vec::new();
    let mut sent = Vec::new();
    for n in 0..40 {
        let subject = format!("raced-{n}");
        let id = bridge.submit_short(&[COLLEAGUE], &subject).await;
        for _ in 0..n % 8 {
            tokio::task::yield_now().await;
        }
        match order(&bridge, id, Order::Drop).await {
            Ok(_) => dropped.push((id, subject)),
            Err(_) => sent.push((id, subject)),
        }
    }
    for (id, _) in &sent {
        bridge.once(*id, State::Sent).await;
    }
    for (id, _) in &dropped {
        assert_eq!(bridge.entry(*id).await.state, State::Failed);
    }
    let mut expected: Vec<String> =
        sent.iter().map(|(_, subject)| format!("{COLLEAGUE}: {subject}")).collect();
    let mut delivered = bridge.delivered().await;
    expected.sort();
    delivered.sort();
    assert_eq!(delivered, expected);
}

fn text(output: &Output) -> (i32, String, String) {
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// As a person types them, with a daemon and without one.
#[test]
fn the_commands_say_what_they_did_what_can_be_done_and_why_not() {
    let site = Site::new_as(Profile::SendOnly);
    let run = |arguments: &[&str]| text(&site.command(arguments).output().unwrap());
    let set = |act: &str| {
        let text = format!(
            r#"{{"faults": [{{"route": "/v1.0/me/sendMail", "every": true, "do": {act}}}]}}"#
        );
        site.sandbox.world().faults.set(serde_json::from_str(&text).unwrap());
    };
    set(r#"{"answer": {"status": 504, "code": "UnknownError"}}"#);
    let mut daemon = site.serve();
    let mut client = Client::connect(daemon.address, &site.password).unwrap();
    let held = client.submit(&Mail::new("held", &[COLLEAGUE], &[], 10)).unwrap().to_string();
    site.work_off(&mut daemon);
    set(r#"{"answer": {"status": 403, "code": "ErrorSendAsDenied"}}"#);
    let failed = client.submit(&Mail::new("failed", &[COLLEAGUE], &[], 10)).unwrap().to_string();
    site.work_off(&mut daemon);

    let in_words = |(status, out, err): (i32, String, String)| {
        assert_eq!(status, 0, "{out}{err}");
        out
    };
    let shown = in_words(run(&["queue", "show", &held]));
    for words in [
        "state     held",
        &format!("Sent Items of {USER}"),
        &format!("from      {USER}"),
        &format!("to        {COLLEAGUE}"),
        "attempts  1",
        "504",
        &format!("postbridge queue resolve {held} --sent"),
        &format!("postbridge queue resolve {held} --send-again"),
    ] {
        assert!(shown.contains(words), "{words:?} is not in\n{shown}");
    }
    let shown = in_words(run(&["queue", "show", &failed]));
    assert!(shown.contains("answered  403 ErrorSendAsDenied"), "{shown}");
    let steps = in_words(run(&["logs", &failed]));
    let steps: Vec<&str> = steps.lines().collect();
    assert!(steps.len() == 2 && steps[0].contains("accepted"), "{steps:?}");
    assert!(steps[1].contains("failed      attempt 1: "), "{steps:?}");
    let last = in_words(run(&["logs", "--most", "1"]));
    assert!(last.lines().count() == 1 && !last.contains("accepted"), "{last}");
    let steps = in_words(run(&["logs", &held, "--json"]));
    let steps: Value = serde_json::from_str(&steps).unwrap();
    assert_eq!(steps["lines"][0]["state"], "held", "{steps}");

    // One that waits, and when it may go.
    set(r#"{"answer": {"status": 429, "code": "ApplicationThrottled", "retry_after": "5000"}}"#);
    let waits = client.submit(&Mail::new("waits", &[COLLEAGUE], &[], 10)).unwrap().to_string();
    let deadline = std::time::Instant::now() + common::PATIENCE;
    let list = loop {
        let (_, _, list) = run(&["queue", "list"]);
        assert!(std::time::Instant::now() < deadline, "{list}");
        if list.contains("throttled") {
            break list;
        }
    };
    for words in [
        "\n",
        USER,
        ": 1 on their way, throttled by Microsoft until 2",
        ", expected to be done by 2",
    ] {
        assert!(list.contains(words), "{words:?} is not in\n{list}");
    }
    let shown = in_words(run(&["queue", "show", &waits]));
    assert!(shown.contains("\nexpected  2"), "{shown}");
    let json =
        |arguments: &[&str]| -> Value { serde_json::from_str(&in_words(run(arguments))).unwrap() };
    let list = json(&["queue", "list", "--json"]);
    assert_eq!(list["waiting"][0]["address"], USER);
    assert_eq!(list["waiting"][0]["mails"], 1);
    assert!(list["waiting"][0]["expected"].is_string(), "{list}");
    assert!(json(&["queue", "show", &waits, "--json"])["expected"].is_string());
    assert!(json(&["queue", "show", &failed, "--json"]).get("expected").is_none());

    let (status, out, err) = run(&["queue", "retry", &held]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.starts_with("postbridge: ") && err.contains("--send-again"), "{err}");
    // One of the two has to be said, and only one.
    for arguments in [&["--sent", "--send-again"][..], &[]] {
        let (status, ..) = run(&[&["queue", "resolve", &held], arguments].concat());
        assert_eq!(status, 2);
    }
    daemon.terminate();
    assert!(daemon.ended().success());

    // Without a daemon the same, and it is on disk; but nobody knows when anything will be done.
    assert!(in_words(run(&["queue", "drop", &waits])).contains("dropped"));
    assert_eq!(json(&["queue", "list", "--json"])["waiting"], json!([]));
    let (status, out, _) = run(&["queue", "resolve", &held, "--send-again", "--json"]);
    let entry: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &entry["state"], &entry["id"]), (0, &json!("queued"), &json!(held)));
    assert!(in_words(run(&["queue", "show", &held])).contains("postbridge queue retry"));
    let out = in_words(run(&["queue", "retry", &held]));
    assert_eq!(out, format!("{held}: due now\n"));
    let out = in_words(run(&["queue", "drop", &held]));
    assert_eq!(out, format!("{held}: dropped; it will not be sent\n"));
    let (status, out, err) = run(&["queue", "drop", &held, "--json"]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("has failed"), "{err}");
    let (entries, _) = site.at_rest();
    let entry = entries.iter().find(|entry| entry.id.to_string() == held).unwrap();
    assert_eq!(entry.state, State::Failed);
    assert!(site.copies("held").is_empty());
}
