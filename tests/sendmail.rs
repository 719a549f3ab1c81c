//! `postbridge sendmail` as programs call it: before a bridge that takes mail, one that is down, and one
//! that dies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use common::daemon::{Daemon, Site};
use common::{COLLEAGUE, USER};
use postbridge::sandbox::script::{Act, Rule, Script};
use postbridge::store::spool::State;

const SECRET: &str = "megan.bowen@fabrikam.example";

/// A bridge with one TLS listener, and a user who has settings for sendmail.
struct Scene {
    site: Site,
    home: tempfile::TempDir,
}

struct Ran {
    status: i32,
    out: String,
    err: String,
}

impl Scene {
    fn new() -> Scene {
        let site = Site::new();
        let text = site.configuration();
        let text = text.replace("implicit_tls = []", "implicit_tls = [\"127.0.0.1:0\"]");
        site.write_configuration(&text.replace("clear = [\"127.0.0.1:0\"]", "clear = []"));
        let scene = Scene { site, home: common::private_directory() };
        // Nobody listens there yet.
        scene.settle(([127, 0, 0, 1], 1).into());
        scene
    }

    fn serve(&self) -> Daemon {
        let daemon = self.site.serve();
        self.settle(daemon.address);
        daemon
    }

    fn settings(&self) -> PathBuf {
        self.home.path().join(".config/postbridge/sendmail.toml")
    }

    /// Says in the settings where the bridge is.
    fn settle(&self, server: SocketAddr) {
        self.settle_as(server, &self.site.password);
    }

    fn settle_as(&self, server: SocketAddr, password: &str) {
        std::fs::create_dir_all(self.settings().parent().unwrap()).unwrap();
        let ca = self.site.state().join("tls/ca.pem");
        let text = format!(
            "server = \"{server}\"\nuser = \"{USER}\"\npassword = \"{password}\"\nca = \"{}\"\n",
            ca.display()
        );
        std::fs::write(self.settings(), text).unwrap();
        std::fs::set_permissions(self.settings(), std::fs::Permissions::from_mode(0o640)).unwrap();
    }

    fn drop_directory(&self) -> PathBuf {
        self.home.path().join(".local/state/postbridge/drop")
    }

    /// How many files of the drop directory end in this.
    fn dropped(&self, extension: &str) -> usize {
        let files = std::fs::read_dir(self.drop_directory()).into_iter().flatten();
        files
            .filter(|file| {
                file.as_ref().unwrap().path().extension().is_some_and(|e| e == extension)
            })
            .count()
    }

