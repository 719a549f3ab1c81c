//! What a client submits beside what Graph gets: fixtures named for what made them, and properties.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use mail_parser::MessageParser;
use postbridge::account::{Account, AccountId, Address, Profile, Standing};
use postbridge::mime::{Refusal, Stamp, compose, inspect};
use postbridge::submission::{Envelope, ForwardPath, MailParameters};
use proptest::prelude::*;

const ADELE: &str = "adele.vance@contoso.example";
const ALEX: &str = "alex.wilber@contoso.example";
const JUERGEN: &str = "juergen@fabrikam.example";
const MEGAN: &str = "megan@fabrikam.example";

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn account() -> Account {
    Account {
        id: AccountId(uuid::Uuid::nil()),
        address: address(ADELE),
        aliases: vec![address("adele@contoso.example")],
        send_as: vec![address("jobs@contoso.example")],
        profile: Profile::Mail,
        granted: vec![],
        person: None,
        standing: Standing::Ready,
    }
}

fn envelope(from: Option<&str>, to: &[&str]) -> Envelope {
    let paths = to.iter().map(|text| ForwardPath::from(address(text))).collect();
    Envelope::new(from.map(address), paths, MailParameters::default()).unwrap()
}

fn stamp() -> Stamp {
    Stamp { id: "k7q2".into(), accepted_at: "2026-11-23T08:00:00Z".parse().unwrap() }
}

/// Composes and holds the two entry points to each other: what `inspect` refuses, `compose` does.
fn run(octets: &[u8], envelope: &Envelope) -> Result<Vec<u8>, Refusal> {
    let head = match memchr::memmem::find(octets, b"\r\n\r\n") {
        Some(at) => &octets[..at + 4],
        None => octets,
    };
    let inspected = inspect(head, envelope, &account());
    let composed = compose(octets, envelope, &account(), &stamp());
    match (inspected, &composed) {
        // Only the head was inspected; line ends of the body are the session's to check.
        (Err(_), Err(refusal)) if refusal.enhanced == [5, 6, 11] => {}
        (Err(refusal), _) => assert_eq!(Some(&refusal), composed.as_ref().err()),
        (Ok(_), Err(refusal)) => assert_eq!(refusal.enhanced, [5, 6, 11]),
        (Ok(_), Ok(_)) => {}
    }
    composed
}

fn crlf(text: &[u8]) -> Vec<u8> {
    text.split(|&o| o == b'\n').collect::<Vec<_>>().join(&b"\r\n"[..])
}

/// Lines that went (`-`) and lines that came (`+`), in order.
fn difference(before: &[u8], after: &[u8]) -> Vec<String> {
    let lines = |octets: &[u8]| -> Vec<String> {
        String::from_utf8_lossy(octets).split("\r\n").map(str::to_owned).collect()
    };
    let (before, after) = (lines(before), lines(after));
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("-{line}"));
    let come = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+{line}"));
    gone.chain(come).collect()
}

/// The recipients that Exchange would find, lower-cased.
fn delivered_to(mail: &[u8]) -> BTreeSet<String> {
    let parsed = MessageParser::new().parse_headers(mail).unwrap();
    let fields = parsed.all_to().chain(parsed.all_cc()).chain(parsed.all_bcc());
    let found = fields.flat_map(|list| list.iter());
    found.map(|m| m.address().expect("a mailbox without address").to_lowercase()).collect()
}

fn check(mail: &[u8], to: &[&str], expected: &[&str]) {
    let got = run(mail, &envelope(Some(ADELE), to)).unwrap();
    assert_eq!(difference(mail, &got), expected);
    let wanted: BTreeSet<String> = to.iter().map(|text| text.to_lowercase()).collect();
    assert_eq!(delivered_to(&got), wanted);
    assert_eq!(got, compose(mail, &envelope(Some(ADELE), to), &account(), &stamp()).unwrap());
}

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/mime").join(name);
    crlf(&std::fs::read(path).unwrap())
}

fn check_fixture(name: &str, to: &[&str], expected: &[&str]) {
    check(&fixture(name), to, expected);
}

