//! What a PUT and a DELETE do to the mailbox, and what the client is told: calendar objects in, the
//! sandbox's journal and ledger out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::dav::Dav;
use common::http::{Answer, Http, basic, request};
use common::{COLLEAGUE, PATIENCE, TestBridge, USER};
use jiff::SignedDuration;
use postbridge::account::Profile;
use postbridge::caldav::server::Kind;
use postbridge::config::{Config, RecurrencePolicy};
use postbridge::control::{self, Request};
use postbridge::store::spool::{self, Entry, State};
use reqwest::Method;
use serde_json::{Value, json};

const GUEST: &str = "kim.akers@fabrikam.example";
const CALENDAR: &str = "/dav/calendars/adele.vance%40contoso.example/calendar/";
const OBJECT: &str = "text/calendar; charset=utf-8";

/// An event on 11 January 2027 at 10:00 in Berlin with these attendees.
fn meeting(attendees: &[&str], more: &str) -> String {
    let organizer = match attendees.is_empty() {
        true => String::new(),
        false => format!("ORGANIZER:mailto:{USER}\n"),
    };
    let attendees: String =
        attendees.iter().map(|one| format!("ATTENDEE;RSVP=TRUE:mailto:{one}\n")).collect();
    format!(
        "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\nBEGIN:VEVENT\nUID:m@contoso.example\n\
         DTSTAMP:20261128T000000Z\nDTSTART;TZID=Europe/Berlin:20270111T100000\nDURATION:PT1H\n\
         SUMMARY:Meeting\n{organizer}{attendees}{more}END:VEVENT\nEND:VCALENDAR\n"
    )
    .replace('\n', "\r\n")
}

struct Bench {
    bridge: TestBridge,
    http: Http,
    seen: usize,
}

impl Bench {
    async fn start() -> Bench {
        Bench::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut Config)) -> Bench {
        Bench::of(TestBridge::start_with(change).await).await
    }

    async fn of(bridge: TestBridge) -> Bench {
        let http = Http::connect(address(&bridge)).await;
        Bench { bridge, http, seen: 0 }
    }

    fn octets(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
        let host = address(&self.bridge).to_string();
        let authorization = basic(USER, &self.bridge.password);
        let defaults = [("Host", host.as_str()), ("Authorization", authorization.as_str())];
        request(line, headers, &defaults, body.as_bytes())
    }

    async fn ask(&mut self, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let octets = self.octets(line, headers, body);
        self.http.send(&octets).await;
        self.http.answer(line.starts_with("HEAD ")).await.expect("an answer")
    }

    async fn put(&mut self, object: &str) -> Answer {
        self.ask(&format!("PUT {CALENDAR}m.ics"), &[("Content-Type", OBJECT)], object).await
    }

    async fn delete(&mut self) -> Answer {
        self.ask(&format!("DELETE {CALENDAR}m.ics"), &[], "").await
    }

    async fn kept(&mut self) -> Option<String> {
        let answer = self.ask(&format!("GET {CALENDAR}m.ics"), &[], "").await;
        (answer.status == 200).then(|| answer.text())
    }

    /// What Exchange has told since the last time, as `kind attendee: start`, sorted.
    async fn told(&mut self) -> Vec<String> {
        let ledger = self.bridge.ledger().await;
        let rows = ledger["invitations"].as_array().unwrap();
        let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let one = |row: &Value| {
            let start = text(row, "start");
            let start = start.get(..16).unwrap_or_default();
            format!("{} {}: {start}", text(row, "kind"), text(row, "attendee"))
        };
        let mut told: Vec<String> = rows.iter().skip(self.seen).map(one).collect();
        self.seen = rows.len();
        told.sort();
        told
    }

    /// Changing requests to Graph's calendar, as `METHOD`.
    async fn changes(&self) -> Vec<String> {
        let requests = self.bridge.get("/_sandbox/requests").await;
        let rows = requests.as_array().unwrap().iter();
        let rows = rows.filter(|row| row["path"].as_str().unwrap().contains("/me/events"));
        let methods = rows.map(|row| row["method"].as_str().unwrap().to_owned());
        methods.filter(|method| method != "GET").collect()
    }

    /// When what stands in Adele's calendar begins.
    async fn starts(&self) -> Vec<String> {
        let path =
            "/calendarView?startDateTime=2027-01-01T00:00:00Z&endDateTime=2027-12-31T00:00:00Z";
        let view = self.bridge.by_hand(USER, Method::GET, path, json!({})).await;
        let rows = view["value"].as_array().unwrap().iter();
        let mut starts: Vec<String> =
            rows.map(|row| row["start"]["dateTime"].as_str().unwrap().to_owned()).collect();
        starts.sort();
        starts
    }

    async fn entries(&self) -> Vec<Entry> {
        self.bridge.running.control.store.entries(None, 100).await.unwrap()
    }

    async fn at_rest(&self) {
        let ended =
            |entry: &Entry| matches!(entry.state, State::Sent | State::Failed | State::Held);
        until(async || self.entries().await.iter().all(ended)).await;
    }

    async fn faults(&self, rules: &[Value]) {
        self.bridge.post("/_sandbox/faults", json!({ "faults": rules })).await;
    }
}

