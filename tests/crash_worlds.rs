//! A mixed batch is on its way, three mails of it at a time, and the daemon is killed at each of its
//! requests, in every way that Microsoft 365 is told to behave: every copy and every invitation is there
//! once, as if nothing had happened.
//!
//! A run is short because nothing is made twice: the batch was handed in once, while its account waited
//! for a sign-in, and each run begins with a copy of that state directory. Requests are told by route and
//! number, not by their place among all: what is in flight together comes in any order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::daemon::{Daemon, Mail, NOT_OURS, Site, copy};
use common::runs::{self, Told};
use common::totals::{Totals, account_for};
use common::{COLLEAGUE, PATIENCE, USER, say, worlds};
use postbridge::sandbox::journal::Entry as Journalled;
use postbridge::sandbox::script::{Act, Kill, Rule, Script, When};
use postbridge::sandbox::world::{ConcurrencyBy, Switches, ThrottleRetryAfter};
use postbridge::store::spool::{Entry, EntryId, Kind, State};

const OUTSIDE: &str = "pradeep.gupta@fabrikam.example";
const UNSEEN: &str = "megan.bowen@fabrikam.example";
const GUEST: &str = "kim.akers@fabrikam.example";
/// Just too large for one request, and for one piece of an upload.
const FILE_OCTETS: usize = 10 * 320 * 1024 + 8 * 1024;

/// A small one, one with a recipient whom nobody sees, one that Microsoft refuses, an invite with a file,
/// and one that no request holds.
fn mails() -> Vec<Mail> {
    vec![
        large(),
        invite(),
        Mail::sent_as(NOT_OURS, "refused", &[OUTSIDE], &[], 100),
        Mail::new("seen", &[COLLEAGUE, OUTSIDE], &[UNSEEN], 100),
        Mail::new("small", &[COLLEAGUE], &[], 100),
    ]
}

/// Its file is text: what takes time here is to encode it.
fn large() -> Mail {
    let line = format!("{}\r\n", "x".repeat(78));
    let octets = format!(
        "From: {USER}\r\nTo: {COLLEAGUE}\r\nSubject: large\r\nMessage-ID: <large@contoso.example>\r\n\
         X-Ticket: 7\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n\
         --m\r\nContent-Type: text/plain\r\n\r\nHello\r\n\
         --m\r\nContent-Type: application/octet-stream; name=large.bin\r\n\
         Content-Disposition: attachment; filename=large.bin\r\n\r\n{}--m--\r\n",
        line.repeat(FILE_OCTETS.div_ceil(line.len()))
    );
    let to = vec![COLLEAGUE.to_owned(), UNSEEN.to_owned()];
    Mail { from: USER, to, subject: "large".to_owned(), octets }
}

fn invite() -> Mail {
    let octets = format!(
        "From: {USER}\nTo: {COLLEAGUE}, {GUEST}\nSubject: Interview\nMessage-ID: <invite@ats.example>\n\
         MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n\
         --m\nContent-Type: text/calendar; method=REQUEST; charset=utf-8\n\n\
         BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//ATS//EN\nMETHOD:REQUEST\nBEGIN:VEVENT\n\
         UID:interview-1@ats.example\nDTSTAMP:20261123T080000Z\n\
         DTSTART;TZID=Europe/Berlin:20270115T100000\nDURATION:PT1H\nSUMMARY:Interview\n\
         ORGANIZER:mailto:{USER}\nATTENDEE;RSVP=TRUE:mailto:{COLLEAGUE}\n\
         ATTENDEE;RSVP=TRUE:mailto:{GUEST}\nEND:VEVENT\nEND:VCALENDAR\n\
         --m\nContent-Type: application/pdf; name=job.pdf\n\
         Content-Disposition: attachment; filename=job.pdf\n\nThe job in one page.\n--m--\n"
    );
    let to = vec![COLLEAGUE.to_owned(), GUEST.to_owned()];
    Mail { from: USER, to, subject: "Interview".to_owned(), octets: octets.replace('\n', "\r\n") }
}

/// The large mail as it is delivered: its file in base64, in lines of 76, and its fields.
const LARGE_OCTETS: usize = FILE_OCTETS.div_ceil(57) * 78;

/// Whether a mail tells who else got it. Only its fields are looked at: its body is ours.
fn tells_who_else(raw: &[u8]) -> bool {
    let end = memchr::memmem::find(raw, b"\r\n\r\n").unwrap();
    memchr::memmem::find(&raw[..end], UNSEEN.as_bytes()).is_some()
}

