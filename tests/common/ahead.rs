//! A bridge and a sandbox whose clocks a test moves ahead together: hours pass as fast as the work is done.
//!
//! The store, the executor, the worker and its HTTP are the real ones; there is no SMTP, unless the bridge is
//! started whole. It has a runtime of its own, so that it can be killed in the middle of whatever it does.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use postbridge::access::Access;
use postbridge::account::{Account, AccountId, Address, Profile};
use postbridge::app::{self, Running};
use postbridge::clock::Clock;
use postbridge::config::Config;
use postbridge::control::Control;
use postbridge::doubt::Patience;
use postbridge::entra::{Cloud, Settings};
use postbridge::execute::Executor;
use postbridge::graph::pace::{Limits, Pace};
use postbridge::plan;
use postbridge::pulse::Rounds;
use postbridge::report_command::ReportCommand;
use postbridge::sandbox::journal::Entry as Asked;
use postbridge::sandbox::script::{Rule, Script};
use postbridge::sandbox::{Options, Sandbox};
use postbridge::store::spool::{EntryId, State};
use postbridge::store::{OpenError, Room, Store};
use postbridge::submission::{Envelope, MailParameters};
use postbridge::worker::Worker;
use sqlx::Row;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, add_account_of, configuration, private_directory};

/// A sandbox, and a state directory with accounts that have signed in.
pub struct Place {
    /// Where the sandbox lives, and whoever asks the bridge.
    pub runtime: Runtime,
    pub sandbox: Sandbox,
    pub clock: Clock,
    state: tempfile::TempDir,
    pub accounts: Vec<Arc<Account>>,
    /// The accounts' local ones, in their order.
    pub passwords: Vec<String>,
}

/// What a bridge is started with.
#[derive(Clone)]
pub struct Own {
    pub limits: Limits,
    pub mails_per_minute: HashMap<String, NonZeroU32>,
    pub patience: Patience,
}

impl Default for Own {
    fn default() -> Own {
        let patience = Patience::new(Duration::from_secs(120));
        Own { limits: Limits::default(), mails_per_minute: HashMap::new(), patience }
    }
}

impl Place {
    pub fn new(mailboxes: &[&str], profile: Profile) -> Place {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = Runtime::new().unwrap();
        let sandbox = runtime.block_on(async {
            let options = Options {
                listen: ([127, 0, 0, 1], 0).into(),
                https: None,
                mailboxes: mailboxes.iter().map(|&mailbox| mailbox.to_owned()).collect(),
                seed: 0,
                automatic: true,
                state: None,
            };
            Sandbox::start(options).await.unwrap()
        });
        let (clock, state) = (Clock::default(), directory());
        let (accounts, passwords) = (Vec::new(), Vec::new());
        let mut place = Place { runtime, sandbox, clock, state, accounts, passwords };
        let setting_up = Runtime::new().unwrap();
        (place.accounts, place.passwords) = setting_up.block_on(async {
            let mut passwords = Vec::new();
            let control = place.control().await;
            for &mailbox in mailboxes {
                passwords.push(add_account_of(mailbox, &control, profile).await);
            }
            let mut accounts = Vec::new();
            for &mailbox in mailboxes {
                accounts.push(control.store.account_by_login(mailbox).await.unwrap().unwrap());
            }
            (accounts, passwords)
        });
        place.sandbox.world().journal.clear();
        place
    }

    pub fn state(&self) -> PathBuf {
        self.state.path().join("state")
    }

    fn settings(&self) -> Settings {
        Settings {
            client_id: "5ca1ab1e-0000-4000-8000-000000000001".into(),
            tenant: "organizations".into(),
            cloud: Cloud::Global,
            login_url: Some(self.sandbox.url().parse().unwrap()),
            graph_url: Some(self.sandbox.url().parse().unwrap()),
        }
    }

    /// The state directory is let go of when the last task ends that works on it.
    async fn control(&self) -> Control {
        let deadline = Instant::now() + PATIENCE;
        let room = Room { keep_free_octets: 0, ..Room::default() };
        let store = loop {
            match Store::open_at(&self.state(), room, self.clock.clone()).await {
                Ok(store) => break store,
                Err(OpenError::InUse { .. }) if Instant::now() < deadline => {}
                Err(error) => panic!("{error}"),
            }
        };
        let access = Access::open(store.clone(), self.settings(), None).await.unwrap();
        Control::new(store, access)
    }

