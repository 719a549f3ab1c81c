//! The CalDAV server, asked over real sockets: dialogues, limits, and who is kept out.
//!
//! The dialogues are in `tests/data/caldav`; its README tells how they are written. What becomes of a
//! change in the mailbox is in `calendar_changes`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod dialogue;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::http::{Answer, Http, basic, request};
use common::{COLLEAGUE, PATIENCE, TestBridge, USER};
use dialogue::{Exchange, Expected, filled};
use jiff::tz::TimeZone;
use postbridge::account::{Address, Profile};
use postbridge::caldav::limits::Limits;
use postbridge::caldav::names::Names;
use postbridge::caldav::server::{Kind, Listener, Shared, serve};
use postbridge::caldav::site::{Site, Zones};
use postbridge::config::TimeZoneName;
use postbridge::listen;
use postbridge::login::{self, Logins};
use postbridge::smtp;
use postbridge::store::calendar::{Change, Place, Span, Spooled};
use postbridge::store::{Room, Store};
use postbridge::submission::{Envelope, MailParameters};
use postbridge::tls;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/caldav")
}

// ---- dialogues ----

/// A bridge with two accounts; the other one has an object.
async fn bridge() -> (TestBridge, BTreeMap<String, String>) {
    let bridge = TestBridge::start_with(|config| {
        let zone = TimeZoneName(TimeZone::get("Europe/Berlin").unwrap());
        config.account.entry(USER.parse().unwrap()).or_default().time_zone = Some(zone);
        config.caldav.hosts = vec![toml::Spanned::new(0..0, "cal.contoso.example".to_owned())];
    })
    .await;
    let other = common::add_account_of(COLLEAGUE, &bridge.running.control, Profile::Full).await;
    let port = address(&bridge).port().to_string();
    let at = |user: &str| user.replace('@', "%40");
    let mut known = BTreeMap::new();
    let mut know = |name: &str, value: String| known.insert(name.to_owned(), value);
    for (prefix, user) in [("", USER), ("other_", COLLEAGUE)] {
        know(&format!("{prefix}home"), format!("/dav/calendars/{}/", at(user)));
        know(&format!("{prefix}calendar"), format!("/dav/calendars/{}/calendar/", at(user)));
        know(&format!("{prefix}principal"), format!("/dav/principals/{}/", at(user)));
    }
    know("inbox", format!("/dav/calendars/{}/inbox/", at(USER)));
    know("outbox", format!("/dav/calendars/{}/outbox/", at(USER)));
    know("user", USER.to_owned());
    know("port", port);
    know("right", basic(USER, &bridge.password));
    know("wrong", basic(USER, "wrong"));
    let theirs = std::fs::read_to_string(directory().join("alone.ics")).unwrap();
    let theirs = theirs.replace("alone@", "theirs@");
    let path = format!("{}theirs.ics", known["other_calendar"]);
    let authorization = basic(COLLEAGUE, &other);
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", "text/calendar")];
    let answer = ask(address(&bridge), &format!("PUT {path}"), &headers, theirs.as_bytes()).await;
    assert_eq!(answer.status, 201);
    (bridge, known)
}

fn address(bridge: &TestBridge) -> SocketAddr {
    let mut calendars = bridge.running.calendars.iter();
    calendars.find(|(kind, _)| *kind == Kind::Clear).unwrap().1
}

/// One request on a connection of its own.
async fn ask(to: SocketAddr, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut http = Http::connect(to).await;
    let host = to.to_string();
    http.send(&request(line, headers, &[("Host", &host)], body)).await;
    http.answer(line.starts_with("HEAD ")).await.expect("an answer")
}

