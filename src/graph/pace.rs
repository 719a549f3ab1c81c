//! What Microsoft allows a mailbox: a few requests in flight, so many and so large ones in a while, and none
//! while it is throttled.
//!
//! Source: Graph "throttling limits", Outlook service limits, counted for an application and a mailbox. Each
//! request is asked for before it is made, and nothing waits here: what may not be made now is told how
//! long that lasts. What is counted is in memory. After a restart the other side's answer is the last
//! word, as it is always.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::failure::Failure;
use super::forecast::{Budget, Forecast};
use super::window::Window;
use crate::account::{Account, AccountId};
use crate::clock::Clock;

/// 4 requests in flight; one is left free for whoever looks (a sign-in, a doctor).
pub const IN_FLIGHT_MAX: usize = 3;
/// How many of them may be of large mails, so that small ones pass.
const LARGE_IN_FLIGHT_MAX: usize = 2;

const REQUESTS_WITHIN: Duration = Duration::from_secs(600);
const OCTETS_WITHIN: Duration = Duration::from_secs(300);
/// The other side sees a request later than we do, so what is behind us is not yet behind it.
const MARGIN: Duration = Duration::from_secs(2);
const MINUTE: Duration = Duration::from_secs(60);

/// What a mailbox is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In 10 minutes. One in a hundred is left for whoever looks.
    pub requests: u64,
    /// Of the bodies of POST, PATCH and PUT, in 5 minutes. A tenth is kept from large mails.
    pub octets: u64,
}

impl Default for Limits {
    /// "150 MB", taken as the smaller of its two meanings.
    fn default() -> Limits {
        Limits { requests: 10_000, octets: 150_000_000 }
    }
}

impl Limits {
    fn requests(self) -> u64 {
        self.requests - self.requests / 100
    }

    fn octets(self, of_large: bool) -> u64 {
        if of_large { self.octets - self.octets / 10 } else { self.octets }
    }
}

/// The pace of every mailbox; clones share it.
#[derive(Clone)]
pub struct Pace {
    clock: Clock,
    limits: Limits,
    /// What the configuration allows an account, by login.
    mails_per_minute: Arc<RwLock<HashMap<String, NonZeroU32>>>,
    mailboxes: Arc<Mutex<HashMap<AccountId, Mailbox>>>,
}

/// All times are by [`Clock::running`].
struct Mailbox {
    slots: Arc<Semaphore>,
    large: Arc<Semaphore>,
    /// Microsoft said so.
    throttled_until: Duration,
    requests: Window,
    octets: Window,
    /// A request did not fit until then: smaller ones do not slip in before it.
    full_until: Duration,
    /// The same of a large mail.
    full_for_large_until: Duration,
    begun: Window,
    /// Of the last attempts, smoothed.
    attempt: Option<Attempt>,
}

/// What an attempt took.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    time: Duration,
    requests: f64,
}

impl Default for Mailbox {
    fn default() -> Mailbox {
        Mailbox {
            slots: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            large: Arc::new(Semaphore::new(LARGE_IN_FLIGHT_MAX)),
            throttled_until: Duration::ZERO,
            requests: Window::new(REQUESTS_WITHIN + MARGIN),
            octets: Window::new(OCTETS_WITHIN + MARGIN),
            full_until: Duration::ZERO,
            full_for_large_until: Duration::ZERO,
            begun: Window::new(MINUTE),
            attempt: None,
        }
    }
}

impl Mailbox {
    /// Until when nothing may be begun.
    fn blocked_until(&mut self, now: Duration, limits: Limits) -> Duration {
        let requests = self.requests.wait(now, 1, limits.requests());
        let requests = requests.map_or(Duration::ZERO, |wait| now + wait);
        self.throttled_until.max(self.full_until).max(requests)
    }

