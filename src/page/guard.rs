//! What every request meets before it is routed: whether it is meant for us, whether it comes from a page of
//! ours, and who makes it. And what every answer carries.
//!
//! A browser lets any web page send requests here. It cannot lie about three things: the Host it asks for
//! (DNS rebinding shows there), the Origin it comes from, and the cookies that go along. A change needs all
//! of them to fit, and the token of the session's own forms besides (OWASP, "Cross-Site Request Forgery
//! Prevention").

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, HOST, ORIGIN,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use axum::response::IntoResponse;
use tower_service::Service;

use super::frame;
use super::site::Site;

const BODY_OCTETS: usize = 64 * 1024;
const BODY_TIME: Duration = Duration::from_secs(10);

const CSP: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
                   connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The field of a form that holds the session's token.
const FORM_TOKEN: &str = "token";

/// A request that came this far, for whoever answers it.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    /// For the forms in the answer.
    pub form_token: String,
    /// What the browser calls us, with the port.
    pub host: String,
}

pub(super) async fn answer(
    site: Arc<Site>,
    mut router: Router,
    port: u16,
    request: Request<Body>,
) -> Response<Body> {
    let response = match admit(&site, port, request).await {
        Ok(request) => match router.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        Err(refused) => *refused,
    };
    with_headers(response)
}

type Refused = Box<Response<Body>>;

fn refuse(status: StatusCode, title: &str, text: &str) -> Refused {
    Box::new(frame::stranger(status, title, text))
}

async fn admit(site: &Site, port: u16, request: Request<Body>) -> Result<Request<Body>, Refused> {
    let (mut head, body) = request.into_parts();
    let Some(host) = host(&head.headers, &head.uri, port) else {
        let text =
            "This page is asked for by another name than its own: open it with postbridge page.";
        return Err(refuse(StatusCode::MISDIRECTED_REQUEST, "Not here", text));
    };
    let changes = match head.method {
        Method::GET | Method::HEAD => false,
        Method::POST => true,
        _ => {
            let mut refused = StatusCode::METHOD_NOT_ALLOWED.into_response();
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
            return Err(Box::new(refused));
        }
    };
    if changes && !comes_from_us(&head.headers, &host) {
        let text = "This was sent by another page than this one, and nothing was changed.";
        return Err(refuse(StatusCode::FORBIDDEN, "Not from here", text));
    }
    if !changes && is_public(&head.uri) {
        head.extensions.insert(Visit { form_token: String::new(), host });
        return Ok(Request::from_parts(head, Body::empty()));
    }
    let by_a_person = head.uri.path() != "/live.json";
    let session =
        cookie(&head.headers, port).and_then(|cookie| site.sessions.find(&cookie, by_a_person));
    let Some(form_token) = session else {
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let comes_from_afar = !changes && is_followed_from_another_site(&head.headers);
        return Err(Box::new(match comes_from_afar {
            true => frame::once_more(&format!("http://{host}{path}")),
            false => frame::not_logged_in(),
        }));
    };
    let mut body_octets = Bytes::new();
    if changes {
        body_octets = read(body).await?;
        let is_ours = is_form(&head.headers)
            && form_field(&body_octets).is_some_and(|given| form_token.equals(given));
        if !is_ours {
            let text = "The form is not of this session, and nothing was changed. Go back, load the \
                        page again and repeat it.";
            return Err(refuse(StatusCode::FORBIDDEN, "Not of this session", text));
        }
    }
    head.extensions.insert(Visit { form_token: form_token.expose().to_owned(), host });
    Ok(Request::from_parts(head, Body::from(body_octets)))
}

async fn read(body: Body) -> Result<Bytes, Refused> {
    let read = axum::body::to_bytes(body, BODY_OCTETS);
    match tokio::time::timeout(BODY_TIME, read).await {
        Ok(Ok(octets)) => Ok(octets),
        Ok(Err(_)) => Err(Box::new(StatusCode::PAYLOAD_TOO_LARGE.into_response())),
        Err(_) => Err(Box::new(StatusCode::REQUEST_TIMEOUT.into_response())),
    }
}

/// What is shown to whoever asks.
fn is_public(uri: &Uri) -> bool {
    match uri.path() {
        "/login" | "/healthz" | "/readyz" | "/metrics" | "/style.css" | "/live.js"
        | "/favicon.svg" => true,
        // Microsoft sends the browser back here; what is trusted is the state in it.
        "/" => uri.query().is_some_and(|query| {
            let answers = |pair: &str| pair.starts_with("code=") || pair.starts_with("error=");
            query.split('&').any(answers)
        }),
        _ => false,
    }
}

