//! Sign-in: the part of login.microsoftonline.com that a native application meets.
//!
//! This file is the door: who calls Graph ([`Identity::caller`]), what the directory lets users do
//! ([`Policy`]), and the routes. The state is in `grants`, the answers in `authorize`, `device`,
//! `token` and `discovery`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::clock::Clock;
use super::grants::{Access, Grants};
use super::signing::Signing;
use super::world::World;
use super::{authorize, consent, device, discovery, token};

/// Who calls a Graph route, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Entra's object id.
    pub user: Uuid,
    /// Canonical names, `Mail.Send`.
    pub scopes: Vec<String>,
    /// The application's client id.
    pub application: String,
}

impl Caller {
    /// Whether the token carries a permission; names compare without case.
    pub fn may(&self, scope: &str) -> bool {
        super::scope::contains(&self.scopes, scope)
    }
}

/// Why an `Authorization` header names nobody: 401 `InvalidAuthenticationToken` with this message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BearerProblem {
    #[error("Access token is empty.")]
    Missing,
    #[error("CompactToken parsing failed with error code: 80049217")]
    Unknown,
    #[error("Access token has expired or is not yet valid.")]
    Expired,
    #[error(
        "Continuous access evaluation resulted in challenge with result: InteractionRequired and \
         code: TokenIssuedBeforeRevocationTimestamp"
    )]
    Revoked,
}

impl BearerProblem {
    /// Graph's error code for all of them.
    pub const CODE: &'static str = "InvalidAuthenticationToken";
}

/// What the directory lets its users and applications do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Scopes that a user may consent to; more needs an administrator (AADSTS90094). `None`: all.
    pub user_may_grant: Option<Vec<String>>,
    /// Registered public clients. `None`: any GUID is one.
    pub client_ids: Option<Vec<Uuid>>,
}

#[derive(Debug)]
pub struct Identity {
    clock: Clock,
    pub(super) signing: Signing,
    /// Authorize signs in by itself: for tests, which have no browser.
    pub automatic: bool,
    grants: Mutex<Grants>,
    policy: Mutex<Policy>,
}

impl Identity {
    pub fn new(clock: Clock, automatic: bool) -> Identity {
        Identity {
            clock,
            signing: Signing::default(),
            automatic,
            grants: Mutex::default(),
            policy: Mutex::default(),
        }
    }

    /// Who the bearer is, if the token is good at this moment.
    pub fn caller(&self, authorization_header: Option<&str>) -> Result<Caller, BearerProblem> {
        let token = bearer(authorization_header).ok_or(BearerProblem::Missing)?;
        match self.grants().access(self.clock.now(), token) {
            Access::Valid(grant) => {
                Ok(Caller { user: grant.user, scopes: grant.scopes, application: grant.client_id })
            }
            Access::Expired(_) => Err(BearerProblem::Expired),
            Access::Revoked(_) => Err(BearerProblem::Revoked),
            Access::Unknown => Err(BearerProblem::Unknown),
        }
    }

    /// Whose token this is, good or not. For the journal and the faults, never to let anybody in.
    pub fn bearer_of(&self, authorization_header: Option<&str>) -> Option<Uuid> {
        let token = bearer(authorization_header)?;
        match self.grants().access(self.clock.now(), token) {
            Access::Valid(grant) | Access::Expired(grant) | Access::Revoked(grant) => {
                Some(grant.user)
            }
            Access::Unknown => None,
        }
    }

    /// Ends access tokens, of one user or of all, as if their hour had passed.
    pub fn expire_access(&self, user: Option<Uuid>) {
        self.grants().expire_access(self.clock.now(), user);
    }

    pub fn revoke(&self, user: Option<Uuid>, access_only: bool) {
        self.grants().revoke(user, access_only);
    }

    pub fn grants(&self) -> MutexGuard<'_, Grants> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn policy(&self) -> MutexGuard<'_, Policy> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// RFC 6750 §2.1; the scheme's name compares without case (RFC 9110 §11.1).
fn bearer(header: Option<&str>) -> Option<&str> {
    let (scheme, token) = header?.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

pub fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/{tenant}/v2.0/.well-known/openid-configuration", get(discovery::configuration))
        .route("/{tenant}/discovery/instance", get(discovery::instance))
        .route("/{tenant}/discovery/v2.0/keys", get(discovery::keys))
        .route("/{tenant}/oauth2/v2.0/authorize", get(authorize::show).post(authorize::decide))
        .route("/{tenant}/oauth2/v2.0/token", post(token::token).get(token::wrong_verb))
        .route("/{tenant}/oauth2/v2.0/devicecode", post(device::start).get(token::wrong_verb))
        .route("/{tenant}/oauth2/v2.0/logout", get(discovery::logout).post(discovery::logout))
        .route("/{tenant}/v2.0/adminconsent", get(consent::show).post(consent::decide))
        .route("/oidc/userinfo", get(discovery::userinfo).post(discovery::userinfo))
        .route("/devicelogin", get(device::show).post(device::decide))
}
