//! One-time links: how the person at this machine comes to the page, without a password.
//!
//! A link is given out over the control socket, to whoever may open that; it is taken once, within five
//! minutes. Nothing here may log one, or keep one that was taken.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::secret::Secret;

const LIFETIME: Duration = Duration::from_secs(300);
/// Links that may be open at once; the oldest makes room.
const LINKS_MAX: usize = 16;

/// The system gives no random numbers.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandom;

/// 256 bits that nobody can guess, in letters and digits of a URL.
pub fn random() -> Result<Secret, NoRandom> {
    let mut octets = Zeroizing::new([0; 32]);
    rand::fill(octets.as_mut()).map_err(|_| NoRandom)?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(octets.as_ref())))
}

/// The links that are open; clones share them.
#[derive(Debug, Clone)]
pub struct Links {
    page: String,
    clock: Clock,
    open: Arc<Mutex<Vec<Link>>>,
}

#[derive(Debug)]
struct Link {
    secret: Secret,
    /// By [`Clock::running`].
    until: Duration,
}

impl Links {
    /// To the page that listens at these addresses; `None` where it listens nowhere.
    ///
    /// Microsoft sends a browser back to `localhost`, and a session that was begun there goes on without a
    /// detour. But `localhost` is either family to a browser: where we hold only one of them, the other may
    /// be somebody else's.
    pub fn new(page: &[SocketAddr], clock: Clock) -> Option<Links> {
        let first = page.first()?;
        let has = |is: fn(&SocketAddr) -> bool| {
            page.iter().any(|one| one.port() == first.port() && is(one))
        };
        let page = match has(SocketAddr::is_ipv4) && has(SocketAddr::is_ipv6) {
            true => format!("localhost:{}", first.port()),
            false => first.to_string(),
        };
        Some(Links { page, clock, open: Arc::default() })
    }

    /// A new link, whole.
    pub fn issue(&self) -> Result<Secret, NoRandom> {
        let secret = random()?;
        let url = Secret::new(format!("http://{}/login?link={}", self.page, secret.expose()));
        let now = self.clock.running();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|link| link.until > now);
        if open.len() >= LINKS_MAX {
            open.remove(0);
        }
        open.push(Link { secret, until: now.saturating_add(LIFETIME) });
        Ok(url)
    }

    /// Whether this is an open link; then it is one no more.
    pub fn redeem(&self, given: &str) -> bool {
        let now = self.clock.running();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|link| link.until > now);
        // Each is looked at, so that the time says nothing of which one fits.
        let fits: Vec<bool> = open.iter().map(|link| link.secret.equals(given)).collect();
        let mut fits = fits.into_iter();
        let before = open.len();
        open.retain(|_| fits.next() != Some(true));
        open.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(url: &Secret) -> String {
        url.expose().split_once("?link=").unwrap().1.to_owned()
    }

    #[test]
    fn a_link_is_taken_once_and_within_five_minutes() {
        let clock = Clock::default();
        let links = Links::new(&[([127, 0, 0, 1], 1088).into()], clock.clone()).unwrap();
        let url = links.issue().unwrap();
        assert!(url.expose().starts_with("http://127.0.0.1:1088/login?link="));
        assert_eq!(secret(&url).len(), 43);
        let other = secret(&links.issue().unwrap());
        assert!(!links.redeem("") && !links.redeem(&secret(&url)[1..]));
        assert!(links.redeem(&secret(&url)));
        assert!(!links.redeem(&secret(&url)), "twice");
        clock.advance(LIFETIME);
        assert!(!links.redeem(&other), "too late");
    }

    #[test]
    fn a_link_goes_to_localhost_where_both_of_it_are_ours() {
        let [v4, v6] = ["127.0.0.1:1088", "[::1]:1088"].map(|one| one.parse().unwrap());
        let host = |addresses: &[SocketAddr]| Links::new(addresses, Clock::default()).unwrap().page;
        assert_eq!(host(&[v4, v6]), "localhost:1088");
        assert_eq!((host(&[v4]).as_str(), host(&[v6]).as_str()), ("127.0.0.1:1088", "[::1]:1088"));
        assert_eq!(host(&[v4, "[::1]:1089".parse().unwrap()]), "127.0.0.1:1088");
        assert!(Links::new(&[], Clock::default()).is_none());
    }

    #[test]
    fn the_oldest_of_too_many_makes_room() {
        let links = Links::new(&[([127, 0, 0, 1], 1088).into()], Clock::default()).unwrap();
        let first = secret(&links.issue().unwrap());
        let second = secret(&links.issue().unwrap());
        for _ in 1..LINKS_MAX {
            links.issue().unwrap();
        }
        assert!(!links.redeem(&first) && links.redeem(&second));
    }
}
