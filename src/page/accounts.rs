//! The accounts: how each stands with Microsoft, what it may do, and signing in.

use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use super::flows::{Outcome, follow};
use super::frame::{Frame, Notice, arrival, encoded, html, not_found, odd, refused, see, stranger};
use super::guard::Visit;
use super::routes::port;
use super::site::Site;
use super::words::{self, Clockface, Moment};
use crate::access::Way;
use crate::account::{Account, Address, Profile, Standing};
use crate::control::{Reply, Request};
use crate::entra::hint;
use crate::secret::Secret;
use crate::store::spool::{EntryId, State as EntryState};

/// Waiting mails that are named before an account is removed.
const NAMED_MAX: u32 = 20;

/// An account as it is listed.
pub(super) struct Card {
    pub address: String,
    pub path: String,
    pub standing: &'static str,
    pub colour: &'static str,
    pub is_new: bool,
    /// What its user has to do.
    pub why: Option<String>,
    pub profile: &'static str,
    pub aliases: Vec<String>,
    pub renewed: Option<Moment>,
    pub rights: Vec<Right>,
    /// How many of them are missing.
    pub missing: usize,
    pub has_signed_in: bool,
}

/// A permission that was asked for.
pub(super) struct Right {
    pub scope: &'static str,
    pub granted: bool,
    pub words: &'static str,
}

impl Card {
    pub(super) fn new(
        account: &Account,
        renewed: &[(Address, Timestamp)],
        face: &Clockface,
    ) -> Card {
        let (colour, standing) = words::standing(&account.standing);
        let renewed = renewed.iter().find(|(address, _)| *address == account.address);
        let missing: Vec<&str> = account.missing().collect();
        let asked = account.profile.scopes().iter().copied().filter(|scope| scope.contains('.'));
        let right = |scope| {
            let granted = !missing.contains(&scope);
            let words = if granted { words::granted(scope) } else { hint::without(scope) };
            Right { scope, granted, words }
        };
        Card {
            address: account.address.to_string(),
            path: path(&account.address),
            standing,
            colour,
            is_new: account.standing == Standing::New,
            why: match &account.standing {
                Standing::NeedsSignIn(why) => Some(words::one_line(why, 1_000)),
                Standing::New | Standing::Ready => None,
            },
            profile: account.profile.name(),
            aliases: account.senders().skip(1).map(ToString::to_string).collect(),
            renewed: renewed.map(|(_, at)| face.at(*at)),
            rights: asked.map(right).collect(),
            missing: missing.len(),
            has_signed_in: account.person.is_some(),
        }
    }

    pub(super) fn needs_somebody(&self) -> bool {
        self.colour != "good"
    }
}

fn path(address: &Address) -> String {
    format!("/accounts/{}", encoded(address.as_str()))
}

/// All accounts; those that need somebody first.
pub(super) async fn cards(site: &Site) -> Option<Vec<Card>> {
    let Reply::Accounts { accounts, renewed } = site.ask(Request::Accounts {}).await else {
        return None;
    };
    let face = site.clockface();
    let mut cards: Vec<Card> =
        accounts.iter().map(|account| Card::new(account, &renewed, &face)).collect();
    cards.sort_by_key(|card| !card.needs_somebody());
    Some(cards)
}

#[derive(Template)]
#[template(path = "accounts.html", config = "src/page/askama.toml")]
struct List {
    frame: Frame,
    cards: Vec<Card>,
}

pub(super) async fn list(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
) -> Response {
    let Some(cards) = cards(&site).await else { return odd() };
    html(StatusCode::OK, &List { frame: Frame::new(&visit, "accounts", "Accounts"), cards })
}

#[derive(Template)]
#[template(path = "account.html", config = "src/page/askama.toml")]
struct One {
    frame: Frame,
    card: Card,
    waiting: u64,
    profiles: Vec<(&'static str, &'static str)>,
}

/// Each profile and what it is for.
fn profiles() -> Vec<(&'static str, &'static str)> {
    vec![
        (Profile::Full.name(), "mail and calendar"),
        (Profile::Mail.name(), "mail, by way of drafts"),
        (Profile::SendOnly.name(), "mail, with the one right that users can often grant alone"),
    ]
}