fn check_head(head: &str, to: &[&str], expected: &[&str]) {
    check(&head_with_the_rest(head), to, expected);
}

fn head_with_the_rest(head: &str) -> Vec<u8> {
    let mail = format!(
        "{head}\nFrom: {ADELE}\nDate: Mon, 23 Nov 2026 09:00:00 +0100\nMessage-ID: <1@x>\n\nbody\n"
    );
    crlf(mail.as_bytes())
}

fn refused(mail: &[u8], to: &[&str]) -> String {
    let refusal = run(mail, &envelope(Some(ADELE), to)).unwrap_err();
    assert!(refusal.text.len() <= 400 && refusal.text.bytes().all(|o| (b' '..=b'~').contains(&o)));
    refusal.to_string()
}

#[test]
fn a_mail_whose_header_is_its_envelope_stays_as_it_is() {
    check_fixture("thunderbird-128.eml", &[JUERGEN, "ALEX.WILBER@contoso.example", MEGAN], &[]);
    check_fixture(
        "applicant-tracking-undisclosed.eml",
        &[ALEX, MEGAN],
        &["+Bcc: alex.wilber@contoso.example, megan@fabrikam.example"],
    );
}

#[test]
fn recipients_in_no_header_become_bcc() {
    check_fixture(
        "thunderbird-128.eml",
        &[JUERGEN, ALEX, MEGAN, "audit@contoso.example"],
        &["+Bcc: audit@contoso.example"],
    );
}

#[test]
fn the_clients_bcc_goes_and_only_the_envelope_counts() {
    check_fixture(
        "phpmailer-bcc.eml",
        &[ALEX, MEGAN],
        &[
            "-Cc: ",
            "-Bcc: audit@contoso.example, megan@fabrikam.example",
            "+Bcc: megan@fabrikam.example",
        ],
    );
    check_head(
        "Bcc : x@y.example\nTO: alex.wilber@contoso.example",
        &[ALEX],
        &["-Bcc : x@y.example"],
    );
}

#[test]
fn a_header_address_outside_the_envelope_is_cut_out_and_shown_elsewhere() {
    let mail = fixture("redirected-by-a-test-system.eml");
    let got = run(&mail, &envelope(Some(ADELE), &[JUERGEN, MEGAN])).unwrap();
    let expected = crlf(
        b"From: Recruiting <adele.vance@contoso.example>
To: =?utf-8?q?J=C3=BCrgen?= <juergen@fabrikam.example> (work),
 Project team: Megan <megan@fabrikam.example>;
X-Postbridge-To: \"Lang, Robert\" <robert.lang@customer.example>,
	=?utf-8?q?J=C3=BCrgen?= <juergen@fabrikam.example> (work),
	Project team: lidia@customer.example, alex.wilber@contoso.example,
	 Megan <megan@fabrikam.example>;
X-Postbridge-Cc: boss@customer.example
Subject: [test] Invitation
Date: Mon, 23 Nov 2026 09:00:00 +0100
Message-ID: <1@staging.contoso.example>

x
",
    );
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&expected));
}

const COMPLETED: [&str; 2] =
    ["+Date: Mon, 23 Nov 2026 08:00:00 +0000", "+Message-ID: <k7q2@contoso.example>"];

fn and_completed<'x>(lines: &[&'x str]) -> Vec<&'x str> {
    [lines, &COMPLETED].concat()
}

#[test]
fn a_name_without_an_address_does_not_reach_graph() {
    check_fixture(
        "cron-vixie.eml",
        &[ALEX],
        &and_completed(&[
            "-From: root (Cron Daemon)",
            "-To: root",
            "+From: \"root (Cron Daemon)\" <adele.vance@contoso.example>",
            "+X-Postbridge-To: root",
            "+To: undisclosed-recipients:;",
            "+Bcc: alex.wilber@contoso.example",
        ]),
    );
}

