//! One connection: TLS where it is spoken, HTTP/1.1 or HTTP/2, and an end in time.
//!
//! RFC 9112, RFC 9113, RFC 7301 (ALPN). Nothing here must know what is asked. Each exchange is a task of its
//! own: a panic is that one's failure, and what was begun goes on when the client hangs up.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::answer;
use super::body::Body;
use super::clock::{Clock, Watched};
use super::server::{Kind, Shared};
use super::site::Caller;

/// How often a connection's clock is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a connection may take to end when it was told to.
const FAREWELL: Duration = Duration::from_secs(2);
/// Whether an HTTP/2 client is still there is asked after this long.
const PING_EVERY: Duration = Duration::from_secs(20);

/// What was accepted.
pub(super) struct Accepted {
    pub(super) stream: TcpStream,
    pub(super) peer: IpAddr,
    /// The port that it came to.
    pub(super) port: u16,
    pub(super) kind: Kind,
}

pub(super) async fn run(shared: Arc<Shared>, stop: CancellationToken, accepted: Accepted) {
    let Accepted { stream, peer, port, kind } = accepted;
    let connection = Connection { clock: Clock::new(&shared.limits), shared, stop, peer, port };
    // A reply must not wait for the acknowledgement of the one before it.
    let _ = stream.set_nodelay(true);
    let ended = match kind {
        Kind::Clear => connection.http1(stream).await,
        Kind::Tls => connection.tls(stream).await,
    };
    if let Err(why) = ended {
        tracing::debug!(%peer, why, "connection lost");
    }
}

#[derive(Clone)]
struct Connection {
    clock: Clock,
    shared: Arc<Shared>,
    stop: CancellationToken,
    peer: IpAddr,
    port: u16,
}

impl Connection {
    async fn tls(self, stream: TcpStream) -> Result<(), String> {
        let seconds = Duration::from_secs(self.shared.limits.head_seconds);
        let handshake = Box::pin(self.shared.acceptor.accept(stream));
        let stream = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Ok(()),
            made = timeout(seconds, handshake) => match made {
                Ok(made) => made.map_err(|error| error.to_string())?,
                Err(_) => return Err("its handshake comes too slowly".to_owned()),
            },
        };
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => self.http2(stream).await,
            _ => self.http1(stream).await,
        }
    }

    async fn http1<S>(self, stream: S) -> Result<(), String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = &self.shared.limits;
        let stream = TokioIo::new(Watched::new(stream, self.clock.clone(), true));
        let this = self.clone();
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .max_headers(limits.head_fields)
            .max_header_size(limits.head_octets)
            // The clock has its own.
            .header_read_timeout(None)
            .serve_connection(stream, service_fn(move |request| this.clone().exchange(request)));
        self.see_through(served, http1::Connection::graceful_shutdown).await
    }

    async fn http2<S>(self, stream: S) -> Result<(), String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = &self.shared.limits;
        let stream = TokioIo::new(Watched::new(stream, self.clock.clone(), false));
        let this = self.clone();
        let served = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.head_octets).unwrap_or(u32::MAX))
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_EVERY)
            .serve_connection(stream, service_fn(move |request| this.clone().exchange(request)));
        self.see_through(served, http2::Connection::graceful_shutdown).await
    }

    /// Serves until the client has gone, its time is up, or the daemon stops.
    async fn see_through<C>(self, served: C, end: impl Fn(Pin<&mut C>)) -> Result<(), String>
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let mut served = pin!(served);
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut stopping = false;
        let over = loop {
            tokio::select! {
                biased;
                done = &mut served => return done.map_err(|error| error.to_string()),
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    end(served.as_mut());
                }
                _ = look.tick() => {
                    if let Some(why) = self.clock.is_over() {
                        break why;
                    }
                }
            }
        };
        end(served.as_mut());
        let _ = timeout(FAREWELL, served).await;
        Err(over.to_owned())
    }

    /// One request and its answer.
    async fn exchange(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let running = self.clock.begin();
        let hung_up = CancellationToken::new();
        let caller = Caller { peer: self.peer, port: self.port, hung_up: hung_up.clone() };
        // Nobody awaits this any more: the client is gone.
        let _told = hung_up.drop_guard();
        let mut response = match self.shared.answer(request, caller).await {
            Some(response) => response,
            None => answer::words(StatusCode::INTERNAL_SERVER_ERROR, "Something broke here."),
        };
        let stranger = [
            StatusCode::UNAUTHORIZED,
            StatusCode::MISDIRECTED_REQUEST,
            StatusCode::BAD_REQUEST,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::MOVED_PERMANENTLY,
        ];
        if !stranger.contains(&response.status()) {
            self.clock.has_logged_in();
        }
        response.body_mut().hold(running);
        Ok(response)
    }
}
