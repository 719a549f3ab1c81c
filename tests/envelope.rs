//! The envelope is the delivery set: who was named by RCPT TO gets one copy, nobody else gets any,
//! whatever the header says; and the same mail handed in again is the same mail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{COLLEAGUE, TestBridge, USER};
use postbridge::store::spool::State;

const OUTSIDE: &str = "pradeep.gupta@fabrikam.example";
const UNSEEN: &str = "megan.bowen@fabrikam.example";

/// Hands a mail in, and once it went gives who has copies of it (sorted) and the first as it arrived.
async fn deliver(bridge: &TestBridge, to: &[&str], head: &str) -> (Vec<String>, String) {
    let known = bridge.delivered().await.len();
    let message = format!("From: {USER}\n{head}\n\nHello\n");
    let id = common::id_in(&bridge.submit(to, &message).await.unwrap());
    bridge.once(id, State::Sent).await;
    let ledger = bridge.ledger().await;
    let rows = &ledger["mails"].as_array().unwrap()[known..];
    let mut recipients: Vec<String> =
        rows.iter().map(|row| row["recipient"].as_str().unwrap().to_owned()).collect();
    recipients.sort();
    (recipients, bridge.raw(rows[0]["seq"].as_u64().unwrap()).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_whom_no_field_names_gets_a_copy_and_stays_unseen() {
    let bridge = TestBridge::start().await;
    for head in [
        format!("To: {COLLEAGUE}\nSubject: unnamed"),
        format!("To: {COLLEAGUE}\nBcc: {UNSEEN}\nSubject: in-bcc"),
        format!("To: {COLLEAGUE}\nBcc: somebody.else@fabrikam.example\nSubject: another-in-bcc"),
    ] {
        let (recipients, raw) = deliver(&bridge, &[COLLEAGUE, UNSEEN], &head).await;
        assert_eq!(recipients, [COLLEAGUE, UNSEEN], "{head}");
        let lower = raw.to_lowercase();
        assert!(!lower.contains("bcc:") && !lower.contains(UNSEEN), "{raw}");
        assert!(!lower.contains("somebody.else"), "{raw}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stands_in_the_header_alone_gets_nothing() {
    let bridge = TestBridge::start().await;
    let head = format!("To: {COLLEAGUE}, {OUTSIDE}\nCc: {UNSEEN}\nSubject: redirected");
    let (recipients, raw) = deliver(&bridge, &[COLLEAGUE], &head).await;
    assert_eq!(recipients, [COLLEAGUE]);
    // What was written can still be read, where nobody mails to it.
    assert!(raw.contains(&format!("X-Postbridge-To: {COLLEAGUE}, {OUTSIDE}")), "{raw}");
    assert!(raw.contains(&format!("X-Postbridge-Cc: {UNSEEN}")), "{raw}");
    // And where none of those named is meant.
    let head = format!("To: {OUTSIDE}\nSubject: elsewhere");
    let (recipients, raw) = deliver(&bridge, &[COLLEAGUE], &head).await;
    assert_eq!(recipients, [COLLEAGUE]);
    assert!(!raw.contains(&format!("\nTo: {OUTSIDE}")), "{raw}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_to_nobody_in_particular_reaches_its_envelope() {
    let bridge = TestBridge::start().await;
    for head in ["Subject: no-to", "To: undisclosed-recipients:;\nSubject: undisclosed"] {
        let (recipients, raw) = deliver(&bridge, &[COLLEAGUE, OUTSIDE], head).await;
        assert_eq!(recipients, [COLLEAGUE, OUTSIDE], "{head}");
        assert!(raw.contains("undisclosed-recipients:;"), "{raw}");
        assert!(!raw.contains(COLLEAGUE) && !raw.contains(OUTSIDE), "{raw}");
    }
    let head = format!("To: Team: {COLLEAGUE}, {OUTSIDE};\nSubject: group");
    let (recipients, _) = deliver(&bridge, &[COLLEAGUE, OUTSIDE], &head).await;
    assert_eq!(recipients, [COLLEAGUE, OUTSIDE]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_given_twice_gets_one_copy() {
    let bridge = TestBridge::start().await;
    let shouted = COLLEAGUE.to_uppercase();
    let head = format!("To: {COLLEAGUE}, {shouted}\nCc: {COLLEAGUE}\nSubject: twice");
    let (recipients, _) = deliver(&bridge, &[COLLEAGUE, &shouted, COLLEAGUE], &head).await;
    let recipients: Vec<String> = recipients.iter().map(|r| r.to_lowercase()).collect();
    assert_eq!(recipients, [COLLEAGUE]);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_recipients_get_one_copy_each_and_one_more_is_refused() {
    let bridge = TestBridge::start().await;
    let all: Vec<String> = (0..501).map(|n| format!("reader-{n:03}@fabrikam.example")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    // Half of them named, the others not.
    let head = format!("To: {}\nSubject: many", all[..250].join(",\n "));
    let (recipients, raw) = deliver(&bridge, &all[..500], &head).await;
    assert_eq!(recipients, all[..500]);
    assert!(raw.contains(all[249]) && !raw.contains(all[250]), "{raw}");
    let refusal = bridge.submit(&all, "Subject: too many\n\nHello\n").await.unwrap_err();
    assert!(refusal.contains("452 4.5.3"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_handed_in_again_keeps_its_id_and_goes_once() {
    let bridge = TestBridge::start().await;
    let first = bridge.submit_short(&[COLLEAGUE], "again").await;
    bridge.once(first, State::Sent).await;
    assert_eq!(bridge.submit_short(&[COLLEAGUE], "again").await, first);
    // Another envelope is another mail.
    let message = format!(
        "From: {USER}\nTo: {COLLEAGUE}\nMessage-ID: <again@contoso.example>\nSubject: again\n\nHello\n"
    );
    let other = common::id_in(&bridge.submit(&[OUTSIDE], &message).await.unwrap());
    assert_ne!(other, first);
    bridge.once(other, State::Sent).await;
    assert_eq!(
        bridge.delivered().await,
        [format!("{COLLEAGUE}: again"), format!("{OUTSIDE}: again")]
    );
}

/// Neither Message-ID nor Date: still the same mail when it comes again at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_lost_our_250_is_answered_with_the_same_id() {
    let bridge = TestBridge::start().await;
    let scan = format!("To: {COLLEAGUE}\nSubject: scan\n\n{}\n", "a page\n".repeat(40_000));
    let first = common::id_in(&bridge.submit(&[COLLEAGUE], &scan).await.unwrap());
    let second = common::id_in(&bridge.submit(&[COLLEAGUE], &scan).await.unwrap());
    assert_eq!(first, second);
    bridge.once(first, State::Sent).await;
    assert_eq!(bridge.delivered().await.len(), 1);
}
