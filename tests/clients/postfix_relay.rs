//! Postfix as a client, with the bridge for its relayhost and its connection cache on.

use crate::Scene;
use crate::common::{COLLEAGUE, USER};
use crate::postfix::Postfix;
use postbridge::smtp::server::Kind;

/// A mail as a program hands it to `sendmail`.
fn mail(from: &str, to: &str, subject: &str) -> String {
    format!("From: {from}\nTo: {to}\nSubject: {subject}\n\nHello\n")
}

/// The deliveries in a log: how many mails the connection of each had carried by then.
fn uses_of_connections(log: &str) -> Vec<usize> {
    let sent = log.lines().filter(|line| line.contains("relay=localhost["));
    sent.map(|line| match line.split_once("conn_use=") {
        Some((_, rest)) => rest.split(',').next().unwrap().parse().unwrap(),
        None => 1,
    })
    .collect()
}

/// Mails are put in the queue before Postfix starts, so that the connection has no time to get cold.
async fn sixty_mails(kind: Kind) {
    let scene = Scene::set().await;
    let Some(postfix) = Postfix::new(&scene, kind, 1).await else { return };
    let mut expected = Vec::new();
    for number in 0..60 {
        let subject = format!("mail {number}");
        // As vacation notices and delivery reports do it.
        let sender = if number % 4 == 3 { "" } else { USER };
        postfix.sendmail(sender, &[COLLEAGUE], &mail(USER, COLLEAGUE, &subject)).await;
        expected.push(format!("{COLLEAGUE}: {subject}"));
    }
    postfix.start().await;
    scene.arrives(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
    postfix.drained().await;
    let log = postfix.log();
    let uses = uses_of_connections(&log);
    assert_eq!(uses.len(), 60);
    // The first mails may find the cache not yet in use; no more than that.
    assert!(uses.contains(&50), "{uses:?}");
    let commands = |command: &str| {
        let said = format!("> localhost[127.0.0.1]:{}: {command}", scene.port(kind));
        log.matches(&said).count()
    };
    assert_eq!(commands("MAIL FROM:<>"), 15);
    assert_eq!(commands(&format!("MAIL FROM:<{USER}>")), 45);
    assert!(commands("RSET") >= 49, "{}", commands("RSET"));
    // What is there is all that comes.
    scene.arrives(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_mails_on_one_cached_starttls_connection_of_postfix_arrive_once() {
    sixty_mails(Kind::Starttls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_mails_on_one_cached_tls_connection_of_postfix_arrive_once() {
    sixty_mails(Kind::ImplicitTls).await;
}

/// A bounce comes from `MAILER-DAEMON` at Postfix's host, cron's mail from `root`. Neither is an
/// address of the account; `sender_canonical_maps` makes them one, bounces included.
#[tokio::test(flavor = "multi_thread")]
async fn bounces_of_postfix_and_mails_of_root_arrive_when_their_authors_are_rewritten() {
    let scene = Scene::set().await;
    let Some(postfix) = Postfix::new(&scene, Kind::Starttls, 1).await else { return };
    postfix.start().await;
    postfix
        .sendmail(USER, &["lost@nowhere.example"], &mail(USER, "lost@nowhere.example", "x"))
        .await;
    postfix.sendmail("root", &[COLLEAGUE], &mail("root (Cron Daemon)", COLLEAGUE, "Cron")).await;
    let bounce = "Undelivered Mail Returned to Sender";
    scene.arrives(&[&format!("{USER}: {bounce}"), &format!("{COLLEAGUE}: Cron")]).await;
    let mail = scene.mail(bounce).await;
    assert!(mail.contains("nobody_is_there") && mail.contains("message/delivery-status"), "{mail}");
}

/// A bounce from elsewhere that Postfix passes on is nothing that the account wrote: refused for good,
/// and Postfix sends no bounce for a bounce.
#[tokio::test(flavor = "multi_thread")]
async fn a_bounce_by_a_foreign_author_is_refused_for_good() {
    let scene = Scene::set().await;
    let Some(postfix) = Postfix::new(&scene, Kind::Starttls, 1).await else { return };
    postfix.start().await;
    let foreign = "MAILER-DAEMON@mail.fabrikam.example";
    postfix.sendmail("", &[USER], &mail(foreign, USER, "Undeliverable")).await;
    postfix.sendmail(USER, &[COLLEAGUE], &mail(USER, COLLEAGUE, "the next one")).await;
    scene.arrives(&[&format!("{COLLEAGUE}: the next one")]).await;
    postfix.drained().await;
    let log = postfix.log();
    let refusal = format!("550 5.7.1 From: the account may not send as {foreign}");
    assert!(log.contains("status=bounced") && log.contains(&refusal), "{refusal}");
    scene.arrives(&[&format!("{COLLEAGUE}: the next one")]).await;
}

/// Postfix gives 50 recipients to a transaction. The pieces go out on several connections at once, with
/// one Message-ID and one header that names everybody: they are not repeats of each other, and none
/// mails the recipients of another.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_postfix_splits_arrives_once_at_each_of_many_recipients() {
    let scene = Scene::set().await;
    let Some(postfix) = Postfix::new(&scene, Kind::Starttls, 5).await else { return };
    postfix.start().await;
    let recipients: Vec<String> =
        (0..230).map(|number| format!("reader{number}@fabrikam.example")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let mail = mail(USER, &recipients.join(",\n "), "to all");
    postfix.sendmail(USER, &recipients, &mail).await;
    let expected: Vec<String> = recipients.iter().map(|to| format!("{to}: to all")).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    scene.arrives(&expected).await;
    postfix.drained().await;
    scene.arrives(&expected).await;
    let accepted = scene.bridge.running.control.store.entries(None, 100).await.unwrap();
    assert_eq!(accepted.len(), 5);
}

/// A connection is shared by all who mail through Postfix. What some do wrong is answered for good to
/// each of them, and nobody else's mail waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn many_refused_mails_on_a_cached_connection_delay_no_other() {
    let scene = Scene::set().await;
    let Some(postfix) = Postfix::new(&scene, Kind::Starttls, 1).await else { return };
    let mut expected = Vec::new();
    let foreign = "eve@fabrikam.example";
    for number in 0..30 {
        let subject = format!("mail {number}");
        postfix.sendmail(USER, &[COLLEAGUE], &mail(USER, COLLEAGUE, &subject)).await;
        postfix.sendmail(foreign, &[COLLEAGUE], &mail(foreign, COLLEAGUE, &subject)).await;
        expected.push(format!("{COLLEAGUE}: {subject}"));
        expected.push(format!("{foreign}: Undelivered Mail Returned to Sender"));
    }
    postfix.start().await;
    scene.arrives(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
    postfix.drained().await;
    assert!(!postfix.log().contains("status=deferred"));
}

#[test]
fn the_page_on_clients_says_of_postfix_what_is_tested_here() {
    let page = include_str!("../../docs/clients.md");
    assert!(page.contains(include_str!("../data/clients/postfix-relayhost.cf")));
}
