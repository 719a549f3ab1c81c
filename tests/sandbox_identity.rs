//! The sandbox's sign-in, faults and journal, met over its sockets as a client meets them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashMap;
use std::net::SocketAddr;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postbridge::sandbox::{Options, Sandbox};
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CLIENT: &str = "5d3c1f9e-0b7a-4a58-9c3e-2f6f0a1b7c11";
const ADELE: &str = "adele.vance@contoso.example";
const ALEX: &str = "alex.wilber@contoso.example";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const REDIRECT: &str = "http://localhost:50123";
const SCOPE: &str = "openid profile email offline_access User.Read Mail.Send";

/// A sandbox, and a client that follows no redirect.
struct Bench {
    sandbox: Sandbox,
    http: Client,
}

type Form<'a> = Vec<(&'a str, &'a str)>;

impl Bench {
    async fn start(automatic: bool) -> Bench {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let sandbox = Sandbox::start(Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            https: None,
            mailboxes: vec![ADELE.to_owned(), ALEX.to_owned()],
            seed: 1,
            automatic,
            state: None,
        })
        .await
        .unwrap();
        let http = Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        Bench { sandbox, http: http.build().unwrap() }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.sandbox.url())
    }

    async fn get(&self, path: &str) -> Response {
        self.http.get(self.url(path)).send().await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) {
        let answer = self.http.post(self.url(path)).json(&body).send().await.unwrap();
        let status = answer.status();
        assert!(status.is_success(), "{path}: {status} {}", answer.text().await.unwrap());
    }

    fn authorize_url(&self, changes: &[(&str, &str)]) -> Url {
        let hash = digest::digest(&digest::SHA256, VERIFIER.as_bytes());
        let challenge = URL_SAFE_NO_PAD.encode(hash);
        let mut fields: HashMap<&str, &str> = HashMap::from([
            ("client_id", CLIENT),
            ("response_type", "code"),
            ("redirect_uri", REDIRECT),
            ("scope", SCOPE),
            ("state", "a+b /c"),
            ("nonce", "n-0S6"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        fields.extend(changes.iter().copied());
        fields.retain(|_, value| !value.is_empty());
        let url = self.url("/organizations/oauth2/v2.0/authorize");
        Url::parse_with_params(&url, fields).unwrap()
    }

    /// The fields of the redirect that an authorize URL answers with.
    async fn authorize(&self, changes: &[(&str, &str)]) -> HashMap<String, String> {
        let answer = self.http.get(self.authorize_url(changes)).send().await.unwrap();
        redirect_fields(&answer)
    }

    async fn token(&self, form: &Form<'_>) -> (StatusCode, Value) {
        let url = self.url("/organizations/oauth2/v2.0/token");
        let answer = self.http.post(url).form(form).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn redeem(&self, code: &str) -> (StatusCode, Value) {
        self.token(&code_form(code)).await
    }

    async fn sign_in(&self, changes: &[(&str, &str)]) -> Value {
        let fields = self.authorize(changes).await;
        let (status, tokens) = self.redeem(&fields["code"]).await;
        assert_eq!(status, 200, "{tokens}");
        tokens
    }

    async fn refresh(&self, refresh_token: &str) -> (StatusCode, Value) {
        self.token(&refresh_form(refresh_token)).await
    }

    /// What Graph says to a bearer: 400 for a good one, as the route does not exist.
    async fn graph(&self, access_token: &str) -> (StatusCode, Value) {
        let request = self.http.get(self.url("/v1.0/nothing/here")).bearer_auth(access_token);
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn journal(&self) -> Vec<Value> {
        self.get("/_sandbox/requests").await.json().await.unwrap()
    }
}

fn code_form(code: &str) -> Form<'_> {
    vec![
        ("client_id", CLIENT),
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ]
}

fn refresh_form(refresh_token: &str) -> Form<'_> {
    vec![("client_id", CLIENT), ("grant_type", "refresh_token"), ("refresh_token", refresh_token)]
}

fn redirect_fields(answer: &Response) -> HashMap<String, String> {
    assert_eq!(answer.status(), 302);
    let location = answer.headers()["location"].to_str().unwrap();
    assert!(location.starts_with("http://localhost:50123/?"), "{location}");
    Url::parse(location).unwrap().query_pairs().into_owned().collect()
}

/// The number after AADSTS, having checked the shape around it.
fn aadsts(body: &Value) -> u64 {
    let code = body["error_codes"][0].as_u64().unwrap();
    let description = body["error_description"].as_str().unwrap();
    assert!(description.starts_with(&format!("AADSTS{code}: ")), "{description}");
    for line in ["\r\nTrace ID: ", "\r\nCorrelation ID: ", "\r\nTimestamp: "] {
        assert!(description.contains(line), "{description}");
    }
    code
}

#[tokio::test]
async fn a_code_with_its_verifier_is_worth_tokens_and_a_signed_id_token() {
    let bench = Bench::start(true).await;
    let fields = bench.authorize(&[("login_hint", ALEX)]).await;
    assert_eq!(fields["state"], "a+b /c");
    let (status, tokens) = bench.redeem(&fields["code"]).await;
    assert_eq!(status, 200, "{tokens}");
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["expires_in"], 3599);
    assert_eq!(tokens["scope"], "openid profile email User.Read Mail.Send");

    let keys: jsonwebtoken::jwk::JwkSet =
        bench.get("/common/discovery/v2.0/keys").await.json().await.unwrap();
    let id_token = tokens["id_token"].as_str().unwrap();
    let header = jsonwebtoken::decode_header(id_token).unwrap();
    let key = keys.find(&header.kid.unwrap()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.set_audience(&[CLIENT]);
    let world = bench.sandbox.world();
    validation.set_issuer(&[format!("{}/{}/v2.0", bench.sandbox.url(), world.tenant_id)]);
    let key = jsonwebtoken::DecodingKey::from_jwk(key).unwrap();
    let claims = jsonwebtoken::decode::<Value>(id_token, &key, &validation).unwrap().claims;
    assert_eq!(claims["preferred_username"], ALEX);
    assert_eq!(claims["oid"], json!(world.user(ALEX).unwrap().object_id));
    assert_eq!(claims["tid"], json!(world.tenant_id));
    assert_eq!(claims["nonce"], "n-0S6");

    let (status, body) = bench.graph(tokens["access_token"].as_str().unwrap()).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (StatusCode::BAD_REQUEST, &json!("RequestBroker--ParseUri"))
    );
}

#[tokio::test]
async fn a_wrong_verifier_is_refused_and_uses_nothing_up() {
    let bench = Bench::start(true).await;
    let code = &bench.authorize(&[]).await["code"];
    let mut wrong = code_form(code);
    wrong[4].1 = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXl";
    let (status, body) = bench.token(&wrong).await;
    assert_eq!((status, aadsts(&body)), (StatusCode::BAD_REQUEST, 501481));
    assert_eq!(body["error"], "invalid_grant");
    let (_, body) = bench.token(&wrong[..4].to_vec()).await;
    assert_eq!(aadsts(&body), 900144);
    assert_eq!(bench.redeem(code).await.0, 200);
}

#[tokio::test]
async fn a_code_is_taken_once_for_ten_minutes_at_one_redirect_and_tenant() {
    let bench = Bench::start(true).await;
    let code = &bench.authorize(&[]).await["code"];
    let mut form = code_form(code);
    form[3].1 = "http://localhost:50124";
    assert_eq!(aadsts(&bench.token(&form).await.1), 500112);

    let url = bench.url("/common/oauth2/v2.0/token");
    let answer = bench.http.post(url).form(&code_form(code)).send().await.unwrap();
    assert_eq!(aadsts(&answer.json().await.unwrap()), 700005);

    assert_eq!(bench.redeem(code).await.0, 200);
    let (status, body) = bench.redeem(code).await;
    assert_eq!((status, aadsts(&body)), (StatusCode::BAD_REQUEST, 54005));

    let late = &bench.authorize(&[]).await["code"];
    bench.post("/_sandbox/clock", json!({"advance_seconds": 601})).await;
    assert_eq!(aadsts(&bench.redeem(late).await.1), 70008);
}

#[tokio::test]
async fn each_refresh_brings_a_new_token_and_the_old_one_lives_unless_switched() {
    let bench = Bench::start(true).await;
    let first = bench.sign_in(&[]).await["refresh_token"].as_str().unwrap().to_owned();
    let (_, second) = bench.refresh(&first).await;
    let second = second["refresh_token"].as_str().unwrap();
    assert_ne!(first, second);
    assert_eq!(bench.refresh(&first).await.0, 200);

    bench.post("/_sandbox/switches", json!({"old_refresh_token_stays_valid": false})).await;
    assert_eq!(bench.refresh(&first).await.0, 200);
    assert_eq!(aadsts(&bench.refresh(&first).await.1), 70000);
    assert_eq!(bench.refresh(second).await.0, 200);

    let last = bench.sign_in(&[]).await["refresh_token"].as_str().unwrap().to_owned();
    bench.post("/_sandbox/clock", json!({"advance_seconds": 90 * 86_400 + 1})).await;
    assert_eq!(aadsts(&bench.refresh(&last).await.1), 700082);
}

#[tokio::test]
async fn a_refresh_may_ask_for_less_but_not_for_more_than_was_consented() {
    let bench = Bench::start(true).await;
    let token = bench.sign_in(&[]).await["refresh_token"].as_str().unwrap().to_owned();
    let mut form = refresh_form(&token);
    form.push(("scope", "Mail.Send"));
    assert_eq!(bench.token(&form).await.1["scope"], "Mail.Send");
    form[3].1 = "Mail.ReadWrite offline_access";
    let (_, body) = bench.token(&form).await;
    assert_eq!((aadsts(&body), &body["suberror"]), (65001, &json!("consent_required")));
    form[3].1 = "Mail.Sned";
    assert_eq!(aadsts(&bench.token(&form).await.1), 70011);
}

#[tokio::test]
async fn revoking_ends_refresh_and_access_tokens_and_expiry_only_access() {
    let bench = Bench::start(true).await;
    let adele = bench.sign_in(&[("login_hint", ADELE)]).await;
    let alex = bench.sign_in(&[("login_hint", ALEX)]).await;
    let access = |tokens: &Value| tokens["access_token"].as_str().unwrap().to_owned();
    let refresh = |tokens: &Value| tokens["refresh_token"].as_str().unwrap().to_owned();

    bench.post("/_sandbox/revoke", json!({"mailbox": ADELE, "access_only": true})).await;
    let (status, body) = bench.graph(&access(&adele)).await;
    assert_eq!(status, 401);
    assert_eq!(body["error"]["code"], "InvalidAuthenticationToken");
    let (status, adele) = bench.refresh(&refresh(&adele)).await;
    assert_eq!(status, 200);

    bench.post("/_sandbox/revoke", json!({"mailbox": ADELE})).await;
    assert_eq!(bench.graph(&access(&adele)).await.0, 401);
    let (status, body) = bench.refresh(&refresh(&adele)).await;
    assert_eq!((status, aadsts(&body)), (StatusCode::BAD_REQUEST, 50173));
    assert_eq!(body["error"], "invalid_grant");

    assert_eq!(bench.graph(&access(&alex)).await.0, 400);
    bench.post("/_sandbox/clock", json!({"advance_seconds": 3600})).await;
    let (status, body) = bench.graph(&access(&alex)).await;
    assert_eq!(status, 401);
    assert_eq!(body["error"]["message"], "Access token has expired or is not yet valid.");
}

#[tokio::test]
async fn without_offline_access_there_is_no_refresh_token_and_without_openid_no_id_token() {
    let bench = Bench::start(true).await;
    let tokens = bench.sign_in(&[("scope", "https://graph.microsoft.com/mail.send")]).await;
    assert_eq!(tokens["scope"], "Mail.Send");
    assert!(tokens.get("refresh_token").is_none() && tokens.get("id_token").is_none());
}

#[tokio::test]
async fn what_cannot_be_trusted_with_a_redirect_is_shown_on_a_page() {
    let bench = Bench::start(true).await;
    for (change, code) in [
        (("redirect_uri", "http://localhost:50123/callback"), "AADSTS50011"),
        (("redirect_uri", "https://contoso.example/"), "AADSTS50011"),
        (("client_id", "my-app"), "AADSTS700016"),
        (("client_id", ""), "AADSTS900144"),
        (("login_hint", "<b>nobody@contoso.example"), "AADSTS50034"),
    ] {
        let answer = bench.http.get(bench.authorize_url(&[change])).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{change:?}");
        let page = answer.text().await.unwrap();
        assert!(page.contains(code) && !page.contains("<b>nobody"), "{change:?}: {page}");
    }
    for (change, error) in [
        (("response_type", "token"), "unsupported_response_type"),
        (("scope", "Mail.Sned"), "invalid_scope"),
        (("code_challenge", "short"), "invalid_request"),
        (("prompt", "none"), "interaction_required"),
    ] {
        let fields = bench.authorize(&[change]).await;
        assert_eq!((fields["error"].as_str(), fields["state"].as_str()), (error, "a+b /c"));
    }
}

#[tokio::test]
async fn tenants_and_clients_that_are_not_ours_are_refused_in_entras_words() {
    let bench = Bench::start(true).await;
    let ask = async |tenant: &str, form: &Form<'_>| {
        let url = bench.url(&format!("/{tenant}/oauth2/v2.0/token"));
        let request = bench.http.post(url).form(form).header("client-request-id", CLIENT);
        let body: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(body["correlation_id"], CLIENT);
        aadsts(&body)
    };
    let form = refresh_form("nonsense");
    assert_eq!(ask("consumers", &form).await, 50020);
    assert_eq!(ask("fabrikam.example", &form).await, 90002);
    assert_eq!(ask("contoso.example", &form).await, 70000);
    let with = |name, value| [form.clone(), vec![(name, value)]].concat();
    assert_eq!(ask("common", &with("client_secret", "s")).await, 700025);
    assert_eq!(ask("common", &with("client_id", CLIENT)).await, 9002313);
    assert_eq!(ask("common", &form[1..].to_vec()).await, 900144);
    assert_eq!(ask("common", &vec![("client_id", "x"), form[1]]).await, 700016);
    assert_eq!(ask("common", &vec![form[0], ("grant_type", "password")]).await, 70003);
    bench.post("/_sandbox/consent", json!({"client_ids": []})).await;
    assert_eq!(ask("common", &form).await, 700016);
}

