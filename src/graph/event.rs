//! Graph's event calls. Invitations, updates and cancellations are mailed by Exchange as part of
//! them (Graph: event resource); no flag suppresses that.

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
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

/// What became of single occurrences of a series.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Occurrences {
    cancelled_occurrences: Vec<String>,
    /// Those that are not as the series gives them.
    pub exception_occurrences: Vec<Event>,
}

impl Occurrences {
    /// The dates, in the zone of the series, on which it does not take place.
    ///
    /// Source: their ids, `OID.{id of the series}.{date}`.
    pub fn cancelled(&self) -> impl Iterator<Item = Date> {
        self.cancelled_occurrences.iter().filter_map(|id| id.rsplit('.').next()?.parse().ok())
    }
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
    /// `POST /me/events`, or `…/calendars/{id}/events`. Its transactionId makes it safe to repeat.
    pub async fn create_event(
        &self,
        token: &str,
        calendar: Option<&str>,
        body: &EventBody,
    ) -> Result<Created, Failure> {
        let path = events_in(calendar);
        let answer = self
            .event_call(Effect::Irreversible, Method::POST, &path, token, |r| r.json(body))
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

    /// `PATCH /me/events/{id}` with what changes, and no more. `etag`: of the event that was read for
    /// it; if it is another one by now, nothing happens ([`Failure::Conflict`]).
    pub async fn patch_event(
        &self,
        token: &str,
        id: &str,
        patch: &Patch,
        etag: Option<&str>,
    ) -> Result<Event, Failure> {
        let path = ["me", "events", id];
        let answer = self
            .event_call(Effect::Irreversible, Method::PATCH, &path, token, |request| {
                let request = request.json(patch);
                match etag {
                    Some(etag) => request.header("If-Match", etag),
                    None => request,
                }
            })
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

    /// The events of a calendar that carry this UID of ours, with their marks.
    pub async fn events_of_uid(
        &self,
        token: &str,
        calendar: Option<&str>,
        uid: &str,
    ) -> Result<Vec<Event>, Failure> {
        let filter = format!(
            "singleValueExtendedProperties/Any(ep: ep/id eq '{UID_PROPERTY}' and ep/value eq '{}')",
            uid.replace('\'', "''")
        );
        let answer = self
            .event_call(Effect::Harmless, Method::GET, &events_in(calendar), token, |r| {
                let top = "200".to_owned();
                r.query(&[("$filter", filter), ("$expand", expand_mark()), ("$top", top)])
            })
            .await?;
        let events: Events = read(&answer.body)?;
        Ok(events.value)
    }

    /// The id of the occurrence to which the series `id` gives this start. `None`: it does not take
    /// place.
    ///
    /// `GET /me/events/{id}/instances` tells where occurrences are now; one that was moved is among the
    /// series' `exceptionOccurrences`.
    pub async fn occurrence(
        &self,
        token: &str,
        id: &str,
        original: Timestamp,
        all_day: bool,
    ) -> Result<Option<String>, Failure> {
        let day = SignedDuration::from_hours(24);
        let from = original.checked_sub(day).unwrap_or(original).to_string();
        let to = original.checked_add(day).unwrap_or(original).to_string();
        let path = ["me", "events", id, "instances"];
        let answer = self
            .event_call(Effect::Harmless, Method::GET, &path, token, |r| {
                r.query(&[
                    ("startDateTime", from.as_str()),
                    ("endDateTime", to.as_str()),
                    ("$top", "200"),
                ])
            })
            .await?;
        let near: Events = read(&answer.body)?;
        let is_it = |event: &Event| {
            event.original_start.is_some_and(|at| is_same_start(at, original, all_day))
        };
        if let Some(found) = near.value.into_iter().find(is_it) {
            return Ok(Some(found.id));
        }
        let series = self.occurrences(token, id).await?;
        Ok(series.exception_occurrences.into_iter().find(is_it).map(|found| found.id))
    }

    /// `GET /me/events/{id}` of a series, for the occurrences that are not as it gives them. Graph shows
    /// them of one series at a time, and only if they are asked for by name.
    pub async fn occurrences(&self, token: &str, id: &str) -> Result<Occurrences, Failure> {
        let path = ["me", "events", id];
        let answer = self
            .event_call(Effect::Harmless, Method::GET, &path, token, |r| {
                r.query(&[
                    ("$select", "id,cancelledOccurrences"),
                    ("$expand", "exceptionOccurrences"),
                ])
            })
            .await?;
        read(&answer.body)
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
    pub(super) async fn event_call(
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

/// `None`: the mailbox's own calendar.
fn events_in(calendar: Option<&str>) -> Vec<&str> {
    match calendar {
        Some(id) => vec!["me", "calendars", id, "events"],
        None => vec!["me", "events"],
    }
}

/// Whole days have no time of their own: their start is midnight in the zone of the series, or in UTC.
fn is_same_start(at: Timestamp, original: Timestamp, all_day: bool) -> bool {
    // A zone's midnight is at most 14 hours away from that of UTC.
    let zones = SignedDuration::from_hours(14);
    let is_midnight = at.as_second().rem_euclid(24 * 3600) == 0;
    at == original || all_day && is_midnight && at.duration_since(original).abs() <= zones
}

/// Graph shows an extended property only if it is asked for by name.
fn expand_mark() -> String {
    format!("singleValueExtendedProperties($filter=id eq '{CONTENT_PROPERTY}')")
}

/// An answer that cannot be read leaves open what happened.
pub(super) fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::Unknown {
        why: format!("Graph's answer cannot be read: {error}"),
    })
}
