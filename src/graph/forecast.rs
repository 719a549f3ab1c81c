//! How long the mails that wait for a mailbox will take, as far as one can tell. Pure.
//!
//! From what the last attempts took and what Microsoft allows. It knows nothing of what will go wrong.

use std::time::Duration;

/// What is known of a mailbox.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// Nothing is begun before.
    pub blocked: Duration,
    /// How long an attempt took, and how many requests it made; both smoothed.
    pub attempt: Duration,
    pub requests: f64,
    /// Attempts at the same time.
    pub at_once: u32,
    /// `None`: no pace of its own.
    pub of_mails: Option<Budget>,
    pub of_requests: Budget,
    pub of_octets: Budget,
}

/// So much may be used within so long, of which there is so much left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    pub most: u64,
    pub left: u64,
    pub within: Duration,
}

impl Budget {
    /// How many more windows so much takes, in time.
    fn wait(self, amount: f64) -> Duration {
        let over = (amount - self.left as f64).max(0.0);
        let windows = (over / self.most.max(1) as f64).ceil();
        seconds(windows * self.within.as_secs_f64())
    }
}

impl Forecast {
    /// From now until so many mails are done, which are so large in all. Whichever is slowest decides.
    pub fn until_done(&self, mails: u64, octets: u64) -> Duration {
        let count = mails as f64;
        let rounds = (count / f64::from(self.at_once.max(1))).ceil();
        let work = seconds(rounds * self.attempt.as_secs_f64());
        let paced = self.of_mails.map_or(Duration::ZERO, |budget| budget.wait(count));
        let requests = self.of_requests.wait(count * self.requests);
        // Base64 makes four octets of three.
        let octets = self.of_octets.wait(octets as f64 * 4.0 / 3.0);
        self.blocked.saturating_add(work.max(paced).max(requests).max(octets))
    }
}

/// What is beyond all bounds is the longest there is.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Forecast = Forecast {
        blocked: Duration::ZERO,
        attempt: Duration::from_millis(600),
        requests: 3.0,
        at_once: 3,
        of_mails: None,
        of_requests: Budget { most: 9_900, left: 9_900, within: Duration::from_secs(602) },
        of_octets: Budget { most: 150_000_000, left: 0, within: Duration::from_secs(302) },
    };

    #[test]
    fn the_slowest_of_work_pace_and_budgets_decides() {
        let with = |change: &dyn Fn(&mut Forecast)| {
            let mut forecast = FREE;
            change(&mut forecast);
            forecast
        };
        let s = Duration::from_secs_f64;
        let thirty = |left| Budget { most: 30, left, within: s(60.0) };
        for (forecast, mails, octets, expected) in [
            (FREE, 0, 0, s(0.0)),
            (FREE, 1, 0, s(0.6)),
            (FREE, 3, 0, s(0.6)),
            (FREE, 4, 0, s(1.2)),
            (FREE, 3_000, 0, s(600.0)),
            // 30,000 requests: 9,900 at once, and three more windows.
            (with(&|of| of.attempt = s(0.1)), 10_000, 0, s(1806.0)),
            (with(&|of| of.of_requests.left = 0), 1, 0, s(602.0)),
            // 300 MB as they are uploaded.
            (FREE, 10, 225_000_000, s(604.0)),
            (with(&|of| of.of_mails = Some(thirty(30))), 30, 0, s(6.0)),
            (with(&|of| of.of_mails = Some(thirty(30))), 31, 0, s(60.0)),
            (with(&|of| of.of_mails = Some(thirty(0))), 90, 0, s(180.0)),
            (with(&|of| of.blocked = s(3600.0)), 3, 0, s(3600.6)),
            (with(&|of| of.attempt = Duration::MAX), u64::MAX, u64::MAX, Duration::MAX),
        ] {
            let got = forecast.until_done(mails, octets);
            let apart = got.abs_diff(expected);
            assert!(apart < Duration::from_millis(1), "{mails} {octets}: {got:?}, {expected:?}");
        }
    }
}