#[tokio::test]
async fn a_person_chooses_a_mailbox_grants_less_or_declines() {
    let bench = Bench::start(false).await;
    let url = bench.authorize_url(&[]);
    let page = bench.http.get(url.clone()).send().await.unwrap();
    assert!(
        page.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'")
    );
    let page = page.text().await.unwrap();
    assert!(page.contains(ADELE) && page.contains(ALEX) && page.contains("Mail.Send"), "{page}");

    let choose = async |form: Form<'_>| {
        redirect_fields(&bench.http.post(url.clone()).form(&form).send().await.unwrap())
    };
    let fields = choose(vec![("mailbox", ALEX), ("scope", "openid"), ("scope", "Mail.Send")]).await;
    let (_, tokens) = bench.redeem(&fields["code"]).await;
    assert_eq!(tokens["scope"], "openid Mail.Send");
    let fields = choose(vec![("action", "decline")]).await;
    assert_eq!(fields["error"], "access_denied");
    assert!(fields["error_description"].starts_with("AADSTS65004"));
}

#[tokio::test]
async fn what_a_user_may_not_grant_waits_for_the_administrator() {
    let bench = Bench::start(true).await;
    bench.post("/_sandbox/consent", json!({"user_may_grant": ["User.Read", "Mail.Send"]})).await;
    bench.sign_in(&[]).await;
    let more = ("scope", "openid offline_access Mail.Send Mail.ReadWrite");
    let fields = bench.authorize(&[more]).await;
    assert_eq!(fields["error"], "access_denied");
    let description = &fields["error_description"];
    assert!(description.starts_with("AADSTS90094"), "{description}");
    let link = description.split_whitespace().find(|word| word.contains("/adminconsent?")).unwrap();
    let answer = bench.http.get(link).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(bench.sign_in(&[more]).await["scope"].as_str().unwrap().contains("Mail.ReadWrite"));
}

