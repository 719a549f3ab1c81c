//! A bad day at Microsoft, in virtual time: one request in twenty goes wrong, the bridge dies again and again,
//! and each mail that was acknowledged goes once.
//!
//! All parts are real: the bridge with its store, its worker and its quiet time of two minutes, and the
//! sandbox over HTTP. Only the clocks are moved ahead, both together, whenever nothing is left to do. The
//! bridge dies as its runtime is torn down in the middle of whatever it does; what a killed process leaves
//! is for `tests/crash.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::{add_account_of, configuration, private_directory};
use postbridge::account::Profile;
use postbridge::app::{self, Running};
use postbridge::clock::Clock;
use postbridge::config::{Config, Doubt};
use postbridge::sandbox::script::{Act, Answer, LateAct, Rule, Script};
use postbridge::sandbox::{Options, Sandbox};
use postbridge::store::spool::{EntryId, State};
use postbridge::submission::{Envelope, MailParameters};
use sqlx::{Connection, SqliteConnection};
use tokio::runtime::Runtime;

const MAILBOXES: usize = 20;
const TO: &str = "pradeep.gupta@fabrikam.example";
const SEED: u64 = 20_261_128;
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(1_500);

fn mailbox(n: usize) -> String {
    format!("user{n}@contoso.example")
}

/// Past libtest's capture, so that a run leaves its numbers in the log.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Of each request: one in a hundred is lost before it has an effect, one in a hundred loses its answer, one
/// in a hundred is answered 504 and takes effect later, two in a hundred are throttled.
fn bad_day() -> Script {
    let rule = |probability: f64, act: Act| Rule {
        method: None,
        route: "/v1.0/me/messages*".into(),
        mailbox: None,
        nth: vec![],
        every: false,
        probability: Some(probability),
        times: None,
        act,
    };
    let answer = |status: u16, code: &str, retry_after: Option<&str>| Answer {
        status,
        code: code.into(),
        message: None,
        retry_after: retry_after.map(str::to_owned),
    };
    let late = |after_seconds: u32| {
        let answer = answer(504, "UnknownError", None);
        rule(0.002, Act::AnswerThenAct(LateAct { answer, after_seconds }))
    };
    let throttled = Act::Answer(answer(429, "ApplicationThrottled", Some("7")));
    let mut faults =
        vec![rule(0.01, Act::CutBefore), rule(0.01, Act::CutAfter), rule(0.02, throttled)];
    // A minute in the mean.
    faults.extend([5, 15, 40, 60, 180].map(late));
    Script { seed: SEED, faults }
}

struct Day {
    /// Where the sandbox lives, and whoever looks on.
    runtime: Runtime,
    sandbox: Sandbox,
    config: Config,
    clock: Clock,
    directory: tempfile::TempDir,
    bridge: Option<(Runtime, Running)>,
    kills: usize,
    chance: u64,
    /// What happens to a mail in doubt: it is thrown away, as those do who just try again.
    naive: bool,
}

impl Day {
    fn begin(naive: bool) -> Day {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = Runtime::new().unwrap();
        let options = Options {
            listen: ([127, 0, 0, 1], 0).into(),
            https: None,
            mailboxes: (0..MAILBOXES).map(mailbox).collect(),
            seed: 0,
            automatic: true,
            state: None,
        };
        let sandbox = runtime.block_on(Sandbox::start(options)).unwrap();
        // What a disk takes is not what this is about.
        let memory = PathBuf::from("/dev/shm");
        let directory = match tempfile::Builder::new().tempdir_in(&memory) {
            Ok(directory) => directory,
            Err(_) => private_directory(),
        };
        let mut config = configuration(&directory.path().join("state"), &sandbox);
        config.doubt = Doubt::default();
        let (clock, bridge, chance) = (Clock::default(), None, SEED);
        let mut day =
            Day { runtime, sandbox, config, clock, directory, bridge, kills: 0, chance, naive };
        day.live();
        let (lives, running) = day.bridge.as_ref().unwrap();
        lives.block_on(async {
            for n in 0..MAILBOXES {
                add_account_of(&mailbox(n), &running.control, Profile::Full).await;
            }
        });
        day
    }

    fn live(&mut self) {
        let lives = Runtime::new().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let running = loop {
            match lives.block_on(app::start_at(&self.config, self.clock.clone())) {
                Ok(running) => break running,
                // What died a moment ago still holds the directory.
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        };
        self.bridge = Some((lives, running));
    }

    fn die(&mut self) {
        let Some((lives, running)) = self.bridge.take() else { return };
        lives.shutdown_background();
        drop(running);
        self.kills += 1;
        self.live();
    }

    /// In 0..below.
    fn chance(&mut self, below: u64) -> u64 {
        // Knuth, MMIX.
        self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.chance >> 33) % below
    }

    /// Hands mails in; each is acknowledged when this returns.
    fn hand_in(&self, subjects: std::ops::Range<usize>) -> Vec<(usize, EntryId)> {
        let (lives, running) = self.bridge.as_ref().unwrap();
        let store = &running.control.store;
        lives.block_on(async {
            let mut accepted = Vec::new();
            for n in subjects {
                let from = mailbox(n % MAILBOXES);
                let account = store.account_by_login(&from).await.unwrap().unwrap();
                let octets = format!(
                    "From: {from}\r\nTo: {TO}\r\nSubject: mail {n}\r\n\
                     Message-ID: <{n}@contoso.example>\r\n\r\nHello\r\n"
                );
                let to = vec![postbridge::account::Address::parse(TO).unwrap().into()];
                let from = Some(account.address.clone());
                let envelope = Envelope::new(from, to, MailParameters::default()).unwrap();
                let mut incoming = store.begin(&account);
                incoming.write(octets.as_bytes()).await.unwrap();
                let receipt = incoming.commit(&envelope, true, None).await.unwrap();
                accepted.push((n, receipt.id()));
            }
            accepted
        })
    }