    pub fn start(&self, own: &Own) -> Bridge {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let clock = self.clock.clone();
        let pace = Pace::new(clock.clone(), own.limits, own.mails_per_minute.clone());
        let stop = CancellationToken::new();
        let control = runtime.block_on(async {
            let mut control = self.control().await;
            control.pace = Some(pace.clone());
            let (store, access) = (control.store.clone(), control.access.clone());
            let executor = Executor::new(store.clone(), access);
            let worker = Worker {
                store: store.clone(),
                executor: executor.configured(HashMap::new(), own.patience),
                pace: pace.clone(),
                patience: own.patience,
                report_command: ReportCommand::new(&[]),
                rounds: Rounds::new(),
            };
            worker.report_held().await.unwrap();
            tokio::spawn(Worker::run(watch::Sender::new(worker).subscribe(), stop));
            control
        });
        Bridge { runtime, store: control.store.clone(), pace, control, running: None }
    }

    /// The same with all that listens, and with whoever looks at Outlook.
    pub fn start_whole(&self, change: impl Fn(&mut Config)) -> Bridge {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let mut config = configuration(&self.state(), &self.sandbox);
        change(&mut config);
        let deadline = Instant::now() + PATIENCE;
        let running = loop {
            match runtime.block_on(app::start_at(&config, self.clock.clone())) {
                Ok(running) => break running,
                // What died a moment ago still holds the directory.
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        };
        let control = running.control.clone();
        let (store, pace) = (control.store.clone(), control.pace.clone().unwrap());
        Bridge { runtime, store, pace, control, running: Some(running) }
    }

    /// Moves both clocks, the sandbox's first: nothing may seem to come too early.
    pub fn advance(&self, by: Duration) {
        let seconds = by.as_secs() + u64::from(by.subsec_nanos() > 0);
        self.sandbox.world().clock.advance(u32::try_from(seconds).unwrap());
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// From here on these faults happen.
    pub fn faults(&self, seed: u64, faults: Vec<Rule>) {
        self.sandbox.world().faults.set(Script { seed, faults });
    }

    /// The requests of a mailbox so far.
    pub fn asked(&self, mailbox: &str) -> Vec<Asked> {
        let all = self.sandbox.world().journal.entries();
        all.into_iter()
            .filter(|one| one.mailbox.as_deref() == Some(mailbox) && one.path.starts_with("/v1.0/"))
            .collect()
    }
}

/// In memory where there is such a place: what a disk takes is not what these tests are about.
fn directory() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let private = std::fs::Permissions::from_mode(0o700);
    let memory = tempfile::Builder::new().permissions(private).tempdir_in(Path::new("/dev/shm"));
    memory.unwrap_or_else(|_| private_directory())
}

/// What there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Something is in flight, or is about to be.
    Busy,
    /// Nothing before so long.
    In(Duration),
    Nothing,
}

/// The bridge's parts at work.
pub struct Bridge {
    pub runtime: Runtime,
    pub store: Store,
    pub pace: Pace,
    pub control: Control,
    /// Where it was started whole.
    pub running: Option<Running>,
}

/// How each account stands, in one look. By way of the index, account by account. What waits behind another
/// one of its series is not due before that one.
const LOOK: &str = "SELECT id, \
    (SELECT due_at FROM entry WHERE account = account.id AND state = 'queued' AND size <= ? \
     AND state IN ('queued', 'attempting', 'sending') AND (series IS NULL OR NOT EXISTS \
     (SELECT 1 FROM entry AS earlier WHERE earlier.account = account.id \
     AND earlier.series = entry.series AND earlier.id < entry.id \
     AND earlier.state IN ('queued', 'attempting', 'sending'))) \
     ORDER BY due_at LIMIT 1) AS due_at, \
    (SELECT due_at FROM entry WHERE account = account.id AND state = 'queued' AND size > ? \
     AND state IN ('queued', 'attempting', 'sending') AND (series IS NULL OR NOT EXISTS \
     (SELECT 1 FROM entry AS earlier WHERE earlier.account = account.id \
     AND earlier.series = entry.series AND earlier.id < entry.id \
     AND earlier.state IN ('queued', 'attempting', 'sending'))) \
     ORDER BY due_at LIMIT 1) AS large_due_at, \
    EXISTS (SELECT 1 FROM entry WHERE account = account.id AND state = 'attempting' \
     AND state IN ('queued', 'attempting', 'sending')) \
    OR EXISTS (SELECT 1 FROM entry WHERE account = account.id AND state = 'sending' \
     AND state IN ('queued', 'attempting', 'sending')) AS busy FROM account";

