//! Graph's upload sessions: a large attachment of a draft, in pieces.
//!
//! Source: Graph "attach large files to Outlook messages", uploadSession; RFC 9110 §14.4. The URL of a
//! session is its own permission: it is kept as a secret, no token is sent there, and neither an error
//! nor a log line may hold it. Pieces go in order; where they stand, the session itself says.

use reqwest::{Method, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::Graph;
use super::draft::{PREFER, read};
use super::failure::{Effect, Failure};
use super::message::AttachmentItem;
use crate::secret::Secret;

/// Files below this are posted whole; sessions are refused to them
/// (ErrorAttachmentSizeShouldNotBeLessThanMinimumSize). Graph says 3 MB, and a request has 4 MB, of
/// which the largest such file takes all in base64. So for some hundred octets below this, there may
/// be no way at all; Graph's 413 is the last word then.
pub const POSTED_OCTETS_MAX: u64 = 3 * 1024 * 1024;

/// Octets of a piece. Graph: up to 4 MB each; OneDrive's sessions take multiples of 320 KiB only, which
/// costs nothing to keep to. Ten of those are the most below 4,000,000 that leave room for a header.
pub const CHUNK_OCTETS: usize = 10 * 320 * 1024;

/// A session that was begun. To be kept as a secret, if it is kept.
#[derive(Debug, Clone)]
pub struct Session {
    pub url: Secret,
}

/// How an upload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The next piece begins at this octet.
    Expects(u64),
    /// All of it came, and it is attached.
    Attached,
    /// The piece was not the one that is expected: ask which one is.
    OutOfStep,
    /// There is no such session, or none any more: begin another one. If the last piece was sent, see
    /// first whether the file is attached.
    NotThere,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Begun {
    upload_url: String,
}

impl Graph {
    /// `POST /me/messages/{id}/attachments/createUploadSession`. Needs Mail.ReadWrite. A session in
    /// which not all came leaves nothing behind.
    pub async fn begin_upload(
        &self,
        token: &str,
        draft_id: &str,
        item: &AttachmentItem,
    ) -> Result<Session, Failure> {
        let path = ["me", "messages", draft_id, "attachments", "createUploadSession"];
        let body = json!({ "AttachmentItem": item });
        let answer = self
            .call(Effect::Harmless, Method::POST, &path, token, |request| {
                request.header(PREFER.0, PREFER.1).json(&body)
            })
            .await?;
        let begun: Begun = read(&answer.body)?;
        Ok(Session { url: Secret::new(begun.upload_url) })
    }

    /// `PUT` of one piece, which begins at the octet `first` of `size`. Not empty.
    pub async fn upload(
        &self,
        session: &Session,
        first: u64,
        size: u64,
        piece: Vec<u8>,
    ) -> Result<Progress, Failure> {
        let after = first.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        let range = format!("bytes {first}-{}/{size}", after.saturating_sub(1));
        let answer = self
            .call_handed_out(Method::PUT, &session.url, |request| {
                request
                    .header(header::CONTENT_TYPE, "application/octet-stream")
                    .header(header::CONTENT_RANGE, range)
                    .body(piece)
            })
            .await
            .ok_or_else(no_url)?;
        match answer {
            Ok(answer) if answer.status == StatusCode::CREATED => Ok(Progress::Attached),
            Ok(answer) => expected(&answer.body),
            Err(failure) => refused(failure),
        }
    }

    /// `GET` of the session: how far it is. Where Exchange does not tell, [`Progress::NotThere`].
    pub async fn upload_progress(&self, session: &Session) -> Result<Progress, Failure> {
        let answer = self.call_handed_out(Method::GET, &session.url, |r| r).await;
        match answer.ok_or_else(no_url)? {
            Ok(answer) => expected(&answer.body),
            Err(Failure::Never { status: 405, .. }) => Ok(Progress::NotThere),
            Err(failure) => refused(failure),
        }
    }

    /// `DELETE` of the session. One that is not there is as good.
    pub async fn cancel_upload(&self, session: &Session) -> Result<(), Failure> {
        let answer = self.call_handed_out(Method::DELETE, &session.url, |r| r).await;
        match answer.ok_or_else(no_url)? {
            Ok(_) => Ok(()),
            Err(failure) => refused(failure).map(drop),
        }
    }
}

fn refused(failure: Failure) -> Result<Progress, Failure> {
    match failure {
        Failure::Never { status: 404 | 410, .. } => Ok(Progress::NotThere),
        // The permission is the URL's own: no other token would help, another session does.
        Failure::TokenRefused { .. } => Ok(Progress::NotThere),
        // A refusal there is about one URL, and says nothing about the account.
        Failure::Account { why, .. } => Err(Failure::Later { after: None, throttled: false, why }),
        Failure::Never { status: 416, .. } | Failure::Conflict { .. } => Ok(Progress::OutOfStep),
        Failure::Never { ref code, .. } if code.eq_ignore_ascii_case("invalidRange") => {
            Ok(Progress::OutOfStep)
        }
        other => Err(other),
    }
}

fn no_url() -> Failure {
    let why = "Graph handed out an upload URL that cannot be trusted".to_owned();
    Failure::Later { after: None, throttled: false, why }
}

/// The octet that is expected next. Graph spells it `nextExpectedRanges: ["0-"]`, `["2097152"]`, and
/// with a capital N.
fn expected(body: &[u8]) -> Result<Progress, Failure> {
    next_octet(body).map(Progress::Expects).ok_or_else(|| Failure::Later {
        after: None,
        throttled: false,
        why: "Graph does not say which piece of an upload it expects".to_owned(),
    })
}

fn next_octet(body: &[u8]) -> Option<u64> {
    let answer: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let (_, ranges) =
        answer.iter().find(|(key, _)| key.eq_ignore_ascii_case("nextExpectedRanges"))?;
    let range = ranges.as_array().map_or(Some(ranges), |ranges| ranges.first())?;
    range.as_str()?.split('-').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_octet_is_read_in_every_form_it_comes_in() {
        for (body, next) in [
            (r#"{"nextExpectedRanges":["0-"]}"#, Some(0)),
            (r#"{"ExpirationDateTime":"x","nextExpectedRanges":["2097152"]}"#, Some(2_097_152)),
            (r#"{"NextExpectedRanges":["7-99"]}"#, Some(7)),
            (r#"{"NextExpectedRanges":[]}"#, None),
            (r#"{"nextExpectedRanges":["-5"]}"#, None),
            ("{}", None),
            ("", None),
        ] {
            assert_eq!(next_octet(body.as_bytes()), next, "{body}");
        }
    }

    #[test]
    fn a_session_says_nothing_of_its_url_when_it_is_debugged() {
        let url = Secret::new("https://outlook.office.com/x?authtoken=canary".into());
        assert!(!format!("{:?}", Session { url }).contains("canary"));
    }
}
