//! What follows from the answer to a send; and, where none came, from looks at the mail. Pure.
//!
//! Graph's send has no idempotency key, and a 504 may or may not have sent. But the mail is a draft that
//! can be looked at: sent, or not sent, or not there. What is not sent *now* may still be sent by a call
//! that is slow; so it is not sent again before it was seen unsent twice, and long enough after. What is
//! nowhere was sent and moved, or deleted: nobody but a person can tell, and it is never repeated.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A send that was begun and whose answer is not known, and what was seen of it since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// When the call was begun: what was sent before is another mail.
    pub since: Timestamp,
    /// When it may be looked for next, and no sooner, whoever asks.
    pub look_at: Timestamp,
    /// It was seen unsent, and nothing else since.
    #[serde(default)]
    pub unsent: bool,
    /// How often in a row it was nowhere.
    pub nowhere: u32,
    /// A later call was refused for good: the next refusal counts.
    #[serde(default)]
    pub refused: bool,
}

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

/// How long after a send without an answer its draft is looked for first, if nobody says otherwise.
pub const QUIET: Duration = Duration::from_secs(120);

/// How long to wait, all in proportion to one quiet time (120 s by default).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    quiet: Duration,
    /// With nothing to look at, it is tried once more.
    tries_again: bool,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience::new(QUIET)
    }
}

impl Patience {
    pub fn new(quiet: Duration) -> Patience {
        Patience { quiet, tries_again: false }
    }

    /// A mail that is no draft cannot be looked at: so configured, it is sent once more after the quiet time,
    /// and may arrive twice; else it is held.
    #[must_use]
    pub fn trying_again(self, tries_again: bool) -> Patience {
        Patience { tries_again, ..self }
    }

    pub fn tries_again(self) -> bool {
        self.tries_again
    }

    /// Before the first look: Exchange moves what was sent only some time after it said so.
    fn quiet(self) -> Duration {
        self.quiet
    }

    /// Between the two looks that find it unsent (180 s): what a call does late, it has done by the second.
    fn apart(self) -> Duration {
        self.quiet * 3 / 2
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
        Doubt { since, look_at, unsent: false, nowhere: 0, refused: false }
    }

    /// What follows from a look at `now`, which is not before [`Doubt::look_at`].
    pub fn judge(&self, seen: Seen, now: Timestamp, patience: Patience) -> Verdict {
        let again = |pause, unsent, nowhere| {
            let look_at = after(now, pause);
            Verdict::LookAgain(Doubt { look_at, unsent, nowhere, ..self.clone() })
        };
        let nowhere = self.nowhere.saturating_add(1);
        match seen {
            Seen::Sent => Verdict::Sent,
            Seen::Unsent if self.unsent => Verdict::SendAgain,
            Seen::Unsent => again(patience.apart(), true, 0),
            Seen::Nowhere if nowhere >= NOWHERE_LOOKS => Verdict::Held,
            Seen::Nowhere => again(patience.between_nowhere(), false, nowhere),
        }
    }
}

/// What an answer other than yes says of its call, which was to send the mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Nothing came of the call, but of another one something may.
    NotNow,
    /// Nothing came of the call, nor would of another one.
    Refused,
    /// There was none, or none that says what came of the call.
    Unknown,
}

impl Answer {
    /// The doubt in which it leaves the mail, after a call that was begun at `since` and over at `now`;
    /// `None`: nothing came of the call, and what was known before holds as it did.
    ///
    /// An answer speaks of its own call alone: what an `earlier` one did, which had none, only a look
    /// tells. So a call may have been refused because the mail was sent already: the first refusal is
    /// looked into, and the second one counts.
    pub fn weigh(
        self,
        earlier: Option<&Doubt>,
        since: Timestamp,
        now: Timestamp,
        patience: Patience,
    ) -> Option<Doubt> {
        // The call may have gone out a moment ago, whenever it was begun: machines sleep.
        let doubt = Doubt { since, ..Doubt::new(now, patience) };
        match (self, earlier) {
            (Answer::Unknown, _) => Some(doubt),
            (Answer::Refused, Some(earlier)) if !earlier.refused => {
                Some(Doubt { since: earlier.since, refused: true, ..doubt })
            }
            (Answer::NotNow | Answer::Refused, _) => None,
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

    const PATIENCE: Patience = Patience { quiet: Duration::from_secs(120), tries_again: false };

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

    #[test]
    fn an_answer_speaks_of_its_own_call_alone() {
        let weigh = |answer: Answer, earlier| answer.weigh(earlier, at(0), at(7), PATIENCE);
        let unknown = weigh(Answer::Unknown, None).unwrap();
        assert_eq!((unknown.since, unknown.look_at), (at(0), at(127)));
        assert_eq!(weigh(Answer::NotNow, None), None);
        assert_eq!(weigh(Answer::Refused, None), None);
        let seen = Doubt { unsent: true, ..Doubt::new(at(-300), PATIENCE) };
        assert_eq!(weigh(Answer::Unknown, Some(&seen)), Some(unknown));
        assert_eq!(weigh(Answer::NotNow, Some(&seen)), None, "the doubt stays as it was");
        let refused = weigh(Answer::Refused, Some(&seen)).unwrap();
        assert_eq!((refused.since, refused.look_at, refused.unsent), (at(-300), at(127), false));
        let Verdict::LookAgain(refused) = refused.judge(Seen::Unsent, at(127), PATIENCE) else {
            panic!("sent again at the first look")
        };
        assert_eq!(weigh(Answer::Refused, Some(&refused)), None);
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
