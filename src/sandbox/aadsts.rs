//! Entra's refusals: AADSTS codes, the OAuth errors they come with, and their exact JSON.
//!
//! Source: Microsoft identity platform, "authentication and authorization error codes" and
//! "OAuth 2.0 device authorization grant"; suberrors as MSAL lists them. Texts follow Microsoft's
//! wording. No token, code or password may be quoted in one.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

/// One refusal of the identity side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The number after AADSTS.
    pub code: u32,
    /// The OAuth `error`, which clients decide on.
    pub error: String,
    pub suberror: Option<String>,
    /// The text after `AADSTS<code>: `.
    pub text: String,
    /// Conditional Access asks for a sign-in that satisfies these claims (JSON, as text).
    pub claims: Option<String>,
}

impl Refusal {
    /// A refusal with the code's own OAuth error and wording.
    pub fn new(code: u32) -> Refusal {
        let (error, suberror, text) = entry(code);
        Refusal {
            code,
            error: error.to_owned(),
            suberror: suberror.map(str::to_owned),
            text: text.to_owned(),
            claims: claims(code),
        }
    }

    /// The same with a wording that names what was wrong.
    pub fn with(code: u32, text: impl Into<String>) -> Refusal {
        Refusal { text: text.into(), ..Refusal::new(code) }
    }

    pub fn missing(parameter: &str) -> Refusal {
        let text = format!("The request body must contain the following parameter: '{parameter}'.");
        Refusal::with(900144, text)
    }

    pub fn error(mut self, error: &str) -> Refusal {
        self.error = error.to_owned();
        self
    }

    /// `error_description` as it stands in redirects and answers.
    pub fn description(&self, ids: &Ids) -> String {
        format!(
            "AADSTS{}: {}\r\nTrace ID: {}\r\nCorrelation ID: {}\r\nTimestamp: {}",
            self.code, self.text, ids.trace, ids.correlation, ids.timestamp
        )
    }

    pub fn json(&self, ids: &Ids) -> Value {
        let mut body = json!({
            "error": self.error,
            "error_description": self.description(ids),
            "error_codes": [self.code],
            "timestamp": ids.timestamp,
            "trace_id": ids.trace,
            "correlation_id": ids.correlation,
            "error_uri": format!("https://login.microsoftonline.com/error?code={}", self.code),
        });
        if let Some(fields) = body.as_object_mut() {
            if let Some(suberror) = &self.suberror {
                fields.insert("suberror".into(), json!(suberror));
            }
            if let Some(claims) = &self.claims {
                fields.insert("claims".into(), json!(claims));
            }
        }
        body
    }

