//! `postbridge doctor` before the sandbox and its faults: what it says, what it leaves alone, and its exit
//! status.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use common::daemon::Site;
use common::{COLLEAGUE, USER};
use postbridge::account::Profile;
use postbridge::sandbox::script::{Act, Answer, Rule, Script, TokenError};
use postbridge::sandbox::{Options, Sandbox};
use serde_json::Value;
use sqlx::{Connection, SqliteConnection};

/// What it found, by check; and the text for the administrator.
struct Found {
    status: i32,
    findings: Vec<Value>,
    administrator: Option<String>,
}

impl Found {
    /// The one finding of a check: outcome, and text with remedy.
    #[track_caller]
    fn of(&self, check: &str) -> (&str, String) {
        let all: Vec<&Value> = self.findings.iter().filter(|one| one["check"] == check).collect();
        assert!(!all.is_empty(), "{check}: {:?}", self.findings);
        // The worst of them speaks for it.
        let one = all.iter().find(|one| one["outcome"] == "bad").unwrap_or(&all[0]);
        let text = format!("{} {} → {}", one["subject"], one["text"], one["remedy"]);
        (one["outcome"].as_str().unwrap(), text)
    }

    #[track_caller]
    fn is(&self, check: &str, outcome: &str, words: &[&str]) {
        let (own, text) = self.of(check);
        assert_eq!(own, outcome, "{text}");
        for word in words {
            assert!(text.contains(word), "{word:?} is not in {text}");
        }
    }

    /// Those that are bad.
    fn bad(&self) -> Vec<&str> {
        let bad = self.findings.iter().filter(|one| one["outcome"] == "bad");
        bad.map(|one| one["check"].as_str().unwrap()).collect()
    }
}

/// With files as the program makes them, for their owner alone.
fn site_as(profile: Profile) -> Site {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    Site::new_as(profile)
}

fn site() -> Site {
    site_as(Profile::Full)
}

fn doctor(site: &Site, arguments: &[&str]) -> Found {
    doctor_by(&mut site.command(&["doctor", "--json"]), arguments)
}

fn doctor_by(command: &mut std::process::Command, arguments: &[&str]) -> Found {
    let output = command.args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    let mut all: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text} {errors}"));
    let findings = all["findings"].as_array_mut().map(std::mem::take).unwrap();
    let status = output.status.code().unwrap();
    assert_eq!(all["ok"].as_bool().unwrap(), status == 0);
    let administrator = all["for_the_administrator"].as_str().map(str::to_owned);
    Found { status, findings, administrator }
}

fn fault(site: &Site, method: Option<&str>, route: &str, act: Act) {
    let rule = Rule {
        method: method.map(str::to_owned),
        route: route.into(),
        mailbox: None,
        nth: Vec::new(),
        every: true,
        probability: None,
        times: None,
        act,
    };
    site.sandbox.world().faults.set(Script { seed: 0, faults: vec![rule] });
}

fn answer(status: u16, code: &str) -> Act {
    Act::Answer(Answer { status, code: code.into(), message: None, retry_after: None })
}

/// What was asked of Graph, as `METHOD /path`.
fn asked(site: &Site) -> Vec<String> {
    let entries = site.sandbox.world().journal.entries();
    let entries: Vec<Value> =
        entries.iter().map(|one| serde_json::to_value(one).unwrap()).collect();
    let text = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
    entries.iter().map(|one| format!("{} {}", text(one, "method"), text(one, "path"))).collect()
}

#[test]
fn a_bridge_that_works_is_told_so_and_nothing_is_read_or_made() {
    let site = site();
    let mut daemon = site.serve();
    let found = doctor(&site, &[]);
    assert_eq!((found.status, found.bad()), (0, Vec::<&str>::new()), "{:?}", found.findings);
    for check in [
        "configuration",
        "state",
        "certificate",
        "dns",
        "login",
        "graph",
        "clock",
        "sign-in",
        "permissions",
        "token",
        "mailbox",
        "calendar",
    ] {
        found.is(check, "good", &[]);
    }
    found.is("sign-in", "good", &[USER]);
    assert_eq!(found.administrator, None);
    for request in asked(&site) {
        let reads =
            ["/messages", "/events", "calendarView"].iter().any(|what| request.contains(what));
        assert!(!reads, "{request}");
    }
    assert!(site.finish(&mut daemon).is_empty());
}