    /// Lets the day go on until nothing is left to do, killing the bridge now and then.
    fn go_on(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let mut idle = 0;
        let mut dies_at = self.next_death();
        loop {
            assert!(Instant::now() < deadline, "the day does not end");
            if Instant::now() >= dies_at {
                self.die();
                dies_at = self.next_death();
            }
            let (lives, running) = self.bridge.as_ref().unwrap();
            let store = &running.control.store;
            let now = self.clock.now();
            let (due, next, busy) = lives.block_on(async {
                let (due, next) = store.due(now).await.unwrap();
                let counts = store.counts().await.unwrap();
                let is_busy = |state| matches!(state, State::Attempting | State::Sending);
                (due, next, counts.iter().any(|(state, n)| is_busy(*state) && *n > 0))
            });
            if busy || !due.is_empty() && idle < 20 {
                idle = if busy { 0 } else { idle + 1 };
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            idle = 0;
            if self.naive {
                self.forget_doubts();
            }
            // What is due and not begun waits for a mailbox that is throttled.
            let pause = match (due.is_empty(), next) {
                (false, _) => Duration::from_secs(1),
                (true, Some(next)) => {
                    Duration::try_from(next.duration_since(now)).unwrap_or_default()
                }
                (true, None) => return,
            };
            self.pass(pause);
        }
    }

    /// Both clocks, by whole seconds.
    fn pass(&self, pause: Duration) {
        let seconds = u32::try_from(pause.as_secs() + 1).unwrap();
        self.sandbox.world().clock.advance(seconds);
        self.clock.advance(Duration::from_secs(seconds.into()));
        let (_, running) = self.bridge.as_ref().unwrap();
        running.control.store.wake_worker();
        self.sandbox.world().journal.clear();
    }

    fn next_death(&mut self) -> Instant {
        Instant::now() + Duration::from_millis(300 + self.chance(1_200))
    }

    fn forget_doubts(&self) {
        let url = format!("sqlite://{}", self.config.state_dir().join("postbridge.db").display());
        self.runtime.block_on(async {
            let mut connection = SqliteConnection::connect(&url).await.unwrap();
            let forget = "UPDATE entry SET progress = NULL, due_at = 0 WHERE state = 'queued' \
                          AND json_extract(progress, '$.doubt') IS NOT NULL";
            sqlx::query(forget).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        });
    }

    /// The copies delivered, by subject.
    fn copies(&self) -> HashMap<String, usize> {
        let mut copies = HashMap::new();
        for copy in self.sandbox.world().ledger.copies() {
            *copies.entry(copy.message.subject.clone()).or_default() += 1;
        }
        copies
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    accepted: usize,
    delivered: usize,
    failed: usize,
    held: usize,
    queued: usize,
    twice: usize,
    lost: usize,
}

/// A day with so many mails, in ten portions.
fn day(mails: usize, naive: bool) -> (Totals, usize) {
    let mut day = Day::begin(naive);
    let began = day.clock.now();
    day.sandbox.world().faults.set(bad_day());
    let mut accepted = Vec::new();
    for portion in 0..10 {
        accepted.extend(day.hand_in(portion * mails / 10..(portion + 1) * mails / 10));
        day.go_on();
    }
    // What is late happens now at the latest.
    day.pass(Duration::from_secs(3600));
    day.go_on();
    let copies = day.copies();
    let mut totals = Totals { accepted: accepted.len(), ..Totals::default() };
    let (lives, running) = day.bridge.as_ref().unwrap();
    for (n, id) in &accepted {
        let entry = lives.block_on(running.control.store.entry(*id)).unwrap();
        let copies = copies.get(&format!("mail {n}")).copied().unwrap_or_default();
        totals.twice += usize::from(copies > 1);
        match entry.map(|entry| entry.state) {
            Some(State::Sent) if copies >= 1 => totals.delivered += 1,
            Some(State::Failed) if copies == 0 => totals.failed += 1,
            Some(State::Held) => totals.held += 1,
            Some(State::Queued) => totals.queued += 1,
            // Nobody knows of it, or it is not what it is said to be.
            _ => totals.lost += 1,
        }
    }
    let hours = day.clock.now().duration_since(began).as_secs_f64() / 3600.0;
    let kind = if naive { "tried again at once" } else { "as it is" };
    say(&format!("{kind}: {totals:?}, {} kills, {hours:.1} hours, seed {SEED}", day.kills));
    drop(day.bridge.take());
    let kills = day.kills;
    drop(day.directory);
    (totals, kills)
}

/// How many mails; `POSTBRIDGE_BAD_DAY` asks for another number.
const MAILS: usize = 10_000;

#[test]
fn ten_thousand_mails_go_once_each_on_a_bad_day() {
    let asked = std::env::var("POSTBRIDGE_BAD_DAY").ok();
    let (totals, kills) = day(asked.map_or(MAILS, |n| n.parse().unwrap()), false);
    assert_eq!((totals.twice, totals.lost, totals.queued), (0, 0, 0));
    let ended = totals.delivered + totals.failed + totals.held + totals.queued;
    assert_eq!(totals.accepted, ended);
    assert!(totals.held * 1_000 <= totals.accepted, "{} held", totals.held);
    assert!(kills >= 25, "{kills} kills");
}

/// The control: were doubt thrown away, the same day would show it.
#[test]
fn whoever_just_tries_again_is_found_out() {
    let (totals, _) = day(2_000, true);
    assert!(totals.twice > 0, "{totals:?}");
}
