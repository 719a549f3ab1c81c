//! The way in for the operator's commands: a Unix socket, or the state itself.
//!
//! A command is a [`Request`], answered by one [`Reply`]: each is one line of JSON on a socket of
//! mode 0600 in the state directory. While no daemon holds that directory the command opens it by
//! itself and calls the same [`handle`]; see `cli::line`. Nothing here may log a request or a reply:
//! both can hold secrets, and this is the one place where a [`Secret`] is put into words.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::access::{Access, Begun, Polled, SignInError, Way};
use crate::account::{Account, Address, Profile, Standing};
use crate::entra::hint;
use crate::execute::Executor;
use crate::finding::{Finding, Inquiry};
use crate::graph::pace::{Limits, Pace};
use crate::invite::Invite;
use crate::link::Links;
use crate::mime;
use crate::probe::{self, Checked, Trial};
use crate::pulse::{self, Pulse};
use crate::secret::Secret;
use crate::store::accounts::AddError;
use crate::store::history::Line;
use crate::store::hours::Hour;
use crate::store::invites::{Decided, Remembered};
use crate::store::order::{Order, Refused};
use crate::store::spool::{Entry, EntryId, OnTheirWay, State};
use crate::store::{Store, StoreError};

/// Name of the socket in the state directory.
pub const SOCKET: &str = "control.sock";

const REQUEST_OCTETS_MAX: u64 = 64 * 1024;
const REPLY_OCTETS_MAX: u64 = 8 << 20;
/// For a line to arrive or to leave.
const LINE_TIME: Duration = Duration::from_secs(10);
/// For a request to be carried out: a poll of a device code waits up to a minute.
const HANDLE_TIME: Duration = Duration::from_secs(150);
const CONNECTIONS_MAX: usize = 16;
/// Entries in one reply, so that it stays within its octets.
const ENTRIES_MAX: u32 = 1000;
/// As much of a mail as is looked into for its subject.
const HEAD_OCTETS_MAX: u64 = 64 * 1024;

/// What an operator can ask for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    Accounts {},
    AddAccount {
        address: Address,
        profile: Profile,
    },
    /// Makes a new local password.
    NewPassword {
        address: Address,
    },
    RemoveAccount {
        address: Address,
        /// Although mails of it still wait, which will then never be sent.
        even_with_mail: bool,
    },
    /// `profile`: what to ask Microsoft for, if not what the account asked for before.
    BeginSignIn {
        address: Address,
        profile: Option<Profile>,
        way: Way,
    },
    /// `redirected`: the address that the browser was sent to; it holds the code.
    FinishSignIn {
        flow: Uuid,
        #[serde(with = "in_words")]
        redirected: Secret,
    },
    /// Waits for the next moment at which Entra may be asked, and asks once.
    PollSignIn {
        flow: Uuid,
    },
    /// The newest mails, of one state if asked for.
    Entries {
        state: Option<State>,
        most: u32,
    },
    /// The newest mails that were accepted before one; of one state or account if asked for.
    Mails {
        before: Option<EntryId>,
        state: Option<State>,
        address: Option<Address>,
        most: u32,
    },
    Entry {
        id: EntryId,
    },
    /// What became of mails in the last so many hours.
    Hours {
        most: u32,
    },
    /// What became of one mail, oldest first; of all, the last lines, newest first.
    History {
        id: Option<EntryId>,
        most: u32,
    },
    /// What an operator wants done with one mail; answered by the entry as it is then.
    Order {
        id: EntryId,
        order: Order,
    },
    /// A link by which the page is opened, once.
    PageLink {},
    /// Whether writer and worker go on.
    Health {},
    /// Takes up the configuration anew.
    Reload {},
    /// Asks the mailbox what the documentation leaves open; the answers are kept.
    Inquire {
        address: Address,
        inquiry: Inquiry,
    },
    /// What it answered before.
    Findings {
        address: Address,
    },
    /// Makes all that waits due now.
    Flush {},
    /// The invites of one account, or of all; newest first.
    Invites {
        address: Option<Address>,
        most: u32,
    },
    Invite {
        address: Option<Address>,
        uid: String,
    },
    /// The event stays as it is; what comes for its UID later is as if it were new.
    ForgetInvite {
        address: Option<Address>,
        uid: String,
    },
    /// Whether Microsoft lets the account do what it is for.
    CheckAccount {
        address: Address,
    },
    /// Makes something in the account's mailbox; answered by its entry.
    Try {
        address: Address,
        trial: Trial,
    },
}

