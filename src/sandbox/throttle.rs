//! Exchange's limits on requests: 4 in flight, 10,000 in 10 minutes, 150 MB of bodies in 5 minutes.
//!
//! Microsoft Graph throttling guidance, Outlook service limits. The older text counts requests in
//! flight per application and mailbox, the newer one per application: a switch says which. A request
//! that is refused counts as a request all the same. The layer stands outside the faults, so that a
//! delayed request is in flight for as long as its client waits.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use http_body::Body as _;
use serde::Serialize;
use uuid::Uuid;

use super::answer::RequestIds;
use super::odata::ODataError;
use super::world::{ConcurrencyBy, ThrottleRetryAfter, World};

const IN_FLIGHT_MAX: usize = 4;
const WINDOW: Duration = Duration::from_secs(600);
const UPLOAD_WINDOW: Duration = Duration::from_secs(300);
/// How long a client is told to wait for one of the four to end. With a fraction, to show it.
const CONCURRENCY_WAIT: Duration = Duration::from_millis(1_128);

/// The limit that a request was one too many for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Limit {
    MailboxConcurrency,
    MailboxRequests,
    /// Octets of PATCH, POST and PUT.
    MailboxUpload,
}

impl Limit {
    fn name(self) -> &'static str {
        match self {
            Limit::MailboxConcurrency => "MailboxConcurrency",
            Limit::MailboxRequests => "MailboxRequests",
            Limit::MailboxUpload => "MailboxUpload",
        }
    }
}

/// Whose requests are counted together: an application, at one mailbox or at all.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Lane {
    application: String,
    mailbox: Option<Uuid>,
}

#[derive(Debug, Default)]
pub struct Throttle {
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    in_flight: HashMap<Lane, usize>,
    /// When each of the last requests came; at most as many as are let in.
    recent: HashMap<Lane, VecDeque<Duration>>,
    /// When how many octets came; as many entries as requests fit in the window.
    uploaded: HashMap<Lane, VecDeque<(Duration, usize)>>,
}

/// The right to be in flight; gives it back when dropped.
#[derive(Debug)]
pub struct InFlight {
    lane: Lane,
    counts: Arc<Mutex<Counts>>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        if let Some(count) = counts.in_flight.get_mut(&self.lane) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.in_flight.remove(&self.lane);
            }
        }
    }
}

/// One request too many, and how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    pub limit: Limit,
    pub wait: Duration,
}

impl Throttle {
    /// Lets a request in or not. `now` counts from any fixed point.
    pub fn admit(
        &self,
        application: &str,
        mailbox: Uuid,
        by: ConcurrencyBy,
        max: usize,
        now: Duration,
    ) -> Result<InFlight, Refused> {
        let mut counts = lock(&self.counts);
        let lane = |mailbox: Option<Uuid>| Lane { application: application.to_owned(), mailbox };
        let recent = counts.recent.entry(lane(Some(mailbox))).or_default();
        while recent.front().is_some_and(|oldest| now.saturating_sub(*oldest) >= WINDOW) {
            recent.pop_front();
        }
        let full = recent.len() >= max;
        // A client that keeps asking keeps the window full.
        let oldest = if full { recent.pop_front() } else { None };
        recent.push_back(now);
        if let Some(oldest) = oldest {
            let wait = (oldest + WINDOW).saturating_sub(now);
            return Err(Refused { limit: Limit::MailboxRequests, wait });
        }
        let lane = lane(match by {
            ConcurrencyBy::Mailbox => Some(mailbox),
            ConcurrencyBy::Application => None,
        });
        let count = counts.in_flight.entry(lane.clone()).or_default();
        if *count >= IN_FLIGHT_MAX {
            return Err(Refused { limit: Limit::MailboxConcurrency, wait: CONCURRENCY_WAIT });
        }
        *count += 1;
        Ok(InFlight { lane, counts: Arc::clone(&self.counts) })
    }

