//! What a client reads before it signs anybody in: OpenID Connect discovery, keys, instance
//! discovery; and the page after signing out.
//!
//! OpenID Connect Discovery 1.0 §4; v2-protocols-oidc (Microsoft identity platform).

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::aadsts::{Ids, Refusal};
use super::answer::{RequestIds, bearer_error};
use super::directory;
use super::identity::BearerProblem;
use super::pages;
use super::request::{Origin, SentQuery, query};
use super::world::World;

/// `iss` of our tokens; under `common` and `organizations` discovery shows a placeholder in it.
pub fn issuer(origin: &str, tenant_id: &str) -> String {
    format!("{origin}/{tenant_id}/v2.0")
}

pub async fn configuration(
    State(world): State<Arc<World>>,
    Path(tenant): Path<String>,
    Origin(origin): Origin,
    ids: Ids,
) -> Response {
    if let Err(refusal) = directory::check_tenant(&world, &tenant) {
        return refusal.answer(&ids);
    }
    let many = ["common", "organizations"].iter().any(|name| tenant.eq_ignore_ascii_case(name));
    let tenant_id = world.tenant_id.to_string();
    let shown = if many { "{tenantid}" } else { &tenant_id };
    Json(json!({
        "token_endpoint": format!("{origin}/{tenant}/oauth2/v2.0/token"),
        "token_endpoint_auth_methods_supported":
            ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "jwks_uri": format!("{origin}/{tenant}/discovery/v2.0/keys"),
        "response_modes_supported": ["query", "fragment"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": issuer(&origin, shown),
        "request_uri_parameter_supported": false,
        "userinfo_endpoint": format!("{origin}/oidc/userinfo"),
        "authorization_endpoint": format!("{origin}/{tenant}/oauth2/v2.0/authorize"),
        "device_authorization_endpoint": format!("{origin}/{tenant}/oauth2/v2.0/devicecode"),
        "http_logout_supported": true,
        "frontchannel_logout_supported": true,
        "end_session_endpoint": format!("{origin}/{tenant}/oauth2/v2.0/logout"),
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "nonce", "preferred_username",
            "name", "tid", "oid", "ver", "email"],
        "tenant_region_scope": null,
    }))
    .into_response()
}

/// `localhost` of `https://localhost:8443`.
fn name_of(authority: &str) -> &str {
    let host = authority.rsplit('/').next().unwrap_or(authority);
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// MSAL asks this about an authority host that it does not know.
pub async fn instance(
    State(world): State<Arc<World>>,
    Path(tenant): Path<String>,
    Origin(origin): Origin,
    sent: SentQuery,
    ids: Ids,
) -> Response {
    let asked = || {
        directory::check_tenant(&world, &tenant)?;
        let fields = query(sent)?;
        let endpoint = fields.require("authorization_endpoint")?;
        let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
        let mut segments = rest.split('/');
        let host = segments.next().unwrap_or_default().to_owned();
        let tenant = segments.next().unwrap_or_default().to_owned();
        directory::check_tenant(&world, &tenant)?;
        Ok::<_, Refusal>((host, tenant))
    };
    match asked() {
        Err(refusal) => refusal.answer(&ids),
        // Quirk(msal): leaves the port out of the host that it asks about.
        Ok((host, _)) if name_of(&host) != name_of(&origin) => {
            let text = "The authority is not known.";
            Refusal::with(50049, text).error("invalid_instance").answer(&ids)
        }
        Ok((host, tenant)) => Json(json!({
            "tenant_discovery_endpoint":
                format!("{origin}/{tenant}/v2.0/.well-known/openid-configuration"),
            "api-version": "1.1",
            "metadata": [{
                "preferred_network": host,
                "preferred_cache": host,
                "aliases": [host],
            }],
        }))
        .into_response(),
    }
}

pub async fn keys(
    State(world): State<Arc<World>>,
    Path(tenant): Path<String>,
    Origin(origin): Origin,
    ids: Ids,
) -> Response {
    if let Err(refusal) = directory::check_tenant(&world, &tenant) {
        return refusal.answer(&ids);
    }
    match world.identity.signing.jwks(&issuer(&origin, &world.tenant_id.to_string())) {
        Ok(jwks) => Json(jwks).into_response(),
        Err(problem) => (StatusCode::INTERNAL_SERVER_ERROR, problem.to_string()).into_response(),
    }
}

/// OpenID Connect Core §5.3: who the bearer is.
pub async fn userinfo(
    State(world): State<Arc<World>>,
    ids: RequestIds,
    headers: HeaderMap,
) -> Response {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let caller = match world.identity.caller(authorization) {
        Ok(caller) => caller,
        Err(problem) => return bearer_error(&ids, problem),
    };
    let Some(user) = world.user(&caller.user.to_string()) else {
        return bearer_error(&ids, BearerProblem::Unknown);
    };
    Json(json!({
        "sub": directory::subject(user, &caller.application),
        "name": user.display_name,
        "email": user.address,
    }))
    .into_response()
}

/// The sandbox keeps no browser session, so there is nothing to end.
pub async fn logout() -> Response {
    pages::notice("Signed out", "You signed out of your account.", None)
}
