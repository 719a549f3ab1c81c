//! Mails that no request holds: every file arrives as it was, once, whatever breaks, and the bridge
//! stays small.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::Write;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::daemon::{Client, Daemon, Mail, Site};
use common::{COLLEAGUE, PATIENCE, USER};
use mail_parser::{MessageParser, MessagePart, MimeHeaders};
use postbridge::account::Profile;
use postbridge::sandbox::ledger::Via;
use postbridge::sandbox::script::{Act, Answer, LateAct, Rule, Script, When};
use postbridge::sandbox::world::Switches;
use postbridge::store::spool::{Kind, State};

const HIDDEN: &str = "audit@contoso.example";

/// Past libtest's capture, so that a run leaves its numbers in the log.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Octets that look like nothing, and differ for each `seed`.
fn noise(octets: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut noise = Vec::with_capacity(octets + 8);
    while noise.len() < octets {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    noise.truncate(octets);
    noise
}

/// In lines of 76.
fn base64(octets: &[u8]) -> String {
    let mut lines = String::with_capacity(octets.len() / 54 * 74 + 80);
    for line in octets.chunks(57) {
        STANDARD.encode_string(line, &mut lines);
        lines.push_str("\r\n");
    }
    lines
}

struct File {
    name: String,
    /// Shown in the text.
    is_inline: bool,
    octets: Vec<u8>,
}

fn file(name: &str, octets: usize) -> File {
    let seed = name.bytes().fold(octets as u64, |seed, byte| seed.rotate_left(7) ^ u64::from(byte));
    File { name: name.to_owned(), is_inline: false, octets: noise(octets, seed) }
}

/// To a colleague, and to somebody who is named nowhere.
fn mail(subject: &str, files: &[File]) -> Mail {
    let mut octets = format!(
        "From: Adele Vance <{USER}>\r\nTo: {COLLEAGUE}\r\nSubject: {subject}\r\n\
         Message-ID: <{subject}@contoso.example>\r\nIn-Reply-To: <first@contoso.example>\r\n\
         References: <zero@contoso.example> <first@contoso.example>\r\nX-Ticket: 7\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=_m\"\r\n\r\n\
         --=_m\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Hello</p>\r\n"
    );
    for file in files.iter().filter(|file| file.is_inline) {
        octets.push_str(&format!("<img src=\"cid:{}\">\r\n", file.name));
    }
    for file in files {
        let name = &file.name;
        let disposition = if file.is_inline {
            format!("inline\r\nContent-ID: <{name}>")
        } else {
            "attachment".to_owned()
        };
        octets.push_str(&format!(
            "--=_m\r\nContent-Type: application/octet-stream; name=\"{name}\"\r\n\
             Content-Transfer-Encoding: base64\r\nContent-Disposition: {disposition}\r\n\r\n"
        ));
        octets.push_str(&base64(&file.octets));
    }
    octets.push_str("--=_m--\r\n");
    let to = vec![COLLEAGUE.to_owned(), HIDDEN.to_owned()];
    Mail { from: USER, to, subject: subject.to_owned(), octets }
}

/// Hands a mail in, to another daemon if this one dies of it.
fn hand_in(site: &Site, daemon: &mut Daemon, mail: &Mail) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) =
        Client::connect(daemon.address, &site.password).and_then(|mut client| client.submit(mail))
    {
        assert!(Instant::now() < deadline, "{error}: {}", daemon.log());
        daemon.ended();
        *daemon = site.serve();
    }
}

