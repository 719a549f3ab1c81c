//! Graph's calendars of a mailbox (Graph: calendar resource): one is made, and found again by its name. Of
//! what is in one that was there before, nothing is read.

use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::client::Graph;
use super::event::read;
use super::failure::{Effect, Failure};

/// A calendar of the mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Calendar {
    pub id: String,
    #[serde(default)]
    pub name: Option<String>,
    /// Not one that another user shares to be read.
    #[serde(default)]
    pub can_edit: Option<bool>,
}

#[derive(Deserialize)]
struct Calendars {
    value: Vec<Calendar>,
}

impl Graph {
    /// `POST /me/calendars`. Where there is one of this name, it is [`Failure::Conflict`]; so it is safe to
    /// repeat.
    pub async fn create_calendar(&self, token: &str, name: &str) -> Result<Calendar, Failure> {
        let path = ["me", "calendars"];
        let answer = self
            .event_call(Effect::Harmless, Method::POST, &path, token, |request| {
                request.json(&json!({ "name": name }))
            })
            .await?;
        match answer.status {
            StatusCode::CREATED => read(&answer.body),
            other => Err(Failure::of_odd_success(other)),
        }
    }

    /// `GET /me/calendars`: names and ids.
    pub async fn calendars(&self, token: &str) -> Result<Vec<Calendar>, Failure> {
        let path = ["me", "calendars"];
        let answer = self
            .event_call(Effect::Harmless, Method::GET, &path, token, |request| {
                request.query(&[("$select", "id,name,canEdit"), ("$top", "200")])
            })
            .await?;
        let Calendars { value } = read(&answer.body)?;
        Ok(value)
    }
}
