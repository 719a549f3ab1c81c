//! The key pair that clients see: made on the first run, or the user's own.
//!
//! What is made is a certificate authority that signs one server certificate and is then
//! forgotten: its key is never written, so that nobody who gets hold of the state directory can
//! sign another name for those who trust it. A self-signed server certificate would do for some
//! clients, but not for those that refuse one without, or with, `CA:TRUE` (RFC 5280 §4.2.1.9).
//! Nothing here must ever suggest that verification be turned off.

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{ServerConfig, version};
use zeroize::Zeroizing;

/// As long as the strictest clients let a server certificate live.
const LIFETIME: Duration = Duration::from_secs(825 * 24 * 60 * 60);
/// Client clocks that run behind.
const SKEW: Duration = Duration::from_secs(60 * 60);

/// Where the PEM files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// What clients are told to trust.
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path} holds no PEM certificate or key that can be read: {source}")]
    Pem { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("{path} holds no certificate")]
    NoCertificate { path: PathBuf },
    #[error("{certificate} and {key} do not make a TLS server: {source}")]
    Unfit { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("a key pair could not be made: {0}")]
    NotMade(#[from] rcgen::Error),
}

impl Files {
    fn within(directory: &Path) -> Files {
        Files {
            ca: directory.join("ca.pem"),
            certificate: directory.join("cert.pem"),
            key: directory.join("key.pem"),
        }
    }

    fn exist(&self) -> bool {
        [&self.ca, &self.certificate, &self.key].into_iter().all(|path| path.exists())
    }
}

/// The key pair of a directory; made if any of its files is missing, and not changed otherwise.
/// `hostname` is a name of this machine beside `localhost`.
pub fn provide(directory: &Path, hostname: &str) -> Result<Files, TlsError> {
    let files = Files::within(directory);
    if !files.exist() {
        let made = make(hostname, SystemTime::now())?;
        // The certificate that clients look for comes last: what exists whole is a set.
        write(&files.key, made.key.as_bytes(), 0o600)?;
        write(&files.certificate, made.certificate.as_bytes(), 0o644)?;
        write(&files.ca, made.ca.as_bytes(), 0o644)?;
    }
    Ok(files)
}

struct Made {
    ca: String,
    certificate: String,
    key: Zeroizing<String>,
}

fn make(hostname: &str, now: SystemTime) -> Result<Made, TlsError> {
    let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = rcgen::date_time_ymd(1970, 1, 1) + since_1970;
    let (from, to) = (now - SKEW, now + LIFETIME);

    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, format!("postbridge on {hostname}"));
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (ca.not_before, ca.not_after) = (from, to);
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate()?;
    // Quirk(javamail, s-nail): DNS names are all they match; `localhost` is what we print.
    let mut names = vec!["localhost".to_owned()];
    if is_dns_name(hostname) && !hostname.eq_ignore_ascii_case("localhost") {
        names.push(hostname.to_ascii_lowercase());
    }
    let mut leaf = CertificateParams::new(names)?;
    for address in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
        leaf.subject_alt_names.push(SanType::IpAddress(address));
    }
    leaf.distinguished_name.push(DnType::CommonName, "localhost");
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Quirk(python-3.13): strict verification wants the authority's key identifier.
    leaf.use_authority_key_identifier_extension = true;
    (leaf.not_before, leaf.not_after) = (from, to);
    let certificate = leaf.signed_by(&key, &issuer)?;
    Ok(Made {
        ca: ca_certificate.pem(),
        certificate: certificate.pem(),
        key: Zeroizing::new(key.serialize_pem()),
    })
}

fn is_dns_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

