//! One large file of a draft, in pieces, each decoded when its turn comes.
//!
//! Source: Graph uploadSession. Where an attempt ends in the middle, the session is remembered, in memory
//! only: its URL is a permission. The next attempt asks it what it expects and goes on from there; after a
//! restart, and where the session is over, the file is begun anew.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::large::unreadable;
use super::part::{Part, blocking};
use super::{Ended, Executor, Missed, Turn, later};
use crate::graph::Failure;
use crate::graph::message::AttachmentItem;
use crate::graph::upload::{CHUNK_OCTETS, Progress, Session};
use crate::mime::content::Attachment;
use crate::store::spool::EntryId;

/// More unfinished uploads than this are not remembered.
const UNFINISHED_MAX: usize = 1_000;

/// The uploads that were left in the middle, by their mails; clones share them.
#[derive(Clone, Default)]
pub(super) struct Uploads(Arc<Mutex<HashMap<EntryId, Unfinished>>>);

struct Unfinished {
    draft_id: String,
    /// Which file of the mail.
    index: usize,
    session: Session,
}

impl Uploads {
    fn remember(&self, id: EntryId, unfinished: Unfinished) {
        let mut uploads = self.lock();
        if uploads.len() < UNFINISHED_MAX {
            uploads.insert(id, unfinished);
        }
    }

    fn take(&self, id: EntryId) -> Option<Unfinished> {
        self.lock().remove(&id)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EntryId, Unfinished>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Executor {
    /// Uploads the file with this index, or what is missing of it.
    pub(super) async fn upload(
        &self,
        turn: &Turn,
        draft_id: &str,
        index: usize,
        attachment: &Attachment,
        file: &Arc<fs::File>,
    ) -> Result<(), Missed> {
        let mut part = Part::new(file, &attachment.content);
        let size = blocking(move || part.skip(u64::MAX)).await.and_then(|read| read);
        let size = size.map_err(|error| unreadable(&error))?;
        let remember = |session: Session| {
            let draft_id = draft_id.to_owned();
            self.uploads.remember(turn.entry.id, Unfinished { draft_id, index, session });
        };

        let unfinished = self.uploads.take(turn.entry.id);
        let unfinished = unfinished.filter(|one| one.draft_id == draft_id && one.index == index);
        let mut begun = None;
        if let Some(Unfinished { session, .. }) = unfinished {
            match turn.graph.upload_progress(&session).await {
                Ok(Progress::Expects(next)) if next < size => begun = Some((session, next)),
                Err(failure @ Failure::Later { .. }) => {
                    remember(session);
                    return Err(Ended::from(failure).into());
                }
                Ok(_) | Err(_) => {}
            }
        }
        let (session, mut next) = match begun {
            Some(begun) => begun,
            None => {
                let item = &AttachmentItem::new(attachment, size);
                let session = self
                    .with_token(turn, |graph, token| async move {
                        graph.begin_upload(token.expose(), draft_id, item).await
                    })
                    .await?;
                (session, 0)
            }
        };

        let mut part = Part::new(file, &attachment.content);
        let mut passed = next;
        while next < size {
            let read = blocking(move || {
                let piece = part.skip(passed).and_then(|_| part.next(CHUNK_OCTETS));
                (part, piece)
            });
            let (back, piece) = read.await.map_err(|error| unreadable(&error))?;
            (part, passed) = (back, 0);
            let piece = piece.map_err(|error| unreadable(&error))?;
            let after = next.saturating_add(piece.len() as u64);
            match turn.graph.upload(&session, next, size, piece).await {
                Ok(Progress::Attached) if after == size => return Ok(()),
                Ok(Progress::Expects(expected)) if expected == after => next = after,
                Ok(_) => break,
                Err(failure) => {
                    if matches!(failure, Failure::Later { .. }) {
                        remember(session);
                    }
                    return Err(Ended::from(failure).into());
                }
            }
        }
        Err(later("an upload was broken off by Graph, and is begun anew".into()).into())
    }
}
