//! What follows from a look at a mail whose sending was begun and whose answer never came. Pure.
//!
//! Graph's send has no idempotency key, and a 504 may or may not have sent. But the mail is a draft that
//! can be looked at: sent, or not sent, or not there. What is not sent *now* may still be sent by a call
//! that is slow; so it is not sent again before it was seen unsent twice, and long enough after. What is
//! nowhere was sent and moved, or deleted: nobody but a person can tell, and it is never repeated.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A send that was begun, and what was seen of it since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// When the call was begun.
    pub since: Timestamp,
    /// When it may be looked for next, and no sooner, whoever asks.
    pub look_at: Timestamp,
    /// When it was first seen unsent, if it was seen so without a break.
    pub unsent_at: Option<Timestamp>,
    /// How often in a row it was nowhere.
    pub nowhere: u32,
}

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It is no draft any more, or it was submitted.
    Sent,
    Unsent,
    Nowhere,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Sent,
    /// The *same* draft may be sent again: a late first call and this one meet on one item.
    SendAgain,
    LookAgain(Doubt),
    /// Nobody knows: shown, and not repeated.
    Held,
}

/// How often it must be nowhere.
const NOWHERE_LOOKS: u32 = 3;

/// How long to wait, all in proportion to one quiet time (120 s by default).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    quiet: Duration,
}

impl Patience {
    pub fn new(quiet: Duration) -> Patience {
        Patience { quiet }
    }

    /// Before the first look: Exchange moves what was sent only some time after it said so.
    fn quiet(self) -> Duration {
        self.quiet
    }

    /// Between the two looks that find it unsent (60 s).
    fn apart(self) -> Duration {
        self.quiet / 2
    }

    /// After the call before it is made again (300 s).
    fn before_again(self) -> Duration {
        self.quiet * 5 / 2
    }

    /// Between looks at what is nowhere (15 min: three looks over half an hour).
    fn between_nowhere(self) -> Duration {
        self.quiet * 15 / 2
    }

    /// After its end before what was left of it may be swept (1 h).
    pub fn before_sweeping(self) -> Duration {
        self.quiet * 30
    }
}

impl Doubt {
    pub fn new(since: Timestamp, patience: Patience) -> Doubt {
        let look_at = after(since, patience.quiet());
        Doubt { since, look_at, unsent_at: None, nowhere: 0 }
    }

    /// What follows from a look at `now`, which is not before [`Doubt::look_at`].
    pub fn judge(&self, seen: Seen, now: Timestamp, patience: Patience) -> Verdict {
        match seen {
            Seen::Sent => Verdict::Sent,
            Seen::Unsent => {
                let first = self.unsent_at.unwrap_or(now);
                let at =
                    after(first, patience.apart()).max(after(self.since, patience.before_again()));
                if self.unsent_at.is_some() && now >= at {
                    return Verdict::SendAgain;
                }
                let doubt =
                    Doubt { unsent_at: Some(first), nowhere: 0, since: self.since, look_at: at };
                Verdict::LookAgain(doubt)
            }
            Seen::Nowhere => {
                let nowhere = self.nowhere + 1;
                if nowhere >= NOWHERE_LOOKS {
                    return Verdict::Held;
                }
                let look_at = after(now, patience.between_nowhere());
                Verdict::LookAgain(Doubt { nowhere, unsent_at: None, since: self.since, look_at })
            }
        }
    }
}

fn after(at: Timestamp, pause: Duration) -> Timestamp {
    at.saturating_add(pause).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATIENCE: Patience = Patience { quiet: Duration::from_secs(120) };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[test]
    fn what_is_unsent_is_sent_again_after_two_looks_and_five_minutes() {
        let doubt = Doubt::new(at(0), PATIENCE);
        assert_eq!(doubt.look_at, at(120));
        let Verdict::LookAgain(doubt) = doubt.judge(Seen::Unsent, at(120), PATIENCE) else {
            panic!("sent again at the first look")
        };
        let next = doubt.look_at;
        assert_eq!(next, at(300));
        assert_eq!(doubt.judge(Seen::Unsent, next, PATIENCE), Verdict::SendAgain);
        assert_eq!(doubt.judge(Seen::Sent, next, PATIENCE), Verdict::Sent);
        // A break begins anew.
        let Verdict::LookAgain(doubt) = doubt.judge(Seen::Nowhere, at(300), PATIENCE) else {
            panic!("held at the first look")
        };
        assert!(matches!(doubt.judge(Seen::Unsent, at(1300), PATIENCE), Verdict::LookAgain(_)));
    }

    #[test]
    fn what_is_nowhere_is_held_after_three_looks_over_half_an_hour() {
        let mut doubt = Doubt::new(at(0), PATIENCE);
        let mut now = doubt.look_at;
        for _ in 0..2 {
            let Verdict::LookAgain(next) = doubt.judge(Seen::Nowhere, now, PATIENCE) else {
                panic!("held too early")
            };
            now = next.look_at;
            doubt = next;
        }
        assert_eq!(now, at(120 + 1800));
        assert_eq!(doubt.judge(Seen::Nowhere, now, PATIENCE), Verdict::Held);
    }

    /// One call that is lost, or takes effect at some time, and looks that are themselves late or fail.
    #[derive(Debug, Clone)]
    struct Day {
        effect_at: Option<i64>,
        looks: Vec<(i64, bool)>,
        deleted_at: Option<i64>,
    }

    fn day() -> impl Strategy<Value = Day> {
        let effect = prop::option::of(0..300i64);
        let looks = prop::collection::vec((0..600i64, prop::bool::weighted(0.8)), 40);
        (effect, looks, prop::option::weighted(0.2, 0..3000i64))
            .prop_map(|(effect_at, looks, deleted_at)| Day { effect_at, looks, deleted_at })
    }

    proptest! {
        /// Effects of a call come within five minutes, in any order with looks, failed looks and a user
        /// who deletes the draft: the mail goes once at most, and what is said of it is true.
        #[test]
        fn it_goes_once_at_most_and_what_is_said_of_it_is_true(day in day()) {
            let sent_by = |now: i64| {
                let alive = |at: i64| day.deleted_at.is_none_or(|deleted| at < deleted);
                day.effect_at.is_some_and(|effect| effect <= now && alive(effect))
            };
            let mut doubt = Doubt::new(at(0), PATIENCE);
            let mut now = 120;
            for (late, answered) in day.looks.iter().copied() {
                now += late;
                if !answered {
                    continue;
                }
                let seen = match (sent_by(now), day.deleted_at.is_some_and(|deleted| deleted <= now)) {
                    (true, _) => Seen::Sent,
                    (false, true) => Seen::Nowhere,
                    (false, false) => Seen::Unsent,
                };
                match doubt.judge(seen, at(now), PATIENCE) {
                    Verdict::Sent => {
                        prop_assert!(sent_by(now));
                        return Ok(());
                    }
                    Verdict::SendAgain => {
                        prop_assert!(!sent_by(i64::MAX), "the first call has an effect as well");
                        return Ok(());
                    }
                    Verdict::Held => {
                        prop_assert!(day.deleted_at.is_some());
                        return Ok(());
                    }
                    Verdict::LookAgain(next) => {
                        now = now.max(next.look_at.as_second() - 1_800_000_000);
                        doubt = next;
                    }
                }
            }
        }
    }
}
