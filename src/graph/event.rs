//! Graph's event calls. Invitations, updates and cancellations are mailed by Exchange as part of
//! them (Graph: event resource); no flag suppresses that.

use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::client::{Graph, Success};
use super::difference::Patch;
use super::failure::{Effect, Failure};
use super::resource::{CONTENT_PROPERTY, Event, EventBody, Events, FileAttachment, UID_PROPERTY};

/// How a create ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Created {
    New(Box<Event>),
    /// The transactionId was used before: the event exists. Its id, where Graph says it.
    Before(Option<String>),
}

#[derive(Deserialize)]
struct List<T> {
    value: Vec<T>,
}

/// An attachment that hangs on an event, as far as it is needed to recognise it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Hanging {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub size: u64,
}

impl Graph {
    /// `POST /me/events`. Its transactionId makes it safe to repeat.
    pub async fn create_event(&self, token: &str, body: &EventBody) -> Result<Created, Failure> {
        let answer = self
            .event_call(Effect::Irreversible, Method::POST, &["me", "events"], token, |r| {
                r.json(body)
            })
            .await;
        match answer {
            Ok(answer) if answer.status == StatusCode::CREATED => {
                Ok(Created::New(Box::new(read(&answer.body)?)))
            }
            Ok(answer) => Err(Failure::of_odd_success(answer.status)),
            Err(Failure::Duplicate { existing }) => Ok(Created::Before(existing)),
            Err(failure) => Err(failure),
        }
    }

    /// `PATCH /me/events/{id}` with what changes, and no more.
    pub async fn patch_event(
        &self,
        token: &str,
        id: &str,
        patch: &Patch,
    ) -> Result<Event, Failure> {
        let path = ["me", "events", id];
        let answer = self
            .event_call(Effect::Irreversible, Method::PATCH, &path, token, |r| r.json(patch))
            .await?;
        read(&answer.body)
    }

    /// `GET /me/events/{id}`, with its mark.
    pub async fn event(&self, token: &str, id: &str) -> Result<Event, Failure> {
        let answer = self
            .event_call(Effect::Harmless, Method::GET, &["me", "events", id], token, |r| {
                r.query(&[("$expand", expand_mark())])
            })
            .await?;
        read(&answer.body)
    }

    /// The event that carries this UID of ours, with its mark.
    pub async fn event_of_uid(&self, token: &str, uid: &str) -> Result<Option<Event>, Failure> {
        let filter = format!(
            "singleValueExtendedProperties/Any(ep: ep/id eq '{UID_PROPERTY}' and ep/value eq '{}')",
            uid.replace('\'', "''")
        );
        let answer = self
            .event_call(Effect::Harmless, Method::GET, &["me", "events"], token, |r| {
                r.query(&[("$filter", filter), ("$expand", expand_mark())])
            })
            .await?;
        let events: Events = read(&answer.body)?;
        Ok(events.value.into_iter().next())
    }

    /// `POST /me/events/{id}/cancel`: Exchange tells the attendees, and the event goes.
    pub async fn cancel_event(&self, token: &str, id: &str, comment: &str) -> Result<(), Failure> {
        let path = ["me", "events", id, "cancel"];
        let body = json!({ "comment": comment });
        self.event_call(Effect::Irreversible, Method::POST, &path, token, |r| r.json(&body))
            .await?;
        Ok(())
    }

    /// `DELETE /me/events/{id}`, for an event that has no attendees.
    pub async fn delete_event(&self, token: &str, id: &str) -> Result<(), Failure> {
        let path = ["me", "events", id];
        self.event_call(Effect::Irreversible, Method::DELETE, &path, token, |r| r).await?;
        Ok(())
    }

    /// `POST /me/events/{id}/attachments`, for a file of less than 3 MB.
    pub async fn attach_to_event(
        &self,
        token: &str,
        id: &str,
        name: &str,
        content_type: &str,
        octets: &[u8],
    ) -> Result<(), Failure> {
        let path = ["me", "events", id, "attachments"];
        let body = FileAttachment::new(name, Some(content_type), octets);
        self.event_call(Effect::Irreversible, Method::POST, &path, token, |r| r.json(&body))
            .await?;
        Ok(())
    }

    /// What hangs on an event.
    pub async fn event_attachments(&self, token: &str, id: &str) -> Result<Vec<Hanging>, Failure> {
        let path = ["me", "events", id, "attachments"];
        let select = [("$select", "name,size")];
        let answer = self
            .event_call(Effect::Harmless, Method::GET, &path, token, |r| r.query(&select))
            .await?;
        let list: List<Hanging> = read(&answer.body)?;
        Ok(list.value)
    }

    /// A call whose ids are asked for, and given, in their immutable form.
    async fn event_call(
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

/// Graph shows an extended property only if it is asked for by name.
fn expand_mark() -> String {
    format!("singleValueExtendedProperties($filter=id eq '{CONTENT_PROPERTY}')")
}

/// An answer that cannot be read leaves open what happened.
fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::Unknown {
        why: format!("Graph's answer cannot be read: {error}"),
    })
}
