//! From a request to its answer: is it meant for us, who asks, what is asked of which resource.
//!
//! RFC 9110 §7.2, §15.5.20 (421); RFC 7617 (Basic, UTF-8); RFC 4918 §9. In this order, each before anything
//! that comes after it is looked at; what is another account's is as if it were not there. Nothing here must
//! set a cookie, or say to a web page that it may ask.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{
    ALLOW, AUTHORIZATION, CONTENT_ENCODING, EXPECT, HOST, HeaderMap, HeaderName, LOCATION,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::{Request, StatusCode};
use jiff::tz::TimeZone;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::answer::{self, Answer, Broken, Done, Reply};
use super::condition::Condition;
use super::discovery;
use super::header::Preferences;
use super::href::{BadHref, Href, Place};
use super::limits::Limits;
use super::names::Names;
use crate::account::Account;
use crate::login::{Login, Logins};
use crate::store::Store;

/// What is read of a body that is not wanted, so that the client comes to read the answer.
const DISCARDED_OCTETS_MAX: usize = 16 * 1024 * 1024;
/// How long a request waits for room to hold its body.
const ROOM_WITHIN: Duration = Duration::from_secs(30);

/// Everything that answers are made from.
pub struct Site {
    pub(super) store: Store,
    logins: Logins,
    names: Names,
    pub(super) limits: Limits,
    /// The answer to a change is held back for so long, until it is known what becomes of it.
    pub(super) wait: Duration,
    pub(super) makes_calendars: bool,
    zones: Zones,
    pub(super) stop: CancellationToken,
    bodies: Semaphore,
    /// The ids of changes follow each other as their commits do.
    pub(super) order: Mutex<()>,
}

/// In which zone days and floating times are, by login.
#[derive(Debug, Clone, Default)]
pub struct Zones {
    pub by_login: HashMap<String, TimeZone>,
    /// Of the others; `None`: the machine's.
    pub others: Option<TimeZone>,
}

impl Zones {
    fn of(&self, account: &Account) -> TimeZone {
        let own = self.by_login.get(&account.address.key()).or(self.others.as_ref());
        own.cloned().unwrap_or_else(TimeZone::system)
    }
}

/// Who asks, as far as the connection says it.
pub(super) struct Caller {
    pub(super) peer: IpAddr,
    /// The port that was connected to.
    pub(super) port: u16,
    /// Cancelled when nobody waits for the answer any more.
    pub(super) hung_up: CancellationToken,
}

/// A request of one who has logged in, of a resource that can be theirs.
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) place: Place,
    pub(super) account: Arc<Account>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) preferences: Preferences,
    /// What we may be called in URLs, with ports.
    pub(super) hosts: Vec<String>,
    pub(super) zone: TimeZone,
    pub(super) hung_up: CancellationToken,
}

impl Asked {
    /// A header's value; several of them as one list (RFC 9110 §5.3). What is not text is no value of
    /// ours.
    pub(super) fn header(&self, name: &HeaderName) -> Option<String> {
        joined(&self.headers, name)
    }

    pub(super) fn login(&self) -> String {
        self.account.address.key()
    }

    /// Whether its calendar may be changed: what was granted, or, before the first sign-in, will be asked
    /// for.
    pub(super) fn may_write(&self) -> bool {
        const SCOPE: &str = "Calendars.ReadWrite";
        let account = &self.account;
        account.has(SCOPE)
            || (account.granted.is_empty() && account.profile.scopes().contains(&SCOPE))
    }

    /// What an href of the request names, if that is this account's.
    pub(super) fn href(&self, href: &str) -> Result<Place, BadHref> {
        let hosts: Vec<&str> = self.hosts.iter().map(String::as_str).collect();
        let place = Href::parse_reference(href, &hosts)?.place;
        self.owns(&place).then_some(place).ok_or(BadHref::Unknown)
    }

    fn owns(&self, place: &Place) -> bool {
        place.login().is_none_or(|login| login == self.login())
    }
}

fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<String> = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// Why a body could not be had.
enum Unread {
    TooLarge,
    TooSlow,
    Broken,
}

