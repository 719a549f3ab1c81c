//! The program as a shell sees it: what each refusal says and its exit status, what a log holds,
//! and how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::COLLEAGUE;
use common::daemon::{Client, Daemon, Mail, Site, listing};
use postbridge::store::spool::State;
use serde_json::Value;
use sqlx::{Connection, SqliteConnection};

/// Runs `serve`, which is to refuse; status and words. Fails when it touched anything.
fn refusal(site: &Site) -> (i32, String) {
    refusal_of(site, &["serve"])
}

fn refusal_of(site: &Site, arguments: &[&str]) -> (i32, String) {
    let before = listing(site.directory.path());
    let Output { status, stderr, stdout } =
        site.command(arguments).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(stderr).unwrap();
    assert!(listing(site.directory.path()) == before, "something was touched: {text}");
    assert!(stdout.is_empty());
    assert!(text.starts_with("postbridge: "), "{text}");
    assert!(!text.contains("panicked") && !text.contains('\u{1b}'), "{text}");
    (status.code().unwrap(), text)
}

fn assert_says(text: &str, words: &[&str]) {
    // Drawn to the width of a terminal: a sentence may be broken.
    let flat: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c == '│').filter(|w| !w.is_empty()).collect();
    let flat = flat.join(" ");
    for word in words {
        assert!(flat.contains(word), "{word:?} is not in: {text}");
    }
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn a_database_of_a_newer_version_is_65() {
    let site = Site::new();
    let database = site.state().join("postbridge.db");
    site.runtime.block_on(async {
        let url = format!("sqlite://{}", database.display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        sqlx::query(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'of the future', TRUE, x'00', 0)",
        )
        .execute(&mut connection)
        .await
        .unwrap();
        connection.close().await.unwrap();
    });
    let (status, text) = refusal(&site);
    assert_eq!(status, 65, "{text}");
    assert_says(&text, &[&path(&database), "newer postbridge", "install that version"]);
}

#[test]
fn a_missing_key_is_66() {
    let site = Site::new();
    let key = site.state().join("kek");
    let elsewhere = site.directory.path().join("kek.bak");
    std::fs::rename(&key, &elsewhere).unwrap();
    let (status, text) = refusal(&site);
    assert_eq!(status, 66, "{text}");
    assert_says(&text, &[&path(&key), "missing", "put it back"]);
    // No other was made in its place; with the old one everything is as before.
    std::fs::rename(&elsewhere, &key).unwrap();
    let mut daemon = site.serve();
    let mut client = Client::connect(daemon.address, &site.password).unwrap();
    let id = client.submit(&Mail::new("key-is-back", &[COLLEAGUE], &[], 10)).unwrap();
    let entries = site.finish(&mut daemon);
    assert_eq!((entries[0].id, entries[0].state), (id, State::Sent));
}

#[test]
fn a_key_that_is_none_is_66_and_one_that_others_can_read_is_77() {
    let site = Site::new();
    let key = site.state().join("kek");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (status, text) = refusal(&site);
    assert_eq!(status, 77, "{text}");
    assert_says(&text, &[&path(&key), "chmod 600"]);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&key, "not a key").unwrap();
    let (status, text) = refusal(&site);
    assert_eq!(status, 66, "{text}");
    assert_says(&text, &[&path(&key), "32 octets"]);
}

#[test]
fn a_port_in_use_is_69() {
    let site = Site::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for key in ["starttls", "implicit_tls"] {
        let text = site.configuration();
        let text = text.replace(&format!("{key} = []"), &format!("{key} = [\"{address}\"]"));
        site.write_configuration(&text);
        let (status, text) = refusal(&site);
        assert_eq!(status, 69, "{text}");
        assert_says(&text, &[&address, &format!("smtp.{key}")]);
        assert_eq!(text.matches("in use").count(), 1, "said twice: {text}");
    }
}

#[test]
fn a_second_daemon_is_75_and_the_first_goes_on() {
    let site = Site::new();
    let mut daemon = site.serve();
    let (status, text) = refusal(&site);
    assert_eq!(status, 75, "{text}");
    assert_says(&text, &[&path(&site.state()), "another postbridge", "stop that one"]);
    let mut client = Client::connect(daemon.address, &site.password).unwrap();
    client.submit(&Mail::new("first-goes-on", &[COLLEAGUE], &[], 10)).unwrap();
    assert_eq!(site.finish(&mut daemon).len(), 1);
}

