//! Whether an account works, as `postbridge doctor` asks: a new token, its mailbox and its calendars; and, on
//! request, a mail to itself and an event of its own, which go the way of every other.
//!
//! It reads no mail and no appointment. What it makes it makes through the spool: nothing here sends.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::access::{Access, AccessError};
use crate::account::Account;
use crate::graph::Failure;
use crate::store::calendar::{Change, Changed, Place, Span, Spooled};
use crate::store::spool::{EntryId, SpoolError};
use crate::store::{Store, calendars};
use crate::submission::{Envelope, MailParameters};

/// How one thing turned out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "looked", rename_all = "kebab-case")]
pub enum Looked {
    Good,
    Bad {
        /// Graph's, where it gave one.
        code: Option<String>,
        why: String,
    },
    /// The permission for it was not granted, or what it takes has failed.
    Not {
        because: String,
    },
}

/// What was found of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    pub account: Account,
    pub token: Looked,
    /// Whether Graph takes the token.
    pub graph: Looked,
    pub mailbox: Looked,
    pub calendar: Looked,
}

/// Asks Entra for a new token, and Graph for what can be seen without reading anything.
pub async fn check(account: &Account, access: &Access) -> Checked {
    let not = |because: &str| Looked::Not { because: because.to_owned() };
    let no_token = || not("there is no token");
    let mut checked = Checked {
        account: account.clone(),
        token: Looked::Good,
        graph: no_token(),
        mailbox: no_token(),
        calendar: no_token(),
    };
    let token = match access.new_token(account.id).await {
        Ok(token) => token,
        Err(AccessError::Later { why, .. } | AccessError::NeedsSignIn { why }) => {
            checked.token = Looked::Bad { code: None, why };
            return checked;
        }
    };
    let (graph, token) = (access.graph(), token.expose());
    checked.graph = looked(graph.me(token).await);
    checked.mailbox = match account.has("Mail.ReadWrite") {
        true => looked(graph.drafts_folder(token).await),
        false => not("Mail.Send alone lets nothing be seen of it"),
    };
    checked.calendar = match account.has("Calendars.ReadWrite") {
        true => looked(graph.calendars(token).await),
        false => not("Calendars.ReadWrite is not granted"),
    };
    checked
}

fn looked<T>(answer: Result<T, Failure>) -> Looked {
    match answer {
        Ok(_) => Looked::Good,
        Err(failure) => {
            let code = match &failure {
                Failure::Never { code, .. } | Failure::Account { code, .. } => Some(code.clone()),
                _ => None,
            };
            Looked::Bad { code, why: failure.into_why() }
        }
    }
}

/// What may be made in a mailbox to see whether it works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trial {
    /// A mail to oneself.
    Mail,
    /// An event without attendees, under this name.
    Event(Uuid),
    /// Away with it again.
    RemoveEvent(Uuid),
}

/// Hands it in; the entry to follow.
pub async fn make(store: &Store, account: &Account, trial: Trial) -> Result<EntryId, SpoolError> {
    match trial {
        Trial::Mail => mail(store, account).await,
        Trial::Event(name) => {
            let now = store.clock().now().as_second();
            let octets = event(account, name, now);
            let span = Span { first: Some(now * 1000), last: Some(now * 1000) };
            let change = Change::Put { uid: uid(name), octets: octets.clone(), span };
            change_object(store, account, name, change, octets).await
        }
        Trial::RemoveEvent(name) => {
            let octets = event(account, name, 0);
            change_object(store, account, name, Change::Delete, octets).await
        }
    }
}

fn unavailable(why: impl ToString) -> SpoolError {
    SpoolError::Unavailable(why.to_string().into())
}

fn to_oneself(account: &Account) -> Result<Envelope, SpoolError> {
    let own = account.address.clone();
    Envelope::new(Some(own.clone()), vec![own.into()], MailParameters::default())
        .map_err(unavailable)
}

async fn mail(store: &Store, account: &Account) -> Result<EntryId, SpoolError> {
    let (own, id) = (&account.address, Uuid::new_v4());
    let text = format!(
        "From: {own}\r\nTo: {own}\r\nSubject: postbridge works\r\n\
         Message-ID: <{id}@{}>\r\n\r\nThis mail was asked for with: postbridge doctor --send\r\n",
        own.domain()
    );
    let mut incoming = store.begin(account);
    incoming.write(text.as_bytes()).await?;
    Ok(incoming.commit(&to_oneself(account)?, true, None).await?.id())
}

fn uid(name: Uuid) -> String {
    format!("{name}@doctor.postbridge.invalid")
}

/// RFC 5545. A quarter of an hour from now on, nobody invited, no time taken.
fn event(account: &Account, name: Uuid, now: i64) -> Vec<u8> {
    let at = |second: i64| {
        let at = jiff::Timestamp::from_second(second).unwrap_or_default();
        at.strftime("%Y%m%dT%H%M%SZ").to_string()
    };
    let (start, end) = (at(now), at(now + 900));
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//postbridge//doctor//EN\r\nBEGIN:VEVENT\r\nUID:{}\r\n\
         DTSTAMP:{start}\r\nDTSTART:{start}\r\nDTEND:{end}\r\nSUMMARY:postbridge works\r\n\
         DESCRIPTION:Made and removed by postbridge doctor for {}\r\nTRANSP:TRANSPARENT\r\n\
         END:VEVENT\r\nEND:VCALENDAR\r\n",
        uid(name),
        account.address
    )
    .into_bytes()
}

async fn change_object(
    store: &Store,
    account: &Account,
    name: Uuid,
    change: Change,
    object: Vec<u8>,
) -> Result<EntryId, SpoolError> {
    let calendar = calendars::DEFAULT.to_owned();
    let place = Place { account: account.id, calendar, name: format!("{name}.ics") };
    let head = "Subject: postbridge works\r\nContent-Type: text/calendar; charset=utf-8\r\n\r\n";
    let octets = [head.as_bytes(), &object].concat();
    let spooled = Spooled { id: store.new_entry_id(), envelope: to_oneself(account)?, octets };
    let id = spooled.id;
    let changed = store.change_object(place, change, spooled, |_| Ok::<(), ()>(())).await?;
    match changed {
        Ok(Changed::Kept { .. }) => Ok(id),
        Ok(Changed::Same) => Err(unavailable("it is there already")),
        Err(_) => Err(unavailable("the calendar does not take it")),
    }
}
