//! Whether the daemon is there, and whether it does its work: for those who watch over it. In plain text,
//! without login.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use super::site::Site;
use crate::control::{Reply, Request};

/// It answers: that is all this says.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// Its store can be written, and its worker goes round.
pub(super) async fn ready(State(site): State<Arc<Site>>) -> (StatusCode, String) {
    match site.ask(Request::Health {}).await {
        Reply::Healthy {} => (StatusCode::OK, "ok\n".to_owned()),
        Reply::Refused { why } => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "an odd answer\n".to_owned()),
    }
}
