//! iTIP (RFC 5546): an event and what it is sent for. Pure.
//!
//! Nothing here decides what is done about a message; this file must never look at who sent it.

use crate::ical::Event;

/// RFC 5546 §1.4: what the sender of an object wants of those who get it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    Publish,
    Request,
    Reply,
    Add,
    Cancel,
    Refresh,
    Counter,
    DeclineCounter,
}

impl Method {
    /// Reads the value of METHOD, or of the `method` parameter of a `text/calendar` part (RFC 6047
    /// §2.4), in any case.
    pub fn parse(text: &str) -> Option<Method> {
        const ALL: [Method; 8] = [
            Method::Publish,
            Method::Request,
            Method::Reply,
            Method::Add,
            Method::Cancel,
            Method::Refresh,
            Method::Counter,
            Method::DeclineCounter,
        ];
        ALL.into_iter().find(|method| method.name().eq_ignore_ascii_case(text.trim()))
    }

    /// As it stands in an object.
    pub fn name(self) -> &'static str {
        match self {
            Method::Publish => "PUBLISH",
            Method::Request => "REQUEST",
            Method::Reply => "REPLY",
            Method::Add => "ADD",
            Method::Cancel => "CANCEL",
            Method::Refresh => "REFRESH",
            Method::Counter => "COUNTER",
            Method::DeclineCounter => "DECLINECOUNTER",
        }
    }

    /// RFC 5546 §3.2.3, §3.2.5, §3.2.6: a reply, a cancellation and a refresh may leave DTSTART out,
    /// because they speak of an event that both sides know.
    pub fn needs_start(self) -> bool {
        !matches!(self, Method::Reply | Method::Cancel | Method::Refresh | Method::DeclineCounter)
    }
}

/// One event and its METHOD.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub method: Method,
    pub event: Event,
}