/// Starts a device sign-in: (device code, user code).
async fn start_device(bench: &Bench) -> (String, String) {
    let url = bench.url("/organizations/oauth2/v2.0/devicecode");
    let form = [("client_id", CLIENT), ("scope", SCOPE)];
    let body: Value = bench.http.post(url).form(&form).send().await.unwrap().json().await.unwrap();
    assert_eq!((&body["expires_in"], &body["interval"]), (&json!(900), &json!(5)));
    assert!(body.get("verification_uri_complete").is_none());
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    assert!(text("message").contains(&text("user_code")));
    (text("device_code"), text("user_code"))
}

async fn poll_device(bench: &Bench, device_code: &str) -> (StatusCode, Value) {
    let grant_type = "urn:ietf:params:oauth:grant-type:device_code";
    let form =
        vec![("client_id", CLIENT), ("grant_type", grant_type), ("device_code", device_code)];
    bench.token(&form).await
}

#[tokio::test]
async fn a_device_waits_slows_down_and_is_signed_in_once() {
    let bench = Bench::start(false).await;
    let (device_code, user_code) = start_device(&bench).await;
    let (status, body) = poll_device(&bench, &device_code).await;
    assert_eq!((status, aadsts(&body)), (StatusCode::BAD_REQUEST, 70016));
    assert_eq!(body["error"], "authorization_pending");
    assert_eq!(poll_device(&bench, &device_code).await.1["error"], "slow_down");
    bench.post("/_sandbox/clock", json!({"advance_seconds": 10})).await;
    assert_eq!(poll_device(&bench, &device_code).await.1["error"], "authorization_pending");

    let page = bench.get(&format!("/devicelogin?user_code={}", user_code.to_lowercase())).await;
    assert!(page.text().await.unwrap().contains(ALEX));
    let form = [("user_code", user_code.as_str()), ("mailbox", ALEX)];
    let answer = bench.http.post(bench.url("/devicelogin")).form(&form).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let (status, tokens) = poll_device(&bench, &device_code).await;
    assert_eq!(status, 200, "{tokens}");
    assert!(tokens["refresh_token"].is_string());
    assert_eq!(poll_device(&bench, &device_code).await.0, 400);
    assert_eq!(bench.get(&format!("/devicelogin?user_code={user_code}")).await.status(), 400);
}

