//! Sends a mail: by way of a draft where the account allows it, else at once.
//!
//! The draft is what makes a lost answer harmless: it can be looked at. It is made and tagged, which may
//! be repeated; then *sending* is written down, and the one call is made that cannot be taken back. Of a
//! call without an answer the next attempt finds out what became of it ([`crate::doubt`]) before it
//! does anything else.

use std::time::Duration;

use jiff::Timestamp;

use super::{Ended, Executor, Missed, Turn, later, not_written};
use crate::doubt::{Doubt, Seen, Verdict};
use crate::graph::Failure;
use crate::graph::draft::Traces;
use crate::graph::message::{Found, Standing};
use crate::store::progress::{Draft, Progress};
use crate::store::spool::{Entry, State};

impl Executor {
    /// `POST /me/sendMail`: one call, and nothing to look at if its answer is lost.
    pub(super) async fn send_at_once(
        &self,
        turn: &Turn,
        progress: &Progress,
        message: &[u8],
    ) -> Result<(), Ended> {
        let id = turn.entry.id;
        // What is true if this is the last that is heard of it: without a doubt it is held.
        let tries_again = self.patience.tries_again() && progress.doubt.is_none();
        let doubt = tries_again.then(|| Doubt::new(self.store.clock().now(), self.patience));
        let at = doubt.as_ref().map(|doubt| doubt.look_at);
        let sending = &Progress { doubt, ..progress.clone() };
        let sent = self
            .with_token(turn, |graph, token| async move {
                self.store.begin_sending(id, sending).await.map_err(not_written)?;
                let answer = graph.send_mime(token.expose(), message).await;
                if answer.as_ref().is_err_and(|failure| !matches!(failure, Failure::Unknown { .. }))
                {
                    // That is certain: nothing was sent.
                    self.store.not_sent(id, progress).await.map_err(not_written)?;
                }
                answer
            })
            .await;
        match (sent.map_err(Ended::from), at) {
            (Err(Ended::Unknown { note }), Some(at)) => Err(Ended::InDoubt {
                at,
                note: format!("{NO_ANSWER} ({note}); it is sent once more"),
            }),
            (sent, _) => sent,
        }
    }

    /// Draft, tag, send, with a record between any two.
    pub(super) async fn send_by_draft(
        &self,
        turn: &Turn,
        mut progress: Progress,
        message: &[u8],
    ) -> Result<(), Ended> {
        if progress.draft.is_none() {
            progress.begun += 1;
            self.record_progress(turn, &progress).await?;
            let made = self
                .with_token(turn, |graph, token| async move {
                    graph.create_draft(token.expose(), message).await
                })
                .await?;
            let (id, message_id) = (made.id, made.internet_message_id);
            progress.draft =
                Some(Draft { id, message_id, tagged: false, attached: 0, is_whole: true });
            self.record_progress(turn, &progress).await?;
        }
        if let Some(draft) = &mut progress.draft
            && !draft.tagged
        {
            let (draft_id, tag) = (draft.id.as_str(), &tag(turn));
            let tagged = self
                .with_token(turn, |graph, token| async move {
                    graph.tag_draft(token.expose(), draft_id, tag).await
                })
                .await;
            match tagged {
                Ok(()) => draft.tagged = true,
                Err(Missed::Gone) => return Err(self.draft_gone(turn, &mut progress).await),
                Err(missed) => return Err(missed.into()),
            }
        }
        self.send_the_draft(turn, progress).await
    }

    /// The one call that cannot be taken back, of a draft to which nothing is missing.
    pub(super) async fn send_the_draft(
        &self,
        turn: &Turn,
        progress: Progress,
    ) -> Result<(), Ended> {
        let (id, progress) = (turn.entry.id, &progress);
        let Some(draft) = &progress.draft else {
            return Err(later("the draft is lost".into()));
        };
        let in_doubt = self
            .with_token(turn, |graph, token| async move {
                let since = self.store.clock().now();
                // What is true if this is the last that is heard of it.
                let sending = progress.in_doubt(Doubt::new(since, self.patience));
                self.store.begin_sending(id, &sending).await.map_err(not_written)?;
                let Err(failure) = graph.send_draft(token.expose(), &draft.id).await else {
                    return Ok(None);
                };
                let (answer, earlier) = (failure.of_a_send(), progress.doubt.as_ref());
                match answer.weigh(earlier, since, self.store.clock().now(), self.patience) {
                    Some(doubt) => Ok(Some((doubt, failure.into_why()))),
                    None => {
                        self.store.not_sent(id, progress).await.map_err(not_written)?;
                        Err(failure)
                    }
                }
            })
            .await?;
        let Some((doubt, why)) = in_doubt else { return Ok(()) };
        let at = doubt.look_at;
        if self.record_progress(turn, &progress.in_doubt(doubt)).await.is_err() {
            tracing::warn!(entry = %id, "in doubt as it was written down before the call");
        }
        Err(Ended::InDoubt { at, note: format!("{NO_ANSWER} ({why})") })
    }

    /// Somebody deleted the draft before it was sent: the next attempt makes another one.
    pub(super) async fn draft_gone(&self, turn: &Turn, progress: &mut Progress) -> Ended {
        progress.draft = None;
        match self.record_progress(turn, progress).await {
            Ok(()) => later("the draft was deleted before it was sent".into()),
            Err(ended) => ended,
        }
    }