async fn card(site: &Site, address: &Address) -> Option<Card> {
    let Reply::Accounts { accounts, renewed } = site.ask(Request::Accounts {}).await else {
        return None;
    };
    let account = accounts.iter().find(|account| account.address.same_mailbox(address))?;
    Some(Card::new(account, &renewed, &site.clockface()))
}

/// How many of an account are on their way; `None`: the answer was to something else.
async fn on_their_way(site: &Site, address: &Address) -> Option<u64> {
    match site.ask(Request::Entries { state: None, most: 0 }).await {
        Reply::Entries { waiting, .. } => {
            let lane = waiting.iter().find(|one| one.address.same_mailbox(address));
            Some(lane.map_or(0, |one| one.mails))
        }
        _ => None,
    }
}

fn unknown(visit: &Visit, address: &Address) -> Response {
    not_found(visit, "accounts", &format!("There is no account {address}."))
}

pub(super) async fn one(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(address): Path<Address>,
) -> Response {
    let Some(card) = card(&site, &address).await else { return unknown(&visit, &address) };
    let Some(waiting) = on_their_way(&site, &address).await else { return odd() };
    let page = One {
        frame: Frame::new(&visit, "accounts", card.address.clone()),
        card,
        waiting,
        profiles: profiles(),
    };
    html(StatusCode::OK, &page)
}

#[derive(Deserialize)]
pub(super) struct New {
    address: String,
    profile: Profile,
}

#[derive(Template)]
#[template(path = "password.html", config = "src/page/askama.toml")]
struct Shown {
    frame: Frame,
    address: String,
    path: String,
    password: Secret,
    /// It has just been added, and is to sign in next.
    is_new: bool,
}

fn show(visit: &Visit, reply: Reply, is_new: bool, back: &str) -> Response {
    match reply {
        Reply::Password { address, password } => {
            let title = if is_new { "Account added" } else { "New local password" };
            let page = Shown {
                frame: Frame::new(visit, "accounts", title),
                path: path(&address),
                address: address.to_string(),
                password,
                is_new,
            };
            html(StatusCode::OK, &page)
        }
        Reply::Refused { why } => refused(visit, "accounts", &why, back),
        _ => odd(),
    }
}

pub(super) async fn add(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Form(new): Form<New>,
) -> Response {
    let address = match Address::parse(new.address.trim()) {
        Ok(address) => address,
        Err(why) => {
            let why = format!("That is no address: {why}.");
            return refused(&visit, "accounts", &why, "/accounts");
        }
    };
    let reply = site.ask(Request::AddAccount { address, profile: new.profile }).await;
    show(&visit, reply, true, "/accounts")
}

pub(super) async fn password(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(address): Path<Address>,
) -> Response {
    let back = path(&address);
    let reply = site.ask(Request::NewPassword { address }).await;
    show(&visit, reply, false, &back)
}

