//! What `postbridge doctor` looks at between here and Microsoft: names, the proxy, TLS, and the clock. It
//! sends no secret: what is asked for is public, or refused.

use std::error::Error;
use std::io;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::header::DATE;
use reqwest::tls::TlsInfo;
use reqwest::{Client, Response, Url};

use super::doctor_machine::Certificate;
use super::doctor_words::Finding;
use crate::entra::Settings;

/// Entra's tokens are not taken much earlier or later than they say.
const SKEW_MAX: SignedDuration = SignedDuration::from_mins(5);
/// Who signs the certificates of Microsoft's hosts.
const ISSUERS: [&str; 2] = ["microsoft", "digicert"];

/// Both hosts, then the clock by what they say. `patience` is for each answer.
pub async fn look(settings: &Settings, patience: Duration) -> Vec<Finding> {
    let login =
        format!("{}/{}/v2.0/.well-known/openid-configuration", settings.login(), settings.tenant);
    // Without a token: it is refused, and the refusal is Graph's.
    let graph = format!("{}/v1.0/me", settings.graph());
    let mut findings = Vec::new();
    let mut clock = None;
    for (check, text) in [("login", login), ("graph", graph)] {
        let Ok(url) = Url::parse(&text) else {
            findings.push(Finding::bad(
                check,
                check,
                format!("{text} is no URL"),
                "check entra.login_url and entra.graph_url",
            ));
            continue;
        };
        let host =
            Host { check, url: &url, subject: format!("{check} ({})", host_of(&url)), patience };
        let (found, at) = host.look().await;
        findings.extend(found);
        clock = clock.or(at);
    }
    findings.push(match clock {
        Some(theirs) => of_clock(theirs, Timestamp::now()),
        None => Finding::not_looked_at("clock", "clock", "Microsoft did not answer"),
    });
    findings
}

fn host_of(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}

fn of_clock(theirs: Timestamp, ours: Timestamp) -> Finding {
    let skew = ours.duration_since(theirs);
    if skew.abs() <= SKEW_MAX {
        return Finding::good("clock", "clock", format!("{}s from Microsoft's", skew.as_secs()));
    }
    let direction = if skew.is_negative() { "behind" } else { "ahead of" };
    let text = format!(
        "{}s {direction} Microsoft's: sign-ins fail beyond 5 minutes",
        skew.as_secs().abs()
    );
    Finding::bad(
        "clock",
        "clock",
        text,
        "set the clock, or switch on NTP: timedatectl set-ntp true",
    )
}

struct Host<'h> {
    check: &'static str,
    url: &'h Url,
    subject: String,
    patience: Duration,
}

