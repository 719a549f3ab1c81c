//! The key that id_tokens are signed with, RS256 as Entra's are, and its public half as a JWK.
//!
//! RFC 7515 (JWS), RFC 7517 (JWK). The key is made when it is first needed, lives in memory only,
//! and is no secret worth anything: the sandbox guards nobody's mail.

use std::sync::OnceLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use aws_lc_rs::{digest, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

#[derive(Debug, Default)]
pub struct Signing(OnceLock<Option<Key>>);

#[derive(Debug)]
struct Key {
    pair: KeyPair,
    id: String,
}

/// The machine gives no randomness, or the library refuses: nothing can be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no signing key could be made")]
pub struct NoKey;

impl Signing {
    fn key(&self) -> Result<&Key, NoKey> {
        let make = || {
            let pair = KeyPair::generate(KeySize::Rsa2048).ok()?;
            let public = AsDer::as_der(pair.public_key()).ok()?;
            let hash = digest::digest(&digest::SHA256, public.as_ref());
            let id = URL_SAFE_NO_PAD.encode(hash).chars().take(27).collect();
            Some(Key { pair, id })
        };
        self.0.get_or_init(make).as_ref().ok_or(NoKey)
    }

    /// RFC 7517 §5, with the members that Entra's keys have.
    pub fn jwks(&self, issuer: &str) -> Result<Value, NoKey> {
        let key = self.key()?;
        let public = key.pair.public_key();
        Ok(json!({"keys": [{
            "kty": "RSA",
            "use": "sig",
            "kid": key.id,
            "x5t": key.id,
            "n": URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero()),
            "e": URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero()),
            "issuer": issuer,
        }]}))
    }

    /// RFC 7515 §7.1: the compact form.
    pub fn sign(&self, claims: &Value) -> Result<String, NoKey> {
        let key = self.key()?;
        let header = json!({"typ": "JWT", "alg": "RS256", "kid": key.id});
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let mut signature = vec![0; key.pair.public_modulus_len()];
        let random = rand::SystemRandom::new();
        let made = key.pair.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature);
        made.map_err(|_| NoKey)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
