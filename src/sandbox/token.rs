//! The token endpoint: a code, a refresh token or a device code for tokens.
//!
//! RFC 6749 §4.1.3, §5, §6; RFC 7636 §4.5; RFC 8628 §3.4; v2-oauth2-auth-code-flow and
//! refresh-tokens (Microsoft identity platform).

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, PRAGMA};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::aadsts::{Ids, Refusal};
use super::directory::{self, check_client, check_scope, check_tenant};
use super::discovery::issuer;
use super::grants::{ACCESS_LIFE, Grant, Redemption};
use super::request::{Fields, Origin, SentForm, form};
use super::scope;
use super::world::World;

const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

pub async fn token(
    State(world): State<Arc<World>>,
    Path(tenant): Path<String>,
    Origin(origin): Origin,
    ids: Ids,
    sent: SentForm,
) -> Response {
    // RFC 6749 §5.1
    let headers = [(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")];
    let answer = form(sent).and_then(Fields::each_once).and_then(|fields| {
        let (grant, scopes) = redeem(&world, &tenant, &fields)?;
        answer(&world, &origin, &fields, &grant, &scopes)
    });
    match answer {
        Ok(body) => (headers, Json(body)).into_response(),
        Err(refusal) => (headers, refusal.answer(&ids)).into_response(),
    }
}

/// GET where POST is meant.
pub async fn wrong_verb(ids: Ids) -> Response {
    Refusal::new(900561).answer(&ids)
}

/// Finds what the client may have: the grant, and the scopes of this access token.
fn redeem(world: &World, tenant: &str, fields: &Fields) -> Result<(Grant, Vec<String>), Refusal> {
    check_tenant(world, tenant)?;
    let client_id = check_client(world, fields.require("client_id")?)?;
    let grant_type = fields.require("grant_type")?;
    if fields.get("client_secret").or(fields.get("client_assertion")).is_some() {
        return Err(Refusal::new(700025));
    }
    let asked = fields.get("scope").map(check_scope).transpose()?;
    let now = world.clock.now();
    let mut grants = world.identity.grants();
    let grant = match grant_type {
        "authorization_code" => grants.redeem(
            now,
            Redemption {
                client_id: &client_id,
                tenant,
                code: fields.require("code")?,
                redirect_uri: fields.require("redirect_uri")?,
                verifier: fields.get("code_verifier"),
            },
        )?,
        "refresh_token" => grants.refresh(now, &client_id, fields.require("refresh_token")?)?,
        // The short name is older than RFC 8628; Entra takes both.
        DEVICE_CODE | "device_code" => {
            let code = fields.get("device_code").or(fields.get("code"));
            let code = code.ok_or_else(|| Refusal::missing("device_code"))?;
            grants.poll_device(now, &client_id, code)?
        }
        other => {
            let other: String = other.chars().take(100).collect();
            let text = format!("The app requested an unsupported grant type '{other}'.");
            return Err(Refusal::with(70003, text));
        }
    };
    let Some(asked) = asked else { return Ok((grant.clone(), grant.scopes)) };
    if scope::contains(&asked, ".default") {
        // Everything that has been consented to.
        return Ok((grant.clone(), grant.scopes));
    }
    let (mut granted, withheld): (Vec<String>, Vec<String>) = asked.into_iter().partition(|name| {
        scope::is_openid(name)
            || scope::contains(&grant.scopes, name)
            || grants.has_consent(&client_id, grant.user, name)
    });
    if !withheld.is_empty() && grant_type == "refresh_token" {
        let text = format!(
            "The user or administrator has not consented to use the application with ID \
             '{client_id}' for '{}'. Send an interactive authorization request for this user and \
             resource.",
            withheld.join(" ")
        );
        return Err(Refusal::with(65001, text));
    }
    // A code that was granted less than asked answers with what was granted.
    granted.retain(|name| !scope::is_openid(name) || scope::contains(&grant.scopes, name));
    Ok((grant, granted))
}

fn answer(
    world: &World,
    origin: &str,
    fields: &Fields,
    grant: &Grant,
    scopes: &[String],
) -> Result<Value, Refusal> {
    let now = world.clock.now();
    let user = directory::find_user(world, &grant.user.to_string())?;
    let rotated =
        fields.get("refresh_token").filter(|_| fields.get("grant_type") == Some("refresh_token"));
    if let Some(old) = rotated.filter(|_| !world.switches().old_refresh_token_stays_valid) {
        world.identity.grants().retire(old);
    }
    let issued = world.identity.grants().issue(now, grant, scopes);
    let shown: Vec<&str> =
        scopes.iter().map(String::as_str).filter(|name| *name != "offline_access").collect();
    let life = ACCESS_LIFE.as_secs();
    let life =
        if world.switches().expires_in_as_string { json!(life.to_string()) } else { json!(life) };
    let mut body = json!({
        "token_type": "Bearer",
        "scope": shown.join(" "),
        "expires_in": life,
        "ext_expires_in": life,
        "access_token": issued.access_token,
    });
    let Some(members) = body.as_object_mut() else { return Ok(body) };
    if let Some(refresh_token) = issued.refresh_token {
        members.insert("refresh_token".into(), refresh_token.into());
    }
    if scope::contains(scopes, "openid") {
        let issuer = issuer(origin, &world.tenant_id.to_string());
        let claims = directory::id_token_claims(world, user, grant, &issuer, now);
        let signed = world.identity.signing.sign(&claims);
        let signed = signed.map_err(|_| Refusal::new(50033))?;
        members.insert("id_token".into(), signed.into());
    }
    // Quirk(msal): asks for `client_info`, and names the account in its cache by it.
    if fields.get("client_info") == Some("1") {
        let info = json!({"uid": user.object_id, "utid": world.tenant_id}).to_string();
        members.insert("client_info".into(), URL_SAFE_NO_PAD.encode(info).into());
    }
    Ok(body)
}
