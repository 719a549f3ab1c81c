//! Two calendar programs, a tool that mails invites and somebody in Outlook change the same events, at random,
//! while Microsoft fails and the bridge dies now and then: in the end all see the same, and no attendee was
//! told anything twice.
//!
//! In the manner of vdirsyncer's stateful test. `POSTBRIDGE_SEEDS=7,8` asks for other seeds, and for more of
//! them; one that fails is printed with what was done.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::ahead::{Bridge, Place};
use common::daemon::{self, Mail};
use common::dav::{Dav, Knows, Reply, Shown, outlook};
use common::runs::{Chance, Told, side_by_side};
use common::{COLLEAGUE, USER, by_hand, say};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use postbridge::account::Profile;
use postbridge::caldav::server::Kind;
use postbridge::config::Config;
use postbridge::ical::{self, Moment};
use postbridge::sandbox::invitations::Kind as Mailed;
use postbridge::sandbox::item_id::IdForm;
use postbridge::sandbox::script::{Act, Answer, LateAct, Rule, Script};
use postbridge::store::spool::{self, EntryId, State};
use reqwest::Method;
use serde_json::json;

const GUEST: &str = "kim.akers@fabrikam.example";
const LATE: &str = "pradeep.gupta@fabrikam.example";
const PEOPLE: [&str; 3] = [COLLEAGUE, GUEST, LATE];
const SEEDS: std::ops::RangeInclusive<u64> = 1..=16;
/// What is done in each.
const DEEDS: usize = 60;
const UIDS: usize = 5;
/// Every second UID is that of a series.
const DAYS: i64 = 4;

/// What a program writes of an event.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    uid: String,
    sequence: u32,
    summary: String,
    /// In Berlin.
    start: DateTime,
    attendees: BTreeSet<String>,
    /// It takes place on so many days, but for those that were taken out, and at another time on these.
    series: bool,
    out: BTreeSet<DateTime>,
    moved: BTreeMap<DateTime, DateTime>,
}

fn is_series(uid: &str) -> bool {
    uid.as_bytes()[1] % 2 == 1
}

fn text(at: DateTime) -> String {
    at.strftime("%Y%m%dT%H%M%S").to_string()
}

impl Event {
    fn vevent(&self, start: DateTime, lines: &str) -> String {
        let organizer = match self.attendees.is_empty() {
            true => String::new(),
            false => format!("ORGANIZER:mailto:{USER}\n"),
        };
        let attendees =
            self.attendees.iter().map(|one| format!("ATTENDEE;RSVP=TRUE:mailto:{one}\n"));
        format!(
            "BEGIN:VEVENT\nUID:{}\nSEQUENCE:{}\nDTSTAMP:20261128T000000Z\n\
             DTSTART;TZID=Europe/Berlin:{}\nDURATION:PT1H\nSUMMARY:{}\n{organizer}{}{lines}END:VEVENT\n",
            self.uid,
            self.sequence,
            text(start),
            self.summary,
            attendees.collect::<String>()
        )
    }

    fn object(&self, method: &str) -> String {
        let mut lines = String::new();
        if self.series {
            lines.push_str(&format!("RRULE:FREQ=DAILY;COUNT={DAYS}\n"));
        }
        for out in &self.out {
            lines.push_str(&format!("EXDATE;TZID=Europe/Berlin:{}\n", text(*out)));
        }
        let mut vevents = self.vevent(self.start, &lines);
        for (original, start) in &self.moved {
            let id = format!("RECURRENCE-ID;TZID=Europe/Berlin:{}\n", text(*original));
            vevents.push_str(&self.vevent(*start, &id));
        }
        format!("BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\n{method}{vevents}END:VCALENDAR\n")
            .replace('\n', "\r\n")
    }

