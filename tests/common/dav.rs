//! A calendar program as plain as CalDAV allows, and what it and Outlook show of the same events.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use postbridge::ical::{self, Moment};
use postbridge::sandbox::world::World;
use reqwest::Method;

use super::{PATIENCE, USER};

const CALENDAR: &str = "/dav/calendars/adele.vance%40contoso.example/calendar/";
/// All that is looked at takes place in it.
const WINDOW: [&str; 2] = ["2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"];

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub etag: Option<String>,
    pub text: String,
}

/// What changed since a token: names with their ETags, `None` where there is nothing any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    pub names: Vec<(String, Option<String>)>,
    pub token: String,
}

/// One occurrence, as a calendar shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shown {
    pub uid: String,
    pub start: String,
    pub end: String,
    pub summary: String,
    /// But for the organizer; sorted.
    pub attendees: Vec<String>,
}

/// What a client knows of an object that it wants to change.
#[derive(Debug, Clone, Copy)]
pub enum Knows<'k> {
    Nothing,
    /// That there is none.
    NoSuch,
    Etag(&'k str),
}

/// Adele's program. What breaks off is an error, and never asked for again by itself.
#[derive(Clone)]
pub struct Dav {
    http: reqwest::Client,
    pub password: String,
}

impl Dav {
    pub fn new(password: &str) -> Dav {
        // A connection of its own for each request: one that is kept may break off unseen.
        let http =
            reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(PATIENCE);
        Dav { http: http.build().unwrap(), password: password.to_owned() }
    }

    async fn ask(
        &self,
        to: SocketAddr,
        method: &str,
        name: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> reqwest::Result<Reply> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, format!("http://{to}{CALENDAR}{name}"));
        request = request.basic_auth(USER, Some(&self.password));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.body(body.to_owned()).send().await?;
        let etag = answer.headers().get("etag").map(|etag| etag.to_str().unwrap().to_owned());
        Ok(Reply { status: answer.status().as_u16(), etag, text: answer.text().await? })
    }

    pub async fn put(
        &self,
        to: SocketAddr,
        name: &str,
        knows: Knows<'_>,
        object: &str,
    ) -> reqwest::Result<Reply> {
        let mut headers = vec![("Content-Type", "text/calendar; charset=utf-8")];
        headers.extend(knows.header());
        self.ask(to, "PUT", name, &headers, object).await
    }

    pub async fn delete(
        &self,
        to: SocketAddr,
        name: &str,
        knows: Knows<'_>,
    ) -> reqwest::Result<Reply> {
        let headers: Vec<(&str, &str)> = knows.header().into_iter().collect();
        self.ask(to, "DELETE", name, &headers, "").await
    }

    pub async fn get(&self, to: SocketAddr, name: &str) -> reqwest::Result<Reply> {
        self.ask(to, "GET", name, &[], "").await
    }

    /// PROPFIND: every name with its ETag.
    pub async fn etags(&self, to: SocketAddr) -> reqwest::Result<BTreeMap<String, String>> {
        let body = "<D:propfind xmlns:D=\"DAV:\"><D:prop><D:getetag/></D:prop></D:propfind>";
        let answer = self.ask(to, "PROPFIND", "", &[("Depth", "1")], body).await?;
        assert_eq!(answer.status, 207, "{}", answer.text);
        let named = responses(&answer.text).into_iter().filter(|(name, _)| !name.is_empty());
        let tagged = |(name, of): (String, &str)| Some((name, unescaped(within(of, "D:getetag")?)));
        Ok(named.filter_map(tagged).collect())
    }

    /// REPORT sync-collection. `None`: the token is not known any more.
    pub async fn changes(
        &self,
        to: SocketAddr,
        since: Option<&str>,
    ) -> reqwest::Result<Option<Changes>> {
        let body = format!(
            "<D:sync-collection xmlns:D=\"DAV:\"><D:sync-token>{}</D:sync-token>\
             <D:sync-level>1</D:sync-level><D:prop><D:getetag/></D:prop></D:sync-collection>",
            since.unwrap_or_default()
        );
        let answer = self.ask(to, "REPORT", "", &[], &body).await?;
        if answer.status == 403 && answer.text.contains("valid-sync-token") {
            return Ok(None);
        }
        assert_eq!(answer.status, 207, "{}", answer.text);
        let tagged = |(name, of): (String, &str)| (name, within(of, "D:getetag").map(unescaped));
        let names = responses(&answer.text).into_iter().map(tagged).collect();
        let token = unescaped(within(&answer.text, "D:sync-token").unwrap());
        Ok(Some(Changes { names, token }))
    }

    /// REPORT calendar-query: what the collection shows, each series by its occurrences; sorted.
    pub async fn shown(&self, to: SocketAddr) -> reqwest::Result<Vec<Shown>> {
        let [from, until] = WINDOW.map(|at| at.replace(['-', ':'], ""));
        let body = format!(
            "<C:calendar-query xmlns:D=\"DAV:\" xmlns:C=\"urn:ietf:params:xml:ns:caldav\"><D:prop>\
             <C:calendar-data><C:expand start=\"{from}\" end=\"{until}\"/></C:calendar-data></D:prop>\
             <C:filter><C:comp-filter name=\"VCALENDAR\"/></C:filter></C:calendar-query>"
        );
        let answer = self.ask(to, "REPORT", "", &[("Depth", "1")], &body).await?;
        assert_eq!(answer.status, 207, "{}", answer.text);
        let mut shown = Vec::new();
        for (name, of) in responses(&answer.text) {
            let octets = within(of, "C:calendar-data").unwrap_or_else(|| panic!("{name}: {of}"));
            shown.extend(occurrences(&unescaped(octets)));
        }
        shown.sort();
        Ok(shown)
    }
}

