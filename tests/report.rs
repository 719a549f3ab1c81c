//! The report on a mail that was not delivered, as a mail program reads it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use mail_parser::{Message, MessageParser, MimeHeaders};
use postbridge::account::{Account, AccountId, Address, Profile, Standing};
use postbridge::report::{Fate, Notice, RETURN_OCTETS_MAX, compose, wanted};
use postbridge::submission::{Envelope, ForwardPath, MailParameters, Notify, Return};
use proptest::prelude::*;

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn account() -> Account {
    Account {
        id: AccountId(uuid::Uuid::nil()),
        address: address("adele.vance@contoso.example"),
        aliases: vec![],
        send_as: vec![],
        profile: Profile::Mail,
        granted: vec![],
        person: None,
        standing: Standing::Ready,
    }
}

const NEVER: Notify = Notify { never: true, success: false, failure: false, delay: false };

fn path(text: &str, notify: Notify, orcpt: Option<&str>) -> ForwardPath {
    ForwardPath { address: address(text), notify, orcpt: orcpt.map(str::to_owned) }
}

fn envelope(paths: Vec<ForwardPath>) -> Envelope {
    let parameters = MailParameters { envid: Some("QQ314159".into()), ..MailParameters::default() };
    Envelope::new(Some(address("adele.vance@contoso.example")), paths, parameters).unwrap()
}

fn three() -> Envelope {
    envelope(vec![
        path("alex.wilber@contoso.example", Notify::default(), Some("rfc822;Alex@contoso.example")),
        path("jürgen@fabrikam.example", Notify::default(), None),
        path("megan@fabrikam.example", NEVER, None),
    ])
}

fn tell(envelope: &Envelope, octets: &[u8], fate: Fate<'_>) -> Vec<u8> {
    compose(&Notice {
        account: &account(),
        envelope,
        octets,
        id: "k7q2",
        accepted_at: "2026-11-23T08:00:00Z".parse().unwrap(),
        at: "2026-11-23T08:00:02Z".parse().unwrap(),
        fate,
    })
}

fn report(envelope: &Envelope, octets: &[u8], reason: &str, remote: &str) -> Vec<u8> {
    let remedy = "Send the attachment as a link, or split it over several mails.";
    let fate = Fate::Failed { status: [5, 3, 4], reason, remedy, remote: Some(remote) };
    tell(envelope, octets, fate)
}

const FAILED: Fate<'static> =
    Fate::Failed { status: [5, 0, 0], reason: "r", remedy: "m", remote: None };
const HELD: Fate<'static> = Fate::Held { reason: "504 UnknownError" };

fn delayed() -> Fate<'static> {
    Fate::Delayed { reason: "429", until: "2026-11-28T08:00:00Z".parse().unwrap() }
}

const HEAD: &[u8] = b"From: adele.vance@contoso.example\r\n\
    To: alex.wilber@contoso.example\r\n\
    Subject: =?utf-8?q?Einladung_f=C3=BCr_Donnerstag?=\r\n\
    Message-ID: <1@contoso.example>\r\n\r\n";

fn usual() -> Vec<u8> {
    let reason = "Microsoft 365 takes mails of this kind up to 2.2 MB; yours is larger.";
    report(&three(), HEAD, reason, "413 RequestEntityTooLarge")
}

/// The status part, as text.
fn status(mail: &Message<'_>) -> String {
    let part = mail
        .parts
        .iter()
        .find(|part| part.content_type().is_some_and(|c| c.subtype() == Some("delivery-status")));
    String::from_utf8(part.unwrap().contents().to_vec()).unwrap()
}

#[test]
fn a_report_is_what_its_snapshot_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/mime/report.eml");
    let expected = std::fs::read_to_string(path).unwrap().replace('\n', "\r\n");
    assert_eq!(String::from_utf8(usual()).unwrap(), expected);
}

