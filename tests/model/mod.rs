//! A model of one mail that goes through a draft, and of all that is around it: the row on the disk, the
//! steps of an attempt, the mailbox, the calls under way.
//!
//! What decides is the real code: [`postbridge::doubt`], what a failure says of a send, how a draft stands.
//! Time is in units of half a quiet time and relative to now, so that there are no more states than can be
//! looked at.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod search;
pub mod steps;

use std::sync::LazyLock;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use postbridge::doubt::{Doubt, Patience, Seen};
use postbridge::graph::Failure;
use postbridge::graph::message::{FLAGS_PROPERTY, Found};
use postbridge::store::order::Order;
use postbridge::store::spool::State;

/// A quiet time is two units.
pub const UNIT: SignedDuration = SignedDuration::from_secs(60);
pub const QUIET: Duration = Duration::from_secs(120);
/// A call has no effect any more when it is as old as this: 2.5 quiet times.
pub const LATEST: u8 = 5;
/// What was submitted has left Drafts by then.
pub const MOVED: u8 = 2;

/// Time is relative: it is always now.
pub fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

pub fn patience() -> Patience {
    Patience::new(QUIET)
}

/// How many faults there are, deletions by the user, and orders.
pub const BOUNDS: [u8; 3] = [4, 1, 1];

/// What is assumed of the world outside.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub name: &'static str,
    /// A call that has had no effect at this age, in units, has none any more; `None`: it may for ever.
    pub effect_before: Option<u8>,
    /// A draft that was submitted looks unsent until it has left Drafts.
    pub flags_hidden: bool,
    pub second_send: Second,
    /// Where a call went out long after it was written down, the bridge may die before it can say so.
    pub late_call_lost: bool,
    /// What the protocol does wrong.
    pub broken: Option<Broken>,
}

/// What a call does that finds its draft submitted already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Second {
    /// It is accepted, and sends the mail a second time.
    Sends,
    /// It is not found, refused, or accepted without an effect.
    Harmless,
}

/// Ways in which the protocol could be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// Nothing is written down before the send.
    NoRecord,
    /// What is seen unsent once is sent again.
    OneLook,
    /// What has no answer is sent again.
    NoLook,
    /// It is looked for whenever somebody asks.
    TooEarly,
    /// A 404 says that it was not sent.
    NotFoundCounts,
    /// A start puts back what was being sent as if it were not.
    ForgottenAtStart,
    /// What comes of the second call makes forget the first one.
    EarlierForgotten,
    /// The second call's refusal says that the first one sent nothing.
    FirstRefusalCounts,
    /// The time of the look is counted from the record, however long the call took.
    CountedFromRecord,
    /// After five days it failed, whatever is in doubt.
    PatienceFails,
    /// What a mail left behind is deleted without another look at the mail.
    SweptBlindly,
}

/// Each, and the one of [`SETTINGS`] in which it does harm.
pub const BROKEN: [(Broken, usize); 11] = [
    (Broken::NoRecord, 0),
    (Broken::OneLook, 0),
    (Broken::NoLook, 0),
    (Broken::TooEarly, 0),
    (Broken::NotFoundCounts, 2),
    (Broken::ForgottenAtStart, 0),
    (Broken::EarlierForgotten, 2),
    (Broken::FirstRefusalCounts, 2),
    (Broken::CountedFromRecord, 0),
    (Broken::PatienceFails, 0),
    (Broken::SweptBlindly, 0),
];

/// As far as it is assumed; each with all that may go wrong.
pub const SETTINGS: [Setting; 3] = [
    Setting {
        name: "effects in time, flags readable, a second send sends",
        effect_before: Some(LATEST),
        flags_hidden: false,
        second_send: Second::Sends,
        late_call_lost: false,
        broken: None,
    },
    Setting {
        name: "effects seen in time, flags hidden, a second send sends",
        effect_before: Some(LATEST - MOVED),
        flags_hidden: true,
        second_send: Second::Sends,
        late_call_lost: false,
        broken: None,
    },
    Setting {
        name: "effects at any time, flags hidden, a second send is harmless",
        effect_before: None,
        flags_hidden: true,
        second_send: Second::Harmless,
        late_call_lost: false,
        broken: None,
    },
];

/// [`Doubt`], with its times relative. When it began decides nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Doubted {
    pub look_in: u8,
    pub unsent: bool,
    pub nowhere: u8,
    pub refused: bool,
}

impl From<&Doubt> for Doubted {
    fn from(doubt: &Doubt) -> Doubted {
        let units = doubt.look_at.duration_since(now()).as_secs() / UNIT.as_secs();
        Doubted {
            look_in: units.max(0).try_into().unwrap(),
            unsent: doubt.unsent,
            nowhere: doubt.nowhere.try_into().unwrap(),
            refused: doubt.refused,
        }
    }
}

impl From<Doubted> for Doubt {
    fn from(doubt: Doubted) -> Doubt {
        Doubt {
            since: now(),
            look_at: now() + UNIT * i32::from(doubt.look_in),
            unsent: doubt.unsent,
            nowhere: doubt.nowhere.into(),
            refused: doubt.refused,
        }
    }
}

/// What is recorded of a mail's draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Progress {
    /// Which of the mailbox.
    pub draft: Option<usize>,
    pub tagged: bool,
    pub doubt: Option<Doubted>,
}

/// The mail on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row {
    pub state: State,
    pub progress: Progress,
    /// It was an operator who ended it.
    pub by_order: bool,
}

impl Row {
    /// What a start makes of it.
    pub fn start(self) -> Row {
        let state = match (self.state, self.progress.doubt) {
            (State::Attempting, _) | (State::Sending, Some(_)) => State::Queued,
            (State::Sending, None) => State::Held,
            (state, _) => state,
        };
        Row { state, ..self }
    }

