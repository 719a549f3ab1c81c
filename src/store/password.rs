//! Local passwords: what a mail client shows us instead of anything of Microsoft's.
//!
//! They are made here and nowhere else, at 130 random bits, so a salted SHA-256 is enough: there is
//! no weak one to guess, and a slow hash would only be a lever to stall us with. A password must not
//! be stored, and not be shown twice.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;

use crate::secret::Secret;

/// Crockford's base 32: no letter that looks like a digit.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const SYMBOLS: usize = 26;
const GROUP: usize = 5;

/// Makes a password, such as `k3v9d-0m2xq-77tca-p1w5z-r8hsn4`.
pub(super) fn generate() -> Result<Secret, Unspecified> {
    let mut random = zeroize::Zeroizing::new([0_u8; SYMBOLS]);
    rand::fill(random.as_mut())?;
    let mut text = String::with_capacity(SYMBOLS + SYMBOLS / GROUP);
    for (i, octet) in random.iter().enumerate() {
        // The last group takes the one that is left over.
        if i > 0 && i % GROUP == 0 && i + 1 < SYMBOLS {
            text.push('-');
        }
        text.extend(ALPHABET.get(usize::from(octet & 31)).map(|symbol| char::from(*symbol)));
    }
    Ok(Secret::new(text))
}

/// What is kept of a password.
#[derive(Clone)]
pub(super) struct Digest {
    pub salt: Vec<u8>,
    pub digest: Vec<u8>,
}

impl Digest {
    pub(super) fn of(password: &Secret) -> Result<Digest, Unspecified> {
        let mut salt = vec![0; 16];
        rand::fill(&mut salt)?;
        let digest = digest(&salt, password.expose());
        Ok(Digest { salt, digest: digest.to_vec() })
    }

    /// Belongs to no password: for unknown logins, so that they cost the same work.
    pub(super) fn of_nobody() -> Digest {
        Digest { salt: vec![0; 16], digest: vec![0; SHA256_OUTPUT_LEN] }
    }

    /// Takes a time that does not depend on how much of it is right.
    pub(super) fn matches(&self, password: &str) -> bool {
        verify_slices_are_equal(&digest(&self.salt, password), &self.digest).is_ok()
    }
}

/// The groups' hyphens may be left out, and case does not count: people type this into scanners.
fn digest(salt: &[u8], password: &str) -> [u8; SHA256_OUTPUT_LEN] {
    let mut context = Context::new(&SHA256);
    context.update(salt);
    for octet in password.bytes().filter(|o| !matches!(o, b'-' | b' ')) {
        context.update(&[octet.to_ascii_lowercase()]);
    }
    let mut out = [0; SHA256_OUTPUT_LEN];
    // The lengths are equal by definition.
    out.copy_from_slice(context.finish().as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_has_130_bits_and_can_be_read_aloud() {
        let password = generate().unwrap();
        let text = password.expose();
        assert_eq!(text.len(), 30, "{text}");
        assert_eq!(text.split('-').map(str::len).collect::<Vec<_>>(), [5, 5, 5, 5, 6]);
        assert!(text.bytes().all(|b| b == b'-' || ALPHABET.contains(&b)));
        assert!(!generate().unwrap().equals(text));
    }

    #[test]
    fn only_the_password_itself_matches_its_digest() {
        let password = generate().unwrap();
        let kept = Digest::of(&password).unwrap();
        let text = password.expose();
        assert!(kept.matches(text));
        assert!(kept.matches(&text.replace('-', "").to_uppercase()));
        assert!(!kept.matches(&text[1..]));
        assert!(!kept.matches(""));
        assert!(!Digest::of_nobody().matches(""));
        assert_ne!(kept.digest, Digest::of(&password).unwrap().digest, "the salt is not used");
    }
}
