//! Invites, told as scenarios: mails in by SMTP to a whole bridge; decisions, Graph's journal, the
//! ledger and the calendar out.
//!
//! Each `tests/data/invite/NAME.scenario` is one; the README there tells how to write one.
//! `POSTBRIDGE_SCENARIOS=word` runs those whose name holds the word. `POSTBRIDGE_WRITE_SCENARIOS=1` writes
//! what came into the files: read the difference before it is committed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod scenario;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use std::{env, fs};

use common::{PATIENCE, TestBridge, USER, id_in};
use jiff::Timestamp;
use postbridge::account::Profile;
use postbridge::cli::submit::{Mail, submit};
use postbridge::config::AccountSettings;
use postbridge::sandbox::calendar::{Event, Shown};
use postbridge::sandbox::event::Attendee;
use postbridge::sandbox::grants::Grant;
use postbridge::sandbox::item_id::{IdForm, ItemId};
use postbridge::sandbox::journal::Entry as Request;
use postbridge::sandbox::ledger::{Invited, MailCopy};
use postbridge::sandbox::world::World;
use postbridge::smtp::server::Kind;
use postbridge::store::spool::{EntryId, State};
use scenario::{Act, CALENDAR, CALLS, DECISION, INVITED, MAILED, Scenario, difference};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::field::{Field, Visit};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Bridges at a time.
const AT_ONCE: usize = 4;
/// All scenarios play in this year; what stands outside it is not shown.
const YEAR: [&str; 2] = ["2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"];
/// Lines of a calendar that are shown; the others are counted.
const ROWS_MAX: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_comes_out_as_its_file_says() {
    listen_for_decisions();
    let paths = scenarios(&env::var("POSTBRIDGE_SCENARIOS").unwrap_or_default());
    let (places, mut running) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for path in &paths {
        let (path, places) = (path.clone(), places.clone());
        running.spawn(async move {
            let _place = places.acquire().await.unwrap();
            let came = tokio::spawn(compare(path.clone())).await;
            let came = came.unwrap_or_else(|broken| Err(format!("it broke down: {broken}")));
            came.map_err(|why| format!("{}\n{why}", path.file_name().unwrap().display()))
        });
    }
    let mut wrong: Vec<String> =
        running.join_all().await.into_iter().filter_map(Result::err).collect();
    wrong.sort();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), paths.len(), wrong.join("\n"));
}

/// Those whose name holds the word.
fn scenarios(word: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/invite");
    let is_one = |path: &PathBuf| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        path.extension().is_some_and(|end| end == "scenario") && name.contains(word)
    };
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries.filter(is_one).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no scenario has {word:?} in its name");
    paths
}

async fn compare(path: PathBuf) -> Result<(), String> {
    let text = fs::read_to_string(&path).unwrap();
    let scenario = Scenario::read(&text)?;
    let came = run(&scenario).await?.write();
    if env::var_os("POSTBRIDGE_WRITE_SCENARIOS").is_some() {
        if came != text {
            fs::write(&path, came).unwrap();
        }
        return Ok(());
    }
    match scenario.write() == came {
        true => Ok(()),
        false => Err(difference(&scenario.write(), &came)),
    }
}

/// The scenario with what came of it in the place of what was expected.
async fn run(scenario: &Scenario) -> Result<Scenario, String> {
    let (account, switches) = settings(&scenario.head)?;
    let bridge =
        TestBridge::start_with(|config| _ = config.account.insert(USER.parse().unwrap(), account))
            .await;
    if !switches.is_empty() {
        bridge.post("/_sandbox/switches", serde_json::to_value(switches).unwrap()).await;
    }
    let mut stage = Stage {
        passwords: HashMap::from([(USER.to_owned(), bridge.password.clone())]),
        seen: Seen::default(),
        bridge,
    };
    let mut came = scenario.clone();
    for (n, step) in came.steps.iter_mut().enumerate() {
        let outcome = match step.act(n, USER)? {
            Act::Mail { from, to, octets } => stage.hand_in(&from, &to, &octets).await?,
            Act::Delete => stage.delete().await,
        };
        *step = step.with_outcome(outcome);
    }
    Ok(came)
}

