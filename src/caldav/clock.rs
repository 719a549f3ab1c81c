//! How long a connection may still go on, from what it does: it speaks, it is served, it reads.
//!
//! RFC 9112 §9.5. hyper has one limit for a head that is slow and for a client that is silent; a program
//! that keeps its connection for its next look deserves more time than a stranger, who gets none to spare.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::limits::Limits;

/// Of one connection; clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    state: Arc<Mutex<State>>,
    head: Duration,
    idle: Duration,
    write: Duration,
}

#[derive(Debug)]
struct State {
    /// Exchanges that run now.
    running: usize,
    /// Somebody has logged in on it.
    known: bool,
    /// Since when nothing runs.
    idle_since: Instant,
    /// Since when octets of a head have been coming.
    head_since: Option<Instant>,
    /// Since when the client has not taken what is written.
    stalled_since: Option<Instant>,
}

impl Clock {
    pub(super) fn new(limits: &Limits) -> Clock {
        let state = State {
            running: 0,
            known: false,
            idle_since: Instant::now(),
            head_since: None,
            stalled_since: None,
        };
        Clock {
            state: Arc::new(Mutex::new(state)),
            head: Duration::from_secs(limits.head_seconds),
            idle: Duration::from_secs(limits.idle_seconds),
            write: Duration::from_secs(limits.write_seconds),
        }
    }

    /// An exchange begins; it is over when what is returned is dropped.
    pub(super) fn begin(&self) -> Exchange {
        let mut state = self.state();
        state.running += 1;
        state.head_since = None;
        drop(state);
        Exchange(self.clone())
    }

    pub(super) fn has_logged_in(&self) {
        self.state().known = true;
    }

    /// Whether the client's time is up, and for what.
    pub(super) fn is_over(&self) -> Option<&'static str> {
        let now = Instant::now();
        let state = self.state();
        let since = |since: Option<Instant>, limit: Duration| {
            since.is_some_and(|since| now.saturating_duration_since(since) >= limit)
        };
        if since(state.stalled_since, self.write) {
            return Some("it does not read");
        }
        if state.running > 0 {
            return None;
        }
        if since(state.head_since, self.head) {
            return Some("its request comes too slowly");
        }
        let idle = if state.known { self.idle } else { self.head };
        since(Some(state.idle_since), idle).then_some("it is silent")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request and its answer.
#[derive(Debug)]
pub(super) struct Exchange(Clock);

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.running = state.running.saturating_sub(1);
        state.idle_since = Instant::now();
    }
}

/// A stream that tells its clock what goes on.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    clock: Clock,
    /// HTTP/1: what comes while nothing runs is a head.
    heads: bool,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, clock: Clock, heads: bool) -> Watched<S> {
        Watched { stream, clock, heads }
    }

    fn written<T>(&self, poll: Poll<T>) -> Poll<T> {
        let mut state = self.clock.state();
        state.stalled_since = match poll {
            Poll::Ready(_) => None,
            Poll::Pending => state.stalled_since.or_else(|| Some(Instant::now())),
        };
        poll
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.heads && buffer.filled().len() > before {
            let mut state = self.clock.state();
            if state.running == 0 {
                state.head_since.get_or_insert_with(Instant::now);
            }
        }
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, octets);
        self.written(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(context, octets);
        self.written(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(context);
        self.written(poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn clock() -> Clock {
        Clock::new(&Limits::default())
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_has_less_time_than_who_has_logged_in() {
        let clock = clock();
        pass(9).await;
        assert_eq!(clock.is_over(), None);
        pass(1).await;
        assert_eq!(clock.is_over(), Some("it is silent"));
        clock.has_logged_in();
        pass(49).await;
        assert_eq!(clock.is_over(), None);
        pass(1).await;
        assert_eq!(clock.is_over(), Some("it is silent"));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_silent_while_served_and_time_begins_anew_after() {
        let clock = clock();
        clock.has_logged_in();
        let exchange = clock.begin();
        pass(600).await;
        assert_eq!(clock.is_over(), None);
        drop(exchange);
        pass(59).await;
        assert_eq!(clock.is_over(), None);
        pass(1).await;
        assert_eq!(clock.is_over(), Some("it is silent"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_its_time_as_a_whole() {
        let clock = clock();
        clock.has_logged_in();
        let mut stream = Watched::new(&b"GET / HTTP/1.1\r\n"[..], clock.clone(), true);
        pass(30).await;
        for _ in 0..10 {
            stream.read_u8().await.unwrap();
            assert_eq!(clock.is_over(), None);
            pass(1).await;
        }
        assert_eq!(clock.is_over(), Some("its request comes too slowly"));
        let exchange = clock.begin();
        drop(exchange);
        assert_eq!(clock.is_over(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_let_go_even_while_served() {
        let clock = clock();
        let _exchange = clock.begin();
        let (near, _far) = tokio::io::duplex(4);
        let mut stream = Watched::new(near, clock.clone(), true);
        let write = tokio::io::AsyncWriteExt::write_all(&mut stream, b"more than it takes");
        assert!(tokio::time::timeout(Duration::from_secs(59), write).await.is_err());
        assert_eq!(clock.is_over(), None);
        pass(1).await;
        assert_eq!(clock.is_over(), Some("it does not read"));
    }
}
