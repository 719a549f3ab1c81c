//! What an answer that is not success means. Pure.
//!
//! Sources: Graph error codes as listed at each arm. Decided on the status and `error.code`, never
//! on `error.message`. What is not recognised is [`Failure::Later`]: mail is patient, and too old
//! mail is reported.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;
use serde::Deserialize;

use super::resource::DuplicateTransaction;
use crate::doubt;

/// How a call to Graph failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Nothing happened; it may work later. `after` is what Retry-After said.
    Later { after: Option<Duration>, throttled: bool, why: String },
    /// Refused for good: asking again would be refused again.
    Never { status: u16, code: String, why: String },
    /// The transactionId was used before: what was to be created is there, under this id if Graph
    /// says it (Graph: ErrorDuplicateTransactionId, 400 or 409).
    Duplicate { existing: Option<String> },
    /// Something else was written at the same time, or since it was read (409, 412): nothing happened.
    Conflict { why: String },
    /// 401: the access token is no longer taken. Nothing happened.
    TokenRefused { why: String },
    /// Nothing of this account will work until a person does something: consent, licence, policy.
    Account { code: String, why: String },
    /// The request left, and nobody can say whether it took effect.
    Unknown { why: String },
}

/// Whether a call can be repeated without harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Reading, or making something that nobody sees.
    Harmless,
    /// Sends mail: once is right, twice is wrong.
    Irreversible,
}

/// An answer, as far as it matters here.
pub(super) struct Answer<'a> {
    pub status: StatusCode,
    pub retry_after: Option<&'a str>,
    pub body: &'a [u8],
    pub now: Timestamp,
}

#[derive(Deserialize)]
struct Body {
    error: ErrorBody,
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default, rename = "innerError", alias = "innererror")]
    inner: Option<Box<ErrorBody>>,
}

/// The most of a foreign text that is kept in a note.
const WHY_CHARS_MAX: usize = 300;

impl Failure {
    pub(super) fn of_answer(answer: &Answer<'_>, effect: Effect) -> Failure {
        let Some((code, message)) = graph_error(answer.body) else {
            return of_stranger(answer, effect);
        };
        if let Some(duplicate) = DuplicateTransaction::of(answer.body) {
            return Failure::Duplicate { existing: duplicate.existing_event_id };
        }
        let status = answer.status.as_u16();
        let why = plain(&format!("Graph answered {status} {code}: {message}"));
        let later =
            |throttled| Failure::Later { after: after(answer), throttled, why: why.clone() };
        let never = || Failure::Never { status, code: code.clone(), why: why.clone() };
        let account = || Failure::Account { code: code.clone(), why: why.clone() };

        // Codes come as `ErrorX` and as `x`.
        let known = code.strip_prefix("Error").unwrap_or(&code).to_ascii_lowercase();
        match known.as_str() {
            // Graph: Exchange Online limits; the mailbox may send again in some hours.
            "exceededmessagelimit" | "quotaexceeded" | "quotalimitreached" => return later(false),
            "applicationthrottled" | "toomanyrequests" | "commandconcurrencylimitreached" => {
                return later(true);
            }
            // Graph: mailbox on-premises, unlicensed or absent.
            "mailboxnotenabledforrestapi"
            | "mailboxnotsupportedforrestapi"
            | "nonexistentmailbox" => return account(),
            "sendasdenied" => return never(),
            // A permission that was not granted, or an application access policy.
            "accessdenied" | "authorization_requestdenied" if status == 403 => return account(),
            _ => {}
        }
        match status {
            401 => Failure::TokenRefused { why },
            429 | 509 => later(true),
            // A conflict changed nothing (Graph: ErrorIrresolvableConflict).
            409 | 412 => Failure::Conflict { why },
            423 | 507 => later(false),
            501 => never(),
            // Those without a name are of gateways, most of them for an answer that did not come in time.
            408 | 500..=599 => match effect {
                Effect::Irreversible => Failure::Unknown { why },
                Effect::Harmless => later(false),
            },
            400..=499 => never(),
            _ => later(false),
        }
    }

    /// What it says of the call that sends a draft. A 404 is no refusal: what was sent is a draft no more.
    pub fn of_a_send(&self) -> doubt::Answer {
        match self {
            Failure::Unknown { .. } | Failure::Never { status: 404, .. } => doubt::Answer::Unknown,
            Failure::Never { .. } => doubt::Answer::Refused,
            _ => doubt::Answer::NotNow,
        }
    }

