//! A mail from SMTP to the recipient, and what becomes of it when Microsoft does not say yes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::daemon::{Client, Mail};
use common::{COLLEAGUE, PATIENCE, TestBridge, USER};
use postbridge::account::{Profile, Standing};
use postbridge::smtp::server::Kind;
use postbridge::store::spool::{Entry, EntryId, State};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_arrives_once_with_every_octet_of_its_body() {
    let bridge = TestBridge::start_as(Profile::SendOnly, |_| {}).await;
    let body = "Line one\n  indented\n\nlast line\n";
    let message = format!("From: {USER}\nTo: {COLLEAGUE}\nSubject: whole\n\n{body}");
    let reply = bridge.submit(&[COLLEAGUE], &message).await.unwrap();
    assert!(reply.starts_with("250 2.0.0 queued as "), "{reply}");
    bridge.once(common::id_in(&reply), State::Sent).await;
    assert_eq!(bridge.delivered().await, [format!("{COLLEAGUE}: whole")]);
    let seq = bridge.ledger().await["mails"][0]["seq"].as_u64().unwrap();
    let raw = bridge.raw(seq).await;
    let (_, arrived) = raw.split_once("\r\n\r\n").unwrap();
    assert_eq!(arrived, body.replace('\n', "\r\n"));
}

/// From here on each of these requests to sendMail, counted from 1, meets this act.
async fn fault(bridge: &TestBridge, nth: &[u64], act: Value) {
    let rule = json!({"method": "POST", "route": "/v1.0/me/sendMail", "nth": nth, "do": act});
    bridge.post("/_sandbox/faults", json!({"faults": [rule]})).await;
}

fn answer(status: u16, code: &str, retry_after: Option<&str>) -> Value {
    json!({"answer": {"status": status, "code": code, "retry_after": retry_after}})
}

/// When each call to sendMail came, in milliseconds.
async fn calls(bridge: &TestBridge) -> Vec<i64> {
    requests(bridge, "/v1.0/me/sendMail").await
}

async fn requests(bridge: &TestBridge, path: &str) -> Vec<i64> {
    let journal = bridge.get("/_sandbox/requests").await;
    let rows = journal.as_array().unwrap().iter();
    let of_path = rows.filter(|row| row["path"].as_str().is_some_and(|p| p.ends_with(path)));
    of_path.map(|row| row["at_ms"].as_i64().unwrap()).collect()
}

async fn standing(bridge: &TestBridge) -> Standing {
    let store = &bridge.running.control.store;
    store.account_by_login(USER).await.unwrap().unwrap().standing.clone()
}

