//! The pace of mailboxes: Microsoft's limits are kept before Microsoft says so, what it says is kept to
//! the second, and no mailbox waits for another.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::Write;
use std::num::NonZeroU32;
use std::time::Duration;

use common::ahead::{Bridge, Next, Own, Place};
use common::{COLLEAGUE, PATIENCE, USER};
use jiff::Timestamp;
use postbridge::account::Profile;
use postbridge::control::{self, Reply, Request, Waiting};
use postbridge::graph::pace::Limits;
use postbridge::plan;
use postbridge::sandbox::journal::Entry as Asked;
use postbridge::sandbox::script::{Act, Answer, Rule};
use postbridge::sandbox::world::ThrottleRetryAfter;
use postbridge::store::spool::{EntryId, State};

const MEGAN: &str = "megan.bowen@contoso.example";
const SECOND: i64 = 1000;

/// Past libtest's capture, so that a run leaves its numbers in the log.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn place() -> Place {
    Place::new(&[USER, COLLEAGUE], Profile::Full)
}

fn rule(mailbox: &str, route: &str, nth: &[u64], act: Act) -> Rule {
    Rule {
        method: None,
        route: route.into(),
        mailbox: Some(mailbox.into()),
        nth: nth.to_vec(),
        every: nth.is_empty(),
        probability: None,
        times: None,
        act,
    }
}

fn answer(status: u16, retry_after: &str) -> Act {
    let code = if status == 429 { "ApplicationThrottled" } else { "ErrorServerBusy" }.to_owned();
    Act::Answer(Answer { status, code, message: None, retry_after: Some(retry_after.to_owned()) })
}

fn is_send(asked: &Asked) -> bool {
    asked.path.ends_with("/send")
}

/// Subjects of the mails that were delivered, in order.
fn delivered(place: &Place) -> Vec<String> {
    let copies = place.sandbox.world().ledger.copies();
    copies.iter().map(|copy| copy.message.subject.clone()).collect()
}

fn state(bridge: &Bridge, id: EntryId) -> State {
    bridge.runtime.block_on(bridge.store.entry(id)).unwrap().unwrap().state
}

