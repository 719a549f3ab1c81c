//! What `postbridge queue` prints of a mail. Nothing here asks or changes anything.

use std::fmt::Write;

use jiff::Timestamp;

use crate::account::{Account, Standing};
use crate::control::Waiting;
use crate::store::history::Line;
use crate::store::order::Order;
use crate::store::spool::{Entry, State};

/// One line of the list.
pub fn row(entry: &Entry) -> String {
    let to: Vec<&str> = entry.envelope.recipients().map(|address| address.as_str()).collect();
    let to = match to.as_slice() {
        [one] => (*one).to_owned(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        [] => String::new(),
    };
    let (id, state) = (entry.id, entry.state.name());
    let note = entry.note.as_deref().unwrap_or_default();
    format!("{id}  {state:<10} {:>9} octets  {}  {to}  {note}", entry.size, entry.accepted_at)
}

/// One line for an account that has mails on their way.
pub fn line_of(waiting: &Waiting) -> String {
    let Waiting { address, mails, throttled_until, expected, .. } = waiting;
    let mut line = format!("{address}: {mails} on their way");
    if let Some(until) = throttled_until {
        let _ = write!(line, ", throttled by Microsoft until {}", whole_second(*until));
    }
    if let Some(expected) = expected {
        let _ = write!(line, ", expected to be done by {}", whole_second(*expected));
    }
    line
}

/// What is guessed is not told to the nanosecond.
fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second().saturating_add(1)).unwrap_or(at)
}

/// All of one mail; `account` is whose it is, unless that was removed, and `expected` when it will be
/// done.
pub fn show(entry: &Entry, account: Option<&Account>, expected: Option<Timestamp>) -> String {
    let mut lines = vec![
        ("id", entry.id.to_string()),
        ("state", entry.state.name().to_owned()),
        ("", meaning(entry, account)),
        ("kind", entry.kind.name().to_owned()),
        (
            "account",
            account.map_or_else(|| "removed".to_owned(), |account| account.address.to_string()),
        ),
        (
            "from",
            entry.envelope.reverse_path().map_or_else(|| "<>".to_owned(), ToString::to_string),
        ),
    ];
    lines.extend(entry.about.map(|about| ("about", about.to_string())));
    lines.extend(entry.envelope.recipients().map(|to| ("to", to.to_string())));
    lines.push(("size", format!("{} octets", entry.size)));
    lines.push(("accepted", entry.accepted_at.to_string()));
    lines.push(("attempts", entry.attempts.to_string()));
    let when = if entry.state == State::Queued { "next try" } else { "since" };
    lines.push((when, entry.due_at.to_string()));
    lines.extend(expected.map(|at| ("expected", whole_second(at).to_string())));
    if let Some(note) = &entry.note {
        lines.push(("note", note.clone()));
    }
    if let Some(answered) = &entry.answered {
        lines.push(("answered", answered.clone()));
    }
    for command in commands(entry) {
        lines.push(("", command));
    }
    lines.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{name:<9} {value}");
        text
    })
}

/// How it began, as a line of its history.
pub fn accepted(entry: &Entry) -> String {
    let (id, at) = (entry.id, in_millis(entry.accepted_at));
    let from = entry.envelope.reverse_path().map_or_else(|| "<>".to_owned(), ToString::to_string);
    let to: Vec<String> = entry.envelope.recipients().map(ToString::to_string).collect();
    format!("{at}  {id}  accepted    {} octets from {from} to {}", entry.size, to.join(", "))
}

/// One line of a history.
pub fn step(line: &Line) -> String {
    let (id, at, state) = (line.entry, in_millis(line.at), line.state.name());
    let mut text = format!("{at}  {id}  {state:<10}  attempt {}", line.attempt);
    if let Some(note) = &line.note {
        let _ = write!(text, ": {note}");
    }
    if line.state == State::Queued && line.due_at > line.at {
        let _ = write!(text, "; again at {}", whole_second(line.due_at));
    }
    text
}

/// All as wide as each other, so that a column is one.
fn in_millis(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// The state in words.
fn meaning(entry: &Entry, account: Option<&Account>) -> String {
    match (entry.state, account) {
        (State::Queued, None) => "its account was removed; it will be held".into(),
        (State::Queued, Some(account)) if account.standing != Standing::Ready => {
            let address = &account.address;
            format!("waits until its user has signed in: postbridge account signin {address}")
        }
        (State::Queued, _) if entry.attempts == 0 => "waits to be sent".into(),
        (State::Queued, _) => "waits to be tried again; nothing was sent".into(),
        (State::Attempting, _) => "is being worked on".into(),
        (State::Sending, _) => "was handed to Microsoft 365, and has no answer yet".into(),
        (State::Sent, _) => "Microsoft 365 has taken it".into(),
        (State::Failed, _) => "was not sent, and will not be".into(),
        (State::Held, None) => "not sent again by itself; its account was removed".into(),
        (State::Held, Some(account)) => {
            format!("nobody knows whether it was sent: look in Sent Items of {}", account.address)
        }
    }
}

/// What can be done about it.
fn commands(entry: &Entry) -> Vec<String> {
    let id = entry.id;
    match entry.state {
        State::Failed if entry.kept => {
            vec![format!("postbridge queue retry {id}                  try it again after all")]
        }
        State::Queued => vec![
            format!("postbridge queue retry {id}                  try it now"),
            format!("postbridge queue drop {id}                   do not send it"),
        ],
        State::Held => vec![
            format!("postbridge queue resolve {id} --sent         it is there"),
            format!("postbridge queue resolve {id} --send-again   it is not there"),
            format!("postbridge queue drop {id}                   let it be"),
        ],
        State::Attempting | State::Sending | State::Sent | State::Failed => Vec::new(),
    }
}

/// What an order has done.
pub fn in_short(order: Order, entry: &Entry, account: Option<&Account>) -> String {
    match (order, account) {
        (Order::Drop, _) => "dropped; it will not be sent".into(),
        (Order::Sent, _) => "marked as sent".into(),
        (Order::Retry | Order::SendAgain, Some(account)) if account.standing == Standing::Ready => {
            "due now".into()
        }
        (Order::Retry | Order::SendAgain, _) => format!("queued; {}", meaning(entry, account)),
    }
}