#[tokio::test]
async fn a_device_that_is_declined_late_or_unknown_hears_so() {
    let bench = Bench::start(false).await;
    let (declined, user_code) = start_device(&bench).await;
    let form = [("user_code", user_code.as_str()), ("action", "decline")];
    bench.http.post(bench.url("/devicelogin")).form(&form).send().await.unwrap();
    assert_eq!(poll_device(&bench, &declined).await.1["error"], "authorization_declined");

    let (late, _) = start_device(&bench).await;
    bench.post("/_sandbox/clock", json!({"advance_seconds": 901})).await;
    assert_eq!(poll_device(&bench, &late).await.1["error"], "expired_token");
    assert_eq!(poll_device(&bench, "nonsense").await.1["error"], "bad_verification_code");
}

#[tokio::test]
async fn conditional_access_answers_the_scripted_code_for_one_mailbox() {
    let bench = Bench::start(true).await;
    let adele = bench.sign_in(&[("login_hint", ADELE)]).await;
    let alex = bench.sign_in(&[("login_hint", ALEX)]).await;
    let rule = json!({"route": "/*/oauth2/v2.0/token", "mailbox": ALEX, "times": 1,
        "do": {"token_error": {"code": 53003}}});
    bench.post("/_sandbox/faults", json!({"faults": [rule]})).await;
    assert_eq!(bench.refresh(adele["refresh_token"].as_str().unwrap()).await.0, 200);
    let alex = alex["refresh_token"].as_str().unwrap();
    let (_, body) = bench.refresh(alex).await;
    assert_eq!((aadsts(&body), &body["suberror"]), (53003, &json!("message_only")));
    assert_eq!(bench.refresh(alex).await.0, 200);
    let shown: Value = bench.get("/_sandbox/faults").await.json().await.unwrap();
    assert_eq!(
        (&shown["faults"][0]["matched"], &shown["faults"][0]["fired"]),
        (&json!(2), &json!(1))
    );
}

