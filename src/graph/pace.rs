//! What Microsoft allows a mailbox: a few requests in flight, and none while it is throttled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::account::AccountId;

/// Graph: throttling limits. Outlook takes 4 requests in flight for an application and a mailbox;
/// one is left free for whoever looks (a sign-in, a doctor).
pub const IN_FLIGHT_MAX: usize = 3;

/// The pace of every mailbox; clones share it.
#[derive(Clone, Default)]
pub struct Pace {
    mailboxes: Arc<Mutex<HashMap<AccountId, Mailbox>>>,
}

struct Mailbox {
    slots: Arc<Semaphore>,
    blocked_until: Option<Instant>,
}

impl Default for Mailbox {
    fn default() -> Mailbox {
        Mailbox { slots: Arc::new(Semaphore::new(IN_FLIGHT_MAX)), blocked_until: None }
    }
}

/// The right to have one request in flight for a mailbox, until it is dropped.
#[derive(Debug)]
pub struct Slot(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Pace {
    /// As many slots as are free now, at most `most`; none while the mailbox is throttled.
    pub fn slots(&self, mailbox: AccountId, most: usize) -> Vec<Slot> {
        let mut mailboxes = self.lock();
        let mailbox = mailboxes.entry(mailbox).or_default();
        if mailbox.blocked_until.is_some_and(|until| Instant::now() < until) {
            return Vec::new();
        }
        mailbox.blocked_until = None;
        std::iter::from_fn(|| mailbox.slots.clone().try_acquire_owned().ok())
            .take(most)
            .map(Slot)
            .collect()
    }

    /// Microsoft said how long to leave this mailbox alone.
    pub fn block(&self, mailbox: AccountId, pause: Duration) {
        let until = Instant::now() + pause;
        let mut mailboxes = self.lock();
        let mailbox = mailboxes.entry(mailbox).or_default();
        mailbox.blocked_until = Some(mailbox.blocked_until.map_or(until, |other| other.max(until)));
    }

    /// How long the mailbox is still to be left alone.
    pub fn blocked_for(&self, mailbox: AccountId) -> Option<Duration> {
        let until = self.lock().get(&mailbox)?.blocked_until?;
        until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AccountId, Mailbox>> {
        self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_mailbox_has_three_in_flight_and_none_while_it_is_throttled() {
        let pace = Pace::default();
        let [one, other] = [1, 2].map(|n| AccountId(uuid::Uuid::from_u128(n)));
        let held = pace.slots(one, 10);
        assert_eq!(held.len(), IN_FLIGHT_MAX);
        assert!(pace.slots(one, 1).is_empty());
        assert_eq!(pace.slots(other, 10).len(), IN_FLIGHT_MAX, "mailboxes do not share");
        drop(held);
        pace.block(one, Duration::from_millis(2128));
        pace.block(one, Duration::from_millis(100));
        tokio::time::advance(Duration::from_millis(2127)).await;
        assert!(pace.slots(one, 1).is_empty());
        assert_eq!(pace.blocked_for(one), Some(Duration::from_millis(1)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(pace.slots(one, 1).len(), 1);
        assert_eq!(pace.blocked_for(one), None);
    }
}
