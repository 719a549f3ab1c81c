//! The journal of requests: what was asked, by whom, and what came of it.
//!
//! It never holds a secret: no query, no token, of a body no more than the names of its properties;
//! and no more than the last 100,000 requests. Keeping it is also what makes a request ours: its body is read to the end first, and
//! its work goes on in a task of its own when the client hangs up, as it does at Microsoft.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use uuid::Uuid;

use super::answer::{RequestIds, graph_error, is_graph};
use super::upload_routes;
use super::world::World;

/// Entries kept.
const KEPT_MAX: usize = 100_000;
/// No request of Graph is larger; the routes have tighter bounds of their own.
const OCTETS_MAX: usize = 8 * 1024 * 1024;
/// A body that takes longer to arrive is not waited for.
const BODY_TIME: Duration = Duration::from_secs(120);
/// A form of the token endpoint.
const FORM_MAX: usize = 64 * 1024;
/// Names of properties kept of one body, and characters of each: more than any type of Graph's has.
const PROPERTIES_MAX: usize = 100;
const PROPERTY_CHARS_MAX: usize = 100;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// From 1, in order of arrival.
    pub seq: u64,
    /// Milliseconds since 1970, by the sandbox's clock.
    pub at_ms: i64,
    pub method: String,
    /// Without its query.
    pub path: String,
    /// The address that its token, code, refresh token or upload session belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<String>,
    /// `None` while it is being answered, and when no answer left.
    pub status: Option<u16>,
    /// What the fault script did to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<&'static str>,
    pub request_id: Uuid,
    pub client_request_id: String,
    /// Size of the body.
    pub octets: usize,
    /// What a JSON body of Graph's speaks of: the names at its top, sorted; never a value. Only of an
    /// empty list it says so, as `attendees[]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<String>,
}

#[derive(Debug, Default)]
pub struct Journal(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<Entry>,
    count: u64,
}

