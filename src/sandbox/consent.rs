//! The administrator's consent for the whole tenant.
//!
//! v2-admin-consent (Microsoft identity platform). Whoever opens the page is the administrator.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use reqwest::Url;

use super::aadsts::{Ids, Refusal};
use super::directory::{check_client, check_redirect, check_scope, check_tenant};
use super::pages;
use super::request::{Fields, SentForm, SentQuery, form, query};
use super::world::World;

struct Asked {
    client_id: String,
    scopes: Vec<String>,
    back: Option<Url>,
    state: Option<String>,
}

fn read(world: &World, tenant: &str, sent: SentQuery) -> Result<Asked, Refusal> {
    check_tenant(world, tenant)?;
    let fields = query(sent).and_then(Fields::each_once)?;
    Ok(Asked {
        client_id: check_client(world, fields.require("client_id")?)?,
        scopes: check_scope(fields.get("scope").unwrap_or(".default"))?,
        back: fields.get("redirect_uri").map(check_redirect).transpose()?,
        state: fields.get("state").map(str::to_owned),
    })
}

fn answer(asked: Asked, title: &str, pairs: &[(&str, &str)]) -> Response {
    let Some(mut url) = asked.back else {
        return pages::notice(title, "You can close this page.", None);
    };
    url.query_pairs_mut().extend_pairs(pairs);
    if let Some(state) = &asked.state {
        url.query_pairs_mut().append_pair("state", state);
    }
    (StatusCode::FOUND, [(LOCATION, url.as_str())]).into_response()
}

fn accept(world: &World, asked: Asked) -> Response {
    world.identity.grants().consent(&asked.client_id, None, &asked.scopes);
    let (tenant, scopes) = (world.tenant_id.to_string(), asked.scopes.join(" "));
    let pairs = [("admin_consent", "True"), ("tenant", &tenant), ("scope", &scopes)];
    answer(asked, "Granted for the tenant", &pairs)
}

pub async fn show(
    State(world): State<Arc<World>>,
    Path(tenant): Path<String>,
    ids: Ids,
    sent: SentQuery,
) -> Response {
    match read(&world, &tenant, sent) {
        Err(refusal) => pages::refused(&refusal, &ids),
        Ok(asked) if world.identity.automatic => accept(&world, asked),
        Ok(asked) => {
            pages::AdministratorChoice { client_id: &asked.client_id, scopes: &asked.scopes }.show()
        }
    }
}

pub async fn decide(
    State(world): State<Arc<World>>,
    Path(tenant): Path<String>,
    ids: Ids,
    sent: SentQuery,
    chosen: SentForm,
) -> Response {
    let read = read(&world, &tenant, sent).and_then(|asked| Ok((asked, form(chosen)?)));
    match read {
        Err(refusal) => pages::refused(&refusal, &ids),
        Ok((asked, chosen)) if chosen.get("action") == Some("accept") => accept(&world, asked),
        Ok((asked, _)) => {
            let refusal = Refusal::new(65004);
            let description = refusal.description(&ids);
            let pairs = [("error", refusal.error.as_str()), ("error_description", &description)];
            answer(asked, "Nothing was granted", &pairs)
        }
    }
}