/// Everybody got one copy, and in it every file as it was.
fn check_delivered(site: &Site, mail: &Mail, files: &[File], what: &str) {
    let copies = site.sandbox.world().ledger.copies();
    let copies: Vec<_> = copies.iter().filter(|c| c.message.subject == mail.subject).collect();
    let mut recipients: Vec<&str> = copies.iter().map(|copy| copy.recipient.as_str()).collect();
    recipients.sort_unstable();
    assert_eq!(recipients, [COLLEAGUE, HIDDEN], "{what}");
    let message = &copies[0].message;
    assert_eq!(message.via, Via::DraftJson, "{what}");
    let parsed = MessageParser::new().parse(&message.raw).unwrap();
    let head = &message.raw[..memchr::memmem::find(&message.raw, b"\r\n\r\n").unwrap()];
    let head = String::from_utf8_lossy(head).into_owned();
    assert!(!head.contains(HIDDEN), "{what}: {head}");
    assert_eq!(message.message_id, format!("<{}@contoso.example>", mail.subject), "{what}");
    assert_eq!(parsed.in_reply_to().as_text(), Some("first@contoso.example"), "{what}: {head}");
    let references = parsed.references().as_text_list().unwrap();
    assert_eq!(references, ["zero@contoso.example", "first@contoso.example"], "{what}");
    assert!(head.contains("X-Ticket: 7"), "{what}: {head}");
    let got: Vec<_> = parsed.attachments().collect();
    // The sandbox names what is shown in the text by its Content-ID alone.
    let name =
        |part: &&MessagePart<'_>| part.attachment_name().or(part.content_id()).map(str::to_owned);
    let names: Vec<String> = got.iter().filter_map(name).collect();
    // Those that are shown in the text come before the others in what Exchange makes.
    let (shown, others): (Vec<&File>, Vec<&File>) = files.iter().partition(|file| file.is_inline);
    let files: Vec<&File> = shown.into_iter().chain(others).collect();
    assert_eq!(names, files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), "{what}");
    for (part, file) in got.iter().zip(files) {
        assert!(part.contents() == file.octets, "{what}: {} is not as it was", file.name);
        assert_eq!(part.content_id().is_some(), file.is_inline, "{what}: {}", file.name);
    }
}

#[test]
fn every_file_of_a_large_mail_arrives_as_it_was() {
    let site = Site::new();
    let mut daemon = site.serve();
    let five = vec![file("five.bin", 3_600_000)];
    let mut twenty = vec![File { is_inline: true, ..file("logo.png", 30_000) }];
    // Two have one name.
    for name in ["a.pdf", "b.pdf", "a.pdf", "c.pdf"] {
        twenty.push(file(name, 100_000 + twenty.len()));
    }
    twenty.push(file("large.zip", 14_000_000));
    twenty.push(file("last.txt", 1));
    let (small, large) = (mail("five", &five), mail("twenty", &twenty));
    hand_in(&site, &mut daemon, &large);
    hand_in(&site, &mut daemon, &small);
    let entries = site.finish(&mut daemon);
    let states: Vec<State> = entries.iter().map(|entry| entry.state).collect();
    assert_eq!(states, [State::Sent, State::Sent], "{}", daemon.log());
    check_delivered(&site, &small, &five, "five");
    check_delivered(&site, &large, &twenty, "twenty");
}

fn seven() -> Vec<File> {
    vec![file("small.bin", 1_000_000), file("large.bin", 4_000_000)]
}

#[test]
fn killed_at_any_request_a_large_mail_goes_once_with_each_of_its_files_once() {
    let files = seven();
    let mail = mail("seven", &files);
    let undisturbed = {
        let site = Site::new();
        let mut daemon = site.serve();
        hand_in(&site, &mut daemon, &mail);
        site.finish(&mut daemon);
        check_delivered(&site, &mail, &files, "undisturbed");
        site.requests()
    };
    for when in [When::Before, When::After] {
        for nth in 1..=undisturbed {
            let what = format!("killed {when:?} request {nth} of {undisturbed}");
            let site = Site::new();
            let mut daemon = site.serve();
            site.kill_at(&daemon, nth, when);
            hand_in(&site, &mut daemon, &mail);
            let entries = site.finish(&mut daemon);
            let states: Vec<State> = entries.iter().map(|entry| entry.state).collect();
            assert_eq!(states, [State::Sent], "{what}: {}", daemon.log());
            check_delivered(&site, &mail, &files, &what);
        }
    }
    say(&format!("a large mail of two files takes {undisturbed} requests"));
}

fn busy() -> Answer {
    Answer { status: 503, code: "ErrorServerBusy".into(), message: None, retry_after: None }
}

