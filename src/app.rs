//! Joins the parts, runs them, and takes them down in order. The only file that knows all of them.
//!
//! ```text
//!  start:  listeners ─► state directory (lock) ─► key ─► accounts ─► certificate ─► control ─► worker
//!  reload: what begins from now on is as the new configuration says; what runs stays as it is
//!  stop:   no new sessions ─► running transactions get their reply ─► attempts end ─► lock
//! ```
//!
//! Everything that can be refused is refused before anything is touched, each with its own words.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::access::{self, Access};
use crate::account::Address;
use crate::caldav::names::Names;
use crate::caldav::site::{Site, Zones};
use crate::caldav::{limits::Limits as CalDavLimits, server as caldav};
use crate::clock::Clock;
use crate::config::{AccountSettings, Config, InvitePolicy, RecurrencePolicy};
use crate::control::{self, Control, Reload};
use crate::entra::Settings;
use crate::entra::seal::KeyError;
use crate::execute::{Executor, Invites};
use crate::graph::pace::{Limits, Pace};
use crate::link::Links;
use crate::listen::Inherited;
use crate::login::Logins;
use crate::page;
use crate::pulse::{Pulse, Rounds};
use crate::report_command::ReportCommand;
use crate::smtp::server::{self, Kind, Listener, Shared};
use crate::store::{self, OpenError, Store, StoreError};
use crate::tls;
use crate::watch::Watch;
use crate::worker::Worker;

