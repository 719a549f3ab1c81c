//! Which address is which page. What is asked for by POST changes something, and nothing else does, but for
//! the two ways in: a link and a return from Microsoft.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Query, State};
use axum::http::header::{HeaderValue, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;

use super::frame::{self, arrival};
use super::guard::{self, Visit};
use super::site::Site;
use super::{accounts, assets, health, invites, metrics, overview, queue, setup};

pub(super) fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/", get(overview::root))
        .route("/live.json", get(overview::live))
        .route("/accounts", get(accounts::list).post(accounts::add))
        .route("/accounts/{address}", get(accounts::one))
        .route("/accounts/{address}/signin", post(accounts::sign_in))
        .route("/accounts/{address}/code/{flow}", get(accounts::code))
        .route("/accounts/{address}/password", post(accounts::password))
        .route("/accounts/{address}/remove", get(accounts::ask_removal).post(accounts::remove))
        .route("/accounts/{address}/setup", get(setup::one))
        .route("/ca.pem", get(setup::ca_pem))
        .route("/ca.crt", get(setup::ca_der))
        .route("/queue", get(queue::list))
        .route("/queue/{id}", get(queue::one))
        .route("/queue/{id}/retry", post(queue::retry))
        .route("/queue/{id}/sent", post(queue::sent))
        .route("/queue/{id}/send-again", post(queue::send_again))
        .route("/queue/{id}/drop", get(queue::ask_drop).post(queue::drop))
        .route("/log", get(queue::log))
        .route("/invites", get(invites::list))
        .route("/invite", get(invites::one))
        .route("/login", get(login))
        .route("/logout", post(log_out))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/style.css", get(assets::style))
        .route("/live.js", get(assets::script))
        .route("/favicon.svg", get(assets::icon))
        .fallback(nowhere)
        .with_state(site)
}

async fn nowhere(Extension(visit): Extension<Visit>) -> Response {
    frame::not_found(&visit, "", "There is no such page.")
}

#[derive(Deserialize)]
struct Link {
    #[serde(default)]
    link: String,
}

async fn login(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Query(link): Query<Link>,
) -> Response {
    if !site.links.redeem(&link.link) {
        return frame::link_is_void();
    }
    let Ok(cookie) = site.sessions.begin() else { return frame::odd() };
    // Not a redirect: to what follows from outside, a browser sends no SameSite cookie; to what follows from
    // a page of ours it does.
    let go_on = ("/".to_owned(), "Go on".to_owned());
    let text = "You are logged in.".to_owned();
    let mut response = arrival("Welcome", text, Vec::new(), go_on, true).answer(StatusCode::OK);
    let name = guard::cookie_name(port(&visit));
    let cookie = format!("{name}={}; Path=/; HttpOnly; SameSite=Strict", cookie.expose());
    if let Ok(mut value) = HeaderValue::from_str(&cookie) {
        value.set_sensitive(true);
        response.headers_mut().insert(SET_COOKIE, value);
    }
    response
}

async fn log_out(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
) -> Response {
    if let Some(cookie) = guard::cookie(&headers, port(&visit)) {
        site.sessions.end(&cookie);
    }
    frame::see("/")
}

/// The port that the browser asked for, which is ours.
pub(super) fn port(visit: &Visit) -> u16 {
    let port = visit.host.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    port.unwrap_or_default()
}
