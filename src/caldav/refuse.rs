//! What is understood and not done: copies and moves.
//!
//! RFC 4918 §9.8, §9.9. An event in Exchange has no second place to be. Which refusal it is says what would
//! be needed.

use hyper::StatusCode;
use hyper::header::HeaderName;

use super::answer::{self, Answer, Broken};
use super::header;
use super::href::{BadHref, Place};
use super::propfind::bad_header;
use super::site::{Asked, Site, not_found};
use crate::store::calendar::Place as At;

const DESTINATION: HeaderName = HeaderName::from_static("destination");
const OVERWRITE: HeaderName = HeaderName::from_static("overwrite");

impl Site {
    pub(super) async fn copy(&self, asked: &Asked) -> Result<Answer, Broken> {
        let may_replace = match header::overwrite(asked.header(&OVERWRITE).as_deref()) {
            Ok(may) => may,
            Err(bad) => return Ok(bad_header(&bad)),
        };
        let Some(destination) = asked.header(&DESTINATION) else {
            return Ok(answer::words(StatusCode::BAD_REQUEST, "There is no Destination."));
        };
        let account = asked.account.id;
        let is_there = match &asked.place {
            Place::Object { calendar, object, .. } => {
                let at = At { account, calendar: calendar.clone(), name: object.clone() };
                self.store.object(&at).await?.is_some()
            }
            Place::Calendar { calendar, .. } => {
                self.store.calendar(account, calendar).await?.is_some()
            }
            _ => false,
        };
        if !is_there {
            return Ok(not_found());
        }
        match asked.href(&destination) {
            Err(BadHref::Malformed(why)) => {
                let words = format!("The Destination is malformed: {why}.");
                return Ok(answer::words(StatusCode::BAD_REQUEST, &words));
            }
            // RFC 4918 §9.8.5, §9.9.4
            Err(BadHref::Foreign) => {
                let words = "The Destination is another server's.";
                return Ok(answer::words(StatusCode::BAD_GATEWAY, words));
            }
            Ok(Place::Object { calendar, object, .. }) => {
                let at = At { account, calendar, name: object };
                if !may_replace && self.store.object(&at).await?.is_some() {
                    let words = "There is something at the Destination.";
                    return Ok(answer::words(StatusCode::PRECONDITION_FAILED, words));
                }
            }
            // Whose it is makes no difference.
            Err(BadHref::Unknown) | Ok(_) => {}
        }
        let words = "An event stays where it was put; its UID is at one place only.";
        Ok(answer::words(StatusCode::FORBIDDEN, words))
    }
}