    /// Lets so many octets in or not; those that are refused do not count.
    pub fn admit_octets(
        &self,
        application: &str,
        mailbox: Uuid,
        octets: usize,
        max: usize,
        now: Duration,
    ) -> Result<(), Refused> {
        let mut counts = lock(&self.counts);
        let lane = Lane { application: application.to_owned(), mailbox: Some(mailbox) };
        let uploaded = counts.uploaded.entry(lane).or_default();
        while uploaded.front().is_some_and(|(at, _)| now.saturating_sub(*at) >= UPLOAD_WINDOW) {
            uploaded.pop_front();
        }
        let mut sum = uploaded.iter().fold(octets, |sum, (_, one)| sum.saturating_add(*one));
        for (at, one) in uploaded.iter() {
            if sum <= max {
                break;
            }
            sum = sum.saturating_sub(*one);
            if sum <= max {
                let wait = (*at + UPLOAD_WINDOW).saturating_sub(now);
                return Err(Refused { limit: Limit::MailboxUpload, wait });
            }
        }
        if octets > 0 {
            uploaded.push_back((now, octets));
        }
        Ok(())
    }

    /// Forgets the requests of the past; those in flight stay in flight.
    pub fn clear(&self) {
        let mut counts = lock(&self.counts);
        counts.recent.clear();
        counts.uploaded.clear();
    }
}

fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The layer around the Graph routes. A request without a valid token is not anybody's yet: it
/// passes uncounted, and its route refuses it.
pub async fn layer(
    State(world): State<Arc<World>>,
    ids: RequestIds,
    request: Request,
    next: Next,
) -> Response {
    let Some(path) = request.uri().path().strip_prefix("/v1.0/") else {
        return next.run(request).await;
    };
    let authorization = request.headers().get(AUTHORIZATION).and_then(|v| v.to_str().ok());
    let Ok(caller) = world.identity.caller(authorization) else {
        return next.run(request).await;
    };
    let named = path.strip_prefix("users/").and_then(|rest| rest.split('/').next());
    let mailbox = named.and_then(|key| world.user(key)).map_or(caller.user, |user| user.object_id);
    let (by, max) = {
        let switches = world.switches();
        (switches.concurrency_by, switches.requests_max)
    };
    let admitted = world.throttle.admit(&caller.application, mailbox, by, max, now(&world));
    let in_flight = match admitted {
        Ok(in_flight) => in_flight,
        Err(refused) => {
            return refusal(&world, &caller.application, mailbox, refused).answer(&ids);
        }
    };
    if [Method::PATCH, Method::POST, Method::PUT].contains(request.method()) {
        // The journal has read the body.
        let octets = request.body().size_hint().exact().unwrap_or_default();
        let octets = usize::try_from(octets).unwrap_or(usize::MAX);
        if let Err(error) = admit_octets(&world, &caller.application, mailbox, octets) {
            return error.answer(&ids);
        }
    }
    let response = next.run(request).await;
    drop(in_flight);
    response
}

/// For uploads as well, whose requests show no token.
pub(super) fn admit_octets(
    world: &World,
    application: &str,
    mailbox: Uuid,
    octets: usize,
) -> Result<(), ODataError> {
    let max = world.switches().uploaded_octets_max;
    let admitted = world.throttle.admit_octets(application, mailbox, octets, max, now(world));
    admitted.map_err(|refused| refusal(world, application, mailbox, refused))
}

fn now(world: &World) -> Duration {
    Duration::try_from(world.clock.now().as_duration()).unwrap_or_default()
}

/// The answer, which the ledger notes.
fn refusal(world: &World, application: &str, mailbox: Uuid, refused: Refused) -> ODataError {
    let form = world.switches().throttle_retry_after;
    let retry_after = written(refused.wait, form);
    let address = world.user(&mailbox.to_string()).map_or("", |user| &user.address);
    world.ledger.throttle(address, application, refused.limit, retry_after.clone());
    too_many(refused.limit, retry_after)
}

