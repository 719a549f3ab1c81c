//! Listening sockets, as every front has them: bound, accepted from within limits, and not stopped by a
//! lack of descriptors.
//!
//! Nothing here must know a protocol, or read or write an octet.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Connections that wait in the kernel while we are busy.
const BACKLOG: i32 = 4096;
/// How long accepting rests when there are no file descriptors left.
const STARVED_PAUSE: Duration = Duration::from_millis(100);

/// Binds an address. An IPv6 socket takes IPv6 only, so that one may be bound beside it.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Sockets that the one who started us has bound already (sd_listen_fds(3)): each is taken where its
/// address is configured, so that who connects while we are away waits for us.
#[derive(Debug, Default)]
pub struct Inherited(Vec<(SocketAddr, std::net::TcpListener)>);

impl Inherited {
    /// Those of `$LISTEN_FDS`. To be called once, before anything else may take them for its own.
    pub fn from_env() -> io::Result<Inherited> {
        let mut passed = listenfd::ListenFd::from_env();
        let mut sockets = Vec::new();
        for at in 0..passed.len() {
            if let Some(socket) = passed.take_tcp_listener(at)? {
                socket.set_nonblocking(true)?;
                sockets.push((socket.local_addr()?, socket));
            }
        }
        Ok(Inherited(sockets))
    }

    /// The socket of this address, or a new one.
    pub fn bind(&mut self, address: SocketAddr) -> io::Result<TcpListener> {
        match self.0.iter().position(|(bound, _)| *bound == address) {
            Some(at) => TcpListener::from_std(self.0.swap_remove(at).1),
            None => bind(address),
        }
    }

    /// Those that nobody asked for.
    pub fn left(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().map(|(bound, _)| *bound)
    }
}

/// Gives each connection to `each` until `stop`, with the address that it came from.
pub async fn accept(
    socket: TcpListener,
    stop: CancellationToken,
    mut each: impl FnMut(TcpStream, IpAddr),
) {
    let mut starved = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                starved = false;
                each(stream, peer.ip().to_canonical());
            }
            Err(error) if is_lack(&error) => {
                // Said once for each time it happens; who waits in the backlog is served later.
                if !std::mem::replace(&mut starved, true) {
                    tracing::error!(%error, "connections have to wait");
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(STARVED_PAUSE) => {}
                }
            }
            // The client was gone before it was greeted.
            Err(error) => tracing::debug!(%error, "a connection was not accepted"),
        }
    }
}

/// EMFILE, ENFILE, ENOBUFS, ENOMEM: it passes, and the listener is as good as before.
fn is_lack(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    pub all: usize,
    /// From one address on loopback, where all clients share one, and elsewhere.
    pub per_loopback_address: usize,
    pub per_address: usize,
}

/// The connections that are open; clones share the count.
#[derive(Debug, Clone)]
pub struct Places {
    most: Most,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Places {
    pub fn new(most: Most) -> Places {
        Places { most, taken: Arc::default() }
    }

    /// As many as here, where those of `former` still count.
    pub fn in_place_of(self, former: &Places) -> Places {
        Places { most: self.most, taken: Arc::clone(&former.taken) }
    }

    /// `None`: there are too many.
    pub fn take(&self, peer: IpAddr) -> Option<Place> {
        let per_address = match peer.is_loopback() {
            true => self.most.per_loopback_address,
            false => self.most.per_address,
        };
        let mut taken = self.taken();
        let here = taken.by_address.get(&peer).copied().unwrap_or(0);
        if taken.all >= self.most.all || here >= per_address {
            return None;
        }
        taken.all += 1;
        taken.by_address.insert(peer, here + 1);
        drop(taken);
        Some(Place { places: self.clone(), peer })
    }

    /// Connections that are open now.
    pub fn count(&self) -> usize {
        self.taken().all
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection among those allowed; given back when dropped.
#[derive(Debug)]
pub struct Place {
    places: Places,
    peer: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all = taken.all.saturating_sub(1);
        match taken.by_address.get_mut(&self.peer) {
            Some(here) if *here > 1 => *here -= 1,
            _ => drop(taken.by_address.remove(&self.peer)),
        }
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

    #[test]
    fn a_place_is_one_of_all_and_one_of_its_address() {
        let places = Places::new(Most { all: 3, per_loopback_address: 2, per_address: 1 });
        let (loopback, far) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([192, 0, 2, 1]));
        let first = places.take(loopback).unwrap();
        let second = places.take(loopback).unwrap();
        assert!(places.take(loopback).is_none());
        let third = places.take(far).unwrap();
        assert!(places.take([192, 0, 2, 2].into()).is_none());
        assert_eq!(places.count(), 3);
        drop(first);
        assert!(places.take(far).is_none());
        drop((second, third));
        assert_eq!(places.count(), 0);
        assert!(places.take(far).is_some());
    }
}
