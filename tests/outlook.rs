//! The calendar of what went through the bridge: mails show in it, and what happens in Outlook comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;

use common::{COLLEAGUE, TestBridge, USER, id_in};
use postbridge::account::Account;
use postbridge::store::calendar::Since;
use postbridge::store::calendars::DEFAULT;
use postbridge::store::spool::State;
use reqwest::Method;
use serde_json::{Value, json};

const GUEST: &str = "kim.akers@fabrikam.example";
const UID: &str = "interview-7@ats.example";

struct Bench {
    bridge: TestBridge,
    account: Arc<Account>,
}

impl Bench {
    async fn start() -> Bench {
        let bridge = TestBridge::start().await;
        let store = &bridge.running.control.store;
        let account = store.account_by_login(USER).await.unwrap().unwrap();
        Bench { bridge, account }
    }

    /// Hands in a mail with these lines in its VEVENT, and waits until it is dealt with.
    async fn mail(&self, method: &str, to: &[&str], lines: &str) {
        let message = format!(
            "From: {USER}\nTo: {}\nSubject: Interview\nMIME-Version: 1.0\n\
             Content-Type: text/calendar; method={method}; charset=utf-8\n\n\
             BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//ATS//EN\nMETHOD:{method}\nBEGIN:VEVENT\nUID:{UID}\n\
             DTSTAMP:20261123T080000Z\nORGANIZER:mailto:{USER}\nSUMMARY:Interview\nX-ATS-JOB:4711\n\
             {lines}END:VEVENT\nEND:VCALENDAR\n",
            to.join(", ")
        );
        let id = id_in(&self.bridge.submit(to, &message).await.unwrap());
        self.bridge.once(id, State::Sent).await;
    }

    /// A meeting on 15 January, 10:00 in Berlin, with both.
    async fn invite(&self) {
        let lines = format!(
            "SEQUENCE:0\nDTSTART;TZID=Europe/Berlin:20270115T100000\nDURATION:PT1H\n\
             ATTENDEE;RSVP=TRUE:mailto:{COLLEAGUE}\nATTENDEE;RSVP=TRUE:mailto:{GUEST}\n"
        );
        self.mail("REQUEST", &[COLLEAGUE, GUEST], &lines).await;
    }

    /// The object and its Schedule-Tag; `None`: the calendar does not have it.
    async fn object(&self) -> Option<(String, String)> {
        let store = &self.bridge.running.control.store;
        let (_, object) = store.object_of_uid(self.account.id, UID).await.unwrap()?;
        Some((String::from_utf8(object.octets).unwrap(), object.schedule_tag))
    }

    async fn text(&self) -> String {
        self.object().await.expect("the calendar does not have it").0
    }

    async fn since(&self, change: u64) -> Since {
        let store = &self.bridge.running.control.store;
        store.changed_since(self.account.id, DEFAULT, Some(change), 100).await.unwrap().unwrap()
    }

    /// One look at Outlook; how many invites were changed by it.
    async fn look(&self) -> usize {
        let now = "2026-12-01T00:00:00Z".parse().unwrap();
        self.bridge.running.watch.look(now, None).await.unwrap()
    }

    /// The event in this user's calendar.
    async fn event(&self, user: &str) -> Value {
        let window = "startDateTime=2027-01-01T00:00:00Z&endDateTime=2027-12-31T00:00:00Z&$top=200";
        let path = format!("/calendarView?{window}");
        let view = self.bridge.by_hand(user, Method::GET, &path, json!({})).await;
        view["value"][0].clone()
    }

    async fn change(&self, user: &str, method: Method, below: &str, body: Value) {
        let id = self.event(user).await["id"].as_str().unwrap().to_owned();
        self.bridge.by_hand(user, method, &format!("/events/{id}{below}"), body).await;
    }

    /// The invitations mailed, as `kind attendee`.
    async fn invitations(&self) -> Vec<String> {
        let ledger = self.bridge.ledger().await;
        let rows = ledger["invitations"].as_array().unwrap().clone();
        let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        rows.iter().map(|row| format!("{} {}", text(row, "kind"), text(row, "attendee"))).collect()
    }
}

