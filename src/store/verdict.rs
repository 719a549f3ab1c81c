//! What became of a mail, told to the client that waits to hear it before it is given its 250.
//!
//! A refusal is told once: by the reply, or by a report. Whoever takes the place of the one who waits
//! out of `Waiting` decides which. The settling of the entry takes it *before* it writes, and then
//! writes no report: the client is told. The client's side takes it when its time is over, and the 250
//! is given: from then on there is a report. Where the place is already taken, the verdict is on its
//! way and must be waited for. A client that is gone by then was given no 250, so what goes wrong in
//! between is not ours to remember; [`Verdict::Refused`] carries the report all the same, for whoever
//! finds that it could not be told.
//!
//! Nothing here is on disk, and nothing may depend on it but what a client hears.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::Store;
use super::entry_id::EntryId;
use super::spool::Report;

/// What a client that waits is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was sent.
    Sent,
    /// It will never go. `report` is what would have been spooled, had nobody waited.
    Refused { status: [u8; 3], why: String, report: Option<Report> },
    /// It is not decided; the mail is ours.
    Queued,
}

/// Who waits, by entry; one for each.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    next: u64,
    by_entry: HashMap<EntryId, Place>,
}

#[derive(Debug)]
struct Place {
    number: u64,
    tell: oneshot::Sender<Verdict>,
}

impl Waiting {
    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the one who settles: whoever waits hears the verdict from it.
    pub(super) fn take(&self, id: EntryId) -> Option<oneshot::Sender<Verdict>> {
        let place = self.places().by_entry.remove(&id)?;
        (!place.tell.is_closed()).then_some(place.tell)
    }

    /// Whether the place was still there, and nobody is going to tell.
    fn leave(&self, id: EntryId, number: u64) -> bool {
        let mut places = self.places();
        let is_ours = places.by_entry.get(&id).is_some_and(|place| place.number == number);
        if is_ours {
            places.by_entry.remove(&id);
        }
        is_ours
    }
}

/// A place among those who wait; given back when dropped.
#[derive(Debug)]
pub struct Listening {
    waiting: Arc<Waiting>,
    id: EntryId,
    number: u64,
    verdict: oneshot::Receiver<Verdict>,
}

impl Listening {
    /// Resolves when it is decided. May be dropped and asked for again.
    pub async fn verdict(&mut self) -> Verdict {
        (&mut self.verdict).await.unwrap_or(Verdict::Queued)
    }

    /// The client waits no longer. What it is to be told now: mostly, that the mail is queued.
    pub async fn end(mut self) -> Verdict {
        if self.waiting.leave(self.id, self.number) {
            return Verdict::Queued;
        }
        self.verdict().await
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.waiting.leave(self.id, self.number);
    }
}

impl Store {
    /// Waits for what becomes of an entry, from now on; `None` while somebody else does.
    pub fn listen(&self, id: EntryId) -> Option<Listening> {
        let waiting = self.inner.spool.waiting.clone();
        let mut places = waiting.places();
        if places.by_entry.contains_key(&id) {
            return None;
        }
        places.next += 1;
        let number = places.next;
        let (tell, verdict) = oneshot::channel();
        places.by_entry.insert(id, Place { number, tell });
        drop(places);
        Some(Listening { waiting, id, number, verdict })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(waiting: &Arc<Waiting>, id: EntryId, number: u64) -> Listening {
        let (tell, verdict) = oneshot::channel();
        waiting.places().by_entry.insert(id, Place { number, tell });
        Listening { waiting: waiting.clone(), id, number, verdict }
    }

    #[tokio::test]
    async fn whoever_takes_the_place_decides_who_tells() {
        let (waiting, id) = (Arc::<Waiting>::default(), EntryId::new());
        // The client gives up first: the settling finds nobody.
        assert_eq!(listen(&waiting, id, 1).end().await, Verdict::Queued);
        assert!(waiting.take(id).is_none());
        // The settling comes first: the client hears of it although its time is over.
        let listening = listen(&waiting, id, 2);
        let tell = waiting.take(id).unwrap();
        let end = tokio::spawn(listening.end());
        tell.send(Verdict::Sent).unwrap();
        assert_eq!(end.await.unwrap(), Verdict::Sent);
        // The settling was not written: nothing is decided.
        let mut listening = listen(&waiting, id, 3);
        drop(waiting.take(id));
        assert_eq!(listening.verdict().await, Verdict::Queued);
        // A place that was taken is not another's to give back.
        let next = listen(&waiting, id, 4);
        drop(listening);
        assert!(waiting.take(id).is_some());
        drop(next);
    }

    #[tokio::test]
    async fn a_client_that_hung_up_leaves_no_place() {
        let (waiting, id) = (Arc::<Waiting>::default(), EntryId::new());
        drop(listen(&waiting, id, 1));
        assert!(waiting.take(id).is_none());
        assert!(waiting.places().by_entry.is_empty());
    }
}
