//! Graph's calls for a mail that is a draft first: made, tagged, sent, looked for, deleted.
//!
//! Sources: Graph "create message", "update message", "message: send", singleValueExtendedProperties.
//! Everything but the send may be repeated: a second draft is not a second mail. Where a copy of a sent
//! mail is to be found is documented both ways, so it is looked for by three names, none trusted alone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use super::client::{Graph, Success};
use super::failure::{Effect, Failure};
use super::resource::ExtendedProperty;

/// Our tag on a draft: the spool id of its mail, in lower case.
pub const TAG_PROPERTY: &str = "String {7fcb7c45-856b-432c-89e7-5fd4ea4cf2a0} Name PostbridgeId";
/// MS-OXCMSG §2.2.1.6: PidTagMessageFlags.
const FLAGS_PROPERTY: &str = "Integer 0x0E07";
const SUBMITTED: u32 = 0x4;
const UNSENT: u32 = 0x8;

/// A draft that was made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Made {
    /// In its immutable form.
    pub id: String,
    #[serde(default)]
    pub internet_message_id: Option<String>,
}

/// A mail of ours as it was found in the mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    pub id: String,
    #[serde(default)]
    pub is_draft: Option<bool>,
    #[serde(default)]
    single_value_extended_properties: Vec<ExtendedProperty>,
}

impl Found {
    /// Whether it was sent, or is on its way: it is no draft, or its flags say so. Between the 202 and
    /// its move to Sent Items it may well be called a draft.
    pub fn is_sent(&self) -> bool {
        let flags = self
            .single_value_extended_properties
            .iter()
            .find(|one| one.id.eq_ignore_ascii_case(FLAGS_PROPERTY))
            .and_then(|one| one.value.parse::<u32>().ok());
        self.is_draft == Some(false)
            || flags.is_some_and(|flags| flags & SUBMITTED != 0 || flags & UNSENT == 0)
    }
}

#[derive(Deserialize)]
struct List {
    value: Vec<Found>,
}

impl Graph {
    /// `POST /me/messages` with a whole RFC 5322 message in base64.
    pub async fn create_draft(&self, token: &str, message: &[u8]) -> Result<Made, Failure> {
        let body = STANDARD.encode(message);
        let answer = self
            .message_call(Effect::Harmless, Method::POST, &["me", "messages"], token, |request| {
                request.header(header::CONTENT_TYPE, "text/plain").body(body)
            })
            .await?;
        match answer.status {
            StatusCode::CREATED => read(&answer.body),
            // Reported of a body that is too large: nothing was made.
            odd => Err(Failure::of_odd_success(odd)),
        }
    }

    /// `PATCH /me/messages/{id}`: leaves our tag on it, which MIME has no place for.
    pub async fn tag_draft(&self, token: &str, id: &str, tag: &str) -> Result<(), Failure> {
        let path = ["me", "messages", id];
        let body =
            json!({ "singleValueExtendedProperties": [{ "id": TAG_PROPERTY, "value": tag }] });
        self.message_call(Effect::Harmless, Method::PATCH, &path, token, |r| r.json(&body)).await?;
        Ok(())
    }

    /// `POST /me/messages/{id}/send`. It cannot be taken back.
    pub async fn send_draft(&self, token: &str, id: &str) -> Result<(), Failure> {
        let path = ["me", "messages", id, "send"];
        let answer = self
            .message_call(Effect::Irreversible, Method::POST, &path, token, |request| {
                request.header(header::CONTENT_LENGTH, "0")
            })
            .await?;
        match answer.status {
            StatusCode::ACCEPTED => Ok(()),
            odd => Err(Failure::of_odd_success(odd)),
        }
    }

    /// A mail by its id.
    pub async fn message(&self, token: &str, id: &str) -> Result<Found, Failure> {
        let path = ["me", "messages", id];
        let answer = self
            .message_call(Effect::Harmless, Method::GET, &path, token, |request| {
                request.query(&[("$select", "id,isDraft"), ("$expand", &expand_flags())])
            })
            .await?;
        read(&answer.body)
    }

    /// The mails that carry our tag.
    pub async fn messages_tagged(&self, token: &str, tag: &str) -> Result<Vec<Found>, Failure> {
        let tag = tag.replace('\'', "''");
        let filter = format!(
            "singleValueExtendedProperties/Any(ep: ep/id eq '{TAG_PROPERTY}' and ep/value eq '{tag}')"
        );
        self.messages(token, &filter).await
    }

    /// The mails with this Message-ID.
    pub async fn messages_called(&self, token: &str, name: &str) -> Result<Vec<Found>, Failure> {
        self.messages(token, &format!("internetMessageId eq '{}'", name.replace('\'', "''"))).await
    }

    /// `DELETE /me/messages/{id}`, for a draft that is not needed any more.
    pub async fn delete_draft(&self, token: &str, id: &str) -> Result<(), Failure> {
        let path = ["me", "messages", id];
        self.message_call(Effect::Harmless, Method::DELETE, &path, token, |r| r).await?;
        Ok(())
    }

    async fn messages(&self, token: &str, filter: &str) -> Result<Vec<Found>, Failure> {
        let answer = self
            .message_call(Effect::Harmless, Method::GET, &["me", "messages"], token, |request| {
                let expand = expand_flags();
                request.query(&[
                    ("$filter", filter),
                    ("$select", "id,isDraft"),
                    ("$expand", &expand),
                ])
            })
            .await?;
        let list: List = read(&answer.body)?;
        Ok(list.value)
    }

    /// A call whose ids are asked for, and given, in their immutable form.
    async fn message_call(
        &self,
        effect: Effect,
        method: Method,
        path: &[&str],
        token: &str,
        with: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Result<Success, Failure> {
        self.call(effect, method, path, token, |request| {
            with(request.header("Prefer", "IdType=\"ImmutableId\""))
        })
        .await
    }
}

fn expand_flags() -> String {
    format!("singleValueExtendedProperties($filter=id eq '{FLAGS_PROPERTY}')")
}

/// What cannot be read is asked again.
fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::Later {
        after: None,
        throttled: false,
        why: format!("Graph's answer cannot be read: {error}"),
    })
}