/// Sends a token request by hand and returns every octet that comes back.
async fn raw_refresh(bench: &Bench, refresh_token: &str) -> (Vec<u8>, std::io::Result<usize>) {
    let mut stream = send_refresh(bench, refresh_token).await;
    let mut octets = Vec::new();
    let end = stream.read_to_end(&mut octets).await;
    (octets, end)
}

async fn send_refresh(bench: &Bench, refresh_token: &str) -> TcpStream {
    let body = format!("client_id={CLIENT}&grant_type=refresh_token&refresh_token={refresh_token}");
    let address = bench.sandbox.url().replace("http://", "");
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let request = format!(
        "POST /common/oauth2/v2.0/token HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_cut_connection_carries_no_octet_and_the_effect_is_before_or_after_it() {
    let bench = Bench::start(true).await;
    // With this switch a refresh shows whether it happened: the old token is then dead.
    bench.post("/_sandbox/switches", json!({"old_refresh_token_stays_valid": false})).await;
    for (act, happened) in [("cut_before", false), ("cut_after", true)] {
        let token = bench.sign_in(&[]).await["refresh_token"].as_str().unwrap().to_owned();
        let rule = json!({"method": "POST", "route": "/common/", "nth": [1], "do": act});
        bench.post("/_sandbox/faults", json!({"faults": [rule]})).await;
        let (octets, end) = raw_refresh(&bench, &token).await;
        assert!(octets.is_empty(), "{act}: {}", String::from_utf8_lossy(&octets));
        assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset, "{act}");
        let (status, _) = bench.refresh(&token).await;
        assert_eq!(status == 400, happened, "{act}");
        let journal = bench.journal().await;
        let cut = journal.iter().rfind(|entry| entry["fault"] == act).unwrap();
        assert_eq!((&cut["status"], &cut["mailbox"]), (&Value::Null, &json!(ADELE)));
    }
}

