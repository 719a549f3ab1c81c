//! The HTTP client: one request a call, no redirects, no retries, everything bounded.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, Response, StatusCode, Url, header};
use uuid::Uuid;

use super::failure::{Answer, Effect, Failure};
use super::pace::{Paced, Slot};
use super::tally::{Kind, Tally};
use crate::clock::Clock;
use crate::secret::Secret;

/// A handle on Graph; clones share their connections. It holds no token: each call is given one.
#[derive(Clone)]
pub struct Graph {
    base: Url,
    clock: Clock,
    /// For calls that do no harm when repeated: connections are kept.
    reading: reqwest::Client,
    /// For calls that send: each has a connection of its own, so that no layer can find one stale
    /// half-way and try again.
    sending: reqwest::Client,
    /// Asked before each request.
    paced: Option<Paced>,
    tally: Arc<Tally>,
}

/// The base URL or the TLS set-up of this machine cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("{0} is not a base URL; it must be https, or http on this machine's loopback")]
    BaseUrl(String),
    #[error("the HTTP client cannot be set up: {0}")]
    Client(#[from] reqwest::Error),
}

/// The most of an answer that is read.
const ANSWER_OCTETS_MAX: usize = 8 << 20;

pub(super) struct Success {
    pub status: StatusCode,
    pub body: Vec<u8>,
}

impl Graph {
    /// `base` is a cloud's Graph host, such as `https://graph.microsoft.com`. By the clock a Retry-After is
    /// read that names a time.
    pub fn new(base: &str, clock: Clock) -> Result<Graph, Unusable> {
        let bad = || Unusable::BaseUrl(base.to_owned());
        let url = Url::parse(base).map_err(|_| bad())?;
        let (loopback, in_clear) = (is_loopback(&url), url.scheme() == "http");
        if url.cannot_be_a_base() || !is_safe(&url) {
            return Err(bad());
        }
        let client = || {
            let builder = reqwest::Client::builder()
                .user_agent(concat!("postbridge/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .connect_timeout(Duration::from_secs(15))
                .timeout(Duration::from_secs(60));
            // A proxy of the environment is for the world outside, and so are the machine's authorities,
            // which take a while to read.
            let builder = if loopback { builder.no_proxy() } else { builder };
            if in_clear { builder.tls_certs_only([]) } else { builder }
        };
        Ok(Graph {
            base: url,
            clock,
            reading: client().pool_idle_timeout(Duration::from_secs(60)).build()?,
            sending: client().pool_max_idle_per_host(0).http1_only().build()?,
            paced: None,
            tally: Arc::default(),
        })
    }

    /// What was asked and answered, through any of its clones.
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// For the mailbox that the slot is of: no request is made that it may not make now.
    pub fn paced(&self, slot: &Slot) -> Graph {
        Graph { paced: Some(slot.paced()), ..self.clone() }
    }

    /// One request to `{base}/v1.0/{segments}`.
    pub(super) async fn call(
        &self,
        effect: Effect,
        method: Method,
        segments: &[&str],
        token: &str,
        with: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Result<Success, Failure> {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("v1.0").extend(segments);
        }
        let client = match effect {
            Effect::Harmless => &self.reading,
            Effect::Irreversible => &self.sending,
        };
        // Graph: best practices. Microsoft's support asks for the pair of ids.
        let request_id = Uuid::new_v4();
        let request = client
            .request(method, url)
            .bearer_auth(token)
            .header("client-request-id", request_id.to_string())
            .header("return-client-request-id", "true");
        self.send(client, with(request), request_id, effect).await
    }

    /// One request to a URL that Graph handed out, which is its own permission (Graph: uploadSession).
    /// No token goes there, and nothing of the URL into an error. `None`: it is no URL to be trusted.
    pub(super) async fn call_handed_out(
        &self,
        method: Method,
        url: &Secret,
        with: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Option<Result<Success, Failure>> {
        let url = Url::parse(url.expose()).ok().filter(is_safe)?;
        let request = with(self.reading.request(method, url));
        Some(self.send(&self.reading, request, Uuid::new_v4(), Effect::Harmless).await)
    }

    /// Makes a request, if it may be made now.
    async fn send(
        &self,
        client: &reqwest::Client,
        request: reqwest::RequestBuilder,
        request_id: Uuid,
        effect: Effect,
    ) -> Result<Success, Failure> {
        let request = match request.build() {
            Ok(request) => request,
            Err(error) => return Err(Failure::of_transport(&error.without_url(), effect)),
        };
        if let Some(paced) = &self.paced {
            let may = paced.ask(uploaded_octets(&request));
            may.inspect_err(|_| self.tally.count(Kind::PutOff))?;
        }
        let answer = self.answered(client.execute(request).await, request_id, effect).await;
        if let (Some(paced), Err(Failure::Later { after: Some(after), throttled: true, .. })) =
            (&self.paced, &answer)
        {
            paced.throttled(*after);
        }
        answer
    }

    /// What came of a request.
    async fn answered(
        &self,
        response: Result<Response, reqwest::Error>,
        request_id: Uuid,
        effect: Effect,
    ) -> Result<Success, Failure> {
        // A URL may be a secret, and is of no use in a note.
        let failed = |error: reqwest::Error| Failure::of_transport(&error.without_url(), effect);
        self.tally.count(response.as_ref().map_or(Kind::Lost, |got| Kind::of(got.status())));
        let mut response = response.map_err(failed)?;
        let status = response.status();
        tracing::debug!(
            client_request_id = %request_id,
            request_id = header_text(&response, "request-id"),
            status = status.as_u16(),
            "graph answered"
        );
        let body = read(&mut response).await;
        if status.is_success() {
            // The status alone says that it took effect; a body cut short does not take that back.
            return match body {
                Ok(body) => Ok(Success { status, body }),
                Err(_) if effect == Effect::Irreversible => {
                    Ok(Success { status, body: Vec::new() })
                }
                Err(error) => Err(failed(error)),
            };
        }
        let answer = Answer {
            status,
            retry_after: header_text(&response, header::RETRY_AFTER.as_str()),
            body: &body.unwrap_or_default(),
            now: self.clock.now(),
        };
        Err(Failure::of_answer(&answer, effect))
    }
}

/// What Graph counts as uploaded.
fn uploaded_octets(request: &reqwest::Request) -> u64 {
    match *request.method() {
        Method::POST | Method::PATCH | Method::PUT => {
            let body = request.body().and_then(reqwest::Body::as_bytes);
            body.map_or(0, |octets| octets.len() as u64)
        }
        _ => 0,
    }
}

fn header_text<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

/// The body, as far as [`ANSWER_OCTETS_MAX`].
async fn read(response: &mut Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await? {
        if body.len() + piece.len() > ANSWER_OCTETS_MAX {
            break;
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// Whether what is sent there is seen by nobody else.
fn is_safe(url: &Url) -> bool {
    url.scheme() == "https" || url.scheme() == "http" && is_loopback(url)
}

/// Whether a URL stays on this machine.
fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_in_clear_to_this_machine_only() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let new = |base| Graph::new(base, Clock::default());
        assert!(new("https://graph.microsoft.com").is_ok());
        assert!(new("http://127.0.0.1:8080").is_ok());
        assert!(new("http://[::1]:8080").is_ok());
        assert!(new("http://graph.microsoft.com").is_err());
        assert!(new("http://127.0.0.1.contoso.example").is_err());
        assert!(new("file:///etc/passwd").is_err());
        assert!(new("graph.microsoft.com").is_err());
    }
}
