//! The private CA of the sandbox's HTTPS: MSAL accepts no authority without TLS.
//!
//! RFC 5280. The CA's key is dropped as soon as the one leaf is signed, so that nobody can be
//! impersonated with it; only certificates and the leaf's key remain.

use std::io;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The names that the sandbox answers to.
pub const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What the server needs, and the certificate that clients need.
pub struct Authority {
    pub ca_pem: String,
    leaf: CertificateDer<'static>,
    leaf_key: KeyPair,
}

impl Authority {
    /// Makes a CA and, signed by it, a leaf for [`NAMES`].
    pub fn make() -> Result<Authority, rcgen::Error> {
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
        Ok(Authority { ca_pem: ca.pem(), leaf: leaf.der().clone(), leaf_key })
    }

    /// Writes the CA certificate to `sandbox-ca.pem`; keys are never written.
    pub fn keep(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("sandbox-ca.pem"), &self.ca_pem)
    }

    pub fn server_config(&self) -> Result<ServerConfig, rustls::Error> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.leaf_key.serialize_der()));
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![self.leaf.clone()], key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}
