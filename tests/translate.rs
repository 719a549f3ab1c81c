//! An iCalendar event becomes Graph's, property by property, or is refused in words.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use jiff::Timestamp;
use jiff::civil::{Weekday, date};
use jiff::tz::{self, TimeZone};
use postbridge::account::Address;
use postbridge::graph::convert::{Content, Settings, Untranslatable, attendees, event_body};
use postbridge::graph::difference::{changes, same};
use postbridge::graph::resource::{DuplicateTransaction, Event, EventBody, FileAttachment};
use postbridge::ical::{
    Attendee, Class, Frequency, Moment, Occurrence, PartStat, Recurrence, Role, Rule, RuleEnd,
    ScheduleAgent, ShowAs, Status, Zone,
};
use postbridge::recurrence::instances;
use serde_json::{Value, json};

mod events;
use events::{occurrence, zoned};

const BERLIN: &str = "W. Europe Standard Time";

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn translate(occurrence: &Occurrence) -> Result<EventBody, Untranslatable> {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let settings = Settings { zone: &zone, zone_name: BERLIN, online_meetings: false };
    event_body(occurrence, &Content::choose(None, None, occurrence), &settings)
}

fn json(occurrence: &Occurrence) -> Value {
    serde_json::to_value(translate(occurrence).unwrap()).unwrap()
}

fn interview() -> Occurrence {
    occurrence(zoned(date(2026, 11, 24).at(9, 0, 0, 0), "Europe/Berlin"), None)
}

fn weekly(by_day: Vec<(i8, Weekday)>, end: RuleEnd) -> Option<Recurrence> {
    let rule = Rule {
        frequency: Frequency::Weekly,
        interval: 1,
        end,
        by_month: vec![],
        by_month_day: vec![],
        by_day,
        by_set_pos: vec![],
        week_start: Weekday::Monday,
        others: false,
    };
    Some(Recurrence { rule: Some(rule), rdates: vec![], exdates: vec![] })
}

fn attendee(text: &str, role: Role) -> Attendee {
    Attendee {
        address: address(text),
        name: None,
        role,
        rsvp: None,
        partstat: PartStat::NeedsAction,
        agent: ScheduleAgent::Server,
    }
}

#[test]
fn what_says_nothing_is_a_busy_slot_without_a_reminder() {
    assert_eq!(
        json(&interview()),
        json!({
            "subject": "Interview",
            "body": {"contentType": "text", "content": ""},
            "start": {"dateTime": "2026-11-24T09:00:00", "timeZone": BERLIN},
            "end": {"dateTime": "2026-11-24T09:30:00", "timeZone": BERLIN},
            "isAllDay": false,
            "location": {"displayName": ""},
            "isReminderOn": false,
            "showAs": "busy",
            "sensitivity": "normal",
            "importance": "normal",
            "categories": [],
            "responseRequested": true,
            "allowNewTimeProposals": true,
        })
    );
}

#[test]
fn every_property_with_a_counterpart_has_it() {
    let mut event = interview();
    event.description = Some("Bring your portfolio.".to_owned());
    event.location = Some("Room 4.12\r\nfourth floor".to_owned());
    event.url = Some("https://ats.example/i/4711".to_owned());
    event.show_as = Some(ShowAs::OutOfOffice);
    event.class = Class::Confidential;
    event.priority = Some(2);
    event.categories = ["Hiring", "hiring", " Berlin "].map(str::to_owned).to_vec();
    event.reminder_minutes = Some(30);
    event.counter_allowed = false;
    event.online_meeting = true;
    let tagged = translate(&event).unwrap().tagged("t-1", "interview-4711@ats.example", "mark");
    assert_eq!(
        serde_json::to_value(tagged).unwrap(),
        json!({
            "subject": "Interview",
            "body": {
                "contentType": "text",
                "content": "Bring your portfolio.\r\n\r\nhttps://ats.example/i/4711",
            },
            "start": {"dateTime": "2026-11-24T09:00:00", "timeZone": BERLIN},
            "end": {"dateTime": "2026-11-24T09:30:00", "timeZone": BERLIN},
            "isAllDay": false,
            "location": {"displayName": "Room 4.12 fourth floor"},
            "isReminderOn": true,
            "reminderMinutesBeforeStart": 30,
            "showAs": "oof",
            "sensitivity": "confidential",
            "importance": "high",
            "categories": ["Hiring", "Berlin"],
            "responseRequested": true,
            "allowNewTimeProposals": false,
            "isOnlineMeeting": true,
            "onlineMeetingProvider": "teamsForBusiness",
            "transactionId": "t-1",
            "singleValueExtendedProperties": [{
                "id": "String {7fcb7c45-856b-432c-89e7-5fd4ea4cf2a0} Name PostbridgeUid",
                "value": "interview-4711@ats.example",
            }, {
                "id": "String {7fcb7c45-856b-432c-89e7-5fd4ea4cf2a0} Name PostbridgeContent",
                "value": "mark",
            }],
        })
    );
    event.priority = Some(9);
    event.show_as = None;
    event.status = Status::Tentative;
    let value = json(&event);
    assert_eq!((&value["importance"], &value["showAs"]), (&json!("low"), &json!("tentative")));
}

