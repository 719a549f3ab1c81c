//! Acting as a person: access tokens for those who call Graph, sign-ins for those who add accounts.
//!
//! Here Entra meets the store. What holds, whatever crashes when:
//!
//! - A new refresh token is on disk before its access token is used (RFC 6749 §6 lets the old one
//!   die with the answer). The one before it is kept until the new one has worked.
//! - One refresh at a time per account; those who come meanwhile share its outcome.
//! - A refresh or a sign-in once begun runs to its end in a task of its own, whoever hangs up.
//! - Only Entra's own refusal puts an account into *needs sign-in*; a local password never can.
//!
//! Nothing here sends mail, and no token leaves but as an [`AccessToken`].

mod sign_in;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
pub use sign_in::{Begun, Polled, SignInError, Way};

use crate::account::{AccountId, Standing};
use crate::entra::seal::{KeyError, Seal, Sealed, Source};
use crate::entra::token::Grant;
use crate::entra::{Entra, Failure, Settings, SetupError};
use crate::graph::Graph;
use crate::secret::Secret;
use crate::store::tokens::{StoredToken, Worked};
use crate::store::{Store, StoreError};

/// A token past 80 % of its life is renewed before it is used.
const RENEW_AT: f64 = 0.8;
/// When that fails and the token is still good: how long until the next attempt.
const RENEW_AGAIN: Duration = Duration::from_secs(60);

/// The right to call Graph for an account, for about an hour.
#[derive(Debug, Clone)]
pub struct AccessToken {
    secret: Arc<Secret>,
    /// Tells one token of an account from the next.
    serial: u64,
}

impl AccessToken {
    /// For the `Authorization` header.
    pub fn expose(&self) -> &str {
        self.secret.expose()
    }
}

/// Why there is no access token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// It may work later; not before `after`, when that is given.
    #[error("{why}")]
    Later { after: Option<Duration>, why: String },
    /// Only the user can go on; the text says how. Mail waits: the account's standing says so by
    /// now, unless another sign-in came in between.
    #[error("{why}")]
    NeedsSignIn { why: String },
}

/// Why accounts cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error(transparent)]
    Graph(#[from] crate::graph::Unusable),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(
        "the key opens none of the {0} stored sign-ins: it is not the one that they were sealed \
         with. Put the right key back (systemd credential or file \"kek\"), or remove the accounts \
         and sign in anew"
    )]
    WrongKey(usize),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// See the module. Clones share everything.
#[derive(Clone)]
pub struct Access {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    entra: Entra,
    graph: Graph,
    seal: Seal,
    slots: Mutex<HashMap<AccountId, Arc<Slot>>>,
    flows: Mutex<sign_in::Flows>,
    /// Since the start.
    renewed: AtomicU64,
    not_renewed: AtomicU64,
}

/// What is in memory for one account.
#[derive(Default)]
struct Slot {
    /// Held by the one that talks to Entra or replaces the stored token.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// How many tokens there were, and how many conversations with Entra.
    serial: u64,
    conversations: u64,
    /// When Entra last gave a token, since the start.
    renewed_at: Option<Timestamp>,
    /// How the last conversation ended, if badly.
    failure: Option<AccessError>,
    /// Entra said when to come back.
    not_before: Option<Instant>,
}

struct Held {
    token: AccessToken,
    renew_at: Instant,
    expires_at: Instant,
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// The token in hand, unless it is the `stale` one, at an instant before which it is good.
    fn token(&self, stale: Option<u64>, until: impl Fn(&Held) -> Instant) -> Option<AccessToken> {
        let held = self.held.as_ref()?;
        let good = Some(held.token.serial) != stale && Instant::now() < until(held);
        good.then(|| held.token.clone())
    }

    fn fresh(&self, stale: Option<u64>) -> Option<AccessToken> {
        self.token(stale, |held| held.renew_at)
    }

