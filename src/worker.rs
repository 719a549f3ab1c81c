//! Takes what is due from the spool and sees it to its end. The only place that retries.
//!
//! One task looks for work and hands it out; each attempt is a task of its own, so that a mailbox that
//! is slow, throttled or signed out never delays another, and a panic is one mail's failure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch::Receiver as Configured;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::account::{Account, AccountId, Standing};
use crate::doubt::Patience;
use crate::execute::{Ended, Executor, Refused, Turn};
use crate::graph::pace::{IN_FLIGHT_MAX, Pace, Slot};
use crate::mime;
use crate::plan;
use crate::pulse::Rounds;
use crate::report::{self, Fate};
use crate::report_command::ReportCommand;
use crate::retry::{self, Next};
use crate::store::spool::{Entry, Kind, Most, Outcome, Report, State};
use crate::store::{Store, StoreError};
use crate::submission::{Envelope, MailParameters};

/// Mails that come together are claimed together: one look at the spool for all of them.
const GATHER: Duration = Duration::from_millis(4);
/// Looked again after this long even if nothing called: a net, not the way.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Between tries to write down an outcome that the disk would not take.
const WRITE_AGAIN: Duration = Duration::from_secs(1);
/// How long attempts may go on after the stop was asked for.
const DRAIN: Duration = Duration::from_secs(25);
/// How long the record of an ended mail is kept.
const KEEP_ENDED: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long the octets of a mail that failed are kept for another try.
const KEEP_FAILED: Duration = Duration::from_secs(24 * 3600);
const FORGET_EVERY: Duration = Duration::from_secs(3600);
/// How often drafts are looked for that ended mails left behind, and for how many mails at once.
const SWEEP_EVERY: std::ops::Range<Duration> = Duration::from_millis(200)..Duration::from_secs(60);
const SWEPT_AT_ONCE: u32 = 20;
/// A mail that is still tried after this long is reported once.
const DELAY_REPORTED_AFTER: SignedDuration = SignedDuration::from_hours(4);
/// Held mails that are read at once at the start.
const HELD_AT_ONCE: u32 = 100;

/// What a report reads of a mail, in octets: its header, and enough to tell that it is too large to be
/// returned whole.
const REPORTED_OCTETS_MAX: u64 = report::RETURN_OCTETS_MAX as u64 + 1;
const _: () = assert!(mime::HEAD_OCTETS_MAX < report::RETURN_OCTETS_MAX);

#[derive(Clone)]
pub struct Worker {
    pub store: Store,
    pub executor: Executor,
    pub pace: Pace,
    pub patience: Patience,
    /// Gets a copy of each report.
    pub report_command: ReportCommand,
    /// Counted, so that others see that it goes on.
    pub rounds: Rounds,
}