#[test]
fn an_author_without_an_address_is_the_account_under_that_name() {
    for (from, expected) in [
        ("root (Cron Daemon)", "From: \"root (Cron Daemon)\" <adele.vance@contoso.example>"),
        ("Scanner 2nd floor", "From: \"Scanner 2nd floor\" <adele.vance@contoso.example>"),
        ("<>", "From: <adele.vance@contoso.example>"),
        ("=?utf-8?q?boss=40contoso.example?=", "From: <adele.vance@contoso.example>"),
    ] {
        let mail = crlf(format!("From: {from}\nTo: {ALEX}\n\nbody\n").as_bytes());
        let got = String::from_utf8(run(&mail, &envelope(Some(ADELE), &[ALEX])).unwrap()).unwrap();
        assert!(got.lines().any(|line| line == expected), "{from}: {got}");
    }
}

#[test]
fn a_device_that_sends_text_without_a_header_is_completed() {
    let mail = fixture("scanner-headless.eml");
    let mut expected = crlf(
        b"From: adele.vance@contoso.example
To: undisclosed-recipients:;
Bcc: alex.wilber@contoso.example
Date: Mon, 23 Nov 2026 08:00:00 +0000
Message-ID: <k7q2@contoso.example>

",
    );
    expected.extend_from_slice(&mail);
    let to = |from| envelope(from, &[ALEX]);
    assert_eq!(run(&mail, &to(Some(ADELE))).unwrap(), expected);
    assert_eq!(run(&mail, &to(None)).unwrap(), expected, "a null reverse-path is the account");
    let alias = run(&mail, &to(Some("adele@contoso.example"))).unwrap();
    assert!(alias.starts_with(b"From: adele@contoso.example\r\n"));
}

#[test]
fn one_address_in_odd_syntax_is_written_so_that_nobody_doubts_it() {
    check_fixture(
        "scanner-unquoted-from.eml",
        &[ALEX],
        &[
            "-From: adele.vance@contoso.example <adele.vance@contoso.example>",
            "-To: alex.wilber@contoso.example <alex.wilber@contoso.example>",
            "+From: \"adele.vance@contoso.example\" <adele.vance@contoso.example>",
            "+To: alex.wilber@contoso.example",
            "+X-Postbridge-To: alex.wilber@contoso.example <alex.wilber@contoso.example>",
            COMPLETED[1],
        ],
    );
    check_fixture(
        "php-mail-last-first.eml",
        &[ALEX],
        &and_completed(&[
            "-From: Vance, Adele <adele.vance@contoso.example>",
            "+From: \"Vance, Adele\" <adele.vance@contoso.example>",
        ]),
    );
    check_fixture(
        "outlook-2010-semicolons.eml",
        &[ALEX, JUERGEN],
        &[
            "-To: <juergen@fabrikam.example>; <alex.wilber@contoso.example>",
            "+To: juergen@fabrikam.example,",
            "+ alex.wilber@contoso.example",
            "+X-Postbridge-To: <juergen@fabrikam.example>; <alex.wilber@contoso.example>",
        ],
    );
}

#[test]
fn eight_bit_text_that_declares_nothing_is_declared() {
    check_fixture(
        "vb6-latin1.eml",
        &[JUERGEN],
        &and_completed(&[])
            .into_iter()
            .chain([
                "+Content-Type: text/plain; charset=windows-1252",
                "+Content-Transfer-Encoding: 8bit",
                "+MIME-Version: 1.0",
            ])
            .collect::<Vec<_>>(),
    );
    check_fixture(
        "powershell-7bit-utf8.eml",
        &[JUERGEN],
        &[
            "-Content-Type: text/plain",
            "-Content-Transfer-Encoding: 7bit",
            "+Content-Type: text/plain;",
            "+ charset=utf-8",
            COMPLETED[0],
            COMPLETED[1],
            "+Content-Transfer-Encoding: 8bit",
        ],
    );
}

#[test]
fn composites_declare_themselves_and_stay() {
    let head = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nTo: alex.wilber@contoso.example";
    let mut mail = head_with_the_rest(head);
    mail.extend_from_slice("--b\r\n\r\nü\r\n--b--\r\n".as_bytes());
    check(&mail, &[ALEX], &[]);
}

