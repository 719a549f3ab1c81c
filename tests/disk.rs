//! The daemon is killed in the middle of its work with the disk, or the disk fails it: what was
//! acknowledged is there and is sent once; what was not may be there, and is never sent twice.
//!
//! strace is the knife, and the bad disk: at a call to the system that is given by its name and number it
//! kills the daemon before the call is made, or lets the call fail. The database syncs itself by
//! `fdatasync`, and mails in files, with their directory, are synced by `fsync`, so that the name tells
//! which it is. strace counts for each thread by itself: all that the database does is done by one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

use common::daemon::{Client, Daemon, Mail, Site};
use common::totals::{Totals, account_for};
use common::{COLLEAGUE, say, skip};
use postbridge::store::spool::EntryId;

const UNSEEN: &str = "megan.bowen@fabrikam.example";

/// Whether strace is there and may trace.
fn can_trace() -> bool {
    let tried =
        Command::new("strace").args(["-D", "-f", "-qq", "-o", "/dev/null", "true"]).output();
    let can = tried.is_ok_and(|tried| tried.status.success());
    if !can {
        skip("strace is missing, or may not trace here");
    }
    can
}

/// A row of the database, a file that is written at once, and one that is written as it comes.
const SIZES: [usize; 3] = [100, 66_000, 132_000];

fn mail(subject: &str, n: usize) -> Mail {
    Mail::new(subject, &[COLLEAGUE], &[UNSEEN], SIZES[n % SIZES.len()])
}

/// Where the knife falls.
struct Knife {
    /// As strace names them.
    calls: &'static str,
    /// At the first call of a thread, at the second, …; and then from the beginning again.
    up_to: usize,
    kills: usize,
}

/// A daemon that is killed by its n-th call of these, in any of its threads.
fn killed_at(site: &Site, calls: &str, n: usize) -> Result<Daemon, Daemon> {
    let daemon = site.command(&["serve"]);
    let mut traced = Command::new("strace");
    // The daemon is our child, and strace is nobody's: it ends with the daemon.
    traced.args(["-D", "-f", "-qq", "-o", "/dev/null"]);
    traced.arg("-e").arg(format!("trace={calls}"));
    traced.arg("-e").arg(format!("inject={calls}:signal=KILL:when={n}"));
    traced.arg(daemon.get_program()).args(daemon.get_args()).env_remove("RUST_LOG");
    traced.envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Daemon::try_start(&mut traced)
}

/// What clients know of their mails.
#[derive(Default)]
struct Known {
    accepted: Vec<(Mail, EntryId)>,
    /// Handed in, and no answer.
    unanswered: Vec<Mail>,
}

/// Two clients hand mails in to this daemon, until it dies or they have no more.
fn hand_in(site: &Site, daemon: &Daemon, life: usize) -> Known {
    /// Of each client.
    const MAILS: usize = 5;
    let (address, password) = (daemon.address, &site.password);
    let known = Mutex::new(Known::default());
    std::thread::scope(|threads| {
        for client in 0..2 {
            let known = &known;
            threads.spawn(move || {
                let Ok(mut session) = Client::connect(address, password) else { return };
                for n in 0..MAILS {
                    let mail = mail(&format!("life-{life}-{client}-{n}"), n + client);
                    let answer = session.submit(&mail);
                    let mut known = known.lock().unwrap();
                    match answer {
                        Ok(id) => known.accepted.push((mail, id)),
                        Err(error) => {
                            // Only death is an excuse.
                            assert_ne!(error.kind(), std::io::ErrorKind::Other, "{error}");
                            return known.unanswered.push(mail);
                        }
                    }
                    drop(known);
                    if n == 1 && give_up(&mut session, address, password).is_err() {
                        return;
                    }
                }
            });
        }
    });
    known.into_inner().unwrap()
}

