//! The way to Entra's endpoints: one request, one answer, nothing else.
//!
//! It follows no redirect (a token must not travel to another host), repeats nothing (the caller
//! knows when that is right), and reads no more than a token answer can hold. It must never log a
//! request or an answer: both are made of secrets.

use std::pin::Pin;
use std::time::{Duration, SystemTime};

use oauth2::http::header::{DATE, RETRY_AFTER};
use oauth2::http::{HeaderMap, StatusCode};
use oauth2::url::Url;
use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};

use super::cloud::is_loopback;

/// The largest answer read, in octets. A token answer is some 6 kB; tokens grow with group claims.
const ANSWER_OCTETS_MAX: usize = 1 << 20;

/// The longest Retry-After that is believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// Why there is no answer to read.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The server, or something before it, says to come back later.
    #[error("the sign-in server answered {status}")]
    Busy { status: StatusCode, after: Option<Duration> },
    #[error("the sign-in server cannot be reached: {0}")]
    Unreachable(String),
    #[error("the answer is too large")]
    TooLarge,
}

/// A plain HTTP client for tokens.
#[derive(Debug, Clone)]
pub struct Http(reqwest::Client);

impl Http {
    /// A server on this machine is not behind a proxy of the environment; one that is spoken to in clear
    /// needs none of the machine's authorities, which take a while to read.
    pub fn new(server: &Url) -> Result<Http, reqwest::Error> {
        let builder = reqwest::Client::builder()
            .user_agent(concat!("postbridge/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(30));
        let builder = if is_loopback(server) { builder.no_proxy() } else { builder };
        let in_clear = server.scheme() == "http";
        let builder = if in_clear { builder.tls_certs_only([]) } else { builder };
        Ok(Http(builder.build()?))
    }

    /// Sends and reads the whole answer. 429 and 5xx are not answers but [`Unanswered::Busy`].
    pub async fn send(&self, request: HttpRequest) -> Result<HttpResponse, Unanswered> {
        let request = reqwest::Request::try_from(request).map_err(unreachable)?;
        let mut answer = self.0.execute(request).await.map_err(unreachable)?;
        let status = answer.status();
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            let after = retry_after(answer.headers(), SystemTime::now());
            return Err(Unanswered::Busy { status, after });
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > ANSWER_OCTETS_MAX {
                return Err(Unanswered::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        let mut response = HttpResponse::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = Unanswered;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Unanswered>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// The chain of causes without the URL, which may carry a query.
fn unreachable(error: reqwest::Error) -> Unanswered {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    Unanswered::Unreachable(text)
}

/// RFC 9110 §10.2.3: whole seconds or a date.
///
/// Quirk(graph): fractions of a second are seen too; rounded up, so that we are never early.
/// A date counts from the answer's own `Date`, so that a wrong clock on this machine does no harm.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse::<f64>() {
        Duration::try_from_secs_f64(seconds.ceil()).ok()?
    } else {
        let until = http_date(text)?;
        let from = headers.get(DATE).and_then(|d| http_date(d.to_str().ok()?)).unwrap_or(now);
        until.duration_since(from).unwrap_or_default()
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// RFC 9110 §5.6.7, in the one form that is still sent (IMF-fixdate).
fn http_date(text: &str) -> Option<SystemTime> {
    let zoned = jiff::fmt::rfc2822::DateTimeParser::new().parse_zoned_datetime(text).ok()?;
    SystemTime::try_from(zoned.timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_every_form_that_is_sent() {
        let check = |text: &str, expected: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            headers.insert(DATE, "Mon, 23 Nov 2026 15:00:00 GMT".parse().unwrap());
            let got = retry_after(&headers, SystemTime::UNIX_EPOCH);
            assert_eq!(got, expected.map(Duration::from_secs), "{text:?}");
        };
        check("30", Some(30));
        check("2.128", Some(3));
        check("0", Some(0));
        check("Mon, 23 Nov 2026 15:01:30 GMT", Some(90));
        check("Mon, 23 Nov 2026 14:00:00 GMT", Some(0));
        check("99999999999", Some(86400));
        check("-1", None);
        check("NaN", None);
        check("soon", None);
        assert_eq!(retry_after(&HeaderMap::new(), SystemTime::UNIX_EPOCH), None);
    }
}