/// The answer to a [`Request`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    Accounts {
        accounts: Vec<Account>,
        /// When Microsoft last gave a token, where that was since the daemon started.
        #[serde(default)]
        renewed: Vec<(Address, Timestamp)>,
    },
    /// The only time that this password is shown.
    Password {
        address: Address,
        #[serde(with = "in_words")]
        password: Secret,
    },
    Removed {
        address: Address,
    },
    /// Open `url` in a browser, and finish with what it is redirected to.
    Browser {
        flow: Uuid,
        url: String,
    },
    /// Show this, and poll.
    DeviceCode {
        flow: Uuid,
        user_code: String,
        verification_url: String,
        lifetime_s: u64,
    },
    Waiting {},
    /// `limits`: what will not work, one sentence for each permission that was not granted.
    SignedIn {
        account: Account,
        limits: Vec<String>,
    },
    Entries {
        entries: Vec<Entry>,
        /// How many there are in each state, in all.
        counts: Vec<(State, u64)>,
        /// The accounts that have mails on their way. None while no daemon runs.
        waiting: Vec<Waiting>,
    },
    Entry {
        entry: Box<Entry>,
        /// Whose it is; `None` when the account was removed.
        account: Option<Box<Account>>,
        /// When it will be done, if it waits, and one can tell.
        expected: Option<Timestamp>,
        /// As far as octets of it are kept.
        #[serde(default)]
        subject: Option<String>,
    },
    Mails {
        entries: Vec<Entry>,
    },
    /// Oldest first.
    Hours {
        hours: Vec<Hour>,
    },
    PageLink {
        #[serde(with = "in_words")]
        url: Secret,
    },
    /// Refused, in words, if they do not.
    Healthy {},
    /// But for these keys, which need a restart.
    Reloaded {
        but_for: Vec<String>,
    },
    Findings {
        findings: Vec<(Finding, Timestamp)>,
    },
    Flushed {
        entries: u64,
    },
    History {
        lines: Vec<Line>,
    },
    Invites {
        invites: Vec<(Address, Remembered)>,
    },
    Invite {
        address: Address,
        invite: Box<Invite>,
        /// The calendar object last accepted.
        octets: Vec<u8>,
        history: Vec<Decided>,
        /// The same as the calendar has it now, with the answers that came.
        #[serde(default)]
        object: Option<Vec<u8>>,
    },
    ForgottenInvites {
        invites: u64,
    },
    Checked {
        checked: Box<Checked>,
    },
    /// Nothing was changed; the text says why and what to do.
    Refused {
        why: String,
    },
}

/// An account that has mails on their way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    pub address: Address,
    pub mails: u64,
    /// When the first of them was accepted.
    #[serde(default)]
    pub oldest_at: Option<Timestamp>,
    /// Until then Microsoft wants the mailbox left alone.
    pub throttled_until: Option<Timestamp>,
    /// When the last of them will be done, if nothing goes wrong; `None` where one cannot tell.
    pub expected: Option<Timestamp>,
}

/// Asks for the configuration to be taken up anew; told which keys need a restart, or why nothing changed.
pub type Reload = oneshot::Sender<Result<Vec<&'static str>, String>>;

/// What it takes to carry out a request.
#[derive(Clone)]
pub struct Control {
    pub store: Store,
    pub access: Access,
    /// The worker's; `None` while no daemon runs.
    pub pace: Option<Pace>,
    /// The same.
    pub pulse: Option<Pulse>,
    /// To the one that knows where the configuration is; `None` where nobody does.
    pub reloads: Option<mpsc::Sender<Reload>>,
    /// The page's; `None` where it is off.
    pub links: Option<Links>,
}