/// From the signal to the end: sessions and attempts may take this long.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Why the bridge does not start. `cli::exit` gives each its exit status.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error(transparent)]
    Key(KeyError),
    #[error(
        "no app registration is configured; put its client_id under [entra] (see \
         docs/entra.md), or run `postbridge demo` to try it without"
    )]
    NotConfigured,
    #[error("accounts cannot be used: {0}")]
    Access(access::OpenError),
    #[error("{0}")]
    Certificate(#[from] tls::TlsError),
    #[error(
        "{address} cannot be listened on: {source}; another program may hold it, or set {key} to other addresses"
    )]
    Port { address: SocketAddr, key: &'static str, source: std::io::Error },
    #[error("the control socket cannot be made: {0}")]
    Control(std::io::Error),
    #[error(transparent)]
    Read(#[from] StoreError),
}

impl From<access::OpenError> for StartError {
    fn from(error: access::OpenError) -> StartError {
        match error {
            access::OpenError::Key(key) => StartError::Key(key),
            other => StartError::Access(other),
        }
    }
}

/// Opens the state directory, for the daemon or for a command while no daemon runs.
pub async fn open(config: &Config) -> Result<Control, StartError> {
    open_at(config, Clock::default()).await
}

/// By login.
fn send_as(config: &Config) -> impl Iterator<Item = (Address, Vec<Address>)> {
    config.account.iter().map(|(login, own)| (login.clone(), own.send_as.clone()))
}

async fn open_at(config: &Config, clock: Clock) -> Result<Control, StartError> {
    let settings = preconditions(config)?.clone();
    let store = Store::open_at(&config.state_dir(), config.spool.room(), clock).await?;
    store.set_send_as(send_as(config)).await;
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    let credentials = credentials.as_deref().map(Path::new);
    let access = Access::open(store.clone(), settings, credentials).await?;
    Ok(Control::new(store, access))
}

/// What can be known without touching anything.
fn preconditions(config: &Config) -> Result<&Settings, StartError> {
    let path = config.state_dir();
    if store::is_held(&path) {
        return Err(OpenError::InUse { path }.into());
    }
    config.entra.as_ref().ok_or(StartError::NotConfigured)
}

/// The bridge while it runs.
pub struct Running {
    pub control: Control,
    /// What the listeners are bound to; each with its kind.
    pub listening: Vec<(Kind, SocketAddr)>,
    /// The same for calendars.
    pub calendars: Vec<(caldav::Kind, SocketAddr)>,
    /// The same for the page.
    pub page: Vec<SocketAddr>,
    /// The file that clients are told to trust.
    pub certificates: tls::Files,
    /// Looks at Outlook by itself; may be asked to look at once.
    pub watch: Watch,
    config: Config,
    base: Base,
    made: Made,
    sessions: JoinHandle<()>,
    exchanges: JoinHandle<()>,
    visits: JoinHandle<()>,
    worker: JoinHandle<()>,
    watching: JoinHandle<()>,
    commands: JoinHandle<()>,
}

/// What stays as it is from start to stop.
struct Base {
    store: Store,
    executor: Executor,
    pace: Pace,
    rounds: Rounds,
    stop: CancellationToken,
}

/// What the configuration makes of it: whoever begins something looks here.
struct Made {
    front: watch::Sender<Arc<Shared>>,
    calendar: watch::Sender<Arc<caldav::Shared>>,
    worker: watch::Sender<Worker>,
    watch: watch::Sender<Watch>,
    page: watch::Sender<page::Settings>,
}

/// The parts, as one configuration says.
struct Parts {
    front: Shared,
    calendar: caldav::Shared,
    worker: Worker,
    watch: Watch,
    certificates: tls::Files,
}

/// Brings everything up. When it returns, mail is taken.
pub async fn start(config: &Config) -> Result<Running, StartError> {
    start_at(config, Clock::default()).await
}

/// The same, by a clock that somebody else may move.
pub async fn start_at(config: &Config, clock: Clock) -> Result<Running, StartError> {
    bring_up(config, clock, &mut Inherited::default(), None).await
}

/// The same, on sockets that somebody else has bound, as far as they are configured. Whoever asks for a
/// reload is passed on.
pub async fn start_on(
    config: &Config,
    sockets: &mut Inherited,
    reloads: mpsc::Sender<Reload>,
) -> Result<Running, StartError> {
    bring_up(config, Clock::default(), sockets, Some(reloads)).await
}

async fn bring_up(
    config: &Config,
    clock: Clock,
    sockets: &mut Inherited,
    reloads: Option<mpsc::Sender<Reload>>,
) -> Result<Running, StartError> {
    preconditions(config)?;
    let listeners = listen(config, sockets)?;
    let calendars = listen_for_calendars(config, sockets)?;
    let pages = bind("page.listen", &config.page.addresses(), sockets)?;
    let listening = listeners
        .iter()
        .filter_map(|listener| Some((listener.kind, listener.socket.local_addr().ok()?)))
        .collect();
    let calendars_at = calendars
        .iter()
        .filter_map(|listener| Some((listener.kind, listener.socket.local_addr().ok()?)))
        .collect();

    let page: Vec<SocketAddr> = pages.iter().filter_map(|one| one.local_addr().ok()).collect();
    let mut control = open_at(config, clock).await?;
    let store = control.store.clone();
    let clock = store.clock().clone();
    let base = Base {
        executor: Executor::new(store.clone(), control.access.clone()),
        pace: Pace::new(clock, Limits::default(), mails_per_minute(config)),
        rounds: Rounds::new(),
        stop: CancellationToken::new(),
        store,
    };
    let Parts { front, calendar, worker, watch, certificates } = base.parts(config)?;
    let socket = control::Listener::bind(control.store.directory()).map_err(StartError::Control)?;
    control.pace = Some(base.pace.clone());
    control.reloads = reloads;
    control.pulse = Some(Pulse::new(base.store.clone(), &base.rounds));
    let links = Links::new(&page, base.store.clock().clone());
    control.links.clone_from(&links);
    if let Err(error) = worker.report_held().await {
        tracing::error!(%error, "held mails could not be reported; it is tried at the next start");
    }
    let gauges = page::Gauges {
        smtp: front.places(),
        caldav: calendar.places(),
        graph: control.access.graph().tally(),
    };
    let settings =
        page::Settings { metrics: config.page.metrics, certificates: certificates.clone() };
    let made = Made {
        page: watch::Sender::new(settings),
        front: watch::Sender::new(Arc::new(front)),
        calendar: watch::Sender::new(Arc::new(calendar)),
        worker: watch::Sender::new(worker),
        watch: watch::Sender::new(watch.clone()),
    };
    let stop = || base.stop.clone();
    let servers = servers(config, &listeners, &calendars);
    let site = links.map(|links| {
        let settings = made.page.subscribe();
        page::Site::new(control.clone(), links, settings, servers, gauges, stop())
    });
    let stop_of_visits = stop();
    let visits = async move {
        if let Some(site) = site {
            page::server::serve(pages, site, stop_of_visits).await;
        }
    };
    Ok(Running {
        listening,
        calendars: calendars_at,
        page,
        visits: tokio::spawn(visits),
        certificates,
        sessions: tokio::spawn(server::serve(listeners, made.front.subscribe(), stop())),
        exchanges: tokio::spawn(caldav::serve(calendars, made.calendar.subscribe(), stop())),
        worker: tokio::spawn(Worker::run(made.worker.subscribe(), stop())),
        watching: tokio::spawn(Watch::run(made.watch.subscribe(), stop())),
        watch,
        commands: tokio::spawn(socket.serve(control.clone())),
        control,
        config: config.clone(),
        base,
        made,
    })
}

impl Base {
    /// Refused before anything is changed.
    fn parts(&self, config: &Config) -> Result<Parts, StartError> {
        let smtp = &config.smtp;
        let hostname = smtp.hostname.clone().unwrap_or_else(machine_name);
        let certificates = match (&smtp.certificate, &smtp.key) {
            (Some(certificate), Some(key)) => tls::Files {
                ca: certificate.clone(),
                certificate: certificate.clone(),
                key: key.get_ref().clone(),
            },
            _ => tls::provide(&tls_directory(self.store.directory())?, &hostname)?,
        };
        let server_tls = tls::server(&certificates.certificate, &certificates.key)?;

        let invites = config.account.iter().map(|(login, own)| (login.key(), invites(own)));
        let patience = config.doubt.patience();
        let executor = self.executor.configured(invites.collect(), patience);
        let watch = Watch {
            store: self.store.clone(),
            executor: executor.clone(),
            pace: self.pace.clone(),
            every: config.caldav.watch(),
        };
        let worker = Worker {
            store: self.store.clone(),
            executor,
            pace: self.pace.clone(),
            patience,
            report_command: ReportCommand::new(&config.report.command),
            rounds: self.rounds.clone(),
        };
        let mut limits = smtp.limits.clone();
        limits.message_octets = *smtp.message_octets_max.get_ref();
        let logins = Logins::new(self.store.clone(), limits.logins());
        let site = site(config, &self.store, logins.clone(), &hostname, &self.stop);
        let calendar = caldav::Shared::new(site, CalDavLimits::default(), &server_tls);
        let front = Shared::new(self.store.clone(), logins, limits, server_tls, &hostname);
        let front = front.waiting(smtp.wait());
        Ok(Parts { front, calendar, worker, watch, certificates })
    }
}

impl Running {
    /// Takes up another configuration, and certificates that were renewed: for what begins from now on.
    /// What runs stays as it is, each session and each attempt. On an error everything stays.
    ///
    /// The keys that only a restart takes up are given back.
    pub async fn reload(&mut self, config: Config) -> Result<Vec<&'static str>, StartError> {
        let Parts { front, calendar, worker, watch, certificates } = self.base.parts(&config)?;
        self.base.store.set_send_as(send_as(&config)).await;
        self.base.pace.set_mails_per_minute(mails_per_minute(&config));
        self.made.front.send_modify(|now| *now = Arc::new(front.in_place_of(now)));
        self.made.calendar.send_modify(|now| *now = Arc::new(calendar.in_place_of(now)));
        self.made.worker.send_replace(worker);
        self.made.watch.send_replace(watch.clone());
        let (metrics, certificates_now) = (config.page.metrics, certificates.clone());
        let page = page::Settings { metrics, certificates: certificates_now };
        self.made.page.send_replace(page);
        self.base.store.wake_worker();
        (self.watch, self.certificates) = (watch, certificates);
        let former = std::mem::replace(&mut self.config, config);
        let wait_for_a_restart = former.fixed_differences(&self.config);
        // What was not taken up is still another next time.
        self.config.keep_fixed_of(former);
        Ok(wait_for_a_restart)
    }

    /// Asks all parts to come to their end.
    pub async fn stop(self) {
        self.base.stop.cancel();
        let ended = async {
            let _ = self.sessions.await;
            let _ = self.exchanges.await;
            let _ = self.visits.await;
            let _ = self.worker.await;
            let _ = self.watching.await;
        };
        if tokio::time::timeout(STOP_WITHIN, ended).await.is_err() {
            tracing::warn!(
                "not everything came to its end in time; what was acknowledged is in the spool"
            );
        }
        self.commands.abort();
        let _ = self.commands.await;
    }
}