#[test]
fn a_mail_and_an_event_go_out_and_only_the_mail_stays() {
    let site = site();
    let mut daemon = site.serve();
    let found = doctor(&site, &["--send", USER]);
    assert_eq!((found.status, found.bad()), (0, Vec::<&str>::new()), "{:?}", found.findings);
    found.is("send", "good", &["a mail to itself: done"]);
    let events: Vec<&str> = found
        .findings
        .iter()
        .filter(|one| one["check"] == "event")
        .map(|one| one["text"].as_str().unwrap())
        .collect();
    assert_eq!(events, ["an event is made: done", "and removed: done"]);
    let copies = site.copies("postbridge works");
    assert_eq!((copies.get(USER), copies.len()), (Some(&1), 1));
    let asked = asked(&site);
    let count = |what: &str| asked.iter().filter(|request| request.starts_with(what)).count();
    assert_eq!(count("POST /v1.0/me/events"), 1, "{asked:?}");
    assert_eq!(count("DELETE /v1.0/me/events/"), 1, "{asked:?}");
    site.finish(&mut daemon);
    let url = site.sandbox.url();
    let ledger = site.runtime.block_on(async {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        http.get(format!("{url}/_sandbox/ledger"))
            .send()
            .await
            .unwrap()
            .json::<Value>()
            .await
            .unwrap()
    });
    assert_eq!(ledger["invitations"], Value::Array(Vec::new()));
}

#[test]
fn without_the_daemon_it_looks_all_the_same_and_says_what_it_could_not() {
    let site = site();
    let free = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = site.configuration();
    let text = text.replace("starttls = []", &format!("starttls = [\"{free}\"]"));
    site.write_configuration(&text);
    let found = doctor(&site, &["--send"]);
    assert_eq!((found.status, found.bad()), (0, Vec::<&str>::new()), "{:?}", found.findings);
    found.is("port", "good", &["smtp.starttls", "free"]);
    found.is("certificate", "not-looked-at", &["at the first start"]);
    found.is("send", "not-looked-at", &["does not run"]);
    found.is("sign-in", "good", &[]);
    assert!(site.at_rest().0.is_empty());
    let taken_at = taken.local_addr().unwrap().to_string();
    site.write_configuration(&text.replace(&free.to_string(), &taken_at));
    let found = doctor(&site, &[]);
    assert_eq!((found.status, found.bad()), (1, vec!["port"]));
    found.is("port", "bad", &[&taken_at, "another program has it"]);
}

#[test]
fn a_revoked_sign_in_and_one_that_a_policy_blocks_are_told_apart() {
    let site = site();
    let mut daemon = site.serve();
    let token = "/*/oauth2/v2.0/token";
    fault(
        &site,
        Some("POST"),
        token,
        Act::TokenError(TokenError { code: 50173, error: None, suberror: None }),
    );
    let found = doctor(&site, &[]);
    assert_eq!((found.status, found.bad()), (1, vec!["sign-in"]));
    found.is("sign-in", "bad", &["AADSTS50173", "account signin"]);
    found.is("mailbox", "not-looked-at", &["no token"]);
    assert_eq!(found.administrator, None);
    site.finish(&mut daemon);

    site.sandbox.world().faults.set(Script::default());
    site.sign_in();
    fault(
        &site,
        Some("POST"),
        token,
        Act::TokenError(TokenError { code: 53003, error: None, suberror: None }),
    );
    // And without the daemon.
    let found = doctor(&site, &[]);
    assert_eq!(found.bad(), ["sign-in"]);
    found.is("sign-in", "bad", &["AADSTS53003", "administrator"]);
    let text = found.administrator.unwrap();
    for words in [
        "5ca1ab1e-0000-4000-8000-000000000001",
        "Mail.Send",
        "Calendars.ReadWrite",
        "Conditional Access",
        "AADSTS53003",
        "adminconsent",
    ] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
}

