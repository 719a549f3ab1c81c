//! The daemon is killed at any request of an invite's life, or the request goes wrong in any way: the
//! events, and what every attendee was mailed, are those of the undisturbed run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::Write;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::daemon::{Client, Daemon, Mail, Site};
use common::{COLLEAGUE, PATIENCE, USER};
use postbridge::sandbox::grants::Grant;
use postbridge::sandbox::script::{Act, Answer, Kill, Rule, Script, When};
use postbridge::sandbox::world::{DuplicateTransactionStatus, Switches};
use postbridge::store::spool::{Entry, Kind, State};
use postbridge::store::{Room, Store};

const GUEST: &str = "kim.akers@fabrikam.example";
const LATE: &str = "pradeep.gupta@fabrikam.example";
const UID: &str = "interview-1@ats.example";

/// What one mail says of the meeting.
struct Invite<'i> {
    method: &'i str,
    sequence: u32,
    start: &'i str,
    location: &'i str,
    attendees: &'i [&'i str],
    /// The octets of a file of always the same name.
    file: Option<&'i str>,
    extra: &'i str,
    /// Further components.
    more: &'i str,
}

const FIRST: Invite<'static> = Invite {
    method: "REQUEST",
    sequence: 0,
    start: "20270115T100000",
    location: "Room 4",
    attendees: &[COLLEAGUE, GUEST],
    file: Some("The job in one page."),
    extra: "",
    more: "",
};
const MOVED: Invite<'static> =
    Invite { sequence: 1, start: "20270116T140000", file: None, ..FIRST };
/// One mail for each attendee is what many tools write: this one lists its own alone.
const ADDED: Invite<'static> = Invite { attendees: &[LATE], ..MOVED };
const CANCELLED: Invite<'static> = Invite {
    method: "CANCEL",
    sequence: 3,
    attendees: EVERYBODY,
    extra: "STATUS:CANCELLED\n",
    ..MOVED
};
/// Neither the subject nor the times tell that this one was carried out.
const ELSEWHERE: Invite<'static> = Invite {
    sequence: 2,
    location: "Room 5",
    attendees: EVERYBODY,
    file: Some("The job in one page, mended."),
    ..MOVED
};
const EVERYBODY: &[&str] = &[COLLEAGUE, GUEST, LATE];
const LIFE: [&Invite<'static>; 5] = [&FIRST, &MOVED, &ADDED, &ELSEWHERE, &CANCELLED];

/// Fridays, but not the second; the third is in the afternoon.
const SERIES: Invite<'static> = Invite {
    extra: "RRULE:FREQ=WEEKLY;COUNT=5\nEXDATE;TZID=Europe/Berlin:20270122T100000\n",
    more: "BEGIN:VEVENT\nUID:interview-1@ats.example\nDTSTAMP:20261123T080000Z\n\
           RECURRENCE-ID;TZID=Europe/Berlin:20270129T100000\n\
           DTSTART;TZID=Europe/Berlin:20270129T140000\nDURATION:PT1H\nSUMMARY:Interview\n\
           LOCATION:Room 4\nORGANIZER:mailto:adele.vance@contoso.example\n\
           ATTENDEE:mailto:alex.wilber@contoso.example\n\
           ATTENDEE:mailto:kim.akers@fabrikam.example\nEND:VEVENT\n",
    ..FIRST
};
/// The fourth is somewhere else, and one more is invited to it alone.
const FOURTH: Invite<'static> = Invite {
    sequence: 1,
    start: "20270205T100000",
    location: "Room 5",
    attendees: EVERYBODY,
    file: None,
    extra: "RECURRENCE-ID;TZID=Europe/Berlin:20270205T100000\n",
    ..FIRST
};
const THIRD_OFF: Invite<'static> = Invite {
    method: "CANCEL",
    sequence: 2,
    start: "20270129T140000",
    file: None,
    extra: "RECURRENCE-ID;TZID=Europe/Berlin:20270129T100000\nSTATUS:CANCELLED\n",
    ..FIRST
};
/// Another hour is another series of occurrences: it begins without what was said of single ones.
const SERIES_MOVED: Invite<'static> = Invite {
    sequence: 3,
    start: "20270115T110000",
    file: None,
    extra: "RRULE:FREQ=WEEKLY;COUNT=5\nEXDATE;TZID=Europe/Berlin:20270122T110000\n",
    more: "",
    ..FIRST
};
const SERIES_OFF: Invite<'static> = Invite { sequence: 4, attendees: FIRST.attendees, ..CANCELLED };
const SERIES_LIFE: [&Invite<'static>; 5] =
    [&SERIES, &FOURTH, &THIRD_OFF, &SERIES_MOVED, &SERIES_OFF];

impl Invite<'_> {
    fn mail(&self) -> Mail {
        let Invite { method, sequence, start, location, extra, more, .. } = self;
        let attendees: String = self
            .attendees
            .iter()
            .map(|a| format!("ATTENDEE;ROLE=REQ-PARTICIPANT;RSVP=TRUE:mailto:{a}\n"))
            .collect();
        let file = self.file.map(|octets| {
            format!(
                "--m\nContent-Type: application/pdf; name=job.pdf\nContent-Transfer-Encoding: base64\n\
                 Content-Disposition: attachment; filename=job.pdf\n\n{}\n",
                STANDARD.encode(octets)
            )
        });
        let octets = format!(
            "From: {USER}\nTo: {}\nSubject: Interview\nMessage-ID: <{method}-{sequence}-{}@ats.example>\n\
             MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n\
             --m\nContent-Type: multipart/alternative; boundary=b\n\n\
             --b\nContent-Type: text/plain; charset=utf-8\n\nSee you there.\n\
             --b\nContent-Type: text/calendar; method={method}; charset=utf-8\n\n\
             BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//ATS//EN\nMETHOD:{method}\nBEGIN:VEVENT\nUID:{UID}\n\
             SEQUENCE:{sequence}\nDTSTAMP:20261123T080000Z\nDTSTART;TZID=Europe/Berlin:{start}\n\
             DURATION:PT1H\nSUMMARY:Interview\nLOCATION:{location}\nORGANIZER:mailto:{USER}\n\
             {attendees}{extra}END:VEVENT\n{more}END:VCALENDAR\n--b--\n{}--m--\n",
            self.attendees.join(", "),
            self.attendees.len(),
            file.unwrap_or_default(),
        );
        Mail {
            from: USER,
            to: self.attendees.iter().map(|&to| to.to_owned()).collect(),
            subject: "Interview".to_owned(),
            octets: octets.replace('\n', "\r\n"),
        }
    }
}