/// By login.
fn mails_per_minute(config: &Config) -> HashMap<String, NonZeroU32> {
    let pace = |own: &AccountSettings| NonZeroU32::new(*own.mails_per_minute.as_ref()?.get_ref());
    config.account.iter().filter_map(|(login, own)| Some((login.key(), pace(own)?))).collect()
}

fn invites(own: &AccountSettings) -> Invites {
    let default = Invites::default();
    Invites {
        as_mail: own.invites == InvitePolicy::Mail,
        zone: own.time_zone.as_ref().map_or(default.zone, |zone| zone.0.clone()),
        online_meetings: own.online_meetings,
        spread: own.recurrence == RecurrencePolicy::Spread,
    }
}

/// What answers for the calendars.
fn site(
    config: &Config,
    store: &Store,
    logins: Logins,
    hostname: &str,
    stop: &CancellationToken,
) -> Site {
    let hosts: Vec<String> =
        config.caldav.hosts.iter().map(|host| host.get_ref().clone()).collect();
    let zoned = config.account.iter().filter_map(|(login, own)| {
        let zone = own.time_zone.as_ref()?;
        Some((login.key(), zone.0.clone()))
    });
    let zones = Zones { by_login: zoned.collect(), others: None };
    let names = Names::new(hostname, &hosts);
    let site =
        Site::new(store.clone(), logins, names, CalDavLimits::default(), zones, stop.clone());
    site.waiting(config.caldav.wait()).making_calendars(config.caldav.make_calendars)
}

