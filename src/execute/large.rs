//! A mail that no request holds: a draft made of properties, its files brought to it one by one.
//!
//! Source: Graph "create message", "add attachment", "attach large files to Outlook messages". The mail
//! stays in its file: its body, a small file or a piece of a large one are all that is in memory. Between
//! any two calls it is written down how far the draft is; what hangs on it is looked at before a call is
//! repeated whose answer was lost. What cannot be told for certain costs a new draft, never a file that is
//! missing or there twice: nobody saw the old one.

use std::fs;
use std::sync::Arc;

use super::part::{self, Part, Unread, blocking};
use super::send::tag;
use super::{Ended, Executor, Missed, Turn, later};
use crate::graph::message::{Attached, MessageAttachment, MessageBody};
use crate::graph::upload::POSTED_OCTETS_MAX;
use crate::mime::Stamp;
use crate::mime::content::Attachment;
use crate::mime::decompose::{Decomposed, decompose};
use crate::store::progress::{Draft, Progress};
use crate::submission::Envelope;

/// A mail taken apart.
struct Large {
    file: Arc<fs::File>,
    mail: Decomposed,
    body: String,
}

impl Executor {
    /// Draft, files, send, with a record between any two.
    pub(super) async fn send_large(
        &self,
        turn: &Turn,
        envelope: Envelope,
        mut progress: Progress,
    ) -> Result<(), Ended> {
        if !progress.draft.as_ref().is_some_and(|draft| draft.is_whole) {
            self.make_whole(turn, envelope, &mut progress).await?;
        }
        self.send_the_draft(turn, progress).await
    }

    /// Makes the draft, or goes on with the one that is there.
    async fn make_whole(
        &self,
        turn: &Turn,
        envelope: Envelope,
        progress: &mut Progress,
    ) -> Result<(), Ended> {
        let Large { file, mail, body } = self.take_apart(turn, envelope).await?;
        let files = &mail.attachments;
        let (mut draft, is_new) = match progress.draft.take() {
            Some(mut draft) => {
                let there = self.attachments(turn, progress, &draft).await?;
                let Some(attached) = how_many(&there, draft.attached, files) else {
                    return Err(self.anew(turn, progress, &draft).await);
                };
                draft.attached = attached;
                (draft, false)
            }
            None => (self.create_large(turn, progress, &mail, body).await?, true),
        };
        for (index, attachment) in files.iter().enumerate().skip(draft.attached) {
            match self.bring(turn, &draft.id, index, attachment, &file).await {
                Ok(()) => draft.attached = index + 1,
                Err(Missed::Gone) => return Err(self.draft_gone(turn, progress).await),
                Err(missed) => return Err(missed.into()),
            }
            progress.draft = Some(draft.clone());
            self.record_progress(turn, progress).await?;
        }
        // A call without an answer may have had its effect after it was looked for.
        if !is_new && self.attachments(turn, progress, &draft).await?.len() != files.len() {
            return Err(self.anew(turn, progress, &draft).await);
        }
        draft.is_whole = true;
        progress.draft = Some(draft);
        self.record_progress(turn, progress).await
    }

    /// Maps the mail and reads its body.
    async fn take_apart(&self, turn: &Turn, envelope: Envelope) -> Result<Large, Ended> {
        let file = match self.store.body_file(turn.entry.id).await {
            Ok(Some(file)) => Arc::new(file),
            Ok(None) => return Err(super::octets_gone()),
            Err(error) => return Err(later(error.to_string())),
        };
        let account = turn.account.clone();
        let stamp = Stamp { id: turn.entry.id.to_string(), accepted_at: turn.entry.accepted_at };
        let read = blocking(move || {
            let outline = part::outline(&file)?;
            let mut mail = decompose(&outline, &envelope, &account, &stamp)?;
            // Their sizes were checked.
            let texts =
                mail.texts.iter().map(|text| Part::new(&file, &text.content).next(usize::MAX));
            let texts = texts.collect::<Result<Vec<_>, _>>()?;
            let body = mail.body(&texts)?;
            Ok(Large { file, mail, body })
        });
        match read.await {
            Ok(Ok(large)) => Ok(large),
            Ok(Err(Unread::Refused(refusal))) => Err(Ended::Failed(refusal.into())),
            Ok(Err(Unread::Disk(error))) | Err(error) => Err(unreadable(&error)),
        }
    }

    /// A draft without files, with our tag on it from the first.
    async fn create_large(
        &self,
        turn: &Turn,
        progress: &mut Progress,
        mail: &Decomposed,
        body: String,
    ) -> Result<Draft, Ended> {
        let (entry, files) = (turn.entry.id, mail.attachments.len());
        tracing::info!(%entry, files, not_as_it_was = mail.notes.join("; "), "too large for MIME");
        progress.begun += 1;
        self.record_progress(turn, progress).await?;
        let message = &MessageBody::new(mail, body, &tag(turn));
        let made = self
            .with_token(turn, |graph, token| async move {
                graph.create_json_draft(token.expose(), message).await
            })
            .await?;
        let (id, message_id) = (made.id, made.internet_message_id);
        let draft = Draft { id, message_id, tagged: true, attached: 0, is_whole: false };
        progress.draft = Some(draft.clone());
        self.record_progress(turn, progress).await?;
        Ok(draft)
    }