fn address(bridge: &TestBridge) -> SocketAddr {
    let mut calendars = bridge.running.calendars.iter();
    calendars.find(|(kind, _)| *kind == Kind::Clear).unwrap().1
}

/// Looks again until it is so.
async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let seen = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap();
}

/// Of the calls that make an event.
fn creation(act: Value) -> Value {
    json!({"route": "/v1.0/me/events", "every": true, "do": act})
}

fn waits(config: &mut Config, wait: SignedDuration) {
    config.caldav.wait = toml::Spanned::new(0..0, wait);
}

// ---- what becomes of it ----

#[tokio::test(flavor = "multi_thread")]
async fn a_meeting_that_is_put_invites_each_attendee_once() {
    let mut bench = Bench::start().await;
    let object = meeting(&[COLLEAGUE, GUEST], "");
    let put = bench.put(&object).await;
    assert_eq!(put.status, 201);
    let told = [COLLEAGUE, GUEST].map(|one| format!("request {one}: 2027-01-11T09:00"));
    assert_eq!(bench.told().await, told);
    assert_eq!(bench.changes().await, ["POST"]);
    // The very same again is nothing.
    let again = bench.put(&object).await;
    assert_eq!((again.status, again.header("etag")), (204, put.header("etag")));
    assert_eq!(bench.entries().await.len(), 1);
    assert_eq!(bench.bridge.delivered().await, [] as [String; 0], "nobody gets a mail as well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meeting_that_is_put_again_is_moved_and_an_attendee_left_out_is_told() {
    let mut bench = Bench::start().await;
    let object = meeting(&[COLLEAGUE, GUEST], "");
    bench.put(&object).await;
    bench.told().await;
    let moved = object.replace("T100000", "T120000");
    assert_eq!(bench.put(&moved).await.status, 204);
    let told = [COLLEAGUE, GUEST].map(|one| format!("update {one}: 2027-01-11T11:00"));
    assert_eq!(bench.told().await, told);
    let fewer = meeting(&[COLLEAGUE], "").replace("T100000", "T120000");
    assert_eq!(bench.put(&fewer).await.status, 204);
    assert_eq!(bench.told().await, [format!("cancel {GUEST}: 2027-01-11T11:00")]);
    assert_eq!(bench.kept().await.unwrap(), fewer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_that_is_taken_out_of_a_series_is_cancelled_alone() {
    let mut bench = Bench::start().await;
    let series = "RRULE:FREQ=DAILY;COUNT=5\n";
    bench.put(&meeting(&[GUEST], series)).await;
    assert_eq!(bench.told().await, [format!("request {GUEST}: 2027-01-11T09:00")]);
    let without = format!("{series}EXDATE;TZID=Europe/Berlin:20270113T100000\n");
    assert_eq!(bench.put(&meeting(&[GUEST], &without)).await.status, 204);
    assert_eq!(bench.told().await, [format!("cancel {GUEST}: 2027-01-13T09:00")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_or_put_as_cancelled_is_cancelled_once() {
    let mut bench = Bench::start().await;
    let object = meeting(&[GUEST], "");
    bench.put(&object).await;
    bench.told().await;
    assert_eq!(bench.delete().await.status, 204);
    assert_eq!(bench.told().await, [format!("cancel {GUEST}: 2027-01-11T09:00")]);
    assert_eq!(bench.kept().await, None);
    assert_eq!(bench.delete().await.status, 404);
    // The same UID once more is another invitation.
    assert_eq!(bench.put(&object).await.status, 201);
    assert_eq!(bench.told().await, [format!("request {GUEST}: 2027-01-11T09:00")]);
    let cancelled = meeting(&[GUEST], "STATUS:CANCELLED\nSEQUENCE:1\n");
    assert_eq!(bench.put(&cancelled).await.status, 204);
    assert_eq!(bench.told().await, [format!("cancel {GUEST}: 2027-01-11T09:00")]);
    // It stays in the collection until it is deleted, and nobody hears of that.
    assert_eq!(bench.kept().await.unwrap(), cancelled);
    assert_eq!(bench.delete().await.status, 204);
    assert_eq!(bench.told().await, [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_without_attendees_is_in_the_mailbox_and_tells_nobody() {
    let mut bench = Bench::start().await;
    assert_eq!(bench.put(&meeting(&[], "")).await.status, 201);
    assert_eq!(bench.changes().await, ["POST"]);
    assert_eq!(bench.told().await, [] as [String; 0]);
    assert_eq!(bench.delete().await.status, 204);
    assert_eq!(bench.told().await, [] as [String; 0]);
    assert_eq!(bench.changes().await.len(), 2);
}

// ---- what is refused ----

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_refused_in_words_and_the_collection_is_as_before() {
    let mut bench = Bench::start_with(|config| {
        let own = config.account.entry(USER.parse().unwrap()).or_default();
        own.recurrence = RecurrencePolicy::Refuse;
    })
    .await;
    let rule = "RRULE:FREQ=MONTHLY;BYMONTHDAY=1,15;COUNT=6\n";
    let refused = bench.put(&meeting(&[GUEST], rule)).await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(refused.header("content-type").unwrap().starts_with("text/plain"));
    assert!(refused.text().contains("refused"), "{}", refused.text());
    assert!(refused.text().contains("as it was before"), "{}", refused.text());
    assert_eq!(bench.kept().await, None);
    // The same over something that is there.
    let object = meeting(&[GUEST], "");
    let first = bench.put(&object).await;
    assert_eq!(first.status, 201);
    bench.told().await;
    assert_eq!(bench.put(&meeting(&[GUEST], rule)).await.status, 403);
    let now = bench.ask(&format!("GET {CALENDAR}m.ics"), &[], "").await;
    assert_eq!((now.text(), now.header("etag")), (object, first.header("etag")));
    assert_eq!(bench.told().await, [] as [String; 0]);
    bench.at_rest().await;
    let reports = bench.entries().await;
    assert!(!reports.iter().any(|entry| entry.kind == spool::Kind::Report), "told twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_microsoft_refuses_is_refused_with_its_reason_and_taken_back() {
    let mut bench = Bench::start().await;
    let denied = json!({"answer": {"status": 400, "code": "ErrorInvalidRecipients"}});
    bench.faults(&[creation(denied)]).await;
    let refused = bench.put(&meeting(&[GUEST], "")).await;
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("as it was before"), "{}", refused.text());
    assert_eq!(bench.kept().await, None);
    bench.faults(&[]).await;
    assert_eq!(bench.put(&meeting(&[GUEST], "")).await.status, 201);
    assert_eq!(bench.told().await, [format!("request {GUEST}: 2027-01-11T09:00")]);
}

/// A series on five days; its second and third date are gone or changed before the fourth is refused.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_to_single_occurrences_before_a_refusal_is_undone() {
    let mut bench = Bench::start().await;
    let rule = "RRULE:FREQ=DAILY;COUNT=5\n";
    let series = meeting(&[GUEST], rule);
    assert_eq!(bench.put(&series).await.status, 201);
    let given = bench.starts().await;
    assert_eq!(given.len(), 5);
    let denied = json!({"answer": {"status": 400, "code": "ErrorInvalidRequest"}});
    let fourth = json!({"route": "/v1.0/me/events/*/cancel", "nth": [2], "do": denied});
    bench.faults(&[fourth]).await;
    let dates = "EXDATE;TZID=Europe/Berlin:20270112T100000,20270114T100000\n";
    let third = meeting(&[GUEST], "RECURRENCE-ID;TZID=Europe/Berlin:20270113T100000\n");
    let third = third.replace(
        "DTSTART;TZID=Europe/Berlin:20270111T100000",
        "DTSTART;TZID=Europe/Berlin:20270113T150000",
    );
    let third = third.split_once("BEGIN:VEVENT").unwrap().1;
    let changed = meeting(&[GUEST], &format!("{rule}{dates}"));
    let (whole, end) = changed.split_once("END:VCALENDAR").unwrap();
    let third = third.split_once("END:VCALENDAR").unwrap().0;
    let changed = format!("{whole}BEGIN:VEVENT{third}END:VCALENDAR{end}");
    let refused = bench.put(&changed).await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!(bench.kept().await.unwrap(), series);
    assert_eq!(bench.starts().await, given);
    // What is asked next is on top of that.
    assert_eq!(bench.delete().await.status, 204);
    assert_eq!(bench.starts().await, [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_only_when_it_is_tried_again_is_taken_back_as_well() {
    let mut bench = Bench::start_with(|config| waits(config, SignedDuration::from_secs(60))).await;
    let answer = |nth: u64, status: u16| {
        let answer = json!({"answer": {"status": status, "code": "ErrorOfSomeKind"}});
        json!({"method": "PATCH", "route": "/v1.0/me/events/", "nth": [nth], "do": answer})
    };
    bench.faults(&[answer(1, 503), answer(2, 400)]).await;
    let file = "ATTACH;ENCODING=BASE64;VALUE=BINARY;X-FILENAME=a.txt:VGhlIGpvYg==\n";
    let control = bench.bridge.running.control.clone();
    let again = async {
        until(async || {
            control::handle(Request::Flush {}, &control).await;
            control.store.entries(None, 1).await.unwrap().iter().any(|one| one.attempts > 1)
        })
        .await;
    };
    let object = meeting(&[GUEST], file);
    let (refused, ()) = tokio::join!(bench.put(&object), again);
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!(bench.kept().await, None);
    assert_eq!(bench.starts().await, [] as [String; 0], "the event stays without anybody on it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_did_not_grant_its_calendar_is_told_so() {
    let bridge = TestBridge::start_as(Profile::Mail, |_| {}).await;
    let mut bench = Bench::of(bridge).await;
    let refused = bench.put(&meeting(&[], "")).await;
    assert_eq!(refused.status, 403);
    let text = refused.text();
    assert!(text.contains("need-privileges") && text.contains("Calendars.ReadWrite"), "{text}");
    assert_eq!(bench.delete().await.status, 403);
    let body = "<propfind xmlns=\"DAV:\"><prop><current-user-privilege-set/></prop></propfind>";
    let listed = bench.ask(&format!("PROPFIND {CALENDAR}"), &[("Depth", "0")], body).await.text();
    assert!(listed.contains("<D:read/>") && !listed.contains("write"), "{listed}");
    assert_eq!(bench.entries().await.len(), 0);
}

// ---- what waits ----

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_not_decided_in_time_is_kept_and_goes_on() {
    let mut bench =
        Bench::start_with(|config| waits(config, SignedDuration::from_millis(300))).await;
    bench.faults(&[creation(json!({"delay_ms": 1500}))]).await;
    let start = Instant::now();
    let put = bench.put(&meeting(&[GUEST], "")).await;
    let took = start.elapsed();
    assert_eq!(put.status, 201);
    assert!(put.header("etag").is_some());
    assert!((Duration::from_millis(300)..Duration::from_millis(1400)).contains(&took), "{took:?}");
    bench.at_rest().await;
    assert_eq!(bench.told().await, [format!("request {GUEST}: 2027-01-11T09:00")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_where_no_wait_is_configured_and_a_refusal_is_reported() {
    let mut bench = Bench::start_with(|config| {
        waits(config, SignedDuration::ZERO);
        let own = config.account.entry(USER.parse().unwrap()).or_default();
        own.recurrence = RecurrencePolicy::Refuse;
    })
    .await;
    let rule = "RRULE:FREQ=MONTHLY;BYMONTHDAY=1,15;COUNT=6\n";
    assert_eq!(bench.put(&meeting(&[GUEST], rule)).await.status, 201);
    bench.at_rest().await;
    assert_eq!(bench.kept().await, None);
    until(async || !bench.bridge.delivered().await.is_empty()).await;
    assert_eq!(bench.bridge.delivered().await, [format!("{USER}: Not delivered: Meeting")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_stops_nothing_and_hears_of_a_refusal_by_a_report() {
    let mut bench = Bench::start_with(|config| {
        waits(config, SignedDuration::from_secs(30));
        let own = config.account.entry(USER.parse().unwrap()).or_default();
        own.recurrence = RecurrencePolicy::Refuse;
    })
    .await;
    // It goes on.
    bench.faults(&[creation(json!({"delay_ms": 1000}))]).await;
    let line = format!("PUT {CALENDAR}m.ics");
    let octets = bench.octets(&line, &[("Content-Type", OBJECT)], &meeting(&[GUEST], ""));
    let mut gone = Http::connect(address(&bench.bridge)).await;
    gone.send(&octets).await;
    until(async || bench.entries().await.len() == 1).await;
    drop(gone);
    bench.at_rest().await;
    assert_eq!(bench.told().await, [format!("request {GUEST}: 2027-01-11T09:00")]);
    // And what goes wrong is told in another way: the change waits behind one that takes long.
    bench
        .faults(&[
            json!({"route": "/v1.0/me/events/{id}", "every": true, "do": {"delay_ms": 1000}}),
        ])
        .await;
    let moved = meeting(&[GUEST], "").replace("T100000", "T120000");
    let rule = "RRULE:FREQ=MONTHLY;BYMONTHDAY=1,15;COUNT=6\n";
    let mut gone = Vec::new();
    for (entries, object) in [(2, moved), (3, meeting(&[GUEST], rule))] {
        let mut http = Http::connect(address(&bench.bridge)).await;
        http.send(&bench.octets(&line, &[("Content-Type", OBJECT)], &object)).await;
        until(async || bench.entries().await.len() == entries).await;
        gone.push(http);
    }
    drop(gone);
    until(async || !bench.bridge.delivered().await.is_empty()).await;
    assert_eq!(bench.bridge.delivered().await, [format!("{USER}: Not delivered: Meeting")]);
    assert!(bench.kept().await.unwrap().contains("T120000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_an_account_that_needs_a_sign_in_are_kept_and_nobody_waits_for_them() {
    let mut bench = Bench::start_with(|config| waits(config, SignedDuration::from_secs(60))).await;
    let store = bench.bridge.running.control.store.clone();
    let account = store.account_by_login(USER).await.unwrap().unwrap();
    store.needs_sign_in(account.id, "sign in again").await.unwrap();
    let start = Instant::now();
    assert_eq!(bench.put(&meeting(&[GUEST], "")).await.status, 201);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    assert!(bench.kept().await.is_some());
    assert_eq!(bench.changes().await, [] as [String; 0]);
    common::sign_in(&bench.bridge.running.control).await;
    bench.at_rest().await;
    assert_eq!(bench.told().await, [format!("request {GUEST}: 2027-01-11T09:00")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_waiting_and_the_change_comes_to_its_end() {
    let bench = Bench::start_with(|config| waits(config, SignedDuration::from_secs(60))).await;
    bench.faults(&[creation(json!({"delay_ms": 4000}))]).await;
    let line = format!("PUT {CALENDAR}m.ics");
    let octets = bench.octets(&line, &[("Content-Type", OBJECT)], &meeting(&[GUEST], ""));
    let Bench { bridge, mut http, .. } = bench;
    http.send(&octets).await;
    let world = bridge.sandbox.world().clone();
    until(async || world.journal.entries().iter().any(|one| one.path.ends_with("/me/events")))
        .await;
    let TestBridge { running, sandbox, .. } = bridge;
    let start = Instant::now();
    let stopping = tokio::spawn(running.stop());
    assert_eq!(http.answer(false).await.unwrap().status, 201);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    stopping.await.unwrap();
    let ledger = reqwest::get(format!("{}/_sandbox/ledger", sandbox.url())).await.unwrap();
    let ledger: Value = ledger.json().await.unwrap();
    assert_eq!(ledger["invitations"].as_array().unwrap().len(), 1);
}

// ---- several who change it ----

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_change_the_same_version_one_is_refused() {
    let mut bench = Bench::start().await;
    let first = bench.put(&meeting(&[GUEST], "")).await;
    let etag = first.header("etag").unwrap().to_owned();
    bench.told().await;
    let line = format!("PUT {CALENDAR}m.ics");
    let mut asking = Vec::new();
    for hour in 12..16 {
        let object = meeting(&[GUEST], "").replace("T100000", &format!("T{hour}0000"));
        let headers = [("Content-Type", OBJECT), ("If-Match", etag.as_str())];
        let octets = bench.octets(&line, &headers, &object);
        let to = address(&bench.bridge);
        asking.push(tokio::spawn(async move {
            let mut http = Http::connect(to).await;
            http.send(&octets).await;
            http.answer(false).await.unwrap().status
        }));
    }
    let mut statuses = Vec::new();
    for asking in asking {
        statuses.push(asking.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 412, 412, 412]);
    assert_eq!(bench.told().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_one_after_the_other_are_carried_out_in_their_order() {
    let mut bench = Bench::start_with(|config| waits(config, SignedDuration::ZERO)).await;
    for hour in 10..20 {
        let object = meeting(&[GUEST], "").replace("T100000", &format!("T{hour}0000"));
        assert!([201, 204].contains(&bench.put(&object).await.status));
    }
    bench.at_rest().await;
    let told = bench.told().await;
    assert_eq!(told.last().unwrap(), &format!("update {GUEST}: 2027-01-11T18:00"), "{told:?}");
    let mut sorted: Vec<&str> = told.iter().filter_map(|one| one.get(one.len() - 5..)).collect();
    sorted.sort_unstable();
    assert_eq!(sorted.last(), Some(&"18:00"));
}

/// RFC 6638 §3.2.10: answers that a client has not seen are not undone.
#[tokio::test(flavor = "multi_thread")]
async fn who_knows_the_scheduling_tag_keeps_the_answers_that_it_has_not_seen() {
    let mut bench = Bench::start().await;
    let asked = meeting(&[GUEST], "");
    let answered = asked.replace("ATTENDEE;RSVP=TRUE", "ATTENDEE;PARTSTAT=ACCEPTED;RSVP=TRUE");
    let first = bench.put(&answered).await;
    let tag = first.header("schedule-tag").unwrap().to_owned();
    let headers = [
        ("Content-Type", OBJECT),
        ("If-Schedule-Tag-Match", tag.as_str()),
        ("If-Match", "\"old\""),
    ];
    let moved = asked.replace("T100000", "T120000");
    let put = bench.ask(&format!("PUT {CALENDAR}m.ics"), &headers, &moved).await;
    assert_eq!(put.status, 204);
    // It is not what was sent, so its tag is to be asked for.
    assert_eq!(put.header("etag"), None);
    assert!(put.header("schedule-tag").is_some());
    let kept = bench.kept().await.unwrap();
    assert!(kept.contains("T120000") && kept.contains("PARTSTAT=ACCEPTED"), "{kept}");
    // Who does not say it means what it says.
    bench.put(&moved).await;
    assert_eq!(bench.kept().await.unwrap(), moved);
}

// ---- mails and programs ----

/// The mail was handed in before the second PUT and is carried out before it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_put_after_a_mail_is_what_its_calendar_shows_whenever_the_mail_is_carried_out()
 {
    for (method, lines) in
        [("CANCEL", "STATUS:CANCELLED\nSEQUENCE:7\n"), ("REQUEST", "SEQUENCE:7\n")]
    {
        let mut bench = Bench::start_with(|config| waits(config, SignedDuration::ZERO)).await;
        bench.faults(&[creation(json!({"delay_ms": 700}))]).await;
        assert_eq!(bench.put(&meeting(&[GUEST], "")).await.status, 201);
        let object = meeting(&[GUEST], lines).replace("T100000", "T130000");
        let object = object.replace("PRODID:x", &format!("PRODID:x\r\nMETHOD:{method}"));
        let mail = format!(
            "From: {USER}\nTo: {GUEST}\nSubject: Meeting\nMIME-Version: 1.0\n\
             Content-Type: text/calendar; method={method}; charset=utf-8\n\n{}",
            object.replace("\r\n", "\n")
        );
        bench.bridge.submit(&[GUEST], &mail).await.unwrap();
        let last = meeting(&[GUEST], "").replace("T100000", "T160000");
        assert_eq!(bench.put(&last).await.status, 204);
        let under_way = bench.entries().await;
        assert!(under_way.iter().all(|one| one.state != State::Sent), "it took too long");
        bench.at_rest().await;
        assert_eq!(bench.kept().await, Some(last), "{method}");
        assert_eq!(bench.starts().await, ["2027-01-11T15:00:00.0000000"], "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_tried_again_in_its_time_whatever_waits_behind_it() {
    let mut bench = Bench::start_with(|config| waits(config, SignedDuration::ZERO)).await;
    let locked = json!({"answer": {"status": 423, "code": "ErrorLocked", "retry_after": "1"}});
    let first = json!({"route": "/v1.0/me/events", "nth": [1], "do": locked});
    bench.faults(&[first]).await;
    assert_eq!(bench.put(&meeting(&[GUEST], "")).await.status, 201);
    let has_failed = |one: &Entry| one.state == State::Queued && one.attempts == 1;
    until(async || bench.entries().await.iter().all(has_failed)).await;
    let start = Instant::now();
    assert_eq!(bench.put(&meeting(&[GUEST], "SEQUENCE:1\n")).await.status, 204);
    bench.at_rest().await;
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

/// RFC 6578 §3.5.2: whoever saw an empty calendar may have filled it.
#[tokio::test(flavor = "multi_thread")]
async fn who_began_with_an_empty_calendar_is_told_of_what_is_gone_since() {
    let mut bench = Bench::start().await;
    let dav = Dav::new(&bench.bridge.password);
    let to = address(&bench.bridge);
    let empty = dav.changes(to, None).await.unwrap().unwrap();
    assert_eq!(empty.names, []);
    assert_eq!(bench.put(&meeting(&[], "")).await.status, 201);
    assert_eq!(bench.delete().await.status, 204);
    let since = dav.changes(to, Some(&empty.token)).await.unwrap().unwrap();
    assert_eq!(since.names, [("m.ics".to_owned(), None)]);
    // Who begins now never saw it.
    assert_eq!(dav.changes(to, None).await.unwrap().unwrap().names, []);
}

// ---- calendars that a client makes ----

const HOME: &str = "/dav/calendars/adele.vance%40contoso.example/";

fn named(title: &str) -> String {
    format!(
        "<C:mkcalendar xmlns:D=\"DAV:\" xmlns:C=\"urn:ietf:params:xml:ns:caldav\"><D:set><D:prop>\
         <D:displayname>{title}</D:displayname></D:prop></D:set></C:mkcalendar>"
    )
}

impl Bench {
    async fn make(&mut self, name: &str, title: &str) -> u16 {
        self.ask(&format!("MKCALENDAR {HOME}{name}/"), &[], &named(title)).await.status
    }

    async fn put_in(&mut self, calendar: &str, object: &str) -> Answer {
        let line = format!("PUT {HOME}{calendar}/m.ics");
        self.ask(&line, &[("Content-Type", OBJECT)], object).await
    }

    /// Waits for no pause between attempts.
    async fn retry_until_done(&self) {
        let store = &self.bridge.running.control.store;
        until(async || {
            store.flush().await.unwrap();
            self.entries().await.iter().all(|entry| entry.state == State::Sent)
        })
        .await;
    }

    /// Requests that change a calendar or what is in it, each with its answer, the ids left out.
    async fn calendar_requests(&self) -> Vec<String> {
        let requests = self.bridge.get("/_sandbox/requests").await;
        let rows = requests.as_array().unwrap().iter();
        let of = |row: &Value| {
            let path = row["path"].as_str().unwrap().trim_start_matches("/v1.0/me/");
            let parts: Vec<&str> =
                path.split('/').map(|part| if part.len() > 20 { "ID" } else { part }).collect();
            format!("{} {} {}", row["method"].as_str().unwrap(), parts.join("/"), row["status"])
        };
        rows.map(of).filter(|row| row.contains("calendars") || row.contains("events")).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_calendar_that_a_client_made_is_in_one_of_that_name_in_the_mailbox() {
    let mut bench = Bench::start().await;
    assert_eq!(bench.make("work", "Work  at\n Contoso").await, 201);
    assert_eq!(
        bench.calendar_requests().await,
        [] as [String; 0],
        "nothing before its first event"
    );
    let object = meeting(&[GUEST], "");
    assert_eq!(bench.put_in("work", &object).await.status, 201);
    assert_eq!(bench.told().await, [format!("request {GUEST}: 2027-01-11T09:00")]);
    let made = ["POST calendars 201", "POST calendars/ID/events 201"];
    assert_eq!(bench.calendar_requests().await, made);
    // Another event of it goes into the same one.
    let other = object.replace("m@contoso.example", "n@contoso.example");
    let line = format!("PUT {HOME}work/n.ics");
    assert_eq!(bench.ask(&line, &[("Content-Type", OBJECT)], &other).await.status, 201);
    assert_eq!(bench.calendar_requests().await[2..], ["POST calendars/ID/events 201"]);
    // What follows is as in any calendar.
    let moved = object.replace("T100000", "T120000");
    assert_eq!(bench.put_in("work", &moved).await.status, 204);
    for name in ["m", "n"] {
        let deleted = bench.ask(&format!("DELETE {HOME}work/{name}.ics"), &[], "").await;
        assert_eq!(deleted.status, 204);
    }
    assert_eq!(bench.told().await.len(), 4);
    // It is taken away here, and stays in the mailbox; the next one of that name is that one.
    assert_eq!(bench.ask(&format!("DELETE {HOME}work/"), &[], "").await.status, 204);
    let before = bench.calendar_requests().await.len();
    assert_eq!(bench.make("again", "Work at Contoso").await, 201);
    assert_eq!(bench.put_in("again", &object).await.status, 201);
    let found = ["POST calendars 409", "GET calendars 200", "POST calendars/ID/events 201"];
    assert_eq!(bench.calendar_requests().await[before..], found);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_calendar_whose_making_had_no_answer_is_made_once() {
    let mut bench = Bench::start_with(|config| waits(config, SignedDuration::ZERO)).await;
    assert_eq!(bench.make("work", "Work").await, 201);
    let lost = json!({"route": "/v1.0/me/calendars", "nth": [1], "do": "cut_after"});
    bench.faults(&[lost]).await;
    assert_eq!(bench.put_in("work", &meeting(&[GUEST], "")).await.status, 201);
    bench.retry_until_done().await;
    assert_eq!(bench.told().await, [format!("request {GUEST}: 2027-01-11T09:00")]);
    let requests = bench.calendar_requests().await;
    let ends = ["POST calendars 409", "GET calendars 200", "POST calendars/ID/events 201"];
    assert_eq!(requests[1..], ends);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_calendar_that_was_deleted_in_outlook_is_made_again() {
    let mut bench = Bench::start_with(|config| waits(config, SignedDuration::ZERO)).await;
    assert_eq!(bench.make("work", "Work").await, 201);
    let answer = json!({"answer": {"status": 404, "code": "ErrorItemNotFound"}});
    let gone = json!({"route": "/v1.0/me/calendars/*/events", "nth": [1], "do": answer});
    bench.faults(&[gone]).await;
    assert_eq!(bench.put_in("work", &meeting(&[GUEST], "")).await.status, 201);
    bench.retry_until_done().await;
    assert_eq!(bench.told().await, [format!("request {GUEST}: 2027-01-11T09:00")]);
    let all = bench.calendar_requests().await;
    let again = all.iter().filter(|row| row.starts_with("POST calendars ")).count();
    assert_eq!(again, 2, "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_calendar_is_made_where_that_is_switched_off() {
    let mut bench = Bench::start_with(|config| config.caldav.make_calendars = false).await;
    let line = format!("MKCALENDAR {HOME}work/");
    let answer = bench.ask(&line, &[], &named("Work")).await;
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("calendar-collection-location-ok"), "{}", answer.text());
    assert!(answer.text().contains("caldav.make_calendars"), "{}", answer.text());
}