/// Writes a file so that it is there whole or not at all.
fn write(path: &Path, octets: &[u8], mode: u32) -> Result<(), TlsError> {
    let new = path.with_extension("new");
    let written = (|| {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(octets)?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    written.map_err(|source| TlsError::File { path: path.to_owned(), source })
}

/// The TLS server of a key pair: TLS 1.2 and 1.3.
pub fn server(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(certificate)?;
    let private_key = PrivateKeyDer::from_pem_file(key)
        .map_err(|source| TlsError::Pem { path: key.to_owned(), source })?;
    let unfit = |source| TlsError::Unfit {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        source,
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(unfit)?
        .with_no_client_auth()
        .with_single_cert(chain, private_key)
        .map_err(unfit)?;
    // Quirk(libesmtp): hangs when session tickets follow the handshake. On one machine resuming
    // saves nothing worth the memory either.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = |source| TlsError::Pem { path: path.to_owned(), source };
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(pem)?.collect::<Result<_, _>>().map_err(pem)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(chain)
}

/// The first certificate in a file, as DER.
pub fn first(certificate: &Path) -> Result<CertificateDer<'static>, TlsError> {
    let no_certificate = || TlsError::NoCertificate { path: certificate.to_owned() };
    certificates(certificate)?.into_iter().next().ok_or_else(no_certificate)
}

/// Until when the first certificate in a file holds; `None` where that cannot be read.
pub fn expires(certificate: &Path) -> Result<Option<Timestamp>, TlsError> {
    Ok(not_after(&first(certificate)?))
}

/// RFC 5280 §4.1: the end of the validity of a certificate.
fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    const VERSION: u8 = 0xa0;
    const UTC_TIME: u8 = 0x17;
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    if fields.first() == Some(&VERSION) {
        fields = element(fields)?.2;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (_, validity, _) = element(fields)?;
    let (_, _, end) = element(validity)?;
    let (tag, text, _) = element(end)?;
    let text = std::str::from_utf8(text).ok()?;
    // RFC 5280 §4.1.2.5.1: two digits are a year from 1950 to 2049.
    let century = match (tag, text.as_bytes().first()?) {
        (UTC_TIME, b'5'..=b'9') => "19",
        (UTC_TIME, _) => "20",
        _ => "",
    };
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", format!("{century}{text}")).ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

/// X.690 §8.1: the first element in DER: its tag, its content, and what follows it.
fn element(octets: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = octets.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (length.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The SHA-256 fingerprint of the first certificate in a file, as clients show it: `AB:CD:…`.
pub fn fingerprint(certificate: &Path) -> Result<String, TlsError> {
    let hash = digest::digest(&digest::SHA256, &first(certificate)?);
    Ok(hash.as_ref().iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn it_is_known_until_when_a_certificate_holds_and_what_is_none_has_no_end() {
        let from = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let made = make("host.contoso.example", from).unwrap();
        let der = CertificateDer::from_pem_slice(made.certificate.as_bytes()).unwrap();
        let end = 1_800_000_000 + LIFETIME.as_secs().cast_signed();
        assert_eq!(not_after(&der), Timestamp::from_second(end).ok());
        for length in 0..der.len() {
            not_after(&der[..length]);
        }
        assert_eq!(not_after(&der[..100]), None);
        assert_eq!(not_after(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }

    #[test]
    fn the_key_pair_is_made_once_and_its_key_is_for_the_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let files = provide(directory.path(), "mail.contoso.example").unwrap();
        let first = fingerprint(&files.certificate).unwrap();
        assert_eq!(first.len(), 32 * 3 - 1);
        assert_eq!(fs::metadata(&files.key).unwrap().mode() & 0o777, 0o600);
        assert_eq!(provide(directory.path(), "other.example").unwrap(), files);
        assert_eq!(fingerprint(&files.certificate).unwrap(), first);
        let config = server(&files.certificate, &files.key).unwrap();
        assert_eq!(config.send_tls13_tickets, 0);
        fs::remove_file(&files.key).unwrap();
        provide(directory.path(), "localhost").unwrap();
        assert_ne!(fingerprint(&files.certificate).unwrap(), first);
    }

    #[test]
    fn a_file_that_is_no_key_or_no_certificate_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let files = provide(directory.path(), "localhost").unwrap();
        let swapped = server(&files.key, &files.certificate).unwrap_err().to_string();
        assert!(swapped.contains("key.pem holds no certificate"), "{swapped}");
        let missing = server(&directory.path().join("none.pem"), &files.key).unwrap_err();
        assert!(missing.to_string().contains("none.pem"), "{missing}");
        let other = tempfile::tempdir().unwrap();
        let other = provide(other.path(), "localhost").unwrap();
        let mixed = server(&files.certificate, &other.key).unwrap_err();
        assert!(matches!(mixed, TlsError::Unfit { .. }), "{mixed}");
    }
}