impl Control {
    /// While no daemon runs.
    pub fn new(store: Store, access: Access) -> Control {
        Control { store, access, pace: None, pulse: None, reloads: None, links: None }
    }

    /// When so many mails of an account will be done.
    fn expected(&self, account: &Account, on_their_way: &OnTheirWay) -> Option<Timestamp> {
        if account.standing != Standing::Ready {
            return None;
        }
        let outlook = self.pace.as_ref()?.forecast(account)?;
        let wait = outlook.until_done(on_their_way.mails, on_their_way.octets);
        let last = on_their_way.last_due_at.saturating_add(outlook.attempt).ok()?;
        Some(self.store.clock().now().saturating_add(wait).ok()?.max(last))
    }

    async fn waiting(&self) -> Result<Vec<Waiting>, StoreError> {
        let Some(pace) = &self.pace else { return Ok(Vec::new()) };
        let now = self.store.clock().now();
        let mut waiting = Vec::new();
        for one in self.store.on_their_way().await? {
            let Some(account) = self.store.account(one.account).await? else { continue };
            let throttled = pace.throttled_for(&account);
            waiting.push(Waiting {
                address: account.address.clone(),
                mails: one.mails,
                oldest_at: Some(one.oldest_at),
                throttled_until: throttled.and_then(|wait| now.saturating_add(wait).ok()),
                expected: self.expected(&account, &one),
            });
        }
        Ok(waiting)
    }

    async fn inquire(&self, account: &Arc<Account>, inquiry: Inquiry) -> Result<(), Refusal> {
        let needed = match inquiry {
            Inquiry::Mail | Inquiry::Size => "Mail.ReadWrite",
            Inquiry::Event => "Calendars.ReadWrite",
        };
        if !account.has(needed) {
            return Err(Refusal(format!("{} has not granted {needed}.", account.address)));
        }
        let clock = self.store.clock().clone();
        let own = || Pace::new(clock, Limits::default(), HashMap::new());
        let pace = self.pace.clone().unwrap_or_else(own);
        let Some(slot) = pace.slots(account, 1).pop() else {
            return Err(Refusal("The mailbox is busy or throttled; try again later.".to_owned()));
        };
        let executor = Executor::new(self.store.clone(), self.access.clone());
        match executor.inquire(account, &slot, inquiry).await {
            Ok(findings) => Ok(self.store.keep_findings(account.id, findings).await?),
            Err(ended) => Err(Refusal(ended.in_words())),
        }
    }

    async fn shown(&self, entry: Entry) -> Result<Reply, Refusal> {
        let account = self.store.account(entry.account).await?;
        let expected = match &account {
            Some(account) if entry.state == State::Queued => {
                let up_to = self.store.up_to(&entry).await?;
                up_to.and_then(|up_to| self.expected(account, &up_to))
            }
            _ => None,
        };
        let account = account.map(|account| Box::new((*account).clone()));
        let octets = self.store.body_start(entry.id, HEAD_OCTETS_MAX).await?;
        let subject = octets.and_then(|octets| mime::subject(mime::head(&octets)));
        Ok(Reply::Entry { entry: Box::new(entry), account, expected, subject })
    }
}

/// Carries out one request. The only implementation, for daemon and command alike.
pub async fn handle(request: Request, control: &Control) -> Reply {
    match carry_out(request, control).await {
        Ok(reply) => reply,
        Err(refusal) => Reply::Refused { why: refusal.0 },
    }
}

/// A sentence for the operator.
struct Refusal(String);