/// Once the account can do nothing without its user.
async fn once_it_needs_sign_in(bridge: &TestBridge) -> String {
    let seen = async {
        loop {
            if let Standing::NeedsSignIn(why) = standing(bridge).await {
                return why;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap()
}

/// Once it was tried and goes back to wait.
async fn once_put_off(bridge: &TestBridge, id: EntryId) -> Entry {
    let seen = async {
        loop {
            let entry = bridge.entry(id).await;
            if entry.state == State::Queued && entry.note.is_some() {
                return entry;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap()
}

async fn entries(bridge: &TestBridge) -> Vec<Entry> {
    bridge.running.control.store.entries(None, 1000).await.unwrap()
}

/// Once every mail, reports too, came to its end.
async fn at_rest(bridge: &TestBridge) -> Vec<Entry> {
    let ended = |state| matches!(state, State::Sent | State::Failed | State::Held);
    let seen = async {
        loop {
            let entries = entries(bridge).await;
            if entries.iter().all(|entry| ended(entry.state)) {
                return entries;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_mail_goes_once_and_not_before_the_time_that_was_said() {
    let bridge = TestBridge::start_as(Profile::SendOnly, |_| {}).await;
    let throttled = |after| answer(429, "ApplicationThrottled", Some(after));
    let rule = |nth: u64, act| json!({"route": "/v1.0/me/sendMail", "nth": [nth], "do": act});
    let script = json!({"faults": [rule(1, throttled("1")), rule(2, throttled("1.628"))]});
    bridge.post("/_sandbox/faults", script).await;
    let id = bridge.submit_short(&[COLLEAGUE], "throttled").await;
    let entry = bridge.once(id, State::Sent).await;
    assert_eq!(entry.attempts, 3);
    let calls = calls(&bridge).await;
    assert_eq!(calls.len(), 3);
    assert!(calls[1] - calls[0] >= 1000, "{calls:?}");
    assert!(calls[2] - calls[1] >= 1628, "{calls:?}");
    assert_eq!(bridge.delivered().await, [format!("{COLLEAGUE}: throttled")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_mailbox_is_left_alone_whatever_else_comes_for_it() {
    let bridge = TestBridge::start_as(Profile::SendOnly, |_| {}).await;
    fault(&bridge, &[1], answer(429, "ApplicationThrottled", Some("1.5"))).await;
    let first = bridge.submit_short(&[COLLEAGUE], "first").await;
    once_put_off(&bridge, first).await;
    for n in 0..5 {
        bridge.submit_short(&[COLLEAGUE], &format!("later-{n}")).await;
    }
    bridge.running.control.store.flush().await.unwrap();
    let entries = at_rest(&bridge).await;
    assert!(entries.iter().all(|entry| entry.state == State::Sent), "{entries:?}");
    let calls = calls(&bridge).await;
    assert_eq!(calls.len(), 7);
    assert!(calls[1..].iter().all(|at| at - calls[0] >= 1500), "{calls:?}");
}

/// Nobody can tell whether these went, so they are asked for once and shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_in_doubt_is_held_and_called_for_once() {
    let bridge = TestBridge::start_as(Profile::SendOnly, |_| {}).await;
    let in_doubt = [
        (answer(500, "ErrorInternalServerError", None), 0),
        (answer(502, "", None), 0),
        (answer(503, "ErrorServerBusy", Some("1")), 0),
        (answer(504, "UnknownError", None), 0),
        (json!({"act_then_answer": {"status": 503, "code": "ErrorServerBusy"}}), 1),
        (json!({"act_then_answer": {"status": 504, "code": "UnknownError"}}), 1),
        (json!("cut_before"), 0),
        (json!("cut_after"), 1),
        // Seen once: success is claimed with a status that this call does not have.
        (answer(200, "", None), 0),
    ];
    for (n, (act, copies)) in in_doubt.into_iter().enumerate() {
        bridge.post("/_sandbox/reset", json!({})).await;
        fault(&bridge, &[1], act.clone()).await;
        let id = bridge.submit_short(&[COLLEAGUE], &format!("doubt-{n}")).await;
        let entry = bridge.once(id, State::Held).await;
        assert!(entry.note.is_some(), "{act}");
        bridge.running.control.store.flush().await.unwrap();
        // Whatever follows goes; what is held is not touched by it.
        let next = bridge.submit_short(&[COLLEAGUE], &format!("next-{n}")).await;
        bridge.once(next, State::Sent).await;
        at_rest(&bridge).await;
        assert_eq!(bridge.entry(id).await.state, State::Held);
        // The mail, the report on it, and the next one.
        assert_eq!(calls(&bridge).await.len(), 3, "{act}");
        let delivered = bridge.delivered().await;
        let count = |row: &str| delivered.iter().filter(|it| it.as_str() == row).count();
        assert_eq!(count(&format!("{COLLEAGUE}: doubt-{n}")), copies, "{act}: {delivered:?}");
        let report = format!("{USER}: Unknown whether sent: doubt-{n}");
        assert_eq!(count(&report), 1, "{act}: {delivered:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_200_that_sent_nothing_is_not_taken_for_success() {
    let bridge = TestBridge::start_as(Profile::SendOnly, |_| {}).await;
    let switches = json!({"oversize_mime": "status200_nothing_sent", "mime_octets_max": 1000});
    bridge.post("/_sandbox/switches", switches).await;
    let message = format!("From: {USER}\nTo: {COLLEAGUE}\nSubject: big\n\n{}\n", "x".repeat(900));
    let id = common::id_in(&bridge.submit(&[COLLEAGUE], &message).await.unwrap());
    bridge.once(id, State::Held).await;
    assert!(bridge.delivered().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_202_is_success_whatever_stands_beside_it() {
    let bridge = TestBridge::start_as(Profile::SendOnly, |_| {}).await;
    bridge.post("/_sandbox/switches", json!({"retry_after_on_202": true})).await;
    // The second answer breaks off behind its head: the status has been said by then.
    fault(&bridge, &[2], json!("truncate")).await;
    for subject in ["told-to-come-again", "cut-short"] {
        let id = bridge.submit_short(&[COLLEAGUE], subject).await;
        assert_eq!(bridge.once(id, State::Sent).await.attempts, 1);
    }
    bridge.running.control.store.flush().await.unwrap();
    assert_eq!(calls(&bridge).await.len(), 2);
    assert_eq!(bridge.delivered().await.len(), 2);
}

/// A way to Graph that can be shut: forwards to the sandbox while it is held.
fn way(from: std::net::TcpListener, to: String) -> tokio::task::AbortHandle {
    from.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(from).unwrap();
    let forwarding = tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let to = to.clone();
            tokio::spawn(async move {
                if let Ok(mut far) = tokio::net::TcpStream::connect(to).await {
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    });
    forwarding.abort_handle()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_waits_while_graph_cannot_be_reached() {
    let near = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = near.local_addr().unwrap();
    let (mut open, mut sandbox) = (None, String::new());
    let bridge = TestBridge::start_as(Profile::SendOnly, |config| {
        let entra = config.entra.as_mut().unwrap();
        let url = entra.graph_url.take().unwrap().to_string();
        sandbox = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        open = Some(way(near, sandbox.clone()));
        entra.graph_url = Some(format!("http://{address}").parse().unwrap());
    })
    .await;
    open.unwrap().abort();
    // The listener is gone once its task is: connections are refused from then on.
    while std::net::TcpStream::connect(address).is_ok() {
        tokio::task::yield_now().await;
    }
    let id = bridge.submit_short(&[COLLEAGUE], "no-way").await;
    let entry = once_put_off(&bridge, id).await;
    assert!(entry.note.unwrap().contains("firewall"));
    let _open = way(std::net::TcpListener::bind(address).unwrap(), sandbox);
    bridge.running.control.store.flush().await.unwrap();
    bridge.once(id, State::Sent).await;
    assert_eq!(bridge.delivered().await.len(), 1);
}

/// Each refusal for good: what Graph says, and the status that the sender is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_mail_makes_one_report_in_the_senders_own_mailbox() {
    let bridge = TestBridge::start_as(Profile::SendOnly, |_| {}).await;
    for (n, (status, code, enhanced)) in [
        (400, "ErrorInvalidRecipients", "5.1.3"),
        (403, "ErrorSendAsDenied", "5.7.1"),
        (413, "RequestEntityTooLarge", "5.3.4"),
        (400, "ErrorMimeContentInvalidBase64String", "5.6.0"),
    ]
    .into_iter()
    .enumerate()
    {
        bridge.post("/_sandbox/reset", json!({})).await;
        fault(&bridge, &[1], answer(status, code, None)).await;
        let subject = format!("refused-{n}");
        let id = bridge.submit_short(&[COLLEAGUE], &subject).await;
        assert_eq!(bridge.once(id, State::Failed).await.attempts, 1);
        at_rest(&bridge).await;
        assert_eq!(bridge.delivered().await, [format!("{USER}: Not delivered: {subject}")]);
        let seq = bridge.ledger().await["mails"][0]["seq"].as_u64().unwrap();
        let report = bridge.raw(seq).await;
        for line in [
            "report-type=\"delivery-status\"",
            &format!("Status: {enhanced}"),
            "Action: failed",
            &format!("Final-Recipient: rfc822; {COLLEAGUE}"),
            &format!("{status} {code}"),
            &id.to_string(),
        ] {
            assert!(report.contains(line), "{line:?} is not in\n{report}");
        }
        assert!(!report.contains("Hello"), "the body is nobody's business\n{report}");
        assert_eq!(calls(&bridge).await.len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_fails_makes_no_report() {
    let bridge = TestBridge::start_as(Profile::SendOnly, |_| {}).await;
    fault(&bridge, &[1, 2, 3, 4], answer(400, "ErrorInvalidRecipients", None)).await;
    let id = bridge.submit_short(&[COLLEAGUE], "twice-refused").await;
    bridge.once(id, State::Failed).await;
    let entries = at_rest(&bridge).await;
    assert_eq!(entries.len(), 2, "{entries:?}");
    assert!(entries.iter().all(|entry| entry.state == State::Failed), "{entries:?}");
    assert_eq!(calls(&bridge).await.len(), 2);
    assert!(bridge.delivered().await.is_empty());
}

/// A bridge that takes passwords in clear, for the plain client.
async fn bridge_in_clear() -> TestBridge {
    TestBridge::start_as(Profile::SendOnly, |config| {
        config.smtp.starttls.clear();
        config.smtp.clear = vec![toml::Spanned::new(0..0, ([127, 0, 0, 1], 0).into())];
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_no_report_gets_none() {
    let bridge = bridge_in_clear().await;
    fault(&bridge, &[1, 2, 3], answer(400, "ErrorInvalidRecipients", None)).await;
    let address = bridge.address(Kind::Starttls);
    let mut client = Client::connect(address, &bridge.password).unwrap();
    for (n, (from, notify)) in [
        // RFC 3461 §4.1, and RFC 5321 §6.1.
        (format!("<{USER}>"), "NOTIFY=NEVER"),
        (format!("<{USER}>"), "NOTIFY=SUCCESS"),
        ("<>".to_owned(), "NOTIFY=FAILURE"),
    ]
    .into_iter()
    .enumerate()
    {
        client.ask(&format!("MAIL FROM:{from}"), "250").unwrap();
        client.ask(&format!("RCPT TO:<{COLLEAGUE}> {notify}"), "250").unwrap();
        client.ask("DATA", "354").unwrap();
        client.send(&format!("From: {USER}\r\nSubject: quiet-{n}\r\n\r\nHello\r\n.\r\n")).unwrap();
        let id = common::id_in(&client.expect("250").unwrap());
        bridge.once(id, State::Failed).await;
    }
    assert_eq!(at_rest(&bridge).await.len(), 3);
    assert_eq!(calls(&bridge).await.len(), 3);
    assert!(bridge.delivered().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_renewed_once_and_the_mail_goes() {
    let bridge = TestBridge::start_as(Profile::SendOnly, |_| {}).await;
    bridge.post("/_sandbox/reset", json!({})).await;
    fault(&bridge, &[1], json!("expire_tokens")).await;
    let id = bridge.submit_short(&[COLLEAGUE], "expired").await;
    assert_eq!(bridge.once(id, State::Sent).await.attempts, 1);
    assert_eq!(calls(&bridge).await.len(), 2);
    assert_eq!(requests(&bridge, "/oauth2/v2.0/token").await.len(), 1);
    assert_eq!(bridge.delivered().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_however_new_puts_the_mail_off() {
    let bridge = TestBridge::start_as(Profile::SendOnly, |_| {}).await;
    bridge.post("/_sandbox/reset", json!({})).await;
    fault(&bridge, &[1, 2], answer(401, "InvalidAuthenticationToken", None)).await;
    let id = bridge.submit_short(&[COLLEAGUE], "refused-token").await;
    once_put_off(&bridge, id).await;
    assert_eq!((calls(&bridge).await.len(), standing(&bridge).await), (2, Standing::Ready));
    bridge.running.control.store.flush().await.unwrap();
    bridge.once(id, State::Sent).await;
    assert_eq!(bridge.delivered().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_of_a_revoked_account_waits_for_its_user_and_bounces_nowhere() {
    let bridge = TestBridge::start_as(Profile::SendOnly, |_| {}).await;
    fault(&bridge, &[1], json!("revoke_tokens")).await;
    let first = bridge.submit_short(&[COLLEAGUE], "revoked").await;
    let why = once_it_needs_sign_in(&bridge).await;
    assert!(why.contains("sign in again"), "{why}");
    once_put_off(&bridge, first).await;
    // Clients notice nothing, and nobody asks Microsoft in vain.
    let second = bridge.submit_short(&[COLLEAGUE], "meanwhile").await;
    bridge.running.control.store.flush().await.unwrap();
    assert_eq!(calls(&bridge).await.len(), 1);
    assert!(bridge.delivered().await.is_empty());
    common::sign_in(&bridge.running.control).await;
    for id in [first, second] {
        bridge.once(id, State::Sent).await;
    }
    assert_eq!(bridge.delivered().await.len(), 2);
    assert_eq!(entries(&bridge).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_permission_waits_for_its_user() {
    let bridge = TestBridge::start_as(Profile::SendOnly, |_| {}).await;
    for (n, (status, code)) in
        [(403, "ErrorAccessDenied"), (404, "MailboxNotEnabledForRESTAPI")].into_iter().enumerate()
    {
        fault(&bridge, &[1], answer(status, code, None)).await;
        let id = bridge.submit_short(&[COLLEAGUE], &format!("not-allowed-{n}")).await;
        once_put_off(&bridge, id).await;
        assert!(once_it_needs_sign_in(&bridge).await.contains(code));
        common::sign_in(&bridge.running.control).await;
        bridge.once(id, State::Sent).await;
    }
    assert_eq!(bridge.delivered().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_in_trouble_does_not_delay_another() {
    let bridge = bridge_in_clear().await;
    let control = &bridge.running.control;
    let other = common::add_account_of(COLLEAGUE, control, Profile::SendOnly).await;
    let slow = |nth: &[u64], act: Value| json!({"route": "/v1.0/me/sendMail", "mailbox": USER, "nth": nth, "do": act});
    let throttled = answer(429, "ApplicationThrottled", Some("600"));
    let script = [slow(&[1, 2], json!({"delay_ms": 600_000})), slow(&[3], throttled)];
    bridge.post("/_sandbox/faults", json!({"faults": script})).await;
    // Two hang, the third throttles the mailbox, and more of it wait.
    let mut stuck = Vec::new();
    for n in 0..6 {
        stuck.push(bridge.submit_short(&[COLLEAGUE], &format!("stuck-{n}")).await);
    }
    let address = bridge.address(Kind::Starttls);
    let mut client = Client::connect_as(COLLEAGUE, address, &other).unwrap();
    for n in 0..5 {
        let mail = Mail::sent_as(COLLEAGUE, &format!("free-{n}"), &[USER], &[], 100);
        let id = client.submit(&mail).unwrap();
        bridge.once(id, State::Sent).await;
    }
    assert_eq!(bridge.delivered().await.len(), 5);
    for id in stuck {
        assert!(!matches!(bridge.entry(id).await.state, State::Sent | State::Failed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_mailbox_ever_has_more_in_flight_than_microsoft_allows() {
    let bridge = TestBridge::start_as(Profile::SendOnly, |_| {}).await;
    let rule = json!({"route": "/v1.0/me/sendMail", "every": true, "do": {"delay_ms": 40}});
    bridge.post("/_sandbox/faults", json!({"faults": [rule]})).await;
    for n in 0..30 {
        bridge.submit_short(&[COLLEAGUE], &format!("many-{n}")).await;
    }
    let entries = at_rest(&bridge).await;
    assert!(entries.iter().all(|entry| entry.state == State::Sent && entry.attempts == 1));
    let ledger = bridge.ledger().await;
    assert_eq!(ledger["throttled"], json!([]));
    assert_eq!(bridge.delivered().await.len(), 30);
}

/// Damage on the disk, or a key that is not this account's.
#[tokio::test(flavor = "multi_thread")]
async fn mail_of_an_account_whose_token_cannot_be_opened_waits_for_its_user() {
    let bridge = TestBridge::start_as(Profile::SendOnly, |_| {}).await;
    let store = &bridge.running.control.store;
    let damage = store.write(|connection| {
        Box::pin(async move {
            sqlx::query("UPDATE refresh_token SET sealed = x'01'").execute(connection).await?;
            Ok(())
        })
    });
    damage.await.unwrap();
    fault(&bridge, &[1], json!("expire_tokens")).await;
    let id = bridge.submit_short(&[COLLEAGUE], "damaged").await;
    let why = once_it_needs_sign_in(&bridge).await;
    assert!(why.contains("sign in again"), "{why}");
    assert_eq!(once_put_off(&bridge, id).await.attempts, 1);
    common::sign_in(&bridge.running.control).await;
    assert_eq!(bridge.once(id, State::Sent).await.attempts, 2);
}

/// The refusal of the old token comes when its user has signed in again already.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_refusal_does_not_undo_a_new_sign_in() {
    let bridge = TestBridge::start_as(Profile::SendOnly, |_| {}).await;
    let denied = answer(403, "ErrorAccessDenied", None);
    let rule = |act: Value| json!({"route": "/v1.0/me/sendMail", "nth": [1], "do": act});
    let script = json!({"faults": [rule(json!({"delay_ms": 500})), rule(denied)]});
    bridge.post("/_sandbox/faults", script).await;
    let id = bridge.submit_short(&[COLLEAGUE], "late").await;
    bridge.once(id, State::Sending).await;
    common::sign_in(&bridge.running.control).await;
    assert_eq!(bridge.once(id, State::Sent).await.attempts, 2);
    assert_eq!(standing(&bridge).await, Standing::Ready);
}