    /// What it took this time counts for an eighth.
    fn learn(&mut self, this: Attempt) {
        let smooth = |before: f64, now: f64| before + (now - before) / 8.0;
        self.attempt = Some(self.attempt.map_or(this, |before| Attempt {
            time: Duration::from_secs_f64(
                smooth(before.time.as_secs_f64(), this.time.as_secs_f64()).max(0.0),
            ),
            requests: smooth(before.requests, this.requests),
        }));
    }
}

/// The right to have one request in flight for a mailbox, until it is dropped.
pub struct Slot {
    paced: Paced,
    /// When a mail was begun with it.
    begun_at: Option<Duration>,
    _in_flight: OwnedSemaphorePermit,
    _of_large: Option<OwnedSemaphorePermit>,
}

/// Whom to ask before each request of a mailbox.
#[derive(Clone)]
pub(super) struct Paced {
    pace: Pace,
    mailbox: AccountId,
    is_large: bool,
    /// With this slot.
    made: Arc<AtomicU32>,
}

impl Pace {
    /// `mails_per_minute` by login ([`crate::account::Address::key`]).
    pub fn new(
        clock: Clock,
        limits: Limits,
        mails_per_minute: HashMap<String, NonZeroU32>,
    ) -> Pace {
        let mails_per_minute = Arc::new(RwLock::new(mails_per_minute));
        Pace { clock, limits, mails_per_minute, mailboxes: Arc::default() }
    }

    /// Takes the place of what was allowed before.
    pub fn set_mails_per_minute(&self, mails_per_minute: HashMap<String, NonZeroU32>) {
        *self.mails_per_minute.write().unwrap_or_else(PoisonError::into_inner) = mails_per_minute;
    }

    /// As many slots as there are mails that may be begun now, at most `most`; none while the mailbox is
    /// throttled or has used up what it is allowed.
    pub fn slots(&self, account: &Account, most: usize) -> Vec<Slot> {
        let most = match self.per_minute(account) {
            Some(per_minute) => {
                let now = self.clock.running();
                let begun = self.lock().entry(account.id).or_default().begun.used(now);
                let left = per_minute.saturating_sub(begun);
                most.min(usize::try_from(left).unwrap_or(usize::MAX))
            }
            None => most,
        };
        std::iter::from_fn(|| self.slot(account)).take(most).collect()
    }

    /// One slot, for what is no mail.
    pub fn slot(&self, account: &Account) -> Option<Slot> {
        let now = self.clock.running();
        let mut mailboxes = self.lock();
        let mailbox = mailboxes.entry(account.id).or_default();
        if now < mailbox.blocked_until(now, self.limits) {
            return None;
        }
        let in_flight = mailbox.slots.clone().try_acquire_owned().ok()?;
        let (pace, made) = (self.clone(), Arc::default());
        let paced = Paced { pace, mailbox: account.id, is_large: false, made };
        Some(Slot { paced, begun_at: None, _in_flight: in_flight, _of_large: None })
    }

    /// How many large mails may be begun now.
    pub fn large(&self, account: &Account) -> usize {
        let now = self.clock.running();
        let mut mailboxes = self.lock();
        let mailbox = mailboxes.entry(account.id).or_default();
        if now < mailbox.full_for_large_until { 0 } else { mailbox.large.available_permits() }
    }

    /// How long until more may be begun than now, where that is a matter of time.
    pub fn blocked_for(&self, account: &Account) -> Option<Duration> {
        let now = self.clock.running();
        let mut mailboxes = self.lock();
        let mailbox = mailboxes.entry(account.id).or_default();
        let mut until = mailbox.blocked_until(now, self.limits);
        if let Some(per_minute) = self.per_minute(account)
            && let Some(wait) = mailbox.begun.wait(now, 1, per_minute)
        {
            until = until.max(now + wait);
        }
        Some(until.saturating_sub(now)).filter(|left| !left.is_zero())
    }