#[tokio::test]
async fn a_cut_ends_tls_and_http_2_as_well_and_the_next_connection_is_good() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let sandbox = Sandbox::start(Options {
        listen: loopback,
        https: Some(loopback),
        mailboxes: vec![ADELE.to_owned()],
        seed: 1,
        automatic: true,
        state: None,
    })
    .await
    .unwrap();
    let ca = reqwest::Certificate::from_pem(sandbox.ca_pem().unwrap().as_bytes()).unwrap();
    let http = Client::builder().tls_certs_only([ca]).no_proxy().build().unwrap();
    let base = sandbox.https_url().unwrap();
    let rule = json!({"nth": [2], "do": "cut_after"});
    let script = json!({"faults": [rule]});
    http.post(format!("{base}/_sandbox/faults")).json(&script).send().await.unwrap();
    let url = format!("{base}/common/v2.0/.well-known/openid-configuration");
    let answer = http.get(&url).send().await.unwrap();
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["token_endpoint"], format!("{base}/common/oauth2/v2.0/token"));
    assert_eq!(body["issuer"], format!("{base}/{{tenantid}}/v2.0"));
    assert!(http.get(&url).send().await.is_err());
    assert_eq!(http.get(&url).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn work_goes_on_when_the_client_hangs_up_in_the_middle_of_it() {
    let bench = Bench::start(true).await;
    bench.post("/_sandbox/switches", json!({"old_refresh_token_stays_valid": false})).await;
    let token = bench.sign_in(&[]).await["refresh_token"].as_str().unwrap().to_owned();
    let rule = json!({"nth": [1], "do": {"delay_ms": 300}});
    bench.post("/_sandbox/faults", json!({"faults": [rule]})).await;
    let mut stream = send_refresh(&bench, &token).await;
    let begun = async || {
        let journal = bench.journal().await;
        let entry = journal.iter().find(|entry| entry["path"] == "/common/oauth2/v2.0/token");
        entry.map(|entry| entry["status"].clone())
    };
    while begun().await.is_none() {
        tokio::task::yield_now().await;
    }
    stream.shutdown().await.unwrap();
    drop(stream);
    let ended = async {
        while begun().await == Some(Value::Null) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), ended).await.unwrap();
    assert_eq!(aadsts(&bench.refresh(&token).await.1), 70000);
}

