//! When to try again, and when to give up. Pure: chance and time are arguments.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_secs(10);
/// The longest wait between two attempts.
const LONGEST: Duration = Duration::from_secs(3600);
/// RFC 5321 §4.5.4.1: give up after four to five days. Counted over the waits that were ordered,
/// so that time in which the account could not act (no sign-in) does not use it up.
const PATIENCE: Duration = Duration::from_secs(5 * 24 * 3600);

/// What follows an attempt after which nothing had happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    After(Duration),
    GiveUp,
}

/// `attempts` made so far (one or more), `waited` between them in all, what the other side `told`
/// us to wait, and `chance` in 0.0..1.0.
///
/// Retry-After is honoured as it is. Otherwise 10 s, doubling to 1 h, each between half and whole,
/// so that what failed together does not come back together.
pub fn next(attempts: u32, waited: Duration, told: Option<Duration>, chance: f64) -> Next {
    let pause = told.unwrap_or_else(|| {
        let doublings = attempts.saturating_sub(1).min(16);
        let whole = FIRST.saturating_mul(1 << doublings).min(LONGEST);
        whole.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    });
    if waited.saturating_add(pause) > PATIENCE { Next::GiveUp } else { Next::After(pause) }
}

/// How long a mail that has `waited` so much is still tried.
pub fn patience_left(waited: Duration) -> Duration {
    PATIENCE.saturating_sub(waited)
}

/// The time of the next attempt that is written down before the present one is made: if the process
/// dies in it, this is when it is tried again.
pub fn after_a_crash() -> Duration {
    FIRST
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_double_from_ten_seconds_to_an_hour() {
        let waits = [1, 2, 3, 9, 10, 1000].map(|n| next(n, Duration::ZERO, None, 1.0));
        let seconds = [10, 20, 40, 2560, 3600, 3600].map(|s| Next::After(Duration::from_secs(s)));
        assert_eq!(waits, seconds);
        assert_eq!(next(1, Duration::ZERO, None, 0.0), Next::After(Duration::from_secs(5)));
    }

    #[test]
    fn what_the_other_side_said_is_kept_to_the_millisecond() {
        let told = Duration::from_millis(2128);
        assert_eq!(next(7, Duration::ZERO, Some(told), 0.3), Next::After(told));
    }

    proptest! {
        #[test]
        fn five_days_of_waiting_are_used_up_and_never_more(chances in prop::collection::vec(0.0..1.0, 1..400)) {
            let mut waited = Duration::ZERO;
            let mut attempts = 0;
            let mut chance = chances.iter().cycle();
            loop {
                attempts += 1;
                match next(attempts, waited, None, *chance.next().unwrap()) {
                    Next::After(pause) => waited += pause,
                    Next::GiveUp => break,
                }
            }
            prop_assert!(waited <= PATIENCE && waited >= PATIENCE - LONGEST);
        }
    }
}
