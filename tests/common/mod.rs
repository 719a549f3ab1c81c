//! A whole bridge for a test: sandbox, daemon parts in this process, and a signed-in account.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod ahead;
pub mod daemon;
pub mod dav;
pub mod graph;
pub mod http;
pub mod runs;
pub mod totals;
pub mod worlds;

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use postbridge::access::Way;
use postbridge::account::{Address, Profile};
use postbridge::app::{self, Running};
use postbridge::caldav::server as caldav;
use postbridge::cli::submit::{Mail, submit};
use postbridge::clock::Clock;
use postbridge::config::Config;
use postbridge::control::{self, Control, Reply, Request};
use postbridge::entra::{Cloud, Settings};
use postbridge::sandbox::grants::Grant;
use postbridge::sandbox::{Options, Sandbox};
use postbridge::secret::Secret;
use postbridge::smtp::server::Kind;
use postbridge::store::spool::{Entry, EntryId, State};
use reqwest::Method;
use serde_json::Value;

pub const USER: &str = "adele.vance@contoso.example";
pub const COLLEAGUE: &str = "alex.wilber@contoso.example";
/// Longer than anything here takes: a test that would hang fails instead.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Says loudly that a test did not run; past libtest's capture, so that it is seen and counted.
/// With POSTBRIDGE_TESTS_MAY_NOT_SKIP set, as in CI, it fails instead.
pub fn skip(why: &str) {
    assert!(std::env::var_os("POSTBRIDGE_TESTS_MAY_NOT_SKIP").is_none(), "may not skip: {why}");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// Past libtest's capture, so that a run leaves its numbers in the log.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A directory of its owner alone, gone at the end.
pub fn private_directory() -> tempfile::TempDir {
    let private = std::fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().permissions(private).tempdir().unwrap()
}

pub async fn sandbox() -> Sandbox {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Sandbox::start(Options {
        listen: ([127, 0, 0, 1], 0).into(),
        https: None,
        mailboxes: vec![USER.into(), COLLEAGUE.into()],
        seed: 0,
        automatic: true,
        state: None,
    })
    .await
    .unwrap()
}

/// A bridge on free ports that talks to this sandbox.
pub fn configuration(state: &std::path::Path, sandbox: &Sandbox) -> Config {
    let mut config = Config { state_dir: Some(state.to_owned()), ..Config::default() };
    config.entra = Some(Settings {
        client_id: "5ca1ab1e-0000-4000-8000-000000000001".into(),
        tenant: "organizations".into(),
        cloud: Cloud::Global,
        login_url: Some(sandbox.url().parse().unwrap()),
        graph_url: Some(sandbox.url().parse().unwrap()),
    });
    config.smtp.starttls = vec![([127, 0, 0, 1], 0).into()];
    config.smtp.implicit_tls = vec![([127, 0, 0, 1], 0).into()];
    config.caldav.listen = vec![toml::Spanned::new(0..0, ([127, 0, 0, 1], 0).into())];
    config.caldav.tls = vec![([127, 0, 0, 1], 0).into()];
    config.page.listen = vec![toml::Spanned::new(0..0, ([127, 0, 0, 1], 0).into())];
    config.spool.keep_free_mib = 0;
    config
}

/// Adds the account and signs it in, as its user would in a browser. Returns the local password.
pub async fn add_account(control: &Control, profile: Profile) -> String {
    add_account_of(USER, control, profile).await
}

pub async fn add_account_of(user: &str, control: &Control, profile: Profile) -> String {
    let address: Address = user.parse().unwrap();
    let request = Request::AddAccount { address, profile };
    let Reply::Password { password, .. } = control::handle(request, control).await else {
        panic!("not added")
    };
    sign_in_as(user, control).await;
    password.expose().to_owned()
}

pub async fn sign_in(control: &Control) {
    sign_in_as(USER, control).await;
}

pub async fn sign_in_as(user: &str, control: &Control) {
    sign_in_with(user, None, control).await;
}

/// With this profile from now on.
pub async fn sign_in_with(user: &str, profile: Option<Profile>, control: &Control) {
    let request = Request::BeginSignIn {
        address: user.parse().unwrap(),
        profile,
        way: Way::Browser { port: 1 },
    };
    let Reply::Browser { flow, url } = control::handle(request, control).await else {
        panic!("not begun")
    };
    let none = reqwest::redirect::Policy::none();
    let browser = reqwest::Client::builder().no_proxy().redirect(none).build().unwrap();
    let answer = browser.get(url).send().await.unwrap();
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let request = Request::FinishSignIn { flow, redirected: Secret::new(location) };
    let reply = control::handle(request, control).await;
    assert!(matches!(reply, Reply::SignedIn { .. }), "{reply:?}");
}

pub struct TestBridge {
    pub sandbox: Sandbox,
    pub running: Running,
    pub config: Config,
    pub password: String,
    pub state: tempfile::TempDir,
    pub http: reqwest::Client,
}

impl TestBridge {
    pub async fn start() -> TestBridge {
        TestBridge::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Config)) -> TestBridge {
        TestBridge::start_as(Profile::Full, change).await
    }

    /// By a clock that the test moves.
    pub async fn start_at(clock: Clock) -> TestBridge {
        let sandbox = sandbox().await;
        let state = private_directory();
        let config = configuration(state.path(), &sandbox);
        let running = app::start_at(&config, clock).await.unwrap();
        let password = add_account(&running.control, Profile::Full).await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        TestBridge { sandbox, running, config, password, state, http }
    }

    /// An account with this profile.
    pub async fn start_as(profile: Profile, change: impl FnOnce(&mut Config)) -> TestBridge {
        let sandbox = sandbox().await;
        let state = private_directory();
        let mut config = configuration(state.path(), &sandbox);
        change(&mut config);
        let running = app::start(&config).await.unwrap();
        let password = add_account(&running.control, profile).await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        TestBridge { sandbox, running, config, password, state, http }
    }

    pub fn address(&self, kind: Kind) -> SocketAddr {
        self.running.listening.iter().find(|(k, _)| *k == kind).unwrap().1
    }

    /// `http://127.0.0.1:port`
    pub fn calendar_url(&self) -> String {
        let is_clear = |(kind, _): &&(caldav::Kind, SocketAddr)| *kind == caldav::Kind::Clear;
        let (_, address) = self.running.calendars.iter().find(is_clear).unwrap();
        format!("http://{address}")
    }

    /// Hands a mail in by SMTP over TLS; LF line ends become CRLF. The last reply, or the refusal.
    pub async fn submit(&self, to: &[&str], message: &str) -> Result<String, String> {
        let message = message.replace('\n', "\r\n");
        let mail = Mail { user: USER, password: &self.password, from: USER, to, message: &message };
        let ca = &self.running.certificates.ca;
        let server = self.address(Kind::ImplicitTls);
        submit(server, ca, &mail).await.map_err(|error| format!("{error:#}"))
    }

    /// A short mail with this subject; the spool id that its 250 named.
    pub async fn submit_short(&self, to: &[&str], subject: &str) -> EntryId {
        let message = format!(
            "From: {USER}\nTo: {}\nMessage-ID: <{subject}@contoso.example>\nSubject: {subject}\n\nHello\n",
            to.join(", ")
        );
        id_in(&self.submit(to, &message).await.unwrap())
    }

    /// What the sandbox delivered: `{"mails":[…],"invitations":[…],"throttled":[…]}`.
    pub async fn ledger(&self) -> Value {
        self.get("/_sandbox/ledger").await
    }

    /// Each copy delivered, as `recipient: subject`, in order.
    pub async fn delivered(&self) -> Vec<String> {
        let ledger = self.ledger().await;
        let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let rows = ledger["mails"].as_array().unwrap();
        rows.iter().map(|r| format!("{}: {}", text(r, "recipient"), text(r, "subject"))).collect()
    }

    /// The octets that the recipient of a copy got.
    pub async fn raw(&self, seq: u64) -> String {
        let url = format!("{}/_sandbox/mails/{seq}/raw", self.sandbox.url());
        self.http.get(url).send().await.unwrap().text().await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.sandbox.url());
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    pub async fn post(&self, path: &str, body: Value) {
        let url = format!("{}{path}", self.sandbox.url());
        let answer = self.http.post(url).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
    }

    /// What somebody does in Outlook, below `/v1.0/me`.
    pub async fn by_hand(&self, user: &str, method: Method, path: &str, body: Value) -> Value {
        let answer = by_hand(&self.sandbox, &self.http, user, method, path, body).await;
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        answer.json().await.unwrap_or_default()
    }

    pub async fn entry(&self, id: EntryId) -> Entry {
        self.running.control.store.entry(id).await.unwrap().unwrap()
    }

    /// The entry, once it is in this state. Looks again until then: the worker is a task of its own.
    pub async fn once(&self, id: EntryId, state: State) -> Entry {
        let found = async {
            loop {
                let entry = self.entry(id).await;
                if entry.state == state {
                    return entry;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(entry) => entry,
            Err(_) => panic!("not {state:?} but {:?}", self.entry(id).await),
        }
    }
}

/// The same, whatever comes of it.
pub async fn by_hand(
    sandbox: &Sandbox,
    http: &reqwest::Client,
    user: &str,
    method: Method,
    path: &str,
    body: Value,
) -> reqwest::Response {
    let world = sandbox.world();
    let scopes = vec!["Calendars.ReadWrite".to_owned()];
    let user = world.user(user).unwrap().object_id;
    let grant = Grant { user, client_id: "app".into(), scopes: scopes.clone(), nonce: None };
    let now = world.clock.now();
    let token = world.identity.grants().issue(now, &grant, &scopes).access_token;
    let url = format!("{}/v1.0/me{path}", sandbox.url());
    http.request(method, url).bearer_auth(token).json(&body).send().await.unwrap()
}

/// The id in `250 2.0.0 queued as ID`.
pub fn id_in(reply: &str) -> EntryId {
    let words = reply.split_whitespace();
    words.skip_while(|word| *word != "as").nth(1).unwrap().parse().unwrap()
}
