//! Sign-ins under way: begun by one request, ended by another, forgotten after ten minutes.
//!
//! Each takes one answer, right or wrong. Nothing is stored until everything fits: the answer is to
//! our question, the person is the one that the account belongs to, and the mailbox has the
//! account's address.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Access, lock};
use crate::account::{Account, AccountId, Address, Profile};
use crate::entra::Failure;
use crate::entra::signin::{DeviceCode, Pending, Polled as Poll, SignedIn};
use crate::graph::{self, Me};
use crate::store::StoreError;
use crate::store::tokens::SignIn;

/// How long a sign-in by browser may take.
const LIFETIME: Duration = Duration::from_secs(600);
/// How long one poll may wait for its moment; Retry-After can ask for more.
const POLL_WAIT_MAX: Duration = Duration::from_secs(60);
/// Sign-ins under way at once; each is a few hundred octets.
const FLOWS_MAX: usize = 64;
/// Addresses of one mailbox that are kept. Exchange allows 400.
const ADDRESSES_MAX: usize = 500;

/// How the user meets Microsoft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// In a browser, which comes back to `http://localhost:{port}`.
    Browser { port: u16 },
    /// By a code that is typed in at another device.
    DeviceCode,
}

/// A sign-in that was begun; `flow` names it from then on.
#[derive(Debug, Clone)]
pub enum Begun {
    Browser { flow: Uuid, url: String },
    DeviceCode { flow: Uuid, user_code: String, verification_url: String, lifetime: Duration },
}

/// How a look at a device-code sign-in ended, when it did not fail.
#[derive(Debug, Clone)]
pub enum Polled {
    Waiting,
    SignedIn(Arc<Account>),
}

/// Why a sign-in came to nothing. Nothing was stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SignInError {
    #[error("There is no such account.")]
    NoSuchAccount,
    #[error(
        "This sign-in is not known: it was answered already, took too long, or was begun before a \
         restart. Start again."
    )]
    NoSuchFlow,
    #[error("Too many sign-ins are under way; wait some minutes.")]
    TooMany,
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Default)]
pub(super) struct Flows {
    by_id: HashMap<Uuid, Flow>,
}

struct Flow {
    account: AccountId,
    profile: Profile,
    until: Instant,
    stage: Stage,
}

enum Stage {
    Browser(Pending),
    DeviceCode { code: DeviceCode, next_poll: Instant },
}

impl Flows {
    fn put(&mut self, id: Uuid, flow: Flow) -> Result<(), SignInError> {
        let now = Instant::now();
        // A new sign-in of an account takes the place of an unfinished one.
        self.by_id.retain(|_, other| other.until > now && other.account != flow.account);
        if self.by_id.len() >= FLOWS_MAX {
            return Err(SignInError::TooMany);
        }
        self.by_id.insert(id, flow);
        Ok(())
    }

    fn take(&mut self, id: Uuid) -> Result<Flow, SignInError> {
        let flow = self.by_id.remove(&id).ok_or(SignInError::NoSuchFlow)?;
        if flow.until > Instant::now() { Ok(flow) } else { Err(SignInError::NoSuchFlow) }
    }

    pub(super) fn forget(&mut self, account: AccountId) {
        self.by_id.retain(|_, flow| flow.account != account);
    }
}

impl Access {
    /// Begins a sign-in. `profile` is what to ask for; it becomes the account's when it succeeds.
    pub async fn begin_sign_in(
        &self,
        id: AccountId,
        profile: Profile,
        way: Way,
    ) -> Result<Begun, SignInError> {
        let inner = &*self.inner;
        let account = inner.store.account(id).await?.ok_or(SignInError::NoSuchAccount)?;
        let flow = Uuid::new_v4();
        let scopes = profile.scopes();
        let (begun, stage, lifetime) = match way {
            Way::Browser { port } => {
                let (url, pending) =
                    inner.entra.authorize(scopes, port, account.address.as_str())?;
                let begun = Begun::Browser { flow, url: url.into() };
                (begun, Stage::Browser(pending), LIFETIME)
            }
            Way::DeviceCode => {
                let code = inner.entra.device_code(scopes).await?;
                let begun = Begun::DeviceCode {
                    flow,
                    user_code: code.user_code.clone(),
                    verification_url: code.verification_url.clone(),
                    lifetime: code.lifetime,
                };
                let lifetime = code.lifetime;
                let next_poll = Instant::now() + code.interval;
                (begun, Stage::DeviceCode { code, next_poll }, lifetime)
            }
        };
        let until = Instant::now() + lifetime;
        lock(&inner.flows).put(flow, Flow { account: id, profile, until, stage })?;
        Ok(begun)
    }

