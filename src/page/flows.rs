//! Sign-ins that were begun on the page.
//!
//! One by browser ends with a request of Microsoft's making, to which no cookie of ours comes along
//! (SameSite): what it is known by is its own `state`, which only the one who began it has seen. One by device
//! code is asked about in the background, so that no request waits for a person.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::site::Site;
use crate::account::Address;
use crate::clock::Clock;
use crate::control::{Reply, Request};

/// As long as `access` keeps them.
const LIFETIME: Duration = Duration::from_secs(600);
/// How long what became of one is still told.
const TOLD: Duration = Duration::from_secs(600);
const FLOWS_MAX: usize = 64;

pub(super) struct Flows {
    clock: Clock,
    browsers: Mutex<HashMap<String, Returning>>,
    codes: Mutex<HashMap<Uuid, Code>>,
}

/// A browser that is at Microsoft's.
#[derive(Debug, Clone)]
pub(super) struct Returning {
    pub flow: Uuid,
    pub address: Address,
    /// Where it was at ours, and has its session.
    pub host: String,
    until: Duration,
}

/// A code that somebody is to type in.
#[derive(Debug, Clone)]
pub(super) struct Code {
    pub address: Address,
    pub user_code: String,
    pub verification_url: String,
    pub lifetime_s: u64,
    /// What it came to.
    pub outcome: Option<Outcome>,
    until: Duration,
}

/// How a sign-in ended.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    SignedIn { limits: Vec<String> },
    Refused { why: String },
}

impl Outcome {
    pub(super) fn of(reply: Reply) -> Outcome {
        match reply {
            Reply::SignedIn { limits, .. } => Outcome::SignedIn { limits },
            Reply::Refused { why } => Outcome::Refused { why },
            _ => Outcome::Refused { why: "The sign-in came to an odd end.".to_owned() },
        }
    }
}

impl Flows {
    pub(super) fn new(clock: Clock) -> Flows {
        Flows { clock, browsers: Mutex::default(), codes: Mutex::default() }
    }

    /// `url` is where the browser goes; `false` where it says no state, or too many are under way.
    pub(super) fn goes(&self, flow: Uuid, url: &str, address: Address, host: String) -> bool {
        let Some(state) = state(url) else { return false };
        let now = self.clock.running();
        let mut browsers = lock(&self.browsers);
        browsers.retain(|_, one| one.until > now);
        if browsers.len() >= FLOWS_MAX {
            return false;
        }
        let until = now.saturating_add(LIFETIME);
        browsers.insert(state.to_owned(), Returning { flow, address, host, until });
        true
    }

    /// The sign-in that this query is the answer to; it takes one.
    pub(super) fn returns(&self, query: &str) -> Option<Returning> {
        let now = self.clock.running();
        let returning = lock(&self.browsers).remove(state(query)?)?;
        Some(returning).filter(|one| one.until > now)
    }

    /// What is to be shown of a sign-in by code.
    pub(super) fn code(&self, flow: Uuid) -> Option<Code> {
        lock(&self.codes).get(&flow).cloned()
    }

    fn ended(&self, flow: Uuid, outcome: Outcome) {
        let until = self.clock.running().saturating_add(TOLD);
        if let Some(code) = lock(&self.codes).get_mut(&flow) {
            (code.outcome, code.until) = (Some(outcome), until);
        }
    }
}

/// Looks after a sign-in by code until it has ended, in a task of its own.
pub(super) fn follow(site: &Arc<Site>, address: Address, begun: Reply) -> Option<Uuid> {
    let Reply::DeviceCode { flow, user_code, verification_url, lifetime_s } = begun else {
        return None;
    };
    let now = site.flows.clock.running();
    let until = now.saturating_add(Duration::from_secs(lifetime_s)).saturating_add(TOLD);
    {
        let mut codes = lock(&site.flows.codes);
        codes.retain(|_, one| one.until > now);
        if codes.len() >= FLOWS_MAX {
            return None;
        }
        let outcome = None;
        let code = Code { address, user_code, verification_url, lifetime_s, outcome, until };
        codes.insert(flow, code);
    }
    let site = Arc::clone(site);
    tokio::spawn(async move {
        let stop = site.stop.clone();
        let ended = async {
            loop {
                match site.ask(Request::PollSignIn { flow }).await {
                    Reply::Waiting {} => {}
                    reply => return Outcome::of(reply),
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            outcome = ended => site.flows.ended(flow, outcome),
        }
    });
    Some(flow)
}

/// The one parameter `state` of a URL or a query. What we made needs no decoding, and nothing else is known.
fn state(url: &str) -> Option<&str> {
    let query = url.split_once('?').map_or(url, |(_, query)| query);
    let mut states = query.split('&').filter_map(|pair| pair.strip_prefix("state="));
    match (states.next(), states.next()) {
        (Some(state), None) => Some(state),
        _ => None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_that_returns_is_known_by_its_state_once_and_in_time() {
        let clock = Clock::default();
        let flows = Flows::new(clock.clone());
        let address = Address::parse("adele@contoso.example").unwrap();
        let goes = |state: &str| {
            let url = format!("https://login.example/authorize?a=b&state={state}&c=d");
            flows.goes(Uuid::nil(), &url, address.clone(), "localhost:1088".into())
        };
        assert!(goes("one") && goes("two"));
        assert!(!flows.goes(Uuid::nil(), "https://login.example/?a", address.clone(), "h".into()));
        assert!(flows.returns("code=x&state=three").is_none());
        assert!(flows.returns("code=x&state=one&state=one").is_none());
        assert_eq!(flows.returns("code=x&state=one").unwrap().host, "localhost:1088");
        assert!(flows.returns("code=x&state=one").is_none(), "twice");
        clock.advance(LIFETIME);
        assert!(flows.returns("state=two&error=access_denied").is_none(), "too late");
    }
}
