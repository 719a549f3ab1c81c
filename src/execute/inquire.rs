//! Asks a mailbox what the documentation leaves open, with its owner's consent: one mail to itself, drafts
//! and events that are deleted again. It touches nothing else, and looks at nothing but these.
//!
//! The mail is to nobody else and is worth nothing, so no record is written before it goes: where an answer
//! is lost, the inquiry ends.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{Ended, Executor, Missed};
use crate::access::AccessToken;
use crate::account::Account;
use crate::finding::{Finding, Inquiry, Question};
use crate::graph::draft::Traces;
use crate::graph::event::Created;
use crate::graph::message::{MessageAttachment, Standing};
use crate::graph::pace::Slot;
use crate::graph::resource::EventBody;
use crate::graph::{Failure, Graph, difference};

const SUBJECT: &str = "postbridge: self-test";
/// A mail may take so long from its 202 to Sent Items, and is looked for so often.
const ARRIVAL: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Raw MIME of so many KiB, one after the other, until one is refused. Documented is a request of 4 MB, in
/// base64; less was reported.
const SIZES_KIB: [usize; 6] = [1024, 2048, 2200, 2560, 3000, 4096];

/// One mailbox, for one inquiry.
struct Asked<'a> {
    executor: &'a Executor,
    account: &'a Account,
    graph: Graph,
    token: AccessToken,
    findings: Vec<Finding>,
}

impl Executor {
    /// The answers that came of it. What could not be asked has none.
    pub async fn inquire(
        &self,
        account: &Account,
        slot: &Slot,
        inquiry: Inquiry,
    ) -> Result<Vec<Finding>, Ended> {
        let graph = self.graph.paced(slot);
        // The first call finds out whether the token is good.
        let token = self
            .with_token_of(account.id, &graph, |graph, token| async move {
                graph.me(token.expose()).await.map(|_| token)
            })
            .await
            .map_err(|missed: Missed| Ended::from(missed))?;
        let mut asked = Asked { executor: self, account, graph, token, findings: Vec::new() };
        match inquiry {
            Inquiry::Mail => asked.of_a_mail().await,
            Inquiry::Size => asked.of_size().await,
            Inquiry::Event => asked.of_events().await,
        }
        .map_err(Ended::from)?;
        Ok(asked.findings)
    }
}

