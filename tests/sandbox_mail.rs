//! The sandbox's Graph mail over HTTP: what is taken, what is refused and how, and who gets it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::process::Command;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postbridge::sandbox;
use postbridge::sandbox::grants::Grant;
use postbridge::sandbox::world::{OversizeMime, ThrottleRetryAfter, World};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

const ADELE: &str = "adele.vance@contoso.example";
const ALEX: &str = "alex.wilber@contoso.example";
const SALES: &str = "sales@contoso.example";
const ALL_SCOPES: &[&str] = &["User.Read", "Mail.Send", "Mail.Send.Shared"];

/// A sandbox with three mailboxes; Adele has an alias and Send As on the sales mailbox.
struct Sandbox {
    world: Arc<World>,
    url: String,
    client: Client,
}

impl Sandbox {
    async fn start() -> Sandbox {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut world = World::new(&[ADELE, ALEX, SALES].map(str::to_owned), 1);
        world.users[0].aliases = vec!["adele@contoso.example".to_owned()];
        world.users[0].send_as = vec![SALES.to_owned()];
        let world = Arc::new(world);
        let app = sandbox::router(Arc::clone(&world));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Sandbox { world, url, client: Client::builder().no_proxy().build().unwrap() }
    }

    /// An access token of Adele's.
    fn token(&self, scopes: &[&str]) -> String {
        let scopes: Vec<String> = scopes.iter().map(|&scope| scope.to_owned()).collect();
        let user = self.world.users[0].object_id;
        let client_id = "app".to_owned();
        let grant = Grant { user, client_id, scopes: scopes.clone(), nonce: None };
        let now = self.world.clock.now();
        self.world.identity.grants().issue(now, &grant, &scopes).access_token
    }

    fn post(&self, path: &str) -> RequestBuilder {
        let token = self.token(ALL_SCOPES);
        self.client.post(format!("{}{path}", self.url)).bearer_auth(token)
    }

    async fn get(&self, path: &str) -> Response {
        let token = self.token(ALL_SCOPES);
        self.client.get(format!("{}{path}", self.url)).bearer_auth(token).send().await.unwrap()
    }

    async fn send_mime(&self, mime: impl AsRef<[u8]>) -> Answer {
        let body = STANDARD.encode(mime);
        let request = self.post("/v1.0/me/sendMail").header("Content-Type", "text/plain");
        Answer::of(request.body(body).send().await.unwrap()).await
    }

    async fn send_json(&self, body: Value) -> Answer {
        Answer::of(self.post("/v1.0/me/sendMail").json(&body).send().await.unwrap()).await
    }

    async fn ledger(&self) -> Value {
        self.get("/_sandbox/ledger").await.json().await.unwrap()
    }

    async fn raw(&self, seq: u64) -> String {
        self.get(&format!("/_sandbox/mails/{seq}/raw")).await.text().await.unwrap()
    }
}

/// Status, error code and message of an answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    code: String,
    message: String,
}

impl Answer {
    async fn of(response: Response) -> Answer {
        let status = response.status().as_u16();
        let request_id = response.headers()["request-id"].to_str().unwrap().to_owned();
        let text = response.text().await.unwrap();
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        if !text.is_empty() {
            assert_eq!(body["error"]["innerError"]["request-id"], request_id.as_str(), "{text}");
        }
        let field = |name: &str| body["error"][name].as_str().unwrap_or_default().to_owned();
        Answer { status, code: field("code"), message: field("message") }
    }

    #[track_caller]
    fn is(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code.as_str()), (status, code), "{}", self.message);
    }
}

/// A mail that the sandbox has no reason to change.
fn mime(headers: &str) -> String {
    format!(
        "From: Adele <{ADELE}>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n\
         Message-ID: <1@client.example>\r\nSubject: Hello\r\n{headers}\r\n.\r\n  body \t\r\n\r\n"
    )
}