    /// Finds out what became of a send whose answer is not known. `true`: it was sent; `false`: it
    /// was not, and may be sent again; the doubt stays until it is, and beyond if nothing comes of that.
    pub(super) async fn resolve(&self, turn: &Turn, progress: &Progress) -> Result<bool, Ended> {
        let Some(doubt) = &progress.doubt else { return Ok(false) };
        let too_early = || {
            let note = format!("{NO_ANSWER} (it is too early to look)");
            Ended::InDoubt { at: doubt.look_at, note }
        };
        if !turn.account.has("Mail.ReadWrite") {
            if progress.draft.is_none() && self.patience.tries_again() {
                let is_early = self.store.clock().now() < doubt.look_at;
                return if is_early { Err(too_early()) } else { Ok(false) };
            }
            // Graph's refusal would stop the account, which may well send.
            let note = format!("{NO_ANSWER}, and the account may not look for it any more");
            return Err(Ended::Unknown { note });
        }
        if self.store.clock().now() < doubt.look_at {
            return Err(too_early());
        }
        let seen = self.look_for_draft(turn, progress, doubt.since).await?;
        match doubt.judge(seen, self.store.clock().now(), self.patience) {
            Verdict::Sent => Ok(true),
            Verdict::SendAgain => Ok(false),
            Verdict::LookAgain(doubt) => {
                let at = doubt.look_at;
                self.record_progress(turn, &progress.in_doubt(doubt)).await?;
                let what =
                    if seen == Seen::Nowhere { "nowhere to be found" } else { "not sent yet" };
                Err(Ended::InDoubt { at, note: format!("{NO_ANSWER}; it is {what}") })
            }
            Verdict::Held => Err(Ended::Unknown {
                note: format!(
                    "{NO_ANSWER}, and it is neither in Drafts nor in Sent Items: whether it went, \
                     its recipients know"
                ),
            }),
        }
    }

    /// By its id, by our tag, by its Message-ID.
    async fn look_for_draft(
        &self,
        turn: &Turn,
        progress: &Progress,
        begun_at: Timestamp,
    ) -> Result<Seen, Ended> {
        let (tag, draft) = (&tag(turn), progress.draft.as_ref());
        let id = draft.map(|draft| draft.id.as_str());
        let message_id = draft.and_then(|draft| draft.message_id.as_deref());
        let standing = self
            .with_token(turn, |graph, token| async move {
                graph.find(token.expose(), &Traces { id, tag, message_id, begun_at }).await
            })
            .await;
        match standing.map_err(Ended::from) {
            Ok(Standing::Sent | Standing::Submitted) => Ok(Seen::Sent),
            Ok(Standing::Unsent) if draft.is_some() => Ok(Seen::Unsent),
            Ok(Standing::Unsent | Standing::Nowhere) => Ok(Seen::Nowhere),
            // That it may not be looked for says nothing of whether it was sent.
            Err(Ended::Failed(refused)) => {
                Err(later(format!("it cannot be looked for: {}", refused.why)))
            }
            Err(ended) => Err(ended),
        }
    }

    /// The unsent drafts in the mailbox that this mail made: they carry its tag, or, where a create had no
    /// answer and so no tag could follow, its Message-ID. A draft of another mail's, or of its user's, may
    /// have that as well: one that is older than the mail, or has another tag, is none of ours.
    async fn left_behind(&self, turn: &Turn) -> Result<Vec<Found>, Ended> {
        let (tag, progress) = (&tag(turn), &turn.entry.progress);
        let mut found = self
            .with_token(turn, |graph, token| async move {
                graph.messages_tagged(token.expose(), tag).await
            })
            .await?;
        let name = progress.draft.as_ref().and_then(|draft| draft.message_id.as_deref());
        if let Some(name) = name.filter(|_| progress.begun > 1) {
            let called = self
                .with_token(turn, |graph, token| async move {
                    graph.messages_called(token.expose(), name).await
                })
                .await?;
            // Clocks differ a little.
            let accepted_at = turn.entry.accepted_at;
            let since = accepted_at.saturating_sub(CLOCKS_DIFFER).unwrap_or(accepted_at);
            let is_ours = |one: &Found| {
                one.tag().is_none() && one.created_at().is_some_and(|created| created >= since)
            };
            found.extend(called.into_iter().filter(is_ours));
        }
        found.retain(|one| !one.is_sent());
        Ok(found)
    }

    /// Deletes the drafts that a mail left behind which came to its end.
    pub async fn sweep(&self, turn: &Turn) -> Result<(), Ended> {
        let left = self.left_behind(turn).await?;
        // An operator may have set it in motion again meanwhile: what it goes by now is among these.
        let found = self.store.entry(turn.entry.id).await;
        let found = found.map_err(|error| later(error.to_string()))?;
        let is_over = |entry: &Entry| {
            matches!(entry.state, State::Sent | State::Failed)
                && entry.attempts == turn.entry.attempts
        };
        if !found.as_ref().is_some_and(is_over) {
            return Err(later("it is on its way again".into()));
        }
        for id in left.iter().map(|one| one.id.as_str()) {
            let deleted = self
                .with_token(turn, |graph, token| async move {
                    graph.delete_draft(token.expose(), id).await
                })
                .await;
            match deleted {
                Ok(()) | Err(Missed::Gone) => {}
                Err(missed) => return Err(missed.into()),
            }
        }
        Ok(())
    }

    pub(super) async fn record_progress(
        &self,
        turn: &Turn,
        progress: &Progress,
    ) -> Result<(), Ended> {
        let written = self.store.record_progress(turn.entry.id, progress).await;
        written.map_err(|error| later(error.to_string()))
    }
}

const CLOCKS_DIFFER: Duration = Duration::from_secs(300);
const NO_ANSWER: &str = "Microsoft's answer to the call that sends it never came";

/// Graph: values of extended properties are compared without regard to case.
pub(super) fn tag(turn: &Turn) -> String {
    turn.entry.id.to_string().to_lowercase()
}