/// Answers to the creation, the files, the session and its pieces, lost or late.
#[test]
fn a_large_mail_whose_answers_are_lost_or_late_goes_once_with_each_of_its_files_once() {
    let files = seven();
    let mail = mail("seven", &files);
    let acts = [
        Act::CutBefore,
        Act::CutAfter,
        Act::Answer(busy()),
        Act::ActThenAnswer(busy()),
        Act::AnswerThenAct(LateAct { answer: busy(), after_seconds: 0 }),
    ];
    let calls = [
        ("POST", "/v1.0/me/messages", 1),
        ("POST", "/v1.0/me/messages/*/attachments", 1),
        ("POST", "/v1.0/me/messages/*/attachments/createUploadSession", 1),
        ("PUT", "/api/v2.0/*", 1),
        ("PUT", "/api/v2.0/*", 2),
    ];
    for act in &acts {
        for (method, route, nth) in calls {
            let what = format!("{} of {method} {route} {nth}", act.name());
            let site = Site::new();
            let rule = Rule {
                method: Some(method.into()),
                route: route.into(),
                mailbox: None,
                nth: vec![nth],
                every: false,
                probability: None,
                times: Some(1),
                act: act.clone(),
            };
            site.sandbox.world().faults.set(Script { seed: 0, faults: vec![rule] });
            let mut daemon = site.serve();
            hand_in(&site, &mut daemon, &mail);
            let entries = site.finish(&mut daemon);
            let journal = site.sandbox.world().journal.entries();
            assert!(journal.iter().any(|one| one.fault.is_some()), "{what}: it never came");
            let states: Vec<State> = entries.iter().map(|entry| entry.state).collect();
            assert_eq!(states, [State::Sent], "{what}: {}", daemon.log());
            check_delivered(&site, &mail, &files, &what);
        }
    }
}

/// A create without an answer left a draft with our tag. What is looked for is the other one.
#[test]
fn a_large_mail_in_doubt_is_not_taken_for_the_draft_that_was_left_behind() {
    let files = seven();
    let mail = mail("seven", &files);
    let site = Site::new();
    let rule = |route: &str, act| Rule {
        method: Some("POST".into()),
        route: route.into(),
        mailbox: None,
        nth: vec![1],
        every: false,
        probability: None,
        times: Some(1),
        act,
    };
    let faults = vec![
        rule("/v1.0/me/messages/*/send", Act::CutBefore),
        rule("/v1.0/me/messages", Act::CutAfter),
    ];
    site.sandbox.world().faults.set(Script { seed: 0, faults });
    let mut daemon = site.serve();
    hand_in(&site, &mut daemon, &mail);
    let entries = site.finish(&mut daemon);
    let states: Vec<State> = entries.iter().map(|entry| entry.state).collect();
    assert_eq!(states, [State::Sent], "{}", daemon.log());
    check_delivered(&site, &mail, &files, "beside one that was left behind");
}

/// How often a file's upload was begun, when its second piece is refused in this way.
fn begun_uploads(act: Act, change: impl FnOnce(&mut Switches)) -> usize {
    let files = seven();
    let mail = mail("seven", &files);
    let site = Site::new();
    change(&mut site.sandbox.world().switches());
    let second_piece = Rule {
        method: Some("PUT".into()),
        route: "/api/v2.0/*".into(),
        mailbox: None,
        nth: vec![2],
        every: false,
        probability: None,
        times: Some(1),
        act,
    };
    site.sandbox.world().faults.set(Script { seed: 0, faults: vec![second_piece] });
    let mut daemon = site.serve();
    hand_in(&site, &mut daemon, &mail);
    site.finish(&mut daemon);
    check_delivered(&site, &mail, &files, "broken off");
    let journal = site.sandbox.world().journal.entries();
    journal.iter().filter(|one| one.path.ends_with("/createUploadSession")).count()
}

#[test]
fn an_upload_goes_on_where_it_was_broken_off_and_begins_anew_where_nobody_knows() {
    assert_eq!(begun_uploads(Act::CutBefore, |_| {}), 1);
    assert_eq!(begun_uploads(Act::Answer(busy()), |_| {}), 1);
    assert_eq!(begun_uploads(Act::CutBefore, |world| world.upload_readable = false), 2);
    // The session is over.
    let gone = Answer { status: 404, code: "ErrorItemNotFound".into(), ..busy() };
    assert_eq!(begun_uploads(Act::Answer(gone), |_| {}), 2);
}

