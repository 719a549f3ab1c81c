//! Calendar programs that are not ours, from Debian and PyPI, keep their events in a whole bridge; then
//! the collection holds what they put there, and the sandbox's ledger says who was told of it, once.
//!
//! A program that is not installed is skipped, loudly. All of it stays on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

#[path = "clients/caldav_library.rs"]
mod caldav_library;
#[path = "clients/caldav_server_tester.rs"]
mod caldav_server_tester;
#[path = "clients/caldav_suite.rs"]
mod caldav_suite;
#[path = "clients/curl_calendar.rs"]
mod curl_calendar;
#[path = "clients/evolution.rs"]
mod evolution;
#[path = "clients/khal.rs"]
mod khal;
#[path = "clients/libdav.rs"]
mod libdav_client;
#[path = "clients/program.rs"]
mod program;
#[path = "clients/thunderbird.rs"]
mod thunderbird;
#[path = "clients/vdirsyncer.rs"]
mod vdirsyncer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{COLLEAGUE, TestBridge, USER};
use postbridge::caldav::server::Kind;
use serde_json::Value;

const CALENDAR: &str = "/dav/calendars/adele.vance%40contoso.example/calendar/";

/// A bridge with an empty calendar, and a home directory for the program that uses it.
struct Scene {
    bridge: TestBridge,
    home: tempfile::TempDir,
}

impl Scene {
    async fn set() -> Scene {
        Scene { bridge: TestBridge::start().await, home: common::private_directory() }
    }

    fn password(&self) -> &str {
        &self.bridge.password
    }

    fn ca(&self) -> PathBuf {
        self.bridge.running.certificates.ca.clone()
    }

    /// `https://localhost:port`
    fn tls_url(&self) -> String {
        let is_tls = |(kind, _): &&(Kind, _)| *kind == Kind::Tls;
        let (_, address) = self.bridge.running.calendars.iter().find(is_tls).unwrap();
        format!("https://localhost:{}", address.port())
    }

    /// A path in the home directory.
    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// What Exchange has told anybody, as `kind attendee: start`, in the order it was told.
    async fn told(&self) -> Vec<String> {
        let ledger = self.bridge.ledger().await;
        let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let one = |row: &Value| {
            let start = text(row, "start");
            let start = start.get(..16).unwrap_or_default();
            format!("{} {}: {start}", text(row, "kind"), text(row, "attendee"))
        };
        ledger["invitations"].as_array().unwrap().iter().map(one).collect()
    }

    /// The octets of the collection's objects, by name.
    async fn objects(&self) -> BTreeMap<String, String> {
        let store = &self.bridge.running.control.store;
        let account = store.account_by_login(USER).await.unwrap().unwrap().id;
        let objects = store.objects(account, "calendar", None, "", 1000).await.unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        objects.into_iter().map(|object| (object.name, text(&object.octets))).collect()
    }

    /// As a client would that is not the program's.
    async fn put(&self, name: &str, object: &str) {
        let url = format!("{}{CALENDAR}{name}", self.bridge.calendar_url());
        let request = self.bridge.http.put(url).basic_auth(USER, Some(self.password()));
        let request = request.header("Content-Type", "text/calendar").body(object.to_owned());
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// The same, once an object holds what the program is to have put there first; then the file is made
    /// that tells the program. Gives up when the program has long failed.
    async fn another_puts(&self, name: &str, object: String, once: &str, done: &Path) {
        let is_there = async {
            while !self.objects().await.values().any(|object| object.contains(once)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(common::PATIENCE, is_there).await.is_ok() {
            self.put(name, &object).await;
            std::fs::write(done, "").unwrap();
        }
    }

    async fn delete(&self, name: &str) {
        let url = format!("{}{CALENDAR}{name}", self.bridge.calendar_url());
        let request = self.bridge.http.delete(url).basic_auth(USER, Some(self.password()));
        assert_eq!(request.send().await.unwrap().status(), 204);
    }
}

/// An event on 11 January 2027 in Berlin, at this hour.
fn event(uid: &str, hour: u8, more: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\nBEGIN:VEVENT\nUID:{uid}\n\
         DTSTAMP:20261128T000000Z\nDTSTART;TZID=Europe/Berlin:20270111T{hour:02}0000\nDURATION:PT1H\n\
         SUMMARY:Event {uid}\n{more}END:VEVENT\nEND:VCALENDAR\n"
    )
    .replace('\n', "\r\n")
}

/// The lines of an event that has an attendee.
fn invited() -> String {
    format!("ORGANIZER:mailto:{USER}\nATTENDEE;RSVP=TRUE:mailto:{COLLEAGUE}\n")
}

/// The Python that the requirements are installed for.
fn python() -> Option<PathBuf> {
    std::env::var_os("POSTBRIDGE_TEST_PYTHON").map(PathBuf::from)
}

/// A program of PyPI: it stands beside the Python that has it. Skips loudly if there is none.
fn of_pypi(name: &str) -> Option<PathBuf> {
    let beside = python().as_deref().and_then(Path::parent).map(|place| place.join(name));
    beside.filter(|program| program.is_file()).or_else(|| program::find(name))
}