    /// The same of large mails, which small ones pass.
    pub fn large_blocked_for(&self, account: &Account) -> Option<Duration> {
        let full = self.lock().get(&account.id)?.full_for_large_until;
        let full = full.saturating_sub(self.clock.running());
        self.blocked_for(account).max(Some(full).filter(|left| !left.is_zero()))
    }

    /// How long Microsoft still wants the mailbox left alone.
    pub fn throttled_for(&self, account: &Account) -> Option<Duration> {
        let until = self.lock().get(&account.id)?.throttled_until;
        Some(until.saturating_sub(self.clock.running())).filter(|left| !left.is_zero())
    }

    /// How many mailboxes Microsoft wants left alone.
    pub fn throttled(&self) -> usize {
        let now = self.clock.running();
        self.lock().values().filter(|mailbox| mailbox.throttled_until > now).count()
    }

    /// `None` before the first attempt has ended.
    pub fn forecast(&self, account: &Account) -> Option<Forecast> {
        let now = self.clock.running();
        let mut mailboxes = self.lock();
        let mailbox = mailboxes.entry(account.id).or_default();
        let attempt = mailbox.attempt?;
        let (requests, octets) = (self.limits.requests(), self.limits.octets(false));
        Some(Forecast {
            blocked: mailbox.blocked_until(now, self.limits).saturating_sub(now),
            attempt: attempt.time,
            requests: attempt.requests,
            at_once: IN_FLIGHT_MAX as u32,
            of_mails: self.per_minute(account).map(|most| Budget {
                most,
                left: most.saturating_sub(mailbox.begun.used(now)),
                within: MINUTE,
            }),
            of_requests: Budget {
                most: requests,
                left: requests.saturating_sub(mailbox.requests.used(now)),
                within: REQUESTS_WITHIN + MARGIN,
            },
            of_octets: Budget {
                most: octets,
                left: octets.saturating_sub(mailbox.octets.used(now)),
                within: OCTETS_WITHIN + MARGIN,
            },
        })
    }