/// What the head of a file sets: of the account, and of the sandbox.
fn settings(head: &str) -> Result<(AccountSettings, toml::Table), String> {
    let mut table: toml::Table = head.parse().map_err(|error| format!("its head: {error}"))?;
    let switches = match table.remove("sandbox") {
        Some(toml::Value::Table(switches)) => switches,
        _ => toml::Table::new(),
    };
    // The machine's zone is another one on each machine.
    table.entry("time_zone").or_insert("Europe/Berlin".into());
    let account = table.try_into().map_err(|error| format!("its head: {error}"))?;
    Ok((account, switches))
}

/// A bridge while a scenario plays on it.
struct Stage {
    bridge: TestBridge,
    /// Of those who handed mail in, by address.
    passwords: HashMap<String, String>,
    seen: Seen,
}

/// How much of what happened is told already.
#[derive(Default)]
struct Seen {
    requests: usize,
    invitations: usize,
    mails: usize,
    /// Numbers of the organizer's events, in the order of their creation.
    events: Vec<u64>,
}

type Outcome = Vec<(&'static str, Vec<String>)>;

impl Stage {
    fn world(&self) -> &World {
        self.bridge.sandbox.world()
    }

    /// Hands a mail in and waits until it, and every report of it, is dealt with.
    async fn hand_in(
        &mut self,
        from: &str,
        to: &[String],
        octets: &str,
    ) -> Result<Outcome, String> {
        if !self.passwords.contains_key(from) {
            let control = &self.bridge.running.control;
            let password = common::add_account_of(from, control, Profile::Full).await;
            self.passwords.insert(from.to_owned(), password);
        }
        self.seen.requests = self.world().journal.entries().len();
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        let message = octets.replace('\n', "\r\n");
        let password = &self.passwords[from];
        let mail = Mail { user: from, password, from, to: &to, message: &message };
        let ca = &self.bridge.running.certificates.ca;
        let server = self.bridge.address(Kind::ImplicitTls);
        let reply = submit(server, ca, &mail).await.map_err(|error| format!("{error:#}"))?;
        let id = id_in(&reply);
        self.settled().await?;
        Ok(self.outcome(decisions(id)))
    }

    /// Waits until nothing is under way. A mail that is to be tried again later is not waited for.
    async fn settled(&self) -> Result<(), String> {
        let settled = async {
            loop {
                let entries = self.bridge.running.control.store.entries(None, 100).await.unwrap();
                let open = |state| !matches!(state, State::Sent | State::Failed);
                let Some(entry) = entries.into_iter().find(|entry| open(entry.state)) else {
                    return Ok(());
                };
                let stopped = entry.state == State::Queued && entry.attempts > 0;
                if stopped || entry.state == State::Held {
                    let note = entry.note.unwrap_or_default();
                    return Err(format!("a mail is {}: {note}", entry.state.name()));
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, settled)
            .await
            .map_err(|_| "nothing comes of it".to_owned())?
    }

    /// Deletes what stands in the organizer's calendar, as its owner may.
    async fn delete(&mut self) -> Outcome {
        let world = self.world();
        let user = world.user(USER).unwrap().object_id;
        let scopes = vec!["Calendars.ReadWrite".to_owned()];
        let grant = Grant { user, client_id: "app".into(), scopes: scopes.clone(), nonce: None };
        let token = world.identity.grants().issue(world.clock.now(), &grant, &scopes).access_token;
        for event in world.calendar.events(user) {
            let id = Shown { event, occurrence: None }.id(IdForm::Immutable);
            let url = format!("{}/v1.0/me/events/{id}", self.bridge.sandbox.url());
            let answer = self.bridge.http.delete(url).bearer_auth(&token).send().await.unwrap();
            assert_eq!(answer.status(), 204);
        }
        self.seen.requests = self.world().journal.entries().len();
        self.outcome(Vec::new())
    }

    /// What happened since the last step.
    fn outcome(&mut self, decision: Vec<String>) -> Outcome {
        let world = self.bridge.sandbox.world();
        let user = world.user(USER).unwrap().object_id;
        let requests: Vec<Request> = world
            .journal
            .entries()
            .into_iter()
            .skip(self.seen.requests)
            .filter(|request| request.path.starts_with("/v1.0/") && !is_on_the_way(request))
            .collect();
        let invitations = world.ledger.invitations().split_off(self.seen.invitations);
        let mails = world.ledger.copies().split_off(self.seen.mails);
        self.seen.invitations += invitations.len();
        self.seen.mails += mails.len();

        // Of what was made and is gone again only the requests know.
        let own = world.calendar.events(user).into_iter().filter(|event| event.is_organizers());
        let mut events: Vec<u64> = own.map(|event| event.number).collect();
        let of_events = requests.iter().filter(|request| request.path.contains("/events/"));
        events.extend(of_events.filter_map(|request| Some(item_of(&request.path)?.number)));
        events.sort_unstable();
        events.retain(|number| !self.seen.events.contains(number));
        events.dedup();
        self.seen.events.extend(events);

        let [from, to] = YEAR.map(|at| at.parse::<Timestamp>().unwrap());
        let short_months = world.switches().short_months;
        let standing = world.calendar.view(user, from, to, short_months);
        let mut calendar: Vec<String> = standing.iter().map(row).collect();
        if calendar.len() > ROWS_MAX {
            let more = calendar.split_off(ROWS_MAX).len();
            calendar.push(format!("… and {more} more"));
        }
        vec![
            (DECISION, decision),
            (CALLS, requests.iter().map(|request| call(request, &self.seen.events)).collect()),
            (INVITED, invitations.iter().map(invited).collect()),
            (MAILED, mails.iter().map(mailed).collect()),
            (CALENDAR, calendar),
        ]
    }
}

/// A mail is a draft before it is sent; only that it is sent is told here.
fn is_on_the_way(request: &Request) -> bool {
    request.path.contains("/me/messages") && !request.path.ends_with("/send")
}

/// The item whose id stands in a path.
fn item_of(path: &str) -> Option<ItemId> {
    path.split('/').find_map(ItemId::read)
}

/// `PATCH /me/events/{event} attendees → 404`
fn call(request: &Request, events: &[u64]) -> String {
    let segment = |text: &str| match ItemId::read(text) {
        None => text.to_owned(),
        Some(_) if request.path.contains("/messages/") => "{draft}".to_owned(),
        Some(item) => {
            let at = events.iter().position(|number| *number == item.number).unwrap();
            let name = if at == 0 { "event".to_owned() } else { format!("event {}", at + 1) };
            match item.date {
                Some(date) => format!("{{{name} of {date}}}"),
                None => format!("{{{name}}}"),
            }
        }
    };
    let path = request.path.trim_start_matches("/v1.0");
    let path: Vec<String> = path.split('/').map(segment).collect();
    let mut text = format!("{} {}", request.method, path.join("/"));
    // What a create always says is of no interest here.
    let told = |name: &&String| match request.method.as_str() {
        "PATCH" => true,
        "POST" if request.path.ends_with("/events") => {
            ["attendees", "recurrence"].contains(&name.trim_end_matches("[]"))
        }
        _ => false,
    };
    for name in request.properties.iter().filter(told) {
        text = format!("{text} {name}");
    }
    match request.status {
        Some(200..=299) => text,
        Some(status) => format!("{text} → {status}"),
        None => format!("{text} → no answer"),
    }
}

/// `2027-07-01T20:00Z`
fn instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%MZ").to_string()
}

fn local_part(address: &str) -> &str {
    address.split('@').next().unwrap_or_default()
}

/// `update kim.akers 2027-07-03T21:00Z (of 2027-07-01T21:00Z)`
fn invited(row: &Invited) -> String {
    let row = &row.invitation;
    let kind = format!("{:?}", row.kind).to_lowercase();
    let text = format!("{kind} {} {}", local_part(&row.attendee), instant(row.start));
    row.occurrence.map_or(text.clone(), |of| format!("{text} (of {})", instant(of)))
}

/// `adele.vance Not delivered: Interview (5.3.3)`
fn mailed(copy: &MailCopy) -> String {
    let text = format!("{} {}", local_part(&copy.recipient), copy.message.subject);
    let raw = String::from_utf8_lossy(&copy.message.raw);
    let status = raw.lines().find_map(|line| line.strip_prefix("Status: "));
    status.map_or(text.clone(), |status| format!("{text} ({})", status.trim()))
}

/// `2027-07-01 20:00–21:00Z Conference (Room 4): kim.akers, lee.gu; job.pdf [series]`
fn row(shown: &Shown) -> String {
    let (content, event): (_, &Event) = (shown.content(), &shown.event);
    let (start, end) = (content.span.start_instant(), content.span.end_instant());
    let day = |at: Timestamp| at.strftime("%Y-%m-%d").to_string();
    let time = |at: Timestamp| at.strftime("%H:%M").to_string();
    let hours = (end.as_second() - start.as_second()) / 3600;
    let span = match (content.span.all_day, day(start) == day(end)) {
        (true, _) if hours == 24 => format!("{} all day", day(start)),
        (true, _) => format!("{} {} whole days", day(start), hours / 24),
        (false, true) => format!("{} {}–{}Z", day(start), time(start), time(end)),
        (false, false) => format!("{} {}–{} {}Z", day(start), time(start), day(end), time(end)),
    };
    let mut text = format!("{span} {}", content.text("subject"));
    match content.properties["location"]["displayName"].as_str().unwrap_or_default() {
        "" => {}
        location => text = format!("{text} ({location})"),
    }
    let attendee = |one: &Attendee| match one.kind.as_str() {
        "required" => local_part(&one.address).to_owned(),
        kind => format!("{} ({kind})", local_part(&one.address)),
    };
    let attendees: Vec<String> = content.attendees.iter().map(attendee).collect();
    if !attendees.is_empty() {
        text = format!("{text}: {}", attendees.join(", "));
    }
    for file in &event.attachments {
        text = format!("{text}; {}", file.properties["name"].as_str().unwrap_or_default());
    }
    match &shown.occurrence {
        None => text,
        Some(one) if one.exception.is_some() => format!("{text} [exception]"),
        Some(_) => format!("{text} [series]"),
    }
}

/// Decisions of all bridges, by the mail that they are about, as the log tells them.
static DECISIONS: LazyLock<Mutex<HashMap<String, Vec<String>>>> = LazyLock::new(Mutex::default);

fn decisions(id: EntryId) -> Vec<String> {
    DECISIONS.lock().unwrap().remove(&id.to_string()).unwrap_or_default()
}

fn listen_for_decisions() {
    let ours = Targets::new().with_target("postbridge", LevelFilter::INFO);
    let log = tracing_subscriber::registry().with(Decisions.with_filter(ours));
    tracing::subscriber::set_global_default(log).unwrap();
}

/// Keeps the log lines that say what an invite was decided to be.
struct Decisions;

impl<S: tracing::Subscriber> Layer<S> for Decisions {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let Some(entry) = line.0.remove("entry") else { return };
        let decision = match (line.0.remove("decision"), line.0.get("message"), line.0.get("why")) {
            (Some(decision), _, _) => decision,
            (None, Some(message), Some(why)) if message.starts_with("invite") => {
                format!("{message}: {why}")
            }
            _ => return,
        };
        DECISIONS.lock().unwrap().entry(entry).or_default().push(decision);
    }
}

#[derive(Default)]
struct Line(HashMap<&'static str, String>);

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}