/// Lines of an object that hold this.
fn lines<'t>(text: &'t str, what: &str) -> Vec<&'t str> {
    text.lines().filter(|line| line.contains(what)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_by_mail_is_in_the_calendar_as_its_tool_wrote_it() {
    let bench = Bench::start().await;
    assert!(bench.object().await.is_none());
    bench.invite().await;
    let text = bench.text().await;
    assert!(text.contains("X-ATS-JOB:4711"), "{text}");
    assert!(!text.contains("METHOD"), "{text}");
    let moved = format!(
        "SEQUENCE:1\nDTSTART;TZID=Europe/Berlin:20270116T100000\nDURATION:PT1H\n\
         ATTENDEE;RSVP=TRUE:mailto:{GUEST}\n"
    );
    bench.mail("REQUEST", &[GUEST], &moved).await;
    let text = bench.text().await;
    assert!(text.contains("20270116T100000"), "{text}");
    assert_eq!(lines(&text, "ATTENDEE").len(), 2, "whoever was invited is on it still: {text}");
    let before = bench.since(0).await;
    assert_eq!(before.objects.len(), 1);
    bench.mail("CANCEL", &[COLLEAGUE, GUEST], "SEQUENCE:2\nSTATUS:CANCELLED\n").await;
    assert!(bench.object().await.is_none());
    let after = bench.since(before.change).await;
    assert_eq!(
        after.objects,
        [(before.objects[0].0.clone(), None)],
        "who synchronises hears of it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_comes_back_into_the_object_and_nothing_else_of_it_changes() {
    let bench = Bench::start().await;
    bench.invite().await;
    assert_eq!(bench.look().await, 0, "nobody has answered");
    let (before, tag) = bench.object().await.unwrap();
    let change = bench.since(0).await.change;
    let answer = json!({ "sendResponse": true });
    bench.change(COLLEAGUE, Method::POST, "/accept", answer).await;
    assert_eq!(bench.look().await, 1);
    let (after, tag_after) = bench.object().await.unwrap();
    let accepted = lines(&after, COLLEAGUE);
    assert!(after.contains("PARTSTAT=ACCEPTED"), "{after}");
    assert_eq!(accepted.len(), 1);
    let rest = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|l| !l.contains("ATTENDEE") && !l.starts_with(' '))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(rest(&before), rest(&after));
    assert_eq!(tag, tag_after, "RFC 6638 §3.2.10");
    assert_eq!(bench.since(change).await.objects.len(), 1);
    assert_eq!(bench.look().await, 0, "once");
    let invited = bench.invitations().await;
    let requests = invited.iter().filter(|row| !row.starts_with("accept")).count();
    assert_eq!(requests, 2, "looking mails nobody: {invited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_moved_in_outlook_is_moved_in_the_calendar_and_a_later_mail_moves_it_on() {
    let bench = Bench::start().await;
    bench.invite().await;
    let tag = bench.object().await.unwrap().1;
    let at = |time: &str| json!({ "dateTime": time, "timeZone": "UTC" });
    let moved = json!({ "start": at("2027-01-20T13:00:00"), "end": at("2027-01-20T14:30:00") });
    bench.change(USER, Method::PATCH, "", moved).await;
    assert_eq!(bench.look().await, 1);
    let (text, tag_after) = bench.object().await.unwrap();
    assert!(text.contains("DTSTART;TZID=Europe/Berlin:20270120T140000"), "{text}");
    assert!(text.contains("20270120T153000"), "{text}");
    assert_ne!(tag, tag_after);
    let history = bench.bridge.running.control.store.invite_history(bench.account.id, UID).await;
    let (_, history) = history.unwrap().unwrap();
    assert_eq!(history.last().unwrap().entry, "outlook");
    assert!(history.last().unwrap().why.starts_with("moved in Outlook"), "{history:?}");
    // The tool means the time it says.
    let again = format!(
        "SEQUENCE:1\nDTSTART;TZID=Europe/Berlin:20270115T100000\nDURATION:PT1H\n\
         ATTENDEE;RSVP=TRUE:mailto:{GUEST}\n"
    );
    bench.mail("REQUEST", &[GUEST], &again).await;
    let start = bench.event(USER).await["start"]["dateTime"].as_str().unwrap().to_owned();
    assert!(start.starts_with("2027-01-15T09:00"), "{start}");
    assert_eq!(bench.look().await, 0, "all agree");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_in_outlook_is_gone_and_its_uid_can_be_invited_anew() {
    let bench = Bench::start().await;
    bench.invite().await;
    let change = bench.since(0).await.change;
    bench.change(USER, Method::DELETE, "", json!({})).await;
    assert_eq!(bench.look().await, 1);
    assert!(bench.object().await.is_none());
    assert_eq!(bench.since(change).await.objects.len(), 1);
    let again = format!(
        "SEQUENCE:1\nDTSTART;TZID=Europe/Berlin:20270118T100000\nDURATION:PT1H\n\
         ATTENDEE;RSVP=TRUE:mailto:{GUEST}\n"
    );
    bench.mail("REQUEST", &[GUEST], &again).await;
    assert!(bench.text().await.contains("20270118T100000"));
    assert_eq!(bench.look().await, 0);
}

impl Bench {
    /// The occurrences in the user's calendar, in order.
    async fn occurrences(&self, user: &str) -> Vec<Value> {
        let window = "startDateTime=2027-01-01T00:00:00Z&endDateTime=2027-12-31T00:00:00Z&$top=200";
        let path = format!("/calendarView?{window}");
        let view = self.bridge.by_hand(user, Method::GET, &path, json!({})).await;
        view["value"].as_array().unwrap().clone()
    }

    async fn starts(&self) -> Vec<String> {
        let start = |one: &Value| one["start"]["dateTime"].as_str().unwrap()[..16].to_owned();
        let mut starts: Vec<String> = self.occurrences(USER).await.iter().map(start).collect();
        starts.sort();
        starts
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_occurrence_that_is_moved_or_deleted_in_outlook_is_so_in_the_calendar() {
    for (whole_days, start, moved_to, object_says) in [
        (
            false,
            "DTSTART;TZID=Europe/Berlin:20270111T100000\nDURATION:PT1H\n",
            ["2027-01-12T14:00:00", "2027-01-12T15:30:00"],
            ["EXDATE;TZID=Europe/Berlin:20270114T100000", "20270112T150000"],
        ),
        (
            true,
            "DTSTART;VALUE=DATE:20270111\nDTEND;VALUE=DATE:20270112\n",
            ["2027-01-20T00:00:00", "2027-01-22T00:00:00"],
            ["EXDATE;VALUE=DATE:20270114", "DTSTART;VALUE=DATE:20270120"],
        ),
    ] {
        let bench = Bench::start().await;
        let event = format!(
            "SEQUENCE:0\n{start}RRULE:FREQ=DAILY;COUNT=5\nATTENDEE;RSVP=TRUE:mailto:{GUEST}\n"
        );
        bench.mail("REQUEST", &[GUEST], &event).await;
        assert_eq!(bench.look().await, 0, "as it was made");
        let invited = bench.invitations().await.len();
        let all = bench.occurrences(USER).await;
        let path = |nth: usize| format!("/events/{}", all[nth]["id"].as_str().unwrap());
        let zone = all[1]["start"]["timeZone"].clone();
        let at = |time: &str| json!({ "dateTime": time, "timeZone": zone });
        let moved = json!({ "start": at(moved_to[0]), "end": at(moved_to[1]) });
        // Whole days cannot pass a neighbour.
        let nth = if whole_days { 4 } else { 1 };
        bench.bridge.by_hand(USER, Method::PATCH, &path(nth), moved).await;
        bench.bridge.by_hand(USER, Method::DELETE, &path(3), json!({})).await;
        let stands = bench.starts().await;
        let told = bench.invitations().await.len() - invited;
        assert_eq!(told, 2, "Exchange tells of both");
        assert_eq!(bench.look().await, 1);
        let text = bench.text().await;
        for line in object_says {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert_eq!(lines(&text, "RECURRENCE-ID").len(), 1, "{text}");
        assert_eq!(bench.look().await, 0, "once");
        // The tool changes something else: what was done in Outlook stays, and nobody hears of it anew.
        let again = event.replace("SEQUENCE:0", "SEQUENCE:1\nLOCATION:Room 7");
        bench.mail("REQUEST", &[GUEST], &again).await;
        assert_eq!(bench.starts().await, stands);
        assert_eq!(bench.look().await, 0, "all agree");
    }
}
