//! The authorize endpoint: a page with a button for each mailbox, or a sign-in by itself.
//!
//! v2-oauth2-auth-code-flow (Microsoft identity platform), RFC 6749 §4.1, RFC 7636, OpenID Connect
//! Core §3.1.2. The page keeps no state: its form posts back to the URL that it was shown at, which
//! is checked again. An answer goes to the redirect URI only after that has been checked.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, LOCATION, REFERRER_POLICY};
use axum::response::{IntoResponse, Response};
use reqwest::Url;
use uuid::Uuid;

use super::aadsts::{Ids, Refusal};
use super::directory::{self, check_client, check_redirect, check_scope, check_tenant};
use super::grants::{Authorization, Challenge, Grant};
use super::pages;
use super::request::{Fields, Origin, SentForm, SentQuery, form, query};
use super::scope;
use super::world::{User, World};

/// A request that may be shown to a person.
#[derive(Debug)]
struct Asked {
    tenant: String,
    client_id: String,
    scopes: Vec<String>,
    nonce: Option<String>,
    challenge: Option<Challenge>,
    silent: bool,
    login_hint: Option<String>,
    back: Back,
}

/// Where the answer goes.
#[derive(Debug, Clone)]
struct Back {
    /// As the client spelt it: the token request must spell it the same.
    redirect_uri: String,
    url: Url,
    fragment: bool,
    state: Option<String>,
}

/// A refusal, on a page or at the redirect URI.
#[derive(Debug)]
enum Stop {
    Page(Refusal),
    Redirect(Box<Back>, Refusal),
}

impl Stop {
    fn answer(self, ids: &Ids) -> Response {
        match self {
            Stop::Page(refusal) => pages::refused(&refusal, ids),
            Stop::Redirect(back, refusal) => back.refuse(&refusal, ids),
        }
    }
}

impl Back {
    fn redirect(&self, pairs: &[(&str, &str)]) -> Response {
        let mut url = self.url.clone();
        url.query_pairs_mut().extend_pairs(pairs);
        if let Some(state) = &self.state {
            url.query_pairs_mut().append_pair("state", state);
        }
        if self.fragment {
            let query = url.query().map(str::to_owned);
            url.set_query(None);
            url.set_fragment(query.as_deref());
        }
        let headers = [
            (LOCATION, url.as_str()),
            (CACHE_CONTROL, "no-store"),
            (REFERRER_POLICY, "no-referrer"),
        ];
        (StatusCode::FOUND, headers).into_response()
    }

    fn refuse(&self, refusal: &Refusal, ids: &Ids) -> Response {
        let description = refusal.description(ids);
        let mut pairs =
            vec![("error", refusal.error.as_str()), ("error_description", description.as_str())];
        let uri = format!("https://login.microsoftonline.com/error?code={}", refusal.code);
        pairs.push(("error_uri", &uri));
        if let Some(suberror) = &refusal.suberror {
            pairs.push(("suberror", suberror));
        }
        self.redirect(&pairs)
    }
}

/// Checks a request in Entra's order: what cannot be trusted with a redirect is shown on a page.
fn read(world: &World, tenant: String, sent: SentQuery) -> Result<Asked, Stop> {
    let page = |refusal| Stop::Page(refusal);
    check_tenant(world, &tenant).map_err(page)?;
    let fields = query(sent).and_then(Fields::each_once).map_err(page)?;
    let client_id = fields.require("client_id").map_err(page)?;
    let client_id = check_client(world, client_id).map_err(page)?;
    let redirect_uri = fields.require("redirect_uri").map_err(page)?;
    let mut back = Back {
        redirect_uri: redirect_uri.to_owned(),
        url: check_redirect(redirect_uri).map_err(page)?,
        fragment: false,
        state: fields.get("state").map(str::to_owned),
    };
    match fields.get("response_mode") {
        None | Some("query") => {}
        Some("fragment") => back.fragment = true,
        Some(_) => return Err(Stop::Page(Refusal::new(70007))),
    }

    let refuse = |refusal| Stop::Redirect(Box::new(back.clone()), refusal);
    if fields.require("response_type").map_err(refuse)? != "code" {
        return Err(refuse(Refusal::new(70005)));
    }
    let scopes = fields.require("scope").and_then(check_scope).map_err(refuse)?;
    let challenge = challenge(&fields).map_err(refuse)?;
    let silent = match fields.get("prompt") {
        None | Some("login" | "consent" | "select_account") => false,
        Some("none") => true,
        Some(_) => {
            return Err(refuse(Refusal::with(90023, "Unsupported 'prompt' value.")));
        }
    };
    Ok(Asked {
        tenant,
        client_id,
        scopes,
        nonce: fields.get("nonce").map(str::to_owned),
        challenge,
        silent,
        login_hint: fields.get("login_hint").map(str::to_owned),
        back,
    })
}