impl Host<'_> {
    /// And what time it is there.
    async fn look(&self) -> (Vec<Finding>, Option<Timestamp>) {
        let proxy = proxy_of(self.url);
        let mut findings = Vec::new();
        match &proxy {
            Some(proxy) => {
                let text = format!("through the proxy {proxy}, which looks the name up");
                findings.push(Finding::not_looked_at("dns", &self.subject, text));
            }
            None => match self.look_up().await {
                Ok(finding) => findings.push(finding),
                Err(finding) => return (vec![finding], None),
            },
        }
        let client = match self.client(false) {
            Ok(client) => client,
            Err(error) => {
                findings.push(Finding::bad(self.check, &self.subject, error, ""));
                return (findings, None);
            }
        };
        match client.get(self.url.clone()).send().await {
            Ok(answer) => {
                let at = date(&answer);
                findings.push(self.answered(answer).await);
                (findings, at)
            }
            Err(error) => {
                findings.push(self.failed(&error.without_url(), proxy.as_deref()).await);
                (findings, None)
            }
        }
    }

    async fn look_up(&self) -> Result<Finding, Finding> {
        let (name, port) = (host_of(self.url), self.url.port_or_known_default().unwrap_or(443));
        let name = name.trim_matches(['[', ']']);
        let bad = |why: String| {
            let remedy = "check the name servers (resolvectl query, /etc/resolv.conf), or name a proxy in HTTPS_PROXY";
            Finding::bad(
                "dns",
                &self.subject,
                format!("the name cannot be looked up: {why}"),
                remedy,
            )
        };
        let looked_up = tokio::time::timeout(self.patience, tokio::net::lookup_host((name, port)));
        match looked_up.await {
            Ok(Ok(found)) => {
                let mut found: Vec<String> =
                    found.map(|address| address.ip().to_string()).collect();
                found.dedup();
                Ok(Finding::good("dns", &self.subject, found.join(", ")))
            }
            Ok(Err(error)) => Err(bad(error.to_string())),
            Err(_) => Err(bad("no name server answered in time".to_owned())),
        }
    }

    /// `trusting`: takes every certificate, to see whose it is. Nothing secret goes there.
    fn client(&self, trusting: bool) -> reqwest::Result<Client> {
        let builder = Client::builder()
            .user_agent(concat!("postbridge/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(self.patience)
            .timeout(self.patience)
            .tls_info(true)
            .tls_danger_accept_invalid_certs(trusting);
        let builder = if is_loopback(self.url) { builder.no_proxy() } else { builder };
        let in_clear = self.url.scheme() == "http";
        let builder = if in_clear { builder.tls_certs_only([]) } else { builder };
        builder.build()
    }

    async fn answered(&self, answer: Response) -> Finding {
        let certificate = certificate_of(&answer);
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        let (check, subject) = (self.check, &self.subject);
        let is_theirs = match check {
            "login" => text.contains("token_endpoint") || text.contains("AADSTS"),
            _ => text.contains("\"error\""),
        };
        if !is_theirs {
            let what = format!(
                "{status} came from something that is not Microsoft, such as a proxy or a portal"
            );
            let remedy = format!("let HTTPS pass to {}", host_of(self.url));
            return Finding::bad(check, subject, what, &remedy);
        }
        if check == "login" && !status.is_success() {
            let what = format!("Microsoft does not know the tenant ({status})");
            return Finding::bad(check, subject, what, "check entra.tenant and entra.cloud");
        }
        let signed = match certificate {
            None => "answers".to_owned(),
            Some(certificate) if is_microsofts(&certificate.issuer) => {
                format!("answers, certificate by {}", certificate.issuer)
            }
            Some(certificate) => format!(
                "answers, with a certificate by {:?}, which is neither Microsoft nor DigiCert: something on the way \
                 reads what is sent, and this machine trusts it",
                certificate.issuer
            ),
        };
        Finding::good(check, subject, signed)
    }

    async fn failed(&self, error: &reqwest::Error, proxy: Option<&str>) -> Finding {
        let words = chain(error);
        let lower = words.to_lowercase();
        let (check, subject, host) = (self.check, &self.subject, host_of(self.url));
        if lower.contains("certificate") || lower.contains("unknownissuer") {
            let issuer = self.whose_certificate().await;
            let whose = issuer.map_or_else(String::new, |issuer| format!(" (it is by {issuer:?})"));
            let remedy = format!(
                "something on the way intercepts TLS: add its root certificate to the system's \
                 (update-ca-certificates), or have it exempt {host}"
            );
            let text = format!("its certificate is not trusted{whose}: {words}");
            return Finding::bad(check, subject, text, &remedy);
        }
        let through = proxy.map_or_else(String::new, |proxy| format!(" through the proxy {proxy}"));
        let io = io_kind(error);
        let (what, remedy) = match io {
            Some(io::ErrorKind::ConnectionRefused) => (
                "the connection is refused",
                format!(
                    "a firewall rejects it, or nothing listens there: port 443 to {host} must be open"
                ),
            ),
            Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => (
                "there is no route to it",
                "this machine is not connected, or only through a proxy: name it in HTTPS_PROXY"
                    .to_owned(),
            ),
            Some(io::ErrorKind::ConnectionReset) => (
                "the connection is cut",
                format!("a firewall looks into it: have it let HTTPS pass to {host}"),
            ),
            _ if error.is_timeout() || io == Some(io::ErrorKind::TimedOut) => (
                "it does not answer in time",
                format!(
                    "a firewall drops it, or the line is down: port 443 to {host} must be open"
                ),
            ),
            _ => ("it cannot be reached", format!("let HTTPS pass to {host}")),
        };
        Finding::bad(check, subject, format!("{what}{through}: {words}"), &remedy)
    }

    async fn whose_certificate(&self) -> Option<String> {
        let client = self.client(true).ok()?;
        let answer = client.get(self.url.origin().ascii_serialization()).send().await.ok()?;
        Some(certificate_of(&answer)?.issuer)
    }
}

fn is_microsofts(issuer: &str) -> bool {
    let issuer = issuer.to_lowercase();
    ISSUERS.iter().any(|known| issuer.contains(known))
}

fn certificate_of(answer: &Response) -> Option<Certificate> {
    Certificate::of_der(answer.extensions().get::<TlsInfo>()?.peer_certificate()?)
}

fn date(answer: &Response) -> Option<Timestamp> {
    let text = answer.headers().get(DATE)?.to_str().ok()?;
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// The error and its causes; what was said is not said again.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = inner.source();
    }
    text.replace(char::is_control, " ")
}

fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    let mut cause = error.source();
    let mut kind = None;
    while let Some(inner) = cause {
        kind = inner.downcast_ref::<io::Error>().map(io::Error::kind).or(kind);
        cause = inner.source();
    }
    kind
}

/// As the HTTP client takes it from the environment; without user name and password.
fn proxy_of(url: &Url) -> Option<String> {
    if is_loopback(url) {
        return None;
    }
    let variable = |name: &str| {
        let lower = std::env::var(name.to_lowercase()).ok();
        lower.or_else(|| std::env::var(name).ok()).filter(|value| !value.is_empty())
    };
    let host = host_of(url);
    let passes_by = |entry: &str| {
        let entry = entry.trim().trim_start_matches('.');
        entry == "*" || host == entry || host.ends_with(&format!(".{entry}")) && !entry.is_empty()
    };
    if variable("NO_PROXY").is_some_and(|list| list.split(',').any(passes_by)) {
        return None;
    }
    let proxy = variable("HTTPS_PROXY").or_else(|| variable("ALL_PROXY"))?;
    Some(match proxy.rsplit_once('@') {
        Some((_, host)) => host.to_owned(),
        None => proxy,
    })
}

fn is_loopback(url: &Url) -> bool {
    matches!(host_of(url), "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor_words::Outcome;

    #[test]
    fn a_clock_may_be_five_minutes_off_and_no_more() {
        let theirs: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        for (seconds, outcome) in [
            (0, Outcome::Good),
            (300, Outcome::Good),
            (-300, Outcome::Good),
            (301, Outcome::Bad),
            (-301, Outcome::Bad),
        ] {
            let ours = theirs.saturating_add(SignedDuration::from_secs(seconds)).unwrap();
            assert_eq!(of_clock(theirs, ours).outcome, outcome, "{seconds}");
        }
    }
}