    fn usable(&self, stale: Option<u64>) -> Option<AccessToken> {
        self.token(stale, |held| held.expires_at)
    }

    /// `asked` is when the request left, so that the token is never thought to live too long.
    ///
    /// The clock stands still while the machine sleeps; a token that expired meanwhile is found out
    /// by a 401, which costs one request.
    fn hold(&mut self, access: Secret, lifetime: Duration, asked: Instant) -> AccessToken {
        self.serial += 1;
        let token = AccessToken { secret: Arc::new(access), serial: self.serial };
        self.held = Some(Held {
            token: token.clone(),
            renew_at: asked + lifetime.mul_f64(RENEW_AT),
            expires_at: asked + lifetime,
        });
        self.failure = None;
        self.not_before = None;
        token
    }
}

impl Access {
    /// `credentials` is `$CREDENTIALS_DIRECTORY`, where systemd puts the key.
    pub async fn open(
        store: Store,
        settings: Settings,
        credentials: Option<&Path>,
    ) -> Result<Access, OpenError> {
        let graph = Graph::new(&settings.graph(), store.clock().clone())?;
        let entra = Entra::new(settings)?;
        let with_token = store.accounts_with_token().await?;
        let seal = Seal::find(store.directory(), credentials, !with_token.is_empty())?;
        if let Source::File(path) = seal.source() {
            tracing::warn!(
                path = %path.display(),
                "the key to the stored sign-ins is a file: who can read it and the database has \
                 them; a systemd credential \"kek\" is safer"
            );
        }
        let mut unopened = Vec::new();
        for &id in &with_token {
            if let Some(stored) = store.sealed_token(id).await?
                && seal.open(id, stored.generation, &Sealed(stored.sealed)).is_err()
            {
                unopened.push(id);
            }
        }
        if !unopened.is_empty() && unopened.len() == with_token.len() {
            return Err(OpenError::WrongKey(unopened.len()));
        }
        for account in unopened {
            tracing::error!(%account, "the stored sign-in cannot be opened with this key");
        }
        let (slots, flows) = (Mutex::default(), Mutex::default());
        let (renewed, not_renewed) = (AtomicU64::new(0), AtomicU64::new(0));
        let inner = Inner { store, entra, graph, seal, slots, flows, renewed, not_renewed };
        Ok(Access { inner: Arc::new(inner) })
    }

    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// What tokens are for; without a pace of its own.
    pub fn graph(&self) -> &Graph {
        &self.inner.graph
    }

    /// A token that Entra gives out now, whatever is in hand: it shows whether the sign-in still works.
    pub async fn new_token(&self, account: AccountId) -> Result<AccessToken, AccessError> {
        let in_hand = self.slot(account).state().held.as_ref().map(|held| held.token.serial);
        self.token(account, in_hand).await
    }

    /// An access token that is good now, renewed when it is past 80 % of its life.
    pub async fn access_token(&self, account: AccountId) -> Result<AccessToken, AccessError> {
        self.token(account, None).await
    }

    /// Another one, after Graph answered 401 to `stale`. If there is another one already, that.
    pub async fn renew(
        &self,
        account: AccountId,
        stale: &AccessToken,
    ) -> Result<AccessToken, AccessError> {
        self.token(account, Some(stale.serial)).await
    }

    /// Graph said, with this token, that nothing of the account will work until its user acts. Not
    /// so when another token came since: it may be the one of a new sign-in.
    pub async fn stopped(
        &self,
        account: AccountId,
        with: &AccessToken,
        why: &str,
    ) -> Result<(), StoreError> {
        let slot = self.slot(account);
        let _turn = slot.turn.lock().await;
        let is_the_last = slot.state().serial == with.serial;
        if is_the_last { self.inner.store.needs_sign_in(account, why).await } else { Ok(()) }
    }

