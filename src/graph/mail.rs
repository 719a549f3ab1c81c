//! Graph's mail calls: `sendMail` with MIME, and `/me`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, StatusCode, header};
use serde::Deserialize;

use super::client::Graph;
use super::failure::{Effect, Failure};

/// The signed-in user (Graph: user resource), as far as we select it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Me {
    pub id: String,
    #[serde(default)]
    pub mail: Option<String>,
    #[serde(default)]
    pub user_principal_name: Option<String>,
    /// `SMTP:` the primary address, `smtp:` the others; other schemes are not mail.
    #[serde(default)]
    pub proxy_addresses: Vec<String>,
}

impl Graph {
    /// `GET /me`: needs User.Read.
    pub async fn me(&self, token: &str) -> Result<Me, Failure> {
        const SELECT: &str = "id,mail,userPrincipalName,proxyAddresses";
        let answer = self
            .call(Effect::Harmless, Method::GET, &["me"], token, |request| {
                request.query(&[("$select", SELECT)])
            })
            .await?;
        serde_json::from_slice(&answer.body).map_err(|error| Failure::Later {
            after: None,
            throttled: false,
            why: format!("Graph's answer to /me cannot be read: {error}"),
        })
    }

    /// `GET /me/mailFolders/drafts`, its id alone: whether the mailbox can be reached. No mail is read.
    pub async fn drafts_folder(&self, token: &str) -> Result<(), Failure> {
        let path = ["me", "mailFolders", "drafts"];
        self.call(Effect::Harmless, Method::GET, &path, token, |request| {
            request.query(&[("$select", "id")])
        })
        .await
        .map(drop)
    }

    /// `POST /me/sendMail` with a whole RFC 5322 message in base64 (Graph: user-sendmail). Needs
    /// Mail.Send. Exchange mails the addresses of To, Cc and Bcc, and keeps a copy in Sent Items.
    pub async fn send_mime(&self, token: &str, message: &[u8]) -> Result<(), Failure> {
        let body = STANDARD.encode(message);
        let answer = self
            .call(Effect::Irreversible, Method::POST, &["me", "sendMail"], token, |request| {
                request.header(header::CONTENT_TYPE, "text/plain").body(body)
            })
            .await?;
        // Only 202 is success, whatever else may look like it.
        match answer.status {
            StatusCode::ACCEPTED => Ok(()),
            odd => Err(Failure::of_odd_success(odd)),
        }
    }
}
