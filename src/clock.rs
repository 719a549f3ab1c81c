//! The time, handed in: real time, plus what a test has moved it ahead.
//!
//! Whoever writes a time down, waits for one or counts within one asks the clock that the store holds,
//! so that a test lets a day pass without waiting for it. What is about real sockets and tokens has
//! deadlines of its own, in real time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

/// Clones share the same time.
#[derive(Debug, Clone, Default)]
pub struct Clock(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    made: Instant,
    ahead_ms: AtomicI64,
    moved: Notify,
}

impl Default for Shared {
    fn default() -> Shared {
        Shared { made: Instant::now(), ahead_ms: AtomicI64::new(0), moved: Notify::new() }
    }
}

impl Clock {
    pub fn now(&self) -> Timestamp {
        let ahead = SignedDuration::from_millis(self.0.ahead_ms.load(Ordering::Relaxed));
        Timestamp::now().checked_add(ahead).unwrap_or(Timestamp::MAX)
    }

    /// Since it was made. Unlike [`Clock::now`] it does not jump when somebody sets the machine's time,
    /// so what must last is measured by it.
    pub fn running(&self) -> Duration {
        let ahead = self.0.ahead_ms.load(Ordering::Relaxed).max(0).cast_unsigned();
        self.0.made.elapsed().saturating_add(Duration::from_millis(ahead))
    }

    /// Moves it ahead, by whole milliseconds and not less, and wakes whoever sleeps on it.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX);
        let add = |ahead: i64| Some(ahead.saturating_add(by));
        let _ = self.0.ahead_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        self.0.moved.notify_waiters();
    }

    /// Ends early when the clock is moved that far.
    pub async fn sleep(&self, pause: Duration) {
        let end = self.running().saturating_add(pause);
        loop {
            // Made before we look, so that no move in between is missed.
            let moved = self.0.moved.notified();
            let left = end.saturating_sub(self.running());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                () = moved => {}
            }
        }
    }

    /// Ticks at once, and then each time so much has passed since the last tick.
    pub fn every(&self, period: Duration) -> Ticks {
        Ticks { clock: self.clone(), period, next: self.running() }
    }
}

/// See [`Clock::every`].
#[derive(Debug)]
pub struct Ticks {
    clock: Clock,
    period: Duration,
    next: Duration,
}

impl Ticks {
    /// May be dropped and asked for again.
    pub async fn tick(&mut self) {
        self.clock.sleep(self.next.saturating_sub(self.clock.running())).await;
        self.next = self.clock.running().saturating_add(self.period);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn who_sleeps_wakes_when_the_clock_is_moved_that_far_and_not_before() {
        let clock = Clock::default();
        let (before, running) = (clock.now(), clock.running());
        let mut sleeping = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(2 * HOUR).await }
        });
        tokio::task::yield_now().await;
        clock.advance(HOUR);
        let early = tokio::time::timeout(Duration::from_millis(20), &mut sleeping).await;
        assert!(early.is_err(), "an hour early");
        clock.advance(HOUR);
        tokio::time::timeout(Duration::from_secs(60), sleeping).await.unwrap().unwrap();
        assert!(clock.now().duration_since(before) >= SignedDuration::from_hours(2));
        assert!(clock.running() - running >= 2 * HOUR);
    }

    #[tokio::test]
    async fn ticks_come_at_once_and_then_once_for_each_period_that_passed() {
        let clock = Clock::default();
        let mut ticks = clock.every(HOUR);
        let soon = Duration::from_millis(20);
        ticks.tick().await;
        assert!(tokio::time::timeout(soon, ticks.tick()).await.is_err());
        // However long it was away, one tick makes up for it.
        clock.advance(3 * HOUR);
        ticks.tick().await;
        assert!(tokio::time::timeout(soon, ticks.tick()).await.is_err());
    }
}