#[test]
fn a_permission_that_was_not_granted_is_named_with_what_will_not_work() {
    let site = site_as(Profile::SendOnly);
    site.runtime.block_on(async {
        let url = format!("sqlite://{}", site.state().join("postbridge.db").display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        sqlx::query("UPDATE account SET profile = '\"full\"'")
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    });
    let found = doctor(&site, &[]);
    assert_eq!(found.bad(), ["permissions"]);
    found.is(
        "permissions",
        "bad",
        &["Calendars.ReadWrite", "without a calendar entry", "--profile"],
    );
    found.is("mailbox", "not-looked-at", &["Mail.Send alone"]);
    found.is("calendar", "not-looked-at", &["not granted"]);
    assert!(found.administrator.unwrap().contains("Mail.ReadWrite"));
}

#[test]
fn an_account_without_a_mailbox_in_the_cloud_is_told_in_words() {
    let site = site();
    fault(&site, None, "/v1.0/me/mailFolders", answer(404, "MailboxNotEnabledForRESTAPI"));
    let found = doctor(&site, &[]);
    assert_eq!(found.bad(), ["mailbox"]);
    found.is(
        "mailbox",
        "bad",
        &["MailboxNotEnabledForRESTAPI", "no mailbox in Exchange Online", "licence"],
    );
    assert!(found.administrator.unwrap().contains("MailboxNotEnabledForRESTAPI"));
}

/// Another place for login and Graph than the sandbox.
fn at(site: &Site, url: &str) {
    site.write_configuration(&site.configuration().replace(&site.sandbox.url(), url));
}

#[test]
fn hosts_that_are_closed_silent_or_unknown_are_told_apart() {
    let site = site();
    let closed = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    at(&site, &format!("http://{closed}"));
    let found = doctor(&site, &[]);
    assert_eq!(found.status, 1);
    found.is("login", "bad", &["refused", "firewall"]);
    found.is("graph", "bad", &["refused", "firewall"]);
    found.is("clock", "not-looked-at", &["did not answer"]);
    // The account's own token as well.
    found.is("sign-in", "bad", &["cannot be reached"]);

    // The kernel accepts, and nobody reads.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    at(&site, &format!("http://{}", silent.local_addr().unwrap()));
    std::fs::remove_dir_all(site.state()).unwrap();
    let found = doctor(&site, &["--wait", "1"]);
    found.is("login", "bad", &["does not answer in time"]);
    found.is("accounts", "not-looked-at", &["account add"]);
    assert!(!site.state().exists(), "it made a state directory");

    // No name server is asked for a name that cannot be one.
    let name = format!("{}.example", "a".repeat(64));
    at(&site, &format!("https://{name}"));
    let found = doctor(&site, &["--wait", "5"]);
    found.is("dns", "bad", &["cannot be looked up", &name]);
}

#[test]
fn a_proxy_is_named_without_its_password() {
    let site = site();
    std::fs::remove_dir_all(site.state()).unwrap();
    at(&site, "https://login.fabrikam.example");
    let closed = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    let mut command = site.command(&["doctor", "--json"]);
    command.env("HTTPS_PROXY", format!("http://adele:secret@{closed}")).env_remove("NO_PROXY");
    command.env_remove("https_proxy").env_remove("no_proxy");
    let found = doctor_by(&mut command, &[]);
    let proxy = format!("through the proxy {closed}");
    found.is("dns", "not-looked-at", &[&proxy]);
    found.is("login", "bad", &["refused", &proxy]);
    assert!(!format!("{:?}", found.findings).contains("secret"), "{:?}", found.findings);
}

/// Answers everything like Entra, with this date.
fn entra_at(date: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = stream;
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let body = r#"{"token_endpoint":"","error":{}}"#;
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nDate: {date}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
        }
    });
    url
}

#[test]
fn a_clock_that_is_wrong_is_told_by_the_date_of_the_answer() {
    let site = site();
    at(&site, &entra_at("Mon, 23 Nov 2020 15:00:00 GMT"));
    let found = doctor(&site, &[]);
    found.is("login", "good", &["answers"]);
    found.is("clock", "bad", &["ahead of Microsoft's", "NTP"]);
}

#[test]
fn a_portal_that_answers_in_microsofts_place_is_told_from_it() {
    let site = site();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    at(&site, &format!("http://{}", listener.local_addr().unwrap()));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nLogin",
            );
        }
    });
    let found = doctor(&site, &[]);
    found.is("login", "bad", &["not Microsoft", "portal"]);
    found.is("graph", "bad", &["not Microsoft"]);
}

#[test]
fn whose_certificate_it_is_is_told_trusted_or_not() {
    let site = site();
    let folder = common::private_directory();
    let sandbox = site.runtime.block_on(Sandbox::start(Options {
        listen: ([127, 0, 0, 1], 0).into(),
        https: Some(([127, 0, 0, 1], 0).into()),
        mailboxes: vec![USER.into(), COLLEAGUE.into()],
        seed: 0,
        automatic: true,
        state: Some(folder.path().to_owned()),
    }));
    let sandbox = sandbox.unwrap();
    at(&site, &sandbox.https_url().unwrap());
    let found = doctor(&site, &[]);
    found.is(
        "login",
        "bad",
        &["certificate is not trusted", "it is by", "intercepts", "root certificate"],
    );
    let ca = folder.path().join("sandbox-ca.pem");
    let mut command = site.command(&["doctor", "--json"]);
    let found = doctor_by(command.env("SSL_CERT_FILE", ca), &[]);
    found.is("login", "good", &["neither Microsoft nor DigiCert"]);
}

