//! The queue: what was accepted, what became of it, and what can be done about it.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Extension, Path, Query, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::frame::{self, Frame, encoded, html, not_found, odd, refused, see};
use super::guard::Visit;
use super::site::Site;
use super::words::{self, Clockface, Moment};
use crate::account::Address;
use crate::control::{Reply, Request};
use crate::store::history::Line;
use crate::store::order::Order;
use crate::store::spool::{Entry, EntryId, State};

/// Mails on one page.
const PAGE: u32 = 50;
const LOG_LINES: u32 = 200;
const TEXT_CHARS: usize = 400;

pub(super) const STATES: [State; 6] =
    [State::Queued, State::Attempting, State::Sending, State::Held, State::Failed, State::Sent];

#[derive(Template)]
#[template(path = "queue.html", config = "src/page/askama.toml")]
struct Queue {
    frame: Frame,
    tabs: Vec<Tab>,
    /// Only those of this account.
    account: Option<String>,
    waiting: Vec<Lane>,
    rows: Vec<Row>,
    /// Where the older ones are.
    older: Option<String>,
}

/// One state to choose.
struct Tab {
    name: &'static str,
    live: String,
    count: u64,
    path: String,
    chosen: bool,
}

/// An account that has mails on their way.
pub(super) struct Lane {
    pub address: String,
    pub path: String,
    pub mails: u64,
    pub oldest: Option<Moment>,
    pub throttled: Option<Moment>,
    pub expected: Option<Moment>,
}

impl Lane {
    pub(super) fn new(one: &crate::control::Waiting, face: &Clockface) -> Lane {
        let moment = |at: Option<jiff::Timestamp>| at.map(|at| face.at(at));
        Lane {
            address: one.address.to_string(),
            path: format!("/queue?account={}", encoded(one.address.as_str())),
            mails: one.mails,
            oldest: moment(one.oldest_at),
            throttled: moment(one.throttled_until),
            expected: moment(one.expected),
        }
    }
}

struct Row {
    id: String,
    state: &'static str,
    colour: &'static str,
    accepted: Moment,
    from: String,
    to: String,
    size: String,
    note: String,
}

impl Row {
    fn new(entry: &Entry, face: &Clockface) -> Row {
        let mut to = entry.envelope.recipients();
        let first = to.next().map(ToString::to_string).unwrap_or_default();
        let to = match to.count() {
            0 => first,
            more => format!("{first} and {more} more"),
        };
        Row {
            id: entry.id.to_string(),
            state: entry.state.name(),
            colour: words::colour(entry.state),
            accepted: face.at(entry.accepted_at),
            from: sender(entry),
            to,
            size: words::octets(entry.size),
            note: words::one_line(entry.note.as_deref().unwrap_or_default(), TEXT_CHARS),
        }
    }
}

/// RFC 5321 §4.5.5: a report has no reverse-path.
fn sender(entry: &Entry) -> String {
    entry.envelope.reverse_path().map_or_else(|| "<>".to_owned(), ToString::to_string)
}

#[derive(Deserialize)]
pub(super) struct Chosen {
    state: Option<State>,
    account: Option<Address>,
    before: Option<EntryId>,
}

impl Chosen {
    /// The same, from another entry on.
    fn path(&self, state: Option<State>, before: Option<EntryId>) -> String {
        let pairs = [
            state.map(|state| format!("state={}", state.name())),
            self.account.as_ref().map(|one| format!("account={}", encoded(one.as_str()))),
            before.map(|id| format!("before={id}")),
        ];
        let pairs: Vec<String> = pairs.into_iter().flatten().collect();
        match pairs.is_empty() {
            true => "/queue".to_owned(),
            false => format!("/queue?{}", pairs.join("&")),
        }
    }
}