/// A spool with the batch in it, of which nothing was begun.
struct Batch {
    site: Site,
    accepted: Vec<(Mail, EntryId)>,
    /// The state directory as it was then.
    begun: PathBuf,
}

/// What a run leaves behind.
#[derive(Debug, PartialEq)]
struct Left {
    /// How many copies of each mail, by subject and recipient.
    copies: BTreeMap<(String, String), usize>,
    /// Of each subject: whether it is as large as it should be.
    whole: BTreeMap<String, bool>,
    invitations: Vec<String>,
    events: usize,
    states: Vec<(Kind, State)>,
}

impl Batch {
    fn new() -> Batch {
        let site = Site::new();
        site.sign_out();
        let mut daemon = site.serve();
        let accepted: Vec<_> = mails()
            .into_iter()
            .map(|mail| {
                let id = site.hand_in(&mut daemon, &mail);
                (mail, id)
            })
            .collect();
        daemon.terminate();
        assert!(daemon.ended().success(), "{}", daemon.log());
        site.sign_in();
        let begun = site.directory.path().join("begun");
        copy(&site.state(), &begun);
        Batch { site, accepted, begun }
    }

    /// A daemon works until this request kills it; whether it came at all.
    fn work_until(&self, at: &At, when: When) -> bool {
        let begun = self.site.serve_after(|pid| {
            let faults = vec![at.rule(Act::Kill(Kill { pid, when }))];
            self.site.sandbox.world().faults.set(Script { seed: 0, faults });
        });
        let (Ok(mut daemon) | Err(mut daemon)) = begun;
        if self.site.work_off_or_die(&daemon) {
            return false;
        }
        let status = daemon.ended();
        assert_eq!(status.signal(), Some(9), "{status} {}", daemon.log());
        // How late an effect may be is for other tests, and this machine may be slow.
        self.until_nothing_is_under_way();
        true
    }

