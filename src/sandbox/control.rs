//! The sandbox's own routes, `/_sandbox/…`: what a test or a curious person turns.
//!
//! Bodies are JSON and sent as such, so that no web page can post one here unasked (CORS).

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::identity::Policy;
use super::journal::Entry;
use super::script::Script;
use super::world::{Switches, World};

pub fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/_sandbox/faults", get(faults).post(set_faults).delete(clear_faults))
        .route("/_sandbox/requests", get(requests))
        .route("/_sandbox/switches", get(switches).post(set_switches))
        .route("/_sandbox/clock", get(clock).post(advance_clock))
        .route("/_sandbox/revoke", post(revoke))
        .route("/_sandbox/consent", get(consent).post(set_consent))
        .route("/_sandbox/world", get(world))
        .route("/_sandbox/reset", post(reset))
        .layer(DefaultBodyLimit::max(256 * 1024))
}

fn refused(problem: impl Into<String>) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({"error": problem.into()}))).into_response()
}

/// The script, and beside each rule how often it matched and fired.
async fn faults(State(world): State<Arc<World>>) -> Json<Value> {
    let running = world.faults.running();
    let script = running.script();
    let rules: Vec<Value> = script
        .faults
        .iter()
        .zip(running.counts())
        .map(|(rule, count)| json!({"rule": rule, "matched": count.matched, "fired": count.fired}))
        .collect();
    Json(json!({"seed": script.seed, "faults": rules}))
}

async fn set_faults(State(world): State<Arc<World>>, Json(script): Json<Script>) -> Response {
    if let Err(problem) = script.check(std::process::id()) {
        return refused(problem);
    }
    world.faults.set(script);
    StatusCode::NO_CONTENT.into_response()
}

async fn clear_faults(State(world): State<Arc<World>>) -> StatusCode {
    world.faults.set(Script::default());
    StatusCode::NO_CONTENT
}

async fn requests(State(world): State<Arc<World>>) -> Json<Vec<Entry>> {
    Json(world.journal.entries())
}

async fn switches(State(world): State<Arc<World>>) -> Json<Switches> {
    Json(world.switches().clone())
}

/// Takes any subset: what is not named stays as it is.
async fn set_switches(State(world): State<Arc<World>>, Json(wanted): Json<Value>) -> Response {
    let Value::Object(wanted) = wanted else { return refused("an object of switches") };
    let mut switches = world.switches();
    let Ok(Value::Object(mut all)) = serde_json::to_value(&*switches) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    all.extend(wanted);
    match serde_json::from_value::<Switches>(Value::Object(all)) {
        Ok(set) => {
            *switches = set.clone();
            Json(set).into_response()
        }
        Err(problem) => refused(problem.to_string()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_seconds: u32,
}

async fn clock(State(world): State<Arc<World>>) -> Json<Value> {
    Json(json!({"now": world.clock.now().to_string()}))
}

async fn advance_clock(State(world): State<Arc<World>>, Json(by): Json<Advance>) -> Json<Value> {
    let ahead = world.clock.advance(by.advance_seconds);
    Json(json!({"now": world.clock.now().to_string(), "ahead_seconds": ahead}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    /// `None`: everybody's.
    #[serde(default)]
    mailbox: Option<String>,
    #[serde(default)]
    access_only: bool,
}

async fn revoke(State(world): State<Arc<World>>, Json(whose): Json<Revoke>) -> Response {
    let user = match &whose.mailbox {
        None => None,
        Some(mailbox) => match world.user(mailbox) {
            Some(user) => Some(user.object_id),
            None => return refused(format!("no mailbox {mailbox:?}")),
        },
    };
    world.identity.revoke(user, whose.access_only);
    StatusCode::NO_CONTENT.into_response()
}

async fn consent(State(world): State<Arc<World>>) -> Json<Policy> {
    Json(world.identity.policy().clone())
}

async fn set_consent(State(world): State<Arc<World>>, Json(policy): Json<Policy>) -> Json<Policy> {
    *world.identity.policy() = policy.clone();
    Json(policy)
}

/// The tenant and its users.
async fn world(State(world): State<Arc<World>>) -> Json<Value> {
    Json(json!({"tenant_id": world.tenant_id, "users": world.users}))
}

/// Forgets what happened; tokens, consents, switches and the clock stay.
async fn reset(State(world): State<Arc<World>>) -> StatusCode {
    world.faults.set(Script::default());
    world.faults.forget_late().await;
    world.journal.clear();
    world.throttle.clear();
    world.mail.clear();
    world.calendar.clear();
    world.uploads.clear();
    world.ledger.clear();
    StatusCode::NO_CONTENT
}