    async fn token(
        &self,
        account: AccountId,
        stale: Option<u64>,
    ) -> Result<AccessToken, AccessError> {
        let slot = self.slot(account);
        let conversations = {
            let state = slot.state();
            if let Some(token) = state.fresh(stale) {
                return Ok(token);
            }
            state.conversations
        };
        let access = self.clone();
        let task = tokio::spawn(async move {
            access.refresh_in_turn(account, &slot, stale, conversations).await
        });
        task.await.unwrap_or_else(|error| Err(later(format!("the refresh broke off: {error}"))))
    }

    /// Waits for the account's turn; most who wait find the work done. `seen` is how many
    /// conversations there had been when the caller came.
    async fn refresh_in_turn(
        &self,
        account: AccountId,
        slot: &Slot,
        stale: Option<u64>,
        seen: u64,
    ) -> Result<AccessToken, AccessError> {
        let _turn = slot.turn.lock().await;
        {
            let state = slot.state();
            if let Some(token) = state.fresh(stale) {
                return Ok(token);
            }
            // The conversation that this caller waited for is its own, if it ended badly too.
            if let Some(failure) = state.failure.as_ref().filter(|_| state.conversations != seen) {
                return state.usable(stale).ok_or_else(|| failure.clone());
            }
            let wait = state.not_before.and_then(|at| at.checked_duration_since(Instant::now()));
            if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
                let why = "Microsoft asked for a pause before the next sign-in request".to_owned();
                let later = AccessError::Later { after: Some(wait), why };
                return state.usable(stale).ok_or(later);
            }
        }
        let asked = Instant::now();
        let outcome = self.refresh(account).await;
        let counter = match &outcome {
            Ok(_) => &self.inner.renewed,
            Err(_) => &self.inner.not_renewed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let mut state = slot.state();
        state.conversations += 1;
        if outcome.is_ok() {
            state.renewed_at = Some(self.inner.store.clock().now());
        }
        match outcome {
            Ok(grant) => Ok(state.hold(grant.access, grant.lifetime, asked)),
            Err(failure) => {
                state.failure = Some(failure.clone());
                match &failure {
                    AccessError::NeedsSignIn { .. } => state.held = None,
                    AccessError::Later { after, .. } => {
                        state.not_before = after.map(|after| Instant::now() + after);
                        if let Some(held) = &mut state.held {
                            held.renew_at = Instant::now() + RENEW_AGAIN;
                        }
                    }
                }
                // Near its end is not at its end.
                state.usable(stale).ok_or(failure)
            }
        }
    }

    /// One refresh, from the stored token to the next one stored.
    async fn refresh(&self, id: AccountId) -> Result<Grant, AccessError> {
        let inner = &*self.inner;
        let account = inner.store.account(id).await?;
        let account =
            account.ok_or_else(|| needs_sign_in("The account was removed.".to_owned()))?;
        let never = || needs_sign_in("It never signed in.".to_owned());
        match &account.standing {
            Standing::Ready => {}
            Standing::New => return Err(never()),
            // Asking again would only be refused again, and counted.
            Standing::NeedsSignIn(why) => return Err(needs_sign_in(why.clone())),
        }
        let Some(stored) = inner.store.sealed_token(id).await? else {
            let why = never();
            inner.store.needs_sign_in(id, &why.to_string()).await?;
            return Err(why);
        };
        let generation = stored.generation;
        let scopes = account.profile.scopes();
        let (mut grant, worked) = match self.ask(id, &stored, scopes).await {
            Ok(answer) => answer,
            Err(Failure::Later { after, why }) => return Err(AccessError::Later { after, why }),
            Err(Failure::NeedsSignIn { why, .. } | Failure::Refused { why }) => {
                tracing::warn!(account = %id, %why, "the account needs a sign-in");
                inner.store.token_was_refused(id, generation, &why).await?;
                return Err(needs_sign_in(why));
            }
        };
        // RFC 6749 §6: no new refresh token means that the old one goes on.
        if let Some(next) = grant.refresh.take() {
            let sealed = inner
                .seal
                .seal(id, generation + 1, &next)
                .map_err(|_| later("the new sign-in token cannot be sealed".to_owned()))?;
            let ours = inner.store.replace_token(id, generation, sealed.0, worked).await?;
            if !ours {
                return Err(later("the account was changed meanwhile".to_owned()));
            }
        }
        tracing::debug!(account = %id, address = %account.address, generation, "access token renewed");
        Ok(grant)
    }

