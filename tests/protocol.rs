//! The protocol by which a mail goes through a draft, explored whole: every order of calls, answers that
//! are lost, effects that are late, crashes, deletions and an operator's orders, up to a bound.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod model;

use std::collections::HashSet;
use std::io::Write;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use model::search::{Explored, explore};
use model::{BOUNDS, BROKEN, LATEST, Progress, Row, SETTINGS, Second, Setting, now, patience};
use postbridge::account::{self, Account, AccountId, Address, Profile};
use postbridge::doubt::Doubt;
use postbridge::store::order::Order;
use postbridge::store::spool::{EntryId, Most, Outcome, State};
use postbridge::store::{Room, Store, progress};
use postbridge::submission::{Envelope, MailParameters};
use uuid::Uuid;

/// Past libtest's capture, so that a run leaves its numbers in the log.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[test]
fn explored_whole_it_goes_once_and_what_is_said_of_it_is_true() {
    for setting in SETTINGS {
        let begun = Instant::now();
        let explored = explore(&setting, BOUNDS);
        let explored = explored.unwrap_or_else(|trace| panic!("where {}: {trace}", setting.name));
        let Explored { states, transitions, depth, .. } = explored;
        say(&format!(
            "{}: {states} states, {transitions} transitions, depth {depth}, {:.1?}",
            setting.name,
            begun.elapsed()
        ));
    }
}

/// What a start and the orders make of each row that was met, and the steps that lead to it, are done to
/// real ones.
#[tokio::test]
async fn the_disk_does_as_the_model_says() {
    let met = explore(&SETTINGS[2], [2, 1, 1]).unwrap().rows;
    // What a doubt says in detail is all one to the disk.
    let rough = |row: &Row| {
        let doubt = row.progress.doubt.map(|_| (&Doubt::new(now(), patience())).into());
        let draft = row.progress.draft.map(|_| 0);
        Row { progress: Progress { draft, doubt, ..row.progress }, ..*row }
    };
    let rows: HashSet<Row> = met.iter().map(rough).collect();
    let orders = [Order::Retry, Order::Drop, Order::Sent, Order::SendAgain];
    let directory = common::private_directory();
    let room = Room { keep_free_octets: 0, ..Room::default() };
    let store = Store::open(directory.path(), room).await.unwrap();
    let mut started = Vec::new();
    for row in &rows {
        for order in orders {
            let id = on_disk(&store, row).await;
            let done = store.order(id, order).await.unwrap();
            assert_eq!(done.is_ok(), row.order(order).is_some(), "{order:?} of {row:?}");
            is_on_disk(&store, id, &row.order(order).unwrap_or(*row)).await;
        }
        started.push((on_disk(&store, row).await, row));
    }
    drop(store);
    let store = Store::open(directory.path(), room).await.unwrap();
    for (id, row) in &started {
        is_on_disk(&store, *id, &row.start()).await;
    }
    assert!(rows.len() > 10, "only {} rows", rows.len());
    say(&format!("{} sorts of rows, {} orders and a start each", rows.len(), orders.len()));
}

impl Progress {
    fn real(&self) -> progress::Progress {
        let draft = self.draft.map(|id| progress::Draft {
            id: id.to_string(),
            message_id: None,
            tagged: self.tagged,
            attached: 0,
            is_whole: true,
        });
        progress::Progress { begun: 1, draft, doubt: self.doubt.map(Doubt::from) }
    }
}

/// Brings a new mail there, as the worker would.
async fn on_disk(store: &Store, row: &Row) -> EntryId {
    let address = Address::parse(common::USER).unwrap();
    let account = Account {
        id: AccountId(Uuid::from_u128(1)),
        address: address.clone(),
        aliases: vec![],
        send_as: vec![],
        profile: Profile::Full,
        granted: vec![],
        person: None,
        standing: account::Standing::Ready,
    };
    let to = vec![address.clone().into()];
    let envelope = Envelope::new(Some(address), to, MailParameters::default()).unwrap();
    let mut incoming = store.begin(&account);
    incoming.write(Uuid::new_v4().to_string().as_bytes()).await.unwrap();
    let id = incoming.commit(&envelope, true, None).await.unwrap().id();
    // Those that were brought to the queue before are not due.
    let far = Timestamp::now() + Duration::from_secs(3600);
    let claimed = store.claim(vec![(account.id, Most::ALL)], Timestamp::now(), far).await.unwrap();
    let [entry] = &claimed[..] else { panic!("{claimed:?}") };
    let (progress, note) = (row.progress.real(), String::new());
    match row.state {
        State::Sending => store.begin_sending(id, &progress).await.unwrap(),
        State::Attempting => {
            store.begin_sending(id, &Progress::default().real()).await.unwrap();
            store.not_sent(id, &progress).await.unwrap();
        }
        _ => store.record_progress(id, &progress).await.unwrap(),
    }
    let outcome = match row.state {
        State::Attempting | State::Sending => None,
        State::Queued => Some(Outcome::Later { due_at: far, waited: Duration::ZERO, note }),
        State::Sent if !row.by_order => Some(Outcome::Sent),
        State::Failed if !row.by_order => {
            Some(Outcome::Failed { status: [5, 0, 0], note, answered: None })
        }
        State::Held | State::Sent | State::Failed => Some(Outcome::Held { note }),
    };
    if let Some(outcome) = outcome {
        store.settle(entry, outcome, None, far).await.unwrap();
    }
    if row.by_order {
        let order = if row.state == State::Sent { Order::Sent } else { Order::Drop };
        store.order(id, order).await.unwrap().unwrap();
    }
    is_on_disk(store, id, row).await;
    id
}

async fn is_on_disk(store: &Store, id: EntryId, row: &Row) {
    let entry = store.entry(id).await.unwrap().unwrap();
    assert_eq!((entry.state, entry.progress), (row.state, row.progress.real()), "{row:?}");
    // Set in motion again, it is out of the way of the next.
    if entry.state == State::Queued && entry.due_at <= Timestamp::now() {
        let claimed =
            store.claim(vec![(entry.account, Most::ALL)], Timestamp::now(), entry.due_at).await;
        assert_eq!(claimed.unwrap().len(), 1);
    }
}

/// What nobody can do anything about is seen, too: so the search has eyes.
#[test]
fn beyond_what_is_assumed_it_may_go_twice_and_that_is_found() {
    let sends = SETTINGS[0];
    for setting in [
        Setting { name: "an effect comes at any time", effect_before: None, ..sends },
        Setting { name: "an effect is a little late", effect_before: Some(LATEST + 1), ..sends },
        Setting { name: "an effect is seen a little late", flags_hidden: true, ..sends },
        Setting { name: "the machine sleeps, and dies", late_call_lost: true, ..sends },
    ] {
        assert_eq!(setting.second_send, Second::Sends);
        let trace = explore(&setting, BOUNDS).expect_err("it is no more than what is assumed");
        assert!(trace.starts_with("it went twice"), "{}: {trace}", setting.name);
        say(&format!("{}: {}", setting.name, trace.lines().next().unwrap()));
    }
}

#[test]
fn a_protocol_that_is_broken_is_found_out() {
    for (broken, setting) in BROKEN {
        let setting = Setting { broken: Some(broken), ..SETTINGS[setting] };
        let Err(trace) = explore(&setting, BOUNDS) else { panic!("{broken:?} does no harm") };
        say(&format!("{broken:?}: {}", trace.lines().next().unwrap()));
    }
}