#[tokio::test]
async fn a_mime_mail_arrives_octet_for_octet_at_each_recipient() {
    let sandbox = Sandbox::start().await;
    let given =
        mime(&format!("To: \"W, A\" <{ALEX}>, Team: out@fabrikam.example;\r\nX-Tag: 7\r\n"));
    sandbox.send_mime(&given).await.is(202, "");
    let ledger = sandbox.ledger().await;
    let row = |seq: u64, recipient: &str| {
        json!({"seq": seq, "mailbox": ADELE, "from": ADELE, "recipient": recipient,
            "message_id": "<1@client.example>", "subject": "Hello", "size_bytes": given.len(),
            "via": "mime"})
    };
    let rows = json!([row(1, ALEX), row(2, "out@fabrikam.example")]);
    assert_eq!(ledger, json!({"mails": rows, "invitations": [], "throttled": []}));
    assert_eq!(sandbox.raw(1).await, given);
    let mailbox = |index: usize| sandbox.world.mail.mailbox(sandbox.world.users[index].object_id);
    assert_eq!((mailbox(0).sent_items, mailbox(0).inbox), (vec![1], vec![]));
    assert_eq!((mailbox(1).sent_items, mailbox(1).inbox), (vec![], vec![1]));
}

#[tokio::test]
async fn bcc_gets_the_mail_and_nobody_sees_it() {
    let sandbox = Sandbox::start().await;
    let given = mime(&format!("To: {ALEX}\r\nBcc: {SALES},\r\n {ALEX}\r\n"));
    sandbox.send_mime(&given).await.is(202, "");
    let ledger = sandbox.ledger().await;
    let recipients: Vec<_> =
        ledger["mails"].as_array().unwrap().iter().map(|m| &m["recipient"]).collect();
    assert_eq!(recipients, [ALEX, SALES]);
    for seq in [1, 2] {
        assert_eq!(sandbox.raw(seq).await, mime(&format!("To: {ALEX}\r\n")));
    }
}

#[tokio::test]
async fn malformed_mime_is_refused() {
    let sandbox = Sandbox::start().await;
    let code = "ErrorMimeContentInvalidBase64String";
    for body in ["%%%", "YQ", "YR=="] {
        let request = sandbox.post("/v1.0/me/sendMail").header("Content-Type", "text/plain");
        Answer::of(request.body(body).send().await.unwrap()).await.is(400, code);
    }
    let good = mime(&format!("To: {ALEX}\r\n"));
    for (octet, why) in [("\n", "bare LF"), ("\r", "bare CR"), ("\0", "NUL")] {
        let answer = sandbox.send_mime(format!("{good}a{octet}b\r\n")).await;
        answer.is(400, code);
        assert!(answer.message.contains(why), "{answer:?}");
    }
    sandbox.send_mime(format!("no field\r\n{good}")).await.is(400, code);
    assert_eq!(sandbox.ledger().await["mails"], json!([]));
}

#[tokio::test]
async fn recipients_that_are_none_or_no_addresses_are_refused() {
    let sandbox = Sandbox::start().await;
    let code = "ErrorInvalidRecipients";
    sandbox.send_mime(mime("")).await.is(400, code);
    sandbox.send_mime(mime("To: undisclosed-recipients:;\r\n")).await.is(400, code);
    let many = vec!["a@b.example"; 501].join(",\r\n ");
    sandbox.send_mime(mime(&format!("To: {many}\r\n"))).await.is(400, code);
    let answer = sandbox.send_mime(mime("To: a..b@c.example\r\n")).await;
    answer.is(400, code);
    let text = "Recipient 'a..b@c.example' is not resolved.";
    assert!(answer.message.contains(text), "{answer:?}");
    let to = json!([{"emailAddress": {"address": "nobody"}}]);
    sandbox.send_json(json!({"message": {"toRecipients": to}})).await.is(400, code);
    sandbox.send_json(json!({"message": {"subject": "x"}})).await.is(400, code);
}

#[tokio::test]
async fn from_is_an_own_address_or_one_with_send_as() {
    let sandbox = Sandbox::start().await;
    let from = |from: &str| format!("From: {from}\r\nTo: {ALEX}\r\n\r\n");
    sandbox.send_mime(from("Adele@Contoso.example")).await.is(202, "");
    sandbox.send_mime(from(SALES)).await.is(202, "");
    sandbox.send_mime(from(ALEX)).await.is(403, "ErrorSendAsDenied");
    sandbox.send_mime(format!("To: {ALEX}\r\n\r\n")).await.is(202, "");
    let raw = sandbox.raw(3).await;
    assert!(raw.starts_with(&format!("From: \"Adele Vance\" <{ADELE}>\r\nDate: ")), "{raw}");

    // Send As needs its own permission.
    let token = sandbox.token(&["mail.send"]);
    let url = format!("{}/v1.0/me/sendMail", sandbox.url);
    let request = sandbox.client.post(url).bearer_auth(token).header("Content-Type", "text/plain");
    let answer = request.body(STANDARD.encode(from(SALES))).send().await.unwrap();
    Answer::of(answer).await.is(403, "ErrorSendAsDenied");
}

