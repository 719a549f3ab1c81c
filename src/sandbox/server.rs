//! The sandbox's sockets: HTTP and HTTPS on loopback, and connections that can be cut.
//!
//! A cut is a real one: no octet of an answer leaves, the peer sees a reset. The stream below TLS
//! and HTTP refuses to write once its [`Connection`] is cut, and so ends whatever is built on it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use axum_server::{Handle, Server};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tower_service::Service;

use super::ca::{Authority, NAMES};
use super::world::World;

/// A connection that asks nothing for this long is closed.
const FIRST_REQUEST: Duration = Duration::from_secs(60);

/// How a sandbox is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// HTTP; a loopback address, port 0 for a free one.
    pub listen: SocketAddr,
    /// HTTPS under a private CA, likewise.
    pub https: Option<SocketAddr>,
    /// Addresses of the mailboxes, at least one.
    pub mailboxes: Vec<String>,
    /// The same seed makes the same ids.
    pub seed: u64,
    /// Authorize signs in by itself: `login_hint`, or the first mailbox.
    pub automatic: bool,
    /// Where the CA certificate (`sandbox-ca.pem`) and the server's key are kept from one start to
    /// the next. `None`: made anew, in memory only.
    pub state: Option<PathBuf>,
}

/// A running sandbox. Dropping it closes its sockets and every connection.
#[derive(Debug)]
pub struct Sandbox {
    world: Arc<World>,
    http: SocketAddr,
    https: Option<SocketAddr>,
    ca_pem: Option<String>,
    handles: Vec<Handle<SocketAddr>>,
}

impl Sandbox {
    pub async fn start(options: Options) -> io::Result<Sandbox> {
        check(&options)?;
        let authority = match options.https {
            Some(_) => Some(Authority::open(options.state.as_deref())?),
            None => None,
        };
        let world = World::with_sign_in(&options.mailboxes, options.seed, options.automatic);
        let world = Arc::new(world);
        let app = super::router(world.clone());

        // Both sockets are bound before either is served: a start that fails leaves nothing behind.
        let http = listen(options.listen)?;
        let https = options.https.map(listen).transpose()?;
        let mut sandbox = Sandbox {
            world,
            http: http.local_addr()?,
            https: https.as_ref().map(TcpListener::local_addr).transpose()?,
            ca_pem: authority.as_ref().map(|authority| authority.ca_pem.clone()),
            handles: Vec::new(),
        };
        if let (Some(authority), Some(https)) = (&authority, https) {
            let config = authority.server_config()?;
            let tls = RustlsAcceptor::new(RustlsConfig::from_config(Arc::new(config)));
            let server = Server::from_listener(https)
                .acceptor(tls.acceptor(Severing { https: true }))
                .first_request_timeout(FIRST_REQUEST)
                .handle(sandbox.handle());
            tokio::spawn(server.serve(app.clone().into_make_service()));
        }
        let server = Server::from_listener(http)
            .acceptor(Severing { https: false })
            .first_request_timeout(FIRST_REQUEST)
            .handle(sandbox.handle());
        tokio::spawn(server.serve(app.into_make_service()));
        Ok(sandbox)
    }

    fn handle(&mut self) -> Handle<SocketAddr> {
        let handle = Handle::new();
        self.handles.push(handle.clone());
        handle
    }

    /// `http://127.0.0.1:port`
    pub fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// `https://localhost:port`, as MSAL wants a host name.
    pub fn https_url(&self) -> Option<String> {
        self.https.map(|address| format!("https://localhost:{}", address.port()))
    }

    /// The certificate to trust for [`Sandbox::https_url`].
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    pub fn world(&self) -> &Arc<World> {
        &self.world
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for handle in &self.handles {
            handle.shutdown();
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

/// Refuses what must not be started: the sandbox lets anybody in, and takes orders to kill.
fn check(options: &Options) -> io::Result<()> {
    let refuse = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    for address in [Some(options.listen), options.https].into_iter().flatten() {
        if !address.ip().is_loopback() {
            return refuse(format!(
                "the sandbox listens on loopback only, and {} is not (use 127.0.0.1 or [::1])",
                address.ip()
            ));
        }
    }
    if options.mailboxes.is_empty() {
        return refuse("the sandbox needs at least one mailbox".to_owned());
    }
    let mut seen = std::collections::HashSet::new();
    for mailbox in &options.mailboxes {
        let plain = mailbox.chars().all(|c| c.is_alphanumeric() || "@.-_+'".contains(c));
        let halves = mailbox.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && !domain.is_empty() && !domain.contains('@')
        });
        if !(plain && halves && mailbox.len() <= 254) {
            return refuse(format!("{mailbox:?} is not the address of a mailbox (name@domain)"));
        }
        if !seen.insert(mailbox.to_lowercase()) {
            return refuse(format!("the mailbox {mailbox} is named twice"));
        }
    }
    Ok(())
}

/// Answers only to the names that loopback goes by.
///
/// A web page could otherwise reach us by a name of its own that resolves to 127.0.0.1.
pub async fn loopback_names_only(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let host = super::request::host(&parts).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    if !NAMES.iter().any(|ours| ours.eq_ignore_ascii_case(name)) {
        let text = "The sandbox answers to localhost, 127.0.0.1 and [::1] only.";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    next.run(Request::from_parts(parts, body)).await
}

/// One client's connection, as its requests see it (a request extension).
#[derive(Debug, Clone)]
pub struct Connection {
    https: bool,
    cut: Arc<AtomicBool>,
}

impl Connection {
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// From now on nothing is written: the next attempt resets the connection.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }
}

/// Wraps each accepted stream, and tells the requests on it about it.
#[derive(Debug, Clone)]
struct Severing {
    https: bool,
}

impl<S> Accept<TcpStream, S> for Severing {
    type Stream = Severable;
    type Service = Tagged<S>;
    type Future = std::future::Ready<io::Result<(Severable, Tagged<S>)>>;

    fn accept(&self, stream: TcpStream, inner: S) -> Self::Future {
        let connection = Connection { https: self.https, cut: Arc::default() };
        std::future::ready(stream.set_nodelay(true).map(|()| {
            let tagged = Tagged { inner, connection: connection.clone() };
            (Severable { stream, connection }, tagged)
        }))
    }
}

/// Puts the [`Connection`] into each request's extensions.
#[derive(Debug, Clone)]
struct Tagged<S> {
    inner: S,
    connection: Connection,
}

impl<S, B> Service<axum::http::Request<B>> for Tagged<S>
where
    S: Service<axum::http::Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: axum::http::Request<B>) -> S::Future {
        request.extensions_mut().insert(self.connection.clone());
        self.inner.call(request)
    }
}

/// A TCP stream that can be made to end without another octet.
#[derive(Debug)]
struct Severable {
    stream: TcpStream,
    connection: Connection,
}

impl Severable {
    fn refuse_if_cut(&self) -> io::Result<()> {
        if !self.connection.is_cut() {
            return Ok(());
        }
        // Closing with linger 0 sends a reset in place of a FIN.
        self.stream.set_zero_linger()?;
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

impl AsyncRead for Severable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Severable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.refuse_if_cut()?;
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.refuse_if_cut()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, octets)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.refuse_if_cut()?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
