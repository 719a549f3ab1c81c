//! What Microsoft allows a mailbox: a few requests in flight, and none while it is throttled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::account::AccountId;
use crate::clock::Clock;

/// Graph: throttling limits. Outlook takes 4 requests in flight for an application and a mailbox;
/// one is left free for whoever looks (a sign-in, a doctor).
pub const IN_FLIGHT_MAX: usize = 3;

/// The pace of every mailbox; clones share it.
#[derive(Clone)]
pub struct Pace {
    clock: Clock,
    mailboxes: Arc<Mutex<HashMap<AccountId, Mailbox>>>,
}

struct Mailbox {
    slots: Arc<Semaphore>,
    /// By [`Clock::running`].
    blocked_until: Duration,
}

impl Default for Mailbox {
    fn default() -> Mailbox {
        Mailbox { slots: Arc::new(Semaphore::new(IN_FLIGHT_MAX)), blocked_until: Duration::ZERO }
    }
}

/// The right to have one request in flight for a mailbox, until it is dropped.
#[derive(Debug)]
pub struct Slot(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Pace {
    pub fn new(clock: Clock) -> Pace {
        Pace { clock, mailboxes: Arc::default() }
    }

    /// As many slots as are free now, at most `most`; none while the mailbox is throttled.
    pub fn slots(&self, mailbox: AccountId, most: usize) -> Vec<Slot> {
        let mut mailboxes = self.lock();
        let mailbox = mailboxes.entry(mailbox).or_default();
        if self.clock.running() < mailbox.blocked_until {
            return Vec::new();
        }
        std::iter::from_fn(|| mailbox.slots.clone().try_acquire_owned().ok())
            .take(most)
            .map(Slot)
            .collect()
    }

    /// Microsoft said how long to leave this mailbox alone.
    pub fn block(&self, mailbox: AccountId, pause: Duration) {
        let until = self.clock.running().saturating_add(pause);
        let mut mailboxes = self.lock();
        let mailbox = mailboxes.entry(mailbox).or_default();
        mailbox.blocked_until = mailbox.blocked_until.max(until);
    }

    /// How long the mailbox is still to be left alone.
    pub fn blocked_for(&self, mailbox: AccountId) -> Option<Duration> {
        let until = self.lock().get(&mailbox)?.blocked_until;
        Some(until.saturating_sub(self.clock.running())).filter(|left| !left.is_zero())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AccountId, Mailbox>> {
        self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_has_three_in_flight_and_none_while_it_is_throttled() {
        let clock = Clock::default();
        let pace = Pace::new(clock.clone());
        let [one, other] = [1, 2].map(|n| AccountId(uuid::Uuid::from_u128(n)));
        let held = pace.slots(one, 10);
        assert_eq!(held.len(), IN_FLIGHT_MAX);
        assert!(pace.slots(one, 1).is_empty());
        assert_eq!(pace.slots(other, 10).len(), IN_FLIGHT_MAX, "mailboxes do not share");
        drop(held);
        let hour = Duration::from_secs(3600);
        pace.block(one, hour);
        pace.block(one, Duration::from_secs(1));
        clock.advance(hour / 2);
        assert!(pace.slots(one, 1).is_empty());
        assert!(pace.blocked_for(one).unwrap() <= hour / 2);
        assert_eq!(pace.slots(other, 10).len(), IN_FLIGHT_MAX);
        clock.advance(hour / 2);
        assert_eq!(pace.slots(one, 1).len(), 1);
        assert_eq!(pace.blocked_for(one), None);
    }
}
