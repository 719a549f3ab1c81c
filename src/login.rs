//! Logging in with a local password, and how often it may be wrong: one count for all that listen.
//!
//! Nothing here must log, keep or compare a password: the store does that, in the same time for each.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::account::Account;
use crate::store::Store;

/// Failed logins of one account on loopback, or from one address elsewhere, until none is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub per_minute: u32,
    /// From one address elsewhere.
    pub per_day: u32,
}

/// The door; clones share its count.
#[derive(Clone)]
pub struct Logins {
    store: Store,
    limits: Limits,
    failed: Arc<Mutex<FailedLogins>>,
}

/// What came of a login.
#[derive(Debug)]
pub enum Login {
    As(Arc<Account>),
    /// To be said after this time.
    Wrong {
        delay: Duration,
    },
    /// Too many were wrong; the password was not looked at.
    Later,
    Unavailable,
}

impl Logins {
    pub fn new(store: Store, limits: Limits) -> Logins {
        Logins { store, limits, failed: Arc::default() }
    }

    pub async fn check(&self, login: &str, password: &str, peer: IpAddr) -> Login {
        let now = Instant::now();
        if !self.failed().admit(now, login, peer, self.limits) {
            return Login::Later;
        }
        match self.store.authenticate(login, password).await {
            Ok(Some(account)) => {
                self.failed().succeeded(login, peer);
                Login::As(account)
            }
            Ok(None) => {
                tracing::warn!(%peer, "a login failed");
                Login::Wrong { delay: self.failed().failed(now, login, peer) }
            }
            Err(error) => {
                tracing::error!(%error, "a login could not be checked");
                Login::Unavailable
            }
        }
    }

    fn failed(&self) -> MutexGuard<'_, FailedLogins> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reply to a failed login waits this long after the second failure, and doubles from there.
const DELAY_STEP: Duration = Duration::from_millis(250);
const DELAY_MAX: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Failed logins. On loopback, where all clients share an address, they are counted by account: one
/// client with an old password locks out no other account. Elsewhere by address: trying one account
/// after the other is no way around the limit.
#[derive(Debug, Default)]
struct FailedLogins {
    failures: HashMap<Source, Failures>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Source {
    Account(String),
    Address(IpAddr),
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    minute: Window,
    day: Window,
}

/// Failures counted since `start`.
#[derive(Debug, Clone, Copy)]
struct Window {
    start: Instant,
    count: u32,
}

impl Window {
    fn count(&self, now: Instant, length: Duration) -> u32 {
        if now.saturating_duration_since(self.start) < length { self.count } else { 0 }
    }

    fn add(&mut self, now: Instant, length: Duration) {
        if self.count(now, length) == 0 {
            *self = Window { start: now, count: 0 };
        }
        self.count = self.count.saturating_add(1);
    }
}

impl FailedLogins {
    /// More sources than this are not remembered; the oldest go first.
    const SOURCES_MAX: usize = 4096;

    /// Whether a login may be looked at now. If not, it is refused without a look at the password.
    fn admit(&self, now: Instant, login: &str, peer: IpAddr, limits: Limits) -> bool {
        let source = source(login, peer);
        self.failures.get(&source).is_none_or(|failures| {
            // On loopback the day does not count: one program left behind with an old password
            // would lock out all others of its account, and 130 random bits need no such help.
            let day = matches!(source, Source::Address(_));
            failures.minute.count(now, MINUTE) < limits.per_minute
                && !(day && failures.day.count(now, DAY) >= limits.per_day)
        })
    }

    /// Counts a failure; gives the time to wait before the reply.
    fn failed(&mut self, now: Instant, login: &str, peer: IpAddr) -> Duration {
        self.make_room(now);
        let none = Window { start: now, count: 0 };
        let failures = self
            .failures
            .entry(source(login, peer))
            .or_insert(Failures { minute: none, day: none });
        failures.minute.add(now, MINUTE);
        failures.day.add(now, DAY);
        match failures.minute.count.saturating_sub(2) {
            _ if failures.minute.count < 2 => Duration::ZERO,
            doublings => DELAY_STEP.saturating_mul(1 << doublings.min(8)).min(DELAY_MAX),
        }
    }

