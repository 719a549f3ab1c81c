//! Answers: their heads, bodies that are known at once, and a 207 that goes out while it is written.
//!
//! RFC 4918 §8.7, §16 (what a body says of an error). No answer may hold a detail from inside.

use std::time::Duration;

use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};
use tokio::sync::{mpsc, oneshot};

use super::body::{Body, Piece};
use super::condition::Condition;
use super::markup::Writer;
use super::multistatus::Multistatus;
use super::xml::Name;
use crate::store::StoreError;
use crate::store::spool::SpoolError;
use crate::submission::NoRecipient;

pub(super) const XML: &str = "application/xml; charset=utf-8";
pub(super) const CALENDAR: &str = "text/calendar; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// What is written before it is sent on: smaller answers go whole, with their length.
const PIECE_OCTETS: usize = 32 * 1024;

pub(super) type Answer = Response<Body>;

/// An answer without a body.
pub(super) fn status(status: StatusCode) -> Answer {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

pub(super) fn with_body(code: StatusCode, content_type: &str, octets: Vec<u8>) -> Answer {
    let answer = status(code).map(|_| Body::whole(octets));
    with(answer, CONTENT_TYPE, content_type)
}

/// A header more; what no header can hold is left out.
pub(super) fn with(mut answer: Answer, name: HeaderName, value: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
    answer
}

/// For a person.
pub(super) fn words(status: StatusCode, words: &str) -> Answer {
    with_body(status, TEXT, format!("{words}\n").into_bytes())
}

/// For a program, by the condition that was not satisfied.
pub(super) fn condition(condition: &Condition) -> Answer {
    with_body(code(condition.status()), XML, condition.body())
}

/// For both. RFC 4918 §14.5: an error may hold more than its condition; those who do not know it leave it
/// out.
pub(super) fn condition_in_words(condition: &Condition, words: &str) -> Answer {
    let body = Writer::document(&Name::dav("error"), |writer| {
        condition.write(writer);
        writer.text_element(&Name::dav("responsedescription"), words);
    });
    with_body(code(condition.status()), XML, body)
}

pub(super) fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Why a request comes to nothing that is not the client's doing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Envelope(#[from] NoRecipient),
    /// A task of ours.
    #[error("it broke down: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// The client does not take what it asked for.
    #[error("the client takes no more")]
    NotTaken,
}

impl Broken {
    /// What the client is told; the log is told the whole.
    pub(super) fn answer(&self) -> Answer {
        match self {
            Broken::Store(StoreError::Full(_)) | Broken::Spool(SpoolError::Full(_)) => {
                condition(&Condition::SufficientDiskSpace)
            }
            Broken::Store(_) | Broken::Spool(_) => {
                let answer = words(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "The calendar cannot be used now; come again.",
                );
                with(answer, hyper::header::RETRY_AFTER, "10")
            }
            Broken::Task(_) | Broken::Envelope(_) | Broken::NotTaken => {
                words(StatusCode::INTERNAL_SERVER_ERROR, "Something broke here.")
            }
        }
    }
}

/// What a handler made of a request.
pub(super) enum Done {
    Whole(Answer),
    /// It went out by way of [`Reply`] already.
    Sent,
}

impl From<Answer> for Done {
    fn from(answer: Answer) -> Done {
        Done::Whole(answer)
    }
}

/// Where the one answer to a request goes: whole, or a 207 piece by piece, so that none is ever held whole.
pub(super) struct Reply {
    to: Option<oneshot::Sender<Answer>>,
    patience: Duration,
    pieces: Option<mpsc::Sender<Piece>>,
    written: Vec<u8>,
    /// RFC 7240 §3: this wish was heard.
    pub(super) minimal: bool,
}

impl Reply {
    /// `patience`: how long a client may leave a piece unread.
    pub(super) fn new(patience: Duration) -> (Reply, oneshot::Receiver<Answer>) {
        let (to, answered) = oneshot::channel();
        let (pieces, written, minimal) = (None, Vec::new(), false);
        (Reply { to: Some(to), patience, pieces, written, minimal }, answered)
    }

    /// Whether somebody was there to take it, and nothing had gone out before.
    pub(super) fn send(&mut self, answer: Answer) -> bool {
        // What we say is what it says it is.
        let answer = with(answer, X_CONTENT_TYPE_OPTIONS, "nosniff");
        self.to.take().is_some_and(|to| to.send(answer).is_ok())
    }

    /// Sends on what has been written of a 207, if it is enough to be worth it.
    pub(super) async fn drain(&mut self, multistatus: &mut Multistatus) -> Result<(), Broken> {
        self.written.extend(multistatus.drain());
        if self.written.len() < PIECE_OCTETS {
            return Ok(());
        }
        if self.pieces.is_none() {
            let (pieces, body) = Body::flowing();
            let head = self.head(body);
            if !self.send(head) {
                return Err(Broken::NotTaken);
            }
            self.pieces = Some(pieces);
        }
        let octets = std::mem::take(&mut self.written);
        self.piece(Piece::Octets(octets.into())).await
    }

    /// Sends the rest of it.
    pub(super) async fn end(
        &mut self,
        multistatus: Multistatus,
        sync_token: Option<&str>,
    ) -> Result<Done, Broken> {
        self.written.extend(multistatus.end(sync_token));
        let octets = std::mem::take(&mut self.written);
        if self.pieces.is_none() {
            let answer = self.head(Body::whole(octets));
            self.send(answer);
            return Ok(Done::Sent);
        }
        self.piece(Piece::Octets(octets.into())).await?;
        self.piece(Piece::End).await?;
        Ok(Done::Sent)
    }

    async fn piece(&self, piece: Piece) -> Result<(), Broken> {
        let Some(pieces) = &self.pieces else { return Err(Broken::NotTaken) };
        match tokio::time::timeout(self.patience, pieces.send(piece)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Broken::NotTaken),
        }
    }

    fn head(&self, body: Body) -> Answer {
        let answer = status(StatusCode::MULTI_STATUS).map(|_| body);
        let answer = with(answer, CONTENT_TYPE, XML);
        applied(answer, self.minimal.then_some("return=minimal"))
    }
}

/// RFC 7240 §3: which wish was heard.
pub(super) fn applied(answer: Answer, preference: Option<&str>) -> Answer {
    const APPLIED: HeaderName = HeaderName::from_static("preference-applied");
    match preference {
        Some(preference) => with(answer, APPLIED, preference),
        None => answer,
    }
}