/// The name that we are asked by, if it is one of ours.
fn host(headers: &HeaderMap, uri: &Uri, port: u16) -> Option<String> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok()?.to_ascii_lowercase(),
        _ => return None,
    };
    // RFC 9112 §3.2.2: the target may name a host as well.
    if let Some(authority) = uri.authority()
        && !authority.as_str().eq_ignore_ascii_case(&host)
    {
        return None;
    }
    let names = ["127.0.0.1", "[::1]", "localhost"];
    names.iter().any(|name| host == format!("{name}:{port}")).then_some(host)
}

/// Fetch, "Origin" and "Sec-Fetch-Site": no page can set either.
fn comes_from_us(headers: &HeaderMap, host: &str) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (Some(origin), None) => origin.as_bytes() == format!("http://{host}").as_bytes(),
        (None, _) => {
            headers.get("sec-fetch-site").is_some_and(|site| site.as_bytes() == b"same-origin")
        }
        _ => false,
    }
}

/// To what is followed from another site a browser sends no SameSite cookie; to what our own page sends it
/// to, it does. Nothing is changed by a GET, and nothing of ours can be shown in a frame.
fn is_followed_from_another_site(headers: &HeaderMap) -> bool {
    let is = |name: &str, value: &str| {
        headers.get(name).is_some_and(|one| one.as_bytes() == value.as_bytes())
    };
    is("sec-fetch-site", "cross-site")
        && is("sec-fetch-mode", "navigate")
        && is("sec-fetch-dest", "document")
}

/// Cookies do not know ports: another postbridge on this machine has another name for its own.
pub(super) fn cookie_name(port: u16) -> String {
    format!("postbridge-{port}")
}

/// The one cookie of ours.
pub(super) fn cookie(headers: &HeaderMap, port: u16) -> Option<String> {
    let name = cookie_name(port);
    let texts = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut ours = texts
        .flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(known, _)| *known == name)
        .map(|(_, value)| value.to_owned());
    match (ours.next(), ours.next()) {
        (Some(cookie), None) => Some(cookie),
        _ => None,
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = value.and_then(|value| value.split(';').next()).unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// The one token in a form; it is made of what needs no encoding.
fn form_field(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    let mut tokens = text
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| *name == FORM_TOKEN)
        .map(|(_, value)| value);
    match (tokens.next(), tokens.next()) {
        (Some(token), None) => Some(token),
        _ => None,
    }
}

/// What every answer carries, whoever made it.
pub(super) fn with_headers(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, CSP),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
        // Nothing to others. With no-referrer, browsers say "Origin: null" of our own forms (Fetch, "append
        // a request Origin header").
        (REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn we_go_by_three_names_with_our_port_and_by_no_other() {
        let check = |pairs: &[(&'static str, &'static str)], target: &'static str| {
            host(&headers(pairs), &Uri::from_static(target), 1088)
        };
        for name in ["127.0.0.1:1088", "[::1]:1088", "LOCALHOST:1088"] {
            assert_eq!(check(&[("host", name)], "/"), Some(name.to_ascii_lowercase()));
        }
        for name in [
            "localhost",
            "localhost:1089",
            "evil.example:1088",
            "localhost.:1088",
            "127.1:1088",
            "",
        ] {
            assert_eq!(check(&[("host", name)], "/"), None, "{name}");
        }
        assert_eq!(check(&[], "/"), None);
        assert_eq!(check(&[("host", "localhost:1088"), ("host", "localhost:1088")], "/"), None);
        let whole = [("host", "localhost:1088")];
        assert!(check(&whole, "http://localhost:1088/queue").is_some());
        assert_eq!(check(&whole, "http://evil.example:1088/queue"), None);
    }

    #[test]
    fn a_cookie_or_a_token_that_is_there_twice_is_none() {
        let one = headers(&[("cookie", "a=b; postbridge-1088=x; postbridge-1089=y")]);
        assert_eq!(cookie(&one, 1088).as_deref(), Some("x"));
        let two = headers(&[("cookie", "postbridge-1088=x"), ("cookie", "postbridge-1088=y")]);
        assert_eq!(cookie(&two, 1088), None);
        assert_eq!(form_field(b"a=b&token=t"), Some("t"));
        assert_eq!(form_field(b"token=t&token=t"), None);
        assert_eq!(form_field(b"atoken=t"), None);
    }
}
