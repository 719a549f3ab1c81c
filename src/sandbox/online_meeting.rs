//! The part of an event's body by which an online meeting is joined. Pure.
//!
//! Source: Graph "update event": an online meeting lives in its body, as a part that Exchange writes
//! and that a client who replaces the body has to keep. Its shape is that of Teams: a rule of
//! underscores, a heading, the link, another rule; the words are ours.

use serde_json::{Map, Value};

use super::event::Content;

/// Where the meeting of the event of this number is joined. No such URL is the beginning of another.
pub fn join_url(number: u64) -> String {
    format!("https://teams.contoso.example/l/meetup-join/19%3ameeting_{number}%40thread.v2/0")
}

/// Text and HTML with the part at their end, as Exchange shows them.
pub fn with_join_part(text: String, mut html: String, number: u64) -> (String, String) {
    let (url, line) = (join_url(number), "_".repeat(80));
    let rule = format!(
        "<div style=\"width:100%; height:20px\"><span style=\"white-space:nowrap\">{line}</span></div>"
    );
    let part = format!(
        "<br>\r\n{rule}\r\n<div class=\"me-email-text\" lang=\"en-US\">\r\n\
         <div><span style=\"font-size:24px\">Sandbox meeting</span></div>\r\n\
         <div><a class=\"me-email-headline\" href=\"{url}\" target=\"_blank\">Join</a></div>\r\n\
         <div>{url}</div>\r\n</div>\r\n{rule}\r\n"
    );
    let end = html.to_ascii_lowercase().rfind("</body").unwrap_or(html.len());
    html.insert_str(end, &part);
    (format!("{text}\r\n{line}\r\nSandbox meeting\r\nJoin\r\n{url}\r\n{line}\r\n"), html)
}

/// Documented: a body that is replaced without the meeting's link ends the online meeting.
pub fn is_ended(before: &Content, after: &Content, body: &Map<String, Value>, number: u64) -> bool {
    // An event that becomes one by the same request has had no link yet.
    before.is("isOnlineMeeting")
        && body.contains_key("body")
        && !after.body().contains(&join_url(number))
}
