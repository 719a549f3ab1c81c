//! The sandbox's clock: real time, plus what a test has moved it ahead.
//!
//! Token lives, device codes and throttling windows are measured by it, so that an hour passes
//! without anybody waiting. It never goes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// Clones share the same time.
#[derive(Debug, Clone, Default)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    /// The farthest that the clock can be ahead of real time, in seconds: ten years.
    pub const AHEAD_MAX: i64 = 10 * 366 * 86_400;

    pub fn now(&self) -> Timestamp {
        let ahead = SignedDuration::from_secs(self.0.load(Ordering::Relaxed));
        Timestamp::now().checked_add(ahead).unwrap_or(Timestamp::MAX)
    }

    /// Moves the clock ahead; returns how many seconds it is ahead of real time altogether.
    pub fn advance(&self, seconds: u32) -> i64 {
        let add = |ahead: i64| Some((ahead + i64::from(seconds)).min(Clock::AHEAD_MAX));
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        add(before.unwrap_or_default()).unwrap_or_default()
    }
}