impl<'k> Knows<'k> {
    fn header(self) -> Option<(&'static str, &'k str)> {
        match self {
            Knows::Nothing => None,
            Knows::NoSuch => Some(("If-None-Match", "*")),
            Knows::Etag(etag) => Some(("If-Match", etag)),
        }
    }
}

/// The occurrences of an object that was expanded.
fn occurrences(octets: &str) -> Vec<Shown> {
    // One that has no occurrence left is an empty calendar.
    if !octets.contains("BEGIN:VEVENT") {
        return Vec::new();
    }
    let object = ical::read(octets.as_bytes()).unwrap();
    let mut shown = Vec::new();
    for event in &object.events {
        let overrides = event.overrides.iter().map(|one| &one.occurrence);
        // What takes place no more is in no calendar of Exchange's (RFC 5545 §3.8.1.11).
        let taking_place = |one: &&ical::Occurrence| one.status != ical::Status::Cancelled;
        for one in event.master.iter().chain(overrides).filter(taking_place) {
            let others = one.attendees.iter().map(|one| one.address.as_str().to_lowercase());
            let mut attendees: Vec<String> = others.filter(|one| one != USER).collect();
            attendees.sort();
            let (uid, summary) = (event.uid.clone(), one.summary.clone());
            let (start, end) = (instant(&one.start), instant(&one.end));
            shown.push(Shown { uid, start, end, summary, attendees });
        }
    }
    shown
}

fn instant(moment: &Moment) -> String {
    match moment {
        Moment::Zoned { local, zone } => zone.rules.to_timestamp(*local).unwrap().to_string(),
        other => panic!("{other:?}"),
    }
}

/// What Outlook shows of the events that carry a UID of ours; sorted.
pub fn outlook(world: &World) -> Vec<Shown> {
    let short_months = world.switches().short_months;
    let [from, until] = WINDOW.map(|at| at.parse().unwrap());
    let adele = world.user(USER).unwrap().object_id;
    let view = world.calendar.view(adele, from, until, short_months);
    let mut shown: Vec<Shown> = view
        .iter()
        .map(|one| {
            let content = one.content();
            let others = content.attendees.iter().map(|one| one.address.to_lowercase());
            let mut attendees: Vec<String> = others.filter(|one| one != USER).collect();
            attendees.sort();
            let of_ours = |one: &&postbridge::sandbox::event::ExtendedProperty| {
                one.id.to_ascii_lowercase().ends_with("name postbridgeuid")
            };
            let uid = one.event.content.extended.iter().find(of_ours);
            Shown {
                uid: uid.expect("an event that is not ours").value.clone(),
                start: content.span.start_instant().to_string(),
                end: content.span.end_instant().to_string(),
                summary: content.text("subject").to_owned(),
                attendees,
            }
        })
        .collect();
    shown.sort();
    shown
}

/// The last segment of each href, with what is said of it.
fn responses(multistatus: &str) -> Vec<(String, &str)> {
    let all = multistatus.split("<D:response>").skip(1);
    all.map(|response| {
        let href = unescaped(within(response, "D:href").unwrap());
        (href.rsplit('/').next().unwrap().replace("%40", "@"), response)
    })
    .collect()
}

fn within<'t>(text: &'t str, element: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("<{element}>"))?;
    rest.split_once(&format!("</{element}>")).map(|(within, _)| within)
}

fn unescaped(text: &str) -> String {
    let text = text.replace("&#13;", "\r").replace("&lt;", "<").replace("&gt;", ">");
    text.replace("&quot;", "\"").replace("&amp;", "&")
}
