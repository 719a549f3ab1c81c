//! The daemon is killed in the middle of its work with the disk, or the disk fails it: what was
//! acknowledged is there and is sent once; what was not may be there, and is never sent twice.
//!
//! strace is the knife, and the bad disk: at a call to the system that is given by its name and number it
//! kills the daemon before the call is made, or lets the call fail. The database syncs itself by
//! `fdatasync`, and mails in files, with their directory, are synced by `fsync`, so that the name tells
//! which it is. strace counts for each thread by itself: all that the database does is done by one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use common::daemon::{Client, Daemon, Mail, Site};
use common::totals::{Totals, account_for};
use common::{COLLEAGUE, PATIENCE, say, skip};
use postbridge::store::spool::EntryId;
use postbridge::store::{Room, Store};

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
    let (trace, inject) =
        (format!("trace={calls}"), format!("inject={calls}:signal=KILL:when={n}"));
    traced(site, Path::new("/dev/null"), &["-e", &trace, "-e", &inject])
}

/// A daemon that is traced from its first call on. It is our child, and strace is nobody's: it ends with
/// the daemon.
fn traced(site: &Site, output: &Path, arguments: &[&str]) -> Result<Daemon, Daemon> {
    let daemon = site.command(&["serve"]);
    let mut traced = Command::new("strace");
    traced.args(["-D", "-f", "-qq", "-o"]).arg(output).args(arguments);
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

/// Key, certificate, database and directories are made by the first start.
#[test]
fn killed_anywhere_in_its_first_start_it_starts_the_next_time() {
    if !can_trace() {
        return;
    }
    let site = Site::new();
    let mut kills = 0;
    // There are many writes, and one is like the next.
    for (calls, step) in [("fsync", 1), ("fdatasync", 1), ("rename,unlink", 1), ("pwrite64", 9)] {
        for n in (1..).step_by(step) {
            std::fs::remove_dir_all(site.state()).unwrap();
            let begun = killed_at(&site, calls, n);
            let has_survived = begun.is_ok();
            drop(begun);
            let mut daemon = site.serve();
            assert_eq!(site.counts(), Some(vec![]), "{calls} {n}: {}", daemon.log());
            daemon.kill();
            if has_survived {
                assert!(n > step, "a first start calls {calls}");
                break;
            }
            kills += 1;
        }
    }
    say(&format!("killed in its first start, {kills} kills"));
}

/// A disk that fails a running daemon, for as long as this lives.
struct Fault {
    strace: Child,
    trace: PathBuf,
}

impl Fault {
    /// From now on each of these calls fails so, in every thread; of a file that is named, its alone.
    fn begin(site: &Site, daemon: &Daemon, calls: &str, error: &str, file: Option<&Path>) -> Fault {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let fault = Fault::attach(site, daemon, calls, error, file);
            // A thread that is begun while strace looks for them may have been overlooked.
            if is_traced(daemon) {
                return fault;
            }
            assert!(Instant::now() < deadline, "a thread is not traced");
        }
    }

    fn attach(
        site: &Site,
        daemon: &Daemon,
        calls: &str,
        error: &str,
        file: Option<&Path>,
    ) -> Fault {
        let trace = site.directory.path().join("fault");
        let mut strace = Command::new("strace");
        strace.arg("-o").arg(&trace).args(["-f", "-p", &daemon.pid().to_string()]);
        strace.arg("-e").arg(format!("trace={calls}"));
        strace.arg("-e").arg(format!("inject={calls}:error={error}"));
        if let Some(file) = file {
            strace.arg("-P").arg(file);
        }
        let mut strace = strace.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = strace.stderr.take().unwrap();
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let attached = lines.find(|line| line.contains("attached"));
        assert!(attached.is_some(), "strace does not attach");
        // It goes on telling of threads that come.
        std::thread::spawn(move || lines.for_each(drop));
        Fault { strace, trace }
    }

    /// The disk is well again.
    fn end(mut self) {
        self.stop();
        let trace = std::fs::read_to_string(&self.trace).unwrap();
        assert!(trace.contains("(INJECTED)"), "nothing failed: {trace}");
    }

    fn stop(&mut self) {
        // On this it lets the daemon go on untraced.
        let pid = i32::try_from(self.strace.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        let _ = self.strace.wait();
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether each of its threads is, so that each that they begin will be.
fn is_traced(daemon: &Daemon) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let mut states = tasks.flatten().flat_map(|task| {
        // It may have come to its end.
        std::fs::read_to_string(task.path().join("status"))
    });
    states.all(|status| !status.lines().any(|line| line == "TracerPid:\t0"))
}

/// EX_IOERR.
const DISK_FAILED: i32 = 74;

/// Ends by itself because of its disk; how long that took from `since`.
fn assert_ended_by_its_disk(daemon: &mut Daemon, since: Instant) -> Duration {
    let status = daemon.ended();
    let took = since.elapsed();
    assert_eq!(status.code(), Some(DISK_FAILED), "{status}: {}", daemon.log());
    assert!(daemon.log().contains("the store did not keep what it was given"), "{}", daemon.log());
    took
}

/// A site on which mails were accepted and sent, and a daemon.
fn at_work(known: &mut Known, name: &str) -> (Site, Daemon) {
    let site = Site::new();
    let mut daemon = site.serve();
    for n in 0..SIZES.len() {
        let mail = mail(&format!("{name}-before-{n}"), n);
        let id = site.hand_in(&mut daemon, &mail);
        known.accepted.push((mail, id));
    }
    (site, daemon)
}

#[test]
fn where_the_database_cannot_be_synced_nothing_is_acknowledged_and_the_daemon_ends() {
    if !can_trace() {
        return;
    }
    let mut took = Duration::ZERO;
    for n in 0..SIZES.len() {
        let mut known = Known::default();
        let (site, mut daemon) = at_work(&mut known, "db");
        // What is on its way as well: the worker's own records are to fail in another round.
        if n > 0 {
            site.work_off(&mut daemon);
        }
        let mut session = session(&site, &daemon);
        let fault = Fault::begin(&site, &daemon, "fdatasync", "EIO", None);
        let since = Instant::now();
        let mail = mail(&format!("db-lost-{n}"), n);
        let answer = session.submit(&mail);
        assert!(answer.is_err(), "acknowledged, and not on disk");
        took = took.max(assert_ended_by_its_disk(&mut daemon, since));
        fault.end();
        let mut no_answer = vec![mail];
        look_after(&site, &mut no_answer, &mut known);
        let entries = site.finish(&mut site.serve());
        let totals = account_for(&site, &known.accepted, &known.unanswered, &entries);
        assert_eq!(totals.sent, SIZES.len() + 1);
    }
    say(&format!("a database that cannot be synced: ended within {took:.0?}"));
}

/// What of a mail's file cannot be synced.
#[derive(Debug, PartialEq)]
enum Unsynced {
    Octets,
    Name,
    Both,
}

#[test]
fn where_a_file_cannot_be_synced_it_is_not_acknowledged_and_the_daemon_ends() {
    if !can_trace() {
        return;
    }
    let mut took = Duration::ZERO;
    for (n, what) in [
        (1, Unsynced::Name),
        (1, Unsynced::Both),
        (2, Unsynced::Name),
        (2, Unsynced::Both),
        // Only of a file that is written as it comes is the name known in time.
        (2, Unsynced::Octets),
    ] {
        let mut known = Known::default();
        let (site, mut daemon) = at_work(&mut known, "file");
        site.work_off(&mut daemon);
        let (mut small, mut large) = (session(&site, &daemon), session(&site, &daemon));
        let mail = mail("file-lost", n);
        let (first, rest) = mail.octets.split_at(mail.octets.len() - 100);
        large.begin(&mail).unwrap();
        large.send(first).unwrap();
        let file = match what {
            Unsynced::Octets => Some(the_file(&site)),
            Unsynced::Name => Some(site.state().join("spool")),
            Unsynced::Both => None,
        };
        let fault = Fault::begin(&site, &daemon, "fsync", "EIO", file.as_deref());
        // What needs no file is taken.
        let row = Mail::new("file-row", &[COLLEAGUE], &[], 100);
        let id = small.submit(&row).unwrap();
        known.accepted.push((row, id));
        let since = Instant::now();
        large.send(&format!("{rest}.\r\n")).unwrap();
        assert!(large.expect("250").is_err(), "acknowledged, and not on disk: {what:?}");
        took = took.max(assert_ended_by_its_disk(&mut daemon, since));
        fault.end();
        look_after(&site, &mut vec![mail], &mut known);
        let entries = site.finish(&mut site.serve());
        let totals = account_for(&site, &known.accepted, &known.unanswered, &entries);
        assert_eq!(totals.sent, SIZES.len() + 2);
    }
    say(&format!("a file that cannot be synced: ended within {took:.0?}"));
}

fn session(site: &Site, daemon: &Daemon) -> Client {
    Client::connect(daemon.address, &site.password).unwrap()
}

fn files(site: &Site) -> Vec<PathBuf> {
    let files = std::fs::read_dir(site.state().join("spool")).unwrap();
    files.map(|file| file.unwrap().path()).collect()
}

/// The one file in the spool, when it is there.
fn the_file(site: &Site) -> PathBuf {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "{:?}", files(site));
        match files(site).as_slice() {
            [file] => return file.clone(),
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

#[test]
fn where_the_database_has_no_room_it_is_a_452_at_once_and_the_same_daemon_goes_on() {
    if !can_trace() {
        return;
    }
    // SQLite says of either that it could not write.
    for error in ["ENOSPC", "EIO"] {
        let mut known = Known::default();
        let (site, mut daemon) = at_work(&mut known, "room");
        let pid = daemon.pid();
        let mut session = session(&site, &daemon);
        let fault = Fault::begin(&site, &daemon, "pwrite64", error, None);
        for n in 0..SIZES.len() {
            for _ in 0..2 {
                let refusal = session.submit(&mail("refused", n)).unwrap_err().to_string();
                assert!(refusal.starts_with("452 4.3.1"), "{error}: {refusal}");
            }
        }
        fault.end();
        for n in 0..SIZES.len() {
            let mail = mail(&format!("room-after-{n}"), n);
            let id = session.submit(&mail).unwrap();
            known.accepted.push((mail, id));
        }
        site.work_off(&mut daemon);
        assert_eq!(daemon.pid(), pid, "it was started anew");
        let entries = site.finish(&mut daemon);
        let totals = account_for(&site, &known.accepted, &[], &entries);
        assert_eq!(totals.sent, 2 * SIZES.len());
    }
}

#[test]
fn where_a_file_has_no_room_it_is_a_452_and_nothing_is_left_of_it() {
    if !can_trace() {
        return;
    }
    for (error, reply) in [("ENOSPC", "452 4.3.1"), ("EIO", "451 4.3.0")] {
        let mut known = Known::default();
        let (site, mut daemon) = at_work(&mut known, "write");
        site.work_off(&mut daemon);
        let mut session = session(&site, &daemon);
        let large = Mail::new("write-large", &[COLLEAGUE], &[UNSEEN], 400_000);
        session.begin(&large).unwrap();
        let (first, rest) = large.octets.split_at(200_000);
        session.send(first).unwrap();
        let file = the_file(&site);
        let fault = Fault::begin(&site, &daemon, "write", error, Some(&file));
        session.send(&format!("{rest}.\r\n")).unwrap();
        let refusal = session.expect("250").unwrap_err().to_string();
        assert!(refusal.starts_with(reply), "{error}: {refusal}");
        assert_eq!(files(&site), [] as [PathBuf; 0]);
        fault.end();
        let id = session.submit(&large).unwrap();
        known.accepted.push((large, id));
        let entries = site.finish(&mut daemon);
        let totals = account_for(&site, &known.accepted, &[], &entries);
        assert_eq!(totals.sent, SIZES.len() + 1);
    }
}

#[test]
fn a_start_that_cannot_sync_takes_no_mail_and_loses_none() {
    if !can_trace() {
        return;
    }
    let mut known = Known::default();
    let (site, mut daemon) = at_work(&mut known, "start");
    daemon.kill();
    let fault = ["-e", "trace=fsync", "-e", "inject=fsync:error=EIO"];
    let begun = traced(&site, Path::new("/dev/null"), &fault);
    let mut refused = begun.expect_err("it takes mail");
    let status = refused.ended();
    assert_eq!(status.code(), Some(73), "{status}: {}", refused.log());
    let entries = site.finish(&mut site.serve());
    assert_eq!(account_for(&site, &known.accepted, &[], &entries).sent, SIZES.len());
}

/// A sync that fails may have lost what was written before it, while the kernel goes on showing it. The
/// next daemon must not build on that: what it acknowledges would be behind a hole.
#[test]
fn what_is_acknowledged_after_a_failed_sync_and_a_restart_survives_a_power_cut() {
    if !can_trace() {
        return;
    }
    let (site, mut known) = (Site::new(), Known::default());
    // Nothing is sent meanwhile, so that it is known who writes.
    site.sign_out();
    let mut daemon = site.serve();
    let before = mail("cut-before", 0);
    let id = site.hand_in(&mut daemon, &before);
    known.accepted.push((before, id));
    let log = site.state().join("postbridge.db-wal");
    let synced = std::fs::read(&log).unwrap().len();
    let fault = Fault::begin(&site, &daemon, "fdatasync", "EIO", None);
    let mut session = session(&site, &daemon);
    let lost = mail("cut-lost", 0);
    assert!(session.submit(&lost).is_err());
    assert_ended_by_its_disk(&mut daemon, Instant::now());
    fault.end();
    let shown = std::fs::read(&log).unwrap();
    assert!(shown.len() > synced, "nothing was lost");

    let trace = site.directory.path().join("trace");
    let mut daemon = traced(&site, &trace, &["-y", "-e", "trace=pwrite64"]).unwrap();
    for n in 0..SIZES.len() {
        let mail = mail(&format!("cut-after-{n}"), n);
        let id = site.hand_in(&mut daemon, &mail);
        known.accepted.push((mail, id));
    }
    daemon.kill();
    // A page that nobody has written to since is not on the disk but for what was synced.
    let written = pages_written(&std::fs::read_to_string(trace).unwrap(), &log);
    let mut left = std::fs::read(&log).unwrap();
    for page in (synced / PAGE..shown.len().div_ceil(PAGE)).filter(|page| !written.contains(page)) {
        left[(page * PAGE).max(synced)..(page + 1) * PAGE].fill(0);
    }
    std::fs::write(&log, left).unwrap();

    site.sign_in();
    let mut daemon = site.serve();
    let entries = site.finish(&mut daemon);
    known.unanswered.push(lost);
    let totals = account_for(&site, &known.accepted, &known.unanswered, &entries);
    assert_eq!(totals.sent, 1 + SIZES.len());
}

/// Of the kernel.
const PAGE: usize = 4096;

/// From `pwrite64(7</path>, "…"..., LENGTH, OFFSET) = WRITTEN`.
fn pages_written(trace: &str, file: &Path) -> HashSet<usize> {
    let file = format!("<{}>", file.display());
    let mut pages = HashSet::new();
    for line in trace.lines().filter(|line| line.contains(&file)) {
        let Some((call, written)) = line.rsplit_once(") = ") else { continue };
        let Ok(written) = written.trim().parse::<usize>() else { continue };
        let at: usize = call.rsplit(", ").next().unwrap().parse().unwrap();
        pages.extend(at / PAGE..(at + written).div_ceil(PAGE));
    }
    pages
}

/// A checkpoint brings what is in the log to the database and may then write over it. One whose sync fails
/// has brought nothing.
#[test]
fn where_a_checkpoint_cannot_be_synced_the_log_still_holds_all_that_was_acknowledged() {
    /// Of 16 MiB in the log it is brought to the database.
    const LOG_OCTETS: u64 = 20 << 20;
    const CLIENTS: usize = 4;
    if !can_trace() {
        return;
    }
    let site = Site::new();
    site.sign_out();
    let (database, log) =
        (site.state().join("postbridge.db"), site.state().join("postbridge.db-wal"));
    // All there is, the log being empty.
    let synced = std::fs::read(&database).unwrap();
    let mut daemon = site.serve();
    let fault = Fault::begin(&site, &daemon, "fdatasync", "EIO", Some(&database));
    let accepted = Mutex::new(Vec::new());
    std::thread::scope(|threads| {
        for client in 0..CLIENTS {
            let (site, daemon, accepted, log) = (&site, &daemon, &accepted, &log);
            threads.spawn(move || {
                let mut session = Client::connect(daemon.address, &site.password).unwrap();
                for n in 0.. {
                    if std::fs::metadata(log).is_ok_and(|log| log.len() > LOG_OCTETS) {
                        return;
                    }
                    let subject = format!("checkpoint-{client}-{n}");
                    let mail = Mail::new(&subject, &[COLLEAGUE], &[], 60_000);
                    // It may end, as for any other sync that fails.
                    let Ok(id) = session.submit(&mail) else { return };
                    accepted.lock().unwrap().push((mail, id));
                }
            });
        }
    });
    daemon.kill();
    fault.end();
    std::fs::write(&database, synced).unwrap();
    let accepted = accepted.into_inner().unwrap();
    assert!(accepted.len() > 100, "{}", accepted.len());
    site.runtime.block_on(async {
        let store = Store::open(&site.state(), Room::default()).await.unwrap();
        for (mail, id) in &accepted {
            let body = store.body(*id).await.unwrap();
            assert_eq!(body.as_deref(), Some(mail.octets.as_bytes()), "{} is lost", mail.subject);
        }
    });
    say(&format!("a checkpoint that cannot be synced: {} mails are in the log", accepted.len()));
}