#[test]
fn attendees_are_who_they_were_and_the_organizer_is_none() {
    let mut event = interview();
    event.organizer = Some(address("adele.vance@contoso.example"));
    event.attendees = vec![
        Attendee {
            name: Some("Alex\r\nWilber".to_owned()),
            ..attendee("alex@a.example", Role::Required)
        },
        attendee("Adele.Vance@contoso.example", Role::Required),
        attendee("meg@a.example", Role::Optional),
        attendee("room@contoso.example", Role::Resource),
        attendee("ALEX@a.example", Role::Optional),
        attendee("hr@contoso.example", Role::Required),
    ];
    let invited = attendees(&event, &address("hr@contoso.example")).unwrap();
    assert_eq!(
        serde_json::to_value(invited).unwrap(),
        json!([
            {"emailAddress": {"address": "alex@a.example", "name": "Alex Wilber"}, "type": "required"},
            {"emailAddress": {"address": "meg@a.example"}, "type": "optional"},
            {"emailAddress": {"address": "room@contoso.example"}, "type": "resource"},
        ])
    );
    event.attendees =
        (0..501).map(|n| attendee(&format!("a{n}@a.example"), Role::Required)).collect();
    let refused = attendees(&event, &address("hr@contoso.example")).unwrap_err();
    assert!(refused.why.contains("501") && !refused.spreadable, "{refused}");
}

#[test]
fn whole_days_are_from_midnight_to_midnight_in_the_account_s_zone() {
    let value = json(&occurrence(Moment::Date(date(2026, 3, 29)), None));
    assert_eq!(value["isAllDay"], true);
    assert_eq!(value["start"], json!({"dateTime": "2026-03-29T00:00:00", "timeZone": BERLIN}));
    assert_eq!(value["end"], json!({"dateTime": "2026-03-30T00:00:00", "timeZone": BERLIN}));
    let mut backwards = occurrence(Moment::Date(date(2026, 3, 29)), None);
    backwards.end = backwards.start.clone();
    assert_eq!(translate(&backwards).unwrap_err().why, "it ends before it begins");
}

#[test]
fn a_time_without_a_zone_is_in_the_account_s() {
    let floating = occurrence(Moment::Floating(date(2026, 7, 1).at(9, 0, 0, 0)), None);
    let start = &json(&floating)["start"];
    assert_eq!(start, &json!({"dateTime": "2026-07-01T09:00:00", "timeZone": BERLIN}));
}

#[test]
fn answers_are_asked_for_unless_it_is_said_that_none_are_wanted() {
    let asks = |wanted: &[Option<bool>]| {
        let mut event = interview();
        event.organizer = Some(address("adele.vance@contoso.example"));
        // What the organizer's own entry says is for nobody.
        event.attendees = vec![Attendee {
            rsvp: wanted.first().copied().flatten().map(|wanted| !wanted),
            ..attendee("Adele.Vance@contoso.example", Role::Required)
        }];
        for (n, rsvp) in wanted.iter().enumerate() {
            let address = format!("candidate{n}@fabrikam.example");
            event.attendees.push(Attendee { rsvp: *rsvp, ..attendee(&address, Role::Required) });
        }
        json(&event)["responseRequested"] == true
    };
    assert!(asks(&[]));
    assert!(asks(&[None, None]));
    assert!(asks(&[Some(false), Some(true)]));
    assert!(asks(&[Some(true), None]));
    assert!(!asks(&[Some(false)]));
    assert!(!asks(&[Some(false), Some(false)]));
    // Who says nothing may well mean to answer.
    assert!(asks(&[None, Some(false)]));
}

