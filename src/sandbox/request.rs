//! What every handler needs to know of a request: where it came in, what it is traced by, its fields.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, FromRequestParts, Query};
use axum::http::HeaderMap;
use axum::http::header::HOST;
use axum::http::request::Parts;

use super::aadsts::{Ids, Refusal};
use super::server::Connection;
use super::world::World;

/// `http://127.0.0.1:8480`: how the client spells us, so that what we hand out leads back here.
#[derive(Debug, Clone)]
pub struct Origin(pub String);

impl<S: Sync> FromRequestParts<S> for Origin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Origin, Infallible> {
        let https = parts.extensions.get::<Connection>().is_some_and(Connection::is_https);
        let host = host(parts).unwrap_or("localhost");
        Ok(Origin(format!("{}://{host}", if https { "https" } else { "http" })))
    }
}

/// The authority of HTTP/2 or the Host of HTTP/1, with its port.
pub fn host(parts: &Parts) -> Option<&str> {
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    authority.or_else(|| parts.headers.get(HOST)?.to_str().ok())
}

impl FromRequestParts<Arc<World>> for Ids {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, world: &Arc<World>) -> Result<Ids, Infallible> {
        Ok(Ids::new(world.clock.now(), client_request_id(&parts.headers)))
    }
}

/// The client's own id of a request, if it is one that may stand in a header and in a log.
pub fn client_request_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get("client-request-id")?.to_str().ok()?;
    (!id.is_empty() && id.len() <= 128).then_some(id)
}

/// The fields of a form or a query.
#[derive(Debug, Clone, Default)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// A field's value; an empty one counts as absent (RFC 6749 §3.1, §3.2).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str())
    }

    pub fn require(&self, name: &str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| Refusal::missing(name))
    }

    /// RFC 6749 §3.2: parameters must not be included more than once.
    pub fn each_once(self) -> Result<Fields, Refusal> {
        let mut names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(Refusal::new(9002313));
        }
        Ok(self)
    }
}

/// What axum makes of a form body, before anybody has looked whether it is one.
pub type SentForm = Result<Form<Vec<(String, String)>>, FormRejection>;
/// The same of a query string.
pub type SentQuery = Result<Query<Vec<(String, String)>>, QueryRejection>;

pub fn form(sent: SentForm) -> Result<Fields, Refusal> {
    sent.map(|Form(pairs)| Fields(pairs)).map_err(|_| Refusal::new(9002313))
}

pub fn query(sent: SentQuery) -> Result<Fields, Refusal> {
    sent.map(|Query(pairs)| Fields(pairs)).map_err(|_| Refusal::new(9002313))
}
