//! A calendar program puts, puts again and deletes, and the daemon is killed at each of the requests that
//! come of it, in every way that Microsoft 365 is told to behave: the calendar, the collection and what
//! every attendee was told are as if nothing had happened.
//!
//! The program is one that does not give up: whose connection breaks off asks for the same again, with the
//! same precondition, and where that holds no more it looks whether what is there is what it wanted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use common::daemon::{Daemon, Site, copy};
use common::dav::{Dav, Knows, Reply, Shown, outlook};
use common::runs::{Told, side_by_side};
use common::{COLLEAGUE, PATIENCE, USER, say, worlds};
use postbridge::sandbox::journal::Entry as Journalled;
use postbridge::sandbox::script::{Act, Answer, Kill, Rule, Script, When};
use postbridge::sandbox::world::Switches;
use postbridge::store::spool::{Entry, Kind, State};

const GUEST: &str = "kim.akers@fabrikam.example";

/// What a client wants of its one object.
struct Step {
    /// `None`: that it is gone.
    object: Option<String>,
    /// What Graph refuses for good, whoever asks.
    refused: Option<(&'static str, &'static str)>,
}

fn put(object: String) -> Step {
    Step { object: Some(object), refused: None }
}

fn delete() -> Step {
    Step { object: None, refused: None }
}

/// An object of these components.
fn calendar(vevents: &[String]) -> String {
    let vevents = vevents.concat();
    format!("BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\n{vevents}END:VCALENDAR\n")
        .replace('\n', "\r\n")
}

/// A component that begins then in Berlin, with these attendees and these lines.
fn vevent(start: &str, attendees: &[&str], lines: &str) -> String {
    let organizer = match attendees {
        [] => String::new(),
        _ => format!("ORGANIZER:mailto:{USER}\n"),
    };
    let attendees: String =
        attendees.iter().map(|one| format!("ATTENDEE;RSVP=TRUE:mailto:{one}\n")).collect();
    format!(
        "BEGIN:VEVENT\nUID:m@contoso.example\nDTSTAMP:20261128T000000Z\n\
         DTSTART;TZID=Europe/Berlin:{start}\nDURATION:PT1H\n{organizer}{attendees}{lines}END:VEVENT\n"
    )
}

const RULE: &str = "RRULE:FREQ=WEEKLY;COUNT=5\n";
const FILE: &str =
    "ATTACH;ENCODING=BASE64;VALUE=BINARY;FMTTYPE=text/plain;X-FILENAME=job.txt:VGhlIGpvYg==\n";
const SECOND: &str = "RECURRENCE-ID;TZID=Europe/Berlin:20270118T100000\nSUMMARY:Meeting\n";
const BOTH: &[&str] = &[COLLEAGUE, GUEST];

/// A series with a file; one occurrence in the afternoon, and one who is not on it; one who is off all of
/// it, and a date that is taken out; another hour for all; gone.
fn of_a_series() -> Vec<Step> {
    let first = format!("{RULE}{FILE}SUMMARY:Meeting\n");
    let without =
        format!("{RULE}{FILE}EXDATE;TZID=Europe/Berlin:20270125T100000\nSUMMARY:Meeting, again\n");
    let second = vevent("20270118T140000", &[COLLEAGUE], SECOND);
    vec![
        put(calendar(&[vevent("20270111T100000", BOTH, &first)])),
        put(calendar(&[vevent("20270111T100000", BOTH, &first), second.clone()])),
        put(calendar(&[vevent("20270111T100000", &[COLLEAGUE], &without), second])),
        put(calendar(&[vevent("20270111T110000", &[COLLEAGUE], &first)])),
        delete(),
    ]
}

fn of_an_event_without_attendees() -> Vec<Step> {
    let at = |start: &str| put(calendar(&[vevent(start, &[], "SUMMARY:Alone\n")]));
    vec![at("20270111T100000"), at("20270112T120000"), delete()]
}