#[test]
fn an_account_that_may_only_send_hears_at_once_that_a_mail_is_too_large() {
    let site = Site::new_as(Profile::SendOnly);
    let daemon = site.serve();
    let mut client = Client::connect(daemon.address, &site.password).unwrap();
    let mail = mail("large", &[file("large.bin", 3_000_000)]);
    let with_size = format!("MAIL FROM:<{USER}> SIZE={}", mail.octets.len());
    for refusal in [
        client.ask(&with_size, "250").unwrap_err().to_string(),
        client.submit(&mail).unwrap_err().to_string(),
    ] {
        assert!(refusal.starts_with("552 5.3.4"), "{refusal}");
        assert!(refusal.contains("the profile mail or full (Mail.ReadWrite)"), "{refusal}");
    }
}

#[test]
fn a_large_mail_that_is_signed_is_refused_with_a_reason() {
    let site = Site::new();
    let daemon = site.serve();
    let mut signed = mail("signed", &[file("large.bin", 4_000_000)]);
    signed.octets = signed.octets.replace("multipart/mixed", "multipart/signed");
    let mut client = Client::connect(daemon.address, &site.password).unwrap();
    let refusal = client.submit(&signed).unwrap_err().to_string();
    assert!(refusal.starts_with("552 5.3.4 the mail is signed and too large"), "{refusal}");
    // What only a part says is found out later, and reported.
    let mut daemon = daemon;
    let mut wrapped = mail("wrapped", &[file("large.bin", 4_000_000)]);
    let signed = "Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n\r\nx\r\n--s--\r\n--=_m\r\nContent-Type: text/html";
    wrapped.octets = wrapped.octets.replace("Content-Type: text/html", signed);
    hand_in(&site, &mut daemon, &wrapped);
    let entries = site.finish(&mut daemon);
    let failed = entries.iter().find(|entry| entry.kind == Kind::Submission).unwrap();
    assert_eq!(failed.state, State::Failed, "{}", daemon.log());
    let copies = site.sandbox.world().ledger.copies();
    assert_eq!(copies.len(), 1);
    let report = String::from_utf8_lossy(&copies[0].message.raw).into_owned();
    assert_eq!(copies[0].recipient, USER);
    assert!(report.contains("5.3.4") && report.contains("Subject: wrapped"), "{report}");
}

/// From `/proc/PID/status`, in KiB.
fn kib(daemon: &Daemon, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_mail_of_150_mb_takes_no_more_than_64_mib_of_memory() {
    let site = Site::new();
    {
        let mut switches = site.sandbox.world().switches();
        switches.message_octets_max = 200 << 20;
        switches.uploaded_octets_max = 200 << 20;
    }
    let most = "[smtp]\nmessage_octets_max = 157_286_400\n";
    site.write_configuration(&site.configuration().replace("[smtp]\n", most));
    let mut daemon = site.serve();
    // One small mail, so that what is made once is there.
    hand_in(&site, &mut daemon, &Mail::new("first", &[COLLEAGUE], &[], 100));
    site.work_off(&mut daemon);
    let idle = kib(&daemon, "VmRSS:");
    let files = vec![file("small.bin", 2_900_000), file("huge.bin", 111_000_000)];
    let huge = mail("huge", &files);
    assert!(huge.octets.len() > 150_000_000 && huge.octets.len() < 157_286_400);
    let begun = Instant::now();
    hand_in(&site, &mut daemon, &huge);
    let (accepted, arrived) = (kib(&daemon, "VmHWM:"), begun.elapsed());
    site.work_off(&mut daemon);
    let sent = kib(&daemon, "VmHWM:");
    say(&format!(
        "150 MB: idle {idle} KiB, at most {accepted} when accepted ({arrived:.1?}), {sent} when sent ({:.1?})",
        begun.elapsed()
    ));
    site.finish(&mut daemon);
    check_delivered(&site, &huge, &files, "huge");
    assert!(sent <= idle + 64 * 1024, "idle {idle} KiB, at most {sent}");
}
