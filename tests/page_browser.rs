//! The page in a browser that is nobody's of ours: headless Chromium, by way of chromedriver.
//!
//! What only a browser can show: that its rules (cookies, CSP, rebinding) work for the page and not against
//! it, that it is read without scripts and on a phone. Pictures of all pages are left under `target/page/`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::{COLLEAGUE, PATIENCE, TestBridge, USER, configuration, private_directory, skip};
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use postbridge::account::{Address, Profile, Standing};
use postbridge::app;
use postbridge::clock::Clock;
use postbridge::control::{self, Reply, Request};
use postbridge::sandbox::{Options, Sandbox};
use postbridge::store::spool::{EntryId, Most, Outcome, State};
use postbridge::submission::{Envelope, MailParameters};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

/// One browser at a time: each is several processes.
static TURN: Mutex<()> = Mutex::const_new(());
const LOOK_AGAIN: Duration = Duration::from_millis(25);

struct Browser {
    client: Client,
    driver: Child,
    _profile: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// A command that WebDriver does not have and chromedriver does.
#[derive(Debug)]
struct Own {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Own {
    fn endpoint(
        &self,
        base: &reqwest::Url,
        session: Option<&str>,
    ) -> Result<reqwest::Url, <reqwest::Url as std::str::FromStr>::Err> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &reqwest::Url) -> (reqwest::Method, Option<String>) {
        (reqwest::Method::POST, Some(self.body.to_string()))
    }
}

impl Browser {
    /// `None`: there is none here, which was said.
    async fn start(more: &[&str]) -> Option<Browser> {
        let turn = TURN.lock().await;
        let spawned = Command::new("chromedriver")
            .args(["--port=0", "--log-level=WARNING"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut driver = match spawned {
            Ok(driver) => driver,
            Err(error) => {
                skip(&format!("chromedriver cannot be run: {error}"));
                return None;
            }
        };
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = loop {
            let Some(Ok(line)) = lines.next() else { panic!("chromedriver ended") };
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        let profile = private_directory();
        let directory = format!("--user-data-dir={}", profile.path().display());
        let mut arguments = vec![
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-proxy-server",
            "--window-size=1200,900",
            directory.as_str(),
        ];
        arguments.extend(more);
        let capabilities = json!({
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
            "unhandledPromptBehavior": "ignore",
        });
        let Value::Object(capabilities) = capabilities else { panic!() };
        let url = format!("http://127.0.0.1:{port}");
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let client = builder.capabilities(capabilities).connect(&url).await;
        let client = client.unwrap_or_else(|error| {
            let _ = driver.kill();
            panic!("no session: {error}")
        });
        Some(Browser { client, driver, _profile: profile, _turn: turn })
    }

    async fn own(&self, path: &'static str, body: Value) -> Value {
        self.client.issue_cmd(Own { path, body }).await.unwrap()
    }

    /// A command of the DevTools protocol.
    async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.own("goog/cdp/execute", json!({"cmd": command, "params": parameters})).await
    }

    /// What the console was told since the last look, with its level.
    async fn console(&self) -> Vec<String> {
        let lines = self.own("se/log", json!({"type": "browser"})).await;
        let lines = lines.as_array().unwrap().iter();
        lines.map(|line| format!("{}: {}", line["level"], line["message"])).collect()
    }

    async fn goto(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    async fn text(&self) -> String {
        let body = self.client.find(Locator::Css("body")).await.unwrap();
        body.text().await.unwrap()
    }

    /// Looks until the page says this; pages go on to others by themselves.
    async fn reads(&self, words: &str) {
        let seen = async {
            loop {
                if let Ok(body) = self.client.find(Locator::Css("body")).await
                    && let Ok(text) = body.text().await
                    && text.contains(words)
                {
                    return;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        if tokio::time::timeout(PATIENCE, seen).await.is_err() {
            let url = self.client.current_url().await.unwrap();
            panic!("{url} does not say {words:?}: {}", self.text().await);
        }
    }

    async fn click(&self, css: &str) {
        let found = self.client.find(Locator::Css(css)).await;
        found.unwrap_or_else(|error| panic!("{css}: {error}")).click().await.unwrap();
    }

    async fn shows_as(&self, width: u32, dark: bool) {
        let metrics = json!({
            "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", media).await;
    }

    /// The whole page, as a picture.
    async fn picture(&self, path: &Path) {
        let whole = json!({"format": "png", "captureBeyondViewport": true});
        let shot = self.devtools("Page.captureScreenshot", whole).await;
        std::fs::write(path, BASE64.decode(shot["data"].as_str().unwrap()).unwrap()).unwrap();
    }

    /// What is shown, in both widths and both schemes; it must fit.
    async fn pictures(&self, directory: &Path, name: &str) {
        for (width, dark) in [(1200, false), (1200, true), (360, false), (360, true)] {
            self.shows_as(width, dark).await;
            let wide = "return document.documentElement.scrollWidth";
            let wide = self.client.execute(wide, vec![]).await.unwrap();
            assert!(wide.as_u64().unwrap() <= u64::from(width), "{name} is {wide} wide in {width}");
            let scheme = if dark { "dark" } else { "light" };
            self.picture(&directory.join(format!("{name}-{width}-{scheme}.png"))).await;
        }
        self.shows_as(1200, false).await;
    }

    async fn close(mut self) {
        let _ = self.client.clone().close().await;
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
    }
}

/// A one-time link to a bridge's page.
async fn link(bridge: &TestBridge) -> String {
    let reply = control::handle(Request::PageLink {}, &bridge.running.control).await;
    let Reply::PageLink { url } = reply else { panic!("{reply:?}") };
    url.expose().to_owned()
}

fn page(bridge: &TestBridge) -> String {
    format!("http://{}", bridge.running.page[0])
}

fn account_path() -> String {
    format!("/accounts/{}", USER.replace('@', "%40"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_opens_the_page_once_also_without_scripts() {
    let Some(browser) = Browser::start(&[]).await else { return };
    let bridge = TestBridge::start().await;
    let id = bridge.submit_short(&[COLLEAGUE], "plain").await;
    bridge.once(id, State::Sent).await;
    browser.devtools("Emulation.setScriptExecutionDisabled", json!({"value": true})).await;
    let link = link(&bridge).await;
    browser.goto(&link).await;
    browser.reads("All is well").await;
    browser.click("nav a[href='/queue']").await;
    browser.reads(COLLEAGUE).await;
    browser.click("td a").await;
    browser.reads("Microsoft 365 has taken it").await;
    browser.goto(&link).await;
    browser.reads("This link is void").await;
    // Its session is as it was.
    browser.goto(&page(&bridge)).await;
    browser.reads("All is well").await;
    browser.click("header button").await;
    browser.reads("Not logged in").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_change_while_one_looks() {
    let Some(browser) = Browser::start(&[]).await else { return };
    let bridge = TestBridge::start().await;
    browser.goto(&link(&bridge).await).await;
    browser.reads("All is well").await;
    let sent = async || {
        let figure = browser.client.find(Locator::Css("[data-live='state-sent']")).await.unwrap();
        figure.text().await.unwrap()
    };
    assert_eq!(sent().await, "0");
    let id = bridge.submit_short(&[COLLEAGUE], "counted").await;
    bridge.once(id, State::Sent).await;
    let changed = async {
        while sent().await != "1" {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(PATIENCE, changed).await.expect("the number stays as it was");
    assert_eq!(browser.console().await, Vec::<String>::new());
    browser.close().await;
}

/// A sandbox where a person has to choose, and an account that has not signed in.
async fn asking() -> TestBridge {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let sandbox = Sandbox::start(Options {
        listen: ([127, 0, 0, 1], 0).into(),
        https: None,
        mailboxes: vec![USER.into(), COLLEAGUE.into()],
        seed: 0,
        automatic: false,
        state: None,
    })
    .await
    .unwrap();
    let state = private_directory();
    let config = configuration(state.path(), &sandbox);
    let running = app::start(&config).await.unwrap();
    let request = Request::AddAccount { address: USER.parse().unwrap(), profile: Profile::Full };
    let Reply::Password { password, .. } = control::handle(request, &running.control).await else {
        panic!("not added")
    };
    let password = password.expose().to_owned();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    TestBridge { sandbox, running, config, password, state, http }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_signs_in_at_microsofts_and_comes_back() {
    let Some(browser) = Browser::start(&[]).await else { return };
    let bridge = asking().await;
    browser.goto(&link(&bridge).await).await;
    browser.reads("One thing needs you").await;
    browser.click(".todo a.button").await;
    browser.reads("not signed in").await;
    browser.click("#by-browser").await;
    browser.reads("postbridge sandbox").await;
    browser.click(&format!("button[name=mailbox][value='{USER}']")).await;
    browser.reads("is ready").await;
    let url = browser.client.current_url().await.unwrap();
    assert_eq!(url.host_str(), Some("localhost"), "{url}");
    // From there it is another site's link to the one that has the session.
    browser.click("a.button").await;
    browser.reads("What it may do").await;
    browser.reads("granted").await;
    let store = &bridge.running.control.store;
    let account = store.account_by_login(USER).await.unwrap().unwrap();
    assert_eq!(account.standing, Standing::Ready);
    browser.close().await;
}

/// A mail whose answer was lost, of an account that can look for none.
async fn held(bridge: &TestBridge) -> EntryId {
    let rule = json!({
        "method": "POST", "route": "/v1.0/me/sendMail", "times": 1, "do": "cut_after",
    });
    bridge.post("/_sandbox/faults", json!({"faults": [rule]})).await;
    let id = bridge.submit_short(&[COLLEAGUE], "lost").await;
    bridge.once(id, State::Held).await;
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_mail_is_found_and_resolved_by_a_button() {
    let Some(browser) = Browser::start(&[]).await else { return };
    let bridge = TestBridge::start_as(Profile::SendOnly, |_| {}).await;
    let id = held(&bridge).await;
    browser.goto(&link(&bridge).await).await;
    browser.reads("One mail is held").await;
    browser.click(".todo a.button").await;
    browser.reads(COLLEAGUE).await;
    browser.click("td a").await;
    browser.reads("Nobody knows whether it was sent").await;
    browser.reads("lost").await;
    browser.click("#resolve-sent").await;
    browser.reads("the operator saw that it went").await;
    assert_eq!(bridge.entry(id).await.state, State::Sent);
    let delivered = bridge.delivered().await;
    let copies = delivered.iter().filter(|copy| **copy == format!("{COLLEAGUE}: lost"));
    assert_eq!(copies.count(), 1, "{delivered:?}");
    browser.close().await;
}

const HOSTILE: &str = "<script>alert(1)</script>\"><img src=x onerror=alert(1)>";

/// A queue and a calendar full of markup. What of it can be looked at, as paths.
async fn hostile(bridge: &TestBridge) -> Vec<String> {
    let invite = format!(
        "From: {USER}\nTo: {COLLEAGUE}\nMessage-ID: <hostile@contoso.example>\nSubject: {HOSTILE}\n\
         MIME-Version: 1.0\nContent-Type: text/calendar; method=REQUEST; charset=utf-8\n\n\
         BEGIN:VCALENDAR\nVERSION:2.0\nMETHOD:REQUEST\nBEGIN:VEVENT\nUID:hostile<img>@contoso.example\n\
         DTSTAMP:20260101T000000Z\nDTSTART:20991201T090000Z\nDTEND:20991201T100000Z\n\
         SUMMARY:{HOSTILE}\nLOCATION:{HOSTILE}\nORGANIZER:mailto:{USER}\n\
         ATTENDEE;CN='<script>alert(1)</script>':mailto:{COLLEAGUE}\n\
         END:VEVENT\nEND:VCALENDAR\n"
    );
    let id = common::id_in(&bridge.submit(&[COLLEAGUE], &invite).await.unwrap());
    bridge.once(id, State::Sent).await;
    let store = &bridge.running.control.store;
    let account = store.account_by_login(USER).await.unwrap().unwrap();
    store.needs_sign_in(account.id, HOSTILE).await.unwrap();
    let to = "\"<script>alert(1)</script>\\\"><img src=x onerror=alert(1)>\"@fabrikam.example";
    let to: Address = to.parse().unwrap();
    let mut paths = Vec::new();
    for outcome in ["held", "failed", "queued"] {
        let paths_to = vec![to.clone().into()];
        let envelope =
            Envelope::new(Some(to.clone()), paths_to, MailParameters::default()).unwrap();
        let mut incoming = store.begin(&account);
        let mail = format!("Subject: {HOSTILE} {outcome}\r\n\r\nHello\r\n");
        incoming.write(mail.as_bytes()).await.unwrap();
        let id = incoming.commit(&envelope, true, None).await.unwrap().id();
        let note = format!("{HOSTILE} {outcome}");
        let entry = store.entry(id).await.unwrap().unwrap();
        let outcome = match outcome {
            "held" => Some(Outcome::Held { note }),
            "failed" => {
                let answered = Some(HOSTILE.to_owned());
                Some(Outcome::Failed { status: [5, 0, 0], note, answered })
            }
            _ => None,
        };
        if let Some(outcome) = outcome {
            let now = store.clock().now();
            store.settle(&entry, outcome, None, now).await.unwrap();
        }
        paths.push(format!("/queue/{id}"));
    }
    let uid = "hostile%3Cimg%3E%40contoso.example";
    paths.push(format!("/invite?account={}&uid={uid}", USER.replace('@', "%40")));
    paths
}

/// Every page that a logged-in person can come to.
fn everywhere() -> Vec<(&'static str, String)> {
    let account = account_path();
    vec![
        ("overview", "/".to_owned()),
        ("accounts", "/accounts".to_owned()),
        ("account", account.clone()),
        ("setup", format!("{account}/setup")),
        ("remove", format!("{account}/remove")),
        ("queue", "/queue".to_owned()),
        ("invites", "/invites".to_owned()),
        ("log", "/log".to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn markup_in_mails_is_text_on_every_page() {
    let Some(browser) = Browser::start(&[]).await else { return };
    let bridge = TestBridge::start().await;
    let mut paths = hostile(&bridge).await;
    paths.push(format!("{}/drop", paths[0]));
    paths.extend(everywhere().into_iter().map(|(_, path)| path));
    browser.goto(&link(&bridge).await).await;
    browser.reads("things need you").await;
    let mut shown = 0;
    for path in paths {
        browser.goto(&format!("{}{path}", page(&bridge))).await;
        assert!(browser.client.get_alert_text().await.is_err(), "{path} runs it");
        let text = browser.text().await;
        shown += usize::from(text.contains("<script>alert(1)</script>"));
        let images = browser.client.find_all(Locator::Css("img, script:not([src])")).await;
        assert_eq!(images.unwrap().len(), 0, "{path}");
        assert_eq!(browser.console().await, Vec::<String>::new(), "{path}");
    }
    assert!(shown >= 9, "shown as text on {shown} pages only");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_was_bound_to_this_machine_reads_nothing() {
    let rules = "--host-resolver-rules=MAP evil.example 127.0.0.1";
    let Some(browser) = Browser::start(&[rules]).await else { return };
    let bridge = TestBridge::start().await;
    browser.goto(&link(&bridge).await).await;
    browser.reads("All is well").await;
    let port = bridge.running.page[0].port();
    for path in ["/", "/queue", "/accounts", "/metrics", "/healthz"] {
        browser.goto(&format!("http://evil.example:{port}{path}")).await;
        browser.reads("Not here").await;
        assert!(!browser.client.source().await.unwrap().contains(USER), "{path}");
    }
    // The name works, and it is the page that refuses.
    let script =
        "const [path, done] = arguments; fetch(path).then(a => done(a.status), () => done(0))";
    let status = browser.client.execute_async(script, vec![json!("/live.json")]).await.unwrap();
    assert!(status == json!(421) || status == json!(0), "{status}");
    browser.close().await;
}

/// Two days of mails, hour by hour, as far as the store is concerned: the account cannot send.
async fn two_days(bridge: &TestBridge, clock: &Clock) {
    let store = &bridge.running.control.store;
    let account = store.account_by_login(USER).await.unwrap().unwrap();
    const BY_HOUR: [usize; 24] =
        [0, 0, 1, 0, 0, 0, 2, 5, 9, 12, 11, 8, 4, 7, 12, 10, 6, 3, 2, 0, 1, 0, 1, 0];
    for hour in 0..46 {
        for n in 0..BY_HOUR[hour % 24] {
            let to = vec![COLLEAGUE.parse::<Address>().unwrap().into()];
            let envelope =
                Envelope::new(Some(USER.parse().unwrap()), to, MailParameters::default());
            let mut incoming = store.begin(&account);
            incoming
                .write(format!("Subject: {hour}.{n}\r\n\r\nHello\r\n").as_bytes())
                .await
                .unwrap();
            incoming.commit(&envelope.unwrap(), true, None).await.unwrap();
        }
        clock.advance(Duration::from_millis(300 + 90 * (hour as u64 * 7 % 11)));
        let now = store.clock().now();
        let all = vec![(account.id, Most::ALL)];
        for (n, entry) in store.claim(all, now, now).await.unwrap().iter().enumerate() {
            let (due_at, waited) = (now + Duration::from_secs(2), Duration::ZERO);
            if hour % 5 == 4 && n < 3 {
                let note = "Microsoft asked for a pause".to_owned();
                let later = Outcome::Later { due_at, waited, note };
                store.settle(entry, later, None, now).await.unwrap();
                clock.advance(Duration::from_secs(2));
            }
            let outcome = match (hour, n) {
                (20, 0) | (34, 1) => {
                    let note = "ErrorInvalidRecipients".to_owned();
                    Outcome::Failed { status: [5, 1, 1], note, answered: None }
                }
                (38, 2) => Outcome::Held { note: "the answer was lost".into() },
                _ => Outcome::Sent,
            };
            store.settle(entry, outcome, None, store.clock().now()).await.unwrap();
            clock.advance(Duration::from_millis(40));
        }
        clock.advance(Duration::from_secs(3600));
    }
}

/// A mail that waits for its account's user.
async fn queued(bridge: &TestBridge) -> String {
    format!("/queue/{}", bridge.submit_short(&[COLLEAGUE], "quarterly-figures").await)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_fits_a_phone_and_has_its_picture_taken() {
    let Some(browser) = Browser::start(&[]).await else { return };
    let clock = Clock::default();
    let bridge = TestBridge::start_at(clock.clone()).await;
    let mut pages = everywhere();
    for subject in ["invoice-4711", "scan-to-mail", "weekly-report", "welcome"] {
        let id = bridge.submit_short(&[COLLEAGUE, "kim.akers@fabrikam.example"], subject).await;
        bridge.once(id, State::Sent).await;
        if subject == "welcome" {
            pages.push(("sent", format!("/queue/{id}")));
        }
    }
    browser.goto(&link(&bridge).await).await;
    browser.reads("All is well").await;
    let pictures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/page");
    std::fs::create_dir_all(&pictures).unwrap();
    browser.shows_as(1200, false).await;
    browser.picture(&pictures.join("well-1200-light.png")).await;
    for (name, path) in
        ["held", "failed", "queued", "invite"].into_iter().zip(hostile(&bridge).await)
    {
        if name == "held" {
            pages.push(("drop", format!("{path}/drop")));
        }
        pages.push((name, path));
    }
    two_days(&bridge, &clock).await;
    pages.push(("queued", queued(&bridge).await));
    browser.goto(&link(&bridge).await).await;
    browser.reads("things need you").await;
    for (name, path) in pages {
        browser.goto(&format!("{}{path}", page(&bridge))).await;
        browser.pictures(&pictures, name).await;
    }
    let account = format!("{}{}", page(&bridge), account_path());
    for (button, words, name) in [
        ("#new-password", "shown this once", "password"),
        ("#by-code", "Enter this code at Microsoft", "code"),
        ("header button", "Not logged in", "stranger"),
    ] {
        browser.goto(&account).await;
        browser.click(button).await;
        browser.reads(words).await;
        browser.pictures(&pictures, name).await;
    }
    browser.close().await;
}