fn too_many(limit: Limit, retry_after: Option<String>) -> ODataError {
    let message = format!("Application is over its {} limit.", limit.name());
    let status = StatusCode::TOO_MANY_REQUESTS;
    ODataError { retry_after, ..ODataError::new(status, "ApplicationThrottled", message) }
}

/// Documented as seconds; the documentation's own sample has a fraction.
fn written(wait: Duration, form: ThrottleRetryAfter) -> Option<String> {
    match form {
        ThrottleRetryAfter::Seconds => Some(wait.as_secs_f64().ceil().to_string()),
        ThrottleRetryAfter::Fraction => Some(format!("{:.3}", wait.as_secs_f64())),
        ThrottleRetryAfter::Absent => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADELE: Uuid = Uuid::from_u128(1);
    const ALEX: Uuid = Uuid::from_u128(2);
    const START: Duration = Duration::ZERO;
    const MAX: usize = 10_000;

    #[test]
    fn the_fifth_request_in_flight_is_one_too_many_until_one_ends() {
        let throttle = Throttle::default();
        let admit = |mailbox| throttle.admit("app", mailbox, ConcurrencyBy::Mailbox, MAX, START);
        let mut four: Vec<InFlight> = (0..4).map(|_| admit(ADELE).unwrap()).collect();
        assert_eq!(admit(ADELE).unwrap_err().limit, Limit::MailboxConcurrency);
        let _of_another_mailbox = admit(ALEX).unwrap();
        four.pop();
        four.push(admit(ADELE).unwrap());
        assert_eq!(admit(ADELE).unwrap_err().limit, Limit::MailboxConcurrency);
    }

    #[test]
    fn counted_by_application_all_mailboxes_share_the_four() {
        let throttle = Throttle::default();
        let admit =
            |app, mailbox| throttle.admit(app, mailbox, ConcurrencyBy::Application, MAX, START);
        let _four: Vec<InFlight> =
            [ADELE, ALEX, ADELE, ALEX].map(|m| admit("app", m).unwrap()).into();
        assert!(admit("app", ADELE).is_err());
        assert!(admit("other app", ADELE).is_ok());
    }

    #[test]
    fn ten_thousand_requests_fill_ten_minutes() {
        let throttle = Throttle::default();
        let at = |seconds| {
            let now = Duration::from_secs(seconds);
            throttle.admit("app", ADELE, ConcurrencyBy::Mailbox, MAX, now).map(drop)
        };
        for _ in 0..10_000 {
            at(0).unwrap();
        }
        let wait = Duration::from_secs(599);
        assert_eq!(at(1), Err(Refused { limit: Limit::MailboxRequests, wait }));
        // The refused one counts: at 600 s the first ten thousand are gone, it is not.
        assert_eq!(at(600), Ok(()));
    }

    #[test]
    fn octets_fill_five_minutes_and_the_wait_is_until_enough_of_them_are_gone() {
        let throttle = Throttle::default();
        let at = |seconds, octets| {
            let now = Duration::from_secs(seconds);
            throttle.admit_octets("app", ADELE, octets, 100, now).map_err(|refused| refused.wait)
        };
        assert_eq!(at(0, 60), Ok(()));
        assert_eq!(at(10, 40), Ok(()));
        assert_eq!(at(20, 60), Err(Duration::from_secs(280)));
        assert_eq!(at(20, 61), Err(Duration::from_secs(290)));
        assert_eq!(at(300, 60), Ok(()));
        assert_eq!(throttle.admit_octets("app", ALEX, 100, 100, START), Ok(()));
    }

    #[test]
    fn retry_after_has_the_form_that_the_switch_says() {
        let wait = Duration::from_millis(2_128);
        assert_eq!(written(wait, ThrottleRetryAfter::Seconds).as_deref(), Some("3"));
        assert_eq!(written(wait, ThrottleRetryAfter::Fraction).as_deref(), Some("2.128"));
        assert_eq!(written(wait, ThrottleRetryAfter::Absent), None);
    }
}
