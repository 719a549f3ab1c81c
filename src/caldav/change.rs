//! PUT and DELETE of an object: judged, committed with what it does to the mailbox, and answered for.
//!
//! RFC 4791 §5.3.2, RFC 6638 §3.2, §8.1. A 2xx is built from a [`Receipt`] and nothing else. The answer is
//! held back until it is known what becomes of the change, for a time; who hangs up is told by a report.

use hyper::StatusCode;
use hyper::header::{
    CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH,
};

use super::answer::{self, Answer, Broken, Done, Reply};
use super::answers;
use super::condition::Condition;
use super::header::{BadHeader, Precondition};
use super::href::Place;
use super::kept::{self, Kept};
use super::object::{self, Unfit};
use super::propfind::{IF, bad_header};
use super::retrieve::{self, SCHEDULE_TAG};
use super::site::{Asked, Site, not_found};
use super::spooled;
use super::xml::Name;
use crate::account::Standing;
use crate::ical::{Event, ScheduleAgent};
use crate::store::calendar::{Change, Changed, Object, Place as At, Refused, Span, Spooled};
use crate::store::spool::{EntryId, Receipt, Report};
use crate::store::verdict::{Listening, Verdict};

const IF_SCHEDULE_TAG_MATCH: HeaderName = HeaderName::from_static("if-schedule-tag-match");
const SCHEDULE_REPLY: HeaderName = HeaderName::from_static("schedule-reply");

/// How often an object that somebody else is changing is looked at anew, to keep the answers in it.
const TRIES: usize = 5;

/// What must hold of an object as it stands.
#[derive(Clone)]
struct Conditions {
    if_match: Option<Precondition>,
    if_none_match: Option<Precondition>,
    if_schedule_tag_match: Option<Precondition>,
    /// If: one that says what is locked, which nothing ever is.
    never: bool,
}

/// Why a change is not made, of what is asked in its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// 412
    Otherwise,
    /// Another UID is at this place.
    OtherUid,
    /// It was changed since it was looked at.
    Meanwhile,
}

impl Conditions {
    fn read(asked: &Asked) -> Result<Conditions, BadHeader> {
        type Read = fn(&str) -> Result<Precondition, BadHeader>;
        let read = |name: &HeaderName, read: Read| asked.header(name).map(|v| read(&v)).transpose();
        Ok(Conditions {
            if_match: read(&IF_MATCH, Precondition::if_match)?,
            if_none_match: read(&IF_NONE_MATCH, Precondition::if_none_match)?,
            if_schedule_tag_match: read(
                &IF_SCHEDULE_TAG_MATCH,
                Precondition::if_schedule_tag_match,
            )?,
            never: asked.headers.contains_key(IF),
        })
    }

    fn allow(&self, object: Option<&Object>) -> Result<(), Stands> {
        let etag = object.map(|object| object.etag.as_str());
        let schedule_tag = object.map(|object| object.schedule_tag.as_str());
        let holds = |condition: &Option<Precondition>, tag: Option<&str>| {
            condition.as_ref().is_none_or(|condition| condition.holds(tag))
        };
        // RFC 6638 §8.3: who knows the scheduling tag need not know the last answers.
        let known = self.if_schedule_tag_match.is_some();
        let all = (known || holds(&self.if_match, etag))
            && holds(&self.if_none_match, etag)
            && holds(&self.if_schedule_tag_match, schedule_tag)
            && !self.never;
        if all { Ok(()) } else { Err(Stands::Otherwise) }
    }
}

pub(super) fn not_granted(asked: &Asked) -> Answer {
    let href = asked.place.to_string();
    let condition = Condition::NeedPrivileges { href, privilege: Name::dav("write") };
    let words =
        "The account has not granted Calendars.ReadWrite; sign in again with the profile full.";
    answer::condition_in_words(&condition, words)
}

/// A change that will never be in the mailbox: the object is again what it was before.
struct TakenBack {
    entry: EntryId,
    /// RFC 3463.
    status: [u8; 3],
    why: String,
    /// What its author is sent, if the answer does not reach them.
    report: Option<Report>,
}

/// What was read of a PUT.
struct Read {
    event: Event,
    span: Span,
}