#[test]
fn a_mail_sent_on_names_only_the_new_recipients() {
    let without = [
        "-Resent-Bcc: audit@contoso.example",
        "-Return-Path: <adele.vance@contoso.example>",
        "-To: megan@fabrikam.example",
        "+X-Postbridge-To: megan@fabrikam.example",
        "+To: undisclosed-recipients:;",
    ];
    let bcc = "+Bcc: alex.wilber@contoso.example, audit@contoso.example";
    check_fixture(
        "mutt-bounced-on.eml",
        &[ALEX, "audit@contoso.example"],
        &[&without[..], &[bcc]].concat(),
    );
    let got =
        run(&fixture("mutt-bounced-on.eml"), &envelope(Some(ADELE), &["audit@contoso.example"]));
    let got = String::from_utf8(got.unwrap()).unwrap();
    assert!(got.contains("\r\nX-Postbridge-Resent-To: alex.wilber@contoso.example\r\n"));
    assert!(!got.contains("\r\nResent-To:"));
}

#[test]
fn several_to_fields_become_one_and_white_folds_go() {
    check_fixture(
        "notes-two-to-fields.eml",
        &[ALEX, MEGAN],
        &[
            "-To: Alex <alex.wilber@contoso.example>",
            "-To: Megan <megan@fabrikam.example>",
            "- ",
            "+To: Alex <alex.wilber@contoso.example>,",
            "+ Megan <megan@fabrikam.example>",
        ],
    );
    check_fixture(
        "procmail-mbox-line.eml",
        &[ALEX],
        &["-From adele.vance@contoso.example Mon Nov 23 09:00:00 2026"],
    );
}

#[test]
fn a_mail_that_ends_within_its_header_is_completed() {
    let mail = format!("From: {ADELE}\r\nTo: {ALEX}");
    let got = run(mail.as_bytes(), &envelope(Some(ADELE), &[ALEX])).unwrap();
    let completed = COMPLETED.map(|line| line.trim_start_matches('+')).join("\r\n");
    assert_eq!(String::from_utf8(got).unwrap(), format!("{mail}\r\n{completed}\r\n\r\n"));
}

#[test]
fn odd_but_certain_address_lists() {
    let quoted = "\"a b\"@contoso.example";
    check_head(
        "To: <@r.example:alex.wilber@contoso.example>",
        &[ALEX],
        &[
            "-To: <@r.example:alex.wilber@contoso.example>",
            "+To: alex.wilber@contoso.example",
            "+X-Postbridge-To: <@r.example:alex.wilber@contoso.example>",
        ],
    );
    check_head(
        "To: alex . wilber @ contoso . example",
        &[ALEX],
        &[
            "-To: alex . wilber @ contoso . example",
            "+To: alex.wilber@contoso.example",
            "+X-Postbridge-To: alex . wilber @ contoso . example",
        ],
    );
    check_head(
        "To: \"a b\"@contoso.example",
        &[quoted],
        &[
            "-To: \"a b\"@contoso.example",
            "+To: <\"a b\"@contoso.example>",
            "+X-Postbridge-To: \"a b\"@contoso.example",
        ],
    );
    check_head(
        "To: t: alex.wilber@contoso.example;, b:;",
        &[ALEX, quoted],
        &["+Bcc: <\"a b\"@contoso.example>"],
    );
    check_head(
        "To: t: out@x.example;, b: ;",
        &[ALEX],
        &[
            "-To: t: out@x.example;, b: ;",
            "+To: b: ;",
            "+X-Postbridge-To: t: out@x.example;, b: ;",
            "+Bcc: alex.wilber@contoso.example",
        ],
    );
    check_head(
        "Cc: alex.wilber@contoso.example\nTo: out@x.example",
        &[ALEX],
        &["-To: out@x.example", "+X-Postbridge-To: out@x.example"],
    );
    check_head(
        "To:\nBcc:",
        &[ALEX],
        &["-To:", "-Bcc:", "+To: undisclosed-recipients:;", "+Bcc: alex.wilber@contoso.example"],
    );
    check_head(
        "To: undisclosed-recipients:",
        &[ALEX],
        &[
            "-To: undisclosed-recipients:",
            "+X-Postbridge-To: undisclosed-recipients:",
            "+To: undisclosed-recipients:;",
            "+Bcc: alex.wilber@contoso.example",
        ],
    );
    check_head("To: Alex (b@c.example, (d@e.example)) <ALEX.wilber@Contoso.example>", &[ALEX], &[]);
}

