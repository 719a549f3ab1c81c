//! The listening sockets of the page: a task for each connection, an end in time, and a drain when the
//! daemon stops.
//!
//! RFC 9112. Each exchange is a task of its own: a panic is that one's failure, and what was begun goes on
//! when the browser hangs up.

use std::convert::Infallible;
use std::io::Write;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::site::Site;
use super::{guard, routes};
use crate::listen::{self, Most, Places};

const CONNECTIONS: usize = 64;
/// For a head to arrive, and the longest that a connection idles.
const HEAD_TIME: Duration = Duration::from_secs(10);
const HEAD_OCTETS: usize = 32 * 1024;
const HEAD_FIELDS: usize = 100;
/// However busy; a browser opens another one.
const CONNECTION_TIME: Duration = Duration::from_secs(600);
/// For a running exchange when the daemon stops, or its connection is over.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves until `stop`, and a little longer for what is being answered.
pub async fn serve(listeners: Vec<TcpListener>, site: Site, stop: CancellationToken) {
    let site = Arc::new(site);
    let router = routes::router(Arc::clone(&site));
    let all = CONNECTIONS;
    let places = Places::new(Most { all, per_loopback_address: all, per_address: all });
    let connections = TaskTracker::new();
    let accepting = TaskTracker::new();
    for socket in listeners {
        let Ok(port) = socket.local_addr().map(|address| address.port()) else { continue };
        let (site, router, places) = (Arc::clone(&site), router.clone(), places.clone());
        let (stop, connections) = (stop.clone(), connections.clone());
        accepting.spawn(async move {
            listen::accept(socket, stop.clone(), |stream, peer| {
                let Some(place) = places.take(peer) else { return turn_away(stream) };
                let connection = Connection {
                    site: Arc::clone(&site),
                    router: router.clone(),
                    port,
                    stop: stop.clone(),
                };
                connections.spawn(async move {
                    let _place = place;
                    connection.run(stream).await;
                });
            })
            .await;
        });
    }
    accepting.close();
    accepting.wait().await;
    connections.close();
    connections.wait().await;
}

/// Says why, as far as that takes no waiting.
fn turn_away(stream: TcpStream) {
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write(
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n\
              Content-Length: 0\r\n\r\n",
        );
    }
}

#[derive(Clone)]
struct Connection {
    site: Arc<Site>,
    router: Router,
    port: u16,
    stop: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let this = self.clone();
        let mut served = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .max_headers(HEAD_FIELDS)
                .max_header_size(HEAD_OCTETS)
                .serve_connection(
                    TokioIo::new(stream),
                    service_fn(move |request| this.clone().exchange(request)),
                )
        );
        tokio::select! {
            biased;
            _ = &mut served => return,
            () = self.stop.cancelled() => {}
            () = sleep(CONNECTION_TIME) => {}
        }
        served.as_mut().graceful_shutdown();
        let _ = timeout(FAREWELL, served).await;
    }

    async fn exchange(
        self,
        request: hyper::Request<hyper::body::Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let Connection { site, router, port, .. } = self;
        let answer = tokio::spawn(guard::answer(site, router, port, request.map(Body::new)));
        let broke = StatusCode::INTERNAL_SERVER_ERROR;
        Ok(answer.await.unwrap_or_else(|_| guard::with_headers(broke.into_response())))
    }
}