async fn converse(path: &Path) -> Result<Vec<Exchange>, String> {
    let (bridge, mut known) = bridge().await;
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let exchanges = dialogue::read(&std::fs::read_to_string(path).unwrap(), &directory());
    let mut http = Http::connect(address(&bridge)).await;
    for exchange in &exchanges {
        let place = format!("{name}:{}: {}", exchange.line, exchange.request);
        let line = filled(&exchange.request, &known);
        let body = match String::from_utf8(exchange.body.clone()) {
            Ok(text) => filled(&text, &known).into_bytes(),
            Err(_) => exchange.body.clone(),
        };
        let headers: Vec<(String, String)> =
            exchange.headers.iter().map(|(n, v)| (n.clone(), filled(v, &known))).collect();
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let host = format!("127.0.0.1:{}", known["port"]);
        let authorization = known["right"].clone();
        let mut defaults = vec![("Host", host.as_str()), ("Authorization", authorization.as_str())];
        if !body.is_empty() {
            let is_object = ["PUT", "POST"].contains(&exchange.method());
            defaults.push(("Content-Type", if is_object { "text/calendar" } else { "text/xml" }));
        }
        http.send(&request(&line, &headers, &defaults, &body)).await;
        let answer = match http.answer(exchange.method() == "HEAD").await {
            Some(answer) => answer,
            None => return Err(format!("{place}: the server has closed")),
        };
        if let Err(why) = exchange.compare(&answer, &mut known) {
            let body = dialogue::canonical(&answer);
            return Err(format!("{place}: {why}\n{} {:?}\n{body}", answer.status, answer.headers));
        }
    }
    // Whatever was asked: what is another account's is as it was.
    let store = &bridge.running.control.store;
    let other = store.account_by_login(COLLEAGUE).await.unwrap().unwrap();
    let theirs = store.objects(other.id, "calendar", None, "", 10).await.unwrap();
    let theirs: Vec<(&str, &str)> =
        theirs.iter().map(|one| (one.name.as_str(), one.uid.as_str())).collect();
    assert_eq!(theirs, [("theirs.ics", "theirs@contoso.example")], "{name}");
    let calendar = store.calendar(other.id, "calendar").await.unwrap().unwrap();
    assert_eq!((calendar.change, calendar.properties), (1, vec![]), "{name}");
    bridge.running.stop().await;
    Ok(exchanges)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dialogues_go_as_they_are_written_down() {
    let only = std::env::var("POSTBRIDGE_DIALOGUE").unwrap_or_default();
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "dialogue"));
    paths.retain(|path| path.to_string_lossy().contains(&only));
    paths.sort();
    let mut running = tokio::task::JoinSet::new();
    for path in paths {
        running.spawn(async move { converse(&path).await });
    }
    let (mut exchanges, mut failed) = (Vec::new(), Vec::new());
    for done in running.join_all().await {
        match done {
            Ok(done) => exchanges.extend(done),
            Err(why) => failed.push(why),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    if !only.is_empty() {
        return;
    }
    // None is forgotten.
    let methods: BTreeSet<&str> = exchanges.iter().map(Exchange::method).collect();
    for method in [
        "OPTIONS",
        "GET",
        "HEAD",
        "PUT",
        "DELETE",
        "PROPFIND",
        "PROPPATCH",
        "REPORT",
        "POST",
        "MKCALENDAR",
        "MKCOL",
        "COPY",
        "MOVE",
        "LOCK",
        "UNLOCK",
        "ACL",
    ] {
        assert!(methods.contains(method), "no dialogue asks {method}");
    }
    let held: Vec<&String> = exchanges
        .iter()
        .flat_map(|exchange| &exchange.expected)
        .filter_map(|expected| match expected {
            Expected::Holds(held) => Some(held),
            _ => None,
        })
        .collect();
    for condition in [
        "D:cannot-modify-protected-property",
        "D:no-external-entities",
        "D:propfind-finite-depth",
        "D:resource-must-be-null",
        "D:supported-report",
        "D:valid-resourcetype",
        "D:valid-sync-token",
        "D:number-of-matches-within-limits",
        "C:calendar-collection-location-ok",
        "C:supported-calendar-data",
        "C:valid-calendar-data",
        "C:valid-calendar-object-resource",
        "C:supported-calendar-component",
        "C:no-uid-conflict",
        "C:valid-filter",
        "C:supported-filter",
        "C:supported-collation",
        "C:same-organizer-in-all-components",
        "C:allowed-organizer-scheduling-object-change",
        "C:valid-schedule-default-calendar-URL",
        "C:valid-scheduling-message",
        "C:valid-organizer",
    ] {
        let name = format!("<{condition}");
        assert!(held.iter().any(|held| held.contains(&name)), "no dialogue expects {condition}");
    }
}

// ---- the server alone, with a store and an account of its own ----

struct Front {
    store: Store,
    shared: Arc<Shared>,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
    clear: SocketAddr,
    tls: SocketAddr,
    files: tls::Files,
    authorization: String,
    password: String,
    account: postbridge::account::AccountId,
    _directory: tempfile::TempDir,
}

impl Front {
    async fn start(limits: Limits) -> Front {
        Front::start_with(
            limits,
            smtp::limits::Limits::default().logins(),
            Room { keep_free_octets: 0, ..Room::default() },
        )
        .await
    }

    async fn start_with(limits: Limits, logins: login::Limits, room: Room) -> Front {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let directory = common::private_directory();
        let store = Store::open(&directory.path().join("state"), room).await.unwrap();
        let user = Address::parse(USER).unwrap();
        let (account, password) = store.add_account(user, Profile::Full).await.unwrap();
        let files = tls::provide(directory.path(), "localhost").unwrap();
        let pair = tls::server(&files.certificate, &files.key).unwrap();
        let stop = CancellationToken::new();
        let logins = Logins::new(store.clone(), logins);
        let (names, zones) = (Names::new("localhost", &[]), Zones::default());
        let site = Site::new(store.clone(), logins, names, limits.clone(), zones, stop.clone());
        let shared = Arc::new(Shared::new(site, limits, &pair));
        let bind = |kind| {
            let listener =
                Listener { socket: listen::bind(([127, 0, 0, 1], 0).into()).unwrap(), kind };
            (listener.socket.local_addr().unwrap(), listener)
        };
        let ((clear, first), (tls, second)) = (bind(Kind::Clear), bind(Kind::Tls));
        let serving = tokio::spawn(serve(
            vec![first, second],
            watch::Sender::new(Arc::clone(&shared)).subscribe(),
            stop.clone(),
        ));
        Front {
            store,
            shared,
            stop,
            serving,
            clear,
            tls,
            files,
            authorization: basic(USER, password.expose()),
            password: password.expose().to_owned(),
            account: account.id,
            _directory: directory,
        }
    }

    /// The octets of a request.
    fn request(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let host = self.clear.to_string();
        let defaults = [("Host", host.as_str()), ("Authorization", self.authorization.as_str())];
        request(line, headers, &defaults, body)
    }

    async fn ask(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut http = Http::connect(self.clear).await;
        http.send(&self.request(line, headers, body)).await;
        http.answer(false).await.expect("an answer")
    }

    /// Objects that are in the calendar without having been PUT: `name-000000.ics` and so on.
    async fn fill(&self, objects: usize, more: &str) {
        let account = self.account;
        let mut putting = tokio::task::JoinSet::new();
        for number in 0..objects {
            let (store, more) = (self.store.clone(), more.to_owned());
            putting.spawn(async move {
                let object = event(&format!("{number:06}"), &more);
                let place = Place {
                    account,
                    calendar: "calendar".to_owned(),
                    name: format!("name-{number:06}.ics"),
                };
                let own = vec![Address::parse(USER).unwrap().into()];
                let envelope = Envelope::new(None, own, MailParameters::default()).unwrap();
                let id = store.new_entry_id();
                let spooled = Spooled { id, envelope, octets: b"\r\n\r\n".to_vec() };
                let uid = format!("{number:06}");
                let change =
                    Change::Put { uid, octets: object.into_bytes(), span: Span::default() };
                store
                    .change_object(place, change, spooled, |_| Ok::<(), ()>(()))
                    .await
                    .unwrap()
                    .unwrap();
            });
            if putting.len() >= 200 {
                putting.join_next().await.unwrap().unwrap();
            }
        }
        putting.join_all().await;
    }
}

const CALENDAR: &str = "/dav/calendars/adele.vance%40contoso.example/calendar/";

fn event(uid: &str, more: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:{uid}\r\n\
         DTSTART:20270111T090000Z\r\nSUMMARY:Event {uid}\r\n{more}END:VEVENT\r\nEND:VCALENDAR\r\n"
    )
}

