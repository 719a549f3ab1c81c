//! What the token endpoint answers, and what that means. Pure.
//!
//! RFC 6749 §5 (answers and errors), OpenID Connect Core §3.1.3.7 (id_token), Microsoft Entra,
//! "OAuth 2.0 authorization code flow" and "ID token claims reference". Parsing is tolerant where
//! Entra is known to vary, and strict in what decides who has signed in. No token may reach a
//! `Debug` or an error text from here.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oauth2::basic::BasicTokenType;
use oauth2::{AccessToken, RefreshToken, Scope};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::cloud::{Settings, bare_scope};
use super::hint::{self, Said};
use super::{Failure, refused};
use crate::account::Person;
use crate::secret::Secret;

/// RFC 6749 §5.1 lets `expires_in` be left out; then the token is taken to be short-lived.
const LIFETIME_IF_UNSAID: Duration = Duration::from_secs(300);
/// Nothing that Entra issues lives longer (28 h with continuous access evaluation).
const LIFETIME_MAX: Duration = Duration::from_secs(2 * 86400);
/// How far the clocks of this machine and of Entra may differ, in seconds.
const CLOCK_SKEW: i64 = 300;

/// Tokens for one account.
#[derive(Debug, Clone)]
pub struct Grant {
    pub access: Secret,
    /// Counted from the moment the answer arrived.
    pub lifetime: Duration,
    /// Comes only with `offline_access`, and then anew with each answer.
    pub refresh: Option<Secret>,
    /// Bare names (`Mail.Send`); empty when the answer did not say.
    pub scopes: Vec<String>,
}

/// The token answer as the `oauth2` crate parses it.
#[derive(Debug, Deserialize)]
pub struct TokenAnswer {
    access_token: AccessToken,
    token_type: BasicTokenType,
    #[serde(default, deserialize_with = "number_or_string")]
    expires_in: Option<u64>,
    #[serde(default)]
    refresh_token: Option<RefreshToken>,
    #[serde(default, deserialize_with = "words")]
    scope: Option<Vec<Scope>>,
    #[serde(default)]
    id_token: Option<IdToken>,
}

/// A compact JWS; a secret, since it names the user.
#[derive(Deserialize)]
pub struct IdToken(String);

impl fmt::Debug for IdToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdToken(…)")
    }
}

impl Serialize for TokenAnswer {
    /// The `oauth2` crate's trait asks for this and never calls it; tokens do not leave this way.
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_unit()
    }
}

impl oauth2::TokenResponse for TokenAnswer {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }
    fn token_type(&self) -> &BasicTokenType {
        &self.token_type
    }
    fn expires_in(&self) -> Option<Duration> {
        self.expires_in.map(Duration::from_secs)
    }
    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }
    fn scopes(&self) -> Option<&Vec<Scope>> {
        self.scope.as_ref()
    }
}

impl TokenAnswer {
    pub fn into_parts(self) -> (Grant, Option<IdToken>) {
        let scopes = self.scope.unwrap_or_default();
        let grant = Grant {
            access: Secret::new(self.access_token.into_secret()),
            lifetime: self
                .expires_in
                .map_or(LIFETIME_IF_UNSAID, Duration::from_secs)
                .min(LIFETIME_MAX),
            refresh: self.refresh_token.map(|token| Secret::new(token.into_secret())),
            scopes: scopes.iter().map(|scope| bare_scope(scope).to_owned()).collect(),
        };
        (grant, self.id_token)
    }
}

/// Quirk(entra): `expires_in` is a number by the standard, and a string in some answers.
fn number_or_string<'de, D: Deserializer<'de>>(input: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }
    Ok(match Option::<Either>::deserialize(input)? {
        Some(Either::Number(n)) => Some(n),
        Some(Either::Text(text)) => text.trim().parse().ok(),
        None => None,
    })
}

fn words<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Vec<Scope>>, D::Error> {
    let text = Option::<String>::deserialize(input)?;
    Ok(text.map(|t| t.split_ascii_whitespace().map(|w| Scope::new(w.to_owned())).collect()))
}

/// Entra's error answer: RFC 6749 §5.2 with Microsoft's additions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntraError {
    pub error: String,
    #[serde(default)]
    pub error_description: Option<String>,
    #[serde(default)]
    pub suberror: Option<String>,
    /// Numbers; seen as strings too.
    #[serde(default)]
    error_codes: Vec<serde_json::Value>,
}

impl oauth2::ErrorResponse for EntraError {}

impl fmt::Display for EntraError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The description ends with trace and correlation ids and a time, each on a line of its own.
        let text = self.error_description.as_deref().unwrap_or(&self.error);
        let line = text.lines().next().unwrap_or_default();
        let clean = |c: &char| !c.is_control();
        f.write_str(&line.chars().filter(clean).take(400).collect::<String>())
    }
}

