//! The daemon is killed, everywhere and at any time, and started again: what it acknowledged is
//! sent, failed or held, and nothing is sent twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::daemon::{Client, Mail, NOT_OURS, Site};
use common::totals::{Totals, account_for};
use common::{COLLEAGUE, PATIENCE, say};
use postbridge::account::Standing;
use postbridge::control::Request;
use postbridge::sandbox::script::When;
use postbridge::store::spool::EntryId;

const OUTSIDE: &str = "pradeep.gupta@fabrikam.example";
const UNSEEN: &str = "megan.bowen@fabrikam.example";

/// One recipient; several, one of them unnamed; a body in a file; one that Microsoft refuses.
fn mails() -> Vec<Mail> {
    vec![
        Mail::new("one", &[COLLEAGUE], &[], 100),
        Mail::new("several", &[COLLEAGUE, OUTSIDE], &[UNSEEN], 100),
        Mail::new("large", &[OUTSIDE], &[], 300_000),
        Mail::sent_as(NOT_OURS, "refused", &[OUTSIDE], &[], 100),
    ]
}

fn assert_still_signed_in(site: &Site) {
    assert_eq!(site.at_rest().1.standing, Standing::Ready);
}

#[test]
fn killed_at_any_request_it_loses_nothing_and_sends_nothing_twice() {
    let undisturbed = {
        let site = Site::new();
        let mut daemon = site.serve();
        let accepted: Vec<_> = mails()
            .into_iter()
            .map(|mail| {
                let id = site.hand_in(&mut daemon, &mail);
                (mail, id)
            })
            .collect();
        let entries = site.finish(&mut daemon);
        let totals = account_for(&site, &accepted, &[], &entries);
        assert_eq!((totals.sent, totals.failed, totals.reports, totals.held), (3, 1, 1, 0));
        // Left-over drafts are looked for (GET) and deleted when there is time.
        let journal = site.sandbox.world().journal.entries();
        journal.iter().filter(|one| ["POST", "PATCH"].contains(&one.method.as_str())).count() as u64
    };
    // One refresh; a draft, its tag and its send for each mail and for the report.
    assert_eq!(undisturbed, 16);

    let mut all = Totals::default();
    let mut kills = 0;
    for when in [When::Before, When::After] {
        for nth in 1..=undisturbed {
            let site = Site::new();
            let mut daemon = site.serve();
            let first = daemon.pid();
            site.kill_at(&daemon, nth, when);
            let mut accepted = Vec::new();
            for mail in mails() {
                let id = site.hand_in(&mut daemon, &mail);
                accepted.push((mail, id));
            }
            let entries = site.finish(&mut daemon);
            assert_ne!(daemon.pid(), first, "request {nth} never came");
            let totals = account_for(&site, &accepted, &[], &entries);
            let journal = site.sandbox.world().journal.entries();
            let killed = journal.iter().find(|request| request.fault.is_some()).unwrap();
            // Whatever it was in doubt about it has found out.
            assert_eq!((totals.sent, totals.failed, totals.held), (3, 1, 0), "{}", killed.path);
            assert_still_signed_in(&site);
            kills += 1;
            all.add(totals);
        }
    }
    say(&format!(
        "killed at each of {undisturbed} requests, before and after, {kills} kills: {all:?}"
    ));
}

#[test]
fn a_mail_is_there_after_a_kill_right_behind_its_250() {
    let site = Site::new();
    let mut accepted = Vec::new();
    for round in 0..5 {
        let mut daemon = site.serve();
        let mut client = Client::connect(daemon.address, &site.password).unwrap();
        // One in a row of the database, one in a file.
        for octets in [100, 200_000] {
            let mail = Mail::new(&format!("behind-{round}-{octets}"), &[COLLEAGUE], &[], octets);
            let id = client.submit(&mail).unwrap();
            accepted.push((mail, id));
        }
        daemon.kill();
    }
    let mut daemon = site.serve();
    let entries = site.finish(&mut daemon);
    let totals = account_for(&site, &accepted, &[], &entries);
    assert_eq!(totals.sent + totals.held, 10);
    say(&format!("killed behind the 250, 5 kills: {totals:?}"));
}

/// The knife falls somewhere between the last octet and the 250.
#[test]
fn a_client_that_saw_no_250_comes_again_and_its_mail_goes_once() {
    let site = Site::new();
    let mut daemon = site.serve();
    let mut accepted = Vec::new();
    for round in 0..12_u64 {
        let octets = if round % 2 == 0 { 100 } else { 200_000 };
        let mail = Mail::new(&format!("unanswered-{round}"), &[COLLEAGUE], &[UNSEEN], octets);
        let mut client = Client::connect(daemon.address, &site.password).unwrap();
        client.begin(&mail).unwrap();
        client.send(&format!("{}.\r\n", mail.octets)).unwrap();
        // The moment is what is tested.
        std::thread::sleep(Duration::from_micros(round / 2 * 400));
        daemon.kill();
        daemon = site.serve();
        let id = site.hand_in(&mut daemon, &mail);
        accepted.push((mail, id));
    }
    let entries = site.finish(&mut daemon);
    let totals = account_for(&site, &accepted, &[], &entries);
    assert_eq!(totals.sent + totals.held, 12);
    say(&format!("killed before the 250 was read, 12 kills: {totals:?}"));
}