async fn carry_out(request: Request, control: &Control) -> Result<Reply, Refusal> {
    let Control { store, access, .. } = control;
    Ok(match request {
        Request::Accounts {} => {
            let accounts = store.accounts().await?;
            let renewed = accounts.iter().filter_map(|account| {
                Some((account.address.clone(), access.renewed_at(account.id)?))
            });
            Reply::Accounts {
                renewed: renewed.collect(),
                accounts: accounts.iter().map(|a| (**a).clone()).collect(),
            }
        }
        Request::AddAccount { address, profile } => {
            let added = store.add_account(address.clone(), profile).await;
            let (account, password) = added.map_err(|error| match error {
                AddError::Exists => Refusal(format!(
                    "There is an account for {address} already. To sign in again: postbridge \
                     account signin {address}"
                )),
                AddError::Store(error) => error.into(),
            })?;
            Reply::Password { address: account.address.clone(), password }
        }
        Request::NewPassword { address } => {
            let id = find(store, &address).await?.id;
            let password = store.set_password(id).await?.ok_or_else(|| unknown(&address))?;
            Reply::Password { address, password }
        }
        Request::RemoveAccount { address, even_with_mail } => {
            let id = find(store, &address).await?.id;
            let waiting = store.waiting_mails(id).await?;
            if waiting > 0 && !even_with_mail {
                return Err(Refusal(format!(
                    "{waiting} mails of {address} still wait to be sent. With --force the account \
                     is removed all the same; they are then held and not sent."
                )));
            }
            store.remove_account(id).await?;
            access.forget(id);
            Reply::Removed { address }
        }
        Request::BeginSignIn { address, profile, way } => {
            let account = find(store, &address).await?;
            let profile = profile.unwrap_or(account.profile);
            match access.begin_sign_in(account.id, profile, way).await? {
                Begun::Browser { flow, url } => Reply::Browser { flow, url },
                Begun::DeviceCode { flow, user_code, verification_url, lifetime } => {
                    let lifetime_s = lifetime.as_secs();
                    Reply::DeviceCode { flow, user_code, verification_url, lifetime_s }
                }
            }
        }
        Request::FinishSignIn { flow, redirected } => {
            signed_in(&*access.finish_sign_in(flow, redirected.expose()).await?)
        }
        Request::Entries { state, most } => {
            let entries = store.entries(state, most.min(ENTRIES_MAX)).await?;
            let (counts, waiting) = (store.counts().await?, control.waiting().await?);
            Reply::Entries { entries, counts, waiting }
        }
        Request::Mails { before, state, address, most } => {
            let account = match &address {
                Some(address) => Some(find(store, address).await?.id),
                None => None,
            };
            let most = most.min(ENTRIES_MAX);
            Reply::Mails { entries: store.entries_before(before, state, account, most).await? }
        }
        Request::Hours { most } => Reply::Hours { hours: store.hours(most).await? },
        Request::PageLink {} => match &control.links {
            Some(links) => {
                Reply::PageLink { url: links.issue().map_err(|error| Refusal(error.to_string()))? }
            }
            None => {
                return Err(Refusal(
                    "There is no page: no daemon runs, or page.listen is empty.".to_owned(),
                ));
            }
        },
        Request::Entry { id } => match store.entry(id).await? {
            Some(entry) => control.shown(entry).await?,
            None => return Err(no_such_mail(id)),
        },
        Request::History { id: Some(id), .. } => match store.entry(id).await? {
            Some(_) => Reply::History { lines: store.history(id).await? },
            None => return Err(no_such_mail(id)),
        },
        Request::History { id: None, most } => {
            Reply::History { lines: store.last_lines(most.min(ENTRIES_MAX)).await? }
        }
        Request::Order { id, order } => match store.order(id, order).await? {
            Ok(entry) => control.shown(entry).await?,
            Err(refused) => return Err(not_ordered(id, order, refused)),
        },
        Request::Health {} => match &control.pulse {
            Some(pulse) => match pulse.beat(pulse::PATIENCE).await {
                Ok(()) => Reply::Healthy {},
                Err(unwell) => return Err(Refusal(unwell.to_string())),
            },
            None => return Err(no_daemon()),
        },
        Request::Reload {} => {
            let (reload, done) = oneshot::channel();
            let asked = match &control.reloads {
                Some(reloads) => reloads.send(reload).await.is_ok(),
                None => false,
            };
            match done.await {
                Ok(Ok(keys)) if asked => {
                    Reply::Reloaded { but_for: keys.into_iter().map(str::to_owned).collect() }
                }
                Ok(Err(why)) => return Err(Refusal(why)),
                _ => return Err(no_daemon()),
            }
        }
        Request::Inquire { address, inquiry } => {
            let account = find(store, &address).await?;
            control.inquire(&account, inquiry).await?;
            Reply::Findings { findings: store.findings(account.id).await? }
        }
        Request::Findings { address } => {
            let account = find(store, &address).await?;
            Reply::Findings { findings: store.findings(account.id).await? }
        }
        Request::Flush {} => Reply::Flushed { entries: store.flush().await? },
        Request::Invites { address, most } => {
            let mut invites = Vec::new();
            for account in of(store, address.as_ref()).await? {
                for one in store.invites(account.id, most.min(ENTRIES_MAX)).await? {
                    invites.push((account.address.clone(), one));
                }
            }
            Reply::Invites { invites }
        }
        Request::Invite { address, uid } => {
            for account in of(store, address.as_ref()).await? {
                let invite = store.invite(account.id, &uid).await?;
                let history = store.invite_history(account.id, &uid).await?;
                if let (Some(invite), Some((octets, history))) = (invite, history) {
                    let (address, invite) = (account.address.clone(), Box::new(invite));
                    let object = store.object_of_uid(account.id, &uid).await?;
                    let object = object.map(|(_, object)| object.octets);
                    return Ok(Reply::Invite { address, invite, octets, history, object });
                }
            }
            return Err(Refusal(format!("No invite with the UID {uid} is known.")));
        }
        Request::ForgetInvite { address, uid } => {
            let mut invites = 0;
            for account in of(store, address.as_ref()).await? {
                invites += u64::from(store.forget_invite(account.id, &uid).await?);
            }
            Reply::ForgottenInvites { invites }
        }
        Request::CheckAccount { address } => {
            let account = find(store, &address).await?;
            let checked = probe::check(&account, access).await;
            // Entra may have ended the sign-in just now.
            let account = find(store, &address).await?;
            let checked = Checked { account: (*account).clone(), ..checked };
            Reply::Checked { checked: Box::new(checked) }
        }
        Request::Try { address, trial } => {
            let account = find(store, &address).await?;
            let made = probe::make(store, &account, trial).await;
            let id = made.map_err(|error| Refusal(error.to_string()))?;
            match store.entry(id).await? {
                Some(entry) => control.shown(entry).await?,
                None => return Err(no_such_mail(id)),
            }
        }
        Request::PollSignIn { flow } => match access.poll_sign_in(flow).await? {
            Polled::Waiting => Reply::Waiting {},
            Polled::SignedIn(account) => signed_in(&account),
        },
    })
}