    /// In words.
    pub fn into_why(self) -> String {
        match self {
            Failure::Later { why, .. }
            | Failure::Never { why, .. }
            | Failure::Conflict { why }
            | Failure::TokenRefused { why }
            | Failure::Account { why, .. }
            | Failure::Unknown { why } => why,
            Failure::Duplicate { .. } => "Graph has made this before".to_owned(),
        }
    }

    /// An answer that claims success with a status that the call does not have.
    pub(super) fn of_odd_success(status: StatusCode) -> Failure {
        // Graph issue 13979: an oversize mail was answered 200, and nothing was sent.
        Failure::Unknown {
            why: format!("Graph answered {status}, which is no answer to this call"),
        }
    }

    pub(super) fn of_transport(error: &reqwest::Error, effect: Effect) -> Failure {
        let why = plain(&chain(error));
        // `is_connect`: name look-up, TCP or TLS failed, so no octet of the request left.
        if error.is_connect() || error.is_builder() || effect == Effect::Harmless {
            let why = format!("{why}{}", remedy(&why));
            return Failure::Later { after: None, throttled: false, why };
        }
        Failure::Unknown { why }
    }
}

/// An answer that is not in Graph's form: a proxy, a firewall or a portal spoke.
fn of_stranger(answer: &Answer<'_>, effect: Effect) -> Failure {
    let status = answer.status;
    let why = format!(
        "{status} came from something that is not Graph, such as a proxy or a firewall; \
         let it pass HTTPS to the Graph host"
    );
    match status.as_u16() {
        401 => Failure::TokenRefused { why: format!("Graph answered {status}") },
        // Graph itself answers 413 without a body when a request is too large.
        413 => Failure::Never {
            status: 413,
            code: "RequestEntityTooLarge".into(),
            why: "Graph answered 413: the mail is too large".into(),
        },
        429 | 509 => {
            let why = format!("Graph answered {status}");
            Failure::Later { after: after(answer), throttled: true, why }
        }
        // What was sent is a draft no more, whoever says so.
        404 | 408 | 500..=599 if effect == Effect::Irreversible => Failure::Unknown { why },
        _ => Failure::Later { after: after(answer), throttled: false, why },
    }
}

/// The most specific code that is given, and the message beside it (Graph: error responses).
fn graph_error(body: &[u8]) -> Option<(String, String)> {
    let Body { mut error } = serde_json::from_slice(body).ok()?;
    let message = std::mem::take(&mut error.message);
    let mut code = error.code;
    let mut inner = error.inner;
    // serde_json caps the depth.
    while let Some(next) = inner {
        if !next.code.is_empty() {
            code = next.code;
        }
        inner = next.inner;
    }
    Some((code, message))
}

/// RFC 9110 §10.2.3, plus the fraction of a second that Graph's own sample shows.
fn after(answer: &Answer<'_>) -> Option<Duration> {
    /// What is more than a day is not meant.
    const MAX: Duration = Duration::from_secs(24 * 3600);
    let text = answer.retry_after?.trim();
    let after = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        Err(_) => {
            let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
            Duration::try_from(at.duration_since(answer.now)).ok()?
        }
    };
    Some(after.min(MAX))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// One line without control characters, cut.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WHY_CHARS_MAX).collect()
}

