//! Carries out plans. The only caller of Graph's changing functions; it never retries.
//!
//! A [`Turn`] is the right to act for one mail of an account: only [`Executor::turn`] makes one, from
//! an entry that was claimed, and it holds the mailbox's slot until the attempt is over.

mod calendars;
mod converge;
mod inquire;
mod invite;
mod large;
mod mirror;
mod object;
mod occurrence;
mod outside;
mod part;
mod send;
mod translate;
mod upload;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub use invite::Invites;

use crate::access::{Access, AccessError, AccessToken};
use crate::account::{Account, AccountId};
use crate::doubt::Patience;
use crate::graph::{Failure, Graph, pace::Slot};
use crate::mime::{Refusal, Stamp};
use crate::plan::{self, Action, Known, Plan};
use crate::store::spool::{Entry, Kind};
use crate::store::{Store, StoreError};
use crate::submission::Envelope;

/// What it takes to act; clones share it.
#[derive(Clone)]
pub struct Executor {
    store: Store,
    access: Access,
    graph: Graph,
    /// What the configuration says of accounts, by login; the default for the others.
    invites: Arc<HashMap<String, Invites>>,
    patience: Patience,
    uploads: upload::Uploads,
}

/// The right to act for one claimed entry.
pub struct Turn {
    pub entry: Entry,
    pub account: Arc<Account>,
    /// Keeps the mailbox's pace.
    graph: Graph,
    _slot: Slot,
}

/// How one attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Graph said 202.
    Sent,
    /// Nothing happened. `after`: when it may be tried again, if that was said.
    Later { after: Option<Duration>, note: String },
    /// Nothing happened, and nothing of this account will until a person does something. Its standing
    /// says so already.
    AccountWaits { note: String },
    /// It will never go.
    Failed(Refused),
    /// Nobody knows whether it went.
    Unknown { note: String },
    /// Nobody knows yet; it is looked for at `at`.
    InDoubt { at: jiff::Timestamp, note: String },
}

impl Ended {
    /// Why it ended so; nothing where it was sent.
    pub fn in_words(self) -> String {
        match self {
            Ended::Sent => String::new(),
            Ended::Failed(refused) => refused.why,
            Ended::Later { note, .. }
            | Ended::AccountWaits { note }
            | Ended::Unknown { note }
            | Ended::InDoubt { note, .. } => note,
        }
    }
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
    pub fn new(store: Store, access: Access) -> Executor {
        Executor {
            graph: access.graph().clone(),
            store,
            access,
            invites: Arc::default(),
            patience: Patience::default(),
            uploads: Default::default(),
        }
    }

    /// The same, as the configuration says: what it says of accounts, by login.
    pub fn configured(&self, invites: HashMap<String, Invites>, patience: Patience) -> Executor {
        Executor { invites: Arc::new(invites), patience, ..self.clone() }
    }

    /// What holds for this account's invites.
    fn settings(&self, turn: &Turn) -> Invites {
        self.invites.get(&turn.account.address.key()).cloned().unwrap_or_default()
    }

    /// `entry` must have been claimed, and `slot` be one of its mailbox.
    pub fn turn(&self, entry: Entry, account: Arc<Account>, slot: Slot) -> Turn {
        let graph = self.graph.paced(&slot);
        Turn { entry, account, graph, _slot: slot }
    }

    /// One attempt. What cannot be taken back has a record before it.
    pub async fn attempt(&self, turn: &Turn) -> Ended {
        match self.carry_out(turn).await {
            Ok(()) => Ended::Sent,
            Err(ended) => ended,
        }
    }

    async fn carry_out(&self, turn: &Turn) -> Result<(), Ended> {
        if turn.entry.kind == Kind::Object {
            return self.change_object(turn).await;
        }
        let progress = turn.entry.progress.clone();
        if self.resolve(turn, &progress).await? {
            return Ok(());
        }
        let (envelope, plan) = if plan::is_large(turn.entry.size) {
            tracing::info!(entry = %turn.entry.id, "too large to be looked into for an invite");
            let plan = plan::of_large_mail(&turn.account);
            (turn.entry.envelope.clone(), plan.map_err(|refusal| Ended::Failed(refusal.into()))?)
        } else {
            let octets = self.octets(turn).await?;
            let Some(envelope) = self.invite(turn, &octets).await? else { return Ok(()) };
            (envelope.clone(), plan_mail(turn, envelope, octets).await?)
        };
        for action in plan.actions {
            match action {
                Action::SendMime(message) => self.send_at_once(turn, &progress, &message).await?,
                Action::SendDraft(message) => {
                    self.send_by_draft(turn, progress.clone(), &message).await?;
                }
                Action::SendLarge => {
                    self.send_large(turn, envelope.clone(), progress.clone()).await?;
                }
            }
        }
        Ok(())
    }

