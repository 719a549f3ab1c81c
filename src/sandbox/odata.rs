//! How a Graph route says no.
//!
//! Source: Microsoft Graph "error responses and resource types". A route returns an [`ODataError`];
//! its body repeats the ids of the request, which routes do not see, so [`finish`] writes it. It must
//! never hold a token or the content of a mail.

use std::borrow::Cow;

use axum::Json;
use axum::extract::Request;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::answer::{CHALLENGE, RequestIds, graph_error_body};

/// A refusal: HTTP status, Graph's error code, a message for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status} {code}: {message}")]
pub struct ODataError {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: Cow<'static, str>,
    /// The value of `Retry-After`, as it shall stand there.
    pub retry_after: Option<String>,
    /// A further member of the error object.
    pub annotation: Option<(&'static str, String)>,
}

impl ODataError {
    pub fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> ODataError {
        ODataError { status, code, message: message.into(), retry_after: None, annotation: None }
    }

    pub fn bad_request(code: &'static str, message: impl Into<Cow<'static, str>>) -> ODataError {
        ODataError::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub fn forbidden(code: &'static str, message: impl Into<Cow<'static, str>>) -> ODataError {
        ODataError::new(StatusCode::FORBIDDEN, code, message)
    }

    /// The scope is missing, or the mailbox is not the caller's.
    pub fn access_denied() -> ODataError {
        ODataError::forbidden(
            "ErrorAccessDenied",
            "Access is denied. Check credentials and try again.",
        )
    }

    /// The answer to the request of these ids.
    pub fn answer(self, ids: &RequestIds) -> Response {
        let mut body = graph_error_body(ids, self.code, &self.message);
        if let (Some((name, value)), Some(error)) = (self.annotation, body["error"].as_object_mut())
        {
            error.insert(name.to_owned(), value.into());
        }
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
        }
        let retry_after = self.retry_after.and_then(|value| HeaderValue::from_str(&value).ok());
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, value);
        }
        response
    }
}

impl IntoResponse for ODataError {
    /// Status and error without the body, which [`finish`] writes.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// RFC 9110 §13.1.1, with Exchange's code: whether `If-Match`, if it is there, names this etag.
pub fn check_match(if_match: Option<&str>, etag: &str) -> Result<(), ODataError> {
    let Some(wanted) = if_match else { return Ok(()) };
    if wanted.trim() == "*" || wanted.split(',').any(|wanted| wanted.trim() == etag) {
        return Ok(());
    }
    let status = StatusCode::PRECONDITION_FAILED;
    let text = "The send or update operation could not be performed because the change key \
                passed in the request does not match the current change key for the item.";
    Err(ODataError::new(status, "ErrorIrresolvableConflict", text))
}

/// `@odata.nextLink`: the URL of this page with another `$skip`.
pub fn next_link(url: &str, skip: usize) -> Option<String> {
    let mut url = reqwest::Url::parse(url).ok()?;
    let pairs: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(name, _)| !name.eq_ignore_ascii_case("$skip"))
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    url.query_pairs_mut().clear().extend_pairs(pairs).append_pair("$skip", &skip.to_string());
    Some(url.into())
}

/// The layer of every Graph route: writes out the [`ODataError`] that a route returned.
pub async fn finish(ids: RequestIds, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    match response.extensions_mut().remove::<ODataError>() {
        Some(error) => error.answer(&ids),
        None => response,
    }
}