/// Waits until it is in this state, while the clocks run as they do.
fn once(bridge: &Bridge, id: EntryId, expected: State) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while state(bridge, id) != expected {
        assert!(std::time::Instant::now() < deadline, "it is {:?}", state(bridge, id));
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn finish(bridge: &Bridge, place: &Place) {
    bridge.finish(place);
    assert!(
        bridge.counts().iter().all(|(state, _)| *state == State::Sent),
        "{:?}",
        bridge.counts()
    );
}

/// How long it took by the sandbox's clock, in seconds, from the first request to the last.
fn took(asked: &[Asked]) -> i64 {
    (asked.last().unwrap().at_ms - asked.first().unwrap().at_ms) / SECOND
}

#[test]
fn a_mailbox_never_makes_more_requests_than_microsoft_takes() {
    let place = place();
    place.sandbox.world().switches().requests_max = 100;
    let limits = Limits { requests: 100, ..Limits::default() };
    let bridge = place.start(&Own { limits, ..Own::default() });
    for n in 0..90 {
        bridge.hand_in(&place.accounts[0], COLLEAGUE, &format!("mail {n}"));
    }
    finish(&bridge, &place);
    assert_eq!(place.sandbox.world().ledger.throttled_count(), 0);
    assert_eq!(delivered(&place).len(), 90);
    let asked = place.asked(USER);
    // A draft, its tag, its send; 99 of them in a window of ten minutes, and a little more.
    assert_eq!(asked.len(), 270);
    let took = took(&asked);
    assert!((1200..1220).contains(&took), "{took} s");
    say(&format!("270 requests at 99 in ten minutes took {took} s, and none was refused"));
}

#[test]
fn without_a_budget_of_our_own_microsoft_refuses_and_its_word_is_kept() {
    let place = place();
    place.sandbox.world().switches().requests_max = 100;
    place.sandbox.world().switches().throttle_retry_after = ThrottleRetryAfter::Fraction;
    let bridge = place.start(&Own::default());
    for n in 0..90 {
        bridge.hand_in(&place.accounts[0], COLLEAGUE, &format!("mail {n}"));
    }
    finish(&bridge, &place);
    assert!(place.sandbox.world().ledger.throttled_count() > 0);
    assert_eq!(delivered(&place).len(), 90);
}

/// A file for it is larger than what its mailbox may upload in five minutes.
fn large(subject: &str, octets: usize) -> String {
    let line = format!("{}\r\n", "QUJD".repeat(18));
    let files = line.repeat(octets / 54);
    format!(
        "From: {USER}\r\nTo: {COLLEAGUE}\r\nSubject: {subject}\r\n\
         Message-ID: <{subject}@contoso.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHello\r\n--b\r\n\
         Content-Type: application/octet-stream; name=a.bin\r\n\
         Content-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment\r\n\r\n{files}--b--\r\n"
    )
}

#[test]
fn small_mails_pass_large_ones_and_neither_uploads_more_than_microsoft_takes() {
    let place = place();
    let octets: u32 = 5_000_000;
    place.sandbox.world().switches().uploaded_octets_max = octets.try_into().unwrap();
    let limits = Limits { octets: octets.into(), ..Limits::default() };
    let bridge = place.start(&Own { limits, ..Own::default() });
    let adele = &place.accounts[0];
    for n in 0..4 {
        let mail = large(&format!("large {n}"), 5_500_000);
        assert!(plan::is_large(mail.len() as u64));
        bridge.runtime.block_on(bridge.hand_in_octets(adele, COLLEAGUE, mail, None)).unwrap();
    }
    // What may be uploaded now is uploaded, and the large mails wait for more.
    assert!(bridge.settle(&place).unwrap() > Duration::from_secs(60));
    for n in 0..20 {
        bridge.hand_in(adele, COLLEAGUE, &format!("small {n}"));
    }
    let now = place.clock.now();
    bridge.settle(&place).unwrap();
    let passed: Vec<String> = delivered(&place);
    assert_eq!(passed.len(), 20, "{passed:?}");
    assert!(place.clock.now().duration_since(now) < jiff::SignedDuration::from_secs(60));
    finish(&bridge, &place);
    assert_eq!(delivered(&place).len(), 24);
    assert_eq!(place.sandbox.world().ledger.throttled_count(), 0);
    // Of each there are two pieces, and of pieces 4.5 MB may go in five minutes.
    let took = took(&place.asked(USER));
    assert!((1500..2400).contains(&took), "{took} s");
    say(&format!("4 × 5.5 MB at 4.5 MB in five minutes took {took} s, and none was refused"));
}

/// Each request takes a while, so that it is seen what is in flight at the same time.
#[test]
fn two_of_three_are_of_large_mails_at_most() {
    let place = place();
    let bridge = place.start(&Own::default());
    let adele = &place.accounts[0];
    place.faults(0, vec![rule(USER, "*", &[], Act::DelayMs(30))]);
    for n in 0..4 {
        let mail = large(&format!("large {n}"), 2_500_000);
        bridge.runtime.block_on(bridge.hand_in_octets(adele, COLLEAGUE, mail, None)).unwrap();
    }
    let small: Vec<EntryId> =
        (0..5).map(|n| bridge.hand_in(adele, COLLEAGUE, &format!("small {n}"))).collect();
    let mut most = 0;
    while small.iter().any(|id| state(&bridge, *id) != State::Sent) {
        let entries = bridge.runtime.block_on(bridge.store.entries(None, 100)).unwrap();
        let under_way = |entry: &&postbridge::store::spool::Entry| {
            matches!(entry.state, State::Attempting | State::Sending) && plan::is_large(entry.size)
        };
        most = most.max(entries.iter().filter(under_way).count());
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(most, 2);
    finish(&bridge, &place);
}

#[test]
fn a_mailbox_that_is_throttled_rests_until_then_and_delays_no_other() {
    let place = place();
    let bridge = place.start(&Own::default());
    let [adele, alex] = [&place.accounts[0], &place.accounts[1]];
    // The tag of some mail, in the middle of two others.
    place.faults(0, vec![rule(USER, "/v1.0/", &[5], answer(429, "3600.25"))]);
    for n in 0..10 {
        bridge.hand_in(adele, MEGAN, &format!("Adele's {n}"));
    }
    let wait = bridge.settle(&place).unwrap();
    assert!(wait > Duration::from_secs(3590), "{wait:?}");
    let refused = place.asked(USER).into_iter().find(|one| one.status == Some(429)).unwrap();
    let theirs: Vec<EntryId> =
        (0..10).map(|n| bridge.hand_in(alex, MEGAN, &format!("Alex's {n}"))).collect();
    for id in theirs {
        once(&bridge, id, State::Sent);
    }
    // Right before, nothing; right after, all of it.
    place.advance(wait - Duration::from_secs(10));
    bridge.settle(&place).unwrap();
    let sent_by_then = place.asked(USER).iter().filter(|one| is_send(one)).count();
    assert!(sent_by_then < 3, "{sent_by_then}");
    finish(&bridge, &place);
    let asked = place.asked(USER);
    // Those that had left when it came.
    let rest = refused.at_ms + SECOND..refused.at_ms + 3600 * SECOND + SECOND / 4;
    let early: Vec<_> = asked.iter().filter(|one| rest.contains(&one.at_ms)).collect();
    assert!(early.is_empty(), "{early:?}");
    let after = asked.iter().find(|one| one.at_ms >= rest.end).unwrap().at_ms;
    assert!(after - rest.end < 10 * SECOND, "{} ms late", after - rest.end);
    assert_eq!(delivered(&place).len(), 20);
}

/// 503 is about one request; 429 is about the mailbox.
#[test]
fn a_pause_that_is_asked_of_one_mail_is_not_asked_of_the_others() {
    let place = place();
    let bridge = place.start(&Own::default());
    let adele = &place.accounts[0];
    place.faults(0, vec![rule(USER, "/v1.0/me/messages", &[1], answer(503, "1800.5"))]);
    let first = bridge.hand_in(adele, MEGAN, "first");
    let wait = bridge.settle(&place).unwrap();
    assert!(wait > Duration::from_secs(1790) && wait <= Duration::from_secs(1801), "{wait:?}");
    let others: Vec<EntryId> =
        (0..5).map(|n| bridge.hand_in(adele, MEGAN, &format!("other {n}"))).collect();
    for id in others {
        once(&bridge, id, State::Sent);
    }
    assert_eq!(state(&bridge, first), State::Queued);
    finish(&bridge, &place);
    let asked = place.asked(USER);
    let again = asked.iter().rfind(|one| one.path == "/v1.0/me/messages").unwrap().at_ms;
    let early = asked[0].at_ms + 1800 * SECOND + SECOND / 2 - again;
    assert!(early <= 0, "{early} ms early");
}

#[test]
fn a_mailbox_that_needs_a_sign_in_delays_no_other() {
    let place = place();
    let bridge = place.start(&Own::default());
    let [adele, alex] = [&place.accounts[0], &place.accounts[1]];
    let world = place.sandbox.world();
    world.identity.revoke(world.user(USER).map(|user| user.object_id), false);
    let hers: Vec<EntryId> =
        (0..50).map(|n| bridge.hand_in(adele, MEGAN, &format!("Adele's {n}"))).collect();
    let his: Vec<EntryId> =
        (0..10).map(|n| bridge.hand_in(alex, MEGAN, &format!("Alex's {n}"))).collect();
    for id in his {
        once(&bridge, id, State::Sent);
    }
    assert!(hers.iter().all(|id| state(&bridge, *id) == State::Queued));
}

#[test]
fn a_mail_of_one_mailbox_does_not_wait_for_ten_thousand_of_another() {
    let place = place();
    let bridge = place.start(&Own::default());
    let [adele, alex] = [&place.accounts[0], &place.accounts[1]];
    // Until all of them are there.
    place.faults(0, vec![rule(USER, "/v1.0/", &[1], answer(429, "3600"))]);
    let all: Vec<_> =
        (0..10_000).map(|n| bridge.hand_in_later(adele, MEGAN, &format!("bulk {n}"))).collect();
    for one in all {
        bridge.runtime.block_on(one).unwrap();
    }
    place.advance(bridge.settle(&place).unwrap());
    let begun = std::time::Instant::now();
    while delivered(&place).len() < 20 {
        assert!(begun.elapsed() < PATIENCE, "{:?}", bridge.counts());
        std::thread::yield_now();
    }
    let before = delivered(&place).len();
    let his = bridge.hand_in(alex, MEGAN, "one");
    once(&bridge, his, State::Sent);
    let after = delivered(&place).len();
    assert!(after - before <= 30, "{before} before, {after} after");
    say(&format!("one mail beside 10,000: {} of the others went meanwhile", after - before - 1));
    bridge.kill();
}

fn invite(uid: &str) -> String {
    format!(
        "From: {USER}\r\nTo: {COLLEAGUE}\r\nSubject: Interview\r\nMessage-ID: <{uid}@contoso.example>\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/calendar; method=REQUEST; charset=utf-8\r\n\r\n\
         BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//ATS//EN\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\n\
         UID:{uid}\r\nSEQUENCE:0\r\nDTSTAMP:20261123T080000Z\r\nDTSTART:20261201T090000Z\r\n\
         DURATION:PT1H\r\nSUMMARY:Interview\r\nORGANIZER:mailto:{USER}\r\n\
         ATTENDEE;RSVP=TRUE:mailto:{COLLEAGUE}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
}

#[test]
fn an_invite_overtakes_bulk_mail_of_the_same_mailbox() {
    let place = place();
    let bridge = place.start(&Own::default());
    let adele = &place.accounts[0];
    place.faults(0, vec![rule(USER, "/v1.0/", &[1], answer(429, "600"))]);
    for n in 0..200 {
        bridge.hand_in(adele, MEGAN, &format!("bulk {n}"));
    }
    let mail = invite("overtakes@contoso.example");
    let last = bridge.hand_in_octets(adele, COLLEAGUE, mail, Some("overtakes@contoso.example"));
    bridge.runtime.block_on(last).unwrap();
    finish(&bridge, &place);
    let asked = place.asked(USER);
    let event = asked.iter().position(|one| one.method == "POST" && one.path == "/v1.0/me/events");
    let sent = asked.iter().take(event.unwrap()).filter(|one| is_send(one)).count();
    assert!(sent <= 3, "{sent} mails went before the invite");
    assert_eq!(place.sandbox.world().ledger.invitations().len(), 1);
}

/// What was begun is not put off by what came later: a draft waits for its two looks, not for the bulk.
#[test]
fn a_mail_that_was_begun_is_ended_before_new_ones_are_begun() {
    let place = place();
    let bridge = place.start(&Own::default());
    let adele = &place.accounts[0];
    place.faults(0, vec![rule(USER, "/v1.0/", &[2], answer(503, "600"))]);
    let first = bridge.hand_in(adele, MEGAN, "first");
    bridge.settle(&place).unwrap();
    place.faults(0, vec![rule(USER, "/v1.0/", &[1], answer(429, "600"))]);
    for n in 0..200 {
        bridge.hand_in(adele, MEGAN, &format!("bulk {n}"));
    }
    assert_eq!(state(&bridge, first), State::Queued);
    finish(&bridge, &place);
    let at = delivered(&place).iter().position(|subject| subject == "first").unwrap();
    assert!(at <= 3, "{at} new ones went before it");
}

#[test]
fn no_more_mails_go_in_a_minute_than_the_configuration_says() {
    let place = place();
    let thirty = [(USER.to_owned(), NonZeroU32::new(30).unwrap())];
    let bridge = place.start(&Own { mails_per_minute: thirty.into(), ..Own::default() });
    let [adele, alex] = [&place.accounts[0], &place.accounts[1]];
    for n in 0..100 {
        bridge.hand_in(adele, MEGAN, &format!("Adele's {n}"));
        bridge.hand_in(alex, MEGAN, &format!("Alex's {n}"));
    }
    assert!(matches!(bridge.settle(&place), Some(wait) if wait > Duration::from_secs(30)));
    assert_eq!(place.asked(COLLEAGUE).iter().filter(|one| is_send(one)).count(), 100);
    finish(&bridge, &place);
    let asked = place.asked(USER);
    let begun: Vec<i64> =
        asked.iter().filter(|one| one.path == "/v1.0/me/messages").map(|one| one.at_ms).collect();
    assert_eq!(begun.len(), 100);
    for (n, from) in begun.iter().enumerate() {
        // A request follows its begin by a moment.
        let within = begun[n..].iter().filter(|at| **at < from + 59 * SECOND).count();
        assert!(within <= 30, "{within} in a minute");
    }
    let took = took(&asked);
    assert!((180..200).contains(&took), "{took} s");
    assert_eq!(bridge.next(&place), Next::Nothing);
}

fn ask(bridge: &Bridge, request: Request) -> Reply {
    bridge.runtime.block_on(control::handle(request, &bridge.control))
}

fn waiting(bridge: &Bridge) -> Vec<Waiting> {
    match ask(bridge, Request::Entries { state: None, most: 0 }) {
        Reply::Entries { waiting, .. } => waiting,
        other => panic!("{other:?}"),
    }
}

fn expected(bridge: &Bridge, id: EntryId) -> Option<Timestamp> {
    match ask(bridge, Request::Entry { id }) {
        Reply::Entry { expected, .. } => expected,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_queue_says_when_the_mails_of_an_account_will_be_done() {
    let place = place();
    let thirty = [(USER.to_owned(), NonZeroU32::new(30).unwrap())];
    let bridge = place.start(&Own { mails_per_minute: thirty.into(), ..Own::default() });
    let [adele, alex] = [&place.accounts[0], &place.accounts[1]];
    assert_eq!(waiting(&bridge), []);
    place.faults(0, vec![rule(COLLEAGUE, "/v1.0/", &[2], answer(429, "7200"))]);
    let hers: Vec<EntryId> =
        (0..120).map(|n| bridge.hand_in(adele, MEGAN, &format!("Adele's {n}"))).collect();
    let his: Vec<EntryId> =
        (0..5).map(|n| bridge.hand_in(alex, MEGAN, &format!("Alex's {n}"))).collect();
    bridge.settle(&place).unwrap();
    let two_hours = place.clock.now() + Duration::from_secs(7190);

    let said = waiting(&bridge);
    let of = |address: &str| said.iter().find(|one| one.address.as_str() == address).unwrap();
    assert_eq!((of(USER).mails, of(USER).throttled_until), (90, None));
    assert_eq!(of(COLLEAGUE).mails, 5);
    assert!(of(COLLEAGUE).throttled_until.unwrap() > two_hours);
    assert!(of(COLLEAGUE).expected.unwrap() > of(COLLEAGUE).throttled_until.unwrap());
    // Ten before it, thirty before it: this minute and the next.
    let [tenth, fortieth] = [hers[40], hers[70]].map(|id| expected(&bridge, id).unwrap());
    assert!(tenth < fortieth && fortieth < of(USER).expected.unwrap());
    assert_eq!(expected(&bridge, hers[0]), None, "it is done");
    assert!(expected(&bridge, his[4]).unwrap() > two_hours);

    while bridge.settle(&place).is_some_and(|wait| wait < Duration::from_secs(600)) {
        place.advance(Duration::from_secs(5));
    }
    let late = place.clock.now().duration_since(of(USER).expected.unwrap()).as_secs_f64();
    assert!((-60.0..=75.0).contains(&late), "{late} s late");
    assert_eq!(waiting(&bridge).len(), 1);
    say(&format!("90 mails at 30 in a minute were done {late:.0} s after what was said"));

    // Without a daemon nobody knows.
    let mut control = bridge.control.clone();
    control.pace = None;
    let request = Request::Entries { state: None, most: 0 };
    let reply = bridge.runtime.block_on(control::handle(request, &control));
    assert!(matches!(reply, Reply::Entries { waiting, .. } if waiting.is_empty()));
}