#[test]
fn a_state_directory_that_others_can_read_is_77() {
    let site = Site::new();
    std::fs::set_permissions(site.state(), std::fs::Permissions::from_mode(0o750)).unwrap();
    let (status, text) = refusal(&site);
    assert_eq!(status, 77, "{text}");
    let remedy = format!("chmod 700 {}", path(&site.state()));
    assert_says(&text, &["0750", &remedy]);
}

#[test]
fn a_state_directory_that_is_none_is_73() {
    let site = Site::new();
    let file = path(&site.config_file());
    let (status, text) = refusal_of(&site, &["--state", &file, "serve"]);
    assert_eq!(status, 73, "{text}");
    assert_says(&text, &[&file]);
}

/// File, key, value and remedy.
#[test]
fn a_configuration_that_cannot_be_used_is_78() {
    let site = Site::new();
    let good = site.configuration();
    let file = path(&site.config_file());
    for (from, to, words) in [
        ("[smtp]", "[smtp]\nstartls = []", ["startls", "unknown field", "starttls"]),
        (
            "[smtp]",
            "[smtp]\nmessage_octets_max = 999999999",
            ["message_octets_max", "999999999", "choose 1024"],
        ),
        ("127.0.0.1:0", "0.0.0.0:2525", ["smtp.clear", "0.0.0.0:2525", "smtp.starttls"]),
        (
            "starttls = []",
            "starttls = [\"localhost:1587\"]",
            ["starttls", "localhost:1587", "socket address"],
        ),
        ("5ca1ab1e-0000-4000-8000-000000000001", "my app", ["client_id", "my app", "GUID"]),
        ("keep_free_mib = 0", "quota_mib = -1", ["quota_mib", "-1", "u64"]),
        ("[spool]", "[spool", ["[spool", "]", "expected"]),
        ("send_as = [", "send_as = [\"nobody\", ", ["send_as", "nobody", "@"]),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        site.write_configuration(&bad);
        let (status, text) = refusal(&site);
        assert_eq!(status, 78, "{text}");
        assert_says(&text, &[&file]);
        assert_says(&text, &words);
    }
    std::fs::remove_file(site.config_file()).unwrap();
    let (status, text) = refusal(&site);
    assert_eq!(status, 78, "{text}");
    assert_says(&text, &[&file, "--config"]);
}

#[test]
fn without_an_app_registration_it_says_where_to_get_one_and_is_78() {
    let site = Site::new();
    site.write_configuration(&format!("state_dir = \"{}\"\n", path(&site.state())));
    let (status, text) = refusal(&site);
    assert_eq!(status, 78, "{text}");
    assert_says(&text, &["client_id", "[entra]", "postbridge demo"]);
}

