//! Sign-in of a device without a browser: the devicecode endpoint and the page to type its code.
//!
//! RFC 8628; v2-oauth2-device-code (Microsoft identity platform). There is no
//! `verification_uri_complete`, as Entra has none.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::aadsts::{Ids, Refusal};
use super::directory::{self, check_client, check_scope, check_tenant};
use super::grants::{DEVICE_LIFE, Grant};
use super::pages;
use super::request::{Fields, Origin, SentForm, SentQuery, form, query};
use super::scope;
use super::world::World;

/// POST `/{tenant}/oauth2/v2.0/devicecode`.
pub async fn start(
    State(world): State<Arc<World>>,
    Path(tenant): Path<String>,
    Origin(origin): Origin,
    ids: Ids,
    sent: SentForm,
) -> Response {
    let answer = || -> Result<Value, Refusal> {
        check_tenant(&world, &tenant)?;
        let fields = form(sent).and_then(Fields::each_once)?;
        let client_id = check_client(&world, fields.require("client_id")?)?;
        let scopes = check_scope(fields.require("scope")?)?;
        let interval = i64::from(world.switches().device_code_interval_seconds);
        let (device_code, device) = world.identity.grants().start_device(
            world.clock.now(),
            &client_id,
            scopes,
            SignedDuration::from_secs(interval),
        );
        let page = format!("{origin}/devicelogin");
        Ok(json!({
            "user_code": device.user_code,
            "device_code": device_code,
            "verification_uri": page,
            "expires_in": DEVICE_LIFE.as_secs(),
            "interval": interval,
            "message": format!(
                "To sign in, use a web browser to open the page {page} and enter the code {} to \
                 authenticate.",
                device.user_code
            ),
        }))
    };
    match answer() {
        Ok(body) => Json(body).into_response(),
        Err(refusal) => refusal.answer(&ids),
    }
}

const UNKNOWN_CODE: &str = "That code didn't work. Check the code and try again.";

/// GET `/devicelogin`: asks for the code, then shows the choice.
pub async fn show(State(world): State<Arc<World>>, sent: SentQuery) -> Response {
    let fields = query(sent).unwrap_or_default();
    let Some(code) = fields.get("user_code") else { return pages::enter_code(None) };
    let device = world.identity.grants().device_of(world.clock.now(), code).cloned();
    match device {
        None => pages::enter_code(Some(UNKNOWN_CODE)),
        Some(device) => pages::Choice {
            client_id: &device.client_id,
            scopes: &device.scopes,
            users: world.users.iter().collect(),
            user_code: Some(&device.user_code),
        }
        .show(),
    }
}

/// POST `/devicelogin`: `user_code`, and `mailbox` (with `scope`…) or `action=decline`.
pub async fn decide(
    State(world): State<Arc<World>>,
    Origin(origin): Origin,
    ids: Ids,
    sent: SentForm,
) -> Response {
    let fields = match form(sent) {
        Ok(fields) => fields,
        Err(refusal) => return pages::refused(&refusal, &ids),
    };
    let code = fields.get("user_code").unwrap_or_default();
    let now = world.clock.now();
    let mut grants = world.identity.grants();
    let Some(device) = grants.device_of(now, code).cloned() else {
        return pages::enter_code(Some(UNKNOWN_CODE));
    };
    if fields.get("action") == Some("decline") {
        grants.answer_device(now, code, None);
        return pages::notice("Declined", "The application was not signed in.", None);
    }
    let mailbox = fields.require("mailbox");
    let user = match mailbox.and_then(|mailbox| directory::find_user(&world, mailbox)) {
        Ok(user) => user,
        Err(refusal) => return pages::refused(&refusal, &ids),
    };
    let ticked: Vec<String> = fields.all("scope").map(str::to_owned).collect();
    let mut scopes = device.scopes;
    if !ticked.is_empty() {
        scopes.retain(|name| scope::contains(&ticked, name));
    }
    let withheld = directory::needs_administrator(&world, &grants, &device.client_id, &scopes);
    if !withheld.is_empty() {
        let refusal = directory::administrator_refusal(&origin, &device.client_id, &withheld);
        return pages::refused(&refusal, &ids);
    }
    grants.consent(&device.client_id, Some(user.object_id), &scopes);
    let client_id = device.client_id;
    let grant = Grant { user: user.object_id, client_id, scopes, nonce: None };
    grants.answer_device(now, code, Some(grant));
    let text = format!("You have signed in as {}. You may now close this window.", user.address);
    pages::notice("Signed in", &text, None)
}