pub(super) async fn list(
    Shared(site): Shared<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Query(chosen): Query<Chosen>,
) -> Response {
    let asked = Request::Entries { state: None, most: 0 };
    let Reply::Entries { counts, waiting, .. } = site.ask(asked).await else { return odd() };
    let entries = match site
        .ask(Request::Mails {
            before: chosen.before,
            state: chosen.state,
            address: chosen.account.clone(),
            most: PAGE + 1,
        })
        .await
    {
        Reply::Mails { entries } => entries,
        Reply::Refused { why } => return not_found(&visit, "queue", &why),
        _ => return odd(),
    };
    let face = site.clockface();
    let shown = entries.get(..entries.len().min(PAGE as usize)).unwrap_or_default();
    let last = shown.last().filter(|_| entries.len() > shown.len());
    let of = |state| counts.iter().find(|(one, _)| *one == state).map_or(0, |(_, n)| *n);
    let mut tabs = vec![Tab {
        name: "all",
        live: "state-all".to_owned(),
        count: counts.iter().map(|(_, n)| n).sum(),
        path: chosen.path(None, None),
        chosen: chosen.state.is_none(),
    }];
    tabs.extend(STATES.iter().map(|&state| Tab {
        name: state.name(),
        live: format!("state-{}", state.name()),
        count: of(state),
        path: chosen.path(Some(state), None),
        chosen: chosen.state == Some(state),
    }));
    let page = Queue {
        tabs,
        waiting: waiting.iter().map(|one| Lane::new(one, &face)).collect(),
        rows: shown.iter().map(|entry| Row::new(entry, &face)).collect(),
        older: last.map(|last| chosen.path(chosen.state, Some(last.id))),
        account: chosen.account.map(|account| account.to_string()),
        frame: Frame::new(&visit, "queue", "Queue"),
    };
    html(StatusCode::OK, &page)
}

#[derive(Template)]
#[template(path = "entry.html", config = "src/page/askama.toml")]
struct One {
    frame: Frame,
    id: String,
    state: &'static str,
    colour: &'static str,
    meaning: String,
    subject: Option<String>,
    kind: &'static str,
    account: Option<String>,
    from: String,
    to: Vec<String>,
    size: String,
    accepted: Moment,
    attempts: u32,
    /// Of a queued one its next try, else since when it is what it is.
    due_is_next: bool,
    due: Moment,
    expected: Option<Moment>,
    note: Option<String>,
    answered: Option<String>,
    about: Option<String>,
    can: Can,
    steps: Vec<Step>,
}

/// What can be done.
#[derive(Default)]
struct Can {
    retry: bool,
    resolve: bool,
    drop: bool,
}

impl Can {
    fn of(entry: &Entry) -> Can {
        let queued = entry.state == State::Queued;
        let held = entry.state == State::Held;
        let failed = entry.state == State::Failed && entry.kept;
        Can { retry: queued || failed, resolve: held, drop: queued || held }
    }

    fn anything(&self) -> bool {
        self.retry || self.resolve || self.drop
    }
}

/// One line of a history.
struct Step {
    entry: String,
    at: Moment,
    state: &'static str,
    colour: &'static str,
    attempt: u32,
    note: String,
    again: Option<Moment>,
}

impl Step {
    fn new(line: &Line, face: &Clockface) -> Step {
        let again = line.state == State::Queued && line.due_at > line.at;
        Step {
            entry: line.entry.to_string(),
            at: face.at(line.at),
            state: line.state.name(),
            colour: words::colour(line.state),
            attempt: line.attempt,
            note: words::one_line(line.note.as_deref().unwrap_or_default(), TEXT_CHARS),
            again: again.then(|| face.at(line.due_at)),
        }
    }
}

/// The id in a path, however it is written.
fn id(text: &str) -> Option<EntryId> {
    text.parse().ok()
}