/// What a run leaves behind.
#[derive(Debug, PartialEq)]
struct Left {
    /// All calendars after each mail, an event a line.
    calendars: Vec<Vec<String>>,
    /// What was mailed to attendees, in order.
    invitations: Vec<String>,
}

/// Past libtest's capture, so that a run leaves its numbers in the log.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Hands a mail in until a 250 was read, and sees it to its end.
fn deal_with(site: &Site, daemon: &mut Daemon, invite: &Invite<'_>) {
    let mail = invite.mail();
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) =
        Client::connect(daemon.address, &site.password).and_then(|mut client| client.submit(&mail))
    {
        assert!(Instant::now() < deadline, "{error}: {}", daemon.log());
        // Only death is an excuse.
        daemon.ended();
        *daemon = site.serve();
    }
    site.work_off(daemon);
}

/// Every event of every mailbox, as far as its owner sees it; a series by its occurrences.
fn calendars(site: &Site) -> Vec<String> {
    let world = site.sandbox.world();
    let short_months = world.switches().short_months;
    let (from, to) = ("2027-01-01T00:00Z".parse().unwrap(), "2027-04-01T00:00Z".parse().unwrap());
    let mut lines = Vec::new();
    for user in &world.users {
        for shown in world.calendar.view(user.object_id, from, to, short_months) {
            let (event, content) = (&shown.event, shown.content());
            let text = |name: &str| content.properties[name].to_string();
            let files: Vec<&str> =
                event.attachments.iter().map(|file| str::from_utf8(&file.bytes).unwrap()).collect();
            let attendees: Vec<&str> = content.attendees.iter().map(|a| &*a.address).collect();
            lines.push(format!(
                "{} {} {} {} {} {attendees:?} {files:?} cancelled={}",
                user.address,
                text("subject"),
                content.span.start_instant(),
                content.span.end_instant(),
                text("location"),
                event.is_cancelled
            ));
        }
    }
    lines
}

