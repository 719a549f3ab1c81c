//! How much a client may do, and how often it may fail to log in. Pure: time is an argument.
//!
//! Every number of the SMTP front stands here with its default and its reason. Nothing here must
//! wait, count a socket or know a password.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The limits of the SMTP front. As a table of the configuration, any subset may be given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections in all: room for 1,000 clients that stay connected.
    pub connections: usize,
    /// Connections from one address, on loopback (where all clients share one) and elsewhere.
    pub connections_per_loopback_address: usize,
    pub connections_per_address: usize,
    /// A command line with its CRLF. RFC 5321 §4.5.3.1.4 asks for 512 and what extensions add.
    pub command_octets: usize,
    /// A line of an AUTH exchange (RFC 4954 §4).
    pub auth_octets: usize,
    /// A line of a mail without its CRLF. RFC 5321 §4.5.3.1.6 asks for 998.
    pub line_octets: usize,
    /// The header block of a mail.
    pub header_octets: usize,
    pub header_fields: usize,
    /// Recipients of one mail: what Exchange Online takes by default.
    pub recipients: usize,
    /// A mail, as it is offered by SIZE. The default is what Exchange Online takes by default; the
    /// configuration sets it by a key of its own.
    #[serde(skip)]
    pub message_octets: u64,
    /// Commands out of place or malformed, in one session.
    pub errors: usize,
    /// NOOP, RSET, VRFY and the like since the last mail.
    pub idle_commands: usize,
    /// Failed logins on one connection.
    pub login_tries: usize,
    /// Failed logins of one account on loopback, or from one address elsewhere, in a minute, until
    /// none is looked at any more.
    pub login_failures_per_minute: u32,
    /// The same in a day, from one address elsewhere.
    pub login_failures_per_day: u32,
    /// Time in all until a client has logged in.
    pub pre_auth_seconds: u64,
    /// Time for a whole command (RFC 5321 §4.5.3.2.7 asks for 5 minutes), and for the client to
    /// take in a reply.
    pub command_seconds: u64,
    /// Time for the whole text of a mail.
    pub data_seconds: u64,
    /// A mail must arrive at this rate once the grace is over.
    pub data_octets_per_second: u64,
    pub data_grace_seconds: u64,
    /// Time for running transactions when the daemon stops.
    pub drain_seconds: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 1200,
            connections_per_loopback_address: 1200,
            connections_per_address: 50,
            command_octets: 2048,
            auth_octets: 12_288,
            line_octets: 65_536,
            header_octets: 256 * 1024,
            header_fields: 1000,
            recipients: 500,
            message_octets: 35 << 20,
            errors: 20,
            idle_commands: 100,
            login_tries: 3,
            login_failures_per_minute: 10,
            login_failures_per_day: 50,
            pre_auth_seconds: 60,
            command_seconds: 300,
            data_seconds: 3600,
            data_octets_per_second: 500,
            data_grace_seconds: 10,
            drain_seconds: 30,
        }
    }
}

impl Limits {
    /// How long after its start a mail's text may still be waited for, when so much has come.
    pub fn data_time(&self, octets: u64) -> Duration {
        let earned = octets / self.data_octets_per_second.max(1);
        let seconds = self.data_grace_seconds.saturating_add(earned);
        Duration::from_secs(seconds.min(self.data_seconds))
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
pub struct FailedLogins {
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
    pub fn admit(&self, now: Instant, login: &str, peer: IpAddr, limits: &Limits) -> bool {
        let source = source(login, peer);
        self.failures.get(&source).is_none_or(|failures| {
            // On loopback the day does not count: one program left behind with an old password
            // would lock out all others of its account, and 130 random bits need no such help.
            let day = matches!(source, Source::Address(_));
            failures.minute.count(now, MINUTE) < limits.login_failures_per_minute
                && !(day && failures.day.count(now, DAY) >= limits.login_failures_per_day)
        })
    }

    /// Counts a failure; gives the time to wait before the reply.
    pub fn failed(&mut self, now: Instant, login: &str, peer: IpAddr) -> Duration {
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
    pub fn succeeded(&mut self, login: &str, peer: IpAddr) {
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

    #[test]
    fn any_subset_of_the_limits_is_a_configuration_and_an_unknown_one_is_not() {
        let limits: Limits = toml::from_str("recipients = 100").unwrap();
        assert_eq!(limits, Limits { recipients: 100, ..Limits::default() });
        assert!(toml::from_str::<Limits>("recipents = 100").is_err());
    }

    #[test]
    fn a_mail_earns_time_by_arriving() {
        let limits = Limits::default();
        assert_eq!(limits.data_time(0), Duration::from_secs(10));
        assert_eq!(limits.data_time(5000), Duration::from_secs(20));
        assert_eq!(limits.data_time(u64::MAX), Duration::from_secs(3600));
    }

    #[test]
    fn ten_failures_in_a_minute_shut_one_account_out_and_no_other() {
        let (limits, start) = (Limits::default(), Instant::now());
        let mut logins = FailedLogins::default();
        let mut waits = Vec::new();
        for _ in 0..10 {
            assert!(logins.admit(start, "adele@contoso.example", PEER, &limits));
            waits.push(logins.failed(start, "Adele@contoso.example", PEER).as_millis());
        }
        assert_eq!(waits, [0, 250, 500, 1000, 2000, 4000, 5000, 5000, 5000, 5000]);
        assert!(!logins.admit(start, "ADELE@contoso.example", PEER, &limits));
        assert!(logins.admit(start, "alex@contoso.example", PEER, &limits));
        assert!(logins.admit(start, "adele@contoso.example", [10, 0, 0, 1].into(), &limits));
        assert!(logins.admit(start + MINUTE, "adele@contoso.example", PEER, &limits));
    }

    #[test]
    fn elsewhere_the_address_is_shut_out_whatever_accounts_it_tries() {
        let (limits, start) = (Limits::default(), Instant::now());
        let (far, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut logins = FailedLogins::default();
        for name in 0..10 {
            logins.failed(start, &format!("user{name}"), far);
            logins.succeeded("adele", far);
        }
        assert!(!logins.admit(start, "adele", far, &limits));
        assert!(logins.admit(start, "adele", other, &limits));
        assert!(logins.admit(start, "adele", PEER, &limits));
    }

    #[test]
    fn fifty_failures_in_a_day_shut_an_address_out_until_the_day_is_over() {
        let (limits, start) = (Limits::default(), Instant::now());
        let far = IpAddr::from([192, 0, 2, 1]);
        let mut logins = FailedLogins::default();
        for minute in 0..50 {
            logins.failed(start + MINUTE * minute, "adele", far);
            logins.failed(start + MINUTE * minute, "adele", PEER);
        }
        assert!(!logins.admit(start + DAY - MINUTE, "adele", far, &limits));
        assert!(logins.admit(start + DAY, "adele", far, &limits));
        // A program with an old password does not shut out the others of its account.
        assert!(logins.admit(start + MINUTE * 50, "adele", PEER, &limits));
    }

    #[test]
    fn the_right_password_clears_the_count() {
        let (limits, start) = (Limits::default(), Instant::now());
        let mut logins = FailedLogins::default();
        for _ in 0..9 {
            logins.failed(start, "adele", PEER);
        }
        logins.succeeded("adele", PEER);
        assert_eq!(logins.failed(start, "adele", PEER), Duration::ZERO);
        assert!(logins.admit(start, "adele", PEER, &limits));
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
