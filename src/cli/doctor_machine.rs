//! What `postbridge doctor` looks at on this machine: configuration, state directory, ports, certificate.
//! It changes nothing.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use super::doctor_words::Finding;
use super::fitness;
use crate::config::Config;
use crate::store;
use crate::store::snapshot::DATABASE;
use crate::tls;

/// A listener on this machine answers at once.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// A certificate that has less to go is spoken of.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// `subject` is what the configuration file is called.
pub fn configuration(config: &Config, subject: &str) -> Vec<Finding> {
    let faults = fitness::faults_of_text(config);
    if faults.is_empty() {
        return vec![Finding::good("configuration", "configuration", subject)];
    }
    let bad = |fault: &String| {
        // What is wrong and what to do about it are one sentence there.
        let (what, remedy) = fault.rsplit_once("; ").unwrap_or((fault, ""));
        Finding::bad("configuration", "configuration", what, remedy)
    };
    faults.iter().map(bad).collect()
}

/// The state directory, and the modes of what is secret in it.
pub fn state(config: &Config) -> Vec<Finding> {
    let directory = config.state_dir();
    if let Some(fault) = fitness::state_directory(&directory) {
        let (what, remedy) = fault.rsplit_once("; ").unwrap_or((&fault, ""));
        return vec![Finding::bad("state", "state directory", what, remedy)];
    }
    if !directory.exists() {
        let text = format!("{} is made at the first start", directory.display());
        return vec![Finding::not_looked_at("state", "state directory", text)];
    }
    let secrets = ["kek", DATABASE, "postbridge.db-wal", "spool", "tls/key.pem", "control.sock"];
    let exposed: Vec<PathBuf> = secrets
        .iter()
        .map(|name| directory.join(name))
        .filter(|path| fs::metadata(path).is_ok_and(|found| found.mode() & 0o077 != 0))
        .collect();
    if exposed.is_empty() {
        return vec![Finding::good("state", "state directory", directory.display())];
    }
    let bad = |path: &PathBuf| {
        let path = path.display();
        let remedy = format!("chmod go= {path}");
        Finding::bad("state", "state directory", format!("{path} is open to others"), &remedy)
    };
    exposed.iter().map(bad).collect()
}

/// Whether the bridge listens, or could.
pub fn ports(config: &Config) -> Vec<Finding> {
    let runs = store::is_held(&config.state_dir());
    let all = fitness::addresses(config).into_iter();
    all.filter(|(_, address)| address.port() != 0)
        .filter_map(
            |(key, address)| if runs { listening(key, address) } else { free(key, address) },
        )
        .collect()
}

fn listening(key: &str, address: SocketAddr) -> Option<Finding> {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let subject = format!("{key} {address}");
    match TcpStream::connect_timeout(&SocketAddr::new(ip, address.port()), CONNECT_TIME) {
        Ok(_) => Some(Finding::good("port", &subject, "listening")),
        Err(error) if lacks_ipv6(address, &error) => None,
        Err(error) => {
            let text = format!("the bridge runs and does not listen there: {error}");
            let remedy = "if the configuration was changed, start the bridge anew";
            Some(Finding::bad("port", &subject, text, remedy))
        }
    }
}

fn free(key: &str, address: SocketAddr) -> Option<Finding> {
    let subject = format!("{key} {address}");
    match TcpListener::bind(address) {
        Ok(_) => Some(Finding::good("port", &subject, "free; the bridge does not run")),
        Err(error) if lacks_ipv6(address, &error) => None,
        Err(error) => {
            let remedy = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    format!(
                        "another program has it: set {key} to another port, or stop that one (ss -ltnp)"
                    )
                }
                io::ErrorKind::PermissionDenied => {
                    format!("a port below 1024 needs a right of its own: set {key} to a higher one")
                }
                _ => format!("set {key} to an address of this machine"),
            };
            Some(Finding::bad("port", &subject, error, &remedy))
        }
    }
}

/// The default names `[::1]`, which not every machine has.
fn lacks_ipv6(address: SocketAddr, error: &io::Error) -> bool {
    address.is_ipv6()
        && (error.kind() == io::ErrorKind::AddrNotAvailable
            || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()))
}

