//! How Graph says no: the OData error object, and the headers every Graph answer carries.
//!
//! Source: Microsoft Graph "error responses and resource types" and "best practices"
//! (`client-request-id`, `request-id`). An error is decided where it arises and written in one place,
//! [`finish`], because its body repeats ids that only the outermost layer knows. It must never hold
//! a token or the content of a mail.

use std::borrow::Cow;

use axum::Json;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("client-request-id");

/// A refusal: HTTP status, Graph's error code, a message for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status} {code}: {message}")]
pub struct ODataError {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: Cow<'static, str>,
    /// The value of `Retry-After`, as it shall stand there.
    pub retry_after: Option<String>,
}

impl ODataError {
    pub fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> ODataError {
        ODataError { status, code, message: message.into(), retry_after: None }
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

    /// A path that Graph's own front cannot make sense of.
    pub fn unknown_segment(segment: &str) -> ODataError {
        ODataError::bad_request(
            "RequestBroker--ParseUri",
            format!("Resource not found for the segment '{segment}'."),
        )
    }

    fn body(&self, request_id: &HeaderValue, client_request_id: &HeaderValue) -> serde_json::Value {
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S").to_string();
        serde_json::json!({"error": {
            "code": self.code,
            "message": self.message,
            "innerError": {
                "date": now,
                "request-id": text(request_id),
                "client-request-id": text(client_request_id),
            },
        }})
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

/// The outermost layer of every Graph route: ids, headers, and the body of an [`ODataError`].
pub async fn finish(request: Request, next: Next) -> Response {
    let fresh = || HeaderValue::from_str(&Uuid::new_v4().to_string()).ok();
    // Graph echoes the client's id, and makes one up where there is none.
    let client_request_id = request.headers().get(CLIENT_REQUEST_ID).cloned();
    let mut response = next.run(request).await;
    let request_id = response.headers().get(REQUEST_ID).cloned().or_else(fresh);
    let Some(request_id) = request_id else { return response };
    let client_request_id = client_request_id.unwrap_or_else(|| request_id.clone());

    if let Some(error) = response.extensions_mut().remove::<ODataError>() {
        let body = error.body(&request_id, &client_request_id);
        response = (error.status, Json(body)).into_response();
        let retry_after = error.retry_after.and_then(|value| HeaderValue::from_str(&value).ok());
        if let Some(value) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, value);
        }
    }
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, request_id);
    headers.insert(CLIENT_REQUEST_ID, client_request_id);
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    response
}
