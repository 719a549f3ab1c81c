//! The listening sockets: accepts connections within the limits, survives a lack of descriptors,
//! and drains when the daemon stops.
//!
//! Each connection is a task of its own: what stalls or panics in one touches no other. Nothing here
//! must read or write SMTP but the one refusal of a connection that is one too many.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Connection;
use super::limits::Limits;
use super::reply;
use crate::login::Logins;
use crate::store::Store;

/// Connections that wait in the kernel while we are busy.
const BACKLOG: i32 = 4096;
/// How long accepting rests when there are no file descriptors left.
const STARVED_PAUSE: Duration = Duration::from_millis(100);

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

impl Listener {
    /// Binds an address. An IPv6 socket takes IPv6 only, so that one may be bound beside it.
    pub fn bind(address: SocketAddr, kind: Kind, clear_auth: bool) -> io::Result<Listener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from_std(socket.into())?;
        Ok(Listener { socket, kind, clear_auth })
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
    connections: Mutex<Connections>,
}

impl Shared {
    pub fn new(
        store: Store,
        logins: Logins,
        limits: Limits,
        tls: Arc<ServerConfig>,
        hostname: &str,
    ) -> Shared {
        Shared {
            store,
            limits: Arc::new(limits),
            wait: Duration::ZERO,
            acceptor: TlsAcceptor::from(tls),
            hostname: hostname.into(),
            logins,
            connections: Mutex::default(),
        }
    }

    /// The reply to a mail is held back for so long, until it is known what becomes of it.
    pub fn waiting(self, wait: Duration) -> Shared {
        Shared { wait, ..self }
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

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections that are open now.
    pub fn connected(&self) -> usize {
        self.connections().all
    }
}

#[derive(Debug, Default)]
struct Connections {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The place of one connection among those allowed; given back when dropped.
struct Place {
    shared: Arc<Shared>,
    peer: IpAddr,
}

impl Place {
    fn take(shared: &Arc<Shared>, peer: IpAddr) -> Option<Place> {
        let limits = &shared.limits;
        let per_address = match peer.is_loopback() {
            true => limits.connections_per_loopback_address,
            false => limits.connections_per_address,
        };
        let mut connections = shared.connections();
        let here = connections.by_address.get(&peer).copied().unwrap_or(0);
        if connections.all >= limits.connections || here >= per_address {
            return None;
        }
        connections.all += 1;
        connections.by_address.insert(peer, here + 1);
        drop(connections);
        Some(Place { shared: Arc::clone(shared), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connections = self.shared.connections();
        connections.all = connections.all.saturating_sub(1);
        match connections.by_address.get_mut(&self.peer) {
            Some(here) if *here > 1 => *here -= 1,
            _ => drop(connections.by_address.remove(&self.peer)),
        }
    }
}

/// Serves until `stop`, then lets running transactions end, for at most
/// [`Limits::drain_seconds`]. When it returns no connection is left.
pub async fn serve(listeners: Vec<Listener>, shared: Arc<Shared>, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    let accepting = TaskTracker::new();
    for listener in listeners {
        accepting.spawn(accept(
            listener,
            Arc::clone(&shared),
            stop.clone(),
            cut.clone(),
            connections.clone(),
        ));
    }
    accepting.close();
    accepting.wait().await;
    connections.close();
    let drain = Duration::from_secs(shared.limits.drain_seconds);
    if tokio::time::timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections are cut off");
        cut.cancel();
        connections.wait().await;
    }
}

async fn accept(
    listener: Listener,
    shared: Arc<Shared>,
    stop: CancellationToken,
    cut: CancellationToken,
    connections: TaskTracker,
) {
    let mut starved = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.socket.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_lack(&error) => {
                // Said once for each time it happens; who waits in the backlog is served later.
                if !std::mem::replace(&mut starved, true) {
                    tracing::error!(%error, "connections have to wait");
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(STARVED_PAUSE) => continue,
                }
            }
            // The client was gone before it was greeted.
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                continue;
            }
        };
        starved = false;
        let peer = peer.ip().to_canonical();
        let Some(place) = Place::take(&shared, peer) else {
            tracing::debug!(%peer, "too many connections");
            turn_away(stream, listener.kind);
            continue;
        };
        let implicit = listener.kind == Kind::ImplicitTls;
        let clear_auth = listener.clear_auth && peer.is_loopback();
        let (shared, stop, cut) = (Arc::clone(&shared), stop.clone(), cut.clone());
        connections.spawn(async move {
            let _place = place;
            tokio::select! {
                biased;
                () = cut.cancelled() => {}
                () = Connection::run(shared, stop, stream, peer, implicit, clear_auth) => {}
            }
        });
    }
}

/// EMFILE, ENFILE, ENOBUFS, ENOMEM: it passes, and the listener is as good as before.
fn is_lack(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_descriptors_passes_and_another_error_is_the_clients() {
        assert!(is_lack(&io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error())));
        assert!(!is_lack(&io::ErrorKind::ConnectionAborted.into()));
    }
}