#[test]
fn a_time_in_the_gap_of_the_clock_is_the_one_that_exists() {
    // RFC 5545 §3.3.5: 02:30 with the offset before the gap is 03:30 after it.
    let mut event = occurrence(zoned(date(2026, 3, 28).at(2, 30, 0, 0), "Europe/Berlin"), None);
    event.start = zoned(date(2026, 3, 29).at(2, 30, 0, 0), "Europe/Berlin");
    event.end = zoned(date(2026, 3, 29).at(4, 0, 0, 0), "Europe/Berlin");
    assert_eq!(json(&event)["start"]["dateTime"], "2026-03-29T03:30:00");
}

#[test]
fn a_series_that_begins_where_the_clock_changes_is_refused() {
    let day = date(2026, 3, 29);
    let at = |hour, minute| zoned(day.at(hour, minute, 0, 0), "Europe/Berlin");
    let nightly = weekly(vec![], RuleEnd::Never);
    // Begins in the gap; lasts over it; and not at all.
    for (start, end, taken) in
        [(at(2, 30), at(4, 0), false), (at(1, 30), at(3, 30), false), (at(3, 30), at(4, 0), true)]
    {
        let mut event = occurrence(start, nightly.clone());
        event.end = end;
        match translate(&event) {
            Ok(_) => assert!(taken),
            Err(refused) => {
                assert!(!taken && refused.spreadable, "{refused}");
                assert!(refused.why.contains("where the clock changes"), "{refused}");
            }
        }
    }
}

#[test]
fn a_zone_that_windows_does_not_have_is_refused_not_guessed() {
    let rules = TimeZone::fixed(tz::Offset::from_seconds(4_620).unwrap());
    let zone = Zone { tzid: "Local Mean Time".to_owned(), rules };
    let start = Moment::Zoned { local: date(2026, 1, 1).at(9, 0, 0, 0), zone };
    let refused = translate(&occurrence(start, None)).unwrap_err();
    assert!(refused.why.contains("Local Mean Time"), "{refused}");
}

#[test]
fn a_series_has_its_pattern_before_its_range() {
    let start = zoned(date(2026, 11, 24).at(9, 0, 0, 0), "Europe/Berlin");
    // The instant is the 9th in Berlin, but before nine: the last is the 8th's.
    let until = RuleEnd::UntilInstant("2026-12-08T23:30:00Z".parse().unwrap());
    let event = occurrence(start, weekly(vec![(0, Weekday::Tuesday)], until));
    let text = serde_json::to_string(&translate(&event).unwrap()).unwrap();
    let expected = concat!(
        r#""recurrence":{"pattern":{"type":"weekly","interval":1,"daysOfWeek":["tuesday"],"#,
        r#""firstDayOfWeek":"monday"},"range":{"type":"endDate","startDate":"2026-11-24","#,
        r#""endDate":"2026-12-08"}}"#
    );
    assert!(text.contains(expected), "{text}");
}

#[test]
fn what_exchange_has_no_pattern_for_is_refused_and_could_be_spread() {
    let start = || zoned(date(2026, 1, 5).at(9, 0, 0, 0), "Europe/Berlin");
    let refused = |edit: &dyn Fn(&mut Recurrence)| {
        let mut recurrence = weekly(vec![], RuleEnd::Never).unwrap();
        edit(&mut recurrence);
        let refused = translate(&occurrence(start(), Some(recurrence))).unwrap_err();
        assert!(refused.spreadable);
        refused.why
    };
    let rule = |edit: &dyn Fn(&mut Rule)| refused(&|r| edit(r.rule.as_mut().unwrap()));
    assert!(refused(&|r| r.rdates.push(start())).contains("RDATE"));
    assert!(rule(&|r| r.others = true).contains("below the day"));
    assert!(rule(&|r| r.by_day = vec![(0, Weekday::Friday)]).contains("own start"));
    assert!(rule(&|r| r.interval = 1_000).contains("INTERVAL"));
    assert!(rule(&|r| r.interval = 0).contains("INTERVAL"));
    assert!(rule(&|r| r.end = RuleEnd::After(0)).contains("COUNT"));
    let past = RuleEnd::UntilDate(date(2026, 1, 4));
    assert!(rule(&|r| r.end = past).contains("ends before"));
    let monthly = |edit: &dyn Fn(&mut Rule)| {
        rule(&|r| {
            r.frequency = Frequency::Monthly;
            edit(r);
        })
    };
    let why = monthly(&|r| r.by_day = vec![(1, Weekday::Monday), (1, Weekday::Thursday)]);
    assert!(why.contains("several weekdays of a month, each counted"), "{why}");
    assert!(monthly(&|r| r.by_month_day = vec![5, 20]).contains("several days of a month"));
    assert!(monthly(&|r| r.by_month_day = vec![-27]).contains("from its end"));
    let yearly = rule(&|r| {
        r.frequency = Frequency::Yearly;
        r.by_month = vec![1, 7];
    });
    assert!(yearly.contains("several months"), "{yearly}");
}