impl Site {
    pub(super) async fn put(&self, asked: &Asked, reply: &mut Reply) -> Result<Done, Broken> {
        let Some(at) = at(asked) else { return Ok(not_found().into()) };
        let conditions = match self.may_change(asked) {
            Ok(conditions) => conditions,
            Err(refusal) => return Ok(refusal.into()),
        };
        if asked.headers.contains_key(CONTENT_RANGE) {
            // RFC 9110 §14.5: it would be taken for the whole.
            let words = "An object is put as a whole.";
            return Ok(answer::words(StatusCode::BAD_REQUEST, words).into());
        }
        let content_type = asked.header(&CONTENT_TYPE);
        if let Err(condition) = object::check_content_type(content_type.as_deref()) {
            return Ok(answer::condition(&condition).into());
        }
        let octets = asked.body.clone();
        let read = match tokio::task::spawn_blocking(move || read(&octets)).await? {
            Ok(read) => read,
            Err(Unfit { condition, why }) => {
                tracing::debug!(why, "an object was refused");
                let words = format!("This cannot be kept: {why}.");
                return Ok(answer::condition_in_words(&condition, &words).into());
            }
        };
        if let Some(refusal) = foreign_organizer(asked, &read.event) {
            return Ok(refusal.into());
        }
        for _ in 0..TRIES {
            match self.put_read(asked, reply, &at, &conditions, &read).await? {
                Some(done) => return Ok(done),
                None => continue,
            }
        }
        let words = "Somebody else is changing it; come again.";
        let answer = answer::words(StatusCode::SERVICE_UNAVAILABLE, words);
        Ok(answer::with(answer, hyper::header::RETRY_AFTER, "1").into())
    }

    /// One try; `None`: the object was changed in between.
    async fn put_read(
        &self,
        asked: &Asked,
        reply: &mut Reply,
        at: &At,
        conditions: &Conditions,
        read: &Read,
    ) -> Result<Option<Done>, Broken> {
        let sent: &[u8] = &read.event.octets;
        // RFC 6638 §3.2.10: what the server owns in it is put in, of the object as it is looked at now.
        let before = match conditions.if_schedule_tag_match {
            Some(_) => self.store.object(at).await?,
            None => None,
        };
        let octets = match &before {
            Some(before) => {
                let (account, event) = (asked.account.clone(), read.event.clone());
                let before = before.octets.clone();
                let merged = tokio::task::spawn_blocking(move || match Kept::read(&before) {
                    Ok(before) => answers::kept(&account, &event, before.event()).into_owned(),
                    Err(_) => event.octets.to_vec(),
                });
                merged.await?
            }
            None => sent.to_vec(),
        };
        let as_sent = octets == sent;
        let change =
            Change::Put { uid: read.event.uid.clone(), octets: octets.clone(), span: read.span };
        let seen = before.map(|before| before.etag);
        let allows = {
            let (conditions, uid) = (conditions.clone(), read.event.uid.clone());
            move |object: Option<&Object>| {
                conditions.allow(object)?;
                if object.is_some_and(|object| object.uid != uid) {
                    return Err(Stands::OtherUid);
                }
                match (&seen, object) {
                    (Some(seen), Some(object)) if object.etag != *seen => Err(Stands::Meanwhile),
                    _ => Ok(()),
                }
            }
        };
        let spooled = (Some(&read.event), octets.as_slice());
        let (kept, listening) = match self.commit(asked, at, change, spooled, allows).await? {
            Ok(committed) => committed,
            Err(Refused::Precondition(Stands::Meanwhile)) => return Ok(None),
            Err(refused) => return Ok(Some(refusal(asked, refused).into())),
        };
        let created = match &kept {
            Changed::Same => false,
            Changed::Kept { created, .. } => *created,
        };
        let refused = match kept {
            Changed::Same => None,
            Changed::Kept { receipt, .. } => self.hear(asked, receipt, listening).await,
        };
        if let Some(refused) = refused {
            return Ok(Some(self.tell(asked, reply, refused).await));
        }
        let status = if created { StatusCode::CREATED } else { StatusCode::NO_CONTENT };
        // Said of what is there now, and only if that is what was sent.
        let now = self.store.object(at).await?;
        let answer = match now {
            Some(object) if asked.preferences.representation => {
                let status = if created { status } else { StatusCode::OK };
                let answer = retrieve::whole(status, object);
                let answer = answer::with(answer, CONTENT_LOCATION, &asked.place.to_string());
                answer::applied(answer, Some("return=representation"))
            }
            Some(object) => {
                let answer =
                    answer::with(answer::status(status), SCHEDULE_TAG, &object.schedule_tag);
                match as_sent && object.octets == octets {
                    true => answer::with(answer, ETAG, &object.etag),
                    false => answer,
                }
            }
            None => answer::status(status),
        };
        Ok(Some(answer.into()))
    }