    pub fn begin_sending(self, progress: Progress) -> Row {
        assert_eq!(self.state, State::Attempting);
        Row { state: State::Sending, progress, ..self }
    }

    pub fn not_sent(self, progress: Progress) -> Row {
        Row { state: State::Attempting, progress, ..self }
    }

    /// What an order makes of it; `None`: it is refused.
    pub fn order(self, order: Order) -> Option<Row> {
        let anew = Row { state: State::Queued, progress: Progress::default(), by_order: false };
        match (order, self.state) {
            (Order::Retry, State::Queued) => Some(self),
            // The octets of what was dropped are gone.
            (Order::Retry, State::Failed) if !self.by_order => Some(anew),
            (Order::SendAgain, State::Held) => Some(anew),
            (Order::Drop, State::Queued | State::Held) => {
                Some(Row { state: State::Failed, by_order: true, ..self })
            }
            (Order::Sent, State::Held) => Some(Row { state: State::Sent, by_order: true, ..self }),
            _ => None,
        }
    }
}

/// An item in the mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Item {
    pub stage: Stage,
    pub tagged: bool,
    /// How often it went to its recipients.
    pub delivered: u8,
    /// The operator said to send the mail again, whatever became of this.
    pub excused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Stage {
    #[default]
    NotMade,
    Unsent,
    /// Submitted, still in Drafts, and nothing says that it is not unsent. For so long.
    Hidden(u8),
    Sent,
    Gone,
}

impl Item {
    /// As Graph shows it.
    pub fn found(&self, id: usize) -> Option<&'static Found> {
        static FOUND: LazyLock<Vec<[Found; 2]>> = LazyLock::new(|| {
            let item = |id: usize, is_draft: bool, flags: &str| {
                let flags = serde_json::json!([{"id": FLAGS_PROPERTY, "value": flags}]);
                let item = serde_json::json!({"id": id.to_string(), "isDraft": is_draft,
                    "singleValueExtendedProperties": flags});
                serde_json::from_value::<Found>(item).unwrap()
            };
            (0..2).map(|id| [item(id, true, "9"), item(id, false, "1")]).collect()
        });
        match self.stage {
            Stage::NotMade | Stage::Gone => None,
            Stage::Unsent | Stage::Hidden(_) => Some(&FOUND[id][0]),
            Stage::Sent => Some(&FOUND[id][1]),
        }
    }
}

/// A call that is to send an item, between its beginning and its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Call {
    pub item: usize,
    pub age: u8,
    /// Somebody waits for its answer.
    pub awaited: bool,
}

/// What the call that sends is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reply {
    Accepted,
    /// 400
    Refused,
    /// 404
    NotFound,
    /// 429
    Throttled,
    /// 401
    TokenRefused,
    /// 504, or the connection broke.
    None,
}

impl Reply {
    pub fn failure(self) -> Failure {
        let why = String::new();
        let never = |status| Failure::Never { status, code: String::new(), why: String::new() };
        match self {
            Reply::Accepted => unreachable!("it is none"),
            Reply::Refused => never(400),
            Reply::NotFound => never(404),
            Reply::Throttled => Failure::Later { after: None, throttled: true, why },
            Reply::TokenRefused => Failure::TokenRefused { why },
            Reply::None => Failure::Unknown { why },
        }
    }
}

/// The worker at work on the mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attempt {
    pub at: At,
    /// As it was claimed, and done since; in memory.
    pub progress: Progress,
    /// The token was renewed.
    pub renewed: bool,
    /// Time passed between the record and the call.
    pub slept: bool,
}

/// What was done last of an attempt; crashes and everything else may come in between any two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    Claimed,
    Looked(Seen),
    /// Next: a draft is made.
    ToMake,
    /// Next: it is tagged.
    ToTag,
    /// Next: *sending* is written down.
    ToRecord,
    /// Next: the call.
    ToCall,
    Waiting,
    /// Its answer had this to say.
    Answered(Reply),
    /// Next: this is written down as its end.
    Ended(Ended),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ended {
    Sent,
    Later,
    InDoubt,
    Failed,
    Unknown,
}

/// Somebody deletes the drafts that the mail left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sweep {
    /// What is to be deleted, once it was asked for.
    pub listed: Option<[bool; 2]>,
    /// The mail was set in motion since it was found at its end.
    pub overtaken: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct World {
    /// Made of properties, and so tagged from the first.
    pub large: bool,
    /// Graph refuses it for good.
    pub bad: bool,
    pub row: Row,
    pub attempt: Option<Attempt>,
    pub sweep: Option<Sweep>,
    pub items: [Item; 2],
    pub calls: [Option<Call>; 3],
    /// How much may still go wrong.
    pub faults: u8,
    pub deletions: u8,
    pub orders: u8,
    /// The user deleted something.
    pub user_deleted: bool,
    /// Five days of waiting were over.
    pub patience_over: bool,
}

/// A step, for the trace.
#[derive(Debug, Clone, Copy)]
pub enum Event {
    Begins,
    UnitPasses,
    Claim,
    Look,
    LookFails,
    TooEarlyToLook,
    Judge,
    DraftMade,
    DraftMadeWithoutAnswer,
    DraftNotMade,
    Tagged,
    TagFails,
    DraftGone,
    Record,
    DiskFails,
    CallBegins,
    Effect,
    /// Something on the way made the call twice; the second answer is the one that comes.
    MadeTwiceOnTheWay,
    NoAnswer,
    Throttled,
    TokenRefused,
    Weigh,
    Settle,
    FiveDaysAreOver,
    Crash,
    UserDeletes,
    LeavesDrafts,
    Ordered,
    SweepBegins,
    SweepLists,
    SweepDeletes,
}
