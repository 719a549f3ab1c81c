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
        (Err(refusal), _) => assert_eq!(Some(&refusal), composed.as_ref().err()),
        // Only the head was inspected; line ends of the body are the session's to check.
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
    check_fixture(
        "redirected-by-a-test-system.eml",
        &[JUERGEN, MEGAN],
        &[
            "-To: \"Lang, Robert\" <robert.lang@customer.example>,",
            "-\tProject team: lidia@customer.example, alex.wilber@contoso.example,",
            "-\t=?utf-8?q?J=C3=BCrgen?= <juergen@fabrikam.example> (work),",
            "- Megan <megan@fabrikam.example>;",
            "-Cc: boss@customer.example",
        ],
    );
}

#[test]
fn an_address_that_nobody_can_mail_does_not_reach_graph() {
    check_fixture("cron-vixie.eml", &[ALEX], &["-To: root"]);
}

#[test]
fn devices_that_know_no_header_are_completed() {
    check_fixture("scanner-headless.eml", &[ALEX], &[]);
}

#[test]
fn one_address_written_twice_is_still_one() {
    check_fixture("scanner-unquoted-from.eml", &[ALEX], &[]);
    check_fixture("php-mail-last-first.eml", &[ALEX], &[]);
}

#[test]
fn undeclared_eight_bit_text_is_declared() {
    check_fixture("vb6-latin1.eml", &[JUERGEN], &[]);
    check_fixture("powershell-7bit-utf8.eml", &[JUERGEN], &[]);
}

#[test]
fn others() {
    check_fixture("outlook-2010-semicolons.eml", &[ALEX, JUERGEN], &[]);
    check_fixture("mutt-bounced-on.eml", &[ALEX, "audit@contoso.example"], &[]);
    check_fixture("notes-two-to-fields.eml", &[ALEX, MEGAN], &[]);
    check_fixture("procmail-mbox-line.eml", &[ALEX], &[]);
}

#[test]
fn zz_dump() {
    for (name, to) in [
        ("redirected-by-a-test-system.eml", &[JUERGEN, MEGAN][..]),
        ("php-mail-last-first.eml", &[ALEX]),
        ("powershell-7bit-utf8.eml", &[JUERGEN]),
        ("mutt-bounced-on.eml", &[ALEX, "audit@contoso.example"]),
        ("mutt-bounced-on.eml", &["audit@contoso.example"]),
        ("notes-two-to-fields.eml", &[ALEX, MEGAN]),
        ("procmail-mbox-line.eml", &[ALEX]),
    ] {
        println!(
            "=== {name}\n{}",
            String::from_utf8_lossy(&run(&fixture(name), &envelope(Some(ADELE), to)).unwrap())
        );
    }
    let long = format!("To: {} <{ALEX}>, out@x.example", "n".repeat(970));
    for head in [
        "To: Alex\n Wilber (the\n one) <alex.wilber@contoso.example>,\n out@x.example,megan@fabrikam.example",
        "To: <@r.example:alex.wilber@contoso.example>",
        "To: alex . wilber @ contoso . example",
        "To: \"alex.wilber\"@contoso.example",
        "To: \"a b\"@contoso.example",
        "To: a: alex.wilber@contoso.example;, b:;",
        "To: a: out@x.example;, b: ;",
        "Cc: alex.wilber@contoso.example\nTo: out@x.example",
        "To: alex.wilber@contoso.example <out@x.example>",
        "To: Adele \\\"x <alex.wilber@contoso.example>",
        "To: =?utf-8?q?out=40x=2Eexample=2C?=@contoso.example",
        "To: alex.wilber@contoso.example\0",
        "To: undisclosed-recipients:",
        "To: undisclosed recipients <>",
        "To: (nobody)",
        "To:",
        "To:\nCc: \nBcc:",
        &long,
    ] {
        let r = run(
            &head_with_the_rest(head),
            &envelope(Some(ADELE), &[ALEX, "\"a b\"@contoso.example"]),
        );
        match r {
            Ok(r) => println!("=== {head}\n{:#?}", difference(&head_with_the_rest(head), &r)),
            Err(r) => println!("=== {head}\n{r}"),
        }
    }
}