/// `demo`, with nothing of the surroundings.
fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postbridge"));
    command.arg("demo").args(arguments).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn succeeded(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Who was told, of `line`'s invitations about `subject`, as `kind attendee`.
fn told(line: &Value, subject: &str) -> Vec<String> {
    let rows = line["invitations"].as_array().unwrap().iter();
    rows.filter(|row| row["subject"] == subject)
        .map(|row| {
            format!("{} {}", row["kind"].as_str().unwrap(), row["attendee"].as_str().unwrap())
        })
        .collect()
}

const GUEST: &str = "kim.akers@fabrikam.example";

/// What becomes of the demo's meeting.
fn a_whole_life() -> Vec<String> {
    let kinds = ["request", "update", "cancel"];
    kinds.iter().flat_map(|kind| [COLLEAGUE, GUEST].map(|who| format!("{kind} {who}"))).collect()
}

#[test]
fn the_demo_sends_a_mail_and_a_meeting_and_tells_a_program_what_came_of_them() {
    let directory = common::private_directory();
    let state = directory.path().join("state");
    let text = succeeded(demo(&["--once", "--json", "--state"]).arg(&state).output().unwrap());
    assert_eq!(text.lines().count(), 1, "{text}");
    let line: Value = serde_json::from_str(&text).unwrap();
    let mut keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "ca",
            "caldav",
            "caldav_tls",
            "invitations",
            "mails",
            "password",
            "sandbox",
            "smtp",
            "smtps",
            "state",
            "user"
        ]
    );
    let told_as = |key: &str| line[key].as_str().unwrap();
    assert_eq!((told_as("user"), told_as("state")), (common::USER, &*path(&state)));
    assert!(Path::new(told_as("ca")).exists(), "{text}");
    assert!(told_as("sandbox").starts_with("http://127.0.0.1:"), "{text}");
    for key in ["smtp", "smtps"] {
        let address: std::net::SocketAddr = told_as(key).parse().unwrap();
        assert!(address.ip().is_loopback(), "{text}");
    }
    for (key, front) in [("caldav", "http://localhost:"), ("caldav_tls", "https://localhost:")] {
        let rest = told_as(key).strip_prefix(front).unwrap_or_else(|| panic!("{key}: {text}"));
        assert!(rest.strip_suffix("/dav/").unwrap().parse::<u16>().unwrap() > 0, "{text}");
    }
    let mails = line["mails"].as_array().unwrap();
    assert_eq!(mails.len(), 1, "an attendee got an invite as a mail: {text}");
    assert_eq!(mails[0]["recipient"], COLLEAGUE);
    assert_eq!(told(&line, "Interview"), a_whole_life());
    assert_eq!(line["invitations"].as_array().unwrap().len(), 6, "{text}");

    // Neither mail nor meeting is taken for a repeat of the first run's.
    let again = succeeded(demo(&["--once", "--json", "--state"]).arg(&state).output().unwrap());
    let line: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(told(&line, "Interview"), a_whole_life());
}

#[test]
fn a_demo_without_a_directory_of_its_own_leaves_none_behind() {
    let temporary = common::private_directory();
    let text = succeeded(demo(&["--once"]).env("TMPDIR", temporary.path()).output().unwrap());
    let table: Vec<Vec<&str>> = text
        .lines()
        .skip_while(|line| !line.contains("The tool mailed"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(table.len(), 7, "{text}");
    for (row, told) in table.iter().skip(1).zip(a_whole_life()) {
        assert!(row.join(" ").contains(&format!("{told} Interview")), "{told}: {text}");
        assert_eq!(row.last(), Some(&"10:00"), "{text}");
    }
    for name in ["invitation", "moved by a day", "cancellation"] {
        assert!(text.contains(name), "{name:?} is not in {text}");
    }
    assert!(!text.contains("Ctrl-C"), "it has ended: {text}");
    assert!(listing(temporary.path()).is_empty());
}

#[test]
fn a_demo_that_stays_up_leaves_a_meeting_in_the_calendars() {
    let temporary = common::private_directory();
    let mut child =
        demo(&["--json"]).env("TMPDIR", temporary.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut text).unwrap();
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told(&line, "Interview"), a_whole_life());
    let standing = [COLLEAGUE, GUEST].map(|who| format!("request {who}"));
    assert_eq!(told(&line, "Kick-off"), standing);

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let page = runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = line["sandbox"].as_str().unwrap();
        client.get(url).send().await.unwrap().text().await.unwrap()
    });
    assert!(page.contains("/accept"), "Alex has nothing to answer: {page}");

    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(listing(temporary.path()).is_empty());
}

#[test]
fn no_secret_and_nothing_of_a_mail_is_in_the_most_talkative_log() {
    let site = Site::new();
    let mut daemon = Daemon::start(site.command(&["serve"]).env("RUST_LOG", "trace"));
    let mut client = Client::connect(daemon.address, &site.password).unwrap();
    let body = "the body is nobody's business";
    for n in 0..3 {
        let mut mail = Mail::new(&format!("whispered-{n}"), &[COLLEAGUE], &[], 10);
        mail.octets.push_str(&format!("{body}\r\n"));
        client.submit(&mail).unwrap();
    }
    let wrong = format!("{}x", site.password);
    assert!(Client::connect(daemon.address, &wrong).is_err());
    let out = site.command(&["account", "password", common::USER]).output().unwrap();
    let new_password = String::from_utf8(out.stdout).unwrap().lines().nth(1).unwrap().to_owned();
    assert!(!String::from_utf8_lossy(&out.stderr).contains(&new_password));
    site.finish(&mut daemon);
    let log = daemon.log();
    assert!(log.contains("sent"), "{log}");
    let mut secrets = tokens(&site);
    assert!(secrets.len() >= 2, "{}", secrets.len());
    secrets.extend([site.password.clone(), wrong, new_password, body.to_owned()]);
    secrets.push("whispered".to_owned());
    use base64::Engine;
    let plain = format!("\0{}\0{}", common::USER, site.password);
    secrets.push(base64::engine::general_purpose::STANDARD.encode(plain));
    secrets.push("Bearer ".to_owned());
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret:?} is in the log:\n{log}");
    }
}