/// What to do about a connection that does not come about.
fn remedy(why: &str) -> &'static str {
    let why = why.to_ascii_lowercase();
    if why.contains("certificate") || why.contains("unknownissuer") {
        " (something on the way intercepts TLS: add its root certificate to the system's, or exempt the Graph host)"
    } else if why.contains("dns") || why.contains("lookup") || why.contains("resolve") {
        " (the name cannot be looked up: check DNS)"
    } else if why.contains("refused") || why.contains("timed out") || why.contains("unreachable") {
        " (a firewall may be in the way: port 443 to the Graph host must be open)"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: Option<&str>, body: &str, effect: Effect) -> Failure {
        let now = "2026-11-23T10:00:00Z".parse().unwrap();
        let status = StatusCode::from_u16(status).unwrap();
        let answer = Answer { status, retry_after, body: body.as_bytes(), now };
        Failure::of_answer(&answer, effect)
    }

    fn error(code: &str) -> String {
        format!(r#"{{"error":{{"code":"{code}","message":"m","innerError":{{"date":"d"}}}}}}"#)
    }

    fn kind(failure: &Failure) -> &'static str {
        match failure {
            Failure::Later { throttled: true, .. } => "throttled",
            Failure::Later { .. } => "later",
            Failure::Never { .. } => "never",
            Failure::Duplicate { .. } => "duplicate",
            Failure::TokenRefused { .. } => "token",
            Failure::Conflict { .. } => "conflict",
            Failure::Account { .. } => "account",
            Failure::Unknown { .. } => "unknown",
        }
    }

    /// Graph's answers to a send, each with its place in the documented or reported list.
    #[test]
    fn each_answer_to_a_send_has_one_meaning() {
        for (status, code, expected) in [
            (400, "ErrorMimeContentInvalidBase64String", "never"),
            (400, "ErrorInvalidRecipients", "never"),
            (400, "ErrorMessageSizeExceeded", "never"),
            (400, "ErrorExceededMessageLimit", "later"),
            (401, "InvalidAuthenticationToken", "token"),
            (403, "ErrorAccessDenied", "account"),
            (403, "ErrorSendAsDenied", "never"),
            (403, "ErrorExceededMessageLimit", "later"),
            (403, "ErrorQuotaExceeded", "later"),
            (400, "ErrorDuplicateTransactionId", "duplicate"),
            (409, "ErrorDuplicateTransactionId", "duplicate"),
            (404, "MailboxNotEnabledForRESTAPI", "account"),
            (404, "ErrorNonExistentMailbox", "account"),
            (409, "ErrorIrresolvableConflict", "conflict"),
            (412, "ErrorIrresolvableConflict", "conflict"),
            (413, "RequestEntityTooLarge", "never"),
            (429, "ApplicationThrottled", "throttled"),
            (429, "", "throttled"),
            (500, "ErrorInternalServerError", "unknown"),
            (502, "", "unknown"),
            (503, "ErrorServerBusy", "unknown"),
            (504, "UnknownError", "unknown"),
            (507, "quotaLimitReached", "later"),
            (509, "", "throttled"),
            (524, "", "unknown"),
        ] {
            let got = answer(status, None, &error(code), Effect::Irreversible);
            assert_eq!(kind(&got), expected, "{status} {code}: {got:?}");
        }
    }

    #[test]
    fn what_is_not_found_may_have_been_sent() {
        use doubt::Answer::{NotNow, Refused, Unknown};
        for (status, expected) in [
            (404, Unknown),
            (504, Unknown),
            (400, Refused),
            (413, Refused),
            (429, NotNow),
            (401, NotNow),
        ] {
            let got = answer(status, None, &error("x"), Effect::Irreversible).of_a_send();
            assert_eq!(got, expected, "{status}");
        }
    }

    #[test]
    fn a_server_error_is_in_doubt_only_where_it_matters() {
        let harmless = answer(503, None, &error("ErrorServerBusy"), Effect::Harmless);
        assert_eq!(kind(&harmless), "later");
    }

    #[test]
    fn the_most_specific_code_counts() {
        let nested = r#"{"error":{"code":"Forbidden","message":"","innererror":{"code":"MailboxNotEnabledForRESTAPI"}}}"#;
        assert_eq!(kind(&answer(403, None, nested, Effect::Irreversible)), "account");
    }

    #[test]
    fn an_answer_of_a_proxy_is_no_refusal_of_graph() {
        let page = "<html>blocked</html>";
        assert_eq!(kind(&answer(403, None, page, Effect::Irreversible)), "later");
        assert_eq!(kind(&answer(404, None, page, Effect::Irreversible)), "unknown");
        assert_eq!(kind(&answer(404, None, page, Effect::Harmless)), "later");
        assert_eq!(kind(&answer(504, None, page, Effect::Irreversible)), "unknown");
        assert_eq!(kind(&answer(524, None, page, Effect::Irreversible)), "unknown");
        assert_eq!(kind(&answer(509, None, page, Effect::Irreversible)), "throttled");
        assert_eq!(kind(&answer(413, None, "", Effect::Irreversible)), "never");
    }

    #[test]
    fn retry_after_is_read_in_every_form_it_comes_in() {
        let after = |text| match answer(429, Some(text), &error("x"), Effect::Irreversible) {
            Failure::Later { after, .. } => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("2.128"), Some(Duration::from_millis(2128)));
        assert_eq!(after("0"), Some(Duration::ZERO));
        assert_eq!(after("Mon, 23 Nov 2026 10:02:00 GMT"), Some(Duration::from_secs(120)));
        assert_eq!(after("Mon, 23 Nov 2026 09:00:00 GMT"), None);
        assert_eq!(after("99999999999"), Some(Duration::from_secs(86400)));
        assert_eq!(after("-1"), None);
        assert_eq!(after("soon"), None);
        assert_eq!(after("nan"), None);
    }
}