#[tokio::test]
async fn a_truncated_answer_announces_more_than_it_brings() {
    let bench = Bench::start(true).await;
    let token = bench.sign_in(&[]).await["refresh_token"].as_str().unwrap().to_owned();
    bench.post("/_sandbox/faults", json!({"faults": [{"do": "truncate"}]})).await;
    let (octets, _) = raw_refresh(&bench, &token).await;
    let text = String::from_utf8(octets).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    let announced = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert_eq!(announced.parse::<usize>().unwrap() / 2, body.len());
}

#[tokio::test]
async fn a_scripted_answer_comes_with_its_retry_after_before_or_after_the_effect() {
    let bench = Bench::start(true).await;
    bench.post("/_sandbox/switches", json!({"old_refresh_token_stays_valid": false})).await;
    let token = bench.sign_in(&[]).await["refresh_token"].as_str().unwrap().to_owned();
    let answer = json!({"status": 503, "code": "ErrorServerBusy", "retry_after": "2.128"});
    let script = json!({"faults": [
        {"route": "/v1.0/", "do": {"answer": answer}},
        {"route": "*/token", "times": 1, "do": {"act_then_answer": answer}},
    ]});
    bench.post("/_sandbox/faults", script).await;
    let answer = bench.get("/v1.0/me").await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["retry-after"]),
        (503, &"2.128".parse().unwrap())
    );
    let request_id = answer.headers()["request-id"].to_str().unwrap().to_owned();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["error"]["code"], "ErrorServerBusy");
    assert_eq!(body["error"]["innerError"]["request-id"], request_id);
    assert_eq!(bench.refresh(&token).await.0, 503);
    assert_eq!(bench.refresh(&token).await.0, 400);
}

#[tokio::test]
async fn expired_and_revoked_tokens_can_be_scripted_at_the_nth_request() {
    let bench = Bench::start(true).await;
    let tokens = bench.sign_in(&[]).await;
    let access = tokens["access_token"].as_str().unwrap();
    bench.post("/_sandbox/faults", json!({"faults": [{"nth": [2], "do": "expire_tokens"}]})).await;
    assert_eq!(bench.graph(access).await.0, 400);
    assert_eq!(bench.graph(access).await.0, 401);
    let (status, tokens) = bench.refresh(tokens["refresh_token"].as_str().unwrap()).await;
    assert_eq!(status, 200);
    bench
        .post("/_sandbox/faults", json!({"faults": [{"route": "/v1.0/", "do": "revoke_tokens"}]}))
        .await;
    assert_eq!(bench.graph(tokens["access_token"].as_str().unwrap()).await.0, 401);
    assert_eq!(bench.refresh(tokens["refresh_token"].as_str().unwrap()).await.0, 400);
}