/// Refused half-way where nothing was before, and on top of something; the client learns it and goes on.
fn of_refusals() -> Vec<Step> {
    let series = || vevent("20270111T100000", BOTH, &format!("{RULE}SUMMARY:Meeting\n"));
    let second = vevent("20270118T140000", BOTH, SECOND);
    let lines = format!("{RULE}EXDATE;TZID=Europe/Berlin:20270125T100000\nSUMMARY:Meeting\n");
    let without = vevent("20270111T100000", BOTH, &lines);
    let refused = |step: Step, method, route| Step { refused: Some((method, route)), ..step };
    vec![
        refused(put(calendar(&[series(), second.clone()])), "PATCH", "/v1.0/me/events/*"),
        put(calendar(&[series()])),
        // The second occurrence is in the afternoon by then.
        refused(put(calendar(&[without, second])), "POST", "/v1.0/me/events/*/cancel"),
        delete(),
    ]
}

type Life = (&'static str, Vec<Step>);

fn lives() -> Vec<Life> {
    vec![
        ("a series", of_a_series()),
        ("without attendees", of_an_event_without_attendees()),
        ("refused", of_refusals()),
    ]
}

/// What there is when nothing is left to do after a step.
#[derive(Debug, PartialEq, Clone)]
struct Left {
    /// The objects of the collection.
    objects: BTreeMap<String, String>,
    outlook: Vec<Shown>,
    /// What hangs on Adele's events.
    files: Vec<String>,
    /// How many events stand in the calendar of an attendee.
    copies: usize,
    /// All that attendees were told so far, in order.
    told: Vec<String>,
    /// How often the client learned of a refusal so far, by an answer or a report.
    refusals: usize,
}

/// A kill: at this request of that step.
#[derive(Debug, Clone, Copy)]
struct Knife {
    step: usize,
    nth: u64,
    when: When,
    /// The daemon began with this step, so that its first request is for a token.
    fresh: bool,
    /// And the next daemon at that request of its own, if there is one.
    again: Option<u64>,
}

struct Bench {
    site: Site,
    dav: Dav,
    /// The state directory before anything was done.
    begun: PathBuf,
}

/// A client and the daemon that it asks, while they live.
struct Client<'b> {
    bench: &'b Bench,
    daemon: Daemon,
    /// Of what it believes to be there.
    etag: Option<String>,
    deaths: usize,
    refusals: usize,
    /// Where the next daemon dies.
    again: Option<u64>,
}

const NAME: &str = "m.ics";

impl Bench {
    fn new() -> Bench {
        let site = Site::new();
        // What is asked here is the calendar: it is what the daemon's one address is of.
        let text = site.configuration().replace("clear = [\"127.0.0.1:0\"]", "clear = []");
        let text = text.replace("[caldav]\nlisten = []", "[caldav]\nlisten = [\"127.0.0.1:0\"]");
        site.write_configuration(&text);
        let begun = site.directory.path().join("begun");
        copy(&site.state(), &begun);
        let dav = Dav::new(&site.password);
        Bench { site, dav, begun }
    }

    /// A life, with a kill or without.
    fn live(&self, life: &[Step], switches: &Switches, knife: Option<Knife>) -> Lived {
        self.site.renew(&self.begun, switches);
        let world = self.site.sandbox.world();
        let daemon = self.site.serve();
        let (etag, again) = (None, None);
        let mut client = Client { bench: self, daemon, etag, deaths: 0, refusals: 0, again };
        let begun = client.sees(self.dav.changes(client.daemon.address, None)).unwrap().token;
        let (mut left, mut requests) = (Vec::new(), Vec::new());
        let knife_at = knife.map(|knife| knife.step);
        // What comes next shows that the record is as it should be, too.
        let steps = knife_at.map_or(life.len(), |step| step + 2);
        for (nth, step) in life.iter().enumerate().take(steps) {
            let knife = knife.filter(|knife| knife.step == nth);
            if knife.is_some_and(|knife| knife.fresh) {
                client.daemon.kill();
                client.daemon = self.site.serve();
            }
            let kill = knife.map(|knife| client.killed_at(knife.nth, knife.when));
            let faults = kill.into_iter().chain(step.refusal()).collect();
            world.faults.set(Script { seed: 0, faults });
            world.journal.clear();
            client.again = knife.and_then(|knife| knife.again);
            client.bring_about(step);
            requests.push(world.journal.entries());
            world.faults.set(Script::default());
            // Before it the life is one that was looked at.
            let is_over = knife_at.is_none_or(|step| nth >= step);
            left.push(is_over.then(|| client.look(&begun)));
        }
        Lived { left, requests, deaths: client.deaths }
    }
}