#[test]
fn five_hundred_recipients_fit_into_one_bcc() {
    let many: Vec<String> = (0..500).map(|n| format!("applicant.{n}@fabrikam.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mail = head_with_the_rest("To: undisclosed-recipients:;");
    let got = run(&mail, &envelope(Some(ADELE), &many)).unwrap();
    assert_eq!(delivered_to(&got).len(), 500);
    assert_eq!(got.windows(5).filter(|w| w == b"\nBcc:").count(), 1);
    assert!(got.split(|&o| o == b'\n').all(|line| line.len() <= 79));
}

#[test]
fn a_field_that_may_name_somebody_else_is_refused() {
    for to in [
        "alex.wilber@contoso.example <out@x.example>",
        "alex.wilber@contoso.example; out@x.example",
        "=?utf-8?q?out=40x=2Eexample=2C?=@contoso.example",
        "\"open <alex.wilber@contoso.example>, out@x.example",
        "alex.wilber@contoso.example@out.example",
    ] {
        let text = refused(&head_with_the_rest(&format!("To: {to}")), &[ALEX]);
        assert!(text.starts_with("550 5.6.0 To: cannot be read with certainty"), "{to}: {text}");
    }
    let mail = head_with_the_rest("To: undisclosed-recipients:;");
    assert!(refused(&mail, &["=?utf-8?q?x?=@contoso.example"]).starts_with("550 5.1.3"));
}

fn refused_from(fields: &str) -> String {
    refused(&crlf(format!("{fields}\nTo: {ALEX}\n\nbody\n").as_bytes()), &[ALEX])
}

#[test]
fn an_author_that_the_account_may_not_be_is_refused() {
    for fields in [
        "From: boss@contoso.example",
        "From: Adele Vance\n <boss@contoso.example>",
        "From: \"adele.vance@contoso.example\" <boss@contoso.example>",
        "From: (adele.vance@contoso.example) boss@contoso.example",
        "From : boss@contoso.example",
        "FROM: <boss@contoso.example>",
        "From: adele.vance@contoso.example\nSender: boss@contoso.example",
        "From: adele.vance@contoso.example\nResent-From: boss@contoso.example",
        "From: adele.vance@contoso.example\nResent-Sender: boss@contoso.example",
        "Sender: adele.vance@contoso.example\nFrom: boss@contoso.example",
    ] {
        let text = refused_from(fields);
        assert!(text.starts_with("550 5.7.1 "), "{fields}: {text}");
    }
    assert_eq!(
        refused_from("From: j\u{fc}rgen@contoso.example"),
        "550 5.7.1 From: the account may not send as this address"
    );
}

#[test]
fn an_author_that_is_not_exactly_one_is_refused() {
    for fields in [
        "From: adele.vance@contoso.example\nFrom: adele.vance@contoso.example",
        "From: adele.vance@contoso.example, adele@contoso.example",
        "From: adele.vance@contoso.example <boss@contoso.example>",
        "From: boss@contoso.example <adele.vance@contoso.example>",
        "From: Adele: adele.vance@contoso.example;",
        "From: =?utf-8?q?boss=40contoso=2Eexample=2C?=@contoso.example",
        "From: <@contoso.example:boss@contoso.example>",
        "From: adele.vance@contoso.example\nSender: adele@contoso.example\nSender: x@y.example",
        "From: adele.vance@contoso.example\nDate: a\nDate: b",
        "From: adele.vance@contoso.example\nMessage-ID: <a@b>\nmessage-id: <c@d>",
        "From: adele.vance@contoso.example\nBcc x: y",
        "From: adele.vance@contoso.example\n: y",
    ] {
        let text = refused_from(fields);
        assert!(text.starts_with("550 5.6.0 "), "{fields}: {text}");
    }
}

#[test]
fn the_accounts_other_addresses_may_be_the_author() {
    for from in ["ADELE@Contoso.example", "Jobs <jobs@contoso.example>"] {
        let mail = crlf(format!("From: {from}\nSender: {ADELE}\nTo: {ALEX}\n\nx\n").as_bytes());
        check(&mail, &[ALEX], &COMPLETED);
    }
}

#[test]
fn a_header_that_is_too_large_is_refused() {
    let many = "X: y\n".repeat(1001);
    assert!(refused(&crlf(many.as_bytes()), &[ALEX]).starts_with("552 5.3.4"));
    let long = format!("X: {}\n", "y".repeat(256 * 1024));
    assert!(refused(&crlf(long.as_bytes()), &[ALEX]).starts_with("552 5.3.4"));
}

#[test]
fn line_ends_that_others_may_read_otherwise_are_refused() {
    for bad in ["To: a\nBcc: b\r\n\r\n", "To: a\rBcc: b\r\n\r\n", "To: a\0\r\n\r\n"] {
        assert!(refused(bad.as_bytes(), &[ALEX]).starts_with("550 5.6.11"), "{bad:?}");
    }
    assert!(refused(b"X: y\r\n\r\nbody\n.\r\n", &[ALEX]).starts_with("550 5.6.11"));
}

#[test]
fn hostile_headers_take_no_longer_than_long_ones() {
    for pattern in [
        "(",
        ")",
        "\"",
        "\\",
        "<",
        "@",
        "a@",
        "a@b,",
        "a@b.c<",
        ",",
        ";",
        ":",
        "a:",
        "a:;",
        "=?",
        "=?a?q?",
        "=?a?q?b",
        "=?utf-8?b?",
        "<a@",
        "\r\n ",
        "\r\n \r\n",
        "a.",
        "a (",
        "[",
        "a@[",
        "\u{fc}",
    ] {
        let mail = format!("To: {}\r\n\r\n", pattern.repeat(250 * 1024 / pattern.len()));
        let begun = Instant::now();
        let _ = run(mail.as_bytes(), &envelope(Some(ADELE), &[ALEX]));
        // Unoptimised and beside other work; what grows with the square would take minutes.
        assert!(begun.elapsed() < Duration::from_secs(5), "{pattern:?} took {:?}", begun.elapsed());
    }
}

/// Recipients in the envelope, or not.
fn some_address() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a@x.example",
        "B.C@X.example",
        "d+e@y.example",
        "\"f g\"@y.example",
        "h@[192.0.2.1]",
        "j\u{fc}rgen@b\u{fc}cher.example",
        "out@z.example",
        "o'hara@z.example",
        "k_l@sub.z.example",
    ])
    .prop_map(str::to_owned)
}

