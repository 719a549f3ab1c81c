//! Graph's calls for a mail that is a draft first: made, tagged, sent, looked for, deleted.
//!
//! Sources: Graph "create message", "update message", "message: send", "list messages",
//! singleValueExtendedProperties. Everything but the send may be repeated: a second draft is not a
//! second mail. Whether an id names a mail before and after it was sent is documented both ways, so it
//! is looked for by three names, none trusted alone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use super::client::{Graph, Success};
use super::failure::{Effect, Failure};
use super::message::{
    Attached, FLAGS_PROPERTY, Found, Made, MessageAttachment, MessageBody, Standing, TAG_PROPERTY,
};

/// Immutable ids are asked for, and given, on every call.
pub(super) const PREFER: (&str, &str) = ("Prefer", "IdType=\"ImmutableId\"");

/// What a draft may be known by.
#[derive(Debug, Clone, Copy)]
pub struct Traces<'t> {
    /// As its creation answered, where that answer came.
    pub id: Option<&'t str>,
    pub tag: &'t str,
    /// With angle brackets.
    pub message_id: Option<&'t str>,
    /// When its send began: what bears its Message-ID and was sent before is another mail.
    pub begun_at: Timestamp,
}

#[derive(Deserialize)]
struct List<T> {
    value: Vec<T>,
}

impl Graph {
    /// `POST /me/messages` with a whole RFC 5322 message in base64. Needs Mail.ReadWrite.
    pub async fn create_draft(&self, token: &str, message: &[u8]) -> Result<Made, Failure> {
        let body = STANDARD.encode(message);
        self.made(token, |request| request.header(header::CONTENT_TYPE, "text/plain").body(body))
            .await
    }

    /// `POST /me/messages` with properties; the tag is among them. Needs Mail.ReadWrite.
    pub async fn create_json_draft(
        &self,
        token: &str,
        message: &MessageBody,
    ) -> Result<Made, Failure> {
        self.made(token, |request| request.json(message)).await
    }