/// Looks again until it is so.
async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let seen = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_and_http1_are_spoken_over_tls() {
    let front = Front::start(Limits::default()).await;
    let ca = reqwest::Certificate::from_pem(&std::fs::read(&front.files.ca).unwrap()).unwrap();
    for (version, only_one) in
        [(reqwest::Version::HTTP_2, false), (reqwest::Version::HTTP_11, true)]
    {
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([ca.clone()]);
        let client = if only_one { client.http1_only() } else { client };
        let url = format!("https://localhost:{}/dav/", front.tls.port());
        let propfind = reqwest::Method::from_bytes(b"PROPFIND").unwrap();
        let asked = client.build().unwrap().request(propfind, url).header("Depth", "0");
        let answer = asked.basic_auth(USER, Some(&front.password)).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (207, version));
    }
    // The other name of an exchange in HTTP/2.
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).build().unwrap();
    let url = format!("https://localhost:{}/dav/", front.tls.port());
    let answer = client.get(url).header("Host", "evil.example").send().await.unwrap();
    assert_eq!(answer.status(), 421);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_again_and_again_is_not_looked_at_any_more() {
    let logins = login::Limits { per_minute: 2, per_day: 50 };
    let front = Front::start_with(
        Limits::default(),
        logins,
        Room { keep_free_octets: 0, ..Room::default() },
    )
    .await;
    let wrong = basic(USER, "wrong");
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let answer = front.ask("GET /dav/", &[("Authorization", &wrong)], b"").await;
        statuses.push(answer.status);
        assert_eq!(answer.header("retry-after").is_some(), answer.status == 429);
    }
    assert_eq!(statuses, [401, 401, 429]);
    let other = basic("alex@contoso.example", "wrong");
    assert_eq!(front.ask("GET /dav/", &[("Authorization", &other)], b"").await.status, 401);
    // Who knows nothing is only asked, however often.
    for _ in 0..5 {
        assert_eq!(front.ask("GET /dav/", &[("!Authorization", "")], b"").await.status, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_or_too_long_is_431() {
    let front = Front::start(Limits::default()).await;
    let long = "x".repeat(33 * 1024);
    assert_eq!(front.ask("GET /dav/", &[("X-Long", &long)], b"").await.status, 431);
    let many: Vec<(String, String)> =
        (0..101).map(|n| (format!("X-{n}"), "1".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(front.ask("GET /dav/", &many, b"").await.status, 431);
    assert_eq!(front.ask("GET /dav/", &many[..90], b"").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_413_and_the_connection_goes_on() {
    let front = Front::start(Limits::default()).await;
    let mut http = Http::connect(front.clear).await;
    let path = format!("PUT {CALENDAR}a.ics");
    let large = vec![b'x'; 1024 * 1024 + 1];
    let kind = ("Content-Type", "text/calendar");
    http.send(&front.request(&path, &[kind], &large)).await;
    assert_eq!(http.answer(false).await.unwrap().status, 413);
    // One that does not say how large it is.
    let chunked = [
        front.request(&path, &[kind, ("Transfer-Encoding", "chunked")], b""),
        format!("{:x}\r\n", large.len()).into_bytes(),
        large.clone(),
        b"\r\n0\r\n\r\n".to_vec(),
    ];
    http.send(&chunked.concat()).await;
    assert_eq!(http.answer(false).await.unwrap().status, 413);
    // One that asks first is told before it sends.
    let length = large.len().to_string();
    let ask = [kind, ("Expect", "100-continue"), ("Content-Length", &length)];
    http.send(&front.request(&path, &ask, b"")).await;
    assert_eq!(http.answer(false).await.unwrap().status, 413);
    let mut http = Http::connect(front.clear).await;
    let exact = event("a", &format!("X-A:{}\r\n", "y".repeat(100)));
    http.send(&front.request(&path, &[kind, ("Expect", "100-continue")], exact.as_bytes())).await;
    assert_eq!(http.answer(false).await.unwrap().status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_is_let_go_and_delays_nobody() {
    let limits = Limits { head_seconds: 1, body_grace_seconds: 1, ..Limits::default() };
    let front = Front::start(limits).await;
    let mut silent = Http::connect(front.clear).await;
    let mut slow_head = Http::connect(front.clear).await;
    slow_head.send(b"GET /dav/ HTTP/1.1\r\nHo").await;
    let mut no_handshake = Http::connect(front.tls).await;
    let mut slow_body = Http::connect(front.clear).await;
    let path = format!("PUT {CALENDAR}a.ics");
    let kind = ("Content-Type", "text/calendar");
    slow_body.send(&front.request(&path, &[kind, ("Content-Length", "1000")], b"BEGIN")).await;
    let quick = Instant::now();
    assert_eq!(front.ask("GET /dav/", &[], b"").await.status, 200);
    assert!(quick.elapsed() < Duration::from_secs(1));
    assert_eq!(slow_body.answer(false).await.unwrap().status, 408);
    for slow in [&mut silent, &mut slow_head, &mut no_handshake] {
        assert!(slow.is_closed().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_in_the_end_and_not_before() {
    let limits = Limits { head_seconds: 1, idle_seconds: 3, ..Limits::default() };
    let front = Front::start(limits).await;
    let mut http = Http::connect(front.clear).await;
    http.send(&front.request("GET /dav/", &[], b"")).await;
    assert_eq!(http.answer(false).await.unwrap().status, 200);
    let idle = Instant::now();
    // Longer than a stranger has.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    http.send(&front.request("GET /dav/", &[], b"")).await;
    assert_eq!(http.answer(false).await.unwrap().status, 200);
    assert!(http.is_closed().await);
    assert!(idle.elapsed() >= Duration::from_secs(4), "{:?}", idle.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_too_many_is_told_so_and_a_place_given_up_is_free_again() {
    let front = Front::start(Limits { connections: 2, ..Limits::default() }).await;
    let first = Http::connect(front.clear).await;
    let second = Http::connect(front.clear).await;
    until(async || front.shared.connected() == 2).await;
    let mut third = Http::connect(front.clear).await;
    let refused = third.answer(false).await.unwrap();
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    assert!(third.is_closed().await);
    drop(first);
    until(async || front.shared.connected() == 1).await;
    assert_eq!(front.ask("GET /dav/", &[], b"").await.status, 200);
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_lengths_or_an_encoding_beside_a_length_are_no_request() {
    let front = Front::start(Limits::default()).await;
    for headers in [
        vec![("Content-Length", "5"), ("Content-Length", "6")],
        vec![("Content-Length", "5, 6")],
        vec![("Content-Length", "+5")],
        vec![("Content-Length", "0x5")],
        vec![("Transfer-Encoding", "chunked, identity")],
        vec![("Transfer-Encoding", "identity")],
        vec![("Transfer-Encoding", " xchunked")],
        vec![("Transfer-Encoding", "gzip")],
    ] {
        let mut http = Http::connect(front.clear).await;
        let smuggled = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
        http.send(&front.request(&format!("PUT {CALENDAR}a.ics"), &headers, smuggled)).await;
        let answer = http.answer(false).await.unwrap();
        assert_eq!(answer.status, 400, "{headers:?}");
        assert!(http.is_closed().await, "{headers:?}");
    }
    // RFC 9112 §6.3: the length is passed over, and the connection does not outlive the exchange.
    let mut http = Http::connect(front.clear).await;
    let both = [("Transfer-Encoding", "chunked"), ("Content-Length", "5")];
    let body = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    http.send(&front.request(&format!("PUT {CALENDAR}a.ics"), &both, body)).await;
    assert_ne!(http.answer(false).await.unwrap().status, 201);
    if let Some(second) = http.answer(false).await {
        assert_eq!(second.status, 400, "a second request was answered: {second:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_sends_the_idle_away_and_ends() {
    let front = Front::start(Limits::default()).await;
    let mut idle = Http::connect(front.clear).await;
    idle.send(&front.request("GET /dav/", &[], b"")).await;
    assert_eq!(idle.answer(false).await.unwrap().status, 200);
    front.stop.cancel();
    assert!(idle.is_closed().await);
    tokio::time::timeout(PATIENCE, front.serving).await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(front.clear).await.is_err());
    assert_eq!(front.shared.connected(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_is_507_and_the_collection_as_before() {
    let room = Room { quota_octets: 2000, keep_free_octets: 0 };
    let logins = smtp::limits::Limits::default().logins();
    let front = Front::start_with(Limits::default(), logins, room).await;
    let kind = ("Content-Type", "text/calendar");
    let put = async |name: &str, octets: usize| {
        let more = format!("X-A:{}\r\n", "y".repeat(octets));
        let body = event(name, &more);
        front.ask(&format!("PUT {CALENDAR}{name}.ics"), &[kind], body.as_bytes()).await
    };
    assert_eq!(put("a", 1000).await.status, 201);
    let full = put("b", 1000).await;
    assert_eq!(full.status, 507);
    assert!(full.text().contains("sufficient-disk-space"), "{}", full.text());
    assert_eq!(front.ask(&format!("GET {CALENDAR}b.ics"), &[], b"").await.status, 404);
    assert_eq!(front.ask(&format!("DELETE {CALENDAR}a.ics"), &[], b"").await.status, 507);
    assert_eq!(front.ask(&format!("GET {CALENDAR}a.ics"), &[], b"").await.status, 200);
}

/// More than a page, and more than is sent in one piece.
#[tokio::test(flavor = "multi_thread")]
async fn a_calendar_of_many_objects_is_told_whole_and_each_once() {
    let front = Front::start(Limits::default()).await;
    const OBJECTS: usize = 1203;
    front.fill(OBJECTS, "").await;
    let hrefs = |answer: &Answer| {
        assert!(answer.whole);
        let text = answer.text();
        let names = text.match_indices("/name-").map(|(at, _)| text[at + 6..at + 12].to_owned());
        let names: Vec<String> = names.collect();
        let each: BTreeSet<&String> = names.iter().collect();
        assert_eq!((names.len(), each.len()), (OBJECTS, OBJECTS));
    };
    let etags = b"<propfind xmlns=\"DAV:\"><prop><getetag/></prop></propfind>";
    let listed = front.ask(&format!("PROPFIND {CALENDAR}"), &[("Depth", "1")], etags).await;
    assert_eq!((listed.status, listed.header("transfer-encoding")), (207, Some("chunked")));
    hrefs(&listed);
    let query = b"<c:calendar-query xmlns:d=\"DAV:\" xmlns:c=\"urn:ietf:params:xml:ns:caldav\"><d:prop><d:getetag/>\
        <c:calendar-data/></d:prop><c:filter><c:comp-filter name=\"VCALENDAR\"><c:comp-filter name=\"VEVENT\">\
        <c:time-range start=\"20270101T000000Z\"/></c:comp-filter></c:comp-filter></c:filter></c:calendar-query>";
    hrefs(&front.ask(&format!("REPORT {CALENDAR}"), &[("Depth", "1")], query).await);
    for props in ["<d:getetag/>", "<d:getetag/><d:resourcetype/>"] {
        let sync = format!(
            "<d:sync-collection xmlns:d=\"DAV:\"><d:sync-token/><d:sync-level>1</d:sync-level><d:prop>{props}\
             </d:prop></d:sync-collection>"
        );
        hrefs(&front.ask(&format!("REPORT {CALENDAR}"), &[], sync.as_bytes()).await);
    }
}

/// The answer is far larger than what the sockets hold.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_does_not_read_is_let_go() {
    let limits = Limits { write_seconds: 1, ..Limits::default() };
    let front = Front::start(limits).await;
    front.fill(300, &format!("X-A:{}\r\n", "y".repeat(60_000))).await;
    let mut http = Http::connect(front.clear).await;
    let query = b"<c:calendar-query xmlns:d=\"DAV:\" xmlns:c=\"urn:ietf:params:xml:ns:caldav\"><d:prop>\
        <c:calendar-data/></d:prop><c:filter><c:comp-filter name=\"VCALENDAR\"/></c:filter></c:calendar-query>";
    http.send(&front.request(&format!("REPORT {CALENDAR}"), &[("Depth", "1")], query)).await;
    until(async || front.shared.connected() == 1).await;
    until(async || front.shared.connected() == 0).await;
    // It must not take the half for the whole.
    assert!(!http.answer(false).await.unwrap().whole);
}
