//! The listening sockets of CalDAV: a task for each connection, and a drain when the daemon stops.
//!
//! Nothing here must read or write HTTP but the one refusal of a connection that is one too many.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::Reply;
use super::body::Body;
use super::connection::{self, Accepted};
use super::limits::Limits;
use super::site::{Caller, Site};
use crate::listen::{self, Most, Places};

/// One listening socket.
#[derive(Debug)]
pub struct Listener {
    pub socket: TcpListener,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Takes passwords in clear, and so is on loopback.
    Clear,
    Tls,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Clear => "CalDAV",
            Kind::Tls => "CalDAV over TLS",
        }
    }

    pub fn scheme(self) -> &'static str {
        match self {
            Kind::Clear => "http",
            Kind::Tls => "https",
        }
    }
}

/// What all connections share.
pub struct Shared {
    pub(super) limits: Limits,
    pub(super) acceptor: TlsAcceptor,
    site: Arc<Site>,
    places: Places,
    exchanges: TaskTracker,
}

impl Shared {
    /// `tls` is a server's key pair; which protocol is spoken over it is settled here.
    pub fn new(site: Site, limits: Limits, tls: &ServerConfig) -> Shared {
        let mut tls = tls.clone();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let places = Places::new(Most {
            all: limits.connections,
            per_loopback_address: limits.connections,
            per_address: limits.connections_per_address,
        });
        Shared {
            limits,
            acceptor: TlsAcceptor::from(Arc::new(tls)),
            site: Arc::new(site),
            places,
            exchanges: TaskTracker::new(),
        }
    }

    /// Its connections still count, and its exchanges are waited for.
    pub fn in_place_of(self, former: &Shared) -> Shared {
        let places = self.places.in_place_of(&former.places);
        Shared { places, exchanges: former.exchanges.clone(), ..self }
    }

    /// What counts them; it holds through any configuration that comes later.
    pub fn places(&self) -> Places {
        self.places.clone()
    }

    /// Connections that are open now.
    pub fn connected(&self) -> usize {
        self.places.count()
    }

    /// `None`: it broke down before there was an answer.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        caller: Caller,
    ) -> Option<Response<Body>> {
        let patience = Duration::from_secs(self.limits.write_seconds);
        let (reply, answered) = Reply::new(patience);
        let site = Arc::clone(&self.site);
        self.exchanges.spawn(async move { site.answer(request, caller, reply).await });
        answered.await.ok()
    }
}

/// Serves until `stop`, then lets running exchanges end, for at most [`Limits::drain_seconds`]. When it
/// returns no connection is left. Each connection keeps what it found `shared` when it came.
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
    let shared = Arc::clone(&shared.borrow());
    shared.exchanges.close();
    let ended = async {
        connections.wait().await;
        shared.exchanges.wait().await;
    };
    let drain = Duration::from_secs(shared.limits.drain_seconds);
    if tokio::time::timeout(drain, ended).await.is_err() {
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
    let Listener { socket, kind } = listener;
    let Ok(port) = socket.local_addr().map(|address| address.port()) else { return };
    listen::accept(socket, stop.clone(), |stream, peer| {
        let shared = Arc::clone(&shared.borrow());
        let Some(place) = shared.places.take(peer) else {
            tracing::debug!(%peer, "too many connections");
            return turn_away(stream, kind);
        };
        let (stop, cut) = (stop.clone(), cut.clone());
        connections.spawn(async move {
            let _place = place;
            let accepted = Accepted { stream, peer, port, kind };
            tokio::select! {
                biased;
                () = cut.cancelled() => {}
                () = Box::pin(connection::run(shared, stop, accepted)) => {}
            }
        });
    })
    .await;
}

/// Says why, as far as that takes no waiting. Under TLS it would.
fn turn_away(stream: TcpStream, kind: Kind) {
    if kind == Kind::Clear
        && let Ok(mut stream) = stream.into_std()
    {
        let _ = stream.write(
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n\
              Content-Length: 0\r\n\r\n",
        );
    }
}
