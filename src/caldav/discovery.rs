//! What is offered where: OPTIONS, and what a person sees who looks by hand.
//!
//! RFC 4918 §10.1, §18; RFC 4791 §5.1; RFC 6638 §2. Nothing may be named here that is not done.

use hyper::StatusCode;
use hyper::header::{ALLOW, HeaderName};

use super::answer::{self, Answer};
use super::href::Place;
use super::site::Asked;

/// RFC 4918 classes 1 and 3 (no locks); calendars; scheduling by what is PUT.
const COMPLIANCE: &str = "1, 3, calendar-access, calendar-auto-schedule";

/// The methods that mean something there. RFC 9110 §10.2.1.
pub(super) fn allowed(place: &Place) -> &'static [&'static str] {
    match place {
        Place::WellKnown => &["OPTIONS", "GET", "HEAD", "PROPFIND"],
        Place::Outbox { .. } => {
            &["OPTIONS", "GET", "HEAD", "POST", "PROPFIND", "PROPPATCH", "REPORT"]
        }
        Place::Calendar { .. } => &[
            "OPTIONS",
            "GET",
            "HEAD",
            "DELETE",
            "PROPFIND",
            "PROPPATCH",
            "REPORT",
            "MKCALENDAR",
            "MKCOL",
            "COPY",
            "MOVE",
        ],
        Place::Object { .. } => &[
            "OPTIONS",
            "GET",
            "HEAD",
            "PUT",
            "DELETE",
            "PROPFIND",
            "PROPPATCH",
            "REPORT",
            "COPY",
            "MOVE",
        ],
        _ => &["OPTIONS", "GET", "HEAD", "PROPFIND", "PROPPATCH", "REPORT"],
    }
}

pub(super) fn options(asked: &Asked) -> Answer {
    const DAV: HeaderName = HeaderName::from_static("dav");
    let answer = answer::status(StatusCode::OK);
    let answer = answer::with(answer, DAV, COMPLIANCE);
    answer::with(answer, ALLOW, &allowed(&asked.place).join(", "))
}

/// GET of a collection: RFC 4918 §9.4 leaves it to us.
pub(super) fn page() -> Answer {
    answer::words(
        StatusCode::OK,
        "This is postbridge's calendar, for programs that speak CalDAV. Give yours this server's \
         address, the address of the account and its local password.",
    )
}
