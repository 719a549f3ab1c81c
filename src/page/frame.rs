//! What stands around every page, and the pages that only say something.

use askama::Template;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;

use super::guard::Visit;

/// Around a page.
pub(super) struct Frame {
    pub title: String,
    /// Which of the five it belongs to.
    pub at: &'static str,
    /// For the forms; empty for a stranger, who has none.
    pub form_token: String,
    pub version: &'static str,
    /// Load the page again after so long, or go elsewhere.
    pub refresh: Option<String>,
}

impl Frame {
    pub(super) fn new(visit: &Visit, at: &'static str, title: impl Into<String>) -> Frame {
        Frame {
            title: title.into(),
            at,
            form_token: visit.form_token.clone(),
            version: env!("CARGO_PKG_VERSION"),
            refresh: None,
        }
    }

    /// Around a page for somebody who has no session here.
    fn of_a_stranger(title: &str) -> Frame {
        let visit = Visit { form_token: String::new(), host: String::new() };
        Frame::new(&visit, "", title)
    }

    pub(super) fn refreshing(self, refresh: String) -> Frame {
        Frame { refresh: Some(refresh), ..self }
    }
}

pub(super) fn html(status: StatusCode, page: &impl Template) -> Response<Body> {
    let Ok(text) = page.render() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = (status, text).into_response();
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// A page that says one thing.
#[derive(Template)]
#[template(path = "notice.html", config = "src/page/askama.toml")]
pub(super) struct Notice {
    pub frame: Frame,
    pub text: String,
    /// Each a paragraph more.
    pub more: Vec<String>,
    /// A command to be typed.
    pub command: Option<&'static str>,
    /// Where to go on: address and words.
    pub link: Option<(String, String)>,
}

impl Notice {
    pub(super) fn new(frame: Frame, text: impl Into<String>) -> Notice {
        Notice { frame, text: text.into(), more: Vec::new(), command: None, link: None }
    }

    pub(super) fn answer(&self, status: StatusCode) -> Response<Body> {
        html(status, self)
    }
}

/// Says something to somebody who has no session.
pub(super) fn stranger(status: StatusCode, title: &str, text: &str) -> Response<Body> {
    Notice::new(Frame::of_a_stranger(title), text).answer(status)
}

pub(super) fn not_logged_in() -> Response<Body> {
    let frame = Frame::of_a_stranger("Not logged in");
    let text = "This page is for whoever runs postbridge on this machine. Open it from there, with a \
                link that is good for five minutes:";
    let notice = Notice { command: Some("postbridge page"), ..Notice::new(frame, text) };
    notice.answer(StatusCode::UNAUTHORIZED)
}

/// To a browser that followed a link from another site: it is to come again, from here.
pub(super) fn once_more(url: &str) -> Response<Body> {
    let frame = Frame::of_a_stranger("One moment").refreshing(format!("0; url={url}"));
    let link = Some((url.to_owned(), "Go on".to_owned()));
    let text = "You come from another page.";
    Notice { link, ..Notice::new(frame, text) }.answer(StatusCode::UNAUTHORIZED)
}

pub(super) fn link_is_void() -> Response<Body> {
    let frame = Frame::of_a_stranger("This link is void");
    let text = "It was used before, or is older than five minutes. Another one is made by:";
    let notice = Notice { command: Some("postbridge page"), ..Notice::new(frame, text) };
    notice.answer(StatusCode::FORBIDDEN)
}

/// For somebody who comes from outside, with a link to go on by.
pub(super) fn arrival(
    title: &str,
    text: String,
    more: Vec<String>,
    link: (String, String),
    at_once: bool,
) -> Notice {
    let mut frame = Frame::of_a_stranger(title);
    if at_once {
        frame = frame.refreshing(format!("0; url={}", link.0));
    }
    Notice { more, link: Some(link), ..Notice::new(frame, text) }
}

/// What was asked for was not done; the text says why.
pub(super) fn refused(visit: &Visit, at: &'static str, why: &str, back: &str) -> Response<Body> {
    let link = Some((back.to_owned(), "Back".to_owned()));
    let frame = Frame::new(visit, at, "Not done");
    Notice { link, ..Notice::new(frame, why) }.answer(StatusCode::CONFLICT)
}

pub(super) fn not_found(visit: &Visit, at: &'static str, why: &str) -> Response<Body> {
    let link = Some(("/".to_owned(), "To the overview".to_owned()));
    let frame = Frame::new(visit, at, "Not found");
    Notice { link, ..Notice::new(frame, why) }.answer(StatusCode::NOT_FOUND)
}

/// An answer to something else than was asked.
pub(super) fn odd() -> Response<Body> {
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

/// Go and look there (after a form).
pub(super) fn see(path: &str) -> Response<Body> {
    axum::response::Redirect::to(path).into_response()
}

/// An address or a UID as a part of a path or a query.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(octet));
            }
            _ => encoded.push_str(&format!("%{octet:02X}")),
        }
    }
    encoded
}