impl Worker {
    /// Works until `stop`, each attempt as `of` is when it begins; then lets those in flight come to their
    /// end.
    pub async fn run(of: Configured<Worker>, stop: CancellationToken) {
        let mut attempts = JoinSet::new();
        let first = of.borrow().clone();
        let (store, rounds) = (first.store, first.rounds);
        let clock = store.clock().clone();
        let mut forget = clock.every(FORGET_EVERY);
        let pause = first.patience.before_sweeping().clamp(SWEEP_EVERY.start, SWEEP_EVERY.end);
        let mut sweep = clock.every(pause);
        loop {
            let worker = of.borrow().clone();
            // Asked for before we look, so that what comes in between is not missed.
            let changed = store.spool_changed();
            let wait = match worker.hand_out(&mut attempts).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::error!(%error, "the spool cannot be read");
                    WRITE_AGAIN
                }
            };
            rounds.count();
            tokio::select! {
                () = stop.cancelled() => break,
                () = changed => tokio::time::sleep(GATHER).await,
                Some(_) = attempts.join_next() => {}
                () = clock.sleep(wait) => {}
                _ = forget.tick() => worker.forget().await,
                _ = sweep.tick() => {
                    attempts.spawn(async move {
                        if let Err(error) = worker.sweep().await {
                            tracing::warn!(%error, "left-over drafts could not be swept");
                        }
                    });
                }
            }
        }
        let drained = async { while attempts.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::warn!(
                attempts = attempts.len(),
                "stopped while Graph had not answered; what became of these mails is looked into at the next start"
            );
        }
    }

    /// Starts an attempt for whatever is due and may go. Returns how long there is nothing to do.
    async fn hand_out(&self, attempts: &mut JoinSet<()>) -> Result<Duration, StoreError> {
        let now = self.store.clock().now();
        let (accounts, next) = self.store.due(now).await?;
        let mut wait = next
            .and_then(|next| Duration::try_from(next.duration_since(now)).ok())
            .map_or(LOOK_AGAIN, |next| next.min(LOOK_AGAIN));
        let mut ready: HashMap<AccountId, (Arc<Account>, Vec<Slot>)> = HashMap::new();
        let mut of = Vec::new();
        for id in accounts {
            let Some(account) = self.store.account(id).await? else {
                self.hold_orphans(id, now).await?;
                continue;
            };
            if account.standing != Standing::Ready {
                continue;
            }
            let slots = self.pace.slots(&account, IN_FLIGHT_MAX);
            let pace = &self.pace;
            if let Some(blocked) =
                pace.blocked_for(&account).or_else(|| pace.large_blocked_for(&account))
            {
                wait = wait.min(blocked);
            }
            if slots.is_empty() {
                continue;
            }
            let most = Most {
                entries: slots.len(),
                large: self.pace.large(&account),
                small_octets: plan::MIME_OCTETS_MAX as u64,
            };
            of.push((id, most));
            ready.insert(id, (account, slots));
        }
        if of.is_empty() {
            return Ok(wait);
        }
        let again_at = now.saturating_add(retry::after_a_crash()).unwrap_or(now);
        let mut claimed_of = HashSet::new();
        for entry in self.store.claim(of, now, again_at).await? {
            let Some((account, slots)) = ready.get_mut(&entry.account) else { continue };
            let Some(slot) = slots.pop() else { continue };
            claimed_of.insert(entry.account);
            let slot = slot.begin(plan::is_large(entry.size));
            let turn = self.executor.turn(entry, account.clone(), slot);
            attempts.spawn(self.clone().see_through(turn));
        }
        for id in ready.keys().filter(|id| !claimed_of.contains(id)) {
            // What is due waits behind another one of its series, which is not.
            if let Some(next) = self.store.next_due(*id, now).await? {
                wait = wait.min(Duration::try_from(next.duration_since(now)).unwrap_or_default());
            }
        }
        Ok(wait)
    }

    /// Mails of an account that is no more: in sight, and not sent.
    async fn hold_orphans(&self, account: AccountId, now: Timestamp) -> Result<(), StoreError> {
        for entry in self.store.claim(vec![(account, Most::ALL)], now, now).await? {
            let note = match entry.progress.doubt {
                None => "its account was removed; nothing was sent",
                Some(_) => "its account was removed before it was known whether it was sent",
            };
            self.settle(&entry, Outcome::Held { note: note.to_owned() }, None).await;
        }
        Ok(())
    }

    async fn see_through(self, turn: Turn) {
        let turn = Arc::new(turn);
        let attempt = {
            let (executor, turn) = (self.executor.clone(), turn.clone());
            tokio::spawn(async move { executor.attempt(&turn).await })
        };
        let ended = match attempt.await {
            Ok(ended) => ended,
            Err(error) => self.after_a_panic(&turn.entry, &error.to_string()).await,
        };
        let (outcome, report) = self.outcome(&turn, ended).await;
        self.settle(&turn.entry, outcome, report).await;
    }

    /// What is known of an attempt that broke down is what it wrote.
    async fn after_a_panic(&self, entry: &Entry, error: &str) -> Ended {
        let note = format!("the attempt broke down: {error}");
        let Ok(Some(entry)) = self.store.entry(entry.id).await else {
            return Ended::Unknown { note };
        };
        match (entry.state, entry.progress.doubt) {
            (State::Attempting, _) => Ended::Later { after: None, note },
            (_, Some(doubt)) => Ended::InDoubt { at: doubt.look_at, note },
            (_, None) => Ended::Unknown { note },
        }
    }

    /// What follows from how an attempt ended, with the report on it if one is due.
    async fn outcome(&self, turn: &Turn, ended: Ended) -> (Outcome, Option<Report>) {
        let entry = &turn.entry;
        let now = self.store.clock().now();
        match ended {
            Ended::Sent => (Outcome::Sent, self.report(turn, now, Fate::Relayed).await),
            Ended::Unknown { note } => self.held(turn, now, note).await,
            Ended::InDoubt { at, note } => {
                let pause = Duration::try_from(at.duration_since(now)).unwrap_or_default();
                match retry::next(entry.attempts, entry.waited, Some(pause), chance()) {
                    Next::After(waited) => {
                        let report = self.delay(turn, now, &note).await;
                        (Outcome::Later { due_at: at, waited, note }, report)
                    }
                    Next::GiveUp => self.held(turn, now, note).await,
                }
            }
            Ended::AccountWaits { note } => {
                (Outcome::Later { due_at: now, waited: Duration::ZERO, note }, None)
            }
            Ended::Later { after, note } => {
                match retry::next(entry.attempts, entry.waited, after, chance()) {
                    Next::After(pause) => {
                        let report = self.delay(turn, now, &note).await;
                        let due_at = now.saturating_add(pause).unwrap_or(now);
                        (Outcome::Later { due_at, waited: pause, note }, report)
                    }
                    // Of what may have been sent before, nobody can say that it was not.
                    Next::GiveUp if entry.progress.doubt.is_some() => {
                        self.held(turn, now, note).await
                    }
                    Next::GiveUp => {
                        self.failed(
                            turn,
                            now,
                            Refused {
                                // RFC 3463 §3.5: delivery time expired, and nothing more will come.
                                status: [5, 4, 7],
                                diagnostic: None,
                                why: format!("it was tried for five days; at last: {note}"),
                                remedy: "Send it again when the cause is gone.",
                            },
                        )
                        .await
                    }
                }
            }
            Ended::Failed(refused) => self.failed(turn, now, refused).await,
        }
    }

    /// Nobody knows whether it went.
    async fn held(&self, turn: &Turn, now: Timestamp, note: String) -> (Outcome, Option<Report>) {
        let report = self.report(turn, now, Fate::Held { reason: &note }).await;
        (Outcome::Held { note }, report)
    }

    /// The end of a mail that cannot go.
    async fn failed(
        &self,
        turn: &Turn,
        now: Timestamp,
        refused: Refused,
    ) -> (Outcome, Option<Report>) {
        let fate = Fate::Failed {
            status: refused.status,
            reason: &refused.why,
            remedy: refused.remedy,
            remote: refused.diagnostic.as_deref(),
        };
        let report = self.report(turn, now, fate).await;
        let Refused { status, diagnostic: answered, why: note, .. } = refused;
        (Outcome::Failed { status, note, answered }, report)
    }

    /// The notice of a mail that takes long, once.
    async fn delay(&self, turn: &Turn, now: Timestamp, reason: &str) -> Option<Report> {
        let entry = &turn.entry;
        if entry.delay_reported || now.duration_since(entry.accepted_at) < DELAY_REPORTED_AFTER {
            return None;
        }
        let until = now.saturating_add(retry::patience_left(entry.waited)).unwrap_or(now);
        self.report(turn, now, Fate::Delayed { reason, until }).await
    }

    /// The report on this fate, if it is wanted.
    async fn report(&self, turn: &Turn, now: Timestamp, fate: Fate<'_>) -> Option<Report> {
        self.report_on(&turn.entry, &turn.account, now, fate).await
    }

    async fn report_on(
        &self,
        entry: &Entry,
        account: &Account,
        now: Timestamp,
        fate: Fate<'_>,
    ) -> Option<Report> {
        if entry.kind == Kind::Report || !report::wanted(&entry.envelope, &fate) {
            return None;
        }
        let octets = self.store.body_start(entry.id, REPORTED_OCTETS_MAX).await;
        let octets = octets.ok().flatten().unwrap_or_default();
        let octets = report::compose(&report::Notice {
            account,
            envelope: &entry.envelope,
            octets: &octets,
            id: &entry.id.to_string(),
            accepted_at: entry.accepted_at,
            at: now,
            fate,
        });
        let own = vec![account.address.clone().into()];
        let envelope = Envelope::new(None, own, MailParameters::default()).ok()?;
        Some(Report { envelope, octets })
    }

    /// Reports what a stop in the middle of sending left held. To be called before [`Worker::run`], so
    /// that nobody finds such a mail at rest without its report. What cannot be written down now is
    /// left for the next start.
    pub async fn report_held(&self) -> Result<(), StoreError> {
        loop {
            let held = self.store.unreported_held(HELD_AT_ONCE).await?;
            if held.is_empty() {
                return Ok(());
            }
            for entry in held {
                let note = entry.note.clone().unwrap_or_default();
                let report = match self.store.account(entry.account).await? {
                    Some(account) => {
                        let (now, fate) = (self.store.clock().now(), Fate::Held { reason: &note });
                        self.report_on(&entry, &account, now, fate).await
                    }
                    None => None,
                };
                let outcome = Outcome::Held { note };
                let settled =
                    self.store.settle(&entry, outcome.clone(), report.clone(), Timestamp::MAX);
                let reported = settled.await?;
                self.say(&entry, outcome, report, reported);
            }
        }
    }

    /// Writes the outcome down, however long the disk takes to accept it, and says it once.
    async fn settle(&self, entry: &Entry, outcome: Outcome, report: Option<Report>) {
        let pause = match outcome {
            Outcome::Failed { .. } => Duration::ZERO,
            _ => self.patience.before_sweeping(),
        };
        let sweep_at = self.store.clock().now().saturating_add(pause).unwrap_or(Timestamp::MAX);
        let reported = loop {
            match self.store.settle(entry, outcome.clone(), report.clone(), sweep_at).await {
                Ok(reported) => break reported,
                Err(error) => {
                    tracing::error!(entry = %entry.id, %error, "an outcome could not be written down yet");
                    tokio::time::sleep(WRITE_AGAIN).await;
                }
            }
        };
        self.say(entry, outcome, report, reported);
    }

    /// Says what was written down, in the log and to the local command.
    fn say(&self, entry: &Entry, outcome: Outcome, report: Option<Report>, reported: bool) {
        let (id, attempt) = (entry.id, entry.attempts);
        match outcome {
            Outcome::Sent => tracing::info!(entry = %id, attempt, reported, "sent"),
            Outcome::Later { due_at, note, .. } => {
                tracing::info!(entry = %id, attempt, %due_at, reported, why = note, "not yet");
            }
            Outcome::Failed { note, .. } => {
                tracing::warn!(entry = %id, attempt, reported, why = note, "failed");
            }
            Outcome::Held { note } => {
                tracing::warn!(entry = %id, attempt, reported, why = note, "held");
            }
        }
        if let Some(report) = report.filter(|_| reported) {
            self.report_command.give(entry.id, report.octets);
        }
    }

    /// Deletes the drafts that ended mails left behind, one mail after the other.
    async fn sweep(&self) -> Result<(), StoreError> {
        let now = self.store.clock().now();
        for entry in self.store.leftovers(now, SWEPT_AT_ONCE).await? {
            let account = self.store.account(entry.account).await?;
            let Some(account) = account.filter(|account| account.has("Mail.ReadWrite")) else {
                self.store.sweep_at(entry.id, None).await?;
                continue;
            };
            let slot = match account.standing {
                Standing::Ready => self.pace.slot(&account),
                _ => None,
            };
            let id = entry.id;
            let swept = match slot {
                Some(slot) => {
                    self.executor.sweep(&self.executor.turn(entry, account, slot)).await.is_ok()
                }
                None => false,
            };
            let again = now.saturating_add(self.patience.before_sweeping()).ok();
            self.store.sweep_at(id, if swept { None } else { again }).await?;
        }
        Ok(())
    }

    async fn forget(&self) {
        let now = self.store.clock().now();
        let (Ok(ended), Ok(failed)) = (now.checked_sub(KEEP_ENDED), now.checked_sub(KEEP_FAILED))
        else {
            return;
        };
        if let Err(error) = self.store.forget_kept(failed).await {
            tracing::warn!(%error, "the octets of failed mails could not be forgotten");
        }
        if let Err(error) = self.store.forget_ended(ended).await {
            tracing::warn!(%error, "ended mails could not be forgotten");
        }
    }
}

/// In 0.0..1.0.
fn chance() -> f64 {
    let mut octets = [0; 4];
    let _ = aws_lc_rs::rand::fill(&mut octets);
    f64::from(u32::from_le_bytes(octets)) / f64::from(u32::MAX)
}