    fn run(&self, arguments: &[&str], input: &str) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postbridge"));
        command.arg("sendmail");
        self.run_as(command.args(arguments), input)
    }

    fn run_as(&self, command: &mut Command, input: &str) -> Ran {
        command.env_clear().env("HOME", self.home.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Who does not want its input may close it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |octets| String::from_utf8(octets).unwrap();
        Ran {
            status: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    #[track_caller]
    fn sends(&self, arguments: &[&str], input: &str) {
        let ran = self.run(arguments, input);
        assert_eq!((ran.status, ran.err.as_str(), ran.out.as_str()), (0, "", ""));
    }

    /// Each of `expected` (`recipient: subject`) arrived, each once, and nothing else did.
    #[track_caller]
    fn arrived(&self, daemon: &mut Daemon, expected: &[&str]) {
        self.site.finish(daemon);
        let mut copies: Vec<String> = self
            .site
            .sandbox
            .world()
            .ledger
            .copies()
            .into_iter()
            .map(|copy| format!("{}: {}", copy.recipient, copy.message.subject))
            .collect();
        copies.sort();
        let mut expected: Vec<String> = expected.iter().map(|&row| row.to_owned()).collect();
        expected.sort();
        assert_eq!(copies, expected);
    }

    /// The octets of the one mail with this subject, as its recipients got them.
    fn octets(&self, subject: &str) -> String {
        let url = self.site.sandbox.url();
        self.site.runtime.block_on(async {
            let http = reqwest::Client::builder().no_proxy().build().unwrap();
            let ledger = http.get(format!("{url}/_sandbox/ledger")).send().await.unwrap();
            let ledger: serde_json::Value = ledger.json().await.unwrap();
            let rows = ledger["mails"].as_array().unwrap();
            let row = rows.iter().find(|row| row["subject"] == subject).expect("the mail");
            let url = format!("{url}/_sandbox/mails/{}/raw", row["seq"]);
            http.get(url).send().await.unwrap().text().await.unwrap()
        })
    }
}

fn mail(subject: &str) -> String {
    format!("To: {COLLEAGUE}\nSubject: {subject}\n\nHello\n")
}

#[test]
fn a_mail_goes_to_whom_its_header_names_and_bcc_is_not_shown() {
    let scene = Scene::new();
    let mut daemon = scene.serve();
    let text =
        format!("To: {COLLEAGUE}\nBcc: {SECRET}\nSubject: header\n\nfirst\n.\n..second\nlast");
    scene.sends(&["-t", "-oi", "-F", "Nightly Backup"], &text);
    let text = "Subject: arguments\nTo: all\n\nup to here\n.\nnot this\n";
    scene.sends(&["-F", "x", "--", COLLEAGUE, SECRET], text);
    scene.arrived(
        &mut daemon,
        &[
            &format!("{COLLEAGUE}: header"),
            &format!("{SECRET}: header"),
            &format!("{COLLEAGUE}: arguments"),
            &format!("{SECRET}: arguments"),
        ],
    );
    let header = scene.octets("header");
    assert!(header.ends_with("\r\n\r\nfirst\r\n.\r\n..second\r\nlast\r\n"), "{header}");
    assert!(header.contains(&format!("From: \"Nightly Backup\" <{USER}>\r\n")), "{header}");
    assert!(header.contains("Date: ") && header.contains("Message-ID: <"), "{header}");
    assert!(!header.contains("Bcc") && !header.contains(SECRET), "{header}");
    assert!(scene.octets("arguments").ends_with("\r\n\r\nup to here\r\n"));
}

/// As Debian's cron calls it: `root`, and no `From` that Exchange could know.
#[test]
fn the_mail_of_cron_for_root_comes_to_the_configured_user() {
    let scene = Scene::new();
    let mut daemon = scene.serve();
    let text = "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@host> backup\n\
        MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n\n10%\r50%\r100%\n.\nJ\u{fc}rgen\n";
    scene.sends(&["-i", "-FCronDaemon", "-B8BITMIME", "-oem", "root"], text);
    scene.arrived(&mut daemon, &[&format!("{USER}: Cron <root@host> backup")]);
    let octets = scene.octets("Cron <root@host> backup");
    assert!(octets.contains(&format!("\"root (Cron Daemon)\" <{USER}>")), "{octets}");
    assert!(octets.ends_with("10%\r\n50%\r\n100%\r\n.\r\nJ\u{fc}rgen\r\n"), "{octets}");
}

#[test]
fn while_the_bridge_is_down_mails_wait_on_disk_and_the_next_one_takes_them_along() {
    let scene = Scene::new();
    // It has a certificate from an earlier day.
    let mut daemon = scene.serve();
    daemon.kill();
    for n in 0..3 {
        scene.sends(&["-t"], &format!("Bcc: {SECRET}\n{}", mail(&format!("waits-{n}"))));
    }
    assert_eq!(scene.dropped("mail"), 3);
    for file in std::fs::read_dir(scene.drop_directory()).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(text.contains(SECRET) && !text.contains("Bcc"), "{text}");
    }
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&scene.drop_directory()), 0o700);
    let queue = scene.run(&["-bp"], "").out;
    assert_eq!(
        queue.lines().filter(|line| line.contains("waits") && line.contains(COLLEAGUE)).count(),
        3
    );
    let flushed = scene.run(&["-q"], "");
    assert_eq!(flushed.status, 75, "{}", flushed.err);
    assert_eq!(scene.dropped("mail"), 3);

    let mut daemon = scene.serve();
    scene.sends(&["-t"], &mail("next"));
    assert_eq!(scene.dropped("mail"), 0);
    let mut expected = vec![format!("{COLLEAGUE}: next")];
    for who in [COLLEAGUE, SECRET] {
        expected.extend((0..3).map(|n| format!("{who}: waits-{n}")));
    }
    scene.arrived(&mut daemon, &expected.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(scene.run(&["-bp"], "").out, "Mail queue is empty\n");
}