impl Bridge {
    /// A mail from an account to one recipient, as a client's is.
    pub fn hand_in(&self, from: &Arc<Account>, to: &str, subject: &str) -> EntryId {
        let id = self.hand_in_later(from, to, subject);
        self.runtime.block_on(id).unwrap()
    }

    /// The same, begun now and waited for by who calls.
    pub fn hand_in_later(
        &self,
        from: &Arc<Account>,
        to: &str,
        subject: &str,
    ) -> tokio::task::JoinHandle<EntryId> {
        let address = &from.address;
        let octets = format!(
            "From: {address}\r\nTo: {to}\r\nSubject: {subject}\r\n\
             Message-ID: <{subject}@contoso.example>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n\
             \r\nHello\r\n"
        );
        self.hand_in_octets(from, to, octets, None)
    }

    pub fn hand_in_octets(
        &self,
        from: &Arc<Account>,
        to: &str,
        octets: String,
        series: Option<&str>,
    ) -> tokio::task::JoinHandle<EntryId> {
        let (store, account) = (self.store.clone(), from.clone());
        let to = Address::parse(to).unwrap();
        let series = series.map(str::to_owned);
        self.runtime.spawn(async move {
            let from = Some(account.address.clone());
            let envelope = Envelope::new(from, vec![to.into()], MailParameters::default()).unwrap();
            let mut incoming = store.begin(&account);
            incoming.write(octets.as_bytes()).await.unwrap();
            incoming.commit(&envelope, true, series).await.unwrap().id()
        })
    }

    pub fn next(&self, place: &Place) -> Next {
        self.runtime.block_on(async {
            let rows = {
                let mut connection = self.store.read().await.unwrap();
                let small = i64::try_from(plan::MIME_OCTETS_MAX).unwrap();
                let look = sqlx::query(LOOK).bind(small).bind(small);
                look.fetch_all(&mut *connection).await.unwrap()
            };
            let now = place.clock.now();
            let mut next: Option<Duration> = None;
            for row in rows {
                if row.get::<bool, _>("busy") {
                    return Next::Busy;
                }
                let id = AccountId(uuid::Uuid::from_slice(row.get("id")).unwrap());
                let account = self.store.account(id).await.unwrap().unwrap();
                if account.standing != postbridge::account::Standing::Ready {
                    continue;
                }
                let of_both = [
                    ("due_at", self.pace.blocked_for(&account)),
                    ("large_due_at", self.pace.large_blocked_for(&account)),
                ];
                for (column, blocked) in of_both {
                    let Some(due_at) = row.get::<Option<i64>, _>(column) else { continue };
                    let left = match (u64::try_from(due_at - now.as_millisecond()), blocked) {
                        (Ok(left @ 1..), _) => Duration::from_millis(left),
                        (_, Some(blocked)) => blocked,
                        // The worker is about to take it.
                        (_, None) => return Next::Busy,
                    };
                    next = Some(next.map_or(left, |next| next.min(left)));
                }
            }
            next.map_or(Next::Nothing, Next::In)
        })
    }

    /// Lets the work be done that can be done now. `None` when there is none left at all.
    pub fn settle(&self, place: &Place) -> Option<Duration> {
        let mut deadline = Instant::now() + PATIENCE;
        let mut requests = 0;
        loop {
            match self.next(place) {
                Next::Nothing => return None,
                Next::In(wait) => return Some(wait),
                Next::Busy => {}
            }
            let count = place.sandbox.world().journal.count();
            if count != requests {
                (requests, deadline) = (count, Instant::now() + PATIENCE);
            }
            assert!(Instant::now() < deadline, "it hangs: {:?}", self.counts());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Goes on, from one thing that falls due to the next, until nothing is left to do.
    pub fn finish(&self, place: &Place) {
        while let Some(wait) = self.settle(place) {
            place.advance(wait);
        }
    }

    pub fn counts(&self) -> Vec<(State, u64)> {
        self.runtime.block_on(self.store.counts()).unwrap()
    }

    /// As a power cut would: whatever it does, it does not go on.
    pub fn kill(self) {
        let Bridge { runtime, store, pace, control, running } = self;
        drop((store, pace, control, running));
        runtime.shutdown_background();
    }
}