impl Site {
    pub fn new(
        store: Store,
        logins: Logins,
        names: Names,
        limits: Limits,
        zones: Zones,
        stop: CancellationToken,
    ) -> Site {
        let bodies = Semaphore::new(limits.bodies);
        let (wait, makes_calendars, order) = (Duration::ZERO, true, Mutex::default());
        Site { store, logins, names, limits, wait, makes_calendars, zones, stop, bodies, order }
    }

    /// The answer to a change is held back for so long, until it is known what becomes of it.
    pub fn waiting(self, wait: Duration) -> Site {
        Site { wait, ..self }
    }

    /// Whether clients may make calendars.
    pub fn making_calendars(self, makes_calendars: bool) -> Site {
        Site { makes_calendars, ..self }
    }

    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        caller: Caller,
        mut reply: Reply,
    ) {
        let (parts, body) = request.into_parts();
        // RFC 9110 §10.1.1: who waits to be told to send it is told by the answer that it is not wanted.
        let mut body = Arrives { body, settled: parts.headers.contains_key(EXPECT) };
        let method = parts.method.to_string();
        let done = self.respond(parts, &mut body, caller, &mut reply).await;
        body.discard(&self.limits).await;
        let answer = match done {
            Ok(Done::Sent) => return,
            Ok(Done::Whole(answer)) => answer,
            Err(Broken::NotTaken) => return tracing::debug!(method, "an answer was not taken"),
            Err(broken) => {
                tracing::error!(method, error = %broken, "a request could not be answered");
                broken.answer()
            }
        };
        reply.send(answer);
    }

    async fn respond(
        &self,
        parts: Parts,
        body: &mut Arrives,
        caller: Caller,
        reply: &mut Reply,
    ) -> Result<Done, Broken> {
        if let Err(refusal) = self.is_meant(&parts, caller.port) {
            return Ok(refusal.into());
        }
        // RFC 6764 §5: asked by those who know nothing yet.
        if parts.uri.path() == "/.well-known/caldav" || parts.uri.path() == "/.well-known/caldav/" {
            let answer = answer::status(StatusCode::MOVED_PERMANENTLY);
            return Ok(answer::with(answer, LOCATION, &Place::Dav.to_string()).into());
        }
        let account = match self.log_in(&parts.headers, caller.peer).await {
            Ok(account) => account,
            Err(refusal) => return Ok(refusal.into()),
        };
        let method = parts.method.as_str().to_owned();
        let place = match place(parts.uri.path(), &method) {
            Ok(place) => place,
            Err(refusal) => return Ok(refusal.into()),
        };
        let header = |name: &HeaderName| joined(&parts.headers, name);
        let preferences = Preferences::parse(
            header(&HeaderName::from_static("prefer")).as_deref(),
            header(&HeaderName::from_static("brief")).as_deref(),
        );
        let zone = self.zones.of(&account);
        let hosts = self.names.at(caller.port);
        let (headers, hung_up) = (parts.headers, caller.hung_up);
        let mut asked = Asked {
            method,
            place,
            account,
            headers,
            body: Bytes::new(),
            preferences,
            hosts,
            zone,
            hung_up,
        };
        if !asked.owns(&asked.place) {
            return Ok(not_found().into());
        }
        if !discovery::allowed(&asked.place).contains(&asked.method.as_str()) {
            return Ok(not_allowed(&asked).into());
        }
        let _room = match self.take_in(&mut asked, body).await {
            Ok(room) => room,
            Err(refusal) => return Ok(refusal.into()),
        };
        self.dispatch(&Arc::new(asked), reply).await
    }

    async fn dispatch(&self, asked: &Arc<Asked>, reply: &mut Reply) -> Result<Done, Broken> {
        match asked.method.as_str() {
            "OPTIONS" => Ok(discovery::options(asked).into()),
            "GET" | "HEAD" => Ok(self.get(asked).await?.into()),
            "PUT" => Box::pin(self.put(asked, reply)).await,
            "DELETE" => Box::pin(self.delete(asked, reply)).await,
            "PROPFIND" => self.propfind(asked, reply).await,
            "REPORT" => Box::pin(self.report(asked, reply)).await,
            "POST" => Ok(self.free_busy_of(asked).await?.into()),
            "MKCALENDAR" | "MKCOL" => Ok(self.make(asked).await?.into()),
            "COPY" | "MOVE" => Ok(self.copy(asked).await?.into()),
            "PROPPATCH" => self.proppatch(asked, reply).await,
            _ => Ok(not_allowed(asked).into()),
        }
    }

    /// Whether the request is for one of our names. RFC 9112 §3.2: exactly one Host; §3.2.2: an absolute URI
    /// says it as well.
    fn is_meant(&self, parts: &Parts, port: u16) -> Result<(), Answer> {
        let mut hosts = parts.headers.get_all(HOST).iter();
        let host = hosts.next().map(|host| host.to_str().unwrap_or_default());
        if hosts.next().is_some() {
            return Err(answer::words(StatusCode::BAD_REQUEST, "There is more than one Host."));
        }
        let said: Vec<&str> = parts
            .uri
            .authority()
            .map(|authority| authority.as_str())
            .into_iter()
            .chain(host)
            .collect();
        if said.is_empty() {
            return Err(answer::words(StatusCode::BAD_REQUEST, "There is no Host."));
        }
        if !said.iter().all(|authority| self.names.have(authority, port)) {
            let words = "This is not who you asked for. Further names are set by caldav.hosts.";
            return Err(answer::words(StatusCode::MISDIRECTED_REQUEST, words));
        }
        Ok(())
    }

    async fn log_in(&self, headers: &HeaderMap, peer: IpAddr) -> Result<Arc<Account>, Answer> {
        let unauthorized = || {
            let words = "Log in with the address of the account and its local password.";
            let answer = answer::words(StatusCode::UNAUTHORIZED, words);
            let challenge = "Basic realm=\"postbridge\", charset=\"UTF-8\"";
            answer::with(answer, WWW_AUTHENTICATE, challenge)
        };
        let Some(credentials) = credentials(headers) else { return Err(unauthorized()) };
        let (login, password) = credentials.split_once(':').unwrap_or((&credentials, ""));
        match self.logins.check(login, password, peer).await {
            Login::As(account) => Ok(account),
            Login::Wrong { delay } => {
                tokio::time::sleep(delay).await;
                Err(unauthorized())
            }
            Login::Later => {
                let words = "Too many logins have failed; try again in a minute.";
                let answer = answer::words(StatusCode::TOO_MANY_REQUESTS, words);
                Err(answer::with(answer, RETRY_AFTER, "60"))
            }
            Login::Unavailable => {
                let words = "Logins cannot be checked now; come again.";
                Err(answer::words(StatusCode::SERVICE_UNAVAILABLE, words))
            }
        }
    }

    /// Reads the body, in a place among those that are held at once.
    async fn take_in(
        &self,
        asked: &mut Asked,
        body: &mut Arrives,
    ) -> Result<Option<SemaphorePermit<'_>>, Answer> {
        let too_large = || {
            let words = format!("A body may have {} octets.", self.limits.body_octets);
            answer::words(StatusCode::PAYLOAD_TOO_LARGE, &words)
        };
        let said = body.body.size_hint();
        if said.exact() == Some(0) {
            return Ok(None);
        }
        let encoding = asked.header(&CONTENT_ENCODING).unwrap_or_default();
        if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity") {
            let words = "A body is read as it is, without an encoding.";
            return Err(answer::words(StatusCode::UNSUPPORTED_MEDIA_TYPE, words));
        }
        if said.lower() > self.limits.body_octets as u64 {
            return Err(too_large());
        }
        let Ok(Ok(room)) = timeout(ROOM_WITHIN, self.bodies.acquire()).await else {
            let answer = answer::words(StatusCode::SERVICE_UNAVAILABLE, "Too much at once.");
            return Err(answer::with(answer, RETRY_AFTER, "10"));
        };
        match body.read(&self.limits).await {
            Ok(octets) => asked.body = octets.into(),
            Err(Unread::TooLarge) => return Err(too_large()),
            Err(Unread::TooSlow) => {
                let words = "The body comes too slowly.";
                return Err(answer::words(StatusCode::REQUEST_TIMEOUT, words));
            }
            Err(Unread::Broken) => {
                return Err(answer::words(StatusCode::BAD_REQUEST, "The body breaks off."));
            }
        }
        Ok(Some(room))
    }
}