    /// Waits until Microsoft has done all that it was asked for.
    fn until_nothing_is_under_way(&self) {
        let deadline = Instant::now() + PATIENCE;
        let is_under_way = |one: &Journalled| one.status.is_none() && one.fault.is_none();
        while self.site.sandbox.world().journal.entries().iter().any(is_under_way) {
            assert!(Instant::now() < deadline, "a request does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A daemon does all that is left to do, and is undisturbed. Nothing opens the state directory here:
    /// whoever closes a database tidies up behind it, and might do so in the next run.
    fn finish(&self) -> (Left, Totals) {
        let daemon = &mut self.site.serve();
        let pid = daemon.pid();
        self.site.work_off(daemon);
        assert_eq!(daemon.pid(), pid, "it died by itself");
        let entries = self.site.entries();
        assert!(self.site.is_signed_in(), "{}", daemon.log());
        daemon.kill();
        // An event is no mail, and is counted among the invitations.
        let (invites, mails): (Vec<_>, Vec<_>) =
            self.accepted.iter().cloned().partition(|(mail, _)| mail.subject == "Interview");
        let is_invite = |entry: &&Entry| invites.iter().any(|(_, id)| *id == entry.id);
        let invite = entries.iter().find(is_invite).expect("the invite is lost");
        assert_eq!(invite.state, State::Sent, "{:?}", invite.note);
        let others: Vec<Entry> = entries.iter().filter(|e| !is_invite(e)).cloned().collect();
        let mut totals = account_for(&self.site, &mails, &[], &others);
        totals.accepted += 1;
        totals.sent += 1;
        (self.left(&entries), totals)
    }

    fn left(&self, entries: &[Entry]) -> Left {
        let world = self.site.sandbox.world();
        let (mut copies, mut whole) = (BTreeMap::new(), BTreeMap::new());
        for copy in world.ledger.copies() {
            let subject = copy.message.subject.clone();
            *copies.entry((subject.clone(), copy.recipient)).or_default() += 1;
            // Ids and boundaries differ by some octets, and by no more.
            let octets = copy.message.raw.len();
            let is_whole = match subject.as_str() {
                "large" => (LARGE_OCTETS..LARGE_OCTETS + 1_000).contains(&octets),
                _ => octets < 5_000,
            };
            whole.insert(subject, is_whole && !tells_who_else(&copy.message.raw));
        }
        let invitations = world.ledger.invitations();
        let invitation = |row: &postbridge::sandbox::ledger::Invited| {
            let invitation = &row.invitation;
            format!("{:?} {} {}", invitation.kind, invitation.attendee, invitation.start)
        };
        let mut states: Vec<_> = entries.iter().map(|entry| (entry.kind, entry.state)).collect();
        states.sort_by_key(|(kind, state)| (kind.name(), state.name()));
        Left {
            copies,
            whole,
            invitations: invitations.iter().map(invitation).collect(),
            events: world.calendar.events(world.user(USER).unwrap().object_id).len(),
            states,
        }
    }
}

/// One request of a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct At {
    method: Option<String>,
    route: String,
    /// Of those with this method and route.
    nth: u64,
}

impl At {
    fn rule(&self, act: Act) -> Rule {
        Rule {
            method: self.method.clone(),
            route: self.route.clone(),
            mailbox: None,
            nth: vec![self.nth],
            every: false,
            probability: None,
            times: Some(1),
            act,
        }
    }
}

/// Each request of an undisturbed run, by what tells it from the others. Only who sweeps reads and
/// deletes there, and that may be later.
fn requests(journal: &[Journalled]) -> Vec<At> {
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut found = Vec::new();
    for request in journal.iter().filter(|one| one.method != "GET" && one.method != "DELETE") {
        let (method, route) = (request.method.clone(), route(&request.path));
        let nth = counts.entry((method.clone(), route.clone())).or_default();
        *nth += 1;
        found.push(At { method: Some(method), route, nth: *nth });
    }
    found
}

/// A path as a script names it, with a star for whatever is another one in each run.
fn route(path: &str) -> String {
    if path.starts_with("/api/v2.0/") {
        return "/api/v2.0/*".to_owned();
    }
    if path.ends_with("/oauth2/v2.0/token") {
        return "*/oauth2/v2.0/token".to_owned();
    }
    let mut segments: Vec<&str> = path.split('/').collect();
    // `/v1.0/me/messages/{id}/…`
    if let Some(id) = segments.get_mut(4) {
        *id = "*";
        return segments.join("/");
    }
    // Without a star it would be a prefix.
    format!("*{path}")
}

/// What a run leaves in which nothing is disturbed; it has to be the same in every world but for the
/// octets, which Exchange may write anew.
fn undisturbed(batch: &Batch, switches: &Switches) -> (Left, Vec<At>) {
    batch.site.renew(&batch.begun, switches);
    let (left, totals) = batch.finish();
    let expected = Totals { accepted: 5, sent: 4, failed: 1, reports: 1, ..Totals::default() };
    assert_eq!(totals, expected);
    let copies: Vec<(&str, &str)> =
        left.copies.keys().map(|(subject, to)| (subject.as_str(), to.as_str())).collect();
    assert_eq!(
        copies,
        [
            ("Not delivered: refused", USER),
            ("large", COLLEAGUE),
            ("large", UNSEEN),
            ("seen", COLLEAGUE),
            ("seen", UNSEEN),
            ("seen", OUTSIDE),
            ("small", COLLEAGUE),
        ]
    );
    assert!(left.copies.values().all(|&copies| copies == 1), "{:?}", left.copies);
    assert!(left.whole.values().all(|&is_whole| is_whole), "{:?}", left.whole);
    let invited = [COLLEAGUE, GUEST].map(|to| format!("Request {to} 2027-01-15T09:00:00Z"));
    assert_eq!((left.invitations.as_slice(), left.events), (&invited[..], 1));
    (left, requests(&batch.site.sandbox.world().journal.entries()))
}

/// Works through jobs on batches of their own, and adds up what came of them.
fn side_by_side<J: Sync>(jobs: &[J], work: impl Fn(&Batch, &J) -> Totals + Sync) -> Totals {
    let mut all = Totals::default();
    runs::side_by_side(jobs, Batch::new, work).into_iter().for_each(|totals| all.add(totals));
    all
}

/// One run, of which one request is the daemon's last.
struct Run<'w> {
    world: &'w World,
    expected: &'w Left,
    at: &'w At,
    when: When,
}

impl Run<'_> {
    /// `then`: what else befalls those who come after it.
    fn make(&self, batch: &Batch, then: impl FnOnce()) -> Totals {
        let Run { world: (world, switches), expected, at, when } = self;
        let what = &Told(format!("killed {when:?} {at:?} where {world}"));
        batch.site.renew(&batch.begun, switches);
        assert!(batch.work_until(at, *when), "{} never came", what.0);
        then();
        let (left, totals) = batch.finish();
        assert_eq!(&left, *expected, "{}", what.0);
        totals
    }
}

