//! Looks, every few minutes, at what happened in Outlook to the events that the bridge made.
//!
//! Graph tells of changes only to a public HTTPS address, which a local daemon has not: so it asks. What
//! somebody spoke of a moment ago is asked for sooner, since rooms and colleagues answer at once.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch::Receiver as Configured;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::account::{Account, Standing};
use crate::execute::{Ended, Executor};
use crate::graph::pace::Pace;
use crate::store::{Store, StoreError};

/// What changed within this time is looked at this often.
const RECENT: Duration = Duration::from_secs(5 * 60);
const SOON: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct Watch {
    pub store: Store,
    pub executor: Executor,
    pub pace: Pace,
    /// Between two looks at all that is to come.
    pub every: Duration,
}

impl Watch {
    /// Looks until `stop`, each time as `of` is then.
    pub async fn run(of: Configured<Watch>, stop: CancellationToken) {
        let clock = of.borrow().store.clock().clone();
        let mut all_at = clock.now();
        loop {
            let watch = of.borrow().clone();
            tokio::select! {
                () = stop.cancelled() => return,
                () = clock.sleep(SOON.min(watch.every)) => {}
            }
            let now = clock.now();
            let recent = match now >= all_at {
                true => None,
                false => Some(now.saturating_sub(RECENT).unwrap_or(now)),
            };
            if recent.is_none() {
                all_at = now.saturating_add(watch.every).unwrap_or(Timestamp::MAX);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                looked = watch.look(now, recent) => {
                    if let Err(error) = looked {
                        tracing::warn!(%error, "what happened in Outlook could not be looked at");
                    }
                }
            }
        }
    }

    /// One look at the events of every account, those alone that something happened to since `recent`
    /// if it is given. How many invites were changed by it.
    pub async fn look(
        &self,
        now: Timestamp,
        recent: Option<Timestamp>,
    ) -> Result<usize, StoreError> {
        let mut accounts = JoinSet::new();
        for account in self.store.accounts().await? {
            let may = account.has("Calendars.ReadWrite");
            if may && account.standing == Standing::Ready {
                let watch = self.clone();
                accounts.spawn(async move { watch.look_at(account, now, recent).await });
            }
        }
        let mut changed = 0;
        while let Some(looked) = accounts.join_next().await {
            match looked {
                Ok(looked) => changed += looked?,
                Err(error) => tracing::error!(%error, "a look at Outlook broke down"),
            }
        }
        Ok(changed)
    }

    /// One event after the other, as the mailbox's pace allows; what is not come to now is next time.
    async fn look_at(
        &self,
        account: Arc<Account>,
        now: Timestamp,
        recent: Option<Timestamp>,
    ) -> Result<usize, StoreError> {
        let mut changed = 0;
        for watched in self.store.watched(account.id, now, recent).await? {
            let Some(slot) = self.pace.slots(&account, 1).pop() else { break };
            match self.executor.look_outside(&account, &slot, watched).await {
                Ok(taken) => changed += usize::from(taken),
                Err(Ended::AccountWaits { .. }) => break,
                Err(ended) => {
                    tracing::debug!(account = %account.id.0, ?ended, "an event was not looked at");
                }
            }
        }
        Ok(changed)
    }
}