fn invitations(site: &Site) -> Vec<String> {
    let rows = site.sandbox.world().ledger.invitations();
    let line = |row: &postbridge::sandbox::ledger::Invited| {
        let postbridge::sandbox::invitations::Invitation {
            kind, attendee, start, occurrence, ..
        } = &row.invitation;
        match occurrence {
            Some(original) => format!("{kind:?} {attendee} {start} ({original})"),
            None => format!("{kind:?} {attendee} {start}"),
        }
    };
    rows.iter().map(line).collect()
}

/// The meeting's whole life, with a disturbance or none.
fn live(site: &Site, life: &[&Invite<'_>], disturb: impl FnOnce(&Daemon)) -> Left {
    let mut daemon = site.serve();
    disturb(&daemon);
    let calendars = life
        .iter()
        .map(|invite| {
            deal_with(site, &mut daemon, invite);
            calendars(site)
        })
        .collect();
    let entries = site.finish(&mut daemon);
    assert!(entries.iter().all(|entry| entry.state == State::Sent), "{entries:?}");
    assert_eq!(entries.len(), life.len());
    assert_eq!(site.sandbox.world().ledger.copies().len(), 0, "an attendee got the mail as well");
    Left { calendars, invitations: invitations(site) }
}

fn undisturbed() -> (Left, u64) {
    let site = Site::new();
    let left = live(&site, &LIFE, |_| {});
    let mailed: Vec<&str> =
        left.invitations.iter().map(|line| line.rsplit_once(' ').unwrap().0).collect();
    let expected = [
        ("Request", &[COLLEAGUE, GUEST][..]),
        ("Update", &[COLLEAGUE, GUEST]),
        ("Request", &[LATE]),
        ("Update", EVERYBODY),
        ("Cancel", EVERYBODY),
    ];
    let expected: Vec<String> = expected
        .iter()
        .flat_map(|(kind, to)| to.iter().map(move |to| format!("{kind} {to}")))
        .collect();
    assert_eq!(mailed, expected);
    (left, site.requests())
}

fn at(nth: u64, act: Act) -> Script {
    Script { seed: 0, faults: vec![on(None, "*", nth, act)] }
}

fn on(method: Option<&str>, route: &str, nth: u64, act: Act) -> Rule {
    Rule {
        method: method.map(str::to_owned),
        route: route.into(),
        mailbox: None,
        nth: vec![nth],
        every: false,
        probability: None,
        times: Some(1),
        act,
    }
}

fn answer(status: u16, code: &str, retry_after: Option<&str>) -> Answer {
    Answer { status, code: code.into(), message: None, retry_after: retry_after.map(str::to_owned) }
}

/// A second use of a transactionId, in all the ways that are told of; and whether an update that
/// changes nothing is mailed.
fn worlds() -> Vec<Switches> {
    use DuplicateTransactionStatus::{Status400, Status409};
    let refusing = |status, names, mails| Switches {
        duplicate_transaction: status,
        duplicate_transaction_names_event: names,
        replay_same_transaction: false,
        no_op_update_mails: mails,
        ..Switches::default()
    };
    vec![
        Switches::default(),
        refusing(Status400, true, true),
        refusing(Status400, false, false),
        refusing(Status409, true, false),
        refusing(Status409, false, true),
    ]
}

/// A site of this world, whose daemon is killed at one request.
fn killed_at(switches: &Switches, life: &[&Invite<'_>], nth: u64, when: When, expected: &Left) {
    let site = Site::new();
    *site.sandbox.world().switches() = switches.clone();
    let mut first = 0;
    let left = live(&site, life, |daemon| {
        first = daemon.pid();
        site.sandbox.world().faults.set(at(nth, Act::Kill(Kill { pid: first, when })));
    });
    let journal = site.sandbox.world().journal.entries();
    let killed = journal.iter().find(|request| request.fault.is_some());
    let killed = killed.unwrap_or_else(|| panic!("request {nth} never came"));
    assert_eq!(&left, expected, "killed {when:?} {} {}", killed.method, killed.path);
}

#[test]
fn killed_at_any_request_of_an_invites_life_nobody_is_mailed_twice_and_nothing_is_missing() {
    let (expected, requests) = undisturbed();
    // A token; create, attach, invite; move; look who is on it, add; attach, tell; cancel.
    assert_eq!(requests, 10, "{:?}", expected.invitations);
    for when in [When::Before, When::After] {
        for nth in 1..=requests {
            killed_at(&Switches::default(), &LIFE, nth, when, &expected);
        }
    }
    say(&format!("killed at each of {requests} requests, before and after"));
}

/// What the whole life of a series should look like, and how many requests it takes.
fn undisturbed_series(switches: &Switches) -> (Left, u64) {
    let site = Site::new();
    *site.sandbox.world().switches() = switches.clone();
    let left = live(&site, &SERIES_LIFE, |_| {});
    (left, site.requests())
}

#[test]
fn a_series_lives_as_its_mails_say() {
    let (left, requests) = undisturbed_series(&Switches::default());
    let starts = |at: usize| -> Vec<&str> {
        let of_the_organizer = left.calendars[at].iter().filter(|line| line.starts_with(USER));
        of_the_organizer.map(|line| line.split(' ').nth(2).unwrap()).collect()
    };
    let expected: [&[&str]; 5] = [
        &[
            "2027-01-15T09:00:00Z",
            "2027-01-29T13:00:00Z",
            "2027-02-05T09:00:00Z",
            "2027-02-12T09:00:00Z",
        ],
        &[
            "2027-01-15T09:00:00Z",
            "2027-01-29T13:00:00Z",
            "2027-02-05T09:00:00Z",
            "2027-02-12T09:00:00Z",
        ],
        &["2027-01-15T09:00:00Z", "2027-02-05T09:00:00Z", "2027-02-12T09:00:00Z"],
        &[
            "2027-01-15T10:00:00Z",
            "2027-01-29T10:00:00Z",
            "2027-02-05T10:00:00Z",
            "2027-02-12T10:00:00Z",
        ],
        &[],
    ];
    for (at, expected) in expected.iter().enumerate() {
        assert_eq!(&starts(at), expected, "after mail {at}");
    }
    say(&format!("{requests} requests; {:#?}", left.invitations));
}

#[test]
fn killed_at_any_request_of_a_series_with_overrides_and_a_file_nobody_is_mailed_twice() {
    for switches in [
        Switches::default(),
        Switches {
            series_change_keeps_exceptions: true,
            exception_gets_another_id: true,
            ..Switches::default()
        },
    ] {
        let (expected, requests) = undisturbed_series(&switches);
        for when in [When::Before, When::After] {
            for nth in 1..=requests {
                killed_at(&switches, &SERIES_LIFE, nth, when, &expected);
            }
        }
        say(&format!("a series killed at each of {requests} requests, before and after"));
    }
}

#[test]
fn an_answer_lost_or_late_at_any_request_of_a_series_changes_nothing_for_the_attendees() {
    let (expected, requests) = undisturbed_series(&Switches::default());
    let late = || Act::ActThenAnswer(answer(503, "ErrorServerBusy", None));
    let conflict = || Act::Answer(answer(409, "ErrorIrresolvableConflict", None));
    for nth in 2..=requests {
        for act in [Act::CutAfter, late(), conflict()] {
            let site = Site::new();
            let name = act.name();
            let left = live(&site, &SERIES_LIFE, |_| site.sandbox.world().faults.set(at(nth, act)));
            assert_eq!(left, expected, "{name} at request {nth}");
        }
    }
}

#[test]
fn killed_around_the_create_it_finds_its_event_however_graph_says_that_it_is_there() {
    let (expected, _) = undisturbed();
    for switches in worlds() {
        for (nth, when) in [(2, When::Before), (2, When::After), (4, When::After)] {
            killed_at(&switches, &LIFE, nth, when, &expected);
        }
    }
}

#[test]
fn a_create_that_mails_the_attendees_itself_mails_them_once_however_it_is_disturbed() {
    let plain = Invite { file: None, ..FIRST };
    for switches in worlds() {
        for act in [None, Some(Act::CutAfter), Some(Act::Truncate)] {
            let site = Site::new();
            *site.sandbox.world().switches() = switches.clone();
            let mut daemon = site.serve();
            let killed = Act::Kill(Kill { pid: daemon.pid(), when: When::After });
            let rule = on(Some("POST"), "/v1.0/me/events", 1, act.unwrap_or(killed));
            site.sandbox.world().faults.set(Script { seed: 0, faults: vec![rule] });
            deal_with(&site, &mut daemon, &plain);
            deal_with(&site, &mut daemon, &CANCELLED);
            site.finish(&mut daemon);
            let mailed = invitations(&site);
            let kinds: Vec<&str> =
                mailed.iter().map(|line| line.split(' ').next().unwrap()).collect();
            assert_eq!(kinds, ["Request", "Request", "Cancel", "Cancel"], "{switches:?}");
        }
    }
}

#[test]
fn an_answer_lost_or_late_at_any_request_changes_nothing_for_the_attendees() {
    let (expected, requests) = undisturbed();
    let busy = || answer(503, "ErrorServerBusy", None);
    let acts = [
        Act::CutBefore,
        Act::CutAfter,
        Act::Truncate,
        Act::Answer(busy()),
        Act::ActThenAnswer(busy()),
        Act::Answer(answer(429, "ApplicationThrottled", Some("0.1"))),
        Act::Answer(answer(409, "ErrorIrresolvableConflict", None)),
        Act::ExpireTokens,
    ];
    for (n, act) in acts.iter().enumerate() {
        let worlds = worlds();
        let switches = &worlds[n % worlds.len()];
        // The first is for a token.
        for nth in 2..=requests {
            let site = Site::new();
            *site.sandbox.world().switches() = switches.clone();
            let left =
                live(&site, &LIFE, |_| site.sandbox.world().faults.set(at(nth, act.clone())));
            assert_eq!(left, expected, "{} at request {nth}", act.name());
        }
    }
}

#[test]
fn an_event_that_somebody_deleted_is_made_anew_by_the_next_update() {
    let site = Site::new();
    let mut daemon = site.serve();
    deal_with(&site, &mut daemon, &FIRST);
    delete_by_hand(&site);
    assert_eq!(organizers_events(&site), 0);
    deal_with(&site, &mut daemon, &MOVED);
    site.finish(&mut daemon);
    assert_eq!(organizers_events(&site), 1);
    let mailed = invitations(&site);
    let kinds: Vec<&str> = mailed.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(kinds, ["Request", "Request", "Cancel", "Cancel", "Request", "Request"]);
    assert_eq!(remembered(&site).parts[0].generation, 2);
}

#[test]
fn killed_while_it_makes_a_deleted_event_anew_it_makes_one() {
    let mut expected = None;
    // 0: not at all. Then the PATCH that is answered 404, the create, the invitation.
    for (nth, when) in [
        (0, When::Before),
        (1, When::Before),
        (1, When::After),
        (2, When::Before),
        (2, When::After),
        (3, When::Before),
        (3, When::After),
    ] {
        let site = Site::new();
        site.sandbox.world().switches().replay_same_transaction = false;
        let mut daemon = site.serve();
        deal_with(&site, &mut daemon, &FIRST);
        delete_by_hand(&site);
        if nth > 0 {
            site.kill_at(&daemon, nth, when);
        }
        let first = daemon.pid();
        deal_with(&site, &mut daemon, &MOVED);
        assert_eq!(daemon.pid() != first, nth > 0, "request {nth} never came");
        site.finish(&mut daemon);
        let left = (calendars(&site), invitations(&site), remembered(&site).parts[0].generation);
        assert_eq!(&left, expected.get_or_insert(left.clone()), "killed {when:?} request {nth}");
    }
}

#[test]
fn an_event_that_was_forgotten_and_comes_again_is_brought_up_to_date_and_not_made_twice() {
    for switches in worlds() {
        let site = Site::new();
        *site.sandbox.world().switches() = switches;
        let mut daemon = site.serve();
        deal_with(&site, &mut daemon, &FIRST);
        site.finish(&mut daemon);
        let account = site.at_rest().1;
        let forgotten = site.runtime.block_on(async {
            let store = Store::open(&site.state(), Room::default()).await.unwrap();
            store.forget_invite(account.id, UID).await.unwrap()
        });
        assert!(forgotten);
        let mut daemon = site.serve();
        deal_with(&site, &mut daemon, &MOVED);
        site.finish(&mut daemon);
        assert_eq!(organizers_events(&site), 1);
        let mailed = invitations(&site);
        let kinds: Vec<&str> = mailed.iter().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(kinds, ["Request", "Request", "Update", "Update"]);
    }
}

/// RFC 5546 §3.2.5: a CANCEL without STATUS:CANCELLED is for those whom it lists.
#[test]
fn killed_while_it_takes_an_attendee_off_it_tells_that_one_once_and_not_by_mail_as_well() {
    let mut expected = None;
    for when in [When::Before, When::After] {
        for nth in 0..=1 {
            let site = Site::new();
            let mut daemon = site.serve();
            deal_with(&site, &mut daemon, &FIRST);
            if nth > 0 {
                site.kill_at(&daemon, nth, when);
            }
            let first = daemon.pid();
            let off = Invite { attendees: &[GUEST], extra: "", ..CANCELLED };
            deal_with(&site, &mut daemon, &off);
            assert_eq!(daemon.pid() != first, nth > 0, "request {nth} never came");
            site.finish(&mut daemon);
            assert_eq!(site.sandbox.world().ledger.copies().len(), 0, "mailed as well");
            let left = (calendars(&site), invitations(&site));
            assert_eq!(left.1.len(), 3, "{:?}", left.1);
            assert_eq!(&left, expected.get_or_insert(left.clone()), "killed {when:?}");
        }
    }
}

#[test]
fn an_event_that_graph_refuses_is_reported_once_and_a_later_mail_makes_it() {
    let site = Site::new();
    let refuse = Act::Answer(answer(403, "ErrorCreateItemAccessDenied", None));
    let rule = on(Some("POST"), "/v1.0/me/events", 1, refuse);
    site.sandbox.world().faults.set(Script { seed: 0, faults: vec![rule] });
    let mut daemon = site.serve();
    deal_with(&site, &mut daemon, &FIRST);
    let entries = site.finish(&mut daemon);
    let states = |kind: Kind, entries: &[Entry]| -> Vec<State> {
        entries.iter().filter(|entry| entry.kind == kind).map(|entry| entry.state).collect()
    };
    assert_eq!(states(Kind::Submission, &entries), [State::Failed], "{entries:?}");
    assert_eq!(states(Kind::Report, &entries), [State::Sent], "{entries:?}");
    let reports = site.copies("Not delivered: Interview");
    assert_eq!(reports.into_iter().collect::<Vec<_>>(), [(USER.to_owned(), 1)]);
    assert_eq!(site.sandbox.world().ledger.copies().len(), 1);
    assert_eq!(invitations(&site), [] as [String; 0]);

    let mut daemon = site.serve();
    deal_with(&site, &mut daemon, &MOVED);
    site.finish(&mut daemon);
    assert_eq!(organizers_events(&site), 1);
    assert_eq!(invitations(&site).len(), 2, "{:?}", invitations(&site));
}

fn remembered(site: &Site) -> postbridge::invite::Invite {
    let account = site.at_rest().1;
    site.runtime.block_on(async {
        let store = Store::open(&site.state(), Room::default()).await.unwrap();
        store.invite(account.id, UID).await.unwrap().unwrap()
    })
}

fn organizers_events(site: &Site) -> usize {
    let world = site.sandbox.world();
    world.calendar.events(world.user(USER).unwrap().object_id).len()
}

/// As the organizer does in Outlook.
fn delete_by_hand(site: &Site) {
    let world = site.sandbox.world();
    let scopes = vec!["Calendars.ReadWrite".to_owned()];
    let user = world.user(USER).unwrap().object_id;
    let grant = Grant { user, client_id: "app".to_owned(), scopes: scopes.clone(), nonce: None };
    let now = world.clock.now();
    let token = world.identity.grants().issue(now, &grant, &scopes).access_token;
    site.runtime.block_on(async {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let events = format!("{}/v1.0/me/events", site.sandbox.url());
        let list = http.get(&events).bearer_auth(&token).send().await.unwrap();
        let list: serde_json::Value = list.json().await.unwrap();
        for event in list["value"].as_array().unwrap() {
            let url = format!("{events}/{}", event["id"].as_str().unwrap());
            let answer = http.delete(url).bearer_auth(&token).send().await.unwrap();
            assert_eq!(answer.status(), 204);
        }
    });
}
