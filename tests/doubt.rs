//! The answer to a send is lost, late, or wrong, in every way that Microsoft 365 is told to behave: the
//! mail goes once, or is held in sight; never twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Instant;

use common::daemon::{Client, Daemon, Mail, Site};
use common::{COLLEAGUE, PATIENCE, USER, say, sign_in_with, worlds};
use postbridge::account::{Profile, Standing};
use postbridge::app;
use postbridge::config::Config;
use postbridge::control::{Reply, Request};
use postbridge::graph::message::TAG_PROPERTY;
use postbridge::sandbox::grants::Grant;
use postbridge::sandbox::journal;
use postbridge::sandbox::script::{Act, Answer, LateAct, Rule, Script, When};
use postbridge::sandbox::world::{MessageFlags, SecondSend, Switches};
use postbridge::store::order::Order;
use postbridge::store::spool::{Kind, State};
use sqlx::{Connection, SqliteConnection};

fn busy() -> Answer {
    Answer { status: 504, code: "UnknownError".into(), message: None, retry_after: None }
}

/// What a gateway on the way says that waited in vain.
fn timed_out() -> Answer {
    Answer { status: 524, code: String::new(), message: None, retry_after: None }
}

/// What can become of the call that sends.
fn misfortunes() -> Vec<Act> {
    vec![
        Act::CutBefore,
        Act::CutAfter,
        Act::Truncate,
        Act::Answer(busy()),
        Act::ActThenAnswer(busy()),
        Act::ActThenAnswer(timed_out()),
        // When the next request comes, which is the one that looks for it.
        Act::AnswerThenAct(LateAct { answer: busy(), after_seconds: 0 }),
    ]
}

/// A mail whose send comes to this, in this world. How it ended, and the copies there are.
fn sent_through(switches: &Switches, act: &Act) -> (State, usize) {
    let site = Site::new();
    *site.sandbox.world().switches() = switches.clone();
    let send = nth("POST", SEND, 1, act.clone());
    site.sandbox.world().faults.set(Script { seed: 0, faults: vec![send] });
    let mut daemon = site.serve();
    hand_in(&site, &mut daemon);
    let entries = site.finish(&mut daemon);
    let hit = site.sandbox.world().journal.entries().iter().any(|one| one.fault.is_some());
    assert!(hit, "the send never came");
    let entry = entries.iter().find(|entry| entry.kind == Kind::Submission).unwrap();
    (entry.state, site.copies("in doubt").get(COLLEAGUE).copied().unwrap_or_default())
}

const SEND: &str = "/v1.0/me/messages/*/send";

fn nth(method: &str, route: &str, nth: u64, act: Act) -> Rule {
    Rule {
        method: Some(method.into()),
        route: route.into(),
        mailbox: None,
        nth: vec![nth],
        every: false,
        probability: None,
        times: Some(1),
        act,
    }
}

/// A sandbox where the first quiet time is as long as this, in seconds.
fn site(quiet: &str) -> Site {
    let site = Site::new();
    let configuration = site.configuration();
    site.write_configuration(
        &configuration.replace("seconds = 0.04", &format!("seconds = {quiet}")),
    );
    site
}

