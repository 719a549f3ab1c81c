//! What to type into which program, for one account: the listeners as they are, and what they are known by.

use std::net::SocketAddr;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use qrcode::QrCode;
use qrcode::render::svg;

use super::frame::{Frame, encoded, html, not_found, odd};
use super::guard::Visit;
use super::site::Site;
use crate::account::Address;
use crate::control::{Reply, Request};
use crate::tls;

#[derive(Template)]
#[template(path = "setup.html", config = "src/page/askama.toml")]
struct Setup {
    frame: Frame,
    address: String,
    path: String,
    mail: Vec<Server>,
    /// The first of each, for the programs that want one.
    implicit_tls: Option<Server>,
    starttls: Option<Server>,
    clear: Option<Server>,
    calendar: Option<String>,
    calendar_tls: Option<String>,
    /// The calendar itself, for programs that want its whole address.
    whole: Option<String>,
    /// For devices: the address from the network, and its code for a camera.
    phone: Option<Phone>,
    /// Another device can reach the mail side.
    mail_from_network: bool,
    /// Another device can reach the calendar.
    calendar_from_network: bool,
    hostname: String,
    fingerprint: String,
    certificate_file: String,
}

struct Phone {
    url: String,
    code: String,
}

#[derive(Clone)]
struct Server {
    host: String,
    port: u16,
    security: &'static str,
}

/// What a program on this machine, or on another, calls the place where one of these listens.
fn place(addresses: &[SocketAddr], hostname: &str) -> Option<(String, u16)> {
    let near = addresses.iter().find(|one| one.ip().is_loopback() || one.ip().is_unspecified());
    if let Some(near) = near {
        return Some(("localhost".to_owned(), near.port()));
    }
    addresses.first().map(|far| (hostname.to_owned(), far.port()))
}

fn far(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    addresses.iter().find(|one| !one.ip().is_loopback()).copied()
}

pub(super) async fn one(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(address): Path<Address>,
) -> Response {
    let Reply::Accounts { accounts, .. } = site.ask(Request::Accounts {}).await else {
        return odd();
    };
    let account = accounts.iter().find(|account| account.address.same_mailbox(&address));
    let Some(account) = account else {
        return not_found(&visit, "accounts", &format!("There is no account {address}."));
    };
    let files = site.settings.borrow().certificates.clone();
    let Ok(fingerprint) = tls::fingerprint(&files.certificate) else { return odd() };
    let servers = &site.servers;
    let name = servers.hostname.as_str();
    let server = |addresses: &[SocketAddr], security| {
        place(addresses, name).map(|(host, port)| Server { host, port, security })
    };
    let implicit_tls = server(&servers.implicit_tls, "SSL/TLS");
    let starttls = server(&servers.starttls, "STARTTLS");
    let clear = server(&servers.clear, "none");
    let url = |scheme, addresses: &[SocketAddr]| {
        place(addresses, name).map(|(host, port)| format!("{scheme}://{host}:{port}/dav/"))
    };
    let (calendar, calendar_tls) =
        (url("http", &servers.calendar), url("https", &servers.calendar_tls));
    let home = encoded(account.address.as_str());
    let base = calendar.as_ref().or(calendar_tls.as_ref());
    // What a phone would ask, whether or not it can by now.
    let port = far(&servers.calendar_tls).or(servers.calendar_tls.first().copied());
    let phone = port.and_then(|at| {
        let url = format!("https://{name}:{}/dav/", at.port());
        Some(Phone { code: drawn(&url)?, url })
    });
    let page = Setup {
        frame: Frame::new(&visit, "accounts", "Set-up"),
        path: format!("/accounts/{home}"),
        mail: [&implicit_tls, &starttls, &clear].into_iter().flatten().cloned().collect(),
        implicit_tls,
        starttls,
        clear,
        whole: base.map(|base| format!("{base}calendars/{home}/calendar/")),
        calendar,
        calendar_tls,
        phone,
        mail_from_network: far(&servers.implicit_tls).or(far(&servers.starttls)).is_some(),
        calendar_from_network: far(&servers.calendar_tls).is_some(),
        hostname: name.to_owned(),
        fingerprint,
        certificate_file: files.ca.display().to_string(),
        address: account.address.to_string(),
    };
    html(StatusCode::OK, &page)
}

/// A QR code (ISO/IEC 18004) as `<svg>…</svg>`. Dark on light in every scheme, as cameras want it.
fn drawn(text: &str) -> Option<String> {
    let code = QrCode::new(text.as_bytes()).ok()?;
    let drawn = code
        .render::<svg::Color<'_>>()
        .min_dimensions(180, 180)
        .dark_color(svg::Color("#000000"))
        .light_color(svg::Color("#ffffff"))
        .build();
    // An XML declaration has no place within HTML.
    drawn.find("<svg").and_then(|at| drawn.get(at..)).map(str::to_owned)
}

/// What clients are told to trust, as it lies on the disk.
pub(super) async fn ca_pem(State(site): State<Arc<Site>>) -> Response {
    let file = site.settings.borrow().certificates.ca.clone();
    match tokio::fs::read(file).await {
        Ok(octets) => download(octets, "application/x-pem-file", "postbridge-ca.pem"),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The same as DER, which phones and Windows open by themselves.
pub(super) async fn ca_der(State(site): State<Arc<Site>>) -> Response {
    match tls::first(&site.settings.borrow().certificates.ca) {
        Ok(certificate) => {
            let octets = certificate.as_ref().to_vec();
            download(octets, "application/x-x509-ca-cert", "postbridge-ca.crt")
        }
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

fn download(octets: Vec<u8>, kind: &'static str, name: &str) -> Response {
    let mut response = ([(CONTENT_TYPE, kind)], octets).into_response();
    if let Ok(named) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        response.headers_mut().insert(CONTENT_DISPOSITION, named);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_on_this_machine_is_told_localhost_where_that_is_listened_on() {
        let [near, all, far] = ["127.0.0.1:1465", "0.0.0.0:2465", "192.0.2.1:3465"]
            .map(|text| text.parse::<SocketAddr>().unwrap());
        let check = |addresses: &[SocketAddr], host: &str, port: u16| {
            assert_eq!(place(addresses, "mail.contoso.example"), Some((host.to_owned(), port)));
        };
        check(&[far, near], "localhost", 1465);
        check(&[all], "localhost", 2465);
        check(&[far], "mail.contoso.example", 3465);
        assert_eq!(place(&[], "mail.contoso.example"), None);
    }

    #[test]
    fn a_code_for_a_camera_is_one_svg() {
        let drawn = drawn("https://mail.contoso.example:1443/dav/").unwrap();
        assert!(drawn.starts_with("<svg ") && drawn.trim_end().ends_with("</svg>"));
    }
}