    /// Ends a sign-in by browser with what it was redirected to.
    pub async fn finish_sign_in(
        &self,
        flow: Uuid,
        redirected: &str,
    ) -> Result<Arc<Account>, SignInError> {
        let flow = lock(&self.inner.flows).take(flow)?;
        let Stage::Browser(pending) = flow.stage else { return Err(SignInError::NoSuchFlow) };
        let (access, redirected) = (self.clone(), redirected.to_owned());
        in_its_own_task(async move {
            let (asked, now) = (Instant::now(), Timestamp::now().as_second());
            let signed_in = access.inner.entra.redeem(pending, &redirected, now).await?;
            access.complete(flow.account, flow.profile, signed_in, asked).await
        })
        .await
    }

    /// Looks once whether the user has typed the code in, not sooner than Entra allows. A caller
    /// that goes away while this waits ends the sign-in.
    pub async fn poll_sign_in(&self, id: Uuid) -> Result<Polled, SignInError> {
        let flow = lock(&self.inner.flows).take(id)?;
        let Stage::DeviceCode { mut code, next_poll } = flow.stage else {
            return Err(SignInError::NoSuchFlow);
        };
        let wait_until = next_poll.min(Instant::now() + POLL_WAIT_MAX);
        tokio::time::sleep_until(wait_until.into()).await;
        if wait_until < next_poll {
            let stage = Stage::DeviceCode { code, next_poll };
            lock(&self.inner.flows).put(id, Flow { stage, ..flow })?;
            return Ok(Polled::Waiting);
        }
        let access = self.clone();
        in_its_own_task(async move {
            let (asked, now) = (Instant::now(), Timestamp::now().as_second());
            match access.inner.entra.poll(&code, now).await? {
                Poll::Waiting { interval } => {
                    code.interval = interval;
                    let stage = Stage::DeviceCode { code, next_poll: Instant::now() + interval };
                    lock(&access.inner.flows).put(id, Flow { stage, ..flow })?;
                    Ok(Polled::Waiting)
                }
                Poll::Done(signed_in) => {
                    let done = access.complete(flow.account, flow.profile, *signed_in, asked);
                    Ok(Polled::SignedIn(done.await?))
                }
            }
        })
        .await
    }

    /// Everything that must fit, then the store, then memory.
    async fn complete(
        &self,
        id: AccountId,
        profile: Profile,
        signed_in: SignedIn,
        asked: Instant,
    ) -> Result<Arc<Account>, SignInError> {
        let inner = &*self.inner;
        let SignedIn { identity, grant, refresh } = signed_in;
        let slot = self.slot(id);
        // No refresh may store a token while this one is on its way.
        let _turn = slot.turn.lock().await;
        let account = inner.store.account(id).await?.ok_or(SignInError::NoSuchAccount)?;
        let who = identity.username.as_deref().unwrap_or("somebody else");
        if account.person.as_ref().is_some_and(|person| *person != identity.person) {
            return Err(SignInError::Refused(format!(
                "{who} signed in, but {} belongs to another person. Nothing was changed. Sign in as \
                 the same person as before, or remove the account and add it anew.",
                account.address
            )));
        }
        let me = inner.graph.me(grant.access.expose()).await.map_err(about_me)?;
        if !me.id.eq_ignore_ascii_case(&identity.person.object_id) {
            return Err(SignInError::Refused(
                "Graph and the sign-in name different people. Nothing was changed.".to_owned(),
            ));
        }
        let aliases = aliases(&account.address, &me).map_err(SignInError::Refused)?;
        let generation = inner.store.sealed_token(id).await?.map_or(0, |t| t.generation) + 1;
        let sealed = inner.seal.seal(id, generation, &refresh).map_err(|_| {
            SignInError::Refused("The sign-in cannot be sealed for storing.".to_owned())
        })?;
        let sign_in = SignIn {
            person: identity.person,
            profile,
            granted: grant.scopes,
            aliases,
            generation,
            sealed: sealed.0,
        };
        if !inner.store.save_sign_in(id, sign_in).await? {
            return Err(SignInError::Refused(
                "The account was changed meanwhile. Nothing was stored; start again.".to_owned(),
            ));
        }
        {
            let mut state = slot.state();
            state.conversations += 1;
            state.renewed_at = Some(inner.store.clock().now());
            state.hold(grant.access, grant.lifetime, asked);
        }
        tracing::info!(account = %account.id, profile = profile.name(), "signed in");
        // Mail may have waited for this.
        inner.store.wake_worker();
        inner.store.account(id).await?.ok_or(SignInError::NoSuchAccount)
    }
}

/// So that a caller that hangs up cannot stop it between Entra's answer and the store.
async fn in_its_own_task<T: Send + 'static>(
    work: impl Future<Output = Result<T, SignInError>> + Send + 'static,
) -> Result<T, SignInError> {
    let broke = |error| SignInError::Refused(format!("The sign-in broke off: {error}"));
    tokio::spawn(work).await.unwrap_or_else(|error| Err(broke(error)))
}