    async fn octets(&self, turn: &Turn) -> Result<Arc<[u8]>, Ended> {
        match self.store.body(turn.entry.id).await {
            Ok(Some(octets)) => Ok(octets.into()),
            Ok(None) => Err(octets_gone()),
            Err(error) => Err(later(error.to_string())),
        }
    }

    /// One call, with a token that is good; with another one if Graph does not take it.
    async fn with_token<T, F>(
        &self,
        turn: &Turn,
        call: impl Fn(Graph, AccessToken) -> F,
    ) -> Result<T, Missed>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        self.with_token_of(turn.account.id, &turn.graph, call).await
    }

    /// The same for whoever has no entry; `graph` keeps the mailbox's pace.
    async fn with_token_of<T, F>(
        &self,
        account: AccountId,
        graph: &Graph,
        call: impl Fn(Graph, AccessToken) -> F,
    ) -> Result<T, Missed>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut token = self.access.access_token(account).await.map_err(Ended::from)?;
        let mut renewed = false;
        loop {
            match call(graph.clone(), token.clone()).await {
                Err(Failure::TokenRefused { why }) if renewed => {
                    return Err(later(format!("{why} (with a new token as well)")).into());
                }
                Err(Failure::TokenRefused { .. }) => {
                    token = self.access.renew(account, &token).await.map_err(Ended::from)?;
                    renewed = true;
                }
                Err(Failure::Never { status: 404, .. }) => return Err(Missed::Gone),
                Err(Failure::Conflict { why }) => return Err(Missed::Conflict { why }),
                Err(failure) => {
                    if let Failure::Account { why, .. } = &failure {
                        let stopped = self.access.stopped(account, &token, why).await;
                        stopped.map_err(|error| later(error.to_string()))?;
                    }
                    return Err(Ended::from(failure).into());
                }
                Ok(value) => return Ok(value),
            }
        }
    }
}

/// Off the reactor: two megabytes may be copied, and a panic is this mail's alone.
async fn plan_mail(turn: &Turn, envelope: Envelope, octets: Arc<[u8]>) -> Result<Plan, Ended> {
    let account = turn.account.clone();
    let stamp = Stamp { id: turn.entry.id.to_string(), accepted_at: turn.entry.accepted_at };
    let planned = tokio::task::spawn_blocking(move || {
        let (account, envelope) = (&*account, &envelope);
        plan::of_mail(Known { account, envelope, octets: &octets, stamp: &stamp })
    });
    match planned.await {
        Ok(plan) => plan.map_err(|refusal| Ended::Failed(refusal.into())),
        Err(error) => Err(later(format!("the mail could not be read: {error}"))),
    }
}

fn octets_gone() -> Ended {
    Ended::Failed(Refused {
        status: [5, 3, 0],
        diagnostic: None,
        why: "the octets of the mail are gone from the spool".to_owned(),
        remedy: "Send it again.",
    })
}

/// What came of a call, beside an end of the attempt.
enum Missed {
    /// 404: what was asked for is not there.
    Gone,
    /// Somebody else was writing; nothing happened.
    Conflict {
        why: String,
    },
    /// The occurrence that starts then would come to lie over a neighbour.
    Crossing(jiff::Timestamp),
    Ended(Ended),
}

impl From<Ended> for Missed {
    fn from(ended: Ended) -> Missed {
        Missed::Ended(ended)
    }
}

impl From<Missed> for Ended {
    fn from(missed: Missed) -> Ended {
        match missed {
            Missed::Ended(ended) => ended,
            Missed::Conflict { why } => later(why),
            Missed::Gone | Missed::Crossing(_) => Ended::Failed(Refused {
                status: [5, 3, 0],
                diagnostic: Some("404".into()),
                why: "Graph does not find what it was asked for".into(),
                remedy: remedy([5, 3, 0]),
            }),
        }
    }
}

fn not_written(error: StoreError) -> Failure {
    Failure::Later { after: None, throttled: false, why: error.to_string() }
}

fn later(note: String) -> Ended {
    Ended::Later { after: None, note }
}

impl From<AccessError> for Ended {
    fn from(error: AccessError) -> Ended {
        match error {
            AccessError::Later { after, why } => Ended::Later { after, note: why },
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
            // Whether that is the mailbox's pause or this mail's alone, the pace knows.
            Failure::Later { after, why, .. } => Ended::Later { after, note: why },
            Failure::TokenRefused { why } | Failure::Conflict { why } => later(why),
            Failure::Account { why, .. } => Ended::AccountWaits { note: why },
            Failure::Duplicate { .. } => later("Graph has made this before".into()),
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