/// A mailbox with one address, by the grammar of RFC 5322.
fn mailbox() -> impl Strategy<Value = String> {
    (some_address(), 0..12usize).prop_map(|(a, form)| match form {
        0 | 1 => a,
        2 => format!("<{a}>"),
        3 => format!("Adele Vance <{a}>"),
        4 => format!("\"Vance, Adele <x@q.example>\" <{a}>"),
        5 => format!("=?utf-8?q?J=C3=BC?= =?utf-8?b?LA==?= <{a}>"),
        6 => format!("{a} (a, comment; with <x@q.example> (nested))"),
        7 => format!("J\u{fc}rgen \"the \\\"one\\\"\" M. <{a}>"),
        8 => format!("(before) Adele\r\n\tVance (mid) < {a} > (after)"),
        9 => format!("<@r.example,@s.example:{a}>"),
        10 => format!("\r\n {a}\r\n "),
        _ => format!("\"\" <{a}>"),
    })
}

fn address_list() -> impl Strategy<Value = String> {
    let group = prop::collection::vec(mailbox(), 0..4)
        .prop_map(|members| format!("The (x@q.example) \"team\": {};", members.join(", ")));
    let item = prop_oneof![6 => mailbox(), 1 => group, 1 => Just(String::new()), 1 => Just("root".to_owned())];
    let comma = prop::sample::select(vec![",", ", ", ",\r\n ", " ,\r\n\t"]);
    (prop::collection::vec(item, 0..6), comma).prop_map(|(items, comma)| items.join(comma))
}