/// The other addresses of the mailbox, if `address` is one of its own.
///
/// Graph's user resource: `mail` is the primary address, `proxyAddresses` are all of them
/// (`SMTP:` the primary, `smtp:` the rest). `userPrincipalName` looks like one and need not be, so
/// it counts as an address to send from only where no others are listed.
fn aliases(address: &Address, me: &Me) -> Result<Vec<Address>, String> {
    let parse = |text: &str| Address::parse(text).ok();
    let mut own: Vec<Address> = me.mail.as_deref().and_then(parse).into_iter().collect();
    own.extend(
        me.proxy_addresses
            .iter()
            .filter_map(|proxy| proxy.split_once(':'))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("smtp"))
            .filter_map(|(_, text)| parse(text))
            .take(ADDRESSES_MAX),
    );
    let login_name = me.user_principal_name.as_deref().and_then(parse);
    let is_own = own.iter().chain(&login_name).any(|one| one.same_mailbox(address));
    if !is_own {
        let whose = own.first().or(login_name.as_ref()).map(Address::to_string);
        let whose = whose.unwrap_or_else(|| "a user without a mailbox".to_owned());
        return Err(format!(
            "{whose} signed in, and that mailbox does not have the address {address}. Nothing was \
             changed. Sign in as the owner of {address} (a private browser window helps), or add an \
             account for the other address."
        ));
    }
    if me.proxy_addresses.is_empty() {
        own.extend(login_name);
    }
    let mut seen = std::collections::HashSet::from([address.key()]);
    own.retain(|one| seen.insert(one.key()));
    Ok(own)
}

fn about_me(failure: graph::Failure) -> SignInError {
    SignInError::Refused(match failure {
        graph::Failure::Later { why, .. }
        | graph::Failure::Conflict { why }
        | graph::Failure::Unknown { why } => {
            format!("Whose mailbox it is could not be asked: {why}. Try again.")
        }
        graph::Failure::Duplicate { .. } => "Graph answered something else. Try again.".to_owned(),
        graph::Failure::Account { why, .. }
        | graph::Failure::TokenRefused { why }
        | graph::Failure::Never { why, .. } => format!(
            "Graph does not say whose mailbox it is; the permission User.Read is needed for that, \
             and a mailbox. {why}"
        ),
    })
}

impl From<Failure> for SignInError {
    fn from(failure: Failure) -> SignInError {
        SignInError::Refused(match failure {
            Failure::Later { why, .. } => format!("{why}. Try again later."),
            Failure::NeedsSignIn { why, .. } | Failure::Refused { why } => why,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me(mail: Option<&str>, upn: &str, proxies: &[&str]) -> Me {
        Me {
            id: "o".into(),
            mail: mail.map(str::to_owned),
            user_principal_name: Some(upn.into()),
            proxy_addresses: proxies.iter().map(|p| (*p).to_owned()).collect(),
        }
    }

    fn check(address: &str, me: &Me, expected: Option<&[&str]>) {
        let got = aliases(&Address::parse(address).unwrap(), me).ok();
        let got: Option<Vec<&str>> =
            got.as_ref().map(|all| all.iter().map(Address::as_str).collect());
        assert_eq!(got.as_deref(), expected, "{address}");
    }

    #[test]
    fn the_mailboxs_other_addresses_are_its_aliases() {
        let full = me(
            Some("Adele.Vance@contoso.example"),
            "adelev@login.example",
            &["SMTP:adele.vance@contoso.example", "smtp:jobs@contoso.example", "sip:a@b.example"],
        );
        check("adele.vance@contoso.example", &full, Some(&["jobs@contoso.example"]));
        check("jobs@contoso.example", &full, Some(&["Adele.Vance@contoso.example"]));
        check("alex.wilber@contoso.example", &full, None);
        let bare = me(None, "adele.vance@contoso.example", &[]);
        check("Adele.Vance@contoso.example", &bare, Some(&[]));
    }

    #[test]
    fn sign_ins_under_way_are_bounded_and_one_per_account() {
        let mut flows = Flows::default();
        let flow = |n| Flow {
            account: AccountId(Uuid::from_u128(n)),
            profile: Profile::Full,
            until: Instant::now() + LIFETIME,
            stage: Stage::DeviceCode { code: DeviceCode::default(), next_poll: Instant::now() },
        };
        for n in 0..FLOWS_MAX as u128 {
            flows.put(Uuid::from_u128(n), flow(n)).unwrap();
        }
        assert!(matches!(flows.put(Uuid::nil(), flow(1000)), Err(SignInError::TooMany)));
        flows.put(Uuid::from_u128(99), flow(5)).unwrap();
        assert!(flows.take(Uuid::from_u128(5)).is_err(), "replaced by a newer one");
        assert!(flows.take(Uuid::from_u128(99)).is_ok());
        assert!(flows.take(Uuid::from_u128(99)).is_err(), "one answer each");
        flows.put(Uuid::nil(), Flow { until: Instant::now(), ..flow(7) }).unwrap();
        assert!(flows.take(Uuid::nil()).is_err(), "too late");
    }
}
