//! What a calendar of 10,000 objects costs those who list, synchronise, search and change it, beside
//! Radicale: `cargo bench --bench caldav`.
//!
//! The release binary and Radicale are processes with the same objects, asked the same by the same client
//! over real sockets, in turn. A PUT counts when its 201 came, and is on disk by then. What is printed is
//! the table of the README, with medians. Nothing here is a test: it fails only when a server does.
//!
//! `CALDAV_ROUNDS` (7) is how often everything is asked, after once that is not counted.
//! `POSTBRIDGE_TEST_PYTHON` is the Python that has Radicale.

mod servers;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use reqwest::{Client, Method};
use servers::Server;
use tokio::task::JoinSet;

pub const USER: &str = "adele.vance@contoso.example";
const OBJECTS: usize = 10_000;
/// Objects asked for by name at once, as clients do.
const MULTIGET: usize = 100;
/// Radicale reads all objects once, which takes minutes; beyond this a server is stuck.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is asked, and within how many ms we want to be done with it.
const ROWS: [(Asked, &str, Option<f64>); 9] = [
    (Asked::Etags, "PROPFIND, etags", Some(300.0)),
    (Asked::AllProperties, "PROPFIND, six properties", None),
    (Asked::FirstSync, "first sync-collection, etags", None),
    (Asked::Everything, "first sync-collection, all data", None),
    (Asked::Sync, "sync-collection after one change", Some(20.0)),
    (Asked::Multiget, "multiget of 100", Some(50.0)),
    (Asked::Query, "calendar-query of all, etags", None),
    (Asked::Month, "calendar-query of one month, data", Some(100.0)),
    (Asked::Put, "PUT of a new event", Some(10.0)),
];
const PEAK_MEGABYTES: f64 = 100.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Etags,
    AllProperties,
    FirstSync,
    Everything,
    Sync,
    Multiget,
    Query,
    Month,
    Put,
}

/// Of one server.
struct Measured {
    milliseconds: BTreeMap<Asked, f64>,
    peak_megabytes: f64,
}

fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // One thread: who asks must not take more of the machine than it needs.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let rounds = std::env::var("CALDAV_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(7);
    let before = load();
    let objects = objects()?;
    let ours = {
        let server = servers::postbridge().await?;
        fill(&server, &objects).await.context("filling")?;
        measure(&server, rounds).await.with_context(|| server.last_words())?
    };
    let radicale = match servers::radicale(&objects) {
        Ok(server) => Some(measure(&server, rounds).await.with_context(|| server.last_words())?),
        Err(why) => {
            eprintln!("Radicale is not measured: {why}");
            None
        }
    };
    print!("{}", table(&ours, radicale.as_ref()));
    println!("\nLoad of the machine over the last minute: {before} before, {} after.", load());
    Ok(())
}

/// As `uptime` says it.
fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