pub(super) async fn one(
    Shared(site): Shared<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
) -> Response {
    let Some(id) = id(&name) else { return not_found(&visit, "queue", "There is no such mail.") };
    let (entry, account, expected, subject) = match site.ask(Request::Entry { id }).await {
        Reply::Entry { entry, account, expected, subject } => (entry, account, expected, subject),
        Reply::Refused { why } => return not_found(&visit, "queue", &why),
        _ => return odd(),
    };
    let asked = Request::History { id: Some(id), most: LOG_LINES };
    let lines = match site.ask(asked).await {
        Reply::History { lines } => lines,
        _ => Vec::new(),
    };
    let face = site.clockface();
    let line = |text: &String| words::one_line(text, TEXT_CHARS);
    let page = One {
        frame: Frame::new(&visit, "queue", format!("Mail {id}")),
        id: id.to_string(),
        state: entry.state.name(),
        colour: words::colour(entry.state),
        meaning: words::meaning(&entry, account.as_deref()),
        subject: subject.as_ref().map(line),
        kind: words::kind(entry.kind),
        account: account.map(|account| account.address.to_string()),
        from: sender(&entry),
        to: entry.envelope.recipients().map(ToString::to_string).collect(),
        size: words::octets(entry.size),
        accepted: face.at(entry.accepted_at),
        attempts: entry.attempts,
        due_is_next: entry.state == State::Queued,
        due: face.at(entry.due_at),
        expected: expected.map(|at| face.at(at)),
        note: entry.note.as_ref().map(line),
        answered: entry.answered.as_ref().map(line),
        about: entry.about.map(|id| id.to_string()),
        can: Can::of(&entry),
        steps: lines.iter().map(|line| Step::new(line, &face)).collect(),
    };
    html(StatusCode::OK, &page)
}

async fn order(site: &Site, visit: &Visit, name: &str, order: Order) -> Response {
    let Some(id) = id(name) else { return not_found(visit, "queue", "There is no such mail.") };
    let path = format!("/queue/{id}");
    match site.ask(Request::Order { id, order }).await {
        Reply::Entry { .. } => see(&path),
        Reply::Refused { why } => refused(visit, "queue", &why, &path),
        _ => odd(),
    }
}

pub(super) async fn retry(
    Shared(site): Shared<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
) -> Response {
    order(&site, &visit, &name, Order::Retry).await
}

pub(super) async fn sent(
    Shared(site): Shared<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
) -> Response {
    order(&site, &visit, &name, Order::Sent).await
}

pub(super) async fn send_again(
    Shared(site): Shared<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
) -> Response {
    order(&site, &visit, &name, Order::SendAgain).await
}

pub(super) async fn drop(
    Shared(site): Shared<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
) -> Response {
    order(&site, &visit, &name, Order::Drop).await
}

#[derive(Template)]
#[template(path = "drop.html", config = "src/page/askama.toml")]
struct AskDrop {
    frame: Frame,
    id: String,
    from: String,
    to: Vec<String>,
    held: bool,
}

pub(super) async fn ask_drop(
    Shared(site): Shared<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
) -> Response {
    let Some(id) = id(&name) else { return not_found(&visit, "queue", "There is no such mail.") };
    let entry = match site.ask(Request::Entry { id }).await {
        Reply::Entry { entry, .. } => entry,
        Reply::Refused { why } => return not_found(&visit, "queue", &why),
        _ => return odd(),
    };
    if !Can::of(&entry).drop {
        let why = "It does not wait any more.";
        return refused(&visit, "queue", why, &format!("/queue/{id}"));
    }
    let page = AskDrop {
        frame: Frame::new(&visit, "queue", "Drop this mail?"),
        id: id.to_string(),
        from: sender(&entry),
        to: entry.envelope.recipients().map(ToString::to_string).collect(),
        held: entry.state == State::Held,
    };
    html(StatusCode::OK, &page)
}

#[derive(Template)]
#[template(path = "log.html", config = "src/page/askama.toml")]
struct Log {
    frame: Frame,
    steps: Vec<Step>,
}

/// The last lines of all histories, newest first.
pub(super) async fn log(
    Shared(site): Shared<Arc<Site>>,
    Extension(visit): Extension<Visit>,
) -> Response {
    let asked = Request::History { id: None, most: LOG_LINES };
    let Reply::History { lines } = site.ask(asked).await else { return frame::odd() };
    let face = site.clockface();
    let page = Log {
        frame: Frame::new(&visit, "log", "Log"),
        steps: lines.iter().map(|line| Step::new(line, &face)).collect(),
    };
    html(StatusCode::OK, &page)
}