#[tokio::test]
async fn a_kill_ends_the_process_before_its_answer_leaves() {
    let bench = Bench::start(true).await;
    let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let rule = json!({"route": "/v1.0/", "do": {"kill": {"pid": child.id(), "when": "after"}}});
    bench.post("/_sandbox/faults", json!({"faults": [rule]})).await;
    assert!(bench.http.get(bench.url("/v1.0/me")).send().await.is_err());
    let status = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
}

#[tokio::test]
async fn the_journal_names_mailboxes_and_holds_no_secret() {
    let bench = Bench::start(true).await;
    let fields = bench.authorize(&[]).await;
    let (_, tokens) = bench.redeem(&fields["code"]).await;
    let refresh = tokens["refresh_token"].as_str().unwrap();
    bench.refresh(refresh).await;
    bench.graph(tokens["access_token"].as_str().unwrap()).await;
    let journal = bench.journal().await;
    let rows: Vec<_> = journal
        .iter()
        .map(|entry| (entry["path"].as_str().unwrap(), entry["status"].as_u64().unwrap()))
        .collect();
    let token = "/organizations/oauth2/v2.0/token";
    let authorize = "/organizations/oauth2/v2.0/authorize";
    assert_eq!(rows, [(authorize, 302), (token, 200), (token, 200), ("/v1.0/nothing/here", 400)]);
    assert!(journal[1..].iter().all(|entry| entry["mailbox"] == ADELE), "{journal:?}");
    let text = bench.get("/_sandbox/requests").await.text().await.unwrap();
    for secret in [
        fields["code"].as_str(),
        refresh,
        tokens["access_token"].as_str().unwrap(),
        tokens["id_token"].as_str().unwrap(),
        VERIFIER,
        "n-0S6",
    ] {
        assert!(!text.contains(secret));
    }
    bench.post("/_sandbox/reset", json!({})).await;
    assert!(bench.journal().await.is_empty());
    assert_eq!(bench.refresh(refresh).await.0, 200);
}

#[tokio::test]
async fn only_loopback_is_listened_on_and_only_its_names_are_answered() {
    let options = Options {
        listen: SocketAddr::from(([0, 0, 0, 0], 0)),
        https: None,
        mailboxes: vec![ADELE.to_owned()],
        seed: 1,
        automatic: false,
        state: None,
    };
    let refusal = Sandbox::start(options).await.unwrap_err();
    assert!(refusal.to_string().contains("loopback only"), "{refusal}");
    let bench = Bench::start(true).await;
    let request = bench.http.get(bench.url("/_sandbox/requests")).header("host", "evil.example");
    assert_eq!(request.send().await.unwrap().status(), 421);
}

#[tokio::test]
async fn a_dropped_sandbox_is_gone() {
    let bench = Bench::start(true).await;
    let url = bench.url("/_sandbox/world");
    assert_eq!(bench.http.get(&url).send().await.unwrap().status(), 200);
    drop(bench.sandbox);
    while bench.http.get(&url).send().await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn msal_for_python_signs_in_by_code_and_device_and_refreshes() {
    let python = std::env::var("POSTBRIDGE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe = std::process::Command::new(&python).args(["-c", "import msal, requests"]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        return common::skip(&format!("{python} has no msal and requests"));
    }
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(Options {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        https: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        mailboxes: vec![ADELE.to_owned(), ALEX.to_owned()],
        seed: 1,
        automatic: true,
        state: Some(folder.path().to_owned()),
    })
    .await
    .unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/msal_client.py");
    let mut command = std::process::Command::new(python);
    command.arg(script).arg(sandbox.https_url().unwrap()).arg(folder.path().join("sandbox-ca.pem"));
    let done = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    assert!(done.status.success(), "{}\n{}", text(&done.stdout), text(&done.stderr));
    assert!(text(&done.stdout).ends_with("all is well\n"), "{}", text(&done.stdout));
}
