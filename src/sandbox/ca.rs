//! The private CA of the sandbox's HTTPS: MSAL accepts no authority without TLS.
//!
//! RFC 5280. The CA's key is dropped as soon as its one leaf is signed, so that nobody who trusts
//! it can be deceived with it later. The leaf and its key may be kept in a folder, so that a client
//! which was told to trust the CA need not be told again at the next start.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The names that the sandbox answers to.
pub const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The certificate for clients to trust.
pub const CA_FILE: &str = "sandbox-ca.pem";
const LEAF_FILE: &str = "sandbox-leaf.pem";
const LEAF_KEY_FILE: &str = "sandbox-leaf-key.pem";

/// What clients need (the CA's certificate) and what the server needs, all in PEM.
pub struct Authority {
    pub ca_pem: String,
    leaf_pem: String,
    leaf_key_pem: String,
}

impl Authority {
    /// The authority kept in a folder, or a new one, which is then kept there.
    pub fn open(folder: Option<&Path>) -> io::Result<Authority> {
        let Some(folder) = folder else { return Authority::make() };
        let read = |name: &str| fs::read_to_string(folder.join(name));
        if let (Ok(ca_pem), Ok(leaf_pem), Ok(leaf_key_pem)) =
            (read(CA_FILE), read(LEAF_FILE), read(LEAF_KEY_FILE))
        {
            let kept = Authority { ca_pem, leaf_pem, leaf_key_pem };
            if kept.server_config().is_ok() {
                return Ok(kept);
            }
        }
        let made = Authority::make()?;
        fs::create_dir_all(folder)?;
        write(&folder.join(LEAF_KEY_FILE), &made.leaf_key_pem, 0o600)?;
        write(&folder.join(LEAF_FILE), &made.leaf_pem, 0o644)?;
        write(&folder.join(CA_FILE), &made.ca_pem, 0o644)?;
        Ok(made)
    }

    fn make() -> io::Result<Authority> {
        Authority::sign().map_err(io::Error::other)
    }

    /// Makes a CA and, signed by it, a leaf for [`NAMES`].
    fn sign() -> Result<Authority, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name.push(DnType::CommonName, "postbridge sandbox CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

        let leaf_key = KeyPair::generate()?;
        let mut params = CertificateParams::new(NAMES.map(str::to_owned).to_vec())?;
        params.distinguished_name.push(DnType::CommonName, "localhost");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&leaf_key, &ca)?;
        Ok(Authority {
            ca_pem: ca.pem(),
            leaf_pem: leaf.pem(),
            leaf_key_pem: leaf_key.serialize_pem(),
        })
    }

    pub fn server_config(&self) -> io::Result<ServerConfig> {
        let leaf = CertificateDer::from_pem_slice(self.leaf_pem.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(self.leaf_key_pem.as_bytes());
        let (leaf, key) = (leaf.map_err(io::Error::other)?, key.map_err(io::Error::other)?);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![leaf], key))
            .map_err(io::Error::other)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// A new file in place of the old one, so that its mode is ours.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(problem) if problem.kind() != io::ErrorKind::NotFound => return Err(problem),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_kept_authority_is_the_same_at_the_next_start_and_its_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let first = Authority::open(Some(folder.path())).unwrap();
        let again = Authority::open(Some(folder.path())).unwrap();
        assert_eq!(first.ca_pem, again.ca_pem);
        let key = fs::metadata(folder.path().join(LEAF_KEY_FILE)).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
        fs::write(folder.path().join(LEAF_FILE), "damaged").unwrap();
        assert_ne!(first.ca_pem, Authority::open(Some(folder.path())).unwrap().ca_pem);
    }
}
