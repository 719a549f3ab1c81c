//! REPORT sync-collection: what changed since a token.
//!
//! RFC 6578. A token is the number of a change of one calendar; what is gone is told as long as the store
//! knows of it, and who asks from further back is told to begin anew.

use std::sync::Arc;

use hyper::header::HeaderName;

use super::answer::{self, Broken, Done, Reply};
use super::condition::Condition;
use super::header::DepthHeader;
use super::href::Place;
use super::multistatus::Multistatus;
use super::property;
use super::propfind::bad_header;
use super::query::{PAGE, tell_object};
use super::report::SyncCollection;
use super::request::PropFind;
use super::site::{Asked, Site, not_found};
use super::xml::Name;
use crate::store::calendar::Place as At;
use crate::store::calendars::Calendar;

const DEPTH: HeaderName = HeaderName::from_static("depth");

impl Site {
    pub(super) async fn sync(
        &self,
        asked: &Arc<Asked>,
        sync: SyncCollection,
        reply: &mut Reply,
    ) -> Result<Done, Broken> {
        // Depth says nothing: RFC 6578 §3.2 wants 0, older clients say 1, and there is no collection below
        // that an infinite level would reach. But it must be readable.
        if let Some(Err(bad)) = asked.header(&DEPTH).map(|value| DepthHeader::parse(&value)) {
            return Ok(bad_header(&bad).into());
        }
        let Some((calendar, _)) = self.calendar_and_object(asked).await? else {
            return Ok(not_found().into());
        };
        let (account, name) = (&asked.account, &calendar.name);
        let known = sync.token.as_ref().map(|token| property::change_of(token, account, name));
        if known == Some(None) {
            return Ok(answer::condition(&Condition::ValidSyncToken).into());
        }
        // `None`: from the beginning.
        let mut from = known.flatten();
        let initial = sync.token.is_none();
        let mut left = sync.limit.unwrap_or(u32::MAX);
        let wanted = Arc::new(sync.wanted);
        let mut multistatus = Multistatus::begin();
        let mut first = true;
        loop {
            let most = left.min(PAGE as u32);
            let Some(since) = self.store.changed_since(account.id, name, from, most).await? else {
                // Forgotten while we told of it: the client has to begin anew.
                return match first {
                    true => Ok(answer::condition(&Condition::ValidSyncToken).into()),
                    false => Err(Broken::NotTaken),
                };
            };
            first = false;
            left -= u32::try_from(since.objects.len()).unwrap_or(left).min(left);
            from = Some(since.change);
            multistatus = self
                .tell_changes(asked, &calendar, since.objects, &wanted, initial, multistatus)
                .await?;
            reply.drain(&mut multistatus).await?;
            if since.truncated && left == 0 {
                // RFC 6578 §3.6
                let condition = Condition::NumberOfMatchesWithinLimits;
                multistatus.status(&asked.place, 507, Some(&condition));
            } else if since.truncated {
                continue;
            }
            let token = property::sync_token(account, name, since.change);
            return reply.end(multistatus, Some(&token)).await;
        }
    }

    async fn tell_changes(
        &self,
        asked: &Arc<Asked>,
        calendar: &Calendar,
        changed: Vec<(String, Option<String>)>,
        wanted: &Arc<super::report::Wanted>,
        initial: bool,
        mut multistatus: Multistatus,
    ) -> Result<Multistatus, Broken> {
        let place = |name: String| Place::Object {
            login: asked.login(),
            calendar: calendar.name.clone(),
            object: name,
        };
        // What most ask, and what needs no look at the object.
        let etag_alone = matches!(&wanted.properties, PropFind::Prop(names)
            if names.iter().all(|name| *name == Name::dav("getetag")));
        let mut objects = Vec::new();
        for (name, etag) in changed {
            let at = At { account: asked.account.id, calendar: calendar.name.clone(), name };
            let object = match &etag {
                Some(_) if etag_alone => None,
                Some(_) => self.store.object(&at).await?,
                None => None,
            };
            match (etag, object) {
                (_, Some(object)) => objects.push(object),
                (Some(etag), None) if etag_alone => {
                    multistatus.respond(place(at.name), |properties| {
                        if let PropFind::Prop(names) = &wanted.properties {
                            names.iter().for_each(|name| properties.put_text(name, &etag));
                        }
                    });
                }
                // Who begins never saw it.
                (None, None) if initial => {}
                _ => multistatus.status(place(at.name), 404, None),
            }
        }
        let (asked, calendar, wanted) = (asked.clone(), calendar.clone(), wanted.clone());
        let told = tokio::task::spawn_blocking(move || {
            for object in objects {
                tell_object(
                    &asked,
                    &calendar,
                    &object,
                    None,
                    &wanted,
                    &asked.zone,
                    &mut multistatus,
                );
            }
            multistatus
        });
        Ok(told.await?)
    }
}