    /// Asks Entra with the stored token; with the one before it when Entra says that this one is
    /// dead.
    async fn ask(
        &self,
        id: AccountId,
        stored: &StoredToken,
        scopes: &[&str],
    ) -> Result<(Grant, Worked), Failure> {
        let Inner { entra, seal, .. } = &*self.inner;
        let token = seal.open(id, stored.generation, &Sealed(stored.sealed.clone())).map_err(
            |unopened| {
                let why = format!("{unopened}; sign in again.");
                Failure::NeedsSignIn { token_is_dead: true, why }
            },
        )?;
        let failure = match entra.refresh(&token, scopes).await {
            Ok(grant) => return Ok((grant, Worked::Current)),
            Err(failure) => failure,
        };
        if !matches!(failure, Failure::NeedsSignIn { token_is_dead: true, .. }) {
            return Err(failure);
        }
        let previous = stored.previous.as_ref().and_then(|(generation, sealed)| {
            seal.open(id, *generation, &Sealed(sealed.clone())).ok()
        });
        let Some(previous) = previous else { return Err(failure) };
        match entra.refresh(&previous, scopes).await {
            Ok(grant) => Ok((grant, Worked::Previous)),
            // No verdict yet on the previous one: then there is none on the account.
            Err(later @ Failure::Later { .. }) => Err(later),
            Err(_) => Err(failure),
        }
    }

    /// When Entra last gave a token for this account; `None`: not since the start.
    pub fn renewed_at(&self, account: AccountId) -> Option<Timestamp> {
        lock(&self.inner.slots).get(&account)?.state().renewed_at
    }

    /// How many renewals there were since the start, and how many came to nothing.
    pub fn renewals(&self) -> (u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.inner.renewed), read(&self.inner.not_renewed))
    }

    /// Forgets what is in memory of an account that was removed.
    pub fn forget(&self, account: AccountId) {
        lock(&self.inner.slots).remove(&account);
        lock(&self.inner.flows).forget(account);
    }

    fn slot(&self, account: AccountId) -> Arc<Slot> {
        lock(&self.inner.slots).entry(account).or_default().clone()
    }
}

impl From<StoreError> for AccessError {
    fn from(error: StoreError) -> AccessError {
        later(error.to_string())
    }
}

fn later(why: String) -> AccessError {
    AccessError::Later { after: None, why }
}

fn needs_sign_in(why: String) -> AccessError {
    AccessError::NeedsSignIn { why }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_past_four_fifths_of_its_life_is_renewed_and_still_usable() {
        let check = |age: u64, fresh: bool, usable: bool| {
            let mut state = State::default();
            let asked = Instant::now().checked_sub(Duration::from_secs(age)).unwrap();
            state.hold(Secret::default(), Duration::from_secs(100), asked);
            assert_eq!(state.fresh(None).is_some(), fresh, "fresh after {age} s");
            assert_eq!(state.usable(None).is_some(), usable, "usable after {age} s");
        };
        check(0, true, true);
        check(81, false, true);
        check(101, false, false);
    }

    #[test]
    fn a_token_that_graph_refused_is_not_given_out_again() {
        let mut state = State::default();
        let token = state.hold(Secret::default(), Duration::from_secs(100), Instant::now());
        assert!(state.fresh(Some(token.serial)).is_none());
        assert!(state.usable(Some(token.serial)).is_none());
        assert!(state.fresh(Some(token.serial + 1)).is_some());
    }
}