    /// What a program makes of an object that it got.
    fn read(octets: &str) -> Event {
        let read = ical::read(octets.as_bytes()).unwrap();
        let event = &read.events[0];
        let master = event.master.as_ref().unwrap();
        let attendees = master.attendees.iter().map(|one| one.address.as_str().to_owned());
        let out = master.recurrence.iter().flat_map(|one| &one.exdates);
        Event {
            uid: event.uid.clone(),
            sequence: master.sequence,
            summary: master.summary.clone(),
            start: berlin(&master.start),
            attendees: attendees.filter(|one| one != USER).collect(),
            series: master.recurrence.is_some(),
            out: out.map(berlin).collect(),
            moved: event
                .overrides
                .iter()
                .map(|one| (berlin(&one.recurrence_id), berlin(&one.occurrence.start)))
                .collect(),
        }
    }
}

fn berlin(moment: &Moment) -> DateTime {
    match moment {
        Moment::Zoned { local, zone } => {
            let at = zone.rules.to_timestamp(*local).unwrap();
            TimeZone::get("Europe/Berlin").unwrap().to_datetime(at)
        }
        odd => panic!("{odd:?}"),
    }
}

/// One calendar program.
#[derive(Default)]
struct Program {
    /// Name, ETag and octets of what it knows of.
    view: BTreeMap<String, (String, String)>,
    token: Option<String>,
}

/// What the last one who spoke of a UID said, where nobody spoke at the same time.
#[derive(Debug, Clone, PartialEq)]
enum Said {
    Stands { start: Timestamp, summary: String },
    Gone,
    Unknown,
}

struct Day {
    place: Place,
    bridge: Option<Bridge>,
    dav: Dav,
    http: reqwest::Client,
    programs: [Program; 2],
    chance: Chance,
    seed: u64,
    /// Counts what is said: each says more than the one before.
    said: u32,
    last: BTreeMap<String, Said>,
    /// Of the refusals that a program was told.
    told: usize,
    accepted: Vec<EntryId>,
    deeds: Vec<String>,
    kills: usize,
}

fn configured(config: &mut Config) {
    let nowhere = || toml::Spanned::new(0..0, ([127, 0, 0, 1], 0).into());
    config.smtp.starttls.clear();
    config.smtp.implicit_tls.clear();
    config.smtp.clear = vec![nowhere()];
    config.caldav.tls.clear();
    // A bad minute of Microsoft's is not waited for.
    config.caldav.wait = toml::Spanned::new(0..0, SignedDuration::from_millis(150));
}

