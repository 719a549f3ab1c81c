//! Carries out plans. The only caller of Graph's changing functions; it never retries.
//!
//! A [`Turn`] is the right to act for one mail of an account: only [`Executor::turn`] makes one, from
//! an entry that was claimed, and it holds the mailbox's slot until the attempt is over.

use std::sync::Arc;
use std::time::Duration;

use crate::access::{Access, AccessError};
use crate::account::Account;
use crate::graph::{Failure, Graph, pace::Slot};
use crate::mime::{Refusal, Stamp};
use crate::plan::{self, Action, Known, Plan};
use crate::store::Store;
use crate::store::spool::Entry;

/// What it takes to act; clones share it.
#[derive(Clone)]
pub struct Executor {
    store: Store,
    access: Access,
    graph: Graph,
}

/// The right to act for one claimed entry.
pub struct Turn {
    pub entry: Entry,
    pub account: Arc<Account>,
    _slot: Slot,
}

/// How one attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Graph said 202.
    Sent,
    /// Nothing happened. `throttled`: the whole mailbox is to be left alone for `after`.
    Later { after: Option<Duration>, throttled: bool, note: String },
    /// Nothing happened, and nothing of this account will until a person does something. Its standing
    /// says so already.
    AccountWaits { note: String },
    /// It will never go.
    Failed(Refused),
    /// Nobody knows whether it went.
    Unknown { note: String },
}

/// Why a mail will never go, for the report to its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// RFC 3463.
    pub status: [u8; 3],
    /// What was answered, for those who know (`Diagnostic-Code`).
    pub diagnostic: Option<String>,
    pub why: String,
    /// What the sender can do, as a sentence.
    pub remedy: &'static str,
}

impl Executor {
    pub fn new(store: Store, access: Access, graph: Graph) -> Executor {
        Executor { store, access, graph }
    }

    /// `entry` must have been claimed, and `slot` be one of its mailbox.
    pub fn turn(&self, entry: Entry, account: Arc<Account>, slot: Slot) -> Turn {
        Turn { entry, account, _slot: slot }
    }

    /// One attempt: plan, then act, with a record before what cannot be taken back.
    pub async fn attempt(&self, turn: &Turn) -> Ended {
        let plan = match self.plan(turn).await {
            Ok(plan) => plan,
            Err(ended) => return ended,
        };
        for action in plan.actions {
            if let Err(ended) = self.act(turn, action).await {
                return ended;
            }
        }
        Ended::Sent
    }

    async fn plan(&self, turn: &Turn) -> Result<Plan, Ended> {
        let octets = match self.store.body(turn.entry.id).await {
            Ok(Some(octets)) => octets,
            Ok(None) => {
                let why = "the octets of the mail are gone from the spool".to_owned();
                let remedy = "Send it again.";
                let status = [5, 3, 0];
                return Err(Ended::Failed(Refused { status, diagnostic: None, why, remedy }));
            }
            Err(error) => return Err(later(error.to_string())),
        };
        let (account, envelope) = (turn.account.clone(), turn.entry.envelope.clone());
        let stamp = Stamp { id: turn.entry.id.to_string(), accepted_at: turn.entry.accepted_at };
        // Off the reactor: two megabytes may be copied, and a panic is this mail's alone.
        let planned = tokio::task::spawn_blocking(move || {
            let (account, envelope) = (&*account, &envelope);
            plan::of_mail(Known { account, envelope, octets: &octets, stamp: &stamp })
        });
        match planned.await {
            Ok(plan) => plan.map_err(|refusal| Ended::Failed(refusal.into())),
            Err(error) => Err(later(format!("the mail could not be read: {error}"))),
        }
    }

    async fn act(&self, turn: &Turn, action: Action) -> Result<(), Ended> {
        let account = turn.account.id;
        let mut token = self.access.access_token(account).await?;
        let mut renewed = false;
        loop {
            self.store.begin_sending(turn.entry.id).await.map_err(|e| later(e.to_string()))?;
            let answer = match &action {
                Action::SendMime(message) => self.graph.send_mime(token.expose(), message).await,
            };
            match answer {
                Ok(()) => return Ok(()),
                Err(Failure::TokenRefused { why }) => {
                    // A 401 is certain: nothing was sent.
                    self.store
                        .not_sent(turn.entry.id)
                        .await
                        .map_err(|error| later(error.to_string()))?;
                    if renewed {
                        return Err(later(format!("{why} (with a new token as well)")));
                    }
                    token = self.access.renew(account, &token).await?;
                    renewed = true;
                }
                Err(failure) => {
                    if let Failure::Account { why, .. } = &failure {
                        let stopped = self.access.stopped(account, &token, why).await;
                        stopped.map_err(|error| later(error.to_string()))?;
                    }
                    return Err(failure.into());
                }
            }
        }
    }
}

fn later(note: String) -> Ended {
    Ended::Later { after: None, throttled: false, note }
}

impl From<AccessError> for Ended {
    fn from(error: AccessError) -> Ended {
        match error {
            AccessError::Later { after, why } => {
                Ended::Later { after, throttled: false, note: why }
            }
            AccessError::NeedsSignIn { why } => Ended::AccountWaits { note: why },
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        let status = refusal.enhanced;
        Refused { status, diagnostic: None, why: refusal.text, remedy: remedy(status) }
    }
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Ended {
        match failure {
            Failure::Later { after, throttled, why } => {
                Ended::Later { after, throttled, note: why }
            }
            Failure::TokenRefused { why } => later(why),
            Failure::Account { why, .. } => Ended::AccountWaits { note: why },
            Failure::Unknown { why } => Ended::Unknown { note: why },
            Failure::Never { status, code, why } => {
                let enhanced = enhanced_status(status, &code);
                Ended::Failed(Refused {
                    status: enhanced,
                    diagnostic: Some(format!("{status} {code}")),
                    why,
                    remedy: remedy(enhanced),
                })
            }
        }
    }
}

/// RFC 3463 for a refusal of Graph.
fn enhanced_status(status: u16, code: &str) -> [u8; 3] {
    match (status, code.strip_prefix("Error").unwrap_or(code)) {
        (_, "InvalidRecipients") => [5, 1, 3],
        (_, "SendAsDenied") => [5, 7, 1],
        (413, _) | (_, "MessageSizeExceeded") => [5, 3, 4],
        (_, "MimeContentInvalidBase64String" | "UnableToDeserializePostBody") => [5, 6, 0],
        _ => [5, 0, 0],
    }
}

/// What a sender can do about a status.
fn remedy(status: [u8; 3]) -> &'static str {
    match status {
        [_, 1, _] => "Check the addresses of the recipients, and send it again.",
        [_, 3, 4] => "Send it with smaller attachments, or send a link to them.",
        [_, 7, _] => {
            "Send it from an address of your own, or ask your administrator for Send As on that \
             mailbox."
        }
        [_, 6, _] => "Microsoft could not read the mail; the program that made it must be mended.",
        _ => "Show this report to your administrator.",
    }
}