/// What came of a life: what was left after each step, and the requests of each.
struct Lived {
    left: Vec<Option<Left>>,
    requests: Vec<Vec<Journalled>>,
    deaths: usize,
}

impl Step {
    fn refusal(&self) -> Option<Rule> {
        let (method, route) = self.refused?;
        let (code, message, retry_after) = ("ErrorInvalidRequest".to_owned(), None, None);
        let answer = Answer { status: 400, code, message, retry_after };
        Some(rule(Some(method), route, None, Act::Answer(answer)))
    }
}

/// `nth`: once; else whenever it is asked for.
fn rule(method: Option<&str>, route: &str, nth: Option<u64>, act: Act) -> Rule {
    Rule {
        method: method.map(str::to_owned),
        route: route.to_owned(),
        mailbox: None,
        nth: nth.into_iter().collect(),
        every: nth.is_none(),
        probability: None,
        times: nth.map(|_| 1),
        act,
    }
}

impl Client<'_> {
    /// What this daemon answers, which lives.
    fn sees<T>(&self, answer: impl Future<Output = reqwest::Result<T>>) -> T {
        let answer = self.bench.site.runtime.block_on(answer);
        answer.unwrap_or_else(|error| panic!("{error}: {}", self.daemon.log()))
    }

    fn killed_at(&self, nth: u64, when: When) -> Rule {
        rule(None, "*", Some(nth), Act::Kill(Kill { pid: self.daemon.pid(), when }))
    }

    /// Only death is an excuse.
    fn bury(&mut self) {
        self.daemon.ended();
        self.deaths += 1;
        self.daemon = self.bench.site.serve();
        if let Some(nth) = self.again.take() {
            let world = self.bench.site.sandbox.world();
            let mut script = world.faults.running().script().clone();
            script.faults.retain(|rule| !matches!(rule.act, Act::Kill(_)));
            script.faults.insert(0, self.killed_at(nth, When::After));
            world.faults.set(script);
        }
    }

    /// Asks until there is an answer, and lets the daemon do what is left to do.
    fn bring_about(&mut self, step: &Step) {
        let deadline = Instant::now() + PATIENCE;
        let mut tried_before = false;
        let reply = loop {
            assert!(Instant::now() < deadline, "no answer: {}", self.daemon.log());
            match self.ask(step) {
                Ok(reply) => break reply,
                Err(_) => self.bury(),
            }
            tried_before = true;
        };
        self.etag = match (&step.object, reply.status, step.refused) {
            (Some(_), 201 | 204, _) => Some(reply.etag.expect("what was put is what is there")),
            (None, 204, _) => None,
            // It was taken the last time, and is what was wanted.
            (Some(object), 412, _) if tried_before => {
                let there = self.sees(self.bench.dav.get(self.daemon.address, NAME));
                assert_eq!((there.status, &there.text), (200, object));
                there.etag
            }
            (None, 404, _) if tried_before => None,
            (Some(_), 403, Some(_)) => {
                assert!(reply.text.contains("as it was before"), "{}", reply.text);
                self.refusals += 1;
                self.etag.take()
            }
            odd => panic!("{odd:?}: {}\n{}", reply.text, self.daemon.log()),
        };
        while !self.bench.site.work_off_or_die(&self.daemon) {
            self.bury();
        }
        // Of what was refused when nobody waited any more the client learns when it looks again.
        if step.refused.is_some() {
            let there = self.sees(self.bench.dav.get(self.daemon.address, NAME));
            self.etag = there.etag;
        }
    }

    fn ask(&self, step: &Step) -> reqwest::Result<Reply> {
        let (dav, to) = (&self.bench.dav, self.daemon.address);
        let knows = self.etag.as_deref().map_or(Knows::NoSuch, Knows::Etag);
        self.bench.site.runtime.block_on(async {
            match &step.object {
                Some(object) => dav.put(to, NAME, knows, object).await,
                None => dav.delete(to, NAME, knows).await,
            }
        })
    }

    /// Compares what the collection shows with what Outlook shows, and says what that is.
    fn look(&self, begun: &str) -> Left {
        let (dav, to) = (&self.bench.dav, self.daemon.address);
        let world = self.bench.site.sandbox.world();
        let outlook = outlook(world);
        assert_eq!(self.sees(dav.shown(to)), outlook, "{}", self.daemon.log());
        let etags = self.sees(dav.etags(to));
        let changes = self.sees(dav.changes(to, Some(begun))).unwrap();
        let mut synchronised = BTreeMap::new();
        for (name, etag) in changes.names {
            synchronised.extend(etag.map(|etag| (name, etag)));
        }
        assert_eq!(synchronised, etags);
        let mut objects = BTreeMap::new();
        for (name, etag) in etags {
            let object = self.sees(dav.get(to, &name));
            assert_eq!((object.status, object.etag), (200, Some(etag)));
            objects.insert(name, object.text);
        }
        let events = |user: &str| world.calendar.events(world.user(user).unwrap().object_id);
        let own = events(USER);
        assert!(own.len() <= 1, "{own:?}");
        let files = own.iter().flat_map(|event| &event.attachments);
        let told = world.ledger.invitations();
        let told = told.iter().map(|row| {
            let one = &row.invitation;
            let of = one.occurrence.map(|of| format!(" ({of})")).unwrap_or_default();
            format!("{:?} {} {}{of}", one.kind, one.attendee, one.start)
        });
        let entries = self.bench.site.entries();
        let reports = entries.iter().filter(|entry| entry.kind == Kind::Report);
        let is_done = |entry: &Entry| [State::Sent, State::Failed].contains(&entry.state);
        assert!(entries.iter().all(is_done), "{entries:?}");
        Left {
            objects,
            outlook,
            files: files.map(|file| String::from_utf8(file.bytes.to_vec()).unwrap()).collect(),
            copies: events(COLLEAGUE).len(),
            told: told.collect(),
            refusals: self.refusals + reports.count(),
        }
    }
}