#[test]
fn a_series_that_cannot_be_kept_is_spread_into_single_events() {
    let mut recurrence =
        weekly(vec![(1, Weekday::Monday), (1, Weekday::Thursday)], RuleEnd::After(4));
    recurrence.as_mut().unwrap().rule.as_mut().unwrap().frequency = Frequency::Monthly;
    let start = zoned(date(2026, 10, 1).at(9, 0, 0, 0), "Europe/Berlin");
    let mut event = events::event(start.clone(), recurrence);
    assert!(translate(event.master.as_ref().unwrap()).unwrap_err().spreadable);
    let later = zoned(date(2026, 10, 5).at(9, 0, 0, 0), "Europe/Berlin");
    events::change(&mut event, later, |changed| changed.summary = "Moved".to_owned());
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    let found = instances(&event, &berlin, Timestamp::MIN, Timestamp::MAX, 100).unwrap();
    let singles: Vec<(String, String)> = found
        .iter()
        .map(|instance| translate(&instance.single(&event).unwrap()).unwrap())
        .map(|body| (body.start.date_time, body.subject))
        .collect();
    let single = |start: &str, subject: &str| (start.to_owned(), subject.to_owned());
    assert_eq!(
        singles,
        [
            single("2026-10-01T09:00:00", "Interview"),
            single("2026-10-05T09:00:00", "Moved"),
            single("2026-11-02T09:00:00", "Interview"),
            single("2026-11-05T09:00:00", "Interview"),
        ]
    );
}

#[test]
fn a_day_that_short_months_lack_is_refused_only_where_it_matters() {
    let on_the = |month: i8, day: i8, frequency, interval, end| {
        let mut recurrence = weekly(vec![], end).unwrap();
        let rule = recurrence.rule.as_mut().unwrap();
        (rule.frequency, rule.interval) = (frequency, interval);
        let start = zoned(date(2028, month, day).at(9, 0, 0, 0), "Europe/Berlin");
        translate(&occurrence(start, Some(recurrence))).map(|body| body.recurrence.is_some())
    };
    use Frequency::{Monthly, Yearly};
    let never = RuleEnd::Never;
    assert!(on_the(1, 28, Monthly, 1, never).is_ok());
    assert!(on_the(1, 29, Monthly, 1, never).is_err());
    assert!(on_the(1, 31, Monthly, 1, never).is_err());
    // Every other month twice is July and September; once more is November.
    assert!(on_the(7, 31, Monthly, 1, RuleEnd::After(2)).is_ok());
    assert!(on_the(7, 31, Monthly, 1, RuleEnd::After(3)).is_err());
    assert!(on_the(1, 31, Monthly, 12, never).is_ok());
    assert!(on_the(2, 29, Yearly, 1, never).is_err());
    assert!(on_the(2, 29, Yearly, 4, RuleEnd::After(5)).is_ok());
    // 2100 is no leap year.
    assert!(on_the(2, 29, Yearly, 4, never).is_err());
    // It ends before the short month does; or with it, where Exchange would put one more.
    assert!(on_the(1, 31, Monthly, 1, RuleEnd::UntilDate(date(2028, 2, 28))).is_ok());
    assert!(on_the(1, 31, Monthly, 1, RuleEnd::UntilDate(date(2028, 2, 29))).is_err());
}