/// A body that is on its way.
struct Arrives {
    body: Incoming,
    /// Nothing of it is left to be read.
    settled: bool,
}

impl Arrives {
    async fn read(&mut self, limits: &Limits) -> Result<Vec<u8>, Unread> {
        let start = Instant::now();
        self.settled = false;
        let mut octets = Vec::new();
        while let Some(piece) = self.piece(start + limits.body_time(octets.len())).await? {
            if octets.len() + piece.len() > limits.body_octets {
                return Err(Unread::TooLarge);
            }
            octets.extend_from_slice(&piece);
        }
        Ok(octets)
    }

    /// Takes the rest in without keeping it, so that what follows is a request, and what was answered is
    /// read.
    async fn discard(&mut self, limits: &Limits) {
        let until = Instant::now() + limits.body_time(0);
        let mut octets = 0;
        while !self.settled && octets < DISCARDED_OCTETS_MAX {
            match self.piece(until).await {
                Ok(Some(piece)) => octets += piece.len(),
                Ok(None) | Err(_) => self.settled = true,
            }
        }
    }

    async fn piece(&mut self, until: Instant) -> Result<Option<Bytes>, Unread> {
        loop {
            let body = &mut self.body;
            let frame =
                std::future::poll_fn(|context| std::pin::pin!(&mut *body).poll_frame(context));
            match timeout_at(until, frame).await {
                Err(_) => return Err(Unread::TooSlow),
                Ok(None) => {
                    self.settled = true;
                    return Ok(None);
                }
                Ok(Some(Err(_))) => {
                    self.settled = true;
                    return Err(Unread::Broken);
                }
                // Trailers are for nobody.
                Ok(Some(Ok(frame))) => {
                    if let Ok(piece) = frame.into_data() {
                        return Ok(Some(piece));
                    }
                }
            }
        }
    }
}

