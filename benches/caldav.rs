//! What a calendar of 10,000 objects costs those who list, synchronise and search it: `cargo bench --bench
//! caldav`. Over real sockets, and with the memory that it took at most.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postbridge::account::{Address, Profile};
use postbridge::caldav::limits::Limits;
use postbridge::caldav::names::Names;
use postbridge::caldav::server::{Kind, Listener, Shared, serve};
use postbridge::caldav::site::{Site, Zones};
use postbridge::login::{self, Logins};
use postbridge::store::calendar::{Change, Place, Span, Spooled};
use postbridge::store::{Room, Store};
use postbridge::submission::{Envelope, MailParameters};
use postbridge::tls;
use reqwest::Method;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const USER: &str = "adele.vance@contoso.example";
const OBJECTS: usize = 10_000;
const ROUNDS: usize = 7;

fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let private = std::fs::Permissions::from_mode(0o700);
    let directory = tempfile::Builder::new()
        .prefix("caldav-")
        .permissions(private)
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let room = Room { keep_free_octets: 0, ..Room::default() };
    let store = Store::open(&directory.path().join("state"), room).await?;
    let (account, password) = store.add_account(USER.parse()?, Profile::Full).await?;
    fill(&store, account.id).await?;

    let files = tls::provide(directory.path(), "localhost")?;
    let pair = tls::server(&files.certificate, &files.key)?;
    let logins = Logins::new(store.clone(), login::Limits { per_minute: 10, per_day: 50 });
    let (names, limits) = (Names::new("localhost", &[]), Limits::default());
    let stop = CancellationToken::new();
    let site = Site::new(store, logins, names, limits.clone(), Zones::default(), stop.clone());
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), Kind::Clear)?;
    let address = listener.socket.local_addr()?;
    let shared = Arc::new(Shared::new(site, limits, &pair));
    let serving = tokio::spawn(serve(vec![listener], shared, stop.clone()));

    let url = format!("http://{address}/dav/calendars/adele.vance%40contoso.example/calendar/");
    let client = reqwest::Client::builder().no_proxy().build()?;
    println!("| {OBJECTS} objects | median ms | octets |\n|---|---:|---:|");
    for (name, method, body) in QUESTIONS {
        let mut times = Vec::new();
        let mut octets = 0;
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let asked = client.request(Method::from_bytes(method.as_bytes())?, &url);
            let asked = asked.basic_auth(USER, Some(password.expose())).header("Depth", "1");
            let answer = asked.body(body).send().await?;
            anyhow::ensure!(answer.status() == 207, "{name}: {}", answer.status());
            octets = answer.bytes().await?.len();
            times.push(began.elapsed());
        }
        times.sort();
        let median = times.get(ROUNDS / 2).copied().unwrap_or(Duration::MAX);
        println!("| {name} | {:.0} | {octets} |", median.as_secs_f64() * 1000.0);
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    println!("\n{peak} (the one who asks holds each answer whole)");
    stop.cancel();
    serving.await?;
    Ok(())
}

const QUESTIONS: [(&str, &str, &str); 6] = [
    ("PROPFIND, etags", "PROPFIND", "<propfind xmlns=\"DAV:\"><prop><getetag/></prop></propfind>"),
    ("PROPFIND, six properties", "PROPFIND", "<propfind xmlns=\"DAV:\"><allprop/></propfind>"),
    (
        "sync-collection, etags",
        "REPORT",
        "<sync-collection xmlns=\"DAV:\"><sync-token/><sync-level>1</sync-level><prop><getetag/></prop>\
         </sync-collection>",
    ),
    (
        "sync-collection, all data",
        "REPORT",
        "<sync-collection xmlns=\"DAV:\"><sync-token/><sync-level>1</sync-level><prop><getetag/>\
         <calendar-data xmlns=\"urn:ietf:params:xml:ns:caldav\"/></prop></sync-collection>",
    ),
    (
        "calendar-query of all, etags",
        "REPORT",
        "<calendar-query xmlns=\"urn:ietf:params:xml:ns:caldav\"><prop xmlns=\"DAV:\"><getetag/></prop>\
         <filter><comp-filter name=\"VCALENDAR\"><comp-filter name=\"VEVENT\"/></comp-filter></filter>\
         </calendar-query>",
    ),
    (
        "calendar-query of a month, all data",
        "REPORT",
        "<calendar-query xmlns=\"urn:ietf:params:xml:ns:caldav\"><prop xmlns=\"DAV:\"><getetag/>\
         <calendar-data xmlns=\"urn:ietf:params:xml:ns:caldav\"/></prop><filter>\
         <comp-filter name=\"VCALENDAR\"><comp-filter name=\"VEVENT\">\
         <time-range start=\"20270601T000000Z\" end=\"20270701T000000Z\"/></comp-filter></comp-filter></filter>\
         </calendar-query>",
    ),
];

/// One event a day, from 2010 on, each with some attendees and a text.
async fn fill(store: &Store, account: postbridge::account::AccountId) -> anyhow::Result<()> {
    let first: jiff::Timestamp = "2010-01-01T09:00:00Z".parse()?;
    let mut putting = JoinSet::new();
    for number in 0..OBJECTS {
        let start = first + Duration::from_secs(86_400 * number as u64);
        let at = start.strftime("%Y%m%dT%H%M%SZ").to_string();
        let attendees: String = (0..5)
            .map(|n| format!("ATTENDEE;RSVP=TRUE:mailto:guest{n}@fabrikam.example\r\n"))
            .collect();
        let object = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:{number}@contoso.example\r\n\
             DTSTAMP:{at}\r\nDTSTART:{at}\r\nDURATION:PT1H\r\nSUMMARY:Event {number}\r\n\
             ORGANIZER:mailto:{USER}\r\n{attendees}DESCRIPTION:{}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
            "words ".repeat(100)
        );
        let last = start + Duration::from_secs(3600);
        let span = Span { first: Some(start.as_millisecond()), last: Some(last.as_millisecond()) };
        let store = store.clone();
        putting.spawn(async move {
            let name = format!("{number:06}@contoso.example.ics");
            let place = Place { account, calendar: "calendar".to_owned(), name };
            let own: Address = USER.parse()?;
            let envelope = Envelope::new(None, vec![own.into()], MailParameters::default())?;
            let spooled =
                Spooled { id: store.new_entry_id(), envelope, octets: b"\r\n\r\n".to_vec() };
            let uid = format!("{number}@contoso.example");
            let change = Change::Put { uid, octets: object.into_bytes(), span };
            let changed = store.change_object(place, change, spooled, |_| Ok::<(), ()>(())).await?;
            anyhow::ensure!(changed.is_ok(), "not kept");
            Ok(())
        });
        if putting.len() >= 200
            && let Some(put) = putting.join_next().await
        {
            put??;
        }
    }
    while let Some(put) = putting.join_next().await {
        put??;
    }
    Ok(())
}
