//! A seal by passphrase, for sign-ins that leave the machine: Argon2id (RFC 9106) makes the key, the seal
//! is that of the disk ([`super::seal`]).
//!
//! The parameters travel beside what is sealed, so that a later version may choose others. What comes from
//! outside is held to bounds: a file must not be able to use up the machine's memory.

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::seal::{KEY_OCTETS, Seal};
use crate::secret::Secret;

const NAME: &str = "argon2id";
/// RFC 9106 §4, the second recommended option: 64 MiB, three passes.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 4;
const SALT_OCTETS: usize = 16;
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
const PASSES_MAX: u32 = 64;

/// How the key is made of the passphrase. No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Derivation {
    algorithm: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    /// In base64.
    salt: String,
}

/// Why there is no seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSeal {
    #[error("the system gives no random numbers")]
    NoRandom,
    #[error("the sign-ins are sealed in a way that this postbridge does not know")]
    Unknown,
}

impl Derivation {
    /// With a salt of its own.
    pub fn new() -> Result<Derivation, NoSeal> {
        let mut salt = [0_u8; SALT_OCTETS];
        rand::fill(&mut salt).map_err(|_| NoSeal::NoRandom)?;
        Ok(Derivation {
            algorithm: NAME.to_owned(),
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
            salt: STANDARD.encode(salt),
        })
    }

    /// Takes about as long as a login may.
    pub fn seal(&self, passphrase: &Secret) -> Result<Seal, NoSeal> {
        let bounded = self.memory_kib <= MEMORY_KIB_MAX && self.passes <= PASSES_MAX;
        if self.algorithm != NAME || !bounded {
            return Err(NoSeal::Unknown);
        }
        let salt = STANDARD.decode(&self.salt).map_err(|_| NoSeal::Unknown)?;
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(KEY_OCTETS));
        let params = params.map_err(|_| NoSeal::Unknown)?;
        let mut key = Zeroizing::new([0_u8; KEY_OCTETS]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.expose().as_bytes(), &salt, key.as_mut())
            .map_err(|_| NoSeal::Unknown)?;
        Seal::by_passphrase(&key).map_err(|_| NoSeal::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::AccountId;
    use uuid::Uuid;

    #[test]
    fn only_the_same_passphrase_opens_what_was_sealed() {
        let how = Derivation::new().unwrap();
        let right = Secret::new("correct horse".to_owned());
        let id = AccountId(Uuid::nil());
        let sealed = how.seal(&right).unwrap().seal(id, 3, &Secret::new("token".into())).unwrap();
        let again: Derivation =
            serde_json::from_str(&serde_json::to_string(&how).unwrap()).unwrap();
        assert_eq!(again.seal(&right).unwrap().open(id, 3, &sealed).unwrap().expose(), "token");
        let wrong = Secret::new("battery staple".to_owned());
        assert!(how.seal(&wrong).unwrap().open(id, 3, &sealed).is_err());
        assert_ne!(Derivation::new().unwrap().salt, how.salt);
    }

    #[test]
    fn a_file_cannot_ask_for_all_of_the_memory() {
        let how = Derivation::new().unwrap();
        for bad in [
            Derivation { memory_kib: u32::MAX, ..how.clone() },
            Derivation { passes: u32::MAX, ..how.clone() },
            Derivation { algorithm: "md5".into(), ..how.clone() },
            Derivation { salt: "?".into(), ..how },
        ] {
            assert_eq!(bad.seal(&Secret::new("x".into())).unwrap_err(), NoSeal::Unknown);
        }
    }
}
