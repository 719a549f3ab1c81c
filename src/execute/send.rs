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

impl Executor {
    /// `POST /me/sendMail`: one call, and nothing to look at if its answer is lost.
    pub(super) async fn send_at_once(&self, turn: &Turn, message: &[u8]) -> Result<(), Ended> {
        let id = turn.entry.id;
        let sent = self
            .with_token(turn, |graph, token| async move {
                self.store.begin_sending(id, &Progress::default()).await.map_err(not_written)?;
                let answer = graph.send_mime(token.expose(), message).await;
                if matches!(answer, Err(Failure::TokenRefused { .. })) {
                    // A 401 is certain: nothing was sent.
                    self.store.not_sent(id, &Progress::default()).await.map_err(not_written)?;
                }
                answer
            })
            .await;
        sent.map_err(Ended::from)
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
        mut progress: Progress,
    ) -> Result<(), Ended> {
        let id = turn.entry.id;
        let Some(draft_id) = progress.draft.as_ref().map(|draft| draft.id.clone()) else {
            return Err(later("the draft is lost".into()));
        };
        let unsent = progress.clone();
        progress.doubt = Some(Doubt::new(self.store.clock().now(), self.patience));
        let (sending, unsent, draft_id) = (&progress, &unsent, draft_id.as_str());
        let sent = self
            .with_token(turn, |graph, token| async move {
                self.store.begin_sending(id, sending).await.map_err(not_written)?;
                let answer = graph.send_draft(token.expose(), draft_id).await;
                if answer.as_ref().is_err_and(is_certain) {
                    self.store.not_sent(id, unsent).await.map_err(not_written)?;
                }
                answer
            })
            .await;
        match sent {
            Ok(()) => Ok(()),
            Err(Missed::Gone) => Err(self.in_doubt(sending, "the draft is gone".into())),
            Err(Missed::Ended(Ended::Unknown { note })) => Err(self.in_doubt(sending, note)),
            Err(missed) => Err(missed.into()),
        }
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
    /// was not, and may be sent again.
    pub(super) async fn resolve(
        &self,
        turn: &Turn,
        progress: &mut Progress,
    ) -> Result<bool, Ended> {
        let (Some(draft), Some(doubt)) = (&progress.draft, &progress.doubt) else {
            return Ok(false);
        };
        if self.store.clock().now() < doubt.look_at {
            return Err(self.in_doubt(progress, "it is too early to look".into()));
        }
        let seen = self.look_for_draft(turn, draft, doubt.since).await?;
        match doubt.judge(seen, self.store.clock().now(), self.patience) {
            Verdict::Sent => Ok(true),
            Verdict::SendAgain => {
                progress.doubt = None;
                Ok(false)
            }
            Verdict::LookAgain(doubt) => {
                let at = doubt.look_at;
                progress.doubt = Some(doubt);
                self.record_progress(turn, progress).await?;
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

    fn in_doubt(&self, progress: &Progress, note: String) -> Ended {
        let now = || self.store.clock().now();
        let at = progress.doubt.as_ref().map_or_else(now, |doubt| doubt.look_at);
        Ended::InDoubt { at, note: format!("{NO_ANSWER} ({note})") }
    }

    /// By its id, by our tag, by its Message-ID.
    async fn look_for_draft(
        &self,
        turn: &Turn,
        draft: &Draft,
        begun_at: Timestamp,
    ) -> Result<Seen, Ended> {
        let (tag, draft) = (&tag(turn), &draft);
        let sighting = self
            .with_token(turn, |graph, token| async move {
                let (id, message_id) = (Some(draft.id.as_str()), draft.message_id.as_deref());
                graph.find(token.expose(), &Traces { id, tag, message_id, begun_at }).await
            })
            .await;
        let sighting = sighting.map_err(|missed| match Ended::from(missed) {
            // That it may not be looked for says nothing of whether it was sent.
            Ended::Failed(refused) => later(format!("it cannot be looked for: {}", refused.why)),
            ended => ended,
        })?;
        Ok(match sighting.standing {
            Standing::Sent | Standing::Submitted => Seen::Sent,
            Standing::Unsent if sighting.id.as_ref() == Some(&draft.id) => Seen::Unsent,
            // Another draft of this mail, left by a create without an answer, says nothing of this one.
            Standing::Unsent | Standing::Nowhere => Seen::Nowhere,
        })
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

/// Nothing was sent, whatever else. A 404 is not: what was sent is a draft no more.
fn is_certain(failure: &Failure) -> bool {
    !matches!(failure, Failure::Unknown { .. } | Failure::Never { status: 404, .. })
}