impl EntraError {
    /// An error that came as redirect parameters, which carry no `error_codes`.
    pub fn from_redirect(error: String, description: Option<String>) -> EntraError {
        EntraError { error, error_description: description, ..EntraError::default() }
    }

    /// The AADSTS numbers, from `error_codes` or from the head of the description.
    pub fn codes(&self) -> Vec<u32> {
        let listed: Vec<u32> = self
            .error_codes
            .iter()
            .filter_map(|v| v.as_u64().or_else(|| v.as_str()?.parse().ok()))
            .filter_map(|n| u32::try_from(n).ok())
            .collect();
        if !listed.is_empty() {
            return listed;
        }
        let text = self.error_description.as_deref().unwrap_or_default();
        let digits = text.split_once("AADSTS").map_or("", |(_, rest)| rest);
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        digits.get(..end).and_then(|d| d.parse().ok()).into_iter().collect()
    }

    /// Entra's sentence, then ours.
    pub fn why(&self, settings: &Settings, scopes: &[&str]) -> String {
        let codes = self.codes();
        // A code that we have words for is preferred: the first may be a general one.
        let code = codes.iter().copied().find(|c| hint::advice(*c).is_some());
        let said = Said { error: &self.error, suberror: self.suberror.as_deref(), code };
        let to_do = hint::what_to_do(said, settings, scopes);
        format!("{} (Microsoft: {self})", to_do)
    }

    /// What an error answer means for a stored sign-in. Decided by `error`; a number may only
    /// soften it to *later*, which loses nothing.
    pub fn into_failure(self, settings: &Settings, scopes: &[&str]) -> Failure {
        let passing =
            self.codes().iter().any(|c| matches!(hint::advice(*c), Some((hint::Remedy::Wait, _))));
        let why = self.why(settings, scopes);
        match self.error.as_str() {
            _ if passing => Failure::Later { after: None, why },
            "invalid_grant" => Failure::NeedsSignIn { token_is_dead: true, why },
            "interaction_required"
            | "consent_required"
            | "login_required"
            | "access_denied"
            | "invalid_client"
            | "unauthorized_client"
            | "invalid_scope"
            | "invalid_resource"
            | "invalid_request"
            | "unsupported_grant_type" => Failure::NeedsSignIn { token_is_dead: false, why },
            // What is not recognised is for later.
            _ => Failure::Later { after: None, why },
        }
    }
}

/// The claims that are looked at; the rest is nobody's business.
#[derive(Deserialize)]
struct Claims {
    aud: String,
    iss: String,
    tid: String,
    oid: String,
    exp: i64,
    #[serde(default)]
    nonce: Option<String>,
    #[serde(default)]
    preferred_username: Option<String>,
}

/// Who has signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub person: Person,
    /// For showing only: it changes, and nothing vouches for it.
    pub username: Option<String>,
}

impl IdToken {
    /// Reads and checks the claims. `now` in seconds since 1970.
    ///
    /// OpenID Connect Core §3.1.3.7 (6): a token that came straight from the token endpoint over TLS
    /// is vouched for by that connection, so its signature is not checked. This must never be used
    /// for a token that took any other way.
    pub fn verify(
        &self,
        settings: &Settings,
        nonce: Option<&Secret>,
        now: i64,
    ) -> Result<Identity, Failure> {
        let claims = self.claims().ok_or_else(|| refused("The id_token cannot be read."))?;
        if !claims.aud.eq_ignore_ascii_case(&settings.client_id) {
            return Err(refused("The id_token is meant for another app."));
        }
        // The tenant must be an id: it becomes part of the issuer compared with.
        if Uuid::try_parse(&claims.tid).is_err() || claims.oid.is_empty() {
            return Err(refused("The id_token does not say who signed in."));
        }
        if claims.iss != format!("{}/{}/v2.0", settings.login(), claims.tid) {
            return Err(refused("The id_token comes from another issuer."));
        }
        let one_tenant = Uuid::try_parse(&settings.tenant).is_ok();
        if one_tenant && !settings.tenant.eq_ignore_ascii_case(&claims.tid) {
            return Err(refused(
                "That account belongs to another tenant than the setting entra.tenant names.",
            ));
        }
        if claims.exp.saturating_add(CLOCK_SKEW) < now {
            return Err(refused("The id_token has expired; is the clock of this machine right?"));
        }
        if let Some(nonce) = nonce
            && !claims.nonce.is_some_and(|given| nonce.equals(&given))
        {
            return Err(refused("The id_token answers another sign-in (its nonce differs)."));
        }
        Ok(Identity {
            person: Person { object_id: claims.oid, tenant_id: claims.tid },
            username: claims.preferred_username,
        })
    }