fn table(ours: &Measured, radicale: Option<&Measured>) -> String {
    let mut text = format!(
        "| {OBJECTS} objects, ms | postbridge | at most | Radicale | × Radicale |\n\
         |---|---:|---:|---:|---:|\n"
    );
    let mut row = |name: &str, bar: Option<f64>, ours: f64, radicale: Option<f64>| {
        let digits = if ours < 10.0 { 1 } else { 0 };
        let bar = bar.map_or(String::new(), |bar| format!("{bar}"));
        let (theirs, ratio) = match radicale {
            Some(theirs) => (format!("{theirs:.0}"), format!("{:.1}", theirs / ours)),
            None => Default::default(),
        };
        text += &format!("| {name} | {ours:.digits$} | {bar} | {theirs} | {ratio} |\n");
    };
    let of = |measured: &Measured, asked| measured.milliseconds.get(&asked).copied();
    for (asked, name, bar) in ROWS {
        let theirs = radicale.and_then(|radicale| of(radicale, asked));
        row(name, bar, of(ours, asked).unwrap_or(f64::NAN), theirs);
    }
    let theirs = radicale.map(|radicale| radicale.peak_megabytes);
    row("memory at most, MB", Some(PEAK_MEGABYTES), ours.peak_megabytes, theirs);
    text
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

// ---- what is asked ----

async fn measure(server: &Server, rounds: usize) -> anyhow::Result<Measured> {
    let client = Caller::new(server)?;
    let mut times: BTreeMap<Asked, Vec<f64>> = BTreeMap::new();
    let mut token = client.sync_token().await?;
    for round in 0..=rounds {
        let changed = object(round, &format!("Changed {round}"))?;
        client.put(&changed).await?;
        for (asked, name, _) in ROWS {
            let began = Instant::now();
            let answer = client.ask(asked, round, &token).await.context(name)?;
            let took = began.elapsed().as_secs_f64() * 1000.0;
            let expected = match asked {
                Asked::Sync => 1,
                Asked::Multiget => MULTIGET,
                Asked::Month => 30,
                Asked::Put => 0,
                // What the rounds put is there as well, and so may be the collection itself.
                _ => OBJECTS,
            };
            let found = answer.matches(".ics</").count();
            ensure!((expected..=expected + rounds + 1).contains(&found), "{name}: {found} objects");
            if round > 0 {
                times.entry(asked).or_default().push(took);
            }
        }
        token = client.sync_token().await?;
    }
    let milliseconds = times.into_iter().map(|(asked, times)| (asked, median(times))).collect();
    Ok(Measured { milliseconds, peak_megabytes: server.peak_megabytes()? })
}

struct Caller<'a> {
    server: &'a Server,
    http: Client,
    /// The calendar's, for hrefs.
    path: String,
}

impl Caller<'_> {
    fn new(server: &Server) -> anyhow::Result<Caller<'_>> {
        let http = Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let path = reqwest::Url::parse(&server.url)?.path().to_owned();
        Ok(Caller { server, http, path })
    }

    async fn send(
        &self,
        method: &str,
        name: &str,
        depth: u8,
        body: String,
    ) -> anyhow::Result<String> {
        let url = format!("{}{name}", self.server.url);
        let asked = self.http.request(Method::from_bytes(method.as_bytes())?, url);
        let kind = if method == "PUT" { "text/calendar" } else { "text/xml" };
        let asked =
            asked.basic_auth(USER, Some(&self.server.password)).header("Depth", depth.to_string());
        let answer = asked.header("Content-Type", kind).body(body).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{method}: {status} {text}");
        Ok(text)
    }

    async fn put(&self, (name, object): &(String, String)) -> anyhow::Result<()> {
        self.send("PUT", name, 0, object.clone()).await.map(drop)
    }

    async fn sync_token(&self) -> anyhow::Result<String> {
        let answer = self
            .send(
                "PROPFIND",
                "",
                0,
                "<propfind xmlns=\"DAV:\"><prop><sync-token/></prop></propfind>".into(),
            )
            .await?;
        let token = answer.split_once("sync-token>").and_then(|(_, rest)| rest.split_once('<'));
        Ok(token.context("a sync-token")?.0.to_owned())
    }

    async fn ask(&self, asked: Asked, round: usize, token: &str) -> anyhow::Result<String> {
        const DATA: &str = "<getetag xmlns=\"DAV:\"/><C:calendar-data/>";
        let propfind = |what: &str| format!("<propfind xmlns=\"DAV:\">{what}</propfind>");
        let sync = |token: &str, what: &str| {
            format!(
                "<sync-collection xmlns=\"DAV:\" xmlns:C=\"urn:ietf:params:xml:ns:caldav\">\
                 <sync-token>{token}</sync-token><sync-level>1</sync-level><prop>{what}</prop>\
                 </sync-collection>"
            )
        };
        let query = |what: &str, range: &str| {
            format!(
                "<C:calendar-query xmlns:C=\"urn:ietf:params:xml:ns:caldav\"><prop xmlns=\"DAV:\">{what}\
                 </prop><C:filter><C:comp-filter name=\"VCALENDAR\"><C:comp-filter name=\"VEVENT\">{range}\
                 </C:comp-filter></C:comp-filter></C:filter></C:calendar-query>"
            )
        };
        match asked {
            Asked::Etags => self.send("PROPFIND", "", 1, propfind("<prop><getetag/></prop>")).await,
            Asked::AllProperties => {
                let names = "<getetag/><getcontenttype/><getcontentlength/><getlastmodified/>\
                             <resourcetype/><displayname/>";
                self.send("PROPFIND", "", 1, propfind(&format!("<prop>{names}</prop>"))).await
            }
            Asked::FirstSync => self.send("REPORT", "", 0, sync("", "<getetag/>")).await,
            Asked::Everything => self.send("REPORT", "", 0, sync("", DATA)).await,
            Asked::Sync => self.send("REPORT", "", 0, sync(token, "<getetag/>")).await,
            Asked::Multiget => {
                // Far from each other.
                let href = |n: usize| {
                    let number = (n * (OBJECTS / MULTIGET) + round) % OBJECTS;
                    format!("<href xmlns=\"DAV:\">{}{}</href>", self.path, name(number))
                };
                let hrefs: String = (0..MULTIGET).map(href).collect();
                let body = format!(
                    "<C:calendar-multiget xmlns:C=\"urn:ietf:params:xml:ns:caldav\">\
                     <prop xmlns=\"DAV:\">{DATA}</prop>{hrefs}</C:calendar-multiget>"
                );
                self.send("REPORT", "", 1, body).await
            }
            Asked::Query => self.send("REPORT", "", 1, query("<getetag/>", "")).await,
            Asked::Month => {
                let range = "<C:time-range start=\"20270601T000000Z\" end=\"20270701T000000Z\"/>";
                self.send("REPORT", "", 1, query(DATA, range)).await
            }
            Asked::Put => {
                let (name, object) = object(OBJECTS + round, "New")?;
                self.send("PUT", &name, 0, object).await
            }
        }
    }
}

