//! The body of an answer: whole, or flowing while it is being written.
//!
//! What flows and comes to no end breaks off: a client must not take the half of an answer for all of it.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Frame, SizeHint};
use hyper::body::Bytes;
use tokio::sync::mpsc;

/// Pieces that wait for the client.
const PIECES: usize = 2;

pub(super) struct Body {
    content: Content,
    /// Held until the last octet is given away.
    held: Option<Box<dyn Send + Sync>>,
}

enum Content {
    Whole(Bytes),
    Flowing(mpsc::Receiver<Piece>),
    Over,
}

pub(super) enum Piece {
    Octets(Bytes),
    End,
}

/// Whoever wrote the answer could not end it.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
pub(super) struct BrokeOff;

impl Body {
    pub(super) fn empty() -> Body {
        Body::whole(Bytes::new())
    }

    pub(super) fn whole(octets: impl Into<Bytes>) -> Body {
        Body { content: Content::Whole(octets.into()), held: None }
    }

    pub(super) fn flowing() -> (mpsc::Sender<Piece>, Body) {
        let (pieces, flowing) = mpsc::channel(PIECES);
        (pieces, Body { content: Content::Flowing(flowing), held: None })
    }

    pub(super) fn hold(&mut self, what: impl Send + Sync + 'static) {
        self.held = Some(Box::new(what));
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        match &mut self.content {
            Content::Over => Poll::Ready(None),
            Content::Whole(octets) => {
                let octets = std::mem::take(octets);
                self.content = Content::Over;
                Poll::Ready((!octets.is_empty()).then(|| Ok(Frame::data(octets))))
            }
            Content::Flowing(pieces) => match std::task::ready!(pieces.poll_recv(context)) {
                Some(Piece::Octets(octets)) => Poll::Ready(Some(Ok(Frame::data(octets)))),
                Some(Piece::End) => {
                    self.content = Content::Over;
                    Poll::Ready(None)
                }
                None => {
                    self.content = Content::Over;
                    Poll::Ready(Some(Err(BrokeOff)))
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(octets) => octets.is_empty(),
            Content::Flowing(_) => false,
            Content::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(octets) => SizeHint::with_exact(octets.len() as u64),
            Content::Flowing(_) => SizeHint::default(),
            Content::Over => SizeHint::with_exact(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn next(body: &mut Body) -> Option<Result<Bytes, BrokeOff>> {
        let frame = std::future::poll_fn(|context| {
            http_body::Body::poll_frame(Pin::new(&mut *body), context)
        });
        let frame = frame.await?;
        Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
    }

    #[tokio::test]
    async fn what_flows_ends_where_it_was_ended_and_breaks_off_otherwise() {
        let (pieces, mut body) = Body::flowing();
        pieces.try_send(Piece::Octets(Bytes::from_static(b"a"))).ok().unwrap();
        pieces.try_send(Piece::End).ok().unwrap();
        assert_eq!(next(&mut body).await.unwrap().unwrap(), "a");
        assert!(next(&mut body).await.is_none());
        let (pieces, mut body) = Body::flowing();
        pieces.try_send(Piece::Octets(Bytes::from_static(b"a"))).ok().unwrap();
        drop(pieces);
        assert_eq!(next(&mut body).await.unwrap().unwrap(), "a");
        assert!(next(&mut body).await.unwrap().is_err());
    }

    #[tokio::test]
    async fn what_is_held_is_let_go_with_the_body() {
        let held = std::sync::Arc::new(());
        let mut body = Body::whole("a");
        body.hold(held.clone());
        assert_eq!(next(&mut body).await.unwrap().unwrap(), "a");
        assert_eq!(std::sync::Arc::strong_count(&held), 2);
        drop(body);
        assert_eq!(std::sync::Arc::strong_count(&held), 1);
    }
}
