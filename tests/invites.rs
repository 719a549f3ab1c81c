//! An invite by mail becomes an event, is updated, and is cancelled: mails in, ledger out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{COLLEAGUE, TestBridge, USER, id_in};
use postbridge::config::{AccountSettings, InvitePolicy, RecurrencePolicy};
use postbridge::store::spool::{EntryId, State};
use reqwest::Method;
use serde_json::{Value, json};

const GUEST: &str = "kim.akers@fabrikam.example";

/// A mail with an invite, as an applicant-tracking system writes it.
struct Invite<'i> {
    method: &'i str,
    uid: &'i str,
    sequence: u32,
    start: &'i str,
    attendees: &'i [&'i str],
    extra: &'i str,
    to: &'i [&'i str],
}

impl<'i> Invite<'i> {
    fn request(uid: &'i str, attendees: &'i [&'i str]) -> Invite<'i> {
        Invite {
            method: "REQUEST",
            uid,
            sequence: 0,
            start: "20270115T100000",
            attendees,
            extra: "",
            to: attendees,
        }
    }

    fn mail(&self) -> String {
        let attendees: String = self
            .attendees
            .iter()
            .map(|a| format!("ATTENDEE;ROLE=REQ-PARTICIPANT;RSVP=TRUE:mailto:{a}\n"))
            .collect();
        let Invite { method, uid, sequence, start, extra, .. } = self;
        format!(
            "From: {USER}\nTo: {}\nSubject: Interview\nMIME-Version: 1.0\n\
             Content-Type: multipart/alternative; boundary=b\n\n\
             --b\nContent-Type: text/plain; charset=utf-8\n\nSee you there.\n\
             --b\nContent-Type: text/calendar; method={method}; charset=utf-8\n\n\
             BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//ATS//EN\nMETHOD:{method}\nBEGIN:VEVENT\nUID:{uid}\n\
             SEQUENCE:{sequence}\nDTSTAMP:20261123T080000Z\nDTSTART;TZID=Europe/Berlin:{start}\n\
             DURATION:PT1H\nSUMMARY:Interview\nLOCATION:Room 4\nORGANIZER:mailto:{USER}\n\
             {attendees}{extra}END:VEVENT\nEND:VCALENDAR\n--b--\n",
            self.to.join(", ")
        )
    }
}

struct Bench(TestBridge);

impl Bench {
    async fn start() -> Bench {
        Bench(TestBridge::start().await)
    }

    async fn hand_in(&self, invite: &Invite<'_>) -> EntryId {
        id_in(&self.0.submit(invite.to, &invite.mail()).await.unwrap())
    }

    /// Hands it in and waits until it is dealt with.
    async fn deal_with(&self, invite: &Invite<'_>) {
        let id = self.hand_in(invite).await;
        self.0.once(id, State::Sent).await;
    }

    /// The invitations mailed, as `kind attendee start`.
    async fn invitations(&self) -> Vec<String> {
        let ledger = self.0.ledger().await;
        let rows = ledger["invitations"].as_array().unwrap();
        let text = |row: &serde_json::Value, key: &str| {
            row[key].as_str().unwrap_or_default().chars().take(40).collect::<String>()
        };
        rows.iter().map(|row| format!("{} {}", text(row, "kind"), text(row, "attendee"))).collect()
    }

    async fn mails(&self) -> Vec<String> {
        self.0.delivered().await
    }

    /// What the organizer does in Outlook.
    async fn by_hand(&self, method: Method, path: &str, body: Value) -> Value {
        self.0.by_hand(USER, method, path, body).await
    }

    /// Each occurrence in the organizer's calendar, as `start subject: attendees`.
    async fn calendar(&self) -> Vec<String> {
        let window = "startDateTime=2027-01-01T00:00:00Z&endDateTime=2027-12-31T00:00:00Z&$top=200";
        let path = format!("/calendarView?{window}");
        let view = self.by_hand(Method::GET, &path, json!({})).await;
        let one = |event: &Value| {
            let attendees = event["attendees"].as_array().unwrap().iter();
            let attendees: Vec<&str> =
                attendees.map(|a| a["emailAddress"]["address"].as_str().unwrap()).collect();
            let start = event["start"]["dateTime"].as_str().unwrap().get(..16).unwrap();
            format!("{start} {}: {}", event["subject"].as_str().unwrap(), attendees.join(" "))
        };
        view["value"].as_array().unwrap().iter().map(one).collect()
    }

    async fn history(&self, uid: &str) -> Vec<String> {
        let store = &self.0.running.control.store;
        let account = store.account_by_login(USER).await.unwrap().unwrap();
        let (_, history) = store.invite_history(account.id, uid).await.unwrap().unwrap();
        history.into_iter().map(|decided| decided.why).collect()
    }

    /// Requests to Graph's calendar so far.
    async fn calendar_calls(&self) -> usize {
        let requests = self.0.get("/_sandbox/requests").await;
        let rows = requests.as_array().unwrap();
        rows.iter().filter(|row| row["path"].as_str().unwrap().contains("/me/events")).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_becomes_an_event_and_each_attendee_is_invited_once() {
    let bench = Bench::start().await;
    bench.deal_with(&Invite::request("u1@ats.example", &[COLLEAGUE, GUEST])).await;
    assert_eq!(
        bench.invitations().await,
        [format!("request {COLLEAGUE}"), format!("request {GUEST}")]
    );
    assert_eq!(bench.mails().await, [] as [String; 0], "nobody gets the mail as well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_request_moves_the_event_and_the_same_again_does_nothing() {
    let bench = Bench::start().await;
    let first = Invite::request("u2@ats.example", &[GUEST]);
    bench.deal_with(&first).await;
    let calls = bench.calendar_calls().await;
    let again =
        Invite { extra: "COMMENT:another copy\n", ..Invite::request("u2@ats.example", &[GUEST]) };
    bench.deal_with(&again).await;
    assert_eq!(bench.calendar_calls().await, calls, "a repeat makes no call");
    bench.deal_with(&Invite { sequence: 1, start: "20270116T140000", ..first }).await;
    assert_eq!(bench.invitations().await, [format!("request {GUEST}"), format!("update {GUEST}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_mail_for_each_attendee_is_one_event_with_all_of_them() {
    let bench = Bench::start().await;
    let both = [COLLEAGUE, GUEST];
    bench.deal_with(&Invite { to: &[COLLEAGUE], ..Invite::request("u3@ats.example", &both) }).await;
    assert_eq!(bench.invitations().await, [format!("request {COLLEAGUE}")]);
    bench.deal_with(&Invite { to: &[GUEST], ..Invite::request("u3@ats.example", &both) }).await;
    assert_eq!(
        bench.invitations().await,
        [format!("request {COLLEAGUE}"), format!("request {GUEST}")],
        "only the one who was added is mailed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_takes_the_event_away_and_a_request_after_it_makes_a_new_one() {
    let bench = Bench::start().await;
    let request = Invite::request("u4@ats.example", &[GUEST]);
    bench.deal_with(&request).await;
    let cancel = Invite {
        method: "CANCEL",
        sequence: 1,
        extra: "STATUS:CANCELLED\n",
        ..Invite::request("u4@ats.example", &[GUEST])
    };
    bench.deal_with(&cancel).await;
    bench.deal_with(&Invite { sequence: 2, ..request }).await;
    assert_eq!(
        bench.invitations().await,
        [format!("request {GUEST}"), format!("cancel {GUEST}"), format!("request {GUEST}")]
    );
    assert_eq!(bench.mails().await, [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_who_is_no_attendee_gets_the_mail_and_the_attendees_do_not() {
    let bench = Bench::start().await;
    let invite = Invite { to: &[GUEST, COLLEAGUE], ..Invite::request("u5@ats.example", &[GUEST]) };
    bench.deal_with(&invite).await;
    assert_eq!(bench.invitations().await, [format!("request {GUEST}")]);
    assert_eq!(bench.mails().await, [format!("{COLLEAGUE}: Interview")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_of_another_organizer_and_a_cancel_of_an_unknown_uid_are_only_mail() {
    let bench = Bench::start().await;
    let mut foreign = Invite::request("u6@ats.example", &[GUEST]).mail();
    foreign = foreign
        .replace(&format!("ORGANIZER:mailto:{USER}"), "ORGANIZER:mailto:boss@fabrikam.example");
    let id = id_in(&bench.0.submit(&[GUEST], &foreign).await.unwrap());
    bench.0.once(id, State::Sent).await;
    bench
        .deal_with(&Invite { method: "CANCEL", ..Invite::request("u7@ats.example", &[GUEST]) })
        .await;
    assert_eq!(bench.invitations().await, [] as [String; 0]);
    assert_eq!(bench.mails().await, [format!("{GUEST}: Interview"), format!("{GUEST}: Interview")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_one_occurrence_of_our_event_is_reported_and_not_mailed_beside_it() {
    let bench = Bench::start().await;
    bench.deal_with(&Invite::request("u8@ats.example", &[GUEST])).await;
    let single = Invite {
        sequence: 1,
        extra: "RECURRENCE-ID;TZID=Europe/Berlin:20270115T100000\n",
        ..Invite::request("u8@ats.example", &[GUEST])
    };
    let id = bench.hand_in(&single).await;
    bench.0.once(id, State::Failed).await;
    let report = bench.0.running.control.store.entries(None, 1).await.unwrap().remove(0);
    bench.0.once(report.id, State::Sent).await;
    assert_eq!(bench.invitations().await, [format!("request {GUEST}")]);
    assert_eq!(bench.mails().await, [format!("{USER}: Not delivered: Interview")]);
    let history = bench.history("u8@ats.example").await;
    assert!(history.len() == 2 && history[1].starts_with("refused: "), "{history:?}");
}

const ADDED_BY_HAND: &str = "megan.bowen@fabrikam.example";

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_added_in_outlook_stays_when_we_add_another() {
    let bench = Bench::start().await;
    let both = [COLLEAGUE, GUEST];
    bench.deal_with(&Invite { to: &[COLLEAGUE], ..Invite::request("u9@ats.example", &both) }).await;
    let events = bench.by_hand(Method::GET, "/events", json!({})).await;
    let event = &events["value"][0];
    let mut attendees = event["attendees"].clone();
    let one = json!({ "emailAddress": { "address": ADDED_BY_HAND }, "type": "optional" });
    attendees.as_array_mut().unwrap().push(one);
    let path = format!("/events/{}", event["id"].as_str().unwrap());
    bench.by_hand(Method::PATCH, &path, json!({ "attendees": attendees })).await;
    bench.deal_with(&Invite { to: &[GUEST], ..Invite::request("u9@ats.example", &both) }).await;
    let calendar = bench.calendar().await;
    assert!(calendar[0].ends_with(&format!("{COLLEAGUE} {GUEST} {ADDED_BY_HAND}")), "{calendar:?}");
    let told = ["request", "request", "request"];
    let told: Vec<String> = told
        .iter()
        .zip([COLLEAGUE, ADDED_BY_HAND, GUEST])
        .map(|(kind, who)| format!("{kind} {who}"))
        .collect();
    assert_eq!(bench.invitations().await, told);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_that_was_cancelled_and_forgotten_can_be_made_again() {
    for names_event in [false, true] {
        let bench = Bench::start().await;
        {
            let world = bench.0.sandbox.world();
            let mut switches = world.switches();
            switches.transaction_taken_after_deletion = true;
            switches.duplicate_transaction_names_event = names_event;
        }
        let request = Invite::request("u10@ats.example", &[GUEST]);
        bench.deal_with(&request).await;
        let extra = "STATUS:CANCELLED\n";
        bench.deal_with(&Invite { method: "CANCEL", sequence: 1, extra, ..request }).await;
        let store = &bench.0.running.control.store;
        let account = store.account_by_login(USER).await.unwrap().unwrap().id;
        assert!(store.forget_invite(account, "u10@ats.example").await.unwrap());
        let again = Invite::request("u10@ats.example", &[GUEST]);
        bench.deal_with(&Invite { sequence: 2, ..again }).await;
        assert_eq!(bench.calendar().await.len(), 1);
        let told = ["request", "cancel", "request"].map(|kind| format!("{kind} {GUEST}"));
        assert_eq!(bench.invitations().await, told);
    }
}

const SECOND_AND_FOURTH: &str = "RRULE:FREQ=MONTHLY;BYDAY=2FR,4FR;COUNT=5\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_without_a_pattern_is_single_events_that_updates_and_cancellations_find() {
    let bench = Bench::start().await;
    let request = Invite {
        start: "20270108T100000",
        extra: SECOND_AND_FOURTH,
        ..Invite::request("u11@ats.example", &[GUEST])
    };
    bench.deal_with(&request).await;
    let starts = |calendar: Vec<String>| -> Vec<String> {
        calendar.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    let expected = ["01-08T09", "01-22T09", "02-12T09", "02-26T09", "03-12T09"];
    let expected = expected.map(|start| format!("2027-{start}:00"));
    assert_eq!(starts(bench.calendar().await), expected);
    let request = Invite::request("u11@ats.example", &[GUEST]);
    // The third is moved, the fourth is cancelled, one more is invited to what is left, all is cancelled.
    let third = Invite {
        sequence: 1,
        start: "20270212T150000",
        extra: "RECURRENCE-ID;TZID=Europe/Berlin:20270212T100000\n",
        ..request
    };
    bench.deal_with(&third).await;
    let fourth = Invite {
        method: "CANCEL",
        sequence: 1,
        extra: "RECURRENCE-ID;TZID=Europe/Berlin:20270226T100000\nSTATUS:CANCELLED\n",
        ..Invite::request("u11@ats.example", &[GUEST])
    };
    bench.deal_with(&fourth).await;
    let expected = ["01-08T09", "01-22T09", "02-12T14", "03-12T09"];
    let expected = expected.map(|start| format!("2027-{start}:00"));
    assert_eq!(starts(bench.calendar().await), expected);
    let more = Invite {
        start: "20270108T100000",
        extra: SECOND_AND_FOURTH,
        to: &[COLLEAGUE],
        ..Invite::request("u11@ats.example", &[GUEST, COLLEAGUE])
    };
    let told = bench.invitations().await.len();
    bench.deal_with(&more).await;
    assert_eq!(starts(bench.calendar().await), expected, "an earlier mail brings nothing back");
    assert_eq!(bench.invitations().await.len(), told + 4);
    let off = Invite {
        method: "CANCEL",
        sequence: 2,
        extra: "STATUS:CANCELLED\n",
        ..Invite::request("u11@ats.example", &[GUEST, COLLEAGUE])
    };
    bench.deal_with(&off).await;
    assert_eq!(bench.calendar().await, [] as [String; 0]);
    assert_eq!(bench.mails().await, [] as [String; 0]);
}

async fn with_settings(settings: AccountSettings) -> Bench {
    Bench(
        TestBridge::start_with(|config| {
            config.account.insert(USER.parse().unwrap(), settings);
        })
        .await,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_without_a_pattern_is_refused_where_that_is_configured_or_it_has_no_end() {
    let refuse = AccountSettings { recurrence: RecurrencePolicy::Refuse, ..Default::default() };
    let endless = "RRULE:FREQ=MONTHLY;BYDAY=2FR,4FR\n";
    for (bench, extra) in
        [(with_settings(refuse).await, SECOND_AND_FOURTH), (Bench::start().await, endless)]
    {
        let start = "20270108T100000";
        let request = Invite { start, extra, ..Invite::request("u12@ats.example", &[GUEST]) };
        let id = bench.hand_in(&request).await;
        let entry = bench.0.once(id, State::Failed).await;
        assert!(entry.note.unwrap().contains("Exchange has no pattern"));
        assert_eq!(bench.calendar().await, [] as [String; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_occurrence_that_is_moved_over_its_neighbour_is_an_event_of_its_own() {
    let bench = Bench::start().await;
    let daily = Invite {
        extra: "RRULE:FREQ=DAILY;COUNT=3\n",
        ..Invite::request("u13@ats.example", &[GUEST])
    };
    bench.deal_with(&daily).await;
    let over = Invite {
        sequence: 1,
        start: "20270117T150000",
        extra: "RECURRENCE-ID;TZID=Europe/Berlin:20270116T100000\n",
        ..Invite::request("u13@ats.example", &[GUEST])
    };
    bench.deal_with(&over).await;
    let starts: Vec<String> =
        bench.calendar().await.iter().map(|line| line.chars().take(16).collect()).collect();
    assert_eq!(starts, ["2027-01-15T09:00", "2027-01-17T09:00", "2027-01-17T14:00"]);
    let off = Invite {
        method: "CANCEL",
        sequence: 2,
        extra: "RECURRENCE-ID;TZID=Europe/Berlin:20270116T100000\nSTATUS:CANCELLED\n",
        ..Invite::request("u13@ats.example", &[GUEST])
    };
    bench.deal_with(&off).await;
    assert_eq!(bench.calendar().await.len(), 2);
    assert_eq!(bench.mails().await, [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_as_a_mail_first_goes_as_a_mail_when_the_policy_is_another_one() {
    let as_mail = AccountSettings { invites: InvitePolicy::Mail, ..Default::default() };
    let bench = with_settings(as_mail).await;
    bench.deal_with(&Invite::request("u14@ats.example", &[GUEST])).await;
    let TestBridge { sandbox, running, mut config, password, state, http } = bench.0;
    running.stop().await;
    config.account.clear();
    let running = postbridge::app::start(&config).await.unwrap();
    let bench = Bench(TestBridge { sandbox, running, config, password, state, http });
    let moved = Invite::request("u14@ats.example", &[GUEST]);
    bench.deal_with(&Invite { sequence: 1, start: "20270116T100000", ..moved }).await;
    bench.deal_with(&Invite::request("u15@ats.example", &[GUEST])).await;
    assert_eq!(bench.mails().await, [format!("{GUEST}: Interview"), format!("{GUEST}: Interview")]);
    assert_eq!(bench.invitations().await, [format!("request {GUEST}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_online_meeting_is_still_one_after_its_text_was_changed() {
    let bench = Bench::start().await;
    let extra = "X-MICROSOFT-ONLINEMEETINGEXTERNALLINK:https://x.example\n";
    let first = Invite { extra, ..Invite::request("u16@ats.example", &[GUEST]) };
    bench.deal_with(&first).await;
    let event = async || bench.by_hand(Method::GET, "/events", json!({})).await["value"][0].clone();
    assert_eq!(event().await["isOnlineMeeting"], true);
    let changed = Invite { sequence: 1, ..first }.mail().replace("See you there.", "Bring a pen.");
    let id = id_in(&bench.0.submit(&[GUEST], &changed).await.unwrap());
    bench.0.once(id, State::Sent).await;
    let event = event().await;
    assert_eq!(event["isOnlineMeeting"], true);
    let text = event["body"]["content"].as_str().unwrap();
    let url = event["onlineMeeting"]["joinUrl"].as_str().unwrap();
    assert!(text.contains("Bring a pen.") && text.contains(url), "{text}");
}