// ---- the objects ----

fn name(number: usize) -> String {
    format!("{number:06}.ics")
}

/// One event a day, from 2010 on, each with some attendees and a text.
fn objects() -> anyhow::Result<Vec<(String, String)>> {
    (0..OBJECTS).map(|number| object(number, &format!("Event {number}"))).collect()
}

fn object(number: usize, summary: &str) -> anyhow::Result<(String, String)> {
    let first: jiff::Timestamp = "2010-01-01T09:00:00Z".parse()?;
    let start = first + Duration::from_secs(86_400 * number as u64);
    let at = start.strftime("%Y%m%dT%H%M%SZ").to_string();
    let attendees: String = (0..5)
        .map(|n| format!("ATTENDEE;RSVP=TRUE:mailto:guest{n}@fabrikam.example\r\n"))
        .collect();
    let object = format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:{number}@contoso.example\r\n\
         DTSTAMP:{at}\r\nDTSTART:{at}\r\nDURATION:PT1H\r\nSUMMARY:{summary}\r\n\
         ORGANIZER:mailto:{USER}\r\n{attendees}DESCRIPTION:{}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
        "words ".repeat(100)
    );
    Ok((name(number), object))
}

/// Puts them into a server, by several connections.
async fn fill(server: &Server, objects: &[(String, String)]) -> anyhow::Result<()> {
    const CONNECTIONS: usize = 8;
    let http = Client::builder().no_proxy().timeout(PATIENCE).build()?;
    let mut putting = JoinSet::new();
    for (name, object) in objects {
        let put = http.put(format!("{}{name}", server.url)).body(object.clone());
        let put = put.basic_auth(USER, Some(&server.password));
        let put = put.header("Content-Type", "text/calendar");
        putting.spawn(async move {
            let status = put.send().await?.status();
            ensure!(status == 201, "PUT: {status}");
            Ok(())
        });
        if putting.len() >= CONNECTIONS
            && let Some(done) = putting.join_next().await
        {
            done??;
        }
    }
    while let Some(done) = putting.join_next().await {
        done??;
    }
    Ok(())
}