#[test]
fn the_text_is_the_mail_s_html_before_its_text_before_the_object_s() {
    let mut event = interview();
    event.description = Some("plain".to_owned());
    let choose = |html, text, event: &Occurrence| match Content::choose(html, text, event) {
        Content::Html(text) => format!("html {text}"),
        Content::Text(text) => format!("text {text}"),
    };
    assert_eq!(choose(Some("<p>a"), Some("b"), &event), "html <p>a");
    assert_eq!(choose(Some(" "), Some("b"), &event), "text b");
    assert_eq!(choose(None, None, &event), "text plain");
    event.html = Some("<b>alt</b>".to_owned());
    assert_eq!(choose(None, None, &event), "html <b>alt</b>");
}

#[test]
fn a_link_is_the_place_of_an_event_that_has_none_and_is_named_in_the_text_otherwise() {
    let mut event = interview();
    event.html = Some("<html><body><p>Hello</p></BODY></html>".to_owned());
    event.conference = Some("https://meet.example/a?b=1&c=2".to_owned());
    event.url = Some("javascript:alert('1')".to_owned());
    let value = json(&event);
    assert_eq!(value["location"]["displayName"], "https://meet.example/a?b=1&c=2");
    assert_eq!(
        value["body"]["content"],
        "<html><body><p>Hello</p><p>javascript:alert(&#39;1&#39;)</p></BODY></html>"
    );
    event.location = Some("Room 1".to_owned());
    event.url = None;
    let content = json(&event)["body"]["content"].as_str().unwrap().to_owned();
    let link = "<a href=\"https://meet.example/a?b=1&amp;c=2\">";
    assert!(content.contains(link), "{content}");
}

#[test]
fn a_subject_is_one_line_of_255_characters_and_a_body_has_no_controls() {
    let mut event = interview();
    event.summary = format!("a\r\nb\0{}", "ü".repeat(300));
    event.description = Some("one\r\ntwo\0\u{7}\tthree".to_owned());
    let value = json(&event);
    let subject = value["subject"].as_str().unwrap();
    assert!(subject.starts_with("a büüü") && subject.ends_with("ü…"), "{subject}");
    assert_eq!(subject.chars().count(), 255);
    assert_eq!(value["body"]["content"], "one\r\ntwo\tthree");
}

#[test]
fn a_meeting_is_online_if_it_asks_or_if_the_account_wants_all_of_them_so() {
    let zone = TimeZone::UTC;
    let settings = Settings { zone: &zone, zone_name: "UTC", online_meetings: true };
    let mut event = interview();
    let online = |event: &Occurrence| {
        event_body(event, &Content::Text(""), &settings).unwrap().is_online_meeting
    };
    // Nobody to meet.
    assert_eq!(online(&event), None);
    event.attendees.push(attendee("alex@a.example", Role::Required));
    assert_eq!(online(&event), Some(true));
}

fn patch(old: &EventBody, new: &EventBody) -> Value {
    serde_json::to_value(changes(old, new)).unwrap()
}

#[test]
fn what_only_looks_different_is_no_change() {
    let mut event = interview();
    event.description = Some("one\r\ntwo  \r\n".to_owned());
    event.categories = vec!["A".to_owned(), "B".to_owned()];
    event.attendees =
        vec![attendee("a@a.example", Role::Required), attendee("b@a.example", Role::Optional)];
    let whole = |event: &Occurrence| {
        let invited = attendees(event, &address("adele.vance@contoso.example")).unwrap();
        EventBody { attendees: Some(invited), ..translate(event).unwrap() }
    };
    let old = whole(&event).tagged("t-1", "uid", "mark");
    event.description = Some("one\ntwo".to_owned());
    event.categories.reverse();
    event.attendees.reverse();
    event.attendees[1].address = address("A@A.example");
    event.counter_allowed = false;
    let new = whole(&event).tagged("t-2", "uid", "mark");
    assert!(same(&old, &new));
    assert_eq!(patch(&old, &new), json!({}));
    // Not spoken of is not changed.
    assert!(same(&old, &translate(&event).unwrap()));
    assert!(same(&translate(&event).unwrap(), &new));
}

#[test]
fn one_attendee_more_is_a_patch_of_attendees_alone() {
    let old = EventBody { attendees: Some(vec![]), ..translate(&interview()).unwrap() };
    let mut event = interview();
    event.attendees.push(attendee("alex@a.example", Role::Required));
    let invited = attendees(&event, &address("adele.vance@contoso.example")).unwrap();
    let new = EventBody { attendees: Some(invited), ..translate(&event).unwrap() };
    assert_eq!(changes(&old, &new).names().collect::<Vec<_>>(), ["attendees"]);
}

