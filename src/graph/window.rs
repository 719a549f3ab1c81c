//! How much was used within the last so many seconds, and how long until there is room for more. Pure.
//!
//! Kept in buckets of a second, so that its memory is bounded by the window's length, however much is used.
//! A bucket counts until all of it lies behind: what is let through never exceeds the most in any window of
//! that length, and what is not let through would exceed it in one that is a second longer.

use std::collections::VecDeque;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Window {
    length: Duration,
    /// Second, and what was used in it; oldest first.
    buckets: VecDeque<(u64, u64)>,
    used: u64,
}

impl Window {
    pub fn new(length: Duration) -> Window {
        Window { length, buckets: VecDeque::new(), used: 0 }
    }

    /// Whether so much more is within the `most`: how long it must wait, or `None`. What is more than
    /// the most by itself goes alone. `now` counts from any fixed point, and does not go back.
    pub fn wait(&mut self, now: Duration, amount: u64, most: u64) -> Option<Duration> {
        let used = self.used(now);
        let over = used.saturating_add(amount).saturating_sub(most).min(used);
        let mut freed = 0;
        let mut wait = None;
        for (second, bucket) in &self.buckets {
            if freed >= over {
                break;
            }
            freed += bucket;
            wait = Some(end(*second, self.length).saturating_sub(now));
        }
        wait
    }

    pub fn add(&mut self, now: Duration, amount: u64) {
        if amount == 0 {
            return;
        }
        self.used = self.used.saturating_add(amount);
        match self.buckets.back_mut() {
            Some((second, bucket)) if *second == now.as_secs() => *bucket += amount,
            _ => self.buckets.push_back((now.as_secs(), amount)),
        }
    }

    pub fn used(&mut self, now: Duration) -> u64 {
        while let Some((second, bucket)) = self.buckets.front().copied() {
            if now < end(second, self.length) {
                break;
            }
            self.used = self.used.saturating_sub(bucket);
            self.buckets.pop_front();
        }
        self.used
    }
}

/// From when on a bucket counts no more.
fn end(second: u64, length: Duration) -> Duration {
    Duration::from_secs(second + 1).saturating_add(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LENGTH: Duration = Duration::from_secs(10);
    const MOST: u64 = 50;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_wait_is_until_enough_lies_behind() {
        let mut window = Window::new(LENGTH);
        for (ms, amount) in [(500, 20), (900, 10), (3000, 20)] {
            assert_eq!(window.wait(at(ms), amount, MOST), None);
            window.add(at(ms), amount);
        }
        assert_eq!(window.wait(at(3000), 0, MOST), None);
        assert_eq!(window.wait(at(3000), 30, MOST), Some(at(8000)));
        assert_eq!(window.wait(at(3000), 31, MOST), Some(at(11_000)));
        assert_eq!(window.wait(at(3000), 1000, MOST), Some(at(11_000)));
        assert_eq!(window.wait(at(10_999), 1, MOST), Some(at(1)));
        assert_eq!(window.wait(at(11_000), 30, MOST), None);
        assert_eq!((window.used(at(11_000)), window.used(at(14_000))), (20, 0));
        assert_eq!(window.wait(at(14_000), 1000, MOST), None);
    }

    proptest! {
        /// Each amount is used as soon as it may be, some time after the one before.
        #[test]
        fn never_more_than_the_most_in_any_window_and_nothing_is_refused_that_fits(
            asked in prop::collection::vec((0..4000u64, 1..=MOST), 1..200)
        ) {
            let mut window = Window::new(LENGTH);
            let mut used: Vec<(Duration, u64)> = Vec::new();
            let within = |used: &[(Duration, u64)], now: Duration, length: Duration| -> u64 {
                let recent = used.iter().filter(|(then, _)| *then + length > now);
                recent.map(|(_, amount)| amount).sum()
            };
            let mut now = Duration::ZERO;
            for (gap, amount) in asked {
                now += at(gap);
                if let Some(wait) = window.wait(now, amount, MOST) {
                    let long = LENGTH + at(1000);
                    prop_assert!(within(&used, now, long) + amount > MOST, "it fits");
                    let early = now + wait.saturating_sub(at(1));
                    prop_assert!(window.wait(early, amount, MOST).is_some(), "it fits before");
                    now += wait;
                    prop_assert_eq!(window.wait(now, amount, MOST), None);
                }
                window.add(now, amount);
                used.push((now, amount));
                prop_assert!(within(&used, now, LENGTH) <= MOST);
                prop_assert!(window.buckets.len() <= 12);
            }
        }
    }
}