impl Asked<'_> {
    fn found(&mut self, question: Question, answer: impl Into<String>) {
        self.findings.push(Finding { question, answer: answer.into() });
    }

    fn token(&self) -> &str {
        self.token.expose()
    }

    async fn of_a_mail(&mut self) -> Result<(), Failure> {
        let clock = self.executor.store.clock().clone();
        let (tag, begun_at) = (Uuid::new_v4().simple().to_string(), clock.now());
        let message_id = format!("<{tag}@selftest.postbridge.invalid>");
        let made =
            self.graph.create_draft(self.token(), &mail(self.account, &message_id, 0)).await?;
        self.graph.tag_draft(self.token(), &made.id, &tag).await?;
        let before = self.graph.message(self.token(), &made.id).await?;
        let flags = match before.flags_say_unsent() {
            Some(true) => "yes",
            Some(false) => "no: they call it sent",
            None => "no: they are not shown",
        };
        self.found(Question::FlagsReadable, flags);
        self.graph.send_draft(self.token(), &made.id).await?;

        // By whichever name it is found first.
        let traces =
            Traces { id: Some(&made.id), tag: &tag, message_id: Some(&message_id), begun_at };
        let deadline = clock.running() + ARRIVAL;
        while self.graph.find(self.token(), &traces).await? != Standing::Sent {
            if clock.running() > deadline {
                self.found(
                    Question::SecondSend,
                    "not asked: the first one did not arrive in a minute",
                );
                return Ok(());
            }
            clock.sleep(LOOK_EVERY).await;
        }
        let by_id = self.graph.message(self.token(), &made.id).await;
        let survives = match &by_id {
            Ok(found) if found.is_sent() => "yes",
            Ok(_) => "no: it names a draft still",
            Err(Failure::Never { status: 404, .. }) => "no",
            Err(_) => "unknown",
        };
        self.found(Question::IdSurvivesSend, survives);
        let tagged = self.graph.messages_tagged(self.token(), &tag).await?;
        let survives = if tagged.iter().any(|one| one.is_sent()) { "yes" } else { "no" };
        self.found(Question::TagSurvivesSend, survives);
        let mut named = self.graph.messages_called(self.token(), &message_id).await?;
        let kept = if named.is_empty() { "no" } else { "yes" };
        self.found(Question::MessageIdKept, kept);

        // The copy in Sent Items, and the one that arrives: what comes later is of another send.
        while !named.is_empty() && named.len() < 2 && clock.running() < deadline {
            clock.sleep(LOOK_EVERY).await;
            named = self.graph.messages_called(self.token(), &message_id).await?;
        }
        let again = self.graph.send_draft(self.token(), &made.id).await;
        let answer = match again {
            Err(failure) => format!("it is refused: {}", in_short(&failure)),
            Ok(()) if named.is_empty() => "it is taken; whether it sends cannot be seen".to_owned(),
            Ok(()) => {
                // A second copy would come the way that the first one came.
                let (had, deadline) = (named.len(), clock.running() + ARRIVAL / 4);
                loop {
                    let now = self.graph.messages_called(self.token(), &message_id).await?;
                    if now.len() > had {
                        break "it is taken, and sends the mail again".to_owned();
                    }
                    if clock.running() > deadline {
                        break "it is taken, and sends nothing".to_owned();
                    }
                    clock.sleep(LOOK_EVERY).await;
                }
            }
        };
        self.found(Question::SecondSend, answer);
        Ok(())
    }

    async fn of_size(&mut self) -> Result<(), Failure> {
        let (mut largest, mut refused) = (None, None);
        for kib in SIZES_KIB {
            let message_id = format!("<{}@selftest.postbridge.invalid>", Uuid::new_v4().simple());
            let octets = mail(self.account, &message_id, kib * 1024);
            match self.graph.create_draft(self.token(), &octets).await {
                Ok(made) => {
                    if largest.is_none() {
                        let attached = self.attach(&made.id).await;
                        self.found(Question::AttachmentOnMimeDraft, attached);
                    }
                    largest = Some(kib);
                    self.graph.delete_draft(self.token(), &made.id).await?;
                }
                Err(failure @ (Failure::Never { .. } | Failure::Unknown { .. })) => {
                    refused = Some((kib, in_short(&failure)));
                    break;
                }
                Err(failure) => return Err(failure),
            }
        }
        let answer = match (largest, refused) {
            (Some(largest), Some((kib, why))) => {
                format!("{largest} KiB; {kib} KiB is refused: {why}")
            }
            (Some(largest), None) => format!("{largest} KiB or more"),
            (None, Some((kib, why))) => format!("less than {kib} KiB: {why}"),
            (None, None) => return Ok(()),
        };
        self.found(Question::LargestMime, answer);
        Ok(())
    }

    async fn attach(&self, draft: &str) -> String {
        let attachment = MessageAttachment::text("note.txt", "A note.");
        match self.graph.attach_to_draft(self.token(), draft, &attachment).await {
            Ok(()) => "yes".to_owned(),
            Err(failure) => format!("no: {}", in_short(&failure)),
        }
    }

    async fn of_events(&mut self) -> Result<(), Failure> {
        let now = self.executor.store.clock().now();
        let first = self.event(now, Some(Uuid::new_v4()));
        let (id, etag) = match self.graph.create_event(self.token(), None, &first).await? {
            Created::New(event) => (event.id, event.etag),
            Created::Before(_) => return Ok(()),
        };

        let again = match self.graph.create_event(self.token(), None, &first).await {
            Ok(Created::New(event)) if event.id == id => "the event that is there".to_owned(),
            Ok(Created::New(event)) => {
                self.graph.delete_event(self.token(), &event.id).await?;
                "a second event".to_owned()
            }
            Ok(Created::Before(Some(_))) => "an error that names the event".to_owned(),
            Ok(Created::Before(None)) => "an error that does not name the event".to_owned(),
            Err(failure) => in_short(&failure),
        };
        self.found(Question::SameTransaction, again);

        let mut moved = first.clone();
        moved.subject.push_str(", moved");
        let patch = difference::changes(&first, &moved);
        self.graph.patch_event(self.token(), &id, &patch, None).await?;
        moved.subject.push_str(" again");
        let patch = difference::changes(&first, &moved);
        // `etag` is of the version before the last.
        let stale = match &etag {
            Some(etag) => match self.graph.patch_event(self.token(), &id, &patch, Some(etag)).await
            {
                Ok(_) => "no: it is made".to_owned(),
                Err(Failure::Conflict { .. }) => "yes".to_owned(),
                Err(failure) => in_short(&failure),
            },
            None => "not asked: events come without an ETag".to_owned(),
        };
        self.found(Question::IfMatchOnEvents, stale);

        self.graph.delete_event(self.token(), &id).await?;
        let after = match self.graph.create_event(self.token(), None, &first).await {
            Ok(Created::New(event)) => {
                self.graph.delete_event(self.token(), &event.id).await?;
                "yes".to_owned()
            }
            Ok(Created::Before(_)) => "no: it stays taken".to_owned(),
            Err(failure) => in_short(&failure),
        };
        self.found(Question::TransactionAfterDeletion, after);

        let alone = self.event(now, None);
        if let Created::New(event) = self.graph.create_event(self.token(), None, &alone).await? {
            let cancelled = match self.graph.cancel_event(self.token(), &event.id, "").await {
                Ok(()) => "it is done".to_owned(),
                Err(failure) => {
                    self.graph.delete_event(self.token(), &event.id).await?;
                    format!("it is refused: {}", in_short(&failure))
                }
            };
            self.found(Question::CancelWithoutAttendees, cancelled);
        }
        Ok(())
    }

    /// Tomorrow, for a quarter of an hour, in nobody's way.
    fn event(&self, now: Timestamp, transaction: Option<Uuid>) -> EventBody {
        let start = now.saturating_add(SignedDuration::from_hours(24)).unwrap_or(now);
        let end = start.saturating_add(SignedDuration::from_mins(15)).unwrap_or(start);
        let mut event = EventBody::plain(SUBJECT, start, end);
        event.transaction_id = transaction.map(|id| id.to_string());
        event
    }
}

/// To the mailbox itself, of at least so many octets.
fn mail(account: &Account, message_id: &str, octets: usize) -> Vec<u8> {
    const LINE: &str = "This mail was sent by `postbridge selftest`, and can be deleted.\r\n";
    let address = &account.address;
    let mut mail = format!(
        "From: {address}\r\nTo: {address}\r\nSubject: {SUBJECT}\r\nMessage-ID: {message_id}\r\n\r\n{LINE}"
    );
    while mail.len() < octets {
        mail.push_str(LINE);
    }
    mail.into_bytes()
}

fn in_short(failure: &Failure) -> String {
    match failure {
        Failure::Never { status, code, .. } => format!("{status} {code}"),
        Failure::Account { code, .. } => code.clone(),
        Failure::Duplicate { .. } => "ErrorDuplicateTransactionId".to_owned(),
        Failure::Later { why, .. }
        | Failure::Conflict { why }
        | Failure::TokenRefused { why }
        | Failure::Unknown { why } => why.clone(),
    }
}