type World = (&'static str, Switches);

/// What a kill can do to a life in a world, which is the same without it.
struct Run<'w> {
    world: &'w World,
    life: &'w Life,
    expected: &'w [Option<Left>],
    knife: Knife,
}

impl Run<'_> {
    /// How many daemons died.
    fn make(&self, bench: &Bench) -> usize {
        let Run { world: (world, switches), life: (name, steps), expected, knife } = self;
        let _told = Told(format!("{name}, {knife:?}, where {world}"));
        let lived = bench.live(steps, switches, Some(*knife));
        for (nth, (left, expected)) in lived.left.iter().zip(*expected).enumerate() {
            assert!(
                left.is_none() || left == expected,
                "after step {nth}: {left:#?} {expected:#?}"
            );
        }
        assert!(lived.deaths > 0, "it never came");
        lived.deaths
    }
}

/// Each life in each world without any kill.
fn undisturbed<'w>(worlds: &'w [World], lives: &'w [Life]) -> Vec<(&'w World, &'w Life, Lived)> {
    let pairs: Vec<_> =
        worlds.iter().flat_map(|world| lives.iter().map(move |life| (world, life))).collect();
    side_by_side(&pairs, Bench::new, |bench, (world, life)| {
        let _told = Told(format!("{}, undisturbed, where {}", life.0, world.0));
        (*world, *life, bench.live(&life.1, &world.1, None))
    })
}

#[test]
fn killed_at_any_request_of_a_change_in_any_world_everything_is_as_if_nothing_had_happened() {
    let started = Instant::now();
    let (worlds, lives) = (worlds::of_events(), lives());
    let undisturbed = undisturbed(&worlds, &lives);
    let mut runs = Vec::new();
    for (world, life, lived) in &undisturbed {
        for (step, requests) in lived.requests.iter().enumerate() {
            for (nth, request) in (1..).zip(requests) {
                // What a request does that was made before is what the worlds differ in; and what is
                // refused has no effect that a kill could come after.
                let is_first = world.0 == worlds[0].0;
                let whens = [(When::Before, is_first), (When::After, request.fault.is_none())];
                for (when, _) in whens.into_iter().filter(|(_, comes)| *comes) {
                    let knife = Knife { step, nth, when, fresh: false, again: None };
                    runs.push(Run { world, life, expected: &lived.left, knife });
                }
            }
        }
    }
    let deaths = side_by_side(&runs, Bench::new, |bench, run| run.make(bench));
    assert_eq!(deaths.iter().sum::<usize>(), runs.len());
    say(&format!(
        "{} lives of an object, killed at each request in {} worlds: {} kills in {:.0?}",
        lives.len(),
        worlds.len(),
        runs.len(),
        started.elapsed()
    ));
}