/// A client goes away in the middle of a mail that is large enough to be a file by then; and comes again.
fn give_up(session: &mut Client, address: SocketAddr, password: &str) -> std::io::Result<()> {
    let half = Mail::new("half", &[COLLEAGUE], &[], 132_000);
    session.begin(&half)?;
    session.send(&half.octets)?;
    *session = Client::connect(address, password)?;
    Ok(())
}

/// Every life of the daemon ends by the knife; every fourth one is looked after by one that lives. So
/// most begin with what was left in the middle, and some die of it before they listen.
fn killed_by(knives: &[Knife]) -> (usize, Totals) {
    const LOOKED_AFTER: usize = 4;
    let site = Site::new();
    site.sandbox.world().switches().uploaded_octets_max = usize::MAX;
    let (mut all, mut kills, mut life) = (Known::default(), 0, 0);
    let mut no_answer = Vec::new();
    for Knife { calls, up_to, kills: wanted } in knives {
        let (mut fallen, mut missed) = (0, 0);
        let mut nth = (1..=*up_to).cycle();
        while fallen < *wanted {
            let n = nth.next().unwrap();
            life += 1;
            let begun = killed_at(&site, calls, n);
            let is_alive = begun.as_ref().is_ok_and(|daemon| {
                let known = hand_in(&site, daemon, life);
                all.accepted.extend(known.accepted);
                no_answer.extend(known.unanswered);
                site.work_off_or_die(daemon)
            });
            let (Ok(mut daemon) | Err(mut daemon)) = begun;
            if is_alive {
                daemon.kill();
                missed += 1;
                assert!(missed < *wanted, "no thread calls {calls} {n} times");
            } else {
                let status = daemon.ended();
                assert_eq!(status.signal(), Some(9), "{calls} {n}: {status}: {}", daemon.log());
                fallen += 1;
            }
            if life % LOOKED_AFTER == 0 {
                look_after(&site, &mut no_answer, &mut all);
            }
        }
        say(&format!("{calls} {fallen} {missed} {}", all.accepted.len()));
        kills += fallen;
    }
    look_after(&site, &mut no_answer, &mut all);
    let entries = site.finish(&mut site.serve());
    (kills, account_for(&site, &all.accepted, &all.unanswered, &entries))
}

/// A daemon that is not traced sends what is there. Every other client that had no answer comes again.
fn look_after(site: &Site, no_answer: &mut Vec<Mail>, all: &mut Known) {
    let mut daemon = site.serve();
    for (n, mail) in no_answer.drain(..).enumerate() {
        if n % 2 == 0 {
            let id = site.hand_in(&mut daemon, &mail);
            all.accepted.push((mail, id));
        } else {
            all.unanswered.push(mail);
        }
    }
    site.work_off(&mut daemon);
    daemon.kill();
}

#[test]
fn killed_before_any_sync_or_write_of_the_database_what_was_acknowledged_goes_once() {
    if !can_trace() {
        return;
    }
    let begun = Instant::now();
    let (kills, totals) = killed_by(&[
        Knife { calls: "fdatasync", up_to: 30, kills: 60 },
        Knife { calls: "pwrite64", up_to: 80, kills: 80 },
    ]);
    say(&format!(
        "killed before the database syncs or writes, {kills} kills in {:.0?}: {totals:?}",
        begun.elapsed()
    ));
}

#[test]
fn killed_before_any_sync_or_removal_of_a_file_or_any_reply_what_was_acknowledged_goes_once() {
    if !can_trace() {
        return;
    }
    let begun = Instant::now();
    let (kills, totals) = killed_by(&[
        // Of a mail's file, of its directory; first of all of the state directory.
        Knife { calls: "fsync", up_to: 5, kills: 35 },
        // Of a mail that was sent, of one that was given up; of the control socket's old name.
        Knife { calls: "rename,unlink", up_to: 3, kills: 25 },
        // A client's reply, or a request to Microsoft.
        Knife { calls: "sendto,writev", up_to: 20, kills: 40 },
    ]);
    say(&format!(
        "killed before a file is synced or removed, or anything is said, {kills} kills in {:.0?}: {totals:?}",
        begun.elapsed()
    ));
}
