//! GET and HEAD.
//!
//! RFC 9110 §9.3.1, §13.1; RFC 4791 §5.3.4; RFC 6638 §8.2. An object is given octet for octet as it is kept.

use hyper::StatusCode;
use hyper::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH,
    LAST_MODIFIED,
};

use super::answer::{self, Answer, Broken};
use super::body::Body;
use super::discovery;
use super::header::Precondition;
use super::href::Place;
use super::property::{content_type, http_date};
use super::propfind::bad_header;
use super::site::{Asked, Site, not_found};
use crate::store::calendar::{Object, Place as At};

pub(super) const SCHEDULE_TAG: HeaderName = HeaderName::from_static("schedule-tag");

impl Site {
    pub(super) async fn get(&self, asked: &Asked) -> Result<Answer, Broken> {
        let account = asked.account.id;
        let answer = match &asked.place {
            Place::Object { calendar, object, .. } => {
                let at = At { account, calendar: calendar.clone(), name: object.clone() };
                match self.store.object(&at).await? {
                    Some(object) => conditional(asked, object),
                    None => not_found(),
                }
            }
            Place::Calendar { calendar, .. } => {
                match self.store.calendar(account, calendar).await? {
                    Some(_) => discovery::page(),
                    None => not_found(),
                }
            }
            _ => discovery::page(),
        };
        Ok(if asked.method == "HEAD" { without_body(answer) } else { answer })
    }
}

/// RFC 9110 §13.2.2, as far as an object has what is asked about.
fn conditional(asked: &Asked, object: Object) -> Answer {
    let tag = Some(object.etag.as_str());
    let matches = asked.header(&IF_MATCH).map(|value| Precondition::if_match(&value));
    match matches {
        Some(Err(bad)) => return bad_header(&bad),
        Some(Ok(matches)) if !matches.holds(tag) => {
            return answer::status(StatusCode::PRECONDITION_FAILED);
        }
        _ => {}
    }
    let none_matches =
        asked.header(&IF_NONE_MATCH).map(|value| Precondition::if_none_match(&value));
    match none_matches {
        Some(Err(bad)) => bad_header(&bad),
        Some(Ok(none)) if !none.holds(tag) => {
            tagged(answer::status(StatusCode::NOT_MODIFIED), &object)
        }
        _ => whole(StatusCode::OK, object),
    }
}

/// An object as the body of an answer.
pub(super) fn whole(status: StatusCode, object: Object) -> Answer {
    let answer = tagged(answer::status(status), &object);
    let answer = answer.map(|_| Body::whole(object.octets));
    answer::with(answer, CONTENT_TYPE, &content_type())
}

fn tagged(answer: Answer, object: &Object) -> Answer {
    let answer = answer::with(answer, ETAG, &object.etag);
    let answer = answer::with(answer, SCHEDULE_TAG, &object.schedule_tag);
    let answer = answer::with(answer, LAST_MODIFIED, &http_date(object.changed_at));
    answer::with(answer, CACHE_CONTROL, "private, no-cache")
}

/// RFC 9110 §9.3.2: the same, and its length.
fn without_body(answer: Answer) -> Answer {
    let octets = http_body::Body::size_hint(answer.body()).exact().unwrap_or(0);
    let answer = answer.map(|_| Body::empty());
    answer::with(answer, CONTENT_LENGTH, &octets.to_string())
}