fn field() -> impl Strategy<Value = String> {
    let name =
        prop::sample::select(vec!["To", "Cc", "Bcc", "to", "TO ", "Resent-To", "resent-bcc"]);
    prop_oneof![
        4 => (name, address_list()).prop_map(|(name, list)| format!("{name}: {list}\r\n")),
        1 => Just("Subject: a\r\n \r\n b\r\n".to_owned()),
        1 => Just("X-Other: To: x@q.example\r\n".to_owned()),
        1 => Just("Content-Type: text/plain\r\n".to_owned()),
    ]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::collection::vec(
        any::<u8>().prop_filter("line ends", |o| !b"\r\n\0".contains(o)),
        0..40,
    );
    prop::collection::vec(line, 0..6).prop_map(|lines| lines.join(&b"\r\n"[..]))
}

fn well_formed(fields: &[String], body: &[u8]) -> Vec<u8> {
    [format!("From: {ADELE}\r\n{}\r\n", fields.concat()).as_bytes(), body].concat()
}

/// The promise: delivery is the envelope, no Bcc but ours, the body untouched, the lines sound.
fn hold_to_the_promise(got: &[u8], envelope: &Envelope, body: Option<&[u8]>) {
    let wanted: BTreeSet<String> = envelope.recipients().map(Address::key).collect();
    let parsed = MessageParser::new().parse_headers(got).unwrap();
    let fields = parsed.all_to().chain(parsed.all_cc()).chain(parsed.all_bcc());
    let found: BTreeSet<String> = fields
        .flat_map(|list| list.iter())
        .map(|m| m.address().expect("a mailbox without address").to_lowercase())
        .collect();
    assert_eq!(found, wanted, "{}", String::from_utf8_lossy(got));
    assert!(parsed.all_bcc().count() <= 1);
    assert!(parsed.resent_bcc().is_none());
    let ends = got.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    if let Some(body) = body {
        assert_eq!(&got[ends + 4..], body);
    }
    let lines = got.split(|&o| o == b'\n').count() - 1;
    assert_eq!(got.windows(2).filter(|w| w == b"\r\n").count(), lines, "a bare LF");
    assert_eq!(got.iter().filter(|&&o| o == b'\r').count(), lines, "a bare CR");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn delivery_is_the_envelope_whatever_a_well_formed_header_says(
        fields in prop::collection::vec(field(), 0..6),
        to in prop::collection::vec(some_address(), 1..6),
        body in body(),
    ) {
        let mail = well_formed(&fields, &body);
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        let envelope = envelope(Some(ADELE), &to);
        let got = run(&mail, &envelope).unwrap();
        hold_to_the_promise(&got, &envelope, Some(&body));
        // What Graph got, sent in again, is taken again and names the same people.
        let again = run(&got, &envelope).unwrap();
        hold_to_the_promise(&again, &envelope, Some(&body));
    }

    #[test]
    fn a_damaged_header_is_refused_or_delivers_to_the_envelope(
        fields in prop::collection::vec(field(), 1..5),
        damage in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(
            b"\"()<>@,;:\\[]. =?\r\n\t\xfc\x00x".to_vec(),
        )), 1..6),
        to in prop::collection::vec(some_address(), 1..6),
    ) {
        let mut mail = well_formed(&fields, b"body\r\n");
        for (at, octet) in damage {
            let at = at.index(mail.len());
            mail[at] = octet;
        }
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        let envelope = envelope(Some(ADELE), &to);
        if let Ok(got) = run(&mail, &envelope) {
            hold_to_the_promise(&got, &envelope, None);
        }
    }

    #[test]
    fn no_octets_make_it_panic(octets in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = run(&octets, &envelope(None, &[ALEX]));
        let _ = run(&[b"To: ", &octets[..], b"\r\n\r\n"].concat(), &envelope(None, &[ALEX]));
    }
}
