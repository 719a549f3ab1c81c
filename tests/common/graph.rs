//! The sandbox's Graph over HTTP, as an application of Adele's sees it.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postbridge::sandbox;
use postbridge::sandbox::grants::Grant;
use postbridge::sandbox::world::World;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};

pub const ADELE: &str = "adele.vance@contoso.example";
pub const ALEX: &str = "alex.wilber@contoso.example";
pub const MEGAN: &str = "megan.bowen@fabrikam.example";
pub const TAG: &str = "String {66f5a359-4659-4830-9070-00047ec6ac6e} Name BridgeTag";
pub const FLAGS: &str = "Integer 0x0E07";
pub const ALL_SCOPES: &[&str] = &["User.Read", "Mail.ReadWrite", "Mail.Send"];

/// A sandbox with two mailboxes, and its first user's application.
pub struct Sandbox {
    pub world: Arc<World>,
    pub url: String,
    pub client: Client,
}

impl Sandbox {
    pub async fn start() -> Sandbox {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let world = Arc::new(World::new(&[ADELE, ALEX].map(str::to_owned), 1));
        let app = sandbox::router(Arc::clone(&world));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Sandbox { world, url, client: Client::builder().no_proxy().build().unwrap() }
    }

    /// An access token of Adele's.
    pub fn token(&self, scopes: &[&str]) -> String {
        let scopes: Vec<String> = scopes.iter().map(|&scope| scope.to_owned()).collect();
        let user = self.world.users[0].object_id;
        let client_id = "app".to_owned();
        let grant = Grant { user, client_id, scopes: scopes.clone(), nonce: None };
        let now = self.world.clock.now();
        self.world.identity.grants().issue(now, &grant, &scopes).access_token
    }

    /// A path below `/v1.0`, or a whole URL.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = match path.starts_with("http") {
            true => path.to_owned(),
            false => format!("{}/v1.0{path}", self.url),
        };
        let token = self.token(ALL_SCOPES);
        self.client.request(method, url).bearer_auth(token)
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    /// With immutable ids.
    pub async fn look(&self, path: &str) -> Answer {
        Answer::of(immutable(self.request(Method::GET, path))).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(body)).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::PATCH, path).json(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path)).await
    }

    pub async fn post_mime(&self, path: &str, mime: impl AsRef<[u8]>) -> Answer {
        let request = self.request(Method::POST, path).header("Content-Type", "text/plain");
        Answer::of(immutable(request).body(STANDARD.encode(mime))).await
    }

    /// The immutable id of a new JSON draft to Alex and Megan, with the tag.
    pub async fn draft(&self, tag: &str) -> String {
        let body = json!({
            "subject": "Hello",
            "body": {"contentType": "text", "content": "hi"},
            "toRecipients": [{"emailAddress": {"address": ALEX}}],
            "bccRecipients": [{"emailAddress": {"address": MEGAN}}],
            "singleValueExtendedProperties": [{"id": TAG, "value": tag}],
        });
        let request = immutable(self.request(Method::POST, "/me/messages")).json(&body);
        let answer = Answer::of(request).await;
        answer.is(201, "");
        answer.body["id"].as_str().unwrap().to_owned()
    }

    pub async fn send(&self, id: &str) -> Answer {
        // Documented: Content-Length: 0 is required, and reqwest sends none without a body.
        let request = self.request(Method::POST, &format!("/me/messages/{id}/send"));
        Answer::of(request.header("Content-Length", "0").body("")).await
    }

    pub async fn ledger(&self) -> Vec<Value> {
        let answer = self.get(&format!("{}/_sandbox/ledger", self.url)).await;
        answer.body["mails"].as_array().unwrap().clone()
    }

    pub async fn raw(&self, seq: u64) -> String {
        let url = format!("{}/_sandbox/mails/{seq}/raw", self.url);
        self.client.get(url).send().await.unwrap().text().await.unwrap()
    }

    pub async fn advance(&self, seconds: u32) {
        let body = json!({"advance_seconds": seconds});
        self.post(&format!("{}/_sandbox/clock", self.url), &body).await.is(200, "");
    }

    /// `isDraft`, the flags and the folder of a mail by its immutable id.
    pub async fn state(&self, id: &str) -> (bool, String, String) {
        let path = format!(
            "/me/messages/{id}?$select=isDraft,parentFolderId&$expand=\
             singleValueExtendedProperties($filter=id eq '{FLAGS}')"
        );
        let answer = self.look(&path).await;
        answer.is(200, "");
        let flags = &answer.body["singleValueExtendedProperties"][0]["value"];
        let folder = answer.body["parentFolderId"].as_str().unwrap();
        let folder = self.get(&format!("/me/mailFolders/{folder}")).await;
        (
            answer.body["isDraft"].as_bool().unwrap(),
            flags.as_str().unwrap_or_default().to_owned(),
            folder.body["displayName"].as_str().unwrap().to_owned(),
        )
    }

    /// Immutable ids of what a filter finds in the whole mailbox.
    pub async fn find(&self, filter: &str) -> Vec<String> {
        let path = format!("/me/messages?$select=id&$filter={filter}");
        let answer = self.look(&path).await;
        answer.is(200, "");
        let all = answer.body["value"].as_array().unwrap();
        all.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    }
}

pub fn immutable(request: RequestBuilder) -> RequestBuilder {
    request.header("Prefer", "IdType=\"ImmutableId\"")
}

pub fn tagged(value: &str) -> String {
    format!("singleValueExtendedProperties/Any(ep: ep/id eq '{TAG}' and ep/value eq '{value}')")
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    pub async fn of(request: RequestBuilder) -> Answer {
        let response: Response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        Answer { status, headers, body: serde_json::from_str(&text).unwrap_or_default() }
    }

    #[track_caller]
    pub fn is(&self, status: u16, code: &str) {
        let own = self.body["error"]["code"].as_str().unwrap_or_default();
        let shown: String = self.body.to_string().chars().take(500).collect();
        assert_eq!((self.status, own), (status, code), "{shown}");
    }

    pub fn text(&self, name: &str) -> &str {
        self.body[name].as_str().unwrap_or_default()
    }
}
