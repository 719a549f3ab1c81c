//! What Graph says to a mail that it does not take.
//!
//! Source: Graph's error codes as documented and reported for sendMail, drafts and attachments. It
//! must never repeat more of a mail than the address, the header name or the property that is wrong.

use axum::http::StatusCode;

use super::event::Unfit;
use super::message;
use super::mime;
use super::odata::ODataError;
use super::schema::{self, Violation};

/// Reported: the two ways of handing a mail over say it differently.
pub(super) fn too_large(media_type: &str) -> ODataError {
    if media_type == "application/json" {
        let text = "The maximum request length supported is 4MB.";
        return ODataError::bad_request("BadRequest", text);
    }
    let status = StatusCode::PAYLOAD_TOO_LARGE;
    ODataError::new(status, "RequestEntityTooLarge", "Request Entity Too Large")
}

pub(super) fn not_json() -> ODataError {
    let text = "Entity only allows writes with a JSON Content-Type header.";
    ODataError::bad_request("BadRequest", text)
}

pub(super) fn message_too_large() -> ODataError {
    let text = "The message exceeds the maximum supported size.";
    ODataError::bad_request("ErrorMessageSizeExceeded", text)
}

pub(super) fn mailbox_full(full: impl std::fmt::Display) -> ODataError {
    let status = StatusCode::INSUFFICIENT_STORAGE;
    ODataError::new(status, "ErrorQuotaExceeded", full.to_string())
}

pub(super) fn send_as_denied() -> ODataError {
    ODataError::forbidden(
        "ErrorSendAsDenied",
        "The user account which was used to submit this request does not have the right to send \
         mail on behalf of the specified sending account. Cannot submit message.",
    )
}

pub(super) fn bad_mime(text: impl Into<std::borrow::Cow<'static, str>>) -> ODataError {
    ODataError::bad_request("ErrorMimeContentInvalidBase64String", text)
}

pub(super) fn unfit(unfit: mime::Unfit) -> ODataError {
    match unfit {
        mime::Unfit::Malformed(why) => bad_mime(format!("Invalid MIME content: {why}.")),
        mime::Unfit::NotResolved(why) => not_resolved(&why.0),
        mime::Unfit::NoRecipient => ODataError::bad_request(
            "ErrorInvalidRecipients",
            "At least one recipient is not valid., A message can't be sent because it contains no \
             recipients.",
        ),
        mime::Unfit::TooManyRecipients(count) => too_many_recipients(count),
    }
}

fn not_resolved(text: &str) -> ODataError {
    ODataError::bad_request(
        "ErrorInvalidRecipients",
        format!(
            "At least one recipient is not valid., Recipient '{text}' is not resolved. All \
             recipients must be resolved before a message can be submitted."
        ),
    )
}

fn too_many_recipients(count: usize) -> ODataError {
    let max = mime::RECIPIENTS_MAX;
    let text = format!("At least one recipient is not valid., {count} recipients, {max} allowed.");
    ODataError::bad_request("ErrorInvalidRecipients", text)
}

pub(super) fn unserialisable(unfit: message::Unfit) -> ODataError {
    match unfit {
        message::Unfit::Body(why) => undeserialisable(&why),
        message::Unfit::HeaderName(name) => bad_header_name(&name),
        message::Unfit::NotResolved(text) => not_resolved(&text),
    }
}

fn bad_header_name(name: &str) -> ODataError {
    let text = format!("The internet message header name '{name}' should start with 'x-' or 'X-'.");
    ODataError::bad_request("InvalidInternetMessageHeader", text)
}

pub(super) fn undeserialisable(why: &dyn std::fmt::Display) -> ODataError {
    Unfit::shape(why).into()
}

pub(super) fn broken(broken: &schema::BrokenSchema) -> ODataError {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    ODataError::new(status, "ErrorInternalServerError", broken.to_string())
}

/// Graph's error for a body that departs from its schema: the constraints that have codes of their
/// own come into play only once the body can be deserialised.
pub(super) fn explained(violations: &[Violation], body: &serde_json::Value) -> Option<ODataError> {
    let text = |path: &str| body.pointer(path).and_then(|v| v.as_str()).unwrap_or_default();
    let with_its_own_code = |violation: &Violation| {
        let Violation { path, keyword, .. } = violation;
        let headers = path.contains("/internetMessageHeaders");
        match keyword.as_str() {
            "maxItems" if headers => Some(ODataError::bad_request(
                "InvalidInternetMessageHeaderCollection",
                "The internet message header collection has more than 5 headers.",
            )),
            "pattern" if headers => Some(bad_header_name(text(path))),
            "maxItems" if path.ends_with("Recipients") => {
                let count = body.pointer(path).and_then(|v| v.as_array()).map_or(0, Vec::len);
                Some(too_many_recipients(count))
            }
            "pattern" | "minLength" if path.ends_with("/emailAddress/address") => {
                Some(not_resolved(text(path)))
            }
            "maximum" if path == "/AttachmentItem/size" => Some(message_too_large()),
            _ => None,
        }
    };
    let shapeless = violations.iter().find(|v| with_its_own_code(v).is_none());
    match shapeless {
        Some(Violation { path, text, .. }) => Some(undeserialisable(&format!("{path}: {text}"))),
        None => violations.iter().find_map(with_its_own_code),
    }
}
