//! The page over HTTP, as browsers and strangers ask for it: who is let in, what is changed and by whom, and
//! what programs read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::http::{Answer, Http, request};
use common::{COLLEAGUE, PATIENCE, TestBridge, USER, skip};
use postbridge::account::{Profile, Standing};
use postbridge::clock::Clock;
use postbridge::control::{self, Reply, Request};
use postbridge::store::spool::State;

/// The page of a bridge, and a browser's session with it.
struct Page {
    bridge: TestBridge,
    address: SocketAddr,
    cookie: String,
    token: String,
}

impl Page {
    async fn open() -> Page {
        Page::of(TestBridge::start().await).await
    }

    async fn of(bridge: TestBridge) -> Page {
        let address = bridge.running.page[0];
        let mut page = Page { bridge, address, cookie: String::new(), token: String::new() };
        page.log_in().await;
        page
    }

    fn host(&self) -> String {
        self.address.to_string()
    }

    /// A new link, from its path on.
    async fn link(&self) -> String {
        let reply = control::handle(Request::PageLink {}, &self.bridge.running.control).await;
        let Reply::PageLink { url } = reply else { panic!("{reply:?}") };
        let start = format!("http://{}", self.address);
        url.expose().strip_prefix(&start).unwrap().to_owned()
    }

    async fn log_in(&mut self) {
        let link = self.link().await;
        let answer = self.raw(&format!("GET {link}"), &[("Cookie", "")], b"").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let cookie = answer.header("set-cookie").unwrap();
        let (pair, attributes) = cookie.split_once(';').unwrap();
        assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Strict");
        self.cookie = pair.to_owned();
        let text = self.get("/").await.text();
        let (_, rest) = text.split_once("name=\"token\" value=\"").expect(&text);
        self.token = rest.split('"').next().unwrap().to_owned();
    }

    /// With the headers of this session's browser, but for those that are given.
    async fn raw(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let (host, origin) = (self.host(), format!("http://{}", self.host()));
        let mut defaults = vec![("Host", host.as_str()), ("Cookie", self.cookie.as_str())];
        if line.starts_with("POST") {
            defaults.push(("Origin", &origin));
            defaults.push(("Content-Type", "application/x-www-form-urlencoded"));
        }
        let mut http = Http::connect(self.address).await;
        http.send(&request(line, headers, &defaults, body)).await;
        http.answer(line.starts_with("HEAD")).await.expect("no answer")
    }

    async fn get(&self, path: &str) -> Answer {
        self.raw(&format!("GET {path}"), &[], b"").await
    }

    /// A form of this session's.
    async fn post(&self, path: &str, fields: &str) -> Answer {
        let body = format!("token={}&{fields}", self.token);
        self.raw(&format!("POST {path}"), &[], body.as_bytes()).await
    }

    async fn has(&self, path: &str, text: &str) {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert!(answer.text().contains(text), "{path} without {text:?}: {}", answer.text());
    }
}

/// A name, a request line, headers, a body, and the status that it must get.
type Case<'c> = (&'c str, String, Vec<(&'c str, &'c str)>, &'c str, u16);