    pub(super) async fn delete(&self, asked: &Asked, reply: &mut Reply) -> Result<Done, Broken> {
        let conditions = match self.may_change(asked) {
            Ok(conditions) => conditions,
            Err(refusal) => return Ok(refusal.into()),
        };
        let Some(at) = at(asked) else {
            return Ok(match &asked.place {
                _ if conditions.never => answer::status(StatusCode::PRECONDITION_FAILED).into(),
                Place::Calendar { calendar, .. } => self.remove(asked, calendar).await?.into(),
                _ => not_found().into(),
            });
        };
        let Some(before) = self.store.object(&at).await? else { return Ok(not_found().into()) };
        let event = tokio::task::spawn_blocking(move || Kept::read(&before.octets)).await?;
        let event = event.ok().map(|kept| kept.event().clone());
        let quietly = asked.header(&SCHEDULE_REPLY);
        if quietly.is_some_and(|value| value.trim().eq_ignore_ascii_case("f"))
            && event.as_ref().is_some_and(|event| has_guests(asked, event))
        {
            let words = "Exchange tells the attendees whenever an event of theirs goes.";
            return Ok(answer::words(StatusCode::FORBIDDEN, words).into());
        }
        let octets = event.as_ref().map(|event| event.octets.clone()).unwrap_or_default();
        let allows = move |object: Option<&Object>| conditions.allow(object);
        let spooled = (event.as_ref(), &*octets);
        let committed = self.commit(asked, &at, Change::Delete, spooled, allows).await?;
        let (kept, listening) = match committed {
            Ok(committed) => committed,
            Err(refused) => return Ok(refusal(asked, refused).into()),
        };
        if let Changed::Kept { receipt, .. } = kept
            && let Some(refused) = self.hear(asked, receipt, listening).await
        {
            return Ok(self.tell(asked, reply, refused).await);
        }
        Ok(answer::status(StatusCode::NO_CONTENT).into())
    }

    /// What is looked at before anything else of a change.
    fn may_change(&self, asked: &Asked) -> Result<Conditions, Answer> {
        let conditions = Conditions::read(asked).map_err(|bad| bad_header(&bad))?;
        if !asked.may_write() {
            return Err(not_granted(asked));
        }
        Ok(conditions)
    }

    /// Commits a change; what to wait for, where waiting is configured.
    async fn commit<F>(
        &self,
        asked: &Asked,
        at: &At,
        change: Change,
        (event, object): (Option<&Event>, &[u8]),
        allows: F,
    ) -> Result<Result<(Changed, Option<Listening>), Refused<Stands>>, Broken>
    where
        F: FnOnce(Option<&Object>) -> Result<(), Stands> + Send + 'static,
    {
        let envelope = spooled::envelope(&asked.account, event)?;
        let deletes = matches!(change, Change::Delete);
        // Changes of one object are carried out in the order of their ids.
        let _order = self.order.lock().await;
        let id = self.store.new_entry_id();
        let octets = spooled::octets(event, object);
        let size = octets.len();
        let spooled = Spooled { id, envelope, octets };
        // Asked for before the commit: the worker may be quick. Where somebody has to sign in first, there
        // is nothing to wait for.
        let waits = !self.wait.is_zero() && asked.account.standing == Standing::Ready;
        let listening = if waits { self.store.listen(id) } else { None };
        let changed = self.store.change_object(at.clone(), change, spooled, allows).await?;
        Ok(changed.map(|changed| {
            if let Changed::Kept { receipt, created } = &changed {
                let (entry, account) = (receipt.id(), asked.account.id);
                tracing::info!(%entry, %account, size, created, deletes, "calendar change accepted");
            }
            (changed, listening)
        }))
    }