async fn find(store: &Store, address: &Address) -> Result<Arc<Account>, Refusal> {
    store.account_by_login(address.as_str()).await?.ok_or_else(|| unknown(address))
}

fn no_daemon() -> Refusal {
    Refusal("No daemon runs.".to_owned())
}

fn no_such_mail(id: EntryId) -> Refusal {
    Refusal(format!("There is no mail {id}; ended ones are kept a week."))
}

/// Why an order was not carried out, and what would be.
fn not_ordered(id: EntryId, order: Order, refused: Refused) -> Refusal {
    let state = match refused {
        Refused::NoSuchMail => return no_such_mail(id),
        Refused::OctetsGone => {
            return Refusal(format!(
                "Nothing is kept of {id} that could be sent again: hand the mail in again."
            ));
        }
        Refused::HandedInAgain(again) => {
            return Refusal(format!(
                "The same mail was handed in again since, as {again}: postbridge queue show {again}"
            ));
        }
        Refused::State(state) => state,
    };
    Refusal(match (state, order) {
        (State::Attempting | State::Sending, _) => {
            format!("{id} is being sent at this moment; ask again when that is over.")
        }
        (State::Held, Order::Retry) => format!(
            "{id} is held: nobody knows whether it went. Look in Sent Items, then say so: \
             postbridge queue resolve {id} --sent, or --send-again."
        ),
        (State::Sent, _) => format!("{id} was sent; that cannot be taken back."),
        (State::Failed, _) => format!("{id} has failed: nothing of it waits any more."),
        (State::Queued, _) => {
            format!("{id} is not held but waits to be sent: postbridge queue retry {id}, or drop.")
        }
        (State::Held, _) => format!("{id} is held."),
    })
}

