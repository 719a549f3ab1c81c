//! Signing in and staying signed in, against the sandbox over its sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use postbridge::access::{Access, AccessError, Begun, OpenError, Polled, SignInError, Way};
use postbridge::account::{Account, Address, Profile, Standing};
use postbridge::control::{self, Control, Listener, Reply, Request};
use postbridge::entra::Settings;
use postbridge::entra::seal::{KeyError, Seal, Sealed};
use postbridge::sandbox::Sandbox;
use postbridge::secret::Secret;
use postbridge::store::tokens::Worked;
use postbridge::store::{OpenError as StoreOpenError, Room, Store};
use reqwest::Url;
use serde_json::{Value, json};
use uuid::Uuid;

const CLIENT: &str = "5d3c1f9e-0b7a-4a58-9c3e-2f6f0a1b7c11";
const ADELE: &str = "adele.vance@contoso.example";
const ALEX: &str = "alex.wilber@contoso.example";
const PORT: u16 = 50123;

/// A sandbox, and a bridge's state beside it.
struct Bench {
    sandbox: Sandbox,
    browser: reqwest::Client,
    directory: tempfile::TempDir,
    access: Access,
    account: Arc<Account>,
    password: Secret,
}

impl Bench {
    async fn start() -> Bench {
        let sandbox = common::sandbox().await;
        let browser = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let access = open(&directory, settings(&sandbox)).await.unwrap();
        let (account, password) =
            access.store().add_account(parse(ADELE), Profile::Full).await.unwrap();
        Bench { sandbox, browser, directory, access, account, password }
    }

    async fn signed_in() -> Bench {
        let bench = Bench::start().await;
        bench.sign_in().await.unwrap();
        bench
    }

    /// The bridge ends and starts again on the same state.
    async fn restart(self) -> Bench {
        let Bench { sandbox, browser, directory, access, account, password } = self;
        drop(access);
        let access = open(&directory, settings(&sandbox)).await.unwrap();
        Bench { sandbox, browser, directory, access, account, password }
    }

    async fn begin(&self) -> (Uuid, String) {
        let way = Way::Browser { port: PORT };
        match self.access.begin_sign_in(self.account.id, Profile::Full, way).await.unwrap() {
            Begun::Browser { flow, url } => (flow, url),
            other => panic!("{other:?}"),
        }
    }

    /// Where the browser is sent to when it opens `url`.
    async fn browse(&self, url: &str) -> String {
        location(self.browser.get(url).send().await.unwrap())
    }

    async fn sign_in(&self) -> Result<Arc<Account>, SignInError> {
        let (flow, url) = self.begin().await;
        let redirected = self.browse(&url).await;
        self.access.finish_sign_in(flow, &redirected).await
    }

    async fn device_code(&self) -> (Uuid, String, String) {
        self.post("/_sandbox/switches", json!({"device_code_interval_seconds": 0})).await;
        let way = Way::DeviceCode;
        match self.access.begin_sign_in(self.account.id, Profile::Mail, way).await.unwrap() {
            Begun::DeviceCode { flow, user_code, verification_url, .. } => {
                (flow, user_code, verification_url)
            }
            other => panic!("{other:?}"),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.sandbox.url())
    }

    async fn post(&self, path: &str, body: Value) {
        let answer = self.browser.post(self.url(path)).json(&body).send().await.unwrap();
        let status = answer.status();
        assert!(status.is_success(), "{path}: {status} {}", answer.text().await.unwrap());
    }

    /// One fault for the token endpoint.
    async fn fault(&self, mut rule: Value) {
        rule["route"] = "/*/oauth2/v2.0/token".into();
        self.post("/_sandbox/faults", json!({"faults": [rule]})).await;
    }

    async fn revoke(&self) {
        self.post("/_sandbox/revoke", json!({"mailbox": ADELE})).await;
    }

    async fn strict_rotation(&self) {
        self.post("/_sandbox/switches", json!({"old_refresh_token_stays_valid": false})).await;
    }

    /// Requests that reached the token endpoint.
    async fn token_requests(&self) -> usize {
        let entries: Vec<Value> = self
            .browser
            .get(self.url("/_sandbox/requests"))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let token =
            |entry: &&Value| entry["path"].as_str().unwrap().ends_with("/oauth2/v2.0/token");
        entries.iter().filter(token).count()
    }