#[test]
fn a_mail_program_reads_it_as_a_report() {
    let octets = usual();
    let mail = MessageParser::new().parse(&octets).unwrap();
    assert_eq!(mail.subject(), Some("Not delivered: Einladung für Donnerstag"));
    for (field, name) in [(mail.from(), Some("postbridge")), (mail.to(), None)] {
        let mailbox = field.unwrap().first().unwrap();
        assert_eq!(mailbox.address(), Some("adele.vance@contoso.example"));
        assert_eq!(mailbox.name(), name);
    }
    assert_eq!(mail.header_raw("Auto-Submitted").map(str::trim), Some("auto-replied"));
    assert_eq!(mail.message_id(), Some("k7q2.report@contoso.example"));
    assert_eq!(mail.date().unwrap().to_rfc3339(), "2026-11-23T08:00:02Z");
    let content_type = mail.content_type().unwrap();
    assert_eq!((content_type.ctype(), content_type.subtype()), ("multipart", Some("report")));
    assert_eq!(content_type.attribute("report-type"), Some("delivery-status"));
    assert_eq!(mail.parts.len(), 4);
    assert!(mail.body_text(0).unwrap().contains("yours is larger"));
    assert!(mail.parts[3].text_contents().unwrap().contains("Message-ID: <1@contoso.example>"));
}

#[test]
fn every_recipient_has_its_block_but_for_those_who_said_never() {
    let octets = usual();
    let status = status(&MessageParser::new().parse(&octets).unwrap());
    let blocks: Vec<&str> = status.trim_end().split("\r\n\r\n").collect();
    assert_eq!(blocks.len(), 3);
    assert!(blocks[0].contains("Original-Envelope-Id: QQ314159"));
    assert!(blocks[1].starts_with("Original-Recipient: rfc822;Alex@contoso.example\r\n"));
    assert!(blocks[1].contains("\r\nFinal-Recipient: rfc822; alex.wilber@contoso.example\r\n"));
    assert!(blocks[1].contains("\r\nAction: failed\r\nStatus: 5.3.4\r\n"));
    assert!(blocks[1].contains("\r\nDiagnostic-Code: X-Microsoft-Graph; 413 "));
    assert!(blocks[2].starts_with("Final-Recipient: utf-8; j\\x{FC}rgen@fabrikam.example\r\n"));
    assert!(!String::from_utf8_lossy(&octets).contains("megan@"));
}

#[test]
fn no_report_on_a_null_reverse_path_nor_where_none_is_wanted() {
    let alex = || path("alex.wilber@contoso.example", Notify::default(), None);
    let never = || path("megan@fabrikam.example", NEVER, None);
    assert!(wanted(&envelope(vec![alex(), never()]), &FAILED));
    let null = Envelope::new(None, vec![alex()], MailParameters::default()).unwrap();
    for fate in [FAILED, HELD, delayed(), Fate::Relayed] {
        assert!(!wanted(&envelope(vec![never()]), &fate), "{fate:?}");
        assert!(!wanted(&null, &fate), "{fate:?}");
    }
}

/// RFC 3461 §4.1, §5.2.4 to §5.2.6.
#[test]
fn each_kind_of_report_goes_to_those_who_want_it() {
    let none = Notify::default();
    let success = Notify { success: true, ..none };
    let failure = Notify { failure: true, ..none };
    let delay = Notify { delay: true, ..none };
    for (notify, expected) in [
        // Failed, delayed, held, relayed.
        (none, [true, true, true, false]),
        (success, [false, false, false, true]),
        (failure, [true, false, true, false]),
        (delay, [false, true, true, false]),
        (Notify { success: true, ..failure }, [true, false, true, true]),
        (NEVER, [false; 4]),
    ] {
        let envelope = envelope(vec![path("alex.wilber@contoso.example", notify, None)]);
        let got = [FAILED, delayed(), HELD, Fate::Relayed].map(|fate| wanted(&envelope, &fate));
        assert_eq!(got, expected, "{notify:?}");
    }
}