    pub fn status(&self) -> StatusCode {
        // RFC 6749 §5.2: 401 is for a client that failed to authenticate, 400 for the rest.
        match self.error.as_str() {
            "invalid_client" => StatusCode::UNAUTHORIZED,
            "temporarily_unavailable" => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    pub fn answer(&self, ids: &Ids) -> Response {
        (self.status(), Json(self.json(ids))).into_response()
    }
}

/// What an error answer is traced by.
#[derive(Debug, Clone)]
pub struct Ids {
    pub trace: Uuid,
    pub correlation: Uuid,
    /// `2016-01-09 02:02:12Z`
    pub timestamp: String,
}

impl Ids {
    /// The correlation id is the client's own where it sent one.
    pub fn new(now: Timestamp, client_request_id: Option<&str>) -> Ids {
        let correlation = client_request_id.and_then(|id| Uuid::parse_str(id).ok());
        Ids {
            trace: Uuid::new_v4(),
            correlation: correlation.unwrap_or_else(Uuid::new_v4),
            timestamp: now.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        }
    }
}

/// Codes whose answer asks for a sign-in with claims.
fn claims(code: u32) -> Option<String> {
    matches!(code, 50076 | 50079 | 50158).then(|| {
        r#"{"access_token":{"capolids":{"essential":true,"values":["5a8ad19f-0c9a-4a4a-9a77-1f5a64a4a0c5"]}}}"#
            .to_owned()
    })
}

/// (`error`, `suberror`, text) of a code. A code that is not listed is an `invalid_grant`.
#[rustfmt::skip]
fn entry(code: u32) -> (&'static str, Option<&'static str>, &'static str) {
    const BASIC: Option<&str> = Some("basic_action");
    const ADDITIONAL: Option<&str> = Some("additional_action");
    const MESSAGE: Option<&str> = Some("message_only");
    const CONSENT: Option<&str> = Some("consent_required");
    match code {
        50011 => ("invalid_request", None, "The redirect URI specified in the request does not match the redirect URIs configured for the application. Make sure the redirect URI sent in the request matches one added to your application in the Azure portal."),
        50020 => ("invalid_grant", None, "User account from identity provider 'live.com' does not exist in this tenant and cannot access the application in that tenant. The account needs to be added as an external user in the tenant first."),
        50033 => ("temporarily_unavailable", None, "A transient error has occurred. Please try again."),
        50034 => ("invalid_grant", None, "The user account does not exist in the directory. To sign into this application, the account must be added to the directory."),
        50053 => ("invalid_grant", None, "The account is locked, you've tried to sign in too many times with an incorrect user ID or password."),
        50055 => ("invalid_grant", Some("user_password_expired"), "The password is expired."),
        50057 => ("invalid_grant", None, "The user account is disabled."),
        50058 => ("login_required", None, "A silent sign-in request was sent but no user is signed in."),
        50072 | 50079 => ("invalid_grant", BASIC, "Due to a configuration change made by your administrator, or because you moved to a new location, you must enroll in multi-factor authentication to access the resource."),
        50076 => ("invalid_grant", BASIC, "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access the resource."),
        50078 => ("invalid_grant", BASIC, "Presented multi-factor authentication has expired due to policies configured by your administrator, you must refresh your multi-factor authentication to access the resource."),
        50105 => ("invalid_grant", MESSAGE, "Your administrator has configured the application to block users unless they are specifically granted ('assigned') access to the application."),
        50132 | 50133 => ("invalid_grant", BASIC, "The session is not valid due to password expiration or recent password change."),
        50147 => ("invalid_request", None, "The size of the code_challenge parameter must be between 43 and 128 characters."),
        50158 => ("invalid_grant", BASIC, "External security challenge not satisfied. User will be redirected to another page or authentication provider to satisfy additional authentication challenges."),
        50173 => ("invalid_grant", None, "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password."),
        50194 => ("invalid_request", None, "The application is not configured as a multi-tenant application. Usage of the /common endpoint is not supported for such apps created after '10/15/2018'."),
        50196 => ("invalid_grant", None, "The server terminated an operation because it encountered a client request loop. Please contact your app vendor."),
        53000 => ("invalid_grant", ADDITIONAL, "Device is not in required device state: compliant. Conditional Access policy requires a compliant device, and the device is not compliant."),
        53001 => ("invalid_grant", ADDITIONAL, "Device is not in required device state: domain_joined. Conditional Access policy requires a domain joined device, and the device is not domain joined."),
        53003 => ("invalid_grant", MESSAGE, "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance."),
        530003 => ("invalid_grant", ADDITIONAL, "Your device is required to be managed to access this resource."),
        530035 => ("invalid_grant", MESSAGE, "Access has been blocked by security defaults. The access policy does not allow token issuance."),
        54005 => ("invalid_grant", None, "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token."),
        65001 => ("invalid_grant", CONSENT, "The user or administrator has not consented to use the application. Send an interactive authorization request for this user and resource."),
        65004 => ("access_denied", None, "User declined to consent to access the app."),
        70000 => ("invalid_grant", None, "Provided grant is invalid or malformed."),
        70003 => ("unsupported_grant_type", None, "The app requested an unsupported grant type."),
        70005 => ("unsupported_response_type", None, "The app returned an unsupported response type; this endpoint issues 'code'."),
        70007 => ("invalid_request", None, "The app returned an unsupported value of 'response_mode' when requesting a token."),
        70008 => ("invalid_grant", None, "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive authorization request for this user and resource."),
        70011 => ("invalid_scope", None, "The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid."),
        70016 => ("authorization_pending", None, "OAuth 2.0 device flow error. Authorization is pending. Continue polling."),
        70018 => ("bad_verification_code", None, "Invalid verification code due to User typing in wrong user code for device code flow."),
        70019 => ("expired_token", None, "Verification code expired. Have the user retry the sign-in."),
        70043 => ("invalid_grant", None, "The refresh token has expired or is invalid due to sign-in frequency checks by Conditional Access."),
        500112 => ("invalid_grant", None, "The reply address does not match the reply address provided when requesting Authorization code."),
        501481 => ("invalid_grant", None, "The Code_Verifier does not match the code_challenge supplied in the authorization request."),
        700005 => ("invalid_grant", None, "Provided Authorization Code is intended to use against other tenant, thus rejected."),
        700016 => ("unauthorized_client", None, "Application was not found in the directory. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant."),
        700025 => ("invalid_client", None, "Client is public so neither 'client_assertion' nor 'client_secret' should be presented."),
        700082 => ("invalid_grant", None, "The refresh token has expired due to inactivity. The token was inactive for 90.00:00:00."),
        7000218 => ("invalid_client", None, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."),
        900144 => ("invalid_request", None, "The request body must contain a parameter that is missing."),
        900561 => ("invalid_request", None, "The endpoint only accepts POST requests. Received a GET request."),
        9002313 => ("invalid_request", None, "Invalid request. Request is malformed or invalid."),
        90002 => ("invalid_tenant", None, "Tenant not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."),
        90023 => ("invalid_request", None, "The request is not properly formatted."),
        90094 => ("access_denied", None, "The grant requires administrator permission."),
        90095 => ("access_denied", None, "The grant requires a request to an administrator."),
        _ => ("invalid_grant", None, "The request was refused."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_answer_has_the_fields_that_msal_reads() {
        let ids = Ids::new(Timestamp::UNIX_EPOCH, Some("6a8e33d9-5b1c-4c0a-8f54-4f6f1f0a7d3b"));
        let body = Refusal::new(65001).json(&ids);
        assert_eq!(body["error"], "invalid_grant");
        assert_eq!(body["suberror"], "consent_required");
        assert_eq!(body["error_codes"], json!([65001]));
        assert_eq!(body["timestamp"], "1970-01-01 00:00:00Z");
        assert_eq!(body["correlation_id"], "6a8e33d9-5b1c-4c0a-8f54-4f6f1f0a7d3b");
        assert!(body["error_description"].as_str().unwrap().starts_with("AADSTS65001: "));
    }
}
