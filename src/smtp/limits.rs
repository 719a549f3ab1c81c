//! How much a client may do. Pure.
//!
//! Every number of the SMTP front stands here with its default and its reason. Nothing here must
//! wait, count a socket or know a password.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::login;

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
    /// For the door that all listeners share.
    pub fn logins(&self) -> login::Limits {
        login::Limits {
            per_minute: self.login_failures_per_minute,
            per_day: self.login_failures_per_day,
        }
    }

    /// How long after its start a mail's text may still be waited for, when so much has come.
    pub fn data_time(&self, octets: u64) -> Duration {
        let earned = octets / self.data_octets_per_second.max(1);
        let seconds = self.data_grace_seconds.saturating_add(earned);
        Duration::from_secs(seconds.min(self.data_seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