impl Journal {
    /// The last requests, oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.kept().entries.iter().cloned().collect()
    }

    /// How many requests there were, those of the distant past included.
    pub fn count(&self) -> u64 {
        self.kept().count
    }

    pub fn clear(&self) {
        *self.kept() = Kept::default();
    }

    fn begin(&self, entry: impl FnOnce(u64) -> Entry) -> u64 {
        let mut kept = self.kept();
        kept.count += 1;
        let entry = entry(kept.count);
        if kept.entries.len() >= KEPT_MAX {
            kept.entries.pop_front();
        }
        kept.entries.push_back(entry);
        kept.count
    }

    fn end(&self, seq: u64, request_id: Uuid, status: Option<u16>, fault: Option<&'static str>) {
        let mut kept = self.kept();
        let found = kept.entries.binary_search_by_key(&seq, |entry| entry.seq);
        let entry = found.ok().and_then(|at| kept.entries.get_mut(at));
        // After a reset the number may be another request's.
        if let Some(entry) = entry.filter(|entry| entry.request_id == request_id) {
            entry.status = status;
            entry.fault = fault;
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose request it is, as far as its token tells (a request extension).
#[derive(Debug, Clone)]
pub struct Mailbox(pub String);

/// Set on an answer by the faults: what was done, and whether anything of it leaves.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub name: &'static str,
    pub unanswered: bool,
}

/// Middleware: reads the body, writes the request down, and lets it go on in its own task.
pub async fn keep(State(world): State<Arc<World>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let ids = RequestIds::new(&parts.headers, world.clock.now());
    let (body, unread) = match timeout(BODY_TIME, to_bytes(body, OCTETS_MAX)).await {
        Ok(Ok(body)) => (body, None),
        // Too large, or the client went away in the middle of it; nothing has happened yet.
        Ok(Err(_)) => (Bytes::new(), Some(StatusCode::PAYLOAD_TOO_LARGE)),
        Err(_) => (Bytes::new(), Some(StatusCode::REQUEST_TIMEOUT)),
    };
    let octets = body.len();
    let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let user = match text(AUTHORIZATION) {
        Some(authorization) => world.identity.bearer_of(Some(authorization)),
        None if path.ends_with("/oauth2/v2.0/token") && octets <= FORM_MAX => {
            let is_form = text(CONTENT_TYPE)
                .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
            is_form.then(|| owner_of_form(&world, &body)).flatten()
        }
        None => upload_routes::owner(&path),
    };
    let is_json = text(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json"));
    let properties = if is_json && is_graph(&path) { properties(&body) } else { Vec::new() };
    let mailbox = user.and_then(|user| world.user(&user.to_string())).map(|u| u.address.clone());
    let seq = world.journal.begin(|seq| Entry {
        seq,
        at_ms: ids.at.as_millisecond(),
        method: parts.method.to_string(),
        path: path.chars().take(1000).collect(),
        mailbox: mailbox.clone(),
        status: None,
        fault: None,
        request_id: ids.request_id,
        client_request_id: ids.client_request_id.clone(),
        octets,
        properties,
    });
    if let Some(status) = unread {
        world.journal.end(seq, ids.request_id, Some(status.as_u16()), None);
        let code = status.canonical_reason().unwrap_or_default();
        return graph_error(&ids, status, code, code);
    }
    parts.extensions.insert(ids.clone());
    if let Some(mailbox) = mailbox {
        parts.extensions.insert(Mailbox(mailbox));
    }
    let request = Request::from_parts(parts, Body::from(body));

    let work = tokio::spawn(async move {
        let mut answer = next.run(request).await;
        if is_graph(&path) {
            ids.write_graph_headers(answer.headers_mut());
        } else {
            ids.write_entra_headers(answer.headers_mut());
        }
        let fault = answer.extensions().get::<Fault>().copied();
        let unanswered = fault.is_some_and(|fault| fault.unanswered);
        let status = (!unanswered).then(|| answer.status().as_u16());
        world.journal.end(seq, ids.request_id, status, fault.map(|fault| fault.name));
        answer
    });
    // A panic in a route is that request's failure.
    work.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// As much of a value as is looked at.
#[derive(Deserialize)]
#[serde(untagged)]
enum Shape {
    EmptyList([IgnoredAny; 0]),
    Other(IgnoredAny),
}

/// The names at the top of a JSON object; none of what is not one.
fn properties(body: &[u8]) -> Vec<String> {
    let object: BTreeMap<Cow<'_, str>, Shape> = serde_json::from_slice(body).unwrap_or_default();
    let told = |(name, shape): (Cow<'_, str>, Shape)| {
        let mut name: String = name.chars().take(PROPERTY_CHARS_MAX).collect();
        if let Shape::EmptyList(_) = shape {
            name.push_str("[]");
        }
        name
    };
    object.into_iter().take(PROPERTIES_MAX).map(told).collect()
}

/// Whose code or token a form of the token endpoint shows.
fn owner_of_form(world: &World, body: &[u8]) -> Option<Uuid> {
    let pairs = reqwest::Url::parse("form:").ok().map(|mut url| {
        url.set_query(std::str::from_utf8(body).ok());
        url
    })?;
    let grants = world.identity.grants();
    pairs
        .query_pairs()
        .filter(|(name, _)| ["refresh_token", "code", "device_code"].contains(&name.as_ref()))
        .find_map(|(_, secret)| grants.owner(&secret))
}

#[cfg(test)]
mod tests {
    use super::properties;

    #[test]
    fn a_body_is_known_by_the_names_of_its_properties_and_nothing_else() {
        let body =
            br#"{"subject": "secret", "end": {"dateTime": "secret"}, "a\u0062": [1], "c": []}"#;
        assert_eq!(properties(body), ["ab", "c[]", "end", "subject"]);
        for body in [&b"[\"subject\"]"[..], b"\"subject\"", b"{\"subject\": ", b"\xff", b""] {
            assert!(properties(body).is_empty());
        }
        let many: Vec<String> = (0..1000).map(|n| format!("\"{n:0>200}\": 1")).collect();
        let many = properties(format!("{{{}}}", many.join(",")).as_bytes());
        assert!(many.len() == 100 && many.iter().all(|name| name.len() == 100));
    }
}