    async fn made(
        &self,
        token: &str,
        with: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Result<Made, Failure> {
        let path = ["me", "messages"];
        let answer = self.message_call(Method::POST, &path, token, with).await?;
        match answer.status {
            StatusCode::CREATED => read(&answer.body),
            odd => Err(odd_success(odd)),
        }
    }

    /// `PATCH /me/messages/{id}`: leaves our tag on it, which MIME has no place for.
    pub async fn tag_draft(&self, token: &str, id: &str, tag: &str) -> Result<(), Failure> {
        let properties = [json!({ "id": TAG_PROPERTY, "value": tag })];
        let body = json!({ "singleValueExtendedProperties": properties });
        let path = ["me", "messages", id];
        self.message_call(Method::PATCH, &path, token, |r| r.json(&body)).await?;
        Ok(())
    }

    /// `POST /me/messages/{id}/attachments`, for a small file. A second call makes a second one.
    pub async fn attach_to_draft(
        &self,
        token: &str,
        id: &str,
        attachment: &MessageAttachment,
    ) -> Result<(), Failure> {
        let path = ["me", "messages", id, "attachments"];
        let answer = self.message_call(Method::POST, &path, token, |r| r.json(attachment)).await?;
        match answer.status {
            StatusCode::CREATED => Ok(()),
            odd => Err(odd_success(odd)),
        }
    }

    /// What hangs on a draft: for going on after a call whose answer was lost.
    pub async fn draft_attachments(&self, token: &str, id: &str) -> Result<Vec<Attached>, Failure> {
        let path = ["me", "messages", id, "attachments"];
        let select = [("$select", "id,name,size")];
        let answer = self.message_call(Method::GET, &path, token, |r| r.query(&select)).await?;
        let list: List<Attached> = read(&answer.body)?;
        Ok(list.value)
    }

    /// `POST /me/messages/{id}/send`, on a connection of its own. It cannot be taken back. A 404 does
    /// not say that it was not sent: it may have been, and moved away.
    pub async fn send_draft(&self, token: &str, id: &str) -> Result<(), Failure> {
        let path = ["me", "messages", id, "send"];
        let answer = self
            .call(Effect::Irreversible, Method::POST, &path, token, |request| {
                // Graph: "Content-Length: 0" is required.
                request.header(PREFER.0, PREFER.1).header(header::CONTENT_LENGTH, "0").body("")
            })
            .await?;
        match answer.status {
            StatusCode::ACCEPTED => Ok(()),
            odd => Err(Failure::of_odd_success(odd)),
        }
    }

    /// What became of a draft whose send was not answered.
    ///
    /// Its id names it alone, its tag the drafts of its mail, and the strongest evidence counts. A Message-ID
    /// may be another mail's as well: clients use one twice. So it is asked for only where there is
    /// neither, and what bears another tag of ours, was sent before, or is still a draft (left over
    /// from a creation whose answer was lost) is not what is looked for.
    pub async fn find(&self, token: &str, traces: &Traces<'_>) -> Result<Standing, Failure> {
        let mut seen = Vec::new();
        if let Some(id) = traces.id {
            match self.message(token, id).await {
                Ok(found) if found.is_sent() => return Ok(found.standing()),
                Ok(found) => seen.push(found),
                Err(Failure::Never { status: 404, .. }) => {}
                Err(failure) => return Err(failure),
            }
        }
        seen.extend(self.messages_tagged(token, traces.tag).await?);
        if let (Some(message_id), true) = (traces.message_id, seen.is_empty()) {
            // Clocks differ a little.
            let early = traces.begun_at.checked_sub(SignedDuration::from_mins(5));
            let early = early.unwrap_or(Timestamp::MIN);
            let called = self.messages_called(token, message_id).await?;
            seen.extend(called.into_iter().filter(|one| {
                let is_ours = one.tag().is_none_or(|tag| tag.eq_ignore_ascii_case(traces.tag));
                is_ours && one.is_sent() && one.sent_at().is_none_or(|at| at >= early)
            }));
        }
        Ok(Standing::of(&seen, traces.id))
    }

    /// A mail by its id.
    pub async fn message(&self, token: &str, id: &str) -> Result<Found, Failure> {
        let path = ["me", "messages", id];
        let query = [("$select", SELECT), ("$expand", &expand())];
        let answer = self.message_call(Method::GET, &path, token, |r| r.query(&query)).await?;
        read(&answer.body)
    }

    /// The mails that carry our tag, anywhere in the mailbox.
    pub async fn messages_tagged(&self, token: &str, tag: &str) -> Result<Vec<Found>, Failure> {
        let tag = quoted(tag);
        let filter = format!(
            "singleValueExtendedProperties/Any(ep: ep/id eq '{TAG_PROPERTY}' and ep/value eq {tag})"
        );
        self.messages(token, &filter).await
    }

    /// The mails with this Message-ID, anywhere in the mailbox.
    pub async fn messages_called(&self, token: &str, name: &str) -> Result<Vec<Found>, Failure> {
        self.messages(token, &format!("internetMessageId eq {}", quoted(name))).await
    }

    /// `DELETE /me/messages/{id}`, for a draft that is not needed any more. 404 is as good.
    pub async fn delete_draft(&self, token: &str, id: &str) -> Result<(), Failure> {
        let path = ["me", "messages", id];
        match self.message_call(Method::DELETE, &path, token, |r| r).await {
            Ok(_) | Err(Failure::Never { status: 404, .. }) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    async fn messages(&self, token: &str, filter: &str) -> Result<Vec<Found>, Failure> {
        let expand = expand();
        let query =
            [("$filter", filter), ("$select", SELECT), ("$expand", &*expand), ("$top", "50")];
        let path = ["me", "messages"];
        let answer = self.message_call(Method::GET, &path, token, |r| r.query(&query)).await?;
        let list: List<Found> = read(&answer.body)?;
        Ok(list.value)
    }

    /// A call that may be repeated.
    async fn message_call(
        &self,
        method: Method,
        path: &[&str],
        token: &str,
        with: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Result<Success, Failure> {
        self.call(Effect::Harmless, method, path, token, |request| {
            with(request.header(PREFER.0, PREFER.1))
        })
        .await
    }
}

const SELECT: &str = "id,isDraft,parentFolderId,internetMessageId,createdDateTime,sentDateTime";

/// Graph shows an extended property only if it is asked for by name.
fn expand() -> String {
    format!(
        "singleValueExtendedProperties($filter=id eq '{FLAGS_PROPERTY}' or id eq '{TAG_PROPERTY}')"
    )
}

/// OData: a quote within a string is doubled.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Nothing that could not be made again came of it.
fn odd_success(status: StatusCode) -> Failure {
    let why = format!("Graph answered {status}, which is no answer to this call");
    Failure::Later { after: None, throttled: false, why }
}

/// What cannot be read is asked again.
pub(super) fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::Later {
        after: None,
        throttled: false,
        why: format!("Graph's answer cannot be read: {error}"),
    })
}