/// RFC 7636 §4.3; §4.2: 43 to 128 characters.
fn challenge(fields: &Fields) -> Result<Option<Challenge>, Refusal> {
    let method = fields.get("code_challenge_method");
    let Some(challenge) = fields.get("code_challenge") else {
        return if method.is_some() { Err(Refusal::new(50147)) } else { Ok(None) };
    };
    if !(43..=128).contains(&challenge.len()) {
        return Err(Refusal::new(50147));
    }
    match method {
        Some("S256") => Ok(Some(Challenge::S256(challenge.to_owned()))),
        None | Some("plain") => Ok(Some(Challenge::Plain(challenge.to_owned()))),
        Some(_) => {
            Err(Refusal::with(90023, "Unsupported 'code_challenge_method': use 'S256' or 'plain'."))
        }
    }
}

/// Whom a request without a person signs in.
fn automatic_user<'a>(world: &'a World, hint: Option<&str>) -> Result<&'a User, Refusal> {
    match hint {
        Some(hint) => directory::find_user(world, hint),
        None => world.users.first().ok_or_else(|| Refusal::new(50034)),
    }
}

/// Gives the code out, or says why not.
fn grant(world: &World, asked: Asked, user: &User, origin: &str) -> Result<Response, Stop> {
    let refuse = |refusal| Stop::Redirect(Box::new(asked.back.clone()), refusal);
    let mut grants = world.identity.grants();
    let withheld = directory::needs_administrator(world, &grants, &asked.client_id, &asked.scopes);
    if !withheld.is_empty() {
        if !asked.silent && !world.identity.automatic {
            let consent_url = directory::admin_consent_url(origin, &asked.client_id, &withheld);
            let approval = pages::NeedsApproval {
                client_id: &asked.client_id,
                scopes: &withheld,
                consent_url: &consent_url,
            };
            return Ok(approval.show());
        }
        let refusal = directory::administrator_refusal(origin, &asked.client_id, &withheld);
        return Err(refuse(refusal));
    }
    let consented = |name: &String| {
        scope::is_openid(name) || grants.has_consent(&asked.client_id, user.object_id, name)
    };
    if asked.silent && !asked.scopes.iter().all(consented) {
        return Err(refuse(Refusal::new(65001).error("interaction_required")));
    }
    grants.consent(&asked.client_id, Some(user.object_id), &asked.scopes);
    let grant = Grant {
        user: user.object_id,
        client_id: asked.client_id,
        scopes: asked.scopes,
        nonce: asked.nonce,
    };
    let authorization = Authorization {
        grant,
        tenant: asked.tenant,
        redirect_uri: asked.back.redirect_uri.clone(),
        challenge: asked.challenge,
    };
    let code = grants.authorize(world.clock.now(), authorization);
    let session = Uuid::new_v4().to_string();
    Ok(asked.back.redirect(&[("code", &code), ("session_state", &session)]))
}

/// GET: the page, or in automatic mode the answer.
pub async fn show(
    State(world): State<Arc<World>>,
    Path(tenant): Path<String>,
    Origin(origin): Origin,
    ids: Ids,
    sent: SentQuery,
) -> Response {
    let answer = || {
        let asked = read(&world, tenant, sent)?;
        let refuse = |refusal| Stop::Redirect(Box::new(asked.back.clone()), refusal);
        if world.identity.automatic {
            let user = automatic_user(&world, asked.login_hint.as_deref()).map_err(Stop::Page)?;
            return grant(&world, asked, user, &origin);
        }
        if asked.silent {
            // There is no browser session to be silent with.
            return Err(refuse(Refusal::new(50058)));
        }
        let hinted = |user: &&User| {
            let hint = asked.login_hint.as_deref();
            !hint.is_some_and(|hint| hint.eq_ignore_ascii_case(&user.address))
        };
        let mut users: Vec<&User> = world.users.iter().collect();
        users.sort_by_key(hinted);
        let choice = pages::Choice {
            client_id: &asked.client_id,
            scopes: &asked.scopes,
            users,
            user_code: None,
        };
        Ok(choice.show())
    };
    answer().unwrap_or_else(|stop: Stop| stop.answer(&ids))
}

/// POST: what the person chose on that page.
pub async fn decide(
    State(world): State<Arc<World>>,
    Path(tenant): Path<String>,
    Origin(origin): Origin,
    ids: Ids,
    sent: SentQuery,
    chosen: SentForm,
) -> Response {
    let answer = || {
        let mut asked = read(&world, tenant, sent)?;
        let chosen = form(chosen).map_err(Stop::Page)?;
        if chosen.get("action") == Some("decline") {
            return Err(Stop::Redirect(Box::new(asked.back), Refusal::new(65004)));
        }
        let mailbox = chosen.require("mailbox").map_err(Stop::Page)?;
        let user = directory::find_user(&world, mailbox).map_err(Stop::Page)?;
        // A choice without any scope comes from a client without the boxes: it grants all.
        let ticked: Vec<String> = chosen.all("scope").map(str::to_owned).collect();
        if !ticked.is_empty() {
            asked.scopes.retain(|name| scope::contains(&ticked, name));
        }
        grant(&world, asked, user, &origin)
    };
    answer().unwrap_or_else(|stop: Stop| stop.answer(&ids))
}
