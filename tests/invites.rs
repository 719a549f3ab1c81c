//! An invite by mail becomes an event, is updated, and is cancelled: mails in, ledger out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{COLLEAGUE, TestBridge, USER, id_in};
use postbridge::store::spool::{EntryId, State};

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
}