#[test]
fn only_what_differs_is_sent_and_times_go_together() {
    let old = translate(&interview()).unwrap();
    let mut event = interview();
    event.summary = "Second interview".to_owned();
    assert_eq!(patch(&old, &translate(&event).unwrap()), json!({"subject": "Second interview"}));
    event = interview();
    event.end = zoned(date(2026, 11, 24).at(10, 0, 0, 0), "Europe/Berlin");
    assert_eq!(
        patch(&old, &translate(&event).unwrap()),
        json!({
            "start": {"dateTime": "2026-11-24T09:00:00", "timeZone": BERLIN},
            "end": {"dateTime": "2026-11-24T10:00:00", "timeZone": BERLIN},
            "isAllDay": false,
        })
    );
}

#[test]
fn a_series_goes_whole_and_its_end_is_a_null() {
    let days = vec![(0, Weekday::Tuesday)];
    let series =
        translate(&Occurrence { recurrence: weekly(days.clone(), RuleEnd::Never), ..interview() })
            .unwrap();
    let counted =
        translate(&Occurrence { recurrence: weekly(days, RuleEnd::After(3)), ..interview() })
            .unwrap();
    let changed = patch(&series, &counted);
    assert_eq!(changed["recurrence"]["range"]["type"], "numbered");
    assert_eq!(changed["recurrence"]["pattern"]["type"], "weekly");
    assert_eq!(changed.as_object().unwrap().len(), 1);
    let single = translate(&interview()).unwrap();
    assert_eq!(patch(&series, &single), json!({"recurrence": null}));
    // A reminder that is gone is switched off; there is no number to go with it.
    let reminded = translate(&Occurrence { reminder_minutes: Some(15), ..interview() }).unwrap();
    assert_eq!(patch(&reminded, &single), json!({"isReminderOn": false}));
}

#[test]
fn graph_s_answers_are_read() {
    let event: Event = serde_json::from_value(json!({
        "@odata.context": "https://graph.example/v1.0/$metadata#users('a')/events/$entity",
        "@odata.etag": "W/\"k1\"",
        "id": "AAMk=", "changeKey": "k1", "iCalUId": "040000008200E0", "type": "exception",
        "originalStart": "2026-11-24T08:00:00Z", "seriesMasterId": "AAMm=",
        "start": {"dateTime": "2026-11-24T08:00:00.0000000", "timeZone": "UTC"},
        "attendees": [{
            "type": "required",
            "status": {"response": "accepted", "time": "2026-11-20T08:00:00Z"},
            "emailAddress": {"name": "Alex", "address": "alex@a.example"},
        }],
        "somethingNew": {"a": 1},
    }))
    .unwrap();
    assert_eq!(event.i_cal_u_id.as_deref(), Some("040000008200E0"));
    assert_eq!(event.etag.as_deref(), Some("W/\"k1\""));
    assert_eq!(event.original_start, Some("2026-11-24T08:00:00Z".parse().unwrap()));
    let status = event.attendees[0].status.as_ref().unwrap();
    assert_eq!(status.response.as_deref(), Some("accepted"));

    let duplicate = |body: &str| DuplicateTransaction::of(body.as_bytes());
    let known = r#"{"error":{"code":"ErrorDuplicateTransactionId","message":"m",
        "@event.existingEventId":"AAMk="}}"#;
    assert_eq!(duplicate(known).unwrap().existing_event_id.as_deref(), Some("AAMk="));
    let bare = r#"{"error":{"code":"ErrorDuplicateTransactionId","message":"m"}}"#;
    assert_eq!(duplicate(bare).unwrap().existing_event_id, None);
    assert_eq!(duplicate(r#"{"error":{"code":"ErrorItemNotFound"}}"#), None);
    assert_eq!(duplicate("<html>"), None);
}

#[test]
fn a_file_goes_with_an_event_in_base64() {
    let octets = [0, 255, 13, 10];
    let file = FileAttachment::new("agenda.pdf", Some("application/pdf"), &octets);
    assert_eq!(
        serde_json::to_value(file).unwrap(),
        json!({
            "@odata.type": "#microsoft.graph.fileAttachment",
            "name": "agenda.pdf",
            "contentType": "application/pdf",
            "contentBytes": "AP8NCg==",
        })
    );
}