/// Whatever is asked, and however: nothing that is not ours is let in, and nothing is changed by it.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_come_from_this_page_in_this_session_changes_nothing() {
    let page = Page::open().await;
    let (port, host) = (page.address.port(), page.host());
    let password = format!("/accounts/{}/password", USER.replace('@', "%40"));
    let ours = format!("token={}", page.token);
    let other = format!("token={}", "A".repeat(43));
    let origin = format!("http://{host}");
    let evil = format!("evil.example:{port}");
    let whole = format!("http://{evil}/queue");
    let plain = format!("text/plain; token={}", page.token);
    let localhost = format!("localhost:{port}");
    let get = |path: &str| format!("GET {path}");
    let post = format!("POST {password}");
    let forged = format!("postbridge-{port}={}", "B".repeat(43));
    let twice = format!("{}; {}", page.cookie, page.cookie);
    let cases: Vec<Case<'_>> = vec![
        // Host: DNS rebinding.
        ("its own name", get("/queue"), vec![], "", 200),
        ("localhost", get("/healthz"), vec![("Host", &localhost)], "", 200),
        ("another host", get("/queue"), vec![("Host", &evil)], "", 421),
        ("another host, public", get("/healthz"), vec![("Host", &evil)], "", 421),
        ("another host, metrics", get("/metrics"), vec![("Host", &evil)], "", 421),
        ("no port", get("/queue"), vec![("Host", "127.0.0.1")], "", 421),
        ("no host", get("/queue"), vec![("!Host", "")], "", 421),
        ("another host in the target", get(&whole), vec![], "", 421),
        ("another host, changing", post.clone(), vec![("Host", &evil)], &ours, 421),
        // Origin: what other pages send.
        ("our own form", post.clone(), vec![("Origin", &origin)], &ours, 200),
        ("another origin", post.clone(), vec![("Origin", "http://evil.example")], &ours, 403),
        ("a sandboxed frame", post.clone(), vec![("Origin", "null")], &ours, 403),
        ("another port", post.clone(), vec![("Origin", "http://127.0.0.1:1")], &ours, 403),
        ("no origin", post.clone(), vec![("!Origin", "")], &ours, 403),
        (
            "no origin, of the same by the browser's word",
            post.clone(),
            vec![("!Origin", ""), ("Sec-Fetch-Site", "same-origin")],
            &ours,
            200,
        ),
        (
            "no origin, of another port by the browser's word",
            post.clone(),
            vec![("!Origin", ""), ("Sec-Fetch-Site", "same-site")],
            &ours,
            403,
        ),
        // The token, and how it comes.
        ("no token", post.clone(), vec![], "a=b", 403),
        ("another token", post.clone(), vec![], &other, 403),
        ("as plain text", post.clone(), vec![("Content-Type", &plain)], &ours, 403),
        // The session.
        ("no session", get("/queue"), vec![("Cookie", "")], "", 401),
        ("no session, changing", post.clone(), vec![("Cookie", "")], &ours, 401),
        ("a forged session", post.clone(), vec![("Cookie", &forged)], &ours, 401),
        ("two sessions", get("/queue"), vec![("Cookie", &twice)], "", 401),
        // The method.
        ("changed by GET", get(&password), vec![], "", 405),
        ("preflight", format!("OPTIONS {password}"), vec![], "", 405),
        (
            "a method in a header",
            get(&password),
            vec![("X-HTTP-Method-Override", "POST")],
            &ours,
            405,
        ),
        ("PUT", format!("PUT {password}"), vec![], &ours, 405),
    ];
    let login = async |password: &str| {
        let store = &page.bridge.running.control.store;
        store.authenticate(USER, password).await.unwrap().is_some()
    };
    let mut valid = page.bridge.password.clone();
    assert!(cases.len() >= 24);
    for (name, line, headers, body, status) in cases {
        let answer = page.raw(&line, &headers, body.as_bytes()).await;
        let text = answer.text();
        assert_eq!(answer.status, status, "{name}: {text}");
        if line.starts_with("POST") && status == 200 {
            let (_, rest) = text.split_once("id=\"password\">").unwrap();
            valid = rest.split('<').next().unwrap().to_owned();
        }
        assert!(login(&valid).await, "{name} has changed something");
        for (header, value) in [
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(header), Some(value), "{name}");
        }
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none';") && !policy.contains("unsafe"),
            "{policy}"
        );
        let cors = |(header, _): &(String, String)| header.starts_with("access-control-");
        assert!(!answer.headers.iter().any(cors), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_taken_once_and_a_session_ends_when_it_is_idle() {
    let clock = Clock::default();
    let page = Page::of(TestBridge::start_at(clock.clone()).await).await;
    let link = page.link().await;
    assert_eq!(page.get(&link).await.status, 200);
    let again = page.get(&link).await;
    assert_eq!(again.status, 403);
    assert!(again.text().contains("postbridge page"), "{}", again.text());
    assert_eq!(again.header("set-cookie"), None);
    let old = page.link().await;
    clock.advance(Duration::from_secs(301));
    assert_eq!(page.get(&old).await.status, 403);
    assert_eq!(page.get("/login").await.status, 403);
    assert_eq!(page.get("/").await.status, 200);
    clock.advance(Duration::from_secs(29 * 60));
    assert_eq!(page.get("/live.json").await.status, 200);
    clock.advance(Duration::from_secs(60));
    let idle = page.get("/").await;
    assert_eq!(idle.status, 401);
    assert!(idle.text().contains("postbridge page"), "{}", idle.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_a_link_that_lets_one_in() {
    let page = Page::open().await;
    let config = page.bridge.state.path().join("postbridge.toml");
    std::fs::write(&config, "").unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_postbridge"));
    command.arg("--config").arg(&config).arg("--state").arg(page.bridge.state.path());
    let output = command.args(["page", "--no-browser"]).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let url = String::from_utf8(output.stdout).unwrap();
    let path = url.trim().strip_prefix(&format!("http://{}", page.address)).expect(&url);
    let answer = page.raw(&format!("GET {path}"), &[("Cookie", "")], b"").await;
    assert!(answer.status == 200 && answer.header("set-cookie").is_some(), "{}", answer.text());
    page.bridge.running.stop().await;
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("no daemon answers"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_logs_out_is_out() {
    let page = Page::open().await;
    assert_eq!(page.post("/logout", "").await.status, 303);
    assert_eq!(page.get("/").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_and_a_slow_head_are_not_waited_for() {
    let page = Page::open().await;
    let large = format!("token={}&address={}", page.token, "a".repeat(70_000));
    let answer = page.raw("POST /accounts", &[], large.as_bytes()).await;
    assert_eq!(answer.status, 413);
    let mut slow = Http::connect(page.address).await;
    slow.send(b"GET / HTTP/1.1\r\nHost:").await;
    assert!(slow.is_closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_seen_on_every_page_that_speaks_of_it() {
    let page = Page::open().await;
    let id = page.bridge.submit_short(&[COLLEAGUE], "seen").await;
    page.bridge.once(id, State::Sent).await;
    page.has("/", "All is well").await;
    page.has("/queue", &id.to_string()).await;
    page.has("/queue?state=sent", COLLEAGUE).await;
    page.has("/queue?state=failed", "No mail here").await;
    page.has(&format!("/queue?account={}", USER.replace('@', "%40")), &id.to_string()).await;
    page.has(&format!("/queue/{id}"), "Microsoft 365 has taken it").await;
    page.has(&format!("/queue/{id}"), "attempt 1").await;
    page.has("/log", &id.to_string()).await;
    let live: serde_json::Value =
        serde_json::from_slice(&page.get("/live.json").await.body).unwrap();
    assert_eq!((live["state-sent"].as_str(), live["waiting"].as_str()), (Some("1"), Some("0")));
    let hours = control::handle(Request::Hours { most: 48 }, &page.bridge.running.control).await;
    let Reply::Hours { hours } = hours else { panic!("{hours:?}") };
    let sum = |of: fn(&postbridge::store::hours::Hour) -> u64| hours.iter().map(of).sum::<u64>();
    assert_eq!(
        (hours.len(), sum(|h| h.accepted), sum(|h| h.sent), sum(|h| h.failed)),
        (48, 1, 1, 0)
    );
    assert!(hours.iter().any(|hour| hour.median_ms.is_some() && hour.median_ms == hour.slow_ms));
    assert_eq!(page.get("/queue/nothing").await.status, 404);
    assert_eq!(page.get("/nowhere").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_waits_is_tried_and_dropped_from_the_page() {
    let page = Page::open().await;
    let store = &page.bridge.running.control.store;
    let account = store.account_by_login(USER).await.unwrap().unwrap();
    store.needs_sign_in(account.id, "The password was changed.").await.unwrap();
    let id = page.bridge.submit_short(&[COLLEAGUE], "waits").await;
    page.has("/", "One thing needs").await;
    page.has("/", "The password was changed.").await;
    page.has(&format!("/queue/{id}"), "waits").await;
    assert_eq!(page.post(&format!("/queue/{id}/retry"), "").await.status, 303);
    page.has(&format!("/queue/{id}/drop"), "Drop this mail?").await;
    // To ask is not to do.
    assert_eq!(page.bridge.entry(id).await.state, State::Queued);
    let address = USER.replace('@', "%40");
    page.has(&format!("/accounts/{address}/remove"), &id.to_string()).await;
    assert_eq!(page.post(&format!("/queue/{id}/drop"), "").await.status, 303);
    assert_eq!(page.bridge.entry(id).await.state, State::Failed);
    let again = page.post(&format!("/queue/{id}/drop"), "").await;
    assert_eq!(again.status, 409);
    assert!(again.text().contains("has failed"), "{}", again.text());
    assert_eq!(page.post(&format!("/accounts/{address}/remove"), "").await.status, 303);
    assert!(store.account_by_login(USER).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_added_and_signs_in_with_a_code_from_the_page() {
    let page = Page::open().await;
    let address = COLLEAGUE.replace('@', "%40");
    let added = page.post("/accounts", &format!("address={address}&profile=mail")).await;
    assert_eq!(added.status, 200);
    let text = added.text();
    let (_, rest) = text.split_once("id=\"password\">").expect(&text);
    let password = rest.split('<').next().unwrap();
    let store = &page.bridge.running.control.store;
    assert!(store.authenticate(COLLEAGUE, password).await.unwrap().is_some());
    let twice = page.post("/accounts", &format!("address={address}&profile=mail")).await;
    assert_eq!(twice.status, 409);
    assert_eq!(page.post("/accounts", "address=nobody&profile=mail").await.status, 409);

    let begun = page.post(&format!("/accounts/{address}/signin"), "way=code").await;
    assert_eq!(begun.status, 303, "{}", begun.text());
    let path = begun.header("location").unwrap().to_owned();
    let shown = page.get(&path).await.text();
    assert!(shown.contains("never enter a code that somebody sent you"), "{shown}");
    let (_, rest) = shown.split_once("id=\"user-code\">").unwrap();
    let code = rest.split('<').next().unwrap().to_owned();
    let (_, rest) = shown.split_once("Open <a href=\"").unwrap();
    let url = rest.split('"').next().unwrap();
    let form = [("user_code", code.as_str()), ("mailbox", COLLEAGUE)];
    let scopes = Profile::Mail.scopes().iter().map(|scope| ("scope", *scope));
    let form: Vec<_> = form.into_iter().chain(scopes).collect();
    let typed = page.bridge.http.post(url).form(&form).send().await.unwrap();
    assert!(typed.status().is_success(), "{}", typed.text().await.unwrap());
    let signed_in = async {
        while !page.get(&path).await.text().contains("is ready") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, signed_in).await.expect("it never signed in");
    let account = store.account_by_login(COLLEAGUE).await.unwrap().unwrap();
    assert_eq!((account.standing.clone(), account.profile), (Standing::Ready, Profile::Mail));
    page.has(&format!("/accounts/{address}"), "sends by way of drafts").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_return_from_microsoft_is_taken_by_its_state_alone_and_once() {
    let page = Page::open().await;
    let address = USER.replace('@', "%40");
    let begun = page.post(&format!("/accounts/{address}/signin"), "way=browser").await;
    assert_eq!(begun.status, 200, "{}", begun.text());
    let text = begun.text();
    let (_, rest) = text.split_once("class=\"button\" href=\"").expect(&text);
    let url = rest.split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&");
    let none = reqwest::redirect::Policy::none();
    let browser = reqwest::Client::builder().no_proxy().redirect(none).build().unwrap();
    let answer = browser.get(url).send().await.unwrap();
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let home = format!("http://localhost:{}", page.address.port());
    let path = location.strip_prefix(&home).expect(&location);
    let localhost = format!("localhost:{}", page.address.port());
    // Neither cookie nor Origin come along.
    let stranger = [("Host", localhost.as_str()), ("Cookie", "")];
    let forged = page.raw("GET /?code=x&state=y", &stranger, b"").await;
    assert_eq!(forged.status, 403);
    let done = page.raw(&format!("GET {path}"), &stranger, b"").await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert!(done.text().contains(&format!("http://{}/accounts/", page.host())), "{}", done.text());
    assert!(!done.text().contains("name=\"token\""), "a stranger has no forms");
    assert_eq!(page.raw(&format!("GET {path}"), &stranger, b"").await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn set_up_tells_the_listeners_as_they_are_and_gives_the_certificate() {
    let page = Page::open().await;
    let path = format!("/accounts/{}/setup", USER.replace('@', "%40"));
    for (_, at) in &page.bridge.running.listening {
        page.has(&path, &format!("<code class=\"copy\">{}</code>", at.port())).await;
    }
    for (kind, at) in &page.bridge.running.calendars {
        let url = format!("{}://localhost:{}/dav/", kind.scheme(), at.port());
        page.has(&path, &url).await;
    }
    let certificate = &page.bridge.running.certificates.certificate;
    page.has(&path, &postbridge::tls::fingerprint(certificate).unwrap()).await;
    page.has(&path, "<svg").await;
    let pem = page.get("/ca.pem").await;
    assert_eq!(pem.header("content-type"), Some("application/x-pem-file"));
    assert_eq!(pem.body, std::fs::read(&page.bridge.running.certificates.ca).unwrap());
    let der = page.get("/ca.crt").await;
    assert_eq!(
        der.body,
        postbridge::tls::first(&page.bridge.running.certificates.ca).unwrap().as_ref()
    );
}

const INVITE: &str = "\
BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//contoso//tool//EN\r\nMETHOD:REQUEST\r\n\
BEGIN:VEVENT\r\nUID:page-1@contoso.example\r\nDTSTAMP:20260101T000000Z\r\n\
DTSTART:20991201T090000Z\r\nDTEND:20991201T100000Z\r\nSUMMARY:Far <b>away</b>\r\n\
ORGANIZER:mailto:adele.vance@contoso.example\r\n\
ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:alex.wilber@contoso.example\r\n\
END:VEVENT\r\nEND:VCALENDAR\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_shows_who_is_invited_and_why_it_is_an_event() {
    let page = Page::open().await;
    let message = format!(
        "From: {USER}\nTo: {COLLEAGUE}\nMessage-ID: <invite@contoso.example>\nSubject: Far\n\
         MIME-Version: 1.0\nContent-Type: text/calendar; method=REQUEST; charset=utf-8\n\n{}",
        INVITE.replace("\r\n", "\n")
    );
    let id = common::id_in(&page.bridge.submit(&[COLLEAGUE], &message).await.unwrap());
    page.bridge.once(id, State::Sent).await;
    page.has("/invites", "Far &#60;b&#62;away&#60;/b&#62;").await;
    page.has("/invites", "1 open").await;
    let text = page.get("/invites").await.text();
    let next = text.find("Next").unwrap();
    assert!(text[next..].find("Far").is_some() && !text.contains("Past, cancelled"), "{text}");
    let path = format!("/invite?account={}&uid=page-1%40contoso.example", USER.replace('@', "%40"));
    page.has(&path, COLLEAGUE).await;
    page.has(&path, "stands").await;
    page.has(&path, &id.to_string()).await;
    assert_eq!(page.get(&path.replace("page-1", "page-2")).await.status, 404);
}

/// Every `postbridge_…` that a text speaks of, but for what is made of histograms.
fn names(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices("postbridge_")
        .filter(|(at, _)| !text[..*at].ends_with(is_name))
        .map(|(at, _)| text[at..].split(|c| !is_name(c)).next().unwrap().to_owned())
        .collect()
}

/// What promtool says of it; `None` where there is none.
fn promtool(arguments: &[&str], input: &str) -> Option<(bool, String)> {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            skip(&format!("promtool cannot be run: {error}"));
            return None;
        }
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_counted_is_served_as_prometheus_wants_it_and_names_nobody() {
    let page = Page::open().await;
    let id = page.bridge.submit_short(&[COLLEAGUE], "counted").await;
    page.bridge.once(id, State::Sent).await;
    // Without a session.
    let answer = page.raw("GET /metrics", &[("Cookie", "")], b"").await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let text = answer.text();
    for line in [
        "postbridge_entries{state=\"sent\"} 1",
        "postbridge_accounts{standing=\"ready\"} 1",
        "postbridge_mails_accepted_total 1",
        "postbridge_mails_sent_total 1",
        "postbridge_mails_failed_total 0",
        "postbridge_delivery_latency_seconds_count 1",
        "postbridge_graph_requests_total{answer=\"throttled\"} 0",
        "postbridge_throttled_mailboxes 0",
    ] {
        assert!(text.lines().any(|one| one.trim_end_matches(".0") == line), "{line}: {text}");
    }
    let (_, calendar) = page.bridge.running.calendars[0];
    let _open = Http::connect(calendar).await;
    let seen = async {
        let open = "postbridge_connections{protocol=\"caldav\"} 1";
        while !page.raw("GET /metrics", &[], b"").await.text().contains(open) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.expect("a connection is not counted");
    let done = text.lines().find(|line| line.contains("answer=\"done\"")).unwrap();
    assert!(!done.ends_with(" 0"), "{done}");
    assert!(!text.contains('@') && !text.contains("contoso"), "{text}");
    if let Some((fine, said)) = promtool(&["check", "metrics"], &text) {
        assert!(fine && said.is_empty(), "{said}\n{text}");
    }

    let served = names(&text);
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for file in ["grafana-dashboard.json", "alerts.yaml"] {
        let text = std::fs::read_to_string(config.join(file)).unwrap();
        let asked = names(&text);
        assert!(asked.len() > 5, "{file}: {asked:?}");
        let missing: Vec<_> = asked.difference(&served).collect();
        assert!(missing.is_empty(), "{file}: {missing:?} of {served:?}");
    }
    let dashboard = std::fs::read_to_string(config.join("grafana-dashboard.json")).unwrap();
    let _: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let rules = config.join("alerts.yaml");
    if let Some((fine, said)) = promtool(&["check", "rules", rules.to_str().unwrap()], "") {
        assert!(fine, "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_without_login_and_metrics_may_be_off() {
    let bridge = TestBridge::start_with(|config| config.page.metrics = false).await;
    let mut page = Page::of(bridge).await;
    let stranger = [("Cookie", "")];
    for path in ["/healthz", "/readyz"] {
        let answer = page.raw(&format!("GET {path}"), &stranger, b"").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok\n"), "{path}");
    }
    assert_eq!(page.raw("GET /metrics", &stranger, b"").await.status, 404);
    let mut config = page.bridge.config.clone();
    config.page.metrics = true;
    let left = page.bridge.running.reload(config.clone()).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(page.raw("GET /metrics", &stranger, b"").await.status, 200);
    config.page.listen.clear();
    assert_eq!(page.bridge.running.reload(config).await.unwrap(), ["page.listen"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_held_up_is_not_ready_and_the_process_still_answers() {
    let page = Page::open().await;
    let store = page.bridge.running.control.store.clone();
    // The writer is held up, which the pulse feels.
    let (never, waits) = tokio::sync::oneshot::channel::<()>();
    let holding = tokio::spawn(async move {
        let held = store.write(move |_| {
            Box::pin(async move {
                let _ = waits.await;
                Ok(())
            })
        });
        held.await
    });
    let unready = async {
        loop {
            let answer = page.raw("GET /readyz", &[("Cookie", "")], b"").await;
            if answer.status == 503 {
                return answer.text();
            }
        }
    };
    let why = tokio::time::timeout(PATIENCE, unready).await.unwrap();
    assert!(why.contains("writer"), "{why}");
    assert_eq!(page.get("/healthz").await.status, 200);
    drop(never);
    holding.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_list_switches_the_page_off() {
    let bridge = TestBridge::start_with(|config| config.page.listen.clear()).await;
    assert!(bridge.running.page.is_empty());
    let reply = control::handle(Request::PageLink {}, &bridge.running.control).await;
    assert!(matches!(reply, Reply::Refused { why } if why.contains("page.listen")));
    bridge.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_page_with_the_rest() {
    let Page { bridge, address, .. } = Page::open().await;
    let mut idle = Http::connect(address).await;
    bridge.running.stop().await;
    assert!(idle.is_closed().await);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
