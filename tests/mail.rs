//! A mail from SMTP to the recipient, and what becomes of it when Microsoft does not say yes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{COLLEAGUE, TestBridge, USER};
use postbridge::store::spool::State;

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_arrives_once_with_every_octet_of_its_body() {
    let bridge = TestBridge::start().await;
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
