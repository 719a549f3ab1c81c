//! The invites that became events: the next ones first, who answered what, and why each is as it is.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Extension, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::frame::{Frame, encoded, html, not_found, odd};
use super::guard::Visit;
use super::site::Site;
use super::words::{self, Moment};
use crate::account::Address;
use crate::control::{Reply, Request};
use crate::ical::{self, Attendee, PartStat};
use crate::invite::{Invite, Wanted, Way};

const LISTED_MAX: usize = 100;
const TEXT_CHARS: usize = 300;

#[derive(Template)]
#[template(path = "invites.html", config = "src/page/askama.toml")]
struct List {
    frame: Frame,
    next: Vec<Row>,
    past: Vec<Row>,
}

struct Row {
    path: String,
    subject: String,
    /// As the organizer wrote it.
    start: String,
    recurs: bool,
    state: &'static str,
    colour: &'static str,
    account: String,
    answers: Answers,
}

/// How many attendees answered what.
#[derive(Default, PartialEq, Eq, Debug)]
struct Answers {
    accepted: usize,
    tentative: usize,
    declined: usize,
    open: usize,
}

impl Answers {
    fn of(attendees: &[Attendee]) -> Answers {
        let mut answers = Answers::default();
        for one in attendees {
            *match one.partstat {
                PartStat::Accepted => &mut answers.accepted,
                PartStat::Tentative => &mut answers.tentative,
                PartStat::Declined => &mut answers.declined,
                PartStat::NeedsAction | PartStat::Other => &mut answers.open,
            } += 1;
        }
        answers
    }
}

/// Colour and word.
fn state(invite: &Invite) -> (&'static str, &'static str) {
    match (invite.way, invite.standing().next()) {
        (Way::Mail, _) => ("calm", "mailed"),
        (Way::Event, None) => ("bad", "cancelled"),
        (Way::Event, Some((part, _))) if part.done.event.is_some() => ("good", "stands"),
        (Way::Event, Some(_)) => ("busy", "on its way"),
    }
}

fn answer(partstat: PartStat) -> (&'static str, &'static str) {
    match partstat {
        PartStat::Accepted => ("good", "accepted"),
        PartStat::Tentative => ("warn", "tentative"),
        PartStat::Declined => ("bad", "declined"),
        PartStat::NeedsAction | PartStat::Other => ("calm", "no answer"),
    }
}

fn subject(invite: &Invite) -> String {
    let wanted = invite.standing().next().map(|(_, wanted)| wanted);
    let subject = wanted.and_then(|wanted| wanted.content["subject"].as_str());
    match subject {
        Some(text) if !text.trim().is_empty() => words::one_line(text, TEXT_CHARS),
        _ => "(no subject)".to_owned(),
    }
}

/// The start as it is written, and its zone.
fn start(wanted: &Wanted) -> (Option<DateTime>, String) {
    let start = &wanted.content["start"];
    let time = start["dateTime"].as_str().and_then(|text| text.parse::<DateTime>().ok());
    let zone = start["timeZone"].as_str().unwrap_or_default();
    let all_day = wanted.content["isAllDay"].as_bool() == Some(true);
    let words = match time {
        Some(time) if all_day => time.strftime("%a %Y-%m-%d").to_string(),
        Some(time) => {
            let zone = words::one_line(zone, 60);
            format!("{} {zone}", time.strftime("%a %Y-%m-%d %H:%M"))
        }
        None => "–".to_owned(),
    };
    (time, words)
}

/// Who is invited and answered what, as the calendar has it; else as the invite said.
fn attendees(invite: &Invite, object: Option<&[u8]>) -> Vec<Attendee> {
    let known = object.and_then(|octets| {
        let read = ical::read(octets).ok()?;
        let mut all: Vec<Attendee> = Vec::new();
        let occurrences = read.events.iter().flat_map(|event| {
            event.master.iter().chain(event.overrides.iter().map(|one| &one.occurrence))
        });
        for one in occurrences.flat_map(|occurrence| &occurrence.attendees) {
            if !all.iter().any(|known| known.address.same_mailbox(&one.address)) {
                all.push(one.clone());
            }
        }
        Some(all)
    });
    known.filter(|all| !all.is_empty()).unwrap_or_else(|| invite.attendees())
}

fn path(account: &Address, uid: &str) -> String {
    format!("/invite?account={}&uid={}", encoded(account.as_str()), encoded(uid))
}