/// One request in six goes wrong; what is late comes before it is tried again.
fn faults(seed: u64) -> Script {
    let rule = |probability: f64, act: Act| Rule {
        method: None,
        route: "/v1.0/me/events*".into(),
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
    let late = LateAct { answer: answer(504, "UnknownError", None), after_seconds: 3 };
    let faults = vec![
        rule(0.03, Act::CutBefore),
        rule(0.03, Act::CutAfter),
        rule(0.03, Act::Answer(answer(429, "ApplicationThrottled", Some("7")))),
        rule(0.03, Act::Answer(answer(503, "ErrorServerBusy", None))),
        rule(0.02, Act::ActThenAnswer(answer(503, "ErrorServerBusy", None))),
        rule(0.02, Act::AnswerThenAct(late)),
    ];
    Script { seed, faults }
}

impl Day {
    fn begin(seed: u64) -> Day {
        let place = Place::new(&[USER, COLLEAGUE], Profile::Full);
        let bridge = Some(place.start_whole(configured));
        let dav = Dav::new(&place.passwords[0]);
        place.faults(seed, faults(seed).faults);
        Day {
            place,
            bridge,
            dav,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            programs: Default::default(),
            chance: Chance(seed),
            seed,
            said: 0,
            last: BTreeMap::new(),
            told: 0,
            accepted: Vec::new(),
            deeds: Vec::new(),
            kills: 0,
        }
    }

    fn bridge(&self) -> &Bridge {
        self.bridge.as_ref().unwrap()
    }

    fn calendar(&self) -> SocketAddr {
        let running = self.bridge().running.as_ref().unwrap();
        running.calendars.iter().find(|(kind, _)| *kind == Kind::Clear).unwrap().1
    }

    fn on<T>(&self, answer: impl Future<Output = T>) -> T {
        self.place.runtime.block_on(answer)
    }

    fn note(&mut self, deed: String) {
        self.deeds.push(deed);
    }

    /// Something else than before, and more than anybody said.
    fn next(&mut self, uid: &str) -> (u32, String, DateTime) {
        self.said += 1;
        let n = i8::try_from(self.said % 20).unwrap();
        // Series lie apart from each other's days.
        let start = jiff::civil::date(2027, 1 + n % 12, 3 + n).at(8 + n % 9, 0, 0, 0);
        (self.said, format!("{uid} {}", self.said), start)
    }

    // ---- what programs do ----

    fn create(&mut self, who: usize) {
        let uid = format!("u{}", self.chance.below(UIDS));
        let (sequence, summary, start) = self.next(&uid);
        let attendees = (0..self.chance.below(3)).map(|n| PEOPLE[n].to_owned()).collect();
        let series = is_series(&uid);
        let (out, moved) = (BTreeSet::new(), BTreeMap::new());
        let event = Event { uid, sequence, summary, start, attendees, series, out, moved };
        let name = format!("{}-{who}.ics", event.uid);
        self.put(who, &name, event, "creates");
    }

    fn change(&mut self, who: usize) {
        let known: Vec<(String, String)> = self.programs[who]
            .view
            .iter()
            .map(|(name, (_, object))| (name.clone(), object.clone()))
            .collect();
        let Some((name, object)) = self.chance.of(&known).cloned() else { return };
        let mut event = Event::read(&object);
        let (sequence, summary, start) = self.next(&event.uid);
        event.sequence = sequence;
        let days = (0..DAYS).map(|day| event.start.saturating_add(jiff::Span::new().days(day)));
        let days: Vec<DateTime> = days.filter(|day| !event.out.contains(day)).collect();
        let day = self.chance.of(&days).copied();
        let how = match self.chance.below(6) {
            0 => {
                event.summary = summary;
                "renames"
            }
            1 if event.attendees.len() < PEOPLE.len() => {
                let missing = PEOPLE.iter().find(|one| !event.attendees.contains(**one));
                event.attendees.extend(missing.map(|one| (*one).to_owned()));
                "invites to"
            }
            2 if !event.attendees.is_empty() => {
                event.attendees.pop_first();
                "takes somebody off"
            }
            3 if event.series && day.is_some() => {
                event.moved.insert(day.unwrap(), day.unwrap().with().hour(18).build().unwrap());
                "moves a day of"
            }
            4 if event.series && days.len() > 1 => {
                event.out.insert(day.unwrap());
                event.moved.remove(&day.unwrap());
                "takes a day out of"
            }
            _ => {
                // A day that is back at its old time would be an event beside its series.
                let start = match start == event.start {
                    true => start.with().hour(7).build().unwrap(),
                    false => start,
                };
                (event.start, event.summary) = (start, summary);
                (event.out, event.moved) = Default::default();
                "moves"
            }
        };
        self.put(who, &name, event, how);
    }

    fn put(&mut self, who: usize, name: &str, event: Event, how: &str) {
        let object = event.object("");
        let etag = self.programs[who].view.get(name).map(|(etag, _)| etag.clone());
        let knows = etag.as_deref().map_or(Knows::NoSuch, Knows::Etag);
        let reply = self.on(self.dav.put(self.calendar(), name, knows, &object)).unwrap();
        let Event { start, summary, .. } = &event;
        let start = TimeZone::get("Europe/Berlin").unwrap().to_timestamp(*start).unwrap();
        self.note(format!(
            "{who} {how} {name}: {start} {summary} {:?}: {}",
            event.attendees, reply.status
        ));
        if self.answered(who, name, &reply) {
            self.say(&event.uid, Said::Stands { start, summary: summary.clone() });
            match reply.etag {
                Some(etag) => drop(self.programs[who].view.insert(name.to_owned(), (etag, object))),
                None => self.fetch(who, name),
            }
        }
    }

    fn delete(&mut self, who: usize) {
        let known: Vec<String> = self.programs[who].view.keys().cloned().collect();
        let Some(name) = self.chance.of(&known).cloned() else { return };
        let (etag, object) = self.programs[who].view[&name].clone();
        let reply = self.on(self.dav.delete(self.calendar(), &name, Knows::Etag(&etag))).unwrap();
        self.note(format!("{who} deletes {name}: {}", reply.status));
        if self.answered(who, &name, &reply) {
            self.say(&Event::read(&object).uid, Said::Gone);
            self.programs[who].view.remove(&name);
        }
    }

    /// Whether a change was taken; if not, the program looks what is there.
    fn answered(&mut self, who: usize, name: &str, reply: &Reply) -> bool {
        match reply.status {
            201 | 204 => return true,
            404 | 412 => {}
            // Another object has this UID.
            403 | 409 if reply.text.contains("no-uid-conflict") => {}
            403 => self.told += 1,
            odd => panic!("{odd} {name}: {}", reply.text),
        }
        self.synchronise(who);
        false
    }

    fn fetch(&mut self, who: usize, name: &str) {
        let there = self.on(self.dav.get(self.calendar(), name)).unwrap();
        let view = &mut self.programs[who].view;
        match there.status {
            200 => drop(view.insert(name.to_owned(), (there.etag.unwrap(), there.text))),
            404 => drop(view.remove(name)),
            odd => panic!("{odd}: {}", there.text),
        }
    }

    fn synchronise(&mut self, who: usize) {
        let token = self.programs[who].token.clone();
        let changes = self.on(self.dav.changes(self.calendar(), token.as_deref())).unwrap();
        let changes = changes.expect("the token is known");
        if token.is_none() {
            // Who begins is told of what is there, and of nothing that is not.
            let there = |name: &String| changes.names.iter().any(|(one, _)| one == name);
            self.programs[who].view.retain(|name, _| there(name));
        }
        for (name, etag) in changes.names {
            let known = self.programs[who].view.get(&name).map(|(etag, _)| etag.clone());
            match etag {
                None => drop(self.programs[who].view.remove(&name)),
                Some(etag) if known.as_ref() == Some(&etag) => {}
                Some(_) => self.fetch(who, &name),
            }
        }
        self.programs[who].token = Some(changes.token);
    }

    // ---- what others do ----

    fn mail(&mut self, cancels: bool) {
        let uid = format!("u{}", self.chance.below(UIDS));
        // What a mail says of a series is for other tests.
        let uid = if is_series(&uid) && !cancels { "u0".to_owned() } else { uid };
        let (sequence, summary, start) = self.next(&uid);
        let to: Vec<&str> = match cancels {
            true => PEOPLE.to_vec(),
            false => PEOPLE[..1 + self.chance.below(3)].to_vec(),
        };
        let attendees = to.iter().map(|&one| one.to_owned()).collect();
        let (out, moved) = (BTreeSet::new(), BTreeMap::new());
        let event = Event { uid, sequence, summary, start, attendees, series: false, out, moved };
        let method = if cancels { "CANCEL" } else { "REQUEST" };
        let mut object = event.object(&format!("METHOD:{method}\n"));
        if cancels {
            object = object.replace("END:VEVENT", "STATUS:CANCELLED\r\nEND:VEVENT");
        }
        let octets = format!(
            "From: {USER}\r\nTo: {}\r\nSubject: {}\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/calendar; method={method}; charset=utf-8\r\n\r\n{object}",
            to.join(", "),
            event.summary
        );
        let running = self.bridge().running.as_ref().unwrap();
        let mut client =
            daemon::Client::connect(running.listening[0].1, &self.dav.password).unwrap();
        let to: Vec<String> = to.iter().map(|&one| one.to_owned()).collect();
        let mail = Mail { from: USER, to, subject: event.summary.clone(), octets };
        let id = client.submit(&mail).unwrap();
        self.accepted.push(id);
        let start = TimeZone::get("Europe/Berlin").unwrap().to_timestamp(event.start).unwrap();
        self.note(format!("a mail: {method} {}: {start} {:?}", event.summary, event.attendees));
        let said = match cancels {
            true => Said::Gone,
            false => Said::Stands { start, summary: event.summary },
        };
        self.say(&event.uid, said);
    }

    fn say(&mut self, uid: &str, said: Said) {
        match self.last.get(uid) {
            // Who knows which of them was the last.
            Some(Said::Unknown) => {}
            _ => drop(self.last.insert(uid.to_owned(), said)),
        }
    }

    /// Somebody in Outlook moves an event, deletes it, or answers.
    fn hand(&mut self) {
        let world = self.place.sandbox.world();
        let what = self.chance.below(4);
        let user = if what < 2 { USER } else { COLLEAGUE };
        let [from, to] = ["2027-01-01T00:00Z", "2028-01-01T00:00Z"].map(|at| at.parse().unwrap());
        let short_months = world.switches().short_months;
        let shown =
            world.calendar.view(world.user(user).unwrap().object_id, from, to, short_months);
        // The first day of a series is a date of it.
        let shown: Vec<_> = shown.iter().filter(|one| one.date().is_none()).collect();
        let Some(shown) = self.chance.of(&shown) else { return };
        let id = shown.id(IdForm::Default);
        let uid = shown.content().text("subject").split(' ').next().unwrap().to_owned();
        let (_, _, start) = self.next(&uid);
        let start = start.with().hour(20).build().unwrap();
        let at = |at: DateTime| json!({ "dateTime": at.to_string(), "timeZone": "UTC" });
        let moved =
            json!({ "start": at(start), "end": at(start.with().hour(21).build().unwrap()) });
        let (word, method, path, body) = match what {
            0 => ("moved", Method::PATCH, format!("/events/{id}"), moved),
            1 => ("deleted", Method::DELETE, format!("/events/{id}"), json!({})),
            2 => (
                "accepted",
                Method::POST,
                format!("/events/{id}/accept"),
                json!({ "sendResponse": true }),
            ),
            _ => (
                "declined",
                Method::POST,
                format!("/events/{id}/decline"),
                json!({ "sendResponse": true }),
            ),
        };
        self.place.faults(0, Vec::new());
        let answer = self.on(by_hand(&self.place.sandbox, &self.http, user, method, &path, body));
        let status = answer.status().as_u16();
        // It may have gone at this moment, or be a cancelled one's copy.
        assert!(answer.status().is_success() || [400, 404].contains(&status), "{status}");
        self.note(format!("in Outlook {uid} is {word} {start}: {status}"));
        self.place.faults(self.seed + self.deeds.len() as u64, faults(0).faults);
        if user == USER {
            self.last.insert(uid, Said::Unknown);
        }
    }

    /// Looks at Outlook; whether something had happened.
    fn look(&self) -> bool {
        let bridge = self.bridge();
        let watch = bridge.running.as_ref().unwrap().watch.clone();
        let now = self.place.clock.now();
        bridge.runtime.block_on(watch.look(now, None)).unwrap() > 0
    }

    fn kill(&mut self) {
        self.bridge.take().unwrap().kill();
        self.bridge = Some(self.place.start_whole(configured));
        self.kills += 1;
        self.note("the bridge dies".to_owned());
    }

    /// The bridge dies while a program waits for its answer.
    fn kill_under(&mut self, who: usize) {
        let known: Vec<(String, (String, String))> =
            self.programs[who].view.clone().into_iter().collect();
        let Some((name, (etag, object))) = self.chance.of(&known).cloned() else { return };
        let mut event = Event::read(&object);
        (event.sequence, event.summary, _) = self.next(&event.uid);
        let (dav, to, object) = (self.dav.clone(), self.calendar(), event.object(""));
        let asked = name.clone();
        let asking = self.place.runtime.spawn(async move {
            dav.put(to, &asked, Knows::Etag(&etag), &object).await.map(|reply| reply.status)
        });
        // The moment is what is tested.
        std::thread::sleep(Duration::from_millis(self.chance.below(40) as u64));
        self.bridge.take().unwrap().kill();
        let answered = self.on(asking).unwrap();
        self.bridge = Some(self.place.start_whole(configured));
        self.kills += 1;
        self.note(format!(
            "the bridge dies while {who} renames {name}: {} {answered:?}",
            event.summary
        ));
        self.last.insert(event.uid, Said::Unknown);
        self.synchronise(who);
    }

    // ---- the day ----

    fn deed(&mut self) {
        let who = self.chance.below(2);
        match self.chance.below(40) {
            0..5 => self.create(who),
            5..15 => self.change(who),
            15..18 => self.delete(who),
            18..22 => self.synchronise(who),
            22..26 => self.mail(false),
            26..28 => self.mail(true),
            28..32 => self.hand(),
            32..34 => {
                let seen = self.look();
                self.note(format!("a look at Outlook: {seen}"));
            }
            34..37 => {
                let wait = self.bridge().settle(&self.place);
                self.note(format!("at rest for {wait:?}"));
            }
            37 => self.place.advance(Duration::from_secs(60)),
            38 => self.kill(),
            _ => self.kill_under(who),
        }
    }

    /// Nothing is left to do, and everybody has seen all.
    fn rest(&mut self) {
        self.place.sandbox.world().faults.set(Script::default());
        let mut looks = 0;
        loop {
            self.bridge().finish(&self.place);
            // What is late comes now at the latest.
            self.place.advance(Duration::from_secs(60));
            self.bridge().finish(&self.place);
            if !self.look() {
                break;
            }
            looks += 1;
            assert!(looks < 10, "each look sees something new");
        }
        self.note("rest".to_owned());
        self.synchronise(0);
        self.synchronise(1);
    }

    fn check(&self) {
        let to = self.calendar();
        let shown = self.on(self.dav.shown(to)).unwrap();
        let outlook = outlook(self.place.sandbox.world());
        let without = |these: &[Shown], those: &[Shown]| -> Vec<Shown> {
            these.iter().filter(|one| !those.contains(one)).cloned().collect()
        };
        let (only_here, only_there) = (without(&shown, &outlook), without(&outlook, &shown));
        assert_eq!(
            (shown.len(), only_here),
            (outlook.len(), only_there),
            "the collection and Outlook"
        );
        let [one, other] = &self.programs;
        assert_eq!(one.view, other.view, "both programs");
        let etags = self.on(self.dav.etags(to)).unwrap();
        let seen = one.view.iter().map(|(name, (etag, _))| (name.clone(), etag.clone()));
        assert_eq!(seen.collect::<BTreeMap<_, _>>(), etags);
        self.check_events();
        self.check_entries();
        for (uid, said) in &self.last {
            let found: Vec<_> = shown.iter().filter(|one| one.uid == *uid).collect();
            match said {
                Said::Gone => assert!(found.is_empty(), "{uid} is gone, and yet: {found:?}"),
                Said::Stands { start, summary } => {
                    assert!(!found.is_empty(), "{uid} is not there");
                    assert!(
                        found.iter().all(|one| one.summary == *summary),
                        "{summary}: {found:?}"
                    );
                    // A day of a series may have been taken out.
                    let begins = found.iter().any(|one| one.start == start.to_string());
                    assert!(begins || is_series(uid), "{start}: {found:?}");
                }
                Said::Unknown => {}
            }
        }
    }

    fn check_events(&self) {
        let world = self.place.sandbox.world();
        let mut live: BTreeMap<String, usize> = BTreeMap::new();
        for event in world.calendar.events(world.user(USER).unwrap().object_id) {
            if event.is_organizers() && !event.is_cancelled {
                let uid = event.content.text("subject").split(' ').next().unwrap().to_owned();
                *live.entry(uid).or_default() += 1;
            }
        }
        assert!(live.values().all(|&events| events == 1), "{live:?}");
        // What each was told last of each event, while on it.
        let mut told: BTreeMap<(String, String), (Timestamp, String)> = BTreeMap::new();
        for row in world.ledger.invitations() {
            let one = &row.invitation;
            // Exchange tells of each changed day with its series.
            if one.occurrence.is_some() {
                continue;
            }
            let uid = one.subject.split(' ').next().unwrap().to_owned();
            let key = (one.attendee.clone(), uid);
            let now = (one.start, one.subject.clone());
            let before = match one.kind {
                Mailed::Cancel => told.remove(&key),
                _ => told.insert(key, now.clone()),
            };
            match one.kind {
                Mailed::Request => assert_eq!(before, None, "invited twice: {one:?}"),
                Mailed::Update => assert_ne!(before.as_ref(), Some(&now), "told twice: {one:?}"),
                Mailed::Cancel => {}
            }
            assert!(
                one.kind == Mailed::Request || before.is_some(),
                "who was not invited: {one:?}"
            );
        }
    }

    fn check_entries(&self) {
        let bridge = self.bridge();
        let entries = bridge.runtime.block_on(bridge.store.entries(None, u32::MAX)).unwrap();
        for id in &self.accepted {
            assert!(entries.iter().any(|entry| entry.id == *id), "{id} is lost");
        }
        let in_state = |state| entries.iter().filter(move |entry| entry.state == state);
        let (failed, held) = (in_state(State::Failed).count(), in_state(State::Held).count());
        let sent = in_state(State::Sent).count();
        assert_eq!(sent + failed + held, entries.len(), "{entries:?}");
        let reports = entries.iter().filter(|entry| entry.kind == spool::Kind::Report).count();
        assert_eq!(failed + held, reports + self.told, "{entries:?}");
    }
}

impl Drop for Day {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        say(&format!("seed {}:\n{}", self.seed, self.deeds.join("\n")));
        let Some(bridge) = &self.bridge else { return };
        for uid in self.last.keys() {
            let history = bridge.store.invite_history(self.place.accounts[0].id, uid);
            let Ok(Some((_, history))) = bridge.runtime.block_on(history) else { continue };
            say(&format!("{uid}:"));
            history.iter().for_each(|one| say(&format!("  {} {}", one.at, one.why)));
        }
    }
}