/// The bridge has the mail on disk, and is killed while its reply is held back.
#[test]
fn a_mail_whose_reply_never_came_is_kept_and_known_again() {
    let scene = Scene::new();
    let text = std::fs::read_to_string(scene.site.config_file()).unwrap();
    scene.site.write_configuration(&text.replace("[smtp]", "[smtp]\nwait = \"60s\""));
    let mut daemon = scene.serve();
    let slow = Rule {
        method: Some("POST".into()),
        route: "/v1.0/me/messages".into(),
        mailbox: None,
        nth: Vec::new(),
        every: true,
        probability: None,
        times: None,
        act: Act::DelayMs(120_000),
    };
    let world = scene.site.sandbox.world();
    world.faults.set(Script { seed: 0, faults: vec![slow] });
    std::thread::scope(|threads| {
        let sender = threads.spawn(|| scene.sends(&["-t"], &mail("no-reply")));
        let deadline = Instant::now() + common::PATIENCE;
        // It is tried, so it is on disk.
        while scene.site.entries().iter().all(|entry| entry.attempts == 0) {
            assert!(Instant::now() < deadline, "{}", daemon.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        daemon.kill();
        sender.join().unwrap();
    });
    assert_eq!((scene.dropped("mail"), scene.dropped("begun")), (1, 1));
    world.faults.set(Script::default());
    let mut daemon = scene.serve();
    let flushed = scene.run(&["-q", "-v"], "");
    assert_eq!((flushed.status, scene.dropped("begun")), (0, 0), "{}", flushed.err);
    scene.arrived(&mut daemon, &[&format!("{COLLEAGUE}: no-reply")]);
    assert_eq!(scene.site.at_rest().0.len(), 1, "it is two mails there");
}

/// The bridge has the mail and dies before it says so: handed in again, it is the same mail.
#[test]
fn a_mail_whose_250_was_lost_is_not_sent_twice() {
    let scene = Scene::new();
    let mut daemon = scene.serve();
    daemon.kill();
    scene.sends(&["-t"], &mail("once"));
    let file = std::fs::read_dir(scene.drop_directory())
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| path.extension().is_some_and(|e| e == "mail"))
        .unwrap();
    let kept = std::fs::read(&file).unwrap();
    let mut daemon = scene.serve();
    let flushed = scene.run(&["-q", "-v"], "");
    assert_eq!(flushed.status, 0, "{}", flushed.err);
    assert!(flushed.err.contains("< 250 2.0.0 queued as"), "{}", flushed.err);
    assert!(!flushed.err.contains(&scene.site.password));
    // As if this process had been killed before it could note what it heard.
    std::fs::write(&file, kept).unwrap();
    daemon.kill();
    let mut daemon = scene.serve();
    let flushed = scene.run(&["-q", "-v"], "");
    assert!(flushed.err.contains("already here"), "{}", flushed.err);
    scene.arrived(&mut daemon, &[&format!("{COLLEAGUE}: once")]);
}

#[test]
fn what_may_have_been_taken_more_than_a_day_ago_is_not_handed_in_by_machine() {
    let scene = Scene::new();
    let mut daemon = scene.serve();
    daemon.kill();
    scene.sends(&["-t"], &mail("long-ago"));
    let file = std::fs::read_dir(scene.drop_directory())
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| path.extension().is_some_and(|e| e == "mail"))
        .unwrap();
    let begun = std::fs::File::create(file.with_extension("begun")).unwrap();
    begun.set_modified(SystemTime::now() - Duration::from_secs(24 * 3600)).unwrap();
    let mut daemon = scene.serve();
    assert_eq!(scene.run(&["-q"], "").status, 0);
    assert_eq!(
        (scene.dropped("mail"), scene.dropped("refused"), scene.dropped("begun")),
        (0, 1, 0)
    );
    assert!(scene.run(&["-bp"], "").out.contains("look in Sent Items"));
    scene.arrived(&mut daemon, &[]);
}

