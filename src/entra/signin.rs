//! Signing in: authorization code with PKCE, and device code.
//!
//! RFC 8252 (native apps: system browser, loopback redirect), RFC 7636 (PKCE), RFC 8628 (device
//! code), OpenID Connect Core §3.1 (nonce). A public client: there is no secret to keep. A sign-in
//! that was begun is data ([`Pending`], [`DeviceCode`]); whoever holds it gives it one answer.

use std::borrow::Cow;
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oauth2::{
    AuthUrl, AuthorizationCode, ClientId, CsrfToken, DeviceAuthorizationUrl, EndpointNotSet,
    EndpointSet, HttpRequest, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken,
    RequestTokenError, Scope, StandardDeviceAuthorizationResponse, StandardRevocableToken,
    TokenUrl,
};
use reqwest::Url;

use super::cloud::{BadSetting, Settings, is_loopback};
use super::http::{Http, Unanswered};
use super::token::{EntraError, Grant, IdToken, Identity, TokenAnswer};
use super::{Failure, refused};
use crate::secret::Secret;

/// The longest redirect that is looked at, in octets.
const REDIRECT_OCTETS_MAX: usize = 32 * 1024;
/// RFC 8628 §3.5: how much longer to wait after `slow_down`.
const SLOW_DOWN: Duration = Duration::from_secs(5);

type Oauth = oauth2::Client<
    EntraError,
    TokenAnswer,
    oauth2::basic::BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    oauth2::basic::BasicRevocationErrorResponse,
    EndpointSet,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// Microsoft Entra, for one app registration.
#[derive(Debug)]
pub struct Entra {
    settings: Settings,
    oauth: Oauth,
    http: Http,
}

/// What was sent to the browser, to be compared with what comes back. One use: it is consumed.
#[derive(Debug)]
pub struct Pending {
    /// Spelt without a path, which [`Url`] would add: both requests must spell it the same.
    redirect: RedirectUrl,
    state: Secret,
    nonce: Secret,
    verifier: PkceCodeVerifier,
    scopes: Vec<&'static str>,
}

/// A device-code sign-in that waits for the user.
#[derive(Debug)]
#[cfg_attr(test, derive(Default))]
pub struct DeviceCode {
    device_code: Secret,
    /// What the user types in.
    pub user_code: String,
    /// Where.
    pub verification_url: String,
    /// How long both are good for.
    pub lifetime: Duration,
    /// The least time between two polls; it can grow.
    pub interval: Duration,
    scopes: Vec<&'static str>,
}

/// How a poll of a device code ended, when it did not fail.
#[derive(Debug)]
pub enum Polled {
    /// The user is not done yet: poll again after the interval, which is given anew.
    Waiting {
        interval: Duration,
    },
    Done(Box<SignedIn>),
}

/// A sign-in that has succeeded: who, and the tokens. The refresh token is there.
#[derive(Debug)]
pub struct SignedIn {
    pub identity: Identity,
    pub grant: Grant,
    pub refresh: Secret,
}

