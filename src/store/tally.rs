//! What was counted since the start, for those who draw curves: mails by how they ended, and how long they
//! took. In memory; what is on disk is told by `hours`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Store;
use super::spool::State;

/// Upper bounds of the buckets of [`Latency`], in seconds.
pub const BOUNDS_S: [f64; 12] =
    [0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0];

/// Each counts up.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) accepted: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) held: AtomicU64,
    pub(super) put_off: AtomicU64,
    /// One for each of [`BOUNDS_S`], and one beyond.
    buckets: [AtomicU64; BOUNDS_S.len() + 1],
    latency_ms: AtomicU64,
}

impl Tally {
    /// An attempt ended like this, so long after the mail was accepted.
    pub(super) fn became(&self, state: State, time: Duration) {
        one_more(match state {
            State::Sent => &self.sent,
            State::Failed => &self.failed,
            State::Held => &self.held,
            State::Queued | State::Attempting | State::Sending => &self.put_off,
        });
        if state == State::Sent {
            self.took(time);
        }
    }

    fn took(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let at = BOUNDS_S.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS_S.len());
        if let Some(bucket) = self.buckets.get(at) {
            one_more(bucket);
        }
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.latency_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

pub(super) fn one_more(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What was counted by now.
#[derive(Debug, Clone, PartialEq)]
pub struct Counted {
    pub accepted: u64,
    pub sent: u64,
    pub failed: u64,
    pub held: u64,
    /// Attempts after which a mail waits for another.
    pub put_off: u64,
    pub latency: Latency,
}

/// How long mails took from their acceptance until they were sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Latency {
    /// By bucket: not more than each of [`BOUNDS_S`], and the rest. None counts what another does.
    pub buckets: [u64; BOUNDS_S.len() + 1],
    pub sum: Duration,
}

impl Store {
    /// Since the start.
    pub fn counted(&self) -> Counted {
        let tally = &self.inner.spool.tally;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted {
            accepted: read(&tally.accepted),
            sent: read(&tally.sent),
            failed: read(&tally.failed),
            held: read(&tally.held),
            put_off: read(&tally.put_off),
            latency: Latency {
                buckets: std::array::from_fn(|at| tally.buckets.get(at).map_or(0, read)),
                sum: Duration::from_millis(read(&tally.latency_ms)),
            },
        }
    }

    /// Octets of mails that are on their way or kept, and how many there may be.
    pub fn spool_octets(&self) -> (u64, u64) {
        let spool = &self.inner.spool;
        (spool.waiting_octets.load(Ordering::Relaxed), spool.room.quota_octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_just_as_long_as_a_bound_is_within_it_and_what_took_for_ever_is_beyond() {
        let tally = Tally::default();
        for ms in [250, 251, 14_400_000, 14_400_001] {
            tally.took(Duration::from_millis(ms));
        }
        let counts: Vec<u64> = tally.buckets.iter().map(|n| n.load(Ordering::Relaxed)).collect();
        assert_eq!(counts, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(tally.latency_ms.load(Ordering::Relaxed), 28_800_502);
    }
}