#[test]
fn a_dropped_mail_that_is_refused_is_kept_with_the_reason_and_the_others_go() {
    let scene = Scene::new();
    let mut daemon = scene.serve();
    daemon.kill();
    scene.sends(&["-t", "-f", "stranger@fabrikam.example"], &mail("foreign"));
    // After this one the bridge hangs up.
    scene.sends(&["-t"], &mail("nul").replace("Hello", "\0"));
    scene.sends(&["-t"], &mail("own"));
    let mut daemon = scene.serve();
    let flushed = scene.run(&["-q"], "");
    assert_eq!(flushed.status, 0, "{}", flushed.err);
    assert_eq!((scene.dropped("mail"), scene.dropped("refused")), (0, 2));
    let queue = scene.run(&["-bp"], "").out;
    for words in ["refused", "550 5.7.1", "550 5.6.11"] {
        assert!(queue.contains(words), "{words:?} is not in {queue}");
    }
    scene.arrived(&mut daemon, &[&format!("{COLLEAGUE}: own")]);
}

/// sysexits.h, as programs expect it; and nothing is dropped that the caller was told of.
#[test]
fn refusals_have_the_exit_statuses_of_sendmail() {
    let scene = Scene::new();
    let mut daemon = scene.serve();
    for (arguments, input, status, words) in [
        (&["-t"][..], "Subject: nobody\n\nx\n", 64, "no recipient"),
        (&[][..], "x\n", 64, "-t"),
        (&["-bz"][..], "", 64, "-bz"),
        (&["-t"][..], "To: <a@b.example\n\nx\n", 65, "To:"),
        (&["a b@c.example"][..], "x\n", 64, "address"),
        (&["-f", "stranger@fabrikam.example", COLLEAGUE][..], "x\n", 69, "550 5.7.1"),
        (&[COLLEAGUE][..], "From: stranger@fabrikam.example\n\nx\n", 65, "550"),
        (&[COLLEAGUE][..], "Subject: nul\n\n\0\n", 65, "550 5.6.11"),
    ] {
        let ran = scene.run(arguments, input);
        assert_eq!(ran.status, status, "{arguments:?}: {}", ran.err);
        assert!(
            ran.err.starts_with("sendmail: ") && ran.err.contains(words),
            "{arguments:?}: {}",
            ran.err
        );
    }
    scene.settle_as(daemon.address, "mistyped");
    let ran = scene.run(&[COLLEAGUE], "x\n");
    assert_eq!(ran.status, 77, "{}", ran.err);
    assert!(ran.err.contains("535") && !ran.err.contains("mistyped"), "{}", ran.err);

    std::fs::set_permissions(scene.settings(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let ran = scene.run(&[COLLEAGUE], "x\n");
    assert_eq!(ran.status, 77);
    assert!(ran.err.contains("chmod o="), "{}", ran.err);
    std::fs::remove_file(scene.settings()).unwrap();
    let ran = scene.run(&[COLLEAGUE], "x\n");
    assert_eq!(ran.status, 78);
    assert!(ran.err.contains("sendmail.toml"), "{}", ran.err);
    assert_eq!(scene.dropped("mail"), 0);
    scene.arrived(&mut daemon, &[]);
}

#[test]
fn a_bridge_that_another_ca_vouches_for_gets_no_password() {
    let scene = Scene::new();
    let mut daemon = scene.serve();
    let other = rcgen::generate_simple_self_signed(["nobody.example".to_owned()]).unwrap();
    let ca = scene.home.path().join("other.pem");
    std::fs::write(&ca, other.cert.pem()).unwrap();
    let text = std::fs::read_to_string(scene.settings()).unwrap();
    let own = scene.site.state().join("tls/ca.pem").display().to_string();
    std::fs::write(scene.settings(), text.replace(&own, &ca.display().to_string())).unwrap();
    let ran = scene.run(&[COLLEAGUE], "x\n");
    assert_eq!(ran.status, 78, "{}", ran.err);
    assert!(ran.err.contains("other.pem"), "{}", ran.err);
    scene.arrived(&mut daemon, &[]);
}

/// A drop directory that cannot be written: the caller keeps the mail, and is told so.
#[test]
fn what_can_neither_be_handed_in_nor_kept_is_a_temporary_failure() {
    let scene = Scene::new();
    let state = scene.home.path().join(".local/state");
    std::fs::create_dir_all(&state).unwrap();
    std::fs::write(state.join("postbridge"), "in the way").unwrap();
    let ran = scene.run(&[COLLEAGUE], "x\n");
    assert_eq!(ran.status, 75, "{}", ran.err);
    assert!(ran.err.contains("cannot be kept"), "{}", ran.err);
}

#[test]
fn a_session_on_standard_input_is_passed_to_the_bridge() {
    let scene = Scene::new();
    let mut daemon = scene.serve();
    let session = format!(
        "EHLO here\r\nMAIL FROM:<{USER}>\r\nRCPT TO:<{COLLEAGUE}>\r\nDATA\r\n\
         Subject: session\r\n\r\n..dots\r\n.\r\nQUIT\r\n"
    );
    let ran = scene.run(&["-bs"], &session);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    let codes: Vec<&str> =
        ran.out.lines().filter(|line| line.get(3..4) == Some(" ")).map(|line| &line[..3]).collect();
    assert_eq!(codes, ["220", "250", "250", "250", "354", "250", "221"], "{}", ran.out);
    scene.arrived(&mut daemon, &[&format!("{COLLEAGUE}: session")]);
    assert!(scene.octets("session").ends_with("\r\n\r\n.dots\r\n"));
    let down = scene.run(&["-bs"], "QUIT\r\n");
    assert_eq!((down.status, &down.out[..3]), (75, "421"));
}

#[test]
fn called_by_the_names_of_sendmail_it_is_sendmail() {
    let scene = Scene::new();
    let mut daemon = scene.serve();
    let as_name = |name: &str| {
        let link = scene.home.path().join(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_postbridge"), &link).unwrap();
        Command::new(link)
    };
    let ran = scene.run_as(as_name("sendmail").args(["-t", "-i"]), &mail("by-name"));
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    assert_eq!(scene.run_as(&mut as_name("mailq"), "").out, "Mail queue is empty\n");
    assert_eq!(scene.run_as(&mut as_name("newaliases"), "").status, 0);
    scene.arrived(&mut daemon, &[&format!("{COLLEAGUE}: by-name")]);
}

/// Many at once, while the bridge is killed and started: what was told to be well arrives once.
#[test]
fn through_kills_of_the_bridge_each_mail_arrives_once() {
    let scene = Scene::new();
    let mut daemon = scene.serve();
    let mut expected = Vec::new();
    for round in 0..4 {
        let subjects: Vec<String> = (0..6).map(|n| format!("kill-{round}-{n}")).collect();
        std::thread::scope(|threads| {
            let sends = |subject: &String| {
                let text = mail(subject);
                let scene = &scene;
                threads.spawn(move || scene.sends(&["-t"], &text))
            };
            let senders: Vec<_> = subjects.iter().map(sends).collect();
            daemon.kill();
            senders.into_iter().for_each(|sender| sender.join().unwrap());
        });
        expected.extend(subjects.iter().map(|subject| format!("{COLLEAGUE}: {subject}")));
        daemon = scene.serve();
    }
    let flushed = scene.run(&["-q"], "");
    assert_eq!(flushed.status, 0, "{}", flushed.err);
    assert_eq!(
        (scene.dropped("mail"), scene.dropped("refused"), scene.dropped("begun")),
        (0, 0, 0)
    );
    let entries = scene.site.entries();
    scene.arrived(&mut daemon, &expected.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(entries.iter().all(|entry| entry.state != State::Failed), "{entries:?}");
}
