//! Answers in the shapes of Microsoft Graph: error bodies, and the headers of every answer.
//!
//! Shape: `{"error":{"code","message","innerError":{"date","request-id","client-request-id"}}}`
//! (Graph: errors, json-batching); headers by best-practices-concept.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::aadsts::{Ids, Refusal};
use super::request::client_request_id;
use super::upload_routes;
use super::world::World;

/// What one request is called in headers, error bodies and the journal (a request extension).
#[derive(Debug, Clone)]
pub struct RequestIds {
    pub request_id: Uuid,
    /// The client's own, or ours again.
    pub client_request_id: String,
    /// By the sandbox's clock.
    pub at: Timestamp,
}

impl RequestIds {
    pub fn new(headers: &HeaderMap, at: Timestamp) -> RequestIds {
        let request_id = Uuid::new_v4();
        let own = client_request_id(headers).map(str::to_owned);
        let client_request_id = own.unwrap_or_else(|| request_id.to_string());
        RequestIds { request_id, client_request_id, at }
    }

    /// Headers of every answer of Graph.
    pub fn write_graph_headers(&self, headers: &mut HeaderMap) {
        const DIAGNOSTIC: &str = r#"{"ServerInfo":{"DataCenter":"Sandbox","Slice":"E","Ring":"1","ScaleUnit":"001","RoleInstance":"LOOPBACK"}}"#;
        self.write_ids(headers, "request-id");
        let fixed = [
            ("x-ms-ags-diagnostic", DIAGNOSTIC),
            ("cache-control", "private"),
            ("strict-transport-security", "max-age=31536000"),
        ];
        for (name, value) in fixed {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        }
    }

    /// Headers of every answer of Entra.
    pub fn write_entra_headers(&self, headers: &mut HeaderMap) {
        self.write_ids(headers, "x-ms-request-id");
    }

    fn write_ids(&self, headers: &mut HeaderMap, name: &'static str) {
        let ids = [
            (name, self.request_id.to_string()),
            ("client-request-id", self.client_request_id.clone()),
        ];
        for (name, value) in ids {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }
}

impl<S: Sync> FromRequestParts<S> for RequestIds {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<RequestIds, Infallible> {
        let known = parts.extensions.get::<RequestIds>().cloned();
        Ok(known.unwrap_or_else(|| RequestIds::new(&parts.headers, Timestamp::now())))
    }
}

/// An error of Microsoft Graph.
pub fn graph_error(ids: &RequestIds, status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(graph_error_body(ids, code, message))).into_response()
}

pub fn graph_error_body(ids: &RequestIds, code: &str, message: &str) -> Value {
    json!({"error": {
        "code": code,
        "message": message,
        "innerError": {
            "date": ids.at.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
            "request-id": ids.request_id,
            "client-request-id": ids.client_request_id,
        },
    }})
}

/// Whether a path belongs to Graph, uploads included, rather than to Entra.
pub fn is_graph(path: &str) -> bool {
    ["/v1.0/", "/beta/", upload_routes::PREFIX].iter().any(|version| path.starts_with(version))
}

/// What neither Graph nor Entra knows.
pub async fn unknown_route(
    State(world): State<Arc<World>>,
    ids: RequestIds,
    entra_ids: Ids,
    request: Request,
) -> Response {
    if !is_graph(request.uri().path()) {
        return (StatusCode::NOT_FOUND, Json(Refusal::new(90023).json(&entra_ids))).into_response();
    }
    let authorization = request.headers().get("authorization").and_then(|v| v.to_str().ok());
    if let Err(problem) = world.identity.caller(authorization) {
        return bearer_error(&ids, problem);
    }
    let message = "Resource not found for the segment.";
    graph_error(&ids, StatusCode::BAD_REQUEST, "RequestBroker--ParseUri", message)
}

/// RFC 6750 §3, as Graph words it; goes with every 401.
pub const CHALLENGE: &str = r#"Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize""#;

/// 401 for a bearer that is nobody's.
pub fn bearer_error(ids: &RequestIds, problem: super::identity::BearerProblem) -> Response {
    let code = super::identity::BearerProblem::CODE;
    let mut answer = graph_error(ids, StatusCode::UNAUTHORIZED, code, &problem.to_string());
    answer.headers_mut().insert("www-authenticate", HeaderValue::from_static(CHALLENGE));
    answer
}