/// One account, or all.
async fn of(store: &Store, address: Option<&Address>) -> Result<Vec<Arc<Account>>, Refusal> {
    match address {
        Some(address) => Ok(vec![find(store, address).await?]),
        None => Ok(store.accounts().await?),
    }
}

fn unknown(address: &Address) -> Refusal {
    Refusal(format!(
        "There is no account {address}; postbridge account list shows those there are."
    ))
}

fn signed_in(account: &Account) -> Reply {
    let limit = |scope| format!("{scope} was not granted: {}.", hint::without(scope));
    Reply::SignedIn { limits: account.missing().map(limit).collect(), account: account.clone() }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        Refusal(error.to_string())
    }
}

impl From<SignInError> for Refusal {
    fn from(error: SignInError) -> Refusal {
        Refusal(error.to_string())
    }
}

/// The daemon's end of the socket. Dropping it removes the socket.
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Must be called by the one that holds the state directory's lock.
    pub fn bind(state_dir: &Path) -> io::Result<Listener> {
        let path = state_dir.join(SOCKET);
        let unfinished = state_dir.join(format!("{SOCKET}.new"));
        match std::fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Made under another name, so that it is never there with another mode, and takes the
        // place of one that a killed daemon left behind. (The directory is 0700 in any case.)
        let listener = UnixListener::bind(&unfinished)?;
        std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&unfinished, &path)?;
        Ok(Listener { listener, path })
    }

    /// Answers until it is dropped. What was begun for a sign-in goes on in its own task.
    pub async fn serve(self, control: Control) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let control = control.clone();
                    connections.spawn(async move {
                        if let Err(error) = answer(stream, &control).await {
                            tracing::debug!(%error, "a control connection broke off");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: it passes.
                    tracing::warn!(%error, "the control socket cannot accept");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn answer(stream: UnixStream, control: &Control) -> io::Result<()> {
    // The mode of the socket says the same; this holds even where somebody loosened it.
    let peer = stream.peer_cred()?.uid();
    if peer != 0 && peer != rustix::process::geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut stream = BufReader::new(stream);
    let line = timeout(LINE_TIME, read_line(&mut stream, REQUEST_OCTETS_MAX)).await??;
    let reply = match serde_json::from_slice(&line) {
        Ok(request) => timeout(HANDLE_TIME, handle(request, control)).await.unwrap_or_else(|_| {
            Reply::Refused { why: "It took too long and was given up.".to_owned() }
        }),
        // The text of this error could quote the request.
        Err(_) => Reply::Refused {
            why: "The daemon does not know this request: is it of the same version?".to_owned(),
        },
    };
    timeout(LINE_TIME, write_line(&mut stream, &reply)).await?
}

async fn read_line(stream: &mut BufReader<UnixStream>, max: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::new());
    stream.take(max).read_until(b'\n', &mut line).await?;
    if line.last() == Some(&b'\n') { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

async fn write_line<T: Serialize>(stream: &mut BufReader<UnixStream>, it: &T) -> io::Result<()> {
    let mut line = Zeroizing::new(serde_json::to_vec(it)?);
    line.push(b'\n');
    stream.get_mut().write_all(&line).await
}

/// The other end: one request to the daemon that listens on the socket `path`.
pub async fn call(path: &Path, request: &Request) -> io::Result<Reply> {
    let mut stream = BufReader::new(UnixStream::connect(path).await?);
    timeout(LINE_TIME, write_line(&mut stream, request)).await??;
    let wait = HANDLE_TIME + LINE_TIME;
    let line = timeout(wait, read_line(&mut stream, REPLY_OCTETS_MAX)).await??;
    serde_json::from_slice(&line).map_err(|_| {
        io::Error::other("the daemon's reply is not known: is it of the same version?")
    })
}

/// A secret as plain text, for this socket only.
mod in_words {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::secret::Secret;

    pub fn serialize<S: Serializer>(secret: &Secret, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(secret.expose())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Secret, D::Error> {
        String::deserialize(input).map(Secret::new)
    }
}