/// Why there is no [`Entra`].
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(transparent)]
    Setting(#[from] BadSetting),
    #[error("the HTTP client cannot be set up: {0}")]
    Http(#[from] reqwest::Error),
    #[error("the sign-in address cannot be built: {0}")]
    Url(#[from] oauth2::url::ParseError),
}

impl Entra {
    pub fn new(settings: Settings) -> Result<Entra, SetupError> {
        settings.check()?;
        let endpoint =
            |name: &str| format!("{}/{}/oauth2/v2.0/{name}", settings.login(), settings.tenant);
        let oauth = oauth2::Client::new(ClientId::new(settings.client_id.clone()))
            .set_auth_uri(AuthUrl::new(endpoint("authorize"))?)
            .set_token_uri(TokenUrl::new(endpoint("token"))?)
            .set_device_authorization_url(DeviceAuthorizationUrl::new(endpoint("devicecode"))?);
        let http = Http::new(oauth.token_uri().url())?;
        Ok(Entra { settings, oauth, http })
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The address to open in the browser, and what to keep for the answer.
    ///
    /// The redirect is `http://localhost:{port}`: Entra ignores the port of that one and not its
    /// path, so it stays bare (Entra: "Redirect URI restrictions"). `login_hint` is an address.
    pub fn authorize(
        &self,
        scopes: &'static [&'static str],
        port: u16,
        login_hint: &str,
    ) -> Result<(Url, Pending), Failure> {
        let redirect = format!("http://localhost:{port}");
        let redirect = RedirectUrl::new(redirect)
            .map_err(|_| refused("The redirect address cannot be built."))?;
        let (state, nonce) = (random()?, random()?);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let (url, _) = self
            .oauth
            .authorize_url(|| CsrfToken::new(state.expose().to_owned()))
            .add_scopes(self.scopes(scopes))
            .set_pkce_challenge(challenge)
            .set_redirect_uri(Cow::Borrowed(&redirect))
            .add_extra_param("response_mode", "query")
            .add_extra_param("nonce", nonce.expose())
            .add_extra_param("login_hint", login_hint)
            // Otherwise a browser that is signed in as somebody else answers at once.
            .add_extra_param("prompt", "select_account")
            .url();
        Ok((url, Pending { redirect, state, nonce, verifier, scopes: scopes.to_vec() }))
    }

    /// Takes what the browser was redirected to (`http://localhost:…/?code=…`, or from the path on)
    /// and redeems the code. `now` in seconds since 1970.
    pub async fn redeem(
        &self,
        pending: Pending,
        redirected: &str,
        now: i64,
    ) -> Result<SignedIn, Failure> {
        let code = self.code(&pending, redirected)?;
        let answer = self
            .oauth
            .exchange_code(AuthorizationCode::new(code.expose().to_owned()))
            .set_pkce_verifier(pending.verifier)
            .set_redirect_uri(Cow::Borrowed(&pending.redirect))
            .request_async(&self.http)
            .await
            .map_err(|e| self.failure(e, &pending.scopes))?;
        self.signed_in(answer, Some(&pending.nonce), now)
    }

    /// RFC 6749 §4.1.2: the code, if this is the answer to what was asked.
    fn code(&self, pending: &Pending, redirected: &str) -> Result<Secret, Failure> {
        let redirected = redirected.trim();
        if redirected.len() > REDIRECT_OCTETS_MAX {
            return Err(refused("The pasted address is too long."));
        }
        let expected = pending.redirect.url();
        let url = expected.join(redirected).map_err(|_| {
            refused("That is not an address: paste the browser's whole address line.")
        })?;
        let ours = url.scheme() == "http"
            && is_loopback(&url)
            && url.port_or_known_default() == expected.port_or_known_default()
            && url.path() == expected.path();
        if !ours {
            return Err(refused(
                "That address is not the one the sign-in leads to (http://localhost…).",
            ));
        }
        let only = |name: &str| {
            let mut values = url.query_pairs().filter(|(k, _)| k == name).map(|(_, v)| v);
            match (values.next(), values.next()) {
                (Some(value), None) => Some(value.into_owned()),
                _ => None,
            }
        };
        // RFC 6749 §10.12: whoever does not know our state did not get it from us. Before all else,
        // errors included.
        if !only("state").is_some_and(|given| pending.state.equals(&given)) {
            return Err(refused(
                "The answer belongs to another sign-in (its state differs). Start again.",
            ));
        }
        if let Some(error) = only("error") {
            let error = EntraError::from_redirect(error, only("error_description"));
            return Err(refused(&error.why(&self.settings, &pending.scopes)));
        }
        only("code").map(Secret::new).ok_or_else(|| refused("The answer holds no code."))
    }

    /// Begins a device-code sign-in.
    pub async fn device_code(
        &self,
        scopes: &'static [&'static str],
    ) -> Result<DeviceCode, Failure> {
        let answer: StandardDeviceAuthorizationResponse = self
            .oauth
            .exchange_device_code()
            .add_scopes(self.scopes(scopes))
            .request_async(&self.http)
            .await
            .map_err(|e| self.failure(e, scopes))?;
        Ok(DeviceCode {
            device_code: Secret::new(answer.device_code().secret().clone()),
            user_code: answer.user_code().secret().clone(),
            verification_url: answer.verification_uri().to_string(),
            lifetime: answer.expires_in().min(Duration::from_secs(3600)),
            interval: answer.interval().clamp(Duration::from_secs(1), Duration::from_secs(60)),
            scopes: scopes.to_vec(),
        })
    }

    /// One poll. The `oauth2` crate has only a loop that runs to the end; one request at a time
    /// lets the program that shows the code stop the sign-in by going away.
    pub async fn poll(&self, device: &DeviceCode, now: i64) -> Result<Polled, Failure> {
        let form = oauth2::url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:device_code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("device_code", device.device_code.expose())
            .finish();
        let mut request = HttpRequest::new(form.into_bytes());
        *request.method_mut() = oauth2::http::Method::POST;
        *request.uri_mut() = self
            .oauth
            .token_uri()
            .as_str()
            .parse()
            .map_err(|_| refused("The sign-in address cannot be built."))?;
        let form_type = oauth2::http::HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(oauth2::http::header::CONTENT_TYPE, form_type);
        let waiting = |interval| Ok(Polled::Waiting { interval });
        let answer = match self.http.send(request).await {
            Ok(answer) => answer,
            // The user is still typing: a passing fault costs one poll, not the sign-in.
            Err(Unanswered::Busy { after, .. }) => {
                return waiting(after.unwrap_or(device.interval).max(device.interval));
            }
            Err(_) => return waiting(device.interval),
        };
        if answer.status().is_success() {
            let answer = serde_json::from_slice(answer.body())
                .map_err(|_| refused("Microsoft's answer cannot be read."))?;
            return Ok(Polled::Done(Box::new(self.signed_in(answer, None, now)?)));
        }
        let error: EntraError = serde_json::from_slice(answer.body())
            .map_err(|_| refused("Microsoft's answer cannot be read."))?;
        match error.error.as_str() {
            // RFC 8628 §3.5
            "authorization_pending" => waiting(device.interval),
            "slow_down" => waiting(device.interval + SLOW_DOWN),
            _ => Err(refused(&error.why(&self.settings, &device.scopes))),
        }
    }

    /// Trades a refresh token for new tokens. No scope is named: what was consented to is meant.
    ///
    /// The answer's refresh token must be stored before its access token is used.
    pub async fn refresh(&self, token: &Secret, scopes: &[&str]) -> Result<Grant, Failure> {
        let token = RefreshToken::new(token.expose().to_owned());
        let answer = self.oauth.exchange_refresh_token(&token).request_async(&self.http).await;
        drop(Secret::new(token.into_secret()));
        let answer: TokenAnswer = answer.map_err(|e| self.failure(e, scopes))?;
        Ok(answer.into_parts().0)
    }

    fn scopes(&self, bare: &[&str]) -> Vec<Scope> {
        bare.iter().map(|scope| Scope::new(self.settings.cloud.scope(scope))).collect()
    }

    fn signed_in(
        &self,
        answer: TokenAnswer,
        nonce: Option<&Secret>,
        now: i64,
    ) -> Result<SignedIn, Failure> {
        let (mut grant, id_token): (Grant, Option<IdToken>) = answer.into_parts();
        let id_token = id_token
            .ok_or_else(|| refused("Microsoft did not say who signed in (no id_token)."))?;
        let identity = id_token.verify(&self.settings, nonce, now)?;
        let refresh = grant.refresh.take().ok_or_else(|| {
            refused(
                "Microsoft gave no refresh token, so the sign-in would end within the hour: the \
                 permission offline_access was not granted.",
            )
        })?;
        Ok(SignedIn { identity, grant, refresh })
    }

    fn failure(
        &self,
        error: RequestTokenError<Unanswered, EntraError>,
        scopes: &[&str],
    ) -> Failure {
        match error {
            RequestTokenError::ServerResponse(error) => error.into_failure(&self.settings, scopes),
            RequestTokenError::Request(unanswered) => {
                let after = match &unanswered {
                    Unanswered::Busy { after, .. } => *after,
                    _ => None,
                };
                Failure::Later { after, why: unanswered.to_string() }
            }
            // The raw answer is part of this error and may hold a token: it goes no further.
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => Failure::Later {
                after: None,
                why: "the sign-in server's answer cannot be read".to_owned(),
            },
        }
    }
}

/// 256 random bits, as text.
fn random() -> Result<Secret, Failure> {
    let mut octets = zeroize::Zeroizing::new([0_u8; 32]);
    rand::fill(octets.as_mut())
        .map_err(|_| refused("The system gives no random numbers; nothing can be kept secret."))?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(octets.as_ref())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Profile;

    fn entra() -> Entra {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let toml = "client_id = \"11111111-2222-3333-4444-555555555555\"\ncloud = \"us-gov\"";
        Entra::new(toml::from_str(toml).unwrap()).unwrap()
    }

    fn begin() -> (Entra, Url, Pending) {
        let entra = entra();
        let (url, pending) = entra
            .authorize(Profile::SendOnly.scopes(), 4711, "adele.vance@contoso.example")
            .unwrap();
        (entra, url, pending)
    }

    #[test]
    fn the_sign_in_address_holds_what_entra_wants_and_no_secret_of_ours() {
        let (_, url, pending) = begin();
        let get = |name: &str| {
            url.query_pairs().find(|(k, _)| k == name).map(|(_, v)| v.into_owned()).unwrap()
        };
        assert_eq!(url.host_str(), Some("login.microsoftonline.us"));
        assert_eq!(url.path(), "/organizations/oauth2/v2.0/authorize");
        assert_eq!(get("response_type"), "code");
        assert_eq!(get("redirect_uri"), "http://localhost:4711");
        assert_eq!(get("code_challenge_method"), "S256");
        assert_eq!(
            get("scope"),
            "openid profile email offline_access https://graph.microsoft.us/User.Read \
             https://graph.microsoft.us/Mail.Send"
        );
        assert!(pending.state.equals(&get("state")) && pending.nonce.equals(&get("nonce")));
        assert!(!url.as_str().contains(pending.verifier.secret().as_str()));
        assert!(!format!("{pending:?}").contains(pending.state.expose()));
    }

    #[test]
    fn only_the_answer_to_this_sign_in_gives_a_code() {
        let (entra, _, pending) = begin();
        let state = pending.state.expose();
        let check = |redirected: String, expected: Result<&str, &str>| match (
            entra.code(&pending, &redirected),
            expected,
        ) {
            (Ok(code), Ok(expected)) => assert_eq!(code.expose(), expected),
            (Err(error), Err(part)) => {
                assert!(error.to_string().contains(part), "{redirected}: {error}");
            }
            (got, expected) => panic!("{redirected}: {got:?}, not {expected:?}"),
        };
        check(format!("http://localhost:4711/?code=c&state={state}&session_state=s"), Ok("c"));
        check(format!(" http://127.0.0.1:4711/?code=c&state={state}\n"), Ok("c"));
        check(format!("/?state={state}&code=c"), Ok("c"));
        check(format!("http://localhost:4712/?code=c&state={state}"), Err("not the one"));
        check(format!("http://localhost:4711/x?code=c&state={state}"), Err("not the one"));
        check(format!("https://evil.example/?code=c&state={state}"), Err("not the one"));
        check("http://localhost:4711/?code=c&state=other".into(), Err("state"));
        check("http://localhost:4711/?code=c".into(), Err("state"));
        check(format!("/?code=c&state={state}&state={state}"), Err("state"));
        check("/?error=access_denied&state=other".into(), Err("state"));
        check(format!("/?error=access_denied&state={state}"), Err("declined"));
        check(
            format!("/?error=access_denied&error_description=AADSTS65004%3A+no&state={state}"),
            Err("send-only"),
        );
        check(format!("/?state={state}"), Err("no code"));
        check(format!("/?code=a&code=b&state={state}"), Err("no code"));
        check("x".repeat(40_000), Err("too long"));
    }
}