type World = (&'static str, Switches);

fn all_worlds() -> Vec<World> {
    worlds::in_doubt().into_iter().chain(worlds::in_other_words()).collect()
}

/// Each world with what its undisturbed run leaves, and the requests of that.
fn with_undisturbed(worlds: &[World]) -> Vec<(&World, Left, Vec<At>)> {
    let batch = Batch::new();
    let mut all = Vec::new();
    for world in worlds {
        let (left, requests) = undisturbed(&batch, &world.1);
        all.push((world, left, requests));
    }
    all
}

#[test]
fn killed_at_any_request_of_a_mixed_batch_in_any_world_the_ledger_is_that_of_the_undisturbed_run() {
    let begun = Instant::now();
    let worlds = all_worlds();
    let worlds = with_undisturbed(&worlds);
    // A send in each world; of the others each in every other one, unless all are asked for.
    let all = std::env::var_os("POSTBRIDGE_ALL_KILLS").is_some();
    let mut runs = Vec::new();
    for (nth_world, (world, expected, requests)) in worlds.iter().enumerate() {
        // A token; draft, tag and send of three mails and a report; draft, upload in two pieces and send
        // of the large one; event, file and attendees.
        assert_eq!(requests.len(), 21, "{}: {requests:?}", world.0);
        for (nth_when, when) in [When::Before, When::After].into_iter().enumerate() {
            let chosen = requests.iter().enumerate().filter(|(nth, at)| {
                all || at.route.ends_with("/send") || (nth_world + nth_when + nth).is_multiple_of(2)
            });
            runs.extend(chosen.map(|(_, at)| Run { world, expected, at, when }));
        }
    }
    let totals = side_by_side(&runs, |batch, run| run.make(batch, || ()));
    say(&format!(
        "a mixed batch, killed at each of its requests, before and after, in {} worlds: {} kills in {:.0?}: {totals:?}",
        worlds.len(),
        runs.len(),
        begun.elapsed(),
    ));
}

/// The second knife falls while it is found out what the first one left behind.
#[test]
fn killed_again_while_it_finds_out_what_became_of_a_send_the_ledger_is_the_same() {
    /// A token; looks at the draft, the send that may come of them, and what was to be done anyway.
    const FURTHER: u64 = 4;
    let worlds = worlds::in_doubt();
    let worlds = with_undisturbed(&worlds);
    let mut runs = Vec::new();
    for (world, expected, requests) in &worlds {
        let sends: Vec<&At> = requests.iter().filter(|at| at.route.ends_with("/send")).collect();
        for (nth, at) in (1..=FURTHER).zip(sends[..2].iter().cycle()) {
            let when = if nth > 2 { When::Before } else { When::After };
            runs.push((Run { world, expected, at, when }, nth));
        }
    }
    let again = AtomicUsize::new(0);
    let totals = side_by_side(&runs, |batch, (run, nth)| {
        run.make(batch, || {
            let at = At { method: None, route: "*".to_owned(), nth: *nth };
            let _what = Told(format!("and again at request {nth}"));
            // Where one look was enough, and everything else was done, there is no such request.
            again.fetch_add(usize::from(batch.work_until(&at, When::After)), Ordering::Relaxed);
        })
    });
    let (once, again) = (runs.len(), again.into_inner());
    assert!(again > once / 2, "{again} of {once}");
    say(&format!(
        "killed at a send and again afterwards, in {} worlds: {once} and {again} kills: {totals:?}",
        worlds.len()
    ));
}

/// RFC 6749 §6: where a refresh token dies with its first use, what a crash can take is a sign-in, and
/// that only between its answer and the disk; never a mail.
#[test]
fn where_a_refresh_token_works_once_a_kill_costs_a_sign_in_at_most() {
    let strict = Switches { old_refresh_token_stays_valid: false, ..Switches::default() };
    let world = ("a refresh token works once", strict);
    let batch = Batch::new();
    let (expected, requests) = {
        let (left, requests) = undisturbed(&batch, &Switches::default());
        (left, requests)
    };
    let mut sign_ins = 0;
    for at in &requests[..3] {
        for when in [When::Before, When::After] {
            let _what = Told(format!("killed {when:?} {at:?}"));
            batch.site.renew(&batch.begun, &world.1);
            // The token of the copy was used by another run.
            batch.site.sign_in();
            assert!(batch.work_until(at, when));
            let mut daemon = batch.site.serve();
            let is_lost = at.route.ends_with("/token") && when == When::After;
            if is_lost {
                let deadline = Instant::now() + PATIENCE;
                while batch.site.counts() != Some(vec![(State::Queued, 5)])
                    || batch.site.is_signed_in()
                {
                    assert!(Instant::now() < deadline, "{}", daemon.log());
                    std::thread::sleep(Duration::from_millis(1));
                }
                daemon.terminate();
                assert!(daemon.ended().success(), "{}", daemon.log());
                batch.site.sign_in();
                sign_ins += 1;
            } else {
                daemon.kill();
            }
            assert_eq!(batch.finish().0, expected);
        }
    }
    assert_eq!(sign_ins, 1);
}

/// Whom the dead one's requests take the room from: the next daemon is throttled, in all the ways that
/// this is said.
#[test]
fn killed_where_requests_are_slow_and_few_the_next_one_is_throttled_and_the_ledger_is_the_same() {
    /// So that those of one daemon are in flight together, and two of them longer than a start takes.
    const SLOW_MS: u64 = 300;
    const SLOWER_MS: u64 = 3_000;
    const SLOWER: [&str; 2] = ["/v1.0/me/messages/*/createUploadSession", "*/v1.0/me/events"];
    let mut all = Vec::new();
    for concurrency_by in [ConcurrencyBy::Mailbox, ConcurrencyBy::Application] {
        for throttle_retry_after in
            [ThrottleRetryAfter::Seconds, ThrottleRetryAfter::Fraction, ThrottleRetryAfter::Absent]
        {
            let switches = Switches { concurrency_by, throttle_retry_after, ..Switches::default() };
            all.push(switches);
        }
    }
    let throttled = AtomicUsize::new(0);
    let totals = side_by_side(&all, |batch, switches| {
        let _what = Told(format!("where {switches:?}"));
        // What is under way comes to its effect before anybody looks for it.
        let site = &batch.site;
        let quiet = |seconds| format!("quiet_seconds = {seconds}");
        site.write_configuration(&site.configuration().replace(&quiet("0.04"), &quiet("0.4")));
        batch.site.renew(&batch.begun, switches);
        let delayed = |route: &str, ms| Rule {
            method: Some("POST".to_owned()),
            route: route.to_owned(),
            mailbox: None,
            nth: vec![],
            every: true,
            probability: None,
            times: None,
            act: Act::DelayMs(ms),
        };
        let mut faults = vec![Rule { method: None, ..delayed("/v1.0/", SLOW_MS) }];
        faults.extend(SLOWER.map(|route| Rule { times: Some(1), ..delayed(route, SLOWER_MS) }));
        let send = At { method: None, route: "/v1.0/me/messages/*/send".to_owned(), nth: 1 };
        let begun = site.serve_after(|pid| {
            faults.push(send.rule(Act::Kill(Kill { pid, when: When::After })));
            site.sandbox.world().faults.set(Script { seed: 0, faults });
        });
        let (Ok(mut daemon) | Err(mut daemon)) = begun;
        daemon.ended();
        let (_, totals) = batch.finish();
        batch.until_nothing_is_under_way();
        let left = batch.left(&[]);
        assert_eq!((left.copies.len(), left.invitations.len()), (7, 2), "{left:?}");
        assert!(left.copies.values().all(|&copies| copies == 1), "{left:?}");
        throttled.fetch_add(site.sandbox.world().ledger.throttled_count(), Ordering::Relaxed);
        totals
    });
    let throttled = throttled.into_inner();
    assert!(throttled >= all.len(), "{throttled} requests were throttled");
    say(&format!(
        "killed where requests are slow: {} kills, {throttled} requests throttled: {totals:?}",
        all.len()
    ));
}

/// The draft of the refused mail is deleted when there is time.
#[test]
fn killed_while_it_sweeps_it_sweeps_again_and_touches_nothing_else() {
    let batch = Batch::new();
    let (expected, sent) = undisturbed(&batch, &Switches::default());
    let drafts = || {
        let world = batch.site.sandbox.world();
        world.mail.mailbox(world.user(USER).unwrap().object_id).drafts
    };
    let swept = |daemon: &mut Daemon| {
        let deadline = Instant::now() + PATIENCE;
        while drafts() > 0 || batch.site.counts().is_none() {
            assert!(Instant::now() < deadline, "{}", daemon.log());
            if batch.site.counts().is_none() {
                daemon.ended();
                *daemon = batch.site.serve();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let mut kills = 0;
    // How its drafts are found, and one of them deleted.
    for (method, route) in [("GET", "/v1.0/me/messages"), ("DELETE", "/v1.0/me/messages/*")] {
        for when in [When::Before, When::After] {
            let _what = Told(format!("killed {when:?} {method} {route}"));
            batch.site.renew(&batch.begun, &Switches::default());
            let at = At { method: Some(method.to_owned()), route: route.to_owned(), nth: 1 };
            batch.work_until(&at, when);
            let mut daemon = batch.site.serve();
            swept(&mut daemon);
            daemon.kill();
            assert_eq!(batch.finish().0, expected);
            kills += 1;
        }
    }
    say(&format!("killed while it sweeps, {kills} kills, after {} requests", sent.len()));
}