/// What programs see of us.
pub fn certificate(config: &Config) -> Finding {
    const CHECK: &str = "certificate";
    let own = match (&config.smtp.certificate, &config.smtp.key) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.get_ref().clone())),
        _ => None,
    };
    let is_own = own.is_some();
    let made = config.state_dir().join("tls");
    let (path, key) = own.unwrap_or_else(|| (made.join("cert.pem"), made.join("key.pem")));
    if !is_own && !path.exists() {
        return Finding::not_looked_at(CHECK, CHECK, "it is made at the first start");
    }
    let renew = match is_own {
        true => "put a new one in its place and start the bridge anew".to_owned(),
        false => format!(
            "remove {} and start the bridge anew; programs must then trust the new ca.pem",
            made.display()
        ),
    };
    if let Err(error) = tls::server(&path, &key) {
        return Finding::bad(CHECK, CHECK, error, &renew);
    }
    let looked = match Certificate::of_file(&path) {
        Ok(looked) => looked,
        Err(why) => return Finding::bad(CHECK, CHECK, why, &renew),
    };
    let (now, until) = (Timestamp::now(), looked.until);
    let shown = path.display();
    if now > until {
        return Finding::bad(CHECK, CHECK, format!("{shown} has expired, {until}"), &renew);
    }
    if now < looked.from {
        let text = format!("{shown} begins to be valid {}", looked.from);
        return Finding::bad(CHECK, CHECK, text, "set the clock of this machine, or wait");
    }
    if let Some(hostname) = &config.smtp.hostname
        && !looked.is_for(hostname)
    {
        let text = format!(
            "{shown} is not for smtp.hostname = {hostname:?} but for {}",
            looked.names.join(", ")
        );
        return Finding::bad(CHECK, CHECK, text, &renew);
    }
    let soon = until.duration_since(now) < SOON;
    let warning = if soon { "; soon: " } else { "" };
    let names = looked.names.join(", ");
    let renew = if soon { renew.as_str() } else { "" };
    Finding::good(CHECK, CHECK, format!("{shown}, for {names}, until {until}{warning}{renew}"))
}

/// As much of a certificate as is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    pub from: Timestamp,
    pub until: Timestamp,
    /// DNS names and addresses.
    pub names: Vec<String>,
    /// The organization that signed it, or whatever else it calls itself.
    pub issuer: String,
}

impl Certificate {
    fn of_file(path: &Path) -> Result<Certificate, String> {
        let read = CertificateDer::from_pem_file(path);
        let der = read.map_err(|error| format!("{}: {error}", path.display()))?;
        Certificate::of_der(&der).ok_or_else(|| format!("{} cannot be read", path.display()))
    }

    /// RFC 5280.
    pub fn of_der(der: &[u8]) -> Option<Certificate> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let validity = certificate.validity();
        let at = |second| Timestamp::from_second(second).ok();
        let named = certificate.extensions().iter().find_map(|one| match one.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        });
        let name = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(octets) => match <[u8; 4]>::try_from(*octets) {
                Ok(v4) => Some(IpAddr::from(v4).to_string()),
                Err(_) => Some(IpAddr::from(<[u8; 16]>::try_from(*octets).ok()?).to_string()),
            },
            _ => None,
        };
        let issuer = certificate.issuer();
        let organization = issuer.iter_organization().chain(issuer.iter_common_name()).next();
        let issuer = match organization.and_then(|name| name.as_str().ok()) {
            Some(name) => name.to_owned(),
            None => issuer.to_string(),
        };
        Some(Certificate {
            from: at(validity.not_before.timestamp())?,
            until: at(validity.not_after.timestamp())?,
            names: named.into_iter().flatten().filter_map(name).collect(),
            // It is text from outside.
            issuer: issuer.replace(char::is_control, " "),
        })
    }

    fn is_for(&self, hostname: &str) -> bool {
        let hostname = hostname.to_ascii_lowercase();
        self.names.iter().map(|name| name.to_ascii_lowercase()).any(|name| {
            let below = hostname.split_once('.').map(|(_, below)| below);
            name == hostname || below.is_some() && name.strip_prefix("*.") == below
        })
    }
}