/// RFC 7617 §2: the login, a colon, and the password.
fn credentials(headers: &HeaderMap) -> Option<Zeroizing<String>> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(given), None) = (given.next(), given.next()) else { return None };
    let (scheme, token) = given.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let octets = Zeroizing::new(BASE64.decode(token.trim()).ok()?);
    Some(Zeroizing::new(std::str::from_utf8(&octets).ok()?.to_owned()))
}

fn place(path: &str, method: &str) -> Result<Place, Answer> {
    match Href::parse(path) {
        Ok(href) => Ok(href.place),
        // RFC 9110 §9.3.7: of all there is.
        Err(_) if path == "*" && method == "OPTIONS" => Ok(Place::Root),
        Err(BadHref::Malformed(why)) => {
            Err(answer::words(StatusCode::BAD_REQUEST, &format!("The path is malformed: {why}.")))
        }
        Err(BadHref::Unknown | BadHref::Foreign) => Err(match method {
            // RFC 4918 §9.3.1: nothing can be made there.
            "MKCOL" => answer::words(StatusCode::FORBIDDEN, "No collection can be made here."),
            // RFC 4791 §5.3.1.2
            "MKCALENDAR" => answer::condition(&Condition::CalendarCollectionLocationOk),
            _ => not_found(),
        }),
    }
}

pub(super) fn not_found() -> Answer {
    answer::words(StatusCode::NOT_FOUND, "There is nothing here.")
}

fn not_allowed(asked: &Asked) -> Answer {
    let words = format!("{} means nothing here.", asked.method);
    let answer = answer::words(StatusCode::METHOD_NOT_ALLOWED, &words);
    answer::with(answer, ALLOW, &discovery::allowed(&asked.place).join(", "))
}