#[derive(Deserialize)]
pub(super) struct By {
    way: How,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum How {
    Browser,
    Code,
}

pub(super) async fn sign_in(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(address): Path<Address>,
    Form(by): Form<By>,
) -> Response {
    let back = path(&address);
    let way = match by.way {
        How::Browser => Way::Browser { port: port(&visit) },
        How::Code => Way::DeviceCode,
    };
    let request = Request::BeginSignIn { address: address.clone(), profile: by.profile, way };
    match site.ask(request).await {
        Reply::Browser { flow, url } => {
            if !site.flows.goes(flow, &url, address.clone(), visit.host.clone()) {
                return refused(&visit, "accounts", "Too many sign-ins are under way.", &back);
            }
            // Not a redirect: form-action would hold it back.
            let frame = Frame::new(&visit, "accounts", "To Microsoft");
            let text = format!(
                "Sign in there as {address}. The browser comes back here when that is done; you have \
                 ten minutes."
            );
            let link = Some((url.clone(), "Go on to Microsoft".to_owned()));
            let frame = frame.refreshing(format!("0; url={url}"));
            Notice { link, ..Notice::new(frame, text) }.answer(StatusCode::OK)
        }
        begun @ Reply::DeviceCode { .. } => match follow(&site, address, begun) {
            Some(flow) => see(&format!("{back}/code/{flow}")),
            None => refused(&visit, "accounts", "Too many sign-ins are under way.", &back),
        },
        Reply::Refused { why } => refused(&visit, "accounts", &why, &back),
        _ => odd(),
    }
}

#[derive(Template)]
#[template(path = "code.html", config = "src/page/askama.toml")]
struct CodePage {
    frame: Frame,
    address: String,
    path: String,
    user_code: String,
    verification_url: String,
    minutes: u64,
    outcome: Option<Outcome>,
}

pub(super) async fn code(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path((address, flow)): Path<(Address, Uuid)>,
) -> Response {
    let code = site.flows.code(flow).filter(|code| code.address.same_mailbox(&address));
    let Some(code) = code else {
        return not_found(&visit, "accounts", "This sign-in is not known any more. Start again.");
    };
    let mut frame = Frame::new(&visit, "accounts", "Sign in with a code");
    if code.outcome.is_none() {
        frame = frame.refreshing("5".to_owned());
    }
    let page = CodePage {
        frame,
        path: path(&code.address),
        address: code.address.to_string(),
        user_code: code.user_code,
        verification_url: code.verification_url,
        minutes: code.lifetime_s / 60,
        outcome: code.outcome,
    };
    html(StatusCode::OK, &page)
}

/// The browser comes back from Microsoft.
pub(super) async fn return_from_microsoft(site: &Site, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let Some(returning) = site.flows.returns(&query) else {
        let text = "This sign-in was not begun here, was answered before, or took more than ten \
                    minutes. Nothing was changed; start again.";
        return stranger(StatusCode::FORBIDDEN, "Not signed in", text);
    };
    let redirected = Secret::new(format!("/?{query}"));
    let reply = site.ask(Request::FinishSignIn { flow: returning.flow, redirected }).await;
    let url = format!("http://{}{}", returning.host, path(&returning.address));
    let link = (url, format!("Back to {}", returning.address));
    match Outcome::of(reply) {
        Outcome::SignedIn { limits } => {
            let text =
                format!("{} is ready. Mail that waited for this goes now.", returning.address);
            arrival("Signed in", text, limits, link, false).answer(StatusCode::OK)
        }
        Outcome::Refused { why } => {
            arrival("Not signed in", why, Vec::new(), link, false).answer(StatusCode::CONFLICT)
        }
    }
}

#[derive(Template)]
#[template(path = "remove.html", config = "src/page/askama.toml")]
struct Removal {
    frame: Frame,
    address: String,
    path: String,
    waiting: Vec<(EntryId, String)>,
    /// Beyond those that are named.
    more: u64,
}

pub(super) async fn ask_removal(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(address): Path<Address>,
) -> Response {
    let Some(card) = card(&site, &address).await else { return unknown(&visit, &address) };
    let Some(in_all) = on_their_way(&site, &address).await else { return odd() };
    let mut waiting = Vec::new();
    for state in [EntryState::Queued, EntryState::Attempting, EntryState::Sending] {
        let (before, address) = (None, Some(address.clone()));
        let asked = Request::Mails { before, state: Some(state), address, most: NAMED_MAX };
        if let Reply::Mails { entries } = site.ask(asked).await {
            waiting.extend(entries.iter().map(|entry| {
                let to: Vec<String> =
                    entry.envelope.recipients().take(3).map(ToString::to_string).collect();
                (entry.id, to.join(", "))
            }));
        }
    }
    waiting.truncate(NAMED_MAX as usize);
    let page = Removal {
        frame: Frame::new(&visit, "accounts", "Remove this account?"),
        address: card.address,
        path: card.path,
        more: in_all.saturating_sub(waiting.len() as u64),
        waiting,
    };
    html(StatusCode::OK, &page)
}

pub(super) async fn remove(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(address): Path<Address>,
) -> Response {
    let back = path(&address);
    // The page before this one named the mails.
    match site.ask(Request::RemoveAccount { address, even_with_mail: true }).await {
        Reply::Removed { .. } => see("/accounts"),
        Reply::Refused { why } => refused(&visit, "accounts", &why, &back),
        _ => odd(),
    }
}