/// Returns when so many sends were answered.
fn await_sends(site: &Site, daemon: &Daemon, most: usize) {
    let deadline = Instant::now() + PATIENCE;
    let is_send = |one: &&journal::Entry| one.path.ends_with("/send") && one.status.is_some();
    while site.sandbox.world().journal.entries().iter().filter(is_send).count() < most {
        assert!(Instant::now() < deadline, "{}", daemon.log());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn hand_in(site: &Site, daemon: &mut Daemon) {
    let mail = Mail::new("in doubt", &[COLLEAGUE], &[], 100);
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) =
        Client::connect(daemon.address, &site.password).and_then(|mut client| client.submit(&mail))
    {
        assert!(Instant::now() < deadline, "{error}: {}", daemon.log());
        daemon.ended();
        *daemon = site.serve();
    }
}

#[test]
fn a_send_without_an_answer_goes_once_in_every_world() {
    for (world, switches) in worlds::in_doubt() {
        for act in misfortunes() {
            let name = act.name();
            let ended = sent_through(&switches, &act);
            assert_eq!(ended, (State::Sent, 1), "{name} where {world}");
        }
    }
    say(&format!("{} misfortunes in {} worlds", misfortunes().len(), worlds::in_doubt().len()));
}

#[test]
fn killed_at_any_request_of_a_draft_it_goes_once_in_every_world() {
    for (world, switches) in worlds::in_doubt() {
        for when in [When::Before, When::After] {
            // A token, the draft, its tag, its send.
            for nth in 1..=4 {
                let site = Site::new();
                *site.sandbox.world().switches() = switches.clone();
                let mut daemon = site.serve();
                site.kill_at(&daemon, nth, when);
                hand_in(&site, &mut daemon);
                let entries = site.finish(&mut daemon);
                let copies = site.copies("in doubt").get(COLLEAGUE).copied().unwrap_or_default();
                let ended: Vec<State> = entries.iter().map(|entry| entry.state).collect();
                assert_eq!((ended, copies), (vec![State::Sent], 1), "{when:?} {nth} where {world}");
            }
        }
    }
}

/// The first call sent it, which nobody can see for a while, and the second one is refused because of
/// that; or is not even heard.
#[test]
fn what_a_second_call_is_answered_says_nothing_of_the_first() {
    for second in [None, Some(429)] {
        let site = site("1.0");
        *site.sandbox.world().switches() = Switches {
            second_send: SecondSend::Refused,
            message_flags: MessageFlags::Hidden,
            sent_items_delay_ms: 600_000,
            ..Switches::default()
        };
        let mut faults = vec![nth("POST", SEND, 1, Act::ActThenAnswer(busy()))];
        if let Some(status) = second {
            let answer = Answer { status, retry_after: Some("1".into()), ..busy() };
            faults.push(nth("POST", SEND, 2, Act::Answer(answer)));
        }
        site.sandbox.world().faults.set(Script { seed: 0, faults });
        let mut daemon = site.serve();
        hand_in(&site, &mut daemon);
        await_sends(&site, &daemon, 2);
        // Before the next look it has moved to Sent Items.
        site.sandbox.world().clock.advance(660);
        let entries = site.finish(&mut daemon);
        let states: Vec<State> = entries.iter().map(|entry| entry.state).collect();
        assert_eq!(states, [State::Sent], "{second:?}: {}", daemon.log());
        assert_eq!(site.copies("in doubt").get(COLLEAGUE), Some(&1), "{second:?}");
    }
}

/// A mail that Microsoft will not send has its answer lost first: it fails all the same.
#[test]
fn what_is_refused_after_a_lost_answer_fails_at_the_second_refusal() {
    let site = Site::new();
    let refused = || Answer { status: 400, code: "ErrorInvalidRecipients".into(), ..busy() };
    let faults = vec![
        nth("POST", SEND, 1, Act::CutBefore),
        nth("POST", SEND, 2, Act::Answer(refused())),
        nth("POST", SEND, 3, Act::Answer(refused())),
    ];
    site.sandbox.world().faults.set(Script { seed: 0, faults });
    let mut daemon = site.serve();
    hand_in(&site, &mut daemon);
    let entries = site.finish(&mut daemon);
    let entry = entries.iter().find(|entry| entry.kind == Kind::Submission).unwrap();
    assert_eq!(entry.state, State::Failed, "{}", daemon.log());
    assert_eq!(entry.answered.as_deref(), Some("400 ErrorInvalidRecipients"));
    assert_eq!(site.copies("in doubt").len(), 0);
}

/// Its token had expired, and the next one took long: the call goes out long after it was written down
/// for the first time. What it does late is waited for from then on.
#[test]
fn a_call_that_went_out_late_has_all_its_time() {
    let site = site("0.8");
    site.sandbox.world().switches().second_send = SecondSend::SendsAgain;
    let late = LateAct { answer: busy(), after_seconds: 1 };
    let faults = vec![
        nth("POST", SEND, 1, Act::ExpireTokens),
        nth("POST", "/*/oauth2/v2.0/token", 2, Act::DelayMs(3000)),
        nth("POST", SEND, 2, Act::AnswerThenAct(late)),
    ];
    site.sandbox.world().faults.set(Script { seed: 0, faults });
    let mut daemon = site.serve();
    hand_in(&site, &mut daemon);
    let entries = site.finish(&mut daemon);
    assert_eq!(entries[0].state, State::Sent, "{}", daemon.log());
    let fired = site.sandbox.world().faults.running().counts().iter().all(|count| count.fired == 1);
    assert!(fired, "the sandbox did not do all of it");
    // What is still to come, comes when somebody looks.
    site.sandbox.world().clock.advance(60);
    site.runtime.block_on(async {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/_sandbox/ledger", site.sandbox.url());
        assert!(http.get(url).send().await.unwrap().status().is_success());
    });
    assert_eq!(site.copies("in doubt").get(COLLEAGUE), Some(&1));
}

/// Killed behind the send; and before anybody can look, its user deletes what lies in Sent Items.
#[test]
fn what_is_nowhere_to_be_found_is_held_and_never_sent_again() {
    let site = Site::new();
    let mut daemon = site.serve();
    site.kill_at(&daemon, 4, When::After);
    hand_in(&site, &mut daemon);
    daemon.ended();
    site.sandbox.world().mail.clear();
    daemon = site.serve();
    let entries = site.finish(&mut daemon);
    let held = entries.iter().find(|entry| entry.kind == Kind::Submission).unwrap();
    assert_eq!((held.state, site.copies("in doubt").get(COLLEAGUE)), (State::Held, Some(&1)));
    assert!(held.note.as_ref().unwrap().contains("neither in Drafts nor in Sent Items"));
    // Its sender may say that it did not arrive: then it goes as another draft.
    let mut daemon = site.serve();
    let again = Request::Order { id: held.id, order: Order::SendAgain };
    assert!(matches!(site.ask(&again), Some(Reply::Entry { .. })), "{}", daemon.log());
    let entries = site.finish(&mut daemon);
    let sent = entries.iter().find(|entry| entry.id == held.id).unwrap();
    assert_eq!((sent.state, site.copies("in doubt").get(COLLEAGUE)), (State::Sent, Some(&2)));
}

/// Its user signed in again, for sending alone: one mail in doubt does not stop the others.
#[test]
fn what_may_not_be_looked_for_any_more_is_held_and_the_account_sends_on() {
    let site = Site::new();
    let mut daemon = site.serve();
    site.kill_at(&daemon, 4, When::After);
    hand_in(&site, &mut daemon);
    daemon.ended();
    let config = Config::load(Some(&site.config_file())).unwrap();
    site.runtime.block_on(async {
        let control = app::open(&config).await.unwrap();
        sign_in_with(USER, Some(Profile::SendOnly), &control).await;
    });
    site.at_peace();
    daemon = site.serve();
    let mut client = Client::connect(daemon.address, &site.password).unwrap();
    client.submit(&Mail::new("another", &[COLLEAGUE], &[], 100)).unwrap();
    let entries = site.finish(&mut daemon);
    let mut mails = entries.iter().filter(|entry| entry.kind == Kind::Submission);
    let states: Vec<State> = mails.by_ref().map(|entry| entry.state).collect();
    assert_eq!(states, [State::Sent, State::Held], "{}", daemon.log());
    for subject in ["in doubt", "another"] {
        assert_eq!(site.copies(subject).get(COLLEAGUE), Some(&1), "{subject}");
    }
    assert_eq!(site.at_rest().1.standing, Standing::Ready);
}

/// Five days of looking in vain are enough; and of what may have gone, nobody says that it failed.
#[test]
fn what_stays_in_doubt_beyond_all_patience_is_held_and_not_failed() {
    for route in ["/v1.0/me/messages/*/send", "/v1.0/me/messages/*"] {
        let site = Site::new();
        let rule = |method: &str, route: &str| Rule {
            method: Some(method.into()),
            route: route.into(),
            mailbox: None,
            nth: vec![],
            every: true,
            probability: None,
            times: None,
            act: Act::Answer(busy()),
        };
        // It is never sent, and never known; or it cannot even be looked at.
        let faults = vec![rule("POST", "/v1.0/me/messages/*/send"), rule("GET", route)];
        site.sandbox.world().faults.set(Script { seed: 0, faults });
        let mut daemon = site.serve();
        hand_in(&site, &mut daemon);
        let deadline = Instant::now() + PATIENCE;
        while !site.sandbox.world().journal.entries().iter().any(|one| one.path.ends_with("/send"))
        {
            assert!(Instant::now() < deadline, "{}", daemon.log());
            std::thread::yield_now();
        }
        daemon.kill();
        site.runtime.block_on(async {
            let url = format!("sqlite://{}", site.state().join("postbridge.db").display());
            let mut connection = SqliteConnection::connect(&url).await.unwrap();
            let days = "UPDATE entry SET waited_ms = 5 * 24 * 3600 * 1000";
            assert_eq!(
                sqlx::query(days).execute(&mut connection).await.unwrap().rows_affected(),
                1
            );
            connection.close().await.unwrap();
        });
        // The report on it may go.
        let mut daemon = site.serve();
        let entry = loop {
            assert!(Instant::now() < deadline, "{}", daemon.log());
            site.ask(&Request::Flush {});
            let Some(Reply::Entries { entries, .. }) =
                site.ask(&Request::Entries { state: Some(State::Held), most: 1 })
            else {
                continue;
            };
            if let Some(entry) = entries.into_iter().next() {
                break entry;
            }
        };
        assert_eq!((entry.kind, site.copies("in doubt").len()), (Kind::Submission, 0));
        daemon.kill();
    }
}

/// A create without an answer leaves a draft; another is sent, and the first is deleted.
#[test]
fn drafts_that_were_left_behind_are_swept() {
    let site = Site::new();
    let mut daemon = site.serve();
    // The draft is there, and nobody knows.
    site.kill_at(&daemon, 2, When::After);
    hand_in(&site, &mut daemon);
    daemon.ended();
    another_draft_of_that_message_id(&site);
    daemon = site.serve();
    site.work_off(&mut daemon);
    let drafts = || {
        let world = site.sandbox.world();
        let user = world.user(USER).unwrap().object_id;
        world.mail.mailbox(user).drafts
    };
    assert_eq!(drafts(), 2, "the one of before, and another mail's");
    let deadline = Instant::now() + PATIENCE;
    while drafts() > 1 {
        assert!(Instant::now() < deadline, "{}", daemon.log());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    site.finish(&mut daemon);
    assert_eq!(site.copies("in doubt").get(COLLEAGUE), Some(&1));
    assert_eq!(drafts(), 1, "another mail's draft is not ours to delete");
}

/// An operator has a failed mail sent again while the drafts of its first try are being looked for.
#[test]
fn a_draft_that_was_made_meanwhile_is_not_swept() {
    let site = Site::new();
    let refused = Answer { status: 400, code: "ErrorInvalidRecipients".into(), ..busy() };
    // The second send is that of the report, the third one that of the new draft, which waits then.
    let throttled = Answer { status: 429, retry_after: Some("6".into()), ..busy() };
    let sweep = "/v1.0/me/messages";
    let faults = vec![
        nth("POST", SEND, 1, Act::Answer(refused)),
        nth("GET", sweep, 1, Act::DelayMs(5000)),
        nth("POST", SEND, 3, Act::Answer(throttled)),
    ];
    site.sandbox.world().faults.set(Script { seed: 0, faults });
    let mut daemon = site.serve();
    hand_in(&site, &mut daemon);
    let deadline = Instant::now() + PATIENCE;
    let journal = || site.sandbox.world().journal.entries();
    let is_sweep = |one: &journal::Entry| one.method == "GET" && one.path == sweep;
    while !journal().iter().any(is_sweep) {
        assert!(Instant::now() < deadline, "{}", daemon.log());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let Some(Reply::Entries { entries, .. }) =
        site.ask(&Request::Entries { state: Some(State::Failed), most: 1 })
    else {
        panic!("{}", daemon.log())
    };
    let again = Request::Order { id: entries[0].id, order: Order::Retry };
    assert!(matches!(site.ask(&again), Some(Reply::Entry { .. })), "{}", daemon.log());
    await_sends(&site, &daemon, 3);
    let unanswered = journal().iter().find(|one| is_sweep(one)).unwrap().status.is_none();
    assert!(unanswered, "the new draft came too late to be in the way");
    let entries = site.finish(&mut daemon);
    let sent = entries.iter().find(|entry| entry.kind == Kind::Submission).unwrap();
    assert_eq!(sent.state, State::Sent, "{}", daemon.log());
    assert_eq!(site.copies("in doubt").get(COLLEAGUE), Some(&1));
    let journal = journal();
    let is_draft = |one: &&journal::Entry| one.path.ends_with("/send");
    let draft = journal.iter().rfind(is_draft).unwrap().path.trim_end_matches("/send").to_owned();
    assert!(!journal.iter().any(|one| one.method == "DELETE" && one.path == draft), "{draft}");
}

/// A client used the same Message-ID for another mail, which is a draft at this moment.
fn another_draft_of_that_message_id(site: &Site) {
    let world = site.sandbox.world();
    let scopes = vec!["Mail.ReadWrite".to_owned()];
    let user = world.user(USER).unwrap().object_id;
    let grant = Grant { user, client_id: "app".to_owned(), scopes: scopes.clone(), nonce: None };
    let now = world.clock.now();
    let token = world.identity.grants().issue(now, &grant, &scopes).access_token;
    let body = serde_json::json!({
        "subject": "another",
        "internetMessageId": "<in doubt@contoso.example>",
        "singleValueExtendedProperties": [{ "id": TAG_PROPERTY, "value": "another" }],
    });
    site.runtime.block_on(async {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/v1.0/me/messages", site.sandbox.url());
        let answer = http.post(url).bearer_auth(token).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 201);
    });
}

/// What becomes of a mail of an account with Mail.Send alone, whose first `cuts` sends come to this: how it
/// ended, and the copies there are.
fn sent_alone(policy: &str, act: Act, cuts: u64) -> (State, usize) {
    let site = Site::new_as(Profile::SendOnly);
    let quiet = "quiet_seconds = 0.04";
    let own = format!("{quiet}\nsend_only = \"{policy}\"");
    site.write_configuration(&site.configuration().replace(quiet, &own));
    let send = Rule {
        method: Some("POST".into()),
        route: "/v1.0/me/sendMail".into(),
        mailbox: None,
        nth: vec![],
        every: true,
        probability: None,
        times: Some(cuts),
        act,
    };
    site.sandbox.world().faults.set(Script { seed: 0, faults: vec![send] });
    let mut daemon = site.serve();
    hand_in(&site, &mut daemon);
    let entries = site.finish(&mut daemon);
    let entry = entries.iter().find(|entry| entry.kind == Kind::Submission).unwrap();
    (entry.state, site.copies("in doubt").get(COLLEAGUE).copied().unwrap_or_default())
}

#[test]
fn without_drafts_a_lost_answer_is_held_or_so_configured_sent_once_more_and_no_more() {
    assert_eq!(sent_alone("hold", Act::CutAfter, 1), (State::Held, 1));
    assert_eq!(sent_alone("hold", Act::CutBefore, 1), (State::Held, 0));
    assert_eq!(sent_alone("send-again", Act::CutBefore, 1), (State::Sent, 1));
    assert_eq!(sent_alone("send-again", Act::CutAfter, 1), (State::Sent, 2), "its price");
    assert_eq!(sent_alone("send-again", Act::CutBefore, 2), (State::Held, 0));
    // What is certain uses up nothing.
    let busy =
        Answer { status: 429, code: "TooManyRequests".into(), message: None, retry_after: None };
    assert_eq!(sent_alone("hold", Act::Answer(busy.clone()), 1), (State::Sent, 1));
    assert_eq!(sent_alone("send-again", Act::Answer(busy), 1), (State::Sent, 1));
}