/// Its connection breaks off before Microsoft hears of anything.
#[test]
fn killed_right_behind_the_commit_of_a_change_it_carries_the_change_out_once() {
    let (worlds, lives) = (documented(), lives());
    let undisturbed = undisturbed(&worlds, &lives);
    let mut runs = Vec::new();
    for (world, life, lived) in &undisturbed {
        for step in 0..lived.left.len() {
            // For a token, without which there is no other request.
            let knife = Knife { step, nth: 1, when: When::Before, fresh: true, again: None };
            runs.push(Run { world, life, expected: &lived.left, knife });
        }
    }
    let deaths = side_by_side(&runs, Bench::new, |bench, run| run.make(bench));
    say(&format!("killed right behind a commit: {} kills", deaths.iter().sum::<usize>()));
}

/// The second knife falls while it is found out what the first one left behind.
#[test]
fn killed_again_while_it_finds_out_what_became_of_a_change_everything_is_the_same() {
    /// Behind its token.
    const LOOK: u64 = 2;
    let (worlds, lives) = (documented(), lives());
    let undisturbed = undisturbed(&worlds, &lives);
    let mut runs = Vec::new();
    for (world, life, lived) in &undisturbed {
        for (step, requests) in lived.requests.iter().enumerate() {
            let changing =
                |(_, one): &(u64, &Journalled)| one.method != "GET" && one.fault.is_none();
            let Some((nth, _)) = (1..).zip(requests).filter(changing).last() else { continue };
            let again = Some(LOOK);
            let knife = Knife { step, nth, when: When::After, fresh: false, again };
            runs.push(Run { world, life, expected: &lived.left, knife });
        }
    }
    let deaths: usize = side_by_side(&runs, Bench::new, |bench, run| run.make(bench)).iter().sum();
    assert_eq!(deaths, 2 * runs.len());
    say(&format!(
        "killed at a change and again afterwards: {} and {} kills",
        runs.len(),
        deaths - runs.len()
    ));
}

fn documented() -> Vec<World> {
    worlds::of_events().into_iter().take(1).collect()
}

/// What the others are compared with is right by itself.
#[test]
fn undisturbed_each_attendee_is_told_what_is_done_and_no_more() {
    let (worlds, lives) = (documented(), lives());
    for (_, life, lived) in undisturbed(&worlds, &lives) {
        let last = lived.left.into_iter().next_back().flatten().unwrap();
        assert_eq!(last.outlook, []);
        let short = |told: &String| {
            let told = told.replace(COLLEAGUE, "alex").replace(GUEST, "kim").replace(":00:00Z", "");
            told.replace("2027-", "")
        };
        let told: Vec<String> = last.told.iter().map(short).collect();
        let (expected, refusals): (&[&str], usize) = match life.0 {
            "a series" => (
                &[
                    "Request alex 01-11T09",
                    "Request kim 01-11T09",
                    "Update alex 01-18T13 (01-18T09)",
                    "Update kim 01-18T13 (01-18T09)",
                    "Cancel kim 01-18T13 (01-18T09)",
                    // Exchange tells of an occurrence that was changed with the series, and all of them.
                    "Update alex 01-11T09",
                    "Update kim 01-11T09",
                    "Update alex 01-18T13 (01-18T09)",
                    "Update kim 01-18T13 (01-18T09)",
                    "Cancel alex 01-25T09 (01-25T09)",
                    "Cancel kim 01-25T09 (01-25T09)",
                    "Cancel kim 01-11T09",
                    "Update alex 01-11T10",
                    "Cancel alex 01-11T10",
                ],
                0,
            ),
            "refused" => (
                &[
                    "Request alex 01-11T09",
                    "Request kim 01-11T09",
                    "Update alex 01-18T13 (01-18T09)",
                    "Update kim 01-18T13 (01-18T09)",
                    "Update alex 01-18T09 (01-18T09)",
                    "Update kim 01-18T09 (01-18T09)",
                    "Cancel alex 01-11T09",
                    "Cancel kim 01-11T09",
                ],
                2,
            ),
            _ => (&[], 0),
        };
        assert_eq!(
            (told.as_slice(), last.refusals),
            (&expected.iter().map(|&one| one.to_owned()).collect::<Vec<_>>()[..], refusals),
            "{}",
            life.0
        );
    }
}