#[test]
fn each_change_of_state_is_a_line_with_the_id_and_names_nobody() {
    let site = Site::new();
    site.write_configuration(&format!("{}[log]\nformat = \"json\"\n", site.configuration()));
    let refuse = r#"{"faults": [{"route": "/v1.0/me/messages/*/send", "nth": [2], "do":
        {"answer": {"status": 403, "code": "ErrorSendAsDenied"}}}]}"#;
    site.sandbox.world().faults.set(serde_json::from_str(refuse).unwrap());
    let mut daemon = site.serve();
    let mut client = Client::connect(daemon.address, &site.password).unwrap();
    let sent = client.submit(&Mail::new("sent", &[COLLEAGUE], &[], 10)).unwrap().to_string();
    site.work_off(&mut daemon);
    let failed = client.submit(&Mail::new("failed", &[COLLEAGUE], &[], 10)).unwrap().to_string();
    site.work_off(&mut daemon);
    site.sandbox.world().identity.revoke(None, false);
    client.submit(&Mail::new("waits", &[COLLEAGUE], &[], 10)).unwrap();
    daemon.logged("the account needs a sign-in");
    // The command that mends it names the account, and so stands in the list.
    let list = succeeded(site.command(&["account", "list"]).output().unwrap());
    assert!(list.contains(&format!("postbridge account signin {}", common::USER)), "{list}");
    daemon.terminate();
    daemon.ended();
    let log = daemon.log();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let of = |id: &str, message: &str| {
        lines.iter().filter(|line| line["entry"] == id && line["message"] == message).count()
    };
    assert_eq!((of(&sent, "mail accepted"), of(&sent, "sent")), (1, 1), "{log}");
    assert_eq!((of(&failed, "mail accepted"), of(&failed, "failed")), (1, 1), "{log}");
    assert!(!log.contains('@'), "{log}");
}

/// Every access and refresh token that the sandbox knows.
fn tokens(site: &Site) -> Vec<String> {
    let grants = format!("{:?}", *site.sandbox.world().identity.grants());
    // Tokens are the quoted keys of its maps; nothing else there is as long.
    grants.split('"').filter(|text| text.len() > 60).map(str::to_owned).collect()
}

#[test]
fn at_sigterm_a_running_transaction_gets_its_reply_and_nobody_else_gets_in() {
    let site = Site::new();
    let mut daemon = site.serve();
    let mut idle = Client::connect(daemon.address, &site.password).unwrap();
    let mut busy = Client::connect(daemon.address, &site.password).unwrap();
    let mail = Mail::new("to-the-end", &[COLLEAGUE], &[], 100);
    busy.begin(&mail).unwrap();
    busy.send(&mail.octets).unwrap();
    daemon.terminate();
    // Who is between two mails is told to go; that the listeners are closed is then certain too.
    let told = idle.expect("421").unwrap();
    assert!(told.starts_with("421 4.3.2"), "{told}");
    assert!(Client::connect(daemon.address, &site.password).is_err());
    busy.send(".\r\n").unwrap();
    let reply = busy.expect("250").unwrap();
    let asked = std::time::Instant::now();
    let status = daemon.ended();
    assert!(status.success(), "{status}: {}", daemon.log());
    assert!(asked.elapsed() < std::time::Duration::from_secs(30));
    let (entries, _) = site.at_rest();
    assert_eq!(entries[0].id, common::id_in(&reply));
    assert!(matches!(entries[0].state, State::Queued | State::Sent), "{entries:?}");
}