/// Where programs find us, for the page to say.
fn servers(config: &Config, smtp: &[Listener], calendars: &[caldav::Listener]) -> page::Servers {
    let mut servers = page::Servers {
        hostname: config.smtp.hostname.clone().unwrap_or_else(machine_name),
        ..page::Servers::default()
    };
    for listener in smtp {
        let list = match (listener.kind, listener.clear_auth) {
            (Kind::ImplicitTls, _) => &mut servers.implicit_tls,
            (Kind::Starttls, false) => &mut servers.starttls,
            (Kind::Starttls, true) => &mut servers.clear,
        };
        list.extend(listener.socket.local_addr());
    }
    for listener in calendars {
        let list = match listener.kind {
            caldav::Kind::Clear => &mut servers.calendar,
            caldav::Kind::Tls => &mut servers.calendar_tls,
        };
        list.extend(listener.socket.local_addr());
    }
    servers
}

/// Binds all listeners of SMTP. Clients that come now wait in the kernel until we are up.
fn listen(config: &Config, sockets: &mut Inherited) -> Result<Vec<Listener>, StartError> {
    let smtp = &config.smtp;
    let clear: Vec<SocketAddr> = smtp.clear.iter().map(|one| *one.get_ref()).collect();
    let mut listeners = Vec::new();
    for (key, kind, clear_auth, addresses) in [
        ("smtp.starttls", Kind::Starttls, false, &smtp.starttls),
        ("smtp.implicit_tls", Kind::ImplicitTls, false, &smtp.implicit_tls),
        ("smtp.clear", Kind::Starttls, true, &clear),
    ] {
        let bound = bind(key, addresses, sockets)?;
        listeners.extend(bound.into_iter().map(|socket| Listener { socket, kind, clear_auth }));
    }
    Ok(listeners)
}

/// The same for calendars.
fn listen_for_calendars(
    config: &Config,
    sockets: &mut Inherited,
) -> Result<Vec<caldav::Listener>, StartError> {
    let mut listeners = Vec::new();
    for (key, kind, addresses) in [
        ("caldav.listen", caldav::Kind::Clear, &config.caldav.clear()),
        ("caldav.tls", caldav::Kind::Tls, &config.caldav.tls),
    ] {
        let bound = bind(key, addresses, sockets)?;
        listeners.extend(bound.into_iter().map(|socket| caldav::Listener { socket, kind }));
    }
    Ok(listeners)
}

fn bind(
    key: &'static str,
    addresses: &[SocketAddr],
    sockets: &mut Inherited,
) -> Result<Vec<TcpListener>, StartError> {
    let mut bound = Vec::new();
    for &address in addresses {
        match sockets.bind(address) {
            Ok(socket) => bound.push(socket),
            // A machine without IPv6 has no [::1], and the default names it.
            Err(error) if address.is_ipv6() && lacks_ipv6(&error) => {
                tracing::info!(%address, "this machine has no IPv6");
            }
            Err(source) => return Err(StartError::Port { address, key, source }),
        }
    }
    Ok(bound)
}

/// `tls/` in the state directory.
fn tls_directory(state: &Path) -> Result<PathBuf, tls::TlsError> {
    let path = state.join("tls");
    match std::fs::create_dir_all(&path) {
        Ok(()) => Ok(path),
        Err(source) => Err(tls::TlsError::File { path, source }),
    }
}

/// What this machine calls itself (`uname -n`).
fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// EAFNOSUPPORT, EADDRNOTAVAIL.
fn lacks_ipv6(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}