#[test]
fn of_a_mail_whose_data_never_ended_nothing_is_there() {
    let site = Site::new();
    for octets in [100, 400_000] {
        let mut daemon = site.serve();
        let mut client = Client::connect(daemon.address, &site.password).unwrap();
        let mail = Mail::new("half", &[COLLEAGUE], &[], octets);
        client.begin(&mail).unwrap();
        client.send(&mail.octets).unwrap();
        if octets > 128 * 1024 {
            // It has come as far as the disk before the knife falls.
            let deadline = Instant::now() + PATIENCE;
            while spooled_files(&site) == 0 {
                assert!(Instant::now() < deadline);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        daemon.kill();
    }
    let mut daemon = site.serve();
    assert!(site.finish(&mut daemon).is_empty());
    assert_eq!(spooled_files(&site), 0);
    assert!(site.sandbox.world().ledger.copies().is_empty());
    let mut daemon = site.serve();
    // The client comes again: its mail is a new one, and goes once.
    let mail = Mail::new("half", &[COLLEAGUE], &[], 400_000);
    let id = site.hand_in(&mut daemon, &mail);
    let entries = site.finish(&mut daemon);
    assert_eq!(account_for(&site, &[(mail, id)], &[], &entries).sent, 1);
}

fn spooled_files(site: &Site) -> usize {
    std::fs::read_dir(site.state().join("spool")).unwrap().count()
}

#[test]
fn killed_two_hundred_times_under_load_every_accepted_mail_is_accounted_for() {
    const KILLS: usize = 200;
    const CLIENTS: usize = 4;
    /// Mails that wait at any time: enough for the worker, and not more than it gets done.
    const WAITING: usize = 100;
    let begun = Instant::now();
    let site = Site::new();
    let mut daemon = site.serve();
    let address = Mutex::new(daemon.address);
    let stop = AtomicBool::new(false);
    let accepted = Mutex::new(Vec::new());
    std::thread::scope(|threads| {
        for client in 0..CLIENTS {
            let (site, address, stop, accepted) = (&site, &address, &stop, &accepted);
            threads.spawn(move || {
                let mut session = None;
                for n in 0.. {
                    let is_too_much = || {
                        let done = site.sandbox.world().ledger.copies().len() / 2;
                        accepted.lock().unwrap().len() > done + WAITING
                    };
                    while is_too_much() && !stop.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let octets = if n % 5 == 0 { 200_000 } else { 2_000 };
                    let mail =
                        Mail::new(&format!("load-{client}-{n}"), &[OUTSIDE], &[UNSEEN], octets);
                    let id = submit_through_kills(site, address, &mut session, &mail);
                    accepted.lock().unwrap().push((mail, id));
                }
            });
        }
        for _ in 0..KILLS {
            // The moment is what is tested: some time after some mails, or after a while without any.
            let [chance, some, ..] = *uuid::Uuid::new_v4().as_bytes();
            let enough = accepted.lock().unwrap().len() + usize::from(some % 5);
            let too_long = Instant::now() + Duration::from_millis(150);
            while accepted.lock().unwrap().len() < enough && Instant::now() < too_long {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_micros(u64::from(chance) * 150));
            daemon.kill();
            daemon = site.serve();
            *address.lock().unwrap() = daemon.address;
            // What was under way when it died is due at once, not in ten seconds.
            site.ask(&Request::Flush {});
        }
        stop.store(true, Ordering::Relaxed);
    });
    let accepted = accepted.into_inner().unwrap();
    assert!(accepted.len() > CLIENTS, "there was no load: {}", accepted.len());
    let entries = site.finish(&mut daemon);
    let totals = account_for(&site, &accepted, &[], &entries);
    assert_eq!(totals.accepted, totals.sent + totals.held + totals.failed);
    assert_still_signed_in(&site);
    say(&format!(
        "killed at random under load, {KILLS} kills in {:.0?}: {totals:?}",
        begun.elapsed()
    ));
}

/// Until a 250 is read, whatever dies meanwhile.
fn submit_through_kills(
    site: &Site,
    address: &Mutex<SocketAddr>,
    session: &mut Option<Client>,
    mail: &Mail,
) -> EntryId {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = *address.lock().unwrap();
        let client = match session.take() {
            Some(client) => Ok(client),
            None => Client::connect(now, &site.password),
        };
        let handed_in = client.and_then(|mut client| Ok((client.submit(mail)?, client)));
        match handed_in {
            Ok((id, client)) => {
                *session = Some(client);
                return id;
            }
            Err(error) => {
                assert!(Instant::now() < deadline, "{error}");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}
