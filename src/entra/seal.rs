//! A refresh token on the disk: AES-256-GCM under a key that lies elsewhere.
//!
//! The associated data are the account's id and the token's generation, so a sealed token can be
//! moved neither to another account nor back in time. The key is a systemd credential named `kek`
//! (`LoadCredentialEncrypted=kek:…`), else a file of its own in the state directory: a copy of the
//! database alone opens nothing. A new key is never made while sealed tokens exist: it would turn a
//! misplaced file into lost sign-ins.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use zeroize::{Zeroize, Zeroizing};

use crate::account::AccountId;
use crate::secret::Secret;

/// Name of the systemd credential, and of the key file in the state directory.
pub const KEY_NAME: &str = "kek";
pub(super) const KEY_OCTETS: usize = 32;
const NONCE_OCTETS: usize = 12;
/// First octet of everything sealed: how to read the rest.
const VERSION: u8 = 1;
/// Sets these bytes apart from anything else that the same key might ever seal.
const PURPOSE: &[u8] = b"postbridge refresh token\0";

/// A sealed token: version, nonce, ciphertext with tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

/// The key, ready for use.
pub struct Seal {
    key: RandomizedNonceKey,
    source: Source,
}

/// Where the key came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A systemd credential: not readable for other programs of the same user.
    Credential,
    /// A file beside the database; the caller warns about it once.
    File(PathBuf),
    /// What a person knows; for a file that leaves the machine.
    Passphrase,
}

/// Why there is no key. Each has its own remedy in its text.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(
        "the key file {} is missing, and stored sign-ins exist that only it opens: put it back, or \
         provide the systemd credential \"kek\" (without it, remove the accounts and sign in anew)",
        .0.display()
    )]
    Missing(PathBuf),
    #[error(
        "the key in {} is not a key: 32 octets are wanted, or 64 hexadecimal digits",
        .0.display()
    )]
    Malformed(PathBuf),
    #[error("the key file {} can be read by others: chmod 600 it, or make a new one", .0.display())]
    Exposed(PathBuf),
    #[error("the key file {}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("the system gives no random numbers")]
    NoRandom,
}

/// The token does not open: another key, another account, another generation, or damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored sign-in cannot be opened with this key")]
pub struct Unopened;

impl Seal {
    /// Finds the key, or makes the file on first run.
    ///
    /// `credentials` is `$CREDENTIALS_DIRECTORY`; `sealed_tokens_exist` forbids a new key.
    pub fn find(
        state_dir: &Path,
        credentials: Option<&Path>,
        sealed_tokens_exist: bool,
    ) -> Result<Seal, KeyError> {
        if let Some(path) = credentials.map(|dir| dir.join(KEY_NAME))
            && let Some(file) = open(&path)?
        {
            return Seal::new(&*read(file, &path)?, Source::Credential, &path);
        }
        let path = state_dir.join(KEY_NAME);
        if let Some(file) = open(&path)? {
            let mode = file.metadata().map_err(|error| io_error(&path, error))?.mode();
            if mode & 0o077 != 0 {
                return Err(KeyError::Exposed(path));
            }
            return Seal::new(&*read(file, &path)?, Source::File(path.clone()), &path);
        }
        if sealed_tokens_exist {
            return Err(KeyError::Missing(path));
        }
        let mut key = Zeroizing::new([0_u8; KEY_OCTETS]);
        rand::fill(key.as_mut()).map_err(|_| KeyError::NoRandom)?;
        write_new(state_dir, &path, key.as_ref()).map_err(|error| io_error(&path, error))?;
        Seal::new(&key, Source::File(path.clone()), &path)
    }

    fn new(key: &[u8; KEY_OCTETS], source: Source, path: &Path) -> Result<Seal, KeyError> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, key)
            .map_err(|_| KeyError::Malformed(path.to_owned()))?;
        Ok(Seal { key, source })
    }

    /// With a key that was made of a passphrase.
    pub(super) fn by_passphrase(key: &[u8; KEY_OCTETS]) -> Result<Seal, KeyError> {
        Seal::new(key, Source::Passphrase, Path::new("passphrase"))
    }

    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Seals a token for one account and one generation of its token.
    pub fn seal(
        &self,
        account: AccountId,
        generation: u64,
        token: &Secret,
    ) -> Result<Sealed, Unopened> {
        // Room for the tag, so that no copy of the plain text is left behind by growing.
        let mut text = Vec::with_capacity(token.expose().len() + AES_256_GCM.tag_len());
        text.extend_from_slice(token.expose().as_bytes());
        let aad = Aad::from(associated(account, generation));
        let nonce = match self.key.seal_in_place_append_tag(aad, &mut text) {
            Ok(nonce) => nonce,
            Err(_) => {
                text.zeroize();
                return Err(Unopened);
            }
        };
        let mut sealed = Vec::with_capacity(1 + NONCE_OCTETS + text.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(&text);
        Ok(Sealed(sealed))
    }

    pub fn open(
        &self,
        account: AccountId,
        generation: u64,
        sealed: &Sealed,
    ) -> Result<Secret, Unopened> {
        let (&version, rest) = sealed.0.split_first().ok_or(Unopened)?;
        let (nonce, text) = rest.split_at_checked(NONCE_OCTETS).ok_or(Unopened)?;
        if version != VERSION {
            return Err(Unopened);
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unopened)?;
        let mut text = Zeroizing::new(text.to_vec());
        let aad = Aad::from(associated(account, generation));
        let plain = self.key.open_in_place(nonce, aad, &mut text).map_err(|_| Unopened)?;
        let plain = std::str::from_utf8(plain).map_err(|_| Unopened)?;
        Ok(Secret::new(plain.to_owned()))
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seal").field("source", &self.source).finish_non_exhaustive()
    }
}

