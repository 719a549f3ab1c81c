//! How much a calendar client may do. Pure.
//!
//! Every number of the CalDAV front stands here with its reason. Nothing here must wait or count.

use std::time::Duration;

use crate::ical;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all: some programs open eight.
    pub connections: usize,
    /// From one address that is not loopback.
    pub connections_per_address: usize,
    /// Exchanges at once on one connection of HTTP/2.
    pub streams: u32,
    /// The head of a request.
    pub head_octets: usize,
    pub head_fields: usize,
    /// Time for a TLS handshake, for the head of a request from its first octet, and for a stranger in
    /// between.
    pub head_seconds: u64,
    /// How long who has logged in may be silent between two requests.
    pub idle_seconds: u64,
    /// The body of a request: an object may be as large.
    pub body_octets: usize,
    /// A body must come at this rate once the grace is over.
    pub body_octets_per_second: u64,
    pub body_grace_seconds: u64,
    /// Bodies that are held at once; the next one waits.
    pub bodies: usize,
    /// How long a client may leave an answer unread.
    pub write_seconds: u64,
    /// Time for running exchanges when the daemon stops.
    pub drain_seconds: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 64,
            connections_per_address: 16,
            streams: 16,
            head_octets: 32 * 1024,
            head_fields: 100,
            head_seconds: 10,
            idle_seconds: 60,
            body_octets: ical::OCTETS_MAX,
            body_octets_per_second: 500,
            body_grace_seconds: 10,
            bodies: 32,
            write_seconds: 60,
            drain_seconds: 20,
        }
    }
}

impl Limits {
    /// How long after its start a body may still be waited for, when so much of it has come.
    pub fn body_time(&self, octets: usize) -> Duration {
        let earned = octets as u64 / self.body_octets_per_second.max(1);
        Duration::from_secs(self.body_grace_seconds.saturating_add(earned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_earns_time_by_arriving() {
        let limits = Limits::default();
        assert_eq!(limits.body_time(0), Duration::from_secs(10));
        assert_eq!(limits.body_time(5000), Duration::from_secs(20));
        assert_eq!(limits.body_octets, 1024 * 1024);
    }
}