#[tokio::test]
async fn a_mail_sent_from_another_mailbox_lies_in_its_sent_items() {
    let sandbox = Sandbox::start().await;
    let body = json!({"message": {"toRecipients": [{"emailAddress": {"address": ALEX}}]}});
    let send = async |user: &str| {
        let request = sandbox.post(&format!("/v1.0/users/{user}/sendMail")).json(&body);
        Answer::of(request.send().await.unwrap()).await
    };
    send(SALES).await.is(202, "");
    send(ALEX).await.is(403, "ErrorAccessDenied");
    send("nobody@contoso.example").await.is(404, "Request_ResourceNotFound");
    let sales = sandbox.world.users[2].object_id;
    assert_eq!(sandbox.world.mail.mailbox(sales).sent_items, [1]);
    assert_eq!(sandbox.ledger().await["mails"][0]["from"], SALES);
}

#[tokio::test]
async fn a_json_mail_is_serialised_and_saved_unless_told_not_to() {
    let sandbox = Sandbox::start().await;
    let message = json!({
        "subject": "Grüße",
        "body": {"contentType": "HTML", "content": "<p>hi</p>"},
        "toRecipients": [{"emailAddress": {"address": ALEX, "name": "Alex"}}],
        "bccRecipients": [{"emailAddress": {"address": SALES}}],
        "internetMessageHeaders": [{"name": "x-tag", "value": "7"}],
        "attachments": [{"@odata.type": "#microsoft.graph.fileAttachment", "name": "a.txt",
            "contentType": "text/plain", "contentBytes": "aGVsbG8="}],
    });
    sandbox.send_json(json!({"Message": message, "saveToSentItems": false})).await.is(202, "");
    let ledger = sandbox.ledger().await;
    assert_eq!(ledger["mails"].as_array().unwrap().len(), 2);
    assert_eq!(ledger["mails"][0]["subject"], "Grüße");
    assert_eq!(ledger["mails"][0]["via"], "json");
    let raw = sandbox.raw(1).await;
    assert!(raw.contains("\r\nx-tag: 7\r\n") && !raw.contains("Bcc"), "{raw}");
    let adele = sandbox.world.users[0].object_id;
    assert!(sandbox.world.mail.mailbox(adele).sent_items.is_empty());
    sandbox.send_json(json!({"message": message})).await.is(202, "");
    assert_eq!(sandbox.world.mail.mailbox(adele).sent_items, [3]);
}

#[tokio::test]
async fn a_json_mail_that_departs_from_the_schema_is_refused() {
    let sandbox = Sandbox::start().await;
    let send = async |extra: Value| {
        let mut message = json!({"toRecipients": [{"emailAddress": {"address": ALEX}}]});
        message.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        sandbox.send_json(json!({"message": message})).await
    };
    let header = |name: &str| json!({"name": name, "value": "1"});
    send(json!({"unknown": 1})).await.is(400, "UnableToDeserializePostBody");
    send(json!({"subject": 1})).await.is(400, "UnableToDeserializePostBody");
    let headers = json!({"internetMessageHeaders": [header("In-Reply-To")]});
    let answer = send(headers).await;
    answer.is(400, "InvalidInternetMessageHeader");
    assert!(answer.message.contains("'In-Reply-To' should start with 'x-'"), "{answer:?}");
    let headers = json!({"internetMessageHeaders": vec![header("x-a"); 6]});
    send(headers).await.is(400, "InvalidInternetMessageHeaderCollection");
    let request = sandbox.post("/v1.0/me/sendMail").header("Content-Type", "application/json");
    let answer = request.body("{\"message\":").send().await.unwrap();
    Answer::of(answer).await.is(400, "UnableToDeserializePostBody");
    assert_eq!(sandbox.ledger().await["mails"], json!([]));
}