    /// Brings one file to the draft.
    async fn bring(
        &self,
        turn: &Turn,
        draft_id: &str,
        index: usize,
        attachment: &Attachment,
        file: &Arc<fs::File>,
    ) -> Result<(), Missed> {
        let mut part = Part::new(file, &attachment.content);
        let most = usize::try_from(POSTED_OCTETS_MAX).unwrap_or(usize::MAX);
        let octets = blocking(move || part.next(most)).await.and_then(|read| read);
        let octets = octets.map_err(|error| unreadable(&error))?;
        if octets.len() == most {
            drop(octets);
            return self.upload(turn, draft_id, index, attachment, file).await;
        }
        let attachment = &MessageAttachment::new(attachment, &octets);
        drop(octets);
        self.with_token(turn, |graph, token| async move {
            graph.attach_to_draft(token.expose(), draft_id, attachment).await
        })
        .await
    }

    async fn attachments(
        &self,
        turn: &Turn,
        progress: &mut Progress,
        draft: &Draft,
    ) -> Result<Vec<Attached>, Ended> {
        let id = draft.id.as_str();
        let there = self
            .with_token(turn, |graph, token| async move {
                graph.draft_attachments(token.expose(), id).await
            })
            .await;
        match there {
            Ok(there) => Ok(there),
            Err(Missed::Gone) => Err(self.draft_gone(turn, progress).await),
            Err(missed) => Err(missed.into()),
        }
    }

    /// Lets go of a draft that is not what it should be. It was never sent.
    async fn anew(&self, turn: &Turn, progress: &mut Progress, draft: &Draft) -> Ended {
        progress.draft = None;
        if let Err(ended) = self.record_progress(turn, progress).await {
            return ended;
        }
        let id = draft.id.as_str();
        let deleted =
            self.with_token(turn, |graph, token| async move {
                graph.delete_draft(token.expose(), id).await
            })
            .await;
        if deleted.is_err() {
            tracing::info!(entry = %turn.entry.id, "a draft is left to the sweeper");
        }
        later("files of the draft were missing or there twice: another one is made".into())
    }
}

/// How many of the files hang on a draft; `None` where that cannot be told.
///
/// They are brought in their order and one at a time, so beside those that are `known` to be there, there
/// is at most the next one, whose answer was lost. Anything else came late, or from somebody else.
fn how_many(there: &[Attached], known: usize, files: &[Attachment]) -> Option<usize> {
    if there.len() == known {
        return Some(known);
    }
    let expected = files.get(..=known).filter(|expected| expected.len() == there.len())?;
    let (next, before) = expected.split_last()?;
    let mut names: Vec<&str> = there.iter().filter_map(|one| one.name.as_deref()).collect();
    let mut expected: Vec<&str> = expected.iter().map(|file| file.name.as_str()).collect();
    names.sort_unstable();
    expected.sort_unstable();
    // Where two files have one name, this might be the first of them once more.
    let is_told_apart = before.iter().all(|file| file.name != next.name);
    (is_told_apart && names == expected).then_some(there.len())
}

/// Of the spool's own file.
pub(super) fn unreadable(error: &std::io::Error) -> Ended {
    later(format!("the mail cannot be read from the spool: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mime::content::Content;
    use crate::mime::decode::Encoding;

    #[test]
    fn a_file_whose_answer_was_lost_is_known_by_its_name_if_no_other_has_it() {
        let files: Vec<Attachment> = ["a.pdf", "b.pdf", "a.pdf"]
            .map(|name| Attachment {
                name: name.to_owned(),
                content_type: "application/pdf".to_owned(),
                content_id: None,
                is_inline: false,
                content: Content { range: 0..1, encoding: Encoding::Identity },
            })
            .into();
        let there = |names: &[&str]| -> Vec<Attached> {
            let one =
                |name: &&str| Attached { id: "x".into(), name: Some((*name).into()), size: 1 };
            names.iter().map(one).collect()
        };
        for (names, known, expected) in [
            (&[][..], 0, Some(0)),
            (&["a.pdf"], 1, Some(1)),
            (&["a.pdf"], 0, Some(1)),
            (&["b.pdf", "a.pdf"], 1, Some(2)),
            // The first one came twice.
            (&["a.pdf", "a.pdf"], 1, None),
            // The third one, or the first one again.
            (&["a.pdf", "b.pdf", "a.pdf"], 2, None),
            (&["a.pdf", "b.pdf", "a.pdf"], 3, Some(3)),
            (&["a.pdf", "b.pdf"], 0, None),
            (&[], 1, None),
            (&["a.pdf", "b.pdf", "a.pdf", "x"], 3, None),
        ] {
            assert_eq!(how_many(&there(names), known, &files), expected, "{names:?} {known}");
        }
    }
}