pub(super) async fn list(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
) -> Response {
    let asked = Request::Invites { address: None, most: LISTED_MAX as u32 };
    let Reply::Invites { invites } = site.ask(asked).await else { return odd() };
    let face = site.clockface();
    // A start is in the zone of its organizer: to the day is near enough for an order.
    let today = TimeZone::UTC.to_datetime(face.now);
    let (mut next, mut past) = (Vec::new(), Vec::new());
    for (account, one) in invites.into_iter().take(LISTED_MAX) {
        let invite = one.invite;
        let asked = Request::Invite { address: Some(account.clone()), uid: invite.uid.clone() };
        let object = match site.ask(asked).await {
            Reply::Invite { object, .. } => object,
            _ => None,
        };
        let wanted = invite.standing().next().map(|(_, wanted)| wanted);
        let (begins, start) = wanted.map_or((None, "–".to_owned()), start);
        let recurs = wanted.is_some_and(|wanted| wanted.recurs);
        let (colour, state) = state(&invite);
        let row = Row {
            path: path(&account, &invite.uid),
            subject: subject(&invite),
            start,
            recurs,
            state,
            colour,
            account: account.to_string(),
            answers: Answers::of(&attendees(&invite, object.as_deref())),
        };
        let is_next = invite.stands() && (recurs || begins.is_some_and(|at| at >= today));
        let list = if is_next { &mut next } else { &mut past };
        list.push((begins, row));
    }
    next.sort_by_key(|(begins, _)| *begins);
    past.sort_by_key(|(begins, _)| std::cmp::Reverse(*begins));
    let rows = |list: Vec<(Option<DateTime>, Row)>| list.into_iter().map(|(_, row)| row).collect();
    let page = List {
        frame: Frame::new(&visit, "invites", "Invites"),
        next: rows(next),
        past: rows(past),
    };
    html(StatusCode::OK, &page)
}

#[derive(Template)]
#[template(path = "invite.html", config = "src/page/askama.toml")]
struct One {
    frame: Frame,
    subject: String,
    state: &'static str,
    colour: &'static str,
    account: String,
    uid: String,
    start: String,
    recurs: bool,
    location: Option<String>,
    sequence: u32,
    mail_to: Vec<String>,
    taken_back: Option<String>,
    people: Vec<Person>,
    events: Vec<EventRow>,
    history: Vec<Decision>,
}

struct Person {
    name: Option<String>,
    address: String,
    colour: &'static str,
    answer: &'static str,
}

/// One event at Microsoft.
struct EventRow {
    what: String,
    colour: &'static str,
    state: &'static str,
    id: String,
    occurrences: usize,
}

struct Decision {
    at: Moment,
    /// The mail that it was decided by, if it was one.
    entry: Option<String>,
    by: String,
    why: String,
}

#[derive(Deserialize)]
pub(super) struct Chosen {
    account: Address,
    uid: String,
}

pub(super) async fn one(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Query(chosen): Query<Chosen>,
) -> Response {
    let asked = Request::Invite { address: Some(chosen.account), uid: chosen.uid };
    let (account, invite, object, history) = match site.ask(asked).await {
        Reply::Invite { address, invite, object, history, .. } => {
            (address, invite, object, history)
        }
        Reply::Refused { why } => return not_found(&visit, "invites", &why),
        _ => return odd(),
    };
    let face = site.clockface();
    let wanted = invite.standing().next().map(|(_, wanted)| wanted);
    let line = |text: &str| words::one_line(text, TEXT_CHARS);
    let location = wanted
        .and_then(|wanted| wanted.content["location"]["displayName"].as_str())
        .filter(|text| !text.is_empty());
    let (colour, state) = state(&invite);
    let person = |one: &Attendee| {
        let (colour, answer) = answer(one.partstat);
        let address = one.address.to_string();
        Person { name: one.name.as_deref().map(line), address, colour, answer }
    };
    let event = |part: &crate::invite::Part| {
        let (colour, state) = match (&part.done.event, part.done.cancelled) {
            (_, true) => ("bad", "cancelled"),
            (Some(_), false) => ("good", "stands"),
            (None, false) => ("busy", "not made yet"),
        };
        let what = |at: Timestamp| format!("occurrence of {}", face.at(at).full);
        EventRow {
            what: part.original.map_or_else(|| "the event".to_owned(), what),
            colour,
            state,
            id: part.done.event.as_ref().map(|event| event.id.clone()).unwrap_or_default(),
            occurrences: part.done.occurrences.len(),
        }
    };
    let decision = |one: &crate::store::invites::Decided| {
        let entry: Option<crate::store::spool::EntryId> = one.entry.parse().ok();
        Decision {
            at: face.at(one.at),
            entry: entry.map(|id| id.to_string()),
            by: line(&one.entry),
            why: words::one_line(&one.why, 1_000),
        }
    };
    let page = One {
        frame: Frame::new(&visit, "invites", subject(&invite)),
        subject: subject(&invite),
        state,
        colour,
        account: account.to_string(),
        uid: line(&invite.uid),
        start: wanted.map_or_else(|| "–".to_owned(), |wanted| start(wanted).1),
        recurs: wanted.is_some_and(|wanted| wanted.recurs),
        location: location.map(line),
        sequence: invite.version.sequence,
        mail_to: invite.mail_to.iter().map(ToString::to_string).collect(),
        taken_back: invite.taken_back.as_deref().map(line),
        people: attendees(&invite, object.as_deref()).iter().map(person).collect(),
        events: invite.parts.iter().map(event).collect(),
        history: history.iter().rev().map(decision).collect(),
    };
    html(StatusCode::OK, &page)
}