/// A pair whose certificate is valid from and until so many days from now.
fn pair(site: &Site, name: &str, from: i64, until: i64) {
    let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let day = |days: i64| {
        let day = Duration::from_secs(days.unsigned_abs() * 86_400);
        let at = if days < 0 { now - day } else { now + day };
        rcgen::date_time_ymd(1970, 1, 1) + at
    };
    (parameters.not_before, parameters.not_after) = (day(from), day(until));
    let key = rcgen::KeyPair::generate().unwrap();
    let directory = site.directory.path();
    std::fs::write(directory.join("cert.pem"), parameters.self_signed(&key).unwrap().pem())
        .unwrap();
    std::fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
}

#[test]
fn a_certificate_that_has_expired_or_is_for_another_name_is_told() {
    let site = site();
    let directory = site.directory.path().display();
    let with_pair = format!(
        "[smtp]\nhostname = \"mail.contoso.example\"\ncertificate = \"{directory}/cert.pem\"\n\
         key = \"{directory}/key.pem\""
    );
    site.write_configuration(&site.configuration().replace("[smtp]", &with_pair));
    for (name, from, until, outcome, words) in [
        ("mail.contoso.example", -1, 100, "good", "for mail.contoso.example"),
        ("*.contoso.example", -1, 100, "good", "until"),
        ("mail.contoso.example", -1, 10, "good", "soon"),
        ("mail.contoso.example", -10, -1, "bad", "has expired"),
        ("mail.contoso.example", 1, 10, "bad", "begins to be valid"),
        ("www.contoso.example", -1, 100, "bad", "not for smtp.hostname"),
    ] {
        pair(&site, name, from, until);
        doctor(&site, &[]).is("certificate", outcome, &[words]);
    }
}

#[test]
fn files_that_others_can_read_and_settings_that_cannot_be_are_told() {
    let site = site();
    let kek = site.state().join("kek");
    std::fs::set_permissions(&kek, std::fs::Permissions::from_mode(0o644)).unwrap();
    let found = doctor(&site, &[]);
    found.is("state", "bad", &["kek is open to others", "chmod go="]);
    // Nothing is opened with such a key.
    found.is("accounts", "bad", &["chmod 600"]);
    std::fs::set_permissions(&kek, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::set_permissions(site.state(), std::fs::Permissions::from_mode(0o755)).unwrap();
    doctor(&site, &[]).is("state", "bad", &["chmod 700"]);
    std::fs::set_permissions(site.state(), std::fs::Permissions::from_mode(0o700)).unwrap();

    let found = doctor(&site, &["stranger@contoso.example"]);
    assert_eq!(found.bad(), ["accounts"]);
    found.is("accounts", "bad", &["no account stranger@contoso.example"]);
    site.write_configuration("[smtp]\nstartls = []\n");
    let found = doctor(&site, &[]);
    assert_eq!(found.bad(), ["configuration"]);
    found.is("configuration", "bad", &["startls", "config check"]);
    site.write_configuration(&format!("state_dir = \"{}\"\n", site.state().display()));
    let found = doctor(&site, &[]);
    found.is("configuration", "bad", &["client_id"]);
    found.is("login", "not-looked-at", &["no app registration"]);
}

#[test]
fn for_a_person_each_thing_is_a_line_with_what_to_do_below_it() {
    let site = site();
    fault(&site, None, "/v1.0/me/mailFolders", answer(404, "MailboxNotEnabledForRESTAPI"));
    let output = site.command(&["doctor"]).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.iter().any(|line| line.starts_with("✓ configuration: ")), "{text}");
    assert!(lines.iter().any(|line| line.starts_with("– certificate: ")), "{text}");
    let bad =
        lines.iter().position(|line| line.starts_with(&format!("✗ {USER}: mailbox:"))).unwrap();
    assert!(lines[bad + 1].starts_with("    → "), "{text}");
    assert!(text.contains("\nTo the tenant's administrator:\n"), "{text}");
    // No progress where nobody watches.
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(!text.contains('\u{1b}') && !errors.contains("looking"), "{text}{errors}");
}