    /// The right password clears the failures of its account. It does not clear an address: it says
    /// nothing about the other accounts that were tried from there.
    fn succeeded(&mut self, login: &str, peer: IpAddr) {
        if let account @ Source::Account(_) = source(login, peer) {
            self.failures.remove(&account);
        }
    }

    fn make_room(&mut self, now: Instant) {
        if self.failures.len() < Self::SOURCES_MAX {
            return;
        }
        self.failures.retain(|_, failures| failures.day.count(now, DAY) > 0);
        while self.failures.len() >= Self::SOURCES_MAX {
            let oldest = self
                .failures
                .iter()
                .min_by_key(|(_, f)| f.minute.start)
                .map(|(key, _)| key.clone());
            match oldest {
                Some(key) => self.failures.remove(&key),
                None => return,
            };
        }
    }
}

/// Account names are addresses: case does not count, and 320 characters are the most they have.
fn source(login: &str, peer: IpAddr) -> Source {
    match peer.is_loopback() {
        true => Source::Account(login.chars().take(320).collect::<String>().to_lowercase()),
        false => Source::Address(peer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const LIMITS: Limits = Limits { per_minute: 10, per_day: 50 };

    #[test]
    fn ten_failures_in_a_minute_shut_one_account_out_and_no_other() {
        let (limits, start) = (LIMITS, Instant::now());
        let mut logins = FailedLogins::default();
        let mut waits = Vec::new();
        for _ in 0..10 {
            assert!(logins.admit(start, "adele@contoso.example", PEER, limits));
            waits.push(logins.failed(start, "Adele@contoso.example", PEER).as_millis());
        }
        assert_eq!(waits, [0, 250, 500, 1000, 2000, 4000, 5000, 5000, 5000, 5000]);
        assert!(!logins.admit(start, "ADELE@contoso.example", PEER, limits));
        assert!(logins.admit(start, "alex@contoso.example", PEER, limits));
        assert!(logins.admit(start, "adele@contoso.example", [10, 0, 0, 1].into(), limits));
        assert!(logins.admit(start + MINUTE, "adele@contoso.example", PEER, limits));
    }

    #[test]
    fn elsewhere_the_address_is_shut_out_whatever_accounts_it_tries() {
        let (limits, start) = (LIMITS, Instant::now());
        let (far, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut logins = FailedLogins::default();
        for name in 0..10 {
            logins.failed(start, &format!("user{name}"), far);
            logins.succeeded("adele", far);
        }
        assert!(!logins.admit(start, "adele", far, limits));
        assert!(logins.admit(start, "adele", other, limits));
        assert!(logins.admit(start, "adele", PEER, limits));
    }

    #[test]
    fn fifty_failures_in_a_day_shut_an_address_out_until_the_day_is_over() {
        let (limits, start) = (LIMITS, Instant::now());
        let far = IpAddr::from([192, 0, 2, 1]);
        let mut logins = FailedLogins::default();
        for minute in 0..50 {
            logins.failed(start + MINUTE * minute, "adele", far);
            logins.failed(start + MINUTE * minute, "adele", PEER);
        }
        assert!(!logins.admit(start + DAY - MINUTE, "adele", far, limits));
        assert!(logins.admit(start + DAY, "adele", far, limits));
        // A program with an old password does not shut out the others of its account.
        assert!(logins.admit(start + MINUTE * 50, "adele", PEER, limits));
    }

    #[test]
    fn the_right_password_clears_the_count() {
        let (limits, start) = (LIMITS, Instant::now());
        let mut logins = FailedLogins::default();
        for _ in 0..9 {
            logins.failed(start, "adele", PEER);
        }
        logins.succeeded("adele", PEER);
        assert_eq!(logins.failed(start, "adele", PEER), Duration::ZERO);
        assert!(logins.admit(start, "adele", PEER, limits));
    }

    #[test]
    fn invented_names_do_not_fill_the_memory() {
        let start = Instant::now();
        let mut logins = FailedLogins::default();
        for name in 0..5000 {
            logins.failed(start + Duration::from_millis(name), &format!("user{name}"), PEER);
        }
        assert!(logins.failures.len() <= FailedLogins::SOURCES_MAX);
    }
}