#[test]
fn a_delay_says_until_when_it_is_tried_and_that_nothing_is_to_be_done() {
    let octets = tell(&three(), HEAD, delayed());
    let mail = MessageParser::new().parse(&octets).unwrap();
    assert_eq!(mail.subject(), Some("Not delivered yet: Einladung für Donnerstag"));
    let status = status(&mail);
    assert!(status.contains("\r\nAction: delayed\r\nStatus: 4.4.7\r\n"), "{status}");
    let until = "\r\nWill-Retry-Until: Sat, 28 Nov 2026 08:00:00 +0000\r\n";
    assert_eq!(status.matches(until).count(), 2, "{status}");
    assert!(mail.body_text(0).unwrap().contains("you need not send it again"));
}

#[test]
fn a_held_mail_is_neither_failed_nor_sent_and_the_report_says_what_to_do() {
    let octets = tell(&three(), HEAD, HELD);
    let mail = MessageParser::new().parse(&octets).unwrap();
    assert_eq!(mail.subject(), Some("Unknown whether sent: Einladung für Donnerstag"));
    let status = status(&mail);
    assert!(status.contains("\r\nAction: delayed\r\nStatus: 4.4.2\r\n"), "{status}");
    assert!(!status.contains("Will-Retry-Until"), "it is not tried again\n{status}");
    let words = mail.body_text(0).unwrap();
    for line in [
        "Sent Items of adele.vance@contoso.example",
        "    postbridge queue resolve k7q2 --sent\r\n",
        "    postbridge queue resolve k7q2 --send-again\r\n",
        "504 UnknownError",
    ] {
        assert!(words.contains(line), "{line:?} is not in\n{words}");
    }
}

#[test]
fn a_mail_that_graph_took_is_relayed_and_not_delivered() {
    let success = Notify { success: true, ..Notify::default() };
    let envelope = envelope(vec![
        path("alex.wilber@contoso.example", success, None),
        path("megan@fabrikam.example", Notify::default(), None),
    ]);
    let octets = tell(&envelope, HEAD, Fate::Relayed);
    let mail = MessageParser::new().parse(&octets).unwrap();
    let status = status(&mail);
    assert_eq!(status.matches("Action: relayed\r\nStatus: 2.0.0\r\n").count(), 1, "{status}");
    assert!(!status.contains("megan"), "{status}");
}

/// RFC 3461 §4.3.
#[test]
fn the_whole_mail_comes_back_only_from_a_failure_and_only_if_it_was_asked_for_and_is_small() {
    let with = |ret| {
        let paths = vec![path("alex.wilber@contoso.example", Notify::default(), None)];
        let parameters = MailParameters { ret, ..MailParameters::default() };
        Envelope::new(Some(address("adele.vance@contoso.example")), paths, parameters).unwrap()
    };
    let mail = |body: &str| [HEAD, body.as_bytes()].concat();
    let (full, headers) = (with(Some(Return::Full)), with(Some(Return::Headers)));
    let small = mail("Grüße\r\n--=_postbridge_k7q2_0\r\n");
    let large = mail(&"x\r\n".repeat(RETURN_OCTETS_MAX / 3));
    let long_line = mail(&format!("{}\r\n", "x".repeat(999)));
    for (envelope, octets, fate, whole) in [
        (&full, &small, FAILED, true),
        (&headers, &small, FAILED, false),
        (&with(None), &small, FAILED, false),
        (&full, &small, HELD, false),
        (&full, &small, delayed(), false),
        (&full, &large, FAILED, false),
        (&full, &long_line, FAILED, false),
        (&full, &mail("bare\nline feed\r\n"), FAILED, false),
    ] {
        let report = tell(envelope, octets, fate);
        let parsed = MessageParser::new().parse(&report).unwrap();
        let last = &parsed.parts[3];
        let subtype = last.content_type().unwrap().subtype().unwrap().to_owned();
        if whole {
            assert_eq!(subtype, "rfc822");
            let returned = last.message().unwrap().raw_message();
            assert_eq!(
                String::from_utf8_lossy(returned).trim_end(),
                String::from_utf8_lossy(octets).trim_end()
            );
            let head = String::from_utf8_lossy(&report[..report.len() - octets.len()]).into_owned();
            assert!(head.contains("Content-Transfer-Encoding: 8bit"), "{head}");
        } else {
            assert_eq!(subtype, "rfc822-headers");
            assert!(!String::from_utf8_lossy(&report).contains("postbridge_k7q2_0\r\n--=_"));
        }
        assert_eq!(parsed.parts.len(), 4);
    }
}