    fn per_minute(&self, account: &Account) -> Option<u64> {
        let allowed = self.mails_per_minute.read().unwrap_or_else(PoisonError::into_inner);
        allowed.get(&account.address.key()).map(|n| n.get().into())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AccountId, Mailbox>> {
        self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// A mail is begun with it: counted, and among the large ones if it is one.
    pub fn begin(mut self, is_large: bool) -> Slot {
        let now = self.paced.pace.clock.running();
        {
            let mut mailboxes = self.paced.pace.lock();
            let mailbox = mailboxes.entry(self.paced.mailbox).or_default();
            mailbox.begun.add(now, 1);
            if is_large {
                self._of_large = mailbox.large.clone().try_acquire_owned().ok();
            }
        }
        self.paced.is_large = is_large;
        self.begun_at = Some(now);
        self
    }

    pub(super) fn paced(&self) -> Paced {
        self.paced.clone()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let requests = self.paced.made.load(Ordering::Relaxed);
        // One that made none says nothing of what the next will take.
        let Some(begun_at) = self.begun_at.filter(|_| requests > 0) else { return };
        let time = self.paced.pace.clock.running().saturating_sub(begun_at);
        let mut mailboxes = self.paced.pace.lock();
        let mailbox = mailboxes.entry(self.paced.mailbox).or_default();
        mailbox.learn(Attempt { time, requests: requests.into() });
    }
}

impl Paced {
    /// Counts a request with so many octets of body, or says how long it must wait: then it must not be
    /// made.
    pub fn ask(&self, octets: u64) -> Result<(), Failure> {
        let Pace { clock, limits, .. } = &self.pace;
        let now = clock.running();
        let mut mailboxes = self.pace.lock();
        let mailbox = mailboxes.entry(self.mailbox).or_default();
        let later = |until: Duration, why: &str| {
            let after = Some(until.saturating_sub(now));
            Err(Failure::Later { after, throttled: false, why: why.to_owned() })
        };
        if now < mailbox.throttled_until {
            return later(mailbox.throttled_until, "Microsoft asked for a pause of this mailbox");
        }
        if let Some(wait) = mailbox.requests.wait(now, 1, limits.requests()) {
            let why =
                "as many requests were made for this mailbox as Microsoft takes in ten minutes";
            return later(now + wait, why);
        }
        let most = limits.octets(self.is_large);
        if octets > 0
            && let Some(wait) = mailbox.octets.wait(now, octets, most)
        {
            let full = match self.is_large {
                true => &mut mailbox.full_for_large_until,
                false => &mut mailbox.full_until,
            };
            *full = (*full).max(now + wait);
            let why = "as much was uploaded to this mailbox as Microsoft takes in five minutes";
            return later(now + wait, why);
        }
        mailbox.requests.add(now, 1);
        mailbox.octets.add(now, octets);
        self.made.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Microsoft said how long to leave the mailbox alone.
    pub fn throttled(&self, pause: Duration) {
        let until = self.pace.clock.running().saturating_add(pause);
        let mut mailboxes = self.pace.lock();
        let mailbox = mailboxes.entry(self.mailbox).or_default();
        mailbox.throttled_until = mailbox.throttled_until.max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{Address, Profile, Standing};

    const HOUR: Duration = Duration::from_secs(3600);
    const SMALL: Limits = Limits { requests: 200, octets: 1000 };

    fn account(name: &str) -> Account {
        Account {
            id: AccountId(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_DNS, name.as_bytes())),
            address: Address::parse(&format!("{name}@contoso.example")).unwrap(),
            aliases: vec![],
            send_as: vec![],
            profile: Profile::Mail,
            granted: vec![],
            person: None,
            standing: Standing::Ready,
        }
    }

    fn pace(limits: Limits) -> (Clock, Pace) {
        let clock = Clock::default();
        let per_minute = [("kim@contoso.example".to_owned(), NonZeroU32::new(2).unwrap())];
        (clock.clone(), Pace::new(clock, limits, per_minute.into()))
    }

    /// How long it is told to wait.
    fn told(answer: Result<(), Failure>) -> Option<Duration> {
        match answer {
            Ok(()) => None,
            Err(Failure::Later { after: Some(after), throttled: false, .. }) => Some(after),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_mailbox_has_three_in_flight_and_none_while_it_is_throttled() {
        let (clock, pace) = pace(Limits::default());
        let [one, other] = ["adele", "alex"].map(account);
        let mut held = pace.slots(&one, 10);
        assert_eq!(held.len(), IN_FLIGHT_MAX);
        assert!(pace.slots(&one, 1).is_empty());
        assert_eq!(pace.slots(&other, 10).len(), IN_FLIGHT_MAX, "mailboxes do not share");
        let paced = held.pop().unwrap().paced();
        paced.throttled(HOUR);
        paced.throttled(HOUR / 60);
        clock.advance(HOUR / 2);
        // Neither those that hold a slot nor others.
        let wait = told(paced.ask(0)).unwrap();
        assert!(wait <= HOUR / 2 && wait > HOUR / 3, "{wait:?}");
        assert!(pace.slots(&one, 1).is_empty() && pace.blocked_for(&one).unwrap() <= HOUR / 2);
        assert_eq!(pace.slots(&other, 10).len(), IN_FLIGHT_MAX);
        clock.advance(HOUR / 2);
        assert_eq!(told(paced.ask(0)), None);
        assert_eq!((pace.slots(&one, 10).len(), pace.blocked_for(&one)), (1, None));
    }

    #[test]
    fn requests_are_counted_and_one_in_a_hundred_is_left() {
        let (clock, pace) = pace(SMALL);
        let adele = account("adele");
        let slot = pace.slot(&adele).unwrap();
        for _ in 0..198 {
            assert_eq!(told(slot.paced().ask(0)), None);
        }
        let wait = told(slot.paced().ask(0)).unwrap();
        assert!(wait > REQUESTS_WITHIN && wait <= REQUESTS_WITHIN + MARGIN + MINUTE, "{wait:?}");
        assert!(pace.slot(&adele).is_none() && pace.blocked_for(&adele).unwrap() > REQUESTS_WITHIN);
        assert!(pace.slot(&account("alex")).is_some());
        clock.advance(wait + Duration::from_millis(1));
        assert_eq!((told(slot.paced().ask(0)), pace.blocked_for(&adele)), (None, None));
    }

    #[test]
    fn octets_are_counted_and_a_tenth_is_kept_from_large_mails() {
        let (clock, pace) = pace(SMALL);
        let adele = account("adele");
        let large = pace.slot(&adele).unwrap().begin(true);
        let small = pace.slot(&adele).unwrap().begin(false);
        assert_eq!(told(large.paced().ask(900)), None);
        assert!(told(large.paced().ask(1)).is_some());
        assert_eq!((told(large.paced().ask(0)), pace.large(&adele)), (None, 0));
        // Small ones pass, and no large one is begun that would only be told the same.
        assert!(pace.large_blocked_for(&adele).is_some() && pace.slot(&adele).is_some());
        assert_eq!(pace.blocked_for(&adele), None);
        assert_eq!(told(small.paced().ask(60)), None);
        let wait = told(small.paced().ask(41)).unwrap();
        assert!(pace.slot(&adele).is_none(), "others would pass it by");
        clock.advance(wait + Duration::from_millis(1));
        assert_eq!((told(small.paced().ask(41)), pace.large(&adele)), (None, 1));
    }

    #[test]
    fn two_of_the_three_are_for_large_mails() {
        let (_, pace) = pace(Limits::default());
        let adele = account("adele");
        let mut slots = pace.slots(&adele, 3).into_iter();
        assert_eq!(pace.large(&adele), 2);
        let one = slots.next().unwrap().begin(true);
        let two = slots.next().unwrap().begin(true);
        assert_eq!(pace.large(&adele), 0);
        drop(one);
        assert_eq!(pace.large(&adele), 1);
        drop(two);
    }

    #[test]
    fn what_attempts_take_is_learnt_bit_by_bit_from_those_that_made_requests() {
        let (clock, pace) = pace(Limits::default());
        let adele = account("adele");
        assert_eq!(pace.forecast(&adele), None);
        let attempt = |seconds: u64, requests: usize| {
            let slot = pace.slot(&adele).unwrap().begin(false);
            (0..requests).for_each(|_| assert_eq!(told(slot.paced().ask(1000)), None));
            clock.advance(Duration::from_secs(seconds));
        };
        attempt(8, 0);
        assert_eq!(pace.forecast(&adele), None);
        attempt(8, 3);
        attempt(16, 11);
        let forecast = pace.forecast(&adele).unwrap();
        let time = forecast.attempt.as_secs_f64();
        assert!((time - 9.0).abs() < 0.5 && forecast.requests == 4.0, "{forecast:?}");
        assert_eq!((forecast.of_requests.left, forecast.of_octets.left), (9_886, 149_986_000));
    }

    #[test]
    fn no_more_mails_are_begun_in_a_minute_than_the_configuration_says() {
        let (clock, pace) = pace(Limits::default());
        let kim = account("kim");
        let begun: Vec<Slot> =
            pace.slots(&kim, 3).into_iter().map(|slot| slot.begin(false)).collect();
        assert_eq!(begun.len(), 2);
        drop(begun);
        assert!(pace.slots(&kim, 3).is_empty());
        assert!(pace.slot(&kim).is_some(), "what is no mail may go");
        let wait = pace.blocked_for(&kim).unwrap();
        assert!(wait >= MINUTE && wait <= MINUTE + Duration::from_secs(1), "{wait:?}");
        clock.advance(wait);
        assert_eq!(pace.slots(&kim, 3).len(), 2);
    }
}