#[tokio::test]
async fn what_is_too_large_is_refused_or_lost_as_the_switch_says() {
    let sandbox = Sandbox::start().await;
    let limit = sandbox.world.switches().mime_octets_max;
    let head = mime(&format!("To: {ALEX}\r\n"));
    let fitting = format!("{head}{}\r\n", "a".repeat(limit - head.len() - 2));
    sandbox.send_mime(&fitting).await.is(202, "");
    let over = format!("{fitting}\r\n");
    sandbox.send_mime(&over).await.is(413, "RequestEntityTooLarge");
    sandbox.world.switches().oversize_mime = OversizeMime::Status200NothingSent;
    sandbox.send_mime(&over).await.is(200, "");
    sandbox.send_mime("a".repeat(4 << 20)).await.is(413, "RequestEntityTooLarge");
    let answer = sandbox.send_json(json!({"message": {"subject": "a".repeat(4 << 20)}})).await;
    answer.is(400, "BadRequest");
    assert_eq!(sandbox.ledger().await["mails"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn switches_change_what_is_not_known_for_sure() {
    let sandbox = Sandbox::start().await;
    {
        let mut switches = sandbox.world.switches();
        switches.lose_x_headers = true;
        switches.keep_message_id = false;
        switches.retry_after_on_202 = true;
    }
    let given = mime(&format!("To: {ALEX}\r\nX-Tag: 7\r\n"));
    let body = STANDARD.encode(&given);
    let request = sandbox.post("/v1.0/me/sendMail").header("Content-Type", "text/plain");
    let response = request.body(body).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 202);
    assert!(response.headers().contains_key("retry-after"));
    let raw = sandbox.raw(1).await;
    assert!(!raw.contains("X-Tag") && !raw.contains("<1@client.example>"), "{raw}");
    let id = sandbox.ledger().await["mails"][0]["message_id"].as_str().unwrap().to_owned();
    assert!(raw.contains(&format!("\r\nMessage-ID: {id}\r\n")), "{raw}");

    // A JSON mail makes the mailbox know the name.
    let to = json!([{"emailAddress": {"address": ALEX}}]);
    let headers = json!([{"name": "x-tag", "value": "1"}]);
    let message = json!({"toRecipients": to, "internetMessageHeaders": headers});
    sandbox.send_json(json!({"message": message})).await.is(202, "");
    sandbox.send_mime(&given).await.is(202, "");
    assert!(sandbox.raw(3).await.contains("\r\nX-Tag: 7\r\n"));
}

#[tokio::test]
async fn a_request_without_the_right_is_refused() {
    let sandbox = Sandbox::start().await;
    let url = format!("{}/v1.0/me/sendMail", sandbox.url);
    let answer = sandbox.client.post(&url).send().await.unwrap();
    Answer::of(answer).await.is(401, "InvalidAuthenticationToken");
    let answer = sandbox.client.post(&url).bearer_auth("made up").send().await.unwrap();
    Answer::of(answer).await.is(401, "InvalidAuthenticationToken");
    let token = sandbox.token(&["User.Read", "Mail.ReadWrite"]);
    let answer =
        sandbox.client.post(&url).bearer_auth(token).json(&json!({})).send().await.unwrap();
    Answer::of(answer).await.is(403, "ErrorAccessDenied");
    let token = sandbox.token(&["Mail.Send"]);
    let url = format!("{}/v1.0/me", sandbox.url);
    let answer = sandbox.client.get(url).bearer_auth(token).send().await.unwrap();
    Answer::of(answer).await.is(403, "Authorization_RequestDenied");
}

#[tokio::test]
async fn the_user_resource_shows_what_is_selected() {
    let sandbox = Sandbox::start().await;
    let me: Value = sandbox.get("/v1.0/me").await.json().await.unwrap();
    assert_eq!(me["mail"], ADELE);
    assert_eq!(me["displayName"], "Adele Vance");
    assert!(me.get("proxyAddresses").is_none());
    let id = me["id"].as_str().unwrap();
    let path = format!("/v1.0/users/{id}?$select=id,mail,userPrincipalName,proxyAddresses");
    let selected: Value = sandbox.get(&path).await.json().await.unwrap();
    let proxies = json!([format!("SMTP:{ADELE}"), "smtp:adele@contoso.example"]);
    assert_eq!(selected["proxyAddresses"], proxies);
    assert!(selected.get("displayName").is_none());
    let refused = async |path: String| Answer::of(sandbox.get(&path).await).await;
    refused("/v1.0/me?$select=shoeSize".to_owned()).await.is(400, "RequestBroker--ParseUri");
    refused("/v1.0/me/nothing".to_owned()).await.is(400, "RequestBroker--ParseUri");
    refused("/v1.0/me/sendMail".to_owned()).await.is(405, "BadRequest");
    refused(format!("/v1.0/users/{ALEX}")).await.is(403, "Authorization_RequestDenied");
}

#[tokio::test]
async fn the_fifth_mail_in_flight_is_throttled_and_the_ledger_says_so() {
    let sandbox = Sandbox::start().await;
    sandbox.world.switches().throttle_retry_after = ThrottleRetryAfter::Fraction;
    let adele = sandbox.world.users[0].object_id;
    let by = sandbox.world.switches().concurrency_by;
    let now = std::time::Duration::ZERO;
    let admit = || sandbox.world.throttle.admit("app", adele, by, 10_000, now).unwrap();
    let in_flight = [admit(), admit(), admit(), admit()];
    let given = mime(&format!("To: {ALEX}\r\n"));
    let answer = sandbox.send_mime(&given).await;
    answer.is(429, "ApplicationThrottled");
    assert_eq!(answer.message, "Application is over its MailboxConcurrency limit.");
    // Not even a fault can happen to it: throttling stands outside, so that a delay is in flight.
    let busy = json!({"answer": {"status": 503, "code": "ErrorServerBusy"}});
    let script =
        json!({"faults": [{"method": "POST", "route": "/v1.0/*", "every": true, "do": busy}]});
    let set = sandbox.post("/_sandbox/faults").json(&script).send().await.unwrap();
    assert_eq!(set.status().as_u16(), 204, "{}", set.text().await.unwrap());
    sandbox.send_mime(&given).await.is(429, "ApplicationThrottled");
    drop(in_flight);
    sandbox.send_mime(&given).await.is(503, "ErrorServerBusy");
    let delete = sandbox.client.delete(format!("{}/_sandbox/faults", sandbox.url));
    delete.send().await.unwrap();
    sandbox.send_mime(&given).await.is(202, "");
    let ledger = sandbox.ledger().await;
    assert_eq!(ledger["mails"].as_array().unwrap().len(), 1);
    let row = |seq: u64| {
        json!({"seq": seq, "mailbox": ADELE, "application": "app", "limit": "MailboxConcurrency",
            "retry_after": "1.128"})
    };
    assert_eq!(ledger["throttled"], json!([row(1), row(2)]));
    let requests: Value = sandbox.get("/_sandbox/requests").await.json().await.unwrap();
    let statuses: Vec<_> =
        requests.as_array().unwrap().iter().map(|r| r["status"].clone()).collect();
    assert_eq!(json!(statuses), json!([429, 429, 503, 202]));

    let reset = sandbox.post("/_sandbox/reset").send().await.unwrap();
    assert!(reset.status().is_success());
    assert_eq!(sandbox.ledger().await, json!({"mails": [], "invitations": [], "throttled": []}));
}

#[tokio::test]
async fn the_page_shows_a_hostile_mail_and_runs_nothing() {
    let sandbox = Sandbox::start().await;
    let evil = "<script>alert(1)</script>";
    let given = format!(
        "From: {ADELE}\r\nTo: {ALEX}\r\nSubject: {evil}\r\nContent-Type: text/html\r\n\r\n\
         \" onload=\"{evil}\r\n"
    );
    sandbox.send_mime(&given).await.is(202, "");
    for path in ["/", "/mails/1"] {
        let response = sandbox.get(path).await;
        let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("script"), "{policy}");
        let html = response.text().await.unwrap();
        assert!(!html.contains("<script") && !html.contains("\" onload"), "{html}");
        assert!(html.contains("alert(1)"), "{html}");
    }
    let html = sandbox.get("/mails/1").await.text().await.unwrap();
    assert!(html.contains("sandbox=\"\" srcdoc=\""), "{html}");
    assert_eq!(sandbox.get("/mails/2").await.status().as_u16(), 404);
    assert_eq!(sandbox.get("/mails/x").await.status().as_u16(), 400);
}

#[tokio::test]
async fn the_official_python_sdk_sends_a_mail() {
    let python = std::env::var("POSTBRIDGE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let known = Command::new(&python).args(["-c", "import msgraph"]).output();
    if !known.is_ok_and(|output| output.status.success()) {
        return common::skip(&format!("{python} has no msgraph-sdk"));
    }
    let sandbox = Sandbox::start().await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/msgraph_client.py");
    let mut command = Command::new(python);
    command.args([script, &sandbox.url, &sandbox.token(ALL_SCOPES), ALEX]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), ADELE);
    let ledger = sandbox.ledger().await;
    let row = &ledger["mails"][0];
    assert_eq!((&row["recipient"], &row["via"]), (&json!(ALEX), &json!("json")));
    let raw = sandbox.raw(1).await;
    assert!(raw.contains("filename=\"report.csv\"") && raw.contains("\r\n1;2\r\n"), "{raw}");
}