    async fn stored(&self) -> Arc<Account> {
        self.access.store().account(self.account.id).await.unwrap().unwrap()
    }

    /// The stored generation, and the refresh token itself.
    async fn refresh_token(&self) -> (u64, Secret) {
        let stored = self.access.store().sealed_token(self.account.id).await.unwrap().unwrap();
        let sealed = Sealed(stored.sealed);
        (stored.generation, self.seal().open(self.account.id, stored.generation, &sealed).unwrap())
    }

    fn seal(&self) -> Seal {
        Seal::find(&state(&self.directory), None, true).unwrap()
    }

    async fn nothing_is_stored(&self) {
        assert!(self.access.store().sealed_token(self.account.id).await.unwrap().is_none());
        let account = self.stored().await;
        assert_eq!((&account.standing, &account.person), (&Standing::New, &None));
    }
}

fn parse(address: &str) -> Address {
    Address::parse(address).unwrap()
}

fn state(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join("state")
}

fn settings(sandbox: &Sandbox) -> Settings {
    let url = sandbox.url();
    let toml = format!("client_id = \"{CLIENT}\"\nlogin_url = \"{url}\"\ngraph_url = \"{url}\"\n");
    toml::from_str(&toml).unwrap()
}

/// Opens the state, once whoever held it has let go.
async fn open(directory: &tempfile::TempDir, settings: Settings) -> Result<Access, OpenError> {
    loop {
        match Store::open(&state(directory), Room::default()).await {
            Ok(store) => return Access::open(store, settings, None).await,
            Err(StoreOpenError::InUse { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

fn location(answer: reqwest::Response) -> String {
    assert_eq!(answer.status(), 302);
    answer.headers()["location"].to_str().unwrap().to_owned()
}

/// A URL with one of its query fields changed.
fn with(url: &str, name: &str, value: &str) -> String {
    let mut url = Url::parse(url).unwrap();
    let others: Vec<(String, String)> =
        url.query_pairs().into_owned().filter(|(k, _)| k != name).collect();
    url.query_pairs_mut().clear().extend_pairs(others).append_pair(name, value);
    url.into()
}

fn field(url: &str, name: &str) -> String {
    let url = Url::parse(url).unwrap();
    url.query_pairs().find(|(k, _)| k == name).map(|(_, v)| v.into_owned()).unwrap()
}

/// Looks until it is so.
async fn until(mut so: impl AsyncFnMut() -> bool) {
    let look = async {
        while !so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), look).await.expect("it never is so");
}

fn refused<T: std::fmt::Debug>(got: Result<T, SignInError>, part: &str) {
    let text = got.unwrap_err().to_string();
    assert!(text.contains(part), "{part:?} is not in {text:?}");
}

#[tokio::test]
async fn a_sign_in_by_browser_makes_the_account_ready() {
    let bench = Bench::start().await;
    let account = bench.sign_in().await.unwrap();
    assert_eq!(account.standing, Standing::Ready);
    assert_eq!(account.missing().count(), 0);
    assert!(account.granted.iter().any(|scope| scope == "Mail.Send"), "{:?}", account.granted);
    let user = bench.sandbox.world().user(ADELE).unwrap().object_id;
    assert_eq!(account.person.as_ref().unwrap().object_id, user.to_string());
    let before = bench.token_requests().await;
    bench.access.access_token(account.id).await.unwrap();
    assert_eq!(bench.token_requests().await, before, "the token of the sign-in was not used");
}

#[tokio::test]
async fn an_answer_with_another_state_or_nonce_stores_nothing() {
    let bench = Bench::start().await;
    let (flow, url) = bench.begin().await;
    let redirected = with(&bench.browse(&url).await, "state", "other");
    refused(bench.access.finish_sign_in(flow, &redirected).await, "state differs");
    let (flow, url) = bench.begin().await;
    let redirected = bench.browse(&with(&url, "nonce", "other")).await;
    refused(bench.access.finish_sign_in(flow, &redirected).await, "nonce differs");
    bench.nothing_is_stored().await;
}

#[tokio::test]
async fn a_code_from_another_sign_in_is_useless() {
    let bench = Bench::start().await;
    let (_, url) = bench.begin().await;
    let stolen = field(&bench.browse(&url).await, "code");
    let (flow, url) = bench.begin().await;
    let redirected = with(&bench.browse(&url).await, "code", &stolen);
    // RFC 7636: our verifier does not fit the challenge that the code was made for.
    refused(bench.access.finish_sign_in(flow, &redirected).await, "AADSTS501481");
    bench.nothing_is_stored().await;
}

#[tokio::test]
async fn a_sign_in_takes_one_answer() {
    let bench = Bench::start().await;
    let (flow, url) = bench.begin().await;
    let redirected = bench.browse(&url).await;
    bench.access.finish_sign_in(flow, &redirected).await.unwrap();
    let before = bench.refresh_token().await.0;
    refused(bench.access.finish_sign_in(flow, &redirected).await, "not known");
    refused(bench.access.finish_sign_in(Uuid::new_v4(), &redirected).await, "not known");
    assert_eq!(bench.refresh_token().await.0, before);
}

#[tokio::test]
async fn a_mailbox_without_the_accounts_address_is_refused() {
    let bench = Bench::start().await;
    let (flow, url) = bench.begin().await;
    let redirected = bench.browse(&with(&url, "login_hint", ALEX)).await;
    refused(bench.access.finish_sign_in(flow, &redirected).await, "does not have the address");
    bench.nothing_is_stored().await;
}

#[tokio::test]
async fn another_person_cannot_take_an_account_over() {
    let bench = Bench::signed_in().await;
    let before = bench.refresh_token().await.0;
    let (flow, url) = bench.begin().await;
    let redirected = bench.browse(&with(&url, "login_hint", ALEX)).await;
    refused(bench.access.finish_sign_in(flow, &redirected).await, "another person");
    assert_eq!(bench.refresh_token().await.0, before);
    assert_eq!(bench.stored().await.standing, Standing::Ready);
    bench.access.access_token(bench.account.id).await.unwrap();
}

#[tokio::test]
async fn declining_and_granting_less_are_told_apart() {
    let bench = Bench::start().await;
    let (flow, url) = bench.begin().await;
    let decline = bench.browser.post(&url).form(&[("action", "decline")]).send().await.unwrap();
    refused(bench.access.finish_sign_in(flow, &location(decline)).await, "declined");
    bench.nothing_is_stored().await;

    let (flow, url) = bench.begin().await;
    let scopes = ["openid", "profile", "offline_access", "User.Read", "Mail.Send"];
    let mut form = vec![("mailbox", ADELE)];
    form.extend(scopes.map(|scope| ("scope", scope)));
    let less = bench.browser.post(&url).form(&form).send().await.unwrap();
    let account = bench.access.finish_sign_in(flow, &location(less)).await.unwrap();
    let missing: Vec<_> = account.missing().collect();
    assert_eq!(missing, ["Mail.ReadWrite", "Calendars.ReadWrite"]);
}

#[tokio::test]
async fn where_an_administrator_must_consent_the_link_is_in_the_answer() {
    let bench = Bench::start().await;
    let may = json!({"user_may_grant": ["User.Read", "Mail.Send"]});
    bench.post("/_sandbox/consent", may).await;
    refused(bench.sign_in().await, "/organizations/v2.0/adminconsent?client_id=");
    bench.nothing_is_stored().await;
    // What a user may still grant alone.
    let way = Way::Browser { port: PORT };
    let begun = bench.access.begin_sign_in(bench.account.id, Profile::SendOnly, way).await;
    let Begun::Browser { flow, url } = begun.unwrap() else { panic!() };
    let redirected = bench.browse(&url).await;
    let account = bench.access.finish_sign_in(flow, &redirected).await.unwrap();
    assert_eq!((account.profile, account.missing().count()), (Profile::SendOnly, 0));
}

#[tokio::test]
async fn a_device_code_waits_for_the_user_and_then_signs_in() {
    let bench = Bench::start().await;
    let (flow, user_code, page) = bench.device_code().await;
    let waiting = bench.access.poll_sign_in(flow).await.unwrap();
    assert!(matches!(waiting, Polled::Waiting), "{waiting:?}");
    // A passing fault costs a poll and not the sign-in.
    bench.fault(json!({"do": "cut_before", "times": 1})).await;
    let waiting = bench.access.poll_sign_in(flow).await.unwrap();
    assert!(matches!(waiting, Polled::Waiting), "{waiting:?}");
    let form = [("user_code", user_code.as_str()), ("mailbox", ADELE)];
    assert!(bench.browser.post(page).form(&form).send().await.unwrap().status().is_success());
    let Polled::SignedIn(account) = bench.access.poll_sign_in(flow).await.unwrap() else {
        panic!("still waiting");
    };
    assert_eq!((&account.standing, account.profile), (&Standing::Ready, Profile::Mail));
    refused(bench.access.poll_sign_in(flow).await, "not known");
}

#[tokio::test]
async fn a_declined_device_code_stores_nothing() {
    let bench = Bench::start().await;
    let (flow, user_code, page) = bench.device_code().await;
    let form = [("user_code", user_code.as_str()), ("action", "decline")];
    bench.browser.post(page).form(&form).send().await.unwrap();
    refused(bench.access.poll_sign_in(flow).await, "declined");
    refused(bench.access.poll_sign_in(flow).await, "not known");
    bench.nothing_is_stored().await;
}

#[tokio::test]
async fn fifty_callers_cost_one_refresh() {
    let bench = Bench::signed_in().await.restart().await;
    let before = bench.token_requests().await;
    let ask = || {
        let (access, id) = (bench.access.clone(), bench.account.id);
        tokio::spawn(async move { access.access_token(id).await.unwrap() })
    };
    let mut tokens = Vec::new();
    for task in (0..50).map(|_| ask()).collect::<Vec<_>>() {
        tokens.push(task.await.unwrap());
    }
    assert!(tokens.iter().all(|token| token.expose() == tokens[0].expose()));
    assert_eq!(bench.token_requests().await, before + 1);
    // All of them meet a 401.
    let renew = |stale| {
        let (access, id) = (bench.access.clone(), bench.account.id);
        tokio::spawn(async move { access.renew(id, &stale).await.unwrap() })
    };
    for task in tokens.clone().into_iter().map(renew).collect::<Vec<_>>() {
        assert_ne!(task.await.unwrap().expose(), tokens[0].expose());
    }
    assert_eq!(bench.token_requests().await, before + 2);
}

#[tokio::test]
async fn fifty_callers_share_one_failure() {
    let bench = Bench::signed_in().await.restart().await;
    bench
        .fault(json!({"do": {"answer": {"status": 503, "code": "temporarily_unavailable"}}}))
        .await;
    let before = bench.token_requests().await;
    let ask = || {
        let (access, id) = (bench.access.clone(), bench.account.id);
        tokio::spawn(async move { access.access_token(id).await })
    };
    for task in (0..50).map(|_| ask()).collect::<Vec<_>>() {
        assert!(matches!(task.await.unwrap(), Err(AccessError::Later { after: None, .. })));
    }
    assert_eq!(bench.token_requests().await, before + 1);
}

#[tokio::test]
async fn a_pause_that_was_asked_for_is_kept() {
    let bench = Bench::signed_in().await.restart().await;
    let answer = json!({"status": 429, "code": "x", "retry_after": "30"});
    bench.fault(json!({"do": {"answer": answer}, "times": 1})).await;
    let before = bench.token_requests().await;
    for _ in 0..2 {
        let got = bench.access.access_token(bench.account.id).await;
        let Err(AccessError::Later { after: Some(after), .. }) = got else { panic!("{got:?}") };
        assert!((25..=30).contains(&after.as_secs()), "{after:?}");
    }
    assert_eq!(bench.token_requests().await, before + 1);
    assert_eq!(bench.stored().await.standing, Standing::Ready);
}

#[tokio::test]
async fn a_revoked_token_needs_a_sign_in_and_a_sign_in_mends_it() {
    let bench = Bench::signed_in().await;
    let stale = bench.access.access_token(bench.account.id).await.unwrap();
    bench.revoke().await;
    let got = bench.access.renew(bench.account.id, &stale).await;
    let Err(AccessError::NeedsSignIn { why }) = got else { panic!("{got:?}") };
    assert!(why.contains("revoked") && why.contains("sign in again"), "{why}");
    assert_eq!(bench.stored().await.standing, Standing::NeedsSignIn(why));
    // Nobody asks Microsoft again in vain, not even after a restart.
    let bench = bench.restart().await;
    let before = bench.token_requests().await;
    assert!(bench.access.access_token(bench.account.id).await.is_err());
    assert_eq!(bench.token_requests().await, before);
    // Another person does not mend it.
    let (flow, url) = bench.begin().await;
    let redirected = bench.browse(&with(&url, "login_hint", ALEX)).await;
    refused(bench.access.finish_sign_in(flow, &redirected).await, "another person");
    assert!(bench.access.access_token(bench.account.id).await.is_err());

    bench.sign_in().await.unwrap();
    bench.access.access_token(bench.account.id).await.unwrap();
    let bench = bench.restart().await;
    bench.access.access_token(bench.account.id).await.unwrap();
}

#[tokio::test]
async fn conditional_access_is_explained() {
    let bench = Bench::signed_in().await.restart().await;
    bench.fault(json!({"do": {"token_error": {"code": 53003}}})).await;
    let got = bench.access.access_token(bench.account.id).await;
    let Err(AccessError::NeedsSignIn { why }) = got else { panic!("{got:?}") };
    assert!(why.contains("Conditional Access"), "{why}");
    let bench = Bench::start().await;
    bench.fault(json!({"do": {"token_error": {"code": 7000218}}})).await;
    refused(bench.sign_in().await, "Allow public client flows");
    bench.nothing_is_stored().await;
}

#[tokio::test]
async fn a_new_refresh_token_is_on_disk_before_its_access_token_is_used() {
    let bench = Bench::signed_in().await;
    // Only the newest token is good: whatever is not stored is lost for ever.
    bench.strict_rotation().await;
    let mut bench = bench;
    for round in 1..5 {
        bench = bench.restart().await;
        assert_eq!(bench.refresh_token().await.0, round);
        bench.access.access_token(bench.account.id).await.unwrap();
        // The process dies here, right after it got the token.
        assert_eq!(bench.refresh_token().await.0, round + 1);
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_lose_the_new_token() {
    let bench = Bench::signed_in().await.restart().await;
    bench.strict_rotation().await;
    bench.fault(json!({"do": {"delay_ms": 200}})).await;
    let before = bench.token_requests().await;
    let (access, id) = (bench.access.clone(), bench.account.id);
    let caller = tokio::spawn(async move { access.access_token(id).await });
    until(async || bench.token_requests().await > before).await;
    caller.abort();
    until(async || bench.refresh_token().await.0 == 2).await;
    let bench = bench.restart().await;
    bench.access.access_token(bench.account.id).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_was_lost_costs_nothing_where_the_old_token_stays_valid() {
    let bench = Bench::signed_in().await.restart().await;
    bench.fault(json!({"do": "cut_after", "times": 1})).await;
    let got = bench.access.access_token(bench.account.id).await;
    assert!(matches!(got, Err(AccessError::Later { .. })), "{got:?}");
    assert_eq!(bench.refresh_token().await.0, 1);
    let bench = bench.restart().await;
    bench.access.access_token(bench.account.id).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_was_lost_to_a_strict_server_needs_a_sign_in_and_loses_nothing_else() {
    let bench = Bench::signed_in().await.restart().await;
    bench.strict_rotation().await;
    bench.fault(json!({"do": "truncate", "times": 1})).await;
    let got = bench.access.access_token(bench.account.id).await;
    assert!(matches!(got, Err(AccessError::Later { .. })), "{got:?}");
    let got = bench.access.access_token(bench.account.id).await;
    assert!(matches!(got, Err(AccessError::NeedsSignIn { .. })), "{got:?}");
    bench.sign_in().await.unwrap();
    bench.access.access_token(bench.account.id).await.unwrap();
}

#[tokio::test]
async fn a_token_that_cannot_be_stored_is_not_used() {
    let bench = Bench::signed_in().await.restart().await;
    bench.fault(json!({"do": {"delay_ms": 200}})).await;
    let before = bench.token_requests().await;
    let (access, id) = (bench.access.clone(), bench.account.id);
    let caller = tokio::spawn(async move { access.access_token(id).await });
    until(async || bench.token_requests().await > before).await;
    // The account goes while Microsoft answers.
    assert!(bench.access.store().remove_account(id).await.unwrap());
    assert!(caller.await.unwrap().is_err());
    assert!(bench.access.store().accounts_with_token().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_token_before_is_tried_once_when_the_stored_one_is_dead() {
    let bench = Bench::signed_in().await.restart().await;
    let id = bench.account.id;
    let dead = bench.seal().seal(id, 2, &Secret::new("dead".to_owned())).unwrap();
    let store = bench.access.store();
    assert!(store.replace_token(id, 1, dead.0, Worked::Current).await.unwrap());
    let before = bench.token_requests().await;
    bench.access.access_token(id).await.unwrap();
    assert_eq!(bench.token_requests().await, before + 2);
    assert_eq!(bench.refresh_token().await.0, 3);
    let bench = bench.restart().await;
    bench.access.access_token(id).await.unwrap();
}

#[tokio::test]
async fn a_wrong_local_password_touches_nothing_of_microsofts() {
    let bench = Bench::signed_in().await;
    let (before, requests) = (bench.refresh_token().await.0, bench.token_requests().await);
    let store = bench.access.store();
    for _ in 0..100 {
        assert!(store.authenticate(ADELE, "wrong").await.unwrap().is_none());
    }
    assert!(store.authenticate(ADELE, bench.password.expose()).await.unwrap().is_some());
    assert_eq!(bench.stored().await.standing, Standing::Ready);
    assert_eq!(bench.refresh_token().await.0, before);
    assert_eq!(bench.token_requests().await, requests);
}

#[tokio::test]
async fn a_missing_or_foreign_key_is_said_and_no_new_one_is_made() {
    let Bench { sandbox, directory, access, .. } = Bench::signed_in().await;
    drop(access);
    let key = state(&directory).join("kek");
    let kept = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    let Err(error) = open(&directory, settings(&sandbox)).await else { panic!("it opened") };
    assert!(matches!(error, OpenError::Key(KeyError::Missing(_))), "{error}");
    assert!(!key.exists());
    std::fs::write(&key, [7; 32]).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, private).unwrap();
    let Err(error) = open(&directory, settings(&sandbox)).await else { panic!("it opened") };
    assert!(matches!(error, OpenError::WrongKey(1)), "{error}");
    std::fs::write(&key, kept).unwrap();
    assert!(open(&directory, settings(&sandbox)).await.is_ok());
}

/// Everything that is logged, at trace, by whomever.
#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Logs {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_is_in_a_log_at_trace_or_in_a_file() {
    let logs = Logs::default();
    let writer = logs.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // One thread runs all of this test, so this one's logs are all there are.
    let _guard = tracing::subscriber::set_default(subscriber);
    // While there is one subscriber only, tracing asks the thread that comes by first whether a
    // message is wanted, and the other tests' threads say no for all.
    let _another = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());

    let bench = Bench::start().await;
    let (flow, url) = bench.begin().await;
    let redirected = bench.browse(&url).await;
    let code = field(&redirected, "code");
    bench.access.finish_sign_in(flow, &redirected).await.unwrap();
    let first = bench.access.access_token(bench.account.id).await.unwrap();
    let (_, old) = bench.refresh_token().await;
    bench.fault(json!({"do": "truncate", "times": 1})).await;
    let lost = bench.access.renew(bench.account.id, &first).await;
    let second = bench.access.renew(bench.account.id, &first).await.unwrap();
    let (_, new) = bench.refresh_token().await;
    bench.revoke().await;
    let revoked = bench.access.renew(bench.account.id, &second).await;
    let shown = format!("{first:?} {second:?} {lost:?} {revoked:?} {:?}", bench.password);

    let secrets = [
        &code,
        first.expose(),
        second.expose(),
        old.expose(),
        new.expose(),
        bench.password.expose(),
    ];
    assert_ne!(old.expose(), new.expose());
    let logged = String::from_utf8_lossy(&logs.0.lock().unwrap()).into_owned();
    assert!(logged.contains("access token renewed"), "nothing was captured");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(state(&bench.directory)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            files.extend(std::fs::read(path).unwrap());
        }
    }
    for secret in secrets {
        assert!(!logged.contains(secret), "{secret:.6}… is in the log");
        assert!(!shown.contains(secret), "{secret:.6}… is in a Debug text");
        let found = files.windows(secret.len()).any(|octets| octets == secret.as_bytes());
        assert!(!found, "{secret:.6}… is in a file");
    }
}

/// How an operator's request travels.
enum Line {
    Socket(PathBuf),
    Direct(Control),
}

impl Line {
    async fn ask(&self, request: Request) -> Reply {
        match self {
            Line::Direct(control) => control::handle(request, control).await,
            Line::Socket(path) => {
                let line = serde_json::to_string(&request).unwrap() + "\n";
                serde_json::from_str(&send(path, line.as_bytes()).await).unwrap()
            }
        }
    }
}

/// What the daemon answers to these octets.
async fn send(socket: &PathBuf, octets: &[u8]) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    // The daemon may hang up before all of it is written.
    let _ = stream.write_all(octets).await;
    let mut reply = String::new();
    let _ = stream.read_to_string(&mut reply).await;
    reply
}

#[tokio::test]
async fn a_request_is_answered_alike_through_the_socket_and_without_it() {
    let bench = Bench::start().await;
    let state = state(&bench.directory);
    let control = Control::new(bench.access.store().clone(), bench.access.clone());
    let listener = Listener::bind(&state).unwrap();
    let socket = state.join("control.sock");
    let mode = std::fs::metadata(&socket).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
    let daemon = tokio::spawn(listener.serve(control.clone()));

    all_requests(&bench, &Line::Socket(socket.clone())).await;
    all_requests(&bench, &Line::Direct(control)).await;

    daemon.abort();
    let _ = daemon.await;
    assert!(!socket.exists());
}

/// Adds, signs in, lists, changes the password and removes, as the commands do.
async fn all_requests(bench: &Bench, line: &Line) {
    let address = parse(ALEX);
    let ask = async |request| line.ask(request).await;
    let add = || Request::AddAccount { address: address.clone(), profile: Profile::Full };
    let Reply::Password { password, .. } = ask(add()).await else { panic!() };
    let Reply::Refused { why } = ask(add()).await else { panic!() };
    assert!(why.contains("already"), "{why}");

    let way = Way::Browser { port: PORT };
    let begin = Request::BeginSignIn { address: address.clone(), profile: None, way };
    let Reply::Browser { flow, url } = ask(begin).await else { panic!() };
    let redirected = Secret::new(bench.browse(&url).await);
    let reply = ask(Request::FinishSignIn { flow, redirected }).await;
    let Reply::SignedIn { account, limits } = reply else { panic!("{reply:?}") };
    assert_eq!((account.standing, limits.len()), (Standing::Ready, 0));

    let Reply::Accounts { accounts, .. } = ask(Request::Accounts {}).await else { panic!() };
    assert_eq!(accounts.len(), 2);
    let new = ask(Request::NewPassword { address: address.clone() }).await;
    let Reply::Password { password: new, .. } = new else { panic!() };
    assert!(!new.equals(password.expose()));
    let remove = || Request::RemoveAccount { address: address.clone(), even_with_mail: false };
    assert!(matches!(ask(remove()).await, Reply::Removed { .. }));
    let Reply::Refused { why } = ask(remove()).await else { panic!() };
    assert!(why.contains("no account"), "{why}");
}

#[tokio::test]
async fn a_request_that_is_too_long_or_unknown_does_no_harm() {
    let bench = Bench::start().await;
    let state = state(&bench.directory);
    let control = Control::new(bench.access.store().clone(), bench.access.clone());
    let daemon = tokio::spawn(Listener::bind(&state).unwrap().serve(control));
    let socket = state.join("control.sock");
    assert_eq!(send(&socket, &vec![b'x'; 200_000]).await, "");
    assert!(
        send(&socket, b"{\"request\":\"shut-down\",\"secret\":\"canary\"}\n")
            .await
            .contains("refused")
    );
    assert!(send(&socket, b"{\"request\":\"accounts\"}\n").await.contains(ADELE));
    daemon.abort();
}