    /// Waits for what becomes of a change, until its time is over, nobody waits for the answer, or the
    /// daemon stops. A refusal, if it is one.
    async fn hear(
        &self,
        asked: &Asked,
        receipt: Receipt,
        listening: Option<Listening>,
    ) -> Option<TakenBack> {
        let mut listening = listening?;
        let verdict = tokio::select! {
            biased;
            verdict = listening.verdict() => verdict,
            () = self.stop.cancelled() => listening.end().await,
            () = asked.hung_up.cancelled() => listening.end().await,
            () = tokio::time::sleep(self.wait) => listening.end().await,
        };
        match verdict {
            Verdict::Refused { status, why, report } => {
                Some(TakenBack { entry: receipt.id(), status, why, report })
            }
            Verdict::Sent | Verdict::Queued => None,
        }
    }

    /// Refuses a change that was taken back: by the answer, or by a report where nobody takes that.
    async fn tell(&self, asked: &Asked, reply: &mut Reply, refused: TakenBack) -> Done {
        let status = match refused.status {
            // RFC 3463 §3.3: mailbox full.
            [_, 2, 2] => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::FORBIDDEN,
        };
        let why = refused.why.trim().trim_end_matches('.');
        let words = format!("{why}. The calendar is as it was before.");
        let told = reply.send(answer::words(status, &words));
        if let (false, Some(report)) = (told, refused.report)
            && let Err(error) =
                self.store.spool_report(refused.entry, asked.account.id, report).await
        {
            tracing::error!(entry = %refused.entry, %error, "a report could not be spooled");
        }
        Done::Sent
    }
}

/// The place of an object, as the store has it.
fn at(asked: &Asked) -> Option<At> {
    let Place::Object { calendar, object, .. } = &asked.place else { return None };
    Some(At { account: asked.account.id, calendar: calendar.clone(), name: object.clone() })
}

fn read(octets: &[u8]) -> Result<Read, Unfit> {
    let event = object::read(octets)?;
    let occupied = kept::occupied(&event);
    let span = Span {
        first: occupied.first.map(|at| at.as_millisecond()),
        last: occupied.last.map(|at| at.as_millisecond()),
    };
    Ok(Read { event, span })
}

/// RFC 6638 §3.2.4.3: Exchange lets an organizer change an event, and nobody else.
fn foreign_organizer(asked: &Asked, event: &Event) -> Option<Answer> {
    let organizers = spooled::occurrences(event).filter_map(|one| one.organizer.as_ref());
    let foreign = organizers.into_iter().find(|one| !asked.account.may_send_as(one))?;
    let words = format!(
        "The organizer is {foreign}, not this account; only events of its own can be kept here."
    );
    let condition = Condition::AllowedOrganizerSchedulingObjectChange;
    Some(answer::condition_in_words(&condition, &words))
}

/// Whether Exchange would tell somebody that the event is gone.
fn has_guests(asked: &Asked, event: &Event) -> bool {
    spooled::occurrences(event).flat_map(|one| &one.attendees).any(|attendee| {
        attendee.agent == ScheduleAgent::Server && !asked.account.may_send_as(&attendee.address)
    })
}

fn refusal(asked: &Asked, refused: Refused<Stands>) -> Answer {
    match refused {
        Refused::Precondition(Stands::OtherUid) => {
            answer::condition(&Condition::NoUidConflict(None))
        }
        Refused::Precondition(Stands::Otherwise | Stands::Meanwhile) => answer::words(
            StatusCode::PRECONDITION_FAILED,
            "The object is not what you take it for.",
        ),
        Refused::UidElsewhere { calendar, name } => {
            let login = asked.login();
            let href = Place::Object { login, calendar, object: name }.to_string();
            answer::condition(&Condition::NoUidConflict(Some(href)))
        }
        // RFC 4918 §9.7.1: the parent has to be made first.
        Refused::NoSuchCalendar => {
            answer::words(StatusCode::CONFLICT, "There is no such calendar.")
        }
        Refused::NoSuchObject => not_found(),
    }
}