fn associated(account: AccountId, generation: u64) -> Vec<u8> {
    [PURPOSE, account.0.as_bytes(), &generation.to_be_bytes()].concat()
}

fn open(path: &Path) -> Result<Option<File>, KeyError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(path, error)),
    }
}

/// 32 octets as they are, or as 64 hexadecimal digits with or without a line end.
fn read(file: File, path: &Path) -> Result<Zeroizing<[u8; KEY_OCTETS]>, KeyError> {
    let mut octets = Zeroizing::new(Vec::with_capacity(256));
    file.take(255).read_to_end(&mut octets).map_err(|error| io_error(path, error))?;
    let mut key = Zeroizing::new([0_u8; KEY_OCTETS]);
    if octets.len() == KEY_OCTETS {
        key.copy_from_slice(&octets);
        return Ok(key);
    }
    let digits = octets.trim_ascii();
    let (pairs, odd) = digits.as_chunks::<2>();
    if pairs.len() != KEY_OCTETS || !odd.is_empty() {
        return Err(KeyError::Malformed(path.to_owned()));
    }
    for (octet, [high, low]) in key.iter_mut().zip(pairs) {
        let digit = |d: &u8| char::from(*d).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let (Some(high), Some(low)) = (digit(high), digit(low)) else {
            return Err(KeyError::Malformed(path.to_owned()));
        };
        *octet = high << 4 | low;
    }
    Ok(key)
}

/// Whole or not at all, never over another file: a key that half exists would be refused for ever,
/// one that was overwritten could open nothing.
fn write_new(dir: &Path, path: &Path, key: &[u8]) -> io::Result<()> {
    let unfinished = dir.join(format!("{KEY_NAME}.new"));
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(key)?;
    file.sync_all()?;
    fs::hard_link(&unfinished, path)?;
    fs::remove_file(&unfinished)?;
    File::open(dir)?.sync_all()
}

fn io_error(path: &Path, error: io::Error) -> KeyError {
    KeyError::Io { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use uuid::Uuid;

    const A: AccountId = AccountId(Uuid::from_u128(1));
    const B: AccountId = AccountId(Uuid::from_u128(2));

    fn made() -> (tempfile::TempDir, Seal) {
        let dir = tempfile::tempdir().unwrap();
        let seal = Seal::find(dir.path(), None, false).unwrap();
        (dir, seal)
    }

    #[test]
    fn a_sealed_token_opens_for_its_account_and_generation_only() {
        let (_dir, seal) = made();
        let sealed = seal.seal(A, 7, &Secret::new("canary".into())).unwrap();
        assert!(!sealed.0.windows(6).any(|w| w == b"canary"));
        assert_eq!(seal.open(A, 7, &sealed).unwrap().expose(), "canary");
        assert!(seal.open(A, 6, &sealed).is_err());
        assert!(seal.open(B, 7, &sealed).is_err());
        for i in 0..sealed.0.len() {
            let mut bent = sealed.clone();
            bent.0[i] ^= 1;
            assert!(seal.open(A, 7, &bent).is_err(), "octet {i}");
            assert!(seal.open(A, 7, &Sealed(sealed.0[..i].to_vec())).is_err(), "cut at {i}");
        }
        let again = seal.seal(A, 7, &Secret::new("canary".into())).unwrap();
        assert_ne!(sealed, again, "a nonce was used twice");
    }

    #[test]
    fn the_key_file_is_private_and_found_again() {
        let (dir, seal) = made();
        let path = dir.path().join("kek");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let sealed = seal.seal(A, 1, &Secret::new("t".into())).unwrap();
        let again = Seal::find(dir.path(), None, true).unwrap();
        assert_eq!(again.open(A, 1, &sealed).unwrap().expose(), "t");
        assert_eq!(*again.source(), Source::File(path));
    }

    #[test]
    fn a_missing_key_is_never_replaced_while_something_is_sealed() {
        let dir = tempfile::tempdir().unwrap();
        let error = Seal::find(dir.path(), None, true).unwrap_err();
        assert!(matches!(error, KeyError::Missing(_)), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_refused() {
        let (dir, _) = made();
        let path = dir.path().join("kek");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Seal::find(dir.path(), None, true), Err(KeyError::Exposed(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for junk in ["", "short", &"g".repeat(64), &"a".repeat(63), &"a".repeat(300)] {
            fs::write(&path, junk).unwrap();
            assert!(matches!(Seal::find(dir.path(), None, true), Err(KeyError::Malformed(_))));
        }
    }

    #[test]
    fn a_systemd_credential_comes_first() {
        let (dir, _) = made();
        let credentials = tempfile::tempdir().unwrap();
        let with = || Seal::find(dir.path(), Some(credentials.path()), true).unwrap();
        assert!(matches!(with().source(), Source::File(_)), "an empty directory is passed over");
        fs::write(credentials.path().join("kek"), format!("{}\n", "0f".repeat(32))).unwrap();
        assert_eq!(*with().source(), Source::Credential);
    }

    #[test]
    fn the_debug_form_of_a_seal_shows_no_key() {
        let (dir, _) = made();
        fs::write(dir.path().join("kek"), [b'k'; 32]).unwrap();
        let seal = Seal::find(dir.path(), None, true).unwrap();
        assert!(!format!("{seal:?}").contains("kkkk"));
    }
}