/// How often the bridge died, and what was done.
fn day(seed: u64) -> (usize, usize) {
    let _told = Told(format!("POSTBRIDGE_SEEDS={seed}"));
    let mut day = Day::begin(seed);
    for _ in 0..DEEDS {
        day.deed();
    }
    day.rest();
    day.check();
    let done = (day.kills, day.deeds.len());
    day.bridge.take().unwrap().kill();
    done
}

#[test]
fn whatever_programs_mails_and_outlook_do_all_agree_in_the_end_and_nobody_is_told_twice() {
    let started = Instant::now();
    let asked = std::env::var("POSTBRIDGE_SEEDS").ok();
    let seeds: Vec<u64> = match &asked {
        Some(seeds) => seeds.split(',').map(|seed| seed.parse().unwrap()).collect(),
        None => SEEDS.collect(),
    };
    let done = side_by_side(&seeds, || (), |(), seed| day(*seed));
    let (kills, deeds) = done.iter().fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
    say(&format!(
        "{} days, {deeds} deeds, {kills} kills in {:.0?}",
        seeds.len(),
        started.elapsed()
    ));
}

/// Whether it was made nobody knows, and nobody can find out: its transactionId is used, and it is gone.
#[test]
fn an_event_that_somebody_deletes_before_the_bridge_knows_of_it_is_made_anew_before_long() {
    let mut day = Day::begin(0);
    let mut lost = faults(0).faults.swap_remove(1);
    (lost.probability, lost.nth, lost.method) = (None, vec![1], Some("POST".to_owned()));
    day.place.faults(0, vec![lost]);
    let (sequence, summary, start) = day.next("u0");
    let (attendees, out, moved) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    let uid = "u0".to_owned();
    let event = Event { uid, sequence, summary, start, attendees, series: false, out, moved };
    day.put(0, "u0.ics", event, "creates");
    day.bridge().settle(&day.place);
    let world = day.place.sandbox.world();
    let [from, to] = ["2027-01-01T00:00Z", "2028-01-01T00:00Z"].map(|at| at.parse().unwrap());
    let adele = world.user(USER).unwrap().object_id;
    let view = world.calendar.view(adele, from, to, world.switches().short_months);
    let path = format!("/events/{}", view[0].id(IdForm::Default));
    let deleted = by_hand(&day.place.sandbox, &day.http, USER, Method::DELETE, &path, json!({}));
    assert!(day.on(deleted).status().is_success());
    let began = day.place.clock.now();
    day.rest();
    day.check();
    let took = day.place.clock.now().duration_since(began);
    assert!(took < SignedDuration::from_hours(2), "{took}");
}