    fn claims(&self) -> Option<Claims> {
        let payload = self.0.split('.').nth(1)?;
        let json = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
        serde_json::from_slice(&json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const CLIENT: &str = "11111111-2222-3333-4444-555555555555";
    const TENANT: &str = "aaaaaaaa-2222-3333-4444-555555555555";
    const NOW: i64 = 1_800_000_000;

    fn settings(tenant: &str) -> Settings {
        toml::from_str(&format!("client_id = \"{CLIENT}\"\ntenant = \"{tenant}\"")).unwrap()
    }

    fn id_token(change: impl FnOnce(&mut serde_json::Value)) -> IdToken {
        let mut claims = json!({
            "aud": CLIENT, "iss": format!("https://login.microsoftonline.com/{TENANT}/v2.0"),
            "tid": TENANT, "oid": "o", "exp": NOW + 3600, "nonce": "n",
            "preferred_username": "adele.vance@contoso.example",
        });
        change(&mut claims);
        IdToken(format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims.to_string())))
    }

    fn verify(token: &IdToken, tenant: &str) -> Result<Identity, Failure> {
        token.verify(&settings(tenant), Some(&Secret::new("n".into())), NOW)
    }

    #[test]
    fn an_id_token_that_answers_us_says_who_signed_in() {
        let identity = verify(&id_token(|_| ()), "organizations").unwrap();
        assert_eq!(identity.person.object_id, "o");
        assert_eq!(identity.person.tenant_id, TENANT);
        assert!(verify(&id_token(|_| ()), TENANT).is_ok());
    }

    #[test]
    fn an_id_token_for_somebody_else_is_refused() {
        let check = |part: &str, change: fn(&mut serde_json::Value)| {
            let error = verify(&id_token(change), "organizations").unwrap_err().to_string();
            assert!(error.contains(part), "{part}: {error}");
        };
        check("another app", |c| c["aud"] = "other".into());
        check("issuer", |c| c["iss"] = "https://evil.example/v2.0".into());
        check("who signed in", |c| c["tid"] = "../x".into());
        check("expired", |c| c["exp"] = (NOW - 301).into());
        check("nonce", |c| c["nonce"] = "other".into());
        check("nonce", |c| c["nonce"] = serde_json::Value::Null);
        check("cannot be read", |c| *c = json!({}));
        let other = "bbbbbbbb-2222-3333-4444-555555555555";
        assert!(verify(&id_token(|_| ()), other).unwrap_err().to_string().contains("tenant"));
        assert!(IdToken("a.%%%".into()).verify(&settings("common"), None, NOW).is_err());
    }

    #[test]
    fn a_token_answer_is_read_with_its_known_variations() {
        let read = |v: serde_json::Value| serde_json::from_value::<TokenAnswer>(v).unwrap();
        let base = json!({"token_type": "Bearer", "access_token": "canary"});
        let (grant, _) = read(base.clone()).into_parts();
        assert_eq!(grant.lifetime, LIFETIME_IF_UNSAID);
        for expires in [json!(3599), json!("3599")] {
            let mut v = base.clone();
            v["expires_in"] = expires;
            v["scope"] = "openid https://graph.microsoft.com/Mail.Send".into();
            v["ext_expires_in"] = 1.into();
            let answer = read(v);
            assert!(!format!("{answer:?}").contains("canary"));
            let (grant, _) = answer.into_parts();
            assert_eq!(grant.lifetime, Duration::from_secs(3599));
            assert_eq!(grant.scopes, ["openid", "Mail.Send"]);
        }
    }

    fn failure(value: serde_json::Value) -> Failure {
        let error: EntraError = serde_json::from_value(value).unwrap();
        error.into_failure(&settings("organizations"), &["Mail.Send"])
    }

    #[test]
    fn an_error_is_judged_by_its_name_and_softened_by_its_number() {
        let dead = failure(json!({"error": "invalid_grant", "error_codes": [50173],
            "error_description": "AADSTS50173: revoked.\r\nTrace ID: 1\u{1b}[2J"}));
        let Failure::NeedsSignIn { token_is_dead: true, why } = dead else { panic!("{dead:?}") };
        assert!(why.contains("revoked") && !why.contains("Trace"), "{why}");
        let loop_ = failure(json!({"error": "invalid_grant", "error_codes": ["50196"]}));
        assert!(matches!(loop_, Failure::Later { .. }));
        let client = failure(json!({"error": "invalid_client",
            "error_description": "AADSTS7000218: The request body must contain"}));
        assert!(client.to_string().contains("public client"), "{client}");
        assert!(matches!(client, Failure::NeedsSignIn { token_is_dead: false, .. }));
        assert!(matches!(
            failure(json!({"error": "temporarily_unavailable"})),
            Failure::Later { .. }
        ));
        assert!(matches!(failure(json!({"error": "brand_new"})), Failure::Later { .. }));
    }
}
