//! The listening sockets of SMTP: a task for each connection, and a drain when the daemon stops.
//!
//! What stalls or panics in one connection touches no other. Nothing here must read or write SMTP but the
//! one refusal of a connection that is one too many.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Connection;
use super::limits::Limits;
use super::reply;
use crate::listen::{self, Most, Places};
use crate::login::Logins;
use crate::store::Store;

/// One listening socket.
#[derive(Debug)]
pub struct Listener {
    pub socket: TcpListener,
    pub kind: Kind,
    /// Offers AUTH without TLS too, for devices that know none; heeded for loopback clients only.
    pub clear_auth: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Starttls,
    /// RFC 8314 §3.3.
    ImplicitTls,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Starttls => "STARTTLS",
            Kind::ImplicitTls => "TLS",
        }
    }
}

/// What all connections share.
pub struct Shared {
    store: Store,
    limits: Arc<Limits>,
    wait: Duration,
    acceptor: TlsAcceptor,
    hostname: Arc<str>,
    logins: Logins,
    places: Places,
}

impl Shared {
    pub fn new(
        store: Store,
        logins: Logins,
        limits: Limits,
        tls: Arc<ServerConfig>,
        hostname: &str,
    ) -> Shared {
        let places = Places::new(Most {
            all: limits.connections,
            per_loopback_address: limits.connections_per_loopback_address,
            per_address: limits.connections_per_address,
        });
        Shared {
            store,
            limits: Arc::new(limits),
            wait: Duration::ZERO,
            acceptor: TlsAcceptor::from(tls),
            hostname: hostname.into(),
            logins,
            places,
        }
    }

    /// The reply to a mail is held back for so long, until it is known what becomes of it.
    pub fn waiting(self, wait: Duration) -> Shared {
        Shared { wait, ..self }
    }

    /// Its connections still count.
    pub fn in_place_of(self, former: &Shared) -> Shared {
        Shared { places: self.places.in_place_of(&former.places), ..self }
    }

    pub(super) fn wait(&self) -> Duration {
        self.wait
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.limits)
    }

    pub(super) fn hostname(&self) -> Arc<str> {
        Arc::clone(&self.hostname)
    }

    pub(super) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    pub(super) fn logins(&self) -> &Logins {
        &self.logins
    }

    /// What counts them; it holds through any configuration that comes later.
    pub fn places(&self) -> Places {
        self.places.clone()
    }

    /// Connections that are open now.
    pub fn connected(&self) -> usize {
        self.places.count()
    }
}

/// Serves until `stop`, then lets running transactions end, for at most
/// [`Limits::drain_seconds`]. When it returns no connection is left. Each connection keeps what it found
/// `shared` when it came.
pub async fn serve(
    listeners: Vec<Listener>,
    shared: watch::Receiver<Arc<Shared>>,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    let accepting = TaskTracker::new();
    for listener in listeners {
        accepting.spawn(accept(
            listener,
            shared.clone(),
            stop.clone(),
            cut.clone(),
            connections.clone(),
        ));
    }
    accepting.close();
    accepting.wait().await;
    connections.close();
    let drain = Duration::from_secs(shared.borrow().limits.drain_seconds);
    if tokio::time::timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections are cut off");
        cut.cancel();
        connections.wait().await;
    }
}

async fn accept(
    listener: Listener,
    shared: watch::Receiver<Arc<Shared>>,
    stop: CancellationToken,
    cut: CancellationToken,
    connections: TaskTracker,
) {
    let Listener { socket, kind, clear_auth } = listener;
    let stopped = stop.clone();
    listen::accept(socket, stopped, |stream, peer| {
        let shared = Arc::clone(&shared.borrow());
        let Some(place) = shared.places.take(peer) else {
            tracing::debug!(%peer, "too many connections");
            return turn_away(stream, kind);
        };
        let implicit = kind == Kind::ImplicitTls;
        let clear_auth = clear_auth && peer.is_loopback();
        let (stop, cut) = (stop.clone(), cut.clone());
        connections.spawn(async move {
            let _place = place;
            tokio::select! {
                biased;
                () = cut.cancelled() => {}
                () = Connection::run(shared, stop, stream, peer, implicit, clear_auth) => {}
            }
        });
    })
    .await;
}

/// Says why, as far as that takes no waiting. Under implicit TLS it would.
fn turn_away(stream: TcpStream, kind: Kind) {
    if kind == Kind::Starttls
        && let Ok(mut stream) = stream.into_std()
    {
        let mut output = Vec::new();
        reply::TOO_MANY_CONNECTIONS.write_to(&mut output);
        let _ = stream.write(&output);
    }
}