#[test]
fn a_mail_without_subject_or_header_is_reported_all_the_same() {
    for head in [&b""[..], b"\r\n", b"no header at all\r\n", b"Subject: \r\n\r\n"] {
        let octets = report(&three(), head, "r", "500");
        let mail = MessageParser::new().parse(&octets).unwrap();
        assert_eq!(mail.subject(), Some("Not delivered: (no subject)"), "{head:?}");
    }
}

#[test]
fn a_hostile_subject_or_answer_adds_no_field() {
    let encoded =
        b"Subject: =?utf-8?q?a=0D=0ABcc:_x=40y.example=0D=0A=0D=0Ahello=E2=80=AE?=\r\n\r\n";
    let hostile = "x\r\nBcc: x@y.example\r\n\r\n--=_postbridge_k7q2_0--\u{202e}";
    let octets = report(&three(), encoded, hostile, hostile);
    let mail = MessageParser::new().parse(&octets).unwrap();
    assert!(mail.bcc().is_none());
    assert_eq!(mail.parts.len(), 4);
    assert_eq!(mail.subject(), Some("Not delivered: a  Bcc: x@y.example    hello"));
    assert_eq!(status(&mail).matches("\r\nBcc").count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_in_the_report_has_sound_lines_and_its_parts(
        head in prop::collection::vec(any::<u8>(), 0..300),
        subject in any::<String>(),
        reason in any::<String>(),
        remote in any::<String>(),
        id in any::<String>(),
        orcpt in any::<String>(),
        kind in 0..3,
        full in any::<bool>(),
    ) {
        let head = [format!("Subject: {subject}\r\n").as_bytes(), &head[..]].concat();
        let paths = vec![path("alex.wilber@contoso.example", Notify::default(), Some(&orcpt))];
        let ret = full.then_some(Return::Full);
        let parameters = MailParameters { ret, envid: Some("QQ314159".into()), ..MailParameters::default() };
        let envelope = Envelope::new(Some(address("adele.vance@contoso.example")), paths, parameters).unwrap();
        let account = account();
        let at = "2026-11-23T08:00:00Z".parse().unwrap();
        let fate = match kind {
            0 => Fate::Failed { status: [5, 0, 0], reason: &reason, remedy: &reason, remote: Some(&remote) },
            1 => Fate::Delayed { reason: &reason, until: at },
            _ => Fate::Held { reason: &reason },
        };
        let parts = Notice {
            account: &account, envelope: &envelope, octets: &head, id: &id, accepted_at: at, at, fate,
        };
        let octets = compose(&parts);
        prop_assert_eq!(&octets, &compose(&parts));
        let lines: Vec<&[u8]> = octets.split(|&o| o == b'\n').collect();
        let (last, lines) = lines.split_last().unwrap();
        prop_assert!(last.is_empty());
        for line in lines {
            prop_assert!(line.len() <= 999);
            let line = line.strip_suffix(b"\r").expect("a bare LF");
            prop_assert!(!line.contains(&b'\r') && !line.contains(&0));
        }
        let mail = MessageParser::new().parse(&octets).unwrap();
        prop_assert_eq!(mail.parts.len(), 4);
        prop_assert!(mail.bcc().is_none() && mail.cc().is_none());
        prop_assert_eq!(status(&mail).matches("Final-Recipient:").count(), 1 + orcpt.matches("Final-Recipient:").count());
    }
}
